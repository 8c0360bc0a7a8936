"""Long work that the daemon does while its answer is read: lines of progress, then one report.

Rule: the bar is on standard error, and gone with the report; machines and pipes see the report alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from cli.client import Item
from cli.errors import CommandError


def followed(lines: Iterable[Item], counted: str, ended: str, *, total: int | None = None, quiet: bool) -> Item:
    """Return the report, with a progress bar on a terminal unless quiet.

    `counted` is the key of what a line of progress counts; `ended` tells the person that no report came.
    Raise CommandError.
    """
    if quiet or not sys.stderr.isatty():
        return _report(lines, ended, lambda _line: None)
    # Late: rich takes longer to import than most commands take.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(counted, total=total)
        return _report(
            lines, ended, lambda line: progress.update(task, completed=line[counted], total=line.get("of", total))
        )


def _report(lines: Iterable[Item], ended: str, tell: Callable[[Item], None]) -> Item:
    for line in lines:
        if line["event"] == "report":
            return line
        tell(line)
    raise CommandError(ended)
