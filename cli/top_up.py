"""`caudal topup`: octets, hours or speed that a subscriber buys beside the plan.

Rule: an order carries a key of its own, so one that is sent twice is one purchase.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.names import service_argument
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, show_listing, text, write_json
from cli.units import ago, duration, moment, octets

TOP_UP_COLUMNS = (
    text("NAME", "name"),
    text("KIND", "kind"),
    Column("LEFT", lambda item, _now: "" if item["octets"] == 0 else octets(item["octets_left"]), number=True),
    Column("OF", lambda item, _now: "" if item["octets"] == 0 else octets(item["octets"]), number=True, spare=2),
    Column("BOUGHT", lambda item, now: ago(item["bought_at"], now), number=True),
    Column("ENDS", lambda item, now: ago(item["ends_at"], now) or "never", number=True),
    text("PRICE", "price", spare=3),
    text("CHARGE", "charge", spare=3),
    text("ORIGIN", "origin", spare=1),
)
_KINDS = {"hours": "no cap", "boost": "another speed"}
_PAID = {
    "none": "",
    "balance": "; {} were paid from the balance",
    "invoice": "; {} go on the next invoice",
    "voucher": "; a voucher paid it",
}


@click.group("topup", cls=Group, example="caudal topup list luis.ortega")
def topup() -> None:
    """Buy and show top-ups."""


@topup.command("add", example="caudal topup add luis.ortega extra-1G --charge invoice")
@service_argument
@click.argument("offer", metavar="OFFER")
@click.option(
    "--charge",
    type=click.Choice(["balance", "invoice", "none"]),
    help="Pay it now from what the account has, or with the next invoice.  [default: as the account is billed]",
)
@click.option("--key", metavar="TEXT", help="Two orders with one key are one purchase.  [default: a new one]")
@json_option
def add(service: str, offer: str, charge: str | None, key: str | None, as_json: bool) -> None:
    """Buy a top-up that the service's plan offers; its line changes at once."""
    order = {"offer": offer, "key": key or uuid.uuid4().hex, "charge": charge}
    answer = ControlClient(data_directory()).post_json(f"/v1/top-ups/{segment(service)}", order)
    if as_json:
        write_json(answer)
    else:
        click.echo(_bought(answer))


@topup.command("list", example="caudal topup list luis.ortega --json")
@service_argument
@paging_options
def list_top_ups(service: str, paging: Paging) -> None:
    """List the top-ups of a service, the newest first."""
    show_listing(f"/v1/top-ups/{segment(service)}", {}, TOP_UP_COLUMNS, paging, datetime.now(UTC))


def _bought(answer: Item) -> str:
    what = octets(answer["octets"]) if answer["octets"] else _KINDS[answer["kind"]]
    holds = "until they are used"
    if answer["ends_at"] is not None:
        holds = f"for {duration((moment(answer['ends_at']) - moment(answer['bought_at'])).total_seconds())}"
    bought = f"{answer['service']}: bought {answer['name']}, {what} {holds}"
    return bought + _PAID[answer["charge"]].format(answer["price"])
