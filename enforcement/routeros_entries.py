"""The entries that the product keeps in a router, as RouterOS is told of them.

Rule: an entry is named by its key for ever, in a comment that begins with `caudal:<key>`; every property that is kept
is told in full, so that a router never fills one in itself. Pairs are upload/download in bit/s, None is unlimited.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from enforcement import routeros_values as values
from enforcement.routeros_values import Meaning

TAG = "caudal:"
_TAGGED = re.compile(re.escape(TAG) + r"([\w./:-]+)", re.ASCII).match
"""A key has no space: what an operator writes behind it is a remark."""
NO_PARENT = "none"
DEFAULT_QUEUES = "default-small/default-small"
LOWEST_PRIORITY = 8


class Menu(Enum):
    """Where entries stand; the values are the API's paths."""

    QUEUE_TYPE = "/queue/type"
    SIMPLE_QUEUE = "/queue/simple"
    ADDRESS_LIST = "/ip/firewall/address-list"
    ADDRESS_LIST_6 = "/ipv6/firewall/address-list"
    LEASE = "/ip/dhcp-server/lease"


class UpDown(NamedTuple):
    """Rates in bit/s; None is unlimited."""

    up: int | None = None
    down: int | None = None

    @property
    def text(self) -> str:
        """The pair as RouterOS is told it."""
        return values.rates(self.up, self.down)


UNLIMITED = UpDown()


@dataclass(frozen=True, slots=True)
class SimpleQueue:
    """A queue of `/queue/simple`; `targets` are networks."""

    key: str
    name: str
    targets: tuple[str, ...]
    max_limit: UpDown
    limit_at: UpDown = UNLIMITED
    burst_limit: UpDown = UNLIMITED
    burst_threshold: UpDown = UNLIMITED
    burst_seconds: int = 0
    priority: int = LOWEST_PRIORITY
    parent: str | None = None
    """The name of another queue of ours."""
    queue: str = DEFAULT_QUEUES
    """Queue types, upload/download."""

    menu = Menu.SIMPLE_QUEUE

    def properties(self) -> dict[str, str]:
        """Return every property, as text."""
        return {
            "name": self.name,
            "target": ",".join(self.targets),
            "parent": self.parent or NO_PARENT,
            "max-limit": self.max_limit.text,
            "limit-at": self.limit_at.text,
            "burst-limit": self.burst_limit.text,
            "burst-threshold": self.burst_threshold.text,
            "burst-time": f"{self.burst_seconds}s/{self.burst_seconds}s",
            "priority": f"{self.priority}/{self.priority}",
            "queue": self.queue,
            "disabled": "no",
        }


@dataclass(frozen=True, slots=True)
class PcqType:
    """A queue type that divides one queue among addresses, each at most `rate` (bit/s, None without limit)."""

    key: str
    rate: int | None
    classifier: str
    """`src-address` for upload, `dst-address` for download."""

    menu = Menu.QUEUE_TYPE

    @property
    def name(self) -> str:
        """The tag itself: a queue type has no comment that could bear it."""
        return TAG + self.key

    def properties(self) -> dict[str, str]:
        """Return every property, as text."""
        return {
            "name": self.name,
            "kind": "pcq",
            "pcq-rate": str(self.rate or 0),
            "pcq-classifier": self.classifier,
        }


@dataclass(frozen=True, slots=True)
class ListedAddress:
    """An address or network in a firewall address list."""

    key: str
    list: str
    address: str

    @property
    def menu(self) -> Menu:
        """The menu of the address's family."""
        return Menu.ADDRESS_LIST_6 if ":" in self.address else Menu.ADDRESS_LIST

    def properties(self) -> dict[str, str]:
        """Return every property, as text."""
        return {"list": self.list, "address": values.address(self.address), "disabled": "no"}


@dataclass(frozen=True, slots=True)
class LeaseRate:
    """The rate of a DHCP lease that the operator tagged; `mac` finds one that is not tagged yet."""

    key: str
    mac: str
    rate_limit: str

    menu = Menu.LEASE

    def properties(self) -> dict[str, str]:
        """Return every property, as text."""
        return {"rate-limit": self.rate_limit}


Row: TypeAlias = Mapping[str, str]
"""One entry as the router prints it, by property."""
Entry: TypeAlias = SimpleQueue | PcqType | ListedAddress | LeaseRate


class Property(NamedTuple):
    """How one property is compared, and what it is where the router does not print it."""

    meaning: Meaning
    default: str


_RATES = Property(values.same(values.pair(values.rate)), "0/0")
_TEXT = Property(str, "")
_ENABLED = Property(values.flag, "false")

PROPERTIES: Mapping[Menu, Mapping[str, Property]] = MappingProxyType(
    {
        Menu.QUEUE_TYPE: {
            "name": _TEXT,
            "kind": _TEXT,
            "pcq-rate": Property(values.same(values.rate), "0"),
            "pcq-classifier": Property(values.words, ""),
        },
        Menu.SIMPLE_QUEUE: {
            "name": _TEXT,
            "target": Property(values.targets, ""),
            "parent": Property(str, NO_PARENT),
            "max-limit": _RATES,
            "limit-at": _RATES,
            "burst-limit": _RATES,
            "burst-threshold": _RATES,
            "burst-time": Property(values.same(values.pair(values.seconds)), "0s/0s"),
            "priority": Property(values.pair(str), "8/8"),
            "queue": Property(values.pair(str), DEFAULT_QUEUES),
            "disabled": _ENABLED,
        },
        Menu.ADDRESS_LIST: {"list": _TEXT, "address": Property(values.address, ""), "disabled": _ENABLED},
        Menu.ADDRESS_LIST_6: {"list": _TEXT, "address": Property(values.address, ""), "disabled": _ENABLED},
        Menu.LEASE: {"rate-limit": Property(values.rate_limit, "")},
    }
)
"""What is kept of each entry; the words of RouterOS."""

READ_TOO: Mapping[Menu, tuple[str, ...]] = MappingProxyType(
    {
        Menu.QUEUE_TYPE: (".id",),
        Menu.SIMPLE_QUEUE: (".id", "comment", "dynamic"),
        Menu.ADDRESS_LIST: (".id", "comment", "dynamic"),
        Menu.ADDRESS_LIST_6: (".id", "comment", "dynamic"),
        Menu.LEASE: (".id", "comment", "dynamic", "mac-address"),
    }
)
"""What is read besides."""


def key_of(menu: Menu, row: Row) -> str | None:
    """Return the key of an entry of ours; None for everybody else's, and for what the router made itself."""
    match = _TAGGED(row.get("name" if menu is Menu.QUEUE_TYPE else "comment", ""))
    return None if match is None or values.flag(row.get("dynamic", "")) else match[1]


def told(entry: Entry) -> dict[str, str]:
    """Return what the router is told to add `entry`: its properties, and the comment that makes it ours."""
    tag = {} if entry.menu is Menu.QUEUE_TYPE else {"comment": TAG + entry.key}
    return entry.properties() | tag


def differences(entry: Entry, row: Row) -> dict[str, str]:
    """Return the properties in which `row` does not say what `entry` does, with the values that `entry` wants."""
    kept = PROPERTIES[entry.menu]
    changed = {}
    for name, wanted in entry.properties().items():
        meaning, default = kept[name]
        found = row.get(name, default)
        if found != wanted and meaning(found) != meaning(wanted):
            changed[name] = wanted
    return changed
