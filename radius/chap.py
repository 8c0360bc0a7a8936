"""Whether a CHAP response proves a password.

Rule: RFC 1994 §4.1, RFC 2865 §5.3: the response is MD5(identifier + password + challenge), compared in constant time.
"""

from __future__ import annotations

from hashlib import md5
from hmac import compare_digest

CHAP_PASSWORD_OCTETS = 17
"""The identifier and the response (RFC 2865 §5.3)."""


def response(identifier: int, challenge: bytes, password: bytes) -> bytes:
    """Return the 16 octets a client answers to `challenge`."""
    return md5(bytes((identifier,)) + password + challenge).digest()


def matches(chap_password: bytes, challenge: bytes, password: bytes) -> bool:
    """Return whether the value of CHAP-Password proves `password`; a value that is not 17 octets proves nothing."""
    if len(chap_password) != CHAP_PASSWORD_OCTETS:
        return False
    return compare_digest(md5(chap_password[:1] + password + challenge).digest(), chap_password[1:])
