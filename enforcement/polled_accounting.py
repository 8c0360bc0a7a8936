"""Turns counters that are polled from a router's API into the records that RADIUS would have sent.

Rule: a record is cumulative, as an Interim-Update is, and takes the same way through the books, so a poll that comes
twice, late or not at all costs nothing. A session whose age or counters went back since the last poll is another one:
the first is stopped at what was last read, the second begins at nothing. What a queue carried before it was first read
is nobody's; a PPP or hotspot session is counted from its beginning, because it tells when that was.

Counters that contain others (`Reading.inside`) tell what is left without them: with P in a counter and C in those
inside of it a session counts

    P - C - base

where the base does not change as long as the session lasts. That is computed from the counters of this moment, so
nothing adds up that was read a little late, and it never goes back: where the inner counter is ahead of the outer one,
which is read some milliseconds later, the session counts what it counted until the outer one has caught up. When one
that is inside appears, goes or begins anew, the outer session is stopped and another begins with a base of its own.

What must survive a restart stands in the Acct-Session-Id, so `Tracked` is rebuilt from the open sessions' rows: the
bases, and the sessions that lie inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds
from enforcement import routeros_values as values
from enforcement.polled_readings import NO_OCTETS, QUEUES, Octets, Reading, Source, Subject
from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute

SLACK_SECONDS = 5
"""Uptimes are whole seconds and a poll takes some: an age may lag the clock by so much, and by a hundredth."""
PREFIX = "api-"
_MASK = 0xFFFF_FFFF
_GIGAWORD_BITS = 32
_ID = re.compile(
    r"api-(?P<source>[a-z]+)-(?P<entry>[^-]+)-(?P<begun>[0-9a-f]+)"
    r"(?:-(?P<up>n?[0-9a-f]+)-(?P<down>n?[0-9a-f]+)(?:-(?P<inside>[^-]+))?)?"
).fullmatch
_PARTS = re.compile(r"([^+@]+)@([0-9a-f]+)").findall
_MINUS = "n"
_MANY = "many"
MOST_NAMED = 8
"""Sessions inside another one that its Acct-Session-Id names: it must fit into one attribute."""
MOST_AHEAD = 1 << 30
"""Octets by which inner counters may be ahead of the outer one, read a command later: 10 Gbit/s for 0.8 s."""
_NO_STANDING: Mapping[str, Octets | None] = MappingProxyType({})


class Part(NamedTuple):
    """A session that lies inside another one; it has no other before it ends."""

    subject: Subject
    begun_us: Microseconds


@dataclass(frozen=True, slots=True)
class Tracked:
    """A session that is being counted, as of its last reading."""

    reading: Reading
    read_us: Microseconds
    begun_us: Microseconds
    base: Octets = NO_OCTETS
    """What it does not count, beside `within`; it may be negative."""
    counted: Octets = NO_OCTETS
    within: Octets = NO_OCTETS
    """What stood in the counters inside."""
    parts: tuple[Part, ...] = ()
    least: Octets | None = None
    """Where its counter stood at least, when it is not known exactly; the reading says where at most."""
    is_sure: bool = True
    """False: the books do not tell what stood in the counters inside."""

    @property
    def acct_session_id(self) -> str:
        """The session's name in the books, which tells all that a restart forgets."""
        source, entry = self.reading.subject
        words = [f"{PREFIX}{source.value}", entry, f"{self.begun_us // SECOND_US:x}"]
        inside = "+".join(f"{part.subject.entry}@{part.begun_us // SECOND_US:x}" for part in self.parts)
        if len(self.parts) > MOST_NAMED or not (inside or self.is_sure):
            inside = _MANY
        if inside or self.base != NO_OCTETS:
            words += [_signed(self.base.up), _signed(self.base.down)]
        if inside:
            words.append(inside)
        return "-".join(words)


class PolledRecord(NamedTuple):
    """What RADIUS would have said."""

    status: AcctStatus
    acct_session_id: str
    login: str
    address: str
    mac: str
    port: str
    session_seconds: int
    octets_up: int
    octets_down: int
    event_us: Microseconds
    lists: tuple[str, ...] = ()
    """Interface lists of the line."""


class Poll(NamedTuple):
    """The records of one poll, and what the next one must know."""

    records: tuple[PolledRecord, ...]
    tracked: Mapping[Subject, Tracked]


class KnownSession(NamedTuple):
    """An open session of the books, as its row has it."""

    acct_session_id: str
    login: str
    session_seconds: int
    octets_up: int
    octets_down: int
    updated_us: Microseconds
    is_stopped: bool = False
    """Its entry is counted no longer; other sessions may still have it inside."""


class _Step(NamedTuple):
    """What became of one reading."""

    session: Tracked
    passed: Octets
    """Since the poll before, in its counter."""


def poll(
    tracked: Mapping[Subject, Tracked],
    found: Iterable[Reading],
    now_us: Microseconds,
    *,
    standing: Mapping[str, Octets | None] = _NO_STANDING,
) -> Poll:
    """Compare what was read at `now_us` with the poll before.

    A queue that is not tracked is counted from where it stood in `standing`, from now on where that is None, and
    whole, as one that was made since the poll before, where it does not stand there.
    """
    readings = list(found)
    steps: dict[Subject, _Step] = {}
    for reading in _inner_first(readings):
        stood = standing.get(reading.subject.entry, NO_OCTETS)
        inside = [steps[subject] for subject in reading.inside]
        steps[reading.subject] = _step(reading, tracked.get(reading.subject), inside, now_us, stood=stood)
    records: list[PolledRecord] = []
    for reading in readings:
        before, current = tracked.get(reading.subject), steps[reading.subject].session
        if before is not None and before.begun_us != current.begun_us:
            records.append(_record(AcctStatus.STOP, before))
        records.append(_record(AcctStatus.INTERIM, current))
    records += [_record(AcctStatus.STOP, gone) for subject, gone in tracked.items() if subject not in steps]
    return Poll(tuple(records), {subject: step.session for subject, step in steps.items()})


def _inner_first(readings: Iterable[Reading]) -> Iterable[Reading]:
    """Return `readings` in an order in which each comes behind those inside of it."""
    by_subject = {reading.subject: reading for reading in readings}
    ordered: dict[Subject, Reading] = {}

    def place(reading: Reading) -> None:
        for subject in reading.inside:
            place(by_subject[subject])
        ordered.setdefault(reading.subject, reading)

    for reading in by_subject.values():
        place(reading)
    return ordered.values()


def _step(
    reading: Reading, before: Tracked | None, inside: list[_Step], now_us: Microseconds, *, stood: Octets | None
) -> _Step:
    """Return what the session of `reading` counts now."""
    within = sum((step.session.reading.octets for step in inside), NO_OCTETS)
    inner = sum((step.passed for step in inside), NO_OCTETS)
    parts = tuple(Part(step.session.reading.subject, step.session.begun_us) for step in inside)
    if before is None:
        passed, begun_us = _first_passed(reading, now_us, stood)
        counts = (passed - inner).at_least(NO_OCTETS)
    elif not _goes_on(before, reading, now_us):
        # A counter that was reset tells the age of its entry; what it counts began after the reading before. Of what
        # passed inside no more can have been in it than it has.
        passed, begun_us = reading.octets, max(_began(reading, now_us), _after(before))
        counts = (passed - inner).at_least(NO_OCTETS)
    elif not before.is_sure:
        passed, begun_us, counts = NO_OCTETS, _after(before), NO_OCTETS
    else:
        passed = reading.octets - before.reading.octets
        if parts == before.parts:
            counted = (reading.octets - within - before.base).at_least(before.counted)
            going_on = replace(before, reading=reading, read_us=now_us, counted=counted, within=within, least=None)
            return _Step(going_on, passed)
        ahead = before.counted - (before.reading.octets - before.within - before.base)
        begun_us, counts = _after(before), passed - inner - ahead
    base = reading.octets - within - counts
    return _Step(Tracked(reading, now_us, begun_us, base, counts.at_least(NO_OCTETS), within, parts), passed)


def _first_passed(reading: Reading, now_us: Microseconds, stood: Octets | None) -> tuple[Octets, Microseconds]:
    """Return what a counter that was not read before counts, and since when."""
    octets = reading.octets
    if reading.subject.source not in QUEUES:
        return octets, _began(reading, now_us)
    if stood is None:
        return NO_OCTETS, now_us
    went_back = octets.at_least(stood) != octets
    return octets if went_back else octets - stood, now_us


def _began(reading: Reading, now_us: Microseconds) -> Microseconds:
    return Microseconds(now_us - reading.uptime_seconds * SECOND_US)


def _after(before: Tracked) -> Microseconds:
    """Return when the session behind `before` begins: in another second, which its Acct-Session-Id tells."""
    return max(before.read_us, Microseconds(before.begun_us + SECOND_US))


def _goes_on(before: Tracked, reading: Reading, now_us: Microseconds) -> bool:
    """Tell whether `reading` is of the same session: the same login, older by what has passed, no fewer octets."""
    known = before.reading
    least = known.octets if before.least is None else before.least
    passed = (now_us - before.read_us) // SECOND_US
    expected = known.uptime_seconds + passed - SLACK_SECONDS - passed // 100
    return (
        reading.login == known.login
        and reading.uptime_seconds >= max(expected, known.uptime_seconds)
        and reading.octets.at_least(least) == reading.octets
    )


def restored(known: Iterable[KnownSession]) -> dict[Subject, Tracked]:
    """Return what a poll before a restart knew, from the sessions of one router: of each entry the newest."""
    alone: dict[Subject, Tracked] = {}
    stopped: set[Subject] = set()
    for session in known:
        match = _ID(session.acct_session_id)
        if match is not None:
            read = _restored(session, match)
            alone[read.reading.subject] = read
            if session.is_stopped:
                stopped.add(read.reading.subject)
    whole: dict[Subject, Tracked] = {}
    for subject in alone:
        _restore(subject, alone, whole)
    return {subject: each for subject, each in whole.items() if subject not in stopped}


def subject_of(session: KnownSession) -> Subject | None:
    """Return what a session of the books counts; None for one that no API counted."""
    match = _ID(session.acct_session_id)
    return None if match is None else Subject(Source(match["source"]), match["entry"])


def _restored(session: KnownSession, match: re.Match[str]) -> Tracked:
    """Return a session as if nothing lay inside of it."""
    subject = Subject(Source(match["source"]), match["entry"])
    base = Octets(_number(match["up"] or "0"), _number(match["down"] or "0"))
    counted = Octets(session.octets_up, session.octets_down)
    octets = counted + base
    return Tracked(
        Reading(subject, session.login, "", "", "", session.session_seconds, octets.up, octets.down),
        session.updated_us,
        Microseconds(int(match["begun"], 16) * SECOND_US),
        base,
        counted,
        parts=tuple(_parts(subject, match["inside"])),
        is_sure=match["inside"] != _MANY,
    )


def _parts(subject: Subject, written: str | None) -> Iterator[Part]:
    inner = Source.QUEUE if subject.source is Source.QUEUE else Source.CLASS
    for entry, begun in _PARTS(written or ""):
        yield Part(Subject(inner, entry), Microseconds(int(begun, 16) * SECOND_US))


def _restore(subject: Subject, alone: Mapping[Subject, Tracked], whole: dict[Subject, Tracked]) -> Tracked:
    """Enter into `whole` a session with what lies inside of it."""
    session = alone[subject]
    # Entered at once, so that a session that is said to lie inside of itself ends there.
    whole[subject] = session
    inside = [
        whole.get(part.subject) or _restore(part.subject, alone, whole)
        for part in session.parts
        if part.subject in alone and alone[part.subject].begun_us == part.begun_us
    ]
    if not session.is_sure or len(inside) < len(session.parts) or not all(each.is_sure for each in inside):
        whole[subject] = replace(session, least=NO_OCTETS, is_sure=False)
    elif inside:
        within = sum((each.reading.octets for each in inside), NO_OCTETS)
        octets = session.reading.octets + within
        # By how much the inner counters were ahead is not in the books.
        least = octets - Octets(MOST_AHEAD, MOST_AHEAD)
        reading = session.reading._replace(octets_up=octets.up, octets_down=octets.down)
        whole[subject] = replace(session, reading=reading, within=within, least=least)
    return whole[subject]


def _signed(number: int) -> str:
    return f"{_MINUS if number < 0 else ''}{abs(number):x}"


def _number(text: str) -> int:
    return -int(text[1:], 16) if text.startswith(_MINUS) else int(text, 16)


def accounting_request(record: PolledRecord, *, flip: bool = False) -> Packet:
    """Return `record` as the Accounting-Request that `accounting.record.read` takes.

    `flip` is that of the router's entry: counters are exchanged here, so that reading them exchanges them back.
    """
    up, down = (record.octets_down, record.octets_up) if flip else (record.octets_up, record.octets_down)
    numbers = {
        Type.ACCT_STATUS_TYPE: int(record.status),
        Type.ACCT_SESSION_TIME: record.session_seconds,
        Type.ACCT_INPUT_OCTETS: up & _MASK,
        Type.ACCT_OUTPUT_OCTETS: down & _MASK,
        Type.ACCT_INPUT_GIGAWORDS: up >> _GIGAWORD_BITS,
        Type.ACCT_OUTPUT_GIGAWORDS: down >> _GIGAWORD_BITS,
        Type.EVENT_TIMESTAMP: record.event_us // SECOND_US,
    }
    texts = {
        Type.ACCT_SESSION_ID: record.acct_session_id,
        Type.USER_NAME: record.login,
        Type.CALLING_STATION_ID: record.mac,
        Type.NAS_PORT_ID: record.port,
    }
    octets = [integer_attribute(kind, number) for kind, number in numbers.items()]
    octets += [attribute(kind, text.encode()) for kind, text in texts.items() if text]
    octets += [attribute(Type.CLASS, name.encode()) for name in record.lists]
    address = values.network_of(record.address)
    if address is not None and isinstance(address.network_address, IPv4Address):
        octets.append(attribute(Type.FRAMED_IP_ADDRESS, address.network_address.packed))
    return decode(encode_request(Code.ACCOUNTING_REQUEST, 0, b"".join(octets), b"", sign=False))


def _record(status: AcctStatus, session: Tracked) -> PolledRecord:
    reading = session.reading
    return PolledRecord(
        status=status,
        acct_session_id=session.acct_session_id,
        login=reading.login,
        address=reading.address,
        mac=reading.mac,
        port=reading.port,
        session_seconds=max(0, session.read_us - session.begun_us) // SECOND_US,
        octets_up=session.counted.up,
        octets_down=session.counted.down,
        event_us=session.read_us,
        lists=reading.lists,
    )
