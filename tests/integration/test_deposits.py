"""What is held for customers and what is given up: in the books, never more than there is, once for each key."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy

from storage.billing import deposits, payments
from storage.billing.deposits import DepositOrder, DepositRefused
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold

DAY = date(2026, 1, 2)


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a customer who owes 12.10."""
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    return int(rows(engine, "SELECT id FROM customer")[0][0])


def balances(engine: sqlalchemy.Engine) -> dict[str, int]:
    found = rows(
        engine,
        """SELECT a.kind, sum(b.amount)::bigint FROM balance AS b JOIN ledger_account AS a ON a.id = b.ledger_account_id
        WHERE a.kind NOT IN ('revenue', 'tax') GROUP BY 1 HAVING sum(b.amount) <> 0""",
    )
    return dict(found)


def test_a_deposit_pays_nothing_by_itself_and_is_given_back_once(engine: sqlalchemy.Engine, ana: int) -> None:
    for _ in range(2):
        with engine.begin() as connection:
            assert deposits.take(connection, DepositOrder(ana, 6000, "cash", "one"), DAY) == 6000
    assert documents(engine, "ana")[0][5] == 1210
    assert balances(engine) == {"receivable": 1210, "cash": 6000, "deposit": -6000}
    for _ in range(2):
        with engine.begin() as connection:
            assert deposits.give_back(connection, DepositOrder(ana, 2500, "cash", "two"), DAY) == 3500
    with engine.begin() as connection, pytest.raises(DepositRefused, match=r"35\.00 EUR are held"):
        deposits.give_back(connection, DepositOrder(ana, 3501, "cash", "three"), DAY)
    with engine.begin() as connection:
        assert deposits.give_back(connection, DepositOrder(ana, None, "cash", "four"), DAY) == 0
    assert balances(engine) == {"receivable": 1210}
    assert_books_are_right(engine)


def test_a_deposit_pays_what_is_open_and_comes_back_with_the_payment(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        deposits.take(connection, DepositOrder(ana, 2000, "transfer", "one"), DAY)
        booked = deposits.use(connection, DepositOrder(ana, None, "", "two"), DAY)
        assert deposits.use(connection, DepositOrder(ana, None, "", "two"), DAY).again
    assert booked.receipt is not None
    assert [each[5] for each in documents(engine, "ana") if each[0] == "invoice"] == [0]
    assert balances(engine) == {"cash": 2000, "deposit": -790}
    with engine.begin() as connection, pytest.raises(DepositRefused, match="nothing is open"):
        deposits.use(connection, DepositOrder(ana, None, "", "three"), DAY)
    with engine.begin() as connection:
        payments.give_back(connection, booked.id, None, "four", DAY)
        assert deposits.held(connection, ana) == 2000
    assert balances(engine) == {"receivable": 1210, "cash": 2000, "deposit": -2000}
    assert_books_are_right(engine)


def test_what_is_written_off_is_no_debt_until_it_is_taken_back(engine: sqlalchemy.Engine, ana: int) -> None:
    document = int(rows(engine, "SELECT id FROM document")[0][0])

    def write_off(amount: int | None, key: str) -> int:
        with engine.begin() as connection:
            order = deposits.write_off(connection, document, amount, key, DAY, reason="moved", made_by="eva")
            return order.id

    write_off(210, "part")
    with pytest.raises(DepositRefused, match=r"10\.00 EUR are open"):
        write_off(1001, "too much")
    rest = write_off(None, "rest")
    assert write_off(None, "rest") == rest
    assert documents(engine, "ana") == [("invoice", "F2026-000001", 1000, 210, 1210, 0)]
    assert balances(engine) == {"write-off": 1210}
    for amount in (None, 1):
        with pytest.raises(DepositRefused, match=r"0\.00 EUR are open"):
            write_off(amount, "nothing is left")
    with engine.begin() as connection:
        payments.give_back(connection, rest, None, "back", DAY, is_reversal=True)
    assert balances(engine) == {"write-off": 210, "receivable": 1000}
    assert documents(engine, "ana")[0][5] == 1000
    assert_books_are_right(engine)
