"""What a router's own queues say of whether it obeys."""

from __future__ import annotations

import pytest

from enforcement.entitlement import Entitlement
from enforcement.read_back import OnLine, Queues, ReadBack
from tests.unit.enforcement.test_contention import entitlement

M = 1_000_000
PPP = [{"name": "ana", "service": "pppoe", "address": "10.0.0.7"}]
HOTSPOT = [{"user": "eva", "address": "10.0.0.8"}]
ANA = OnLine("ana", "10.0.0.7")
QUEUE = {"name": "<pppoe-ana>", "target": "<pppoe-ana>", "max-limit": "1M/5M", "dynamic": "true"}


@pytest.mark.parametrize(
    "queue",
    [
        QUEUE,
        {**QUEUE, "max-limit": "1000000/5000000", "limit-at": "1M/5M", "burst-limit": "0/0"},
        {**QUEUE, "burst-limit": "1M/5M"},
        {**QUEUE, "name": "x", "target": "10.0.0.7/32"},
        {**QUEUE, "target": ""},
    ],
)
def test_a_session_that_gets_what_was_told_matches(queue: dict[str, str]) -> None:
    assert Queues([queue], PPP).judge(ANA, entitlement()) is ReadBack.MATCHES


@pytest.mark.parametrize(
    ("queues", "told"),
    [
        ([QUEUE], entitlement(5 * M, 2 * M)),
        ([QUEUE], entitlement(1 * M, 5 * M)),
        ([QUEUE], entitlement(burst=8 * M)),
        ([{**QUEUE, "burst-limit": "8M/8M"}], entitlement()),
        ([], entitlement()),
        ([{**QUEUE, "dynamic": "false"}], entitlement()),
        ([QUEUE], entitlement(None, None)),
    ],
)
def test_a_session_that_gets_something_else_differs(queues: list[dict[str, str]], told: Entitlement) -> None:
    assert Queues(queues, PPP).judge(ANA, told) is ReadBack.DIFFERS


def test_a_line_without_limit_has_no_queue() -> None:
    assert Queues([], PPP).judge(ANA, entitlement(None, None)) is ReadBack.MATCHES


def test_a_burst_that_is_in_force_matches() -> None:
    bursting = {**QUEUE, "burst-limit": "8M/8M"}
    assert Queues([bursting], PPP).judge(ANA, entitlement(burst=8 * M)) is ReadBack.MATCHES


def test_a_burst_that_is_not_above_the_rate_is_not_told_and_not_missed() -> None:
    assert Queues([QUEUE], PPP).judge(ANA, entitlement(burst=1 * M)) is ReadBack.MATCHES
    upload_alone = {**QUEUE, "burst-limit": "2M/5M"}
    assert Queues([upload_alone], PPP).judge(ANA, entitlement(burst=2 * M)) is ReadBack.MATCHES


def test_a_queue_that_cannot_be_read_proves_nothing() -> None:
    for name in ("max-limit", "burst-limit"):
        assert Queues([{**QUEUE, name: "fast/fast"}], PPP).judge(ANA, entitlement()) is ReadBack.DIFFERS


@pytest.mark.parametrize("session", [OnLine("ana", "10.0.0.9"), OnLine("bob", "10.0.0.7"), OnLine("ana", None)])
def test_a_session_that_the_router_does_not_show_is_gone(session: OnLine) -> None:
    assert Queues([QUEUE], PPP).judge(session, entitlement()) is ReadBack.GONE


def test_a_hotspot_host_is_found_by_its_address() -> None:
    queues = Queues([{**QUEUE, "name": "hs", "target": "10.0.0.8/32"}], PPP, HOTSPOT)
    assert queues.judge(OnLine("eva", "10.0.0.8"), entitlement()) is ReadBack.MATCHES
