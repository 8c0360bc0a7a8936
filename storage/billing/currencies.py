"""In which currency an account is, and what may be sold to it.

Rule: what a file says is in the ISP's currency; what it says in the list and the terms of a partner that has one of its
own, in that one. Nothing of one currency is sold to, or charged from, an account in another one. An account that says
none has its partner's; the account is that of who pays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from config.billing_terms import amounts_said
from config.catalogue import amounts_named
from config.checks import listed, show
from storage.errors import OrderRefused

PARTNERS = "coalesce(r.document ->> 'currency', i.currency)"
"""SQL: the currency of a partner `r`, the ISP being `i`."""
PARTIES = f"""JOIN partner AS o ON o.id = c.partner_id JOIN customer AS y ON y.id = coalesce(c.payer_id, c.id)
    JOIN partner AS r ON r.id = y.partner_id CROSS JOIN isp AS i LEFT JOIN account AS a ON a.customer_id = y.id
    CROSS JOIN LATERAL (SELECT coalesce(a.currency, {PARTNERS}) AS own,
        coalesce(o.document ->> 'currency', i.currency) AS sellers) AS m"""
"""SQL: of a customer `c`, in `m` the currencies of the account that pays and of the partner that sells."""


class OtherCurrency(OrderRefused):
    """Something was to be sold to an account in another currency."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a product costs a new customer, and the currencies that meet in its sale."""

    product: str
    price: Decimal | None
    """None: it has none."""
    lists: str
    """The currency of the list that has the price."""
    own: str
    """That of the account."""
    isps: str
    amounts: tuple[str, ...]
    """What else it may cost, in the ISP's currency, by the keys of the file."""

    def refusal(self, *, is_priced: bool = False) -> str | None:
        """Return why it cannot be sold; one that `is_priced` needs no list."""
        if not is_priced and self.price and self.lists != self.own:
            return (
                f"{show(self.product)} has a price in {self.lists}, and the account is in {self.own}: give it a price "
                "of its own, or its partner that currency and a price in its list"
            )
        if self.own != self.isps and self.amounts:
            return (
                f"{show(self.product)} has {listed(self.amounts)} in {self.isps}, and the account is in {self.own}: "
                "make a product without for such accounts"
            )
        return None


def look_up(
    connection: Connection, customer_id: int, product: str, day: date, unlisted: Decimal | None = None
) -> Listed:
    """Return what a product costs a customer from a day on; what no list has is `unlisted`, in the ISP's currency."""
    row: Any = connection.execute(
        text(f"""SELECT m.own, m.sellers, i.currency AS isps, p.document, l.rules, v.amount, v.partner_id
            FROM customer AS c {PARTIES} LEFT JOIN product AS p ON p.code = :product
            LEFT JOIN plan AS l ON l.id = p.plan_id
            LEFT JOIN LATERAL (SELECT amount, partner_id FROM price AS v WHERE v.product_id = p.id AND v.starts <= :day
                AND (v.partner_id IS NULL OR v.partner_id = c.partner_id)
                ORDER BY v.partner_id IS NULL, v.starts DESC LIMIT 1) AS v ON true
            WHERE c.id = :customer"""),
        {"customer": customer_id, "product": product, "day": day},
    ).one()
    lists = row.isps if row.partner_id is None else row.sellers
    price = unlisted if row.amount is None else row.amount
    return Listed(product, price, lists, row.own, row.isps, amounts_named(row.document or {}, row.rules or {}))


def list_price(
    connection: Connection, customer_id: int, product: str, day: date, unlisted: Decimal = Decimal(0)
) -> Decimal:
    """Return what a new customer of this one's partner pays; `unlisted` where no list has it. Raise OtherCurrency."""
    found = look_up(connection, customer_id, product, day, unlisted)
    _raise(found.refusal())
    return unlisted if found.price is None else found.price


def require_sellable(connection: Connection, customer_id: int, product: str, day: date) -> None:
    """Raise OtherCurrency where a product cannot be sold to a customer even at a price of its own."""
    _raise(look_up(connection, customer_id, product, day).refusal(is_priced=True))


def _raise(refused: str | None) -> None:
    if refused is not None:
        raise OtherCurrency(refused)


def are_several(connection: Connection) -> bool:
    """Tell whether there is more than one currency; else nothing can be refused."""
    found = connection.scalar(
        text("""SELECT EXISTS (SELECT FROM account AS a, isp AS i WHERE a.currency <> i.currency)
            OR EXISTS (SELECT FROM partner AS r, isp AS i WHERE r.document ->> 'currency' <> i.currency)""")
    )
    return bool(found)


def refused_services(connection: Connection, today: date, logins: Collection[str] | None = None) -> dict[str, str]:
    """Return, of services whose plans would now be sold, by login, why that cannot be; `logins` None is all."""
    if not are_several(connection):
        return {}
    rows = connection.execute(text(_SOLD_NOW), {"logins": None if logins is None else [*logins]}).all()
    refused = {row.login: look_up(connection, row.customer_id, row.code, today) for row in rows}
    return {login: why for login, each in refused.items() if (why := each.refusal()) is not None}


class Wanted(NamedTuple):
    """A sale that a file has: what it is called, and whether it says its price."""

    code: str
    customer: str
    product: str
    is_priced: bool
    day: date


def refused_sales(connection: Connection, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Return, of sales that would now begin or become another product, by their names, why that cannot be."""
    if not wanted or not are_several(connection):
        return {}
    given = {"codes": [each.code for each in wanted], "customers": [each.customer for each in wanted]}
    ids = dict(
        map(tuple, connection.execute(text("SELECT login, id FROM customer WHERE login = ANY(:customers)"), given))
    )
    sold = dict(map(tuple, connection.execute(text(_PRESENT), given)))
    refused = {}
    for each in wanted:
        if sold.get(each.code) != each.product:
            found = look_up(connection, ids[each.customer], each.product, each.day)
            why = found.refusal(is_priced=each.is_priced)
            if why is not None:
                refused[each.code] = why
    return refused


class Refused(NamedTuple):
    """Something of the file that would charge an account in another currency; `login` is the customer's."""

    login: str
    partner: str
    message: str


def refused_amounts(connection: Connection, today: date) -> Iterator[Refused]:
    """Yield the accounts that would inherit amounts in another currency, or have what costs amounts in the ISP's."""
    if not are_several(connection):
        return
    for row in connection.execute(text(_TERMS)):
        layers = ((row.isps, row.isp), (row.partners, row.document), (row.currency, row.terms))
        alien = _inherited(layers, row.currency)
        if alien:
            told = listed([f"{key} in {currency}" for key, currency in alien.items()])
            yield Refused(row.login, row.partner, f"{show(row.login)} is in {row.currency} and would have {told}: "
                          "say it in its own terms")  # fmt: skip
    for row in connection.execute(text(_AMOUNTS), {"today": today}):
        named = amounts_named(row.document, row.rules or {})
        if named:
            found = Listed(row.code, None, row.isps, row.own, row.isps, named)
            yield Refused(row.login, row.partner, f"{show(row.login)}: {found.refusal(is_priced=True)}")


def _inherited(layers: Sequence[tuple[str, Mapping[str, Any]]], own: str) -> dict[str, str]:
    """Return the amounts that hold and are in another currency than the account; the later layers say more."""
    holding: dict[str, tuple[str, Decimal]] = {}
    for currency, said in layers:
        holding |= {key: (currency, amount) for key, amount in amounts_said(said).items()}
    return {key: currency for key, (currency, amount) in holding.items() if amount and currency != own}


def refused_changes(connection: Connection, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return, of customers that are to have another currency, by login, why that cannot be."""
    rows = connection.execute(
        text(f"""SELECT c.login, a.currency, u.currency AS wanted
            FROM unnest(CAST(:logins AS text[]), CAST(:currencies AS text[])) AS u(login, currency)
            JOIN customer AS c USING (login) JOIN account AS a ON a.customer_id = c.id
            WHERE a.currency <> u.currency AND ({_HAS_BEGUN})"""),
        {"logins": [*wanted], "currencies": [*wanted.values()]},
    )
    return {
        row.login: f"the account has begun in {row.currency} and cannot be in {row.wanted}: make another customer"
        for row in rows
    }


def refused_isp(connection: Connection, wanted: str) -> str | None:
    """Return why the ISP cannot be in another currency."""
    found = connection.scalar(
        text(f"SELECT currency FROM isp WHERE currency <> :wanted AND ({_ANY_BEGUN})"), {"wanted": wanted}
    )
    return found and f"has begun in {found} and cannot be {show(wanted)}: sell in it by a partner of that currency"


def refused_partners(connection: Connection, wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return, of partners that are to have another currency (None: the ISP's), by name, why that cannot be."""
    rows = connection.execute(
        text(f"""SELECT r.name, {PARTNERS} AS before, coalesce(u.currency, i.currency) AS wanted
            FROM unnest(CAST(:names AS text[]), CAST(:currencies AS text[])) AS u(name, currency)
            JOIN partner AS r USING (name) CROSS JOIN isp AS i
            WHERE {PARTNERS} <> coalesce(u.currency, i.currency) AND EXISTS (SELECT FROM account AS a
                JOIN customer AS c ON c.id = a.customer_id WHERE c.partner_id = r.id AND ({_HAS_BEGUN}))"""),
        {"names": [*wanted], "currencies": [*wanted.values()]},
    )
    return {row.name: f"has begun in {row.before} and cannot be in {row.wanted}: make another partner" for row in rows}


def refused_payers(connection: Connection, wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return, of customers for whom somebody else is to pay (None: themselves), by login, why that cannot be.

    What they have would be charged in another currency than that in which it was sold.
    """
    rows = connection.execute(
        text("""SELECT c.login, x.currency AS before, y.currency AS wanted
            FROM unnest(CAST(:logins AS text[]), CAST(:payers AS text[])) AS u(login, payer)
            JOIN customer AS c ON c.login = u.login LEFT JOIN customer AS p ON p.login = u.payer
            JOIN account AS x ON x.customer_id = coalesce(c.payer_id, c.id)
            JOIN account AS y ON y.customer_id = coalesce(p.id, c.id)
            WHERE x.currency <> y.currency AND (
                EXISTS (SELECT FROM subscription AS s WHERE s.customer_id = c.id)
                OR EXISTS (SELECT FROM discount AS d WHERE d.customer_id = c.id)
                OR EXISTS (SELECT FROM one_off AS o WHERE o.customer_id = c.id AND NOT o.billed))"""),
        {"logins": [*wanted], "payers": [*wanted.values()]},
    )
    return {
        row.login: f"what {show(row.login)} has was sold in {row.before}, and the account would be in {row.wanted}: "
        "make another customer"
        for row in rows
    }


def follow(connection: Connection, logins: Collection[str] | None = None) -> None:
    """Let accounts that have not begun, and say no currency, have their partner's; `logins` None is all."""
    connection.execute(
        text(f"""UPDATE account AS a SET currency = u.usual
            FROM (SELECT c.id, c.login, {PARTNERS} AS usual FROM customer AS c
                JOIN partner AS r ON r.id = c.partner_id CROSS JOIN isp AS i) AS u
            WHERE a.customer_id = u.id AND a.currency <> u.usual AND NOT a.terms ? 'currency'
                AND (CAST(:logins AS text[]) IS NULL OR u.login = ANY(CAST(:logins AS text[])))
                AND NOT ({_HAS_BEGUN})"""),
        {"logins": None if logins is None else [*logins]},
    )


_MOVED = ("subscription", "one_off", "document", "payment", "discount")
"""Tables that say that something was sold or paid in a currency."""
_ANY_BEGUN = " OR ".join(f"EXISTS (SELECT FROM {table})" for table in (*_MOVED, "voucher_batch"))
_HAS_BEGUN = " OR ".join(
    f"""EXISTS (SELECT FROM {table} AS t JOIN customer AS k ON k.id = t.customer_id
        WHERE a.customer_id IN (k.id, k.payer_id))"""
    for table in _MOVED
)
_LATEST = """(SELECT e.product_id FROM subscription_event AS e WHERE e.subscription_id = x.id AND e.cancelled_at IS NULL
        AND e.product_id IS NOT NULL ORDER BY e.on_day DESC, e.id DESC LIMIT 1)"""
_SOLD_NOW = f"""SELECT s.login, s.customer_id, p.code FROM service AS s JOIN product AS p ON p.plan_id = s.plan_id
    JOIN customer AS c ON c.id = s.customer_id {PARTIES}
    WHERE (m.own <> i.currency OR m.sellers <> i.currency)
        AND (CAST(:logins AS text[]) IS NULL OR s.login = ANY(CAST(:logins AS text[])))
        AND NOT EXISTS (SELECT FROM subscription AS x WHERE x.service_id = s.id AND x.code IS NULL
            AND {_LATEST} = p.id)
    ORDER BY s.login"""
_PRESENT = f"""SELECT x.code, p.code FROM subscription AS x JOIN product AS p ON p.id = {_LATEST}
    WHERE x.code = ANY(:codes)"""
_TERMS = f"""SELECT c.login, r.name AS partner, a.currency, {PARTNERS} AS partners, i.currency AS isps,
        i.billing AS isp, r.document, a.terms
    FROM account AS a JOIN customer AS c ON c.id = a.customer_id JOIN partner AS r ON r.id = c.partner_id
        CROSS JOIN isp AS i
    WHERE a.currency <> i.currency OR a.currency <> {PARTNERS} ORDER BY c.login"""
_AMOUNTS = f"""SELECT c.login, r.name AS partner, m.own, i.currency AS isps, p.code, p.document, l.rules
    FROM subscription AS x JOIN product AS p ON p.id = {_LATEST} LEFT JOIN plan AS l ON l.id = p.plan_id
        JOIN customer AS c ON c.id = x.customer_id {PARTIES}
    WHERE m.own <> i.currency AND NOT EXISTS (SELECT FROM subscription_event AS e WHERE e.subscription_id = x.id
        AND e.kind = 'stop' AND e.cancelled_at IS NULL AND e.on_day <= :today)
    ORDER BY c.login, p.code"""
