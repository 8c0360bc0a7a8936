"""The keepers of all routers whose API is open to us, on the active core.

Rule: a router has one thread and one connection, which its keeper and the lines at work share. Keepers come and go with
the configuration. What an entry for a whole network stands for nobody knows, so only single boxes are kept.

Lines that an API counts have no session that CoA could change: what they may do stands in the router's own entries, so
they are proven by a visit of the keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from sqlalchemy.engine import Engine

from daemon.enforcement_api import RouterApis
from daemon.enforcement_orders import Order
from daemon.enforcement_routers import Site, find_site
from daemon.router_accounting import Bookings
from daemon.router_keeper import Pace, RouterKeeper, Surroundings
from daemon.router_report import RouterCounts, RouterKnowledge, RoutersNow
from domain.network import Router
from enforcement.drivers.connection_watch import ConnectionWatch
from enforcement.drivers.routeros import RouterConnection, RouterThread
from enforcement.drivers.routeros_channel import Channel, Endpoint
from enforcement.profiles import PROFILES
from enforcement.reconcile import OutcomeKind
from storage.router_duties import COUNTED_QUEUE
from storage.snapshot import Snapshot

THREADS = 2
"""For the database: while one computes what a large router has to hold, the other serves the rest."""
START_GAP_SECONDS = 0.01
"""Between the first visits to two routers."""
TICK_SECONDS = 1.0
"""How often the configuration's revision is compared; `configuration_changed` wakes at once."""

Result = TypeVar("Result")


class RouterKeepers(RouterApis):
    """Keeps every router; `run` runs while this core is the active one, `close` ends the threads after it."""

    def __init__(
        self,
        engine: Engine,
        dsn: str,
        class_key: bytes,
        *,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], datetime],
        pace: Pace = Pace(),  # noqa: B008 - a frozen value
    ) -> None:
        self._engine = engine
        self._dsn = dsn
        self._class_key = class_key
        self._snapshot = snapshot
        self._clock = clock
        self._pace = pace
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="routers")
        super().__init__(self._threads)
        self._keepers: dict[int, RouterKeeper] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._watch = ConnectionWatch()
        self.counts = RouterCounts()

    async def run(self) -> None:
        """Keep routers until cancelled."""
        bookings = Bookings(self._dsn, self._class_key)
        around = Surroundings(
            self._engine, self._in_thread, bookings, self.counts, self._snapshot, self._clock, self._pace
        )
        known: Snapshot | None = None
        loop = asyncio.get_running_loop()
        loop.add_reader(self._watch.fileno(), self._watch.read)
        try:
            while True:
                self._changed.clear()
                if self._snapshot() is not known:
                    known = self._snapshot()
                    self._follow(known, around)
                await self._wait()
        finally:
            loop.remove_reader(self._watch.fileno())
            await self._drop(list(self._keepers))
            bookings.close()

    def end(self) -> None:
        """Let the threads that wait for the database end; nothing is kept any more."""
        self._threads.shutdown(wait=False)
        self._watch.close()

    def configuration_changed(self) -> None:
        """Compare at once who is to be kept."""
        self._changed.set()

    def services_changed(self, service_ids: Iterable[int]) -> None:
        """Visit the routers at which one of the services may be a static line: it may do something else now."""
        ids = frozenset(service_ids)
        for keeper in self._keepers.values():
            if keeper.concerns(ids):
                keeper.wake()

    async def in_force(self, name: str) -> Mapping[int, bytes] | None:
        """Visit a router, and return what was read back to be in force; None when that failed, or it is not kept.

        Fingerprints by service, of the lines that its own entries limit.
        """
        for keeper in self._keepers.values():
            if keeper.router.name == name:
                return await keeper.in_force()
        return None

    def now(self) -> RoutersNow:
        """Return how the routers are, for the metrics."""
        known = {keeper.router.name: keeper.knowledge for keeper in self._keepers.values()}
        return RoutersNow(
            away=tuple(sorted(name for name, each in known.items() if each.away_since is not None)),
            drifted={name: len({(drift.menu, drift.key) for drift in each.drifts}) for name, each in known.items()},
            unkept={name: len(each.conflicts) + len(each.refusals) for name, each in known.items()},
        )

    def knowledge(self, router_id: int) -> RouterKnowledge | None:
        """Return what the last visits to a router brought; None where this core keeps it not."""
        keeper = self._keepers.get(router_id)
        return None if keeper is None else keeper.knowledge

    # What the lines at work ask

    async def read_back(self, site: Site, order: Order) -> OutcomeKind:
        """Tell READ_BACK_MATCHES, READ_BACK_DIFFERS, GONE or API_FAILED."""
        if not _is_counted(order):
            return await super().read_back(site, order)
        outcome = await self._prove(site, order)
        if outcome is OutcomeKind.READ_BACK_MATCHES and not order.state.admitted:
            # A line without session is ended by what its router holds for it.
            return OutcomeKind.GONE
        return outcome

    async def change(self, site: Site, order: Order) -> OutcomeKind:
        """Set what CoA does not carry; tell API_OK, API_FAILED or GONE."""
        return await self._set(site, order) if _is_counted(order) else await super().change(site, order)

    async def kick(self, site: Site, order: Order) -> OutcomeKind:
        """End a session; tell API_OK, API_FAILED or GONE."""
        return await self._set(site, order) if _is_counted(order) else await super().kick(site, order)

    async def _set(self, site: Site, order: Order) -> OutcomeKind:
        outcome = await self._prove(site, order)
        return OutcomeKind.API_OK if outcome is OutcomeKind.READ_BACK_MATCHES else OutcomeKind.API_FAILED

    async def _prove(self, site: Site, order: Order) -> OutcomeKind:
        """Visit the router and tell whether the line of `order` was read back to be what is desired."""
        keeper = self._keepers.get(site.router.id)
        told = None if keeper is None else await keeper.in_force()
        if told is None:
            return OutcomeKind.API_FAILED
        if told.get(order.service_id) == order.state.desired:
            return OutcomeKind.READ_BACK_MATCHES
        return OutcomeKind.READ_BACK_DIFFERS

    # Who is kept

    def _follow(self, snapshot: Snapshot, around: Surroundings) -> None:
        """Begin to keep, go on to keep, and keep no longer."""
        wanted = {router.id: router for router in snapshot.routers.values() if is_kept(router)}
        for router_id in [router_id for router_id in self._keepers if router_id not in wanted]:
            self._keepers.pop(router_id)
            self._tasks.pop(router_id).cancel()
        self._leave(snapshot.routers)
        delay = 0.0
        for router_id, router in wanted.items():
            keeper = self._keepers.get(router_id)
            if keeper is not None:
                keeper.reconfigure(router)
                continue
            keeper = self._keepers[router_id] = RouterKeeper(router, self._find_thread(router_id), around)
            self._tasks[router_id] = asyncio.create_task(keeper.run(delay))
            delay += START_GAP_SECONDS

    def _find_thread(self, router_id: int) -> Callable[[], RouterThread]:
        def find() -> RouterThread:
            site = find_site(self._snapshot().routers, (router_id, ""))
            if site is None:
                raise ValueError(f"router {router_id} is no longer configured")
            api = self._find(site)
            if api is None:
                raise ValueError(f"router {site.router.name} has no API that is open to us")
            return api.thread

        return find

    def _connect(self, router: Router, endpoint: Endpoint) -> RouterConnection:
        def opened(channel: Channel) -> None:
            self._watch.follow(channel.fileno(), partial(self._connection_ended, router.id))

        return RouterConnection(endpoint, opened=opened)

    def _connection_ended(self, router_id: int) -> None:
        keeper = self._keepers.get(router_id)
        if keeper is not None:
            keeper.connection_ended()

    def _leave(self, routers: Mapping[int, Router]) -> None:
        """End the threads of routers that are gone, are no longer open to us or have moved."""
        for key in [key for key in self._apis if not _is_there(routers.get(key[0]), key[1])]:
            self._executor.submit(self._apis.pop(key).thread.close)

    async def _drop(self, router_ids: Collection[int]) -> None:
        tasks = [self._tasks.pop(router_id) for router_id in router_ids]
        for router_id in router_ids:
            self._keepers.pop(router_id)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def is_kept(router: Router) -> bool:
    """Tell whether a router is one box whose API is open to us."""
    return router.api is not None and not router.is_range and PROFILES[router.profile].api


def _is_there(router: Router | None, host: str) -> bool:
    """Tell whether a router still answers us at `host`."""
    if router is None or router.api is None:
        return False
    return ip_address(host) in ip_network(router.network)


def _is_counted(order: Order) -> bool:
    """Tell whether a line is one that a queue of ours counts."""
    return (order.names.acct_session_id or "").startswith(COUNTED_QUEUE)
