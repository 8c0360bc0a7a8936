"""Routes over usage that is charged: what is reported of products, and lines of usage with the facts that they sum.

Rule: an order carries what makes it done once; amounts and units are exact decimal text.
"""

from __future__ import annotations

from decimal import Decimal

from fastapi import APIRouter

from control import billing_models as models
from control.errors import bad_request
from control.models import Listing
from control.questions import DEFAULT_LIMIT, AfterNumber, Limit, Name, Ports, before, following
from domain.money import decimal_text
from storage.billing import clock, metered_events, rating, reading

routes = APIRouter(tags=["billing"])


@routes.post("/metered-events/{subscription:path}")
def report_event(ports: Ports, subscription: Name, order: models.MeteredOrder) -> models.MeteredAdded:
    """Report units, or an amount, of something that is charged by events."""
    units = Decimal(order.units)
    if not units:
        raise bad_request("nothing was reported", "give units or an amount other than 0")
    with ports.engine.begin() as connection:
        on = order.on or clock.today(connection)
        id_, is_new = metered_events.add(
            connection, metered_events.Report(subscription, on, units, order.key, order.text, order.made_by)
        )
    return models.MeteredAdded(id=id_, subscription=subscription, on=on, units=f"{units:f}", again=not is_new)


@routes.get("/metered-events/{subscription:path}")
def list_events(
    ports: Ports, subscription: Name, limit: Limit = DEFAULT_LIMIT, after: AfterNumber = None
) -> Listing[models.MeteredEvent]:
    """List what was reported of a subscription, the newest first."""
    with ports.engine.connect() as connection:
        rows = metered_events.listing(connection, subscription, before(after), limit + 1)
    items = [models.MeteredEvent(**{**row, "units": f"{row['units']:f}"}) for row in rows[:limit]]
    return Listing(items=items, next=following(rows, limit))


@routes.get("/rated-usage/{number:path}")
def rate_usage_again(ports: Ports, number: Name) -> Listing[models.RatedLine]:
    """Rate the usage of a document again, and list what it was billed, what it costs now, and the facts it sums."""
    with ports.engine.connect() as connection:
        found = rating.rate_again(connection, reading.document_id(connection, number), clock.today(connection))
    items = [
        models.RatedLine(
            id=each.line_id,
            text=each.text,
            starts=each.period.starts,
            ends=each.period.ends,
            currency=each.currency,
            billed=decimal_text(each.billed, each.currency),
            amount=decimal_text(each.amount, each.currency),
            difference=decimal_text(each.amount - each.billed, each.currency),
            facts=[
                {key: value if isinstance(value, int) else str(value) for key, value in fact.items()}
                for fact in each.facts
            ],
        )
        for each in found
    ]
    return Listing(items=items, next=None)
