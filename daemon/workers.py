"""The RADIUS workers as the daemon sees them: started, listened to, started again when they die.

Rule: a worker is told everything on its standard input and dies when that closes, so none is left behind however the
daemon ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from control.ports import Worker
from daemon.worker import Errand

RESTART_SECONDS = 0.5
STOP_SECONDS = 1.8
"""A worker drains for 1.5 seconds at most; after this it is killed, and its routers send again."""
READY_SECONDS = 30.0

TakeReport = Callable[[int, Mapping[str, Any]], None]


class _WorkerProcess(ProcessProtocol):
    def __init__(self, keeper: WorkerKeeper, errand: Errand) -> None:
        self._keeper = keeper
        self.errand = errand
        self.pid: int | None = None
        self.reporting = asyncio.Event()
        self.ended = asyncio.Event()
        self._handle = -1
        self._partial = b""

    def connectionMade(self) -> None:  # noqa: N802
        assert self.transport is not None
        self.pid = self.transport.pid
        # SIGCHLD belongs to uvloop: without this the end of a worker that was killed could go unnoticed.
        self._handle = os.pidfd_open(self.pid)
        reap = self.transport.reapProcess  # type: ignore[attr-defined]  # not in the interface, in every process of POSIX
        asyncio.get_running_loop().add_reader(self._handle, reap)
        self.transport.write(self.errand.line())

    def tell(self, line: bytes) -> None:
        """Write to the worker's standard input, if it lives."""
        if self.transport is not None and self.pid is not None:
            self.transport.write(line)

    def signal(self, name: str) -> None:
        """Send a signal, if it lives."""
        if self.transport is not None and self.pid is not None:
            self.transport.signalProcess(name)

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._keeper.reported(self.errand.index, json.loads(line))
            self.reporting.set()

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self.pid = None
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self.ended.set()
        self.reporting.set()
        self._keeper.ended(self, reason)


class WorkerKeeper:
    """All workers of this daemon."""

    def __init__(self, reactor: IReactorProcess, take_report: TakeReport) -> None:
        self._reactor = reactor
        self._take_report = take_report
        self._processes: dict[int, _WorkerProcess] = {}
        self._started = False
        self._stopping = False
        self._log = structlog.get_logger()
        self.restarts = 0

    async def start(self, errands: list[Errand]) -> bool:
        """Start a worker for each errand; return whether all came up and serve."""
        for errand in errands:
            self._spawn(errand)
        processes = list(self._processes.values())
        try:
            async with asyncio.timeout(READY_SECONDS):
                for process in processes:
                    await process.reporting.wait()
        except TimeoutError:
            return False
        self._started = all(each.pid is not None for each in processes)
        return self._started

    def reload(self, settings: dict[str, Any]) -> None:
        """Give every worker, and those started later, other settings."""
        for process in self._processes.values():
            process.errand = replace(process.errand, settings=settings)
            process.tell(process.errand.line())

    def reported(self, index: int, report: Mapping[str, Any]) -> None:
        """Take a worker's report."""
        self._take_report(index, report)

    def ended(self, process: _WorkerProcess, reason: Failure) -> None:
        """Start a worker again that died."""
        if self._stopping:
            return
        self._log.error("worker died", worker=process.errand.index, reason=reason.getErrorMessage())
        if self._started:
            self.restarts += 1
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self._restart, process)

    def status(self) -> tuple[Worker, ...]:
        """Return each worker with its process id."""
        return tuple(
            Worker(index, process.pid, "away" if process.pid is None else "serving")
            for index, process in sorted(self._processes.items())
        )

    async def stop(self) -> None:
        """Let every worker settle what waits and end; kill those that do not."""
        self._stopping = True
        processes = [process for process in self._processes.values() if process.pid is not None]
        for process in processes:
            process.signal("TERM")
        try:
            async with asyncio.timeout(STOP_SECONDS):
                for process in processes:
                    await process.ended.wait()
        except TimeoutError:
            self._log.warning("workers are killed: they did not end by themselves", seconds=STOP_SECONDS)
            for process in processes:
                process.signal("KILL")

    def _restart(self, process: _WorkerProcess) -> None:
        self._spawn(process.errand)

    def _spawn(self, errand: Errand) -> None:
        if self._stopping:
            return
        process = self._processes[errand.index] = _WorkerProcess(self, errand)
        command = [sys.executable, "-P", "-m", "daemon.worker"]
        self._reactor.spawnProcess(
            process, sys.executable, command, env=dict(os.environ), childFDs={0: "w", 1: "r", 2: 2}
        )
