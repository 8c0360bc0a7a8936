"""How the rules of a plan make the terms of a line: each speaks in turn, the weakest first.

Rule: the precedence is that of `enforcement.entitlement`. What goes by usage stands in `enforcement.usage_rules`, what
goes by time, operator and account here.
"""

from __future__ import annotations

from datetime import datetime

from domain.instants import to_microseconds
from domain.plan_rules import Blocking, BlockPolicy, Burst, ChangeKind, Direction, TopUpKind, WalledGarden
from enforcement.explanation import Effect, Numbers, Prospect, Rule
from enforcement.periods import NEVER, Timetable
from enforcement.prepared_plan import PreparedPlan
from enforcement.rate_changes import burst_limit, changed, higher, lower, scaled
from enforcement.standing import AccountState, Standing, TopUp
from enforcement.terms import Entitlement, Refusal
from enforcement.usage_rules import UsageRules, until_numbers


def _end(top_up: TopUp) -> tuple[datetime, int]:
    return top_up.ends, top_up.id


def _is_fenced(garden: WalledGarden) -> bool:
    return not (garden.address_list is None and garden.pool is None and garden.redirect_url is None)


class Reckoning(UsageRules):
    """One computation: the rules speak in turn, and each says what would change it."""

    __slots__ = ()

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
        self._apply(Rule.HOURS, "", until_numbers(segment.ends), Effect.BLOCKS)

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
