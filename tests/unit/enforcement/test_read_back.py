"""What a router's own queues say of whether it obeys."""

from __future__ import annotations

import pytest

from enforcement.entitlement import Entitlement
from enforcement.read_back import OnLine, Queues, ReadBack, SessionRows, is_listed
from tests.unit.enforcement.test_contention import entitlement

M = 1_000_000
PPP = [{"name": "ana", "service": "pppoe", "address": "10.0.0.7"}]
HOTSPOT = [{"user": "eva", "address": "10.0.0.8"}]
ANA = OnLine("ana", "10.0.0.7")
LEASE = {"address": "10.0.0.9", "mac-address": "02:00:00:00:00:09", "dynamic": "true"}
QUEUE = {"name": "<pppoe-ana>", "target": "<pppoe-ana>", "max-limit": "1M/5M", "dynamic": "true"}


SHOWN = SessionRows(PPP, HOTSPOT, [LEASE])


def read(queues: list[dict[str, str]], sessions: SessionRows = SHOWN) -> Queues:
    """Return what a router showed."""
    return Queues(queues, sessions)


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
    assert read([queue]).judge(ANA, entitlement()) is ReadBack.MATCHES


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
    assert read(queues).judge(ANA, told) is ReadBack.DIFFERS


def test_a_line_without_limit_has_no_queue() -> None:
    assert read([]).judge(ANA, entitlement(None, None)) is ReadBack.MATCHES


def test_a_burst_that_is_in_force_matches() -> None:
    bursting = {**QUEUE, "burst-limit": "8M/8M"}
    assert read([bursting]).judge(ANA, entitlement(burst=8 * M)) is ReadBack.MATCHES


def test_a_burst_that_is_not_above_the_rate_is_not_told_and_not_missed() -> None:
    assert read([QUEUE]).judge(ANA, entitlement(burst=1 * M)) is ReadBack.MATCHES
    upload_alone = {**QUEUE, "burst-limit": "2M/5M"}
    assert read([upload_alone]).judge(ANA, entitlement(burst=2 * M)) is ReadBack.MATCHES


def test_a_queue_that_cannot_be_read_proves_nothing() -> None:
    for name in ("max-limit", "burst-limit"):
        assert read([{**QUEUE, name: "fast/fast"}]).judge(ANA, entitlement()) is ReadBack.DIFFERS


@pytest.mark.parametrize("session", [OnLine("ana", "10.0.0.9"), OnLine("bob", "10.0.0.7"), OnLine("ana", None)])
def test_a_session_that_the_router_does_not_show_is_gone(session: OnLine) -> None:
    assert read([QUEUE]).judge(session, entitlement()) is ReadBack.GONE


def test_a_hotspot_host_is_found_by_its_address() -> None:
    queues = read([{**QUEUE, "name": "hs", "target": "10.0.0.8/32"}])
    assert queues.judge(OnLine("eva", "10.0.0.8"), entitlement()) is ReadBack.MATCHES


OF_A_LEASE = OnLine("02-00-00-00-00-09", "10.0.0.9", "83300009")


def test_a_lease_of_radius_is_found_by_its_address_and_mac() -> None:
    slow = {**QUEUE, "name": "dhcp-ds<02:00:00:00:00:09>", "target": "10.0.0.9/32"}
    assert read([slow]).judge(OF_A_LEASE, entitlement()) is ReadBack.MATCHES
    assert read([slow]).judge(OF_A_LEASE, entitlement(M, M)) is ReadBack.DIFFERS
    named = OF_A_LEASE._replace(login="circuit 7")
    assert read([slow]).judge(named, entitlement()) is ReadBack.MATCHES


@pytest.mark.parametrize(
    "lease", [{**LEASE, "dynamic": "false"}, {**LEASE, "address": "10.0.0.8"}, {**LEASE, "mac-address": "02:FF"}]
)
def test_a_lease_of_somebody_else_is_not_the_session(lease: dict[str, str]) -> None:
    assert read([], SHOWN._replace(leases=[lease])).judge(OF_A_LEASE, entitlement()) is ReadBack.GONE


def test_a_ppp_session_is_found_by_its_number_whatever_the_books_call_it() -> None:
    numbered = SHOWN._replace(ppp=[{**PPP[0], "session-id": "0x81300077", "address": "0.0.0.0"}])
    assert read([QUEUE], numbered).judge(OnLine("other", None, "81300077"), entitlement()) is ReadBack.MATCHES
    assert read([QUEUE], numbered).judge(OnLine("ana", "10.0.0.7", "81300078"), entitlement()) is ReadBack.GONE


@pytest.mark.parametrize(
    ("hidden", "session", "judged"),
    [
        ("ppp", OnLine("bob", "10.0.0.1", "81300001"), ReadBack.UNSEEN),
        ("ppp", OnLine("bob", "10.0.0.1", "80300001"), ReadBack.GONE),
        ("hotspot", OnLine("bob", "10.0.0.1", "80300001"), ReadBack.UNSEEN),
        ("leases", OF_A_LEASE, ReadBack.UNSEEN),
        ("leases", OnLine("bob", "10.0.0.1", "81300001"), ReadBack.GONE),
        ("hotspot", OnLine("bob", "10.0.0.1", "of another kind"), ReadBack.UNSEEN),
    ],
)
def test_what_a_menu_does_not_show_is_gone_only_where_the_menu_was_shown(
    hidden: str, session: OnLine, judged: ReadBack
) -> None:
    assert read([QUEUE], SHOWN._replace(**{hidden: None})).judge(session, entitlement()) is judged


@pytest.mark.parametrize("acct_session_id", ["81300077", "80300077", "83300077", "of another kind", None])
def test_most_sessions_are_listed_by_a_menu(acct_session_id: str | None) -> None:
    assert is_listed(acct_session_id)


@pytest.mark.parametrize("acct_session_id", ["82300077", "86300077"])
def test_sessions_of_access_points_and_switches_are_listed_nowhere(acct_session_id: str) -> None:
    assert not is_listed(acct_session_id)
