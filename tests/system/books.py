"""Compares what the database holds with what a load sent and had acknowledged, to the octet.

Rule: acknowledged <= database <= sent for every session at every moment; facts sum to their session, roll-ups to the
facts. Whatever was counted twice, or lost after it was acknowledged, breaks one of these.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2

from storage import rollup
from storage.database import create_engine
from tests.system.daemon_process import DaemonProcess
from tests.system.load import AccountingLoad, SessionTruth

BACK_SECONDS = 60.0

Truths = Mapping[tuple[str, str], SessionTruth]

_SESSIONS = """SELECT host(router.address), acct_session_id, octets_up, octets_down, session.state, generation
FROM session JOIN router ON router.id = router_id"""
_FACTS = """SELECT count(*) FROM session FULL JOIN (
    SELECT session_id, sum(octets_up) AS up, sum(octets_down) AS down FROM usage_fact GROUP BY 1) AS fact
    ON fact.session_id = session.id
WHERE coalesce(up, 0) IS DISTINCT FROM session.octets_up OR coalesce(down, 0) IS DISTINCT FROM session.octets_down"""
_SUMS = """SELECT coalesce(sum(octets_up), 0)::bigint, coalesce(sum(octets_down), 0)::bigint FROM {}"""
_UNROLLED = "SELECT count(*) FROM lane JOIN usage_fact ON batch >> 32 = lane.id WHERE batch > rolled_batch"
_LOST = "SELECT count(*) FROM lane JOIN usage_fact ON batch >> 32 = lane.id WHERE retired AND batch > rolled_batch"


def assert_between(daemon: DaemonProcess, before: Truths, load: AccountingLoad) -> None:
    """Check a database that runs under `load` and holds at least what was acknowledged `before`."""
    rows = _read_when_there(daemon, _SESSIONS)
    after = load.truth()
    held = {(router, session): (up, down) for router, session, up, down, _, _ in rows}
    assert len(held) == len(rows), "a session has two rows"
    assert held.keys() <= after.keys(), "the database holds sessions that were never reported"
    for key, truth in before.items():
        if truth.acknowledged_records:
            assert key in held, f"{key} was acknowledged and is not in the database"
            assert held[key][0] >= truth.acknowledged[0], f"{key} lost octets up that were acknowledged"
            assert held[key][1] >= truth.acknowledged[1], f"{key} lost octets down that were acknowledged"
    for key, (up, down) in held.items():
        assert up <= after[key].sent[0], f"{key} has more octets up than were ever sent"
        assert down <= after[key].sent[1], f"{key} has more octets down than were ever sent"


def assert_exact(daemon: DaemonProcess, truths: Truths) -> None:
    """Check the database after every session's Stop was acknowledged."""
    routers = {router for router, _ in truths}
    rows = [row for row in daemon.query(_SESSIONS) if row[0] in routers]
    held = {(router, session): (up, down, state) for router, session, up, down, state, _ in rows}
    assert len(held) == len(rows), "a session has two rows"
    wrong = {key: (held.get(key), truth.sent) for key, truth in truths.items() if held.get(key) != (*truth.sent, 1)}
    assert not wrong, f"{len(wrong)} of {len(truths)} sessions differ: {dict(list(wrong.items())[:5])}"
    assert held.keys() == truths.keys()
    assert daemon.query(_FACTS) == [(0,)], "facts do not sum to their sessions"


def assert_rolled_up(daemon: DaemonProcess) -> None:
    """Check that hours, days and facts have the same sums once every fact is rolled up."""
    engine = create_engine(daemon.dsn)
    try:
        zone = ZoneInfo(daemon.query("SELECT timezone FROM isp")[0][0])
        # The daemon's own job may hold the lock; then its work is the same.
        for _ in range(1_000):
            rollup.roll_up(engine, zone)
            if daemon.query(_UNROLLED) == [(0,)]:
                break
    finally:
        engine.dispose()
    assert daemon.query(_LOST) == [(0,)], "a lane was retired before its facts were rolled up"
    facts = daemon.query(_SUMS.format("usage_fact WHERE service_id IS NOT NULL"))
    assert daemon.query(_SUMS.format("usage_hour")) == facts
    assert daemon.query(_SUMS.format("usage_day")) == facts


def _read_when_there(daemon: DaemonProcess, sql: str) -> list[tuple[Any, ...]]:
    """Read from a database that may still be recovering."""
    give_up = time.monotonic() + BACK_SECONDS
    while True:
        try:
            return daemon.query(sql)
        except psycopg2.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
