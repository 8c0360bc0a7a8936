"""`caudal login` and `caudal quarantine`: what was not let in, and what could not be booked.

Rule: the newest first; equal refusals within a minute are one row with its attempts.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from cli.command import Group
from cli.names import login_option
from cli.options import Paging, paging_options
from cli.since import SINCE
from cli.tables import Column, count, show_listing, text
from cli.units import ago
from enforcement.admission import RefusalReason

REFUSAL_COLUMNS = (
    Column("REFUSED", lambda item, now: ago(item["refused_at"], now), number=True),
    text("LOGIN", "login"),
    text("REASON", "reason"),
    text("METHOD", "method", spare=2),
    text("ROUTER", "router", spare=1),
    text("MAC", "mac"),
    count("ATTEMPTS", "attempts", spare=3),
)
REASONS = tuple(reason.value for reason in RefusalReason)
QUARANTINE_COLUMNS = (
    Column("RECEIVED", lambda item, now: ago(item["received_at"], now), number=True),
    text("ROUTER", "router"),
    text("REASON", "reason"),
    count("OCTETS", "octets"),
    Column("ID", lambda item, _now: str(item["id"]), number=True),
)


@click.group("login", cls=Group, example="caudal login list --login ana.garcia")
def login() -> None:
    """Show refused logins and why."""


@login.command("list", example="caudal login list --reason wrong_password --since 2h")
@login_option
@click.option("--reason", metavar="CODE", type=click.Choice(REASONS), help="Only for this reason.")
@click.option("--since", type=SINCE, metavar="WHEN", help="Only since: 2h, 7d, 2026-01-31, 2026-01-31T18:00.")
@paging_options
def list_refusals(login: str | None, reason: str | None, since: str | None, paging: Paging) -> None:
    """List refused logins, the newest first."""
    filters: dict[str, object] = {"login": login, "reason": reason, "since": since}
    show_listing("/v1/logins", filters, REFUSAL_COLUMNS, paging, datetime.now(UTC))


@click.group("quarantine", cls=Group, example="caudal quarantine list")
def quarantine() -> None:
    """Show accounting records that could not be booked."""


@quarantine.command("list", example="caudal quarantine list --json")
@paging_options
def list_quarantine(paging: Paging) -> None:
    """List quarantined records, the newest first; --json holds the whole packets."""
    show_listing("/v1/quarantine", {}, QUARANTINE_COLUMNS, paging, datetime.now(UTC))
