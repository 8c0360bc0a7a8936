"""A process that dies before a statement: nothing is caught, nothing more is sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import event


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_before(engine: sqlalchemy.Engine, number: int) -> Iterator[None]:
    """Raise `Killed` before the statement of that number, and before each that follows; the first is 1."""
    numbers = itertools.count(1)

    def before(*_given: Any) -> None:
        if next(numbers) >= number:
            raise Killed

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", before)
