"""Group Y: other systems ask for changes and disconnects; we find the session, ask its NAS and tell what it said."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from typing import cast

import pytest
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor

from daemon import coa_relay
from daemon.coa_relay import CoaRelay, Reply, choose, judge, reply_to
from daemon.datagrams import DatagramSocket
from daemon.enforcement_routers import RouterLanes
from daemon.relayed_requests import Found, RelayedRequests
from domain.errors import CaudalError
from domain.instants import SECOND_US, Microseconds
from domain.secret import Secret
from enforcement.drivers.coa import Kind, Outcome, Target
from enforcement.router_queue import SILENT_IN_A_ROW, Ended
from radius.codes import Code, ErrorCause, Microsoft, ServiceType, Type, Vendor
from radius.dynamic_authorization import SessionNames
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute, vendor_attribute
from tests.system.radius_client import Reply as Verified
from tests.system.radius_client import verify
from tests.unit.enforcement.coa_bench import ANA, EPOCH_SECONDS, EVA, SLOWER, SOON, Bench, Nas, Nowhere, play, target

ASKING = b"hush-billing"
BY_NAME = attribute(Type.USER_NAME, b"ana")
BOX = (1, "")
NOW = attribute(Type.EVENT_TIMESTAMP, EPOCH_SECONDS.to_bytes(4))


def asking(
    attributes: bytes, *, code: int = Code.COA_REQUEST, identifier: int = 1, secret: bytes = ASKING, sign: bool = True
) -> bytes:
    return encode_request(code, identifier, attributes, secret, sign=sign)


OTHER = asking(attribute(Type.USER_NAME, b"eva") + SLOWER, identifier=9)
"""Sent after what gets no answer; tasks run in the order in which they began."""


class Reactor:
    """As much of a reactor as a socket needs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def addReader(self, descriptor: IReadDescriptor) -> None:  # noqa: N802
        self._loop.add_reader(descriptor.fileno(), descriptor.doRead)

    def removeReader(self, descriptor: IReadDescriptor) -> None:  # noqa: N802
        self._loop.remove_reader(descriptor.fileno())


class System:
    """A system that asks the relay; `source` is its address."""

    def __init__(self, relay_port: int, source: str = "127.0.0.1") -> None:
        self._loop = asyncio.get_running_loop()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", relay_port))

    def send(self, datagram: bytes) -> None:
        self.socket.send(datagram)

    async def hear(self, request: bytes) -> Verified:
        async with asyncio.timeout(SOON):
            return verify(await self._loop.sock_recv(self.socket, 4096), request, ASKING)

    async def ask(self, request: bytes) -> Verified:
        self.send(request)
        return await self.hear(request)


def found(names: SessionNames, where: Target | None) -> Found:
    """Return a session of the one box here; its number is that of its login."""
    return Found(names, where, session_id=1 if names is ANA else 2, box=BOX)


class Network:
    """A relay with its sessions: `found` is what is known of them."""

    def __init__(self, bench: Bench, nas: Nas) -> None:
        loop = asyncio.get_running_loop()
        bound = DatagramSocket(cast("IReactorFDSet", Reactor(loop)), "0.0.0.0", 0, receive_buffer_octets=1 << 20)
        self.bench = bench
        self.port = bound.port
        self.found = {names: found(names, target(nas.address)) for names in (ANA, EVA)}
        self.per_second = 10_000
        self.lanes = RouterLanes(loop, routers=dict, per_second=lambda: self.per_second)
        self.requests = RelayedRequests(bench.client.send, self.lanes.find)
        self.fault: Exception | None = None
        self.later_us = 0
        self.is_active = True
        self.relay = CoaRelay(
            bound,
            [("127.0.0.1", Secret(ASKING)), ("127.0.0.9", Secret(ASKING))],
            find=self.find,
            forward=self.requests,
            clock=self.clock,
            loop=loop,
            is_active=lambda: self.is_active,
        )
        self.relay.start()

    def close(self) -> None:
        self.relay.close()
        self.lanes.close()

    async def find(self, names: SessionNames) -> Sequence[Found]:
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return [
            found
            for known, found in self.found.items()
            if names.user_name in (None, known.user_name)
            and names.acct_session_id in (None, known.acct_session_id)
            and names.framed_ip_address in (None, known.framed_ip_address)
        ]

    def clock(self) -> Microseconds:
        return Microseconds(EPOCH_SECONDS * SECOND_US + self.later_us)


Scene = Callable[[Network, Nas, System], Coroutine[None, None, None]]


def relayed(scene: Scene, *, mute: bool = False) -> None:
    """Run `scene` with a relay, a NAS that has the sessions of ana and eva, and a system that asks."""

    async def with_bench(bench: Bench) -> None:
        nas = await bench.nas(mute=mute)
        network = Network(bench, nas)
        system = System(network.port)
        try:
            await scene(network, nas, system)
        finally:
            network.close()
            system.socket.close()

    play(with_bench)


def test_a_change_named_by_login_reaches_the_nas_with_every_name_it_understands() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        answer = await system.ask(asking(NOW + BY_NAME + SLOWER))
        assert answer.code == Code.COA_ACK
        assert answer.kinds == [Type.MESSAGE_AUTHENTICATOR]
        (datagram, _), (order,) = nas.seen[0], nas.orders
        assert order.session.login == "ana"
        assert [(kind, value) for kind, value in decode(datagram).attributes()][1:] == [
            (Type.EVENT_TIMESTAMP, EPOCH_SECONDS.to_bytes(4)),
            (Type.USER_NAME, b"ana"),
            (Type.ACCT_SESSION_ID, b"81300001"),
            (Type.FRAMED_IP_ADDRESS, bytes((100, 64, 0, 1))),
            (Type.VENDOR_SPECIFIC, SLOWER[2:]),
        ]

    relayed(scene)


def test_an_answer_is_signed_and_echoes_each_proxy_state_which_the_nas_got_too() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        states = attribute(Type.PROXY_STATE, b"one") + attribute(Type.PROXY_STATE, b"two")
        answer = await system.ask(asking(states + BY_NAME, code=Code.DISCONNECT_REQUEST))
        assert answer.code == Code.DISCONNECT_ACK
        assert answer.kinds == [Type.MESSAGE_AUTHENTICATOR, Type.PROXY_STATE, Type.PROXY_STATE]
        assert answer.packet.all(Type.PROXY_STATE) == [b"one", b"two"]
        assert decode(nas.seen[0][0]).all(Type.PROXY_STATE) == [b"one", b"two"]
        assert nas.orders[0].disconnect

    relayed(scene)


def test_the_nas_s_refusal_is_told_as_it_is() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        wrong = vendor_attribute(Vendor.MIKROTIK, 8, b"fast")
        answer = await system.ask(asking(BY_NAME + wrong))
        assert (answer.code, answer.packet.integer(Type.ERROR_CAUSE)) == (Code.COA_NAK, 407)

    relayed(scene)


def test_a_disconnect_passes_on_identification_alone() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        more = attribute(Type.REPLY_MESSAGE, b"bye") + SLOWER + attribute(Type.CLASS, b"x")
        assert (await system.ask(asking(BY_NAME + more, code=Code.DISCONNECT_REQUEST))).code == Code.DISCONNECT_ACK
        assert [kind for kind, _ in decode(nas.seen[0][0]).attributes()] == [
            Type.MESSAGE_AUTHENTICATOR,
            Type.EVENT_TIMESTAMP,
            Type.USER_NAME,
            Type.ACCT_SESSION_ID,
            Type.FRAMED_IP_ADDRESS,
        ]

    relayed(scene)


@pytest.mark.parametrize(
    ("code", "attributes", "cause"),
    [
        (Code.COA_REQUEST, attribute(Type.USER_NAME, b"nobody") + SLOWER, ErrorCause.SESSION_CONTEXT_NOT_FOUND),
        (Code.COA_REQUEST, attribute(Type.NAS_PORT, bytes(4)) + SLOWER, 508),
        (Code.DISCONNECT_REQUEST, BY_NAME + integer_attribute(Type.SERVICE_TYPE, 2), ErrorCause.UNSUPPORTED_ATTRIBUTE),
        (Code.DISCONNECT_REQUEST, BY_NAME + attribute(Type.STATE, b"s"), ErrorCause.UNSUPPORTED_ATTRIBUTE),
        (
            Code.COA_REQUEST,
            BY_NAME + integer_attribute(Type.SERVICE_TYPE, ServiceType.AUTHORIZE_ONLY) + attribute(Type.STATE, b"s"),
            ErrorCause.UNSUPPORTED_SERVICE,
        ),
        (Code.COA_REQUEST, SLOWER, ErrorCause.MISSING_ATTRIBUTE),
        (Code.DISCONNECT_REQUEST, attribute(Type.NAS_IDENTIFIER, b"norte"), ErrorCause.MISSING_ATTRIBUTE),
        (Code.COA_REQUEST, BY_NAME + attribute(Type.FRAMED_IPV6_PREFIX, bytes(18)), ErrorCause.UNSUPPORTED_ATTRIBUTE),
        (Code.COA_REQUEST, BY_NAME + attribute(Type.FRAMED_IP_ADDRESS, bytes(3)), ErrorCause.INVALID_ATTRIBUTE_VALUE),
        (
            Code.COA_REQUEST,
            BY_NAME + vendor_attribute(Vendor.MICROSOFT, Microsoft.MPPE_SEND_KEY, bytes(34)),
            ErrorCause.UNSUPPORTED_ATTRIBUTE,
        ),
    ],
)
def test_what_cannot_be_passed_on_is_refused_with_its_cause(code: Code, attributes: bytes, cause: int) -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        answer = await system.ask(asking(attributes, code=code))
        assert (answer.code, answer.packet.integer(Type.ERROR_CAUSE)) == (code + 2, cause)
        assert nas.seen == []

    relayed(scene)


def test_a_session_whose_nas_cannot_be_asked_is_not_routable() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        network.found = {ANA: found(ANA, None)}
        assert (await system.ask(asking(BY_NAME + SLOWER))).packet.integer(Type.ERROR_CAUSE) == 502

    relayed(scene)


def test_a_nas_that_does_not_listen_supports_no_such_requests() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        network.found = {ANA: found(ANA, target(Nowhere().address))}
        answer = await system.ask(asking(BY_NAME + SLOWER))
        assert (answer.code, answer.packet.integer(Type.ERROR_CAUSE)) == (Code.COA_NAK, 406)

    relayed(scene)


def test_a_request_for_which_there_is_no_room_at_the_nas_is_to_come_later() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        network.bench.client.close()
        assert (await system.ask(asking(BY_NAME + SLOWER))).packet.integer(Type.ERROR_CAUSE) == 506

    relayed(scene)


def test_a_router_is_asked_no_faster_than_its_rate_whoever_asks() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        network.per_second = 4
        clock = asyncio.get_running_loop().time
        begun, took = clock(), []
        requests = [asking(BY_NAME + SLOWER, identifier=number) for number in range(3)]
        for request in requests:
            system.send(request)
        for number in range(3):
            await nas.saw(number + 1)
            took.append(clock() - begun)
        assert took[2] >= 2 / 4
        for request in requests:
            assert (await system.hear(request)).code == Code.COA_ACK

    relayed(scene)


def test_a_session_is_asked_one_thing_at_a_time_by_whoever_asks() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        lane = network.lanes.find(BOX)
        ours = asyncio.Event()
        assert lane.push(1, ours.set, urgent=True)
        async with asyncio.timeout(SOON):
            await ours.wait()
        request = asking(BY_NAME + SLOWER)
        system.send(request)
        assert (await system.ask(OTHER)).code == Code.COA_ACK
        assert [order.session.login for order in nas.orders] == ["eva"]
        lane.done(1, Ended.ANSWERED)
        assert (await system.hear(request)).code == Code.COA_ACK

    relayed(scene)


def test_while_a_nas_leaves_requests_unanswered_others_are_told_to_ask_later() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        network.found = {names: found(names, target(Nowhere().address)) for names in (ANA, EVA)}
        told = []
        for number in range(SILENT_IN_A_ROW + 1):
            answer = await system.ask(asking(BY_NAME + SLOWER, identifier=number))
            told.append((answer.code, answer.packet.integer(Type.ERROR_CAUSE)))
        assert told == [(Code.COA_NAK, 406)] * SILENT_IN_A_ROW + [(Code.COA_NAK, 506)]
        assert nas.seen == []

    relayed(scene)


def with_wrong_signature(attributes: bytes) -> bytes:
    signature = attribute(Type.MESSAGE_AUTHENTICATOR, bytes(16))
    return asking(signature + attributes, sign=False)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (asking(BY_NAME, secret=b"other"), "wrong_authenticator"),
        (with_wrong_signature(BY_NAME), "wrong_message_authenticator"),
        (asking(attribute(Type.EVENT_TIMESTAMP, (EPOCH_SECONDS - 301).to_bytes(4)) + BY_NAME), "stale"),
        (asking(attribute(Type.EVENT_TIMESTAMP, (EPOCH_SECONDS + 301).to_bytes(4)) + BY_NAME), "stale"),
        (asking(BY_NAME, code=Code.ACCOUNTING_REQUEST), "unexpected_code"),
        (asking(BY_NAME, code=Code.COA_ACK), "unexpected_code"),
        (b"\x2b\x01", "short"),
        (asking(BY_NAME)[:-1], "length"),
    ],
)
def test_what_is_not_proven_gets_no_answer_and_is_counted(datagram: bytes, reason: str) -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        system.send(datagram)
        assert (await system.ask(asking(BY_NAME + SLOWER, identifier=2))).code == Code.COA_ACK
        assert network.relay.traffic.drops == {reason: 1}
        assert len(nas.seen) == 1

    relayed(scene)


def test_an_unknown_system_gets_no_answer_whatever_it_knows() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        stranger, friend = System(network.port, "127.0.0.8"), System(network.port, "127.0.0.9")
        stranger.send(asking(BY_NAME + SLOWER))
        assert (await friend.ask(asking(BY_NAME + SLOWER))).code == Code.COA_ACK
        with pytest.raises(BlockingIOError):
            stranger.socket.recv(1)
        assert network.relay.traffic.drops == {"unknown_source": 1}
        stranger.socket.close()
        friend.socket.close()

    relayed(scene)


def test_a_request_without_signature_is_proven_by_its_authenticator() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        assert (await system.ask(asking(BY_NAME + SLOWER, sign=False))).code == Code.COA_ACK

    relayed(scene)


def test_a_duplicate_gets_the_same_octets_and_the_nas_is_not_asked_again() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        first = await system.ask(asking(BY_NAME + SLOWER))
        network.later_us = coa_relay.ANSWERS_KEPT_US - 1
        second = await system.ask(asking(BY_NAME + SLOWER))
        assert second.octets == first.octets
        assert len(nas.seen) == 1
        network.later_us = coa_relay.ANSWERS_KEPT_US
        await system.ask(asking(BY_NAME + SLOWER))
        assert len(nas.seen) == 2
        assert network.relay.traffic.duplicates_answered == 1

    relayed(scene)


def test_another_request_under_the_same_identifier_is_new() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        await system.ask(asking(BY_NAME + SLOWER))
        await system.ask(asking(BY_NAME, code=Code.DISCONNECT_REQUEST))
        assert [order.disconnect for order in nas.orders] == [False, True]

    relayed(scene)


def test_an_answer_is_kept_though_one_under_the_same_identifier_ages() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        await system.ask(asking(BY_NAME + SLOWER))
        network.later_us = 20 * SECOND_US
        ended = asking(BY_NAME, code=Code.DISCONNECT_REQUEST)
        first = await system.ask(ended)
        network.later_us = 31 * SECOND_US
        assert (await system.ask(ended)).octets == first.octets
        assert len(nas.seen) == 2

    relayed(scene)


def test_a_duplicate_of_what_is_under_way_is_dropped_however_long_that_takes() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        request = asking(BY_NAME + SLOWER)
        system.send(request)
        await nas.saw(1)
        network.later_us = 29 * SECOND_US
        system.send(request)
        refused = asking(SLOWER, identifier=9)
        assert (await system.ask(refused)).packet.integer(Type.ERROR_CAUSE) == 402
        nas.mute = False
        network.bench.timers.step()
        assert (await system.hear(request)).code == Code.COA_ACK
        assert network.relay.traffic.drops == {"pending_duplicate": 1}
        assert len(nas.orders) == 1

    relayed(scene, mute=True)


def test_when_the_nas_is_silent_so_are_we_and_the_same_octets_are_then_passed_on_again() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        request = asking(BY_NAME + SLOWER)
        system.send(request)
        await nas.saw(1)
        network.bench.timers.advance(31)
        await nas.saw(4)
        assert (await system.ask(asking(SLOWER, identifier=9))).packet.integer(Type.ERROR_CAUSE) == 402
        nas.mute = False
        assert (await system.ask(request)).code == Code.COA_ACK
        assert network.relay.traffic.answers == {(Code.COA_NAK, 402): 1, (Code.COA_ACK, None): 1}

    relayed(scene, mute=True)


@pytest.mark.parametrize(
    ("fault", "reason"), [(CaudalError("the database is away"), "database_away"), (KeyError("defect"), "defect")]
)
def test_when_we_cannot_look_we_are_silent_and_look_again(fault: Exception, reason: str) -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        request = asking(BY_NAME + SLOWER)
        network.fault = fault
        system.send(request)
        assert (await system.ask(OTHER)).code == Code.COA_ACK
        assert network.relay.traffic.drops == {reason: 1}
        assert (await system.ask(request)).code == Code.COA_ACK

    relayed(scene)


def test_a_core_that_stands_by_is_silent_so_that_the_active_one_is_asked() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        request = asking(NOW + BY_NAME + SLOWER)
        network.is_active = False
        system.send(request)
        while not network.relay.traffic.drops:  # noqa: ASYNC110 - the relay tells nobody of a drop
            await asyncio.sleep(0)
        network.is_active = True
        assert (await system.ask(request)).code == Code.COA_ACK
        assert network.relay.traffic.drops == {coa_relay.STANDBY: 1}
        assert len(nas.seen) == 1

    relayed(scene)


def test_a_core_that_is_relieved_does_not_say_what_a_nas_made_of_its_request() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        system.send(asking(NOW + BY_NAME + SLOWER))
        while not nas.seen:  # noqa: ASYNC110 - it is mute
            await asyncio.sleep(0)
        network.is_active = False
        network.bench.client.close()
        while len(network.relay._seen):  # noqa: ASYNC110 - silence tells nothing
            await asyncio.sleep(0)
        assert network.relay.traffic.answers == {}

    relayed(scene, mute=True)


def test_a_request_full_of_proxy_states_that_leave_no_room_is_dropped() -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        states = attribute(Type.PROXY_STATE, bytes(253)) * 15 + attribute(Type.PROXY_STATE, bytes(230))
        system.send(asking(states + BY_NAME, sign=False))
        assert (await system.ask(OTHER)).code == Code.COA_ACK
        assert network.relay.traffic.drops == {"reply_too_long": 1}
        assert len(nas.seen) == 1

    relayed(scene)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("radclient") is None, reason="radclient is missing: apt install freeradius-utils")
@pytest.mark.parametrize(("kind", "said"), [("coa", "CoA-ACK"), ("disconnect", "Disconnect-ACK")])
def test_radclient_is_understood_and_believes_our_answer(kind: str, said: str) -> None:
    async def scene(network: Network, nas: Nas, system: System) -> None:
        program = await asyncio.create_subprocess_exec(
            "radclient", "-x", "-r", "1", "-t", "4", f"127.0.0.1:{network.port}", kind, ASKING.decode(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
        change = 'Mikrotik-Rate-Limit = "5M/20M"\n' if kind == "coa" else ""
        printed, _ = await program.communicate(f"User-Name = ana\n{change}".encode())
        assert program.returncode == 0, printed.decode()
        assert f"Received {said}" in printed.decode()
        assert [order.session.login for order in nas.orders] == ["ana"]

    relayed(scene)


def request_of(attributes: bytes, code: int = Code.COA_REQUEST) -> Packet:
    return decode(asking(attributes, code=code))


def test_a_service_type_other_than_authorize_only_is_passed_on() -> None:
    service = integer_attribute(Type.SERVICE_TYPE, ServiceType.FRAMED)
    judged = judge(request_of(BY_NAME + service + SLOWER))
    assert judged == (SessionNames(user_name="ana"), service + SLOWER, None)


def test_the_session_that_is_meant_is_the_only_one_found() -> None:
    known = found(ANA, target(("192.0.2.1", 3799)))
    assert choose([]) is ErrorCause.SESSION_CONTEXT_NOT_FOUND
    assert choose([known, known]) is ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED
    assert choose([found(ANA, None)]) is ErrorCause.REQUEST_NOT_ROUTABLE
    assert choose([known]) is known


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (Outcome(Kind.ACK), Reply(acknowledged=True, cause=None)),
        (Outcome(Kind.ACK, 201), Reply(acknowledged=True, cause=201)),
        (Outcome(Kind.NAK, 507), Reply(acknowledged=False, cause=507)),
        (Outcome(Kind.NAK), Reply(acknowledged=False, cause=None)),
        (Outcome(Kind.SILENT), None),
        (Outcome(Kind.SILENT, unreachable=True), Reply(acknowledged=False, cause=406)),
    ],
)
def test_each_outcome_is_told_or_not(outcome: Outcome, reply: Reply | None) -> None:
    assert reply_to(outcome) == reply
