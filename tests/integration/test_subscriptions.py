"""What a clerk orders about sales, against a real database: events, lines, fees, discounts, sub-accounts."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from storage.billing import collecting, discounts, gate, provisioning, reading, sales, selling, subscriptions
from storage.billing.discounts import NewDiscount
from storage.billing.subscriptions import Change, Start
from storage.errors import OrderRefused
from storage.exporting import export
from tests.integration.billed_isp import (
    HEAD,
    VAULT,
    assert_books_are_right,
    bill,
    customer,
    documents,
    let_it_be,
    provide,
    rows,
    sold,
)
from tests.integration.test_bundles import line, ordered, present, today

PLAN = """
[[plan]]
name = "fibre"
price = "30"
taxes = ["iva"]
contract = { months = 12, prior_cancellation_fee = "50" }
[[product]]
name = "installation"
kind = "one-time"
price = "49"
taxes = ["iva"]
"""
JANUARY = date(2026, 1, 1)


def lines(engine: sqlalchemy.Engine, login: str) -> list[tuple[Any, ...]]:
    """Return texts and amounts of what a customer was billed."""
    return rows(
        engine,
        """SELECT l.text, l.net FROM document_line AS l JOIN document AS d ON d.id = l.document_id
        JOIN customer AS c ON c.id = d.customer_id WHERE c.login = :login ORDER BY d.id, l.position""",
        login=login,
    )


def line_state(engine: sqlalchemy.Engine, login: str, on: date) -> str:
    """Return what billing lets a line do on a day."""
    with engine.begin() as connection:
        payers = connection.scalars(text("SELECT customer_id FROM account")).all()
        gate.reassess(connection, payers, on)
    return str(rows(engine, "SELECT billing_state FROM service WHERE login = :login", login=login)[0][0])


def test_what_is_sold_changed_and_ended_by_orders_is_billed_to_the_day(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"))
    with engine.begin() as connection:
        order = Start("ana", "television", JANUARY, quantity=Decimal(2))
        subscriptions.start(connection, order, JANUARY)
    bill(engine, "2026-01-01", "ana")
    ordered(engine, subscriptions.change, "television of ana", Change(quantity=Decimal(1)), date(2026, 1, 17))
    ordered(engine, subscriptions.stop, "television of ana", date(2026, 1, 25))
    bill(engine, "2026-02-01", "ana")
    # 2 x 10.00 x 16/31 and 10.00 x 8/31.
    assert sum(net for _, net in lines(engine, "ana")) == 1032 + 258
    assert_books_are_right(engine)


def test_days_of_a_pause_are_not_charged_and_the_line_is_not_let_in(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLAN, customer("ana"), line("ana"))
    day = today(engine)
    ordered(engine, subscriptions.pause, "ana", day + timedelta(days=3), day + timedelta(days=5))
    states = [line_state(engine, "ana", day + timedelta(days=after)) for after in (0, 3, 4, 5)]
    assert states == ["active", "blocked", "blocked", "active"]
    looked = "SELECT next_look_on FROM account"
    line_state(engine, "ana", day)
    assert rows(engine, looked) == [(day + timedelta(days=3),)]
    with pytest.raises(OrderRefused, match=r"is active on .* and nothing else is to come"):
        ordered(engine, subscriptions.resume, "ana", day + timedelta(days=5))


def test_a_line_is_let_in_until_its_sale_ends_and_again_when_it_is_sold_again(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLAN, customer("ana"), line("ana"))
    day = today(engine)
    ends = day + timedelta(days=10)
    ordered(engine, subscriptions.stop, "ana", ends)
    assert [line_state(engine, "ana", on) for on in (day, ends)] == ["active", "blocked"]
    with engine.begin() as connection:
        again = Start("ana", "fibre", ends + timedelta(days=5), service="ana")
        subscriptions.start(connection, again, day)
    assert line_state(engine, "ana", ends + timedelta(days=5)) == "active"
    # The second contract begins with the second sale.
    assert rows(engine, "SELECT contract_began FROM subscription") == [(ends + timedelta(days=5),)]


def test_a_plan_without_a_bundle_has_a_contract_too(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLAN, customer("ana"), line("ana"))
    cost = ordered(engine, subscriptions.stop, "ana", today(engine) + timedelta(days=40))
    assert cost.fee == 50
    free = ordered(engine, subscriptions.stop, "ana", today(engine) + timedelta(days=41), free=True)
    assert free.fee == 0
    assert rows(engine, "SELECT unit_price, withdrawn_at IS NULL FROM one_off") == [(Decimal(0), False)]


def test_the_contract_is_the_one_that_was_agreed_whatever_the_product_becomes(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLAN, customer("ana"), line("ana"))
    provide(engine, HEAD, PLAN.replace('"50"', '"500"'))
    assert ordered(engine, subscriptions.stop, "ana", today(engine) + timedelta(days=40)).fee == 50


def test_an_end_in_the_file_is_charged_like_one_by_order(engine: sqlalchemy.Engine) -> None:
    bound = HEAD.replace('name = "rent"', 'name = "rent"\ncontract = { months = 12, fee_per_month = "2" }')
    provide(engine, bound, customer("ana"), sold("ana", "rent", "2099-01-01"))
    provide(engine, sold("ana", "rent", "2099-01-01", "ends = 2099-07-01"))
    assert rows(engine, "SELECT unit_price, on_day FROM one_off") == [(Decimal(12), date(2099, 7, 1))]
    provide(engine, sold("ana", "rent", "2099-01-01"))
    assert rows(engine, "SELECT withdrawn_at IS NOT NULL FROM one_off") == [(True,)]


def test_a_file_without_an_end_does_not_take_back_one_that_has_been(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "rent", "2026-01-01"))
    ordered(engine, subscriptions.stop, "rent of ana", today(engine))
    assert provide(engine, sold("ana", "rent", "2026-01-01")).changes == ()
    assert present(engine, "ana", today(engine))[0][5] == "stopped"


def test_a_fee_that_is_on_a_document_is_not_changed_by_another_end(engine: sqlalchemy.Engine) -> None:
    bound = HEAD.replace('name = "rent"', 'name = "rent"\ncontract = { months = 12, fee_per_month = "2" }')
    provide(engine, bound, customer("ana"), sold("ana", "rent", "2026-01-01", "ends = 2026-03-01"))
    bill(engine, "2026-03-01", "ana")
    with pytest.raises(OrderRefused, match="caudal invoice credit"):
        provide(engine, sold("ana", "rent", "2026-01-01", "ends = 2026-05-01"))


FASTER = """
[[plan]]
name = "small"
price = "200"
download = "10M"
change_fee = "30"
contract = { months = 12, prior_cancellation_fee = "50" }
[[plan]]
name = "large"
price = "100"
download = "100M"
"""


def plan_of(engine: sqlalchemy.Engine, login: str) -> str:
    query = "SELECT p.name FROM service AS s JOIN plan AS p ON p.id = s.plan_id WHERE s.login = :login"
    return str(rows(engine, query, login=login)[0][0])


def begun_on(engine: sqlalchemy.Engine, first: date) -> None:
    """Let everything that was sold have been sold from a day on."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscription_event SET on_day = :first"), {"first": first})
        connection.execute(text("UPDATE subscription SET revised_from = :first"), {"first": first})
        connection.execute(
            text("UPDATE subscription SET contract_began = :first WHERE contract IS NOT NULL"), {"first": first}
        )


def test_a_change_of_plan_gives_back_what_is_left_less_its_fee(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, FASTER, customer("ana"), line("ana", "small"))
    begun_on(engine, JANUARY)
    bill(engine, "2026-01-01", "ana")
    ordered(engine, subscriptions.change, "ana", Change("large"), date(2026, 1, 20))
    assert plan_of(engine, "ana") == "large"
    assert rows(engine, "SELECT count(*) FROM outbox WHERE topic = 'changed'") != [(0,)]
    bill(engine, "2026-01-20", "ana")
    # 200 less 19 of 31 days is 77.42, less 30; 12 days of the other plan are 38.71, and 8.71 are left.
    assert documents(engine, "ana")[-1][:5] == ("credit-note", "A2026-000001", 871, 0, 871)
    assert ("Cambio de tarifa", 3000) in lines(engine, "ana")
    assert_books_are_right(engine)


def small_line(engine: sqlalchemy.Engine) -> tuple[date, date]:
    """Sell a line from the first of the month on and bill it; return today and a day to come."""
    provide(engine, HEAD, FASTER, customer("ana"), line("ana", "small"))
    day = today(engine)
    begun_on(engine, day.replace(day=1))
    bill(engine, day.replace(day=1).isoformat(), "ana")
    return day, day + timedelta(days=9)


def test_a_plan_is_changed_on_a_day_to_come_and_not_before(engine: sqlalchemy.Engine) -> None:
    day, comes = small_line(engine)
    ordered(engine, subscriptions.change, "ana", Change("large"), comes)
    bill(engine, day.isoformat(), "ana")
    assert len(documents(engine, "ana")) == 1
    assert (plan_of(engine, "ana"), ordered(engine, subscriptions.stop, "ana", comes, free=True).fee) == ("small", 0)
    ordered(engine, subscriptions.resume, "ana", day)
    # The old contract binds until then: an end before the change costs what it costs.
    ordered(engine, subscriptions.change, "ana", Change("large"), comes)
    assert ordered(engine, subscriptions.stop, "ana", comes - timedelta(days=1)).fee == 50
    ordered(engine, subscriptions.resume, "ana", day)
    ordered(engine, subscriptions.change, "ana", Change("large"), comes)
    assert provide(engine, HEAD, FASTER, line("ana", "small")).changes == ()
    with engine.begin() as connection:
        assert provisioning.follow_services(connection, day) == 0, "what is to come is no change that a file makes"
    line_state(engine, "ana", comes - timedelta(days=1))
    assert plan_of(engine, "ana") == "small"
    assert rows(engine, "SELECT next_look_on FROM account") == [(comes,)]
    line_state(engine, "ana", comes)
    assert plan_of(engine, "ana") == "large"
    with engine.connect() as connection:
        assert selling.cost_of_end(connection, subscriptions.find(connection, "ana"), comes).fee == 50


def test_a_file_moves_no_line_back_on_the_day_of_an_ordered_change(engine: sqlalchemy.Engine) -> None:
    _, comes = small_line(engine)
    ordered(engine, subscriptions.change, "ana", Change("large"), comes)
    with engine.begin() as connection:
        assert provisioning.follow_services(connection, comes) == 0
    assert plan_of(engine, "ana") == "large"


def test_a_change_that_is_taken_back_leaves_nothing(engine: sqlalchemy.Engine) -> None:
    day, comes = small_line(engine)
    ordered(engine, subscriptions.change, "ana", Change("large"), comes)
    ordered(engine, subscriptions.resume, "ana", day)
    line_state(engine, "ana", comes)
    assert plan_of(engine, "ana") == "small"
    bill(engine, comes.isoformat(), "ana")
    assert sum(net for _, net in lines(engine, "ana")) % 20000 == 0
    assert {kind for kind, *_ in documents(engine, "ana")} == {"invoice"}
    with pytest.raises(OrderRefused, match="nothing else is to come"):
        ordered(engine, subscriptions.resume, "ana", day)


def test_a_plan_that_a_partner_does_not_sell_is_refused_to_its_customers(engine: sqlalchemy.Engine) -> None:
    north = '[[partner]]\nname = "north"\n'
    own = FASTER.replace('name = "large"', 'name = "large"\npartners = ["north"]')
    provide(engine, HEAD, north, own, customer("ana"), line("ana", "small"))
    with pytest.raises(OrderRefused, match='"large" is sold by "north", not by "main"'):
        ordered(engine, subscriptions.change, "ana", Change("large"), today(engine))


def test_a_line_that_is_off_and_billed_is_warned_of(engine: sqlalchemy.Engine) -> None:
    off = line("ana", "small") + "enabled = false\n"
    (warning,) = provide(engine, HEAD, FASTER, customer("ana"), off).warnings
    assert "service.enabled: lets nobody in, and goes on being billed" in warning.message
    (warning,) = provide(engine, line("ana", "small") + "expires = 2026-01-01\n").warnings
    assert "service.expires" in warning.message
    assert provide(engine, line("ana", "small")).warnings == ()
    ordered(engine, subscriptions.pause, "ana", today(engine), None)
    assert provide(engine, off).warnings == ()


def test_a_line_that_is_off_and_costs_nothing_is_not_warned_of(engine: sqlalchemy.Engine) -> None:
    free = FASTER.replace('price = "200"', 'price = "0"')
    assert free != FASTER
    assert provide(engine, HEAD, free, customer("ana"), line("ana", "small") + "enabled = false\n").warnings == ()


def test_p17_the_day_of_an_end_is_the_last_one_where_the_product_says_so(engine: sqlalchemy.Engine) -> None:
    head = HEAD.replace('price = "10"', 'price = "910"\nevery = "3 months"\nlast_day_charged = true')
    ends = sold("ana", "television", "2024-05-20", "ends = 2024-06-20")
    provide(engine, head, customer("ana", "billing = { in_arrears = true }"), ends)
    assert provide(engine, ends).changes == ()
    bill(engine, "2024-09-01", "ana")
    # A quarter from its own first day has 92 days, of which 32 are charged.
    assert lines(engine, "ana") == [("television", round(91000 * 32 / 92))]
    written = export(engine, VAULT, secrets=True)
    assert "ends = 2024-06-20" in written
    assert provide(engine, written).changes == ()
    assert present(engine, "ana", today(engine))[0][5] == "stopped"
    with engine.begin() as connection:
        order = Start("ana", "television", JANUARY, ends=date(2026, 1, 31), name="again")
        sale = subscriptions.start(connection, order, JANUARY)
        assert sales.shown(connection, sale, JANUARY)["ends"] == date(2026, 1, 31)
        stops = "SELECT on_day FROM subscription_event WHERE kind = 'stop' AND subscription_id = :id"
        assert connection.scalar(text(stops), {"id": sale}) == date(2026, 2, 1)


def test_a_plan_that_a_file_changes_costs_its_fee_once(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, FASTER, customer("ana"), line("ana", "small"))
    for _ in range(2):
        provide(engine, line("ana", "large"))
    assert rows(engine, "SELECT unit_price, on_day FROM one_off") == [(Decimal(30), today(engine))]


def test_orders_that_cannot_be_are_refused_with_what_to_do(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLAN, customer("ana"), customer("eva"), line("ana"), sold("ana", "rent", "2026-01-01"))
    day = today(engine)
    ordered(engine, subscriptions.stop, "rent of ana", date(2026, 2, 1))

    def refused(order: object, *more: object, match: str) -> None:
        with pytest.raises(OrderRefused, match=match):
            ordered(engine, order, *more)  # type: ignore[arg-type]  # what each case says

    refused(subscriptions.pause, "rent of ana", day, None, match="is stopped")
    refused(subscriptions.resume, "rent of ana", day, match="begin it again")
    refused(subscriptions.resume, "ana", day, match="nothing else is to come")
    refused(subscriptions.change, "ana", Change("television"), day, match="not exchanged")
    refused(subscriptions.change, "rent of ana", Change(price=Decimal(1)), day, match="has ended")
    refused(subscriptions.stop, "rent of ana", day, match="has ended before")
    refused(subscriptions.stop, "nothing", day, match="no subscription")
    for order, match in (
        (Start("ana", "fibre", day), "with --service"),
        (Start("ana", "fibre", day, service="ana"), "is sold already"),
        (Start("eva", "television", day, service="ana"), "is no service of this customer"),
        (Start("ana", "installation", day), "caudal charge add"),
        (Start("ana", "radio", day), "no product"),
        (Start("nobody", "rent", day), "no customer"),
        (Start("ana", "rent", day, name="rent of ana"), "give this one another --name"),
    ):
        with engine.begin() as connection, pytest.raises(OrderRefused, match=match):
            subscriptions.start(connection, order, day)


def test_an_order_with_the_same_key_is_done_once(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "rent", "2026-01-01"))
    for _ in range(2):
        ordered(engine, subscriptions.pause, "rent of ana", date(2026, 2, 1), date(2026, 3, 1), key="pause")
        ordered(engine, subscriptions.stop, "rent of ana", date(2026, 5, 1), key="stop")
    assert rows(engine, "SELECT kind FROM subscription_event ORDER BY id") == [
        ("start",), ("pause",), ("resume",), ("stop",),
    ]  # fmt: skip


def test_a_one_time_item_is_charged_once_and_may_be_withdrawn_before(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, PLAN, customer("ana"))
    ana = rows(engine, "SELECT id FROM customer")[0][0]
    with engine.begin() as connection:
        wanted = sales.Charge(ana, "installation", JANUARY, Decimal(1), None, None)
        first = sales.charge(connection, wanted, "one", JANUARY)
        assert sales.charge(connection, wanted, "one", JANUARY) == first
        other = sales.charge(connection, wanted, "two", JANUARY)
        sales.withdraw(connection, other, JANUARY)
    bill(engine, "2026-01-01", "ana")
    assert lines(engine, "ana") == [("installation", 4900)]
    with engine.begin() as connection, pytest.raises(OrderRefused, match="invoice credit"):
        sales.withdraw(connection, first, JANUARY)


def test_discounts_of_the_file_are_given_changed_and_exported(engine: sqlalchemy.Engine) -> None:
    loyal = '[[discount]]\nname = "loyal"\ncustomer = "ana"\namount = "3"\nstarts = 2026-01-01\n'
    ten = '[[discount]]\nname = "ten"\ncustomer = "ana"\nsubscription = "rent of ana"\npercent = "10"\n'
    parts = (HEAD, customer("ana"), sold("ana", "rent", "2026-01-01"), sold("ana", "television", "2026-01-01"))
    provide(engine, *parts, loyal)
    bill(engine, "2026-01-01", "ana")
    assert sum(net for _, net in lines(engine, "ana")) == 490 + 1000 - 300
    report = provide(engine, *parts, loyal, ten)
    assert [(change.kind, change.name) for change in report.changes] == [("discount", "ten")]
    written = export(engine, VAULT, secrets=True)
    assert provide(engine, written).changes == ()
    changed = provide(engine, loyal.replace('"3"', '"4"'))
    assert [change.keys for change in changed.changes] == [("amount",)]
    day = today(engine)
    assert rows(engine, "SELECT value, ends FROM discount WHERE subscription_id IS NULL ORDER BY id") == [
        (Decimal(3), day), (Decimal(4), None),
    ]  # fmt: skip
    assert provide(engine, loyal.replace('"3"', '"4"')).changes == ()


def test_a_discount_that_ends_before_it_begins_is_refused(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"))
    ana = rows(engine, "SELECT id FROM customer")[0][0]
    backwards = NewDiscount("half", ana, None, "percent", Decimal(50), JANUARY, JANUARY - timedelta(days=1))
    with pytest.raises(OrderRefused, match="cannot end before it begins"), engine.begin() as connection:
        discounts.give(connection, backwards, JANUARY)


def test_a_discount_of_a_line_comes_back_from_an_export(engine: sqlalchemy.Engine) -> None:
    ten = '[[discount]]\nname = "ten"\ncustomer = "ana"\nservice = "ana"\npercent = "10"\n'
    provide(engine, HEAD, PLAN, customer("ana"), customer("eva"), line("ana"), line("eva"), ten)
    assert provide(engine, export(engine, VAULT, secrets=True)).changes == ()


def test_an_amount_for_a_whole_account_is_given_once_also_where_more_is_sold_of_a_month_that_was_billed(
    engine: sqlalchemy.Engine,
) -> None:
    loyal = (
        '[[discount]]\nname = "loyal"\ncustomer = "ana"\namount = "3.10"\ntext = "Since 1999"\nstarts = 2026-01-01\n'
    )
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"), loyal)
    bill(engine, "2026-01-01", "ana")
    bill(engine, "2026-02-01", "ana")
    provide(engine, sold("ana", "rent", "2026-01-11"))
    bill(engine, "2026-02-10", "ana")
    taken = "SELECT sum(amount) FROM document_line WHERE discount_id IS NOT NULL GROUP BY period_starts"
    assert rows(engine, taken) == [(-310,), (-310,)]
    assert ("television: Since 1999", -310) in lines(engine, "ana")
    assert_books_are_right(engine)


def test_a_discount_that_ends_early_is_charged_again_from_that_day(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    ana = rows(engine, "SELECT id FROM customer")[0][0]
    with engine.begin() as connection:
        half = NewDiscount("half", ana, None, "percent", Decimal(50), JANUARY)
        assert discounts.give(connection, half, JANUARY)
        assert not discounts.give(connection, half, JANUARY)
    bill(engine, "2026-01-01", "ana")
    with engine.begin() as connection:
        discounts.end(connection, "half", date(2026, 1, 17), JANUARY)
    bill(engine, "2026-01-17", "ana")
    # Half of 16 of 31 days is off.
    assert sum(net for _, net in lines(engine, "ana")) == 1000 - 258


def test_the_document_of_a_payer_tells_whose_its_lines_are(engine: sqlalchemy.Engine) -> None:
    provide(
        engine, HEAD, customer("ana"), customer("hija", 'payer = "ana"'),
        sold("ana", "rent", "2026-01-01"), sold("hija", "television", "2026-01-01"),
    )  # fmt: skip
    bill(engine, "2026-01-01")
    assert lines(engine, "ana") == [("rent", 490), ("hija: television", 1000)]
    assert documents(engine, "hija") == []
    assert rows(engine, "SELECT state FROM account") == [("active",), ("active",)]
    with engine.connect() as connection:
        assert reading.account(connection, reading.payer_id(connection, "hija"))["pays_for"] == ["hija"]


def test_what_a_customer_already_has_is_billed_to_whoever_begins_to_pay_for_it(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), customer("hija"), sold("hija", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    assert rows(engine, "SELECT next_bill_on FROM account AS a JOIN customer AS c ON c.id = customer_id"
                " WHERE login = 'ana'") == [(None,)]  # fmt: skip
    provide(engine, customer("hija", 'payer = "ana"'))
    # What January was billed stays hija's; from February on ana is billed.
    due = "SELECT next_bill_on FROM account AS a JOIN customer AS c ON c.id = customer_id WHERE login = 'ana'"
    assert rows(engine, due) == [(today(engine),)]
    bill(engine, "2026-02-01", "ana")
    assert lines(engine, "hija") == [("television", 1000)]
    assert lines(engine, "ana") == [("hija: television", 1000)]
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    own, paid_now = (number for (number,) in rows(engine, "SELECT number FROM document ORDER BY id"))
    with engine.connect() as connection:
        assert reading.paid_for(connection, "hija", [own])[0] == ids["hija"]
        assert [reading.paid_for(connection, "hija", each)[0] for each in ([], [paid_now])] == [ids["ana"]] * 2


def test_a_number_that_several_documents_have_is_never_guessed(engine: sqlalchemy.Engine) -> None:
    north = '[[partner]]\nname = "north"\n'
    provide(
        engine, HEAD, north, customer("ana"), customer("eva", 'partner = "north"'),
        *(sold(login, "rent", "2026-01-01") for login in ("ana", "eva")),
    )  # fmt: skip
    bill(engine, "2026-01-01")
    ids = dict(rows(engine, "SELECT customer_id, id FROM document"))
    assert rows(engine, "SELECT DISTINCT number FROM document") == [("F2026-000001",)]
    with engine.connect() as connection:
        with pytest.raises(reading.Ambiguous, match="2 documents have the number"):
            reading.document_id(connection, "F2026-000001")
        for owner, id_ in ids.items():
            assert reading.document_id(connection, "F2026-000001", owner) == id_
            assert reading.document_id(connection, str(id_)) == id_
        for unknown in ("17", "9" * 40, "F1"):
            with pytest.raises(reading.NoSuch):
                reading.document_id(connection, unknown)


def test_days_of_an_inactive_customer_are_not_charged_when_it_comes_back(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01", "ana")
    ana = rows(engine, "SELECT id FROM customer")[0][0]
    for on, is_active in ((date(2026, 1, 17), False), (date(2026, 3, 1), True)):
        with engine.begin() as connection:
            collecting.set_active(connection, ana, is_active, on)
        with engine.begin() as connection, pytest.raises(OrderRefused, match="already"):
            collecting.set_active(connection, ana, is_active, on)
    bill(engine, "2026-03-01", "ana")
    # 15 of 31 days of January are given back, February costs nothing, March is charged.
    assert sum(net for _, net in lines(engine, "ana")) == 1000 - 484 + 1000
    assert_books_are_right(engine)


def test_a_sub_account_that_is_inactive_is_not_billed_and_its_line_is_not_let_in(engine: sqlalchemy.Engine) -> None:
    parts = (HEAD, PLAN, customer("ana"), line("ana"))
    provide(engine, *parts, customer("hija", 'payer = "ana"', 'state = "inactive"'), line("hija", owner="hija"))
    day = today(engine)
    assert (line_state(engine, "ana", day), line_state(engine, "hija", day)) == ("active", "blocked")
    assert present(engine, "hija", day)[0][5] == "active"
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscription_event SET on_day = '2026-01-01'"))
        connection.execute(text("UPDATE subscription SET revised_from = '2026-01-01'"))
        connection.execute(text("UPDATE rest SET starts = '2026-01-01'"))
    bill(engine, "2026-01-01", "ana")
    assert [told for told, _ in lines(engine, "ana")] == ["fibre"]


def test_whoever_pays_for_an_inactive_customer_pays_the_days_before_and_shares_no_discount_with_it_after(
    engine: sqlalchemy.Engine,
) -> None:
    provide(
        engine, HEAD, customer("ana"), customer("hija", 'payer = "ana"'), sold("ana", "television", "2026-01-01"),
        sold("hija", "television", "2026-01-01"),
        '[[discount]]\nname = "both"\ncustomer = "ana"\namount = "6.20"\nstarts = 2026-01-01\n',
    )  # fmt: skip
    bill(engine, "2026-01-01", "ana")
    assert sum(net for _, net in lines(engine, "ana")) == 2000 - 620
    hija = rows(engine, "SELECT id FROM customer WHERE login = 'hija'")[0][0]
    with engine.begin() as connection:
        collecting.set_active(connection, hija, False, date(2026, 1, 17))
    bill(engine, "2026-01-17", "ana")
    # 15 days of hers are given back; those of the discount are taken off what is left.
    assert sum(net for _, net in lines(engine, "ana")) == 2000 - 484 - 620
    bill(engine, "2026-02-01", "ana")
    assert sum(net for _, net in lines(engine, "ana")) == 2000 - 484 - 620 + 1000 - 620
    assert_books_are_right(engine)


def test_p16_what_is_ordered_in_the_afternoon_may_begin_the_next_day(engine: sqlalchemy.Engine) -> None:
    """Of two orders of one day the later one costs a day less, and both are billed next on the same day."""
    head = HEAD.replace('price = "10"', 'price = "31"').replace("Europe/Madrid", "UTC")
    provide(engine, head, customer("ana", 'billing = { billing_day = 10, at_once = true, begins = "nearest-day" }'))
    begun = []
    for instant in ("2016-03-10T08:00Z", "2016-03-10T16:00Z"):
        let_it_be(engine, instant)
        with engine.begin() as connection:
            starts = subscriptions.first_day(connection, "ana")
            subscriptions.start(connection, Start("ana", "television", starts), date(2016, 3, 10))
        begun.append(starts)
    assert begun == [date(2016, 3, 10), date(2016, 3, 11)]
    bill(engine, "2016-03-11", "ana")
    assert lines(engine, "ana") == [("television", 3100), ("television", 3000)]
    assert rows(engine, "SELECT next_bill_on FROM account") == [(date(2016, 4, 10),)]
