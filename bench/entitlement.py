"""What the pure function costs on the plan that most subscribers have: burst, a monthly cap, fair use, a night rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from timeit import repeat
from typing import Final
from zoneinfo import ZoneInfo

from domain.network import Plan, PlanId
from domain.plan_rules import (
    Blocking,
    Burst,
    Cap,
    CapAction,
    Change,
    ChangeKind,
    Fup,
    FupStep,
    Period,
    PlanRules,
    ScheduleRule,
    Window,
)
from enforcement.entitlement import entitle
from enforcement.standing import Counter, Standing, Usage

CALLS: Final = 2000
REPEATS: Final = 15
MEGABIT: Final = 1_000_000
GIGABYTE: Final = 10**9
NOW: Final = datetime(2026, 5, 20, 19, 30, tzinfo=UTC)

RULES: Final = PlanRules(
    burst=Burst(limit_percent=150),
    cap=Cap(500 * GIGABYTE, action=CapAction.FIXED, change=Change(ChangeKind.FIXED, 2 * MEGABIT, MEGABIT)),
    fup=Fup((FupStep(Period.MONTH, Change(ChangeKind.PERCENT, percent=50), above_octets=300 * GIGABYTE),)),
    schedule=(ScheduleRule(Window(begins=0, ends=8 * 60), Change(ChangeKind.PERCENT, percent=200)),),
)
PLAN: Final = Plan(PlanId(1), "Home", 100 * MEGABIT, 20 * MEGABIT, None, None, None, None, None, 600, None, rules=RULES)


def measure() -> float:
    """Return the microseconds of one call: the best of several repeats, as others use the machine too."""
    day, month = NOW.replace(hour=0, minute=0), NOW.replace(day=1, hour=0, minute=0)
    usage = Usage(
        NOW,
        Counter(day, GIGABYTE, 10 * GIGABYTE),
        Counter(day - timedelta(days=2), 3 * GIGABYTE, 30 * GIGABYTE),
        Counter(month, 20 * GIGABYTE, 310 * GIGABYTE),
        sessions=1,
    )
    standing, zone, blocking = Standing(1, usage=usage), ZoneInfo("Europe/Madrid"), Blocking()
    seconds = repeat(lambda: entitle(PLAN, RULES, blocking, standing, zone, NOW), number=CALLS, repeat=REPEATS)
    return min(seconds) / CALLS * 1_000_000
