"""A plan against a month of usage, hour by hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.plan_rules import (
    NO_RULES,
    AutomaticTopUp,
    Blocking,
    BlockPolicy,
    Cap,
    CapAction,
    Counted,
    CountingWindow,
    Direction,
    Fup,
    FupStep,
    Overage,
    Period,
    PlanRules,
    Rollover,
    ScheduleRule,
    TopUpKind,
    TopUpOffer,
    WeekStart,
    Window,
)
from domain.tariff import Tariff, Tier
from enforcement.entitlement import Refusal, Rule
from enforcement.explanation import Effect
from enforcement.plan_simulation import HOUR, Demand, HourRow, made_up_month, simulate
from enforcement.standing import Override, Standing
from tests.unit.enforcement.entitled_line import GARDEN, GIGA, MEGA, NOON, PLAN, ZONE, fixed, percent, top_up

BEGINS = datetime(2025, 6, 1, 5, tzinfo=UTC)
"""Midnight of the first in Bogota."""
SLOW = fixed(8 * MEGA, 8 * MEGA)
"""3.6 GB an hour."""


def hours(number: int, down: int, up: int = 0) -> list[Demand]:
    return [Demand(BEGINS + HOUR * hour, up, down) for hour in range(number)]


def run(rules: PlanRules, demand: Sequence[Demand], standing: Standing | None = None) -> list[HourRow]:
    return list(simulate(PLAN, rules, demand, ZONE, standing=standing))


def test_a_plan_without_rules_carries_what_fits_its_rates() -> None:
    rows = run(NO_RULES, [Demand(BEGINS, 10 * GIGA, 10 * GIGA), Demand(BEGINS + HOUR, 1, 50 * GIGA)])
    assert [(row.octets_up, row.octets_down, row.held_back_octets) for row in rows] == [
        (9 * GIGA, 10 * GIGA, GIGA),
        (1, 45 * GIGA, 5 * GIGA),
    ]
    assert rows[1].period_octets == 64 * GIGA + 1


def test_a_cap_that_is_reached_inside_an_hour_slows_the_rest_of_it() -> None:
    rules = PlanRules(cap=Cap(15 * GIGA, action=CapAction.FIXED, change=SLOW))
    rows = run(rules, hours(3, 10 * GIGA))
    assert [row.octets_down for row in rows] == [10 * GIGA, 5 * GIGA + 1_800_000_000, 3_600_000_000]
    assert rows[0].entitlement.download == 100 * MEGA
    assert rows[1].entitlement.download == rows[2].entitlement.download == 8 * MEGA
    assert [rule.rule for rule in rows[1].crossings] == [Rule.CAP]
    assert [row.warnings for row in rows] == [(), (80, 100), ()]
    assert rows[2].held_back_octets == 6_400_000_000


def test_a_blocked_line_carries_nothing_until_its_period_ends() -> None:
    rules = PlanRules(cap=Cap(12 * GIGA, Period.DAY))
    rows = run(rules, hours(25, GIGA))
    assert sum(row.octets_down for row in rows[:24]) == 12 * GIGA
    assert rows[23].entitlement.refusal is Refusal.CAP
    assert (rows[24].octets_down, rows[24].period_octets) == (GIGA, GIGA)


def test_a_walled_line_counts_nothing() -> None:
    rules = PlanRules(cap=Cap(GIGA), blocking=Blocking(BlockPolicy.WALLED_GARDEN, garden=GARDEN))
    rows = run(rules, hours(3, GIGA))
    assert rows[2].entitlement.walled
    assert sum(row.octets_down for row in rows) == GIGA


def test_windows_weigh_what_counts_to_the_minute() -> None:
    windows = (CountingWindow(Window(begins=30, ends=60), 0), CountingWindow(Window(begins=60, ends=90), 200))
    rows = run(PlanRules(cap=Cap(100 * GIGA), counting=windows), hours(3, GIGA))
    assert [row.counted_octets for row in rows] == [GIGA // 2, GIGA * 3 // 2, GIGA]
    assert rows[2].period_octets == 3 * GIGA


def test_free_hours_after_the_last_octet_but_one_still_pass() -> None:
    rules = PlanRules(cap=Cap(GIGA + 1), counting=(CountingWindow(Window(begins=60, ends=120), 0),))
    rows = run(rules, hours(3, GIGA))
    assert [row.counted_octets for row in rows] == [GIGA, 0, 1]


def test_overage_is_what_is_beyond_everything() -> None:
    rows = run(PlanRules(cap=Cap(GIGA * 3 // 2, action=CapAction.OVERAGE)), hours(4, GIGA))
    assert [row.overage_octets for row in rows] == [0, GIGA // 2, GIGA, GIGA]


def test_days_share_the_ceiling_of_overage_and_the_next_month_has_one_of_its_own() -> None:
    tariff = Tariff((Tier(None, Decimal("0.50"), GIGA),), ceiling=Decimal(5))
    cap = Cap(10 * GIGA, Period.DAY, action=CapAction.OVERAGE)
    rules = PlanRules(cap=cap, overage=Overage(tariff, SLOW))
    days = [Demand(BEGINS + timedelta(days=day), 0, 15 * GIGA) for day in (0, 20, 29, 30)]
    rows = run(rules, days)
    assert [row.ceiling_warnings for row in rows] == [(), (80, 100), (80, 100), ()]
    assert rows[0].octets_down == rows[3].octets_down == 15 * GIGA
    assert 14 * GIGA < rows[1].octets_down < 15 * GIGA, "the fifth block of the day is the last that is charged"
    assert 10 * GIGA < rows[2].octets_down < 12 * GIGA, "what is beyond the cap is slow"


def test_automatic_top_ups_are_bought_as_they_are_needed_up_to_their_maximum() -> None:
    offer = TopUpOffer("more", TopUpKind.OCTETS, GIGA, automatic=AutomaticTopUp(100, 2))
    rows = run(PlanRules(cap=Cap(GIGA * 3 // 2), top_ups=(offer,)), hours(5, GIGA))
    assert [row.top_ups for row in rows] == [(), ("more",), ("more",), (), ()]
    assert sum(row.octets_down for row in rows) == GIGA * 7 // 2
    assert not rows[4].entitlement.admitted


def test_hours_are_bought_and_end() -> None:
    offer = TopUpOffer("free", TopUpKind.HOURS, hours=2, automatic=AutomaticTopUp(100, 1))
    rows = run(PlanRules(cap=Cap(GIGA * 3 // 2), top_ups=(offer,)), hours(5, GIGA))
    assert [row.octets_down for row in rows] == [GIGA, GIGA, GIGA, GIGA // 2, 0]


def test_a_top_up_that_ended_has_paid_for_what_was_used() -> None:
    bought = replace(top_up(1, octets=2 * GIGA), begins=BEGINS, ends=BEGINS + 4 * HOUR)
    rows = run(PlanRules(cap=Cap(3 * GIGA)), hours(8, GIGA), Standing(0, top_ups=(bought,)))
    assert [row.octets_down for row in rows] == [GIGA] * 4 + [0] * 4
    before = replace(bought, before_plan=True)
    rows = run(PlanRules(cap=Cap(3 * GIGA)), hours(8, GIGA), Standing(0, top_ups=(before,)))
    assert [row.octets_down for row in rows] == [GIGA] * 5 + [0] * 3


def test_what_is_not_used_rolls_over() -> None:
    rules = PlanRules(cap=Cap(10 * GIGA, Period.DAY, rollover=Rollover(50)))
    demand = [Demand(BEGINS + timedelta(days=day), 0, 4 * GIGA if day == 0 else 30 * GIGA) for day in range(3)]
    assert [row.octets_down for row in run(rules, demand)] == [4 * GIGA, 13 * GIGA, 10 * GIGA]


def test_days_without_a_row_are_periods_too() -> None:
    rules = PlanRules(cap=Cap(10 * GIGA, Period.DAY, rollover=Rollover(50)))
    demand = [Demand(BEGINS, 0, 10 * GIGA), Demand(BEGINS + timedelta(days=3), 0, 30 * GIGA)]
    assert [row.octets_down for row in run(rules, demand)] == [10 * GIGA, 15 * GIGA]


def test_m15_what_ran_over_is_gone_from_the_next_day() -> None:
    cap = Cap(100 * MEGA, Period.DAY, action=CapAction.PERCENT, change=percent(100), carries_overage=True)
    for second_day, warnings in ((80 * MEGA - 1, (80,)), (80 * MEGA, (80, 100))):
        demand = [Demand(BEGINS, 0, 120 * MEGA), Demand(BEGINS + timedelta(days=1), 0, second_day)]
        _, row = run(PlanRules(cap=cap), demand)
        reduced = [rule.numbers[0] for rule in row.crossings if rule.effect is Effect.REDUCES]
        assert (row.octets_down, row.warnings, reduced) == (second_day, warnings, [("carried_octets", 20 * MEGA)])


def test_fair_use_has_its_own_month_and_time_on_line_counts() -> None:
    step = FupStep(Period.MONTH, SLOW, above_octets=2 * GIGA, name="month")
    rows = run(PlanRules(fup=Fup((step,), reset_day=2)), hours(26, GIGA))
    assert [rows[hour].entitlement.download for hour in (1, 2, 23, 24)] == [8 * MEGA, 8 * MEGA, 8 * MEGA, 100 * MEGA]
    online = FupStep(Period.DAY, SLOW, above_seconds=5400, name="online")
    rows = run(PlanRules(fup=Fup((online,))), hours(25, 0))
    assert [rows[hour].entitlement.download for hour in (0, 1, 23, 24)] == [100 * MEGA, 8 * MEGA, 8 * MEGA, 100 * MEGA]


def test_time_on_line_is_weighed_by_the_windows_that_are_for_it() -> None:
    """The first six hours of a day are free and every other counts half: nine hours count on the first."""
    online = FupStep(Period.MONTH, SLOW, above_seconds=36_000, name="online")
    counting = (
        CountingWindow(Window(ends=360), 0, Counted.TIME),
        CountingWindow(Window(), 50, Counted.BOTH),
        CountingWindow(Window(ends=360), 200, Counted.OCTETS),
    )
    rows = run(PlanRules(fup=Fup((online,)), counting=counting), hours(34, GIGA))
    assert [rows[hour].entitlement.download for hour in (30, 32)] == [100 * MEGA, 8 * MEGA]
    crossed = [hour for hour, row in enumerate(rows) if any(rule.rule is Rule.FUP for rule in row.crossings)]
    assert crossed == [31]
    assert [rows[hour].counted_octets for hour in (0, 12)] == [GIGA // 2, GIGA // 2]


def test_a_cap_that_counts_for_ever_is_never_full_again() -> None:
    rows = run(PlanRules(cap=Cap(12 * GIGA, Period.EVER)), hours(24 * 40, GIGA))
    assert sum(row.octets_down for row in rows) == rows[-1].period_octets == 12 * GIGA


def test_a_week_may_begin_on_sunday() -> None:
    """The first of June 2025 is a Sunday."""
    rules = PlanRules(cap=Cap(12 * GIGA, Period.WEEK))
    monday = run(rules, hours(24 * 8, GIGA))
    assert [hour for hour, row in enumerate(monday) if row.octets_down] == [*range(12), *range(24, 36)]
    sunday = run(replace(rules, week_starts=WeekStart.SUNDAY), hours(24 * 8, GIGA))
    assert [hour for hour, row in enumerate(sunday) if row.octets_down] == [*range(12), *range(168, 180)]


def test_schedule_and_override_hold_inside_the_hour() -> None:
    rules = PlanRules(schedule=(ScheduleRule(Window(begins=30, ends=60), percent(50)),))
    assert run(rules, hours(1, 45 * GIGA))[0].octets_down == 33_750_000_000
    order = Override(fixed(8 * MEGA), BEGINS + HOUR / 2, "eva", "test")
    assert run(NO_RULES, hours(1, 7_200_000_000), Standing(0, override=order))[0].octets_down == 5_400_000_000


def test_a_made_up_month_adds_up_and_is_quiet_at_night() -> None:
    month = made_up_month(date(2025, 6, 1), 30, 40 * GIGA + 1, 400 * GIGA + 7, ZONE)
    assert len(month) == 720
    assert month[0].begins == BEGINS
    assert sum(hour.octets_up for hour in month) == 40 * GIGA + 1
    assert sum(hour.octets_down for hour in month) == 400 * GIGA + 7
    assert month[4].octets_down * 10 < month[20].octets_down
    assert len(made_up_month(date(2025, 3, 30), 1, 1, 1, ZoneInfo("Europe/Madrid"))) == 23


RULES = st.builds(
    PlanRules,
    cap=st.builds(
        Cap,
        st.integers(0, 20 * GIGA),
        st.sampled_from(Period),
        st.sampled_from(Direction),
        st.sampled_from([CapAction.BLOCK, CapAction.OVERAGE]),
        bonus_octets=st.integers(0, GIGA),
    ),
    counting=st.lists(
        st.builds(
            CountingWindow,
            st.sampled_from([NOON, Window(ends=90)]),
            st.sampled_from([0, 50, 200]),
            st.sampled_from(Counted),
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=30)
@given(RULES, st.lists(st.integers(0, 10**10), min_size=1, max_size=48))
def test_no_octet_appears_or_is_lost_and_no_cap_is_passed(rules: PlanRules, demands: list[int]) -> None:
    demand = [Demand(BEGINS + HOUR * hour, octets // 10, octets) for hour, octets in enumerate(demands)]
    rows = run(rules, demand)
    cap = rules.cap
    assert cap is not None
    for row, asked in zip(rows, demand, strict=True):
        assert row.octets_up + row.octets_down + row.held_back_octets == asked.octets_up + asked.octets_down
        assert min(row.octets_up, row.octets_down, row.held_back_octets, row.counted_octets) >= 0
        if cap.action is CapAction.BLOCK:
            # A stretch ends at a microsecond: up to three octets down and one up flow in it, one more of each is
            # rounded, and all may count double.
            assert row.period_octets <= cap.octets + cap.bonus_octets + 12
    if cap.action is CapAction.OVERAGE and cap.period in (Period.MONTH, Period.EVER):
        over = max(0, rows[-1].period_octets - cap.octets - cap.bonus_octets)
        assert sum(row.overage_octets for row in rows) == over
    assert all(earlier.begins < later.begins for earlier, later in pairwise(rows))
