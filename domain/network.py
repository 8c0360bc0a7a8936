"""The access network as every room speaks of it: routers, pools of addresses, plans.

Rule: these are values of one configuration revision; nothing here changes after it was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import NewType

from domain.plan_rules import NO_RULES, PlanRules
from domain.secret import Secret

RouterId = NewType("RouterId", int)
PoolId = NewType("PoolId", int)
PlanId = NewType("PlanId", int)
ServiceId = NewType("ServiceId", int)

IPV4_BITS = 32
IPV6_BITS = 128


class MessageAuthenticatorPolicy(Enum):
    """When a router's requests must carry a Message-Authenticator; the values are the configuration's."""

    ALWAYS = "always"
    AUTO = "auto"
    """Required from the first request on that carried one."""
    NEVER = "never"


class PoolKind(Enum):
    """What a pool hands out; the values are the configuration's."""

    IPV4 = "ipv4"
    IPV6_PREFIX = "ipv6-prefix"
    DELEGATED_PREFIX = "delegated-prefix"


class AccountState(Enum):
    """Whether the account behind a service may be served; the values are the configuration's."""

    ACTIVE = "active"
    SLOWED = "slowed"
    """A debt makes it slow, at the rates that `slow` of the blocking says."""
    REDIRECTED = "redirected"
    """Let in, to the walled garden alone; slow where there is none."""
    BLOCKED = "blocked"
    NO_BALANCE = "no_balance"


class QueueKind(Enum):
    """What a router is given for static services; the values are the configuration's."""

    NONE = "none"
    SIMPLE = "simple"
    """A queue each, below a tree that shares what a plan's lines contend for."""
    PCQ = "pcq"


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How a router's management API is reached; a missing port is the API's own."""

    user: str
    password: Secret
    port: int | None
    tls: bool
    fingerprint: bytes | None = None
    """SHA-256 of the only certificate that is trusted; None: any, or by the system's authorities."""


@dataclass(frozen=True, slots=True)
class Router:
    """A NAS, or several behind one network; `profile` names its NAS profile."""

    id: RouterId
    name: str
    network: str
    identifier: str | None
    secret: Secret
    profile: str
    coa_port: int | None
    require_message_authenticator: MessageAuthenticatorPolicy
    flip_counters: bool
    api: ApiAccess | None
    coa_per_second: int | None = None
    """CoA and Disconnect; None: the product's own limit."""
    repair_drift: bool = True
    """Whether owned entries that somebody changed by hand are set right, or only shown."""
    api_accounting: bool = False
    """Whether usage of lines without RADIUS accounting is read over the API."""
    queues: QueueKind = QueueKind.NONE

    @property
    def is_range(self) -> bool:
        """Tell whether several boxes may stand behind this entry, so that their session ids must be kept apart."""
        return not self.network.endswith(("/32", "/128"))


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses or prefixes that the server leases: `first` to `last`, both included, as whole numbers."""

    id: PoolId
    name: str
    kind: PoolKind
    first: int
    last: int
    prefix_length: int
    router_ids: frozenset[int]
    lease_seconds: int | None

    @property
    def stride(self) -> int:
        """Addresses in one lease."""
        bits = IPV4_BITS if self.kind is PoolKind.IPV4 else IPV6_BITS
        return 1 << (bits - self.prefix_length)

    @property
    def size(self) -> int:
        """How many leases the pool holds."""
        return (self.last - self.first + 1) // self.stride

    def address(self, offset: int) -> str:
        """Return the address, or prefix with its length, of lease number `offset`, as PostgreSQL writes an inet."""
        number = self.first + offset * self.stride
        if self.kind is PoolKind.IPV4:
            return str(IPv4Address(number))
        prefix = str(IPv6Address(number))
        return prefix if self.prefix_length == IPV6_BITS else f"{prefix}/{self.prefix_length}"

    def serves(self, router_id: int) -> bool:
        """Tell whether subscribers of that router may get an address of this pool; no list means every router."""
        return not self.router_ids or router_id in self.router_ids


@dataclass(frozen=True, slots=True)
class Plan:
    """What a subscriber bought; a missing rate or limit is unlimited. Down and up are the subscriber's."""

    id: PlanId
    name: str
    download_bits_per_second: int | None
    upload_bits_per_second: int | None
    pool_id: PoolId | None
    ipv6_pool_id: PoolId | None
    delegated_pool_id: PoolId | None
    session_timeout_seconds: int | None
    idle_timeout_seconds: int | None
    interim_seconds: int
    simultaneous: int | None
    rules: PlanRules = NO_RULES
