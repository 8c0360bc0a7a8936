"""Which services have a plan that the partner of their customer may not sell.

Rule: it is asked when a service is sold a plan or given to a customer; what a partner sold before it no longer may goes
on. A service without a customer is the ISP's own, the main partner's.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.engine import Connection

from config.checks import listed, show
from config.isp import MAIN


def restricted_plans(connection: Connection) -> frozenset[str]:
    """Return the names of the plans that not every partner may sell."""
    return frozenset(
        connection.scalars(text("SELECT name FROM plan WHERE jsonb_array_length(rules -> 'partners') > 0"))
    )


def refusal(connection: Connection, customer_id: int, plan: str) -> str | None:
    """Return why the partner of a customer may not sell a plan; None: it may."""
    row = connection.execute(
        text("""SELECT r.name AS partner, p.rules -> 'partners' AS sellers
            FROM plan AS p, customer AS c JOIN partner AS r ON r.id = c.partner_id
            WHERE p.name = :plan AND c.id = :customer AND jsonb_array_length(p.rules -> 'partners') > 0
                AND NOT p.rules -> 'partners' ? r.name"""),
        {"plan": plan, "customer": customer_id},
    ).one_or_none()
    return None if row is None else f"{show(plan)} is sold by {listed(row.sellers)}, not by {show(row.partner)}"


def refusals(connection: Connection, logins: Collection[str]) -> dict[str, str]:
    """Return, for those of the services that are sold by the wrong partner, by login, what is wrong with the plan."""
    rows = connection.execute(
        text("""SELECT s.login, p.name AS plan, r.name AS partner, p.rules -> 'partners' AS sellers
            FROM service AS s JOIN plan AS p ON p.id = s.plan_id LEFT JOIN customer AS c ON c.id = s.customer_id
            JOIN partner AS r ON CASE WHEN c.id IS NULL THEN r.name = :main ELSE r.id = c.partner_id END
            WHERE s.login = ANY(CAST(:logins AS text[])) AND jsonb_array_length(p.rules -> 'partners') > 0
                AND NOT p.rules -> 'partners' ? r.name"""),
        {"logins": [*logins], "main": MAIN},
    )
    return {row.login: f"{show(row.plan)} is sold by {listed(row.sellers)}, not by {show(row.partner)}" for row in rows}
