"""The control API and the command, over a real socket and a real database."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.client import ControlClient
from cli.errors import CommandError, DaemonError
from cli.main import run
from control.api import create
from control.errors import ServerError
from control.ports import ControlPorts, Listener, RuntimeStatus, UsageQuestion, UsageReport, Worker
from control.server import ControlServer
from storage.database import create_engine
from storage.snapshot import Snapshot
from storage.usage import usage as stored_usage
from storage.vault import Vault
from tests.integration.control_daemon import Daemon, Outcome, at_once, command, running

STARTED = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Hour:
    """A row of usage."""

    start: datetime
    octets_up: int
    octets_down: int


@dataclass(frozen=True)
class Report:
    """Usage as the port gives it."""

    octets_up: int
    octets_down: int
    rows: tuple[Hour, ...]


class AskedUsage:
    """Remembers what was asked, and answers one row."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __call__(
        self, engine: Engine, service_login: str, by: str, start: datetime, end: datetime, timezone: str
    ) -> UsageReport:
        self.asked.append((service_login, by, start, end, timezone))
        return Report(1, 2, (Hour(start, 1, 2),))


def ports(engine: Engine, data: Path, usage: UsageQuestion) -> ControlPorts:
    """Return the ports over a database."""
    runtime = RuntimeStatus(
        version="1.2.3",
        started_at=STARTED,
        uptime_seconds=60,
        database="ready",
        listeners=(Listener("authentication", "127.0.0.1", 1812), Listener("control", str(data), None)),
        workers=(Worker(1, 4242, "running"), Worker(2, None, "away")),
    )
    vault = Vault.open_directory(data)
    return ControlPorts(engine, vault, lambda: runtime, at_once, usage, lambda: datetime.now(UTC), Snapshot.empty)


@contextmanager
def serving(engine: Engine, data: Path, usage: UsageQuestion) -> Iterator[Daemon]:
    """Run a control server."""
    with running(ports(engine, data, usage), data) as daemon:
        yield daemon


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a data directory that the command finds."""
    with tempfile.TemporaryDirectory(prefix="caudal-control-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)
        yield Path(name)


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


@pytest.fixture
def caudal(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Lend the command."""

    return command(capsys)


def fill(engine: Engine) -> None:
    """Write a small ISP with sessions."""
    with engine.begin() as connection:
        connection.execute(text(_ISP))
        connection.execute(text(_SESSIONS), [session(number) for number in range(1, 8)])


def session(number: int) -> dict[str, object]:
    """Return the values of a session: odd ones are open; two start at the same instant."""
    open_ = number % 2 == 1
    started = STARTED + timedelta(minutes=number - number // 6)
    return {
        "id": number,
        "acct": f"8{number:07x}",
        "login": "ana@example" if number < 4 else "bob@example",
        "state": 0 if open_ else 1,
        "started": started,
        "stopped": None if open_ else started + timedelta(minutes=5),
        "cause": None if open_ else "User-Request",
        "up": number * 1_000,
        "down": number * 1_000_000,
    }


_ISP = """
INSERT INTO router (name, address, secret, profile, require_message_authenticator, flip_counters, api_user,
                    api_password)
VALUES ('tower-north', '10.0.0.1', 'sealed-secret', 'mikrotik', 'auto', false, 'caudal', 'sealed-password'),
       ('tower-south', '10.0.1.0/24', 'sealed-secret', 'generic', 'always', true, NULL, NULL);
INSERT INTO pool (name, kind, first_address, last_address, prefix_length, router_ids, lease_seconds)
VALUES ('homes', 'ipv4', '100.64.0.0', '100.64.0.255', 32, '{1}', 3600),
       ('prefixes', 'delegated-prefix', '2001:db8::', '2001:db8:0:ffff:ffff:ffff:ffff:ffff', 56, '{}', NULL);
INSERT INTO plan (name, kind, download_bits_per_second, upload_bits_per_second, pool_id, interim_seconds, simultaneous)
VALUES ('home-20', 'internet', 20000000, 10000000, 1, 300, 1), ('free', 'internet', NULL, NULL, NULL, 600, NULL);
INSERT INTO customer (login, name, email) VALUES ('ana', 'Ana Ruiz', 'ana@example.net'), ('bob', 'Bob', NULL);
INSERT INTO service (login, secret, plan_id, customer_id, address, macs, router_ids, enabled, expires_at, attributes,
                     reply_octets)
SELECT login, 'sealed-secret', plan, customer, address::inet, '{}', '{}', true, NULL, '[["Filter-Id", "gold"]]', ''
FROM (VALUES ('ana@example', 1, 1, '100.64.9.9'), ('bob@example', 1, 2, NULL), ('cpe/7 ñ', 2, NULL, '100.64.0.77'),
             ('AA:BB:CC:DD:EE:FF', 2, NULL, NULL)) AS given (login, plan, customer, address);
INSERT INTO lease VALUES (1, '100.64.0.1', 1, 'AA', now(), now() + interval '1 hour'),
                         (1, '100.64.0.2', 1, 'BB', now(), now() - interval '1 hour');
INSERT INTO refusal (refused_at, login, service_id, router_id, mac, reason, method, attempts)
VALUES ('2026-01-31T12:00Z', 'ana@example', 1, 1, NULL, 'wrong_password', 'pap', 3),
       ('2026-01-31T12:01Z', 'nobody', NULL, 1, NULL, 'unknown_user', 'chap', 1),
       ('2026-01-31T12:02Z', 'ana@example', 1, 2, 'AA:BB:CC:DD:EE:FF', 'wrong_mac', 'pap', 1);
INSERT INTO quarantine (received_at, router_id, reason, datagram)
VALUES ('2026-01-31T12:00Z', 1, 'no_session_id', '\\x0405');
"""

_SESSIONS = """
INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, mac, address, ipv6,
                     state, started_at, updated_at, heard_at, stopped_at, terminate_cause, session_seconds, octets_up,
                     octets_down, base_up, base_down, gigawords)
VALUES (:id, 1, '', :acct, 0, 1, 1, :login, 'AA:BB:CC:DD:EE:FF', '100.64.0.1',
        '[[97, "004020010db800000000"], [168, "20010db8000000000000000000000001"], [123, "ff"]]',
        :state, :started, :started, :started, :stopped, :cause, 300, :up, :down, 0, 0, true)
"""


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


APPLIED = """
[[router]]
name = "new"
address = "10.9.0.1"
secret = "a-long-shared-secret"
"""


def test_apply_tells_what_it_changed_and_changes_nothing_when_repeated(
    caudal: Callable[..., Outcome], data: Path, engine: Engine
) -> None:
    file = data / "isp.toml"
    file.write_text(APPLIED)
    dry = caudal("apply", str(file), "--dry-run", "--json").json
    assert (dry["dry_run"], dry["changes"][0]["name"]) == (True, "new")
    assert count(engine, "router") == 2
    assert "created" in caudal("apply", str(file)).out
    assert count(engine, "router") == 3
    assert caudal("apply", str(file), "--json").json["changes"] == []


def test_apply_lists_every_mistake_by_line(caudal: Callable[..., Outcome], data: Path, engine: Engine) -> None:
    file = data / "isp.toml"
    file.write_text(APPLIED + 'colour = "red"\ncoa_port = 99999\n')
    outcome = caudal("apply", str(file))
    assert outcome.status == 1
    assert f"{file}:6:" in outcome.err
    assert f"{file}:7:" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("caudal: ")
    assert count(engine, "router") == 2


def test_apply_tells_its_mistakes_to_a_program_too(caudal: Callable[..., Outcome], data: Path) -> None:
    file = data / "isp.toml"
    file.write_text(APPLIED + 'colour = "red"\ncoa_port = 99999\n')
    outcome = caudal("apply", str(file), "--json")
    assert outcome.status == 1
    error = outcome.json["error"]
    assert error["code"] == "mistakes"
    assert [(problem["file"], problem["line"]) for problem in error["problems"]] == [(str(file), 6), (str(file), 7)]
    assert all(problem["message"] for problem in error["problems"])
    assert outcome.err == f"caudal: {error['message']}\n"


def count(engine: Engine, table: str) -> int:
    """Count the rows of a table."""
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_session_list_as_json_has_what_integrators_were_promised(caudal: Callable[..., Outcome]) -> None:
    items = caudal("session", "list", "--past", "--json").json
    assert len(items) == 7
    promised = {
        "id", "login", "router", "acct_session_id", "address", "mac", "started_at", "updated_at", "stopped_at",
        "terminate_cause", "octets_up", "octets_down",
    }  # fmt: skip
    assert promised <= set(items[0])


def test_tables_are_aligned(caudal: Callable[..., Outcome]) -> None:
    lines = caudal("session", "list").out.splitlines()
    assert lines[0].startswith("LOGIN        ADDRESS     ROUTER")
    assert {line.index("100.64.0.1") for line in lines[1:]} == {lines[0].index("ADDRESS")}


def test_a_listing_that_goes_on_says_so(caudal: Callable[..., Outcome]) -> None:
    outcome = caudal("service", "list", "--limit", "2")
    assert len(outcome.out.splitlines()) == 3
    assert "--all" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("router", "list"),
        ("router", "show", "tower-north"),
        ("pool", "list"),
        ("pool", "show", "homes"),
        ("plan", "list"),
        ("plan", "show", "home-20"),
        ("customer", "list"),
        ("customer", "show", "ana"),
        ("service", "list"),
        ("service", "show", "ana@example"),
        ("service", "show", "cpe/7 ñ"),
        ("session", "list"),
        ("session", "show", "2"),
        ("session", "watch", "--once"),
        ("usage", "ana@example"),
        ("login", "list"),
        ("quarantine", "list"),
    ],
)
def test_every_question_is_answered_for_people_and_for_programs(
    caudal: Callable[..., Outcome], arguments: tuple[str, ...]
) -> None:
    people = caudal(*arguments)
    assert (people.status, people.out != "") == (0, True), people.err
    programs = caudal(*arguments, "--json")
    assert programs.status == 0
    assert programs.json
    assert "sealed" not in people.out + programs.out


def test_data_may_stand_before_and_after_the_command(
    caudal: Callable[..., Outcome], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAUDAL_DATA")
    for arguments in (
        ("--data", str(data), "session", "list"),
        ("session", "--data", str(data), "list"),
        ("session", "list", "--data", str(data)),
        ("--data", "/nowhere", "session", "list", "--data", str(data)),
    ):
        assert caudal(*arguments).status == 0, arguments


def test_without_a_daemon_the_socket_that_was_tried_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["session", "list"]) == 1
    error = capsys.readouterr().err
    assert str(data / "control.sock") in error
    assert "caudal serve" in error
    assert len(error.splitlines()) == 1


def test_a_daemon_that_breaks_off_is_one_sentence(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "control.sock"))
        listener.listen()

        def hang_up() -> None:
            accepted, _ = listener.accept()
            accepted.recv(1000)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            accepted.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(CommandError, match="broke off"):
            ControlClient(data).get("/v1/status")
        thread.join()


def test_names_are_completed_from_the_daemon(
    caudal: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_CAUDAL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "caudal service show a")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert caudal().out.split() == ["plain,ana@example"]


def test_completion_without_a_daemon_is_silent(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_CAUDAL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "caudal service show a")
    monkeypatch.setenv("COMP_CWORD", "3")
    run([])
    captured = capsys.readouterr()
    assert (captured.out.strip(), captured.err) == ("", "")


@pytest.mark.parametrize("arguments", [["list", "--json"], ["list"], ["watch", "--json"]])
def test_a_reader_that_goes_away_ends_the_command_without_a_word(daemon: Daemon, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "from cli.main import main; main()", "session", *arguments]
    outcome = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writing)
    assert (outcome.returncode, outcome.stderr) == (1, b"")


HEADER = "login,password,plan,address\n"


def test_import_takes_all_rows_and_is_idempotent(caudal: Callable[..., Outcome], data: Path, engine: Engine) -> None:
    seal(engine, data)
    rows = "".join(f"line-{number},secret,free,\n" for number in range(3000))
    file = write(data / "services.csv", HEADER + rows)
    assert caudal("import", "services", str(file), "--json").json == {"created": 3000, "updated": 0, "unchanged": 0}
    assert count(engine, "service") == 3004
    assert caudal("import", "services", str(file)).out == "0 created, 0 updated, 3,000 unchanged\n"


def test_import_takes_nothing_and_lists_bad_rows_by_line(
    caudal: Callable[..., Outcome], data: Path, engine: Engine
) -> None:
    rows = "good,secret,free,\nbad,secret,gold,\nworse,secret,free,10.0.0.999\n"
    file = write(data / "services.csv", HEADER + rows)
    outcome = caudal("import", "services", str(file))
    assert outcome.status == 1
    assert [line.split(": ")[0] for line in outcome.err.splitlines()] == [f"{file}:3", f"{file}:4", "caudal"]
    assert count(engine, "service") == 4


def test_import_refuses_what_is_not_utf_8_by_its_line(caudal: Callable[..., Outcome], data: Path) -> None:
    file = data / "services.csv"
    file.write_bytes(HEADER.encode() + b"good,secret,free,\nb\xf1,secret,free,\n")
    assert f"{file}:3: is not UTF-8" in caudal("import", "services", str(file)).err


def test_an_import_whose_client_goes_away_leaves_nothing(daemon: Daemon, engine: Engine) -> None:
    gone = threading.Event()

    def rows() -> Iterator[bytes]:
        yield HEADER.encode()
        yield b"".join(f"line-{number},secret,free,\n".encode() for number in range(20_000))
        gone.wait(30)

    events = ControlClient(daemon.data).upload("/v1/import/services", rows(), "text/csv")
    assert isinstance(events, Generator)
    assert next(events)["event"] == "progress"
    events.close()
    gone.set()
    # The import holds the lock of every writer until it has ended, one way or the other.
    with engine.begin() as connection:
        connection.execute(text("SELECT revision FROM configuration_revision FOR UPDATE"))
    assert count(engine, "service") == 4


def test_export_goes_to_a_file_of_its_owner_alone_and_applies_without_a_change(
    caudal: Callable[..., Outcome], data: Path, engine: Engine
) -> None:
    seal(engine, data)
    file = data / "exported.toml"
    assert caudal("export", "--secrets", "-o", str(file)).status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "open-secret" in file.read_text()
    assert "open-secret" not in caudal("export").out
    assert caudal("apply", str(file)).status == 0
    assert "0 created, 0 updated" in caudal("apply", str(file)).out


def test_an_export_whose_secrets_cannot_be_opened_leaves_no_file(caudal: Callable[..., Outcome], data: Path) -> None:
    outcome = caudal("export", "--secrets", "-o", str(data / "exported.toml"))
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert list(data.glob("*exported*")) == []


def seal(engine: Engine, data: Path) -> None:
    """Give every secret of the small ISP a value that the daemon's vault opens."""
    vault = Vault.open_directory(data)
    with engine.begin() as connection:
        for name in ("tower-north", "tower-south"):
            sealed = vault.seal(b"open-secret-of-a-router", f"router:{name}".encode())
            password = vault.seal(b"open-secret-of-an-api", f"api:{name}".encode())
            connection.execute(
                text(
                    "UPDATE router SET secret = :sealed, api_password = CASE WHEN api_user IS NOT NULL THEN "
                    "CAST(:password AS bytea) END WHERE name = :name"
                ),
                {"name": name, "sealed": sealed, "password": password},
            )
        for (login,) in connection.execute(text("SELECT login FROM service")).all():
            sealed = vault.seal(bytes(32) + b"open-secret", f"service:{login}".encode())
            connection.execute(
                text("UPDATE service SET secret = :sealed WHERE login = :login"), {"login": login, "sealed": sealed}
            )


def write(file: Path, content: str) -> Path:
    """Write a file and return it."""
    file.write_text(content)
    return file
