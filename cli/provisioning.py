"""`caudal apply`, `export` and `import`: what is provisioned, as files.

Rule: a file is taken whole or refused whole; every mistake is a line `FILE:LINE: what is wrong`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from cli.client import ControlClient, Item
from cli.command import Command, Group
from cli.errors import CommandError, DaemonError
from cli.options import data_directory, json_option
from cli.progress import followed
from cli.tables import printable, write_json

CHUNK_OCTETS = 65_536
ENDED = "the daemon ended before it told the result; see its log, and import the file again"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("apply", cls=Command, example="caudal apply examples/isp.toml --dry-run")
@click.argument("file", metavar="FILE.toml", type=_FILE)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@json_option
def apply(file: Path, dry_run: bool, as_json: bool) -> None:
    """Create and update what a TOML file describes.

    Nothing is ever deleted; changes take effect at the next packet.
    """
    client = ControlClient(data_directory(), timeout=None)
    try:
        report = client.post("/v1/apply", file.read_bytes(), "application/toml", {"dry_run": str(dry_run).lower()})
    except DaemonError as error:
        raise of_file(error, file, as_json=as_json) from error
    if as_json:
        write_json(report)
    else:
        _write_report(report, file)


def _write_report(report: Item, file: Path) -> None:
    for warning in report["warnings"]:
        click.echo(f"{file}:{warning['line']}: {click.style('warning', fg='yellow')}: {warning['message']}", err=True)
    for change in report["changes"]:
        keys = f" ({', '.join(change['keys'])})" if change["keys"] else ""
        colour = "green" if change["action"] == "created" else "yellow"
        click.echo(f"{click.style(change['action'], fg=colour)} {change['kind']} {printable(change['name'])}{keys}")
    click.echo(_summary(report))


def _summary(report: Item) -> str:
    done = Counter(change["action"] for change in report["changes"])
    unchanged = sum(report["unchanged"].values())
    counts = f"{done['created']:,} created, {done['updated']:,} updated, {unchanged:,} unchanged"
    return f"{counts}; nothing was written (--dry-run)" if report["dry_run"] else counts


def of_file(error: DaemonError, file: Path, *, as_json: bool) -> CommandError:
    """Return the error with its mistakes placed in the file; as JSON they are written already."""
    if not error.problems:
        return error
    # The daemon's sentence ends with the first mistake, which stands above already.
    count = str(error).partition(": line ")[0].removesuffix("; the first")
    sentence = f"{count}; nothing was changed, correct the file and try again"
    if as_json:
        mistakes = [{"file": str(file), **asdict(problem)} for problem in error.problems]
        write_json({"error": {"code": error.code, "message": sentence, "problems": mistakes}})
        return CommandError(sentence)
    return CommandError(sentence, tuple(f"{file}:{each.line}: {printable(each.message)}" for each in error.problems))


@click.command("export", cls=Command, example="caudal export --secrets -o isp.toml")
@click.option("--secrets", is_flag=True, help="Write secrets and passwords too, in clear.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write there, mode 0600."
)
def export(secrets: bool, output: Path | None) -> None:
    """Write what is provisioned, as TOML.

    Applying the file again changes nothing; without --secrets, secrets stay as they are.
    """
    client = ControlClient(data_directory(), timeout=None)
    pieces = client.pieces("/v1/export", {"secrets": str(secrets).lower()})
    if output is None:
        for piece in pieces:
            click.echo(piece, nl=False)
    else:
        _write_whole(output, pieces)


@click.group("import", cls=Group, example="caudal import services examples/services.csv")
def import_() -> None:
    """Import many services from a CSV file."""


@import_.command("services", example="caudal import services examples/services.csv")
@click.argument("file", metavar="FILE.csv", type=_FILE)
@json_option
def import_services(file: Path, as_json: bool) -> None:
    """Create and update services from a CSV file with a header.

    The columns are the keys of [[service]]; several MACs or routers are separated by semicolons. All rows are taken
    or none.
    """
    client = ControlClient(data_directory(), timeout=None)
    try:
        lines = client.upload("/v1/import/services", chunks(file), "text/csv")
        report = followed(lines, "rows", ENDED, total=_rows(file), quiet=as_json)
    except DaemonError as error:
        raise of_file(error, file, as_json=as_json) from error
    if as_json:
        write_json({key: report[key] for key in ("created", "updated", "unchanged")})
    else:
        counts = f"{report['created']:,} created, {report['updated']:,} updated, {report['unchanged']:,} unchanged"
        click.echo(counts)


def chunks(file: Path) -> Iterator[bytes]:
    """Yield the octets of a file in pieces."""
    with file.open("rb") as document:
        while chunk := document.read(CHUNK_OCTETS):
            yield chunk


def _rows(file: Path) -> int:
    """Count the rows below the header, near enough for a progress bar."""
    return max(1, sum(chunk.count(b"\n") for chunk in chunks(file)) - 1)


def _write_whole(output: Path, pieces: Iterator[bytes]) -> None:
    """Write a file that appears only when it is complete, readable by its owner alone."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        unfinished.touch(mode=0o600, exist_ok=False)
        with unfinished.open("wb") as document:
            document.writelines(pieces)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
