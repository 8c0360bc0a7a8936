"""The answers of the control API about money.

Rule: an amount is decimal text in the major unit beside its currency (`"12.10"`, `"EUR"`), exact; days are the
operator's local dates.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from control.models import Answer

Amount = Annotated[str, Field(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$", description="Decimal text, such as `12.10`.")]
Rate = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$")]
Key = Annotated[str, Field(min_length=1, max_length=200, description="Two orders with one key are done once.")]
Method = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9-]*$")]
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]


class InvoiceRunOrder(BaseModel):
    """A run of a day."""

    date: date
    dry_run: bool = False
    customer: str | None = None
    far_future: bool = Field(False, description="A day more than 31 days ahead is meant.")


class ProformaOrder(BaseModel):
    """What a customer is to be asked for: what is due by a day; none is today."""

    on: date | None = None
    far_future: bool = Field(False, description="A day more than 31 days ahead is meant.")


class StateOrder(BaseModel):
    """Whether a customer is served and billed."""

    active: bool


class RunProgress(Answer):
    """A line of a run's answer."""

    event: Literal["progress"] = "progress"
    accounts: int
    of: int


class CustomerDifference(Answer):
    """What a customer would be billed, and what it was billed in the month before."""

    customer: str
    amount: str
    before: str
    difference: str
    currency: str


class RunReport(Answer):
    """The last line of a run's answer."""

    event: Literal["report"] = "report"
    dry_run: bool
    accounts: int
    documents: int
    lines: int
    parked: int
    totals: dict[str, str] = Field(description="Gross by currency; credit notes count against it.")
    differences: list[CustomerDifference] = Field([], description="Of a dry run: the largest differences first.")


class PreviewOrder(BaseModel):
    """The day of a run that is to be seen; none is that of the next one."""

    on: date | None = None


class PreviewReport(RunReport):
    """The last line of a preview's answer."""

    on: date
    state: str = Field(description="`preview`, `confirmed`, `issued`, or `nothing` where nobody would be billed.")
    automatic_on: date | None = Field(description="When the run is issued without confirmation; null: never.")


class ConfirmOrder(BaseModel):
    """Who lets a run be issued."""

    confirmed_by: Text = ""


class PlannedRun(Answer):
    """A run that was seen before it is issued."""

    on: date
    state: str = Field(description="`preview`, `confirmed` or `issued`.")
    automatic_on: date | None = Field(description="When it is issued without confirmation; null: never.")
    accounts: int
    documents: int
    parked: int
    totals: dict[str, str] = Field(description="Gross by currency, as the preview had it.")
    made_at: datetime
    confirmed_by: str | None
    issued_at: datetime | None


class Document(Answer):
    """An invoice, credit note, proforma or receipt."""

    id: int
    kind: str
    number: str | None
    customer: str
    currency: str
    dated: date
    issued_on: date | None
    due_on: date | None
    net: str
    tax: str
    gross: str
    open: str


class DocumentLine(Answer):
    """A line of a document."""

    text: str
    product: str
    starts: date
    ends: date
    quantity: str
    unit_price: str
    net: str
    tax: str
    component: str
    credits_line: int | None
    id: int
    usage: dict[str, int | str] | None


class DocumentTax(Answer):
    """What a document has of one rate."""

    code: str
    category: str
    percent: str
    base: str
    tax: str


class DocumentDetail(Document):
    """A document with its lines."""

    lines: list[DocumentLine]
    taxes: list[DocumentTax]
    position: int | None
    hash: str | None
    superseded_by: str | None = Field(description="Of a proforma: the document in its place.")


class StatementEntry(Answer):
    """A document or payment of a statement; what is charged is positive, what is paid or credited negative."""

    on: date
    kind: str
    number: str | None
    method: str = Field(description="How a payment came in; empty where it is none.")
    text: str
    amount: str
    balance: str


class StatementAnswer(Answer):
    """The account of a customer on some days; a negative balance is the customer's own."""

    customer: str
    currency: str
    first: date
    last: date
    opening: str
    entries: list[StatementEntry]
    closing: str


class Parked(Answer):
    """An account that runs leave out."""

    customer: str
    reason: str
    parked_at: datetime


class PaymentOrder(BaseModel):
    """A payment that came in."""

    customer: str
    amount: Amount
    method: Method = "cash"
    reference: Text = ""
    invoices: list[str] = []
    key: Key
    made_by: Text = ""
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = Field(
        default=None, description="That of the amount; the account's own if left out."
    )
    rate: Rate | None = Field(
        default=None, description="What one unit of another currency is worth in the account's, such as `0.926`."
    )
    worth: Amount | None = Field(
        default=None, description="In its place: what all of it is worth in the account's currency."
    )


class PaymentBooked(Answer):
    """A payment that was booked."""

    id: int
    customer: str
    amount: str
    currency: str
    receipt: str | None
    paid: list[str] = Field(description="Numbers of the documents that it paid, with the amounts.")
    unused: str
    again: bool = Field(description="The key had been used for this payment before.")
    foreign_amount: str | None = Field(default=None, description="What came in, if that was another currency.")
    foreign_currency: str | None = None


class Payment(Answer):
    """A payment."""

    id: int
    customer: str
    method: str
    currency: str
    amount: str
    unused: str
    refunded: str
    received_on: date
    reference: str
    reversed: bool
    receipt: str | None
    foreign_amount: str | None = Field(default=None, description="What came in, if that was another currency.")
    foreign_currency: str | None = None


class RefundOrder(BaseModel):
    """What is given back of a payment; no amount is all that is left."""

    amount: Amount | None = None
    key: Key
    reversal: bool = False


class Refunded(Answer):
    """What was given back."""

    payment: int
    amount: str
    currency: str


class AccountAnswer(Answer):
    """How an account stands."""

    customer: str
    currency: str
    billing: str
    state: str
    owed: str
    wallet: str
    reserved: str = Field(description="What of the wallet is kept for something under way.")
    missing: str | None = Field(description="Of a prepaid account: what has to be paid before its lines are served.")
    days_left: int | None = Field(description="Of a prepaid account: days from tomorrow on that its wallet pays.")
    next_bill_on: date | None
    parked: str | None
    pays_for: list[str] = Field(description="Logins of its sub-accounts.")


class CalendarStep(Answer):
    """Something that is done on a day unless the debt is paid."""

    on: date
    act: str
    number: int


class Balance(Answer):
    """What an account of the ledger sums to; debits are positive."""

    account: str
    name: str
    currency: str
    amount: str
    customers: int


class Difference(Answer):
    """Something in the books that is not what it should be."""

    what: str
    kept: str
    computed: str
    currency: str


class CloseOrder(BaseModel):
    """Until when the books are closed."""

    through: date


class Closed(Answer):
    """Until when the books are closed; null: they are open."""

    through: date | None


class ClockOrder(BaseModel):
    """How far the clock of a test database goes ahead."""

    days: Annotated[int, Field(ge=0, le=3660)] = 0


class ClockAnswer(Answer):
    """The clock of billing."""

    now: datetime
    today: date
    is_test: bool


class ClockProgress(Answer):
    """A line of progress: the day that has been lived."""

    event: Literal["progress"] = "progress"
    days: int
    of: int
    today: date


class ClockReport(ClockAnswer):
    """The last line: the clock where it stands now."""

    event: Literal["report"] = "report"


class PriceOrder(BaseModel):
    """What a product costs from a day on, and whom that concerns."""

    amount: Amount
    starts: date
    scope: Literal["new", "all", "old-price"] = "new"
    partner: str | None = None
    dry_run: bool = False


class PriceMoved(Answer):
    """A customer whose price a change moves, and by how much a period."""

    customer: str
    difference: str


class PriceChanged(Answer):
    """What a change of a price did, or would do."""

    product: str
    before: str | None
    amount: str
    starts: date
    moved: list[PriceMoved]
    dry_run: bool


class CreditOrder(BaseModel):
    """What is taken back of a line of an invoice by hand: its whole net amount, or a part of it."""

    line: int | None = None
    amount: Amount | None = None
    reason: Text = ""
    key: Key


class PromiseOrder(BaseModel):
    """A promise to pay until a day."""

    until: date | None = None
    made_by: Text = ""


class RestOrder(BaseModel):
    """Days on which a customer's lines rest and nothing is charged."""

    starts: date
    ends: date | None = None


class RestEndOrder(BaseModel):
    """The first day on which a paused customer's lines are used again; None: today."""

    on: date | None = None


class UnlockOrder(BaseModel):
    """Days on trust for a customer whose line is cut."""

    made_by: Text = ""


class Done(Answer):
    """What was done, as a sentence."""

    text: str


class MeteredOrder(BaseModel):
    """What is reported of a subscription that is charged by events."""

    units: Annotated[str, Field(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$", description="Units, or an amount.")] = "1"
    on: date | None = None
    text: Text = ""
    key: Key
    made_by: Text = ""


class MeteredAdded(Answer):
    """A report that is kept; `again`: it was before."""

    id: int
    subscription: str
    on: date
    units: str
    again: bool


class MeteredEvent(Answer):
    """What was reported."""

    id: int
    on: date
    units: str
    text: str
    key: str


class RatedLine(Answer):
    """A line of usage: what its period was billed in all, what it costs now, and the facts that it sums."""

    id: int
    text: str
    starts: date
    ends: date
    currency: str
    billed: str
    amount: str
    difference: str
    facts: list[dict[str, int | str]] = Field(description="Octets of days by class, or what was reported.")


class ReserveOrder(BaseModel):
    """What is kept of a wallet, and for how long."""

    amount: Amount
    minutes: Annotated[int, Field(ge=1, le=100_000)] = 60
    text: Text = ""
    key: Key


class SpendOrder(BaseModel):
    """What of a reservation is charged; nothing said: all of it."""

    product: str
    amount: Amount | None = None


class Reservation(Answer):
    """An amount of a wallet that is kept, was charged, or is free again."""

    id: int
    customer: str
    amount: str
    posted: str
    currency: str
    state: str
    expires_at: datetime
    text: str
