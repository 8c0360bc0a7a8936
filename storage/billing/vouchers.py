"""Vouchers: batches of codes that are money or a top-up for whoever redeems them first.

Rule: codes leave this module once, when they are made; kept is a digest under the vault's key. What a voucher brings is
one transaction with its redemption: money is a payment by the method `voucher`, a top-up is granted and paid by the
voucher. The account `cash voucher` is debited by what is redeemed and credited by what cards were sold for: below
nothing it is owed to who has cards, above it is to come from who sells them. Whoever guesses is locked out for a while.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing.ledger import AccountKind, LedgerAccount, Posting, Transfer, cash
from billing.voucher_codes import digest, new_code
from storage.billing import ledger, payments, reading, top_up_sales
from storage.errors import OrderRefused
from storage.row_staging import copy
from storage.top_ups import Charge, Origin

MOST_CODES = 2_000
"""Of one batch: its cards are one document, which takes ten seconds then."""
MOST_FAILURES = 5
FORGOTTEN_AFTER = timedelta(minutes=15)
"""After the last failure. So a customer may try 480 codes a day, of 10^20."""


class VoucherError(OrderRefused):
    """Vouchers cannot be made, changed or printed so."""


class VoucherRefused(OrderRefused):
    """A code is not redeemed; `is_guess` where it may have been tried out."""

    def __init__(self, message: str, *, is_guess: bool = False) -> None:
        super().__init__(message)
        self.is_guess = is_guess


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """Vouchers to make: of an amount in minor units, or of a top-up; valid through `valid_until` (None: for ever)."""

    name: str
    count: int
    amount: int | None = None
    offer: str | None = None
    valid_until: date | None = None
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class SaleOrder:
    """What came in for cards of a batch, and what their seller kept, in minor units."""

    name: str
    amount: int
    commission: int
    method: str
    key: str
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class RedeemOrder:
    """A code that a customer redeems; a top-up is for `service_id`, or for the only one whose plan offers it."""

    customer_id: int
    code: str
    service_id: int | None = None


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a voucher brought; `again` when the same customer had redeemed it before."""

    batch: str
    number: int
    currency: str
    amount: int | None
    receipt: str | None
    """Of the payment, where it was money."""
    top_up: str | None
    service: str | None
    again: bool = False


class Card(NamedTuple):
    """What is printed of a voucher beside its code."""

    batch: str
    number: int
    currency: str
    amount: int | None
    offer: str | None
    valid_until: date | None
    names: Mapping[str, str] | None
    """Of the top-up, by language."""


def make(
    connection: Connection, key: bytes, order: BatchOrder, today: date, draw: Callable[[str], str] = secrets.choice
) -> list[str]:
    """Make a batch and return its codes, the first of number 1: nobody can read them again. Raise VoucherError."""
    if order.valid_until is not None and order.valid_until < today:
        raise VoucherError(f"vouchers that end on {order.valid_until} would have expired; name a later day")
    if order.offer is not None:
        _require_offered(connection, order.offer)
    batch_id = connection.scalar(
        text("""INSERT INTO voucher_batch (name, currency, amount, offer, valid_from, valid_until, made_by)
            SELECT :name, currency, :amount, :offer, :today, :until, :by FROM isp
            ON CONFLICT (name) DO NOTHING RETURNING id"""),
        {
            "name": order.name,
            "amount": order.amount,
            "offer": order.offer,
            "today": today,
            "until": order.valid_until,
            "by": order.made_by,
        },
    )
    if batch_id is None:
        raise VoucherError(f"there are vouchers {order.name!r} already; give these a name of their own")
    codes: dict[str, None] = {}
    while len(codes) < order.count:
        codes[new_code(draw)] = None
    rows = [(digest(key, code), batch_id, number) for number, code in enumerate(codes, 1)]
    copy(connection, "voucher", ("digest", "batch_id", "number"), rows)
    return [*codes]


def _require_offered(connection: Connection, offer: str) -> None:
    offered = connection.scalars(
        text("""SELECT DISTINCT o ->> 'name' FROM plan AS l
            CROSS JOIN LATERAL jsonb_array_elements(l.rules -> 'top_up') AS o ORDER BY 1""")
    ).all()
    if offer not in offered:
        known = f"they offer {', '.join(offered)}" if offered else "they offer none"
        raise VoucherError(f"no plan offers a top-up {offer!r}; {known}")


def attempt(
    connection: Connection, key: bytes, order: RedeemOrder, now: datetime, today: date
) -> Redeemed | VoucherRefused:
    """Redeem a code, or return why not; failures are counted in the same transaction, which is to be committed."""
    failures, last_at = _failures(connection, order.customer_id, now)
    if now >= last_at + FORGOTTEN_AFTER:
        failures = 0
    if failures >= MOST_FAILURES:
        minutes = -(-(last_at + FORGOTTEN_AFTER - now) // timedelta(minutes=1))
        return VoucherRefused(f"too many codes were wrong; try again in {minutes} min")
    try:
        with connection.begin_nested():
            redeemed = _redeem(connection, key, order, now, today)
    except VoucherRefused as refused:
        if refused.is_guess:
            _count(connection, order.customer_id, failures + 1, now)
        return refused
    _count(connection, order.customer_id, 0, now)
    return redeemed


def _failures(connection: Connection, customer_id: int, now: datetime) -> tuple[int, datetime]:
    """Return how many codes of a customer were wrong and when the last one was; whoever comes second waits."""
    row = connection.execute(
        text("""INSERT INTO voucher_attempt AS a (customer_id, failures, last_at) VALUES (:customer, 0, :now)
            ON CONFLICT (customer_id) DO UPDATE SET failures = a.failures RETURNING failures, last_at"""),
        {"customer": customer_id, "now": now},
    ).one()
    return row.failures, row.last_at


def _count(connection: Connection, customer_id: int, failures: int, now: datetime) -> None:
    connection.execute(
        text("UPDATE voucher_attempt SET failures = :failures, last_at = :now WHERE customer_id = :customer"),
        {"failures": failures, "now": now, "customer": customer_id},
    )


def _redeem(connection: Connection, key: bytes, order: RedeemOrder, now: datetime, today: date) -> Redeemed:
    row = connection.execute(text(f"{_VOUCHER} FOR UPDATE OF v"), {"digest": digest(key, order.code)}).one_or_none()
    if row is None:
        raise VoucherRefused("there is no voucher with this code", is_guess=True)
    again = row.redeemed_at is not None
    if again and row.customer_id != order.customer_id:
        raise VoucherRefused("this voucher was redeemed by somebody else", is_guess=True)
    if not again:
        if row.voided_at is not None:
            raise VoucherRefused("this voucher was declared void", is_guess=True)
        if row.valid_until is not None and today > row.valid_until:
            raise VoucherRefused(f"this voucher was valid through {row.valid_until}", is_guess=True)
        connection.execute(
            text("UPDATE voucher SET customer_id = :customer, redeemed_at = :now WHERE digest = :digest"),
            {"customer": order.customer_id, "now": now, "digest": row.digest},
        )
    return (_pay if row.offer is None else _grant)(connection, row, order, now, today, again)


def _pay(connection: Connection, row: Any, order: RedeemOrder, _now: datetime, today: date, again: bool) -> Redeemed:
    """Book the money as a payment, which also lets a line in again."""
    if again:
        # Whoever pays by now.
        receipt = connection.scalar(
            text("SELECT d.number FROM payment AS p JOIN document AS d ON d.payment_id = p.id WHERE p.key = :key"),
            {"key": _key(row)},
        )
        return Redeemed(row.batch, row.number, row.currency, row.amount, receipt, None, None, again)
    payer = connection.execute(
        text("""SELECT a.customer_id, a.currency FROM customer AS c
            JOIN account AS a ON a.customer_id = coalesce(c.payer_id, c.id) WHERE c.id = :id"""),
        {"id": order.customer_id},
    ).one_or_none()
    if payer is None:
        raise VoucherRefused("the customer has no account; sell something to it first")
    if payer.currency != row.currency:
        raise VoucherRefused(f"this voucher is of {row.currency}, and the account is in {payer.currency}")
    paid = payments.Order(payer.customer_id, row.amount, top_up_sales.VOUCHER, _key(row), f"{row.batch} {row.number}")
    booked = payments.add(connection, paid, today)
    return Redeemed(row.batch, row.number, row.currency, row.amount, booked.receipt, None, None)


def _grant(connection: Connection, row: Any, order: RedeemOrder, now: datetime, _today: date, again: bool) -> Redeemed:
    """Grant the top-up, which the voucher pays."""
    if again:
        login = connection.scalar(
            text(
                "SELECT s.login FROM top_up AS t JOIN service AS s ON s.id = t.service_id WHERE idempotency_key = :key"
            ),
            {"key": _key(row)},
        )
        return Redeemed(row.batch, row.number, row.currency, None, None, row.offer, login, again)
    service_id, login = _service(connection, row.offer, order)
    wanted = top_up_sales.order_of(connection, service_id, row.offer, now)
    top_up_sales.sell(connection, wanted, Origin.VOUCHER, _key(row), now, Charge.VOUCHER)
    return Redeemed(row.batch, row.number, row.currency, None, None, row.offer, login)


def _service(connection: Connection, offer: str, order: RedeemOrder) -> tuple[int, str]:
    """Return the service that gets a top-up, with its login. Raise VoucherRefused."""
    found = connection.execute(
        text("""SELECT s.id, s.login FROM service AS s JOIN plan AS l ON l.id = s.plan_id
            WHERE s.customer_id = :customer AND (CAST(:service AS bigint) IS NULL OR s.id = :service)
                AND l.rules -> 'top_up' @> jsonb_build_array(jsonb_build_object('name', CAST(:offer AS text)))
            ORDER BY s.login"""),
        {"customer": order.customer_id, "service": order.service_id, "offer": offer},
    ).all()
    if not found:
        raise VoucherRefused(f"no service of this customer has a plan that offers {offer!r}")
    if len(found) > 1:
        logins = ", ".join(row.login for row in found)
        raise VoucherRefused(f"{offer!r} may be for {logins}; name one of them with --service")
    return found[0].id, found[0].login


def _key(row: Any) -> str:
    return f"voucher/{row.batch_id}/{row.number}"


def void(connection: Connection, name: str, number: int | None, now: datetime) -> int:
    """Declare vouchers of a batch void that nobody has redeemed, one or all; return how many. Raise VoucherError."""
    batch_id = _batch_id(connection, name)
    voided = connection.execute(
        text("""UPDATE voucher SET voided_at = :now WHERE batch_id = :batch AND redeemed_at IS NULL
            AND voided_at IS NULL AND (CAST(:number AS integer) IS NULL OR number = :number)"""),
        {"now": now, "batch": batch_id, "number": number},
    ).rowcount
    if number is not None and not voided:
        row = connection.execute(
            text("SELECT redeemed_at FROM voucher WHERE batch_id = :batch AND number = :number"),
            {"batch": batch_id, "number": number},
        ).one_or_none()
        if row is None:
            raise VoucherError(f"{name} has no voucher {number}; see `caudal voucher show`")
        if row.redeemed_at is not None:
            raise VoucherError(f"voucher {number} of {name} was redeemed; give back what it paid instead")
    return int(voided)


def sold(connection: Connection, order: SaleOrder, today: date) -> bool:
    """Book what came in for cards of a batch; tell whether it was booked before under its key. Raise VoucherError."""
    batch_id = _batch_id(connection, order.name)
    currency: str = connection.execute(
        text("SELECT currency FROM voucher_batch WHERE id = :id FOR UPDATE"), {"id": batch_id}
    ).scalar_one()
    key = f"voucher-sale/{order.key}"
    if connection.scalar(text("SELECT EXISTS (SELECT FROM transfer WHERE key = :key)"), {"key": key}):
        return True
    ledger.require_open(connection, today)
    postings = [
        cash(order.method, order.amount, currency),
        cash(top_up_sales.VOUCHER, -order.amount - order.commission, currency),
    ]
    if order.commission:
        kept = LedgerAccount(AccountKind.WRITE_OFF, top_up_sales.VOUCHER, currency)
        postings.append(Posting(kept, order.commission))
    told = Transfer(today, "voucher-sale", key, tuple(postings), text=order.name, made_by=order.made_by)
    ledger.post(connection, [told])
    return False


def currency_of(connection: Connection, name: str) -> str:
    """Return the currency of a batch. Raise NoSuch."""
    given = {"id": _batch_id(connection, name)}
    return str(connection.execute(text("SELECT currency FROM voucher_batch WHERE id = :id"), given).scalar_one())


def cards(connection: Connection, key: bytes, codes: Sequence[str]) -> list[Card]:
    """Return what is printed of codes, in their order. Raise VoucherError for a code of no voucher."""
    digests = [digest(key, code) for code in codes]
    rows = connection.execute(
        text(f"{_CARDS} WHERE v.digest = ANY(CAST(:digests AS bytea[]))"), {"digests": digests}
    ).all()
    found = {bytes(row.digest): Card(*row[1:]) for row in rows}
    for place, each in enumerate(digests, 1):
        if each not in found:
            raise VoucherError(f"the code of card {place} is no voucher of this ISP; print the file that was made")
    return [found[each] for each in digests]


def batches(connection: Connection) -> Sequence[RowMapping]:
    """Return the batches, the newest first, with how many of each there are and what became of them."""
    return connection.execute(text(_BATCHES)).mappings().all()


def vouchers(connection: Connection, name: str, *, after: int, limit: int) -> Sequence[RowMapping]:
    """Return vouchers of a batch by their number. Raise VoucherError."""
    given = {"batch": _batch_id(connection, name), "after": after, "limit": limit}
    return connection.execute(text(_VOUCHERS), given).mappings().all()


def _batch_id(connection: Connection, name: str) -> int:
    found = connection.scalar(text("SELECT id FROM voucher_batch WHERE name = :name"), {"name": name})
    if found is None:
        raise reading.NoSuch("voucher", name)
    return int(found)


_VOUCHER = """SELECT v.digest, v.batch_id, v.number, v.customer_id, v.redeemed_at, v.voided_at,
        b.name AS batch, b.currency, b.amount, b.offer, b.valid_until
    FROM voucher AS v JOIN voucher_batch AS b ON b.id = v.batch_id WHERE v.digest = :digest"""
_CARDS = """SELECT v.digest, b.name, v.number, b.currency, b.amount, b.offer, b.valid_until,
        p.document -> 'names' AS names
    FROM voucher AS v JOIN voucher_batch AS b ON b.id = v.batch_id
    LEFT JOIN product AS p ON p.code = b.offer AND p.kind = 'top-up'"""
_BATCHES = """SELECT b.name, b.currency, b.amount, b.offer, b.valid_until, b.made_by, b.made_at, n.*
    FROM voucher_batch AS b CROSS JOIN LATERAL (
        SELECT count(*) AS count, count(redeemed_at) AS redeemed, count(voided_at) AS void
        FROM voucher AS v WHERE v.batch_id = b.id
    ) AS n ORDER BY b.id DESC"""
_VOUCHERS = """SELECT v.number, c.login AS customer, v.redeemed_at, v.voided_at,
        CASE WHEN v.redeemed_at IS NOT NULL THEN 'redeemed' WHEN v.voided_at IS NOT NULL THEN 'void'
            ELSE 'open' END AS state
    FROM voucher AS v LEFT JOIN customer AS c ON c.id = v.customer_id
    WHERE v.batch_id = :batch AND v.number > :after ORDER BY v.number LIMIT :limit"""
