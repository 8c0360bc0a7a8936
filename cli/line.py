"""`caudal line`: which lines are proven to obey, and an operator's orders about one.

Rule: every order takes effect on open sessions at once, without waiting for a login.
"""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.explain import overshot, rates, refusal, standing
from cli.names import router_option, service_argument
from cli.options import Paging, data_directory, paging_options
from cli.rate import HOURS, RATE
from cli.tables import Column, count, show_listing, text
from cli.units import ago, moment

LINE_COLUMNS = (
    text("LOGIN", "login"),
    text("ROUTER", "router"),
    Column("STANDING", standing),
    Column("OVERSHOT", lambda item, _now: overshot(item), number=True, spare=3),
    count("ATTEMPTS", "attempts", spare=2),
    Column("NEXT", lambda item, now: _next(item["next_attempt_at"], now), number=True, spare=1),
    Column("SESSION", lambda item, _now: str(item["session_id"]), number=True),
)


@click.group("line", cls=Group, example="caudal line list --unproven")
def line() -> None:
    """Show which lines are proven to obey, and give orders about one."""


@line.command("list", example="caudal line list --unproven --json")
@click.option("--unproven", is_flag=True, help="Only lines whose router is not proven to obey.")
@router_option
@paging_options
def list_lines(unproven: bool, router: str | None, paging: Paging) -> None:
    """List the lines of open sessions that enforcement looks after, by router."""
    filters: dict[str, object] = {"unproven": str(unproven).lower(), "router": router}
    show_listing("/v1/lines", filters, LINE_COLUMNS, paging, datetime.now(UTC))


@line.command("block", example="caudal line block ana.garcia")
@service_argument
@click.option("--no-balance", is_flag=True, help="Because its balance is used up, not by an order.")
def block(service: str, no_balance: bool) -> None:
    """Block a line: refused or sent to the walled garden, as the ISP and its plan say."""
    _set_account(service, "no_balance" if no_balance else "blocked")


@line.command("unblock", example="caudal line unblock ana.garcia")
@service_argument
def unblock(service: str) -> None:
    """Let a blocked line in again."""
    _set_account(service, "active")


@line.command("override", example='caudal line override ana.garcia --download 5M --hours 2 --reason "line test"')
@service_argument
@click.option("--download", type=RATE, help="Rate down, such as 5M.")
@click.option("--upload", type=RATE, help="Rate up.")
@click.option("--percent", type=click.IntRange(1, 1000), help="Instead of rates: this share of the plan's.")
@click.option("--hours", type=HOURS, help="For so many hours.  [default: until `caudal line release`]")
@click.option("--reason", required=True, help="Why; shown by `caudal explain`.")
def override(
    service: str, download: int | None, upload: int | None, percent: int | None, hours: float | None, reason: str
) -> None:
    """Give a line other rates for a while."""
    if (percent is None) == (download is None and upload is None):
        raise click.UsageError("give --percent, or --download and --upload or one of them")
    order = {
        "download_bits_per_second": download,
        "upload_bits_per_second": upload,
        "percent": percent,
        "hours": hours,
        "operator": operator(),
        "reason": reason,
    }
    answer = ControlClient(data_directory()).post_json(f"/v1/overrides/{segment(service)}", order)
    _say(answer)


@line.command("release", example="caudal line release ana.garcia")
@service_argument
def release(service: str) -> None:
    """Take an override back."""
    _say(ControlClient(data_directory()).post_json(f"/v1/releases/{segment(service)}", {}))


def _next(instant: str | None, now: datetime) -> str:
    """Return when a line is tried again; one whose moment has come is being tried, or waits for its turn."""
    return "now" if instant is not None and moment(instant) <= now else ago(instant, now)


def operator() -> str:
    """Return who gives the order; a user without a name is known by number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _set_account(service: str, state: str) -> None:
    path = f"/v1/accounts/{segment(service)}"
    _say(ControlClient(data_directory()).post_json(path, {"state": state}))


def _say(answer: Item) -> None:
    """Tell what the line may do now."""
    if not answer["admitted"]:
        click.echo(f"{answer['service']}: not let in ({refusal(answer['refusal'])})")
    else:
        given = rates(answer["download_bits_per_second"], answer["upload_bits_per_second"])
        where = f"walled garden ({refusal(answer['refusal'])}), " if answer["walled"] else ""
        click.echo(f"{answer['service']}: {where}{given}")
