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
from billing.generation import Coupon, Subscription
from billing.tax import TaxableLine, settle
from domain.billing_terms import TaxRounding
from domain.money import decimal, decimal_text
from storage.billing import accounts, drafting, run, taken_by_day
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

    cost(today)
    return prepaid.days_left(account.wallet, today, cost)


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
    connection.execute(
        text("UPDATE reservation SET posted = :amount, state = 'posted' WHERE id = :id"),
        {"amount": amount, "id": reservation_id},
    )
    price = _price(connection, row.customer_id, product_id, amount, today)
    one_off = connection.scalar(
        text("""INSERT INTO one_off (customer_id, product_id, on_day, unit_price, text, key)
            VALUES (:customer, :product, :on, :price, nullif(:text, ''), :key) RETURNING id"""),
        {
            "customer": row.customer_id, "product": product_id, "on": today, "price": price, "text": row.text,
            "key": f"reservation/{reservation_id}",
        },
    )  # fmt: skip
    run.bill_one(connection, row.customer_id, today)
    if not connection.scalar(text("SELECT billed FROM one_off WHERE id = :id"), {"id": one_off}):
        raise OrderRefused(f"the account of reservation {reservation_id} cannot be billed; see `caudal invoice parked`")


def _price(connection: Connection, customer_id: int, product_id: int, amount: int, today: date) -> Decimal:
    """Return the price, as the product states prices, that with its tax comes to an amount, and never to more."""
    catalogue = Catalogue.read(connection)
    (account,) = accounts.load(connection, [customer_id], today, catalogue)
    product, currency = catalogue.products[product_id], account.terms.currency
    taxes, is_exempt = catalogue.applied(product.taxes, today), bool(account.terms.tax_exempt)
    if product.price_includes_tax and is_exempt:
        return decimal(settle([TaxableLine(amount, taxes)], TaxRounding.RATE).gross, currency)
    if product.price_includes_tax or is_exempt:
        return decimal(amount, currency)
    settled = settle([TaxableLine(amount, taxes, includes_tax=True)], TaxRounding.RATE)
    return decimal(settled.net - (settled.gross > amount), currency)


def release(connection: Connection, reservation_id: int) -> None:
    """Free what was reserved, if it still is. Raise OrderRefused."""
    if _locked(connection, reservation_id).state == "posted":
        raise OrderRefused(f"reservation {reservation_id} was charged; see `caudal invoice credit`")
    connection.execute(
        text("UPDATE reservation SET state = 'void' WHERE id = :id AND state = 'pending'"), {"id": reservation_id}
    )


def expire(connection: Connection) -> int:
    """Free what was reserved for a time that is over; return how many reservations."""
    ended: Any = connection.execute(
        text("UPDATE reservation SET state = 'expired' WHERE state = 'pending' AND expires_at <= now()")
    )
    return int(ended.rowcount)


def reservation(connection: Connection, id_: int) -> RowMapping:
    """Return a reservation. Raise OrderRefused."""
    row = connection.execute(text(f"{_RESERVATIONS} WHERE v.id = :id"), {"id": id_}).mappings().first()
    if row is None:
        raise OrderRefused(f"there is no reservation {id_}; see `caudal wallet list`")
    return row


def pending(connection: Connection, customer_id: int) -> Sequence[RowMapping]:
    """Return what is kept of a wallet now, oldest first."""
    kept = f"{_RESERVATIONS} WHERE v.customer_id = :id AND v.state = 'pending' AND v.expires_at > now() ORDER BY v.id"
    return connection.execute(text(kept), {"id": customer_id}).mappings().all()


def _locked(connection: Connection, reservation_id: int) -> Any:
    """Return a reservation, whose account nobody else moves meanwhile."""
    customer_id = reservation(connection, reservation_id)["customer_id"]
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": customer_id})
    return connection.execute(text(f"{_RESERVATIONS} WHERE v.id = :id"), {"id": reservation_id}).one()


_RESERVATIONS = """SELECT v.id, v.customer_id, c.login AS customer, v.amount, v.posted, a.currency, v.state,
        v.expires_at, v.expires_at <= now() AS has_run_out, v.text
    FROM reservation AS v JOIN customer AS c ON c.id = v.customer_id
        JOIN account AS a ON a.customer_id = v.customer_id"""
