"""Decides how one table of a file is read.

Rule: every key is asked for by name; what is missing, wrong or was never asked for becomes a problem, with the closest
known key as a hint. A value that was refused is replaced by the default: the file as a whole is refused anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from config.checks import Check, listed, show, suggestion
from config.problems import Mistake, Problems
from config.toml_lines import Path

Value = TypeVar("Value")
Default = TypeVar("Default")


class Table:
    """One table: its keys, the place it stands at, and where its problems go."""

    __slots__ = ("_asked", "path", "problems", "values")

    def __init__(self, values: Mapping[str, object], path: Path, problems: Problems) -> None:
        self.values = values
        self.path = path
        self.problems = problems
        self._asked: list[str] = []

    def take(self, key: str, check: Check[Value], default: Default) -> Value | Default:
        """Return the checked value of `key`, or `default` where it is missing or wrong."""
        self._asked.append(key)
        if key not in self.values:
            return default
        try:
            return check(self.values[key])
        except Mistake as mistake:
            self.report(str(mistake), key)
            return default

    def require(self, key: str, check: Check[Value], placeholder: Value) -> Value:
        """Return the checked value of `key`; a missing one is a problem."""
        if key not in self.values:
            self.report("is missing", key)
        return self.take(key, check, placeholder)

    def table(self, key: str) -> Table | None:
        """Return the table under `key`."""
        self._asked.append(key)
        value = self.values.get(key)
        if isinstance(value, dict):
            return Table(value, (*self.path, key), self.problems)
        if value is not None:
            self.report(f"must be a table, not {show(value)}", key)
        return None

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the elements of the array of tables under `key`."""
        self._asked.append(key)
        value = self.values.get(key, [])
        if isinstance(value, dict):
            place = ".".join(part for part in (*self.path, key) if isinstance(part, str))
            self.report(f"must be written as [[{place}]], with double brackets", key)
        elif not isinstance(value, list):
            self.report(f"must be an array of tables, not {show(value)}", key)
        else:
            yield from self._elements(key, value)

    def _elements(self, key: str, elements: list[object]) -> Iterator[Table]:
        for index, element in enumerate(elements):
            path = (*self.path, key, index)
            if isinstance(element, dict):
                yield Table(element, path, self.problems)
            else:
                self.problems.report(path, f"must be a table, not {show(element)}")

    def given(self, *keys: str) -> list[str]:
        """Return those of the keys that are written, right or wrong."""
        return [key for key in keys if key in self.values]

    def exactly_one(self, *keys: str) -> str | None:
        """Return which of the keys is written; none or several are a problem."""
        found = self.given(*keys)
        if not found:
            self.report(f"needs one of {listed(keys)}")
        for key in found[1:]:
            self.report(f"cannot stand beside {found[0]}", key)
        return found[0] if len(found) == 1 else None

    def report(self, message: str, key: str | None = None, *, earlier: Path | None = None) -> None:
        """Note a mistake of this table, or of one of its keys."""
        self.problems.report(self.path if key is None else (*self.path, key), message, earlier=earlier)

    def finish(self) -> None:
        """Report every key that nobody asked for."""
        for key in self.values.keys() - set(self._asked):
            kind = "table" if isinstance(self.values[key], dict | list) and not self.path else "key"
            self.report(f"is not a known {kind}{suggestion(key, self._asked)}", key)
