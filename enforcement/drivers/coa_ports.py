"""The source ports of CoA- and Disconnect-Requests: opened as they are needed, read together.

Rule: one pair of source port and Identifier comes back to a NAS only after everything sent under it can no longer be
replayed (RFC 5176 §6.3). An ICMP error is told with the datagram that it quotes, so that a forged one is recognised.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from collections.abc import Mapping
from struct import Struct
from typing import Protocol

from domain.errors import CaudalError
from radius.dynamic_authorization import REPLAY_WINDOW_SECONDS

LONGEST_EXCHANGE_SECONDS = 30.0
"""MRD, RFC 5080 §2.2.1."""
REST_SECONDS = REPLAY_WINDOW_SECONDS + LONGEST_EXCHANGE_SECONDS
"""How long an Identifier rests after it was taken: its last retransmission may be that late."""
IDENTIFIERS = 256
RECEIVE_BUFFER_OCTETS = 1 << 20
LARGEST_DATAGRAM = 4097
"""One octet more than the largest RADIUS packet, so that a longer one is seen to be too long."""
MOST_PER_WAKE = 256
"""Answers read from one port before other events get their turn."""
QUOTED_OCTETS = 576
"""As much of a datagram as a router quotes in an ICMP error (RFC 1812 §4.3.2.3)."""

_IP_RECVERR = 11
_IPV6_RECVERR = 25
_ANCILLARY_OCTETS = 512
_ERRNO = Struct("@I")
"""How the kernel's sock_extended_err begins."""


class CannotSend(CaudalError):
    """A request cannot leave now."""


class Identifiers:
    """Which source port and Identifier the next request to one NAS takes.

    Invariant: between two uses of one pair lie at least `REST_SECONDS`: ports are used up one after the other, and one
    that is used up rests as a whole.
    """

    __slots__ = ("_first", "_port", "_rests_until", "_taken", "_used_at")

    def __init__(self, first: int, now: float) -> None:
        self._first = first
        self._taken = 0
        self._port = 0
        self._rests_until: dict[int, float] = {}
        self._used_at = now

    def take(self, ports: int, most_ports: int, now: float) -> tuple[int, int] | None:
        """Return (port, identifier), the port as its place among `ports` or the one to be opened; None: all rest."""
        if self._taken == IDENTIFIERS:
            self._rests_until[self._port] = self._used_at + REST_SECONDS
            rested = next((port for port in range(ports) if self._rests_until.get(port, now) <= now), ports)
            if rested >= most_ports:
                return None
            self._port, self._taken = rested, 0
        identifier = (self._first + self._taken) % IDENTIFIERS
        self._taken += 1
        self._used_at = now
        return self._port, identifier

    def free_at(self) -> float:
        """Return when the first port has rested, after `take` found none."""
        return min(self._rests_until.values())

    def is_rested(self, now: float) -> bool:
        """Tell whether everything taken has rested, so that nothing need be remembered."""
        return now >= self._used_at + REST_SECONDS


class Hearer(Protocol):
    """Who is told what comes to the source ports; `port` is the file descriptor."""

    def hear(self, port: int, datagram: bytes, address: tuple[str, int]) -> None:
        """Take one datagram."""

    def hear_unreachable(self, port: int, quoted: bytes, address: tuple[str, int]) -> None:
        """Learn that nothing listens at `address`, in answer to the datagram of which `quoted` is the beginning."""


class SourcePorts:
    """Unconnected UDP sockets of both families, read through one descriptor.

    That is an epoll instance: event loops stop reading a socket whose error queue holds something.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, hearer: Hearer, local_addresses: Mapping[int, str]) -> None:
        self._loop = loop
        self._hearer = hearer
        self._local_addresses = local_addresses
        self._opened: dict[int, list[socket.socket]] = {family: [] for family in local_addresses}
        self._by_descriptor: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._read)

    def count(self, family: int) -> int:
        """Return how many ports of `family` are open."""
        return len(self._opened[family])

    def port(self, family: int, place: int) -> socket.socket:
        """Return the port at `place`, opened if it is the next; raise `CannotSend`."""
        opened = self._opened[family]
        if place == len(opened):
            opened.append(self._open(family))
        return opened[place]

    def close(self) -> None:
        """Close every port."""
        if self._epoll.closed:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for bound in self._by_descriptor.values():
            bound.close()
        self._by_descriptor.clear()

    def _open(self, family: int) -> socket.socket:
        address = self._local_addresses[family]
        bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
            if family == socket.AF_INET:
                bound.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            else:
                bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            bound.bind((address, 0))
        except OSError as error:
            bound.close()
            raise CannotSend(
                f"cannot send CoA-Requests from {address}: {error.strerror}; it must be an address of this machine"
            ) from error
        self._by_descriptor[bound.fileno()] = bound
        self._epoll.register(bound.fileno(), select.EPOLLIN)
        return bound

    def _read(self) -> None:
        for descriptor, events in self._epoll.poll(0):
            bound = self._by_descriptor[descriptor]
            if events & select.EPOLLERR:
                self._read_errors(bound)
            if events & select.EPOLLIN:
                self._read_datagrams(bound)

    def _read_datagrams(self, bound: socket.socket) -> None:
        for _ in range(MOST_PER_WAKE):
            try:
                datagram, address = bound.recvfrom(LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error that came meanwhile; its datagram is told from the error queue.
                continue
            self._hearer.hear(bound.fileno(), datagram, address[:2])

    def _read_errors(self, bound: socket.socket) -> None:
        for _ in range(MOST_PER_WAKE):
            try:
                quoted, ancillary, _, address = bound.recvmsg(QUOTED_OCTETS, _ANCILLARY_OCTETS, socket.MSG_ERRQUEUE)
            except OSError:
                return
            if any(_ERRNO.unpack_from(data)[0] == errno.ECONNREFUSED for _, _, data in ancillary):
                self._hearer.hear_unreachable(bound.fileno(), quoted, address[:2])


def send(bound: socket.socket, datagram: bytes, address: tuple[str, int]) -> bool:
    """Send one datagram; False when our own machine did not take it."""
    for _ in range(2):
        try:
            bound.sendto(datagram, address)
        except ConnectionRefusedError:
            # The ICMP error of an earlier datagram, perhaps to another NAS; this one has not been sent.
            continue
        except OSError:
            return False
        return True
    return False
