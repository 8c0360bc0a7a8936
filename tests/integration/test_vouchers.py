"""Vouchers against a real database: redeemed once, by one customer, and never by who guesses."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
import sqlalchemy

from billing.voucher_codes import digest, new_code, read_code
from storage.billing import vouchers
from storage.billing.vouchers import BatchOrder, Redeemed, RedeemOrder, VoucherError, VoucherRefused
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold

KEY = bytes(range(32))
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = date(2026, 1, 10)
WORLD = """
[[product]]
name = "extra"
kind = "top-up"
price = "3.00"
taxes = ["iva"]
[[plan]]
name = "home"
download = "20M"
[plan.cap]
octets = "10G"
[[plan.top_up]]
name = "extra"
octets = "1G"
[[service]]
login = "ana-line"
password = "a-password"
plan = "home"
customer = "ana"
"""
PREPAID = 'billing = { type = "prepaid-daily" }'


def world(engine: sqlalchemy.Engine, *more: str, billing: str = PREPAID) -> tuple[int, int]:
    provide(engine, HEAD, customer("ana", billing), customer("bob", PREPAID), WORLD, *more)
    ana, bob = (row[0] for row in rows(engine, "SELECT id FROM customer ORDER BY login"))
    return ana, bob


def make(engine: sqlalchemy.Engine, name: str = "autumn", count: int = 3, **more: object) -> list[str]:
    order = BatchOrder(name, count, **({"amount": 1000} | more))  # type: ignore[arg-type]  # its own fields
    with engine.begin() as connection:
        return vouchers.make(connection, KEY, order, DAY)


def redeem(
    engine: sqlalchemy.Engine, customer_id: int, code: str, *, now: datetime = NOW, on: date = DAY,
    service: int | None = None,
) -> Redeemed | VoucherRefused:  # fmt: skip
    with engine.begin() as connection:
        return vouchers.attempt(connection, KEY, RedeemOrder(customer_id, code, service), now, on)


def refused(engine: sqlalchemy.Engine, customer_id: int, code: str, **more: object) -> str:
    outcome = redeem(engine, customer_id, code, **more)  # type: ignore[arg-type]  # as above
    assert isinstance(outcome, VoucherRefused)
    return str(outcome)


def balances(engine: sqlalchemy.Engine) -> dict[str, int]:
    found = rows(
        engine,
        """SELECT a.kind || ' ' || a.name, sum(b.amount) FROM balance AS b
        JOIN ledger_account AS a ON a.id = b.ledger_account_id GROUP BY 1 HAVING sum(b.amount) <> 0""",
    )
    return {str(name).strip(): int(amount) for name, amount in found}


def test_of_a_code_only_a_digest_under_a_key_is_kept(engine: sqlalchemy.Engine) -> None:
    world(engine)
    codes = make(engine)
    assert [read_code(code) for code in codes] == codes
    kept = rows(engine, "SELECT digest, number FROM voucher ORDER BY number")
    assert [(bytes(each), number) for each, number in kept] == [
        (digest(KEY, code), number) for number, code in enumerate(codes, 1)
    ]
    assert balances(engine) == {}, "nothing is in the books before it is redeemed"


def test_money_goes_to_the_wallet_and_lets_the_line_in_again(engine: sqlalchemy.Engine) -> None:
    ana, _ = world(engine, sold("ana", "television", "2026-01-01"))
    code = make(engine)[0]
    bill(engine, "2026-01-10")
    assert rows(engine, "SELECT billing_state FROM service") == [("no_balance",)]
    told = "SELECT count(*) FROM outbox WHERE topic = 'terms'"
    before = rows(engine, told)[0][0]
    outcome = redeem(engine, ana, code)
    assert outcome == Redeemed("autumn", 1, "EUR", 1000, "R2026-000001", None, None)
    assert rows(engine, "SELECT billing_state FROM service") == [("active",)]
    assert rows(engine, told)[0][0] > before
    assert rows(engine, "SELECT method, amount, reference FROM payment") == [("voucher", 1000, "autumn 1")]
    assert balances(engine)["cash voucher"] == 1000
    assert_books_are_right(engine)


def test_money_pays_the_open_invoice_of_who_pays_afterwards(engine: sqlalchemy.Engine) -> None:
    ana, _ = world(engine, sold("ana", "television", "2026-01-01"), billing='billing = { type = "recurring" }')
    bill(engine, "2026-02-01")
    codes = make(engine, amount=1210)
    owed = sum(each[5] for each in documents(engine, "ana"))
    assert isinstance(redeem(engine, ana, codes[0], on=date(2026, 2, 2)), Redeemed)
    assert sum(each[5] for each in documents(engine, "ana")) == owed - 1210
    assert_books_are_right(engine)


def test_the_same_code_of_the_same_customer_is_the_same_redemption(engine: sqlalchemy.Engine) -> None:
    ana, bob = world(engine)
    code = make(engine)[0]
    first = redeem(engine, ana, code)
    again = redeem(engine, ana, code)
    assert isinstance(first, Redeemed)
    assert isinstance(again, Redeemed)
    assert (again.again, again.receipt) == (True, first.receipt)
    assert "redeemed by somebody else" in refused(engine, bob, code)
    provide(engine, customer("ana", PREPAID, 'payer = "bob"'))
    assert redeem(engine, ana, code) == again
    assert balances(engine) == {"cash voucher": 1000, "wallet": -1000}
    assert_books_are_right(engine)


def test_two_customers_at_once_make_one_redemption(engine: sqlalchemy.Engine) -> None:
    both = world(engine)
    codes = make(engine, count=6)
    for code in codes:
        results: list[object] = []
        barrier = threading.Barrier(2)

        def run(who: int, code: str, barrier: threading.Barrier, results: list[object]) -> None:
            barrier.wait()
            results.append(redeem(engine, who, code))

        threads = [threading.Thread(target=partial(run, who, code, barrier, results)) for who in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(type(each).__name__ for each in results) == ["Redeemed", "VoucherRefused"]
    assert rows(engine, "SELECT count(*) FROM payment") == [(6,)]
    assert_books_are_right(engine)


def test_what_is_expired_void_or_unknown_is_refused_with_its_reason(engine: sqlalchemy.Engine) -> None:
    ana, bob = world(engine)
    codes = make(engine, valid_until=date(2026, 3, 31))
    other = make(engine, "other", count=1)[0]
    with engine.begin() as connection:
        assert vouchers.void(connection, "autumn", 2, NOW) == 1
    assert "declared void" in refused(engine, ana, codes[1])
    assert "valid through 2026-03-31" in refused(engine, ana, codes[0], on=date(2026, 4, 1))
    assert isinstance(redeem(engine, ana, codes[0], on=date(2026, 3, 31)), Redeemed)
    unknown = new_code(lambda signs: signs[0])
    assert "no voucher with this code" in refused(engine, ana, unknown)
    with engine.begin() as connection:
        assert vouchers.void(connection, "autumn", None, NOW) == 1, "what was redeemed stays so"
        with pytest.raises(VoucherError, match="voucher 1 of autumn was redeemed"):
            vouchers.void(connection, "autumn", 1, NOW)
        with pytest.raises(VoucherError, match="has no voucher 9"):
            vouchers.void(connection, "autumn", 9, NOW)
    assert isinstance(redeem(engine, bob, other), Redeemed)


def test_who_guesses_is_locked_out_for_a_while_and_only_he(engine: sqlalchemy.Engine) -> None:
    ana, bob = world(engine)
    codes = make(engine, count=4)
    unknown = new_code(lambda signs: signs[1])
    for number in range(vouchers.MOST_FAILURES):
        assert "no voucher" in refused(engine, ana, unknown, now=NOW + timedelta(seconds=number))
    last = NOW + timedelta(seconds=vouchers.MOST_FAILURES - 1)
    assert "try again in 15 min" in refused(engine, ana, codes[0], now=last)
    assert "try again in 1 min" in refused(engine, ana, codes[0], now=last + timedelta(minutes=14, seconds=59))
    assert rows(engine, "SELECT count(*) FROM voucher WHERE redeemed_at IS NOT NULL") == [(0,)]
    assert isinstance(redeem(engine, bob, codes[1], now=last), Redeemed)
    later = last + vouchers.FORGOTTEN_AFTER
    assert "no voucher" in refused(engine, ana, unknown, now=later), "one more is one, not the sixth"
    assert isinstance(redeem(engine, ana, codes[0], now=later), Redeemed)
    assert rows(engine, "SELECT failures FROM voucher_attempt WHERE customer_id = :id", id=ana) == [(0,)]


def test_guesses_at_once_are_counted_each(engine: sqlalchemy.Engine) -> None:
    ana, _ = world(engine)
    unknown = new_code(lambda signs: signs[2])
    told: list[str] = []
    threads = [threading.Thread(target=lambda: told.append(refused(engine, ana, unknown))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("no voucher" in each for each in told) == vouchers.MOST_FAILURES
    assert len(told) == 12


@pytest.mark.parametrize("billing", ["prepaid-daily", "prepaid-period", "recurring"])
def test_a_top_up_is_granted_and_paid_by_the_voucher(engine: sqlalchemy.Engine, billing: str) -> None:
    ana, bob = world(engine, billing=f'billing = {{ type = "{billing}" }}')
    code, other, _ = make(engine, amount=None, offer="extra")
    first, again = redeem(engine, ana, code), redeem(engine, ana, code)
    assert first == Redeemed("autumn", 1, "EUR", None, None, "extra", "ana-line")
    assert again == Redeemed("autumn", 1, "EUR", None, None, "extra", "ana-line", again=True)
    assert rows(engine, "SELECT name, octets, price, charge, origin FROM top_up") == [
        ("extra", 10**9, Decimal("3.00"), "voucher", "voucher")
    ]
    assert balances(engine) == {"cash voucher": 363, "revenue top-up": -300, "tax iva 21": -63}
    assert "no service of this customer" in refused(engine, bob, other)
    assert rows(engine, "SELECT failures FROM voucher_attempt WHERE customer_id = :id", id=bob) == [(0,)]
    assert_books_are_right(engine)
    bill(engine, "2027-03-01", "ana")
    assert balances(engine)["cash voucher"] == 363
    assert_books_are_right(engine)


def test_a_voucher_of_another_currency_is_refused(engine: sqlalchemy.Engine) -> None:
    ana, _ = world(engine, billing='billing = { type = "prepaid-daily", currency = "USD" }')
    assert "of EUR, and the account is in USD" in refused(engine, ana, make(engine)[0])


def test_a_batch_is_made_once_and_of_what_plans_offer(engine: sqlalchemy.Engine) -> None:
    world(engine)
    make(engine)
    with pytest.raises(VoucherError, match="there are vouchers 'autumn' already"):
        make(engine)
    with pytest.raises(VoucherError, match="no plan offers a top-up 'huge'; they offer extra"):
        make(engine, "b", amount=None, offer="huge")
    with pytest.raises(VoucherError, match="would have expired"):
        make(engine, "c", valid_until=date(2026, 1, 9))
    assert rows(engine, "SELECT count(*) FROM voucher") == [(3,)]


def test_cards_are_printed_of_codes_that_are_vouchers(engine: sqlalchemy.Engine) -> None:
    world(engine)
    codes = make(engine)
    with engine.connect() as connection:
        assert [each.number for each in vouchers.cards(connection, KEY, codes[::-1])] == [3, 2, 1]
        with pytest.raises(VoucherError, match="card 2 is no voucher"):
            vouchers.cards(connection, KEY, [codes[0], new_code(lambda signs: signs[3])])
