"""The composition root: joins database, workers, control API, metrics and jobs, and takes them apart again.

Rule: nothing is decided here. The order is: database, schema, configuration, workers, doors; and back the same way, so
that what was answered is committed and what is not committed was never answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from sqlalchemy.engine import Engine

from billing.card_gateway import CardGateway
from config import settings as configuration
from config.settings import Settings
from control import api
from control.ports import ControlPorts, RuntimeStatus
from control.server import ControlServer
from control.socket_path import NAME as CONTROL_SOCKET
from daemon import card_gateway, card_webhook, demonstration, event_loop, invoice_runner, logs, metrics_http
from daemon.billing_day import BillingDay
from daemon.coa_relay import CoaRelay
from daemon.database_keeper import DatabaseKeeper
from daemon.datagrams import DatagramSocket, await_port
from daemon.enforcement_snapshot import SnapshotKeeper
from daemon.enforcer import Enforcer
from daemon.jobs import Jobs
from daemon.leadership import Leadership
from daemon.listeners import listeners
from daemon.metrics import CoreGauges, Metrics
from daemon.part import Part, exclusively
from daemon.relayed_sessions import RelayedSessions
from daemon.release import VERSION
from daemon.router_checkup import RadiusPorts, RouterCheckup
from daemon.router_keepers import RouterKeepers
from daemon.service_manager import ServiceManager
from daemon.vault_location import key_exists, open_vault
from daemon.worker import Errand, now_us
from daemon.workers import WorkerKeeper
from domain.errors import CaudalError
from domain.secret import Secret
from storage import migrate, provisioning
from storage.database import create_engine
from storage.housekeeping import Gauges
from storage.pipeline import PipelineConnection
from storage.usage import usage
from storage.vault import KEY_FILE, Vault

BEAT_SECONDS = 1.0
"""How often the gauges and the watchdog are fed; systemd asks for half its interval, which is 30 seconds."""
COUNTS_FRESH_SECONDS = 15.0
"""The database is asked for its gauges every 5 seconds; older ones mean that it does not answer."""
IN_FORCE_SECONDS = 2.0
"""How long a change waits for the workers; one that cannot take it over says why in the log."""
LEFT_BEHIND_SECONDS = 0.3
"""A thread that still waits for a database which does not answer is left behind after this."""


class ServeError(CaudalError):
    """The daemon cannot run here."""


def run(config: Path | None, data: Path, demo: bool, part: Part = Part.ALL) -> None:
    """Serve in the foreground until SIGINT or SIGTERM; raise `CaudalError` when that cannot begin."""
    settings = configuration.load(config)
    logs.configure(settings.log.level, settings.log.format)
    with exclusively(data, part):
        reactor = event_loop.install()
        daemon = Daemon(reactor, settings, config, data, part, demo=demo)
        loop = asyncio.get_event_loop()
        reactor.callWhenRunning(lambda: loop.create_task(daemon.run()))
        reactor.run(installSignalHandlers=False)  # type: ignore[no-untyped-call]  # Twisted's method is untyped
        _leave_threads_behind(0 if daemon.failure is None else 1)
        if daemon.failure is not None:
            raise daemon.failure


def _leave_threads_behind(status: int) -> None:
    """Let the process end with `status` even when threads of its pools do not; the interpreter would wait for them."""
    guard = threading.Timer(LEFT_BEHIND_SECONDS, os._exit, (status,))
    guard.daemon = True
    guard.start()


class Daemon:
    """One running installation, or a part of it."""

    def __init__(
        self, reactor: Any, settings: Settings, config: Path | None, data: Path, part: Part, *, demo: bool
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._config = config
        self._data = data
        self._part = part
        self._demo = demo
        self._log = structlog.get_logger()
        self._started_at = datetime.now(UTC)
        self._database = DatabaseKeeper(settings.database.url, data, is_ours=part.has_core)
        self._metrics = Metrics(VERSION, has_workers=part.has_workers)
        self._workers = WorkerKeeper(reactor, self._take_report)
        self._manager = ServiceManager()
        self._reached: dict[int, bool] = {}
        self._revisions: dict[int, int] = {}
        self._reported = asyncio.Event()
        self._receiving_since = self._started_at
        self._enforcer: Enforcer | None = None
        self._relay: CoaRelay | None = None
        self._routers: RouterKeepers
        self._gauges: Gauges | None = None
        self._gauges_at = 0.0
        self._stale_closed = 0
        self._is_ready = False
        self._end = asyncio.Event()
        self._undo = contextlib.AsyncExitStack()
        self.failure: CaudalError | None = None

    async def run(self) -> None:
        """Start, serve, stop."""
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._end.set)
            loop.add_signal_handler(signal.SIGHUP, self._reload)
            async with self._undo:
                if await self._unless_ended(self._start()):
                    await self._end.wait()
                if sys.stderr.isatty():
                    # The terminal has shown ^C where the next line would begin.
                    print(file=sys.stderr)  # noqa: T201
                self._log.info("stopping")
                self._manager.stopping()
            self._log.info("stopped")
            if self._demo:
                print(demonstration.farewell(self._data), flush=True)  # noqa: T201
        except CaudalError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - any defect
            self._log.exception("the daemon failed")
            self.failure = ServeError(f"a defect ended the daemon: {error!r}; please report it with the log above")
        self._reactor.stop()

    async def _unless_ended(self, start: Coroutine[Any, Any, None]) -> bool:
        """Start; return False when the end was asked for meanwhile."""
        starting = asyncio.create_task(start)
        end = asyncio.create_task(self._end.wait())
        await asyncio.wait({starting, end}, return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return False
        starting.result()
        return True

    async def _start(self) -> None:
        radius = self._settings.radius
        for port in (radius.auth_port, radius.acct_port) if self._part.has_workers else ():
            await await_port(radius.listen, port)
        engine = await self._open_database()
        vault = open_vault(self._data)
        gateway = card_gateway.create(self._settings.cards) if self._part.has_core else None
        jobs = self._jobs(engine, gateway) if self._part.has_core else None
        if jobs is not None:
            await asyncio.to_thread(jobs.prepare)
        if self._demo:
            await asyncio.to_thread(demonstration.provision, engine, vault)
        if self._part.has_workers:
            await self._start_workers()
        for work in (self._database.keep(), self._beat()):
            self._undo.callback(asyncio.create_task(work).cancel)
        metrics = self._settings.metrics
        port = metrics.port if self._part.has_core else metrics.radius_port
        page = metrics_http.listen(self._reactor, self._metrics, metrics.listen, port)
        self._undo.callback(page.stopListening)
        if jobs is not None:
            await self._start_core(engine, vault, jobs, gateway)
        self._announce()

    async def _open_database(self) -> Engine:
        """Start the database, or wait for it; bring its schema up to date, and refuse one whose key is not here."""
        self._manager.status("starting the database")
        self._undo.push_async_callback(self._database.stop)
        await self._database.start()
        engine = create_engine(self._database.dsn)
        self._undo.callback(engine.dispose)
        await asyncio.to_thread(migrate.migrate, engine)
        if not key_exists(self._data) and await asyncio.to_thread(provisioning.has_secrets, engine):
            raise ServeError(
                f"the database holds secrets, and {self._data / KEY_FILE}, the key to them, is missing; "
                "restore it from a backup"
            )
        return engine

    def _jobs(self, engine: Engine, gateway: CardGateway | None) -> Jobs:
        day = BillingDay(engine, partial(self._bill, engine), lambda on: invoice_runner.see(self._database.dsn, on))
        return Jobs(engine, lambda: self._settings, lambda: self._receiving_since, self._take_counts, day, gateway)

    async def _start_core(self, engine: Engine, vault: Vault, jobs: Jobs, gateway: CardGateway | None) -> None:
        """Enforce, do what the clock asks for, and open the doors but those of RADIUS."""
        settings = self._settings
        jobs.start()
        self._undo.callback(jobs.stop)
        snapshots = await self._start_enforcement(engine, vault)
        self._start_relay(engine, snapshots)
        ports = ControlPorts(
            engine,
            vault,
            self._status,
            partial(self._await_in_force, engine),
            usage,
            lambda: datetime.now(UTC),
            lambda: snapshots.snapshot,
            RouterCheckup(
                engine,
                snapshot=lambda: snapshots.snapshot,
                knowledge=self._routers.knowledge,
                ports=RadiusPorts(settings.radius.auth_port, settings.radius.acct_port),
                clock=lambda: datetime.now(UTC),
            ),
            lambda on: invoice_runner.bill(engine, self._database.dsn, on, runners=invoice_runner.usual_runners()),
            gateway,
            jobs.day.live,
        )
        self._start_webhook(engine)
        door = self._data / CONTROL_SOCKET
        server = ControlServer(api.create(ports), Path(settings.control.socket or door), known_as=door)
        await server.start()
        self._undo.push_async_callback(server.stop)

    def _start_webhook(self, engine: Engine) -> None:
        """Take the messages of the gateway of cards, where they are signed."""
        cards = self._settings.cards
        if not cards.gateway or not cards.webhook_port:
            return
        secret = card_gateway.read_secret(cards.webhook_key_file, card_gateway.WEBHOOK_CREDENTIAL)
        if secret is None:
            raise ServeError("[cards] webhook_port needs webhook_key_file, or a systemd credential of its name")
        page = card_webhook.listen(self._reactor, engine, secret, cards.webhook_listen, cards.webhook_port)
        self._undo.callback(page.stopListening)

    def _bill(self, engine: Engine, on: date, only_prepaid: bool) -> None:
        """Bill a day, as its job asks for it."""
        told = invoice_runner.bill_all(engine, self._database.dsn, on, only_prepaid=only_prepaid)
        self._log.info("billed", day=on.isoformat(), accounts=told.accounts, parked=told.parked)

    async def _start_workers(self) -> None:
        settings = configuration.document(self._settings)
        errands = [
            Errand(index, str(self._data), settings, self._database.dsn)
            for index in range(self._settings.radius.workers)
        ]
        self._undo.push_async_callback(self._workers.stop)
        if not await self._workers.start(errands):
            raise ServeError("the RADIUS workers did not come up; their reason stands in the log above")

    async def _start_enforcement(self, engine: Engine, vault: Vault) -> SnapshotKeeper:
        """Seek to be the active core, and enforce while this is it; return the configuration that it goes by."""
        dsn = self._database.dsn
        snapshots = SnapshotKeeper(PipelineConnection(dsn, {}, application_name="caudal core setup"), vault)
        routers = self._routers = RouterKeepers(
            engine,
            dsn,
            vault.derive(b"class"),
            snapshot=lambda: snapshots.snapshot,
            clock=lambda: datetime.now(UTC),
        )
        enforcer = self._enforcer = Enforcer(
            engine,
            dsn,
            vault,
            snapshots,
            routers,
            settings=lambda: self._settings.enforcement,
            clock=lambda: datetime.now(UTC),
        )
        leadership = Leadership(PipelineConnection(dsn, {}, application_name="caudal core leader"), enforcer.lead)
        await snapshots.first()
        tasks = {asyncio.create_task(work) for work in (snapshots.run(), leadership.run())}

        async def stop() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            enforcer.close()
            routers.end()

        self._undo.push_async_callback(stop)
        return snapshots

    def _start_relay(self, engine: Engine, snapshots: SnapshotKeeper) -> None:
        """Take CoA- and Disconnect-Requests of other systems, where some are configured."""
        radius = self._settings.radius
        if not radius.coa_clients or not radius.coa_client_secret:
            return
        loop = asyncio.get_running_loop()
        enforcer = self._enforcer
        assert enforcer is not None
        secret = Secret.from_text(radius.coa_client_secret)
        relay = self._relay = CoaRelay(
            DatagramSocket(
                self._reactor, radius.listen, radius.coa_port, receive_buffer_octets=radius.receive_buffer_octets
            ),
            [(address, secret) for address in radius.coa_clients],
            find=RelayedSessions(engine, lambda: snapshots.snapshot.routers).find,
            forward=enforcer,
            clock=now_us,
            loop=loop,
            is_active=lambda: enforcer.is_active,
        )
        relay.start()
        self._undo.callback(relay.close)

    def _announce(self) -> None:
        """Tell systemd, the log and, in a demonstration, the person in front of it."""
        radius = self._settings.radius
        self._is_ready = True
        if self._part.has_workers:
            self._manager.ready(f"serving RADIUS on {radius.listen} UDP {radius.auth_port} and {radius.acct_port}")
            self._log.info("ready", listen=radius.listen, auth_port=radius.auth_port, acct_port=radius.acct_port)
        else:
            self._manager.ready("serving all but RADIUS")
            self._log.info("ready", part=self._part.value)
        if self._demo:
            fleet = demonstration.SimulatedFleet(self._reactor, self._settings)
            fleet.start()
            self._undo.callback(fleet.stop)
            print(*demonstration.welcome(self._settings, self._data), sep="\n", flush=True)  # noqa: T201

    def _reload(self) -> None:
        """Read the configuration again and bring into force what needs no restart."""
        if not self._is_ready:
            self._log.warning("configuration not reloaded: the daemon is still starting, send SIGHUP again")
            return
        self._manager.reloading()
        try:
            fresh = configuration.load(self._config)
        except CaudalError as error:
            self._log.error("configuration not reloaded", error=str(error))
            self._manager.ready("serving; the last reload was refused, see the log")
            return
        waiting = configuration.restart_keys(self._settings, fresh)
        self._settings = configuration.in_force(self._settings, fresh)
        logs.configure(fresh.log.level, fresh.log.format)
        self._workers.reload(configuration.document(self._settings))
        if self._enforcer is not None:
            self._enforcer.reload()
        self._log.info("configuration reloaded", needs_restart=list(waiting))
        self._manager.ready("serving; configuration reloaded")

    async def _beat(self) -> None:
        """Feed the watchdog and the gauges, whether the database answers or not."""
        while True:
            self._manager.alive()
            self._metrics.take_core(self._core_gauges())
            if self._enforcer is not None:
                self._metrics.take_enforcement(self._enforcer.counts, self._enforcer.now())
            if self._relay is not None:
                self._metrics.take_relay(self._relay.traffic)
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def _workers_reach(self) -> bool:
        return bool(self._reached) and all(self._reached.values())

    @property
    def _counts(self) -> Gauges | None:
        """What the database counted lately; None while it does not answer."""
        return self._gauges if monotonic() - self._gauges_at < COUNTS_FRESH_SECONDS else None

    @property
    def _database_is_there(self) -> bool:
        return self._workers_reach if self._part.has_workers else self._counts is not None

    def _take_report(self, index: int, report: Any) -> None:
        was_there = self._workers_reach
        self._reached[index] = bool(report["database"])
        if self._workers_reach and not was_there:
            # What was silent while nothing could be stored is not stale.
            self._receiving_since = datetime.now(UTC)
        self._metrics.take(index, report)
        self._revisions[index] = report["revision"]
        self._reported.set()

    async def _await_in_force(self, engine: Engine) -> None:
        """Wait until every worker answers by the configuration that is stored now."""
        revision = await asyncio.to_thread(provisioning.revision, engine)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IN_FORCE_SECONDS):
                while min(self._revisions.values(), default=revision) < revision:
                    self._reported.clear()
                    await self._reported.wait()

    def _take_counts(self, counts: Gauges | None, stale_sessions_closed: int) -> None:
        if counts is not None and self._counts is None and not self._part.has_workers:
            # The workers elsewhere could store nothing either.
            self._receiving_since = datetime.now(UTC)
        self._gauges, self._gauges_at, self._stale_closed = counts, monotonic(), stale_sessions_closed

    def _core_gauges(self) -> CoreGauges:
        workers = self._workers.status()
        counts = self._counts
        return CoreGauges(
            open_sessions=None if counts is None else counts.open_sessions,
            unrolled_facts=None if counts is None else counts.unrolled_facts,
            database_octets=None if counts is None else counts.database_octets,
            database_up=self._database_is_there and (counts is not None or not self._part.has_core),
            database_restarts=self._database.restarts,
            stale_sessions_closed=self._stale_closed,
            workers_alive=sum(worker.pid is not None for worker in workers),
            worker_restarts=self._workers.restarts,
            uptime_seconds=(datetime.now(UTC) - self._started_at).total_seconds(),
        )

    def _status(self) -> RuntimeStatus:
        return RuntimeStatus(
            version=VERSION,
            started_at=self._started_at,
            uptime_seconds=int((datetime.now(UTC) - self._started_at).total_seconds()),
            database="ready" if self._database_is_there else "away",
            listeners=listeners(self._settings, self._data, self._part, has_relay=self._relay is not None),
            workers=self._workers.status(),
        )
