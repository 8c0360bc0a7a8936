"""What is in bundles: the lines, recurring items and voice plans that one price pays.

Rule: each is a subscription that costs nothing as long as it is in the bundle; what it uses beyond its plan is charged.
A customer's line of a plan that the bundle holds is in it while there is room, the line of the bundle's own service
first. It leaves when it gets another plan, and then costs what the list says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.history import EventKind
from config import catalogue
from domain.catalogue import Included, Product, ProductKind
from storage.billing.currencies import list_price
from storage.billing.selling import NewSale, begin, note, take_back, wake_accounts

REASON = "bundle"
"""Of what follows the bundle, and is taken back with what it follows."""
EXCHANGE = "exchange"
"""Of what ends because the bundle has become another one."""
FREE = Decimal(0)


def fill(
    connection: Connection, today: date, customer_ids: Collection[int] | None = None, fresh: Collection[int] = ()
) -> None:
    """Put into bundles what belongs there; of some customers, or of all.

    It is in a bundle that is `fresh` from the day on which that begins, also a past one; in others from today.
    """
    ids = None if customer_ids is None else [*customer_ids]
    bundles = connection.execute(text(_BUNDLES), {"customers": ids}).all()
    if not bundles:
        return
    kinds = _kinds(connection)
    members: dict[int, Counter[str]] = defaultdict(Counter)
    owners = {"customers": sorted({row.customer_id for row in bundles})}
    for bundle_id, product in connection.execute(text(_MEMBERS), owners):
        members[bundle_id][product] += 1
    free: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for line in connection.execute(text(_FREE_LINES), owners):
        free[line.customer_id, line.product].append(line)
    for row in bundles:
        since = row.since if row.id in fresh else max(row.since, today)
        for included in _contents(row):
            room = included.quantity * int(row.quantity) - members[row.id][included.product]
            if kinds.get(included.product) is ProductKind.INTERNET:
                lines = free[row.customer_id, included.product]
                lines.sort(key=lambda line: (line.service_id != row.service_id, line.login))
                taken, lines[:] = lines[: max(0, room)], lines[max(0, room) :]
                _join(connection, row, taken, since, today)
            elif included.product in kinds and not members[row.id][included.product]:
                _add(connection, row, included, since, today)


def _contents(row: Any) -> tuple[Included, ...]:
    return catalogue.load_product(row.product_id, row.product, row.kind, row.document).includes


def _kinds(connection: Connection) -> Mapping[str, ProductKind]:
    rows = connection.execute(text("SELECT code, kind FROM product"))
    return {code: ProductKind(kind) for code, kind in rows}


def _join(connection: Connection, bundle: Any, lines: Sequence[Any], since: date, today: date) -> None:
    """Let lines cost nothing from a day on, or from that on which they got their plan."""
    for line in lines:
        on = max(since, line.since)
        connection.execute(
            text("""UPDATE subscription SET bundle_id = :bundle, contract = NULL, contract_began = NULL
                WHERE id = :id"""),
            {"bundle": bundle.id, "id": line.id},
        )
        take_back(connection, [line.id], [EventKind.CHANGE], on, reason="price")
        note(connection, [line.id], on, EventKind.CHANGE, price=FREE, reason=REASON)
        wake_accounts(connection, [line.id], min(on, today))


def _add(connection: Connection, bundle: Any, included: Included, since: date, today: date) -> None:
    quantity = Decimal(included.quantity) * bundle.quantity
    sale = NewSale(bundle.customer_id, included.product, since, quantity, FREE, bundle_id=bundle.id, reason=REASON)
    begin(connection, sale, today)


def follow(connection: Connection, bundle_id: int, kind: EventKind, on: date) -> None:
    """Let what is in a bundle, and has not ended by itself, pause, go on or end with it."""
    ids = [row.id for row in connection.execute(text(_HELD), {"id": bundle_id})]
    if ids:
        note(connection, ids, on, kind, reason=REASON)


def unfollow(connection: Connection, bundle_id: int, kinds: Sequence[EventKind], since: date) -> None:
    """Take back what followed from orders that are taken back."""
    ids = connection.scalars(text("SELECT id FROM subscription WHERE bundle_id = :id"), {"id": bundle_id}).all()
    if ids:
        take_back(connection, ids, kinds, since, reason=REASON)


def exchange(connection: Connection, bundle_id: int, product: Product, on: date, today: date) -> None:
    """Let go of what is not in the bundle that it becomes: lines then cost what they cost alone, items end."""
    kept = {each.product for each in product.includes}
    rows = connection.execute(text(_HELD), {"id": bundle_id}).all()
    leaving = [row.id for row in rows if row.service_id is not None and row.product not in kept]
    leave(connection, leaving, on)
    ending = [row.id for row in rows if row.service_id is None and row.product not in kept]
    if ending:
        note(connection, ending, on, EventKind.STOP, reason=EXCHANGE)
    wake_accounts(connection, [*leaving, *ending], min(on, today))


def leave(connection: Connection, ids: Sequence[int], on: date) -> None:
    """Take lines out of their bundles; from a day on they cost what they cost alone."""
    if not ids:
        return
    take_back(connection, ids, [EventKind.CHANGE], on, reason=REASON)
    rows = connection.execute(text(_LINES), {"ids": [*ids]}).all()
    for row in rows:
        price = list_price(connection, row.customer_id, row.product, on)
        note(connection, [row.id], on, EventKind.CHANGE, price=price, reason=REASON)
    connection.execute(
        text("UPDATE subscription SET bundle_id = NULL WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": [*ids]}
    )


_LATEST = "ORDER BY on_day DESC, id DESC"
_AS_LEFT = f"""CROSS JOIN LATERAL (
        SELECT (array_agg(product_id {_LATEST}) FILTER (WHERE product_id IS NOT NULL))[1] AS product_id,
            (array_agg(quantity {_LATEST}) FILTER (WHERE quantity IS NOT NULL))[1] AS quantity,
            (array_agg(kind {_LATEST}) FILTER (WHERE kind <> 'change'))[1] AS last,
            max(on_day) FILTER (WHERE product_id IS NOT NULL) AS since
        FROM subscription_event WHERE subscription_id = s.id AND cancelled_at IS NULL
    ) AS e JOIN product AS p ON p.id = e.product_id"""
_BUNDLES = f"""SELECT s.id, s.customer_id, s.service_id, p.id AS product_id, p.code AS product, p.kind, p.document,
        e.quantity, e.since
    FROM subscription AS s {_AS_LEFT}
    WHERE s.id IN (SELECT v.subscription_id FROM product AS b JOIN subscription_event AS v ON v.product_id = b.id
            AND v.cancelled_at IS NULL WHERE b.kind = 'bundle')
        AND p.kind = 'bundle' AND e.last <> 'stop'
        AND (CAST(:customers AS bigint[]) IS NULL OR s.customer_id = ANY(CAST(:customers AS bigint[])))
    ORDER BY s.id"""
_MEMBERS = f"""SELECT s.bundle_id, p.code FROM subscription AS s {_AS_LEFT}
    WHERE s.customer_id = ANY(CAST(:customers AS bigint[])) AND s.bundle_id IS NOT NULL AND e.last <> 'stop'"""
_FREE_LINES = f"""SELECT s.id, s.customer_id, s.service_id, v.login, p.code AS product, e.since
    FROM subscription AS s JOIN service AS v ON v.id = s.service_id {_AS_LEFT}
    WHERE s.customer_id = ANY(CAST(:customers AS bigint[])) AND s.code IS NULL AND s.bundle_id IS NULL
        AND e.last <> 'stop'"""
_HELD = f"""SELECT s.id, s.service_id, p.code AS product FROM subscription AS s {_AS_LEFT}
    WHERE s.bundle_id = :id AND e.last <> 'stop'"""
_LINES = f"""SELECT s.id, s.customer_id, p.code AS product FROM subscription AS s {_AS_LEFT}
    WHERE s.id = ANY(CAST(:ids AS bigint[]))"""
