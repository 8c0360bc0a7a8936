"""The Class that we give to a session and that its accounting brings back.

Rule: only a Class that we signed names a service (RFC 2865 §5.25 leaves its content to us); any other is foreign and
says nothing. Magic 4, service id 8, nonce 8, fingerprint of what the Access-Accept gave 8, and 8 octets of keyed
BLAKE2b over them (RFC 7693; half the cost of HMAC-SHA256, and every login needs one). The first form had no
fingerprint; it is still read, for sessions stay open over an upgrade.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

MAGIC = b"Cdl\x02"
NONCE_OCTETS = 8
FINGERPRINT_OCTETS = 8
SIGNATURE_OCTETS = 8
TOKEN_OCTETS = 36
NO_FINGERPRINT = bytes(FINGERPRINT_OCTETS)
"""What the plan alone gives: it has no rules, and nothing else changed what it gives."""

_FIRST_MAGIC = b"Cdl\x01"
_FIRST_OCTETS = 28
_SIGNED = Struct("!4sQ8s8s")
_FIRST_SIGNED = Struct("!4sQ8s")


class ClassToken(NamedTuple):
    """What a genuine Class says: the service that was let in, which login of it, and with what.

    No service was let in where an unknown subscriber was let into the walled garden.
    """

    service_id: int | None
    nonce: bytes
    fingerprint: bytes = NO_FINGERPRINT


def _signature(key: bytes, signed: bytes) -> bytes:
    return blake2b(signed, key=key, digest_size=SIGNATURE_OCTETS).digest()


def build(key: bytes, service_id: int | None, nonce: bytes, fingerprint: bytes = NO_FINGERPRINT) -> bytes:
    """Return the value of Class for one login; `nonce` is 8 octets that no other login of the service has."""
    signed = _SIGNED.pack(MAGIC, service_id or 0, nonce, fingerprint)
    return signed + _signature(key, signed)


def parse(key: bytes, value: bytes) -> ClassToken | None:
    """Return what a Class of ours says; None when it is not ours."""
    form = (len(value), value[:4])
    if form not in ((TOKEN_OCTETS, MAGIC), (_FIRST_OCTETS, _FIRST_MAGIC)):
        return None
    signed = value[:-SIGNATURE_OCTETS]
    if not hmac.compare_digest(_signature(key, signed), value[-SIGNATURE_OCTETS:]):
        return None
    if len(value) == TOKEN_OCTETS:
        _, service_id, nonce, fingerprint = _SIGNED.unpack(signed)
        return ClassToken(service_id or None, nonce, fingerprint)
    _, service_id, nonce = _FIRST_SIGNED.unpack(signed)
    return ClassToken(service_id, nonce)


def claimed_service(value: bytes) -> int | None:
    """Return the service that a Class names, genuine or not; None when it has not our form."""
    if value[:4] not in (MAGIC, _FIRST_MAGIC) or len(value) < _FIRST_OCTETS:
        return None
    return int.from_bytes(value[4:12]) or None
