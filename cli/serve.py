"""`caudal serve`, `check` and `migrate`: the only commands that open the database themselves.

Rule: they take the configuration file; everything else asks the daemon.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.client import ControlClient
from cli.command import Command
from cli.errors import CommandError
from cli.options import data_directory, json_option
from domain.errors import CaudalError

if TYPE_CHECKING:
    from config.settings import Settings

STATUS_SECONDS = 2.0
"""How long `check` waits for a daemon that may hang."""
PARTS = ("radius", "core")
_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("error", "red")}


def _config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The configuration file.  [default: every key's default]",
    )(function)


@click.command("serve", cls=Command, example="caudal serve --config /etc/caudal/caudal.toml --data /var/lib/caudal")
@_config_option
@click.option("--demo", is_flag=True, help="Provision the demonstration ISP and simulate its routers.")
@click.option("--only", type=click.Choice(PARTS), help="Run the RADIUS workers alone, or everything but them.")
def serve(config: Path | None, demo: bool, only: str | None) -> None:
    """Run the daemon in the foreground.

    Ctrl-C ends it with nothing lost; SIGHUP reloads what can be reloaded.
    """
    from daemon.part import Part
    from daemon.serve import run

    if demo and only:
        raise click.UsageError("--demo shows the whole; leave out --only")
    run(config, data_directory(), demo, Part(only) if only else Part.ALL)


@click.command("check", cls=Command, example="caudal check --config examples/caudal.toml")
@_config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Check the configuration and the machine without starting."""
    from daemon.check import findings

    errors = 0
    data = data_directory()
    found = findings(config, data, _held(data))
    if as_json:
        rows = [
            {"level": each.level.value, "subject": each.subject, "message": each.message, "hint": each.hint}
            for each in found
        ]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    for finding in found:
        errors += finding.level.value == "error"
        if as_json:
            continue
        word, colour = _MARKS[finding.level.value]
        between = " " if finding.message.endswith("?") else "; "
        hint = between + finding.hint if finding.hint else ""
        click.echo(f"{click.style(word.ljust(7), fg=colour)}  {finding.subject}: {finding.message}{hint}")
    if errors:
        raise CommandError(f"{errors} of these must be corrected before `caudal serve` can run")


def _held(data: Path) -> list[tuple[str, int]]:
    """Return the addresses and ports of a daemon that runs there."""
    try:
        listeners = ControlClient(data, timeout=STATUS_SECONDS).get("/v1/status")["listeners"]
    except CaudalError:
        return []
    return [(each["address"], each["port"]) for each in listeners if each["port"] is not None]


@click.command("migrate", cls=Command, example="caudal migrate --config /etc/caudal/caudal.toml")
@_config_option
def migrate(config: Path | None) -> None:
    """Bring the database to this release's schema.

    The daemon does the same when it starts; this is for doing it beforehand.
    """
    from config.settings import load
    from storage.database import create_engine
    from storage.migrate import migrate as apply

    with _database(load(config), data_directory()) as dsn:
        engine = create_engine(dsn)
        try:
            applied = apply(engine)
        finally:
            engine.dispose()
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


@contextlib.contextmanager
def _database(settings: Settings, data: Path) -> Iterator[str]:
    """Lend the database's DSN; an embedded server that was not running is stopped again."""
    from daemon.database_keeper import DIRECTORY
    from storage.database import ensure_database
    from storage.embedded import EmbeddedPostgres

    if settings.database.url:
        ensure_database(settings.database.url)
        yield settings.database.url
        return
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = EmbeddedPostgres(data / DIRECTORY)
    was_running = server.running()
    server.start()
    try:
        yield server.dsn()
    finally:
        if not was_running:
            server.stop()
