"""Finds the session that another system's CoA- or Disconnect-Request is about.

Rule: a session is meant only when it fits every name that was given and that we know of sessions; a request whose names
we all do not know is about none (RFC 5176 §3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address, ip_network

import sqlalchemy
from sqlalchemy.engine import Engine

from daemon.enforcement_routers import find_site
from daemon.relayed_requests import Found
from domain.errors import CaudalError, one_line
from domain.names import login_key, mac
from domain.network import Router
from radius.dynamic_authorization import SessionNames
from storage import open_sessions
from storage.open_sessions import NamedSession, Names

MOST_FOUND = 2
"""More than one is too many already."""


class CannotFind(CaudalError):
    """The database cannot be asked."""


class RelayedSessions:
    """Looks sessions up in the database; the routers are those of the present configuration."""

    def __init__(self, engine: Engine, routers: Callable[[], Mapping[int, Router]]) -> None:
        self._engine = engine
        self._routers = routers

    async def find(self, names: SessionNames) -> Sequence[Found]:
        """Return the open sessions that fit, two at most; raise `CannotFind` when that is not known."""
        routers = self._routers()
        asked = Names(
            login=None if names.user_name is None else login_key(names.user_name),
            acct_session_id=names.acct_session_id,
            address=names.framed_ip_address,
            mac=None if names.calling_station_id is None else mac(names.calling_station_id),
            nas_port_id=names.nas_port_id,
            multi_session_id=names.acct_multi_session_id,
        )
        meant = [router.id for router in routers.values() if _is_meant(router, names)]
        try:
            found = await asyncio.to_thread(self._look, asked, meant)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise CannotFind(f"sessions cannot be looked up: {one_line(error)}") from error
        return [_found(each, routers) for each in found]

    def _look(self, names: Names, router_ids: Collection[int]) -> list[NamedSession]:
        with self._engine.connect() as connection:
            return open_sessions.find(connection, names, router_ids, MOST_FOUND)


def _is_meant(router: Router, names: SessionNames) -> bool:
    """Tell whether a router is the one that a request names, if it names one."""
    if names.nas_identifier is not None and router.identifier not in (None, names.nas_identifier):
        return False
    address = names.nas_ip_address or names.nas_ipv6_address
    return address is None or ip_address(address) in ip_network(router.network)


def _found(session: NamedSession, routers: Mapping[int, Router]) -> Found:
    box = session.router_id, session.nas
    site = find_site(routers, box)
    address = None if session.address is None else ip_address(session.address)
    names = SessionNames(
        user_name=session.login,
        acct_session_id=session.acct_session_id,
        framed_ip_address=str(address) if address is not None and address.version == 4 else None,
        nas_port_id=session.nas_port_id,
        acct_multi_session_id=session.multi_session_id,
    )
    return Found(names, None if site is None else site.target, session.id, box)
