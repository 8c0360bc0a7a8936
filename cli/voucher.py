"""`caudal voucher`: batches of codes that are money or a top-up for whoever redeems them.

Rule: codes are written where they were asked for when they are made, and cannot be read again; cards are printed from
that file.
"""

from __future__ import annotations

import csv
import io
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.completion import named
from cli.errors import CommandError
from cli.line import operator
from cli.money import AMOUNT, DAY, shown
from cli.names import customer_argument
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, show_listing, text, write_json
from cli.units import ago

_MODE = 0o600
_FIELDS = ("number", "code")


def _value(item: Item, _now: datetime) -> str:
    return str(item["offer"]) if item["amount"] is None else shown(item["amount"], item["currency"])


BATCH_COLUMNS = (
    text("NAME", "name"),
    Column("VALUE", _value, number=True),
    text("UNTIL", "valid_until", spare=2),
    text("COUNT", "count"),
    text("REDEEMED", "redeemed"),
    text("VOID", "void", spare=1),
    Column("MADE", lambda item, now: ago(item["made_at"], now), number=True, spare=3),
)
VOUCHER_COLUMNS = (
    text("NUMBER", "number"),
    text("STATE", "state"),
    text("CUSTOMER", "customer"),
    Column(
        "REDEEMED", lambda item, now: "" if item["redeemed_at"] is None else ago(item["redeemed_at"], now), number=True
    ),
)
_NAME = click.argument("name", metavar="NAME", shell_complete=named("/v1/vouchers", "name"))


@click.group("voucher", cls=Group, example='caudal voucher make "autumn 2027" --count 50 --amount 10.00 > codes.csv')
def voucher() -> None:
    """Make, print, show, void and redeem vouchers."""


@voucher.command(
    "make", example='caudal voucher make "autumn 2027" --count 50 --amount 10.00 --codes codes.csv --pdf cards.pdf'
)
@click.argument("name", metavar="NAME")
@click.option("--count", type=click.IntRange(1), required=True, help="How many, at most 2,000.")
@click.option("--amount", type=AMOUNT, help="Each is so much money, in the ISP's currency.")
@click.option("--offer", metavar="TEXT", help="Each is this top-up, which a plan offers.")
@click.option("--valid-until", type=DAY, help="The last day on which they can be redeemed.  [default: for ever]")
@click.option(
    "--codes",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the codes here, for this user alone to read.  [default: standard output]",
)
@click.option(
    "--pdf", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Print them at once as well."
)
@click.option("--language", type=click.Choice(["en", "es"]), default="es", show_default=True, help="Of the cards.")
def make(
    name: str,
    count: int,
    amount: str | None,
    offer: str | None,
    valid_until: str | None,
    codes: Path | None,
    pdf: Path | None,
    language: str,
) -> None:
    """Make vouchers of an amount or of a top-up, and write their codes: they cannot be read again."""
    if (amount is None) == (offer is None):
        raise click.UsageError("a voucher is of an --amount or of an --offer")
    opened = None if codes is None else _create(codes)
    order = {
        "name": name,
        "count": count,
        "amount": amount,
        "offer": offer,
        "valid_until": valid_until,
        "made_by": operator(),
    }
    client = ControlClient(data_directory())
    try:
        made = client.post_json("/v1/vouchers", order)["codes"]
    except BaseException:
        if codes is not None and opened is not None:
            os.close(opened)
            codes.unlink()
        raise
    written = _table(made)
    if opened is None:
        click.echo(written, nl=False)
    else:
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(written)
    if pdf is not None:
        _write(pdf, _cards(client, made, language))


def _create(path: Path) -> int:
    """Open a new file that nobody else may read, before there is anything to lose."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        raise CommandError(f"{path} is there already, perhaps with other codes; name another file") from None


def _write(path: Path, document: bytes) -> None:
    """Write cards that nobody else may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
        os.fchmod(file.fileno(), _MODE)
        file.write(document)


def _table(codes: Sequence[str]) -> str:
    drawn = io.StringIO()
    rows = csv.writer(drawn, lineterminator="\n")
    rows.writerow(_FIELDS)
    rows.writerows(enumerate(codes, 1))
    return drawn.getvalue()


@voucher.command("print", example="caudal voucher print codes.csv --pdf cards.pdf --language en")
@click.argument("codes", metavar="CODES", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--pdf", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to write."
)
@click.option("--language", type=click.Choice(["en", "es"]), default="es", show_default=True, help="Of the cards.")
def print_(codes: Path, pdf: Path, language: str) -> None:
    """Print cards to cut, ten on a sheet, from the file of codes that `make` wrote."""
    with codes.open(encoding="utf-8", newline="") as file:
        found = [row.get("code") for row in csv.DictReader(file)]
    if not found or None in found:
        raise CommandError(f"{codes} is no file of codes; it begins with the line {','.join(_FIELDS)}")
    _write(pdf, _cards(ControlClient(data_directory()), [code or "" for code in found], language))


def _cards(client: ControlClient, codes: Sequence[str], language: str) -> bytes:
    return client.post_for_document("/v1/voucher-cards", {"codes": [*codes], "language": language})


@voucher.command("list", example="caudal voucher list --json")
@paging_options
def list_batches(paging: Paging) -> None:
    """List batches of vouchers, the newest first."""
    show_listing("/v1/vouchers", {}, BATCH_COLUMNS, paging, datetime.now(UTC))


@voucher.command("show", example='caudal voucher show "autumn 2027"')
@_NAME
@paging_options
def show(name: str, paging: Paging) -> None:
    """Show the vouchers of a batch: who redeemed them, and which are open or void."""
    show_listing(f"/v1/vouchers/{segment(name)}", {}, VOUCHER_COLUMNS, paging, datetime.now(UTC))


@voucher.command("void", example='caudal voucher void "autumn 2027" --number 17')
@_NAME
@click.option("--number", type=click.IntRange(1), help="This one alone.  [default: all that nobody redeemed]")
@json_option
def void(name: str, number: int | None, as_json: bool) -> None:
    """Declare vouchers void that nobody has redeemed."""
    answer = ControlClient(data_directory()).post_json(f"/v1/voucher-voids/{segment(name)}", {"number": number})
    if as_json:
        write_json(answer)
    else:
        click.echo(f"{name}: {answer['voided']} {'is' if answer['voided'] == 1 else 'are'} void now")


@voucher.command(
    "sold", example='caudal voucher sold "autumn 2027" --amount 450.00 --commission 50.00 --method transfer'
)
@_NAME
@click.option("--amount", type=AMOUNT, required=True, help="What came in for cards.")
@click.option("--commission", type=AMOUNT, help="What their seller kept of their value.  [default: nothing]")
@click.option("--method", default="cash", show_default=True, metavar="NAME", help="How it came in.")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one sale.  [default: a new one]")
@json_option
def sold(name: str, amount: str, commission: str | None, method: str, key: str | None, as_json: bool) -> None:
    """Book what came in for cards: it stands against what is redeemed of them."""
    order = {
        "amount": amount,
        "commission": commission or "0",
        "method": method,
        "key": key or uuid.uuid4().hex,
        "made_by": operator(),
    }
    answer = ControlClient(data_directory()).post_json(f"/v1/voucher-sales/{segment(name)}", order)
    if as_json:
        write_json(answer)
        return
    before = "was booked before: " if answer["again"] else ""
    kept = f", {shown(answer['commission'], answer['currency'])} were kept" if commission else ""
    click.echo(f"{before}{name}: {shown(answer['amount'], answer['currency'])} came in by {method}{kept}")


@voucher.command("redeem", example="caudal voucher redeem marta.nunez 7K3P-XW2D-9FTH-4RCM")
@customer_argument
@click.argument("code", metavar="CODE")
@click.option(
    "--service",
    metavar="LOGIN",
    shell_complete=named("/v1/services", "login"),
    help="Who gets a top-up.  [default: the only one whose plan offers it]",
)
@json_option
def redeem(customer: str, code: str, service: str | None, as_json: bool) -> None:
    """Redeem a code for a customer: the money or the top-up is there at once."""
    order = {"code": code, "service": service}
    answer = ControlClient(data_directory()).post_json(f"/v1/voucher-redemptions/{segment(customer)}", order)
    if as_json:
        write_json(answer)
        return
    before = "was redeemed before: " if answer["again"] else ""
    if answer["amount"] is None:
        click.echo(f"{before}{answer['service']}: {answer['top_up']}")
    else:
        money = shown(answer["amount"], answer["currency"])
        click.echo(f"{before}receipt {answer['receipt']}: {money} of {customer}")
