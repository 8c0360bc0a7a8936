"""What is sold: products, what they cost and for which periods.

Rule: these are values; `config` reads them from TOML, `storage` keeps the same document, `billing` charges by them. The
price that new customers pay is a version of its own with a day; what a subscription pays stands in its history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import NewType

from domain.plan_rules import Window
from domain.tariff import Metering

ProductId = NewType("ProductId", int)
NOT_KEPT = ProductId(0)
"""Of a product that a file describes and the database has not numbered."""


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


class CycleUnit(Enum):
    """What a billing period counts in; the values are the configuration's."""

    MONTH = "month"
    WEEK = "week"
    DAY = "day"


class Align(Enum):
    """From where the periods of a product are counted; the values are the configuration's."""

    ACCOUNT = "account"
    """From the account's billing day."""
    START = "start"
    """From the day on which it was first sold to this customer."""


class Mode(Enum):
    """When a period is charged; the values are the configuration's."""

    ADVANCE = "advance"
    ARREARS = "arrears"
    DAILY = "daily"


class Proration(Enum):
    """What a part of a period costs; the values are the configuration's."""

    ACTUAL = "actual"
    """Its days, of the days of the period."""
    THIRTY = "30-day"
    """The same as if every month had 30 days."""
    TWENTY_EIGHT = "28-day"
    NONE = "none"
    """As much as the whole."""


class Activation(Enum):
    """When an activation fee is charged; the values are the configuration's."""

    FIRST_BILLING = "first-billing"
    """With the first period."""
    CREATE = "create"
    """From the day on which it was ordered, also when it begins later."""


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a bundle's price; `weight` is relative to the other parts'."""

    name: str
    weight: Decimal
    taxes: tuple[str, ...]
    weights: tuple[tuple[date, Decimal], ...] = ()
    """Weights by the day from which each holds, oldest first, where they follow a list of prices."""

    def weight_on(self, day: date) -> Decimal:
        """Return the weight that holds on `day`; before the first of them, the first."""
        found = self.weights[0][1] if self.weights else self.weight
        for starts, weight in self.weights:
            if starts <= day:
                found = weight
        return found


@dataclass(frozen=True, slots=True)
class Included:
    """What a bundle holds without a price of its own: a plan or a product, and so many of it."""

    product: str
    quantity: int = 1
    weight: Decimal | None = None
    """Its share of the bundle's price, relative to the others'; None: by what it costs alone."""


@dataclass(frozen=True, slots=True)
class Contract:
    """For how long a sale binds, and what ending it costs."""

    months: int
    renews: int = 0
    """For so many months again, each time that it has run out; 0: it does not bind any more."""
    cancellation_fee: Decimal = Decimal(0)
    """For ending it, whenever that is."""
    prior_cancellation_fee: Decimal | None = None
    """In the place of that while it binds; None: the same."""
    fee_per_month: Decimal = Decimal(0)
    """Beside it, for each month begun for which it still binds."""


@dataclass(frozen=True, slots=True)
class IntroductoryDiscount:
    """Months from the beginning in which it costs less: by a share of the price, or by an amount each."""

    months: int
    percent: Decimal | None = None
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class VoiceTerms:
    """What a voice plan includes, and by which table of rates the rest is charged."""

    line: str
    """`voip`, `fixed` or `mobile`."""
    rate_table: str | None = None
    included: tuple[IncludedUnits, ...] = ()


@dataclass(frozen=True, slots=True)
class IncludedUnits:
    """Units of a period that cost nothing."""

    category: str
    """Of destinations."""
    unit: str
    """`seconds`, `messages` or `octets`."""
    number: int
    windows: tuple[Window, ...] = ()
    """Hours of the week in which they may be used; empty: always."""


@dataclass(frozen=True, slots=True)
class Product:
    """One thing that is sold."""

    id: ProductId
    code: str
    """What files and people call it; for an Internet plan the plan's name."""
    kind: ProductKind
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """By language, where documents call it otherwise than its code."""
    unit: str = ""
    every: int = 1
    """So many units of the cycle make a period."""
    cycle_unit: CycleUnit = CycleUnit.MONTH
    align: Align = Align.ACCOUNT
    mode: Mode | None = None
    """None: as the account is billed."""
    proration: Proration | None = None
    """None: as the account's."""
    taxes: tuple[str, ...] = ()
    price_includes_tax: bool = False
    parts: tuple[Part, ...] = ()
    includes: tuple[Included, ...] = ()
    """What a bundle holds."""
    contract: Contract | None = None
    activation_fee: Decimal = Decimal(0)
    activation: Activation = Activation.FIRST_BILLING
    change_fee: Decimal = Decimal(0)
    """What it costs when a customer changes from it to another product."""
    last_day_charged: bool = False
    """Whether the day on which it ends is its last one; else the first one that is not charged."""
    introduction: IntroductoryDiscount | None = None
    voice: VoiceTerms | None = None
    metered: Metering | None = None
    """How what is reported of it is charged, beside its price."""

    def name(self, language: str) -> str:
        """Return what documents in a language call it."""
        return self.names.get(language, self.code)
