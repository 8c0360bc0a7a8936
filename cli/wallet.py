"""`caudal wallet`: amounts of a prepaid wallet that are kept for something under way.

Rule: an order carries a key of its own, so one that is sent twice is one reservation.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.money import AMOUNT, amount, shown
from cli.names import customer_argument, product_option
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, count, show_listing, text, write_json
from cli.units import ago

RESERVATION_COLUMNS = (
    count("ID", "id"),
    amount("AMOUNT", "amount"),
    Column("ENDS", lambda item, now: ago(item["expires_at"], now), number=True),
    text("TEXT", "text", spare=1),
)
_ID = click.argument("number", type=click.IntRange(1), metavar="ID")


@click.group("wallet", cls=Group, example="caudal wallet reserve luis.ortega 5.00 --minutes 30")
def wallet() -> None:
    """Keep amounts of a wallet for something under way, and charge them."""


@wallet.command("reserve", example='caudal wallet reserve luis.ortega 5.00 --minutes 30 --text "the film"')
@customer_argument
@click.argument("amount", type=AMOUNT)
@click.option("--minutes", type=click.IntRange(1, 100_000), default=60, show_default=True, help="How long.")
@click.option("--text", default="", metavar="TEXT", help="What it is for; the document says so.")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one reservation.  [default: a new one]")
@json_option
def reserve(customer: str, amount: str, minutes: int, text: str, key: str | None, as_json: bool) -> None:
    """Keep an amount, tax included, so that nothing else can spend it; refused where it is not there."""
    order = {"amount": amount, "minutes": minutes, "text": text, "key": key or uuid.uuid4().hex}
    _tell(ControlClient(data_directory()).post_json(f"/v1/reservations/{segment(customer)}", order), as_json)


@wallet.command("list", example="caudal wallet list luis.ortega")
@customer_argument
@paging_options
def list_reservations(customer: str, paging: Paging) -> None:
    """List what is kept of a wallet now."""
    path = f"/v1/reservations/{segment(customer)}"
    show_listing(path, {}, RESERVATION_COLUMNS, paging, datetime.now(UTC))


@wallet.command("post", example="caudal wallet post 17 --product film --amount 4.50")
@_ID
@product_option
@click.option("--amount", type=AMOUNT, help="So much of it, tax included.  [default: all of it]")
@json_option
def post(number: int, product: str, amount: str | None, as_json: bool) -> None:
    """Charge what was kept, or a part of it; the rest is free again."""
    order = {"product": product, "amount": amount}
    _tell(ControlClient(data_directory()).post_json(f"/v1/kept-reservations/{number}/post", order), as_json)


@wallet.command("void", example="caudal wallet void 17")
@_ID
@json_option
def void(number: int, as_json: bool) -> None:
    """Let what was kept be free again."""
    _tell(ControlClient(data_directory()).post_json(f"/v1/kept-reservations/{number}/void", {}), as_json)


def _tell(item: Item, as_json: bool) -> None:
    if as_json:
        write_json(item)
        return
    kept = shown(item["amount"], item["currency"])
    said = {
        "pending": f"{kept} of {item['customer']} kept until {item['expires_at']}",
        "posted": f"{shown(item['posted'], item['currency'])} of {kept} charged to {item['customer']}",
    }
    free = f"{kept} of {item['customer']} free again"
    click.echo(f"reservation {item['id']}: {said.get(item['state'], free)}")
