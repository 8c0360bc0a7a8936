"""The answers of the control API about files and entries of the bank."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from control.billing_models import Amount, Rate, Text
from control.models import Answer


class BankProgress(Answer):
    """A line of an import's answer."""

    event: Literal["progress"] = "progress"
    booked: int
    of: int


class BankReport(Answer):
    """The last line of an import's answer."""

    event: Literal["report"] = "report"
    dry_run: bool
    entries: int = Field(description="All of the file.")
    known: int = Field(description="Those which came before, in this file or another.")
    booked: int = Field(description="Of a dry run: those which would be tried.")
    open: int
    ignored: int
    totals: dict[str, str] = Field(description="What was booked, by currency.")


class BankEntry(Answer):
    """An entry of the bank; `amount` is negative where money went out."""

    id: int
    file: str
    booked_on: date
    amount: str
    currency: str
    state: str
    why: str
    customer: str | None
    payment: int | None
    payer: str
    payer_account: str
    text: str
    references: list[str]
    end_to_end: str
    account: str
    bank_reference: str


class AssignOrder(BaseModel):
    """Whose an entry is, and what it pays first."""

    customer: Annotated[str, Field(max_length=253, pattern=r"^[^\x00]*$")]
    invoices: list[str] = []
    made_by: Text = ""
    rate: Rate | None = None
    worth: Amount | None = None


class IgnoreOrder(BaseModel):
    """Why an entry is no payment."""

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
