"""What a sale brings beside its price: bundles, contracts, fees, voice, discounts; mistakes by their lines."""

from __future__ import annotations

import pytest

from config.catalogue import load_product, product_document
from config.isp import Isp, Known
from config.provisioning import ProvisioningError, parse, read
from domain.catalogue import ProductKind
from radius import dictionary

ISP = """[[tax]]
code = "iva"
percent = "21"
[[plan]]
name = "fibre"
price = "30"
taxes = ["iva"]
contract = { months = 12, renews = true }
[[product]]
name = "television"
price = "10"
[[product]]
name = "installation"
kind = "one-time"
price = "49"
[[product]]
name = "talk"
kind = "voice"
price = "8"
[product.voice]
line = "mobile"
rate_table = "retail"
included = [{ category = "national", unit = "seconds", number = 6000, windows = ["mon-fri 08:00-20:00"] }]
[[product]]
name = "pack"
kind = "bundle"
price = "40"
activation_fee = "20"
activation = "create"
includes = [{ product = "fibre" }, { product = "television", quantity = 2 }, { product = "talk" }]
contract = { months = 12, renews = 6, cancellation_fee = "5", prior_cancellation_fee = "0", fee_per_month = "1.50" }
introduction = { months = 3, amount = "5" }
[[customer]]
login = "ana"
name = "Ana"
timezone = "Atlantic/Canary"
[[subscription]]
name = "tv"
customer = "ana"
product = "television"
[[discount]]
name = "loyal"
customer = "ana"
percent = "10"
subscription = "tv"
[[product]]
name = "hosting"
price = "7"
change_fee = "30"
last_day_charged = true
"""


def parsed(text: str) -> Isp:
    return parse(read(text, "isp.toml"), Known(), dictionary.load().encode)


def test_each_product_is_read_again_from_its_document() -> None:
    isp = parsed(ISP)
    products = [offer.product for offer in (*isp.products, *(plan.offer for plan in isp.plans if plan.offer))]
    assert len(products) == 6
    assert products[-2].last_day_charged
    assert str(products[-2].change_fee) == "30"
    for product in products:
        written = product_document(product)
        assert load_product(product.id, product.code, product.kind.value, written) == product


def test_a_contract_that_renews_renews_for_as_many_months_or_for_those_it_says() -> None:
    isp = parsed(ISP)
    assert isp.plans[0].offer is not None
    plan, (*_, pack, _) = isp.plans[0].offer.product, isp.products
    assert plan.contract is not None
    assert pack.product.contract is not None
    assert (plan.contract.renews, pack.product.contract.renews) == (12, 6)


def test_a_contract_of_the_form_before_is_read() -> None:
    product = load_product(1, "pack", "bundle", {"contract": {"months": 12, "renews": True}})
    assert product.contract is not None
    assert product.contract.renews == 12
    assert product.kind is ProductKind.BUNDLE


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ('{ product = "fibre" }', '{ product = "fiber" }', 30, 'there is no product or plan with a price "fiber"'),
        ('{ product = "talk" }', '{ product = "installation" }', 30, "is one-time: a bundle holds plans"),
        ('{ product = "talk" }', '{ product = "talk", weight = "1" }', 30, "needs a weight for each of them"),
        ('{ product = "talk" }', '{ product = "fibre" }', 30, "must not name anything twice"),
        ('{ product = "talk" }', '{ product = "talk", quantity = 0 }', 30, "from 1 to 100"),
        ('activation = "create"', 'activation = "later"', 29, 'must be one of "first-billing", "create"'),
        ("renews = 6", "renews = 0", 31, "must be"),
        ("months = 3, amount", "months = 300, amount", 32, "must be"),
        ('line = "mobile"', 'line = "satellite"', 21, 'must be one of "voip", "fixed", "mobile"'),
        ('"mon-fri 08:00-20:00"', '"monday"', 23, "must be days"),
        ('timezone = "Atlantic/Canary"', 'timezone = "Atlantis"', 36, "must be a time zone"),
        ('product = "television"\n[[discount]]', 'product = "installation"\n[[discount]]', 40, "caudal charge add"),
        ('product = "television"\n[[discount]]', 'product = "fibre"\n[[discount]]', 40, "there is no product"),
        ('subscription = "tv"', 'subscription = "radio"', 45, '"ana" has no subscription "radio"'),
        ('subscription = "tv"', 'service = "radio"', 45, 'there is no service "radio"'),
        ('percent = "10"', 'percent = "110"', 44, "at most 100 percent"),
        ('percent = "10"', 'coupon = "10"', 45, "cannot stand beside coupon"),
        ('percent = "10"', 'percent = "10"\namount = "1"', 45, "cannot stand beside percent"),
        ('customer = "ana"\npercent', 'customer = "eva"\npercent', 43, 'there is no customer "eva"'),
    ],
)
def test_mistakes_are_told_with_their_lines(before: str, after: str, line: int, problem: str) -> None:
    assert before in ISP
    with pytest.raises(ProvisioningError) as caught:
        parsed(ISP.replace(before, after))
    assert any(each.line == line and problem in each.message for each in caught.value.problems), caught.value.problems
