"""Decides when what is done to collect a debt: the one calendar for reminders, fees, cuts and promises.

Rule: days are the operator's local ones and count from the due date of the oldest document that is not paid; reminders
count each from the one before, deactivation from the blocking. A cut never falls on a day on which nothing is cut, nor
before a promise has passed; a reminder is no cut. What an operator dated by hand stands as it is, for the debts that
there were on that day: a later one follows the count again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NamedTuple

from domain.billing_terms import CollectionAct, CollectionRules

_CUTS = (CollectionAct.SLOW, CollectionAct.REDIRECT, CollectionAct.BLOCK, CollectionAct.DEACTIVATE)
_TRUSTED = (CollectionAct.SLOW, CollectionAct.REDIRECT, CollectionAct.BLOCK)
"""From what days on trust save."""
_MOST_POSTPONED = 60
"""Days without a working one are a mistake in the calendar, not a reason to wait for ever."""


class Debt(NamedTuple):
    """A document that is not paid."""

    document_id: int
    due_on: date
    amount: int
    """Minor units that are open."""
    dated: date = date.min
    """The day of the document."""
    is_recurring: bool = True
    """Whether anything in it is charged more than once."""


class Step(NamedTuple):
    """Something that is done on a day; `number` counts reminders from 1."""

    on: date
    act: CollectionAct
    number: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What a customer owes, and what holds collections off."""

    debts: Sequence[Debt]
    promised_until: date | None = None
    """The last day of a promise to pay."""
    minimum_debt: int = 0
    """Up to so much, in minor units, nothing is cut."""


def may_cut(rules: CollectionRules, day: date) -> bool:
    """Tell whether lines may be cut on a day."""
    holiday = day.isoformat() in rules.holidays or f"{day:%m-%d}" in rules.holidays
    return day.weekday() not in rules.no_cut_days and not holiday


def calendar(rules: CollectionRules, situation: Situation) -> list[Step]:
    """Return everything that is done about a debt unless it is paid, by day; none where nothing is owed."""
    overdue = sorted(situation.debts, key=lambda debt: (debt.due_on, debt.document_id))
    if not overdue:
        return []
    due_on = overdue[0].due_on
    meant = {act: day for act, day in rules.dates.items() if day >= overdue[0].dated}
    rules = replace(rules, dates=meant)
    steps = [*_reminders(rules, due_on), *_late_fee(rules, due_on)]
    cutting = [debt for debt in overdue if debt.is_recurring or rules.one_time_cuts]
    if cutting and sum(debt.amount for debt in cutting) > situation.minimum_debt:
        steps += _cuts(rules, cutting[0].due_on, situation.promised_until)
    return sorted(steps, key=lambda step: (step.on, _ORDER[step.act], step.number))


def after_trust(steps: Iterable[Step], trusted_until: date) -> list[Step]:
    """Return a calendar in which lines are cut again on the day after days on trust, whatever day that is."""
    ends = trusted_until + timedelta(days=1)
    held = [step._replace(on=max(step.on, ends)) if step.act in _TRUSTED else step for step in steps]
    return sorted(held, key=lambda step: (step.on, _ORDER[step.act], step.number))


def standing(steps: Iterable[Step], today: date) -> CollectionAct | None:
    """Return the harshest cut that holds today; None while the line is served as it should be."""
    held = [step.act for step in steps if step.act in _CUTS and step.on <= today]
    return max(held, key=_CUTS.index, default=None)


def next_step(steps: Iterable[Step], today: date) -> Step | None:
    """Return what is done next, after today."""
    return next((step for step in steps if step.on > today), None)


def _reminders(rules: CollectionRules, due_on: date) -> Iterable[Step]:
    on = due_on
    for number, days in enumerate(rules.reminders, 1):
        on += timedelta(days=days)
        if number == 1:
            on = rules.dates.get(CollectionAct.REMINDER.value, on)
        yield Step(on, CollectionAct.REMINDER, number)


def _late_fee(rules: CollectionRules, due_on: date) -> Iterable[Step]:
    days = rules.late_fee_after
    on = rules.dates.get(CollectionAct.LATE_FEE.value, None if days is None else due_on + timedelta(days=days))
    if on is not None and rules.late_fee:
        yield Step(on, CollectionAct.LATE_FEE)


def _cuts(rules: CollectionRules, due_on: date, promised_until: date | None) -> Iterable[Step]:
    blocked_on: date | None = None
    for act, days in (
        (CollectionAct.SLOW, rules.slow_after),
        (CollectionAct.REDIRECT, rules.redirect_after),
        (CollectionAct.BLOCK, rules.block_after),
    ):
        on = _dated(rules, act, None if days is None else due_on + timedelta(days=days), promised_until)
        if on is not None:
            yield Step(on, act)
            blocked_on = on if act is CollectionAct.BLOCK else blocked_on
    days = rules.deactivate_after
    counted = None if days is None or blocked_on is None else blocked_on + timedelta(days=days)
    on = _dated(rules, CollectionAct.DEACTIVATE, counted, promised_until)
    if on is not None:
        yield Step(on, CollectionAct.DEACTIVATE)


def _dated(
    rules: CollectionRules, act: CollectionAct, counted: date | None, promised_until: date | None
) -> date | None:
    """Return the day of a cut: by hand, or counted and then moved to where it may be."""
    by_hand = rules.dates.get(act.value)
    on = counted if by_hand is None else by_hand
    if on is None:
        return None
    if promised_until is not None and on <= promised_until:
        on = promised_until + timedelta(days=1)
    elif by_hand is not None:
        return by_hand
    for _ in range(_MOST_POSTPONED):
        if may_cut(rules, on):
            break
        on += timedelta(days=1)
    return on


_ORDER = {act: place for place, act in enumerate(CollectionAct)}
