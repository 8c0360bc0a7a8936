"""The attributes of an Access-Accept.

Rule: what a plan gives on one kind of NAS is encoded once; a login joins octets. An attribute of the service's own
replaces the same attribute of its plan, a vendor's attribute goes only to a NAS that knows that vendor (RFC 5080
§2.5), and a session never outlives what allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Network
from socket import AF_INET6, inet_aton, inet_pton
from typing import NamedTuple

from domain.network import Plan, PoolKind
from enforcement.profiles import CISCO_AVPAIR, ERX_SERVICE_ACTIVATE, NasProfile
from radius.codes import Type, Vendor
from radius.packet import Packet, attribute, integer_attribute, vendor_values

LEAST_INTERIM_SECONDS = 60
"""RFC 2869 §5.16."""
LONGEST_TIMEOUT = 0xFFFFFFFF

PPP = b"\0\0\0\x01"
FRAMED_PPP = integer_attribute(Type.SERVICE_TYPE, 2) + integer_attribute(Type.FRAMED_PROTOCOL, 1)

FRAMED_POOL = 88
FRAMED_IPV6_POOL = 100
MIKROTIK_DELEGATED_IPV6_POOL = 22

Kind = tuple[int, int, bytes]
"""Vendor (0 for none), type, and for attributes that hold many settings the name of the setting."""

_PROTOCOLS_OWN = frozenset(
    {
        int(kind)
        for kind in (
            Type.USER_PASSWORD,
            Type.CHAP_PASSWORD,
            Type.STATE,
            Type.CLASS,
            Type.PROXY_STATE,
            Type.EAP_MESSAGE,
            Type.MESSAGE_AUTHENTICATOR,
        )
    }
)
"""What belongs to the protocol or to us, whatever a service says."""

_SUPPLIES: Mapping[Kind, PoolKind] = {
    (0, Type.FRAMED_IP_ADDRESS, b""): PoolKind.IPV4,
    (0, FRAMED_POOL, b""): PoolKind.IPV4,
    (0, Type.FRAMED_IPV6_PREFIX, b""): PoolKind.IPV6_PREFIX,
    (0, FRAMED_IPV6_POOL, b""): PoolKind.IPV6_PREFIX,
    (0, Type.DELEGATED_IPV6_PREFIX, b""): PoolKind.DELEGATED_PREFIX,
    (0, Type.DELEGATED_IPV6_PREFIX_POOL, b""): PoolKind.DELEGATED_PREFIX,
    (Vendor.MIKROTIK, MIKROTIK_DELEGATED_IPV6_POOL, b""): PoolKind.DELEGATED_PREFIX,
}
"""Attributes of a service's own that stand for a lease of ours."""

_SETTING_ENDS: Mapping[tuple[int, int], bytes] = {
    (Vendor.CISCO, CISCO_AVPAIR): b"=",
    (Vendor.JUNIPER_ERX, ERX_SERVICE_ACTIVATE): b"(",
}
"""Attributes that carry many settings under one number: the setting's name ends before this."""


class PlanReply:
    """What one plan gives on one kind of NAS, encoded."""

    __slots__ = ("_parts", "is_free", "session_timeout_seconds", "timed", "untimed")

    def __init__(self, plan: Plan, profile: NasProfile) -> None:
        self._parts = _plan_parts(plan, profile)
        # Nothing of the plan's has to be given out one by one.
        self.is_free = plan.simultaneous is None and not (plan.pool_id or plan.ipv6_pool_id or plan.delegated_pool_id)
        self.session_timeout_seconds = plan.session_timeout_seconds
        self.untimed = b"".join([octets for _, octets in self._parts])
        self.timed = self.untimed + session_timeout(plan.session_timeout_seconds)

    def without(self, kinds: frozenset[Kind]) -> bytes:
        """Return it without Session-Timeout and without `kinds`."""
        return b"".join([octets for kind, octets in self._parts if kind not in kinds])


class OwnAttributes(NamedTuple):
    """The attributes of a service's own that one NAS may get; Session-Timeout apart, as it is only an upper bound."""

    octets: bytes
    kinds: frozenset[Kind]
    session_timeout_seconds: int | None
    supplied: frozenset[PoolKind]
    asks_back: bool
    """Termination-Action is RADIUS-Request: the NAS will come back with our State (RFC 2865 §5.29)."""


NOTHING_OWN = OwnAttributes(b"", frozenset(), None, frozenset(), False)


class ReplyBook:
    """Every plan's reply on every kind of NAS, of one snapshot."""

    def __init__(self, plans: Mapping[int, Plan]) -> None:
        self._plans = plans
        self._replies: dict[tuple[int, str], PlanReply] = {}

    def find(self, plan_id: int, profile: NasProfile) -> PlanReply | None:
        """Return the reply of a plan; None when the snapshot does not know the plan yet."""
        key = (plan_id, profile.name)
        reply = self._replies.get(key)
        if reply is None:
            plan = self._plans.get(plan_id)
            if plan is None:
                return None
            reply = self._replies[key] = PlanReply(plan, profile)
        return reply


def own_attributes(octets: bytes, vendors: frozenset[int] | None) -> OwnAttributes:
    """Read a service's encoded attributes for a NAS that knows `vendors`."""
    sent: list[bytes] = []
    kinds: set[Kind] = set()
    timeout = None
    asks_back = False
    for number, value in _split(octets):
        if number in _PROTOCOLS_OWN:
            continue
        if number == Type.SESSION_TIMEOUT:
            timeout = int.from_bytes(value)
            continue
        if number == Type.ACCT_INTERIM_INTERVAL and int.from_bytes(value) < LEAST_INTERIM_SECONDS:
            continue
        if number == Type.VENDOR_SPECIFIC and vendors is not None and int.from_bytes(value[:4]) not in vendors:
            continue
        asks_back |= number == Type.TERMINATION_ACTION and value == PPP
        kinds.update(_kinds(number, value))
        sent.append(attribute(number, value))
    supplied = frozenset(_SUPPLIES[kind] for kind in kinds if kind in _SUPPLIES)
    return OwnAttributes(b"".join(sent), frozenset(kinds), timeout, supplied, asks_back)


def session_timeout(seconds: int | None) -> bytes:
    """Encode Session-Timeout; it is never 0, which some NAS take for no limit (RFC 2865 §5.27)."""
    if seconds is None:
        return b""
    return integer_attribute(Type.SESSION_TIMEOUT, max(1, min(seconds, LONGEST_TIMEOUT)))


def framed_address(text: str) -> bytes:
    """Encode an address as PostgreSQL writes it: Framed-IP-Address, or Framed-IPv6-Address (RFC 6911 §3.1)."""
    if ":" in text:
        return attribute(Type.FRAMED_IPV6_ADDRESS, inet_pton(AF_INET6, text))
    return b"\x08\x06" + inet_aton(text)


def framed_prefix(kind: PoolKind, text: str) -> bytes:
    """Encode a leased prefix, with as many octets as its length needs (RFC 3162 §2.3, 4818 §3)."""
    network = IPv6Network(text)
    octets = network.network_address.packed[: -(-network.prefixlen // 8)]
    number = Type.FRAMED_IPV6_PREFIX if kind is PoolKind.IPV6_PREFIX else Type.DELEGATED_IPV6_PREFIX
    return attribute(number, bytes((0, network.prefixlen)) + octets)


def framing(packet: Packet) -> bytes:
    """Return Service-Type and Framed-Protocol for a PPP request."""
    return FRAMED_PPP if packet.get(Type.FRAMED_PROTOCOL) == PPP else b""


def _plan_parts(plan: Plan, profile: NasProfile) -> list[tuple[Kind, bytes]]:
    down, up = plan.download_bits_per_second, plan.upload_bits_per_second
    rates = b"" if down is None and up is None else profile.rates(down, up)
    parts = [(next(iter(_kinds(number, value))), attribute(number, value)) for number, value in _split(rates)]
    interim = max(plan.interim_seconds, LEAST_INTERIM_SECONDS)
    parts.append(((0, Type.ACCT_INTERIM_INTERVAL, b""), integer_attribute(Type.ACCT_INTERIM_INTERVAL, interim)))
    if plan.idle_timeout_seconds is not None:
        idle = integer_attribute(Type.IDLE_TIMEOUT, plan.idle_timeout_seconds)
        parts.append(((0, Type.IDLE_TIMEOUT, b""), idle))
    return parts


def _split(octets: bytes) -> list[tuple[int, bytes]]:
    """Split encoded attributes, which were checked when they were provisioned."""
    found = []
    offset = 0
    while offset < len(octets):
        size = octets[offset + 1]
        found.append((octets[offset], octets[offset + 2 : offset + size]))
        offset += size
    return found


def _kinds(number: int, value: bytes) -> list[Kind]:
    """Return what an attribute is, for deciding what it replaces."""
    if number != Type.VENDOR_SPECIFIC:
        return [(0, number, b"")]
    inner = vendor_values(value)
    if not inner:
        return [(int.from_bytes(value[:4]), -1, value)]
    kinds = []
    for vendor, kind, content in inner:
        end = _SETTING_ENDS.get((vendor, kind))
        kinds.append((vendor, kind, b"" if end is None else _setting(content, end)))
    return kinds


def _setting(content: bytes, end: bytes) -> bytes:
    """Return the name of the setting, with the direction where one name holds both (`rate-limit output`)."""
    name, _, rest = content.partition(end)
    return name + b" ".join(rest.split()[:2]) if rest.startswith(b"rate-limit ") else name
