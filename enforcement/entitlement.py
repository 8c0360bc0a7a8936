"""What a line may do right now, why, and when that changes.

Rule: pure and total. Strictest first: disabled, expired, outside the allowed hours, blocked, prepaid exhausted, cap,
operator's override, fair use, schedule, boost, plan. Weaker rules speak first: a fixed rate replaces what they left, a
percentage scales it. An override starts again from plan and boosts, so it lifts what fair use and schedule did, blocks
too. A boost never slows; a cap, or a fixed rate of fair use, never makes a line faster. A walled garden without a fence
is none: then the line is refused. A threshold is reached when as much is used as it says.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from hashlib import blake2b

from domain.instants import to_microseconds
from domain.network import Plan
from domain.plan_rules import Blocking, PlanRules
from enforcement.explanation import Applied, Prospect, Rule
from enforcement.prepared_plan import prepared
from enforcement.reckoning import Outlook, Reckoning
from enforcement.standing import Standing
from enforcement.terms import Entitlement, Refusal

__all__ = ["Applied", "Entitlement", "Refusal", "Rule", "entitle", "fingerprint", "prospects"]

FINGERPRINT_OCTETS = 8


def entitle(
    plan: Plan, rules: PlanRules, blocking: Blocking, standing: Standing, zone: tzinfo, now: datetime
) -> Entitlement:
    """Return what the line of a service on `plan` may do at `now`."""
    return Reckoning(prepared(plan, rules, zone), standing, now).entitlement(blocking)


def prospects(
    plan: Plan, rules: PlanRules, blocking: Blocking, standing: Standing, zone: tzinfo, now: datetime
) -> tuple[Prospect, ...]:
    """Return all that would change what the line may do: first what usage does, then what time does, nearest first."""
    outlook = Outlook(prepared(plan, rules, zone), standing, now)
    outlook.entitlement(blocking)
    return outlook.prospects()


def fingerprint(entitlement: Entitlement) -> bytes:
    """Return 8 octets that differ when a router would be told something else."""
    if not entitlement.admitted:
        return bytes(FINGERPRINT_OCTETS)
    ends_at = entitlement.ends_at
    told = (entitlement[_TOLD], ends_at and to_microseconds(ends_at))
    return blake2b(repr(told).encode(), digest_size=FINGERPRINT_OCTETS).digest()


_TOLD = slice(Entitlement._fields.index("walled"), Entitlement._fields.index("attributes") + 1)
