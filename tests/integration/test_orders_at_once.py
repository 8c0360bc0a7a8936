"""One order that comes twice at the same moment: who comes second waits, and hears what the first one did."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import TypeVar

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.engine import Connection

from storage.billing import credit_notes, subscriptions
from storage.billing.subscriptions import Change
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, provide, rows, sold

DAY = date(2026, 1, 2)
MOST_LOOKS = 10_000
T = TypeVar("T")


def at_once(engine: sqlalchemy.Engine, order: Callable[[Connection], T]) -> tuple[T, T]:
    """Give an order in two transactions, the second while the first is not over; return what each answers."""

    def second() -> T:
        with engine.begin() as connection:
            return order(connection)

    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as connection:
            first = order(connection)
            waiting = thread.submit(second)
            for _ in range(MOST_LOOKS):
                held = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
                if waiting.done() or connection.scalar(held):
                    break
        return first, waiting.result()


def test_a_credit_by_hand_is_one_note(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    (line,) = rows(engine, "SELECT id FROM document_line")[0]
    both = at_once(engine, lambda connection: credit_notes.credit(connection, line, 700, "one", DAY))
    assert both == ("A2026-000001", "A2026-000001")
    assert rows(engine, "SELECT net FROM document WHERE kind = 'credit-note'") == [(700,)]
    assert_books_are_right(engine)


def test_what_is_ordered_about_a_subscription_is_done_once(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "rent", "2026-01-01"))
    (rent,) = rows(engine, "SELECT id FROM subscription")[0]
    order = subscriptions.Start("ana", "television", DAY)
    at_once(
        engine, lambda connection: subscriptions.change(connection, rent, Change(quantity=Decimal(2)), DAY, DAY, "a")
    )
    at_once(engine, lambda connection: subscriptions.pause(connection, rent, DAY, None, DAY, "b"))
    at_once(engine, lambda connection: subscriptions.resume(connection, rent, date(2026, 1, 9), DAY, "c"))
    first, second = at_once(engine, lambda connection: subscriptions.start(connection, order, DAY, "d"))
    assert first == second != rent
    told = "SELECT kind FROM subscription_event WHERE cancelled_at IS NULL ORDER BY id"
    assert rows(engine, told) == [("start",), ("change",), ("pause",), ("resume",), ("start",)]
