"""When what is done to collect a debt: one calendar for all of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.collections import Debt, Situation, Step, after_trust, calendar, may_cut, next_step, standing
from domain.billing_terms import CollectionAct, CollectionRules

DUE = date(2012, 5, 31)
RULES = CollectionRules(slow_after=30, redirect_after=40, block_after=50)
OWED = Situation([Debt(1, DUE, 1000)])


def acts(rules: CollectionRules, situation: Situation = OWED) -> list[tuple[str, str]]:
    return [(step.on.isoformat(), step.act.value) for step in calendar(rules, situation)]


def test_d1_states_follow_each_other_and_a_payment_clears_them() -> None:
    steps = calendar(RULES, OWED)
    assert acts(RULES) == [("2012-06-30", "slow"), ("2012-07-10", "redirect"), ("2012-07-20", "block")]
    assert standing(steps, date(2012, 6, 29)) is None
    assert standing(steps, date(2012, 6, 30)) is CollectionAct.SLOW
    assert standing(steps, date(2012, 7, 19)) is CollectionAct.REDIRECT
    assert standing(steps, date(2012, 7, 20)) is CollectionAct.BLOCK
    assert next_step(steps, date(2012, 7, 1)) == Step(date(2012, 7, 10), CollectionAct.REDIRECT)
    assert calendar(RULES, Situation([])) == []


def test_reminders_count_each_from_the_one_before_and_deactivation_from_the_blocking() -> None:
    rules = CollectionRules(reminders=(3, 4, 7), block_after=10, deactivate_after=30)
    assert acts(rules) == [
        ("2012-06-03", "reminder"), ("2012-06-07", "reminder"), ("2012-06-10", "block"), ("2012-06-14", "reminder"),
        ("2012-07-10", "deactivate"),
    ]  # fmt: skip


def test_the_oldest_debt_decides_and_a_small_one_cuts_nothing() -> None:
    debts = [Debt(2, DUE + timedelta(days=30), 500), Debt(1, DUE, 300)]
    assert acts(RULES, Situation(debts))[0] == ("2012-06-30", "slow")
    assert acts(replace(RULES, reminders=(1,)), Situation(debts, minimum_debt=800)) == [("2012-06-01", "reminder")]


def test_nothing_is_cut_on_weekends_and_holidays_but_reminded_it_is() -> None:
    # 9 and 10 June 2012 were a weekend.
    rules = CollectionRules(
        reminders=(9,), block_after=9, no_cut_days=frozenset({5, 6}), holidays=("2012-06-11", "06-12")
    )
    assert acts(rules) == [("2012-06-09", "reminder"), ("2012-06-13", "block")]


def test_a_promise_holds_cuts_off_until_it_has_passed() -> None:
    promised = replace(OWED, promised_until=date(2012, 7, 15))
    assert acts(RULES, promised) == [("2012-07-16", "slow"), ("2012-07-16", "redirect"), ("2012-07-20", "block")]


def test_a_day_that_an_operator_set_stands_as_it_is() -> None:
    rules = replace(RULES, dates={"block": date(2012, 6, 10)}, no_cut_days=frozenset({6}))
    assert ("2012-06-10", "block") in acts(rules)


def test_a_day_that_an_operator_set_is_not_for_what_was_billed_after_it() -> None:
    rules = replace(RULES, dates={"block": date(2012, 6, 10)})
    later = Situation([Debt(1, DUE, 1000, date(2012, 6, 11))])
    assert ("2012-07-20", "block") in acts(rules, later)
    assert ("2012-06-10", "block") in acts(rules, Situation([Debt(1, DUE, 1000, date(2012, 6, 10))]))


def test_days_on_trust_hold_cuts_off_until_the_day_after_them_and_nothing_else() -> None:
    steps = calendar(replace(RULES, reminders=(35,), deactivate_after=1), OWED)
    held = after_trust(steps, date(2012, 7, 12))
    assert [(step.on.isoformat(), step.act.value) for step in held] == [
        ("2012-07-05", "reminder"), ("2012-07-13", "slow"), ("2012-07-13", "redirect"), ("2012-07-20", "block"),
        ("2012-07-21", "deactivate"),
    ]  # fmt: skip
    assert [standing(held, date(2012, 7, on)) for on in (12, 13)] == [None, CollectionAct.REDIRECT]


def test_each_step_may_have_its_day_by_hand() -> None:
    dates = {act.value: DUE + timedelta(days=20 + place) for place, act in enumerate(CollectionAct)}
    rules = CollectionRules(reminders=(3, 4), late_fee=Decimal(3), dates=dates)
    assert acts(rules) == [
        ("2012-06-20", "reminder"), ("2012-06-21", "late-fee"), ("2012-06-22", "slow"), ("2012-06-23", "redirect"),
        ("2012-06-24", "reminder"), ("2012-06-24", "block"), ("2012-06-25", "deactivate"),
    ]  # fmt: skip


def test_what_is_charged_once_reminds_and_cuts_only_where_the_rules_say_so() -> None:
    once, monthly = Debt(1, DUE, 1000, is_recurring=False), Debt(2, DUE + timedelta(days=1), 1000)
    rules = replace(RULES, reminders=(3,), one_time_cuts=False)
    assert acts(rules, Situation([once])) == [("2012-06-03", "reminder")]
    assert ("2012-07-01", "slow") in acts(rules, Situation([once, monthly]))
    assert ("2012-06-30", "slow") in acts(replace(rules, one_time_cuts=True), Situation([once, monthly]))


def test_a_late_fee_is_a_step_of_its_own() -> None:
    rules = CollectionRules(late_fee_after=5, late_fee=Decimal(3))
    assert acts(rules) == [("2012-06-05", "late-fee")]
    assert acts(replace(rules, late_fee=Decimal(0))) == []
    assert acts(replace(rules, late_fee_after=None)) == []


@given(
    st.frozensets(st.integers(0, 6), max_size=6),
    st.lists(st.integers(0, 60), max_size=3),
    st.integers(0, 90),
    st.none() | st.integers(0, 120),
)
def test_no_cut_falls_where_none_may_nor_before_its_count(
    free: frozenset[int], reminders: list[int], block_after: int, promised: int | None
) -> None:
    rules = CollectionRules(reminders=tuple(reminders), block_after=block_after, deactivate_after=10, no_cut_days=free)
    until = None if promised is None else DUE + timedelta(days=promised)
    for step in calendar(rules, replace(OWED, promised_until=until)):
        if step.act in (CollectionAct.BLOCK, CollectionAct.DEACTIVATE):
            assert may_cut(rules, step.on)
            assert step.on >= DUE + timedelta(days=block_after)
            assert until is None or step.on > until
