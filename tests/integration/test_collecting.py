"""What operators order about collections, against a real database: pauses, days by hand, days on trust, and fees."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy

from storage.billing import collecting, gate, payments
from storage.billing.payments import Order
from storage.errors import OrderRefused
from tests.integration.billed_isp import (
    HEAD,
    assert_books_are_right,
    bill,
    customer,
    let_it_be,
    provide,
    rows,
    sold,
)
from tests.integration.test_payments import LINE, PLAN, line_state, look

FEES = 'due_days = 1, block_after = 1, reactivation_fee = "3", late_fee_after = 2, late_fee = "2"'


def world(engine: sqlalchemy.Engine, billing: str = "") -> int:
    """Provide a customer with a television and a line, and return its id."""
    provide(
        engine, HEAD, PLAN, customer("ana", f"billing = {{ {billing} }}"), LINE,
        sold("ana", "television", "2026-01-01"),
    )  # fmt: skip
    return int(rows(engine, "SELECT id FROM customer")[0][0])


def pause(engine: sqlalchemy.Engine, ana: int, starts: str, ends: str | None, on: str) -> None:
    with engine.begin() as connection:
        until = None if ends is None else date.fromisoformat(ends)
        collecting.pause(connection, ana, date.fromisoformat(starts), until, date.fromisoformat(on))


def resume(engine: sqlalchemy.Engine, ana: int, on: str, today: str) -> None:
    with engine.begin() as connection:
        collecting.resume(connection, ana, date.fromisoformat(on), date.fromisoformat(today))


def pay(engine: sqlalchemy.Engine, ana: int, amount: int, on: str) -> None:
    with engine.begin() as connection:
        payments.add(connection, Order(ana, amount, "cash", f"{on} {amount}"), date.fromisoformat(on))


def fees(engine: sqlalchemy.Engine, kind: str) -> int:
    return int(rows(engine, "SELECT count(*) FROM one_off WHERE text = :kind", kind=kind)[0][0])


def line_on(engine: sqlalchemy.Engine, on: str) -> str:
    look(engine, on)
    return line_state(engine)


def test_a_line_rests_on_the_days_of_a_pause_and_on_no_other(engine: sqlalchemy.Engine) -> None:
    ana = world(engine)
    bill(engine, "2026-01-01")
    pause(engine, ana, "2026-01-10", "2026-01-12", "2026-01-05")
    days = ("2026-01-09", "2026-01-10", "2026-01-11", "2026-01-12")
    assert [line_on(engine, day) for day in days] == ["active", "blocked", "blocked", "active"]


def test_a_pause_until_further_notice_ends_by_an_order_and_the_days_after_it_are_charged(
    engine: sqlalchemy.Engine,
) -> None:
    ana = world(engine)
    bill(engine, "2026-01-01")
    pause(engine, ana, "2026-01-05", None, "2026-01-05")
    pause(engine, ana, "2026-03-01", "2026-03-05", "2026-01-05")
    assert line_state(engine) == "blocked"
    bill(engine, "2026-01-05")
    resume(engine, ana, "2026-01-25", "2026-01-20")
    assert line_on(engine, "2026-01-24") == "blocked"
    assert line_on(engine, "2026-01-25") == "active"
    bill(engine, "2026-02-01")
    bill(engine, "2026-03-01")
    net = rows(engine, "SELECT sum(CASE kind WHEN 'credit-note' THEN -net ELSE net END) FROM document")[0][0]
    assert net == 1000 - round(1000 * 20 / 31) + 1000 + 1000
    with pytest.raises(OrderRefused, match="no pause that goes on"):
        resume(engine, ana, "2026-03-02", "2026-03-02")
    assert_books_are_right(engine)


def test_a_wallet_pays_nothing_for_the_days_of_a_pause_and_the_line_rests(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'type = "prepaid-daily"')
    pay(engine, ana, 5000, "2026-01-01")
    pause(engine, ana, "2026-01-02", "2026-01-04", "2026-01-01")
    for day in ("2026-01-02", "2026-01-03"):
        bill(engine, day)
        assert line_on(engine, day) == "blocked"
    bill(engine, "2026-01-04")
    assert line_on(engine, "2026-01-04") == "active"
    posted = rows(engine, "SELECT posted_on FROM transfer WHERE kind = 'daily' ORDER BY 1")
    assert [day.day for (day,) in posted] == [1, 4]


def test_a_day_by_hand_is_for_the_debts_of_that_day_and_for_no_later_one(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, "due_days = 15, block_after = 1, dates = { block = 2026-01-20 }")
    bill(engine, "2026-01-01")
    assert [line_on(engine, f"2026-01-{day}") for day in (17, 19, 20)] == ["active", "active", "blocked"]
    pay(engine, ana, 1210, "2026-01-21")
    bill(engine, "2026-02-01")
    assert [line_on(engine, f"2026-02-{day:02}") for day in (1, 16, 17)] == ["active", "active", "blocked"]


def test_trust_then_a_part_then_all_is_one_late_fee_and_one_reactivation_fee(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, FEES + ", trust_unlock = { days = 2 }")
    bill(engine, "2026-01-01")
    assert line_on(engine, "2026-01-04") == "blocked"
    with engine.begin() as connection:
        collecting.trust(connection, ana, date(2026, 1, 4))
    assert line_on(engine, "2026-01-05") == "active"
    pay(engine, ana, 500, "2026-01-05")
    assert line_on(engine, "2026-01-06") == "blocked"
    pay(engine, ana, 710, "2026-01-07")
    assert line_state(engine) == "active"
    assert (fees(engine, "late-fee"), fees(engine, "reactivation-fee")) == (1, 1)


def test_a_promise_that_is_broken_is_one_reactivation_fee_and_another_debt_another(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, FEES)
    bill(engine, "2026-01-01")
    assert line_on(engine, "2026-01-04") == "blocked"
    with engine.begin() as connection:
        collecting.promise(connection, ana, date(2026, 1, 6), date(2026, 1, 4))
    assert [line_on(engine, f"2026-01-0{day}") for day in (6, 7)] == ["active", "blocked"]
    pay(engine, ana, 1210, "2026-01-08")
    assert fees(engine, "reactivation-fee") == 1
    bill(engine, "2026-02-01")
    assert line_on(engine, "2026-02-04") == "blocked"
    pay(engine, ana, 5000, "2026-02-05")
    assert (line_state(engine), fees(engine, "reactivation-fee")) == ("active", 2)
    assert_books_are_right(engine)


def test_the_last_promise_stands_and_may_be_withdrawn(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, "due_days = 1, block_after = 1")
    bill(engine, "2026-01-01")
    for until, state in ((date(2036, 1, 4), "active"), (date(2026, 1, 4), "active"), (None, "blocked")):
        with engine.begin() as connection:
            collecting.promise(connection, ana, until, date(2026, 1, 4))
            (standing,) = gate.load(connection, [ana], date(2026, 1, 4))
        assert standing.situation.promised_until == until
        assert line_state(engine) == state


def test_a_promise_holds_the_cuts_of_whoever_made_it_and_of_nobody_else(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, FEES)
    provide(engine, customer("eva"))
    bill(engine, "2026-01-01")
    eva = int(rows(engine, "SELECT id FROM customer WHERE login = 'eva'")[0][0])
    with engine.begin() as connection:
        collecting.promise(connection, eva, date(2026, 1, 20), date(2026, 1, 1))
    assert line_on(engine, "2026-01-04") == "blocked"
    with engine.begin() as connection:
        collecting.promise(connection, ana, date(2026, 1, 20), date(2026, 1, 4))
    assert line_state(engine) == "active"


def test_whoever_was_given_up_for_a_debt_comes_back_when_it_is_paid_and_not_before(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, 'due_days = 1, block_after = 1, deactivate_after = 5, reactivation_fee = "3"')
    bill(engine, "2026-01-01")
    assert [line_on(engine, day) for day in ("2026-01-03", "2026-01-08")] == ["blocked", "blocked"]
    assert rows(engine, "SELECT state FROM account") == [("inactive",)]
    pay(engine, ana, 1000, "2026-01-10")
    assert rows(engine, "SELECT state FROM account") == [("inactive",)]
    pay(engine, ana, 210, "2026-01-11")
    assert rows(engine, "SELECT state FROM account") == [("active",)]
    assert (line_state(engine), fees(engine, "reactivation-fee")) == ("active", 1)
    assert rows(engine, "SELECT cause, starts, ends FROM rest") == [("debt", date(2026, 1, 8), date(2026, 1, 11))]
    bill(engine, "2026-02-01")
    net = rows(engine, "SELECT sum(CASE kind WHEN 'credit-note' THEN -net ELSE net END) FROM document")[0][0]
    receipts = 1210
    assert net - receipts == 1000 - round(1000 * 3 / 31) + 300 + 1000
    assert_books_are_right(engine)


def test_whoever_an_operator_gave_up_stays_so_whatever_is_paid(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, "due_days = 1, block_after = 1, deactivate_after = 5")
    bill(engine, "2026-01-01")
    with engine.begin() as connection:
        collecting.set_active(connection, ana, False, date(2026, 1, 2))
    look(engine, "2026-01-20")
    pay(engine, ana, 1210, "2026-01-20")
    assert rows(engine, "SELECT state FROM account") == [("inactive",)]
    assert line_state(engine) == "blocked"
    with engine.begin() as connection:
        collecting.set_active(connection, ana, True, date(2026, 1, 21))
    assert line_state(engine) == "active"


def test_trust_is_for_lines_that_are_cut(engine: sqlalchemy.Engine) -> None:
    ana = world(engine, "due_days = 1, block_after = 5, trust_unlock = { days = 2 }")
    bill(engine, "2026-01-01")
    with pytest.raises(collecting.NotTrusted, match="is not cut"), engine.begin() as connection:
        collecting.trust(connection, ana, date(2026, 1, 3))


@pytest.mark.parametrize(("cuts", "state"), [("true", "blocked"), ("false", "active")])
def test_what_is_charged_once_cuts_lines_only_where_the_terms_say_so(
    engine: sqlalchemy.Engine, cuts: str, state: str
) -> None:
    terms = f"billing = {{ due_days = 1, block_after = 1, reminders = [2], one_time_cuts = {cuts} }}"
    provide(engine, HEAD, PLAN, customer("ana", terms), LINE)
    ana = int(rows(engine, "SELECT id FROM customer")[0][0])
    with engine.begin() as connection:
        gate.charge(connection, ana, "30", date(2026, 1, 1), "visit/1")
        gate.reassess(connection, [ana], date(2026, 1, 1))
    bill(engine, "2026-01-01", "ana")
    assert line_on(engine, "2026-01-03") == state
    assert [each.number for each in look(engine, "2026-01-04")] == [1]


def test_what_is_ordered_about_a_customer_without_an_account_is_refused(engine: sqlalchemy.Engine) -> None:
    nobody, day = world(engine) + 1, date(2026, 1, 1)
    with pytest.raises(OrderRefused, match="nothing was ever sold"), engine.begin() as connection:
        collecting.trust(connection, nobody, day)
    with pytest.raises(OrderRefused, match="nothing was ever sold"), engine.begin() as connection:
        collecting.pause(connection, nobody, day, None, day)


def test_days_of_rest_are_those_on_which_a_payer_paid(engine: sqlalchemy.Engine) -> None:
    def charged() -> list[tuple[object, ...]]:
        return rows(engine, """SELECT d.customer_id, l.starts, l.ends, l.amount FROM document_line AS l
            JOIN document AS d ON d.id = l.document_id JOIN customer AS c ON c.id = l.customer_id
            WHERE c.login = 'eva' ORDER BY l.id""")  # fmt: skip

    let_it_be(engine, "2026-01-01T10:00Z")
    eva = customer("eva"), sold("eva", "television", "2026-01-01")
    provide(engine, HEAD, customer("ana"), sold("ana", "rent", "2026-01-01"), *eva)
    ana, own = (id_ for (id_,) in rows(engine, "SELECT id FROM customer ORDER BY login"))
    with engine.begin() as connection:
        collecting.pause(connection, ana, date(2026, 1, 5), date(2026, 1, 20), date(2026, 1, 1))
    bill(engine, "2026-01-01")
    let_it_be(engine, "2026-01-25T10:00Z")
    provide(engine, customer("eva", 'payer = "ana"'))
    bill(engine, "2026-02-01")
    jan, feb, mar = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)
    assert charged() == [(own, jan, feb, 1000), (ana, feb, mar, 1000)]
    with engine.begin() as connection:
        collecting.set_active(connection, ana, False, date(2026, 2, 20))
    let_it_be(engine, "2026-03-17T10:00Z")
    provide(engine, customer("eva"))
    bill(engine, "2026-03-17")
    bill(engine, "2026-04-01")
    # Sixteen days of March were not served.
    april = date(2026, 4, 1)
    assert charged()[2:] == [(own, date(2026, 3, 17), april, 484), (own, april, date(2026, 5, 1), 1000)]
    assert_books_are_right(engine)
