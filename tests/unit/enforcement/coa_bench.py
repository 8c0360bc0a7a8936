"""What tests of CoA need: simulated routers on loopback, a client to them, and time that a test moves."""

from __future__ import annotations

import asyncio
import heapq
import socket
from collections.abc import Callable, Coroutine, Iterable
from hashlib import md5
from random import Random
from typing import cast

import uvloop

from domain.instants import SECOND_US, Microseconds
from domain.secret import Secret
from enforcement.drivers.coa import CoaClient, Outcome, Target
from enforcement.profiles import PROFILES
from radius.codes import Vendor
from radius.dynamic_authorization import DynamicRequest, SessionNames
from radius.packet import Packet, decode, encode_reply, vendor_attribute
from simulator.dynamic_authorization import DynamicAuthorization, Order, SessionBook
from simulator.rates import UNLIMITED
from simulator.session import Grant, Line, Session
from simulator.traffic import Habit
from simulator.truth import Ledger

SECRET = Secret(b"hush-coa")
EPOCH_SECONDS = 1_700_000_000
SOON = 5.0
"""Longer than loopback takes, also on a machine that is busy."""
ANA = SessionNames(user_name="ana", acct_session_id="81300001", framed_ip_address="100.64.0.1")
EVA = SessionNames(user_name="eva", acct_session_id="81300002", framed_ip_address="100.64.0.2")
SLOWER = vendor_attribute(Vendor.MIKROTIK, 8, b"5M/20M")
Address = tuple[str, int]


class ManualTimers:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._planned: list[tuple[float, int, ManualCall]] = []
        self._count = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> ManualCall:
        call = ManualCall(callback, arguments)
        self._count += 1
        heapq.heappush(self._planned, (self.now + delay, self._count, call))
        return call

    def next_in(self) -> float:
        """Return in how many seconds the next call is due."""
        while self._planned[0][2].cancelled:
            heapq.heappop(self._planned)
        return self._planned[0][0] - self.now

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._planned and self._planned[0][0] <= until:
            self.now, _, call = heapq.heappop(self._planned)
            if not call.cancelled:
                call.callback(*call.arguments)
        self.now = until

    def step(self) -> float:
        """Move to the next call and make it; return how long that took."""
        passed = self.next_in()
        self.advance(passed + 1e-9)
        return passed


class ManualCall:
    def __init__(self, callback: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Nas(asyncio.DatagramProtocol):
    """A simulated router on a UDP port; `loses` tells which of its datagrams, by number, it never saw."""

    def __init__(self, secret: bytes, loses: Iterable[int], mute: bool) -> None:
        self.orders: list[Order] = []
        self.seen: list[tuple[bytes, Address]] = []
        self.mute = mute
        self.loses_answers = False
        self._loses = frozenset(loses)
        self._router = DynamicAuthorization(secret, "norte", bytes((127, 0, 0, 1)))
        self._arrived = asyncio.Condition()
        self.book = SessionBook()
        for names in (ANA, EVA):
            self.book.add(session(names))
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.address: Address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.seen.append((data, addr[:2]))
        asyncio.get_running_loop().create_task(self._tell())
        if self.mute or len(self.seen) - 1 in self._loses:
            return
        verdict = self._router.judge(data, addr, self.book, Microseconds(EPOCH_SECONDS * SECOND_US))
        if verdict is None:
            return
        if verdict.order is not None:
            self.orders.append(verdict.order)
        if not self.loses_answers:
            self.transport.sendto(verdict.reply, addr)

    async def _tell(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def saw(self, count: int) -> None:
        """Wait until `count` datagrams have come."""
        async with asyncio.timeout(SOON), self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)


def session(names: SessionNames) -> Session:
    assert names.user_name is not None
    assert names.acct_session_id is not None
    assert names.framed_ip_address is not None
    line = Line(login=names.user_name, mac="02:00:00:00:00:01", port=1, port_name="vlan100", server_name="pppoe")
    account = Ledger().open(names.user_name, "norte", names.acct_session_id, Microseconds(0))
    grant = Grant(None, UNLIMITED, 60, None, (), b"")
    address = socket.inet_aton(names.framed_ip_address)
    return Session(account, line, grant, address, Habit.IDLE, speed=1, random=Random(1))


class Nowhere:
    """A port at which nothing listens."""

    def __init__(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", 0))
            self.address: Address = bound.getsockname()


class Bench:
    """A client under test, and the NAS it speaks to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, random: Random, most_ports: int, most_outstanding: int) -> None:
        self.timers = ManualTimers()
        self.client = CoaClient(
            loop,
            clock=lambda: EPOCH_SECONDS + self.timers.now - 1_000,
            random=random,
            timers=self.timers,
            local_addresses={socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"},
            most_ports=most_ports,
            most_outstanding=most_outstanding,
        )
        self._loop = loop
        self._nas: list[Nas] = []

    async def nas(
        self, *, host: str = "127.0.0.1", secret: bytes = SECRET.reveal(), loses: Iterable[int] = (), mute: bool = False
    ) -> Nas:
        _, nas = await self._loop.create_datagram_endpoint(lambda: Nas(secret, loses, mute), local_addr=(host, 0))
        self._nas.append(nas)
        return nas

    def begin(self, nas: Nas | Nowhere, request: DynamicRequest, *, signed: bool = False) -> asyncio.Task[Outcome]:
        return self._loop.create_task(self.client.send(target(nas.address, signed=signed), request))

    async def ask(self, nas: Nas | Nowhere, request: DynamicRequest) -> Outcome:
        async with asyncio.timeout(SOON):
            return await self.client.send(target(nas.address), request)

    def close(self) -> None:
        self.client.close()
        for nas in self._nas:
            nas.transport.close()


def target(address: Address, *, signed: bool = False) -> Target:
    return Target(*address, SECRET, PROFILES["mikrotik"], require_message_authenticator=signed)


def play(
    scene: Callable[[Bench], Coroutine[None, None, None]],
    *,
    random: Random | None = None,
    most_ports: int = 8,
    most_outstanding: int = 1_000,
) -> None:
    """Run `scene` on the product's kind of event loop."""

    async def main() -> None:
        bench = Bench(asyncio.get_running_loop(), random or Random(7), most_ports, most_outstanding)
        try:
            await scene(bench)
        finally:
            bench.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def answer(nas: Nas, number: int, *, secret: bytes = SECRET.reveal(), code: int | None = None) -> bytes:
    """Return an answer to datagram `number` of `nas`: an ACK unless told otherwise."""
    request = decode(nas.seen[number][0])
    return encode_reply(request.code + 1 if code is None else code, request, b"", secret)


def unsigned(reply: Packet, request: Packet) -> bytes:
    """Return a NAK without attributes, as accel-ppp sends it."""
    head = bytes((request.code + 2, reply.identifier, 0, 20))
    return head + md5(head + request.authenticator + SECRET.reveal()).digest()
