"""What one transaction of enforcement makes of what happened, on a real database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from daemon.enforcement_evaluation import Evaluated, Evaluator, SnapshotIsOld
from daemon.enforcement_keeper import LineKeeper
from daemon.enforcement_orders import Crossing
from daemon.enforcement_report import EnforcementCounts
from daemon.relayed_sessions import RelayedSessions
from domain.plan_rules import NO_RULES, Blocking, Direction
from enforcement.entitlement import entitle, fingerprint
from enforcement.periods import EVER, NEVER
from enforcement.reconcile import LineState, Problem, Proof
from enforcement.standing import Standing
from radius import class_token
from radius.dynamic_authorization import SessionNames
from storage import lines, outbox
from storage.billing import clock, ledger, payments
from storage.outbox import Topic
from storage.snapshot import Snapshot
from storage.vault import Vault
from tests.integration.snapshots import read_snapshot

VAULT = Vault(bytes(32))
CLASS_KEY = VAULT.derive(b"class")
NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
STARTED = NOW - timedelta(hours=2)
MEGABYTE = 1_000_000
CAP = '{"cap": {"octets": 10000000, "action": "fixed", "download": 1000000, "upload": 1000000}}'
OVERAGE = """{"cap": {"octets": 10000000, "action": "overage"},
    "overage": {"price": "0.50", "block": 1000000, "ceiling": "5"}}"""
NIGHTS = '{"schedule": [{"hours": "22:00-06:00", "download": 40000000}]}'


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Core:
    """An evaluator over a database with a router and one service on a plan with `rules`."""

    def __init__(self, engine: sqlalchemy.Engine, dsn: str, rules: str) -> None:
        self.engine = engine
        self._dsn = dsn
        self.clock = Clock()
        with engine.begin() as connection:
            connection.execute(text("UPDATE isp SET timezone = 'UTC'"))
            connection.execute(text("INSERT INTO lane DEFAULT VALUES"))
            connection.execute(
                text("""INSERT INTO plan (name, kind, download_bits_per_second, upload_bits_per_second, interim_seconds,
                    rules) VALUES ('p', 'internet', 20000000, 5000000, 300, CAST(:rules AS jsonb))"""),
                {"rules": rules},
            )
            connection.execute(
                text("""INSERT INTO router (name, address, secret, profile, require_message_authenticator,
                    flip_counters) VALUES ('north', '127.0.0.9/32', :secret, 'mikrotik', 'auto', false)"""),
                {"secret": VAULT.seal(b"hush", b"router:north")},
            )
            connection.execute(
                text("""INSERT INTO service (login, secret, plan_id, macs, router_ids, enabled, attributes,
                    reply_octets) VALUES ('ana', '', 1, '{}', '{}', true, '{}', '')""")
            )
            connection.execute(text("UPDATE configuration_revision SET revision = revision + 1"))
        self.evaluator = self.another()

    def another(self) -> Evaluator:
        """Return the evaluator of a core that begins now."""
        evaluator = Evaluator(self.engine, CLASS_KEY, self.clock)
        evaluator.configure(self.snapshot())
        evaluator.begin()
        return evaluator

    def snapshot(self) -> Snapshot:
        return read_snapshot(self._dsn, VAULT)

    def given(self) -> bytes:
        """Return what the Class of a login on the present plan says."""
        plan = self.snapshot().plans[1]
        unused = entitle(plan, plan.rules, Blocking(), Standing(1), UTC, self.clock.now)
        return class_token.NO_FINGERPRINT if plan.rules == NO_RULES else fingerprint(unused)

    def open_session(self, number: int = 1, *, with_class: bool = True, started: datetime = STARTED) -> None:
        """Open a session of the service, whose Class says what its login gave."""
        token = class_token.build(CLASS_KEY, 1, bytes(8), self.given()) if with_class else None
        self.do(
            """INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, state,
                started_at, updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down,
                gigawords, watched, address, class_token, mac)
            VALUES (:number, 1, '', :name, 0, 1, 1, 'ana', 0, :at, :at, :at, 0, 0, 0, 0, 0, true, true, '10.0.0.7',
                :token, 'AA:BB:CC:00:11:22')""",
            number=number,
            name=f"8100000{number}",
            at=started,
            token=token,
        )

    def use(self, octets: int, number: int = 1) -> None:
        """Let a session have downloaded so much."""
        self.do("UPDATE session SET octets_down = :octets WHERE id = :number", octets=octets, number=number)
        self.do("DELETE FROM usage_fact")
        self.do(
            """INSERT INTO usage_fact (batch, service_id, session_id, from_at, to_at, octets_up, octets_down)
            VALUES (1::bigint << 32 | 1, 1, :number, :from_at, :to_at, 0, :octets)""",
            number=number,
            from_at=NOW - timedelta(hours=1),
            to_at=NOW - timedelta(minutes=1),
            octets=octets,
        )

    def happen(self, topic: Topic, session_id: int | None = None, service_id: int | None = 1) -> Evaluated:
        """Put an event into the outbox and act upon it."""
        self.do(
            "INSERT INTO outbox (topic, service_id, session_id, happened_at) VALUES (:topic, :service, :session, :at)",
            topic=topic.value,
            service=service_id,
            session=session_id,
            at=self.clock.now,
        )
        return self.evaluator.take()

    def do(self, statement: str, **parameters: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), parameters)

    def ask(self, statement: str) -> Sequence[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def line(self) -> lines.Line:
        with self.engine.connect() as connection:
            (found,) = lines.listing(connection)
        return found.line


@pytest.fixture
def partitions(engine: sqlalchemy.Engine) -> None:
    """Make room for usage facts of the months around `NOW`."""
    with engine.begin() as connection:
        connection.execute(
            text("""CREATE TABLE IF NOT EXISTS usage_fact_test PARTITION OF usage_fact
                FOR VALUES FROM ('2026-05-01 00:00+00') TO ('2026-06-01 00:00+00')""")
        )


@pytest.fixture
def capped(engine: sqlalchemy.Engine, database_dsn: str, partitions: None) -> Core:
    return Core(engine, database_dsn, CAP)


def test_a_session_that_opens_is_armed_and_needs_nothing_when_its_login_gave_it(capped: Core) -> None:
    capped.open_session()
    done = capped.happen(Topic.OPENED, 1)
    assert (done.services, done.orders) == ([1], [])
    assert capped.line().proven_by is Proof.LOGIN
    assert capped.ask("SELECT wake_octets, wake_direction FROM session") == [(8 * MEGABYTE, 0)]


def test_a_crossing_orders_the_slow_rates_and_says_how_far_it_went(capped: Core) -> None:
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    capped.use(13 * MEGABYTE)
    (order,) = capped.happen(Topic.CROSSED, 1).orders
    assert (order.wish.entitlement.download, order.wish.entitlement.upload) == (MEGABYTE, MEGABYTE)
    assert order.before is not None
    assert order.before.download == 20 * MEGABYTE
    assert order.crossing == Crossing(NOW, 3 * MEGABYTE, 13 * MEGABYTE, 10 * MEGABYTE)
    assert order.names.acct_session_id == "81000001"
    assert order.urgent


def test_another_core_knows_what_was_in_force_when_the_first_died_after_the_commit(capped: Core) -> None:
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    capped.use(13 * MEGABYTE)
    (first,) = capped.happen(Topic.CROSSED, 1).orders
    (again,) = capped.another().look_at([1], NOW).orders
    assert (again.state.desired, again.state.proven) == (first.state.desired, first.state.proven)
    assert again.before == first.before


def test_what_was_taken_is_there_again_when_the_transaction_is_not_committed(capped: Core) -> None:
    capped.open_session()
    capped.do("UPDATE configuration_revision SET revision = revision + 1")
    with pytest.raises(SnapshotIsOld):
        capped.happen(Topic.OPENED, 1)
    capped.evaluator.configure(capped.snapshot())
    assert capped.evaluator.take().services == [1]


def test_two_sessions_share_what_is_left(capped: Core) -> None:
    capped.open_session(1)
    capped.open_session(2)
    capped.happen(Topic.OPENED, 2)
    assert capped.ask("SELECT wake_octets FROM session") == [(4 * MEGABYTE,), (4 * MEGABYTE,)]


def test_a_session_that_stopped_loses_its_line_and_its_work(capped: Core) -> None:
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    capped.do("UPDATE session SET state = 1, stopped_at = :now", now=NOW)
    assert capped.happen(Topic.STOPPED, 1).closed == [1]
    assert capped.ask("SELECT count(*) FROM line") == [(0,)]


def test_a_warning_mark_is_told_once(capped: Core) -> None:
    capped.open_session()
    capped.use(9 * MEGABYTE)
    assert [warned.percent for warned in capped.happen(Topic.CROSSED, 1).warned] == [80]
    assert capped.happen(Topic.CROSSED, 1).warned == []
    capped.use(10 * MEGABYTE)
    assert [warned.percent for warned in capped.happen(Topic.CROSSED, 1).warned] == [100]


def test_marks_of_the_ceiling_of_overage_are_told_once(
    engine: sqlalchemy.Engine, database_dsn: str, partitions: None
) -> None:
    core = Core(engine, database_dsn, OVERAGE)
    core.open_session()

    def told(used: int) -> list[tuple[int, bool]]:
        core.use(used * MEGABYTE)
        return [(warned.percent, warned.of_ceiling) for warned in core.happen(Topic.CROSSED, 1).warned]

    assert told(10) == [(80, False), (100, False)]
    assert told(17) == []
    assert told(18) == [(80, True)]
    assert told(18) == []
    assert told(30) == [(100, True)]
    assert core.another().take().warned == []


def test_days_share_the_ceiling_of_overage_of_their_month(
    engine: sqlalchemy.Engine, database_dsn: str, partitions: None
) -> None:
    daily = OVERAGE.replace('"action"', '"period": "day", "action"').replace(
        '"ceiling": "5"', '"ceiling": "5", "at_ceiling": {"download": 1000000, "upload": 1000000}'
    )
    core = Core(engine, database_dsn, daily)
    core.open_session()
    core.use(17 * MEGABYTE)
    assert [each.of_ceiling for each in core.happen(Topic.CROSSED, 1).warned] == [False, False]
    core.clock.now += timedelta(days=1)
    core.happen(Topic.CROSSED, 1)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT limit_octets, used_octets FROM usage_period")).all() == [
            (10 * MEGABYTE, 17 * MEGABYTE)
        ]
        assert connection.scalar(text("SELECT usage -> 'over_before' FROM meter")) == [7 * MEGABYTE]


def test_an_event_about_everything_becomes_one_for_each_service_on_line(capped: Core) -> None:
    capped.open_session()
    done = capped.happen(Topic.CHANGED, service_id=None)
    assert (done.services, done.is_full) == ([], True)
    assert capped.evaluator.take().services == [1]
    with capped.engine.connect() as connection:
        assert outbox.backlog(connection).events == 0


def test_a_service_that_moves_to_another_plan_is_told_though_neither_has_rules(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    core = Core(engine, database_dsn, "{}")
    core.do(
        """INSERT INTO plan (name, kind, download_bits_per_second, upload_bits_per_second, interim_seconds, rules)
        VALUES ('q', 'internet', 50000000, 5000000, 300, '{}'),
            ('r', 'internet', 60000000, 5000000, 300, '{"address_list": "guests"}')"""
    )
    core.do("UPDATE configuration_revision SET revision = revision + 1")
    core.evaluator.configure(core.snapshot())
    core.open_session()
    core.do("UPDATE service SET plan_id = 2")
    (order,) = core.happen(Topic.CHANGED).orders
    assert order.wish.entitlement.download == 50 * MEGABYTE
    assert order.before is None
    assert "guests" in {each.address_list for each in order.candidates}, "it may have come from any plan"


def test_a_session_that_opens_after_its_service_was_changed_is_looked_at_again(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    core = Core(engine, database_dsn, "{}")
    assert core.happen(Topic.CHANGED).orders == []
    core.open_session()
    assert core.evaluator.take().services == [], "its time has not come"
    core.do("UPDATE outbox SET happened_at = now()")
    (order,) = core.evaluator.take().orders
    assert order.before is None
    assert core.ask("SELECT count(*) FROM outbox") == [(0,)]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_session_that_opens_after_a_price_list_is_looked_at_again(
    engine: sqlalchemy.Engine, database_dsn: str, is_restarted: bool
) -> None:
    core = Core(engine, database_dsn, "{}")
    core.do("UPDATE plan SET download_bits_per_second = 30000000")
    core.do("UPDATE configuration_revision SET revision = revision + 1")
    core.evaluator.configure(core.snapshot())
    core.happen(Topic.CHANGED, service_id=None)
    core.open_session(started=NOW)
    core.do("UPDATE outbox SET happened_at = :at", at=NOW)
    if is_restarted:
        core.evaluator = core.another()
    core.evaluator.take()
    (order,) = core.evaluator.take().orders
    assert order.before is None


def ended(core: Core, at: datetime) -> None:
    """Let a router have said that it ended the session of a blocked line."""
    core.open_session()
    core.do("UPDATE service SET account_state = 'blocked'")
    (order,) = core.happen(Topic.TERMS).orders
    with core.engine.begin() as connection:
        lines.prove(connection, [lines.Proven(1, order.state.desired, Proof.DISCONNECT, at)])


def test_a_session_that_is_reported_after_its_end_is_to_be_ended_again(capped: Core) -> None:
    ended(capped, NOW)
    assert capped.ask("SELECT wake_octets FROM session") == [(1,)], "the next octet wakes it"
    capped.do("UPDATE session SET octets_down = 7, heard_at = :at", at=NOW + timedelta(seconds=4))
    capped.clock.now = NOW + timedelta(seconds=4)
    assert capped.happen(Topic.CROSSED, 1).orders == [], "that was on its way"
    assert capped.ask("SELECT wake_octets FROM session") == [(8,)]
    capped.do("UPDATE session SET heard_at = :at", at=NOW + timedelta(seconds=5))
    (order,) = capped.happen(Topic.CROSSED, 1).orders
    assert order.state.problem is Problem.STILL_ON_LINE
    assert not order.state.is_proven
    assert order.crossing is None
    assert capped.line().problem is Problem.STILL_ON_LINE


def test_a_session_whose_end_is_not_told_within_a_minute_is_to_be_ended_again(capped: Core) -> None:
    ended(capped, NOW)
    for seconds, orders in ((59, 0), (60, 1)):
        capped.clock.now = NOW + timedelta(seconds=seconds)
        assert len(capped.evaluator.look_at([1], capped.clock.now).orders) == orders


def test_a_line_that_may_be_used_again_before_its_session_ended_is_told_everything(capped: Core) -> None:
    ended(capped, NOW)
    capped.do("UPDATE service SET account_state = 'active'")
    (order,) = capped.happen(Topic.TERMS).orders
    assert order.wish.entitlement.admitted
    assert order.before is None
    assert order.state.problem is None


def test_a_schedule_changes_lines_at_its_minute(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    core = Core(engine, database_dsn, NIGHTS)
    core.open_session()
    core.happen(Topic.OPENED, 1)
    night = NOW.replace(hour=22)
    assert core.line().recompute_at == night
    core.clock.now = night
    with engine.connect() as connection:
        assert lines.due(connection, night, 10) == [1]
    (order,) = core.evaluator.look_at([1], night).orders
    assert order.wish.entitlement.download == 40 * MEGABYTE
    with engine.connect() as connection:
        assert lines.due(connection, night, 10) == []


def test_a_line_whose_session_ended_unheard_is_not_due_for_ever(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    core = Core(engine, database_dsn, NIGHTS)
    core.open_session()
    core.happen(Topic.OPENED, 1)
    core.do("UPDATE session SET state = 2")
    core.clock.now = NOW.replace(hour=22)
    core.evaluator.look_at([1], core.clock.now)
    with engine.connect() as connection:
        assert lines.due(connection, core.clock.now, 10) == []


def test_a_plan_without_rules_needs_no_line_until_somebody_changes_it(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    core = Core(engine, database_dsn, "{}")
    core.open_session()
    assert core.happen(Topic.TERMS).orders == []
    assert core.ask("SELECT count(*) FROM line") == [(0,)]
    core.do("UPDATE service SET account_state = 'blocked'")
    (order,) = core.happen(Topic.TERMS).orders
    assert not order.wish.entitlement.admitted
    assert order.before is not None


def test_a_price_list_reaches_lines_of_plans_without_rules(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    core = Core(engine, database_dsn, "{}")
    core.open_session()
    core.do("UPDATE plan SET download_bits_per_second = 30000000")
    core.do("UPDATE configuration_revision SET revision = revision + 1")
    core.evaluator.configure(core.snapshot())
    core.happen(Topic.CHANGED, service_id=None)
    (order,) = core.evaluator.take().orders
    assert order.wish.entitlement.download == 30 * MEGABYTE
    assert 20 * MEGABYTE in {each.download for each in order.candidates}


def test_a_change_from_before_this_core_began_is_told_even_where_nothing_seems_to_differ(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    core = Core(engine, database_dsn, "{}")
    core.open_session()
    core.do("INSERT INTO outbox (topic, service_id) VALUES ('changed', 1)")
    (order,) = core.another().take().orders
    assert order.before is None


def test_periods_that_ended_are_settled_once_and_what_was_left_rolls_over(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,
) -> None:
    rolling = '{"cap": {"octets": 10000000, "rollover": {"percent": 50, "periods": 2}}}'
    core = Core(engine, database_dsn, rolling)
    core.open_session()
    core.use(4 * MEGABYTE)
    core.happen(Topic.OPENED, 1)
    core.clock.now = datetime(2026, 6, 1, 0, 0, 1, tzinfo=UTC)
    for _ in range(2):
        core.evaluator.look_at([1], core.clock.now)
        assert core.ask("SELECT carried_lots, carried_for FROM meter") == [
            ([3 * MEGABYTE], datetime(2026, 6, 1, tzinfo=UTC))
        ]


FOR_EVER = """{"cap": {"octets": 10000000, "period": "ever"}, "top_up": [{"name": "more", "octets": 5000000,
    "automatic": {"trigger_percent": 100, "most_per_month": 1}}]}"""


def test_a_cap_that_counts_for_ever_is_not_settled_and_what_is_bought_for_it_never_ends(
    engine: sqlalchemy.Engine, database_dsn: str, partitions: None
) -> None:
    core = Core(engine, database_dsn, FOR_EVER)
    core.open_session()
    core.use(8 * MEGABYTE)
    assert [warned.percent for warned in core.happen(Topic.OPENED, 1).warned] == [80]
    core.use(12 * MEGABYTE)
    assert [warned.percent for warned in core.happen(Topic.CROSSED, 1).warned] == []
    # What had run over is forgiven.
    assert core.ask("SELECT octets, ends_at FROM top_up") == [(7 * MEGABYTE, NEVER)]
    core.clock.now = datetime(2026, 9, 1, 0, 0, 1, tzinfo=UTC)
    core.evaluator.look_at([1], core.clock.now)
    assert core.ask("SELECT carried_for, carried_lots, warned FROM meter") == [(EVER.begins, [], [])]
    assert core.ask("SELECT count(*) FROM usage_period") == [(0,)]


def test_a_plan_may_begin_to_count_for_ever_and_cease(
    engine: sqlalchemy.Engine, database_dsn: str, partitions: None
) -> None:
    core = Core(engine, database_dsn, CAP)
    core.open_session()
    core.use(9 * MEGABYTE)
    core.happen(Topic.OPENED, 1)
    for rules, begins in ((FOR_EVER, EVER.begins), (CAP, datetime(2026, 5, 1, tzinfo=UTC))):
        core.do("UPDATE plan SET rules = CAST(:rules AS jsonb)", rules=rules)
        core.do("UPDATE configuration_revision SET revision = revision + 1")
        core.evaluator.configure(core.snapshot())
        assert [core.evaluator.look_at([1], NOW).warned for _ in range(2)] == [[], []]
        assert core.ask("SELECT carried_for FROM meter") == [(begins,)]
        assert core.ask("SELECT count(*) FROM usage_period") == [(0,)]


def kept(engine: sqlalchemy.Engine, *states: LineState, crossing: Crossing | None = None) -> EnforcementCounts:
    """Let a keeper write some states."""
    counts = EnforcementCounts()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        keeper = LineKeeper(engine, counts, lambda work, *rest: loop.run_in_executor(None, work, *rest))
        for state in states:
            keeper.keep(state, NOW, crossing)
        await keeper.flush()

    asyncio.run(story())
    return counts


def test_what_was_proven_is_kept_with_its_overshoot(capped: Core) -> None:
    capped.open_session()
    capped.use(13 * MEGABYTE)
    (order,) = capped.happen(Topic.CROSSED, 1).orders
    capped.use(15 * MEGABYTE)
    state = LineState(1, order.state.desired, NOW, proven=order.state.desired, proven_by=Proof.COA)
    counts = kept(capped.engine, state, crossing=order.crossing)
    line = capped.line()
    assert (line.is_proven, line.proven_by, line.overshoot_octets) == (True, Proof.COA, 5 * MEGABYTE)
    assert counts.overshoot_octets.total == 5 * MEGABYTE


def test_the_newest_state_of_a_line_is_the_one_that_is_kept(capped: Core) -> None:
    capped.open_session(with_class=False)
    (order,) = capped.happen(Topic.OPENED, 1).orders
    silent = LineState(1, order.state.desired, NOW, attempts=1, problem=Problem.NO_ANSWER)
    kept(capped.engine, silent)
    assert (capped.line().attempts, capped.line().problem) == (1, Problem.NO_ANSWER)
    proven = LineState(1, order.state.desired, NOW, proven=order.state.desired, proven_by=Proof.COA)
    kept(capped.engine, silent, proven)
    assert (capped.line().attempts, capped.line().problem) == (0, None)


def test_a_session_its_router_does_not_know_is_closed_provisionally(capped: Core) -> None:
    capped.open_session()
    capped.happen(Topic.OPENED, 1)
    counts = kept(capped.engine, LineState(1, b"whatever", NOW, gone=True))
    assert capped.ask("SELECT state, terminate_cause, version FROM session") == [(2, "NAS-Session-Unknown", 2)]
    assert capped.ask("SELECT count(*) FROM line") == [(0,)]
    assert counts.sessions_unknown == 1


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (SessionNames(user_name="ana"), 1),
        (SessionNames(acct_session_id="81000001", framed_ip_address="10.0.0.7"), 1),
        (SessionNames(user_name="ana", calling_station_id="aa-bb-cc-00-11-22"), 1),
        (SessionNames(user_name="ana", framed_ip_address="10.0.0.8"), 0),
        (SessionNames(user_name="eva"), 0),
        (SessionNames(user_name="ana", nas_ip_address="127.0.0.10"), 0),
        (SessionNames(chargeable_user_identity="x"), 0),
    ],
)
def test_the_relay_finds_the_session_that_fits_every_name(capped: Core, names: SessionNames, found: int) -> None:
    capped.open_session()
    routers = capped.snapshot().routers
    sessions = asyncio.run(RelayedSessions(capped.engine, lambda: routers).find(names))
    assert len(sessions) == found
    for session in sessions:
        assert session.target is not None
        assert (session.target.address, session.target.port) == ("127.0.0.9", 3799)


def test_octets_left_in_one_direction_are_watched_in_that_direction(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    core = Core(engine, database_dsn, '{"cap": {"octets": 10000000, "direction": "down", "warn_percents": []}}')
    core.open_session()
    core.happen(Topic.OPENED, 1)
    assert core.ask("SELECT wake_octets, wake_direction FROM session") == [
        (10 * MEGABYTE, lines.WAKE_DIRECTION[Direction.DOWN])
    ]


def test_cores_that_look_at_once_buy_what_one_of_them_would(
    engine: sqlalchemy.Engine, database_dsn: str, partitions: None
) -> None:
    automatic = '{"most_per_month": 3, "trigger_percent": 100}'
    offer = f'{{"name": "more", "octets": 1000000, "price": "1", "automatic": {automatic}}}'
    core = Core(engine, database_dsn, f'{{"cap": {{"octets": 10000000}}, "top_up": [{offer}]}}')
    core.open_session()
    core.use(30 * MEGABYTE)
    cores = [core.another() for _ in range(4)]
    barrier = threading.Barrier(len(cores))

    def look(one: Evaluator) -> int:
        barrier.wait()
        return sum(one.look_at([1], NOW).top_ups_bought for _ in range(3))

    with ThreadPoolExecutor(len(cores)) as threads:
        bought = sum(threads.map(look, cores))
    assert bought == 1, "what had run over is forgiven, so one is enough"
    assert core.ask("SELECT octets FROM top_up") == [(21 * MEGABYTE,)]


def test_an_automatic_top_up_waits_until_the_wallet_pays_it(
    engine: sqlalchemy.Engine, database_dsn: str, partitions: None
) -> None:
    automatic = '{"most_per_month": 3, "trigger_percent": 100}'
    offer = f'{{"name": "more", "octets": 1000000, "price": "1.50", "automatic": {automatic}}}'
    core = Core(engine, database_dsn, f'{{"cap": {{"octets": 10000000}}, "top_up": [{offer}]}}')
    core.do("INSERT INTO customer (login, name) VALUES ('ana', 'Ana')")
    core.do("INSERT INTO account (customer_id, currency, billing) SELECT id, 'EUR', 'prepaid-period' FROM customer")
    core.do("UPDATE service SET customer_id = (SELECT id FROM customer)")
    core.open_session()
    core.use(30 * MEGABYTE)
    core.evaluator.take()
    refused = core.evaluator.look_at([1], NOW)
    assert (refused.top_ups_bought, [each[:2] for each in refused.top_ups_refused]) == (0, [("ana", "more")])
    assert "costs 1.50 EUR and the account can pay 0.00" in refused.top_ups_refused[0].reason
    assert core.ask("SELECT count(*) FROM top_up") == [(0,)]
    with engine.begin() as connection:
        payments.add(connection, payments.Order(1, 200, "cash", "one"), clock.today(connection))
    granted = core.evaluator.take()
    assert granted.top_ups == [("ana", "more", 1)]
    assert (granted.top_ups_bought, granted.top_ups_refused) == (1, []), "the payment lets it be looked at again"
    assert core.ask("SELECT price, charge FROM top_up") == [(Decimal("1.50"), "balance")]
    assert ledger.check_books(engine) == []


@pytest.mark.usefixtures("partitions")
def test_a_change_of_one_plan_tells_nothing_to_the_lines_of_another(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    core = Core(engine, database_dsn, "{}")
    core.open_session(with_class=False)
    core.do("INSERT INTO plan (name, kind, download_bits_per_second, interim_seconds) VALUES ('q', 'internet', 1, 300)")
    core.evaluator.configure(core.snapshot())
    core.happen(Topic.CHANGED, service_id=None)
    assert core.evaluator.take().orders == []
    core.do("UPDATE plan SET download_bits_per_second = 30000000 WHERE name = 'p'")
    core.evaluator.configure(core.snapshot())
    core.happen(Topic.CHANGED, service_id=None)
    assert [order.router for order in core.evaluator.take().orders] == ["north"]


@pytest.mark.usefixtures("partitions")
def test_a_session_whose_traffic_does_not_count_is_not_armed_and_takes_no_share(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    rules = '{"cap": {"octets": 10000000, "action": "block"}, "class": [{"name": "c", "counts": false, "class": "c"}]}'
    core = Core(engine, database_dsn, rules)
    core.open_session(1)
    core.open_session(2)
    core.do("UPDATE session SET traffic_class = 1 WHERE id = 2")
    core.happen(Topic.OPENED, 1)
    assert core.ask("SELECT id, wake_octets FROM session ORDER BY id") == [(1, 8 * MEGABYTE), (2, None)]
