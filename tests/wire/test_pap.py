"""User-Password against RFC 2865 and pyrad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import AuthPacket

from radius import pap

SECRET = b"xyzzy5461"
AUTHENTICATOR = bytes.fromhex("0f403f9473978057bd83d5cb98f4227a")
HIDDEN = bytes.fromhex("0dbe708d93d413ce3196e43f782a0aee")

passwords = st.binary(max_size=128).map(lambda octets: octets.rstrip(b"\0"))


def test_password_of_rfc_2865_section_7_1_is_hidden_as_printed() -> None:
    assert pap.hide(b"arctangent", SECRET, AUTHENTICATOR) == HIDDEN


def test_password_of_rfc_2865_section_7_1_is_revealed() -> None:
    assert pap.reveal(HIDDEN, SECRET, AUTHENTICATOR) == b"arctangent"


@given(passwords, st.binary(min_size=1, max_size=64), st.binary(min_size=16, max_size=16))
def test_a_hidden_password_is_revealed_whatever_its_octets(
    password: bytes, secret: bytes, authenticator: bytes
) -> None:
    assert pap.reveal(pap.hide(password, secret, authenticator), secret, authenticator) == password


@given(passwords.filter(bool), st.binary(min_size=16, max_size=16))
def test_hiding_agrees_with_pyrad(password: bytes, authenticator: bytes) -> None:
    packet = AuthPacket(secret=SECRET, authenticator=authenticator)
    assert pap.hide(password, SECRET, authenticator) == packet.PwCrypt(password)


def test_an_empty_password_is_one_block() -> None:
    hidden = pap.hide(b"", SECRET, AUTHENTICATOR)
    assert len(hidden) == 16
    assert pap.reveal(hidden, SECRET, AUTHENTICATOR) == b""


def test_only_trailing_nuls_are_padding() -> None:
    assert pap.reveal(pap.hide(b"\0a\0b\0\0", SECRET, AUTHENTICATOR), SECRET, AUTHENTICATOR) == b"\0a\0b"


@pytest.mark.parametrize("octets", [0, 1, 15, 17, 31, 127, 129, 144])
def test_an_impossible_length_is_the_peers_fault(octets: int) -> None:
    with pytest.raises(pap.MalformedPassword) as caught:
        pap.reveal(bytes(octets), SECRET, AUTHENTICATOR)
    assert caught.value.octets == octets


def test_a_password_over_128_octets_is_not_cut() -> None:
    with pytest.raises(ValueError, match="128"):
        pap.hide(bytes(129), SECRET, AUTHENTICATOR)
