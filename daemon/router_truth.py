"""Session truth: which sessions are closed or taken into the books because a router says so.

Rule: a session that the router does not have is closed when two looks in a row did not find it. One that the books do
not have is taken in when its login is one of our services and it was not stopped; every other one is only shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.engine import Engine

from accounting.session import State
from daemon.router_accounting import adoption
from daemon.router_visit import Sighting
from domain.names import login_key
from domain.network import Router
from enforcement.session_truth import Kind, OpenSession, SeenSession, Truth, compare, seen_sessions
from radius.packet import Packet
from storage import open_sessions, router_duties


class Suspects:
    """The sessions that the look before did not find."""

    def __init__(self) -> None:
        self._ids: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def confirm(self, missing: Iterable[OpenSession]) -> list[OpenSession]:
        """Return those that this look misses too; the others are suspects until the next one."""
        found = list(missing)
        confirmed = [session for session in found if session.id in self._ids]
        self._ids = frozenset(session.id for session in found) - {session.id for session in confirmed}
        return confirmed


class Unknown(NamedTuple):
    """Sessions that the router has and the books have not."""

    adoptable: tuple[Packet, ...]
    """The records that make them known."""
    strange: tuple[SeenSession, ...]
    """To be shown."""


def judge(engine: Engine, router: Router, sighting: Sighting) -> tuple[Truth, Unknown]:
    """Compare the books with what the router showed; the books are read after it, so that nothing new is missed."""
    activity = sighting.activity
    seen = seen_sessions(activity.ppp, activity.hotspot or ())
    shown = {Kind.PPP: sighting.shows_ppp, Kind.HOTSPOT: activity.hotspot is not None}
    kinds = {kind for kind, is_shown in shown.items() if is_shown}
    with engine.connect() as connection:
        truth = compare(router_duties.open_sessions(connection, router.id), seen, sighting.read_us, kinds=kinds)
        ids = [session.acct_session_id or "" for session in truth.unknown]
        states = router_duties.states(connection, router.id, ids) if ids else {}
        logins = {login_key(session.login) for session in truth.unknown}
        services = router_duties.service_logins(connection, logins) if logins else set()
    return truth, _sort(truth, services, states, sighting)


def _sort(truth: Truth, services: set[str], states: Mapping[str, State], sighting: Sighting) -> Unknown:
    adoptable = []
    strange: list[SeenSession] = list(truth.unnamed)
    for session in truth.unknown:
        state = states.get(session.acct_session_id or "")
        if login_key(session.login) not in services or state is State.STOPPED:
            strange.append(session)
        else:
            adoptable.append(adoption(session, sighting.read_us, is_known=state is not None))
    return Unknown(tuple(adoptable), tuple(strange))


def close_ghosts(engine: Engine, ghosts: Sequence[OpenSession]) -> int:
    """Close sessions of which their router knows nothing; return how many."""
    with engine.begin() as connection:
        return open_sessions.close_unknown(connection, [session.id for session in ghosts])
