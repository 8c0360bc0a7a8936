"""How a line that nears a threshold is watched and stopped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.plan_rules import (
    Blocking,
    BlockPolicy,
    Cap,
    CapAction,
    Change,
    ChangeKind,
    Counted,
    CountingWindow,
    Direction,
    Fup,
    FupStep,
    Period,
    PlanRules,
    WalledGarden,
    Window,
)
from enforcement.entitlement import Entitlement
from enforcement.profiles import PROFILES
from enforcement.standing import Counter, Standing, Usage
from enforcement.thresholds import (
    LEAST_INTERIM_SECONDS,
    Crossing,
    interim_seconds,
    next_crossing,
    octet_limits,
    raised_limits,
)
from tests.unit.enforcement.entitled import entitled, read, read_parts
from tests.unit.enforcement.test_reply import PLAN

MIKROTIK, CISCO = PROFILES["mikrotik"], PROFILES["cisco"]
GIB = 1 << 30


def nearing(octets_left: int | None, rate: int | None = 100_000_000, **more: Any) -> Entitlement:
    """Return a line that may use so many octets of download until something changes."""
    return entitled(rate, rate, octets_left=octets_left, **{"left_direction": Direction.DOWN, **more})


@pytest.mark.parametrize(
    ("rate", "octets_left", "seconds"),
    [
        (100_000_000, None, 300),
        (100_000_000, GIB, 60),
        (100_000_000, 0, 60),
        (1_000_000_000, 100 * GIB, 60),
        (50_000_000, GIB, 120),
        (10_000_000, GIB, 300),
        (None, 10_000 * GIB, 60),
    ],
)
def test_the_interim_interval_shrinks_near_a_threshold(rate: int | None, octets_left: int | None, seconds: int) -> None:
    for profile in (MIKROTIK, CISCO):
        assert interim_seconds(nearing(octets_left, rate), 300, profile) == seconds


def test_a_far_threshold_leaves_the_usual_interval_where_the_router_is_the_backstop() -> None:
    assert interim_seconds(nearing(2_000 * GIB), 600, MIKROTIK) == 600
    assert interim_seconds(nearing(2_000 * GIB), 600, CISCO) == 60


@given(st.integers(0, 10**15), st.integers(1, 10**11) | st.none(), st.integers(0, 86_400))
def test_no_interval_is_below_a_minute_or_above_the_usual(octets_left: int, rate: int | None, usual: int) -> None:
    seconds = interim_seconds(nearing(octets_left, rate), usual, MIKROTIK)
    assert LEAST_INTERIM_SECONDS <= seconds <= max(usual, LEAST_INTERIM_SECONDS)


@given(st.integers(1, 10**15), st.sampled_from(sorted(PROFILES)), st.booleans(), st.integers(60, 3600))
def test_a_line_of_100_mbit_s_overshoots_by_less_than_60_s_of_its_traffic(
    octets_left: int, name: str, stops: bool, usual: int
) -> None:
    line = nearing(octets_left)
    profile = PROFILES[name]
    by_interim = interim_seconds(line, usual, profile) * 100_000_000 // 8
    limits = {
        kind: int.from_bytes(value)
        for _, kind, value in read_parts(octet_limits(line, Crossing(octets_left, stops), profile))
    }
    by_limit = (limits[15] << 32 | limits[2]) - octets_left if limits else by_interim
    assert min(by_interim, by_limit) <= 60 * 100_000_000 // 8


@pytest.mark.parametrize(
    ("direction", "kinds"),
    [(Direction.UP, [1, 14]), (Direction.DOWN, [2, 15]), (Direction.BOTH, [17, 18, 1, 14, 2, 15])],
)
def test_recv_is_the_upload_and_xmit_the_download(direction: Direction, kinds: list[int]) -> None:
    told = read_parts(octet_limits(nearing(5 * GIB, left_direction=direction), Crossing(5 * GIB, True), MIKROTIK))
    assert [kind for _, kind, _ in told] == kinds
    assert {vendor for vendor, _, _ in told} == {14988}


@pytest.mark.parametrize("limit", [2**32 - 1, 2**32, 2**32 + 1, 5 * 2**32 + 7, 2**31])
def test_both_words_of_a_limit_are_written(limit: int) -> None:
    beyond = 45 * 8_000_000 // 8
    line = nearing(limit - beyond, 8_000_000)
    assert read_parts(octet_limits(line, Crossing(limit - beyond, True), MIKROTIK)) == [
        (14988, 2, (limit % 2**32).to_bytes(4)),
        (14988, 15, (limit >> 32).to_bytes(4)),
    ]


def test_a_limit_beyond_all_counters_is_the_largest() -> None:
    (_, low), (_, high) = octet_limits(nearing(2**70), Crossing(2**70, True), MIKROTIK)
    assert low.endswith(b"\xff" * 4)
    assert high.endswith(b"\xff" * 4)


def test_a_line_that_is_only_slowed_is_not_cut_by_its_router() -> None:
    assert octet_limits(nearing(GIB), Crossing(GIB, False), MIKROTIK) == []
    assert octet_limits(nearing(GIB), Crossing(GIB, True), MIKROTIK) != []
    assert octet_limits(nearing(2_000 * GIB), Crossing(2_000 * GIB, False), MIKROTIK) != []


BEYOND = 45 * 1_000_000
"""Of a line of 8 Mbit/s."""


@pytest.mark.parametrize(
    ("direction", "told"),
    [
        (Direction.UP, [(1, 3 + 100 + BEYOND)]),
        (Direction.DOWN, [(2, 5 + 100 + BEYOND)]),
        (Direction.BOTH, [(1, 3 + 100 + 2 * BEYOND), (2, 5 + 100 + 2 * BEYOND)]),
    ],
)
def test_limits_are_raised_from_where_the_session_stands(direction: Direction, told: list[tuple[int, int]]) -> None:
    line = nearing(100, 8_000_000, left_direction=direction)
    raised = read(raised_limits(line, Crossing(100, True), MIKROTIK, up=3, down=5))
    assert raised == [(14988, kind, limit.to_bytes(4)) for kind, limit in told], "what is listed as changeable, alone"


def test_a_limit_that_needs_its_gigawords_is_not_raised() -> None:
    line = nearing(100, 8_000_000)
    used = 2**32 - 1 - 100 - BEYOND
    assert raised_limits(line, Crossing(100, True), MIKROTIK, up=0, down=used) != b""
    assert raised_limits(line, Crossing(100, True), MIKROTIK, up=0, down=used + 1) == b""
    assert raised_limits(line, Crossing(100, True), CISCO, up=0, down=0) == b""
    assert raised_limits(line, Crossing(100, False), MIKROTIK, up=0, down=0) == b"", "it had none at its login"
    assert raised_limits(line, None, MIKROTIK, up=0, down=0) == b""


def test_only_a_router_that_knows_limits_gets_one() -> None:
    assert octet_limits(nearing(GIB), Crossing(GIB, True), CISCO) == []
    assert octet_limits(nearing(None), None, MIKROTIK) == []


NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BLOCKS = Cap(100 * GIB)
SLOWS = replace(BLOCKS, action=CapAction.FIXED, change=Change(ChangeKind.FIXED, 1_000_000, 1_000_000))
CHARGES = replace(BLOCKS, action=CapAction.OVERAGE)
STEP = FupStep(Period.MONTH, Change(ChangeKind.PERCENT, percent=50), above_octets=40 * GIB)
REJECTS = Blocking()
WALLS = Blocking(BlockPolicy.WALLED_GARDEN, garden=WalledGarden(address_list="unpaid"))


def crossing(rules: PlanRules, used: int | None = None, blocking: Blocking = REJECTS) -> Crossing | None:
    """Return the next crossing of a service that used so much this month."""
    usage = None
    if used is not None:
        month = Counter(datetime(2026, 3, 1, tzinfo=UTC), 0, used)
        usage = Usage(NOW, Counter(NOW), Counter(NOW), month)
    return next_crossing(None, replace(PLAN, rules=rules), blocking, Standing(1, usage=usage), UTC, NOW)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (PlanRules(), None),
        (PlanRules(cap=BLOCKS), Crossing(100 * GIB, True)),
        (PlanRules(cap=SLOWS), Crossing(100 * GIB, False)),
        (PlanRules(cap=CHARGES), None),
        (PlanRules(cap=BLOCKS, fup=Fup((STEP,))), Crossing(40 * GIB, False)),
        (PlanRules(cap=replace(BLOCKS, direction=Direction.UP)), Crossing(100 * GIB, True)),
    ],
)
def test_warnings_are_no_crossings(rules: PlanRules, found: Crossing | None) -> None:
    assert crossing(rules) == found


def test_what_was_used_is_nearer_to_the_crossing() -> None:
    assert crossing(PlanRules(cap=BLOCKS), used=90 * GIB) == Crossing(10 * GIB, True)
    assert crossing(PlanRules(cap=BLOCKS, fup=Fup((STEP,))), used=50 * GIB) == Crossing(50 * GIB, True)


def test_a_line_stops_at_the_walled_garden_too() -> None:
    assert crossing(PlanRules(cap=BLOCKS), blocking=WALLS) == Crossing(100 * GIB, True)


def test_octets_that_may_count_double_cross_twice_as_early() -> None:
    double = PlanRules(cap=BLOCKS, counting=(CountingWindow(Window(), 200),))
    found = crossing(double)
    assert found is not None
    assert found.stops
    assert abs(found.octets - 50 * GIB) <= 4
    on_line = PlanRules(cap=BLOCKS, counting=(CountingWindow(Window(), 200, Counted.TIME),))
    assert crossing(on_line) == crossing(PlanRules(cap=BLOCKS))


def test_a_threshold_that_counts_for_ever_is_crossed_once() -> None:
    ever = PlanRules(cap=replace(BLOCKS, period=Period.EVER))
    assert crossing(ever) == Crossing(100 * GIB, True)
