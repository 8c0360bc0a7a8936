"""How the commercial tables of an ISP file change the database: taxes, partners, products, accounts, subscriptions.

Rule: one transaction with the rest of the file; nothing is ever deleted. A price that differs is a new version from the
day of the change on, for who subscribes then: whoever has the product already is moved by `caudal price change` alone.
Services of plans with a price are sold from the day on which both are there, and follow when their plan changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.history import EventKind
from config.catalogue import Offer
from config.isp import CustomerEntry, PlanEntry, SubscriptionEntry


def plan_offers(plans: Iterable[PlanEntry], plan_ids: Mapping[str, int]) -> Iterator[tuple[Offer, int]]:
    """Yield what plans sell, with their ids."""
    for plan in plans:
        if plan.offer is not None:
            yield plan.offer, plan_ids[plan.name]


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A product whose list price is another one now; `partner` None is everybody's."""

    code: str
    partner: str | None


def write_prices(connection: Connection, offers: Sequence[Offer], today: date) -> list[PriceChange]:
    """Give products new versions of their prices where they differ; return what changed. New products are none."""
    if not offers:
        return []
    wanted = [
        (offer.product.code, partner, price)
        for offer in offers
        for partner, price in ((None, offer.price), *offer.prices.items())
    ]
    rows = connection.execute(
        text("""WITH u AS (
            SELECT p.id AS product_id, r.id AS partner_id, u.code, u.partner, u.amount::numeric AS amount,
                (SELECT v.amount FROM price AS v WHERE v.product_id = p.id AND v.partner_id IS NOT DISTINCT FROM r.id
                    AND v.starts <= :today ORDER BY v.starts DESC LIMIT 1) AS before
            FROM unnest(CAST(:codes AS text[]), CAST(:partners AS text[]), CAST(:amounts AS text[]))
                AS u(code, partner, amount)
            JOIN product AS p USING (code) LEFT JOIN partner AS r ON r.name = u.partner
        ), written AS (
            INSERT INTO price (product_id, partner_id, starts, amount)
            SELECT product_id, partner_id, CASE WHEN before IS NULL THEN least(:today, date '1970-01-01')
                ELSE :today END, amount
            FROM u WHERE before IS DISTINCT FROM amount
            ON CONFLICT (product_id, partner_id, starts) DO UPDATE SET amount = excluded.amount, made_at = now()
        )
        SELECT code, partner FROM u WHERE before IS NOT NULL AND before <> amount ORDER BY code, partner"""),
        {
            "today": today,
            "codes": [code for code, _, _ in wanted],
            "partners": [partner for _, partner, _ in wanted],
            "amounts": [str(price) for _, _, price in wanted],
        },
    )
    return [PriceChange(code, partner) for code, partner in rows]


def write_payers(connection: Connection, customers: Iterable[CustomerEntry]) -> list[str]:
    """Say who pays for whom; return the customers for whom that is new."""
    pairs = [(entry.login, entry.payer) for entry in customers]
    if not pairs:
        return []
    changed = connection.execute(
        text("""UPDATE customer AS c SET payer_id = p.id
            FROM unnest(CAST(:logins AS text[]), CAST(:payers AS text[])) AS u(login, payer)
                LEFT JOIN customer AS p ON p.login = u.payer
            WHERE c.login = u.login AND c.payer_id IS DISTINCT FROM p.id RETURNING c.login"""),
        {"logins": [login for login, _ in pairs], "payers": [payer for _, payer in pairs]},
    )
    return [login for (login,) in changed]


def write_accounts(
    connection: Connection, customers: Sequence[CustomerEntry], default_type: str, currency: str, today: date
) -> list[str]:
    """Open accounts for customers, and write the terms that the file has; return those that existed and differ."""
    if not customers:
        return []
    changed = connection.execute(
        text("""WITH u AS (
                SELECT c.id, c.login, CAST(u.terms AS jsonb) AS terms, u.billing, u.currency, u.state
                FROM unnest(CAST(:logins AS text[]), CAST(:terms AS text[]), CAST(:types AS text[]),
                    CAST(:currencies AS text[]), CAST(:states AS text[])) AS u(login, terms, billing, currency, state)
                    JOIN customer AS c USING (login)
            ), changed AS (
                UPDATE account AS a SET terms = coalesce(u.terms, a.terms),
                    billing = CASE WHEN u.terms IS NULL THEN a.billing ELSE coalesce(u.billing, :default_type) END,
                    currency = coalesce(u.currency, a.currency), state = coalesce(u.state, a.state),
                    next_bill_on = :today, next_look_on = :today
                FROM u WHERE a.customer_id = u.id AND (
                    (u.terms IS NOT NULL AND a.terms <> u.terms) OR coalesce(u.currency, a.currency) <> a.currency
                    OR coalesce(u.state, a.state) <> a.state)
                RETURNING u.login
            ), opened AS (
                INSERT INTO account (customer_id, currency, billing, terms, state)
                SELECT id, coalesce(currency, :currency), coalesce(billing, :default_type), coalesce(terms, '{}'),
                    coalesce(state, 'new') FROM u
                ON CONFLICT (customer_id) DO NOTHING
            )
            SELECT login FROM changed ORDER BY login"""),
        {
            "logins": [entry.login for entry in customers],
            "terms": [None if entry.billing is None else json.dumps(entry.billing) for entry in customers],
            "types": [None if entry.billing is None else entry.billing.get("type") for entry in customers],
            "currencies": [None if entry.billing is None else entry.billing.get("currency") for entry in customers],
            "states": [entry.details.get("state") for entry in customers],
            "default_type": default_type,
            "currency": currency,
            "today": today,
        },
    )
    return [login for (login,) in changed]


def write_subscriptions(
    connection: Connection, entries: Sequence[SubscriptionEntry], today: date
) -> tuple[list[str], list[tuple[str, tuple[str, ...]]]]:
    """Begin, change and end subscriptions as the file says; return those created, and those updated with their keys.

    A quantity, price or product that differs changes from today on; the beginning of one that exists stays.
    """
    created, updated = [], []
    for entry in entries:
        found = connection.execute(text(_PRESENT), {"code": entry.code, "day": today}).one_or_none()
        if found is None:
            _begin(connection, entry, today)
            created.append(entry.code)
            continue
        keys = _changed(connection, entry, found, today)
        if keys:
            updated.append((entry.code, keys))
    return created, updated


# A run holds the rows of accounts and then writes their subscriptions: everybody else takes them in the same order.


_PRESENT = """SELECT s.id, c.login AS customer, p.code AS product, e.unit_price, e.quantity, x.on_day AS ends
    FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
    LEFT JOIN LATERAL (
        SELECT (array_agg(product_id ORDER BY on_day, id) FILTER (WHERE product_id IS NOT NULL)) AS products,
            (array_agg(unit_price ORDER BY on_day, id) FILTER (WHERE unit_price IS NOT NULL)) AS prices,
            (array_agg(quantity ORDER BY on_day, id) FILTER (WHERE quantity IS NOT NULL)) AS quantities
        FROM subscription_event WHERE subscription_id = s.id AND cancelled_at IS NULL
    ) AS all_events ON true
    LEFT JOIN LATERAL (SELECT products[cardinality(products)] AS product_id, prices[cardinality(prices)] AS unit_price,
        quantities[cardinality(quantities)] AS quantity) AS e ON true
    LEFT JOIN product AS p ON p.id = e.product_id
    LEFT JOIN LATERAL (SELECT on_day FROM subscription_event WHERE subscription_id = s.id AND kind = 'stop'
        AND cancelled_at IS NULL ORDER BY on_day DESC, id DESC LIMIT 1) AS x ON true
    WHERE s.code = :code"""


def _begin(connection: Connection, entry: SubscriptionEntry, today: date) -> None:
    starts = entry.starts or today
    subscription_id = connection.scalar(
        text("""INSERT INTO subscription (customer_id, service_id, code, revised_from)
            SELECT c.id, (SELECT id FROM service WHERE login = :service), :code, :starts FROM customer AS c
            WHERE c.login = :customer RETURNING id"""),
        {"service": entry.service, "code": entry.code, "starts": starts, "customer": entry.customer},
    )
    assert subscription_id is not None
    price = entry.price if entry.price is not None else _list_price(connection, entry, starts)
    _event(connection, subscription_id, starts, EventKind.START, entry.product, price, entry.quantity)
    if entry.ends is not None:
        _event(connection, subscription_id, entry.ends, EventKind.STOP)
    _welcome(connection, [subscription_id])
    wake_accounts(connection, [subscription_id], min(starts, today))


def _welcome(connection: Connection, subscription_ids: Sequence[int]) -> None:
    """Charge what a beginning costs, and give what new customers are given; once for each subscription."""
    for statement in (_ACTIVATION, _INTRODUCTION):
        connection.execute(text(statement), {"ids": [*subscription_ids]})


_BEGINNING = """FROM subscription AS s
    JOIN LATERAL (SELECT product_id, on_day FROM subscription_event AS v WHERE v.subscription_id = s.id
        AND v.kind = 'start' AND v.cancelled_at IS NULL ORDER BY on_day, id LIMIT 1) AS e ON true
    JOIN product AS p ON p.id = e.product_id WHERE s.id = ANY(CAST(:ids AS bigint[]))"""
_ACTIVATION = f"""INSERT INTO one_off (customer_id, subscription_id, product_id, on_day, unit_price, text, key)
    SELECT s.customer_id, s.id, p.id, e.on_day, CAST(p.document ->> 'activation_fee' AS numeric), 'activation',
        'activation/' || s.id {_BEGINNING} AND p.document ? 'activation_fee' ON CONFLICT (key) DO NOTHING"""
_INTRODUCTION = f"""INSERT INTO discount (customer_id, subscription_id, kind, value, starts, ends, key)
    SELECT s.customer_id, s.id, CASE WHEN i ? 'percent' THEN 'percent' ELSE 'amount' END,
        CAST(coalesce(i ->> 'percent', i ->> 'amount') AS numeric), on_day,
        CAST(on_day + make_interval(months => CAST(i ->> 'months' AS integer)) AS date), 'introduction/' || id
    FROM (SELECT s.customer_id, s.id, e.on_day, p.document -> 'introduction' AS i {_BEGINNING}) AS s
    WHERE i IS NOT NULL ON CONFLICT (key) DO NOTHING"""


def _changed(connection: Connection, entry: SubscriptionEntry, found: Any, today: date) -> tuple[str, ...]:
    keys: list[str] = []
    product = entry.product if found.product != entry.product else None
    price = entry.price if entry.price is not None and entry.price != found.unit_price else None
    if product is not None and entry.price is None:
        price = _list_price(connection, entry, today)
    quantity = entry.quantity if entry.quantity != found.quantity else None
    if (product, price, quantity) == (None, None, None) and entry.ends == found.ends:
        return ()
    wake_accounts(connection, [found.id], today)
    if product is not None or price is not None or quantity is not None:
        _event(connection, found.id, today, EventKind.CHANGE, product, price, quantity)
        named = (("product", product), ("price", price), ("quantity", quantity))
        keys += [key for key, value in named if value is not None]
    if entry.ends != found.ends:
        connection.execute(
            text("""UPDATE subscription_event SET cancelled_at = now()
                WHERE subscription_id = :id AND kind = 'stop' AND cancelled_at IS NULL"""),
            {"id": found.id},
        )
        if entry.ends is not None:
            _event(connection, found.id, entry.ends, EventKind.STOP)
        keys.append("ends")
    days = [day for day in (today, entry.ends, found.ends) if day is not None]
    connection.execute(
        text("UPDATE subscription SET revised_from = least(revised_from, :day) WHERE id = :id"),
        {"day": min(days), "id": found.id},
    )
    return tuple(keys)


def _list_price(connection: Connection, entry: SubscriptionEntry, day: date) -> Decimal:
    """Return what a new customer of this one's partner pays."""
    found = connection.scalar(
        text("""SELECT v.amount FROM price AS v JOIN product AS p ON p.id = v.product_id
            JOIN customer AS c ON c.login = :customer
            WHERE p.code = :product AND v.starts <= :day AND (v.partner_id IS NULL OR v.partner_id = c.partner_id)
            ORDER BY v.partner_id IS NULL, v.starts DESC LIMIT 1"""),
        {"customer": entry.customer, "product": entry.product, "day": day},
    )
    return Decimal(0) if found is None else Decimal(found)


def _event(
    connection: Connection,
    subscription_id: int,
    on: date,
    kind: EventKind,
    product: str | None = None,
    price: Decimal | None = None,
    quantity: Decimal | None = None,
) -> None:
    connection.execute(
        text("""INSERT INTO subscription_event (subscription_id, on_day, kind, product_id, unit_price, quantity, reason)
            VALUES (:id, :on, :kind, (SELECT id FROM product WHERE code = :product), :price, :quantity, 'apply')"""),
        {
            "id": subscription_id,
            "on": on,
            "kind": kind.value,
            "product": product,
            "price": price,
            "quantity": quantity,
        },
    )


def follow_services(connection: Connection, today: date, logins: Collection[str] | None = None) -> int:
    """Sell the plans of services to their customers, and follow services to another plan; return how many moved.

    `logins` are the services to look at; None is all. A service without a customer, or of a plan without a price, is
    sold to nobody.
    """
    given = {"today": today, "logins": None if logins is None else [*logins]}
    begun = connection.scalars(text(_BEGUN), given).all()
    _welcome(connection, begun)
    moved = connection.scalars(text(_MOVING), given).all()
    wake_accounts(connection, [*begun, *moved], today)
    if moved:
        connection.execute(text(_MOVED), {"today": today, "ids": [*moved]})
    return len(begun) + len(moved)


_AMONG = "(CAST(:logins AS text[]) IS NULL OR s.login = ANY(CAST(:logins AS text[])))"
_LIST_PRICE = """(SELECT v.amount FROM price AS v WHERE v.product_id = p.id AND v.starts <= :today
        AND (v.partner_id IS NULL OR v.partner_id = c.partner_id)
        ORDER BY v.partner_id IS NULL, v.starts DESC LIMIT 1)"""
_BEGUN = f"""WITH sold AS (
        SELECT s.id AS service_id, s.customer_id, p.id AS product_id, {_LIST_PRICE} AS unit_price
        FROM service AS s JOIN product AS p ON p.plan_id = s.plan_id JOIN customer AS c ON c.id = s.customer_id
        WHERE NOT EXISTS (SELECT FROM subscription AS x WHERE x.service_id = s.id AND x.code IS NULL) AND {_AMONG}
    ), begun AS (
        INSERT INTO subscription (customer_id, service_id, revised_from)
        SELECT customer_id, service_id, :today FROM sold ORDER BY service_id RETURNING id, service_id
    ), events AS (
        INSERT INTO subscription_event (subscription_id, on_day, kind, product_id, unit_price, quantity, reason)
        SELECT b.id, :today, 'start', sold.product_id, sold.unit_price, 1, 'service'
        FROM begun AS b JOIN sold USING (service_id)
    )
    SELECT id FROM begun"""
_ON_PLAN = """service AS s JOIN subscription AS x ON x.service_id = s.id AND x.code IS NULL
        JOIN product AS p ON p.plan_id = s.plan_id JOIN customer AS c ON c.id = s.customer_id"""
_MOVING = f"""SELECT x.id FROM {_ON_PLAN}
    WHERE {_AMONG} AND p.id <> (
        SELECT e.product_id FROM subscription_event AS e WHERE e.subscription_id = x.id
            AND e.cancelled_at IS NULL AND e.product_id IS NOT NULL ORDER BY e.on_day DESC, e.id DESC LIMIT 1
    ) ORDER BY x.id"""
_MOVED = f"""WITH changed AS (
        INSERT INTO subscription_event (subscription_id, on_day, kind, product_id, unit_price, reason)
        SELECT x.id, :today, 'change', p.id, {_LIST_PRICE}, 'service'
        FROM {_ON_PLAN} WHERE x.id = ANY(CAST(:ids AS bigint[])) RETURNING subscription_id
    )
    UPDATE subscription AS x SET revised_from = least(x.revised_from, :today)
    FROM changed WHERE x.id = changed.subscription_id"""


def wake_accounts(connection: Connection, subscription_ids: Sequence[int], today: date) -> None:
    """Let the next run look at the accounts that pay for these subscriptions; whoever has none gets one."""
    if not subscription_ids:
        return
    connection.execute(
        text("""INSERT INTO account (customer_id, currency, billing, next_bill_on)
            SELECT DISTINCT coalesce(c.payer_id, c.id), i.currency, coalesce(i.billing ->> 'type', 'recurring'),
                CAST(:today AS date)
            FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id CROSS JOIN isp AS i
            WHERE s.id = ANY(CAST(:ids AS bigint[]))
            ON CONFLICT (customer_id) DO UPDATE SET
                next_bill_on = least(account.next_bill_on, excluded.next_bill_on),
                state = CASE account.state WHEN 'new' THEN 'active' ELSE account.state END"""),
        {"today": today, "ids": [*subscription_ids]},
    )
