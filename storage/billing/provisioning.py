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
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.history import EventKind
from config.catalogue import Offer
from config.isp import CustomerEntry, PlanEntry, SubscriptionEntry
from storage.billing import account_types, bundles, coming_changes, currencies, selling, subscriptions
from storage.billing.selling import NewSale, wake_accounts
from storage.billing.subscriptions import Change


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


def write_payers(connection: Connection, customers: Iterable[CustomerEntry], today: date) -> list[str]:
    """Say who pays for whom; return the customers for whom that is new."""
    pairs = [(entry.login, entry.payer) for entry in customers]
    if not pairs:
        return []
    changed = connection.execute(
        text("""UPDATE customer AS c SET payer_id = u.payer,
                paid_since = CASE WHEN u.payer IS NOT NULL AND EXISTS (
                        SELECT FROM subscription AS s JOIN document_line AS l ON l.subscription_id = s.id
                        WHERE s.customer_id = c.id
                    ) THEN CAST(:today AS date) END
            FROM (SELECT c.id, c.payer_id AS before, c.paid_since AS since, p.id AS payer
                FROM unnest(CAST(:logins AS text[]), CAST(:payers AS text[])) AS u(login, payer)
                    JOIN customer AS c USING (login) LEFT JOIN customer AS p ON p.login = u.payer
                WHERE c.payer_id IS DISTINCT FROM p.id) AS u
            WHERE c.id = u.id RETURNING c.login, c.id, u.before, u.since"""),
        {"logins": [login for login, _ in pairs], "payers": [payer for _, payer in pairs], "today": today},
    ).all()
    logins = [row.login for row in changed]
    # From today on another one pays, whatever wallets have.
    connection.execute(text(_NO_WALLET), {"ids": [row.id for row in changed], "today": today})
    connection.execute(text(_NOT_ASKED), {"ids": [row.id for row in changed]})
    connection.execute(text(_LEFT), {"ids": [row.before for row in changed], "today": today})
    for row in changed:
        if row.before is not None:
            given = {"id": row.id, "before": row.before, "since": row.since, "today": today}
            connection.execute(text(_RESTED), given)
    sold = connection.scalars(
        text("""SELECT s.id FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
            WHERE c.login = ANY(CAST(:logins AS text[])) ORDER BY s.id"""),
        {"logins": logins},
    )
    wake_accounts(connection, sold.all(), today)
    return logins


_NO_WALLET = """UPDATE rest AS r SET ends = greatest(r.starts, :today) FROM customer AS c
    WHERE c.id = r.customer_id AND c.id = ANY(CAST(:ids AS bigint[])) AND c.payer_id IS NOT NULL
        AND r.cause = 'no_balance' AND r.ends IS NULL"""
_NOT_ASKED = """UPDATE document AS d SET open_amount = 0 FROM customer AS c
    WHERE c.id = d.customer_id AND c.id = ANY(CAST(:ids AS bigint[])) AND c.payer_id IS NOT NULL
        AND d.kind = 'proforma' AND d.open_amount > 0"""
"""What nobody has paid yet is billed to the payer."""
_LEFT = """UPDATE account SET next_bill_on = least(next_bill_on, :today)
    WHERE customer_id = ANY(CAST(:ids AS bigint[]))"""
"""Proformas of a payer may ask for what it pays no more."""
_RESTED = """INSERT INTO rest (customer_id, cause, starts, ends)
    SELECT :id, cause, starts, ends FROM (
        SELECT r.cause, greatest(r.starts, CAST(:since AS date), (SELECT max(l.ends) FROM document_line AS l
                WHERE l.customer_id = :id AND l.subscription_id IS NOT NULL)) AS starts,
            least(r.ends, CAST(:today AS date)) AS ends
        FROM rest AS r WHERE r.customer_id = :before
    ) AS r WHERE starts < ends"""
"""Days on which a payer who pays no more was charged nothing are the customer's own, where nobody was billed them."""


def write_accounts(connection: Connection, customers: Sequence[CustomerEntry], today: date) -> list[str]:
    """Open accounts for customers, and write the terms that the file has; return those that existed and differ."""
    if not customers:
        return []
    changed = connection.execute(
        text(f"""WITH u AS (
                SELECT c.id, c.login, CAST(u.terms AS jsonb) AS terms, u.currency, u.state,
                    {currencies.PARTNERS} AS usual, {account_types.USUAL} AS usual_type
                FROM unnest(CAST(:logins AS text[]), CAST(:terms AS text[]),
                    CAST(:currencies AS text[]), CAST(:states AS text[])) AS u(login, terms, currency, state)
                    JOIN customer AS c USING (login) JOIN partner AS r ON r.id = c.partner_id CROSS JOIN isp AS i
            ), changed AS (
                UPDATE account AS a SET terms = coalesce(u.terms, a.terms),
                    currency = coalesce(u.currency, a.currency), state = coalesce(u.state, a.state),
                    next_bill_on = :today, next_look_on = :today
                FROM u WHERE a.customer_id = u.id AND (
                    (u.terms IS NOT NULL AND a.terms <> u.terms) OR coalesce(u.currency, a.currency) <> a.currency
                    OR coalesce(u.state, a.state) <> a.state)
                RETURNING u.login
            ), opened AS (
                INSERT INTO account (customer_id, currency, billing, terms, state)
                SELECT id, coalesce(currency, usual), coalesce(terms ->> 'type', usual_type), coalesce(terms, '{{}}'),
                    coalesce(state, 'new') FROM u
                ON CONFLICT (customer_id) DO NOTHING
            )
            SELECT login FROM changed ORDER BY login"""),
        {
            "logins": [entry.login for entry in customers],
            "terms": [None if entry.billing is None else json.dumps(entry.billing) for entry in customers],
            "currencies": [None if entry.billing is None else entry.billing.get("currency") for entry in customers],
            "states": [entry.details.get("state") for entry in customers],
            "today": today,
        },
    )
    return [login for (login,) in changed]


def write_subscriptions(
    connection: Connection, entries: Sequence[SubscriptionEntry], today: date
) -> tuple[dict[str, int], list[tuple[str, tuple[str, ...]]]]:
    """Begin, change and end subscriptions as the file says; return the ids of those created, and the keys of others.

    A quantity, price or product that differs changes from today on; the beginning of one that exists stays.
    """
    created, updated = dict[str, int](), []
    for entry in entries:
        found = connection.execute(text(_PRESENT), {"code": entry.code, "day": today}).one_or_none()
        if found is None:
            created[entry.code] = _begin(connection, entry, today)
            continue
        keys = _changed(connection, entry, found, today)
        if keys:
            updated.append((entry.code, keys))
    return created, updated


def owners(connection: Connection, codes: Collection[str]) -> Mapping[str, str]:
    """Return the logins of the customers of subscriptions, by what files call them."""
    rows = connection.execute(
        text("""SELECT s.code, c.login FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
            WHERE s.code = ANY(CAST(:codes AS text[]))"""),
        {"codes": [*codes]},
    )
    return {row.code: row.login for row in rows}


_PRESENT = """SELECT s.id, s.customer_id, c.login AS customer, p.code AS product, e.unit_price, e.quantity,
        x.on_day AS ends
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


def _begin(connection: Connection, entry: SubscriptionEntry, today: date) -> int:
    customer_id, service_id = connection.execute(
        text("""SELECT (SELECT id FROM customer WHERE login = :customer),
            (SELECT id FROM service WHERE login = :service)"""),
        {"customer": entry.customer, "service": entry.service},
    ).one()
    starts = entry.starts or today
    sale = NewSale(customer_id, entry.product, starts, entry.quantity, entry.price, service_id, entry.code)
    id_ = selling.begin(connection, sale, today)
    if entry.ends is not None:
        ends = selling.first_free_day(connection, id_, entry.ends)
        selling.note(connection, [id_], ends, EventKind.STOP)
        selling.charge_end(connection, id_, ends)
    return id_


def _changed(connection: Connection, entry: SubscriptionEntry, found: Any, today: date) -> tuple[str, ...]:
    keys: list[str] = []
    product = entry.product if found.product != entry.product else None
    price = entry.price if entry.price is not None and entry.price != found.unit_price else None
    if product is not None and entry.price is None:
        price = currencies.list_price(connection, found.customer_id, entry.product, today)
    quantity = entry.quantity if entry.quantity != found.quantity else None
    # What has ended stays so unless the file names another day: nobody is billed again by a line that is missing.
    ends = None if entry.ends is None else selling.first_free_day(connection, found.id, entry.ends)
    has_ended = ends is None and found.ends is not None and found.ends <= today
    moves_end = ends != found.ends and not has_ended
    if (product, price, quantity) == (None, None, None) and not moves_end:
        return ()
    wake_accounts(connection, [found.id], today)
    if product is not None or price is not None or quantity is not None:
        change = Change(product, price, quantity)
        subscriptions.change_to(connection, found.id, change, today, today, reason="apply")
        named = (("product", product), ("price", price), ("quantity", quantity))
        keys += [key for key, value in named if value is not None]
    if moves_end:
        subscriptions.move_end(connection, found.id, ends, reason="apply")
        keys.append("ends")
    return tuple(keys)


def follow_services(
    connection: Connection, today: date, logins: Collection[str] | None = None, fresh: Collection[int] = ()
) -> int:
    """Sell the plans of services to their customers, and follow services to another plan; return how many moved.

    `logins` are the services to look at; None is all. A service without a customer, or of a plan without a price, is
    sold to nobody; one that a bundle holds costs nothing beside it. `fresh` are bundles that begin with this. Raise
    OtherCurrency.
    """
    for login, why in currencies.refused_services(connection, today, logins).items():
        raise currencies.OtherCurrency(f"the line {login} cannot be sold: {why}")
    # What was ordered for today is no change that a file makes.
    coming_changes.follow_due(connection, None, today)
    given = {"today": today, "logins": None if logins is None else [*logins]}
    begun = connection.scalars(text(_BEGUN), given).all()
    moving = connection.execute(text(_MOVING), given).all()
    moved = [row.id for row in moving]
    wake_accounts(connection, [*begun, *moved], today)
    selling.charge_change(connection, moved, today)
    bundles.leave(connection, [row.id for row in moving if row.bundle_id is not None], today)
    if moved:
        connection.execute(text(_MOVED), {"today": today, "ids": moved})
    bundles.fill(connection, today, fresh=fresh)
    selling.welcome(connection, begun, today)
    for subscription_id in moved:
        selling.renew_contract(connection, subscription_id, today)
    return len(begun) + len(moved)


def billed_though_off(connection: Connection, logins: Sequence[str], today: date) -> list[tuple[str, str]]:
    """Return, of lines that are off or expired, those that are billed all the same, with the key that says so."""
    if not logins:
        return []
    rows = connection.execute(
        text("""SELECT s.login, CASE WHEN s.enabled THEN 'expires' ELSE 'enabled' END
            FROM service AS s JOIN subscription AS x ON x.service_id = s.id AND x.code IS NULL
            CROSS JOIN LATERAL (SELECT
                    (array_agg(kind ORDER BY on_day DESC, id DESC) FILTER (WHERE kind <> 'change'))[1] AS last,
                    (array_agg(unit_price ORDER BY on_day DESC, id DESC)
                        FILTER (WHERE unit_price IS NOT NULL))[1] AS price
                FROM subscription_event AS e WHERE e.subscription_id = x.id AND e.cancelled_at IS NULL
                    AND e.on_day <= :today) AS e
            WHERE s.login = ANY(CAST(:logins AS text[])) AND (NOT s.enabled OR s.expires_at <= now())
                AND e.last IN ('start', 'resume') AND e.price > 0 ORDER BY s.login"""),
        {"logins": [*logins], "today": today},
    )
    return [(login, key) for login, key in rows]


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
_MOVING = f"""SELECT x.id, x.bundle_id FROM {_ON_PLAN}
    WHERE {_AMONG} AND p.id <> (
        SELECT e.product_id FROM subscription_event AS e WHERE e.subscription_id = x.id
            AND e.cancelled_at IS NULL AND e.product_id IS NOT NULL
        ORDER BY e.on_day > :today, abs(e.on_day - CAST(:today AS date)), e.id DESC LIMIT 1
    ) ORDER BY x.id"""
_MOVED = f"""WITH changed AS (
        INSERT INTO subscription_event (subscription_id, on_day, kind, product_id, unit_price, reason)
        SELECT x.id, :today, 'change', p.id, {_LIST_PRICE}, 'service'
        FROM {_ON_PLAN} WHERE x.id = ANY(CAST(:ids AS bigint[])) RETURNING subscription_id
    )
    UPDATE subscription AS x SET revised_from = least(x.revised_from, :today)
    FROM changed WHERE x.id = changed.subscription_id"""
