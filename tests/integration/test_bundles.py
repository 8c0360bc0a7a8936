"""Bundles against a real database: what they hold, what that costs, and what becomes of it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy

from storage.billing import sales, subscriptions
from storage.billing.subscriptions import Change, Start
from storage.exporting import export
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

PLANS = """
[[tax]]
code = "super"
percent = "4"
[[plan]]
name = "fibre"
price = "30"
taxes = ["iva"]
activation_fee = "99"
contract = { months = 24, prior_cancellation_fee = "99" }
[[plan]]
name = "radio"
price = "20"
taxes = ["iva"]
[[product]]
name = "cinema"
price = "10"
taxes = ["super"]
[[product]]
name = "pack"
kind = "bundle"
price = "36"
includes = [{ product = "fibre" }, { product = "cinema", quantity = 2 }]
contract = { months = 12, prior_cancellation_fee = "60", fee_per_month = "10" }
activation_fee = "20"
"""


def line(login: str, plan: str = "fibre", owner: str = "ana") -> str:
    return f'[[service]]\nlogin = "{login}"\npassword = "a-password"\nplan = "{plan}"\ncustomer = "{owner}"\n'


def today(engine: sqlalchemy.Engine) -> date:
    found: date = rows(engine, "SELECT (now() AT TIME ZONE timezone)::date FROM isp")[0][0]
    return found


def present(engine: sqlalchemy.Engine, login: str, on: date) -> list[tuple[Any, ...]]:
    """Return product, line, bundle, quantity, price and state of what a customer has on a day."""
    with engine.connect() as connection:
        found = sales.listed(connection, on, limit=99)
    keys = ("product", "service", "bundle", "quantity", "unit_price", "state")
    return [tuple(row[key] for key in keys) for row in found if row["customer"] == login]


def ordered(engine: sqlalchemy.Engine, order: Any, name: str, *more: Any, **named: Any) -> Any:
    """Give an order about a subscription."""
    with engine.begin() as connection:
        return order(connection, subscriptions.find(connection, name), *more, today(engine), **named)


def test_what_a_bundle_holds_is_its_subscriptions_and_costs_nothing_beside_it(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01", 'service = "ana"'))
    assert present(engine, "ana", today(engine)) == [
        ("pack", "ana", None, 1, 36, "active"),
        ("fibre", "ana", "pack of ana", 1, 0, "active"),
        ("cinema", None, "pack of ana", 2, 0, "active"),
    ]
    bill(engine, "2026-01-01", "ana")
    # Of 36.00 the fibre's 30 of 50 have 21 %, the cinema's 20 of 50 have 4 %; the activation fee has the fibre's tax.
    assert rows(engine, "SELECT text, net, tax FROM document_line ORDER BY position") == [
        ("pack: fibre", 2160, 454),
        ("pack: cinema", 1440, 58),
        ("pack: alta", 2000, 420),
    ]
    bill(engine, "2026-01-01", "ana")
    assert len(documents(engine, "ana")) == 1
    assert_books_are_right(engine)


def test_neither_the_fee_nor_the_contract_of_a_plan_in_a_bundle_holds(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    assert rows(engine, "SELECT unit_price FROM one_off") == [(Decimal(20),)]
    assert rows(
        engine, "SELECT contract ->> 'months', contract_began FROM subscription WHERE contract IS NOT NULL"
    ) == [("12", date(2026, 1, 1))]


def test_a_line_that_was_sold_alone_is_credited_from_the_day_on_which_the_bundle_begins(
    engine: sqlalchemy.Engine,
) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana", "radio"))
    day = today(engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE subscription_event SET on_day = '2026-01-01'"))
        connection.execute(sqlalchemy.text("UPDATE subscription SET revised_from = '2026-01-01'"))
    bill(engine, "2026-01-01", "ana")
    assert documents(engine, "ana")[0][2] == 2000
    radio_pack = PLANS.replace('{ product = "fibre" }', '{ product = "radio" }')
    provide(engine, HEAD, radio_pack, customer("ana"), sold("ana", "pack", "2026-01-17"))
    assert present(engine, "ana", day)[0][:5] == ("radio", "ana", "pack of ana", 1, 0)
    bill(engine, "2026-01-17", "ana")
    credit = rows(engine, "SELECT net, starts FROM document_line WHERE credits_line IS NOT NULL")
    assert credit == [(-968, date(2026, 1, 17))]


def test_a_bundle_takes_as_many_lines_as_it_holds_its_own_first(engine: sqlalchemy.Engine) -> None:
    lines = [line(login) for login in ("a", "b", "c")]
    provide(engine, HEAD, PLANS, customer("ana"), *lines, sold("ana", "pack", "2026-01-01", 'service = "b"'))
    held = [(row[1], row[2] is not None, row[4]) for row in present(engine, "ana", today(engine)) if row[0] == "fibre"]
    assert held == [("a", False, 30), ("b", True, 0), ("c", False, 30)]


def test_a_line_that_gets_another_plan_leaves_and_another_one_takes_its_place(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("a"), line("b"), sold("ana", "pack", "2026-01-01"))
    provide(engine, line("a", "radio"))
    held = {row[1]: (row[0], row[2], row[4]) for row in present(engine, "ana", today(engine)) if row[1]}
    assert held == {"a": ("radio", None, 20), "b": ("fibre", "pack of ana", 0)}


def test_a_line_that_comes_later_joins_a_bundle_that_has_room(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), sold("ana", "pack", "2026-01-01"))
    provide(engine, line("ana"))
    assert ("fibre", "ana", "pack of ana", 1, 0, "active") in present(engine, "ana", today(engine))


def test_a_change_of_the_price_of_a_plan_does_not_move_what_is_in_a_bundle(engine: sqlalchemy.Engine) -> None:
    from billing.prices import PriceScope
    from storage.billing import prices

    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    with engine.begin() as connection:
        day = today(engine)
        assert prices.change(connection, "fibre", Decimal(35), day, PriceScope.ALL, day).moved == ()


def test_the_end_of_a_bundle_ends_what_it_holds_and_charges_what_is_early(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    bill(engine, "2026-04-01", "ana")
    cost = ordered(engine, subscriptions.stop, "pack of ana", date(2026, 4, 10))
    assert (cost.fee, cost.months_left, cost.binds_until) == (Decimal(150), 9, date(2027, 1, 1))
    assert {row[5] for row in present(engine, "ana", date(2026, 4, 10))} == {"stopped"}
    bill(engine, "2026-05-01", "ana")
    fees = rows(engine, "SELECT text, net, tax FROM document_line WHERE text LIKE 'Penal%'")
    assert fees == [("Penalización por baja", 15000, 0)]
    assert rows(engine, "SELECT sum(net) FROM document_line WHERE credits_line IS NOT NULL") == [(-2520,)]
    assert_books_are_right(engine)


def test_an_end_that_is_taken_back_takes_its_fee_along(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    ends = date(2099, 1, 1)
    ordered(engine, subscriptions.stop, "pack of ana", ends)
    ordered(engine, subscriptions.stop, "pack of ana", date(2026, 12, 31))
    fee = "SELECT unit_price, withdrawn_at IS NULL FROM one_off WHERE text = 'cancellation'"
    assert rows(engine, fee) == [(Decimal(70), True)]
    with engine.begin() as connection:
        id_ = subscriptions.find(connection, "pack of ana")
        subscriptions.resume(connection, id_, date(2026, 12, 1), date(2026, 12, 1))
    assert rows(engine, fee) == [(Decimal(0), False)]
    assert {row[5] for row in present(engine, "ana", ends)} == {"active"}


def test_a_bundle_pauses_and_goes_on_with_what_it_holds(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    ordered(engine, subscriptions.pause, "pack of ana", date(2026, 2, 1), date(2026, 2, 11))
    assert {row[5] for row in present(engine, "ana", date(2026, 2, 10)) if row[0] != "fibre"} == {"paused"}
    assert {row[5] for row in present(engine, "ana", date(2026, 2, 11)) if row[0] != "fibre"} == {"active"}


def test_a_bundle_that_becomes_another_one_exchanges_what_it_holds(engine: sqlalchemy.Engine) -> None:
    held = '[{ product = "fibre" }, { product = "rent" }]'
    more = f'[[product]]\nname = "small"\nkind = "bundle"\nprice = "25"\nincludes = {held}\n'
    provide(engine, HEAD, PLANS, more, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    day = today(engine)
    ordered(engine, subscriptions.change, "pack of ana", Change("small"), day)
    found = {row[0]: (row[2], row[4], row[5]) for row in present(engine, "ana", day)}
    assert found == {
        "small": (None, 25, "active"),
        "fibre": ("pack of ana", 0, "active"),
        "cinema": ("pack of ana", 0, "stopped"),
        "rent": ("pack of ana", 0, "active"),
    }


def test_a_line_that_the_next_bundle_does_not_hold_goes_on_at_its_own_price(engine: sqlalchemy.Engine) -> None:
    more = '[[product]]\nname = "small"\nkind = "bundle"\nprice = "25"\nincludes = [{ product = "cinema" }]\n'
    provide(engine, HEAD, PLANS, more, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE subscription_event SET on_day = '2026-01-01'")
    day = today(engine)
    ordered(engine, subscriptions.change, "pack of ana", Change("small"), day)
    found = {row[0]: (row[2], row[4], row[5]) for row in present(engine, "ana", day)}
    assert found["fibre"] == (None, 30, "active")
    assert found["cinema"] == ("pack of ana", 0, "active")


def test_what_a_clerk_sells_is_exported_and_builds_the_same_again(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLANS, customer("ana"), line("ana"))
    with engine.begin() as connection:
        day = today(engine)
        first = subscriptions.start(connection, Start("ana", "pack", day, service="ana"), day, "an order")
        assert subscriptions.start(connection, Start("ana", "pack", day, service="ana"), day, "an order") == first
    written = export(engine, VAULT, secrets=True)
    assert '[[product.includes]]\nproduct = "fibre"\n' in written
    assert 'name = "pack of ana"' in written
    report = provide(engine, written)
    assert report.changes == ()
    assert export(engine, VAULT, secrets=True) == written


def test_overage_of_a_line_in_a_bundle_is_still_rated(engine: sqlalchemy.Engine) -> None:
    """What is in a bundle is loaded by the run like everything else; it only costs nothing by itself."""
    from storage.billing.accounts import Catalogue, load

    provide(engine, HEAD, PLANS, customer("ana"), line("ana"), sold("ana", "pack", "2026-01-01"))
    with engine.connect() as connection:
        ana = rows(engine, "SELECT id FROM customer")[0][0]
        (account,) = load(connection, [ana], date(2026, 2, 1), Catalogue.read(connection))
    assert len(account.subscriptions) == 3
