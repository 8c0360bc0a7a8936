"""Passes on the CoA-Requests of other systems, and has proven anew what they may have changed.

Rule: that a session is looked at again is written before the request leaves, so that it is also when this core dies
meanwhile. What the request asked for is never kept: what a line may do is decided by its entitlement alone, and who
wants something else of it orders an override. A refusal has changed nothing (RFC 5176 §2.3), silence may have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import sqlalchemy
import structlog
from sqlalchemy.engine import Engine

from daemon.enforcement_keeper import LineKeeper
from daemon.enforcement_lines import Lines
from daemon.relayed_requests import LONGEST_WAIT_SECONDS, Found
from domain.errors import one_line
from enforcement.attributes import kinds, split
from enforcement.drivers.coa import Kind, Outcome
from enforcement.drivers.coa_ports import LONGEST_EXCHANGE_SECONDS, CannotSend
from enforcement.profiles import Aspect, NasProfile
from radius.dynamic_authorization import CannotAsk, DynamicRequest
from storage import outbox

LONGEST_CHANGE = timedelta(seconds=LONGEST_WAIT_SECONDS + LONGEST_EXCHANGE_SECONDS + 10)
"""From when a request is announced until it surely has no effect any more."""

Result = TypeVar("Result")


class RunInThread(Protocol):
    """Run work that waits for the database."""

    def __call__(self, work: Callable[..., Result], /, *arguments: Any) -> Awaitable[Result]: ...


def may_change(request: DynamicRequest, profile: NasProfile) -> bool:
    """Tell whether a NAS has to be told again what its line should get, after it has done what another system asks.

    Where telling rates never costs a new login they are told whatever was asked: a group of RouterOS's, for one, may
    bring rates of its own. Elsewhere only a request that sets rates is reason enough: a question about the session
    must not end it.
    """
    touched = {profile.aspect_of(kind) for number, value in split(request.attributes) for kind in kinds(number, value)}
    is_cheap = profile.says_unlimited and Aspect.RATES in profile.changeable
    return is_cheap or Aspect.RATES in touched


class ForeignChanges:
    """The changes that other systems make, between the one who forwards them and those who work at our lines."""

    def __init__(
        self,
        engine: Engine,
        run_in_thread: RunInThread,
        lines: Lines,
        keeper: LineKeeper,
        *,
        is_active: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._run_in_thread = run_in_thread
        self._lines = lines
        self._keeper = keeper
        self._is_active = is_active
        self._log = structlog.get_logger()

    async def send(
        self,
        found: Found,
        request: DynamicRequest,
        forward: Callable[[Found, DynamicRequest], Awaitable[Outcome]],
    ) -> Outcome:
        """Forward a CoA-Request, and have its session proven anew; raise `CannotSend` when nothing has left."""
        assert found.target is not None
        if not may_change(request, found.target.profile):
            return await forward(found, request)
        try:
            event = await self._run_in_thread(self._announce, found.session_id)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise CannotSend("the database is away, so nothing is changed; ask again later") from error
        try:
            outcome = await forward(found, request)
        except (CannotAsk, CannotSend):
            if self._is_active():
                # Else it may be on its way.
                await self._settle(event, happened=False)
            raise
        happened = outcome.kind is not Kind.NAK
        if happened:
            self._lines.disprove(found.session_id)
            await self._keeper.disprove(found.session_id)
        await self._settle(event, happened=happened)
        return outcome

    async def _settle(self, event: int | None, *, happened: bool) -> None:
        if event is None:
            return
        try:
            await self._run_in_thread(self._write, event, happened)
        except sqlalchemy.exc.SQLAlchemyError as error:
            # It stays as it was announced, and is looked at then.
            self._log.warning("a foreign change is looked at later", error=one_line(error))

    def _announce(self, session_id: int) -> int | None:
        with self._engine.begin() as connection:
            return outbox.expect_foreign(connection, session_id, LONGEST_CHANGE)

    def _write(self, event: int, happened: bool) -> None:
        with self._engine.begin() as connection:
            outbox.settle_foreign(connection, event, happened=happened)
