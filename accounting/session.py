"""The fold: the state of one session and the next record about it -> the new state and the octets that are new.

Rule: usage is the difference of cumulative counters, never a sum of reports, so a record may arrive twice, late, out
of order or after a crash and counts once (RFC 2866 §4.1, 2869 §2.1). Counters never fall: a smaller one is late, has
wrapped at 2^32 (where the router sends no Gigawords), was reset, or belongs to a new session under an old
Acct-Session-Id. A counter that is missing, or zero beside one that goes on, says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, IntEnum
from typing import NamedTuple

from accounting.record import Record, SessionKey
from domain.instants import SECOND_US, Microseconds
from radius.codes import AcctStatus

SAME_START_US = 60 * SECOND_US
"""Two starts of one Acct-Session-Id closer than this are one start told twice; no box reboots and serves in less."""
REORDER_US = 2 * SECOND_US
"""Packets overtake each other by less than this on an access network."""
WRAP = 1 << 32
"""A counter without Gigawords begins again here (RFC 2866 §5.3)."""
SLIP = 1 << 20
"""A counter that fell by less, and by less than a sixteenth, was read a little earlier than the one before: a wrap or
a reset that lands so close has a chance of one in four thousand."""
NAS_RESTART_CAUSE = "NAS-Reboot"
"""The terminate cause of sessions that an Accounting-On or -Off of their NAS closed (RFC 2866 §5.10)."""


class State(IntEnum):
    """Where a session stands."""

    OPEN = 0
    STOPPED = 1
    PROVISIONAL = 2
    """Closed by silence, by a restart of its NAS or by a newer session on its line; a later record revives it."""


class Outcome(Enum):
    """What a record turned out to be; the label of a counter."""

    OPENED = "opened"
    COUNTED = "counted"
    DUPLICATE = "duplicate"
    LATE = "late"
    STOPPED = "stopped"
    REVIVED = "revived"
    REUSED = "reused"


class Delta(NamedTuple):
    """Octets that a record adds, and the half-open interval in which they flowed."""

    from_us: Microseconds
    to_us: Microseconds
    octets_up: int
    octets_down: int


class Session:
    """One session as its row holds it. `advance` changes it in place: a batch that fails throws its sessions away."""

    __slots__ = (
        "address",
        "base_down",
        "base_up",
        "class_token",
        "generation",
        "gigawords",
        "heard_us",
        "id",
        "interim_seconds",
        "ipv6",
        "key",
        "line",
        "login",
        "mac",
        "multi_session_id",
        "nas_port_id",
        "octets_down",
        "octets_up",
        "restated",
        "service_id",
        "session_seconds",
        "started_us",
        "state",
        "stopped_us",
        "terminate_cause",
        "traffic_class",
        "unknown_attributes",
        "updated_us",
        "version",
        "watched",
    )

    id: int
    key: SessionKey
    generation: int
    version: int
    service_id: int | None
    login: str
    line: int | None
    mac: str | None
    address: bytes | None
    ipv6: tuple[tuple[int, bytes], ...]
    nas_port_id: str | None
    multi_session_id: str | None
    class_token: bytes | None
    state: State
    started_us: Microseconds
    updated_us: Microseconds
    heard_us: Microseconds
    stopped_us: Microseconds | None
    terminate_cause: str | None
    session_seconds: int
    octets_up: int
    octets_down: int
    base_up: int
    base_down: int
    gigawords: bool
    interim_seconds: int | None
    unknown_attributes: bytes | None
    watched: bool
    """What its line may do can change by itself, so enforcement is told when it opens and stops."""
    traffic_class: int
    """Of the classes of its plan, from 1; 0 where its traffic is not told apart."""
    restated: bool
    """Set when more than time and octets changed, so that the whole row is to be written."""


def implied_start(record: Record) -> Microseconds | None:
    """Return when the session of `record` began by the router's own telling; None when it does not tell."""
    if record.session_seconds is not None:
        return Microseconds(record.event_us - record.session_seconds * SECOND_US)
    return record.event_us if record.status == AcctStatus.START else None


def fits(session: Session, record: Record, *, anothers: bool) -> bool:
    """Tell whether `record` is about `session`, the newest under its key, at first sight.

    `anothers` tells whether the record names another subscriber; that counts more than any clock.
    """
    return not anothers and not _is_before(session, record) and not starts_another(session, record)


def choose(
    newest: Session, older: Iterable[Session], record: Record, is_anothers: Callable[[Session], bool]
) -> Session | None:
    """Return the session that `record` is about, of those that had its Acct-Session-Id; None: it begins another.

    `older` are those before the newest, newest first; they are asked when the record does not fit the newest.
    """
    own = [session for session in older if not is_anothers(session)]
    for session in own:
        if _is_told_of(session, record):
            return session
    if is_anothers(newest) or starts_another(newest, record):
        return None
    if _is_before(newest, record) and not _continues(newest, record):
        for session in own:
            if record.event_us >= session.started_us - SAME_START_US:
                return session
    return newest


def _is_before(session: Session, record: Record) -> bool:
    """Tell whether `record` is older than a session that has its id from another one before it."""
    return session.generation > 0 and record.event_us < session.started_us - SAME_START_US


def _is_told_of(session: Session, record: Record) -> bool:
    """Tell whether `record` says that it is of `session`: that it began then, or that it goes on from there."""
    start = implied_start(record)
    if start is None:
        last_us = _last_us(session)
        if record.event_us < session.started_us - SAME_START_US:
            return False
        return session.state != State.STOPPED or record.event_us <= last_us + REORDER_US
    if record.status == AcctStatus.START and _nas_restarted(session):
        return False
    if abs(start - session.started_us) <= SAME_START_US:
        return True
    return record.status != AcctStatus.START and session.state != State.STOPPED and _continues(session, record)


def starts_another(session: Session, record: Record) -> bool:
    """Tell whether `record`, of the same subscriber, is of a new session under an old id (RFC 2866 §5.5)."""
    start = implied_start(record)
    if start is None:
        return False
    last_us = _last_us(session)
    told_twice = start <= session.started_us + SAME_START_US
    if start <= last_us:
        # No Start of this session, but of one that began by a clock that is behind.
        has_own_time = record.event_us != record.arrived_us
        is_start = record.status == AcctStatus.START and has_own_time and session.session_seconds > 0
        return is_start and abs(start - session.started_us) > SAME_START_US
    if record.status != AcctStatus.START:
        return not told_twice and start > last_us + REORDER_US and not _continues(session, record)
    if start <= last_us + REORDER_US and _was_overtaken(session, record):
        return False
    # One start told twice; unless the NAS has restarted meanwhile.
    return not told_twice or _nas_restarted(session)


def _last_us(session: Session) -> Microseconds:
    return session.updated_us if session.stopped_us is None else max(session.stopped_us, session.updated_us)


def _nas_restarted(session: Session) -> bool:
    """Tell whether a restart of the NAS ended `session`, and nothing has been heard of it since."""
    return session.state == State.PROVISIONAL and session.terminate_cause == NAS_RESTART_CAUSE


def _was_overtaken(session: Session, record: Record) -> bool:
    """Tell whether a Start that bears no time of its own comes behind the record that made its session known."""
    if record.event_us != record.arrived_us or session.state == State.PROVISIONAL:
        return False
    # The instants of a session that a Stop made known differ by exactly what it said.
    lasted_us = session.session_seconds * SECOND_US
    return session.state == State.OPEN or session.stopped_us == session.started_us + lasted_us


def _continues(session: Session, record: Record) -> bool:
    """Tell whether seconds and counters go on as our own clock does: then only the router's clock has jumped."""
    seconds = record.session_seconds
    if seconds is None or seconds < session.session_seconds:
        return False
    up, down = record.octets_up, record.octets_down
    if up is None or down is None:
        return False
    if up < session.octets_up - session.base_up or down < session.octets_down - session.base_down:
        return False
    told_us = (seconds - session.session_seconds) * SECOND_US
    passed_us = record.arrived_us - session.heard_us
    return abs(passed_us - told_us) <= SAME_START_US + passed_us // 50


def opened_by(record: Record, session_id: int, generation: int, service_id: int | None) -> Session:
    """Return the session that `record` begins, with nothing counted yet; `advance` then counts the record.

    An Interim or Stop without a Start begins it at event - Acct-Session-Time.
    """
    start = implied_start(record)
    session = Session()
    session.id = session_id
    session.key = record.key
    session.generation = generation
    session.version = 0
    session.service_id = service_id
    session.login = record.login
    session.line = record.line
    session.mac = None
    session.address = record.address
    session.ipv6 = record.ipv6
    session.nas_port_id = record.port
    session.multi_session_id = record.packet.text(50)
    session.class_token = None
    session.state = State.OPEN
    session.started_us = session.updated_us = record.event_us if start is None else start
    session.heard_us = record.arrived_us
    session.stopped_us = None
    session.terminate_cause = None
    session.session_seconds = 0
    session.octets_up = session.octets_down = 0
    session.base_up = session.base_down = 0
    session.gigawords = record.gigawords
    session.interim_seconds = None
    session.unknown_attributes = record.unknown_attributes
    session.watched = False
    session.traffic_class = 0
    session.restated = False
    return session


def advance(session: Session, record: Record) -> tuple[Outcome, Delta | None]:
    """Fold `record` into `session`; return what it was and the octets it adds, None when it adds none."""
    seconds = record.session_seconds
    late = seconds < session.session_seconds if seconds is not None else record.event_us < session.updated_us
    if record.gigawords:
        session.gigawords = True
    added_up, added_down = _added(session, record, late=late)
    from_us = session.updated_us
    delta = None
    if added_up or added_down:
        session.octets_up += added_up
        session.octets_down += added_down
        to_us = from_us if late or record.event_us < from_us else record.event_us
        delta = Delta(from_us, to_us, added_up, added_down)
    return _move(session, record, late=late, counted=delta is not None), delta


def _added(session: Session, record: Record, *, late: bool) -> tuple[int, int]:
    """Return the octets by which the router's counters grew, and remember wraps and resets in the bases."""
    known_up = session.octets_up - session.base_up
    known_down = session.octets_down - session.base_down
    up = known_up if record.octets_up is None else record.octets_up
    down = known_down if record.octets_down is None else record.octets_down
    if late:
        # Counters from before a wrap or a reset are no measure of those after it.
        return 0 if session.base_up else max(0, up - known_up), 0 if session.base_down else max(0, down - known_down)
    if up >= known_up and down >= known_down:
        return up - known_up, down - known_down
    fell = max(known_up - up, known_down - down)
    told = (up or down) and not (_slipped(known_up, up) and _slipped(known_down, down))
    if told and _moved_on(session, record, fell):
        if not session.gigawords and _wrapped(known_up, up, known_down, down):
            wrap_up, wrap_down = WRAP if up < known_up else 0, WRAP if down < known_down else 0
            session.base_up += wrap_up
            session.base_down += wrap_down
            session.restated = True
            return up + wrap_up - known_up, down + wrap_down - known_down
        if _may_be_reset(known_up, up, known_down, down):
            session.base_up, session.base_down = session.octets_up, session.octets_down
            session.restated = True
            return up, down
    return max(0, up - known_up), max(0, down - known_down)


def _moved_on(session: Session, record: Record, fell: int) -> bool:
    """Tell whether a counter that fell, by at most `fell` octets, can have wrapped or been reset since the last record.

    An Interim may be overtaken by the Stop of the same second, and by any record where the router tells no seconds.
    Half of 2^32 octets do not fit into such a moment.
    """
    if fell > WRAP // 2 and not session.gigawords:
        return True
    if record.session_seconds is None:
        return record.event_us > session.updated_us + REORDER_US
    return record.session_seconds > session.session_seconds


def _slipped(known: int, told: int) -> bool:
    return known - told <= min(known >> 4, SLIP)


def _wrapped(known_up: int, up: int, known_down: int, down: int) -> bool:
    """Tell a wrap from a reset where the router counts in 32 bits.

    A reset takes both counters back at once. One that fell alone has wrapped, unless it is zero, which tells nothing;
    two that fell together have wrapped only when both stood in the upper half of their range.
    """
    fell_up, fell_down = up < known_up, down < known_down
    if _may_be_reset(known_up, up, known_down, down):
        upper = WRAP // 2
        return (not fell_up or known_up % WRAP >= upper) and (not fell_down or known_down % WRAP >= upper)
    return bool(up if fell_up else down)


def _may_be_reset(known_up: int, up: int, known_down: int, down: int) -> bool:
    """Tell whether neither counter shows that counting went on."""
    return (up < known_up or not up) and (down < known_down or not down)


def _move(session: Session, record: Record, *, late: bool, counted: bool) -> Outcome:
    """Move time, state and addresses; return what the record was."""
    status = record.status
    if session.heard_us < record.arrived_us:
        session.heard_us = record.arrived_us
    seconds = record.session_seconds
    newer = not late and (seconds is None or seconds > session.session_seconds or not session.version)
    if seconds is not None and seconds > session.session_seconds:
        session.session_seconds = seconds
    if record.event_us > session.updated_us and not late:
        session.updated_us = record.event_us
    if not late and status != AcctStatus.START:
        _follow_addresses(session, record)
    if status == AcctStatus.STOP:
        return _stop(session, record)
    if session.state == State.PROVISIONAL and status == AcctStatus.INTERIM and (newer or counted):
        session.state, session.stopped_us, session.terminate_cause = State.OPEN, None, None
        session.restated = True
        return Outcome.REVIVED
    if not session.version:
        return Outcome.OPENED
    if late or session.state == State.STOPPED:
        return Outcome.LATE
    return Outcome.COUNTED if counted or newer else Outcome.DUPLICATE


def _stop(session: Session, record: Record) -> Outcome:
    if session.state == State.STOPPED:
        return Outcome.DUPLICATE
    session.state = State.STOPPED
    session.stopped_us = max(record.event_us, session.started_us)
    session.terminate_cause = record.terminate_cause
    session.restated = True
    return Outcome.STOPPED


def _follow_addresses(session: Session, record: Record) -> None:
    """Take over an address that changed and IPv6 that arrived later; what a record leaves out stays as it was."""
    if record.address is not None and record.address != session.address:
        session.address = record.address
        session.restated = True
    ipv6 = record.ipv6
    if ipv6 and ipv6 != session.ipv6:
        session.ipv6 = ipv6
        session.restated = True
