"""UDP sockets that are drained and answered in bulk.

Rule: an answer leaves from the address its request hit (RFC 2865 §3). Answers of one batch to one peer that have one
length leave in one system call (UDP generic segmentation offload, Linux 4.18), which costs a fifth of one call each.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from daemon.requests import Peer
from domain.errors import CaudalError

LARGEST_DATAGRAM = 4097
"""One octet more than the largest RADIUS packet, so that a longer one is seen to be too long."""
MOST_PER_WAKE = 512
"""Datagrams read before other events get their turn."""
MOST_SEGMENTS = 64
"""The kernel's UDP_MAX_SEGMENTS."""
LARGEST_SEGMENTED = 60_000
"""All segments of one call together must fit into one UDP length field."""
LARGEST_SEGMENT = 1_400
"""Segments must fit the path's MTU; larger answers go one by one and may be fragmented by IP."""

PORT_SECONDS = 3.0
"""The workers of a daemon that was killed hold its ports for as long as they settle what waited."""
PORT_RETRY_SECONDS = 0.1

_UDP_SEGMENT = 103
_IP_PKTINFO = 8
_SO_MEMINFO = 55
_COUNTS = Struct("@9I")
_SEGMENT = Struct("@H")
_PKTINFO4 = Struct("@I4s4s")
_PKTINFO6 = Struct("@16sI")
_ANCILLARY_OCTETS = socket.CMSG_SPACE(_PKTINFO6.size)


class CannotListen(CaudalError):
    """An address or port that cannot be bound."""


class DatagramHandler(Protocol):
    """Who is told of datagrams."""

    def datagram_received(self, datagram: bytes, peer: Peer) -> None:
        """Take one datagram."""

    def wake_ended(self) -> None:
        """Learn that the socket is drained for now."""


async def await_port(host: str, port: int) -> None:
    """Wait until nobody has the UDP port; raise `CannotListen`.

    Workers share theirs, so they would share it with strangers, too.
    """
    deadline = monotonic() + PORT_SECONDS
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE or monotonic() > deadline:
                    raise _taken(host, port, error) from error
            else:
                return
        await asyncio.sleep(PORT_RETRY_SECONDS)


@implementer(IReadDescriptor)
class DatagramSocket:
    """One bound UDP socket, shared over workers by SO_REUSEPORT."""

    def __init__(self, reactor: IReactorFDSet, host: str, port: int, *, receive_buffer_octets: int) -> None:
        self._reactor = reactor
        self._handler: DatagramHandler | None = None
        self._segmentation = True
        self._outbox: dict[tuple[Peer, int], list[bytes]] = {}
        self.unsent = 0
        self._socket = _bind(host, port, receive_buffer_octets)
        name = self._socket.getsockname()
        self.host, self.port = str(name[0]), int(name[1])
        self._wildcard = self.host in ("0.0.0.0", "::")
        if self._wildcard:
            self._ask_for_local_address()

    def _ask_for_local_address(self) -> None:
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def start(self, handler: DatagramHandler) -> None:
        """Begin to read."""
        self._handler = handler
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Stop reading; what is queued can still be sent."""
        self._reactor.removeReader(self)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def overflowed(self) -> int:
        """Return how many datagrams the kernel has dropped because the receive buffer was full."""
        return int(_COUNTS.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _COUNTS.size))[8])

    def fileno(self) -> int:
        """Return the descriptor for the reactor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Return the name under which Twisted logs."""
        return "radius"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Learn that the reactor has ended; the socket is closed by `stop`."""

    def doRead(self) -> None:  # noqa: N802
        """Drain the socket."""
        handler = self._handler
        assert handler is not None
        receive = self._receive_local if self._wildcard else self._receive
        try:
            for _ in range(MOST_PER_WAKE):
                receive(handler.datagram_received)
        except BlockingIOError:
            pass
        except OSError as error:
            # An ICMP error of an earlier answer shows up here; the socket itself is well.
            if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINTR):
                raise
        handler.wake_ended()

    def _receive(self, deliver: Callable[[bytes, Peer], None]) -> None:
        datagram, address = self._socket.recvfrom(LARGEST_DATAGRAM)
        deliver(datagram, Peer(address, None))

    def _receive_local(self, deliver: Callable[[bytes, Peer], None]) -> None:
        datagram, ancillary, _, address = self._socket.recvmsg(LARGEST_DATAGRAM, _ANCILLARY_OCTETS)
        local = None
        for _, kind, data in ancillary:
            if kind == _IP_PKTINFO and len(data) == _PKTINFO4.size:
                local = data[4:8]
            elif len(data) == _PKTINFO6.size:
                local = data[:16]
        deliver(datagram, Peer(address, local))

    def queue(self, peer: Peer, datagram: bytes) -> None:
        """Put an answer into the outbox; `flush` sends it."""
        key = (peer, len(datagram))
        waiting = self._outbox.get(key)
        if waiting is None:
            self._outbox[key] = [datagram]
        else:
            waiting.append(datagram)

    def flush(self) -> None:
        """Send the outbox."""
        if not self._outbox:
            return
        outbox, self._outbox = self._outbox, {}
        for (peer, size), datagrams in outbox.items():
            most = min(MOST_SEGMENTS, LARGEST_SEGMENTED // size)
            if len(datagrams) == 1 or size > LARGEST_SEGMENT or not self._segmentation:
                for datagram in datagrams:
                    self._send(peer, datagram)
                continue
            for at in range(0, len(datagrams), most):
                self._send_segments(peer, datagrams[at : at + most], size)

    def _send(self, peer: Peer, datagram: bytes) -> None:
        try:
            if peer.local is None:
                self._socket.sendto(datagram, peer.address)
            else:
                self._socket.sendmsg([datagram], [self._from(peer.local)], 0, peer.address)
        except OSError:
            # The answer is lost as on any network; the router asks again and gets the kept copy.
            self.unsent += 1

    def _send_segments(self, peer: Peer, datagrams: list[bytes], size: int) -> None:
        ancillary = [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT.pack(size))]
        if peer.local is not None:
            ancillary.append(self._from(peer.local))
        try:
            self._socket.sendmsg([b"".join(datagrams)], ancillary, 0, peer.address)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOPROTOOPT, errno.EIO, errno.EOPNOTSUPP):
                self._segmentation = False
            for datagram in datagrams:
                self._send(peer, datagram)

    def _from(self, local: bytes) -> tuple[int, int, bytes]:
        if len(local) == 4:
            return socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, local, bytes(4))
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(local, 0)


def _bind(host: str, port: int, receive_buffer_octets: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_octets)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _taken(host, port, error) from error
    return bound


def _taken(host: str, port: int, error: OSError) -> CannotListen:
    return CannotListen(
        f"cannot listen on UDP {host}:{port}: {error.strerror}; see who has it with `ss -lunp`, or change [radius]"
    )
