"""What counts as one and the same login name or hardware address.

Rule: a name that looks like a MAC is that MAC in whatever notation the router or the operator prefers; every other
name is kept as it is, in Unicode NFC without surrounding space, and its case matters.
"""

from __future__ import annotations

import re
from unicodedata import is_normalized, normalize

_CANONICAL = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){5}").fullmatch
_SHORTEST_MAC = len("1:2:3:4:5:6")
_LONGEST_MAC = len("01:aa:bb:cc:dd:ee:ff")

_PLAIN = re.compile(r"[0-9A-Fa-f]{12}").fullmatch
_HALVES = re.compile(r"[0-9A-Fa-f]{6}[-:.][0-9A-Fa-f]{6}").fullmatch
_TRIPLES = re.compile(r"[0-9A-Fa-f]{4}([-.:])[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}").fullmatch
_OCTETS = re.compile(r"(?:0?1([-:]))?[0-9A-Fa-f]{1,2}([-:])[0-9A-Fa-f]{1,2}(?:\2[0-9A-Fa-f]{1,2}){4}").fullmatch
_SEPARATORS = str.maketrans("", "", "-:.")


def login_key(text: str) -> str:
    """Return the one form under which the login `text` is kept, at provisioning and at login alike."""
    text = text.strip()
    size = len(text)
    if _SHORTEST_MAC <= size <= _LONGEST_MAC:
        address = mac(text)
        if address is not None:
            return address
    if text.isascii() or is_normalized("NFC", text):
        return text
    return normalize("NFC", text)


def is_mac(key: str) -> bool:
    """Tell whether a login key is a MAC."""
    return _CANONICAL(key) is not None


def mac(text: str) -> str | None:
    """Return `text` as `AA:BB:CC:DD:EE:FF`, or None when it is no MAC.

    Known: colons or dashes with or without leading zeros, three groups of four, two of six, none at all, and the DHCP
    client identifier `1:0:e1:c:38:c8:f8`.
    """
    if _CANONICAL(text):
        return text
    size = len(text)
    if size < _SHORTEST_MAC or size > _LONGEST_MAC:
        return None
    if _PLAIN(text) or _HALVES(text) or _TRIPLES(text):
        digits = text.translate(_SEPARATORS)
    else:
        match = _OCTETS(text)
        if match is None or match[1] not in (None, match[2]):
            return None
        groups = text.split(match[2])
        digits = "".join([group.zfill(2) for group in groups[-6:]])
    digits = digits.upper()
    return ":".join([digits[at : at + 2] for at in range(0, 12, 2)])


def notations(key: str) -> tuple[str, ...]:
    """Return the forms in which routers write the login `key`: of a MAC all that are usual, else the name itself."""
    if not is_mac(key):
        return (key,)
    octets = key.split(":")
    forms = [
        *(sign.join(octets) for sign in (":", "-", "")),
        *(sign.join("".join(octets[at : at + 2]) for at in (0, 2, 4)) for sign in ".-:"),
        *(sign.join(("".join(octets[:3]), "".join(octets[3:]))) for sign in "-:."),
    ]
    short = [f"{int(octet, 16):x}" for octet in octets]
    forms += [f"{before}{sign.join(each)}" for sign in ":-" for before, each in ((f"1{sign}", short), ("", short))]
    return tuple(dict.fromkeys([*forms, *(form.lower() for form in forms)]))
