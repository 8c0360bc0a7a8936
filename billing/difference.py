"""Decides which lines are missing: what is due, less what was issued.

Rule: what a period of a claim should have cost is computed from the whole history and compared, rounded, with what was
issued for it; only the difference becomes lines. So a second run finds nothing, the order in which history was written
does not matter, and parts sum to the whole. A credit names the line it credits, never reaches beyond it, never exceeds
what is left of it, and is not due before the first of its days: what is to come may still be taken back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from billing.claims import Claim, Key
from billing.cycle import Period
from billing.errors import BillingError
from billing.intervals import difference as without
from billing.intervals import intersection, union
from domain.money import spread


class IssuedLine(NamedTuple):
    """A line that was issued; amounts are as the price was stated (with or without tax)."""

    id: int
    key: Key
    period: Period
    """The whole billing period of which `days` are a part."""
    days: Period
    amount: int
    credits_line: int | None = None
    adjusted: int = 0
    """What credit notes outside of any history took from it; its sign is the other one."""


class MissingLine(NamedTuple):
    """A line that is to be issued."""

    key: Key
    period: Period
    days: Period
    amount: int
    credits_line: int | None = None


class InvalidCredit(BillingError):
    """A credit reaches beyond the line that it credits, so nothing can be said of what is owed."""

    def __init__(self, line: IssuedLine) -> None:
        super().__init__(
            f"line {line.id} credits {line.days.starts} to {line.days.ends} and reaches beyond what was charged; "
            "credit it by a credit note of its own, then run the account again"
        )
        self.line_id = line.id


@dataclass(slots=True)
class _Group:
    """What was issued for one period of one key, and what should have been."""

    period: Period
    issued: list[IssuedLine] = field(default_factory=list)
    more: list[Period] = field(default_factory=list)
    """Days that fall due now and that nobody has charged."""

    @property
    def billed(self) -> int:
        """What was charged, less what was credited."""
        return sum(line.amount for line in self.issued)

    def charged(self) -> list[Period]:
        """Return the days that were ever charged."""
        return union(line.days for line in self.issued if line.credits_line is None)

    def standing(self) -> list[Period]:
        """Return the days that are charged now. Raise InvalidCredit."""
        days: list[Period] = []
        for line in self.issued:
            if line.days.starts == line.days.ends:
                continue
            if line.credits_line is None:
                days = union([*days, line.days])
            elif without([line.days], days):
                raise InvalidCredit(line)
            else:
                days = without(days, [line.days])
        return days


@dataclass(slots=True)
class Missing:
    """What is to be issued, and when something more is to be credited as things are; None: never."""

    through: date
    """Until when charges are due."""
    lines: list[MissingLine] = field(default_factory=list)
    next_credit: date | None = None

    def due(self, gone: list[Period], on: date) -> list[Period]:
        """Return those of the days that are gone which are credited on `on`; those to come are remembered."""
        coming = [days.starts for days in gone if days.starts > on]
        if not coming:
            return gone
        self.next_credit = min([*coming, *([] if self.next_credit is None else [self.next_credit])])
        return [days for days in gone if days.starts <= on]


def missing_lines(
    claims: Iterable[Claim], issued: Sequence[IssuedLine], *, floor: date, horizon: date, on: date
) -> Missing:
    """Return the lines that bring what was issued to what is due: charges by `horizon`, credits on `on`.

    `issued` are all lines of these claims' subscription whose period ends after `floor`, oldest first. Nothing is
    computed of periods that end by `floor`. Where days are credited, those that take their place are due on `on`, too:
    they are one document. Raise InvalidCredit.
    """
    by_key: dict[Key, Claim] = {}
    for claim in claims:
        known = by_key.setdefault(claim.key, claim)
        if known is not claim:
            known.days = union([*known.days, *claim.days])
    missing = _compared(by_key, issued, floor, horizon, on)
    if horizon < on and any(line.credits_line is not None for line in missing.lines):
        return _compared(by_key, issued, floor, on, on)
    return missing


def _compared(
    by_key: Mapping[Key, Claim], issued: Sequence[IssuedLine], floor: date, horizon: date, on: date
) -> Missing:
    groups = _groups(issued)
    missing = Missing(horizon)
    for key in dict.fromkeys([*by_key, *groups]):
        of_key, claim = groups.get(key, {}), by_key.get(key)
        if claim is None:
            missing.lines += [line for group in of_key.values() for line in _withdraw(key, group, missing, on)]
        else:
            missing.lines += _of_key(claim, of_key, floor, horizon, missing, on)
    return missing


def _groups(issued: Sequence[IssuedLine]) -> dict[Key, dict[Period, _Group]]:
    groups: dict[Key, dict[Period, _Group]] = defaultdict(dict)
    for line in issued:
        of_key = groups[line.key]
        if line.period not in of_key:
            of_key[line.period] = _Group(line.period)
        of_key[line.period].issued.append(line)
    return groups


def _of_key(
    claim: Claim, groups: dict[Period, _Group], floor: date, horizon: date, missing: Missing, on: date
) -> list[MissingLine]:
    charged = union(day for group in groups.values() for day in group.charged())
    for days, period in claim.due(floor, horizon):
        rest = without([days], charged)
        if rest:
            groups.setdefault(period, _Group(period)).more += rest
    return [line for group in groups.values() for line in _settle(claim, group, missing, on)]


def _withdraw(key: Key, group: _Group, missing: Missing, on: date) -> list[MissingLine]:
    """Return the lines that take back all of a group whose claim is gone."""
    billed, standing = group.billed, group.standing()
    if not missing.due(standing[:1], on):
        return []
    return _credit(key, group, standing, _bounded(-billed, group))


def _settle(claim: Claim, group: _Group, missing: Missing, on: date) -> list[MissingLine]:
    """Return the lines that bring a group to what its days cost; none where that is what was billed."""
    if not group.issued:
        return _charge(claim, group, [], group.more, 0)
    billed, standing = group.billed, group.standing()
    gone = missing.due(without(standing, claim.days), on)
    kept = without(standing, gone)
    more = sorted([*without(intersection(group.charged(), claim.days), standing), *group.more])
    change = claim.amount(union([*kept, *more]), group.period) - billed
    if not change:
        return []
    back = claim.amount(kept, group.period) - billed if gone else 0
    back = _bounded(back, group) if _is_back(back, claim) else 0
    rest = change - back
    if _is_back(rest, claim):
        # Also of days that are charged: they take from a rounding, or from what credit notes have given back already.
        return _credit(claim.key, group, gone, _bounded(change, group))
    lines = _credit(claim.key, group, gone, back)
    if more:
        return lines + _charge(claim, group, kept, more, billed + back)
    # Days that are gone had taken from a rounding, and credit nothing.
    return [*lines, MissingLine(claim.key, group.period, _nothing_of(group.period), rest)] if rest else lines


def _is_back(change: int, claim: Claim) -> bool:
    """Tell whether a change goes the other way than the price."""
    return change != 0 and (change > 0) == claim.is_credit


def _bounded(change: int, group: _Group) -> int:
    """Return a credit that takes no more than credit notes have left."""
    return _borne(change, sum(line.amount + line.adjusted for line in group.issued))


def _charge(claim: Claim, group: _Group, standing: list[Period], more: list[Period], billed: int) -> list[MissingLine]:
    """Return a line for each of the days in `more`; each costs what it adds to the days before it."""
    lines = []
    days = standing
    for period in more:
        days = union([*days, period])
        until = claim.amount(days, group.period)
        if until != billed:
            lines.append(MissingLine(claim.key, group.period, period, until - billed))
        billed = until
    return lines


def _credit(key: Key, group: _Group, gone: list[Period], change: int) -> list[MissingLine]:
    """Divide a credit over the lines that had charged these days; what is more than is left of them over the others."""
    charges = {line.id: line for line in reversed(group.issued) if line.credits_line is None}
    left, days_left = _left(group)
    shares: list[tuple[Period, int]] = []
    rest = gone
    for id_, line in charges.items():
        found = intersection(rest, [line.days])
        shares += [(days, id_) for days in found]
        rest = without(rest, found)
    shares.sort()
    # No days of theirs are gone: what the others give is of none.
    others = [(_nothing_of(line.days), id_) for id_, line in charges.items()]
    wanted = _wanted([(left[id_], Fraction(_days(days), days_left[id_])) for days, id_ in shares], change)
    lines, over = [], change - sum(wanted)
    for (days, id_), amount in zip([*shares, *others], [*wanted, *[0] * len(others)], strict=True):
        taken = _borne(amount + over, left[id_])
        over += amount - taken
        left[id_] += taken
        if taken:
            lines.append(MissingLine(key, group.period, days, taken, id_))
    return lines


def _left(group: _Group) -> tuple[dict[int, int], dict[int, int]]:
    """Return what of each charge was not credited, and how many of its days."""
    left = {line.id: line.amount + line.adjusted for line in group.issued if line.credits_line is None}
    days_left = {line.id: _days(line.days) for line in group.issued if line.credits_line is None}
    for line in group.issued:
        if line.credits_line in left:
            left[line.credits_line] += line.amount
            days_left[line.credits_line] -= _days(line.days)
    return left, days_left


def _wanted(shares: Sequence[tuple[int, Fraction]], change: int) -> list[int]:
    """Return what each share gives of a credit: shares are what is left of a line, and the part of it that is gone.

    A part of a price may have become less by a day: such a line, the other way round, gives back all that it took.
    """
    back = [-left if left * change > 0 and part == 1 else 0 for left, part in shares]
    weights = [part * abs(left) if left * change < 0 else Fraction(0) for left, part in shares]
    if not any(weights):
        return back
    rest = spread(change - sum(back), weights)
    return [own + more for own, more in zip(back, rest, strict=True)]


def _days(period: Period) -> int:
    return (period.ends - period.starts).days


def _nothing_of(days: Period) -> Period:
    return Period(days.starts, days.starts)


def _borne(change: int, left: int) -> int:
    """Return as much of a change as a line bears, of which so much is left: no credit is more than that."""
    if change * left >= 0:
        return 0
    return max(change, -left) if left > 0 else min(change, -left)
