"""`caudal reminder`: whom to tell that something is not paid."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from cli.command import Group
from cli.money import amount
from cli.names import customer_option
from cli.options import Paging, paging_options
from cli.tables import show_listing, text

COLUMNS = (
    text("DAY", "on_day"),
    text("CUSTOMER", "customer"),
    text("NUMBER", "number", spare=1),
    text("DOCUMENT", "document"),
    text("DUE", "due_on", spare=2),
    amount("OPEN", "open"),
    text("E-MAIL", "email", spare=3),
    text("PHONE", "phone", spare=4),
)


@click.group("reminder", cls=Group, example="caudal reminder list --open")
def reminder() -> None:
    """Show whom to remind of what is not paid."""


@reminder.command("list", example="caudal reminder list --open --json")
@customer_option
@click.option("--open", "only_open", is_flag=True, help="Only where something is still to be paid.")
@paging_options
def list_reminders(customer: str | None, only_open: bool, paging: Paging) -> None:
    """List the reminders that fell due, the newest first.

    `caudal calendar CUSTOMER` tells those to come.
    """
    show_listing(
        "/v1/reminders", {"customer": customer, "open": str(only_open).lower()}, COLUMNS, paging, datetime.now(UTC)
    )
