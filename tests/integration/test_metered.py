"""Products that are charged by events against a real database: reported, billed, reported late, rated again."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy

from storage.billing import metered_events, rating, subscriptions
from storage.billing.metered_events import NotMetered, Report
from storage.billing.subscriptions import Change
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

PRODUCTS = """
[[product]]
name = "boxes"
price = "0"
taxes = ["iva"]
metered = { measure = "held", tier = [{ up_to = 10, price = "10", flat = "100" }, { price = "5" }] }
[[product]]
name = "purchases"
price = "0"
taxes = ["iva"]
metered = { measure = "amount", percent = "1", fixed = "5", free = 3 }
[[product]]
name = "films"
price = "2"
taxes = ["iva"]
metered = { price = "3.90", minimum = "1", bill_at = "20" }
"""
WORLD = (
    HEAD, PRODUCTS, customer("ana"), sold("ana", "boxes", "2026-09-01"), sold("ana", "purchases", "2026-09-01"),
    sold("ana", "films", "2026-09-01"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def isp(engine: sqlalchemy.Engine) -> None:
    """Provide a customer with one of each."""
    provide(engine, *WORLD)
    bill(engine, "2026-09-01")


def report(engine: sqlalchemy.Engine, product: str, on: str, units: str, key: str = "") -> tuple[int, bool]:
    with engine.begin() as connection:
        day = date.fromisoformat(on)
        order = Report(f"{product} of ana", day, Decimal(units), key or f"{product} {on}")
        return metered_events.add(connection, order)


def lines(engine: sqlalchemy.Engine) -> list[tuple[str, int]]:
    found = rows(engine, "SELECT text, net FROM document_line WHERE component = 'overage' ORDER BY id")
    return [(text, net) for text, net in found]


def test_g4_and_g13_are_billed_with_their_tax(engine: sqlalchemy.Engine) -> None:
    report(engine, "boxes", "2026-09-10", "2")
    for number in range(4):
        report(engine, "purchases", f"2026-09-{number + 1:02}", "10")
    bill(engine, "2026-10-01")
    assert sorted(lines(engine)) == [("boxes", 11400), ("films", 100), ("purchases", 510)]
    assert documents(engine, "ana")[-1][2:4] == (11400 + 510 + 100 + 200, 2564)
    assert bill(engine, "2026-10-01").documents == 0
    assert_books_are_right(engine)


def test_what_is_reported_late_is_charged_by_the_next_run_and_once(engine: sqlalchemy.Engine) -> None:
    bill(engine, "2026-10-01")
    assert report(engine, "films", "2026-09-30", "1")[1]
    assert not report(engine, "films", "2026-09-30", "1")[1], "one key is one event"
    with engine.connect() as connection:
        (document,) = rows(engine, "SELECT max(id) FROM document")[0]
        rated = {each.text: each for each in rating.rate_again(connection, document, date(2026, 10, 2))}
    films = rated["films"]
    assert (films.billed, films.amount) == (100, 390)
    assert [(fact["on"], fact["units"]) for fact in films.facts] == [(date(2026, 9, 30), Decimal(1))]
    assert rated["boxes"].billed == rated["boxes"].amount
    bill(engine, "2026-10-02")
    assert lines(engine)[-1] == ("films", 290)
    assert_books_are_right(engine)


def test_each_of_two_products_of_a_month_is_rated_again_by_itself(engine: sqlalchemy.Engine) -> None:
    report(engine, "films", "2026-09-05", "1")
    with engine.begin() as connection:
        films = subscriptions.find(connection, "films of ana")
        subscriptions.change(connection, films, Change("purchases"), date(2026, 9, 15), date(2026, 9, 15))
    for number in range(4):
        report(engine, "films", f"2026-09-{number + 20}", "10")
    bill(engine, "2026-10-01")
    (document,) = rows(engine, "SELECT max(id) FROM document")[0]
    with engine.connect() as connection:
        rated = rating.rate_again(connection, document, date(2026, 10, 2))
    assert [(each.text, each.billed, each.amount) for each in rated if each.amount in (390, 510)] == [
        ("films", 390, 390), ("purchases", 510, 510),
    ]  # fmt: skip


def test_what_is_reported_late_of_several_months_is_charged_of_each(
    engine: sqlalchemy.Engine,
) -> None:
    bill(engine, "2026-10-01")
    bill(engine, "2026-11-01")
    report(engine, "films", "2026-09-30", "1")
    report(engine, "films", "2026-10-31", "2")
    bill(engine, "2026-11-02")
    assert lines(engine)[-2:] == [("films", 290), ("films", 680)]
    assert_books_are_right(engine)


def test_g14_what_comes_to_so_much_is_billed_before_the_end(engine: sqlalchemy.Engine) -> None:
    report(engine, "films", "2026-09-05", "5")
    bill(engine, "2026-09-05")
    assert lines(engine) == []
    report(engine, "films", "2026-09-06", "1")
    bill(engine, "2026-09-06")
    assert lines(engine) == [("films", 2340)]
    report(engine, "films", "2026-09-07", "4")
    bill(engine, "2026-09-07")
    bill(engine, "2026-10-01")
    films = [net for text, net in lines(engine) if text == "films"]
    assert films == [2340, 10 * 390 - 2340]
    assert_books_are_right(engine)


def test_what_was_reported_before_an_end_is_charged_when_the_month_is_over(engine: sqlalchemy.Engine) -> None:
    calls = '[[product]]\nname = "calls"\nprice = "0"\ntaxes = ["iva"]\nmetered = { price = "2" }\n'
    provide(engine, HEAD, calls, customer("eva"), sold("eva", "calls", "2026-09-01", "ends = 2026-09-16"))
    bill(engine, "2026-09-01")
    with engine.begin() as connection:
        metered_events.add(connection, Report("calls of eva", date(2026, 9, 10), Decimal(3), "one"))
    bill(engine, "2026-09-16")
    assert documents(engine, "eva") == []
    bill(engine, "2026-10-01")
    assert documents(engine, "eva")[-1][2:5] == (600, 126, 726)
    bill(engine, "2026-11-01")
    assert len(documents(engine, "eva")) == 1


def test_another_billing_day_charges_no_event_twice(engine: sqlalchemy.Engine) -> None:
    report(engine, "films", "2026-09-25", "2")
    bill(engine, "2026-10-01")
    report(engine, "films", "2026-10-05", "3")
    provide(engine, customer("ana", "billing = { billing_day = 20 }"))
    for on in ("2026-10-20", "2026-11-20"):
        bill(engine, on, "ana")
    assert [net for text, net in lines(engine) if text == "films"] == [2 * 390, 3 * 390, 100]
    films = rows(
        engine,
        """SELECT sum(amount)::bigint FROM document_line AS l JOIN product AS p ON p.id = l.product_id
        WHERE p.code = 'films' AND component = 'base'""",
    )
    # September and October, 19 of the 31 days from 20 October on, and the month after them.
    assert films == [(200 + 200 + 123 + 200,)]
    assert_books_are_right(engine)


def test_what_cannot_be_reported_is_refused(engine: sqlalchemy.Engine) -> None:
    report(engine, "boxes", "2026-09-10", "2")
    for product, on, units, told in (
        ("boxes", "2026-09-09", "-1", "more units are taken back"),
        ("boxes", "2026-09-20", "-3", "more units are taken back"),
        ("purchases", "2026-09-20", "-3", "more than nothing"),
        ("films", "2026-08-31", "1", "not charged by events on 2026-08-31"),
        ("nothing", "2026-09-20", "1", "there is no subscription"),
    ):
        with pytest.raises(NotMetered, match=told):
            report(engine, product, on, units, "refused")
    assert report(engine, "boxes", "2026-09-20", "-2")[1]


def test_a_metered_product_comes_back_from_an_export(engine: sqlalchemy.Engine) -> None:
    written = export(engine, VAULT)
    assert written.count("metered") == 3
    assert provide(engine, written).changes == ()
