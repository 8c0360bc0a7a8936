"""How what is sold changes: each thing that happens to a subscription is an event with its day.

Rule: nothing is deleted; an event that is taken back is marked so. Whoever changes a subscription says from which day
its account has to be looked at again, and the next run finds what that costs. The rows of accounts are taken first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing import contracts
from billing.contracts import NO_FEE, Cancellation
from billing.history import EventKind
from config import catalogue
from storage.billing import account_types
from storage.billing.currencies import PARTNERS, list_price, require_sellable
from storage.errors import OrderRefused

CANCELLATION = "cancellation"
"""What documents call the fee for an end."""
CHANGE = "change"
"""And that for a change to another product."""


@dataclass(frozen=True, slots=True)
class NewSale:
    """A sale that begins; a price that is None is the list's."""

    customer_id: int
    product: str
    starts: date
    quantity: Decimal = Decimal(1)
    price: Decimal | None = None
    service_id: int | None = None
    code: str | None = None
    """What files call it; None: it follows its service, or its bundle."""
    bundle_id: int | None = None
    reason: str = "apply"
    key: str | None = None


class AlreadyCharged(OrderRefused):
    """The fee for an end is on a document already."""


def begin(connection: Connection, sale: NewSale, today: date) -> int:
    """Begin a sale and return its id. Raise OtherCurrency."""
    price = sale.price
    if price is None:
        price = list_price(connection, sale.customer_id, sale.product, sale.starts)
    else:
        require_sellable(connection, sale.customer_id, sale.product, sale.starts)
    id_ = int(
        connection.execute(
            text("""INSERT INTO subscription (customer_id, service_id, code, bundle_id, revised_from)
                VALUES (:customer, :service, :code, :bundle, :starts) RETURNING id"""),
            {
                "customer": sale.customer_id,
                "service": sale.service_id,
                "code": sale.code,
                "bundle": sale.bundle_id,
                "starts": sale.starts,
            },
        ).scalar_one()
    )
    note(
        connection, [id_], sale.starts, EventKind.START, product=sale.product, price=price, quantity=sale.quantity,
        reason=sale.reason, key=sale.key,
    )  # fmt: skip
    welcome(connection, [id_], today)
    wake_accounts(connection, [id_], min(sale.starts, today))
    return id_


def note(
    connection: Connection,
    ids: Sequence[int],
    on: date,
    kind: EventKind,
    *,
    product: str | None = None,
    price: Decimal | None = None,
    quantity: Decimal | None = None,
    reason: str = "apply",
    key: str | None = None,
    waits: bool = False,
) -> None:
    """Write what happens to subscriptions on a day; what is None stays. A key is of the first of them.

    With `waits` what follows from it beside its price is done on its day.
    """
    connection.execute(
        text("""INSERT INTO subscription_event
                (subscription_id, on_day, kind, product_id, unit_price, quantity, reason, key, waits)
            SELECT id, :on, :kind, (SELECT id FROM product WHERE code = :product), :price, :quantity, :reason,
                CASE WHEN place = 1 THEN :key END, :waits
            FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS u(id, place)"""),
        {
            "ids": [*ids],
            "on": on,
            "kind": kind.value,
            "product": product,
            "price": price,
            "quantity": quantity,
            "reason": reason,
            "key": key,
            "waits": waits,
        },
    )
    revise(connection, ids, on)


def take_back(
    connection: Connection, ids: Sequence[int], kinds: Sequence[EventKind], since: date, *, reason: str | None = None
) -> None:
    """Take back events of some kinds from a day on; with a reason those alone that were written for it."""
    given = {"ids": [*ids], "kinds": [kind.value for kind in kinds], "since": since, "reason": reason}
    days = connection.scalars(
        text("""UPDATE subscription_event SET cancelled_at = now()
            WHERE subscription_id = ANY(CAST(:ids AS bigint[])) AND kind = ANY(CAST(:kinds AS text[]))
                AND on_day >= :since AND cancelled_at IS NULL
                AND (CAST(:reason AS text) IS NULL OR reason = :reason) RETURNING on_day"""),
        given,
    ).all()
    if days:
        revise(connection, ids, min(days))


def revise(connection: Connection, ids: Sequence[int], since: date) -> None:
    """Let the next run compute subscriptions anew from a day on."""
    connection.execute(
        text("""UPDATE subscription SET revised_from = least(revised_from, :since)
            WHERE id = ANY(CAST(:ids AS bigint[]))"""),
        {"ids": [*ids], "since": since},
    )


def welcome(connection: Connection, subscription_ids: Sequence[int], today: date) -> None:
    """Charge what a beginning costs, give what new customers are given, and keep the contract; once for each.

    What is in a bundle has none of these: the bundle has them.
    """
    for statement in (_ACTIVATION, _INTRODUCTION, _CONTRACT):
        connection.execute(text(statement), {"ids": [*subscription_ids], "today": today})


_BEGINNING = """FROM subscription AS s
    JOIN LATERAL (SELECT product_id, on_day FROM subscription_event AS v WHERE v.subscription_id = s.id
        AND v.kind = 'start' AND v.cancelled_at IS NULL ORDER BY on_day, id LIMIT 1) AS e ON true
    JOIN product AS p ON p.id = e.product_id WHERE s.id = ANY(CAST(:ids AS bigint[])) AND s.bundle_id IS NULL"""
_ACTIVATION = f"""INSERT INTO one_off (customer_id, subscription_id, product_id, on_day, unit_price, text, key)
    SELECT s.customer_id, s.id, p.id,
        CASE WHEN p.document ->> 'activation' = 'create' THEN least(e.on_day, CAST(:today AS date)) ELSE e.on_day END,
        CAST(p.document ->> 'activation_fee' AS numeric), 'activation', 'activation/' || s.id
    {_BEGINNING} AND p.document ? 'activation_fee' ON CONFLICT (key) DO NOTHING"""
_INTRODUCTION = f"""INSERT INTO discount (customer_id, subscription_id, kind, value, starts, ends, key)
    SELECT s.customer_id, s.id, CASE WHEN i ? 'percent' THEN 'percent' ELSE 'amount' END,
        CAST(coalesce(i ->> 'percent', i ->> 'amount') AS numeric), on_day,
        CAST(on_day + make_interval(months => CAST(i ->> 'months' AS integer)) AS date), 'introduction/' || id
    FROM (SELECT s.customer_id, s.id, e.on_day, p.document -> 'introduction' AS i {_BEGINNING}) AS s
    WHERE i IS NOT NULL ON CONFLICT (key) DO NOTHING"""
_CONTRACT = f"""UPDATE subscription AS x SET contract = u.contract, contract_began = u.on_day
    FROM (SELECT s.id, e.on_day, p.document -> 'contract' AS contract {_BEGINNING}) AS u
    WHERE x.id = u.id AND x.contract IS NULL AND u.contract IS NOT NULL"""


def renew_contract(connection: Connection, subscription_id: int, on: date) -> None:
    """Let the contract of what is sold from a day on begin, if it has one; else the one before goes on binding."""
    connection.execute(
        text("""UPDATE subscription AS s SET contract = p.document -> 'contract', contract_began = :on
            FROM (SELECT product_id FROM subscription_event WHERE subscription_id = :id AND cancelled_at IS NULL
                AND product_id IS NOT NULL AND on_day <= :on ORDER BY on_day DESC, id DESC LIMIT 1) AS e
            JOIN product AS p ON p.id = e.product_id WHERE s.id = :id AND p.document ? 'contract'"""),
        {"id": subscription_id, "on": on},
    )


def charge_change(connection: Connection, ids: Sequence[int], on: date, product: str | None = None) -> None:
    """Charge what it costs to change from what is sold on a day: to a product; None: to the plan of the line.

    It is called before the change is written. A change back on the same day costs no more.
    """
    connection.execute(text(_CHANGE), {"ids": [*ids], "on": on, "product": product, "word": CHANGE})


def waive_change(connection: Connection, subscription_id: int, days: Collection[date]) -> None:
    """Take back what changes of some days cost, if it is on no document yet."""
    connection.execute(
        text("""UPDATE one_off SET withdrawn_at = now() WHERE NOT billed AND withdrawn_at IS NULL
            AND key = ANY(CAST(:keys AS text[]))"""),
        {"keys": [f"{CHANGE}/{subscription_id}/{day.isoformat()}" for day in days]},
    )


_CHANGE = """WITH fee AS (
        INSERT INTO product AS p (code, kind, document)
        SELECT 'fee', 'one-time', CAST('{}' AS jsonb) WHERE EXISTS (SELECT FROM product WHERE document ? 'change_fee')
        ON CONFLICT (code) DO UPDATE SET code = p.code RETURNING id
    )
    INSERT INTO one_off AS o (customer_id, subscription_id, product_id, on_day, unit_price, text, key)
    SELECT s.customer_id, s.id, fee.id, :on, CAST(p.document ->> 'change_fee' AS numeric), :word,
        :word || '/' || s.id || '/' || CAST(CAST(:on AS date) AS text)
    FROM subscription AS s CROSS JOIN fee LEFT JOIN service AS v ON v.id = s.service_id
    CROSS JOIN LATERAL (SELECT product_id FROM subscription_event AS h WHERE h.subscription_id = s.id
        AND h.cancelled_at IS NULL AND h.product_id IS NOT NULL AND h.on_day <= :on
        ORDER BY on_day DESC, id DESC LIMIT 1) AS e
    JOIN product AS p ON p.id = e.product_id
    WHERE s.id = ANY(CAST(:ids AS bigint[])) AND s.bundle_id IS NULL AND p.document ? 'change_fee'
        AND CASE WHEN CAST(:product AS text) IS NULL THEN p.plan_id IS DISTINCT FROM v.plan_id
            ELSE p.code <> :product END
    ON CONFLICT (key) DO UPDATE SET withdrawn_at = NULL,
        unit_price = CASE WHEN o.withdrawn_at IS NULL THEN o.unit_price ELSE excluded.unit_price END
        WHERE NOT o.billed"""


def cost_of_end(connection: Connection, subscription_id: int, ends: date) -> Cancellation:
    """Return what it costs to end a sale on a day."""
    row = connection.execute(
        text("SELECT contract, contract_began FROM subscription WHERE id = :id"), {"id": subscription_id}
    ).one()
    if row.contract is None:
        return NO_FEE
    return contracts.cancellation(catalogue.load_contract(row.contract), row.contract_began, ends)


def first_free_day(connection: Connection, subscription_id: int, ends: date) -> date:
    """Return the first day that is not charged of a sale that ends on a day, as its product has it."""
    is_last = connection.scalar(text(_LAST_DAY_CHARGED), {"id": subscription_id})
    return ends + timedelta(days=1) if is_last else ends


_LAST_DAY_CHARGED = """SELECT p.document ? 'last_day_charged' FROM subscription_event AS e
    JOIN product AS p ON p.id = e.product_id WHERE e.subscription_id = :id AND e.cancelled_at IS NULL
    ORDER BY e.on_day DESC, e.id DESC LIMIT 1"""


def charge_end(connection: Connection, subscription_id: int, ends: date | None) -> Cancellation:
    """Charge what an end costs, in the place of another end; None takes it back. Raise AlreadyCharged."""
    cost = NO_FEE if ends is None else cost_of_end(connection, subscription_id, ends)
    key = connection.scalar(
        text("""SELECT :word || '/' || :id || '/' || count(*) FROM subscription_event
            WHERE subscription_id = :id AND kind = 'start' AND cancelled_at IS NULL"""),
        {"word": CANCELLATION, "id": subscription_id},
    )
    before: Any = connection.execute(
        text("SELECT unit_price, on_day, billed FROM one_off WHERE key = :key"), {"key": key}
    ).one_or_none()
    if before is not None and before.billed:
        if before.unit_price != cost.fee:
            raise AlreadyCharged(
                f"{before.unit_price:f} were charged for its end on {before.on_day}; "
                "credit that line with `caudal invoice credit`, and start it again"
            )
        return cost
    on = ends if before is None else ends or before.on_day
    if before is not None or cost.fee:
        given = {"id": subscription_id, "on": on, "amount": cost.fee, "key": key, "word": CANCELLATION}
        connection.execute(text(_FEE), given)
    return cost


_FEE = """WITH p AS (
        INSERT INTO product AS p (code, kind, document) VALUES ('fee', 'one-time', '{}')
        ON CONFLICT (code) DO UPDATE SET code = p.code RETURNING id
    )
    INSERT INTO one_off AS o (customer_id, subscription_id, product_id, on_day, unit_price, text, key)
    SELECT s.customer_id, s.id, p.id, :on, :amount, :word, :key
    FROM subscription AS s, p WHERE s.id = :id
    ON CONFLICT (key) DO UPDATE SET unit_price = excluded.unit_price, on_day = excluded.on_day,
        withdrawn_at = CASE WHEN excluded.unit_price = 0 THEN now() END"""


def wake_accounts(connection: Connection, subscription_ids: Sequence[int], today: date) -> None:
    """Let the next run and collections look at the accounts that pay for these; whoever has none gets one."""
    if not subscription_ids:
        return
    connection.execute(
        text(f"""INSERT INTO account (customer_id, currency, billing, next_bill_on)
            SELECT DISTINCT y.id, {PARTNERS}, {account_types.USUAL}, CAST(:today AS date)
            FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
                JOIN customer AS y ON y.id = coalesce(c.payer_id, c.id) JOIN partner AS r ON r.id = y.partner_id
                CROSS JOIN isp AS i
            WHERE s.id = ANY(CAST(:ids AS bigint[]))
            ON CONFLICT (customer_id) DO UPDATE SET
                next_bill_on = least(account.next_bill_on, excluded.next_bill_on),
                next_look_on = least(account.next_look_on, excluded.next_bill_on),
                state = CASE account.state WHEN 'new' THEN 'active' ELSE account.state END"""),
        {"today": today, "ids": [*subscription_ids]},
    )
    connection.execute(text(_SUB_ACCOUNTS), {"ids": [*subscription_ids]})


_SUB_ACCOUNTS = """UPDATE account AS a SET state = 'active'
    FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
    WHERE s.id = ANY(CAST(:ids AS bigint[])) AND a.customer_id = c.id AND c.payer_id IS NOT NULL AND a.state = 'new'"""
