"""Routes over documents beside the run: proformas, and whether what was issued is still what was issued.

Rule: each order is one transaction and safe to be sent twice.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse, Response

from billing.printing import TEMPLATE
from billing.statement_printing import statement_pdf
from control import billing_models as models
from control.billing import report
from control.errors import bad_request
from control.models import Listing
from control.questions import Name, NameFilter, Ports
from domain.money import decimal_text
from storage.billing import clock, ledger, printing, proformas, reading, run, statements, verification

A_YEAR = timedelta(days=365)
First = Annotated[date | None, Query(alias="from", description="The first day; a year before the last if left out.")]
Last = Annotated[date | None, Query(alias="to", description="The last day; today if left out.")]

routes = APIRouter(tags=["billing"])


@routes.post("/proformas/{customer:path}")
def make_proforma(ports: Ports, customer: Name, order: models.ProformaOrder) -> models.RunReport:
    """Ask a customer for what is due, whatever the terms are; nothing is billed until it is paid."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        on = order.on or today
        clock.require_near(connection, on, far_future=order.far_future)
        ledger.require_open(connection, on)
        payer = reading.payer_id(connection, customer)
        if reading.account(connection, payer)["billing"].startswith("prepaid"):
            raise bad_request(f"{customer} pays from a wallet", "see `caudal payment add`")
        return report(run.bill_one(connection, payer, on, asks_first=True, issued_on=today))


@routes.post("/proforma-withdrawals/{number:path}")
def withdraw_proforma(ports: Ports, number: Name) -> models.Done:
    """End a proforma that waits to be paid."""
    with ports.engine.begin() as connection:
        proformas.withdraw(connection, reading.document_id(connection, number), clock.today(connection))
    return models.Done(text=f"{number} asks for nothing any more")


@routes.get("/statements/{customer:path}")
def show_statement(ports: Ports, customer: Name, first: First = None, last: Last = None) -> models.StatementAnswer:
    """Show the account of a customer: what stood, every document and payment of some days, and what stands."""
    with ports.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = statements.read(
            connection, reading.payer_id(connection, customer), *_days(clock.today(connection), first, last)
        )

    def amount(minor: int) -> str:
        return decimal_text(minor, found.currency)

    return models.StatementAnswer(
        customer=found.customer,
        currency=found.currency,
        first=found.first,
        last=found.last,
        opening=amount(found.opening),
        closing=amount(found.closing),
        entries=[
            models.StatementEntry(
                on=entry.movement.on,
                kind=entry.movement.kind,
                number=entry.movement.number,
                method=entry.movement.method,
                text=entry.movement.text,
                amount=amount(entry.movement.amount),
                balance=amount(entry.balance),
            )
            for entry in found.entries
        ],
    )


@routes.get("/statement-files/{customer:path}", response_class=Response)
def print_statement(ports: Ports, customer: Name, first: First = None, last: Last = None) -> Response:
    """Print the statement of a customer as PDF."""
    with ports.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        today = clock.today(connection)
        payer = reading.payer_id(connection, customer)
        printed = statements.printed(connection, payer, *_days(today, first, last), today)
    return Response(statement_pdf(printed), media_type="application/pdf")


def _days(today: date, first: date | None, last: date | None) -> tuple[date, date]:
    """Return the days of a statement: the year up to today where nothing is said."""
    ends = last or today
    begins = first or ends - A_YEAR
    if begins > ends:
        raise bad_request(f"the statement would end on {ends}, before it begins on {begins}", "exchange the days")
    return begins, ends


@routes.get("/document-template", response_class=PlainTextResponse)
def show_template(ports: Ports, partner: NameFilter = None) -> PlainTextResponse:
    """Write the template by which a partner's documents are printed; without a partner the one that comes with us."""
    if partner is None:
        return PlainTextResponse(TEMPLATE.read_text())
    with ports.engine.connect() as connection:
        return PlainTextResponse(printing.template_of(connection, partner) or TEMPLATE.read_text())


@routes.get("/document-verification")
def verify_documents(ports: Ports) -> Listing[models.Difference]:
    """Digest every document anew and follow the chain of every series; list what is not as it was issued."""
    found = verification.check_chains(ports.engine)
    items = [
        models.Difference(what=each.what, kept=str(each.kept), computed=str(each.computed), currency=each.currency)
        for each in found
    ]
    return Listing(items=items, next=None)
