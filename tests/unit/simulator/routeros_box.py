"""A simulated box that clients without an event loop can be tried against: it runs in a thread of its own.

Rule: what the test asks of the box is done in the box's own thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from domain.secret import Secret
from simulator.certificate import Certificate, self_signed, server_context
from simulator.fleet import steady_clock
from simulator.routeros_faults import ApiFaults
from simulator.routeros_server import Box, bind_api
from simulator.routeros_sessions import ActiveSession, SessionTable
from simulator.routeros_state import API, API_TLS, BoxSettings, RouterState

ADDRESS = "127.0.0.1"
USER = "caudal"
PASSWORD = "correct horse"
CERTIFICATE: Certificate = self_signed("norte", ADDRESS, 1)

Result = TypeVar("Result")


class RunningBox:
    """A box that listens for the API and for the API over TLS."""

    def __init__(self, box: Box, sessions: SessionTable, port: int, tls_port: int) -> None:
        self.box = box
        self.port = port
        self.tls_port = tls_port
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()

    def do(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the box's thread and return what it returns."""

        async def run() -> Result:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def fail(self, faults: ApiFaults) -> None:
        """Let the box fail from now on."""

        def arm() -> None:
            self.box.faults = faults

        self.do(arm)

    def open(self, session: ActiveSession) -> None:
        """Let a PPP session begin, or continue changed."""
        self.do(lambda: self._sessions.open(session))

    def sessions(self) -> list[str]:
        """Return the Acct-Session-Ids that are open."""
        return self.do(lambda: list(self._sessions.by_id))

    def enter(self, path: str, values: dict[str, str], *, dynamic: bool = False) -> str:
        """Enter an entry as the box itself does."""
        return self.do(lambda: self.box.state.enter(path, values, dynamic=dynamic))

    def rows(self, path: str) -> list[dict[str, str]]:
        """Return the entries of a menu, in order."""
        return self.do(lambda: [dict(row) for row in self.box.state.rows(path)])

    def connections(self) -> int:
        """Return how many clients are connected."""
        return self.do(lambda: self.box.connections)

    def reboot(self) -> None:
        """Start the box again."""
        self.do(self.box.reboot)


@contextmanager
def running_box(version: str | None = None) -> Iterator[RunningBox]:
    """Run a box on free ports of loopback while the block lasts."""
    ready: list[RunningBox] = []
    started = threading.Event()
    ended: list[asyncio.Event] = []

    async def run() -> None:
        clock = steady_clock()
        sessions = SessionTable()
        settings = BoxSettings(identity="norte", user=USER, password=Secret.from_text(PASSWORD))
        if version is not None:
            settings = BoxSettings(settings.identity, settings.user, settings.password, version)
        box = Box(RouterState(settings, clock(), lines=sessions), clock)
        plain, secure = bind_api(ADDRESS, 0, "norte"), bind_api(ADDRESS, 0, "norte")
        ports = plain.getsockname()[1], secure.getsockname()[1]
        box.serve(plain, API)
        box.serve(secure, API_TLS, server_context(CERTIFICATE))
        ended.append(asyncio.Event())
        ready.append(RunningBox(box, sessions, *ports))
        started.set()
        await ended[0].wait()
        box.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield ready[0]
    finally:
        ready[0].do(ended[0].set)
        thread.join(10)
