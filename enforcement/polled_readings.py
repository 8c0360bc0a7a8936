"""Decides what a router's API counts for whom: which counters are read, and which of them contain one another.

Rule: only lines of which RADIUS tells nothing are read. A queue that the operator made for a class of a line's traffic
is a reading of its own. Its octets are also in the counters of the queues above it and of the session that it is part
of, which therefore name it (`Reading.inside`): each octet is told once, in the innermost place. A queue of which it is
not certain inside which session it lies is not read, and its octets stay where they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from types import MappingProxyType
from typing import NamedTuple

from domain.names import login_key
from enforcement import routeros_values as values
from enforcement.routeros_entries import Menu, Row, key_of
from enforcement.session_truth import uptime_seconds

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Octets:
    """What passed, or stands in a counter, in both directions."""

    up: int = 0
    down: int = 0

    def __add__(self, other: Octets) -> Octets:
        return Octets(self.up + other.up, self.down + other.down)

    def __sub__(self, other: Octets) -> Octets:
        return Octets(self.up - other.up, self.down - other.down)

    def at_least(self, other: Octets) -> Octets:
        """Return the greater of both in each direction."""
        return Octets(max(self.up, other.up), max(self.down, other.down))


NO_OCTETS = Octets()


class Source(Enum):
    """Where a counter stands."""

    PPP = "ppp"
    HOTSPOT = "hotspot"
    QUEUE = "queue"
    """Of a static line: our own queue, or the operator's for a class of its traffic."""
    CLASS = "class"
    """The operator's queue for a class of the traffic of a PPP or hotspot session."""


QUEUES = frozenset((Source.QUEUE, Source.CLASS))
"""Those whose counters are a queue's, which tells no age of its own."""


class Subject(NamedTuple):
    """What is counted: an entry of a menu, by its `.id`."""

    source: Source
    entry: str


class Reading(NamedTuple):
    """One subject as it was read; `uptime_seconds` is the router's own for a queue, which tells none."""

    subject: Subject
    login: str
    address: str
    mac: str
    port: str
    uptime_seconds: int
    octets_up: int
    octets_down: int
    inside: tuple[Subject, ...] = ()
    """Other readings whose octets are among these; what is inside of them in turn is not named."""
    lists: tuple[str, ...] = ()
    """The interface lists among whose members the line is, of those that were asked for."""

    @property
    def octets(self) -> Octets:
        """Both counters."""
        return Octets(self.octets_up, self.octets_down)


class Classes(NamedTuple):
    """What tells classes of traffic apart at one router."""

    queues: Mapping[str, str] = _NOTHING
    """The login whose traffic an operator's queue counts, by the queue's name."""
    lists: Collection[str] = ()
    """Interface lists."""


NO_CLASSES = Classes()


class Shown(NamedTuple):
    """What a router's API printed, by menu."""

    ppp: Sequence[Row]
    hotspot: Sequence[Row]
    queues: Sequence[Row]
    interfaces: Sequence[Row]
    members: Sequence[Row] = ()
    """Of interface lists."""


def readings(
    shown: Shown, *, router_uptime: str, logins: Mapping[str, str], classes: Classes = NO_CLASSES
) -> list[Reading]:
    """Return what a router counts for lines of which RADIUS tells nothing.

    `logins` are those of our queues' lines, by key; who is on line by PPP or hotspot is counted there instead. A PPP
    session's octets are its interface's, which receives what the subscriber sends, else its queue's.
    """
    counters = {row.get("name", ""): _up_down(row) for row in shown.queues}
    by_interface = {row.get("name", ""): _received(row) for row in shown.interfaces}
    lists = _lists(shown.members, classes.lists)
    sessions = [
        reading
        for row in shown.ppp
        if not _is_told(row) and (reading := _of_ppp(row, {**counters, **by_interface}, lists)) is not None
    ]
    sessions += [_of_host(row) for row in shown.hotspot if not _is_told(row)]
    queues = _Queues(shown, logins, classes.queues, sessions, uptime_seconds(router_uptime))
    found = [*sessions, *queues.read.values()]
    inside = _inside(queues, sessions, by_interface)
    return [reading._replace(inside=tuple(sorted(inside[reading.subject], key=_entry))) for reading in found]


def standing(shown: Shown, logins: Mapping[str, str], classes: Classes = NO_CLASSES) -> dict[str, Octets | None]:
    """Return where the counter of each queue stands, by `.id`: whoever reads it for the first time later begins there.

    None is for a queue of a line of which RADIUS tells now: until when RADIUS will have told of it is not known.
    """
    told = {_login_of(row) for row in (*shown.ppp, *shown.hotspot) if _is_told(row)}
    found: dict[str, Octets | None] = {}
    for row in shown.queues:
        login = logins.get(key_of(Menu.SIMPLE_QUEUE, row) or "") or classes.queues.get(row.get("name", ""))
        found[row.get(".id", "")] = None if login in told else _up_down(row)
    return found


class _Queues:
    """The queues that are read, by name, and the session inside which each of them lies."""

    def __init__(
        self,
        shown: Shown,
        logins: Mapping[str, str],
        of_classes: Mapping[str, str],
        sessions: Iterable[Reading],
        age: int,
    ) -> None:
        self.rows = {row.get("name", ""): row for row in shown.queues}
        self.read: dict[str, Reading] = {}
        self.session: dict[str, Reading] = {}
        self._age = age
        self._sessions: dict[str, list[Reading]] = defaultdict(list)
        for session in sessions:
            self._sessions[login_key(session.login)].append(session)
        rows = (*shown.ppp, *shown.hotspot)
        on_line = {_login_of(row) for row in rows}
        told = {_login_of(row) for row in rows if _is_told(row)}
        undialled = {key: login for key, login in logins.items() if login not in on_line}
        static = set(undialled.values())
        for row in shown.queues:
            key, name = key_of(Menu.SIMPLE_QUEUE, row), row.get("name", "")
            if key is not None:
                if key in undialled:
                    self.read[name] = self._reading(row, Source.QUEUE, undialled[key])
                continue
            login = of_classes.get(name)
            if login is not None and login not in told:
                self._add_class(row, login, is_static=login in static)

    def above(self, name: str) -> Iterator[str]:
        """Yield the names of the queues above one, the nearest first; none where they go round."""
        chain: list[str] = []
        row = self.rows.get(name)
        while row is not None and (parent := row.get("parent", "")) in self.rows:
            if parent == name or parent in chain:
                return
            chain.append(parent)
            row = self.rows[parent]
        yield from chain

    def _add_class(self, row: Row, login: str, *, is_static: bool) -> None:
        name = row.get("name", "")
        session = _session_of(row, self._sessions.get(login, ()))
        if is_static:
            self.read[name] = self._reading(row, Source.QUEUE, login)
        elif session is not None:
            self.session[name] = session
            reading = self._reading(row, Source.CLASS, login)
            self.read[name] = reading._replace(address=session.address, mac=session.mac)

    def _reading(self, row: Row, source: Source, login: str) -> Reading:
        octets = _up_down(row)
        return Reading(
            Subject(source, row.get(".id", "")),
            login,
            values.address(row.get("target", "").split(",")[0]),
            "",
            row.get("name", ""),
            self._age,
            octets.up,
            octets.down,
        )


def _inside(
    queues: _Queues, sessions: Iterable[Reading], by_interface: Collection[str]
) -> Mapping[Subject, list[Subject]]:
    """Return the readings inside each reading."""
    inside: dict[Subject, list[Subject]] = defaultdict(list)
    by_queue = {
        each.subject for each in sessions if each.subject.source is Source.PPP and each.port not in by_interface
    }
    for name, reading in queues.read.items():
        above = list(queues.above(name))
        nearest = next((each for each in above if each in queues.read), None)
        session = queues.session.get(name)
        if nearest is not None:
            inside[queues.read[nearest].subject].append(reading.subject)
        elif session is not None and (session.subject not in by_queue or session.port in (name, *above)):
            inside[session.subject].append(reading.subject)
    return inside


def _session_of(queue: Row, sessions: Sequence[Reading]) -> Reading | None:
    """Return the one session of its login that a queue is part of."""
    if len(sessions) > 1:
        sessions = [each for each in sessions if _aims_at(queue, each)]
    return sessions[0] if len(sessions) == 1 else None


def _aims_at(queue: Row, session: Reading) -> bool:
    words = queue.get("target", "").split(",")
    try:
        address = ip_address(session.address)
    except ValueError:
        return session.port in words
    networks = [network for word in words if (network := values.network_of(word)) is not None]
    return session.port in words or any(address in network for network in networks)


def _lists(members: Iterable[Row], wanted: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Return those of the `wanted` lists that each interface is a member of."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in members:
        name = row.get("list", "")
        if name in wanted and not values.flag(row.get("disabled", "")):
            found[row.get("interface", "")].add(name)
    return {interface: tuple(sorted(names)) for interface, names in found.items()}


def _of_ppp(row: Row, counters: Mapping[str, Octets], lists: Mapping[str, tuple[str, ...]]) -> Reading | None:
    name = row.get("name", "")
    port = f"<{row.get('service', '')}-{name}>"
    octets = counters.get(port)
    if octets is None:
        return None
    return Reading(
        Subject(Source.PPP, row.get(".id", "")),
        name,
        row.get("address", ""),
        row.get("caller-id", ""),
        port,
        uptime_seconds(row.get("uptime", "")),
        octets.up,
        octets.down,
        lists=lists.get(port, ()),
    )


def _of_host(row: Row) -> Reading:
    return Reading(
        Subject(Source.HOTSPOT, row.get(".id", "")),
        row.get("user", ""),
        row.get("address", ""),
        row.get("mac-address", ""),
        "hotspot",
        uptime_seconds(row.get("uptime", "")),
        _digits(row.get("bytes-in", "")),
        _digits(row.get("bytes-out", "")),
    )


def _is_told(row: Row) -> bool:
    """Tell whether RADIUS tells of a session."""
    return values.flag(row.get("radius", ""))


def _login_of(row: Row) -> str:
    """Return who a row of `/ppp/active` or `/ip/hotspot/active` is."""
    return login_key(row.get("name", "") or row.get("user", ""))


def _entry(subject: Subject) -> str:
    return subject.entry


def _up_down(row: Row) -> Octets:
    up, _, down = row.get("bytes", "").partition("/")
    return Octets(_digits(up), _digits(down))


def _received(row: Row) -> Octets:
    return Octets(_digits(row.get("rx-byte", "")), _digits(row.get("tx-byte", "")))


def _digits(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
