"""What the keepers of routers count, for the metrics, and what they know of a router, for who checks it.

Rule: counts only grow while the core lives; what is true of a moment is asked of the keepers when it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from enforcement.drivers.routeros import Refusal
from enforcement.routeros_entries import Entry
from enforcement.routeros_state import Conflict, Drift
from enforcement.session_truth import SeenSession


@dataclass(slots=True)
class RouterCounts:
    """Totals since the core began."""

    written: Counter[str] = field(default_factory=Counter)
    """Entries added, set, moved and removed, by router."""
    drifts: Counter[str] = field(default_factory=Counter)
    """Properties of owned entries that somebody changed by hand, by router."""
    troubles: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Times an API failed, by router and trouble."""
    ghosts_closed: int = 0
    sessions_adopted: int = 0
    records_counted: int = 0
    """Accounting records made of an API's counters."""


@dataclass(frozen=True, slots=True)
class RoutersNow:
    """What is true of the routers at one moment."""

    away: tuple[str, ...]
    """Names of those whose API does not answer."""
    drifted: Mapping[str, int]
    """Entries that are not as they were proven to be, by router, where there are any."""
    unkept: Mapping[str, int]
    """Entries that cannot be what they should be, by router, where there are any."""


@dataclass(frozen=True, slots=True)
class RouterKnowledge:
    """What the last visits to a router brought."""

    away_since: datetime | None = None
    trouble: str | None = None
    """Why its API could not be used; one sentence."""
    looked_at: datetime | None = None
    proven: tuple[Entry, ...] | None = None
    """What it was last read to hold; None before that."""
    drifts: tuple[Drift, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    unknown: tuple[SeenSession, ...] = ()
    """Sessions on the router that the books neither have nor could take."""
