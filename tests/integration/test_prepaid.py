"""Prepaid accounts against a real database: wallets that pay, lines that rest when they do not."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import sqlalchemy
from sqlalchemy import text

from storage.billing import accounts, collecting, credit_notes, gate, payments, wallets
from storage.billing.accounts import Catalogue
from storage.billing.payments import Order
from tests.integration.billed_isp import (
    HEAD,
    assert_books_are_right,
    bill,
    customer,
    documents,
    let_it_be,
    provide,
    rows,
    sold,
)

LINE = """
[[plan]]
name = "home"
download = "20M"
[[service]]
login = "ana-line"
password = "a-password"
plan = "home"
customer = "ana"
"""
NO_TAX = HEAD.replace('percent = "21"', 'percent = "0"')


def world(engine: sqlalchemy.Engine, billing: str, *more: str, head: str = NO_TAX) -> int:
    provide(engine, head, customer("ana", f"billing = {{ {billing} }}"), LINE, *more)
    return int(rows(engine, "SELECT id FROM customer")[0][0])


def pay(engine: sqlalchemy.Engine, ana: int, amount: int, on: str) -> None:
    with engine.begin() as connection:
        payments.add(connection, Order(ana, amount, "cash", f"{on} {amount}"), date.fromisoformat(on))


def wallet(engine: sqlalchemy.Engine) -> int:
    found = rows(
        engine,
        """SELECT -b.amount FROM balance AS b JOIN ledger_account AS a ON a.id = b.ledger_account_id
        WHERE a.kind = 'wallet'""",
    )
    return int(found[0][0]) if found else 0


def line_state(engine: sqlalchemy.Engine) -> str:
    return str(rows(engine, "SELECT billing_state FROM service")[0][0])


def each_day(engine: sqlalchemy.Engine, first: str, days: int) -> list[int]:
    """Run day by day; return what the wallet had after each."""
    begins = date.fromisoformat(first)
    found = []
    for number in range(days):
        bill(engine, (begins + timedelta(days=number)).isoformat())
        found.append(wallet(engine))
    return found


def test_a_month_is_spread_over_its_days_to_the_cent(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"', sold("ana", "television", "2026-01-01"))
    pay(engine, ana, 5000, "2026-01-01")
    left = each_day(engine, "2026-01-01", 31)
    taken = [before - after for before, after in zip([5000, *left], left, strict=False)]
    assert sum(taken) == 1000
    assert {*taken} == {32, 33}
    assert [each[0] for each in documents(engine, "ana")] == ["receipt"]
    bill(engine, "2026-02-01")
    assert documents(engine, "ana")[1:] == [("invoice", "F2026-000001", 1000, 0, 1000, 0)]
    assert_books_are_right(engine)


@pytest.mark.parametrize("rounding", ["line", "rate", "keep-gross"])
@pytest.mark.parametrize("includes", ["false", "true"])
def test_the_tax_of_a_month_that_is_paid_day_by_day_is_that_of_the_month(
    engine: sqlalchemy.Engine, rounding: str, includes: str
) -> None:
    head = HEAD.replace('name = "television"', f'name = "television"\nprice_includes_tax = {includes}')
    terms = f'type = "prepaid-daily", tax_rounding = "{rounding}"'
    more = [sold("ana", product, "2026-01-01") for product in ("television", "rent")]
    ana = world(engine, terms, *more, head=head)
    pay(engine, ana, 5000, "2026-01-01")
    left = each_day(engine, "2026-01-01", 31)[-1]
    bill(engine, "2026-02-01")
    net, tax = (1490, 313) if includes == "false" else (826 + 490, 276 + (rounding == "line"))
    assert documents(engine, "ana")[1] == ("invoice", "F2026-000001", net, tax, net + tax, 0)
    assert left == 5000 - net - tax
    assert_books_are_right(engine)


def test_a_wallet_lasts_as_many_days_as_it_says_with_tax_and_a_coupon(engine: sqlalchemy.Engine) -> None:
    coupon = '[[discount]]\nname = "welcome"\ncustomer = "ana"\ncoupon = "1.50"\nstarts = 2026-01-01\n'
    ana = world(engine, 'type = "prepaid-daily"', sold("ana", "television", "2026-01-01"), coupon, head=HEAD)
    pay(engine, ana, 500, "2026-01-01")
    with engine.connect() as connection:
        catalogue = Catalogue.read(connection)
        (account,) = accounts.load(connection, [ana], date(2026, 1, 1), catalogue)
        said = wallets.days_left(account, catalogue, date(2026, 1, 1))
    each_day(engine, "2026-01-02", 30)
    assert rows(engine, "SELECT starts FROM rest") == [(date(2026, 1, 2) + timedelta(days=said),)]


def test_a_fee_of_an_account_that_has_nothing_else_is_on_the_document_of_its_month(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"')
    pay(engine, ana, 5000, "2026-01-01")
    with engine.begin() as connection:
        gate.charge(connection, ana, "3", date(2026, 1, 10), "trust-unlock/1")
        gate.reassess(connection, [ana], date(2026, 1, 10))
    bill(engine, "2026-01-10")
    assert wallet(engine) == 4700
    assert rows(engine, "SELECT next_bill_on FROM account") == [(date(2026, 2, 1),)]
    bill(engine, "2026-02-01")
    assert documents(engine, "ana")[1:] == [("invoice", "F2026-000001", 300, 0, 300, 0)]
    assert rows(engine, "SELECT next_bill_on FROM account") == [(None,)]
    assert_books_are_right(engine)


def test_the_days_before_an_end_are_on_the_document_of_their_month(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"', sold("ana", "television", "2026-01-01", "ends = 2026-01-04"))
    pay(engine, ana, 5000, "2026-01-01")
    each_day(engine, "2026-01-01", 10)
    bill(engine, "2026-02-01")
    assert documents(engine, "ana")[1:] == [("invoice", "F2026-000001", 97, 0, 97, 0)]
    assert_books_are_right(engine)


def test_days_of_a_month_that_has_its_document_are_given_back_by_a_credit_note(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"', sold("ana", "television", "2026-01-01"), head=HEAD)
    pay(engine, ana, 5000, "2026-01-01")
    each_day(engine, "2026-01-01", 34)
    provide(engine, sold("ana", "television", "2026-01-01", "ends = 2026-01-11"))
    bill(engine, "2026-02-03", "ana")
    # Of January's 31 days 21 are given back.
    assert documents(engine, "ana")[1:] == [
        ("invoice", "F2026-000001", 1000, 210, 1210, 0), ("credit-note", "A2026-000001", 677, 142, 819, 0),
    ]  # fmt: skip
    assert wallet(engine) == 5000 - 1210 + 819
    assert_books_are_right(engine)


def test_a_wallet_that_does_not_pay_lets_the_line_rest_and_the_rest_costs_nothing(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"', sold("ana", "television", "2026-01-01"))
    pay(engine, ana, 100, "2026-01-01")
    assert each_day(engine, "2026-01-01", 10) == [68, 35, 3, 3, 3, 3, 3, 3, 3, 3]
    assert line_state(engine) == "no_balance"
    assert rows(engine, "SELECT cause, starts, ends FROM rest") == [("no_balance", date(2026, 1, 4), None)]
    pay(engine, ana, 1000, "2026-01-11")
    assert line_state(engine) == "active"
    assert rows(engine, "SELECT ends FROM rest") == [(date(2026, 1, 11),)]
    before = wallet(engine)
    assert before == 1003 - 32, "the day on which it was paid is charged, those before are not"
    assert bill(engine, "2026-01-11").documents == 0
    each_day(engine, "2026-01-12", 20)
    days = 3 + 21
    assert 1100 - wallet(engine) == round(1000 * days / 31)
    bill(engine, "2026-02-01")
    assert documents(engine, "ana")[-1][2] == round(1000 * days / 31)
    assert_books_are_right(engine)


def test_a_credit_by_hand_lets_a_line_in_at_once_that_the_wallet_pays_again(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-period"', sold("ana", "television", "2026-01-01"))
    pay(engine, ana, 1000, "2026-01-01")
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    assert (line_state(engine), wallet(engine)) == ("no_balance", 0)
    (line,) = rows(engine, "SELECT id FROM document_line")[0]
    with engine.begin() as connection:
        credit_notes.credit(connection, line, None, "one", date(2026, 2, 1))
    # The credit has paid February.
    assert (line_state(engine), wallet(engine)) == ("active", 0)
    assert_books_are_right(engine)


def test_days_on_which_nobody_ran_are_paid_one_after_the_other(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"', sold("ana", "television", "2026-01-01"))
    pay(engine, ana, 100, "2026-01-01")
    bill(engine, "2026-01-31")
    assert wallet(engine) == 3
    assert rows(engine, "SELECT starts, ends FROM rest") == [(date(2026, 1, 4), None)]
    assert line_state(engine) == "no_balance"
    pay(engine, ana, 100, "2026-02-10")
    assert rows(engine, "SELECT starts, ends FROM rest") == [(date(2026, 1, 4), date(2026, 2, 10))]
    assert line_state(engine) == "active"
    posted = rows(engine, "SELECT posted_on FROM transfer WHERE kind = 'daily' ORDER BY 1")
    assert [day.isoformat() for (day,) in posted] == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-02-10"]
    assert_books_are_right(engine)


@pytest.mark.parametrize(("terms", "least"), [('credit_limit = "0.50"', -50), ('minimum_balance = "0.50"', 50)])
def test_how_low_a_wallet_may_go_is_the_accounts_to_say(engine: sqlalchemy.Engine, terms: str, least: int) -> None:
    ana = world(engine, f'type = "prepaid-daily", {terms}', sold("ana", "television", "2026-01-01"))
    pay(engine, ana, 100, "2026-01-01")
    left = each_day(engine, "2026-01-01", 10)[-1]
    assert least <= left < least + 33
    assert line_state(engine) == "no_balance"


def test_m19_a_wallet_pays_whole_periods_with_their_tax(engine: sqlalchemy.Engine) -> None:
    head = HEAD.replace('percent = "21"', 'percent = "24"').replace('price = "10"', 'price = "14.29"')
    ana = world(engine, 'type = "prepaid-period"', sold("ana", "television", "2026-01-01"), head=head)
    pay(engine, ana, 3900, "2026-01-01")
    assert wallet(engine) == 2128
    assert documents(engine, "ana")[-1] == ("invoice", "F2026-000001", 1429, 343, 1772, 0)
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO subscription_event (subscription_id, on_day, kind, unit_price)
                SELECT id, '2026-02-01', 'change', 14.27 FROM subscription""")
        )
    bill(engine, "2026-02-01")
    assert wallet(engine) == 2128 - 1769 == 359
    bill(engine, "2026-03-01")
    assert line_state(engine) == "no_balance"
    assert wallet(engine) == 359
    assert_books_are_right(engine)


def test_m9_a_wallet_pays_for_those_it_is_shared_with(engine: sqlalchemy.Engine) -> None:
    head = NO_TAX.replace('price = "10"', 'price = "1.20"')
    more = (customer("hijo", 'payer = "ana"'), sold("hijo", "television", "2026-01-01"))
    ana = world(engine, 'type = "prepaid-period"', *more, head=head)
    pay(engine, ana, 130, "2026-01-01")
    assert wallet(engine) == 10
    assert documents(engine, "hijo") == []
    assert_books_are_right(engine)


def missing(engine: sqlalchemy.Engine, ana: int, on: str) -> int:
    with engine.connect() as connection:
        catalogue = Catalogue.read(connection)
        (account,) = accounts.load(connection, [ana], date.fromisoformat(on), catalogue)
        return wallets.missing(account, catalogue, date.fromisoformat(on))


def trusting(engine: sqlalchemy.Engine, ana: int, on: str) -> date:
    with engine.begin() as connection:
        return collecting.trust(connection, ana, date.fromisoformat(on))


def look(engine: sqlalchemy.Engine, on: str) -> str:
    with engine.begin() as connection:
        gate.look_at_due(connection, date.fromisoformat(on), 10)
    return line_state(engine)


def test_the_document_of_a_month_has_the_days_of_those_for_whom_the_wallet_pays(engine: sqlalchemy.Engine) -> None:
    hijo = customer("hijo", 'payer = "ana"'), sold("hijo", "television", "2026-01-01")
    ana = world(engine, 'type = "prepaid-daily"', *hijo, sold("ana", "rent", "2026-01-01"))
    pay(engine, ana, 5000, "2026-01-01")
    each_day(engine, "2026-01-01", 31)
    bill(engine, "2026-02-01")
    assert documents(engine, "ana")[1:] == [("invoice", "F2026-000001", 1490, 0, 1490, 0)]


@pytest.mark.parametrize("billing", ["recurring", "prepaid-daily"])
def test_an_empty_wallet_rests_nobody_who_begins_to_pay_for_its_owner(engine: sqlalchemy.Engine, billing: str) -> None:
    daily = 'billing = { type = "prepaid-daily" }'
    mama = world(engine, f'type = "{billing}"', sold("ana", "television", "2026-01-01"))
    provide(engine, NO_TAX, customer("hija", daily), sold("hija", "rent", "2026-01-01"))
    pay(engine, mama, 10000, "2026-01-01")
    for number in range(1, 20):
        bill(engine, f"2026-01-{number:02}")
    let_it_be(engine, "2026-01-20T10:00Z")
    provide(engine, customer("hija", daily, 'payer = "ana"'))
    for day in ("2026-01-20", "2026-02-01", "2026-02-28", "2026-03-01", "2026-03-31"):
        bill(engine, day)
    # Twelve of January's days are 1.90; those on which nobody paid for the daughter cost nothing.
    charged = "SELECT sum(l.amount)::bigint FROM document_line AS l JOIN customer AS c ON c.id = customer_id"
    assert rows(engine, f"{charged} WHERE c.login = 'hija' AND starts < '2026-04-01'") == [(190 + 2 * 490,)]
    assert rows(engine, f"{charged} WHERE c.login = 'ana' AND starts < '2026-04-01'") == [(3000,)]
    assert_books_are_right(engine)


@pytest.mark.parametrize("billing", ["recurring", "prepaid-daily"])
def test_what_an_own_wallet_has_paid_is_told_to_its_owner(engine: sqlalchemy.Engine, billing: str) -> None:
    daily = 'billing = { type = "prepaid-daily" }'
    let_it_be(engine, "2026-01-01T10:00Z")
    mama = world(engine, f'type = "{billing}"', sold("ana", "television", "2026-01-01"))
    provide(engine, NO_TAX, customer("hija", daily), sold("hija", "rent", "2026-01-01"))
    hija = int(rows(engine, "SELECT id FROM customer WHERE login = 'hija'")[0][0])
    pay(engine, mama, 10000, "2026-01-01")
    pay(engine, hija, 32, "2026-01-01")
    for number in range(1, 20):
        bill(engine, f"2026-01-{number:02}")
    let_it_be(engine, "2026-01-20T10:00Z")
    provide(engine, customer("hija", daily, 'payer = "ana"'))
    for day in ("2026-01-20", "2026-01-31", "2026-02-01", "2026-02-02"):
        bill(engine, day)
    told = [(kind, gross) for kind, _, _, _, gross, _ in documents(engine, "hija")]
    assert told == [("receipt", 32), ("invoice", 32)]
    assert_books_are_right(engine)


def test_days_on_trust_end_also_when_something_happens_meanwhile(engine: sqlalchemy.Engine) -> None:
    terms = "due_days = 1, block_after = 1, trust_unlock = { days = 3, most_per_month = 1 }"
    ana = world(engine, terms, sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    assert look(engine, "2026-01-03") == "blocked"
    assert trusting(engine, ana, "2026-01-04") == date(2026, 1, 6)
    assert line_state(engine) == "active"
    pay(engine, ana, 100, "2026-01-05")
    assert look(engine, "2026-01-06") == "active"
    assert look(engine, "2026-01-07") == "blocked"
    with pytest.raises(collecting.NotTrusted, match="all that its terms allow"):
        trusting(engine, ana, "2026-01-08")


def test_days_on_trust_of_a_wallet_that_does_not_pay_end_too(engine: sqlalchemy.Engine) -> None:
    terms = 'type = "prepaid-daily", trust_unlock = { days = 2, most_per_month = 1, price = "1" }'
    ana = world(engine, terms, sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    assert line_state(engine) == "no_balance"
    trusting(engine, ana, "2026-01-01")
    assert line_state(engine) == "active"
    bill(engine, "2026-01-02")
    assert look(engine, "2026-01-02") == "active"
    assert look(engine, "2026-01-03") == "no_balance"


def test_days_on_trust_are_paid_as_soon_as_a_wallet_pays_again(engine: sqlalchemy.Engine) -> None:
    terms = 'type = "prepaid-daily", trust_unlock = { days = 2, most_per_month = 1, price = "1" }'
    ana = world(engine, terms, sold("ana", "television", "2026-01-01"))
    each_day(engine, "2026-01-01", 2)
    trusting(engine, ana, "2026-01-03")
    each_day(engine, "2026-01-03", 4)
    assert look(engine, "2026-01-06") == "no_balance"
    # What trust costs, and three days: the third and fourth, which were served, and today.
    assert missing(engine, ana, "2026-01-06") == 100 + 97
    pay(engine, ana, 100 + 96, "2026-01-06")
    assert (line_state(engine), missing(engine, ana, "2026-01-06")) == ("no_balance", 1)
    pay(engine, ana, 1, "2026-01-06")
    assert line_state(engine) == "active"
    assert wallet(engine) == 0
    charged = rows(engine, "SELECT starts, ends FROM document_line WHERE subscription_id IS NOT NULL ORDER BY id")
    assert charged == [(date(2026, 1, 3), date(2026, 1, 5)), (date(2026, 1, 6), date(2026, 1, 7))]
    assert_books_are_right(engine)


def test_days_on_trust_of_a_period_are_paid_with_the_rest_of_it(engine: sqlalchemy.Engine) -> None:
    terms = 'type = "prepaid-period", period_days = 10, trust_unlock = { days = 2 }'
    ana = world(engine, terms, sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    trusting(engine, ana, "2026-01-03")
    each_day(engine, "2026-01-03", 3)
    # A period begins with the first day on which it is served; the fifth day is not.
    pay(engine, ana, 899, "2026-01-06")
    assert line_state(engine) == "no_balance"
    pay(engine, ana, 1, "2026-01-06")
    assert (wallet(engine), line_state(engine)) == (0, "active")
    assert_books_are_right(engine)


def test_periods_of_some_days_are_paid_before_they_begin(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-period", period_days = 10', sold("ana", "television", "2026-01-01"))
    pay(engine, ana, 2500, "2026-01-01")
    assert wallet(engine) == 1500
    assert each_day(engine, "2026-01-01", 22) == [1500] * 10 + [500] * 12
    assert line_state(engine) == "no_balance"
    # What is left of the period costs its share, and from the sixth day on the wallet has that.
    assert each_day(engine, "2026-01-23", 8) == [500] * 3 + [0] * 5
    assert line_state(engine) == "active"
    assert rows(engine, "SELECT starts, ends FROM rest") == [(date(2026, 1, 21), date(2026, 1, 26))]
    assert_books_are_right(engine)
