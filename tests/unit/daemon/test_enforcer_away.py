"""A router that is away and comes back, in simulated time: the true lines, lanes and queue.

Rule: a request to a silent router ends after 30 s; one of its retransmissions (RFC 5080 §2.2.1) may find it back.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import cast

import pytest

from daemon.enforcement_keeper import LineKeeper
from daemon.enforcement_lines import Lines
from daemon.enforcement_report import EnforcementCounts
from daemon.enforcement_routers import RouterLanes, find_site
from enforcement.drivers.coa import CoaClient, Outcome, Target
from enforcement.drivers.coa_ports import LONGEST_EXCHANGE_SECONDS
from radius.dynamic_authorization import DynamicRequest
from tests.unit.daemon.simulated_time import SimulatedLoop, run
from tests.unit.daemon.test_enforcer_lines import ACK, FAST, ROUTER, SILENT, SLOW, Kept, NoApi, order

RETRANSMISSIONS = (0.0, 2.0, 6.0, 14.0)
"""Seconds after the first; the last one waits until 30 s are over."""
ANSWER_SECONDS = 0.02
BACK_SECONDS = 30.0
PER_SECOND = 50


class DistantNas:
    """A router that answers from `back_at` on, and what it was sent."""

    def __init__(self, loop: SimulatedLoop, back_at: float) -> None:
        self._loop = loop
        self.back_at = back_at
        self.sent_at: list[float] = []
        self.under_way: set[str] = set()

    async def send(self, _target: Target, request: DynamicRequest) -> Outcome:
        session = request.session.acct_session_id or ""
        assert session not in self.under_way
        self.under_way.add(session)
        begun = self._loop.time()
        self.sent_at.append(begun)
        try:
            heard = [begun + pause for pause in RETRANSMISSIONS if begun + pause >= self.back_at]
            if heard:
                await asyncio.sleep(heard[0] - begun + ANSWER_SECONDS)
                return ACK
            await asyncio.sleep(LONGEST_EXCHANGE_SECONDS)
            return SILENT
        finally:
            self.under_way.discard(session)


class Distant:
    """Lines of one router in simulated time."""

    def __init__(self, loop: SimulatedLoop, back_at: float) -> None:
        self.nas = DistantNas(loop, back_at)
        self.kept = Kept()
        routers = {1: ROUTER}
        self.lanes = RouterLanes(loop, routers=lambda: routers, per_second=lambda: PER_SECOND)
        self.lines = Lines(
            cast("CoaClient", self.nas),
            NoApi(),
            cast("LineKeeper", self.kept),
            EnforcementCounts(),
            find_site=lambda wanted: find_site(routers, (wanted.router_id, wanted.nas)),
            find_lane=lambda wanted: self.lanes.find((wanted.router_id, wanted.nas)),
            clock=loop.clock,
        )

    async def rest(self) -> None:
        """Wait until nothing is left to be done."""
        while len(self.lines):  # noqa: ASYNC110 - lines tell nobody when they come to rest
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("lines", [1, 20, 500])
@pytest.mark.parametrize("away_seconds", [10.0, 60.0, 600.0, 3600.0, 3607.0, 3619.0])
def test_all_lines_are_proven_within_30_s_after_a_router_is_back(lines: int, away_seconds: float) -> None:
    loop = SimulatedLoop()
    took: list[float] = []

    async def story() -> None:
        distant = Distant(loop, away_seconds)
        for session_id in range(1, lines + 1):
            distant.lines.take(order(SLOW, before=FAST, session_id=session_id))
        await distant.rest()
        took.append(loop.time() - away_seconds)
        assert {line.session_id for line in distant.kept.lines if line.is_proven} == set(range(1, lines + 1))
        assert distant.lanes.away == 0
        sent = distant.nas.sent_at
        most = max(sum(1 for each in sent if second <= each < second + 1) for second in sent)
        assert most <= PER_SECOND

    run(story(), loop)
    assert took[0] <= BACK_SECONDS


def test_lines_that_come_while_a_router_is_away_wait_with_the_others() -> None:
    loop = SimulatedLoop()

    async def story() -> None:
        distant = Distant(loop, 3600.0)
        for session_id in range(1, 121):
            distant.lines.take(order(SLOW, before=FAST, session_id=session_id))
            await asyncio.sleep(29.9)
        asked = len(distant.nas.sent_at)
        assert asked <= 3600 / 5 + 8, "a router that is away is only probed"
        await distant.rest()
        assert loop.time() <= 3600 + BACK_SECONDS

    run(story(), loop)


def test_proven_lines_leave_nothing_in_memory() -> None:
    loop = SimulatedLoop()
    held: list[int] = []

    async def story() -> None:
        distant = Distant(loop, 0.0)
        tracemalloc.start()
        for first in (1, 2001, 4001):
            for session_id in range(first, first + 2000):
                distant.lines.take(order(SLOW, before=FAST, session_id=session_id))
            await distant.rest()
            distant.kept.lines.clear()
            distant.nas.sent_at.clear()
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()

    run(story(), loop)
    assert held[2] - held[1] < 20_000, "ten octets a line"
