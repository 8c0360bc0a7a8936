"""Routes over money: invoice runs, documents, prices and payments.

Rule: each order is one transaction and carries what makes it done once; amounts are exact decimal text.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import RowMapping

from billing.invoice_data import xml
from billing.ledger import OWN_METHODS
from billing.prices import PriceScope
from billing.printing import pdf
from control import billing_models as models
from control import cards as card_routes
from control.amounts import came_in, minor
from control.answer_lines import streamed
from control.errors import bad_request
from control.models import Listing
from control.ports import ControlPorts
from control.questions import DEFAULT_LIMIT, AfterNumber, Limit, Name, NameFilter, Ports, before, following
from domain.money import decimal_text
from storage.billing import (
    cards,
    clock,
    credit_notes,
    invoice_runs,
    ledger,
    payments,
    prices,
    printing,
    reading,
    run,
    trial,
)

routes = APIRouter(tags=["billing"])

_LINES: dict[int | str, dict[str, Any]] = {
    200: {"model": models.RunReport, "description": "Lines of progress, and at last this."}
}


@routes.post("/invoice-runs", response_class=StreamingResponse, responses=_LINES)
def run_invoices(ports: Ports, order: models.InvoiceRunOrder) -> StreamingResponse:
    """Bill what is due on a day; the answer is lines of JSON: progress, then one report."""
    with ports.engine.connect() as connection:
        customer = None if order.customer is None else reading.payer_id(connection, order.customer)
        if not order.dry_run:
            clock.require_near(connection, order.date, far_future=order.far_future)
            ledger.require_open(connection, order.date)
    if order.dry_run:
        lines = _preview(ports, order.date, customer)
    elif customer is not None:
        lines = iter([_bill_one(ports, order.date, customer)])
    else:
        lines = _bill(ports, order.date)
    return streamed(lines)


def _preview(ports: ControlPorts, on: date, customer: int | None) -> Iterator[models.RunProgress | models.RunReport]:
    due = 1 if customer is not None else run.count_due(ports.engine, on)
    seen = invoice_runs.Seen()
    for some, seen.progress in trial.preview(ports.engine, on, customer):
        seen.add(some)
        yield models.RunProgress(accounts=seen.progress.accounts, of=due)
    yield report(seen.progress, dry_run=True, found=seen.differences)


def _bill_one(ports: ControlPorts, on: date, customer: int) -> models.RunReport:
    with ports.engine.begin() as connection:
        progress = run.bill_one(connection, customer, on)
    return report(progress)


def _bill(ports: ControlPorts, on: date) -> Iterator[models.RunProgress | models.RunReport]:
    due = run.count_due(ports.engine, on)
    told: Any = run.Progress()
    for told in ports.bill(on):
        yield models.RunProgress(accounts=told.accounts, of=due)
    yield report(told)


def report(told: Any, *, dry_run: bool = False, found: list[trial.Preview] | None = None) -> models.RunReport:
    """Return what a run did, or would do."""
    return models.RunReport(
        dry_run=dry_run,
        accounts=told.accounts,
        documents=told.documents,
        lines=told.lines,
        parked=told.parked,
        totals={currency: decimal_text(amount, currency) for currency, amount in sorted(told.totals.items())},
        differences=[
            models.CustomerDifference(
                customer=each.login,
                amount=decimal_text(each.gross, each.currency),
                before=decimal_text(each.before, each.currency),
                difference=decimal_text(each.difference, each.currency),
                currency=each.currency,
            )
            for each in found or ()
        ],
    )


@routes.get("/invoices")
def list_documents(
    ports: Ports,
    customer: NameFilter = None,
    kind: NameFilter = None,
    only_open: Annotated[bool, Query(alias="open", description="Only invoices that are not paid.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterNumber = None,
) -> Listing[models.Document]:
    """List documents, the newest first; of one customer, of one kind, or those that are not paid."""
    with ports.engine.connect() as connection:
        wanted = None if customer is None else reading.customer_id(connection, customer)
        rows = reading.documents(
            connection, customer=wanted, kind=kind, only_open=only_open, before=before(after), limit=limit + 1
        )
    return Listing(items=[_document(row) for row in rows[:limit]], next=following(rows, limit))


@routes.get("/invoice-files/pdf/{number:path}", response_class=Response)
def print_document(ports: Ports, number: Name) -> Response:
    """Print a document as PDF; with the data of EN 16931 inside where the partner's terms say so."""
    with ports.engine.connect() as connection:
        document = printing.printed(connection, reading.document_id(connection, number))
    return Response(pdf(document), media_type="application/pdf")


@routes.get("/invoice-files/xml/{number:path}", response_class=Response)
def export_document(ports: Ports, number: Name) -> Response:
    """Write an invoice or credit note as data (EN 16931, CII)."""
    with ports.engine.connect() as connection:
        document = printing.printed(connection, reading.document_id(connection, number))
    return Response(xml(document), media_type="application/xml")


@routes.get("/invoices/{number:path}")
def show_document(ports: Ports, number: Name) -> models.DocumentDetail:
    """Show one document with its lines, by its number."""
    with ports.engine.connect() as connection:
        head, lines = reading.document(connection, reading.document_id(connection, number))
    currency = head["currency"]
    return models.DocumentDetail(
        **_document(head).model_dump(),
        position=head["position"],
        hash=None if head["hash"] is None else bytes(head["hash"]).hex(),
        superseded_by=head["superseded_by_number"],
        taxes=[
            models.DocumentTax(
                code=code,
                category=category,
                percent=percent,
                base=decimal_text(base, currency),
                tax=decimal_text(tax, currency),
            )
            for code, category, percent, base, tax, _ in head["frozen"].get("taxes", ())
        ],
        lines=[
            models.DocumentLine(
                id=row["id"],
                text=row["text"],
                product=row["product"],
                starts=row["starts"],
                ends=row["ends"],
                quantity=f"{row['quantity'].normalize():f}",
                unit_price=f"{row['unit_price']:f}",
                net=decimal_text(row["net"], currency),
                tax=decimal_text(row["tax"], currency),
                component=row["component"],
                credits_line=row["credits_line"],
                usage=row["usage"],
            )
            for row in lines
        ],
    )


def _document(row: RowMapping) -> models.Document:
    currency = row["currency"]
    return models.Document(
        id=row["id"],
        kind=row["kind"],
        number=row["number"],
        customer=row["customer"],
        currency=currency,
        dated=row["dated"],
        issued_on=row["issued_on"],
        due_on=row["due_on"],
        net=decimal_text(row["net"], currency),
        tax=decimal_text(row["tax"], currency),
        gross=decimal_text(row["gross"], currency),
        open=decimal_text(row["open_amount"], currency),
    )


@routes.post("/prices/{product:path}")
def change_price(ports: Ports, product: Name, order: models.PriceOrder) -> models.PriceChanged:
    """Change what a product costs from a day on: for new customers, for all, or for those at the old price."""
    amount = Decimal(order.amount)
    if amount < 0:
        raise bad_request("a price is never negative", "give a discount to those who pay less")
    with ports.engine.connect() as connection, connection.begin() as transaction:
        found = prices.change(
            connection,
            product,
            amount,
            order.starts,
            PriceScope(order.scope),
            clock.today(connection),
            order.partner,
        )
        if order.dry_run:
            transaction.rollback()
    return models.PriceChanged(
        product=product,
        before=None if found.before is None else f"{found.before:f}",
        amount=f"{amount:f}",
        starts=order.starts,
        moved=[models.PriceMoved(customer=login, difference=f"{more:f}") for login, more in found.moved],
        dry_run=order.dry_run,
    )


@routes.post("/credits/{number:path}")
def credit_invoice(ports: Ports, number: Name, order: models.CreditOrder) -> models.Done:
    """Take back a line of an invoice, or a part of it; without a line, of an invoice that has only one."""
    with ports.engine.begin() as connection:
        head, lines = reading.document(connection, reading.document_id(connection, number))
        charges = [row["id"] for row in lines if row["credits_line"] is None and row["amount"] > 0]
        line = order.line
        if line is None:
            if len(charges) != 1:
                raise bad_request(f"{number} has {len(charges)} lines", "name one of them: --json shows their ids")
            line = charges[0]
        elif line not in charges:
            raise bad_request(f"{line} is no line of {number} that was charged", "see `caudal invoice show --json`")
        amount = None if order.amount is None else minor(order.amount, head["currency"])
        note = credit_notes.credit(connection, line, amount, order.key, clock.today(connection), order.reason)
    return models.Done(text=f"credit note {note}")


@routes.get("/parked-accounts")
def list_parked(ports: Ports) -> Listing[models.Parked]:
    """List the accounts that runs leave out, with the reason."""
    with ports.engine.connect() as connection:
        return Listing(items=[models.Parked.model_validate(row) for row in reading.parked(connection)], next=None)


@routes.post("/parked-accounts/retry")
def retry_parked(ports: Ports, customer: NameFilter = None) -> models.Done:
    """Let parked accounts be billed by the next run."""
    with ports.engine.begin() as connection:
        wanted = None if customer is None else reading.payer_id(connection, customer)
        count = run.retry(connection, wanted, clock.today(connection))
    return models.Done(text=f"{count} accounts are billed by the next run again")


@routes.post("/payments")
def add_payment(ports: Ports, order: models.PaymentOrder) -> models.PaymentBooked:
    """Book a payment, pay with it what is open, issue its receipt, and let the line in again."""
    if order.method in OWN_METHODS:
        raise bad_request(
            f"nothing comes in by the method {order.method!r}", "see `caudal deposit` and `caudal invoice`"
        )
    with ports.engine.begin() as connection:
        payer, chosen = reading.paid_for(connection, order.customer, order.invoices)
        currency = reading.account(connection, payer)["currency"]
        amount, foreign = came_in(order, currency)
        booked = payments.add(
            connection,
            payments.Order(payer, amount, order.method, order.key, order.reference, chosen, order.made_by, foreign),
            clock.today(connection),
        )
        paid = [
            f"{reading.document(connection, each.document_id)[0]['number']}: {decimal_text(each.amount, currency)}"
            for each in booked.allocated
        ]
    return models.PaymentBooked(
        id=booked.id,
        customer=order.customer,
        amount=decimal_text(amount, currency),
        currency=currency,
        receipt=booked.receipt,
        paid=paid,
        unused=decimal_text(booked.unused, currency),
        again=booked.again,
        foreign_amount=None if foreign is None else decimal_text(*foreign),
        foreign_currency=None if foreign is None else foreign.currency,
    )


@routes.get("/payments")
def list_payments(
    ports: Ports, customer: NameFilter = None, limit: Limit = DEFAULT_LIMIT, after: AfterNumber = None
) -> Listing[models.Payment]:
    """List payments, the newest first."""
    with ports.engine.connect() as connection:
        wanted = None if customer is None else reading.payer_id(connection, customer)
        rows = reading.payments(connection, customer=wanted, before=before(after), limit=limit + 1)
    items = []
    for row in rows[:limit]:
        amounts = {key: decimal_text(row[key], row["currency"]) for key in ("amount", "unused", "refunded")}
        came = row["foreign_amount"]
        foreign = None if came is None else decimal_text(came, row["foreign_currency"])
        items.append(models.Payment(**{**row, **amounts, "foreign_amount": foreign}))
    return Listing(items=items, next=following(rows, limit))


@routes.post("/payments/{number}/refund")
def refund_payment(ports: Ports, number: int, order: models.RefundOrder) -> models.Refunded:
    """Give back a part of a payment, a charge of a card through its gateway, or reverse all of it."""
    with ports.engine.connect() as connection:
        currency = payments.currency_of(connection, number)
        amount = None if order.amount is None else minor(order.amount, currency)
        is_charged = not order.reversal and cards.is_charged(connection, number)
    if is_charged:
        return card_routes.give_back(ports, number, amount, order.key)
    with ports.engine.begin() as connection:
        cards.require_none_under_way(connection, number)
        given = payments.give_back(
            connection, number, amount, order.key, clock.today(connection), is_reversal=order.reversal
        )
    return models.Refunded(payment=number, amount=decimal_text(given, currency), currency=currency)
