"""Routes over what is sold: products, subscriptions, discounts, and what is charged once.

Rule: each order is one transaction and carries what makes it done once; its days are the operator's, today where none
is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import RowMapping
from sqlalchemy.engine import Connection

from control import sales_models as models
from control.billing_models import Done
from control.errors import bad_request
from control.models import Listing
from control.questions import (
    DEFAULT_LIMIT,
    AfterName,
    AfterNumber,
    Limit,
    Name,
    NameFilter,
    Number,
    Ports,
    before,
    following,
)
from domain.money import decimal_text, minor_units, rounded
from storage.billing import clock, discounts, reading, sales, selling, subscriptions

MOST_PERCENT = 100
routes = APIRouter(tags=["sales"])
State = Annotated[str | None, Query(pattern="^(pending|active|paused|stopped)$")]


@routes.get("/products")
def list_products(ports: Ports, limit: Limit = DEFAULT_LIMIT, after: AfterName = None) -> Listing[models.Product]:
    """List what is sold, by name."""
    with ports.engine.connect() as connection:
        rows = sales.products(connection, clock.today(connection), after=after or "", limit=limit + 1)
    items = [
        models.Product(
            name=row["name"],
            kind=row["kind"],
            price=None if row["price"] is None else f"{row['price']:f}",
            currency=row["currency"],
            every=row["document"].get("every", "month"),
            taxes=row["document"].get("taxes", []),
            includes=[each["product"] for each in row["document"].get("includes", [])],
            contract_months=row["document"].get("contract", {}).get("months"),
        )
        for row in rows[:limit]
    ]
    return Listing(items=items, next=items[-1].name if len(rows) > limit else None)


@routes.get("/subscriptions")
def list_subscriptions(
    ports: Ports,
    customer: NameFilter = None,
    product: NameFilter = None,
    state: State = None,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterNumber = None,
) -> Listing[models.Subscription]:
    """List what is sold to customers; of one customer, of one product, in one state."""
    with ports.engine.connect() as connection:
        today = clock.today(connection)
        wanted = None if customer is None else reading.customer_id(connection, customer)
        rows = sales.listed(
            connection, today, customer=wanted, product=product, state=state, after=int(after or 0), limit=limit + 1
        )
    items = [models.Subscription(**_subscription(row, today)) for row in rows[:limit]]
    return Listing(items=items, next=following(rows, limit))


@routes.get("/subscriptions/{name:path}")
def show_subscription(ports: Ports, name: Name) -> models.SubscriptionDetail:
    """Show one sale: what happened to it, what it holds, its contract, and what ending it today would cost."""
    with ports.engine.connect() as connection:
        today = clock.today(connection)
        id_ = subscriptions.find(connection, name)
        row = sales.shown(connection, id_, today)
        events, held = sales.happened(connection, id_), sales.held(connection, id_)
        cost = selling.cost_of_end(connection, id_, today)
    return models.SubscriptionDetail(
        **_subscription(row, today),
        events=[
            models.SubscriptionEvent(
                on=each["on_day"],
                kind=each["kind"],
                product=each["product"],
                unit_price=_plain(each["unit_price"]),
                quantity=_plain(each["quantity"]),
                reason=each["reason"],
            )
            for each in events
        ],
        holds=[models.Held.model_validate(dict(each)) for each in held],
        contract=row["contract"],
        cancellation_fee=_amount(cost.fee, row["currency"]),
    )


@routes.post("/subscriptions")
def start_subscription(ports: Ports, order: models.StartOrder) -> Done:
    """Sell something to a customer from a day on."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        wanted = subscriptions.Start(
            order.customer, order.product, order.starts or subscriptions.first_day(connection, order.customer),
            order.ends, _quantity(order.quantity), _price(order.price), order.service, order.name,
        )  # fmt: skip
        id_ = subscriptions.start(connection, wanted, today, order.key)
        row = sales.shown(connection, id_, wanted.starts)
    price = f"{_plain(row['unit_price'])} {row['currency']}"
    return Done(text=f"{row['name']}: {row['product']} for {row['customer']} from {wanted.starts}, {price} a period")


@routes.post("/subscription-changes/{name:path}")
def change_subscription(ports: Ports, name: Name, order: models.ChangeOrder) -> Done:
    """Sell another product, quantity or price from a day on."""
    wanted = subscriptions.Change(
        order.product, _price(order.price), None if order.quantity is None else _quantity(order.quantity)
    )
    if wanted == subscriptions.Change():
        raise bad_request("nothing is to become different", "name a product, a price or a quantity")
    with _order(ports, name) as (connection, id_, today):
        on = order.starts or today
        subscriptions.change(connection, id_, wanted, on, today, order.key)
        row = sales.shown(connection, id_, on)
    return Done(
        text=f"{row['name']}: {_plain(row['quantity'])} x {row['product']} at {_plain(row['unit_price'])} from {on}"
    )


@routes.post("/subscription-pauses/{name:path}")
def pause_subscription(ports: Ports, name: Name, order: models.PauseOrder) -> Done:
    """Let a sale rest: its days are not charged, and its line is not let in."""
    with _order(ports, name) as (connection, id_, today):
        starts = order.starts or today
        subscriptions.pause(connection, id_, starts, order.ends, today, order.key)
    until = "until further notice" if order.ends is None else f"until {order.ends}"
    return Done(text=f"{name}: paused from {starts} {until}; these days are not charged")


@routes.post("/subscription-resumptions/{name:path}")
def resume_subscription(ports: Ports, name: Name, order: models.ResumeOrder) -> Done:
    """Let what is paused go on, or take back a pause or end that is to come."""
    with _order(ports, name) as (connection, id_, today):
        on = order.on or today
        subscriptions.resume(connection, id_, on, today, order.key)
    return Done(text=f"{name}: goes on from {on}")


@routes.post("/subscription-ends/{name:path}")
def stop_subscription(ports: Ports, name: Name, order: models.StopOrder) -> models.Stopped:
    """End a sale, and charge what an early end costs; a dry run tells it."""
    with ports.engine.connect() as connection, connection.begin() as transaction:
        today = clock.today(connection)
        id_ = subscriptions.find(connection, name)
        named = order.ends or today
        ends = selling.first_free_day(connection, id_, named)
        cost = selling.cost_of_end(connection, id_, ends)
        subscriptions.stop(connection, id_, ends, today, order.key, free=order.free)
        row = sales.shown(connection, id_, today)
        if order.dry_run:
            transaction.rollback()
    return models.Stopped(
        name=row["name"],
        ends=named,
        fee=_amount(Decimal(0) if order.free else cost.fee, row["currency"]),
        currency=row["currency"],
        binds_until=cost.binds_until,
        months_left=cost.months_left,
        dry_run=order.dry_run,
    )


@routes.get("/discounts")
def list_discounts(
    ports: Ports, customer: NameFilter = None, limit: Limit = DEFAULT_LIMIT, after: AfterNumber = None
) -> Listing[models.Discount]:
    """List discounts, the newest first."""
    with ports.engine.connect() as connection:
        wanted = None if customer is None else reading.customer_id(connection, customer)
        rows = discounts.listed(connection, customer=wanted, before=before(after), limit=limit + 1)
    items = [models.Discount(**{**row, "value": f"{row['value']:f}"}) for row in rows[:limit]]
    return Listing(items=items, next=following(rows, limit))


@routes.post("/discounts")
def give_discount(ports: Ports, order: models.DiscountOrder) -> Done:
    """Give a discount: on one sale, or on everything that a customer pays for."""
    value = _quantity(order.value)
    if order.kind == "percent" and value > MOST_PERCENT:
        raise bad_request(f"{order.value} percent is more than all", "give at most 100")
    if order.kind == "coupon" and order.subscription is not None:
        raise bad_request("a coupon is taken off whole documents", "leave the subscription away")
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        customer_id = reading.customer_id(connection, order.customer)
        subscription_id = None
        if order.subscription is not None:
            subscription_id = subscriptions.find(connection, order.subscription)
            owner = sales.shown(connection, subscription_id, today)["customer"]
            if owner != order.customer:
                raise bad_request(f"{order.subscription} is of {owner}", "name a subscription of the customer")
        wanted = discounts.NewDiscount(
            order.name, customer_id, subscription_id, order.kind, value, order.starts or today, order.ends, order.text
        )
        is_new = discounts.give(connection, wanted, today)
    return Done(text=f"{order.name}: {'given' if is_new else 'was given before'}, from {wanted.starts}")


@routes.post("/discount-ends/{name:path}")
def end_discount(ports: Ports, name: Name, order: models.DiscountEnd) -> Done:
    """Let a discount end."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        ends = order.ends or today
        discounts.end(connection, name, ends, today)
    return Done(text=f"{name}: ends on {ends}")


@routes.get("/charges")
def list_charges(
    ports: Ports,
    customer: NameFilter = None,
    only_open: Annotated[bool, Query(alias="open", description="Only what is on no document yet.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterNumber = None,
) -> Listing[models.Charge]:
    """List what is charged once, the newest first."""
    with ports.engine.connect() as connection:
        wanted = None if customer is None else reading.customer_id(connection, customer)
        rows = sales.charges(connection, customer=wanted, only_open=only_open, before=before(after), limit=limit + 1)
    items = [
        models.Charge(
            **{key: value for key, value in row.items() if key not in ("on_day", "quantity", "unit_price")},
            on=row["on_day"],
            quantity=str(_plain(row["quantity"])),
            unit_price=f"{row['unit_price']:f}",
        )
        for row in rows[:limit]
    ]
    return Listing(items=items, next=following(rows, limit))


@routes.post("/charges")
def add_charge(ports: Ports, order: models.ChargeOrder) -> Done:
    """Charge a product once, on the document of its day."""
    with ports.engine.begin() as connection:
        today = clock.today(connection)
        wanted = sales.Charge(
            reading.customer_id(connection, order.customer), order.product, order.on or today,
            _quantity(order.quantity), None if order.price is None else Decimal(order.price), order.text,
        )  # fmt: skip
        id_ = sales.charge(connection, wanted, order.key, today)
    return Done(text=f"charge {id_}: {order.quantity} x {order.product} for {order.customer} on {wanted.on}")


@routes.post("/charge-withdrawals/{number}")
def withdraw_charge(ports: Ports, number: Number) -> Done:
    """Take back a charge that is on no document yet."""
    with ports.engine.begin() as connection:
        sales.withdraw(connection, number, clock.today(connection))
    return Done(text=f"charge {number} is withdrawn")


@contextmanager
def _order(ports: Ports, name: str) -> Iterator[tuple[Connection, int, date]]:
    with ports.engine.begin() as connection:
        yield connection, subscriptions.find(connection, name), clock.today(connection)


def _subscription(row: RowMapping, today: date) -> dict[str, Any]:
    shown = {key: row[key] for key in models.Subscription.model_fields if key in row}
    return {
        **shown,
        "quantity": str(_plain(row["quantity"])),
        "unit_price": f"{row['unit_price']:f}",
        "contract_until": None if row["state"] == "stopped" else sales.binds_until(row, today),
    }


def _plain(number: Decimal | None) -> str | None:
    return None if number is None else f"{number.normalize():f}"


def _amount(price: Decimal, currency: str) -> str:
    return decimal_text(rounded(minor_units(price, currency)), currency)


def _quantity(text: str) -> Decimal:
    number = Decimal(text)
    if not number:
        raise bad_request("nothing of it is no quantity", "give a number above 0")
    return number


def _price(text: str | None) -> Decimal | None:
    price = None if text is None else Decimal(text)
    if price is not None and price < 0:
        raise bad_request("a price is never negative", "give a discount to those who pay less")
    return price
