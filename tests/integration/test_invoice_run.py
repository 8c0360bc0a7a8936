"""The invoice run against a real database: what it makes, what it leaves alone, and what a second run finds."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import sqlalchemy

from storage.billing import clock
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

WELCOME = """
[[product]]
name = "fibre"
price = "20"
taxes = ["iva"]
activation_fee = "15"
introduction = { months = 2, percent = "50" }
"""
WORLD = (
    HEAD,
    customer("ana"),
    customer("luis"),
    sold("ana", "television", "2026-01-01"),
    sold("luis", "rent", "2026-01-01"),
)


def test_a_run_makes_one_invoice_for_each_account_and_a_second_run_nothing(engine: sqlalchemy.Engine) -> None:
    provide(engine, *WORLD)
    progress = bill(engine, "2026-01-01")
    assert (progress.accounts, progress.documents, progress.parked) == (2, 2, 0)
    assert documents(engine, "ana") == [("invoice", "F2026-000001", 1000, 210, 1210, 1210)]
    assert documents(engine, "luis") == [("invoice", "F2026-000002", 490, 103, 593, 593)]
    again = bill(engine, "2026-01-01")
    assert again.documents == 0
    assert_books_are_right(engine)
    assert bill(engine, "2026-02-01").documents == 2
    assert bill(engine, "2026-02-10").documents == 0
    assert len(documents(engine, "ana")) == 2
    assert_books_are_right(engine)


def test_a_beginning_has_its_fee_and_its_discount_once(engine: sqlalchemy.Engine) -> None:
    parts = (HEAD, WELCOME, customer("ana"), sold("ana", "fibre", "2026-01-01"))
    provide(engine, *parts)
    provide(engine, *parts)
    for month in ("01", "02", "03"):
        bill(engine, f"2026-{month}-01")
    assert [each[2] for each in documents(engine, "ana")] == [2000 - 1000 + 1500, 1000, 2000]
    found = rows(
        engine, "SELECT text, net FROM document_line WHERE document_id = (SELECT min(id) FROM document) ORDER BY id"
    )
    assert found == [("fibre", 2000), ("fibre: descuento", -1000), ("fibre: alta", 1500)]
    assert_books_are_right(engine)


def test_a_payer_is_billed_for_those_it_pays_for_on_one_document(engine: sqlalchemy.Engine) -> None:
    provide(
        engine, HEAD, customer("ana"), customer("hijo", 'payer = "ana"'), sold("ana", "television", "2026-01-01"),
        sold("hijo", "rent", "2026-01-01"),
    )  # fmt: skip
    bill(engine, "2026-01-01")
    assert documents(engine, "hijo") == []
    assert [each[2] for each in documents(engine, "ana")] == [1490]
    assert_books_are_right(engine)


def test_an_exempt_customer_pays_a_price_with_tax_without_it(engine: sqlalchemy.Engine) -> None:
    head = HEAD.replace('price = "10"', 'price = "12.10"\nprice_includes_tax = true')
    exempt = 'billing = { tax_exempt = "Inversión del sujeto pasivo", reverse_charge = true }'
    provide(
        engine, head, customer("ana"), customer("eva", exempt), sold("ana", "television", "2026-04-01"),
        sold("eva", "television", "2026-04-01", "ends = 2026-05-01"),
    )  # fmt: skip
    bill(engine, "2026-04-01")
    assert documents(engine, "ana") == [("invoice", "F2026-000001", 1000, 210, 1210, 1210)]
    assert documents(engine, "eva") == [("invoice", "F2026-000002", 1000, 0, 1000, 1000)]
    provide(engine, sold("eva", "television", "2026-04-01", "ends = 2026-04-16"))
    bill(engine, "2026-04-20", "eva")
    assert documents(engine, "eva")[1:] == [("credit-note", "A2026-000001", 500, 0, 500, 0)]
    assert_books_are_right(engine)


def test_t2_it_is_the_operators_day_that_counts(engine: sqlalchemy.Engine) -> None:
    """At midnight of UTC it is still 28 February in Bogotá."""
    provide(engine, HEAD.replace("Europe/Madrid", "America/Bogota"), customer("ana"))
    provide(engine, sold("ana", "television", "2023-02-04"))
    for instant, documents_made in (
        ("2023-03-01T00:00Z", 0), ("2023-03-01T05:00Z", 1), ("2023-03-01T06:00Z", 0), ("2023-03-02T05:00Z", 0),
    ):  # fmt: skip
        let_it_be(engine, instant)
        with engine.connect() as connection:
            today = clock.today(connection)
        assert bill(engine, today.isoformat()).documents == documents_made, instant


def test_u10_a_billing_day_that_moves_charges_no_day_twice(engine: sqlalchemy.Engine) -> None:
    head = HEAD.replace('price = "10"', 'price = "249.95"').replace('percent = "21"', 'percent = "0"')
    provide(engine, head, customer("ana", "billing = { billing_day = 15, at_once = true }"))
    provide(engine, sold("ana", "television", "2016-05-01"))
    for on in ("2016-05-01", "2016-05-15", "2016-06-15"):
        assert bill(engine, on).documents == 1, on
    provide(engine, customer("ana", "billing = { billing_day = 10, at_once = true }"))
    assert bill(engine, "2016-06-16", "ana").documents == 0
    bill(engine, "2016-07-10", "ana")
    nets = [net for (net,) in rows(engine, "SELECT net FROM document ORDER BY id")]
    assert nets == [11_664, 24_995, 24_995, 20_964]
    days = rows(engine, "SELECT starts, ends FROM document_line ORDER BY starts")
    assert all(before == starts for (_, before), (starts, _) in pairwise(days)), "each day is charged once"
    assert_books_are_right(engine)


def test_a_discount_for_everything_is_given_once_whenever_a_sale_is_told(engine: sqlalchemy.Engine) -> None:
    """What is sold since January is told in March: the months before are divided anew, and have 5 off all the same."""
    given = '[[discount]]\nname = "loyal"\ncustomer = "ana"\namount = "5"\nstarts = 2026-01-01\n'
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"), given)
    for on in ("2026-01-01", "2026-02-01", "2026-03-01"):
        bill(engine, on)
    provide(engine, sold("ana", "rent", "2026-01-17"))
    bill(engine, "2026-03-02", "ana")
    bill(engine, "2026-04-01")
    assert bill(engine, "2026-04-01", "ana").documents == 0
    off = rows(
        engine,
        """SELECT period_starts, sum(amount)::bigint FROM document_line WHERE component LIKE 'discount-%'
        GROUP BY 1 ORDER BY 1""",
    )
    assert off == [(date(2026, month, 1), -500) for month in (1, 2, 3, 4)]
    assert_books_are_right(engine)
