"""Stripe's way to say it: PaymentIntents and Refunds as forms, answers as JSON, and signed messages.

Rule: pure. Only an answer that says so is a refusal: a lost key, a limit, a conflict or a fault of the server leave
open whether money moved.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from billing.card_gateway import (
    Back,
    CardEvent,
    ChargeOrder,
    GatewayAway,
    MoneyBack,
    Movement,
    Outcome,
    WebhookRefused,
)

VERSION = "2024-06-20"
"""The version of the API that is spoken, whatever the account's own is."""
TOLERANCE_SECONDS = 300
"""How far the time of a message may be away, as Stripe's own libraries have it."""
KEY = "caudal_key"
"""The metadata under which our key stands, for questions later than the gateway keeps keys."""
PAID, REFUSED = 200, 402
_MISTAKES = (400, 404)
_STATES = {
    "succeeded": Movement.SUCCEEDED,
    "processing": Movement.PENDING,
    "pending": Movement.PENDING,
    "requires_capture": Movement.PENDING,
}
_CHARGES = ("payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled")
_REFUNDS = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
_DISPUTES = {
    "charge.dispute.funds_withdrawn": Back.DISPUTED,
    "charge.dispute.funds_reinstated": Back.REINSTATED,
}
_OF_REFUND = {Movement.SUCCEEDED: Back.REFUNDED, Movement.FAILED: Back.REFUND_FAILED}


def charge_form(order: ChargeOrder) -> str:
    """Return the body that charges a stored card while its holder is away."""
    return urlencode(
        {
            "amount": order.amount,
            "currency": order.currency.lower(),
            "customer": order.payer,
            "payment_method": order.token,
            "off_session": "true",
            "confirm": "true",
            "description": order.text,
            f"metadata[{KEY}]": order.key,
        }
    )


def refund_form(charge_id: str, amount: int, key: str) -> str:
    """Return the body that gives back a part of a charge."""
    return urlencode({"payment_intent": charge_id, "amount": amount, f"metadata[{KEY}]": key})


def find_charge_path(key: str) -> str:
    """Return where the charge with a key is looked up."""
    wanted = f"metadata['{KEY}']:'{key}'"
    return f"/v1/payment_intents/search?query={quote(wanted)}"


def find_refund_path(charge_id: str) -> str:
    """Return where the refunds of a charge are listed."""
    return f"/v1/refunds?payment_intent={quote(charge_id)}&limit=100"


def read_outcome(status: int, body: bytes) -> Outcome:
    """Return what an answer to an order says. Raise GatewayAway."""
    answer = _object(body)
    if status == PAID:
        return outcome(answer)
    error = answer.get("error") or {}
    why = str(error.get("message") or f"HTTP status {status}")
    is_final = status == REFUSED or (status in _MISTAKES and error.get("type") == "invalid_request_error")
    if not is_final:
        raise GatewayAway(f"the card gateway does not tell what became of the order: {why}; it is asked again")
    intent = error.get("payment_intent") or {}
    return Outcome(Movement.FAILED, str(intent.get("id") or ""), why)


def outcome(thing: Mapping[str, Any]) -> Outcome:
    """Return what a PaymentIntent or a Refund says of itself."""
    movement = _STATES.get(str(thing.get("status")), Movement.FAILED)
    failure = thing.get("last_payment_error") or {}
    why = str(failure.get("message") or thing.get("failure_reason") or thing.get("status") or "")
    return Outcome(movement, str(thing.get("id") or ""), why if movement is Movement.FAILED else "")


def read_found(status: int, body: bytes, key: str) -> Outcome | None:
    """Return what a list says of the order with a key. Raise GatewayAway."""
    if status != PAID:
        raise GatewayAway(f"the card gateway does not answer what it knows: HTTP status {status}; it is asked again")
    for thing in _object(body).get("data") or ():
        if (thing.get("metadata") or {}).get(KEY) == key:
            return outcome(thing)
    return None


def read_event(body: bytes, signature: str, secret: bytes, now: int) -> CardEvent | MoneyBack | None:
    """Return what a signed message tells of a charge, None: nothing that is asked for. Raise WebhookRefused."""
    _verify(body, signature, secret, now)
    try:
        message = json.loads(body)
        return _told(str(message["id"]), str(message["type"]), message["data"]["object"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WebhookRefused("the message is no event") from None


def _told(id_: str, told: str, thing: Mapping[str, Any]) -> CardEvent | MoneyBack | None:
    key = str((thing.get("metadata") or {}).get(KEY) or "")
    if told in _CHARGES:
        return CardEvent(id_, key, outcome(thing)) if key else None
    what = _OF_REFUND.get(outcome(thing).movement) if told in _REFUNDS else _DISPUTES.get(told)
    if what is None:
        return None
    return MoneyBack(id_, what, str(thing["id"]), str(thing["payment_intent"]), int(thing["amount"]), key)


def sign(body: bytes, secret: bytes, at: int) -> str:
    """Return the header that signs a message sent at a Unix time."""
    return f"t={at},v1={hmac.new(secret, b'%d.%b' % (at, body), sha256).hexdigest()}"


def _verify(body: bytes, signature: str, secret: bytes, now: int) -> None:
    parts = [part.partition("=")[::2] for part in signature.split(",")]
    times = [value for name, value in parts if name.strip() == "t"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit():
        raise WebhookRefused("the message has no signature")
    expected = hmac.new(secret, times[0].encode() + b"." + body, sha256).hexdigest()
    given = [value for name, value in parts if name.strip() == "v1"]
    if not any(hmac.compare_digest(expected.encode(), value.encode()) for value in given):
        raise WebhookRefused("the message is not signed by the gateway")
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        raise WebhookRefused("the message is too old, or a clock is wrong")


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise GatewayAway("the card gateway answered with something else than JSON; it is asked again")
    return answer
