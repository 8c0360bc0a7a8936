"""Decides how mistakes in a file are gathered and shown.

Rule: a file is read to its end and refused with every mistake, each on its line; nothing of a refused file is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from config.toml_lines import Path
from domain.errors import CaudalError

LineFinder = Callable[[Collection[Path]], Mapping[Path, int]]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake, or one warning, and the line it stands on."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class ConfigurationError(CaudalError):
    """A file that was refused: `problems` in the order of their lines, `total` counts also those left out."""

    def __init__(self, source: str, problems: tuple[Problem, ...], total: int | None = None) -> None:
        self.source = source
        self.problems = problems
        self.total = len(problems) if total is None else total
        count = "1 mistake" if self.total == 1 else f"{self.total:,} mistakes; the first"
        super().__init__(f"{source} has {count}: {problems[0]}")


class Mistake(CaudalError):
    """What is wrong with one value, without saying where: whoever knows the place adds it."""


@dataclass(frozen=True, slots=True)
class _Report:
    path: Path
    message: str
    earlier: Path | None


@dataclass(slots=True)
class Problems:
    """Gathers mistakes by path; their lines are looked up once, when somebody asks."""

    find_lines: LineFinder
    limit: int | None = None
    total: int = 0
    _reports: list[_Report] = field(default_factory=list)

    def report(self, path: Path, message: str, *, earlier: Path | None = None) -> None:
        """Note a mistake at `path`; `earlier` is the place it collides with."""
        self.total += 1
        if self.limit is None or self.total <= self.limit:
            self._reports.append(_Report(path, message, earlier))

    def __bool__(self) -> bool:
        return self.total > 0

    def by_line(self) -> tuple[Problem, ...]:
        """Return the noted mistakes in the order of their lines."""
        if not self._reports:
            return ()
        paths = {report.path for report in self._reports}
        paths.update(report.earlier for report in self._reports if report.earlier is not None)
        lines = self.find_lines(paths)
        return tuple(sorted(Problem(lines[report.path], _message(report, lines)) for report in self._reports))


def _message(report: _Report, lines: Mapping[Path, int]) -> str:
    place = ".".join(part for part in report.path if isinstance(part, str))
    message = f"{place}: {report.message}" if place else report.message
    return message if report.earlier is None else f"{message} (the first is on line {lines[report.earlier]})"
