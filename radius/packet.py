"""RADIUS packets: octets to attributes and back, sans I/O.

Rule: a datagram is either well framed to the last octet or dropped whole (RFC 2865 §3, §5; RFC 2866 §5); what a single
attribute's value means is judged by its reader (RFC 6929 §2.8).
"""

from __future__ import annotations

import hmac
from collections.abc import KeysView
from enum import Enum
from functools import lru_cache
from hashlib import md5
from struct import Struct
from typing import Any, NamedTuple

from domain.errors import CaudalError
from radius.codes import Code, Type

HEADER_OCTETS = 20
"""Code, Identifier, Length, Authenticator (RFC 2865 §3)."""
LARGEST_PACKET = 4096
"""RFC 2865 §3."""
MOST_ATTRIBUTES = 200
"""FreeRADIUS's limit of attributes in a packet; no real NAS sends half as many."""
LARGEST_VALUE = 253
"""RFC 2865 §5: the length octet counts itself and the type."""
NO_AUTHENTICATOR = bytes(16)

_VENDOR = Struct("!I")
_MESSAGE_AUTHENTICATOR = b"\x50\x12" + NO_AUTHENTICATOR
_MESSAGE_AUTHENTICATOR_HEAD = b"\x50\x12"


class Flaw(Enum):
    """Why a datagram cannot be read; the label of the drop counter."""

    SHORT = "short"
    LENGTH = "length"
    TOO_LONG = "too_long"
    ATTRIBUTE = "attribute"
    TOO_MANY_ATTRIBUTES = "too_many_attributes"
    MESSAGE_AUTHENTICATOR = "message_authenticator_form"


class MalformedPacket(CaudalError):
    """The peer sent octets that are no RADIUS packet; drop and count by `flaw`."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(f"malformed RADIUS packet: {flaw.value}")
        self.flaw = flaw


MD5_BLOCK_OCTETS = 64
MOST_SECRETS = 4096
"""Secrets whose HMAC states are kept ready."""


@lru_cache(maxsize=MOST_SECRETS)
def _hmac_states(secret: bytes) -> tuple[Any, Any]:
    """Return MD5 after the inner and after the outer pad of `secret` (RFC 2104 §4)."""
    if len(secret) > MD5_BLOCK_OCTETS:
        secret = md5(secret, usedforsecurity=False).digest()
    key = secret.ljust(MD5_BLOCK_OCTETS, b"\0")
    return (
        md5(bytes(octet ^ 0x36 for octet in key), usedforsecurity=False),
        md5(bytes(octet ^ 0x5C for octet in key), usedforsecurity=False),
    )


def _hmac_md5(secret: bytes, message: bytes) -> bytes:
    """Return HMAC-MD5; from prepared states it costs half of `hmac.digest`."""
    inner, outer = _hmac_states(secret)
    inner = inner.copy()
    inner.update(message)
    outer = outer.copy()
    outer.update(inner.digest())
    digest: bytes = outer.digest()
    return digest


class Layout(NamedTuple):
    """Where the attributes of a packet stand: the same for every packet that a NAS builds alike."""

    first: dict[int, slice]
    later: list[tuple[int, slice]]
    ma_offset: int

    def frame(self, length: int) -> int:
        """Return a mask over the octets that frame a packet of this layout: Length, and each type and length."""
        mask = bytearray(length)
        mask[2:4] = b"\xff\xff"
        for place in (*self.first.values(), *(place for _, place in self.later)):
            mask[place.start - 2 : place.start] = b"\xff\xff"
        return int.from_bytes(mask)


class Packet:
    """A well-framed packet. `octets` ends at Length; values are raw."""

    __slots__ = ("_layout", "authenticator", "code", "identifier", "octets")

    def __init__(self, octets: bytes, layout: Layout) -> None:
        self.octets = octets
        self.code = octets[0]
        self.identifier = octets[1]
        self.authenticator = octets[4:20]
        self._layout = layout

    def get(self, kind: int) -> bytes | None:
        """Return the first value of attribute `kind`."""
        place = self._layout.first.get(kind)
        return None if place is None else self.octets[place]

    def all(self, kind: int) -> list[bytes]:
        """Return every value of attribute `kind`, in the packet's order."""
        first = self._layout.first.get(kind)
        if first is None:
            return []
        octets = self.octets
        return [octets[first], *(octets[place] for other, place in self._layout.later if other == kind)]

    def kinds(self) -> KeysView[int]:
        """Return the attribute types that occur."""
        return self._layout.first.keys()

    def attributes(self) -> list[tuple[int, bytes]]:
        """Return (type, value) of every attribute in the packet's order."""
        found = []
        offset = HEADER_OCTETS
        while offset < len(self.octets):
            size = self.octets[offset + 1]
            found.append((self.octets[offset], self.octets[offset + 2 : offset + size]))
            offset += size
        return found

    def text(self, kind: int) -> str | None:
        """Return the first value as text; octets that are no UTF-8 are shown escaped, NULs as U+FFFD."""
        value = self.get(kind)
        return None if value is None else readable(value)

    def integer(self, kind: int) -> int | None:
        """Return the first value as unsigned 32-bit integer; None when absent or of another size (RFC 6929 §2.8)."""
        value = self.get(kind)
        return None if value is None or len(value) != 4 else int.from_bytes(value)

    def vendor(self, vendor: int, kind: int) -> bytes | None:
        """Return the first sub-attribute `kind` of `vendor` (format 1,1 as RFC 2865 §5.26 suggests)."""
        for value in self.all(Type.VENDOR_SPECIFIC):
            for number, sub_kind, content in vendor_values(value):
                if sub_kind == kind and number == vendor:
                    return content
        return None

    def vendor_all(self, vendor: int, kind: int) -> list[bytes]:
        """Return every sub-attribute `kind` of `vendor`, in order."""
        return [
            content
            for value in self.all(Type.VENDOR_SPECIFIC)
            for number, sub_kind, content in vendor_values(value)
            if sub_kind == kind and number == vendor
        ]

    @property
    def has_message_authenticator(self) -> bool:
        """Tell whether a Message-Authenticator (RFC 3579 §3.2) is present."""
        return self._layout.ma_offset > 0

    def message_authenticator_is_valid(self, secret: bytes, request_authenticator: bytes | None = None) -> bool:
        """Verify the Message-Authenticator; `request_authenticator` replaces the packet's own where RFC 3579 says so.

        Accounting, CoA and Disconnect requests are computed over a zero authenticator: pass `NO_AUTHENTICATOR`;
        replies over that of their request.
        """
        at = self._layout.ma_offset
        octets = self.octets
        if not at:
            return False
        authenticator = self.authenticator if request_authenticator is None else request_authenticator
        cleared = b"".join((octets[:4], authenticator, octets[20:at], NO_AUTHENTICATOR, octets[at + 16 :]))
        return hmac.compare_digest(_hmac_md5(secret, cleared), octets[at : at + 16])

    def request_authenticator_is_valid(self, secret: bytes) -> bool:
        """Verify the authenticator of an Accounting-, CoA- or Disconnect-Request (RFC 2866 §3, 5176 §2.3)."""
        octets = self.octets
        expected = md5(b"".join((octets[:4], NO_AUTHENTICATOR, octets[20:], secret)), usedforsecurity=False).digest()
        return hmac.compare_digest(expected, octets[4:20])

    def response_authenticator_is_valid(self, secret: bytes, request_authenticator: bytes) -> bool:
        """Verify a reply's Response Authenticator against the request it answers (RFC 2865 §3)."""
        octets = self.octets
        expected = md5(b"".join((octets[:4], request_authenticator, octets[20:], secret)), usedforsecurity=False)
        return hmac.compare_digest(expected.digest(), octets[4:20])


MOST_LAYOUTS = 1024
"""Layouts remembered; a network's routers show some dozens. About 2 MB."""
MOST_OF_ONE_LENGTH = 8
"""Layouts tried for one packet length; comparing with one costs a twentieth of a scan."""
REMEMBER_ONE_IN = 8
"""Remembering costs two scans: layouts that come again are soon caught, those that do not cost little."""


class Decoder:
    """Decodes datagrams and remembers their layouts.

    Two datagrams that agree in the octets that frame are framed alike, so the second need not be scanned.
    """

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[int, int, Layout]]] = {}
        self._count = 0
        self._scans = 0

    def decode(self, datagram: bytes) -> Packet:
        """Index the attributes of `datagram`; raise `MalformedPacket` when its framing is wrong anywhere.

        Octets past Length are padding and ignored (RFC 2865 §3).
        """
        known = self._known.get(len(datagram))
        if known is not None:
            number = int.from_bytes(datagram)
            for mask, pattern, layout in known:
                if number & mask == pattern:
                    return Packet(datagram, layout)
        octets = _trimmed(datagram)
        layout = _scan(octets)
        self._scans += 1
        if self._scans % REMEMBER_ONE_IN == 0 and len(octets) == len(datagram):
            self._remember(octets, layout)
        return Packet(octets, layout)

    def _remember(self, octets: bytes, layout: Layout) -> None:
        if self._count >= MOST_LAYOUTS:
            self._known, self._count = {}, 0
        known = self._known.setdefault(len(octets), [])
        if len(known) >= MOST_OF_ONE_LENGTH:
            known.pop()
            self._count -= 1
        mask = layout.frame(len(octets))
        known.insert(0, (mask, int.from_bytes(octets) & mask, layout))
        self._count += 1


def decode(datagram: bytes) -> Packet:
    """Decode one datagram on its own; raise `MalformedPacket`."""
    octets = _trimmed(datagram)
    return Packet(octets, _scan(octets))


def _trimmed(datagram: bytes) -> bytes:
    received = len(datagram)
    if received < HEADER_OCTETS:
        raise MalformedPacket(Flaw.SHORT)
    length = datagram[2] << 8 | datagram[3]
    if length > LARGEST_PACKET:
        raise MalformedPacket(Flaw.TOO_LONG)
    if length < HEADER_OCTETS or length > received:
        raise MalformedPacket(Flaw.LENGTH)
    return datagram[:length]


def _scan(octets: bytes) -> Layout:
    length = len(octets)
    first: dict[int, slice] = {}
    later: list[tuple[int, slice]] = []
    ma_offset = 0
    offset = HEADER_OCTETS
    while offset < length - 1:
        kind = octets[offset]
        size = octets[offset + 1]
        end = offset + size
        if size < 2 or end > length or kind == 0:
            raise MalformedPacket(Flaw.ATTRIBUTE)
        if kind == Type.MESSAGE_AUTHENTICATOR:
            if size != 18 or ma_offset:
                raise MalformedPacket(Flaw.MESSAGE_AUTHENTICATOR)
            ma_offset = offset + 2
        if kind in first:
            later.append((kind, slice(offset + 2, end)))
        else:
            first[kind] = slice(offset + 2, end)
        offset = end
    if offset != length:
        raise MalformedPacket(Flaw.ATTRIBUTE)
    if len(first) + len(later) > MOST_ATTRIBUTES:
        raise MalformedPacket(Flaw.TOO_MANY_ATTRIBUTES)
    return Layout(first, later, ma_offset)


def vendor_values(value: bytes) -> list[tuple[int, int, bytes]]:
    """Split the value of a Vendor-Specific attribute into (vendor, type, content).

    Returns nothing for content that is not in the suggested format: it stays opaque (RFC 2865 §5.26).
    """
    size = len(value)
    if size < 6 or value[0]:
        return []
    vendor = _VENDOR.unpack_from(value)[0]
    found = []
    offset = 4
    while offset < size:
        if offset + 2 > size:
            return []
        length = value[offset + 1]
        end = offset + length
        if length < 2 or end > size:
            return []
        found.append((vendor, value[offset], value[offset + 2 : end]))
        offset = end
    return found


def readable(value: bytes) -> str:
    """Return `value` as text that PostgreSQL and terminals accept."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("utf-8", "backslashreplace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute; refuse a value that does not fit rather than cut it."""
    if len(value) > LARGEST_VALUE:
        raise ValueError(f"attribute {kind} holds at most {LARGEST_VALUE} octets, not {len(value)}")
    return bytes((kind, len(value) + 2)) + value


def integer_attribute(kind: int, value: int) -> bytes:
    """Encode an unsigned 32-bit attribute."""
    return bytes((kind, 6)) + value.to_bytes(4)


def vendor_attribute(vendor: int, kind: int, value: bytes) -> bytes:
    """Encode one sub-attribute of `vendor` in a Vendor-Specific of its own (format 1,1)."""
    return attribute(Type.VENDOR_SPECIFIC, _VENDOR.pack(vendor) + bytes((kind, len(value) + 2)) + value)


def encode_reply(code: int, request: Packet, attributes: bytes, secret: bytes) -> bytes:
    """Encode the answer to `request`: Proxy-State echoed, authenticators computed.

    Answers to Access-Request and Status-Server begin with Message-Authenticator (draft-ietf-radext-deprecating-radius
    §5.3.6). An Accounting-Response carries none: no RFC says over which authenticator it would be computed, and
    FreeRADIUS refuses one that is computed over the request's. Its Response Authenticator covers it whole.
    """
    if Type.PROXY_STATE in request.kinds():
        attributes += b"".join(attribute(Type.PROXY_STATE, state) for state in request.all(Type.PROXY_STATE))
    signed = request.code != Code.ACCOUNTING_REQUEST
    length = HEADER_OCTETS + len(attributes) + (18 if signed else 0)
    if length > LARGEST_PACKET:
        raise ValueError(f"a reply of {length} octets does not fit into a RADIUS packet")
    header = bytes((code, request.identifier)) + length.to_bytes(2)
    authenticator = request.authenticator
    if signed:
        unsigned = b"".join((header, authenticator, _MESSAGE_AUTHENTICATOR, attributes))
        signature = _hmac_md5(secret, unsigned)
        attributes = b"".join((_MESSAGE_AUTHENTICATOR_HEAD, signature, attributes))
    digest = md5(b"".join((header, authenticator, attributes, secret)), usedforsecurity=False).digest()
    return b"".join((header, digest, attributes))


def encode_request(
    code: int,
    identifier: int,
    attributes: bytes,
    secret: bytes,
    *,
    authenticator: bytes = NO_AUTHENTICATOR,
    sign: bool = True,
) -> bytes:
    """Encode a request as a client does.

    Access-Request and Status-Server need a fresh random `authenticator`; for all others it is computed over the packet.
    `sign` puts a Message-Authenticator first.
    """
    length = HEADER_OCTETS + len(attributes) + (18 if sign else 0)
    header = bytes((code, identifier)) + length.to_bytes(2)
    if sign:
        unsigned = b"".join((header, authenticator, _MESSAGE_AUTHENTICATOR, attributes))
        attributes = b"".join((_MESSAGE_AUTHENTICATOR_HEAD, _hmac_md5(secret, unsigned), attributes))
    if code not in (Code.ACCESS_REQUEST, Code.STATUS_SERVER):
        authenticator = md5(header + NO_AUTHENTICATOR + attributes + secret, usedforsecurity=False).digest()
    return header + authenticator + attributes
