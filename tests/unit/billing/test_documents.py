"""What a document is: its lines with their tax, what it sums to, and what it posts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.claims import Key
from billing.discounts import Discount
from billing.documents import Draft, line_text
from billing.generation import Coupon, OneOff
from billing.ledger import AccountKind
from domain.billing_terms import DocumentKind, TaxRounding
from domain.catalogue import Align, CycleUnit, Proration
from domain.tariff import Measure, Metering, Tariff, Tier
from domain.tax import TaxCategory
from tests.unit.billing.billed_account import Account, day, product, span
from tests.unit.billing.booked_account import Booked, tax


def one(price: str, percent: str, *, rounding: TaxRounding = TaxRounding.RATE, **more: object) -> Booked:
    """Return a booked account of one product, sold on 1 April 2023, and billed."""
    account = Account()
    account.products[1] = product(1, taxes=("vat",), **more)
    account.starts("2023-04-01", price)
    booked = Booked(account, tax("vat", percent), rounding=rounding)
    booked.run("2023-04-01")
    return booked


def issued(draft: Draft | None) -> Draft:
    assert draft is not None
    return draft


def amounts(draft: Draft | None) -> tuple[str, int, int, int]:
    made = issued(draft)
    return made.kind.value, made.net, made.tax, made.gross


def test_c4_credits_of_one_line_each_sum_to_the_invoice() -> None:
    account = Account()
    account.products = {number: product(number, taxes=("vat",)) for number in range(1, 5)}
    for number, price in enumerate(("68.33", "68.33", "57.50", "85.00"), 1):
        account.starts("2023-04-01", price, product=number, subscription=number)
    booked = Booked(account, tax("vat", "20"))
    assert amounts(booked.run("2023-04-01")) == ("invoice", 27916, 5583, 33499)
    credits_ = []
    for number in (1, 3, 4, 2):
        account.stops("2023-04-01", subscription=number)
        credits_.append(issued(booked.run("2023-04-01")).gross)
    assert credits_ == [8200, 6900, 10200, 8199]
    assert booked.gross == booked.balance(AccountKind.RECEIVABLE) == 0


def test_c6_what_is_left_of_a_month_is_credited_with_its_share_of_the_tax() -> None:
    booked = one("160.00", "25")
    booked.account.stops("2023-04-02")
    assert amounts(booked.run("2023-04-02")) == ("credit-note", 15467, 3867, 19334)


def test_c7_what_is_left_of_a_week_is_credited_with_its_share_of_the_tax() -> None:
    booked = one("29.99", "23.33", cycle_unit=CycleUnit.WEEK, align=Align.START)
    assert amounts(booked.documents[0]) == ("invoice", 2999, 700, 3699)
    booked.account.stops("2023-04-02")
    assert amounts(booked.run("2023-04-02")) == ("credit-note", 2571, 600, 3171)


def test_x9_a_coupon_goes_before_the_taxes() -> None:
    account = Account()
    for number, (price, code) in enumerate((("100", "ten"), ("50", "none"), ("30", "twenty"), ("20", "twenty")), 1):
        account.products[number] = product(number, taxes=(code,))
        account.starts("2026-01-01", price, product=number, subscription=number)
    account.coupons = [Coupon(3, 1000)]
    made = issued(Booked(account, tax("ten", "10"), tax("none", "0"), tax("twenty", "20")).run("2026-01-01"))
    assert [(total.applied.code, total.base, total.tax) for total in made.taxes] == [
        ("ten", 9500, 950), ("none", 4750, 0), ("twenty", 4750, 950),
    ]  # fmt: skip
    assert (made.net, made.tax, made.gross) == (19000, 1900, 20900)


@pytest.mark.parametrize(("rounding", "expected"), [(TaxRounding.LINE, 21), (TaxRounding.RATE, 20)])
def test_x10_three_lines_by_line_or_by_rate(rounding: TaxRounding, expected: int) -> None:
    account = Account()
    account.products[1] = product(1, taxes=("vat",))
    for number in (1, 2, 3):
        account.starts("2026-01-01", "1.1111", subscription=number)
    assert issued(Booked(account, tax("vat", "6"), rounding=rounding).run("2026-01-01")).tax == expected


def test_u7_what_is_too_much_stays_as_credit_for_what_comes_next() -> None:
    account = Account(billing_day=4)
    account.products[1] = product(1, every=12, align=Align.START)
    account.starts("2012-04-04", "2399.95")
    booked = Booked(account)
    booked.run("2012-04-04")
    before = booked.balance(AccountKind.RECEIVABLE)
    account.changes("2012-04-04", "249.95")
    assert amounts(booked.run("2012-04-04")) == ("credit-note", 215_000, 0, 215_000)
    assert booked.balance(AccountKind.RECEIVABLE) - before == -215_000
    booked.run("2012-05-04")
    assert booked.balance(AccountKind.RECEIVABLE) - before == -190_005, "nothing of the month is due"


def test_a_line_that_is_credited_twice_in_one_document_gives_back_its_tax_once() -> None:
    booked = one("0.10", "50")
    booked.account.pauses("2023-04-11")
    booked.account.resumes("2023-04-21")
    booked.account.discounts = [Discount(7, span("2023-04-01"), percent=Decimal(100))]
    made = issued(booked.run("2023-04-21"))
    assert made.kind is DocumentKind.CREDIT_NOTE
    booked.account.stops("2023-04-01")
    booked.run("2023-04-21")
    assert booked.gross == 0
    assert set(booked.balances.values()) == {0}


def test_the_amounts_of_a_credit_note_are_positive_and_it_is_due_on_no_day() -> None:
    booked = one("30.00", "21")
    invoice = booked.documents[0]
    assert (invoice.due_on, [total.tax for total in invoice.taxes]) == (day("2023-04-16"), [630])
    booked.account.stops("2023-04-16")
    note = issued(booked.run("2023-04-16"))
    assert (note.due_on, [(total.base, total.tax) for total in note.taxes]) == (None, [(1500, 315)])
    assert [(line.net, line.tax) for line in note.lines] == [(-1500, -315)]


def test_what_comes_to_nothing_is_an_invoice_that_moves_nothing() -> None:
    booked = one("30.00", "21")
    booked.account.products[2] = booked.account.products[1]
    booked.account.changes("2023-04-16", "30.00", product=2)
    made = issued(booked.run("2023-04-16"))
    assert amounts(made) == ("invoice", 0, 0, 0)
    assert made.transfer(2, made.dated) is None


@pytest.mark.parametrize(
    ("component", "discount", "credits_line", "english", "spanish"),
    [
        ("base", None, None, "product 1", "product 1"),
        ("base", None, 1, "product 1: credit", "product 1: abono"),
        ("overage", None, None, "product 1: usage beyond the plan", "product 1: consumo fuera del plan"),
        ("discount-7", 7, None, "product 1: friends", "product 1: friends"),
        ("discount-8", 8, None, "product 1: discount", "product 1: descuento"),
        ("coupon-9", 9, None, "Coupon", "Cupón"),
    ],
)
def test_a_line_says_what_it_is(
    component: str, discount: int | None, credits_line: int | None, english: str, spanish: str
) -> None:
    account = Account()
    account.starts("2023-04-01", "30.00")
    (line,) = account.would("2023-04-01").lines
    line = line._replace(key=Key(component, "1 30 1"), discount_id=discount, credits_line=credits_line)
    told = [line_text(line, account.products[1], language, {7: "friends"}) for language in ("en", "es")]
    assert told == [english, spanish]


@pytest.mark.parametrize(
    ("text", "english", "spanish"),
    [
        ("activation", "product 1: activation", "product 1: alta"),
        ("late-fee", "Late payment fee", "Recargo por demora"),
        ("Antenna on the roof", "Antenna on the roof", "Antenna on the roof"),
        (None, "product 1", "product 1"),
    ],
)
def test_what_is_charged_once_is_called_as_it_was_ordered(text: str | None, english: str, spanish: str) -> None:
    account = Account()
    account.one_offs = [OneOff(9, 1, day("2023-04-01"), Decimal(2), Decimal(1), 1, text=text)]
    (line,) = account.would("2023-04-01").lines
    assert [line_text(line, account.products[1], language, {}) for language in ("en", "es")] == [english, spanish]


def test_a_product_that_is_metered_is_called_by_its_name_alone() -> None:
    account = Account()
    account.starts("2023-04-01", "30.00")
    line = account.would("2023-04-01").lines[0]._replace(key=Key("overage", "1"))
    films = product(1, metered=Metering(Measure.SUM, Tariff((Tier(None, Decimal(1)),))))
    assert line_text(line, films, "en", {}) == "product 1"


def test_revenue_is_kept_by_kind_and_tax_by_rate() -> None:
    booked = one("30.00", "21")
    booked.account.one_offs = [OneOff(1, 1, day("2023-04-02"), Decimal(10), Decimal(1), 1)]
    booked.run("2023-04-02")
    kept = {(account.kind.value, account.name): amount for account, amount in booked.balances.items()}
    assert kept == {("receivable", ""): 4840, ("revenue", "recurring"): -4000, ("tax", "vat 21"): -840}


def test_whoever_is_exempt_pays_no_tax_and_the_document_says_why() -> None:
    account = Account(proration=Proration.ACTUAL)
    account.products[1] = product(1, taxes=("vat",))
    account.starts("2023-04-01", "30.00")
    made = issued(Booked(account, tax("vat", "21"), exempt="diplomatic mission").run("2023-04-01"))
    assert (made.net, made.tax, made.gross) == (3000, 0, 3000)
    (total,) = made.taxes
    assert (total.applied.category, total.applied.exemption_reason) == (TaxCategory.EXEMPT, "diplomatic mission")


def test_what_is_sold_with_its_tax_earns_what_is_left_of_it() -> None:
    booked = one("12.10", "21", price_includes_tax=True, rounding=TaxRounding.LINE)
    assert amounts(booked.documents[0]) == ("invoice", 1000, 210, 1210)
    assert (booked.balance(AccountKind.REVENUE), booked.balance(AccountKind.TAX)) == (-1000, -210)
