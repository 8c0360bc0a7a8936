"""The control API, over a real socket and a real database."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.client import ControlClient
from cli.errors import DaemonError
from cli.main import run
from control.api import create
from control.errors import ServerError
from control.server import ControlServer
from storage.database import create_engine
from storage.usage import usage as stored_usage
from tests.integration.control_daemon import Daemon
from tests.integration.small_isp import STARTED, AskedUsage, data_directory, fill, ports, serving


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a data directory that the command finds."""
    with data_directory(monkeypatch) as directory:
        yield directory


@pytest.fixture
def usage() -> AskedUsage:
    """Lend a usage port."""
    return AskedUsage()


@pytest.fixture
def daemon(engine: Engine, data: Path, usage: AskedUsage) -> Iterator[Daemon]:
    """Lend a running control server over a database with a small ISP."""
    fill(engine)
    with serving(engine, data, usage) as served:
        yield served


@pytest.fixture
def client(daemon: Daemon) -> ControlClient:
    """Lend a client."""
    return ControlClient(daemon.data)


def test_status_tells_listeners_workers_and_open_sessions(client: ControlClient) -> None:
    answer = client.get("/v1/status")
    assert (answer["version"], answer["open_sessions"]) == ("1.2.3", 4)
    assert answer["listeners"][0] == {"purpose": "authentication", "address": "127.0.0.1", "port": 1812}
    assert answer["workers"][1] == {"number": 2, "pid": None, "state": "away"}


def test_the_socket_belongs_to_its_user_alone(daemon: Daemon) -> None:
    assert stat.S_IMODE((daemon.data / "control.sock").stat().st_mode) == 0o600


def test_stopping_removes_the_socket(engine: Engine, data: Path, usage: AskedUsage) -> None:
    with serving(engine, data, usage):
        assert (data / "control.sock").is_socket()
    assert not (data / "control.sock").exists()


def test_a_socket_that_a_dead_daemon_left_is_replaced(engine: Engine, data: Path, usage: AskedUsage) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(data / "control.sock"))
    with serving(engine, data, usage):
        assert ControlClient(data).get("/v1/status")["version"] == "1.2.3"


def test_a_socket_that_answers_is_not_taken_away(daemon: Daemon, engine: Engine, usage: AskedUsage) -> None:
    second = Daemon(ports(engine, daemon.data, usage), daemon.data)
    with pytest.raises(ServerError, match="another daemon answers"):
        second.start()
    assert ControlClient(daemon.data).get("/v1/status")["version"] == "1.2.3"


def test_a_data_directory_may_be_deeper_than_a_socket_path(engine: Engine, data: Path, usage: AskedUsage) -> None:
    deep = data / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)
    with serving(engine, deep, usage):
        assert ControlClient(deep).get("/v1/status")["version"] == "1.2.3"


def test_a_socket_elsewhere_is_found_by_its_second_name(engine: Engine, data: Path, usage: AskedUsage) -> None:
    (data / "run").mkdir()

    async def serve() -> None:
        server = ControlServer(
            create(ports(engine, data, usage)), data / "run/api.sock", known_as=data / "control.sock"
        )
        await server.start()
        answer = await asyncio.to_thread(ControlClient(data).get, "/v1/status")
        assert answer["version"] == "1.2.3"
        await server.stop()

    asyncio.run(serve())
    assert list(data.glob("*.sock")) == []


def test_routers_are_listed_by_name_without_secrets(client: ControlClient) -> None:
    answer = client.get("/v1/routers")
    assert [(router["name"], router["address"]) for router in answer["items"]] == [
        ("tower-north", "10.0.0.1"),
        ("tower-south", "10.0.1.0/24"),
    ]
    assert answer["items"][0]["api"] == {"user": "caudal", "port": None, "tls": None}
    assert answer["items"][0]["open_sessions"] == 4
    assert "sealed" not in json.dumps(answer)


def test_pools_tell_how_full_they_are(client: ControlClient) -> None:
    homes, prefixes = client.get("/v1/pools")["items"]
    assert (homes["size"], homes["leased"], homes["routers"]) == (256, 1, ["tower-north"])
    assert (prefixes["size"], prefixes["leased"]) == (256, 0)
    assert (homes["static"], prefixes["static"]) == (1, 0)


def test_plans_name_their_pools(client: ControlClient) -> None:
    assert client.get("/v1/plans/home-20")["pool"] == "homes"
    assert client.get("/v1/plans/free")["download_bits_per_second"] is None


def test_a_plan_and_its_services_are_shown_with_their_rules(client: ControlClient, engine: Engine) -> None:
    rules = {"cap": {"octets": "500G", "action": "block"}, "priority": 3}
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE plan SET rules = CAST(:rules AS jsonb) WHERE name = 'home-20'"), {"rules": json.dumps(rules)}
        )
        connection.execute(
            text("UPDATE service SET account_state = 'blocked', period_day = 7 WHERE login = 'ana@example'")
        )
    shown = client.get("/v1/plans/home-20")["rules"]
    assert (shown["priority"], shown["cap"]["octets"], shown["cap"]["warn_percents"]) == (3, "500G", [80, 100])
    service = client.get("/v1/services/ana@example")
    assert (service["account_state"], service["period_day"], service["rules"]) == ("blocked", 7, shown)
    assert client.get("/v1/plans/free")["rules"] == {}


def test_a_router_is_shown_with_what_it_is_asked_to_do(client: ControlClient) -> None:
    router = client.get("/v1/routers/tower-north")
    assert (router["queues"], router["repair_drift"], router["api_accounting"]) == ("none", True, False)
    assert (router["coa_per_second"], router["api_fingerprint"]) == (None, None)


def test_customers_count_their_services(client: ControlClient) -> None:
    assert client.get("/v1/customers/ana")["services"] == 1


def test_services_are_filtered_by_plan_customer_and_prefix(client: ControlClient) -> None:
    def logins(**filters: str) -> list[str]:
        return [item["login"] for item in client.get("/v1/services", filters)["items"]]

    assert logins() == ["AA:BB:CC:DD:EE:FF", "ana@example", "bob@example", "cpe/7 ñ"]
    assert logins(plan="home-20") == ["ana@example", "bob@example"]
    assert logins(customer="bob") == ["bob@example"]
    assert logins(login_prefix="cpe/") == ["cpe/7 ñ"]
    assert logins(login_prefix="%") == []
    assert logins(login_prefix="aabb.ccdd.eeff") == ["AA:BB:CC:DD:EE:FF"]


def test_a_service_is_shown_by_any_notation_of_its_mac_and_any_sign_in_its_login(client: ControlClient) -> None:
    assert client.get("/v1/services/aabb.ccdd.eeff")["login"] == "AA:BB:CC:DD:EE:FF"
    assert client.get("/v1/services/cpe%2F7%20%C3%B1")["login"] == "cpe/7 ñ"


def test_pages_of_services_join_without_gap_or_repeat(client: ControlClient) -> None:
    pages = list(client.pages("/v1/services", {}, None))
    small = [client.get("/v1/services", {"limit": 1})]
    while small[-1]["next"]:
        small.append(client.get("/v1/services", {"limit": 1, "after": small[-1]["next"]}))
    assert [page["items"][0] for page in small] == pages[0][0]


def test_sessions_are_listed_newest_first_and_open_ones_alone_by_default(client: ControlClient) -> None:
    assert [item["id"] for item in client.get("/v1/sessions")["items"]] == [7, 5, 3, 1]
    assert [item["id"] for item in client.get("/v1/sessions", {"show": "all"})["items"]] == [7, 6, 5, 4, 3, 2, 1]


def test_pages_of_sessions_that_started_together_join_without_gap_or_repeat(client: ControlClient) -> None:
    seen: list[int] = []
    after: str | None = None
    while True:
        answer = client.get("/v1/sessions", {"show": "all", "limit": 1, "after": after})
        seen += [item["id"] for item in answer["items"]]
        after = answer["next"]
        if after is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_sessions_are_filtered_by_login_router_and_start(client: ControlClient) -> None:
    def ids(**filters: object) -> list[int]:
        return [item["id"] for item in client.get("/v1/sessions", {"show": "all", **filters})["items"]]

    assert ids(login="ana@example") == [3, 2, 1]
    assert ids(router="tower-south") == []
    assert ids(router="tower-north", since=(STARTED + timedelta(minutes=4)).isoformat()) == [7, 6, 5, 4]


def test_a_session_has_the_documented_fields_and_exact_octets(client: ControlClient) -> None:
    item = client.get("/v1/sessions/2")
    assert item["octets_up"], item["octets_down"] == (2_000, 2_000_000)
    assert (item["state"], item["terminate_cause"], item["router"]) == ("stopped", "User-Request", "tower-north")
    assert item["started_at"] == "2026-01-31T12:02:00Z"
    assert item["ipv6"] == [
        {"attribute": "Framed-IPv6-Prefix", "value": "2001:db8::/64"},
        {"attribute": "Framed-IPv6-Address", "value": "2001:db8::1"},
        {"attribute": "Delegated-IPv6-Prefix", "value": "ff"},
    ]


def test_refusals_are_filtered_by_login_reason_and_time(client: ControlClient) -> None:
    def reasons(**filters: str) -> list[str]:
        return [item["reason"] for item in client.get("/v1/logins", filters)["items"]]

    assert reasons() == ["wrong_mac", "unknown_user", "wrong_password"]
    assert reasons(login="ana@example") == ["wrong_mac", "wrong_password"]
    assert reasons(reason="unknown_user") == ["unknown_user"]
    assert reasons(since="2026-01-31T12:02:00Z") == ["wrong_mac"]


def test_quarantined_records_are_shown_whole(client: ControlClient) -> None:
    (item,) = client.get("/v1/quarantine")["items"]
    assert (item["octets"], item["datagram"], item["router"]) == (2, "0405", "tower-north")


def test_usage_is_asked_in_the_local_time_of_the_isp(client: ControlClient, usage: AskedUsage) -> None:
    answer = client.get("/v1/usage/ana@example", {"by": "day", "from": "2026-03-28", "to": "2026-03-29"})
    (asked,) = usage.asked
    assert asked[:2] == ("ana@example", "day")
    # The clocks in Madrid went forward on the 29th, so its midnight is at 23:00 UTC and the next at 22:00 UTC.
    assert asked[2:4] == (datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    assert (answer["octets_up"], answer["octets_down"], len(answer["rows"])) == (1, 2, 1)


def test_usage_comes_from_the_roll_ups(engine: Engine, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO usage_hour VALUES (1, '2026-01-31T12:00Z', 0, 1000, 3000000000)"))
    with serving(engine, data, stored_usage):
        assert run(["usage", "ana@example", "--by", "hour", "--from", "2026-01-31", "--to", "2026-01-31"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ana@example, 2026-01-31 00:00 to 2026-02-01 00:00 (Europe/Madrid), by hour"
    assert lines[3].startswith("Sat 31 Jan 13:00  3.0 GB  1.0 kB  █")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/services/nobody", 404, "not_found"),
        ("/v1/sessions/99", 404, "not_found"),
        ("/v1/sessions/0", 400, "bad_request"),
        ("/v1/sessions/9223372036854775808", 400, "bad_request"),
        ("/v1/sessions?limit=0", 400, "bad_request"),
        ("/v1/sessions?after=yesterday", 400, "bad_request"),
        ("/v1/sessions?after=99999999999999999999-1", 400, "bad_request"),
        ("/v1/sessions?since=2026-01-31", 400, "bad_request"),
        ("/v1/sessions?login=%00", 400, "bad_request"),
        ("/v1/services/a%00b", 400, "bad_request"),
        ("/v1/usage/ana@example?by=week", 400, "bad_request"),
        ("/v1/usage/ana@example?from=tomorrow", 400, "bad_request"),
        ("/v1/usage/ana@example?from=2026-02-01&to=2026-01-01", 400, "bad_request"),
        ("/v1/usage/ana@example?by=hour&from=2020-01-01&to=2026-01-01", 400, "bad_request"),
        ("/v1/usage/nobody", 404, "not_found"),
        ("/v1/services?plan=nosuch", 404, "not_found"),
        ("/v1/services?customer=nosuch", 404, "not_found"),
        ("/v1/sessions?router=nosuch", 404, "not_found"),
        ("/v1/lines?router=nosuch", 404, "not_found"),
        ("/v2/status", 404, "not_found"),
    ],
)
def test_a_mistake_of_the_caller_has_the_one_shape(client: ControlClient, path: str, status: int, code: str) -> None:
    answer = raw(client, path)
    assert answer[0] == status
    error = answer[1]["error"]
    assert error["code"] == code
    assert error["message"]
    assert set(error) == {"code", "message", "hint", "problems"}


def raw(client: ControlClient, path: str) -> tuple[int, Any]:
    """Return the status and the object at `path`."""
    from cli.client import UnixConnection

    connection = UnixConnection(client._path, 10)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = json.load(response)
    connection.close()
    return response.status, answer


def test_an_absent_database_is_one_sentence_and_status_still_answers(data: Path, usage: AskedUsage) -> None:
    away = create_engine(f"postgresql://nobody@/nothing?host={data}")
    with serving(away, data, usage):
        client = ControlClient(data)
        assert raw(client, "/v1/routers")[0] == 503
        assert client.get("/v1/status")["database"] == "away"
        with pytest.raises(DaemonError, match="cannot reach its database"):
            client.get("/v1/routers")


def test_openapi_documents_every_route(client: ControlClient) -> None:
    document = client.get("/openapi.json")
    assert "/v1/sessions/watch" in document["paths"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path


def test_watch_begins_with_a_snapshot_and_tells_each_change_once(client: ControlClient, engine: Engine) -> None:
    events = client.lines("/v1/sessions/watch")
    first = next(events)
    assert (first["event"], [item["id"] for item in first["sessions"]]) == ("snapshot", [7, 5, 3, 1])
    with engine.begin() as connection:
        connection.execute(text("UPDATE session SET heard_at = now(), octets_up = 9, version = 2 WHERE id = 5"))
    second, third = next(events), next(events)
    assert [(item["id"], item["octets_up"]) for item in second["sessions"]] == [(5, 9)]
    assert third["sessions"] == []


def test_stopping_ends_a_watch_at_once(engine: Engine, data: Path, usage: AskedUsage) -> None:
    with serving(engine, data, usage):
        events = ControlClient(data).lines("/v1/sessions/watch")
        next(events)
        began = datetime.now(UTC)
    assert list(events) == []
    assert datetime.now(UTC) - began < timedelta(seconds=1)
