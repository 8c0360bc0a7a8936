"""Decides what RouterOS makes of a Mikrotik-Rate-Limit: the queue of a session.

Rule: `rx[/tx] [burst] [threshold] [time] [priority] [minimum]`, upload first in each pair; a missing second value is
the first, a missing threshold is the rate, a missing time is 1 s, a missing minimum is the rate and none may exceed it
(MikroTik's manual, "RADIUS"). Minima in the fifth place, as some billing systems write them, are taken as minima.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from enforcement.attributes import MIKROTIK_RATE_LIMIT
from radius.codes import Vendor
from radius.packet import Packet, readable
from simulator.rates import UNLIMITED, Rates

LOWEST_PRIORITY = 8
HIGHEST_PRIORITY = 1
_MULTIPLIERS = {"": 1, "k": 1_000, "M": 1_000_000}
_RATE = re.compile(r"(\d+)([kM]?)")
_PAIRS = 4
_MOST_WORDS = 6


class Pair(NamedTuple):
    """A value for each direction of the subscriber."""

    upload: int
    download: int


NOTHING = Pair(0, 0)


class RateLimit(NamedTuple):
    """A queue in bit/s and seconds; 0 is no limit."""

    max_limit: Pair
    burst_limit: Pair = NOTHING
    burst_threshold: Pair = NOTHING
    burst_seconds: Pair = NOTHING
    priority: int = LOWEST_PRIORITY
    limit_at: Pair = NOTHING


def read(packet: Packet) -> RateLimit | None:
    """Return the queue that `packet` asks for; None where it asks for none, ValueError where no box understands it."""
    value = packet.vendor(Vendor.MIKROTIK, MIKROTIK_RATE_LIMIT)
    return None if value is None else parse(readable(value))


def of_rates(rates: Rates | None) -> RateLimit | None:
    """Return the queue that other words for a rate make (WISPr's, Ascend's); they guarantee nothing."""
    if rates is None or rates == UNLIMITED:
        return None
    return RateLimit(Pair(rates.upload_bits_per_second or 0, rates.download_bits_per_second or 0))


def parse(text: str) -> RateLimit | None:
    """Return the queue that a Mikrotik-Rate-Limit asks for, None for an empty one."""
    words = text.split()
    if not words:
        return None
    if len(words) > _MOST_WORDS:
        raise ValueError(f"{text!r} has more than {_MOST_WORDS} words")
    pairs, (priority, minimum) = [_pair(word) for word in words[:_PAIRS]], _last_words(words[_PAIRS:])
    rate = pairs[0]
    burst = pairs[1] if len(pairs) > 1 else NOTHING
    bursts = burst != NOTHING
    limit_at = rate if minimum is None else minimum
    if any(most and least > most for least, most in zip(limit_at, rate, strict=True)):
        raise ValueError(f"{text!r} guarantees more than the rate")
    return RateLimit(
        max_limit=rate,
        burst_limit=burst,
        burst_threshold=pairs[2] if len(pairs) > 2 else rate if bursts else NOTHING,
        burst_seconds=pairs[3] if len(pairs) > 3 else Pair(1, 1) if bursts else NOTHING,
        priority=priority,
        limit_at=limit_at,
    )


def _last_words(words: list[str]) -> tuple[int, Pair | None]:
    """Return priority and minimum, of which either may be left out."""
    if not words:
        return LOWEST_PRIORITY, None
    if "/" in words[0] and len(words) == 1:
        return LOWEST_PRIORITY, _pair(words[0])
    priority = _pair(words[0]).upload
    if not HIGHEST_PRIORITY <= priority <= LOWEST_PRIORITY:
        raise ValueError(f"{words[0]!r} is no priority")
    return priority, _pair(words[1]) if len(words) > 1 else None


def _pair(word: str) -> Pair:
    upload, both, download = word.partition("/")
    return Pair(_rate(upload), _rate(download if both else upload))


def _rate(text: str) -> int:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no rate")
    return int(match[1]) * _MULTIPLIERS[match[2]]
