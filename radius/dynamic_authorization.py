"""CoA- and Disconnect-Requests as a server sends and relays them, and the answers it believes.

Rule (RFC 5176): Message-Authenticator comes first (§3.4) and Event-Timestamp second (§3.3); a session is named by
everything its NAS understands, so that an Acct-Session-Id that came back cannot hit another; a Disconnect-Request
carries identification alone (§3), and no request carries an attribute that is hidden with its authenticator. An answer
counts only with the Identifier, the authenticator and, where there is one, the Message-Authenticator of its request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from types import MappingProxyType
from typing import Any, NamedTuple

from domain.errors import CaudalError
from radius.codes import Code, ErrorCause, Microsoft, Type, Vendor
from radius.packet import (
    HEADER_OCTETS,
    LARGEST_PACKET,
    LARGEST_VALUE,
    Decoder,
    MalformedPacket,
    Packet,
    attribute,
    encode_request,
    readable,
    vendor_values,
)

REPLAY_WINDOW_SECONDS = 300
"""How far an Event-Timestamp may lie from the receiver's clock, and how long an Identifier rests (RFC 5176 §6.3)."""

_EVENT_TIMESTAMP_HEAD = bytes((Type.EVENT_TIMESTAMP, 6))
_MESSAGE_AUTHENTICATOR_OCTETS = 18
_WORD = 1 << 32
_UNFIT = frozenset(
    (
        # Hidden or proven with an authenticator that a CoA-Request has not (draft-ietf-radext-deprecating-radius §3.5).
        int(Type.USER_PASSWORD),
        int(Type.CHAP_PASSWORD),
        int(Type.TUNNEL_PASSWORD),
        # Ours to add.
        int(Type.MESSAGE_AUTHENTICATOR),
        int(Type.EVENT_TIMESTAMP),
        int(Type.PROXY_STATE),
    )
)
_HIDDEN_BY_MICROSOFT = frozenset(
    (int(Microsoft.CHAP_MPPE_KEYS), int(Microsoft.MPPE_SEND_KEY), int(Microsoft.MPPE_RECV_KEY))
)


class CannotAsk(CaudalError):
    """A request that no router could take; what is to be corrected is the attributes of its plan."""


class Disbelief(Enum):
    """Why an answer does not count; the label of a counter."""

    MALFORMED = "malformed"
    IDENTIFIER = "identifier"
    CODE = "unexpected_code"
    AUTHENTICATOR = "wrong_authenticator"
    """Most often the secrets here and on the router differ."""
    MESSAGE_AUTHENTICATOR = "wrong_message_authenticator"
    UNSIGNED = "missing_message_authenticator"
    STALE = "stale"
    """Its Event-Timestamp is not current (RFC 5176 §6.3)."""


class Meaning(Enum):
    """What a refusal asks of us; whatever its cause, nothing was applied (RFC 5176 §2.3)."""

    SESSION_GONE = "session_gone"
    """The NAS has no such session: ours is to be closed."""
    FINAL = "final"
    """The same request would be refused again."""
    LATER = "later"
    """The NAS is short of something."""
    NARROW = "narrow"
    """More than one session fits: name it by more."""


_MEANINGS: Mapping[int, Meaning] = MappingProxyType(
    {
        int(ErrorCause.SESSION_CONTEXT_NOT_FOUND): Meaning.SESSION_GONE,
        int(ErrorCause.RESOURCES_UNAVAILABLE): Meaning.LATER,
        int(ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED): Meaning.NARROW,
    }
)


def meaning(cause: int | None) -> Meaning:
    """Return what a NAK with this Error-Cause asks of us; one without, or with one nobody knows, is final."""
    return Meaning.FINAL if cause is None else _MEANINGS.get(cause, Meaning.FINAL)


def fits_ack(cause: int) -> bool:
    """Tell whether a cause may stand in an ACK: the 2xx only; all others only in a NAK (RFC 5176 §3.5)."""
    return 200 <= cause < 300


@dataclass(frozen=True, slots=True)
class SessionNames:
    """What a session and its NAS are called, in the NAS's own words; what it never said is None and is never sent."""

    user_name: str | None = None
    acct_session_id: str | None = None
    framed_ip_address: str | None = None
    calling_station_id: str | None = None
    called_station_id: str | None = None
    nas_port: int | None = None
    nas_port_id: str | None = None
    acct_multi_session_id: str | None = None
    chargeable_user_identity: str | None = None
    nas_identifier: str | None = None
    nas_ip_address: str | None = None
    nas_ipv6_address: str | None = None


class _Form(NamedTuple):
    """One name on the wire, both ways; `read` raises ValueError for a value of another size."""

    kind: int
    field: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes], str | int]


def _read_integer(value: bytes) -> int:
    if len(value) != 4:
        raise ValueError("an integer has four octets")
    return int.from_bytes(value)


def _text(kind: Type, field: str) -> _Form:
    return _Form(kind, field, str.encode, readable)


def _address(kind: Type, field: str, family: int) -> _Form:
    return _Form(kind, field, lambda text: inet_pton(family, text), lambda value: inet_ntop(family, value))


_FORMS = (
    _text(Type.USER_NAME, "user_name"),
    _text(Type.ACCT_SESSION_ID, "acct_session_id"),
    _address(Type.FRAMED_IP_ADDRESS, "framed_ip_address", AF_INET),
    _text(Type.CALLING_STATION_ID, "calling_station_id"),
    _text(Type.CALLED_STATION_ID, "called_station_id"),
    _Form(Type.NAS_PORT, "nas_port", lambda number: number.to_bytes(4), _read_integer),
    _text(Type.NAS_PORT_ID, "nas_port_id"),
    _text(Type.ACCT_MULTI_SESSION_ID, "acct_multi_session_id"),
    _text(Type.CHARGEABLE_USER_IDENTITY, "chargeable_user_identity"),
    _text(Type.NAS_IDENTIFIER, "nas_identifier"),
    _address(Type.NAS_IP_ADDRESS, "nas_ip_address", AF_INET),
    _address(Type.NAS_IPV6_ADDRESS, "nas_ipv6_address", AF_INET6),
)
EVERY_NAME = frozenset(form.kind for form in _FORMS)
"""The attributes by which a session and its NAS can be named (RFC 5176 §3)."""
NAMES_OF_NAS = frozenset((int(Type.NAS_IDENTIFIER), int(Type.NAS_IP_ADDRESS), int(Type.NAS_IPV6_ADDRESS)))
NAMES_OF_SESSION = EVERY_NAME - NAMES_OF_NAS - {int(Type.CALLED_STATION_ID)}
"""Called-Station-Id only narrows: it is the same for all sessions of a server."""


def encode_names(names: SessionNames, kinds: Collection[int]) -> bytes:
    """Encode those of `names` that a NAS understands; raise `CannotAsk` when they name no session.

    A request without would be about every session of the NAS.
    """
    encoded = []
    names_a_session = False
    for kind, field, write, _ in _FORMS:
        if kind in kinds:
            name = getattr(names, field)
            if name is not None:
                encoded.append(_encode_name(kind, field, write, name))
                names_a_session = names_a_session or kind in NAMES_OF_SESSION
    if not names_a_session:
        raise CannotAsk("a session has none of the names by which its router finds it; give the router another profile")
    return b"".join(encoded)


def _encode_name(kind: int, field: str, write: Callable[[Any], bytes], name: str | int) -> bytes:
    try:
        value = write(name)
    except (OSError, OverflowError, UnicodeEncodeError):
        raise CannotAsk(f"{field} of a session cannot be written; close the session and let it come again") from None
    if len(value) > LARGEST_VALUE:
        raise CannotAsk(f"{field} of a session has {len(value)} octets, more than an attribute holds; shorten it")
    return bytes((kind, len(value) + 2)) + value


def read_names(packet: Packet) -> SessionNames:
    """Return how a request names its session; raise ValueError for a name of the wrong size."""
    found = {}
    for kind, field, _, read in _FORMS:
        value = packet.get(kind)
        if value is not None:
            found[field] = read(value)
    return SessionNames(**found)  # type: ignore[arg-type]  # the table pairs each field with its type


@dataclass(frozen=True, slots=True)
class DynamicRequest:
    """A request to a NAS about one session; `change` and `disconnect` make one."""

    code: Code
    session: SessionNames
    attributes: bytes = b""
    """What is to change, encoded."""
    narrow: bool = False
    """Name the session by everything known: its NAS found several (Error-Cause 508)."""
    proxy_states: tuple[bytes, ...] = ()
    """Of the request that is relayed, in its order."""

    def __post_init__(self) -> None:
        if self.attributes and self.code is not Code.COA_REQUEST:
            raise ValueError("a Disconnect-Request carries identification alone (RFC 5176 §3)")

    def narrowed(self) -> DynamicRequest:
        """Return the same request with every name of its session."""
        return DynamicRequest(self.code, self.session, self.attributes, narrow=True, proxy_states=self.proxy_states)


def change(session: SessionNames, attributes: bytes, *, proxy_states: tuple[bytes, ...] = ()) -> DynamicRequest:
    """Return a CoA-Request; raise `CannotAsk` for attributes that no CoA-Request may carry."""
    refuse_unfit(attributes)
    return DynamicRequest(Code.COA_REQUEST, session, attributes, proxy_states=proxy_states)


def disconnect(session: SessionNames, *, proxy_states: tuple[bytes, ...] = ()) -> DynamicRequest:
    """Return a Disconnect-Request."""
    return DynamicRequest(Code.DISCONNECT_REQUEST, session, proxy_states=proxy_states)


def refuse_unfit(attributes: bytes) -> None:
    """Raise `CannotAsk` for what is badly framed, hidden with the authenticator, or ours to add."""
    at, end = 0, len(attributes)
    while at < end:
        size = attributes[at + 1] if at + 1 < end else 0
        if size < 2 or at + size > end or not attributes[at]:
            raise CannotAsk("the attributes of a CoA-Request are cut short; correct those of its plan")
        kind = attributes[at]
        if kind in _UNFIT or (kind == Type.VENDOR_SPECIFIC and _hides(attributes[at + 2 : at + size])):
            raise CannotAsk(f"a CoA-Request may not carry attribute {kind} as it is; take it out of its plan")
        at += size


def _hides(vendor_specific: bytes) -> bool:
    return any(
        vendor == Vendor.MICROSOFT and kind in _HIDDEN_BY_MICROSOFT
        for vendor, kind, _ in vendor_values(vendor_specific)
    )


def encode(
    request: DynamicRequest, kinds: Collection[int], *, identifier: int, secret: bytes, event_timestamp: int
) -> bytes:
    """Encode `request` for a NAS that understands the names `kinds`; raise `CannotAsk` when it does not fit.

    `event_timestamp` is in seconds since the epoch. A retransmission repeats the octets as they are.
    """
    attributes = b"".join(
        (
            _EVENT_TIMESTAMP_HEAD,
            (event_timestamp % _WORD).to_bytes(4),
            encode_names(request.session, EVERY_NAME if request.narrow else kinds),
            request.attributes,
            *(attribute(Type.PROXY_STATE, state) for state in request.proxy_states),
        )
    )
    length = HEADER_OCTETS + _MESSAGE_AUTHENTICATOR_OCTETS + len(attributes)
    if length > LARGEST_PACKET:
        raise CannotAsk(f"a CoA-Request may have {LARGEST_PACKET} octets, not {length}; shorten its plan's attributes")
    return encode_request(request.code, identifier, attributes, secret)


class Answer(NamedTuple):
    """An answer that is believed; an Error-Cause that its kind may not carry is left out."""

    acknowledged: bool
    cause: int | None
    told_at: int | None = None
    """Its Event-Timestamp, in seconds since the epoch; whether that is current tells the `PeerClock` of its NAS."""


def verify(
    datagram: bytes, request: bytes, secret: bytes, *, require_message_authenticator: bool, decoder: Decoder
) -> Answer | Disbelief:
    """Return what `datagram` says about `request`, or why it cannot be believed."""
    try:
        packet = decoder.decode(datagram)
    except MalformedPacket:
        return Disbelief.MALFORMED
    if packet.identifier != request[1]:
        return Disbelief.IDENTIFIER
    acknowledged = packet.code == request[0] + 1
    if not acknowledged and packet.code != request[0] + 2:
        return Disbelief.CODE
    authenticator = request[4:20]
    if not packet.response_authenticator_is_valid(secret, authenticator):
        return Disbelief.AUTHENTICATOR
    if packet.has_message_authenticator:
        if not packet.message_authenticator_is_valid(secret, authenticator):
            return Disbelief.MESSAGE_AUTHENTICATOR
    elif require_message_authenticator:
        return Disbelief.UNSIGNED
    cause = packet.integer(Type.ERROR_CAUSE)
    fitting = None if cause is None or fits_ack(cause) is not acknowledged else cause
    return Answer(acknowledged, fitting, packet.integer(Type.EVENT_TIMESTAMP))


class PeerClock:
    """Whether the Event-Timestamp of a NAS's answers is current, though its clock may be wrong.

    One that is not is to be ignored (RFC 5176 §6.3). But an answer cannot be older than its request, whose own
    Event-Timestamp its authenticator covers: what is off is the clock of its NAS. So a second answer that is off by as
    much is believed, and from then on that NAS is judged by its own clock; else it would be out of reach.
    """

    __slots__ = ("_suspected", "offset_seconds")

    def __init__(self) -> None:
        self.offset_seconds: int | None = None
        """How far it was ahead of ours in the last answer that counted; None before one told the time."""
        self._suspected: int | None = None

    def is_current(self, told_at: int | None, now: int) -> bool:
        """Tell whether an answer counts that came at `now`, in seconds since the epoch; one without time does."""
        if told_at is None:
            return True
        offset = told_at - now
        usual = (0, self.offset_seconds, self._suspected)
        if any(each is not None and abs(offset - each) <= REPLAY_WINDOW_SECONDS for each in usual):
            self.offset_seconds, self._suspected = offset, None
            return True
        self._suspected = offset
        return False


def is_stale(packet: Packet, now_seconds: int) -> bool:
    """Tell whether a request may be a replay by its Event-Timestamp; one without is judged by the duplicates alone."""
    told = packet.integer(Type.EVENT_TIMESTAMP)
    return told is not None and abs(told - now_seconds) > REPLAY_WINDOW_SECONDS
