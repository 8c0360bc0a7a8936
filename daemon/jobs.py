"""The timed jobs of the core: roll-ups, stale sessions, partitions, retention, wallets and collections.

Rule: every job may run twice or not at all for a while; what it does is bounded, and a failure is logged and tried
again at its next time, never carried into the packet path.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.engine import Engine

from billing.card_gateway import CardGateway
from config.settings import Settings
from daemon.billing_day import BillingDay
from domain.errors import CaudalError, one_line
from storage import housekeeping, overrides, rollup
from storage.billing import bank_booking, cards

ROLL_UP_SECONDS = 30
STALE_SECONDS = 15
GAUGES_SECONDS = 5
RETENTION_SECONDS = 3600
OVERRIDES_SECONDS = 60
BILLING_SECONDS = 15
"""How soon after midnight, or after a test clock was moved, wallets pay and collections go on."""
CARDS_SECONDS = 60
UNANSWERED = timedelta(seconds=60)
"""Longer than a charge waits for its answer: whoever ordered it is gone."""
LATE_SECONDS = 60
"""A job that could not start for so long is skipped; its next run does the same work."""

_ZONE = sqlalchemy.text("SELECT timezone FROM isp")


class Jobs:
    """The schedule of one daemon."""

    def __init__(
        self,
        engine: Engine,
        settings: Callable[[], Settings],
        listening_since: Callable[[], datetime],
        take_counts: Callable[[housekeeping.Gauges | None, int], None],
        day: BillingDay,
        gateway: CardGateway | None = None,
    ) -> None:
        self._engine = engine
        self.day = day
        self._gateway = gateway
        # Of what this daemon finds when it starts nobody waits for an answer.
        self._unanswered = timedelta(0)
        self._settings = settings
        self._listening_since = listening_since
        self._take_counts = take_counts
        self._stale_closed = 0
        self._log = structlog.get_logger()
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def prepare(self) -> None:
        """Make the partitions that are needed now; call before anything is served."""
        housekeeping.ensure_partitions(self._engine, datetime.now(UTC))

    def start(self) -> None:
        """Begin the schedule."""
        for job, seconds in (
            (self._roll_up, ROLL_UP_SECONDS),
            (self._close_stale, STALE_SECONDS),
            (self._count, GAUGES_SECONDS),
            (self._retain, RETENTION_SECONDS),
            (self._forget_overrides, OVERRIDES_SECONDS),
            (self.day.free_reservations, OVERRIDES_SECONDS),
            (self.day.bill, BILLING_SECONDS),
            (self.day.collect, BILLING_SECONDS),
            (self._book_bank, BILLING_SECONDS),
            (self._settle_cards, CARDS_SECONDS),
        ):
            self._scheduler.add_job(
                self._guarded(job),
                "interval",
                seconds=seconds,
                id=job.__name__,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=LATE_SECONDS,
                next_run_time=datetime.now(UTC),
            )
        self._scheduler.start()
        self._scheduler.add_job(self._guarded(self._count))

    def stop(self) -> None:
        """End the schedule without waiting for a job in progress: each is one transaction."""
        self._scheduler.shutdown(wait=False)

    def _guarded(self, job: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                job()
            except (CaudalError, sqlalchemy.exc.SQLAlchemyError) as error:
                self._log.warning("job failed", job=job.__name__.strip("_"), error=one_line(error))

        return run

    def _roll_up(self) -> None:
        rollup.roll_up(self._engine, self._zone())

    def _close_stale(self) -> None:
        # Since when there is anything to be heard of, before anybody is found silent.
        self._count()
        accounting = self._settings().accounting
        closed = housekeeping.close_stale(
            self._engine,
            datetime.now(UTC),
            accounting.stale_intervals,
            accounting.stale_default_seconds,
            self._listening_since(),
        )
        self._stale_closed += closed
        if closed:
            self._log.info("silent sessions closed provisionally", sessions=closed)

    def _count(self) -> None:
        try:
            counts = housekeeping.gauges(self._engine)
        except (CaudalError, sqlalchemy.exc.SQLAlchemyError):
            # Away; the gauges then say so instead of telling old numbers.
            counts = None
        self._take_counts(counts, self._stale_closed)

    def _retain(self) -> None:
        now, retention = datetime.now(UTC), self._settings().retention
        housekeeping.ensure_partitions(self._engine, now)
        housekeeping.drop_old_partitions(self._engine, now, retention.usage_fact_months)
        housekeeping.delete_old(
            self._engine,
            now,
            refusal_days=retention.refusal_days,
            quarantine_days=retention.quarantine_days,
            session_months=retention.session_months,
        )

    def _forget_overrides(self) -> None:
        """A line was given its own again at the moment an override ended; only the row is left."""
        with self._engine.begin() as connection:
            overrides.forget_ended(connection, datetime.now(UTC))

    def _book_bank(self) -> None:
        """Go on with files of the bank whose booking was interrupted."""
        for booked in bank_booking.book_waiting(self._engine):
            self._log.info("bank entry", entry=booked.id, state=booked.state, why=booked.why)

    def _settle_cards(self) -> None:
        """Ask the gateway for charges and refunds that had no answer; one that was cut off by a crash, too."""
        if self._gateway is None:
            return
        older_than, self._unanswered = self._unanswered, UNANSWERED
        for settled in cards.resolve(self._engine, self._gateway, datetime.now(UTC), older_than):
            self._log.info("card order settled", id=settled.id, state=settled.state.value, why=settled.why)

    def _zone(self) -> ZoneInfo:
        with self._engine.connect() as connection:
            return ZoneInfo(connection.execute(_ZONE).scalar_one())
