"""Joins a fleet of routers to the network: sockets, the clock and the faults of the way.

Rule: no decision is made here; datagrams and instants go to `Router`, what it returns goes out from the router's own
address. Every router has its own source ports and its CoA port; one process and one event loop drive them all.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from domain.instants import SECOND_US, Microseconds
from radius.packet import LARGEST_PACKET
from simulator.behaviour import Behaviour
from simulator.certificate import self_signed, server_context
from simulator.description import FleetDescription, RouterDescription, SubscriberDescription
from simulator.errors import SimulatorError
from simulator.exchange import Channel, Outgoing, Port
from simulator.network import Network
from simulator.router import Router
from simulator.routeros_lines import box_of
from simulator.routeros_server import Box, bind_api
from simulator.routeros_state import API, API_TLS
from simulator.tally import Tally
from simulator.truth import Ledger, SessionTruth, TruthFile

BEAT_SECONDS = 0.005
"""How often routers are asked what is due."""
DATAGRAMS_AT_ONCE = 64
"""Read from one socket before the others get their turn."""
RECEIVE_BUFFER_OCTETS = 1 << 20
SHUTDOWN_STOPS_PER_SECOND = 1_500
LONGEST_SHUTDOWN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the RADIUS server listens."""

    address: str = "127.0.0.1"
    authentication_port: int = 1812
    accounting_port: int = 1813

    def port(self, port: Port) -> int:
        """Return the number of one of its ports."""
        return self.authentication_port if port is Port.AUTHENTICATION else self.accounting_port


@dataclass(frozen=True, slots=True)
class Status:
    """A fleet at one moment."""

    routers: int
    subscribers: int
    sessions: int
    tally: Tally


@dataclass(slots=True)
class _Member:
    """A router and its sockets."""

    router: Router
    sockets: dict[Channel, socket.socket] = field(default_factory=dict)
    box: Box | None = None


class Fleet:
    """A running fleet. Await `run`, or `open`, `close` and what lies between."""

    def __init__(
        self,
        description: FleetDescription,
        behaviour: Behaviour,
        server: Server,
        *,
        seed: int = 0,
        live_truth: Path | None = None,
        clock: Callable[[], Microseconds] | None = None,
    ) -> None:
        self.tally = Tally()
        self.description = description
        self._behaviour = behaviour
        self._server = server
        self._seed = seed
        self._clock = clock or steady_clock()
        self._truth_file = None if live_truth is None else TruthFile(live_truth)
        self._ledger = Ledger(None if self._truth_file is None else self._note)
        self._network = Network(behaviour.faults, Random(f"{seed} network"), self.tally)
        self._members: list[_Member] = []
        self._listeners: list[socket.socket] = []
        self._beat: asyncio.Handle | None = None
        self._silence: asyncio.Event | None = None

    def status(self) -> Status:
        """Return the fleet as it is now."""
        return Status(
            routers=len(self._members),
            subscribers=len(self.description.subscribers),
            sessions=sum(member.router.sessions for member in self._members),
            tally=self.tally,
        )

    def truth(self) -> list[SessionTruth]:
        """Return what every session reported and got acknowledged."""
        return self._ledger.truth()

    def router(self, name: str) -> Router:
        """Return a router of the open fleet."""
        return next(member.router for member in self._members if member.router.description.name == name)

    def box(self, name: str) -> Box:
        """Return the API of a router of the open fleet; raise SimulatorError where it has none."""
        for member in self._members:
            if member.router.description.name == name and member.box is not None:
                return member.box
        raise SimulatorError(f"the fleet has no router {name} with an API")

    async def run(
        self, stop: asyncio.Event, *, duration_seconds: float | None = None, stop_on_exit: bool = False
    ) -> None:
        """Run until `stop` is set or the time is over; then, on demand, end every session with a Stop."""
        self.open()
        try:
            try:
                async with asyncio.timeout(duration_seconds):
                    await stop.wait()
            except TimeoutError:
                pass
            if stop_on_exit:
                await self.hang_up()
        finally:
            self.close()

    def open(self) -> None:
        """Bind the CoA ports and switch every router on; raise SimulatorError when the host refuses an address."""
        _allow_many_sockets()
        self._members = self._routers(self._clock())
        try:
            self._listen()
            self._serve_api()
            for member in self._members:
                for port in Port:
                    self._connect(member, Channel(port, 0))
        except SimulatorError:
            self.close()
            raise
        self._beat = asyncio.get_running_loop().call_soon(self._on_beat)

    async def hang_up(self) -> None:
        """End every session with a Stop and wait until each is acknowledged or given up."""
        spread_us = self.status().sessions * SECOND_US // SHUTDOWN_STOPS_PER_SECOND
        now = self._clock()
        for member in self._members:
            member.router.shut_down(now, spread_us)
        self._silence = asyncio.Event()
        try:
            async with asyncio.timeout(spread_us / SECOND_US + LONGEST_SHUTDOWN_SECONDS):
                await self._silence.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        """Close every socket and bring the live truth to the disk; harmless when repeated."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        loop = asyncio.get_running_loop()
        for opened in [*self._listeners, *(known for member in self._members for known in member.sockets.values())]:
            loop.remove_reader(opened)
            opened.close()
        self._listeners.clear()
        for member in self._members:
            member.sockets.clear()
            if member.box is not None:
                member.box.close()
                member.box = None
        if self._truth_file is not None:
            self._truth_file.extend(self.truth())
            self._truth_file.close()
            self._truth_file = None

    def _routers(self, now: Microseconds) -> list[_Member]:
        by_router: dict[str, list[SubscriberDescription]] = {known.name: [] for known in self.description.routers}
        for subscriber in self.description.subscribers:
            by_router[subscriber.router].append(subscriber)
        return [
            _Member(
                Router(
                    described,
                    by_router[described.name],
                    self._behaviour,
                    ledger=self._ledger,
                    tally=self.tally,
                    seed=self._seed,
                    now=now,
                )
            )
            for described in self.description.routers
        ]

    def _on_beat(self) -> None:
        self._beat = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._on_beat)
        now = self._clock()
        for member in self._members:
            due_us = member.router.next_due_us
            if due_us is not None and due_us <= now:
                self._send(member, member.router.tick(now))
        if self._truth_file is not None:
            self._truth_file.sync()
        if self._silence is not None and all(member.router.is_quiet for member in self._members):
            self._silence.set()

    def _send(self, member: _Member, outgoing: list[Outgoing]) -> None:
        for channel, datagram in outgoing:
            try:
                used = member.sockets.get(channel) or self._connect(member, channel)
            except SimulatorError:
                # The first sockets of each router could be opened: the host is short of something now.
                self.tally.unreachable += 1
                continue
            self._over_the_network(self._emit, used, datagram)

    def _over_the_network(self, deliver: Callable[..., None], *arguments: object) -> None:
        """Deliver now, later, twice or never, as the network likes it."""
        if self._behaviour.faults.network_is_perfect:
            deliver(*arguments)
            return
        for delay_seconds in self._network.delays_seconds():
            if delay_seconds:
                asyncio.get_running_loop().call_later(delay_seconds, deliver, *arguments)
            else:
                deliver(*arguments)

    def _emit(self, used: socket.socket, datagram: bytes) -> None:
        try:
            used.send(datagram)
        except OSError:
            # Nothing listens there, no buffer, or closed meanwhile: a datagram may be lost anywhere.
            self.tally.unreachable += 1

    def _connect(self, member: _Member, channel: Channel) -> socket.socket:
        described = member.router.description
        opened = _bind(described, 0)
        try:
            opened.connect((self._server.address, self._server.port(channel.port)))
        except OSError as error:
            opened.close()
            raise SimulatorError(
                f"router {described.name} at {described.address} cannot reach {self._server.address}: {error.strerror}"
            ) from None
        member.sockets[channel] = opened
        asyncio.get_running_loop().add_reader(opened, self._on_answers, member, channel, opened)
        return opened

    def _on_answers(self, member: _Member, channel: Channel, readable: socket.socket) -> None:
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                datagram = readable.recv(LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                self.tally.unreachable += 1
                return
            self._over_the_network(self._take, member, channel, datagram)

    def _take(self, member: _Member, channel: Channel, datagram: bytes) -> None:
        self._send(member, member.router.receive(channel, datagram, self._clock()))

    def _listen(self) -> None:
        """Open the CoA ports; routers behind one address and port share it."""
        shared: dict[tuple[str, int], list[_Member]] = {}
        for member in self._members:
            described = member.router.description
            shared.setdefault((described.address, described.coa_port), []).append(member)
        for members in shared.values():
            described = members[0].router.description
            opened = _bind(described, described.coa_port)
            self._listeners.append(opened)
            asyncio.get_running_loop().add_reader(opened, self._on_orders, members, opened)

    def _on_orders(self, members: list[_Member], readable: socket.socket) -> None:
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                datagram, source = readable.recvfrom(LARGEST_PACKET)
            except OSError:
                return
            self._over_the_network(self._obey, members, readable, datagram, source)

    def _obey(self, members: list[_Member], listener: socket.socket, datagram: bytes, source: tuple[str, int]) -> None:
        now = self._clock()
        for member in members:
            reply = member.router.receive_dynamic(datagram, source, now)
            if reply is not None:
                self._answer_later(member.router.dynamic.faults.delay_seconds, listener, reply, source)
                return
        self.tally.dynamic_dropped += 1

    def _answer_later(
        self, delay_seconds: float, listener: socket.socket, reply: bytes, source: tuple[str, int]
    ) -> None:
        if not delay_seconds:
            self._over_the_network(self._reply, listener, reply, source)
            return
        loop = asyncio.get_running_loop()
        loop.call_later(delay_seconds, self._over_the_network, self._reply, listener, reply, source)

    def _serve_api(self) -> None:
        """Let the routers that have an API serve it."""
        for member in self._members:
            described, api = member.router.description, member.router.description.api
            if api is None:
                continue
            listener = bind_api(described.address, api.port, described.name)
            member.box = box_of(member.router, api, self._radius_entry(), self._clock)
            member.box.faults = self._behaviour.faults.api
            certificate = self_signed(described.name, described.address, self._seed) if api.tls else None
            context = None if certificate is None else server_context(certificate)
            member.box.serve(listener, API_TLS if api.tls else API, context)

    def _radius_entry(self) -> Mapping[str, str]:
        """Return where the routers' logins go, as `/radius` has it."""
        return {
            "address": self._server.address,
            "authentication-port": str(self._server.authentication_port),
            "accounting-port": str(self._server.accounting_port),
        }

    def _reply(self, listener: socket.socket, reply: bytes, source: tuple[str, int]) -> None:
        try:
            listener.sendto(reply, source)
        except OSError:
            self.tally.unreachable += 1

    def _note(self, truth: SessionTruth) -> None:
        if self._truth_file is not None:
            self._truth_file.append(truth)


def steady_clock() -> Callable[[], Microseconds]:
    """Return a clock that starts at the wall's time and never jumps."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda: Microseconds((time.monotonic_ns() + offset_ns) // 1_000)


def _bind(described: RouterDescription, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in described.address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        opened.bind((described.address, port))
    except OSError as error:
        opened.close()
        what = f"CoA port {port} of" if port else "a source port at"
        raise SimulatorError(
            f"{what} router {described.name} ({described.address}) cannot be bound: {error.strerror}; "
            "the fleet needs addresses of this machine, such as 127.0.0.0/8, and free ports"
        ) from None
    return opened


def _allow_many_sockets() -> None:
    """Raise the process's soft limit of open files to its hard limit: a router has three sockets and more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
