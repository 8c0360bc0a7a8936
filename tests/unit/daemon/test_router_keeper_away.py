"""A router whose API is away and comes back, in simulated time: the true keeper, connection and rest.

Rule: an attempt that begins while the router is away fails when the patience of a connection is over, also where the
router comes back meanwhile; what was written before the router went away is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
import sqlalchemy

from daemon.router_accounting import Bookings
from daemon.router_duty import Duty
from daemon.router_keeper import Pace, RouterKeeper, Surroundings
from daemon.router_report import RouterCounts
from daemon.router_truth import Unknown
from domain.network import ApiAccess
from domain.secret import Secret
from enforcement.contention import Queueing, StaticLine
from enforcement.drivers.routeros import Rest, RouterConnection, RouterThread
from enforcement.drivers.routeros_channel import Arguments, Channel, Endpoint, Patience, Reply
from enforcement.drivers.routeros_errors import RouterOsAway, Trouble
from enforcement.session_truth import Truth
from storage.snapshot import Snapshot
from tests.unit.daemon.simulated_time import SimulatedLoop, run
from tests.unit.daemon.test_enforcer_lines import ROUTER
from tests.unit.enforcement.entitled import entitled

BACK_SECONDS = 30.0
AWAY_AT = 100.0
LISTS = "/ip/firewall/address-list"
LINE = StaticLine("service-1", "ana", "plan-1", ("10.0.0.1",), entitled(1, 1, admitted=False))
DUTY = Duty(Queueing.NONE, {}, (LINE,), {}, {"service-1": "ana"}, {1: b"in force"}, None)

Result = TypeVar("Result")


class DistantBox:
    """A router that is away for some time and has lost everything when it is back; a channel to itself."""

    def __init__(self, back_at: float) -> None:
        self.back_at = back_at
        self.rows: list[dict[str, str]] = []
        self.calls = 0

    def call(self, path: str, _arguments: Arguments = (), _queries: Iterable[str] = ()) -> Reply:
        self.calls += 1
        return Reply(rows=list(self.rows) if path == f"{LISTS}/print" else [])

    def run(self, commands: Iterable[tuple[str, Arguments]], _in_flight: int) -> list[Reply]:
        added = [dict(arguments) for path, arguments in commands if path == f"{LISTS}/add"]
        self.rows += [{".id": f"*{number}", **row} for number, row in enumerate(added)]
        return [Reply() for _ in added]

    def close(self) -> None:
        """Nothing is open."""


class Distant:
    """The thread of such a router, in simulated time."""

    def __init__(self, loop: SimulatedLoop, box: DistantBox, patience: Patience) -> None:
        self._loop = loop
        self._box = box
        self._patience = patience
        self._rest = Rest(chance=lambda: 1.0)
        self._is_away = False
        endpoint = Endpoint("north", "192.0.2.1", "caudal", Secret(b"hush"))
        self._connection = RouterConnection(endpoint, patience, clock=loop.time, rest=self._rest, opening=self._open)

    def submit(self, work: Callable[[RouterConnection], Result]) -> Future[Result]:
        """Do `work` when the network has had its time."""
        done: Future[Result] = Future()
        now = self._loop.time()
        self._is_away = AWAY_AT <= now < self._box.back_at
        if self._is_away and self._rest.remaining(now) == 0:
            self._box.rows = []
            self._loop.call_later(self._patience.connect, self._work, work, done)
        else:
            self._work(work, done)
        return done

    def _open(self, *_: object) -> Channel:
        if self._is_away:
            raise RouterOsAway("north", Trouble.UNREACHABLE, "nobody answers")
        return cast("Channel", self)

    def _work(self, work: Callable[[RouterConnection], Result], done: Future[Result]) -> None:
        try:
            done.set_result(work(self._connection))
        except Exception as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)

    def call(self, path: str, arguments: Arguments = (), queries: Iterable[str] = ()) -> Reply:
        if self._is_away:
            raise RouterOsAway("north", Trouble.TIMEOUT, "it does not answer")
        return self._box.call(path, arguments, queries)

    def run(self, commands: Iterable[tuple[str, Arguments]], in_flight: int) -> list[Reply]:
        return self._box.run(commands, in_flight)

    def close(self) -> None:
        """Nothing is open."""


async def at_once(work: Callable[..., Any], *_arguments: Any) -> Any:
    """Answer for the database."""
    if work.__name__ == "compute":
        return DUTY
    return Truth((), (), (), rebooted=False), Unknown((), ())


@pytest.mark.parametrize("away_seconds", [10.0, 600.0, *(3600.0 + part for part in range(0, 25, 2))])
def test_a_router_is_as_it_should_be_within_30_s_after_it_is_back(away_seconds: float) -> None:
    loop = SimulatedLoop()
    back_at = AWAY_AT + away_seconds
    box = DistantBox(back_at)

    async def story() -> None:
        thread = Distant(loop, box, Patience())
        around = Surroundings(
            cast("sqlalchemy.Engine", None),
            cast("Callable[..., Awaitable[Any]]", at_once),
            cast("Bookings", None),
            RouterCounts(),
            lambda: cast("Snapshot", None),
            loop.clock,
            Pace(),
        )
        router = replace(ROUTER, api=ApiAccess("caudal", Secret(b"hush"), None, tls=True))
        keeper = RouterKeeper(router, lambda: cast("RouterThread", thread), around)
        task = asyncio.create_task(keeper.run())
        await asyncio.sleep(AWAY_AT - 1)
        assert len(box.rows) == 1
        await asyncio.sleep(2)
        keeper.wake()
        await asyncio.sleep(back_at - loop.time())
        assert keeper.knowledge.away_since is not None
        assert box.rows == []
        while keeper.knowledge.away_since is not None:  # noqa: ASYNC110 - a keeper tells nobody
            await asyncio.sleep(0.05)
        task.cancel()

    run(story(), loop)
    assert len(box.rows) == 1
    assert loop.time() - back_at <= BACK_SECONDS
