"""What counts as one login."""

from __future__ import annotations

import pytest

from domain.names import is_mac, login_key, mac, notations

ADDRESS = "01:00:E1:0C:38:C8"


@pytest.mark.parametrize(
    "text",
    [
        "01:00:E1:0C:38:C8",
        "01:00:e1:0c:38:c8",
        "01-00-E1-0C-38-C8",
        "0100.e10c.38c8",
        "0100-e10c-38c8",
        "0100e1-0c38c8",
        "0100e10c38c8",
        "1:0:e1:c:38:c8",
        "1:1:0:e1:c:38:c8",
        "01:01:00:e1:0c:38:c8",
        " 0100E10C38C8\n",
    ],
)
def test_a_mac_is_one_name_in_every_notation(text: str) -> None:
    assert login_key(text) == ADDRESS
    assert mac(text.strip()) == ADDRESS


def test_the_client_identifier_of_a_dhcp_lease_is_its_mac() -> None:
    assert mac("1:0:e1:c:38:c8:f8") == "00:E1:0C:38:C8:F8"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "Alice",
        "alice@example.net",
        "01:00:E1:0C:38",
        "01:00:E1:0C:38:C8:F8:00",
        "2:0:e1:c:38:c8:f8",
        "01:00-E1:0C-38:C8",
        "1-0:e1:c:38:c8:f8",
        "0100e10c38cg",
        "0100.e10c-38c8",
        "192.168.100.200",
        "EXAMPLE\\alice",
    ],
)
def test_every_other_name_is_kept_as_it_is(text: str) -> None:
    assert login_key(text) == text
    assert mac(text) is None


def test_case_matters_except_in_a_mac() -> None:
    assert login_key("Alice") != login_key("alice")


def test_composed_and_decomposed_letters_are_one_name() -> None:
    assert login_key("jose\u0301") == login_key("jos\u00e9") == "jos\u00e9"


def test_surrounding_space_is_no_part_of_a_name() -> None:
    assert login_key("  alice\t") == "alice"


def test_a_key_is_its_own_key() -> None:
    for text in ("alice", ADDRESS, "jos\u00e9"):
        assert login_key(login_key(text)) == login_key(text)


def test_only_the_canonical_form_is_told_as_mac() -> None:
    assert is_mac(ADDRESS)
    assert not is_mac(ADDRESS.lower())
    assert not is_mac("alice")


def test_every_notation_of_a_mac_is_that_mac_and_a_name_has_one() -> None:
    forms = notations(ADDRESS)
    assert {login_key(form) for form in forms} == {ADDRESS}
    assert {"0100e10c38c8", "0100.e10c.38c8", "01-00-E1-0C-38-C8", "1:0:e1:c:38:c8", "0100e1-0c38c8"} <= {*forms}
    assert notations("ana@example") == ("ana@example",)
