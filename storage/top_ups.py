"""Top-ups that were bought, and what the end of a period makes of them.

Rule: a purchase has a key and is made once, whoever asks how often. Automatic ones have the keys 1 to the offer's
monthly maximum, so that the database itself refuses one more. A period is settled once: by who finds it as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from domain.instants import to_microseconds
from domain.plan_rules import TopUpKind, TopUpOffer
from enforcement.periods import Span
from storage import outbox
from storage.errors import StorageError
from storage.literals import integers, optional_integers, texts
from storage.outbox import Topic
from storage.overrides import change_document

_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"


class KeyReused(StorageError):
    """The key of a purchase is that of another one."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} belongs to another purchase; send each purchase with a key of its own")
        self.key = key


class Origin(Enum):
    """Who bought; the values are stored."""

    OPERATOR = "operator"
    AUTOMATIC = "automatic"
    SUBSCRIBER = "subscriber"
    VOUCHER = "voucher"


class Charge(Enum):
    """How a purchase is paid; the values are stored and the command's."""

    NONE = "none"
    BALANCE = "balance"
    """At once: from the wallet, or from what was paid too much."""
    INVOICE = "invoice"
    """With the next invoice."""
    VOUCHER = "voucher"
    """By the voucher that it was granted for."""


@dataclass(frozen=True, slots=True)
class Order:
    """An offer for one service, from when to when it holds; `extra_octets` are added to the offer's."""

    service_id: int
    offer: TopUpOffer
    begins: datetime
    ends: datetime
    extra_octets: int = 0


class Bought(NamedTuple):
    """A purchase; `is_new` unless it had been made before under the same key."""

    id: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class TopUpRow:
    """A top-up as operators read it."""

    id: int
    service_id: int
    name: str
    kind: TopUpKind
    bought_at: datetime
    begins_at: datetime
    ends_at: datetime
    octets: int
    spent_octets: int
    price: Decimal
    """What it cost, as the price was stated."""
    charge: Charge
    origin: Origin


class PeriodSaid(NamedTuple):
    """What the end of a period said: all that might be used, and what was."""

    span: Span
    limit_octets: int
    used_octets: int


class Settled(NamedTuple):
    """What the end of a cap's period leaves of a service.

    `closed` is what the meter had as carried_for (None: no period was settled yet), `begins` the period that follows.
    """

    service_id: int
    closed: datetime | None
    begins: datetime
    lots: tuple[int, ...] = ()
    spent: tuple[tuple[int, int], ...] = ()
    """Octets to add to each top-up's spent ones."""
    periods: tuple[PeriodSaid, ...] = ()
    """What is charged by when a plan has an overage."""


def buy(connection: Connection, order: Order, origin: Origin, key: str, now: datetime) -> Bought:
    """Buy once under `key`; raise KeyReused when it stands for something else."""
    offer = order.offer
    bought = connection.scalar(
        text("""INSERT INTO top_up (service_id, name, kind, bought_at, begins_at, ends_at, octets, boost, before_plan,
                price, origin, idempotency_key)
            VALUES (:service, :name, :kind, :now, :begins, :ends, :octets, CAST(:boost AS jsonb), :before_plan, :price,
                :origin, :key)
            ON CONFLICT (idempotency_key) DO NOTHING RETURNING id"""),
        {
            "service": order.service_id,
            "name": offer.name,
            "kind": offer.kind.value,
            "now": now,
            "begins": order.begins,
            "ends": order.ends,
            "octets": offer.octets + order.extra_octets,
            "boost": None if offer.boost is None else change_document(offer.boost),
            "before_plan": offer.before_plan,
            "price": Decimal(offer.price),
            "origin": origin.value,
            "key": key,
        },
    )
    if bought is None:
        return _bought_before(connection, order, key)
    outbox.add(connection, Topic.GRANTED, [order.service_id])
    return Bought(bought, is_new=True)


Buying = Callable[[Connection, Order, Origin, str, datetime], Bought]
"""What `buy` does, perhaps with more around it."""


def _bought_before(connection: Connection, order: Order, key: str) -> Bought:
    found = connection.scalar(
        text("SELECT id FROM top_up WHERE idempotency_key = :key AND service_id = :service AND name = :name"),
        {"key": key, "service": order.service_id, "name": order.offer.name},
    )
    if found is None:
        raise KeyReused(key)
    return Bought(found, is_new=False)


def buy_automatically(
    connection: Connection, order: Order, count: int, month: datetime, now: datetime, buying: Buying = buy
) -> int:
    """Buy `count` of an offer unasked, but never more in the calendar month that begins at `month` than it allows.

    Returns how many were bought, up to the first that `buying` does not grant; only the first has the extra octets. The
    caller holds the `lock` of the service and has seen since then what was bought before.
    """
    automatic = order.offer.automatic
    most = 0 if automatic is None else automatic.most_per_month
    head = f"automatic/{order.service_id}/{to_microseconds(month)}/"
    tail = f"/{order.offer.name}"
    taken = set(
        connection.scalars(
            text("SELECT idempotency_key FROM top_up WHERE idempotency_key = ANY(:keys)"),
            {"keys": [f"{head}{number}{tail}" for number in range(1, most + 1)]},
        )
    )
    free = [key for key in (f"{head}{number}{tail}" for number in range(1, most + 1)) if key not in taken]
    bought = 0
    for key in free[:count]:
        extra = 0 if bought else order.extra_octets
        one = Order(order.service_id, order.offer, order.begins, order.ends, extra)
        if not buying(connection, one, Origin.AUTOMATIC, key, now).is_new:
            break
        bought += 1
    return bought


def note_charge(connection: Connection, top_up_id: int, price: Decimal, charge: Charge) -> None:
    """Say of a purchase what it cost, and how that is paid."""
    connection.execute(
        text("UPDATE top_up SET price = :price, charge = :charge WHERE id = :id"),
        {"price": price, "charge": charge.value, "id": top_up_id},
    )


def lock(connection: Connection, service_ids: Iterable[int]) -> None:
    """Let nobody else decide what these services, which have meters, buy unasked until this transaction ends."""
    connection.execute(
        text("SELECT FROM meter WHERE service_id = ANY(:ids) ORDER BY service_id FOR UPDATE"),
        {"ids": sorted(service_ids)},
    )


def automatic_in_month(
    connection: Connection, service_ids: Iterable[int], begins: datetime, ends: datetime
) -> dict[tuple[int, str], int]:
    """Return how many automatic top-ups were bought in [begins, ends), by service and name."""
    rows = connection.execute(
        text("""SELECT service_id, name, count(*) FROM top_up WHERE service_id = ANY(:ids)
            AND origin = 'automatic' AND bought_at >= :begins AND bought_at < :ends GROUP BY service_id, name"""),
        {"ids": list(service_ids), "begins": begins, "ends": ends},
    )
    return {(service_id, name): count for service_id, name, count in rows}


def of_service(connection: Connection, service_id: int, *, limit: int = 100) -> list[TopUpRow]:
    """Return the top-ups of a service, the newest first."""
    rows = connection.execute(
        text("""SELECT id, service_id, name, kind, bought_at, begins_at, ends_at, octets, spent_octets, price,
                charge, origin
            FROM top_up WHERE service_id = :service ORDER BY id DESC LIMIT :limit"""),
        {"service": service_id, "limit": limit},
    )
    return [
        TopUpRow(
            **{
                **row,
                "kind": TopUpKind(row["kind"]),
                "charge": Charge(row["charge"]),
                "origin": Origin(row["origin"]),
            }
        )
        for row in rows.mappings()
    ]


def cover(connection: Connection, covered: Sequence[tuple[int, int]]) -> None:
    """Keep what each top-up (id, octets) that ended inside a period paid of it; the first to say so is right."""
    if covered:
        connection.exec_driver_sql(f"""UPDATE top_up AS t SET covered_octets = u.octets
            FROM unnest({integers([top_up for top_up, _ in covered])}::bigint[],
                {integers([octets for _, octets in covered])}::bigint[]) AS u(id, octets)
            WHERE t.id = u.id AND t.covered_octets IS NULL""")


def settle(connection: Connection, settlements: Sequence[Settled]) -> set[int]:
    """Close periods: write what rolls over and what was spent; return the services for which that was not done yet."""
    if not settlements:
        return set()
    closed = (None if each.closed is None else to_microseconds(each.closed) for each in settlements)
    lots = (f"{{{','.join(map(str, each.lots))}}}" for each in settlements)
    columns = (
        f"{integers([each.service_id for each in settlements])}::bigint[]",
        f"{optional_integers(closed)}::bigint[]",
        f"{integers([to_microseconds(each.begins) for each in settlements])}::bigint[]",
        f"{texts(lots)}::text[]",
    )
    spent = [(each.service_id, *pair) for each in settlements for pair in each.spent]
    shares = ",".join(f"{integers([row[column] for row in spent])}::bigint[]" for column in range(3))
    rows = connection.exec_driver_sql(f"""WITH u AS MATERIALIZED (
            SELECT service_id, {_AT.format("closed")} AS closed, {_AT.format("begins")} AS begins,
                lots::bigint[] AS lots
            FROM unnest({",".join(columns)}) AS u(service_id, closed, begins, lots)
        ), moved AS (
            UPDATE meter AS m SET carried_for = u.begins, carried_lots = u.lots FROM u
            WHERE m.service_id = u.service_id AND m.carried_for IS NOT DISTINCT FROM u.closed RETURNING m.service_id
        ), begun AS (
            INSERT INTO meter (service_id, carried_for, carried_lots) SELECT service_id, begins, lots FROM u
            WHERE closed IS NULL ON CONFLICT (service_id) DO NOTHING RETURNING service_id
        ), settled AS (
            SELECT service_id FROM moved UNION SELECT service_id FROM begun
        ), spent AS (
            UPDATE top_up AS t SET spent_octets = t.spent_octets + u.octets, covered_octets = NULL
            FROM unnest({shares}) AS u(service_id, id, octets)
            WHERE t.id = u.id AND u.service_id IN (SELECT service_id FROM settled)
        )
        SELECT service_id FROM settled""")
    settled = {service_id for (service_id,) in rows}
    said = [(each.service_id, *period) for each in settlements if each.service_id in settled for period in each.periods]
    if said:
        connection.execute(
            text("""INSERT INTO usage_period (service_id, begins, ends, limit_octets, used_octets)
                VALUES (:service, :begins, :ends, :limit, :used) ON CONFLICT DO NOTHING"""),
            [
                {"service": service_id, "begins": span.begins, "ends": span.ends, "limit": limit, "used": octets}
                for service_id, span, limit, octets in said
            ],
        )
    return settled
