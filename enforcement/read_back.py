"""Decides whether a router does to a session what it was told, from what its API shows.

Rule: the session is found in the menu of its kind, by its number where both sides give one, else by login and address;
a menu that the router did not show proves no absence. The queue that RADIUS made for it is found by address or
interface. A rate without limit has no queue. Only what was told is compared: RouterOS fills in the rest by rules of
its own (a minimum that is not told is the rate).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from domain.names import is_mac, login_key
from enforcement import routeros_values as values
from enforcement.entitlement import Entitlement
from enforcement.rates import rate_limit
from enforcement.routeros_entries import Row
from enforcement.session_truth import Kind, kind_of


class ReadBack(Enum):
    """What the router's own account says of a session."""

    MATCHES = "matches"
    DIFFERS = "differs"
    GONE = "gone"
    """The router has no such session."""
    UNSEEN = "unseen"
    """Where it would stand was not shown."""


class OnLine(NamedTuple):
    """A session as the books have it: its User-Name, its address without length, its Acct-Session-Id."""

    login: str
    address: str | None
    acct_session_id: str | None = None


class SessionRows(NamedTuple):
    """The menus that list sessions; None for one that the router did not show."""

    ppp: Iterable[Row] | None
    hotspot: Iterable[Row] | None
    leases: Iterable[Row] | None
    """Of the DHCP servers."""


def is_listed(acct_session_id: str | None) -> bool:
    """Tell whether a menu lists sessions of that kind."""
    return kind_of(acct_session_id) not in (Kind.WIRELESS, Kind.DOT1X)


def is_ppp(row: Row, session: OnLine) -> bool:
    """Tell whether a row of `/ppp/active` is `session`: numbers are compared where both sides give one."""
    shown, ours = values.session_number(row.get("session-id", "")), values.session_number(session.acct_session_id or "")
    if shown is not None and ours is not None:
        return shown == ours
    return login_key(row.get("name", "")) == login_key(session.login) and row.get("address") == session.address


def is_host(row: Row, session: OnLine) -> bool:
    """Tell whether a row of `/ip/hotspot/active` is `session`."""
    return login_key(row.get("user", "")) == login_key(session.login) and row.get("address") == session.address


def is_lease(row: Row, session: OnLine) -> bool:
    """Tell whether a row of `/ip/dhcp-server/lease` is `session`; what an operator entered is none.

    The User-Name is the client's MAC, unless the router was told to send another name.
    """
    if not values.flag(row.get("dynamic", "")) or session.address is None or row.get("address") != session.address:
        return False
    key = login_key(session.login)
    if not is_mac(key):
        return kind_of(session.acct_session_id) is Kind.DHCP
    return login_key(row.get("mac-address", "")) == key


class Queues:
    """The dynamic queues of a router, read in one go and asked for many sessions."""

    def __init__(self, queues: Iterable[Row], sessions: SessionRows) -> None:
        self._by_target: dict[str, Row] = {}
        for row in queues:
            if values.flag(row.get("dynamic", "")):
                for target in (*values.targets(row.get("target", "")), row.get("name", "")):
                    self._by_target.setdefault(target, row)
        self._unshown = {
            kind
            for kind, rows in ((Kind.PPP, sessions.ppp), (Kind.HOTSPOT, sessions.hotspot), (Kind.DHCP, sessions.leases))
            if rows is None
        }
        self._ppp = _by_place(sessions.ppp or (), "name")
        self._numbers = {
            number: row
            for rows in self._ppp.values()
            for row in rows
            if (number := values.session_number(row.get("session-id", ""))) is not None
        }
        self._hosts = _by_place(sessions.hotspot or (), "user")
        self._leases = {row.get("address", ""): row for row in sessions.leases or ()}

    def judge(self, session: OnLine, told: Entitlement) -> ReadBack:
        """Tell whether the router gives `session` what it was `told`."""
        shown = self._find(session)
        if shown is None:
            return ReadBack.UNSEEN if self._may_be_hidden(session) else ReadBack.GONE
        interface = f"<{shown.get('service')}-{shown.get('name')}>"
        row = self._by_target.get(interface) or self._by_target.get(
            values.target(session.address or shown.get("address", ""))
        )
        if row is None:
            return ReadBack.MATCHES if told.download is None and told.upload is None else ReadBack.DIFFERS
        return ReadBack.MATCHES if _holds(row, told) else ReadBack.DIFFERS

    def _find(self, session: OnLine) -> Row | None:
        """Return the row of a session."""
        place = login_key(session.login), session.address or ""
        numbered = self._numbers.get(values.session_number(session.acct_session_id or "") or 0)
        ppp = [*([] if numbered is None else [numbered]), *self._ppp.get(place, ())]
        lease = self._leases.get(place[1])
        candidates = (
            next((row for row in ppp if is_ppp(row, session)), None),
            next((row for row in self._hosts.get(place, ()) if is_host(row, session)), None),
            lease if lease is not None and is_lease(lease, session) else None,
        )
        return next((row for row in candidates if row is not None), None)

    def _may_be_hidden(self, session: OnLine) -> bool:
        kind = kind_of(session.acct_session_id)
        return bool(self._unshown) if kind is None else kind in self._unshown


def _by_place(rows: Iterable[Row], login: str) -> dict[tuple[str, str], list[Row]]:
    """Return sessions by login and address."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((login_key(row.get(login, "")), row.get("address", "")), []).append(row)
    return found


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
