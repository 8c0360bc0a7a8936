"""The Class that names a service."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from radius.class_token import NO_FINGERPRINT, TOKEN_OCTETS, ClassToken, build, parse

KEY = bytes(range(32))
NONCE = b"8 octets"
FINGERPRINT = bytes.fromhex("fe00dc0ffee00001")


def of_the_first_form(service_id: int) -> bytes:
    """Return a Class as the release before this one gave it."""
    signed = b"Cdl\x01" + service_id.to_bytes(8) + NONCE
    return signed + blake2b(signed, key=KEY, digest_size=8).digest()


def test_a_class_of_ours_names_its_service_and_what_it_was_given() -> None:
    value = build(KEY, 2**40 + 7, NONCE, FINGERPRINT)
    assert len(value) == TOKEN_OCTETS
    assert parse(KEY, value) == ClassToken(2**40 + 7, NONCE, FINGERPRINT)


def test_a_plan_without_rules_leaves_no_fingerprint() -> None:
    assert parse(KEY, build(KEY, 7, NONCE)) == ClassToken(7, NONCE, bytes(8))


def test_a_class_from_before_the_upgrade_still_names_its_service() -> None:
    assert parse(KEY, of_the_first_form(7)) == ClassToken(7, NONCE, NO_FINGERPRINT)


def test_who_is_not_known_has_a_class_that_names_nobody() -> None:
    token = parse(KEY, build(KEY, None, NONCE, FINGERPRINT))
    assert token == ClassToken(None, NONCE, FINGERPRINT)


def test_a_foreign_class_says_nothing() -> None:
    value = build(KEY, 7, NONCE)
    assert parse(bytes(32), value) is None
    assert parse(KEY, b"") is None
    assert parse(KEY, b"another server's class value") is None
    assert parse(KEY, value + b"\0") is None
    assert parse(KEY, value[:28]) is None


@pytest.mark.parametrize("value", [build(KEY, 7, NONCE, FINGERPRINT), of_the_first_form(7)])
def test_no_octet_of_a_class_can_be_changed(value: bytes) -> None:
    for place in range(len(value)):
        changed = bytearray(value)
        changed[place] ^= 1
        assert parse(KEY, bytes(changed)) is None
