"""Shows the sessions of a simulated router to its API, and brings what the API does to them to the router.

Rule: nothing is remembered here; the router's own sessions are what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address

from domain.instants import Microseconds
from simulator.description import API_PORT, API_TLS_PORT, ApiDescription
from simulator.rate_limit import Pair
from simulator.rates import Rates
from simulator.router import Router
from simulator.routeros_menus import PPP_AAA, RADIUS
from simulator.routeros_server import Box
from simulator.routeros_sessions import ActiveSession
from simulator.routeros_state import BoxSettings, RouterState
from simulator.routeros_words import text
from simulator.session import Session


class RouterLines:
    """The sessions of one router, as `simulator.routeros_sessions.Lines` asks for them."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def sessions(self, now: Microseconds) -> Iterator[ActiveSession]:
        """Yield what is open, with counters as they are now."""
        for session in self._router.book.sessions():
            session.advance(now)
            yield _shown(session)

    def kick(self, acct_session_id: str, now: Microseconds) -> None:
        """End a session; its Stop leaves with the router's next beat."""
        self._router.kick(acct_session_id, now)

    def shape(self, address: str, rates: Rates | None, now: Microseconds) -> None:
        """Limit an address that has no queue of RADIUS's."""
        self._router.shape(ip_address(address).packed, rates, now)

    def reboot(self, now: Microseconds) -> None:
        """Reboot the router."""
        self._router.reboot(now)


def box_of(router: Router, api: ApiDescription, radius: Mapping[str, str], clock: Callable[[], Microseconds]) -> Box:
    """Return the box of a router, set up for RADIUS; `radius` says where the server is."""
    described = router.description
    settings = BoxSettings(
        identity=described.identifier,
        user=api.user,
        password=api.password,
        api_port=API_PORT if api.tls else api.port,
        api_tls_port=api.port if api.tls else API_TLS_PORT,
        clock_offset_us=router.clock_offset_us,
    )
    state = RouterState(settings, clock(), lines=RouterLines(router), incoming=router.incoming)
    state.set_up(PPP_AAA, {"use-radius": "yes", "accounting": "yes"})
    state.enter(RADIUS, {"service": "ppp", "secret": text(described.secret.reveal()), **radius})
    box = Box(state, clock, is_up=lambda: router.is_up)

    def lose_power(now: Microseconds) -> None:
        state.restart(now)
        box.drop_connections()

    router.on_reboot = lose_power
    return box


def _shown(session: Session) -> ActiveSession:
    return ActiveSession(
        acct_session_id=session.acct_session_id,
        login=session.login,
        address=str(ip_address(session.address)),
        caller_id=session.line.mac,
        started_us=session.started_us,
        octets=Pair(session.octets_up, session.octets_down),
        bits_per_second=session.bits_per_second,
        rate_limit=session.rate_limit,
        address_list=session.address_list,
        limit_octets=session.limit_octets,
    )
