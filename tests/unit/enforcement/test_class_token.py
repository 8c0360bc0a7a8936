"""The Class that names a service."""

from __future__ import annotations

from radius.class_token import TOKEN_OCTETS, ClassToken, build, parse

KEY = bytes(range(32))
NONCE = b"8 octets"


def test_a_class_of_ours_names_its_service() -> None:
    value = build(KEY, 2**40 + 7, NONCE)
    assert len(value) == TOKEN_OCTETS
    assert parse(KEY, value) == ClassToken(2**40 + 7, NONCE)


def test_a_foreign_class_says_nothing() -> None:
    value = build(KEY, 7, NONCE)
    assert parse(bytes(32), value) is None
    assert parse(KEY, b"") is None
    assert parse(KEY, b"another server's class value") is None
    assert parse(KEY, value + b"\0") is None


def test_no_octet_of_a_class_can_be_changed() -> None:
    value = build(KEY, 7, NONCE)
    for place in range(TOKEN_OCTETS):
        changed = bytearray(value)
        changed[place] ^= 1
        assert parse(KEY, bytes(changed)) is None
