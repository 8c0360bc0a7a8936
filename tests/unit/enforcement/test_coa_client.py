"""The CoA client over loopback, with the simulator's routers as the other side and time that a test moves."""

from __future__ import annotations

import asyncio
import logging
import socket
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.drivers.coa import Kind, next_pause
from enforcement.drivers.coa_ports import IDENTIFIERS, REST_SECONDS, CannotSend, Identifiers
from radius.codes import Code, Type, Vendor
from radius.dynamic_authorization import (
    CannotAsk,
    Disbelief,
    DynamicRequest,
    Meaning,
    SessionNames,
    change,
    disconnect,
)
from radius.packet import attribute, decode, encode_reply, integer_attribute, vendor_attribute
from simulator.rates import Rates
from tests.unit.enforcement.coa_bench import (
    ANA,
    EPOCH_SECONDS,
    EVA,
    SECRET,
    SLOWER,
    SOON,
    Bench,
    Nas,
    Nowhere,
    answer,
    play,
    session,
    target,
    unsigned,
)


def test_a_change_is_applied_and_acknowledged() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        outcome = await bench.ask(nas, change(ANA, SLOWER))
        assert (outcome.kind, outcome.cause, outcome.tries) == (Kind.ACK, None, 1)
        (order,) = nas.orders
        assert order.session.login == "ana"
        assert order.rates == Rates(5_000_000, 20_000_000)
        assert bench.client.traffic.outcomes == {(Kind.ACK, None): 1}
        assert bench.client.outstanding == 0

    play(scene)


def test_a_disconnect_ends_its_session() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        assert (await bench.ask(nas, disconnect(EVA))).kind is Kind.ACK
        assert [(order.session.login, order.disconnect) for order in nas.orders] == [("eva", True)]

    play(scene)


def test_a_nas_on_ipv6_is_asked_too() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(host="::1")
        assert (await bench.ask(nas, change(ANA, SLOWER))).kind is Kind.ACK

    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    play(scene)


@pytest.mark.parametrize(
    ("request_", "cause", "asks"),
    [
        (disconnect(SessionNames(user_name="nobody")), 503, Meaning.SESSION_GONE),
        (disconnect(SessionNames(user_name="ana", acct_session_id="81300002")), 503, Meaning.SESSION_GONE),
        (change(ANA, attribute(Type.FRAMED_POOL, b"other")), 401, Meaning.FINAL),
        (change(ANA, vendor_attribute(Vendor.MIKROTIK, 8, b"fast")), 407, Meaning.FINAL),
        (change(ANA, b""), 404, Meaning.FINAL),
        (
            DynamicRequest(Code.COA_REQUEST, SessionNames(user_name="ana", nas_identifier="sur"), SLOWER, narrow=True),
            403,
            Meaning.FINAL,
        ),
    ],
)
def test_a_refusal_says_why_and_what_that_asks_of_us(request_: DynamicRequest, cause: int, asks: Meaning) -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        outcome = await bench.ask(nas, request_)
        assert (outcome.kind, outcome.cause, outcome.meaning) == (Kind.NAK, cause, asks)
        assert nas.orders == []

    play(scene)


def test_several_sessions_of_one_name_ask_to_be_narrowed_and_then_are() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        twin = SessionNames(user_name="ana", acct_session_id="81300003", framed_ip_address="100.64.0.3")
        nas.book.add(session(twin))
        outcome = await bench.ask(nas, change(SessionNames(user_name="ana"), SLOWER))
        assert outcome.meaning is Meaning.NARROW
        outcome = await bench.ask(nas, change(twin, SLOWER).narrowed())
        assert (outcome.kind, outcome.meaning) == (Kind.ACK, None)
        assert nas.orders[0].session.acct_session_id == "81300003"

    play(scene)


def test_a_lost_request_is_sent_again_octet_by_octet_from_the_same_port() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(loses=[0, 1])
        asked = bench.begin(nas, change(ANA, SLOWER))
        for count in (1, 2):
            await nas.saw(count)
            bench.timers.step()
        outcome = await asked
        assert (outcome.kind, outcome.tries) == (Kind.ACK, 3)
        assert len(set(nas.seen)) == 1

    play(scene)


def test_a_lost_answer_is_sent_again_and_nothing_is_done_twice() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        nas.loses_answers = True
        asked = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        nas.loses_answers = False
        bench.timers.step()
        assert (await asked).kind is Kind.ACK
        assert len(nas.orders) == 1

    play(scene)


class Fixed(Random):
    """Chance that always falls the same way: 0 the lowest, 1 the highest."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self._share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._share


@pytest.mark.parametrize(("share", "tries"), [(0.0, 5), (0.5, 4), (1.0, 4)])
def test_a_silent_nas_is_asked_by_the_timers_of_the_rfc_and_given_up_after_30_seconds(share: float, tries: int) -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = bench.begin(nas, change(ANA, SLOWER))
        pauses = []
        await nas.saw(1)
        while True:
            pauses.append(bench.timers.step())
            await asyncio.sleep(0)
            if asked.done():
                break
            await nas.saw(len(pauses) + 1)
        outcome = await asked
        assert outcome.kind is Kind.SILENT
        assert outcome.seconds == pytest.approx(30, abs=0.01)
        assert sum(pauses) == pytest.approx(30, abs=0.01)
        assert pauses[:3] == [pytest.approx(expected, rel=0.25) for expected in (2, 4, 8)]
        assert outcome.tries == len(nas.seen) == tries
        assert bench.client.traffic.retransmissions == outcome.tries - 1
        assert not outcome.unreachable
        assert outcome.disbelief is None

    play(scene, random=Fixed(share))


def test_an_answer_with_another_secret_does_not_count_and_is_told_when_none_other_comes() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        nas.transport.sendto(answer(nas, 0, secret=b"other"), nas.seen[0][1])
        await bench.ask(await bench.nas(), change(EVA, SLOWER))
        bench.timers.advance(31)
        outcome = await asked
        assert (outcome.kind, outcome.disbelief) == (Kind.SILENT, Disbelief.AUTHENTICATOR)
        assert bench.client.traffic.ignored == {"wrong_authenticator": 1}

    play(scene)


def test_an_unsigned_answer_does_not_count_where_signatures_are_required() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = bench.begin(nas, change(ANA, SLOWER), signed=True)
        await nas.saw(1)
        signed = answer(nas, 0)
        nas.transport.sendto(unsigned(decode(signed), decode(nas.seen[0][0])), nas.seen[0][1])
        nas.transport.sendto(signed, nas.seen[0][1])
        assert (await asked).kind is Kind.ACK
        assert bench.client.traffic.ignored == {"missing_message_authenticator": 1}

    play(scene)


def test_an_answer_from_another_address_or_port_does_not_count() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        same_host, other_host = await bench.nas(), await bench.nas(host="127.0.0.2")
        asked = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        for stranger in (same_host, other_host):
            stranger.transport.sendto(answer(nas, 0, code=Code.COA_NAK), nas.seen[0][1])
        nas.transport.sendto(answer(nas, 0), nas.seen[0][1])
        assert (await asked).kind is Kind.ACK
        assert bench.client.traffic.ignored == {"unexpected": 2}

    play(scene)


def test_a_late_duplicate_of_an_answer_changes_nothing() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        await bench.ask(nas, change(ANA, SLOWER))
        nas.transport.sendto(answer(nas, 0, code=Code.COA_NAK), nas.seen[0][1])
        nas.transport.sendto(b"\x2c", nas.seen[0][1])
        assert (await bench.ask(nas, change(ANA, SLOWER))).kind is Kind.ACK
        assert bench.client.traffic.ignored == {"unexpected": 2}

    play(scene)


def test_where_nothing_listens_the_network_says_so_at_once() -> None:
    async def scene(bench: Bench) -> None:
        nowhere = Nowhere()
        for _ in range(3):
            outcome = await bench.ask(nowhere, change(ANA, SLOWER))
            assert (outcome.kind, outcome.unreachable, outcome.tries) == (Kind.SILENT, True, 1)
        assert (await bench.ask(await bench.nas(), change(ANA, SLOWER))).kind is Kind.ACK
        assert bench.client.traffic.unsent == 0

    play(scene)


def test_many_that_nothing_listens_for_do_not_hinder_those_that_answer() -> None:
    async def scene(bench: Bench) -> None:
        nas, gone = await bench.nas(), Nowhere()
        names = [SessionNames(user_name=f"s{number}") for number in range(100)]
        dead = [bench.begin(gone, disconnect(name)) for name in names]
        alive = [bench.begin(nas, disconnect(name)) for name in names]
        async with asyncio.timeout(SOON):
            outcomes = await asyncio.gather(*alive)
            lost = await asyncio.gather(*dead)
        assert {outcome.cause for outcome in outcomes} == {503}
        assert {outcome.unreachable for outcome in lost} == {True}

    play(scene)


@pytest.mark.parametrize("quoted", [b"", bytes(20), b"\x2b\x07" + bytes(18)])
def test_a_forged_icmp_error_changes_nothing(quoted: bytes) -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        datagram, (_, port) = nas.seen[0]
        forged = quoted[:1] + datagram[1:2] + quoted[2:]
        for descriptor in range(64):
            bench.client.hear_unreachable(descriptor, forged, nas.address)
        assert port
        nas.transport.sendto(answer(nas, 0), nas.seen[0][1])
        assert (await asked).kind is Kind.ACK

    play(scene)


def test_one_request_about_a_session_is_under_way_at_a_time_and_others_do_not_wait() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        first = bench.begin(nas, change(ANA, SLOWER))
        second = bench.begin(nas, disconnect(ANA))
        other = bench.begin(nas, change(EVA, SLOWER))
        await nas.saw(2)
        assert [decode(datagram).text(Type.USER_NAME) for datagram, _ in nas.seen] == ["ana", "eva"]
        for number in (0, 1):
            nas.transport.sendto(answer(nas, number), nas.seen[number][1])
        assert (await first).kind is (await other).kind is Kind.ACK
        await nas.saw(3)
        assert nas.seen[2][0][0] == Code.DISCONNECT_REQUEST
        nas.transport.sendto(answer(nas, 2), nas.seen[2][1])
        assert (await second).kind is Kind.ACK

    play(scene)


def test_who_gives_up_waiting_gives_up_his_turn_too() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        first = bench.begin(nas, change(ANA, SLOWER))
        second = bench.begin(nas, change(ANA, SLOWER))
        third = bench.begin(nas, disconnect(ANA))
        await nas.saw(1)
        second.cancel()
        first.cancel()
        await nas.saw(2)
        nas.transport.sendto(answer(nas, 1), nas.seen[1][1])
        assert (await third).kind is Kind.ACK
        assert bench.client.outstanding == 0

    play(scene)


def test_when_all_identifiers_rest_another_port_is_opened_and_then_the_next_waits() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        for _ in range(2 * IDENTIFIERS):
            await bench.ask(nas, change(ANA, SLOWER))
        pairs = [(address[1], datagram[1]) for datagram, address in nas.seen]
        assert len(set(pairs)) == len(pairs)
        assert len({port for port, _ in pairs}) == 2
        other = await bench.nas()
        assert (await bench.ask(other, change(ANA, SLOWER))).kind is Kind.ACK
        waits = bench.begin(nas, change(ANA, SLOWER))
        await bench.ask(other, change(EVA, SLOWER))
        assert len(nas.seen) == 2 * IDENTIFIERS
        assert bench.timers.next_in() == pytest.approx(REST_SECONDS)
        bench.timers.step()
        assert (await waits).kind is Kind.ACK
        assert nas.seen[-1][1][1] == pairs[0][0]

    play(scene, most_ports=2)


def test_more_than_is_allowed_at_once_is_refused() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = [bench.begin(nas, change(names, SLOWER)) for names in (ANA, EVA)]
        await nas.saw(2)
        with pytest.raises(CannotSend, match="outstanding"):
            await bench.client.send(target(nas.address), disconnect(ANA))
        bench.timers.advance(31)
        assert [(await task).kind for task in asked] == [Kind.SILENT] * 2

    play(scene, most_outstanding=2)


def test_a_request_that_cannot_be_encoded_frees_its_place() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        with pytest.raises(CannotAsk):
            await bench.client.send(target(nas.address), disconnect(SessionNames(nas_identifier="norte")))
        assert bench.client.outstanding == 0
        assert (await bench.ask(nas, change(ANA, SLOWER))).kind is Kind.ACK

    play(scene)


def test_an_address_that_is_none_is_told() -> None:
    async def scene(bench: Bench) -> None:
        with pytest.raises(CannotSend, match="norte"):
            await bench.client.send(target(("norte", 3799)), disconnect(ANA))

    play(scene)


def test_closing_tells_who_waits() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = [bench.begin(nas, change(ANA, SLOWER)) for _ in range(2)]
        await nas.saw(1)
        bench.client.close()
        for task in asked:
            with pytest.raises(CannotSend, match="closed"):
                await task

    play(scene)


def test_closing_tells_who_waits_for_an_identifier_too() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas()
        for _ in range(IDENTIFIERS):
            await bench.ask(nas, change(ANA, SLOWER))
        waits = bench.begin(nas, change(ANA, SLOWER))
        await asyncio.sleep(0)
        bench.client.close()
        with pytest.raises(CannotSend, match="closed"):
            await waits

    play(scene, most_ports=1)


def test_no_secret_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asked = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        bench.timers.advance(31)
        assert "hush" not in repr(target(nas.address)) + repr(await asked)

    caplog.set_level(logging.DEBUG)
    play(scene)
    assert "hush" not in caplog.text


@given(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=9))
def test_pauses_double_within_their_spread_up_to_the_longest(first: float, second: float, more: list[float]) -> None:
    pause = next_pause(0, first)
    assert 1.8 <= pause <= 2.2
    following = next_pause(pause, second)
    assert 1.9 * pause <= following <= 2.1 * pause
    for spread in more:
        following = next_pause(following, spread)
    assert following <= 16 * 1.1


@given(
    st.integers(0, 255),
    st.lists(st.tuples(st.integers(1, 300), st.one_of(st.floats(0, 0.2), st.floats(0, 400))), max_size=8),
)
def test_no_pair_of_port_and_identifier_comes_back_too_soon(first: int, runs: list[tuple[int, float]]) -> None:
    now, ports, used = 0.0, 0, dict[tuple[int, int], float]()
    identifiers = Identifiers(first, now)
    for pause in [pause for count, pause in runs for _ in range(count)]:
        now += pause
        taken = identifiers.take(ports, 3, now)
        if taken is None:
            assert identifiers.free_at() > now
            now = identifiers.free_at()
            taken = identifiers.take(ports, 3, now)
        assert taken is not None
        ports = max(ports, taken[0] + 1)
        assert ports <= 3
        # A sum, as the pause is made: a difference of the same floats may miss it by the last bit.
        assert now >= used.get(taken, -REST_SECONDS) + REST_SECONDS
        used[taken] = now


def at(nas: Nas, number: int, seconds: int) -> bytes:
    """Return an ACK to datagram `number` that says it is of `seconds` from now."""
    request = decode(nas.seen[number][0])
    told_at = integer_attribute(Type.EVENT_TIMESTAMP, EPOCH_SECONDS + seconds)
    return encode_reply(request.code + 1, request, told_at, SECRET.reveal())


def test_a_stale_answer_is_ignored_until_the_router_says_again_that_its_clock_is_so_wrong() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asking = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        nas.transport.sendto(at(nas, 0, -1000), nas.seen[0][1])
        while not bench.client.traffic.ignored:  # noqa: ASYNC110 - what is ignored is told to nobody
            await asyncio.sleep(0)
        assert bench.client.traffic.ignored == {"stale": 1}
        assert not asking.done()
        bench.timers.step()
        await nas.saw(2)
        nas.transport.sendto(at(nas, 1, -1000), nas.seen[1][1])
        outcome = await asking
        assert (outcome.kind, outcome.clock_offset_seconds) == (Kind.ACK, -1000 - int(bench.timers.now - 1_000))
        another = bench.begin(nas, change(EVA, SLOWER))
        await nas.saw(3)
        nas.transport.sendto(at(nas, 2, -1000), nas.seen[2][1])
        assert (await another).tries == 1, "its clock is known by now"

    play(scene)


@pytest.mark.parametrize("seconds", [0, 300, -300])
def test_an_answer_of_this_moment_counts_at_once(seconds: int) -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asking = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        nas.transport.sendto(at(nas, 0, seconds), nas.seen[0][1])
        assert (await asking).clock_offset_seconds == seconds

    play(scene)


def test_a_router_that_sends_nothing_but_one_stale_answer_was_silent() -> None:
    async def scene(bench: Bench) -> None:
        nas = await bench.nas(mute=True)
        asking = bench.begin(nas, change(ANA, SLOWER))
        await nas.saw(1)
        nas.transport.sendto(at(nas, 0, 5000), nas.seen[0][1])
        while not bench.client.traffic.ignored:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        bench.timers.advance(31)
        outcome = await asking
        assert (outcome.kind, outcome.disbelief) == (Kind.SILENT, Disbelief.STALE)

    play(scene)
