"""The options that commands share, and where the daemon is looked for.

Rule: `--data`, else CAUDAL_DATA, else ./data when it is there, else the system's directory; `--data` may stand before
or after the name of the command, and the one nearest to the end wins.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

ENVIRONMENT = "CAUDAL_DATA"
NEAR = Path("data")
SYSTEM = Path("/var/lib/caudal")
DEFAULT_LIMIT = 50
_KEY = "caudal.data"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Paging:
    """How much of a listing is wanted, and in which form; no limit is everything."""

    limit: int | None
    as_json: bool


def data_directory() -> Path:
    """Return the daemon's data directory, as the options, the environment or the place say."""
    given = click.get_current_context().meta.get(_KEY)
    if isinstance(given, Path):
        return given
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    return NEAR if NEAR.is_dir() else SYSTEM


def language() -> str:
    """Return the language of the terminal, of those that the product speaks."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable)
        if value:
            return "es" if value.startswith("es") else "en"
    return "en"


def _remember(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta[_KEY] = value


def data_option() -> click.Option:
    """Return `--data`."""
    return click.Option(
        ["--data"],
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        expose_value=False,
        callback=_remember,
        help=f"The daemon's data directory.  [default: ${ENVIRONMENT}, ./{NEAR}, {SYSTEM}]",
    )


def json_option(function: Decorated) -> Decorated:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, with exact numbers.")(function)


def far_future_option(function: Decorated) -> Decorated:
    """Add `--yes-far-future`; the command receives it as `far_future`."""
    option = click.option("--yes-far-future", "far_future", is_flag=True, help="Do it more than 31 days ahead, too.")
    return option(function)


def paging_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--limit`, `--all` and `--json`; the command receives them as `paging`."""

    @functools.wraps(function)
    def with_paging(*arguments: Any, limit: int, everything: bool, as_json: bool, **others: Any) -> None:
        function(*arguments, paging=Paging(None if everything else limit, as_json), **others)

    everything = click.option("--all", "everything", is_flag=True, help="Show everything.")
    limit = click.option(
        "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="Show at most so many."
    )
    return limit(everything(json_option(with_paging)))
