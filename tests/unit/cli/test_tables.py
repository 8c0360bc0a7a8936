"""Listings fit the terminal and never command it."""

from __future__ import annotations

import json

import pytest

from cli.tables import Column, Table, as_json, fit, layout, printable, text, width, write_json_array

COLUMNS = (text("NAME", "name"), Column("SIZE", lambda item, _now: str(item["size"]), number=True))


def test_the_widest_texts_give_way_and_numbers_do_not() -> None:
    assert fit([30, 10, 12], [False, False, True], 50) == [24, 10, 12]


def test_columns_to_spare_go_before_a_text_is_cut_to_pieces() -> None:
    columns = (text("LOGIN", "login"), text("ROUTER", "router", spare=1), text("PORT", "port", spare=2))
    assert layout(columns, [17, 12, 12], 45) == [(0, 17), (1, 12), (2, 12)]
    assert layout(columns, [17, 12, 12], 40) == [(0, 17), (1, 12)]
    assert layout(columns, [30, 12, 12], 17) == [(0, 17)]
    assert layout(columns, [30, 12, 12], 5) == [(0, 8)]


def test_no_text_becomes_unreadable() -> None:
    assert fit([30, 10], [False, True], 5) == [8, 10]


def test_a_pipe_gets_everything() -> None:
    assert fit([300, 10], [False, True], None) == [300, 10]


def test_later_pages_stand_under_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(COLUMNS)
    table.write([["first", "1"]])
    table.write([["x", "22"]])
    assert capsys.readouterr().out.splitlines() == ["NAME   SIZE", "first     1", "x        22"]


def test_wide_letters_take_two_cells_and_combining_marks_none() -> None:
    assert (width("ana"), width("日本"), width("n\u0303")) == (3, 4, 1)


@pytest.mark.parametrize("sign", ["\x1b", "\n", "\x9b", "\u202e"])
def test_what_a_terminal_would_obey_is_not_written(sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    Table(COLUMNS).write([[f"a{sign}b", "1"]])
    assert sign not in capsys.readouterr().out.splitlines()[1]
    assert printable(f"a{sign}b") == "a\ufffdb"
    assert sign not in as_json({"login": f"a{sign}b"})
    assert json.loads(as_json({"login": f"ñ{sign}"})) == {"login": f"ñ{sign}"}


def test_letters_stay_readable_in_json() -> None:
    assert as_json({"name": "Ibáñez"}) == '{"name": "Ibáñez"}'


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_listing_of_any_length_is_one_json_array(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    items: list[dict[str, object]] = [{"id": number} for number in range(count)]
    write_json_array(items)
    assert json.loads(capsys.readouterr().out) == items
