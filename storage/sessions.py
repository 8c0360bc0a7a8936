"""What operators may read of the lines: sessions, refused logins and quarantined records, newest first.

Rule: a page is cut by (instant, id), the order in which it is shown; a row keeps its place however often its counters
move.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

from sqlalchemy import RowMapping
from sqlalchemy.engine import Engine

from domain.names import notations
from radius.codes import Type
from radius.packet import readable
from storage.listing import Page, Parameters, cut, in_utc, select, where


class SessionState(Enum):
    """How a session stands; the values are the database's."""

    OPEN = 0
    STOPPED = 1
    PROVISIONAL = 2
    """Closed because it was silent; a late packet opens it again."""


class Position(NamedTuple):
    """The place of a row in a listing that is newest first."""

    instant: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Ipv6Row:
    """An IPv6 attribute of a session by its RADIUS name, its value as text."""

    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as its router last told it; up and down are the subscriber's."""

    id: int
    version: int
    state: SessionState
    login: str
    service_id: int | None
    router: str | None
    nas: str
    acct_session_id: str
    multi_session_id: str | None
    nas_port_id: str | None
    address: str | None
    ipv6: tuple[Ipv6Row, ...]
    mac: str | None
    started_at: datetime
    updated_at: datetime
    heard_at: datetime
    stopped_at: datetime | None
    terminate_cause: str | None
    seconds: int
    octets_up: int
    octets_down: int

    @property
    def position(self) -> Position:
        """Where the row stands in a listing."""
        return Position(self.started_at, self.id)


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions a listing wants; None is no restriction."""

    state: SessionState | None = None
    login: str | None = None
    router: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class AddressRow:
    """An address that a session had before its present one, until then."""

    address: str
    until: datetime


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A login that was refused, `attempts` times within a minute."""

    id: int
    login: str
    reason: str
    method: str
    router: str | None
    mac: str | None
    attempts: int
    refused_at: datetime

    @property
    def position(self) -> Position:
        """Where the row stands in a listing."""
        return Position(self.refused_at, self.id)


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """Which refusals a listing wants; None is no restriction."""

    login: str | None = None
    reason: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """An accounting record that could not be booked, whole."""

    id: int
    received_at: datetime
    router: str | None
    reason: str
    datagram: bytes

    @property
    def position(self) -> Position:
        """Where the row stands in a listing."""
        return Position(self.received_at, self.id)


_IPV6_OCTETS = 16
_IPV6_NAMES = {
    Type.FRAMED_INTERFACE_ID: "Framed-Interface-Id",
    Type.FRAMED_IPV6_PREFIX: "Framed-IPv6-Prefix",
    Type.DELEGATED_IPV6_PREFIX: "Delegated-IPv6-Prefix",
    Type.FRAMED_IPV6_ADDRESS: "Framed-IPv6-Address",
    Type.DNS_SERVER_IPV6_ADDRESS: "DNS-Server-IPv6-Address",
    Type.DELEGATED_IPV6_PREFIX_POOL: "Delegated-IPv6-Prefix-Pool",
    Type.STATEFUL_IPV6_ADDRESS_POOL: "Stateful-IPv6-Address-Pool",
}

_SESSION = """
SELECT s.id, s.version, s.state, s.login, s.service_id, r.name AS router, s.nas, s.acct_session_id,
       s.multi_session_id, s.nas_port_id, host(s.address) AS address, s.ipv6, s.mac, s.started_at, s.updated_at,
       s.heard_at, s.stopped_at, s.terminate_cause, s.session_seconds AS seconds, s.octets_up, s.octets_down
FROM session s
LEFT JOIN router r ON r.id = s.router_id"""

_REFUSAL = """
SELECT f.id, f.login, f.reason, f.method, r.name AS router, f.mac, f.attempts, f.refused_at
FROM refusal f
LEFT JOIN router r ON r.id = f.router_id"""

_QUARANTINE = """
SELECT q.id, q.received_at, r.name AS router, q.reason, q.datagram
FROM quarantine q
LEFT JOIN router r ON r.id = q.router_id"""


def sessions(engine: Engine, wanted: SessionFilter, after: Position | None, limit: int) -> Page[SessionRow]:
    """Return the page of wanted sessions after that position, newest first."""
    conditions = []
    if wanted.state is not None:
        # A literal, not a parameter: the partial indexes are on it.
        conditions.append(f"s.state = {wanted.state.value}")
    if wanted.login is not None:
        conditions.append("s.login = ANY(:logins)")
    if wanted.router is not None:
        conditions.append("s.router_id = (SELECT id FROM router WHERE name = :router)")
    if wanted.since is not None:
        conditions.append("s.started_at >= :since")
    parameters = {"logins": _notations(wanted.login), "router": wanted.router, "since": wanted.since}
    found = _newest(engine, _SESSION, "s.started_at, s.id", conditions, parameters, after, limit)
    return cut([_session(row) for row in found], limit)


def session(engine: Engine, number: int) -> SessionRow | None:
    """Return the session of that id."""
    found = select(engine, f"{_SESSION} WHERE s.id = :id", {"id": number})
    return next((_session(row) for row in found), None)


def earlier_addresses(engine: Engine, number: int) -> tuple[AddressRow, ...]:
    """Return the addresses that the session had before its present one, oldest first."""
    query = "SELECT host(address) AS address, until_at AS until FROM session_address WHERE session_id = :id ORDER BY 2"
    return tuple(AddressRow(**in_utc(row)) for row in select(engine, query, {"id": number}))


def open_sessions(engine: Engine) -> int:
    """Count the sessions that are open now."""
    (row,) = select(engine, "SELECT count(*) AS open FROM session WHERE state = 0", {})
    return int(row["open"])


def busiest(engine: Engine, limit: int) -> tuple[SessionRow, ...]:
    """Return the open sessions that were heard last, the latest first."""
    query = f"{_SESSION} WHERE s.state = 0 ORDER BY s.heard_at DESC, s.id DESC LIMIT :limit"
    return tuple(_session(row) for row in select(engine, query, {"limit": limit}))


def heard_since(engine: Engine, instant: datetime, limit: int) -> tuple[SessionRow, ...]:
    """Return the sessions, open or not, heard at or after `instant`, the latest first."""
    query = f"{_SESSION} WHERE s.heard_at >= :instant ORDER BY s.heard_at DESC, s.id DESC LIMIT :limit"
    return tuple(_session(row) for row in select(engine, query, {"instant": instant, "limit": limit}))


def refusals(engine: Engine, wanted: RefusalFilter, after: Position | None, limit: int) -> Page[RefusalRow]:
    """Return the page of wanted refusals after that position, newest first."""
    conditions = []
    if wanted.login is not None:
        conditions.append("f.login = ANY(:logins)")
    if wanted.reason is not None:
        conditions.append("f.reason = :reason")
    if wanted.since is not None:
        conditions.append("f.refused_at >= :since")
    parameters = {"logins": _notations(wanted.login), "reason": wanted.reason, "since": wanted.since}
    found = _newest(engine, _REFUSAL, "f.refused_at, f.id", conditions, parameters, after, limit)
    return cut([RefusalRow(**in_utc(row)) for row in found], limit)


def quarantined(engine: Engine, after: Position | None, limit: int) -> Page[QuarantineRow]:
    """Return the page of quarantined records after that position, newest first."""
    found = _newest(engine, _QUARANTINE, "q.received_at, q.id", [], {}, after, limit)
    return cut([_quarantine(row) for row in found], limit)


def _notations(login: str | None) -> list[str]:
    """Return what stored logins may look like: they are as the router wrote them."""
    return [] if login is None else [*notations(login)]


def _newest(
    engine: Engine,
    query: str,
    key: str,
    conditions: list[str],
    parameters: Parameters,
    after: Position | None,
    limit: int,
) -> list[RowMapping]:
    instant, number = key.split(", ")
    if after is not None:
        conditions = [*conditions, f"({key}) < (:after_instant, :after_id)"]
        parameters = {**parameters, "after_instant": after.instant, "after_id": after.id}
    statement = f"{query}{where(conditions)} ORDER BY {instant} DESC, {number} DESC LIMIT :limit"
    return list(select(engine, statement, {**parameters, "limit": limit + 1}))


def _session(row: RowMapping) -> SessionRow:
    ipv6 = tuple(
        Ipv6Row(_IPV6_NAMES[kind], _ipv6_text(kind, bytes.fromhex(value))) for kind, value in row["ipv6"] or ()
    )
    return SessionRow(**{**in_utc(row), "state": SessionState(row["state"]), "ipv6": ipv6})


def _ipv6_text(kind: int, octets: bytes) -> str:
    """Return the usual notation (RFC 3162 §2, RFC 4818 §3, RFC 6911 §3.1); octets that have none, in hexadecimal."""
    try:
        if kind in (Type.FRAMED_IPV6_ADDRESS, Type.DNS_SERVER_IPV6_ADDRESS):
            return str(IPv6Address(octets))
        if kind in (Type.DELEGATED_IPV6_PREFIX_POOL, Type.STATEFUL_IPV6_ADDRESS_POOL):
            return readable(octets)
        if kind == Type.FRAMED_INTERFACE_ID:
            return octets.hex(":", 2)
        return str(IPv6Network((octets[2:].ljust(_IPV6_OCTETS, b"\0"), octets[1]), strict=False))
    except (ValueError, IndexError):
        return octets.hex()


def _quarantine(row: RowMapping) -> QuarantineRow:
    return QuarantineRow(**{**in_utc(row), "datagram": bytes(row["datagram"])})
