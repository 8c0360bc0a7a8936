"""The live table of sessions.

Rule: a rate is what the counters moved between two updates of one session; before the second one it is the session's
average, marked with `~`. Columns only grow, so that they stand still while their numbers change.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cli.client import Item
from cli.errors import CommandError
from cli.session import place
from cli.tables import GAP, Column, Table, layout, printable, width
from cli.units import bits_per_second, duration, moment, octets

if TYPE_CHECKING:
    from rich.console import RenderableType

END_KEYS = {b"q", b"Q", b"\x04", b""}
"""Ctrl-D and the end of the input too; Ctrl-C is a signal."""
KEY_SECONDS = 0.05
"""How long the screen may lag behind a key."""
REDRAW_SECONDS = 1.0
"""Ages on the screen grow by the second."""
FAREWELL_SECONDS = 10
"""How long a session that ended stays on the screen."""
_FRAME_LINES = 4


@dataclass(frozen=True, slots=True)
class Rate:
    """What a session moves, in bit/s; `measured` between two updates, else averaged since its start."""

    up: float
    down: float
    measured: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A session and what it moves."""

    session: Item
    rate: Rate

    @property
    def open(self) -> bool:
        """Whether the session is open."""
        return bool(self.session["state"] == "open")


class Board:
    """The sessions on the screen."""

    def __init__(self) -> None:
        self.open_sessions = 0
        self._lines: dict[int, Line] = {}

    def apply(self, event: Item) -> list[Line]:
        """Take in an event of the stream; return what it changed."""
        self.open_sessions = event["open_sessions"]
        changed = []
        for session in event["sessions"]:
            line = Line(session, rate_of(session, self._lines.get(session["id"])))
            self._lines[session["id"]] = line
            changed.append(line)
        at = moment(event["at"])
        self._lines = {
            number: line for number, line in self._lines.items() if line.open or _age(line, at) < FAREWELL_SECONDS
        }
        return changed

    def newest(self, count: int) -> list[Line]:
        """Return the lines with the newest activity."""
        return sorted(self._lines.values(), key=lambda line: moment(line.session["heard_at"]), reverse=True)[:count]


def rate_of(session: Item, before: Line | None) -> Rate:
    """Return what `session` moves, given what was known of it before."""
    if before is not None:
        seconds = (moment(session["updated_at"]) - moment(before.session["updated_at"])).total_seconds()
        up = session["octets_up"] - before.session["octets_up"]
        down = session["octets_down"] - before.session["octets_down"]
        if seconds <= 0:
            return before.rate
        # A session that came back under the same id counts on; a correction downwards is no traffic.
        return Rate(max(0, up) * 8 / seconds, max(0, down) * 8 / seconds, measured=True)
    seconds = max(1, session["seconds"])
    return Rate(session["octets_up"] * 8 / seconds, session["octets_down"] * 8 / seconds, measured=False)


def cells(line: Line, now: datetime) -> tuple[str, ...]:
    """Return a line's cells, as the titles name them."""
    session = line.session
    mark = "" if line.rate.measured else "~"
    return (
        printable(session["login"]),
        place(session),
        printable(session["router"] or ""),
        duration((now - moment(session["started_at"])).total_seconds()),
        octets(session["octets_down"]),
        octets(session["octets_up"]),
        mark + _rate(line.rate.down) if line.open else "ended",
        mark + _rate(line.rate.up) if line.open else printable(session["terminate_cause"] or ""),
        duration((now - moment(session["heard_at"])).total_seconds()),
    )


def _rate(number: float) -> str:
    """Return a rate without its unit, which the title says."""
    return bits_per_second(number).removesuffix("bit/s").rstrip()


def _column(title: str, *, number: bool = True, spare: int = 0) -> Column:
    return Column(title, lambda _item, _now: "", number=number, spare=spare)


_COLUMNS = (
    _column("LOGIN", number=False),
    _column("ADDRESS", number=False),
    _column("ROUTER", number=False, spare=2),
    _column("ON LINE", spare=1),
    _column("DOWN", spare=4),
    _column("UP", spare=5),
    _column("DOWN BIT/S"),
    _column("UP BIT/S"),
    _column("HEARD", spare=3),
)
_COLOURS = {"DOWN": "cyan", "DOWN BIT/S": "cyan", "UP": "magenta", "UP BIT/S": "magenta"}


def write_once(events: Iterator[Item]) -> None:
    """Write the present as a table."""
    board = Board()
    present = next(events, None)
    if present is None:
        raise _ended()
    board.apply(present)
    now = datetime.now(UTC)
    lines = board.newest(board.open_sessions)
    Table(_COLUMNS).write([cells(line, now) for line in lines])
    click.echo(_summary(board.open_sessions, len(lines)), err=True)


def write_lines(events: Iterator[Item]) -> None:
    """Write each change as a line, for a file or a pipe."""
    board = Board()
    for event in events:
        for line in reversed(board.apply(event)):
            session = line.session
            click.echo(
                f"{session['heard_at']} {session['state']} {printable(session['login'])} "
                f"router={printable(session['router'] or '-')} address={place(session) or '-'} "
                f"octets_down={session['octets_down']} octets_up={session['octets_up']} "
                f"bits_per_second_down={line.rate.down:.0f} bits_per_second_up={line.rate.up:.0f}"
            )
        sys.stdout.flush()
    raise _ended()


def live(events: Iterator[Item]) -> None:
    """Show the table until a key, Ctrl-C or the stream ends it."""
    from rich.console import Console
    from rich.live import Live

    board = Board()
    arrivals: queue.SimpleQueue[Item | CommandError] = queue.SimpleQueue()
    threading.Thread(target=_feed, args=(events, arrivals), daemon=True).start()
    console = Console()
    picture = Picture()
    with (
        contextlib.suppress(KeyboardInterrupt),
        _single_keys(),
        Live(console=console, screen=True, auto_refresh=False) as screen,
    ):
        drawn_at = 0.0
        while not _asked_to_end():
            news = _take_in(board, arrivals)
            if news or time.monotonic() - drawn_at >= REDRAW_SECONDS:
                screen.update(picture.draw(board, console.width, console.height - _FRAME_LINES), refresh=True)
                drawn_at = time.monotonic()


def _take_in(board: Board, arrivals: queue.SimpleQueue[Item | CommandError]) -> bool:
    """Apply what has arrived, waiting a moment for it; tell whether anything had."""
    news = False
    with contextlib.suppress(queue.Empty):
        arrival = arrivals.get(timeout=KEY_SECONDS)
        while True:
            if isinstance(arrival, CommandError):
                raise arrival
            board.apply(arrival)
            news = True
            arrival = arrivals.get_nowait()
    return news


def _feed(events: Iterator[Item], arrivals: queue.SimpleQueue[Item | CommandError]) -> None:
    try:
        for event in events:
            arrivals.put(event)
        arrivals.put(_ended())
    except CommandError as error:
        arrivals.put(error)


def _ended() -> CommandError:
    return CommandError("the daemon ended; start `caudal session watch` again when it is back")


class Picture:
    """Draws the board, with columns that stand still."""

    def __init__(self) -> None:
        self._widths = [width(column.title) for column in _COLUMNS]

    def draw(self, board: Board, columns: int, lines: int) -> RenderableType:
        """Return the board's newest lines in a screen of that size."""
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        now = datetime.now(UTC)
        shown = board.newest(max(1, lines))
        rows = [cells(line, now) for line in shown]
        self._widths = (
            [max(before, *map(width, texts)) for before, *texts in zip(self._widths, *rows, strict=True)]
            if rows
            else self._widths
        )
        places = layout(_COLUMNS, self._widths, columns)
        grid = Grid(box=None, padding=(0, len(GAP), 0, 0), pad_edge=False, header_style="bold")
        for at, wanted in places:
            column = _COLUMNS[at]
            grid.add_column(
                Text(column.title),
                style=_COLOURS.get(column.title, ""),
                width=wanted,
                no_wrap=True,
                justify="right" if column.number else "left",
                overflow="ellipsis",
            )
        for line, row in zip(shown, rows, strict=True):
            grid.add_row(*(Text(row[at]) for at, _wanted in places), style=None if line.open else "dim")
        title = Text(_summary(board.open_sessions, len(shown)), style="bold")
        return Group(title.append("  (q ends)", style="not bold dim"), Text(""), grid)


def _summary(open_sessions: int, shown: int) -> str:
    rest = f", the {shown:,} heard last are shown" if shown < open_sessions else ""
    return f"{open_sessions:,} open session{'' if open_sessions == 1 else 's'}{rest}"


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Read keys as they are pressed, without their echo."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _asked_to_end() -> bool:
    if not sys.stdin.isatty():
        return False
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and os.read(sys.stdin.fileno(), 1) in END_KEYS


def _age(line: Line, now: datetime) -> float:
    return (now - moment(line.session["heard_at"])).total_seconds()
