"""`caudal invoice`: run what is due, and show what was issued.

Rule: a run that is stopped has done whole accounts; the next one goes on where it ended. A dry run writes nothing.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import click

from cli import documents
from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.line import operator
from cli.money import AMOUNT, DAY, amount, shown
from cli.names import customer_option
from cli.options import Paging, data_directory, far_future_option, json_option, paging_options
from cli.progress import followed
from cli.tables import Column, Table, show_listing, text, write_details, write_json

RUN_SECONDS = 24 * 3600.0
MOST_SHOWN = 20
ENDED = "the run ended without a report; run it again, it goes on where it ended"
DOCUMENT_COLUMNS = (
    Column("NUMBER", lambda item, _now: item["number"] or f"({item['id']})"),
    text("KIND", "kind", spare=1),
    text("CUSTOMER", "customer"),
    text("DATE", "dated"),
    text("DUE", "due_on", spare=2),
    amount("NET", "net", spare=4),
    amount("TAX", "tax", spare=3),
    amount("TOTAL", "gross"),
    amount("OPEN", "open"),
)
LINE_COLUMNS = (
    text("TEXT", "text"),
    Column("DAYS", lambda item, _now: days(item["starts"], item["ends"])),
    text("QUANTITY", "quantity", spare=2),
    text("PRICE", "unit_price", spare=2),
    text("NET", "net"),
    text("TAX", "tax", spare=1),
)
RATED_COLUMNS = (
    text("TEXT", "text"),
    Column("DAYS", lambda item, _now: days(item["starts"], item["ends"])),
    amount("BILLED", "billed"),
    amount("NOW", "amount"),
    amount("DIFFERENCE", "difference"),
)


@click.group("invoice", cls=Group, example="caudal invoice run --date 2027-02-01 --dry-run")
def invoice() -> None:
    """Run what is due, and show invoices and other documents."""


@invoice.command("run", example="caudal invoice run --date 2027-02-01 --dry-run")
@click.option("--date", "on", type=DAY, help="What is due by this day.  [default: today]")
@click.option("--dry-run", is_flag=True, help="Show the totals and the largest differences, and write nothing.")
@customer_option
@far_future_option
@json_option
def run(on: str | None, dry_run: bool, customer: str | None, far_future: bool, as_json: bool) -> None:
    """Make, post and number the documents of all accounts that are due."""
    client = ControlClient(data_directory(), timeout=RUN_SECONDS)
    order = {"date": on or client.get("/v1/clock")["today"], "dry_run": dry_run, "customer": customer}
    order["far_future"] = far_future
    report = followed(client.order_lines("/v1/invoice-runs", order), "accounts", ENDED, quiet=as_json)
    if as_json:
        write_json(report)
    else:
        _write_report(report)


@invoice.command("preview", example="caudal invoice preview --date 2027-02-01")
@click.option("--date", "on", type=DAY, help="The day of the run.  [default: that of the next one]")
@json_option
def preview(on: str | None, as_json: bool) -> None:
    """Show what the next run would be, and keep it to be confirmed; nothing is issued."""
    client = ControlClient(data_directory(), timeout=RUN_SECONDS)
    answer = followed(client.order_lines("/v1/invoice-previews", {"on": on}), "accounts", ENDED, quiet=as_json)
    if as_json:
        write_json(answer)
        return
    click.echo(f"run of {answer['on']}: {documents.waits_for(answer)}")
    _write_report(answer)


def _write_report(report: Item) -> None:
    total = ", ".join(shown(text, currency) for currency, text in report["totals"].items()) or "nothing"
    would = "would make" if report["dry_run"] else "made"
    accounts, documents = plural(report["accounts"], "account"), plural(report["documents"], "document")
    click.echo(f"{accounts}: {would} {documents}, {total}")
    if report["parked"]:
        click.echo(f"{plural(report['parked'], 'account')} parked: see `caudal invoice parked`", err=True)
    if report["differences"]:
        table = Table((text("CUSTOMER", "customer"), amount("NOW", "amount"), amount("BEFORE", "before"),
                       amount("DIFFERENCE", "difference")))  # fmt: skip
        table.write(
            [
                [
                    each["customer"],
                    *(shown(each[key], each["currency"]) for key in ("amount", "before", "difference")),
                ]
                for each in report["differences"][:MOST_SHOWN]
            ]
        )
        if len(report["differences"]) > MOST_SHOWN:
            click.echo(f"the {MOST_SHOWN} largest differences; --json gives the others", err=True)


@invoice.command("list", example="caudal invoice list --open")
@customer_option
@click.option("--open", "only_open", is_flag=True, help="Only invoices and proformas that are not paid.")
@click.option(
    "--kind", type=click.Choice(["invoice", "credit-note", "proforma", "receipt"]), help="Documents of one kind."
)
@paging_options
def list_invoices(customer: str | None, only_open: bool, kind: str | None, paging: Paging) -> None:
    """List documents, the newest first."""
    filters: dict[str, object] = {"customer": customer, "open": str(only_open).lower(), "kind": kind}
    show_listing("/v1/invoices", filters, DOCUMENT_COLUMNS, paging, datetime.now(UTC))


@invoice.command("show", example="caudal invoice show F2027-000001")
@click.argument("number", metavar="NUMBER")
@json_option
def show(number: str, as_json: bool) -> None:
    """Show one document with its lines."""
    item = ControlClient(data_directory()).get(f"/v1/invoices/{segment(number)}")
    if as_json:
        write_json(item)
        return
    currency = item["currency"]
    write_details(
        (
            (item["kind"], item["number"] or f"({item['id']}, waits for its number)"),
            ("customer", item["customer"]),
            ("date", item["issued_on"] or item["dated"]),
            ("due", item["due_on"] or ""),
            ("in its place", item["superseded_by"] or ""),
        )
    )
    click.echo()
    now = datetime.now(UTC)
    table = Table(LINE_COLUMNS)
    table.write([[column.cell(line, now) for column in LINE_COLUMNS] for line in item["lines"]])
    click.echo()
    taxes = [
        (f"{tax['code']} {tax['percent']} % of {tax['base']}", shown(tax["tax"], currency)) for tax in item["taxes"]
    ]
    write_details(
        (
            ("net", shown(item["net"], currency)),
            *taxes,
            ("total", shown(item["gross"], currency)),
            ("open", shown(item["open"], currency)),
        )
    )


@invoice.command("pdf", example="caudal invoice pdf F2027-000001 invoice.pdf")
@click.argument("number", metavar="NUMBER")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--xml", "as_data", is_flag=True, help="Write the data (EN 16931) instead.")
def pdf(number: str, file: Path, as_data: bool) -> None:
    """Print a document as PDF, or write an invoice as data."""
    form = "xml" if as_data else "pdf"
    pieces = ControlClient(data_directory()).pieces(f"/v1/invoice-files/{form}/{segment(number)}")
    first = next(pieces, b"")
    with file.open("wb") as opened:
        opened.write(first)
        for piece in pieces:
            opened.write(piece)


@invoice.command(
    "credit", example='caudal invoice credit F2027-000001 --line 1001 --amount 5.00 --reason "two days off"'
)
@click.argument("number", metavar="NUMBER")
@click.option(
    "--line", type=click.IntRange(1), help="The id of a line, which `show --json` tells.  [default: the only one]"
)
@click.option("--amount", type=AMOUNT, help="So much of it, as its price was stated.  [default: all that is left]")
@click.option("--reason", default="", metavar="TEXT", help="What the credit note says of it.")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one credit note.  [default: a new one]")
def credit(number: str, line: int | None, amount: str | None, reason: str, key: str | None) -> None:
    """Take back a line of an invoice, or a part of it, with its share of the tax."""
    order = {"line": line, "amount": amount, "reason": reason, "key": key or uuid.uuid4().hex}
    click.echo(ControlClient(data_directory()).post_json(f"/v1/credits/{segment(number)}", order)["text"])


@invoice.command("write-off", example='caudal invoice write-off F2027-000001 --reason "moved, unknown where to"')
@click.argument("number", metavar="NUMBER")
@click.option("--amount", type=AMOUNT, help="So much of it.  [default: all that is open]")
@click.option("--reason", default="", metavar="TEXT", help="Why; the books keep it.")
@click.option("--key", metavar="TEXT", help="Two orders with one key are done once.  [default: a new one]")
def write_off(number: str, amount: str | None, reason: str, key: str | None) -> None:
    """Give up what is open of an invoice, or a part of it; `payment reverse` takes it back."""
    order = {"amount": amount, "reason": reason, "key": key or uuid.uuid4().hex, "made_by": operator()}
    click.echo(ControlClient(data_directory()).post_json(f"/v1/write-offs/{segment(number)}", order)["text"])


@invoice.command("rerate", example="caudal invoice rerate F2027-000001")
@click.argument("number", metavar="NUMBER")
@json_option
def rerate(number: str, as_json: bool) -> None:
    """Rate the usage of a document again, and show the difference; --json tells the facts it sums.

    What differs is charged or credited by the next run of the account.
    """
    path = f"/v1/rated-usage/{segment(number)}"
    show_listing(path, {}, RATED_COLUMNS, Paging(None, as_json), datetime.now(UTC))


@invoice.command("parked", example="caudal invoice parked")
@paging_options
def parked(paging: Paging) -> None:
    """List the accounts that runs leave out, and why."""
    columns = (text("CUSTOMER", "customer"), text("REASON", "reason"))
    show_listing("/v1/parked-accounts", {}, columns, paging, datetime.now(UTC))


@invoice.command("retry", example="caudal invoice retry --customer ana.garcia")
@customer_option
def retry(customer: str | None) -> None:
    """Let parked accounts be billed again by the next run."""
    path = "/v1/parked-accounts/retry"
    click.echo(ControlClient(data_directory()).post(path, b"", "text/plain", {"customer": customer})["text"])


for _command in (
    documents.confirm,
    documents.runs,
    documents.proforma,
    documents.withdraw,
    documents.verify,
    documents.template,
):
    invoice.add_command(_command)


def days(starts: str, ends: str) -> str:
    """Return days as people read them; the end is the first day that is not in it."""
    return starts if starts == ends else f"{starts} - {ends}"


def plural(number: int, noun: str) -> str:
    """Return a number of things."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
