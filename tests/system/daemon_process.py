"""The real daemon as a child process, as systemd would see it.

Rule: nothing here sleeps; the daemon says when it is ready (sd_notify), and its end is waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import psycopg2

from storage.embedded import EmbeddedPostgres
from tests.free_ports import free_port
from tests.system.notifications import Notifications

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
WRITTEN_SECONDS = 10.0
SECRET = b"xyzzy-secret-5461"


class DaemonProcess:
    """`caudal serve` in `data`, with ports of its own."""

    def __init__(
        self,
        data: Path,
        *,
        workers: int = 1,
        database_url: str = "",
        more: str = "",
        listen: str = "127.0.0.1",
        radius: str = "reject_delay_milliseconds = 0",
    ) -> None:
        self.data = data
        self.auth_port = free_port()
        self.acct_port = free_port()
        self.metrics_port = free_port(socket.SOCK_STREAM)
        self._radius_metrics_port = free_port(socket.SOCK_STREAM)
        self._only: tuple[str, ...] = ()
        self.log = data / "daemon.log"
        data.mkdir(parents=True, exist_ok=True)
        self.config = data / "caudal.toml"
        self._database_url = database_url
        self._listen = listen
        self.configure(workers=workers, more=more, radius=radius)
        self._process: subprocess.Popen[bytes] | None = None
        self.notifications: Notifications | None = None

    def configure(self, *, workers: int = 1, more: str = "", radius: str = "reject_delay_milliseconds = 0") -> None:
        """Write the configuration file; `radius` are further keys of [radius], `more` further sections."""
        self.config.write_text(
            f"""
[radius]
listen = "{self._listen}"
auth_port = {self.auth_port}
acct_port = {self.acct_port}
workers = {workers}
{radius}
[database]
url = "{self._database_url}"
[metrics]
port = {self.metrics_port}
radius_port = {self._radius_metrics_port}
[log]
format = "json"
{more}
"""
        )

    def apart(self, part: str) -> DaemonProcess:
        """Return a process of the same installation that runs a part of it."""
        process = copy(self)
        process.log = self.data / f"{part}.log"
        process._only = ("--only", part)
        if part == "radius":
            process.metrics_port = self._radius_metrics_port
        return process

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        assert self._process is not None
        return self._process.pid

    def start(self, **environment: str) -> None:
        """Start, with more of an environment, and wait until the daemon says READY=1."""
        notifications = self.launch(**environment)
        if not notifications.wait_for("READY=1", seconds=READY_SECONDS, alive=self.is_alive):
            raise AssertionError(f"the daemon is not ready:\n{self.log.read_text()}")

    def launch(self, **environment: str) -> Notifications:
        """Start and return what tells of its progress."""
        if self.notifications is not None:
            self.notifications.close()
        self.notifications = Notifications(self.log.with_suffix(".notify"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                env={**_inherited(), "NOTIFY_SOCKET": str(self.notifications.path), **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.notifications

    def reload(self) -> str:
        """Send SIGHUP and wait until the daemon is done with it; return what it logged."""
        assert self.notifications is not None
        before, length = len(self.notifications.received()), len(self.log.read_text())
        self.signal(signal.SIGHUP)
        assert self.notifications.wait_for("READY=1", after=before, seconds=READY_SECONDS)
        return self.log.read_text()[length:]

    def refusal(self, *options: str, lines: int | None = 1) -> str:
        """Start a daemon that cannot run; return the lines, one if not told otherwise, in which it says why."""
        done = subprocess.run(
            self._command(*options),
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )
        assert done.returncode == 1, f"{done.returncode}\n{done.stderr}"
        assert lines is None or done.stderr.count("\n") == lines, done.stderr
        return done.stderr

    def _command(self, *options: str) -> list[str]:
        command = [sys.executable, "-m", "cli", "serve", "--config", str(self.config), "--data", str(self.data)]
        return [*command, *self._only, *options]

    def is_alive(self) -> bool:
        """Tell whether the daemon runs."""
        return self._process is not None and self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """Return the process ids of the RADIUS workers that live now."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children if _is_worker(int(child))]

    def await_end(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until the daemon has ended; return its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the daemon with -9 and wait for its end."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """End the daemon orderly; return its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the daemon does not stop:\n{self.log.read_text()}") from None

    def caudal(self, *arguments: str, expect: int = 0, stdin: str | None = None) -> str:
        """Run the `caudal` command against this daemon; return its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", "--data", str(self.data), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"caudal {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if expect == 0 else done.stderr

    def listing(self, *arguments: str) -> Any:
        """Run a listing with --json --all and return its items."""
        return json.loads(self.caudal(*arguments, "--json", "--all"))

    def apply(self, text: str) -> str:
        """Provision an ISP file."""
        path = self.data / "isp.toml"
        path.write_text(text)
        return self.caudal("apply", str(path))

    def provision(self, text: str) -> None:
        """Apply an ISP file and wait until the worker says that it is in force."""
        self.apply(text)
        revision = self.query("SELECT revision FROM configuration_revision")[0][0]
        give_up = time.monotonic() + WRITTEN_SECONDS
        while not re.search(rf'"revision": {revision}, "event": "configuration in force"', self.log.read_text()):
            assert time.monotonic() < give_up, f"revision {revision} is not in force:\n{self.log.read_text()}"
            time.sleep(0.005)

    @property
    def database(self) -> EmbeddedPostgres:
        """The embedded PostgreSQL of this daemon."""
        return EmbeddedPostgres(self.data / "postgresql")

    @property
    def control_socket(self) -> Path:
        """Where the control API listens."""
        return self.data / "control.sock"

    @property
    def dsn(self) -> str:
        """Where its database is."""
        return self._database_url or self.database.dsn()

    @contextlib.contextmanager
    def rows(self) -> Iterator[Any]:
        """Lend a cursor on the daemon's database, each statement committed."""
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of one query."""
        with self.rows() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def await_rows(self, sql: str, *parameters: Any, seconds: float = WRITTEN_SECONDS) -> list[tuple[Any, ...]]:
        """Return the rows of a query as soon as there are any: for what is written behind an answer."""
        give_up = time.monotonic() + seconds
        while True:
            found = self.query(sql, *parameters)
            if found or time.monotonic() > give_up:
                return found
            time.sleep(0.02)

    def await_log(self, text: str, *, after: int = 0) -> str:
        """Return the log from its `after`-th character on as soon as it has `text`."""
        give_up = time.monotonic() + WRITTEN_SECONDS
        while text not in (told := self.log.read_text()[after:]):
            assert time.monotonic() < give_up, f"no {text!r} in the log:\n{told}"
            time.sleep(0.02)
        return told

    def health(self) -> str:
        """Return what /healthz says, well or not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/healthz", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def metrics(self) -> str:
        """Return what /metrics says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def sample(self, *beginnings: str) -> float:
        """Return the sum of the samples of /metrics that begin so."""
        return sum(
            float(line.rpartition(" ")[2]) for line in self.metrics().splitlines() if line.startswith(beginnings)
        )

    def await_sample(self, wanted: float, *beginnings: str) -> None:
        """Wait until the samples sum to so much: what is committed is counted a moment later."""
        give_up = time.monotonic() + WRITTEN_SECONDS
        while (told := self.sample(*beginnings)) != wanted:
            assert time.monotonic() < give_up, f"{beginnings}: {told} instead of {wanted}"
            time.sleep(0.05)

    def await_metric(self, sample: str) -> str:
        """Return what /metrics says as soon as it has `sample` above zero: workers report once a second."""
        give_up = time.monotonic() + WRITTEN_SECONDS
        while True:
            told = self.metrics()
            values = [line.rpartition(" ")[2] for line in told.splitlines() if line.startswith(sample)]
            if any(float(value) > 0 for value in values):
                return told
            assert time.monotonic() < give_up, f"no {sample} in\n{told}"
            time.sleep(0.05)

    def discard(self) -> None:
        """Stop the daemon and its database, whatever state they are in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        if self.notifications is not None:
            self.notifications.close()
            self.notifications = None
        if not self._database_url:
            self.database.stop(2.0)


@contextlib.contextmanager
def running(daemon: DaemonProcess) -> Iterator[DaemonProcess]:
    """Start a daemon and lend it; at the end it must stop in order, and no defect may be in its log."""
    try:
        daemon.start()
        yield daemon
        daemon.stop()
        assert "Traceback" not in daemon.log.read_text()
    finally:
        daemon.discard()


def _is_worker(pid: int) -> bool:
    try:
        return b"daemon.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _inherited() -> dict[str, str]:
    """Return the environment that a service would have: nothing of the test, whose name may hold a password."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
