"""What is sold: products, their prices, and the parts of bundles.

Rule: these are values of one moment. A price that changed is another version with a day from which it holds; what a
subscription pays stands in its own history and moves only when somebody moves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import NamedTuple, NewType

from billing.claims import Mode
from billing.cycle import Cycle, CycleUnit, Proration
from billing.errors import BillingError

ProductId = NewType("ProductId", int)


class ProductKind(Enum):
    """What kind of thing a product is; revenue is kept apart by it. The values are stored."""

    INTERNET = "internet"
    """A plan: its network half says what the line may do."""
    RECURRING = "recurring"
    """Rent, television, public addresses, hosting."""
    ONE_TIME = "one-time"
    TOP_UP = "top-up"
    BUNDLE = "bundle"
    """Several services for one price."""
    VOICE = "voice"


class Align(Enum):
    """From where the periods of a product are counted; the values are the configuration's."""

    ACCOUNT = "account"
    """From the account's billing day."""
    START = "start"
    """From the day on which it was first sold to this customer."""


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a bundle's price; `weight` is relative to the other parts'."""

    name: str
    weight: Decimal
    taxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """For how long a bundle binds: `months`, then again so many where it renews."""

    months: int
    renews: bool = False
    cancellation_fee: Decimal = Decimal(0)
    """For ending it before its months are over."""
    fee_per_month: Decimal = Decimal(0)
    """The same, for each month begun that is left."""


@dataclass(frozen=True, slots=True)
class IntroductoryDiscount:
    """Months from the beginning in which it costs less: by a share of the price, or by an amount each."""

    months: int
    percent: Decimal | None = None
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """One thing that is sold."""

    id: ProductId
    code: str
    """What files and people call it; for an Internet plan the plan's name."""
    kind: ProductKind
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    """By language, where documents call it otherwise than its code."""
    unit: str = ""
    unit_cycle: CycleUnit = CycleUnit.MONTH
    every: int = 1
    """So many units make a period."""
    align: Align = Align.ACCOUNT
    mode: Mode | None = None
    """None: as the account is billed."""
    proration: Proration | None = None
    """None: as the account's."""
    taxes: tuple[str, ...] = ()
    price_includes_tax: bool = False
    parts: tuple[Part, ...] = ()
    contract: Contract | None = None
    activation_fee: Decimal = Decimal(0)
    introduction: IntroductoryDiscount | None = None

    def name(self, language: str) -> str:
        """Return what documents in a language call it."""
        return self.names.get(language, self.code)

    def cycle(self, account: Cycle, started: date) -> Cycle:
        """Return the periods for which it is charged; `started` is when it was first sold to this customer."""
        if self.align is Align.START or self.unit_cycle is not CycleUnit.MONTH:
            return Cycle(started, self.every, self.unit_cycle)
        return account if self.every == account.count else Cycle(account.anchor, self.every)


class PriceVersion(NamedTuple):
    """What a product costs new customers from a day on; `partner_id` None is everybody who has no price of his own."""

    starts: date
    amount: Decimal
    partner_id: int | None = None


class NoPrice(BillingError):
    """A product has no price on a day."""

    def __init__(self, code: str, day: date) -> None:
        super().__init__(
            f"{code} has no price on {day}; set one with `caudal price change {code!r} AMOUNT --from {day}`"
        )


def price_on(versions: Sequence[PriceVersion], day: date, partner_id: int | None, code: str) -> Decimal:
    """Return what a new customer of a partner pays on `day`; the partner's own price list goes first."""
    found: PriceVersion | None = None
    for version in versions:
        if version.starts > day or version.partner_id not in (None, partner_id):
            continue
        own, held = version.partner_id is not None, found is not None and found.partner_id is not None
        if found is None or (own, version.starts) >= (held, found.starts):
            found = version
    if found is None:
        raise NoPrice(code, day)
    return found.amount


class PriceScope(Enum):
    """Whom a change of a price concerns; the values are the command's."""

    NEW = "new"
    """Who subscribes from that day on."""
    ALL = "all"
    """And who has it already, from that day on."""
    OLD_PRICE = "old-price"
    """And of these only who still pays what new customers paid before."""


class Holder(NamedTuple):
    """A subscription to a product whose price changes."""

    subscription_id: int
    unit_price: Decimal
    quantity: Decimal
    partner_id: int | None


def moved(holders: Sequence[Holder], old: Decimal | None, new: Decimal, scope: PriceScope) -> list[Holder]:
    """Return the subscriptions that a change of price moves."""
    if scope is PriceScope.NEW:
        return []
    return [
        holder
        for holder in holders
        if holder.unit_price != new and (scope is PriceScope.ALL or holder.unit_price == old)
    ]
