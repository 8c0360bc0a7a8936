"""The parameter `--since`: an age or an instant.

Rule: `90s`, `30m`, `2h`, `7d`, `4w`, a date or an instant; without a zone it is the terminal's.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from cli.units import since


class Since(click.ParamType[str]):
    """Reads an age or an instant into an instant of the API."""

    name = "when"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        instant = since(value, datetime.now(UTC))
        if instant is None:
            self.fail(f"{value!r} is neither an age such as 2h nor an instant such as 2026-01-31T18:00", param, ctx)
        return instant


SINCE = Since()
