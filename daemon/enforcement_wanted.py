"""Why a service is looked at, and what follows from it for one of its sessions: values of the evaluation.

Rule: everything here is computed from what one transaction has read; nothing is asked or written.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from daemon.enforcement_orders import Crossing
from domain.network import Plan
from domain.plan_rules import CapAction, Direction, PlanRules
from enforcement.entitlement import Entitlement
from enforcement.explanation import Rule
from enforcement.reconcile import LineState, Proof
from radius.dynamic_authorization import SessionNames
from storage import lines
from storage.lines import Line, Wake
from storage.outbox import Event, Topic
from storage.standing_rows import OpenSession
from storage.standings import Loaded

LEAVING_TIME = timedelta(seconds=5)
"""From a Disconnect-ACK until all that the router reported before it has come; whoever reports later has stayed."""
LONGEST_LEAVING_TIME = timedelta(seconds=60)
"""How long its Stop may take; after that a session without traffic has stayed, or its Stop is lost."""


class Cause(NamedTuple):
    """Why a service is looked at."""

    at: datetime
    urgent: bool = False
    crossed: bool = False
    changed: bool = False
    """Somebody changed it: it may have had another plan."""
    terms_changed: bool = False
    """Somebody changed what it may do on the plan that it has."""
    granted: bool = False
    """A top-up was bought."""
    is_first: bool = False
    """Nobody has acted upon its change before."""
    is_old: bool = False
    """It happened before this core knew the plans."""
    foreign: frozenset[int] = frozenset()
    """Sessions of which another system has changed something by CoA."""


class Wanted(NamedTuple):
    """A session and what it should get."""

    session: OpenSession
    loaded: Loaded
    plan: Plan
    entitlement: Entitlement
    cause: Cause


def causes_of(events: Iterable[Event], horizon: int) -> dict[int, Cause]:
    """Return why each service is looked at; of several events the first tells since when."""
    causes: dict[int, Cause] = {}
    for event in events:
        if event.service_id is None:
            continue
        before = causes.get(event.service_id, Cause(event.happened_at))
        crossed, changed = event.topic is Topic.CROSSED, event.topic is Topic.CHANGED
        causes[event.service_id] = Cause(
            at=before.at,
            urgent=crossed or before.urgent,
            crossed=crossed or before.crossed,
            changed=changed or event.topic is Topic.AGAIN or before.changed,
            terms_changed=event.topic in (Topic.TERMS, Topic.GRANTED) or before.terms_changed,
            granted=event.topic is Topic.GRANTED or before.granted,
            is_first=changed or before.is_first,
            is_old=event.id <= horizon or before.is_old,
            foreign=before.foreign | _foreign(event),
        )
    return causes


def _foreign(event: Event) -> frozenset[int]:
    """Return the session that another system has changed."""
    session = event.session_id
    return frozenset() if event.topic is not Topic.FOREIGN or session is None else frozenset((session,))


def has_stayed(session: OpenSession, now: datetime) -> bool:
    """Tell whether a session goes on that its router said it ended."""
    line = session.line
    if line is None or not line.is_proven or line.proven_by is not Proof.DISCONNECT or line.proven_at is None:
        return False
    return session.heard_at >= line.proven_at + LEAVING_TIME or now >= line.proven_at + LONGEST_LEAVING_TIME


def state_of(line: Line, wanted: Wanted) -> LineState:
    return LineState(
        session_id=line.session_id,
        desired=line.desired,
        desired_since=line.desired_since,
        admitted=wanted.entitlement.admitted,
        proven=line.proven,
        proven_by=line.proven_by,
        attempts=line.attempts,
        next_attempt_at=line.next_attempt_at,
        problem=line.problem,
        disconnect_unproven_seconds=wanted.plan.rules.disconnect_unproven_seconds,
    )


def wake_of(session: OpenSession, entitlement: Entitlement, rules: PlanRules, counting: int) -> Wake:
    """Return at which octets a session is looked at again: by then all together cannot have used what is left."""
    if not entitlement.admitted:
        # The next octet that is reported says that its router did not end it.
        return Wake(session.id, session.octets_up + session.octets_down + 1)
    if rules.burst_budget is not None and entitlement.burst_seconds is not None:
        # Over a longer time than from one report to the next, quiet and burst would even out.
        return Wake(session.id, session.octets_up + session.octets_down + 1)
    left, direction = entitlement.octets_left, entitlement.left_direction
    if left is None or not rules.counts(session.traffic_class):
        return Wake(session.id, None)
    heaviest = max([100, *(window.percent for window in rules.weighing_octets)])
    present = session.octets_up + session.octets_down
    if direction is not Direction.BOTH:
        present = session.octets_down if direction is Direction.DOWN else session.octets_up
    return Wake(session.id, present + lines.share(left, counting, heaviest), direction)


def names_of(session: OpenSession, identifier: str | None) -> SessionNames:
    """Return how a router finds a session; a MAC is left out, for every kind of NAS writes it in its own way."""
    address = None if session.address is None else ip_address(session.address)
    return SessionNames(
        user_name=session.login,
        acct_session_id=session.acct_session_id,
        framed_ip_address=str(address) if address is not None and address.version == 4 else None,
        nas_port_id=session.nas_port_id,
        nas_identifier=identifier,
    )


def crossing_of(wanted: Wanted) -> Crossing | None:
    """Return how far usage is beyond the threshold that was crossed last; None when it was none that slows or stops."""
    cap = wanted.plan.rules.cap
    for applied in reversed(wanted.entitlement.rules):
        charges = applied.rule is Rule.CAP and cap is not None and cap.action is CapAction.OVERAGE
        if applied.rule not in (Rule.CAP, Rule.FUP) or charges:
            continue
        numbers = dict(applied.numbers)
        used, limit = numbers.get("used_octets"), numbers.get("limit_octets")
        if isinstance(used, int) and isinstance(limit, int):
            session = wanted.session
            octets = session.octets_up + session.octets_down
            return Crossing(wanted.cause.at, max(0, used - limit), octets, limit)
    return None
