"""Decides what a router says about one session: its identity, its counters and its records.

Rule: the look of RouterOS: counters run from zero for each session in both words, Acct-Input-Octets is what the
subscriber uploads, IPv6 shows from the first interim on, Class comes back as it was given (RFC 2865 §5.25),
Acct-Delay-Time is 0 and a retransmission changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from struct import Struct
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds
from enforcement.attributes import (
    MIKROTIK_ADDRESS_LIST,
    MIKROTIK_RECV_LIMIT,
    MIKROTIK_RECV_LIMIT_GIGAWORDS,
    MIKROTIK_XMIT_LIMIT,
    MIKROTIK_XMIT_LIMIT_GIGAWORDS,
)
from radius.codes import AcctStatus, Type, Vendor
from radius.packet import Packet, attribute, integer_attribute, readable
from simulator import rate_limit, rates
from simulator.rate_limit import NOTHING, Pair, RateLimit
from simulator.rates import UNLIMITED, Rates
from simulator.traffic import Demand, Habit, daily_share, demanded_octets, octets
from simulator.truth import SessionAccount

FRAMED = 2
"""Service-Type Framed."""
PPP = 1
"""Framed-Protocol PPP."""
ETHERNET = 15
"""NAS-Port-Type Ethernet."""
BY_RADIUS = 1
"""Acct-Authentic RADIUS."""
DEFAULT_INTERIM_SECONDS = 0
"""RouterOS `/ppp aaa interim-update`: none unless the server asks."""
PACKET_OCTETS = 900
"""Mean size of an Internet packet, for the packet counters."""

_WORD = 1 << 32
_ONE_INTEGER = "BBI"
_EVENT = Struct("!" + _ONE_INTEGER * 2)
_COUNTERS = Struct("!" + _ONE_INTEGER * 5)
_GIGAWORDS = Struct("!" + _ONE_INTEGER * 2)
_NO_DELAY = integer_attribute(Type.ACCT_DELAY_TIME, 0)
_NOT_ASSIGNED = frozenset((bytes(4), b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe"))
"""0.0.0.0, "the user chooses" and "the NAS chooses" (RFC 2865 §5.8)."""


class Cause:
    """Values of Acct-Terminate-Cause that the simulation needs (RFC 2866 §5.10)."""

    USER_REQUEST = 1
    LOST_CARRIER = 2
    SESSION_TIMEOUT = 5
    ADMIN_RESET = 6
    NAS_REQUEST = 10


@dataclass(frozen=True, slots=True)
class Grant:
    """What an Access-Accept gave."""

    address: bytes | None
    """None: the router takes one of its own."""
    rates: Rates
    interim_seconds: int
    session_timeout_seconds: int | None
    classes: tuple[bytes, ...]
    ipv6: bytes
    """Framed-IPv6-Prefix and Delegated-IPv6-Prefix, encoded."""
    rate_limit: RateLimit | None = None
    """The queue that RouterOS makes; None: none."""
    address_list: str | None = None
    limit_octets: Pair = NOTHING
    """Upload and download after which RouterOS ends the session; 0 is never."""


def read_grant(accept: Packet) -> Grant:
    """Read an Access-Accept; raise ValueError for rates that no router understands."""
    address = accept.get(Type.FRAMED_IP_ADDRESS)
    prefixes = (
        attribute(kind, value)
        for kind in (Type.FRAMED_IPV6_PREFIX, Type.DELEGATED_IPV6_PREFIX)
        for value in accept.all(kind)
    )
    granted = rates.read(accept)
    return Grant(
        address=None if address is None or len(address) != 4 or address in _NOT_ASSIGNED else address,
        rates=granted or UNLIMITED,
        interim_seconds=accept.integer(Type.ACCT_INTERIM_INTERVAL) or DEFAULT_INTERIM_SECONDS,
        session_timeout_seconds=accept.integer(Type.SESSION_TIMEOUT),
        classes=tuple(accept.all(Type.CLASS)),
        ipv6=b"".join(prefixes),
        rate_limit=rate_limit.read(accept) or rate_limit.of_rates(granted),
        address_list=read_address_list(accept),
        limit_octets=read_limits(accept) or NOTHING,
    )


def read_address_list(packet: Packet) -> str | None:
    """Return the address list that a packet puts the session's address on; None where it names none."""
    value = packet.vendor(Vendor.MIKROTIK, MIKROTIK_ADDRESS_LIST)
    return None if value is None else readable(value)


def read_limits(packet: Packet, *, gigawords: bool = True) -> Pair | None:
    """Return Mikrotik-Recv-Limit and -Xmit-Limit with their Gigawords; None where a packet has neither."""
    upload = _integer(packet, MIKROTIK_RECV_LIMIT)
    download = _integer(packet, MIKROTIK_XMIT_LIMIT)
    if upload is None and download is None:
        return None
    high = (_integer(packet, MIKROTIK_RECV_LIMIT_GIGAWORDS), _integer(packet, MIKROTIK_XMIT_LIMIT_GIGAWORDS))
    up, down = high if gigawords else (0, 0)
    return Pair(((up or 0) << 32) + (upload or 0), ((down or 0) << 32) + (download or 0))


def _integer(packet: Packet, kind: int) -> int | None:
    value = packet.vendor(Vendor.MIKROTIK, kind)
    if value is None:
        return None
    if len(value) != 4:
        raise ValueError("a limit of another size than four octets")
    return int.from_bytes(value)


class RouterLook(NamedTuple):
    """How a router writes its records."""

    name: bytes
    """The attributes that name the router, encoded."""
    clock_offset_us: int
    gigawords: bool
    flip_counters: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Where a session hangs on its router."""

    login: str
    mac: str
    port: int
    port_name: str
    server_name: str

    def encode(self) -> bytes:
        """Return the attributes that Access-Requests and accounting share."""
        return b"".join(
            (
                integer_attribute(Type.SERVICE_TYPE, FRAMED),
                integer_attribute(Type.FRAMED_PROTOCOL, PPP),
                integer_attribute(Type.NAS_PORT, self.port),
                integer_attribute(Type.NAS_PORT_TYPE, ETHERNET),
                attribute(Type.USER_NAME, self.login.encode()),
                attribute(Type.CALLING_STATION_ID, self.mac.encode()),
                attribute(Type.CALLED_STATION_ID, self.server_name.encode()),
                attribute(Type.NAS_PORT_ID, self.port_name.encode()),
            )
        )


class Record(NamedTuple):
    """One accounting record: whose it is, what it reports, and its attributes."""

    account: SessionAccount
    status: AcctStatus
    octets_up: int
    octets_down: int
    attributes: bytes

    def acknowledge(self) -> None:
        """Note in the ledger that its Accounting-Response came."""
        self.account.acknowledge(self.status, self.octets_up, self.octets_down)


class Session:
    """One session of a line, from Accept to Stop."""

    __slots__ = (
        "_identity",
        "_ipv6",
        "_random",
        "_speed",
        "account",
        "address",
        "address_list",
        "advanced_us",
        "bits_per_second",
        "demand",
        "end_cause",
        "ends_us",
        "habit",
        "interim_due_us",
        "interim_seconds",
        "is_open",
        "limit_octets",
        "line",
        "login",
        "octets_down",
        "octets_up",
        "rate_limit",
        "rates",
        "started_us",
    )

    def __init__(
        self,
        account: SessionAccount,
        line: Line,
        grant: Grant,
        address: bytes,
        habit: Habit,
        *,
        speed: float,
        random: Random,
        demand: Demand | None = None,
    ) -> None:
        self.account = account
        self.line = line
        self.login = line.login
        self.address = address
        self.habit = habit
        self.demand = demand
        self.rates = grant.rates
        self.rate_limit = grant.rate_limit
        self.address_list = grant.address_list
        self.limit_octets = grant.limit_octets
        self.bits_per_second = NOTHING
        self.interim_seconds: float = grant.interim_seconds
        self.started_us = self.advanced_us = self.ends_us = self.interim_due_us = account.started_us
        self.end_cause = Cause.USER_REQUEST
        self.octets_up = 0
        self.octets_down = 0
        self.is_open = True
        self._speed = speed
        self._random = random
        self._ipv6 = grant.ipv6
        self._identity = line.encode() + _identify(account.acct_session_id, address, grant.classes)

    @property
    def acct_session_id(self) -> str:
        """Return the router's name of the session."""
        return self.account.acct_session_id

    def advance(self, now: Microseconds) -> None:
        """Move the octets of the time since the last call."""
        duration_us = int((now - self.advanced_us) * self._speed)
        if duration_us <= 0:
            return
        up, down = self._moved(duration_us, now)
        self.octets_up += up
        self.octets_down += down
        self.bits_per_second = Pair(up * 8 * SECOND_US // duration_us, down * 8 * SECOND_US // duration_us)
        self.advanced_us = now

    @property
    def is_spent(self) -> bool:
        """Tell whether a limit of octets is reached."""
        up, down = self.limit_octets
        return bool((up and self.octets_up >= up) or (down and self.octets_down >= down))

    def _moved(self, duration_us: int, now: Microseconds) -> tuple[int, int]:
        if self.demand is not None:
            return demanded_octets(self.demand, self.rates, duration_us)
        simulated_us = Microseconds(self.started_us + int((now - self.started_us) * self._speed))
        return octets(self.habit, self.rates, duration_us, daily_share(simulated_us), self._random)

    def change_rates(self, changed: Rates, now: Microseconds) -> None:
        """Apply another speed from `now` on."""
        self.advance(now)
        self.rates = changed

    def record(self, status: AcctStatus, now: Microseconds, look: RouterLook, cause: int | None = None) -> Record:
        """Make the record of this instant and note it in the ledger as reported."""
        if status is not AcctStatus.START:
            self.advance(now)
        self.account.report(status, self.octets_up, self.octets_down)
        parts = [self._identity, _event(status, Microseconds(now + look.clock_offset_us))]
        if status is not AcctStatus.START:
            parts += (self._ipv6, self._counters(now, look))
        if cause is not None:
            parts.append(integer_attribute(Type.ACCT_TERMINATE_CAUSE, cause))
        parts += (_NO_DELAY, look.name)
        return Record(self.account, status, self.octets_up, self.octets_down, b"".join(parts))

    def _counters(self, now: Microseconds, look: RouterLook) -> bytes:
        received, sent = self.octets_up, self.octets_down
        if look.flip_counters:
            received, sent = sent, received
        # fmt: off
        counters = _COUNTERS.pack(
            Type.ACCT_SESSION_TIME, 6, (now - self.started_us) // SECOND_US,
            Type.ACCT_INPUT_OCTETS, 6, received % _WORD,
            Type.ACCT_OUTPUT_OCTETS, 6, sent % _WORD,
            Type.ACCT_INPUT_PACKETS, 6, received // PACKET_OCTETS % _WORD,
            Type.ACCT_OUTPUT_PACKETS, 6, sent // PACKET_OCTETS % _WORD,
        )
        if not look.gigawords:
            return counters
        return counters + _GIGAWORDS.pack(
            Type.ACCT_INPUT_GIGAWORDS, 6, received // _WORD,
            Type.ACCT_OUTPUT_GIGAWORDS, 6, sent // _WORD,
        )
        # fmt: on


def _identify(acct_session_id: str, address: bytes, classes: Iterable[bytes]) -> bytes:
    return b"".join(
        (
            attribute(Type.ACCT_SESSION_ID, acct_session_id.encode()),
            attribute(Type.FRAMED_IP_ADDRESS, address),
            *(attribute(Type.CLASS, value) for value in classes),
            integer_attribute(Type.ACCT_AUTHENTIC, BY_RADIUS),
        )
    )


def _event(status: AcctStatus, router_clock: Microseconds) -> bytes:
    return _EVENT.pack(Type.EVENT_TIMESTAMP, 6, router_clock // SECOND_US % _WORD, Type.ACCT_STATUS_TYPE, 6, status)


def name_router(identifier: str, address: str) -> bytes:
    """Return the attributes that name a router in each of its requests."""
    packed = ip_address(address).packed
    kind = Type.NAS_IP_ADDRESS if len(packed) == 4 else Type.NAS_IPV6_ADDRESS
    return attribute(Type.NAS_IDENTIFIER, identifier.encode()) + attribute(kind, packed)
