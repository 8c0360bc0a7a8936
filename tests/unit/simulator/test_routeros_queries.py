"""Which rows the query words of a `print` select."""

from __future__ import annotations

import pytest

from simulator.routeros_queries import BadQuery, select

ROWS = [
    {"name": "a", "list": "slow", "bytes": "9", "disabled": "false"},
    {"name": "b", "list": "slow", "bytes": "100", "disabled": "true", "comment": "mine"},
    {"name": "c", "list": "fast", "bytes": "30", "disabled": "false"},
]


def normalise(name: str, text: str) -> str:
    return {"no": "false", "yes": "true"}.get(text, text) if name == "disabled" else text


@pytest.mark.parametrize(
    ("queries", "names"),
    [
        ((), "abc"),
        (("list=slow",), "ab"),
        (("=list=slow",), "ab"),
        (("list=slow", "disabled=no"), "a"),
        (("name=a", "name=c", "#|"), "ac"),
        (("name=a", "name=b", "name=c", "#||"), "abc"),
        (("list=slow", "disabled=yes", "#&"), "b"),
        (("list=slow", "#!"), "c"),
        (("name=a", "name=b", "#|!"), "c"),
        (("comment",), "b"),
        (("-comment",), "ac"),
        ((">bytes=20",), "bc"),
        (("<bytes=20",), "a"),
        (("name=a", "list=fast", "#1"), "a"),
        (("name=a", "#.!|"), "abc"),
        (("name=a", "list=slow", "#1.&!"), ""),
        (("unknown=1",), ""),
    ],
)
def test_queries_select_rows_by_a_stack(queries: tuple[str, ...], names: str) -> None:
    chosen = select(queries, normalise)
    assert "".join(row["name"] for row in ROWS if chosen(row)) == names


@pytest.mark.parametrize("queries", [("#|",), ("name=a", "#&"), ("name=a", "#5"), ("name=a", "#x")])
def test_operations_on_nothing_are_refused(queries: tuple[str, ...]) -> None:
    with pytest.raises(BadQuery):
        select(queries, normalise)
