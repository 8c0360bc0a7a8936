"""An account as the tests bill it: history by hand, lines kept as if they had been issued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from billing.cycle import Cycle, Period, monthly
from billing.difference import IssuedLine
from billing.discounts import Discount
from billing.generation import (
    AccountTerms,
    Coupon,
    Generated,
    Line,
    OneOff,
    Subscription,
    UsagePeriod,
    generate,
)
from billing.history import Event, EventKind, phases, without_days
from billing.intervals import FOREVER
from billing.recurrence import needed_since
from domain.catalogue import Align, Mode, Part, Product, ProductId, ProductKind, Proration


def day(text: str) -> date:
    return date.fromisoformat(text)


def span(starts: str, ends: str | None = None) -> Period:
    return Period(day(starts), FOREVER if ends is None else day(ends))


def product(number: int, **more: object) -> Product:
    """Return a product; `taxes`, `every`, `align`, `mode` and the like as keywords."""
    return replace(Product(ProductId(number), f"product {number}", ProductKind.RECURRING), **more)  # type: ignore[arg-type]  # what each test says


def yearly(number: int) -> Product:
    return product(number, every=12, align=Align.START)


PRODUCTS = {number: product(number) for number in range(1, 6)}


@dataclass
class Account:
    """One account with one subscription, or several."""

    billing_day: int = 1
    mode: Mode = Mode.ADVANCE
    proration: Proration = Proration.ACTUAL
    currency: str = "EUR"
    at_once: bool = True
    cycle: Cycle | None = None
    products: dict[int, Product] = field(default_factory=lambda: dict(PRODUCTS))
    events: dict[int, list[Event]] = field(default_factory=dict)
    issued: list[tuple[int | None, IssuedLine]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    usage: list[UsagePeriod] = field(default_factory=list)
    discounts: list[Discount] = field(default_factory=list)
    one_offs: list[OneOff] = field(default_factory=list)
    coupons: list[Coupon] = field(default_factory=list)
    rested: list[Period] = field(default_factory=list)
    _events: int = 0

    def does(
        self, kind: EventKind, on: str, price: str | None = None, *, product: int | None = None, subscription: int = 1,
        quantity: str | None = None, anchor: str | None = None,
    ) -> None:  # fmt: skip
        """Add an event to the history of a subscription."""
        self._events += 1
        self.events.setdefault(subscription, []).append(
            Event(
                day(on),
                self._events,
                kind,
                product,
                None if price is None else Decimal(price),
                None if quantity is None else Decimal(quantity),
                None if anchor is None else day(anchor),
            )
        )

    def starts(self, on: str, price: str, *, product: int = 1, subscription: int = 1, quantity: str = "1") -> None:
        self.does(EventKind.START, on, price, product=product, subscription=subscription, quantity=quantity)

    def changes(self, on: str, price: str, *, product: int = 2, subscription: int = 1) -> None:
        self.does(EventKind.CHANGE, on, price, product=product, subscription=subscription)

    def pauses(self, on: str, subscription: int = 1) -> None:
        self.does(EventKind.PAUSE, on, subscription=subscription)

    def resumes(self, on: str, subscription: int = 1) -> None:
        self.does(EventKind.RESUME, on, subscription=subscription)

    def stops(self, on: str, subscription: int = 1) -> None:
        self.does(EventKind.STOP, on, subscription=subscription)

    def takes_back(self, event: int) -> None:
        """Cancel the event of that number, counted from 1."""
        for events in self.events.values():
            events[:] = [each for each in events if each.id != event]

    @property
    def terms(self) -> AccountTerms:
        cycle = self.cycle or monthly(self.billing_day)
        return AccountTerms(self.currency, cycle, self.mode, self.proration, self.at_once)

    def would(self, on: str, *, floor: date = date.min, floors: Mapping[int, date] | None = None) -> Generated:
        """Return what a run finds, and issue nothing; `floors` are by subscription."""
        return generate(
            self.terms,
            [self._subscription(number, (floors or {}).get(number, floor)) for number in self.events],
            self.products,
            day(on),
            discounts=self.discounts,
            one_offs=self.one_offs,
            coupons=self.coupons,
        )

    def _subscription(self, number: int, floor: date) -> Subscription:
        sold = phases(self.events[number])
        served = without_days(sold, self.rested)
        since = needed_since(self.terms.cycle, sold, served, self.products, floor)
        issued = [line for subscription, line in self.issued if subscription == number and line.period.ends > since]
        return Subscription(number, 1, self.events[number], issued, floor, self.usage, self.rested)

    def run(self, on: str, *, floor: date = date.min) -> list[int]:
        """Issue what is missing and return its amounts."""
        found = self.would(on, floor=floor)
        self.issue(found.lines)
        return [line.amount for line in found.lines]

    def issue(self, lines: Iterable[Line]) -> None:
        """Keep lines as issued; their ids count from 1."""
        for line in lines:
            self.lines.append(line)
            kept = IssuedLine(len(self.issued) + 1, line.key, line.period, line.days, line.amount, line.credits_line)
            self.issued.append((line.subscription_id, kept))
            if line.one_off is not None:
                self.one_offs.remove(line.one_off)

    def adjust(self, line: int, amount: int) -> None:
        """Credit a line, counted from 1, outside of any history."""
        subscription, issued = self.issued[line - 1]
        self.issued[line - 1] = subscription, issued._replace(adjusted=issued.adjusted + amount)

    @property
    def total(self) -> int:
        """Everything that was issued."""
        return sum(line.amount for _, line in self.issued)


def parts(*given: tuple[str, str, Sequence[str]]) -> tuple[Part, ...]:
    """Return the parts of a bundle: name, weight, taxes."""
    return tuple(Part(name, Decimal(weight), tuple(taxes)) for name, weight, taxes in given)
