"""What one Accounting-Request says of one session, in the product's own terms.

Rule: Gigawords are folded in here and nowhere else (RFC 2869 §5.1); up is what the subscriber sent; the instant is the
router's Event-Timestamp when it is sane, else arrival less Acct-Delay-Time (RFC 2866 §5.2, 2869 §5.3).
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

from domain.errors import CaudalError
from domain.instants import SECOND_US, Microseconds
from radius.codes import TERMINATE_CAUSES, AcctStatus, Type
from radius.packet import Packet, readable

CLOCK_AHEAD_US = 120 * SECOND_US
"""A router's clock may be this far ahead; beyond it arrival is trusted instead."""
CLOCK_BEHIND_US = 24 * 3600 * SECOND_US
"""Routers that buffer records deliver them up to a day late; an older timestamp is a wrong clock."""
LONGEST_DELAY_SECONDS = 24 * 3600
"""An Acct-Delay-Time above a day is a wrong value."""
LONGEST_SESSION_SECONDS = 10 * 366 * 24 * 3600
"""A session of ten years is a wrong value of Acct-Session-Time."""
LARGEST_COUNTER_OCTETS = 10**18
"""An exabyte: a line of 100 Gbit/s needs two and a half years for it. What is beyond is garbage, and nobody's usage."""

KNOWN_TYPES = (frozenset(int(kind) for kind in Type) | {22, 80, 86, 90, 99, 100}) - {Type.VENDOR_SPECIFIC}
"""Types which are not kept raw: those the product names, and routes, tunnel ids and pools of no use to usage."""

LARGEST_IPV6_PREFIX = 128
_TEXT_OCTETS = range(1, 254)
_PREFIX_OCTETS = range(2, 19)
"""A reserved octet, the length of the prefix, and as many octets of it as the NAS sends (RFC 3162 §2.3, 4818 §3)."""
_IPV6_OCTETS = {
    int(Type.FRAMED_INTERFACE_ID): range(8, 9),
    int(Type.FRAMED_IPV6_PREFIX): _PREFIX_OCTETS,
    int(Type.DELEGATED_IPV6_PREFIX): _PREFIX_OCTETS,
    int(Type.FRAMED_IPV6_ADDRESS): range(16, 17),
    int(Type.DNS_SERVER_IPV6_ADDRESS): range(16, 17),
    int(Type.DELEGATED_IPV6_PREFIX_POOL): _TEXT_OCTETS,
    int(Type.STATEFUL_IPV6_ADDRESS_POOL): _TEXT_OCTETS,
}
"""How many octets the value of each IPv6 attribute may have (RFC 3162, 4818, 6911)."""
IPV6_TYPES = frozenset(_IPV6_OCTETS)


class SessionKey(NamedTuple):
    """What names a session on its NAS; `nas` is empty where the router entry is a single box."""

    router_id: int
    nas: str
    acct_session_id: str


class Unusable(Enum):
    """Why an Accounting-Request cannot be booked; it is kept in quarantine."""

    NO_STATUS_TYPE = "no_status_type"
    UNKNOWN_STATUS_TYPE = "unknown_status_type"
    NO_SESSION_ID = "no_session_id"
    IMPOSSIBLE_COUNTERS = "impossible_counters"


class UnusableRecord(CaudalError):
    """The record names no session, or cannot be true; acknowledge it after it was quarantined under `reason`."""

    def __init__(self, reason: Unusable) -> None:
        super().__init__(f"accounting record that cannot be booked: {reason.value}")
        self.reason = reason


class Record:
    """One record; counters and seconds are None where the packet does not carry them."""

    __slots__ = (
        "address",
        "arrived_us",
        "event_us",
        "gigawords",
        "key",
        "octets_down",
        "octets_up",
        "packet",
        "session_seconds",
        "status",
    )

    key: SessionKey
    status: int
    packet: Packet
    arrived_us: Microseconds
    event_us: Microseconds
    session_seconds: int | None
    octets_up: int | None
    octets_down: int | None
    gigawords: bool
    address: bytes | None

    @property
    def login(self) -> str:
        """User-Name as text; empty when absent."""
        return self.packet.text(Type.USER_NAME) or ""

    @property
    def terminate_cause(self) -> str | None:
        """Acct-Terminate-Cause by name; None when the Stop has none."""
        cause = self.packet.integer(Type.ACCT_TERMINATE_CAUSE)
        return None if cause is None else TERMINATE_CAUSES.get(cause, str(cause))

    @property
    def port(self) -> str | None:
        """NAS-Port-Id, else NAS-Port as a number."""
        named = self.packet.text(Type.NAS_PORT_ID)
        if named:
            return named
        number = self.packet.integer(Type.NAS_PORT)
        return None if number is None else str(number)

    @property
    def line(self) -> int | None:
        """A 64-bit hash of MAC and port; None when the packet does not tell both."""
        station = self.packet.get(Type.CALLING_STATION_ID)
        port = self.packet.get(Type.NAS_PORT) or self.packet.get(Type.NAS_PORT_ID)
        if not station or not port:
            return None
        return int.from_bytes(blake2b(station + b"\0" + port, digest_size=8).digest(), signed=True)

    @property
    def ipv6(self) -> tuple[tuple[int, bytes], ...]:
        """Every well-formed IPv6 attribute, in order; empty when there is none."""
        if self.packet.kinds().isdisjoint(IPV6_TYPES):
            return ()
        return tuple(pair for pair in self.packet.attributes() if _is_ipv6(*pair))

    @property
    def unknown_attributes(self) -> bytes | None:
        """Attributes the product does not know, as received; None when there are none."""
        if self.packet.kinds() <= KNOWN_TYPES:
            return None
        return b"".join(
            bytes((kind, len(value) + 2)) + value for kind, value in self.packet.attributes() if kind not in KNOWN_TYPES
        )


def _is_ipv6(kind: int, value: bytes) -> bool:
    sizes = _IPV6_OCTETS.get(kind)
    return (
        sizes is not None and len(value) in sizes and (sizes is not _PREFIX_OCTETS or value[1] <= LARGEST_IPV6_PREFIX)
    )


def read(packet: Packet, router_id: int, nas: str, arrived_us: Microseconds, *, flip: bool = False) -> Record:
    """Read a Start, Interim or Stop; raise `UnusableRecord` when it names none, or cannot be true.

    `flip` exchanges up and down for routers that count the other way round.
    """
    get = packet.get
    status = get(40)
    if status is None or len(status) != 4:
        raise UnusableRecord(Unusable.NO_STATUS_TYPE)
    record = Record()
    record.status = status[3] if status[:3] == b"\0\0\0" else 0
    if record.status not in _SESSION_STATUSES:
        raise UnusableRecord(Unusable.UNKNOWN_STATUS_TYPE)
    session_id = get(44)
    if not session_id:
        raise UnusableRecord(Unusable.NO_SESSION_ID)
    record.key = SessionKey(router_id, nas, readable(session_id))
    record.packet = packet
    record.arrived_us = arrived_us
    record.event_us = event_instant(packet, arrived_us)
    seconds = get(46)
    record.session_seconds = int.from_bytes(seconds) if seconds is not None and len(seconds) == 4 else None
    if record.session_seconds is not None and (
        record.session_seconds > LONGEST_SESSION_SECONDS
        # A Stop of no seconds leaves them out: taken at its word, it would be of another session that began just now.
        or (not record.session_seconds and record.status == AcctStatus.STOP)
    ):
        record.session_seconds = None
    high_in, high_out = get(52), get(53)
    record.gigawords = high_in is not None or high_out is not None
    octets_in, octets_out = _counter(get(42), high_in), _counter(get(43), high_out)
    record.octets_up, record.octets_down = (octets_out, octets_in) if flip else (octets_in, octets_out)
    address = get(8)
    record.address = address if address is not None and len(address) == 4 and any(address) else None
    return record


_SESSION_STATUSES = frozenset((AcctStatus.START, AcctStatus.STOP, AcctStatus.INTERIM))


def event_instant(packet: Packet, arrived_us: Microseconds) -> Microseconds:
    """Return when the event happened, never later than `arrived_us`."""
    stamp = packet.get(55)
    if stamp is not None and len(stamp) == 4:
        event_us = int.from_bytes(stamp) * SECOND_US
        if arrived_us - CLOCK_BEHIND_US <= event_us <= arrived_us + CLOCK_AHEAD_US:
            return Microseconds(min(event_us, arrived_us))
    return sent_instant(packet, arrived_us)


def sent_instant(packet: Packet, arrived_us: Microseconds) -> Microseconds:
    """Return when a datagram was first sent, by our own clock: arrival less Acct-Delay-Time (RFC 2866 §5.2)."""
    delay = packet.get(41)
    if delay is None or len(delay) != 4:
        return arrived_us
    seconds = int.from_bytes(delay)
    return Microseconds(arrived_us - seconds * SECOND_US) if seconds <= LONGEST_DELAY_SECONDS else arrived_us


def _counter(low: bytes | None, high: bytes | None) -> int | None:
    """Join Octets and Gigawords: total = Gigawords * 2^32 + Octets (RFC 2869 §5.1). Raise UnusableRecord."""
    if low is None or len(low) != 4:
        return None
    if high is None or len(high) != 4:
        return int.from_bytes(low)
    octets = int.from_bytes(high + low)
    if octets > LARGEST_COUNTER_OCTETS:
        raise UnusableRecord(Unusable.IMPOSSIBLE_COUNTERS)
    return octets
