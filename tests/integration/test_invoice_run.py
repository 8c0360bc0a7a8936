"""The invoice run against a real database: what it makes, what it leaves alone, and what a second run finds."""

from __future__ import annotations

import sqlalchemy

from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, sold

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
