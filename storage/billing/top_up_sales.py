"""Top-ups that are sold: what one costs, and its charge in the very transaction that grants it.

Rule: a top-up is sold as the product of its name, with that product's price of the day and its taxes; where there is
none, for the price that its plan says, untaxed. It is paid from what the account has, or put on its next invoice; what
cannot be paid is not granted. Octets and hours are never money: they stay with the purchase, the books hold its price.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.documents import Draft
from billing.generation import OneOff
from config import plan_rules
from domain.billing_terms import BillingType
from domain.catalogue import ProductKind
from domain.errors import CaudalError
from domain.money import decimal_text
from domain.plan_rules import TopUpOffer
from enforcement.allowance import bought
from enforcement.periods import cap_span
from storage import top_ups
from storage.billing import account_types, accounts, at_once, clock, currencies, ledger
from storage.billing.accounts import Account, Catalogue
from storage.errors import OrderRefused
from storage.top_ups import Bought, Charge, Order, Origin

VOUCHER = "voucher"
"""The method of payment, and so the name of its account: debited by what is redeemed."""


class TopUpRefused(OrderRefused):
    """A top-up is not granted, for it cannot be charged so."""


class CannotPay(TopUpRefused):
    """An account has not what a top-up costs."""

    def __init__(self, name: str, wanted: int, available: int, currency: str) -> None:
        has = decimal_text(max(0, available), currency)
        super().__init__(
            f"{name} costs {decimal_text(wanted, currency)} {currency} and the account can pay {has}; "
            "book a payment first, or sell it with another --charge"
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A top-up that was not bought unasked, and why."""

    service_id: int
    offer: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Buyer:
    """Who a top-up is for and who pays for it; the payer's row is held."""

    customer_id: int
    payer_id: int
    billing: BillingType


def sell(
    connection: Connection, order: Order, origin: Origin, key: str, now: datetime, charge: Charge | None = None
) -> Bought:
    """Grant a top-up once under `key`, and charge it; by default at once to who pays before, else with the invoice.

    Nothing is charged for a service that belongs to nobody, unless `charge` says how. Raise TopUpRefused, KeyReused,
    BooksClosed.
    """
    buyer = _buyer(connection, order.service_id)
    made = top_ups.buy(connection, order, origin, key, now)
    if not made.is_new:
        return made
    if buyer is None:
        if charge not in (None, Charge.NONE):
            raise TopUpRefused("the service belongs to no customer who could pay; sell it with --charge none")
        top_ups.note_charge(connection, made.id, Decimal(0), Charge.NONE)
        return made
    if charge is None:
        charge = Charge.BALANCE if buyer.billing.is_prepaid else Charge.INVOICE
    if charge is Charge.INVOICE and buyer.billing.is_prepaid:
        raise TopUpRefused("the account pays before, so it gets no invoice to pay later; sell it with --charge balance")
    today = clock.today(connection)
    price = Decimal(0) if charge is Charge.NONE else _price(connection, order.offer, buyer, today)
    if not price:
        charge = Charge.NONE
    top_ups.note_charge(connection, made.id, price, charge)
    if charge is not Charge.NONE:
        one_off = _one_off(connection, order.offer, buyer, price, f"top-up/{made.id}", today)
        if charge is Charge.INVOICE:
            at_once.wake(connection, buyer.payer_id, today)
        else:
            _settle_at_once(connection, buyer, one_off, order.offer.name, charge, today)
    return made


def sell_unasked(refused: list[Refusal]) -> top_ups.Buying:
    """Return what sells, each in a savepoint, and adds to `refused` what cannot be paid instead of raising."""

    def selling(connection: Connection, order: Order, origin: Origin, key: str, now: datetime) -> Bought:
        try:
            with connection.begin_nested():
                return sell(connection, order, origin, key, now)
        except CaudalError as error:
            refused.append(Refusal(order.service_id, order.offer.name, str(error)))
            return Bought(0, is_new=False)

    return selling


def lock_payers(connection: Connection, service_ids: set[int]) -> None:
    """Hold the accounts that pay for services, in the order in which everybody takes them."""
    connection.execute(
        text("""SELECT FROM account WHERE customer_id IN (SELECT coalesce(c.payer_id, c.id) FROM service AS s
            JOIN customer AS c ON c.id = s.customer_id WHERE s.id = ANY(:ids)) ORDER BY customer_id FOR UPDATE"""),
        {"ids": sorted(service_ids)},
    )


def order_of(connection: Connection, service_id: int, offer_name: str, now: datetime) -> Order:
    """Return the order of a top-up that the plan of a service offers, from now on. Raise TopUpRefused."""
    row = connection.execute(
        text("""SELECT s.login, s.period_day, l.name, l.rules FROM service AS s JOIN plan AS l ON l.id = s.plan_id
            WHERE s.id = :id"""),
        {"id": service_id},
    ).one()
    rules = plan_rules.load(row.rules)
    offer = next((each for each in rules.top_ups if each.name == offer_name), None)
    if offer is None:
        raise TopUpRefused(f"the plan {row.name} of {row.login} offers no top-up {offer_name!r}")
    held = bought(offer, 0, now, cap_span(rules, clock.zone(connection), now, row.period_day))
    return Order(service_id, offer, held.begins, held.ends)


def _buyer(connection: Connection, service_id: int) -> _Buyer | None:
    """Return who pays for a service, with the row of his account held; None where nobody does."""
    found = connection.execute(
        text("""SELECT c.id, coalesce(c.payer_id, c.id) AS payer FROM service AS s
            JOIN customer AS c ON c.id = s.customer_id WHERE s.id = :id"""),
        {"id": service_id},
    ).one_or_none()
    if found is None:
        return None
    connection.execute(
        text(f"""INSERT INTO account (customer_id, currency, billing)
            SELECT c.id, {currencies.PARTNERS}, {account_types.USUAL} FROM customer AS c
                JOIN partner AS r ON r.id = c.partner_id CROSS JOIN isp AS i WHERE c.id = :id
            ON CONFLICT (customer_id) DO NOTHING"""),
        {"id": found.payer},
    )
    billing = connection.execute(
        text("SELECT billing FROM account WHERE customer_id = :id FOR UPDATE"), {"id": found.payer}
    ).scalar_one()
    return _Buyer(found.id, found.payer, BillingType(billing))


def _price(connection: Connection, offer: TopUpOffer, buyer: _Buyer, today: date) -> Decimal:
    """Return what a top-up costs a customer; his partner's own list goes first. Raise OtherCurrency."""
    kind = connection.scalar(text("SELECT kind FROM product WHERE code = :code"), {"code": offer.name})
    if kind not in (None, ProductKind.TOP_UP.value):
        raise TopUpRefused(f"the product {offer.name!r} is no top-up; give the top-up of the plan another name")
    return currencies.list_price(connection, buyer.customer_id, offer.name, today, unlisted=Decimal(offer.price))


def _one_off(connection: Connection, offer: TopUpOffer, buyer: _Buyer, price: Decimal, key: str, today: date) -> OneOff:
    """Put the price on what is to be charged."""
    row = connection.execute(
        text("""WITH p AS (
                INSERT INTO product AS p (code, kind, document) VALUES (:code, 'top-up', '{}')
                ON CONFLICT (code) DO UPDATE SET code = p.code RETURNING id
            )
            INSERT INTO one_off (customer_id, product_id, on_day, unit_price, key)
            SELECT :customer, p.id, :on, :amount, :key FROM p RETURNING id, product_id"""),
        {
            "code": offer.name,
            "on": today,
            "customer": buyer.customer_id,
            "amount": price,
            "key": key,
        },
    ).one()
    return OneOff(row.id, buyer.customer_id, today, price, Decimal(1), row.product_id)


def _settle_at_once(
    connection: Connection, buyer: _Buyer, one_off: OneOff, name: str, charge: Charge, today: date
) -> None:
    """Bill one thing now and let it be paid. Raise CannotPay."""
    ledger.require_open(connection, today)
    catalogue = Catalogue.read(connection)
    (account,) = accounts.load(connection, [buyer.payer_id], today, catalogue)
    draft = at_once.draft(account, catalogue, one_off, today)
    if charge is Charge.VOUCHER:
        draft.paid_by = VOUCHER
    else:
        _require_paid(connection, account, draft, name)
    at_once.bill(connection, account, draft, today)


def _require_paid(connection: Connection, account: Account, draft: Draft, name: str) -> None:
    currency = account.terms.currency
    if account.wallet is not None:
        if not account.wallet.pays(draft.gross):
            raise CannotPay(name, draft.gross, account.wallet.available, currency)
        return
    owed: Any = connection.scalar(
        text("""SELECT sum(b.amount) FROM balance AS b JOIN ledger_account AS l ON l.id = b.ledger_account_id
            WHERE l.kind = 'receivable' AND l.currency = :currency AND b.customer_id = :id"""),
        {"currency": currency, "id": account.customer_id},
    )
    available = -int(owed or 0)
    if draft.gross > available:
        raise CannotPay(name, draft.gross, available, currency)
