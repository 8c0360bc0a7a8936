"""Group D: a retransmission is answered with the same octets and does nothing a second time."""

from __future__ import annotations

import os
import time

import pytest

from radius.codes import AcctStatus, Code, Type
from tests.system.conftest import REQUESTS_PER_SECOND, NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import LARGEST_DATAGRAM, RadiusClient, text, verify

SOURCE, SECRET = "127.0.3.1", "hush-duplicates"
FLOOD, LOOP = "127.0.3.2", "127.0.3.3"
ANA = ("d-ana", "hush-ana")

ISP = f"""
[[router]]
name = "d"
address = "{SOURCE}"
secret = "{SECRET}"
[[plan]]
name = "d"
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "d"
"""
STRICT_ISP = f"""
[[router]]
name = "d-flood"
address = "{FLOOD}"
secret = "{SECRET}"
[[router]]
name = "d-loop"
address = "{LOOP}"
secret = "{SECRET}"
profile = "mikrotik"
[[plan]]
name = "d"
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "d"
"""

COUNTERS = "SELECT octets_up, octets_down, version FROM session WHERE acct_session_id = %s"


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def session_id() -> str:
    return os.urandom(8).hex()


def test_d1_a_duplicate_of_a_pending_record_is_dropped_and_counted_once(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    record = router.record(AcctStatus.INTERIM, session, login=ANA[0], seconds=60, up=1000, down=2000)
    with daemon.rows() as cursor:
        cursor.execute("BEGIN; LOCK TABLE session")
        for _ in range(4):
            router.acct.send(record)
        alive = router.status_server()
        assert router.ask(alive, at=router.acct).code == Code.ACCOUNTING_RESPONSE
        assert not router.has_answer(router.acct)
        cursor.execute("COMMIT")

    first = router.receive(record, at=router.acct)
    assert router.account(record).octets == first.octets, "what was dropped while it was pending is answered later"
    router.proves_alive_in_accounting()

    assert not router.has_answer(router.acct)
    assert daemon.query(COUNTERS, session) == [(1000, 2000, 1)]


def test_d2_a_duplicate_of_an_answered_record_gets_the_same_octets_and_changes_nothing(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    record = router.record(AcctStatus.INTERIM, session, login=ANA[0], seconds=60, up=1000, down=2000)
    first = router.account(record)

    assert [router.account(record).octets for _ in range(3)] == [first.octets] * 3
    assert daemon.query(COUNTERS, session) == [(1000, 2000, 1)]


@pytest.mark.parametrize("password", [ANA[1], "wrong"])
def test_d2_a_duplicate_of_an_answered_login_gets_the_same_octets(router: RadiusClient, password: str) -> None:
    login = router.mschapv2_request(ANA[0], password)
    first = router.ask(login)

    assert [router.ask(login).octets for _ in range(3)] == [first.octets] * 3


def test_d2_the_same_octets_from_another_port_are_another_request(router: RadiusClient, nas: NasFactory) -> None:
    login = router.pap_request(*ANA)
    first = router.ask(login)
    other = nas(SOURCE, SECRET).ask(login)

    assert other.code == Code.ACCESS_ACCEPT
    assert other.packet.get(Type.CLASS) != first.packet.get(Type.CLASS)


def test_d3_a_new_authenticator_under_the_same_identifier_is_a_new_request(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    for minutes in (1, 2, 3):
        octets = minutes * 1000
        router.account(
            router.record(AcctStatus.INTERIM, session, seconds=minutes * 60, up=octets, down=0, identifier=77)
        )

    assert daemon.query(COUNTERS, session) == [(3000, 0, 3)]


def test_d3_the_new_request_takes_the_place_of_the_old_one(router: RadiusClient) -> None:
    old, new = router.pap_request(*ANA, identifier=78), router.pap_request(*ANA, identifier=78)
    first = router.ask(old)
    second = router.ask(new)

    assert router.ask(new).octets == second.octets
    assert router.ask(old).packet.get(Type.CLASS) != first.packet.get(Type.CLASS)


def test_d3_a_burst_that_uses_identifiers_again_is_answered_whole(router: RadiusClient) -> None:
    """Deduplication by Identifier alone dropped such bursts (layeh/radius 58)."""
    requests = [router.record(AcctStatus.START, session_id(), identifier=place % 256) for place in range(1000)]
    for request in requests:
        router.acct.send(request)

    answers = [router.acct.recv(LARGEST_DATAGRAM) for _ in requests]

    waiting = {request[1]: [each for each in requests if each[1] == request[1]] for request in requests[:256]}
    for answer in answers:
        mine = [each for each in waiting[answer[1]] if is_answer(answer, each, router.secret)]
        assert len(mine) == 1
        waiting[answer[1]].remove(mine[0])
    assert not any(waiting.values())


def is_answer(datagram: bytes, request: bytes, secret: bytes) -> bool:
    try:
        verify(datagram, request, secret)
    except AssertionError:
        return False
    return True


def test_d4_a_replay_that_the_cache_does_not_know_changes_no_totals(
    router: RadiusClient, nas: NasFactory, daemon: DaemonProcess
) -> None:
    """A replay from another port meets no entry, as one after minutes does."""
    session = session_id()
    records = [
        router.record(AcctStatus.START, session, login=ANA[0]),
        router.record(AcctStatus.INTERIM, session, login=ANA[0], seconds=60, up=1000, down=10_000),
        router.record(AcctStatus.STOP, session, login=ANA[0], seconds=90, up=1500, down=15_000),
    ]
    for record in records:
        router.account(record)
    facts = "SELECT count(*), sum(octets_up), sum(octets_down) FROM usage_fact WHERE session_id = %s"
    ((number,),) = daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session)
    before = daemon.query(facts, number)

    replayer = nas(SOURCE, SECRET)
    for record in (*records, *reversed(records)):
        replayer.account(record)

    state = "SELECT octets_up, octets_down, state, generation FROM session WHERE acct_session_id = %s"
    assert daemon.query(state, session) == [(1500, 15_000, 1, 0)]
    assert daemon.query(facts, number) == before == [(2, 1500, 15_000)]


def test_d4_an_answer_is_repeated_for_five_to_thirty_seconds(router: RadiusClient) -> None:
    login = router.mschapv2_request(*ANA)
    first = router.ask(login).octets
    began = time.monotonic()

    while router.ask(login).octets == first:
        assert time.monotonic() - began < 30, "the first answer still comes back"
        time.sleep(0.1)
    assert time.monotonic() - began >= 5


def test_d5_above_its_rate_a_router_is_still_served_logins_that_go_on(strict_nas: NasFactory) -> None:
    flood = strict_nas(FLOOD, SECRET)
    for _ in range(4 * REQUESTS_PER_SECOND):
        flood.auth.send(flood.pap_request(*ANA))
    begun = flood.pap_request(*ANA, text(Type.STATE, "begun"))
    flood.auth.send(begun)

    answered = set()
    while begun[1] not in answered:
        answered.add(flood.auth.recv(LARGEST_DATAGRAM)[1])
    assert len(answered) <= 2 * REQUESTS_PER_SECOND + 1, "two seconds may have begun meanwhile"


def test_a_flood_from_one_router_does_not_stop_the_others(strict_nas: NasFactory) -> None:
    flood, other = strict_nas(FLOOD, SECRET), strict_nas(LOOP, SECRET)
    for _ in range(10 * REQUESTS_PER_SECOND):
        flood.auth.send(flood.pap_request(*ANA))

    assert other.login(*ANA).code == Code.ACCESS_ACCEPT
