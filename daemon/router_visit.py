"""What is done in the thread of a router, and what it brings home: plain values.

Rule: one visit reads, writes and reads again; who calls it learns from the exception when the router went away, and
whatever was cut off is found by the next visit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.router_duty import Duty
from domain.instants import Microseconds, to_microseconds
from enforcement.drivers.routeros import PPP_ACTIVE, Activity, Convergence, RouterConnection
from enforcement.drivers.routeros_errors import RouterOsRefused
from enforcement.router_boot import Boot, boot
from enforcement.routeros_entries import PROPERTIES, READ_TOO, Entry, Menu, key_of


@dataclass(frozen=True, slots=True)
class Visit:
    """What a router was made to hold."""

    desired: tuple[Entry, ...]
    convergence: Convergence
    boot: Boot | None = None
    """When the router started; None where it does not say."""
    has_restarted: bool = False
    """Since the visit before: what it had then says nothing of what somebody changed."""

    @property
    def kept(self) -> tuple[Entry, ...]:
        """What of it the router holds now."""
        done = self.convergence
        missing = {(each.menu, each.key) for each in done.conflicts}
        missing |= {(each.command.menu, each.command.key) for each in done.refusals}
        return tuple(entry for entry in self.desired if (entry.menu, entry.key) not in missing)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Who is on line by the router's own account, read from `read_us` on."""

    read_us: Microseconds
    activity: Activity
    shows_ppp: bool
    """Whether `/ppp/active` was read; without, nothing follows from its being empty."""


@dataclass(frozen=True, slots=True)
class Before:
    """What the visit before found; `proven` is what the router was last read to hold."""

    proven: Sequence[Entry] | None = None
    boot: Boot | None = None


def converge(
    connection: RouterConnection, duty: Duty, before: Before, *, repair_drift: bool, clock: Callable[[], float]
) -> Visit:
    """Make a router hold what it has to; `clock` is monotonic.

    After it has started again nothing is told of as changed by hand: it may have come up with an old configuration.
    """
    started = started_at(connection, clock)
    has_restarted = before.boot is not None and started is not None and started.is_after(before.boot)
    desired = duty.entries(tagged_leases(connection))
    proven = None if has_restarted else before.proven
    done = connection.converge(desired, proven, repair_drift=repair_drift)
    return Visit(tuple(desired), done, started, has_restarted)


def started_at(connection: RouterConnection, clock: Callable[[], float]) -> Boot | None:
    """Return when a router started; None where it does not say."""
    asked_at = clock()
    try:
        rows = connection.read("/system/resource", ("uptime",))
    except RouterOsRefused:
        return None
    return boot(rows[0].get("uptime", ""), asked_at, clock()) if rows else None


def sight(connection: RouterConnection, clock: Callable[[], datetime], *, members: bool = False) -> Sighting:
    """Look who is on line; `members` of interface lists are read only where they are asked for."""
    read_us = to_microseconds(clock())
    activity = connection.activity(members=members)
    return Sighting(read_us, activity, bool(activity.ppp) or _is_empty(connection, PPP_ACTIVE))


def _is_empty(connection: RouterConnection, path: str) -> bool:
    """Tell whether a menu has no rows by the router's own word; one that refuses says nothing of the kind."""
    try:
        return not connection.read(path, (".id",))
    except RouterOsRefused:
        return False


def tagged_leases(connection: RouterConnection) -> set[str]:
    """Return the keys of the DHCP leases whose rate the operator handed over; none where there is no DHCP server."""
    try:
        rows = connection.read(Menu.LEASE.value, (*READ_TOO[Menu.LEASE], *PROPERTIES[Menu.LEASE]))
    except RouterOsRefused:
        return set()
    return {key for row in rows if (key := key_of(Menu.LEASE, row)) is not None}
