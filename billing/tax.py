"""Computes the tax of a document and of each of its lines.

Rule: exact fractions inside, and each amount of tax is rounded once: by line, or by rate (EN 16931), the amounts of the
lines then summing to that of the rate exactly. Of a line that is charged in parts, day by day, all parts together have
what the whole line has. A line that credits another takes its share of that one's tax, so that credits never sum to
more than was charged.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

from domain.billing_terms import TaxRounding
from domain.money import half_up, rounded, spread
from domain.tax import AppliedTax


class TaxableLine(NamedTuple):
    """An amount as its price was stated, and its taxes in the order in which they are charged."""

    amount: int
    taxes: tuple[AppliedTax, ...]
    includes_tax: bool = False
    known: tuple[int, tuple[int, ...]] | None = None
    """Net and taxes where they are decided already, as those of a credit."""
    part_of: Hashable = None
    """What all parts of a line have in common that is charged in parts."""
    relief: Fraction | None = None
    """What an amount with tax is divided by where that tax is not charged."""


class SettledLine(NamedTuple):
    """The amounts of a line; `taxes` in the order of its taxes."""

    net: int
    taxes: tuple[int, ...]


class TaxTotal(NamedTuple):
    """What a document has of one rate."""

    applied: AppliedTax
    base: int
    tax: int


@dataclass(frozen=True, slots=True)
class Settled:
    """All amounts of a document."""

    lines: list[SettledLine]
    totals: list[TaxTotal]

    @property
    def net(self) -> int:
        """Without tax."""
        return sum(line.net for line in self.lines)

    @property
    def tax(self) -> int:
        """All taxes."""
        return sum(total.tax for total in self.totals)

    @property
    def gross(self) -> int:
        """What is to be paid."""
        return self.net + self.tax


class CreditedLine(NamedTuple):
    """What was charged on a line, and how much of its amount was credited before."""

    amount: int
    net: int
    taxes: tuple[int, ...]
    credited: int = 0


def settle(lines: Sequence[TaxableLine], rounding: TaxRounding) -> Settled:
    """Return the net and the taxes of every line, and what each rate sums to."""
    by_line = rounding is TaxRounding.LINE
    keeps_gross = by_line or rounding is TaxRounding.KEEP_GROSS
    running: dict[AppliedTax, tuple[Fraction, int]] = {}
    settled = []
    for line in lines:
        if line.known is not None:
            settled.append(SettledLine(*line.known))
            continue
        whole, factors = _factors(line.taxes)
        divisor = line.relief or (whole if line.includes_tax else None)
        net = line.amount if divisor is None else half_up(line.amount * divisor.denominator, divisor.numerator)
        exact_net = Fraction(line.amount) / whole if line.includes_tax and keeps_gross else net
        if by_line:
            taxes = _by_line(line, net, factors)
        else:
            taxes = tuple(_by_rate(running, each, exact_net * factors[place]) for place, each in enumerate(line.taxes))
        if line.includes_tax and keeps_gross:
            net = line.amount - sum(taxes)
        settled.append(SettledLine(net, taxes))
    return Settled(settled, _totals(lines, settled))


class Begun(NamedTuple):
    """A part that was charged already of a line of the document that is to come."""

    line: TaxableLine
    settled: SettledLine


def settle_parts(lines: Sequence[TaxableLine], rounding: TaxRounding, begun: Sequence[Begun]) -> Settled:
    """Return the same of further parts of lines: what all lines come to by them, as far as they are charged."""
    so_far: dict[_Place, SettledLine] = {}
    amounts: dict[_Place, int] = {}
    for line, part in begun:
        place = _place(line)
        so_far[place] = _plus(so_far.get(place), part)
        amounts[place] = amounts.get(place, 0) + line.amount
    todays: dict[_Place, list[int]] = {}
    for number, line in enumerate(lines):
        if line.known is None:
            todays.setdefault(_place(line), []).append(number)
            amounts[_place(line)] = amounts.get(_place(line), 0) + line.amount
    reliefs = {_place(line): line.relief for line in lines}
    wholes = [
        TaxableLine(amount, place.taxes, place.includes_tax, relief=reliefs.get(place))
        for place, amount in amounts.items()
    ]
    settled = [SettledLine(*(line.known or (0, ()))) for line in lines]
    moved: dict[tuple[AppliedTax, ...], list[int]] = {}
    for place, until in zip(amounts, settle(wholes, rounding).lines, strict=True):
        more = _plus(until, so_far.get(place), sign=-1)
        numbers = todays.get(place, ())
        for number, part in zip(numbers, _divided(more, [lines[number].amount for number in numbers]), strict=True):
            settled[number] = part
        if not numbers:
            moved[place.taxes] = [
                sum(pair) for pair in zip_longest(moved.get(place.taxes, ()), more.taxes, fillvalue=0)
            ]
    for place, numbers in todays.items():
        # What rounding moved between lines that are not charged now goes to one that is.
        if place.taxes in moved:
            taxes = moved.pop(place.taxes)
            keeps_gross = place.includes_tax and rounding is not TaxRounding.RATE
            settled[numbers[-1]] = _plus(settled[numbers[-1]], SettledLine(-sum(taxes) * keeps_gross, tuple(taxes)))
    return Settled(settled, _totals(lines, settled))


class _Place(NamedTuple):
    """What makes parts those of one line."""

    part_of: Hashable
    taxes: tuple[AppliedTax, ...]
    includes_tax: bool


def _place(line: TaxableLine) -> _Place:
    return _Place(line.part_of, line.taxes, line.includes_tax)


def _plus(left: SettledLine | None, right: SettledLine | None, sign: int = 1) -> SettledLine:
    """Return the sum of two lines with the same taxes, or their difference."""
    net, taxes = left or (0, ())
    more, other = right or (0, ())
    return SettledLine(net + sign * more, tuple(a + sign * b for a, b in zip_longest(taxes, other, fillvalue=0)))


def _divided(line: SettledLine, amounts: Sequence[int]) -> list[SettledLine]:
    """Divide what several parts of one line come to in proportion to their amounts."""
    if len(amounts) < 2:
        return [line] * len(amounts)
    weights = [abs(amount) for amount in amounts] if any(amounts) else [1] * len(amounts)
    columns = [spread(each, weights) for each in (line.net, *line.taxes)]
    return [SettledLine(net, tuple(taxes)) for net, *taxes in zip(*columns, strict=True)]


def credit(line: CreditedLine, amount: int) -> tuple[int, tuple[int, ...]]:
    """Return net and taxes of a credit of `amount` (whose sign is the other one) of a line, after earlier credits.

    What is credited in parts sums to the line itself when all of it is credited.
    """
    before, until = line.credited, line.credited - amount

    def share(charged: int) -> int:
        return rounded(Fraction(charged * before, line.amount)) - rounded(Fraction(charged * until, line.amount))

    taxes = tuple(share(tax) for tax in line.taxes)
    if line.net == line.amount:
        return amount, taxes
    if line.net + sum(line.taxes) != line.amount:
        # Its price was with a tax that is not charged.
        return share(line.net), taxes
    return amount - sum(taxes), taxes


def with_tax(taxes: tuple[AppliedTax, ...]) -> Fraction:
    """Return what a net of 1 is with its taxes."""
    return _factors(taxes)[0]


@lru_cache(maxsize=1024)
def _factors(taxes: tuple[AppliedTax, ...]) -> tuple[Fraction, tuple[Fraction, ...]]:
    """Return gross for a net of 1, and what each tax is for it; a compound tax is charged on those before it too."""
    whole = Fraction(1)
    factors = []
    for each in taxes:
        factors.append((whole if each.compound else 1) * _share(each.percent))
        whole += factors[-1]
    return whole, tuple(factors)


def _share(percent: Decimal) -> Fraction:
    return Fraction(percent) / 100


def _by_line(line: TaxableLine, net: int, factors: Sequence[Fraction]) -> tuple[int, ...]:
    """Return the rounded taxes of a line; where the price includes them, what is not net is divided among them."""
    if not line.includes_tax:
        return tuple(rounded(net * factor) for factor in factors)
    taxes, sum_so_far, before = [], Fraction(0), 0
    all_taxes = line.amount - net
    whole = sum(factors, Fraction(0))
    for factor in factors:
        sum_so_far += factor
        until = rounded(all_taxes * sum_so_far / whole) if whole else 0
        taxes.append(until - before)
        before = until
    return tuple(taxes)


def _by_rate(running: dict[AppliedTax, tuple[Fraction, int]], applied: AppliedTax, exact: Fraction) -> int:
    """Return the part of a line in the tax of its rate: the difference of two rounded sums."""
    before, sum_so_far = 0, exact
    if applied in running:
        earlier, before = running[applied]
        sum_so_far += earlier
    until = rounded(sum_so_far)
    running[applied] = sum_so_far, until
    return until - before


def _totals(lines: Sequence[TaxableLine], settled: Sequence[SettledLine]) -> list[TaxTotal]:
    sums: dict[AppliedTax, tuple[int, int]] = {}
    for line, amounts in zip(lines, settled, strict=True):
        before = 0
        for applied, tax in zip(line.taxes, amounts.taxes, strict=True):
            base, charged = sums.get(applied, (0, 0))
            sums[applied] = base + amounts.net + (before if applied.compound else 0), charged + tax
            before += tax
    return [TaxTotal(applied, base, tax) for applied, (base, tax) in sums.items()]
