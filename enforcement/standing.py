"""What is known of one service when its entitlement is computed.

Rule: these are plain values, read in one snapshot; `as_of` tells when. Octets are whole; they and time on line are
already weighed by the plan's counting windows; instants are aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from domain.network import AccountState
from domain.plan_rules import Change, Direction, Period, TopUpKind

__all__ = ["AccountState", "BurstLevel", "Counter", "Override", "Standing", "TopUp", "Usage"]


class Counter(NamedTuple):
    """Usage since a period began; `seconds` on line are those up to the usage's `as_of`."""

    begins: datetime
    octets_up: int = 0
    octets_down: int = 0
    seconds: int = 0
    rest: int = 0
    """What of the next second on line has passed, in hundredths of microseconds."""

    def octets(self, direction: Direction) -> int:
        """Return the octets that count in `direction`."""
        if direction is Direction.BOTH:
            return self.octets_up + self.octets_down
        return self.octets_down if direction is Direction.DOWN else self.octets_up


class Usage(NamedTuple):
    """The present day, week and month of a service; `fup_month` where fair use has a reset day of its own."""

    as_of: datetime
    day: Counter
    week: Counter
    month: Counter
    fup_month: Counter | None = None
    sessions: int = 0
    """Open sessions; each adds to the seconds on line from `as_of` on."""
    line: Counter | None = None
    """All that the line carried in the month, of every class and as it was sent: what a burst budget is measured by."""
    ever: Counter | None = None
    """Since the service exists; None where the plan does not ask for it."""
    over_before: tuple[int, ...] = ()
    """Octets beyond the cap in each period of the month before the present one, where they share a ceiling."""

    def of(self, period: Period) -> Counter | None:
        """Return the counter of a period, months being the service's own."""
        if period is Period.MONTH:
            return self.month
        if period is Period.DAY:
            return self.day
        return self.week if period is Period.WEEK else self.ever


class BurstLevel(NamedTuple):
    """The burst budget as it stood at `as_of`, in octets; `spent` from empty until enough has refilled."""

    as_of: datetime
    octets: int
    spent: bool


@dataclass(frozen=True, slots=True)
class TopUp:
    """A top-up that was bought and may still hold; `spent_octets` were used in periods that are over."""

    id: int
    name: str
    kind: TopUpKind
    begins: datetime
    ends: datetime
    octets: int = 0
    spent_octets: int = 0
    boost: Change | None = None
    before_plan: bool = False
    covered_octets: int | None = None
    """What it paid of the present period, fixed when it ended inside; None while it holds."""


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's temporary order; `until` None holds until it is taken back."""

    change: Change
    until: datetime | None
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything about a service that its plan does not say."""

    service_id: int
    enabled: bool = True
    account: AccountState = AccountState.ACTIVE
    expires_at: datetime | None = None
    period_day: int = 1
    """The service's own day of the month, 1-31; clamped to the last day of a shorter month."""
    usage: Usage | None = None
    """None: nothing was measured yet."""
    carried_octets: int = 0
    """What rolled over into the present period of the cap; below nothing, what ran over before and is taken from it."""
    top_ups: tuple[TopUp, ...] = ()
    burst: BurstLevel | None = None
    override: Override | None = None
