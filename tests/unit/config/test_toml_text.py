"""What is written as TOML is read back as it was."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.toml_text import write_table, write_value

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.lists(TEXTS))))
def test_any_table_is_read_back(values: dict[str, object]) -> None:
    assert tomllib.loads(write_table("[table]", values)) == {"table": values}
    assert tomllib.loads(f"inline = {write_value(values)}") == {"inline": values}


def test_dates_and_instants_are_read_back() -> None:
    for value in (date(2027, 1, 31), datetime(2027, 1, 31, 12, 0, 1, 500, tzinfo=UTC)):
        assert tomllib.loads(f"when = {write_value(value)}") == {"when": value}


def test_a_key_without_a_value_is_left_out() -> None:
    assert write_table("[a]", {"b": None, "c": 1}) == "[a]\nc = 1\n"


def test_what_toml_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        write_value(object())
