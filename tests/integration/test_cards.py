"""Charges of cards against a real database and a simulated gateway on a real socket: never twice, never lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy
from sqlalchemy import text

from billing import stripe_dialect as stripe
from billing.card_gateway import CardEvent, MoneyBack, Movement
from daemon.card_gateway import CardSettingsError, StripeGateway
from domain.secret import Secret
from simulator.card_gateway import CardFault, SimulatedCardGateway
from storage.billing import card_returns, cards, clock, ledger, payments
from storage.billing.cards import CardError
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold
from tests.integration.killed import Killed, killed_before
from tests.integration.test_payments import LINE, PLAN, line_state, look

KEY = "sk_test_1"
LATER = timedelta(hours=30)


@pytest.fixture
def gateway() -> Iterator[SimulatedCardGateway]:
    with SimulatedCardGateway(KEY, slow_seconds=1.0) as simulated:
        yield simulated


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a customer with an open invoice of 12.10, a blocked line and a stored card."""
    provide(
        engine, HEAD, PLAN, customer("ana", "billing = { block_after = 10 }"), LINE,
        sold("ana", "television", "2026-01-01"),
    )  # fmt: skip
    bill(engine, "2026-01-01")
    look(engine, "2026-01-26")
    (found,) = rows(engine, "SELECT id FROM customer")[0]
    with engine.begin() as connection:
        cards.store(connection, found, "cus_1", "pm_1", "visa 4242")
    return int(found)


def spoken(gateway: SimulatedCardGateway, timeout: float = 30.0) -> StripeGateway:
    return StripeGateway(gateway.url, Secret.from_text(KEY), timeout)


def begin(engine: sqlalchemy.Engine, ana: int, amount: int | None = None, key: str = "one") -> int:
    with engine.begin() as connection:
        return cards.begin_charge(connection, ana, amount, (), key, "noc")


def now() -> datetime:
    return datetime.now(UTC)


def resolve(engine: sqlalchemy.Engine, gateway: StripeGateway, at: datetime | None = None) -> list[cards.Charge]:
    return [*cards.resolve(engine, gateway, at or now(), timedelta(0))]


def test_a_charge_pays_what_is_open_and_lets_the_line_in(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    assert line_state(engine) == "blocked"
    charge = cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    assert (charge.state, charge.amount) == (Movement.SUCCEEDED, 1210)
    assert line_state(engine) == "active"
    assert rows(engine, "SELECT method, amount, reference FROM payment") == [("card", 1210, "pi_1")]
    assert [each[0] for each in documents(engine, "ana")] == ["invoice", "receipt"]
    assert begin(engine, ana) == charge.id, "one key is one charge"
    assert_books_are_right(engine)


def test_a_declined_card_books_nothing_and_tells_why(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    gateway.book.faults.append(CardFault.DECLINE)
    charge = cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    assert (charge.state, charge.why) == (Movement.FAILED, "Your card was declined.")
    assert rows(engine, "SELECT count(*) FROM payment") == [(0,)]
    assert line_state(engine) == "blocked"


@pytest.mark.parametrize("fault", [CardFault.LOST_ANSWER, CardFault.SERVER_ERROR, CardFault.SLOW])
def test_an_answer_that_never_comes_leaves_it_pending_and_is_asked_again_with_the_same_key(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway, fault: CardFault
) -> None:
    gateway.book.faults.append(fault)
    charge = cards.settle_charge(engine, spoken(gateway, timeout=0.3), begin(engine, ana), now())
    assert (charge.state, rows(engine, "SELECT count(*) FROM payment")) == (Movement.PENDING, [(0,)])
    (settled,) = resolve(engine, spoken(gateway))
    assert settled.state is Movement.SUCCEEDED
    assert resolve(engine, spoken(gateway)) == []
    assert len(gateway.book.moved("payment_intent")) == 1
    assert len({key for _, _, key in gateway.book.requests}) == 1
    assert rows(engine, "SELECT amount FROM payment") == [(1210,)]
    assert_books_are_right(engine)


def test_a_crash_at_any_statement_charges_once_and_books_once(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    charge_id = begin(engine, ana)
    for number in itertools.count(1):
        try:
            with killed_before(engine, number):
                cards.settle_charge(engine, spoken(gateway), charge_id, now())
            break
        except Killed:
            assert rows(engine, "SELECT count(*) FROM payment") == [(0,)]
    assert rows(engine, "SELECT count(*) FROM payment") == [(1,)]
    assert number > 11
    assert len(gateway.book.moved("payment_intent")) == 1
    assert_books_are_right(engine)


def test_a_charge_older_than_the_gateway_keeps_keys_is_looked_up_and_not_sent_again(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    gateway.book.faults.append(CardFault.LOST_ANSWER)
    cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    gateway.book.answers.clear()
    assert [each.state for each in resolve(engine, spoken(gateway), now() + LATER)] == [Movement.SUCCEEDED]
    begin(engine, ana, 500, "never sent")
    assert [each.state for each in resolve(engine, spoken(gateway), now() + LATER)] == [Movement.FAILED]
    assert [method for method, _, _ in gateway.book.requests] == ["POST", "GET", "GET"]


def test_a_charge_that_the_gateway_still_processes_is_followed(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    gateway.book.faults.append(CardFault.PENDING)
    charge = cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    assert charge.state is Movement.PENDING
    assert resolve(engine, spoken(gateway)) == []
    next(iter(gateway.book.things.values()))["status"] = "succeeded"
    assert [each.state for each in resolve(engine, spoken(gateway))] == [Movement.SUCCEEDED]


def test_a_message_books_what_no_answer_told_and_its_repetition_nothing(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    gateway.book.faults.append(CardFault.LOST_ANSWER)
    cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    (thing,) = gateway.book.moved("payment_intent")
    for number, booked in ((1, True), (1, False), (2, True)):
        body = gateway.event(thing, number)
        told = stripe.read_event(body, stripe.sign(body, b"secret", 1), b"secret", 1)
        assert isinstance(told, CardEvent)
        assert cards.take_event(engine, told) is booked
    assert resolve(engine, spoken(gateway)) == []
    assert rows(engine, "SELECT count(*) FROM payment") == [(1,)]
    assert_books_are_right(engine)


def test_a_refund_goes_through_the_gateway_once_even_when_its_answer_is_lost(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    charge = cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    assert charge.payment_id is not None
    with engine.begin() as connection:
        refund_id = cards.begin_refund(connection, charge.payment_id, 210, "back")
        assert cards.begin_refund(connection, charge.payment_id, 210, "back") == refund_id
        with pytest.raises(CardError, match="1000 minor units are left"):
            cards.begin_refund(connection, charge.payment_id, 1001, "more")
    gateway.book.faults.append(CardFault.LOST_ANSWER)
    assert cards.settle_refund(engine, spoken(gateway), refund_id, now()).state is Movement.PENDING
    assert rows(engine, "SELECT refunded FROM payment") == [(0,)]
    with engine.begin() as connection, pytest.raises(CardError, match="is under way"):
        cards.require_none_under_way(connection, charge.payment_id)
    assert [each.state for each in resolve(engine, spoken(gateway))] == [Movement.SUCCEEDED]
    assert rows(engine, "SELECT refunded FROM payment") == [(210,)]
    with engine.begin() as connection:
        cards.require_none_under_way(connection, charge.payment_id)
    assert [each["amount"] for each in gateway.book.moved("refund")] == [210]
    assert documents(engine, "ana")[0][5] == 210
    assert_books_are_right(engine)


def test_money_that_moved_while_the_books_are_closed_is_booked_when_they_open(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    charge_id = begin(engine, ana)
    with engine.begin() as connection:
        ledger.close_through(connection, clock.today(connection))
    charge = cards.settle_charge(engine, spoken(gateway), charge_id, now())
    assert charge.state is Movement.PENDING
    assert "cannot be booked yet" in charge.why
    with engine.begin() as connection:
        connection.execute(text("UPDATE closed_books SET through = '2026-01-01'"))
    assert [each.state for each in resolve(engine, spoken(gateway))] == [Movement.SUCCEEDED]
    assert len(gateway.book.moved("payment_intent")) == 1


def tell(engine: sqlalchemy.Engine, gateway: SimulatedCardGateway, kind: str, number: int, **thing: object) -> bool:
    """Take a signed message about money that went back, or came again."""
    told = {"payment_intent": "pi_1", "amount": 1210, "status": "succeeded", "metadata": {}, **thing}
    body = gateway.event(told, number, kind)
    read = stripe.read_event(body, stripe.sign(body, b"secret", 1), b"secret", 1)
    return isinstance(read, MoneyBack) and card_returns.take(engine, read)


def charged(engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway) -> int:
    """Charge the open 12.10 and return the payment."""
    charge = cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    assert charge.payment_id is not None
    return charge.payment_id


def test_a_refund_that_was_ordered_at_the_gateway_is_booked_once(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    charged(engine, ana, gateway)
    assert not tell(engine, gateway, "refund.created", 1, id="re_9", amount=210, status="pending")
    assert tell(engine, gateway, "refund.updated", 2, id="re_9", amount=210)
    assert not tell(engine, gateway, "refund.updated", 2, id="re_9", amount=210), "one message comes twice"
    assert not tell(engine, gateway, "charge.refund.updated", 3, id="re_9", amount=210), "another tells the same"
    assert tell(engine, gateway, "refund.created", 4, id="re_10", amount=1000)
    assert rows(engine, "SELECT refunded, reversed FROM payment") == [(1210, False)]
    assert documents(engine, "ana")[0][5] == 1210
    assert line_state(engine) == "blocked"
    assert tell(engine, gateway, "refund.failed", 5, id="re_10", amount=1000, status="failed")
    assert not tell(engine, gateway, "refund.failed", 6, id="re_10", amount=1000, status="failed")
    assert documents(engine, "ana")[0][5] == 210
    assert_books_are_right(engine)


def test_a_dispute_takes_the_payment_back_and_cuts_the_line_and_a_won_one_brings_it_again(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    charged(engine, ana, gateway)
    assert line_state(engine) == "active"
    assert not tell(engine, gateway, "charge.dispute.created", 1, id="dp_1", status="needs_response")
    assert tell(engine, gateway, "charge.dispute.funds_withdrawn", 2, id="dp_1", status="needs_response")
    assert not tell(engine, gateway, "charge.dispute.funds_withdrawn", 3, id="dp_1", status="needs_response")
    assert rows(engine, "SELECT refunded, reversed FROM payment") == [(1210, True)]
    assert line_state(engine) == "blocked"
    assert tell(engine, gateway, "charge.dispute.funds_reinstated", 4, id="dp_1", status="won")
    assert not tell(engine, gateway, "charge.dispute.funds_reinstated", 5, id="dp_1", status="won")
    assert (line_state(engine), documents(engine, "ana")[0][5]) == ("active", 0)
    assert_books_are_right(engine)


def test_a_dispute_that_an_operator_booked_already_takes_nothing_more(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    payment_id = charged(engine, ana, gateway)
    with engine.begin() as connection:
        payments.give_back(connection, payment_id, None, "by hand", clock.today(connection), is_reversal=True)
    assert not tell(engine, gateway, "charge.dispute.funds_withdrawn", 1, id="dp_1")
    assert not tell(engine, gateway, "charge.dispute.funds_reinstated", 2, id="dp_1")
    assert rows(engine, "SELECT refunded FROM payment") == [(1210,)]
    assert_books_are_right(engine)


def test_a_message_tells_what_became_of_a_refund_that_had_no_answer(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    payment_id = charged(engine, ana, gateway)
    with engine.begin() as connection:
        refund_id = cards.begin_refund(connection, payment_id, 210, "back")
    gateway.book.faults.append(CardFault.LOST_ANSWER)
    cards.settle_refund(engine, spoken(gateway), refund_id, now())
    (thing,) = gateway.book.moved("refund")
    assert tell(engine, gateway, "refund.created", 1, **thing)
    assert not tell(engine, gateway, "refund.updated", 2, **thing)
    assert resolve(engine, spoken(gateway)) == []
    assert rows(engine, "SELECT refunded FROM payment") == [(210,)]
    assert tell(engine, gateway, "refund.failed", 3, **thing | {"status": "failed"})
    assert documents(engine, "ana")[0][5] == 0
    assert_books_are_right(engine)


def test_money_that_goes_back_of_a_charge_without_its_answer_is_told_again_later(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    assert not tell(engine, gateway, "refund.created", 1, id="re_9", payment_intent="pi_of_another_shop")
    gateway.book.faults.append(CardFault.LOST_ANSWER)
    cards.settle_charge(engine, spoken(gateway), begin(engine, ana), now())
    with pytest.raises(CardError, match="still waits for its answer"):
        tell(engine, gateway, "refund.created", 2, id="re_9")
    resolve(engine, spoken(gateway))
    assert tell(engine, gateway, "refund.created", 2, id="re_9")


def test_two_clerks_who_charge_one_invoice_charge_it_once(engine: sqlalchemy.Engine, ana: int) -> None:
    (invoice,) = rows(engine, "SELECT id FROM document WHERE kind = 'invoice'")[0]
    with engine.begin() as connection:
        cards.begin_charge(connection, ana, None, (invoice,), "one", "")
    with pytest.raises(CardError, match="not being charged already"), engine.begin() as connection:
        cards.begin_charge(connection, ana, None, (invoice,), "two", "")
    with pytest.raises(CardError, match="is no invoice of this customer"), engine.begin() as connection:
        cards.begin_charge(connection, ana, None, (invoice + 1,), "three", "")


def test_no_card_number_is_stored_and_no_key_goes_without_tls(engine: sqlalchemy.Engine, ana: int) -> None:
    with pytest.raises(CardError, match="never stored"), engine.begin() as connection:
        cards.store(connection, ana, "cus_1", "4242 4242 4242 4242", "")
    with pytest.raises(CardSettingsError, match="is no https"):
        StripeGateway("http://api.example.net", Secret.from_text(KEY))


def test_a_wrong_key_is_no_refusal_and_is_never_shown(
    engine: sqlalchemy.Engine, ana: int, gateway: SimulatedCardGateway
) -> None:
    wrong = StripeGateway(gateway.url, Secret.from_text("sk_wrong"))
    charge = cards.settle_charge(engine, wrong, begin(engine, ana), now())
    assert charge.state is Movement.PENDING
    assert "Invalid API Key" in charge.why
    assert "sk_wrong" not in charge.why + repr(wrong.__dict__)
