"""A small ISP with sessions in a database, served by a control server without workers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from control.ports import ControlPorts, Listener, RuntimeStatus, UsageQuestion, UsageReport, Worker
from storage.snapshot import Snapshot
from storage.vault import Vault
from tests.integration.control_daemon import Daemon, at_once, running

STARTED = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Hour:
    """A row of usage."""

    start: datetime
    octets_up: int
    octets_down: int


@dataclass(frozen=True)
class Report:
    """Usage as the port gives it."""

    octets_up: int
    octets_down: int
    rows: tuple[Hour, ...]


class AskedUsage:
    """Remembers what was asked, and answers one row."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __call__(
        self, engine: Engine, service_login: str, by: str, start: datetime, end: datetime, timezone: str
    ) -> UsageReport:
        self.asked.append((service_login, by, start, end, timezone))
        return Report(1, 2, (Hour(start, 1, 2),))


def ports(engine: Engine, data: Path, usage: UsageQuestion) -> ControlPorts:
    """Return the ports over a database."""
    runtime = RuntimeStatus(
        version="1.2.3",
        started_at=STARTED,
        uptime_seconds=60,
        database="ready",
        listeners=(Listener("authentication", "127.0.0.1", 1812), Listener("control", str(data), None)),
        workers=(Worker(1, 4242, "running"), Worker(2, None, "away")),
    )
    vault = Vault.open_directory(data)
    return ControlPorts(engine, vault, lambda: runtime, at_once, usage, lambda: datetime.now(UTC), Snapshot.empty)


@contextmanager
def serving(engine: Engine, data: Path, usage: UsageQuestion) -> Iterator[Daemon]:
    """Run a control server."""
    with running(ports(engine, data, usage), data) as daemon:
        yield daemon


@contextmanager
def data_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a data directory that the command finds."""
    with tempfile.TemporaryDirectory(prefix="caudal-control-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)
        yield Path(name)


def fill(engine: Engine) -> None:
    """Write a small ISP with sessions."""
    with engine.begin() as connection:
        connection.execute(text(_ISP))
        connection.execute(text(_SESSIONS), [session(number) for number in range(1, 8)])


def session(number: int) -> dict[str, object]:
    """Return the values of a session: odd ones are open; two start at the same instant."""
    open_ = number % 2 == 1
    started = STARTED + timedelta(minutes=number - number // 6)
    return {
        "id": number,
        "acct": f"8{number:07x}",
        "login": "ana@example" if number < 4 else "bob@example",
        "state": 0 if open_ else 1,
        "started": started,
        "stopped": None if open_ else started + timedelta(minutes=5),
        "cause": None if open_ else "User-Request",
        "up": number * 1_000,
        "down": number * 1_000_000,
    }


_ISP = """
INSERT INTO router (name, address, secret, profile, require_message_authenticator, flip_counters, api_user,
                    api_password)
VALUES ('tower-north', '10.0.0.1', 'sealed-secret', 'mikrotik', 'auto', false, 'caudal', 'sealed-password'),
       ('tower-south', '10.0.1.0/24', 'sealed-secret', 'generic', 'always', true, NULL, NULL);
INSERT INTO pool (name, kind, first_address, last_address, prefix_length, router_ids, lease_seconds)
VALUES ('homes', 'ipv4', '100.64.0.0', '100.64.0.255', 32, '{1}', 3600),
       ('prefixes', 'delegated-prefix', '2001:db8::', '2001:db8:0:ffff:ffff:ffff:ffff:ffff', 56, '{}', NULL);
INSERT INTO plan (name, kind, download_bits_per_second, upload_bits_per_second, pool_id, interim_seconds, simultaneous)
VALUES ('home-20', 'internet', 20000000, 10000000, 1, 300, 1), ('free', 'internet', NULL, NULL, NULL, 600, NULL);
INSERT INTO customer (login, name, email) VALUES ('ana', 'Ana Ruiz', 'ana@example.net'), ('bob', 'Bob', NULL);
INSERT INTO service (login, secret, plan_id, customer_id, address, macs, router_ids, enabled, expires_at, attributes,
                     reply_octets)
SELECT login, 'sealed-secret', plan, customer, address::inet, '{}', '{}', true, NULL, '[["Filter-Id", "gold"]]', ''
FROM (VALUES ('ana@example', 1, 1, '100.64.9.9'), ('bob@example', 1, 2, NULL), ('cpe/7 ñ', 2, NULL, '100.64.0.77'),
             ('AA:BB:CC:DD:EE:FF', 2, NULL, NULL)) AS given (login, plan, customer, address);
INSERT INTO lease VALUES (1, '100.64.0.1', 1, 'AA', now(), now() + interval '1 hour'),
                         (1, '100.64.0.2', 1, 'BB', now(), now() - interval '1 hour');
INSERT INTO refusal (refused_at, login, service_id, router_id, mac, reason, method, attempts)
VALUES ('2026-01-31T12:00Z', 'ana@example', 1, 1, NULL, 'wrong_password', 'pap', 3),
       ('2026-01-31T12:01Z', 'nobody', NULL, 1, NULL, 'unknown_user', 'chap', 1),
       ('2026-01-31T12:02Z', 'ana@example', 1, 2, 'AA:BB:CC:DD:EE:FF', 'wrong_mac', 'pap', 1);
INSERT INTO quarantine (received_at, router_id, reason, datagram)
VALUES ('2026-01-31T12:00Z', 1, 'no_session_id', '\\x0405');
"""

_SESSIONS = """
INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, mac, address, ipv6,
                     state, started_at, updated_at, heard_at, stopped_at, terminate_cause, session_seconds, octets_up,
                     octets_down, base_up, base_down, gigawords)
VALUES (:id, 1, '', :acct, 0, 1, 1, :login, 'AA:BB:CC:DD:EE:FF', '100.64.0.1',
        '[[97, "004020010db800000000"], [168, "20010db8000000000000000000000001"], [123, "ff"]]',
        :state, :started, :started, :started, :stopped, :cause, 300, :up, :down, 0, 0, true)
"""
