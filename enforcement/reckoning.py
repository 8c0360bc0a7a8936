"""How the rules of a plan make the terms of a line: each speaks in turn, the weakest first.

Rule: each rule changes what the weaker ones left, and says which octets and which moment would change what it said. The
precedence is that of `enforcement.entitlement`.
"""

from __future__ import annotations

from datetime import datetime

from domain.instants import to_datetime, to_microseconds
from domain.plan_rules import (
    Blocking,
    BlockPolicy,
    Burst,
    Cap,
    CapAction,
    Change,
    ChangeKind,
    Direction,
    Period,
    TopUpKind,
    WalledGarden,
)
from domain.tariff import ceiling_units
from enforcement.allowance import burst_octets, burst_resumes_at, draw, percent_octets
from enforcement.explanation import Applied, Effect, Numbers, Prospect, Rule
from enforcement.periods import NEVER, Span, Timetable
from enforcement.prepared_plan import PreparedPlan, Step
from enforcement.rate_changes import burst_limit, changed, higher, lower, rate_numbers, scaled
from enforcement.standing import AccountState, BurstLevel, Counter, Standing, TopUp
from enforcement.terms import Entitlement, Refusal
from enforcement.time_weights import FULL_SECOND

CEILING = "max"
"""What the explanation calls the point from which overage costs nothing more."""


def _end(top_up: TopUp) -> tuple[datetime, int]:
    return top_up.ends, top_up.id


def _octets(counter: Counter | None, direction: Direction) -> int:
    return 0 if counter is None else counter.octets(direction)


def _is_fenced(garden: WalledGarden) -> bool:
    return not (garden.address_list is None and garden.pool is None and garden.redirect_url is None)


class Reckoning:
    """One computation: the rules speak in turn, and each says what would change it."""

    __slots__ = (
        "_applied", "_burst_stopped", "_ceiling_warnings", "_direction", "_download", "_ends_at", "_left", "_now",
        "_overage", "_prepared", "_redirected", "_refusal", "_standing", "_until", "_upload", "_warnings",
    )  # fmt: skip

    def __init__(self, prepared: PreparedPlan, standing: Standing, now: datetime) -> None:
        plan = prepared.plan
        self._prepared = prepared
        self._standing = standing
        self._now = now
        self._download = plan.download_bits_per_second
        self._upload = plan.upload_bits_per_second
        self._refusal: Refusal | None = None
        self._applied = [prepared.plan_applied]
        self._until = NEVER
        self._ends_at = NEVER
        self._left: int | None = None
        self._direction = Direction.BOTH
        self._overage = 0
        self._warnings: tuple[int, ...] = ()
        self._ceiling_warnings: tuple[int, ...] = ()
        self._burst_stopped = False
        self._redirected = False

    def entitlement(self, blocking: Blocking) -> Entitlement:
        """Let all rules speak, the weakest first, and return the result."""
        prepared = self._prepared
        rules = prepared.rules
        lifted = self._boost() if self._standing.top_ups else None
        base = (self._download, self._upload)
        if prepared.schedule is not None:
            self._schedule(prepared.schedule)
        if prepared.steps:
            self._fair_use(prepared.steps)
        if self._standing.override is not None:
            self._override(base)
        if rules.cap is not None:
            self._cap(rules.cap, lifted)
        if rules.burst_budget is not None:
            self._burst_budget()
        blocking = rules.blocking or blocking
        self._account(blocking)
        if prepared.hours is not None:
            self._hours(prepared.hours)
        self._service()
        return self._result(blocking)

    def _change_at(self, moment: datetime, rule: Rule, name: str) -> None:  # noqa: ARG002 - for the outlook
        if moment < self._until:
            self._until = moment

    def _change_after(self, octets: int, direction: Direction, rule: Rule, name: str) -> None:  # noqa: ARG002 - likewise
        """Note that `octets` more, as they are sent, may change something: waking early is harmless, late is not."""
        if self._left is None:
            self._left, self._direction = octets, direction
            return
        if direction is not self._direction:
            self._direction = Direction.BOTH
        self._left = min(self._left, octets)

    def _weighed(self, octets: int) -> int:
        """Return how many octets surely weigh no more than `octets`; at least one, so that time goes on."""
        return max(1, octets * 100 // self._prepared.weight)

    def _apply(self, rule: Rule, name: str, numbers: Numbers, effect: Effect) -> None:
        self._applied.append(Applied(rule, name, numbers, effect))

    def _sets(self, rule: Rule, name: str, numbers: Numbers) -> None:
        self._apply(rule, name, numbers + rate_numbers(self._download, self._upload), Effect.SETS)

    def _boost(self) -> TopUp | None:
        """Raise the rates by what was bought; return the hours top-up that holds."""
        now, lifted = self._now, None
        download, upload = self._download, self._upload
        for top_up in sorted(self._standing.top_ups, key=_end):
            rule = Rule.BOOST if top_up.kind is TopUpKind.BOOST else Rule.TOP_UP
            if top_up.begins > now:
                self._change_at(top_up.begins, rule, top_up.name)
                continue
            if top_up.ends <= now:
                continue
            self._change_at(top_up.ends, rule, top_up.name)
            if top_up.kind is TopUpKind.HOURS:
                lifted = top_up
            elif top_up.boost is not None and top_up.boost.kind is not ChangeKind.BLOCK:
                change = top_up.boost
                self._download = higher(self._download, changed(download, change, change.download_bits_per_second))
                self._upload = higher(self._upload, changed(upload, change, change.upload_bits_per_second))
                self._sets(Rule.BOOST, top_up.name, (("until_us", to_microseconds(top_up.ends)),))
        return lifted

    def _schedule(self, schedule: Timetable) -> None:
        segment = schedule.at(self._now)
        self._change_at(segment.ends, Rule.SCHEDULE, "")
        if segment.window is None:
            return
        rule = self._prepared.rules.schedule[segment.window]
        name = f"{_clock(rule.window.begins)}-{_clock(rule.window.ends)}"
        change = rule.change
        if change.kind is ChangeKind.BLOCK:
            self._refusal = Refusal.HOURS
            self._apply(Rule.SCHEDULE, name, (), Effect.BLOCKS)
            return
        self._download = changed(self._download, change, change.download_bits_per_second)
        self._upload = changed(self._upload, change, change.upload_bits_per_second)
        self._sets(Rule.SCHEDULE, name, ())

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

    def _slow(self, change: Change, *, may_raise: bool = False) -> None:
        download = changed(self._download, change, change.download_bits_per_second)
        upload = changed(self._upload, change, change.upload_bits_per_second)
        self._download = download if may_raise else lower(self._download, download)
        self._upload = upload if may_raise else lower(self._upload, upload)

    def _override(self, base: tuple[int | None, int | None]) -> None:
        override = self._standing.override
        if override is None or (override.until is not None and override.until <= self._now):
            return
        numbers: Numbers = (("reason", override.reason),)
        if override.until is not None:
            self._change_at(override.until, Rule.OVERRIDE, override.operator)
            numbers += (("until_us", to_microseconds(override.until)),)
        change = override.change
        if change.kind is ChangeKind.BLOCK:
            self._refusal = Refusal.BLOCKED
            self._apply(Rule.OVERRIDE, override.operator, numbers, Effect.BLOCKS)
            return
        self._refusal = None
        self._download = changed(base[0], change, change.download_bits_per_second)
        self._upload = changed(base[1], change, change.upload_bits_per_second)
        self._sets(Rule.OVERRIDE, override.operator, numbers)

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
        elif cap.rollover is not None:
            self._change_at(span.ends, Rule.CAP, "")
        if over >= 0:
            self._cap_reached(cap, used, limit, span, lifted)

    def _limit(self, cap: Cap, used: int, span: Span) -> int:
        """Return all that may be used in the present period."""
        standing = self._standing
        own = cap.octets + standing.carried_octets + cap.bonus_octets
        if not standing.top_ups:
            return own
        drawn = draw(cap, used, span, self._now, carried_octets=standing.carried_octets, top_ups=standing.top_ups)
        holding = {top_up.id: top_up for top_up in standing.top_ups if top_up.ends > self._now}
        for source in drawn.sources:
            top_up = None if source.top_up_id is None else holding.get(source.top_up_id)
            if top_up is None:
                continue
            if top_up.ends > span.ends:
                self._change_at(span.ends, Rule.TOP_UP, source.name)
            if source.used:
                numbers: Numbers = (("left_octets", source.remaining), ("limit_octets", source.octets))
                numbers += _until(top_up.ends)
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
            *_until(span.ends),
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
        """Warn as overage comes near what it costs at most; slow the line when it costs that."""
        overage = self._prepared.rules.overage
        if overage is None:
            return
        for percent, reached in self._prepared.ceiling_marks:
            if over < reached:
                self._change_after(self._weighed(reached - over), cap.direction, Rule.OVERAGE, f"{percent} %")
                break
            self._ceiling_warnings += (percent,)
        most = None if overage.at_ceiling is None else ceiling_units(overage.tariff)
        if most is None or overage.at_ceiling is None:
            return
        if over < most:
            self._change_after(self._weighed(most - over), cap.direction, Rule.OVERAGE, "100 %")
            return
        self._slow(overage.at_ceiling)
        self._sets(Rule.CAP, CEILING, numbers)

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

    def _account(self, blocking: Blocking) -> None:
        account = self._standing.account
        if account is AccountState.ACTIVE:
            return
        if account is AccountState.SLOWED or (account is AccountState.REDIRECTED and not _is_fenced(blocking.garden)):
            if blocking.slow is not None:
                self._slow(blocking.slow)
                self._sets(Rule.DEBT, "", ())
        elif account is AccountState.REDIRECTED:
            if self._refusal is None:
                self._refusal, self._redirected = Refusal.BLOCKED, True
            self._apply(Rule.DEBT, "", (), Effect.BLOCKS)
        elif account is AccountState.NO_BALANCE:
            if self._refusal is not Refusal.BLOCKED:
                self._refusal = Refusal.NO_BALANCE
            self._apply(Rule.PREPAID, "", (), Effect.BLOCKS)
        elif account is AccountState.BLOCKED:
            self._refusal = Refusal.BLOCKED
            self._apply(Rule.BLOCKED, "", (), Effect.BLOCKS)

    def _hours(self, hours: Timetable) -> None:
        segment = hours.at(self._now)
        self._change_at(segment.ends, Rule.HOURS, "")
        if segment.window is not None:
            self._ends_at = segment.ends
            return
        self._refusal = Refusal.HOURS
        self._apply(Rule.HOURS, "", _until(segment.ends), Effect.BLOCKS)

    def _service(self) -> None:
        standing = self._standing
        expires_at = standing.expires_at
        if expires_at is not None and expires_at <= self._now:
            self._refusal = Refusal.EXPIRED
            self._apply(Rule.EXPIRY, "", (("at_us", to_microseconds(expires_at)),), Effect.BLOCKS)
        elif expires_at is not None:
            self._change_at(expires_at, Rule.EXPIRY, "")
            self._ends_at = min(self._ends_at, expires_at)
        if not standing.enabled:
            self._refusal = Refusal.DISABLED
            self._apply(Rule.BLOCKED, "", (), Effect.DISABLES)

    def _result(self, blocking: Blocking) -> Entitlement:
        refusal = self._refusal
        if refusal is not None:
            garden = blocking.garden
            if refusal in _ALWAYS_REFUSED or not _is_fenced(garden):
                return self._made(admitted=False, garden=None)
            walled = self._redirected or blocking.of(refusal.value) is BlockPolicy.WALLED_GARDEN
            return self._made(admitted=walled, garden=garden if walled else None)
        return self._made(admitted=True, garden=None)

    def _made(self, *, admitted: bool, garden: WalledGarden | None) -> Entitlement:
        rules = self._prepared.rules
        download, upload = self._download, self._upload
        burst = _NO_BURST
        guaranteed_download = guaranteed_upload = None
        if garden is not None:
            download = lower(download, garden.download_bits_per_second)
            upload = lower(upload, garden.upload_bits_per_second)
        else:
            if rules.burst is not None and not self._burst_stopped:
                burst = self._burst(rules.burst)
            share = rules.guaranteed_percent
            if share is not None:
                share = min(share, 100)
                guaranteed_download = scaled(download, share)
                guaranteed_upload = scaled(upload, share)
        fenced = garden is not None
        lasts = self._until is NEVER or self._refusal in _LASTING
        return Entitlement(
            admitted,
            self._refusal,
            fenced,
            download,
            upload,
            *burst,
            guaranteed_download,
            guaranteed_upload,
            rules.priority,
            rules.address_list if garden is None or garden.address_list is None else garden.address_list,
            None if garden is None else garden.pool,
            None if garden is None else garden.redirect_url,
            rules.attributes,
            self._left if admitted else None,
            self._direction if admitted else Direction.BOTH,
            None if lasts else self._until,
            None if self._ends_at is NEVER or not admitted else self._ends_at,
            self._overage,
            self._warnings,
            self._ceiling_warnings,
            tuple(self._applied),
        )

    def _burst(self, burst: Burst) -> _BurstPart:
        plan = self._prepared.plan
        download = burst_limit(burst, burst.download_bits_per_second, self._download, plan.download_bits_per_second)
        upload = burst_limit(burst, burst.upload_bits_per_second, self._upload, plan.upload_bits_per_second)
        if download is None and upload is None:
            return _NO_BURST
        percent = burst.threshold_percent
        return (
            download,
            upload,
            None if download is None else scaled(self._download, percent),
            None if upload is None else scaled(self._upload, percent),
            burst.seconds,
        )


_BurstPart = tuple[int | None, int | None, int | None, int | None, int | None]
_NO_BURST: _BurstPart = (None, None, None, None, None)
_ALWAYS_REFUSED = frozenset({Refusal.HOURS, Refusal.EXPIRED, Refusal.DISABLED})
"""What a walled garden does not help against: nothing the subscriber could do there would change it."""
_LASTING = frozenset({Refusal.EXPIRED, Refusal.DISABLED})
"""What time does not change."""


def _until(ends: datetime) -> Numbers:
    return (("until_us", to_microseconds(ends)),) if ends < NEVER else ()


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


class Outlook(Reckoning):
    """A computation that remembers everything that would change the result."""

    __slots__ = ("_after", "_at")

    def __init__(self, prepared: PreparedPlan, standing: Standing, now: datetime) -> None:
        super().__init__(prepared, standing, now)
        self._after: list[tuple[int, Prospect]] = []
        self._at: dict[tuple[datetime, Rule, str], Prospect] = {}

    def prospects(self) -> tuple[Prospect, ...]:
        """Return what was noted, nearest first."""
        after = sorted(self._after, key=lambda each: each[0])
        return tuple([each for _, each in after] + [self._at[key] for key in sorted(self._at, key=lambda key: key[0])])

    def _change_at(self, moment: datetime, rule: Rule, name: str) -> None:
        super()._change_at(moment, rule, name)
        if moment < NEVER:
            self._at[moment, rule, name] = Prospect(rule, name, (("at_us", to_microseconds(moment)),))

    def _change_after(self, octets: int, direction: Direction, rule: Rule, name: str) -> None:
        super()._change_after(octets, direction, rule, name)
        numbers = (("left_octets", octets), ("direction", direction.value))
        self._after.append((octets, Prospect(rule, name, numbers)))
