"""A router, our storage and the loop between them, for tests of the reconciler that can be cut at any point.

Rule: the router obeys what reaches it even when its answer is lost; storage keeps what the table `line` keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from enforcement.reconcile import (
    Capabilities,
    LineState,
    Outcome,
    OutcomeKind,
    Stage,
    Step,
    StepKind,
    after,
    next_step,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MOST_STEPS = 400
CUTS_IN_A_STEP = 3
"""Before the router heard of it, before its answer was heard, before the answer was kept."""


class Crash(Exception):
    """The core dies here."""


@dataclass
class RouterModel:
    """What the router truly does."""

    in_force: bytes
    is_open: bool = True
    coa_cause: int | None = None
    """Error-Cause of every CoA-NAK; None: CoA is taken."""
    narrow_helps: bool = False
    disconnect_cause: int | None = None
    lies: bool = False
    """CoA is acknowledged and not done."""
    stays_until: datetime = START
    """A Disconnect is acknowledged and not done before then."""
    silent_until: datetime = START
    takes_coa: bool = True
    """False: dynamic requests are never answered."""
    away_until: datetime = START
    api_fails_until: datetime = START
    log: list[StepKind] = field(default_factory=list)

    def do(self, step: Step, line: LineState, now: datetime) -> Outcome:
        """Take a step; return what comes back."""
        self.log.append(step.kind)
        if step.kind in (StepKind.COA, StepKind.DISCONNECT):
            return self._dynamic(step, line, now)
        if now < max(self.api_fails_until, self.away_until):
            return Outcome(OutcomeKind.API_FAILED)
        return self._by_api(step, line)

    def _dynamic(self, step: Step, line: LineState, now: datetime) -> Outcome:
        if now < self.away_until:
            return Outcome(OutcomeKind.AWAY)
        if now < self.silent_until or not self.takes_coa:
            return Outcome(OutcomeKind.SILENT)
        if not self.is_open:
            return Outcome(OutcomeKind.NAK, 503)
        disconnect = step.kind is StepKind.DISCONNECT
        cause = self.disconnect_cause if disconnect else self.coa_cause
        if cause is not None and not (self.narrow_helps and step.narrow):
            return Outcome(OutcomeKind.NAK, cause)
        if disconnect:
            self.is_open = now < self.stays_until
        elif not self.lies:
            self.in_force = line.desired
        return Outcome(OutcomeKind.ACK)

    def _by_api(self, step: Step, line: LineState) -> Outcome:
        if not self.is_open:
            return Outcome(OutcomeKind.GONE)
        if step.kind is StepKind.KICK:
            self.is_open = False
            return Outcome(OutcomeKind.API_OK)
        if step.kind is StepKind.API:
            self.in_force = line.desired
            return Outcome(OutcomeKind.API_OK)
        if line.admitted and self.in_force == line.desired:
            return Outcome(OutcomeKind.READ_BACK_MATCHES)
        return Outcome(OutcomeKind.READ_BACK_DIFFERS)


@dataclass
class Run:
    """One core after another at work on one line."""

    router: RouterModel
    capabilities: Capabilities
    kept: LineState
    now: datetime = START
    steps: int = 0

    def settle(self, crash_after: int | None = None, until: Callable[[LineState], bool] | None = None) -> LineState:
        """Work until the line is proven or gone; die at point `crash_after` of all, once."""
        points = iter(range(10**9))

        def point() -> None:
            if next(points) == crash_after:
                raise Crash

        while True:
            try:
                return self._live(point, until)
            except Crash:
                self.kept = replace(self.kept, stage=Stage.NOTHING)

    def _live(self, point: Callable[[], None], until: Callable[[LineState], bool] | None) -> LineState:
        """Be one core: begin with what is kept, end when nothing is left to do."""
        line = self.kept
        while True:
            self.steps += 1
            assert self.steps < MOST_STEPS, f"no end: {line}, {self.router.log[-12:]}"
            step = next_step(line, self.capabilities, self.now)
            if step.kind in (StepKind.PROVEN, StepKind.GONE) or (until is not None and until(line)):
                return line
            if step.kind is StepKind.WAIT:
                assert step.until is not None
                assert step.until > self.now
                self.now = step.until
                continue
            point()
            outcome = self.router.do(step, line, self.now)
            self.now += timedelta(milliseconds=20)
            point()
            line = after(line, step, outcome, self.capabilities, self.now)
            point()
            self.kept = line
