"""What an ISP file says of money: taxes, partners, products, customers, subscriptions.

Rule: each yields the keys of its tables, as `apply` reads them; prices are those of today.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from config.checks import write_amount
from storage.billing import clock

Values = dict[str, Any]

_CHUNK = 5000
_PRODUCTS = """SELECT p.id, p.code, p.kind, p.plan_id, p.document,
        (SELECT v.amount FROM price AS v WHERE v.product_id = p.id AND v.partner_id IS NULL AND v.starts <= :day
            ORDER BY v.starts DESC LIMIT 1) AS price,
        (SELECT json_object_agg(name, amount::text) FROM (
            SELECT DISTINCT ON (r.name) r.name, v.amount FROM price AS v JOIN partner AS r ON r.id = v.partner_id
            WHERE v.product_id = p.id AND v.starts <= :day ORDER BY r.name, v.starts DESC) AS each) AS prices
    FROM product AS p WHERE (p.plan_id IS NULL) = :alone ORDER BY p.code"""
_CUSTOMERS = """SELECT c.login, c.name, c.email, c.phone, r.name AS partner, p.login AS payer, c.details, a.terms,
        a.state
    FROM customer AS c JOIN partner AS r ON r.id = c.partner_id LEFT JOIN customer AS p ON p.id = c.payer_id
    LEFT JOIN account AS a ON a.customer_id = c.id ORDER BY c.login"""
_SUBSCRIPTIONS = """SELECT s.code AS name, c.login AS customer, s.id, v.login AS service,
        min(e.on_day) FILTER (WHERE e.kind = 'start') AS starts,
        max(e.on_day) FILTER (WHERE e.kind = 'stop') AS ends,
        (array_agg(p.code ORDER BY e.on_day, e.id) FILTER (WHERE p.code IS NOT NULL)) AS products,
        (array_agg(CAST(p.document ? 'last_day_charged' AS integer) ORDER BY e.on_day, e.id)
            FILTER (WHERE p.code IS NOT NULL)) AS lasts,
        (array_agg(e.unit_price ORDER BY e.on_day, e.id) FILTER (WHERE e.unit_price IS NOT NULL)) AS prices,
        (array_agg(e.quantity ORDER BY e.on_day, e.id) FILTER (WHERE e.quantity IS NOT NULL)) AS quantities
    FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id LEFT JOIN service AS v ON v.id = s.service_id
        JOIN subscription_event AS e ON e.subscription_id = s.id AND e.cancelled_at IS NULL
        LEFT JOIN product AS p ON p.id = e.product_id
    WHERE s.code IS NOT NULL GROUP BY s.id, c.login, v.login ORDER BY s.code"""


def taxes(connection: Connection) -> Iterator[Values]:
    """Yield the taxes."""
    for code, document in connection.execute(text("SELECT code, document FROM tax ORDER BY code")):
        yield {"code": code, **document}


def partners(connection: Connection) -> Iterator[Values]:
    """Yield the partners; the ISP itself only where it says something of its own."""
    rows = connection.execute(text("SELECT name, document FROM partner WHERE id <> 1 OR document <> '{}' ORDER BY id"))
    for name, document in rows:
        yield {"name": name, "billing": document or None}


def sold_plans(connection: Connection) -> dict[int, Values]:
    """Return what plans cost, by their ids."""
    rows = connection.execute(text(_PRODUCTS), {"day": clock.today(connection), "alone": False})
    return {row.plan_id: _sold(row) for row in rows}


def products(connection: Connection) -> Iterator[Values]:
    """Yield the products that are no plans."""
    for row in connection.execute(text(_PRODUCTS), {"day": clock.today(connection), "alone": True}):
        # What billing made for its own fees has no price of the list.
        if row.price is not None:
            yield {"name": row.code, "kind": row.kind, **_sold(row)}


def customers(connection: Connection) -> Iterator[Values]:
    """Yield the customers, and how they are billed where they say so themselves."""
    for row in connection.execution_options(yield_per=_CHUNK).execute(text(_CUSTOMERS)):
        yield {
            "login": row.login,
            "name": row.name,
            "email": row.email,
            "phone": row.phone,
            "partner": None if row.partner == "main" else row.partner,
            "payer": row.payer,
            **row.details,
            "state": None if row.state in (None, "new", "active") else row.state,
            "billing": row.terms or None,
        }


def subscriptions(connection: Connection) -> Iterator[Values]:
    """Yield the subscriptions that files know; those to the plans of services follow the services."""
    for row in connection.execution_options(yield_per=_CHUNK).execute(text(_SUBSCRIPTIONS)):
        yield {
            "name": row.name,
            "customer": row.customer,
            "product": row.products[-1],
            "service": row.service,
            "starts": row.starts,
            "ends": row.ends and row.ends - timedelta(days=row.lasts[-1]),
            "quantity": write_amount(row.quantities[-1]),
            "price": write_amount(row.prices[-1]),
        }


def _sold(row: Any) -> Values:
    return {"price": write_amount(row.price), "prices": row.prices, **row.document}
