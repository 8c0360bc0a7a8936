"""What `caudal explain` shows of a daemon's answer, in both languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import explain
from cli.explain import rates, refusal, standing
from enforcement.reconcile import Problem, Proof
from enforcement.terms import Refusal

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


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


def line(**changed: object) -> dict[str, Any]:
    """Return a session's line, proven a minute and a half before noon."""
    at = (NOW - timedelta(seconds=90)).isoformat()
    return {
        "session_id": 7,
        "router": "tower",
        "is_proven": True,
        "proven_by": "coa",
        "proven_at": at,
        "desired_since": at,
        "problem": None,
        "overshoot_octets": None,
        **changed,
    }


def answer(**changed: object) -> dict[str, Any]:
    """Return an explanation of a line that has its plan."""
    return {
        "service": "ana.garcia",
        "plan": "Fibre 300",
        "sale": "active",
        "admitted": True,
        "refusal": None,
        "walled": False,
        "download_bits_per_second": 300_000_000,
        "upload_bits_per_second": None,
        "burst": None,
        "address_list": None,
        "overage_octets": 0,
        "rules": [{"rule": "plan", "text": "Plan Fibre 300."}, {"rule": "top_up", "text": "More.\x1b[2J"}],
        "prospects": ["At noon: more."],
        "sessions": [],
        **changed,
    }


def ask(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], lang: str = "C") -> tuple[Result, Daemon]:
    daemon = Daemon(given)
    monkeypatch.setattr(explain, "ControlClient", daemon)
    monkeypatch.setenv("LC_ALL", lang)
    return CliRunner().invoke(explain.explain, ["a/b"]), daemon


def test_it_shows_what_holds_the_rules_what_would_change_it_and_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    result, daemon = ask(monkeypatch, answer())
    assert daemon.asked == [("/v1/explain/a%2Fb", {"language": "en"})]
    assert result.output.splitlines() == [
        "service  ana.garcia",
        "plan     Fibre 300",
        "now      let in",
        "rates    300 Mbit/s down, unlimited up",
        "",
        "  1  plan    Plan Fibre 300.",
        "  2  top_up  More.�[2J",
        "",
        "what would change it",
        "     At noon: more.",
        "",
        "sessions  none is open",
    ]


def test_a_spanish_terminal_is_answered_in_spanish(monkeypatch: pytest.MonkeyPatch) -> None:
    burst = {"download_bits_per_second": 7_500_000, "upload_bits_per_second": None, "seconds": 8}
    result, daemon = ask(monkeypatch, answer(burst=burst, overage_octets=1_500, address_list="fibra"), "es_ES.UTF-8")
    assert daemon.asked[0][1] == {"language": "es"}
    assert result.output.splitlines() == [
        "servicio              ana.garcia",
        "plan                  Fibre 300",
        "ahora                 admitida",
        "velocidad             300 Mbit/s de bajada, sin límite de subida",
        "ráfaga                7.500 kbit/s de bajada, sin límite de subida, 8 s",
        "lista de direcciones  fibra",
        "exceso                1,5 kB",
        "",
        "  1  plan    Plan Fibre 300.",
        "  2  top_up  More.�[2J",
        "",
        "qué lo cambiaría",
        "     At noon: more.",
        "",
        "sesiones  ninguna abierta",
    ]


def test_a_plan_that_nothing_changes_has_no_empty_part(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = ask(monkeypatch, answer(prospects=[], sessions=[line(router=None)]))
    assert "what would change it" not in result.output
    assert "\n\n\n" not in result.output
    assert "session 7  on a router that is gone: proven by CoA " in result.output


@pytest.mark.parametrize(
    ("code", "ruled", "order"),
    [
        ("blocked", ["plan", "blocked"], "unblock"),
        ("no_balance", ["plan", "prepaid"], "unblock"),
        ("blocked", ["plan", "override"], "release"),
        ("blocked", ["plan", "override", "blocked"], "unblock"),
        ("no_balance", ["plan", "override", "prepaid"], "unblock"),
    ],
)
def test_who_is_kept_out_by_an_order_is_shown_the_one_that_lets_it_in(
    monkeypatch: pytest.MonkeyPatch, code: str, ruled: list[str], order: str
) -> None:
    applied = [{"rule": rule, "text": "x"} for rule in ruled]
    result, _ = ask(monkeypatch, answer(admitted=False, refusal=code, rules=applied, prospects=[]))
    assert f"     An order lets it in again: caudal line {order} ana.garcia\n" in result.output
    assert "rates" not in result.output


@pytest.mark.parametrize(
    ("sale", "way"),
    [
        ("pending", "caudal subscription list"),
        ("paused", "caudal subscription resume ana.garcia"),
        ("stopped", "caudal subscription start CUSTOMER PLAN --service ana.garcia"),
    ],
)
def test_a_line_that_is_not_sold_today_says_so_and_what_sells_it_again(
    monkeypatch: pytest.MonkeyPatch, sale: str, way: str
) -> None:
    rules = [{"rule": "blocked", "text": "x"}]
    result, _ = ask(monkeypatch, answer(admitted=False, refusal="blocked", sale=sale, rules=rules, prospects=[]))
    assert f"sale     {sale}\n" in result.output
    assert way in result.output
    assert "payment" not in result.output
    rules.append({"rule": "override", "text": "x"})
    result, _ = ask(monkeypatch, answer(admitted=False, refusal="blocked", sale=sale, rules=rules, prospects=[]))
    assert "caudal line unblock ana.garcia" in result.output


@pytest.mark.parametrize("code", ["cap", "fup", "hours", "disabled", "expired"])
def test_what_no_order_of_this_kind_ends_names_none(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    result, _ = ask(monkeypatch, answer(admitted=False, refusal=code))
    assert "An order" not in result.output
    assert f"now      not let in: {refusal(code)}\n" in result.output


def test_the_walled_garden_is_named_with_its_reason_and_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = ask(monkeypatch, answer(walled=True, refusal="no_balance"))
    assert "now      walled garden: no balance\n" in result.output
    assert "rates    300 Mbit/s down" in result.output


@pytest.mark.parametrize("spoken", ["en", "es"])
def test_every_reason_and_every_proof_has_its_words(spoken: str) -> None:
    assert all("_" not in refusal(each.value, spoken) for each in Refusal)
    shown = [standing(line(proven_by=proof.value), NOW, spoken) for proof in Proof]
    assert len(set(shown)) == len(Proof)
    assert all("_" not in each for each in shown)


@pytest.mark.parametrize(
    ("changed", "english", "spanish"),
    [
        ({}, "proven by CoA 1 min ago", "probada por CoA hace 1 min"),
        ({"proven_by": "login"}, "proven by login 1 min ago", "probada por el inicio de sesión hace 1 min"),
        ({"is_proven": False}, "not proven for 1 min: under way", "sin probar desde hace 1 min: en curso"),
        (
            {"is_proven": False, "problem": Problem.NO_ANSWER.value},
            "not proven for 1 min: no_answer",
            "sin probar desde hace 1 min: no_answer",
        ),
    ],
)
def test_a_line_is_told_with_its_proof_or_its_problem(changed: dict[str, object], english: str, spanish: str) -> None:
    assert standing(line(**changed), NOW) == english
    assert standing(line(**changed), NOW, "es") == spanish


def test_how_far_a_threshold_was_overshot_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = ask(monkeypatch, answer(sessions=[line(overshoot_octets=3_811_883)]))
    assert result.output.endswith("; overshot the last threshold by 3.8 MB\n")
    result, _ = ask(monkeypatch, answer(sessions=[line(overshoot_octets=3_811_883)]), "es_ES")
    assert result.output.endswith("; rebasó el último umbral en 3,8 MB\n")
    result, _ = ask(monkeypatch, answer(sessions=[line()]))
    assert "overshot" not in result.output


def test_rates_are_exact() -> None:
    assert rates(512_000, 20_000_000) == "512 kbit/s down, 20 Mbit/s up"
    assert rates(1_500_000, None) == "1,500 kbit/s down, unlimited up"
    assert rates(1_500_000, None, "es") == "1.500 kbit/s de bajada, sin límite de subida"
