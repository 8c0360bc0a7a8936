"""The rules of a plan as people read them.

Rule: a line for each thing that can happen to the line of a subscriber; sizes are rounded, `--json` has them exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from cli.units import duration, limit_bits_per_second, octets
from config import plan_rules
from config.hours import write_window
from domain.plan_rules import (
    Blocking,
    BlockPolicy,
    Burst,
    Cap,
    CapAction,
    Change,
    ChangeKind,
    Counted,
    CountingWindow,
    Direction,
    FupStep,
    Period,
    PlanRules,
    TopUpKind,
    TopUpOffer,
    TrafficClass,
)

Details = Iterable[tuple[str, str]]
Element = TypeVar("Element")

_DIRECTIONS = {Direction.BOTH: "", Direction.DOWN: " down", Direction.UP: " up"}
_COUNTED = {
    Counted.OCTETS: "the traffic",
    Counted.TIME: "the time on line",
    Counted.BOTH: "the traffic and of the time on line",
}
_CAP_ACTIONS = {CapAction.BLOCK: "blocked", CapAction.OVERAGE: "charged for what is above"}


def details(document: Mapping[str, object]) -> Details:
    """Yield what the rules of a plan say; those it does not have are empty."""
    rules = plan_rules.load(document)
    yield "guaranteed", "" if rules.guaranteed_percent is None else f"{rules.guaranteed_percent} %"
    yield "priority", "" if rules.priority is None else f"{rules.priority} of 1 (high) to 8"
    yield "contention", "" if rules.aggregation is None else f"1:{rules.aggregation}"
    yield "burst", (rules.burst and _burst(rules.burst)) or ""
    yield "burst budget", _burst_budget(rules)
    yield "allowed hours", ", ".join(map(write_window, rules.allowed_hours))
    yield "address list", rules.address_list or ""
    yield "attributes", ", ".join(f"{name} = {value}" for name, value in rules.attributes)
    yield "sold by", ", ".join(rules.partners)
    if rules.cap is not None:
        yield from _cap(rules.cap)
    lasts = "it is used" if rules.cap is not None and rules.cap.period is Period.EVER else "the end of the period"
    yield from _each("top-up", rules.top_ups, lambda offer: _top_up(offer, lasts))
    yield from _each("counting", rules.counting, _counting)
    yield "weeks", f"from {rules.week_starts.value.capitalize()}" if rules.uses(Period.WEEK) else ""
    if rules.fup is not None:
        yield "fair use bonus", octets(rules.fup.bonus_octets) if rules.fup.bonus_octets else ""
        yield "fair use month", "" if rules.fup.reset_day is None else f"from day {rules.fup.reset_day}"
        yield from _each("fair use", rules.fup.steps, _step)
    yield from _each("schedule", rules.schedule, lambda rule: f"{write_window(rule.window)}: {_change(rule.change)}")
    yield from _each("traffic class", rules.classes, _traffic_class)
    if rules.blocking is not None:
        yield from blocking_details(rules.blocking)
    unproven = rules.disconnect_unproven_seconds
    yield "unproven line", "" if unproven is None else f"disconnected after {duration(unproven)}"


def blocking_details(blocking: Blocking) -> Details:
    """Yield what a line gets that may not be used."""
    reasons = [f"{reason.replace('_', ' ')}: {_policy(policy)}" for reason, policy in blocking.by_reason]
    yield "blocked lines", ", ".join([_policy(blocking.policy), *reasons])
    garden = blocking.garden
    rates = _rates(garden.download_bits_per_second, garden.upload_bits_per_second)
    parts = (
        garden.address_list and f"address list {garden.address_list}",
        garden.pool and f"pool {garden.pool}",
        garden.redirect_url,
        rates,
    )
    yield "walled garden", ", ".join(part for part in parts if part)


def _each(name: str, elements: Iterable[Element], show: Callable[[Element], str]) -> Iterator[tuple[str, str]]:
    for index, element in enumerate(elements):
        yield "" if index else name, show(element)


def _burst(burst: Burst) -> str:
    limit = _rates(burst.download_bits_per_second, burst.upload_bits_per_second)
    if burst.limit_percent is not None:
        limit = f"{burst.limit_percent} % of the rate"
    return f"{limit}, while below {burst.threshold_percent} % of the rate over {burst.seconds} s"


def _burst_budget(rules: PlanRules) -> str:
    budget = rules.burst_budget
    if budget is None:
        return ""
    refill = limit_bits_per_second(budget.refill_bits_per_second)
    return f"{octets(budget.octets)}, refilled at {refill}; spent, it resumes at {budget.resume_percent} %"


def _cap(cap: Cap) -> Details:
    then = _change(cap.change) if cap.change else _CAP_ACTIONS[cap.action]
    yield "cap", f"{octets(cap.octets)}{_DIRECTIONS[cap.direction]} {_per(cap.period)}, then {then}"
    yield "cap bonus", octets(cap.bonus_octets) if cap.bonus_octets else ""
    if cap.rollover is not None:
        periods = f"{cap.rollover.periods} {cap.period.value}{'' if cap.rollover.periods == 1 else 's'}"
        ceiling = cap.rollover.ceiling_octets
        most = "" if ceiling is None else f", {octets(ceiling)} at most"
        yield "cap rollover", f"{cap.rollover.percent} % of what is left, for {periods}{most}"
    yield "cap overage", "what ran over is taken from the next periods" if cap.carries_overage else ""
    yield "cap warnings", ", ".join(f"{percent} %" for percent in cap.warn_percents)


def _top_up(offer: TopUpOffer, lasts: str) -> str:
    if offer.kind is TopUpKind.OCTETS:
        valid = lasts if offer.valid_days is None else f"{offer.valid_days} d have passed"
        use = "before" if offer.before_plan else "after"
        what = f"{octets(offer.octets)} until {valid}, used {use} the plan's own"
    elif offer.boost is not None:
        what = f"{_change(offer.boost)} for {offer.hours} h"
    else:
        what = f"{offer.hours} h without the cap"
    automatic = ""
    if offer.automatic is not None:
        most = offer.automatic.most_per_month
        automatic = f", by itself at {offer.automatic.trigger_percent} % of the cap, at most {most} a month"
    return f"{offer.name}: {what}, price {offer.price}{automatic}"


def _counting(counting: CountingWindow) -> str:
    return f"{write_window(counting.window)}: {counting.percent} % of {_COUNTED[counting.counts]}"


def _per(period: Period) -> str:
    return "in all" if period is Period.EVER else f"a {period.value}"


def _step(step: FupStep) -> str:
    used = f"{octets(step.above_octets)}{_DIRECTIONS[step.direction]}" if step.above_octets else ""
    above = used or f"{duration(step.above_seconds or 0)} on line"
    order = f" (precedence {step.precedence})" if step.precedence else ""
    name = f"{step.name}: " if step.name else ""
    return f"{name}above {above} {_per(step.period)}, then {_change(step.change)}{order}"


def _traffic_class(found: TrafficClass) -> str:
    told = (("interface list", found.interface_list), ("Class", found.class_value), ("queue", found.queue))
    by = ", ".join(f"{name} {value}" for name, value in told if value is not None)
    return f"{found.name}: {by}, {'counts' if found.counts else 'does not count'}"


def _change(change: Change) -> str:
    if change.kind is ChangeKind.BLOCK:
        return "blocked"
    if change.kind is ChangeKind.PERCENT:
        return f"{change.percent} % of the rate"
    return _rates(change.download_bits_per_second, change.upload_bits_per_second)


def _rates(download: int | None, upload: int | None) -> str:
    both = ((download, "down"), (upload, "up"))
    return ", ".join(f"{limit_bits_per_second(rate)} {name}" for rate, name in both if rate is not None)


def _policy(policy: BlockPolicy) -> str:
    return policy.value.replace("-", " ")
