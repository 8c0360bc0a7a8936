"""Prices and the currency of accounts: nothing of one currency is sold to an account in another one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy

from billing.prices import PriceScope
from config.provisioning import ProvisioningError
from storage.billing import prices, sales, subscriptions, top_up_sales
from storage.billing.currencies import OtherCurrency
from storage.billing.sales import Charge
from storage.billing.subscriptions import Change, Start
from storage.importing import ImportRefused, import_services
from storage.top_ups import Origin
from tests.integration.billed_isp import (
    HEAD,
    VAULT,
    assert_books_are_right,
    bill,
    customer,
    provide,
    rows,
    sold,
)

DAY = date(2026, 1, 1)
ISP = HEAD.replace('price = "10"', 'price = "10"\nprices = { miami = "12" }').replace(
    "[[product]]", '[[partner]]\nname = "miami"\nbilling = { currency = "USD" }\n[[product]]', 1
)
JOE = customer("joe", 'partner = "miami"')
TIM = customer("tim", 'billing = { currency = "USD" }')
VISIT = """
[[product]]
name = "visit"
kind = "one-time"
price = "30"
[[product]]
name = "fibre"
price = "20"
prices = { miami = "25" }
activation_fee = "50"
"""
PLANS = """
[[plan]]
name = "home"
price = "20"
prices = { miami = "25" }
cap = { octets = "10G" }
top_up = [{ name = "extra", octets = "1G", price = "3" }]
[[plan]]
name = "office"
price = "40"
"""


def line(login: str, plan: str) -> str:
    return f'[[service]]\nlogin = "{login}-line"\npassword = "a-password"\nplan = "{plan}"\ncustomer = "{login}"\n'


def refused(engine: sqlalchemy.Engine, *parts: str) -> list[str]:
    """Return why a file is refused."""
    with pytest.raises(ProvisioningError) as caught:
        provide(engine, *parts)
    return [str(problem) for problem in caught.value.problems]


def of(engine: sqlalchemy.Engine, login: str) -> int:
    return int(rows(engine, "SELECT id FROM customer WHERE login = :login", login=login)[0][0])


def test_a_partner_sells_by_its_own_list_in_its_own_currency(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, JOE, sold("joe", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    assert rows(engine, "SELECT currency, net, gross FROM document") == [("USD", 1200, 1452)]
    assert_books_are_right(engine)


def test_a_partner_of_whose_customers_none_has_begun_may_have_another_currency(engine: sqlalchemy.Engine) -> None:
    unsold = ISP.replace('\nprices = { miami = "12" }', "")
    provide(engine, unsold, JOE, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    in_pounds = '[[partner]]\nname = "miami"\nbilling = { currency = "GBP" }\n'
    assert [change.kind for change in provide(engine, in_pounds).changes] == ["partner"]


@pytest.mark.parametrize("who", [JOE, TIM])
def test_what_has_no_price_in_the_currency_of_the_account_is_refused_at_its_line(
    engine: sqlalchemy.Engine, who: str
) -> None:
    provide(engine, ISP, who)
    login = "joe" if who is JOE else "tim"
    (problem,) = refused(engine, sold(login, "rent", "2026-01-01"))
    assert problem.startswith('line 4: subscription.product: "rent" has a price in EUR, and the account is in USD')
    assert rows(engine, "SELECT id FROM subscription") == []
    provide(engine, sold(login, "rent", "2026-01-01", 'price = "5.50"'))
    bill(engine, "2026-01-01")
    assert rows(engine, "SELECT currency, net FROM document") == [("USD", 550)]


def test_the_list_of_a_partner_is_not_that_of_a_customer_in_another_currency(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, customer("eva", 'partner = "miami"', 'billing = { currency = "EUR" }'))
    (problem,) = refused(engine, sold("eva", "television", "2026-01-01"))
    assert "has a price in USD, and the account is in EUR" in problem


def test_a_sub_account_buys_in_the_currency_of_who_pays(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, TIM, customer("kid", 'payer = "tim"'))
    (problem,) = refused(engine, sold("kid", "rent", "2026-01-01"))
    assert "the account is in USD" in problem


def test_orders_are_refused_as_files_are(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, VISIT, JOE, sold("joe", "television", "2026-01-01"))
    with engine.begin() as connection:
        with pytest.raises(OtherCurrency, match="in EUR"):
            subscriptions.start(connection, Start("joe", "rent", DAY), DAY)
        subscriptions.start(connection, Start("joe", "rent", DAY, price=Decimal(5)), DAY)
        with pytest.raises(OtherCurrency, match=r"\"activation_fee\" in EUR"):
            subscriptions.start(connection, Start("joe", "fibre", DAY), DAY)
        sale = subscriptions.find(connection, "television of joe")
        with pytest.raises(OtherCurrency, match="has a price in EUR"):
            subscriptions.change(connection, sale, Change(product="rent"), DAY, DAY)
        visit = Charge(of(engine, "joe"), "visit", DAY, Decimal(1), None, None)
        with pytest.raises(OtherCurrency, match="has a price in EUR"):
            sales.charge(connection, visit, "key", DAY)
    assert rows(engine, "SELECT id FROM one_off") == []


def test_lines_are_refused_in_files_and_in_imports(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, PLANS, JOE, line("joe", "home"))
    assert rows(engine, "SELECT unit_price FROM subscription_event") == [(25,)]
    (problem,) = refused(engine, customer("ann", 'partner = "miami"'), line("ann", "office"))
    assert problem.startswith('line 9: service.plan: "office" has a price in EUR')
    (moved,) = refused(engine, line("joe", "office"))
    assert "has a price in EUR" in moved
    table = ["login,password,plan,customer\n", "two,a-password,office,joe\n"]
    with pytest.raises(ImportRefused) as caught:
        import_services(engine, VAULT, table, lambda _done, _total: None)
    assert [str(each).partition(", and")[0] for each in caught.value.problems] == [
        'line 2: plan: "office" has a price in EUR'
    ]
    assert rows(engine, "SELECT login FROM service") == [("joe-line",)]


def test_amounts_beside_the_price_are_the_isps_and_refused(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, VISIT, PLANS, JOE, line("joe", "home"))
    (problem,) = refused(engine, sold("joe", "fibre", "2026-01-01", 'price = "25"'))
    assert '"fibre" has "activation_fee" in EUR' in problem
    overage = '[[plan]]\nname = "home"\nprice = "20"\nprices = { miami = "25" }\n'
    (problem,) = refused(engine, overage, 'cap = { octets = "10G", action = "overage" }\noverage = { price = "1" }\n')
    assert '"joe": "home" has "overage" in EUR' in problem


def test_a_top_up_costs_nothing_of_another_currency(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, PLANS, JOE, line("joe", "home"))
    service = int(rows(engine, "SELECT id FROM service")[0][0])
    with engine.begin() as connection:
        now = connection.execute(sqlalchemy.func.now().select()).scalar_one()
        order = top_up_sales.order_of(connection, service, "extra", now)
        with pytest.raises(OtherCurrency, match=r'"extra" has a price in EUR'):
            top_up_sales.sell(connection, order, Origin.OPERATOR, "key", now)


def test_fees_are_not_inherited_from_another_currency(engine: sqlalchemy.Engine) -> None:
    strict = ISP.replace("due_days = 15", 'due_days = 15, late_fee = "2", late_fee_after = 3, minimum_debt = "0"')
    (problem,) = refused(engine, strict, JOE)
    assert '"joe" is in USD and would have "late_fee in EUR": say it in its own terms' in problem
    provide(engine, strict.replace('currency = "USD"', 'currency = "USD", late_fee = "3"'), JOE)
    (problem,) = refused(engine, customer("eva", 'partner = "miami"', 'billing = { currency = "EUR" }'))
    assert "late_fee in USD" in problem


def test_an_account_that_has_begun_keeps_its_currency(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, customer("ana"), customer("new"), sold("ana", "rent", "2026-01-01"))
    (problem,) = refused(engine, customer("ana", 'billing = { currency = "USD" }'))
    assert "has begun in EUR" in problem
    provide(engine, customer("new", 'billing = { currency = "USD" }'))
    assert rows(engine, "SELECT currency FROM account ORDER BY customer_id") == [("EUR",), ("USD",)]


def test_whoever_sells_keeps_the_currency_in_which_something_was_sold(engine: sqlalchemy.Engine) -> None:
    dollars = HEAD.replace('name = "Valdelagua"', 'name = "Valdelagua"\ncurrency = "USD"')
    provide(engine, dollars, customer("ana"))
    provide(engine, ISP, customer("ana"), JOE)
    assert rows(engine, "SELECT currency FROM account ORDER BY customer_id") == [("EUR",), ("USD",)]
    provide(engine, sold("joe", "television", "2026-01-01"))
    (problem,) = refused(engine, dollars)
    assert 'isp.currency: has begun in EUR and cannot be "USD"' in problem
    (problem,) = refused(engine, '[[partner]]\nname = "miami"\nbilling = { currency = "CLP" }\n')
    assert "has begun in USD and cannot be in CLP" in problem
    (problem,) = refused(engine, '[[partner]]\nname = "miami"\n')
    assert "has begun in USD and cannot be in EUR" in problem
    assert provide(engine, ISP, JOE).changes == ()


def test_an_account_that_has_not_begun_follows_its_partner(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, customer("ana"), customer("eva", 'billing = { currency = "EUR" }'))
    provide(engine, customer("ana", 'partner = "miami"'), customer("eva", 'partner = "miami"'))
    assert rows(engine, "SELECT currency FROM account ORDER BY customer_id") == [("USD",), ("EUR",)]
    provide(engine, sold("ana", "television", "2026-01-01"))
    provide(engine, customer("ana"))
    assert rows(engine, "SELECT currency FROM account ORDER BY customer_id") == [("USD",), ("EUR",)]


def test_nobody_pays_in_another_currency_what_somebody_else_has(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, TIM, customer("kid"), sold("kid", "rent", "2026-01-01"))
    (problem,) = refused(engine, customer("kid", 'payer = "tim"'))
    assert 'what "kid" has was sold in EUR, and the account would be in USD' in problem
    assert rows(engine, "SELECT login FROM customer WHERE payer_id IS NOT NULL") == []


def test_a_change_of_the_list_moves_nobody_who_pays_in_another_currency(engine: sqlalchemy.Engine) -> None:
    provide(engine, ISP, customer("ana"), TIM, JOE, sold("ana", "television", "2026-01-01"))
    provide(engine, sold("tim", "television", "2026-01-01", 'price = "10"'), sold("joe", "television", "2026-01-01"))
    with engine.begin() as connection:
        moved = prices.change(connection, "television", Decimal(11), DAY, PriceScope.ALL, DAY).moved
        assert [login for login, _ in moved] == ["ana"]
        moved = prices.change(connection, "television", Decimal(13), DAY, PriceScope.ALL, DAY, "miami").moved
        assert [login for login, _ in moved] == ["joe"]


def test_the_currency_of_the_isp_is_said_once(engine: sqlalchemy.Engine) -> None:
    (problem,) = refused(engine, HEAD.replace("due_days = 15", 'currency = "USD"'))
    assert "is said in [isp] itself" in problem
