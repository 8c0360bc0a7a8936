"""The lines at work: one step at a time, the newest wish only, and nothing lost when a router is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from daemon.enforcement_keeper import LineKeeper
from daemon.enforcement_lines import Lines
from daemon.enforcement_orders import Crossing, Order
from daemon.enforcement_report import EnforcementCounts
from daemon.enforcement_routers import RouterLanes, Site, find_site
from domain.network import MessageAuthenticatorPolicy, Plan, PlanId, Router, RouterId
from domain.plan_rules import NO_RULES, Blocking
from domain.secret import Secret
from enforcement.drivers.coa import CoaClient, Kind, Outcome, Target
from enforcement.drivers.coa_ports import CannotSend
from enforcement.entitlement import Entitlement, entitle, fingerprint
from enforcement.line_change import Wish
from enforcement.reconcile import LineState, OutcomeKind, Problem, Proof
from enforcement.standing import AccountState, Standing
from radius.codes import Code
from radius.dynamic_authorization import DynamicRequest, SessionNames

NOW = datetime.now(UTC)
SECONDS = 5.0
ROUTER = Router(
    id=RouterId(1),
    name="north",
    network="192.0.2.1/32",
    identifier=None,
    secret=Secret(b"hush"),
    profile="mikrotik",
    coa_port=3799,
    require_message_authenticator=MessageAuthenticatorPolicy.AUTO,
    flip_counters=False,
    api=None,
)
ACK = Outcome(Kind.ACK)
SILENT = Outcome(Kind.SILENT)


def gives(megabits: int, account: AccountState = AccountState.ACTIVE) -> Entitlement:
    plan = Plan(PlanId(1), "fast", megabits * 1_000_000, 1_000_000, None, None, None, None, None, 300, None)
    return entitle(plan, NO_RULES, Blocking(), Standing(1, account=account), UTC, NOW)


def order(entitlement: Entitlement, *, before: Entitlement | None = None, session_id: int = 1) -> Order:
    proven = None if before is None else fingerprint(before)
    state = LineState(session_id, fingerprint(entitlement), NOW, admitted=entitlement.admitted, proven=proven)
    names = SessionNames(user_name=f"user{session_id}", acct_session_id=f"8100{session_id:04x}")
    wish = Wish(entitlement, NOW, f"user{session_id}", "fast")
    return Order(state, session_id, 1, "north", "", names, wish, before, (), NOW, urgent=True)


class Nas:
    """A CoA client that keeps what it was asked, and answers when it is told to."""

    def __init__(self, *answers: Outcome) -> None:
        self.asked: list[DynamicRequest] = []
        self.under_way = 0
        self.most_under_way = 0
        self.hold: asyncio.Event | None = None
        self._answers = list(answers)

    async def send(self, _target: Target, request: DynamicRequest) -> Outcome:
        self.asked.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        return self._answers.pop(0) if self._answers else ACK

    def rates(self) -> list[bytes]:
        """Return what each CoA set, without the head of its attribute."""
        return [request.attributes[8:] for request in self.asked]


class Full(Nas):
    """A CoA client that takes nothing."""

    async def send(self, _target: Target, request: DynamicRequest) -> Outcome:
        self.asked.append(request)
        raise CannotSend("full")


class Kept:
    """Keeps what the keeper would write."""

    def __init__(self) -> None:
        self.lines: list[LineState] = []

    def keep(self, line: LineState, _now: datetime, _crossing: Crossing | None = None) -> None:
        self.lines.append(line)

    def holds(self, session_id: int, fingerprint: bytes) -> bool:
        newest = [line for line in self.lines if line.session_id == session_id][-1:]
        return any(line.is_proven and line.desired == fingerprint for line in newest)


class NoApi:
    """No router has an API here."""

    async def read_back(self, _site: Site, _order: Order) -> OutcomeKind:
        raise AssertionError

    change = kick = read_back


class Bench:
    """Lines with everything around them."""

    def __init__(self, nas: Nas, *, router: Router | None = ROUTER) -> None:
        self.nas = nas
        self.kept = Kept()
        self.counts = EnforcementCounts()
        routers = {} if router is None else {1: router}
        self.lanes = RouterLanes(asyncio.get_running_loop(), routers=lambda: routers, per_second=lambda: 10_000)
        self.lines = Lines(
            cast("CoaClient", nas),
            NoApi(),
            cast("LineKeeper", self.kept),
            self.counts,
            find_site=lambda wanted: find_site(routers, (wanted.router_id, wanted.nas)),
            find_lane=lambda wanted: self.lanes.find((wanted.router_id, wanted.nas)),
            clock=lambda: datetime.now(UTC),
        )

    async def until(self, said: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not said():  # noqa: ASYNC110 - lines tell nobody when they come to rest
                await asyncio.sleep(0.001)

    @property
    def last(self) -> LineState:
        return self.kept.lines[-1]


def play(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(story())


FAST, SLOW, MIDDLE = gives(20), gives(1), gives(5)


def test_a_line_is_told_and_proven() -> None:
    async def story() -> None:
        bench = Bench(Nas())
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: len(bench.lines) == 0)
        assert bench.nas.rates() == [b"1M/1M"]
        assert bench.last.is_proven
        assert bench.last.proven_by is Proof.COA
        assert bench.counts.proven == {"coa": 1}
        assert sum(bench.counts.wire_us.counts) == sum(bench.counts.proof_us.counts) == 1

    play(story)


def test_of_wishes_that_come_while_one_is_under_way_only_the_newest_is_told() -> None:
    async def story() -> None:
        bench = Bench(Nas())
        bench.nas.hold = asyncio.Event()
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: bench.nas.under_way == 1)
        for wish in (MIDDLE, gives(2), gives(3)):
            bench.lines.take(order(wish))
        bench.nas.hold.set()
        await bench.until(lambda: len(bench.lines) == 0)
        assert bench.nas.rates() == [b"1M/1M", b"1M/3M"]
        assert bench.nas.most_under_way == 1
        assert bench.last.desired == fingerprint(gives(3))

    play(story)


def test_a_wish_that_returns_while_another_is_under_way_is_told_again() -> None:
    async def story() -> None:
        bench = Bench(Nas())
        bench.nas.hold = asyncio.Event()
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: bench.nas.under_way == 1)
        bench.lines.take(order(FAST))
        bench.nas.hold.set()
        await bench.until(lambda: len(bench.lines) == 0)
        assert bench.nas.rates() == [b"1M/1M", b"1M/20M"]

    play(story)


def test_what_another_system_changes_while_a_line_is_told_is_told_again() -> None:
    async def story() -> None:
        bench = Bench(Nas())
        bench.nas.hold = asyncio.Event()
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: bench.nas.under_way == 1)
        bench.lines.disprove(1)
        bench.nas.hold.set()
        await bench.until(lambda: len(bench.lines) == 0)
        assert bench.nas.rates() == [b"1M/1M", b"1M/1M"]
        assert bench.last.is_proven

    play(story)


def test_what_another_system_changes_while_a_line_waits_makes_what_was_in_force_unknown() -> None:
    async def story() -> None:
        bench = Bench(Nas(SILENT))
        bench.lines.take(order(SLOW, before=FAST))
        bench.lines.disprove(1)
        bench.lines.disprove(2)
        await bench.until(lambda: bool(bench.kept.lines))
        assert bench.last.proven is None
        assert bench.nas.rates() == [b"1M/1M"]

    play(story)


def test_what_differs_in_nothing_a_router_is_told_is_proven_without_a_word() -> None:
    async def story() -> None:
        bench = Bench(Nas(), router=replace(ROUTER, profile="generic"))
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: len(bench.lines) == 0)
        assert bench.nas.asked == []
        assert bench.last.is_proven

    play(story)


def test_a_line_that_may_not_be_used_is_disconnected() -> None:
    async def story() -> None:
        bench = Bench(Nas())
        bench.lines.take(order(gives(20, AccountState.BLOCKED), before=FAST))
        await bench.until(lambda: len(bench.lines) == 0)
        assert [request.code for request in bench.nas.asked] == [Code.DISCONNECT_REQUEST]
        assert bench.last.proven_by is Proof.DISCONNECT

    play(story)


def test_a_refused_change_goes_down_the_ladder_at_once() -> None:
    async def story() -> None:
        bench = Bench(Nas(Outcome(Kind.NAK, 401), ACK))
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: len(bench.lines) == 0)
        assert [request.code for request in bench.nas.asked] == [Code.COA_REQUEST, Code.DISCONNECT_REQUEST]
        assert bench.kept.lines[0].problem is Problem.REFUSED_401

    play(story)


def test_a_session_that_ended_is_not_asked_about_any_more() -> None:
    async def story() -> None:
        bench = Bench(Nas(SILENT))
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: bool(bench.kept.lines))
        bench.lines.withdraw([1])
        assert len(bench.lines) == 0
        await asyncio.sleep(0)
        assert len(bench.nas.asked) == 1

    play(story)


def test_a_router_that_falls_silent_is_listed_as_away_and_no_line_is_forgotten() -> None:
    async def story() -> None:
        bench = Bench(Nas(*[SILENT] * 8))
        for session_id in range(1, 9):
            bench.lines.take(order(SLOW, before=FAST, session_id=session_id))
        await bench.until(lambda: bench.lanes.away == 1)
        await bench.until(lambda: bench.lines.problems()["router_away"] > 0)
        assert len(bench.lines) == 8
        bench.lines.take(order(SLOW, before=FAST, session_id=9))
        assert bench.last.problem is Problem.ROUTER_AWAY
        assert bench.last.attempts == 0

    play(story)


@pytest.mark.parametrize("router", [None, replace(ROUTER, network="192.0.2.0/24")])
def test_a_line_whose_router_nobody_can_reach_is_listed_as_such(router: Router | None) -> None:
    async def story() -> None:
        bench = Bench(Nas(), router=router)
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: bool(bench.kept.lines))
        assert bench.last.problem is Problem.CANNOT_CHANGE
        assert bench.last.next_attempt_at is not None
        assert bench.last.next_attempt_at - NOW > timedelta(minutes=4)

    play(story)


def test_a_client_that_can_send_nothing_now_is_asked_again_soon() -> None:
    async def story() -> None:
        bench = Bench(Full())
        bench.lines.take(order(SLOW, before=FAST))
        await bench.until(lambda: bool(bench.kept.lines))
        assert bench.last.problem is Problem.RATE_LIMITED
        assert bench.last.attempts == 0

    play(story)


def test_a_thousand_lines_cost_each_one_request() -> None:
    async def story() -> None:
        bench = Bench(Nas())
        for session_id in range(1, 1001):
            bench.lines.take(order(SLOW, before=FAST, session_id=session_id))
            bench.lines.take(order(SLOW, before=FAST, session_id=session_id))
        await bench.until(lambda: len(bench.lines) == 0)
        assert len(bench.nas.asked) == 1000
        assert bench.nas.most_under_way <= 8

    play(story)
