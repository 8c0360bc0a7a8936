"""`caudal ledger` and `caudal clock`: the books, and the clock of a test database.

Rule: `check` computes everything anew and ends with status 1 on a difference of one cent.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item
from cli.command import Group
from cli.errors import CommandError
from cli.money import DAY, amount
from cli.options import Paging, data_directory, json_option, paging_options
from cli.progress import followed
from cli.tables import Table, count, show_listing, text, write_json_array

BALANCE_COLUMNS = (
    text("ACCOUNT", "account"),
    text("NAME", "name"),
    amount("BALANCE", "amount"),
    count("CUSTOMERS", "customers", spare=1),
)


@click.group("ledger", cls=Group, example="caudal ledger check")
def ledger() -> None:
    """Check, show and close the books."""


@ledger.command("check", example="caudal ledger check")
@json_option
def check(as_json: bool) -> None:
    """Compute everything anew; a difference of one cent ends with status 1."""
    found = ControlClient(data_directory(), timeout=None).get("/v1/ledger/check")["items"]
    if as_json:
        write_json_array(found)
    elif found:
        table = Table((text("WHAT", "what"), text("KEPT", "kept"), text("COMPUTED", "computed")))
        table.write([[each["what"], each["kept"], each["computed"]] for each in found])
    else:
        click.echo("the books are right: balances, transfers, documents and chains of numbers")
    if found:
        raise CommandError(f"{len(found)} differences; write nothing more until it is known where they come from")


@ledger.command("balances", example="caudal ledger balances")
@paging_options
def balances(paging: Paging) -> None:
    """List what every account sums to; debits are positive."""
    show_listing("/v1/ledger/balances", {}, BALANCE_COLUMNS, paging, datetime.now(UTC))


@ledger.command("journal", example="caudal ledger journal --from 2027-01-01 --to 2027-01-31 --form beancount")
@click.option("--from", "first", type=DAY, required=True, help="The first day.")
@click.option("--to", "last", type=DAY, required=True, help="The last day.")
@click.option("--form", type=click.Choice(["csv", "beancount"]), default="csv", show_default=True)
def journal(first: str, last: str, form: str) -> None:
    """Write the postings of some days."""
    client = ControlClient(data_directory(), timeout=None)
    for piece in client.pieces("/v1/ledger/journal", {"from": first, "to": last, "form": form}):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()


@ledger.command("close", example="caudal ledger close 2027-01-31")
@click.argument("through", type=DAY)
def close(through: str) -> None:
    """Let nothing more be posted through a day; this cannot be taken back."""
    answer = ControlClient(data_directory()).post_json("/v1/ledger/close", {"through": through})
    click.echo(f"the books are closed through {answer['through']}")


@click.group("clock", cls=Group, example="caudal clock show")
def clock() -> None:
    """Show the clock of billing, and move that of a test database."""


@clock.command("show", example="caudal clock show")
def show() -> None:
    """Show what day it is for billing."""
    _say(ControlClient(data_directory()).get("/v1/clock"))


@clock.command("permit", example="caudal clock permit")
def permit() -> None:
    """Make this a test database, whose clock may be moved; one that was billed for real stays what it is."""
    _say(ControlClient(data_directory()).post_json("/v1/clock/permit", {}))


@clock.command("advance", example="caudal clock advance 31")
@click.argument("days", type=click.IntRange(0, 3660))
def advance(days: int) -> None:
    """Move the clock of a test database ahead by some days, and do on each what is due."""
    client = ControlClient(data_directory(), timeout=None)
    lines = client.order_lines("/v1/clock/advance", {"days": days})
    _say(followed(lines, "days", "the clock stopped on its way; see `caudal clock show`", total=days, quiet=False))


def _say(answer: Item) -> None:
    kind = "the clock of a test database" if answer["is_test"] else "the real clock"
    click.echo(f"{answer['today']} ({kind})")
