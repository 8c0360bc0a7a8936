"""The network half of a plan: what it may say, every way it is refused, and that nothing is lost on the way."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.checks import duration, fingerprint, octets, write_duration, write_fingerprint, write_octets
from config.hours import days, hours, window, write_window
from config.isp import Isp, Known
from config.plan_rules import StoredRulesError, document, load, load_blocking
from config.problems import Mistake
from config.provisioning import ProvisioningError, parse, read
from config.toml_text import write_table
from domain.network import AccountState, QueueKind
from domain.plan_rules import (
    EVERY_DAY,
    NO_RULES,
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
    TrafficClass,
    WalledGarden,
    WeekStart,
    Window,
)
from radius import dictionary
from tests.unit.config.rules import blockings, plan_rules, windows

PROJECT = Path(__file__).parents[3]
POOLS = """\
[[pool]]
name = "garden"
range = "10.0.0.0/24"
[[pool]]
name = "links"
range = "2001:db8::/48"
kind = "ipv6-prefix"
"""
PLAN = """\
[[plan]]
name = "p"
download = "100M"
upload = "50M"
"""
FIRST = len(POOLS.splitlines()) + len(PLAN.splitlines()) + 1
"""The line on which the rules of a test begin."""
AUTOMATIC = "automatic = { trigger_percent = 5, most_per_month = 1 }"
CAP = '[plan.cap]\noctets = "500G"\n'
WHOLE = (
    POOLS
    + '[[partner]]\nname = "south"\n'
    + PLAN
    + """
guaranteed_percent = 20
priority = 3
aggregation = 10
address_list = "subscribers"
partners = ["main", "south"]
attributes = { "Reply-Message" = ["hello {login}", "{download_kbit}k"], "Mikrotik-Group" = "{plan}" }
burst = { download = "150M", upload = "75M", threshold_percent = 90, seconds = 8 }
burst_budget = { octets = "2G", refill = "10M", resume_percent = 60 }
allowed_hours = ["mon-fri 08:00-20:00", "sat,sun", "22:00-06:00"]
disconnect_unproven = "10m"
counting = [{ hours = "00:00-08:00", days = "mon-sun", percent = 0 }, { percent = 200, counts = "both" }]
week_starts = "sunday"

[plan.cap]
octets = "500G"
unit = 1024
period = "week"
direction = "down"
action = "fixed"
download = "2M"
upload = "1M"
bonus = "10G"
rollover = { percent = 50, periods = 3, ceiling = "1T" }
warn_percents = [100, 80, 50]
carry_overage = true

[[plan.top_up]]
name = "ten"
octets = "10G"
price = "5.00"
valid_days = 30
use = "before"
automatic = { trigger_percent = 100, most_per_month = 3, compensate = true }

[[plan.top_up]]
name = "evening"
hours = 5

[[plan.top_up]]
name = "turbo"
percent = 200
hours = 24

[plan.fup]
bonus = "1G"
reset_day = 3

[[plan.fup.step]]
name = "heavy"
period = "day"
above = "100G"
direction = "up"
percent = 50
precedence = 2

[[plan.fup.step]]
above_online = "20h"
action = "block"

[[plan.schedule]]
days = "sat-mon"
hours = "22:00-06:00"
download = "200M"
upload = "100M"

[[plan.class]]
name = "peering"
counts = false
interface_list = "IX"

[[plan.class]]
name = "gold"
class = "gold"

[[plan.class]]
name = "voice"
queue = "voip"

[plan.blocking]
policy = "walled-garden"
wrong_password = "reject"
cap = "reject"
address_list = "blocked"
pool = "garden"
redirect_url = "https://pay.example.net/"
download = "1M"
upload = "512k"
"""
)
RULES = PlanRules(
    guaranteed_percent=20,
    priority=3,
    aggregation=10,
    burst=Burst(150_000_000, 75_000_000, None, 90, 8),
    burst_budget=BurstBudget(2_000_000_000, 10_000_000, 60),
    allowed_hours=(
        Window(frozenset(range(5)), 480, 1200),
        Window(frozenset({5, 6})),
        Window(EVERY_DAY, 1320, 360),
    ),
    address_list="subscribers",
    attributes=(
        ("Mikrotik-Group", "{plan}"),
        ("Reply-Message", "hello {login}"),
        ("Reply-Message", "{download_kbit}k"),
    ),
    partners=("main", "south"),
    cap=Cap(
        octets=500 << 30,
        period=Period.WEEK,
        direction=Direction.DOWN,
        action=CapAction.FIXED,
        change=Change(ChangeKind.FIXED, 2_000_000, 1_000_000),
        bonus_octets=10 << 30,
        rollover=Rollover(50, 3, 1 << 40),
        warn_percents=(50, 80, 100),
        carries_overage=True,
    ),
    top_ups=(
        TopUpOffer(
            "ten",
            TopUpKind.OCTETS,
            octets=10_000_000_000,
            price="5.00",
            valid_days=30,
            before_plan=True,
            automatic=AutomaticTopUp(100, 3, True),
        ),
        TopUpOffer("evening", TopUpKind.HOURS, hours=5),
        TopUpOffer("turbo", TopUpKind.BOOST, hours=24, boost=Change(ChangeKind.PERCENT, percent=200)),
    ),
    counting=(CountingWindow(Window(EVERY_DAY, 0, 480), 0), CountingWindow(Window(), 200, Counted.BOTH)),
    week_starts=WeekStart.SUNDAY,
    fup=Fup(
        steps=(
            FupStep(
                Period.DAY,
                Change(ChangeKind.PERCENT, percent=50),
                above_octets=100_000_000_000,
                direction=Direction.UP,
                precedence=2,
                name="heavy",
            ),
            FupStep(Period.MONTH, Change(ChangeKind.BLOCK), above_seconds=72_000),
        ),
        bonus_octets=1_000_000_000,
        reset_day=3,
    ),
    schedule=(
        ScheduleRule(Window(frozenset({0, 5, 6}), 1320, 360), Change(ChangeKind.FIXED, 200_000_000, 100_000_000)),
    ),
    classes=(
        TrafficClass("peering", False, interface_list="IX"),
        TrafficClass("gold", True, class_value="gold"),
        TrafficClass("voice", True, queue="voip"),
    ),
    blocking=Blocking(
        BlockPolicy.WALLED_GARDEN,
        (("cap", BlockPolicy.REJECT), ("wrong_password", BlockPolicy.REJECT)),
        WalledGarden("blocked", "garden", "https://pay.example.net/", 1_000_000, 512_000),
    ),
    disconnect_unproven_seconds=600,
)


def parsed(text: str) -> Isp:
    return parse(read(text, "isp.toml"), Known(), dictionary.load().encode)


def problems_of(text: str) -> list[str]:
    with pytest.raises(ProvisioningError) as caught:
        parsed(text)
    return [str(problem) for problem in caught.value.problems]


def warnings_of(text: str) -> list[str]:
    return [str(warning) for warning in parsed(POOLS + PLAN + text).warnings]


def test_every_rule_of_a_plan_is_read() -> None:
    isp = parsed(WHOLE)
    assert isp.warnings == ()
    assert isp.plans[0].rules == RULES


def test_the_plan_of_the_documentation_is_right_and_has_every_rule() -> None:
    text = (PROJECT / "docs/provisioning.md").read_text().partition("```toml\n")[2].partition("```")[0]
    isp = parsed(POOLS.replace("garden", "subscribers") + text)
    assert isp.warnings == ()
    assert [key for key, value in asdict(isp.plans[0].rules).items() if not value] == []


def test_a_plan_without_rules_has_none_and_an_empty_document() -> None:
    assert parsed(PLAN).plans[0].rules == NO_RULES
    assert document(NO_RULES) == {}
    assert load({}) == NO_RULES


def test_parts_have_their_defaults() -> None:
    text = (
        'burst = { limit_percent = 150 }\nburst_budget = { octets = "1G", refill = "1M" }\n'
        'cap = { octets = 1000, rollover = { percent = 50 } }\ntop_up = [{ name = "a", octets = "1G" }]\n'
        'fup = { step = [{ above = "1G", percent = 50 }] }\nschedule = [{ percent = 50 }]\n'
        'class = [{ name = "c", queue = "q" }]\nblocking = {}\n'
    )
    assert parsed(PLAN + text).plans[0].rules == PlanRules(
        burst=Burst(limit_percent=150),
        burst_budget=BurstBudget(10**9, 10**6),
        cap=Cap(1000, rollover=Rollover(50)),
        top_ups=(TopUpOffer("a", TopUpKind.OCTETS, 10**9),),
        fup=Fup((FupStep(Period.MONTH, Change(ChangeKind.PERCENT, percent=50), 10**9),)),
        schedule=(ScheduleRule(Window(), Change(ChangeKind.PERCENT, percent=50)),),
        classes=(TrafficClass("c", True, queue="q"),),
        blocking=Blocking(),
    )


@pytest.mark.parametrize(
    ("keys", "action", "change"),
    [
        ("", CapAction.BLOCK, None),
        ('action = "block"', CapAction.BLOCK, None),
        ('action = "overage"', CapAction.OVERAGE, None),
        ('download = "1M"', CapAction.FIXED, Change(ChangeKind.FIXED, 1_000_000)),
        ('action = "fixed"\nupload = "1M"', CapAction.FIXED, Change(ChangeKind.FIXED, None, 1_000_000)),
        ("percent = 10", CapAction.PERCENT, Change(ChangeKind.PERCENT, percent=10)),
        ('action = "percent"\npercent = 10', CapAction.PERCENT, Change(ChangeKind.PERCENT, percent=10)),
    ],
)
def test_what_a_cap_does_may_be_said_by_its_keys_alone(keys: str, action: CapAction, change: Change | None) -> None:
    cap = parsed(f"{PLAN}{CAP}{keys}\n").plans[0].rules.cap
    assert cap is not None
    assert (cap.action, cap.change) == (action, change)


REFUSED = [
    ("guaranteed_percent = 101", 0, "guaranteed_percent: must be a whole number of percent from 1 to 100, not 101"),
    ("priority = 9", 0, "priority: must be a whole number from 1 to 8, not 9"),
    ("aggregation = 0", 0, "aggregation: must be a whole number from 1 to 1000, not 0"),
    ('address_list = ""', 0, "address_list: must not be empty"),
    ('partners = "main"', 0, 'partners: must be a list such as ["one", "two"], not "main"'),
    ('partners = ["a", "a"]', 0, "partners: must not name anything twice: a, a"),
    (
        'disconnect_unproven = "1w"',
        0,
        'disconnect_unproven: must be a time such as "10m" (s, m, h, d) from "10s" to "30d", not "1w"',
    ),
    ("prioritty = 1", 0, 'prioritty: is not a known key; did you mean "priority"?'),
    # allowed hours
    ('allowed_hours = "sat"', 0, 'allowed_hours: must be a list such as ["mon-fri 08:00-20:00"], not "sat"'),
    ("allowed_hours = [5]", 0, 'allowed_hours: must be days and hours such as "mon-fri 08:00-20:00", not 5'),
    ('allowed_hours = ["weekend"]', 0, 'allowed_hours: must be days such as "mon-fri" or "sat,sun", not "weekend"'),
    ('allowed_hours = ["sat 8-20"]', 0, 'allowed_hours: must be hours such as "08:00-20:00", not "8-20"'),
    ('allowed_hours = ["08:00-25:00"]', 0, 'allowed_hours: must be hours from 00:00 to 24:00, not "08:00-25:00"'),
    ('allowed_hours = ["sat", "sat 00:00-24:00"]', 0, "allowed_hours: must not have the same hours twice"),
    # attributes
    (
        'attributes = { "Framed-MTU" = "{dwnload}" }',
        0,
        (
            'attributes.Framed-MTU: knows no "{dwnload}"; did you mean "download"?; there are "{download}",'
            ' "{upload}", "{burst_download}", "{burst_upload}", "{threshold_download}", "{threshold_upload}",'
            ' "{guaranteed_download}", "{guaranteed_upload}", "{burst_seconds}", "{priority}", "{address_list}",'
            ' "{login}", "{plan}"'
        ),
    ),
    (
        'attributes = { "Reply-Message" = "{" }',
        0,
        'attributes.Reply-Message: has a brace that does not match; one that is meant is doubled: "{"',
    ),
    (
        'attributes = { "Reply-Message" = "{}" }',
        0,
        'attributes.Reply-Message: must have a name in its braces, such as {download}: "{}"',
    ),
    (
        'attributes = { "Reply-Message" = "{login!r}" }',
        0,
        'attributes.Reply-Message: must have names alone in its braces, such as {download}: "{login!r}"',
    ),
    (
        'attributes = { "Reply-Message" = "{login:>900}" }',
        0,
        'attributes.Reply-Message: must have names alone in its braces, such as {download}: "{login:>900}"',
    ),
    (
        'attributes = { "Reply-Message" = true }',
        0,
        "attributes.Reply-Message: must be text or a whole number, not true",
    ),
    ('attributes = { "Class" = "x" }', 0, "attributes.Class: is written by the server itself; leave it out"),
    # burst
    ("burst = {}", 0, "burst: needs download, upload or limit_percent"),
    ("burst = { limit_percent = 100 }", 0, "burst.limit_percent: must be a whole number of percent from 101 to 1000"),
    ('burst = { limit_percent = 150, download = "150M" }', 0, "burst.download: cannot stand beside limit_percent"),
    ('burst = { download = "100M" }', 0, "burst.download: must be above the plan's own 100M"),
    ('burst = { upload = "49M" }', 0, "burst.upload: must be above the plan's own 50M"),
    (
        "burst = { limit_percent = 150, threshold_percent = 0 }",
        0,
        "burst.threshold_percent: must be a whole number of percent from 1 to 100",
    ),
    ("burst = { limit_percent = 150, seconds = 0 }", 0, "burst.seconds: must be a whole number of seconds from 1 to"),
    (
        "guaranteed_percent = 50\nburst = { limit_percent = 150, threshold_percent = 40 }",
        1,
        "burst.threshold_percent: must not be below guaranteed_percent, which is 50",
    ),
    ('burst_budget = { octets = "1G", refill = "1M" }', 0, "burst_budget: needs burst, of which it is the budget"),
    ('burst_budget = { refill = "1M" }', 0, "burst_budget.octets: is missing"),
    ('burst_budget = { octets = "1G" }', 0, "burst_budget.refill: is missing"),
    (
        'burst_budget = { octets = "1G", refill = "1M", resume_percent = 101 }',
        0,
        "burst_budget.resume_percent: must be a whole number of percent from 1 to 100, not 101",
    ),
    # cap
    ("[plan.cap]", 0, "cap.octets: is missing"),
    ('[[plan.cap]]\noctets = "1G"', 0, "cap: must be a table, not a list"),
    (
        '[plan.cap]\noctets = "1 GB"',
        1,
        'cap.octets: must be octets such as "500G" (k, M, G, T; or Gi for powers of 1,024), not "1 GB"',
    ),
    ('[plan.cap]\noctets = "0.5"', 1, 'cap.octets: must be whole octets from 1 to 1000000T, not "0.5"'),
    (CAP + "unit = 1000.0", 2, "cap.unit: must be 1000 or 1024, not 1000.0"),
    (CAP + 'period = "year"', 2, 'cap.period: must be one of "day", "week", "month", "ever", not "year"'),
    (
        CAP + 'period = "ever"\naction = "overage"',
        3,
        'cap.action: cannot be "overage" where the period is "ever": it is charged when a period is over',
    ),
    (
        CAP + 'period = "ever"\nrollover = { percent = 50 }',
        3,
        'cap.rollover: needs a period that ends, not "ever"',
    ),
    (
        CAP + 'period = "ever"\ncarry_overage = true',
        3,
        'cap.carry_overage: needs a period that ends, not "ever"',
    ),
    (
        CAP + 'action = "overage"\ncarry_overage = true',
        3,
        'cap.carry_overage: cannot stand beside the action "overage": what ran over is charged already',
    ),
    ('week_starts = "saturday"', 0, 'week_starts: must be one of "monday", "sunday", not "saturday"'),
    (CAP + 'direction = "in"', 2, 'cap.direction: must be one of "both", "down", "up", not "in"'),
    (CAP + 'action = "slow"', 2, 'cap.action: must be one of "block", "fixed", "percent", "overage", not "slow"'),
    (CAP + 'action = "fixed"', 2, "cap.action: needs download or upload"),
    (CAP + 'action = "percent"', 2, "cap.action: needs percent"),
    (CAP + 'action = "block"\npercent = 5', 3, 'cap.percent: cannot stand beside action = "block"'),
    (CAP + 'action = "overage"\nupload = "1M"', 3, 'cap.upload: cannot stand beside action = "overage"'),
    (CAP + 'action = "fixed"\npercent = 5', 3, 'cap.percent: cannot stand beside action = "fixed"'),
    (CAP + 'percent = 5\ndownload = "1M"', 2, "cap.percent: cannot stand beside download"),
    (CAP + "percent = 1001", 2, "cap.percent: must be a whole number of percent from 1 to 1000, not 1001"),
    (CAP + "bonus = -1", 2, "cap.bonus: must be whole octets from 0 to 1000000T, not -1"),
    (CAP + "warn_percents = 80", 2, "cap.warn_percents: must be a list such as [80, 100], not 80"),
    (CAP + "warn_percents = [80, 80]", 2, "cap.warn_percents: must not have a percentage twice"),
    (CAP + "warn_percents = [0]", 2, "cap.warn_percents: must be a whole number of percent from 1 to 1000, not 0"),
    (CAP + "rollover = {}", 2, "cap.rollover.percent: is missing"),
    (CAP + "rollover = { percent = 5, periods = 0 }", 2, "cap.rollover.periods: must be a whole number from 1 to 1096"),
    (CAP + "rollover = { percent = 5, ceiling = 0 }", 2, "cap.rollover.ceiling: must be whole octets from 1 to"),
    (CAP + "rollover = { percent = 5, month = 1 }", 2, "cap.rollover.month: is not a known key"),
    # top-ups
    ('[plan.top_up]\nname = "a"', 0, "top_up: must be written as [[plan.top_up]], with double brackets"),
    (CAP + '[[plan.top_up]]\noctets = "1G"', 2, "top_up.name: is missing"),
    (CAP + '[[plan.top_up]]\nname = "a"', 2, 'top_up: needs "octets", "hours", or a speed and "hours"'),
    (CAP + '[[plan.top_up]]\nname = "a"\npercent = 150', 2, "top_up.hours: is missing"),
    (CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\nhours = 5', 5, "top_up.hours: cannot stand beside octets"),
    (CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\npercent = 5', 5, "top_up.percent: cannot stand beside octets"),
    (
        CAP + '[[plan.top_up]]\nname = "a"\nhours = 5\nvalid_days = 5',
        5,
        "top_up.valid_days: is for top-ups of octets; this one is used up by the clock",
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\nhours = 5\nuse = "after"',
        5,
        "top_up.use: is for top-ups of octets; this one is used up by the clock",
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\nuse = "during"',
        5,
        'top_up.use: must be one of "before", "after", not "during"',
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\nprice = 5',
        5,
        'top_up.price: must be an amount in quotes such as "5.00", not 5',
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\nprice = "-5"',
        5,
        'top_up.price: must be an amount in quotes such as "5.00", not "-5"',
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\nautomatic = { trigger_percent = 101 }',
        5,
        "top_up.automatic.most_per_month: is missing",
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\noctets = "1G"\nautomatic = { most_per_month = 1 }',
        5,
        "top_up.automatic.trigger_percent: is missing",
    ),
    (
        CAP + '[[plan.top_up]]\nname = "a"\nhours = 5\nautomatic = { trigger_percent = 5, most_per_month = 1,'
        " compensate = true }",
        5,
        "top_up.automatic.compensate: is for top-ups of octets; hours cannot make up for octets",
    ),
    (
        f'[[plan.top_up]]\nname = "a"\npercent = 150\nhours = 5\n{AUTOMATIC}',
        4,
        "top_up.automatic: cannot be for a speed: nothing is used up that could trigger it",
    ),
    ('[[plan.top_up]]\nname = "a"\noctets = "1G"', 2, "top_up.octets: needs a cap of the plan, to which it adds"),
    ('[[plan.top_up]]\nname = "a"\nhours = 5', 2, "top_up.hours: needs a cap of the plan, to which it adds"),
    (
        CAP + '[[plan.top_up]]\nname = "a"\nhours = 5\n[[plan.top_up]]\nname = "a"\nhours = 6',
        6,
        f"top_up.name: says what an earlier one says already (the first is on line {FIRST + 3})",
    ),
    (
        CAP
        + f'[[plan.top_up]]\nname = "a"\nhours = 5\n{AUTOMATIC}\n[[plan.top_up]]\nname = "b"\nhours = 5\n{AUTOMATIC}',
        9,
        f"top_up.automatic.trigger_percent: says what an earlier one says already (the first is on line {FIRST + 5})",
    ),
    # counting, schedule
    ("counting = [{}]", 0, "counting.percent: is missing"),
    ("counting = [{ percent = -1 }]", 0, "counting.percent: must be a whole number of percent from 0 to 1000, not -1"),
    (
        "counting = [{ percent = 0 }, { percent = 50 }]",
        0,
        f"counting.hours: says what an earlier one says already (the first is on line {FIRST})",
    ),
    (
        '[[plan.counting]]\npercent = 0\ncounts = "time"\n[[plan.counting]]\npercent = 50\ncounts = "both"',
        3,
        f"counting.hours: says what an earlier one says already (the first is on line {FIRST})",
    ),
    ('counting = [{ percent = 0, counts = "all" }]', 0, 'counting.counts: must be one of "octets", "time", "both"'),
    (
        'counting = [{ percent = 0, counts = "both" }]\ncap = { octets = "1G", period = "ever" }',
        0,
        'counting: cannot weigh octets where a period is "ever": windows are for periods that end',
    ),
    (
        'counting = [{ percent = 0 }]\nfup = { step = [{ above = "1G", period = "ever", percent = 5 }] }',
        0,
        'counting: cannot weigh octets where a period is "ever": windows are for periods that end',
    ),
    ("[[plan.schedule]]", 0, "schedule: needs download, upload or percent"),
    ('[[plan.schedule]]\nhours = "1"\npercent = 5', 1, 'schedule.hours: must be hours such as "08:00-20:00", not "1"'),
    ('[[plan.schedule]]\ndays = "mo"\npercent = 5', 1, 'schedule.days: must be days such as "mon-fri" or "sat,sun"'),
    (
        "[[plan.schedule]]\npercent = 5\n[[plan.schedule]]\npercent = 50",
        2,
        f"schedule.hours: says what an earlier one says already (the first is on line {FIRST})",
    ),
    # fair use
    ("[plan.fup]", 0, "fup: needs at least one [[plan.fup.step]]"),
    ("[plan.fup]\nreset_day = 29", 1, "fup.reset_day: must be a whole number from 1 to 28, not 29"),
    ("[[plan.fup.step]]\npercent = 5", 0, 'fup.step: needs one of "above", "above_online"'),
    (
        '[[plan.fup.step]]\nabove = "1G"\nabove_online = "1h"\npercent = 5',
        2,
        "fup.step.above_online: cannot stand beside above",
    ),
    ('[[plan.fup.step]]\nabove = "1G"', 0, 'fup.step: needs download, upload, percent or action = "block"'),
    ('[[plan.fup.step]]\nabove = "1G"\naction = "overage"', 2, 'fup.step.action: must be one of "fixed", "percent"'),
    (
        '[[plan.fup.step]]\nabove_online = "1h"\npercent = 5\ndirection = "up"',
        3,
        "fup.step.direction: is for steps above octets; time on line has none",
    ),
    (
        '[[plan.fup.step]]\nabove_online = "1h"\npercent = 5\nperiod = "ever"',
        3,
        'fup.step.period: cannot be "ever" for time on line: sessions are not kept for ever',
    ),
    (
        '[[plan.fup.step]]\nabove_online = "1 week"\npercent = 5',
        1,
        'fup.step.above_online: must be a time such as "10m" (s, m, h, d) from "1m" to "366d", not "1 week"',
    ),
    (
        '[[plan.fup.step]]\nabove = "1G"\npercent = 5\n[[plan.fup.step]]\nabove = "1G"\npercent = 6',
        3,
        f"fup.step: says what an earlier one says already (the first is on line {FIRST})",
    ),
    (
        (
            '[[plan.fup.step]]\nname = "a"\nabove = "1G"\npercent = 5\n'
            '[[plan.fup.step]]\nname = "a"\nabove = "2G"\npercent = 6'
        ),
        5,
        f"fup.step.name: says what an earlier one says already (the first is on line {FIRST + 1})",
    ),
    # classes
    ('[[plan.class]]\nname = "a"', 0, 'class: needs one of "interface_list", "class", "queue"'),
    ('[[plan.class]]\nname = "a"\nclass = "a"\nqueue = "b"', 3, "class.queue: cannot stand beside class"),
    ('[[plan.class]]\nclass = "a"', 0, "class.name: is missing"),
    (
        '[[plan.class]]\nname = "a"\nclass = "a"\n[[plan.class]]\nname = "a"\nclass = "b"',
        4,
        f"class.name: says what an earlier one says already (the first is on line {FIRST + 1})",
    ),
    # blocking
    (
        'blocking = { policy = "garden" }',
        0,
        'blocking.policy: must be one of "reject", "walled-garden", not "garden"; did you mean "walled-garden"?',
    ),
    (
        'blocking = { cap = "walled-garden", download = "1M" }',
        0,
        (
            "blocking: lets lines into a walled garden without a fence; it needs one of"
            ' "address_list", "pool", "redirect_url"'
        ),
    ),
    ('blocking = { pool = "gardn" }', 0, 'blocking.pool: there is no pool "gardn"; did you mean "garden"?'),
    ('blocking = { pool = "links" }', 0, 'blocking.pool: must name a pool of kind "ipv4"'),
    (
        'blocking = { redirect_url = "pay.example.net" }',
        0,
        'blocking.redirect_url: must be a URL such as "https://pay.example.net/", not "pay.example.net"',
    ),
    ('blocking = { no_money = "reject" }', 0, "blocking.no_money: is not a known key"),
]


@pytest.mark.parametrize(("rules", "offset", "problem"), REFUSED, ids=[case[2][:60] for case in REFUSED])
def test_a_rule_that_cannot_be_is_refused_on_its_line(rules: str, offset: int, problem: str) -> None:
    found = problems_of(f"{POOLS}{PLAN}{rules}\n")
    assert [each for each in found if each.startswith(f"line {FIRST + offset}: plan.{problem}")], found


def test_all_mistakes_of_all_rules_are_listed_at_once() -> None:
    found = problems_of(PLAN + "\n".join(REFUSED[at][0] for at in range(3)))
    assert [problem.partition(":")[0] for problem in found] == ["line 5", "line 6", "line 7"]


def test_an_attribute_the_dictionary_does_not_know_or_cannot_encode_is_refused() -> None:
    (problem,) = problems_of(PLAN + 'attributes = { "Framed-MTUU" = 1 }\n')
    assert problem.startswith("line 5: plan.attributes.Framed-MTUU: ")
    (problem,) = problems_of(PLAN + 'attributes = { "Framed-MTU" = "{login}" }\n')
    assert problem.startswith("line 5: plan.attributes.Framed-MTU: ")
    assert parsed(PLAN + 'attributes = { "Framed-MTU" = "{download_kbit}" }\n').plans[0].rules.attributes


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("guaranteed_percent = 5", "guaranteed_percent: needs download or upload of the plan"),
        ("aggregation = 5", "aggregation: needs download or upload of the plan"),
        ("burst = { limit_percent = 150 }", "burst.limit_percent: needs download or upload of the plan"),
        ('burst = { download = "1M" }', "burst.download: is for a plan whose own rate is limited"),
        ('cap = { octets = "1G", percent = 5 }', "cap.percent: needs download or upload of the plan"),
        ("schedule = [{ percent = 5 }]", "schedule.percent: needs download or upload of the plan"),
        ('fup = { step = [{ above = "1G", percent = 5 }] }', "fup.step.percent: needs download or upload of the plan"),
        ('top_up = [{ name = "a", percent = 200, hours = 1 }]', "top_up.percent: needs download or upload of the plan"),
    ],
)
def test_a_share_of_a_rate_needs_a_rate(rules: str, problem: str) -> None:
    assert problems_of(f'[[plan]]\nname = "p"\n{rules}\n') == [f"line 3: plan.{problem}"]


def test_what_works_but_was_hardly_meant_warns() -> None:
    assert warnings_of('cap = { octets = "1G", download = "101M" }\n') == [
        f"line {FIRST}: plan.cap.download: is above the plan's own 100M"
    ]
    assert warnings_of('[[plan.fup.step]]\nabove = "1G"\ndownload = "1M"\nupload = "51M"\n') == [
        f"line {FIRST + 3}: plan.fup.step.upload: is above the plan's own 50M"
    ]
    assert warnings_of('[[plan.top_up]]\nname = "a"\nhours = 1\ndownload = "100M"\n') == [
        f"line {FIRST + 3}: plan.top_up.download: is not above the plan's own rate"
    ]
    assert warnings_of('[[plan.top_up]]\nname = "a"\nhours = 1\npercent = 100\n') == [
        f"line {FIRST + 3}: plan.top_up.percent: makes the line no faster"
    ]
    assert warnings_of("counting = [{ percent = 0 }]\n") == [
        f"line {FIRST}: plan.counting: has no effect in a plan without cap and fair use"
    ]
    assert warnings_of('counting = [{ percent = 0, counts = "time" }]\ncap = { octets = "1G" }\n') == [
        f"line {FIRST}: plan.counting: weighs time on line, for which no step of fair use asks"
    ]


def test_windows_for_octets_and_for_time_may_have_the_same_hours() -> None:
    text = (
        'counting = [{ percent = 0 }, { percent = 50, counts = "time" }]\n'
        'fup = { step = [{ above = "1G", percent = 5 }, { above_online = "9h", percent = 5 }] }\n'
    )
    rules = parsed(PLAN + text).plans[0].rules
    assert rules.weighing_octets == (CountingWindow(Window(), 0),)
    assert rules.weighing_time == (CountingWindow(Window(), 50, Counted.TIME),)
    assert warnings_of(text) == []


def test_what_was_written_before_there_was_a_choice_means_what_it_meant() -> None:
    rules = load({"counting": [{"percent": 0}], "cap": {"octets": "1G", "period": "week"}})
    assert (rules.weighing_octets, rules.weighing_time) == ((CountingWindow(Window(), 0),), ())
    assert rules.week_starts is WeekStart.MONDAY
    written = document(rules)
    assert "week_starts" not in written
    assert written["counting"] == [{"days": "mon-sun", "hours": "00:00-24:00", "percent": 0}]


def test_a_cap_and_a_step_may_count_for_ever() -> None:
    text = (
        'cap = { octets = "50G", period = "ever" }\ntop_up = [{ name = "a", octets = "1G" }]\n'
        'fup = { step = [{ above = "40G", period = "ever", percent = 5 }, { above_online = "9h", percent = 5 }] }\n'
        'counting = [{ percent = 50, counts = "time" }]\n'
    )
    rules = parsed(PLAN + text).plans[0].rules
    assert warnings_of(text) == []
    assert rules.cap is not None
    assert rules.cap.period is Period.EVER
    assert rules.uses(Period.EVER)
    assert not rules.uses(Period.WEEK)
    assert load(document(rules)) == rules


TURBO = '[[plan.top_up]]\nname = "turbo"\nhours = 1\npercent = 200\n'
"""Twice 100M down and 50M up."""
FAIR_USE_FIRST = "fair use goes before a boost"
SCHEDULE_FIRST = "a schedule's rates go before a boost"


@pytest.mark.parametrize(
    ("rules", "warned"),
    [
        (
            '[[plan.schedule]]\nhours = "18:00-23:00"\ndownload = "10M"\nupload = "100M"\n',
            [(6, f'schedule.download: who buys "turbo" at 18:00 gets 10M all the same: {SCHEDULE_FIRST}')],
        ),
        (
            '[[plan.schedule]]\nhours = "02:00-06:00"\ndownload = "199M"\n',
            [(6, f'schedule.download: who buys "turbo" at 02:00 gets 199M all the same: {SCHEDULE_FIRST}')],
        ),
        (
            '[[plan.fup.step]]\nabove = "1G"\ndownload = "5M"\nupload = "1M"\n',
            [
                (6, f'fup.step.download: who buys "turbo" beyond this step gets 5M all the same: {FAIR_USE_FIRST}'),
                (7, f'fup.step.upload: who buys "turbo" beyond this step gets 1M all the same: {FAIR_USE_FIRST}'),
            ],
        ),
        ('[[plan.schedule]]\nhours = "02:00-06:00"\ndownload = "200M"\nupload = "100M"\n', []),
        ('[[plan.schedule]]\nhours = "02:00-06:00"\npercent = 50\n', []),
        ('[[plan.fup.step]]\nabove = "1G"\npercent = 50\n', []),
    ],
)  # fmt: skip
def test_a_boost_that_a_stricter_rule_takes_away_is_warned_of(rules: str, warned: list[tuple[int, str]]) -> None:
    assert warnings_of(TURBO + rules) == [f"line {FIRST + line}: plan.{message}" for line, message in warned]


def test_of_boosts_only_those_are_named_that_a_rule_takes_away() -> None:
    offers = '[[plan.top_up]]\nname = "fast"\nhours = 1\ndownload = "300M"\n' + TURBO
    offers += '[[plan.top_up]]\nname = "calls"\nhours = 1\nupload = "60M"\n'
    (warning,) = warnings_of(offers + '[[plan.schedule]]\nhours = "02:00-06:00"\ndownload = "250M"\n')
    assert 'who buys "fast" at 02:00 gets 250M all the same' in warning


def test_the_isp_has_a_blocking_whose_pool_is_further_down() -> None:
    isp = '[isp]\nname = "x"\nblocking = { no_balance = "walled-garden", pool = "garden" }\n'
    entry = parsed(isp + POOLS).isp
    assert entry is not None
    assert entry.blocking == Blocking(
        by_reason=(("no_balance", BlockPolicy.WALLED_GARDEN),), garden=WalledGarden(pool="garden")
    )
    assert problems_of(isp) == ['line 3: isp.blocking.pool: there is no pool "garden"']


ROUTER = '[[router]]\nname = "r"\naddress = "192.0.2.1"\nsecret = "quite-long-and-random"\n'
PIN = ":".join(["AB"] * 32)


def test_a_router_says_what_it_is_asked_to_do() -> None:
    (router,) = parsed(
        ROUTER + "coa_per_second = 100\nrepair_drift = false\napi_accounting = true\n"
        f'queues = "pcq"\napi = {{ user = "u", password = "p", tls = true, fingerprint = "{PIN}" }}\n'
    ).routers
    assert (router.coa_per_second, router.repair_drift, router.api_accounting) == (100, False, True)
    assert router.queues is QueueKind.PCQ
    assert router.api is not None
    assert router.api.fingerprint == bytes([0xAB] * 32)
    (bare,) = parsed(ROUTER + 'queues = "none"\napi_accounting = false\n').routers
    assert (bare.coa_per_second, bare.repair_drift, bare.api_accounting) == (None, True, False)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("coa_per_second = 0", "coa_per_second: must be a whole number from 1 to 10000, not 0"),
        ("repair_drift = 1", "repair_drift: must be true or false, not 1"),
        ("api_accounting = true", "api_accounting: needs api: it is done over the router's management API"),
        ('queues = "simple"', "queues: needs api: it is done over the router's management API"),
        ('queues = "tree"', 'queues: must be one of "none", "simple", "pcq", not "tree"'),
        (
            f'api = {{ user = "u", password = "p", fingerprint = "{PIN}" }}',
            "api.fingerprint: needs tls = true: without it there is no certificate",
        ),
        (
            'api = { user = "u", password = "p", tls = true, fingerprint = "AB:CD" }',
            'api.fingerprint: must be the SHA-256 of a certificate, 32 octets as AA:BB:..., not "AB:CD"',
        ),
    ],
)
def test_a_duty_a_router_cannot_have_is_refused(keys: str, problem: str) -> None:
    assert problems_of(f"{ROUTER}{keys}\n") == [f"line 5: router.{problem}"]


def test_a_service_has_a_day_and_an_account() -> None:
    service = '[[service]]\nlogin = "a"\npassword = ""\nplan = "p"\n'
    (bare,) = parsed(PLAN + service).services
    assert (bare.period_day, bare.account_state) == (1, None)
    (blocked,) = parsed(PLAN + service + 'period_day = 31\naccount_state = "no_balance"\n').services
    assert (blocked.period_day, blocked.account_state) == (31, AccountState.NO_BALANCE)
    assert problems_of(PLAN + service + 'period_day = 32\naccount_state = "paid"\n') == [
        "line 9: service.period_day: must be a whole number from 1 to 31, not 32",
        'line 10: service.account_state: must be one of "active", "blocked", "no_balance", not "paid"',
    ]


@given(plan_rules())
@settings(max_examples=300)
def test_a_document_is_read_back_as_the_same_rules_whatever_keeps_it(rules: PlanRules) -> None:
    written = document(rules)
    assert load(written) == rules
    # PostgreSQL keeps JSON without the order of keys.
    assert load(json.loads(json.dumps(written, sort_keys=True))) == rules
    assert load(tomllib.loads(write_table("[plan]", written))["plan"]) == rules


@given(blockings())
def test_the_blocking_of_an_isp_is_read_back(blocking: Blocking) -> None:
    assert load_blocking(document(PlanRules(blocking=blocking))["blocking"]) == blocking  # type: ignore[arg-type]


def test_a_stored_document_that_cannot_be_is_one_clear_error() -> None:
    with pytest.raises(StoredRulesError, match=r"cannot be read: cap\.octets: is missing; apply the ISP file"):
        load({"cap": {}})
    with pytest.raises(StoredRulesError, match="bursts: is not a known"):
        load({"bursts": {}})


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        (7, 1000, 7),
        ("7", 1000, 7),
        ("1.5k", 1000, 1500),
        ("500G", 1000, 500 * 10**9),
        ("500 G", 1024, 500 << 30),
        ("500Gi", 1000, 500 << 30),
        ("1T", 1000, 10**12),
        ("0.5Ki", 1000, 512),
    ],
)
def test_octets_are_exact(text: object, unit: int, number: int) -> None:
    assert octets(unit)(text) == number


@pytest.mark.parametrize("text", ["", "G", "5g", "5GB", "0", 0, -1, "0.0001k", "1e3", 1.5, True, "1000001T", "5i"])
def test_octets_that_are_none_are_refused(text: object) -> None:
    with pytest.raises(Mistake):
        octets()(text)


@pytest.mark.parametrize(("number", "text"), [(500 * 10**9, "500G"), (500 << 30, "500Gi"), (1024, "1Ki"), (999, "999")])
def test_octets_are_written_the_short_way(number: int, text: str) -> None:
    assert write_octets(number) == text


@given(st.integers(1, 10**18))
def test_written_octets_are_read_back(number: int) -> None:
    assert octets()(write_octets(number)) == number


@given(st.integers(1, 10**8))
def test_a_written_duration_is_read_back(seconds: int) -> None:
    assert duration(1, 10**8)(write_duration(seconds)) == seconds


@given(st.binary(min_size=32, max_size=32), st.booleans())
def test_a_written_fingerprint_is_read_back(octets_: bytes, bare: bool) -> None:
    text = write_fingerprint(octets_)
    assert fingerprint(text.replace(":", "").lower() if bare else text) == octets_


@given(windows())
def test_a_written_window_is_read_back(wanted: Window) -> None:
    assert window(write_window(wanted)) == wanted


def test_days_may_go_round_the_week_and_hours_past_midnight() -> None:
    assert days("SAT-mon, wed") == {5, 6, 0, 2}
    assert hours("22:00 - 06:00") == (1320, 360)
    assert hours("20:00-00:00") == (1200, 1440)
    assert window("fri  8:00-9:00") == Window(frozenset({4}), 480, 540)


@pytest.mark.parametrize("value", ["", " ", "mon 08:00", "08:00-08:60", "24:00-08:00", "mon-", "mon,,tue", 5])
def test_windows_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(Mistake):
        window(value)
