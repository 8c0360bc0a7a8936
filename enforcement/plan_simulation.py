"""What a plan does with a month of usage, hour by hour.

Rule: it asks `entitle` itself, so it shows what would happen. An hour's demand is spread evenly over the hour; what a
rate does not let through is not asked for again. Inside an hour it stops at every moment and octet at which something
changes. Bursts carry nothing extra: over an hour they do not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from domain.instants import to_microseconds
from domain.network import Plan
from domain.plan_rules import Blocking, Cap, Direction, Period, PlanRules, TopUpOffer
from enforcement.allowance import Draw, automatic_purchase, bought, covered, draw, settle
from enforcement.entitlement import Entitlement, entitle
from enforcement.explanation import Applied, Rule
from enforcement.periods import EVER, NEVER, Almanac, Span, Timetable, almanac, cap_span, midnight
from enforcement.standing import Counter, Standing, Usage
from enforcement.time_weights import FULL_SECOND, time_weights

HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_DEMAND_BY_HOUR = (30, 20, 12, 8, 6, 6, 10, 18, 28, 34, 38, 40, 44, 44, 42, 42, 46, 54, 68, 86, 100, 98, 78, 50)
"""Of a made-up household, by hour of the day, the busiest 100: quiet at night, busiest from 19 to 22 o'clock."""


class Demand(NamedTuple):
    """What the subscriber would like to send and receive in the hour from `begins`."""

    begins: datetime
    octets_up: int
    octets_down: int


class HourRow(NamedTuple):
    """One hour: the entitlement at its end, what was asked, carried and counted, and what happened."""

    begins: datetime
    entitlement: Entitlement
    octets_up: int
    octets_down: int
    held_back_octets: int
    """Asked for, and not let through."""
    counted_octets: int
    """What the counting windows made of it, both directions."""
    period_octets: int
    """Counted since the period of the cap (without one: the month) began, in the direction of the cap."""
    crossings: tuple[Applied, ...]
    """Rules that began to hold in this hour."""
    warnings: tuple[int, ...]
    """Percents of the cap that were reached in this hour."""
    ceiling_warnings: tuple[int, ...]
    """Percents of what overage costs at most that were reached in this hour."""
    top_ups: tuple[str, ...]
    """Automatic top-ups that were bought, by name."""
    overage_octets: int
    """Octets that became chargeable in this hour."""


def made_up_month(first: date, days: int, octets_up: int, octets_down: int, zone: tzinfo) -> tuple[Demand, ...]:
    """Return a household's demand for `days` from `first`, which adds up to the octets given."""
    now, ends = midnight(zone, first), midnight(zone, first + timedelta(days=days))
    hours = []
    while now < ends:
        hours.append((now, _DEMAND_BY_HOUR[now.astimezone(zone).hour]))
        now += HOUR
    whole = sum(weight for _, weight in hours)
    demand, passed = [], 0
    for begins, weight in hours:
        up, down = (
            octets * (passed + weight) // whole - octets * passed // whole for octets in (octets_up, octets_down)
        )
        demand.append(Demand(begins, up, down))
        passed += weight
    return tuple(demand)


def simulate(
    plan: Plan,
    rules: PlanRules,
    demand: Iterable[Demand],
    zone: tzinfo,
    *,
    standing: Standing | None = None,
    blocking: Blocking | None = None,
) -> Iterator[HourRow]:
    """Yield a row for each hour of `demand`, which is in the order of time.

    The service begins with `standing`; None: a new one, whose month begins on the first. A line is open all the time.
    """
    subscriber = _Subscriber(plan, rules, zone, standing or Standing(0), blocking or Blocking())
    for hour in demand:
        yield subscriber.live(hour)


class _Spans(NamedTuple):
    """The present periods."""

    day: Span
    week: Span
    month: Span
    fup_month: Span | None


class _Row:
    """An hour that is being lived."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.up = 0
        self.down = 0
        self.counted = 0
        self.overage = 0
        self.crossings: list[Applied] = []
        self.warnings: list[int] = []
        self.ceiling_warnings: list[int] = []
        self.top_ups: list[str] = []

    def made(self, entitlement: Entitlement, period_octets: int) -> HourRow:
        """Return the row."""
        return HourRow(
            self.demand.begins,
            entitlement,
            self.up,
            self.down,
            self.demand.octets_up + self.demand.octets_down - self.up - self.down,
            self.counted,
            period_octets,
            tuple(self.crossings),
            tuple(self.warnings),
            tuple(self.ceiling_warnings),
            tuple(self.top_ups),
            self.overage,
        )


class _Subscriber:
    """A service, as it stands after the hours that it lived."""

    def __init__(self, plan: Plan, rules: PlanRules, zone: tzinfo, standing: Standing, blocking: Blocking) -> None:
        self._plan = plan
        # What goes through is never above the base rate, so nothing is drawn from a burst budget.
        self._rules = replace(rules, burst_budget=None)
        self._zone = zone
        self._blocking = blocking
        self._standing = standing
        self._almanac: Almanac = almanac(zone)
        self._counting = rules.weighing_octets
        self._windows = Timetable([each.window for each in self._counting], zone)
        self._begun: datetime | None = None
        self._cap_period: Span | None = None
        self._lots: tuple[int, ...] = (standing.carried_octets,) if standing.carried_octets else ()
        self._bought: list[tuple[datetime, str]] = []
        self._held: frozenset[tuple[Rule, str]] = frozenset()
        self._warned: tuple[int, ...] = ()
        self._ceiling_warned: tuple[int, ...] = ()
        self._charged = 0
        self._over: list[tuple[datetime, int]] = []
        """What ran over in periods of the cap that share a ceiling, with their beginnings."""

    def live(self, demand: Demand) -> HourRow:
        """Let one hour pass."""
        now, ends = demand.begins, demand.begins + HOUR
        if self._begun is None:
            self._begun = now
        row = _Row(demand)
        while now < ends:
            entitlement = self._look(now, row)
            now = self._stretch(entitlement, now, ends, row)
        return row.made(self._look(ends - _MICROSECOND, row), self._period_octets())

    def _look(self, now: datetime, row: _Row) -> Entitlement:
        """Turn the periods, buy what is bought unasked, and return what the line may do."""
        self._turn(now)
        for offer in self._rules.top_ups:
            while self._buy(offer, now):
                row.top_ups.append(offer.name)
        entitlement = entitle(self._plan, self._rules, self._blocking, self._standing, self._zone, now)
        row.crossings += [rule for rule in entitlement.rules if (rule.rule, rule.name) not in self._held]
        row.warnings += [percent for percent in entitlement.warnings if percent not in self._warned]
        row.ceiling_warnings += [each for each in entitlement.ceiling_warnings if each not in self._ceiling_warned]
        row.overage += max(0, entitlement.overage_octets - self._charged)
        self._held = frozenset([(rule.rule, rule.name) for rule in entitlement.rules])
        self._warned, self._ceiling_warned = entitlement.warnings, entitlement.ceiling_warnings
        self._charged = entitlement.overage_octets
        return entitlement

    def _turn(self, now: datetime) -> None:
        """Begin the periods that begin, settle the cap's that ended, and close top-ups that ended."""
        standing, spans = self._standing, self._spans(now)
        day, week, month = (Counter(span.begins) for span in (spans.day, spans.week, spans.month))
        usage = standing.usage or Usage(now, day, week, month)
        self._settle(now, usage)
        usage = usage._replace(
            day=_present(usage.day, spans.day),
            week=_present(usage.week, spans.week),
            month=_present(usage.month, spans.month),
            fup_month=None if spans.fup_month is None else _present(usage.fup_month, spans.fup_month),
            sessions=1,
            ever=_present(usage.ever, EVER) if self._rules.uses(Period.EVER) else None,
            over_before=self._over_before(),
        )
        self._standing = replace(self._standing, usage=usage)
        if self._rules.cap is not None:
            self._close_top_ups(self._rules.cap, now)

    def _spans(self, now: datetime) -> _Spans:
        known, rules = self._almanac, self._rules
        reset_day = None if rules.fup is None else rules.fup.reset_day
        return _Spans(
            known.day(now),
            known.week(now, rules.week_starts),
            known.month(now, self._standing.period_day),
            None if reset_day is None else known.month(now, reset_day),
        )

    def _settle(self, now: datetime, usage: Usage) -> None:
        cap = self._rules.cap
        if cap is None:
            return
        period, used = self._cap_period, _counter(usage, cap).octets(cap.direction)
        while period is not None and period.ends <= now:
            standing = self._standing
            settlement = settle(cap, used, period, lots=self._lots, top_ups=standing.top_ups)
            spent = dict(settlement.spent)
            top_ups = tuple(
                replace(top_up, spent_octets=top_up.spent_octets + spent.get(top_up.id, 0))
                for top_up in standing.top_ups
                if top_up.ends > period.ends
            )
            if self._rules.shares_ceiling:
                self._over.append((period.begins, max(0, used - settlement.limit_octets)))
            self._lots = settlement.lots
            self._standing = replace(standing, top_ups=top_ups, carried_octets=settlement.carried_octets)
            period, used = cap_span(self._rules, self._zone, period.ends, standing.period_day), 0
        self._cap_period = cap_span(self._rules, self._zone, now, self._standing.period_day)

    def _over_before(self) -> tuple[int, ...]:
        if self._cap_period is None:
            return ()
        month = self._almanac.month(self._cap_period.begins, self._standing.period_day)
        return tuple(octets for begins, octets in self._over if begins >= month.begins)

    def _close_top_ups(self, cap: Cap, now: datetime) -> None:
        top_ups = self._standing.top_ups
        if not any(top_up.ends <= now and top_up.covered_octets is None for top_up in top_ups):
            return
        paid = dict(covered(self._drawn(cap, now), top_ups, now))
        closed = tuple(
            replace(top_up, covered_octets=paid[top_up.id]) if top_up.id in paid else top_up for top_up in top_ups
        )
        self._standing = replace(self._standing, top_ups=closed)

    def _drawn(self, cap: Cap, now: datetime) -> Draw:
        standing, period = self._standing, self._cap_period
        assert standing.usage is not None
        assert period is not None
        used = _counter(standing.usage, cap).octets(cap.direction)
        return draw(cap, used, period, now, carried_octets=standing.carried_octets, top_ups=standing.top_ups)

    def _buy(self, offer: TopUpOffer, now: datetime) -> bool:
        """Buy one of an offer when it is due."""
        cap, period = self._rules.cap, self._cap_period
        if cap is None or period is None or offer.automatic is None:
            return False
        month = self._almanac.month(now)
        this_month = sum(1 for at, name in self._bought if name == offer.name and at >= month.begins)
        top_ups = self._standing.top_ups
        purchase = automatic_purchase(offer, self._drawn(cap, now), this_month, top_ups, now)
        if not purchase.number:
            return False
        self._bought.append((now, offer.name))
        number = max((top_up.id for top_up in top_ups), default=0) + 1
        top_up = bought(offer, number, now, period, forgiven_octets=purchase.forgiven_octets)
        self._standing = replace(self._standing, top_ups=(*top_ups, top_up))
        return True

    def _stretch(self, entitlement: Entitlement, now: datetime, ends: datetime, row: _Row) -> datetime:
        """Let the line run as it may, until something changes; return that moment."""
        until = min(ends, entitlement.valid_until or NEVER)
        weight = 100
        if self._counting:
            segment = self._windows.at(now)
            until = min(until, segment.ends)
            weight = 100 if segment.window is None else self._counting[segment.window].percent
        flows = _flows(entitlement, row.demand)
        if weight and entitlement.octets_left is not None:
            dearest = max([100, *(each.percent for each in self._counting)])
            left = max(1, entitlement.octets_left * dearest // weight)
            until = min(until, now + _time_for(left, _in_direction(flows, entitlement.left_direction)))
        begins = row.demand.begins
        up, down = (_through(flow, until - begins) - _through(flow, now - begins) for flow in flows)
        row.up += up
        row.down += down
        row.counted += self._count(now, until, up * weight // 100, down * weight // 100)
        return until

    def _count(self, now: datetime, until: datetime, up: int, down: int) -> int:
        """Add to the counters what a stretch used; return what counted."""
        usage, spans = self._standing.usage, self._spans(now)
        assert usage is not None
        as_of = until.replace(microsecond=0)
        usage = Usage(
            as_of,
            self._grown(usage.day, up, down, spans.day, as_of),
            self._grown(usage.week, up, down, spans.week, as_of),
            self._grown(usage.month, up, down, spans.month, as_of),
            None
            if usage.fup_month is None or spans.fup_month is None
            else self._grown(usage.fup_month, up, down, spans.fup_month, as_of),
            usage.sessions,
            ever=None if usage.ever is None else _added(usage.ever, up, down),
            over_before=usage.over_before,
        )
        self._standing = replace(self._standing, usage=usage)
        return up + down

    def _grown(self, counter: Counter, up: int, down: int, span: Span, as_of: datetime) -> Counter:
        """Return the counter of a period after octets more, on line until `as_of`."""
        assert self._begun is not None
        weights = time_weights(self._rules.weighing_time, self._zone, span)
        begun, now = (to_microseconds(max(counter.begins, each)) for each in (self._begun, as_of))
        seconds, rest = divmod(weights.between(begun, now), FULL_SECOND)
        return _added(counter, up, down)._replace(seconds=seconds, rest=rest)

    def _period_octets(self) -> int:
        usage, cap = self._standing.usage, self._rules.cap
        assert usage is not None
        if cap is None:
            return usage.month.octets(Direction.BOTH)
        return _counter(usage, cap).octets(cap.direction)


def _added(counter: Counter, up: int, down: int) -> Counter:
    return counter._replace(octets_up=counter.octets_up + up, octets_down=counter.octets_down + down)


def _present(counter: Counter | None, span: Span) -> Counter:
    return Counter(span.begins) if counter is None or counter.begins < span.begins else counter


def _counter(usage: Usage, cap: Cap) -> Counter:
    return usage.of(cap.period) or Counter(EVER.begins)


def _flows(entitlement: Entitlement, demand: Demand) -> tuple[int, int]:
    """Return the octets an hour, up and down, that the line carries of what is asked for."""
    if not entitlement.admitted or entitlement.walled:
        return 0, 0
    return _limited(demand.octets_up, entitlement.upload), _limited(demand.octets_down, entitlement.download)


def _limited(octets: int, rate: int | None) -> int:
    return octets if rate is None else min(octets, rate * (HOUR // _SECOND) // 8)


def _in_direction(flows: tuple[int, int], direction: Direction) -> int:
    if direction is Direction.BOTH:
        return sum(flows)
    return flows[0] if direction is Direction.UP else flows[1]


def _through(octets_an_hour: int, elapsed: timedelta) -> int:
    return octets_an_hour * (elapsed // _MICROSECOND) // (HOUR // _MICROSECOND)


def _time_for(octets: int, octets_an_hour: int) -> timedelta:
    """Return how long the octets take; beyond the hour it does not matter."""
    if octets >= octets_an_hour:
        return HOUR
    return _MICROSECOND * -(-octets * (HOUR // _MICROSECOND) // octets_an_hour)
