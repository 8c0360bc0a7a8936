"""Routes over runs before they are issued: previews and their confirmation.

Rule: a preview issues nothing; what is confirmed the daemon issues, on the run's day or at once if it has come.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from control import billing_models as models
from control.answer_lines import streamed
from control.billing import report
from control.errors import bad_request
from control.models import Listing
from control.ports import ControlPorts
from control.questions import DEFAULT_LIMIT, Limit, Ports
from domain.money import decimal_text
from storage.billing import invoice_runs, run

MOST_IDLE_DAYS = 62
"""Days on which accounts are only looked at; a run that is further away is asked for by its date."""
NOTHING = "nothing"
"""The state of a run that would make nothing, and is not kept."""

routes = APIRouter(tags=["billing"])

_LINES: dict[int | str, dict[str, Any]] = {
    200: {"model": models.PreviewReport, "description": "Lines of progress, and at last this."}
}


@routes.post("/invoice-previews", response_class=StreamingResponse, responses=_LINES)
def preview_run(ports: Ports, order: models.PreviewOrder) -> StreamingResponse:
    """Compute what the run of a day would be, and keep it to be confirmed; the answer is lines of JSON."""
    with ports.engine.connect() as connection:
        on = order.on or invoice_runs.next_day(connection)
    if on is None:
        raise bad_request("nobody is to be billed on any day", "sell something first")
    lines = _lines(ports, on, is_chosen=order.on is not None)
    return streamed(lines)


def _lines(ports: ControlPorts, on: date, *, is_chosen: bool) -> Iterator[models.RunProgress | models.PreviewReport]:
    """Yield the progress and the report of a day; unless it was chosen, of the first one on which anything is due."""
    seen, planned = invoice_runs.Seen(), list[invoice_runs.Planned]()
    days = 1 if is_chosen else MOST_IDLE_DAYS
    while days:
        days -= 1
        due = run.count_due(ports.engine, on)
        for seen in invoice_runs.make(ports.engine, on):
            yield models.RunProgress(accounts=seen.progress.accounts, of=due)
        with ports.engine.connect() as connection:
            planned, following = invoice_runs.planned(connection, on=on), invoice_runs.next_day(connection)
        if planned or following is None or following <= on:
            break
        on = following if days else on
    told = report(seen.progress, dry_run=True, found=seen.differences).model_dump()
    state, automatic_on = (planned[0].state, planned[0].automatic_on) if planned else (NOTHING, None)
    yield models.PreviewReport(**told, on=on, state=state, automatic_on=automatic_on)


@routes.get("/invoice-runs")
def list_runs(ports: Ports, limit: Limit = DEFAULT_LIMIT) -> Listing[models.PlannedRun]:
    """List the runs that were seen before they are issued, the latest day first."""
    with ports.engine.connect() as connection:
        found = invoice_runs.planned(connection, limit=limit)
    return Listing(items=[_planned(each) for each in found], next=None)


@routes.post("/invoice-runs/{day}/confirm")
def confirm_run(ports: Ports, day: date, order: models.ConfirmOrder) -> models.PlannedRun:
    """Let the run of a day be issued; twice is once."""
    with ports.engine.begin() as connection:
        return _planned(invoice_runs.confirm(connection, day, order.confirmed_by))


def _planned(each: invoice_runs.Planned) -> models.PlannedRun:
    totals = each.totals
    return models.PlannedRun(
        on=each.on,
        state=each.state,
        automatic_on=each.automatic_on,
        accounts=totals["accounts"],
        documents=totals["documents"],
        parked=totals["parked"],
        totals={currency: decimal_text(amount, currency) for currency, amount in sorted(totals["gross"].items())},
        made_at=each.made_at,
        confirmed_by=each.confirmed_by,
        issued_at=each.issued_at,
    )
