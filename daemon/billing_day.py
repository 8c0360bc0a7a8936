"""What a day asks of billing: wallets pay, previews are made, runs are issued, debts are collected.

Rule: all of it may be done twice, and is done again until nothing is left to do; whoever issues runs does so alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import structlog
from sqlalchemy.engine import Engine

from storage.billing import clock, gate, invoice_runs, numbers, run, wallets

ACCOUNTS_PER_LOOK = 500


class BillingDay:
    """The day that it is for billing; `bill` bills one, or its prepaid accounts alone, and `see` makes a preview."""

    def __init__(self, engine: Engine, bill: Callable[[date, bool], None], see: Callable[[date], None]) -> None:
        self._engine = engine
        self._bill = bill
        self._see = see
        self._log = structlog.get_logger()

    def live(self) -> None:
        """Do all that the day asks for, having waited for whoever is at it."""
        self.free_reservations()
        self.bill(waits=True)
        self.collect()
        # What collecting costs is of the same day.
        self.bill(waits=True)

    def free_reservations(self) -> None:
        """They kept nothing any more from their end on; the row is left, and wallets that may pay again."""
        with self._engine.begin() as connection:
            wallets.expire(connection, clock.today(connection))

    def bill(self, *, waits: bool = False) -> None:
        """Let wallets pay what is due today; make the previews that are due; issue what was confirmed or waits no more.

        Where runs are automatic and wait for nobody, everybody is billed on the day. Does nothing while another one
        does it, unless it waits.
        """
        with invoice_runs.alone(self._engine, waits=waits) as is_ours:
            if not is_ours:
                return
            with self._engine.connect() as connection:
                today, terms = clock.today(connection), invoice_runs.terms(connection)
            only_prepaid = not terms.automatic or terms.confirmation_days > 0
            if run.count_due(self._engine, today, only_prepaid=only_prepaid):
                self._bill(today, only_prepaid)
            else:
                # What a run had posted that was killed before it gave the numbers.
                numbers.number_waiting(self._engine, today)
            if terms.preview_days or (terms.automatic and only_prepaid):
                with self._engine.connect() as connection:
                    unseen = invoice_runs.unseen(connection, today + timedelta(days=terms.preview_days))
                for day in unseen:
                    self._see(day)
            with self._engine.connect() as connection:
                issued = invoice_runs.to_issue(connection, today)
            for day in issued:
                self._bill(day, False)

    def collect(self) -> None:
        """Do what is due about debts, some accounts at a time."""
        looked = ACCOUNTS_PER_LOOK
        while looked == ACCOUNTS_PER_LOOK:
            with self._engine.begin() as connection:
                looked, reminders = gate.look_at_due(connection, clock.today(connection), ACCOUNTS_PER_LOOK)
            for reminder in reminders:
                self._log.info("reminder due", customer=reminder.customer_id, number=reminder.number)
