"""What is known of a service when its entitlement is computed is exact, at every moment and for any number of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.engine import Connection

from domain.network import Plan, PlanId
from domain.plan_rules import (
    BurstBudget,
    Cap,
    Change,
    ChangeKind,
    Counted,
    CountingWindow,
    Fup,
    FupStep,
    Period,
    PlanRules,
    ScheduleRule,
    TopUpKind,
    TopUpOffer,
    TrafficClass,
    WeekStart,
    Window,
)
from enforcement.periods import EVER, Span
from enforcement.reconcile import Problem, Proof
from enforcement.standing import AccountState, BurstLevel, Counter, Override, Standing, TopUp, Usage
from storage import lines, overrides, standings, top_ups, usage
from storage.lines import Desire, Failure, Line
from storage.rollup import roll_up
from storage.standing_rows import OpenSession
from storage.standings import Loaded, Meter
from storage.top_ups import Order, Origin, Settled
from tests.integration.usage_facts import Fact, add_service, instant, lane

MADRID = ZoneInfo("Europe/Madrid")
KOLKATA = ZoneInfo("Asia/Kolkata")
NOW = instant("2026-01-14T12:00Z")
"""A Wednesday."""
CAPPED = PlanRules(cap=Cap(10**9))
SESSION = """INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, state,
    started_at, stopped_at, updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down,
    gigawords, watched, address, mac, nas_port_id, class_token)
VALUES (:id, 3, 'box', 's' || :id, 0, 1, :service, 'ana', :state, :start, :stop, :start, :start, 0, :up, :down, 0, 0,
    false, :watched, '10.0.0.7', '02:00:00:00:00:01', 'ether1', '\\x0102')"""


def add_session(
    engine: sqlalchemy.Engine,
    service_id: int,
    session_id: int,
    start: str,
    stop: str | None = None,
    *,
    octets: tuple[int, int] = (0, 0),
    watched: bool = True,
) -> None:
    """Add a session, open unless it stopped."""
    with engine.begin() as connection:
        connection.execute(
            text(SESSION),
            {
                "id": session_id,
                "service": service_id,
                "state": 0 if stop is None else 1,
                "start": instant(start),
                "stop": None if stop is None else instant(stop),
                "up": octets[0],
                "down": octets[1],
                "watched": watched,
            },
        )


def plans_with(engine: sqlalchemy.Engine, rules: PlanRules) -> Mapping[int, Plan]:
    """Return every plan, as if it had these rules."""
    with engine.connect() as connection:
        ids = connection.scalars(text("SELECT id FROM plan")).all()
    return {
        number: Plan(PlanId(number), f"plan {number}", None, None, None, None, None, None, None, 300, None, rules)
        for number in ids
    }


def load(
    engine: sqlalchemy.Engine,
    service_id: int,
    rules: PlanRules = CAPPED,
    zone: ZoneInfo = MADRID,
    now: datetime = NOW,
) -> Loaded:
    plans = plans_with(engine, rules)
    with engine.begin() as connection:
        return standings.load(connection, [service_id], plans, zone, now)[service_id]


def usage_of(loaded: Loaded) -> Usage:
    assert loaded.standing.usage is not None
    return loaded.standing.usage


def octets(counter: Counter | None) -> tuple[int, int]:
    assert counter is not None
    return counter.octets_up, counter.octets_down


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    return add_service(engine, "ana@example")


@pytest.mark.parametrize("rolled", [0, 1, 2])
def test_usage_of_the_present_periods_is_the_same_before_between_and_after_roll_ups(
    engine: sqlalchemy.Engine, ana: int, rolled: int
) -> None:
    batches = (
        [
            Fact(ana, "2025-12-31T22:50Z", "2025-12-31T23:10Z", 10, 20),  # half of it last year
            Fact(ana, "2026-01-05T10:00Z", "2026-01-05T10:10Z", 100, 200),  # last week
            Fact(ana, "2026-01-11T22:50Z", "2026-01-11T23:10Z", 1_000, 2_000),  # half of it this week
            Fact(ana + 1, "2026-01-14T10:00Z", "2026-01-14T10:05Z", 7, 7),
        ],
        [
            Fact(ana, "2026-01-13T22:45Z", "2026-01-13T23:15Z", 10_001, 20_001),  # half of it today
            Fact(ana, "2026-01-14T11:00Z", "2026-01-14T11:05Z", 100_000, 200_000),
            Fact(None, "2026-01-14T11:00Z", "2026-01-14T11:05Z", 9, 9),
        ],
    )
    with lane(engine) as one, lane(engine) as other:
        for number, batch in enumerate(batches):
            (one, other)[number].write(*batch)
            if number < rolled:
                roll_up(engine, MADRID)
        found = usage_of(load(engine, ana))
    assert found.as_of == NOW
    assert octets(found.day) == (105_001, 210_001)
    assert octets(found.week) == (110_501, 221_001)
    assert octets(found.month) == (111_106, 222_211)
    assert (found.day.begins, found.week.begins, found.month.begins) == (
        instant("2026-01-13T23:00Z"),
        instant("2026-01-11T23:00Z"),
        instant("2025-12-31T23:00Z"),
    )
    assert found.fup_month is None


@pytest.mark.parametrize("rolled", [False, True])
def test_months_begin_on_the_day_of_the_service_and_on_that_of_fair_use(
    engine: sqlalchemy.Engine, ana: int, rolled: bool
) -> None:
    rules = PlanRules(fup=Fup((FupStep(Period.MONTH, Change(ChangeKind.BLOCK), above_octets=1),), reset_day=10))
    with engine.begin() as connection:
        connection.execute(text("UPDATE service SET period_day = 14"))
    with lane(engine) as one:
        one.write(
            Fact(ana, "2026-01-09T10:00Z", "2026-01-09T10:05Z", 1, 0),
            Fact(ana, "2026-01-12T10:00Z", "2026-01-12T10:05Z", 10, 0),
            Fact(ana, "2026-01-14T10:00Z", "2026-01-14T10:05Z", 100, 0),
        )
        if rolled:
            roll_up(engine, MADRID)
        found = usage_of(load(engine, ana, rules))
    assert octets(found.month) == (100, 0)
    assert octets(found.fup_month) == (110, 0)
    assert found.fup_month is not None
    assert found.fup_month.begins == instant("2026-01-09T23:00Z")


def test_what_a_router_whose_clock_is_ahead_tells_of_tomorrow_counts_tomorrow(
    engine: sqlalchemy.Engine, ana: int
) -> None:
    now = instant("2026-01-14T22:59Z")
    with lane(engine) as one:
        one.write(Fact(ana, "2026-01-14T22:58Z", "2026-01-14T23:02Z", 400, 0))
        for _ in range(2):
            found = usage_of(load(engine, ana, now=now))
            assert octets(found.day) == octets(found.month) == (200, 0)
            assert octets(usage_of(load(engine, ana, now=now + timedelta(minutes=4))).month) == (400, 0)
            roll_up(engine, MADRID)


@pytest.mark.parametrize("rolled", [False, True])
def test_traffic_of_a_class_that_does_not_count_is_left_out(engine: sqlalchemy.Engine, ana: int, rolled: bool) -> None:
    classes = (TrafficClass("paid", counts=True), TrafficClass("cache", counts=False))
    with lane(engine) as one:
        one.write(*[Fact(ana, "2026-01-14T10:00Z", "2026-01-14T10:05Z", 10**number, 0) for number in range(3)])
        with engine.begin() as connection:
            connection.execute(text("UPDATE usage_fact SET traffic_class = log(octets_up)"))
        if rolled:
            roll_up(engine, MADRID)
        assert octets(usage_of(load(engine, ana, replace(CAPPED, classes=classes))).day) == (11, 0)
        assert octets(usage_of(load(engine, ana)).day) == (111, 0)


NIGHTS = CountingWindow(Window(begins=0, ends=6 * 60), 0)
EVENINGS = CountingWindow(Window(begins=20 * 60, ends=22 * 60), 150)


@pytest.mark.parametrize("rolled", [0, 1, 2])
def test_octets_inside_counting_windows_are_weighed(engine: sqlalchemy.Engine, ana: int, rolled: int) -> None:
    """Nights are free and evenings count one and a half; the halves of two octets are one."""
    batches = (
        [
            Fact(ana, "2026-01-13T19:10Z", "2026-01-13T19:20Z", 3, 0),  # evening
            Fact(ana, "2026-01-13T20:55Z", "2026-01-13T21:05Z", 100, 40),  # until 22:00
        ],
        [
            Fact(ana, "2026-01-13T23:10Z", "2026-01-13T23:20Z", 7_000, 0),  # night
            Fact(ana, "2026-01-14T04:59Z", "2026-01-14T05:01Z", 20, 0),  # until 06:00
            Fact(ana, "2026-01-13T19:30Z", "2026-01-13T19:40Z", 3, 0),  # evening
        ],
    )
    rules = replace(CAPPED, counting=(NIGHTS, EVENINGS))
    with lane(engine) as one, lane(engine) as other:
        for number, batch in enumerate(batches):
            (one, other)[number].write(*batch)
            if number < rolled:
                roll_up(engine, MADRID)
        found = usage_of(load(engine, ana, rules))
    assert octets(found.day) == (10, 0)
    assert octets(found.month) == (9 + 75 + 50 + 10, 30 + 20)


@pytest.mark.parametrize("rolled", [False, True])
def test_windows_and_days_may_begin_in_the_middle_of_an_hour(engine: sqlalchemy.Engine, ana: int, rolled: bool) -> None:
    """In India days and hours begin at half past of UTC; an hour is taken to be even."""
    rules = replace(CAPPED, counting=(CountingWindow(Window(begins=12 * 60, ends=12 * 60 + 15), 0),))
    with lane(engine) as one:
        one.write(
            Fact(ana, "2026-01-13T18:00Z", "2026-01-13T19:00Z", 1_000, 0),
            Fact(ana, "2026-01-14T06:00Z", "2026-01-14T07:00Z", 1_000, 0),
        )
        if rolled:
            roll_up(engine, KOLKATA)
        found = usage_of(load(engine, ana, rules, KOLKATA))
    # The second fact lies half in the hour before noon, half in the one that has a quarter free.
    assert octets(found.day) == (500 + 500 + 375, 0)
    assert octets(found.month) == (1_000 + 500 + 375, 0)


def test_everything_may_be_free(engine: sqlalchemy.Engine, ana: int) -> None:
    rules = replace(CAPPED, counting=(CountingWindow(Window(), 0),))
    with lane(engine) as one:
        one.write(Fact(ana, "2026-01-14T10:00Z", "2026-01-14T10:05Z", 1_000, 0))
        for _ in range(2):
            assert octets(usage_of(load(engine, ana, rules)).month) == (0, 0)
            roll_up(engine, MADRID)


def test_time_on_line_is_that_of_every_session_inside_each_period(engine: sqlalchemy.Engine, ana: int) -> None:
    rules = PlanRules(fup=Fup((FupStep(Period.DAY, Change(ChangeKind.BLOCK), above_seconds=3_600),)))
    add_session(engine, ana, 1, "2025-12-31T22:00Z", "2026-01-01T00:00Z")  # an hour of January
    add_session(engine, ana, 2, "2026-01-13T22:30Z", "2026-01-13T23:30Z")  # half an hour of today
    add_session(engine, ana, 3, "2026-01-14T10:00Z")  # two hours until now
    add_session(engine, ana, 4, "2025-12-01T10:00Z", "2025-12-31T22:59Z")
    add_session(engine, ana + 1, 5, "2026-01-14T10:00Z")
    add_session(engine, ana, 6, "2026-01-14T10:00Z", "2026-01-14T11:00Z", watched=False)
    found = usage_of(load(engine, ana, rules))
    assert found.sessions == 1
    assert (found.day.seconds, found.week.seconds) == (7_200 + 1_800, 7_200 + 3_600)
    assert found.month.seconds == 7_200 + 3_600 + 3_600
    assert usage_of(load(engine, ana)).day.seconds == 0, "the plan does not ask for it"


def test_time_on_line_is_weighed_by_the_windows_that_are_for_it(engine: sqlalchemy.Engine, ana: int) -> None:
    """Nights are free, afternoons from 12:30 on count a third, and the windows for octets are others."""
    counting = (
        CountingWindow(Window(begins=0, ends=6 * 60), 0, Counted.BOTH),
        CountingWindow(Window(begins=12 * 60 + 30, ends=20 * 60), 33, Counted.TIME),
        CountingWindow(Window(), 200),
    )
    step = FupStep(Period.DAY, Change(ChangeKind.BLOCK), above_seconds=3_600)
    rules = PlanRules(fup=Fup((step,), reset_day=13), counting=counting)
    # It is 13:00 in Madrid.
    add_session(engine, ana, 1, "2026-01-14T04:00Z", "2026-01-14T06:00Z")  # 5:00-7:00, half of it at night
    add_session(engine, ana, 2, "2026-01-13T10:00Z", "2026-01-13T12:00Z")  # yesterday 11:00-13:00
    add_session(engine, ana, 3, "2026-01-12T22:00Z", "2026-01-13T04:00Z")  # from 23:00 on Monday until 5:00
    add_session(engine, ana, 4, "2026-01-14T11:00:00.5Z")  # from half a second after 12:00 until now
    add_session(engine, ana, 5, "2026-01-14T11:59:59.999997Z", "2026-01-14T12:00:01Z")  # three microseconds until now
    add_session(engine, ana, 6, "2026-01-14T12:00:01Z", "2026-01-14T12:00:02Z")  # its router's clock is ahead
    found = usage_of(load(engine, ana, rules))
    third = Fraction(33, 100)
    present = 3_600 + Fraction(1_799_500, 1_000) + 1_800 * third + Fraction(3, 10**6) * third
    yesterday = 5_400 + 1_800 * third

    def counted(counter: Counter | None) -> Fraction:
        assert counter is not None
        assert 0 <= counter.rest < 10**8
        return counter.seconds + Fraction(counter.rest, 10**8)

    assert counted(found.day) == present
    assert counted(found.fup_month) == present + yesterday
    assert counted(found.week) == counted(found.month) == present + yesterday + 3_600
    with engine.begin() as connection:
        standings.write_meters(connection, [Meter(ana, found)])
    assert load(engine, ana, rules).contract.metered == found
    plain = usage_of(load(engine, ana, replace(rules, counting=counting[2:])))
    assert counted(plain.day) == 7_200 + Fraction(3_599_500, 1_000) + Fraction(3, 10**6)


@pytest.mark.parametrize("rolled", [False, True])
def test_what_counts_for_ever_is_all_that_the_service_used(engine: sqlalchemy.Engine, ana: int, rolled: bool) -> None:
    step = FupStep(Period.EVER, Change(ChangeKind.BLOCK), above_octets=1)
    on_line = FupStep(Period.DAY, Change(ChangeKind.BLOCK), above_seconds=3_600)
    weighed = (CountingWindow(Window(), 50, Counted.TIME),)
    classes = (TrafficClass("cache", counts=False),)
    with lane(engine) as one:
        one.write(
            Fact(ana, "2024-02-29T10:00Z", "2024-02-29T10:05Z", 1, 0),
            Fact(ana, "2025-12-31T22:50Z", "2025-12-31T23:10Z", 10, 20),
            Fact(ana, "2026-01-14T11:00Z", "2026-01-14T11:05Z", 100, 200),
            Fact(ana + 1, "2026-01-14T11:00Z", "2026-01-14T11:05Z", 7, 7),
        )
        if rolled:
            roll_up(engine, MADRID)
        add_session(engine, ana, 1, "2026-01-14T10:00Z")
        for rules in (
            PlanRules(cap=Cap(10**9, Period.EVER)),
            PlanRules(fup=Fup((step, on_line)), counting=weighed, classes=classes),
        ):
            found = usage_of(load(engine, ana, rules))
            assert found.ever == Counter(EVER.begins, 111, 220)
            assert octets(found.month) == (105, 210)
            assert found.day.seconds == (3_600 if rules.fup else 0)
            with engine.begin() as connection:
                standings.write_meters(connection, [Meter(ana, found)])
            assert load(engine, ana, rules).contract.metered == found
        assert usage_of(load(engine, ana)).ever is None


def test_weeks_begin_on_the_day_that_the_plan_says(engine: sqlalchemy.Engine, ana: int) -> None:
    rules = PlanRules(cap=Cap(10**9, Period.WEEK), week_starts=WeekStart.SUNDAY)
    sunday = instant("2026-01-10T23:00Z")
    with engine.begin() as connection:
        top_ups.settle(connection, [Settled(ana, None, sunday, lots=(30,))])
    with lane(engine) as one:
        one.write(
            Fact(ana, "2026-01-10T22:00Z", "2026-01-10T22:05Z", 1, 0),
            Fact(ana, "2026-01-11T10:00Z", "2026-01-11T10:05Z", 10, 0),
            Fact(ana, "2026-01-12T10:00Z", "2026-01-12T10:05Z", 100, 0),
        )
        found = load(engine, ana, rules)
        assert usage_of(found).week == Counter(sunday, 110, 0)
        assert found.standing.carried_octets == 30
        monday = load(engine, ana, replace(rules, week_starts=WeekStart.MONDAY))
        assert octets(usage_of(monday).week) == (100, 0)
        assert monday.standing.carried_octets == 0


def test_usage_is_not_read_where_the_plan_does_not_ask_for_it(engine: sqlalchemy.Engine, ana: int) -> None:
    rules = PlanRules(schedule=(ScheduleRule(Window(), Change(ChangeKind.PERCENT, percent=50)),))
    assert load(engine, ana, rules).standing == Standing(ana)


def test_open_sessions_come_with_their_lines(engine: sqlalchemy.Engine, ana: int) -> None:
    add_session(engine, ana, 1, "2026-01-14T10:00Z", octets=(5, 9))
    add_session(engine, ana, 2, "2026-01-14T11:00Z")
    add_session(engine, ana, 3, "2026-01-14T09:00Z", "2026-01-14T09:30Z")
    with engine.begin() as connection:
        lines.upsert(connection, [Desire(1, ana, 3, b"12345678", NOW, told_at_login=True)], NOW)
        lines.upsert(connection, [Desire(1, ana, 3, b"87654321", NOW)], NOW)
        lines.fail(connection, [Failure(1, b"87654321", 2, NOW, Problem.ROUTER_AWAY)])
        lines.record_overshoots(connection, [lines.Overshoot(1, NOW, 77)])
    first, second = load(engine, ana).sessions
    start = instant("2026-01-14T10:00Z")
    assert first == OpenSession(
        1, 3, "box", "s1", "ana", "10.0.0.7", "02:00:00:00:00:01", "ether1", b"\x01\x02", 5, 9, 0, start, start,
        Line(1, ana, 3, b"87654321", NOW, b"12345678", start, Proof.LOGIN, 2, NOW, Problem.ROUTER_AWAY, NOW, NOW, 77),
    )  # fmt: skip
    assert (second.id, second.line) == (2, None)


def test_what_operators_and_subscribers_ordered_is_known(engine: sqlalchemy.Engine, ana: int) -> None:
    offer = TopUpOffer("giga", TopUpKind.OCTETS, octets=1_000, before_plan=True)
    boost = TopUpOffer("boost", TopUpKind.BOOST, boost=Change(ChangeKind.FIXED, 10, None))
    override = Override(Change(ChangeKind.PERCENT, percent=50), NOW, "eva", "outage")
    ended, ends = NOW - timedelta(days=31), NOW + timedelta(days=1)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE service SET account_state = 'no_balance', enabled = false, expires_at = :at"), {"at": NOW}
        )
        overrides.set_override(connection, ana, override, NOW)
        gone = NOW - timedelta(days=40)
        top_ups.buy(connection, Order(ana, offer, gone, NOW - timedelta(days=33)), Origin.OPERATOR, "gone", gone)
        first = top_ups.buy(connection, Order(ana, offer, gone, ended), Origin.OPERATOR, "ended", gone).id
        second = top_ups.buy(connection, Order(ana, boost, NOW, ends), Origin.OPERATOR, "new", NOW).id
        top_ups.cover(connection, [(first, 30)])
    standing = load(engine, ana).standing
    assert (standing.account, standing.enabled, standing.expires_at) == (AccountState.NO_BALANCE, False, NOW)
    assert standing.override == override
    assert standing.top_ups == (
        TopUp(first, "giga", TopUpKind.OCTETS, gone, ended, 1_000, before_plan=True, covered_octets=30),
        TopUp(second, "boost", TopUpKind.BOOST, NOW, ends, boost=Change(ChangeKind.FIXED, 10, None)),
    )


def test_top_ups_of_a_period_that_is_not_settled_yet_are_known(engine: sqlalchemy.Engine, ana: int) -> None:
    offer = TopUpOffer("giga", TopUpKind.OCTETS, octets=1_000)
    with engine.begin() as connection:
        bought = top_ups.buy(
            connection, Order(ana, offer, NOW, NOW + timedelta(days=1)), Origin.OPERATOR, "one", NOW
        ).id
        top_ups.settle(connection, [Settled(ana, None, instant("2025-12-31T23:00Z"))])
    assert [each.id for each in load(engine, ana, now=instant("2026-07-01T00:00Z")).standing.top_ups] == [bought]


def test_what_rolled_over_holds_for_its_period_alone(engine: sqlalchemy.Engine, ana: int) -> None:
    usage_before = Usage(NOW, Counter(NOW), Counter(NOW), Counter(NOW))
    with engine.begin() as connection:
        top_ups.settle(connection, [Settled(ana, None, instant("2025-12-31T23:00Z"), lots=(30, 4))])
        standings.write_meters(connection, [Meter(ana, usage_before, None, (80,), (50, 80))])
    present, next_month = load(engine, ana), load(engine, ana, now=instant("2026-02-01T10:00Z"))
    assert (present.standing.carried_octets, present.warned, present.contract.carried_lots) == (34, (80,), (30, 4))
    assert (next_month.standing.carried_octets, next_month.warned) == (0, ())
    assert (present.ceiling_warned, next_month.ceiling_warned) == ((50, 80), ())
    assert load(engine, ana, replace(CAPPED, cap=Cap(1, Period.WEEK))).standing.carried_octets == 0


def test_the_meter_is_read_as_it_was_written_and_the_newer_row_stays(engine: sqlalchemy.Engine, ana: int) -> None:
    level = BurstLevel(NOW - timedelta(seconds=9), 1_234, spent=True)
    written = Usage(NOW, Counter(NOW, 1, 2, 3), Counter(NOW, 4, 5, 6), Counter(NOW, 7, 8, 9), Counter(NOW, 10), 2)
    earlier = Usage(NOW - timedelta(seconds=1), Counter(NOW), Counter(NOW), Counter(NOW))
    for each in (Meter(ana, written, level, (80, 100)), Meter(ana, earlier)):
        with engine.begin() as connection:
            standings.write_meters(connection, [each])
    contract = load(engine, ana).contract
    assert (contract.metered, contract.burst, contract.warned) == (written, level, (80, 100))


def test_a_login_is_decided_by_the_meter(database_dsn: str, engine: sqlalchemy.Engine, ana: int) -> None:
    rules = replace(CAPPED, burst_budget=BurstBudget(1_000, 8))
    add_session(engine, ana, 1, "2026-01-14T10:00Z")
    with lane(engine) as one, engine.begin() as connection:
        one.write(Fact(ana, "2026-01-14T10:00Z", "2026-01-14T10:05Z", 1_000, 0))
        overrides.set_override(connection, ana, Override(Change(ChangeKind.BLOCK), None, "eva", "abuse"), NOW)
        top_ups.settle(connection, [Settled(ana, None, instant("2025-12-31T23:00Z"), lots=(5,))])
        offer = TopUpOffer("giga", TopUpKind.OCTETS, octets=1_000)
        top_ups.buy(connection, Order(ana, offer, NOW, NOW + timedelta(days=1)), Origin.OPERATOR, "one", NOW)
    before = load(engine, ana, rules)
    with engine.begin() as connection:
        standings.write_meters(connection, [Meter(ana, usage_of(before), BurstLevel(NOW, 7, spent=False))])
    expected = load(engine, ana, rules).standing
    other = add_service(engine, "eva@example")
    with contextlib.closing(psycopg2.connect(database_dsn)) as login, login.cursor() as cursor:
        for statement in standings.PREPARED.values():
            cursor.execute(statement)
        cursor.execute(standings.meters([ana, other, 999], NOW))
        found = {row[0]: standings.standing_of(row, rules, MADRID, NOW) for row in cursor.fetchall()}
    assert found == {ana: expected, other: Standing(other)}
    assert expected.burst == BurstLevel(NOW, 7, spent=False)
    assert (expected.carried_octets, len(expected.top_ups), usage_of(before).sessions) == (5, 1, 1)


@contextlib.contextmanager
def counted(engine: sqlalchemy.Engine) -> Iterator[list[str]]:
    """Lend the statements that are run meanwhile."""
    statements: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", note)


def test_many_services_cost_as_many_statements_as_one(engine: sqlalchemy.Engine) -> None:
    ids = [add_service(engine, f"user {number}") for number in range(30)]
    with engine.begin() as connection:
        connection.execute(text("UPDATE service SET period_day = 1 + id % 31"))
    with lane(engine) as one:
        one.write(*[Fact(each, "2026-01-14T10:00Z", "2026-01-14T10:05Z", each, 0) for each in ids])
        roll_up(engine, MADRID)
        one.write(*[Fact(each, "2026-01-14T11:00Z", "2026-01-14T11:05Z", each, 0) for each in ids])
        plans = plans_with(engine, replace(CAPPED, counting=(EVENINGS,)))
        plans = {key: plan for key, plan in plans.items() if key != max(plans)}
        with counted(engine) as statements, engine.begin() as connection:
            loaded = standings.load(connection, [*ids, ids[0], 10**6], plans, MADRID, NOW)
            many = len(statements)
            assert standings.load(connection, [], plans, MADRID, NOW) == {}
            standings.load(connection, ids[:1], plans, MADRID, NOW)
    assert len(statements) == 2 * many == 4
    assert {key: octets(usage_of(each).day) for key, each in loaded.items()} == {
        each: (2 * each, 0) for each in ids[:-1]
    }


def test_past_periods_are_answered_one_by_one(engine: sqlalchemy.Engine, ana: int) -> None:
    eva = add_service(engine, "eva@example")
    with lane(engine) as one:
        one.write(
            Fact(ana, "2025-12-31T22:00Z", "2026-01-01T00:00Z", 10, 20),
            Fact(eva, "2026-01-02T10:00Z", "2026-01-02T10:05Z", 1, 2),
        )
        december = Span(instant("2025-11-30T23:00Z"), instant("2025-12-31T23:00Z"))
        january = Span(instant("2025-12-31T23:00Z"), instant("2026-01-31T23:00Z"))
        asked = [
            usage.Period(ana, december, CAPPED),
            usage.Period(eva, january, CAPPED),
            usage.Period(ana, january, CAPPED),
            usage.Period(ana, december, replace(CAPPED, counting=(CountingWindow(Window(), 200),))),
        ]
        for _ in range(2):
            with engine.connect() as connection:
                assert usage.used(connection, asked, MADRID, NOW) == [(5, 10), (1, 2), (5, 10), (10, 20)]
                assert usage.used(connection, [], MADRID, NOW) == []
            roll_up(engine, MADRID)


def test_octets_of_sessions_and_usage_are_of_one_moment(engine: sqlalchemy.Engine, ana: int) -> None:
    """A worker commits and another process rolls up all the while; in any transaction both numbers agree."""
    add_session(engine, ana, 1, "2026-01-14T10:00Z")
    over = threading.Event()

    def count() -> None:
        with lane(engine) as one:
            for _ in range(150):
                with engine.begin() as connection:
                    connection.execute(text("UPDATE session SET octets_up = octets_up + 7"))
                    one.add(connection, [Fact(ana, "2026-01-14T10:00Z", "2026-01-14T10:05Z", 7, 0)])
        over.set()

    def add_up() -> None:
        while not over.is_set():
            roll_up(engine, MADRID)

    threads = [threading.Thread(target=each) for each in (count, add_up)]
    for thread in threads:
        thread.start()
    seen = set()
    while not over.is_set():
        loaded = load(engine, ana)
        assert octets(usage_of(loaded).day) == (loaded.sessions[0].octets_up, 0)
        seen.add(loaded.sessions[0].octets_up)
    for thread in threads:
        thread.join()
    assert len(seen) > 3
    assert octets(usage_of(load(engine, ana)).day) == (1_050, 0)
