"""The live board computes rates from counters and keeps what matters on the screen."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from cli.watch import Board, Picture, cells

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def session(number: int, *, seconds: int = 0, down: int = 0, state: str = "open") -> dict[str, Any]:
    """Return a session heard `seconds` after noon."""
    instant = (AT + timedelta(seconds=seconds)).isoformat()
    return {
        "id": number,
        "state": state,
        "login": f"line-{number}",
        "router": "tower",
        "address": None,
        "ipv6": [{"attribute": "Framed-IPv6-Prefix", "value": "2001:db8::/64"}],
        "started_at": AT.isoformat(),
        "updated_at": instant,
        "heard_at": instant,
        "terminate_cause": None if state == "open" else "User-Request",
        "seconds": seconds,
        "octets_up": 0,
        "octets_down": down,
    }


def event(*sessions: dict[str, Any], seconds: int = 0) -> dict[str, Any]:
    """Return an event of the stream."""
    return {
        "at": (AT + timedelta(seconds=seconds)).isoformat(),
        "open_sessions": len(sessions),
        "sessions": [*sessions],
    }


def test_a_rate_is_what_moved_between_two_updates() -> None:
    board = Board()
    board.apply(event(session(1, seconds=100, down=1_000)))
    (line,) = board.apply(event(session(1, seconds=110, down=11_000)))
    assert line.rate.down == pytest.approx(8_000)
    assert cells(line, AT)[6] == "8.0 k"


def test_before_the_second_update_a_rate_is_the_average_and_marked() -> None:
    (line,) = Board().apply(event(session(1, seconds=100, down=100_000)))
    assert cells(line, AT)[6] == "~8.0 k"


def test_a_packet_without_progress_keeps_the_rate() -> None:
    board = Board()
    board.apply(event(session(1, seconds=100, down=1_000)))
    board.apply(event(session(1, seconds=110, down=11_000)))
    (line,) = board.apply(event(session(1, seconds=110, down=11_000)))
    assert line.rate.down == pytest.approx(8_000)


def test_counters_that_were_corrected_downwards_are_no_negative_traffic() -> None:
    board = Board()
    board.apply(event(session(1, seconds=100, down=1_000)))
    (line,) = board.apply(event(session(1, seconds=110, down=10)))
    assert line.rate.down == 0


def test_the_newest_activity_comes_first() -> None:
    board = Board()
    board.apply(event(session(1, seconds=5), session(2, seconds=9), session(3, seconds=7)))
    assert [line.session["id"] for line in board.newest(2)] == [2, 3]


def test_an_ended_session_says_farewell_and_goes() -> None:
    board = Board()
    board.apply(event(session(1, seconds=5)))
    board.apply(event(session(1, seconds=6, state="stopped"), seconds=7))
    (line,) = board.newest(10)
    assert cells(line, AT)[6:8] == ("ended", "User-Request")
    board.apply(event(seconds=30))
    assert board.newest(10) == []


def drawn(picture: Picture, board: Board, columns: int) -> list[str]:
    """Return the lines of a picture of the board."""
    console = Console(width=columns, file=io.StringIO())
    with console.capture() as capture:
        console.print(picture.draw(board, columns, 10))
    return capture.get().splitlines()


@pytest.mark.parametrize(("columns", "seen"), [(120, True), (60, False)])
def test_a_narrow_terminal_goes_without_the_totals_and_never_cuts_a_number(columns: int, seen: bool) -> None:
    board = Board()
    board.apply(event(session(1, seconds=10, down=1_000_000_000)))
    _summary, _blank, titles, line = drawn(Picture(), board, columns)[:4]
    assert (" UP  " in titles) is seen
    assert "~800.0 M" in line
    assert "…" not in line


def test_columns_stand_still_while_numbers_shrink() -> None:
    board, picture = Board(), Picture()
    board.apply(event(session(1, seconds=10, down=123_456_789)))
    before = drawn(picture, board, 120)[2]
    board.apply(event(session(1, seconds=20, down=123_456_790)))
    assert drawn(picture, board, 120)[2] == before
