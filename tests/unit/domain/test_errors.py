"""What an error says fits a line of the log."""

from __future__ import annotations

from domain.errors import LONGEST_LINE, one_line


def test_lines_of_an_error_become_one() -> None:
    assert one_line(ValueError("refused:\n  DETAIL:  closed\n")) == "refused: DETAIL: closed"


def test_a_statement_that_a_database_repeats_is_cut_off() -> None:
    told = one_line(ValueError("out of range [SQL: " + "x" * 100_000))
    assert told.startswith("out of range [SQL: x")
    assert len(told) == LONGEST_LINE + 2
