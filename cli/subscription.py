"""`caudal subscription`: what is sold to customers, from which day to which.

Rule: an order carries a key of its own, so one that is sent twice is done once; what an end costs is told before it is
charged.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.completion import named
from cli.errors import CommandError
from cli.money import AMOUNT, DAY, PRICE, amount, shown
from cli.names import customer_argument, customer_option, product_argument, service_option
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, Table, show_listing, text, write_details, write_json

PATH = "/v1/subscriptions"
COLUMNS = (
    text("ID", "id", spare=5),
    text("NAME", "name"),
    text("CUSTOMER", "customer"),
    text("PRODUCT", "product"),
    text("STATE", "state"),
    text("QUANTITY", "quantity", spare=2),
    amount("PRICE", "unit_price"),
    text("FROM", "starts", spare=1),
    text("ENDS", "ends"),
    text("CONTRACT TO", "contract_until", spare=3),
    text("BUNDLE", "bundle", spare=4),
)
HISTORY = (
    text("DAY", "on"),
    text("WHAT", "kind"),
    text("PRODUCT", "product"),
    text("PRICE", "unit_price"),
    text("QUANTITY", "quantity", spare=1),
    text("BY", "reason", spare=2),
)
STATES = ("pending", "active", "paused", "stopped")

_PRODUCTS = named("/v1/products", "name")
_NAME = click.argument("name", metavar="NAME", shell_complete=named(PATH, "name"))
_KEY = click.option("--key", metavar="TEXT", help="Two orders with one key are done once.  [default: a new one]")


@click.group("subscription", cls=Group, example="caudal subscription start ana.garcia Television --from 2027-02-01")
def subscription() -> None:
    """Show, begin, change, pause and end what is sold to customers.

    NAME is what the ISP file calls it, the login of its line, or its id.
    """


@subscription.command("list", example="caudal subscription list --customer ana.garcia")
@customer_option
@click.option("--product", metavar="NAME", shell_complete=_PRODUCTS, help="Of this product.")
@click.option("--state", type=click.Choice(STATES), help="In this state today.")
@paging_options
def list_subscriptions(customer: str | None, product: str | None, state: str | None, paging: Paging) -> None:
    """List what is sold, as of today."""
    filters: dict[str, object] = {"customer": customer, "product": product, "state": state}
    show_listing(PATH, filters, COLUMNS, paging, datetime.now(UTC))


@subscription.command("show", example='caudal subscription show "Television of ana.garcia"')
@_NAME
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one: what happened to it, what it holds, its contract, and what ending it today would cost."""
    item = ControlClient(data_directory()).get(f"{PATH}/{segment(name)}")
    if as_json:
        write_json(item)
        return
    currency = item["currency"]
    held = ", ".join(each["product"] + (f" ({each['service']})" if each["service"] else "") for each in item["holds"])
    write_details(
        (
            ("subscription", f"{item['name']} ({item['id']})"),
            ("customer", item["customer"]),
            ("product", item["product"]),
            ("line", item["service"] or ""),
            ("state", item["state"]),
            ("quantity", item["quantity"]),
            ("price", shown(item["unit_price"], currency)),
            ("from", item["starts"]),
            ("ends", item["ends"] or ""),
            ("in the bundle", item["bundle"] or ""),
            ("holds", held),
            ("contract", _contract(item)),
            ("ending it today", shown(item["cancellation_fee"], currency) if item["contract"] else ""),
        )
    )
    click.echo()
    _write(HISTORY, item["events"])


def _contract(item: Item) -> str:
    contract = item["contract"]
    if contract is None:
        return ""
    renews = f", then {contract['renews']} again" if contract.get("renews") else ""
    until = f"binds until {item['contract_until']}" if item["contract_until"] else "does not bind any more"
    return f"{contract['months']} months{renews}: {until}"


def _write(columns: tuple[Column, ...], items: list[Item]) -> None:
    now = datetime.now(UTC)
    Table(columns).write([[column.cell(item, now) for column in columns] for item in items])


@subscription.command("start", example="caudal subscription start ana.garcia Television --from 2027-02-01")
@customer_argument
@product_argument
@click.option("--from", "starts", type=DAY, help="The first day.  [default: today]")
@click.option("--to", "ends", type=DAY, help="The first day that is not charged any more.  [default: never]")
@click.option("--quantity", type=AMOUNT, default="1", show_default=True, help="So many.")
@click.option("--price", type=PRICE, help="What this customer pays for a period.  [default: the list's]")
@service_option
@click.option("--name", metavar="TEXT", help='What it is called.  [default: "PRODUCT of CUSTOMER"]')
@_KEY
def start(key: str | None, **order: str | None) -> None:
    """Sell something from a day on, also a bundle, or again a line whose sale had ended."""
    _tell(ControlClient(data_directory()).post_json(PATH, {**order, "key": key or uuid.uuid4().hex}))


@subscription.command(
    "change", example='caudal subscription change ana.garcia --product "Fibre 1000" --from 2027-03-01'
)
@_NAME
@click.option(
    "--product",
    metavar="PRODUCT",
    shell_complete=_PRODUCTS,
    help="Another product, or the plan of a line, at its price of the list.",
)
@click.option("--price", type=PRICE, help="Another price for a period.")
@click.option("--quantity", type=AMOUNT, help="Another quantity.")
@click.option("--from", "starts", type=DAY, help="The first day on which it is so.  [default: today]")
@_KEY
def change(name: str, key: str | None, **order: str | None) -> None:
    """Sell another product, quantity or price; the days that are charged already are settled by the next run."""
    _tell(_post("changes", name, order, key))


@subscription.command("pause", example="caudal subscription pause ana.garcia --from 2027-08-01 --to 2027-09-01")
@_NAME
@click.option("--from", "starts", type=DAY, help="The first day that is not charged.  [default: today]")
@click.option("--to", "ends", type=DAY, help="The first day that is charged again.  [default: until further notice]")
@_KEY
def pause(name: str, key: str | None, **order: str | None) -> None:
    """Let it rest: its days are not charged, and a line is not let in."""
    _tell(_post("pauses", name, order, key))


@subscription.command("resume", example="caudal subscription resume ana.garcia")
@_NAME
@click.option("--on", type=DAY, help="The first day on which it goes on.  [default: today]")
@_KEY
def resume(name: str, key: str | None, **order: str | None) -> None:
    """Let what is paused go on; or take back what was ordered for days to come, with its fees."""
    _tell(_post("resumptions", name, order, key))


@subscription.command("stop", example="caudal subscription stop ana.garcia --on 2027-03-01 --dry-run")
@_NAME
@click.option(
    "--on", "ends", type=DAY, help="The first day not charged, or by its product the last one.  [default: today]"
)
@click.option("--dry-run", is_flag=True, help="Tell what it would cost, and change nothing.")
@click.option("--no-fee", "free", is_flag=True, help="Charge no fee for an early end.")
@click.option("--yes", is_flag=True, help="Do not ask before a fee is charged.")
@_KEY
@json_option
def stop(name: str, ends: str | None, dry_run: bool, free: bool, yes: bool, key: str | None, as_json: bool) -> None:
    """End it, and charge what the contract says of an early end; a bundle ends with everything in it."""
    order = {"ends": ends, "free": free}
    told = _post("ends", name, {**order, "dry_run": True}, None)
    if dry_run:
        _tell_end(told, as_json=as_json)
        return
    if told["fee"].strip("0.") and not yes:
        question = f"{name} ends on {told['ends']}; that costs {shown(told['fee'], told['currency'])}. Go on?"
        if not click.confirm(question, err=True):
            raise CommandError("nothing was changed")
    _tell_end(_post("ends", name, {**order, "dry_run": False}, key), as_json=as_json)


def _tell_end(told: Item, *, as_json: bool) -> None:
    if as_json:
        write_json(told)
        return
    would = "would end" if told["dry_run"] else "ends"
    fee = "costs nothing"
    if told["fee"].strip("0."):
        fee = f"costs {shown(told['fee'], told['currency'])}"
    bound = ""
    if told["binds_until"]:
        bound = f"; its contract binds until {told['binds_until']}, {told['months_left']} months begun"
    click.echo(f"{told['name']}: {would} on {told['ends']}, which {fee}{bound}")


def _post(kind: str, name: str, order: Item, key: str | None) -> Item:
    path = f"/v1/subscription-{kind}/{segment(name)}"
    return ControlClient(data_directory()).post_json(path, {**order, "key": key or uuid.uuid4().hex})


def _tell(answer: Item) -> None:
    click.echo(answer["text"])
