"""Hiding a password in User-Password and revealing it.

Rule: RFC 2865 §5.2: NUL-padded blocks of 16 octets, at most 128, each XORed with MD5(secret + what precedes it).
"""

from __future__ import annotations

from hashlib import md5

from domain.errors import CaudalError

BLOCK = 16
LARGEST_PASSWORD = 128
"""RFC 2865 §5.2."""


class MalformedPassword(CaudalError):
    """The peer's User-Password has an impossible length; the login is refused."""

    def __init__(self, octets: int) -> None:
        super().__init__(f"User-Password has {octets} octets; the router must send 16 to 128, a multiple of 16")
        self.octets = octets


def hide(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """Return the value of User-Password. Raise ValueError over 128 octets."""
    if len(password) > LARGEST_PASSWORD:
        raise ValueError(f"a password has at most {LARGEST_PASSWORD} octets")
    size = max(BLOCK, -(-len(password) // BLOCK) * BLOCK)
    plain = password.ljust(size, b"\0")
    hidden = b""
    before = authenticator
    for start in range(0, size, BLOCK):
        before = _xor(plain[start : start + BLOCK], md5(secret + before).digest())
        hidden += before
    return hidden


def reveal(hidden: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """Return the password, without its padding. Raise MalformedPassword."""
    size = len(hidden)
    if size == BLOCK:
        # Nearly every login: one block, without the loop.
        mask = int.from_bytes(md5(secret + authenticator).digest())
        return (int.from_bytes(hidden) ^ mask).to_bytes(BLOCK).rstrip(b"\0")
    if size == 0 or size > LARGEST_PASSWORD or size % BLOCK:
        raise MalformedPassword(size)
    chain = authenticator + hidden
    plain = b"".join(
        _xor(hidden[start : start + BLOCK], md5(secret + chain[start : start + BLOCK]).digest())
        for start in range(0, size, BLOCK)
    )
    return plain.rstrip(b"\0")


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(BLOCK)
