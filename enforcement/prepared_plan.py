"""What follows from a plan and a zone alone, made once instead of for every line.

Rule: it changes no result, only its cost. It is found by the identity of the plan, which it keeps alive, for hashing a
plan costs more than all the rest.
"""

from __future__ import annotations

from datetime import tzinfo
from fractions import Fraction
from typing import NamedTuple

from domain.network import Plan
from domain.plan_rules import Change, Direction, Period, PlanRules
from domain.tariff import ceiling_units
from enforcement.explanation import Applied, Effect, Rule
from enforcement.periods import Almanac, Span, Timetable, almanac
from enforcement.rate_changes import rate_numbers
from enforcement.time_weights import TimeWeights, time_weights

MOST_PLANS = 4096
"""Plans that are kept."""


class Step(NamedTuple):
    """A step of fair use, prepared; `octets` include the bonus."""

    period: Period
    change: Change
    octets: int | None
    seconds: int | None
    direction: Direction
    precedence: int
    name: str


class PreparedPlan:
    """What follows from plan and zone alone."""

    __slots__ = (
        "_weighing_time", "almanac", "automatic", "ceiling_marks", "hours", "plan", "plan_applied", "rules",
        "schedule", "steps", "thresholds", "weight", "zone",
    )  # fmt: skip

    def __init__(self, plan: Plan, rules: PlanRules, zone: tzinfo) -> None:
        self.plan = plan
        self.rules = rules
        self.zone = zone
        self.almanac: Almanac = almanac(zone)
        self.schedule = Timetable([rule.window for rule in rules.schedule], zone) if rules.schedule else None
        self.hours = Timetable(rules.allowed_hours, zone, alike=True) if rules.allowed_hours else None
        self.weight = max([100, *(window.percent for window in rules.weighing_octets)])
        self._weighing_time = rules.weighing_time
        self.steps = _steps(rules)
        triggers = [offer.automatic.trigger_percent for offer in rules.top_ups if offer.automatic is not None]
        self.automatic = min(triggers, default=None)
        percents = sorted({100, *triggers, *rules.cap.warn_percents}) if rules.cap is not None else []
        self.thresholds = tuple((percent, f"{percent} %") for percent in percents)
        self.ceiling_marks = ceiling_marks(rules)
        rates = rate_numbers(plan.download_bits_per_second, plan.upload_bits_per_second)
        self.plan_applied = Applied(Rule.PLAN, plan.name, rates, Effect.SETS)

    def time_weights(self, span: Span) -> TimeWeights:
        """Return how much each moment of a period counts for time on line."""
        return time_weights(self._weighing_time, self.zone, span)


def ceiling_marks(rules: PlanRules, charged: Fraction = Fraction(0)) -> tuple[tuple[int, int], ...]:
    """Return the percentages of the ceiling at which is warned, with the octets of overage that cost so much.

    `charged` is what the month's periods before have cost of it.
    """
    overage = rules.overage
    if overage is None:
        return ()
    reached = [(percent, ceiling_units(overage.tariff, percent, charged)) for percent in overage.warn_percents]
    return tuple((percent, octets) for percent, octets in reached if octets is not None)


def _steps(rules: PlanRules) -> tuple[Step, ...]:
    fup = rules.fup
    if fup is None:
        return ()
    return tuple(
        Step(
            step.period,
            step.change,
            None if step.above_octets is None else step.above_octets + fup.bonus_octets,
            step.above_seconds,
            step.direction,
            step.precedence,
            step.name,
        )
        for step in fup.steps
    )


_preparations: dict[int, PreparedPlan] = {}
"""By the identity of the plan, which each entry keeps alive: hashing a plan costs more than all the rest."""


def prepared(plan: Plan, rules: PlanRules, zone: tzinfo) -> PreparedPlan:
    found = _preparations.get(id(plan))
    if found is not None and found.plan is plan and found.rules is rules and found.zone is zone:
        return found
    if len(_preparations) >= MOST_PLANS:
        _preparations.clear()
    prepared = _preparations[id(plan)] = PreparedPlan(plan, rules, zone)
    return prepared
