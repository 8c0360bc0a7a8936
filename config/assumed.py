"""Decides what a file may refer to where nobody asks the database: everything that it names is taken to be there.

Rule: for what changes nothing and needs a part of a file only. What the file holds is read as it stands there; so a
mistake stays one, unless it is in the name of something that the file does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from config.isp import MAIN, Isp, Known, PoolEntry
from config.provisioning import Document
from domain.catalogue import ProductKind
from domain.network import PoolKind

_POOLS = {
    "pool": PoolKind.IPV4,
    "ipv6_pool": PoolKind.IPV6_PREFIX,
    "delegated_pool": PoolKind.DELEGATED_PREFIX,
}
"""Keys that name a pool."""
_NOWHERE = ip_address("0.0.0.0")


def assume(document: Document) -> Known:
    """Return all that the document refers to as known."""

    def named(*keys: str) -> set[str]:
        return {name for key in keys for name in _named(document.tables, key)}

    routers = {*named("routers"), *_held(document, "router")}
    held = _held(document, "pool")
    return Known(
        routers=dict.fromkeys(routers, ("", None)),
        routers_with_api=routers,
        pools={name: _pool(name, kind) for key, kind in _POOLS.items() for name in named(key) - held},
        plans=named("plan") | _held(document, "plan"),
        taxes=named("taxes"),
        partners=named("partner", "partners", "prices"),
        products=dict.fromkeys(named("product"), ProductKind.RECURRING),
        customers=lambda logins: logins,
        services=lambda logins: logins,
    )


def missing(isp: Isp, known: Known) -> tuple[str, ...]:
    """Return which taxes, partners and pools a file names and does not hold, each with its kind."""
    taxes = {*known.taxes} - {tax.code for tax in isp.taxes}
    partners = {*known.partners} - {partner.name for partner in isp.partners} - {MAIN}
    kinds = (("tax", taxes), ("partner", partners), ("pool", known.pools))
    return tuple(f"{kind} {name}" for kind, names in kinds for name in sorted(names))


def _named(value: object, key: str) -> Iterator[str]:
    """Yield the names under a key, however deep it stands: one, a list of them, or the keys of a table."""
    if isinstance(value, list):
        for element in value:
            yield from _named(element, key)
    elif isinstance(value, dict):
        found = value.get(key)
        each = [found] if isinstance(found, str) else found if isinstance(found, list | dict) else []
        yield from (name for name in each if isinstance(name, str))
        for inner in value.values():
            yield from _named(inner, key)


def _held(document: Document, kind: str) -> set[str]:
    """Return the names of the tables of a kind."""
    tables = document.tables.get(kind)
    names = [table.get("name") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return {name for name in names if isinstance(name, str)}


def _pool(name: str, kind: PoolKind) -> PoolEntry:
    """Return a pool of which nobody knows the addresses."""
    return PoolEntry(name, kind, _NOWHERE, _NOWHERE, 32, (), None)
