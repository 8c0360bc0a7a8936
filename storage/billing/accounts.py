"""What billing knows of accounts when their next documents are made: terms, history, what was issued.

Rule: however many accounts are read, the statements are the same few; only what may still change is read of what was
issued, so an account with years of history costs no more than a new one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.bundles import Prices, divided
from billing.claims import Key
from billing.cycle import Period
from billing.discounts import Discount
from billing.documents import ChargedLine
from billing.generation import BEGINNING, Coupon, Line, OneOff, Subscription, UsagePeriod
from billing.history import Event, EventKind, phases, without_days
from billing.intervals import FOREVER, difference, union
from billing.prepaid import Wallet
from billing.proforma import Compared, OpenProforma, Place, compare
from billing.recurrence import account_cycle, needed_since
from config import billing_terms, catalogue, plan_rules
from domain.billing_terms import BillingTerms, BillingType
from domain.catalogue import Product
from domain.money import minor_units, rounded
from domain.plan_rules import PlanRules
from domain.tax import AppliedTax, Tax
from storage.billing import clock, issued, metered, metering, taken_by_day
from storage.billing.taken_by_day import Daily


class Party(NamedTuple):
    """Who a document is for, as it prints them."""

    customer_id: int
    login: str
    name: str
    details: Mapping[str, Any]
    email: str | None


@dataclass(slots=True)
class Account:
    """Everything that the next documents of an account are made from."""

    customer_id: int
    partner_id: int
    terms: BillingTerms
    state: str
    party: Party
    subscriptions: list[Subscription] = field(default_factory=list)
    discounts: list[Discount] = field(default_factory=list)
    one_offs: list[OneOff] = field(default_factory=list)
    coupons: list[Coupon] = field(default_factory=list)
    charged: dict[int, ChargedLine] = field(default_factory=dict)
    """Lines that may be credited."""
    texts: dict[int, str] = field(default_factory=dict)
    """Names of discounts."""
    members: dict[int, str] = field(default_factory=dict)
    """Logins of the sub-accounts for which it pays."""
    paid_since: dict[int, date] = field(default_factory=dict)
    """Since when it pays for them, where that is known."""
    wallet: Wallet | None = None
    """Of a prepaid account."""
    starved_since: date | None = None
    """Since when its wallet has not paid."""
    daily: list[Daily] = field(default_factory=list)
    """What was charged day by day and is on no document yet."""
    proformas: list[OpenProforma] = field(default_factory=list)
    """Those that wait to be paid, oldest first."""
    is_asked_first: bool = False
    """Whether this time a proforma goes before the invoice, whatever the terms say."""

    @property
    def asks_first(self) -> bool:
        """Tell whether a proforma goes before the invoice; a wallet is not asked."""
        return (self.terms.proforma or self.is_asked_first) and not self.terms.billing.is_prepaid

    def compared(self, lines: Sequence[Line]) -> Compared:
        """Return what of the lines that are due is not asked for yet, and the proformas whose place it takes."""
        return compare(lines, self.proformas) if self.asks_first else Compared([*lines], self.proformas)

    def seller(self) -> dict[str, str]:
        """Return who issues documents, as they print it."""
        return seller(self.terms)

    def buyer(self) -> dict[str, Any]:
        """Return who gets documents, as they print it."""
        party = self.party
        return {"login": party.login, "name": party.name, "email": party.email, **party.details}


def seller(terms: BillingTerms) -> dict[str, str]:
    """Return who issues documents under some terms, as they print it."""
    found = {name: str(getattr(terms.seller, name)) for name in terms.seller.__slots__}
    return {name: value for name, value in found.items() if value and name != "logo"}


class Catalogue:
    """What is sold and taxed, read once for many accounts."""

    def __init__(
        self, products: Mapping[int, Product], taxes: Mapping[str, Tax], rules: Mapping[int, PlanRules], zone: ZoneInfo
    ) -> None:
        self.products = products
        self.rules = rules
        """The rules of plans that charge overage, by the product that sells them."""
        self.zone = zone
        self._taxes = taxes
        self._applied: dict[tuple[tuple[str, ...], date], tuple[AppliedTax, ...]] = {}

    @classmethod
    def read(cls, connection: Connection) -> Catalogue:
        """Return the present catalogue."""
        rows = connection.execute(text("SELECT id, code, kind, document FROM product"))
        sold = {row.id: catalogue.load_product(*row) for row in rows}
        by_code, costs = {product.code: product for product in sold.values()}, _costs(connection, sold.values())
        products = {id_: divided(product, by_code, costs) for id_, product in sold.items()}
        rows = connection.execute(text("SELECT code, document FROM tax"))
        taxes = {code: catalogue.load_tax({"code": code, **document}) for code, document in rows}
        rows = connection.execute(
            text("SELECT p.id, l.rules FROM product AS p JOIN plan AS l ON l.id = p.plan_id WHERE l.rules ? 'overage'")
        )
        return cls(products, taxes, {id_: plan_rules.load(rules) for id_, rules in rows}, clock.zone(connection))

    def applied(self, codes: tuple[str, ...], day: date) -> tuple[AppliedTax, ...]:
        """Return taxes as they are charged on a day. Raise NoRate."""
        key = (codes, day)
        found = self._applied.get(key)
        if found is None:
            found = self._applied[key] = tuple(self._taxes[code].on(day) for code in codes)
        return found


def _costs(connection: Connection, products: Iterable[Product]) -> Prices:
    """Return what those things cost alone by which bundles are divided."""
    held = sorted({each.product for product in products for each in product.includes if each.weight is None})
    costs: dict[str, list[tuple[date, Decimal]]] = defaultdict(list)
    if held:
        rows = connection.execute(
            text("""SELECT p.code, v.starts, v.amount FROM price AS v JOIN product AS p ON p.id = v.product_id
                WHERE v.partner_id IS NULL AND p.code = ANY(CAST(:codes AS text[])) ORDER BY v.starts"""),
            {"codes": held},
        )
        for code, starts, amount in rows:
            costs[code].append((starts, amount))
    return costs


def load(
    connection: Connection, customer_ids: Sequence[int], on: date, catalogue: Catalogue, *, since: date | None = None
) -> list[Account]:
    """Return accounts with what they and those they pay for have; in the order of their ids.

    The days on which a wallet has not paid are over on `on`: that is the day on which it is asked again. With `since`
    usage is there from that day on, whatever was billed.
    """
    ids = {"ids": [*customer_ids]}
    accounts = {account.customer_id: account for account in map(_account, connection.execute(text(_ACCOUNTS), ids))}
    payers = _payers(connection, ids, accounts)
    members = {"ids": [*payers]}
    for row in connection.execute(text(_PROFORMAS), ids):
        accounts[row.payer].proformas.append(_proforma(row))
    _take_discounts(connection, members, payers, on)
    for row in connection.execute(text(_ONE_OFFS), members):
        payers[row.customer_id].one_offs.append(OneOff(*row))
    by_day = [id_ for id_, account in payers.items() if account.terms.billing is BillingType.PREPAID_DAILY]
    for customer_id, line in taken_by_day.read(connection, by_day):
        payers[customer_id].daily.append(line)
    _take_subscriptions(connection, members, payers, catalogue, on, since or FOREVER)
    return [accounts[customer_id] for customer_id in sorted(accounts)]


def _take_subscriptions(
    connection: Connection,
    members: dict[str, list[int]],
    payers: Mapping[int, Account],
    catalogue: Catalogue,
    on: date,
    since: date,
) -> None:
    """Give accounts what is sold to them, with what was issued of it and may still change."""
    rested = _rests(connection, members, payers, on)
    found = list(connection.execute(text(_SUBSCRIPTIONS), members))
    events = events_of(connection, [row.id for row in found])
    billed = issued.floors(found, {id_: account.customer_id for id_, account in payers.items()}, _sharing(payers))
    rests = {row.id: _rests_of(row.customer_id, payers[row.customer_id], rested) for row in found}
    needed = dict(billed)
    for row in found:
        if billed[row.id] > BEGINNING:
            cycle, sold = account_cycle(payers[row.customer_id].terms), phases(events[row.id])
            served = without_days(sold, rests[row.id])
            needed[row.id] = needed_since(cycle, sold, served, catalogue.products, billed[row.id])
    lines = issued.read(connection, needed)
    for customer_id, line_id, charged in lines.charged:
        payers[customer_id].charged[line_id] = charged
    floors = {id_: min(floor, since) for id_, floor in billed.items()}
    usage, coming = _usage(connection, found, events, floors, payers, catalogue, on)
    reported = metered.reports(connection, events, catalogue.products)
    for row in found:
        account, history, of_it = payers[row.customer_id], events[row.id], lines.by_subscription[row.id]
        used: Sequence[UsagePeriod] = usage.get(row.id, ())
        until = coming.get(row.id)
        if row.id in reported:
            told = reported[row.id]
            used, until = metered.usage(history, told, catalogue.products, account.terms, of_it, floors[row.id], on)
        account.subscriptions.append(
            Subscription(row.id, row.customer_id, history, of_it, floors[row.id], used, rests[row.id], until)
        )


def _rests_of(customer_id: int, account: Account, rested: Mapping[int, list[Period]]) -> list[Period]:
    """Return the days that a customer does not pay: its own, and its payer's since that one pays."""
    since = account.paid_since.get(customer_id, BEGINNING)
    theirs = (days.overlap(since, None) for days in rested[account.customer_id])
    return union([*rested[customer_id], *(days for days in theirs if days is not None)])


def _usage(
    connection: Connection,
    found: Sequence[Any],
    events: Mapping[int, Sequence[Event]],
    floors: Mapping[int, date],
    payers: Mapping[int, Account],
    catalogue: Catalogue,
    on: date,
) -> tuple[Mapping[int, Sequence[UsagePeriod]], Mapping[int, date | None]]:
    """Return what the traffic of those lines costs whose plans charge overage, by subscription.

    With it, when the present periods of their caps are over.
    """
    carried = [
        metering.Metered(
            row.id, row.service_id, row.period_day, phases(events[row.id]), floors[row.id],
            payers[row.customer_id].terms.currency,
        )
        for row in found
        if row.service_id is not None and any(event.product_id in catalogue.rules for event in events[row.id])
    ]  # fmt: skip
    if not carried:
        return {}, {}
    used = metering.charged(connection, carried, catalogue.rules, catalogue.zone, on)
    return used, {each.subscription_id: metering.over_on(each, catalogue.rules, catalogue.zone, on) for each in carried}


def _sharing(payers: Mapping[int, Account]) -> set[int]:
    """Return the accounts that are given something off for all that they have together."""
    return {each.customer_id for each in payers.values() if any(discount.is_shared for discount in each.discounts)}


def _payers(connection: Connection, ids: dict[str, list[int]], accounts: Mapping[int, Account]) -> dict[int, Account]:
    """Return the account that pays, by customer; accounts get the logins of those they pay for."""
    payers = {}
    for row in connection.execute(text(_MEMBERS), ids):
        payers[row.id] = account = accounts[row.payer]
        if row.id != row.payer:
            account.members[row.id] = row.login
            if row.paid_since is not None:
                account.paid_since[row.id] = row.paid_since
    return payers


def _take_discounts(
    connection: Connection, members: dict[str, list[int]], payers: Mapping[int, Account], on: date
) -> None:
    """Give accounts their discounts, and coupons that have something left and may be used on a day."""
    for row in connection.execute(text(_DISCOUNTS), members):
        account = payers[row.customer_id]
        account.texts[row.id] = row.text
        if row.kind != "coupon":
            account.discounts.append(_discount(row, account.customer_id))
        elif row.starts <= on and (row.ends is None or row.ends > on):
            left = rounded(minor_units(row.value, account.terms.currency)) + row.taken
            if left > 0:
                account.coupons.append(Coupon(row.id, left))


def _rests(
    connection: Connection, members: dict[str, list[int]], payers: Mapping[int, Account], on: date
) -> dict[int, list[Period]]:
    """Return the days that are not charged, by customer; a payer's are those of all for whom it pays.

    Days on trust are served, and so are charged when there is money again.
    """
    rested: dict[int, list[Period]] = defaultdict(list)
    without_money: dict[int, list[Period]] = defaultdict(list)
    for row in connection.execute(text(_RESTS), members):
        ends = row.ends or FOREVER
        if row.cause != "no_balance":
            rested[row.customer_id].append(Period(row.starts, ends))
            continue
        if row.ends is None:
            payer = payers[row.customer_id]
            if payer.customer_id != row.customer_id:
                # Its own wallet pays for nothing any more.
                continue
            ends = max(on, row.starts)
            payer.starved_since = row.starts
        without_money[row.customer_id].append(Period(row.starts, ends))
    trusted: dict[int, list[Period]] = defaultdict(list)
    for customer_id, *days in connection.execute(text(_TRUSTED), {"ids": [*without_money]}) if without_money else ():
        trusted[customer_id].append(Period(*days))
    for customer_id, days in without_money.items():
        rested[customer_id] += difference(union(days), trusted[customer_id])
    return rested


def events_of(connection: Connection, subscription_ids: Sequence[int]) -> dict[int, list[Event]]:
    """Return the histories of subscriptions."""
    events: dict[int, list[Event]] = defaultdict(list)
    rows = connection.execute(text(_EVENTS), {"ids": [*subscription_ids]})
    for subscription_id, on, id_, kind, product_id, price, quantity, anchor in rows:
        events[subscription_id].append(Event(on, id_, EventKind(kind), product_id, price, quantity, anchor))
    return events


def _account(row: Any) -> Account:
    terms = billing_terms.resolve_written((row.isp, row.partner, row.terms), row.currency)
    party = Party(row.customer_id, row.login, row.name, row.details, row.email)
    account = Account(row.customer_id, row.partner_id, terms, row.state, party)
    if terms.billing.is_prepaid:
        minimum, credit = (
            rounded(minor_units(price, terms.currency)) for price in (terms.minimum_balance, terms.credit_limit)
        )
        account.wallet = Wallet(row.wallet, row.reserved, minimum, credit)
    return account


def _proforma(row: Any) -> OpenProforma:
    places = (
        Place(customer_id, subscription_id, Key(component, rate), _days(*period), _days(*days), amount, credits_line)
        for customer_id, subscription_id, component, rate, period, days, amount, credits_line in row.lines
    )
    return OpenProforma(row.id, row.due_on, row.open_amount, tuple(places))


def _days(starts: str, ends: str) -> Period:
    return Period(date.fromisoformat(starts), date.fromisoformat(ends))


def _discount(row: Any, payer_id: int) -> Discount:
    days = Period(row.starts, row.ends or FOREVER)
    percent, amount = (row.value, None) if row.kind == "percent" else (None, row.value)
    return Discount(
        row.id, days, percent, amount, row.subscription_id, None if row.customer_id == payer_id else row.customer_id
    )


_AMONG = "= ANY(CAST(:ids AS bigint[]))"
_ACCOUNTS = f"""SELECT a.customer_id, a.currency, a.state, c.login, c.name, c.email, c.details, c.partner_id,
        CAST(a.terms || jsonb_build_object('type', a.billing) AS text) AS terms,
        CAST(r.document AS text) AS partner, CAST(i.billing AS text) AS isp,
        coalesce((SELECT -b.amount FROM balance AS b JOIN ledger_account AS l ON l.id = b.ledger_account_id
            WHERE l.kind = 'wallet' AND l.currency = a.currency AND b.customer_id = a.customer_id), 0) AS wallet,
        coalesce((SELECT sum(v.amount) FROM reservation AS v WHERE v.customer_id = a.customer_id
            AND v.state = 'pending' AND v.expires_at > {clock.NOW}), 0)::bigint AS reserved
    FROM account AS a JOIN customer AS c ON c.id = a.customer_id JOIN partner AS r ON r.id = c.partner_id
        CROSS JOIN isp AS i
    WHERE a.customer_id {_AMONG}"""
_MEMBERS = f"""SELECT c.id, c.login, c.paid_since, coalesce(c.payer_id, c.id) AS payer FROM customer AS c
    WHERE (c.id {_AMONG} AND c.payer_id IS NULL) OR c.payer_id {_AMONG}"""
_PROFORMAS = f"""SELECT d.customer_id AS payer, d.id, d.due_on, d.open_amount, (
        SELECT json_agg(json_build_array(l.customer_id, p.subscription_id, l.component, l.rate,
            json_build_array(l.period_starts, l.period_ends), json_build_array(l.starts, l.ends), l.amount,
            l.credits_line))
        FROM document_line AS l LEFT JOIN proforma_line AS p ON p.line_id = l.id WHERE l.document_id = d.id) AS lines
    FROM document AS d WHERE d.customer_id {_AMONG} AND d.kind = 'proforma' AND d.open_amount > 0
    ORDER BY d.due_on, d.id"""
_SUBSCRIPTIONS = f"""SELECT s.id, s.customer_id, s.service_id, s.billed_to, s.revised_from, v.period_day
    FROM subscription AS s LEFT JOIN service AS v ON v.id = s.service_id
    WHERE s.customer_id {_AMONG} ORDER BY s.id"""
_EVENTS = f"""SELECT subscription_id, on_day, id, kind, product_id, unit_price, quantity, anchor
    FROM subscription_event WHERE subscription_id {_AMONG} AND cancelled_at IS NULL ORDER BY on_day, id"""
_DISCOUNTS = f"""SELECT d.id, d.customer_id, d.subscription_id, d.kind, d.value, d.starts, d.ends, d.text,
        CASE d.kind WHEN 'coupon' THEN coalesce((
            SELECT sum(l.amount) FROM document_line AS l WHERE l.discount_id = d.id), 0)::bigint END AS taken
    FROM discount AS d WHERE d.customer_id {_AMONG} ORDER BY d.id"""
_ONE_OFFS = f"""SELECT id, customer_id, on_day, unit_price, quantity, product_id, subscription_id, text FROM one_off
    WHERE customer_id {_AMONG} AND NOT billed AND withdrawn_at IS NULL ORDER BY id"""
_TRUSTED = f"SELECT customer_id, from_day, until + 1 FROM trust_unlock WHERE customer_id {_AMONG} ORDER BY from_day"
_RESTS = f"SELECT customer_id, cause, starts, ends FROM rest WHERE customer_id {_AMONG} ORDER BY starts"
