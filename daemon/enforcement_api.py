"""The RouterOS API as the lines at work use it: one thread and connection a router, and one reading for all who wait.

Rule: a router is read in bulk, since it answers few questions a second: whoever asks while a reading is under way gets
the next one, so that nobody is told what was true before he asked. Of address lists only entries are touched that
RADIUS made for the session or that bear its tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

from daemon.enforcement_orders import Order
from daemon.enforcement_routers import Site
from domain.network import ApiAccess, Router
from enforcement import routeros_values as values
from enforcement.drivers.routeros import (
    HOTSPOT_ACTIVE,
    HOTSPOT_PROPERTIES,
    PPP_ACTIVE,
    PPP_PROPERTIES,
    RouterConnection,
    RouterThread,
)
from enforcement.drivers.routeros_channel import Endpoint
from enforcement.drivers.routeros_errors import RouterOsError, RouterOsRefused
from enforcement.read_back import OnLine, Queues, ReadBack, SessionRows, is_host, is_lease, is_ppp
from enforcement.reconcile import OutcomeKind
from enforcement.routeros_entries import Menu, Row
from enforcement.session_truth import COMPARED, Kind, kind_of

LINE_TAG = "caudal-line:"
"""Begins the comment of an address-list entry that is one session's; static entries have another tag."""
QUEUE_PROPERTIES = ("name", "target", "max-limit", "burst-limit", "dynamic")
LIST_PROPERTIES = (".id", "list", "address", "comment", "dynamic")
LEASE_PROPERTIES = (".id", "address", "mac-address", "dynamic")

_LISTINGS: Mapping[Kind, tuple[str, tuple[str, ...], Callable[[Row, OnLine], bool]]] = {
    Kind.PPP: (PPP_ACTIVE, PPP_PROPERTIES, is_ppp),
    Kind.HOTSPOT: (HOTSPOT_ACTIVE, HOTSPOT_PROPERTIES, is_host),
    Kind.DHCP: (Menu.LEASE.value, LEASE_PROPERTIES, is_lease),
}
"""Where sessions are listed; removing an entry ends one. Of a DHCP server the client then asks anew."""

_OUTCOMES: Mapping[ReadBack, OutcomeKind] = {
    ReadBack.MATCHES: OutcomeKind.READ_BACK_MATCHES,
    ReadBack.DIFFERS: OutcomeKind.READ_BACK_DIFFERS,
    ReadBack.GONE: OutcomeKind.GONE,
    ReadBack.UNSEEN: OutcomeKind.API_FAILED,
}


class _Seen(NamedTuple):
    """A router at one moment."""

    queues: Queues
    lists: list[Row]


class _RouterApi:
    """One router's thread, and who waits for its next reading."""

    def __init__(self, access: ApiAccess, connection: RouterConnection, name: str) -> None:
        self.access = access
        self.thread = RouterThread(connection, name)
        self.listed: set[int] | None = None
        """Sessions with a list entry of ours; None: nobody has looked yet."""
        self._waiting: list[tuple[Order, asyncio.Future[OutcomeKind]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def read_back(self, order: Order) -> OutcomeKind:
        """Tell what the next reading says about a line."""
        told: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, told))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await told

    async def _read(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            leases = any(kind_of(order.names.acct_session_id) not in COMPARED for order, _ in asked)
            try:
                seen = await asyncio.wrap_future(self.thread.submit(partial(_look, leases=leases)))
            except RouterOsError:
                outcomes = [OutcomeKind.API_FAILED] * len(asked)
            else:
                outcomes = [_judge(seen, order) for order, _ in asked]
            for (_, told), outcome in zip(asked, outcomes, strict=True):
                if not told.done():
                    told.set_result(outcome)


class RouterApis:
    """The APIs of all routers that have one; threads are ended in `executor`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._apis: dict[tuple[int, str], _RouterApi] = {}

    async def read_back(self, site: Site, order: Order) -> OutcomeKind:
        """Tell READ_BACK_MATCHES, READ_BACK_DIFFERS, GONE or API_FAILED."""
        api = self._find(site)
        return OutcomeKind.API_FAILED if api is None else await api.read_back(order)

    async def change(self, site: Site, order: Order) -> OutcomeKind:
        """Put a session's address into the list where it belongs, and take it out of others."""
        return await self._run(site, order, disconnects=False)

    def forget(self, session_ids: Iterable[int]) -> None:
        """Take the addresses of sessions that ended out of their lists: somebody else may get them next."""
        ended = set(session_ids)
        for api in self._apis.values():
            if api.listed and not api.listed.isdisjoint(ended):
                api.listed -= ended
                api.thread.submit(partial(_unlist, session_ids=ended))

    async def tidy(
        self, sites: Iterable[Site], find_open: Callable[[Collection[int]], Awaitable[Collection[int]]]
    ) -> None:
        """Take out of the lists what a core that died, or a router that was away, left of sessions that ended."""
        for site in sites:
            api = self._find(site)
            if api is None or api.listed == set():
                continue
            try:
                listed = await asyncio.wrap_future(api.thread.submit(_listed))
                ended = listed - set(await find_open(listed))
                if ended:
                    await asyncio.wrap_future(api.thread.submit(partial(_unlist, session_ids=ended)))
            except RouterOsError:
                continue
            api.listed = listed - ended

    async def kick(self, site: Site, order: Order) -> OutcomeKind:
        """End a session."""
        return await self._run(site, order, disconnects=True)

    def close(self) -> None:
        """End every thread; what is under way is broken off."""
        for api in self._apis.values():
            self._executor.submit(api.thread.close)
        self._apis.clear()

    async def _run(self, site: Site, order: Order, *, disconnects: bool) -> OutcomeKind:
        api = self._find(site)
        if api is None:
            return OutcomeKind.API_FAILED
        work = _kick if disconnects else _set_list
        if not disconnects and api.listed is not None:
            api.listed.add(order.state.session_id)
        try:
            return await asyncio.wrap_future(api.thread.submit(lambda connection: work(connection, order)))
        except RouterOsError:
            return OutcomeKind.API_FAILED

    def _find(self, site: Site) -> _RouterApi | None:
        """Return the API of a box; a new one when its access was changed."""
        access = site.router.api
        if access is None or site.target is None:
            return None
        key = site.router.id, site.target.address
        api = self._apis.get(key)
        if api is not None and api.access != access:
            self._executor.submit(api.thread.close)
            api = None
        if api is None:
            connection = self._connect(site.router, _endpoint(site, access, site.target.address))
            api = self._apis[key] = _RouterApi(access, connection, site.router.name)
        return api

    def _connect(self, _router: Router, endpoint: Endpoint) -> RouterConnection:
        """Return a connection to a router's API, which opens when it is needed."""
        return RouterConnection(endpoint)


def _endpoint(site: Site, access: ApiAccess, host: str) -> Endpoint:
    return Endpoint(
        site.router.name,
        host,
        access.user,
        access.password,
        port=access.port,
        tls=access.tls,
        fingerprint=access.fingerprint,
    )


def _look(connection: RouterConnection, *, leases: bool) -> _Seen:
    """Read what RADIUS made on a router; `leases` only where a session may be one."""
    queues = connection.read(Menu.SIMPLE_QUEUE.value, QUEUE_PROPERTIES, ("?dynamic=true",))
    sessions = SessionRows(
        _optional(connection, PPP_ACTIVE, PPP_PROPERTIES),
        _optional(connection, HOTSPOT_ACTIVE, HOTSPOT_PROPERTIES),
        _optional(connection, Menu.LEASE.value, LEASE_PROPERTIES) if leases else None,
    )
    lists = connection.read(Menu.ADDRESS_LIST.value, LIST_PROPERTIES)
    return _Seen(Queues(queues, sessions), [row for row in lists if _is_ours(row)])


def _optional(connection: RouterConnection, path: str, properties: tuple[str, ...]) -> list[dict[str, str]] | None:
    """Read a menu that a router without the package does not have, and one that is busy may refuse."""
    try:
        return connection.read(path, properties)
    except RouterOsRefused:
        return None


def _on_line(order: Order) -> OnLine:
    """Return a session in its NAS's own words: a service that is found by a MAC has another login."""
    names = order.names
    return OnLine(names.user_name or order.wish.login, names.framed_ip_address, names.acct_session_id)


def _judge(seen: _Seen, order: Order) -> OutcomeKind:
    entitlement = order.wish.entitlement
    names = order.names
    judged = seen.queues.judge(_on_line(order), entitlement)
    if judged is ReadBack.MATCHES:
        lists = {row.get("list") for row in seen.lists if _is_of(row, names.framed_ip_address)}
        wanted = set() if entitlement.address_list is None else {entitlement.address_list}
        if lists != wanted:
            return OutcomeKind.READ_BACK_DIFFERS
    if not entitlement.admitted and judged in (ReadBack.MATCHES, ReadBack.DIFFERS):
        return OutcomeKind.READ_BACK_DIFFERS
    return _OUTCOMES[judged]


def _is_ours(row: Row) -> bool:
    """Tell whether RADIUS or we made an entry."""
    return values.flag(row.get("dynamic", "false")) or row.get("comment", "").startswith(LINE_TAG)


def _is_of(row: Row, address: str | None) -> bool:
    return address is not None and values.address(row.get("address", "")) == values.address(address)


def _set_list(connection: RouterConnection, order: Order) -> OutcomeKind:
    address = order.names.framed_ip_address
    if address is None:
        return OutcomeKind.API_FAILED
    wanted = order.wish.entitlement.address_list
    path = Menu.ADDRESS_LIST.value
    rows = [row for row in connection.read(path, LIST_PROPERTIES) if _is_ours(row) and _is_of(row, address)]
    surplus = [row[".id"] for row in rows if row.get("list") != wanted]
    if wanted is not None and not any(row.get("list") == wanted for row in rows):
        comment = f"{LINE_TAG}{order.state.session_id} {order.wish.login}"
        connection.run(f"{path}/add", (("list", wanted), ("address", address), ("comment", comment)))
    if surplus and connection.remove(path, surplus) < len(surplus):
        return OutcomeKind.API_FAILED
    return OutcomeKind.API_OK


def _tagged(connection: RouterConnection) -> list[tuple[int, str]]:
    """Return (session, id of the entry) of the list entries that are ours."""
    rows = connection.read(Menu.ADDRESS_LIST.value, LIST_PROPERTIES)
    found = []
    for row in rows:
        tag, _, rest = row.get("comment", "").partition(":")
        number = rest.partition(" ")[0]
        if f"{tag}:" == LINE_TAG and number.isascii() and number.isdigit():
            found.append((int(number), row[".id"]))
    return found


def _listed(connection: RouterConnection) -> set[int]:
    return {session_id for session_id, _ in _tagged(connection)}


def _unlist(connection: RouterConnection, session_ids: set[int]) -> int:
    surplus = [entry for session_id, entry in _tagged(connection) if session_id in session_ids]
    return connection.remove(Menu.ADDRESS_LIST.value, surplus) if surplus else 0


def _kick(connection: RouterConnection, order: Order) -> OutcomeKind:
    session, kind = _on_line(order), kind_of(order.names.acct_session_id)
    listings = [_LISTINGS[kind]] if kind is not None and kind in _LISTINGS else _LISTINGS.values()
    is_whole = True
    for path, properties, is_session in listings:
        rows = _optional(connection, path, properties)
        ids = [row[".id"] for row in rows or () if is_session(row, session)]
        if ids:
            return OutcomeKind.API_OK if connection.remove(path, ids) == len(ids) else OutcomeKind.API_FAILED
        is_whole &= rows is not None
    return OutcomeKind.GONE if is_whole else OutcomeKind.API_FAILED
