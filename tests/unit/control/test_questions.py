"""Cursors and instants are read as they were written, or refused."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from control.errors import RequestRefused
from control.questions import cursor, position
from control.usage import Bound, instant
from storage.sessions import Position

MADRID = ZoneInfo("Europe/Madrid")


@pytest.mark.parametrize(
    "when", [datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC)]
)
def test_a_cursor_comes_back_to_the_microsecond(when: datetime) -> None:
    assert position(cursor(Position(when, 7))) == Position(when, 7)


@pytest.mark.parametrize("text", ["", "-", "7", "1-", "-7", "1-0", "1-x", "1-9223372036854775808", f"{10**20}-1"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(RequestRefused, match="no cursor"):
        position(text)


def test_a_bare_date_is_the_operators_day_and_as_an_end_included() -> None:
    assert instant("2026-03-29", MADRID, Bound.START) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert instant("2026-03-29", MADRID, Bound.END) == datetime(2026, 3, 29, 22, tzinfo=UTC)


def test_an_instant_keeps_its_own_zone() -> None:
    assert instant("2026-03-29T12:00:00Z", MADRID, Bound.END) == datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert instant("2026-03-29T12:00", MADRID, Bound.END) == datetime(2026, 3, 29, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "today", "2026-02-30", "9999-12-31", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(RequestRefused, match="neither a date nor an instant"):
        instant(text, MADRID, Bound.END)
