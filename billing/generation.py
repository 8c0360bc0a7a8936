"""Decides which lines an account's next document has: its history, less what was issued, by a date.

Rule: pure, and the only place where recurring prices, discounts, usage and one-time items become lines. It may run any
number of times for the same day: what was issued is subtracted, so the second run finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from billing.claims import BASE, Claim, Key
from billing.cycle import Cycle, Period, once
from billing.difference import IssuedLine, missing_lines
from billing.discounts import DISCOUNT, Discount, Held, Taken, capped, own, reductions, share_out
from billing.errors import BillingError
from billing.history import Event, Phase, phases, without_days
from billing.recurrence import cycle_of, first_days
from domain.catalogue import Mode, Product, Proration
from domain.money import minor_units, rounded, spread

MOST_LINES = 5_000
"""Of one account in one run; more come from a mistake in its history, and no person would read them."""
OVERAGE = "overage"
ONE_OFF = "one-off-"
COUPON = "coupon-"
PART = "part-"
BEGINNING = date.min
_DAY = timedelta(days=1)
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """How an account is billed."""

    currency: str
    cycle: Cycle
    """Its billing days."""
    mode: Mode = Mode.ADVANCE
    proration: Proration = Proration.ACTUAL
    at_once: bool = False
    """Whether what is due is billed on its own day; else on the next billing day."""

    def horizon(self, on: date) -> date:
        """Return until when what is due is billed by a run on that day."""
        return on if self.at_once else self.cycle.period(on).starts


class UsagePeriod(NamedTuple):
    """What usage of a service in a period costs."""

    period: Period
    amount: int
    """Of the whole period, rounded."""
    units: int
    """What is charged for, in the tariff's units."""
    facts: Mapping[str, object]
    """What was measured of it, as it is kept beside the line."""
    unit_price: Decimal = Decimal(0)
    bill_at: int | None = None
    """Of a period that is not over: the least that is billed before its end; None: nothing is."""
    product_id: int | None = None
    """What costs it, beside other products; None: all usage of the period is this."""
    sold_as: int | None = None
    """As which product all usage of the period is charged."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Something that is sold to a customer, with its history and what was issued for it."""

    id: int
    customer_id: int
    events: Sequence[Event]
    issued: Sequence[IssuedLine] = ()
    """Lines whose period ends after what `needed_since` says of `floor`, oldest first."""
    floor: date = BEGINNING
    """Everything before it was billed and has not changed since."""
    usage: Sequence[UsagePeriod] = ()
    """Periods that are over and may have to be charged."""
    rested: Sequence[Period] = ()
    """Days on which the account was not served and pays nothing."""
    usage_until: date | None = None
    """When the period is over in which something may be used now, also where nothing is sold any more by then."""

    def sold(self) -> list[Phase]:
        """Return what it was on each day."""
        return phases(self.events)

    def phases(self) -> list[Phase]:
        """Return what it was on each day that is paid."""
        return without_days(self.sold(), list(self.rested))


class OneOff(NamedTuple):
    """Something that is charged once."""

    id: int
    customer_id: int
    on: date
    unit_price: Decimal
    """In the major unit; negative for a credit."""
    quantity: Decimal
    product_id: int
    subscription_id: int | None = None
    text: str | None = None

    @property
    def amount(self) -> Decimal:
        """All of it."""
        return self.unit_price * self.quantity


class Coupon(NamedTuple):
    """An amount that is taken off the next documents until it is used up."""

    id: int
    left: int


class Line(NamedTuple):
    """A line of a document to be; the amount is as its price was stated, with or without tax."""

    customer_id: int
    subscription_id: int | None
    key: Key
    period: Period
    days: Period
    amount: int
    product_id: int
    unit_price: Decimal
    quantity: Decimal
    taxes: tuple[str, ...]
    price_includes_tax: bool
    credits_line: int | None = None
    usage: UsagePeriod | None = None
    discount_id: int | None = None
    one_off: OneOff | None = None


class TooManyLines(BillingError):
    """An account would get more lines than anybody could read."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"the account would get {count} lines at once, more than {MOST_LINES}; look at the history of what it has"
        )


@dataclass(slots=True)
class Generated:
    """What a run makes of an account."""

    lines: list[Line] = field(default_factory=list)
    horizon: date = BEGINNING
    next_on: date | None = None
    """When something more falls due; None: never as things are."""


def generate(
    terms: AccountTerms,
    subscriptions: Sequence[Subscription],
    products: Mapping[int, Product],
    on: date,
    *,
    discounts: Sequence[Discount] = (),
    one_offs: Sequence[OneOff] = (),
    coupons: Sequence[Coupon] = (),
) -> Generated:
    """Return the lines that are missing on `on`. Raise BillingError."""
    horizon = terms.horizon(on)
    result = Generated(horizon=horizon)
    shared = _shared(terms, subscriptions, products, discounts)
    through: dict[int | None, date] = {}
    for subscription in subscriptions:
        work = _Work(terms, subscription, products, discounts, shared.get(subscription.id, ()))
        result.lines += work.lines(horizon, on)
        through[subscription.id] = work.through
        result.next_on = _earlier(result.next_on, _earlier(work.next_due(horizon), subscription.usage_until))
    for one_off in one_offs:
        if one_off.on <= through.get(one_off.subscription_id, horizon):
            result.lines.append(one_off_line(one_off, products, terms.currency))
        else:
            result.next_on = _earlier(result.next_on, one_off.on)
    if coupons:
        _take_off(coupons, result.lines)
    if len(result.lines) > MOST_LINES:
        raise TooManyLines(len(result.lines))
    if result.next_on is not None and not terms.at_once:
        result.next_on = _billing_day(terms.cycle, result.next_on)
    if any(usage.bill_at is not None for subscription in subscriptions for usage in subscription.usage):
        # What is used until then may have to be billed on any day.
        result.next_on = _earlier(result.next_on, on + _DAY)
    return result


def _shared(
    terms: AccountTerms,
    subscriptions: Sequence[Subscription],
    products: Mapping[int, Product],
    discounts: Sequence[Discount],
) -> Mapping[int, Sequence[Taken]]:
    """Return what discounts that the account has as a whole take of each subscription."""
    found = [each for each in discounts if each.is_shared]
    if not found:
        return {}
    held = [Held(each.id, each.customer_id, each.phases()) for each in subscriptions]
    return share_out(found, held, products, terms.cycle, terms.currency)


def _billing_day(cycle: Cycle, due: date) -> date:
    """Return the first billing day on which something of that day is billed."""
    begins = cycle.period(due).starts
    return begins if begins == due else cycle.next_begin(due)


def _earlier(left: date | None, right: date | None) -> date | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right)


class _Work:
    """One subscription in one run."""

    def __init__(
        self,
        terms: AccountTerms,
        subscription: Subscription,
        products: Mapping[int, Product],
        discounts: Sequence[Discount],
        shared: Sequence[Taken],
    ) -> None:
        self._terms = terms
        self._subscription = subscription
        self._products = products
        self._discounts = [
            discount
            for discount in discounts
            if not discount.is_shared and discount.concerns(subscription.id, subscription.customer_id)
        ]
        self._shared = shared
        everyday = subscription.sold()
        self._phases = without_days(everyday, list(subscription.rested))
        self._first = first_days(terms.cycle, everyday, self._phases, products)
        self._sold: dict[Key, tuple[Phase, Product, tuple[str, ...], int | None]] = {}
        self._claims = list(self._make_claims())
        self._next_credit: date | None = None
        self.through = BEGINNING
        """Until when `lines` has charged what is due; also what is charged once beside it."""

    def lines(self, horizon: date, on: date) -> list[Line]:
        """Return what is missing."""
        subscription = self._subscription
        recurring, metered = _divided(subscription.issued)
        found = missing_lines(self._claims, recurring, floor=subscription.floor, horizon=horizon, on=on)
        self._next_credit, self.through = found.next_credit, found.through
        lines = []
        for missing in found.lines:
            phase, product, taxes, discount_id = self._sold.get(missing.key) or self._of_the_past(missing.key)
            lines.append(
                Line(
                    subscription.customer_id,
                    subscription.id,
                    missing.key,
                    missing.period,
                    missing.days,
                    missing.amount,
                    product.id,
                    phase.unit_price,
                    phase.quantity,
                    taxes,
                    product.price_includes_tax,
                    missing.credits_line,
                    None,
                    discount_id,
                )
            )
        if subscription.usage:
            lines += self._usage_lines(metered, horizon)
        return lines

    def next_due(self, horizon: date) -> date | None:
        """Return when something more falls due; `lines` has said when something is credited."""
        following = self._next_credit
        for claim in self._claims:
            following = _earlier(following, claim.next_due(horizon))
        return following

    def _of_the_past(self, key: Key) -> tuple[Phase, Product, tuple[str, ...], int | None]:
        """Return what a key was whose days are all gone: its credit has the tax of the line it credits."""
        product_id, unit_price, quantity = _read(key)
        product = self._products[product_id]
        phase = Phase(Period(BEGINNING, BEGINNING), product_id, unit_price, quantity, None)
        component = key.component
        is_discount = component.startswith(DISCOUNT)
        discount_id = int(component.removeprefix(DISCOUNT).partition("/")[0]) if is_discount else None
        return phase, product, product.taxes, discount_id

    def _make_claims(self) -> Iterator[Claim]:
        for phase, product, cycle in self._charged_phases():
            rate = _rate(phase)
            price = minor_units(phase.unit_price, self._terms.currency) * Fraction(phase.quantity)
            taken = self._taken(phase, price)
            for claim, taxes in self._base(phase, product, cycle, rate, price):
                yield self._known(claim, phase, product, taxes)
                for reduced, discount_id in reductions(claim, price, taken):
                    yield self._known(reduced, phase, product, taxes, discount_id)

    def _charged_phases(self) -> Iterator[tuple[Phase, Product, Cycle]]:
        """Yield the phases with their periods; where a period is paid whole, it is paid by how it began."""
        paid_until = BEGINNING
        for phase in self._phases:
            product = self._products[phase.product_id]
            cycle = cycle_of(self._terms.cycle, phase, product, self._first[phase.product_id])
            days = phase.days
            if self._proration(product) is Proration.NONE:
                days, paid_until = once(days, cycle, paid_until)
            if days.starts < days.ends:
                yield phase._replace(days=days), product, cycle

    def _proration(self, product: Product) -> Proration:
        found = product.proration or self._terms.proration
        is_daily = (product.mode or self._terms.mode) is Mode.DAILY
        return Proration.ACTUAL if found is Proration.NONE and is_daily else found

    def _taken(self, phase: Phase, price: Fraction) -> Sequence[Taken]:
        found = [*(own(discount, price, self._terms.currency) for discount in self._discounts), *self._shared]
        return capped(price, phase.days, found) if len(found) > 1 else found

    def _base(
        self, phase: Phase, product: Product, cycle: Cycle, rate: str, price: Fraction
    ) -> Iterator[tuple[Claim, tuple[str, ...]]]:
        """Yield the price of a phase, in its parts where it is a bundle's."""
        terms = self._terms
        mode, proration = product.mode or terms.mode, self._proration(product)
        if not product.parts:
            yield Claim(Key(BASE, rate), [phase.days], price, cycle, proration, mode), product.taxes
            return
        weights = [Fraction(part.weight_on(phase.days.starts)) for part in product.parts]
        whole = sum(weights)
        below, sum_so_far = Fraction(0), Fraction(0)
        for number, part in enumerate(product.parts, 1):
            # What costs nothing alone has equal parts.
            sum_so_far += weights[number - 1] if whole else Fraction(1)
            until = price * sum_so_far / (whole or len(product.parts))
            key = Key(f"{PART}{number}", rate)
            yield Claim(key, [phase.days], until, cycle, proration, mode, below), part.taxes
            below = until

    def _known(
        self, claim: Claim, phase: Phase, product: Product, taxes: tuple[str, ...], discount_id: int | None = None
    ) -> Claim:
        self._sold[claim.key] = phase, product, taxes, discount_id
        return claim

    def _usage_lines(self, metered: Mapping[Period, list[IssuedLine]], horizon: date) -> Iterator[Line]:
        """Yield what usage costs beyond what was charged for it; a period that was rated again may be credited."""
        subscription = self._subscription
        for usage in subscription.usage:
            billed = [
                line
                for line in metered.get(usage.period, ())
                if usage.product_id is None or line.key.rate == str(usage.product_id)
            ]
            change = usage.amount - sum(line.amount for line in billed)
            if not change or (usage.period.ends > horizon and (usage.bill_at is None or change < usage.bill_at)):
                continue
            product_id = usage.product_id or usage.sold_as
            if product_id is None:
                continue
            product = self._products[product_id]
            yield Line(
                subscription.customer_id,
                subscription.id,
                Key(OVERAGE, str(product_id)),
                usage.period,
                usage.period,
                change,
                product.id,
                usage.unit_price,
                Decimal(usage.units),
                product.taxes,
                product.price_includes_tax,
                billed[0].id if billed and change < 0 else None,
                usage,
            )


def _divided(issued: Sequence[IssuedLine]) -> tuple[list[IssuedLine], dict[Period, list[IssuedLine]]]:
    """Divide lines into those of recurring prices, and those of usage by their period."""
    recurring, metered = [], dict[Period, list[IssuedLine]]()
    for line in issued:
        if line.key.component == OVERAGE:
            metered.setdefault(line.period, []).append(line)
        else:
            recurring.append(line)
    return recurring, metered


def _rate(phase: Phase) -> str:
    """Return what makes the price of a phase, as the lines issued for it keep it."""
    text = f"{phase.product_id} {phase.unit_price.normalize():f} {phase.quantity.normalize():f}"
    return text if phase.anchor is None else f"{text} {phase.anchor.isoformat()}"


def _read(key: Key) -> tuple[int, Decimal, Decimal]:
    product_id, unit_price, quantity, *_ = key.rate.split(" ")
    return int(product_id), Decimal(unit_price), Decimal(quantity)


def one_off_line(one_off: OneOff, products: Mapping[int, Product], currency: str) -> Line:
    """Return the line of something that is charged once."""
    product = products[one_off.product_id]
    days = Period(one_off.on, one_off.on)
    return Line(
        one_off.customer_id,
        one_off.subscription_id,
        Key(f"{ONE_OFF}{one_off.id}", str(product.id)),
        days,
        days,
        rounded(minor_units(one_off.amount, currency)),
        product.id,
        one_off.unit_price,
        one_off.quantity,
        # The fee of a bundle is divided no further: it has the taxes of the first thing in it.
        product.parts[0].taxes if product.parts else product.taxes,
        product.price_includes_tax,
        one_off=one_off,
    )


def _take_off(coupons: Sequence[Coupon], lines: list[Line]) -> None:
    """Add what coupons take off: before tax, in proportion to what is charged at each kind of tax."""
    charged: dict[tuple[tuple[str, ...], bool], list[Line]] = {}
    for line in lines:
        if line.amount > 0:
            charged.setdefault((line.taxes, line.price_includes_tax), []).append(line)
    weights = [sum(line.amount for line in group) for group in charged.values()]
    left = sum(line.amount for line in lines)
    for coupon in coupons:
        taken = min(coupon.left, left)
        if taken <= 0:
            return
        left -= taken
        for group, amount in zip(charged.values(), spread(taken, weights), strict=True):
            if amount:
                lines.append(_coupon_line(coupon, group[0], amount))


def _coupon_line(coupon: Coupon, like: Line, amount: int) -> Line:
    return like._replace(
        subscription_id=None,
        key=Key(f"{COUPON}{coupon.id}", like.key.rate),
        amount=-amount,
        unit_price=Decimal(0),
        quantity=Decimal(1),
        credits_line=None,
        usage=None,
        discount_id=coupon.id,
        one_off=None,
    )
