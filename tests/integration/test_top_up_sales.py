"""Top-ups are charged in the transaction that grants them, or are not granted."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy

from billing.prices import PriceScope
from domain.plan_rules import AutomaticTopUp, TopUpKind, TopUpOffer
from storage import top_ups
from storage.billing import clock, payments, top_up_sales
from storage.billing.prices import change
from storage.billing.top_up_sales import CannotPay, Refusal, TopUpRefused
from storage.exporting import export
from storage.top_ups import Bought, Charge, Order, Origin
from tests.integration.billed_isp import (
    HEAD,
    VAULT,
    assert_books_are_right,
    bill,
    customer,
    documents,
    provide,
    rows,
    sold,
)

PRODUCT = """
[[product]]
name = "extra"
kind = "top-up"
price = "3.00"
taxes = ["iva"]
names = { en = "One more gigabyte" }
"""
LINE = """
[[plan]]
name = "home"
download = "20M"
[plan.cap]
octets = "10G"
[[plan.top_up]]
name = "extra"
octets = "1G"
[[plan.top_up]]
name = "plain"
octets = "1G"
price = "0.50"
[[service]]
login = "ana-line"
password = "a-password"
plan = "home"
customer = "ana"
[[service]]
login = "nobody-s"
password = "a-password"
plan = "home"
"""
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
MONTH = datetime(2026, 1, 1, tzinfo=UTC)
AUTOMATIC = TopUpOffer("extra", TopUpKind.OCTETS, octets=10**9, automatic=AutomaticTopUp(90, 3))


def world(engine: sqlalchemy.Engine, billing: str = 'type = "recurring"', *more: str) -> int:
    provide(engine, HEAD, PRODUCT, customer("ana", f'billing = {{ {billing}, language = "en" }}'), LINE, *more)
    return int(rows(engine, "SELECT id FROM customer")[0][0])


def service(engine: sqlalchemy.Engine, login: str = "ana-line") -> int:
    return int(rows(engine, "SELECT id FROM service WHERE login = :login", login=login)[0][0])


def today(engine: sqlalchemy.Engine) -> date:
    with engine.connect() as connection:
        return clock.today(connection)


def sell(
    engine: sqlalchemy.Engine, charge: Charge | None = None, key: str = "one", offer: str = "extra",
    login: str = "ana-line",
) -> Bought:  # fmt: skip
    id_ = service(engine, login)
    with engine.begin() as connection:
        order = top_up_sales.order_of(connection, id_, offer, NOW)
        return top_up_sales.sell(connection, order, Origin.OPERATOR, key, NOW, charge)


def pay(engine: sqlalchemy.Engine, customer_id: int, amount: int, key: str = "cash") -> None:
    with engine.begin() as connection:
        payments.add(connection, payments.Order(customer_id, amount, "cash", key), today(engine))


def bought(engine: sqlalchemy.Engine) -> list[tuple[Any, ...]]:
    return rows(engine, "SELECT name, price, charge, origin FROM top_up ORDER BY id")


def balance(engine: sqlalchemy.Engine, kind: str, name: str = "") -> int:
    return int(
        rows(
            engine,
            """SELECT coalesce(sum(b.amount), 0) FROM balance AS b JOIN ledger_account AS a
                ON a.id = b.ledger_account_id WHERE a.kind = :kind AND a.name = :name""",
            kind=kind,
            name=name,
        )[0][0]
    )


def test_a_wallet_pays_a_top_up_with_its_tax_in_the_same_transaction(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-period"')
    pay(engine, ana, 1000)
    first, again = sell(engine), sell(engine)
    assert (first.is_new, again) == (True, Bought(first.id, is_new=False))
    assert bought(engine) == [("extra", Decimal("3.00"), "balance", "operator")]
    assert (balance(engine, "wallet"), balance(engine, "revenue", "top-up")) == (-637, -300)
    assert documents(engine, "ana")[-1][1:] == (f"F{today(engine):%Y}-000001", 300, 63, 363, 0)
    assert rows(engine, "SELECT text FROM document_line") == [("One more gigabyte",)]
    assert bill(engine, today(engine).isoformat(), "ana").documents == 0, "it is billed once"
    assert_books_are_right(engine)


def test_lines_that_may_buy_what_the_wallet_could_not_pay_are_looked_at_when_it_is_filled(
    engine: sqlalchemy.Engine,
) -> None:
    plain = '[[plan]]\nname = "plain"\ndownload = "20M"\n'
    other = '[[service]]\nlogin = "{}"\npassword = "a-password"\nplan = "{}"\ncustomer = "{}"\n'
    ana = world(
        engine, 'type = "prepaid-period"', plain, customer("eva"), other.format("ana-2", "plain", "ana"),
        other.format("eva-line", "home", "eva"),
    )  # fmt: skip
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM outbox")
    pay(engine, ana, 1000)
    assert rows(engine, "SELECT topic, service_id FROM outbox") == [("terms", service(engine))]


def test_a_daily_wallet_pays_at_once_and_the_months_document_says_so(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"')
    pay(engine, ana, 1000)
    sell(engine)
    assert balance(engine, "wallet") == -637
    following = (today(engine).replace(day=1) + timedelta(days=32)).replace(day=1)
    bill(engine, following.isoformat())
    assert documents(engine, "ana")[-1][0] == "invoice"
    assert documents(engine, "ana")[-1][2:] == (300, 63, 363, 0)
    assert_books_are_right(engine)


def test_what_a_wallet_cannot_pay_is_not_granted(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-period"')
    pay(engine, ana, 362)
    with pytest.raises(CannotPay, match=r"extra costs 3\.63 EUR and the account can pay 3\.62"):
        sell(engine)
    assert bought(engine) == []
    assert rows(engine, "SELECT count(*) FROM one_off") == [(0,)]
    pay(engine, ana, 1, "more")
    assert sell(engine).is_new
    assert balance(engine, "wallet") == 0
    assert_books_are_right(engine)


def test_two_that_buy_at_once_spend_a_wallet_once(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-period"')
    pay(engine, ana, 400)
    barrier = threading.Barrier(3)
    told: list[object] = []

    def buy(key: str) -> None:
        barrier.wait()
        try:
            told.append(sell(engine, key=key).is_new)
        except CannotPay:
            told.append(None)

    threads = [threading.Thread(target=buy, args=(f"key {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=str) == [None, None, True]
    assert balance(engine, "wallet") == -37
    assert_books_are_right(engine)


def test_a_partners_customers_pay_the_partners_price(engine: sqlalchemy.Engine) -> None:
    partner = '[[partner]]\nname = "north"\n'
    product = PRODUCT.replace('price = "3.00"', 'price = "3.00"\nprices = { north = "2.50" }')
    provide(engine, HEAD, partner, product, customer("ana", 'partner = "north"'), LINE)
    sell(engine)
    assert bought(engine) == [("extra", Decimal("2.50"), "invoice", "operator")]


def test_a_plan_and_a_top_up_of_one_name_are_told_apart(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), LINE.replace('name = "plain"', 'name = "television"'))
    with pytest.raises(TopUpRefused, match="'television' is no top-up"):
        sell(engine, offer="television")
    assert bought(engine) == []


def test_a_top_up_goes_on_the_next_invoice_of_who_pays_afterwards(engine: sqlalchemy.Engine) -> None:
    on = today(engine)
    following = (on.replace(day=1) + timedelta(days=32)).replace(day=1)
    world(engine, 'type = "recurring"', sold("ana", "television", following.isoformat()))
    sell(engine)
    sell(engine, key="two")
    bill(engine, on.isoformat())
    assert documents(engine, "ana") == []
    bill(engine, following.isoformat())
    assert [each[2:5] for each in documents(engine, "ana")] == [(1600, 336, 1936)]
    assert bill(engine, following.isoformat(), "ana").documents == 0
    assert_books_are_right(engine)


def test_who_has_paid_too_much_may_pay_a_top_up_with_it(engine: sqlalchemy.Engine) -> None:
    ana = world(engine)
    with pytest.raises(CannotPay, match=r"can pay 0\.00"):
        sell(engine, Charge.BALANCE)
    pay(engine, ana, 400)
    assert sell(engine, Charge.BALANCE).is_new
    assert documents(engine, "ana")[-1][2:] == (300, 63, 363, 0)
    assert rows(engine, "SELECT unused FROM payment") == [(37,)]
    assert_books_are_right(engine)


def test_who_pays_before_gets_no_invoice_to_pay_later(engine: sqlalchemy.Engine) -> None:
    world(engine, 'type = "prepaid-daily"')
    with pytest.raises(TopUpRefused, match="--charge balance"):
        sell(engine, Charge.INVOICE)
    assert bought(engine) == []


def test_credits_in_units_are_no_money(engine: sqlalchemy.Engine) -> None:
    world(engine, 'type = "prepaid-daily"')
    sell(engine, Charge.NONE)
    sell(engine, key="two", login="nobody-s")
    assert bought(engine) == [("extra", 0, "none", "operator")] * 2
    assert rows(engine, "SELECT sum(octets) FROM top_up") == [(2 * 10**9,)]
    for table in ("transfer", "one_off", "document"):
        assert rows(engine, f"SELECT count(*) FROM {table}") == [(0,)]
    with pytest.raises(TopUpRefused, match="belongs to no customer"):
        sell(engine, Charge.BALANCE, "three", login="nobody-s")


def test_without_a_product_the_plans_price_is_charged_untaxed(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-period"')
    pay(engine, ana, 50)
    sell(engine, offer="plain")
    assert documents(engine, "ana")[-1][2:] == (50, 0, 50, 0)
    assert 'name = "plain"' in "".join(export(engine, VAULT)), "in its plan"
    assert "".join(export(engine, VAULT)).count("[[product]]") == 3, "what billing made is not of the list"
    assert_books_are_right(engine)


def test_the_price_of_the_day_is_charged_and_a_product_goes_round(engine: sqlalchemy.Engine) -> None:
    world(engine)
    on = today(engine)
    with engine.begin() as connection:
        change(connection, "extra", Decimal("4.50"), on, PriceScope.NEW, on)
    sell(engine)
    assert rows(engine, "SELECT unit_price FROM one_off") == [(Decimal("4.50"),)]
    written = "".join(export(engine, VAULT))
    assert 'kind = "top-up"\nprice = "4.50"' in written
    assert provide(engine, written).changes == ()


@pytest.mark.parametrize(("paid", "granted"), [(1000, 2), (5000, 3), (0, 0)])
def test_an_automatic_top_up_is_bought_as_long_as_the_wallet_pays_and_never_beyond_its_maximum(
    engine: sqlalchemy.Engine, paid: int, granted: int
) -> None:
    ana = world(engine, 'type = "prepaid-period"')
    if paid:
        pay(engine, ana, paid)
    refused: list[Refusal] = []
    order = Order(service(engine), AUTOMATIC, NOW, NOW + timedelta(days=1))
    with engine.begin() as connection:
        selling = top_up_sales.sell_unasked(refused)
        assert top_ups.buy_automatically(connection, order, 9, MONTH, NOW, selling) == granted
    assert bought(engine) == [("extra", Decimal("3.00"), "balance", "automatic")] * granted
    assert balance(engine, "wallet") == granted * 363 - paid
    assert [each.offer for each in refused] == (["extra"] if granted < 3 else [])
    assert all("extra costs 3.63 EUR" in each.reason for each in refused)
    assert_books_are_right(engine)
