"""Codes of vouchers: how they are made, written, read and kept.

Rule: pure. A code is drawn from letters and digits that nobody takes for each other, without vowels, so that it spells
nothing; their number is prime, so the last sign tells every sign that is wrong and every two that changed places. It
has 67 bits of chance. Kept is only a digest under a key: whoever reads the database can redeem nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from billing.errors import BillingError

ALPHABET = "23456789CDFHJKMNPRTVWXY"
SIGNS = 16
"""With the one that checks."""
GROUP = 4
_VALUES = {sign: value for value, sign in enumerate(ALPHABET)}
_IGNORED = str.maketrans("", "", " -.\t\n")


class NoCode(BillingError):
    """What was written cannot be the code of a voucher."""

    def __init__(self) -> None:
        super().__init__(
            f"this is no code of a voucher: it has {SIGNS} signs, none of them O, 0, I, 1 or a vowel; read it again"
        )


def new_code(draw: Callable[[str], str]) -> str:
    """Return a new code; `draw` returns one sign of those it is given, by chance that nobody can foresee."""
    drawn = "".join(draw(ALPHABET) for _ in range(SIGNS - 1))
    return drawn + ALPHABET[-_weighed(drawn) * pow(SIGNS, -1, len(ALPHABET)) % len(ALPHABET)]


def read_code(written: str) -> str:
    """Return the signs of a code as people write it. Raise NoCode."""
    code = written.upper().translate(_IGNORED)
    if len(code) != SIGNS or not _VALUES.keys() >= {*code} or _weighed(code) % len(ALPHABET):
        raise NoCode
    return code


def grouped(code: str) -> str:
    """Return a code as it is printed."""
    return "-".join(code[at : at + GROUP] for at in range(0, len(code), GROUP))


def digest(key: bytes, code: str) -> bytes:
    """Return what is kept of a code: HMAC-SHA-256 (RFC 2104)."""
    return hmac.digest(key, code.encode(), hashlib.sha256)


def _weighed(code: str) -> int:
    return sum(place * _VALUES[sign] for place, sign in enumerate(code, 1))
