"""Decides what the client half of a router sends and believes: identifiers, retransmissions, authenticators.

Rule: RouterOS's manners: three sends 1.1 s apart, byte-identical, from the same source port. An answer counts when its
Response Authenticator fits a waiting request (RFC 2865 §3) and, for logins, its Message-Authenticator is present and
right (RouterOS `require-message-auth=yes`). An identifier is free again once its request is answered or given up; a
source port with 256 waiting requests is full and another one is opened.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

from domain.instants import Microseconds
from radius.codes import Code
from radius.packet import HEADER_OCTETS, MalformedPacket, Packet, decode
from simulator.tally import Tally

RETRANSMIT_AFTER_US = 1_100_000
"""`/radius timeout` of RouterOS, its default."""
MOST_SENDS = 3
IDENTIFIERS = 256
"""RFC 2865 §3: one octet."""
MOST_SOCKETS = 32
"""Source ports of one router towards one port of the server: 8,192 waiting requests."""

_MESSAGE_AUTHENTICATOR_HEAD = b"\x50\x12"
_MESSAGE_AUTHENTICATOR_OCTETS = 18
_NOTHING_SIGNED = bytes(16)

Purpose = TypeVar("Purpose")


class Port(Enum):
    """Which port of the server a request is for."""

    AUTHENTICATION = "authentication"
    ACCOUNTING = "accounting"


_ANSWERS = {
    Port.AUTHENTICATION: frozenset((Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE)),
    Port.ACCOUNTING: frozenset((Code.ACCOUNTING_RESPONSE,)),
}


class Channel(NamedTuple):
    """One source port of a router, by its number."""

    port: Port
    number: int


class Outgoing(NamedTuple):
    """A datagram that leaves for the server."""

    channel: Channel
    datagram: bytes


class Answer(NamedTuple, Generic[Purpose]):
    """A believed answer, with what its request was for."""

    purpose: Purpose
    packet: Packet


class _Waiting(Generic[Purpose]):
    """A request on its way; `purpose` is None once it is answered or given up."""

    __slots__ = ("authenticator", "deadline_us", "first_sent_us", "outgoing", "purpose", "sends")

    def __init__(self, outgoing: Outgoing, purpose: Purpose, now: Microseconds) -> None:
        self.outgoing = outgoing
        self.authenticator = outgoing.datagram[4:20]
        self.purpose: Purpose | None = purpose
        self.sends = 1
        self.first_sent_us = now
        self.deadline_us = now + RETRANSMIT_AFTER_US


class _Socket(Generic[Purpose]):
    """The identifiers of one source port. The request before the current one is kept to know its late answers."""

    __slots__ = ("channel", "current", "cursor", "previous", "waiting")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.cursor = 0
        self.waiting = 0
        self.current: list[_Waiting[Purpose] | None] = [None] * IDENTIFIERS
        self.previous: list[_Waiting[Purpose] | None] = [None] * IDENTIFIERS

    def take(self) -> int:
        """Return the next free identifier after the last one taken."""
        identifier = self.cursor
        while (waiting := self.current[identifier]) is not None and waiting.purpose is not None:
            identifier = (identifier + 1) % IDENTIFIERS
        self.cursor = (identifier + 1) % IDENTIFIERS
        return identifier

    def put(self, identifier: int, request: _Waiting[Purpose]) -> None:
        """Let `request` wait under `identifier`."""
        self.previous[identifier] = self.current[identifier]
        self.current[identifier] = request
        self.waiting += 1


class Exchange(Generic[Purpose]):
    """The requests of one router to one port of the server."""

    def __init__(self, port: Port, secret: bytes, tally: Tally) -> None:
        self._port = port
        self._secret = secret
        self._tally = tally
        self._sockets: list[_Socket[Purpose]] = []
        self._queue: deque[_Waiting[Purpose]] = deque()

    @property
    def waiting(self) -> int:
        """Return how many requests wait for an answer."""
        return sum(socket.waiting for socket in self._sockets)

    @property
    def next_due_us(self) -> int | None:
        """Return when the next retransmission or surrender is due."""
        queue = self._queue
        while queue and queue[0].purpose is None:
            queue.popleft()
        return queue[0].deadline_us if queue else None

    def send(self, purpose: Purpose, encode: Callable[[int], bytes], now: Microseconds) -> Outgoing | None:
        """Send the request that `encode(identifier)` makes; None when every identifier waits."""
        socket = self._free_socket()
        if socket is None:
            self._tally.congested += 1
            return None
        identifier = socket.take()
        outgoing = Outgoing(socket.channel, encode(identifier))
        request = _Waiting(outgoing, purpose, now)
        socket.put(identifier, request)
        self._queue.append(request)
        return outgoing

    def receive(self, number: int, datagram: bytes, now: Microseconds) -> Answer[Purpose] | None:
        """Return the answer in `datagram` when it can be believed and was waited for; else count it."""
        try:
            packet = decode(datagram)
        except MalformedPacket:
            self._tally.malformed += 1
            return None
        socket = self._sockets[number]
        request = socket.current[packet.identifier]
        if request is not None and self._is_genuine(packet, request):
            return self._settle(socket, request, packet, now)
        earlier = socket.previous[packet.identifier]
        if earlier is not None and self._is_genuine(packet, earlier):
            self._tally.late += 1
        else:
            self._tally.forged += 1
        return None

    def overdue(self, now: Microseconds) -> tuple[list[Outgoing], list[Purpose]]:
        """Return what is sent once more, and the purposes of the requests that are given up."""
        again: list[Outgoing] = []
        given_up: list[Purpose] = []
        while (due := self.next_due_us) is not None and due <= now:
            request = self._queue.popleft()
            if request.sends < MOST_SENDS:
                request.sends += 1
                request.deadline_us = now + RETRANSMIT_AFTER_US
                self._queue.append(request)
                again.append(request.outgoing)
            elif request.purpose is not None:
                given_up.append(request.purpose)
                self._release(self._sockets[request.outgoing.channel.number], request)
        self._tally.retransmissions += len(again)
        self._tally.timeouts += len(given_up)
        return again, given_up

    def forget(self) -> None:
        """Drop every waiting request, as a reboot does; answers to them are late from now on."""
        for request in self._queue:
            if request.purpose is not None:
                self._release(self._sockets[request.outgoing.channel.number], request)
        self._queue.clear()

    def _settle(
        self, socket: _Socket[Purpose], request: _Waiting[Purpose], packet: Packet, now: Microseconds
    ) -> Answer[Purpose] | None:
        purpose = request.purpose
        if purpose is None:
            self._tally.late += 1
            return None
        self._release(socket, request)
        self._tally.answered(now - request.first_sent_us)
        return Answer(purpose, packet)

    @staticmethod
    def _release(socket: _Socket[Purpose], request: _Waiting[Purpose]) -> None:
        request.purpose = None
        socket.waiting -= 1

    def _free_socket(self) -> _Socket[Purpose] | None:
        for socket in self._sockets:
            if socket.waiting < IDENTIFIERS:
                return socket
        if len(self._sockets) == MOST_SOCKETS:
            return None
        self._sockets.append(_Socket(Channel(self._port, len(self._sockets))))
        return self._sockets[-1]

    def _is_genuine(self, packet: Packet, request: _Waiting[Purpose]) -> bool:
        if packet.code not in _ANSWERS[self._port]:
            return False
        if not packet.response_authenticator_is_valid(self._secret, request.authenticator):
            return False
        if packet.has_message_authenticator:
            return packet.message_authenticator_is_valid(self._secret, request.authenticator)
        return self._port is Port.ACCOUNTING


def access_request(identifier: int, attributes: bytes, secret: bytes, authenticator: bytes, *, sign: bool) -> bytes:
    """Encode an Access-Request as RouterOS does: Message-Authenticator last, absent from older versions."""
    length = HEADER_OCTETS + len(attributes) + (_MESSAGE_AUTHENTICATOR_OCTETS if sign else 0)
    packet = bytes((Code.ACCESS_REQUEST, identifier)) + length.to_bytes(2) + authenticator + attributes
    if not sign:
        return packet
    packet += _MESSAGE_AUTHENTICATOR_HEAD
    return packet + hmac.digest(secret, packet + _NOTHING_SIGNED, "md5")
