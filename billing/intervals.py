"""Arithmetic of days: unions, intersections and differences of half-open periods.

Rule: a list of periods is sorted, disjoint, and its neighbours do not touch.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from billing.cycle import Period

FOREVER = date.max
"""The end of what does not end."""


def union(periods: Iterable[Period]) -> list[Period]:
    """Return the days that are in any of the periods."""
    result: list[Period] = []
    for period in sorted(periods):
        if period.starts >= period.ends:
            continue
        if result and period.starts <= result[-1].ends:
            if period.ends > result[-1].ends:
                result[-1] = Period(result[-1].starts, period.ends)
        else:
            result.append(period)
    return result


def intersection(left: list[Period], right: list[Period]) -> list[Period]:
    """Return the days that are in both lists."""
    result: list[Period] = []
    position = 0
    for period in left:
        while position < len(right) and right[position].ends <= period.starts:
            position += 1
        place = position
        while place < len(right) and right[place].starts < period.ends:
            result.append(Period(max(period.starts, right[place].starts), min(period.ends, right[place].ends)))
            place += 1
    return result


def difference(left: list[Period], right: list[Period]) -> list[Period]:
    """Return the days of `left` that are not in `right`."""
    if not right:
        return left
    result: list[Period] = []
    for period in left:
        starts = period.starts
        for other in right:
            if other.ends <= starts:
                continue
            if other.starts >= period.ends:
                break
            if other.starts > starts:
                result.append(Period(starts, other.starts))
            starts = other.ends
        if starts < period.ends:
            result.append(Period(starts, period.ends))
    return result
