"""Decides how the network half of a plan is written: burst, contention, caps, top-ups, fair use, hours, classes.

Rule: one grammar. A file is read and a stored document is loaded by the same reader, and `document` writes what it
reads back as the same rules, so that apply, export and apply change nothing. What rules say about the rest of the file
is examined by `config.plan_consistency`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from config import checks
from config.blocking import blocking_document, read_blocking
from config.hours import read_window, window_document, windows, write_window
from config.overage import overage_document, read_overage
from config.problems import Problems
from config.rate_change import rates_document, require_rates
from config.reply_attributes import attribute_table, read_pairs
from config.table import Table
from config.usage_rules import (
    cap_document,
    counting_document,
    fup_document,
    read_cap,
    read_counting,
    read_fup,
    read_top_up,
    top_up_document,
)
from domain.errors import CaudalError
from domain.plan_rules import Blocking, Burst, BurstBudget, PlanRules, ScheduleRule, TrafficClass, WeekStart

Part = TypeVar("Part")

# RouterOS: 1 is the highest priority of a queue and 8 the lowest.
LOWEST_PRIORITY = 8
GREATEST_BURST_PERCENT = 1000
LONGEST_BURST_SECONDS = 3600
MOST_IN_AGGREGATION = 1000
SHORTEST_UNPROVEN_SECONDS = 10

CLASS_KEYS = ("interface_list", "class", "queue")

_PERCENT = checks.integer(1, 100, "percent")
_BURST_PERCENT = checks.integer(101, GREATEST_BURST_PERCENT, "percent")
_BURST_SECONDS = checks.integer(1, LONGEST_BURST_SECONDS, "seconds")
_PRIORITY = checks.integer(1, LOWEST_PRIORITY)
_AGGREGATION = checks.integer(1, MOST_IN_AGGREGATION)
_UNPROVEN = checks.duration(SHORTEST_UNPROVEN_SECONDS, 30 * 86_400)


class StoredRulesError(CaudalError):
    """Rules that the database holds but the product cannot read."""

    def __init__(self, message: str) -> None:
        super().__init__(f"stored rules cannot be read: {message}; apply the ISP file again")


def read(table: Table) -> PlanRules:
    """Return the rules among the keys of a `[[plan]]`; its other keys are left to the caller."""
    return PlanRules(
        guaranteed_percent=table.take("guaranteed_percent", _PERCENT, None),
        priority=table.take("priority", _PRIORITY, None),
        aggregation=table.take("aggregation", _AGGREGATION, None),
        burst=_part(table, "burst", _burst),
        burst_budget=_part(table, "burst_budget", _burst_budget),
        allowed_hours=table.take("allowed_hours", windows, ()),
        address_list=table.take("address_list", checks.name, None),
        attributes=_part(table, "attributes", read_pairs) or (),
        partners=table.take("partners", checks.texts, ()),
        cap=_part(table, "cap", read_cap),
        overage=_part(table, "overage", read_overage),
        top_ups=_parts(table, "top_up", read_top_up),
        counting=_parts(table, "counting", read_counting),
        week_starts=table.take("week_starts", checks.one_of(WeekStart), WeekStart.MONDAY),
        fup=_part(table, "fup", read_fup),
        schedule=_parts(table, "schedule", _schedule_rule),
        classes=_parts(table, "class", _traffic_class),
        blocking=_part(table, "blocking", read_blocking),
        disconnect_unproven_seconds=table.take("disconnect_unproven", _UNPROVEN, None),
    )


def document(rules: PlanRules) -> dict[str, object]:
    """Return the rules in the words of `[[plan]]`, as they are stored and exported."""
    unproven = rules.disconnect_unproven_seconds
    values: dict[str, object] = {
        "guaranteed_percent": rules.guaranteed_percent,
        "priority": rules.priority,
        "aggregation": rules.aggregation,
        "address_list": rules.address_list,
        "partners": list(rules.partners),
        "allowed_hours": [write_window(window) for window in rules.allowed_hours],
        "week_starts": None if rules.week_starts is WeekStart.MONDAY else rules.week_starts.value,
        "disconnect_unproven": unproven and checks.write_duration(unproven),
        "burst": rules.burst and _burst_document(rules.burst),
        "burst_budget": rules.burst_budget and _burst_budget_document(rules.burst_budget),
        "attributes": attribute_table(rules.attributes),
        "cap": rules.cap and cap_document(rules.cap),
        "overage": rules.overage and overage_document(rules.overage),
        "fup": rules.fup and fup_document(rules.fup),
        "blocking": rules.blocking and blocking_document(rules.blocking),
        "top_up": [top_up_document(offer) for offer in rules.top_ups],
        "counting": [counting_document(counting) for counting in rules.counting],
        "schedule": [{**window_document(rule.window), **rates_document(rule.change)} for rule in rules.schedule],
        "class": [_traffic_class_document(each) for each in rules.classes],
    }
    return {key: value for key, value in values.items() if value}


def load(document: Mapping[str, object]) -> PlanRules:
    """Return the rules of a stored document. Raise StoredRulesError where it is none."""
    return _load(document, read)


def load_blocking(document: Mapping[str, object]) -> Blocking:
    """Return the blocking of a stored document. Raise StoredRulesError where it is none."""
    return _load(document, read_blocking)


def _load(document: Mapping[str, object], read: Callable[[Table], Part]) -> Part:
    problems = Problems(lambda paths: dict.fromkeys(paths, 1))
    table = Table(document, (), problems)
    part = read(table)
    table.finish()
    if problems:
        raise StoredRulesError(problems.by_line()[0].message)
    return part


def _part(table: Table, key: str, read: Callable[[Table], Part]) -> Part | None:
    inner = table.table(key)
    return None if inner is None else read(inner)


def _parts(table: Table, key: str, read: Callable[[Table], Part]) -> tuple[Part, ...]:
    return tuple(read(inner) for inner in table.tables(key))


def _burst(table: Table) -> Burst:
    if "limit_percent" in table.values:
        for key in table.given("download", "upload"):
            table.report("cannot stand beside limit_percent", key)
    elif not table.given("download", "upload"):
        table.report("needs download, upload or limit_percent")
    burst = Burst(
        download_bits_per_second=table.take("download", checks.rate, None),
        upload_bits_per_second=table.take("upload", checks.rate, None),
        limit_percent=table.take("limit_percent", _BURST_PERCENT, None),
        threshold_percent=table.take("threshold_percent", _PERCENT, 80),
        seconds=table.take("seconds", _BURST_SECONDS, 16),
    )
    table.finish()
    return burst


def _burst_document(burst: Burst) -> dict[str, object]:
    limit: dict[str, object] = {"limit_percent": burst.limit_percent}
    if burst.limit_percent is None:
        limit = {
            key: checks.write_rate(rate)
            for key, rate in (("download", burst.download_bits_per_second), ("upload", burst.upload_bits_per_second))
            if rate is not None
        }
    return {**limit, "threshold_percent": burst.threshold_percent, "seconds": burst.seconds}


def _burst_budget(table: Table) -> BurstBudget:
    budget = BurstBudget(
        octets=table.require("octets", checks.octets(), 1),
        refill_bits_per_second=table.require("refill", checks.rate, 1),
        resume_percent=table.take("resume_percent", _PERCENT, 50),
    )
    table.finish()
    return budget


def _burst_budget_document(budget: BurstBudget) -> dict[str, object]:
    return {
        "octets": checks.write_octets(budget.octets),
        "refill": checks.write_rate(budget.refill_bits_per_second),
        "resume_percent": budget.resume_percent,
    }


def _schedule_rule(table: Table) -> ScheduleRule:
    rule = ScheduleRule(read_window(table), require_rates(table))
    table.finish()
    return rule


def _traffic_class(table: Table) -> TrafficClass:
    table.exactly_one(*CLASS_KEYS)
    found = TrafficClass(
        name=table.require("name", checks.name, ""),
        counts=table.take("counts", checks.boolean, True),
        interface_list=table.take("interface_list", checks.name, None),
        class_value=table.take("class", checks.text(), None),
        queue=table.take("queue", checks.text(), None),
    )
    table.finish()
    return found


def _traffic_class_document(found: TrafficClass) -> dict[str, object]:
    known_by = zip(CLASS_KEYS, (found.interface_list, found.class_value, found.queue), strict=True)
    told = {key: value for key, value in known_by if value is not None}
    return {"name": found.name, "counts": found.counts, **told}
