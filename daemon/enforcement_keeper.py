"""Writes what became of lines into the database, many at once.

Rule: what routers were shown to obey is written in bulk, and the next bulk collects while the last one commits. A write
that fails is tried again with what came since: until then the database calls these lines unproven, which costs a second
proof and never a false one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from time import monotonic

import sqlalchemy
import structlog
from sqlalchemy.engine import Engine

from daemon.enforcement_orders import Crossing
from daemon.enforcement_report import EnforcementCounts
from domain.errors import CaudalError, one_line
from enforcement.reconcile import LineState
from storage import lines, open_sessions

TRY_AGAIN_SECONDS = 1.0
LATELY_SECONDS = 2.0
"""Who began to read before a write was committed has told what it saw by then."""
GATHER_SECONDS = 0.02
"""Nobody waits for these rows: a pause as short as this makes one commit of hundreds."""


@dataclass(slots=True)
class _Bulk:
    """What is to be written, the newest of each session."""

    proofs: dict[int, lines.Proven] = field(default_factory=dict)
    failures: dict[int, lines.Failure] = field(default_factory=dict)
    crossings: dict[int, Crossing] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    awaited: list[asyncio.Event] = field(default_factory=list)
    """To be set when it is written."""

    def __bool__(self) -> bool:
        return bool(self.proofs or self.failures or self.gone)

    def add_older(self, older: _Bulk) -> None:
        """Take back what could not be written; what came since goes before it."""
        self.proofs = older.proofs | self.proofs
        self.failures = older.failures | self.failures
        self.crossings = older.crossings | self.crossings
        self.gone |= older.gone
        self.awaited += older.awaited

    def was_written(self) -> None:
        """Tell those who wait for it."""
        for awaited in self.awaited:
            awaited.set()


class LineKeeper:
    """Collects outcomes and writes them; `run` is its task."""

    def __init__(
        self, engine: Engine, counts: EnforcementCounts, run_in_thread: Callable[..., asyncio.Future[list[int]]]
    ) -> None:
        self._engine = engine
        self._counts = counts
        self._run_in_thread = run_in_thread
        self._bulk = _Bulk()
        self._written = _Bulk()
        """What is being written, or was written last."""
        self._written_at = 0.0
        self._disproved: set[int] = set()
        """Sessions of which what was proven lately says nothing any more."""
        self._filled = asyncio.Event()
        self._log = structlog.get_logger()

    def keep(self, line: LineState, now: datetime, crossing: Crossing | None = None) -> None:
        """Keep what is known of a line after a step."""
        bulk = self._bulk
        self._disproved.discard(line.session_id)
        if line.gone:
            bulk.gone.add(line.session_id)
        elif line.is_proven and line.proven_by is not None:
            bulk.failures.pop(line.session_id, None)
            bulk.proofs[line.session_id] = lines.Proven(line.session_id, line.desired, line.proven_by, now)
            if crossing is not None:
                bulk.crossings[line.session_id] = crossing
        elif line.problem is not None:
            bulk.failures[line.session_id] = lines.Failure(
                line.session_id, line.desired, line.attempts, line.next_attempt_at, line.problem
            )
        self._filled.set()

    async def disprove(self, session_id: int) -> None:
        """Forget what was proven of a line, and return when nothing of it is on its way into the database any more."""
        self._bulk.proofs.pop(session_id, None)
        self._disproved.add(session_id)
        written = asyncio.Event()
        self._bulk.awaited.append(written)
        self._filled.set()
        await written.wait()

    def holds(self, session_id: int, fingerprint: bytes) -> bool:
        """Tell whether a line was proven so lately that who reads the database may not have seen it."""
        if session_id in self._disproved:
            return False
        is_late = monotonic() - self._written_at > LATELY_SECONDS
        for bulk in (self._bulk,) if is_late else (self._bulk, self._written):
            if session_id in bulk.failures or session_id in bulk.gone:
                return False
            if session_id in bulk.proofs:
                return bulk.proofs[session_id].fingerprint == fingerprint
        return False

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(GATHER_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what was collected."""
        self._filled.clear()
        bulk, self._bulk = self._bulk, _Bulk()
        if not bulk:
            bulk.was_written()
            return
        self._written, self._written_at = bulk, inf
        try:
            overshoots = await self._run_in_thread(self._write, bulk)
        except (CaudalError, sqlalchemy.exc.SQLAlchemyError) as error:
            self._log.warning("states of lines not written", error=one_line(error))
            self._bulk.add_older(bulk)
            await asyncio.sleep(TRY_AGAIN_SECONDS)
            self._filled.set()
            return
        self._written_at = monotonic()
        bulk.was_written()
        for octets in overshoots:
            self._counts.overshoot_octets.observe(octets)

    def _write(self, bulk: _Bulk) -> list[int]:
        """Write in one transaction, in the order of sessions; return by how much caps were overshot."""
        with self._engine.begin() as connection:
            found = _overshoots(bulk, open_sessions.octets(connection, bulk.crossings)) if bulk.crossings else []
            lines.prove(connection, [bulk.proofs[key] for key in sorted(bulk.proofs)])
            lines.fail(connection, [bulk.failures[key] for key in sorted(bulk.failures)])
            lines.record_overshoots(connection, found)
            if bulk.gone:
                self._counts.sessions_unknown += open_sessions.close_unknown(connection, bulk.gone)
                lines.forget_closed(connection, bulk.gone)
        return [each.octets for each in found]


def _overshoots(bulk: _Bulk, octets: dict[int, int]) -> list[lines.Overshoot]:
    """Add to what was beyond the threshold what the session reported since."""
    return [
        lines.Overshoot(
            session_id,
            crossing.at,
            crossing.beyond_octets + max(0, octets.get(session_id, 0) - crossing.session_octets),
        )
        for session_id, crossing in sorted(bulk.crossings.items())
    ]
