"""`caudal router check|script`: what is wrong with a router, and the commands that set it up.

Rule: a check ends with status 1 when something is to be corrected; a script holds secrets only where asked to.
"""

from __future__ import annotations

import click

from cli.client import ControlClient, Item, segment
from cli.command import Command
from cli.completion import named
from cli.errors import CommandError
from cli.options import data_directory, json_option
from cli.tables import printable, write_json

MARKS = {
    "ok": ("ok", "green"),
    "unknown": ("?", "yellow"),
    "warning": ("warning", "yellow"),
    "error": ("wrong", "red"),
}
WRONG = frozenset({"warning", "error"})
_WIDTH = max(len(mark) for mark, _ in MARKS.values())
_NAME = click.argument("name", shell_complete=named("/v1/routers", "name"))


@click.command("check", cls=Command, example="caudal router check tower-north")
@_NAME
@json_option
def check(name: str, as_json: bool) -> None:
    """Try a router out, and say what to correct."""
    answer = ControlClient(data_directory()).get(f"/v1/routers/{segment(name)}/check")
    if as_json:
        write_json(answer)
    else:
        _write_remarks(answer["remarks"])
    wrong = sum(remark["level"] in WRONG for remark in answer["remarks"])
    if wrong:
        things = "one thing is" if wrong == 1 else f"{wrong} things are"
        raise CommandError(f"{things} to be corrected on {name}; then check it again")


@click.command("script", cls=Command, example="caudal router script tower-north --secrets")
@_NAME
@click.option("--secrets", is_flag=True, help="Write the secrets; without, placeholders stand in their places.")
@click.option(
    "--server", metavar="ADDRESS", help="Our address as the router sees it.  [default: that of our way to it]"
)
def script(name: str, secrets: bool, server: str | None) -> None:
    """Write the RouterOS commands that set a router up; pasting them twice does no harm."""
    parameters = {"secrets": str(secrets).lower(), "server": server}
    answer = ControlClient(data_directory()).get(f"/v1/routers/{segment(name)}/script", parameters)
    click.echo("\n".join(printable(line) for line in answer["lines"]))


def _write_remarks(remarks: list[Item]) -> None:
    """Write a line for each remark, and below it what corrects it."""
    width = max((len(remark["check"]) for remark in remarks), default=0)
    for remark in remarks:
        mark, colour = MARKS[remark["level"]]
        shown = click.style(mark.ljust(_WIDTH), fg=colour)
        correct = f"  ->  {printable(remark['correct'])}" if remark["correct"] else ""
        click.echo(f"{shown}  {remark['check'].ljust(width)}  {printable(remark['text'])}{correct}")
