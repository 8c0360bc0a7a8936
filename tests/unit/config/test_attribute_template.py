"""A plan's own attributes, filled in for a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.attribute_template import NAMES, SAMPLE, check, render
from config.problems import Mistake


def test_names_are_replaced_and_doubled_braces_are_braces() -> None:
    values: dict[str, int | str | None] = {"download": 20_000_001, "login": "{ana}"}
    assert render("{login}: {download} {download_kbit} {{x}}", values) == "{ana}: 20000001 20001 {x}"


def test_an_attribute_that_names_what_the_line_does_not_have_is_left_out() -> None:
    assert render("a {upload}", {"upload": None}) is None
    assert render("a {upload_kbit}", {}) is None


def test_every_name_has_a_sample() -> None:
    for name in NAMES:
        assert render(f"{{{name}}}", SAMPLE)


@pytest.mark.parametrize("text", ["{", "}", "{}", "{0}", "{login.x}", "{login[0]}", "{login!r}", "{login:>9}", "{a}"])
def test_nothing_but_a_known_name_stands_in_braces(text: str) -> None:
    with pytest.raises(Mistake):
        check(text)


@given(st.text())
def test_whatever_is_accepted_can_be_rendered(text: str) -> None:
    try:
        check(text)
    except Mistake:
        return
    assert render(text, SAMPLE) is not None


@given(st.text())
def test_a_value_is_never_a_template(value: str) -> None:
    assert render("{login}", {"login": value}) == value
