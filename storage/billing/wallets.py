"""Wallets: for how many days they last, and what of them is reserved.

Rule: what is reserved cannot be spent by anybody else; a reservation is refused when it is made, never when it is used.
The caller's transaction holds the account's row.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from functools import cache

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing import prepaid
from billing.difference import IssuedLine
from billing.generation import Subscription
from billing.ledger import Transfer
from storage.billing import accounts, ledger, run
from storage.billing.accounts import Account, Catalogue
from storage.errors import OrderRefused


class BalanceTooLow(OrderRefused):
    """A wallet has not what was to be reserved."""

    def __init__(self, wanted: int, available: int) -> None:
        super().__init__(f"{wanted} minor units were to be reserved, and {max(0, available)} are available")


def days_left(account: Account, catalogue: Catalogue, today: date) -> int:
    """Return how many days from tomorrow on a wallet pays, by what the runs of these days would take."""
    assert account.wallet is not None
    subscriptions = {each.id: each for each in account.subscriptions}
    made = 0

    @cache
    def cost(day: date) -> int:
        nonlocal made
        account.subscriptions = list(subscriptions.values())
        _, drafts = run.draft(account, catalogue, day)
        for draft in drafts:
            for line in draft.lines:
                made -= 1
                if line.line.subscription_id is None:
                    continue
                before = subscriptions[line.line.subscription_id]
                kept = IssuedLine(
                    made, line.line.key, line.line.period, line.line.days, line.line.amount, line.line.credits_line
                )
                subscriptions[before.id] = _with(before, kept)
        account.one_offs = [one_off for one_off in account.one_offs if one_off.on > day]
        return run.taken(drafts)

    cost(today)
    return prepaid.days_left(account.wallet, today, cost)


def _with(subscription: Subscription, line: IssuedLine) -> Subscription:
    return replace(subscription, issued=[*subscription.issued, line])


def reserve(connection: Connection, customer_id: int, amount: int, key: str, expires_at: datetime, today: date) -> int:
    """Keep an amount of a wallet for something under way; return its number. Raise BalanceTooLow."""
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": customer_id})
    known = connection.scalar(text("SELECT id FROM reservation WHERE key = :key"), {"key": key})
    if known is not None:
        return int(known)
    (account,) = accounts.load(connection, [customer_id], today, Catalogue.read(connection))
    if account.wallet is None or not account.wallet.pays(amount):
        raise BalanceTooLow(amount, 0 if account.wallet is None else account.wallet.available)
    return int(
        connection.execute(
            text("""INSERT INTO reservation (customer_id, amount, expires_at, key)
                VALUES (:customer, :amount, :expires, :key) RETURNING id"""),
            {"customer": customer_id, "amount": amount, "expires": expires_at, "key": key},
        ).scalar_one()
    )


def spend(connection: Connection, reservation_id: int, transfer: Transfer, amount: int) -> None:
    """Post what was reserved, or a part of it; the rest is free again."""
    connection.execute(
        text("UPDATE reservation SET posted = :amount, state = 'posted' WHERE id = :id AND state = 'pending'"),
        {"amount": amount, "id": reservation_id},
    )
    ledger.post(connection, [transfer])


def release(connection: Connection, reservation_id: int) -> None:
    """Free what was reserved."""
    connection.execute(
        text("UPDATE reservation SET state = 'void' WHERE id = :id AND state = 'pending'"), {"id": reservation_id}
    )
