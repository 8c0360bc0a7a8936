"""What has to be said to a router, and by which ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from enforcement.entitlement import Entitlement, Refusal
from enforcement.line_change import LONGEST_TIMEOUT, Wish, line_change
from enforcement.profiles import PROFILES
from enforcement.reconcile import Capabilities
from radius.codes import Type
from radius.packet import integer_attribute
from tests.unit.enforcement.entitled import entitled

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIKROTIK, GENERIC = PROFILES["mikrotik"], PROFILES["generic"]
FAST = entitled(20_000_000, 5_000_000)
SLOW = entitled(1_000_000, 1_000_000)
FENCED = SLOW._replace(address_list="blocked", walled=True, refusal=Refusal.BLOCKED)


def wish(wanted: Entitlement) -> Wish:
    return Wish(wanted, STARTED, "ana", "fast")


def test_other_rates_go_by_coa() -> None:
    found = line_change(wish(SLOW), FAST, MIKROTIK)
    assert found.attributes.endswith(b"1M/1M")
    assert found.capabilities == Capabilities(coa=True)


def test_nothing_that_differs_is_nothing_to_tell() -> None:
    assert line_change(wish(FAST), FAST, MIKROTIK).is_nothing
    assert line_change(wish(SLOW), FAST, GENERIC).is_nothing


def test_a_line_that_is_not_admitted_is_disconnected_and_that_is_not_nothing() -> None:
    found = line_change(wish(FAST._replace(admitted=False)), FAST, MIKROTIK)
    assert not found.capabilities.complete
    assert not found.is_nothing


def test_an_address_list_goes_by_the_api_and_needs_a_new_login_without_one() -> None:
    with_api = line_change(wish(FENCED), FAST, MIKROTIK, has_api=True)
    assert with_api.lists
    assert with_api.attributes.endswith(b"1M/1M")
    assert with_api.capabilities == Capabilities(coa=True, api=True, read_back=True, kick=True)
    assert not line_change(wish(FENCED), FAST, MIKROTIK).capabilities.complete


def test_an_address_list_alone_needs_no_coa() -> None:
    found = line_change(wish(FENCED), SLOW, MIKROTIK, has_api=True)
    assert (found.attributes, found.capabilities.coa, found.capabilities.api_alone) == (b"", False, True)


def test_an_address_list_is_taken_back() -> None:
    assert line_change(wish(FAST), FENCED, MIKROTIK, has_api=True).lists
    assert not line_change(wish(FAST), FENCED, MIKROTIK).capabilities.complete


def test_what_is_not_known_is_told_as_far_as_it_may_differ() -> None:
    unknown = line_change(wish(FAST), None, MIKROTIK, candidates=(FAST, SLOW))
    assert unknown.attributes.endswith(b"5M/20M")
    assert unknown.capabilities.complete
    assert not line_change(wish(FAST), None, MIKROTIK, candidates=(FAST, FENCED)).capabilities.complete


def test_the_end_of_a_session_is_told_from_its_start_and_taken_back() -> None:
    ends = FAST._replace(ends_at=STARTED + timedelta(hours=3))
    assert line_change(wish(ends), FAST, MIKROTIK).attributes == integer_attribute(Type.SESSION_TIMEOUT, 3 * 3600)
    assert line_change(wish(FAST), ends, MIKROTIK).attributes == integer_attribute(
        Type.SESSION_TIMEOUT, LONGEST_TIMEOUT
    )
    assert line_change(wish(ends), FAST, GENERIC).is_nothing
