"""What may still be used: caps, top-ups, rollover, automatic purchases and the burst budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.plan_rules import (
    AutomaticTopUp,
    BurstBudget,
    Cap,
    Change,
    ChangeKind,
    Period,
    Rollover,
    TopUpKind,
    TopUpOffer,
)
from enforcement.allowance import (
    NO_PURCHASE,
    Draw,
    Purchase,
    SourceKind,
    automatic_purchase,
    bought,
    burst_octets,
    burst_resumes_at,
    covered,
    drain,
    draw,
    percent_octets,
    settle,
    settle_each,
)
from enforcement.periods import Span
from enforcement.standing import BurstLevel, TopUp

PERIOD = Span(datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC))
NOW = datetime(2025, 6, 18, tzinfo=UTC)
DAY = timedelta(days=1)
CAP = Cap(1000)


def top_up(number: int, octets: int, *, before: bool = False, ends: datetime = PERIOD.ends, spent: int = 0) -> TopUp:
    return TopUp(
        number, f"t{number}", TopUpKind.OCTETS, PERIOD.begins, ends, octets, spent_octets=spent, before_plan=before
    )


def shares(drawn: Draw) -> dict[str, tuple[int, int]]:
    """Return used and remaining by source."""
    return {
        source.name if source.kind is SourceKind.TOP_UP else source.kind.value: (source.used, source.remaining)
        for source in drawn.sources
    }


@given(
    st.lists(st.integers(0, 2_500), min_size=1, max_size=6),
    st.integers(0, 3_000),
    st.integers(0, 100),
    st.booleans(),
    st.booleans(),
)
def test_periods_that_are_closed_together_leave_what_they_leave_one_by_one(
    used: list[int], bought_octets: int, percent: int, before: bool, carries: bool
) -> None:
    """Whoever closes several at once, as a bill may, says the same of each as who closes it when it ends."""
    cap = Cap(1000, bonus_octets=50, rollover=Rollover(percent=percent, periods=2), carries_overage=carries)
    spans = [Span(PERIOD.begins + 30 * DAY * number, PERIOD.begins + 30 * DAY * (number + 1)) for number in range(6)]
    held = [top_up(1, bought_octets, before=before, ends=spans[-1].ends)]
    together = settle_each(cap, zip(spans, used, strict=False), top_ups=held)
    lots: tuple[int, ...] = ()
    limits = []
    for span, octets in zip(spans, used, strict=False):
        one = settle(cap, octets, span, lots=lots, top_ups=held)
        lots = one.lots
        limits.append(one.limit_octets)
        held = [replace(held[0], spent_octets=held[0].spent_octets + sum(more for _, more in one.spent))]
    assert together == (lots, ((1, held[0].spent_octets),) if held[0].spent_octets else (), tuple(limits))


class TestDraw:
    def test_everything_has_its_place_in_the_order(self) -> None:
        cap = Cap(1000, bonus_octets=50)
        top_ups = (top_up(1, 100), top_up(2, 200, before=True), top_up(3, 10, before=True, ends=NOW + DAY))
        taken = {}
        for used in (10, 210, 310, 1310, 1360, 1460, 1500):
            drawn = draw(cap, used, PERIOD, NOW, carried_octets=100, top_ups=top_ups)
            taken[used] = {name: used_ for name, (used_, _) in shares(drawn).items()}
            assert drawn.limit == 1460
        assert list(taken[10]) == ["t3", "t2", "carried", "plan", "bonus", "t1"]
        assert list(taken[10].values()) == [10, 0, 0, 0, 0, 0]
        assert list(taken[210].values()) == [10, 200, 0, 0, 0, 0]
        assert list(taken[310].values()) == [10, 200, 100, 0, 0, 0]
        assert list(taken[1310].values()) == [10, 200, 100, 1000, 0, 0]
        assert list(taken[1360].values()) == [10, 200, 100, 1000, 50, 0]
        assert taken[1460] == taken[1500]
        assert draw(cap, 1500, PERIOD, NOW, carried_octets=100, top_ups=top_ups).over == 40

    def test_m13_what_comes_first_is_used_up_before_what_comes_next(self) -> None:
        drawn = draw(Cap(100), 120, PERIOD, NOW, top_ups=[top_up(1, 100)])
        assert shares(drawn) == {"plan": (100, 0), "t1": (20, 80)}

    def test_m16_without_anything_to_use_all_is_beyond(self) -> None:
        drawn = draw(Cap(0), 50, PERIOD, NOW)
        assert (drawn.over, drawn.remaining) == (50, 0)

    def test_m15_what_ran_over_is_gone_from_the_next_day(self) -> None:
        cap = Cap(100, Period.DAY, carries_overage=True)
        carried = settle(cap, 120, PERIOD).carried_octets
        next_day = draw(cap, 0, PERIOD, NOW, carried_octets=carried)
        assert (carried, next_day.limit, next_day.remaining) == (-20, 80, 80)

    def test_what_ran_over_takes_nothing_that_was_bought_or_given(self) -> None:
        cap = Cap(100, bonus_octets=5, carries_overage=True)
        drawn = draw(cap, 0, PERIOD, NOW, carried_octets=-130, top_ups=[top_up(1, 40, before=True)])
        assert shares(drawn) == {"t1": (0, 40), "bonus": (0, 5)}

    def test_remaining_and_over_are_never_both(self) -> None:
        assert (draw(CAP, 900, PERIOD, NOW).remaining, draw(CAP, 900, PERIOD, NOW).over) == (100, 0)
        assert (draw(CAP, 1100, PERIOD, NOW).remaining, draw(CAP, 1100, PERIOD, NOW).over) == (0, 100)

    def test_the_order_in_which_top_ups_were_bought_does_not_matter(self) -> None:
        top_ups = (top_up(1, 100), top_up(2, 200), top_up(3, 300, before=True), top_up(4, 50, ends=NOW + DAY))
        drawn = {draw(CAP, 1100, PERIOD, NOW, top_ups=order) for order in permutations(top_ups)}
        assert len(drawn) == 1

    def test_hours_boosts_and_what_begins_later_hold_no_octets(self) -> None:
        others = (
            replace(top_up(1, 100), kind=TopUpKind.HOURS),
            replace(top_up(2, 100), kind=TopUpKind.BOOST),
            replace(top_up(3, 100), begins=NOW + DAY),
            replace(top_up(4, 100), begins=PERIOD.begins - 9 * DAY, ends=PERIOD.begins),
        )
        assert draw(CAP, 0, PERIOD, NOW, top_ups=others).limit == 1000

    def test_what_was_spent_in_other_periods_is_gone(self) -> None:
        assert shares(draw(CAP, 1100, PERIOD, NOW, top_ups=(top_up(1, 300, spent=250),)))["t1"] == (50, 0)

    def test_one_that_just_ended_paid_what_reaches_it_and_leaves_nothing(self) -> None:
        ended = top_up(1, 300, ends=NOW)
        drawn = draw(CAP, 1100, PERIOD, NOW, top_ups=(ended,))
        assert (drawn.limit, shares(drawn)["t1"]) == (1100, (100, 0))
        assert covered(drawn, (ended,), NOW) == ((1, 100),)
        closed = replace(ended, covered_octets=100)
        later = draw(CAP, 1150, PERIOD, NOW + DAY, top_ups=(closed,))
        assert (later.limit, later.over) == (1100, 50)
        assert covered(later, (closed,), NOW + DAY) == ()

    @given(
        st.integers(0, 5000),
        st.integers(0, 500),
        st.lists(st.tuples(st.integers(0, 500), st.booleans(), st.integers(0, 600)), max_size=4),
    )
    def test_not_one_octet_is_lost_or_made(self, used: int, carried: int, offers: list[tuple[int, bool, int]]) -> None:
        top_ups = [
            top_up(number, octets, before=before, spent=spent) for number, (octets, before, spent) in enumerate(offers)
        ]
        drawn = draw(CAP, used, PERIOD, NOW, carried_octets=carried, top_ups=top_ups)
        assert sum(source.used for source in drawn.sources) + drawn.over == used
        assert sum(source.remaining for source in drawn.sources) == drawn.remaining
        assert all(0 <= source.used <= source.octets for source in drawn.sources)


class TestSettlement:
    def test_each_top_up_learns_what_it_paid(self) -> None:
        top_ups = (top_up(1, 300, before=True, ends=PERIOD.ends + DAY), top_up(2, 500, ends=PERIOD.ends + DAY))
        assert settle(CAP, 1400, PERIOD, top_ups=top_ups).spent == ((1, 300), (2, 100))
        assert settle(CAP, 0, PERIOD, top_ups=top_ups).spent == ()

    def test_one_bought_for_the_next_period_pays_nothing(self) -> None:
        later = replace(top_up(1, 300), begins=PERIOD.ends, ends=PERIOD.ends + DAY)
        assert settle(CAP, 1400, PERIOD, top_ups=(later,)).spent == ()

    def test_a_top_up_over_several_periods_pays_each_octet_once(self) -> None:
        held = top_up(1, 100, ends=PERIOD.ends + 3 * DAY)
        paid, period = 0, PERIOD
        for used in (1030, 1030, 1060):
            spent = dict(settle(CAP, used, period, top_ups=(held,)).spent)
            paid += spent.get(1, 0)
            held = replace(held, spent_octets=held.spent_octets + spent.get(1, 0))
            period = Span(period.ends, period.ends + DAY)
        assert (paid, held.spent_octets) == (100, 100)

    @pytest.mark.parametrize(
        ("used", "rollover", "lots", "left"),
        [
            (400, None, (), ()),
            (400, Rollover(100), (), (600,)),
            (400, Rollover(50), (), (300,)),
            (401, Rollover(50), (), (299,)),
            (1200, Rollover(100), (), (0,)),
            (400, Rollover(100), (300,), (900,)),
            (400, Rollover(100, periods=2), (300,), (0, 900)),
            (200, Rollover(100, periods=2), (300,), (100, 1000)),
            (200, Rollover(100, periods=2), (100, 300), (200, 1000)),
            (200, Rollover(100, periods=3), (100, 300), (0, 200, 1000)),
            (0, Rollover(100, periods=2, ceiling_octets=1100), (300,), (100, 1000)),
            (0, Rollover(100, ceiling_octets=700), (), (700,)),
        ],
    )
    def test_what_rolls_over(
        self, used: int, rollover: Rollover | None, lots: tuple[int, ...], left: tuple[int, ...]
    ) -> None:
        settlement = settle(Cap(1000, bonus_octets=500, rollover=rollover), used, PERIOD, lots=lots)
        assert settlement.lots == left
        assert settlement.carried_octets == sum(left)

    @given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.none() | st.just(Rollover(50)))
    def test_what_ran_over_is_carried_until_the_cap_has_paid_all_of_it(
        self, months: list[int], rollover: Rollover | None
    ) -> None:
        cap = Cap(1000, carries_overage=True, rollover=rollover)
        lots: tuple[int, ...] = ()
        for used in months:
            before = sum(lots)
            settlement = settle(cap, used, PERIOD, lots=lots)
            lots = settlement.lots
            left = 1000 + before - used
            assert settlement.limit_octets == max(0, 1000 + before)
            assert settlement.carried_octets == left if left < 0 else settlement.carried_octets >= 0
        assert rollover is not None or all(lot < 0 for lot in lots)

    def test_a_plan_that_does_not_carry_lets_go_what_another_plan_carried(self) -> None:
        settlement = settle(CAP, 300, PERIOD, lots=(-1500,))
        assert (settlement.limit_octets, settlement.lots) == (0, ())

    @given(st.lists(st.integers(0, 2500), min_size=1, max_size=12), st.integers(1, 3), st.integers(1, 100))
    def test_nothing_rolls_over_for_longer_than_its_periods(
        self, months: list[int], periods: int, percent: int
    ) -> None:
        cap = Cap(1000, rollover=Rollover(percent, periods))
        lots: tuple[int, ...] = ()
        for used in months:
            lots = settle(cap, used, PERIOD, lots=lots).lots
            assert len(lots) <= periods
            assert sum(lots) <= periods * 1000 * percent // 100


class TestAutomaticPurchase:
    OFFER = TopUpOffer("more", TopUpKind.OCTETS, 10, automatic=AutomaticTopUp(90, 30, compensate=True))

    def buy(
        self, used: int, bought_already: int = 0, *, offer: TopUpOffer | None = None, limit: int = 1000
    ) -> Purchase:
        return automatic_purchase(offer or self.OFFER, Draw(used, limit, ()), bought_already, (), NOW)

    def test_it_begins_at_its_trigger(self) -> None:
        assert self.buy(899) == NO_PURCHASE
        assert self.buy(900) == Purchase(1)

    def test_compensation_buys_what_ran_over_needs(self) -> None:
        assert self.buy(1000) == Purchase(1)
        assert self.buy(1009) == Purchase(1)
        assert self.buy(1010) == Purchase(2)
        assert self.buy(1200) == Purchase(21)

    def test_the_monthly_maximum_is_never_exceeded(self) -> None:
        assert self.buy(9000) == Purchase(30)
        assert self.buy(9000, 28) == Purchase(2)
        assert self.buy(9000, 30) == self.buy(9000, 31) == NO_PURCHASE

    def test_without_compensation_one_is_bought_and_the_rest_forgiven(self) -> None:
        offer = replace(self.OFFER, automatic=AutomaticTopUp(90, 30))
        assert self.buy(950, offer=offer) == Purchase(1)
        assert self.buy(1200, offer=offer) == Purchase(1, 200)

    def test_hours_are_bought_when_none_holds(self) -> None:
        offer = TopUpOffer("day", TopUpKind.HOURS, hours=24, automatic=AutomaticTopUp(100, 3))
        drawn = Draw(1000, 1000, ())
        assert automatic_purchase(offer, drawn, 0, (), NOW) == Purchase(1)
        holding = bought(offer, 1, NOW, PERIOD)
        assert automatic_purchase(offer, drawn, 1, (holding,), NOW) == NO_PURCHASE
        assert automatic_purchase(offer, drawn, 1, (holding,), NOW + DAY) == Purchase(1)

    def test_what_nobody_wished_or_what_adds_nothing_is_not_bought(self) -> None:
        assert self.buy(2000, offer=replace(self.OFFER, automatic=None)) == NO_PURCHASE
        assert self.buy(2000, offer=replace(self.OFFER, octets=0)) == NO_PURCHASE

    @given(st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 100), st.integers(1, 8), st.booleans())
    def test_buying_ends_below_the_trigger_or_at_the_maximum(
        self,
        used: int,
        octets: int,
        trigger: int,
        most: int,
        compensate: bool,
    ) -> None:
        offer = TopUpOffer(
            "more", TopUpKind.OCTETS, octets, automatic=AutomaticTopUp(trigger, most, compensate=compensate)
        )
        limit, total = 1000, 0
        while purchase := automatic_purchase(offer, Draw(used, limit, ()), total, (), NOW):
            if not purchase.number:
                break
            limit += purchase.number * octets + purchase.forgiven_octets
            total += purchase.number
            assert total <= most
        assert total == most or used * 100 < limit * trigger


class TestBought:
    def test_it_holds_to_the_end_of_the_period_or_as_many_days_as_it_says(self) -> None:
        offer = TopUpOffer("more", TopUpKind.OCTETS, 100, before_plan=True)
        assert bought(offer, 5, NOW, PERIOD, forgiven_octets=7) == TopUp(
            5, "more", TopUpKind.OCTETS, NOW, PERIOD.ends, 107, before_plan=True
        )
        assert bought(replace(offer, valid_days=30), 5, NOW, PERIOD).ends == NOW + 30 * DAY

    def test_hours_and_boosts_hold_for_their_hours(self) -> None:
        change = Change(ChangeKind.PERCENT, percent=200)
        boost = bought(TopUpOffer("fast", TopUpKind.BOOST, hours=24, boost=change), 5, NOW, PERIOD)
        assert (boost.ends, boost.boost) == (NOW + DAY, change)


class TestBurstBudget:
    BUDGET = BurstBudget(1000, 80, resume_percent=50)
    """Ten octets a second come back."""

    def test_it_refills_over_time_and_never_above_its_size(self) -> None:
        level = BurstLevel(NOW, 100, spent=False)
        assert burst_octets(self.BUDGET, None, NOW) == 1000
        assert burst_octets(self.BUDGET, level, NOW + timedelta(seconds=10)) == 200
        assert burst_octets(self.BUDGET, level, NOW + DAY) == 1000
        assert burst_octets(self.BUDGET, level, NOW - DAY) == 100

    def test_it_resumes_to_the_microsecond(self) -> None:
        resumes_at = burst_resumes_at(BurstBudget(1000, 7, 50), BurstLevel(NOW, 1, spent=True))
        assert resumes_at is not None
        budget, level = BurstBudget(1000, 7, 50), BurstLevel(NOW, 1, spent=True)
        assert burst_octets(budget, level, resumes_at) == 500
        assert burst_octets(budget, level, resumes_at - timedelta(microseconds=1)) == 499
        assert burst_resumes_at(budget, BurstLevel(NOW, 500, spent=True)) == NOW
        assert burst_resumes_at(BurstBudget(1000, 0), level) is None

    def test_only_what_is_above_the_base_rate_costs(self) -> None:
        later = NOW + timedelta(seconds=10)

        def left(down: int, up: int, level: BurstLevel | None = None) -> BurstLevel:
            return drain(self.BUDGET, level, later, since=NOW, octets=(down, up), rates=(800, 400))

        assert left(1000, 500) == BurstLevel(later, 1000, spent=False)
        assert left(1300, 0) == BurstLevel(later, 700, spent=False)
        assert left(1300, 700) == BurstLevel(later, 500, spent=False)
        assert left(9000, 0) == BurstLevel(later, 0, spent=True)
        unlimited = drain(self.BUDGET, None, later, since=NOW, octets=(9000, 9000), rates=(None, None))
        assert unlimited == BurstLevel(later, 1000, spent=False)

    def test_a_spent_one_stays_spent_until_enough_is_back(self) -> None:
        spent = BurstLevel(NOW, 0, spent=True)

        def after(seconds: int) -> BurstLevel:
            later = NOW + timedelta(seconds=seconds)
            return drain(self.BUDGET, spent, later, since=NOW, octets=(0, 0), rates=(800, 400))

        assert after(49).spent
        assert not after(50).spent


@given(st.integers(0, 10**15), st.integers(1, 1000))
def test_a_percentage_is_reached_by_its_first_octet_and_not_before(limit: int, percent: int) -> None:
    octets = percent_octets(limit, percent)
    assert octets * 100 >= limit * percent
    assert octets == 0 or (octets - 1) * 100 < limit * percent
