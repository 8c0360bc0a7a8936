"""Routes over wallets: what of them is kept for something under way.

Rule: an order carries what makes it done once; amounts are exact decimal text.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from fastapi import APIRouter
from sqlalchemy import RowMapping

from control import billing_models as models
from control.errors import bad_request
from control.models import Listing
from control.questions import Name, Ports
from domain.money import decimal_text, minor_units
from storage.billing import clock, reading, wallets

routes = APIRouter(tags=["billing"])


@routes.post("/reservations/{customer:path}")
def reserve(ports: Ports, customer: Name, order: models.ReserveOrder) -> models.Reservation:
    """Keep an amount of a wallet; refused where it is not there."""
    with ports.engine.begin() as connection:
        payer = reading.payer_id(connection, customer)
        amount = _minor(order.amount, reading.account(connection, payer)["currency"])
        expires = clock.now(connection) + timedelta(minutes=order.minutes)
        id_ = wallets.reserve(connection, payer, amount, order.key, expires, clock.today(connection), order.text)
        return _answer(wallets.reservation(connection, id_))


@routes.get("/reservations/{customer:path}")
def list_reservations(ports: Ports, customer: Name) -> Listing[models.Reservation]:
    """List what is kept of a wallet now."""
    with ports.engine.connect() as connection:
        rows = wallets.pending(connection, reading.payer_id(connection, customer))
    return Listing(items=[_answer(row) for row in rows], next=None)


@routes.post("/kept-reservations/{number}/post")
def post_reservation(ports: Ports, number: int, order: models.SpendOrder) -> models.Reservation:
    """Charge what was kept, or a part of it, as a product; the document is paid from the wallet."""
    with ports.engine.begin() as connection:
        before = wallets.reservation(connection, number)
        amount = before["amount"] if order.amount is None else _minor(order.amount, before["currency"])
        wallets.post(connection, number, order.product, amount, clock.today(connection))
        return _answer(wallets.reservation(connection, number))


@routes.post("/kept-reservations/{number}/void")
def void_reservation(ports: Ports, number: int) -> models.Reservation:
    """Let what was kept be free again."""
    with ports.engine.begin() as connection:
        wallets.release(connection, number, clock.today(connection))
        return _answer(wallets.reservation(connection, number))


def _minor(text: str, currency: str) -> int:
    exact = minor_units(Decimal(text), currency)
    if exact.denominator != 1 or exact <= 0:
        raise bad_request(f"{text} {currency} cannot be kept", "give an amount of at least one cent, rounded")
    return exact.numerator


def _answer(row: RowMapping) -> models.Reservation:
    amounts = {key: decimal_text(row[key], row["currency"]) for key in ("amount", "posted")}
    return models.Reservation(**{**row, **amounts})
