"""Cards: what is stored of them, and charges and refunds whose answer may be late or never come.

Rule: an order is stored as pending before the gateway hears of it, and asked outside of any transaction; what the
gateway says is booked once, with the payment, its receipt and the state of the lines, whether it came as an answer, as
a message or when asked again. Without an answer an order stays pending, and is asked again with the same key.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection, Engine

from billing.card_gateway import CardEvent, CardGateway, ChargeOrder, GatewayAway, Movement, Outcome
from storage.billing import clock, payments
from storage.errors import OrderRefused

METHOD = "card"
KEYS_KEPT = timedelta(hours=23)
"""Stripe forgets keys after 24 hours; an older order is looked up instead of being sent again."""
_CARD_NUMBER = re.compile(r"(?:[0-9][ -]?){12,19}")


class CardError(OrderRefused):
    """A card cannot be stored, charged or refunded so."""


class Charge(NamedTuple):
    """A charge or refund as it stands."""

    id: int
    state: Movement
    amount: int
    currency: str
    payment_id: int | None
    why: str


def store(connection: Connection, customer_id: int, payer: str, token: str, label: str) -> None:
    """Keep the gateway's words for a card, in place of the one that was there. Raise CardError."""
    if any(_CARD_NUMBER.fullmatch(each.strip()) for each in (payer, token, label)):
        raise CardError("that is the number of a card, which is never stored; give the gateway's token")
    connection.execute(
        text("""INSERT INTO card (customer_id, payer, token, label) VALUES (:customer, :payer, :token, :label)
            ON CONFLICT (customer_id)
            DO UPDATE SET payer = :payer, token = :token, label = :label, stored_at = now()"""),
        {"customer": customer_id, "payer": payer, "token": token, "label": label},
    )


def begin_charge(
    connection: Connection, customer_id: int, amount: int | None, documents: Sequence[int], key: str, made_by: str
) -> int:
    """Store a charge that is to be made, once for each key; without an amount of all that is open. Raise CardError."""
    account = connection.execute(
        text("SELECT currency FROM account WHERE customer_id = :id FOR UPDATE"), {"id": customer_id}
    ).one_or_none()
    card = connection.execute(text("SELECT * FROM card WHERE customer_id = :id"), {"id": customer_id}).one_or_none()
    if account is None or card is None:
        raise CardError("no card of this customer is stored; see `caudal card add`")
    known = connection.scalar(text("SELECT id FROM card_charge WHERE key = :key"), {"key": key})
    if known is not None:
        return int(known)
    opened = _open_of(connection, customer_id, documents)
    wanted = opened if amount is None else amount
    if wanted <= 0:
        raise CardError("nothing is open that is not being charged already; give an --amount")
    return int(
        connection.execute(
            text("""INSERT INTO card_charge (customer_id, payer, token, amount, currency, documents, key, gateway_key,
                    made_by)
                VALUES (:customer, :payer, :token, :amount, :currency, :documents, :key, :gateway_key, :by)
                RETURNING id"""),
            {
                "customer": customer_id,
                "payer": card.payer,
                "token": card.token,
                "amount": wanted,
                "currency": account.currency,
                "documents": [*documents],
                "key": key,
                "gateway_key": uuid.uuid4().hex,
                "by": made_by,
            },
        ).scalar_one()
    )


def _open_of(connection: Connection, customer_id: int, documents: Sequence[int]) -> int:
    """Return what is open of the invoices, less what is being charged already. Raise CardError."""
    rows = connection.execute(
        text("SELECT id, open_amount FROM document WHERE customer_id = :id AND kind = 'invoice'"), {"id": customer_id}
    )
    opened = {row.id: int(row.open_amount) for row in rows}
    for document_id in documents:
        if document_id not in opened:
            raise CardError(f"document {document_id} is no invoice of this customer; see `caudal invoice list`")
    pending = connection.execute(
        text("""SELECT coalesce(sum(amount), 0)::bigint AS all,
                coalesce(sum(amount) FILTER (WHERE documents && CAST(:documents AS bigint[])), 0)::bigint AS of_these
            FROM card_charge WHERE customer_id = :id AND state = 'pending'"""),
        {"id": customer_id, "documents": [*documents]},
    ).one()
    left = sum(opened.values()) - pending.all
    if documents:
        left = min(left, sum(opened[document_id] for document_id in {*documents}) - pending.of_these)
    return int(left)


def settle_charge(engine: Engine, gateway: CardGateway, charge_id: int, now: datetime) -> Charge:
    """Ask the gateway for a charge that is pending, and book what it says; without an answer it stays pending."""
    with engine.connect() as connection:
        row = _charge(connection, charge_id)
    if row.state != Movement.PENDING.value:
        return _told(row)
    order = ChargeOrder(row.gateway_key, row.amount, row.currency, row.payer, row.token, f"charge {row.id}")
    try:
        outcome = gateway.charge(order) if _may_ask(row, now) else gateway.find_charge(order.key) or _unknown(row)
    except GatewayAway as away:
        return _told(row)._replace(why=str(away))
    try:
        with engine.begin() as connection:
            _book_charge(connection, charge_id, outcome)
            return _told(_charge(connection, charge_id))
    except OrderRefused as refused:
        return _told(row)._replace(why=f"the gateway is done with it, and it cannot be booked yet: {refused}")


def _may_ask(row: Any, now: datetime) -> bool:
    """Tell whether to send the order again: a kept key is answered as the first time, so not where that was pending."""
    return row.gateway_id is None and now - row.made_at < KEYS_KEPT


def _unknown(row: Any) -> Outcome:
    """Return what it means that a gateway does not find an order."""
    if row.gateway_id is not None:
        return Outcome(Movement.PENDING, row.gateway_id)
    return Outcome(Movement.FAILED, "", "the gateway has never had this order")


def _book_charge(connection: Connection, charge_id: int, outcome: Outcome) -> None:
    row = _charge(connection, charge_id, lock=True)
    # One that failed may still succeed: its holder confirmed it later.
    if row.state == Movement.SUCCEEDED.value or (row.state == outcome.movement.value and row.gateway_id):
        return
    payment_id = None
    if outcome.movement is Movement.SUCCEEDED:
        order = payments.Order(
            row.customer_id, row.amount, METHOD, f"card/{row.id}", outcome.gateway_id, row.documents, row.made_by
        )
        payment_id = payments.add(connection, order, clock.today(connection)).id
    elif row.state == Movement.FAILED.value:
        return
    connection.execute(
        text("""UPDATE card_charge SET state = :state, gateway_id = nullif(:gateway_id, ''), why = :why,
                payment_id = :payment WHERE id = :id"""),
        {
            "state": outcome.movement.value,
            "gateway_id": outcome.gateway_id,
            "why": outcome.why,
            "payment": payment_id,
            "id": charge_id,
        },
    )


def take_event(engine: Engine, event: CardEvent) -> bool:
    """Book what the gateway told by itself; False where it was told before, or is of no charge of ours."""
    with engine.begin() as connection:
        charge_id = connection.scalar(
            text("SELECT id FROM card_charge WHERE gateway_key = :key FOR UPDATE"), {"key": event.key}
        )
        fresh = connection.scalar(
            text("INSERT INTO card_event (id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING id"), {"id": event.id}
        )
        if charge_id is None or fresh is None:
            return False
        _book_charge(connection, charge_id, event.outcome)
        return True


def is_charged(connection: Connection, payment_id: int) -> bool:
    """Tell whether a payment is a charge of a card."""
    query = text("SELECT EXISTS (SELECT FROM card_charge WHERE payment_id = :id)")
    return bool(connection.scalar(query, {"id": payment_id}))


def receipt(connection: Connection, payment_id: int | None) -> str | None:
    """Return the number of the receipt of a payment."""
    number = connection.scalar(text("SELECT number FROM document WHERE payment_id = :id"), {"id": payment_id})
    return None if number is None else str(number)


def begin_refund(connection: Connection, payment_id: int, amount: int | None, key: str) -> int:
    """Store a refund that is to be made, once for each key. Raise CardError or PaymentError."""
    row = connection.execute(
        text("""SELECT p.*, c.id AS charge_id FROM payment AS p JOIN card_charge AS c ON c.payment_id = p.id
            WHERE p.id = :id FOR UPDATE OF p"""),
        {"id": payment_id},
    ).one()
    known = connection.scalar(text("SELECT id FROM card_refund WHERE key = :key"), {"key": key})
    if known is not None:
        return int(known)
    payments.require_returnable(connection, payment_id)
    left = row.amount - row.refunded - _under_way(connection, payment_id)
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise CardError(f"of payment {payment_id} {left} minor units are left to give back, not {wanted}")
    return int(
        connection.execute(
            text("""INSERT INTO card_refund (charge_id, amount, key, gateway_key)
                VALUES (:charge, :amount, :key, :gateway_key) RETURNING id"""),
            {"charge": row.charge_id, "amount": wanted, "key": key, "gateway_key": uuid.uuid4().hex},
        ).scalar_one()
    )


def _under_way(connection: Connection, payment_id: int) -> int:
    """Return what of a payment the gateway was asked to give back and has not said to have, in minor units."""
    pending = connection.scalar(
        text("""SELECT coalesce(sum(r.amount), 0) FROM card_refund AS r JOIN card_charge AS c ON c.id = r.charge_id
            WHERE c.payment_id = :id AND r.state = 'pending'"""),
        {"id": payment_id},
    )
    return int(pending or 0)


def require_none_under_way(connection: Connection, payment_id: int) -> None:
    """Raise CardError while the gateway has a part of a payment to give back: that part cannot be taken back, too."""
    connection.execute(text("SELECT FROM payment WHERE id = :id FOR UPDATE"), {"id": payment_id})
    if _under_way(connection, payment_id):
        raise CardError(
            f"a refund of payment {payment_id} is under way at the gateway; reverse what is left when it has answered"
        )


def settle_refund(engine: Engine, gateway: CardGateway, refund_id: int, now: datetime) -> Charge:
    """Ask the gateway for a refund that is pending, and book what it says; without an answer it stays pending."""
    with engine.connect() as connection:
        row = _refund(connection, refund_id)
    if row.state != Movement.PENDING.value:
        return _told(row)
    try:
        if _may_ask(row, now):
            outcome = gateway.refund(row.charged_as, row.amount, row.gateway_key)
        else:
            outcome = gateway.find_refund(row.charged_as, row.gateway_key) or _unknown(row)
    except GatewayAway as away:
        return _told(row)._replace(why=str(away))
    try:
        with engine.begin() as connection:
            book_refund(connection, refund_id, outcome)
            return _told(_refund(connection, refund_id))
    except OrderRefused as refused:
        return _told(row)._replace(why=f"the gateway is done with it, and it cannot be booked yet: {refused}")


def book_refund(connection: Connection, refund_id: int, outcome: Outcome) -> None:
    """Book what the gateway says of a refund that is pending."""
    row = _refund(connection, refund_id, lock=True)
    if row.state != Movement.PENDING.value:
        return
    if outcome.movement is Movement.SUCCEEDED:
        payments.give_back(connection, row.payment_id, row.amount, f"card/{row.id}", clock.today(connection))
    connection.execute(
        text("UPDATE card_refund SET state = :state, gateway_id = nullif(:gateway_id, ''), why = :why WHERE id = :id"),
        {
            "state": outcome.movement.value,
            "gateway_id": outcome.gateway_id,
            "why": outcome.why,
            "id": refund_id,
        },
    )


def resolve(engine: Engine, gateway: CardGateway, now: datetime, older_than: timedelta) -> Iterator[Charge]:
    """Settle what is pending since long enough that nobody waits for its answer; yield what is not pending any more."""
    for table, settle in (("card_charge", settle_charge), ("card_refund", settle_refund)):
        with engine.connect() as connection:
            ids = connection.scalars(
                text(f"SELECT id FROM {table} WHERE state = 'pending' AND made_at <= :before ORDER BY id"),
                {"before": now - older_than},
            ).all()
        for id_ in ids:
            settled = settle(engine, gateway, id_, now)
            if settled.state is not Movement.PENDING:
                yield settled


def charges(connection: Connection, *, customer: int | None, before: int | None, limit: int) -> Sequence[RowMapping]:
    """Return charges, the newest first."""
    return (
        connection.execute(
            text("""SELECT h.id, c.login AS customer, h.amount, h.currency, h.state, h.payment_id, h.why, h.made_at,
                    h.gateway_id FROM card_charge AS h JOIN customer AS c ON c.id = h.customer_id
                WHERE (CAST(:customer AS bigint) IS NULL OR h.customer_id = :customer)
                    AND (CAST(:before AS bigint) IS NULL OR h.id < :before) ORDER BY h.id DESC LIMIT :limit"""),
            {"customer": customer, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


def _charge(connection: Connection, charge_id: int, *, lock: bool = False) -> Any:
    query = f"SELECT * FROM card_charge WHERE id = :id {'FOR UPDATE' if lock else ''}"
    return connection.execute(text(query), {"id": charge_id}).one()


def _refund(connection: Connection, refund_id: int, *, lock: bool = False) -> Any:
    query = f"""SELECT r.*, c.payment_id, c.currency, c.gateway_id AS charged_as FROM card_refund AS r
        JOIN card_charge AS c ON c.id = r.charge_id WHERE r.id = :id {"FOR UPDATE OF r" if lock else ""}"""
    return connection.execute(text(query), {"id": refund_id}).one()


def _told(row: Any) -> Charge:
    return Charge(row.id, Movement(row.state), row.amount, row.currency, row.payment_id, row.why)
