"""What an entitlement costs on the plan that most subscribers have."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from time import process_time
from timeit import repeat

from domain.plan_rules import Burst, Cap, CapAction, Fup, FupStep, Period, PlanRules, ScheduleRule
from enforcement.entitlement import entitle
from enforcement.standing import Standing
from tests.unit.enforcement.entitled_line import GIGA, MEGA, NOON, NOW, PLAN, REJECT, ZONE, fixed, percent, used

RULES = PlanRules(
    burst=Burst(limit_percent=150),
    cap=Cap(100 * GIGA, action=CapAction.FIXED, change=fixed(2 * MEGA, MEGA)),
    fup=Fup((FupStep(Period.MONTH, percent(50), above_octets=50 * GIGA, name="half"),)),
    schedule=(ScheduleRule(NOON, percent(200)),),
)
MOST_MICROSECONDS = 60
"""Three times the bar of 20 µs, which the benchmark holds: tests share their machine."""
CALLS = 500


def test_an_entitlement_costs_microseconds() -> None:
    plan, standing = replace(PLAN, rules=RULES), Standing(1, usage=used(60 * GIGA))
    seconds = repeat(
        lambda: entitle(plan, RULES, REJECT, standing, ZONE, NOW), number=CALLS, repeat=9, timer=process_time
    )
    assert median(seconds) / CALLS * 1_000_000 <= MOST_MICROSECONDS
