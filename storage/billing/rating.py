"""Lines of usage, the facts that they sum, and what the same usage costs now.

Rule: nothing is written; the next run of the account makes the difference a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing.cycle import Period
from billing.generation import UsagePeriod
from domain.catalogue import Product
from domain.tariff import Measure
from storage.billing import accounts
from storage.billing.accounts import Catalogue


@dataclass(frozen=True, slots=True)
class Rated:
    """A line of usage: what was billed of its period in all, what it costs now, and the facts."""

    line_id: int
    text: str
    period: Period
    currency: str
    billed: int
    amount: int
    facts: Sequence[RowMapping]


def rate_again(connection: Connection, document_id: int, today: date) -> list[Rated]:
    """Return the lines of usage of a document, rated again by the facts and tariffs of now."""
    rows = connection.execute(text(_LINES), {"document": document_id}).all()
    if not rows:
        return []
    on = max(today, *(row.period_ends for row in rows))
    catalogue = Catalogue.read(connection)
    since = min(row.period_starts for row in rows)
    (account,) = accounts.load(connection, [rows[0].payer], on, catalogue, since=since)
    usage = {subscription.id: subscription.usage for subscription in account.subscriptions}
    return [
        _rated(connection, row, usage.get(row.subscription_id, ()), catalogue.products[row.product_id]) for row in rows
    ]


def _rated(connection: Connection, row: Any, usage: Sequence[UsagePeriod], product: Product) -> Rated:
    period = Period(row.period_starts, row.period_ends)
    amounts = [each.amount for each in usage if each.period == period and each.product_id in (None, row.product_id)]
    given = {"service": row.service_id, "subscription": row.subscription_id, "from": period.starts, "to": period.ends}
    if product.metered is None:
        facts = connection.execute(text(_DAYS), given)
    else:
        is_held = product.metered.measure is Measure.HELD
        facts = connection.execute(text(_EVENTS), {**given, "held": is_held})
    return Rated(row.id, row.text, period, row.currency, row.billed, sum(amounts), facts.mappings().all())


_LINES = """SELECT l.id, l.text, l.subscription_id, l.product_id, l.period_starts, l.period_ends, s.service_id,
        d.currency, d.customer_id AS payer,
        (SELECT sum(o.amount) FROM document_line AS o WHERE o.subscription_id = l.subscription_id
            AND o.component = l.component AND o.period_starts = l.period_starts AND o.period_ends = l.period_ends
            AND (p.plan_id IS NOT NULL OR o.rate = l.rate))::bigint AS billed
    FROM document_line AS l JOIN document AS d ON d.id = l.document_id
        JOIN subscription AS s ON s.id = l.subscription_id JOIN product AS p ON p.id = l.product_id
    WHERE l.document_id = :document AND l.usage IS NOT NULL ORDER BY l.position"""
_DAYS = """SELECT day AS on, traffic_class, octets_up, octets_down FROM usage_day
    WHERE service_id = :service AND day >= :from AND day < :to ORDER BY day, traffic_class"""
_EVENTS = """SELECT on_day AS on, units, text, key FROM metered_event
    WHERE subscription_id = :subscription AND on_day < :to AND (on_day >= :from OR :held) ORDER BY on_day, id"""
