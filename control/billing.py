"""Routes over money: invoice runs, documents, payments, accounts, the ledger and the clock of a test database.

Rule: each order is one transaction and carries what makes it done once; amounts are exact decimal text.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import RowMapping
from sqlalchemy.engine import Connection

from billing import journal
from billing.prices import PriceScope
from billing.printing import pdf, xml
from control import billing_models as models
from control import cards as card_routes
from control.amounts import minor
from control.errors import bad_request, refusal_of
from control.models import Answer, Listing
from control.ports import ControlPorts
from control.questions import DEFAULT_LIMIT, AfterNumber, Limit, Name, NameFilter, Ports
from domain.money import decimal_text
from storage.billing import (
    accounts,
    cards,
    clock,
    collecting,
    credit_notes,
    gate,
    invoice_runs,
    ledger,
    payments,
    prices,
    printing,
    reading,
    run,
    verification,
    wallets,
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
    return StreamingResponse(_told(lines), media_type="application/x-ndjson")


def _told(lines: Iterator[Answer]) -> Iterator[bytes]:
    """Yield answers as lines; where the answer has begun, an error is its last line."""
    try:
        for line in lines:
            yield line.model_dump_json().encode() + b"\n"
    except Exception as error:  # noqa: BLE001 - whatever it was, the caller is told
        yield refusal_of(error).answer.model_dump_json().encode() + b"\n"


def _preview(ports: ControlPorts, on: date, customer: int | None) -> Iterator[models.RunProgress | models.RunReport]:
    due = 1 if customer is not None else run.count_due(ports.engine, on)
    seen = invoice_runs.Seen()
    for some, seen.progress in run.preview(ports.engine, on, customer):
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


def report(told: Any, *, dry_run: bool = False, found: list[run.Preview] | None = None) -> models.RunReport:
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
            connection, customer=wanted, kind=kind, only_open=only_open, before=_before(after), limit=limit + 1
        )
    return Listing(items=[_document(row) for row in rows[:limit]], next=_next(rows, limit))


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
    with ports.engine.begin() as connection:
        payer = reading.payer_id(connection, order.customer)
        currency = reading.account(connection, payer)["currency"]
        chosen = [reading.document_id(connection, number) for number in order.invoices]
        amount = minor(order.amount, currency)
        if amount <= 0:
            raise bad_request("the amount of a payment is more than nothing", "see `caudal payment refund`")
        booked = payments.add(
            connection,
            payments.Order(payer, amount, order.method, order.key, order.reference, chosen, order.made_by),
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
    )


@routes.get("/payments")
def list_payments(
    ports: Ports, customer: NameFilter = None, limit: Limit = DEFAULT_LIMIT, after: AfterNumber = None
) -> Listing[models.Payment]:
    """List payments, the newest first."""
    with ports.engine.connect() as connection:
        wanted = None if customer is None else reading.payer_id(connection, customer)
        rows = reading.payments(connection, customer=wanted, before=_before(after), limit=limit + 1)
    items = []
    for row in rows[:limit]:
        amounts = {key: decimal_text(row[key], row["currency"]) for key in ("amount", "unused", "refunded")}
        items.append(models.Payment(**{**row, **amounts}))
    return Listing(items=items, next=_next(rows, limit))


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
        given = payments.give_back(
            connection, number, amount, order.key, clock.today(connection), is_reversal=order.reversal
        )
    return models.Refunded(payment=number, amount=decimal_text(given, currency), currency=currency)


@routes.get("/customer-accounts/{customer:path}")
def show_account(ports: Ports, customer: Name) -> models.AccountAnswer:
    """Show what a customer owes, has in the wallet, and for how many days that lasts."""
    with ports.engine.connect() as connection:
        id_ = reading.payer_id(connection, customer)
        row = reading.account(connection, id_)
        today = clock.today(connection)
        catalogue = accounts.Catalogue.read(connection)
        (account,) = accounts.load(connection, [id_], today, catalogue)
        left = (
            None if account.wallet is None else wallets.days_left(account, accounts.Catalogue.read(connection), today)
        )
    currency = row["currency"]
    amounts = {key: decimal_text(row[key], currency) for key in ("owed", "wallet", "reserved")}
    return models.AccountAnswer(**{**row, **amounts}, days_left=left)


@routes.get("/calendars/{customer:path}")
def show_calendar(ports: Ports, customer: Name) -> Listing[models.CalendarStep]:
    """List what is done to collect a customer's debt, and when: the dates by which lines are cut."""
    with ports.engine.connect() as connection:
        today = clock.today(connection)
        (standing,) = gate.load(connection, [reading.payer_id(connection, customer)], today)
    steps = [models.CalendarStep(on=step.on, act=step.act.value, number=step.number) for step in standing.steps]
    return Listing(items=steps, next=None)


@routes.post("/promises/{customer:path}")
def promise(ports: Ports, customer: Name, order: models.PromiseOrder) -> models.Done:
    """Hold cuts off until a customer has paid as promised."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        collecting.promise(connection, reading.payer_id(connection, customer), order.until, today, order.made_by)
    return models.Done(text=f"{customer}: nothing is cut through {order.until}")


@routes.post("/rests/{customer:path}")
def rest(ports: Ports, customer: Name, order: models.RestOrder) -> models.Done:
    """Let a customer's lines rest on some days, which are not charged."""
    if order.ends is not None and order.ends <= order.starts:
        raise bad_request("the pause ends before it begins", "give the first day on which the line is used again")
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        collecting.pause(connection, reading.payer_id(connection, customer), order.starts, order.ends, today)
    until = "until further notice" if order.ends is None else f"until {order.ends}"
    return models.Done(text=f"{customer}: rests from {order.starts} {until}; these days are not charged")


@routes.post("/account-states/{customer:path}")
def set_state(ports: Ports, customer: Name, order: models.StateOrder) -> models.Done:
    """Give a customer up, or take it back."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        collecting.set_active(connection, reading.customer_id(connection, customer), order.active, today)
    what = "active again" if order.active else "inactive: neither billed nor let in"
    return models.Done(text=f"{customer}: {what} from {today}")


@routes.post("/trust-unlocks/{customer:path}")
def unlock(ports: Ports, customer: Name, order: models.UnlockOrder) -> models.Done:
    """Let a cut line in for some days on trust, as the account's terms allow."""
    with ports.engine.begin() as connection:
        until = collecting.trust(
            connection, reading.payer_id(connection, customer), clock.today(connection), order.made_by
        )
    return models.Done(text=f"{customer}: let in on trust through {until}")


@routes.get("/ledger/balances")
def list_balances(ports: Ports) -> Listing[models.Balance]:
    """List what every account of the ledger sums to."""
    with ports.engine.connect() as connection:
        rows = ledger.balances(connection)
    items = [
        models.Balance(
            account=row.account.kind.value,
            name=row.account.name,
            currency=row.account.currency,
            amount=decimal_text(row.amount, row.account.currency),
            customers=row.customers,
        )
        for row in rows
    ]
    return Listing(items=items, next=None)


@routes.get("/ledger/check")
def check_ledger(ports: Ports) -> Listing[models.Difference]:
    """Compute everything anew and list what is not as it should be."""
    found = [*ledger.check_books(ports.engine), *verification.check_chains(ports.engine)]
    items = [
        models.Difference(
            what=each.what,
            kept=decimal_text(each.kept, each.currency) if each.currency else str(each.kept),
            computed=decimal_text(each.computed, each.currency) if each.currency else str(each.computed),
            currency=each.currency,
        )
        for each in found
    ]
    return Listing(items=items, next=None)


@routes.get("/ledger/journal", response_class=StreamingResponse)
def export_journal(
    ports: Ports,
    first: Annotated[date, Query(alias="from")],
    last: Annotated[date, Query(alias="to")],
    form: Annotated[str, Query(pattern="^(csv|beancount)$")] = "csv",
) -> StreamingResponse:
    """Write the postings of some days, as CSV or as beancount's text."""

    def lines() -> Iterator[str]:
        with ports.engine.connect() as connection:
            rows = reading.journal(connection, first, last)
            if form == "csv":
                yield from journal.csv_lines(rows)
            else:
                yield from journal.beancount_lines(rows, ledger.accounts(connection))

    return StreamingResponse(lines(), media_type="text/csv" if form == "csv" else "text/plain")


@routes.post("/ledger/close")
def close_books(ports: Ports, order: models.CloseOrder) -> models.Closed:
    """Let nothing more be posted through a day."""
    with ports.engine.begin() as connection:
        ledger.close_through(connection, order.through)
    return models.Closed(through=order.through)


@routes.get("/clock")
def show_clock(ports: Ports) -> models.ClockAnswer:
    """Show the clock of billing."""
    with ports.engine.connect() as connection:
        return _clock(connection)


@routes.post("/clock/permit")
def permit_clock(ports: Ports) -> models.ClockAnswer:
    """Make this a test database, whose clock may be moved."""
    with ports.engine.begin() as connection:
        clock.permit(connection)
        return _clock(connection)


@routes.post("/clock/advance")
def advance_clock(ports: Ports, order: models.ClockOrder) -> models.ClockAnswer:
    """Move the clock of a test database ahead."""
    with ports.engine.begin() as connection:
        clock.advance(connection, timedelta(days=order.days))
        return _clock(connection)


def _clock(connection: Connection) -> models.ClockAnswer:
    return models.ClockAnswer(
        now=clock.now(connection), today=clock.today(connection), is_test=clock.is_test(connection)
    )


def _before(after: str | None) -> int | None:
    return None if after is None else int(after)


def _next(rows: Any, limit: int) -> str | None:
    return str(rows[limit - 1]["id"]) if len(rows) > limit else None
