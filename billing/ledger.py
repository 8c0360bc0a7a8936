"""What moves in the books: accounts, and transfers whose debits and credits are equal.

Rule: a debit is positive, a credit negative; the postings of a transfer sum to nothing in each currency. Nothing that
was posted is changed: a correction is another transfer. Whoever asks twice under one key has asked once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import NamedTuple

from billing.errors import BillingError
from billing.exchange import Foreign

NOBODY = 0
"""The customer of an account that is everybody's."""


class AccountKind(Enum):
    """What an account of the ledger is for; the values are stored."""

    RECEIVABLE = "receivable"
    """What each customer owes; negative: has paid too much."""
    REVENUE = "revenue"
    TAX = "tax"
    CASH = "cash"
    """What came in, by method of payment."""
    DEPOSIT = "deposit"
    """What is held for each customer and given back."""
    WALLET = "wallet"
    """What each prepaid customer has left."""
    ROUNDING = "rounding"
    WRITE_OFF = "write-off"
    EXCHANGE = "exchange"
    """What was exchanged between currencies."""


FROM_DEPOSIT = "deposit"
"""The method of what is paid out of a deposit: nothing comes in."""
WRITTEN_OFF = "write-off"
"""The method of what nobody pays."""
OWN_METHODS = (FROM_DEPOSIT, WRITTEN_OFF)
"""Methods that are no payment which comes in: there are orders of their own for them."""
PER_CUSTOMER = frozenset({AccountKind.RECEIVABLE, AccountKind.DEPOSIT, AccountKind.WALLET})


class LedgerAccount(NamedTuple):
    """An account, by what it is; the customer is named in each posting."""

    kind: AccountKind
    name: str
    currency: str


class Posting(NamedTuple):
    """An amount in an account; a debit is positive."""

    account: LedgerAccount
    amount: int
    customer_id: int = NOBODY


@dataclass(frozen=True, slots=True)
class Transfer:
    """Postings that belong together."""

    posted_on: date
    kind: str
    key: str
    postings: tuple[Posting, ...]
    partner_id: int = 1
    customer_id: int | None = None
    document_id: int | None = None
    payment_id: int | None = None
    text: str = ""
    made_by: str = ""


class Unbalanced(BillingError):
    """Debits and credits of a transfer differ."""

    def __init__(self, key: str, currency: str, amount: int) -> None:
        super().__init__(f"the transfer {key!r} is not balanced: {amount} {currency} too much; nothing was posted")


def check(transfer: Transfer) -> Transfer:
    """Return a transfer that may be posted. Raise Unbalanced."""
    sums: dict[str, int] = {}
    for posting in transfer.postings:
        currency = posting.account.currency
        sums[currency] = sums.get(currency, 0) + posting.amount
    for currency, amount in sums.items():
        if amount:
            raise Unbalanced(transfer.key, currency, amount)
    return transfer


def receivable(customer_id: int, amount: int, currency: str) -> Posting:
    """Return a debit (or credit) of what a customer owes."""
    return Posting(LedgerAccount(AccountKind.RECEIVABLE, "", currency), amount, customer_id)


def wallet(customer_id: int, amount: int, currency: str) -> Posting:
    """Return a debit of a wallet, which is what is taken out of it; a credit is what goes in."""
    return Posting(LedgerAccount(AccountKind.WALLET, "", currency), amount, customer_id)


def cash(method: str, amount: int, currency: str) -> Posting:
    """Return a debit of what came in by a method."""
    return Posting(LedgerAccount(AccountKind.CASH, method, currency), amount)


def deposit(customer_id: int, amount: int, currency: str) -> Posting:
    """Return a debit of what is held for a customer, which is what is given back or used; a credit is what comes in."""
    return Posting(LedgerAccount(AccountKind.DEPOSIT, "", currency), amount, customer_id)


def received(
    method: str, amount: int, currency: str, customer_id: int, foreign: Foreign | None = None
) -> tuple[Posting, ...]:
    """Return the debits of what a customer paid, which is worth `amount`: what came in, was held, or is given up.

    Another currency is exchanged through accounts of both, so that each currency is balanced by itself.
    """
    if method == FROM_DEPOSIT:
        return (deposit(customer_id, amount, currency),)
    if method == WRITTEN_OFF:
        return (Posting(LedgerAccount(AccountKind.WRITE_OFF, "", currency), amount),)
    if foreign is None:
        return (cash(method, amount, currency),)
    exchanged = (
        cash(method, foreign.amount, foreign.currency),
        Posting(LedgerAccount(AccountKind.EXCHANGE, "", foreign.currency), -foreign.amount),
        Posting(LedgerAccount(AccountKind.EXCHANGE, "", currency), amount),
    )
    # A small part of what came in may be less than the other currency can tell.
    return tuple(posting for posting in exchanged if posting.amount)


@dataclass(slots=True)
class Earned:
    """What a document earns: net by kind of revenue, and tax by rate."""

    revenue: dict[str, int] = field(default_factory=dict)
    taxes: dict[str, int] = field(default_factory=dict)

    def postings(self, currency: str) -> Iterable[Posting]:
        """Return the credits."""
        for kind, sums in ((AccountKind.REVENUE, self.revenue), (AccountKind.TAX, self.taxes)):
            for name, amount in sums.items():
                if amount:
                    yield Posting(LedgerAccount(kind, name, currency), -amount)

    @property
    def gross(self) -> int:
        """All of it."""
        return sum(self.revenue.values()) + sum(self.taxes.values())
