"""`caudal bank`: files of the bank, and what of them nobody could match.

Rule: a file with a mistake changes nothing; the same file again brings nothing. A booking that is interrupted is gone
on with by the daemon.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import click

from cli.client import ControlClient, Item
from cli.command import Group
from cli.errors import DaemonError
from cli.line import operator
from cli.money import AMOUNT, RATE, amount, shown
from cli.names import customer_argument
from cli.options import Paging, data_directory, json_option, paging_options
from cli.progress import followed
from cli.provisioning import chunks, of_file
from cli.tables import Column, show_listing, text, write_json

ENTRY_COLUMNS = (
    text("ENTRY", "id"),
    text("DATE", "booked_on"),
    amount("AMOUNT", "amount"),
    text("STATE", "state"),
    text("CUSTOMER", "customer", spare=1),
    text("PAYER", "payer", spare=3),
    Column("TEXT", lambda item, _now: " ".join([*item["references"], item["text"]]).strip(), spare=2),
    text("WHY", "why"),
)
ENDED = "the answer ended without a report; the daemon goes on booking, see `caudal bank list`"
_ENTRY = click.argument("entry", type=click.IntRange(1), metavar="ENTRY")


@click.group("bank", cls=Group, example="caudal bank import statement.xml")
def bank() -> None:
    """Import files of the bank, and settle what they leave open."""


@bank.command("import", example="caudal bank import statement.xml --dry-run")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["csv", "camt053"]), help="What FILE is.  [default: by how it begins]"
)
@click.option("--dry-run", is_flag=True, help="Show what would be booked, and book nothing.")
@json_option
def import_file(file: Path, form: str | None, dry_run: bool, as_json: bool) -> None:
    """Book the payments that a file of the bank holds: CAMT.053, or CSV as [isp.billing] bank describes it.

    Whose a payment is says the number of an invoice, its creditor reference or a login in the text. The others stay
    open: see `caudal bank list --open`.
    """
    given = {"file": file.name, "format": form, "dry_run": str(dry_run).lower(), "made_by": operator()}
    query = urlencode({key: value for key, value in given.items() if value is not None})
    client = ControlClient(data_directory(), timeout=None)
    try:
        lines = client.upload(f"/v1/bank-files?{query}", chunks(file), "application/octet-stream")
        report = followed(lines, "booked", ENDED, quiet=as_json)
    except DaemonError as error:
        raise of_file(error, file, as_json=as_json) from error
    if as_json:
        write_json(report)
    else:
        _write_report(report)


def _write_report(report: Item) -> None:
    total = ", ".join(shown(each, currency) for currency, each in report["totals"].items()) or "nothing"
    would = "would book" if report["dry_run"] else "booked"
    known = f", {report['known']:,} known already" if report["known"] else ""
    click.echo(f"{report['entries']:,} entries{known}: {would} {report['booked']:,}, {total}")
    if report["ignored"]:
        click.echo(f"{report['ignored']:,} paid out: ignored")
    if report["open"]:
        where = "" if report["dry_run"] else ": see `caudal bank list --open`"
        click.echo(f"{report['open']:,} left open{where}", err=True)


@bank.command("list", example="caudal bank list --open")
@click.option("--open", "only_open", is_flag=True, help="Only what nobody has settled.")
@paging_options
def list_entries(only_open: bool, paging: Paging) -> None:
    """List entries of the bank, the newest first."""
    filters = {"state": "open" if only_open else None}
    show_listing("/v1/bank-entries", filters, ENTRY_COLUMNS, paging, datetime.now(UTC))


@bank.command("assign", example="caudal bank assign 17 ana.garcia --invoice F2027-000001")
@_ENTRY
@customer_argument
@click.option("--invoice", "invoices", multiple=True, metavar="NUMBER", help="Pay this one first; may be repeated.")
@click.option("--rate", type=RATE, help="Of an entry in another currency: what one unit is worth in the account's.")
@click.option("--worth", type=AMOUNT, help="Instead of --rate: what all of it is worth in the account's currency.")
@json_option
def assign(
    entry: int, customer: str, invoices: tuple[str, ...], rate: str | None, worth: str | None, as_json: bool
) -> None:
    """Book an entry that is open as a customer's payment."""
    order = {"customer": customer, "invoices": [*invoices], "made_by": operator(), "rate": rate, "worth": worth}
    answer = ControlClient(data_directory()).post_json(f"/v1/bank-entries/{entry}/assign", order)
    if as_json:
        write_json(answer)
        return
    foreign = answer["foreign_amount"]
    came = "" if foreign is None else f", came as {shown(foreign, answer['foreign_currency'])}"
    click.echo(f"receipt {answer['receipt']}: {shown(answer['amount'], answer['currency'])} of {customer}{came}")
    for paid in answer["paid"]:
        click.echo(f"  pays {paid}")


@bank.command("ignore", example='caudal bank ignore 17 --reason "interest of the account"')
@_ENTRY
@click.option("--reason", required=True, metavar="TEXT", help="Why it is no payment.")
def ignore(entry: int, reason: str) -> None:
    """Leave an open entry unbooked."""
    click.echo(
        ControlClient(data_directory()).post_json(f"/v1/bank-entries/{entry}/ignore", {"reason": reason})["text"]
    )
