"""How routers, pools, plans, customers and services become rows, and how their rows compare.

Rule: a row is compared with its secrets open and written with them sealed; what differs is named by the key of the ISP
file, never by value. A secret, or another value that only changes where it is written, stays as it is when it is None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY

from config import catalogue, plan_rules
from config.catalogue import Offer
from config.isp import CustomerEntry, PartnerEntry, PlanEntry, PoolEntry, RouterEntry, ServiceEntry
from domain.network import AccountState
from domain.secret import Secret
from domain.tax import Tax
from radius.mschap import hash_nt_hash, nt_hash
from storage import billing_schema, schema
from storage.vault import Vault

Row = dict[str, Any]
Item = TypeVar("Item")

# Rows in memory at a time; larger chunks are no faster.
CHUNK_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of provisioned object: its table, what identifies a row, and the file's key for each column."""

    name: str
    table: sqlalchemy.Table
    key: str
    file_keys: Mapping[str, str]
    contexts: Mapping[str, Callable[[str], bytes]] = field(default_factory=dict)
    """For each column that holds a secret, what it is sealed under."""
    documents: frozenset[str] = frozenset()
    """Columns that hold several of the file's keys as JSON."""
    lasting: Mapping[str, object] = field(default_factory=dict)
    """Columns that stay as they are where the file does not write them, and what a new object has."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return what is written, the identifying column first."""
        return (self.key, *self.file_keys)

    def seal(self, row: Row, vault: Vault) -> Row:
        """Return the row as the database keeps it."""
        documents = {column: json.dumps(row[column], ensure_ascii=False) for column in self.documents}
        return self._with_secrets({**row, **documents}, vault.seal)

    def open(self, row: Row, vault: Vault) -> Row:
        """Return the row with its secrets in clear."""
        return self._with_secrets(row, vault.open)

    def _with_secrets(self, row: Row, change: Callable[[bytes, bytes], bytes]) -> Row:
        name = row[self.key]
        secrets = {
            column: None if row[column] is None else change(row[column], context(name))
            for column, context in self.contexts.items()
        }
        return {**row, **secrets}


ROUTER = Kind(
    "router",
    schema.router,
    "name",
    {
        "address": "address",
        "identifier": "identifier",
        "secret": "secret",
        "profile": "profile",
        "coa_port": "coa_port",
        "require_message_authenticator": "require_message_authenticator",
        "flip_counters": "flip_counters",
        "api_user": "api",
        "api_password": "api",
        "api_port": "api",
        "api_tls": "api",
        "api_fingerprint": "api",
        "coa_per_second": "coa_per_second",
        "repair_drift": "repair_drift",
        "api_accounting": "api_accounting",
        "queues": "queues",
    },
    {"secret": lambda name: b"router:" + name.encode(), "api_password": lambda name: b"api:" + name.encode()},
)
POOL = Kind(
    "pool",
    schema.pool,
    "name",
    {
        "kind": "kind",
        "first_address": "range",
        "last_address": "range",
        "prefix_length": "prefix_length",
        "router_ids": "routers",
        "lease_seconds": "lease_seconds",
    },
)
PLAN = Kind(
    "plan",
    schema.plan,
    "name",
    {
        "kind": "kind",
        "download_bits_per_second": "download",
        "upload_bits_per_second": "upload",
        "pool_id": "pool",
        "ipv6_pool_id": "ipv6_pool",
        "delegated_pool_id": "delegated_pool",
        "session_timeout_seconds": "session_timeout",
        "idle_timeout_seconds": "idle_timeout",
        "interim_seconds": "interim_seconds",
        "simultaneous": "simultaneous",
        "rules": "rules",
    },
    documents=frozenset({"rules"}),
)
TAX = Kind("tax", billing_schema.tax, "code", {"document": "document"}, documents=frozenset({"document"}))
PARTNER = Kind("partner", billing_schema.partner, "name", {"document": "billing"}, documents=frozenset({"document"}))
PRODUCT = Kind(
    "product",
    billing_schema.product,
    "code",
    {"kind": "kind", "plan_id": "plan", "document": "document"},
    documents=frozenset({"document"}),
)
CUSTOMER = Kind(
    "customer",
    schema.customer,
    "login",
    {"name": "name", "email": "email", "phone": "phone", "partner_id": "partner", "details": "details"},
    documents=frozenset({"details"}),
)
SERVICE = Kind(
    "service",
    schema.service,
    "login",
    {
        "secret": "password",
        "plan_id": "plan",
        "customer_id": "customer",
        "address": "address",
        "macs": "mac",
        "router_ids": "routers",
        "simultaneous": "simultaneous",
        "enabled": "enabled",
        "expires_at": "expires",
        "period_day": "period_day",
        "account_state": "account_state",
        "attributes": "attributes",
        "reply_octets": "attributes",
    },
    {"secret": lambda login: b"service:" + login.encode()},
    lasting={"account_state": AccountState.ACTIVE.value},
)


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids by name of what rows refer to."""

    routers: Mapping[str, int] = field(default_factory=dict)
    pools: Mapping[str, int] = field(default_factory=dict)
    plans: Mapping[str, int] = field(default_factory=dict)
    customers: Mapping[str, int] = field(default_factory=dict)
    partners: Mapping[str, int] = field(default_factory=dict)

    def of_routers(self, names: Iterable[str]) -> list[int]:
        """Return the ids of routers in ascending order."""
        return sorted(self.routers[name] for name in names)

    def of_pool(self, name: str | None) -> int | None:
        """Return the id of a pool, if there is one."""
        return None if name is None else self.pools[name]


def router_row(entry: RouterEntry) -> Row:
    """Return the row of a router, secrets in clear."""
    api = entry.api
    return {
        "name": entry.name,
        "address": entry.address,
        "identifier": entry.identifier,
        "secret": _octets(entry.secret),
        "profile": entry.profile.value,
        "coa_port": entry.coa_port,
        "require_message_authenticator": entry.require_message_authenticator.value,
        "flip_counters": entry.flip_counters,
        "api_user": api and api.user,
        "api_password": _octets(api.password) if api else None,
        "api_port": api and api.port,
        "api_tls": api and api.tls,
        "api_fingerprint": api and api.fingerprint,
        "coa_per_second": entry.coa_per_second,
        "repair_drift": entry.repair_drift,
        "api_accounting": entry.api_accounting,
        "queues": entry.queues.value,
    }


def pool_row(entry: PoolEntry, ids: Ids) -> Row:
    """Return the row of a pool."""
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "first_address": str(entry.first),
        "last_address": str(entry.last),
        "prefix_length": entry.prefix_length,
        "router_ids": ids.of_routers(entry.routers),
        "lease_seconds": entry.lease_seconds,
    }


def plan_row(entry: PlanEntry, ids: Ids) -> Row:
    """Return the row of a plan."""
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "download_bits_per_second": entry.download_bits_per_second,
        "upload_bits_per_second": entry.upload_bits_per_second,
        "pool_id": ids.of_pool(entry.pool),
        "ipv6_pool_id": ids.of_pool(entry.ipv6_pool),
        "delegated_pool_id": ids.of_pool(entry.delegated_pool),
        "session_timeout_seconds": entry.session_timeout_seconds,
        "idle_timeout_seconds": entry.idle_timeout_seconds,
        "interim_seconds": entry.interim_seconds,
        "simultaneous": entry.simultaneous,
        "rules": plan_rules.document(entry.rules),
    }


def customer_row(entry: CustomerEntry, ids: Ids) -> Row:
    """Return the row of a customer; who pays for it is written when all are there."""
    return {
        "login": entry.login,
        "name": entry.name,
        "email": entry.email,
        "phone": entry.phone,
        "partner_id": ids.partners[entry.partner],
        "details": {key: value for key, value in entry.details.items() if key != "state"},
    }


def tax_row(tax: Tax) -> Row:
    """Return the row of a tax."""
    document = catalogue.tax_document(tax)
    return {"code": document.pop("code"), "document": document}


def partner_row(entry: PartnerEntry) -> Row:
    """Return the row of a partner."""
    return {"name": entry.name, "document": dict(entry.billing)}


def product_row(offer: Offer, plan_id: int | None = None) -> Row:
    """Return the row of a product; `plan_id` is the plan's that it sells."""
    product = offer.product
    return {
        "code": product.code,
        "kind": product.kind.value,
        "plan_id": plan_id,
        "document": catalogue.product_document(product),
    }


def service_row(entry: ServiceEntry, ids: Ids) -> Row:
    """Return the row of a service, its secret in clear."""
    return {
        "login": entry.login,
        "secret": None if entry.password is None else service_secret(entry.password.reveal()),
        "plan_id": ids.plans[entry.plan],
        "customer_id": None if entry.customer is None else ids.customers[entry.customer],
        "address": entry.address,
        "macs": list(entry.macs),
        "router_ids": ids.of_routers(entry.routers),
        "simultaneous": entry.simultaneous,
        "enabled": entry.enabled,
        "expires_at": entry.expires_at,
        "period_day": entry.period_day,
        "account_state": entry.account_state and entry.account_state.value,
        "attributes": entry.attributes,
        "reply_octets": entry.reply_octets,
    }


def service_secret(password: bytes) -> bytes:
    """Return what is sealed for a service: NT hash, the hash of that, and the password, so that no login needs MD4."""
    hashed = nt_hash(password)
    return hashed + hash_nt_hash(hashed) + password


def existing_rows(connection: Connection, vault: Vault, kind: Kind, keys: Sequence[str]) -> dict[str, Row]:
    """Return the rows that exist under the given keys, secrets in clear."""
    columns = [kind.table.c[column] for column in kind.columns]
    found = connection.execute(sqlalchemy.select(*columns).where(among(kind.table.c[kind.key], keys)))
    return {row[kind.key]: kind.open(_plain(dict(row)), vault) for row in found.mappings()}


def among(column: sqlalchemy.ColumnElement[str], values: Iterable[str]) -> sqlalchemy.ColumnElement[bool]:
    """Return the condition that a text column has one of many values."""
    return column == sqlalchemy.any_(sqlalchemy.literal([*values], ARRAY(sqlalchemy.Text)))


def changed_keys(kind: Kind, before: Row, after: Row) -> tuple[str, ...]:
    """Return the file's keys whose value differs, each once."""
    changed: list[str] = []
    for column, key in kind.file_keys.items():
        if column in kind.documents:
            changed += _changed_parts(before[column], after[column])
        elif before[column] != after[column]:
            changed.append(key)
    return tuple(dict.fromkeys(changed))


def _changed_parts(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


def with_kept_values(kind: Kind, before: Row | None, after: Row, kept: Collection[str] = ()) -> Row:
    """Return the row to write: the columns `kept`, missing secrets and what lasts stay.

    A new service has an empty password.
    """
    if before is None:
        new = {**after, **{column: value for column, value in kind.lasting.items() if after[column] is None}}
        return {**new, "secret": service_secret(b"")} if kind is SERVICE and new["secret"] is None else new
    missing = [column for column in (*kind.contexts, *kind.lasting) if after[column] is None]
    row = {**after, **{column: before[column] for column in (*kept, *missing)}}
    if kind is ROUTER and row["api_user"] is None:
        row["api_password"] = None
    return row


def chunks(items: Iterable[Item], size: int = CHUNK_ROWS) -> Iterator[list[Item]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _octets(secret: Secret | None) -> bytes | None:
    return None if secret is None else secret.reveal()


def _plain(row: Row) -> Row:
    """Return a row as PostgreSQL gives it in the form that entries are turned into."""
    if "attributes" in row:
        row["attributes"] = tuple((name, value) for name, value in row["attributes"])
    for column in ("first_address", "last_address"):
        if column in row:
            row[column] = str(ip_address(row[column]))
    if "profile" in row:
        row["address"] = str(ip_network(row["address"]))
        row["api_fingerprint"] = row["api_fingerprint"] and bytes(row["api_fingerprint"])
    if "rules" in row:
        row["rules"] = plan_rules.document(plan_rules.load(row["rules"]))
    return row
