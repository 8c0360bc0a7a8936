"""How an ISP file changes the database.

Rule: one transaction, all or nothing; what is there already is not written again, and nothing is ever deleted.
Routers, pools, plans and the ISP raise the configuration revision, and workers hear of it at once; customers and
services are read at each login. What changes what an open line may do goes into the outbox in the same transaction.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from ipaddress import ip_address, ip_network

import sqlalchemy
from sqlalchemy import Connection, Engine, text
from sqlalchemy.dialects.postgresql import ARRAY, INET

from config import plan_rules, provisioning
from config.blocking import blocking_document
from config.isp import Isp, IspEntry, Known, PoolEntry
from config.problems import Problem, Problems
from config.provisioning import Document
from config.toml_lines import Path
from domain.catalogue import ProductKind
from domain.network import PoolKind
from radius import dictionary
from radius.dictionary import InvalidValue
from storage import outbox, plan_sellers, schema
from storage.billing import account_types, clock, currencies, currency_mistakes, discounts
from storage.billing import provisioning as commerce
from storage.outbox import Topic
from storage.provisioned_rows import (
    CHUNK_ROWS,
    CUSTOMER,
    PARTNER,
    PLAN,
    POOL,
    PRODUCT,
    ROUTER,
    SERVICE,
    TAX,
    Ids,
    Kind,
    Row,
    among,
    changed_keys,
    chunks,
    customer_row,
    existing_rows,
    partner_row,
    plan_row,
    pool_row,
    product_row,
    router_row,
    service_row,
    tax_row,
    with_kept_values,
)
from storage.row_staging import Staging
from storage.snapshot import CHANNEL
from storage.vault import Vault

ENFORCED_OF_SERVICE = frozenset({"plan", "enabled", "expires", "period_day", "account_state", "attributes"})
"""Keys that say what an open line may do; the others wait for the next login."""
SOLD_BY = frozenset({"plan", "customer"})
"""Keys of a service that say who sells what."""
ENFORCED_OF_ISP = frozenset({"timezone", "blocking"})
NOT_ENFORCED_OF_PLAN = frozenset({"partners", *PLAN.file_keys.values()}) - {"download", "upload"}
"""Of a plan it is the other way round: its rates and rules are most of it."""
NOT_IN_SNAPSHOT = frozenset(
    {CUSTOMER.name, SERVICE.name, TAX.name, PARTNER.name, PRODUCT.name, "subscription", "discount", "account"}
)
"""Kinds of which no worker keeps a copy."""


_TAGGED = re.compile(r"([^:]+):([0-9]{1,2})")
MOST_NAMED = 5000
"""Services that are looked up by name; for more, all are read."""


class Action(Enum):
    """What became of an object of the file."""

    CREATED = "created"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Change:
    """One object that was written; `keys` are the keys of the file that differ, empty for a new object."""

    kind: str
    name: str
    action: Action
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What a file changed, or would change."""

    changes: tuple[Change, ...]
    unchanged: Mapping[str, int]
    """Objects by kind that are already as the file has them."""
    warnings: tuple[Problem, ...]
    dry_run: bool


def apply(engine: Engine, vault: Vault, document: Document, *, dry_run: bool = False) -> ApplyReport:
    """Bring the database to what the document says. Raise ProvisioningError with every mistake, or VaultError."""
    with engine.connect() as connection, connection.begin() as transaction:
        lock_configuration(connection)
        isp = provisioning.parse(document, known(connection), encode_reply_attribute)
        work = Reconciliation(connection, vault)
        _apply(work, isp, document)
        warnings = document.problems()
        _warn_of_billed(connection, isp, warnings)
        if dry_run:
            transaction.rollback()
    told = tuple(sorted([*isp.warnings, *warnings.by_line()]))
    return ApplyReport(tuple(work.changes), dict(work.unchanged), told, dry_run)


def revision(engine: Engine) -> int:
    """Return the number of the configuration that is stored now."""
    with engine.connect() as connection:
        return int(connection.execute(sqlalchemy.text("SELECT revision FROM configuration_revision")).scalar_one())


def has_secrets(engine: Engine) -> bool:
    """Tell whether anything is stored that the vault has sealed."""
    with engine.connect() as connection:
        return bool(
            connection.execute(
                sqlalchemy.text("SELECT EXISTS (SELECT FROM router) OR EXISTS (SELECT FROM service)")
            ).scalar_one()
        )


def lock_configuration(connection: Connection) -> None:
    """Let no other writer in until this transaction ends."""
    connection.execute(text("SELECT revision FROM configuration_revision FOR UPDATE"))


def encode_reply_attribute(name: str, value: str) -> bytes:
    """Return a reply attribute as a packet carries it; `Tunnel-Type:1` has a tag (RFC 2868).

    Raise UnknownAttribute or InvalidValue.
    """
    attributes = dictionary.load()
    tagged = _TAGGED.fullmatch(name)
    bare = tagged[1] if tagged else name
    if attributes.by_name(bare).encrypt:
        raise InvalidValue(bare, "is encrypted for each answer and cannot be provisioned; leave it out")
    return attributes.encode(bare, value, tag=int(tagged[2]) if tagged else None)


def known(connection: Connection) -> Known:
    """Return what exists, for a file to refer to."""
    routers = connection.execute(
        sqlalchemy.select(
            schema.router.c.id,
            schema.router.c.name,
            schema.router.c.address,
            schema.router.c.identifier,
            schema.router.c.api_password.is_not(None).label("has_api"),
        )
    ).all()
    names = {router.id: router.name for router in routers}
    return Known(
        timezone=connection.execute(sqlalchemy.select(schema.isp.c.timezone)).scalar_one(),
        has_usage=bool(connection.scalar(text("SELECT EXISTS (SELECT FROM usage_day)"))),
        routers={router.name: (str(ip_network(router.address)), router.identifier) for router in routers},
        routers_with_api=frozenset(router.name for router in routers if router.has_api),
        pools={pool.name: pool for pool in pools(connection, names)},
        plans=frozenset(connection.execute(sqlalchemy.select(schema.plan.c.name)).scalars()),
        taxes=frozenset(ids_by_name(connection, TAX)),
        partners=frozenset(ids_by_name(connection, PARTNER)),
        products={
            row.code: ProductKind(row.kind)
            for row in connection.execute(sqlalchemy.select(PRODUCT.table.c.code, PRODUCT.table.c.kind))
        },
        subscriptions=lambda codes: commerce.owners(connection, codes),
        customers=lambda logins: _existing(connection, schema.customer.c.login, logins),
        services=lambda logins: _existing(connection, schema.service.c.login, logins),
        address_holders=lambda addresses: _address_holders(connection, addresses),
    )


def pools(connection: Connection, router_names: Mapping[int, str]) -> Iterator[PoolEntry]:
    """Yield the pools that exist, by name."""
    for row in connection.execute(sqlalchemy.select(schema.pool).order_by(schema.pool.c.name)).mappings():
        yield PoolEntry(
            name=row["name"],
            kind=PoolKind(row["kind"]),
            first=ip_address(row["first_address"]),
            last=ip_address(row["last_address"]),
            prefix_length=row["prefix_length"],
            routers=tuple(router_names[router_id] for router_id in row["router_ids"]),
            lease_seconds=row["lease_seconds"],
        )


def ids_by_name(connection: Connection, kind: Kind) -> dict[str, int]:
    """Return the ids of every object of a kind."""
    rows = connection.execute(sqlalchemy.select(kind.table.c[kind.key], kind.table.c.id))
    return {row[0]: row[1] for row in rows}


def customer_ids(connection: Connection, logins: Collection[str]) -> dict[str, int]:
    """Return the ids of the customers with the given logins."""
    customers = schema.customer.c
    rows = connection.execute(sqlalchemy.select(customers.login, customers.id).where(among(customers.login, logins)))
    return {row[0]: row[1] for row in rows}


class Reconciliation:
    """Writes what differs, and keeps count."""

    def __init__(self, connection: Connection, vault: Vault) -> None:
        self.connection = connection
        self.changes: list[Change] = []
        self.unchanged: Counter[str] = Counter()
        self._vault = vault
        self.begun: list[int] = []
        """Subscriptions that begin."""
        self._enforced_services: list[str] = []
        self._enforced_everywhere = False

    def write(self, kind: Kind, rows: Iterable[Row]) -> None:
        """Create and update objects of one kind."""
        staging = Staging(self.connection, kind.table.name, kind.columns)
        for chunk in chunks(rows):
            self.stage(kind, chunk, staging)
        if kind is ROUTER:
            self._free_router_addresses()
        staging.merge()

    def stage(self, kind: Kind, rows: Sequence[Row], staging: Staging, *, kept: Collection[str] = ()) -> None:
        """Put those rows on their way that are new or differ; the columns `kept` never differ."""
        before = existing_rows(self.connection, self._vault, kind, [row[kind.key] for row in rows])
        written = []
        for wanted in rows:
            name = wanted[kind.key]
            row = with_kept_values(kind, before.get(name), wanted, kept)
            keys = changed_keys(kind, before[name], row) if name in before else ()
            if name in before and not keys:
                self.unchanged[kind.name] += 1
                continue
            action = Action.UPDATED if name in before else Action.CREATED
            self.changes.append(Change(kind.name, name, action, keys))
            self._note_enforced(kind, name, {*keys})
            written.append(kind.seal(row, self._vault))
        staging.copy(written)

    def write_isp(self, entry: IspEntry) -> None:
        """Update the operator itself."""
        before = self.connection.execute(sqlalchemy.select(schema.isp)).one()
        old = {"name": before.name, "currency": before.currency, "timezone": before.timezone}
        new = {"name": entry.name, "currency": entry.currency, "timezone": entry.timezone}
        keys = [key for key in new if old[key] != new[key]]
        if plan_rules.load_blocking(before.blocking) != entry.blocking:
            keys.append("blocking")
        if before.billing != entry.billing:
            keys.append("billing")
        if not keys:
            self.unchanged["isp"] += 1
            return
        written = {**new, "blocking": blocking_document(entry.blocking), "billing": dict(entry.billing)}
        self.connection.execute(schema.isp.update().values(**written))
        self.changes.append(Change("isp", entry.name, Action.UPDATED, tuple(keys)))
        self._enforced_everywhere |= not ENFORCED_OF_ISP.isdisjoint(keys)

    def sell_services(self, today: date) -> None:
        """Let billing follow the services and plans that were written."""
        written = [change.name for change in self.changes if change.kind == SERVICE.name]
        everything = any(change.kind in (PLAN.name, PRODUCT.name) for change in self.changes)
        changed = any(change.kind == "subscription" for change in self.changes)
        if everything or len(written) > MOST_NAMED:
            commerce.follow_services(self.connection, today, fresh=self.begun)
        elif written or changed:
            commerce.follow_services(self.connection, today, written, self.begun)

    def refuse_partners(self) -> dict[str, str]:
        """Return by login what is wrong with services that were now sold, or given away, by the wrong partner."""
        sold = [
            change.name
            for change in self.changes
            if change.kind == SERVICE.name and (change.action is Action.CREATED or not SOLD_BY.isdisjoint(change.keys))
        ]
        return plan_sellers.refusals(self.connection, sold) if plan_sellers.restricted_plans(self.connection) else {}

    def announce(self) -> None:
        """Tell the core which open lines may do something else now, and the workers that their copies are old."""
        self._fill_outbox()
        if any(change.kind not in NOT_IN_SNAPSHOT for change in self.changes):
            self.connection.execute(text("UPDATE configuration_revision SET revision = revision + 1"))
            self.connection.execute(text(f"NOTIFY {CHANNEL}"))

    def _note_enforced(self, kind: Kind, name: str, keys: set[str]) -> None:
        """Remember what an open line depends on; a new object has no keys and no line."""
        if kind is SERVICE and keys & ENFORCED_OF_SERVICE:
            self._enforced_services.append(name)
        self._enforced_everywhere |= kind is PLAN and bool(keys - NOT_ENFORCED_OF_PLAN)

    def _fill_outbox(self) -> None:
        if self._enforced_everywhere:
            outbox.add(self.connection, Topic.CHANGED, [None])
        for logins in chunks(self._enforced_services):
            outbox.add(self.connection, Topic.CHANGED, _ids(self.connection, logins))

    def _free_router_addresses(self) -> None:
        """Let routers exchange addresses: the unique constraint is checked row by row, also within one statement."""
        self.connection.execute(
            text(
                "UPDATE router SET identifier = chr(1) || router.id FROM incoming_router AS incoming"
                " WHERE router.name = incoming.name"
                " AND (router.address, router.identifier) IS DISTINCT FROM (incoming.address, incoming.identifier)"
            )
        )


def _ids(connection: Connection, logins: Collection[str]) -> Sequence[int]:
    """Return the ids of services; those that are not on line are told of too, for their login may be under way."""
    service = schema.service.c
    return connection.scalars(sqlalchemy.select(service.id).where(among(service.login, logins))).all()


def _apply(work: Reconciliation, isp: Isp, document: Document) -> None:
    connection = work.connection
    problems = document.problems()
    currency_mistakes.report_sellers(connection, isp, problems)
    document.refuse_if(problems)
    if isp.isp is not None:
        work.write_isp(isp.isp)
    work.write(ROUTER, map(router_row, isp.routers))
    ids = Ids(routers=ids_by_name(connection, ROUTER))
    for index, pool in enumerate(isp.pools):
        _move_pool(connection, pool, problems, index)
    document.refuse_if(problems)
    work.write(POOL, (pool_row(pool, ids) for pool in isp.pools))
    ids = Ids(routers=ids.routers, pools=ids_by_name(connection, POOL))
    work.write(PLAN, (plan_row(plan, ids) for plan in isp.plans))
    work.write(TAX, map(tax_row, isp.taxes))
    work.write(PARTNER, map(partner_row, isp.partners))
    ids = Ids(routers=ids.routers, plans=ids_by_name(connection, PLAN), partners=ids_by_name(connection, PARTNER))
    today = clock.today(connection)
    _apply_products(work, isp, ids, today)
    work.write(CUSTOMER, (customer_row(customer, ids) for customer in isp.customers))
    currency_mistakes.report_changes(connection, isp, problems)
    document.refuse_if(problems)
    _apply_accounts(work, isp, problems, today)
    work.write(SERVICE, _service_rows(connection, isp, ids))
    refused = work.refuse_partners()
    for index, service in enumerate(isp.services):
        if service.login in refused:
            problems.report(("service", index, "plan"), refused[service.login])
    currency_mistakes.report_sales(connection, isp, problems, today)
    document.refuse_if(problems)
    created, updated = commerce.write_subscriptions(connection, isp.subscriptions, today)
    work.changes += [Change("subscription", code, Action.CREATED) for code in created]
    work.begun += created.values()
    work.changes += [Change("subscription", code, Action.UPDATED, keys) for code, keys in updated]
    if kept := len(isp.subscriptions) - len(created) - len(updated):
        work.unchanged["subscription"] += kept
    work.sell_services(today)
    _apply_discounts(work, isp, today)
    work.announce()


def _apply_products(work: Reconciliation, isp: Isp, ids: Ids, today: date) -> None:
    plans = list(commerce.plan_offers(isp.plans, ids.plans))
    work.write(PRODUCT, [product_row(offer, plan_id) for offer, plan_id in plans])
    work.write(PRODUCT, map(product_row, isp.products))
    offers = [*isp.products, *(offer for offer, _ in plans)]
    for changed in commerce.write_prices(work.connection, offers, today):
        key = "price" if changed.partner is None else "prices"
        work.changes.append(Change(PRODUCT.name, changed.code, Action.UPDATED, (key,)))


def _apply_accounts(work: Reconciliation, isp: Isp, problems: Problems, today: date) -> None:
    connection = work.connection
    changed = commerce.write_accounts(connection, isp.customers, today)
    everywhere = any(change.kind in ("isp", PARTNER.name) for change in work.changes)
    logins = None if everywhere else [entry.login for entry in isp.customers]
    currencies.follow(connection, logins)
    lines = {entry.login: index for index, entry in enumerate(isp.customers)}
    for login, message in account_types.refused(connection, logins).items():
        place: Path = ("customer", lines[login], "billing") if login in lines else ("isp", "billing")
        problems.report(place, message)
    moved = account_types.follow(connection, today, logins)
    currency_mistakes.report_payers(connection, isp, problems)
    payers = commerce.write_payers(connection, isp.customers, today)
    work.changes += [Change("account", login, Action.UPDATED, ("billing",)) for login in sorted({*changed, *moved})]
    work.changes += [Change(CUSTOMER.name, login, Action.UPDATED, ("payer",)) for login in payers]


def _apply_discounts(work: Reconciliation, isp: Isp, today: date) -> None:
    created, updated = discounts.write(work.connection, isp.discounts, today)
    work.changes += [Change("discount", code, Action.CREATED) for code in created]
    work.changes += [Change("discount", code, Action.UPDATED, keys) for code, keys in updated]
    if kept := len(isp.discounts) - len(created) - len(updated):
        work.unchanged["discount"] += kept


def _warn_of_billed(connection: Connection, isp: Isp, warnings: Problems) -> None:
    """Warn of lines of the file that let nobody in any more and go on being billed."""
    lines = {entry.login: index for index, entry in enumerate(isp.services) if not entry.enabled or entry.expires_at}
    for login, key in commerce.billed_though_off(connection, list(lines), clock.today(connection)):
        message = "lets nobody in, and goes on being billed: `caudal subscription pause` or `stop` ends that"
        warnings.report(("service", lines[login], key), message)


def _service_rows(connection: Connection, isp: Isp, ids: Ids) -> Iterator[Row]:
    for services in chunks(isp.services):
        customers = customer_ids(connection, {service.customer for service in services if service.customer})
        complete = Ids(routers=ids.routers, plans=ids.plans, customers=customers)
        yield from (service_row(service, complete) for service in services)


def _move_pool(connection: Connection, pool: PoolEntry, problems: Problems, index: int) -> None:
    """Forget the ended leases that a changed range would misplace; refuse the change while others run.

    Leases are numbered from the first address: a pool may always grow at its end, the rest needs it to be empty there.
    """
    # Held against workers that are granting leases of it.
    held = sqlalchemy.select(schema.pool).where(schema.pool.c.name == pool.name).with_for_update(key_share=True)
    found = connection.execute(held).one_or_none()
    if found is None:
        return
    renumbered = (str(pool.first), pool.prefix_length) != (str(ip_address(found.first_address)), found.prefix_length)
    if not renumbered and int(pool.last) >= int(ip_address(found.last_address)):
        return
    misplaced = schema.lease.c.pool_id == found.id
    if not renumbered:
        misplaced &= schema.lease.c.address > sqlalchemy.cast(str(pool.last), INET)
    connection.execute(schema.lease.delete().where(misplaced, schema.lease.c.expires_at <= sqlalchemy.func.now()))
    running = sqlalchemy.select(sqlalchemy.func.count(), sqlalchemy.func.max(schema.lease.c.expires_at))
    count, until = connection.execute(running.where(misplaced)).one()
    if count:
        message = (
            f"cannot change so while {count} of its leases run, the last until {until:%Y-%m-%d %H:%M} UTC;"
            " make a new pool and move the plans to it"
        )
        problems.report(("pool", index, "range"), message)
    size = (int(pool.last) - int(pool.first) + 1) >> (pool.first.max_prefixlen - pool.prefix_length)
    next_offset = 0 if renumbered else min(found.next_offset, size)
    connection.execute(schema.pool.update().where(schema.pool.c.id == found.id).values(next_offset=next_offset))


def _existing(connection: Connection, column: sqlalchemy.Column[str], values: Collection[str]) -> set[str]:
    found: set[str] = set()
    for chunk in chunks(values, CHUNK_ROWS):
        found.update(connection.execute(sqlalchemy.select(column).where(among(column, chunk))).scalars())
    return found


def _address_holders(connection: Connection, addresses: Collection[str]) -> dict[str, str]:
    service = schema.service.c
    holders: dict[str, str] = {}
    for chunk in chunks(addresses, CHUNK_ROWS):
        wanted = sqlalchemy.any_(sqlalchemy.literal(chunk, ARRAY(INET)))
        query = sqlalchemy.select(sqlalchemy.func.host(service.address), service.login)
        rows = connection.execute(query.where(service.address == wanted).order_by(service.login.desc()))
        holders.update({row[0]: row[1] for row in rows})
    return holders
