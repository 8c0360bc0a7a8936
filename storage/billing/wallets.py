"""Wallets: for how many days they last, and what of them is reserved.

Rule: what is reserved cannot be spent by anybody else; a reservation is refused when it is made, never when it is used.
The caller's transaction holds the account's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing import prepaid
from billing.difference import IssuedLine
from billing.documents import Draft
from billing.generation import Coupon, OneOff, Subscription
from billing.tax import TaxableLine, settle
from domain.billing_terms import TaxRounding
from domain.money import decimal, decimal_text
from storage.billing import accounts, at_once, clock, drafting, ledger, run, taken_by_day
from storage.billing.accounts import Account, Catalogue
from storage.errors import OrderRefused


class BalanceTooLow(OrderRefused):
    """A wallet has not what was to be reserved."""

    def __init__(self, wanted: int, available: int, currency: str) -> None:
        there = f"{decimal_text(max(0, available), currency)} {currency} are available"
        super().__init__(f"{decimal_text(wanted, currency)} were to be reserved, and {there}; see `caudal payment add`")


def days_left(account: Account, catalogue: Catalogue, today: date) -> int:
    """Return how many days from tomorrow on a wallet pays, by what the runs of these days would take."""
    assert account.wallet is not None
    subscriptions = {each.id: each for each in account.subscriptions}
    made = 0

    @cache
    def cost(day: date) -> int:
        nonlocal made
        account.subscriptions = list(subscriptions.values())
        _, drafts = drafting.draft(account, catalogue, day)
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
        account.daily += taken_by_day.added(drafts)
        account.one_offs = [one_off for one_off in account.one_offs if one_off.on > day]
        account.coupons = [_less(coupon, drafts) for coupon in account.coupons]
        return drafting.taken(drafts)

    due = cost(today)
    return prepaid.days_left(account.wallet.after(due), today, cost) if account.wallet.pays(due) else 0


def missing(account: Account, catalogue: Catalogue, today: date) -> int:
    """Return what has to be paid before a wallet pays what is due today, in minor units; nothing where it does."""
    assert account.wallet is not None
    _, drafts = drafting.draft(account, catalogue, today)
    return account.wallet.missing(drafting.taken(drafts))


def _with(subscription: Subscription, line: IssuedLine) -> Subscription:
    return replace(subscription, issued=[*subscription.issued, line])


def _less(coupon: Coupon, drafts: Sequence[Draft]) -> Coupon:
    """Return what is left of a coupon after documents; their lines of it are negative."""
    taken = (each.line.amount for draft in drafts for each in draft.lines if each.line.discount_id == coupon.id)
    return coupon._replace(left=coupon.left + sum(taken))


def reserve(
    connection: Connection, customer_id: int, amount: int, key: str, expires_at: datetime, today: date, what: str = ""
) -> int:
    """Keep an amount of a wallet for something under way; return its number. Raise BalanceTooLow."""
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": customer_id})
    known = connection.scalar(text("SELECT id FROM reservation WHERE key = :key"), {"key": key})
    if known is not None:
        return int(known)
    (account,) = accounts.load(connection, [customer_id], today, Catalogue.read(connection))
    if account.wallet is None or not account.wallet.pays(amount):
        available = 0 if account.wallet is None else account.wallet.available
        raise BalanceTooLow(amount, available, account.terms.currency)
    return int(
        connection.execute(
            text("""INSERT INTO reservation (customer_id, amount, expires_at, key, text)
                VALUES (:customer, :amount, :expires, :key, :text) RETURNING id"""),
            {"customer": customer_id, "amount": amount, "expires": expires_at, "key": key, "text": what},
        ).scalar_one()
    )


def post(connection: Connection, reservation_id: int, product: str, amount: int, today: date) -> None:
    """Charge what was reserved, or a part of it, as a product; the rest is free again. Done once.

    The document, with its tax, is made and paid from the wallet in the same transaction. Raise OrderRefused.
    """
    row = _locked(connection, reservation_id)
    if row.state == "posted":
        return
    if row.state != "pending" or row.has_run_out:
        raise OrderRefused(f"reservation {reservation_id} is free again: it has run out or was given back")
    if amount > row.amount:
        raise OrderRefused(f"reservation {reservation_id} keeps less than that; reserve the rest beside it")
    product_id = connection.scalar(text("SELECT id FROM product WHERE code = :code"), {"code": product})
    if product_id is None:
        raise OrderRefused(f"there is no product {product!r}; see the [[product]] tables of `caudal export`")
    ledger.require_open(connection, today)
    connection.execute(
        text("UPDATE reservation SET posted = :amount, state = 'posted' WHERE id = :id"),
        {"amount": amount, "id": reservation_id},
    )
    catalogue = Catalogue.read(connection)
    (account,) = accounts.load(connection, [row.customer_id], today, catalogue)
    price = _price(account, catalogue, product_id, amount, today)
    one_off = connection.scalar(
        text("""INSERT INTO one_off (customer_id, product_id, on_day, unit_price, text, key)
            VALUES (:customer, :product, :on, :price, nullif(:text, ''), :key) RETURNING id"""),
        {
            "customer": row.customer_id, "product": product_id, "on": today, "price": price, "text": row.text,
            "key": f"reservation/{reservation_id}",
        },
    )  # fmt: skip
    sold = OneOff(int(one_off), row.customer_id, today, price, Decimal(1), product_id, text=row.text or None)
    # By itself: a wallet that does not pay what else is due pays what was kept of it.
    at_once.bill(connection, account, at_once.draft(account, catalogue, sold, today), today)
    run.bill_one(connection, row.customer_id, today)


def _price(account: Account, catalogue: Catalogue, product_id: int, amount: int, today: date) -> Decimal:
    """Return the price, as the product states prices, that with its tax comes to an amount, and never to more."""
    product, currency = catalogue.products[product_id], account.terms.currency
    taxes, is_exempt = catalogue.applied(product.taxes, today), bool(account.terms.tax_exempt)
    if product.price_includes_tax and is_exempt:
        return decimal(settle([TaxableLine(amount, taxes)], TaxRounding.RATE).gross, currency)
    if product.price_includes_tax or is_exempt:
        return decimal(amount, currency)
    settled = settle([TaxableLine(amount, taxes, includes_tax=True)], TaxRounding.RATE)
    return decimal(settled.net - (settled.gross > amount), currency)


def release(connection: Connection, reservation_id: int, today: date) -> None:
    """Free what was reserved, if it still is; a line that it kept from being paid goes on. Raise OrderRefused."""
    row = _locked(connection, reservation_id)
    if row.state == "posted":
        raise OrderRefused(f"reservation {reservation_id} was charged; see `caudal invoice credit`")
    connection.execute(
        text("UPDATE reservation SET state = 'void' WHERE id = :id AND state = 'pending'"), {"id": reservation_id}
    )
    if _ask_again(connection, [row.customer_id], today):
        run.bill_one(connection, row.customer_id, today)


def expire(connection: Connection, today: date) -> int:
    """Free what was reserved for a time that is over; return how many reservations.

    The run of today asks wallets again that did not pay.
    """
    ended = f"state = 'pending' AND expires_at <= {clock.NOW}"
    ids = connection.scalars(text(f"SELECT DISTINCT customer_id FROM reservation WHERE {ended}")).all()
    given = {"ids": [*ids]}
    among = "customer_id = ANY(CAST(:ids AS bigint[]))"
    connection.execute(text(f"SELECT FROM account WHERE {among} ORDER BY customer_id FOR UPDATE"), given)
    freed: Any = connection.execute(text(f"UPDATE reservation SET state = 'expired' WHERE {ended} AND {among}"), given)
    _ask_again(connection, ids, today)
    return int(freed.rowcount)


def _ask_again(connection: Connection, customer_ids: Sequence[int], today: date) -> bool:
    """Let the run of today ask wallets that have not paid; tell whether there were any."""
    asked: Any = connection.execute(
        text("""UPDATE account AS a SET next_bill_on = least(next_bill_on, :today)
            WHERE customer_id = ANY(CAST(:ids AS bigint[])) AND EXISTS (SELECT FROM rest AS r
                WHERE r.customer_id = a.customer_id AND r.cause = 'no_balance' AND r.ends IS NULL)"""),
        {"ids": [*customer_ids], "today": today},
    )
    return bool(asked.rowcount)


def reservation(connection: Connection, id_: int) -> RowMapping:
    """Return a reservation. Raise OrderRefused."""
    row = connection.execute(text(f"{_RESERVATIONS} WHERE v.id = :id"), {"id": id_}).mappings().first()
    if row is None:
        raise OrderRefused(f"there is no reservation {id_}; see `caudal wallet list`")
    return row


def pending(connection: Connection, customer_id: int) -> Sequence[RowMapping]:
    """Return what is kept of a wallet now, oldest first."""
    kept = f"v.customer_id = :id AND v.state = 'pending' AND v.expires_at > {clock.NOW}"
    return connection.execute(text(f"{_RESERVATIONS} WHERE {kept} ORDER BY v.id"), {"id": customer_id}).mappings().all()


def _locked(connection: Connection, reservation_id: int) -> Any:
    """Return a reservation, whose account nobody else moves meanwhile."""
    customer_id = reservation(connection, reservation_id)["customer_id"]
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": customer_id})
    return connection.execute(text(f"{_RESERVATIONS} WHERE v.id = :id"), {"id": reservation_id}).one()


_RESERVATIONS = f"""SELECT v.id, v.customer_id, c.login AS customer, v.amount, v.posted, a.currency, v.state,
        v.expires_at, v.expires_at <= {clock.NOW} AS has_run_out, v.text
    FROM reservation AS v JOIN customer AS c ON c.id = v.customer_id
        JOIN account AS a ON a.customer_id = v.customer_id"""
