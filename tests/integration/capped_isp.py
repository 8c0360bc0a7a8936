"""A small ISP in a database whose lines have a cap, as the tests of enforcement's commands change it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy
from sqlalchemy import text
from structlog.testing import capture_logs

from control.ports import ControlPorts, RuntimeStatus
from enforcement.reconcile import Problem, Proof
from storage import lines, outbox
from storage.lines import Desire, Failure, Proven
from storage.snapshot import Snapshot
from storage.usage import usage
from storage.vault import Vault
from tests.integration.control_daemon import at_once, running
from tests.integration.snapshots import read_snapshot

VAULT = Vault(bytes(32))
MEGABYTE = 1_000_000
RULES = {
    "cap": {"octets": "10M", "action": "fixed", "download": 1_000_000, "upload": 500_000},
    "burst": {"limit_percent": 150, "seconds": 8},
    "top_up": [
        {"name": "more", "octets": "5M", "price": "3.00", "valid_days": 7},
        {"name": "turbo", "percent": 200, "hours": 2},
        {"name": "evening", "hours": 5},
    ],
}
ISP = """
UPDATE isp SET timezone = 'UTC';
INSERT INTO lane DEFAULT VALUES;
INSERT INTO plan (name, kind, download_bits_per_second, upload_bits_per_second, interim_seconds, rules)
VALUES ('capped', 'internet', 20000000, 5000000, 300, CAST(:rules AS jsonb)),
       ('plain', 'internet', 300000000, NULL, 300, '{}');
INSERT INTO service (login, secret, plan_id, macs, router_ids, enabled, attributes, reply_octets)
SELECT login, '', plan, '{}', '{}', true, '{}', ''
FROM (VALUES ('ana', 1), ('cpe/7 ñ', 1), ('AA:BB:CC:DD:EE:FF', 1), ('bob', 2)) AS given (login, plan);
"""
ROUTER = """
INSERT INTO router (name, address, secret, profile, require_message_authenticator, flip_counters)
VALUES (:name, CAST(:address AS cidr), :secret, 'mikrotik', 'auto', false)
"""
SESSION = """
INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, state, started_at,
    updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down, gigawords, watched, address)
VALUES (:id, :router, '', 's' || :id, 0, 1, :service, :login, 0, :at, :at, :at, 0, 0, 0, 0, 0, true, true, '10.0.0.7')
"""
LOGINS = {1: "ana", 2: "cpe/7 ñ", 3: "AA:BB:CC:DD:EE:FF", 4: "bob"}


class Isp:
    """A small ISP in a database, as the tests change it."""

    def __init__(self, engine: sqlalchemy.Engine, dsn: str) -> None:
        self.engine = engine
        self._dsn = dsn
        # The command tells ages by the clock of the machine, so the daemon's must be the same.
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.do(ISP, rules=json.dumps(RULES))
        for number, name in enumerate(("north", "south"), 1):
            secret = VAULT.seal(b"hush", b"router:" + name.encode())
            self.do(ROUTER, name=name, address=f"10.9.0.{number}/32", secret=secret)
        self.do("UPDATE configuration_revision SET revision = revision + 1")
        self.snapshot = self.read()

    def do(self, statement: str, **values: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def read(self) -> Snapshot:
        """Read the configuration as the core does."""
        return read_snapshot(self._dsn, VAULT)

    def open_session(self, number: int, service: int = 1, router: int = 1) -> None:
        """Open a session that nobody has looked at."""
        at = self.now - timedelta(minutes=10)
        self.do(SESSION, id=number, router=router, service=service, login=LOGINS[service], at=at)

    def use(self, octets: int, service: int = 1) -> None:
        """Let a service have downloaded so much today."""
        self.do("DELETE FROM usage_fact WHERE service_id = :service", service=service)
        self.do(
            """INSERT INTO usage_fact (batch, service_id, session_id, from_at, to_at, octets_up, octets_down)
            VALUES (1::bigint << 32 | 1, :service, 1, :at, :at, 0, :octets)""",
            service=service,
            at=self.now - timedelta(seconds=1),
            octets=octets,
        )

    def line(self, session: int, *, proven: bool, problem: Problem | None = None, router: int = 1) -> None:
        """Let enforcement have worked at the line of a session of the first service."""
        desired = session.to_bytes(8)
        with self.engine.begin() as connection:
            lines.upsert(connection, [Desire(session, 1, router, desired)], self.now - timedelta(minutes=3))
            if proven:
                lines.prove(connection, [Proven(session, desired, Proof.READ_BACK, self.now - timedelta(minutes=1))])
            elif problem is not None:
                lines.fail(connection, [Failure(session, desired, 2, self.now + timedelta(minutes=9), problem)])

    def told(self) -> list[int | None]:
        """Take the services that the outbox tells of."""
        with self.engine.begin() as connection:
            return [event.service_id for event in outbox.take(connection, 100)]

    def bought(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM top_up")) or 0)

    def ports(self, data: Path) -> ControlPorts:
        runtime = RuntimeStatus("1", self.now, 1, "ready", (), ())
        vault = Vault.open_directory(data)
        return ControlPorts(
            self.engine, vault, lambda: runtime, at_once, usage, lambda: self.now, lambda: self.snapshot
        )


@contextmanager
def serving(ports: ControlPorts, data: Path) -> Iterator[None]:
    """Serve the control API; its log does not go where the command's output does."""
    with running(ports, data), capture_logs():
        yield
