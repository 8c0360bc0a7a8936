"""What is reported of products that are charged by events.

Rule: an event is kept once for each key and never changed; one of a day that was billed lets billing look at that day
again. The row of the account is taken first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import accumulate

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing.history import phases
from domain.tariff import Measure
from storage.billing import accounts
from storage.errors import OrderRefused


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened of a subscription, which is named as files name it."""

    subscription: str
    on: date
    units: Decimal
    key: str
    text: str = ""
    made_by: str = ""


class NotMetered(OrderRefused):
    """Nothing of this kind can be reported."""


def add(connection: Connection, report: Report) -> tuple[int, bool]:
    """Keep a report; return its number, and whether it was new. Raise NotMetered."""
    row = connection.execute(text(_SUBSCRIPTION), {"code": report.subscription}).first()
    if row is None:
        raise NotMetered(f"there is no subscription {report.subscription!r}; see `caudal subscription list`")
    known = connection.scalar(text("SELECT id FROM metered_event WHERE key = :key"), {"key": report.key})
    if known is not None:
        return int(known), False
    _require_metered(connection, row.id, report)
    found = connection.execute(
        text("""INSERT INTO metered_event (subscription_id, on_day, units, text, key, made_by)
            VALUES (:subscription, :on, :units, :text, :key, :by) RETURNING id"""),
        {
            "subscription": row.id, "on": report.on, "units": report.units, "text": report.text, "key": report.key,
            "by": report.made_by,
        },
    ).scalar_one()  # fmt: skip
    given = {"subscription": row.id, "account": row.payer, "on": report.on}
    connection.execute(text(_REVISE), given)
    connection.execute(text(_WAKE), given)
    return int(found), True


def _require_metered(connection: Connection, subscription_id: int, report: Report) -> None:
    """Raise NotMetered where nothing is charged by events on that day, or not so many units are there."""
    events = accounts.events_of(connection, [subscription_id])[subscription_id]
    sold = [phase for phase in phases(events) if phase.days.starts <= report.on < phase.days.ends]
    product = accounts.Catalogue.read(connection).products[sold[0].product_id] if sold else None
    if product is None or product.metered is None:
        raise NotMetered(f"{report.subscription} is not charged by events on {report.on}; see [product.metered]")
    if product.metered.measure is Measure.AMOUNT and report.units < 0:
        raise NotMetered(
            "an amount is more than nothing; what was charged wrongly is credited by `caudal invoice credit`"
        )
    if product.metered.measure is Measure.HELD and _held(connection, subscription_id, report.on) + report.units < 0:
        raise NotMetered(f"more units are taken back than {report.subscription} has on {report.on}")


def _held(connection: Connection, subscription_id: int, on: date) -> Decimal:
    """Return the least that is held from a day on."""
    rows = connection.execute(
        text("""SELECT day, sum(units) FROM (
                SELECT greatest(on_day, :on) AS day, units FROM metered_event WHERE subscription_id = :id
                UNION ALL SELECT :on, 0
            ) AS held GROUP BY 1 ORDER BY 1"""),
        {"id": subscription_id, "on": on},
    )
    units: list[Decimal] = [units for _, units in rows]
    return min(accumulate(units))


def listing(connection: Connection, subscription: str, before: int | None, limit: int) -> Sequence[RowMapping]:
    """Return what was reported of a subscription, the newest first."""
    return (
        connection.execute(
            text("""SELECT e.id, e.on_day AS on, e.units, e.text, e.key FROM metered_event AS e
                JOIN subscription AS s ON s.id = e.subscription_id
                WHERE s.code = :code AND (CAST(:before AS bigint) IS NULL OR e.id < :before)
                ORDER BY e.id DESC LIMIT :limit"""),
            {"code": subscription, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


_SUBSCRIPTION = """SELECT s.id, a.customer_id AS payer FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
    JOIN account AS a ON a.customer_id = coalesce(c.payer_id, c.id) WHERE s.code = :code FOR UPDATE OF a"""
_REVISE = """UPDATE subscription SET revised_from = least(revised_from, :on) WHERE id = :subscription
    AND billed_to > :on"""
_WAKE = """UPDATE account SET next_bill_on = least(next_bill_on, s.billed_to) FROM subscription AS s
    WHERE s.id = :subscription AND account.customer_id = :account AND s.billed_to > :on"""
