"""What operators read of sales: what is sold to whom, what has happened to it, what else is charged once.

Rule: what is shown is as of one day; a sale that begins later is shown as it will begin. A page is cut by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing import contracts
from config import catalogue
from storage.billing import account_types, currencies, run
from storage.errors import OrderRefused


@dataclass(frozen=True, slots=True)
class Charge:
    """An item that is charged once; a price that is None is the list's."""

    customer_id: int
    product: str
    on: date
    quantity: Decimal
    price: Decimal | None
    text: str | None


def listed(
    connection: Connection,
    day: date,
    *,
    customer: int | None = None,
    product: str | None = None,
    state: str | None = None,
    after: int = 0,
    limit: int,
) -> Sequence[RowMapping]:
    """Return what is sold as of a day, by id; `state` is `pending`, `active`, `paused` or `stopped`."""
    wanted = """(CAST(:customer AS bigint) IS NULL OR s.customer_id = :customer)
        AND (CAST(:product AS text) IS NULL OR p.code = :product)
        AND (CAST(:state AS text) IS NULL OR e.state = :state) AND s.id > :after"""
    given = {"day": day, "customer": customer, "product": product, "state": state, "after": after, "limit": limit}
    rows = connection.execute(text(f"{_SALES} WHERE {wanted} ORDER BY s.id LIMIT :limit"), given)
    return rows.mappings().all()


def shown(connection: Connection, subscription_id: int, day: date) -> RowMapping:
    """Return one sale as of a day."""
    rows = connection.execute(text(f"{_SALES} WHERE s.id = :id"), {"id": subscription_id, "day": day})
    return rows.mappings().one()


def binds_until(row: RowMapping, day: date) -> date | None:
    """Return until when the contract of a sale binds on a day."""
    if row["contract"] is None:
        return None
    term = contracts.term_on(
        catalogue.load_contract(row["contract"]), row["contract_began"], max(day, row["contract_began"])
    )
    return None if term is None else term.ends


def happened(connection: Connection, subscription_id: int) -> Sequence[RowMapping]:
    """Return what happened to a sale, and will; oldest first."""
    return (
        connection.execute(
            text("""SELECT e.on_day, e.kind, p.code AS product, e.unit_price, e.quantity, e.reason
                FROM subscription_event AS e LEFT JOIN product AS p ON p.id = e.product_id
                WHERE e.subscription_id = :id AND e.cancelled_at IS NULL ORDER BY e.on_day, e.id"""),
            {"id": subscription_id},
        )
        .mappings()
        .all()
    )


def held(connection: Connection, bundle_id: int) -> Sequence[RowMapping]:
    """Return what is in a bundle: id, product and line."""
    return (
        connection.execute(
            text("""SELECT s.id, v.login AS service, (SELECT p.code FROM subscription_event AS e
                    JOIN product AS p ON p.id = e.product_id WHERE e.subscription_id = s.id AND e.cancelled_at IS NULL
                    ORDER BY e.on_day DESC, e.id DESC LIMIT 1) AS product
                FROM subscription AS s LEFT JOIN service AS v ON v.id = s.service_id
                WHERE s.bundle_id = :id ORDER BY s.id"""),
            {"id": bundle_id},
        )
        .mappings()
        .all()
    )


def products(connection: Connection, day: date, *, after: str, limit: int) -> Sequence[RowMapping]:
    """Return what is sold, by name, with what new customers pay on a day."""
    return (
        connection.execute(
            text("""SELECT p.code AS name, p.kind, p.document, i.currency,
                    (SELECT v.amount FROM price AS v WHERE v.product_id = p.id AND v.partner_id IS NULL
                        AND v.starts <= :day ORDER BY v.starts DESC LIMIT 1) AS price
                FROM product AS p CROSS JOIN isp AS i WHERE p.code > :after ORDER BY p.code LIMIT :limit"""),
            {"day": day, "after": after, "limit": limit},
        )
        .mappings()
        .all()
    )


def charge(connection: Connection, wanted: Charge, key: str, today: date) -> int:
    """Charge something once, on the document of its day; return its id. Raise OrderRefused."""
    row = connection.execute(
        text("SELECT id, kind FROM product WHERE code = :code"), {"code": wanted.product}
    ).one_or_none()
    if row is None:
        raise OrderRefused(f"there is no product {wanted.product!r}; see `caudal product list`")
    if row.kind != "one-time":
        raise OrderRefused(f"{wanted.product!r} is {row.kind}: sell it with `caudal subscription start`")
    price = wanted.price
    if price is None:
        price = currencies.list_price(connection, wanted.customer_id, wanted.product, wanted.on)
    given = {
        "customer": wanted.customer_id,
        "product": row.id,
        "on": wanted.on,
        "price": price,
        "quantity": wanted.quantity,
        "text": wanted.text,
        "key": f"charge/{key}",
    }
    connection.execute(
        text("""INSERT INTO one_off (customer_id, product_id, on_day, unit_price, quantity, text, key)
            VALUES (:customer, :product, :on, :price, :quantity, :text, :key) ON CONFLICT (key) DO NOTHING"""),
        given,
    )
    wake(connection, wanted.customer_id, today)
    return int(connection.execute(text("SELECT id FROM one_off WHERE key = :key"), given).scalar_one())


def withdraw(connection: Connection, charge_id: int, today: date) -> None:
    """Take back a charge that is on no document yet; a proforma that asks for it is replaced. Raise OrderRefused."""
    payer = connection.scalar(
        text("""SELECT coalesce(c.payer_id, c.id) FROM one_off AS o JOIN customer AS c ON c.id = o.customer_id
            WHERE o.id = :id"""),
        {"id": charge_id},
    )
    if payer is None:
        raise OrderRefused(f"there is no charge {charge_id}; see `caudal charge list`")
    # As runs do, so that none bills it meanwhile.
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": payer})
    if connection.scalar(text("SELECT billed FROM one_off WHERE id = :id FOR UPDATE"), {"id": charge_id}):
        raise OrderRefused(f"charge {charge_id} is on a document already: credit its line with `caudal invoice credit`")
    connection.execute(
        text("UPDATE one_off SET withdrawn_at = coalesce(withdrawn_at, now()) WHERE id = :id"), {"id": charge_id}
    )
    run.ask_anew(connection, [payer], today)


def charges(
    connection: Connection, *, customer: int | None, only_open: bool, before: int | None, limit: int
) -> Sequence[RowMapping]:
    """Return what is charged once, the newest first."""
    return (
        connection.execute(
            text("""SELECT o.id, c.login AS customer, p.code AS product, o.on_day, o.quantity, o.unit_price, o.text,
                    coalesce(a.currency, i.currency) AS currency, d.number AS document,
                    CASE WHEN o.billed THEN 'billed' WHEN o.withdrawn_at IS NULL THEN 'open' ELSE 'withdrawn' END
                        AS state
                FROM one_off AS o JOIN customer AS c ON c.id = o.customer_id JOIN product AS p ON p.id = o.product_id
                    CROSS JOIN isp AS i LEFT JOIN account AS a ON a.customer_id = coalesce(c.payer_id, c.id)
                    LEFT JOIN document_line AS l ON l.one_off_id = o.id LEFT JOIN document AS d ON d.id = l.document_id
                WHERE (CAST(:customer AS bigint) IS NULL OR o.customer_id = :customer)
                    AND (NOT :open OR (NOT o.billed AND o.withdrawn_at IS NULL))
                    AND (CAST(:before AS bigint) IS NULL OR o.id < :before)
                ORDER BY o.id DESC LIMIT :limit"""),
            {"customer": customer, "open": only_open, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


def wake(connection: Connection, customer_id: int, today: date) -> None:
    """Let the next run look at the account that pays for a customer; who has none gets one."""
    connection.execute(
        text(f"""INSERT INTO account (customer_id, currency, billing, next_bill_on)
            SELECT y.id, {currencies.PARTNERS}, {account_types.USUAL}, CAST(:today AS date)
            FROM customer AS c JOIN customer AS y ON y.id = coalesce(c.payer_id, c.id)
                JOIN partner AS r ON r.id = y.partner_id CROSS JOIN isp AS i WHERE c.id = :customer
            ON CONFLICT (customer_id) DO UPDATE
                SET next_bill_on = least(account.next_bill_on, excluded.next_bill_on)"""),
        {"customer": customer_id, "today": today},
    )


_TODAY = "on_day DESC, id DESC) FILTER (WHERE on_day <= :day AND"
_FIRST = "on_day, id) FILTER (WHERE"
_SALES = f"""SELECT s.id, coalesce(s.code, v.login, b.code || ': ' || p.code, CAST(s.id AS text)) AS name,
        c.login AS customer, p.code AS product, p.kind, v.login AS service, coalesce(b.code, CAST(b.id AS text))
            AS bundle, e.quantity, e.unit_price, e.state, e.starts,
        CASE WHEN e.last = 'stop' THEN e.last_on - CAST(p.document ? 'last_day_charged' AS integer) END AS ends,
        s.contract, s.contract_began,
        coalesce(a.currency, i.currency) AS currency
    FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id CROSS JOIN isp AS i
    LEFT JOIN account AS a ON a.customer_id = coalesce(c.payer_id, c.id)
    LEFT JOIN service AS v ON v.id = s.service_id LEFT JOIN subscription AS b ON b.id = s.bundle_id
    CROSS JOIN LATERAL (
        SELECT coalesce((array_agg(product_id ORDER BY {_TODAY} product_id IS NOT NULL))[1],
                (array_agg(product_id ORDER BY {_FIRST} product_id IS NOT NULL))[1]) AS product_id,
            coalesce((array_agg(unit_price ORDER BY {_TODAY} unit_price IS NOT NULL))[1],
                (array_agg(unit_price ORDER BY {_FIRST} unit_price IS NOT NULL))[1]) AS unit_price,
            coalesce((array_agg(quantity ORDER BY {_TODAY} quantity IS NOT NULL))[1],
                (array_agg(quantity ORDER BY {_FIRST} quantity IS NOT NULL))[1], 1) AS quantity,
            CASE (array_agg(kind ORDER BY {_TODAY} kind <> 'change'))[1] WHEN 'stop' THEN 'stopped'
                WHEN 'pause' THEN 'paused' WHEN 'start' THEN 'active' WHEN 'resume' THEN 'active'
                ELSE 'pending' END AS state,
            min(on_day) FILTER (WHERE kind = 'start') AS starts,
            (array_agg(kind ORDER BY on_day DESC, id DESC) FILTER (WHERE kind <> 'change'))[1] AS last,
            max(on_day) FILTER (WHERE kind <> 'change') AS last_on
        FROM subscription_event WHERE subscription_id = s.id AND cancelled_at IS NULL
    ) AS e
    JOIN product AS p ON p.id = e.product_id"""
