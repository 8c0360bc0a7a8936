"""`caudal product`, `caudal discount` and `caudal charge`: what can be sold, what is paid less, what is charged once.

Rule: what is done once has a key or a name; a second order with it changes nothing.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.completion import named
from cli.money import AMOUNT, DAY, PRICE, amount, shown
from cli.names import customer_argument, customer_option, product_argument
from cli.options import Paging, data_directory, paging_options
from cli.tables import Column, count, names, show_listing, text

PRODUCT_COLUMNS = (
    text("NAME", "name"),
    text("KIND", "kind"),
    Column("PRICE", lambda item, _now: "" if item["price"] is None else shown(item["price"], item["currency"]), True),
    text("EVERY", "every", spare=1),
    names("TAXES", "taxes", "", spare=2),
    names("HOLDS", "includes", "", spare=3),
    count("CONTRACT MONTHS", "contract_months", spare=4),
)
CHARGE_COLUMNS = (
    text("ID", "id"),
    text("CUSTOMER", "customer"),
    text("PRODUCT", "product"),
    text("DAY", "on"),
    text("QUANTITY", "quantity", spare=2),
    amount("PRICE", "unit_price"),
    text("STATE", "state"),
    text("DOCUMENT", "document", spare=1),
)


def _value(item: Item, _now: datetime) -> str:
    return f"{item['value']} %" if item["kind"] == "percent" else shown(item["value"], item["currency"])


DISCOUNT_COLUMNS = (
    text("NAME", "name"),
    text("CUSTOMER", "customer"),
    Column("FOR", lambda item, _now: item["subscription"] or "everything"),
    text("KIND", "kind", spare=1),
    Column("LESS", _value, True),
    text("FROM", "starts"),
    text("ENDS", "ends"),
    text("TEXT", "text", spare=2),
)


@click.group("product", cls=Group, example="caudal product list")
def product() -> None:
    """Show what is sold."""


@product.command("list", example="caudal product list --json")
@paging_options
def list_products(paging: Paging) -> None:
    """List products and plans with what new customers pay."""
    show_listing("/v1/products", {}, PRODUCT_COLUMNS, paging, datetime.now(UTC))


@click.group("discount", cls=Group, example="caudal discount give ana.garcia 10 --percent --to 2027-06-01")
def discount() -> None:
    """Give, show and end discounts."""


@discount.command("list", example="caudal discount list --customer ana.garcia")
@customer_option
@paging_options
def list_discounts(customer: str | None, paging: Paging) -> None:
    """List discounts, the newest first."""
    show_listing("/v1/discounts", {"customer": customer}, DISCOUNT_COLUMNS, paging, datetime.now(UTC))


@discount.command("give", example="caudal discount give ana.garcia 10 --percent --to 2027-06-01")
@customer_argument
@click.argument("value", type=AMOUNT)
@click.option("--percent", "kind", flag_value="percent", help="A share of the prices.")
@click.option("--amount", "kind", flag_value="amount", default=True, help="An amount of each period.  [default]")
@click.option("--coupon", "kind", flag_value="coupon", help="An amount, until it is used up.")
@click.option(
    "--for",
    "subscription",
    metavar="NAME",
    shell_complete=named("/v1/subscriptions", "name"),
    help="On this subscription alone.  [default: on everything]",
)
@click.option("--from", "starts", type=DAY, help="The first day.  [default: today]")
@click.option("--to", "ends", type=DAY, help="The first day without it.  [default: never]")
@click.option("--text", default="", metavar="TEXT", help="What documents call it.")
@click.option("--name", metavar="NAME", help="What it is called; one name is given once.  [default: a new one]")
def give(name: str | None, **order: str | None) -> None:
    """Give a discount; an amount on everything is divided over what the customer has."""
    called = name or f"{order['customer']} {uuid.uuid4().hex[:8]}"
    click.echo(ControlClient(data_directory()).post_json("/v1/discounts", {**order, "name": called})["text"])


@discount.command("end", example='caudal discount end "summer of ana" --on 2027-09-01')
@click.argument("name", metavar="NAME")
@click.option("--on", "ends", type=DAY, help="The first day without it.  [default: today]")
def end(name: str, ends: str | None) -> None:
    """Let a discount end."""
    path = f"/v1/discount-ends/{segment(name)}"
    click.echo(ControlClient(data_directory()).post_json(path, {"ends": ends})["text"])


@click.group("charge", cls=Group, example="caudal charge add ana.garcia Installation")
def charge() -> None:
    """Charge one-time items, and show them."""


@charge.command("list", example="caudal charge list --customer ana.garcia --open")
@customer_option
@click.option("--open", "only_open", is_flag=True, help="Only what is on no document yet.")
@paging_options
def list_charges(customer: str | None, only_open: bool, paging: Paging) -> None:
    """List what is charged once, the newest first."""
    filters: dict[str, object] = {"customer": customer, "open": str(only_open).lower()}
    show_listing("/v1/charges", filters, CHARGE_COLUMNS, paging, datetime.now(UTC))


@charge.command("add", example="caudal charge add ana.garcia Installation --price 49.00")
@customer_argument
@product_argument
@click.option("--on", type=DAY, help="Its day.  [default: today]")
@click.option("--quantity", type=AMOUNT, default="1", show_default=True, help="So many.")
@click.option("--price", type=PRICE, help="What one costs.  [default: the list's]")
@click.option("--text", metavar="TEXT", help="What the document calls it.  [default: the product's name]")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one charge.  [default: a new one]")
def add(key: str | None, **order: str | None) -> None:
    """Charge a one-time product on the next document of its day."""
    answer = ControlClient(data_directory()).post_json("/v1/charges", {**order, "key": key or uuid.uuid4().hex})
    click.echo(answer["text"])


@charge.command("withdraw", example="caudal charge withdraw 17")
@click.argument("number", type=click.IntRange(1), metavar="ID")
def withdraw(number: int) -> None:
    """Take back a charge that is on no document yet."""
    click.echo(ControlClient(data_directory()).post_json(f"/v1/charge-withdrawals/{number}", {})["text"])
