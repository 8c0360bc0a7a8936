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
from domain.plan_rules import NO_RULES, Direction, WalledGarden
from enforcement.attributes import MIKROTIK_DELEGATED_IPV6_POOL, Kind, Part, join, kinds, parts, split, standard
from enforcement.entitlement import Entitlement
from enforcement.grants import PROTOCOLS_OWN, grant, session_timeout
from enforcement.profiles import NasProfile
from enforcement.thresholds import LEAST_INTERIM_SECONDS, Crossing, by_volume, interim_seconds, octet_limits
from radius.codes import Type, Vendor
from radius.packet import Packet, attribute, integer_attribute

PPP = b"\0\0\0\x01"
FRAMED_PPP = integer_attribute(Type.SERVICE_TYPE, 2) + integer_attribute(Type.FRAMED_PROTOCOL, 1)

FRAMED_IPV6_POOL = 100

_INTERIM = standard(Type.ACCT_INTERIM_INTERVAL)
_TIMEOUT = standard(Type.SESSION_TIMEOUT)

_SUPPLIES: Mapping[Kind, PoolKind] = {
    (0, Type.FRAMED_IP_ADDRESS, b""): PoolKind.IPV4,
    (0, Type.FRAMED_POOL, b""): PoolKind.IPV4,
    (0, Type.FRAMED_IPV6_PREFIX, b""): PoolKind.IPV6_PREFIX,
    (0, FRAMED_IPV6_POOL, b""): PoolKind.IPV6_PREFIX,
    (0, Type.DELEGATED_IPV6_PREFIX, b""): PoolKind.DELEGATED_PREFIX,
    (0, Type.DELEGATED_IPV6_PREFIX_POOL, b""): PoolKind.DELEGATED_PREFIX,
    (Vendor.MIKROTIK, MIKROTIK_DELEGATED_IPV6_POOL, b""): PoolKind.DELEGATED_PREFIX,
}
"""Attributes of a service's own that stand for a lease of ours."""


class PlanReply:
    """What one plan gives on one kind of NAS, encoded; for a plan without rules, that is all there is to know."""

    __slots__ = ("_parts", "by_volume", "has_rules", "is_free", "session_timeout_seconds", "timed", "untimed")

    def __init__(self, plan: Plan, profile: NasProfile) -> None:
        self.has_rules = plan.rules != NO_RULES
        # The plan by which the next crossing is found.
        self.by_volume = by_volume(plan)
        interim = max(plan.interim_seconds, LEAST_INTERIM_SECONDS)
        self._parts = _with_timers(grant(of_plan(plan), profile), plan, interim)
        # Nothing of the plan's has to be given out one by one.
        self.is_free = plan.simultaneous is None and not (plan.pool_id or plan.ipv6_pool_id or plan.delegated_pool_id)
        self.session_timeout_seconds = plan.session_timeout_seconds
        self.untimed = join(self._parts)
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

    def without(self, kinds: frozenset[Kind]) -> bytes:
        """Return its octets without `kinds`."""
        return b"".join([octets for kind, octets in parts(self.octets) if kind not in kinds])


NOTHING_OWN = OwnAttributes(b"", frozenset(), None, frozenset(), False)


class EntitledReply(NamedTuple):
    """What an entitlement gives one service on one NAS."""

    octets: bytes
    """Without Session-Timeout."""
    session_timeout_seconds: int | None
    """What plan and service allow at most."""


def entitled_reply(
    entitlement: Entitlement,
    plan: Plan,
    own: OwnAttributes,
    profile: NasProfile,
    *,
    crossing: Crossing | None = None,
    login: str = "",
) -> EntitledReply:
    """Encode what a line gets that is let in; `crossing` is where usage will change it.

    What a rule made of the line goes before the service's own attributes; what the plan would give anyway, behind them.
    Raise `InvalidValue`, `ValueError` for a template of the plan that gave no fitting value.
    """
    granted = grant(entitlement, profile, login=login, plan=plan.name)
    limits = octet_limits(entitlement, crossing, profile)
    timeouts = [int.from_bytes(octets[2:]) for kind, octets in granted if kind == _TIMEOUT]
    granted = [part for part in granted if part[0] != _TIMEOUT and not _is_too_short(part)]
    given = _with_timers(granted + limits, plan, interim_seconds(entitlement, plan.interim_seconds, profile))
    binding = {kind for kind, _ in limits}
    if entitlement.walled or (entitlement.download, entitlement.upload) != _rates(plan):
        binding.update(kind for kind, _ in granted)
    if entitlement.pool is not None:
        binding.update(kind for kind, pool in _SUPPLIES.items() if pool is PoolKind.IPV4)
    kept = [octets for kind, octets in given if kind in binding or kind not in own.kinds]
    if own.session_timeout_seconds is not None:
        timeouts = [own.session_timeout_seconds]
    elif plan.session_timeout_seconds is not None:
        timeouts.append(plan.session_timeout_seconds)
    return EntitledReply(b"".join(kept) + own.without(frozenset(binding)), min(timeouts, default=None))


def of_plan(plan: Plan) -> Entitlement:
    """Return what a plan without rules gives."""
    return _plain(plan.download_bits_per_second, plan.upload_bits_per_second)


def of_garden(garden: WalledGarden) -> Entitlement:
    """Return what somebody gets who is let into the walled garden without being known."""
    return _plain(garden.download_bits_per_second, garden.upload_bits_per_second)._replace(
        walled=True, address_list=garden.address_list, pool=garden.pool, redirect_url=garden.redirect_url
    )


def _plain(download: int | None, upload: int | None) -> Entitlement:
    return Entitlement(
        admitted=True,
        refusal=None,
        walled=False,
        download=download,
        upload=upload,
        burst_download=None,
        burst_upload=None,
        burst_threshold_download=None,
        burst_threshold_upload=None,
        burst_seconds=None,
        guaranteed_download=None,
        guaranteed_upload=None,
        priority=None,
        address_list=None,
        pool=None,
        redirect_url=None,
        attributes=(),
        octets_left=None,
        left_direction=Direction.BOTH,
        valid_until=None,
        ends_at=None,
        overage_octets=0,
        warnings=(),
        ceiling_warnings=(),
        rules=(),
    )


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
    found: set[Kind] = set()
    timeout = None
    asks_back = False
    for number, value in split(octets):
        if number in PROTOCOLS_OWN:
            continue
        if number == Type.SESSION_TIMEOUT:
            timeout = int.from_bytes(value)
            continue
        if number == Type.ACCT_INTERIM_INTERVAL and int.from_bytes(value) < LEAST_INTERIM_SECONDS:
            continue
        if number == Type.VENDOR_SPECIFIC and vendors is not None and int.from_bytes(value[:4]) not in vendors:
            continue
        asks_back |= number == Type.TERMINATION_ACTION and value == PPP
        found.update(kinds(number, value))
        sent.append(attribute(number, value))
    supplied = frozenset(_SUPPLIES[kind] for kind in found if kind in _SUPPLIES)
    return OwnAttributes(b"".join(sent), frozenset(found), timeout, supplied, asks_back)


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


def _rates(plan: Plan) -> tuple[int | None, int | None]:
    return plan.download_bits_per_second, plan.upload_bits_per_second


def _with_timers(granted: list[Part], plan: Plan, interim: int) -> list[Part]:
    """Add Acct-Interim-Interval and Idle-Timeout, where the plan's own attributes do not say them."""
    timers: list[Part] = [(_INTERIM, integer_attribute(Type.ACCT_INTERIM_INTERVAL, interim))]
    if plan.idle_timeout_seconds is not None:
        idle = integer_attribute(Type.IDLE_TIMEOUT, plan.idle_timeout_seconds)
        timers.append((standard(Type.IDLE_TIMEOUT), idle))
    said = {kind for kind, _ in granted}
    return granted + [timer for timer in timers if timer[0] not in said]


def _is_too_short(part: Part) -> bool:
    kind, octets = part
    return kind == _INTERIM and int.from_bytes(octets[2:]) < LEAST_INTERIM_SECONDS
