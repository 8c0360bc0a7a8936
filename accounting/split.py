"""Decides how much of the octets of an interval fell before and after an instant: at hours and at local midnights.

Rule: traffic is spread evenly over its half-open interval. What lies before an instant is the whole times the elapsed
fraction, rounded down; a part is the difference of two such amounts. So parts sum to the whole to the octet, and the
hours of a day sum to the day, whatever else the interval was cut at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds, to_datetime, to_microseconds

HOUR_US = 3600 * SECOND_US


class Part(NamedTuple):
    """Octets of the half-open interval [from_us, to_us)."""

    from_us: Microseconds
    to_us: Microseconds
    octets_up: int
    octets_down: int


def split(
    from_us: Microseconds, to_us: Microseconds, octets_up: int, octets_down: int, boundaries: Iterable[Microseconds]
) -> list[Part]:
    """Cut [from_us, to_us) at the ascending `boundaries`; those outside of it cut nothing.

    An interval without length is one part: all of it at that instant.
    """
    parts = []
    whole_us = to_us - from_us
    at_us, up_before, down_before = from_us, 0, 0
    for boundary in boundaries:
        if boundary >= to_us:
            break
        if boundary <= at_us:
            continue
        elapsed_us = boundary - from_us
        up, down = octets_up * elapsed_us // whole_us, octets_down * elapsed_us // whole_us
        parts.append(Part(at_us, boundary, up - up_before, down - down_before))
        at_us, up_before, down_before = boundary, up, down
    parts.append(Part(at_us, to_us, octets_up - up_before, octets_down - down_before))
    return parts


def hour_of(instant_us: Microseconds, day_begins: Microseconds) -> Microseconds:
    """Return when the hour of `instant_us` began; hours are counted from the beginning of its local day."""
    return Microseconds(instant_us - (instant_us - day_begins) % HOUR_US)


def hours(from_us: Microseconds, to_us: Microseconds, zone: tzinfo) -> Iterator[Microseconds]:
    """Yield the beginnings of hours strictly inside the interval, ascending; a local day begins one."""
    begins = midnight(day_of(from_us, zone), zone)
    at_us = from_us
    for day_ends in (*local_midnights(from_us, to_us, zone), to_us):
        yield from map(Microseconds, range(hour_of(at_us, begins) + HOUR_US, day_ends, HOUR_US))
        if day_ends < to_us:
            yield day_ends
        at_us = begins = day_ends


def day_of(instant_us: Microseconds, zone: tzinfo) -> date:
    """Return the local date of `instant_us`."""
    return to_datetime(instant_us).astimezone(zone).date()


def midnight(day: date, zone: tzinfo) -> Microseconds:
    """Return when the local `day` begins: where clocks skip its midnight, the moment of the jump."""
    # fold=0 reads a time inside a gap with the offset before the jump, and of two midnights takes the first.
    return to_microseconds(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC))


def local_midnights(from_us: Microseconds, to_us: Microseconds, zone: tzinfo) -> Iterator[Microseconds]:
    """Yield the beginnings of local days strictly inside the interval, ascending; days last 23 to 25 hours."""
    latest_us = from_us
    day = day_of(from_us, zone)
    while True:
        day += timedelta(days=1)
        boundary = midnight(day, zone)
        if boundary >= to_us:
            return
        # A day that a zone left out when it crossed the date line begins together with the next one.
        if boundary > latest_us:
            yield boundary
            latest_us = boundary
