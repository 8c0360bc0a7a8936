"""How much each moment of a period counts for time on line, by the windows of a plan.

Rule: weighed time is whole microseconds times percent, so that nothing is rounded on the way: two half seconds are one
second, in whatever pieces they are read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import tzinfo
from functools import lru_cache
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds, to_microseconds
from domain.plan_rules import CountingWindow
from enforcement.periods import Span, timetable

FULL_SECOND = SECOND_US * 100
"""A second that counts as one."""
_MOST_PERIODS = 1024


class TimeWeights(NamedTuple):
    """From each of `edges` on (microseconds, ascending) every moment counts so many percent.

    `sums` are what counts from the first edge to each.
    """

    edges: Sequence[int]
    percents: Sequence[int]
    sums: Sequence[int]

    def between(self, begins_us: Microseconds, ends_us: Microseconds) -> int:
        """Return the weighed time of [begins, ends), neither of which lies before the first edge."""
        return self._until(ends_us) - self._until(begins_us)

    def reached_at(self, begins_us: Microseconds, weighed: int) -> Microseconds | None:
        """Return the first moment until which at least `weighed`, not nothing, is counted from `begins_us` on.

        None: it never comes to that. After the last edge everything is taken to count as it does there.
        """
        wanted = self._until(begins_us) + weighed
        place = bisect_left(self.sums, wanted) - 1
        percent = self.percents[place]
        return Microseconds(self.edges[place] - (self.sums[place] - wanted) // percent) if percent else None

    def _until(self, instant_us: Microseconds) -> int:
        place = bisect_right(self.edges, instant_us) - 1
        return self.sums[place] + self.percents[place] * (instant_us - self.edges[place])


@lru_cache(maxsize=_MOST_PERIODS)
def time_weights(windows: tuple[CountingWindow, ...], zone: tzinfo, span: Span) -> TimeWeights:
    """Return how much each moment of `span` counts, where the first of `windows` that holds decides."""
    table = timetable(tuple([each.window for each in windows]), zone)
    edges, percents, sums = [], [], []
    at, counted = span.begins, 0
    while at < span.ends:
        segment = table.at(at)
        percent = 100 if segment.window is None else windows[segment.window].percent
        edges.append(to_microseconds(at))
        percents.append(percent)
        sums.append(counted)
        counted += percent * (to_microseconds(segment.ends) - edges[-1])
        at = segment.ends
    return TimeWeights(tuple(edges), tuple(percents), tuple(sums))
