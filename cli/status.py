"""`caudal status` and `caudal version`.

Rule: status asks the daemon, version asks nobody.
"""

from __future__ import annotations

from importlib.metadata import version as version_of

import click

from cli.client import ControlClient, Item
from cli.command import Command
from cli.options import data_directory, json_option
from cli.tables import write_details, write_json
from cli.units import duration, local


@click.command("status", cls=Command, example="caudal status")
@json_option
def status(as_json: bool) -> None:
    """Show how the daemon is."""
    item = ControlClient(data_directory()).get("/v1/status")
    if as_json:
        write_json(item)
    else:
        write_details(_details(item))


@click.command("version", cls=Command, example="caudal version")
def version() -> None:
    """Show the version."""
    click.echo(f"caudal {version_of('caudal')}")


def _details(item: Item) -> list[tuple[str, str]]:
    open_sessions = item["open_sessions"]
    return [
        ("version", item["version"]),
        ("running since", f"{local(item['started_at'])} ({duration(item['uptime_seconds'])})"),
        ("database", item["database"]),
        *((listener["purpose"], _place(listener)) for listener in item["listeners"]),
        *((f"worker {worker['number']}", _worker(worker)) for worker in item["workers"]),
        ("open sessions", "unknown" if open_sessions is None else f"{open_sessions:,}"),
    ]


def _place(listener: Item) -> str:
    if listener["port"] is None:
        return str(listener["address"])
    address = f"[{listener['address']}]" if ":" in listener["address"] else listener["address"]
    return f"{address}:{listener['port']}"


def _worker(worker: Item) -> str:
    return str(worker["state"]) if worker["pid"] is None else f"{worker['state']}, process {worker['pid']}"
