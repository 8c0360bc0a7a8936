"""What time and usage make of a service before its entitlement is computed: periods that end, top-ups bought unasked.

Rule: everything is done in the transaction that computes the entitlement, and may be done twice: a period is settled
once, and an automatic top-up has a number in its month that the database gives out once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

from sqlalchemy.engine import Connection

from domain.network import Plan
from domain.plan_rules import Cap, PlanRules, TopUpKind, TopUpOffer
from enforcement import allowance
from enforcement.allowance import Draw, Purchase
from enforcement.entitlement import Entitlement
from enforcement.periods import EVER, Span, almanac, cap_span
from enforcement.standing import BurstLevel, Counter
from storage import standings, top_ups
from storage import usage as usages
from storage.billing import top_up_sales
from storage.billing.top_up_sales import Refusal
from storage.standings import Loaded
from storage.top_ups import Order, PeriodSaid, Settled

MOST_PERIODS = 60
"""Of one service in one go; whoever was away for longer than this has nothing left that rolled over."""


class Kept(NamedTuple):
    """What was bought unasked, by service an offer and how many of it, and what could not be."""

    bought: dict[int, tuple[str, int]]
    refused: list[Refusal]


class _Ended(NamedTuple):
    """A period of a service that is over and not settled."""

    service_id: int
    span: Span


def keep_up(
    connection: Connection, loaded: dict[int, Loaded], plans: Mapping[int, Plan], zone: tzinfo, now: datetime
) -> Kept:
    """Settle periods that ended and buy what is to be bought unasked; return what was bought.

    What changed is loaded anew into `loaded`.
    """
    capped = {key: each for key, each in loaded.items() if plans[each.contract.plan_id].rules.cap is not None}
    changed = _settle(connection, capped, plans, zone, now)
    _reload(connection, loaded, changed, plans, zone, now)
    refused: list[Refusal] = []
    present = {key: loaded[key] for key in capped if key in loaded}
    bought = _buy(connection, present, plans, zone, now, refused)
    _reload(connection, loaded, set(bought), plans, zone, now)
    return Kept(bought, refused)


def drained(service: Loaded, plan: Plan, entitlement: Entitlement, now: datetime) -> BurstLevel | None:
    """Return the level of the burst budget after what ran since it was written; None without a budget."""
    budget, usage, metered = plan.rules.burst_budget, service.standing.usage, service.contract.metered
    if budget is None or usage is None:
        return None
    level = service.contract.burst
    if level is None:
        return BurstLevel(now, budget.octets, spent=False)
    if metered is None or metered.line is None or usage.line is None:
        return level
    octets = _since(metered.line, usage.line)
    rates = (entitlement.download, entitlement.upload)
    return allowance.drain(budget, level, now, since=metered.as_of, octets=octets, rates=rates)


def _since(before: Counter, after: Counter) -> tuple[int, int]:
    """Return the octets (down, up) between two readings of a counter."""
    if before.begins != after.begins:
        return after.octets_down, after.octets_up
    return max(0, after.octets_down - before.octets_down), max(0, after.octets_up - before.octets_up)


def _reload(
    connection: Connection,
    loaded: dict[int, Loaded],
    service_ids: set[int],
    plans: Mapping[int, Plan],
    zone: tzinfo,
    now: datetime,
) -> None:
    if service_ids:
        loaded.update(standings.load(connection, service_ids, plans, zone, now))


def _settle(
    connection: Connection, capped: Mapping[int, Loaded], plans: Mapping[int, Plan], zone: tzinfo, now: datetime
) -> set[int]:
    """Close the periods of caps that are over; return the services of which one was."""
    ended = {key: list(_periods_over(each, _rules(each, plans), zone, now)) for key, each in capped.items()}
    asked = [_Ended(key, span) for key, spans in ended.items() for span in spans]
    octets = usages.used(
        connection,
        [usages.Period(each.service_id, each.span, _rules(capped[each.service_id], plans)) for each in asked],
        zone,
        now,
    )
    used = dict(zip(asked, octets, strict=True))
    settlements = []
    for key, service in capped.items():
        settled = _settled(service, _rules(service, plans), ended[key], used, zone, now)
        if settled is not None:
            settlements.append(settled)
    return top_ups.settle(connection, settlements)


def _rules(service: Loaded, plans: Mapping[int, Plan]) -> PlanRules:
    return plans[service.contract.plan_id].rules


def _cap(rules: PlanRules) -> Cap:
    assert rules.cap is not None
    return rules.cap


def _periods_over(service: Loaded, rules: PlanRules, zone: tzinfo, now: datetime) -> Iterator[Span]:
    """Yield the periods from the one that is open in the meter until the one before the present."""
    contract = service.contract
    begins = contract.carried_for
    present = cap_span(rules, zone, now, contract.period_day)
    for _ in range(MOST_PERIODS):
        if begins is None or begins == EVER.begins or begins >= present.begins:
            return
        span = cap_span(rules, zone, begins, contract.period_day)
        # The service's own day may have been moved: what is over ends where the present one begins, at the latest.
        span = Span(begins, min(span.ends, present.begins))
        yield span
        begins = span.ends


def _settled(
    service: Loaded,
    rules: PlanRules,
    ended: list[Span],
    used: Mapping[_Ended, tuple[int, int]],
    zone: tzinfo,
    now: datetime,
) -> Settled | None:
    """Return what the ends of periods leave; None when none has ended since it was settled."""
    contract, cap = service.contract, _cap(rules)
    before, present = contract.carried_for, cap_span(rules, zone, now, contract.period_day)
    if before is None or (before != present.begins and EVER.begins in (before, present.begins)):
        # What is counted for ever has no end that could leave anything.
        return Settled(contract.service_id, before, present.begins)
    if not ended:
        return None
    octets = [Counter(span.begins, *used[_Ended(contract.service_id, span)]).octets(cap.direction) for span in ended]
    course = allowance.settle_each(
        cap, zip(ended, octets, strict=True), lots=contract.carried_lots, top_ups=contract.top_ups
    )
    periods = tuple(map(PeriodSaid, ended, course.limits, octets))
    return Settled(contract.service_id, contract.carried_for, present.begins, course.lots, course.spent, periods)


def _buy(
    connection: Connection,
    capped: Mapping[int, Loaded],
    plans: Mapping[int, Plan],
    zone: tzinfo,
    now: datetime,
    refused: list[Refusal],
) -> dict[int, tuple[str, int]]:
    """Buy automatic top-ups, and keep what those that have ended paid; return what was bought, and for whom.

    What cannot be paid is not bought, and added to `refused`.
    """
    month = almanac(zone).month(now)
    drawn = {key: _drawn(each, _rules(each, plans), zone, now) for key, each in capped.items()}
    top_ups.cover(
        connection,
        [pair for key, each in capped.items() for pair in allowance.covered(drawn[key], each.contract.top_ups, now)],
    )
    offered = [key for key, each in capped.items() if each.sessions and plans[each.contract.plan_id].rules.top_ups]
    if not offered:
        return {}
    before = top_ups.automatic_in_month(connection, offered, month.begins, month.ends)
    needy = {key for key in offered if any(_wishes(capped[key], drawn[key], before, plans, now))}
    if not needy:
        return {}
    # Another core may be buying for the same services: what was bought meanwhile has to be seen.
    top_up_sales.lock_payers(connection, needy)
    top_ups.lock(connection, needy)
    fresh = standings.load(connection, needy, plans, zone, now)
    before = top_ups.automatic_in_month(connection, needy, month.begins, month.ends)
    bought: dict[int, tuple[str, int]] = {}
    selling = top_up_sales.sell_unasked(refused)
    for key, service in fresh.items():
        rules = _rules(service, plans)
        for offer, (wished, forgiven) in _wishes(service, _drawn(service, rules, zone, now), before, plans, now):
            order = _order(service, offer, rules, forgiven, zone, now)
            count = top_ups.buy_automatically(connection, order, wished, month.begins, now, selling)
            if count:
                # One kind at a time: the rest is decided by what that made of the limit.
                bought[key] = offer.name, count
                break
    return bought


def _wishes(
    service: Loaded, drawn: Draw, before: Mapping[tuple[int, str], int], plans: Mapping[int, Plan], now: datetime
) -> Iterator[tuple[TopUpOffer, Purchase]]:
    """Yield what a service buys unasked; `before` is how many it has bought in this month, by offer."""
    contract = service.contract
    for offer in plans[contract.plan_id].rules.top_ups:
        count = before.get((contract.service_id, offer.name), 0)
        purchase = allowance.automatic_purchase(offer, drawn, count, contract.top_ups, now)
        if purchase.number:
            yield offer, purchase


def _drawn(service: Loaded, rules: PlanRules, zone: tzinfo, now: datetime) -> Draw:
    standing, cap = service.standing, _cap(rules)
    span = cap_span(rules, zone, now, standing.period_day)
    counter = None if standing.usage is None else standing.usage.of(cap.period)
    used = 0 if counter is None or counter.begins < span.begins else counter.octets(cap.direction)
    return allowance.draw(cap, used, span, now, carried_octets=standing.carried_octets, top_ups=standing.top_ups)


def _order(
    service: Loaded, offer: TopUpOffer, rules: PlanRules, forgiven_octets: int, zone: tzinfo, now: datetime
) -> Order:
    """Return a purchase from now on, for as long as the offer says."""
    period = cap_span(rules, zone, now, service.contract.period_day)
    if offer.kind is not TopUpKind.OCTETS:
        ends = now + timedelta(hours=offer.hours)
    elif offer.valid_days is None:
        ends = period.ends
    else:
        ends = now + timedelta(days=offer.valid_days)
    return Order(service.contract.service_id, offer, now, ends, forgiven_octets)
