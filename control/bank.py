"""Routes over the bank: a file is taken whole, its payments are booked, and what is left open is settled by hand.

Rule: a file with a mistake changes nothing; progress and one report, or one error, are lines of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from billing import bank_camt, bank_csv
from billing.bank_file import LARGEST_FILE_OCTETS, BankEntry, BankFileError
from billing.exchange import Foreign
from control import bank_models as models
from control import uploads
from control.amounts import worth_of
from control.answer_lines import streamed
from control.billing_models import Done, PaymentBooked
from control.errors import bad_request
from control.models import Listing, Problem
from control.ports import ControlPorts
from control.questions import DEFAULT_LIMIT, AfterNumber, Limit, Number, Ports, before, following
from domain.money import decimal_text
from storage.billing import bank, bank_booking, reading

PROGRESS_STEP = 20
routes = APIRouter(tags=["billing"])

Format = Literal["csv", "camt053"]
Flag = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
_LINES: dict[int | str, dict[str, Any]] = {
    200: {"model": models.BankReport, "description": "Lines of progress, and at last this."}
}


@routes.post("/bank-files", response_class=StreamingResponse, responses=_LINES)
async def import_file(
    request: Request,
    ports: Ports,
    file: Flag = "",
    form: Annotated[Format | None, Query(alias="format", description="Left out: by what the file begins with.")] = None,
    dry_run: Annotated[bool, Query(description="Tell what would be done, and do nothing.")] = False,
    made_by: Flag = "",
) -> StreamingResponse:
    """Take in the file of a bank and book what it matches; the answer is lines of JSON: progress, then one report."""
    document = await uploads.document(request, LARGEST_FILE_OCTETS, "let the bank divide it")
    lines = await run_in_threadpool(_import, ports, document, form, file, made_by, dry_run=dry_run)
    return streamed(lines)


def _import(
    ports: ControlPorts, document: bytes, form: Format | None, file: str, made_by: str, *, dry_run: bool
) -> Iterator[models.BankProgress | models.BankReport]:
    """Take the file, or refuse it; the payments are booked while the answer is read."""
    with ports.engine.begin() as connection:
        entries = _parsed(document, form, *bank.csv_form(connection))
        intake = bank.take(connection, file, entries, dry_run=dry_run)
    report = models.BankReport(
        dry_run=dry_run,
        entries=len(entries),
        known=intake.known,
        booked=0,
        open=sum(each.state == "open" for each in intake.new),
        ignored=sum(each.state == "ignored" for each in intake.new),
        totals={},
    )
    if dry_run:
        matched = [each.entry for each in intake.new if each.state == "matched"]
        return iter([_told(report, matched)])
    return _book(ports, report, intake, made_by)


def _told(report: models.BankReport, matched: list[BankEntry]) -> models.BankReport:
    totals: Counter[str] = Counter()
    for entry in matched:
        totals[entry.currency] += entry.amount
    return report.model_copy(
        update={
            "booked": len(matched),
            "totals": {currency: decimal_text(amount, currency) for currency, amount in sorted(totals.items())},
        }
    )


def _book(
    ports: ControlPorts, report: models.BankReport, intake: bank.Intake, made_by: str
) -> Iterator[models.BankProgress | models.BankReport]:
    """Book what the file matched, in its order."""
    ours = bank_booking.numbers_of(ports.engine, [each.key for each in intake.new if each.state == "matched"])
    by_key = {each.key: each.entry for each in intake.new}
    booked: list[BankEntry] = []
    left_open = 0
    with bank_booking.booking(ports.engine):
        keys = dict(ours)
        for done, result in enumerate(bank_booking.book_each(ports.engine, [*keys], made_by), 1):
            if result.state == "booked":
                booked.append(by_key[keys[result.id]])
            else:
                left_open += 1
            if done % PROGRESS_STEP == 0:
                yield models.BankProgress(booked=done, of=len(ours))
    yield _told(report.model_copy(update={"open": report.open + left_open}), booked)


def _parsed(document: bytes, form: Format | None, columns: Any, currency: str) -> list[BankEntry]:
    is_xml = document.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") if form is None else form == "camt053"
    try:
        return bank_camt.parse(document) if is_xml else bank_csv.parse(document, columns, currency)
    except BankFileError as error:
        problems = [Problem(line=mistake.line, message=mistake.message) for mistake in error.mistakes]
        raise bad_request(str(error), problems=problems) from error


@routes.get("/bank-entries")
def list_entries(
    ports: Ports,
    state: Literal["matched", "booked", "open", "ignored"] | None = None,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterNumber = None,
) -> Listing[models.BankEntry]:
    """List entries of the bank, the newest first."""
    with ports.engine.connect() as connection:
        rows = bank.entries(connection, state=state, before=before(after), limit=limit + 1)
    return Listing(
        items=[_entry(row) for row in rows[:limit]],
        next=following(rows, limit),
    )


def _entry(row: Any) -> models.BankEntry:
    said = row["entry"]
    texts = ("payer", "payer_account", "text", "end_to_end", "account", "bank_reference")
    return models.BankEntry(
        **{key: row[key] for key in ("id", "file", "booked_on", "currency", "state", "why", "customer")},
        **{key: said.get(key, "") for key in texts},
        amount=decimal_text(row["amount"], row["currency"]),
        payment=row["payment_id"],
        references=said.get("references", []),
    )


@routes.post("/bank-entries/{number}/assign")
def assign_entry(ports: Ports, number: Number, order: models.AssignOrder) -> PaymentBooked:
    """Book an entry as a customer's payment."""
    with ports.engine.begin() as connection:
        payer, chosen = reading.paid_for(connection, order.customer, order.invoices)
        currency = reading.account(connection, payer)["currency"]
        came = Foreign(*bank_booking.money_of(connection, number))
        worth = worth_of(came, currency, order.rate, order.worth)
        foreign = None if came.currency == currency else came
        booked = bank_booking.assign(
            connection, number, payer, chosen, order.made_by, None if foreign is None else worth
        )
        paid = [
            f"{reading.document(connection, each.document_id)[0]['number']}: {decimal_text(each.amount, currency)}"
            for each in booked.payment.allocated
        ]
    return PaymentBooked(
        id=booked.payment.id,
        customer=order.customer,
        amount=decimal_text(booked.amount, currency),
        currency=currency,
        receipt=booked.payment.receipt,
        paid=paid,
        unused=decimal_text(booked.payment.unused, currency),
        again=False,
        foreign_amount=None if foreign is None else decimal_text(*foreign),
        foreign_currency=None if foreign is None else foreign.currency,
    )


@routes.post("/bank-entries/{number}/ignore")
def ignore_entry(ports: Ports, number: Number, order: models.IgnoreOrder) -> Done:
    """Leave an entry unbooked, for a reason."""
    with ports.engine.begin() as connection:
        bank.ignore(connection, number, order.reason)
    return Done(text=f"entry {number}: ignored, {order.reason}")
