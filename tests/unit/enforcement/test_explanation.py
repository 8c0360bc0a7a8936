"""The sentences that tell why a line has its speed, and what would change it."""

from __future__ import annotations

from string import Formatter
from zoneinfo import ZoneInfo

import pytest

from domain.instants import to_microseconds
from domain.plan_rules import (
    AutomaticTopUp,
    Burst,
    BurstBudget,
    Cap,
    CapAction,
    Fup,
    FupStep,
    Period,
    PlanRules,
    ScheduleRule,
    TopUpKind,
    TopUpOffer,
)
from enforcement import explanation
from enforcement.entitlement import prospects
from enforcement.explanation import UNLIMITED, Applied, Effect, Language, Rule
from enforcement.standing import AccountState, BurstLevel, Override, Standing
from tests.unit.enforcement.entitled_line import (
    GIGA,
    MEGA,
    NEXT_MONTH,
    NOON,
    NOW,
    PLAN,
    REJECT,
    ZONE,
    ask,
    fixed,
    percent,
    top_up,
    used,
)

RULES = PlanRules(
    cap=Cap(100 * GIGA, action=CapAction.FIXED, change=fixed(MEGA, 512_000)),
    fup=Fup((FupStep(Period.WEEK, percent(50), above_octets=5 * GIGA, name="busy week"),)),
    schedule=(ScheduleRule(NOON, percent(200)),),
    burst=Burst(limit_percent=150),
    burst_budget=BurstBudget(GIGA, MEGA),
)


def told(rules: PlanRules, standing: Standing, language: Language) -> list[str]:
    return [rule.text(language, ZONE) for rule in ask(rules, standing).rules]


def test_each_rule_that_holds_is_told_weakest_first() -> None:
    standing = Standing(
        1,
        usage=used(123_456_789_012),
        top_ups=(top_up(1, TopUpKind.BOOST, boost=fixed(150 * MEGA)),),
        override=Override(fixed(40 * MEGA), None, "eva", "line test"),
        burst=BurstLevel(NOW, 0, spent=True),
        account=AccountState.NO_BALANCE,
    )
    assert told(RULES, standing, Language.ENGLISH) == [
        "Plan Home: 100 Mbit/s down, 20 Mbit/s up.",
        "Boost top-up 1 until 2025-06-20 11:00: 150 Mbit/s down, 20 Mbit/s up.",
        "Schedule 11:00-13:00: 300 Mbit/s down, 40 Mbit/s up.",
        "Fair use busy week: 123 GB of 5 GB in the week; 150 Mbit/s down, 20 Mbit/s up.",
        "eva ordered until further notice: 40 Mbit/s down, 20 Mbit/s up (line test).",
        "Cap: 123 GB of 100 GB in the month; 1 Mbit/s down, 512 kbit/s up until 2025-07-01 00:00.",
        "Burst budget spent: no burst until 2025-06-18 13:06:40.",
        "The balance is used up.",
    ]
    assert told(RULES, standing, Language.SPANISH) == [
        "Plan Home: 100 Mbit/s de bajada, 20 Mbit/s de subida.",
        "Aceleración top-up 1 hasta 2025-06-20 11:00: 150 Mbit/s de bajada, 20 Mbit/s de subida.",
        "Horario 11:00-13:00: 300 Mbit/s de bajada, 40 Mbit/s de subida.",
        "Uso razonable busy week: 123 GB de 5 GB en la semana; 150 Mbit/s de bajada, 20 Mbit/s de subida.",
        "Orden de eva hasta nuevo aviso: 40 Mbit/s de bajada, 20 Mbit/s de subida (line test).",
        "Tope: 123 GB de 100 GB en el mes; 1 Mbit/s de bajada, 512 kbit/s de subida hasta 2025-07-01 00:00.",
        "Reserva de ráfaga agotada: sin ráfaga hasta 2025-06-18 13:06:40.",
        "El saldo está agotado.",
    ]


def test_what_would_change_it_is_told_nearest_first() -> None:
    standing = Standing(1, usage=used(4 * GIGA), top_ups=(top_up(1, octets=GIGA),))
    outlook = prospects(PLAN, RULES, REJECT, standing, ZONE, NOW)
    assert [prospect.text(zone=ZONE) for prospect in outlook] == [
        "After 1 GB more up and down: fair use busy week.",
        "After 1 GB more at most: the burst budget is spent.",
        "After 76.8 GB more up and down: 80 % of the cap.",
        "At 2025-06-18 13:00: other scheduled rates.",
        "At 2025-06-20 11:00: top-up top-up 1.",
    ]
    assert [prospect.text(Language.SPANISH, ZONE) for prospect in outlook][2:4] == [
        "Tras 76,8 GB más de subida y bajada: 80 % del tope.",
        "El 2025-06-18 13:00: otras velocidades del horario.",
    ]


@pytest.mark.parametrize(
    ("key", "number", "english", "spanish"),
    [
        ("used_octets", 0, "0 B", "0 B"),
        ("used_octets", 999, "999 B", "999 B"),
        ("used_octets", 1000, "1 kB", "1 kB"),
        ("used_octets", 1_005_000, "1 MB", "1 MB"),
        ("used_octets", 1_059_999_999, "1.05 GB", "1,05 GB"),
        ("used_octets", 999_999_999, "999 MB", "999 MB"),
        ("used_octets", 12_345 * 10**15, "12345 PB", "12345 PB"),
        ("used_bits_per_second", 10_500_000, "10.5 Mbit/s", "10,5 Mbit/s"),
        ("used_bits_per_second", UNLIMITED, "unlimited", "sin límite"),
        ("used_seconds", 0, "0 s", "0 s"),
        ("used_seconds", 3661, "1 h 1 min 1 s", "1 h 1 min 1 s"),
        ("used_percent", 80, "80%", "80 %"),
    ],
)
def test_numbers_have_units(key: str, number: int | str, english: str, spanish: str) -> None:
    applied = Applied(Rule.FUP, "x", ((key, number), ("limit_octets", 5), ("period", "day")), Effect.BLOCKS)
    assert applied.text() == f"Fair use x: {english} of 5 B in the day; not served."
    assert applied.text(Language.SPANISH) == f"Uso razonable x: {spanish} de 5 B en el día; sin servicio."


def test_what_has_no_name_leaves_no_gap() -> None:
    offer = TopUpOffer("more", TopUpKind.OCTETS, GIGA, automatic=AutomaticTopUp(80, 1))
    steps = (
        FupStep(Period.WEEK, percent(50), above_octets=GIGA),
        FupStep(Period.DAY, percent(9), above_octets=1000 * GIGA),
    )
    rules = PlanRules(cap=Cap(GIGA), top_ups=(offer,), fup=Fup(steps))
    standing = Standing(1, usage=used(4 * GIGA))
    told = [each.text(zone=ZONE) for each in prospects(PLAN, rules, REJECT, standing, ZONE, NOW)]
    assert "At 2025-07-01 00:00: automatic top-ups may be bought again." in told
    assert "After 996 GB more up and down: fair use." in told
    rule = next(rule for rule in ask(rules, standing).rules if rule.rule is Rule.FUP)
    assert rule.text(zone=ZONE).startswith("Fair use: 4 GB of 1 GB in the week; ")
    assert rule.text(Language.SPANISH, ZONE).startswith("Uso razonable: 4 GB de 1 GB en la semana; ")


def test_instants_are_shown_in_the_zone() -> None:
    expired = Applied(Rule.EXPIRY, "", (("at_us", to_microseconds(NEXT_MONTH)),), Effect.BLOCKS)
    assert expired.text() == "The service expired at 2025-07-01 05:00."
    assert expired.text(zone=ZoneInfo("Europe/Madrid")) == "The service expired at 2025-07-01 07:00."


def test_both_languages_have_the_same_sentences_with_the_same_places() -> None:
    def places(sentence: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}

    by_effect, by_kind = explanation._SENTENCES, explanation._PROSPECTS
    pairs = [
        *zip(by_effect[Language.ENGLISH].items(), by_effect[Language.SPANISH].items(), strict=True),
        *zip(by_kind[Language.ENGLISH].items(), by_kind[Language.SPANISH].items(), strict=True),
    ]
    for (key, english), (same_key, spanish) in pairs:
        assert key == same_key
        assert places(english) == places(spanish)


def test_names_with_braces_are_only_names() -> None:
    braces = Applied(Rule.PLAN, "{used}", (("download_bits_per_second", 1), ("upload_bits_per_second", 2)), Effect.SETS)
    assert braces.text() == "Plan {used}: 1 bit/s down, 2 bit/s up."
