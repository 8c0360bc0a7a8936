"""Decides whether the rules of a plan fit together, and fit its rates, the pools and the dictionary.

Rule: what cannot work is a mistake; what works but surely was not meant is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from config.checks import listed, show, suggestion, write_rate
from config.hours import write_hours
from config.isp import AttributeEncoder, PoolEntry
from config.overage import OCTETS
from config.reply_attributes import check_pairs
from config.table import Table
from config.tariff import cliff_warnings
from config.toml_lines import Path
from domain.network import PoolKind
from domain.plan_rules import CapAction, Change, ChangeKind, Counted, Period, PlanRules, TopUpKind

Warn = Callable[[Table, str, str], None]
"""Notes that the key of a table is legal but unwise."""
_Rates = tuple[tuple[str, int | None, int | None], ...]


LARGEST_TOLD = 0xFFFFFFFF
"""The highest rate that an integer attribute holds, in bit/s."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules of a plan are held against."""

    download_bits_per_second: int | None
    upload_bits_per_second: int | None
    pools: Mapping[str, PoolEntry]
    encode: AttributeEncoder
    warn: Warn

    @property
    def is_unlimited(self) -> bool:
        """Tell whether the plan has no rate at all."""
        return self.download_bits_per_second is None and self.upload_bits_per_second is None

    def beside(self, download: int | None, upload: int | None) -> _Rates:
        """Return key, given rate and the plan's own for both directions."""
        return (
            ("download", download, self.download_bits_per_second),
            ("upload", upload, self.upload_bits_per_second),
        )


def check_rules(table: Table, rules: PlanRules, around: Surroundings) -> None:
    """Report and warn of what the rules of one plan say that does not fit."""
    for key, rate, _ in around.beside(around.download_bits_per_second, around.upload_bits_per_second):
        if rate is not None and rate > LARGEST_TOLD:
            around.warn(
                table, key, f"is told as {LARGEST_TOLD} to routers of profile huawei and wispr, 32 bits wide there"
            )
    _check_contention(table, rules, around)
    _check_burst(table, rules, around)
    _check_cap(table, rules, around)
    if rules.overage is not None and (rules.cap is None or rules.cap.action is not CapAction.OVERAGE):
        table.report('needs a cap whose action is "overage"', "overage")
    if rules.overage is not None:
        for warning in cliff_warnings(rules.overage.tariff, OCTETS):
            around.warn(table, "overage", warning)
    _check_top_ups(table, rules, around)
    _check_fup(table, rules, around)
    _check_windows(table, rules, around)
    _check_twice(table, "class", [each.name for each in rules.classes], "name")
    if rules.blocking is not None:
        check_garden_pool(_inner(table, "blocking"), rules.blocking.garden.pool, around.pools)
    if rules.attributes:
        check_pairs(_inner(table, "attributes"), rules.attributes, around.encode)


def check_garden_pool(table: Table, name: str | None, pools: Mapping[str, PoolEntry]) -> None:
    """Report the pool of a walled garden that does not exist or hands out something else than IPv4 addresses."""
    if name is not None and name not in pools:
        table.report(f"there is no pool {show(name)}{suggestion(name, pools)}", "pool")
    elif name is not None and pools[name].kind is not PoolKind.IPV4:
        table.report(f"must name a pool of kind {show(PoolKind.IPV4.value)}", "pool")


def _check_contention(table: Table, rules: PlanRules, around: Surroundings) -> None:
    for key, value in (("guaranteed_percent", rules.guaranteed_percent), ("aggregation", rules.aggregation)):
        if value is not None and around.is_unlimited:
            table.report("needs download or upload of the plan", key)


def _check_burst(table: Table, rules: PlanRules, around: Surroundings) -> None:
    burst = rules.burst
    if rules.burst_budget is not None and burst is None:
        table.report("needs burst, of which it is the budget", "burst_budget")
    if burst is None:
        return
    inner = _inner(table, "burst")
    if burst.limit_percent is not None and around.is_unlimited:
        inner.report("needs download or upload of the plan", "limit_percent")
    for key, limit, rate in around.beside(burst.download_bits_per_second, burst.upload_bits_per_second):
        if limit is not None and rate is None:
            inner.report("is for a plan whose own rate is limited", key)
        elif limit is not None and rate is not None and limit <= rate:
            inner.report(f"must be above the plan's own {write_rate(rate)}", key)
    if rules.guaranteed_percent is not None and burst.threshold_percent < rules.guaranteed_percent:
        inner.report(f"must not be below guaranteed_percent, which is {rules.guaranteed_percent}", "threshold_percent")


def _check_cap(table: Table, rules: PlanRules, around: Surroundings) -> None:
    cap = rules.cap
    if cap is None:
        return
    inner = _inner(table, "cap")
    if cap.change is not None:
        _check_slowing(inner, cap.change, around)
    if cap.period is Period.EVER and cap.action is CapAction.OVERAGE:
        inner.report('cannot be "overage" where the period is "ever": it is charged when a period is over', "action")
    if cap.period is Period.EVER and cap.rollover is not None:
        inner.report('needs a period that ends, not "ever"', "rollover")
    if cap.carries_overage and cap.period is Period.EVER:
        inner.report('needs a period that ends, not "ever"', "carry_overage")
    if cap.carries_overage and cap.action is CapAction.OVERAGE:
        inner.report('cannot stand beside the action "overage": what ran over is charged already', "carry_overage")


def _check_top_ups(table: Table, rules: PlanRules, around: Surroundings) -> None:
    inner = list(table.tables("top_up"))
    for offer, place in zip(rules.top_ups, inner, strict=True):
        if offer.boost is not None:
            _check_boost(place, offer.boost, around)
        if rules.cap is None and offer.kind is not TopUpKind.BOOST:
            place.report("needs a cap of the plan, to which it adds", offer.kind.value)
    _check_twice(table, "top_up", [offer.name for offer in rules.top_ups], "name")
    triggers = [offer.automatic and offer.automatic.trigger_percent for offer in rules.top_ups]
    _check_twice(table, "top_up", triggers, "automatic", "trigger_percent")


def _check_boost(table: Table, boost: Change, around: Surroundings) -> None:
    _check_percent(table, boost, around)
    if boost.kind is ChangeKind.PERCENT and boost.percent <= 100:
        around.warn(table, "percent", "makes the line no faster")
    for key, rate, own in around.beside(boost.download_bits_per_second, boost.upload_bits_per_second):
        if rate is not None and (own is None or rate <= own):
            around.warn(table, key, "is not above the plan's own rate")


def _check_fup(table: Table, rules: PlanRules, around: Surroundings) -> None:
    if rules.fup is None:
        return
    inner = _inner(table, "fup")
    steps = list(inner.tables("step"))
    for step, place in zip(rules.fup.steps, steps, strict=True):
        _check_slowing(place, step.change, around)
        if step.period is Period.EVER and step.above_seconds is not None:
            place.report('cannot be "ever" for time on line: sessions are not kept for ever', "period")
        _warn_of_boosts(place, step.change, "beyond this step", "fair use goes before a boost", rules, around)
    _check_twice(inner, "step", [step.name or None for step in rules.fup.steps], "name")
    reached = [
        (step.period, step.direction, step.above_octets, step.above_seconds, step.precedence)
        for step in rules.fup.steps
    ]
    _check_twice(inner, "step", reached)


def _check_windows(table: Table, rules: PlanRules, around: Surroundings) -> None:
    for rule, place in zip(rules.schedule, list(table.tables("schedule")), strict=True):
        _check_percent(place, rule.change, around)
        begins = write_hours(rule.window).partition("-")[0]
        _warn_of_boosts(place, rule.change, f"at {begins}", "a schedule's rates go before a boost", rules, around)
    _check_twice(table, "schedule", [rule.window for rule in rules.schedule], "hours")
    _check_counting(table, rules, around)


def _check_counting(table: Table, rules: PlanRules, around: Surroundings) -> None:
    for index, each in enumerate(rules.counting):
        for first, earlier in enumerate(rules.counting[:index]):
            alike = each.counts is earlier.counts or Counted.BOTH in (each.counts, earlier.counts)
            if alike and each.window == earlier.window:
                _report_twice(table, ("counting", index, "hours"), ("counting", first, "hours"))
                break
    if rules.counting and rules.cap is None and rules.fup is None:
        around.warn(table, "counting", "has no effect in a plan without cap and fair use")
    elif rules.weighing_time and not rules.counts_time:
        around.warn(table, "counting", "weighs time on line, for which no step of fair use asks")
    if rules.weighing_octets and rules.uses(Period.EVER):
        table.report('cannot weigh octets where a period is "ever": windows are for periods that end', "counting")


def _warn_of_boosts(table: Table, change: Change, when: str, why: str, rules: PlanRules, around: Surroundings) -> None:
    """Warn of a fixed rate that takes away what is sold: the line of who buys a boost stays as slow as it says."""
    boosts = [offer for offer in rules.top_ups if offer.boost is not None]
    for place, (key, rate, own) in enumerate(
        around.beside(change.download_bits_per_second, change.upload_bits_per_second)
    ):
        if rate is None or own is None:
            continue
        vain = [offer.name for offer in boosts if max(own, rate) < _boosted(offer.boost, place, own)]
        if vain:
            around.warn(table, key, f"who buys {listed(vain)} {when} gets {write_rate(rate)} all the same: {why}")


def _boosted(boost: Change | None, place: int, own: int) -> int:
    """Return what a boost makes of a plan's own rate: the download's at place 0, the upload's at 1."""
    if boost is None:
        return own
    if boost.kind is ChangeKind.PERCENT:
        return own * boost.percent // 100
    return (boost.download_bits_per_second, boost.upload_bits_per_second)[place] or own


def _check_slowing(table: Table, change: Change, around: Surroundings) -> None:
    _check_percent(table, change, around)
    for key, rate, own in around.beside(change.download_bits_per_second, change.upload_bits_per_second):
        if rate is not None and own is not None and rate > own:
            around.warn(table, key, f"is above the plan's own {write_rate(own)}")


def _check_percent(table: Table, change: Change, around: Surroundings) -> None:
    if change.kind is ChangeKind.PERCENT and around.is_unlimited:
        table.report("needs download or upload of the plan", "percent")


def _check_twice(table: Table, key: str, values: Iterable[Hashable], *place: str) -> None:
    """Report each element of an array of tables that says what an earlier one says; None says nothing."""
    seen: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        first = index if value is None else seen.setdefault(value, index)
        if first != index:
            _report_twice(table, (key, index, *place), (key, first, *place))


def _report_twice(table: Table, key: Path, earlier: Path) -> None:
    table.problems.report((*table.path, *key), "says what an earlier one says already", earlier=(*table.path, *earlier))


def _inner(table: Table, key: str) -> Table:
    """Return the table under a key of which a part was read."""
    inner = table.table(key)
    assert inner is not None
    return inner
