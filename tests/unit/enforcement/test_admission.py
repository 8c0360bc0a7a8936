"""Who may pass once the password is proved."""

from __future__ import annotations

from typing import Any

import pytest

from domain.instants import Microseconds
from enforcement.admission import (
    REPLY_MESSAGES,
    RefusalReason,
    Seats,
    calling_mac,
    client_key,
    objection,
)
from radius.packet import attribute, integer_attribute
from tests.unit.enforcement.access import named

MAC = "00:E1:0C:38:C8:F8"
PORTS = (87, 5)
WELCOME: dict[str, Any] = {
    "enabled": True,
    "expires_us": None,
    "router_ids": None,
    "macs": None,
    "router_id": 1,
    "client_mac": None,
    "now_us": Microseconds(1000),
}


def test_a_service_without_restrictions_passes() -> None:
    assert objection(**WELCOME) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"enabled": False}, RefusalReason.DISABLED),
        ({"expires_us": 1000}, RefusalReason.EXPIRED),
        ({"expires_us": 1001}, None),
        ({"router_ids": [2, 3]}, RefusalReason.WRONG_ROUTER),
        ({"router_ids": [1]}, None),
        ({"macs": [MAC]}, RefusalReason.WRONG_MAC),
        ({"macs": [MAC], "client_mac": "00:00:00:00:00:01"}, RefusalReason.WRONG_MAC),
        ({"macs": [MAC], "client_mac": MAC}, None),
    ],
)
def test_each_restriction_has_its_reason(change: dict[str, Any], reason: RefusalReason | None) -> None:
    assert objection(**{**WELCOME, **change}) is reason


def test_the_subscriber_does_not_learn_whether_the_name_or_the_password_was_wrong() -> None:
    assert REPLY_MESSAGES[RefusalReason.UNKNOWN_USER] == REPLY_MESSAGES[RefusalReason.WRONG_PASSWORD]
    assert set(REPLY_MESSAGES) == set(RefusalReason)


def test_a_line_is_its_mac_wherever_it_is_plugged_in() -> None:
    packet = named("alice", attribute(31, b"1:0:e1:c:38:c8:f8"), attribute(87, b"ether2"))
    assert calling_mac(packet) == MAC
    assert client_key(packet, 4, calling_mac(packet), PORTS) == MAC


def test_a_line_without_mac_is_its_port_on_its_router() -> None:
    packet = named("alice", attribute(31, b"192.0.2.7"), attribute(87, b"0/0/1.100"), integer_attribute(5, 2**31 + 1))
    assert client_key(packet, 4, calling_mac(packet), PORTS) == "4/0/0/1.100"
    packet = named("alice", integer_attribute(5, 2**31 + 1))
    assert client_key(packet, 4, None, PORTS) == f"4/{2**31 + 1}"


def test_a_request_may_tell_nothing_about_its_line() -> None:
    assert client_key(named("alice"), 4, None, PORTS) is None


def test_the_last_place_is_given_once() -> None:
    seats = Seats(1)
    assert seats.take("a")
    assert not seats.take("b")


def test_a_line_that_comes_back_takes_its_own_place() -> None:
    seats = Seats(1)
    seats.occupy("session 1", "a")
    seats.expect("a")
    assert seats.take("a")
    assert seats.take("a")
    assert not seats.take("b")


def test_an_accept_that_was_confirmed_is_not_counted_twice() -> None:
    seats = Seats(2)
    seats.expect("a")
    seats.occupy("session 1", "a")
    assert seats.take("b")
    assert not seats.take("c")


def test_an_accept_without_start_holds_its_place() -> None:
    seats = Seats(1)
    seats.expect("a")
    assert not seats.take("b")


def test_the_links_of_a_bundle_are_one_session() -> None:
    seats = Seats(2)
    seats.occupy("bundle", "a")
    seats.occupy("bundle", "b")
    assert seats.take("c")
    assert not seats.take("d")
    single = Seats(1)
    single.occupy("bundle", "a")
    assert single.take("b", "bundle")


def test_a_session_that_names_no_line_is_everybody_elses() -> None:
    seats = Seats(1)
    seats.occupy("session 1", None)
    assert not seats.take("a")


def test_a_lowered_limit_holds_for_lines_that_come_back() -> None:
    seats = Seats(1)
    seats.occupy("session 1", "a")
    seats.occupy("session 2", "b")
    assert not seats.take("a")
