"""What each kind of NAS understands, as data.

Rule: everything that is particular to a vendor stands here and in `enforcement.rates`, so that a wrong fact is a line
to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from enforcement import rates
from enforcement.attributes import (
    CISCO_AVPAIR,
    CISCO_POLICY_DOWN,
    CISCO_POLICY_UP,
    ERX_SERVICE_ACTIVATE,
    HUAWEI_INPUT_AVERAGE_RATE,
    HUAWEI_INPUT_PEAK_RATE,
    HUAWEI_OUTPUT_AVERAGE_RATE,
    HUAWEI_OUTPUT_PEAK_RATE,
    MIKROTIK_ADDRESS_LIST,
    MIKROTIK_ADVERTISE_INTERVAL,
    MIKROTIK_ADVERTISE_URL,
    MIKROTIK_GROUP,
    MIKROTIK_MARK_ID,
    MIKROTIK_RATE_LIMIT,
    WISPR_BANDWIDTH_MAX_DOWN,
    WISPR_BANDWIDTH_MAX_UP,
    WISPR_REDIRECTION_URL,
    Kind,
    Part,
    of_vendor,
    standard,
)
from enforcement.entitlement import Entitlement
from radius.codes import Type, Vendor

DYNAMIC_AUTHORIZATION_PORT = 3799
"""RFC 5176 §3."""
ACCEL_PPP = 55999
"""Its vendor number, from accel-ppp's own dictionary."""
PORT_LIMIT = 62
"""RFC 2865 §5.42."""
ASCEND_DATA_RATE = 197
ASCEND_XMIT_RATE = 255

Rates = Callable[[Entitlement], list[Part]]
"""Encodes the rates of an entitlement, and what of burst, priority and guarantee the NAS knows."""


class Aspect(Enum):
    """What a NAS is told of a line, in parts that change together."""

    RATES = "rates"
    """Burst, priority and guarantee among them: where a NAS knows these, all are one attribute."""
    ADDRESS_LIST = "address_list"
    POOL = "pool"
    REDIRECT = "redirect"
    ATTRIBUTES = "attributes"
    """The plan's own."""
    SESSION_TIMEOUT = "session_timeout"
    IDLE_TIMEOUT = "idle_timeout"


@dataclass(frozen=True, slots=True)
class NasProfile:
    """The facts about one kind of NAS."""

    name: str
    rates: Rates
    rate_kinds: frozenset[Kind]
    """The attributes that `rates` encodes."""
    vendors: frozenset[int] | None
    """Whose attributes it understands (RFC 5080 §2.5); None when nobody knows: what the operator gives is sent."""
    coa_port: int = DYNAMIC_AUTHORIZATION_PORT
    reject_delay_milliseconds: int = 1000
    longest_reject_delay_milliseconds: int = 2500
    """How far repeated wrong passwords may stretch the delay: the NAS must not take the server for dead."""
    flip_counters: bool = False
    """Whether Acct-Input-Octets are the subscriber's download."""
    port_attributes: tuple[int, ...] = (Type.NAS_PORT_ID, Type.NAS_PORT)
    """Which attributes tell the port of a client that has no MAC, the most telling first."""
    changeable: frozenset[Aspect] = frozenset()
    """What a CoA-Request changes; all else needs a new login."""
    changeable_attributes: frozenset[Kind] = frozenset()
    """Which of a plan's own attributes a CoA-Request changes."""
    coa_identification: tuple[int, ...] = (Type.USER_NAME, Type.ACCT_SESSION_ID)
    """Which attributes name a session in a CoA- or Disconnect-Request."""
    api: bool = False
    """Whether it has a management API that we speak."""
    address_lists: bool = False
    """Whether it takes the name of an address list."""
    says_unlimited: bool = False
    """Whether it can be told that a line has no limit at all."""
    limits_octets: bool = False
    """Whether it ends a session by itself after so many octets."""
    largest_limit_by_coa: int = 0
    """Of such limits the largest that a CoA changes; 0 for none."""
    superseded: Mapping[Kind, Kind] = field(default_factory=dict)
    """Which attribute of ours is left out beside one of the plan's own."""

    def knows(self, vendor: int) -> bool:
        """Tell whether attributes of that vendor are sent."""
        return self.vendors is None or vendor in self.vendors

    def told(self) -> frozenset[Aspect]:
        """Return all that it may ever be told of an entitlement."""
        told = {Aspect.POOL, Aspect.ATTRIBUTES}
        if self.rate_kinds:
            told.add(Aspect.RATES)
        if self.address_lists:
            told.add(Aspect.ADDRESS_LIST)
        if self.knows(Vendor.WISPR):
            told.add(Aspect.REDIRECT)
        return frozenset(told)

    def aspect_of(self, kind: Kind) -> Aspect:
        """Return what of a line an attribute tells."""
        return Aspect.RATES if kind in self.rate_kinds else _ASPECTS.get(kind, Aspect.ATTRIBUTES)

    def can_change(self, kind: Kind) -> bool:
        """Tell whether a CoA changes that attribute in an open session."""
        return self.aspect_of(kind) in self.changeable or kind in self.changeable_attributes


_ASPECTS: Mapping[Kind, Aspect] = MappingProxyType(
    {
        of_vendor(Vendor.MIKROTIK, MIKROTIK_ADDRESS_LIST): Aspect.ADDRESS_LIST,
        standard(Type.FRAMED_POOL): Aspect.POOL,
        of_vendor(Vendor.WISPR, WISPR_REDIRECTION_URL): Aspect.REDIRECT,
        standard(Type.SESSION_TIMEOUT): Aspect.SESSION_TIMEOUT,
        standard(Type.IDLE_TIMEOUT): Aspect.IDLE_TIMEOUT,
    }
)

_POLICE_DOWN = (int(Vendor.CISCO), CISCO_AVPAIR, b"lcp:interface-config#1rate-limit output")
_POLICE_UP = (int(Vendor.CISCO), CISCO_AVPAIR, b"lcp:interface-config#1rate-limit input")
_SESSION_POLICIES: Mapping[Kind, Kind] = MappingProxyType(
    {
        (int(Vendor.CISCO), CISCO_AVPAIR, prefix + direction): police
        for direction, police in ((b"sub-qos-policy-in", _POLICE_UP), (b"sub-qos-policy-out", _POLICE_DOWN))
        for prefix in (b"", b"ip:")
    }
    | {
        of_vendor(Vendor.CISCO, CISCO_POLICY_UP): _POLICE_UP,
        of_vendor(Vendor.CISCO, CISCO_POLICY_DOWN): _POLICE_DOWN,
    }
)
"""A session's own QoS policy stands in place of policing its interface; in is the upload."""

_HUAWEI_RATES = (
    HUAWEI_INPUT_AVERAGE_RATE,
    HUAWEI_INPUT_PEAK_RATE,
    HUAWEI_OUTPUT_AVERAGE_RATE,
    HUAWEI_OUTPUT_PEAK_RATE,
)
_BY_ADDRESS = (Type.USER_NAME, Type.ACCT_SESSION_ID, Type.FRAMED_IP_ADDRESS)
"""PPP is content with less; hotspots want the address, too."""

_LISTED_BY_ROUTEROS = frozenset(
    {
        standard(Type.FILTER_ID),
        standard(PORT_LIMIT),
        of_vendor(Vendor.MIKROTIK, MIKROTIK_GROUP),
        of_vendor(Vendor.MIKROTIK, MIKROTIK_MARK_ID),
        of_vendor(Vendor.MIKROTIK, MIKROTIK_ADVERTISE_URL),
        of_vendor(Vendor.MIKROTIK, MIKROTIK_ADVERTISE_INTERVAL),
        of_vendor(Vendor.ASCEND, ASCEND_DATA_RATE),
        of_vendor(Vendor.ASCEND, ASCEND_XMIT_RATE),
    }
)
"""What RouterOS's manual lists as changeable, besides rates and timeouts. Address lists and pools are not in it."""

PROFILES: Mapping[str, NasProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            NasProfile("generic", rates.none, frozenset(), None),
            NasProfile(
                "mikrotik",
                rates.mikrotik,
                frozenset({of_vendor(Vendor.MIKROTIK, MIKROTIK_RATE_LIMIT)}),
                frozenset({Vendor.MIKROTIK, Vendor.WISPR, Vendor.ASCEND, Vendor.MICROSOFT}),
                # RouterOS gives up after 1100 ms (`/radius timeout`).
                reject_delay_milliseconds=500,
                longest_reject_delay_milliseconds=850,
                changeable=frozenset({Aspect.RATES, Aspect.SESSION_TIMEOUT, Aspect.IDLE_TIMEOUT}),
                changeable_attributes=_LISTED_BY_ROUTEROS,
                coa_identification=_BY_ADDRESS,
                api=True,
                address_lists=True,
                says_unlimited=True,
                limits_octets=True,
                # Its manual lists Recv- and Xmit-Limit as changeable, their Gigawords not.
                largest_limit_by_coa=0xFFFFFFFF,
            ),
            # Access points and EdgeRouters end sessions on request; nothing is known of changes.
            NasProfile(
                "wispr",
                rates.wispr,
                frozenset(of_vendor(Vendor.WISPR, rate) for rate in (WISPR_BANDWIDTH_MAX_UP, WISPR_BANDWIDTH_MAX_DOWN)),
                frozenset({Vendor.WISPR, Vendor.MICROSOFT}),
                coa_identification=_BY_ADDRESS,
            ),
            NasProfile(
                "cisco",
                rates.cisco,
                frozenset({_POLICE_DOWN, _POLICE_UP}),
                frozenset({Vendor.CISCO, Vendor.MICROSOFT}),
                # IOS listens on 1700 unless `aaa server radius dynamic-author` says otherwise.
                coa_port=1700,
                # An interface is configured when its session begins; a session's QoS policy can be exchanged.
                changeable=frozenset({Aspect.SESSION_TIMEOUT, Aspect.IDLE_TIMEOUT}),
                changeable_attributes=frozenset(_SESSION_POLICIES),
                coa_identification=(Type.ACCT_SESSION_ID,),
                superseded=_SESSION_POLICIES,
            ),
            NasProfile(
                "juniper",
                rates.juniper,
                frozenset({(int(Vendor.JUNIPER_ERX), ERX_SERVICE_ACTIVATE, rates.JUNIPER_SERVICE)}),
                frozenset({Vendor.JUNIPER_ERX, Vendor.MICROSOFT}),
                changeable=frozenset({Aspect.RATES}),
                coa_identification=(Type.ACCT_SESSION_ID,),
                says_unlimited=True,
            ),
            NasProfile(
                "huawei",
                rates.huawei,
                frozenset(of_vendor(Vendor.HUAWEI, rate) for rate in _HUAWEI_RATES),
                frozenset({Vendor.HUAWEI, Vendor.MICROSOFT}),
                changeable=frozenset({Aspect.RATES, Aspect.SESSION_TIMEOUT}),
                # In strict mode it refuses what it does not expect (Error-Cause 404).
                coa_identification=(Type.ACCT_SESSION_ID,),
            ),
            NasProfile(
                "accel-ppp",
                rates.accel_ppp,
                frozenset({standard(Type.FILTER_ID)}),
                frozenset({ACCEL_PPP, Vendor.CISCO, Vendor.MICROSOFT, Vendor.MIKROTIK}),
                changeable=frozenset({Aspect.RATES}),
                says_unlimited=True,
            ),
        )
    }
)
"""By the name that `[[router]] profile` gives."""
