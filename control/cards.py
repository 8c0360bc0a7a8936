"""Routes over cards: store the gateway's token, charge it, list what became of charges, give back.

Rule: a charge is stored before the gateway hears of it; an answer that does not come leaves it pending, never failed.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from billing.card_gateway import CardGateway, Movement
from control.amounts import minor
from control.billing_models import Amount, Done, Key, Refunded, Text
from control.errors import bad_request
from control.models import Answer, Listing
from control.ports import ControlPorts
from control.questions import DEFAULT_LIMIT, AfterNumber, Limit, Name, NameFilter, Ports, before, following
from domain.money import decimal_text
from storage.billing import cards, reading

routes = APIRouter(tags=["billing"])


class CardOrder(BaseModel):
    """A card as the gateway keeps it; `label` is for people, never the number."""

    payer: Text
    token: Text
    label: Text = ""


class ChargeOrder(BaseModel):
    """What to charge; without an amount all that is open."""

    customer: Text
    amount: Amount | None = None
    invoices: list[str] = []
    key: Key
    made_by: Text = ""


class Charge(Answer):
    """A charge of a card; `state` is pending, succeeded or failed."""

    id: int
    customer: str
    amount: str
    currency: str
    state: str
    payment: int | None
    receipt: str | None
    why: str


class ListedCharge(Answer):
    """A charge of a card in a listing."""

    id: int
    customer: str
    amount: str
    currency: str
    state: str
    payment: int | None
    why: str
    made_at: datetime
    gateway_id: str | None


@routes.post("/cards/{customer:path}")
def store_card(ports: Ports, customer: Name, order: CardOrder) -> Done:
    """Keep the gateway's token of a customer's card, in place of the one before."""
    if not order.payer or not order.token:
        raise bad_request("the gateway's customer and card are needed", "see `caudal card add --help`")
    with ports.engine.begin() as connection:
        cards.store(connection, reading.payer_id(connection, customer), order.payer, order.token, order.label)
    return Done(text=f"{customer}: card {order.label or order.token} is stored")


@routes.post("/card-charges")
def charge_card(ports: Ports, order: ChargeOrder) -> Charge:
    """Charge a customer's card and book what the gateway says; without an answer the charge stays pending."""
    gateway = gateway_of(ports)
    with ports.engine.begin() as connection:
        payer, chosen = reading.paid_for(connection, order.customer, order.invoices)
        currency = reading.account(connection, payer)["currency"]
        amount = None if order.amount is None else minor(order.amount, currency)
        charge_id = cards.begin_charge(connection, payer, amount, chosen, order.key, order.made_by)
    charge = cards.settle_charge(ports.engine, gateway, charge_id, ports.now())
    with ports.engine.connect() as connection:
        receipt = cards.receipt(connection, charge.payment_id)
    return Charge(
        id=charge.id,
        customer=order.customer,
        amount=decimal_text(charge.amount, charge.currency),
        currency=charge.currency,
        state=charge.state.value,
        payment=charge.payment_id,
        receipt=receipt,
        why=charge.why,
    )


@routes.get("/card-charges")
def list_charges(
    ports: Ports, customer: NameFilter = None, limit: Limit = DEFAULT_LIMIT, after: AfterNumber = None
) -> Listing[ListedCharge]:
    """List charges of cards, the newest first."""
    with ports.engine.connect() as connection:
        wanted = None if customer is None else reading.payer_id(connection, customer)
        rows = cards.charges(connection, customer=wanted, before=before(after), limit=limit + 1)
    items = [
        ListedCharge(
            **{key: row[key] for key in ("id", "customer", "currency", "state", "why", "made_at", "gateway_id")},
            amount=decimal_text(row["amount"], row["currency"]),
            payment=row["payment_id"],
        )
        for row in rows[:limit]
    ]
    return Listing(items=items, next=following(rows, limit))


def give_back(ports: ControlPorts, payment_id: int, amount: int | None, key: str) -> Refunded:
    """Give back a charge, or a part of it, through the gateway; refuse what the gateway refuses."""
    gateway = gateway_of(ports)
    with ports.engine.begin() as connection:
        refund_id = cards.begin_refund(connection, payment_id, amount, key)
    refund = cards.settle_refund(ports.engine, gateway, refund_id, ports.now())
    if refund.state is Movement.FAILED:
        raise bad_request(f"the card gateway refuses: {refund.why}", "give it back in another way")
    if refund.state is Movement.PENDING:
        raise bad_request(
            f"the refund waits for the card gateway: {refund.why or 'it is being processed'}",
            "it is booked by itself; do not order it again",
        )
    return Refunded(payment=payment_id, amount=decimal_text(refund.amount, refund.currency), currency=refund.currency)


def gateway_of(ports: ControlPorts) -> CardGateway:
    """Return the gateway; refuse where none is configured."""
    if ports.cards is None:
        raise bad_request("no gateway of cards is configured", "see [cards] in docs/configuration.md")
    return ports.cards
