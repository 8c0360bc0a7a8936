"""Requests of other systems in the queues of the routers, in simulated time: the true lanes and queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise

import pytest

from daemon.enforcement_routers import RouterLanes
from daemon.relayed_requests import LONGEST_WAIT_SECONDS, Found, RelayedRequests
from domain.secret import Secret
from enforcement.drivers.coa import Kind, Outcome, Target
from enforcement.drivers.coa_ports import LONGEST_EXCHANGE_SECONDS, CannotSend
from enforcement.profiles import PROFILES
from enforcement.router_queue import MOST_GUESTS, MOST_IN_FLIGHT, PROBE_SECONDS, SILENT_IN_A_ROW, Ended
from radius.dynamic_authorization import CannotAsk, DynamicRequest, SessionNames, disconnect
from tests.unit.daemon.simulated_time import SimulatedLoop, run

PER_SECOND = 50
BOX = (1, "")
WHERE = Target("192.0.2.1", 3799, Secret(b"hush"), PROFILES["mikrotik"])
ACK = Outcome(Kind.ACK)
SILENT = Outcome(Kind.SILENT)


def session(number: int) -> Found:
    names = SessionNames(user_name=f"user{number}", acct_session_id=f"8100{number:04x}")
    return Found(names, WHERE, number, BOX)


class Nas:
    """A router that takes its time; what it was sent, and how much of it at once."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.seconds = 0.02
        self.outcome: Outcome | Exception = ACK
        self.sent_at: list[float] = []
        self.under_way: set[str] = set()
        self.most_under_way = 0

    async def send(self, _target: Target, request: DynamicRequest) -> Outcome:
        name = request.session.acct_session_id or ""
        assert name not in self.under_way, "one in flight a session"
        self.under_way.add(name)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        self.sent_at.append(self._loop.time())
        try:
            await asyncio.sleep(self.seconds)
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome
        finally:
            self.under_way.discard(name)


class Bench:
    """Requests of other systems, and the lane that they share with ours."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.nas = Nas(loop)
        self.lanes = RouterLanes(loop, routers=dict, per_second=lambda: PER_SECOND)
        self.requests = RelayedRequests(self.nas.send, self.lanes.find)

    def ask(self, number: int) -> asyncio.Task[Outcome]:
        found = session(number)
        return self.loop.create_task(self.requests.send(found, disconnect(found.session)))

    async def lose_router(self) -> None:
        """Let the router leave as many requests unanswered as make it one that is away."""
        self.nas.outcome, self.nas.seconds = SILENT, LONGEST_EXCHANGE_SECONDS
        await asyncio.gather(*(self.ask(1000 + number) for number in range(SILENT_IN_A_ROW)))
        assert self.lanes.away == 1
        self.nas.sent_at.clear()


def played(story: Callable[[Bench], Coroutine[None, None, None]]) -> None:
    loop = SimulatedLoop()

    async def begin() -> None:
        await story(Bench(loop))

    run(begin(), loop)


def test_a_router_is_asked_by_others_at_its_rate_and_so_many_at_once() -> None:
    async def story(bench: Bench) -> None:
        bench.nas.seconds = 0.1
        outcomes = await asyncio.gather(*(bench.ask(number) for number in range(200)))
        assert outcomes == [ACK] * 200
        sent = bench.nas.sent_at
        assert max(sum(1 for each in sent if second <= each < second + 1) for second in sent) <= PER_SECOND
        assert bench.nas.most_under_way <= MOST_IN_FLIGHT
        assert sent[-1] - sent[0] < LONGEST_WAIT_SECONDS

    played(story)


def test_a_session_is_asked_one_thing_at_a_time_and_nothing_is_left_out() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.gather(*(bench.ask(7) for _ in range(5)))
        sent = bench.nas.sent_at
        assert len(sent) == 5
        assert all(later - earlier > bench.nas.seconds * 0.999 for earlier, later in pairwise(sent))

    played(story)


def test_a_flood_of_others_leaves_our_own_every_second_turn() -> None:
    async def story(bench: Bench) -> None:
        flood = [bench.ask(number) for number in range(MOST_GUESTS)]
        await asyncio.sleep(0)
        lane, took = bench.lanes.find(BOX), []

        def begin(number: int) -> Callable[[], None]:
            def answered() -> None:
                took.append(bench.loop.time())
                lane.done(number, Ended.ANSWERED)

            return answered

        for number in range(500, 540):
            assert lane.push(number, begin(number), urgent=False)
        await asyncio.gather(*flood)
        assert len(took) == 40
        assert max(took) <= 2 * 40 / (PER_SECOND * 0.75), "no bucket fills at less than three quarters of the rate"

    played(story)


def test_a_request_whose_turn_does_not_come_in_time_is_not_sent() -> None:
    async def story(bench: Bench) -> None:
        bench.nas.seconds = LONGEST_EXCHANGE_SECONDS
        first = bench.ask(7)
        await asyncio.sleep(1)
        with pytest.raises(CannotSend, match="no turn came within 10 s"):
            await bench.ask(7)
        assert bench.loop.time() == pytest.approx(1 + LONGEST_WAIT_SECONDS, abs=0.1)
        await first
        assert len(bench.nas.sent_at) == 1
        assert bench.lanes.waiting == 0

    played(story)


def test_more_than_may_wait_are_turned_away_at_once() -> None:
    async def story(bench: Bench) -> None:
        tasks = [bench.ask(number) for number in range(MOST_GUESTS + 1)]
        with pytest.raises(CannotSend, match="too many requests waiting"):
            await tasks[-1]
        assert bench.loop.time() == 0
        assert await asyncio.gather(*tasks[:-1]) == [ACK] * MOST_GUESTS

    played(story)


def test_a_router_that_is_away_is_not_asked_and_a_probe_brings_it_back() -> None:
    async def story(bench: Bench) -> None:
        await bench.lose_router()
        bench.nas.outcome, bench.nas.seconds = ACK, 0.02
        with pytest.raises(CannotSend, match="leaves requests unanswered"):
            await bench.ask(1)
        assert bench.nas.sent_at == []
        await asyncio.sleep(PROBE_SECONDS)
        probe, other = bench.ask(2), bench.ask(3)
        with pytest.raises(CannotSend, match="leaves requests unanswered"):
            await other
        assert await probe is ACK
        assert bench.lanes.away == 0
        assert await bench.ask(4) is ACK

    played(story)


@pytest.mark.parametrize("fault", [CannotSend("full"), CannotAsk("what cannot be encoded")])
def test_what_could_not_leave_says_nothing_of_the_router(fault: Exception) -> None:
    async def story(bench: Bench) -> None:
        bench.nas.outcome = fault
        for number in range(SILENT_IN_A_ROW + 1):
            with pytest.raises(type(fault)):
                await bench.ask(number)
        assert bench.lanes.away == 0
        bench.nas.outcome = ACK
        assert await bench.ask(1) is ACK

    played(story)


@pytest.mark.parametrize("turns", range(6))
def test_who_gives_up_at_any_moment_leaves_the_turn_to_the_next(turns: int) -> None:
    async def story(bench: Bench) -> None:
        task = bench.ask(7)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bench.ask(7) is ACK
        assert bench.lanes.find(BOX).is_idle

    played(story)


def test_a_core_that_is_relieved_sends_nothing_that_waits() -> None:
    async def story(bench: Bench) -> None:
        bench.nas.seconds = LONGEST_EXCHANGE_SECONDS
        first = bench.ask(7)
        await asyncio.sleep(1)
        waiting = bench.ask(7)
        await asyncio.sleep(0)
        bench.requests.close()
        with pytest.raises(CannotSend, match="stands by"):
            await waiting
        assert await first is ACK
        assert len(bench.nas.sent_at) == 1

    played(story)


def test_boxes_of_one_router_entry_have_lanes_of_their_own() -> None:
    async def story(bench: Bench) -> None:
        await bench.lose_router()
        bench.nas.outcome, bench.nas.seconds = ACK, 0.02
        other = replace(session(1), box=(1, "192.0.2.2"))
        assert await bench.requests.send(other, disconnect(other.session)) is ACK

    played(story)
