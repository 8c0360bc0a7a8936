"""Traffic that is told apart: from the record that names its class to what counts, on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import text

from config import plan_rules
from daemon.requests import AccountingRequest
from domain.instants import SECOND_US, Microseconds, to_datetime
from domain.network import Plan, PlanId
from domain.plan_rules import Blocking
from enforcement.admission import Seats
from enforcement.entitlement import Refusal, entitle
from enforcement.polled_accounting import PolledRecord, accounting_request
from radius.class_token import build
from radius.codes import AcctStatus, Type
from radius.packet import Packet, attribute, decode
from storage import admissions, standings
from storage.rollup import roll_up
from storage.usage import usage
from tests.integration.metered import BEGIN_US, CLASS_KEY, Told, add_service, record, request, rows, settle

ZONE = ZoneInfo("Europe/Madrid")
NOW = to_datetime(BEGIN_US) + timedelta(hours=1)
RULES = {
    "cap": {"octets": 10_000, "action": "block"},
    "class": [
        {"name": "gold", "counts": True, "class": "gold"},
        {"name": "cache", "counts": False, "class": "cache"},
        {"name": "local", "counts": False, "queue": "{login} local"},
        {"name": "peering", "counts": False, "interface_list": "IX"},
    ],
}
TOLD_APART = json.dumps(RULES)
ONLY_CAPPED = json.dumps({"cap": RULES["cap"]})


def interim(session: str, octets: int, *class_values: bytes, seconds: int = 60, port: int = 1) -> AccountingRequest:
    """Return a record of so many octets in each direction."""
    return record(Told(), AcctStatus.INTERIM, session, seconds, octets, port, class_values)


def start(session: str, seconds: int, *class_values: bytes, port: int = 1) -> AccountingRequest:
    """Return a Start."""
    return record(Told(), AcctStatus.START, session, seconds, port=port, class_values=class_values)


def polled(source: str, octets: int, port: str) -> Packet:
    """Return what is read of a router's API about a line of ana's."""
    event_us = Microseconds(BEGIN_US + 60 * SECOND_US)
    return accounting_request(
        PolledRecord(AcctStatus.INTERIM, f"api-{source}-*1-1", "ana", "", "", port, 60, octets, octets, event_us)
    )


def marked(packet: Packet, *class_values: bytes) -> Packet:
    """Return `packet` with these values of Class."""
    more = b"".join(attribute(Type.CLASS, value) for value in class_values)
    size = len(packet.octets) + len(more)
    return decode(packet.octets[:2] + size.to_bytes(2) + packet.octets[4:] + more)


def refusal(engine: sqlalchemy.Engine, service_id: int, rules: str) -> Refusal | None:
    """Return why the line of the service may not be used now."""
    read = plan_rules.load(json.loads(rules))
    with engine.begin() as connection:
        plan_id = connection.scalar(text("SELECT plan_id FROM service WHERE id = :id"), {"id": service_id})
        plan = Plan(PlanId(plan_id or 0), "p", None, None, None, None, None, None, None, 300, None, read)
        loaded = standings.load(connection, [service_id], {plan.id: plan}, ZONE, NOW)[service_id]
    return entitle(plan, read, Blocking(), loaded.standing, ZONE, NOW).refusal


def facts(dsn: str) -> list[tuple[int, int]]:
    """Return (class, octets up) of all facts, added up by class."""
    return rows(dsn, "SELECT traffic_class, sum(octets_up)::bigint FROM usage_fact GROUP BY 1 ORDER BY 1")


def classes(dsn: str) -> list[tuple[str, int]]:
    """Return (Acct-Session-Id, class) of all sessions."""
    return rows(dsn, "SELECT acct_session_id, traffic_class FROM session ORDER BY id")


def open_ids(dsn: str) -> list[str]:
    """Return the Acct-Session-Id of the sessions that are open."""
    return [name for (name,) in rows(dsn, "SELECT acct_session_id FROM session WHERE state = 0 ORDER BY id")]


@pytest.mark.parametrize("rolled", [False, True])
def test_class_that_does_not_count_never_reaches_the_cap_and_one_that_counts_does(
    database_dsn: str, engine: sqlalchemy.Engine, rolled: bool
) -> None:
    service_id = add_service(database_dsn, TOLD_APART)
    settle(database_dsn, [interim("cache", 50_000, b"cache"), interim("main", 1_000), interim("gold", 3_999, b"gold")])
    if rolled:
        roll_up(engine, ZONE)
    assert facts(database_dsn) == [(0, 1_000), (1, 3_999), (2, 50_000)]
    assert refusal(engine, service_id, TOLD_APART) is None
    settle(database_dsn, [interim("gold", 4_000, b"gold", seconds=120)])
    if rolled:
        roll_up(engine, ZONE)
    assert refusal(engine, service_id, TOLD_APART) is Refusal.CAP
    for by in ("total", "hour", "day"):
        shown = usage(engine, "ana", by, NOW - timedelta(hours=2), NOW, "Europe/Madrid")
        assert (shown.octets_up, shown.octets_down) == (55_000, 55_000)


def test_plan_without_classes_tells_nothing_apart(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    service_id = add_service(database_dsn, ONLY_CAPPED)
    settle(database_dsn, [interim("one", 5_000, b"cache")])
    assert classes(database_dsn) == [("one", 0)]
    assert facts(database_dsn) == [(0, 5_000)]
    assert refusal(engine, service_id, ONLY_CAPPED) is Refusal.CAP


def test_class_stays_with_its_session_whoever_goes_on_counting_it_and_whatever_it_says(database_dsn: str) -> None:
    """Each batch goes through a lane of its own, which knows of the session what its row says."""
    add_service(database_dsn, TOLD_APART)
    settle(
        database_dsn,
        [start("one", 0, b"cache")],
        [interim("one", 1_000)],
        [interim("one", 2_000, b"gold", seconds=120)],
    )
    settle(database_dsn, [interim("one", 3_000, seconds=180)])
    settle(database_dsn, [record(Told(), AcctStatus.STOP, "one", 240, 4_000)])
    assert classes(database_dsn) == [("one", 2)]
    assert facts(database_dsn) == [(2, 4_000)]


def test_acct_session_id_that_is_used_again_is_of_the_class_of_its_new_session(database_dsn: str) -> None:
    add_service(database_dsn, TOLD_APART)
    settle(database_dsn, [interim("one", 1_000, b"cache")], [start("one", 3_600, b"gold")])
    assert classes(database_dsn) == [("one", 2), ("one", 1)]


def test_foreign_class_is_found_beside_ours(database_dsn: str) -> None:
    service_id = add_service(database_dsn, TOLD_APART)
    ours = build(CLASS_KEY, service_id, bytes(8))
    settle(database_dsn, [interim("one", 1_000, ours, b"cache"), interim("two", 1_000, b"cache", ours, port=2)])
    assert rows(database_dsn, "SELECT traffic_class, service_id FROM session") == [(2, service_id)] * 2
    assert rows(database_dsn, "SELECT class_token FROM session")[0][0].tobytes() == ours


def test_class_of_another_service_than_the_name_says_is_not_taken_from_its_plan(database_dsn: str) -> None:
    add_service(database_dsn, TOLD_APART)
    other = add_service(database_dsn, ONLY_CAPPED, "eva")
    settle(database_dsn, [interim("one", 1_000, build(CLASS_KEY, other, bytes(8)), b"cache")])
    assert rows(database_dsn, "SELECT traffic_class, service_id FROM session") == [(0, other)]


def test_line_that_is_polled_is_of_the_class_of_its_queue_or_interface_list(database_dsn: str) -> None:
    add_service(database_dsn, TOLD_APART)
    packets = [
        polled("queue", 1_000, "ana local"),
        marked(polled("ppp", 2_000, "<pppoe-ana>"), b"LAN", b"IX"),
        marked(polled("hotspot", 4_000, "hotspot"), b"LAN", b"cache"),
    ]
    settle(database_dsn, [request(Told(), packet, 60) for packet in packets])
    assert [number for _, number in classes(database_dsn)] == [3, 4, 0]
    assert facts(database_dsn) == [(0, 4_000), (3, 1_000), (4, 2_000)]


def test_port_that_radius_names_like_a_queue_is_no_queue(database_dsn: str) -> None:
    """What an access node writes into the port's name may come from the subscriber."""
    add_service(database_dsn, TOLD_APART)
    requests = [interim("one", 1_000, b"IX"), request(Told(), renamed(polled("queue", 1_000, "ana local")), 60)]
    settle(database_dsn, requests)
    assert [number for _, number in classes(database_dsn)] == [0, 0]


def renamed(packet: Packet) -> Packet:
    """Return a record as if RADIUS had told it."""
    return decode(packet.octets.replace(b"api-queue", b"81-queue-"))


@pytest.mark.parametrize("together", [False, True])
def test_sessions_that_count_classes_of_one_line_are_open_beside_each_other(database_dsn: str, together: bool) -> None:
    add_service(database_dsn, TOLD_APART)
    first = [start("main", 0), start("cache", 1, b"cache"), start("gold", 2, b"gold")]
    settle(database_dsn, *([first] if together else [[each] for each in first]))
    assert open_ids(database_dsn) == ["main", "cache", "gold"]
    second = [start("main 2", 60), start("cache 2", 61, b"cache")]
    settle(database_dsn, *([second] if together else [[each] for each in second]))
    assert open_ids(database_dsn) == ["gold", "main 2", "cache 2"]
    assert rows(database_dsn, "SELECT DISTINCT terminate_cause FROM session WHERE state <> 0") == [("Superseded",)]


def test_new_session_of_a_class_supersedes_the_older_one_of_its_batch(database_dsn: str) -> None:
    add_service(database_dsn, TOLD_APART)
    settle(database_dsn, [start("main", 0), start("cache", 1, b"cache"), start("cache 2", 60, b"cache")])
    assert open_ids(database_dsn) == ["main", "cache 2"]


def seats_taken(dsn: str, service_id: int, most: int = 10) -> int:
    """Return how many places the open sessions of the service take, as another client finds them."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(admissions.PREPARED["login_occupancy"])
        cursor.execute(f"EXECUTE login_occupancy('{{{service_id}}}', 0)")
        found = cursor.fetchall()
    for limit in range(1, most):
        seats = Seats(limit)
        for _, bundle, client in found:
            seats.occupy(bundle, client)
        if seats.take("somebody else"):
            return limit - 1
    raise AssertionError("they take more places than there are sessions")


@pytest.mark.parametrize(
    ("sessions", "places"),
    [
        ([("main", 1, b""), ("cache", 1, b"cache"), ("gold", 1, b"gold")], 1),
        ([("cache", 1, b"cache"), ("gold", 1, b"gold"), ("main", 1, b"")], 1),
        ([("gold", 1, b"gold"), ("cache", 1, b"cache")], 1),
        ([("main", 1, b""), ("main 2", 2, b""), ("cache", 1, b"cache"), ("cache 2", 2, b"cache")], 2),
        ([("gold", 1, b"gold"), ("gold 2", 2, b"gold")], 2),
        ([("main", 1, b""), ("main 2", 2, b"")], 2),
    ],
)
def test_login_that_is_counted_by_class_takes_one_place(
    database_dsn: str, sessions: list[tuple[str, int, bytes]], places: int
) -> None:
    service_id = add_service(database_dsn, TOLD_APART)
    settle(database_dsn, [start(name, 0, *([value] if value else []), port=port) for name, port, value in sessions])
    assert len(open_ids(database_dsn)) == len(sessions)
    assert seats_taken(database_dsn, service_id) == places
