"""One connection to the API of one router: sentences out, replies in.

Rule: the package `routeros_api` frames words; this module is what stands between it and the network, and covers what
was measured of it: one write a sentence without Nagle's delay, queries in their order, empty values, traps without a
message, octets that are no UTF-8, `!fatal`, and a limit of time on everything. After any fault but a trap the octets
that still come belong to nothing, so the channel is closed and never used again.

The login neither raises nor returns anything that leads to the password: no text, no traceback, no local variable.
"""

from __future__ import annotations

import hmac
import socket
import ssl
import time
from binascii import unhexlify
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from typing import NamedTuple

from routeros_api import api_socket, base_api

from domain.secret import Secret
from enforcement.drivers.routeros_errors import RouterOsAway, Trouble

API_PORT = 8728
API_TLS_PORT = 8729
MOST_WORD_OCTETS = 1 << 20
"""A word of a row is some dozen octets, a list of targets some thousand; a longer one is no word of RouterOS."""
MOST_ROWS = 1_000_000
LONG_WORD = 0x80
"""The first length that is written in two octets (MikroTik's manual, API)."""
RECEIVE_OCTETS = 65_536
KEEPALIVE_SECONDS = 10
MOST_MESSAGE_CHARACTERS = 200
"""Of a router's own words; enough for every trap that its manual names."""
NO_MESSAGE = "it gives no reason"

Arguments = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How the API of a router is reached.

    With TLS the certificate is the one whose SHA-256 is `fingerprint`, else one that `ca_file` or the operating
    system's authorities signed for `host`.
    """

    name: str
    host: str
    user: str
    password: Secret
    port: int | None = None
    tls: bool = True
    fingerprint: bytes | None = None
    ca_file: Path | None = None

    @property
    def effective_port(self) -> int:
        """The port that is used."""
        return self.port or (API_TLS_PORT if self.tls else API_PORT)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a router may take, in seconds."""

    connect: float = 5.0
    silence: float = 15.0
    """Without a single octet; a slow box takes an eighth of a second for an entry and seconds for a long list."""
    call: float = 120.0
    """For one command to the last octet, however busily it trickles."""


class Fault(NamedTuple):
    """Why the channel is of no use any more."""

    trouble: Trouble
    text: str


class _Broken(Exception):
    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(trouble, text)


@dataclass(slots=True)
class Reply:
    """What came back for one command; `trap` is None where it was carried out."""

    rows: list[dict[str, str]] = field(default_factory=list)
    done: dict[str, str] = field(default_factory=dict)
    trap: str | None = None


class _Wire:
    """A socket as `routeros_api` wants it: what is sent is gathered, what comes is buffered."""

    def __init__(self, connected: socket.socket, patience: Patience, clock: Callable[[], float]) -> None:
        self._socket = connected
        self._patience = patience
        self._clock = clock
        self._deadline = 0.0
        self._out = bytearray()
        self._in = b""
        self._at = 0

    def begin(self) -> None:
        """Let the time of a call run from now."""
        self._deadline = self._clock() + self._patience.call

    def send(self, octets: bytes) -> None:
        """Gather `octets`."""
        self._out += octets

    def flush(self) -> None:
        """Write what was gathered at once: a write per word stalls 40 ms each (Nagle and delayed acknowledgement)."""
        octets, self._out = self._out, bytearray()
        try:
            self._limit()
            self._socket.sendall(octets)
        except TimeoutError:
            raise _Broken(Trouble.TIMEOUT, "it takes no more commands") from None
        except OSError as error:
            raise _Broken(Trouble.BROKEN, f"the connection broke: {_reason(error)}") from None

    def receive(self, length: int) -> bytes:
        """Return up to `length` octets, one at least."""
        if length > MOST_WORD_OCTETS:
            raise _Broken(Trouble.BROKEN, "what it sends is no RouterOS API")
        if self._at >= len(self._in):
            self._in, self._at = self._more(), 0
        octets = self._in[self._at : self._at + length]
        self._at += len(octets)
        return octets

    def short_word(self) -> bytes | None:
        """Return the next word when it is short and has arrived whole: that is nearly every one, and quick."""
        at, octets = self._at, self._in
        if at < len(octets):
            begins = at + 1
            ends = begins + octets[at]
            if octets[at] < LONG_WORD and ends <= len(octets):
                self._at = ends
                return octets[begins:ends]
        return None

    def _more(self) -> bytes:
        try:
            self._limit()
            octets = self._socket.recv(RECEIVE_OCTETS)
        except TimeoutError:
            raise _Broken(Trouble.TIMEOUT, "it does not answer; look at its load and its link") from None
        except OSError as error:
            raise _Broken(Trouble.BROKEN, f"the connection broke: {_reason(error)}") from None
        if not octets:
            raise _Broken(Trouble.BROKEN, "it closed the connection; look at its log and at `/ip service max-sessions`")
        return octets

    def _limit(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left, self._patience.silence))


class Channel:
    """A connection, logged in after `log_in`. One thread uses it; `abort` alone may be called from another."""

    def __init__(
        self,
        router: str,
        connected: socket.socket,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._socket = connected
        self._wire = _Wire(connected, patience, clock)
        self._connection = base_api.Connection(self._wire)
        self._waiting: dict[bytes, Reply] = {}
        self._last_tag = 0

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._socket.fileno()

    def log_in(self, user: str, password: Secret) -> Fault | None:
        """Log in as RouterOS 6.43 and later want it, else by the older challenge; return why it failed."""
        try:
            return self._log_in(user, password)
        except _Broken as broken:
            return broken.fault
        except Exception as error:  # noqa: BLE001 - whatever it was, its traceback leads through the password
            return Fault(Trouble.BROKEN, f"the login failed: {type(error).__name__}")

    def _log_in(self, user: str, password: Secret) -> Fault | None:
        revealed = password.reveal()
        reply = self._call("/login", (("name", user), ("password", revealed.decode("utf-8", "surrogateescape"))), ())
        challenge = reply.done.get("ret")
        if reply.trap is None and challenge is not None:
            digest = md5(b"\0" + revealed + unhexlify(challenge), usedforsecurity=False).hexdigest()
            reply = self._call("/login", (("name", user), ("response", f"00{digest}")), ())
        if reply.trap is None:
            return None
        told = reply.trap.replace(revealed.decode("utf-8", "backslashreplace"), "***") if revealed else reply.trap
        return Fault(Trouble.LOGIN_REFUSED, f"it refuses the login of {user}: {told}")

    def call(self, path: str, arguments: Arguments = (), queries: Iterable[str] = ()) -> Reply:
        """Run one command; `queries` are words of the query language in their order. Raise `RouterOsAway`."""
        try:
            return self._call(path, arguments, queries)
        except Exception as error:  # noqa: BLE001 - what still comes would be taken for the next answer
            raise self._lost(error) from None

    def run(self, commands: Iterable[tuple[str, Arguments]], in_flight: int) -> list[Reply]:
        """Run commands that do not depend on each other, so many at once; return their replies in order.

        Raises `RouterOsAway`; then it is not known which of them were carried out.
        """
        replies: list[Reply] = []
        places: dict[bytes, int] = {}
        try:
            for path, arguments in commands:
                if len(places) >= in_flight:
                    self._collect(places, replies)
                places[self._send(path, arguments, ())] = len(replies)
                replies.append(Reply())
            while places:
                self._collect(places, replies)
        except Exception as error:  # noqa: BLE001 - as above
            raise self._lost(error) from None
        return replies

    def abort(self) -> None:
        """Make a call that waits in another thread fail."""
        try:
            # Not through TLS, which would wait for the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._socket.close()

    def _collect(self, places: dict[bytes, int], replies: list[Reply]) -> None:
        tag, reply = self._next_done()
        replies[places.pop(tag)] = reply

    def _call(self, path: str, arguments: Arguments, queries: Iterable[str]) -> Reply:
        self._send(path, arguments, queries)
        return self._next_done()[1]

    def _send(self, path: str, arguments: Arguments, queries: Iterable[str]) -> bytes:
        self._last_tag += 1
        tag = b"%d" % self._last_tag
        words = [path, *(f"={name}={value}" for name, value in arguments), *queries]
        self._waiting[tag] = Reply()
        self._wire.begin()
        self._connection.send_sentence([*(word.encode("utf-8", "surrogateescape") for word in words), b".tag=" + tag])
        self._wire.flush()
        return tag

    def _next_done(self) -> tuple[bytes, Reply]:
        self._wire.begin()
        while True:
            words = self._sentence()
            if words:
                tag = self._take(words)
                if tag is not None:
                    return tag, self._waiting.pop(tag)

    def _sentence(self) -> list[bytes]:
        words: list[bytes] = []
        while True:
            word = self._wire.short_word()
            if word is None:
                word = self._connection.receive_word()
            if not word:
                return words
            words.append(word)

    def _take(self, words: Sequence[bytes]) -> bytes | None:
        """Take one reply; return the tag of the command that it ends."""
        kind = words[0]
        if kind == b"!fatal":
            raise _Broken(Trouble.FATAL, f"it ends the session: {_message(b' '.join(words[1:]))}")
        attributes, tag = _read(words[1:])
        reply = self._waiting.get(tag)
        if reply is None:
            if kind == b"!trap":
                raise _Broken(Trouble.FATAL, f"it refuses to go on: {_trap(attributes)}")
            if not self._was_answered(tag):
                raise _Broken(Trouble.BROKEN, "it answers what was never asked")
            return None
        if kind == b"!done":
            reply.done = attributes
            return tag
        if kind == b"!re":
            reply.rows.append(attributes)
            if len(reply.rows) > MOST_ROWS:
                raise _Broken(Trouble.BROKEN, f"it sends more than {MOST_ROWS} rows")
        elif kind == b"!trap":
            reply.trap = reply.trap or _trap(attributes)
        elif kind != b"!empty":
            raise _Broken(Trouble.BROKEN, "what it sends is no RouterOS API")
        return None

    def _was_answered(self, tag: bytes) -> bool:
        """Tell whether a reply comes a second time; tags do not return, so it cannot be taken for another."""
        return tag.isdigit() and 0 < int(tag) <= self._last_tag

    def _lost(self, error: Exception) -> RouterOsAway:
        self.close()
        if isinstance(error, _Broken):
            return RouterOsAway(self._router, *error.fault)
        return RouterOsAway(self._router, Trouble.BROKEN, f"what it sends is no RouterOS API ({type(error).__name__})")


def open_channel(endpoint: Endpoint, patience: Patience, clock: Callable[[], float] = time.monotonic) -> Channel:
    """Connect, check the certificate and log in; raise `RouterOsAway` and leave nothing open."""
    channel = Channel(endpoint.name, _connect(endpoint, patience), patience, clock)
    fault = channel.log_in(endpoint.user, endpoint.password)
    if fault is not None:
        channel.close()
        raise RouterOsAway(endpoint.name, *fault)
    return channel


def _connect(endpoint: Endpoint, patience: Patience) -> socket.socket:
    where = f"{endpoint.host} port {endpoint.effective_port}"
    try:
        connected = socket.create_connection((endpoint.host, endpoint.effective_port), timeout=patience.connect)
    except OSError as error:
        text = f"nobody answers at {where}: {_reason(error)}"
        raise RouterOsAway(endpoint.name, Trouble.UNREACHABLE, text) from None
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        api_socket.set_keepalive(connected, after_idle_sec=KEEPALIVE_SECONDS)
        return _secured(endpoint, connected) if endpoint.tls else connected
    except ssl.SSLError as error:
        connected.close()
        text = f"no TLS with {where}: {_reason(error)}; does `/ip service api-ssl` have the certificate we know?"
        raise RouterOsAway(endpoint.name, Trouble.CERTIFICATE, text) from None
    except OSError as error:
        connected.close()
        raise RouterOsAway(endpoint.name, Trouble.UNREACHABLE, f"no TLS with {where}: {_reason(error)}") from None


def _secured(endpoint: Endpoint, connected: socket.socket) -> ssl.SSLSocket:
    """Begin TLS; raise SSLError for a certificate that is not the router's. Anonymous ciphers are never offered."""
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    if endpoint.fingerprint is not None:
        # The pin says more than any authority: RouterOS signs its certificates itself, for names of its own.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    secured = context.wrap_socket(connected, server_hostname=endpoint.host)
    if endpoint.fingerprint is not None:
        shown = sha256(secured.getpeercert(binary_form=True) or b"").digest()
        if not hmac.compare_digest(shown, endpoint.fingerprint):
            secured.close()
            raise ssl.SSLError(f"it shows the certificate {shown.hex()}")
    return secured


def _read(words: Iterable[bytes]) -> tuple[dict[str, str], bytes]:
    """Return the attributes of a reply and its tag; words of other kinds say nothing to us."""
    attributes = {}
    tag = b""
    for word in words:
        if word.startswith(b".tag="):
            tag = word[5:]
        else:
            begin, _, rest = _text(word).partition("=")
            if not begin:
                name, _, value = rest.partition("=")
                attributes[name] = value
    return attributes, tag


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


def _trap(attributes: dict[str, str]) -> str:
    return _message(attributes.get("message", "").encode())


def _message(octets: bytes) -> str:
    return " ".join(_text(octets).split())[:MOST_MESSAGE_CHARACTERS] or NO_MESSAGE


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
