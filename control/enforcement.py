"""Routes over enforcement: why a line has its speed, which lines are not proven, and an operator's orders.

Rule: what a line may do is asked of the one function that decides it; an order is one transaction with the event that
brings it to the routers, and its answer tells what the line may do from now on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from sqlalchemy.engine import Connection

from control import models
from control.directory import service_of
from control.errors import RequestRefused, bad_request
from control.ports import ControlPorts
from control.purchase_log import note_top_up
from control.questions import DEFAULT_LIMIT, LARGEST_ID, AfterPosition, Limit, Name, NameFilter, Ports, require
from domain.network import AccountState, Plan
from domain.plan_rules import Cap, Change, ChangeKind, TopUpOffer
from enforcement.allowance import bought, draw
from enforcement.entitlement import Entitlement, entitle, prospects
from enforcement.explanation import Language, Prospect
from enforcement.periods import NEVER, Span, cap_span
from enforcement.reconcile import Proof
from enforcement.standing import Override, Usage
from storage import lines, overrides, standings, top_ups
from storage.billing import top_up_sales
from storage.lines import Line
from storage.listing import ServiceRow
from storage.snapshot import Snapshot
from storage.standing_rows import OpenSession
from storage.standings import Loaded
from storage.top_ups import Charge, KeyReused, Order, Origin, TopUpRow

LARGEST_ROUTER_ID = 2**31 - 1

routes = APIRouter(tags=["enforcement"])


@routes.get("/explain/{service:path}")
def explain(
    ports: Ports,
    service: Name,
    language: Annotated[Language, Query(description="In which language the sentences are.")] = Language.ENGLISH,
) -> models.Explanation:
    """Tell what the line of a service may do now, the rules that led there, and what would change it."""
    known = service_of(ports, service)
    with ports.engine.connect() as connection:
        return _find(ports, connection, known).explanation(language, known.state)


@routes.get("/lines")
def list_lines(
    ports: Ports,
    unproven: Annotated[bool, Query(description="Only lines whose router is not proven to obey.")] = False,
    router: NameFilter = None,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterPosition = None,
) -> models.Listing[models.Line]:
    """List the lines of open sessions, by router and session."""
    require(ports, router=router)
    with ports.engine.connect() as connection:
        rows = lines.listing(connection, unproven=unproven, router=router, after=_place(after), limit=limit + 1)
    last = rows[limit - 1].line if len(rows) > limit else None
    return models.Listing(
        items=[_line(row.line, row.login, row.router) for row in rows[:limit]],
        next=None if last is None else f"{last.router_id}-{last.session_id}",
    )


@routes.post("/accounts/{service:path}")
def set_account(ports: Ports, service: Name, order: models.AccountOrder) -> models.Verdict:
    """Block the line of a service, or let it in again."""
    found = service_of(ports, service)
    with ports.engine.begin() as connection:
        overrides.set_account_state(connection, [found.id], AccountState(order.state))
        return _find(ports, connection, found).verdict()


@routes.post("/overrides/{service:path}")
def set_override(ports: Ports, service: Name, order: models.OverrideOrder) -> models.Verdict:
    """Give the line of a service other rates for a while."""
    found, now = service_of(ports, service), ports.now()
    until = None if order.hours is None else now + timedelta(hours=order.hours)
    _check_storable(order.operator, order.reason)
    override = Override(_change(order), until, order.operator, order.reason)
    with ports.engine.begin() as connection:
        overrides.set_override(connection, found.id, override, now)
        return _find(ports, connection, found).verdict()


@routes.post("/releases/{service:path}")
def release(ports: Ports, service: Name) -> models.Verdict:
    """Take an override back."""
    found = service_of(ports, service)
    with ports.engine.begin() as connection:
        if not overrides.clear_override(connection, found.id):
            raise bad_request(f"{found.login} has no override", "see `caudal explain` for what its line may do")
        return _find(ports, connection, found).verdict()


@routes.get("/top-ups/{service:path}")
def list_top_ups(ports: Ports, service: Name, limit: Limit = DEFAULT_LIMIT) -> models.Listing[models.TopUp]:
    """List the top-ups of a service, the newest first."""
    found = service_of(ports, service)
    with ports.engine.connect() as connection:
        rows = top_ups.of_service(connection, found.id, limit=limit)
        left = _find(ports, connection, found).octets_left() if rows else {}
    return models.Listing(items=[_top_up(found.login, row, left) for row in rows], next=None)


@routes.post("/top-ups/{service:path}")
def buy_top_up(ports: Ports, service: Name, order: models.TopUpOrder) -> models.TopUp:
    """Buy a top-up that the plan of the service offers, and charge it; one key is one purchase."""
    known, now = service_of(ports, service), ports.now()
    _check_storable(order.key)
    with ports.engine.begin() as connection:
        found = _find(ports, connection, known)
        offer = _offer(found.plan, order.offer)
        held = bought(offer, 0, now, found.cap_span)
        wanted = Order(known.id, offer, held.begins, held.ends)
        try:
            charge = None if order.charge is None else Charge(order.charge)
            made = top_up_sales.sell(connection, wanted, Origin.OPERATOR, order.key, now, charge)
        except KeyReused as error:
            hint = "send each purchase with a key of its own"
            raise RequestRefused(
                HTTPStatus.CONFLICT, "key_reused", f"the key {error.key!r} belongs to another purchase", hint=hint
            ) from error
        rows = top_ups.of_service(connection, known.id, limit=LARGEST_ID)
        left = _find(ports, connection, known).octets_left()
    if made.is_new:
        note_top_up(ports, known.login, offer.name, Origin.OPERATOR, asked_at=now)
    return _top_up(known.login, next(row for row in rows if row.id == made.id), left)


class _Found:
    """A service with its plan, and what its line may do now."""

    def __init__(self, loaded: Loaded, snapshot: Snapshot, now: datetime) -> None:
        self.loaded = loaded
        self.plan = snapshot.plans[loaded.contract.plan_id]
        self.zone = ZoneInfo(snapshot.timezone)
        self._routers = snapshot.routers
        self._now = now
        self._blocking = self.plan.rules.blocking or snapshot.blocking
        self.entitlement = entitle(self.plan, self.plan.rules, self._blocking, loaded.standing, self.zone, now)

    @property
    def cap_span(self) -> Span:
        """The present period of the cap; the month where there is no cap."""
        return cap_span(self.plan.rules, self.zone, self._now, self.loaded.standing.period_day)

    def octets_left(self) -> dict[int, int]:
        """Return what the top-ups that hold have left now, by id."""
        cap, standing, span = self.plan.rules.cap, self.loaded.standing, self.cap_span
        if cap is None:
            return {}
        used = _used(standing.usage, cap, span)
        drawn = draw(cap, used, span, self._now, carried_octets=standing.carried_octets, top_ups=standing.top_ups)
        return {source.top_up_id: source.remaining for source in drawn.sources if source.top_up_id is not None}

    def verdict(self) -> models.Verdict:
        """Return what the line may do."""
        now = self.entitlement
        return models.Verdict(
            service=self.loaded.contract.login,
            admitted=now.admitted,
            refusal=None if now.refusal is None else now.refusal.value,
            walled=now.walled,
            download_bits_per_second=now.download,
            upload_bits_per_second=now.upload,
        )

    def explanation(self, language: Language, sale: str | None) -> models.Explanation:
        """Return it with everything that led there, and how the sale of the line stands."""
        now = self.entitlement
        outlook = prospects(self.plan, self.plan.rules, self._blocking, self.loaded.standing, self.zone, self._now)
        return models.Explanation(
            **self.verdict().model_dump(),
            plan=self.plan.name,
            sale=sale,
            at=self._now,
            timezone=self.zone.key,
            burst=None if now.burst_seconds is None else _burst(now),
            guaranteed_download_bits_per_second=now.guaranteed_download,
            guaranteed_upload_bits_per_second=now.guaranteed_upload,
            priority=now.priority,
            address_list=now.address_list,
            octets_left=now.octets_left,
            left_direction=now.left_direction.value,
            valid_until=now.valid_until,
            overage_octets=now.overage_octets,
            warnings=list(now.warnings),
            ceiling_warnings=list(now.ceiling_warnings),
            rules=[
                models.AppliedRule(
                    rule=rule.rule.value,
                    name=rule.name,
                    numbers=dict(rule.numbers),
                    text=rule.text(language, self.zone),
                )
                for rule in now.rules
            ],
            # A line that is not let in uses nothing.
            prospects=[each.text(language, self.zone) for each in outlook if now.admitted or not _is_usage(each)],
            sessions=[self._session(session) for session in self.loaded.sessions],
        )

    def _session(self, session: OpenSession) -> models.Line:
        router = self._routers.get(session.router_id)
        name = None if router is None else router.name
        if session.line is None:
            # Nobody has looked at it since its login; what ends or walls in a line was ordered a moment ago.
            obeys = self.entitlement.admitted and not self.entitlement.walled
            return models.Line(
                session_id=session.id,
                login=session.login,
                router=name,
                is_proven=obeys,
                proven_by=Proof.LOGIN.value if obeys else None,
                proven_at=session.started_at if obeys else None,
                desired_since=session.started_at if obeys else self._now,
                problem=None,
                attempts=0,
                next_attempt_at=None,
                overshoot_octets=None,
            )
        return _line(session.line, session.login, name)


def _find(ports: ControlPorts, connection: Connection, service: ServiceRow) -> _Found:
    snapshot, now = ports.snapshot(), ports.now()
    loaded = standings.load(connection, [service.id], snapshot.plans, ZoneInfo(snapshot.timezone), now)
    if service.id not in loaded:
        raise RequestRefused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not_in_force",
            f"the plan of {service.login} is not in force yet",
            hint="try again in a second",
        )
    return _Found(loaded[service.id], snapshot, now)


def _is_usage(prospect: Prospect) -> bool:
    return prospect.numbers[0][0] == "left_octets"


def _burst(now: Entitlement) -> models.BurstRates:
    return models.BurstRates(
        download_bits_per_second=now.burst_download,
        upload_bits_per_second=now.burst_upload,
        seconds=now.burst_seconds,
    )


def _line(line: Line, login: str, router: str | None) -> models.Line:
    return models.Line(
        session_id=line.session_id,
        login=login,
        router=router,
        is_proven=line.is_proven,
        proven_by=None if line.proven_by is None else line.proven_by.value,
        proven_at=line.proven_at,
        desired_since=line.desired_since,
        problem=None if line.problem is None else line.problem.value,
        attempts=line.attempts,
        next_attempt_at=line.next_attempt_at,
        overshoot_octets=line.overshoot_octets,
    )


def _used(usage: Usage | None, cap: Cap, span: Span) -> int:
    """Return the octets that count for the cap in its present period."""
    counter = None if usage is None else usage.of(cap.period)
    return counter.octets(cap.direction) if counter is not None and counter.begins >= span.begins else 0


def _top_up(login: str, row: TopUpRow, left: Mapping[int, int]) -> models.TopUp:
    return models.TopUp(
        id=row.id,
        service=login,
        name=row.name,
        kind=row.kind.value,
        octets=row.octets,
        octets_left=left.get(row.id, 0),
        bought_at=row.bought_at,
        ends_at=row.ends_at if row.ends_at < NEVER else None,
        origin=row.origin.value,
        price=f"{row.price:f}",
        charge=row.charge.value,
    )


def _offer(plan: Plan, name: str) -> TopUpOffer:
    for offer in plan.rules.top_ups:
        if offer.name == name:
            return offer
    offers = ", ".join(offer.name for offer in plan.rules.top_ups)
    raise bad_request(
        f"the plan {plan.name} offers no top-up {name!r}", f"it offers {offers}" if offers else "it offers none"
    )


def _check_storable(*texts: str) -> None:
    """Refuse what the database cannot hold."""
    if any("\0" in text for text in texts):
        raise bad_request("a text holds a NUL character", "leave it away")


def _change(order: models.OverrideOrder) -> Change:
    rates = order.download_bits_per_second, order.upload_bits_per_second
    if (order.percent is None) == (rates == (None, None)):
        raise bad_request("an override is a percentage or rates", "give `percent`, or one rate or both")
    if order.percent is not None:
        return Change(ChangeKind.PERCENT, percent=order.percent)
    return Change(ChangeKind.FIXED, *rates)


def _place(after: str | None) -> tuple[int, int]:
    """Return the (router, session) after which a page begins; refuse what no page has given."""
    if after is None:
        return 0, 0
    router, dash, session = after.partition("-")
    if not dash or not router.isdecimal() or not session.isdecimal():
        raise bad_request(f"{after!r} is no cursor", "give `next` of the page before, or leave `after` away")
    place = int(router), int(session)
    if place[0] > LARGEST_ROUTER_ID or place[1] > LARGEST_ID:
        raise bad_request(f"{after!r} is no cursor", "give `next` of the page before, or leave `after` away")
    return place
