"""What a router reports about one session."""

from __future__ import annotations

from random import Random

import pytest

from domain.instants import SECOND_US, Microseconds
from radius.codes import AcctStatus, Code, Type, Vendor
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute, vendor_attribute
from simulator.rate_limit import Pair, RateLimit
from simulator.rates import UNLIMITED, Rates
from simulator.session import Cause, Grant, Line, Record, RouterLook, Session, name_router, read_grant
from simulator.traffic import Habit
from simulator.truth import Ledger

START = Microseconds(1_700_000_000_000_000)
LINE = Line(login="ana", mac="02:00:00:00:00:01", port=15_728_640, port_name="vlan100", server_name="pppoe-main")
LOOK = RouterLook(
    name=name_router("norte", "127.0.0.2"), clock_offset_us=-90 * SECOND_US, gigawords=True, flip_counters=False
)
GRANT = Grant(
    address=None,
    rates=UNLIMITED,
    interim_seconds=60,
    session_timeout_seconds=None,
    classes=(b"first", b"second"),
    ipv6=attribute(Type.DELEGATED_IPV6_PREFIX, bytes.fromhex("003020010db80001")),
)


def after(seconds: float) -> Microseconds:
    return Microseconds(START + int(seconds * SECOND_US))


def open_session(habit: Habit = Habit.HEAVY, speed: float = 1.0, grant: Grant = GRANT) -> Session:
    account = Ledger().open("ana", "norte", "81300077", START)
    return Session(account, LINE, grant, bytes((100, 64, 0, 9)), habit, speed=speed, random=Random(1))


def packet_of(record: Record) -> Packet:
    return decode(encode_request(Code.ACCOUNTING_REQUEST, 1, record.attributes, b"secret", sign=False))


def test_a_start_names_the_session_and_counts_nothing() -> None:
    packet = packet_of(open_session().record(AcctStatus.START, START, LOOK))
    assert packet.text(Type.ACCT_SESSION_ID) == "81300077"
    assert packet.text(Type.USER_NAME) == "ana"
    assert packet.get(Type.FRAMED_IP_ADDRESS) == bytes((100, 64, 0, 9))
    assert packet.text(Type.NAS_IDENTIFIER) == "norte"
    assert packet.get(Type.NAS_IP_ADDRESS) == bytes((127, 0, 0, 2))
    assert packet.get(Type.ACCT_INPUT_OCTETS) is None
    assert packet.get(Type.DELEGATED_IPV6_PREFIX) is None


def test_class_comes_back_whole_and_in_order() -> None:
    packet = packet_of(open_session().record(AcctStatus.START, START, LOOK))
    assert packet.all(Type.CLASS) == [b"first", b"second"]


def test_the_event_is_told_by_the_routers_own_wrong_clock() -> None:
    packet = packet_of(open_session().record(AcctStatus.START, START, LOOK))
    assert packet.integer(Type.EVENT_TIMESTAMP) == START // SECOND_US - 90
    assert packet.integer(Type.ACCT_DELAY_TIME) == 0


def test_an_interim_counts_from_the_start_and_shows_ipv6() -> None:
    session = open_session()
    record = session.record(AcctStatus.INTERIM, after(61.5), LOOK)
    packet = packet_of(record)
    assert packet.integer(Type.ACCT_SESSION_TIME) == 61
    assert packet.integer(Type.ACCT_INPUT_OCTETS) == record.octets_up == session.account.reported_up > 0
    assert packet.integer(Type.ACCT_OUTPUT_OCTETS) == record.octets_down == session.account.reported_down > 0
    assert packet.get(Type.DELEGATED_IPV6_PREFIX) == bytes.fromhex("003020010db80001")


def test_gigawords_carry_what_32_bits_cannot() -> None:
    session = open_session()
    session.octets_up, session.octets_down = 3 * 2**32 + 5, 2**32 - 1
    packet = packet_of(session.record(AcctStatus.INTERIM, START, LOOK))
    assert (packet.integer(Type.ACCT_INPUT_GIGAWORDS), packet.integer(Type.ACCT_INPUT_OCTETS)) == (3, 5)
    assert (packet.integer(Type.ACCT_OUTPUT_GIGAWORDS), packet.integer(Type.ACCT_OUTPUT_OCTETS)) == (0, 2**32 - 1)


def test_a_router_without_gigawords_wraps_and_the_truth_does_not() -> None:
    session = open_session()
    session.octets_up = 2**32 + 5
    packet = packet_of(session.record(AcctStatus.INTERIM, START, LOOK._replace(gigawords=False)))
    assert packet.get(Type.ACCT_INPUT_GIGAWORDS) is None
    assert packet.integer(Type.ACCT_INPUT_OCTETS) == 5
    assert session.account.truth().octets_up == 2**32 + 5


def test_a_router_with_flipped_counters_reports_downloads_as_input() -> None:
    session = open_session()
    session.octets_up, session.octets_down = 1, 2
    packet = packet_of(session.record(AcctStatus.INTERIM, START, LOOK._replace(flip_counters=True)))
    assert (packet.integer(Type.ACCT_INPUT_OCTETS), packet.integer(Type.ACCT_OUTPUT_OCTETS)) == (2, 1)
    assert session.account.truth().octets_up == 1


def test_a_stop_says_why() -> None:
    packet = packet_of(open_session().record(AcctStatus.STOP, after(10), LOOK, Cause.SESSION_TIMEOUT))
    assert packet.integer(Type.ACCT_TERMINATE_CAUSE) == 5


def test_another_speed_holds_from_its_moment_on() -> None:
    session = open_session()
    session.change_rates(Rates(8_000, 80_000), after(10))
    before = (session.octets_up, session.octets_down)
    assert before[0] > 1_000
    session.advance(after(20))
    assert (session.octets_up - before[0], session.octets_down - before[1]) == (10_000, 100_000)


def test_compressed_time_moves_more_octets_and_real_session_time() -> None:
    slow = open_session(speed=60, grant=Grant(None, Rates(8_000, 80_000), 60, None, (), b""))
    packet = packet_of(slow.record(AcctStatus.INTERIM, after(10), LOOK))
    assert packet.integer(Type.ACCT_INPUT_OCTETS) == 600_000
    assert packet.integer(Type.ACCT_SESSION_TIME) == 10


def accept(*attributes: bytes) -> Packet:
    return decode(encode_request(Code.ACCOUNTING_REQUEST, 1, b"".join(attributes), b"secret", sign=False))


def test_an_accept_is_read_whole() -> None:
    grant = read_grant(
        accept(
            attribute(Type.FRAMED_IP_ADDRESS, bytes((100, 64, 0, 1))),
            integer_attribute(Type.ACCT_INTERIM_INTERVAL, 300),
            integer_attribute(Type.SESSION_TIMEOUT, 3_600),
            attribute(Type.CLASS, b"a"),
            vendor_attribute(Vendor.MIKROTIK, 8, b"10M/20M"),
            vendor_attribute(Vendor.MIKROTIK, 19, b"gamers"),
            vendor_attribute(Vendor.MIKROTIK, 2, (5).to_bytes(4)),
            vendor_attribute(Vendor.MIKROTIK, 15, (1).to_bytes(4)),
            attribute(Type.FRAMED_IPV6_PREFIX, bytes.fromhex("004020010db800000000")),
        )
    )
    assert grant == Grant(
        address=bytes((100, 64, 0, 1)),
        rates=Rates(10_000_000, 20_000_000),
        interim_seconds=300,
        session_timeout_seconds=3_600,
        classes=(b"a",),
        ipv6=attribute(Type.FRAMED_IPV6_PREFIX, bytes.fromhex("004020010db800000000")),
        rate_limit=RateLimit(Pair(10_000_000, 20_000_000), limit_at=Pair(10_000_000, 20_000_000)),
        address_list="gamers",
        limit_octets=Pair(0, 2**32 + 5),
    )


@pytest.mark.parametrize("address", ["00000000", "ffffffff", "fffffffe", "0a00"])
def test_an_accept_without_a_usable_address_leaves_it_to_the_router(address: str) -> None:
    assert read_grant(accept(attribute(Type.FRAMED_IP_ADDRESS, bytes.fromhex(address)))).address is None
