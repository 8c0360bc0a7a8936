"""The hand of enforcement on RouterOS: one thread and one lasting connection a router.

Rule: lists are read whole and compared, because a router answers eight single questions a second and a list of two
thousand in one; writes go out some at a time, in stages of which none depends on itself. Only a read is repeated after
the connection broke: whether a write was carried out is seen by reading again. A router that failed is left in peace
for a while that grows, so that it keeps its sessions for operators.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from enforcement.drivers.routeros_channel import Arguments, Channel, Endpoint, Patience, Reply, open_channel
from enforcement.drivers.routeros_errors import RouterOsAway, RouterOsRefused, Trouble
from enforcement.routeros_entries import PROPERTIES, READ_TOO, Entry, Menu, Row
from enforcement.routeros_state import (
    Command,
    Conflict,
    Difference,
    Drift,
    Observed,
    difference,
    drift,
    left_alone,
)

IN_FLIGHT = 4
"""Commands under way at once: a router has two to four threads for its API."""
MOST_ROUNDS = 4
"""Reading and writing until nothing is left takes two rounds; more, and somebody else writes too."""
FIRST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 15.0
"""A router that was away is asked again within this, and a third more."""
REST_SPREAD = 0.33
PPP_ACTIVE = "/ppp/active"
HOTSPOT_ACTIVE = "/ip/hotspot/active"
PPP_PROPERTIES = (".id", "name", "service", "caller-id", "address", "uptime", "session-id", "radius")
HOTSPOT_PROPERTIES = (".id", "user", "address", "mac-address", "uptime", "bytes-in", "bytes-out", "radius")
QUEUE_COUNTERS = (".id", "name", "target", "parent", "bytes", "comment", "dynamic")
LIST_MEMBERS = "/interface/list/member"
LIST_MEMBER_PROPERTIES = ("list", "interface", "disabled")
INTERFACE_COUNTERS = (".id", "name", "rx-byte", "tx-byte", "dynamic")

T = TypeVar("T")


class Refusal(NamedTuple):
    """A command that the router did not carry out, in its own words."""

    command: Command
    message: str


@dataclass(frozen=True, slots=True)
class Convergence:
    """What it took to make a router hold what it should."""

    written: int
    refusals: tuple[Refusal, ...]
    conflicts: tuple[Conflict, ...]
    drifts: tuple[Drift, ...]
    in_force: bool
    """Read back: nothing is left to do, apart from `conflicts` and what was left as a human made it."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Who is on line by the router's own account, and what it counted for them."""

    ppp: tuple[Row, ...]
    hotspot: tuple[Row, ...] | None
    """None: the router has no hotspot."""
    queues: tuple[Row, ...]
    interfaces: tuple[Row, ...]
    uptime: str
    members: tuple[Row, ...] = ()
    """Of interface lists, where they were asked for."""


class Rest:
    """When a router that failed may be asked again."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._failures = 0
        self._until = 0.0

    def remaining(self, now: float) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._until - now)

    def failed(self, now: float) -> None:
        """Rest twice as long as the last time."""
        seconds = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._until = now + seconds * (1 + REST_SPREAD * self._chance())

    def succeeded(self) -> None:
        """Forget every failure."""
        self._failures = 0
        self._until = 0.0


class RouterConnection:
    """A router's API for one thread. It connects when it is needed and again after each fault.

    `opened` is told of each connection, in that thread.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience = Patience(),  # noqa: B008 - a frozen value
        *,
        clock: Callable[[], float] = time.monotonic,
        rest: Rest | None = None,
        opening: Callable[[Endpoint, Patience, Callable[[], float]], Channel] = open_channel,
        opened: Callable[[Channel], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._opened = opened
        self._patience = patience
        self._clock = clock
        self._rest = rest or Rest()
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._is_closed = False

    def close(self) -> None:
        """Close for good; a call that waits in another thread fails."""
        with self._lock:
            self._is_closed = True
            channel = self._channel
        if channel is not None:
            channel.abort()

    def read(self, path: str, properties: Iterable[str], queries: Sequence[str] = ()) -> list[dict[str, str]]:
        """Return the rows of a menu, of which only `properties`."""
        proplist = (".proplist", ",".join(properties))
        return self._asked(f"{path}/print", (proplist,), queries).rows

    def run(self, path: str, arguments: Arguments = ()) -> dict[str, str]:
        """Run one command that changes something; raise `RouterOsRefused` when the router does not want to."""
        reply = self._guarded(lambda channel: channel.call(path, arguments))
        return self._accepted(path, reply).done

    def write(self, stages: Iterable[Sequence[Command]], in_flight: int = IN_FLIGHT) -> list[Refusal]:
        """Carry out `stages` one after the other; return what was refused, which keeps nothing else back."""
        refusals: list[Refusal] = []
        for stage in stages:
            words = [(f"{command.menu.value}/{command.verb.value}", command.arguments) for command in stage]
            replies = self._run_together(words, in_flight)
            refusals += [
                Refusal(command, reply.trap)
                for command, reply in zip(stage, replies, strict=True)
                if reply.trap is not None
            ]
        return refusals

    def observe(self, before: Observed | None = None, menus: Iterable[Menu] = Menu) -> Observed:
        """Read everything that entries of ours can be among; of `before` what does not stand in `menus` is kept."""
        rows = {} if before is None else dict(before.rows)
        rows.update({menu: tuple(self._menu(menu)) for menu in menus})
        return Observed(rows, self._ppp(rows.get(Menu.SIMPLE_QUEUE, ())))

    def converge(
        self, desired: Sequence[Entry], proven: Sequence[Entry] | None = None, *, repair_drift: bool = True
    ) -> Convergence:
        """Make the router hold `desired`, and read back that it does.

        `proven` is what it was last read to hold, from which drift is told; without it there is none to tell.
        """
        observed = self.observe()
        drifts = () if proven is None else drift(proven, observed)
        left: AbstractSet[tuple[Menu, str]] = frozenset()
        if proven is not None and not repair_drift:
            left = left_alone(drifts, proven, desired)
        written = 0
        refusals: list[Refusal] = []
        step = difference(desired, observed, left=left)
        for _ in range(MOST_ROUNDS):
            if not step.stages:
                break
            refusals = self.write(step.stages)
            written += len(step.commands)
            observed = self.observe(observed, {command.menu for command in step.commands})
            step = difference(desired, observed, left=left)
            if refusals and _is_stuck(step, refusals):
                break
        return Convergence(written, tuple(refusals), step.conflicts, drifts, not step.stages)

    def activity(self, *, members: bool = False) -> Activity:
        """Read who is on line, and every counter; and, if asked, the `members` of interface lists."""
        # Before the counters that contain them: what flows meanwhile is in the outer ones, and not in the inner alone.
        queues = tuple(self.read(Menu.SIMPLE_QUEUE.value, QUEUE_COUNTERS))
        hotspot = self._optional(HOTSPOT_ACTIVE, HOTSPOT_PROPERTIES)
        resource = self.read("/system/resource", ("uptime",))
        return Activity(
            ppp=tuple(self._optional(PPP_ACTIVE, PPP_PROPERTIES) or ()),
            hotspot=None if hotspot is None else tuple(hotspot),
            queues=queues,
            interfaces=tuple(self.read("/interface", INTERFACE_COUNTERS, ("?dynamic=true",))),
            uptime=resource[0].get("uptime", "0s") if resource else "0s",
            members=tuple(self._optional(LIST_MEMBERS, LIST_MEMBER_PROPERTIES) or ()) if members else (),
        )

    def remove(self, path: str, ids: Iterable[str]) -> int:
        """Remove entries, sessions among them, by `.id`; return how many were there to be removed."""
        words = [(f"{path}/remove", ((".id", each),)) for each in ids]
        replies = self._run_together(words, IN_FLIGHT)
        return sum(reply.trap is None for reply in replies)

    def _ppp(self, queues: Iterable[Row]) -> tuple[Row, ...]:
        """Read who is on line by PPP; without, nobody knows whose the queues of interfaces are."""
        if any(row.get("target", "").startswith("<") for row in queues):
            return tuple(self.read(PPP_ACTIVE, PPP_PROPERTIES))
        return tuple(self._optional(PPP_ACTIVE, PPP_PROPERTIES) or ())

    def _menu(self, menu: Menu) -> list[dict[str, str]]:
        properties = (*READ_TOO[menu], *PROPERTIES[menu])
        if menu in (Menu.QUEUE_TYPE, Menu.SIMPLE_QUEUE, Menu.ADDRESS_LIST):
            return self.read(menu.value, properties)
        return self._optional(menu.value, properties) or []

    def _optional(
        self, path: str, properties: Iterable[str], queries: Sequence[str] = ()
    ) -> list[dict[str, str]] | None:
        """Read a menu that a router without the package does not have."""
        try:
            return self.read(path, properties, queries)
        except RouterOsRefused:
            return None

    def _run_together(self, words: Sequence[tuple[str, Arguments]], in_flight: int) -> list[Reply]:
        return self._guarded(lambda channel: channel.run(words, in_flight))

    def _asked(self, path: str, arguments: Arguments, queries: Sequence[str]) -> Reply:
        """Ask, and once more on a new connection when a lasting one turns out to be gone."""
        was_open = self._channel is not None
        try:
            reply = self._guarded(lambda channel: channel.call(path, arguments, queries))
        except RouterOsAway as away:
            if not was_open or away.trouble is Trouble.TIMEOUT:
                raise
            self._rest.succeeded()
            reply = self._guarded(lambda channel: channel.call(path, arguments, queries))
        return self._accepted(path, reply)

    def _accepted(self, path: str, reply: Reply) -> Reply:
        if reply.trap is not None:
            raise RouterOsRefused(self._endpoint.name, path, reply.trap)
        return reply

    def _guarded(self, work: Callable[[Channel], T]) -> T:
        """Do `work` on the connection; any fault ends it, and the next call makes a new one."""
        try:
            result = work(self._ready())
        except RouterOsAway as away:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            if away.trouble not in (Trouble.RESTING, Trouble.CLOSED):
                self._rest.failed(self._clock())
            raise
        self._rest.succeeded()
        return result

    def _ready(self) -> Channel:
        name = self._endpoint.name
        if self._is_closed:
            raise RouterOsAway(name, Trouble.CLOSED, "its connection was closed; it is no longer used")
        if self._channel is None:
            seconds = self._rest.remaining(self._clock())
            if seconds > 0:
                raise RouterOsAway(name, Trouble.RESTING, f"it failed and is asked again in {seconds:.1f} s")
            channel = self._opening(self._endpoint, self._patience, self._clock)
            with self._lock:
                self._channel = channel
                if self._is_closed:
                    channel.abort()
            if self._opened is not None:
                self._opened(channel)
            return channel
        return self._channel


def _is_stuck(step: Difference, refusals: Sequence[Refusal]) -> bool:
    """Tell whether nothing is left but what the router has just refused."""
    refused = {(each.command.menu, each.command.key) for each in refusals}
    return all((command.menu, command.key) in refused for command in step.commands)


class RouterThread:
    """The one thread in which the API of a router is spoken to; what it returns are plain values."""

    def __init__(self, connection: RouterConnection, name: str) -> None:
        self._connection = connection
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"routeros {name}")

    def submit(self, work: Callable[[RouterConnection], T]) -> Future[T]:
        """Do `work` when everything that was submitted before is done."""
        return self._executor.submit(work, self._connection)

    def close(self) -> None:
        """Give up what waits, break off what runs, and return when the thread has ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._connection.close()
        self._executor.shutdown(wait=True)
