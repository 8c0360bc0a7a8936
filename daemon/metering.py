"""The metering lane: one batch of Accounting-Requests -> one transaction -> their answers.

Rule: an answer leaves only after the commit that holds what its request said (RFC 2866 §4.1). Sessions this worker
wrote last are remembered; each write names the version it was folded from, so a stale memory costs a second try, never
a sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Address
from typing import NamedTuple

import psycopg2
import structlog

from accounting.record import Record, SessionKey, UnusableRecord, event_instant, read, sent_instant
from accounting.session import Delta, Outcome, Session, State, advance, choose, fits, opened_by
from accounting.traffic_class import Marks, class_of, classes_of
from daemon.drops import Drop
from daemon.requests import AccountingRequest
from domain.errors import one_line
from domain.instants import SECOND_US
from domain.names import login_key, mac
from enforcement import polled_accounting
from radius.class_token import NO_FINGERPRINT, ClassToken, claimed_service, parse
from radius.codes import AcctStatus, Type
from storage import session_rows
from storage.pipeline import DatabaseAway, PipelineConnection

MOST_REMEMBERED = 50_000
"""Sessions per half of the memory; a session costs about 700 octets, so a worker remembers in at most 70 MB."""
MOST_TRIES = 8
"""Workers that share a router settle a conflict in one or two tries; a batch that loses every race is sent again."""
REFUSED_CLASSES = ("22", "23")
"""SQLSTATE classes that lie in the record itself: data exceptions and violated constraints."""
TRY_AGAIN = (session_rows.STALE_BATCH, "40001", "40P01")
"""SQLSTATEs after which the same records are folded anew: another worker was first, or both waited for each other."""
DEFECT = "defect"
RESTART_US = 60 * SECOND_US
"""A NAS that restarted has been silent for at least so long before it says so."""


class SessionMemory:
    """The newest generation of sessions this worker touched last, in two halves: the old half is dropped whole."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._young: dict[SessionKey, Session] = {}
        self._old: dict[SessionKey, Session] = {}

    def get(self, key: SessionKey) -> Session | None:
        """Return the session under `key`, if remembered."""
        session = self._young.get(key)
        if session is None:
            session = self._old.pop(key, None)
            if session is not None:
                self.keep(session)
        return session

    def keep(self, session: Session) -> None:
        """Remember `session` as the newest of its key."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[session.key] = session

    def forget(self, keys: Iterable[SessionKey]) -> None:
        """Drop `keys`: their rows are read again when they are needed."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def forget_all(self) -> None:
        """Drop everything."""
        self._young, self._old = {}, {}


class Owner(NamedTuple):
    """The service that a session belongs to; all None for a name that is no service."""

    service_id: int | None = None
    interim_seconds: int | None = None
    watched: bool = False
    classes: str | None = None
    """The classes of its plan, as they are stored; None where it tells no traffic apart."""
    class_token: bytes | None = None
    """Our Class, which tells what its login was given; kept for watched sessions only."""


NOBODY = Owner()


class Fold:
    """The sessions and facts that one batch changes; thrown away when its transaction is refused."""

    def __init__(self, services: dict[str, Owner], older: dict[SessionKey, list[Session]]) -> None:
        self.services = services
        self.older = older
        """The sessions that had an id before the newest, newest first."""
        self.opened: list[Session] = []
        self.touched: dict[int, Session] = {}
        self.facts: list[tuple[Session, Delta]] = []
        self.outcomes: Counter[Outcome] = Counter()
        self.lines: dict[tuple[int, int], Session] = {}
        """The newest session of each line and class of traffic."""
        self.deferred: set[Record] = set()

    def count(self, session: Session, record: Record) -> None:
        """Fold `record` into `session`, new or old."""
        outcome, delta = advance(session, record)
        self.outcomes[outcome] += 1
        if delta is not None:
            self.facts.append((session, delta))
        if session.version and (delta is not None or outcome is not Outcome.DUPLICATE):
            self.touched[session.id] = session


class MeteringLane:
    """One connection, one batch at a time."""

    def __init__(self, connection: PipelineConnection, memory: SessionMemory, class_key: bytes) -> None:
        self._connection = connection
        self._memory = memory
        self._class_key = class_key
        self._lane = 0
        self._batch = 0
        self._next_id = self._last_id = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.conflicts = 0
        self._log = structlog.get_logger()

    async def open(self) -> None:
        """Connect and take a lane of one's own; raise `DatabaseAway` when the database is not there."""
        self._memory.forget_all()
        await self._connection.open()
        rows = await self._connection.query(session_rows.OPEN_LANE)
        self._lane, self._batch = rows[0][0], 0

    async def probe(self) -> None:
        """Ask the database for nothing; raise `DatabaseAway` when it does not answer."""
        await self._connection.probe()

    async def settle(self, requests: Sequence[AccountingRequest]) -> None:
        """Commit what `requests` say and acknowledge them; raise `DatabaseAway` with the rest unanswered.

        The restart of a NAS is a transaction of its own, in its place between the records around it.
        """
        try:
            run: list[AccountingRequest] = []
            for request in requests:
                if request.packet.get(40) in _RESTARTS:
                    await self._commit(run)
                    run = []
                    await self._commit_restart(request)
                else:
                    run.append(request)
            await self._commit(run)
        except Exception:
            # Whatever was folded and not written must not be taken for what is in the database.
            self._memory.forget_all()
            raise

    async def _commit_restart(self, request: AccountingRequest) -> None:
        """Close, provisionally, the sessions this NAS had open before it restarted (RFC 2866 §5.1)."""
        event_us = event_instant(request.packet, request.arrived_us)
        # Its clock may be behind after a restart: what was silent before it then has ended, too.
        silent_us = sent_instant(request.packet, request.arrived_us) - RESTART_US
        await self._connection.query(
            session_rows.close_router_sessions(request.router.id, nas_name(request), event_us, silent_us)
        )
        self._memory.forget_all()
        request.acknowledge()

    async def _commit(self, requests: Sequence[AccountingRequest]) -> None:
        records: dict[Record, AccountingRequest] = {}
        unusable: list[tuple[AccountingRequest, str]] = []
        for request in requests:
            router = request.router
            nas = nas_name(request) if router.is_range else ""
            try:
                record = read(request.packet, router.id, nas, request.arrived_us, flip=router.flip_counters)
                records[record] = request
            except UnusableRecord as error:
                unusable.append((request, error.reason.value))
        if unusable:
            await self._quarantine(unusable)
        if records:
            await self._commit_records(records)

    async def _quarantine(self, unusable: Sequence[tuple[AccountingRequest, str]]) -> None:
        """Keep datagrams that name no session, or that the database refuses, and acknowledge them."""
        rows = [(each.arrived_us, each.router.id, reason, each.packet.octets) for each, reason in unusable]
        await self._connection.query(session_rows.keep_quarantined(rows))
        for request, reason in unusable:
            self.quarantined[reason] += 1
            request.acknowledge()

    async def _commit_records(self, records: dict[Record, AccountingRequest]) -> None:
        """Commit and acknowledge; a record that cannot be booked is found by halving and put in quarantine.

        Raises `DatabaseAway` when the fault is not in the records.
        """
        try:
            deferred = await self._commit_fold(list(records))
        except DatabaseAway:
            raise
        except psycopg2.Error as error:
            if not (error.pgcode or "").startswith(REFUSED_CLASSES):
                raise DatabaseAway(f"the database stores nothing now: {one_line(error)}") from error
            await self._halve(records, f"refused_{error.pgcode}")
            return
        except Exception:  # noqa: BLE001 - a defect that one record brings to light must not cost the others
            self._log.exception("records not folded", size=len(records))
            await self._halve(records, DEFECT)
            return
        for record, request in records.items():
            if record in deferred:
                request.give_up(Drop.DEFERRED)
            else:
                request.acknowledge()

    async def _halve(self, records: dict[Record, AccountingRequest], reason: str) -> None:
        """Try each half of `records`; one alone is kept for inspection under `reason`."""
        self._memory.forget(record.key for record in records)
        if len(records) == 1:
            await self._quarantine([(request, reason) for request in records.values()])
            return
        pairs = list(records.items())
        await self._commit_records(dict(pairs[: len(pairs) // 2]))
        await self._commit_records(dict(pairs[len(pairs) // 2 :]))

    async def _commit_fold(self, records: list[Record]) -> set[Record]:
        """Fold and write; when another worker has moved a row, forget these sessions, read them and fold again.

        Returns the records that need another batch.
        """
        for tries in range(MOST_TRIES):
            await self._read_missing(records, starts_too=tries > 0)
            fold = await self._prepare(records)
            if self._last_id - self._next_id < len(records):
                self._next_id = (await self._connection.query(session_rows.DRAW_IDS))[0][0]
                self._last_id = self._next_id + session_rows.IDS_PER_DRAW
            for record in records:
                self._fold(fold, record)
            if await self._write(fold, records):
                self.outcomes += fold.outcomes
                return fold.deferred
            self.conflicts += 1
        # The routers send again, and by then the workers are out of step.
        return set(records)

    async def _write(self, fold: Fold, records: list[Record]) -> bool:
        """Write the fold in one transaction; return False when it was folded from rows that have moved."""
        touched = list(fold.touched.values())
        if not fold.opened and not touched:
            return True
        self._batch += 1
        batch = self._lane << 32 | self._batch
        try:
            await self._connection.query(session_rows.write_batch(batch, fold.opened, touched, fold.facts))
        except psycopg2.Error as error:
            self._memory.forget(record.key for record in records)
            if error.pgcode in TRY_AGAIN:
                return False
            raise
        for session in fold.opened:
            session.version, session.restated = 1, False
        for session in touched:
            session.version += 1
            session.restated = False
        return True

    async def _read_missing(self, records: list[Record], *, starts_too: bool) -> None:
        """Read the rows of sessions not remembered; a Start is taken for new until the database says otherwise."""
        get = self._memory.get
        keys = {
            record.key
            for record in records
            if (starts_too or record.status != AcctStatus.START) and get(record.key) is None
        }
        if keys:
            for row in await self._connection.query(session_rows.read_sessions(list(keys))):
                self._memory.keep(session_rows.session_of(row))

    async def _prepare(self, records: list[Record]) -> Fold:
        """Look up what the fold will ask for: services of sessions that may open, and sessions before the newest.

        The latter are for late records of an Acct-Session-Id that was used again.
        """
        get = self._memory.get
        names: set[str] = set()
        reused: dict[SessionKey, int] = {}
        for record in records:
            session = get(record.key)
            is_new = session is None or not fits(session, record, anothers=self._is_anothers(session, record))
            if is_new or record.status == AcctStatus.START:
                names.update(_names(record))
            if is_new and session is not None and session.generation:
                reused[record.key] = session.generation
        return Fold(await self._find_services(names), await self._read_generations(reused))

    async def _find_services(self, names: set[str]) -> dict[str, Owner]:
        """Return the services by normalised name."""
        found = dict.fromkeys(names, NOBODY)
        if names:
            for login, *service in await self._connection.query(session_rows.find_services(names)):
                found[login] = Owner(*service)
        return found

    async def _read_generations(self, reused: dict[SessionKey, int]) -> dict[SessionKey, list[Session]]:
        """Return the sessions before a generation, newest first."""
        older: dict[SessionKey, list[Session]] = {key: [] for key in reused}
        if reused:
            for row in await self._connection.query(session_rows.read_generations(reused)):
                session = session_rows.session_of(row)
                older[session.key].append(session)
        return older

    def _fold(self, fold: Fold, record: Record) -> None:
        newest = self._memory.get(record.key)
        if newest is None:
            self._open(fold, record, 0)
            return
        if fits(newest, record, anothers=self._is_anothers(newest, record)):
            fold.count(newest, record)
            return
        older = fold.older.get(record.key)
        if older is None and newest.generation:
            fold.deferred.add(record)
            return
        session = choose(newest, older or (), record, lambda each: self._is_anothers(each, record))
        if session is not None:
            fold.count(session, record)
            return
        if self._owner_of(fold, record) is None:
            fold.deferred.add(record)
            return
        if newest.state == State.OPEN:
            _supersede(fold, newest)
        fold.older[record.key] = [newest, *(older or ())]
        fold.outcomes[Outcome.REUSED] += 1
        self._open(fold, record, newest.generation + 1)

    def _is_anothers(self, session: Session, record: Record) -> bool:
        """Tell whether `record` names another subscriber than `session` has: by our own Class, else by User-Name."""
        login = record.login
        is_same_name = login in ("", session.login) or login_key(login) == login_key(session.login)
        value = record.packet.get(Type.CLASS)
        if value is None or session.service_id is None:
            return not is_same_name
        if is_same_name and claimed_service(value) in (None, session.service_id):
            return False
        own = self._own_class(record)
        if own is None or own[1].service_id is None:
            return not is_same_name
        return own[1].service_id != session.service_id

    def _own_class(self, record: Record) -> tuple[bytes, ClassToken] | None:
        """Return the first Class of ours and what it says; None when there is none."""
        for value in record.packet.all(Type.CLASS):
            token = parse(self._class_key, value)
            if token is not None:
                return value, token
        return None

    def _open(self, fold: Fold, record: Record, generation: int) -> None:
        """Begin the session of `record`; one that was open on the same line is over (RouterOS's manual asks for it).

        Sessions that count different classes of one line's traffic are open beside each other.
        """
        owner = self._owner_of(fold, record)
        if owner is None:
            fold.deferred.add(record)
            return
        session = opened_by(record, self._next_id, generation, owner.service_id)
        self._next_id += 1
        session.interim_seconds = owner.interim_seconds
        session.watched = owner.watched
        session.class_token = owner.class_token
        if owner.classes is not None:
            session.traffic_class = class_of(classes_of(owner.classes), _marks(record), record.login)
        session.mac = mac(record.packet.text(Type.CALLING_STATION_ID) or "")
        if session.line is not None and session.multi_session_id is None:
            line = session.line, session.traffic_class
            older = fold.lines.get(line)
            if older is not None and older.key[0] == session.key[0] and older.state == State.OPEN:
                _supersede(fold, older)
            fold.lines[line] = session
        fold.opened.append(session)
        self._memory.keep(session)
        fold.count(session, record)

    def _owner_of(self, fold: Fold, record: Record) -> Owner | None:
        """Return the service of `record`: by our own Class, else by name; None when the name must be looked up."""
        named = _by_name(fold.services, record)
        own = self._own_class(record)
        if own is None:
            return named
        value, token = own
        named = named or NOBODY
        # Of a service that goes by another name it is not known whether its plan has rules; one that was let in
        # by rules may have lost them since.
        is_named = named.service_id == token.service_id
        watched = named.watched or not is_named or token.fingerprint != NO_FINGERPRINT
        classes = named.classes if is_named else None
        return Owner(token.service_id, named.interim_seconds, watched, classes, value if watched else None)


_RESTARTS = frozenset(int(status).to_bytes(4) for status in (AcctStatus.ACCOUNTING_ON, AcctStatus.ACCOUNTING_OFF))


def _names(record: Record) -> tuple[str, ...]:
    """Return the names to look up; a Windows client's `DOMAIN\\user` may be known under its bare name."""
    key = login_key(record.login)
    return (key, key.partition("\\")[2]) if "\\" in key else (key,)


def _by_name(services: Mapping[str, Owner], record: Record) -> Owner | None:
    """Return the service that a record names, NOBODY where none has the name, None where it was not looked up."""
    found = None
    for name in _names(record):
        found = services.get(name)
        if found is None or found is not NOBODY:
            return found
    return found


def _marks(record: Record) -> Marks:
    """Return what `record` says of the traffic that it counts.

    What we read of a router's API names there what RADIUS has no attribute for (enforcement.polled_accounting).
    """
    values = record.packet.all(Type.CLASS)
    if record.key.acct_session_id.startswith(polled_accounting.PREFIX):
        return Marks(interface_lists=values, queue=record.port)
    return Marks(class_values=values)


def _supersede(fold: Fold, session: Session) -> None:
    """Close `session` provisionally: its id or its line serves another session now."""
    session.state, session.stopped_us, session.terminate_cause = State.PROVISIONAL, session.updated_us, "Superseded"
    session.restated = True
    if session.version:
        fold.touched[session.id] = session


def nas_name(request: AccountingRequest) -> str:
    """Return what tells the boxes behind a router entry apart: empty where the entry is a single address."""
    if not request.router.is_range:
        return ""
    packet = request.packet
    identifier = packet.text(Type.NAS_IDENTIFIER)
    if identifier:
        return identifier
    address = packet.get(Type.NAS_IP_ADDRESS)
    if address is not None and len(address) == 4:
        return ".".join(map(str, address))
    return _ipv6_nas_name(packet.get(Type.NAS_IPV6_ADDRESS)) or request.peer.address[0].removeprefix("::ffff:")


def _ipv6_nas_name(address: bytes | None) -> str | None:
    """Return NAS-IPv6-Address as text; a link-local one names nobody (RFC 5080 §2.7.1)."""
    if address is None or len(address) != 16 or IPv6Address(address).is_link_local:
        return None
    return str(IPv6Address(address))
