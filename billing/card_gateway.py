"""What billing asks of whoever charges cards: the port, and what an answer means.

Rule: an order carries a key, and the gateway does what one key says once. Who has no answer does not know whether money
moved: it asks again with the same key, and never takes silence for a refusal. No number of a card is ever here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from billing.errors import BillingError


class GatewayAway(BillingError):
    """The gateway gave no answer that tells whether money moved; ask again with the same key."""


class WebhookRefused(BillingError):
    """A message is not the gateway's, or too old."""


class Movement(Enum):
    """What became of an order; the values are stored."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Outcome(NamedTuple):
    """What the gateway says of an order; `why` of one that failed is meant for people."""

    movement: Movement
    gateway_id: str
    why: str = ""


class CardEvent(NamedTuple):
    """What the gateway told by itself about the charge with a key; `id` is the gateway's, of this message."""

    id: str
    key: str
    outcome: Outcome


class Back(Enum):
    """What the gateway did to the money of a charge afterwards."""

    REFUNDED = "refunded"
    REFUND_FAILED = "refund-failed"
    """What was to be given back is here again."""
    DISPUTED = "disputed"
    """Its bank took it back."""
    REINSTATED = "reinstated"
    """A dispute was won."""


class MoneyBack(NamedTuple):
    """What the gateway told by itself about the money of a charge of its own name; `id` is that of the message."""

    id: str
    what: Back
    name: str
    """The gateway's, of the refund or dispute."""
    charge_id: str
    amount: int
    """Minor units."""
    key: str = ""
    """Ours, of a refund that we ordered."""


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """So many minor units from a stored card; `payer` and `token` are the gateway's words for customer and card."""

    key: str
    amount: int
    currency: str
    payer: str
    token: str
    text: str = ""


class CardGateway(Protocol):
    """A gateway of cards; each method may raise GatewayAway."""

    def charge(self, order: ChargeOrder) -> Outcome:
        """Charge a stored card, once for its key as long as the gateway keeps keys."""

    def refund(self, charge_id: str, amount: int, key: str) -> Outcome:
        """Give back a part of a charge, once for its key as long as the gateway keeps keys."""

    def find_charge(self, key: str) -> Outcome | None:
        """Return what became of the charge with a key, however old; None: there never was one."""

    def find_refund(self, charge_id: str, key: str) -> Outcome | None:
        """Return what became of the refund with a key, however old; None: there never was one."""
