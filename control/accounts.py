"""Routes over customers' accounts: how they stand, their calendars, and what is ordered about them.

Rule: an order is one transaction, in which the lines follow it.
"""

from __future__ import annotations

from fastapi import APIRouter

from control import billing_models as models
from control.errors import bad_request
from control.models import Listing
from control.questions import Name, Ports
from domain.money import decimal_text
from storage.billing import accounts, clock, collecting, gate, reading, wallets

routes = APIRouter(tags=["billing"])


@routes.get("/customer-accounts/{customer:path}")
def show_account(ports: Ports, customer: Name) -> models.AccountAnswer:
    """Show what a customer owes, has in the wallet, and for how many days that lasts."""
    with ports.engine.connect() as connection:
        id_ = reading.payer_id(connection, customer)
        row = reading.account(connection, id_)
        today = clock.today(connection)
        catalogue = accounts.Catalogue.read(connection)
        (account,) = accounts.load(connection, [id_], today, catalogue)
        # What is missing first: days are counted by paying them.
        missing = None if account.wallet is None else wallets.missing(account, catalogue, today)
        left = None if account.wallet is None else wallets.days_left(account, catalogue, today)
    currency = row["currency"]
    amounts = {key: decimal_text(row[key], currency) for key in ("owed", "wallet", "reserved")}
    to_pay = None if missing is None else decimal_text(missing, currency)
    return models.AccountAnswer(**{**row, **amounts}, missing=to_pay, days_left=left)


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
    """Hold cuts off until a customer has paid as promised; no day: as if nothing had been promised."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        collecting.promise(connection, reading.payer_id(connection, customer), order.until, today, order.made_by)
    held = "cuts follow the calendar again" if order.until is None else f"nothing is cut through {order.until}"
    return models.Done(text=f"{customer}: {held}")


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


@routes.post("/rest-ends/{customer:path}")
def end_rest(ports: Ports, customer: Name, order: models.RestEndOrder) -> models.Done:
    """Let a customer's lines be used again after a pause; from that day on they are charged."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        on = order.on or today
        collecting.resume(connection, reading.payer_id(connection, customer), on, today)
    return models.Done(text=f"{customer}: goes on from {on}")


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
