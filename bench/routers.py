"""Many routers in one process: they let subscribers in, report usage and obey CoA, and note when each request came.

Rule: whole and valid datagrams only, built by the product's own encoders; a router answers whoever proves the secret,
and obeys. What an answer costs here is paid on the same two cores.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from bench.errors import BenchError
from bench.load import SECRET
from radius import pap
from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, attribute, decode, encode_reply, encode_request, integer_attribute

MOST_WAITING: Final = 200
ANSWER_SECONDS: Final = 1.1
MOST_SENDS: Final = 6
RECEIVE_OCTETS: Final = 4 << 20
_SECRET: Final = SECRET.encode()
_KERNEL_TIME: Final = 35
"""SO_TIMESTAMPNS of Linux, which Python does not name."""
_CHANGED: Final = {Code.COA_REQUEST: Code.COA_ACK, Code.DISCONNECT_REQUEST: Code.DISCONNECT_ACK}


@dataclass(slots=True)
class Line:
    """One subscriber: its router's number, its name, and what its session has moved so far."""

    router: int
    login: str
    password: str
    address: bytes
    acct_session_id: str
    class_value: bytes | None = None
    octets_down: int = 0
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """A CoA- or Disconnect-Request as it came: when (seconds since the epoch), at which router, for which session."""

    at: float
    router: int
    code: int
    acct_session_id: str
    is_duplicate: bool


@dataclass(slots=True)
class _Waiting:
    datagram: bytes
    line: Line
    sent_at: float
    sends: int = 1


@dataclass(slots=True)
class Routers:
    """`count` routers at 127.50.0.1 and on; each listens for CoA on `coa_port` of its address from the beginning."""

    count: int
    coa_port: int
    orders: list[Order] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    _thread: threading.Thread | None = None
    _ending: threading.Event = field(default_factory=threading.Event)
    _seen: set[tuple[int, bytes]] = field(default_factory=set)

    def address(self, number: int) -> str:
        """Return the address of router `number`."""
        return f"127.50.{number >> 8}.{number & 255}"

    def start(self) -> None:
        """Listen for CoA and answer it in a thread of its own until `stop`."""
        selector = selectors.DefaultSelector()
        for number in range(1, self.count + 1):
            listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_OCTETS)
            listening.bind((self.address(number), self.coa_port))
            listening.setsockopt(socket.SOL_SOCKET, _KERNEL_TIME, 1)
            listening.setblocking(False)
            selector.register(listening, selectors.EVENT_READ, number)
            self._sockets.append(listening)
        self._thread = threading.Thread(target=self._serve, args=(selector,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        for listening in self._sockets:
            listening.close()

    def _serve(self, selector: selectors.BaseSelector) -> None:
        while not self._ending.is_set():
            for key, _ in selector.select(0.2):
                self._drain(key.fileobj, key.data)

    def _drain(self, listening: object, number: int) -> None:
        assert isinstance(listening, socket.socket)
        while True:
            try:
                datagram, told, _, source = listening.recvmsg(4096, 64)
            except BlockingIOError:
                return
            at = _arrival(told)
            request = decode(datagram)
            if request.code not in _CHANGED or not request.request_authenticator_is_valid(_SECRET):
                continue
            key = (number, request.authenticator)
            session = request.text(Type.ACCT_SESSION_ID) or ""
            self.orders.append(Order(at, number, request.code, session, key in self._seen))
            self._seen.add(key)
            listening.sendto(encode_reply(_CHANGED[Code(request.code)], request, b"", _SECRET), source)

    def log_in(self, lines: Sequence[Line], server: str, port: int) -> None:
        """Send an Access-Request for each line and keep the Class it gets; raise BenchError when one is refused."""

        def accepted(line: Line, reply: Packet) -> None:
            if reply.code != Code.ACCESS_ACCEPT:
                raise BenchError(f"the login of {line.login} was refused; the set-up is wrong")
            line.class_value = reply.get(Type.CLASS)

        self._exchange(lines, self._access_request, accepted, (server, port))

    def report(self, lines: Sequence[Line], status: AcctStatus, server: str, port: int) -> None:
        """Send an Accounting-Request of that status for each line, until all are answered."""
        self._exchange(
            lines, lambda line, number: accounting_request(line, number, status), lambda *_: None, (server, port)
        )

    def _access_request(self, line: Line, identifier: int) -> bytes:
        authenticator = os.urandom(16)
        hidden = pap.hide(line.password.encode(), _SECRET, authenticator)
        attributes = _identity(line) + attribute(Type.USER_PASSWORD, hidden)
        return encode_request(Code.ACCESS_REQUEST, identifier, attributes, _SECRET, authenticator=authenticator)

    def _exchange(
        self,
        lines: Iterable[Line],
        build: Callable[[Line, int], bytes],
        take: Callable[[Line, Packet], None],
        server: tuple[str, int],
    ) -> None:
        """Send what `build` makes of each line, a bounded number at a time, from its router's address."""
        by_router: dict[int, list[Line]] = defaultdict(list)
        for line in lines:
            by_router[line.router].append(line)
        for number, group in by_router.items():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
                sending.bind((self.address(number), 0))
                for at in range(0, len(group), MOST_WAITING):
                    _exchange_group(sending, group[at : at + MOST_WAITING], build, take, server)


def _arrival(told: Sequence[tuple[int, int, bytes]]) -> float:
    """Return when the kernel took a datagram in; how long this process took to read it says nothing of the sender."""
    for level, kind, value in told:
        if level == socket.SOL_SOCKET and kind == _KERNEL_TIME:
            seconds, nanoseconds = struct.unpack("qq", value[:16])
            return float(seconds + nanoseconds / 1e9)
    raise BenchError("the kernel tells no arrival times; run this on Linux")


def accounting_request(line: Line, identifier: int, status: AcctStatus) -> bytes:
    """Return an Accounting-Request of `line` as its counters stand."""
    attributes = _identity(line) + integer_attribute(Type.ACCT_STATUS_TYPE, status)
    attributes += attribute(Type.FRAMED_IP_ADDRESS, line.address)
    if line.class_value is not None:
        attributes += attribute(Type.CLASS, line.class_value)
    if status != AcctStatus.START:
        attributes += integer_attribute(Type.ACCT_SESSION_TIME, line.seconds)
        attributes += integer_attribute(Type.ACCT_INPUT_OCTETS, 0)
        attributes += integer_attribute(Type.ACCT_OUTPUT_OCTETS, line.octets_down & 0xFFFFFFFF)
        attributes += integer_attribute(Type.ACCT_OUTPUT_GIGAWORDS, line.octets_down >> 32)
    return encode_request(Code.ACCOUNTING_REQUEST, identifier, attributes, _SECRET, sign=False)


def _identity(line: Line) -> bytes:
    return attribute(Type.USER_NAME, line.login.encode()) + attribute(
        Type.ACCT_SESSION_ID, line.acct_session_id.encode()
    )


def _exchange_group(
    sending: socket.socket,
    lines: Sequence[Line],
    build: Callable[[Line, int], bytes],
    take: Callable[[Line, Packet], None],
    server: tuple[str, int],
) -> None:
    """Exchange at most 256 requests, whose identifiers are their places."""
    waiting = {}
    for place, line in enumerate(lines):
        waiting[place] = _Waiting(build(line, place), line, monotonic())
        sending.sendto(waiting[place].datagram, server)
    sending.settimeout(ANSWER_SECONDS)
    while waiting:
        try:
            reply = decode(sending.recv(4096))
        except TimeoutError:
            for each in waiting.values():
                if each.sends == MOST_SENDS:
                    raise BenchError(f"nothing answers for {each.line.login}") from None
                each.sends += 1
                sending.sendto(each.datagram, server)
            continue
        answered = waiting.pop(reply.identifier, None)
        if answered is not None:
            take(answered.line, reply)
