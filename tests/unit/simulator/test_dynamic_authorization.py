"""How a router answers Disconnect- and CoA-Requests."""

from __future__ import annotations

from random import Random

import pytest

from domain.instants import SECOND_US, Microseconds
from radius.codes import Code, ErrorCause, Type, Vendor
from radius.packet import attribute, decode, encode_request, integer_attribute, vendor_attribute
from simulator.behaviour import DynamicFaults, Unlisted
from simulator.dynamic_authorization import DynamicAuthorization, SessionBook, Verdict
from simulator.rate_limit import Pair, RateLimit
from simulator.rates import UNLIMITED, Rates
from simulator.routeros_sessions import Incoming
from simulator.session import Grant, Line, Session
from simulator.traffic import Habit
from simulator.truth import Ledger
from tests.unit.simulator.server import SECRET, change, disconnect

NOW = Microseconds(1_700_000_000_000_000)
SOURCE = ("127.0.0.1", 40_000)
ANA = attribute(Type.USER_NAME, b"ana")
SESSION_ID = attribute(Type.ACCT_SESSION_ID, b"81300001")
ADDRESS = attribute(Type.FRAMED_IP_ADDRESS, bytes((100, 64, 0, 1)))
FASTER = vendor_attribute(Vendor.MIKROTIK, 8, b"30M/60M")
SLOW_LIST = vendor_attribute(Vendor.MIKROTIK, 19, b"slow")
ALWAYS = 1.0


def session(login: str, acct_session_id: str, address: int) -> Session:
    line = Line(login=login, mac="02:00:00:00:00:01", port=1, port_name="vlan100", server_name="pppoe-main")
    account = Ledger().open(login, "norte", acct_session_id, NOW)
    grant = Grant(None, UNLIMITED, 60, None, (), b"")
    return Session(account, line, grant, bytes((100, 64, 0, address)), Habit.IDLE, speed=1, random=Random(1))


@pytest.fixture
def book() -> SessionBook:
    book = SessionBook()
    for opened in (session("ana", "81300001", 1), session("eva", "81300002", 2), session("eva", "81300003", 3)):
        book.add(opened)
    return book


@pytest.fixture
def router() -> DynamicAuthorization:
    return DynamicAuthorization(SECRET, "norte", bytes((127, 0, 0, 2)))


def faulty(faults: DynamicFaults | None = None, unlisted: Unlisted = Unlisted.IGNORED) -> DynamicAuthorization:
    return DynamicAuthorization(SECRET, "norte", bytes((127, 0, 0, 2)), faults=faults, unlisted=unlisted)


def judge(router: DynamicAuthorization, datagram: bytes, book: SessionBook) -> Verdict:
    verdict = router.judge(datagram, SOURCE, book, NOW)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    "identification",
    [ANA, SESSION_ID, ADDRESS, ANA + SESSION_ID + ADDRESS, SESSION_ID + attribute(Type.NAS_IDENTIFIER, b"norte")],
)
def test_any_identification_finds_its_session(
    router: DynamicAuthorization, book: SessionBook, identification: bytes
) -> None:
    verdict = judge(router, disconnect(1, identification), book)
    assert verdict.code is Code.DISCONNECT_ACK
    assert verdict.order is not None
    assert (verdict.order.session.login, verdict.order.disconnect) == ("ana", True)


def test_a_change_carries_rates_and_time(router: DynamicAuthorization, book: SessionBook) -> None:
    verdict = judge(router, change(1, ANA + FASTER + integer_attribute(Type.SESSION_TIMEOUT, 60)), book)
    assert verdict.code is Code.COA_ACK
    assert verdict.order is not None
    assert verdict.order.rates == Rates(30_000_000, 60_000_000)
    assert verdict.order.session_timeout_seconds == 60


@pytest.mark.parametrize(
    ("datagram", "cause"),
    [
        (disconnect(1, attribute(Type.USER_NAME, b"nobody")), ErrorCause.SESSION_CONTEXT_NOT_FOUND),
        (disconnect(1, ANA + attribute(Type.ACCT_SESSION_ID, b"81300002")), ErrorCause.SESSION_CONTEXT_NOT_FOUND),
        (disconnect(1, SESSION_ID + attribute(Type.FRAMED_IP_ADDRESS, bytes(4))), ErrorCause.SESSION_CONTEXT_NOT_FOUND),
        (disconnect(1, attribute(Type.USER_NAME, b"eva")), ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED),
        (disconnect(1, b""), ErrorCause.MISSING_ATTRIBUTE),
        (disconnect(1, ANA + attribute(Type.NAS_IDENTIFIER, b"sur")), ErrorCause.NAS_IDENTIFICATION_MISMATCH),
        (disconnect(1, ANA + attribute(Type.NAS_IP_ADDRESS, bytes(4))), ErrorCause.NAS_IDENTIFICATION_MISMATCH),
        (disconnect(1, ANA + integer_attribute(Type.SERVICE_TYPE, 2)), ErrorCause.UNSUPPORTED_ATTRIBUTE),
        (disconnect(1, ANA + attribute(Type.STATE, b"x")), ErrorCause.UNSUPPORTED_ATTRIBUTE),
        (change(1, ANA), ErrorCause.INVALID_REQUEST),
        (change(1, ANA + vendor_attribute(Vendor.MIKROTIK, 8, b"fast")), ErrorCause.INVALID_ATTRIBUTE_VALUE),
        (change(1, ANA + attribute(Type.SESSION_TIMEOUT, b"60")), ErrorCause.INVALID_ATTRIBUTE_VALUE),
        (change(1, ANA + FASTER + attribute(Type.FRAMED_POOL, b"p")), ErrorCause.UNSUPPORTED_ATTRIBUTE),
        (
            change(1, ANA + vendor_attribute(Vendor.MIKROTIK, 8, b"10M/20M 0 0 0 8 20M/20M")),
            ErrorCause.INVALID_ATTRIBUTE_VALUE,
        ),
        (change(1, ANA + vendor_attribute(Vendor.MIKROTIK, 2, b"60")), ErrorCause.INVALID_ATTRIBUTE_VALUE),
    ],
)
def test_a_refusal_says_why_and_orders_nothing(
    router: DynamicAuthorization, book: SessionBook, datagram: bytes, cause: ErrorCause
) -> None:
    verdict = judge(router, datagram, book)
    request, reply = decode(datagram), decode(verdict.reply)
    assert reply.code == request.code + 2
    assert reply.integer(Type.ERROR_CAUSE) == cause
    assert reply.response_authenticator_is_valid(SECRET, request.authenticator)
    assert verdict.order is None


def test_a_duplicate_gets_the_same_octets_and_orders_nothing(router: DynamicAuthorization, book: SessionBook) -> None:
    first = judge(router, change(1, ANA + FASTER), book)
    book.clear()
    second = judge(router, change(1, ANA + FASTER), book)
    assert (second.reply, second.order, second.is_duplicate) == (first.reply, None, True)


def test_the_same_octets_are_judged_anew_once_the_answer_has_aged(
    router: DynamicAuthorization, book: SessionBook
) -> None:
    judge(router, disconnect(1, ANA), book)
    book.clear()
    aged = router.judge(disconnect(1, ANA), SOURCE, book, Microseconds(NOW + 31 * SECOND_US))
    assert aged is not None
    assert aged.code is Code.DISCONNECT_NAK


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        bytes(20),
        disconnect(1, ANA, secret=b"guessed"),
        encode_request(Code.ACCOUNTING_REQUEST, 1, ANA, SECRET),
        encode_request(
            Code.DISCONNECT_REQUEST, 1, ANA + attribute(Type.MESSAGE_AUTHENTICATOR, bytes(16)), SECRET, sign=False
        ),
    ],
)
def test_what_is_not_proven_by_the_secret_gets_no_answer(
    router: DynamicAuthorization, book: SessionBook, datagram: bytes
) -> None:
    assert router.judge(datagram, SOURCE, book, NOW) is None


def test_an_ended_session_is_not_found(book: SessionBook) -> None:
    (ana,) = book.find(None, "ana", None)
    book.remove(ana)
    assert book.find("81300001", None, None) == []
    assert book.find(None, "ana", None) == []
    assert len(book) == 2


def test_a_change_of_the_rate_carries_the_whole_queue(router: DynamicAuthorization, book: SessionBook) -> None:
    limit = vendor_attribute(Vendor.MIKROTIK, 8, b"1M/2M 2M/4M 1M/2M 10/10 5 0/0")
    order = judge(router, change(1, ANA + limit), book).order
    assert order is not None
    assert order.rate_limit == RateLimit(
        Pair(1_000_000, 2_000_000), Pair(2_000_000, 4_000_000), Pair(1_000_000, 2_000_000), Pair(10, 10), 5
    )


@pytest.mark.parametrize(
    ("unlisted", "code", "address_list"),
    [
        (Unlisted.IGNORED, Code.COA_ACK, None),
        (Unlisted.REFUSED, Code.COA_NAK, None),
        (Unlisted.APPLIED, Code.COA_ACK, "slow"),
    ],
)
def test_what_the_manual_does_not_list_is_handled_as_the_router_is_set(
    book: SessionBook, unlisted: Unlisted, code: Code, address_list: str | None
) -> None:
    verdict = judge(faulty(unlisted=unlisted), change(1, ANA + SLOW_LIST), book)
    assert verdict.code is code
    assert (verdict.order.address_list if verdict.order else None) == address_list


def test_limits_of_octets_above_32_bits_need_words_that_are_not_listed(book: SessionBook) -> None:
    limits = b"".join(
        vendor_attribute(Vendor.MIKROTIK, kind, value.to_bytes(4)) for kind, value in ((1, 7), (2, 9), (15, 1))
    )
    plain, generous = (
        judge(faulty(unlisted=setting), change(1, ANA + limits), book).order
        for setting in (Unlisted.IGNORED, Unlisted.APPLIED)
    )
    assert plain is not None
    assert generous is not None
    assert (plain.limit_octets, generous.limit_octets) == (Pair(7, 9), Pair(7, 2**32 + 9))


@pytest.mark.parametrize(
    "listed", [integer_attribute(Type.IDLE_TIMEOUT, 60), vendor_attribute(Vendor.MIKROTIK, 3, b"gold")]
)
def test_what_changes_nothing_here_is_still_acknowledged(
    router: DynamicAuthorization, book: SessionBook, listed: bytes
) -> None:
    assert judge(router, change(1, ANA + listed), book).code is Code.COA_ACK


def test_a_router_that_accepts_no_orders_is_silent_and_counts_none(book: SessionBook) -> None:
    incoming = Incoming(accept=False)
    router = DynamicAuthorization(SECRET, "norte", bytes((127, 0, 0, 2)), incoming=incoming)
    assert router.judge(disconnect(1, ANA), SOURCE, book, NOW) is None
    assert incoming == Incoming(accept=False)
    incoming.accept = True
    assert judge(router, disconnect(1, ANA), book).code is Code.DISCONNECT_ACK


def test_requests_are_counted_as_the_router_shows_them(book: SessionBook) -> None:
    incoming = Incoming(accept=True)
    router = DynamicAuthorization(SECRET, "norte", bytes((127, 0, 0, 2)), incoming=incoming)
    judge(router, change(1, ANA + FASTER), book)
    judge(router, change(1, ANA + FASTER), book)
    judge(router, change(2, ANA), book)
    router.judge(disconnect(3, ANA, secret=b"guessed"), SOURCE, book, NOW)
    assert (incoming.requests, incoming.acks, incoming.naks, incoming.bad_requests) == (3, 1, 1, 1)


def test_a_request_may_be_ignored(book: SessionBook) -> None:
    assert faulty(DynamicFaults(ignored=ALWAYS)).judge(disconnect(1, ANA), SOURCE, book, NOW) is None


def test_a_request_may_be_obeyed_without_an_answer(book: SessionBook) -> None:
    verdict = judge(faulty(DynamicFaults(unanswered=ALWAYS)), disconnect(1, ANA), book)
    assert verdict.order is not None
    assert not verdict.is_answered


def test_a_request_may_be_acknowledged_and_not_obeyed(book: SessionBook) -> None:
    verdict = judge(faulty(DynamicFaults(pretended=ALWAYS)), change(1, ANA + FASTER), book)
    assert (verdict.code, verdict.order, verdict.is_answered) == (Code.COA_ACK, None, True)


def test_a_request_may_be_refused_for_no_reason(book: SessionBook) -> None:
    verdict = judge(faulty(DynamicFaults(refused=ALWAYS, refused_with=501)), change(1, ANA + FASTER), book)
    assert (verdict.code, verdict.order) == (Code.COA_NAK, None)
    assert decode(verdict.reply).integer(Type.ERROR_CAUSE) == 501
