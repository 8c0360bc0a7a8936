"""What a line may do, orders about it and top-ups, through the control API and the command, on a real database."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from structlog.testing import capture_logs

from cli.client import ControlClient, segment
from cli.errors import DaemonError
from domain.plan_rules import TopUpKind
from enforcement.reconcile import Problem
from storage.snapshot import Snapshot
from tests.integration.capped_isp import MEGABYTE, Isp, serving
from tests.integration.control_daemon import Outcome, command


@pytest.fixture
def isp(engine: sqlalchemy.Engine, database_dsn: str) -> Isp:
    """Lend an ISP."""
    return Isp(engine, database_dsn)


@pytest.fixture
def client(isp: Isp, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlClient]:
    """Lend a client of a control server over the ISP."""
    with tempfile.TemporaryDirectory(prefix="caudal-enforcement-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)
        monkeypatch.setenv("LANG", "C")
        for variable in ("LC_ALL", "LC_MESSAGES"):
            monkeypatch.delenv(variable, raising=False)
        with serving(isp.ports(Path(name)), Path(name)):
            yield ControlClient(Path(name))


@pytest.fixture
def caudal(client: ControlClient, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Lend the command."""
    assert client.get("/v1/lines")["items"] == []
    return command(capsys)


Command = Callable[..., Outcome]


def rules(answer: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in answer["rules"]]


def rates(answer: dict[str, Any]) -> tuple[int | None, int | None]:
    return answer["download_bits_per_second"], answer["upload_bits_per_second"]


def test_a_line_within_its_cap_has_its_plan_and_what_would_change_it(isp: Isp, client: ControlClient) -> None:
    isp.use(4 * MEGABYTE)
    answer = client.get("/v1/explain/ana")
    assert (answer["admitted"], answer["refusal"], rates(answer)) == (True, None, (20_000_000, 5_000_000))
    assert (answer["plan"], answer["timezone"], rules(answer)) == ("capped", "UTC", ["plan"])
    assert answer["burst"] == {
        "download_bits_per_second": 30_000_000,
        "upload_bits_per_second": 7_500_000,
        "seconds": 8,
    }
    assert (answer["octets_left"], answer["left_direction"]) == (4 * MEGABYTE, "both")
    assert answer["prospects"][0] == "After 4 MB more up and down: 80 % of the cap."


def test_a_crossed_cap_is_explained_with_its_numbers(isp: Isp, client: ControlClient) -> None:
    isp.use(11 * MEGABYTE)
    answer = client.get("/v1/explain/ana")
    assert (rates(answer), rules(answer), answer["warnings"]) == ((1_000_000, 500_000), ["plan", "cap"], [80, 100])
    numbers = answer["rules"][-1]["numbers"]
    assert (numbers["used_octets"], numbers["limit_octets"]) == (11 * MEGABYTE, 10 * MEGABYTE)
    assert answer["rules"][-1]["text"].startswith("Cap: 11 MB of 10 MB in the month; 1 Mbit/s down, 500 kbit/s up")


def test_sentences_come_in_spanish_when_asked_for(isp: Isp, client: ControlClient) -> None:
    isp.use(11 * MEGABYTE)
    answer = client.get("/v1/explain/ana", {"language": "es"})
    assert answer["rules"][-1]["text"].startswith("Tope: 11 MB de 10 MB en el mes; 1 Mbit/s de bajada")
    with pytest.raises(DaemonError, match="language"):
        client.get("/v1/explain/ana", {"language": "fr"})


def test_the_command_explains_in_the_language_of_the_terminal(
    isp: Isp, caudal: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    isp.use(11 * MEGABYTE)
    isp.open_session(1)
    isp.line(1, proven=True)
    english = caudal("explain", "ana").out
    assert "service  ana\n" in english
    assert "rates    1 Mbit/s down, 500 kbit/s up\n" in english
    assert "  2  cap   Cap: 11 MB of 10 MB in the month;" in english
    assert "what would change it\n" in english
    assert "session 1  on north: proven by read-back 1 min ago\n" in english
    monkeypatch.setenv("LANG", "es_ES.UTF-8")
    spanish = caudal("explain", "ana").out
    assert "servicio   ana\n" in spanish
    assert "velocidad  1 Mbit/s de bajada, 500 kbit/s de subida\n" in spanish
    assert "  2  cap   Tope: 11 MB de 10 MB en el mes;" in spanish
    assert "qué lo cambiaría\n" in spanish
    assert "sesión 1  en north: probada por la lectura hace 1 min\n" in spanish


def test_the_command_writes_the_whole_explanation_as_json(isp: Isp, caudal: Command, client: ControlClient) -> None:
    isp.open_session(1)
    assert caudal("explain", "ana", "--json").json == client.get("/v1/explain/ana")


@pytest.mark.parametrize(
    ("written", "login"),
    [("cpe/7 ñ", "cpe/7 ñ"), ("aabb.ccdd.eeff", "AA:BB:CC:DD:EE:FF"), ("AA-BB-CC-DD-EE-FF", "AA:BB:CC:DD:EE:FF")],
)
def test_a_login_may_have_a_slash_or_be_a_mac_in_any_notation(
    isp: Isp, caudal: Command, client: ControlClient, written: str, login: str
) -> None:
    path = segment(written)
    assert client.get(f"/v1/explain/{path}")["service"] == login
    assert caudal("line", "block", written).out == f"{login}: not let in (blocked)\n"
    assert caudal("line", "unblock", written).out == f"{login}: 20 Mbit/s down, 5 Mbit/s up\n"
    assert caudal("line", "override", written, "--percent", "50", "--reason", "test").status == 0
    assert caudal("line", "release", written).status == 0
    assert caudal("topup", "add", written, "more").out == f"{login}: bought more, 5.0 MB for 7 d 00 h\n"
    assert caudal("topup", "list", written, "--json").json[0]["service"] == login
    assert len(set(isp.told())) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "nobody"),
        ("line", "block", "nobody"),
        ("line", "unblock", "nobody"),
        ("line", "override", "nobody", "--percent", "50", "--reason", "test"),
        ("line", "release", "nobody"),
        ("topup", "add", "nobody", "more"),
        ("topup", "list", "nobody"),
    ],
    ids=" ".join,
)
def test_an_unknown_service_is_one_line_that_says_where_to_look(caudal: Command, arguments: tuple[str, ...]) -> None:
    outcome = caudal(*arguments)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "caudal: there is no service 'nobody'; see `caudal service list`\n"


def test_a_plan_that_the_core_does_not_know_yet_is_worth_another_try(isp: Isp, caudal: Command) -> None:
    isp.snapshot = Snapshot.empty()
    outcome = caudal("explain", "ana")
    assert (outcome.status, outcome.err) == (
        1, "caudal: the plan of ana is not in force yet; try again in a second\n",
    )  # fmt: skip


def test_a_block_takes_effect_in_the_transaction_that_tells_of_it(isp: Isp, caudal: Command) -> None:
    assert caudal("line", "block", "ana").out == "ana: not let in (blocked)\n"
    assert isp.told() == [1]
    assert caudal("line", "block", "ana", "--no-balance").out == "ana: not let in (no balance)\n"
    assert isp.told() == [1]
    assert caudal("line", "block", "ana", "--no-balance").status == 0
    assert isp.told() == [], "an order that changes nothing tells nothing"
    assert caudal("line", "unblock", "ana").out == "ana: 20 Mbit/s down, 5 Mbit/s up\n"
    assert isp.told() == [1]


def test_a_walled_garden_is_told_with_its_reason(isp: Isp, caudal: Command) -> None:
    garden = {"policy": "walled-garden", "address_list": "unpaid", "download": 64_000, "upload": 64_000}
    isp.do("UPDATE isp SET blocking = CAST(:garden AS jsonb)", garden=json.dumps(garden))
    isp.snapshot = isp.read()
    assert caudal("line", "block", "bob").out == "bob: walled garden (blocked), 64 kbit/s down, 64 kbit/s up\n"
    shown = caudal("explain", "bob").out
    assert "now           walled garden: blocked\n" in shown
    assert "address list  unpaid\n" in shown


def test_a_blocked_line_shows_the_order_that_lets_it_in_again(isp: Isp, caudal: Command) -> None:
    caudal("line", "block", "cpe/7 ñ")
    shown = caudal("explain", "cpe/7 ñ").out
    assert "now      not let in: blocked\n" in shown
    assert "rates" not in shown
    assert "     An order lets it in again: caudal line unblock 'cpe/7 ñ'\n" in shown
    assert "more up and down" not in shown, "who is not let in uses nothing"
    assert shown.endswith("\nsessions  none is open\n")


def test_a_session_that_was_just_blocked_is_not_called_proven(isp: Isp, client: ControlClient) -> None:
    isp.open_session(1)
    (session,) = client.get("/v1/explain/ana")["sessions"]
    assert (session["is_proven"], session["proven_by"], session["router"]) == (True, "login", "north")
    client.post_json("/v1/accounts/ana", {"state": "blocked"})
    (session,) = client.get("/v1/explain/ana")["sessions"]
    assert (session["is_proven"], session["proven_by"], session["problem"]) == (False, None, None)


def test_an_unknown_account_state_is_refused(client: ControlClient) -> None:
    with pytest.raises(DaemonError, match="state: Input should be 'active', 'blocked' or 'no_balance'"):
        client.post_json("/v1/accounts/ana", {"state": "bankrupt"})


def test_an_override_is_a_percentage_of_the_plan_or_rates(isp: Isp, caudal: Command) -> None:
    def override(*options: str) -> str:
        return caudal("line", "override", "ana", "--reason", "line test", *options).out

    assert override("--percent", "50") == "ana: 10 Mbit/s down, 2,500 kbit/s up\n"
    assert override("--download", "8M") == "ana: 8 Mbit/s down, 5 Mbit/s up\n"
    assert override("--download", "8M", "--upload", "512k") == "ana: 8 Mbit/s down, 512 kbit/s up\n"
    assert isp.told() == [1, 1, 1]


@pytest.mark.parametrize(
    "options", [[], ["--percent", "50", "--download", "5M"], ["--percent", "50", "--upload", "5M"]]
)
def test_an_override_that_is_both_or_neither_is_a_mistake_of_the_command_line(
    isp: Isp, caudal: Command, options: list[str]
) -> None:
    outcome = caudal("line", "override", "ana", "--reason", "test", *options)
    assert outcome.status == 2
    assert "give --percent, or --download and --upload or one of them" in outcome.err
    assert isp.told() == []


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({}, "an override is a percentage or rates; give `percent`, or one rate or both"),
        ({"percent": 50, "upload_bits_per_second": 1}, "an override is a percentage or rates"),
        ({"percent": 0}, "percent"),
        ({"download_bits_per_second": 0}, "download_bits_per_second"),
        ({"percent": 50, "hours": 0}, "hours"),
        ({"percent": 50, "reason": ""}, "reason"),
        ({"percent": 50, "reason": "a\0b"}, "a text holds a NUL character; leave it away"),
        ({"percent": 50, "operator": "\0"}, "a text holds a NUL character"),
    ],
)
def test_the_api_refuses_an_override_that_says_nothing_or_too_much(
    isp: Isp, client: ControlClient, order: dict[str, object], message: str
) -> None:
    with pytest.raises(DaemonError, match=message) as caught:
        client.post_json("/v1/overrides/ana", {"operator": "carmen", "reason": "test", **order})
    assert caught.value.code == "bad_request"
    assert isp.told() == []


def test_an_override_is_shown_with_who_ordered_it_until_when_and_why(
    isp: Isp, caudal: Command, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "carmen")
    caudal("line", "override", "ana", "--percent", "10", "--hours", "2", "--reason", "line test")
    answer = client.get("/v1/explain/ana")
    until = isp.now + timedelta(hours=2)
    assert rules(answer) == ["plan", "override"]
    assert answer["rules"][-1]["name"] == "carmen"
    assert answer["rules"][-1]["numbers"]["reason"] == "line test"
    assert datetime.fromisoformat(answer["valid_until"]) == until
    isp.now = until
    assert rules(client.get("/v1/explain/ana")) == ["plan"], "it ends by itself"


def test_a_stricter_cap_goes_before_an_override(isp: Isp, caudal: Command) -> None:
    isp.use(11 * MEGABYTE)
    outcome = caudal("line", "override", "ana", "--percent", "100", "--reason", "test")
    assert outcome.out == "ana: 1 Mbit/s down, 500 kbit/s up\n"


def test_an_override_is_released_once(isp: Isp, caudal: Command) -> None:
    caudal("line", "override", "ana", "--percent", "50", "--reason", "test")
    assert caudal("line", "release", "ana").out == "ana: 20 Mbit/s down, 5 Mbit/s up\n"
    assert isp.told() == [1, 1]
    again = caudal("line", "release", "ana")
    assert (again.status, again.out) == (1, "")
    assert again.err == "caudal: ana has no override; see `caudal explain` for what its line may do\n"
    assert isp.told() == []


def test_a_top_up_makes_a_slow_line_fast_and_tells_so(isp: Isp, caudal: Command, client: ControlClient) -> None:
    isp.use(11 * MEGABYTE)
    assert caudal("topup", "add", "ana", "more").out == "ana: bought more, 5.0 MB for 7 d 00 h\n"
    assert isp.told() == [1]
    answer = client.get("/v1/explain/ana")
    assert (rates(answer), rules(answer)) == ((20_000_000, 5_000_000), ["plan", "top_up"])


def test_a_top_up_of_a_cap_that_counts_for_ever_holds_until_it_is_used(
    isp: Isp, caudal: Command, client: ControlClient
) -> None:
    rules = {"cap": {"octets": "10M", "period": "ever"}, "top_up": [{"name": "more", "octets": "5M"}]}
    isp.do("UPDATE plan SET rules = CAST(:rules AS jsonb) WHERE name = 'capped'", rules=json.dumps(rules))
    isp.do("UPDATE configuration_revision SET revision = revision + 1")
    isp.snapshot = isp.read()
    isp.use(12 * MEGABYTE)
    cap = client.get("/v1/explain/ana")["rules"][-1]
    assert cap["text"] == "Cap: 12 MB of 10 MB in all; not served until further notice."
    assert caudal("topup", "add", "ana", "more").out == "ana: bought more, 5.0 MB until they are used\n"
    more = client.get("/v1/explain/ana")["rules"][-1]
    assert more["text"] == "Top-up more: 3 MB of 5 MB left until further notice."
    (item,) = client.get("/v1/top-ups/ana")["items"]
    assert (item["ends_at"], item["octets_left"]) == (None, 3 * MEGABYTE)
    assert "never" in caudal("topup", "list", "ana").out


def test_a_purchase_is_told_to_the_log_once(caudal: Command) -> None:
    with capture_logs() as logs:
        for key in ("payment 7", "payment 7", "payment 8"):
            caudal("topup", "add", "ana", "more", "--key", key)
        caudal("topup", "add", "ana", "huge")
    told = {"event": "top-up bought", "log_level": "info", "login": "ana", "top_up": "more", "origin": "operator"}
    assert logs == [{**told, "latency_ms": 0.0}] * 2


def test_an_order_with_the_same_key_is_the_same_purchase(isp: Isp, caudal: Command) -> None:
    first = caudal("topup", "add", "ana", "more", "--key", "payment 7", "--json").json
    assert caudal("topup", "add", "ana", "more", "--key", "payment 7", "--json").json == first
    assert (isp.bought(), isp.told()) == (1, [1])
    assert caudal("topup", "add", "ana", "more", "--json").json["id"] != first["id"]
    assert isp.bought() == 2


def test_an_old_purchase_is_found_by_its_key_however_many_came_after_it(isp: Isp, client: ControlClient) -> None:
    first = client.post_json("/v1/top-ups/ana", {"offer": "more", "key": "first"})
    isp.do(
        """INSERT INTO top_up (service_id, name, kind, bought_at, begins_at, ends_at, octets, before_plan, price,
            origin, idempotency_key)
        SELECT 1, 'more', 'octets', :now, :now, :now, 1, false, 0, 'operator', 'later ' || number
        FROM generate_series(1, 150) AS number""",
        now=isp.now,
    )
    assert client.post_json("/v1/top-ups/ana", {"offer": "more", "key": "first"})["id"] == first["id"]


@pytest.mark.parametrize(("service", "offer"), [("ana", "turbo"), ("cpe/7 ñ", "more")])
def test_a_key_that_belongs_to_another_purchase_is_refused(
    isp: Isp, caudal: Command, client: ControlClient, service: str, offer: str
) -> None:
    caudal("topup", "add", "ana", "more", "--key", "payment 7")
    with pytest.raises(DaemonError, match="the key 'payment 7' belongs to another purchase") as caught:
        client.post_json(f"/v1/top-ups/{segment(service)}", {"offer": offer, "key": "payment 7"})
    assert caught.value.code == "key_reused"
    assert isp.bought() == 1


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("ana", "the plan capped offers no top-up 'huge'; it offers more, turbo, evening"),
        ("bob", "the plan plain offers no top-up 'huge'; it offers none"),
    ],
)
def test_an_offer_that_the_plan_does_not_have_is_refused_with_those_it_has(
    isp: Isp, caudal: Command, service: str, message: str
) -> None:
    outcome = caudal("topup", "add", service, "huge")
    assert (outcome.status, outcome.err) == (1, f"caudal: {message}\n")
    assert isp.bought() == 0


def test_a_key_that_the_database_cannot_hold_is_refused(client: ControlClient) -> None:
    with pytest.raises(DaemonError, match="a text holds a NUL character"):
        client.post_json("/v1/top-ups/ana", {"offer": "more", "key": "a\0"})


@pytest.mark.parametrize(
    ("offer", "kind", "said"),
    [("turbo", TopUpKind.BOOST, "another speed for 2 h 00 min"), ("evening", TopUpKind.HOURS, "no cap for 5 h 00 min")],
)
def test_speed_and_hours_are_sold_too(
    isp: Isp, caudal: Command, client: ControlClient, offer: str, kind: TopUpKind, said: str
) -> None:
    assert caudal("topup", "add", "ana", offer).out == f"ana: bought {offer}, {said}\n"
    (row,) = client.get("/v1/top-ups/ana")["items"]
    assert (row["kind"], row["octets"], row["octets_left"]) == (kind.value, 0, 0)
    shown = caudal("topup", "list", "ana").out.splitlines()
    assert shown[0].split() == ["NAME", "KIND", "LEFT", "OF", "BOUGHT", "ENDS", "PRICE", "CHARGE", "ORIGIN"]
    assert shown[1].startswith(f"{offer}  {kind.value} ")
    assert isp.told() == [1]


def test_top_ups_are_listed_newest_first_with_what_is_left_of_them_now(isp: Isp, client: ControlClient) -> None:
    for key in ("one", "two"):
        client.post_json("/v1/top-ups/ana", {"offer": "more", "key": key})
    isp.use(12 * MEGABYTE)
    newest, first = client.get("/v1/top-ups/ana")["items"]
    assert first["id"] < newest["id"]
    assert (first["octets_left"], newest["octets_left"]) == (3 * MEGABYTE, 5 * MEGABYTE)
    isp.now += timedelta(days=8)
    assert [item["octets_left"] for item in client.get("/v1/top-ups/ana")["items"]] == [0, 0], "what ended is lost"


def test_a_service_without_top_ups_has_an_empty_list(isp: Isp, caudal: Command) -> None:
    assert caudal("topup", "list", "bob", "--json").json == []
    assert caudal("topup", "list", "bob").err == "nothing to show\n"


def test_lines_tell_whether_they_are_proven_and_why_not(isp: Isp, caudal: Command, client: ControlClient) -> None:
    for number in (1, 2, 3):
        isp.open_session(number)
    isp.line(1, proven=True)
    isp.line(2, proven=False, problem=Problem.NO_ANSWER)
    isp.line(3, proven=False)
    first, second, third = client.get("/v1/lines")["items"]
    assert (first["session_id"], first["is_proven"], first["proven_by"]) == (1, True, "read_back")
    assert (second["is_proven"], second["problem"], second["attempts"]) == (False, "no_answer", 2)
    assert (third["is_proven"], third["problem"], third["login"], third["router"]) == (False, None, "ana", "north")
    shown = caudal("line", "list", "--unproven").out.splitlines()
    assert [line.split("  ")[0] for line in shown] == ["LOGIN", "ana", "ana"]
    assert "not proven for 3 min: no_answer" in shown[1]
    assert "not proven for 3 min: under way" in shown[2]


def test_lines_are_listed_of_one_router(isp: Isp, client: ControlClient) -> None:
    isp.open_session(1)
    isp.open_session(2, router=2)
    isp.line(1, proven=True)
    isp.line(2, proven=False, router=2)
    assert [item["session_id"] for item in client.get("/v1/lines", {"router": "south"})["items"]] == [2]
    assert client.get("/v1/lines", {"router": "north", "unproven": "true"})["items"] == []
    with pytest.raises(DaemonError, match="there is no router 'west'"):
        client.get("/v1/lines", {"router": "west"})


@pytest.mark.parametrize(("unproven", "expected"), [("false", [2, 4, 6, 1, 3, 5]), ("true", [2, 6, 1, 5])])
def test_pages_of_lines_join_without_gap_or_repeat(
    isp: Isp, client: ControlClient, unproven: str, expected: list[int]
) -> None:
    for number in range(1, 7):
        router = 1 + number % 2
        isp.open_session(number, router=router)
        isp.line(number, proven=number in (3, 4), router=router)
    seen: list[int] = []
    after: str | None = None
    while True:
        answer = client.get("/v1/lines", {"limit": 1, "after": after, "unproven": unproven})
        seen += [item["session_id"] for item in answer["items"]]
        after = answer["next"]
        if after is None:
            break
    assert seen == expected


def test_the_command_shows_as_many_lines_as_asked_for_and_says_when_there_are_more(isp: Isp, caudal: Command) -> None:
    for number in (1, 2, 3):
        isp.open_session(number)
        isp.line(number, proven=True)
    some = caudal("line", "list", "--limit", "2")
    assert (len(some.out.splitlines()), some.err) == (3, "2 shown, there are more: --all shows everything\n")
    assert [line["session_id"] for line in caudal("line", "list", "--all", "--json").json] == [1, 2, 3]


@pytest.mark.parametrize("after", ["", "7", "1-", "-1", "a-b", "1-2-3", "2147483648-1", "1-9223372036854775808"])
def test_a_cursor_that_no_page_has_given_is_refused(client: ControlClient, after: str) -> None:
    with pytest.raises(DaemonError, match="is no cursor; give `next` of the page before"):
        client.get("/v1/lines", {"after": after})
