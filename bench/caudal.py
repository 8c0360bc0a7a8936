"""Caudal as the measurements run it: the product's own command, on the same PostgreSQL as FreeRADIUS.

Rule: everything goes through the command line that an operator uses; no short cut into the database.
"""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import child
from bench.errors import BenchError
from bench.load import SECRET

START_TIMEOUT_SECONDS: Final = 60
IMPORT_TIMEOUT_SECONDS: Final = 1800
APPLY_TIMEOUT_SECONDS: Final = 60

SETTINGS: Final = """\
[radius]
listen = "127.0.0.1"
auth_port = {auth_port}
acct_port = {acct_port}
workers = {workers}

[database]
url = "{url}"

[metrics]
port = {metrics_port}

[log]
level = "warning"
"""

ISP: Final = """\
[isp]
name = "Bench"
currency = "EUR"
timezone = "Europe/Madrid"

[[router]]
name = "bench-nas"
address = "127.0.0.1"
secret = "{secret}"
profile = "mikrotik"

[[pool]]
name = "dynamic"
kind = "ipv4"
range = "100.64.0.0/13"

[[plan]]
name = "static"
kind = "internet"
download = "20M"
upload = "10M"
interim_seconds = 300

[[plan]]
name = "dynamic"
kind = "internet"
download = "20M"
upload = "10M"
pool = "dynamic"
interim_seconds = 300
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """One Caudal: its data directory, its database and how many services it has."""

    directory: Path
    url: str
    services: int
    plan: str = "static"
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Caudal:
    """A running daemon and its ports."""

    child: child.Child
    auth_port: int
    acct_port: int

    def stop(self) -> None:
        """End it."""
        self.child.stop()

    def worker_resident_octets(self) -> int:
        """Return the resident memory of the biggest worker: of the processes that hold the accounting socket."""
        return self.child.largest_resident_octets_of_holders(self.acct_port)


def program() -> Path:
    """Return the `caudal` command of this environment."""
    path = Path(sys.executable).with_name("caudal")
    if not path.exists():
        raise BenchError(f"{path} is missing; install the product into this environment with `make venv`")
    return path


def provision(installation: Installation, radload: Path) -> float:
    """Create the installation and import its services; return how many seconds the import took."""
    installation.directory.mkdir(parents=True)
    (installation.directory / "isp.toml").write_text(ISP.format(secret=SECRET))
    services = _write_services(installation)
    daemon = start(installation, radload)
    try:
        command(installation, "apply", str(installation.directory / "isp.toml"), timeout=APPLY_TIMEOUT_SECONDS)
        began = time.monotonic()
        command(installation, "import", "services", str(services), timeout=IMPORT_TIMEOUT_SECONDS)
        seconds = time.monotonic() - began
        child.answers_status(daemon.child, SECRET, daemon.auth_port, START_TIMEOUT_SECONDS, radload)
    finally:
        daemon.stop()
    return seconds


def start(installation: Installation, radload: Path) -> Caudal:
    """Start the daemon; wait until it answers requests, or only commands where it knows no router yet."""
    auth_port, acct_port = child.free_udp_ports(2)
    configuration = installation.directory / "caudal.toml"
    configuration.write_text(
        SETTINGS.format(
            auth_port=auth_port,
            acct_port=acct_port,
            workers=installation.workers,
            url=installation.url,
            metrics_port=_free_tcp_port(),
        )
    )
    known = (installation.directory / "output.log").exists()
    command = [str(program()), "serve", "--config", str(configuration), "--data", str(installation.directory)]
    daemon = Caudal(child.start("Caudal", command, installation.directory / "output.log"), auth_port, acct_port)
    try:
        if known:
            child.answers_status(daemon.child, SECRET, auth_port, START_TIMEOUT_SECONDS, radload)
        else:
            wait_for_commands(daemon.child, installation.directory / "control.sock")
    except BaseException:
        daemon.stop()
        raise
    return daemon


def wait_for_commands(daemon: child.Child, path: Path) -> None:
    """Wait until the daemon takes commands at the socket `path`."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        daemon.check()
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.1)
    raise BenchError(f"Caudal does not listen on {path}: {daemon.last_words()}")


def command(installation: Installation, *arguments: str, timeout: int) -> None:
    """Run a command of the product; raise BenchError with what it said when it fails."""
    words = [str(program()), *arguments, "--data", str(installation.directory)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"caudal {arguments[0]} did not end within {timeout} s") from error
    if done.returncode:
        raise BenchError(f"caudal {arguments[0]} failed: {done.stderr.strip()[-500:]}")


def _write_services(installation: Installation) -> Path:
    path = installation.directory / "services.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["login", "password", "plan", "address"])
        writer.writeheader()
        writer.writerows(_service(number, installation.plan) for number in range(1, installation.services + 1))
    return path


def _service(number: int, plan: str) -> Mapping[str, str]:
    # The same addresses that radload reports: 10.0.0.0 plus the number of the user.
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}" if plan == "static" else ""
    return {"login": f"user{number}", "password": f"pass{number}", "plan": plan, "address": address}


def _free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
