"""The answers of the control API about vouchers.

Rule: codes are in the answer to the order that makes them, and in no other one.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from control.billing_models import Amount, Key, Text
from control.models import Answer
from storage.billing.vouchers import MOST_CODES

_Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f/]+$")]
_Code = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


class VoucherBatchOrder(BaseModel):
    """Vouchers to make: of an amount in the ISP's currency, or of a top-up that plans offer."""

    name: _Name
    count: int = Field(ge=1, le=MOST_CODES)
    amount: Amount | None = None
    offer: _Name | None = None
    valid_until: date | None = Field(None, description="The last day on which they can be redeemed.")
    made_by: Text = ""

    @model_validator(mode="after")
    def _is_one_thing(self) -> VoucherBatchOrder:
        if (self.amount is None) == (self.offer is None):
            raise ValueError("a voucher is of an `amount` or of an `offer`")
        return self


class VoucherBatchMade(Answer):
    """A batch with its codes, the first of number 1."""

    name: str
    codes: list[str]


class VoucherBatch(Answer):
    """A batch, and what became of its vouchers."""

    name: str
    currency: str
    amount: str | None
    offer: str | None
    valid_until: date | None
    count: int
    redeemed: int
    void: int
    made_at: datetime
    made_by: str


class Voucher(Answer):
    """One voucher of a batch; `state` is `open`, `redeemed` or `void`."""

    number: int
    state: str
    customer: str | None
    redeemed_at: datetime | None
    voided_at: datetime | None


class VoidOrder(BaseModel):
    """Which voucher of a batch is void; None: all that are open."""

    number: int | None = Field(None, ge=1, le=MOST_CODES)


class SaleOrder(BaseModel):
    """What came in for cards, and what their seller kept."""

    amount: Amount
    commission: Amount = "0"
    method: str = Field("cash", min_length=1, max_length=100, pattern=r"^[^\x00]*$")
    key: Key
    made_by: Text = ""


class SaleBooked(Answer):
    """A sale that was booked; `again` when its key had been used for one before."""

    name: str
    amount: str
    commission: str
    currency: str
    again: bool


class RedemptionOrder(BaseModel):
    """A code that a customer redeems; `service` where a top-up may be for several."""

    code: _Code
    service: str | None = None


class Redemption(Answer):
    """What a voucher brought."""

    customer: str
    voucher: str
    number: int
    amount: str | None
    currency: str
    receipt: str | None
    top_up: str | None
    service: str | None
    again: bool


class CardsOrder(BaseModel):
    """Codes to print, which are known to whoever has them."""

    codes: list[_Code] = Field(min_length=1, max_length=MOST_CODES)
    language: Literal["en", "es"] = "es"


class VouchersVoided(Answer):
    """How many vouchers of a batch are void now that were not."""

    name: str
    voided: int
