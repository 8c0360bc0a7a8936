"""Routes over reminders: whom to tell that something is not paid."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from control.models import Answer, Listing
from control.questions import DEFAULT_LIMIT, AfterNumber, Limit, NameFilter, Ports, before, following
from domain.money import decimal_text
from storage.billing import reading, reminders

routes = APIRouter(tags=["billing"])


class Reminder(Answer):
    """A reminder that fell due."""

    id: int
    customer: str
    name: str
    email: str | None
    phone: str | None
    language: str
    number: int = Field(description="Which reminder about this document: 1 is the first.")
    on_day: date
    document: str | None
    due_on: date
    currency: str
    gross: str
    open: str = Field(description="What is still to be paid of the document, now.")


@routes.get("/reminders")
def list_reminders(
    ports: Ports,
    customer: NameFilter = None,
    only_open: Annotated[bool, Query(alias="open", description="Only where something is still to be paid.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterNumber = None,
) -> Listing[Reminder]:
    """List the reminders that fell due, the newest first."""
    with ports.engine.connect() as connection:
        rows = reminders.listed(
            connection,
            customer=None if customer is None else reading.payer_id(connection, customer),
            only_open=only_open,
            before=before(after),
            limit=limit + 1,
        )
    items = []
    for row in rows[:limit]:
        told = dict(row)
        amounts = {"gross": told["gross"], "open": told.pop("open_amount")}
        items.append(Reminder(**told | {key: decimal_text(amount, row["currency"]) for key, amount in amounts.items()}))
    return Listing(items=items, next=following(rows, limit))
