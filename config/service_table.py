"""Decides whether a service may be provisioned, written as TOML or as a row of CSV alike.

Rule: one definition of a service's keys; names refer to what the file or the database has; a login and a static address
belong to one service.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import tzinfo
from functools import lru_cache

from config import checks
from config.checks import Check, show, suggestion
from config.isp import AttributeEncoder, Known, ServiceEntry
from config.problems import Mistake, Problems
from config.reply_attributes import read_attributes
from config.table import Table
from config.toml_lines import Path
from domain.names import login_key, mac
from domain.network import AccountState

# The network access server chooses (RFC 2865 section 5.8): no address at all, so many services may have it.
CHOSEN_BY_ROUTER = "255.255.255.254"

_ENCODED_ATTRIBUTES = 4096
_ORDERED_STATES = tuple(state.value for state in (AccountState.ACTIVE, AccountState.BLOCKED, AccountState.NO_BALANCE))
_SIMULTANEOUS = checks.integer(1, checks.GREATEST_INTEGER)
_PERIOD_DAY = checks.integer(1, 31)
_PASSWORD = checks.secret(checks.LONGEST_PASSWORD_OCTETS, empty=True)
_TEXT = checks.text()


def login(value: object) -> str:
    """Accept a User-Name in its one normal form."""
    key = login_key(_TEXT(value))
    if len(key.encode()) > checks.LONGEST_ATTRIBUTE_OCTETS:
        raise Mistake(f"must have at most {checks.LONGEST_ATTRIBUTE_OCTETS} octets, the limit of a User-Name")
    return key


def hardware_addresses(value: object) -> tuple[str, ...]:
    """Accept one MAC address or a list of them, in any notation."""
    return checks.texts(value if isinstance(value, list) else [value], _hardware_address)


def reference(kind: str, names: Collection[str]) -> Check[str]:
    """Accept the name of something that exists."""

    def check(value: object) -> str:
        name = checks.name(value)
        if name not in names:
            raise Mistake(f"there is no {kind} {show(name)}{suggestion(name, names)}")
        return name

    return check


def references(kind: str, names: Collection[str]) -> Check[tuple[str, ...]]:
    """Accept a list of names of things that exist."""
    one = reference(kind, names)
    return lambda value: checks.texts(value, one)


class ServiceReader:
    """Reads the services of one file and remembers what must be unique or must exist."""

    def __init__(
        self,
        known: Known,
        problems: Problems,
        *,
        zone: tzinfo,
        plans: Collection[str],
        routers: Collection[str],
        customers: Collection[str] = (),
        encode: AttributeEncoder,
    ) -> None:
        self._known = known
        self._problems = problems
        self._plan = reference("plan", plans)
        self._routers = references("router", routers)
        self._expires = checks.instant(zone)
        self._file_customers = customers
        self._encode = lru_cache(_ENCODED_ATTRIBUTES)(encode)
        self._logins: dict[str, Path] = {}
        self._addresses: dict[str, tuple[str, Path]] = {}
        self._with_customer: list[tuple[str, Path]] = []
        self._without_password: list[tuple[str, Path]] = []
        self._numbers: set[str] = set()

    def read(self, table: Table) -> ServiceEntry:
        """Return the service of one table; what refers to other services or customers is settled later."""
        inner = table.table("attributes")
        attributes, reply_octets = read_attributes(inner, self._encode) if inner else ((), b"")
        service = ServiceEntry(
            login=table.require("login", login, ""),
            password=table.take("password", _PASSWORD, None),
            plan=table.require("plan", self._plan, ""),
            customer=table.take("customer", login, None),
            address=table.take("address", checks.subscriber_address, None),
            macs=table.take("mac", hardware_addresses, ()),
            routers=table.take("routers", self._routers, ()),
            simultaneous=table.take("simultaneous", _SIMULTANEOUS, None),
            enabled=table.take("enabled", checks.boolean, True),
            expires_at=table.take("expires", self._expires, None),
            period_day=table.take("period_day", _PERIOD_DAY, 1),
            account_state=table.take("account_state", _account_state, None),
            attributes=attributes,
            reply_octets=reply_octets,
        )
        table.finish()
        self._claim(service, table)
        if service.customer is not None:
            self._with_customer.append((service.customer, table.path))
        if service.password is None and service.login and "password" not in table.values:
            self._without_password.append((service.login, table.path))
            if str(table.values.get("login")).isdigit():
                # Twelve digits may be a MAC, and may be a telephone number.
                self._numbers.add(service.login)
        return service

    def settle(self) -> None:
        """Check the services read since the last time against the customers and services that exist."""
        wanted, self._with_customer = self._with_customer, []
        missing = {name for name, _ in wanted} - {*self._file_customers}
        missing -= {*self._known.customers(missing)} if missing else set()
        for name, path in wanted:
            if name in missing:
                close = suggestion(name, self._file_customers)
                self._problems.report((*path, "customer"), f"there is no customer {show(name)}{close}")
        # Routers send a MAC address as login with an empty password, which need not be written.
        bare = [(name, path) for name, path in self._without_password if mac(name) != name or name in self._numbers]
        self._without_password = []
        existing = self._known.services([name for name, _ in bare]) if bare else ()
        for name, path in bare:
            if name not in existing:
                message = 'is missing for a new service; a line without one has password = ""'
                self._problems.report((*path, "password"), message)

    def finish(self) -> None:
        """Check the static addresses against those of services that this file does not name."""
        holders = self._known.address_holders(list(self._addresses)) if self._addresses else {}
        for address, (owner, path) in self._addresses.items():
            holder = holders.get(address, owner)
            if holder not in self._logins:
                self._problems.report((*path, "address"), f"{address} belongs to the service {show(holder)} already")

    def static_addresses(self) -> Mapping[str, tuple[str, Path]]:
        """Return the login and the place of each static address."""
        return self._addresses

    def _claim(self, service: ServiceEntry, table: Table) -> None:
        first = self._logins.setdefault(service.login, table.path) if service.login else table.path
        if first != table.path:
            table.report(f"{show(service.login)} is there twice", "login", earlier=first)
        if service.address is None or service.address == CHOSEN_BY_ROUTER:
            return
        owner, place = self._addresses.setdefault(service.address, (service.login, table.path))
        if place != table.path:
            table.report(f"{service.address} belongs to the service {show(owner)} too", "address", earlier=place)


def _account_state(value: object) -> AccountState:
    """Accept what an operator may order; the other states are billing's."""
    if value not in _ORDERED_STATES:
        raise Mistake(f"must be one of {checks.listed(_ORDERED_STATES)}, not {show(value)}")
    return AccountState(value)


def _hardware_address(value: object) -> str:
    address = mac(value) if isinstance(value, str) else None
    if address is None:
        raise Mistake(f'must be a MAC address such as "AA:BB:CC:DD:EE:FF", not {show(value)}')
    return address
