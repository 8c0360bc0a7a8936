"""What a datagram must pass before it may wait for a batch.

Rule, in this order: a source we know (RFC 2865 §3; before any decoding), sound framing, a code of this port,
authenticators of the secret of that source (RFC 5080 §2.2.3, BlastRADIUS), no duplicate, within the router's rate. What
fails is dropped without an answer and counted by reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from daemon.batching import Batcher
from daemon.configuration import Signers
from daemon.datagrams import DatagramSocket
from daemon.drops import Drop
from daemon.duplicates import DuplicateCache
from daemon.requests import AccessRequest, AccountingRequest, Peer, Request
from domain.instants import SECOND_US, Microseconds
from domain.network import MessageAuthenticatorPolicy, Router
from radius.codes import Code, Microsoft, Type, Vendor
from radius.packet import NO_AUTHENTICATOR, Decoder, MalformedPacket, Packet, encode_reply
from storage.snapshot import Snapshot

STATUS_PER_SECOND = 10
"""Status-Server answers per router and second (RFC 5997 §4.2 asks for a limit)."""
LOG_EVERY_US = 10 * SECOND_US
"""A drop reason of one router is logged at most this often (draft-ietf-radext-deprecating-radius §5.3.3)."""
KEPT_FOR_STATE = 1_000
"""Places in the queue of logins which only requests with State get (RFC 5080 §2.2.3)."""
MOST_LOGGED = 10_000
"""(source, reason) pairs remembered for that."""
MOST_LINES_PER_SECOND = 10
"""Drops that are logged at all: sources are easily forged, and what floods the port must not flood the log."""

_CREDENTIALS = frozenset((int(Type.USER_PASSWORD), int(Type.CHAP_PASSWORD), int(Type.EAP_MESSAGE)))


class Traffic:
    """Plain counts of one worker, taken over by the metrics once a second."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.drops: Counter[tuple[str, str]] = Counter()
        self.duplicates_answered: Counter[str] = Counter()
        self.latencies: dict[str, LatencyHistogram] = {"auth": LatencyHistogram(), "acct": LatencyHistogram()}


class LatencyHistogram:
    """Cumulative counts of answers by the time since their request arrived."""

    BOUNDS_US = (500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS_US) + 1)
        self.sum_us = 0

    def observe(self, latencies_us: Iterable[int]) -> None:
        """Count each latency in the first bucket that holds it."""
        for latency_us in latencies_us:
            self.counts[bisect_left(self.BOUNDS_US, latency_us)] += 1
            self.sum_us += latency_us


class Later(Protocol):
    """The reactor's way to call something after a while."""

    def callLater(self, delay: float, function: Callable[..., object], *arguments: object) -> object:  # noqa: N802
        """Call `function` in `delay` seconds."""


class Listener(ABC):
    """One port: checks datagrams, feeds its batcher, sends and keeps answers."""

    kind: str

    def __init__(
        self,
        socket: DatagramSocket,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], Microseconds],
        reactor: Later,
        traffic: Traffic,
        requests_per_second: int,
    ) -> None:
        self._socket = socket
        self._snapshot = snapshot
        self._clock = clock
        self._reactor = reactor
        self._traffic = traffic
        self._requests_per_second = requests_per_second
        self._decoder = Decoder()
        self._seen = DuplicateCache()
        self._rates: Counter[str] = Counter()
        self._status_rates: Counter[str] = Counter()
        self._second = 0
        self._logged: dict[tuple[str, str], int] = {}
        self._lines = 0
        self._log = structlog.get_logger().bind(port=self.kind)
        self._batcher: Batcher[AccessRequest] | Batcher[AccountingRequest]
        self._now_us = Microseconds(0)
        self._answered: list[Microseconds] = []
        self._losses: Counter[Drop] = Counter()

    @property
    def remembered(self) -> int:
        """Entries in the duplicate cache."""
        return len(self._seen)

    def count_losses(self) -> None:
        """Take over what was lost below and beyond us: datagrams the kernel dropped, answers it did not take."""
        losses = Counter({Drop.RECEIVE_BUFFER: self._socket.overflowed(), Drop.UNSENT: self._socket.unsent})
        for reason, count in (losses - self._losses).items():
            self._traffic.drops["unknown", reason.value] += count
        self._losses = losses

    def limit(self, requests_per_second: int) -> None:
        """Serve each router at most this often; 0 is no limit."""
        self._requests_per_second = requests_per_second

    def start(self) -> None:
        """Begin to read datagrams."""
        self._socket.start(self)

    def stop(self) -> None:
        """Take nothing new; answers still leave."""
        self._socket.stop()

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def flush(self) -> None:
        """Send the answers that a batch has left in the outbox, and count how long they took."""
        self._socket.flush()
        if self._answered:
            now_us = self._clock()
            self._traffic.latencies[self.kind].observe([now_us - arrived_us for arrived_us in self._answered])
            self._answered.clear()

    def wake_ended(self) -> None:
        """Let the batcher take what this wake brought, and send the copies for duplicates."""
        self._socket.flush()
        self._batcher.wake()
        self._now_us = Microseconds(0)

    def datagram_received(self, datagram: bytes, peer: Peer) -> None:
        """Check one datagram and let it wait, answer it, or drop it."""
        if not self._now_us:
            self._begin_wake()
        host = peer.address[0]
        candidates = self._snapshot().routers_at(host)
        if not candidates:
            self._drop(host, Drop.UNKNOWN_SOURCE.value, source=host)
            return
        try:
            packet = self._decoder.decode(datagram)
        except MalformedPacket as error:
            self._drop(candidates[0].name, error.flaw.value, source=host)
            return
        router = candidates[0] if len(candidates) == 1 else self._snapshot().choose(candidates, packet)
        if router is None:
            self._drop(host, Drop.UNKNOWN_SOURCE.value, source=host)
            return
        # In front of the duplicates: a forged copy gets no answer either, and the genuine one keeps its own.
        fault = self._fault(packet, router, host)
        if fault is not None:
            self._drop(router.name, fault.value, source=host)
            return
        entry = self._seen.find((peer.address, packet.identifier), packet.authenticator)
        if entry is not None and packet.octets[0] != Code.STATUS_SERVER:
            if entry.reply is None:
                self._drop(router.name, Drop.PENDING_DUPLICATE.value)
            else:
                self._traffic.duplicates_answered[router.name] += 1
                self._socket.queue(peer, entry.reply)
            return
        self._accept(packet, router, peer)

    def _begin_wake(self) -> None:
        self._now_us = self._clock()
        self._seen.rotate(self._now_us)
        second = self._now_us // SECOND_US
        if second != self._second:
            self._second = second
            self._lines = 0
            self._rates.clear()
            self._status_rates.clear()

    def _accept(self, packet: Packet, router: Router, peer: Peer) -> None:
        name = router.name
        if packet.code == Code.STATUS_SERVER:
            self._answer_status(packet, router, peer)
            return
        if self._requests_per_second and not self._is_within_rate(name, packet):
            self._drop(name, Drop.RATE_LIMIT.value)
            return
        self._traffic.requests[name, self.kind] += 1
        self._seen.add((peer.address, packet.identifier), packet.authenticator)
        self._submit(packet, router, peer)

    def _is_within_rate(self, name: str, packet: Packet) -> bool:
        """Count a request that may pass; a login that was begun may go on in a second quota of its own."""
        allowed = self._requests_per_second * (2 if _goes_on(packet) else 1)
        if self._rates[name] >= allowed:
            return False
        self._rates[name] += 1
        return True

    def _answer_status(self, packet: Packet, router: Router, peer: Peer) -> None:
        """Answer Status-Server (RFC 5997 §3), unless this router asks too often or nothing could be served now."""
        self._status_rates[router.name] += 1
        if self._status_rates[router.name] > STATUS_PER_SECOND:
            self._drop(router.name, Drop.STATUS_RATE_LIMIT.value)
            return
        if not self._batcher.is_serving:
            self._drop(router.name, Drop.DATABASE_AWAY.value)
            return
        self._traffic.requests[router.name, "status"] += 1
        self._socket.queue(peer, encode_reply(self._status_answer, packet, b"", router.secret.reveal()))

    _status_answer: Code

    @abstractmethod
    def _fault(self, packet: Packet, router: Router, host: str) -> Drop | None:
        """Return why the packet cannot be trusted, None when it can."""

    @abstractmethod
    def _submit(self, packet: Packet, router: Router, peer: Peer) -> None:
        """Let a request that passed everything wait for its batch."""

    def send_answer(self, request: Request, code: int, reply: bytes) -> None:
        """Queue the answer and keep it for duplicates."""
        peer = request.peer
        packet = request.packet
        self._seen.answered((peer.address, packet.identifier), packet.authenticator, reply)
        self._traffic.answers[request.router.name, code] += 1
        self._answered.append(request.arrived_us)
        self._socket.queue(peer, reply)

    def send_later(self, request: Request, reply: bytes, delay_seconds: float) -> None:
        """Send a refusal after a while; its duplicates are dropped until then."""
        self._reactor.callLater(delay_seconds, self._send_refusal, request, reply)

    def _send_refusal(self, request: Request, reply: bytes) -> None:
        self.send_answer(request, Code.ACCESS_REJECT, reply)
        self._answered.pop()
        self._socket.flush()

    def forget(self, request: Request, reason: Drop) -> None:
        """Stay silent on `request`."""
        if self._seen.forget((request.peer.address, request.packet.identifier), request.packet.authenticator):
            self._drop(request.router.name, reason.value)

    def _drop(self, router: str, reason: str, *, source: str | None = None) -> None:
        """Count a drop; tell it in the log now and then, with its source where that helps an operator."""
        if source == router:
            self._traffic.drops["unknown", reason] += 1
        else:
            self._traffic.drops[router, reason] += 1
        if source is None:
            return
        key = (router, reason)
        now_us = self._now_us or self._clock()
        if self._lines >= MOST_LINES_PER_SECOND or now_us - self._logged.get(key, -LOG_EVERY_US) < LOG_EVERY_US:
            return
        self._lines += 1
        if len(self._logged) >= MOST_LOGGED:
            self._logged.clear()
        self._logged[key] = now_us
        self._log.warning("datagram dropped", reason=reason, source=source, hint=_HINTS.get(reason))


_HINTS = {
    Drop.UNKNOWN_SOURCE.value: "no router has this address; add it with `caudal apply`",
    Drop.WRONG_AUTHENTICATOR.value: "the secret here and on the router differ",
    Drop.WRONG_MESSAGE_AUTHENTICATOR.value: "the secret here and on the router differ, or somebody changed the packet",
    Drop.MISSING_MESSAGE_AUTHENTICATOR.value: 'let the router send it, or set require_message_authenticator = "never"',
    Drop.UNEXPECTED_CODE.value: "the router has authentication and accounting ports exchanged",
}


class AuthenticationListener(Listener):
    """The authentication port."""

    kind = "auth"
    _status_answer = Code.ACCESS_ACCEPT
    _batcher: Batcher[AccessRequest]

    def feed(self, batcher: Batcher[AccessRequest], signers: Signers) -> None:
        """Give verified requests to `batcher`; of `signers` "auto" demands that they go on signing."""
        self._batcher = batcher
        self._signers = signers

    def _submit(self, packet: Packet, router: Router, peer: Peer) -> None:
        request = AccessRequest(packet, router, self._now_us, peer, self)
        self._batcher.submit(request, kept=0 if _goes_on(packet) else KEPT_FOR_STATE)

    def _fault(self, packet: Packet, router: Router, host: str) -> Drop | None:
        if packet.code not in (Code.ACCESS_REQUEST, Code.STATUS_SERVER):
            return Drop.UNEXPECTED_CODE
        if packet.has_message_authenticator:
            if not packet.message_authenticator_is_valid(router.secret.reveal()):
                return Drop.WRONG_MESSAGE_AUTHENTICATOR
            self._signers.add(router.id, host)
            return None
        policy = router.require_message_authenticator
        if policy is MessageAuthenticatorPolicy.AUTO and (router.id, host) in self._signers:
            return Drop.MISSING_MESSAGE_AUTHENTICATOR
        return Drop.MISSING_MESSAGE_AUTHENTICATOR if _must_be_signed(packet, policy) else None


class AccountingListener(Listener):
    """The accounting port."""

    kind = "acct"
    _status_answer = Code.ACCOUNTING_RESPONSE
    _batcher: Batcher[AccountingRequest]

    def feed(self, batcher: Batcher[AccountingRequest]) -> None:
        """Give verified requests to `batcher`."""
        self._batcher = batcher

    def _submit(self, packet: Packet, router: Router, peer: Peer) -> None:
        self._batcher.submit(AccountingRequest(packet, router, self._now_us, peer, self))

    def _fault(self, packet: Packet, router: Router, host: str) -> Drop | None:  # noqa: ARG002 - of the base
        secret = router.secret.reveal()
        if packet.code == Code.STATUS_SERVER:
            if not packet.has_message_authenticator:
                return Drop.MISSING_MESSAGE_AUTHENTICATOR
            return None if packet.message_authenticator_is_valid(secret) else Drop.WRONG_MESSAGE_AUTHENTICATOR
        if packet.code != Code.ACCOUNTING_REQUEST:
            return Drop.UNEXPECTED_CODE
        if not packet.request_authenticator_is_valid(secret):
            return Drop.WRONG_AUTHENTICATOR
        if packet.has_message_authenticator and not packet.message_authenticator_is_valid(secret, NO_AUTHENTICATOR):
            return Drop.WRONG_MESSAGE_AUTHENTICATOR
        return None


def _goes_on(packet: Packet) -> bool:
    """Tell whether a login goes on which has cost us and the subscriber work already (RFC 5080 §2.2.3)."""
    return packet.code == Code.ACCESS_REQUEST and packet.get(Type.STATE) is not None


def _must_be_signed(packet: Packet, policy: MessageAuthenticatorPolicy) -> bool:
    """Tell whether a packet without Message-Authenticator is to be dropped.

    Status-Server (RFC 5997 §3), EAP (RFC 3579 §3.1) and requests without any credential (RFC 3579 §3.3) always; under
    "auto" whatever carries Proxy-State (BlastRADIUS, draft-ietf-radext-deprecating-radius §5.3.4); under "always" all.
    """
    kinds = packet.kinds()
    if packet.code == Code.STATUS_SERVER or Type.EAP_MESSAGE in kinds:
        return True
    if policy is MessageAuthenticatorPolicy.ALWAYS:
        return True
    if policy is MessageAuthenticatorPolicy.AUTO and Type.PROXY_STATE in kinds:
        return True
    return _CREDENTIALS.isdisjoint(kinds) and not _has_ms_chap(packet)


def _has_ms_chap(packet: Packet) -> bool:
    return any(
        packet.vendor(Vendor.MICROSOFT, kind) is not None
        for kind in (Microsoft.CHAP_RESPONSE, Microsoft.CHAP2_RESPONSE)
    )
