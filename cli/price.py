"""`caudal price`: what products cost from a day on.

Rule: a price is another version of the list; what a customer pays moves only when the change says that it concerns him.
"""

from __future__ import annotations

import click

from cli.client import ControlClient, segment
from cli.command import Group
from cli.invoice import plural
from cli.money import AMOUNT, DAY
from cli.names import product_argument
from cli.options import data_directory, json_option
from cli.tables import Table, text, write_json

MOST_SHOWN = 20


@click.group("price", cls=Group, example='caudal price change "Fibre 300" 31.90 --for all --dry-run')
def price() -> None:
    """Change what products cost."""


@price.command("change", example='caudal price change "Fibre 300" 31.90 --from 2027-03-01 --for old-price --dry-run')
@product_argument
@click.argument("amount", type=AMOUNT)
@click.option("--from", "starts", type=DAY, help="The first day.  [default: today]")
@click.option(
    "--for",
    "scope",
    type=click.Choice(["new", "all", "old-price"]),
    default="new",
    show_default=True,
    help="Whom it concerns: new customers alone, all who have it, or of these those at the price before.",
)
@click.option("--partner", metavar="NAME", help="On this partner's list alone.")
@click.option("--dry-run", is_flag=True, help="Show whom it would move, and write nothing.")
@json_option
def change(
    product: str, amount: str, starts: str | None, scope: str, partner: str | None, dry_run: bool, as_json: bool
) -> None:
    """Change what a product costs from a day on; what is billed already is charged or credited by the next run."""
    client = ControlClient(data_directory())
    order = {
        "amount": amount,
        "starts": starts or client.get("/v1/clock")["today"],
        "scope": scope,
        "partner": partner,
        "dry_run": dry_run,
    }
    answer = client.post_json(f"/v1/prices/{segment(product)}", order)
    if as_json:
        write_json(answer)
        return
    before = "nothing yet" if answer["before"] is None else answer["before"]
    would = "would cost" if dry_run else "costs"
    click.echo(f"{product}: {would} {answer['amount']} from {answer['starts']} (before: {before})")
    moved = answer["moved"]
    click.echo(f"{plural(len(moved), 'customer')} {'would move' if dry_run else 'moved'}")
    if moved:
        table = Table((text("CUSTOMER", "customer"), text("A PERIOD", "difference")))
        table.write([[each["customer"], f"{each['difference']:>8}"] for each in moved[:MOST_SHOWN]])
        if len(moved) > MOST_SHOWN:
            click.echo(f"the first {MOST_SHOWN}; --json gives the others", err=True)
