"""The orders and answers of the control API about what is sold.

Rule: an amount is decimal text in the major unit beside its currency, exact; days are the operator's local dates. A day
that is left out is today.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field

from control.billing_models import Amount, Key, Text
from control.models import Answer

Positive = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$", description="Decimal text, such as `2`.")]
Named = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\x00]*$")]


class Product(Answer):
    """Something that is sold."""

    name: str
    kind: str
    price: str | None = Field(description="What new customers pay; null: it has no price of the list.")
    currency: str
    every: str
    taxes: list[str]
    includes: list[str] = Field(description="What a bundle holds.")
    contract_months: int | None


class Subscription(Answer):
    """What is sold to a customer, as of today; one that begins later as it will begin."""

    id: int
    name: str
    customer: str
    product: str
    kind: str
    service: str | None
    bundle: str | None = Field(description="The bundle that pays for it.")
    quantity: str
    unit_price: str
    currency: str
    state: str = Field(description="pending, active, paused or stopped.")
    starts: date
    ends: date | None = Field(description="The first day that is not charged.")
    contract_until: date | None


class SubscriptionEvent(Answer):
    """What happened to it, or will."""

    on: date
    kind: str
    product: str | None
    unit_price: str | None
    quantity: str | None
    reason: str


class Held(Answer):
    """What a bundle holds."""

    id: int
    product: str
    service: str | None


class SubscriptionDetail(Subscription):
    """A sale with its history."""

    events: list[SubscriptionEvent]
    holds: list[Held]
    contract: dict[str, object] | None = Field(description="In the words of the ISP file.")
    cancellation_fee: str = Field(description="What it would cost to end it today.")


class StartOrder(BaseModel):
    """A sale to begin."""

    customer: Named
    product: Named
    starts: date | None = None
    ends: date | None = None
    quantity: Positive = "1"
    price: Amount | None = None
    service: Named | None = None
    name: Named | None = None
    key: Key


class ChangeOrder(BaseModel):
    """Another product, price or quantity."""

    product: Named | None = None
    price: Amount | None = None
    quantity: Positive | None = None
    starts: date | None = None
    key: Key


class PauseOrder(BaseModel):
    """Days that are not charged; no end is until further notice."""

    starts: date | None = None
    ends: date | None = None
    key: Key


class ResumeOrder(BaseModel):
    """The day on which it goes on."""

    on: date | None = None
    key: Key


class StopOrder(BaseModel):
    """The first day that is not charged."""

    ends: date | None = None
    free: bool = Field(False, description="Charge no fee for an early end.")
    dry_run: bool = False
    key: Key


class Stopped(Answer):
    """What an end costs."""

    name: str
    ends: date
    fee: str
    currency: str
    binds_until: date | None
    months_left: int
    dry_run: bool


class Discount(Answer):
    """What a customer pays less."""

    id: int
    name: str
    customer: str
    subscription: str | None = Field(description="Null: everything that the customer pays for.")
    kind: str = Field(description="percent, amount or coupon.")
    value: str
    currency: str
    starts: date
    ends: date | None
    text: str


class DiscountOrder(BaseModel):
    """A discount to give."""

    name: Named
    customer: Named
    subscription: Named | None = None
    kind: Annotated[str, Field(pattern="^(percent|amount|coupon)$")]
    value: Positive
    starts: date | None = None
    ends: date | None = None
    text: Text = ""


class DiscountEnd(BaseModel):
    """The first day without a discount."""

    ends: date | None = None


class Charge(Answer):
    """Something that is charged once."""

    id: int
    customer: str
    product: str
    on: date
    quantity: str
    unit_price: str
    currency: str
    text: str | None
    state: str = Field(description="open, billed or withdrawn.")
    document: str | None


class ChargeOrder(BaseModel):
    """Something to charge once."""

    customer: Named
    product: Named
    on: date | None = None
    quantity: Positive = "1"
    price: Amount | None = None
    text: Text | None = None
    key: Key
