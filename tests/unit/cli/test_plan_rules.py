"""Rules of plans on a terminal."""

from __future__ import annotations

from hypothesis import given

from cli.plan_rules import details
from config.plan_rules import document
from domain.plan_rules import (
    Cap,
    Change,
    ChangeKind,
    Counted,
    CountingWindow,
    Fup,
    FupStep,
    Period,
    PlanRules,
    TopUpKind,
    TopUpOffer,
    Window,
)
from tests.unit.config.rules import plan_rules
from tests.unit.config.test_plan_rules import RULES


def test_every_rule_has_its_line() -> None:
    assert [line for line in details(document(RULES)) if line[1]] == [
        ("guaranteed", "20 %"),
        ("priority", "3 of 1 (high) to 8"),
        ("contention", "1:10"),
        ("burst", "150 Mbit/s down, 75 Mbit/s up, while below 90 % of the rate over 8 s"),
        ("burst budget", "2.0 GB, refilled at 10 Mbit/s; spent, it resumes at 60 %"),
        ("allowed hours", "mon-fri 08:00-20:00, sat-sun 00:00-24:00, mon-sun 22:00-06:00"),
        ("address list", "subscribers"),
        (
            "attributes",
            "Mikrotik-Group = {plan}, Reply-Message = hello {login}, Reply-Message = {download_kbit}k",
        ),
        ("sold by", "main, south"),
        ("cap", "536.9 GB down a week, then 2 Mbit/s down, 1 Mbit/s up"),
        ("cap bonus", "10.7 GB"),
        ("cap rollover", "50 % of what is left, for 3 weeks, 1.1 TB at most"),
        ("cap overage", "what ran over is taken from the next periods"),
        ("cap warnings", "50 %, 80 %, 100 %"),
        (
            "top-up",
            (
                "ten: 10.0 GB until 30 d have passed, used before the plan's own, price 5.00,"
                " by itself at 100 % of the cap, at most 3 a month"
            ),
        ),
        ("", "evening: 5 h without the cap, price 0"),
        ("", "turbo: 200 % of the rate for 24 h, price 0"),
        ("counting", "mon-sun 00:00-08:00: 0 % of the traffic"),
        ("", "mon-sun 00:00-24:00: 200 % of the traffic and of the time on line"),
        ("weeks", "from Sunday"),
        ("fair use bonus", "1.0 GB"),
        ("fair use month", "from day 3"),
        ("fair use", "heavy: above 100.0 GB up a day, then 50 % of the rate (precedence 2)"),
        ("", "above 20 h 00 min on line a month, then blocked"),
        ("schedule", "mon,sat-sun 22:00-06:00: 200 Mbit/s down, 100 Mbit/s up"),
        ("traffic class", "peering: interface list IX, does not count"),
        ("", "gold: Class gold, counts"),
        ("", "voice: queue voip, counts"),
        ("blocked lines", "walled garden, cap: reject, wrong password: reject"),
        (
            "walled garden",
            "address list blocked, pool garden, https://pay.example.net/, 1 Mbit/s down, 512 kbit/s up",
        ),
        ("unproven line", "disconnected after 10 min"),
    ]


def test_what_counts_for_ever_and_time_that_is_weighed_are_told() -> None:
    rules = PlanRules(
        cap=Cap(10**9, Period.EVER, warn_percents=()),
        top_ups=(TopUpOffer("more", TopUpKind.OCTETS, 10**9),),
        counting=(CountingWindow(Window(), 50, Counted.TIME),),
        fup=Fup((FupStep(Period.EVER, Change(ChangeKind.BLOCK), above_octets=10**9),)),
    )
    assert [line for line in details(document(rules)) if line[1]] == [
        ("cap", "1.0 GB in all, then blocked"),
        ("top-up", "more: 1.0 GB until it is used, used after the plan's own, price 0"),
        ("counting", "mon-sun 00:00-24:00: 50 % of the time on line"),
        ("fair use", "above 1.0 GB in all, then blocked"),
    ]


def test_a_plan_without_rules_has_no_lines() -> None:
    assert not [line for line in details({}) if line[1]]


@given(plan_rules())
def test_whatever_a_plan_says_can_be_shown(rules: PlanRules) -> None:
    shown = [name for name, value in details(document(rules)) if value]
    assert ("cap" in shown) is (rules.cap is not None)
    assert ("fair use" in shown) is (rules.fup is not None)
