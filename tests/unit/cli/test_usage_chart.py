"""The chart of usage is to scale and fits."""

from __future__ import annotations

from typing import Any

from cli.usage import DOWN, UP, bar, chart


def row(down: int, up: int, start: str = "2026-03-28T23:00:00Z") -> dict[str, Any]:
    """Return a row of usage."""
    return {"start": start, "octets_down": down, "octets_up": up}


def report(*rows: dict[str, Any]) -> dict[str, Any]:
    """Return a report of some rows in Madrid."""
    return {
        "service": "ana@example",
        "by": "day",
        "timezone": "Europe/Madrid",
        "start": "2026-03-28T23:00:00Z",
        "end": "2026-03-30T22:00:00Z",
        "octets_down": sum(item["octets_down"] for item in rows),
        "octets_up": sum(item["octets_up"] for item in rows),
        "rows": [*rows],
    }


def test_a_bar_has_download_and_upload_end_to_end() -> None:
    assert bar(row(75, 25), 100, 8, colours=False) == DOWN * 6 + UP * 2


def test_the_least_traffic_is_still_seen_and_none_is_not() -> None:
    assert bar(row(1, 0), 10**12, 60, colours=False) == DOWN
    assert bar(row(0, 0), 10**12, 60, colours=False) == ""


def test_days_are_the_operators_also_when_the_clocks_change() -> None:
    lines = chart(report(row(1, 0), row(1, 0, "2026-03-29T22:00:00Z")), 80, colours=False)
    assert lines[3].startswith("Sun 29 Mar 2026")
    assert lines[4].startswith("Mon 30 Mar 2026")


def test_days_without_traffic_stay_in_their_place_also_when_the_clocks_change() -> None:
    lines = chart(report(row(1, 0), row(1, 0, "2026-03-31T22:00:00Z")), 80, colours=False)
    assert [line[:6] for line in lines[3:]] == ["Sun 29", "Mon 30", "Tue 31", "Wed 01"]
    assert DOWN not in lines[4] + lines[5]


def test_the_chart_fits_the_terminal() -> None:
    assert max(len(line) for line in chart(report(row(10**9, 10**8), row(7, 3)), 60, colours=False)[3:]) == 60


def test_no_usage_is_said() -> None:
    assert chart(report(), 80, colours=False)[-1] == "no usage in this time"
