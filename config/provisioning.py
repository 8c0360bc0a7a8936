"""Decides whether an ISP file is right: its keys, its values, and what its entries say about each other.

Rule: the file describes whole objects: a key that is left out has its default, whatever the database holds, except
secrets and passwords, which then stay. The file is read to its end and refused with every mistake; what is legal but
unwise warns.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import combinations
from typing import TypeVar
from zoneinfo import ZoneInfo

from config import checks, plan_rules
from config.billing_terms import read_terms
from config.blocking import read_blocking
from config.catalogue import Offer, read_offer
from config.checks import Check, show
from config.commerce import CommerceReader
from config.isp import (
    DEFAULT_TIMEZONE,
    MAIN,
    ApiEntry,
    AttributeEncoder,
    CustomerEntry,
    DiscountEntry,
    Isp,
    IspEntry,
    Known,
    PartnerEntry,
    PlanEntry,
    PlanKind,
    PoolEntry,
    RouterEntry,
    RouterProfile,
    ServiceEntry,
    SubscriptionEntry,
)
from config.metered import UNITS
from config.plan_consistency import Surroundings, check_garden_pool, check_rules
from config.pool_range import USUAL_LENGTHS, parse_range
from config.problems import ConfigurationError, Mistake, Problem, Problems
from config.service_table import ServiceReader, reference, references
from config.table import Table
from config.tariff import cliff_warnings
from config.toml_lines import Path, find_lines, syntax_error_line
from domain.catalogue import ProductKind
from domain.network import IPV4_BITS, IPV6_BITS, MessageAuthenticatorPolicy, PoolKind, QueueKind
from domain.plan_rules import Blocking, PlanRules
from domain.tariff import Tariff
from domain.tax import Tax

Entry = TypeVar(
    "Entry", RouterEntry, PoolEntry, PlanEntry, CustomerEntry, Tax, PartnerEntry, Offer, SubscriptionEntry,
    DiscountEntry,
)  # fmt: skip
Value = TypeVar("Value")

# draft-ietf-radext-deprecating-radius section 7.1.
SHORT_SECRET_OCTETS = 12
LONGEST_SECRET_OCTETS = 255
# RFC 2869 section 5.16: an interval below ten minutes should be weighed against the load it makes.
ADVISED_INTERIM_SECONDS = 600
DEFAULT_INTERIM_SECONDS = 600
# Far beyond what a router works off; more is a mistake in writing.
MOST_COA_PER_SECOND = 10_000

_CURRENCY = re.compile(r"[A-Z]{3}")
_SECONDS = checks.integer(1, checks.GREATEST_INTEGER, "seconds")
_INTERIM = checks.integer(checks.SHORTEST_INTERIM_SECONDS, checks.GREATEST_INTEGER, "seconds")
_SIMULTANEOUS = checks.integer(1, checks.GREATEST_INTEGER)
_SECRET = checks.secret(LONGEST_SECRET_OCTETS, empty=False)
_COA_PER_SECOND = checks.integer(1, MOST_COA_PER_SECOND)
_API_PASSWORD = checks.secret(LONGEST_SECRET_OCTETS, empty=True)
_NO_ADDRESS = ip_address("0.0.0.0")


class ProvisioningError(ConfigurationError):
    """An ISP file was refused; nothing of it was applied."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is TOML, not yet checked."""

    text: str
    source: str
    tables: Mapping[str, object]

    def problems(self) -> Problems:
        """Return a place for mistakes that knows the lines of this file."""
        return Problems(partial(find_lines, self.text))

    def refuse_if(self, problems: Problems) -> None:
        """Raise ProvisioningError if there are problems."""
        if problems:
            raise ProvisioningError(self.source, problems.by_line())


def read(text: str, source: str) -> Document:
    """Return the document in `text`. Raise ProvisioningError where it is not TOML."""
    text = text.removeprefix("\ufeff")
    try:
        return Document(text, source, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        problem = Problem(syntax_error_line(text, error), f"is not TOML: {error}")
        raise ProvisioningError(source, (problem,)) from error
    except RecursionError:
        raise ProvisioningError(source, (Problem(1, "is nested too deeply to be an ISP file"),)) from None


def parse(document: Document, known: Known, encode: AttributeEncoder) -> Isp:
    """Return the checked entries of a document. Raise ProvisioningError with every mistake."""
    reader = _Reader(document, known, encode)
    isp = reader.read()
    document.refuse_if(reader.problems)
    return isp


def currency(value: object) -> str:
    """Accept the three letters of ISO 4217."""
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise Mistake(f'must be the three capital letters of a currency, such as "EUR", not {show(value)}')
    return value


class _Reader:
    """Reads one document from top to bottom; each kind of entry may refer to those before it."""

    def __init__(self, document: Document, known: Known, encode: AttributeEncoder) -> None:
        self.problems = document.problems()
        self.warnings = document.problems()
        self._root = Table(document.tables, (), self.problems)
        self._known = known
        self._encode = encode
        self._commerce = CommerceReader(known)
        self._blocking: Table | None = None
        self._places: dict[tuple[str, str], Path] = {}
        self._routers: Collection[str] = ()
        self._pools: Mapping[str, PoolEntry] = {}

    def read(self) -> Isp:
        isp = self._isp()
        routers = self._all("router", self._router, _name)
        self._check_router_addresses(routers)
        self._routers = {*self._known.routers, *routers}
        taxes = self._all("tax", self._commerce.tax, lambda tax: tax.code)
        self._commerce.taxes = {*self._known.taxes, *taxes}
        partners = self._all("partner", self._commerce.partner, _name)
        self._commerce.partners = {MAIN, *self._known.partners, *partners}
        pools = self._all("pool", self._pool, _name)
        self._pools = {**self._known.pools, **pools}
        self._warn_of_overlaps(pools)
        self._check_isp_pool(isp)
        plans = self._all("plan", self._plan, _name)
        products = self._all("product", self._product, lambda offer: offer.product.code)
        self._check_product_names(products, plans)
        customers = self._all("customer", self._commerce.customer, lambda customer: customer.login)
        self._commerce.check_payers(customers)
        timezone_name = isp.timezone if isp else self._known.timezone
        services = self._services(timezone_name, {*self._known.plans, *plans}, customers)
        sold = {**self._known.products, **self._sold(plans, products)}
        self._commerce.check_included(sold)
        subscriptions = self._subscriptions(customers, services, sold)
        discounts = self._discounts(customers, services, subscriptions)
        self._root.finish()
        return Isp(
            isp,
            tuple(routers.values()),
            tuple(pools.values()),
            tuple(plans.values()),
            tuple(customers.values()),
            services,
            () if self.problems else self.warnings.by_line(),
            tuple(taxes.values()),
            tuple(partners.values()),
            tuple(products.values()),
            subscriptions,
            discounts,
        )

    @staticmethod
    def _sold(plans: Mapping[str, PlanEntry], products: Mapping[str, Offer]) -> dict[str, ProductKind]:
        """Return what is sold, by its kind."""
        offers = [*products.values(), *(plan.offer for plan in plans.values() if plan.offer is not None)]
        return {offer.product.code: offer.product.kind for offer in offers}

    def _discounts(
        self,
        customers: Collection[str],
        services: tuple[ServiceEntry, ...],
        subscriptions: tuple[SubscriptionEntry, ...],
    ) -> tuple[DiscountEntry, ...]:
        entries = self._all("discount", self._commerce.discount, _code)
        wanted = {entry.customer for entry in entries.values()} - {*customers}
        found = self._known.customers(wanted)
        owners = {entry.code: entry.customer for entry in subscriptions}
        named = {entry.subscription for entry in entries.values() if entry.subscription} - owners.keys()
        owners = {**self._known.subscriptions(named), **owners}
        missing = {entry.service for entry in entries.values() if entry.service} - {each.login for each in services}
        lines = self._known.services(missing)
        for code, entry in entries.items():
            path = self._places["discount", code]
            if entry.customer in wanted and entry.customer not in found:
                self.problems.report((*path, "customer"), f"there is no customer {show(entry.customer)}")
            elif entry.subscription is not None and owners.get(entry.subscription) != entry.customer:
                message = f"{show(entry.customer)} has no subscription {show(entry.subscription)}"
                self.problems.report((*path, "subscription"), message)
            if entry.service in missing and entry.service not in lines:
                self.problems.report((*path, "service"), f"there is no service {show(entry.service)}")
        return tuple(entries.values())

    def _check_product_names(self, products: Mapping[str, Offer], plans: Collection[str]) -> None:
        """Report a product that is called like a plan: both are bought by their name."""
        taken = {*self._known.plans, *plans}
        for code in products:
            if code in taken:
                self.problems.report((*self._places["product", code], "name"), "is the name of a plan, too")

    def _subscriptions(
        self, customers: Collection[str], services: tuple[ServiceEntry, ...], products: Mapping[str, ProductKind]
    ) -> tuple[SubscriptionEntry, ...]:
        entries = self._all("subscription", lambda table: self._commerce.subscription(table, products), _code)
        wanted = {entry.customer for entry in entries.values()} - {*customers}
        lines = {entry.service for entry in entries.values() if entry.service} - {each.login for each in services}
        found_customers, found_services = self._known.customers(wanted), self._known.services(lines)
        for code, entry in entries.items():
            path = self._places["subscription", code]
            if entry.customer in wanted and entry.customer not in found_customers:
                self.problems.report((*path, "customer"), f"there is no customer {show(entry.customer)}")
            if entry.service in lines and entry.service not in found_services:
                self.problems.report((*path, "service"), f"there is no service {show(entry.service)}")
        return tuple(entries.values())

    def _all(self, kind: str, read: Callable[[Table], Entry], name: Callable[[Entry], str]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for table in self._root.tables(kind):
            entry = read(table)
            table.finish()
            key = name(entry)
            if key and key in entries:
                table.report(f"the {kind} {show(key)} is there twice", earlier=self._places[kind, key])
            entries.setdefault(key, entry)
            self._places.setdefault((kind, key), table.path)
        return entries

    def _isp(self) -> IspEntry | None:
        table = self._root.table("isp")
        if table is None:
            return None
        entry = IspEntry(
            name=table.require("name", checks.name, ""),
            currency=table.take("currency", currency, "EUR"),
            timezone=table.take("timezone", checks.timezone, DEFAULT_TIMEZONE),
            blocking=self._isp_blocking(table),
            billing=self._isp_billing(table),
        )
        table.finish()
        if self._known.has_usage and entry.timezone != self._known.timezone:
            before = self._known.timezone
            message = f"hours and days counted so far stay those of {before}; only later ones are the new zone's"
            self._warn(table, "timezone", message)
        return entry

    def _isp_blocking(self, isp: Table) -> Blocking:
        self._blocking = isp.table("blocking")
        return Blocking() if self._blocking is None else read_blocking(self._blocking)

    @staticmethod
    def _isp_billing(isp: Table) -> Mapping[str, object]:
        inner = isp.table("billing")
        if inner is None:
            return {}
        for key in inner.given("currency"):
            inner.report("is said in [isp] itself", key)
        return read_terms(inner)

    def _check_isp_pool(self, isp: IspEntry | None) -> None:
        if isp is not None and self._blocking is not None:
            check_garden_pool(self._blocking, isp.blocking.garden.pool, self._pools)

    def _router(self, table: Table) -> RouterEntry:
        name = table.require("name", checks.name, "")
        secret = table.take("secret", _SECRET, None)
        if "secret" not in table.values and name not in self._known.routers:
            table.report("is missing for a new router", "secret")
        if secret is not None and len(secret.reveal()) <= SHORT_SECRET_OCTETS:
            self._warn(table, "secret", f"has at most {SHORT_SECRET_OCTETS} octets and can be guessed; use 16 or more")
        address = table.require("address", checks.network, "")
        if address.endswith("/0"):
            self._warn(table, "address", "accepts packets from everywhere; name the router's own address or network")
        return RouterEntry(
            name=name,
            address=address,
            identifier=table.take("identifier", checks.text(), None),
            secret=secret,
            profile=table.take("profile", checks.one_of(RouterProfile), RouterProfile.GENERIC),
            coa_port=table.take("coa_port", checks.port, None),
            require_message_authenticator=table.take(
                "require_message_authenticator",
                checks.one_of(MessageAuthenticatorPolicy),
                MessageAuthenticatorPolicy.AUTO,
            ),
            flip_counters=table.take("flip_counters", checks.boolean, False),
            api=self._api(table, name),
            coa_per_second=table.take("coa_per_second", _COA_PER_SECOND, None),
            repair_drift=table.take("repair_drift", checks.boolean, True),
            api_accounting=table.take("api_accounting", self._with_api(table, checks.boolean), False),
            queues=table.take("queues", self._with_api(table, checks.one_of(QueueKind)), QueueKind.NONE),
        )

    def _api(self, router: Table, router_name: str) -> ApiEntry | None:
        table = router.table("api")
        if table is None:
            return None
        if "password" not in table.values and router_name not in self._known.routers_with_api:
            table.report("is missing for new access to an API", "password")
        entry = ApiEntry(
            user=table.require("user", checks.text(), ""),
            password=table.take("password", _API_PASSWORD, None),
            port=table.take("port", checks.port, None),
            tls=table.take("tls", checks.boolean, False),
            fingerprint=table.take("fingerprint", checks.fingerprint, None),
        )
        if entry.fingerprint is not None and not entry.tls:
            table.report("needs tls = true: without it there is no certificate", "fingerprint")
        table.finish()
        return entry

    def _with_api(self, router: Table, check: Check[Value]) -> Check[Value]:
        """Accept what needs the API only where there is access to it, but its default everywhere."""

        def needs_api(value: object) -> Value:
            checked = check(value)
            if checked not in {False, QueueKind.NONE} and "api" not in router.values:
                raise Mistake("needs api: it is done over the router's management API")
            return checked

        return needs_api

    def _check_router_addresses(self, routers: Mapping[str, RouterEntry]) -> None:
        taken: dict[tuple[str, str | None], str] = {
            place: name for name, place in self._known.routers.items() if name not in routers
        }
        for name, router in routers.items():
            holder = taken.setdefault((router.address, router.identifier), name) if router.address else name
            if holder != name:
                message = f"is that of the router {show(holder)}; routers behind one address need an identifier each"
                self.problems.report((*self._places["router", name], "address"), message)

    def _pool(self, table: Table) -> PoolEntry:
        kind = table.take("kind", checks.one_of(PoolKind), PoolKind.IPV4)
        bits = IPV4_BITS if kind is PoolKind.IPV4 else IPV6_BITS
        shortest = IPV4_BITS if kind is PoolKind.IPV4 else 1
        prefix_length = table.take("prefix_length", checks.integer(shortest, bits), USUAL_LENGTHS[kind])
        first, last = table.require(
            "range", lambda value: parse_range(value, kind, prefix_length), (_NO_ADDRESS, _NO_ADDRESS)
        )
        name = table.require("name", checks.name, "")
        before = self._known.pools.get(name)
        if before is not None and before.kind is not kind:
            table.report(f"cannot change from {show(before.kind.value)}; make a pool with another name", "kind")
        return PoolEntry(
            name=name,
            kind=kind,
            first=first,
            last=last,
            prefix_length=prefix_length,
            routers=table.take("routers", references("router", self._routers), ()),
            lease_seconds=table.take("lease_seconds", _SECONDS, None),
        )

    def _warn_of_overlaps(self, pools: Mapping[str, PoolEntry]) -> None:
        ordered = sorted(self._pools.values(), key=lambda pool: (pool.first.version, int(pool.first)))
        for lower, upper in combinations(ordered, 2):
            on_one_router = not lower.routers or not upper.routers or {*lower.routers} & {*upper.routers}
            if on_one_router and lower.contains(upper.first):
                mine, other = (upper, lower) if upper.name in pools else (lower, upper)
                if mine.name in pools:
                    path = (*self._places["pool", mine.name], "range")
                    self.warnings.report(path, f"overlaps with the pool {show(other.name)}")

    def _plan(self, table: Table) -> PlanEntry:
        before = self.problems.total
        interim_seconds = table.take("interim_seconds", _INTERIM, DEFAULT_INTERIM_SECONDS)
        if interim_seconds < ADVISED_INTERIM_SECONDS:
            self._warn(table, "interim_seconds", f"below {ADVISED_INTERIM_SECONDS} makes many packets (RFC 2869)")
        download, upload = (table.take(key, checks.rate, None) for key in ("download", "upload"))
        entry = PlanEntry(
            name=table.require("name", checks.name, ""),
            kind=table.take("kind", checks.one_of(PlanKind), PlanKind.INTERNET),
            download_bits_per_second=download,
            upload_bits_per_second=upload,
            pool=self._plan_pool(table, "pool", PoolKind.IPV4),
            ipv6_pool=self._plan_pool(table, "ipv6_pool", PoolKind.IPV6_PREFIX),
            delegated_pool=self._plan_pool(table, "delegated_pool", PoolKind.DELEGATED_PREFIX),
            session_timeout_seconds=table.take("session_timeout", _SECONDS, None),
            idle_timeout_seconds=table.take("idle_timeout", _SECONDS, None),
            interim_seconds=interim_seconds,
            simultaneous=table.take("simultaneous", _SIMULTANEOUS, None),
            rules=self._rules(table, Surroundings(download, upload, self._pools, self._encode, self._warn), before),
            offer=self._offer(table),
        )
        self._commerce.check_sellers(table, entry.rules.partners)
        return entry

    def _product(self, table: Table) -> Offer:
        offer = self._commerce.product(table)
        metered = offer.product.metered
        if metered is not None and isinstance(metered.tariff, Tariff):
            for warning in cliff_warnings(metered.tariff, UNITS):
                self._warn(table, "metered", warning)
        return offer

    def _offer(self, table: Table) -> Offer | None:
        name = table.values.get("name")
        offer = read_offer(table, name if isinstance(name, str) else "", ProductKind.INTERNET)
        self._commerce.check_offer(table, offer)
        return offer

    def _rules(self, table: Table, around: Surroundings, problems_before: int) -> PlanRules:
        """Return the rules of a plan, held against the rest of the file where the plan is right by itself."""
        rules = plan_rules.read(table)
        if self.problems.total == problems_before:
            check_rules(table, rules, around)
        return rules

    def _plan_pool(self, table: Table, key: str, kind: PoolKind) -> str | None:
        name = table.take(key, reference("pool", self._pools), None)
        if name is not None and self._pools[name].kind is not kind:
            found = show(self._pools[name].kind.value)
            table.report(f"must name a pool of kind {show(kind.value)}; {show(name)} is of kind {found}", key)
        return name

    def _services(
        self, timezone_name: str, plans: Collection[str], customers: Collection[str]
    ) -> tuple[ServiceEntry, ...]:
        reader = ServiceReader(
            self._known,
            self.problems,
            zone=ZoneInfo(timezone_name),
            plans=plans,
            routers=self._routers,
            customers=customers,
            encode=self._encode,
        )
        services = tuple(reader.read(table) for table in self._root.tables("service"))
        reader.settle()
        reader.finish()
        self._warn_of_pooled_addresses(reader)
        return services

    def _warn_of_pooled_addresses(self, reader: ServiceReader) -> None:
        pools = [pool for pool in self._pools.values() if pool.kind is PoolKind.IPV4]
        first: dict[str, Path] = {}
        count: dict[str, int] = {}
        for text, (_, path) in reader.static_addresses().items() if pools else ():
            address = ip_address(text)
            for pool in pools:
                if pool.contains(address):
                    first.setdefault(pool.name, path)
                    count[pool.name] = count.get(pool.name, 0) + 1
        for name, path in first.items():
            others = f" (as do {count[name] - 1:,} more of this file)" if count[name] > 1 else ""
            message = f"may be leased to somebody else by the pool {show(name)}, inside which it lies{others}"
            self.warnings.report((*path, "address"), message)

    def _warn(self, table: Table, key: str, message: str) -> None:
        self.warnings.report((*table.path, key), message)


def _name(entry: RouterEntry | PoolEntry | PlanEntry | PartnerEntry) -> str:
    return entry.name


def _code(entry: SubscriptionEntry | DiscountEntry) -> str:
    return entry.code
