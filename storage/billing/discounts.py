"""Discounts that are given by hand or by a file: shares, amounts of each period, and coupons.

Rule: what a discount takes off stays as it was: one that is changed ends, and another one begins that day. Its days may
be moved, and the next run charges or credits the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from config.isp import DiscountEntry
from storage.billing.selling import wake_accounts
from storage.errors import OrderRefused

PREFIX = "discount/"
"""Of the keys of those that have a name; other keys are of what billing gives by itself."""


@dataclass(frozen=True, slots=True)
class NewDiscount:
    """A discount to give; neither subscription nor anything else named: on everything the customer pays for."""

    name: str
    customer_id: int
    subscription_id: int | None
    kind: str
    value: Decimal
    starts: date
    ends: date | None = None
    text: str = ""


def write(
    connection: Connection, entries: Sequence[DiscountEntry], today: date
) -> tuple[list[str], list[tuple[str, tuple[str, ...]]]]:
    """Give and change discounts as a file says; return those given, and those changed with their keys."""
    created, updated = [], []
    for entry in entries:
        customer_id, subscription_id = connection.execute(
            text(_REFERENCES), {"customer": entry.customer, "code": entry.subscription, "service": entry.service}
        ).one()
        wanted = NewDiscount(
            entry.code, customer_id, subscription_id, entry.kind, entry.value, entry.starts or today, entry.ends,
            entry.text,
        )  # fmt: skip
        found = _named(connection, entry.code)
        if found is None:
            give(connection, wanted, today)
            created.append(entry.code)
            continue
        keys = _change(connection, found, wanted, today)
        if keys:
            updated.append((entry.code, keys))
    return created, updated


_REFERENCES = """SELECT (SELECT id FROM customer WHERE login = :customer), (SELECT s.id FROM subscription AS s
        LEFT JOIN service AS v ON v.id = s.service_id
        WHERE s.code = :code OR (s.code IS NULL AND v.login = :service) LIMIT 1)"""


def give(connection: Connection, discount: NewDiscount, today: date) -> bool:
    """Give a discount; return False where one of that name is given already. Raise OrderRefused for another one."""
    found = _named(connection, discount.name)
    if found is not None:
        if (found.customer_id, found.kind, found.value) == (discount.customer_id, discount.kind, discount.value):
            return False
        raise OrderRefused(f"there is another discount {discount.name!r}; give this one another --name")
    if discount.ends is not None and discount.ends < discount.starts:
        raise OrderRefused("it cannot end before it begins")
    connection.execute(
        text("""INSERT INTO discount (customer_id, subscription_id, kind, value, starts, ends, text, key)
            VALUES (:customer, :subscription, :kind, :value, :starts, :ends, :text, :key)"""),
        {
            "customer": discount.customer_id,
            "subscription": discount.subscription_id,
            "kind": discount.kind,
            "value": discount.value,
            "starts": discount.starts,
            "ends": discount.ends,
            "text": discount.text,
            "key": PREFIX + discount.name,
        },
    )
    _revise(connection, discount.customer_id, min(discount.starts, today), today)
    return True


def end(connection: Connection, name: str, ends: date, today: date) -> None:
    """Let a discount end: `ends` is the first day without it. Raise OrderRefused."""
    found = _named(connection, name)
    if found is None:
        raise OrderRefused(f"there is no discount {name!r}; see `caudal discount list`")
    _move(connection, found, max(ends, found.starts), today)


def listed(connection: Connection, *, customer: int | None, before: int | None, limit: int) -> Sequence[RowMapping]:
    """Return discounts, the newest first."""
    return (
        connection.execute(
            text("""SELECT d.id, CASE WHEN d.key LIKE 'discount/%' THEN substr(d.key, 10) ELSE d.key END AS name,
                    c.login AS customer, coalesce(s.code, v.login) AS subscription, d.kind, d.value, d.starts, d.ends,
                    d.text, coalesce(a.currency, i.currency) AS currency
                FROM discount AS d JOIN customer AS c ON c.id = d.customer_id CROSS JOIN isp AS i
                    LEFT JOIN account AS a ON a.customer_id = coalesce(c.payer_id, c.id)
                    LEFT JOIN subscription AS s ON s.id = d.subscription_id
                    LEFT JOIN service AS v ON v.id = s.service_id
                WHERE (CAST(:customer AS bigint) IS NULL OR d.customer_id = :customer)
                    AND (CAST(:before AS bigint) IS NULL OR d.id < :before)
                ORDER BY d.id DESC LIMIT :limit"""),
            {"customer": customer, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


def exported(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the discounts that files know."""
    rows = connection.execute(
        text("""SELECT substr(d.key, 10) AS name, c.login, s.code, CASE WHEN s.code IS NULL THEN v.login END AS service,
                d.kind, d.value, d.starts, d.ends, d.text
            FROM discount AS d JOIN customer AS c ON c.id = d.customer_id
                LEFT JOIN subscription AS s ON s.id = d.subscription_id LEFT JOIN service AS v ON v.id = s.service_id
            WHERE d.key LIKE 'discount/%' ORDER BY d.key""")
    )
    for row in rows:
        yield {
            "name": row.name,
            "customer": row.login,
            "subscription": row.code,
            "service": row.service,
            row.kind: f"{row.value:f}",
            "starts": row.starts,
            "ends": row.ends,
            "text": row.text or None,
        }


def _change(connection: Connection, found: Any, wanted: NewDiscount, today: date) -> tuple[str, ...]:
    before = (found.customer_id, found.subscription_id, found.kind, found.value, found.text)
    after = (wanted.customer_id, wanted.subscription_id, wanted.kind, wanted.value, wanted.text)
    names = ("customer", "subscription", wanted.kind, wanted.kind, "text")
    keys = [name for name, old, new in zip(names, before, after, strict=True) if old != new]
    if keys:
        _move(connection, found, max(today, found.starts), today)
        connection.execute(
            text("UPDATE discount SET key = :key WHERE id = :id"),
            {"key": f"{PREFIX.rstrip('/')}-until/{found.id}", "id": found.id},
        )
        give(connection, NewDiscount(
            wanted.name, wanted.customer_id, wanted.subscription_id, wanted.kind, wanted.value,
            max(today, found.starts), wanted.ends, wanted.text,
        ), today)  # fmt: skip
    elif wanted.ends != found.ends:
        _move(connection, found, wanted.ends, today)
    return (*dict.fromkeys(keys), *(("ends",) if wanted.ends != found.ends else ()))


def _named(connection: Connection, name: str) -> Any:
    return connection.execute(
        text("""SELECT id, customer_id, subscription_id, kind, value, starts, ends, text FROM discount
            WHERE key = :key"""),
        {"key": PREFIX + name},
    ).one_or_none()


def _move(connection: Connection, found: Any, ends: date | None, today: date) -> None:
    connection.execute(text("UPDATE discount SET ends = :ends WHERE id = :id"), {"ends": ends, "id": found.id})
    days = [day for day in (ends, found.ends, today) if day is not None]
    _revise(connection, found.customer_id, min(days), today)


def _revise(connection: Connection, customer_id: int, since: date, today: date) -> None:
    """Let the next run compute anew from a day on what a customer pays for."""
    ids = connection.scalars(
        text("""UPDATE subscription AS s SET revised_from = least(s.revised_from, :since) FROM customer AS c
            WHERE c.id = s.customer_id AND :customer IN (c.id, c.payer_id) RETURNING s.id"""),
        {"customer": customer_id, "since": since},
    ).all()
    wake_accounts(connection, ids, today)
