"""What a check reads of a router."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from daemon.router_readings import our_address, router_time

NOON = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "time", "offset"),
    [
        ("2026-11-23", "12:00:05", "+00:00"),
        ("2026-11-23", "13:00:05", "+01:00"),
        ("nov/23/2026", "07:00:05", "-05:00"),
        ("nov/23/2026", "17:45:05", "+05:45"),
    ],
)
def test_the_time_of_a_router_is_read_in_the_notation_of_every_version(date: str, time: str, offset: str) -> None:
    assert router_time({"date": date, "time": time, "gmt-offset": offset}) == NOON


@pytest.mark.parametrize(
    "row", [{}, {"date": "2026-11-23", "time": "12:00:05"}, {"date": "?", "time": "12:00:05", "gmt-offset": "+00:00"}]
)
def test_a_time_in_an_unknown_notation_is_not_guessed_at(row: dict[str, str]) -> None:
    assert router_time(row) is None


def test_our_address_is_that_of_the_way_to_the_router() -> None:
    assert our_address("127.0.0.1") == "127.0.0.1"
