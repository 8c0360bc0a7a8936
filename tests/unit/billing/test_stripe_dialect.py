"""Stripe's answers and signed messages: what is a refusal, what is silence, and what is not from Stripe."""

from __future__ import annotations

import json

import pytest

from billing import stripe_dialect as stripe
from billing.card_gateway import Back, CardEvent, GatewayAway, MoneyBack, Movement, Outcome, WebhookRefused

SECRET = b"whsec_test"
NOW = 1_800_000_000
DECLINED = {
    "error": {"type": "card_error", "message": "Your card was declined.", "payment_intent": {"id": "pi_1"}}
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "movement"),
    [
        (200, {"id": "pi_1", "status": "succeeded"}, Movement.SUCCEEDED),
        (200, {"id": "pi_1", "status": "processing"}, Movement.PENDING),
        (200, {"id": "pi_1", "status": "requires_action"}, Movement.FAILED),
        (402, DECLINED, Movement.FAILED),
        (400, {"error": {"type": "invalid_request_error", "message": "No such customer"}}, Movement.FAILED),
    ],
)
def test_an_answer_says_what_became_of_the_order(status: int, body: object, movement: Movement) -> None:
    assert stripe.read_outcome(status, json.dumps(body).encode()).movement is movement


def test_a_refusal_names_the_charge_and_says_why() -> None:
    told = stripe.read_outcome(402, json.dumps(DECLINED).encode())
    assert told == Outcome(Movement.FAILED, "pi_1", "Your card was declined.")


def test_an_order_is_found_by_its_key_among_others() -> None:
    other = {"id": "pi_1", "status": "canceled", "metadata": {stripe.KEY: "other"}}
    things = [{"id": "pi_0", "status": "canceled", "metadata": None}, other, {**other, "id": "pi_2"}]
    things.append({"id": "pi_3", "status": "succeeded", "metadata": {stripe.KEY: "k"}})
    body = json.dumps({"data": things}).encode()
    assert stripe.read_found(200, body, "k") == Outcome(Movement.SUCCEEDED, "pi_3", "")
    assert stripe.read_found(200, body, "nobody's") is None
    with pytest.raises(GatewayAway, match="HTTP status 500"):
        stripe.read_found(500, body, "k")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"error": {"message": "ours"}}'),
        (401, b'{"error": {"type": "invalid_request_error", "message": "Invalid API Key"}}'),
        (409, b'{"error": {"type": "idempotency_error", "message": "in flight"}}'),
        (400, b'{"error": {"type": "idempotency_error", "message": "other parameters"}}'),
        (429, b"{}"),
        (200, b"<html>"),
        (502, b"[]"),
    ],
)
def test_what_tells_nothing_about_the_money_is_no_refusal(status: int, body: bytes) -> None:
    with pytest.raises(GatewayAway):
        stripe.read_outcome(status, body)


def event(**more: object) -> bytes:
    thing = {"id": "pi_1", "status": "succeeded", "metadata": {stripe.KEY: "k"}} | more
    return json.dumps({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": thing}}).encode()


def test_a_signed_message_tells_of_the_charge_with_its_key() -> None:
    told = stripe.read_event(event(), stripe.sign(event(), SECRET, NOW), SECRET, NOW + stripe.TOLERANCE_SECONDS)
    assert isinstance(told, CardEvent)
    assert (told.id, told.key, told.outcome.movement) == ("evt_1", "k", Movement.SUCCEEDED)
    foreign = event(metadata={})
    assert stripe.read_event(foreign, stripe.sign(foreign, SECRET, NOW), SECRET, NOW) is None


@pytest.mark.parametrize(
    ("told", "status", "what"),
    [
        ("refund.created", "succeeded", Back.REFUNDED),
        ("refund.created", "pending", None),
        ("refund.updated", "failed", Back.REFUND_FAILED),
        ("refund.failed", "failed", Back.REFUND_FAILED),
        ("charge.dispute.funds_withdrawn", "needs_response", Back.DISPUTED),
        ("charge.dispute.funds_reinstated", "won", Back.REINSTATED),
        ("charge.dispute.created", "needs_response", None),
        ("charge.refunded", "succeeded", None),
    ],
)
def test_a_signed_message_tells_of_money_that_goes_back(told: str, status: str, what: Back | None) -> None:
    thing = {"id": "re_1", "payment_intent": "pi_1", "amount": 210, "status": status}
    body = json.dumps({"id": "evt_1", "type": told, "data": {"object": thing}}).encode()
    read = stripe.read_event(body, stripe.sign(body, SECRET, NOW), SECRET, NOW)
    assert read == (None if what is None else MoneyBack("evt_1", what, "re_1", "pi_1", 210))


@pytest.mark.parametrize(
    ("signature", "now", "message"),
    [
        ("", NOW, "has no signature"),
        (stripe.sign(event(), b"another", NOW), NOW, "is not signed"),
        (stripe.sign(event() + b" ", SECRET, NOW), NOW, "is not signed"),
        (stripe.sign(event(), SECRET, NOW).replace(str(NOW), str(NOW + 1)), NOW, "is not signed"),
        (stripe.sign(event(), SECRET, NOW), NOW + stripe.TOLERANCE_SECONDS + 1, "is too old"),
        (stripe.sign(event(), SECRET, NOW), NOW - stripe.TOLERANCE_SECONDS - 1, "is too old"),
        ("t=\N{SUPERSCRIPT TWO},v1=\N{SNOWMAN}", NOW, "has no signature"),
    ],
)
def test_a_message_of_somebody_else_is_refused(signature: str, now: int, message: str) -> None:
    with pytest.raises(WebhookRefused, match=message):
        stripe.read_event(event(), signature, SECRET, now)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"no JSON", b'{"id": "evt_1", "type": "refund.created", "data": {}}'])
def test_a_signed_message_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="the message is no event"):
        stripe.read_event(body, stripe.sign(body, SECRET, NOW), SECRET, NOW)
