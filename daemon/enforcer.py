"""The active core's enforcement: hears what happened, has it evaluated, and sets the lines to work.

Rule: NOTIFY only wakes and timers only wake; what is to be done stands in the database, so a core that begins asks it
for everything: what is in the outbox, which lines are due, which are not proven, which nobody has looked at yet. While
it works the same questions are asked again now and then, for what a lost notification would have left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from random import Random
from time import time
from typing import Any, TypeVar

import psycopg2
import sqlalchemy
import structlog
from sqlalchemy.engine import Connection, Engine

from config.settings import EnforcementSettings
from daemon.enforcement_api import RouterApis
from daemon.enforcement_evaluation import Evaluated, Evaluator, SnapshotIsOld, Unpaid
from daemon.enforcement_keeper import LineKeeper
from daemon.enforcement_lines import Lines
from daemon.enforcement_orders import Order
from daemon.enforcement_report import EnforcementCounts, EnforcementNow
from daemon.enforcement_routers import RouterLanes, Site, find_site
from daemon.enforcement_snapshot import SnapshotKeeper
from daemon.enforcement_wanted import LONGEST_LEAVING_TIME
from daemon.foreign_changes import ForeignChanges
from daemon.raised_limits import RaisedLimits
from daemon.relayed_requests import STANDS_BY, Found, RelayedRequests
from daemon.router_keepers import RouterKeepers
from domain.errors import CaudalError, one_line
from enforcement.drivers.coa import CoaClient, Outcome
from enforcement.drivers.coa_ports import CannotSend
from radius.codes import Code
from radius.dynamic_authorization import DynamicRequest
from storage import lines as line_rows
from storage import open_sessions, outbox
from storage.outbox import CHANNEL
from storage.pipeline import PipelineConnection
from storage.vault import Vault

POLL_SECONDS = 1.0
"""Makes up for a notification that was lost; the next due moment wakes earlier."""
STRAYS_SECONDS = 60.0
"""How often lines are looked for that nobody works at, and sessions that nobody has looked at."""
RETRY_SECONDS = 0.5
DUE_AT_ONCE = 500
PAGE = 500
THREADS = 3
"""One evaluates, one keeps, one asks: none of them has to wait for the other."""

NEVER = datetime.max.replace(tzinfo=UTC)
FAILURES = (CaudalError, psycopg2.Error, sqlalchemy.exc.SQLAlchemyError)
"""What passes when the database is back."""

Result = TypeVar("Result")
Strays = Callable[[Connection, datetime, int, int], list[tuple[int, int]]]
"""Finds a page of (session, service), by an instant, beyond a session."""


class Enforcer:
    """Enforcement on one core; `lead` runs while this core is the active one."""

    def __init__(
        self,
        engine: Engine,
        dsn: str,
        vault: Vault,
        keeper: SnapshotKeeper,
        routers: RouterKeepers,
        *,
        settings: Callable[[], EnforcementSettings],
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._configuration = keeper
        self._routers = routers
        self._settings = settings
        self._clock = clock
        self._connection = PipelineConnection(dsn, {}, application_name="caudal core enforcement")
        self._connection.on_notify = self._hear
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="enforcement")
        self._evaluator = Evaluator(engine, vault.derive(b"class"), clock)
        self._revision = -1
        self._awake = asyncio.Event()
        keeper.on_change = self._awake.set
        self._is_active = False
        self._relayed: RelayedRequests | None = None
        self._foreign: ForeignChanges | None = None
        self._limits: RaisedLimits | None = None
        self._lines: Lines | None = None
        self._lanes: RouterLanes | None = None
        self._apis: RouterApis | None = None
        self._outbox_age: float | None = None
        self._due_at = NEVER
        self._told_unpaid: set[tuple[date, Unpaid]] = set()
        self._evaluating = asyncio.Lock()
        self._begun = asyncio.Event()
        self._log = structlog.get_logger()
        self.counts = EnforcementCounts()

    def now(self) -> EnforcementNow:
        """Return how enforcement stands, for the metrics."""
        if self._lines is None or self._lanes is None:
            return EnforcementNow(is_active=self._is_active)
        return EnforcementNow(
            self._is_active, self._lines.problems(), self._lanes.waiting, self._lanes.away, self._outbox_age
        )

    @property
    def is_active(self) -> bool:
        """Tell whether this core enforces."""
        return self._is_active

    async def send(self, found: Found, request: DynamicRequest) -> Outcome:
        """Send another system's request through the queue of its router, as our own go.

        What a CoA-Request may have changed is proven anew, also when this core dies before it is answered.
        """
        if self._relayed is None or self._foreign is None:
            raise CannotSend(STANDS_BY)
        if request.code is not Code.COA_REQUEST:
            return await self._relayed.send(found, request)
        return await self._foreign.send(found, request, self._relayed.send)

    def reload(self) -> None:
        """Go on at the rates that are configured now, also with what waits already."""
        if self._lanes is not None:
            self._lanes.reconfigure()

    async def lead(self) -> None:
        """Enforce until cancelled."""
        loop = asyncio.get_running_loop()
        coa = CoaClient(
            loop,
            clock=time,
            random=Random(),  # noqa: S311 - spreads retransmissions
            traffic=self.counts.coa,
        )
        apis = self._apis = self._routers
        keeper = LineKeeper(self._engine, self.counts, self._in_thread)
        lanes = RouterLanes(
            loop,
            routers=lambda: self._configuration.snapshot.routers,
            per_second=lambda: self._settings().coa_per_second,
        )
        self._lanes = lanes
        self._lines = Lines(
            coa,
            apis,
            keeper,
            self.counts,
            find_site=self._find_site,
            find_lane=lambda order: lanes.find((order.router_id, order.nas)),
            clock=self._clock,
        )
        relayed = self._relayed = RelayedRequests(coa.send, lanes.find)
        self._foreign = ForeignChanges(
            self._engine, self._in_thread, self._lines, keeper, is_active=lambda: self._is_active
        )
        limits = self._limits = RaisedLimits(
            relayed.send, lambda box: find_site(self._configuration.snapshot.routers, box)
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keeper.run())
                tasks.create_task(self._routers.run())
                tasks.create_task(self._work(self._lines, lanes))
                tasks.create_task(self._seek_strays(self._lines, apis))
        finally:
            self._is_active = False
            self._lines.close()
            limits.close()
            relayed.close()
            lanes.close()
            coa.close()
            apis.close()
            self._connection.close()
            self._relayed = self._foreign = self._limits = self._lines = self._lanes = self._apis = None
            self._revision = -1
            self._begun.clear()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _find_site(self, order: Order) -> Site | None:
        return find_site(self._configuration.snapshot.routers, (order.router_id, order.nas))

    def _hear(self, _channel: str) -> None:
        self._awake.set()

    def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _work(self, lines: Lines, lanes: RouterLanes) -> None:
        """Do what is to be done, and sleep until there is more."""
        while True:
            try:
                await self._make_ready(lanes)
                self._awake.clear()
                evaluated = await self._evaluate(self._evaluator.take)
                self._set_to_work(lines, evaluated)
                # What time changes takes turns with what happened, so that neither has to wait for all of the other.
                if self._clock() >= self._due_at:
                    await self._look_at_due(lines)
                elif not evaluated.events:
                    await self._sleep()
            except SnapshotIsOld:
                await self._configuration.refresh()
            except FAILURES as error:
                self._log.warning("enforcement waits for the database", error=one_line(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _make_ready(self, lanes: RouterLanes) -> None:
        """Listen before anything is asked, so that nothing can happen unheard, and decide by the newest plans."""
        if not self._connection.is_open:
            await self._connection.open(f"LISTEN {CHANNEL}")
            await self._configuration.refresh()
        snapshot = self._configuration.snapshot
        if snapshot.revision == self._revision:
            return
        await self._evaluate(self._evaluator.configure, snapshot)
        self._revision = snapshot.revision
        lanes.reconfigure()
        if not self._is_active:
            await self._evaluate(self._evaluator.begin)
            self._is_active = True
            self._due_at = self._clock()
            self._begun.set()
            self._log.info("enforcement begins", revision=snapshot.revision)

    async def _evaluate(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Let the evaluator do something; it does one thing at a time."""
        async with self._evaluating:
            return await self._in_thread(work, *arguments)

    async def _look_at_due(self, lines: Lines) -> None:
        """Compute anew what time has changed; once nothing is due, find out when it will be."""
        now = self._clock()
        services, next_at = await self._in_thread(self._read_due, now)
        self._due_at = now if services else next_at or NEVER
        if services:
            self._set_to_work(lines, await self._evaluate(self._evaluator.look_at, services, now))

    async def _sleep(self) -> None:
        self._outbox_age = await self._in_thread(self._read_outbox_age)
        pause = min(POLL_SECONDS, (self._due_at - self._clock()).total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, pause)):
                await self._awake.wait()

    async def _seek_strays(self, lines: Lines, apis: RouterApis) -> None:
        """Set to work, first of all and then now and then, what is unproven and what nobody has looked at."""
        await self._begun.wait()
        while True:
            try:
                await self._look_for_unproven(lines)
                await self._look_for(lines, line_rows.unwatched, self._clock())
                await self._look_for(lines, line_rows.lingering, self._clock() - LONGEST_LEAVING_TIME)
                await self._in_thread(self._forget_closed)
                await apis.tidy(self._sites(), self._find_open)
            except SnapshotIsOld:
                await self._configuration.refresh()
            except FAILURES as error:
                self._log.warning("unproven lines not read", error=one_line(error))
            await asyncio.sleep(STRAYS_SECONDS)

    def _set_to_work(self, lines: Lines, evaluated: Evaluated) -> None:
        counts = self.counts
        counts.evaluated += len(evaluated.services)
        counts.top_ups_bought += evaluated.top_ups_bought
        counts.warnings += len(evaluated.warned)
        for warned in evaluated.warned:
            what = (
                "overage reached a warning mark of its ceiling" if warned.of_ceiling else "cap reached a warning mark"
            )
            self._log.info(what, login=warned.login, percent=warned.percent)
        for each in evaluated.top_ups:
            self._log.info("top-up bought", login=each.login, top_up=each.offer, origin="automatic", number=each.number)
        self._tell_unpaid(evaluated.top_ups_refused)
        if evaluated.next_at is not None:
            self._due_at = min(self._due_at, evaluated.next_at)
        lines.withdraw(evaluated.closed)
        self._routers.services_changed(evaluated.services)
        if self._apis is not None:
            self._apis.forget(evaluated.closed)
        for order in evaluated.orders:
            lines.take(order)
        if self._limits is not None:
            self._limits.tell(evaluated.raised)

    def _tell_unpaid(self, unpaid: Iterable[Unpaid]) -> None:
        """Log top-ups that cannot be paid: each once a day, however often they are wished for."""
        today = self._clock().date()
        self._told_unpaid = {(day, each) for day, each in self._told_unpaid if day == today}
        for each in unpaid:
            if (today, each) not in self._told_unpaid:
                self._told_unpaid.add((today, each))
                self._log.warning("top-up not bought", login=each.login, top_up=each.offer, reason=each.reason)

    async def _look_for_unproven(self, lines: Lines) -> None:
        after = (0, 0)
        while page := await self._in_thread(self._read_unproven, after):
            after = page[-1][:2]
            await self._look_at({service for _, session, service in page if session not in lines}, lines)

    async def _look_for(self, lines: Lines, find: Strays, instant: datetime) -> None:
        session = 0
        while page := await self._in_thread(self._read_strays, find, instant, session):
            session = page[-1][0]
            await self._look_at({service for _, service in page}, lines)

    async def _look_at(self, services: set[int], lines: Lines) -> None:
        if services:
            self._set_to_work(lines, await self._evaluate(self._evaluator.look_at, services, self._clock()))

    def _sites(self) -> list[Site]:
        """Return the routers that are one box, as they are reached now."""
        routers = self._configuration.snapshot.routers
        found = (find_site(routers, (router.id, "")) for router in routers.values() if router.api is not None)
        return [site for site in found if site is not None]

    async def _find_open(self, session_ids: Collection[int]) -> Collection[int]:
        return await self._in_thread(self._read_open, session_ids)

    def _read_open(self, session_ids: Collection[int]) -> set[int]:
        with self._engine.connect() as connection:
            return open_sessions.still_open(connection, session_ids)

    def _read_due(self, now: datetime) -> tuple[list[int], datetime | None]:
        with self._engine.connect() as connection:
            services = line_rows.due(connection, now, DUE_AT_ONCE)
            return services, None if services else line_rows.next_due(connection)

    def _read_outbox_age(self) -> float:
        with self._engine.connect() as connection:
            oldest = outbox.backlog(connection).oldest_at
        return 0.0 if oldest is None else max(0.0, (self._clock() - oldest).total_seconds())

    def _read_unproven(self, after: tuple[int, int]) -> list[tuple[int, int, int]]:
        with self._engine.connect() as connection:
            page = line_rows.unproven(connection, after=after, limit=PAGE)
        return [(each.line.router_id, each.line.session_id, each.line.service_id) for each in page]

    def _read_strays(self, find: Strays, instant: datetime, after: int) -> list[tuple[int, int]]:
        with self._engine.connect() as connection:
            return find(connection, instant, after, PAGE)

    def _forget_closed(self) -> None:
        with self._engine.begin() as connection:
            line_rows.forget_closed(connection)
