"""`caudal invoice proforma`, `withdraw` and `verify`: what is asked for before it is billed, and what was issued.

Rule: an order may be given twice; the second one finds nothing to do and says so.
"""

from __future__ import annotations

import sys

import click

from cli.client import ControlClient, segment
from cli.command import Command
from cli.completion import named
from cli.errors import CommandError
from cli.money import DAY, shown
from cli.options import data_directory, far_future_option, json_option
from cli.tables import Table, text, write_json, write_json_array


@click.command("proforma", cls=Command, example="caudal invoice proforma ana.garcia --date 2027-02-01")
@click.argument("customer", metavar="CUSTOMER", shell_complete=named("/v1/customers", "login"))
@click.option("--date", "on", type=DAY, help="What is due by this day.  [default: today]")
@far_future_option
@json_option
def proforma(customer: str, on: str | None, far_future: bool, as_json: bool) -> None:
    """Ask a customer for what is due; the invoice is issued when it is paid."""
    order = {"on": on, "far_future": far_future}
    answer = ControlClient(data_directory()).post_json(f"/v1/proformas/{segment(customer)}", order)
    if as_json:
        write_json(answer)
        return
    total = ", ".join(shown(amount, currency) for currency, amount in answer["totals"].items())
    click.echo(f"{customer}: {f'asked for {total}' if total else 'nothing is due that was not asked for or billed'}")
    if answer["parked"]:
        raise CommandError(f"{customer} is parked; see `caudal invoice parked`")


@click.command("withdraw", cls=Command, example="caudal invoice withdraw P2027-000001")
@click.argument("number", metavar="NUMBER")
def withdraw(number: str) -> None:
    """End a proforma that waits to be paid; what is still sold is asked for again on the next billing day."""
    path = f"/v1/proforma-withdrawals/{segment(number)}"
    click.echo(ControlClient(data_directory()).post_json(path, {})["text"])


@click.command("template", cls=Command, example="caudal invoice template > ours.typ")
@click.option("--partner", metavar="NAME", help="The one by which a partner's documents are printed.")
def template(partner: str | None) -> None:
    """Write the template of documents, to begin one of your own with."""
    for piece in ControlClient(data_directory()).pieces("/v1/document-template", {"partner": partner}):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()


@click.command("verify", cls=Command, example="caudal invoice verify")
@json_option
def verify(as_json: bool) -> None:
    """Compare every document with what was issued, by the chains of hashes; a difference ends with status 1."""
    found = ControlClient(data_directory(), timeout=None).get("/v1/document-verification")["items"]
    if as_json:
        write_json_array(found)
    elif found:
        Table((text("WHAT", "what"),)).write([[each["what"]] for each in found])
    else:
        click.echo("every document is what was issued, and every chain holds")
    if found:
        raise CommandError(f"{len(found)} documents are not what was issued; compare them with a backup")
