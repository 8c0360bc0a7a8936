"""What the menus of a box hold, as data: properties, defaults, duplicates, references.

Rule: names, defaults and the texts of traps are RouterOS 7's as far as its manual or reports of its users show them; a
property that is not listed here is unknown to the box, and what a client may not write is not listed as a property.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from simulator.routeros_values import (
    Kind,
    address,
    address_or_host,
    duration,
    flag,
    fraction,
    mac,
    name,
    one_of,
    optional,
    pair,
    rate,
    some_of,
    targets,
    within,
    words,
)

QUEUES = "/queue/simple"
QUEUE_TREE = "/queue/tree"
QUEUE_TYPES = "/queue/type"
ADDRESS_LISTS = "/ip/firewall/address-list"
PPP_ACTIVE = "/ppp/active"
PPP_SECRETS = "/ppp/secret"
PPP_PROFILES = "/ppp/profile"
PPP_AAA = "/ppp/aaa"
HOTSPOT_ACTIVE = "/ip/hotspot/active"
LEASES = "/ip/dhcp-server/lease"
INTERFACES = "/interface"
INTERFACE_LISTS = "/interface/list"
INTERFACE_LIST_MEMBERS = "/interface/list/member"
RADIUS = "/radius"
RADIUS_INCOMING = "/radius/incoming"
IDENTITY = "/system/identity"
RESOURCE = "/system/resource"
CLOCK = "/system/clock"
SERVICES = "/ip/service"
USERS = "/user"

MOST_SESSIONS = 20
"""`/ip service max-sessions`, its default."""
_PORT = within(1, 65_535)
_PRIORITY = within(1, 8)
_COUNT = within(0, 0xFFFFFFFF)
_WORD_64 = within(0, 0xFFFFFFFFFFFFFFFF)


class Property(NamedTuple):
    """What a client may write."""

    kind: Kind
    default: str | None = None
    """None: the property is not printed until it is set."""


class Reference(NamedTuple):
    """A property that names an entry of another menu, or one of some words."""

    menu: str
    words: frozenset[str] = frozenset()


Check = Callable[[Mapping[str, str]], str | None]
"""Returns what the box complains about in a whole entry."""


@dataclass(frozen=True, slots=True)
class Menu:
    """One menu of entries, or of settings."""

    path: str
    properties: Mapping[str, Property]
    shows: Mapping[str, str] = field(default_factory=dict)
    """What is printed besides, with its value in a fresh entry."""
    required: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    duplicate: str = "failure: already have such name"
    noun: str = "entry"
    """How the box calls an entry when it refuses to change a dynamic one."""
    references: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)
    check: Check | None = None
    ordered: bool = False
    fixed: bool = False
    """True: entries are neither added nor removed by clients."""
    names_itself: str | None = None
    """The beginning of the name that an entry without one gets."""
    secret: frozenset[str] = frozenset()
    """Properties that are never printed."""


def _guarantee(row: Mapping[str, str]) -> str | None:
    """A queue guarantees no more than it allows; 0 allows everything."""
    for least, most in zip(row["limit-at"].split("/"), row["max-limit"].split("/"), strict=True):
        if int(most) and int(least) > int(most):
            return "failure: limit-at can not be greater than max-limit"
    return None


_COMMON = {"comment": Property(words), "disabled": Property(flag, "false")}
_PAIR_COUNTERS = dict.fromkeys(
    ("bytes", "packets", "dropped", "rate", "packet-rate", "queued-packets", "queued-bytes"), "0/0"
)
_TOTALS = dict.fromkeys(
    ("total-bytes", "total-packets", "total-dropped", "total-rate", "total-packet-rate", "total-queued-packets"), "0"
)
_QUEUE_TYPES = (Reference(QUEUE_TYPES),)

_QUEUE_SIMPLE = Menu(
    path=QUEUES,
    properties={
        "name": Property(name),
        "target": Property(targets),
        "dst": Property(optional(targets)),
        "parent": Property(name, "none"),
        "packet-marks": Property(words, ""),
        "priority": Property(pair(_PRIORITY), "8/8"),
        "queue": Property(pair(name), "default-small/default-small"),
        "limit-at": Property(pair(rate), "0/0"),
        "max-limit": Property(pair(rate), "0/0"),
        "burst-limit": Property(pair(rate), "0/0"),
        "burst-threshold": Property(pair(rate), "0/0"),
        "burst-time": Property(pair(duration), "0s/0s"),
        "bucket-size": Property(pair(fraction), "0.1/0.1"),
        "total-queue": Property(name, "default-small"),
        "total-priority": Property(_PRIORITY),
        "total-limit-at": Property(rate),
        "total-max-limit": Property(rate),
        "total-burst-limit": Property(rate),
        "total-burst-threshold": Property(rate),
        "total-burst-time": Property(duration),
        "total-bucket-size": Property(fraction),
        "time": Property(words),
        **_COMMON,
    },
    shows={**_PAIR_COUNTERS, **_TOTALS, "invalid": "false", "dynamic": "false"},
    required=("target",),
    unique=("name",),
    noun="queue",
    references={
        "parent": (Reference(QUEUES, frozenset(("none",))),),
        "queue": _QUEUE_TYPES,
        "total-queue": _QUEUE_TYPES,
    },
    check=_guarantee,
    ordered=True,
    names_itself="queue",
)

_QUEUE_TREE = Menu(
    path=QUEUE_TREE,
    properties={
        "name": Property(name),
        "parent": Property(name),
        "packet-mark": Property(words, ""),
        "priority": Property(_PRIORITY, "8"),
        "queue": Property(name, "default-small"),
        "limit-at": Property(rate, "0"),
        "max-limit": Property(rate, "0"),
        "burst-limit": Property(rate, "0"),
        "burst-threshold": Property(rate, "0"),
        "burst-time": Property(duration, "0s"),
        "bucket-size": Property(fraction, "0.1"),
        **_COMMON,
    },
    shows={**dict.fromkeys(_PAIR_COUNTERS, "0"), "invalid": "false"},
    required=("parent",),
    unique=("name",),
    noun="queue",
    references={
        "parent": (Reference(QUEUE_TREE, frozenset(("global",))), Reference(INTERFACES)),
        "queue": _QUEUE_TYPES,
    },
    check=_guarantee,
    names_itself="queue",
)

_QUEUE_TYPE = Menu(
    path=QUEUE_TYPES,
    properties={
        "name": Property(name),
        "kind": Property(one_of("bfifo", "pfifo", "red", "sfq", "pcq", "cake", "fq-codel", "none", "mq-pfifo")),
        "pfifo-limit": Property(_COUNT),
        "bfifo-limit": Property(_COUNT),
        "pcq-rate": Property(rate),
        "pcq-limit": Property(words),
        "pcq-total-limit": Property(words),
        "pcq-classifier": Property(some_of("src-address", "dst-address", "src-port", "dst-port")),
        "pcq-burst-rate": Property(rate),
        "pcq-burst-threshold": Property(rate),
        "pcq-burst-time": Property(duration),
        "pcq-src-address-mask": Property(within(0, 32)),
        "pcq-dst-address-mask": Property(within(0, 32)),
        "pcq-src-address6-mask": Property(within(0, 128)),
        "pcq-dst-address6-mask": Property(within(0, 128)),
        "fq-codel-limit": Property(_COUNT),
        "fq-codel-flows": Property(_COUNT),
        "fq-codel-target": Property(words),
        "fq-codel-interval": Property(words),
        "cake-bandwidth": Property(rate),
        "cake-flowmode": Property(words),
        "cake-nat": Property(flag),
    },
    shows={"default": "false"},
    required=("name", "kind"),
    unique=("name",),
    noun="type",
)

_ADDRESS_LIST = Menu(
    path=ADDRESS_LISTS,
    properties={
        "list": Property(name),
        "address": Property(address_or_host),
        "timeout": Property(optional(duration)),
        **_COMMON,
    },
    shows={"dynamic": "false", "creation-time": ""},
    required=("list", "address"),
    unique=("list", "address"),
    duplicate="failure: already have such entry",
    noun="address list entry",
)

_SECRET = Menu(
    path=PPP_SECRETS,
    properties={
        "name": Property(name),
        "password": Property(words, ""),
        "service": Property(one_of("any", "async", "l2tp", "ovpn", "pppoe", "pptp", "sstp"), "any"),
        "caller-id": Property(words, ""),
        "profile": Property(name, "default"),
        "local-address": Property(optional(address_or_host)),
        "remote-address": Property(optional(address_or_host)),
        "routes": Property(words, ""),
        "ipv6-routes": Property(words, ""),
        "limit-bytes-in": Property(_WORD_64, "0"),
        "limit-bytes-out": Property(_WORD_64, "0"),
        **_COMMON,
    },
    shows={"last-logged-out": "1970-01-01 00:00:00"},
    required=("name",),
    unique=("name",),
    duplicate="failure: secret with the same name already exists",
    noun="secret",
    references={"profile": (Reference(PPP_PROFILES),)},
)

_PROFILE = Menu(
    path=PPP_PROFILES,
    properties={
        "name": Property(name),
        "local-address": Property(optional(address_or_host)),
        "remote-address": Property(optional(address_or_host)),
        "rate-limit": Property(words, ""),
        "parent-queue": Property(name),
        "insert-queue-before": Property(words),
        "queue-type": Property(words),
        "address-list": Property(words, ""),
        "only-one": Property(one_of("yes", "no", "default"), "default"),
        "change-tcp-mss": Property(one_of("yes", "no", "default"), "default"),
        "session-timeout": Property(duration),
        "idle-timeout": Property(duration),
        "dns-server": Property(words, ""),
        "comment": Property(words),
    },
    shows={"default": "false"},
    required=("name",),
    unique=("name",),
    noun="profile",
)

_AAA = Menu(
    path=PPP_AAA,
    properties={
        "use-radius": Property(flag, "false"),
        "accounting": Property(flag, "true"),
        "interim-update": Property(duration, "0s"),
        "use-circuit-id-in-nas-port-id": Property(flag, "false"),
        "enable-ipv6-accounting": Property(flag, "false"),
    },
)

_HOTSPOT_ACTIVE = Menu(
    path=HOTSPOT_ACTIVE,
    properties={},
    shows={
        "server": "hotspot1",
        "user": "",
        "address": "",
        "mac-address": "",
        "login-by": "http-chap",
        "uptime": "0s",
        "idle-time": "0s",
        "bytes-in": "0",
        "bytes-out": "0",
        "packets-in": "0",
        "packets-out": "0",
        "limit-bytes-in": "0",
        "limit-bytes-out": "0",
        "radius": "true",
    },
    noun="session",
)

_LEASE = Menu(
    path=LEASES,
    properties={
        "address": Property(address_or_host),
        "mac-address": Property(mac),
        "client-id": Property(words),
        "server": Property(words, "all"),
        "lease-time": Property(optional(duration)),
        "rate-limit": Property(words),
        "block-access": Property(flag, "false"),
        "address-lists": Property(words, ""),
        "insert-queue-before": Property(words),
        "parent-queue": Property(words),
        "queue-type": Property(words),
        "always-broadcast": Property(flag),
        "use-src-mac": Property(flag),
        "dhcp-option": Property(words, ""),
        **_COMMON,
    },
    shows={
        "status": "waiting",
        "host-name": "",
        "last-seen": "never",
        "expires-after": "",
        "active-address": "",
        "active-mac-address": "",
        "agent-circuit-id": "",
        "agent-remote-id": "",
        "radius": "false",
        "dynamic": "false",
        "blocked": "false",
    },
    required=("address",),
    unique=("address", "server"),
    duplicate="failure: already have static lease with this IP address",
    noun="lease",
)

_INTERFACE_LIST = Menu(
    path=INTERFACE_LISTS,
    properties={
        "name": Property(name),
        "include": Property(words, ""),
        "exclude": Property(words, ""),
        "comment": Property(words),
    },
    shows={"builtin": "false", "dynamic": "false"},
    required=("name",),
    unique=("name",),
    noun="list",
)

_INTERFACE_LIST_MEMBER = Menu(
    path=INTERFACE_LIST_MEMBERS,
    properties={"list": Property(name), "interface": Property(name), **_COMMON},
    shows={"dynamic": "false"},
    required=("list", "interface"),
    unique=("list", "interface"),
    duplicate="failure: already have such entry",
    noun="member",
    references={"list": (Reference(INTERFACE_LISTS),), "interface": (Reference(INTERFACES),)},
)

_INTERFACE = Menu(
    path=INTERFACES,
    properties={"name": Property(name), "mtu": Property(words, "1500"), **_COMMON},
    shows={
        "default-name": "",
        "type": "ether",
        "running": "true",
        "dynamic": "false",
        "rx-byte": "0",
        "tx-byte": "0",
        "rx-packet": "0",
        "tx-packet": "0",
    },
    unique=("name",),
    noun="interface",
    fixed=True,
)

_RADIUS = Menu(
    path=RADIUS,
    properties={
        "service": Property(some_of("ppp", "login", "hotspot", "wireless", "dhcp", "ipsec", "dot1x"), ""),
        "address": Property(address),
        "secret": Property(words, ""),
        "protocol": Property(one_of("udp", "radsec"), "udp"),
        "authentication-port": Property(_PORT, "1812"),
        "accounting-port": Property(_PORT, "1813"),
        "timeout": Property(words, "1s100ms"),
        "src-address": Property(address, "0.0.0.0"),
        "called-id": Property(words, ""),
        "domain": Property(words, ""),
        "realm": Property(words, ""),
        "accounting-backup": Property(flag, "false"),
        "certificate": Property(words, "none"),
        "require-message-auth": Property(one_of("no", "yes-for-request-resp"), "yes-for-request-resp"),
        **_COMMON,
    },
    required=("address",),
)

_IDENTITY = Menu(path=IDENTITY, properties={"name": Property(name, "MikroTik")})

_INCOMING = Menu(
    path=RADIUS_INCOMING,
    properties={"accept": Property(flag), "port": Property(_PORT), "vrf": Property(words, "main")},
)

_SERVICE = Menu(
    path=SERVICES,
    properties={
        "name": Property(name),
        "port": Property(_PORT),
        "address": Property(words, ""),
        "certificate": Property(words, "none"),
        "tls-version": Property(one_of("any", "only-1.2"), "any"),
        "max-sessions": Property(within(1, 1_000), str(MOST_SESSIONS)),
        "disabled": Property(flag, "false"),
    },
    shows={"invalid": "false"},
    unique=("name",),
    noun="service",
    fixed=True,
)

_USER = Menu(
    path=USERS,
    properties={
        "name": Property(name),
        "password": Property(words, ""),
        "group": Property(one_of("full", "read", "write"), "read"),
        "address": Property(words, ""),
        **_COMMON,
    },
    shows={"last-logged-in": "", "expired": "false"},
    required=("name", "group"),
    unique=("name",),
    duplicate="failure: user with the same name already exists",
    noun="user",
    secret=frozenset(("password",)),
)

LISTS: Mapping[str, Menu] = MappingProxyType(
    {
        menu.path: menu
        for menu in (
            _QUEUE_SIMPLE,
            _QUEUE_TREE,
            _QUEUE_TYPE,
            _ADDRESS_LIST,
            _SECRET,
            _PROFILE,
            _HOTSPOT_ACTIVE,
            _LEASE,
            _INTERFACE,
            _INTERFACE_LIST,
            _INTERFACE_LIST_MEMBER,
            _RADIUS,
            _SERVICE,
            _USER,
        )
    }
)
"""Menus of entries, by path."""

SETTINGS: Mapping[str, Menu] = MappingProxyType({menu.path: menu for menu in (_AAA, _IDENTITY, _INCOMING)})
"""Menus of one entry that has no number."""
