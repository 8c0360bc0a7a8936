"""What a check reads of a router, and how it tries the secret.

Rule: nothing is changed on the router. The Disconnect-Request that tries the secret names a session that cannot exist:
a router that knows our secret says so, one that does not is silent (RFC 5176 §2.3).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from random import Random
from secrets import token_hex
from time import time
from typing import NamedTuple

from daemon.router_visit import tagged_leases
from enforcement import routeros_values as values
from enforcement.drivers.coa import CoaClient, Kind, Target
from enforcement.drivers.coa_ports import CannotSend
from enforcement.drivers.routeros import RouterConnection
from enforcement.drivers.routeros_errors import RouterOsRefused
from enforcement.router_checks import Probe, router_time
from enforcement.routeros_entries import Row
from enforcement.routeros_state import Observed
from radius.dynamic_authorization import Disbelief, SessionNames, disconnect

PROBE_SECONDS = 7.0
"""Three sends; a router on the same continent answers the first in a tenth of a second."""
DISCARD_PORT = 9


@dataclass(frozen=True, slots=True)
class Readings:
    """What one connection brought; `trouble` says why it brought nothing."""

    trouble: str = ""
    radius: tuple[Row, ...] | None = None
    incoming: Row | None = None
    ppp_aaa: Row | None = None
    hotspot_profiles: tuple[Row, ...] | None = None
    dhcp_config: Row | None = None
    fast_track_rules: int | None = None
    clock_offset_seconds: float | None = None
    observed: Observed | None = None
    leased: Collection[str] = ()


def look(connection: RouterConnection, clock: Callable[[], datetime]) -> Readings:
    """Read everything that a check judges."""
    offset = _clock_offset(connection, clock)
    rules = _rows(connection, "/ip/firewall/filter", (".id", "disabled"), ("?action=fasttrack-connection",))
    profiles = _rows(
        connection, "/ip/hotspot/profile", ("name", "use-radius", "radius-accounting", "radius-interim-update")
    )
    radius = ("address", "service", "authentication-port", "accounting-port", "disabled")
    return Readings(
        radius=_rows(connection, "/radius", radius),
        incoming=_only(_rows(connection, "/radius/incoming", ("accept", "port"))),
        ppp_aaa=_only(_rows(connection, "/ppp/aaa", ("use-radius", "accounting", "interim-update"))),
        hotspot_profiles=profiles,
        dhcp_config=_only(_rows(connection, "/ip/dhcp-server/config", ("accounting", "interim-update"))),
        fast_track_rules=None if rules is None else sum(not values.flag(row.get("disabled", "")) for row in rules),
        clock_offset_seconds=offset,
        observed=connection.observe(),
        leased=tagged_leases(connection),
    )


def _rows(
    connection: RouterConnection, path: str, properties: Sequence[str], queries: Sequence[str] = ()
) -> tuple[Row, ...] | None:
    """Return the rows of a menu; None on a router that has no such menu."""
    try:
        return tuple(connection.read(path, properties, queries))
    except RouterOsRefused:
        return None


def _only(rows: tuple[Row, ...] | None) -> Row | None:
    return rows[0] if rows else None


def _clock_offset(connection: RouterConnection, clock: Callable[[], datetime]) -> float | None:
    """Return how many seconds the router is ahead of us; None when it does not tell its time."""
    before = clock()
    row = _only(_rows(connection, "/system/clock", ("date", "time", "gmt-offset")))
    after = clock()
    told = None if row is None else router_time(row)
    if told is None:
        return None
    offset = (told - (before + (after - before) / 2)).total_seconds()
    # It tells whole seconds: half of one is nobody's fault.
    return offset + 0.5


class Probed(NamedTuple):
    """What became of a request, and how far the router's clock is ahead of ours where its answer told the time."""

    probe: Probe
    clock_offset_seconds: int | None = None


async def probe(target: Target, seconds: float = PROBE_SECONDS) -> Probed:
    """Ask for the end of a session that does not exist, and tell what became of it within `seconds`."""
    coa = CoaClient(asyncio.get_running_loop(), clock=time, random=Random())  # noqa: S311 - spreads retransmissions
    nobody = token_hex(8)
    names = SessionNames(user_name=f"caudal-check-{nobody}", acct_session_id=nobody)
    try:
        async with asyncio.timeout(seconds):
            outcome = await coa.send(target, disconnect(names))
        if outcome.kind is not Kind.SILENT:
            return Probed(Probe.ANSWERED, outcome.clock_offset_seconds)
        if outcome.unreachable:
            return Probed(Probe.REFUSED)
    except (TimeoutError, CannotSend):
        pass
    finally:
        coa.close()
    is_wrong = coa.traffic.ignored[Disbelief.AUTHENTICATOR.value] > 0
    return Probed(Probe.WRONG_AUTHENTICATOR if is_wrong else Probe.SILENT)


def our_address(host: str) -> str | None:
    """Return our address as a box at `host` sees it when nothing translates it; None when no way leads there."""
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        try:
            # No datagram leaves: this asks the routing table.
            way.connect((host, DISCARD_PORT))
        except OSError:
            return None
        return str(way.getsockname()[0])
