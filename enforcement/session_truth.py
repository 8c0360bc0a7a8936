"""Decides which sessions are not what the books say, by the router's own account.

Rule: `/ppp/active` and RADIUS name a PPP session by one number in two notations (0x81300077 and 81300077): numbers are
compared. A hotspot host shows no number and is found by login and address. A session that is open with us and not on
the router is a ghost and is closed; one that is on the router and not with us is adopted. What began or was heard while
the router was read is left for the next time, and sessions of a kind that was not read are never ghosts.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds
from domain.names import login_key
from enforcement import routeros_values as values
from enforcement.routeros_entries import Row

GRACE_US = 30 * SECOND_US
"""A Start may be under way, and a Stop: three sends, a second apart, and a queue or two."""
SESSION_ID_DIGITS = 8
"""RouterOS's Acct-Session-Id: two digits for the kind, one for the boot, five for the session."""
_KIND_SHIFT = 24
_BOOT_SHIFT = 20
_DIGIT = 0xF


class Kind(IntEnum):
    """What a session is; the values are the first two digits of RouterOS's Acct-Session-Id."""

    HOTSPOT = 0x80
    PPP = 0x81
    WIRELESS = 0x82
    DHCP = 0x83
    DOT1X = 0x86


COMPARED = frozenset((Kind.HOTSPOT, Kind.PPP))
"""Whose menus list every session that is open."""


def kind_of(acct_session_id: str | None) -> Kind | None:
    """Return what a session is by its Acct-Session-Id; None for one that is not written as RouterOS writes it."""
    number = values.session_number(acct_session_id or "")
    if number is None or len(acct_session_id or "") != SESSION_ID_DIGITS:
        return None
    try:
        return Kind(number >> _KIND_SHIFT)
    except ValueError:
        return None


class OpenSession(NamedTuple):
    """A session that the books have open on this router."""

    id: int
    acct_session_id: str
    login: str
    address: str | None
    heard_us: Microseconds


class SeenSession(NamedTuple):
    """A session that the router shows; `entry` is its `.id`, `number` the session id where the menu has one."""

    kind: Kind
    entry: str
    number: int | None
    login: str
    address: str
    mac: str
    uptime_seconds: int
    radius: bool

    @property
    def acct_session_id(self) -> str | None:
        """The session id as RADIUS writes it."""
        return None if self.number is None else f"{self.number:0{SESSION_ID_DIGITS}x}"


class Truth(NamedTuple):
    """What to do to the books."""

    ghosts: tuple[OpenSession, ...]
    """Close them."""
    unknown: tuple[SeenSession, ...]
    """Open them."""
    unnamed: tuple[SeenSession, ...]
    """On the router and not with us, without the id under which RADIUS will tell of them; only shown."""
    rebooted: bool
    """The router counts sessions of another boot than those that are open with us."""


def seen_sessions(ppp: Iterable[Row], hotspot: Iterable[Row]) -> list[SeenSession]:
    """Return the sessions in the rows of `/ppp/active` and `/ip/hotspot/active`."""
    found = [_seen(Kind.PPP, row, "name", "caller-id") for row in ppp]
    return found + [_seen(Kind.HOTSPOT, row, "user", "mac-address") for row in hotspot]


def _seen(kind: Kind, row: Row, login: str, mac: str) -> SeenSession:
    return SeenSession(
        kind=kind,
        entry=row.get(".id", ""),
        number=values.session_number(row.get("session-id", "")),
        login=row.get(login, ""),
        address=row.get("address", ""),
        mac=row.get(mac, ""),
        uptime_seconds=uptime_seconds(row.get("uptime", "")),
        radius=values.flag(row.get("radius", "")),
    )


def uptime_seconds(text: str) -> int:
    """Return a session's age; 0 where the router does not tell it in a way that we know."""
    try:
        return values.seconds(text)
    except ValueError:
        return 0


def compare(
    open_sessions: Iterable[OpenSession],
    seen: Iterable[SeenSession],
    read_us: Microseconds,
    *,
    kinds: AbstractSet[Kind] = COMPARED,
) -> Truth:
    """Return how the books differ from what the router showed when it was read, from `read_us` on.

    `kinds` are those whose menus were read.
    """
    every = list(seen)
    books = list(open_sessions)
    numbers = {session.number for session in every if session.number is not None}
    places = {(login_key(session.login), session.address) for session in every if session.number is None}
    comparable = [(session, number) for session in books if (number := _number(session, kinds)) is not None]
    boots = {_boot(number) for number in numbers}
    another_boot = {number for _, number in comparable if boots and _boot(number) not in boots}
    ghosts = [
        session
        for session, number in comparable
        if number not in numbers
        and (login_key(session.login), session.address) not in places
        and session.heard_us < read_us - (0 if number in another_boot else GRACE_US)
    ]
    known = {number for _, number in comparable}
    with_us = {(login_key(session.login), session.address) for session in books}
    missing = [
        session
        for session in every
        if session.radius
        and session.uptime_seconds * SECOND_US >= GRACE_US
        and session.number not in known
        and (session.number is not None or (login_key(session.login), session.address) not in with_us)
    ]
    return Truth(
        ghosts=tuple(ghosts),
        unknown=tuple(session for session in missing if session.number is not None),
        unnamed=tuple(session for session in missing if session.number is None),
        rebooted=bool(another_boot),
    )


def _number(session: OpenSession, kinds: AbstractSet[Kind]) -> int | None:
    """Return the number of a session that a menu that was read would show."""
    is_shown = kind_of(session.acct_session_id) in kinds
    return values.session_number(session.acct_session_id) if is_shown else None


def _boot(number: int) -> int:
    return number >> _BOOT_SHIFT & _DIGIT
