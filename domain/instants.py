"""Instants on the packet path.

Rule: there an instant is whole microseconds since the epoch, UTC, in a name that ends in `_us`; everywhere else it is
an aware `datetime`. (A `datetime` per record costs as much as decoding its packet.)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NewType

Microseconds = NewType("Microseconds", int)

SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(instant_us: Microseconds) -> datetime:
    """Return the aware UTC datetime of `instant_us`."""
    return _EPOCH + timedelta(microseconds=instant_us)


def to_microseconds(instant: datetime) -> Microseconds:
    """Return the microseconds since the epoch of an aware datetime, exactly."""
    return Microseconds((instant - _EPOCH) // timedelta(microseconds=1))
