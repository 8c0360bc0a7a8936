"""The Class that we give to a session and that its accounting brings back.

Rule: only a Class that we signed names a service (RFC 2865 §5.25 leaves its content to us); any other is foreign and
says nothing. Magic 4, service id 8, nonce 8, and 8 octets of keyed BLAKE2b over them
(RFC 7693; half the cost of HMAC-SHA256, and every login needs one).
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

MAGIC = b"Cdl\x01"
NONCE_OCTETS = 8
SIGNATURE_OCTETS = 8
TOKEN_OCTETS = 28

_SIGNED = Struct("!4sQ8s")


class ClassToken(NamedTuple):
    """What a genuine Class says: the service that was let in, and which login of it."""

    service_id: int
    nonce: bytes


def _signature(key: bytes, signed: bytes) -> bytes:
    return blake2b(signed, key=key, digest_size=SIGNATURE_OCTETS).digest()


def build(key: bytes, service_id: int, nonce: bytes) -> bytes:
    """Return the value of Class for one login; `nonce` is 8 octets that no other login of the service has."""
    signed = _SIGNED.pack(MAGIC, service_id, nonce)
    return signed + _signature(key, signed)


def parse(key: bytes, value: bytes) -> ClassToken | None:
    """Return what a Class of ours says; None when it is not ours."""
    if len(value) != TOKEN_OCTETS or value[:4] != MAGIC:
        return None
    signed = value[:-SIGNATURE_OCTETS]
    if not hmac.compare_digest(_signature(key, signed), value[-SIGNATURE_OCTETS:]):
        return None
    _, service_id, nonce = _SIGNED.unpack(signed)
    return ClassToken(service_id, nonce)
