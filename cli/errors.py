"""How the command refuses.

Rule: one sentence a person can act on; a document with several mistakes lists each of them first.
"""

from __future__ import annotations

from domain.errors import CaudalError


class CommandError(CaudalError):
    """A command cannot do what was asked; `details` are lines to show before the sentence."""

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class DaemonError(CommandError):
    """The daemon refused; `code` is its word for why."""

    def __init__(self, code: str, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message, details)
        self.code = code
