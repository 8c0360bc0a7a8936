"""Whether a router has started again, told by its uptime."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.router_boot import Boot, boot


@pytest.mark.parametrize(
    ("uptime", "told"),
    [("1m40s", Boot(899.0, 900.5)), ("1s", Boot(998.0, 999.5)), ("0s", None), ("", None), ("soon", None)],
)
def test_the_start_lies_between_two_instants(uptime: str, told: Boot | None) -> None:
    assert boot(uptime, 1000.0, 1000.5) == told


def shown(started: float, asked_at: float, told_at: float) -> Boot | None:
    """Return what is known of a router that started at `started` and answered in the middle."""
    return boot(f"{int((asked_at + told_at) / 2 - started)}s", asked_at, told_at)


@given(st.floats(0, 1000), st.floats(1, 10**6), st.floats(0, 15), st.floats(1, 10**5), st.floats(0, 15))
def test_a_router_that_runs_on_has_not_started_again(
    started: float, first: float, first_took: float, later: float, later_took: float
) -> None:
    asked = started + first
    before = shown(started, asked, asked + first_took)
    again = shown(started, asked + first_took + later, asked + first_took + later + later_took)
    assert before is None or again is None or not again.is_after(before)


@given(st.floats(0, 1000), st.floats(1, 10**6), st.floats(30, 10**6), st.floats(1, 10**5))
def test_one_that_was_away_for_half_a_minute_has(started: float, first: float, away: float, later: float) -> None:
    before = shown(started, started + first, started + first)
    up_at = started + first + away
    again = shown(up_at, up_at + later, up_at + later)
    assert before is None or again is None or again.is_after(before)


def test_a_shade_of_difference_between_the_clocks_is_no_restart() -> None:
    assert not Boot(102.0, 103.0).is_after(Boot(99.0, 100.0))
    assert Boot(102.5, 103.0).is_after(Boot(99.0, 100.0))
