"""What a clerk orders about what is sold, and what is read of it: begin, change, pause, end, each with its day.

Rule: an order is events of one transaction, done once for its key; the lines and what a bundle holds follow it. An end
that is early by the contract is charged with it, and what is taken back takes its fee along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.contracts import Cancellation
from billing.history import Event, EventKind, SubscriptionState, state_on
from config import catalogue
from domain.catalogue import Product, ProductKind
from storage import plan_sellers
from storage.billing import bundles, clock, coming_changes, currencies, gate, run, selling
from storage.billing.selling import NewSale
from storage.errors import OrderRefused

SOLD_FOR_TIME = (ProductKind.INTERNET, ProductKind.RECURRING, ProductKind.BUNDLE, ProductKind.VOICE)
"""Kinds that are sold from a day on; the others are charged once."""
_DAY = timedelta(days=1)
_INTERVALS = (EventKind.PAUSE, EventKind.RESUME)


class Change(NamedTuple):
    """What becomes different; None stays."""

    product: str | None = None
    price: Decimal | None = None
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """An order to sell something; a price that is None is the list's."""

    customer: str
    product: str
    starts: date
    ends: date | None = None
    quantity: Decimal = Decimal(1)
    price: Decimal | None = None
    service: str | None = None
    name: str | None = None
    """What files call it; None: the product and the customer."""


def find(connection: Connection, name: str) -> int:
    """Return the id of a subscription by what files call it, by the login of its line, or by its id."""
    found = connection.scalars(
        text("""SELECT s.id FROM subscription AS s LEFT JOIN service AS v ON v.id = s.service_id
            WHERE s.code = :name OR (s.code IS NULL AND v.login = :name) OR CAST(s.id AS text) = :name
            ORDER BY s.code IS NULL, v.login IS NULL, s.id LIMIT 1"""),
        {"name": name},
    ).one_or_none()
    if found is None:
        raise OrderRefused(f"there is no subscription {name!r}; see `caudal subscription list`")
    return int(found)


def done_before(connection: Connection, key: str | None) -> int | None:
    """Return the subscription about which an order with this key was done; None: none was."""
    if key is None:
        return None
    found = connection.scalar(text("SELECT subscription_id FROM subscription_event WHERE key = :key"), {"key": key})
    return None if found is None else int(found)


def history(connection: Connection, subscription_id: int) -> list[Event]:
    """Return the events of a subscription, those that were taken back left out."""
    rows = connection.execute(
        text("""SELECT on_day, id, kind, product_id, unit_price, quantity, anchor FROM subscription_event
            WHERE subscription_id = :id AND cancelled_at IS NULL ORDER BY on_day, id"""),
        {"id": subscription_id},
    )
    return [Event(on, id_, EventKind(kind), *rest) for on, id_, kind, *rest in rows]


def first_day(connection: Connection, login: str) -> date:
    """Return on which day begins what is sold to a customer now, without a day, by the terms of who pays for it."""
    row = connection.execute(
        text("""SELECT a.terms, a.currency, c.partner_id FROM customer AS c
            JOIN account AS a ON a.customer_id = coalesce(c.payer_id, c.id) WHERE c.login = :login"""),
        {"login": login},
    ).one_or_none()
    if row is None:
        return clock.today(connection)
    return clock.today(connection, run.terms_of(row.terms, row.currency, connection, row.partner_id).begins)


def start(connection: Connection, order: Start, today: date, key: str | None = None) -> int:
    """Sell something, or again a line whose sale had ended; return its id. Raise OrderRefused."""
    customer_id = connection.scalar(text("SELECT id FROM customer WHERE login = :login"), {"login": order.customer})
    if customer_id is None:
        raise OrderRefused(f"there is no customer {order.customer!r}; see `caudal customer list`")
    _lock(connection, customer_id)
    before = done_before(connection, key)
    if before is not None:
        return before
    product = _product(connection, order.product)
    service_id = None if order.service is None else _service(connection, customer_id, order.service)
    if product.kind is ProductKind.INTERNET:
        subscription_id = _sell_line(connection, order, customer_id, service_id, today, key)
    else:
        code = _code(connection, order)
        sale = NewSale(
            customer_id, order.product, order.starts, order.quantity, order.price, service_id, code,
            reason="order", key=key,
        )  # fmt: skip
        subscription_id = selling.begin(connection, sale, today)
    if order.ends is not None:
        if order.ends < order.starts:
            raise OrderRefused("it cannot end before it begins; see --to")
        ends = selling.first_free_day(connection, subscription_id, order.ends)
        move_end(connection, subscription_id, ends, reason="order")
    bundles.fill(connection, today, [customer_id], [subscription_id])
    _settle(connection, subscription_id, order.starts, today)
    return subscription_id


def _sell_line(
    connection: Connection, order: Start, customer_id: int, service_id: int | None, today: date, key: str | None
) -> int:
    """Sell the plan of a line: a line has one sale, which may end and begin again."""
    row = connection.execute(
        text("""SELECT v.login, p.code, (SELECT s.id FROM subscription AS s
                WHERE s.service_id = v.id AND s.code IS NULL ORDER BY s.id DESC LIMIT 1) AS sale
            FROM service AS v LEFT JOIN product AS p ON p.plan_id = v.plan_id WHERE v.id = :id"""),
        {"id": service_id},
    ).one_or_none()
    if row is None or row.code != order.product:
        told = "name its line with --service" if row is None else f"the plan of {row.login} is {row.code!r}"
        raise OrderRefused(f"{order.product!r} is a plan, which is sold with a line: {told}")
    if row.sale is None:
        sale = NewSale(
            customer_id, order.product, order.starts, order.quantity, order.price, service_id, reason="order", key=key
        )
        return selling.begin(connection, sale, today)
    if state_on(history(connection, row.sale), order.starts) is not SubscriptionState.STOPPED:
        raise OrderRefused(f"{order.product!r} is sold already with {row.login}; see `caudal subscription show`")
    bundles.leave(connection, [row.sale], order.starts)
    price = order.price
    if price is None:
        price = currencies.list_price(connection, customer_id, order.product, order.starts)
    selling.note(
        connection, [row.sale], order.starts, EventKind.START, product=order.product, price=price,
        quantity=order.quantity, reason="order", key=key,
    )  # fmt: skip
    selling.renew_contract(connection, row.sale, order.starts)
    return int(row.sale)


def change(
    connection: Connection, subscription_id: int, wanted: Change, on: date, today: date, key: str | None = None
) -> None:
    """Sell another product, quantity or price from a day on. Raise OrderRefused."""
    row = _own(connection, subscription_id)
    if done_before(connection, key) is not None:
        return
    if state_on(history(connection, subscription_id), on) is SubscriptionState.STOPPED:
        raise OrderRefused(f"{row.name} has ended by {on}; begin it again with `caudal subscription start`")
    if wanted.product is not None:
        product = _product(connection, wanted.product)
        if (product.kind is ProductKind.INTERNET) != (row.kind == ProductKind.INTERNET.value):
            raise OrderRefused("a line and what is no line are not exchanged: stop the one and start the other")
        if product.kind is ProductKind.INTERNET:
            refused = plan_sellers.refusal(connection, row.customer_id, wanted.product)
            if refused is not None:
                raise OrderRefused(refused)
        currencies.require_sellable(connection, row.customer_id, wanted.product, on)
        if wanted.price is None:
            wanted = wanted._replace(price=currencies.list_price(connection, row.customer_id, wanted.product, on))
    change_to(connection, subscription_id, wanted, on, today, reason="order", key=key)
    _settle(connection, subscription_id, on, today)


def change_to(
    connection: Connection, subscription_id: int, wanted: Change, on: date, today: date, *, reason: str,
    key: str | None = None,
) -> None:  # fmt: skip
    """Write a change, and charge what it costs; what follows from another product waits for its day."""
    waits = wanted.product is not None and on > today
    if wanted.product is not None:
        selling.charge_change(connection, [subscription_id], on, wanted.product)
    selling.note(
        connection, [subscription_id], on, EventKind.CHANGE, product=wanted.product, price=wanted.price,
        quantity=wanted.quantity, reason=reason, key=key, waits=waits,
    )  # fmt: skip
    if wanted.product is not None and not waits:
        coming_changes.follow(connection, subscription_id, on, today)


def pause(
    connection: Connection, subscription_id: int, starts: date, ends: date | None, today: date, key: str | None = None
) -> None:
    """Let it rest on the days [starts, ends), which are not charged. Raise OrderRefused."""
    row = _own(connection, subscription_id)
    if done_before(connection, key) is not None:
        return
    if ends is not None and ends <= starts:
        raise OrderRefused("the pause ends before it begins; give the first day on which it is used again")
    state = state_on(history(connection, subscription_id), starts)
    if state is not SubscriptionState.ACTIVE:
        raise OrderRefused(f"{row.name} is {state.value} on {starts}: only what is active can be paused")
    _happens(connection, subscription_id, EventKind.PAUSE, starts, key)
    if ends is not None:
        _happens(connection, subscription_id, EventKind.RESUME, ends)
    _settle(connection, subscription_id, starts, today)


def resume(connection: Connection, subscription_id: int, on: date, today: date, key: str | None = None) -> None:
    """Let what is paused go on from a day on, or take back what was ordered for a day to come. Raise OrderRefused."""
    row = _own(connection, subscription_id)
    if done_before(connection, key) is not None:
        return
    events = history(connection, subscription_id)
    state = state_on(events, on)
    coming = [event for event in events if event.on > on and event.kind in (*_INTERVALS, EventKind.STOP)]
    if state is SubscriptionState.STOPPED:
        raise OrderRefused(f"{row.name} has ended by {on}; begin it again with `caudal subscription start`")
    changes = _changes_to_come(connection, subscription_id, on)
    if state is not SubscriptionState.PAUSED and not coming and not changes:
        raise OrderRefused(f"{row.name} is {state.value} on {on} and nothing else is to come")
    _take_back(connection, subscription_id, [*_INTERVALS, EventKind.STOP], on + _DAY)
    _take_back_changes(connection, subscription_id, changes)
    if any(event.kind is EventKind.STOP for event in coming):
        selling.charge_end(connection, subscription_id, None)
    # An order that only takes back is an event, too, which changes nothing: it keeps the key.
    kind = EventKind.RESUME if state is SubscriptionState.PAUSED else EventKind.CHANGE
    _happens(connection, subscription_id, kind, on, key)
    _settle(connection, subscription_id, on, today)


def stop(
    connection: Connection, subscription_id: int, ends: date, today: date, key: str | None = None, *,
    free: bool = False,
) -> Cancellation:  # fmt: skip
    """End it: `ends` is the first day that is not charged; return what that costs. Raise OrderRefused.

    What was ordered for later is taken back, an end, too; `free` waives the fee.
    """
    row = _own(connection, subscription_id)
    if done_before(connection, key) is not None:
        return selling.cost_of_end(connection, subscription_id, ends)
    events = history(connection, subscription_id)
    # An end that is to come may be moved, one that has been only to an earlier day.
    if all(state_on(events, day) is SubscriptionState.STOPPED for day in (ends - _DAY, today)):
        raise OrderRefused(f"{row.name} has ended before {ends}; see `caudal subscription show`")
    _take_back(connection, subscription_id, _INTERVALS, ends)
    _take_back_changes(connection, subscription_id, _changes_to_come(connection, subscription_id, max(ends, today)))
    cost = move_end(connection, subscription_id, ends, reason="order", key=key, free=free)
    _settle(connection, subscription_id, ends, today)
    return cost


def move_end(
    connection: Connection, subscription_id: int, ends: date | None, *, reason: str, key: str | None = None,
    free: bool = False,
) -> Cancellation:  # fmt: skip
    """Let it end on a day in the place of another one, None never; charge what that costs."""
    _take_back(connection, subscription_id, [EventKind.STOP], date.min)
    if ends is not None:
        # What ends before it begins ends as it begins.
        ends = max([ends, *(event.on for event in history(connection, subscription_id) if _begins(event))])
        selling.note(connection, [subscription_id], ends, EventKind.STOP, reason=reason, key=key)
        bundles.follow(connection, subscription_id, EventKind.STOP, ends)
    return selling.charge_end(connection, subscription_id, None if free else ends)


def _begins(event: Event) -> bool:
    return event.kind is EventKind.START


def _happens(connection: Connection, subscription_id: int, kind: EventKind, on: date, key: str | None = None) -> None:
    selling.note(connection, [subscription_id], on, kind, reason="order", key=key)
    bundles.follow(connection, subscription_id, kind, on)


def _take_back(connection: Connection, subscription_id: int, kinds: Sequence[EventKind], since: date) -> None:
    if EventKind.STOP in kinds:
        # An end before the last beginning has been, and stays.
        begun = [event.on for event in history(connection, subscription_id) if _begins(event)]
        since = max(since, begun[-1]) if begun else since
    selling.take_back(connection, [subscription_id], kinds, since)
    bundles.unfollow(connection, subscription_id, kinds, since)


def _changes_to_come(connection: Connection, subscription_id: int, after: date) -> list[date]:
    """Return the days after one on which it would become different, by orders that were not obeyed yet."""
    days = connection.scalars(
        text("""SELECT on_day FROM subscription_event WHERE subscription_id = :id AND kind = 'change'
            AND reason = 'order' AND on_day > :after AND cancelled_at IS NULL ORDER BY on_day"""),
        {"id": subscription_id, "after": after},
    )
    return list(days)


def _take_back_changes(connection: Connection, subscription_id: int, days: Sequence[date]) -> None:
    """Take back what was ordered for days to come, and what it would cost."""
    if days:
        selling.take_back(connection, [subscription_id], [EventKind.CHANGE], days[0], reason="order")
        selling.waive_change(connection, subscription_id, days)


def _settle(connection: Connection, subscription_id: int, since: date, today: date) -> None:
    """Let the account be billed and its lines follow."""
    selling.wake_accounts(connection, [subscription_id], min(since, today))
    payer = connection.execute(
        text("""SELECT coalesce(c.payer_id, c.id) FROM subscription AS s JOIN customer AS c ON c.id = s.customer_id
            WHERE s.id = :id"""),
        {"id": subscription_id},
    ).scalar_one()
    gate.reassess(connection, [payer], today)


def _own(connection: Connection, subscription_id: int) -> Any:
    """Return a subscription that may be ordered about, its account locked; what is in a bundle goes with that."""
    row = connection.execute(
        text("""SELECT s.customer_id, coalesce(s.code, v.login, CAST(s.id AS text)) AS name, b.code AS bundle,
                s.bundle_id, (SELECT p.kind FROM subscription_event AS e JOIN product AS p ON p.id = e.product_id
                    WHERE e.subscription_id = s.id AND e.cancelled_at IS NULL
                    ORDER BY e.on_day DESC, e.id DESC LIMIT 1) AS kind
            FROM subscription AS s LEFT JOIN service AS v ON v.id = s.service_id
                LEFT JOIN subscription AS b ON b.id = s.bundle_id WHERE s.id = :id"""),
        {"id": subscription_id},
    ).one()
    if row.bundle_id is not None:
        raise OrderRefused(f"{row.name} is in the bundle {row.bundle or row.bundle_id!r}; order that")
    _lock(connection, row.customer_id)
    return row


def _lock(connection: Connection, customer_id: int) -> None:
    """Take the row of the account first, as runs do."""
    connection.execute(
        text("""SELECT FROM account WHERE customer_id = (SELECT coalesce(payer_id, id) FROM customer WHERE id = :id)
            FOR UPDATE"""),
        {"id": customer_id},
    )


def _product(connection: Connection, code: str) -> Product:
    row = connection.execute(
        text("SELECT id, code, kind, document FROM product WHERE code = :code"), {"code": code}
    ).one_or_none()
    if row is None:
        raise OrderRefused(f"there is no product {code!r}; see `caudal product list`")
    product = catalogue.load_product(*row)
    if product.kind not in SOLD_FOR_TIME:
        raise OrderRefused(f"{code!r} is {product.kind.value}: sell it with `caudal charge add`")
    return product


def _service(connection: Connection, customer_id: int, login: str) -> int:
    found = connection.scalar(
        text("SELECT id FROM service WHERE login = :login AND customer_id = :customer"),
        {"login": login, "customer": customer_id},
    )
    if found is None:
        raise OrderRefused(f"{login!r} is no service of this customer; see `caudal service list --customer`")
    return int(found)


def _code(connection: Connection, order: Start) -> str:
    """Return the name that was ordered, else one that no subscription has."""
    wanted = order.name or f"{order.product} of {order.customer}"
    taken = set(
        connection.scalars(text("SELECT code FROM subscription WHERE starts_with(code, :code)"), {"code": wanted})
    )
    if order.name is not None and wanted in taken:
        raise OrderRefused(f"there is a subscription {wanted!r}; give this one another --name")
    code, number = wanted, 2
    while code in taken:
        code, number = f"{wanted} ({number})", number + 1
    return code
