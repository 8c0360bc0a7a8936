"""How fast the invoice run is: accounts drafted, posted and numbered, and the run again that finds nothing.

Rule: everything is real but the accounts, which are written by SQL: each with a recurring line, an overage line, tax,
and on every tenth a discount. The runners, PostgreSQL and this process share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from sqlalchemy import text
from sqlalchemy.engine import Engine

from billing.cycle import months_later
from daemon import invoice_runner
from storage.billing import ledger
from storage.database import create_engine
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate

BEGINS = date(2027, 1, 1)
DAY = date(2027, 2, 1)
RUNNERS = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run cost."""

    accounts: int
    seconds: float
    again_seconds: float
    largest_runner_octets: int


RULES = {
    "cap": {"octets": "100G", "action": "overage"},
    "overage": {"price": "0.50", "block": "1G", "ceiling": "20"},
}


def fill(engine: Engine, accounts: int) -> None:
    """Write accounts that have never been billed: a month in arrears, and what was beyond its cap."""
    with engine.begin() as connection:
        for statement in (
            """UPDATE isp SET billing = '{"in_arrears": true}'""",
            """INSERT INTO tax (code, document) VALUES ('iva', '{"percent": "21"}')""",
            """INSERT INTO plan (name, kind, interim_seconds, rules)
                VALUES ('home', 'internet', 600, CAST(:rules AS jsonb))""",
            """INSERT INTO product (code, kind, plan_id, document)
                SELECT 'home', 'internet', id, '{"taxes": ["iva"]}' FROM plan""",
            "INSERT INTO customer (login, name) SELECT 'c' || n, 'Customer ' || n FROM generate_series(1, :n) AS n",
            """INSERT INTO account (customer_id, currency, next_bill_on, state)
                SELECT id, 'EUR', :day, 'active' FROM customer""",
            """INSERT INTO service (login, secret, plan_id, customer_id, macs, router_ids, enabled, attributes,
                    reply_octets)
                SELECT c.login, '', p.id, c.id, '{}', '{}', true, '[]', '' FROM customer AS c, plan AS p
                ORDER BY c.id""",
            """INSERT INTO subscription (customer_id, service_id, revised_from)
                SELECT customer_id, id, :begins FROM service ORDER BY id""",
            """INSERT INTO subscription_event (subscription_id, on_day, kind, product_id, unit_price, quantity)
                SELECT s.id, :begins, 'start', p.id, 19.90 + s.id % 10, 1 FROM subscription AS s, product AS p""",
            """INSERT INTO usage_day (service_id, day, traffic_class, octets_up, octets_down)
                SELECT s.id, CAST(:begins AS date) + d, 0, 100000000, 3600000000 FROM service AS s,
                    generate_series(0, 30) AS d""",
            """INSERT INTO discount (customer_id, kind, value, starts)
                SELECT id, 'percent', 10, :begins FROM customer WHERE id % 10 = 0""",
        ):
            given = {"n": accounts, "day": DAY, "begins": BEGINS, "rules": json.dumps(RULES)}
            connection.execute(text(statement), given)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def measure(engine: Engine, dsn: str, accounts: int, on: date, runners: int) -> Measured:
    """Run, and run again."""
    with _Memory() as largest:
        seconds = _timed(engine, dsn, on, runners)
    again = _timed(engine, dsn, on, runners)
    found = ledger.check_books(engine)
    if found:
        raise SystemExit(f"the books are wrong: {found[:3]}")
    return Measured(accounts, seconds, again, largest())


def _timed(engine: Engine, dsn: str, on: date, runners: int) -> float:
    begun = time.monotonic()
    for _ in invoice_runner.bill(engine, dsn, on, runners=runners):
        pass
    return time.monotonic() - begun


class _Memory:
    """Watch the largest resident set of our children."""

    def __init__(self) -> None:
        self._largest = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()

    def __call__(self) -> int:
        return self._largest

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self._largest = max([self._largest, *_children()])


def _children() -> Iterator[int]:
    page = os.sysconf("SC_PAGE_SIZE")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"daemon.invoice_runner" in command:
                yield int((process / "statm").read_bytes().split()[1]) * page
        except OSError:
            continue


def once(accounts: int, runners: int = RUNNERS, months: int = 1) -> list[Measured]:
    """Bill so many accounts in a database of their own, month after month; return what each month cost."""
    with TemporaryDirectory(prefix="caudal-invoices-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgresql")
        server.start()
        try:
            dsn = server.dsn()
            engine = create_engine(dsn)
            migrate(engine)
            fill(engine, accounts)
            found = [measure(engine, dsn, accounts, months_later(DAY, month), runners) for month in range(months)]
            engine.dispose()
        finally:
            server.stop()
    return found


def main() -> int:
    """Measure one size, and say it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--runners", type=int, default=RUNNERS)
    parser.add_argument("--months", type=int, default=1, help="Bill so many months, one after the other.")
    options = parser.parse_args()
    for found in once(options.accounts, options.runners, options.months):
        print(json.dumps({**asdict(found), "accounts_per_second": round(found.accounts / found.seconds)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
