"""What another system changes of a session by CoA is not taken for ours: the line is proven anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sqlalchemy

from daemon.enforcement_keeper import GATHER_SECONDS, LineKeeper
from daemon.enforcement_lines import Lines
from daemon.enforcement_orders import Order
from daemon.enforcement_report import EnforcementCounts
from daemon.foreign_changes import ForeignChanges, may_change
from daemon.relayed_requests import Found
from domain.secret import Secret
from enforcement.attributes import CISCO_AVPAIR, MIKROTIK_GROUP, MIKROTIK_RATE_LIMIT
from enforcement.drivers.coa import Kind, Outcome, Target
from enforcement.drivers.coa_ports import CannotSend
from enforcement.profiles import PROFILES
from enforcement.reconcile import LineState, Problem, Proof
from radius.codes import Type, Vendor
from radius.dynamic_authorization import DynamicRequest, SessionNames, change
from radius.packet import attribute, vendor_attribute
from storage.outbox import Topic
from tests.integration.test_enforcer import NIGHTS, NOW, Core, capped, partitions  # noqa: F401 - fixtures

NAMES = SessionNames(user_name="ana", acct_session_id="81000001")
WHERE = Target("127.0.0.9", 3799, Secret(b"hush"), PROFILES["mikrotik"])
FOUND = Found(NAMES, WHERE, session_id=1, box=(1, ""))
DUE = "SELECT topic, session_id, happened_at <= clock_timestamp() FROM outbox WHERE topic = 'foreign'"


class PowerCut(Exception):
    """The core is no more."""


@dataclass
class Disproved:
    """Lines at work that only note what they are told."""

    sessions: list[int]

    def disprove(self, session_id: int) -> None:
        self.sessions.append(session_id)


class Bench:
    """Foreign changes over a database; `forward` is what becomes of a request."""

    def __init__(self, core: Core) -> None:
        self._engine = core.engine
        self.lines = Disproved([])
        self.is_active = True
        self.found = FOUND

    def send(self, forward: Callable[[], Awaitable[Outcome]], *proven_before: LineState) -> Outcome:
        """Send a request of another system while the proofs of `proven_before` are still to be written."""

        async def story() -> Outcome:
            def in_thread(work: Callable[..., Any], *rest: Any) -> asyncio.Future[Any]:
                return asyncio.get_running_loop().run_in_executor(None, work, *rest)

            keeper = LineKeeper(self._engine, EnforcementCounts(), in_thread)
            writing = asyncio.create_task(keeper.run())
            changes = ForeignChanges(
                self._engine, in_thread, cast("Lines", self.lines), keeper, is_active=lambda: self.is_active
            )

            async def forwarded(_found: Found, _request: DynamicRequest) -> Outcome:
                for state in proven_before:
                    keeper.keep(state, NOW)
                return await forward()

            try:
                outcome = await changes.send(self.found, change(NAMES, b""), forwarded)
            finally:
                writing.cancel()
            assert not any(keeper.holds(state.session_id, state.desired) for state in proven_before)
            return outcome

        return asyncio.run(story())


def says(outcome: Outcome) -> Callable[[], Awaitable[Outcome]]:
    async def answer() -> Outcome:
        return outcome

    return answer


def acknowledged(core: Core) -> Order:
    """Let another system have changed the session; return what follows."""
    Bench(core).send(says(Outcome(Kind.ACK)))
    (order,) = core.evaluator.take().orders
    return order


def test_a_line_that_was_proven_is_told_its_rates_again(capped: Core) -> None:  # noqa: F811 - a fixture
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    assert capped.line().is_proven
    order = acknowledged(capped)
    assert (order.state.proven, order.before, order.candidates) == (None, None, ())
    assert capped.line().problem is Problem.CHANGED_ELSEWHERE
    assert capped.line().proven_by is None
    assert capped.evaluator.take().orders == [], "it is looked at once"


def test_a_session_that_had_no_line_gets_one(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    core = Core(engine, database_dsn, "{}")
    core.open_session()
    assert core.happen(Topic.OPENED, 1).orders == []
    order = acknowledged(core)
    assert (order.state.proven, order.before, order.candidates) == (None, None, ())
    assert order.wish.entitlement.download == 20_000_000


def test_what_was_not_proven_before_is_not_known_at_all(capped: Core) -> None:  # noqa: F811 - a fixture
    capped.open_session(with_class=False)
    capped.happen(Topic.OPENED, 1)
    order = acknowledged(capped)
    assert order.before is None
    assert order.candidates != ()
    assert capped.line().problem is None


@pytest.mark.parametrize("seconds", [0.0, 2 * GATHER_SECONDS])
def test_a_proof_that_was_on_its_way_does_not_come_after(
    capped: Core,  # noqa: F811 - a fixture
    seconds: float,
) -> None:
    capped.open_session(with_class=False)
    (first,) = capped.happen(Topic.OPENED, 1).orders
    proven = LineState(1, first.state.desired, NOW, proven=first.state.desired, proven_by=Proof.COA)
    bench = Bench(capped)

    async def takes_its_time() -> Outcome:
        await asyncio.sleep(seconds)
        return Outcome(Kind.ACK)

    bench.send(takes_its_time, proven)
    assert bench.lines.sessions == [1]
    capped.evaluator.take()
    assert not capped.line().is_proven


def test_a_wish_that_changes_meanwhile_goes_before(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,  # noqa: F811 - a fixture
) -> None:
    core = Core(engine, database_dsn, NIGHTS)
    core.open_session()
    core.happen(Topic.OPENED, 1)
    core.clock.now = NOW.replace(hour=23)
    order = acknowledged(core)
    assert order.wish.entitlement.download == 40_000_000
    assert order.before is None
    assert order.candidates != (), "what it desired before may be in force"


@pytest.mark.parametrize(("outcome", "again"), [(Kind.ACK, True), (Kind.SILENT, True), (Kind.NAK, False)])
def test_a_refusal_alone_changes_nothing(
    capped: Core,  # noqa: F811 - a fixture
    outcome: Kind,
    again: bool,
) -> None:
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    Bench(capped).send(says(Outcome(outcome)))
    assert capped.ask(DUE) == ([("foreign", 1, True)] if again else [])
    assert len(capped.evaluator.take().orders) == again


def test_a_core_that_dies_before_the_answer_leaves_it_to_the_next(capped: Core) -> None:  # noqa: F811 - a fixture
    capped.open_session()
    capped.happen(Topic.OPENED, 1)

    async def dies() -> Outcome:
        assert capped.ask(DUE) == [("foreign", 1, False)], "announced before it leaves"
        raise PowerCut

    with pytest.raises(PowerCut):
        Bench(capped).send(dies)
    another = capped.another()
    assert another.take().orders == [], "its answer may still come"
    capped.do("UPDATE outbox SET happened_at = now()")
    (order,) = another.take().orders
    assert (order.state.proven, order.candidates) == (None, ())


@pytest.mark.parametrize("is_active", [True, False])
def test_what_could_not_leave_is_forgotten_unless_nobody_knows(
    capped: Core,  # noqa: F811 - a fixture
    is_active: bool,
) -> None:
    capped.open_session()
    bench = Bench(capped)
    bench.is_active = is_active

    async def full() -> Outcome:
        raise CannotSend("full")

    with pytest.raises(CannotSend):
        bench.send(full)
    assert capped.ask(DUE) == ([] if is_active else [("foreign", 1, False)])


def test_a_session_that_has_ended_is_nobodys_concern(capped: Core) -> None:  # noqa: F811 - a fixture
    capped.open_session()
    capped.do("UPDATE session SET state = 1, stopped_at = :now", now=NOW)
    Bench(capped).send(says(Outcome(Kind.ACK)))
    assert capped.ask(DUE) == []


QUERY = vendor_attribute(Vendor.CISCO, CISCO_AVPAIR, b"subscriber:command=account-status-query")
POLICE = vendor_attribute(Vendor.CISCO, CISCO_AVPAIR, b"lcp:interface-config#1=rate-limit output 8000 1500 1500")
GROUP = vendor_attribute(Vendor.MIKROTIK, MIKROTIK_GROUP, b"gold")
RATE = vendor_attribute(Vendor.MIKROTIK, MIKROTIK_RATE_LIMIT, b"90M/90M")


@pytest.mark.parametrize(
    ("profile", "attributes", "told_again"),
    [
        ("mikrotik", RATE, True),
        ("mikrotik", GROUP, True),
        ("accel-ppp", attribute(Type.REPLY_MESSAGE, b"hello"), True),
        ("cisco", QUERY, False),
        ("cisco", POLICE, True),
        ("huawei", attribute(Type.FILTER_ID, b"x"), False),
        ("wispr", attribute(Type.SESSION_TIMEOUT, bytes(4)), False),
        ("generic", RATE, False),
    ],
)
def test_a_question_about_a_session_does_not_cost_it_a_login(profile: str, attributes: bytes, told_again: bool) -> None:
    assert may_change(change(NAMES, attributes), PROFILES[profile]) is told_again


def test_what_changes_nothing_of_ours_is_forwarded_and_no_more(capped: Core) -> None:  # noqa: F811 - a fixture
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    bench = Bench(capped)
    bench.found = Found(NAMES, Target("127.0.0.9", 1700, Secret(b"hush"), PROFILES["cisco"]), 1, (1, ""))
    bench.send(says(Outcome(Kind.ACK)))
    assert capped.ask("SELECT count(*) FROM outbox") == [(0,)]
    assert capped.line().is_proven
