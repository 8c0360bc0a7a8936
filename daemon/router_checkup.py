"""Tries a router out, and reads what it is set up to: `caudal router check`, and the script that sets it up.

Rule: it takes a few seconds whatever the router does, changes nothing on it, and uses a connection of its own, so that
a login is really tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from sqlalchemy.engine import Engine

from daemon.enforcement_routers import find_site
from daemon.router_duty import SnapshotBehind, compute
from daemon.router_keepers import is_kept
from daemon.router_readings import Probed, Readings, look, our_address, probe
from daemon.router_remarks import ENTRIES, Remark, about_double_queues, about_entries, about_sessions
from daemon.router_report import RouterKnowledge
from domain.network import ApiAccess, Router
from enforcement.drivers.coa import Target
from enforcement.drivers.routeros import RouterConnection, RouterThread
from enforcement.drivers.routeros_channel import API_PORT, API_TLS_PORT, Endpoint, Patience
from enforcement.drivers.routeros_errors import RouterOsError
from enforcement.profiles import PROFILES
from enforcement.router_checks import Check, Expected, Finding, Level, RouterFacts, checks
from enforcement.router_script import ApiUser, RouterSetup, script
from storage.snapshot import Snapshot

PATIENCE = Patience(connect=3.0, silence=5.0, call=10.0)
READ_SECONDS = 15.0
"""A dozen reads and one of every queue, on a box that answers eight questions a second."""
UNSPECIFIED = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class RadiusPorts:
    """Where we listen."""

    authentication: int
    accounting: int


class RouterCheckup:
    """Checks routers and writes their scripts, on whichever core it is asked."""

    def __init__(
        self,
        engine: Engine,
        *,
        snapshot: Callable[[], Snapshot],
        knowledge: Callable[[int], RouterKnowledge | None],
        ports: RadiusPorts,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._snapshot = snapshot
        self._knowledge = knowledge
        self._ports = ports
        self._clock = clock

    async def check(self, name: str) -> Sequence[Remark] | None:
        """Return what is right and wrong with a router; None when there is none of that name."""
        router = self._find(name)
        if router is None:
            return None
        site = find_site(self._snapshot().routers, (router.id, ""))
        target = None if site is None else site.target
        if site is None or target is None:
            text = f"{router.network} stands for several boxes; give each an entry of its own to have it checked"
            return [Remark(Check.SECRET.value, Level.UNKNOWN.value, text)]
        access = router.api if site.profile.api else None
        probed, readings = await asyncio.gather(probe(target), self._read(router, access, target.address))
        server = our_address(target.address)
        return [
            *self._findings(target, server, probed, readings),
            *await self._entries(router, readings),
        ]

    def script(self, name: str, *, server: str | None, reveal: bool) -> Sequence[str] | None:
        """Return the commands that set a router up; None when there is none of that name."""
        router = self._find(name)
        if router is None:
            return None
        garden = self._snapshot().blocking.garden
        host = router.network.partition("/")[0]
        setup = RouterSetup(
            router=router.name,
            server=server or our_address(host) or UNSPECIFIED,
            secret=router.secret,
            authentication_port=self._ports.authentication,
            accounting_port=self._ports.accounting,
            coa_port=router.coa_port or PROFILES[router.profile].coa_port,
            api=None if router.api is None else _api_user(router.api),
            walled_list=garden.address_list,
            portal=_portal(garden.redirect_url),
        )
        return script(setup, reveal=reveal)

    def _find(self, name: str) -> Router | None:
        return next((router for router in self._snapshot().routers.values() if router.name == name), None)

    def _findings(
        self, target: Target, server: str | None, probed: Probed, readings: Readings | None
    ) -> Iterator[Remark]:
        expected = Expected(
            server or UNSPECIFIED,
            target.port,
            self._ports.authentication,
            self._ports.accounting,
            is_routeros=target.profile.api,
        )
        read = readings or Readings()
        facts = RouterFacts(
            probe=probed.probe,
            clock_offset_seconds=probed.clock_offset_seconds
            if read.clock_offset_seconds is None
            else read.clock_offset_seconds,
            api=None if readings is None else read.trouble,
            radius=read.radius,
            incoming=read.incoming,
            ppp_aaa=read.ppp_aaa,
            hotspot_profiles=read.hotspot_profiles,
            dhcp_config=read.dhcp_config,
            fast_track_rules=read.fast_track_rules,
        )
        for finding in checks(expected, facts):
            if _says_something(finding, readings):
                yield Remark(finding.check.value, finding.level.value, finding.text, finding.correct)

    async def _read(self, router: Router, access: ApiAccess | None, host: str) -> Readings | None:
        """Return what the API says; None where it is not open to us."""
        if access is None:
            return None
        endpoint = Endpoint(
            router.name, host, access.user, access.password, access.port, access.tls, access.fingerprint
        )
        thread = RouterThread(RouterConnection(endpoint, PATIENCE), f"check {router.name}")
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.wrap_future(thread.submit(lambda connection: look(connection, self._clock)))
        except RouterOsError as error:
            return Readings(trouble=str(error))
        except TimeoutError:
            return Readings(trouble=f"it took longer than {READ_SECONDS:.0f} s to say how it is set up")
        finally:
            await asyncio.to_thread(thread.close)

    async def _entries(self, router: Router, readings: Readings | None) -> list[Remark]:
        """Return what is to be said of entries, queues and sessions."""
        if readings is None or readings.observed is None or not is_kept(router):
            return []
        try:
            duty = await asyncio.to_thread(compute, self._engine, router, self._snapshot(), self._clock())
        except SnapshotBehind as error:
            return [Remark(ENTRIES, Level.UNKNOWN.value, str(error))]
        known = self._knowledge(router.id) or RouterKnowledge()
        return [
            *about_entries(router, duty, readings.observed, readings.leased, known),
            *about_double_queues(readings.observed),
            *about_sessions(known),
        ]


def _says_something(finding: Finding, readings: Readings | None) -> bool:
    """Tell whether a finding is worth a line: of what was not read, one says that there is no way into the router."""
    if finding.check in (Check.SECRET, Check.API):
        return True
    if readings is None:
        return finding.check is Check.CLOCK and finding.level is not Level.UNKNOWN
    # Where the API answers, what could not be read is a menu that this router does not have.
    return bool(readings.trouble) or finding.level is not Level.UNKNOWN


def _api_user(access: ApiAccess) -> ApiUser:
    port = access.port or (API_TLS_PORT if access.tls else API_PORT)
    return ApiUser(access.user, access.password, access.tls, port)


def _portal(url: str | None) -> str | None:
    """Return the host of the page to which lines in the walled garden are sent, where it is an address."""
    host = urlsplit(url or "").hostname
    try:
        return None if host is None else str(ip_address(host))
    except ValueError:
        return None
