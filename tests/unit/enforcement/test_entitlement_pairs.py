"""What a line may do where two rules hold at once: every pair, and which of the two wins."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from itertools import combinations

import pytest

from domain.plan_rules import (
    NO_RULES,
    BlockPolicy,
    Burst,
    BurstBudget,
    Cap,
    CapAction,
    Change,
    Fup,
    FupStep,
    Period,
    PlanRules,
    ScheduleRule,
    TopUpKind,
    Window,
)
from enforcement.entitlement import Entitlement, Refusal, Rule
from enforcement.standing import AccountState, BurstLevel, Override, Standing
from tests.unit.enforcement.entitled_line import (
    BLOCK,
    GIGA,
    MEGA,
    NOON,
    NOW,
    WALL,
    ask,
    fixed,
    percent,
    top_up,
    used,
)

USED = used(11 * GIGA, seconds=7200)
NIGHT = Window(begins=0, ends=60)
LIMIT = 10 * GIGA


@dataclass(frozen=True)
class Case:
    """A rule that holds: what it adds to plan and standing, and what the line gets when it wins."""

    rank: int
    rules: PlanRules = NO_RULES
    standing: Standing = field(default_factory=lambda: Standing(1, usage=USED))
    download: int | None = None
    refusal: Refusal | None = None
    lifts_blocks: bool = False
    rule: Rule = Rule.PLAN


def standing(**values: object) -> Standing:
    return Standing(1, usage=USED, **values)  # type: ignore[arg-type]  # any field


def cap(action: CapAction, change: Change | None = None) -> PlanRules:
    return PlanRules(cap=Cap(LIMIT, action=action, change=change))


def fair_use(change: Change) -> PlanRules:
    return PlanRules(fup=Fup((FupStep(Period.DAY, change, above_octets=LIMIT, name="day"),)))


def at_noon(change: Change) -> PlanRules:
    return PlanRules(schedule=(ScheduleRule(NOON, change),))


def ordered(change: Change) -> Standing:
    return standing(override=Override(change, None, "eva", "test"))


CASES = {
    "boost": Case(
        1,
        standing=standing(top_ups=(top_up(1, TopUpKind.BOOST, boost=fixed(200 * MEGA)),)),
        download=200 * MEGA,
        rule=Rule.BOOST,
    ),
    "schedule": Case(2, at_noon(fixed(60 * MEGA)), download=60 * MEGA, rule=Rule.SCHEDULE),
    "schedule blocks": Case(2, at_noon(BLOCK), refusal=Refusal.HOURS, rule=Rule.SCHEDULE),
    "fair use": Case(3, fair_use(fixed(40 * MEGA)), download=40 * MEGA, rule=Rule.FUP),
    "fair use blocks": Case(3, fair_use(BLOCK), refusal=Refusal.FUP, rule=Rule.FUP),
    "override": Case(
        4, standing=ordered(fixed(300 * MEGA)), download=300 * MEGA, lifts_blocks=True, rule=Rule.OVERRIDE
    ),
    "cap": Case(5, cap(CapAction.FIXED, fixed(MEGA)), download=MEGA, rule=Rule.CAP),
    "cap blocks": Case(5, cap(CapAction.BLOCK), refusal=Refusal.CAP, rule=Rule.CAP),
    "no balance": Case(
        6, standing=standing(account=AccountState.NO_BALANCE), refusal=Refusal.NO_BALANCE, rule=Rule.PREPAID
    ),
    "override blocks": Case(7, standing=ordered(BLOCK), refusal=Refusal.BLOCKED, rule=Rule.OVERRIDE),
    "blocked": Case(7, standing=standing(account=AccountState.BLOCKED), refusal=Refusal.BLOCKED, rule=Rule.BLOCKED),
    "hours": Case(8, PlanRules(allowed_hours=(NIGHT,)), refusal=Refusal.HOURS, rule=Rule.HOURS),
    "expired": Case(9, standing=standing(expires_at=NOW), refusal=Refusal.EXPIRED, rule=Rule.EXPIRY),
    "disabled": Case(10, standing=standing(enabled=False), refusal=Refusal.DISABLED, rule=Rule.BLOCKED),
}


def parts(case: Case) -> set[tuple[str, str]]:
    """Return what of plan and standing the case speaks of; two that speak of one thing cannot hold together."""
    plain = Standing(1, usage=USED)
    return {
        (type(value).__name__, each.name)
        for value, unset in ((case.rules, NO_RULES), (case.standing, plain))
        for each in fields(value)
        if getattr(value, each.name) != getattr(unset, each.name)
    }


def both(one: Case, other: Case) -> tuple[PlanRules, Standing]:
    """Join two cases."""
    spoken = {name for _, name in parts(other)}
    rules = {each.name: getattr(other.rules, each.name) for each in fields(PlanRules) if each.name in spoken}
    stands = {each.name: getattr(other.standing, each.name) for each in fields(Standing) if each.name in spoken}
    return replace(one.rules, **rules), replace(one.standing, **stands)


PAIRS = [(one, other) for one, other in combinations(CASES, 2) if not parts(CASES[one]) & parts(CASES[other])]


def test_all_rules_can_meet_but_those_that_speak_of_one_thing() -> None:
    impossible = {pair for pair in combinations(CASES, 2) if pair not in PAIRS}
    assert impossible == {
        ("schedule", "schedule blocks"),
        ("fair use", "fair use blocks"),
        ("cap", "cap blocks"),
        ("override", "override blocks"),
        ("no balance", "blocked"),
    }


@pytest.mark.parametrize("name", CASES)
def test_each_case_alone_is_what_it_says(name: str) -> None:
    case = CASES[name]
    line = ask(case.rules, case.standing)
    assert line.refusal is case.refusal
    assert case.download is None or line.download == case.download
    assert line.rules[-1].rule is case.rule


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_the_stronger_of_two_rules_wins(weak: str, strong: str) -> None:
    weaker, stronger = sorted((CASES[weak], CASES[strong]), key=lambda case: case.rank)
    line = ask(*both(weaker, stronger))
    stays_blocked = weaker.refusal is not None and stronger.refusal is None and not stronger.lifts_blocks
    assert line.refusal is (weaker.refusal if stays_blocked else stronger.refusal)
    assert line.admitted is (line.refusal is None)
    if stronger.download is not None:
        assert line.download == stronger.download
    assert {weaker.rule, stronger.rule} <= {rule.rule for rule in line.rules}
    assert line.rules[-1].rule is stronger.rule or stronger.rule is Rule.OVERRIDE


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_it_does_not_matter_in_which_order_two_rules_came_to_be(one: str, other: str) -> None:
    assert ask(*both(CASES[one], CASES[other])) == ask(*both(CASES[other], CASES[one]))


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_no_pair_lets_a_blocked_line_through(weak: str, strong: str) -> None:
    rules, stands = both(CASES[weak], CASES[strong])
    for blocking in (WALL, replace(WALL, policy=BlockPolicy.REJECT)):
        line = ask(rules, stands, blocking=blocking)
        assert line.refusal is None or line.walled or not line.admitted
        if line.walled:
            assert line.address_list == "garden"


PERCENTAGES = {
    "boost": replace(CASES["boost"], standing=standing(top_ups=(top_up(1, TopUpKind.BOOST, boost=percent(200)),))),
    "schedule": Case(2, at_noon(percent(60))),
    "fair use": Case(3, fair_use(percent(50))),
    "override": Case(4, standing=ordered(percent(300))),
    "cap": Case(5, cap(CapAction.PERCENT, percent(10))),
}


@pytest.mark.parametrize(
    ("weak", "strong", "megabits"),
    [
        ("boost", "schedule", 120),
        ("boost", "fair use", 100),
        ("boost", "override", 600),
        ("boost", "cap", 20),
        ("schedule", "fair use", 30),
        ("schedule", "override", 300),
        ("schedule", "cap", 6),
        ("fair use", "override", 300),
        ("fair use", "cap", 5),
        ("override", "cap", 30),
    ],
)
def test_a_percentage_scales_what_weaker_rules_left_but_an_override_the_plan_and_its_boosts(
    weak: str, strong: str, megabits: int
) -> None:
    assert ask(*both(PERCENTAGES[weak], PERCENTAGES[strong])).download == megabits * MEGA


def test_fair_use_and_cap_slow_a_line_that_is_slow_already_no_less() -> None:
    slow = Case(2, at_noon(fixed(5 * MEGA)))
    assert ask(*both(slow, CASES["fair use"])).download == 5 * MEGA
    assert ask(*both(Case(4, standing=ordered(fixed(MEGA // 2))), CASES["cap"])).download == MEGA // 2


def burst(line: Entitlement) -> tuple[int | None, int | None]:
    return line.burst_download, line.guaranteed_download


@pytest.mark.parametrize("name", ["boost", "schedule", "fair use", "override", "cap"])
def test_burst_and_share_follow_the_rate_that_every_rule_makes(name: str) -> None:
    extra = PlanRules(burst=Burst(limit_percent=150), guaranteed_percent=20)
    line = ask(*both(Case(0, extra), CASES[name]))
    rate = CASES[name].download
    assert rate is not None
    assert burst(line) == (rate * 3 // 2, rate // 5)


@pytest.mark.parametrize("name", ["boost", "schedule", "fair use", "override", "cap"])
def test_a_spent_burst_budget_takes_the_burst_and_nothing_else(name: str) -> None:
    extra = PlanRules(burst=Burst(limit_percent=150), burst_budget=BurstBudget(GIGA, MEGA))
    spent = standing(burst=BurstLevel(NOW, 0, spent=True))
    line = ask(*both(Case(0, extra, spent), CASES[name]))
    assert (line.download, line.burst_download) == (CASES[name].download, None)


@pytest.mark.parametrize("name", CASES)
def test_hours_bought_lift_the_cap_and_nothing_else(name: str) -> None:
    if "cap" in {part for _, part in parts(CASES[name])} or name == "boost":
        return
    hours = Case(0, cap(CapAction.BLOCK), standing(top_ups=(top_up(9, TopUpKind.HOURS),)))
    line = ask(*both(hours, CASES[name]))
    assert line.refusal is CASES[name].refusal


def test_the_nearest_moment_of_all_rules_counts() -> None:
    rules, stands = both(CASES["schedule"], replace(CASES["override"], standing=standing(override=None)))
    ends = [NOW + timedelta(minutes=minutes) for minutes in (50, 40, 30, 20)]
    bought = replace(top_up(1, TopUpKind.BOOST, boost=percent(200)), ends=ends[0])
    stands = replace(stands, top_ups=(bought,))
    assert ask(rules, stands).valid_until == ends[0]
    stands = replace(stands, override=Override(percent(50), ends[1], "eva", "test"))
    assert ask(rules, stands).valid_until == ends[1]
    stands = replace(stands, expires_at=ends[2])
    assert ask(rules, stands).valid_until == ends[2]
    hours = Window(begins=0, ends=12 * 60 + 20)
    assert ask(replace(rules, allowed_hours=(hours,)), stands).valid_until == ends[3]
    assert ask(replace(rules, allowed_hours=(hours,)), stands).ends_at == ends[3]
