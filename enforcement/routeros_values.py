"""How RouterOS writes values, and when two of its texts say the same.

Rule: a router prints `10M` or `10000000` for one rate, `16s` or `00:00:16` for one time and `10.0.0.1` or `10.0.0.1/32`
for one target, by version; only the meaning is compared. What cannot be read is compared as the text it is. Pairs are
upload/download: RouterOS names the subscriber's upload first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

Meaning = Callable[[str], Hashable]
"""What a text says; raises ValueError for one it does not know."""

MOST_REMEMBERED = 1 << 16
"""Networks whose reading is kept: one router's lines are read several times in a row. About 20 MB."""

_RATE_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_RATE = re.compile(r"(\d+)([kMG]?)", re.ASCII).fullmatch
_CLOCK = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(\d+):(\d\d):(\d\d)(?:\.\d+)?", re.ASCII).fullmatch
_SPELLED = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII).fullmatch
_IN_SECONDS = (604_800, 86_400, 3_600, 60, 1)
_TRUE = frozenset(("true", "yes"))
_UNLIMITED = frozenset(("", "unlimited"))


def rate(text: str) -> int:
    """Return bit/s; 0 is no limit. k and M are powers of ten."""
    if text in _UNLIMITED:
        return 0
    match = _RATE(text)
    if match is None:
        raise ValueError(f"{text!r} is no rate of RouterOS")
    return int(match[1]) * _RATE_UNITS[match[2]]


def seconds(text: str) -> int:
    """Return the whole seconds of a time such as `3w4d12h23m12s`, `1d02:03:04` or `16`."""
    match = _CLOCK(text) or (_SPELLED(text) if text else None)
    if match is None:
        return int(text)
    return sum(int(number or 0) * worth for number, worth in zip(match.groups(), _IN_SECONDS, strict=False))


def pair(meaning: Meaning) -> Meaning:
    """Return the meaning of `up/down`; a single value holds for both."""

    def both(text: str) -> Hashable:
        up, slash, down = text.partition("/")
        return meaning(up), meaning(down if slash else up)

    return both


def flag(text: str) -> bool:
    """Read yes/true; all else, also nothing, is no."""
    return text in _TRUE


def words(text: str) -> frozenset[str]:
    """Return the members of a list whose order says nothing."""
    return frozenset(word for word in text.split(",") if word)


def targets(text: str) -> frozenset[str]:
    """Return the networks and interfaces of a queue's target, each network with its length."""
    return frozenset(target(word) for word in words(text))


def target(text: str) -> str:
    """Return a network with its length; anything else, an interface, is itself."""
    network = network_of(text)
    return text if network is None else str(network)


def address(text: str) -> str:
    """Return an address list's entry as RouterOS prints it: a host without length."""
    return str(network_of(text) or text).removesuffix("/32").removesuffix("/128")


@lru_cache(maxsize=MOST_REMEMBERED)
def network_of(text: str) -> IPv4Network | IPv6Network | None:
    """Return the network that `text` names; None where it is none."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def rate_limit(text: str) -> Hashable:
    """Return the meaning of a Rate-Limit string of RADIUS and DHCP: its words, the rates among them in bit/s."""
    readers: tuple[Meaning, ...] = (pair(rate), pair(rate), pair(rate), pair(seconds), int, pair(rate))
    found = text.split()
    return tuple(same(reader)(word) for reader, word in zip(readers, found, strict=False))


def same(meaning: Meaning) -> Meaning:
    """Return a meaning that takes a text it cannot read for itself."""

    def read(text: str) -> Hashable:
        try:
            return meaning(text)
        except ValueError:
            return text

    return read


def rates(up: int | None, down: int | None) -> str:
    """Write a pair of rates, None without limit; in digits, which every version reads alike."""
    return f"{up or 0}/{down or 0}"


def session_number(text: str) -> int | None:
    """Return the number in a session id; None where it has none.

    The API's `0x81300077` is RADIUS's `81300077`: the notations differ, the numbers do not.
    """
    try:
        return int(text.strip(), 16)
    except ValueError:
        return None
