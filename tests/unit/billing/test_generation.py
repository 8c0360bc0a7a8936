"""Which lines are missing: the cases of other billing engines, and what must hold whatever the history."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest

from billing.claims import Key
from billing.cycle import Cycle, Period, monthly
from billing.difference import InvalidCredit, IssuedLine
from billing.discounts import Discount
from billing.generation import MOST_LINES, Coupon, Line, OneOff, TooManyLines, UsagePeriod
from billing.history import EventKind, phases
from billing.metered import Reported, Sold, charged
from domain.catalogue import Align, CycleUnit, Mode, Proration
from domain.tariff import Measure, Metering, Tariff, Tier, rate
from tests.unit.billing.billed_account import Account, day, parts, product, span, yearly


def spans(lines: list[Line]) -> list[tuple[str, str, int]]:
    return [(line.days.starts.isoformat(), line.days.ends.isoformat(), line.amount) for line in lines]


# Series I, runs that may be repeated.


def test_i1_a_month_is_billed_once_however_often_the_run_is_made() -> None:
    account = Account(mode=Mode.ARREARS)
    account.starts("2023-02-04", "10.00")
    assert [account.run(on) for on in ("2023-02-28", "2023-03-01", "2023-03-01", "2023-03-02")] == [[], [893], [], []]


def test_i2_an_amount_is_compared_rounded() -> None:
    account = Account(mode=Mode.ARREARS, at_once=True)
    account.starts("2023-02-01", "0")
    tariff = Tariff((Tier(None, Decimal("0.067")),))
    assert rate(tariff, 55) == Fraction("3.685")
    metered = Sold(1, Metering(Measure.SUM, tariff), phases(account.events[1]), monthly(1), Proration.ACTUAL, "EUR")
    for amounts in ([369], []):
        account.usage = list(charged(metered, [Reported(day("2023-02-10"), Decimal(55))], date.min, day("2023-03-01")))
        assert account.run("2023-03-01") == amounts


@pytest.mark.parametrize(("starts", "ends"), [("2014-01-22", "2014-02-01"), ("2014-01-23", "2014-02-02")])
def test_i4_a_credit_that_reaches_beyond_its_line_is_not_honoured(starts: str, ends: str) -> None:
    account = Account()
    account.starts("2014-01-23", "12.00")
    account.run("2014-01-23")
    _, line = account.issued[0]
    wrong = IssuedLine(2, line.key, line.period, span(starts, ends), -100, line.id)
    account.issued.append((1, wrong))
    with pytest.raises(InvalidCredit, match="line 2"):
        account.would("2014-02-01")


def test_i7_blocking_and_unblocking_on_one_day_nets_to_nothing_each_time() -> None:
    account = Account(billing_day=27)
    account.starts("2019-04-27", "29.95")
    account.run("2019-04-27")
    event = 1
    for _ in range(4):
        account.pauses("2019-05-17")
        event += 1
        assert account.run("2019-05-17") == [-998]
        account.takes_back(event)
        assert account.run("2019-05-17") == [998]
    assert account.total == 2995


# Series P, proration.


def test_p8_a_leading_part_with_months_of_thirty_days() -> None:
    account = Account(billing_day=23, proration=Proration.THIRTY)
    account.starts("2023-05-15", "19.95")
    assert account.run("2023-05-15") == [532]


def test_p9_the_same_by_the_days_there_are() -> None:
    account = Account(billing_day=23)
    account.starts("2023-05-15", "19.95")
    assert account.run("2023-05-15") == [532]


def test_p10_a_trailing_part_is_credited() -> None:
    account = Account(billing_day=23, proration=Proration.THIRTY)
    account.starts("2023-04-23", "19.95")
    assert account.run("2023-04-23") == [1995]
    account.stops("2023-05-15")
    assert account.run("2023-05-15") == [-532]


def test_p11_a_leading_part_and_a_whole_month() -> None:
    account = Account(billing_day=15)
    account.starts("2011-09-01", "10.00")
    assert account.run("2011-10-03") == [452, 1000]


def test_p14_an_add_on_is_prorated_to_the_accounts_billing_day() -> None:
    account = Account(billing_day=10)
    account.starts("2011-06-21", "20.00")
    assert account.run("2011-06-21") == [1267]


def test_p17_a_quarter_of_which_the_last_day_counts() -> None:
    account = Account(mode=Mode.ARREARS, currency="JPY")
    account.products[1] = product(1, every=3)
    account.starts("2024-05-20", "91000")
    account.stops("2024-06-21")
    assert account.run("2024-07-01") == [32_000]


def test_p19_parts_are_rounded_not_cut_off() -> None:
    account = Account(mode=Mode.ARREARS)
    account.starts("2023-07-19", "10.00")
    account.starts("2023-07-19", "15.00", subscription=2)
    assert account.run("2023-08-01") == [419, 629]


def test_a11_a_year_that_is_ended_early() -> None:
    account = Account(mode=Mode.ARREARS)
    account.products[1] = yearly(1)
    account.starts("2023-11-19", "1188.00")
    account.stops("2024-07-19")
    assert account.run("2024-07-19") == [78_875]


def test_without_proration_a_part_costs_the_whole() -> None:
    account = Account(proration=Proration.NONE)
    account.starts("2026-01-20", "10.00")
    assert account.run("2026-01-20") == [1000]
    account.stops("2026-01-25")
    assert account.run("2026-01-25") == []


def test_without_proration_no_period_is_paid_twice_whatever_changes_in_it() -> None:
    account = Account(proration=Proration.NONE)
    account.starts("2026-01-20", "10.00")
    account.run("2026-01-20")
    account.changes("2026-01-24", "11.00", product=1)
    account.changes("2026-01-26", "20.00")
    account.pauses("2026-01-28")
    account.resumes("2026-01-30")
    assert account.run("2026-01-31") == []
    assert account.run("2026-02-01") == [2000]
    account.stops("2026-02-10")
    account.starts("2026-02-15", "30.00", product=3)
    assert account.run("2026-02-15") == []
    assert account.run("2026-03-01") == [3000]


def test_without_proration_a_year_that_is_paid_is_paid_for_whatever_takes_its_place() -> None:
    account = Account(proration=Proration.NONE)
    account.products[1] = yearly(1)
    account.starts("2026-01-01", "100.00")
    account.run("2026-01-01")
    account.changes("2026-01-15", "10.00", product=2)
    account.changes("2026-01-20", "20.00", product=3)
    assert account.run("2026-12-01") == []
    assert account.run("2027-01-01") == [2000]


def test_without_proration_a_discount_that_is_shared_is_taken_off_a_price_once_in_a_period() -> None:
    account = Account(proration=Proration.NONE)
    account.starts("2026-01-01", "10.00")
    account.discounts = [Discount(7, span("2026-01-01"), amount=Decimal(3))]
    account.starts("2026-01-15", "5.00", product=2, subscription=2)
    account.run("2026-01-15")
    taken = [line for line in account.lines if line.subscription_id == 1 and line.discount_id]
    assert [line.amount for line in taken] == [-300]
    account.run("2026-02-01")
    assert sum(line.amount for line in account.lines if line.period.starts == day("2026-02-01")) == 1500 - 300


@pytest.mark.parametrize("whole_account", [True, False])
def test_what_is_paid_day_by_day_has_shares_whatever_is_said_of_parts(whole_account: bool) -> None:
    account = Account(mode=Mode.DAILY if whole_account else Mode.ADVANCE, proration=Proration.NONE)
    if not whole_account:
        account.products[1] = product(1, mode=Mode.DAILY)
    account.starts("2026-11-11", "30.00")
    assert [account.run(f"2026-11-{number}") for number in (11, 12)] == [[100], [100]]


# Series T, clocks.


def test_t5_eighteen_months_over_changes_of_the_clocks_have_no_prorated_line() -> None:
    account = Account()
    account.starts("2015-10-01", "249.95")
    amounts = [amount for month in range(19) for amount in account.run(_first_of(2015, 10 + month))]
    assert amounts == [24_995] * 19, "the first month, and eighteen further ones"


def _first_of(year: int, month: int) -> str:
    return f"{year + (month - 1) // 12}-{(month - 1) % 12 + 1:02}-01"


def test_t6_an_end_on_the_day_on_which_a_period_begins_credits_nothing() -> None:
    account = Account()
    account.starts("2015-11-01", "10.00")
    assert account.run("2015-11-01") == [1000]
    account.stops("2015-12-01")
    assert account.run("2015-12-01") == []


# Series U, changes of plans.


def test_u1_another_plan_half_way() -> None:
    account = Account()
    account.starts("2026-04-01", "10.00")
    account.run("2026-04-01")
    account.changes("2026-04-16", "20.00")
    assert sorted(account.run("2026-04-16")) == [-500, 1000]


def test_u2_what_was_used_of_a_month_stays() -> None:
    account = Account()
    account.starts("2014-01-01", "12.00")
    account.run("2014-01-01")
    account.changes("2014-01-23", "24.00")
    assert account.run("2014-01-23") == [-348, 697]
    assert account.total - 697 == 852


def test_u4_an_end_six_days_before_that_of_the_period() -> None:
    account = Account(billing_day=5)
    account.starts("2011-04-05", "12.00")
    account.run("2011-04-05")
    account.stops("2011-04-29")
    assert account.run("2011-04-29") == [-240]


def test_u5_from_a_month_to_a_year() -> None:
    account = Account(billing_day=20)
    account.products[2] = yearly(2)
    account.starts("2011-07-20", "10.00")
    account.run("2011-07-20")
    account.changes("2011-07-31", "100.00")
    amounts = account.run("2011-07-31")
    assert amounts == [-645, 10_000]
    assert sum(amounts) == 9355


def test_u7_from_a_year_to_a_month_on_the_same_day() -> None:
    account = Account(billing_day=4)
    account.products[1] = yearly(1)
    account.starts("2012-04-04", "2399.95")
    account.run("2012-04-04")
    account.changes("2012-04-04", "249.95")
    amounts = account.run("2012-04-04")
    assert sorted(amounts) == [-239_995, 24_995]
    assert sum(amounts) == -215_000
    assert account.run("2012-05-04") == [24_995]


def _billed_on_the_15th() -> Account:
    account = Account(billing_day=15)
    account.starts("2016-05-01", "249.95")
    return account


def test_u8_a_billing_day_that_moves_charges_the_days_until_it() -> None:
    account = _billed_on_the_15th()
    assert spans(account.would("2016-05-01").lines) == [("2016-05-01", "2016-05-15", 11_664)]


def test_u10_a_billing_day_that_moves_back_charges_the_days_until_it() -> None:
    account = _billed_on_the_15th()
    assert [account.run(on) for on in ("2016-05-01", "2016-05-15", "2016-06-15")] == [[11_664], [24_995], [24_995]]
    account.billing_day = 10
    for floor in ("2016-05-01", "2016-06-15"):
        lines = account.would("2016-07-10", floor=day(floor)).lines
        assert spans(lines) == [("2016-07-15", "2016-08-10", 20_964)], floor


def test_u11_a_billing_day_that_moves_leaves_alone_what_was_charged() -> None:
    account = Account(billing_day=20)
    account.starts("2012-06-20", "10.00")
    assert account.run("2012-06-20") == [1000]
    account.events[1].clear()
    account.billing_day = 17
    account.starts("2012-06-17", "10.00")
    assert spans(account.would("2012-07-17").lines) == [
        ("2012-06-17", "2012-06-20", 100),
        ("2012-07-20", "2012-08-17", 903),
    ]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_change_that_is_to_come_makes_nothing_before_its_day_and_may_be_taken_back(at_once: bool) -> None:
    account = Account(at_once=at_once)
    account.starts("2027-01-01", "10.00")
    account.run("2027-01-01")
    account.changes("2027-01-20", "20.00")
    account.pauses("2027-01-25")
    account.stops("2027-01-28")
    assert account.run("2027-01-10") == []
    assert account.would("2027-01-10").next_on == day("2027-01-20" if at_once else "2027-02-01")
    assert sum(line.amount for line in account.would("2027-01-20").lines) == -387 + 323
    for event in (2, 3, 4):
        account.takes_back(event)
    assert account.run("2027-01-27") == []
    assert account.run("2027-02-01") == [1000]


def test_what_takes_the_place_of_credited_days_is_charged_with_the_credit() -> None:
    account = Account(at_once=False)
    account.starts("2027-01-01", "10.00")
    account.run("2027-01-01")
    account.changes("2027-01-20", "20.00")
    assert sorted(account.run("2027-01-22")) == [-387, 774]
    assert account.run("2027-02-01") == [2000]


def test_an_end_that_is_to_come_is_credited_on_its_day_and_one_that_has_been_at_once() -> None:
    account = Account()
    account.starts("2027-01-01", "31.00")
    account.run("2027-01-01")
    account.pauses("2027-01-05")
    account.resumes("2027-01-08")
    account.stops("2027-01-21")
    assert account.run("2027-01-10") == [-300]
    assert account.would("2027-01-10").next_on == day("2027-01-21")
    assert account.run("2027-01-21") == [-1100]
    assert account.total == 1700


def test_the_first_of_several_pauses_that_are_to_come_is_the_next_day_to_look() -> None:
    account = Account()
    account.starts("2027-01-01", "31.00")
    account.run("2027-01-01")
    for pause, resume in (("2027-01-10", "2027-01-12"), ("2027-01-20", "2027-01-22")):
        account.pauses(pause)
        account.resumes(resume)
    assert account.would("2027-01-05").next_on == day("2027-01-10")


def test_an_end_that_is_to_come_waits_for_its_day_also_where_all_days_before_it_were_credited() -> None:
    account = Account()
    account.starts("2027-01-01", "31.00")
    account.run("2027-01-01")
    account.pauses("2027-01-01")
    account.resumes("2027-01-20")
    assert account.run("2027-01-10") == [-1900]
    account.stops("2027-01-20")
    assert account.run("2027-01-12") == []
    assert account.would("2027-01-12").next_on == day("2027-01-20")
    assert account.run("2027-01-20") == [-1200]


# Series B, what is told afterwards.


def _suspended(*on: str) -> Account:
    """Return an account of which everything of one month was charged, and credited from these days on."""
    account = Account(billing_day=27)
    account.starts("2019-04-27", "29.95")
    assert account.run("2019-04-27") == [2995]
    for day_ in on:
        account.pauses(day_)
        account.run("2019-05-03")
    return account


def test_b1_a_pause_is_credited_from_its_day_on() -> None:
    assert [line.amount for line in _suspended("2019-05-03").lines] == [2995, -2396]


def test_b2_a_pause_that_turns_out_to_have_begun_earlier_is_credited_further() -> None:
    account = _suspended("2019-05-03", "2019-04-27")
    assert [line.amount for line in account.lines] == [2995, -2396, -599]
    assert account.total == 0


def test_b3_what_resumes_is_charged_again() -> None:
    account = _suspended("2019-05-03", "2019-04-27")
    account.resumes("2019-05-07")
    assert spans(account.would("2019-05-07").lines) == [("2019-05-07", "2019-05-27", 1997)]


def test_as_many_days_of_rest_that_turn_out_to_be_others_of_the_period_change_nothing() -> None:
    account = Account()
    account.starts("2027-01-01", "31.00")
    account.run("2027-01-01")
    account.pauses("2027-01-05")
    account.resumes("2027-01-10")
    assert account.run("2027-01-10") == [-500]
    for event in (2, 3):
        account.takes_back(event)
    account.pauses("2027-01-15")
    account.resumes("2027-01-20")
    assert account.run("2027-01-20") == []


def test_b4_days_without_service_for_debt_are_credited_when_it_is_over() -> None:
    account = Account()
    account.starts("2012-05-01", "249.95")
    account.run("2012-07-01")
    account.pauses("2012-07-10")
    account.resumes("2012-07-20")
    assert account.run("2012-07-20") == [-8063]


def test_days_of_rest_that_are_told_later_move_no_period_and_charge_no_day_twice() -> None:
    weekly = product(1, cycle_unit=CycleUnit.WEEK, align=Align.START)
    account = Account(mode=Mode.DAILY, products={1: weekly})
    account.starts("2026-02-07", "7.00")
    for on in range(7, 19):
        account.run(f"2026-02-{on:02}")
    account.rested = [span("2026-02-01", "2026-02-10")]
    assert account.run("2026-02-19", floor=day("2026-02-07")) == [-100, -100, -100, 100]
    assert account.run("2026-02-19", floor=day("2026-02-19")) == []
    assert {line.period.starts.isoformat() for _, line in account.issued} == {"2026-02-07", "2026-02-14"}
    assert account.total == 1000


def test_a_period_of_some_days_that_begins_later_charges_no_day_twice() -> None:
    account = Account(cycle=Cycle(day("2026-01-01"), 10, CycleUnit.DAY))
    account.starts("2026-02-01", "10.00")
    for on in ("2026-02-01", "2026-02-11"):
        account.run(on)
    account.rested = [span("2026-01-20", "2026-02-04"), span("2026-02-09", "2026-02-12")]
    account.run("2026-02-12", floor=day("2026-02-01"))
    for on in ("2026-02-12", "2026-02-21", "2026-02-22"):
        account.run(on, floor=day("2026-02-12"))
    assert account.total == 1700, "five days of the first period, two and ten of those from the fourth on"


def test_b4_the_same_where_the_whole_account_rested() -> None:
    account = Account()
    account.starts("2012-05-01", "249.95")
    account.run("2012-07-01")
    account.rested = [span("2012-07-10", "2012-07-20")]
    assert account.run("2012-07-20") == [-8063]


def test_b5_a_history_that_is_rewritten_is_credited_whole() -> None:
    account = Account()
    account.starts("2012-01-01", "10.00")
    account.starts("2012-01-01", "4.50", product=2, subscription=2)
    account.starts("2012-01-01", "18.00", product=3, subscription=3)
    assert account.run("2012-01-01") == [1000, 450, 1800]
    account.events[1].clear()
    account.events[3].clear()
    account.starts("2012-01-01", "13.00", product=4)
    assert sum(account.run("2012-01-01")) == -1500


@pytest.mark.parametrize(("months", "price", "days"), [(12, "365.00", 365), (3, "90.00", 90)])
def test_b7_a_year_or_quarter_may_be_paused_and_resumed_twice(months: int, price: str, days: int) -> None:
    account = Account()
    account.products[1] = product(1, every=months, align=Align.START)
    account.starts("2026-01-01", price)
    account.run("2026-01-01")
    for pause, resume in (("2026-02-01", "2026-02-11"), ("2026-03-01", "2026-03-21")):
        account.pauses(pause)
        account.run(pause)
        account.resumes(resume)
        account.run(resume)
    assert account.total == (days - 30) * 100
    assert account.run("2026-03-31") == []


# Series C, credits.


def test_c1_a_credit_by_hand_does_not_disturb_what_is_credited_of_the_days() -> None:
    account = _adjusted(-200)
    assert account.run("2014-01-23") == [-348]


def test_c2_never_more_is_credited_than_is_left() -> None:
    account = _adjusted(-1000)
    assert account.run("2014-01-23") == [-200]
    assert account.run("2014-01-23") == []


def _adjusted(amount: int) -> Account:
    account = Account()
    account.starts("2014-01-01", "12.00")
    account.run("2014-01-01")
    account.adjust(1, amount)
    account.stops("2014-01-23")
    return account


def test_c3_a_change_after_a_credit_by_hand() -> None:
    account = Account()
    account.starts("2012-05-01", "249.95")
    account.run("2012-05-01")
    account.adjust(1, -1000)
    account.changes("2012-05-02", "9.95")
    amounts = account.run("2012-05-02")
    assert amounts == [-23_995, 963]
    assert sum(amounts) == -23_032


# What the product has of its own.


def test_a_billing_day_gathers_what_fell_due_before_it() -> None:
    account = Account(at_once=False)
    account.starts("2026-01-20", "31.00")
    assert account.run("2026-01-31") == []
    assert account.would("2026-01-20").next_on == day("2026-02-01")
    assert account.run("2026-02-01") == [1200, 3100]
    assert account.run("2026-02-28") == []


def test_in_arrears_a_month_is_charged_when_it_is_over() -> None:
    account = Account(mode=Mode.ARREARS, at_once=False)
    account.starts("2026-01-01", "10.00")
    assert account.run("2026-01-01") == []
    assert account.would("2026-01-01").next_on == day("2026-02-01")
    assert account.run("2026-02-01") == [1000]


def test_in_arrears_an_end_inside_a_month_is_charged_on_the_next_billing_day() -> None:
    account = Account(mode=Mode.ARREARS, at_once=False)
    account.starts("2026-01-01", "31.00")
    account.stops("2026-01-11")
    assert account.run("2026-01-11") == []
    assert account.would("2026-01-11").next_on == day("2026-02-01")
    assert account.run("2026-02-01") == [1000]
    assert account.would("2026-02-01").next_on is None


def test_in_arrears_nothing_is_to_come_after_an_end_on_the_billing_day() -> None:
    account = Account(mode=Mode.ARREARS)
    account.starts("2026-01-01", "31.00")
    account.stops("2026-02-01")
    assert account.would("2026-01-31").next_on == day("2026-02-01")
    assert account.run("2026-02-01") == [3100]
    assert account.would("2026-02-01").next_on is None


def test_daily_charges_sum_to_the_price_of_the_month() -> None:
    account = Account(mode=Mode.DAILY)
    account.starts("2026-11-01", "40.00")
    amounts = [account.run(f"2026-11-{number:02}") for number in range(1, 31)]
    assert amounts[:3] == [[133], [134], [133]]
    assert account.total == 4000
    assert account.would("2026-11-30").next_on == day("2026-12-01")


def test_days_on_which_a_prepaid_line_was_not_served_cost_nothing() -> None:
    account = Account(mode=Mode.DAILY)
    account.starts("2026-11-01", "30.00")
    account.rested = [span("2026-11-03", "2026-11-06")]
    for number in range(1, 11):
        account.run(f"2026-11-{number:02}")
    assert account.total == 700


def test_periods_of_some_days_are_counted_from_their_anchor() -> None:
    account = Account(at_once=True)
    account.cycle = Cycle(day("2026-01-05"))
    account.starts("2026-01-05", "10.00")
    account.run("2026-01-05")
    account.pauses("2026-02-05")
    account.does(EventKind.RESUME, "2026-02-11", anchor="2026-02-11")
    assert account.run("2026-02-11") == [1000]
    assert account.would("2026-02-11").next_on == day("2026-03-11")


def test_a_discount_is_a_line_of_its_own_and_ends_with_its_days() -> None:
    account = Account()
    account.starts("2026-01-01", "29.90")
    account.discounts = [Discount(7, span("2026-01-01", "2026-02-15"), percent=Decimal(10))]
    assert account.run("2026-01-01") == [2990, -299]
    assert account.run("2026-02-01") == [2990, -150]
    assert account.run("2026-03-01") == [2990]


def test_a_discount_of_an_amount_is_never_more_than_the_price() -> None:
    account = Account()
    account.starts("2026-01-01", "5.00")
    account.discounts = [Discount(7, span("2026-01-01"), amount=Decimal(8), subscription_id=1)]
    assert account.run("2026-01-01") == [500, -500]


def test_what_is_credited_of_a_discounted_month_is_credited_of_its_discount_too() -> None:
    account = Account()
    account.starts("2026-04-01", "30.00")
    account.discounts = [Discount(7, span("2026-04-01"), percent=Decimal(50))]
    account.run("2026-04-01")
    account.stops("2026-04-21")
    assert account.run("2026-04-21") == [-1000, 500]


def test_a_discount_that_is_taken_back_is_charged() -> None:
    account = Account()
    account.starts("2026-04-01", "30.00")
    account.discounts = [Discount(7, span("2026-04-01"), percent=Decimal(50))]
    account.run("2026-04-01")
    account.discounts = []
    assert account.run("2026-04-02") == [1500]
    assert account.total == 3000


def test_x9_a_coupon_is_spread_before_tax_over_what_is_charged_at_each_rate() -> None:
    account = Account()
    for number, (price, taxes) in enumerate((("100", "A"), ("50", "B"), ("30", "C"), ("20", "C")), 1):
        account.products[number] = product(number, taxes=(taxes,))
        account.starts("2026-01-01", price, product=number, subscription=number)
    account.coupons = [Coupon(3, 1000)]
    lines = account.would("2026-01-01").lines
    assert [(line.taxes, line.amount) for line in lines[4:]] == [(("A",), -500), (("B",), -250), (("C",), -250)]
    assert {line.quantity for line in lines[4:]} == {1}


def test_a_coupon_is_never_more_than_what_is_charged() -> None:
    account = Account()
    account.starts("2026-01-01", "5.00")
    account.coupons = [Coupon(3, 800), Coupon(4, 100)]
    assert account.run("2026-01-01") == [500, -500]


def test_a_bundle_is_divided_over_its_parts_to_the_cent() -> None:
    account = Account()
    account.products[1] = product(1, parts=parts(("line", "1", ["A"]), ("telephone", "1", ["A"]), ("tv", "1", ["B"])))
    account.starts("2026-04-01", "50.00")
    assert account.run("2026-04-01") == [1667, 1666, 1667]
    account.stops("2026-04-16")
    assert sum(account.run("2026-04-16")) == -2500
    assert account.total == 2500


def test_one_off_items_are_charged_once_on_their_day() -> None:
    account = Account()
    account.starts("2026-01-01", "10.00")
    account.one_offs = [
        OneOff(9, 1, day("2026-01-15"), Decimal("49.503"), Decimal(2), 2),
    ]
    assert account.would("2026-01-01").next_on == day("2026-01-15")
    assert account.run("2026-01-01") == [1000]
    assert account.run("2026-01-15") == [9901]
    assert account.run("2026-01-15") == []


def test_what_is_used_beyond_a_line_in_a_bundle_is_charged_though_the_line_costs_nothing() -> None:
    account = Account()
    account.starts("2026-01-01", "0", product=2)
    assert account.run("2026-01-01") == []
    account.usage = [UsagePeriod(span("2026-01-01", "2026-02-01"), 150, 3, {}, sold_as=2)]
    assert account.run("2026-02-01") == [150]
    assert account.run("2026-02-01") == []


def test_usage_that_is_rated_again_brings_the_difference() -> None:
    account = Account(mode=Mode.ADVANCE)
    account.starts("2026-01-01", "10.00")
    period = span("2026-01-01", "2026-02-01")
    account.usage = [UsagePeriod(period, 500, 5, {}, sold_as=1)]
    assert account.run("2026-02-01") == [1000, 1000, 500]
    account.usage = [UsagePeriod(period, 700, 7, {}, sold_as=1)]
    assert account.run("2026-02-01") == [200]
    account.usage = [UsagePeriod(period, 300, 3, {}, sold_as=1)]
    assert account.run("2026-02-01") == [-400]


def test_g14_usage_that_was_billed_before_the_end_is_subtracted_at_the_end() -> None:
    account = Account(mode=Mode.ARREARS, at_once=False)
    account.starts("2026-01-01", "31.00")

    def uses(amount: int) -> None:
        account.usage = [UsagePeriod(span("2026-01-01", "2026-02-01"), amount, 1, {}, bill_at=20000, sold_as=1)]

    uses(19999)
    assert account.run("2026-01-14") == []
    uses(20000)
    assert account.run("2026-01-15") == [20000]
    assert account.run("2026-01-15") == []
    uses(39999)
    assert account.run("2026-01-31") == []
    uses(40000)
    assert sorted(account.run("2026-02-01")) == [3100, 20000]
    assert account.total == 43100


def test_what_is_billed_before_the_end_is_looked_for_every_day() -> None:
    account = Account(at_once=False)
    account.starts("2026-01-01", "10.00")
    assert account.would("2026-01-07").next_on == day("2026-02-01")
    account.usage = [UsagePeriod(span("2026-01-01", "2026-02-01"), 0, 0, {}, bill_at=100, sold_as=1)]
    assert account.would("2026-01-07").next_on == day("2026-01-08")


def test_a_history_that_would_make_thousands_of_lines_is_refused() -> None:
    account = Account(mode=Mode.ARREARS)
    account.products[1] = product(1, every=1)
    account.starts("1026-01-01", "10.00")
    with pytest.raises(TooManyLines, match="look at the history"):
        account.would("2026-01-01")


def test_as_many_lines_as_there_may_be_are_made() -> None:
    account = Account()
    for number in range(MOST_LINES):
        account.one_offs.append(OneOff(number, 1, day("2026-01-01"), Decimal(1), Decimal(1), 1))
    assert len(account.would("2026-01-01").lines) == MOST_LINES


def test_a_run_from_where_everything_was_billed_finds_the_same_as_one_from_the_beginning() -> None:
    account = Account(billing_day=20)
    account.starts("2021-03-07", "19.99")
    for month in range(58):
        account.run(_first_of(2021, 3 + month)[:-2] + "20")
    account.changes("2026-01-09", "24.99")
    whole = account.would("2026-01-20").lines
    assert account.would("2026-01-20", floor=day("2026-01-09")).lines == whole
    assert spans(whole) == [
        ("2026-01-09", "2026-01-20", -709),
        ("2026-01-09", "2026-01-20", 887),
        ("2026-01-20", "2026-02-20", 2499),
    ]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_order_in_which_history_is_written_does_not_matter(order: tuple[int, ...]) -> None:
    """Each step is written and billed at once; the sum is that of billing the whole history once."""

    def tell(account: Account, step: int) -> None:
        (
            lambda: account.starts("2026-01-03", "29.95"),
            lambda: account.changes("2026-01-20", "49.95"),
            lambda: account.pauses("2026-02-05"),
            lambda: account.resumes("2026-02-15"),
        )[step]()

    gradually, at_once = Account(), Account()
    for step in order:
        tell(gradually, step)
        gradually.run("2026-03-01")
    for step in range(4):
        tell(at_once, step)
    at_once.run("2026-03-01")
    assert gradually.total == at_once.total


def test_lines_name_the_line_they_credit() -> None:
    account = Account()
    account.starts("2026-01-01", "31.00")
    account.run("2026-02-01")
    account.stops("2026-01-16")
    lines = account.would("2026-02-01").lines
    assert [(line.amount, line.credits_line) for line in lines] == [(-1600, 1), (-3100, 2)]


def test_a_credit_is_divided_over_the_lines_that_charged_its_days_in_their_order() -> None:
    account = Account()
    account.starts("2027-01-01", "31.00")
    account.run("2027-01-01")
    account.pauses("2027-01-11")
    account.run("2027-01-11")
    account.resumes("2027-01-21")
    account.run("2027-01-21")
    account.stops("2027-01-06")
    lines = account.would("2027-01-21").lines
    assert spans(lines) == [("2027-01-06", "2027-01-11", -500), ("2027-01-21", "2027-02-01", -1100)]
    assert [line.credits_line for line in lines] == [1, 3]


def test_days_that_are_charged_again_stand_behind_new_ones_that_come_before_them() -> None:
    account = Account()
    account.starts("2027-01-11", "31.00")
    account.run("2027-01-11")
    account.pauses("2027-01-21")
    assert account.run("2027-01-21") == [-1100]
    account.takes_back(2)
    account.starts("2027-01-06", "31.00")
    assert spans(account.would("2027-01-21").lines) == [
        ("2027-01-06", "2027-01-11", 500), ("2027-01-21", "2027-02-01", 1100),
    ]  # fmt: skip


def test_every_line_of_a_product_that_starts_its_own_periods_begins_there() -> None:
    account = Account()
    account.products[1] = product(1, align=Align.START)
    account.starts("2026-01-31", "10.00")
    account.run("2026-04-01")
    assert [line.days for line in account.lines] == [
        span("2026-01-31", "2026-02-28"),
        span("2026-02-28", "2026-03-31"),
        span("2026-03-31", "2026-04-30"),
    ]


def test_the_key_of_a_line_says_what_made_its_price() -> None:
    account = Account()
    account.starts("2026-01-01", "10.00", quantity="2")
    line = account.would("2026-01-01").lines[0]
    assert line.key == Key("base", "1 10 2")
    assert line.amount == 2000
    assert line.period == Period(day("2026-01-01"), day("2026-01-01") + timedelta(days=31))
