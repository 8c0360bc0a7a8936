"""What a line may do: every rule alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from domain.plan_rules import (
    AutomaticTopUp,
    Blocking,
    BlockPolicy,
    Burst,
    BurstBudget,
    Cap,
    CapAction,
    Change,
    ChangeKind,
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
    WalledGarden,
    WeekStart,
    Window,
)
from domain.tariff import Tariff, Tier, TierModel
from enforcement.entitlement import Entitlement, Refusal, Rule, fingerprint, prospects
from enforcement.explanation import Effect
from enforcement.periods import EVER, NEVER
from enforcement.standing import AccountState, BurstLevel, Counter, Override, Standing, Usage
from tests.unit.enforcement.entitled_line import (
    BLOCK,
    DAY,
    GARDEN,
    GIGA,
    MEGA,
    MONTH,
    NEXT_DAY,
    NEXT_MONTH,
    NEXT_WEEK,
    NOON,
    NOW,
    PLAN,
    WALL,
    WEEK,
    ZONE,
    ask,
    fixed,
    percent,
    top_up,
    used,
)

SLOW = fixed(2 * MEGA, MEGA)


def capped(action: CapAction = CapAction.BLOCK, change: Change | None = None, **others: object) -> PlanRules:
    return PlanRules(cap=Cap(10 * GIGA, action=action, change=change, **others))  # type: ignore[arg-type]  # any field


def step(change: Change = SLOW, *, above: int = 10 * GIGA, period: Period = Period.MONTH, **others: object) -> FupStep:
    return FupStep(period, change, above_octets=above, **others)  # type: ignore[arg-type]  # any field


def test_a_plan_without_rules_gives_its_rates_for_ever() -> None:
    line = ask()
    assert (line.admitted, line.refusal, line.walled) == (True, None, False)
    assert (line.download, line.upload) == (100 * MEGA, 20 * MEGA)
    assert (line.octets_left, line.valid_until, line.ends_at, line.burst_download) == (None, None, None, None)
    assert [rule.rule for rule in line.rules] == [Rule.PLAN]


def test_what_the_plan_says_of_the_router_is_told() -> None:
    rules = PlanRules(
        priority=3, guaranteed_percent=25, address_list="homes", attributes=(("Filter-Id", "{{ login }}"),)
    )
    line = ask(rules)
    assert (line.priority, line.address_list, line.attributes) == (3, "homes", rules.attributes)
    assert (line.guaranteed_download, line.guaranteed_upload) == (25 * MEGA, 5 * MEGA)
    assert line.pool is line.redirect_url is None


def test_the_guaranteed_share_is_of_the_rate_in_force() -> None:
    rules = replace(capped(CapAction.FIXED, SLOW), guaranteed_percent=50)
    line = ask(rules, Standing(1, usage=used(11 * GIGA)))
    assert (line.guaranteed_download, line.guaranteed_upload) == (MEGA, MEGA // 2)
    assert ask(PlanRules(guaranteed_percent=150)).guaranteed_download == 100 * MEGA
    unlimited = replace(PLAN, download_bits_per_second=None)
    assert ask(PlanRules(guaranteed_percent=50), plan=unlimited).guaranteed_download is None


class TestCap:
    @pytest.mark.parametrize(
        ("action", "change", "rates", "refusal", "overage"),
        [
            (CapAction.BLOCK, None, (100 * MEGA, 20 * MEGA), Refusal.CAP, 0),
            (CapAction.FIXED, SLOW, (2 * MEGA, MEGA), None, 0),
            (CapAction.FIXED, fixed(None, MEGA), (100 * MEGA, MEGA), None, 0),
            (CapAction.FIXED, fixed(500 * MEGA, MEGA), (100 * MEGA, MEGA), None, 0),
            (CapAction.PERCENT, percent(25), (25 * MEGA, 5 * MEGA), None, 0),
            (CapAction.PERCENT, percent(200), (100 * MEGA, 20 * MEGA), None, 0),
            (CapAction.OVERAGE, None, (100 * MEGA, 20 * MEGA), None, GIGA),
        ],
    )
    def test_each_action(
        self,
        action: CapAction,
        change: Change | None,
        rates: tuple[int, int],
        refusal: Refusal | None,
        overage: int,
    ) -> None:
        line = ask(capped(action, change), Standing(1, usage=used(11 * GIGA)))
        assert ((line.download, line.upload), line.refusal, line.overage_octets) == (rates, refusal, overage)
        assert line.admitted is (refusal is None)
        assert line.warnings == (80, 100)
        assert line.valid_until == NEXT_MONTH

    def test_m15_what_ran_over_on_the_day_before_is_gone(self) -> None:
        cap = Cap(100, Period.DAY, carries_overage=True)
        for octets, refusal in ((79, None), (80, Refusal.CAP)):
            line = ask(PlanRules(cap=cap), Standing(1, usage=used(octets), carried_octets=-20))
            assert (line.refusal, line.valid_until) == (refusal, NEXT_DAY)
            assert [rule.text() for rule in line.rules if rule.effect is Effect.REDUCES] == [
                "Cap: 20 B ran over before, and are taken from it until 2025-06-19 05:00."
            ]

    def test_more_than_the_cap_that_ran_over_leaves_nothing_but_what_was_bought(self) -> None:
        rules = PlanRules(cap=Cap(100, Period.DAY, carries_overage=True))
        assert ask(rules, Standing(1, carried_octets=-130)).refusal is Refusal.CAP
        bought = Standing(1, usage=used(5), carried_octets=-130, top_ups=(top_up(1, octets=6),))
        assert ask(rules, bought).octets_left == 1

    def test_overage_at_its_ceiling_slows_the_line(self) -> None:
        tariff = Tariff((Tier(None, Decimal("0.50"), GIGA),), ceiling=Decimal(2))
        rules = replace(capped(CapAction.OVERAGE), overage=Overage(tariff, SLOW))
        below = ask(rules, Standing(1, usage=used(13 * GIGA)))
        assert (below.download, below.octets_left) == (100 * MEGA, 1), "the fourth block is begun by its first octet"
        at = ask(rules, Standing(1, usage=used(13 * GIGA + 1)))
        assert (at.download, at.upload, at.admitted) == (2 * MEGA, MEGA, True)
        assert at.overage_octets == 3 * GIGA + 1
        assert at.valid_until == NEXT_MONTH
        free = replace(rules, overage=Overage(tariff))
        assert ask(free, Standing(1, usage=used(90 * GIGA))).download == 100 * MEGA

    def test_it_is_warned_when_shares_of_the_ceiling_are_charged(self) -> None:
        tariff = Tariff((Tier(None, Decimal("0.50"), GIGA),), ceiling=Decimal(5))
        rules = replace(capped(CapAction.OVERAGE), overage=Overage(tariff))
        seen = {over: ask(rules, Standing(1, usage=used(10 * GIGA + over))) for over in (0, 7 * GIGA, 7 * GIGA + 1)}
        assert [line.ceiling_warnings for line in seen.values()] == [(), (), (80,)], "0.50, 3.50 and 4.00 of 5.00"
        assert [line.octets_left for line in seen.values()] == [7 * GIGA + 1, 1, 2 * GIGA]
        most = ask(rules, Standing(1, usage=used(19 * GIGA + 1)))
        assert (most.ceiling_warnings, most.octets_left, most.download) == ((80, 100), None, 100 * MEGA)
        own = replace(rules, overage=Overage(tariff, warn_percents=(50,)))
        assert ask(own, Standing(1, usage=used(19 * GIGA + 1))).ceiling_warnings == (50,)

    def test_days_share_the_ceiling_of_their_month(self) -> None:
        tariff = Tariff((Tier(None, Decimal("0.50"), GIGA),), ceiling=Decimal(5))
        rules = PlanRules(cap=Cap(10 * GIGA, Period.DAY, action=CapAction.OVERAGE), overage=Overage(tariff, SLOW))

        def after(over: int, *before: int) -> Entitlement:
            return ask(rules, Standing(1, usage=used(10 * GIGA + over)._replace(over_before=before)))

        # Three blocks and four are charged; one more is 80 % of 5, and three more are all of it.
        assert [after(over, 3 * GIGA, 0, 4 * GIGA).ceiling_warnings for over in (0, 1)] == [(), (80,)]
        assert [after(over, 3 * GIGA, 0, 4 * GIGA).octets_left for over in (0, 1)] == [1, 2 * GIGA]
        slowed = after(2 * GIGA + 1, 3 * GIGA, 0, 4 * GIGA)
        assert (slowed.download, slowed.ceiling_warnings, slowed.valid_until) == (2 * MEGA, (80, 100), NEXT_DAY)
        assert after(0, 90 * GIGA).download == 2 * MEGA
        assert after(-1, 90 * GIGA).download == 100 * MEGA, "what the day has is free"

    @pytest.mark.parametrize(
        "tariff",
        [
            Tariff((Tier(None, Decimal("0.50"), GIGA),)),
            Tariff((Tier(None, Decimal("0.50"), GIGA),), TierModel.VOLUME, ceiling=Decimal(5)),
        ],
    )
    def test_without_a_ceiling_of_what_was_used_nothing_is_warned_of(self, tariff: Tariff) -> None:
        rules = replace(capped(CapAction.OVERAGE), overage=Overage(tariff))
        line = ask(rules, Standing(1, usage=used(900 * GIGA)))
        assert (line.ceiling_warnings, line.octets_left) == ((), None)

    def test_it_is_reached_by_its_last_octet(self) -> None:
        before = ask(capped(), Standing(1, usage=used(10 * GIGA - 1)))
        assert (before.admitted, before.octets_left, before.warnings) == (True, 1, (80,))
        assert not ask(capped(), Standing(1, usage=used(10 * GIGA))).admitted

    def test_what_is_left_ends_at_the_next_warning(self) -> None:
        line = ask(capped())
        assert (line.octets_left, line.left_direction, line.valid_until) == (8 * GIGA, Direction.BOTH, None)

    @pytest.mark.parametrize(
        ("direction", "left"), [(Direction.DOWN, 2 * GIGA), (Direction.UP, 7 * GIGA), (Direction.BOTH, GIGA)]
    )
    def test_only_its_direction_counts(self, direction: Direction, left: int) -> None:
        line = ask(capped(direction=direction), Standing(1, usage=used(6 * GIGA, GIGA)))
        assert (line.octets_left, line.left_direction) == (left, direction)

    @pytest.mark.parametrize(
        ("period", "ends"), [(Period.DAY, NEXT_DAY), (Period.WEEK, NEXT_WEEK), (Period.MONTH, NEXT_MONTH)]
    )
    def test_it_holds_until_its_period_ends(self, period: Period, ends: datetime) -> None:
        rules, standing = capped(period=period), Standing(1, usage=used(11 * GIGA))
        assert ask(rules, standing).valid_until == ends
        assert not ask(rules, standing, now=ends - timedelta(microseconds=1)).admitted
        after = ask(rules, standing, now=ends)
        assert (after.admitted, after.octets_left) == (True, 8 * GIGA)

    def test_the_month_is_the_services_own(self) -> None:
        standing = Standing(1, usage=used(11 * GIGA), period_day=31)
        month = Counter(datetime.fromisoformat("2025-05-31T05:00Z"), 0, 11 * GIGA)
        assert standing.usage is not None
        standing = replace(standing, usage=standing.usage._replace(month=month))
        assert ask(capped(), standing).valid_until == datetime.fromisoformat("2025-06-30T05:00Z")

    def test_one_that_counts_for_ever_never_begins_again(self) -> None:
        rules = capped(period=Period.EVER)
        assert ask(rules, Standing(1, usage=used(11 * GIGA))).octets_left == 8 * GIGA
        for now in (NOW, NEXT_MONTH, NOW + timedelta(days=4000)):
            usage = used(0)._replace(as_of=now, ever=Counter(EVER.begins, GIGA, 9 * GIGA))
            line = ask(rules, Standing(1, usage=usage), now=now)
            assert (line.refusal, line.valid_until) == (Refusal.CAP, None)
            assert line.rules[-1].text() == "Cap: 10 GB of 10 GB in all; not served until further notice."
            assert prospects(replace(PLAN, rules=rules), rules, WALL, Standing(1, usage=usage), ZONE, now) == ()

    def test_a_week_may_begin_on_sunday(self) -> None:
        rules = replace(capped(period=Period.WEEK), week_starts=WeekStart.SUNDAY)
        sunday = Counter(WEEK - timedelta(days=1), 0, 10 * GIGA)
        line = ask(rules, Standing(1, usage=used(0)._replace(week=sunday)))
        assert (line.refusal, line.valid_until) == (Refusal.CAP, NEXT_WEEK - timedelta(days=1))

    def test_bonus_and_what_rolled_over_are_used_before_anything_happens(self) -> None:
        rules = capped(bonus_octets=GIGA)
        line = ask(rules, Standing(1, usage=used(12 * GIGA), carried_octets=2 * GIGA))
        assert (line.admitted, line.octets_left) == (True, GIGA)
        assert not ask(rules, Standing(1, usage=used(13 * GIGA), carried_octets=2 * GIGA)).admitted

    def test_one_that_rolls_over_is_looked_at_when_its_period_ends(self) -> None:
        assert ask(capped(rollover=Rollover(50))).valid_until == NEXT_MONTH

    def test_double_counting_wakes_early_and_free_hours_do_not_wake_late(self) -> None:
        counting = (CountingWindow(NOON, 200), CountingWindow(Window(begins=0, ends=60), 0))
        assert ask(replace(capped(), counting=counting)).octets_left == 4 * GIGA
        assert ask(replace(capped(), counting=counting[1:])).octets_left == 8 * GIGA
        last = ask(replace(capped(), counting=counting), Standing(1, usage=used(10 * GIGA - 1)))
        assert last.octets_left == 1


class TestTopUps:
    def test_octets_raise_the_cap_while_they_hold(self) -> None:
        bought = top_up(7, octets=5 * GIGA)
        line = ask(capped(), Standing(1, usage=used(11 * GIGA), top_ups=(bought,)))
        assert (line.admitted, line.octets_left, line.warnings) == (True, GIGA, ())
        assert line.valid_until == bought.ends
        assert line.rules[-1].rule is Rule.TOP_UP
        assert dict(line.rules[-1].numbers)["left_octets"] == 4 * GIGA

    def test_what_was_spent_in_other_periods_is_gone(self) -> None:
        bought = replace(top_up(7, octets=5 * GIGA), spent_octets=5 * GIGA)
        assert not ask(capped(), Standing(1, usage=used(11 * GIGA), top_ups=(bought,))).admitted

    def test_an_ended_one_has_paid_what_it_paid_and_no_more(self) -> None:
        ended = replace(top_up(7, octets=5 * GIGA, hours=1), covered_octets=GIGA)
        assert ended.ends == NOW
        assert not ask(capped(), Standing(1, usage=used(11 * GIGA), top_ups=(ended,))).admitted
        line = ask(capped(), Standing(1, usage=used(11 * GIGA - 1), top_ups=(ended,)))
        assert (line.admitted, line.octets_left) == (True, 1)

    def test_one_that_begins_later_is_waited_for(self) -> None:
        later = replace(top_up(7, octets=5 * GIGA), begins=NOW + timedelta(hours=1))
        line = ask(capped(), Standing(1, usage=used(11 * GIGA), top_ups=(later,)))
        assert (line.admitted, line.valid_until) == (False, later.begins)

    def test_one_without_end_is_used_up_by_octets_alone(self) -> None:
        bought = replace(top_up(7, octets=5 * GIGA), ends=datetime(9999, 1, 1, tzinfo=NEVER.tzinfo))
        rules = capped(period=Period.EVER)
        usage = used(0)._replace(ever=Counter(EVER.begins, 0, 11 * GIGA))
        standing = Standing(1, usage=usage, top_ups=(bought,))
        line = ask(rules, standing)
        assert (line.octets_left, line.valid_until) == (GIGA, None)
        assert line.rules[-1].text() == "Top-up top-up 7: 4 GB of 5 GB left until further notice."
        outlook = prospects(replace(PLAN, rules=rules), rules, WALL, standing, ZONE, NOW)
        assert [dict(each.numbers)["left_octets"] for each in outlook] == [GIGA]

    def test_hours_are_as_if_below_the_cap(self) -> None:
        bought = top_up(7, TopUpKind.HOURS)
        line = ask(capped(), Standing(1, usage=used(11 * GIGA), top_ups=(bought,)))
        assert (line.admitted, line.download, line.valid_until) == (True, 100 * MEGA, bought.ends)
        assert line.rules[-1].rule is Rule.TOP_UP

    @pytest.mark.parametrize(
        ("boost", "rates"),
        [
            (fixed(300 * MEGA, 50 * MEGA), (300 * MEGA, 50 * MEGA)),
            (fixed(300 * MEGA), (300 * MEGA, 20 * MEGA)),
            (percent(200), (200 * MEGA, 40 * MEGA)),
            (fixed(MEGA, MEGA), (100 * MEGA, 20 * MEGA)),
        ],
    )
    def test_a_boost_is_another_speed_and_never_slower(self, boost: Change, rates: tuple[int, int]) -> None:
        bought = top_up(7, TopUpKind.BOOST, boost=boost)
        line = ask(standing=Standing(1, top_ups=(bought,)))
        assert ((line.download, line.upload), line.valid_until) == (rates, bought.ends)
        assert ask(standing=Standing(1, top_ups=(bought,)), now=bought.ends).download == 100 * MEGA

    def test_of_two_boosts_the_faster_holds_in_each_direction(self) -> None:
        boosts = (
            top_up(1, TopUpKind.BOOST, boost=fixed(300 * MEGA, 30 * MEGA)),
            top_up(2, TopUpKind.BOOST, boost=fixed(200 * MEGA, 60 * MEGA)),
        )
        line = ask(standing=Standing(1, top_ups=boosts))
        assert (line.download, line.upload) == (300 * MEGA, 60 * MEGA)

    def test_the_trigger_of_an_automatic_one_wakes(self) -> None:
        offer = TopUpOffer("more", TopUpKind.OCTETS, GIGA, automatic=AutomaticTopUp(60, 2))
        assert ask(replace(capped(), top_ups=(offer,))).octets_left == 6 * GIGA
        rules = replace(capped(period=Period.WEEK), top_ups=(offer,))
        late = datetime.fromisoformat("2025-06-30T17:00Z")
        usage = used(0)._replace(week=Counter(datetime.fromisoformat("2025-06-30T05:00Z"), 0, 7 * GIGA))
        assert ask(rules, Standing(1, usage=usage), now=late).valid_until == NEXT_MONTH


class TestFairUse:
    @pytest.mark.parametrize(
        ("change", "rates", "refusal"),
        [
            (SLOW, (2 * MEGA, MEGA), None),
            (percent(50), (50 * MEGA, 10 * MEGA), None),
            (percent(150), (150 * MEGA, 30 * MEGA), None),
            (fixed(500 * MEGA), (100 * MEGA, 20 * MEGA), None),
            (BLOCK, (100 * MEGA, 20 * MEGA), Refusal.FUP),
        ],
    )
    def test_each_change(self, change: Change, rates: tuple[int, int], refusal: Refusal | None) -> None:
        line = ask(PlanRules(fup=Fup((step(change),))), Standing(1, usage=used(10 * GIGA)))
        assert ((line.download, line.upload), line.refusal) == (rates, refusal)
        assert line.valid_until == NEXT_MONTH

    @pytest.mark.parametrize(
        ("period", "ends"), [(Period.DAY, NEXT_DAY), (Period.WEEK, NEXT_WEEK), (Period.MONTH, NEXT_MONTH)]
    )
    def test_a_step_holds_until_its_period_ends(self, period: Period, ends: datetime) -> None:
        rules, standing = PlanRules(fup=Fup((step(period=period),))), Standing(1, usage=used(10 * GIGA))
        assert ask(rules, standing).valid_until == ends
        assert ask(rules, standing, now=ends - timedelta(microseconds=1)).download == 2 * MEGA
        assert ask(rules, standing, now=ends).download == 100 * MEGA

    def test_the_highest_precedence_holds_and_of_equal_ones_the_last(self) -> None:
        steps = (
            step(fixed(7 * MEGA), above=GIGA, precedence=5, name="first"),
            step(fixed(9 * MEGA), above=GIGA, precedence=5, name="last"),
            step(fixed(MEGA), above=GIGA, precedence=1, name="weak"),
            step(fixed(MEGA), above=20 * GIGA, precedence=9, name="not reached"),
        )
        line = ask(PlanRules(fup=Fup(steps)), Standing(1, usage=used(2 * GIGA)))
        assert (line.download, line.rules[-1].name, line.octets_left) == (9 * MEGA, "last", 18 * GIGA)

    def test_the_bonus_is_forgiven_first(self) -> None:
        rules = PlanRules(fup=Fup((step(),), bonus_octets=GIGA))
        assert ask(rules, Standing(1, usage=used(11 * GIGA - 1))).octets_left == 1
        assert ask(rules, Standing(1, usage=used(11 * GIGA))).download == 2 * MEGA

    def test_a_reset_day_of_its_own_has_its_own_counter(self) -> None:
        rules = PlanRules(fup=Fup((step(),), reset_day=15))
        own = Counter(datetime.fromisoformat("2025-06-15T05:00Z"), 0, 3 * GIGA)
        standing = Standing(1, usage=used(11 * GIGA)._replace(fup_month=own))
        line = ask(rules, standing)
        assert (line.download, line.octets_left) == (100 * MEGA, 7 * GIGA)
        standing = Standing(1, usage=used(0)._replace(fup_month=own._replace(octets_down=10 * GIGA)))
        assert ask(rules, standing).valid_until == datetime.fromisoformat("2025-07-15T05:00Z")

    def test_only_its_direction_counts(self) -> None:
        rules = PlanRules(fup=Fup((step(direction=Direction.UP),)))
        line = ask(rules, Standing(1, usage=used(50 * GIGA, GIGA)))
        assert (line.download, line.octets_left, line.left_direction) == (100 * MEGA, 9 * GIGA, Direction.UP)

    def test_of_different_directions_the_least_octets_count_in_both(self) -> None:
        steps = (step(direction=Direction.UP), step(direction=Direction.DOWN, above=4 * GIGA))
        line = ask(PlanRules(fup=Fup(steps)))
        assert (line.octets_left, line.left_direction) == (4 * GIGA, Direction.BOTH)

    def test_time_on_line_grows_with_the_open_sessions(self) -> None:
        rules = PlanRules(fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=3600),)))
        standing = Standing(1, usage=used(0, seconds=600, sessions=2))
        assert ask(rules, standing).valid_until == NOW + timedelta(seconds=1500)
        assert ask(rules, standing, now=NOW + timedelta(seconds=1500)).download == 2 * MEGA
        assert ask(rules, standing, now=NOW + timedelta(seconds=1499)).download == 100 * MEGA

    def test_time_on_line_begins_again_with_the_period(self) -> None:
        rules = PlanRules(fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=3600),)))
        standing = Standing(1, usage=used(0, seconds=3600, sessions=1))
        assert ask(rules, standing).valid_until == NEXT_DAY
        assert ask(rules, standing, now=NEXT_DAY).download == 100 * MEGA
        assert ask(rules, standing, now=NEXT_DAY).valid_until == NEXT_DAY + timedelta(hours=1)

    @pytest.mark.parametrize(
        ("counts", "hours"),
        [(Counted.TIME, 6), (Counted.BOTH, 6), (Counted.OCTETS, 4)],
    )
    def test_windows_weigh_the_time_on_line_that_they_are_for(self, counts: Counted, hours: int) -> None:
        """Until 13:00 one hour is half an hour, from 15:00 to 16:30 none counts."""
        counting = (
            CountingWindow(NOON, 50, counts),
            CountingWindow(Window(begins=15 * 60, ends=16 * 60 + 30), 0, counts),
        )
        rules = PlanRules(fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=5 * 3600),)), counting=counting)
        standing = Standing(1, usage=used(0, seconds=3600, sessions=1))
        reached = NOW + timedelta(hours=hours)
        assert ask(rules, standing).valid_until == reached
        assert ask(rules, standing, now=reached - timedelta(microseconds=1)).download == 100 * MEGA
        line = ask(rules, standing, now=reached)
        assert line.download == 2 * MEGA
        assert dict(line.rules[-1].numbers)["used_seconds"] == 5 * 3600

    def test_time_that_is_free_until_the_period_ends_reaches_no_step(self) -> None:
        counting = (CountingWindow(Window(), 0, Counted.TIME),)
        rules = PlanRules(fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=3600),)), counting=counting)
        assert ask(rules, Standing(1, usage=used(0, seconds=3599, sessions=9))).valid_until == NEXT_DAY

    def test_parts_of_a_second_are_not_lost(self) -> None:
        """At 1 % a second on line is a hundredth: what had passed of it when it was read is part of it."""
        rules = PlanRules(
            fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=60),)),
            counting=(CountingWindow(Window(), 1, Counted.TIME),),
        )
        usage = used(0, seconds=59, sessions=1)
        usage = usage._replace(day=usage.day._replace(rest=99_000_000))
        assert ask(rules, Standing(1, usage=usage)).valid_until == NOW + timedelta(seconds=1)

    def test_windows_for_time_leave_octets_alone(self) -> None:
        rules = PlanRules(fup=Fup((step(),)), counting=(CountingWindow(Window(), 200, Counted.TIME),))
        assert ask(rules, Standing(1, usage=used(4 * GIGA))).octets_left == 6 * GIGA

    def test_a_week_may_begin_on_sunday(self) -> None:
        rules = PlanRules(fup=Fup((step(period=Period.WEEK),)), week_starts=WeekStart.SUNDAY)
        sunday = Counter(WEEK - timedelta(days=1), 0, 10 * GIGA)
        line = ask(rules, Standing(1, usage=used(0)._replace(week=sunday)))
        assert (line.download, line.valid_until) == (2 * MEGA, NEXT_WEEK - timedelta(days=1))

    def test_a_step_that_counts_for_ever_holds_for_ever(self) -> None:
        rules = PlanRules(fup=Fup((step(period=Period.EVER),)))
        assert ask(rules, Standing(1, usage=used(50 * GIGA))).octets_left == 10 * GIGA
        usage = used(0)._replace(ever=Counter(EVER.begins, GIGA, 9 * GIGA))
        line = ask(rules, Standing(1, usage=usage))
        assert (line.download, line.valid_until) == (2 * MEGA, None)

    def test_a_period_that_ends_first_is_looked_at(self) -> None:
        rules = PlanRules(fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=50_000),)))
        assert ask(rules, Standing(1, usage=used(0, sessions=1))).valid_until == NEXT_DAY

    def test_without_open_sessions_no_time_passes(self) -> None:
        rules = PlanRules(fup=Fup((FupStep(Period.DAY, SLOW, above_seconds=3600),)))
        assert ask(rules, Standing(1, usage=used(0, seconds=600))).valid_until is None


class TestSchedule:
    def test_other_rates_inside_the_window(self) -> None:
        rules = PlanRules(schedule=(ScheduleRule(NOON, percent(200)),))
        line = ask(rules)
        assert (line.download, line.upload) == (200 * MEGA, 40 * MEGA)
        assert line.valid_until == NOW + timedelta(hours=1)
        after = ask(rules, now=NOW + timedelta(hours=1))
        assert (after.download, after.valid_until) == (100 * MEGA, NOW + timedelta(hours=23))

    def test_where_windows_overlap_the_first_holds(self) -> None:
        rules = PlanRules(schedule=(ScheduleRule(NOON, fixed(MEGA)), ScheduleRule(Window(), fixed(5 * MEGA))))
        assert ask(rules).download == MEGA
        assert ask(rules, now=NOW + timedelta(hours=1)).download == 5 * MEGA

    def test_it_may_block(self) -> None:
        line = ask(PlanRules(schedule=(ScheduleRule(NOON, BLOCK),)))
        assert (line.admitted, line.refusal) == (False, Refusal.HOURS)
        assert line.valid_until == NOW + timedelta(hours=1)

    def test_one_that_always_holds_never_changes(self) -> None:
        line = ask(PlanRules(schedule=(ScheduleRule(Window(), fixed(MEGA)),)))
        assert (line.download, line.valid_until) == (MEGA, None)


class TestHours:
    def test_inside_the_session_ends_with_them(self) -> None:
        line = ask(PlanRules(allowed_hours=(NOON,)))
        assert line.admitted
        assert line.ends_at == line.valid_until == NOW + timedelta(hours=1)

    def test_outside_it_is_refused_even_where_blocked_lines_are_walled(self) -> None:
        line = ask(PlanRules(allowed_hours=(NOON,)), now=NOW + timedelta(hours=2), blocking=WALL)
        assert (line.admitted, line.walled, line.refusal, line.ends_at) == (False, False, Refusal.HOURS, None)
        assert line.valid_until == NOW + timedelta(hours=23)

    def test_windows_that_meet_are_one(self) -> None:
        rules = PlanRules(allowed_hours=(NOON, Window(begins=13 * 60, ends=15 * 60)))
        assert ask(rules).ends_at == NOW + timedelta(hours=3)

    def test_windows_that_leave_nothing_out_never_end(self) -> None:
        line = ask(PlanRules(allowed_hours=(Window(ends=12 * 60), Window(begins=12 * 60))))
        assert line.ends_at is line.valid_until is None


def test_a_window_is_told_by_hour_and_minute() -> None:
    window = Window(begins=9 * 60 + 5, ends=13 * 60 + 45)
    line = ask(PlanRules(schedule=(ScheduleRule(window, percent(10)),)))
    assert [applied.name for applied in line.rules if applied.rule is Rule.SCHEDULE] == ["09:05-13:45"]


class TestBurst:
    def test_a_relative_one_follows_the_rate_in_force(self) -> None:
        rules = PlanRules(burst=Burst(limit_percent=150, threshold_percent=80, seconds=12))
        line = ask(rules)
        assert (line.burst_download, line.burst_upload) == (150 * MEGA, 30 * MEGA)
        assert (line.burst_threshold_download, line.burst_threshold_upload) == (80 * MEGA, 16 * MEGA)
        assert line.burst_seconds == 12
        slow = ask(replace(rules, schedule=(ScheduleRule(NOON, percent(10)),)))
        assert (slow.burst_download, slow.burst_threshold_download) == (15 * MEGA, 8 * MEGA)

    def test_a_fixed_one_shrinks_with_a_slowed_line_and_goes_where_the_line_is_faster(self) -> None:
        rules = PlanRules(burst=Burst(150 * MEGA, 25 * MEGA))
        assert (ask(rules).burst_download, ask(rules).burst_upload) == (150 * MEGA, 25 * MEGA)
        slow = ask(replace(rules, schedule=(ScheduleRule(NOON, percent(10)),)))
        assert (slow.burst_download, slow.burst_upload) == (15 * MEGA, 2_500_000)
        fast = ask(replace(rules, schedule=(ScheduleRule(NOON, fixed(140 * MEGA, 40 * MEGA)),)))
        assert (fast.burst_download, fast.burst_upload) == (150 * MEGA, None)
        assert (fast.burst_threshold_download, fast.burst_threshold_upload) == (112 * MEGA, None)

    def test_an_unlimited_line_has_nothing_to_burst_over(self) -> None:
        plan = replace(PLAN, download_bits_per_second=None, upload_bits_per_second=None)
        for burst in (Burst(limit_percent=150), Burst(150 * MEGA, 25 * MEGA)):
            line = ask(PlanRules(burst=burst), plan=plan)
            assert line.burst_download is line.burst_upload is line.burst_seconds is None

    def test_a_spent_budget_stops_it_until_enough_is_back(self) -> None:
        rules = PlanRules(
            burst=Burst(limit_percent=150), burst_budget=BurstBudget(100 * MEGA, 8 * MEGA, resume_percent=50)
        )
        assert ask(rules).octets_left == 100 * MEGA
        standing = Standing(1, burst=BurstLevel(NOW - timedelta(seconds=10), 0, spent=True))
        line = ask(rules, standing)
        assert (line.burst_download, line.valid_until) == (None, NOW + timedelta(seconds=40))
        assert line.rules[-1].rule is Rule.BURST_BUDGET
        back = ask(rules, standing, now=NOW + timedelta(seconds=40))
        assert (back.burst_download, back.octets_left, back.valid_until) == (150 * MEGA, 50 * MEGA, None)

    def test_a_budget_that_does_not_refill_stays_spent(self) -> None:
        rules = PlanRules(burst=Burst(limit_percent=150), burst_budget=BurstBudget(MEGA, 0))
        line = ask(rules, Standing(1, burst=BurstLevel(NOW, 0, spent=False)))
        assert (line.burst_download, line.valid_until) == (None, None)


class TestBlocking:
    @pytest.mark.parametrize(
        ("standing", "refusal"),
        [
            (Standing(1, account=AccountState.BLOCKED), Refusal.BLOCKED),
            (Standing(1, account=AccountState.NO_BALANCE), Refusal.NO_BALANCE),
            (Standing(1, usage=used(11 * GIGA)), Refusal.CAP),
            (Standing(1, override=Override(BLOCK, None, "eva", "abuse")), Refusal.BLOCKED),
        ],
    )
    def test_each_reason_has_its_policy(self, standing: Standing, refusal: Refusal) -> None:
        rejected = ask(capped(), standing)
        assert (rejected.admitted, rejected.walled, rejected.refusal) == (False, False, refusal)
        walled = ask(capped(), standing, blocking=WALL)
        assert (walled.admitted, walled.walled, walled.refusal) == (True, True, refusal)
        by_reason = Blocking(BlockPolicy.WALLED_GARDEN, ((refusal.value, BlockPolicy.REJECT),), GARDEN)
        assert not ask(capped(), standing, blocking=by_reason).admitted
        reversed_ = Blocking(BlockPolicy.REJECT, ((refusal.value, BlockPolicy.WALLED_GARDEN),), GARDEN)
        assert ask(capped(), standing, blocking=reversed_).walled

    def test_a_debt_slows_a_line_to_what_the_isp_says(self) -> None:
        slow = Blocking(slow=Change(ChangeKind.FIXED, 2 * MEGA, 50 * MEGA))
        line = ask(standing=Standing(1, account=AccountState.SLOWED), blocking=slow)
        assert (line.admitted, line.walled, line.download, line.upload) == (True, False, 2 * MEGA, 20 * MEGA)
        assert line.rules[-1].rule is Rule.DEBT

    def test_a_debt_slows_nothing_where_the_isp_says_no_rates(self) -> None:
        line = ask(standing=Standing(1, account=AccountState.SLOWED))
        assert (line.download, [applied.rule for applied in line.rules]) == (100 * MEGA, [Rule.PLAN])

    def test_a_redirected_line_is_in_the_garden_whatever_the_policy(self) -> None:
        rejecting = Blocking(BlockPolicy.REJECT, garden=GARDEN)
        line = ask(standing=Standing(1, account=AccountState.REDIRECTED), blocking=rejecting)
        assert (line.admitted, line.walled, line.refusal) == (True, True, Refusal.BLOCKED)
        assert line.redirect_url == "https://pay.example.net/"

    def test_a_redirected_line_without_a_garden_is_slow(self) -> None:
        slow = Blocking(slow=Change(ChangeKind.PERCENT, percent=10))
        line = ask(standing=Standing(1, account=AccountState.REDIRECTED), blocking=slow)
        assert (line.walled, line.download) == (False, 10 * MEGA)

    def test_a_redirected_line_beyond_its_cap_obeys_the_policy_of_the_cap(self) -> None:
        rejecting = Blocking(BlockPolicy.REJECT, garden=GARDEN)
        beyond = Standing(1, account=AccountState.REDIRECTED, usage=used(11 * GIGA))
        assert not ask(capped(), beyond, blocking=rejecting).admitted

    def test_the_garden_is_told_and_nothing_of_burst_and_share(self) -> None:
        rules = PlanRules(burst=Burst(limit_percent=150), guaranteed_percent=50, address_list="homes")
        line = ask(rules, Standing(1, account=AccountState.BLOCKED), blocking=WALL)
        assert (line.download, line.upload) == (256_000, 128_000)
        assert (line.address_list, line.pool, line.redirect_url) == ("garden", "walled", "https://pay.example.net/")
        assert line.burst_download is line.guaranteed_download is None

    def test_what_the_garden_leaves_out_stays_and_it_makes_no_line_faster(self) -> None:
        garden = Blocking(BlockPolicy.WALLED_GARDEN, garden=WalledGarden("list", download_bits_per_second=900 * MEGA))
        rules = PlanRules(address_list="homes")
        line = ask(rules, Standing(1, account=AccountState.BLOCKED), blocking=garden)
        assert (line.download, line.upload, line.address_list, line.pool) == (100 * MEGA, 20 * MEGA, "list", None)

    def test_a_garden_without_a_fence_lets_nobody_in(self) -> None:
        garden = Blocking(BlockPolicy.WALLED_GARDEN, garden=WalledGarden(download_bits_per_second=64_000))
        assert not ask(standing=Standing(1, account=AccountState.BLOCKED), blocking=garden).admitted

    def test_the_plans_blocking_goes_before_the_isps(self) -> None:
        assert ask(PlanRules(blocking=WALL), Standing(1, account=AccountState.BLOCKED)).walled

    def test_an_ended_or_disabled_service_is_refused_whatever_the_policy(self) -> None:
        expired = ask(standing=Standing(1, expires_at=NOW), blocking=WALL)
        assert (expired.admitted, expired.refusal, expired.valid_until) == (False, Refusal.EXPIRED, None)
        disabled = ask(standing=Standing(1, enabled=False), blocking=WALL)
        assert (disabled.admitted, disabled.refusal, disabled.valid_until) == (False, Refusal.DISABLED, None)

    def test_expiry_ends_the_session(self) -> None:
        at = NOW + timedelta(days=3)
        line = ask(standing=Standing(1, expires_at=at))
        assert line.ends_at == line.valid_until == at


class TestOverride:
    def test_it_holds_until_its_end(self) -> None:
        until = NOW + timedelta(hours=2)
        standing = Standing(1, override=Override(fixed(MEGA), until, "eva", "test"))
        assert (ask(standing=standing).download, ask(standing=standing).upload) == (MEGA, 20 * MEGA)
        assert ask(standing=standing).valid_until == until
        assert ask(standing=standing, now=until).download == 100 * MEGA

    def test_without_an_end_it_holds_until_it_is_taken_back(self) -> None:
        line = ask(standing=Standing(1, override=Override(percent(50), None, "eva", "test")))
        assert (line.download, line.valid_until) == (50 * MEGA, None)


def test_no_rate_ever_becomes_nothing_which_would_be_no_limit() -> None:
    rules = PlanRules(schedule=(ScheduleRule(NOON, percent(1)),))
    assert ask(rules, plan=replace(PLAN, download_bits_per_second=10)).download == 1
    assert ask(PlanRules(schedule=(ScheduleRule(NOON, fixed(0)),))).download == 1


def test_usage_of_an_earlier_period_counts_for_nothing() -> None:
    day, week, month = (Counter(begins - timedelta(days=31), GIGA, 50 * GIGA) for begins in (DAY, WEEK, MONTH))
    old = Usage(NOW - timedelta(days=31), day, week, month)
    line = ask(capped(), Standing(1, usage=old))
    assert (line.admitted, line.octets_left) == (True, 8 * GIGA)


class TestFingerprint:
    def test_it_is_eight_octets_of_what_is_told(self) -> None:
        line = ask()
        assert len(fingerprint(line)) == 8
        same = line._replace(octets_left=5, valid_until=NOW, rules=(), warnings=(80,), overage_octets=9)
        assert fingerprint(same) == fingerprint(line)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("download", 1),
            ("upload", None),
            ("burst_download", 1),
            ("burst_threshold_upload", 1),
            ("burst_seconds", 1),
            ("guaranteed_upload", 1),
            ("priority", 1),
            ("address_list", "x"),
            ("pool", "x"),
            ("redirect_url", "x"),
            ("attributes", (("Filter-Id", "x"),)),
            ("ends_at", NOW),
            ("admitted", False),
        ],
    )
    def test_it_changes_with_everything_that_is_told(self, field: str, value: object) -> None:
        line = ask()
        assert fingerprint(line._replace(**{field: value})) != fingerprint(line)  # type: ignore[arg-type]  # any field

    def test_why_a_line_is_refused_is_not_told(self) -> None:
        blocked = ask(standing=Standing(1, account=AccountState.BLOCKED))
        assert fingerprint(blocked) == fingerprint(ask(standing=Standing(1, enabled=False)))

    def test_one_instant_in_two_zones_is_one(self) -> None:
        line = ask(standing=Standing(1, expires_at=NOW + timedelta(hours=1)))
        assert line.ends_at is not None
        local = line._replace(ends_at=line.ends_at.astimezone(ZONE))
        assert fingerprint(local) == fingerprint(line)
