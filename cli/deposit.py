"""`caudal deposit`: what is held for customers, apart from what they owe and from their wallets.

Rule: an order carries a key of its own, so one that is sent twice is done once.
"""

from __future__ import annotations

import uuid

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.line import operator
from cli.money import AMOUNT, shown
from cli.names import customer_argument
from cli.options import data_directory, json_option
from cli.tables import write_json

_KEY = click.option("--key", metavar="TEXT", help="Two orders with one key are one.  [default: a new one]")
_METHOD = click.option("--method", default="cash", show_default=True, metavar="NAME", help="How it moves.")
_PART = click.option("--amount", type=AMOUNT, help="So much of it.  [default: all that is held]")


@click.group("deposit", cls=Group, example="caudal deposit take ana.garcia 60.00 --method transfer")
def deposit() -> None:
    """Hold money for customers, give it back, or pay with it what is open."""


@deposit.command("take", example="caudal deposit take ana.garcia 60.00 --method transfer")
@customer_argument
@click.argument("amount", type=AMOUNT)
@_METHOD
@_KEY
@json_option
def take(customer: str, amount: str, method: str, key: str | None, as_json: bool) -> None:
    """Hold an amount: it pays nothing by itself, and is no income."""
    _order("deposits", customer, {"amount": amount, "method": method}, key, as_json)


@deposit.command("give-back", example="caudal deposit give-back ana.garcia --amount 20.00")
@customer_argument
@_PART
@_METHOD
@_KEY
@json_option
def give_back(customer: str, amount: str | None, method: str, key: str | None, as_json: bool) -> None:
    """Give back what is held, or a part of it."""
    _order("deposit-returns", customer, {"amount": amount, "method": method}, key, as_json)


@deposit.command("use", example="caudal deposit use ana.garcia")
@customer_argument
@_PART
@_KEY
@json_option
def use(customer: str, amount: str | None, key: str | None, as_json: bool) -> None:
    """Pay what is open, the oldest first; the rest stays held."""
    _order("deposit-uses", customer, {"amount": amount}, key, as_json)


@deposit.command("show", example="caudal deposit show ana.garcia")
@customer_argument
@json_option
def show(customer: str, as_json: bool) -> None:
    """Show what is held."""
    _tell(ControlClient(data_directory()).get(f"/v1/deposits/{segment(customer)}"), as_json)


def _order(kind: str, customer: str, order: Item, key: str | None, as_json: bool) -> None:
    given = {**order, "key": key or uuid.uuid4().hex, "made_by": operator()}
    _tell(ControlClient(data_directory()).post_json(f"/v1/{kind}/{segment(customer)}", given), as_json)


def _tell(item: Item, as_json: bool) -> None:
    if as_json:
        write_json(item)
        return
    click.echo(f"{shown(item['held'], item['currency'])} are held for {item['customer']}")
