"""How the command refuses.

Rule: one sentence a person can act on; a document with several mistakes lists each of them first.
"""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import CaudalError


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake at a line of a document."""

    line: int
    message: str


class CommandError(CaudalError):
    """A command cannot do what was asked; `details` are lines to show before the sentence."""

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class DaemonError(CommandError):
    """The daemon refused; `code` is its word for why, `problems` are the mistakes of a document by line."""

    def __init__(self, code: str, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, tuple(f"line {problem.line}: {problem.message}" for problem in problems))
        self.code = code
        self.problems = problems
