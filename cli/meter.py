"""`caudal meter`: what is reported of products that are charged by events.

Rule: an order carries a key of its own, so one that is sent twice is one event.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from cli.client import ControlClient, segment
from cli.command import Group
from cli.line import operator
from cli.money import DAY
from cli.names import subscription_argument
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, show_listing, text, write_json

EVENT_COLUMNS = (
    text("ID", "id"),
    text("DATE", "on"),
    Column("UNITS", lambda item, _now: item["units"], number=True),
    text("TEXT", "text", spare=1),
    text("KEY", "key", spare=2),
)


class UnitsType(click.ParamType[str]):
    """Units that were used or given; or, below nothing, taken back."""

    name = "UNITS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = None
        if not number or not number.is_finite():
            self.fail(f"{value!r} is no number of units; write it as 3, 0.5 or -1", param, ctx)
        return f"{number:f}"


@click.group("meter", cls=Group, example='caudal meter add "set-top boxes of ana" --units 2')
def meter() -> None:
    """Report and show what is charged by events."""


@meter.command("add", example='caudal meter add "set-top boxes of ana" --units 2 --on 2027-09-10 --key delivery-17')
@subscription_argument
@click.option("--units", type=UnitsType(), default="1", show_default=True, help="Units, or an amount.")
@click.option("--on", type=DAY, help="The day it happened.  [default: today]")
@click.option("--text", default="", metavar="TEXT", help="What it was.")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one event.  [default: a new one]")
@json_option
def add(subscription: str, units: str, on: str | None, text: str, key: str | None, as_json: bool) -> None:
    """Report units of a subscription whose product is metered; they are charged when the period is over.

    What is reported of a day that was billed is charged or credited by the next run.
    """
    order = {"units": units, "on": on, "text": text, "key": key or uuid.uuid4().hex, "made_by": operator()}
    answer = ControlClient(data_directory()).post_json(f"/v1/metered-events/{segment(subscription)}", order)
    if as_json:
        write_json(answer)
        return
    before = "was reported before: " if answer["again"] else ""
    click.echo(f"{before}{subscription}: {answer['units']} on {answer['on']}")


@meter.command("list", example='caudal meter list "set-top boxes of ana"')
@subscription_argument
@paging_options
def list_events(subscription: str, paging: Paging) -> None:
    """List what was reported of a subscription, the newest first."""
    show_listing(f"/v1/metered-events/{segment(subscription)}", {}, EVENT_COLUMNS, paging, datetime.now(UTC))
