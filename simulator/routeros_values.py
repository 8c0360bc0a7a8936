"""Decides how RouterOS prints a value that a client wrote: the kinds of its properties.

Rule: a kind takes the client's text and returns the box's own (`10M/20M` is printed as `10000000/20000000`), or raises
ValueError. Pairs need both their halves: what RouterOS makes of a lone one is nowhere written down, so the simulated
box refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_interface, ip_network

Kind = Callable[[str], str]

_UNITS_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_CLOCK = re.compile(r"(?:(\d+)d)?(\d+):(\d\d)(?::(\d\d))?")
_RATE = re.compile(r"(\d+)([kMG]?)")
_MULTIPLIERS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_NAME = re.compile(r"[^\x00-\x1f]*")
_FRACTION = re.compile(r"\d+(?:\.\d{1,3})?")
_MAC = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}")
_TRUE = frozenset(("yes", "true"))
_FALSE = frozenset(("no", "false"))


def words(text: str) -> str:
    """Take any text."""
    return text


def name(text: str) -> str:
    """Take a text without control characters, and not an empty one."""
    if not text or not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def flag(text: str) -> str:
    """Take yes or no."""
    if text in _TRUE:
        return "true"
    if text in _FALSE:
        return "false"
    raise ValueError(text)


def rate(text: str) -> str:
    """Take bit/s with a suffix."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return str(int(match[1]) * _MULTIPLIERS[match[2]])


def duration(text: str) -> str:
    """Take `1h30m`, `01:30:00` or seconds."""
    return show_duration(seconds(text))


def seconds(text: str) -> int:
    """Return the seconds of a duration."""
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        return days * 86_400 + hours * 3_600 + minutes * 60 + rest
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(text)
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS_SECONDS.values(), strict=True))


def show_duration(total_seconds: int) -> str:
    """Return a duration as RouterOS prints it: `3w4d12h23m12s`."""
    parts = []
    for unit, size in _UNITS_SECONDS.items():
        number, total_seconds = divmod(total_seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def address(text: str) -> str:
    """Take an address or a network; a single address is printed without its length."""
    network = ip_network(text, strict=False)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def address_or_host(text: str) -> str:
    """Take an address, a network or range, or the name of a host."""
    try:
        return address(text)
    except ValueError:
        return name(text)


def targets(text: str) -> str:
    """Take addresses (printed with their length) and interfaces, parted by commas."""
    return ",".join(target(part) for part in text.split(","))


def target(text: str) -> str:
    """Take one address, network or interface."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return name(text)


def is_network(text: str) -> bool:
    """Tell whether a target, as printed, is a network and no interface."""
    try:
        ip_interface(text)
    except ValueError:
        return False
    return True


def mac(text: str) -> str:
    """Take a MAC address."""
    if not _MAC.fullmatch(text.upper()):
        raise ValueError(text)
    return text.upper()


def fraction(text: str) -> str:
    """Take a number with at most three decimals."""
    if not _FRACTION.fullmatch(text):
        raise ValueError(text)
    return text


def within(least: int, most: int) -> Kind:
    """Return the kind of whole numbers from `least` to `most`."""

    def kind(text: str) -> str:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError(text)
        return str(int(text))

    return kind


def one_of(*choices: str) -> Kind:
    """Return the kind of a closed set of words."""

    def kind(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return kind


def some_of(*choices: str) -> Kind:
    """Return the kind of a list of words from a closed set."""
    one = one_of(*choices)
    return lambda text: ",".join(one(part) for part in text.split(",")) if text else ""


def pair(kind: Kind) -> Kind:
    """Return the kind of two values, upload and download."""

    def both(text: str) -> str:
        upload, slash, download = text.partition("/")
        if not slash:
            raise ValueError(text)
        return f"{kind(upload)}/{kind(download)}"

    return both


def optional(kind: Kind) -> Kind:
    """Return the kind that also takes nothing."""
    return lambda text: kind(text) if text else ""
