"""The lines at work: each unproven line is brought, step by step, to what it should get.

Rule: `enforcement.reconcile` decides every step, here they are only taken and timed. Of a session the newest wish
counts: one that comes while a step is under way begins when that step has ended. Nothing here has to survive: whoever
begins anew reads the unproven lines and takes the same steps.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import structlog

from daemon.enforcement_keeper import LineKeeper
from daemon.enforcement_orders import Order
from daemon.enforcement_report import EnforcementCounts
from daemon.enforcement_routers import RouterLane, Site
from daemon.line_work import Work
from enforcement import polled_accounting
from enforcement.drivers.coa import CoaClient, Kind
from enforcement.drivers.coa_ports import CannotSend
from enforcement.line_change import BY_API_ALONE, DISCONNECTION, line_change
from enforcement.read_back import is_listed
from enforcement.reconcile import (
    LineState,
    Outcome,
    OutcomeKind,
    Problem,
    Step,
    StepKind,
    after,
    next_step,
    without_a_word,
)
from enforcement.router_queue import Ended
from radius.dynamic_authorization import CannotAsk, change, disconnect

OVER_RADIUS = frozenset({StepKind.COA, StepKind.DISCONNECT})
_OUTCOMES = {Kind.ACK: OutcomeKind.ACK, Kind.NAK: OutcomeKind.NAK, Kind.SILENT: OutcomeKind.SILENT}


class LineApi(Protocol):
    """What the lines at work need of a router's management API; each call is one step."""

    async def read_back(self, site: Site, order: Order) -> OutcomeKind:
        """Tell READ_BACK_MATCHES, READ_BACK_DIFFERS, GONE or API_FAILED."""

    async def change(self, site: Site, order: Order) -> OutcomeKind:
        """Set what CoA does not carry; tell API_OK, API_FAILED or GONE."""

    async def kick(self, site: Site, order: Order) -> OutcomeKind:
        """End the session; tell API_OK, API_FAILED or GONE."""


class Lines:
    """All lines at work on this core."""

    def __init__(
        self,
        coa: CoaClient,
        api: LineApi,
        keeper: LineKeeper,
        counts: EnforcementCounts,
        *,
        find_site: Callable[[Order], Site | None],
        find_lane: Callable[[Order], RouterLane],
        clock: Callable[[], datetime],
    ) -> None:
        self._coa = coa
        self._api = api
        self._keeper = keeper
        self._counts = counts
        self._find_site = find_site
        self._find_lane = find_lane
        self._clock = clock
        self._works: dict[int, Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()
        self._closed = False

    def __len__(self) -> int:
        return len(self._works)

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._works

    def problems(self) -> Counter[str]:
        """Return how many lines are unproven, by problem."""
        return Counter(
            "pending" if work.line.problem is None else work.line.problem.value for work in self._works.values()
        )

    def take(self, order: Order) -> None:
        """Bring a line to what it should get now."""
        session_id = order.state.session_id
        work = self._works.get(session_id)
        if work is None:
            if not order.state.is_doubted and self._keeper.holds(session_id, order.state.desired):
                return
            work = self._works[session_id] = Work(order)
        elif work.order.state.desired == order.state.desired and work.newer is None:
            return
        elif work.busy:
            work.newer = order
            self._note_crossing(order)
            return
        else:
            work.wish(order)
        self._note_crossing(order)
        self._advance(work)

    def withdraw(self, session_ids: Iterable[int]) -> None:
        """Forget the lines of sessions that ended."""
        for session_id in session_ids:
            work = self._works.pop(session_id, None)
            if work is not None:
                self._unpark(work)
                if work.timer is not None:
                    work.timer.cancel()

    def disprove(self, session_id: int) -> None:
        """Learn that another system may have changed a session: a line at work begins anew."""
        work = self._works.get(session_id)
        if work is None:
            return
        if work.busy:
            work.is_disproved = True
            return
        work.forget()
        self._unpark(work)
        self._advance(work)

    def close(self) -> None:
        """Stop where everything stands."""
        self._closed = True
        self.withdraw(list(self._works))
        for task in self._tasks:
            task.cancel()

    def _note_crossing(self, order: Order) -> None:
        crossing = order.crossing
        if crossing is not None:
            self._log.info(
                "threshold crossed",
                **_names(order),
                used_octets=crossing.limit_octets + crossing.beyond_octets,
                limit_octets=crossing.limit_octets,
            )

    def _advance(self, work: Work) -> None:
        """Begin the next step of a line that has none under way."""
        if work.timer is not None:
            work.timer.cancel()
            work.timer = None
        self._weigh(work)
        if work.change.is_nothing and not work.line.is_proven:
            self._conclude(work, without_a_word(work.line))
            return
        step = next_step(work.line, work.change.capabilities, self._clock())
        if step.kind is StepKind.WAIT:
            self._wait(work, step)
        elif step.kind in (StepKind.PROVEN, StepKind.GONE):
            self._drop(work)
        elif step.kind in OVER_RADIUS:
            self._park(work)
        else:
            self._unpark(work)
            self._start(work, step, self._by_api(work, step))

    def _weigh(self, work: Work) -> None:
        """Find out what has to be said, by what is configured now."""
        site = self._find_site(work.order)
        if site is None:
            work.change = DISCONNECTION
            return
        if (work.order.names.acct_session_id or "").startswith(polled_accounting.PREFIX):
            work.change = BY_API_ALONE
            return
        try:
            work.change = line_change(
                work.order.wish,
                work.before,
                site.profile,
                candidates=work.candidates,
                has_api=site.router.api is not None and is_listed(work.order.names.acct_session_id),
            )
        except ValueError as error:
            self._log.error("a line cannot be told what it should get", **_names(work.order), error=str(error))
            work.change = DISCONNECTION

    def _wait(self, work: Work, step: Step) -> None:
        """Come back when the pause is over; while the router is away, its probes set the pace."""
        lane = self._lane(work)
        if lane.is_away and work.line.problem in (Problem.NO_ANSWER, Problem.ROUTER_AWAY):
            eager = replace(work.line, next_attempt_at=None)
            if next_step(eager, work.change.capabilities, self._clock()).kind in OVER_RADIUS:
                work.line = replace(eager, problem=Problem.ROUTER_AWAY)
                self._keeper.keep(work.line, self._clock())
                self._park(work)
                return
        self._unpark(work)
        assert step.until is not None
        pause = (step.until - self._clock()).total_seconds()
        work.timer = asyncio.get_running_loop().call_later(max(0.0, pause), self._advance, work)

    def _park(self, work: Work) -> None:
        """Let a line wait for its turn at its router."""
        lane = self._lane(work)
        work.parked = True
        if lane.is_away and work.line.problem is not Problem.ROUTER_AWAY:
            work.line = replace(work.line, problem=Problem.ROUTER_AWAY)
            self._keeper.keep(work.line, self._clock())
        if not lane.push(work.line.session_id, partial(self._take_turn, work), urgent=work.order.urgent):
            work.parked = False
            step = Step(StepKind.COA)
            self._settle(work, step, Outcome(OutcomeKind.LIMITED))

    def _unpark(self, work: Work) -> None:
        if work.parked:
            work.parked = False
            self._lane(work).withdraw(work.line.session_id)

    def _lane(self, work: Work) -> RouterLane:
        return self._find_lane(work.order)

    def _take_turn(self, work: Work) -> None:
        """Send what is to be sent now that the router's turn has come."""
        work.parked = False
        lane = self._lane(work)
        step = next_step(work.line, work.change.capabilities, self._clock())
        if step.kind in OVER_RADIUS:
            self._start(work, step, self._over_radius(work, step, lane))
        else:
            lane.done(work.line.session_id, Ended.UNSENT)
            self._advance(work)

    async def _over_radius(self, work: Work, step: Step, lane: RouterLane) -> Outcome:
        ended = Ended.GIVEN_UP
        was_away = lane.is_away
        try:
            outcome, ended = await self._ask(work, step)
        finally:
            lane.done(work.line.session_id, ended)
        # Its router came back after its last retransmission: that silence says nothing of it.
        work.is_due = was_away and not lane.is_away and outcome.kind is OutcomeKind.SILENT
        return outcome

    async def _ask(self, work: Work, step: Step) -> tuple[Outcome, Ended]:
        site = self._find_site(work.order)
        if site is None or site.target is None:
            return Outcome(OutcomeKind.IMPOSSIBLE), Ended.UNSENT
        names = work.order.names
        try:
            request = change(names, work.change.attributes) if step.kind is StepKind.COA else disconnect(names)
            self._note_wire(work)
            told = await self._coa.send(site.target, request.narrowed() if step.narrow else request)
        except CannotAsk as error:
            self._log.error("a request cannot be made", **_names(work.order), error=str(error))
            return Outcome(OutcomeKind.IMPOSSIBLE), Ended.UNSENT
        except CannotSend as error:
            self._log.warning("a request cannot leave now", **_names(work.order), error=str(error))
            return Outcome(OutcomeKind.LIMITED), Ended.UNSENT
        outcome = Outcome(_OUTCOMES[told.kind], told.cause)
        if told.kind is Kind.SILENT:
            return outcome, Ended.GIVEN_UP
        return outcome, Ended.ANSWERED

    async def _by_api(self, work: Work, step: Step) -> Outcome:
        site = self._find_site(work.order)
        if site is None or site.router.api is None:
            return Outcome(OutcomeKind.API_FAILED)
        if step.kind is StepKind.READ_BACK:
            return Outcome(await self._api.read_back(site, work.order))
        self._note_wire(work)
        ask = self._api.kick if step.kind is StepKind.KICK else self._api.change
        return Outcome(await ask(site, work.order))

    def _note_wire(self, work: Work) -> None:
        if work.wire_us is None:
            work.wire_us = self._since(work.order.caused_at)
            self._counts.wire_us.observe(work.wire_us)

    def _since(self, instant: datetime) -> int:
        return max(0, int((self._clock() - instant).total_seconds() * 1_000_000))

    def _settle(self, work: Work, step: Step, outcome: Outcome) -> None:
        """Take in the outcome of a step, keep it, and go on."""
        work.busy = False
        if self._closed or self._works.get(work.line.session_id) is not work:
            return
        now = self._clock()
        self._counts.requests[step.kind.value, outcome.kind.value] += 1
        if work.is_disproved:
            work.forget()
            self._go_on(work)
            return
        line = after(work.line, step, outcome, work.change.capabilities, now)
        if work.is_due:
            work.is_due = False
            line = replace(line, next_attempt_at=None)
        if line.gone or line.is_proven:
            self._conclude(work, line)
            return
        if line.problem is not work.line.problem or line.attempts != work.line.attempts:
            self._keeper.keep(line, now)
            self._log.warning(
                "line not proven",
                **_names(work.order),
                step=step.kind.value,
                problem=None if line.problem is None else line.problem.value,
                attempts=line.attempts,
            )
        work.learn(line)
        self._go_on(work)

    def _conclude(self, work: Work, line: LineState) -> None:
        """Keep what was proven, or that there is no such session."""
        work.learn(line)
        self._keeper.keep(line, self._clock(), work.order.crossing)
        latency_us = self._since(work.order.caused_at)
        if line.gone:
            self._log.info("session closed: its router has none such", **_names(work.order))
        elif line.proven_by is not None:
            self._counts.proven[line.proven_by.value] += 1
            self._counts.proof_us.observe(latency_us)
            entitlement = work.order.wish.entitlement
            self._log.info(
                "line proven",
                **_names(work.order),
                by=line.proven_by.value,
                wire_ms=None if work.wire_us is None else round(work.wire_us / 1000, 1),
                latency_ms=round(latency_us / 1000, 1),
                admitted=entitlement.admitted,
                download=entitlement.download,
                upload=entitlement.upload,
            )
        self._go_on(work)

    def _go_on(self, work: Work) -> None:
        """Begin what came meanwhile, else the next step."""
        newer, work.newer = work.newer, None
        if newer is not None and not work.line.gone:
            work.wish(newer)
        elif work.line.gone or work.line.is_proven:
            self._drop(work)
            return
        self._advance(work)

    def _drop(self, work: Work) -> None:
        self._unpark(work)
        self._works.pop(work.line.session_id, None)

    def _start(self, work: Work, step: Step, taken: Coroutine[Any, Any, Outcome]) -> None:
        """Take a step, of which a line has one at a time."""
        work.busy = True
        task = asyncio.get_running_loop().create_task(self._take_step(work, step, taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_step(self, work: Work, step: Step, taken: Coroutine[Any, Any, Outcome]) -> None:
        try:
            outcome = await taken
        except Exception:  # noqa: BLE001 - a defect that one line brings to light must not cost the others
            self._log.exception("a step failed", **_names(work.order), step=step.kind.value)
            outcome = Outcome(OutcomeKind.IMPOSSIBLE)
        self._settle(work, step, outcome)


def _names(order: Order) -> dict[str, object]:
    """Return how a log names a line."""
    return {
        "login": order.wish.login,
        "router": order.router,
        "acct_session_id": order.names.acct_session_id,
    }
