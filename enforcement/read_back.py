"""Decides whether a router does to a session what it was told, from what its API shows.

Rule: the queue that RADIUS made for a session is found by the session's address or interface. A rate without limit has
no queue. Only what was told is compared: RouterOS fills in the rest by rules of its own (a minimum that is not told is
the rate).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from domain.names import login_key
from enforcement import routeros_values as values
from enforcement.entitlement import Entitlement
from enforcement.rates import rate_limit
from enforcement.routeros_entries import Row


class ReadBack(Enum):
    """What the router's own account says of a session."""

    MATCHES = "matches"
    DIFFERS = "differs"
    GONE = "gone"
    """The router has no such session."""


class OnLine(NamedTuple):
    """A session as the books have it; `address` without length."""

    login: str
    address: str | None


class Queues:
    """The dynamic queues of a router, read in one go and asked for many sessions."""

    def __init__(self, queues: Iterable[Row], ppp: Iterable[Row], hotspot: Iterable[Row] = ()) -> None:
        self._by_target: dict[str, Row] = {}
        for row in queues:
            if values.flag(row.get("dynamic", "")):
                for target in (*values.targets(row.get("target", "")), row.get("name", "")):
                    self._by_target.setdefault(target, row)
        self._interfaces = {
            (login_key(row.get("name", "")), row.get("address", "")): f"<{row.get('service')}-{row.get('name')}>"
            for row in ppp
        }
        self._hosts = {(login_key(row.get("user", "")), row.get("address", "")) for row in hotspot}

    def judge(self, session: OnLine, told: Entitlement) -> ReadBack:
        """Tell whether the router gives `session` what it was `told`."""
        place = login_key(session.login), session.address or ""
        interface = self._interfaces.get(place)
        if interface is None and place not in self._hosts:
            return ReadBack.GONE
        row = self._by_target.get(interface or "") or self._by_target.get(values.target(place[1]))
        if row is None:
            return ReadBack.MATCHES if told.download is None and told.upload is None else ReadBack.DIFFERS
        return ReadBack.MATCHES if _holds(row, told) else ReadBack.DIFFERS


def _holds(row: Mapping[str, str], told: Entitlement) -> bool:
    """Compare a queue with the Rate-Limit that RADIUS was told to send; a burst that is none shows as 0 or the rate."""
    words = rate_limit(told).split()
    rates, bursts = _pair(words[0]), _pair(words[1] if len(words) > 1 else "0/0")
    shown, shown_bursts = _pair(row.get("max-limit", "0/0")), _pair(row.get("burst-limit", "0/0"))
    if rates is None or bursts is None or rates != shown or shown_bursts is None:
        return False
    return all(
        found == burst or (not burst and found == rate)
        for rate, burst, found in zip(rates, bursts, shown_bursts, strict=True)
    )


def _pair(text: str) -> tuple[int, int] | None:
    """Return up and down in bit/s; None for what is no pair of rates."""
    up, slash, down = text.partition("/")
    try:
        return values.rate(up), values.rate(down if slash else up)
    except ValueError:
        return None
