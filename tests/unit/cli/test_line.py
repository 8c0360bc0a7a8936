"""What `caudal line` asks of the daemon, and what it says of the answer."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import line
from cli.line import LINE_COLUMNS

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Daemon:
    """Answers orders, and notes them."""

    def __init__(self, **verdict: object) -> None:
        self.answer: dict[str, Any] = {
            "service": "a/b",
            "admitted": True,
            "refusal": None,
            "walled": False,
            "download_bits_per_second": 20_000_000,
            "upload_bits_per_second": None,
            **verdict,
        }
        self.orders: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, _data: object) -> Daemon:
        return self

    def post_json(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        self.orders.append((path, order))
        return self.answer


def order(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, *arguments: str) -> Result:
    monkeypatch.setattr(line, "ControlClient", daemon)
    return CliRunner().invoke(line.line, arguments)


@pytest.mark.parametrize(
    ("arguments", "path", "sent"),
    [
        (["block", "a/b"], "/v1/accounts/a%2Fb", {"state": "blocked"}),
        (["block", "a/b", "--no-balance"], "/v1/accounts/a%2Fb", {"state": "no_balance"}),
        (["unblock", "a/b"], "/v1/accounts/a%2Fb", {"state": "active"}),
        (["release", "a/b"], "/v1/releases/a%2Fb", {}),
    ],
)
def test_an_order_is_sent_as_the_api_reads_it(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], path: str, sent: dict[str, str]
) -> None:
    daemon = Daemon()
    result = order(monkeypatch, daemon, *arguments)
    assert daemon.orders == [(path, sent)]
    assert result.output == "a/b: 20 Mbit/s down, unlimited up\n"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"admitted": False, "refusal": "blocked"}, "a/b: not let in (blocked)\n"),
        ({"admitted": False, "refusal": "hours"}, "a/b: not let in (outside the allowed hours)\n"),
        (
            {"walled": True, "refusal": "no_balance"},
            "a/b: walled garden (no balance), 20 Mbit/s down, unlimited up\n",
        ),
    ],
)
def test_the_answer_says_what_the_line_may_do_now(
    monkeypatch: pytest.MonkeyPatch, verdict: dict[str, object], said: str
) -> None:
    assert order(monkeypatch, Daemon(**verdict), "block", "a/b").output == said


def test_an_override_says_who_gave_it_for_how_long_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carmen")
    daemon = Daemon()
    order(monkeypatch, daemon, "override", "ana", "--download", "5M", "--hours", "1.5", "--reason", "line test")
    assert daemon.orders == [
        (
            "/v1/overrides/ana",
            {
                "download_bits_per_second": 5_000_000,
                "upload_bits_per_second": None,
                "percent": None,
                "hours": 1.5,
                "operator": "carmen",
                "reason": "line test",
            },
        )
    ]


def test_an_operator_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    daemon = Daemon()
    assert order(monkeypatch, daemon, "override", "ana", "--percent", "50", "--reason", "x").exit_code == 0
    assert daemon.orders[0][1]["operator"] == "uid 4711"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --percent, or --download and --upload or one of them"),
        (["--percent", "50", "--upload", "5M"], "give --percent, or"),
        (["--percent", "0"], "0 is not in the range"),
        (["--download", "5Q"], 'must be a rate in bit/s such as "20M"'),
        (["--percent", "50", "--hours", "0"], "--hours"),
        (["--percent", "50", "--hours", "9000"], "--hours"),
    ],
)
def test_a_mistaken_override_is_not_sent(monkeypatch: pytest.MonkeyPatch, options: list[str], message: str) -> None:
    daemon = Daemon()
    result = order(monkeypatch, daemon, "override", "ana", "--reason", "x", *options)
    assert (result.exit_code, daemon.orders) == (2, [])
    assert message in result.output


def test_an_override_wants_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--reason" in order(monkeypatch, Daemon(), "override", "ana", "--percent", "50").output


@pytest.mark.parametrize(("octets", "shown"), [(None, ""), (0, "0 B"), (3_811_883, "3.8 MB")])
def test_how_far_a_cap_was_overshot_is_shown(octets: int | None, shown: str) -> None:
    column = next(column for column in LINE_COLUMNS if column.title == "OVERSHOT")
    assert column.cell({"overshoot_octets": octets}, NOW) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(None, ""), (-13, "now"), (0, "now"), (90, "in 1 min")])
def test_the_next_attempt_is_told_until_it_is_due(seconds: int | None, shown: str) -> None:
    column = next(column for column in LINE_COLUMNS if column.title == "NEXT")
    instant = None if seconds is None else (NOW + timedelta(seconds=seconds)).isoformat()
    assert column.cell({"next_attempt_at": instant}, NOW) == shown
