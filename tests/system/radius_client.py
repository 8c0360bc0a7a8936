"""A NAS as the tests play it: one UDP socket at an address of its own, whole datagrams in and out.

Rule: what a well-behaved NAS sends is built by the product's own encoders, what a hostile one sends is raw octets.
Answers are verified here a second time, with nothing of the product. Silence is proved by what comes instead: requests
sent afterwards through the same queue of the server are answered, and nothing else is.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import select
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from radius import chap, mschap, pap
from radius.codes import AcctStatus, Code, Microsoft, Type, Vendor
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute, vendor_attribute

ANSWER_SECONDS = 8.0
"""Longer than any answer takes, also on a machine that is busy."""
LARGEST_DATAGRAM = 65_535
MESSAGE_AUTHENTICATOR = 80


def text(kind: int, value: str | bytes) -> bytes:
    """Encode an attribute of text or octets."""
    return attribute(kind, value.encode() if isinstance(value, str) else value)


number = integer_attribute


def microsoft(kind: Microsoft, value: bytes) -> bytes:
    """Encode an attribute of Microsoft's."""
    return vendor_attribute(Vendor.MICROSOFT, kind, value)


def raw(code: int, identifier: int, attributes: bytes, *, authenticator: bytes, length: int | None = None) -> bytes:
    """Put a datagram together as it is told to be, right or wrong."""
    size = 20 + len(attributes) if length is None else length
    return bytes((code, identifier)) + size.to_bytes(2) + authenticator + attributes


def with_accounting_authenticator(datagram: bytes, secret: bytes) -> bytes:
    """Return the datagram with the authenticator of RFC 2866 §3, over whatever it holds."""
    digest = hashlib.md5(datagram[:4] + bytes(16) + datagram[20:] + secret).digest()
    return datagram[:4] + digest + datagram[20:]


def with_signature(datagram: bytes, secret: bytes, *, authenticator: bytes | None = None) -> bytes:
    """Return the datagram with its zeroed Message-Authenticator, wherever it stands, computed (RFC 3579 §3.2)."""
    at = datagram.index(b"\x50\x12" + bytes(16), 20) + 2
    over = datagram[:4] + (authenticator or datagram[4:20]) + datagram[20:]
    return datagram[:at] + hmac.new(secret, over, "md5").digest() + datagram[at + 16 :]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose authenticators were right."""

    octets: bytes
    packet: Packet

    @property
    def code(self) -> int:
        """The packet code."""
        return self.packet.code

    @property
    def kinds(self) -> list[int]:
        """The types of its attributes, in order."""
        return [kind for kind, _ in self.packet.attributes()]

    @property
    def address(self) -> str | None:
        """Framed-IP-Address."""
        value = self.packet.get(Type.FRAMED_IP_ADDRESS)
        return None if value is None else socket.inet_ntoa(value)


class WrongAnswer(AssertionError):
    """The server sent what no client may accept."""


def verify(datagram: bytes, request: bytes, secret: bytes) -> Reply:
    """Check an answer as RFC 2865 §3 and RFC 3579 §3.2 tell a client to."""
    if len(datagram) < 20 or int.from_bytes(datagram[2:4]) != len(datagram):
        raise WrongAnswer(f"an answer of {len(datagram)} octets says it has {int.from_bytes(datagram[2:4])}")
    if datagram[1] != request[1]:
        raise WrongAnswer(f"the answer is to request {datagram[1]}, not {request[1]}")
    expected = hashlib.md5(datagram[:4] + request[4:20] + datagram[20:] + secret).digest()
    if datagram[4:20] != expected:
        raise WrongAnswer("the Response Authenticator is wrong")
    at = 20
    while at < len(datagram):
        if datagram[at] == MESSAGE_AUTHENTICATOR:
            blank = datagram[: at + 2] + bytes(16) + datagram[at + 18 :]
            digest = hmac.new(secret, blank[:4] + request[4:20] + blank[20:], "md5").digest()
            if digest != datagram[at + 2 : at + 18]:
                raise WrongAnswer("the Message-Authenticator is wrong")
        at += datagram[at + 1]
    return Reply(datagram, decode(datagram))


class RadiusClient:
    """A NAS at `source`. Its sockets are connected: an answer from any other address than was asked never arrives."""

    def __init__(
        self, *, source: str, secret: bytes, auth_port: int, acct_port: int, server: str = "127.0.0.1",
        probe: tuple[str, str] = ("", ""),
    ) -> None:  # fmt: skip
        self.secret = secret
        self.source = source
        self._probe = probe
        self._identifier = os.urandom(1)[0]
        self._family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self.auth = self._connect(server, auth_port)
        self.acct = self._connect(server, acct_port)

    def _connect(self, server: str, port: int) -> socket.socket:
        connected = socket.socket(self._family, socket.SOCK_DGRAM)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        connected.bind((self.source, 0))
        connected.connect((server, port))
        connected.settimeout(ANSWER_SECONDS)
        return connected

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both sockets."""
        self.auth.close()
        self.acct.close()

    def next_identifier(self) -> int:
        """Return the next Identifier."""
        self._identifier = (self._identifier + 1) % 256
        return self._identifier

    # Requests of a well-behaved NAS.

    def access_request(
        self, *attributes: bytes, identifier: int | None = None, authenticator: bytes | None = None, signed: bool = True
    ) -> bytes:
        """Return an Access-Request."""
        return encode_request(
            Code.ACCESS_REQUEST,
            self.next_identifier() if identifier is None else identifier,
            b"".join(attributes),
            self.secret,
            authenticator=authenticator or os.urandom(16),
            sign=signed,
        )

    def pap_request(
        self, login: str, password: str | bytes, *more: bytes, identifier: int | None = None, signed: bool = True
    ) -> bytes:
        """Return an Access-Request with User-Password."""
        authenticator = os.urandom(16)
        octets = password.encode() if isinstance(password, str) else password
        hidden = pap.hide(octets, self.secret, authenticator)
        return self.access_request(
            text(Type.USER_NAME, login),
            text(Type.USER_PASSWORD, hidden),
            *more,
            identifier=identifier,
            authenticator=authenticator,
            signed=signed,
        )

    def chap_request(self, login: str, password: str, *more: bytes, challenge: bytes | None = None) -> bytes:
        """Return an Access-Request with CHAP-Password; without `challenge` the authenticator is the challenge."""
        authenticator = os.urandom(16)
        response = chap.response(7, authenticator if challenge is None else challenge, password.encode())
        attributes = [text(Type.USER_NAME, login), text(Type.CHAP_PASSWORD, b"\x07" + response), *more]
        if challenge is not None:
            attributes.append(text(Type.CHAP_CHALLENGE, challenge))
        return self.access_request(*attributes, authenticator=authenticator)

    def mschapv1_request(self, login: str, password: str, *more: bytes, challenge: bytes = b"12345678") -> bytes:
        """Return an Access-Request with MS-CHAP-Response."""
        response = mschap.response_v1(9, mschap.nt_hash(password.encode()), challenge)
        return self.access_request(
            text(Type.USER_NAME, login),
            microsoft(Microsoft.CHAP_CHALLENGE, challenge),
            microsoft(Microsoft.CHAP_RESPONSE, response),
            *more,
        )

    def mschapv2_request(self, login: str, password: str, *more: bytes, challenge: bytes = bytes(range(16))) -> bytes:
        """Return an Access-Request with MS-CHAP2-Response."""
        hashed = mschap.nt_hash(password.encode())
        response = mschap.response_v2(11, hashed, challenge, bytes(range(16, 32)), login.encode())
        return self.access_request(
            text(Type.USER_NAME, login),
            microsoft(Microsoft.CHAP_CHALLENGE, challenge),
            microsoft(Microsoft.CHAP2_RESPONSE, response),
            *more,
        )

    def accounting_request(self, *attributes: bytes, identifier: int | None = None, signed: bool = False) -> bytes:
        """Return an Accounting-Request."""
        plain = raw(
            Code.ACCOUNTING_REQUEST,
            self.next_identifier() if identifier is None else identifier,
            (b"\x50\x12" + bytes(16) if signed else b"") + b"".join(attributes),
            authenticator=bytes(16),
        )
        return with_accounting_authenticator(with_signature(plain, self.secret) if signed else plain, self.secret)

    def record(
        self,
        status: AcctStatus,
        session: str,
        *more: bytes,
        login: str = "",
        seconds: int | None = None,
        up: int | None = None,
        down: int | None = None,
        identifier: int | None = None,
    ) -> bytes:
        """Return an Accounting-Request about a session; counters are 64 bits wide."""
        attributes = [number(Type.ACCT_STATUS_TYPE, status), text(Type.ACCT_SESSION_ID, session)]
        if login:
            attributes.append(text(Type.USER_NAME, login))
        if seconds is not None:
            attributes.append(number(Type.ACCT_SESSION_TIME, seconds))
        for octets, low, high in (
            (up, Type.ACCT_INPUT_OCTETS, Type.ACCT_INPUT_GIGAWORDS),
            (down, Type.ACCT_OUTPUT_OCTETS, Type.ACCT_OUTPUT_GIGAWORDS),
        ):
            if octets is not None:
                attributes += [number(low, octets & 0xFFFFFFFF), number(high, octets >> 32)]
        return self.accounting_request(*attributes, *more, identifier=identifier)

    def status_server(self, *attributes: bytes, authenticator: bytes | None = None, signed: bool = True) -> bytes:
        """Return a Status-Server request (RFC 5997)."""
        return encode_request(
            Code.STATUS_SERVER,
            self.next_identifier(),
            b"".join(attributes),
            self.secret,
            authenticator=authenticator or os.urandom(16),
            sign=signed,
        )

    # Exchanges.

    def ask(self, datagram: bytes, *, at: socket.socket | None = None) -> Reply:
        """Send to the authentication port (or `at`) and return the verified answer."""
        port = self.auth if at is None else at
        port.send(datagram)
        return self.receive(datagram, at=port)

    def receive(self, request: bytes, *, at: socket.socket | None = None) -> Reply:
        """Return the next answer, which must be to `request`."""
        return verify((self.auth if at is None else at).recv(LARGEST_DATAGRAM), request, self.secret)

    def login(self, login: str, password: str | bytes, *more: bytes, signed: bool = True) -> Reply:
        """Log in by PAP."""
        return self.ask(self.pap_request(login, password, *more, signed=signed))

    def account(self, datagram: bytes) -> Reply:
        """Send an Accounting-Request and return its verified answer."""
        reply = self.ask(datagram, at=self.acct)
        assert reply.code == Code.ACCOUNTING_RESPONSE
        return reply

    def proves_alive(self) -> None:
        """Log in twice, one after the other: what was sent before has then been answered, also with a delay of zero."""
        for _ in range(2):
            assert self.login(*self._probe).code == Code.ACCESS_ACCEPT

    def proves_alive_in_accounting(self) -> None:
        """Account for a session of nobody's twice, one after the other."""
        for _ in range(2):
            self.account(self.record(AcctStatus.START, os.urandom(8).hex()))

    def is_left_unanswered(self, *datagrams: bytes) -> bool:
        """Send to the authentication port and tell whether nothing came but the answers to later logins."""
        for datagram in datagrams:
            self.auth.send(datagram)
        self.proves_alive()
        return not self.has_answer(self.auth)

    def is_left_unanswered_in_accounting(self, *datagrams: bytes) -> bool:
        """Send to the accounting port and tell whether nothing came but the answers to later records."""
        for datagram in datagrams:
            self.acct.send(datagram)
        self.proves_alive_in_accounting()
        return not self.has_answer(self.acct)

    def has_answer(self, at: socket.socket) -> bool:
        """Tell whether a datagram has arrived that nobody has read."""
        return bool(select.select([at], [], [], 0)[0])
