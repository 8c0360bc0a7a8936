"""`caudal card`: charge stored cards through the gateway.

Rule: no number of a card is ever taken. An order carries a key of its own, so one that is sent twice is charged once.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from cli.client import ControlClient, segment
from cli.command import Group
from cli.errors import CommandError
from cli.line import operator
from cli.money import AMOUNT, amount, shown
from cli.names import customer_argument, customer_option
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import show_listing, text, write_json

CHARGE_COLUMNS = (
    text("ID", "id"),
    text("CUSTOMER", "customer"),
    amount("AMOUNT", "amount"),
    text("STATE", "state"),
    text("PAYMENT", "payment", spare=1),
    text("GATEWAY", "gateway_id", spare=2),
    text("WHY", "why"),
)


@click.group("card", cls=Group, example="caudal card charge ana.garcia")
def card() -> None:
    """Store, charge and show cards."""


@card.command("add", example="caudal card add ana.garcia --payer cus_9s6XKz --token pm_1MqLiJ --label 'visa 4242'")
@customer_argument
@click.option("--payer", required=True, metavar="ID", help="What the gateway calls the customer.")
@click.option("--token", required=True, metavar="ID", help="What the gateway calls the card.")
@click.option("--label", default="", metavar="TEXT", help="What people call it; never its number.")
def add(customer: str, payer: str, token: str, label: str) -> None:
    """Keep the gateway's token of a card, in place of the one before."""
    order = {"payer": payer, "token": token, "label": label}
    click.echo(ControlClient(data_directory()).post_json(f"/v1/cards/{segment(customer)}", order)["text"])


@card.command("charge", example="caudal card charge ana.garcia --invoice F2027-000001")
@customer_argument
@click.option("--invoice", "invoices", multiple=True, metavar="NUMBER", help="Pay this one first; may be repeated.")
@click.option("--amount", "wanted", type=AMOUNT, help="So much.  [default: all that is open]")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one charge.  [default: a new one]")
@json_option
def charge(customer: str, invoices: tuple[str, ...], wanted: str | None, key: str | None, as_json: bool) -> None:
    """Charge a customer's card: what is open, or an amount.

    Without an answer of the gateway a charge is pending; it is asked again by itself and never charged twice.
    """
    order = {
        "customer": customer,
        "amount": wanted,
        "invoices": [*invoices],
        "key": key or uuid.uuid4().hex,
        "made_by": operator(),
    }
    answer = ControlClient(data_directory()).post_json("/v1/card-charges", order)
    if as_json:
        write_json(answer)
    elif answer["state"] == "failed":
        raise CommandError(f"charge {answer['id']} was refused: {answer['why']}")
    elif answer["state"] == "pending":
        click.echo(f"charge {answer['id']} is pending: {answer['why'] or 'the gateway is processing it'}", err=True)
    else:
        click.echo(f"receipt {answer['receipt']}: {shown(answer['amount'], answer['currency'])} of {customer}")


@card.command("list", example="caudal card list --customer ana.garcia")
@customer_option
@paging_options
def list_charges(customer: str | None, paging: Paging) -> None:
    """List charges of cards, the newest first."""
    show_listing("/v1/card-charges", {"customer": customer}, CHARGE_COLUMNS, paging, datetime.now(UTC))
