"""Whether the credentials of an Access-Request prove the password of a service.

Rule: exactly one method a request (RFC 2865 §4.1). A service without a password is opened by its MAC alone (MAC
authentication, DHCP) and by nothing else; an empty password never opens a service that has one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from enum import Enum
from hmac import compare_digest
from typing import NamedTuple

from domain.names import is_mac, login_key, mac
from radius import chap, mppe, mschap, pap
from radius.codes import Microsoft, Type, Vendor
from radius.packet import Packet, attribute, readable, vendor_attribute, vendor_values

HASH_OCTETS = 16
PASSWORD_AT = 2 * HASH_OCTETS
"""A service's secret is its NT hash, the hash of that, and the password."""

# Plain numbers: an enumeration's member costs 0.1 µs to look up, and these are looked up for every login.
_USER_PASSWORD = int(Type.USER_PASSWORD)
_CHAP_PASSWORD = int(Type.CHAP_PASSWORD)
_EAP_MESSAGE = int(Type.EAP_MESSAGE)
_VENDOR_SPECIFIC = int(Type.VENDOR_SPECIFIC)
_MICROSOFT = int(Vendor.MICROSOFT).to_bytes(4)

_EAP_FAILURE = 4
_ENCRYPTION_ALLOWED = vendor_attribute(Vendor.MICROSOFT, Microsoft.MPPE_ENCRYPTION_POLICY, b"\0\0\0\x01")
_ENCRYPTION_40_OR_128 = vendor_attribute(Vendor.MICROSOFT, Microsoft.MPPE_ENCRYPTION_TYPES, b"\0\0\0\x06")
_ENCRYPTION = _ENCRYPTION_ALLOWED + _ENCRYPTION_40_OR_128


def _head(kind: Microsoft, octets: int) -> bytes:
    """Return what stands before the value of one of Microsoft's attributes that always has this size."""
    return vendor_attribute(Vendor.MICROSOFT, kind, bytes(octets))[:-octets]


_SUCCESS_HEAD = _head(Microsoft.CHAP2_SUCCESS, 43)
_SEND_KEY_HEAD = _head(Microsoft.MPPE_SEND_KEY, 34)
_RECEIVE_KEY_HEAD = _head(Microsoft.MPPE_RECV_KEY, 34)


class Method(Enum):
    """How a login proves itself; the value is stored with refusals."""

    PAP = "pap"
    CHAP = "chap"
    MSCHAP = "mschap"
    MSCHAPV2 = "mschapv2"
    EAP = "eap"
    NONE = "none"
    """No credentials at all: MAC authentication by some NAS."""
    MIXED = "mixed"
    """Credentials of two methods, which no honest NAS sends."""


class Proof(Enum):
    """What came of the credentials."""

    RIGHT = "right"
    WRONG = "wrong"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"


class Verdict(NamedTuple):
    """Proof, and the attributes that the method adds to an Access-Accept."""

    proof: Proof
    attributes: bytes = b""


class Attempt(NamedTuple):
    """A login by any method but PAP, and what it must prove."""

    packet: Packet
    router_secret: bytes
    service_secret: bytes
    login: str

    @property
    def nt_hash(self) -> bytes:
        """The MD4 of the password in UTF-16."""
        return self.service_secret[:HASH_OCTETS]

    @property
    def nt_hash_hash(self) -> bytes:
        """The MD4 of that."""
        return self.service_secret[HASH_OCTETS:PASSWORD_AT]

    @property
    def password(self) -> bytes:
        """The password; empty for a service that its MAC opens."""
        return self.service_secret[PASSWORD_AT:]

    def is_allowed(self) -> bool:
        """Tell whether a proved password opens the service: an empty one only together with the right MAC."""
        return bool(self.password) or _names_mac(b"", self.packet, self.login)


RIGHT = Verdict(Proof.RIGHT)
WRONG = Verdict(Proof.WRONG)
MALFORMED = Verdict(Proof.MALFORMED)
UNSUPPORTED = Verdict(Proof.UNSUPPORTED)


def method_of(packet: Packet) -> Method:
    """Return the method of an Access-Request."""
    get = packet.get
    if get(_USER_PASSWORD) is not None:
        return Method.PAP if get(_CHAP_PASSWORD) is None and get(_EAP_MESSAGE) is None else Method.MIXED
    if get(_EAP_MESSAGE) is not None:
        return Method.EAP
    if get(_CHAP_PASSWORD) is not None:
        return Method.CHAP
    if get(_VENDOR_SPECIFIC) is not None:
        sent = _microsoft(packet)
        if Microsoft.CHAP2_RESPONSE in sent:
            return Method.MSCHAPV2
        if Microsoft.CHAP_RESPONSE in sent:
            return Method.MSCHAP
    return Method.NONE


def verify(method: Method, packet: Packet, router_secret: bytes, service_secret: bytes, login: str) -> Verdict:
    """Check the credentials of `packet` against an opened service secret; `login` is the service's own name."""
    if method is not Method.PAP:
        return _METHODS[method](Attempt(packet, router_secret, service_secret, login))
    try:
        given = pap.reveal(packet.get(_USER_PASSWORD) or b"", router_secret, packet.authenticator)
    except pap.MalformedPassword:
        return MALFORMED
    password = service_secret[PASSWORD_AT:]
    if password:
        return RIGHT if compare_digest(given, password) else WRONG
    return RIGHT if _names_mac(given, packet, login) else WRONG


def refusal_attributes(method: Method, packet: Packet) -> bytes:
    """Return what the method adds to an Access-Reject (RFC 2759 §6, RFC 3579 §2.6.3)."""
    if method is Method.MSCHAPV2:
        return _chap_error(packet, Microsoft.CHAP2_RESPONSE, mschap.V2_CHALLENGE_OCTETS)
    if method is Method.MSCHAP:
        return _chap_error(packet, Microsoft.CHAP_RESPONSE, mschap.V1_CHALLENGE_OCTETS)
    if method is Method.EAP:
        message = packet.get(Type.EAP_MESSAGE) or b""
        return attribute(Type.EAP_MESSAGE, bytes((_EAP_FAILURE, message[1] if len(message) > 1 else 0, 0, 4)))
    return b""


def _chap_error(packet: Packet, response: Microsoft, challenge_octets: int) -> bytes:
    ident = (packet.vendor(Vendor.MICROSOFT, response) or b"\0")[:1] or b"\0"
    text = mschap.error_message(secrets.token_bytes(challenge_octets))
    return vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP_ERROR, ident + text)


def _names_mac(given: bytes, packet: Packet, login: str) -> bool:
    """Tell whether a service without a password is opened: named by a MAC, given nothing or that MAC."""
    if not is_mac(login) or not _same_station(packet, login):
        return False
    return not given or given == packet.get(Type.USER_NAME) or login_key(readable(given)) == login


def _same_station(packet: Packet, login: str) -> bool:
    """Tell whether Calling-Station-Id does not contradict the name: else anybody could type a neighbour's MAC."""
    station = packet.get(Type.CALLING_STATION_ID)
    return station is None or mac(readable(station).strip()) in (None, login)


def _verify_chap(attempt: Attempt) -> Verdict:
    packet = attempt.packet
    given = packet.get(_CHAP_PASSWORD) or b""
    if len(given) != chap.CHAP_PASSWORD_OCTETS:
        return MALFORMED
    challenge = packet.get(Type.CHAP_CHALLENGE) or packet.authenticator
    if attempt.password:
        passwords = [attempt.password]
    else:
        passwords = [b"", packet.get(Type.USER_NAME) or b"", attempt.login.encode()]
    proved = any(chap.matches(given, challenge, password) for password in passwords)
    return RIGHT if proved and attempt.is_allowed() else WRONG


def _verify_mschap(attempt: Attempt) -> Verdict:
    packet = attempt.packet
    sent = _microsoft(packet)
    challenge = sent.get(Microsoft.CHAP_CHALLENGE, b"")
    try:
        proved = mschap.matches_v1(attempt.nt_hash, challenge, sent[Microsoft.CHAP_RESPONSE])
    except mschap.LanManagerRefused:
        return UNSUPPORTED
    except mschap.MalformedMsChap:
        return MALFORMED
    if not proved or not attempt.is_allowed():
        return WRONG
    hidden = pap.hide(mppe.keys_v1(attempt.nt_hash_hash), attempt.router_secret, packet.authenticator)
    return Verdict(Proof.RIGHT, _ENCRYPTION + vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP_MPPE_KEYS, hidden))


def _verify_mschapv2(attempt: Attempt) -> Verdict:
    packet = attempt.packet
    sent = _microsoft(packet)
    challenge, response = sent.get(Microsoft.CHAP_CHALLENGE, b""), sent[Microsoft.CHAP2_RESPONSE]
    name = packet.get(Type.USER_NAME) or b""
    try:
        proved = mschap.matches_v2(attempt.nt_hash, challenge, response, name)
    except mschap.MalformedMsChap:
        return MALFORMED
    if not proved or not attempt.is_allowed():
        return WRONG
    nt_response = response[mschap.NT_RESPONSE_AT :]
    success = mschap.success_v2(attempt.nt_hash_hash, nt_response, response[2:18], challenge, name)
    send, receive = mppe.keys_v2(attempt.nt_hash_hash, nt_response)
    keys = _salted_keys(attempt, send, receive)
    return Verdict(Proof.RIGHT, b"".join((_SUCCESS_HEAD, response[:1], success, _ENCRYPTION, keys)))


def _salted_keys(attempt: Attempt, send: bytes, receive: bytes) -> bytes:
    """Encode both MPPE keys; their salts differ in the second bit, so within a packet always (RFC 2548 §2.4.2)."""
    first, second = secrets.token_bytes(2)
    salts = (bytes((first & 0x3F | 0x80, second)), bytes((first & 0x3F | 0xC0, second)))
    secret, authenticator = attempt.router_secret, attempt.packet.authenticator
    hidden_send = mppe.encrypt_key(send, secret, authenticator, salts[0])
    hidden_receive = mppe.encrypt_key(receive, secret, authenticator, salts[1])
    return b"".join((_SEND_KEY_HEAD, hidden_send, _RECEIVE_KEY_HEAD, hidden_receive))


def _verify_none(attempt: Attempt) -> Verdict:
    if attempt.password or not is_mac(attempt.login):
        return MALFORMED
    return RIGHT if attempt.is_allowed() else WRONG


def _verify_malformed(_attempt: Attempt) -> Verdict:
    return MALFORMED


def _microsoft(packet: Packet) -> dict[int, bytes]:
    """Return the first of each of Microsoft's attributes."""
    found: dict[int, bytes] = {}
    for value in packet.all(_VENDOR_SPECIFIC):
        if value[:4] != _MICROSOFT:
            continue
        if len(value) > 5 and value[5] == len(value) - 4:
            # One attribute in its own Vendor-Specific, as every NAS sends them.
            found.setdefault(value[4], value[6:])
        else:
            for _, kind, content in vendor_values(value):
                found.setdefault(kind, content)
    return found


_METHODS: dict[Method, Callable[[Attempt], Verdict]] = {
    Method.CHAP: _verify_chap,
    Method.MSCHAP: _verify_mschap,
    Method.MSCHAPV2: _verify_mschapv2,
    Method.NONE: _verify_none,
    Method.EAP: _verify_malformed,
    Method.MIXED: _verify_malformed,
}
