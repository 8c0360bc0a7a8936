"""Routes over documents beside the run: proformas, and whether what was issued is still what was issued.

Rule: each order is one transaction and safe to be sent twice.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from billing.printing import TEMPLATE
from control import billing_models as models
from control.billing import report
from control.errors import bad_request
from control.models import Listing
from control.questions import Name, NameFilter, Ports
from storage.billing import clock, ledger, printing, proformas, reading, run, verification

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
        return report(run.bill_one(connection, payer, on, asks_first=True))


@routes.post("/proforma-withdrawals/{number:path}")
def withdraw_proforma(ports: Ports, number: Name) -> models.Done:
    """End a proforma that waits to be paid."""
    with ports.engine.begin() as connection:
        proformas.withdraw(connection, reading.document_id(connection, number), clock.today(connection))
    return models.Done(text=f"{number} asks for nothing any more")


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
