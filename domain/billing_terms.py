"""How an account is billed, how its debts are collected, and what its documents look like.

Rule: these are values. What an account does not say its partner says, else the ISP, else the product; `config` reads
and merges the three. Amounts are decimal, in the account's currency; days are the operator's local ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from types import MappingProxyType

from domain.bank import BankCsv
from domain.catalogue import Proration


class BillingType(Enum):
    """How an account pays; the values are stored."""

    RECURRING = "recurring"
    PREPAID_DAILY = "prepaid-daily"
    """A day's share of each price is taken from the wallet as the day begins."""
    PREPAID_PERIOD = "prepaid-period"
    """A period is taken from the wallet before it begins."""
    POSTPAID = "postpaid"
    """Everything after it was used."""

    @property
    def is_prepaid(self) -> bool:
        """Tell whether a wallet pays."""
        return self in (BillingType.PREPAID_DAILY, BillingType.PREPAID_PERIOD)


class TaxRounding(Enum):
    """Where tax is rounded; the values are the configuration's."""

    LINE = "line"
    RATE = "rate"
    """Once for each rate of a document (EN 16931)."""
    KEEP_GROSS = "keep-gross"
    """The same, and the gross amounts of the lines stay."""


class DocumentKind(Enum):
    """What is issued; the values are stored."""

    INVOICE = "invoice"
    PROFORMA = "proforma"
    CREDIT_NOTE = "credit-note"
    RECEIPT = "receipt"


class DayCount(Enum):
    """On which day something counts that happens in the middle of one; the values are the configuration's."""

    THAT_DAY = "that-day"
    NEAREST = "nearest-day"
    """From noon on it is the next day."""


class CollectionAct(Enum):
    """What may be done to collect a debt; the values are stored and configured."""

    REMINDER = "reminder"
    LATE_FEE = "late-fee"
    SLOW = "slow"
    REDIRECT = "redirect"
    BLOCK = "block"
    DEACTIVATE = "deactivate"


@dataclass(frozen=True, slots=True)
class SeriesTerms:
    """How the numbers of a kind of document are written, and when they begin anew."""

    pattern: str
    reset: str = "year"
    """`never`, `year` or `month`; `customer`: each counts for himself, and never anew."""


@dataclass(frozen=True, slots=True)
class Seller:
    """Who issues documents."""

    name: str = ""
    street: str = ""
    postcode: str = ""
    city: str = ""
    country: str = "ES"
    tax_id: str = ""
    company_id: str = ""
    email: str = ""
    phone: str = ""
    iban: str = ""
    bic: str = ""
    footer: str = ""
    colour: str = ""
    """Of lines and headings, as `#205080`; empty: the product's own."""
    logo: str = ""
    """SVG, as text."""


@dataclass(frozen=True, slots=True)
class CollectionRules:
    """When what is done about a debt, in days after the due date; None: never."""

    reminders: tuple[int, ...] = ()
    """Each counts from the one before."""
    slow_after: int | None = None
    redirect_after: int | None = None
    block_after: int | None = None
    deactivate_after: int | None = None
    """Counted from the blocking."""
    late_fee_after: int | None = None
    late_fee: Decimal = Decimal(0)
    reactivation_fee: Decimal = Decimal(0)
    minimum_debt: Decimal = Decimal(0)
    """Up to so much nothing is cut."""
    one_time_cuts: bool = True
    """Whether lines are cut for documents, too, of which all is charged once."""
    no_cut_days: frozenset[int] = frozenset()
    """Monday is 0."""
    holidays: tuple[str, ...] = ()
    """`2027-01-06`, or `12-25` of every year."""
    dates: Mapping[str, date] = field(default_factory=lambda: MappingProxyType({}))
    """Days that an operator set for steps of this account; that of reminders is the first one's."""


@dataclass(frozen=True, slots=True)
class TrustUnlock:
    """Days that a blocked customer may have on trust."""

    days: int
    most_per_month: int = 1
    price: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class BillingTerms:
    """Everything about how an account is billed."""

    currency: str = "EUR"
    billing: BillingType = BillingType.RECURRING
    billing_day: int = 1
    in_arrears: bool = False
    at_once: bool = False
    """Whether what falls due is billed on its own day; else on the next billing day."""
    proration: Proration = Proration.ACTUAL
    begins: DayCount = DayCount.THAT_DAY
    """On which day begins what is ordered without one."""
    due_days: int = 15
    proforma: bool = False
    """Whether a proforma goes before each invoice, which is issued when it is paid."""
    language: str = "es"
    tax_rounding: TaxRounding = TaxRounding.RATE
    tax_exempt: str = ""
    """Why no tax is charged; empty: it is."""
    reverse_charge: bool = False
    """Whether the exemption is that the customer owes the tax."""
    period_days: int | None = None
    """Of prepaid periods: their days; None: a month."""
    minimum_balance: Decimal = Decimal(0)
    """What has to stay in a wallet."""
    credit_limit: Decimal = Decimal(0)
    """How far below nothing a wallet may go."""
    trust_unlock: TrustUnlock | None = None
    collection: CollectionRules = field(default_factory=CollectionRules)
    series: Mapping[str, SeriesTerms] = field(default_factory=lambda: MappingProxyType({}))
    """By kind of document."""
    seller: Seller = field(default_factory=Seller)
    e_invoice: bool = False
    """Whether PDFs carry the EN 16931 XML."""
    template: str = ""
    """What documents are printed by, in Typst; empty: the product's own."""
    preview_days: int = 0
    """How many days before a billing day its run can be seen."""
    automatic: bool = False
    """Whether runs are issued by themselves; else an operator says when."""
    confirmation_days: int = 0
    """How many days an automatic run waits for its confirmation before it is issued without."""
    bank: BankCsv = field(default_factory=BankCsv)
    """How the bank writes its CSV files."""
