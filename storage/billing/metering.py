"""What the usage of services costs: octets beyond the cap of each period that is over, rated by the plan that was sold.

Rule: what counts is read as enforcement reads it, and what might be used (the cap, its bonus, what rolled over, what
was bought) is what enforcement said at the end of the period; where it has not come to that yet, the same function says
it here. While a period lasts, it is all that can still come to that. Nothing is kept: a period that is asked for again
is rated again from the same facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.cycle import Period
from billing.generation import UsagePeriod
from billing.history import Phase
from domain.money import decimal, digits, minor_units, rounded
from domain.plan_rules import Cap, PlanRules
from domain.tariff import Tariff, blocks, rate, so_far
from enforcement.allowance import own_octets, settle_each
from enforcement.periods import Span, almanac, cap_span, midnight
from enforcement.standing import Counter
from storage import carry, usage
from storage.carry import Carried

_WEEK = timedelta(days=7)
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

    @property
    def place(self) -> _Place:
        """What it is found by."""
        return self.metered.service_id, self.span.begins


def charged(
    connection: Connection, found: Sequence[Metered], rules: Mapping[int, PlanRules], zone: ZoneInfo, on: date
) -> dict[int, list[UsagePeriod]]:
    """Return what the periods that are over by `on` cost, by subscription; and the present one, if it may be billed."""
    asked = [each for metered in found for each in _periods(metered, rules, zone, on)]
    now = midnight(zone, on)
    used = _used(connection, [(each.metered.service_id, each.span, each.rules) for each in asked], zone, now)
    limits = _limits(connection, asked, on)
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
    connection: Connection, periods: Sequence[tuple[int, Span, PlanRules]], zone: ZoneInfo, now: datetime
) -> dict[_Place, int]:
    """Return the octets that count in periods of services."""
    octets = usage.used(connection, [usage.Period(*each) for each in periods], zone, now)
    return {
        (service_id, span.begins): Counter(span.begins, up, down).octets(_cap(rules).direction)
        for (service_id, span, rules), (up, down) in zip(periods, octets, strict=True)
    }


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
        (service_id, span, latest[service_id].rules)
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
        return UsagePeriod(each.days, amount, units, facts, price)
    return UsagePeriod(each.days, amount, 1, facts, decimal(amount, currency))


def _periods(metered: Metered, rules: Mapping[int, PlanRules], zone: ZoneInfo, on: date) -> Iterator[_Asked]:
    """Yield the periods of the cap that are over, the latest first; before them the present one if it may be billed.

    Where they share a ceiling, those that were billed before are among them, from the beginning of the month on.
    """
    if not metered.phases:
        return
    begun = max(metered.floor, metered.phases[0].days.starts)
    sharing = _sharing_since(metered, zone)
    at = midnight(zone, on)
    for number in range(MOST_PERIODS):
        before = at - timedelta(microseconds=1 if number else 0)
        phase = _phase_on(metered.phases, before.astimezone(zone).date())
        plan = None if phase is None else rules.get(phase.product_id)
        if plan is None:
            # Not sold, or by another plan: the day before is asked.
            at = midnight(zone, before.astimezone(zone).date())
            if at.astimezone(zone).date() <= begun:
                return
            continue
        span = cap_span(plan, zone, before, metered.period_day)
        days = Period(span.begins.astimezone(zone).date(), span.ends.astimezone(zone).date())
        if days.ends <= (sharing if plan.shares_ceiling else begun):
            return
        if days.ends <= on or _tariff(plan).bill_at is not None:
            yield _Asked(metered, span, days, plan)
        at = span.begins


def _sharing_since(metered: Metered, zone: ZoneInfo) -> date:
    """Return where the month begins in which the first period did, at the latest, that may still change."""
    if metered.floor <= metered.phases[0].days.starts:
        return metered.phases[0].days.starts
    month = almanac(zone).month(midnight(zone, metered.floor - _WEEK), metered.period_day)
    return month.begins.astimezone(zone).date()


def _phase_on(phases: Sequence[Phase], day: date) -> Phase | None:
    return next((phase for phase in reversed(phases) if phase.days.starts <= day < phase.days.ends), None)


def _cap(rules: PlanRules) -> Cap:
    assert rules.cap is not None
    return rules.cap


def _tariff(rules: PlanRules) -> Tariff:
    assert rules.overage is not None
    return rules.overage.tariff


def _limits(connection: Connection, asked: Sequence[_Asked], on: date) -> dict[_Place, int]:
    """Return what might be used in periods that enforcement has settled, and in the present ones."""
    rows = connection.execute(
        text("""SELECT service_id, begins, limit_octets FROM usage_period
            WHERE (service_id, begins) IN (
                SELECT * FROM unnest(CAST(:services AS bigint[]), CAST(:begins AS timestamptz[])))"""),
        {
            "services": [each.metered.service_id for each in asked],
            "begins": [each.span.begins for each in asked],
        },
    )
    limits = {(service_id, begins): limit for service_id, begins, limit in rows}
    present = {each.metered.service_id: each for each in asked if each.days.ends > on}
    if present:
        given = {"ids": list(present), "begins": [each.span.begins for each in present.values()]}
        for service_id, carried, more in connection.execute(text(_MORE), given):
            each = present[service_id]
            own = own_octets(_cap(each.rules), carried) + max(0, carried)
            limits[service_id, each.span.begins] = own + _cap(each.rules).bonus_octets + more
    return limits


# What rolled over into a period that is not over, and all that was bought for it.
_MORE = """SELECT u.id, coalesce((SELECT sum(lot) FROM meter AS m, unnest(m.carried_lots) AS lot
            WHERE m.service_id = u.id AND m.carried_for = u.begins), 0)::bigint,
        coalesce((SELECT sum(greatest(0, t.octets - t.spent_octets)) FROM top_up AS t
            WHERE t.service_id = u.id AND t.kind = 'octets' AND t.ends_at > u.begins), 0)::bigint
    FROM unnest(CAST(:ids AS bigint[]), CAST(:begins AS timestamptz[])) AS u(id, begins)"""
