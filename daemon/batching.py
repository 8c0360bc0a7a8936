"""Group commit: what waits when the last batch ends is the next batch.

Rule: no timer on the path; an idle lane takes a batch of one at once. What waits is bounded, and routers share a batch
and the room to wait: one that floods us delays itself. While the database is away nothing waits at all: the routers
retransmit and fail over. An idle lane asks the database now and then: one that
vanished without a word is known before the next request comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, Protocol, TypeVar

import structlog

from daemon.drops import Drop
from daemon.requests import Request
from storage.pipeline import DatabaseAway

MOST_WAITING = 20_000
"""Requests that may wait; at the slowest measured rate that is about a second, after which routers have given up."""
MOST_IN_BATCH = 512
"""Larger batches commit no faster per request and make everyone wait for the last."""
RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between attempts to reach the database; the last one repeats."""
PROBE_SECONDS = 2.0
"""How long an idle lane takes its database's presence for granted."""
SILENT_SECONDS = 1.0
"""A batch takes milliseconds; while one waits longer than this, nobody should be sent to us."""

AnyRequest = TypeVar("AnyRequest", bound=Request)
Settled_contra = TypeVar("Settled_contra", bound=Request, contravariant=True)


class Lane(Protocol[Settled_contra]):
    """What settles batches: one database connection."""

    async def open(self) -> None:
        """Connect; raise `DatabaseAway`."""

    async def settle(self, requests: Sequence[Settled_contra]) -> None:
        """Answer `requests` after their commit; raise `DatabaseAway` with the rest unanswered."""

    async def probe(self) -> None:
        """Ask the database for nothing; raise `DatabaseAway` when it does not answer."""


class FairQueue(Generic[AnyRequest]):
    """What waits, by router: a batch takes from each in turn, and of each in the order in which it came."""

    def __init__(self) -> None:
        self._by_router: dict[int, deque[AnyRequest]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, request: AnyRequest) -> None:
        """Let a request wait behind those of its router."""
        queue = self._by_router.get(request.router.id)
        if queue is None:
            queue = self._by_router[request.router.id] = deque()
        queue.append(request)
        self._size += 1

    def draw(self, most: int) -> list[AnyRequest]:
        """Return at most so many requests; routers whose turn did not come are the first next time."""
        batch: list[AnyRequest] = []
        if self._size <= most:
            for queue in self._by_router.values():
                batch += queue
            self._by_router.clear()
            self._size = 0
            return batch
        share = max(1, most // len(self._by_router))
        while len(batch) < most:
            router_id = next(iter(self._by_router))
            queue = self._by_router.pop(router_id)
            for _ in range(min(share, len(queue), most - len(batch))):
                batch.append(queue.popleft())
            if queue:
                self._by_router[router_id] = queue
        self._size -= len(batch)
        return batch

    def has_fewer_than_its_share(self, request: AnyRequest) -> bool:
        """Tell whether the router of a request has fewer waiting than each has if all have the same."""
        queue = self._by_router.get(request.router.id)
        others = len(self._by_router) - (queue is not None)
        return (0 if queue is None else len(queue)) < self._size // (others + 1) and others > 0

    def take_from_the_longest(self) -> AnyRequest:
        """Remove the request that came last of the router which has the most waiting."""
        queue = max(self._by_router.values(), key=len)
        self._size -= 1
        return queue.pop()


class Batcher(Generic[AnyRequest]):
    """Feeds one lane; `observe(size, seconds)` learns of each batch, `flush` sends its answers."""

    def __init__(
        self,
        name: str,
        lane: Lane[AnyRequest],
        flush: Callable[[], None],
        observe: Callable[[int, float], None],
        *,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._name = name
        self._lane = lane
        self._flush = flush
        self._observe = observe
        self._probe_seconds = probe_seconds
        self._queue: FairQueue[AnyRequest] = FairQueue()
        self._wake = asyncio.Event()
        self._asked_at: float | None = None
        self._failures = 0
        self._log = structlog.get_logger().bind(lane=name)
        self.connected = asyncio.Event()
        self.database_is_there = False
        self.stopping = False

    @property
    def waiting(self) -> int:
        """How many requests wait for their batch."""
        return len(self._queue)

    @property
    def is_serving(self) -> bool:
        """Tell whether a request that came now would soon be answered."""
        asked_at = self._asked_at
        return self.database_is_there and (asked_at is None or monotonic() - asked_at < SILENT_SECONDS)

    def submit(self, request: AnyRequest, *, kept: int = 0) -> None:
        """Let `request` wait for the next batch, or give it up when nothing can be promised.

        `kept` places are for others. Where none is left, the router that has the most of them loses its last request.
        """
        if not self.database_is_there:
            request.give_up(Drop.DATABASE_AWAY)
            return
        if len(self._queue) >= MOST_WAITING - kept:
            if not self._queue.has_fewer_than_its_share(request):
                request.give_up(Drop.OVERLOAD)
                return
            self._queue.take_from_the_longest().give_up(Drop.OVERLOAD)
        self._queue.add(request)

    def wake(self) -> None:
        """Start the next batch if the lane is idle and something waits."""
        if self._queue:
            self._wake.set()

    def stop(self) -> None:
        """End `run` after what waits is settled."""
        self.stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Settle batch after batch until stopped; reconnect whenever the database went away."""
        await self._connect()
        while True:
            if not self._queue:
                if self.stopping:
                    return
                await self._rest()
                continue
            batch = self._queue.draw(MOST_IN_BATCH)
            self._asked_at = begun = monotonic()
            try:
                await self._settle(batch)
            except DatabaseAway as error:
                await self._lose_database(error, batch)
            self._asked_at = None
            self._flush()
            self._observe(len(batch), monotonic() - begun)

    async def _rest(self) -> None:
        """Wait for requests, and ask the database now and then whether it is still there."""
        self._wake.clear()
        reminder = asyncio.get_running_loop().call_later(self._probe_seconds, self._wake.set)
        await self._wake.wait()
        reminder.cancel()
        if self._queue or self.stopping:
            return
        self._asked_at = monotonic()
        try:
            await self._lane.probe()
        except DatabaseAway as error:
            await self._lose_database(error, [])
        self._asked_at = None

    async def _settle(self, batch: Sequence[AnyRequest]) -> None:
        """Settle `batch`; after a defect each of its requests alone, so that only the one it lies in is given up."""
        try:
            await self._lane.settle(batch)
        except DatabaseAway:
            raise
        except Exception:  # noqa: BLE001 - a defect must not stop the service
            self._log.exception("batch failed", size=len(batch))
            if len(batch) == 1:
                _give_up(batch, Drop.DEFECT)
                return
            for request in [request for request in batch if not request.is_settled]:
                await self._settle([request])
        self._failures = 0

    async def _lose_database(self, error: DatabaseAway, batch: Sequence[AnyRequest]) -> None:
        """Give up everything that waits, and come back when the database does."""
        self._log.error("database away", error=str(error))
        self._failures += 1
        waiting = self._queue.draw(len(self._queue))
        _give_up((*batch, *waiting), Drop.DATABASE_AWAY)
        await self._connect()

    async def _connect(self) -> None:
        self.database_is_there = False
        attempts = 0
        while not self.stopping:
            if self._failures:
                await asyncio.sleep(RECONNECT_SECONDS[min(self._failures, len(RECONNECT_SECONDS)) - 1])
            try:
                await self._lane.open()
            except DatabaseAway as error:
                self._failures += 1
                if attempts % 10 == 0:
                    self._log.warning("waiting for the database", error=str(error), attempts=attempts + 1)
                attempts += 1
            else:
                self.database_is_there = True
                self.connected.set()
                self._log.info("database connected", attempts=attempts + 1)
                return


def _give_up(requests: Sequence[Request], reason: Drop) -> None:
    for request in requests:
        if not request.is_settled:
            request.give_up(reason)
