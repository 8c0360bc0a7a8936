"""MPPE keys against RFC 3079, RFC 2548 and pyrad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import AuthPacket

from radius import mppe

NT_HASH_HASH = bytes.fromhex("41c00c584bd2d91c4017a2a12fa59f3f")
NT_RESPONSE = bytes.fromhex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
AUTHENTICATOR = bytes(range(16))
SECRET = b"the NAS's secret"

salts = st.integers(0x8000, 0xFFFF).map(lambda number: number.to_bytes(2))


def test_the_server_sends_with_the_start_key_of_rfc_3079_section_3_5_3() -> None:
    send, _receive = mppe.keys_v2(NT_HASH_HASH, NT_RESPONSE)
    assert send == bytes.fromhex("8b7cdc149b993a1ba118cb153f56dccb")


def test_the_server_receives_with_another_key() -> None:
    send, receive = mppe.keys_v2(NT_HASH_HASH, NT_RESPONSE)
    assert len(receive) == 16
    assert receive != send


def test_version_1_keys_are_a_void_lm_key_the_hash_of_the_hash_and_padding() -> None:
    assert mppe.keys_v1(NT_HASH_HASH) == bytes(8) + NT_HASH_HASH + bytes(8)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=64), salts)
def test_an_encrypted_key_is_decrypted(key: bytes, secret: bytes, salt: bytes) -> None:
    value = mppe.encrypt_key(key, secret, AUTHENTICATOR, salt)
    assert value[:2] == salt
    assert len(value) % 16 == 2
    assert mppe.decrypt_key(value, secret, AUTHENTICATOR) == key


@given(st.binary(min_size=16, max_size=16), salts)
def test_pyrad_decrypts_a_key(key: bytes, salt: bytes) -> None:
    peer = AuthPacket(secret=SECRET, authenticator=AUTHENTICATOR)
    assert peer.SaltDecrypt(mppe.encrypt_key(key, SECRET, AUTHENTICATOR, salt)) == key


@pytest.mark.parametrize("salt", [b"", b"\x80", b"\x7f\xff", b"\x80\x00\x00"])
def test_a_salt_without_its_highest_bit_or_of_another_size_is_misuse(salt: bytes) -> None:
    with pytest.raises(ValueError, match="salt"):
        mppe.encrypt_key(bytes(16), SECRET, AUTHENTICATOR, salt)


def test_an_encrypted_key_cut_at_any_octet_is_malformed() -> None:
    value = mppe.encrypt_key(bytes(16), SECRET, AUTHENTICATOR, b"\x80\x01")
    for end in range(len(value)):
        with pytest.raises(mppe.MalformedKey):
            mppe.decrypt_key(value[:end], SECRET, AUTHENTICATOR)


def test_a_key_that_claims_more_octets_than_it_has_is_malformed() -> None:
    value = bytearray(mppe.encrypt_key(bytes(15), SECRET, AUTHENTICATOR, b"\x80\x01"))
    value[2] ^= 15 ^ 16
    with pytest.raises(mppe.MalformedKey):
        mppe.decrypt_key(bytes(value), SECRET, AUTHENTICATOR)
