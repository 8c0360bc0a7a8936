"""How many services come in at once, from CSV.

Rule: the same columns and the same checks as [[service]] of an ISP file; all or nothing. A column that the file does
not have leaves services that exist as they are; an empty cell is the key left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from zoneinfo import ZoneInfo

import sqlalchemy
from sqlalchemy import Connection, Engine

from config.checks import listed, show, suggestion
from config.isp import Known, ServiceEntry
from config.problems import ConfigurationError, Problems
from config.service_table import ServiceReader
from config.table import Table
from config.toml_lines import Path
from storage import plan_sellers
from storage.billing import clock, currencies
from storage.provisioned_rows import PLAN, ROUTER, SERVICE, Ids, chunks, service_row
from storage.provisioning import (
    Action,
    Reconciliation,
    customer_ids,
    encode_reply_attribute,
    ids_by_name,
    known,
    lock_configuration,
)
from storage.row_staging import Staging
from storage.vault import Vault

PROBLEMS_LISTED = 1000
"""Bad rows that are listed; all are counted."""

_REQUIRED = ("login", "plan")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SEMICOLON = re.compile(r"(?<!\\);")
_DELIMITERS = ",;\t"

Progress = Callable[[int, int | None], None]
"""Hears the rows that are done and the rows there are, as far as that is known."""


class ImportRefused(ConfigurationError):
    """A CSV file was refused; nothing of it was imported."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the services of a file."""

    created: int
    updated: int
    unchanged: int


def import_services(
    engine: Engine,
    vault: Vault,
    lines: Iterable[str],
    progress: Progress,
    *,
    source: str = "the CSV file",
    total_rows: int | None = None,
) -> ImportReport:
    """Create and update the services of a CSV file with a header. Raise ImportRefused with every bad row."""
    problems = Problems(_line_numbers, limit=PROBLEMS_LISTED)
    records = _records(lines, problems)
    _, header = next(records, (1, []))
    _check_header(header, problems)
    _refuse_if(problems, source)
    with engine.begin() as connection:
        lock_configuration(connection)
        work = _Import(connection, vault, problems, header)
        done = 0
        for chunk in chunks(records):
            work.take(chunk)
            done += len(chunk)
            progress(done, total_rows)
        work.finish()
        _refuse_if(problems, source)
    with engine.begin() as connection:
        # Until autovacuum comes by, the planner would take a table of 100,000 services for an empty one.
        connection.execute(sqlalchemy.text("ANALYZE service"))
    return work.report()


class _Import:
    """One file on its way into the database."""

    def __init__(self, connection: Connection, vault: Vault, problems: Problems, header: list[str]) -> None:
        existing = known(connection)
        self._problems = problems
        self._header = header
        self._reader = _service_reader(existing, problems)
        self._ids = Ids(routers=ids_by_name(connection, ROUTER), plans=ids_by_name(connection, PLAN))
        self._work = Reconciliation(connection, vault)
        self._staging = Staging(connection, SERVICE.table.name, SERVICE.columns)
        self._restricted = plan_sellers.restricted_plans(connection)
        self._has_currencies = currencies.are_several(connection)
        self._lines: dict[str, int] = {}
        """Where the services stand whose plan not everybody may sell, or buy."""
        self._kept = frozenset(column for column, key in SERVICE.file_keys.items() if key not in header)

    def take(self, records: list[tuple[int, list[str]]]) -> None:
        """Check some rows, and put them on their way unless the file is refused already."""
        entries = [self._entry(line, cells) for line, cells in records if self._fits(line, cells)]
        self._reader.settle()
        if not self._problems:
            self._stage(entries)

    def finish(self) -> None:
        """Check what concerns the whole file, and make the rows services."""
        self._reader.finish()
        if not self._problems:
            self._staging.merge()
            for login, message in self._work.refuse_partners().items():
                self._problems.report((self._lines[login], "plan"), message)
            today = clock.today(self._work.connection)
            for login, message in currencies.refused_services(self._work.connection, today, self._lines).items():
                self._problems.report((self._lines[login], "plan"), message)
            if not self._problems:
                self._work.sell_services(today)
                self._work.announce()

    def report(self) -> ImportReport:
        """Count what was done."""
        created = sum(change.action is Action.CREATED for change in self._work.changes)
        return ImportReport(created, len(self._work.changes) - created, self._work.unchanged[SERVICE.name])

    def _fits(self, line: int, cells: list[str]) -> bool:
        if len(cells) != len(self._header):
            self._problems.report((line,), f"has {len(cells)} cells where the header has {len(self._header)}")
        return len(cells) == len(self._header)

    def _entry(self, line: int, cells: list[str]) -> ServiceEntry:
        pairs = zip(self._header, cells, strict=True)
        values = {column: _COLUMNS[column](cell) for column, cell in pairs if cell and not cell.isspace()}
        entry = self._reader.read(Table(values, (line,), self._problems))
        if entry.plan in self._restricted or self._has_currencies:
            self._lines[entry.login] = line
        return entry

    def _stage(self, entries: list[ServiceEntry]) -> None:
        logins = {entry.customer for entry in entries if entry.customer}
        customers = customer_ids(self._work.connection, logins)
        ids = Ids(routers=self._ids.routers, plans=self._ids.plans, customers=customers)
        rows = [service_row(entry, ids) for entry in entries]
        self._work.stage(SERVICE, rows, self._staging, kept=self._kept)


def _service_reader(existing: Known, problems: Problems) -> ServiceReader:
    return ServiceReader(
        existing,
        problems,
        zone=ZoneInfo(existing.timezone),
        plans=existing.plans,
        routers=existing.routers,
        encode=encode_reply_attribute,
    )


def _records(lines: Iterable[str], problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line it begins on."""
    iterator = iter(lines)
    first = next(iterator, "").removeprefix("\ufeff")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(chain([first], iterator), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problems.report((line,), f"is not CSV: {error}")
            if "limit" in str(error):
                # Quotes that never end: what follows would be read from the middle of a cell.
                return
            continue
        if cells is None:
            return
        if any(cells):
            yield line, cells


def _check_header(header: list[str], problems: Problems) -> None:
    header[:] = [column.strip() for column in header]
    # In a file without a header these are the cells of a service, a password among them.
    is_header = len({*header} & {*_COLUMNS}) > 1
    for column in dict.fromkeys(header):
        if column not in _COLUMNS and is_header:
            problems.report((1,), f"the column {show(column)} is not known{suggestion(column, _COLUMNS)}")
        elif column in _COLUMNS and header.count(column) > 1:
            problems.report((1,), f"the column {show(column)} is there twice")
    missing = [column for column in _REQUIRED if column not in header]
    if missing:
        problems.report((1,), f"must be a header with at least {listed(_REQUIRED)}; {listed(missing)} missing")


def _refuse_if(problems: Problems, source: str) -> None:
    if problems:
        raise ImportRefused(source, problems.by_line(), problems.total)


def _line_numbers(paths: Iterable[Path]) -> Mapping[Path, int]:
    return {path: int(path[0]) for path in paths}


def _number(cell: str) -> object:
    digits = cell.strip()
    return int(digits) if digits.isdecimal() and len(digits) < 20 else digits


def _list(cell: str) -> list[str]:
    return [element.strip() for element in cell.split(";") if element.strip()]


def _attributes(cell: str) -> object:
    """Return `Name=value;Name=value` as a table; a semicolon of a value is written with a backslash."""
    values: dict[str, list[str]] = {}
    for pair in _SEMICOLON.split(cell):
        name, equals, value = pair.partition("=")
        if not equals:
            return cell
        values.setdefault(name.strip(), []).append(value.strip().replace("\\;", ";"))
    return values


_COLUMNS: Mapping[str, Callable[[str], object]] = {
    "login": str.strip,
    "password": str,
    "plan": str.strip,
    "customer": str.strip,
    "address": str.strip,
    "mac": _list,
    "routers": _list,
    "simultaneous": _number,
    "enabled": lambda cell: _BOOLEANS.get(cell.strip().lower(), cell.strip()),
    "expires": str.strip,
    "period_day": _number,
    "account_state": str.strip,
    "attributes": _attributes,
}
"""What a cell means, in the form in which TOML would have given it."""
