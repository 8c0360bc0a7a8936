"""A line of 100 Mbit/s whose session began long before overshoots its cap by less than a minute of its traffic.

Everything but the router is true: the answer to its login, the wakes, the evaluation, what is kept. The router reports
as often as it was told, does what a CoA says that its manual lists, and ends a session whose octets are used up.
"""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import Any

import pytest
import sqlalchemy

from domain.plan_rules import Blocking, TopUpKind, TopUpOffer
from enforcement.entitlement import entitle
from enforcement.profiles import PROFILES
from enforcement.reconcile import LineState, Proof
from enforcement.reply import NOTHING_OWN, entitled_reply
from enforcement.thresholds import by_volume, next_crossing
from radius.codes import Code
from radius.packet import decode, encode_request
from simulator.session import Grant, read_grant, read_limits
from storage import standings, top_ups
from storage.outbox import Topic
from tests.integration.test_enforcer import Core, kept, partitions  # noqa: F401 - a fixture

GIGA = 1_000_000_000
A_SECOND = 100_000_000 // 8
FAR, NEAR = 2000 * GIGA, 3 * GIGA
"""Beyond a day of full speed, and within."""


def isp(engine: sqlalchemy.Engine, dsn: str, cap: dict[str, Any], profile: str) -> Core:
    """Return a core with a plan of 100 Mbit/s and a cap, and a router of that kind."""
    core = Core(engine, dsn, json.dumps({"cap": {"direction": "down", **cap}}))
    core.do("UPDATE plan SET download_bits_per_second = 100000000, upload_bits_per_second = 100000000")
    core.do("UPDATE router SET profile = :profile", profile=profile)
    core.do("UPDATE configuration_revision SET revision = revision + 1")
    core.evaluator.configure(core.snapshot())
    return core


class Session:
    """A session at full speed, as its router runs it."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.grant = self._log_in()
        self.limit = self.grant.limit_octets.download
        self.octets = 0
        self.is_ended = False
        core.open_session()
        core.happen(Topic.OPENED, 1)

    def _log_in(self) -> Grant:
        snapshot = self.core.snapshot()
        plan, profile = snapshot.plans[1], PROFILES[snapshot.routers[1].profile]
        with self.core.engine.connect() as connection:
            standing = standings.load(connection, [1], snapshot.plans, UTC, self.core.clock.now)[1].standing
        line = entitle(plan, plan.rules, Blocking(), standing, UTC, self.core.clock.now)
        crossing = None
        if profile.limits_octets:
            crossing = next_crossing(line, by_volume(plan), Blocking(), standing, UTC, self.core.clock.now)
        octets = entitled_reply(line, plan, NOTHING_OWN, profile, crossing=crossing).octets
        return read_grant(decode(encode_request(Code.ACCESS_ACCEPT, 1, octets, b"hush")))

    def have_used(self, octets: int) -> None:
        """Go on from an Interim-Update that says so much."""
        self.octets = octets
        self.core.use(octets)

    def run(self) -> int:
        """Run at full speed until the router ends the session or is told something; return the octets by then."""
        while True:
            self.core.clock.now += timedelta(seconds=self.grant.interim_seconds)
            self.octets += A_SECOND * self.grant.interim_seconds
            if self.limit and self.octets >= self.limit:
                # It looks at its counters once a second.
                self.octets, self.is_ended = self.limit + A_SECOND, True
                self.core.use(self.octets)
                return self.octets
            self.core.use(self.octets)
            ((wake,),) = self.core.ask("SELECT wake_octets FROM session WHERE id = 1")
            if wake is not None and self.octets >= wake:
                orders = self.core.happen(Topic.CROSSED, 1).orders
                if orders:
                    self._obey(orders[0])
                    return self.octets

    def _obey(self, order: Any) -> None:
        how = Proof.COA if order.state.admitted else Proof.DISCONNECT
        state = LineState(1, order.state.desired, self.core.clock.now, proven=order.state.desired, proven_by=how)
        kept(self.core.engine, state, crossing=order.crossing)

    def buy(self, octets: int) -> list[bytes]:
        """Buy a top-up; obey what the router is told of its limits, and return that."""
        offer = TopUpOffer("more", TopUpKind.OCTETS, octets)
        now = self.core.clock.now
        with self.core.engine.begin() as connection:
            order = top_ups.Order(1, offer, now, now + timedelta(days=30))
            top_ups.buy(connection, order, top_ups.Origin.OPERATOR, "k", now)
        told = [each.attributes for each in self.core.evaluator.take().raised]
        for attributes in told:
            request = decode(encode_request(Code.COA_REQUEST, 1, attributes, b"hush"))
            limits = read_limits(request, gigawords=False)
            assert limits is not None
            self.limit = limits.download
        return told


ACTIONS = [{"action": "block"}, {"action": "fixed", "download": 1_000_000, "upload": 1_000_000}]


@pytest.mark.parametrize("profile", ["mikrotik", "generic", "accel-ppp"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("cap", [FAR, NEAR])
@pytest.mark.parametrize("short_of", [1, 30 * A_SECOND, 59 * A_SECOND])
def test_a_session_that_began_long_before_overshoots_by_less_than_a_minute(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,  # noqa: F811 - a fixture
    profile: str,
    action: dict[str, Any],
    cap: int,
    short_of: int,
) -> None:
    session = Session(isp(engine, database_dsn, {"octets": cap, **action}, profile))
    session.have_used(cap - short_of)
    beyond = session.run() - cap
    assert 0 <= beyond < 60 * A_SECOND
    is_limited = profile == "mikrotik" and (cap == FAR or action["action"] == "block")
    assert (session.limit > 0) == is_limited
    interim = session.grant.interim_seconds
    assert interim == (300 if is_limited and cap == FAR else 60)
    assert session.is_ended == (is_limited and interim * A_SECOND - short_of >= 45 * A_SECOND)
    assert session.is_ended or session.core.line().overshoot_octets == beyond, "measured, and kept to be shown"


def test_a_top_up_in_mid_session_moves_the_limit_of_the_login(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,  # noqa: F811 - a fixture
) -> None:
    session = Session(isp(engine, database_dsn, {"octets": NEAR}, "mikrotik"))
    assert session.limit == NEAR + 45 * A_SECOND
    session.have_used(NEAR - 100_000_000)
    bought = 650_000_000
    assert NEAR + bought > session.limit, "the limit of the login would come too early"
    assert session.buy(bought) != []
    assert session.limit == NEAR + bought + 45 * A_SECOND
    beyond = session.run() - (NEAR + bought)
    assert 0 <= beyond < 60 * A_SECOND
    assert not session.is_ended
    assert session.core.line().overshoot_octets == beyond


def test_where_a_limit_needs_its_gigawords_the_session_ends_at_that_of_its_login_and_the_next_has_the_new(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,  # noqa: F811 - a fixture
) -> None:
    session = Session(isp(engine, database_dsn, {"octets": FAR}, "mikrotik"))
    session.have_used(FAR - 1)
    assert session.buy(10 * GIGA) == [], "nothing is sent that its manual does not list"
    assert session.run() - FAR == 46 * A_SECOND
    assert session.is_ended
    session.core.do("UPDATE session SET state = 1, stopped_at = :now WHERE id = 1", now=session.core.clock.now)
    again = session._log_in()
    left = 10 * GIGA - 46 * A_SECOND
    assert again.limit_octets.download == left + 45 * A_SECOND
    assert again.interim_seconds == 60


def test_a_router_that_ends_no_sessions_by_itself_is_told_of_no_limits(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,  # noqa: F811 - a fixture
) -> None:
    session = Session(isp(engine, database_dsn, {"octets": NEAR}, "generic"))
    assert session.limit == 0
    session.have_used(NEAR - 1)
    assert session.buy(GIGA) == []
    beyond = session.run() - NEAR - GIGA
    assert 0 <= beyond < 60 * A_SECOND
