"""Files of the bank against a real database: what they book, what they leave open, and what comes again."""

from __future__ import annotations

import itertools
from datetime import date

import pytest
import sqlalchemy

from billing import bank_camt, bank_csv
from billing.bank_file import BankEntry
from domain.bank import BankCsv
from storage.billing import bank, bank_booking, clock, ledger, payments
from storage.billing.bank import BankEntryRefused
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
from tests.integration.killed import Killed, killed_before
from tests.integration.test_payments import LINE, PLAN, line_state, look
from tests.unit.billing.camt_file import detail, entry, statement

TERMS = "billing = { block_after = 10 }"
STATES = "SELECT state, why FROM bank_entry ORDER BY id"


@pytest.fixture
def isp(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Provide two customers who were billed long ago, so that the line of one is blocked."""
    provide(
        engine,
        HEAD,
        PLAN,
        customer("ana", TERMS),
        customer("luis.diaz"),
        LINE,
        sold("ana", "television", "2026-01-01"),
        sold("luis.diaz", "rent", "2026-01-01"),
    )
    bill(engine, "2026-01-01")
    return engine


def take(engine: sqlalchemy.Engine, entries: list[BankEntry], *, dry_run: bool = False) -> bank.Intake:
    with engine.begin() as connection:
        return bank.take(connection, "a file", entries, dry_run=dry_run)


def imported(engine: sqlalchemy.Engine, document: bytes) -> list[bank_booking.Booked]:
    """Take a statement in, and book it."""
    take(engine, bank_camt.parse(document))
    return [*bank_booking.book_waiting(engine)]


def test_a_payment_that_names_its_invoice_is_booked_with_its_receipt_and_lets_the_line_in(
    isp: sqlalchemy.Engine,
) -> None:
    look(isp, "2026-01-26")
    assert line_state(isp) == "blocked"
    (booked,) = imported(isp, statement(entry("12.10", detail(text="pago f2026 000001"), reference="B1")))
    assert (booked.state, booked.why) == ("booked", "names F2026-000001: pays it whole")
    assert line_state(isp) == "active"
    assert documents(isp, "ana")[0][5] == 0
    assert rows(isp, "SELECT method, amount, reference FROM payment") == [("transfer", 1210, "pago f2026 000001")]
    assert [each[0] for each in documents(isp, "ana")] == ["invoice", "receipt"]
    assert rows(isp, "SELECT b.payment_id = p.id FROM bank_entry AS b, payment AS p") == [(True,)]
    assert_books_are_right(isp)


def test_an_entry_of_nothing_is_no_payment(isp: sqlalchemy.Engine) -> None:
    (taken,) = take(isp, [BankEntry(1, date(2026, 1, 20), 0, "EUR", text="F2026-000001")]).new
    assert (taken.state, taken.found.why) == ("ignored", bank.PAID_OUT)


def test_the_same_file_twice_and_an_overlapping_one_book_nothing_again(isp: sqlalchemy.Engine) -> None:
    one, two = (entry("1", detail(text="F2026-000001")) for _ in range(2))
    other = entry("2", detail(text="F2026-000001"), day="2026-01-21", reference="B7")
    assert len(imported(isp, statement(one, two))) == 2
    assert imported(isp, statement(one, two)) == []
    assert len(imported(isp, statement(one, two, other, name="S2"))) == 1
    assert rows(isp, "SELECT sum(amount), count(*) FROM payment") == [(400, 3)]
    assert documents(isp, "ana")[0][5] == 810


def test_what_names_nobody_stays_open_and_is_assigned_or_ignored_once(isp: sqlalchemy.Engine) -> None:
    assert imported(isp, statement(entry("5", detail(text="regalo")), entry("7", detail(text="intereses")))) == []
    assert rows(isp, STATES) == [("open", "names no invoice and no customer")] * 2
    (first,), (second,) = rows(isp, "SELECT id FROM bank_entry ORDER BY id")
    (luis,) = rows(isp, "SELECT id FROM customer WHERE login = 'luis.diaz'")[0]
    with isp.begin() as connection:
        assigned = bank_booking.assign(connection, first, luis, (), "noc")
    assert (assigned.amount, assigned.payment.receipt) == (500, "R2026-000001")
    with isp.begin() as connection:
        bank.ignore(connection, second, "interest")
    assert rows(isp, STATES) == [("booked", "assigned by noc"), ("ignored", "interest")]
    assert documents(isp, "luis.diaz")[0][5] == 593 - 500
    with pytest.raises(BankEntryRefused, match="was booked as payment"), isp.begin() as connection:
        bank_booking.assign(connection, first, luis, (), "noc")
    with pytest.raises(BankEntryRefused, match="there is no entry 999"), isp.begin() as connection:
        bank.ignore(connection, 999, "why")


def test_a_returned_direct_debit_takes_back_the_payment_that_it_names(isp: sqlalchemy.Engine) -> None:
    collected = entry("12.10", detail(text="F2026-000001", end_to_end="DD-1"), reference="B1")
    returned = entry(
        "12.10", detail(end_to_end="DD-1"), direction="DBIT", reference="B2", more="<RvslInd>true</RvslInd>"
    )
    assert [each.state for each in imported(isp, statement(collected, returned))] == ["booked", "booked"]
    assert documents(isp, "ana")[0][5] == 1210
    assert rows(isp, "SELECT refunded, reversed FROM payment") == [(1210, True)]
    assert imported(isp, statement(collected, returned)) == []
    assert_books_are_right(isp)


def test_a_reversal_that_names_no_payment_or_another_amount_stays_open(isp: sqlalchemy.Engine) -> None:
    collected = entry("12.10", detail(text="F2026-000001", end_to_end="DD-1"), reference="B1")
    imported(isp, statement(collected))
    for amount, name in (("12.10", "DD-2"), ("13.10", "DD-1")):
        returned = entry(amount, detail("<RtrInf/>", end_to_end=name), direction="DBIT", reference=f"R-{amount}-{name}")
        (booked,) = imported(isp, statement(returned))
        assert booked.state == "open"
        assert "names no payment of this amount" in booked.why
    assert rows(isp, "SELECT refunded FROM payment") == [(0,)]


def test_a_transfer_sent_back_is_found_by_the_invoice_that_it_paid(isp: sqlalchemy.Engine) -> None:
    imported(isp, statement(entry("12.10", detail(text="F2026-000001"), reference="B1")))
    returned = entry("12.10", detail("<RtrInf/>", text="F2026-000001"), direction="DBIT", reference="B2")
    assert [each.state for each in imported(isp, statement(returned))] == ["booked"]
    assert documents(isp, "ana")[0][5] == 1210


def test_what_went_out_is_ignored_and_another_currency_stays_open(isp: sqlalchemy.Engine) -> None:
    foreign = entry("5", detail(text="F2026-000001")).replace("EUR", "USD")
    imported(isp, statement(entry("5", detail(text="F2026-000001"), direction="DBIT"), foreign))
    why = "is in USD, and the customer's account in EUR: assign it with --rate or --worth"
    assert rows(isp, STATES) == [("ignored", "was paid out"), ("open", why)]
    assert rows(isp, "SELECT count(*) FROM payment") == [(0,)]


def test_an_entry_in_another_currency_is_booked_for_what_it_is_worth_and_taken_back_as_it_came(
    isp: sqlalchemy.Engine,
) -> None:
    detailed = detail(text="F2026-000001", end_to_end="DD-1")
    foreign, returned = (
        entry("10", detailed, direction=direction, reference=reference, more=more).replace("EUR", "USD")
        for direction, reference, more in (("CRDT", "B1", ""), ("DBIT", "B2", "<RvslInd>true</RvslInd>"))
    )
    imported(isp, statement(foreign))
    (ana,) = rows(isp, "SELECT id FROM customer WHERE login = 'ana'")[0]
    with isp.begin() as connection:
        assigned = bank_booking.assign(connection, 1, ana, (), "noc", worth=926)
    assert (assigned.amount, documents(isp, "ana")[0][5]) == (926, 1210 - 926)
    balances = rows(
        isp,
        """SELECT a.currency, sum(b.amount) FROM balance AS b JOIN ledger_account AS a ON a.id = b.ledger_account_id
        WHERE a.kind = 'cash' GROUP BY 1""",
    )
    assert balances == [("USD", 1000)]
    assert [each.state for each in imported(isp, statement(returned, name="S2"))] == ["booked"]
    assert documents(isp, "ana")[0][5] == 1210
    assert_books_are_right(isp)


def test_entries_that_are_booked_together_are_what_they_are_one_by_one(isp: sqlalchemy.Engine) -> None:
    """Among them a customer twice, and one entry that was booked before."""
    texts = ("F2026-000001", "luis.diaz", "F2026-000001", "F2026-000002", "luis.diaz")
    entries = (entry("1", detail(text=each), reference=f"B{number}") for number, each in enumerate(texts))
    take(isp, bank_camt.parse(statement(*entries)))
    waiting = bank_booking.waiting(isp)
    bank_booking.book(isp, waiting[1])
    booked = [*bank_booking.book_each(isp, waiting)]
    assert [(each.id, each.state) for each in booked] == [(id_, "booked") for id_ in waiting]
    assert rows(isp, "SELECT count(*), sum(amount) FROM payment") == [(5, 500)]
    assert rows(isp, "SELECT count(*) FROM bank_entry WHERE payment_id IS NULL") == [(0,)]
    numbers = [number for (number,) in rows(isp, "SELECT number FROM document WHERE kind = 'receipt' ORDER BY number")]
    assert numbers == [f"R2026-00000{n}" for n in range(1, 6)]
    assert [*bank_booking.book_each(isp, waiting)] == booked
    assert_books_are_right(isp)


def test_one_that_is_refused_leaves_its_neighbours_booked(isp: sqlalchemy.Engine) -> None:
    foreign = entry("5", detail(text="F2026-000001")).replace("EUR", "USD")
    take(isp, bank_camt.parse(statement(foreign, entry("1", detail(text="luis.diaz")))))
    assert [each.state for each in bank_booking.book_waiting(isp)] == ["open", "booked"]
    assert_books_are_right(isp)


def test_a_run_of_entries_that_is_killed_at_any_statement_is_booked_once(isp: sqlalchemy.Engine) -> None:
    take(isp, bank_camt.parse(statement(entry("1", detail(text="F2026-000001")), entry("2", detail(text="luis.diaz")))))
    done: list[bank_booking.Booked] = []
    for number in itertools.count(1):
        try:
            with killed_before(isp, number):
                done = [*bank_booking.book_each(isp, bank_booking.waiting(isp))]
            break
        except Killed:
            assert rows(isp, "SELECT DISTINCT state FROM bank_entry") == [("matched",)]
            assert rows(isp, "SELECT count(*) FROM payment") == [(0,)]
    assert number > 11
    assert [each.state for each in done] == ["booked", "booked"]
    assert rows(isp, "SELECT count(*) FROM payment") == [(2,)]
    assert_books_are_right(isp)


def test_a_dry_run_tells_everything_and_writes_nothing(isp: sqlalchemy.Engine) -> None:
    entries = bank_camt.parse(statement(entry("5", detail(text="F2026-000001")), entry("5", detail(text="who"))))
    intake = take(isp, entries, dry_run=True)
    assert [each.state for each in intake.new] == ["matched", "open"]
    assert rows(isp, "SELECT count(*) FROM bank_entry") == [(0,)]


def test_booking_that_was_interrupted_is_gone_on_with_and_books_once(isp: sqlalchemy.Engine) -> None:
    """Killed at each statement of a booking in turn: the entry waits, nothing of it is there, the next try books it."""
    take(isp, bank_camt.parse(statement(entry("12.10", detail(text="F2026-000001")))))
    (waiting,) = bank_booking.waiting(isp)
    for number in itertools.count(1):
        try:
            with killed_before(isp, number):
                bank_booking.book(isp, waiting)
            break
        except Killed:
            assert rows(isp, "SELECT state, payment_id FROM bank_entry") == [("matched", None)]
            assert rows(isp, "SELECT count(*) FROM payment") == [(0,)]
    assert number > 11
    assert bank_booking.book(isp, waiting).state == "booked", "a second one finds it done"
    assert rows(isp, "SELECT count(*) FROM payment") == [(1,)]
    assert_books_are_right(isp)


def test_closed_books_leave_an_entry_open_with_the_reason(isp: sqlalchemy.Engine) -> None:
    with isp.begin() as connection:
        ledger.close_through(connection, clock.today(connection))
    (booked,) = imported(isp, statement(entry("5", detail(text="F2026-000001"))))
    assert booked.state == "open"
    assert "books are closed" in booked.why


def test_the_number_of_a_paid_invoice_still_names_its_customer(isp: sqlalchemy.Engine) -> None:
    (ana,) = rows(isp, "SELECT id FROM customer WHERE login = 'ana'")[0]
    with isp.begin() as connection:
        payments.add(connection, payments.Order(ana, 1210, "cash", "one"), date(2026, 1, 2))
    (booked,) = imported(isp, statement(entry("12.10", detail(text="F2026-000001"))))
    assert booked.why == "names F2026-000001, paid already: waits for the next invoice"
    assert rows(isp, "SELECT unused FROM payment ORDER BY id DESC LIMIT 1") == [(1210,)]


def test_columns_of_the_isps_bank_are_provisioned_and_exported(engine: sqlalchemy.Engine) -> None:
    written = 'bank = { date = "Fecha", date_format = "%d/%m/%Y", amount = "Importe", reference = ["Concepto"] }'
    provide(engine, HEAD.replace("due_days = 15", f"due_days = 15, {written}"))
    with engine.connect() as connection:
        form, currency = bank.csv_form(connection)
    assert (form, currency) == (
        BankCsv(date="Fecha", date_format="%d/%m/%Y", amount="Importe", reference=("Concepto",)), "EUR",
    )  # fmt: skip
    assert bank_csv.parse(b"Fecha;Importe;Concepto\n20/01/2026;5;x\n", form, currency)[0].amount == 500
    assert provide(engine, export(engine, VAULT)).changes == ()


def test_a_payment_that_names_a_proforma_pays_the_invoice_that_it_becomes(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana", "billing = { proforma = true }"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    (booked,) = imported(engine, statement(entry("12.10", detail(text="P2026-000002"), reference="B1")))
    assert (booked.state, booked.why) == ("booked", "names P2026-000002: pays it whole")
    assert [(each[0], each[1], each[5]) for each in documents(engine, "ana")[:3]] == [
        ("proforma", "P2026-000001", 1210),
        ("proforma", "P2026-000002", 0),
        ("invoice", "F2026-000001", 0),
    ]
    assert_books_are_right(engine)
