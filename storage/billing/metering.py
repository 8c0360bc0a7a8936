"""What the usage of services costs: octets beyond the cap of each period that is over, rated by the plan that was sold.

Rule: what counts is read as enforcement reads it, on the days on which overage was sold, and what might be used (the
cap, its bonus, what rolled over, what was bought) is what enforcement said at the end of the period; where it has not
come to that yet, the same function says it here. While a period lasts, it is all that can still come to that. Nothing
is kept: a period that is asked for again is rated again from the same facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.cycle import Period
from billing.generation import OVERAGE, UsagePeriod
from billing.history import Phase
from billing.intervals import difference, intersection, union
from domain.money import decimal, digits, minor_units, rounded
from domain.plan_rules import Cap, PlanRules, WeekStart
from domain.plan_rules import Period as CountedPeriod
from domain.tariff import Tariff, blocks, rate, so_far
from enforcement.allowance import own_octets, settle_each
from enforcement.periods import Span, almanac, cap_span, midnight
from enforcement.standing import Counter
from storage import carry, usage
from storage.carry import Carried

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_TWO_MONTHS = timedelta(days=62)
"""No period of a cap is longer: whatever may still change begins no earlier before what was billed."""
MOST_PERIODS = 400
"""Of one subscription in one run: those of a year, by the day."""


_Place = tuple[int, datetime]
"""A service, and when a period of it begins."""


class Metered(NamedTuple):
    """A subscription to a plan that charges overage."""

    subscription_id: int
    service_id: int
    period_day: int
    phases: Sequence[Phase]
    floor: date
    currency: str


class _Asked(NamedTuple):
    metered: Metered
    span: Span
    days: Period
    rules: PlanRules
    product_id: int
    counted: Sequence[Span]
    """What of the span counts: the days on which overage was sold, less what a later period has."""

    @property
    def place(self) -> _Place:
        """What it is found by."""
        return self.metered.service_id, self.span.begins


def charged(
    connection: Connection, found: Sequence[Metered], rules: Mapping[int, PlanRules], zone: ZoneInfo, on: date
) -> dict[int, list[UsagePeriod]]:
    """Return what the periods that are over by `on` cost, by subscription; and the present one, if it may be billed."""
    said = _said(connection, found)
    known = _known(connection, found, said, zone)
    asked = [each for metered in found for each in _periods(metered, rules, zone, on, known[metered.subscription_id])]
    now = midnight(zone, on)
    used = _used(connection, [(*each.place, each.counted, each.rules) for each in asked], zone, now)
    limits = {place: limit for place, (_, limit) in said.items()} | _present(connection, asked, on)
    unsaid = [each for each in asked if each.place not in limits]
    if unsaid:
        limits = _unsettled(connection, unsaid, used, zone, now) | limits
    result: dict[int, list[UsagePeriod]] = defaultdict(list)
    charged: dict[_Place, int] = defaultdict(int)
    for each in sorted(asked, key=lambda each: each.span.begins):
        cap, month = _cap(each.rules), _month(each, zone)
        limit = limits.get(each.place, cap.octets + cap.bonus_octets)
        tariff = _tariff(each.rules)
        is_over = each.days.ends <= on
        rated = _rated(each, used[each.place], limit, tariff if is_over else so_far(tariff), charged[month])
        charged[month] += rated.amount
        if not is_over:
            bill_at = minor_units(tariff.bill_at or Decimal(0), each.metered.currency)
            rated = rated._replace(bill_at=rounded(bill_at))
        if each.days.ends > each.metered.floor:
            result[each.metered.subscription_id].append(rated)
    return result


def _month(each: _Asked, zone: ZoneInfo) -> _Place:
    """Return the month of a service in which a period begins: its periods share the ceiling."""
    return each.metered.service_id, almanac(zone).month(each.span.begins, each.metered.period_day).begins


def _used(
    connection: Connection,
    periods: Sequence[tuple[int, datetime, Sequence[Span], PlanRules]],
    zone: ZoneInfo,
    now: datetime,
) -> dict[_Place, int]:
    """Return the octets that count in the parts of periods of services, by service and when the period begins."""
    parts = [(service_id, begins, span, rules) for service_id, begins, spans, rules in periods for span in spans]
    octets = usage.used(connection, [usage.Period(id_, span, rules) for id_, _, span, rules in parts], zone, now)
    found = {(service_id, begins): 0 for service_id, begins, _, _ in periods}
    for (service_id, begins, span, rules), (up, down) in zip(parts, octets, strict=True):
        found[service_id, begins] += Counter(span.begins, up, down).octets(_cap(rules).direction)
    return found


def _unsettled(
    connection: Connection, unsaid: Sequence[_Asked], used: Mapping[_Place, int], zone: ZoneInfo, now: datetime
) -> dict[_Place, int]:
    """Return what might be used in periods that enforcement has not settled yet, by settling them as it will.

    Those of which that is the cap and its bonus alone are left out.
    """
    first: dict[int, datetime] = {}
    latest: dict[int, _Asked] = {}
    for each in sorted(unsaid, key=lambda each: each.span.begins):
        first.setdefault(each.metered.service_id, each.span.begins)
        latest[each.metered.service_id] = each
    carried = {
        service_id: left
        for service_id, left in carry.read(connection, latest).items()
        if left.lots or left.top_ups or _rolls_over(left, latest[service_id])
    }
    ended = {
        service_id: list(_spans(latest[service_id], left.settled_until or first[service_id], zone))
        for service_id, left in carried.items()
    }
    missing = [
        (service_id, span.begins, [span], latest[service_id].rules)
        for service_id, spans in ended.items()
        for span in spans
        if (service_id, span.begins) not in used
    ]
    known = {**used, **(_used(connection, missing, zone, now) if missing else {})}
    limits = {}
    for service_id, spans in ended.items():
        left, cap = carried[service_id], _cap(latest[service_id].rules)
        octets = [(span, known[service_id, span.begins]) for span in spans]
        if not _rolls_over(left, latest[service_id]):
            cap = replace(cap, rollover=None)
        course = settle_each(cap, octets, lots=left.lots, top_ups=left.top_ups)
        limits.update({(service_id, span.begins): limit for span, limit in zip(spans, course.limits, strict=True)})
    return limits


def _rolls_over(left: Carried, last: _Asked) -> bool:
    """Tell whether anything rolls over: enforcement begins with it in the period in which it first sees a service."""
    return left.settled_until is not None and _cap(last.rules).rollover is not None


def _spans(last: _Asked, begins: datetime, zone: ZoneInfo) -> Iterator[Span]:
    """Yield the periods from one on through the last that is asked for."""
    for _ in range(MOST_PERIODS):
        if begins >= last.span.ends:
            return
        span = Span(begins, cap_span(last.rules, zone, begins, last.metered.period_day).ends)
        yield span
        begins = span.ends


def _rated(each: _Asked, used: int, limit: int, tariff: Tariff, charged: int) -> UsagePeriod:
    """Return what a period costs after what was charged of its month."""
    currency = each.metered.currency
    over = max(0, used - limit)
    amount = rounded(rate(tariff, over) * 10 ** digits(currency))
    if tariff.ceiling is not None:
        amount = min(amount, max(0, rounded(minor_units(tariff.ceiling, currency)) - charged))
    units = blocks(tariff, over)
    price = tariff.tiers[0].price
    facts = {"octets": over, "units": units, "used_octets": used, "limit_octets": limit}
    if len(tariff.tiers) == 1 and rounded(minor_units(price, currency) * units) == amount:
        return UsagePeriod(each.days, amount, units, facts, price, sold_as=each.product_id)
    return UsagePeriod(each.days, amount, 1, facts, decimal(amount, currency), sold_as=each.product_id)


def _periods(
    metered: Metered, rules: Mapping[int, PlanRules], zone: ZoneInfo, on: date, known: Sequence[Period]
) -> Iterator[_Asked]:
    """Yield the periods of the cap that are over, the latest first; before them the present one if it may be billed.

    Those that are known, as they were billed or settled, stay what they were. Where they share a ceiling, those that
    were billed before are among them, from the beginning of the month on.
    """
    if not metered.phases:
        return
    begun = max(metered.floor, metered.phases[0].days.starts)
    sharing = _sharing_since(metered, zone)
    at = on
    for number in range(MOST_PERIODS):
        day = at - _DAY if number else at
        phase = _phase_on(metered.phases, day)
        plan = None if phase is None else rules.get(phase.product_id)
        if phase is None or plan is None:
            # Not sold, or by another plan: the day before is asked.
            at = day
            if at <= begun:
                return
            continue
        days = _period_of(day, plan, zone, metered.period_day, known)
        if days.ends <= (sharing if plan.shares_ceiling else begun):
            return
        if days.ends <= on or _tariff(plan).bill_at is not None:
            ends = min(days.ends, at) if number else days.ends
            counted = _counted(metered.phases, rules, zone, days._replace(ends=ends))
            span = Span(midnight(zone, days.starts), midnight(zone, days.ends))
            yield _Asked(metered, span, days, plan, phase.product_id, counted)
        at = days.starts


def _period_of(day: date, plan: PlanRules, zone: ZoneInfo, first_day: int, known: Sequence[Period]) -> Period:
    """Return the period of the cap around a day: one that is known, or what these leave of that of the plan."""
    days = _days_of_cap(plan, zone, day, first_day)
    for each in known:
        if each.starts <= day < each.ends:
            return each
        if each.ends <= day:
            days = days._replace(starts=max(days.starts, each.ends))
        else:
            return days._replace(ends=min(days.ends, each.starts))
    return days


def _days_of_cap(plan: PlanRules, zone: ZoneInfo, day: date, first_day: int) -> Period:
    """Return the period of a plan's cap around a day; many lines ask for the same one."""
    return _days_around(zone, _cap(plan).period, plan.week_starts, first_day, day)


@lru_cache(maxsize=4096)
def _days_around(zone: ZoneInfo, period: CountedPeriod, week_starts: WeekStart, first_day: int, day: date) -> Period:
    span = almanac(zone).span(period, midnight(zone, day), first_day, week_starts)
    return Period(span.begins.astimezone(zone).date(), span.ends.astimezone(zone).date())


def _sharing_since(metered: Metered, zone: ZoneInfo) -> date:
    """Return where the month begins in which the first period did, at the latest, that may still change."""
    if metered.floor <= metered.phases[0].days.starts:
        return metered.phases[0].days.starts
    month = almanac(zone).month(midnight(zone, metered.floor - _WEEK), metered.period_day)
    return month.begins.astimezone(zone).date()


def _counted(phases: Sequence[Phase], rules: Mapping[int, PlanRules], zone: ZoneInfo, within: Period) -> list[Span]:
    """Return the parts of some days on which plans were sold that charge overage."""
    sold = union(phase.days for phase in phases if phase.product_id in rules)
    return [Span(midnight(zone, each.starts), midnight(zone, each.ends)) for each in intersection(sold, [within])]


def over_on(metered: Metered, rules: Mapping[int, PlanRules], zone: ZoneInfo, on: date) -> date | None:
    """Return when the period is over in which something may be used that is not charged by a run on `on`."""
    for phase in reversed(metered.phases):
        plan = rules.get(phase.product_id)
        if plan is not None and phase.days.starts <= on:
            last = min(on, phase.days.ends - timedelta(days=1))
            ends = _days_of_cap(plan, zone, last, metered.period_day).ends
            return ends if ends > on else None
    return None


def _phase_on(phases: Sequence[Phase], day: date) -> Phase | None:
    return next((phase for phase in reversed(phases) if phase.days.starts <= day < phase.days.ends), None)


def _cap(rules: PlanRules) -> Cap:
    assert rules.cap is not None
    return rules.cap


def _tariff(rules: PlanRules) -> Tariff:
    assert rules.overage is not None
    return rules.overage.tariff


def _said(connection: Connection, found: Sequence[Metered]) -> dict[_Place, tuple[datetime, int]]:
    """Return when periods end that enforcement has settled, and what might be used in them."""
    rows = connection.execute(text(_SAID), _since(found))
    return {(service_id, begins): (ends, limit) for service_id, begins, ends, limit in rows}


def _known(
    connection: Connection, found: Sequence[Metered], said: Mapping[_Place, tuple[datetime, int]], zone: ZoneInfo
) -> dict[int, list[Period]]:
    """Return the periods that were billed, and the settled ones as far as they were not, by subscription."""
    known: dict[int, list[Period]] = {each.subscription_id: [] for each in found}
    for subscription_id, *days in connection.execute(text(_BILLED), _since(found)):
        known[subscription_id].append(Period(*days))
    settled: dict[int, list[Period]] = defaultdict(list)
    for (service_id, begins), (ends, _) in said.items():
        settled[service_id].append(Period(begins.astimezone(zone).date(), ends.astimezone(zone).date()))
    for each in found:
        billed = known[each.subscription_id]
        known[each.subscription_id] = sorted([*billed, *difference(sorted(settled[each.service_id]), union(billed))])
    return known


def _since(found: Sequence[Metered]) -> dict[str, object]:
    return {
        "subscriptions": [each.subscription_id for each in found],
        "services": [each.service_id for each in found],
        "days": [each.floor - _TWO_MONTHS if each.floor > date.min + _TWO_MONTHS else date.min for each in found],
    }


def _present(connection: Connection, asked: Sequence[_Asked], on: date) -> dict[_Place, int]:
    """Return what may be used in the periods that are not over."""
    limits = {}
    present = {each.metered.service_id: each for each in asked if each.days.ends > on}
    if present:
        given = {"ids": list(present), "begins": [each.span.begins for each in present.values()]}
        for service_id, carried, more in connection.execute(text(_MORE), given):
            each = present[service_id]
            own = own_octets(_cap(each.rules), carried) + max(0, carried)
            limits[service_id, each.span.begins] = own + _cap(each.rules).bonus_octets + more
    return limits


_SAID = """SELECT p.service_id, p.begins, p.ends, p.limit_octets
    FROM unnest(CAST(:services AS bigint[]), CAST(:days AS date[])) AS u(id, since)
    JOIN usage_period AS p ON p.service_id = u.id AND p.begins > u.since"""
_BILLED = f"""SELECT DISTINCT l.subscription_id, l.period_starts, l.period_ends
    FROM unnest(CAST(:subscriptions AS bigint[]), CAST(:days AS date[])) AS u(id, since)
    JOIN document_line AS l ON l.subscription_id = u.id AND l.period_ends > u.since AND l.component = '{OVERAGE}'"""
# What rolled over into a period that is not over, and all that was bought for it.
_MORE = """SELECT u.id, coalesce((SELECT sum(lot) FROM meter AS m, unnest(m.carried_lots) AS lot
            WHERE m.service_id = u.id AND m.carried_for = u.begins), 0)::bigint,
        coalesce((SELECT sum(greatest(0, t.octets - t.spent_octets)) FROM top_up AS t
            WHERE t.service_id = u.id AND t.kind = 'octets' AND t.ends_at > u.begins), 0)::bigint
    FROM unnest(CAST(:ids AS bigint[]), CAST(:begins AS timestamptz[])) AS u(id, begins)"""
