"""The rules that go by usage: fair use, cap, burst budget.

Rule: usage of a period counts only while that period is the present one; a threshold is reached when as much is used as
it says, not one octet later.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from domain.instants import to_datetime, to_microseconds
from domain.plan_rules import Cap, CapAction, ChangeKind, Direction, Period
from domain.tariff import Tariff, ceiling_units, rate
from enforcement.allowance import burst_octets, burst_resumes_at, draw, own_octets, percent_octets
from enforcement.explanation import Effect, Numbers, Rule
from enforcement.periods import NEVER, Span
from enforcement.prepared_plan import Step, ceiling_marks
from enforcement.running_terms import RunningTerms
from enforcement.standing import BurstLevel, Counter, TopUp
from enforcement.terms import Refusal
from enforcement.time_weights import FULL_SECOND

CARRIED = "carried"
"""What the explanation calls what ran over in a period before."""
CEILING = "max"
"""What the explanation calls the point from which overage costs nothing more."""


def until_numbers(ends: datetime) -> Numbers:
    """Return until when something holds, as the explanation has it; nothing where it has no end."""
    return (("until_us", to_microseconds(ends)),) if ends < NEVER else ()


class UsageRules(RunningTerms):
    """A computation, with the rules by usage."""

    __slots__ = ()

    def _fup_span(self, period: Period) -> Span:
        rules = self._prepared.rules
        reset_day = None if rules.fup is None else rules.fup.reset_day
        first_day = reset_day or self._standing.period_day
        return self._prepared.almanac.span(period, self._now, first_day, rules.week_starts)

    def _fair_use(self, steps: tuple[Step, ...]) -> None:
        chosen: tuple[Step, Numbers] | None = None
        for step in steps:
            span = self._fup_span(step.period)
            reached = self._reached(step, self._counter(step.period, span, of_fup=True), span)
            if reached is None:
                continue
            self._change_at(span.ends, Rule.FUP, step.name)
            if chosen is None or step.precedence >= chosen[0].precedence:
                chosen = step, reached
        if chosen is not None:
            self._hold(*chosen)

    def _counter(self, period: Period, span: Span, *, of_fup: bool) -> Counter | None:
        """Return the usage of the present period, None where nothing was used since it began."""
        usage = self._standing.usage
        if usage is None:
            return None
        own = of_fup and period is Period.MONTH and usage.fup_month is not None
        counter = usage.fup_month if own else usage.of(period)
        return counter if counter is not None and counter.begins >= span.begins else None

    def _reached(self, step: Step, counter: Counter | None, span: Span) -> Numbers | None:
        """Return the numbers of a step that is reached; else note what is missing."""
        numbers: Numbers | None = None
        if step.octets is not None:
            used = _octets(counter, step.direction)
            if used >= step.octets:
                numbers = (("used_octets", used), ("limit_octets", step.octets), ("period", step.period.value))
            else:
                self._change_after(self._weighed(step.octets - used), step.direction, Rule.FUP, step.name)
        if step.seconds is None or numbers is not None:
            return numbers
        return self._seconds_reached(step, step.seconds, counter, span)

    def _seconds_reached(self, step: Step, limit: int, counter: Counter | None, span: Span) -> Numbers | None:
        """Add what open sessions were on line since the usage was read; look again when they reach the step."""
        usage = self._standing.usage
        if usage is None:
            return None
        weights = self._prepared.time_weights(span)
        since = to_microseconds(max(usage.as_of, span.begins))
        now = max(since, to_microseconds(self._now))
        online = 0 if counter is None else counter.seconds * FULL_SECOND + counter.rest
        online += weights.between(since, now) * usage.sessions
        missing = limit * FULL_SECOND - online
        if missing <= 0:
            seconds = online // FULL_SECOND
            return ("used_seconds", seconds), ("limit_seconds", limit), ("period", step.period.value)
        if usage.sessions > 0:
            at = weights.reached_at(now, -(-missing // usage.sessions))
            self._change_at(span.ends if at is None else min(to_datetime(at), span.ends), Rule.FUP, step.name)
        return None

    def _hold(self, step: Step, numbers: Numbers) -> None:
        change = step.change
        if change.kind is ChangeKind.BLOCK:
            self._refusal = Refusal.FUP
            self._apply(Rule.FUP, step.name, numbers, Effect.BLOCKS)
            return
        self._slow(change, may_raise=change.kind is ChangeKind.PERCENT)
        self._sets(Rule.FUP, step.name, numbers)

    def _cap(self, cap: Cap, lifted: TopUp | None) -> None:
        standing = self._standing
        week_starts = self._prepared.rules.week_starts
        span = self._prepared.almanac.span(cap.period, self._now, standing.period_day, week_starts)
        used = _octets(self._counter(cap.period, span, of_fup=False), cap.direction)
        limit = self._limit(cap, used, span)
        over, reached = used - limit, 0
        for percent, name in self._prepared.thresholds:
            needed = percent_octets(limit, percent)
            if used < needed:
                self._change_after(self._weighed(needed - used), cap.direction, Rule.CAP, name)
                break
            reached = percent
        if reached:
            self._change_at(span.ends, Rule.CAP, "")
            self._warnings = tuple([percent for percent in cap.warn_percents if percent <= reached])
            self._await_purchases(reached)
        elif cap.rollover is not None or self._standing.carried_octets:
            self._change_at(span.ends, Rule.CAP, "")
        if over >= 0:
            self._cap_reached(cap, used, limit, span, lifted)

    def _limit(self, cap: Cap, used: int, span: Span) -> int:
        """Return all that may be used in the present period."""
        standing = self._standing
        carried = standing.carried_octets
        if carried < 0:
            self._apply(Rule.CAP, CARRIED, (("carried_octets", -carried), *until_numbers(span.ends)), Effect.REDUCES)
        if not standing.top_ups:
            return own_octets(cap, carried) + max(0, carried) + cap.bonus_octets
        drawn = draw(cap, used, span, self._now, carried_octets=carried, top_ups=standing.top_ups)
        holding = {top_up.id: top_up for top_up in standing.top_ups if top_up.ends > self._now}
        for source in drawn.sources:
            top_up = None if source.top_up_id is None else holding.get(source.top_up_id)
            if top_up is None:
                continue
            if top_up.ends > span.ends:
                self._change_at(span.ends, Rule.TOP_UP, source.name)
            if source.used:
                numbers: Numbers = (("left_octets", source.remaining), ("limit_octets", source.octets))
                numbers += until_numbers(top_up.ends)
                self._apply(Rule.TOP_UP, source.name, numbers, Effect.EXTENDS)
        return drawn.limit

    def _await_purchases(self, reached: int) -> None:
        """Look again when the calendar month turns, after which automatic top-ups may be bought again."""
        automatic = self._prepared.automatic
        if automatic is not None and reached >= automatic:
            self._change_at(self._prepared.almanac.month(self._now).ends, Rule.TOP_UP, "")

    def _cap_reached(self, cap: Cap, used: int, limit: int, span: Span, lifted: TopUp | None) -> None:
        if cap.action is CapAction.OVERAGE:
            self._overage = used - limit
        if lifted is not None:
            self._apply(Rule.TOP_UP, lifted.name, (("until_us", to_microseconds(lifted.ends)),), Effect.LIFTS)
            return
        numbers: Numbers = (
            ("used_octets", used),
            ("limit_octets", limit),
            ("period", cap.period.value),
            *until_numbers(span.ends),
        )
        if cap.action is CapAction.OVERAGE:
            self._apply(Rule.CAP, "", (*numbers, ("over_octets", used - limit)), Effect.CHARGES)
            self._ceiling(cap, used - limit, numbers)
        elif cap.action is CapAction.BLOCK or cap.change is None:
            self._refusal = Refusal.BLOCKED if self._refusal is Refusal.BLOCKED else Refusal.CAP
            self._apply(Rule.CAP, "", numbers, Effect.BLOCKS)
        else:
            self._slow(cap.change)
            self._sets(Rule.CAP, "", numbers)

    def _ceiling(self, cap: Cap, over: int, numbers: Numbers) -> None:
        """Warn as overage comes near what it costs at most in a month; slow the line when it costs that."""
        overage = self._prepared.rules.overage
        if overage is None:
            return
        charged = self._charged_before(overage.tariff)
        marks = ceiling_marks(self._prepared.rules, charged) if charged else self._prepared.ceiling_marks
        for percent, reached in marks:
            if over < reached:
                self._change_after(self._weighed(reached - over), cap.direction, Rule.OVERAGE, f"{percent} %")
                break
            self._ceiling_warnings += (percent,)
        most = None if overage.at_ceiling is None else ceiling_units(overage.tariff, charged=charged)
        if most is None or overage.at_ceiling is None:
            return
        if over < most:
            self._change_after(self._weighed(most - over), cap.direction, Rule.OVERAGE, "100 %")
            return
        self._slow(overage.at_ceiling)
        self._sets(Rule.CAP, CEILING, numbers)

    def _charged_before(self, tariff: Tariff) -> Fraction:
        """Return what overage has cost in the month before the present period."""
        usage = self._standing.usage
        before = () if usage is None else usage.over_before
        return sum((rate(tariff, octets) for octets in before), Fraction(0))

    def _burst_budget(self) -> None:
        budget, level = self._prepared.rules.burst_budget, self._standing.burst
        if budget is None:
            return
        octets = burst_octets(budget, level, self._now)
        if level is not None and (level.spent or level.octets <= 0):
            resumes_at = burst_resumes_at(budget, level)
            if resumes_at is None or resumes_at > self._now:
                self._stop_burst(level, resumes_at)
                return
        self._change_after(max(1, octets), Direction.BOTH, Rule.BURST_BUDGET, "")

    def _stop_burst(self, level: BurstLevel, resumes_at: datetime | None) -> None:
        self._burst_stopped = True
        numbers: Numbers = (("left_octets", level.octets),)
        if resumes_at is not None:
            self._change_at(resumes_at, Rule.BURST_BUDGET, "")
            numbers += (("until_us", to_microseconds(resumes_at)),)
        self._apply(Rule.BURST_BUDGET, "", numbers, Effect.STOPS_BURST)


def _octets(counter: Counter | None, direction: Direction) -> int:
    return 0 if counter is None else counter.octets(direction)
