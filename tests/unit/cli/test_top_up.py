"""What `caudal topup` asks of the daemon, and what it says of a purchase."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import top_up
from cli.top_up import TOP_UP_COLUMNS

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def bought(kind: str = "octets", octets: int = 1_000_000_000, hours: int = 168) -> dict[str, Any]:
    return {
        "id": 3,
        "service": "a/b",
        "name": "extra",
        "kind": kind,
        "octets": octets,
        "octets_left": octets // 4,
        "bought_at": NOW.isoformat(),
        "ends_at": (NOW + timedelta(hours=hours)).isoformat(),
        "origin": "operator",
        "price": "3.00",
        "charge": "none",
    }


class Daemon:
    """Sells, and notes what was ordered."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.orders: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, _data: object) -> Daemon:
        return self

    def post_json(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        self.orders.append((path, order))
        return self.answer


def add(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, *options: str) -> Result:
    monkeypatch.setattr(top_up, "ControlClient", daemon)
    return CliRunner().invoke(top_up.topup, ["add", "a/b", "extra", *options])


def test_an_order_with_a_key_is_sent_with_that_key(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(bought())
    add(monkeypatch, daemon, "--key", "payment 7")
    assert daemon.orders == [("/v1/top-ups/a%2Fb", {"offer": "extra", "key": "payment 7", "charge": None})]


def test_each_order_without_a_key_is_a_purchase_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(bought())
    for _ in range(2):
        add(monkeypatch, daemon)
    keys = [order["key"] for _, order in daemon.orders]
    assert len(set(keys)) == 2
    assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (bought(), "a/b: bought extra, 1.0 GB for 7 d 00 h\n"),
        (bought("boost", 0, 2), "a/b: bought extra, another speed for 2 h 00 min\n"),
        (bought("hours", 0, 5), "a/b: bought extra, no cap for 5 h 00 min\n"),
        ({**bought(), "ends_at": None}, "a/b: bought extra, 1.0 GB until they are used\n"),
    ],
)
def test_a_purchase_is_told_with_what_it_gives_and_for_how_long(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], said: str
) -> None:
    assert add(monkeypatch, Daemon(answer)).output == said


def test_json_is_the_answer_of_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(add(monkeypatch, Daemon(bought()), "--json").output) == bought()


def test_only_octets_have_amounts_in_the_list() -> None:
    def row(item: dict[str, Any]) -> list[str]:
        return [column.cell(item, NOW + timedelta(minutes=2)) for column in TOP_UP_COLUMNS]

    assert row(bought()) == [
        "extra", "octets", "250.0 MB", "1.0 GB", "2 min ago", "in 6 d 23 h", "3.00", "none", "operator",
    ]  # fmt: skip
    assert row(bought("boost", 0, 2))[1:4] == ["boost", "", ""]
    assert row({**bought(), "ends_at": None})[5] == "never"
