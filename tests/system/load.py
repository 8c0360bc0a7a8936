"""Accounting of many sessions at once over UDP, with the exact truth of what was sent and what was acknowledged.

Rule: each record reports cumulative counters, as routers do; it is sent again, octet for octet, until it is answered or
given up, twice by accident and overtaken by others now and then. Only a genuine Accounting-Response acknowledges it.
Everything random comes from one seed.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute

RESEND_SECONDS = 0.4
"""Shorter than routers have it, so that an outage of a second shows."""
MOST_SENDS = 5
"""An Interim is then given up, as routers do; Start and Stop are repeated until the load ends."""
OVERTAKEN_SECONDS = 0.15
SOCKETS_PER_ROUTER = 3
MOST_OUTSTANDING_PER_SESSION = 3
_WORD = 1 << 32


@dataclass(frozen=True, slots=True)
class Line:
    """A subscriber's line."""

    router: str
    login: str
    mac: str
    port: int


@dataclass(slots=True)
class SessionTruth:
    """What one session reported, and what of it was acknowledged."""

    line: Line
    acct_session_id: str
    sent: tuple[int, int] = (0, 0)
    acknowledged: tuple[int, int] = (0, 0)
    acknowledged_records: int = 0
    stop_is_acknowledged: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The router and its Acct-Session-Id."""
        return self.line.router, self.acct_session_id


@dataclass(slots=True, eq=False)
class _Session:
    truth: SessionTruth
    started: float
    interims_left: int
    outstanding: int = 0
    is_over: bool = False


@dataclass(slots=True, eq=False)
class _Request:
    session: _Session
    status: AcctStatus
    octets: tuple[int, int]
    datagram: bytes
    sends: int = 0
    answered: bool = False


@dataclass(slots=True, eq=False)
class _Socket:
    opened: socket.socket
    waiting: dict[int, _Request] = field(default_factory=dict)
    free: deque[int] = field(default_factory=lambda: deque(range(256)))


@dataclass(frozen=True, slots=True)
class Manner:
    """How the load behaves; `pause_seconds` lies between the records of a line."""

    pause_seconds: float = 0.1
    interims: int = 12
    duplicates: float = 0.05
    overtaken: float = 0.05


class AccountingLoad:
    """Runs in a thread from `start` to `finish`; `lines` never rest: after a Stop the next session starts."""

    def __init__(
        self, port: int, secret: bytes, lines: Sequence[Line], *, seed: int, manner: Manner | None = None
    ) -> None:
        self._port = port
        self._secret = secret
        self._lines = lines
        self._manner = manner or Manner()
        self._seed = seed
        self._random = Random(seed)
        self._numbers = count(1)
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[str, list[_Socket]] = {}
        self._truths: dict[tuple[str, str], SessionTruth] = {}
        self._open: dict[Line, _Session] = {}
        self._changed = threading.Condition()
        self._ending = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="accounting load", daemon=True)
        self._failure: BaseException | None = None
        self.acknowledged = 0
        self.resent = 0
        self.forged = 0

    def start(self) -> None:
        """Begin."""
        for router in {line.router for line in self._lines}:
            self._sockets[router] = [self._open_socket(router) for _ in range(SOCKETS_PER_ROUTER)]
        now = time.monotonic()
        for number, line in enumerate(self._lines):
            self._at(now + self._manner.pause_seconds * number / len(self._lines), self._beat, line)
        self._thread.start()

    def await_acknowledgements(self, more: int, seconds: float = 60.0) -> None:
        """Wait until `more` records were acknowledged from now on."""
        with self._changed:
            wanted = self.acknowledged + more
            done = self._changed.wait_for(lambda: self.acknowledged >= wanted or self._failure, seconds)
        if self._failure is not None:
            raise self._failure
        assert done, f"{self.acknowledged + more - wanted} of {more} records were acknowledged within {seconds} s"

    def await_resent(self, more: int, seconds: float = 60.0) -> None:
        """Wait until `more` datagrams were sent again because nobody answered."""
        with self._changed:
            wanted = self.resent + more
            done = self._changed.wait_for(lambda: self.resent >= wanted or self._failure, seconds)
        assert done, f"only {self.resent + more - wanted} of {more} records were sent again within {seconds} s"

    def finish(self, seconds: float = 60.0) -> None:
        """End every session with a Stop, and wait until each Start and Stop is acknowledged."""
        self._ending = True
        self._thread.join(seconds)
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            self.abandon()
            waiting = sum(not truth.stop_is_acknowledged for truth in self._truths.values())
            raise AssertionError(f"{waiting} sessions got no answer to their Stop within {seconds} s")

    def abandon(self) -> None:
        """Stop at once, whatever is outstanding."""
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(10.0)

    def truth(self) -> dict[tuple[str, str], SessionTruth]:
        """Return what was sent and acknowledged up to now, by router and Acct-Session-Id."""
        with self._changed:
            return {
                key: SessionTruth(
                    truth.line,
                    truth.acct_session_id,
                    truth.sent,
                    truth.acknowledged,
                    truth.acknowledged_records,
                    truth.stop_is_acknowledged,
                )
                for key, truth in self._truths.items()
            }

    def _open_socket(self, router: str) -> _Socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind((router, 0))
        opened.connect(("127.0.0.1", self._port))
        known = _Socket(opened)
        self._selector.register(opened, selectors.EVENT_READ, known)
        return known

    def _run(self) -> None:
        try:
            while not self._ended:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    heapq.heappop(self._due)[2]()
                if self._ending and not self._open and not any(each.waiting for each in self._all_sockets()):
                    break
                pause = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 0.05
                for key, _ in self._selector.select(min(pause, 0.05)):
                    self._drain(key.data)
        except BaseException as error:  # noqa: BLE001 - raised again where the test waits
            self._failure = error
        finally:
            with self._changed:
                self._changed.notify_all()
            for each in self._all_sockets():
                each.opened.close()
            self._selector.close()

    def _all_sockets(self) -> Iterator[_Socket]:
        return (each for sockets in self._sockets.values() for each in sockets)

    def _at(self, instant: float, action: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._due, (instant, next(self._order), lambda: action(*arguments)))

    def _beat(self, line: Line) -> None:
        """Let `line` report, unless it waits for too many answers."""
        session = self._open.get(line)
        if session is None:
            if self._ending:
                return
            self._report(self._begin(line), AcctStatus.START)
        elif session.outstanding < MOST_OUTSTANDING_PER_SESSION:
            session.interims_left -= 1
            if session.interims_left < 0 or self._ending:
                session.is_over = True
                del self._open[line]
                self._report(session, AcctStatus.STOP)
            else:
                self._report(session, AcctStatus.INTERIM)
        pause = self._manner.pause_seconds * self._random.uniform(0.5, 1.5)
        self._at(time.monotonic() + pause, self._beat, line)

    def _begin(self, line: Line) -> _Session:
        truth = SessionTruth(line, f"{self._seed:x}-{next(self._numbers):06x}")
        session = _Session(truth, time.time(), self._random.randint(1, 2 * self._manner.interims))
        self._open[line] = session
        with self._changed:
            self._truths[truth.key] = truth
        return session

    def _report(self, session: _Session, status: AcctStatus) -> None:
        truth = session.truth
        octets = truth.sent
        if status is not AcctStatus.START:
            # Now and then more than a 32-bit counter holds, and now and then nothing.
            most = self._random.choice((0, 1_000, 1_000_000, 3 * _WORD))
            octets = (octets[0] + self._random.randint(0, most), octets[1] + self._random.randint(0, 2 * most))
            with self._changed:
                truth.sent = octets
        known = self._free_socket(session.truth.line.router)
        if known is None:
            # Every identifier waits: as on a router, this record is never sent; a Stop must be.
            if status is not AcctStatus.INTERIM:
                self._at(time.monotonic() + RESEND_SECONDS, self._report, session, status)
            return
        identifier = known.free.popleft()
        attributes = _attributes(session, status, octets)
        datagram = encode_request(Code.ACCOUNTING_REQUEST, identifier, attributes, self._secret, sign=False)
        request = known.waiting[identifier] = _Request(session, status, octets, datagram)
        session.outstanding += 1
        self._send(known, identifier, request)

    def _free_socket(self, router: str) -> _Socket | None:
        sockets = [known for known in self._sockets[router] if known.free]
        return self._random.choice(sockets) if sockets else None

    def _send(self, known: _Socket, identifier: int, request: _Request) -> None:
        if known.waiting.get(identifier) is not request:
            return
        if request.sends >= MOST_SENDS and request.status is AcctStatus.INTERIM:
            self._release(known, identifier, request)
            return
        if request.sends:
            with self._changed:
                self.resent += 1
                self._changed.notify_all()
        request.sends += 1
        now = time.monotonic()
        chance = self._random.random()
        if chance < self._manner.overtaken:
            self._at(now + self._random.uniform(0, OVERTAKEN_SECONDS), _emit, known.opened, request.datagram)
        else:
            _emit(known.opened, request.datagram)
            if chance > 1 - self._manner.duplicates:
                self._at(now + self._random.uniform(0, OVERTAKEN_SECONDS), _emit, known.opened, request.datagram)
        self._at(now + RESEND_SECONDS, self._send, known, identifier, request)

    @staticmethod
    def _release(known: _Socket, identifier: int, request: _Request) -> None:
        del known.waiting[identifier]
        known.free.append(identifier)
        request.session.outstanding -= 1

    def _drain(self, known: _Socket) -> None:
        while True:
            try:
                datagram = known.opened.recv(4096)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                # Nobody listens just now.
                return
            self._take(known, decode(datagram))

    def _take(self, known: _Socket, answer: Packet) -> None:
        request = known.waiting.get(answer.identifier)
        if request is None:
            # The second answer to a record that was sent twice, or a late one to a record that was given up.
            return
        if not answer.response_authenticator_is_valid(self._secret, request.datagram[4:20]):
            self.forged += 1
            return
        assert answer.code == Code.ACCOUNTING_RESPONSE, f"code {answer.code} answers an Accounting-Request"
        self._release(known, answer.identifier, request)
        truth = request.session.truth
        with self._changed:
            up, down = truth.acknowledged
            truth.acknowledged = max(up, request.octets[0]), max(down, request.octets[1])
            truth.acknowledged_records += 1
            truth.stop_is_acknowledged |= request.status is AcctStatus.STOP
            self.acknowledged += 1
            self._changed.notify_all()


@contextmanager
def running(load: AccountingLoad) -> Iterator[AccountingLoad]:
    """Run `load`; end it whatever happens."""
    load.start()
    try:
        yield load
    finally:
        load.abandon()


def lines(routers: Sequence[str], per_router: int, login: str = "line-{}") -> list[Line]:
    """Return lines, spread over `routers`."""
    return [
        Line(router, login.format(place * per_router + number), f"02:00:00:00:{place:02x}:{number:02x}", number + 1)
        for place, router in enumerate(routers)
        for number in range(per_router)
    ]


def acknowledged_octets(truths: Mapping[tuple[str, str], SessionTruth]) -> tuple[int, int]:
    """Return the octets of all sessions that were acknowledged."""
    return (
        sum(truth.acknowledged[0] for truth in truths.values()),
        sum(truth.acknowledged[1] for truth in truths.values()),
    )


def _emit(opened: socket.socket, datagram: bytes) -> None:
    try:
        opened.send(datagram)
    except OSError:
        # Nobody listens there just now, or the load has ended: a datagram may be lost anywhere.
        return


def _attributes(session: _Session, status: AcctStatus, octets: tuple[int, int]) -> bytes:
    line = session.truth.line
    now = time.time()
    parts = [
        integer_attribute(Type.ACCT_STATUS_TYPE, status),
        attribute(Type.ACCT_SESSION_ID, session.truth.acct_session_id.encode()),
        attribute(Type.USER_NAME, line.login.encode()),
        attribute(Type.CALLING_STATION_ID, line.mac.encode()),
        integer_attribute(Type.NAS_PORT, line.port),
        integer_attribute(Type.EVENT_TIMESTAMP, int(now)),
    ]
    if status is not AcctStatus.START:
        up, down = octets
        parts += (
            integer_attribute(Type.ACCT_SESSION_TIME, int(now - session.started)),
            integer_attribute(Type.ACCT_INPUT_OCTETS, up % _WORD),
            integer_attribute(Type.ACCT_OUTPUT_OCTETS, down % _WORD),
            integer_attribute(Type.ACCT_INPUT_GIGAWORDS, up // _WORD),
            integer_attribute(Type.ACCT_OUTPUT_GIGAWORDS, down // _WORD),
        )
    return b"".join(parts)


def pour(source: str, port: int, datagrams: Iterable[bytes], *, at_once: int = 100) -> int:
    """Send `datagrams` from `source` no faster than the server reads, so that none is lost; return how many."""
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for datagram in datagrams:
            sender.sendto(datagram, ("127.0.0.1", port))
            sent += 1
            if sent % at_once == 0:
                await_drained(port)
    await_drained(port)
    return sent


def await_drained(port: int, seconds: float = 30.0) -> None:
    """Wait until the server has read every datagram that arrived at its UDP `port`."""
    give_up = time.monotonic() + seconds
    while any(waiting for waiting in _queues(port)):
        assert time.monotonic() < give_up, f"nobody reads UDP port {port}"
        time.sleep(0.001)


def _queues(port: int) -> list[int]:
    """Return the octets that wait in each socket bound to `port`."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [int(row[4].partition(":")[2], 16) for row in rows if int(row[1].rpartition(":")[2], 16) == port]
