"""`caudal invoice confirm`, `proforma`, `verify` and what else there is beside the run itself.

Rule: an order may be given twice; the second one finds nothing to do and says so.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Command
from cli.errors import CommandError
from cli.line import operator
from cli.money import DAY, shown
from cli.names import customer_argument
from cli.options import Paging, data_directory, far_future_option, json_option, paging_options
from cli.tables import Column, Table, count, show_listing, text, write_json, write_json_array

RUN_COLUMNS = (
    text("DAY", "on"),
    text("STATE", "state"),
    text("ISSUED WITHOUT ON", "automatic_on", spare=2),
    count("ACCOUNTS", "accounts", spare=3),
    count("DOCUMENTS", "documents", spare=1),
    count("PARKED", "parked", spare=4),
    Column("TOTAL", lambda item, _now: ", ".join(shown(*each[::-1]) for each in item["totals"].items()), number=True),
    text("CONFIRMED BY", "confirmed_by", spare=2),
)


@click.command("confirm", cls=Command, example="caudal invoice confirm 2027-02-01")
@click.argument("on", metavar="DATE", type=DAY)
def confirm(on: str) -> None:
    """Let the run of a day that was previewed be issued: on that day, or at once if it has come.

    It bills the days before it too.
    """
    answer = ControlClient(data_directory()).post_json(f"/v1/invoice-runs/{on}/confirm", {"confirmed_by": operator()})
    click.echo(f"run of {on}: {waits_for(answer)}")


@click.command("runs", cls=Command, example="caudal invoice runs")
@paging_options
def runs(paging: Paging) -> None:
    """List the runs that were previewed, the latest first, and what they wait for."""
    show_listing("/v1/invoice-runs", {}, RUN_COLUMNS, paging, datetime.now(UTC))


def waits_for(planned: Item) -> str:
    """Return what a run that was previewed waits for, as a sentence without its end."""
    if planned["state"] == "nothing":
        return "there is nothing to bill"
    if planned["state"] == "issued":
        return "it is issued"
    if planned["state"] == "confirmed":
        return "it is confirmed, and issued on that day or, if it has come, at once"
    without = f"without it on {planned['automatic_on']}" if planned["automatic_on"] else "never without it"
    return f"it is issued when it is confirmed, {without}"


@click.command("proforma", cls=Command, example="caudal invoice proforma ana.garcia --date 2027-02-01")
@customer_argument
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
