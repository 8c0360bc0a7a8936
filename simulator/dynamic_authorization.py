"""Decides how a router answers Disconnect- and CoA-Requests.

Rule: RFC 5176: what is not proven by the shared secret gets no answer (§2.3); a duplicate gets the same octets again; a
NAK says why (§3.5) and means that nothing was applied; every identification in the request must fit the one session it
finds. What RouterOS's manual lists as changeable is changed, what it does not list by the router's setting; a router
with `/radius incoming accept=no` is silent.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from random import Random

from domain.instants import SECOND_US, Microseconds
from enforcement.attributes import (
    MIKROTIK_ADDRESS_LIST,
    MIKROTIK_ADVERTISE_INTERVAL,
    MIKROTIK_ADVERTISE_URL,
    MIKROTIK_GROUP,
    MIKROTIK_MARK_ID,
    MIKROTIK_RECV_LIMIT_GIGAWORDS,
    MIKROTIK_TOTAL_LIMIT,
    MIKROTIK_TOTAL_LIMIT_GIGAWORDS,
    MIKROTIK_XMIT_LIMIT_GIGAWORDS,
)
from radius.codes import Code, ErrorCause, Type, Vendor
from radius.packet import NO_AUTHENTICATOR, MalformedPacket, Packet, decode, encode_reply, integer_attribute
from simulator import rate_limit, rates
from simulator.behaviour import DynamicFaults, Unlisted
from simulator.rate_limit import Pair, RateLimit
from simulator.rates import Rates
from simulator.routeros_sessions import Incoming
from simulator.session import Session, read_address_list, read_limits

ANSWERS_KEPT_US = 30 * SECOND_US
"""RFC 5080 §2.2.2: 5 to 30 s."""

_FIXED = (Type.FRAMED_POOL, Type.FRAMED_IPV6_PREFIX, Type.DELEGATED_IPV6_PREFIX, Type.DELEGATED_IPV6_PREFIX_POOL)
"""What no router changes in a session that runs: these need a disconnect."""
_UNLISTED = (
    MIKROTIK_ADDRESS_LIST,
    MIKROTIK_TOTAL_LIMIT,
    MIKROTIK_TOTAL_LIMIT_GIGAWORDS,
    MIKROTIK_RECV_LIMIT_GIGAWORDS,
    MIKROTIK_XMIT_LIMIT_GIGAWORDS,
)
"""Attributes of MikroTik that its manual does not list as changeable by CoA."""
_LISTED = (MIKROTIK_GROUP, MIKROTIK_MARK_ID, MIKROTIK_ADVERTISE_URL, MIKROTIK_ADVERTISE_INTERVAL)
_WITHOUT_EFFECT = (Type.IDLE_TIMEOUT, Type.FILTER_ID)
"""These, and `_LISTED`, are acknowledged; the simulated sessions have nothing that they would change."""


class _Refused(Exception):
    """The request gets a NAK."""

    def __init__(self, cause: int) -> None:
        super().__init__(cause)
        self.cause = cause


class SessionBook:
    """The open sessions of a router, found as an operator's system names them."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._by_login: dict[str, list[Session]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, acct_session_id: str) -> bool:
        return acct_session_id in self._by_id

    def sessions(self) -> list[Session]:
        """Return every session, in order of opening."""
        return list(self._by_id.values())

    def add(self, session: Session) -> None:
        """Enter a session that begins."""
        self._by_id[session.acct_session_id] = session
        self._by_login.setdefault(session.login, []).append(session)

    def remove(self, session: Session) -> None:
        """Strike out a session that ended."""
        del self._by_id[session.acct_session_id]
        namesakes = self._by_login[session.login]
        namesakes.remove(session)
        if not namesakes:
            del self._by_login[session.login]

    def clear(self) -> None:
        """Forget every session."""
        self._by_id.clear()
        self._by_login.clear()

    def find(self, acct_session_id: str | None, login: str | None, address: bytes | None) -> list[Session]:
        """Return the sessions that fit every identification given."""
        if acct_session_id is not None:
            session = self._by_id.get(acct_session_id.lower())
            found = [] if session is None else [session]
        elif login is not None:
            found = self._by_login.get(login, [])
        else:
            found = list(self._by_id.values())
        return [
            session
            for session in found
            if (login is None or session.login == login) and (address is None or session.address == address)
        ]


@dataclass(frozen=True, slots=True)
class Order:
    """What an acknowledged request wants done to a session."""

    session: Session
    disconnect: bool
    rates: Rates | None = None
    rate_limit: RateLimit | None = None
    session_timeout_seconds: int | None = None
    limit_octets: Pair | None = None
    address_list: str | None = None
    interim_seconds: int | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is asked of the session."""
        return self == Order(self.session, disconnect=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a request, and what it orders."""

    reply: bytes
    code: Code
    order: Order | None = None
    is_duplicate: bool = False
    is_answered: bool = True


class DynamicAuthorization:
    """The server half of a router."""

    def __init__(
        self,
        secret: bytes,
        identifier: str,
        nas_address: bytes,
        *,
        incoming: Incoming | None = None,
        faults: DynamicFaults | None = None,
        unlisted: Unlisted = Unlisted.IGNORED,
        random: Random | None = None,
    ) -> None:
        self.faults = faults or DynamicFaults()
        self.unlisted = unlisted
        self._incoming = incoming or Incoming(accept=True)
        self._random = random or Random(identifier)
        self._secret = secret
        self._identifier = identifier
        self._nas_address = nas_address
        self._answers: dict[tuple[Hashable, int, bytes], tuple[Microseconds, Verdict]] = {}

    def judge(self, datagram: bytes, source: Hashable, book: SessionBook, now: Microseconds) -> Verdict | None:
        """Return the verdict on a datagram from `source`; None when it deserves no answer."""
        if not self._incoming.accept or self._happens(self.faults.ignored):
            return None
        request = self._believed(datagram)
        if request is None:
            self._incoming.bad_requests += 1
            return None
        self._incoming.requests += 1
        self._expire(now)
        key = (source, request.identifier, request.authenticator)
        known = self._answers.get(key)
        if known is not None:
            return known[1]
        verdict = self._decide(request, book)
        self._count(verdict.code)
        if verdict.order is not None and self._happens(self.faults.pretended):
            verdict = replace(verdict, order=None)
        self._answers[key] = (now, replace(verdict, order=None, is_duplicate=True))
        return replace(verdict, is_answered=not self._happens(self.faults.unanswered))

    def _happens(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _count(self, code: Code) -> None:
        if code in (Code.COA_ACK, Code.DISCONNECT_ACK):
            self._incoming.acks += 1
        else:
            self._incoming.naks += 1

    def _believed(self, datagram: bytes) -> Packet | None:
        try:
            request = decode(datagram)
        except MalformedPacket:
            return None
        if request.code not in (Code.DISCONNECT_REQUEST, Code.COA_REQUEST):
            return None
        if not request.request_authenticator_is_valid(self._secret):
            return None
        if request.has_message_authenticator:
            return request if request.message_authenticator_is_valid(self._secret, NO_AUTHENTICATOR) else None
        return request

    def _expire(self, now: Microseconds) -> None:
        """Forget old answers; they stand in the order in which they were given."""
        while self._answers:
            oldest = next(iter(self._answers))
            if now - self._answers[oldest][0] < ANSWERS_KEPT_US:
                return
            del self._answers[oldest]

    def _decide(self, request: Packet, book: SessionBook) -> Verdict:
        disconnect = request.code == Code.DISCONNECT_REQUEST
        try:
            self._check_router(request)
            self._refuse_now_and_then()
            order = self._disconnection(request, book) if disconnect else self._change(request, book)
        except _Refused as refused:
            code = Code.DISCONNECT_NAK if disconnect else Code.COA_NAK
            cause = integer_attribute(Type.ERROR_CAUSE, refused.cause)
            return Verdict(encode_reply(code, request, cause, self._secret), code)
        code = Code.DISCONNECT_ACK if disconnect else Code.COA_ACK
        return Verdict(encode_reply(code, request, b"", self._secret), code, order)

    def _check_router(self, request: Packet) -> None:
        identifier, address = request.text(Type.NAS_IDENTIFIER), request.get(Type.NAS_IP_ADDRESS)
        if identifier not in (None, self._identifier) or address not in (None, self._nas_address):
            raise _Refused(ErrorCause.NAS_IDENTIFICATION_MISMATCH)

    def _refuse_now_and_then(self) -> None:
        if self._happens(self.faults.refused):
            raise _Refused(self.faults.refused_with)

    def _disconnection(self, request: Packet, book: SessionBook) -> Order:
        if request.get(Type.SERVICE_TYPE) is not None or request.get(Type.STATE) is not None:
            raise _Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE)
        return Order(_the_session(request, book), disconnect=True)

    def _change(self, request: Packet, book: SessionBook) -> Order:
        if any(request.get(kind) is not None for kind in _FIXED):
            raise _Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE)
        unlisted = any(request.vendor(Vendor.MIKROTIK, kind) is not None for kind in _UNLISTED)
        if unlisted and self.unlisted is Unlisted.REFUSED:
            raise _Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE)
        session = _the_session(request, book)
        try:
            order = _read_order(request, session, with_unlisted=self.unlisted is Unlisted.APPLIED)
        except ValueError:
            raise _Refused(ErrorCause.INVALID_ATTRIBUTE_VALUE) from None
        if order.is_empty and not unlisted and not _names_something(request):
            raise _Refused(ErrorCause.INVALID_REQUEST)
        return order


def _read_order(request: Packet, session: Session, *, with_unlisted: bool) -> Order:
    timeout = request.integer(Type.SESSION_TIMEOUT)
    if timeout is None and request.get(Type.SESSION_TIMEOUT) is not None:
        raise ValueError("a Session-Timeout of another size than four octets")
    changed = rates.read(request)
    return Order(
        session,
        disconnect=False,
        rates=changed,
        rate_limit=rate_limit.read(request) or rate_limit.of_rates(changed),
        session_timeout_seconds=timeout,
        limit_octets=read_limits(request, gigawords=with_unlisted),
        address_list=read_address_list(request) if with_unlisted else None,
        interim_seconds=request.integer(Type.ACCT_INTERIM_INTERVAL) if with_unlisted else None,
    )


def _names_something(request: Packet) -> bool:
    """Tell whether a request holds anything that a router may acknowledge, though nothing follows from it here."""
    return any(request.get(kind) is not None for kind in (*_WITHOUT_EFFECT, Type.ACCT_INTERIM_INTERVAL)) or any(
        request.vendor(Vendor.MIKROTIK, kind) is not None for kind in _LISTED
    )


def _the_session(request: Packet, book: SessionBook) -> Session:
    acct_session_id, login = request.text(Type.ACCT_SESSION_ID), request.text(Type.USER_NAME)
    address = request.get(Type.FRAMED_IP_ADDRESS)
    if acct_session_id is None and login is None and address is None:
        raise _Refused(ErrorCause.MISSING_ATTRIBUTE)
    found = book.find(acct_session_id, login, address)
    if not found:
        raise _Refused(ErrorCause.SESSION_CONTEXT_NOT_FOUND)
    if len(found) > 1:
        raise _Refused(ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED)
    return found[0]
