"""Group C: what is acknowledged is stored, and counts once."""

from __future__ import annotations

import json
import os
import time

import pytest

from radius.codes import AcctStatus, Code, Type
from radius.packet import attribute
from tests.system.accounted import (
    ANA,
    HASTY,
    INTERIM,
    ISP,
    OPEN,
    SECRET,
    SOURCE,
    START,
    STOP,
    STOPPED,
    at,
    only_row,
    rows,
    service_id,
    session_id,
    terminate_cause,
    usage,
)
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import ANSWER_SECONDS, RadiusClient, number, raw, text, with_accounting_authenticator

__all__ = ["ISP"]  # what the fixture `daemon` applies

STRICT = "127.0.5.9"
STRICT_ISP = f'[[router]]\nname = "c"\naddress = "{STRICT}"\nsecret = "{SECRET}"\n'


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def test_c1_nothing_is_answered_before_it_is_committed(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    record = router.record(START, session)
    with daemon.rows() as cursor:
        cursor.execute("BEGIN; LOCK TABLE session")
        router.acct.send(record)
        assert router.ask(router.status_server(), at=router.acct).code == Code.ACCOUNTING_RESPONSE
        assert not router.has_answer(router.acct)
        cursor.execute("COMMIT")

    router.receive(record, at=router.acct)
    assert rows(daemon, session) != []


def test_c1_when_the_database_goes_away_the_record_is_not_answered_until_it_is_stored(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    record = router.record(INTERIM, session, seconds=60, up=7, down=8)
    with daemon.rows() as cursor:
        cursor.execute("BEGIN; LOCK TABLE session")
        router.acct.send(record)
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'caudal worker % acct' AND state = 'active'"
        )
        deadline = time.monotonic() + ANSWER_SECONDS
        while not (found := cursor.fetchall()) and time.monotonic() < deadline:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'caudal worker % acct'"
                " AND wait_event_type = 'Lock'"
            )
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", found[0])
        assert not router.has_answer(router.acct)
        cursor.execute("COMMIT")

    retransmit_until_answered(router, record)
    router.proves_alive_in_accounting()

    assert not router.has_answer(router.acct)
    assert only_row(daemon, session)[:4] == (OPEN, 0, 7, 8)
    assert usage(daemon, session) == (7, 8)


def retransmit_until_answered(client: RadiusClient, record: bytes) -> None:
    """Do what a NAS does, only sooner."""
    client.acct.settimeout(0.1)
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        client.acct.send(record)
        try:
            client.receive(record, at=client.acct)
        except TimeoutError:
            assert time.monotonic() < deadline
        else:
            break
    client.acct.settimeout(ANSWER_SECONDS)


def test_c2_what_was_answered_survives_a_kill(strict_nas: NasFactory, strict_daemon: DaemonProcess) -> None:
    """The survival tests repeat this under load."""
    router = strict_nas(STRICT, SECRET)
    sessions = [session_id() for _ in range(20)]
    for session in sessions:
        router.account(router.record(INTERIM, session, seconds=60, up=1, down=2))
    strict_daemon.kill()
    strict_daemon.start()

    stored = strict_daemon.query("SELECT sum(octets_up), sum(octets_down) FROM session WHERE login = ''")
    assert stored == [(20, 40)]


def test_c3_a_start_sent_again_is_the_same_session(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    for delay in (0, 3, 9):
        router.account(router.record(START, session, number(Type.ACCT_DELAY_TIME, delay), login=ANA[0]))

    assert only_row(daemon, session)[:2] == (OPEN, 0)


def test_c3_a_stop_sent_again_with_another_delay_counts_once(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    router.account(router.record(START, session, at(time.time() - 100), login=ANA[0]))
    for delay in (0, 3, 9):
        stop = number(Type.ACCT_DELAY_TIME, delay)
        router.account(router.record(STOP, session, stop, login=ANA[0], seconds=100, up=1000, down=2000))

    assert only_row(daemon, session)[:4] == (STOPPED, 0, 1000, 2000)
    assert usage(daemon, session) == (1000, 2000)


@pytest.mark.parametrize("status", [INTERIM, STOP])
def test_c4_a_record_without_a_start_makes_the_session_and_implies_when_it_began(
    router: RadiusClient, daemon: DaemonProcess, status: AcctStatus
) -> None:
    session = session_id()
    event = int(time.time()) - 30
    router.account(router.record(status, session, at(event), login=ANA[0], seconds=3600, up=11, down=22))

    row = only_row(daemon, session)
    assert (row.started, row.updated) == (event - 3600, event)
    assert (row.octets_up, row.octets_down, row.session_seconds) == (11, 22, 3600)
    assert row.state == (STOPPED if status == STOP else OPEN)
    assert row.service_id == service_id(daemon, ANA[0])


@pytest.mark.parametrize("late", [START, INTERIM])
def test_c5_what_arrives_after_the_stop_never_reopens_the_session(
    router: RadiusClient, daemon: DaemonProcess, late: AcctStatus
) -> None:
    session = session_id()
    begun = int(time.time()) - 200
    stop = router.record(STOP, session, at(begun + 120), terminate_cause(1), login=ANA[0], seconds=120, up=50, down=60)
    router.account(stop)
    before = only_row(daemon, session)
    if late == START:
        router.account(router.record(START, session, at(begun), login=ANA[0]))
    else:
        router.account(router.record(INTERIM, session, at(begun + 60), login=ANA[0], seconds=60, up=20, down=30))

    assert only_row(daemon, session) == before
    assert before[:4] == (STOPPED, 0, 50, 60)
    assert (before.terminate_cause, usage(daemon, session)) == ("User-Request", (50, 60))


def test_c5_a_newer_interim_after_the_stop_counts_and_does_not_reopen_the_session(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    begun = int(time.time()) - 200
    for status, seconds, up in ((START, None, 0), (STOP, 120, 50), (INTERIM, 121, 55)):
        event = at(begun + (seconds or 0))
        router.account(router.record(status, session, event, login=ANA[0], seconds=seconds, up=up, down=up))

    assert only_row(daemon, session)[:4] == (STOPPED, 0, 55, 55)
    assert usage(daemon, session) == (55, 55)


def test_c6_a_late_older_interim_never_lowers_the_counters(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    begun = int(time.time()) - 300
    for seconds, up, down in ((60, 100, 1000), (180, 300, 3000), (120, 200, 2000), (60, 100, 1000), (240, 400, 4000)):
        event = at(begun + seconds)
        router.account(router.record(INTERIM, session, event, login=ANA[0], seconds=seconds, up=up, down=down))
        assert only_row(daemon, session)[2:4] == usage(daemon, session)

    assert only_row(daemon, session)[2:5] == (400, 4000, 240)


def test_c7_gigawords_are_the_upper_half_of_a_counter(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    up, down = (3 << 32) + 5, (700 << 32) + 0xFFFFFFFF
    router.account(router.record(INTERIM, session, seconds=60, up=up - 5, down=down - 1))
    router.account(router.record(INTERIM, session, seconds=120, up=up, down=down))

    assert only_row(daemon, session)[2:4] == (up, down)
    assert usage(daemon, session) == (up, down)


def test_c7_a_counter_that_wraps_without_gigawords_goes_on(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    for seconds, up, down in ((60, 0xFFFFFF00, 100), (120, 0x100, 200), (180, 0x80000000, 300)):
        octets = number(Type.ACCT_INPUT_OCTETS, up), number(Type.ACCT_OUTPUT_OCTETS, down)
        router.account(router.record(INTERIM, session, *octets, seconds=seconds))

    assert only_row(daemon, session)[2:4] == ((1 << 32) + 0x80000000, 300)
    assert usage(daemon, session) == ((1 << 32) + 0x80000000, 300)


@pytest.mark.parametrize("told", [None, 0], ids=["no counters", "zero"])
def test_c7_a_stop_that_tells_no_octets_takes_none_away(
    router: RadiusClient, daemon: DaemonProcess, told: int | None
) -> None:
    """FreeRADIUS 1460 and accel-ppp 273: such a Stop erased what was used."""
    session = session_id()
    router.account(router.record(INTERIM, session, login=ANA[0], seconds=60, up=1_000, down=2_000))
    router.account(router.record(STOP, session, login=ANA[0], seconds=61, up=told, down=told))

    assert only_row(daemon, session)[:5] == (STOPPED, 0, 1_000, 2_000, 61)
    assert usage(daemon, session) == (1_000, 2_000)


@pytest.mark.parametrize("clock", [0, 946_684_800, 4_000_000_000], ids=["1970", "2000", "2096"])
def test_c8_a_router_whose_clock_is_wrong_is_timed_by_arrival_less_delay(
    router: RadiusClient, daemon: DaemonProcess, clock: int
) -> None:
    session = session_id()
    before = time.time()
    router.account(router.record(START, session, at(clock), number(Type.ACCT_DELAY_TIME, 40)))

    assert before - 41 <= only_row(daemon, session).started <= time.time() - 40


def test_c8_a_sane_event_timestamp_is_believed_before_the_delay(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    event = int(time.time()) - 7200
    router.account(router.record(START, session, at(event), number(Type.ACCT_DELAY_TIME, 40)))

    assert only_row(daemon, session).started == event


def test_c9_a_stop_under_the_identifier_of_the_interim_before_it_counts(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    router.account(router.record(INTERIM, session, seconds=60, up=100, down=200, identifier=5))
    router.account(router.record(STOP, session, seconds=61, up=150, down=250, identifier=5))

    assert only_row(daemon, session)[:4] == (STOPPED, 0, 150, 250)


def test_c15_a_windows_domain_before_the_name_names_the_same_service(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    known, unknown = session_id(), session_id()
    router.account(router.record(START, known, login=f"WORK\\{ANA[0]}"))
    router.account(router.record(START, unknown, login="WORK\\c-nobody"))

    assert only_row(daemon, known).service_id == service_id(daemon, ANA[0])
    assert only_row(daemon, unknown).service_id is None


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ([text(Type.ACCT_SESSION_ID, "x")], "no_status_type"),
        ([text(Type.ACCT_STATUS_TYPE, b"\x01"), text(Type.ACCT_SESSION_ID, "x")], "no_status_type"),
        ([number(Type.ACCT_STATUS_TYPE, 15), text(Type.ACCT_SESSION_ID, "x")], "unknown_status_type"),
        ([number(Type.ACCT_STATUS_TYPE, 0x01000001), text(Type.ACCT_SESSION_ID, "x")], "unknown_status_type"),
        ([number(Type.ACCT_STATUS_TYPE, 1)], "no_session_id"),
        ([number(Type.ACCT_STATUS_TYPE, 1), text(Type.ACCT_SESSION_ID, b"")], "no_session_id"),
        (
            [
                number(Type.ACCT_STATUS_TYPE, 3),
                text(Type.ACCT_SESSION_ID, "x"),
                number(Type.ACCT_INPUT_OCTETS, 1),
                number(Type.ACCT_INPUT_GIGAWORDS, 0xFFFF_FFFF),
            ],
            "impossible_counters",
        ),
    ],
    ids=["no status", "short status", "failed", "high status", "no session", "empty session", "garbage"],
)
def test_c14_a_record_that_cannot_be_booked_is_kept_in_quarantine_and_acknowledged(
    router: RadiusClient, daemon: DaemonProcess, attributes: list[bytes], reason: str
) -> None:
    record = router.accounting_request(*attributes, text(Type.CALLED_STATION_ID, os.urandom(6).hex()))
    router.account(record)

    kept = daemon.query("SELECT reason FROM quarantine WHERE datagram = %s", record)
    assert kept == [(reason,)]
    daemon.await_metric(f'caudal_quarantined_records_total{{reason="{reason}"}}')


def test_c15_the_usage_of_an_unknown_user_is_stored_and_acknowledged(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    router.account(router.record(INTERIM, session, login="c-nobody-knows", seconds=60, up=1, down=2))

    row = only_row(daemon, session)
    assert (row.login, row.service_id, row.octets_up, row.octets_down) == ("c-nobody-knows", None, 1, 2)
    assert usage(daemon, session) == (1, 2)


@pytest.mark.parametrize(
    "name", [b"\xff\xfe\x00\x80", b"\x00", "Ñandú".encode(), b"'; DROP TABLE session; --", b"{,}\\"]
)
def test_c15_a_user_name_of_any_octets_is_stored(router: RadiusClient, daemon: DaemonProcess, name: bytes) -> None:
    session = session_id()
    router.account(router.record(START, session, text(Type.USER_NAME, name)))

    assert only_row(daemon, session).service_id is None


def test_c16_an_interim_interval_below_a_minute_is_never_sent(router: RadiusClient) -> None:
    reply = router.login(*HASTY)

    assert reply.code == Code.ACCESS_ACCEPT
    assert [int.from_bytes(value) for value in reply.packet.all(Type.ACCT_INTERIM_INTERVAL)] == [600]


def test_c16_a_plan_with_a_short_interim_interval_is_refused_or_warned_of(daemon: DaemonProcess) -> None:
    path = daemon.data / "interim.toml"
    path.write_text('[[plan]]\nname = "c-hasty"\ninterim_seconds = 59\n')
    assert "interim.toml:3" in daemon.caudal("apply", str(path), "--dry-run", expect=1)

    path.write_text('[[plan]]\nname = "c-hasty"\ninterim_seconds = 60\n')
    (warning,) = json.loads(daemon.caudal("apply", str(path), "--dry-run", "--json"))["warnings"]
    assert "RFC 2869" in warning["message"]


def test_a_signed_record_gets_an_answer_that_any_peer_believes(router: RadiusClient, daemon: DaemonProcess) -> None:
    """Peers disagree on how an Accounting-Response is signed, so it is not: its authenticator covers it."""
    session = session_id()
    attributes = number(Type.ACCT_STATUS_TYPE, START), text(Type.ACCT_SESSION_ID, session)
    reply = router.account(router.accounting_request(*attributes, signed=True))

    assert reply.kinds == []
    assert only_row(daemon, session).state == OPEN


def test_a_record_that_fills_a_packet_is_stored(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    head = number(Type.ACCT_STATUS_TYPE, START) + text(Type.ACCT_SESSION_ID, session)
    filling = b"".join(attribute(0xFA, bytes(253)) for _ in range(15))
    rest = 4096 - 20 - len(head) - len(filling)
    record = raw(4, 1, head + filling + attribute(0xFA, bytes(rest - 2)), authenticator=bytes(16))
    router.account(with_accounting_authenticator(record, router.secret))

    assert only_row(daemon, session).state == OPEN
