"""Whatever a plan says and a subscriber does: what always holds of an entitlement."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain.plan_rules import (
    AutomaticTopUp,
    Blocking,
    BlockPolicy,
    Burst,
    BurstBudget,
    Cap,
    CapAction,
    Change,
    ChangeKind,
    Counted,
    CountingWindow,
    Direction,
    Fup,
    FupStep,
    Period,
    PlanRules,
    Rollover,
    ScheduleRule,
    TopUpKind,
    TopUpOffer,
    WalledGarden,
    WeekStart,
    Window,
)
from enforcement.entitlement import Entitlement, Refusal, entitle, fingerprint, prospects
from enforcement.periods import EVER, almanac
from enforcement.standing import AccountState, BurstLevel, Counter, Override, Standing, TopUp, Usage
from tests.unit.enforcement.entitled_line import GARDEN, PLAN

MICROSECOND = timedelta(microseconds=1)
START = datetime(2025, 3, 1, tzinfo=UTC)
AGES = [timedelta(0), timedelta(minutes=5), timedelta(days=1), timedelta(days=40)]
"""How long ago usage was read."""
ZONES = [ZoneInfo(name) for name in ("America/Bogota", "America/Santiago", "Europe/Madrid", "Asia/Kathmandu")]

zones = st.sampled_from(ZONES)
instants = st.integers(0, 300 * 86_400 * 10**6).map(lambda number: START + timedelta(microseconds=number))
rates = st.none() | st.integers(1, 10**9)
octets = st.integers(0, 10**6)
fixed = st.builds(Change, st.just(ChangeKind.FIXED), rates, rates)
slowing = st.builds(Change, st.just(ChangeKind.PERCENT), percent=st.integers(1, 100))
scaling = st.builds(Change, st.just(ChangeKind.PERCENT), percent=st.integers(1, 300))
doubling = st.just(Change(ChangeKind.PERCENT, percent=200))
blocks = st.just(Change(ChangeKind.BLOCK))
windows = st.builds(
    Window,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
)
directions = st.sampled_from(Direction)
periods = st.sampled_from(Period)
ending_periods = st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH])
caps = st.builds(
    Cap,
    octets,
    periods,
    directions,
    st.sampled_from(CapAction),
    st.one_of(fixed, slowing),
    st.integers(0, 10**5),
    st.none() | st.builds(Rollover, st.integers(1, 100)),
    st.lists(st.integers(1, 200), unique=True, max_size=2).map(lambda percents: tuple(sorted(percents))),
)
limits = st.tuples(periods, octets, st.none()) | st.tuples(
    ending_periods, st.none() | octets, st.none() | st.integers(0, 100_000)
)
steps = st.tuples(
    limits,
    st.one_of(fixed, slowing, blocks),
    directions,
    st.integers(0, 2),
    st.sampled_from(["one", "two"]),
).map(lambda found: FupStep(found[0][0], found[1], *found[0][1:], *found[2:]))
offers = st.builds(
    TopUpOffer,
    st.just("more"),
    st.just(TopUpKind.OCTETS),
    octets,
    automatic=st.builds(AutomaticTopUp, st.integers(1, 100), st.integers(1, 3)),
)
gardens = st.sampled_from(
    [
        GARDEN,
        WalledGarden(pool="walled", download_bits_per_second=64_000),
        WalledGarden(redirect_url="https://pay.example.net/"),
        WalledGarden(download_bits_per_second=256_000, upload_bits_per_second=128_000),
    ]
)
"""The last has no fence, so it is none."""
blockings = st.builds(
    Blocking,
    st.sampled_from(BlockPolicy),
    st.dictionaries(st.sampled_from(["blocked", "no_balance", "cap"]), st.sampled_from(BlockPolicy), max_size=2).map(
        lambda policies: tuple(policies.items())
    ),
    gardens,
    st.none() | fixed,
)
plan_rules = st.builds(
    PlanRules,
    guaranteed_percent=st.none() | st.integers(1, 100),
    burst=st.none() | st.builds(Burst, rates, rates, st.none() | st.integers(101, 300)),
    burst_budget=st.none() | st.builds(BurstBudget, octets, st.integers(0, 10**5), st.integers(1, 100)),
    allowed_hours=st.lists(windows, max_size=2).map(tuple),
    cap=st.none() | caps,
    top_ups=st.lists(offers, max_size=1).map(tuple),
    counting=st.lists(
        st.builds(CountingWindow, windows, st.sampled_from([0, 50, 200]), st.sampled_from(Counted)), max_size=2
    ).map(tuple),
    week_starts=st.sampled_from(WeekStart),
    fup=st.none()
    | st.builds(Fup, st.lists(steps, max_size=3).map(tuple), st.integers(0, 1000), st.none() | st.integers(1, 28)),
    schedule=st.lists(st.builds(ScheduleRule, windows, st.one_of(fixed, scaling, blocks)), max_size=2).map(tuple),
    address_list=st.none() | st.just("fast"),
    blocking=st.none() | blockings,
)


@st.composite
def usages(draw: st.DrawFn, rules: PlanRules, as_of: datetime, zone: ZoneInfo, period_day: int) -> Usage:
    """Return usage read at `as_of`, of the periods that were the present ones then."""
    known = almanac(zone)
    reset_day = None if rules.fup is None else rules.fup.reset_day
    day, week, month, own, ever = (
        Counter(span.begins, draw(octets), draw(octets), draw(st.integers(0, 100_000)), draw(st.integers(0, 10**8 - 1)))
        for span in (
            known.day(as_of),
            known.week(as_of, rules.week_starts),
            known.month(as_of, period_day),
            known.month(as_of, reset_day or 1),
            EVER,
        )
    )
    sessions = draw(st.integers(0, 3))
    return Usage(as_of, day, week, month, None if reset_day is None else own, sessions, ever=ever)


@st.composite
def standings(draw: st.DrawFn, rules: PlanRules, now: datetime, zone: ZoneInfo, *, fresh: bool) -> Standing:
    def around(*, past: bool = True) -> datetime:
        return now + timedelta(microseconds=draw(st.integers(-5 * 10**11 if past else 1, 5 * 10**11)))

    top_ups = []
    for number in range(draw(st.integers(0, 3))):
        begins, ends = sorted((around(past=draw(st.booleans())), around()))
        kind = draw(st.sampled_from([*TopUpKind, TopUpKind.BOOST]))
        boost = draw(st.one_of(doubling, fixed, scaling)) if kind is TopUpKind.BOOST else None
        paid = draw(octets) if ends <= now else None
        top_ups.append(
            TopUp(number, f"top-up {number}", kind, begins, ends, draw(octets), 0, boost, draw(st.booleans()), paid)
        )
    period_day = draw(st.integers(1, 31))
    change = st.one_of(fixed, scaling, blocks)
    until = draw(st.none() | st.just(around()))
    age = timedelta(0) if fresh else draw(st.sampled_from(AGES))
    usage = usages(rules, now - age, zone, period_day)
    return Standing(
        1,
        enabled=fresh or draw(st.sampled_from([True, True, True, False])),
        account=AccountState.ACTIVE if fresh else draw(st.sampled_from(AccountState)),
        expires_at=draw(st.none() | st.just(around())),
        period_day=period_day,
        usage=draw(usage if fresh else st.none() | usage),
        carried_octets=draw(st.integers(0, 1000)),
        top_ups=tuple(top_ups),
        burst=draw(
            st.none()
            | st.builds(
                BurstLevel,
                st.just(now - timedelta(seconds=draw(st.integers(0, 100)))),
                st.integers(0, 10**5),
                st.booleans(),
            )
        ),
        override=draw(st.none() | st.builds(Override, change, st.just(until), st.just("eva"), st.just("test"))),
    )


class Asked:
    """A question to `entitle`, so that it can be asked again a little differently."""

    def __init__(self, rules: PlanRules, blocking: Blocking, standing: Standing, zone: ZoneInfo, now: datetime) -> None:
        self.rules = rules
        self.plan = replace(PLAN, rules=rules)
        self.blocking = blocking
        self.standing = standing
        self.zone = zone
        self.now = now

    def __repr__(self) -> str:
        return f"Asked({self.rules}, {self.blocking}, {self.standing}, {self.zone}, {self.now})"

    def line(
        self, *, standing: Standing | None = None, now: datetime | None = None, zone: ZoneInfo | None = None
    ) -> Entitlement:
        return entitle(
            self.plan, self.rules, self.blocking, standing or self.standing, zone or self.zone, now or self.now
        )

    def ruled(self, rules: PlanRules) -> Asked:
        """Return the same question about a plan with other rules."""
        return Asked(rules, self.blocking, self.standing, self.zone, self.now)

    def copied(self) -> Asked:
        """Return the same question, of which nobody has seen any part before."""
        return Asked(deepcopy(self.rules), deepcopy(self.blocking), deepcopy(self.standing), self.zone, self.now)

    @property
    def blocking_in_force(self) -> Blocking:
        return self.rules.blocking or self.blocking


@st.composite
def questions(draw: st.DrawFn, *, fresh: bool = False) -> Asked:
    """Return any question; a `fresh` one is about an active account whose usage was read just now."""
    rules, zone, now = draw(plan_rules), draw(zones), draw(instants)
    return Asked(rules, draw(blockings), draw(standings(rules, now, zone, fresh=fresh)), zone, now)


def raised(rate: int, changes: list[Change], *, down: bool) -> int | None:
    """Return the highest rate that any of the changes could make of `rate`; None for no limit."""
    highest = rate
    for change in changes:
        named = change.download_bits_per_second if down else change.upload_bits_per_second
        if change.kind is ChangeKind.PERCENT:
            highest = max(highest, rate * change.percent // 100)
        elif named is not None:
            highest = max(highest, named)
    return highest


@given(questions())
def test_no_line_is_faster_than_plan_boosts_schedule_and_override_allow(asked: Asked) -> None:
    line = asked.line()
    boosts = [top_up.boost for top_up in asked.standing.top_ups if top_up.boost is not None]
    override = asked.standing.override
    others = [rule.change for rule in asked.rules.schedule] + ([] if override is None else [override.change])
    for rate, own, down in (
        (line.download, PLAN.download_bits_per_second, True),
        (line.upload, PLAN.upload_bits_per_second, False),
    ):
        assert own is not None
        boosted = raised(own, boosts, down=down)
        assert boosted is not None
        assert rate is not None
        assert 0 < rate <= (raised(boosted, others, down=down) or 0)


@given(questions(fresh=True), st.one_of(fixed, slowing), st.booleans())
def test_cap_and_fair_use_make_no_line_faster(asked: Asked, change: Change, by_cap: bool) -> None:
    free = replace(asked.rules, cap=None, fup=None)
    action = CapAction.FIXED if change.kind is ChangeKind.FIXED else CapAction.PERCENT
    step = FupStep(Period.DAY, change, above_octets=0)
    slowed = replace(free, cap=Cap(0, action=action, change=change)) if by_cap else replace(free, fup=Fup((step,)))
    before, after = (asked.ruled(rules).line() for rules in (free, slowed))
    for rate, own in ((after.download, before.download), (after.upload, before.upload)):
        assert rate is not None
        assert own is not None
        assert rate <= own


@given(questions())
def test_burst_and_share_fit_the_rate(asked: Asked) -> None:
    line = asked.line()
    for rate, burst, threshold, share in (
        (line.download, line.burst_download, line.burst_threshold_download, line.guaranteed_download),
        (line.upload, line.burst_upload, line.burst_threshold_upload, line.guaranteed_upload),
    ):
        assert rate is not None
        assert share is None or 0 < share <= rate
        assert burst is None or (burst > rate and threshold is not None and 0 < threshold <= rate)


def is_fence(garden: WalledGarden) -> bool:
    """Tell whether a garden keeps a line anywhere at all."""
    return any(part is not None for part in (garden.address_list, garden.pool, garden.redirect_url))


def refusals(asked: Asked) -> set[Refusal] | None:
    """Return the reasons of which one has to refuse the line, None where it need not be refused; strictest first."""
    standing, override = asked.standing, asked.standing.override
    if not standing.enabled:
        return {Refusal.DISABLED}
    if standing.expires_at is not None and standing.expires_at <= asked.now:
        return {Refusal.EXPIRED}
    if standing.account is AccountState.BLOCKED:
        return {Refusal.HOURS, Refusal.BLOCKED}
    if standing.account is AccountState.NO_BALANCE:
        is_blocked = override is not None and override.change.kind is ChangeKind.BLOCK
        return {Refusal.HOURS, Refusal.NO_BALANCE} | ({Refusal.BLOCKED} if is_blocked else set())
    if standing.account is AccountState.REDIRECTED and is_fence(asked.blocking_in_force.garden):
        return set(Refusal)
    return None


def assert_is_inside(line: Entitlement, garden: WalledGarden, own_list: str | None) -> None:
    """Check that a line has what the garden gives, and nothing of what its plan gives beyond that."""
    assert is_fence(garden)
    assert (line.pool, line.redirect_url) == (garden.pool, garden.redirect_url)
    assert line.address_list == (garden.address_list or own_list)
    assert (line.burst_download, line.burst_upload, line.guaranteed_download, line.guaranteed_upload) == (None,) * 4
    for rate, limit in (
        (line.download, garden.download_bits_per_second),
        (line.upload, garden.upload_bits_per_second),
    ):
        assert limit is None or (rate is not None and rate <= limit)


def assert_is_not_let_through(asked: Asked) -> None:
    """Check that a line which may not be used is refused, or in the walled garden of its reason."""
    line, blocking = asked.line(), asked.blocking_in_force
    reasons = refusals(asked)
    assert reasons is None or line.refusal in reasons
    if line.refusal is None:
        assert (line.admitted, line.walled) == (True, False)
        return
    assert line.walled is line.admitted
    if line.admitted:
        policy = dict(blocking.by_reason).get(line.refusal.value, blocking.policy)
        assert asked.standing.account is AccountState.REDIRECTED or policy is BlockPolicy.WALLED_GARDEN
        assert line.refusal not in (Refusal.DISABLED, Refusal.EXPIRED, Refusal.HOURS)
        assert_is_inside(line, blocking.garden, asked.rules.address_list)


@given(questions())
def test_a_line_that_may_not_be_used_is_never_let_through_unfenced(asked: Asked) -> None:
    assert_is_not_let_through(asked)


@pytest.mark.parametrize("account", AccountState)
@given(asked=questions(fresh=True), is_used_up=st.booleans())
def test_in_no_state_of_the_account_a_line_is_let_through_that_may_not_be_used(
    account: AccountState, asked: Asked, is_used_up: bool
) -> None:
    if is_used_up:
        asked = asked.ruled(replace(asked.rules, cap=Cap(0, action=CapAction.BLOCK)))
    asked.standing = replace(asked.standing, account=account)
    assert_is_not_let_through(asked)


@given(questions(), st.sampled_from(ZONES))
def test_computing_again_changes_nothing(asked: Asked, elsewhere: ZoneInfo) -> None:
    line = asked.line()
    assert line == asked.line() == asked.copied().line()
    assert fingerprint(line) == fingerprint(asked.copied().line())
    others = [replace(asked.standing, account=account) for account in AccountState]
    for other in others:
        assert asked.line(standing=other) == asked.copied().line(standing=other)
    assert asked.line(zone=elsewhere) == asked.copied().line(zone=elsewhere)
    later = asked.now + timedelta(days=40)
    assert asked.line(now=later) == asked.copied().line(now=later)
    assert asked.line() == line, "what was asked meanwhile leaves nothing behind"


@given(
    questions(fresh=True),
    st.lists(st.tuples(octets, st.integers(1, 10**11), st.booleans()), min_size=2, max_size=4),
    st.data(),
)
def test_the_order_in_which_things_were_bought_does_not_matter(
    asked: Asked, bought: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    asked = asked.ruled(replace(asked.rules, cap=asked.rules.cap or Cap(0)))
    more = [
        TopUp(
            100 + number, f"more {number}", TopUpKind.OCTETS, asked.now, asked.now + lasts * MICROSECOND, size,
            before_plan=before,
        )
        for number, (size, lasts, before) in enumerate(bought)
    ]  # fmt: skip
    top_ups = [*asked.standing.top_ups, *more]
    shuffled = data.draw(st.permutations(top_ups))
    assert asked.line(standing=replace(asked.standing, top_ups=tuple(top_ups))) == asked.line(
        standing=replace(asked.standing, top_ups=tuple(shuffled))
    )


def telling_moments(asked: Asked) -> Iterator[datetime]:
    """Yield when something might change: edges of windows, midnights, ends of what was bought or ordered, and between.

    They are taken from plan and standing themselves; of what uses up time a line is looked at ever more rarely.
    """
    standing, rules = asked.standing, asked.rules
    windows = [*(rule.window for rule in rules.schedule), *rules.allowed_hours]
    minutes = sorted({0, *(minute for window in windows for minute in (window.begins, window.ends))})
    today = asked.now.astimezone(asked.zone).date()
    for days in range(60):
        for minute in minutes if days < 9 else (0,):
            day = today + timedelta(days=days + minute // 1440)
            clock = time(minute % 1440 // 60, minute % 60)
            yield datetime.combine(day, clock, asked.zone).astimezone(UTC)
    for top_up in standing.top_ups:
        yield from (top_up.begins, top_up.ends)
    yield from (asked.now + timedelta(seconds=factor * 10**power) for power in range(7) for factor in (1, 3))
    until = None if standing.override is None else standing.override.until
    yield from (moment for moment in (until, standing.expires_at) if moment is not None)


def assert_holds_until_the_moment_it_names(asked: Asked, data: st.DataObject) -> None:
    """Check that a line is told the same at every moment before it is to be looked at again."""
    line = asked.line()
    until = line.valid_until or asked.now + timedelta(days=60)
    assert until > asked.now
    within = data.draw(st.integers(0, (until - asked.now) // MICROSECOND - 1))
    telling = [moment for moment in telling_moments(asked) if asked.now < moment < until]
    for moment in (until - MICROSECOND, asked.now + within * MICROSECOND, *telling):
        later = asked.line(now=moment)
        assert fingerprint(later) == fingerprint(line)
        assert later.refusal is line.refusal
        assert later.warnings == line.warnings or line.refusal in (Refusal.DISABLED, Refusal.EXPIRED)


@given(questions(), st.data())
def test_nothing_changes_before_the_moment_it_names(asked: Asked, data: st.DataObject) -> None:
    assert_holds_until_the_moment_it_names(asked, data)


def alone(asked: Asked, rule: str) -> Asked:
    """Return the question with one rule, or one part of the standing, left: no other names its moment in its place."""
    rules, standing = PlanRules(), Standing(1, period_day=asked.standing.period_day, usage=asked.standing.usage)
    if rule in ("schedule", "allowed_hours", "fup", "cap"):
        rules = replace(rules, **{rule: getattr(asked.rules, rule)})
    elif rule == "burst":
        rules = replace(rules, burst=Burst(limit_percent=150), burst_budget=asked.rules.burst_budget)
        standing = replace(standing, burst=asked.standing.burst)
    else:
        standing = replace(standing, **{rule: getattr(asked.standing, rule)})
    return Asked(rules, asked.blocking, standing, asked.zone, asked.now)


@pytest.mark.parametrize(
    "rule", ["schedule", "allowed_hours", "fup", "cap", "top_ups", "override", "expires_at", "burst"]
)
@given(asked=questions(fresh=True), data=st.data())
def test_nothing_changes_before_the_moment_that_one_rule_alone_names(
    rule: str, asked: Asked, data: st.DataObject
) -> None:
    assert_holds_until_the_moment_it_names(alone(asked, rule), data)


budgets = st.builds(BurstBudget, st.integers(1, 10**6), st.integers(0, 10**5), st.integers(1, 100))


@given(budgets, instants, st.integers(0, 10**6), st.integers(0, 10**10))
def test_a_line_whose_budget_is_spent_bursts_again_at_the_very_moment_it_names(
    budget: BurstBudget, as_of: datetime, octets: int, ago: int
) -> None:
    level = BurstLevel(as_of, min(octets, budget.octets), spent=True)
    asked = Asked(
        PlanRules(burst=Burst(limit_percent=150), burst_budget=budget),
        Blocking(),
        Standing(1, burst=level),
        ZONES[0],
        as_of + ago * MICROSECOND,
    )
    line = asked.line()
    if line.burst_seconds is not None:
        assert line.valid_until is None
        assert level.octets * 8 * 10**6 + budget.refill_bits_per_second * ago >= _needed(budget)
        return
    assert (line.valid_until is None) == (budget.refill_bits_per_second == 0)
    if line.valid_until is not None:
        assert line.valid_until > asked.now
        assert asked.line(now=line.valid_until).burst_seconds is not None
        assert asked.line(now=line.valid_until - MICROSECOND).burst_seconds is None


def _needed(budget: BurstBudget) -> int:
    """Return how many bits times microseconds of refilling have to be there before a line bursts again."""
    return -(-budget.octets * budget.resume_percent // 100) * 8 * 10**6


def more(usage: Usage, up: int, down: int, *, weight: int) -> Usage:
    def grown(counter: Counter) -> Counter:
        return counter._replace(
            octets_up=counter.octets_up + up * weight // 100, octets_down=counter.octets_down + down * weight // 100
        )

    own, ever = usage.fup_month, usage.ever
    return usage._replace(
        day=grown(usage.day),
        week=grown(usage.week),
        month=grown(usage.month),
        fup_month=None if own is None else grown(own),
        ever=None if ever is None else grown(ever),
    )


@given(questions(fresh=True), st.data())
def test_nothing_changes_before_the_octets_it_names(asked: Asked, data: st.DataObject) -> None:
    line, usage = asked.line(), asked.standing.usage
    assume(line.admitted)
    assert usage is not None
    left = 10**9 if line.octets_left is None else line.octets_left
    assert left > 0
    first = data.draw(st.integers(0, left - 1))
    other = data.draw(st.integers(0, 10**9 if line.left_direction is not Direction.BOTH else left - 1 - first))
    up, down = (first, other) if line.left_direction is Direction.UP else (other, first)
    weight = data.draw(st.sampled_from([100, *(window.percent for window in asked.rules.weighing_octets)]))
    later = asked.line(standing=replace(asked.standing, usage=more(usage, up, down, weight=weight)))
    assert (later.refusal, later.warnings) == (line.refusal, line.warnings)
    assert fingerprint(later) == fingerprint(line)


@given(questions())
@example(Asked(PlanRules(), Blocking(), Standing(1), ZONES[0], START))
def test_what_would_change_a_line_begins_with_what_it_names_itself(asked: Asked) -> None:
    line = asked.line()
    plan = replace(PLAN, rules=asked.rules)
    outlook = prospects(plan, asked.rules, asked.blocking, asked.standing, asked.zone, asked.now)
    numbers = [dict(prospect.numbers) for prospect in outlook]
    after = [int(each["left_octets"]) for each in numbers if "left_octets" in each]
    at = [each["at_us"] for each in numbers if "at_us" in each]
    if line.admitted:
        assert min(after, default=None) == line.octets_left
    assert after == sorted(after)
    assert at == sorted(at)
    assert all(prospect.text(zone=asked.zone) for prospect in outlook)
    assert all(rule.text(zone=asked.zone) for rule in line.rules)
