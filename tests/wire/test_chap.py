"""CHAP-Password against RFC 2865."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radius import chap

AUTHENTICATOR = bytes.fromhex("2aee86f08d0d55969ca5978e0d3367a2")
CHAP_PASSWORD = bytes.fromhex("16e97557c316185895f293ff6344077275")


def test_response_of_rfc_2865_section_7_2_proves_the_password() -> None:
    assert chap.matches(CHAP_PASSWORD, AUTHENTICATOR, b"arctangent")


def test_response_of_rfc_2865_section_7_2_proves_no_other_password() -> None:
    assert not chap.matches(CHAP_PASSWORD, AUTHENTICATOR, b"arctangent2")


def test_client_makes_the_response_of_rfc_2865_section_7_2() -> None:
    assert chap.response(0x16, AUTHENTICATOR, b"arctangent") == CHAP_PASSWORD[1:]


@pytest.mark.parametrize("octets", [0, 1, 16, 18])
def test_a_value_that_is_not_17_octets_proves_nothing(octets: int) -> None:
    assert not chap.matches((CHAP_PASSWORD + b"\0")[:octets], AUTHENTICATOR, b"arctangent")


@given(st.integers(0, 255), st.binary(max_size=64), st.binary(max_size=64), st.integers(0, 135))
def test_one_wrong_bit_proves_nothing(identifier: int, challenge: bytes, password: bytes, bit: int) -> None:
    value = bytes((identifier,)) + chap.response(identifier, challenge, password)
    assert chap.matches(value, challenge, password)
    wrong = (int.from_bytes(value) ^ 1 << bit).to_bytes(17)
    assert not chap.matches(wrong, challenge, password)
