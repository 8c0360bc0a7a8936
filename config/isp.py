"""Decides what an ISP file may hold: the entries of routers, pools, plans, customers and services.

Rule: an entry is complete and checked; references are names, because the file knows no ids. Only a secret and the
state of an account may be absent (None): those of an object which exists already then stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum

from config.catalogue import Offer
from config.checks import Address
from config.problems import Problem
from domain.catalogue import ProductKind
from domain.network import AccountState, MessageAuthenticatorPolicy, PoolKind, QueueKind
from domain.plan_rules import NO_RULES, Blocking, PlanRules
from domain.secret import Secret
from domain.tax import Tax

MAIN = "main"
"""The partner that is the ISP itself."""
DEFAULT_TIMEZONE = "Europe/Madrid"

AttributeEncoder = Callable[[str, str], bytes]
"""Encodes a reply attribute, or raises a CaudalError that says why it cannot."""


class RouterProfile(Enum):
    """Families of NAS whose habits the product knows."""

    MIKROTIK = "mikrotik"
    GENERIC = "generic"
    CISCO = "cisco"
    JUNIPER = "juniper"
    HUAWEI = "huawei"
    WISPR = "wispr"
    ACCEL_PPP = "accel-ppp"


class PlanKind(Enum):
    """What a plan sells."""

    INTERNET = "internet"


@dataclass(frozen=True, slots=True)
class IspEntry:
    """The operator itself."""

    name: str
    currency: str
    timezone: str
    blocking: Blocking = field(default_factory=Blocking)
    billing: Mapping[str, object] = field(default_factory=dict)
    """In the words of `[isp.billing]`."""


@dataclass(frozen=True, slots=True)
class ApiEntry:
    """Access to a router's management API; a missing port is the API's own."""

    user: str
    password: Secret | None
    port: int | None
    tls: bool
    fingerprint: bytes | None = None
    """SHA-256 of its certificate."""


@dataclass(frozen=True, slots=True)
class RouterEntry:
    """A NAS, or several behind one block of addresses."""

    name: str
    address: str
    identifier: str | None
    secret: Secret | None
    profile: RouterProfile
    coa_port: int | None
    require_message_authenticator: MessageAuthenticatorPolicy
    flip_counters: bool
    api: ApiEntry | None
    coa_per_second: int | None = None
    repair_drift: bool = True
    api_accounting: bool = False
    queues: QueueKind = QueueKind.NONE


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """Addresses or prefixes to lease: everything from `first` to `last`, both included."""

    name: str
    kind: PoolKind
    first: Address
    last: Address
    prefix_length: int
    routers: tuple[str, ...]
    lease_seconds: int | None

    def contains(self, address: Address) -> bool:
        """Tell whether an address lies in the pool."""
        return self.first.version == address.version and int(self.first) <= int(address) <= int(self.last)


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """What a subscriber buys; a missing rate or limit is none."""

    name: str
    kind: PlanKind
    download_bits_per_second: int | None
    upload_bits_per_second: int | None
    pool: str | None
    ipv6_pool: str | None
    delegated_pool: str | None
    session_timeout_seconds: int | None
    idle_timeout_seconds: int | None
    interim_seconds: int
    simultaneous: int | None
    rules: PlanRules = NO_RULES
    offer: Offer | None = None
    """What it costs; None: it is not sold."""


@dataclass(frozen=True, slots=True)
class PartnerEntry:
    """A reseller, or `main`, the ISP itself; `billing` in the words of its table."""

    name: str
    billing: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CustomerEntry:
    """A person or company; `details` and `billing` in the words of the file, None: as they are."""

    login: str
    name: str
    email: str | None
    phone: str | None
    partner: str = MAIN
    payer: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    billing: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionEntry:
    """Something that is sold to a customer beside the plans of services; `code` is what the file calls it."""

    code: str
    customer: str
    product: str
    starts: date | None
    """None: the day on which it is first applied."""
    ends: date | None
    quantity: Decimal
    price: Decimal | None
    """None: what new customers pay."""
    service: str | None


@dataclass(frozen=True, slots=True)
class DiscountEntry:
    """What a customer pays less: a share, an amount of each period, or an amount until it is used up (a coupon)."""

    code: str
    customer: str
    subscription: str | None
    """What files call what it is for."""
    service: str | None
    """Login of the line that it is for; neither: everything that the customer pays for."""
    kind: str
    """`percent`, `amount` or `coupon`."""
    value: Decimal
    starts: date | None
    """None: the day on which it is first applied."""
    ends: date | None
    text: str
    """What documents call it; empty: a discount."""


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A line: who may log in, and what it gets. `reply_octets` are its attributes as a packet carries them.

    An account state that is None stays as it is.
    """

    login: str
    password: Secret | None
    plan: str
    customer: str | None
    address: str | None
    macs: tuple[str, ...]
    routers: tuple[str, ...]
    simultaneous: int | None
    enabled: bool
    expires_at: datetime | None
    period_day: int
    account_state: AccountState | None
    attributes: tuple[tuple[str, str], ...]
    reply_octets: bytes


@dataclass(frozen=True, slots=True)
class Isp:
    """A whole file, accepted."""

    isp: IspEntry | None
    routers: tuple[RouterEntry, ...]
    pools: tuple[PoolEntry, ...]
    plans: tuple[PlanEntry, ...]
    customers: tuple[CustomerEntry, ...]
    services: tuple[ServiceEntry, ...]
    warnings: tuple[Problem, ...]
    taxes: tuple[Tax, ...] = ()
    partners: tuple[PartnerEntry, ...] = ()
    products: tuple[Offer, ...] = ()
    subscriptions: tuple[SubscriptionEntry, ...] = ()
    discounts: tuple[DiscountEntry, ...] = ()


def _nothing(_names: Collection[str]) -> frozenset[str]:
    return frozenset()


def _nobody(_addresses: Collection[str]) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Known:
    """What exists before the file is applied, so that the file may refer to it.

    Customers and services are asked for by login, for there may be a million: `customers` and `services` return those
    of the given logins that exist, `address_holders` the login that each of the given static addresses belongs to.
    """

    timezone: str = DEFAULT_TIMEZONE
    has_usage: bool = False
    """Whether days have been counted, which are those of `timezone`."""
    routers: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Address and identifier by name."""
    routers_with_api: Collection[str] = frozenset()
    pools: Mapping[str, PoolEntry] = field(default_factory=dict)
    plans: Collection[str] = frozenset()
    taxes: Collection[str] = frozenset()
    partners: Collection[str] = frozenset()
    products: Mapping[str, ProductKind] = field(default_factory=dict)
    """With those that sell plans."""
    subscriptions: Callable[[Collection[str]], Mapping[str, str]] = _nobody
    """By what files call them, the logins of their customers."""
    customers: Callable[[Collection[str]], Collection[str]] = _nothing
    services: Callable[[Collection[str]], Collection[str]] = _nothing
    address_holders: Callable[[Collection[str]], Mapping[str, str]] = _nobody
