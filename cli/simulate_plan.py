"""`caudal simulate plan`: what a plan would do with a month of usage, hour by hour.

Rule: the file is read as `caudal apply` reads it, but what it names and does not hold need not exist: rates need
none of it. Nothing is changed, and the rates come from the very function that decides about lines.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from cli.command import Command
from cli.completion import named
from cli.errors import CommandError
from cli.explain import rates
from cli.options import data_directory, json_option
from cli.rate import OCTETS
from cli.tables import Column, Table, printable, write_json
from cli.units import limit_bits_per_second, moment, octets

if TYPE_CHECKING:
    from config.isp import Isp, PlanEntry
    from domain.network import Plan
    from enforcement.explanation import Applied
    from enforcement.plan_simulation import Demand, HourRow

USUAL_OCTETS = 300 * 10**9
"""A household's month, where nothing else is asked for."""
UP_SHARE = 10
"""One octet of so many goes up in a made-up month."""
PIPE_COLUMNS = 100
NARROWEST_CHART = 10
CARRIED, HELD_BACK = "█", "░"
WHOLE = 100
"""Percent of a cap: when it does something, its own sentence says that it was reached."""


_ENDS = {
    "boost": "boost {name} ends",
    "schedule": "schedule {name} ends",
    "fup": "fair use {name} no longer holds",
    "cap": "the cap no longer holds",
    "top_up": "top-up {name} no longer counts",
    "hours": "the allowed hours begin",
}
"""What is said when a rule that may hold for a while in a simulation no longer does."""


@dataclass(frozen=True, slots=True)
class _Hour:
    """An hour, and what changed in it as sentences."""

    row: HourRow
    events: tuple[str, ...]

    @property
    def story(self) -> str:
        """What happened, and what that costs."""
        overage = self.row.overage_octets
        return "; ".join((*self.events, f"{octets(overage)} overage") if overage else self.events)


@dataclass(frozen=True, slots=True)
class _Totals:
    """What the whole time adds up to."""

    octets_up: int
    octets_down: int
    held_back_octets: int
    overage_octets: int
    top_ups: dict[str, int]
    top_up_cost: Decimal


@click.command(
    "plan",
    cls=Command,
    example="caudal simulate plan examples/isp.toml --plan 'Wireless 30 capped' --usage 2G --days 7",
)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plan", "name", metavar="NAME", help="The plan, where the file has several.")
@click.option("--usage", type=OCTETS, help="Octets of a made-up month.  [default: 300G]")
@click.option(
    "--service",
    metavar="LOGIN",
    shell_complete=named("/v1/services", "login"),
    help="Instead of a made-up month, what this service used.",
)
@click.option("--from", "first", metavar="DATE", help="First day.  [default: the first of this month]")
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True)
@click.option("--hours", "every_hour", is_flag=True, help="Show every hour, not only those in which something changed.")
@json_option
def plan(
    file: Path,
    name: str | None,
    usage: int | None,
    service: str | None,
    first: str | None,
    days: int,
    every_hour: bool,
    as_json: bool,
) -> None:
    """Show what a plan would do with a month of usage: rates, crossings and costs."""
    if usage is not None and service is not None:
        raise click.UsageError("--usage is for a made-up month and --service for a real one; give one of them")
    from enforcement.plan_simulation import simulate

    isp = _read(file)
    entry = _choose(isp, name, file)
    zone = ZoneInfo(isp.isp.timezone if isp.isp is not None else "Europe/Madrid")
    begins = _first_day(first, zone)
    demand = _real(service, begins, days) if service else _made_up(begins, days, usage or USUAL_OCTETS, zone)
    rows = list(simulate(_plan(entry), entry.rules, demand, zone, blocking=isp.isp.blocking if isp.isp else None))
    totals = _totals(rows, entry)
    if as_json:
        write_json(_document(entry.name, zone, rows, totals))
        return
    given = rates(entry.download_bits_per_second, entry.upload_bits_per_second)
    click.echo(f"{printable(entry.name)}, {given}: {len(rows):,} hours from {begins} ({zone.key})\n")
    click.echo("\n".join(_chart(rows, zone)))
    click.echo()
    hours = _hours(rows, zone)
    _write_hours([hour for hour in hours if every_hour or hour.events], zone)
    click.echo()
    _write_totals(totals, isp.isp.currency if isp.isp is not None else "EUR")


def _read(file: Path) -> Isp:
    from config.assumed import assume, missing
    from config.problems import ConfigurationError
    from config.provisioning import parse, read

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8; save it as UTF-8") from error
    try:
        document = read(text, str(file))
        known = assume(document)
        isp = parse(document, known, lambda _name, _value: b"")
    except ConfigurationError as error:
        details = tuple(f"{file}:{problem.line}: {printable(problem.message)}" for problem in error.problems)
        count = "1 mistake" if error.total == 1 else f"{error.total:,} mistakes"
        raise CommandError(f"the file has {count}; correct it and try again", details) from error
    elsewhere = missing(isp, known)
    if elsewhere:
        names = printable(", ".join(elsewhere))
        click.echo(
            f"note: {file} does not hold {names}; rates need none of it, so it is simulated all the same", err=True
        )
    return isp


def _choose(isp: Isp, name: str | None, file: Path) -> PlanEntry:
    plans = {entry.name: entry for entry in isp.plans}
    if name is None and len(plans) == 1:
        return isp.plans[0]
    names = ", ".join(plans) or "none"
    if name is None:
        raise CommandError(f"{file} has several plans; name one with --plan: {names}")
    if name not in plans:
        raise CommandError(f"{file} has no plan {name!r}; it has: {names}")
    return plans[name]


def _plan(entry: PlanEntry) -> Plan:
    from domain.network import Plan, PlanId

    return Plan(
        id=PlanId(0),
        name=entry.name,
        download_bits_per_second=entry.download_bits_per_second,
        upload_bits_per_second=entry.upload_bits_per_second,
        pool_id=None,
        ipv6_pool_id=None,
        delegated_pool_id=None,
        session_timeout_seconds=entry.session_timeout_seconds,
        idle_timeout_seconds=entry.idle_timeout_seconds,
        interim_seconds=entry.interim_seconds,
        simultaneous=entry.simultaneous,
        rules=entry.rules,
    )


def _first_day(text: str | None, zone: ZoneInfo) -> date:
    if text is None:
        return datetime.now(zone).date().replace(day=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--from: {text!r} is no date such as 2026-01-31") from None


def _made_up(begins: date, days: int, whole: int, zone: ZoneInfo) -> Sequence[Demand]:
    from enforcement.plan_simulation import made_up_month

    up = whole // UP_SHARE
    return made_up_month(begins, days, up, whole - up, zone)


def _real(service: str, begins: date, days: int) -> Sequence[Demand]:
    from cli.client import ControlClient, segment
    from enforcement.plan_simulation import Demand

    last = begins + timedelta(days=days - 1)
    question = {"by": "hour", "from": begins.isoformat(), "to": last.isoformat()}
    report = ControlClient(data_directory()).get(f"/v1/usage/{segment(service)}", question)
    if not report["rows"]:
        raise CommandError(f"{service} used nothing from {begins} to {last}; ask for another time with --from")
    found = {moment(row["start"]): row for row in report["rows"]}
    hour, end, demand = moment(report["start"]), moment(report["end"]), []
    while hour < end:
        row = found.get(hour, {"octets_up": 0, "octets_down": 0})
        demand.append(Demand(hour, row["octets_up"], row["octets_down"]))
        hour += timedelta(hours=1)
    return demand


def _totals(rows: Iterable[HourRow], entry: PlanEntry) -> _Totals:
    prices = {offer.name: Decimal(offer.price) for offer in entry.rules.top_ups}
    bought: dict[str, int] = {}
    up = down = held_back = overage = 0
    for row in rows:
        up, down = up + row.octets_up, down + row.octets_down
        held_back, overage = held_back + row.held_back_octets, overage + row.overage_octets
        for name in row.top_ups:
            bought[name] = bought.get(name, 0) + 1
    cost = sum((prices[name] * number for name, number in bought.items()), Decimal(0))
    return _Totals(up, down, held_back, overage, bought, cost)


def _chart(rows: Sequence[HourRow], zone: ZoneInfo) -> Iterator[str]:
    """Yield a bar for each day: what was carried, and what the rates held back."""
    carried: dict[date, int] = {}
    held: dict[date, int] = {}
    for row in rows:
        day = row.begins.astimezone(zone).date()
        carried[day] = carried.get(day, 0) + row.octets_up + row.octets_down
        held[day] = held.get(day, 0) + row.held_back_octets
    largest = max((carried[day] + held[day] for day in carried), default=0) or 1
    texts = [octets(carried[day]) for day in carried]
    width = max(map(len, texts), default=0)
    columns = shutil.get_terminal_size((PIPE_COLUMNS, 0)).columns if sys.stdout.isatty() else PIPE_COLUMNS
    room = max(NARROWEST_CHART, columns - width - len("Mon 31 Jan    "))
    yield f"{CARRIED} carried   {HELD_BACK} asked for and held back by the rates"
    for day, text in zip(carried, texts, strict=True):
        whole = round((carried[day] + held[day]) * room / largest)
        solid = round(carried[day] * room / largest)
        yield f"{day:%a %d %b}  {text.rjust(width)}  {CARRIED * solid}{HELD_BACK * (whole - solid)}".rstrip()


def _hours(rows: Iterable[HourRow], zone: ZoneInfo) -> Iterator[_Hour]:
    """Yield each hour with what changed in it."""
    held: tuple[Applied, ...] = ()
    for row in rows:
        now = row.entitlement.rules
        ended = [
            _ENDS[rule.rule.value].format(name=rule.name) for rule in _beyond_plan(held) if not _is_among(rule, now)
        ]
        yield _Hour(row, (*_events(row, zone), *dict.fromkeys(ended)))
        held = now


def _beyond_plan(rules: Iterable[Applied]) -> list[Applied]:
    """Return the rules that change something; the plan alone is where everything begins."""
    return [rule for rule in rules if rule.rule.value != "plan"]


def _is_among(rule: Applied, rules: Iterable[Applied]) -> bool:
    return any((rule.rule, rule.name) == (other.rule, other.name) for other in rules)


def _write_hours(hours: Sequence[_Hour], zone: ZoneInfo) -> None:
    if not hours:
        click.echo("nothing changes in this time")
        return
    bursts = any(_bursts(hour.row) for hour in hours)
    numbers = ("DOWN", "UP", *(("BURST DOWN", "BURST UP") if bursts else ()), "CARRIED", "IN PERIOD")
    columns = [Column(name, _shown, number=True) for name in numbers]
    table = Table([Column("HOUR", _shown), *columns, Column("WHAT HAPPENED", _shown)])
    table.write([_cells(hour, zone, bursts) for hour in hours])


def _bursts(row: HourRow) -> tuple[int | None, int | None] | None:
    """Return the limits of a line's burst, down and up; None where it does not burst."""
    now = row.entitlement
    limits = now.burst_download, now.burst_upload
    return limits if now.admitted and limits != (None, None) else None


def _shown(item: Any, _now: datetime) -> str:
    return str(item)


def _cells(hour: _Hour, zone: ZoneInfo, bursts: bool) -> list[str]:
    row = hour.row
    now = row.entitlement
    limits = _bursts(row) or (None, None)
    return [
        f"{row.begins.astimezone(zone):%a %d %b %H:%M}",
        limit_bits_per_second(now.download) if now.admitted else "none",
        limit_bits_per_second(now.upload) if now.admitted else "none",
        *(["none" if limit is None else limit_bits_per_second(limit) for limit in limits] if bursts else ()),
        octets(row.octets_up + row.octets_down),
        octets(row.period_octets),
        hour.story,
    ]


def _events(row: HourRow, zone: ZoneInfo) -> Iterator[str]:
    crossings = _beyond_plan(row.crossings)
    for crossing in crossings:
        yield crossing.text(zone=zone).rstrip(".")
    is_capped = any(crossing.rule.value == "cap" for crossing in crossings)
    for percent in row.warnings:
        if percent < WHOLE or not is_capped:
            yield f"{percent} % of the cap"
    for percent in row.ceiling_warnings:
        yield f"{percent} % of the most that overage costs"
    for name in row.top_ups:
        yield f"bought {name}"


def _write_totals(totals: _Totals, currency: str) -> None:
    click.echo(f"carried      {octets(totals.octets_down)} down, {octets(totals.octets_up)} up")
    if totals.held_back_octets:
        click.echo(f"held back    {octets(totals.held_back_octets)}")
    if totals.overage_octets:
        click.echo(f"overage      {octets(totals.overage_octets)} ({totals.overage_octets:,} octets)")
    for name, number in totals.top_ups.items():
        click.echo(f"bought       {number} x {printable(name)}")
    if totals.top_ups:
        click.echo(f"top-ups cost {totals.top_up_cost} {currency}")


def _document(name: str, zone: ZoneInfo, rows: Iterable[HourRow], totals: _Totals) -> dict[str, Any]:
    return {
        "plan": name,
        "timezone": zone.key,
        "octets_up": totals.octets_up,
        "octets_down": totals.octets_down,
        "held_back_octets": totals.held_back_octets,
        "overage_octets": totals.overage_octets,
        "top_ups": totals.top_ups,
        "top_up_cost": str(totals.top_up_cost),
        "hours": [
            {
                "start": row.begins.isoformat(),
                "admitted": row.entitlement.admitted,
                "download_bits_per_second": row.entitlement.download,
                "upload_bits_per_second": row.entitlement.upload,
                "burst_download_bits_per_second": row.entitlement.burst_download,
                "burst_upload_bits_per_second": row.entitlement.burst_upload,
                "octets_up": row.octets_up,
                "octets_down": row.octets_down,
                "held_back_octets": row.held_back_octets,
                "counted_octets": row.counted_octets,
                "period_octets": row.period_octets,
                "warnings": list(row.warnings),
                "ceiling_warnings": list(row.ceiling_warnings),
                "top_ups": list(row.top_ups),
                "overage_octets": row.overage_octets,
                "events": [rule.text(zone=zone) for rule in _beyond_plan(row.crossings)],
            }
            for row in rows
        ],
    }
