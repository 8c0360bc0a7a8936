"""What open proformas ask for already, and when they are replaced."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.claims import Key
from billing.generation import Line
from billing.proforma import OpenProforma, compare, place
from tests.unit.billing.billed_account import day, span

JANUARY = span("2026-01-01", "2026-02-01")


def line(number: int, amount: int = 1000) -> Line:
    return Line(1, number, Key("base", "1 10 1"), JANUARY, JANUARY, amount, 1, Decimal(10), Decimal(1), (), False)


def asked(*lines: Line) -> OpenProforma:
    return OpenProforma(1, day("2026-01-16"), sum(each.amount for each in lines), tuple(map(place, lines)))


def test_what_is_asked_for_is_not_asked_again() -> None:
    assert compare([line(1), line(2)], [asked(line(1))]) == ([line(2)], ())
    assert compare([line(1)], [asked(line(1))]) == ([], ())


def test_a_line_that_changed_replaces_all_of_them() -> None:
    opened = [asked(line(1)), asked(line(2))]
    assert compare([line(1), line(2, 500)], opened) == ([line(1), line(2, 500)], opened)
    assert compare([line(1)], opened) == ([line(1)], opened)
    assert compare([], opened) == ([], opened)


lines = st.lists(st.builds(line, st.integers(1, 4), st.integers(1, 3)), max_size=8)


@given(lines, lines)
def test_together_they_always_ask_for_exactly_what_is_due(due: list[Line], before: list[Line]) -> None:
    compared = compare(due, [asked(*before)])
    kept = [] if compared.replaced else before
    assert sorted(map(place, compared.lines + kept), key=repr) == sorted(map(place, due), key=repr)
    assert compare(due, [asked(*kept), asked(*compared.lines)]) == ([], ()), "a rerun finds nothing"
