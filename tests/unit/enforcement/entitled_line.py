"""A plan, a standing and a moment for the tests of entitlement; each test changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.network import Plan, PlanId
from domain.plan_rules import (
    NO_RULES,
    Blocking,
    BlockPolicy,
    Change,
    ChangeKind,
    PlanRules,
    TopUpKind,
    WalledGarden,
    Window,
)
from enforcement.entitlement import Entitlement, entitle
from enforcement.standing import Counter, Standing, TopUp, Usage

ZONE = ZoneInfo("America/Bogota")
"""UTC-5 all year."""
NOW = datetime(2025, 6, 18, 17, 0, tzinfo=UTC)
"""A Wednesday, 12:00 in Bogota."""
MONTH = datetime(2025, 6, 1, 5, tzinfo=UTC)
NEXT_MONTH = datetime(2025, 7, 1, 5, tzinfo=UTC)
WEEK = datetime(2025, 6, 16, 5, tzinfo=UTC)
NEXT_WEEK = datetime(2025, 6, 23, 5, tzinfo=UTC)
DAY = datetime(2025, 6, 18, 5, tzinfo=UTC)
NEXT_DAY = datetime(2025, 6, 19, 5, tzinfo=UTC)
MEGA, GIGA = 10**6, 10**9
PLAN = Plan(PlanId(1), "Home", 100 * MEGA, 20 * MEGA, None, None, None, None, None, 300, 1)
GARDEN = WalledGarden("garden", "walled", "https://pay.example.net/", 256_000, 128_000)
REJECT = Blocking()
WALL = Blocking(BlockPolicy.WALLED_GARDEN, garden=GARDEN)
NOON = Window(begins=11 * 60, ends=13 * 60)
BLOCK = Change(ChangeKind.BLOCK)


def fixed(download: int | None, upload: int | None = None) -> Change:
    return Change(ChangeKind.FIXED, download, upload)


def percent(share: int) -> Change:
    return Change(ChangeKind.PERCENT, percent=share)


def used(down: int, up: int = 0, *, seconds: int = 0, sessions: int = 0) -> Usage:
    """Return usage that all fell into the present day."""
    day, week, month = (Counter(begins, up, down, seconds) for begins in (DAY, WEEK, MONTH))
    return Usage(NOW, day, week, month, None, sessions)


def top_up(
    number: int, kind: TopUpKind = TopUpKind.OCTETS, *, octets: int = 0, boost: Change | None = None, hours: int = 48
) -> TopUp:
    """Return one that began an hour ago."""
    begins = NOW - timedelta(hours=1)
    return TopUp(number, f"top-up {number}", kind, begins, begins + timedelta(hours=hours), octets, boost=boost)


def ask(
    rules: PlanRules = NO_RULES,
    standing: Standing | None = None,
    *,
    plan: Plan = PLAN,
    blocking: Blocking = REJECT,
    now: datetime = NOW,
) -> Entitlement:
    return entitle(replace(plan, rules=rules), rules, blocking, standing or Standing(1), ZONE, now)
