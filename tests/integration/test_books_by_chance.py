"""What is billed, paid, credited and given back in any order: documents sum to the books, a rerun adds nothing."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import count

import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storage.billing import collecting, credit_notes, metered_events, payments
from storage.billing.metered_events import Report
from storage.billing.payments import Order, PaymentError
from storage.errors import OrderRefused
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, provide, rows, sold

FIRST = date(2026, 1, 1)
PRODUCTS = """
[[product]]
name = "films"
price = "1.99"
taxes = ["iva"]
metered = { price = "3.33", bill_at = "20" }
"""
TERMS = "billing = { billing_day = 17, at_once = true }"
_NUMBERS = count(1)

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("pay"), st.integers(1, 5000)),
        st.tuples(st.just("give back"), st.integers(1, 3000)),
        st.tuples(st.just("credit"), st.integers(1, 700)),
        st.tuples(st.just("report"), st.integers(1, 9)),
        st.tuples(st.just("rest"), st.integers(-20, 20)),
    ),
    min_size=4,
    max_size=12,
)


class Life:
    """A customer of whom anything may happen, day after day."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.login = f"c{next(_NUMBERS)}"
        self.engine = engine
        self.today = FIRST
        provide(
            engine, HEAD, PRODUCTS, customer(self.login, TERMS), sold(self.login, "television", "2026-01-01"),
            sold(self.login, "films", "2026-01-01"),
        )  # fmt: skip
        self.id = int(rows(engine, "SELECT id FROM customer WHERE login = :login", login=self.login)[0][0])
        self.bill()

    def bill(self) -> int:
        return bill(self.engine, self.today.isoformat(), self.login).documents

    def act(self, what: str, amount: int) -> None:
        """Do something; what the product refuses has not happened."""
        if what == "wait":
            self.today += timedelta(days=amount)
            self.bill()
            return
        key = f"{self.login}/{next(_NUMBERS)}"
        try:
            with self.engine.begin() as connection:
                if what == "pay":
                    payments.add(connection, Order(self.id, amount, "cash", key), self.today)
                elif what == "give back":
                    payments.give_back(connection, self.last("payment"), amount, key, self.today)
                elif what == "credit":
                    credit_notes.credit(connection, self.last("document_line"), amount, key, self.today)
                elif what == "report":
                    report = Report(f"films of {self.login}", self.today - timedelta(days=3), Decimal(amount), key)
                    metered_events.add(connection, report)
                else:
                    starts = max(FIRST, self.today + timedelta(days=amount))
                    collecting.pause(connection, self.id, starts, starts + timedelta(days=5), self.today)
        except (OrderRefused, PaymentError):
            return

    def last(self, table: str) -> int:
        query = f"SELECT coalesce(max(id), 0) FROM {table} WHERE customer_id = :id"
        if table == "document_line":
            query += " AND credits_line IS NULL AND amount > 0"
        return int(rows(self.engine, query, id=self.id)[0][0])


@settings(
    max_examples=20,
    deadline=None,
    # A life takes half a second: to make a smaller one of those that failed would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ACTS)
def test_documents_less_payments_are_what_the_ledger_says(
    engine: sqlalchemy.Engine, acts: list[tuple[str, int]]
) -> None:
    life = Life(engine)
    for what, amount in acts:
        life.act(what, amount)
    life.bill()
    assert life.bill() == 0
    assert_books_are_right(engine)
    (billed,) = rows(
        engine,
        """SELECT coalesce(sum(CASE kind WHEN 'credit-note' THEN -gross ELSE gross END), 0)::bigint FROM document
        WHERE customer_id = :id AND kind IN ('invoice', 'credit-note')""",
        id=life.id,
    )[0]
    (paid,) = rows(
        engine,
        "SELECT coalesce(sum(amount - refunded), 0)::bigint FROM payment WHERE customer_id = :id AND NOT reversed",
        id=life.id,
    )[0]
    (kept,) = rows(engine, "SELECT coalesce(sum(amount), 0)::bigint FROM balance WHERE customer_id = :id", id=life.id)[
        0
    ]
    assert billed - paid == kept
    (lines,) = rows(
        engine,
        """SELECT sum(l.net + l.tax)::bigint FROM document_line AS l JOIN document AS d ON d.id = l.document_id
        WHERE d.customer_id = :id""",
        id=life.id,
    )[0]
    assert lines == billed
