"""What may still be used: caps with bonus, rollover and top-ups, and the burst budget.

Rule: all is whole octets. One order decides what is used first: what ended top-ups paid, top-ups that go before the
plan, what rolled over (oldest first), the plan's own, the bonus, top-ups that go after; of top-ups the one that ends
first. So the order in which things were bought does not matter. A percentage is of everything that may be used. What
ran over, where it is carried, is a lot below nothing: it is taken from the plan's own, so that nothing bought pays it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from domain.plan_rules import BurstBudget, Cap, Rollover, TopUpKind, TopUpOffer
from enforcement.periods import Span
from enforcement.standing import BurstLevel, TopUp

_MICROSECOND = timedelta(microseconds=1)
_BIT_MICROSECONDS = 8_000_000
"""Bits in an octet times microseconds in a second."""


class SourceKind(Enum):
    """What octets are drawn from; the values are shown."""

    PLAN = "plan"
    CARRIED = "carried"
    BONUS = "bonus"
    TOP_UP = "top_up"


class Source(NamedTuple):
    """One thing octets are drawn from, in the present period."""

    kind: SourceKind
    name: str
    octets: int
    used: int
    top_up_id: int | None = None

    @property
    def remaining(self) -> int:
        """Octets that may still be used."""
        return self.octets - self.used


class Draw(NamedTuple):
    """How the octets used in a period are divided among what there is."""

    used: int
    limit: int
    sources: tuple[Source, ...]

    @property
    def remaining(self) -> int:
        """Octets until all is used."""
        return max(0, self.limit - self.used)

    @property
    def over(self) -> int:
        """Octets beyond everything."""
        return max(0, self.used - self.limit)


class Settlement(NamedTuple):
    """What the end of a period leaves: octets to add to each top-up's spent ones, and what rolls over."""

    spent: tuple[tuple[int, int], ...]
    lots: tuple[int, ...]
    """What rolls over, by the period it comes from, oldest first; a single one below nothing is what ran over."""
    limit_octets: int = 0
    """All that might be used in the period."""

    @property
    def carried_octets(self) -> int:
        """All that rolls over; below nothing, all that ran over."""
        return sum(self.lots)


class Course(NamedTuple):
    """What several periods leave that ended one after the other."""

    lots: tuple[int, ...]
    spent: tuple[tuple[int, int], ...]
    """Octets to add to each top-up's spent ones, by its id."""
    limits: tuple[int, ...]
    """All that might be used in each period."""


class Purchase(NamedTuple):
    """Automatic top-ups to buy now; the first of them is larger by `forgiven_octets`."""

    number: int
    forgiven_octets: int = 0


NO_PURCHASE = Purchase(0)


def _of_octets(top_ups: Iterable[TopUp], period: Span, now: datetime) -> list[TopUp]:
    """Return those that hold or held octets in the period, in the order in which they are used."""
    chosen = [
        top_up
        for top_up in top_ups
        if top_up.kind is TopUpKind.OCTETS
        and top_up.begins <= now
        and top_up.begins < period.ends
        and top_up.ends > period.begins
    ]
    chosen.sort(key=lambda top_up: (top_up.ends, top_up.id))
    return chosen


def own_octets(cap: Cap, carried_octets: int) -> int:
    """Return the plan's own octets of a period: those of the cap, less what ran over before and was carried."""
    return max(0, cap.octets + min(0, carried_octets))


def draw(
    cap: Cap, used_octets: int, period: Span, now: datetime, *, carried_octets: int = 0, top_ups: Iterable[TopUp] = ()
) -> Draw:
    """Divide what was used in `period` until `now` among the sources, in their order.

    An ended top-up pays what `covered_octets` says, or what reaches it until that is known; it leaves nothing over.
    """
    chosen = _of_octets(top_ups, period, now)
    closed = [
        Source(SourceKind.TOP_UP, top_up.name, top_up.covered_octets, 0, top_up.id)
        for top_up in chosen
        if top_up.covered_octets is not None
    ]
    before, after = (
        [
            Source(SourceKind.TOP_UP, top_up.name, max(0, top_up.octets - top_up.spent_octets), 0, top_up.id)
            for top_up in chosen
            if top_up.covered_octets is None and top_up.before_plan is first
        ]
        for first in (True, False)
    )
    own = [
        Source(SourceKind.CARRIED, "", max(0, carried_octets), 0),
        Source(SourceKind.PLAN, "", own_octets(cap, carried_octets), 0),
        Source(SourceKind.BONUS, "", cap.bonus_octets, 0),
    ]
    ended = {top_up.id for top_up in chosen if top_up.ends <= now}
    rest = used_octets
    sources = []
    for source in closed + before + [source for source in own if source.octets] + after:
        taken = min(rest, source.octets)
        rest -= taken
        octets = taken if source.top_up_id in ended else source.octets
        sources.append(source._replace(octets=octets, used=taken))
    return Draw(used_octets, sum(source.octets for source in sources), tuple(sources))


def covered(drawn: Draw, top_ups: Iterable[TopUp], now: datetime) -> tuple[tuple[int, int], ...]:
    """Return what each top-up that has just ended paid of the present period, to be kept as its `covered_octets`.

    `drawn` is the draw at that moment.
    """
    open_ended = {top_up.id for top_up in top_ups if top_up.ends <= now and top_up.covered_octets is None}
    return tuple(
        (source.top_up_id, source.used)
        for source in drawn.sources
        if source.top_up_id is not None and source.top_up_id in open_ended
    )


def settle(
    cap: Cap, used_octets: int, period: Span, *, lots: tuple[int, ...] = (), top_ups: Iterable[TopUp] = ()
) -> Settlement:
    """Close `period`, in which `used_octets` were used; `lots` rolled over into it, oldest first.

    To be called once for every period that ended, also for those in which nothing was used.
    """
    carried = sum(lots)
    drawn = draw(cap, used_octets, period, period.ends, carried_octets=carried, top_ups=top_ups)
    spent = tuple(
        (source.top_up_id, source.used) for source in drawn.sources if source.top_up_id is not None and source.used
    )
    ran_over = drawn.over + max(0, -carried - cap.octets) if cap.carries_overage else 0
    if ran_over:
        return Settlement(spent, (-ran_over,), drawn.limit)
    if cap.rollover is None:
        return Settlement(spent, (), drawn.limit)
    used = {source.kind: source.used for source in drawn.sources if source.kind is not SourceKind.TOP_UP}
    left = _without(lots, used.get(SourceKind.CARRIED, 0)) if carried >= 0 else ()
    unused = own_octets(cap, carried) - used.get(SourceKind.PLAN, 0)
    lots = _rolled(cap.rollover, (*left, unused * cap.rollover.percent // 100))
    return Settlement(spent, lots, drawn.limit)


def settle_each(
    cap: Cap, ended: Iterable[tuple[Span, int]], *, lots: tuple[int, ...] = (), top_ups: Iterable[TopUp] = ()
) -> Course:
    """Close periods (each with the octets used in it) that follow each other, the oldest first."""
    present, spent, limits = list(top_ups), dict[int, int](), []
    for span, used_octets in ended:
        settlement = settle(cap, used_octets, span, lots=lots, top_ups=present)
        lots = settlement.lots
        limits.append(settlement.limit_octets)
        for top_up_id, more in settlement.spent:
            spent[top_up_id] = spent.get(top_up_id, 0) + more
        present = _after(present, settlement.spent)
    return Course(lots, tuple(sorted(spent.items())), tuple(limits))


def _after(top_ups: Iterable[TopUp], spent: tuple[tuple[int, int], ...]) -> list[TopUp]:
    """Return the top-ups as the end of a period leaves them: what they paid of it is spent, and no more open."""
    more = dict(spent)
    return [
        replace(each, spent_octets=each.spent_octets + more.get(each.id, 0), covered_octets=None) for each in top_ups
    ]


def _rolled(rollover: Rollover, lots: tuple[int, ...]) -> tuple[int, ...]:
    """Keep the lots that are young enough; what is above the ceiling is taken from the oldest."""
    young = lots[-rollover.periods :] if rollover.periods > 0 else ()
    if rollover.ceiling_octets is None:
        return young
    return _without(young, max(0, sum(young) - rollover.ceiling_octets))


def _without(lots: tuple[int, ...], octets: int) -> tuple[int, ...]:
    """Take octets away, from the oldest first."""
    left = []
    for lot in lots:
        taken = min(lot, octets)
        octets -= taken
        left.append(lot - taken)
    return tuple(left)


def automatic_purchase(
    offer: TopUpOffer, drawn: Draw, bought_this_month: int, top_ups: Iterable[TopUp], now: datetime
) -> Purchase:
    """Return how many of an automatic top-up are to be bought now.

    `bought_this_month`: automatic ones of this offer in the calendar month, which never become more than the offer
    allows. With compensation as many are bought as bring the line below its cap again; without, one is, and what had
    run over is forgiven. Of hours and boosts one is bought when none holds.
    """
    automatic = offer.automatic
    if automatic is None or drawn.used * 100 < drawn.limit * automatic.trigger_percent:
        return NO_PURCHASE
    room = automatic.most_per_month - bought_this_month
    if room <= 0:
        return NO_PURCHASE
    if offer.kind is not TopUpKind.OCTETS:
        holds = any(top_up.name == offer.name and top_up.begins <= now < top_up.ends for top_up in top_ups)
        return NO_PURCHASE if holds else Purchase(1)
    if offer.octets <= 0:
        return NO_PURCHASE
    if not automatic.compensate:
        return Purchase(1, drawn.over)
    return Purchase(min(room, drawn.over // offer.octets + 1))


def bought(offer: TopUpOffer, top_up_id: int, now: datetime, period: Span, *, forgiven_octets: int = 0) -> TopUp:
    """Return what buying `offer` at `now` gives; `period` is the present one of the cap (without a cap: the month)."""
    if offer.kind is not TopUpKind.OCTETS:
        ends = now + timedelta(hours=offer.hours)
    elif offer.valid_days is None:
        ends = period.ends
    else:
        ends = now + timedelta(days=offer.valid_days)
    octets = offer.octets + forgiven_octets
    return TopUp(top_up_id, offer.name, offer.kind, now, ends, octets, boost=offer.boost, before_plan=offer.before_plan)


def percent_octets(limit: int, percent: int) -> int:
    """Return the least octets that are `percent` of the limit."""
    return -(-limit * percent // 100)


def burst_octets(budget: BurstBudget, level: BurstLevel | None, now: datetime) -> int:
    """Return what the budget holds at `now`."""
    if level is None:
        return budget.octets
    elapsed = max(0, (now - level.as_of) // _MICROSECOND)
    return min(budget.octets, level.octets + budget.refill_bits_per_second * elapsed // _BIT_MICROSECONDS)


def burst_resumes_at(budget: BurstBudget, level: BurstLevel) -> datetime | None:
    """Return when a spent budget lets the line burst again; None when it never does."""
    missing = percent_octets(budget.octets, budget.resume_percent) - level.octets
    if missing <= 0:
        return level.as_of
    if budget.refill_bits_per_second <= 0:
        return None
    return level.as_of + _MICROSECOND * -(-missing * _BIT_MICROSECONDS // budget.refill_bits_per_second)


def drain(
    budget: BurstBudget,
    level: BurstLevel | None,
    now: datetime,
    *,
    since: datetime,
    octets: tuple[int, int],
    rates: tuple[int | None, int | None],
) -> BurstLevel:
    """Return the level after `octets` (down, up) ran from `since` to `now`; what `rates` alone carry costs nothing."""
    elapsed = max(0, (now - since) // _MICROSECOND)
    above = sum(
        max(0, count - rate * elapsed // _BIT_MICROSECONDS)
        for count, rate in zip(octets, rates, strict=True)
        if rate is not None
    )
    left = max(0, burst_octets(budget, level, now) - above)
    if left == 0:
        return BurstLevel(now, 0, spent=True)
    waits = level is not None and level.spent and left < percent_octets(budget.octets, budget.resume_percent)
    return BurstLevel(now, left, waits)
