"""Proformas against a real database: what they move, what they become, and what a change makes of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy
from sqlalchemy import text

from storage import rollup
from storage.billing import credit_notes, gate, payments, proformas, reading, sales, verification
from storage.billing.payments import Booked, Order
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
from tests.integration.test_overage import GIGA, carry, plan, sell
from tests.integration.test_overage import LINE as METERED_LINE
from tests.integration.test_payments import LINE, PLAN, line_state, look

ASKED = "billing = { proforma = true, slow_after = 5, block_after = 10 }"


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a customer who is asked first, with a television and a line, and return its id."""
    provide(engine, HEAD, PLAN, customer("ana", ASKED), LINE, sold("ana", "television", "2026-01-01"))
    return int(rows(engine, "SELECT id FROM customer")[0][0])


def pay(engine: sqlalchemy.Engine, customer_id: int, amount: int, key: str, on: str, *numbered: str) -> Booked:
    with engine.begin() as connection:
        chosen = [reading.document_id(connection, number) for number in numbered]
        return payments.add(
            connection, Order(customer_id, amount, "cash", key, documents=chosen), date.fromisoformat(on)
        )


def told(engine: sqlalchemy.Engine) -> list[tuple[object, ...]]:
    """Return kind, number, gross, open and heir of all that asks or bills."""
    return rows(
        engine,
        """SELECT d.kind, d.number, d.gross, d.open_amount, h.number FROM document AS d
        LEFT JOIN document AS h ON h.id = d.superseded_by WHERE d.kind <> 'receipt' ORDER BY d.id""",
    )


def assert_right(engine: sqlalchemy.Engine) -> None:
    assert_books_are_right(engine)
    assert verification.check_chains(engine) == []


def test_a_proforma_moves_nothing_in_the_books_and_a_rerun_finds_nothing(engine: sqlalchemy.Engine, ana: int) -> None:
    assert bill(engine, "2026-01-01").documents == 1
    assert documents(engine, "ana") == [("proforma", "P2026-000001", 1000, 210, 1210, 1210)]
    assert rows(engine, "SELECT count(*) FROM transfer") == [(0,)]
    for _ in range(2):
        assert bill(engine, "2026-01-01").documents == 0
        assert bill(engine, "2026-01-20", "ana").documents == 0
    assert_right(engine)
    assert ana


def test_a_paid_proforma_is_an_invoice_in_the_same_transaction(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    booked = pay(engine, ana, 1210, "one", "2026-01-05")
    assert [each.amount for each in booked.allocated] == [1210]
    assert booked.unused == 0
    assert told(engine) == [
        ("proforma", "P2026-000001", 1210, 0, "F2026-000001"), ("invoice", "F2026-000001", 1210, 0, None),
    ]  # fmt: skip
    assert rows(engine, "SELECT dated, issued_on, due_on FROM document WHERE kind = 'invoice'") == [
        (date(2026, 1, 5), date(2026, 1, 5), date(2026, 1, 16)),
    ]  # fmt: skip
    assert rows(engine, "SELECT billed_to, revised_from FROM subscription") == [(date(2026, 1, 1), None)]
    assert bill(engine, "2026-01-05", "ana").documents == 0
    assert bill(engine, "2026-02-01").documents == 1
    assert told(engine)[-1] == ("proforma", "P2026-000002", 1210, 1210, None)
    assert_right(engine)


def test_a_part_of_the_money_waits_as_credit_until_there_is_all(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    assert pay(engine, ana, 1000, "one", "2026-01-05").unused == 1000
    assert [each[0] for each in told(engine)] == ["proforma"]
    booked = pay(engine, ana, 300, "two", "2026-01-06")
    assert [each.amount for each in booked.allocated] == [1000, 210]
    assert booked.unused == 90
    assert told(engine)[-1] == ("invoice", "F2026-000001", 1210, 0, None)
    assert_right(engine)


def test_money_for_a_younger_proforma_waits_for_the_older_one(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    provide(engine, sold("ana", "television", "2026-01-01", "ends = 2026-02-01"), sold("ana", "rent", "2026-02-01"))
    bill(engine, "2026-02-01")
    assert [opened for _, _, _, opened, _ in told(engine)] == [1210, 593]
    assert pay(engine, ana, 700, "one", "2026-02-02").unused == 700
    assert [kind for kind, *_ in told(engine)] == ["proforma", "proforma"]
    pay(engine, ana, 600, "two", "2026-02-03")
    assert told(engine)[2:] == [("invoice", "F2026-000001", 1210, 0, None)]
    assert_right(engine)


def test_whoever_was_reminded_of_a_proforma_is_not_reminded_again_of_its_heir(engine: sqlalchemy.Engine) -> None:
    asked = "billing = { proforma = true, reminders = [1] }"
    provide(engine, HEAD, PLAN, customer("ana", asked), LINE, sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    assert [reminder.number for reminder in look(engine, "2026-01-18")] == [1]
    provide(engine, sold("ana", "television", "2026-01-01", "ends = 2026-01-16"))
    bill(engine, "2026-01-19", "ana")
    assert [(kind, opened) for kind, _, _, opened, _ in told(engine)] == [("proforma", 0), ("proforma", 586)]
    assert look(engine, "2026-01-20") == []


def test_one_payment_sent_twice_makes_one_invoice(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    pay(engine, ana, 1210, "one", "2026-01-05")
    assert pay(engine, ana, 1210, "one", "2026-01-05").again
    assert [each[0] for each in told(engine)] == ["proforma", "invoice"]


def test_a_number_that_was_replaced_and_its_heir_are_paid_once(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    provide(engine, HEAD, sold("ana", "television", "2026-01-01", 'quantity = "2"'))
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscription_event SET on_day = '2026-01-01'"))
        connection.execute(text("UPDATE subscription SET revised_from = '2026-01-01'"))
    bill(engine, "2026-01-02", "ana")
    assert told(engine)[0] == ("proforma", "P2026-000001", 1210, 0, "P2026-000002")
    booked = pay(engine, ana, 5000, "one", "2026-01-05", "P2026-000001", "P2026-000002", "P2026-000001")
    assert ([each.amount for each in booked.allocated], booked.unused) == ([2420], 2580)
    assert_right(engine)


def test_two_payments_at_the_same_moment_make_one_invoice(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    with ThreadPoolExecutor(2) as threads:
        paid = list(threads.map(lambda key: pay(engine, ana, 1210, key, "2026-01-05", "P2026-000001"), "ab"))
    assert sorted(each.unused for each in paid) == [0, 1210]
    assert [each[0] for each in told(engine)] == ["proforma", "invoice"]
    assert_right(engine)


def test_a_payment_that_is_given_back_leaves_the_invoice_open(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    booked = pay(engine, ana, 1210, "one", "2026-01-05")
    with engine.begin() as connection:
        payments.give_back(connection, booked.id, None, "back", date(2026, 1, 7), is_reversal=True)
    assert told(engine)[-1] == ("invoice", "F2026-000001", 1210, 1210, None)
    look(engine, "2026-01-26")
    assert line_state(engine) == "blocked"
    assert_right(engine)


def test_the_oldest_proforma_is_paid_first_or_the_chosen_one(engine: sqlalchemy.Engine, ana: int) -> None:
    for month in ("01", "02", "03"):
        bill(engine, f"2026-{month}-01")
    pay(engine, ana, 1210, "one", "2026-03-02", "P2026-000002")
    pay(engine, ana, 1210, "two", "2026-03-03")
    assert told(engine) == [
        ("proforma", "P2026-000001", 1210, 0, "F2026-000002"),
        ("proforma", "P2026-000002", 1210, 0, "F2026-000001"),
        ("proforma", "P2026-000003", 1210, 1210, None),
        ("invoice", "F2026-000001", 1210, 0, None),
        ("invoice", "F2026-000002", 1210, 0, None),
    ]
    assert bill(engine, "2026-03-20", "ana").documents == 0
    assert_right(engine)


def test_a_change_before_the_payment_replaces_the_proforma(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    look(engine, "2026-01-22")
    assert line_state(engine) == "slowed"
    provide(engine, HEAD, sold("ana", "television", "2026-01-01", "ends = 2026-01-16"))
    assert bill(engine, "2026-01-22", "ana").documents == 1
    assert told(engine) == [
        ("proforma", "P2026-000001", 1210, 0, "P2026-000002"),
        ("proforma", "P2026-000002", 484 + 102, 484 + 102, None),
    ]
    due = rows(engine, "SELECT DISTINCT due_on FROM document")
    assert due == [(date(2026, 1, 16),)], "a change does not put a debt off"
    booked = pay(engine, ana, 586, "one", "2026-01-23", "P2026-000001")
    assert [each.amount for each in booked.allocated] == [586], "who pays the old one pays the one in its place"
    assert line_state(engine) == "active"
    assert_right(engine)


def test_what_is_not_sold_any_more_is_not_asked_for(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    provide(engine, HEAD, sold("ana", "television", "2026-01-01", "ends = 2026-01-01"))
    assert bill(engine, "2026-01-02", "ana").documents == 0
    assert told(engine) == [("proforma", "P2026-000001", 1210, 0, None)]
    assert pay(engine, ana, 1210, "one", "2026-01-05", "P2026-000001").unused == 1210
    assert_right(engine)


def test_a_change_after_the_payment_is_credited(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    provide(engine, HEAD, sold("ana", "television", "2026-01-01", "ends = 2026-01-16"))
    pay(engine, ana, 1210, "one", "2026-01-05")
    made = len(told(engine))
    bill(engine, "2026-01-06", "ana")
    assert len(told(engine)) == made, "its end is to come"
    bill(engine, "2026-01-16", "ana")
    kind, number, gross, left, _ = told(engine)[-1]
    assert (kind, number, gross, left) == ("credit-note", "A2026-000001", 1210 - 586, 1210 - 586)
    assert_right(engine)


def test_who_has_the_money_already_gets_the_invoice(engine: sqlalchemy.Engine, ana: int) -> None:
    pay(engine, ana, 3000, "one", "2025-12-30")
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    bill(engine, "2026-03-01")
    assert [(kind, left) for kind, _, _, left, _ in told(engine)] == [
        ("invoice", 0),
        ("invoice", 0),
        ("proforma", 1210),
    ]
    pay(engine, ana, 630, "two", "2026-03-02")
    assert told(engine)[-1] == ("invoice", "F2026-000003", 1210, 0, None)
    assert_right(engine)


def test_a_debt_that_was_asked_for_blocks_as_one_that_was_billed(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    look(engine, "2026-01-26")
    assert line_state(engine) == "blocked"
    pay(engine, ana, 1000, "one", "2026-01-27")
    assert line_state(engine) == "blocked"
    pay(engine, ana, 210, "two", "2026-01-27")
    assert line_state(engine) == "active"
    assert_right(engine)


def test_what_is_paid_of_a_proforma_counts_against_the_least_debt(engine: sqlalchemy.Engine) -> None:
    terms = 'billing = { proforma = true, block_after = 10, minimum_debt = "3" }'
    provide(engine, HEAD, PLAN, customer("ana", terms), LINE, sold("ana", "television", "2026-01-01"))
    (ana,) = rows(engine, "SELECT id FROM customer")[0]
    bill(engine, "2026-01-01")
    pay(engine, ana, 1000, "one", "2026-01-02")
    look(engine, "2026-01-26")
    assert line_state(engine) == "active"


def test_a_withdrawn_proforma_asks_for_nothing_and_frees_the_line(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    look(engine, "2026-01-26")
    (proforma,) = rows(engine, "SELECT id FROM document")[0]
    with engine.begin() as connection:
        proformas.withdraw(connection, proforma, date(2026, 1, 27))
    assert line_state(engine) == "active"
    assert told(engine) == [("proforma", "P2026-000001", 1210, 0, None)]
    with pytest.raises(proformas.ProformaRefused, match="P2026-000001"), engine.begin() as connection:
        proformas.withdraw(connection, proforma, date(2026, 1, 27))
    bill(engine, "2026-02-01")
    assert told(engine)[-1] == ("proforma", "P2026-000002", 2420, 2420, None)
    assert_right(engine)
    assert ana


def test_a_customer_who_is_billed_again_gets_the_invoice_instead(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    provide(engine, HEAD, customer("ana", "billing = {}"))
    bill(engine, "2026-01-02", "ana")
    assert told(engine) == [
        ("proforma", "P2026-000001", 1210, 0, "F2026-000001"), ("invoice", "F2026-000001", 1210, 1210, None),
    ]  # fmt: skip
    assert_right(engine)
    assert ana


def test_what_is_credited_by_hand_pays_a_proforma_too(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    pay(engine, ana, 1210, "one", "2026-01-02")
    bill(engine, "2026-02-01")
    (line,) = rows(engine, "SELECT max(id) FROM document_line WHERE subscription_id IS NOT NULL")[0]
    with engine.begin() as connection:
        credit_notes.credit(connection, line, None, "all", date(2026, 2, 2))
    assert told(engine)[1:] == [
        ("invoice", "F2026-000001", 1210, 0, None),
        ("proforma", "P2026-000002", 1210, 0, "F2026-000002"),
        ("credit-note", "A2026-000001", 1210, 0, None),
        ("invoice", "F2026-000002", 1210, 0, None),
    ]
    assert_right(engine)


def test_one_time_items_and_coupons_are_used_up_by_the_invoice_alone(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO one_off (customer_id, product_id, on_day, unit_price, text)
                SELECT :ana, id, '2026-01-01', 5, 'late-fee' FROM product WHERE code = 'rent'"""),
            {"ana": ana},
        )
        connection.execute(
            text("INSERT INTO discount (customer_id, kind, value, starts) VALUES (:ana, 'coupon', 4, '2026-01-01')"),
            {"ana": ana},
        )
    bill(engine, "2026-01-01")
    assert documents(engine, "ana")[0][2] == 1000 + 500 - 400
    used = "SELECT (SELECT bool_or(billed) FROM one_off), (SELECT sum(amount) FROM document_line WHERE discount_id > 0)"
    assert rows(engine, used) == [(False, None)]
    assert bill(engine, "2026-01-03", "ana").documents == 0
    pay(engine, ana, 2000, "one", "2026-01-05")
    assert rows(engine, used) == [(True, -400)]
    bill(engine, "2026-02-01")
    assert told(engine)[-1][2] == 1210
    assert_right(engine)


def test_usage_is_asked_for_once_and_its_facts_go_on_the_invoice(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, plan(), customer("ana", ASKED), METERED_LINE)
    sell(engine)
    (ana,) = rows(engine, "SELECT id FROM customer")[0]
    carry(engine, "2026-01-10", 107 * GIGA)
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    assert bill(engine, "2026-02-02", "ana").documents == 0
    pay(engine, ana, 1210, "one", "2026-02-03")
    pay(engine, ana, 1331, "two", "2026-02-04")
    assert [each[0] for each in told(engine)] == ["proforma", "proforma", "invoice", "invoice"]
    kept = rows(
        engine,
        """SELECT quantity, amount, usage FROM document_line WHERE component = 'overage' ORDER BY id""",
    )
    assert kept == [(2, 100, kept[0][2])] * 2
    assert kept[0][2]["octets"] == 2 * GIGA
    assert bill(engine, "2026-02-05", "ana").documents == 0
    carry(engine, "2026-01-31", GIGA)
    with engine.begin() as connection:
        rollup.revise(connection, [(1, date(2026, 1, 31))])
    bill(engine, "2026-02-06", "ana")
    assert told(engine)[-1][2] == 61, "what was rated again after the payment is asked for by itself"
    assert_right(engine)


def test_a_payer_is_asked_in_the_place_of_those_for_whom_it_pays(engine: sqlalchemy.Engine, ana: int) -> None:
    let_it_be(engine, "2026-01-01T10:00Z")
    eva = customer("eva", ASKED), sold("eva", "rent", "2026-01-01")
    provide(engine, HEAD, PLAN, *eva)
    bill(engine, "2026-01-01")
    let_it_be(engine, "2026-01-05T10:00Z")
    provide(engine, customer("eva", ASKED, 'payer = "ana"'))
    bill(engine, "2026-01-05")
    assert [each[2:4] for each in told(engine)] == [(1210, 1210), (593, 0), (593, 593)]
    # Left again: what asks for both is replaced.
    let_it_be(engine, "2026-01-06T10:00Z")
    provide(engine, customer("eva", ASKED))
    bill(engine, "2026-01-06")
    asked = "SELECT customer_id = :ana, sum(open_amount)::bigint FROM document WHERE kind = 'proforma' GROUP BY 1"
    assert sorted(rows(engine, asked, ana=ana)) == [(False, 593), (True, 1210)]
    assert_right(engine)


def test_a_charge_that_is_withdrawn_is_asked_for_no_more(engine: sqlalchemy.Engine, ana: int) -> None:
    provide(engine, HEAD, '[[product]]\nname = "setup"\nkind = "one-time"\nprice = "5"\n')
    day = date(2026, 1, 1)
    with engine.begin() as connection:
        setup = sales.charge(connection, sales.Charge(ana, "setup", day, Decimal(1), None, None), "one", day)
    bill(engine, "2026-01-01")
    with engine.begin() as connection:
        sales.withdraw(connection, setup, day)
    assert [each[1:4] for each in told(engine)] == [("P2026-000001", 1710, 0), ("P2026-000002", 1210, 1210)]
    assert pay(engine, ana, 1710, "two", "2026-01-02").unused == 500
    assert told(engine)[-1] == ("invoice", "F2026-000001", 1210, 0, None)
    assert_right(engine)


@pytest.mark.parametrize("chosen", [(), ("P2026-000001",)])
def test_nobody_pays_a_fee_that_was_waived_since_a_proforma_asked_for_it(
    engine: sqlalchemy.Engine, ana: int, chosen: tuple[str, ...]
) -> None:
    day = date(2026, 1, 1)
    with engine.begin() as connection:
        gate.charge(connection, ana, "5", day, "cancellation/1")
    bill(engine, "2026-01-01")
    with engine.begin() as connection:
        connection.execute(text("UPDATE one_off SET withdrawn_at = now()"))
    assert pay(engine, ana, 1710, "one", "2026-01-02", *chosen).unused == 500
    assert told(engine)[-1] == ("invoice", "F2026-000001", 1210, 0, None)
    assert_right(engine)
