"""A RADIUS worker: the process that owns the sockets and the two lanes.

Rule: it learns everything from lines on standard input, reports once a second on standard output, and ends when its
input is closed: a worker never outlives its daemon, and never reads a configuration that its daemon has not accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time_ns
from typing import Any

import structlog

from config import settings as configuration
from config.settings import Settings
from daemon import event_loop, logs
from daemon.batching import Batcher
from daemon.configuration import ConfigurationWatch
from daemon.datagrams import DatagramSocket
from daemon.listener import AccountingListener, AuthenticationListener, Listener, Traffic
from daemon.logins import LoginLane
from daemon.metering import MeteringLane, SessionMemory
from daemon.requests import AccessRequest, AccountingRequest
from daemon.vault_location import open_vault
from daemon.worker_report import BatchHistogram, WorkerReport
from domain.errors import CaudalError
from domain.instants import Microseconds
from storage import admissions, session_rows
from storage.pipeline import PipelineConnection

REPORT_SECONDS = 1.0
REPORT_PIPE_OCTETS = 1 << 20
"""Holds the report of 3,000 routers, so that a busy daemon never makes a worker wait."""
DRAIN_SECONDS = 1.5
"""What waits at a stop is settled within this, or left to retransmission by the routers."""
CONNECT_SECONDS = 2.0
CLOSE_SECONDS = 0.2
"""Refusals that cannot be stored within this are lost with the database that does not answer."""
READ_OCTETS = 65_536


@dataclass(frozen=True, slots=True)
class Errand:
    """What the daemon tells a worker."""

    index: int
    data: str
    settings: dict[str, Any]
    dsn: str

    def line(self) -> bytes:
        """Return the errand as the first line a worker reads; a reload is another one."""
        return json.dumps(asdict(self)).encode() + b"\n"


def now_us() -> Microseconds:
    """Read the wall clock."""
    return Microseconds(time_ns() // 1000)


class Worker:
    """The parts of one worker, joined."""

    def __init__(self, errand: Errand, settings: Settings, reactor: Any) -> None:
        vault = open_vault(Path(errand.data))
        name = f"caudal worker {errand.index}"
        radius = settings.radius
        self._reactor = reactor
        self._traffic = Traffic()
        self._report = WorkerReport()
        self._unwritten = b""
        self._was_serving = True
        self._log = structlog.get_logger()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        class_key = vault.derive(b"class")
        self.watch = ConfigurationWatch(PipelineConnection(errand.dsn, {}, application_name=f"{name} setup"), vault)
        self._metering = MeteringLane(
            PipelineConnection(errand.dsn, session_rows.PREPARED, application_name=f"{name} acct"),
            SessionMemory(),
            class_key,
        )
        self._logins = LoginLane(
            PipelineConnection(errand.dsn, admissions.PREPARED, application_name=f"{name} auth"),
            vault,
            lambda: self.watch.snapshot,
            now_us,
            radius.reject_delay_milliseconds,
        )
        sockets = [
            DatagramSocket(reactor, radius.listen, port, receive_buffer_octets=radius.receive_buffer_octets)
            for port in (radius.auth_port, radius.acct_port)
        ]
        common = (lambda: self.watch.snapshot, now_us, reactor, self._traffic)
        limit = radius.limit_requests_per_second_per_router
        self._auth = AuthenticationListener(sockets[0], *common, limit)
        self._acct = AccountingListener(sockets[1], *common, limit)
        self._batches = {"auth": BatchHistogram(), "acct": BatchHistogram()}
        self._auth_batcher: Batcher[AccessRequest] = Batcher(
            "auth", self._logins, self._auth.flush, self._batches["auth"].observe
        )
        self._acct_batcher: Batcher[AccountingRequest] = Batcher(
            "acct", self._metering, self._acct.flush, self._batches["acct"].observe
        )
        self._auth.feed(self._auth_batcher, self.watch.signers)
        self._acct.feed(self._acct_batcher)

    async def run(self) -> None:
        """Serve until told to stop."""
        await self.watch.first()
        lanes = [asyncio.create_task(batcher.run()) for batcher in (self._auth_batcher, self._acct_batcher)]
        self._tasks = [
            *lanes,
            asyncio.create_task(self.watch.run()),
            asyncio.create_task(self._logins.run()),
        ]
        for listener in self._listeners:
            listener.start()
        # The first report says that this worker serves; without the database it says so, too, a little later.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._auth_batcher.connected.wait()
                await self._acct_batcher.connected.wait()
        self._tasks.append(asyncio.create_task(self._report_on()))
        # Whoever changed the configuration waits to hear that it is in force.
        self.watch.on_change = self._write_report
        ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in ended:
            if not self._stopping and task.exception() is not None:
                # Half a worker would be worse than none: the daemon starts another.
                self._log.error("worker fails", exc_info=task.exception())
                self._reactor.stop()

    @property
    def _listeners(self) -> tuple[Listener, Listener]:
        return self._auth, self._acct

    async def stop(self) -> None:
        """Take nothing new, settle what waits, report, end."""
        if self._stopping:
            return
        self._stopping = True
        for listener in self._listeners:
            listener.stop()
        for batcher in (self._auth_batcher, self._acct_batcher):
            batcher.stop()
        if self._tasks:
            await asyncio.wait(self._tasks[:2], timeout=DRAIN_SECONDS)
        for listener in self._listeners:
            listener.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._logins.close(), CLOSE_SECONDS)
        self._write_report()
        self._reactor.stop()

    def reload(self, fresh: Settings) -> None:
        """Bring into force what needs no restart."""
        logs.configure(fresh.log.level, fresh.log.format)
        self._logins.delay_rejects(fresh.radius.reject_delay_milliseconds)
        for listener in self._listeners:
            listener.limit(fresh.radius.limit_requests_per_second_per_router)

    async def _report_on(self) -> None:
        while True:
            self._write_report()
            await asyncio.sleep(REPORT_SECONDS)

    def _write_report(self) -> None:
        """Report, unless the daemon is so slow that it has not even read the report before."""
        if not self._stopping:
            for listener in self._listeners:
                listener.count_losses()
        serving = self._auth_batcher.is_serving and self._acct_batcher.is_serving
        if serving != self._was_serving:
            self._was_serving = serving
            if serving:
                self._log.info("the database answers again")
            else:
                self._log.error("the database does not answer; requests stay unanswered until it does")
        self._unwritten = self._unwritten or self._report.line(
            self._traffic,
            self._batches,
            waiting={"auth": self._auth_batcher.waiting, "acct": self._acct_batcher.waiting},
            database=serving,
            metering=self._metering,
            logins=self._logins,
            revision=self.watch.snapshot.revision,
        )
        # When the daemon is gone its end of standard input is closed too, and that ends this process.
        with contextlib.suppress(OSError):
            self._unwritten = self._unwritten[os.write(1, self._unwritten) :]


def main() -> None:
    """Run one worker until standard input closes or SIGTERM arrives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = _Lines()
    errand = Errand(**json.loads(lines.first()))
    os.set_blocking(1, False)
    settings = configuration.from_document(errand.settings)
    logs.configure(settings.log.level, settings.log.format)
    structlog.contextvars.bind_contextvars(worker=errand.index)
    reactor = event_loop.install()
    fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, REPORT_PIPE_OCTETS)
    loop = asyncio.get_event_loop()
    try:
        worker = Worker(errand, settings, reactor)
    except CaudalError as error:
        structlog.get_logger().error("worker cannot start", error=str(error))
        raise SystemExit(1) from None

    ending: set[asyncio.Task[None]] = set()

    def stop() -> None:
        ending.add(loop.create_task(worker.stop()))

    loop.add_reader(0, _obey_standard_input, loop, lines, worker, stop)
    reactor.callWhenRunning(lambda: loop.create_task(worker.run()))
    reactor.callWhenRunning(lambda: [loop.add_signal_handler(number, stop) for number in (signal.SIGTERM,)])
    reactor.run(installSignalHandlers=False)  # type: ignore[no-untyped-call]  # Twisted's method is untyped


class _Lines:
    """What the daemon writes to standard input, by line."""

    def __init__(self) -> None:
        self._partial = b""

    @staticmethod
    def first() -> bytes:
        """Wait for one line, and read nothing beyond it: the rest is for the event loop."""
        line = b""
        while not line.endswith(b"\n"):
            octet = os.read(0, 1)
            if not octet:
                raise SystemExit("daemon.worker is started by `caudal serve`, not by hand")
            line += octet
        return line

    def more(self) -> list[bytes] | None:
        """Return the lines that are complete now; None when the daemon's end is closed."""
        octets = os.read(0, READ_OCTETS)
        *lines, self._partial = (self._partial + octets).split(b"\n")
        return lines if octets else None


def _obey_standard_input(
    loop: asyncio.AbstractEventLoop, lines: _Lines, worker: Worker, stop: Callable[[], None]
) -> None:
    """Reload when a line comes, end when the daemon's end is closed."""
    complete = lines.more()
    if complete is None:
        loop.remove_reader(0)
        stop()
        return
    for line in complete:
        worker.reload(configuration.from_document(json.loads(line)["settings"]))


if __name__ == "__main__":
    main()
