"""A control server over a real socket, and the command that speaks to it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cli.main import run
from control.api import create
from control.ports import ControlPorts
from control.server import ControlServer


async def at_once() -> None:
    """Be a daemon whose workers follow at once."""


class Daemon:
    """A control server on a loop of its own."""

    def __init__(self, given: ControlPorts, data: Path) -> None:
        self.data = data
        self.server = ControlServer(create(given), data / "control.sock")
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self, first: Coroutine[Any, Any, None] | None = None) -> None:
        """Listen, when `first` is done."""
        self._thread.start()
        if first is not None:
            self._do(first)
        self._do(self.server.start())

    def stop(self) -> None:
        """Close, and end the loop."""
        self._do(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(20)


@contextmanager
def running(given: ControlPorts, data: Path, *, first: Coroutine[Any, Any, None] | None = None) -> Iterator[Daemon]:
    """Run a control server; `first` is done on its loop before it listens."""
    daemon = Daemon(given, data)
    daemon.start(first)
    try:
        yield daemon
    finally:
        daemon.stop()


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return its output as JSON."""
        return json.loads(self.out)


def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return the command, as a function of its arguments."""

    def caudal(*arguments: str) -> Outcome:
        status = run(arguments)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return caudal
