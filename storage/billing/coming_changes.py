"""What follows from a change of what is sold, on its day: the plan of the line, the contract, what a bundle holds.

Rule: what is ordered for a day to come waits for that day and may be taken back until then; what is ordered for today
or before follows at once. The caller holds the rows of the accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from config import catalogue
from domain.catalogue import ProductKind
from storage import outbox
from storage.billing import bundles, selling
from storage.outbox import Topic


def follow_due(connection: Connection, payer_ids: Sequence[int] | None, today: date) -> None:
    """Do what waits of accounts (None: of all), up to a day."""
    rows = connection.execute(
        text("""UPDATE subscription_event AS e SET waits = false
            FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
            WHERE e.waits AND e.cancelled_at IS NULL AND e.on_day <= :today AND s.id = e.subscription_id
                AND (CAST(:payers AS bigint[]) IS NULL OR coalesce(c.payer_id, c.id) = ANY(CAST(:payers AS bigint[])))
            RETURNING s.id, e.on_day"""),
        {"payers": None if payer_ids is None else [*payer_ids], "today": today},
    ).all()
    for subscription_id, on in sorted(map(tuple, rows)):
        follow(connection, subscription_id, on, today)


def follow(connection: Connection, subscription_id: int, on: date, today: date) -> None:
    """Do what follows from another product that is sold from a day on."""
    selling.renew_contract(connection, subscription_id, on)
    row = connection.execute(text(_SOLD), {"id": subscription_id, "on": on}).one()
    product = catalogue.load_product(row.product_id, row.code, row.kind, row.document)
    if product.kind is ProductKind.INTERNET:
        _give_plan(connection, row.service_id, row.plan_id)
        return
    bundles.exchange(connection, subscription_id, product, on, today)
    if product.kind is ProductKind.BUNDLE:
        bundles.fill(connection, today, [row.customer_id], [subscription_id])


def _give_plan(connection: Connection, service_id: int, plan_id: int) -> None:
    """Give a line its plan; enforcement hears of it."""
    changed = connection.scalars(
        text("UPDATE service SET plan_id = :plan WHERE id = :id AND plan_id <> :plan RETURNING id"),
        {"id": service_id, "plan": plan_id},
    ).all()
    outbox.add(connection, Topic.CHANGED, list(changed))


_SOLD = """SELECT s.customer_id, s.service_id, p.id AS product_id, p.code, p.kind, p.document, p.plan_id
    FROM subscription AS s CROSS JOIN LATERAL (SELECT product_id FROM subscription_event AS e
        WHERE e.subscription_id = s.id AND e.cancelled_at IS NULL AND e.product_id IS NOT NULL AND e.on_day <= :on
        ORDER BY on_day DESC, id DESC LIMIT 1) AS e JOIN product AS p ON p.id = e.product_id
    WHERE s.id = :id"""
