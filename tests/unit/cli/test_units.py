"""Quantities are read as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli import units

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_449_999_999, "1.4 GB"),
        (2**63, "9.2 EB"),
    ],
)
def test_octets_have_one_decimal_and_never_read_a_thousand(number: int, shown: str) -> None:
    assert units.octets(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(None, "unlimited"), (20_000_000, "20 Mbit/s"), (1_500_000, "1,500 kbit/s"), (7, "7 bit/s")]
)
def test_a_provisioned_rate_is_exact(number: int | None, shown: str) -> None:
    assert units.limit_bits_per_second(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h 00 min"), (86_399, "23 h 59 min"), (180_000, "2 d 02 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert units.duration(seconds) == shown


def test_an_instant_ahead_of_ours_is_not_called_past() -> None:
    assert units.ago("2026-01-31T12:05:00Z", NOW) == "in 5 min"
    assert units.ago("2026-01-31T11:55:00Z", NOW) == "5 min ago"
    assert units.ago(None, NOW) == ""


@pytest.mark.parametrize(("text", "hour"), [("90m", "10:30"), ("2h", "10:00"), ("2026-01-31T09:00:00Z", "09:00")])
def test_since_takes_an_age_or_an_instant(text: str, hour: str) -> None:
    instant = units.since(text, NOW)
    assert instant is not None
    assert units.moment(instant).astimezone(UTC).strftime("%H:%M") == hour


@pytest.mark.parametrize("text", ["", "h", "2 hours", "yesterday", "-2h", "2026-13-01", "9" * 30 + "d"])
def test_since_refuses_anything_else(text: str) -> None:
    assert units.since(text, NOW) is None
