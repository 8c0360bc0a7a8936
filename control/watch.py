"""The live stream of sessions: a snapshot, then each second what changed.

Rule: a session is told once for each of its versions. No index serves the question "who was heard since" (it would make
every interim update dearer), so the next question waits ten times as long as the last one took: a watcher costs a tenth
of a core at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Engine

from control import models
from control.errors import refusal_of
from storage import sessions
from storage.sessions import SessionRow

INTERVAL_SECONDS = 1.0
LARGEST_SHARE = 0.1
"""Of one core, for the questions of one watcher."""
OVERLAP = timedelta(seconds=10)
"""A row heard earlier may commit later: by its batch's wait, or by the difference of two machines' clocks."""

_STATES = {state: models.SessionState[state.name] for state in sessions.SessionState}


def session(row: SessionRow) -> models.Session:
    """Word one session."""
    return models.Session(
        id=row.id,
        state=_STATES[row.state],
        login=row.login,
        service_id=row.service_id,
        router=row.router,
        nas=row.nas,
        acct_session_id=row.acct_session_id,
        multi_session_id=row.multi_session_id,
        nas_port_id=row.nas_port_id,
        address=row.address,
        ipv6=[models.Ipv6Attribute.model_validate(attribute) for attribute in row.ipv6],
        mac=row.mac,
        started_at=row.started_at,
        updated_at=row.updated_at,
        heard_at=row.heard_at,
        stopped_at=row.stopped_at,
        terminate_cause=row.terminate_cause,
        seconds=row.seconds,
        octets_up=row.octets_up,
        octets_down=row.octets_down,
    )


async def lines(
    engine: Engine, now: Callable[[], datetime], closing: asyncio.Event, limit: int
) -> AsyncIterator[bytes]:
    """Yield lines of JSON until the daemon closes; a failure is the last line, in the shape of every error."""
    watcher = Watcher(engine, now, limit)
    while not closing.is_set():
        began = time.monotonic()
        try:
            event = await asyncio.to_thread(watcher.look)
        except Exception as error:  # noqa: BLE001 - the answer has begun, so the error is its last line
            yield _line(refusal_of(error).answer)
            return
        yield _line(event)
        pause = max(INTERVAL_SECONDS, (time.monotonic() - began) / LARGEST_SHARE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), pause)


class Watcher:
    """What one client has been told so far."""

    def __init__(self, engine: Engine, now: Callable[[], datetime], limit: int) -> None:
        self._engine = engine
        self._now = now
        self._limit = limit
        self._looked_at: datetime | None = None
        self._told: dict[int, int] = {}

    def look(self) -> models.WatchEvent:
        """Return the snapshot at the first call, later what changed since the call before."""
        before, self._looked_at = self._looked_at, self._now()
        if before is None:
            kind, rows = models.WatchKind.SNAPSHOT, sessions.busiest(self._engine, self._limit)
        else:
            kind, rows = models.WatchKind.CHANGES, sessions.heard_since(self._engine, before - OVERLAP, self._limit)
        return models.WatchEvent(
            event=kind,
            at=self._looked_at,
            open_sessions=sessions.open_sessions(self._engine),
            sessions=[session(row) for row in self._untold(rows)],
        )

    def _untold(self, rows: Sequence[SessionRow]) -> list[SessionRow]:
        untold = [row for row in rows if self._told.get(row.id) != row.version]
        # Only what the overlap can bring again is remembered.
        self._told = {row.id: row.version for row in rows}
        return untold


def _line(answer: models.Answer) -> bytes:
    return answer.model_dump_json().encode() + b"\n"
