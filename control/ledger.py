"""Routes over the books, and the clock by which a test database is billed.

Rule: amounts are exact decimal text; what is checked is computed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.engine import Connection

from billing import journal
from control import billing_models as models
from control.answer_lines import streamed
from control.errors import bad_request
from control.models import Answer, Listing
from control.ports import ControlPorts
from control.questions import Ports
from domain.money import decimal_text
from storage.billing import clock, ledger, reading, verification

routes = APIRouter(tags=["billing"])

_LINES: dict[int | str, dict[str, Any]] = {
    200: {"model": models.ClockReport, "description": "Lines of progress, and at last this."}
}


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
        if order.through > clock.today(connection):
            raise bad_request(
                f"{order.through} is to come, and books that are closed do not open again",
                "close them through a day that has been",
            )
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


@routes.post("/clock/advance", response_class=StreamingResponse, responses=_LINES)
def advance_clock(ports: Ports, order: models.ClockOrder) -> StreamingResponse:
    """Move the clock of a test database ahead day by day, and do on each what is due; the answer is lines of JSON."""
    with ports.engine.begin() as connection:
        clock.advance(connection, timedelta(0))
    return streamed(_days(ports, order.days))


def _days(ports: ControlPorts, days: int) -> Iterator[Answer]:
    for number in range(1, days + 1):
        with ports.engine.begin() as connection:
            clock.advance(connection, timedelta(days=1))
            today = clock.today(connection)
        ports.live_day()
        yield models.ClockProgress(days=number, of=days, today=today)
    with ports.engine.connect() as connection:
        yield models.ClockReport(**_clock(connection).model_dump())


def _clock(connection: Connection) -> models.ClockAnswer:
    return models.ClockAnswer(
        now=clock.now(connection), today=clock.today(connection), is_test=clock.is_test(connection)
    )
