"""A listing ends where its limit says, also one that comes whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.client import ControlClient, Item, Parameters


class Whole(ControlClient):
    """Speaks to a daemon that gives a short listing whole, whatever was asked for."""

    def get(self, path: str, parameters: Parameters | None = None) -> Item:
        return {"items": [{"id": number} for number in (1, 2, 3)], "next": None}


@pytest.mark.parametrize(
    ("limit", "page"),
    [(None, ([1, 2, 3], False)), (3, ([1, 2, 3], False)), (2, ([1, 2], True)), (9, ([1, 2, 3], False))],
)
def test_a_listing_that_comes_whole_is_cut_at_its_limit(limit: int | None, page: tuple[list[int], bool]) -> None:
    ((items, more),) = Whole(Path("/nowhere")).pages("/v1/vouchers", {}, limit)

    assert ([item["id"] for item in items], more) == page
