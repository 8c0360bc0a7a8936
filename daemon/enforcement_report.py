"""What enforcement counts, for the metrics.

Rule: everything here only grows while the core lives, whether it is the active one or not; what is true of a moment is
asked of the enforcer when the metrics are made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcement.drivers.coa import CoaTraffic


class Distribution:
    """Counts of values by upper bound, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


LATENCY_BOUNDS_US = (
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    5_000_000,
    30_000_000,
    60_000_000,
)
"""From a datagram's way to the longest storm; 100 ms is what is promised for the first, 60 s for the last."""
OVERSHOOT_BOUNDS_OCTETS = (0, 1_000_000, 10_000_000, 50_000_000, 100_000_000, 250_000_000, 750_000_000, 5_000_000_000)
"""750 MB is a minute of 100 Mbit/s."""


@dataclass(slots=True)
class EnforcementCounts:
    """Totals since the core began."""

    coa: CoaTraffic = field(default_factory=CoaTraffic)
    """What went over the wire."""
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind (coa, disconnect, read_back, api, kick) and result."""
    proven: Counter[str] = field(default_factory=Counter)
    """By proof."""
    evaluated: int = 0
    top_ups_bought: int = 0
    warnings: int = 0
    sessions_unknown: int = 0
    """Sessions closed because their router knew nothing of them."""
    wire_us: Distribution = field(default_factory=lambda: Distribution(LATENCY_BOUNDS_US))
    """From what happened to the first datagram about it."""
    proof_us: Distribution = field(default_factory=lambda: Distribution(LATENCY_BOUNDS_US))
    """From what happened to its proof."""
    overshoot_octets: Distribution = field(default_factory=lambda: Distribution(OVERSHOOT_BOUNDS_OCTETS))


@dataclass(frozen=True, slots=True)
class EnforcementNow:
    """What is true of enforcement at one moment; None is unknown, as on a core that stands by."""

    is_active: bool
    unproven: Mapping[str, int] | None = None
    """Lines that are not proven, by problem; `pending` are those without one."""
    queued: int | None = None
    routers_away: int | None = None
    outbox_age_seconds: float | None = None
