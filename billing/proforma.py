"""Decides what of an account's next document its open proformas ask for already.

Rule: pure. A line that an open proforma has is not asked for twice. Where one of their lines is not due any more as it
stands there, all of them are replaced: by a proforma with everything, never by a change of what was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from billing.claims import Key
from billing.cycle import Period
from billing.generation import Line


class Place(NamedTuple):
    """What a line charges: two lines with one place and amount are the same."""

    customer_id: int
    subscription_id: int | None
    key: Key
    period: Period
    days: Period
    amount: int
    credits_line: int | None


class OpenProforma(NamedTuple):
    """A proforma that waits to be paid."""

    document_id: int
    due_on: date
    amount: int
    lines: tuple[Place, ...]


class Compared(NamedTuple):
    """The lines of the next document, and the proformas whose place it takes."""

    lines: list[Line]
    replaced: Sequence[OpenProforma]


def place(line: Line) -> Place:
    """Return what a line charges."""
    return Place(
        line.customer_id, line.subscription_id, line.key, line.period, line.days, line.amount, line.credits_line
    )


def compare(lines: Sequence[Line], opened: Sequence[OpenProforma]) -> Compared:
    """Return which of the lines that are due no open proforma has; all of them where one of theirs is not due."""
    asked = Counter(each for proforma in opened for each in proforma.lines)
    if asked - Counter(map(place, lines)):
        return Compared([*lines], opened)
    return Compared([*_without(lines, asked)], ())


def _without(lines: Iterable[Line], asked: Counter[Place]) -> Iterable[Line]:
    left = asked.copy()
    for line in lines:
        known = place(line)
        if left[known]:
            left[known] -= 1
        else:
            yield line
