"""How many rows reach a table at once: copied into a temporary one, then merged by two statements.

Rule: nothing is visible in the real table before `merge`; a row that exists is updated in place and keeps its id.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import Connection, text


class Staging:
    """Rows of one table on their way in; `columns` begins with the one that identifies a row."""

    def __init__(self, connection: Connection, table: str, columns: Sequence[str]) -> None:
        self._connection = connection
        self._table = table
        self._incoming = f"incoming_{table}"
        self._columns = columns
        names = ", ".join(columns)
        connection.execute(
            text(f"CREATE TEMPORARY TABLE {self._incoming} ON COMMIT DROP AS SELECT {names} FROM {table} WITH NO DATA")
        )

    def copy(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows, each with a value for every column."""
        values = ((row[column] for column in self._columns) for row in rows)
        copy(self._connection, self._incoming, self._columns, values)

    def merge(self) -> None:
        """Update the rows that exist and insert the others."""
        key, *values = self._columns
        assignments = ", ".join(f"{column} = incoming.{column}" for column in values)
        names = ", ".join(self._columns)
        same = f"{self._table}.{key} = incoming.{key}"
        source = f"FROM {self._incoming} AS incoming"
        missing = f"NOT EXISTS (SELECT FROM {self._table} WHERE {same})"
        for statement in (
            f"ANALYZE {self._incoming}",
            f"UPDATE {self._table} SET {assignments} {source} WHERE {same}",
            f"INSERT INTO {self._table} ({names}) SELECT {names} {source} WHERE {missing}",
            f"DROP TABLE {self._incoming}",
        ):
            self._connection.execute(text(statement))


def copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Add rows to a table; lists are arrays, tuples and dicts are JSON."""
    lines = io.StringIO("".join([_line(row) for row in rows]))
    # The pool's proxy hides COPY, which is psycopg2's own.
    with cast("Any", connection.connection).cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", lines)


def _line(values: Iterable[object]) -> str:
    """Return a row in the text format of COPY."""
    return "\t".join([_WRITERS[type(value)](value) for value in values]) + "\n"


def _escape(value: str) -> str:
    escaped = value.replace("\\", "\\\\")
    return escaped.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _array(elements: list[object]) -> str:
    quoted = [str(element).replace("\\", "\\\\").replace('"', '\\"') for element in elements]
    return _escape("{" + ",".join([f'"{element}"' for element in quoted]) + "}")


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _json(value: object) -> str:
    return _escape(_encode(value))


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: r"\N",
    bool: lambda value: "t" if value else "f",
    int: str,
    str: _escape,
    bytes: lambda value: rf"\\x{value.hex()}",
    datetime: str,
    date: str,
    Decimal: str,
    list: _array,
    tuple: _json,
    dict: _json,
}
"""How each type of value goes into a COPY; lists are arrays, tuples and dicts JSON."""
