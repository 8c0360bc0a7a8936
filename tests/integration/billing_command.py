"""The `caudal` command over a real socket, for the ISP that the tests bill."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy

from cli.main import run
from storage.billing import clock
from tests.integration.test_control_api import AskedUsage, Outcome, serving

Command = Callable[..., Outcome]


@contextmanager
def commands(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Lend the command over a database."""
    with tempfile.TemporaryDirectory(prefix="caudal-billing-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)

        def command(*arguments: str) -> Outcome:
            status = run(arguments)
            captured = capsys.readouterr()
            return Outcome(status, captured.out, captured.err)

        with serving(engine, Path(name), AskedUsage()):
            yield command


def set_clock(engine: sqlalchemy.Engine, day: str) -> None:
    """Make the database a test one and let it be that day; only forward."""
    with engine.begin() as connection:
        clock.permit(connection)
        ahead = date.fromisoformat(day) - clock.today(connection)
        clock.advance(connection, timedelta(days=ahead.days))
