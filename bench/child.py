"""Servers under measurement as child processes in the foreground.

Rule: whatever this module starts is ended by it, by its own process id, also when the measurement fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

STOP_TIMEOUT_SECONDS = 20
LOG_TAIL_LINES = 5


@dataclass(slots=True)
class Child:
    """A running server and where it writes what it has to say."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """Ask the server to end, and end its whole process group when it does not within the time limit."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def check(self) -> None:
        """Raise when the server is gone, with the last it said."""
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with code {self.process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the log on one line."""
        lines = self.log.read_text(errors="replace").splitlines()
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "it said nothing"

    def largest_resident_octets_of_holders(self, udp_port: int) -> int:
        """Return the resident memory of the biggest descendant that holds a socket bound to `udp_port`."""
        holders = _holders(_family(self.process.pid), udp_port)
        if not holders:
            raise BenchError(f"no process of {self.name} holds UDP port {udp_port}: {self.last_words()}")
        return max(_resident_octets(pid) for pid in holders)


def start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Child:
    """Start a server in a process group of its own, its output in `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    return Child(name, process, log)


def free_udp_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody holds right now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def answers_status(child: Child, secret: str, port: int, timeout_seconds: float, radload: Path) -> None:
    """Wait until the server answers Status-Server on `port`."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        child.check()
        probe = subprocess.run(
            [str(radload), "-m", "status", "-p", str(port), "-k", secret, "-n", "1", "-t", "200", "-r", "1"],
            capture_output=True,
            timeout=10,
            check=False,
        )
        if probe.returncode == 0:
            return
        time.sleep(0.1)
    raise BenchError(f"{child.name} does not answer on port {port}: {child.last_words()}")


def _family(pid: int) -> list[int]:
    members = [pid]
    for member in members:
        try:
            tasks = list(Path(f"/proc/{member}/task").iterdir())
            members += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
    return members


def _holders(family: list[int], udp_port: int) -> list[int]:
    """Return those of `family` that hold the sockets bound to `udp_port` (proc(5): /proc/net/udp, /proc/PID/fd)."""
    entries = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    links = {f"socket:[{entry[9]}]" for entry in entries if int(entry[1].rpartition(":")[2], 16) == udp_port}
    return [pid for pid in family if links & _open_files(pid)]


def _open_files(pid: int) -> set[str]:
    names = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                names.add(str(entry.readlink()))
    return names


def _resident_octets(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
