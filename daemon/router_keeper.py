"""The keeper of one router: visits it now and then and whenever something happened, and makes it what it should be.

Rule: every visit computes anew what the router has to hold, so nothing that was missed stays missed and a visit that
was cut off is simply made again. A router that is away is tried every few seconds (its connection rests between real
attempts); when it is back everything is due at once. A defect in the handling of one router never touches another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, TypeVar

import psycopg2
import sqlalchemy
import structlog

from daemon import router_truth, router_visit
from daemon.router_accounting import Bookings, Counted, CounterBook
from daemon.router_duty import Duty, SnapshotBehind, compute, service_of_key
from daemon.router_report import RouterCounts, RouterKnowledge
from daemon.router_truth import Suspects
from daemon.router_visit import Sighting, Visit
from domain.errors import CaudalError, one_line
from domain.instants import to_microseconds
from domain.network import Router
from enforcement.drivers.routeros import RouterThread
from enforcement.drivers.routeros_errors import RouterOsAway, RouterOsError
from enforcement.polled_accounting import accounting_request
from enforcement.polled_readings import NO_CLASSES, Source
from enforcement.router_boot import Boot
from enforcement.routeros_state import Conflict, Drift, Obstacle
from storage import router_duties
from storage.snapshot import Snapshot

MOST_LOGGED = 20
"""Entries of one kind that one visit tells of, one by one; the rest is a number."""

SHORTEST_PAUSE_SECONDS = 0.1
"""Between two visits that time alone asks for."""
CIRCLE_SECONDS = 5.0
"""Between a visit and one because the connection ended: a router may end every one that is idle."""

Result = TypeVar("Result")


class RunInThread(Protocol):
    """Run work that waits for the database."""

    def __call__(self, work: Callable[..., Result], /, *arguments: Any) -> Awaitable[Result]: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a router is visited, in seconds."""

    look: float = 150.0
    """Entries and sessions are compared so often."""
    confirm: float = 30.0
    """The second look after one that missed sessions."""
    poll: float = 60.0
    """Counters, where they are the accounting."""
    retry: float = 2.0
    """A router that is away, or a database; the connection itself rests up to 20 s between attempts."""
    refused: float = 30.0
    """After a router refused what it should not."""


class Task(Enum):
    """What may be due."""

    CONVERGE = "converge"
    SESSIONS = "sessions"
    COUNTERS = "counters"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all keepers share."""

    engine: sqlalchemy.Engine
    in_thread: RunInThread
    bookings: Bookings
    counts: RouterCounts
    snapshot: Callable[[], Snapshot]
    clock: Callable[[], datetime]
    pace: Pace


class RouterKeeper:
    """Keeps one router; `run` is its task, `thread` finds the thread in which its API is spoken to."""

    def __init__(self, router: Router, thread: Callable[[], RouterThread], around: Surroundings) -> None:
        self._router = router
        self._thread = thread
        self._around = around
        self._loop = asyncio.get_running_loop()
        self._awake = asyncio.Event()
        self._due: dict[Task, float] = {}
        self._askers: list[asyncio.Future[Mapping[int, bytes] | None]] = []
        self._suspects = Suspects()
        self._counters: CounterBook | None = None
        self._duty: Duty | None = None
        self._boot: Boot | None = None
        self._visited_at = -CIRCLE_SECONDS
        self._log = structlog.get_logger().bind(router=router.name)
        self.knowledge = RouterKnowledge()
        self._everything_is_due()

    @property
    def router(self) -> Router:
        """The router as it is configured."""
        return self._router

    def reconfigure(self, router: Router) -> None:
        """Go on with a router that may be configured otherwise."""
        self._router = router
        self._log = structlog.get_logger().bind(router=router.name)
        if router.api_accounting:
            self._due.setdefault(Task.COUNTERS, self._loop.time())
        else:
            self._due.pop(Task.COUNTERS, None)
            self._counters = None
        self.wake()

    def concerns(self, service_ids: frozenset[int]) -> bool:
        """Tell whether one of the services may be a static line of this router; one that nobody knows yet may."""
        duty = self._duty
        return duty is None or not service_ids.isdisjoint(duty.fingerprints)

    def wake(self) -> None:
        """Visit at once: something happened."""
        self._due[Task.CONVERGE] = self._loop.time()
        self._awake.set()

    def connection_ended(self) -> None:
        """Look as soon as may be: a router that started again may have lost entries, and has lost its sessions."""
        at = max(self._loop.time(), self._visited_at + CIRCLE_SECONDS)
        for task in (Task.CONVERGE, Task.SESSIONS):
            self._due[task] = min(self._due[task], at)
        self._awake.set()

    async def in_force(self) -> Mapping[int, bytes] | None:
        """Visit, and return what was read back to be in force: fingerprints by service; None when that failed."""
        asker: asyncio.Future[Mapping[int, bytes] | None] = self._loop.create_future()
        self._askers.append(asker)
        self.wake()
        return await asker

    async def run(self, delay: float = 0.0) -> None:
        """Keep the router until cancelled, from `delay` seconds on."""
        try:
            await asyncio.sleep(delay)
            while True:
                await self._await_due()
                await self._visit()
        finally:
            self._answer(self._askers, None)

    def _everything_is_due(self) -> None:
        now = self._loop.time()
        self._due = {Task.CONVERGE: now, Task.SESSIONS: now}
        if self._router.api_accounting:
            self._due[Task.COUNTERS] = now
        self._awake.set()

    async def _await_due(self) -> None:
        while True:
            self._awake.clear()
            pause = min(self._due.values()) - self._loop.time()
            if pause <= 0:
                return
            try:
                async with asyncio.timeout(pause):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def _visit(self) -> None:
        """Do what is due; whatever goes wrong, it is due again."""
        askers, self._askers = self._askers, []
        told: Mapping[int, bytes] | None = None
        now = self._loop.time()
        due = {task for task, at in self._due.items() if at <= now}
        try:
            if Task.CONVERGE in due:
                told = await self._converge()
            if due - {Task.CONVERGE}:
                await self._look(due)
        except RouterOsError as error:
            self._lose(error, due)
        except SnapshotBehind:
            self._postpone(due, self._around.pace.retry)
        except (CaudalError, psycopg2.Error, sqlalchemy.exc.SQLAlchemyError) as error:
            self._log.warning("router not kept: the database is away", error=one_line(error))
            self._postpone(due, self._around.pace.retry)
        except Exception:  # noqa: BLE001 - a defect that one router brings to light must not cost the others
            self._log.exception("a visit to a router failed")
            self._postpone(due, self._around.pace.refused)
        else:
            self._found()
        finally:
            self._visited_at = self._loop.time()
            self._answer(askers, told)

    @staticmethod
    def _answer(askers: list[asyncio.Future[Mapping[int, bytes] | None]], told: Mapping[int, bytes] | None) -> None:
        for asker in askers:
            if not asker.done():
                asker.set_result(told)

    # Entries

    async def _converge(self) -> Mapping[int, bytes]:
        """Make the router hold what it has to; return what is in force by service."""
        # Cleared first: what happens from now on is for the next visit.
        self._due[Task.CONVERGE] = self._loop.time() + self._around.pace.look
        around, router = self._around, self._router
        now = around.clock()
        duty = await around.in_thread(compute, around.engine, router, around.snapshot(), now)
        self._duty = duty
        before = router_visit.Before(self.knowledge.proven, self._boot)
        visit = await asyncio.wrap_future(
            self._thread().submit(
                lambda connection: router_visit.converge(
                    connection, duty, before, repair_drift=router.repair_drift, clock=self._loop.time
                )
            )
        )
        self._learn(visit, now)
        if duty.next_change_at is not None:
            pause = max(SHORTEST_PAUSE_SECONDS, (duty.next_change_at - around.clock()).total_seconds())
            self._due[Task.CONVERGE] = min(self._due[Task.CONVERGE], self._loop.time() + pause)
        return _in_force(visit, duty, repairs=router.repair_drift)

    def _learn(self, visit: Visit, now: datetime) -> None:
        done, counts, name = visit.convergence, self._around.counts, self._router.name
        before = self.knowledge
        self._boot = visit.boot or self._boot
        if visit.has_restarted:
            self._log.warning("router has started again", entries_put_back=done.written)
            self._due[Task.SESSIONS] = self._loop.time()
        if done.written:
            counts.written[name] += done.written
            self._log.info("router entries set right", written=done.written, in_force=done.in_force)
        drifts = [drift for drift in done.drifts if self._router.repair_drift or drift not in before.drifts]
        counts.drifts[name] += len(drifts)
        for drift in drifts[:MOST_LOGGED]:
            self._log.warning("router entry changed by hand", repaired=self._router.repair_drift, **_shown(drift))
        if len(drifts) > MOST_LOGGED:
            self._log.warning("more router entries were changed by hand", entries=len(drifts) - MOST_LOGGED)
        for refusal in [each for each in done.refusals if each not in before.refusals][:MOST_LOGGED]:
            self._log.warning("router refuses an entry", key=refusal.command.key, message=refusal.message)
        conflicts = tuple(each for each in done.conflicts if each.obstacle is not Obstacle.DYNAMIC_QUEUE)
        for conflict in [each for each in conflicts if each not in before.conflicts][:MOST_LOGGED]:
            self._log.warning("router entry not kept", **_explained(conflict))
        self.knowledge = replace(
            before,
            looked_at=now,
            proven=visit.kept if done.in_force or done.refusals else before.proven,
            drifts=done.drifts,
            conflicts=done.conflicts,
            refusals=done.refusals,
        )

    # Sessions and counters

    async def _look(self, due: set[Task]) -> None:
        around, now = self._around, self._loop.time()
        classes = NO_CLASSES if self._duty is None else self._duty.classes
        members = Task.COUNTERS in due and bool(classes.lists)
        sighting = await asyncio.wrap_future(
            self._thread().submit(lambda connection: router_visit.sight(connection, around.clock, members=members))
        )
        if Task.SESSIONS in due:
            await self._compare(sighting)
            self._due[Task.SESSIONS] = now + (around.pace.confirm if self._suspects else around.pace.look)
        if Task.COUNTERS in due and self._router.api_accounting:
            self._due[Task.COUNTERS] = now + around.pace.poll
            if self._duty is not None:
                await self._count(sighting, self._duty)

    async def _compare(self, sighting: Sighting) -> None:
        around, router = self._around, self._router
        truth, unknown = await around.in_thread(router_truth.judge, around.engine, router, sighting)
        ghosts = self._suspects.confirm(truth.ghosts)
        if truth.rebooted:
            self._log.warning("router has rebooted", sessions_lost=len(truth.ghosts))
        if ghosts:
            closed = await around.in_thread(router_truth.close_ghosts, around.engine, ghosts)
            around.counts.ghosts_closed += closed
            self._log.warning(
                "sessions closed: their router has none such",
                sessions=closed,
                logins=[session.login for session in ghosts[:MOST_LOGGED]],
            )
        if unknown.adoptable and await around.bookings.book(router, unknown.adoptable, to_microseconds(around.clock())):
            around.counts.sessions_adopted += len(unknown.adoptable)
            self._log.warning("sessions adopted that their router has", sessions=len(unknown.adoptable))
        for session in [each for each in unknown.strange if each not in self.knowledge.unknown][:MOST_LOGGED]:
            self._log.warning("router has a session that the books cannot take", login=session.login, mac=session.mac)
        self.knowledge = replace(self.knowledge, unknown=unknown.strange)

    async def _count(self, sighting: Sighting, duty: Duty) -> None:
        around, router = self._around, self._router
        if self._counters is None:
            self._counters = await around.in_thread(_counter_book, around.engine, router.id)
        counters = self._counters
        if _is_blind(counters, sighting):
            self._log.warning("counters not read: the router does not say who is on line")
            return
        records = counters.poll(Counted(sighting.activity, sighting.read_us), duty.logins, duty.classes)
        packets = [accounting_request(record, flip=router.flip_counters) for record in records]
        if not packets:
            return
        if await around.bookings.book(router, packets, to_microseconds(around.clock())):
            counters.booked()
            around.counts.records_counted += len(packets)
        else:
            self._log.warning("counters of the router's API not booked yet", records=len(packets))

    # Presence

    def _lose(self, error: RouterOsError, due: set[Task]) -> None:
        """Note why the router could not be used, and come back."""
        is_away = isinstance(error, RouterOsAway)
        trouble = error.trouble.value if isinstance(error, RouterOsAway) else "refused"
        self._around.counts.troubles[self._router.name, trouble] += 1
        if self.knowledge.away_since is None:
            self._log.warning("the API of a router cannot be used", trouble=trouble, error=str(error))
            self.knowledge = replace(self.knowledge, away_since=self._around.clock(), trouble=str(error))
        elif trouble != "resting":
            self.knowledge = replace(self.knowledge, trouble=str(error))
        self._postpone(due, self._around.pace.retry if is_away else self._around.pace.refused)

    def _found(self) -> None:
        since = self.knowledge.away_since
        if since is None:
            return
        away = round((self._around.clock() - since).total_seconds(), 1)
        self._log.info("the API of a router can be used again", away_seconds=away)
        self.knowledge = replace(self.knowledge, away_since=None, trouble=None)
        self._everything_is_due()

    def _postpone(self, due: set[Task], seconds: float) -> None:
        at = self._loop.time() + seconds
        for task in due & self._due.keys():
            self._due[task] = at


def _in_force(visit: Visit, duty: Duty, *, repairs: bool) -> dict[int, bytes]:
    """Return the fingerprints of the lines of which everything was read back as it should be."""
    done = visit.convergence
    if not done.in_force and not done.refusals:
        return {}
    keys = [each.key for each in done.conflicts] + [each.command.key for each in done.refusals]
    keys += [] if repairs else [each.key for each in done.drifts]
    services = {service_of_key(key) for key in keys}
    if None in services:
        return {}
    return {service_id: told for service_id, told in duty.fingerprints.items() if service_id not in services}


def _is_blind(counters: CounterBook, sighting: Sighting) -> bool:
    """Tell whether the router withholds a menu in which sessions are counted."""
    if counters.counts(Source.PPP) and not sighting.shows_ppp:
        return True
    return counters.counts(Source.HOTSPOT) and sighting.activity.hotspot is None


def _counter_book(engine: sqlalchemy.Engine, router_id: int) -> CounterBook:
    with engine.connect() as connection:
        return CounterBook(
            router_duties.counted_sessions(connection, router_id),
            was_counted=router_duties.was_counted(connection, router_id),
        )


def _shown(drift: Drift) -> dict[str, str]:
    shown = {"menu": drift.menu.value, "key": drift.key, "change": drift.kind.value}
    if drift.property:
        shown |= {"property": drift.property, "wanted": drift.wanted, "found": drift.found}
    return shown


def _explained(conflict: Conflict) -> dict[str, str]:
    return {"menu": conflict.menu.value, "key": conflict.key, "obstacle": conflict.obstacle.value}
