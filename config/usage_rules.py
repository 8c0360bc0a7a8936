"""Decides how the rules are written that look at usage: caps, top-ups, counting, fair use.

Rule: each part has a reader and, beside it, the document that the reader turns back into the same part.
"""

from __future__ import annotations

import re
from functools import partial

from config import checks
from config.checks import write_octets
from config.hours import read_window, window_document
from config.problems import Mistake
from config.rate_change import (
    GREATEST_PERCENT,
    cap_action_document,
    change_document,
    rates_document,
    read_cap_action,
    read_change,
    require_rates,
)
from config.table import Table
from domain.plan_rules import (
    AutomaticTopUp,
    Cap,
    Counted,
    CountingWindow,
    Direction,
    Fup,
    FupStep,
    Period,
    Rollover,
    TopUpKind,
    TopUpOffer,
)

# The last day that every month has.
LAST_RESET_DAY = 28
LONGEST_ABOVE_SECONDS = 366 * 86_400
MOST_HOURS = 366 * 24
# Three years: longer than anybody keeps what was not used.
MOST_PERIODS = 1096

_PRICE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?")
_OCTETS = checks.octets()
_PERCENT = checks.integer(1, 100, "percent")
_WARN_PERCENTS = checks.warn_percents(GREATEST_PERCENT)
_COUNTED_PERCENT = checks.integer(0, GREATEST_PERCENT, "percent")
_HOURS = checks.integer(1, MOST_HOURS, "hours")
_DAYS = checks.integer(1, MOST_HOURS // 24, "days")
_PERIODS = checks.integer(1, MOST_PERIODS)
_ABOVE_ONLINE = checks.duration(60, LONGEST_ABOVE_SECONDS)
_PRECEDENCE = checks.integer(-1000, 1000)
_MOST_PER_MONTH = checks.integer(1, 1000)
_RESET_DAY = checks.integer(1, LAST_RESET_DAY)
_USES = {"before": True, "after": False}


def read_cap(table: Table) -> Cap:
    """Return the cap that a table describes; its sizes are in powers of its `unit`."""
    octets = partial(checks.octets, table.take("unit", _unit, 1000))
    action, change = read_cap_action(table)
    cap = Cap(
        octets=table.require("octets", octets(), 1),
        period=table.take("period", checks.one_of(Period), Period.MONTH),
        direction=table.take("direction", checks.one_of(Direction), Direction.BOTH),
        action=action,
        change=change,
        bonus_octets=table.take("bonus", octets(low=0), 0),
        rollover=_rollover(table, octets()),
        warn_percents=table.take("warn_percents", _WARN_PERCENTS, checks.USUAL_WARN_PERCENTS),
        carries_overage=table.take("carry_overage", checks.boolean, False),
    )
    table.finish()
    return cap


def cap_document(cap: Cap) -> dict[str, object]:
    """Return the keys of a cap."""
    rollover = cap.rollover
    document = {
        "octets": write_octets(cap.octets),
        "period": cap.period.value,
        "direction": cap.direction.value,
        **cap_action_document(cap),
        "bonus": _some_octets(cap.bonus_octets),
        "rollover": rollover
        and _written(percent=rollover.percent, periods=rollover.periods, ceiling=_some_octets(rollover.ceiling_octets)),
        "warn_percents": list(cap.warn_percents),
        "carry_overage": cap.carries_overage or None,
    }
    return _written(**document)


def read_top_up(table: Table) -> TopUpOffer:
    """Return the top-up that a table describes; its keys tell what it adds."""
    kind = _top_up_kind(table)
    boost = require_rates(table) if kind is TopUpKind.BOOST else None
    if kind is TopUpKind.OCTETS:
        octets, hours = table.take("octets", _OCTETS, 0), 0
    else:
        octets, hours = 0, table.require("hours", _HOURS, 1)
        for key in table.given("use", "valid_days"):
            table.report("is for top-ups of octets; this one is used up by the clock", key)
    offer = TopUpOffer(
        name=table.require("name", checks.name, ""),
        kind=kind,
        octets=octets,
        hours=hours,
        boost=boost,
        price=table.take("price", _price, "0"),
        valid_days=table.take("valid_days", _DAYS, None),
        before_plan=table.take("use", _use, False),
        automatic=_automatic(table, kind),
    )
    table.finish()
    return offer


def top_up_document(offer: TopUpOffer) -> dict[str, object]:
    """Return the keys of a top-up."""
    automatic = offer.automatic
    is_octets = offer.kind is TopUpKind.OCTETS
    return _written(
        name=offer.name,
        octets=_some_octets(offer.octets),
        **(rates_document(offer.boost) if offer.boost else {}),
        hours=offer.hours or None,
        price=offer.price,
        valid_days=offer.valid_days,
        use=("before" if offer.before_plan else "after") if is_octets else None,
        automatic=automatic
        and _written(
            trigger_percent=automatic.trigger_percent,
            most_per_month=automatic.most_per_month,
            compensate=automatic.compensate if is_octets else None,
        ),
    )


def read_counting(table: Table) -> CountingWindow:
    """Return how much traffic, or time on line, counts in the window of a table."""
    counting = CountingWindow(
        read_window(table),
        table.require("percent", _COUNTED_PERCENT, 100),
        table.take("counts", checks.one_of(Counted), Counted.OCTETS),
    )
    table.finish()
    return counting


def counting_document(counting: CountingWindow) -> dict[str, object]:
    """Return the keys of a counting window."""
    counts = None if counting.counts is Counted.OCTETS else counting.counts.value
    return _written(**window_document(counting.window), percent=counting.percent, counts=counts)


def read_fup(table: Table) -> Fup:
    """Return the fair use that a table describes."""
    fup = Fup(
        steps=tuple(_step(step) for step in table.tables("step")),
        bonus_octets=table.take("bonus", checks.octets(low=0), 0),
        reset_day=table.take("reset_day", _RESET_DAY, None),
    )
    if not fup.steps and "step" not in table.values:
        table.report("needs at least one [[plan.fup.step]]")
    table.finish()
    return fup


def fup_document(fup: Fup) -> dict[str, object]:
    """Return the keys of fair use."""
    return _written(
        bonus=_some_octets(fup.bonus_octets),
        reset_day=fup.reset_day,
        step=[_step_document(step) for step in fup.steps],
    )


def _step(table: Table) -> FupStep:
    above = table.exactly_one("above", "above_online")
    if above == "above_online" and "direction" in table.values:
        table.report("is for steps above octets; time on line has none", "direction")
    step = FupStep(
        period=table.take("period", checks.one_of(Period), Period.MONTH),
        change=read_change(table),
        above_octets=table.take("above", _OCTETS, None),
        above_seconds=table.take("above_online", _ABOVE_ONLINE, None),
        direction=table.take("direction", checks.one_of(Direction), Direction.BOTH),
        precedence=table.take("precedence", _PRECEDENCE, 0),
        name=table.take("name", checks.name, ""),
    )
    table.finish()
    return step


def _step_document(step: FupStep) -> dict[str, object]:
    return _written(
        name=step.name or None,
        period=step.period.value,
        above=_some_octets(step.above_octets),
        above_online=step.above_seconds and checks.write_duration(step.above_seconds),
        direction=step.direction.value if step.above_octets else None,
        **change_document(step.change),
        precedence=step.precedence or None,
    )


def _rollover(cap: Table, octets: checks.Check[int]) -> Rollover | None:
    table = cap.table("rollover")
    if table is None:
        return None
    rollover = Rollover(
        percent=table.require("percent", _PERCENT, 100),
        periods=table.take("periods", _PERIODS, 1),
        ceiling_octets=table.take("ceiling", octets, None),
    )
    table.finish()
    return rollover


def _automatic(top_up: Table, kind: TopUpKind) -> AutomaticTopUp | None:
    table = top_up.table("automatic")
    if table is None:
        return None
    if kind is TopUpKind.BOOST:
        top_up.report("cannot be for a speed: nothing is used up that could trigger it", "automatic")
    if kind is TopUpKind.HOURS and "compensate" in table.values:
        table.report("is for top-ups of octets; hours cannot make up for octets", "compensate")
    automatic = AutomaticTopUp(
        trigger_percent=table.require("trigger_percent", _PERCENT, 100),
        most_per_month=table.require("most_per_month", _MOST_PER_MONTH, 1),
        compensate=table.take("compensate", checks.boolean, False),
    )
    table.finish()
    return automatic


def _top_up_kind(table: Table) -> TopUpKind:
    speed = table.given("download", "upload", "percent")
    if "octets" in table.values:
        for key in (*speed, *table.given("hours")):
            table.report("cannot stand beside octets", key)
        return TopUpKind.OCTETS
    if speed:
        return TopUpKind.BOOST
    if "hours" not in table.values:
        table.report('needs "octets", "hours", or a speed and "hours"')
        return TopUpKind.OCTETS
    return TopUpKind.HOURS


def _unit(value: object) -> int:
    if type(value) is not int or value not in {1000, 1024}:
        raise Mistake(f"must be 1000 or 1024, not {checks.show(value)}")
    return value


def _price(value: object) -> str:
    if not isinstance(value, str) or not _PRICE.fullmatch(value):
        raise Mistake(f'must be an amount in quotes such as "5.00", not {checks.show(value)}')
    return value


def _use(value: object) -> bool:
    if not isinstance(value, str) or value not in _USES:
        raise Mistake(f"must be one of {checks.listed(_USES)}, not {checks.show(value)}")
    return _USES[value]


def _some_octets(octets: int | None) -> str | None:
    return write_octets(octets) if octets else None


def _written(**values: object) -> dict[str, object]:
    """Return the keys that have a value."""
    return {key: value for key, value in values.items() if value is not None}
