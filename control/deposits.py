"""Routes over what is held for customers, and what of their debts is given up.

Rule: an order is one transaction and carries what makes it done once; amounts are exact decimal text.
"""

from __future__ import annotations

from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.engine import Connection

from control.amounts import minor
from control.billing_models import Amount, Done, Key, Method, Text
from control.errors import bad_request
from control.models import Answer
from control.questions import Name, Ports
from domain.money import decimal_text
from storage.billing import clock, deposits, reading
from storage.billing.deposits import DepositOrder

routes = APIRouter(tags=["billing"])


class DepositAmount(BaseModel):
    """An amount of a deposit; none is all that is held."""

    amount: Amount | None = None
    method: Method = "cash"
    key: Key
    made_by: Text = ""


class DepositTaken(DepositAmount):
    """An amount that comes in."""

    amount: Amount


class WriteOffOrder(BaseModel):
    """What of an invoice is given up; no amount is all that is open."""

    amount: Amount | None = None
    reason: Text = ""
    key: Key
    made_by: Text = ""


class DepositAnswer(Answer):
    """What is held for a customer."""

    customer: str
    currency: str
    held: str = Field(description="What is left of it.")


@routes.post("/deposits/{customer:path}")
def take_deposit(ports: Ports, customer: Name, order: DepositTaken) -> DepositAnswer:
    """Hold an amount that came in: it pays nothing by itself, and is no income."""
    with ports.engine.begin() as connection:
        wanted = _order(connection, customer, order)
        return _answer(connection, customer, deposits.take(connection, wanted, clock.today(connection)))


@routes.post("/deposit-returns/{customer:path}")
def return_deposit(ports: Ports, customer: Name, order: DepositAmount) -> DepositAnswer:
    """Give back what is held, or a part of it."""
    with ports.engine.begin() as connection:
        wanted = _order(connection, customer, order)
        return _answer(connection, customer, deposits.give_back(connection, wanted, clock.today(connection)))


@routes.post("/deposit-uses/{customer:path}")
def use_deposit(ports: Ports, customer: Name, order: DepositAmount) -> DepositAnswer:
    """Pay what is open out of what is held."""
    with ports.engine.begin() as connection:
        wanted = _order(connection, customer, order)
        deposits.use(connection, wanted, clock.today(connection))
        return _answer(connection, customer, deposits.held(connection, wanted.customer_id))


@routes.get("/deposits/{customer:path}")
def show_deposit(ports: Ports, customer: Name) -> DepositAnswer:
    """Show what is held for a customer."""
    with ports.engine.connect() as connection:
        return _answer(connection, customer, deposits.held(connection, reading.customer_id(connection, customer)))


@routes.post("/write-offs/{number:path}")
def write_off(ports: Ports, number: Name, order: WriteOffOrder) -> Done:
    """Give up what is open of an invoice, or a part of it."""
    with ports.engine.begin() as connection:
        id_ = reading.document_id(connection, number)
        currency = reading.document(connection, id_)[0]["currency"]
        amount = None if order.amount is None else minor(order.amount, currency)
        booked = deposits.write_off(
            connection, id_, amount, order.key, clock.today(connection), reason=order.reason, made_by=order.made_by
        )
        head = reading.document(connection, id_)[0]
    left = decimal_text(head["open_amount"], currency)
    return Done(text=f"{head['number']}: written off as payment {booked.id}; {left} {currency} are open")


def _order(connection: Connection, customer: str, order: DepositAmount) -> DepositOrder:
    id_ = reading.customer_id(connection, customer)
    amount = None
    if order.amount is not None:
        if Decimal(order.amount) <= 0:
            raise bad_request("a deposit is more than nothing", "see `caudal deposit give-back`")
        amount = minor(order.amount, reading.account(connection, id_)["currency"])
    return DepositOrder(id_, amount, order.method, order.key, order.made_by)


def _answer(connection: Connection, customer: str, held: int) -> DepositAnswer:
    currency = reading.account(connection, reading.customer_id(connection, customer))["currency"]
    return DepositAnswer(customer=customer, currency=currency, held=decimal_text(held, currency))
