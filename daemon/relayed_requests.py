"""Lets requests of other systems pass through the queue of their router, as our own do.

Rule: a router is asked at its rate, and about one thing of a session at a time, whoever asks. Who asks waits for an
answer, so a request whose turn does not come soon is not sent at all: `CannotSend` says that nothing has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from daemon.enforcement_routers import Box, RouterLane
from enforcement.drivers.coa import Kind, Outcome, Target
from enforcement.drivers.coa_ports import CannotSend
from enforcement.router_queue import Ended
from radius.dynamic_authorization import CannotAsk, DynamicRequest, SessionNames

LONGEST_WAIT_SECONDS = 10.0
"""A third of the 30 s for which a client retransmits (RFC 5080 §2.2.1): time is left for the router's answer."""

STANDS_BY = "this core stands by; only the active one speaks to routers"

Send = Callable[[Target, DynamicRequest], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Found:
    """A session that fits what a request names, and where its NAS listens; None where nobody knows."""

    session: SessionNames
    target: Target | None
    session_id: int
    box: Box


class _Turn:
    """One request's turn: `comes` is done when it may leave, or when it is not to leave any more."""

    __slots__ = ("begun", "comes")

    def __init__(self) -> None:
        self.begun = False
        self.comes: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """Tell the request that its turn has come; whoever gave up meanwhile still has to end it."""
        self.begun = True
        if not self.comes.done():
            self.comes.set_result(None)


class RelayedRequests:
    """The requests of other systems that wait for their turn or are under way; `send` is the CoA client's."""

    def __init__(self, send: Send, find_lane: Callable[[Box], RouterLane]) -> None:
        self._send = send
        self._find_lane = find_lane
        self._turns: set[_Turn] = set()

    async def send(self, found: Found, request: DynamicRequest) -> Outcome:
        """Send a request when its router's turn has come.

        Raise `CannotSend` when there is no room, the router is away or the turn does not come, `CannotAsk` for a
        request that cannot be encoded.
        """
        assert found.target is not None
        lane = self._find_lane(found.box)
        turn = _Turn()
        if not lane.push_guest(turn, found.session_id, turn.begin):
            why = "leaves requests unanswered" if lane.is_away else "has too many requests waiting"
            raise CannotSend(f"the router at {found.target.address} {why}; ask again later")
        self._turns.add(turn)
        ended = Ended.UNSENT
        try:
            await _await(turn, found.target)
            ended = Ended.GIVEN_UP
            outcome = await self._send(found.target, request)
            if outcome.kind is not Kind.SILENT:
                ended = Ended.ANSWERED
        except (CannotAsk, CannotSend):
            ended = Ended.UNSENT
            raise
        finally:
            self._turns.discard(turn)
            if turn.begun:
                lane.done(turn, ended)
            else:
                lane.withdraw(turn)
        return outcome

    def close(self) -> None:
        """Let nothing leave that still waits."""
        for turn in self._turns:
            if not turn.comes.done():
                turn.comes.set_exception(CannotSend(STANDS_BY))


async def _await(turn: _Turn, target: Target) -> None:
    try:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await turn.comes
    except TimeoutError:
        raise CannotSend(
            f"no turn came within {LONGEST_WAIT_SECONDS:.0f} s at the router at {target.address}; ask again later"
        ) from None
