"""Changes of prices: another version of the list, and the subscriptions that it moves.

Rule: the version and what follows from it are one transaction; a dry run shows the same and writes nothing. The rows of
the accounts are taken first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.history import EventKind
from billing.prices import Holder, NoPrice, PriceScope, PriceVersion, moved, price_on
from storage.billing.currencies import PARTIES
from storage.billing.selling import wake_accounts
from storage.errors import OrderRefused


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What a change of a price does: the price before (None: there was none), and whom it moves by how much."""

    before: Decimal | None
    moved: tuple[tuple[str, Decimal], ...]
    """Logins of customers, with what a period costs them more."""


def change(
    connection: Connection, code: str, amount: Decimal, starts: date, scope: PriceScope, today: date,
    partner: str | None = None,
) -> PriceChange:  # fmt: skip
    """Change what a product costs from a day on; `partner` None is the list of everybody. Raise OrderRefused."""
    product_id = connection.scalar(text("SELECT id FROM product WHERE code = :code"), {"code": code})
    if product_id is None:
        raise OrderRefused(f"there is no product {code!r}; see the [[plan]] and [[product]] tables of `caudal export`")
    partner_id = None
    if partner is not None:
        partner_id = connection.scalar(text("SELECT id FROM partner WHERE name = :name"), {"name": partner})
        if partner_id is None:
            raise OrderRefused(f"there is no partner {partner!r}; see the [[partner]] tables of `caudal export`")
    rows = connection.execute(
        text("SELECT starts, amount, partner_id FROM price WHERE product_id = :id"), {"id": product_id}
    )
    versions = [PriceVersion(*row) for row in rows]
    try:
        before = price_on(versions, starts, partner_id, code)
    except NoPrice:
        before = None
    found = connection.execute(text(_HOLDERS), {"product": product_id, "starts": starts}).all()
    logins = {row.id: row.login for row in found}
    own = {version.partner_id for version in versions if version.starts <= starts}
    holders = [
        Holder(row.id, row.unit_price, row.quantity, row.partner_id)
        for row in found
        # Whoever has a list of his partner's, or pays in another currency, is not concerned by everybody's.
        if (partner_id is None and row.partner_id not in own and row.own == row.isps)
        or (row.partner_id == partner_id and row.own == row.sellers)
    ]
    chosen = moved(holders, before, amount, scope)
    connection.execute(
        text("""INSERT INTO price (product_id, partner_id, starts, amount) VALUES (:product, :partner, :starts, :amount)
            ON CONFLICT (product_id, partner_id, starts) DO UPDATE SET amount = excluded.amount, made_at = now()"""),
        {"product": product_id, "partner": partner_id, "starts": starts, "amount": amount},
    )
    ids = [holder.subscription_id for holder in chosen]
    wake_accounts(connection, ids, min(starts, today))
    given = {"ids": ids, "on": starts, "price": amount, "kind": EventKind.CHANGE.value}
    connection.execute(
        text("""INSERT INTO subscription_event (subscription_id, on_day, kind, unit_price, reason)
            SELECT id, :on, :kind, :price, 'price' FROM unnest(CAST(:ids AS bigint[])) AS u(id)"""),
        given,
    )
    connection.execute(
        text("""UPDATE subscription SET revised_from = least(revised_from, :on)
            WHERE id = ANY(CAST(:ids AS bigint[]))"""),
        given,
    )
    return PriceChange(
        before,
        tuple((logins[each.subscription_id], (amount - each.unit_price) * each.quantity) for each in chosen),
    )


_LATEST = "on_day DESC, id DESC"
_HOLDERS = f"""SELECT s.id, c.login, c.partner_id, e.unit_price, e.quantity, m.own, m.sellers,
        i.currency AS isps
    FROM subscription AS s
    JOIN customer AS c ON c.id = s.customer_id {PARTIES}
    CROSS JOIN LATERAL (
        SELECT (array_agg(product_id ORDER BY {_LATEST}) FILTER (WHERE product_id IS NOT NULL))[1] AS product,
            (array_agg(unit_price ORDER BY {_LATEST}) FILTER (WHERE unit_price IS NOT NULL))[1] AS unit_price,
            (array_agg(quantity ORDER BY {_LATEST}) FILTER (WHERE quantity IS NOT NULL))[1] AS quantity,
            (array_agg(kind ORDER BY {_LATEST}))[1] AS last
        FROM subscription_event AS v WHERE v.subscription_id = s.id AND v.cancelled_at IS NULL AND v.on_day <= :starts
    ) AS e
    WHERE e.product = :product AND e.last <> 'stop' AND s.bundle_id IS NULL ORDER BY s.id"""
