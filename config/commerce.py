"""Decides whether what an ISP file says of money is right: taxes, partners, products, customers, subscriptions.

Rule: names refer to what the file or the database has, and what is sold has taxes that exist. What is left out of a
customer's billing stays as it is where the whole table is left out, and is the partner's or the ISP's otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal

from config import checks
from config.billing_terms import LONGEST_TEXT, read_terms
from config.catalogue import Offer, read_product, read_tax
from config.checks import Check, show, suggestion
from config.isp import MAIN, CustomerEntry, DiscountEntry, Known, PartnerEntry, SubscriptionEntry
from config.problems import Mistake
from config.product_terms import share
from config.service_table import login, reference
from config.table import Table
from domain.catalogue import ProductKind
from domain.tax import Tax

PLACE = ("street", "postcode", "city", "region")
DETAILS = (*PLACE, "tax_id", "company_id", *(f"service_{key}" for key in PLACE))
_DETAIL = checks.text(LONGEST_TEXT)
_QUANTITY = checks.amount("0.000001")
_POSITIVE = checks.amount("0.000001")
HELD = (ProductKind.INTERNET, ProductKind.RECURRING, ProductKind.VOICE)
"""Kinds that a bundle may hold."""
_CATEGORIES = ("person", "company")
_STATES = ("new", "active", "blocked", "inactive")


class CommerceReader:
    """Reads the commercial tables of one file; each may refer to those before it."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.taxes: Collection[str] = known.taxes
        self.partners: Collection[str] = {MAIN, *known.partners}
        self.payers: dict[str, tuple[Table, str]] = {}
        self._bundles: list[tuple[Table, Offer]] = []

    def tax(self, table: Table) -> Tax:
        """Read a tax."""
        return read_tax(table)

    def partner(self, table: Table) -> PartnerEntry:
        """Read a partner."""
        billing = table.table("billing")
        return PartnerEntry(
            name=table.require("name", checks.name, ""), billing={} if billing is None else read_terms(billing)
        )

    def product(self, table: Table) -> Offer:
        """Read a product."""
        offer = read_product(table)
        self.check_offer(table, offer)
        if offer.product.includes:
            self._bundles.append((table, offer))
        return offer

    def check_included(self, products: Mapping[str, ProductKind]) -> None:
        """Report what bundles hold that nobody sells, or that is not sold from day to day."""
        for table, offer in self._bundles:
            for index, each in enumerate(offer.product.includes):
                path = (*table.path, "includes", index, "product")
                kind = products.get(each.product)
                if kind is None:
                    message = f"there is no product or plan with a price {show(each.product)}"
                    table.problems.report(path, message + suggestion(each.product, products))
                elif kind not in HELD:
                    table.problems.report(path, f"is {kind.value}: a bundle holds plans, recurring and voice products")

    def check_offer(self, table: Table, offer: Offer | None) -> None:
        """Report names of taxes and partners that nobody has, and a bundle without parts."""
        if offer is None:
            return
        parts = {tax for part in offer.product.parts for tax in part.taxes}
        for tax in dict.fromkeys((*offer.product.taxes, *sorted(parts))):
            if tax not in self.taxes:
                table.report(f"there is no tax {show(tax)}{suggestion(tax, self.taxes)}", "taxes")
        for partner in offer.prices:
            if partner not in self.partners:
                table.report(f"there is no partner {show(partner)}{suggestion(partner, self.partners)}", "prices")

    def check_sellers(self, table: Table, sellers: Collection[str]) -> None:
        """Report partners that nobody has among those that may sell a plan."""
        for partner in sellers:
            if partner not in self.partners:
                table.report(f"there is no partner {show(partner)}{suggestion(partner, self.partners)}", "partners")

    def customer(self, table: Table) -> CustomerEntry:
        """Read what a customer is and how it is billed."""
        billing = table.table("billing")
        payer = table.take("payer", login, None)
        entry = CustomerEntry(
            login=table.require("login", login, ""),
            name=table.require("name", checks.text(), ""),
            email=table.take("email", email, None),
            phone=table.take("phone", checks.text(checks.LONGEST_NAME), None),
            partner=table.take("partner", reference("partner", self.partners), MAIN),
            payer=payer,
            details=self._details(table),
            billing=None if billing is None else read_terms(billing),
        )
        if payer is not None:
            self.payers[entry.login] = (table, payer)
        return entry

    def check_payers(self, customers: Collection[str]) -> None:
        """Report payers that do not exist, or for whom somebody else pays."""
        missing = {payer for _, payer in self.payers.values()} - {*customers}
        found = self._known.customers(missing) if missing else ()
        for customer, (table, payer) in self.payers.items():
            if payer == customer:
                table.report("cannot be the customer itself", "payer")
            elif payer in self.payers:
                table.report(f"{show(payer)} does not pay for itself; name who pays for both", "payer")
            elif payer in missing and payer not in found:
                table.report(f"there is no customer {show(payer)}", "payer")

    def subscription(self, table: Table, products: Mapping[str, ProductKind]) -> SubscriptionEntry:
        """Read a subscription."""
        starts, ends = _days(table)
        return SubscriptionEntry(
            code=table.require("name", checks.name, ""),
            customer=table.require("customer", login, ""),
            product=table.require("product", _sold_for_time(products), ""),
            starts=starts,
            ends=ends,
            quantity=table.take("quantity", _QUANTITY, Decimal(1)),
            price=table.take("price", checks.amount(), None),
            service=table.take("service", login, None),
        )

    def discount(self, table: Table) -> DiscountEntry:
        """Read a discount; what it is for is known when everything is read."""
        kind = table.exactly_one("percent", "amount", "coupon") or "percent"
        starts, ends = _days(table)
        entry = DiscountEntry(
            code=table.require("name", checks.name, ""),
            customer=table.require("customer", login, ""),
            subscription=table.take("subscription", checks.name, None),
            service=table.take("service", login, None),
            kind=kind,
            value=table.take(kind, share if kind == "percent" else _POSITIVE, Decimal(1)),
            starts=starts,
            ends=ends,
            text=table.take("text", checks.text(LONGEST_TEXT), ""),
        )
        for key in table.given("subscription", "service")[1:]:
            table.report("cannot stand beside subscription", key)
        if kind == "coupon":
            for key in table.given("subscription", "service"):
                table.report("cannot stand beside coupon: that is taken off whole documents", key)
        return entry

    def _details(self, table: Table) -> Mapping[str, object]:
        details: dict[str, object] = {}
        for key in DETAILS:
            value = table.take(key, _DETAIL, None)
            if value is not None:
                details[key] = value
        for key, check in (
            ("country", _country),
            ("service_country", _country),
            ("category", _among(_CATEGORIES)),
            ("timezone", checks.timezone),
            ("state", _among(_STATES)),
        ):
            value = table.take(key, check, None)
            if value is not None:
                details[key] = value
        return details


def _days(table: Table) -> tuple[date | None, date | None]:
    starts, ends = (table.take(key, checks.day, None) for key in ("starts", "ends"))
    if starts is not None and ends is not None and ends < starts:
        table.report("cannot be before it starts", "ends")
    return starts, ends


def _sold_for_time(products: Mapping[str, ProductKind]) -> Check[str]:
    """Accept the name of a product that is sold from a day on."""
    names = [name for name, kind in products.items() if kind is not ProductKind.INTERNET]

    def check(value: object) -> str:
        name = reference("product", names)(value)
        kind = products[name]
        if kind is ProductKind.BUNDLE or kind in HELD:
            return name
        raise Mistake(f"is {kind.value}, which is charged once: `caudal charge add` does that")

    return check


def email(value: object) -> str:
    """Accept what could be an e-mail address."""
    address = checks.text(LONGEST_EMAIL)(value)
    local, at, host = address.rpartition("@")
    if not at or not local or not host or any(sign.isspace() for sign in address) or "@" in local:
        raise Mistake(f'must be an address such as "ana@example.net", not {show(value)}')
    return address


LONGEST_EMAIL = 254
"""RFC 5321 section 4.5.3.1.3, without the angle brackets."""


def _country(value: object) -> str:
    if not isinstance(value, str) or len(value) != 2 or not value.isascii() or not value.isupper():
        raise Mistake(f'must be the two letters of a country, such as "ES", not {show(value)}')
    return value


def _among(words: tuple[str, ...]) -> Check[str]:
    def check(value: object) -> str:
        if value not in words:
            raise Mistake(f"must be one of {checks.listed(words)}, not {show(value)}")
        return str(value)

    return check
