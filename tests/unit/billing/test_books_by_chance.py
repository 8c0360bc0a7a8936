"""What holds of whatever is sold: bundles, several taxes, discounts, rests, fees, and currencies of 0 to 3 decimals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.cycle import Period
from billing.discounts import Discount
from billing.documents import Draft
from billing.generation import OneOff
from billing.history import EventKind
from billing.intervals import FOREVER, difference, intersection, union
from billing.ledger import AccountKind
from domain.billing_terms import DocumentKind, TaxRounding
from domain.catalogue import Align, CycleUnit, Mode, Proration
from tests.unit.billing.billed_account import Account, parts, product
from tests.unit.billing.booked_account import Booked, tax

FIRST = date(2026, 1, 1)
TAXES = (tax("a", "21"), tax("b", "6.5"), tax("c", "10", compound=True))
PRODUCTS = {
    1: product(1, taxes=("a",)),
    2: product(2, taxes=("a", "c"), price_includes_tax=True),
    3: product(3, parts=parts(("line", "2", ["a"]), ("tv", "1", ["b"]), ("talk", "1.5", ["a", "c"]))),
    4: product(4, taxes=("b",), every=12, align=Align.START),
    5: product(5, taxes=("a", "b"), cycle_unit=CycleUnit.WEEK, align=Align.START),
    6: product(6, every=3, mode=Mode.ARREARS),
}
BUNDLE = 3


@dataclass(frozen=True)
class Step:
    """An event of a subscription."""

    kind: EventKind
    on: int
    price: str
    product: int
    quantity: str
    subscription: int


@dataclass(frozen=True)
class Off:
    """A discount."""

    on: int
    days: int | None
    percent: int | None
    amount: str
    subscription: int | None


@dataclass(frozen=True)
class Rest:
    """Days on which the account is not served."""

    on: int
    days: int


@dataclass(frozen=True)
class Fee:
    """What is charged once, as the fee of a contract that ends early."""

    on: int
    price: str
    product: int


@dataclass(frozen=True)
class Moved:
    """Another billing day, from the day on which it is told."""

    billing_day: int


Act = Step | Off | Rest | Fee | Moved
PRICES = st.sampled_from(["10.00", "29.95", "0.07", "99.999", "0", "1234.5"])
DAYS = st.integers(0, 120)
SUBSCRIPTIONS = st.integers(1, 3)
STEPS = st.builds(
    Step, st.sampled_from(EventKind), DAYS, PRICES, st.sampled_from(sorted(PRODUCTS)),
    st.sampled_from(["1", "2", "0.5"]), SUBSCRIPTIONS,
)  # fmt: skip
OFFS = st.builds(
    Off, DAYS, st.none() | st.integers(0, 60), st.none() | st.sampled_from([1, 10, 33, 100]),
    st.sampled_from(["0.01", "5", "12.345"]), st.none() | SUBSCRIPTIONS,
)  # fmt: skip
RESTS = st.builds(Rest, DAYS, st.integers(0, 40))
FEES = st.builds(Fee, DAYS, PRICES, st.sampled_from(sorted(PRODUCTS)))
MOVES = st.builds(Moved, st.integers(1, 31))


def told(acts: st.SearchStrategy[Act]) -> st.SearchStrategy[list[tuple[int, Act]]]:
    """Draw acts, each with the day on which it is told."""
    return st.lists(st.tuples(st.integers(0, 150), acts), max_size=8)


@dataclass(frozen=True)
class Terms:
    """How the account is billed."""

    currency: str
    mode: Mode
    proration: Proration
    billing_day: int
    at_once: bool
    rounding: TaxRounding


TERMS = st.builds(
    Terms, st.sampled_from(["EUR", "JPY", "KWD"]), st.sampled_from(Mode),
    st.sampled_from([Proration.ACTUAL, Proration.THIRTY]), st.integers(1, 31), st.booleans(),
    st.sampled_from(TaxRounding),
)  # fmt: skip
LATEST = 160
A_YEAR_AND_MORE = 430


def after(days: int) -> str:
    return (FIRST + timedelta(days=days)).isoformat()


class Life:
    """An account to which anything is told, billed from where the runs before it have come to."""

    def __init__(self, terms: Terms, products: dict[int, object] | None = None) -> None:
        self.account = Account(
            terms.billing_day, terms.mode, terms.proration, terms.currency, terms.at_once, products=dict(PRODUCTS)
        )
        self.booked = Booked(self.account, *TAXES, rounding=terms.rounding)
        self.account.starts(after(0), "20.00")
        self.account.starts(after(3), "47.11", product=BUNDLE, subscription=2)
        self._billed_to: date | None = None
        self._revised: dict[int, date] = {}
        self._moved = False
        self._told: set[int] = set()

    def tell(self, act: Act, number: int, today: int) -> None:
        """Write something down, as it is stored: with the day from which it concerns what was billed."""
        account = self.account
        match act:
            case Step(kind, on, price, what, quantity, subscription):
                sells = kind in (EventKind.START, EventKind.CHANGE)
                account.does(
                    kind, after(on), price if sells else None, product=what if sells else None,
                    subscription=subscription, quantity=quantity if sells else None,
                )  # fmt: skip
                self._revise([subscription], on)
            case Off(on, days, percent, amount, subscription):
                ends = FOREVER if days is None else FIRST + timedelta(days=on + days)
                share = None if percent is None else Decimal(percent)
                off = Discount(
                    number, Period(FIRST + timedelta(days=on), ends), share,
                    Decimal(amount) if share is None else None, subscription,
                )  # fmt: skip
                account.discounts = sorted([*account.discounts, off], key=lambda each: each.id)
                self._revise(account.events, min(on, today))
            case Rest(on, days):
                starts = FIRST + timedelta(days=on)
                account.rested = sorted([*account.rested, Period(starts, starts + timedelta(days=days))])
                self._revise(account.events, on)
            case Fee(on, price, what):
                account.one_offs.append(OneOff(number, 1, FIRST + timedelta(days=on), Decimal(price), Decimal(1), what))
            case Moved(billing_day):
                account.billing_day = billing_day
                # Days that cost nothing alone may cost something in another period.
                self._moved = True

    def _revise(self, subscriptions: object, on: int) -> None:
        for each in subscriptions:  # type: ignore[attr-defined]
            self._revised[each] = min(self._revised.get(each, FOREVER), FIRST + timedelta(days=on))

    def _floors(self) -> dict[int, date]:
        if self._billed_to is None:
            return {}
        floors = {each: min(self._billed_to, self._revised.get(each, FOREVER)) for each in self.account.events}
        if any(each.is_shared for each in self.account.discounts):
            return dict.fromkeys(floors, min(floors.values()))
        return floors

    def run(self, day: int) -> Draft | None:
        """Bill, having seen that a run from the beginning finds the same, and that the next one finds nothing."""
        on = after(day)
        found = self.account.would(on, floors=self._floors())
        if not self._moved:
            assert self.account.would(on).lines == found.lines
        made = self.booked.run(on, floors=self._floors())
        self._billed_to, self._revised = max(self._billed_to or FIRST, found.horizon), {}
        assert self.account.would(on, floors=self._floors()).lines == []
        return made

    def live(self, acts: list[tuple[int, Act]], every: int) -> None:
        """Tell each on its day, and bill every so many days."""
        for day in [*range(0, LATEST, every), LATEST]:
            for number, (at, act) in enumerate(acts, 1):
                if at <= day and number not in self._told:
                    self._told.add(number)
                    self.tell(act, number, day)
            self.run(day)


def assert_no_day_is_charged_twice(account: Account) -> None:
    """See that the days that are charged of one price, less those that were credited, are never the same."""
    standing: dict[tuple[object, object], list[Period]] = {}
    for subscription, line in account.issued:
        days = standing.setdefault((subscription, line.key), [])
        if line.credits_line is None and (line.amount < 0) != line.key.component.startswith("discount"):
            # A part of a price may become less by a day: what is rounded is the sum of the parts.
            continue
        if line.credits_line is None:
            assert not intersection(days, [line.days])
            days[:] = union([*days, line.days])
        else:
            days[:] = difference(days, [line.days])


ANYTHING = STEPS | OFFS | RESTS | FEES


@settings(max_examples=25, deadline=None)
@given(TERMS, told(ANYTHING), st.integers(1, 50))
def test_whatever_is_sold_costs_the_same_whenever_it_is_told_and_however_often_it_is_billed(
    terms: Terms, acts: list[tuple[int, Act]], every: int
) -> None:
    # Of events of one day the one that was told last holds.
    acts = sorted(acts, key=lambda act: act[0])
    gradually, at_once = Life(terms), Life(terms)
    gradually.live(acts, every)
    at_once.live([(0, act) for _, act in acts], LATEST)
    for life in (gradually, at_once):
        # What is due in arrears may have come earlier, beside a credit.
        life.run(LATEST + A_YEAR_AND_MORE)
    assert gradually.account.total == at_once.account.total


@settings(max_examples=25, deadline=None)
@given(TERMS, told(ANYTHING | MOVES), st.integers(1, 50))
def test_documents_sum_to_the_ledger_and_credits_stay_within_what_was_charged(
    terms: Terms, acts: list[tuple[int, Act]], every: int
) -> None:
    life = Life(terms)
    life.live(acts, every)
    booked = life.booked
    assert booked.balance(AccountKind.RECEIVABLE) == booked.gross
    assert booked.balance(AccountKind.REVENUE) + booked.balance(AccountKind.TAX) == -booked.gross
    assert sum(line.net + line.tax for each in booked.documents for line in each.lines) == booked.gross
    for each in booked.documents:
        sign = -1 if each.kind is DocumentKind.CREDIT_NOTE else 1
        assert sum(total.tax for total in each.taxes) == each.tax == sign * sum(line.tax for line in each.lines)
        assert each.net == sign * sum(line.net for line in each.lines)
    assert_no_day_is_charged_twice(life.account)
    for line in booked.charged.values():
        amount, credited = line.charged.amount, line.charged.credited
        assert 0 <= credited <= amount or amount <= credited <= 0


@settings(max_examples=25, deadline=None)
@given(TERMS, told(ANYTHING | MOVES), st.integers(1, 50))
def test_what_is_ended_on_the_day_on_which_it_began_is_given_back_to_the_cent(
    terms: Terms, acts: list[tuple[int, Act]], every: int
) -> None:
    life = Life(terms)
    life.live([each for each in acts if not isinstance(each[1], Fee)], every)
    for subscription in life.account.events:
        life.account.events[subscription] = []
        life._revised[subscription] = FIRST
    life.run(LATEST)
    assert life.account.total == 0
    assert life.booked.gross == 0
    assert set(life.booked.balances.values()) <= {0}


@settings(max_examples=25, deadline=None)
@given(TERMS, told(STEPS | RESTS), st.integers(1, 50))
def test_the_parts_of_a_bundle_sum_to_its_price(terms: Terms, acts: list[tuple[int, Act]], every: int) -> None:
    whole, divided = Life(terms), Life(terms)
    whole.account.products[BUNDLE] = replace(PRODUCTS[BUNDLE], parts=())
    for life in (whole, divided):
        life.live(acts, every)
    assert divided.account.total == whole.account.total
