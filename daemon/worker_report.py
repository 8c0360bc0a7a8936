"""What a worker tells its daemon once a second: totals since it began, as one JSON line."""

from __future__ import annotations

import json
import os
import resource
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from daemon.listener import Traffic
    from daemon.logins import LoginLane
    from daemon.metering import MeteringLane

Labels = TypeVar("Labels", bound=tuple[object, ...])


class BatchHistogram:
    """Cumulative counts of batches by size and by the time from their start to their commit."""

    SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    BOUNDS_US = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 2_000_000)

    def __init__(self) -> None:
        self.sizes = [0] * (len(self.SIZES) + 1)
        self.size_sum = 0
        self.durations = [0] * (len(self.BOUNDS_US) + 1)
        self.duration_sum_us = 0

    def observe(self, size: int, seconds: float) -> None:
        """Count one batch."""
        duration_us = int(seconds * 1_000_000)
        self.sizes[bisect_left(self.SIZES, size)] += 1
        self.size_sum += size
        self.durations[bisect_left(self.BOUNDS_US, duration_us)] += 1
        self.duration_sum_us += duration_us


class WorkerReport:
    """Builds the line; `incarnation` in it tells this process from the one that had its place before."""

    def __init__(self) -> None:
        self._incarnation = os.urandom(8).hex()

    def line(
        self,
        traffic: Traffic,
        batches: Mapping[str, BatchHistogram],
        *,
        waiting: Mapping[str, int],
        database: bool,
        metering: MeteringLane,
        logins: LoginLane,
        revision: int,
    ) -> bytes:
        """Return the report as JSON and a newline."""
        report = {
            "incarnation": self._incarnation,
            "requests": _rows(traffic.requests),
            "answers": _rows(traffic.answers),
            "drops": _rows(traffic.drops),
            "duplicates": _rows({(router,): count for router, count in traffic.duplicates_answered.items()}),
            "latencies": {
                kind: {"counts": histogram.counts, "sum_us": histogram.sum_us}
                for kind, histogram in traffic.latencies.items()
            },
            "batches": {
                kind: {
                    "sizes": histogram.sizes,
                    "size_sum": histogram.size_sum,
                    "durations": histogram.durations,
                    "duration_sum_us": histogram.duration_sum_us,
                }
                for kind, histogram in batches.items()
            },
            "records": {outcome.value: count for outcome, count in metering.outcomes.items()},
            "quarantined": dict(metering.quarantined),
            "conflicts": metering.conflicts,
            "refusals": {reason.value: count for reason, count in logins.refused.items()},
            "accepts": logins.accepted,
            "waiting": dict(waiting),
            "database": database,
            "revision": revision,
            "memory_octets": _resident_octets(),
            "cpu_seconds": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
        }
        return json.dumps(report, separators=(",", ":")).encode() + b"\n"


def _rows(counts: Mapping[Labels, int]) -> list[list[object]]:
    return [[*labels, count] for labels, count in counts.items()]


def _resident_octets() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
