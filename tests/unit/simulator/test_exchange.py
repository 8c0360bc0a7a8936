"""What the client half of a router sends and believes."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5

import pytest

from domain.instants import Microseconds
from radius.codes import Code, Type
from radius.packet import attribute, decode, encode_reply, encode_request
from simulator.exchange import (
    IDENTIFIERS,
    MOST_SOCKETS,
    RETRANSMIT_AFTER_US,
    Exchange,
    Outgoing,
    Port,
    access_request,
)
from simulator.tally import Tally

SECRET = b"made-up secret"
START = Microseconds(1_700_000_000_000_000)


def later(seconds: float) -> Microseconds:
    return Microseconds(START + int(seconds * 1_000_000))


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def accounting(tally: Tally) -> Exchange[str]:
    return Exchange(Port.ACCOUNTING, SECRET, tally)


@pytest.fixture
def authentication(tally: Tally) -> Exchange[str]:
    return Exchange(Port.AUTHENTICATION, SECRET, tally)


def account(exchange: Exchange[str], purpose: str, now: Microseconds = START) -> Outgoing:
    def encode(identifier: int) -> bytes:
        name = attribute(Type.USER_NAME, purpose.encode())
        return encode_request(Code.ACCOUNTING_REQUEST, identifier, name, SECRET, sign=False)

    sent = exchange.send(purpose, encode, now)
    assert sent is not None
    return sent


def log_in(exchange: Exchange[str], now: Microseconds = START) -> Outgoing:
    def encode(identifier: int) -> bytes:
        return access_request(identifier, attribute(Type.USER_NAME, b"ana"), SECRET, b"sixteen octets!!", sign=True)

    sent = exchange.send("ana", encode, now)
    assert sent is not None
    return sent


def reply(outgoing: Outgoing, code: Code = Code.ACCOUNTING_RESPONSE, secret: bytes = SECRET) -> bytes:
    return encode_reply(code, decode(outgoing.datagram), b"", secret)


def sendings(exchange: Exchange[str], until_seconds: float) -> Iterator[tuple[float, Outgoing | str]]:
    """Yield what leaves or is given up, with its time, asked every 0.1 s."""
    for tenth in range(int(until_seconds * 10)):
        again, given_up = exchange.overdue(later(tenth / 10))
        events: list[Outgoing | str] = [*again, *given_up]
        yield from ((tenth / 10, event) for event in events)


def test_a_request_is_sent_three_times_byte_identical_and_then_given_up(
    accounting: Exchange[str], tally: Tally
) -> None:
    first = account(accounting, "ana")
    assert list(sendings(accounting, 10)) == [(1.1, first), (2.2, first), (3.3, "ana")]
    assert (tally.retransmissions, tally.timeouts) == (2, 1)
    assert accounting.waiting == 0
    assert accounting.next_due_us is None


def test_an_answered_request_is_not_sent_again(accounting: Exchange[str], tally: Tally) -> None:
    sent = account(accounting, "ana")
    answer = accounting.receive(sent.channel.number, reply(sent), later(0.02))
    assert answer is not None
    assert answer.purpose == "ana"
    assert list(sendings(accounting, 10)) == []
    assert tally.answer_times.percentile_milliseconds(0.99) == pytest.approx(20, abs=0.2)


def test_the_second_copy_of_an_answer_is_late_and_does_nothing(accounting: Exchange[str], tally: Tally) -> None:
    sent = account(accounting, "ana")
    accounting.receive(0, reply(sent), START)
    assert accounting.receive(0, reply(sent), START) is None
    assert (tally.late, tally.forged, tally.answers) == (1, 0, 1)


def test_an_answer_under_another_secret_is_forged_and_the_request_waits_on(
    accounting: Exchange[str], tally: Tally
) -> None:
    sent = account(accounting, "ana")
    assert accounting.receive(0, reply(sent, secret=b"guessed"), START) is None
    assert (tally.forged, accounting.waiting) == (1, 1)


def test_an_accept_without_message_authenticator_is_forged(authentication: Exchange[str], tally: Tally) -> None:
    sent = log_in(authentication)
    header = bytes((Code.ACCESS_ACCEPT, 0, 0, 20))
    unsigned = header + md5(header + sent.datagram[4:20] + SECRET).digest()
    assert decode(unsigned).response_authenticator_is_valid(SECRET, sent.datagram[4:20])
    assert authentication.receive(0, unsigned, START) is None
    assert authentication.receive(0, reply(sent, Code.ACCESS_ACCEPT), START) is not None
    assert tally.forged == 1


def test_an_accounting_response_does_not_answer_a_login(authentication: Exchange[str], tally: Tally) -> None:
    sent = log_in(authentication)
    assert authentication.receive(0, reply(sent, Code.ACCOUNTING_RESPONSE), START) is None
    assert tally.forged == 1


def test_an_answer_to_the_request_before_under_the_same_identifier_is_late(
    accounting: Exchange[str], tally: Tally
) -> None:
    first = account(accounting, "first")
    list(sendings(accounting, 5))
    for number in range(IDENTIFIERS):
        account(accounting, f"next {number}", later(5))
    assert accounting.receive(0, reply(first), later(6)) is None
    assert (tally.late, tally.forged, accounting.waiting) == (1, 0, IDENTIFIERS)


def test_identifiers_rotate_and_a_full_source_port_opens_another(accounting: Exchange[str]) -> None:
    sent = [account(accounting, str(number)) for number in range(IDENTIFIERS + 1)]
    assert [decode(outgoing.datagram).identifier for outgoing in sent] == [*range(IDENTIFIERS), 0]
    assert [outgoing.channel.number for outgoing in sent] == [0] * IDENTIFIERS + [1]
    accounting.receive(0, reply(sent[7]), START)
    again = account(accounting, "again")
    assert (again.channel.number, decode(again.datagram).identifier) == (0, 7)


def test_a_router_with_every_identifier_waiting_sends_nothing_more(accounting: Exchange[str], tally: Tally) -> None:
    for number in range(IDENTIFIERS * MOST_SOCKETS):
        account(accounting, str(number))
    assert accounting.send("one more", lambda _: b"", START) is None
    assert tally.congested == 1


def test_after_a_reboot_answers_to_old_requests_are_late(accounting: Exchange[str], tally: Tally) -> None:
    sent = account(accounting, "ana")
    accounting.forget()
    assert accounting.receive(0, reply(sent), START) is None
    assert (tally.late, accounting.waiting, accounting.next_due_us) == (1, 0, None)


@pytest.mark.parametrize("datagram", [b"", b"\x05\x00", bytes(20), b"\x05\x00\x00\x13" + bytes(16)])
def test_octets_that_are_no_packet_are_counted_and_harmless(
    accounting: Exchange[str], tally: Tally, datagram: bytes
) -> None:
    account(accounting, "ana")
    assert accounting.receive(0, datagram, START) is None
    assert tally.malformed == 1


def test_an_access_request_ends_with_a_valid_message_authenticator(authentication: Exchange[str]) -> None:
    packet = decode(log_in(authentication).datagram)
    assert packet.attributes()[-1][0] == Type.MESSAGE_AUTHENTICATOR
    assert packet.message_authenticator_is_valid(SECRET)


def test_an_old_router_signs_no_access_request() -> None:
    packet = decode(access_request(9, attribute(Type.USER_NAME, b"ana"), SECRET, bytes(16), sign=False))
    assert (packet.identifier, packet.has_message_authenticator) == (9, False)


def test_the_next_retransmission_is_announced(accounting: Exchange[str]) -> None:
    account(accounting, "ana")
    assert accounting.next_due_us == START + RETRANSMIT_AFTER_US
