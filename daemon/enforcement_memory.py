"""Which entitlement a fingerprint stands for.

Rule: a fingerprint is made of what it stands for, so an entry can never be wrong, only missing; then it is not known
what a line has, and more is told to its router than had to be. The memory is bounded: a fleet has few different
entitlements at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo

from domain.network import Plan
from domain.plan_rules import Blocking, Direction
from enforcement.entitlement import Entitlement, entitle, fingerprint
from enforcement.standing import AccountState, Standing

MOST_REMEMBERED = 50_000
"""About 1 KB each, in each of two halves."""
MOST_SHAPES = 64
"""Different things that plans give besides rates; few plans have any."""
MOST_STATES = 16
"""Entitlements of one plan that are kept as what an unknown line may have."""
SEVERAL = 2
"""Of so many different things that a plan gave alone, no more need be known."""

_STANDINGS = tuple(Standing(0, account=account) for account in AccountState)


class EntitlementMemory:
    """Entitlements by fingerprint, in two halves of which the older is dropped whole."""

    def __init__(self) -> None:
        self._young: dict[bytes, Entitlement] = {}
        self._old: dict[bytes, Entitlement] = {}
        self._states: dict[int, dict[bytes, Entitlement]] = {}
        self._alone: dict[int, set[bytes]] = {}
        self._shapes: dict[Entitlement, None] = {}

    def remember(self, key: bytes, entitlement: Entitlement) -> None:
        """Keep what a fingerprint stands for; not admitted lines have none of their own."""
        if not entitlement.admitted or key in self._young:
            return
        if len(self._young) >= MOST_REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[key] = entitlement._replace(rules=(), warnings=(), valid_until=None)

    def find(self, key: bytes) -> Entitlement | None:
        """Return what a fingerprint stands for; None when that is not known."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.remember(key, found)
        return found

    def learn_plans(self, plans: Iterable[Plan], blocking: Blocking, zone: tzinfo, now: datetime) -> None:
        """Keep what lines of these plans have when they have used nothing, and when their account is blocked."""
        for plan in plans:
            states = self._states.setdefault(plan.id, {})
            for standing in _STANDINGS:
                entitlement = entitle(plan, plan.rules, blocking, standing, zone, now)
                if not entitlement.admitted:
                    continue
                key = fingerprint(entitlement)
                self.remember(key, entitlement)
                states.pop(key, None)
                states[key] = entitlement
                if standing.account is AccountState.ACTIVE:
                    alone = self._alone.setdefault(plan.id, set())
                    if len(alone) < SEVERAL:
                        alone.add(key)
                    self._learn_shape(entitlement)
            while len(states) > MOST_STATES:
                del states[next(iter(states))]

    def _learn_shape(self, entitlement: Entitlement) -> None:
        """Keep what a plan gives besides rates, of which an unknown line is always told."""
        shape = entitlement._replace(
            download=None,
            upload=None,
            burst_download=None,
            burst_upload=None,
            burst_threshold_download=None,
            burst_threshold_upload=None,
            burst_seconds=None,
            guaranteed_download=None,
            guaranteed_upload=None,
            priority=None,
            octets_left=None,
            left_direction=Direction.BOTH,
            valid_until=None,
            warnings=(),
            rules=(),
        )
        if len(self._shapes) < MOST_SHAPES:
            self._shapes[shape] = None

    def shapes(self) -> tuple[Entitlement, ...]:
        """Return what a line may have, besides rates, whose plan nobody knows."""
        return tuple(self._shapes)

    def states_of(self, plan: Plan) -> tuple[Entitlement, ...]:
        """Return what an unknown line of a plan may have."""
        return tuple(self._states.get(plan.id, {}).values())

    def plan_alone(self, plan: Plan) -> bytes | None:
        """Return the fingerprint of what a plan without rules gives; None when it gave different things lately."""
        alone = self._alone.get(plan.id, set())
        return next(iter(alone)) if len(alone) == 1 else None
