"""How the price of a bundle is divided over the taxes of what it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.bundles import divided
from billing.discounts import Discount
from domain.catalogue import Included, Product, ProductId, ProductKind
from tests.unit.billing.billed_account import Account, day, parts, product, span

FIBRE = replace(product(2, taxes=("iva",)), code="fibre")
TELEVISION = replace(product(3, taxes=("super",)), code="television")
TALK = replace(product(4, taxes=("iva",)), code="talk")
BY_CODE = {each.code: each for each in (FIBRE, TELEVISION, TALK)}
PRICES = {
    "fibre": [(date(1970, 1, 1), Decimal(30))],
    "television": [(date(1970, 1, 1), Decimal(10)), (date(2026, 3, 1), Decimal(5))],
    "talk": [(date(1970, 1, 1), Decimal(8))],
}


def bundle(*held: Included, taxes: tuple[str, ...] = ()) -> Product:
    return replace(Product(ProductId(1), "pack", ProductKind.BUNDLE), includes=held, taxes=taxes)


def test_what_has_the_same_taxes_is_one_part_weighted_by_what_it_costs_alone() -> None:
    found = divided(bundle(Included("fibre"), Included("television", 2), Included("talk")), BY_CODE, PRICES)
    assert [(part.name, part.taxes) for part in found.parts] == [("fibre, talk", ("iva",)), ("television", ("super",))]
    assert [part.weight_on(day("2026-01-15")) for part in found.parts] == [38, 20]
    assert [part.weight_on(day("2026-03-01")) for part in found.parts] == [38, 10]


def test_weights_follow_each_other_by_their_days_whosever_price_changes() -> None:
    starts = {"fibre": (1, 5, 3), "talk": (2, 6, 4)}
    prices = {code: [(date(2026, month, 1), Decimal(month)) for month in sorted(each)] for code, each in starts.items()}
    held = Included("fibre"), Included("talk"), Included("television", weight=Decimal(1))
    part, _ = divided(bundle(*held), BY_CODE, prices).parts
    assert [part.weight_on(date(2026, month, 15)) for month in range(1, 7)] == [1, 3, 5, 7, 9, 11]


def test_declared_weights_go_before_prices() -> None:
    held = Included("fibre", weight=Decimal(3)), Included("television", weight=Decimal(1))
    found = divided(bundle(*held), BY_CODE, PRICES)
    assert [part.weight_on(day("2026-01-15")) for part in found.parts] == [3, 1]


def test_nothing_is_divided_where_everything_has_the_same_taxes() -> None:
    found = divided(bundle(Included("fibre"), Included("talk")), BY_CODE, PRICES)
    assert (found.parts, found.taxes) == ((), ("iva",))


def test_taxes_of_its_own_go_before_those_of_what_it_holds() -> None:
    found = divided(bundle(Included("fibre"), Included("television"), taxes=("iva",)), BY_CODE, PRICES)
    assert (found.parts, found.taxes) == ((), ("iva",))


def test_parts_of_its_own_go_before_those_of_what_it_holds() -> None:
    own = replace(bundle(Included("fibre"), Included("television")), parts=parts(("all", "1", ["iva"])))
    assert divided(own, BY_CODE, PRICES) is own


def test_what_costs_nothing_alone_has_equal_parts() -> None:
    account = Account()
    account.products[1] = product(1, parts=parts(("a", "0", ["iva"]), ("b", "0", ["super"]), ("c", "0", [])))
    account.starts("2026-01-01", "10")
    assert account.run("2026-01-01") == [333, 334, 333]


AMOUNTS = st.decimals(Decimal("0.01"), Decimal(500), places=2)
WEIGHTS = st.lists(st.decimals(Decimal("0.01"), Decimal(99), places=2), min_size=2, max_size=6)


@given(AMOUNTS, WEIGHTS, st.integers(1, 28), st.decimals(Decimal("0.01"), Decimal(100), places=2))
def test_parts_of_a_bundle_and_of_its_discount_sum_to_the_whole_to_the_cent(
    price: Decimal, weights: list[Decimal], starts: int, percent: Decimal
) -> None:
    whole, split = Account(), Account()
    split.products[1] = product(1, parts=parts(*((str(at), str(each), [str(at)]) for at, each in enumerate(weights))))
    for account in (whole, split):
        account.discounts = [Discount(7, span("2026-01-01"), percent=percent, subscription_id=1)]
        account.starts(f"2026-01-{starts:02}", str(price))
        account.run("2026-02-01")
        account.stops("2026-02-17")
        account.run("2026-03-01")
    assert split.total == whole.total
    assert split.run("2026-04-01") == []


@given(AMOUNTS, WEIGHTS)
def test_an_amount_is_taken_off_a_bundle_once_and_not_of_each_part(price: Decimal, weights: list[Decimal]) -> None:
    account = Account()
    account.products[1] = product(1, parts=parts(*((str(at), str(each), []) for at, each in enumerate(weights))))
    account.discounts = [Discount(7, span("2026-01-01"), amount=Decimal(5), subscription_id=1)]
    account.starts("2026-01-01", str(price))
    account.run("2026-01-01")
    assert account.total == max(0, int(price * 100) - 500)
