"""One transaction of enforcement: what happened -> what each line of these services should get.

Rule: events leave the outbox in the transaction that writes what follows from them, so a core that dies leaves them for
the next one. A line is written for every open session whose entitlement may change; what is not proven comes back as an
order. Runs in a thread; `Evaluator` belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from daemon import enforcement_upkeep
from daemon.enforcement_memory import EntitlementMemory
from daemon.enforcement_orders import Order
from daemon.enforcement_routers import Box
from daemon.enforcement_wanted import (
    Cause,
    Wanted,
    causes_of,
    crossing_of,
    has_stayed,
    names_of,
    state_of,
    wake_of,
)
from domain.errors import CaudalError
from domain.plan_rules import NO_RULES
from enforcement.entitlement import Entitlement, entitle, fingerprint
from enforcement.line_change import Wish
from enforcement.profiles import PROFILES
from enforcement.reconcile import Problem
from enforcement.thresholds import by_volume, next_crossing, raised_limits
from radius import class_token
from radius.dynamic_authorization import SessionNames
from storage import lines, open_sessions, outbox, standings
from storage.lines import Desire, Line, Wake
from storage.outbox import Event, Topic
from storage.snapshot import REVISION, Snapshot
from storage.standings import Loaded, Meter

EVENTS_AT_ONCE = 500
"""Services in one transaction; these take some 0.1 s, for which a crossing may have to wait."""
LOGIN_TIME = timedelta(seconds=30)
"""From an Access-Accept to the commit of its Start; a change that comes between is looked at again after it."""
OPENED_LATELY = timedelta(minutes=10)
"""How far the beginning of such a session may seem to lie back: routers' clocks are wrong."""


class SnapshotIsOld(CaudalError):
    """The configuration was changed; it is read again before anything is decided by it."""


class Warned(NamedTuple):
    """A mark of a cap that was reached, or of what overage costs at most."""

    login: str
    service_id: int
    percent: int
    of_ceiling: bool = False


class Unasked(NamedTuple):
    """Top-ups of an offer that were bought unasked."""

    login: str
    offer: str
    number: int


class Unpaid(NamedTuple):
    """A top-up that was not bought unasked, and why."""

    login: str
    offer: str
    reason: str


class Raised(NamedTuple):
    """A session that was granted more than its router was told at login, and the limits that tell it."""

    session_id: int
    box: Box
    names: SessionNames
    attributes: bytes


@dataclass(slots=True)
class Evaluated:
    """What a transaction brought."""

    events: int = 0
    services: list[int] = field(default_factory=list)
    """Those that were computed."""
    top_ups: list[Unasked] = field(default_factory=list)
    top_ups_refused: list[Unpaid] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    raised: list[Raised] = field(default_factory=list)
    """Sessions whose routers may be told of other limits."""
    closed: list[int] = field(default_factory=list)
    """Sessions that ended."""
    warned: list[Warned] = field(default_factory=list)
    is_full: bool = False
    """There may be more in the outbox."""
    next_at: datetime | None = None
    """When time changes one of these services."""

    @property
    def top_ups_bought(self) -> int:
        """How many were bought unasked."""
        return sum(each.number for each in self.top_ups)


@dataclass(slots=True)
class _Batch:
    """What a transaction is going to write."""

    desires: list[Desire] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)
    """Sessions whose routers said that they ended them, and which go on."""
    again: list[int] = field(default_factory=list)
    """Services of which a session may be about to open with what was right before."""
    wanted: dict[int, Wanted] = field(default_factory=dict)


class Evaluator:
    """Computes entitlements in bulk."""

    def __init__(self, engine: Engine, class_key: bytes, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._class_key = class_key
        self._clock = clock
        self._memory = EntitlementMemory()
        self._snapshot = Snapshot.empty()
        self._zone: tzinfo = ZoneInfo("UTC")
        self._horizon = 0

    def configure(self, snapshot: Snapshot) -> None:
        """Decide by `snapshot` from now on."""
        self._snapshot = snapshot
        self._zone = ZoneInfo(snapshot.timezone)
        self._memory.learn_plans(snapshot.plans.values(), snapshot.blocking, self._zone, self._clock())

    def begin(self) -> None:
        """Become the active core: what is in the outbox already may be older than the plans that are known here."""
        with self._engine.connect() as connection:
            self._horizon = connection.scalar(text("SELECT coalesce(max(id), 0) FROM outbox")) or 0

    def take(self) -> Evaluated:
        """Act upon what is in the outbox."""
        now = self._clock()
        with self._engine.begin() as connection:
            self._check_revision(connection)
            events = outbox.take(connection, EVENTS_AT_ONCE)
            done = Evaluated(events=len(events), is_full=len(events) == EVENTS_AT_ONCE)
            for event in events:
                if event.service_id is None:
                    self._spread(connection, event)
                    done.is_full = True
            done.closed = [event.session_id for event in events if event.topic is Topic.STOPPED and event.session_id]
            lines.forget_closed(connection, done.closed)
            self._evaluate(connection, causes_of(events, self._horizon), now, done)
        return done

    def _spread(self, connection: Connection, event: Event) -> None:
        """Make of an event about all services one for each that it concerns."""
        if event.topic is Topic.AGAIN:
            topic = Topic.CHANGED if event.id <= self._horizon else Topic.TERMS
            open_sessions.change_opened(connection, event.happened_at - LOGIN_TIME - OPENED_LATELY, topic)
        else:
            open_sessions.change_all(connection)
            outbox.look_again(connection, [None], LOGIN_TIME)

    def look_at(self, service_ids: Collection[int], caused_at: datetime) -> Evaluated:
        """Compute services anew, for time has come or nobody has done it yet."""
        done = Evaluated()
        now = self._clock()
        with self._engine.begin() as connection:
            self._check_revision(connection)
            self._evaluate(connection, dict.fromkeys(service_ids, Cause(caused_at)), now, done)
            open_sessions.forget_due(connection, service_ids, now)
        return done

    def _check_revision(self, connection: Connection) -> None:
        if connection.scalar(text(REVISION)) != self._snapshot.revision:
            raise SnapshotIsOld("the configuration was changed; it is read again")

    def _evaluate(self, connection: Connection, causes: Mapping[int, Cause], now: datetime, done: Evaluated) -> None:
        plans = self._snapshot.plans
        loaded = standings.load(connection, causes, plans, self._zone, now)
        kept = enforcement_upkeep.keep_up(connection, loaded, plans, self._zone, now)
        done.top_ups += [
            Unasked(loaded[service_id].contract.login, offer, number)
            for service_id, (offer, number) in kept.bought.items()
        ]
        done.top_ups_refused += [
            Unpaid(loaded[each.service_id].contract.login, each.offer, each.reason) for each in kept.refused
        ]
        batch = _Batch()
        for service_id, service in loaded.items():
            cause = causes[service_id]
            self._evaluate_service(service, cause, now, batch, done)
            if cause.granted or service_id in kept.bought:
                done.raised += self._raised(service, now)
        done.services += loaded
        done.next_at = min((each.recompute_at for each in batch.desires if each.recompute_at is not None), default=None)
        standings.write_meters(connection, batch.meters)
        outbox.look_again(connection, batch.again, LOGIN_TIME)
        lines.doubt(connection, batch.doubted, now)
        lines.disprove(connection, [each for cause in causes.values() for each in cause.foreign], now)
        unproven = lines.upsert(connection, batch.desires, now)
        done.orders += [self._order(line, batch.wanted[line.session_id]) for line in unproven]
        lines.arm(connection, batch.wakes)

    def _evaluate_service(self, service: Loaded, cause: Cause, now: datetime, batch: _Batch, done: Evaluated) -> None:
        contract, plan = service.contract, self._snapshot.plans[service.contract.plan_id]
        entitlement = entitle(plan, plan.rules, self._snapshot.blocking, service.standing, self._zone, now)
        drained = enforcement_upkeep.drained(service, plan, entitlement, now)
        if drained is not None and drained != service.standing.burst:
            standing = replace(service.standing, burst=drained)
            service = replace(service, standing=standing)
            entitlement = entitle(plan, plan.rules, self._snapshot.blocking, standing, self._zone, now)
        desired = fingerprint(entitlement)
        self._memory.remember(desired, entitlement)
        usage = service.standing.usage
        if usage is not None:
            batch.meters.append(
                Meter(contract.service_id, usage, drained, entitlement.warnings, entitlement.ceiling_warnings)
            )
        done.warned += [
            Warned(contract.login, contract.service_id, percent)
            for percent in entitlement.warnings
            if percent not in service.warned
        ]
        done.warned += [
            Warned(contract.login, contract.service_id, percent, of_ceiling=True)
            for percent in entitlement.ceiling_warnings
            if percent not in service.ceiling_warned
        ]
        if cause.changed and cause.is_first and plan.rules == NO_RULES:
            batch.again.append(contract.service_id)
        changes = plan.rules.changes_by_itself or entitlement.valid_until is not None
        counting = sum(plan.rules.counts(session.traffic_class) for session in service.sessions)
        for session in service.sessions:
            wanted = Wanted(session, service, plan, entitlement, cause)
            given = session.line is None and self._given_at_login(wanted) == desired
            is_foreign = session.id in cause.foreign
            if given and not (changes or is_foreign):
                continue
            if not entitlement.admitted and has_stayed(session, now):
                batch.doubted.append(session.id)
            batch.wanted[session.id] = wanted
            batch.desires.append(
                Desire(
                    session.id,
                    contract.service_id,
                    session.router_id,
                    desired,
                    recompute_at=entitlement.valid_until,
                    told_at_login=given and not is_foreign,
                    problem=Problem.CHANGED_ELSEWHERE if given and is_foreign else None,
                )
            )
            batch.wakes.append(wake_of(session, entitlement, plan.rules, counting))

    def _raised(self, service: Loaded, now: datetime) -> Iterator[Raised]:
        """Yield what tells routers that sessions of a service may use more than they were told at login."""
        plan, blocking = by_volume(self._snapshot.plans[service.contract.plan_id]), self._snapshot.blocking
        line = entitle(plan, plan.rules, blocking, service.standing, self._zone, now)
        crossing = next_crossing(line, plan, blocking, service.standing, self._zone, now)
        for session in service.sessions:
            router = self._snapshot.routers.get(session.router_id)
            if router is None or not line.admitted:
                continue
            up, down = session.octets_up, session.octets_down
            limits = raised_limits(line, crossing, PROFILES[router.profile], up=up, down=down)
            if limits:
                yield Raised(session.id, (session.router_id, session.nas), names_of(session, router.identifier), limits)

    def _given_at_login(self, wanted: Wanted) -> bytes | None:
        """Return the fingerprint of what the Access-Accept of a session gave; None when that is not known."""
        token = wanted.session.class_token
        said = None if token is None else class_token.parse(self._class_key, token)
        if said is not None and said.fingerprint != class_token.NO_FINGERPRINT:
            return said.fingerprint
        # Of a session of a plan without rules no Class is kept: it was let in by its plan.
        cause = wanted.cause
        if cause.changed or (cause.terms_changed and cause.is_old) or wanted.plan.rules != NO_RULES:
            # It was let in by another plan, perhaps, or by what this plan was before.
            return None
        return self._memory.plan_alone(wanted.plan)

    def _order(self, line: Line, wanted: Wanted) -> Order:
        session, contract = wanted.session, wanted.loaded.contract
        proven = line.proven
        if session.line is None and session.id not in wanted.cause.foreign:
            proven = self._given_at_login(wanted)
        before = None if proven is None else self._memory.find(proven)
        router = self._snapshot.routers.get(session.router_id)
        state = state_of(line, wanted)
        return Order(
            state=replace(state, proven=proven) if before is not None else state,
            service_id=contract.service_id,
            router_id=session.router_id,
            router=str(session.router_id) if router is None else router.name,
            nas=session.nas,
            names=names_of(session, None if router is None else router.identifier),
            wish=Wish(wanted.entitlement, session.started_at, contract.login, wanted.plan.name),
            before=before,
            candidates=() if before is not None else self._candidates(wanted, line),
            caused_at=wanted.cause.at,
            urgent=wanted.cause.urgent,
            crossing=crossing_of(wanted) if wanted.cause.crossed and line.problem is None else None,
        )

    def _candidates(self, wanted: Wanted, line: Line) -> tuple[Entitlement, ...]:
        """Return what may be in force on a line of which nobody knows it."""
        if line.problem is Problem.CHANGED_ELSEWHERE:
            # What it desires was proven: nothing else is in force but what a CoA changed, and rates are always told.
            return ()
        given = self._given_at_login(wanted)
        found = None if given is None else self._memory.find(given)
        others = self._memory.states_of(wanted.plan)
        if wanted.cause.changed and wanted.session.line is None:
            others += self._memory.shapes()
        return others if found is None else (found, *others)
