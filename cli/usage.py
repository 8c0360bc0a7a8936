"""`caudal usage`: what a service used, as a chart.

Rule: one bar an hour or day, download and upload end to end, on the scale of the largest; the numbers stand beside it.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click

from cli.client import ControlClient, Item, segment
from cli.command import Command
from cli.names import service_argument
from cli.options import data_directory, json_option
from cli.tables import printable, write_json
from cli.units import moment, octets

DOWN, UP = "█", "▒"
WIDEST_CHART = 60
NARROWEST_CHART = 8
PIPE_COLUMNS = 100
_FORMATS = {"hour": "%a %d %b %H:%M", "day": "%a %d %b %Y"}


@click.command("usage", cls=Command, example="caudal usage ana.garcia --by hour")
@service_argument
@click.option("--by", type=click.Choice(["hour", "day"]), default="day", show_default=True, help="One bar for each.")
@click.option("--from", "start", metavar="WHEN", help="From this date or instant on.  [default: 30 days or 24 h ago]")
@click.option("--to", "end", metavar="WHEN", help="Until this instant, or this date included.  [default: now]")
@json_option
def usage(service: str, by: str, start: str | None, end: str | None, as_json: bool) -> None:
    """Show what a service used.

    Dates and instants without a zone are the ISP's local time.
    """
    parameters = {"by": by, "from": start, "to": end}
    report = ControlClient(data_directory()).get(f"/v1/usage/{segment(service)}", parameters)
    if as_json:
        write_json(report)
        return
    colours = sys.stdout.isatty()
    columns = shutil.get_terminal_size((PIPE_COLUMNS, 0)).columns
    click.echo("\n".join(chart(report, columns, colours=colours)))


def chart(report: Item, columns: int, *, colours: bool) -> list[str]:
    """Return the lines of the chart of a usage report, at most `columns` wide."""
    zone = ZoneInfo(report["timezone"])
    rows = without_gaps(report["rows"], report["by"], zone)
    labels = [moment(row["start"]).astimezone(zone).strftime(_FORMATS[report["by"]]) for row in rows]
    downs, ups = _aligned([row["octets_down"] for row in rows]), _aligned([row["octets_up"] for row in rows])
    beside = ["  ".join(texts) for texts in zip(labels, downs, ups, strict=True)]
    width = max(NARROWEST_CHART, min(WIDEST_CHART, columns - max(map(len, beside), default=0) - len("  ")))
    largest = max((row["octets_up"] + row["octets_down"] for row in rows), default=0)
    bars = [bar(row, largest, width, colours=colours) for row in rows]
    lines = [f"{text}  {shown}".rstrip() for text, shown in zip(beside, bars, strict=True)]
    return [_title(report, zone), _totals(report, colours=colours), "", *(lines or ["no usage in this time"])]


def without_gaps(rows: list[Item], by: str, zone: ZoneInfo) -> list[Item]:
    """Return the rows with the empty hours or local days between them, which a report leaves out."""
    filled: list[Item] = []
    for row in rows:
        while filled and (following := _after(filled[-1], by, zone)) < moment(row["start"]):
            filled.append({"start": following.isoformat(), "octets_up": 0, "octets_down": 0})
        filled.append(row)
    return filled


def _after(row: Item, by: str, zone: ZoneInfo) -> datetime:
    start = moment(row["start"])
    if by == "hour":
        return start + timedelta(hours=1)
    # A local day may have 23 or 25 hours, so the calendar counts, not the clock.
    return (start.astimezone(zone) + timedelta(days=1)).astimezone(UTC)


def bar(row: Item, largest: int, width: int, *, colours: bool) -> str:
    """Return the bar of one row; whatever moved anything has at least one cell."""
    moved = row["octets_up"] + row["octets_down"]
    if not moved:
        return ""
    cells = max(1, round(moved * width / largest))
    down = round(row["octets_down"] * cells / moved)
    return _mark(DOWN * down, "cyan", colours=colours) + _mark(UP * (cells - down), "magenta", colours=colours)


def _totals(report: Item, *, colours: bool) -> str:
    down, up = report["octets_down"], report["octets_up"]
    marks = (_mark(DOWN, "cyan", colours=colours), _mark(UP, "magenta", colours=colours))
    return f"{marks[0]} down {octets(down)}   {marks[1]} up {octets(up)}   together {octets(down + up)}"


def _mark(cells: str, colour: str, *, colours: bool) -> str:
    return click.style(cells, fg=colour) if colours and cells else cells


def _aligned(numbers: list[int]) -> list[str]:
    texts = [octets(number) for number in numbers]
    return [text.rjust(max(map(len, texts))) for text in texts]


def _title(report: Item, zone: ZoneInfo) -> str:
    start, end = (_short(moment(report[key]).astimezone(zone)) for key in ("start", "end"))
    return f"{printable(report['service'])}, {start} to {end} ({report['timezone']}), by {report['by']}"


def _short(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M")
