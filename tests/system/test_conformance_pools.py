"""Group P: addresses, limits and how long a session may last."""

from __future__ import annotations

import os
from time import time
from typing import NamedTuple

import pytest

from radius.codes import AcctStatus, Code, Type
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import LARGEST_DATAGRAM, RadiusClient, number, text, verify

SECRET = "hush-pools"
SOURCE, LONELY, SUPERSEDER = "127.0.8.1", "127.0.8.2", "127.0.8.3"
PASSWORD = "hush-pooled"
CROWD = 100
RADIUS_REQUEST = 1


class Service(NamedTuple):
    """A service of this module; `more` are further lines of its table."""

    login: str
    plan: str
    more: str = ""


def plan(name: str, *lines: str) -> str:
    return "\n".join(["[[plan]]", f'name = "{name}"', *lines, ""])


SERVICES = [
    *(Service(f"p-crowd-{place}", "p-crowd") for place in range(CROWD)),
    *(Service(login, "p-wide") for login in ("p-ana", "p-many")),
    *(Service(login, "p-one") for login in ("p-first", "p-second", "p-third")),
    Service("p-two", "p-two"),
    Service("p-chosen", "p-wide", 'address = "255.255.255.254"'),
    Service("p-static", "p-wide", 'address = "192.0.2.8"'),
    Service("p-limited", "p-free", "simultaneous = 2"),
    Service("p-single", "p-free", "simultaneous = 1"),
    Service("p-alone", "p-free", "simultaneous = 1"),
    Service("p-line", "p-free"),
    Service("p-timed", "p-timed"),
    Service("p-expiring", "p-timed"),
    Service("p-brief", "p-timed", 'attributes = { "Session-Timeout" = 120 }'),
    Service("p-lavish", "p-free", 'attributes = { "Session-Timeout" = 0 }'),
    Service("p-leased", "p-leased"),
    Service("p-returning", "p-free", 'attributes = { "Termination-Action" = "RADIUS-Request" }'),
    Service("p-other", "p-free", 'attributes = { "Termination-Action" = "RADIUS-Request" }'),
]

ISP = f"""
[[router]]
name = "p"
address = "{SOURCE}"
secret = "{SECRET}"
[[router]]
name = "p-lonely"
address = "{LONELY}"
secret = "{SECRET}"
[[router]]
name = "p-superseder"
address = "{SUPERSEDER}"
secret = "{SECRET}"
[[pool]]
name = "p-crowd"
range = "100.64.8.0/24"
[[pool]]
name = "p-wide"
range = "100.64.9.0/24"
[[pool]]
name = "p-one"
range = "100.64.10.7-100.64.10.7"
[[pool]]
name = "p-two"
range = "100.64.10.20-100.64.10.21"
[[pool]]
name = "p-leased"
range = "100.64.11.0/24"
lease_seconds = 300
""" + "".join(
    [
        plan("p-crowd", 'pool = "p-crowd"'),
        plan("p-wide", 'pool = "p-wide"'),
        plan("p-one", 'pool = "p-one"'),
        plan("p-two", 'pool = "p-two"'),
        plan("p-leased", 'pool = "p-leased"', "session_timeout = 3600"),
        plan("p-timed", "session_timeout = 3600", "idle_timeout = 600"),
        plan("p-free"),
        *(
            f'[[service]]\nlogin = "{each.login}"\npassword = "{PASSWORD}"\nplan = "{each.plan}"\n{each.more}\n'
            for each in SERVICES
        ),
    ]
)


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def session_id() -> str:
    return os.urandom(8).hex()


def station(place: int) -> bytes:
    """Return the Calling-Station-Id of one device."""
    return text(Type.CALLING_STATION_ID, f"02:00:00:08:{place >> 8:02x}:{place & 255:02x}")


def ask_all(client: RadiusClient, requests: list[bytes]) -> list[tuple[bytes, int]]:
    """Send everything at once and return (request, answer's code), with verified answers, as they come."""
    for request in requests:
        client.auth.send(request)
    by_identifier = {request[1]: request for request in requests}
    assert len(by_identifier) == len(requests)
    answers = []
    for _ in requests:
        datagram = client.auth.recv(LARGEST_DATAGRAM)
        request = by_identifier[datagram[1]]
        answers.append((datagram, verify(datagram, request, client.secret).code))
    return answers


def test_p1_a_hundred_logins_at_once_get_a_hundred_addresses(router: RadiusClient) -> None:
    requests = [router.pap_request(f"p-crowd-{place}", PASSWORD, station(place)) for place in range(CROWD)]
    answers = ask_all(router, requests)
    by_identifier = {request[1]: request for request in requests}
    addresses = {verify(each, by_identifier[each[1]], router.secret).address for each, _ in answers}

    assert all(code == Code.ACCESS_ACCEPT for _, code in answers)
    assert len(addresses) == CROWD
    assert None not in addresses


def test_p1_the_devices_of_one_service_get_an_address_each(router: RadiusClient) -> None:
    addresses = [router.login("p-many", PASSWORD, station(place)).address for place in range(10)]

    assert len(set(addresses)) == 10


def test_p2_a_line_that_comes_back_keeps_its_address(router: RadiusClient) -> None:
    request = router.pap_request("p-ana", PASSWORD, station(200))
    first = router.ask(request)

    assert first.address is not None
    assert router.ask(request).address == first.address
    assert [router.login("p-ana", PASSWORD, station(200)).address for _ in range(3)] == [first.address] * 3
    assert router.login("p-ana", PASSWORD, station(201)).address != first.address


def age_leases(daemon: DaemonProcess, pool: str) -> None:
    """Let every lease of a pool have run out an hour ago."""
    daemon.query(
        """UPDATE lease SET granted_at = granted_at - interval '3 hours', expires_at = now() - interval '1 hour'
        WHERE pool_id = (SELECT id FROM pool WHERE name = %s) RETURNING 1""",
        pool,
    )


def test_p3_a_late_stop_of_an_old_session_does_not_free_an_address_that_is_another_s_now(
    nas: NasFactory, daemon: DaemonProcess
) -> None:
    lonely = nas(LONELY, SECRET)
    old, new = session_id(), session_id()
    first = lonely.login("p-first", PASSWORD, station(300))
    framed = first.packet.get(Type.FRAMED_IP_ADDRESS)
    assert framed is not None
    address = text(Type.FRAMED_IP_ADDRESS, framed)
    lonely.account(lonely.record(AcctStatus.START, old, address, station(300), login="p-first"))
    lonely.account(lonely.accounting_request(number(Type.ACCT_STATUS_TYPE, AcctStatus.ACCOUNTING_ON)))

    age_leases(daemon, "p-one")
    second = lonely.login("p-second", PASSWORD, station(301))
    assert second.address == first.address
    lonely.account(lonely.record(AcctStatus.START, new, address, station(301), login="p-second"))
    lonely.account(lonely.record(AcctStatus.STOP, old, address, station(300), login="p-first", seconds=60))

    age_leases(daemon, "p-one")
    assert lonely.login("p-third", PASSWORD, station(302)).code == Code.ACCESS_REJECT
    assert lonely.login("p-second", PASSWORD, station(301)).address == first.address


def test_p4_an_exhausted_pool_refuses_with_its_reason_and_says_so(router: RadiusClient, daemon: DaemonProcess) -> None:
    served = {router.login("p-two", PASSWORD, station(place)).address for place in (400, 401)}
    refused = router.login("p-two", PASSWORD, station(402))

    assert served == {"100.64.10.20", "100.64.10.21"}
    assert refused.code == Code.ACCESS_REJECT
    assert b"No address" in (refused.packet.get(Type.REPLY_MESSAGE) or b"")
    reasons = "SELECT reason FROM refusal WHERE login = 'p-two'"
    assert daemon.await_rows(reasons) == [("pool_exhausted",)]
    assert '"pool exhausted"' in daemon.log.read_text()
    daemon.await_metric('caudal_refused_logins_total{reason="pool_exhausted"}')


def test_p4_an_address_that_the_nas_is_to_choose_is_sent_as_it_is(router: RadiusClient) -> None:
    assert router.login("p-chosen", PASSWORD).address == "255.255.255.254"
    assert router.login("p-static", PASSWORD).address == "192.0.2.8"


def test_p5_of_many_logins_at_once_only_as_many_pass_as_may_be_on_line(router: RadiusClient) -> None:
    requests = [router.pap_request("p-limited", PASSWORD, station(500 + place)) for place in range(20)]
    codes = [code for _, code in ask_all(router, requests)]

    assert codes.count(Code.ACCESS_ACCEPT) == 2
    assert codes.count(Code.ACCESS_REJECT) == 18


def test_p5_an_accept_and_its_start_are_one_place_and_a_stop_frees_it(router: RadiusClient) -> None:
    """Stale places that block a login are the first complaint of operators (daloRADIUS 84, 668)."""
    session = session_id()

    def login(place: int) -> int:
        return router.login("p-single", PASSWORD, station(place)).code

    assert login(600) == Code.ACCESS_ACCEPT
    assert login(601) == Code.ACCESS_REJECT
    router.account(router.record(AcctStatus.START, session, station(600), login="p-single"))
    assert login(601) == Code.ACCESS_REJECT
    router.account(router.record(AcctStatus.STOP, session, station(600), login="p-single", seconds=1))
    assert login(601) == Code.ACCESS_ACCEPT
    assert login(601) == Code.ACCESS_ACCEPT, "a line that comes back takes its own place"


def test_p5_a_late_stop_does_not_give_away_the_place_of_a_line_that_came_back(router: RadiusClient) -> None:
    session = session_id()
    earlier = number(Type.EVENT_TIMESTAMP, int(time()) - 900)
    router.account(router.record(AcctStatus.START, session, station(610), earlier, login="p-alone"))
    assert router.login("p-alone", PASSWORD, station(610)).code == Code.ACCESS_ACCEPT
    router.account(router.record(AcctStatus.STOP, session, station(610), login="p-alone"))

    assert router.login("p-alone", PASSWORD, station(611)).code == Code.ACCESS_REJECT


def test_p6_a_new_start_on_the_same_line_closes_the_session_before(nas: NasFactory, daemon: DaemonProcess) -> None:
    """The manual of RouterOS tells servers to: its Stop may be lost, and its session ids may come again."""
    client = nas(SUPERSEDER, SECRET)
    port = number(Type.NAS_PORT, 15), text(Type.NAS_PORT_ID, "ether5")
    stale, fresh, neighbour = session_id(), session_id(), session_id()
    earlier = number(Type.EVENT_TIMESTAMP, int(time()) - 900)
    client.account(
        client.record(AcctStatus.INTERIM, stale, station(700), *port, earlier, login="p-line", seconds=60, up=5, down=6)
    )
    client.account(client.record(AcctStatus.START, neighbour, station(701), *port, earlier, login="p-line"))
    client.account(client.record(AcctStatus.START, fresh, station(700), *port, login="p-line"))

    rows = {
        session: (state, cause, up)
        for session, state, cause, up in daemon.query(
            "SELECT acct_session_id, state, terminate_cause, octets_up FROM session WHERE acct_session_id IN %s",
            (stale, fresh, neighbour),
        )
    }
    assert rows == {stale: (2, "Superseded", 5), fresh: (0, None, 0), neighbour: (0, None, 0)}


def timeout_of(client: RadiusClient, login: str, *more: bytes) -> int | None:
    packet = client.login(login, PASSWORD, *more).packet
    assert packet.code == Code.ACCESS_ACCEPT
    return packet.integer(Type.SESSION_TIMEOUT)


def test_p7_a_session_lasts_as_long_as_the_shortest_of_what_allows_it(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    daemon.query("UPDATE service SET expires_at = now() + interval '900 s' WHERE login = 'p-expiring' RETURNING 1")
    assert timeout_of(router, "p-timed") == 3600
    assert timeout_of(router, "p-brief") == 120
    assert timeout_of(router, "p-many") is None
    assert 800 < (timeout_of(router, "p-expiring") or 0) <= 900
    assert 290 <= (timeout_of(router, "p-leased", station(800)) or 0) <= 300


def test_p7_a_session_timeout_is_never_zero(router: RadiusClient, daemon: DaemonProcess) -> None:
    daemon.query("UPDATE service SET expires_at = now() + interval '800 ms' WHERE login = 'p-lavish' RETURNING 1")
    assert timeout_of(router, "p-lavish") == 1

    daemon.query("UPDATE service SET expires_at = NULL WHERE login = 'p-lavish' RETURNING 1")
    assert timeout_of(router, "p-lavish") != 0


def test_p9_a_termination_action_comes_with_a_state_that_lets_the_line_in_again(router: RadiusClient) -> None:
    accept = router.login("p-returning", PASSWORD).packet
    state = accept.get(Type.STATE)

    def come_back(login: str, value: bytes) -> int:
        return router.ask(router.access_request(text(Type.USER_NAME, login), text(Type.STATE, value))).code

    assert accept.integer(Type.TERMINATION_ACTION) == RADIUS_REQUEST
    assert state is not None
    assert come_back("p-returning", state) == Code.ACCESS_ACCEPT
    assert come_back("p-other", state) == Code.ACCESS_REJECT
    assert come_back("p-returning", state[:-1] + bytes((state[-1] ^ 1,))) == Code.ACCESS_REJECT
    assert router.login("p-timed", PASSWORD).packet.get(Type.STATE) is None


@pytest.mark.parametrize("asked", [b"\x00", b"earlier"])
def test_p10_a_chargeable_user_identity_that_was_asked_for_is_returned(router: RadiusClient, asked: bytes) -> None:
    def identity(login: str) -> bytes | None:
        return router.login(login, PASSWORD, text(Type.CHARGEABLE_USER_IDENTITY, asked)).packet.get(
            Type.CHARGEABLE_USER_IDENTITY
        )

    first = identity("p-timed")
    assert first
    assert identity("p-timed") == first
    assert identity("p-static") != first
    assert b"p-timed" not in first
    assert router.login("p-timed", PASSWORD).packet.get(Type.CHARGEABLE_USER_IDENTITY) is None
