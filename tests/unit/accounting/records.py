"""Records as a router would send them, and what a fold makes of a run of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from accounting.record import Record, read
from accounting.session import Delta, Outcome, Session, advance, choose, fits, opened_by
from domain.instants import SECOND_US, Microseconds
from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute

NOON_US = Microseconds(1_767_268_800 * SECOND_US)
"""2026-01-01 12:00 UTC."""
GIB = 1 << 30
WRAP = 1 << 32


def packet(
    status: int | None = AcctStatus.INTERIM,
    *more: bytes,
    session_id: str | None = "81700001",
    login: str | None = "ana@example",
    seconds: int | None = None,
    up: int | None = None,
    down: int | None = None,
    gigawords: bool = False,
    stamp: float | None = None,
    delay: int | None = None,
) -> Packet:
    """Return an Accounting-Request; `stamp` is Event-Timestamp in seconds after noon, None leaves an attribute out."""
    attributes = list(more)
    numbers = {
        Type.ACCT_STATUS_TYPE: status,
        Type.ACCT_SESSION_TIME: seconds,
        Type.ACCT_DELAY_TIME: delay,
        Type.EVENT_TIMESTAMP: None if stamp is None else int(NOON_US // SECOND_US + stamp),
        Type.ACCT_INPUT_OCTETS: None if up is None else up % WRAP,
        Type.ACCT_OUTPUT_OCTETS: None if down is None else down % WRAP,
        Type.ACCT_INPUT_GIGAWORDS: None if up is None or not gigawords else up // WRAP,
        Type.ACCT_OUTPUT_GIGAWORDS: None if down is None or not gigawords else down // WRAP,
    }
    attributes += [integer_attribute(kind, value) for kind, value in numbers.items() if value is not None]
    texts = {Type.USER_NAME: login, Type.ACCT_SESSION_ID: session_id}
    attributes += [attribute(kind, value.encode()) for kind, value in texts.items() if value is not None]
    return decode(encode_request(Code.ACCOUNTING_REQUEST, 1, b"".join(attributes), b"secret", sign=False))


def record(
    status: int = AcctStatus.INTERIM,
    *more: bytes,
    at: float = 0,
    flip: bool = False,
    login: str | None = "ana@example",
    seconds: int | None = None,
    up: int | None = None,
    down: int | None = None,
    gigawords: bool = False,
    stamp: float | None = None,
    delay: int | None = None,
) -> Record:
    """Return the record of such a packet that arrived `at` seconds after noon."""
    sent = packet(
        status,
        *more,
        login=login,
        seconds=seconds,
        up=up,
        down=down,
        gigawords=gigawords,
        stamp=stamp,
        delay=delay,
    )
    return read(sent, 7, "", after_noon(at), flip=flip)


def start(at: float = 0, *more: bytes, login: str = "ana@example", stamp: float | None = None) -> Record:
    """Return a Start."""
    return record(AcctStatus.START, *more, at=at, login=login, stamp=stamp)


def interim(seconds: int, up: int, down: int, *, at: float | None = None, gigawords: bool = False) -> Record:
    """Return the Interim of a session that began at noon; it arrives at once unless `at` says when."""
    arrived = seconds if at is None else at
    return record(AcctStatus.INTERIM, at=arrived, seconds=seconds, up=up, down=down, gigawords=gigawords)


def stop(seconds: int, up: int, down: int, *, at: float | None = None, gigawords: bool = False) -> Record:
    """Return the Stop of a session that began at noon; it arrives at once unless `at` says when."""
    arrived = seconds if at is None else at
    return record(AcctStatus.STOP, at=arrived, seconds=seconds, up=up, down=down, gigawords=gigawords)


def after_noon(seconds: float) -> Microseconds:
    """Return the instant that many seconds after noon."""
    return Microseconds(NOON_US + int(seconds * SECOND_US))


@dataclass(slots=True)
class Folded:
    """The generations of one Acct-Session-Id, oldest first, with all their facts and what each record was."""

    sessions: list[Session] = field(default_factory=list)
    facts: list[Delta] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def session(self) -> Session:
        """The newest."""
        return self.sessions[-1]

    @property
    def octets(self) -> tuple[int, int]:
        """Up and down over all generations."""
        return sum(each.octets_up for each in self.sessions), sum(each.octets_down for each in self.sessions)

    def add(self, each: Record) -> Outcome:
        """Fold one record, as written by a batch of its own."""
        session = self._session_of(each)
        if session is None:
            session = opened_by(each, len(self.sessions) + 1, len(self.sessions), service_id=1)
            self.sessions.append(session)
        outcome, delta = advance(session, each)
        session.version += 1
        session.restated = False
        self.outcomes.append(outcome)
        if delta is not None:
            self.facts.append(delta)
        return outcome

    def _session_of(self, each: Record) -> Session | None:
        def is_anothers(session: Session) -> bool:
            return session.login.casefold() != each.login.casefold()

        if not self.sessions:
            return None
        if fits(self.session, each, anothers=is_anothers(self.session)):
            return self.session
        return choose(self.session, self.sessions[-2::-1], each, is_anothers)


def fold(records: Iterable[Record]) -> Folded:
    """Fold `records` in the order of their arrival."""
    folded = Folded()
    for each in records:
        folded.add(each)
    return folded
