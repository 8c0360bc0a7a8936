"""Tax: by line, by rate, keeping the gross; credits take their share of what was charged."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.tax import Begun, CreditedLine, Settled, SettledLine, TaxableLine, credit, settle, settle_parts, with_tax
from domain.billing_terms import TaxRounding
from domain.tax import AppliedTax, TaxCategory

LINE, RATE, KEEP = TaxRounding.LINE, TaxRounding.RATE, TaxRounding.KEEP_GROSS


def tax(percent: str, *, code: str = "vat", compound: bool = False) -> AppliedTax:
    return AppliedTax(code, TaxCategory.STANDARD, Decimal(percent), compound)


def gross_lines(count: int, amount: int, percent: str) -> list[TaxableLine]:
    return [TaxableLine(amount, (tax(percent),), includes_tax=True)] * count


def gross(line: SettledLine) -> int:
    return line.net + sum(line.taxes)


def sums(settled: Settled) -> tuple[int, int, int]:
    return settled.net, settled.tax, settled.gross


def test_x1_five_of_100_gross_with_tax_by_line() -> None:
    assert sums(settle(gross_lines(5, 10000, "19"), LINE)) == (42015, 7985, 50000)


def test_x2_five_of_100_gross_with_tax_by_rate() -> None:
    assert sums(settle(gross_lines(5, 10000, "19"), RATE)) == (42015, 7983, 49998)


def test_x3_five_of_100_gross_with_tax_by_rate_that_stay_500() -> None:
    assert sums(settle(gross_lines(5, 10000, "19"), KEEP)) == (42017, 7983, 50000)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [(LINE, (42010, 7980, 49990)), (RATE, (42010, 7982, 49992)), (KEEP, (42008, 7982, 49990))],
)
def test_x4_five_of_99_98_gross(rounding: TaxRounding, expected: tuple[int, int, int]) -> None:
    assert sums(settle(gross_lines(5, 9998, "19"), rounding)) == expected


def test_x6_a_gross_that_no_net_gives() -> None:
    assert sums(settle(gross_lines(1, 2300, "7"), RATE)) == (2150, 151, 2301)
    assert sums(settle(gross_lines(1, 2300, "7"), KEEP)) == (2150, 150, 2300)


def test_x7_another_rounding_and_back_gives_the_first_figures() -> None:
    lines = gross_lines(5, 10000, "19")
    found = [settle(lines, rounding) for rounding in (LINE, RATE, KEEP, LINE)]
    assert [sums(each) for each in found] == [
        (42015, 7985, 50000), (42015, 7983, 49998), (42017, 7983, 50000), (42015, 7985, 50000),
    ]  # fmt: skip
    assert found[0] == found[-1]


def test_x9_taxes_after_a_coupon() -> None:
    after = [(9500, "10"), (4750, "0"), (2850, "20"), (1900, "20")]
    settled = settle([TaxableLine(amount, (tax(percent),)) for amount, percent in after], RATE)
    assert [line.taxes for line in settled.lines] == [(950,), (0,), (570,), (380,)]
    assert sums(settled) == (19000, 1900, 20900)
    assert [(total.base, total.tax) for total in settled.totals] == [(9500, 950), (4750, 0), (4750, 950)]


@pytest.mark.parametrize(("rounding", "expected"), [(LINE, 21), (RATE, 20)])
def test_x10_per_line_or_per_rate(rounding: TaxRounding, expected: int) -> None:
    assert settle([TaxableLine(111, (tax("6"),))] * 3, rounding).tax == expected


@pytest.mark.parametrize("rounding", list(TaxRounding))
def test_x12_a_half_goes_away_from_zero(rounding: TaxRounding) -> None:
    assert settle([TaxableLine(109150, (tax("15"),))], rounding).tax == 16373
    assert settle([TaxableLine(-109150, (tax("15"),))], rounding).tax == -16373


@pytest.mark.parametrize("rounding", list(TaxRounding))
def test_x13_a_compound_tax(rounding: TaxRounding) -> None:
    taxes = (tax("5", code="A"), tax("9.5", code="B", compound=True))
    settled = settle([TaxableLine(10000, taxes)], rounding)
    assert settled.lines[0].taxes == (500, 998)
    assert settled.tax == 1498
    assert [total.base for total in settled.totals] == [10000, 10500]


@pytest.mark.parametrize("rounding", list(TaxRounding))
@pytest.mark.parametrize("includes_tax", [False, True])
def test_days_that_are_charged_one_by_one_are_taxed_as_the_month_is(rounding: TaxRounding, includes_tax: bool) -> None:
    taxes = (tax("21"), tax("5.2", code="surcharge", compound=True))
    prices = {"line": (1000, includes_tax, 31), "rent": (490, False, 31), "visit": (7, includes_tax, 20)}
    month = settle([TaxableLine(price, taxes, includes) for price, includes, _ in prices.values()], rounding)
    begun: list[Begun] = []
    for day in range(31):
        parts = [
            TaxableLine(price * (day + 1) // days - price * day // days, taxes, includes, part_of=of)
            for of, (price, includes, days) in prices.items()
            if day < days
        ]
        settled = settle_parts(parts, rounding, begun)
        begun += map(Begun, parts, settled.lines)
    for line, part in begun:
        if not line.includes_tax:
            assert part.net == line.amount
        elif rounding is not RATE:
            assert gross(part) == line.amount
    charged = [line.settled for line in begun]
    assert sum(line.net for line in charged) == month.net
    assert [sum(line.taxes[place] for line in charged) for place in (0, 1)] == [each.tax for each in month.totals]


def test_parts_of_one_line_that_are_charged_together_are_divided_by_their_amounts() -> None:
    parts = [TaxableLine(amount, (tax("21"),), part_of="line") for amount in (32, 33, 100)]
    known = TaxableLine(-10, (tax("21"),), known=(-10, (-2,)))
    settled = settle_parts([*parts, known], RATE, [Begun(parts[0], SettledLine(32, (7,)))])
    assert [line.net for line in settled.lines] == [32, 33, 100, -10]
    assert sum(tax for line in settled.lines[:3] for tax in line.taxes) == round(0.21 * 197) - 7
    assert settled.lines[3].taxes == (-2,)


def test_two_parts_of_one_line_that_are_charged_together_are_its_halves() -> None:
    parts = [TaxableLine(50, (tax("21"),), part_of="line")] * 2
    assert [(line.net, *line.taxes) for line in settle_parts(parts, RATE, []).lines] == [(50, 11), (50, 10)]


@pytest.mark.parametrize("rounding", list(TaxRounding))
def test_a_line_whose_gross_no_net_gives_is_credited_whole(rounding: TaxRounding) -> None:
    (line,) = settle(gross_lines(1, 2300, "7"), rounding).lines
    net, taxes = credit(CreditedLine(2300, line.net, line.taxes), -2300)
    assert (net, taxes) == (-line.net, tuple(-tax for tax in line.taxes))


@pytest.mark.parametrize("rounding", list(TaxRounding))
def test_whoever_owes_no_tax_pays_none_that_is_in_a_price(rounding: TaxRounding) -> None:
    exempt = TaxableLine(1210, (tax("0"),), part_of="line", relief=with_tax((tax("21"),)))
    assert sums(settle([exempt], rounding)) == (1000, 0, 1000)
    charged = CreditedLine(1210, 1000, (0,))
    assert credit(charged, -605) == (-500, (0,))
    assert credit(charged._replace(credited=605), -605) == (-500, (0,))
    begun: list[Begun] = []
    for day in range(31):
        part = exempt._replace(amount=1210 * (day + 1) // 31 - 1210 * day // 31)
        begun.append(Begun(part._replace(relief=None), settle_parts([part], rounding, begun).lines[0]))
    assert sum(each.settled.net for each in begun) == 1000


def test_c4_single_credits_sum_to_what_was_charged() -> None:
    nets = [6833, 6833, 5750, 8500]
    settled = settle([TaxableLine(net, (tax("20"),)) for net in nets], RATE)
    assert settled.gross == 33499
    credited = []
    for place in (0, 2, 3, 1):
        line = settled.lines[place]
        net, taxes = credit(CreditedLine(line.net, line.net, line.taxes), -line.net)
        credited.append(-net - sum(taxes))
    assert credited == [8200, 6900, 10200, 8199]


LINES = st.lists(
    st.builds(
        TaxableLine,
        st.integers(-100_000, 10_000_000),
        st.lists(
            st.builds(tax, st.sampled_from(["0", "4", "6.5", "10", "21"]), code=st.just("a"), compound=st.booleans()),
            max_size=3,
            unique=True,
        ).map(tuple),
        st.booleans(),
        known=st.none(),
        part_of=st.none(),
        relief=st.none(),
    ),
    max_size=12,
)


@given(LINES, st.sampled_from(TaxRounding))
def test_lines_sum_to_their_rates_and_stated_amounts_stay(lines: list[TaxableLine], rounding: TaxRounding) -> None:
    settled = settle(lines, rounding)
    assert sum(map(gross, settled.lines)) == settled.gross
    for line, amounts in zip(lines, settled.lines, strict=True):
        if not line.includes_tax:
            assert amounts.net == line.amount
        elif rounding is not RATE:
            assert gross(amounts) == line.amount


@given(LINES.filter(bool), st.sampled_from(TaxRounding), st.lists(st.integers(1, 5000), max_size=4))
def test_credits_in_parts_sum_to_the_line(lines: list[TaxableLine], rounding: TaxRounding, parts: list[int]) -> None:
    settled = settle(lines, rounding)
    for line, amounts in zip(lines, settled.lines, strict=True):
        if line.amount <= 0:
            continue
        stated = gross(amounts) if line.includes_tax else amounts.net
        credited, net, taxes = 0, 0, [0] * len(amounts.taxes)
        for part in [*parts, stated]:
            taken = min(part, stated - credited)
            each_net, each_taxes = credit(CreditedLine(stated, amounts.net, amounts.taxes, credited), -taken)
            credited += taken
            net += each_net
            taxes = [before + now for before, now in zip(taxes, each_taxes, strict=True)]
        assert net == -amounts.net
        assert tuple(taxes) == tuple(-tax for tax in amounts.taxes)
