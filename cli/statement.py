"""`caudal statement`: the account of a customer over some days, on the terminal or as PDF.

Rule: what is charged stands apart from what is paid; a negative balance is the customer's own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from cli.client import ControlClient, Item, segment
from cli.command import Command
from cli.money import DAY, shown
from cli.names import customer_argument
from cli.options import data_directory, json_option
from cli.tables import Column, Table, text, write_json

COLUMNS = (
    text("DAY", "on"),
    text("WHAT", "kind"),
    text("NUMBER", "number"),
    text("BY", "method", spare=2),
    text("TEXT", "text", spare=1),
    Column("CHARGE", lambda item, _now: _if(item, is_charge=True), number=True),
    Column("PAYMENT", lambda item, _now: _if(item, is_charge=False), number=True),
    Column("BALANCE", lambda item, _now: shown(item["balance"], item["currency"]), number=True),
)


@click.command("statement", cls=Command, example="caudal statement ana.garcia --from 2027-01-01 --pdf statement.pdf")
@customer_argument
@click.option("--from", "first", type=DAY, help="The first day.  [default: a year before the last]")
@click.option("--to", "last", type=DAY, help="The last day.  [default: today]")
@click.option(
    "--pdf", "file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Print it instead."
)
@json_option
def statement(customer: str, first: str | None, last: str | None, file: Path | None, as_json: bool) -> None:
    """Show a customer's account: every document and payment."""
    client, days = ControlClient(data_directory()), {"from": first, "to": last}
    if file is not None:
        file.write_bytes(b"".join(client.pieces(f"/v1/statement-files/{segment(customer)}", days)))
        return
    answer = client.get(f"/v1/statements/{segment(customer)}", days)
    if as_json:
        write_json(answer)
    else:
        _write(answer)


def _write(answer: Item) -> None:
    currency = answer["currency"]
    opening = {"on": answer["first"], "kind": "opening", "number": "", "method": "", "text": "", "amount": "0"}
    closing = opening | {"on": answer["last"], "kind": "closing", "balance": answer["closing"]}
    items = [opening | {"balance": answer["opening"]}, *answer["entries"], closing]
    table = Table(COLUMNS)
    now = datetime.now(UTC)
    table.write([[column.cell(item | {"currency": currency}, now) for column in COLUMNS] for item in items])


def _if(item: Item, *, is_charge: bool) -> str:
    amount = item["amount"]
    if not amount.strip("-0.") or amount.startswith("-") == is_charge:
        return ""
    return shown(amount.removeprefix("-"), item["currency"])
