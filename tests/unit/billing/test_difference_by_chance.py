"""What is issued of one price sums to what its days cost, whatever was told before, and however little a day costs."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.claims import Claim, Key
from billing.cycle import Cycle, Period
from billing.difference import IssuedLine, missing_lines
from billing.intervals import difference, intersection, union
from domain.catalogue import CycleUnit, Mode, Proration

FIRST = date(2026, 1, 1)
WEEKS = 4
KEY = Key("base", "rate")
LATER = FIRST + timedelta(weeks=WEEKS + 2)


def after(days: int) -> date:
    return FIRST + timedelta(days=days)


SPANS = st.tuples(st.integers(0, 7 * WEEKS - 1), st.integers(1, 7 * WEEKS)).map(
    lambda span: Period(after(span[0]), after(min(span[0] + span[1], 7 * WEEKS)))
)
TIMES = st.lists(SPANS, max_size=3).map(union)
PARTS = st.builds(Fraction, st.integers(1, 60), st.sampled_from([1, 3, 7, 10]))


class Sold:
    """A price, or the part of one, that is sold for other days again and again."""

    def __init__(self, low: Fraction, part: Fraction, mode: Mode, sign: int) -> None:
        self._price, self._below, self._mode = sign * (low + part), sign * low, mode
        self.issued: list[IssuedLine] = []

    def claims(self, days: list[Period]) -> list[Claim]:
        cycle = Cycle(FIRST, unit=CycleUnit.WEEK)
        return [Claim(KEY, days, self._price, cycle, Proration.ACTUAL, self._mode, self._below)] if days else []

    def bill(self, days: list[Period], on: date) -> None:
        """Issue what is missing, having seen that nothing is missing then."""
        found = missing_lines(self.claims(days), self.issued, floor=date.min, horizon=on, on=on)
        for line in found.lines:
            self.issued.append(
                IssuedLine(len(self.issued) + 1, line.key, line.period, line.days, line.amount, line.credits_line)
            )
        assert missing_lines(self.claims(days), self.issued, floor=date.min, horizon=on, on=on).lines == []

    def adjust(self, percent: int) -> None:
        """Credit a part of the last charge outside of its history."""
        for place, line in reversed([*enumerate(self.issued)]):
            if line.credits_line is None:
                left = line.amount + line.adjusted + sum(
                    each.amount for each in self.issued if each.credits_line == line.id
                )  # fmt: skip
                self.issued[place] = line._replace(adjusted=line.adjusted - int(left * percent / 100))
                return

    def assert_credits_stay_within_their_lines(self) -> None:
        for line in self.issued:
            if line.credits_line is None:
                against = [each for each in self.issued if each.credits_line == line.id]
                left = line.amount + line.adjusted + sum(each.amount for each in against)
                assert 0 <= left <= line.amount or line.amount <= left <= 0
                assert not difference([each.days for each in against], [line.days])

    def assert_no_day_is_charged_twice(self) -> None:
        standing: list[Period] = []
        for line in self.issued:
            if line.days.starts == line.days.ends:
                continue
            if line.credits_line is None:
                assert not intersection(standing, [line.days])
                standing = union([*standing, line.days])
            else:
                standing = difference(standing, [line.days])


SOLD = st.builds(Sold, st.just(Fraction(0)) | PARTS, PARTS, st.sampled_from(Mode), st.sampled_from([1, -1]))
TOLD = st.lists(st.tuples(TIMES, st.integers(0, 7 * WEEKS)), min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(SOLD, TOLD, TIMES)
def test_what_was_issued_sums_to_what_the_last_days_cost(
    sold: Sold, told: list[tuple[list[Period], int]], last: list[Period]
) -> None:
    on = FIRST
    for days, day in told:
        on = max(on, after(day))
        sold.bill(days, on)
    sold.bill(last, LATER)
    at_once = missing_lines(sold.claims(last), [], floor=date.min, horizon=LATER, on=LATER)
    assert sum(line.amount for line in sold.issued) == sum(line.amount for line in at_once.lines)
    sold.assert_credits_stay_within_their_lines()
    sold.assert_no_day_is_charged_twice()


@settings(max_examples=400, deadline=None)
@given(SOLD, st.lists(st.tuples(TIMES, st.integers(0, 100)), min_size=1, max_size=6))
def test_credit_notes_of_its_own_let_nothing_be_credited_beyond_what_is_left(
    sold: Sold, told: list[tuple[list[Period], int]]
) -> None:
    for days, percent in told:
        sold.bill(days, LATER)
        sold.adjust(percent)
        sold.assert_credits_stay_within_their_lines()
    sold.bill([], LATER)
    sold.assert_credits_stay_within_their_lines()


def test_what_had_become_less_by_a_day_gives_back_what_it_took_and_the_rest_is_that_of_the_others() -> None:
    week = Period(FIRST, after(7))
    days = [Period(FIRST, after(4)), Period(after(4), after(5)), Period(after(5), after(7))]
    issued = [
        IssuedLine(number, KEY, week, each, amount)
        for number, each, amount in zip((1, 2, 3), days, (8, -1, 4), strict=True)
    ]
    gone = missing_lines([], issued, floor=date.min, horizon=LATER, on=LATER).lines
    assert [(line.credits_line, line.amount) for line in gone] == [(1, -8), (2, 1), (3, -4)]
