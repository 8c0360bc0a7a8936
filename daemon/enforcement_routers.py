"""The routers as enforcement reaches them: where each listens, and whose turn it is.

Rule: the secrets, ports and rates are those of the present configuration, asked for with every request. Every box has a
queue of its own, so that one which is slow or away holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from math import inf

from domain.network import Router
from enforcement.drivers.coa import Target
from enforcement.profiles import PROFILES, NasProfile
from enforcement.router_queue import Ended, RouterQueue

Begin = Callable[[], None]
"""Begins work whose turn has come."""
Box = tuple[int, str]
"""A router entry, and which of its boxes."""


@dataclass(frozen=True, slots=True)
class Site:
    """A box as it is reached now."""

    router: Router
    profile: NasProfile
    target: Target | None
    """None: nobody knows its address."""


def find_site(routers: Mapping[int, Router], box: Box) -> Site | None:
    """Return how a box is reached; None when its router is no longer configured."""
    router = routers.get(box[0])
    if router is None:
        return None
    profile = PROFILES[router.profile]
    address = _address(router, box[1])
    if address is None:
        return Site(router, profile, None)
    return Site(router, profile, Target(address, router.coa_port or profile.coa_port, router.secret, profile))


def _address(router: Router, nas: str) -> str | None:
    """Return where a box listens; one of several is known by the address that it gave as its name."""
    network = ip_network(router.network)
    if not router.is_range:
        return str(network.network_address)
    try:
        address = ip_address(nas)
    except ValueError:
        return None
    return str(address) if address in network else None


class RouterLane:
    """The queue of one box, and the timer that wakes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, per_second: float) -> None:
        self._loop = loop
        self._per_second = per_second
        self._queue: RouterQueue[Begin] = RouterQueue(loop.time(), per_second=per_second)
        self._timer: asyncio.Handle | None = None
        self._wakes_at = inf

    @property
    def is_away(self) -> bool:
        """Tell whether the box leaves requests unanswered and is only probed."""
        return self._queue.away_since is not None

    @property
    def waiting(self) -> int:
        """Lines that wait for their turn."""
        return self._queue.waiting

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is under way."""
        return not (self._queue.waiting or self._queue.in_flight)

    def limit(self, per_second: float) -> None:
        """Go on at the rate that is configured now."""
        if per_second != self._per_second:
            self._per_second = per_second
            self._queue.limit(per_second, self._loop.time())
            self._pump()

    def push(self, session_id: int, begin: Begin, *, urgent: bool) -> bool:
        """Let a line wait for its turn; False when too many do."""
        taken = self._queue.push(session_id, begin, urgent=urgent)
        # Not at once: whoever pushes is not done yet with the line.
        if taken:
            self._wake_at(self._loop.time())
        return taken

    def push_guest(self, key: Hashable, session_id: int, begin: Begin) -> bool:
        """Let a request of another system wait for its turn; False when too many do, or the box is away."""
        taken = self._queue.push_guest(key, session_id, begin, self._loop.time())
        if taken:
            self._wake_at(self._loop.time())
        return taken

    def withdraw(self, key: Hashable) -> None:
        """Let a line, or a request of another system, wait no longer."""
        self._queue.withdraw(key)

    def done(self, key: Hashable, ended: Ended) -> None:
        """Learn how a request ended."""
        self._queue.done(key, ended, self._loop.time())
        self._wake_at(self._loop.time())

    def close(self) -> None:
        """Wake no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _pump(self) -> None:
        self._timer, self._wakes_at = None, inf
        now = self._loop.time()
        for begin in self._queue.ready(now):
            begin()
        due = self._queue.next_at(now)
        if due is not None:
            self._wake_at(due)

    def _wake_at(self, due: float) -> None:
        if self._wakes_at <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = self._loop.call_at(due, self._pump), due


class RouterLanes:
    """The lanes of all boxes that have something to be told."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        routers: Callable[[], Mapping[int, Router]],
        per_second: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._routers = routers
        self._usual_per_second = per_second
        self._lanes: dict[Box, RouterLane] = {}

    def find(self, box: Box) -> RouterLane:
        """Return the lane of a box."""
        lane = self._lanes.get(box)
        if lane is None:
            lane = self._lanes[box] = RouterLane(self._loop, self._per_second(box))
        return lane

    def reconfigure(self) -> None:
        """Take over rates that changed, and forget boxes that are idle."""
        for box, lane in list(self._lanes.items()):
            if lane.is_idle and not lane.is_away:
                lane.close()
                del self._lanes[box]
            else:
                lane.limit(self._per_second(box))

    @property
    def waiting(self) -> int:
        """Lines that wait for their turn, at all boxes."""
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def away(self) -> int:
        """Boxes that leave requests unanswered."""
        return sum(lane.is_away for lane in self._lanes.values())

    def close(self) -> None:
        """Let no lane wake again."""
        for lane in self._lanes.values():
            lane.close()

    def _per_second(self, box: Box) -> float:
        router = self._routers().get(box[0])
        own = None if router is None else router.coa_per_second
        return float(own or self._usual_per_second())
