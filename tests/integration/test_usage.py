"""What a service used is exact at every moment, rolled up or not."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy

from storage.rollup import roll_up
from storage.usage import UnknownService, UsageReport, usage
from tests.integration.usage_facts import Fact, add_service, instant, lane

MADRID = "Europe/Madrid"
KOLKATA = "Asia/Kolkata"


def ask(engine: sqlalchemy.Engine, by: str, start: str, end: str, zone: str = MADRID) -> UsageReport:
    return usage(engine, "ana@example", by, instant(start), instant(end), zone)


def rows(report: UsageReport) -> dict[str, tuple[int, int]]:
    return {f"{row.start:%m-%dT%H:%M}": (row.octets_up, row.octets_down) for row in report.rows}


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    return add_service(engine, "ana@example")


@pytest.mark.parametrize("rolled", [0, 1, 2])
def test_the_answer_is_the_same_before_between_and_after_roll_ups(
    engine: sqlalchemy.Engine, ana: int, rolled: int
) -> None:
    batches = (
        [
            Fact(ana, "2026-01-01T21:50Z", "2026-01-01T22:10Z", 10, 20),
            Fact(ana + 1, "2026-01-01T22:00Z", "2026-01-01T22:10Z", 5, 5),
        ],
        [
            Fact(ana, "2026-01-01T22:50Z", "2026-01-01T23:20Z", 100, 31),
            Fact(None, "2026-01-01T22:00Z", "2026-01-01T22:10Z", 5, 5),
        ],
    )
    with lane(engine) as one, lane(engine) as other:
        for number, batch in enumerate(batches):
            (one, other)[number].write(*batch)
            if number < rolled:
                roll_up(engine, ZoneInfo(MADRID))
        by_hour = ask(engine, "hour", "2026-01-01T00:00Z", "2026-01-03T00:00Z")
        by_day = ask(engine, "day", "2026-01-01T00:00Z", "2026-01-03T00:00Z")
    assert rows(by_hour) == {"01-01T21:00": (5, 10), "01-01T22:00": (38, 20), "01-01T23:00": (67, 21)}
    assert rows(by_day) == {"12-31T23:00": (43, 30), "01-01T23:00": (67, 21)}
    assert (by_hour.octets_up, by_hour.octets_down) == (by_day.octets_up, by_day.octets_down) == (110, 51)
    assert all(row.start.tzinfo is UTC for row in by_hour.rows)


@pytest.mark.parametrize("rolled", [False, True])
def test_only_the_hours_and_days_that_the_time_touches_are_answered(
    engine: sqlalchemy.Engine, ana: int, rolled: bool
) -> None:
    with lane(engine) as one:
        for day in (1, 2, 3):
            one.write(
                *[Fact(ana, f"2026-01-0{day}T{hour}:00Z", f"2026-01-0{day}T{hour}:05Z", 1, 2) for hour in (10, 11, 12)]
            )
        if rolled:
            roll_up(engine, ZoneInfo(MADRID))
        assert rows(ask(engine, "hour", "2026-01-02T10:00Z", "2026-01-02T11:00Z")) == {"01-02T10:00": (1, 2)}
        touched = ask(engine, "hour", "2026-01-02T10:59Z", "2026-01-02T12:00:01Z")
        assert list(rows(touched)) == ["01-02T10:00", "01-02T11:00", "01-02T12:00"]
        assert rows(ask(engine, "day", "2026-01-01T23:00Z", "2026-01-02T23:00Z")) == {"01-01T23:00": (3, 6)}
        assert list(rows(ask(engine, "day", "2026-01-01T22:59Z", "2026-01-02T23:01Z"))) == [
            "12-31T23:00",
            "01-01T23:00",
            "01-02T23:00",
        ]


@pytest.mark.parametrize("rolled", [False, True])
def test_a_total_takes_whole_local_days_or_else_whole_hours(engine: sqlalchemy.Engine, ana: int, rolled: bool) -> None:
    """In India a day begins at 18:30 UTC, and each hour half an hour after one of UTC."""
    with lane(engine) as one:
        one.write(Fact(ana, "2026-01-01T18:00Z", "2026-01-01T19:00Z", 10, 20))
        one.write(Fact(ana, "2026-01-02T10:00Z", "2026-01-02T11:00Z", 100, 200))
        if rolled:
            roll_up(engine, ZoneInfo(KOLKATA))
        day = ask(engine, "total", "2026-01-01T18:30Z", "2026-01-02T18:30Z", KOLKATA)
        hours = ask(engine, "total", "2026-01-01T18:00Z", "2026-01-02T10:00Z", KOLKATA)
    assert (day.octets_up, day.octets_down, day.rows) == (105, 210, ())
    assert (hours.octets_up, hours.octets_down) == (10 + 50, 20 + 100)


def test_a_day_of_25_hours_is_one_row(engine: sqlalchemy.Engine, ana: int) -> None:
    with lane(engine) as one:
        one.write(Fact(ana, "2026-10-24T22:00Z", "2026-10-25T23:00Z", 25, 50))
        unrolled = ask(engine, "day", "2026-10-24T22:00Z", "2026-10-25T23:00Z")
        roll_up(engine, ZoneInfo(MADRID))
        assert ask(engine, "day", "2026-10-24T22:00Z", "2026-10-25T23:00Z") == unrolled
        assert len(ask(engine, "hour", "2026-10-24T22:00Z", "2026-10-25T23:00Z").rows) == 25
    assert rows(unrolled) == {"10-24T22:00": (25, 50)}


def test_hours_and_days_without_traffic_have_no_row(engine: sqlalchemy.Engine, ana: int) -> None:
    with lane(engine) as one:
        one.write(Fact(ana, "2026-01-01T10:00Z", "2026-01-01T12:30Z", 2, 0))
        for _ in range(2):
            assert list(rows(ask(engine, "hour", "2026-01-01T00:00Z", "2026-01-02T00:00Z"))) == [
                "01-01T11:00",
                "01-01T12:00",
            ]
            roll_up(engine, ZoneInfo(MADRID))


def test_a_service_that_used_nothing_has_an_empty_report(engine: sqlalchemy.Engine, ana: int) -> None:
    assert ask(engine, "day", "2026-01-01T00:00Z", "2026-02-01T00:00Z") == UsageReport("ana@example", 0, 0, ())


def test_an_unknown_service_is_refused_by_name(engine: sqlalchemy.Engine) -> None:
    with pytest.raises(UnknownService, match="'nobody'"):
        usage(engine, "nobody", "day", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), MADRID)
