"""Takes CoA- and Disconnect-Requests of other systems and passes them on to the NAS that has the session.

Rule (RFC 5176): what is not proven by the secret of its source, or is stale, gets no answer (§2.3, §6.3); a duplicate
of what is under way is dropped, one of what was answered gets the same octets (§6.1). Only what is certain is answered:
by us when a request cannot be passed on, else as the NAS answered. When the NAS is silent nobody knows what it did, and
so are we. A 2xx cause stands in an ACK only, all others in a NAK only (§3.5).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, Protocol

import structlog

from daemon.datagrams import DatagramSocket
from daemon.drops import Drop
from daemon.relayed_requests import Found
from daemon.requests import Peer
from domain.errors import CaudalError
from domain.instants import SECOND_US, Microseconds
from domain.secret import Secret
from enforcement.drivers.coa import Kind, Outcome
from enforcement.drivers.coa_ports import CannotSend
from radius.codes import Code, ErrorCause, ServiceType, Type
from radius.dynamic_authorization import (
    EVERY_NAME,
    NAMES_OF_SESSION,
    CannotAsk,
    DynamicRequest,
    SessionNames,
    change,
    disconnect,
    is_stale,
    read_names,
)
from radius.packet import (
    NO_AUTHENTICATOR,
    Decoder,
    MalformedPacket,
    Packet,
    attribute,
    encode_reply,
    integer_attribute,
)

ANSWERS_KEPT_US = 30 * SECOND_US
"""RFC 5080 §2.2.2: 5 to 30 s; the client's last retransmission may be that late."""
MOST_REMEMBERED = 20_000
"""Requests under way or lately answered; about 1 KB each."""
MOST_UNDER_WAY = 2_000
"""The rest is dropped, and comes again."""
LOG_EVERY_US = 10 * SECOND_US
"""A reason of one client is logged at most this often."""
STALE = "stale"
"""The reason for silence on a request whose Event-Timestamp is too old or ahead."""
STANDBY = "standby"
"""The reason for silence on a core that is not the active one."""

_ADDED_BY_US = frozenset((int(Type.MESSAGE_AUTHENTICATOR), int(Type.EVENT_TIMESTAMP), int(Type.PROXY_STATE)))
_NOT_UNDERSTOOD = frozenset((int(Type.FRAMED_INTERFACE_ID), int(Type.FRAMED_IPV6_PREFIX)))
"""Names of a session by which we find none; to overlook one could hit another session."""
_NEVER_IN_DISCONNECT = frozenset((int(Type.SERVICE_TYPE), int(Type.STATE)))


Find = Callable[[SessionNames], Awaitable[Sequence[Found]]]
"""Returns the open sessions that fit every name given, two at most; raises `CaudalError` when it cannot look."""


class Forward(Protocol):
    """Who speaks to NAS: the active core's enforcement."""

    async def send(self, found: Found, request: DynamicRequest) -> Outcome:
        """Send until it is answered or given up; raise `CannotSend` when nothing could leave in time."""


class Judgement(NamedTuple):
    """What a proven request asks for: its session, and what is to change; or why it is refused."""

    names: SessionNames
    attributes: bytes
    refusal: ErrorCause | None


class Reply(NamedTuple):
    """An answer to the asking system."""

    acknowledged: bool
    cause: int | None


def judge(request: Packet) -> Judgement:
    """Return what `request` asks for (RFC 5176 §3)."""
    try:
        names = read_names(request)
    except ValueError:
        return Judgement(SessionNames(), b"", ErrorCause.INVALID_ATTRIBUTE_VALUE)
    kinds = request.kinds()
    refusal = None
    if request.code == Code.DISCONNECT_REQUEST and not _NEVER_IN_DISCONNECT.isdisjoint(kinds):
        refusal = ErrorCause.UNSUPPORTED_ATTRIBUTE
    elif request.integer(Type.SERVICE_TYPE) == ServiceType.AUTHORIZE_ONLY:
        # We could not bring the Access-Request that would follow (§3.2) back to who asked.
        refusal = ErrorCause.UNSUPPORTED_SERVICE
    elif not _NOT_UNDERSTOOD.isdisjoint(kinds):
        refusal = ErrorCause.UNSUPPORTED_ATTRIBUTE
    elif NAMES_OF_SESSION.isdisjoint(kinds):
        refusal = ErrorCause.MISSING_ATTRIBUTE
    return Judgement(names, _what_changes(request), refusal)


def _what_changes(request: Packet) -> bytes:
    """Return the attributes of a CoA-Request that are not names; a Disconnect-Request changes nothing else."""
    if request.code != Code.COA_REQUEST:
        return b""
    return b"".join(
        attribute(kind, value)
        for kind, value in request.attributes()
        if kind not in EVERY_NAME and kind not in _ADDED_BY_US
    )


def choose(found: Sequence[Found]) -> Found | ErrorCause:
    """Return the session that is meant, or why there is none."""
    if not found:
        return ErrorCause.SESSION_CONTEXT_NOT_FOUND
    if len(found) > 1:
        return ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED
    return found[0] if found[0].target is not None else ErrorCause.REQUEST_NOT_ROUTABLE


def reply_to(outcome: Outcome) -> Reply | None:
    """Return what the asking system is told about the NAS's answer; None for silence."""
    if outcome.kind is Kind.SILENT:
        return Reply(acknowledged=False, cause=ErrorCause.UNSUPPORTED_EXTENSION) if outcome.unreachable else None
    return Reply(outcome.kind is Kind.ACK, outcome.cause)


class _Entry:
    """A request that was seen; `reply` is None while it is under way."""

    __slots__ = ("answered_us", "authenticator", "reply")

    def __init__(self, authenticator: bytes) -> None:
        self.authenticator = authenticator
        self.answered_us = 0
        self.reply: bytes | None = None


class Seen:
    """The requests that are under way and those answered lately, by (source, Identifier)."""

    def __init__(self) -> None:
        self._entries: dict[tuple[tuple[str, int], int], _Entry] = {}
        self._answered: deque[tuple[tuple[tuple[str, int], int], _Entry]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, source: tuple[str, int], request: Packet) -> _Entry | None:
        """Return the entry of this very request, None when it is new."""
        entry = self._entries.get((source, request.identifier))
        return entry if entry is not None and entry.authenticator == request.authenticator else None

    def add(self, source: tuple[str, int], request: Packet) -> None:
        """Remember a request as under way, in the place of an older one."""
        self._entries[source, request.identifier] = _Entry(request.authenticator)

    def answered(self, source: tuple[str, int], request: Packet, reply: bytes, now_us: Microseconds) -> None:
        """Keep the answer, unless a newer request has taken the place."""
        entry = self.find(source, request)
        if entry is not None:
            entry.reply = reply
            entry.answered_us = now_us
            self._answered.append(((source, request.identifier), entry))

    def forget(self, source: tuple[str, int], request: Packet) -> None:
        """Forget a request that gets no answer, so that the same octets are new."""
        if self.find(source, request) is not None:
            del self._entries[source, request.identifier]

    def expire(self, now_us: Microseconds) -> None:
        """Forget old answers; they stand in the order in which they were given."""
        while self._answered and now_us - self._answered[0][1].answered_us >= ANSWERS_KEPT_US:
            key, entry = self._answered.popleft()
            if self._entries.get(key) is entry:
                del self._entries[key]


class RelayTraffic:
    """Plain counts, taken over by the metrics."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        """By packet code."""
        self.answers: Counter[tuple[int, int | None]] = Counter()
        """By packet code and Error-Cause."""
        self.drops: Counter[str] = Counter()
        """By the value of a `Drop` or `Flaw`, `STALE` or `STANDBY`."""
        self.duplicates_answered = 0


class CoaRelay:
    """One port, for `clients`: (address, secret) of each system that may ask.

    While `is_active` says no, another core speaks to the routers: then nothing is answered, and who asks turns to it.
    """

    def __init__(
        self,
        socket: DatagramSocket,
        clients: Iterable[tuple[str, Secret]],
        *,
        find: Find,
        forward: Forward,
        clock: Callable[[], Microseconds],
        loop: asyncio.AbstractEventLoop,
        is_active: Callable[[], bool] = lambda: True,
    ) -> None:
        self.traffic = RelayTraffic()
        self._socket = socket
        self._find = find
        self._forward = forward
        self._clock = clock
        self._loop = loop
        self._is_active = is_active
        self._secrets = {str(ip_address(address)): secret for address, secret in clients}
        self._decoder = Decoder()
        self._seen = Seen()
        self._tasks: set[asyncio.Task[None]] = set()
        self._logged_us: dict[tuple[str, str], int] = {}
        self._log = structlog.get_logger().bind(port="coa")

    def start(self) -> None:
        """Begin to read datagrams."""
        self._socket.start(self)

    def close(self) -> None:
        """Take nothing new, give up what is under way, and give the port back."""
        self._socket.stop()
        for task in self._tasks:
            task.cancel()
        self._socket.close()

    def wake_ended(self) -> None:
        """Send what this wake could answer at once."""
        self._socket.flush()

    def datagram_received(self, datagram: bytes, peer: Peer) -> None:
        """Check one datagram and relay it, answer it, or drop it."""
        host = peer.address[0]
        secret = self._secrets.get(host) or self._secrets.get(_plain(host))
        if secret is None:
            self._drop(Drop.UNKNOWN_SOURCE.value, host, known=False)
            return
        try:
            request = self._decoder.decode(datagram)
        except MalformedPacket as error:
            self._drop(error.flaw.value, host)
            return
        now_us = self._clock()
        fault = _fault(request, secret.reveal(), now_us)
        if fault is None and not self._is_active():
            fault = STANDBY
        if fault is not None:
            self._drop(fault, host)
            return
        self._seen.expire(now_us)
        entry = self._seen.find(peer.address, request)
        if entry is None:
            self._accept(request, peer, secret)
        elif entry.reply is None:
            self._drop(Drop.PENDING_DUPLICATE.value, host)
        else:
            self.traffic.duplicates_answered += 1
            self._socket.queue(peer, entry.reply)

    def _accept(self, request: Packet, peer: Peer, secret: Secret) -> None:
        if len(self._tasks) >= MOST_UNDER_WAY or len(self._seen) >= MOST_REMEMBERED:
            self._drop(Drop.OVERLOAD.value, peer.address[0])
            return
        self.traffic.requests[request.code] += 1
        self._seen.add(peer.address, request)
        judgement = judge(request)
        if judgement.refusal is not None:
            self._answer(request, peer, secret, Reply(acknowledged=False, cause=judgement.refusal))
            return
        task = self._loop.create_task(self._relay(request, peer, secret, judgement))
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, request, peer))

    async def _relay(self, request: Packet, peer: Peer, secret: Secret, judgement: Judgement) -> None:
        try:
            reply = await self._pass_on(request, judgement)
        except CaudalError as error:
            self._log.warning("CoA-Request not relayed", client=peer.address[0], error=str(error))
            self._give_up(Drop.DATABASE_AWAY.value, request, peer)
            return
        if reply is None:
            self._seen.forget(peer.address, request)
            return
        self._answer(request, peer, secret, reply)
        self._socket.flush()

    async def _pass_on(self, request: Packet, judgement: Judgement) -> Reply | None:
        chosen = choose(await self._find(judgement.names))
        if isinstance(chosen, ErrorCause):
            return Reply(acknowledged=False, cause=chosen)
        proxy_states = tuple(request.all(Type.PROXY_STATE))
        try:
            if request.code == Code.COA_REQUEST:
                asked = change(chosen.session, judgement.attributes, proxy_states=proxy_states)
            else:
                asked = disconnect(chosen.session, proxy_states=proxy_states)
        except CannotAsk:
            return Reply(acknowledged=False, cause=ErrorCause.UNSUPPORTED_ATTRIBUTE)
        try:
            return reply_to(await self._forward.send(chosen, asked))
        except CannotAsk:
            return Reply(acknowledged=False, cause=ErrorCause.OTHER_PROXY_PROCESSING_ERROR)
        except CannotSend as error:
            if not self._is_active():
                # It may be on its way: nobody knows what the NAS makes of it.
                return None
            self._log.warning("CoA-Request not passed on", error=str(error))
            return Reply(acknowledged=False, cause=ErrorCause.RESOURCES_UNAVAILABLE)

    def _answer(self, request: Packet, peer: Peer, secret: Secret, reply: Reply) -> None:
        code = request.code + (1 if reply.acknowledged else 2)
        cause = b"" if reply.cause is None else integer_attribute(Type.ERROR_CAUSE, reply.cause)
        try:
            datagram = encode_reply(code, request, cause, secret.reveal())
        except ValueError:
            # So many Proxy-States that there is no room for what we add.
            self._give_up(Drop.REPLY_TOO_LONG.value, request, peer)
            return
        self.traffic.answers[code, reply.cause] += 1
        if not reply.acknowledged:
            cause_number = None if reply.cause is None else int(reply.cause)
            self._log.info("CoA-Request refused", client=peer.address[0], code=request.code, error_cause=cause_number)
        self._seen.answered(peer.address, request, datagram, self._clock())
        self._socket.queue(peer, datagram)

    def _ended(self, task: asyncio.Task[None], request: Packet, peer: Peer) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._seen.forget(peer.address, request)
        elif (error := task.exception()) is not None:
            self._log.error("CoA-Request not relayed", client=peer.address[0], exc_info=error)
            self._give_up(Drop.DEFECT.value, request, peer)

    def _give_up(self, reason: str, request: Packet, peer: Peer) -> None:
        self._seen.forget(peer.address, request)
        self._drop(reason, peer.address[0])

    def _drop(self, reason: str, host: str, *, known: bool = True) -> None:
        """Count a drop, and tell it in the log now and then."""
        self.traffic.drops[reason] += 1
        now_us = self._clock()
        key = (host if known else "", reason)
        if now_us - self._logged_us.get(key, -LOG_EVERY_US) >= LOG_EVERY_US:
            self._logged_us[key] = now_us
            self._log.warning("datagram dropped", reason=reason, source=host)


def _plain(host: str) -> str:
    """Return the address of a client as it is configured: without zone, IPv4 as such also on an IPv6 socket."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _fault(request: Packet, secret: bytes, now_us: Microseconds) -> str | None:
    """Return why `request` cannot be trusted, None when it can."""
    if request.code not in (Code.COA_REQUEST, Code.DISCONNECT_REQUEST):
        return Drop.UNEXPECTED_CODE.value
    if not request.request_authenticator_is_valid(secret):
        return Drop.WRONG_AUTHENTICATOR.value
    if request.has_message_authenticator and not request.message_authenticator_is_valid(secret, NO_AUTHENTICATOR):
        return Drop.WRONG_MESSAGE_AUTHENTICATOR.value
    return STALE if is_stale(request, now_us // SECOND_US) else None
