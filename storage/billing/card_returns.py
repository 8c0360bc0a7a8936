"""What the gateway tells by itself of money paid by card: given back there, taken back by a bank, or here again.

Rule: it is booked once, by the gateway's name of the refund or dispute, in one transaction with the state of the lines;
never more than is left of the payment, for an operator may have booked it by hand before. What comes again after it
went is a payment of its own.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from billing.card_gateway import Back, MoneyBack, Movement, Outcome
from storage.billing import cards, clock, payments
from storage.billing.cards import METHOD, CardError


def take(engine: Engine, told: MoneyBack) -> bool:
    """Book what was told; False where it was told before, or is of no charge of ours. Raise CardError."""
    with engine.begin() as connection:
        charge = _charge(connection, told)
        if charge is None:
            return False
        fresh = connection.scalar(
            text("INSERT INTO card_event (id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING id"), {"id": told.id}
        )
        if fresh is None:
            return False
        return _book(connection, told, charge, clock.today(connection))


def _charge(connection: Connection, told: MoneyBack) -> Any:
    """Return the charge with its payment; None where it is not ours. Raise CardError where that is not known yet."""
    row = connection.execute(
        text("SELECT id, customer_id, payment_id, state FROM card_charge WHERE gateway_id = :id"),
        {"id": told.charge_id},
    ).one_or_none()
    if row is not None and row.payment_id is None:
        raise CardError(f"charge {row.id} is {row.state} here, and {told.what.value} at the gateway")
    if row is None and connection.scalar(
        text("SELECT EXISTS (SELECT FROM card_charge WHERE state = 'pending' AND gateway_id IS NULL)")
    ):
        raise CardError(f"{told.charge_id} may be a charge that still waits for its answer")
    return row


def _book(connection: Connection, told: MoneyBack, charge: Any, today: date) -> bool:
    own = connection.execute(
        text("SELECT id, state FROM card_refund WHERE gateway_key = :key FOR UPDATE"), {"key": told.key}
    ).one_or_none()
    if own is not None and own.state == Movement.PENDING.value:
        movement = Movement.SUCCEEDED if told.what is Back.REFUNDED else Movement.FAILED
        cards.book_refund(connection, own.id, Outcome(movement, told.name))
        return True
    name = f"card/{told.name if own is None else own.id}"
    if told.what in (Back.REFUNDED, Back.DISPUTED):
        return own is None and _give_back(connection, told, charge.payment_id, name, today)
    return _come_again(connection, told, charge.customer_id, name, today)


def _give_back(connection: Connection, told: MoneyBack, payment_id: int, name: str, today: date) -> bool:
    left = connection.execute(
        text("SELECT amount - refunded FROM payment WHERE id = :id FOR UPDATE"), {"id": payment_id}
    ).scalar_one()
    amount = min(told.amount, left)
    if amount <= 0:
        return False
    is_reversal = told.what is Back.DISPUTED
    return bool(payments.give_back(connection, payment_id, amount, name, today, is_reversal=is_reversal))


def _come_again(connection: Connection, told: MoneyBack, customer_id: int, name: str, today: date) -> bool:
    """Book as a payment what was booked as given back under a name; False where nothing was."""
    amount = connection.scalar(
        text("""SELECT sum(abs(p.amount))::bigint FROM transfer AS t JOIN posting AS p ON p.transfer_id = t.id
            JOIN ledger_account AS a ON a.id = p.ledger_account_id
            WHERE t.key = 'refund/' || :name AND a.kind = 'cash'"""),
        {"name": name},
    )
    if amount is None:
        return False
    order = payments.Order(customer_id, amount, METHOD, f"{name}/again", told.name)
    return not payments.add(connection, order, today).again
