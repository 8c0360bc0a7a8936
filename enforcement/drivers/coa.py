"""Tells NAS what changed by CoA- and Disconnect-Requests over UDP, and brings back what each said.

Rule: a retransmission repeats the octets, source port and Identifier of its request (RFC 5176 §2.3), after the pauses
of RFC 5080 §2.2.1. One request about a session is under way at a time: accel-ppp drops a second. What comes from
elsewhere, answers nothing or cannot be believed changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from random import Random
from types import MappingProxyType
from typing import NamedTuple, Protocol

from domain.secret import Secret
from enforcement.drivers.coa_ports import (
    IDENTIFIERS,
    LONGEST_EXCHANGE_SECONDS,
    CannotSend,
    Identifiers,
    SourcePorts,
    send,
)
from enforcement.profiles import NasProfile
from radius.dynamic_authorization import (
    Answer,
    Disbelief,
    DynamicRequest,
    Meaning,
    PeerClock,
    encode,
    meaning,
    verify,
)
from radius.packet import HEADER_OCTETS, Decoder

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 16.0
SPREAD = 0.1
"""IRT, MRT and RAND of RFC 5080 §2.2.1; MRD, 30 s, leaves room for five tries at most."""
MOST_PORTS = 128
"""Source ports; each carries 256 requests to every NAS in 330 s. All: 99 a second and NAS, twice the default rate."""
MOST_OUTSTANDING = 10_000
"""Requests under way, or waiting for their session or an Identifier; 3 KB each with the task that waits."""
MOST_NAS = 20_000
"""NAS whose Identifiers are remembered."""
ANY_ADDRESS: Mapping[int, str] = MappingProxyType({socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"})

UNEXPECTED = "unexpected"
"""What is ignored because it came too late, from elsewhere, or was never asked for."""

Place = tuple[str, int]
"""Address and port of a NAS, as the kernel writes them."""


class Kind(Enum):
    """What a NAS said to a request."""

    ACK = "ack"
    NAK = "nak"
    SILENT = "silent"


class Outcome(NamedTuple):
    """What became of a request, and how it came to that."""

    kind: Kind
    cause: int | None = None
    """Error-Cause (RFC 5176 §3.5), where the NAS gave one."""
    tries: int = 1
    seconds: float = 0.0
    unreachable: bool = False
    """Silent because nothing listens at that port, as its network says."""
    disbelief: Disbelief | None = None
    """Silent but for answers that could not be believed, the last for this reason."""
    clock_offset_seconds: int | None = None
    """How far the NAS's clock is ahead of ours, where it ever told its time."""

    @property
    def meaning(self) -> Meaning | None:
        """What a NAK asks of us; None for all else."""
        return meaning(self.cause) if self.kind is Kind.NAK else None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a NAS listens, and how it is spoken to."""

    address: str
    port: int
    secret: Secret
    profile: NasProfile
    require_message_authenticator: bool = False
    """Believe signed answers only; accel-ppp, for one, signs none."""


class Cancellable(Protocol):
    """A call that was planned."""

    def cancel(self) -> None:
        """Do not call."""


class Timers(Protocol):
    """Monotonic time and calls to come, as an event loop has them."""

    def time(self) -> float:
        """Return the seconds since some instant."""

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> Cancellable:
        """Call `callback` in `delay` seconds."""


class CoaTraffic:
    """Plain counts, taken over by the metrics."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        """By packet code."""
        self.retransmissions = 0
        self.outcomes: Counter[tuple[Kind, int | None]] = Counter()
        """By kind and Error-Cause."""
        self.ignored: Counter[str] = Counter()
        """By the value of a `Disbelief`, or `UNEXPECTED`."""
        self.unreachable = 0
        self.unsent = 0
        """Datagrams that our own machine did not take; their retransmission follows."""


class _Nas(NamedTuple):
    place: Place
    family: int
    identifiers: Identifiers
    clock: PeerClock


class _Exchange:
    """A request under way."""

    __slots__ = (
        "begun",
        "clock",
        "datagram",
        "disbelief",
        "done",
        "pause",
        "place",
        "port",
        "require",
        "secret",
        "timer",
        "tries",
    )

    def __init__(
        self, datagram: bytes, target: Target, nas: _Nas, port: socket.socket, done: asyncio.Future[Outcome]
    ) -> None:
        self.datagram = datagram
        self.secret = target.secret.reveal()
        self.require = target.require_message_authenticator
        self.place = nas.place
        self.clock = nas.clock
        self.port = port
        self.done = done
        self.begun = 0.0
        self.pause = 0.0
        self.tries = 0
        self.disbelief: Disbelief | None = None
        self.timer: Cancellable | None = None


class _Turn:
    """Who is to speak about one session: in the order in which they came."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class CoaClient:
    """Sends requests and waits for their answers; `clock` tells the seconds since the epoch for Event-Timestamp."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float],
        random: Random,
        timers: Timers | None = None,
        traffic: CoaTraffic | None = None,
        local_addresses: Mapping[int, str] = ANY_ADDRESS,
        most_ports: int = MOST_PORTS,
        most_outstanding: int = MOST_OUTSTANDING,
    ) -> None:
        self.traffic = CoaTraffic() if traffic is None else traffic
        self._loop = loop
        self._clock = clock
        self._random = random
        self._timers: Timers = loop if timers is None else timers
        self._most_ports = most_ports
        self._most_outstanding = most_outstanding
        self._ports = SourcePorts(loop, self, local_addresses)
        self._nas: dict[Place, _Nas] = {}
        self._turns: dict[tuple[Place, str | None], _Turn] = {}
        self._under_way: dict[tuple[int, str, int, int], _Exchange] = {}
        self._short_of_identifiers: set[asyncio.Future[None]] = set()
        self._outstanding = 0
        self._closed = False
        self._decoder = Decoder()

    @property
    def outstanding(self) -> int:
        """Requests under way or waiting."""
        return self._outstanding

    def close(self) -> None:
        """Close the source ports; who still waits gets `CannotSend`."""
        self._closed = True
        for rested in self._short_of_identifiers:
            _settle(rested)
        for exchange in list(self._under_way.values()):
            if not exchange.done.done():
                exchange.done.set_exception(CannotSend("the CoA client was closed before the router answered"))
        self._ports.close()

    async def send(self, target: Target, request: DynamicRequest) -> Outcome:
        """Send `request` until it is answered or given up after 30 s.

        Raise `CannotAsk` for a request that cannot be encoded and `CannotSend` when too much is outstanding.
        """
        if self._outstanding >= self._most_outstanding:
            raise CannotSend(f"{self._outstanding} CoA-Requests are outstanding; more can go when some are answered")
        nas = self._find_nas(target)
        session = request.session
        key = nas.place, session.acct_session_id or session.user_name or session.framed_ip_address
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn()
        turn.users += 1
        self._outstanding += 1
        try:
            async with turn.lock:
                return await self._exchange(target, nas, request)
        finally:
            self._outstanding -= 1
            turn.users -= 1
            if not turn.users:
                del self._turns[key]

    async def _exchange(self, target: Target, nas: _Nas, request: DynamicRequest) -> Outcome:
        port, identifier = await self._take_identifier(nas)
        datagram = encode(
            request,
            target.profile.coa_identification,
            identifier=identifier,
            secret=target.secret.reveal(),
            event_timestamp=int(self._clock()),
        )
        exchange = _Exchange(datagram, target, nas, port, self._loop.create_future())
        exchange.begun = self._timers.time()
        key = (port.fileno(), *nas.place, identifier)
        self._under_way[key] = exchange
        self.traffic.requests[request.code] += 1
        self._transmit(exchange)
        try:
            return await exchange.done
        finally:
            del self._under_way[key]
            if exchange.timer is not None:
                exchange.timer.cancel()

    def _find_nas(self, target: Target) -> _Nas:
        nas = self._nas.get((target.address, target.port))
        if nas is not None:
            return nas
        try:
            address = ip_address(target.address)
        except ValueError:
            raise CannotSend(f"{target.address!r} is no address of a router; correct it in [[router]]") from None
        place = str(address), target.port
        nas = self._nas.get(place)
        if nas is None:
            self._make_room()
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            first = self._random.randrange(IDENTIFIERS)
            nas = self._nas[place] = _Nas(place, family, Identifiers(first, self._timers.time()), PeerClock())
        return nas

    def _make_room(self) -> None:
        """Forget the NAS that nothing was sent to for a while."""
        if len(self._nas) < MOST_NAS:
            return
        now = self._timers.time()
        self._nas = {place: nas for place, nas in self._nas.items() if not nas.identifiers.is_rested(now)}
        if len(self._nas) >= MOST_NAS:
            raise CannotSend(f"CoA-Requests went to {MOST_NAS} routers within minutes; share them among more machines")

    async def _take_identifier(self, nas: _Nas) -> tuple[socket.socket, int]:
        while True:
            if self._closed:
                raise CannotSend("the CoA client was closed before the request could leave")
            now = self._timers.time()
            taken = nas.identifiers.take(self._ports.count(nas.family), self._most_ports, now)
            if taken is not None:
                return self._ports.port(nas.family, taken[0]), taken[1]
            rested: asyncio.Future[None] = self._loop.create_future()
            self._short_of_identifiers.add(rested)
            timer = self._timers.call_later(nas.identifiers.free_at() - now, _settle, rested)
            try:
                await rested
            finally:
                timer.cancel()
                self._short_of_identifiers.discard(rested)

    def _transmit(self, exchange: _Exchange) -> None:
        exchange.tries += 1
        if not send(exchange.port, exchange.datagram, exchange.place):
            self.traffic.unsent += 1
        exchange.pause = next_pause(exchange.pause, self._random.uniform(-SPREAD, SPREAD))
        left = exchange.begun + LONGEST_EXCHANGE_SECONDS - self._timers.time()
        exchange.timer = self._timers.call_later(min(exchange.pause, left), self._pause_ended, exchange)

    def _pause_ended(self, exchange: _Exchange) -> None:
        if exchange.done.done():
            return
        if self._timers.time() - exchange.begun >= LONGEST_EXCHANGE_SECONDS:
            self._finish(exchange, Kind.SILENT)
        else:
            self.traffic.retransmissions += 1
            self._transmit(exchange)

    def hear(self, port: int, datagram: bytes, address: Place) -> None:
        """Take a datagram that came to a source port."""
        exchange = self._under_way.get((port, *address, datagram[1])) if len(datagram) >= HEADER_OCTETS else None
        if exchange is None or exchange.done.done():
            self.traffic.ignored[UNEXPECTED] += 1
            return
        said = verify(
            datagram,
            exchange.datagram,
            exchange.secret,
            require_message_authenticator=exchange.require,
            decoder=self._decoder,
        )
        if isinstance(said, Answer) and not exchange.clock.is_current(said.told_at, int(self._clock())):
            said = Disbelief.STALE
        if isinstance(said, Answer):
            self._finish(exchange, Kind.ACK if said.acknowledged else Kind.NAK, said.cause)
        else:
            self.traffic.ignored[said.value] += 1
            exchange.disbelief = said

    def hear_unreachable(self, port: int, quoted: bytes, address: Place) -> None:
        """Take an ICMP error; only who saw the request can quote its authenticator."""
        exchange = self._under_way.get((port, *address, quoted[1])) if len(quoted) >= HEADER_OCTETS else None
        if exchange is None or exchange.done.done() or not exchange.datagram.startswith(quoted):
            self.traffic.ignored[UNEXPECTED] += 1
            return
        self.traffic.unreachable += 1
        self._finish(exchange, Kind.SILENT, unreachable=True)

    def _finish(self, exchange: _Exchange, kind: Kind, cause: int | None = None, *, unreachable: bool = False) -> None:
        self.traffic.outcomes[kind, cause] += 1
        seconds = self._timers.time() - exchange.begun
        disbelief = exchange.disbelief if kind is Kind.SILENT else None
        offset = exchange.clock.offset_seconds
        exchange.done.set_result(Outcome(kind, cause, exchange.tries, seconds, unreachable, disbelief, offset))


def next_pause(previous: float, spread: float) -> float:
    """Return the pause in seconds after one of `previous`, 0 for none yet; `spread` is RAND (RFC 5080 §2.2.1)."""
    if not previous:
        return FIRST_PAUSE_SECONDS * (1 + spread)
    pause = previous * (2 + spread)
    return pause if pause <= LONGEST_PAUSE_SECONDS else LONGEST_PAUSE_SECONDS * (1 + spread)


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
