"""Whoever is asked first pays in the end what everybody else is billed, whatever happens in which order."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest
import sqlalchemy

from storage.billing import verification
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, provide, rows, sold
from tests.integration.test_proformas import ASKED, pay

STEPS = 16
SUMS = """SELECT c.login, sum(CASE d.kind WHEN 'credit-note' THEN -d.net ELSE d.net END)::bigint
    FROM document AS d JOIN customer AS c ON c.id = d.customer_id
    WHERE d.kind IN ('invoice', 'credit-note') GROUP BY 1"""
OPEN = "SELECT coalesce(sum(open_amount), 0)::bigint FROM document WHERE customer_id = :id AND kind = 'proforma'"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_proforma_changes_when_something_is_billed_and_never_how_much(engine: sqlalchemy.Engine, seed: int) -> None:
    chance = random.Random(seed)
    provide(engine, HEAD, customer("ana", ASKED), customer("eva"))
    (ana,) = rows(engine, "SELECT id FROM customer WHERE login = 'ana'")[0]
    day = date(2026, 1, 1)

    def sell(product: str, *more: str) -> None:
        provide(engine, HEAD, *(sold(login, product, "2026-01-01", *more) for login in ("ana", "eva")))

    sell("television")
    for number in range(STEPS):
        match chance.choice(["run", "run", "pay", "pay", "overpay", "change", "end"]):
            case "run":
                day += timedelta(days=chance.randint(5, 40))
                bill(engine, day.isoformat())
            case "pay":
                pay(engine, ana, chance.randint(100, 1500), f"{number}", day.isoformat())
            case "overpay":
                pay(engine, ana, 4000, f"{number}", day.isoformat())
            case "change":
                sell("rent", f'quantity = "{chance.randint(1, 4)}"')
            case "end":
                ends = day + timedelta(days=chance.randint(-30, 30))
                sell("television", f"ends = {max(ends, date(2026, 1, 2))}")
    day = max(day, date(2027, 1, 5)) + timedelta(days=31)
    for login in ("ana", "eva", "ana"):
        bill(engine, day.isoformat(), login)
        (owed,) = rows(engine, OPEN, id=ana)[0]
        pay(engine, ana, owed + 1, f"rest {login} {len(rows(engine, 'SELECT id FROM payment'))}", day.isoformat())
    assert rows(engine, OPEN, id=ana) == [(0,)]
    sums = dict(rows(engine, SUMS))
    assert sums["ana"] == sums["eva"]
    assert bill(engine, day.isoformat(), "ana").documents == 0
    assert_books_are_right(engine)
    assert verification.check_chains(engine) == []
