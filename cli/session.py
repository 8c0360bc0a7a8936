"""`caudal session`: who is on line, and who was.

Rule: the newest first; up and down are the subscriber's.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item
from cli.command import Group
from cli.names import login_option, router_option
from cli.options import Paging, data_directory, json_option, paging_options
from cli.since import SINCE
from cli.tables import Column, as_json, show_listing, text, write_details, write_json
from cli.units import ago, duration, local, moment, octets


def place(session: Item) -> str:
    """Return the address of a session: IPv4, or else the first IPv6 that it has."""
    if session["address"] is not None:
        return str(session["address"])
    return str(session["ipv6"][0]["value"]) if session["ipv6"] else ""


_LOGIN = text("LOGIN", "login")
_ADDRESS = Column("ADDRESS", lambda item, _now: place(item), spare=1)
_ROUTER = text("ROUTER", "router", spare=2)
_DOWN = Column("DOWN", lambda item, _now: octets(item["octets_down"]), number=True)
_UP = Column("UP", lambda item, _now: octets(item["octets_up"]), number=True, spare=3)
_STARTED = Column("STARTED", lambda item, _now: local(item["started_at"]))
_ID = Column("ID", lambda item, _now: str(item["id"]), number=True)

OPEN_COLUMNS = (
    _LOGIN,
    _ADDRESS,
    _ROUTER,
    Column("ON LINE", lambda item, now: duration((now - moment(item["started_at"])).total_seconds()), number=True),
    _DOWN,
    _UP,
    Column("HEARD", lambda item, now: ago(item["heard_at"], now), number=True, spare=4),
    _ID,
)
PAST_COLUMNS = (
    _LOGIN,
    _ADDRESS,
    _ROUTER,
    _STARTED,
    Column("LASTED", lambda item, _now: duration(item["seconds"]), number=True, spare=1),
    _DOWN,
    _UP,
    Column("STATE", lambda item, _now: state(item)),
    _ID,
)


def state(item: Item) -> str:
    """Return how a session stands, and why it ended."""
    cause = item["terminate_cause"]
    return f"{item['state']}: {cause}" if cause else str(item["state"])


@click.group("session", cls=Group, example="caudal session list")
def session() -> None:
    """Show who is on line, and who was."""


@session.command("list", example="caudal session list --login ana.garcia --past --json")
@click.option("--past", is_flag=True, help="Show ended sessions too.")
@login_option
@router_option
@click.option("--since", type=SINCE, metavar="WHEN", help="Only started since: 2h, 7d, 2026-01-31, 2026-01-31T18:00.")
@paging_options
def list_sessions(past: bool, login: str | None, router: str | None, since: str | None, paging: Paging) -> None:
    """List open sessions, the newest first."""
    filters: dict[str, object] = {"show": "all" if past else "open", "login": login, "router": router, "since": since}
    columns = PAST_COLUMNS if past else OPEN_COLUMNS
    show_listing("/v1/sessions", filters, columns, paging, datetime.now(UTC))


@session.command("show", example="caudal session show 1")
@click.argument("number", metavar="ID", type=click.IntRange(min=1))
@json_option
def show_session(number: int, as_json: bool) -> None:
    """Show one session with every address it had."""
    item = ControlClient(data_directory()).get(f"/v1/sessions/{number}")
    if as_json:
        write_json(item)
    else:
        write_details(_details(item, datetime.now(UTC)))


@session.command("watch", example="caudal session watch")
@click.option("--once", is_flag=True, help="Show the present and end.")
@click.option("--json", "json_lines", is_flag=True, help="Write each event as one line of JSON.")
def watch(once: bool, json_lines: bool) -> None:
    """Show open sessions live, the newest activity first; q ends.

    Where the output is no terminal, each change is one line.
    """
    from cli import watch

    events = ControlClient(data_directory()).lines("/v1/sessions/watch")
    if json_lines:
        for event in events:
            click.echo(as_json(event))
            if once:
                return
    elif once:
        watch.write_once(events)
    elif sys.stdout.isatty():
        watch.live(events)
    else:
        watch.write_lines(events)


def _details(item: Item, now: datetime) -> list[tuple[str, str]]:
    optional = {key: "" if item[key] is None else str(item[key]) for key in ("router", "address", "mac", "nas_port_id")}
    earlier = ", ".join(f"{entry['address']} until {local(entry['until'])}" for entry in item["earlier_addresses"])
    return [
        ("id", str(item["id"])),
        ("login", item["login"]),
        ("service", "unknown login" if item["service_id"] is None else item["login"]),
        ("state", state(item)),
        ("router", " ".join(part for part in (optional["router"], item["nas"]) if part)),
        ("port", optional["nas_port_id"]),
        ("MAC", optional["mac"]),
        ("address", optional["address"]),
        ("IPv6", ", ".join(f"{entry['value']} ({entry['attribute']})" for entry in item["ipv6"])),
        ("earlier addresses", earlier),
        ("Acct-Session-Id", item["acct_session_id"]),
        ("started", f"{local(item['started_at'])} ({ago(item['started_at'], now)})"),
        ("counters of", f"{local(item['updated_at'])} ({ago(item['updated_at'], now)})"),
        ("heard", f"{local(item['heard_at'])} ({ago(item['heard_at'], now)})"),
        ("stopped", local(item["stopped_at"])),
        ("session time", duration(item["seconds"])),
        ("down", f"{octets(item['octets_down'])} ({item['octets_down']:,} octets)"),
        ("up", f"{octets(item['octets_up'])} ({item['octets_up']:,} octets)"),
    ]
