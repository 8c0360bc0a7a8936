"""Listings on a terminal.

Rule: columns are as wide as the first page needs and stay so on the next ones, so that a listing of any length flows.
On a terminal that is too narrow the columns to spare are left out, then the widest texts are shortened; numbers never
are, and a pipe gets everything.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from cli.client import ControlClient, Item
from cli.options import Paging, data_directory

GAP = "  "
SHORTEST_TEXT = 8
"""A text column is never shortened below this."""
READABLE_TEXT = len("AA:BB:CC:DD:EE:FF")
"""No text is shortened below this while there is a column to spare: half a MAC address tells nothing."""

Cell = Callable[[Item, datetime], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and how it shows an item.

    Numbers stand to the right and are never shortened. A narrow terminal goes without the columns to spare, those with
    the highest `spare` first; 0 stays.
    """

    title: str
    cell: Cell
    number: bool = False
    spare: int = 0


def text(title: str, key: str, *, spare: int = 0) -> Column:
    """Return the column that shows a field as it is."""
    return Column(title, lambda item, _now: "" if item[key] is None else str(item[key]), spare=spare)


def names(title: str, key: str, empty: str, *, spare: int = 0) -> Column:
    """Return the column that shows a list of names, `empty` for none."""
    return Column(title, lambda item, _now: ", ".join(item[key]) or empty, spare=spare)


def count(title: str, key: str, *, spare: int = 0) -> Column:
    """Return the column that shows a whole number."""
    return Column(title, lambda item, _now: "" if item[key] is None else f"{item[key]:,}", number=True, spare=spare)


def show_listing(
    path: str, parameters: Mapping[str, object], columns: Sequence[Column], paging: Paging, now: datetime
) -> None:
    """Write the listing at `path` as a table or as a JSON array, a page at a time."""
    pages = ControlClient(data_directory()).pages(path, parameters, paging.limit)
    if paging.as_json:
        write_json_array(item for items, _more in pages for item in items)
        return
    shown, following = 0, False
    table = Table(columns)
    for items, more in pages:
        table.write([[column.cell(item, now) for column in columns] for item in items])
        shown, following = shown + len(items), more
    if not shown:
        click.echo("nothing to show", err=True)
    elif following:
        click.echo(f"{shown:,} shown, there are more: --all shows everything", err=True)
    if table.left_out:
        click.echo(f"left out on this narrow terminal: {', '.join(table.left_out)}", err=True)


def write_json_array(items: Iterable[Item]) -> None:
    """Write `items` as one JSON array, an item a line, as they come."""
    separator = "[\n"
    for item in items:
        click.echo(separator + as_json(item), nl=False)
        separator = ",\n"
    click.echo("\n]" if separator == ",\n" else "[]")


def write_json(item: Item) -> None:
    """Write one object, indented."""
    shown = json.dumps(item, ensure_ascii=False, indent=2)
    click.echo(shown if shown.replace("\n", "").isprintable() else json.dumps(item, indent=2))


def as_json(item: Item) -> str:
    """Return one line of JSON; letters stay readable, what a terminal would obey is escaped."""
    line = json.dumps(item, ensure_ascii=False)
    return line if line.isprintable() else json.dumps(item)


def write_details(details: Iterable[tuple[str, str]]) -> None:
    """Write the fields of one thing, a line each; those without a value are left out."""
    shown = [(name, value) for name, value in details if value]
    width = max(len(name) for name, _value in shown)
    for name, value in shown:
        click.echo(f"{click.style(name.ljust(width), dim=True)}{GAP}{printable(value)}")


class Table:
    """Writes rows below titles; the first rows decide the widths."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._layout: list[tuple[int, int]] | None = None

    @property
    def left_out(self) -> list[str]:
        """The titles for which the terminal has no room."""
        shown = None if self._layout is None else {at for at, _wanted in self._layout}
        return [column.title for at, column in enumerate(self._columns) if shown is not None and at not in shown]

    def write(self, rows: Sequence[Sequence[str]]) -> None:
        """Write some rows, and before the first ones the titles."""
        if not rows:
            return
        clean = [[printable(cell) for cell in row] for row in rows]
        titles = [column.title for column in self._columns]
        if self._layout is None:
            widths = [max(map(width, cells)) for cells in zip(titles, *clean, strict=True)]
            self._layout = layout(self._columns, widths, _room())
            click.echo(click.style(self._line(titles), bold=True))
        click.echo("\n".join(self._line(row) for row in clean))

    def _line(self, cells: Sequence[str]) -> str:
        return GAP.join(self._padded(cells)).rstrip()

    def _padded(self, cells: Sequence[str]) -> Iterator[str]:
        assert self._layout is not None
        for at, wanted in self._layout:
            number = self._columns[at].number
            shown = cells[at] if number else shorten(cells[at], wanted)
            blank = " " * (wanted - width(shown))
            yield blank + shown if number else shown + blank


def layout(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> list[tuple[int, int]]:
    """Return which of the columns are shown in `room`, by their places, and how wide each is."""
    kept = list(range(len(columns)))
    least = [size if column.number else min(size, READABLE_TEXT) for column, size in zip(columns, widths, strict=True)]
    spare = sorted((at for at in kept if columns[at].spare), key=lambda at: columns[at].spare)
    while room is not None and spare and _line_width([least[at] for at in kept]) > room:
        kept.remove(spare.pop())
    fitted = fit([widths[at] for at in kept], [columns[at].number for at in kept], room)
    return list(zip(kept, fitted, strict=True))


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def fit(widths: Sequence[int], numbers: Sequence[bool], room: int | None) -> list[int]:
    """Return `widths` with the widest texts shortened until a line fits into `room`, as far as it can."""
    fitted = list(widths)
    while room is not None and _line_width(fitted) > room:
        widest = max(range(len(fitted)), key=lambda at: 0 if numbers[at] else fitted[at])
        if numbers[widest] or fitted[widest] <= SHORTEST_TEXT:
            break
        fitted[widest] -= 1
    return fitted


def shorten(cell: str, wanted: int) -> str:
    """Return `cell` with an ellipsis where it is wider than `wanted`; a pipe is given no width to keep."""
    if width(cell) <= wanted or not _is_terminal():
        return cell
    kept = cell
    while width(kept) > wanted - 1:
        kept = kept[:-1]
    return kept + "…"


def width(cell: str) -> int:
    """Return how many terminal cells a text takes."""
    if cell.isascii():
        return len(cell)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in cell
    )


def printable(cell: str) -> str:
    """Return `cell` without anything that a terminal would obey; names come from routers and may hold anything."""
    return cell if cell.isprintable() else "".join(sign if sign.isprintable() else "�" for sign in cell)


def _room() -> int | None:
    return shutil.get_terminal_size().columns if _is_terminal() else None


def _is_terminal() -> bool:
    return sys.stdout.isatty()
