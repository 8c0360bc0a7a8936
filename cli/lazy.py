"""Commands that are imported when they are run.

Rule: `caudal --help` imports no command; the short texts it shows stand in the table, equal to the commands' own.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from cli.command import Group


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: the module that holds it, its name there, and its short help."""

    module: str
    attribute: str
    short_help: str


class LazyGroup(Group):
    """A group whose commands stand in sections of a table."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Mapping[str, Entry]], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.sections = sections
        self.entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # Click knows no names to suggest: the commands are not imported.
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=self.entries, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, self.entries))
        for title, section in self.sections.items():
            with formatter.section(title):
                rows = [(name.ljust(width), entry.short_help) for name, entry in section.items()]
                formatter.write_dl(rows)
