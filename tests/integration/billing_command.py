"""The `caudal` command over a real socket, for the ISP that the tests bill."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy

from storage.billing import clock
from tests.integration.control_daemon import Outcome, command
from tests.integration.small_isp import AskedUsage, serving

Command = Callable[..., Outcome]


@contextmanager
def commands(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Lend the command over a database."""
    with tempfile.TemporaryDirectory(prefix="caudal-billing-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)

        with serving(engine, Path(name), AskedUsage()):
            yield command(capsys)


def set_clock(engine: sqlalchemy.Engine, day: str) -> None:
    """Make the database a test one and let it be that day; only forward."""
    with engine.begin() as connection:
        clock.permit(connection)
        ahead = date.fromisoformat(day) - clock.today(connection)
        clock.advance(connection, timedelta(days=ahead.days))
