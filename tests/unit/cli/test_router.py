"""What `caudal router check` shows of a daemon's answer."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import router
from cli.errors import CommandError


class Daemon:
    """Answers what it was given, and notes what was asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, object]] = []

    def __call__(self, _data: object) -> Daemon:
        return self

    def get(self, path: str, parameters: object = None) -> dict[str, Any]:
        self.asked.append((path, parameters))
        return self.answer


def remark(level: str, correct: str | None = None) -> dict[str, Any]:
    return {"check": "clock", "level": level, "text": "as it is", "correct": correct}


def ask(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *arguments: str) -> tuple[Result, Daemon]:
    daemon = Daemon(answer)
    monkeypatch.setattr(router, "ControlClient", daemon)
    command = router.check if arguments[0] == "check" else router.script
    return CliRunner().invoke(command, list(arguments[1:])), daemon


def test_a_line_for_each_remark_with_what_corrects_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"router": "a/b", "remarks": [remark("ok"), remark("unknown"), remark("warning", "/system reboot")]}
    result, daemon = ask(monkeypatch, answer, "check", "a/b")
    assert daemon.asked == [("/v1/routers/a%2Fb/check", None)]
    assert result.output.splitlines() == [
        "ok       clock  as it is",
        "?        clock  as it is",
        "warning  clock  as it is  ->  /system reboot",
    ]


@pytest.mark.parametrize(("levels", "words"), [(["warning"], "one thing is"), (["error", "warning"], "2 things are")])
def test_what_is_wrong_fails_the_command(monkeypatch: pytest.MonkeyPatch, levels: list[str], words: str) -> None:
    result, _ = ask(monkeypatch, {"router": "a", "remarks": [remark(level) for level in levels]}, "check", "a")
    assert isinstance(result.exception, CommandError)
    assert str(result.exception).startswith(f"{words} to be corrected on a")


def test_nothing_wrong_is_success(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = ask(monkeypatch, {"router": "a", "remarks": [remark("ok"), remark("unknown")]}, "check", "a")
    assert result.exit_code == 0


def test_secrets_are_asked_for_only_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"router": "a", "lines": ["# one", "/two"]}
    plain, daemon = ask(monkeypatch, answer, "script", "a")
    assert plain.output == "# one\n/two\n"
    assert daemon.asked == [("/v1/routers/a/script", {"secrets": "false", "server": None})]
    _, daemon = ask(monkeypatch, answer, "script", "a", "--secrets", "--server", "192.0.2.1")
    assert daemon.asked == [("/v1/routers/a/script", {"secrets": "true", "server": "192.0.2.1"})]
