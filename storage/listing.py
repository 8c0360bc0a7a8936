"""What operators may read of the provisioned network: routers, pools, plans, customers and services, a page at a time.

Rule: secrets are never selected; a page is cut by key (`name > last`), so that a listing costs the same at its end as
at its beginning and never skips or repeats a row that existed all along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Engine

Row = TypeVar("Row")

Parameters = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows in order; `more` says that others follow the last one."""

    rows: tuple[Row, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Isp:
    """The operator itself."""

    name: str
    currency: str
    timezone: str


@dataclass(frozen=True, slots=True)
class RouterRow:
    """A router; `api_*` are its management access, without the password."""

    name: str
    address: str
    identifier: str | None
    profile: str
    coa_port: int | None
    require_message_authenticator: str
    flip_counters: bool
    api_user: str | None
    api_port: int | None
    api_tls: bool | None
    open_sessions: int


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool of addresses or prefixes; `size` counts what it holds, `static` what services own of it."""

    name: str
    kind: str
    first_address: str
    last_address: str
    prefix_length: int
    routers: tuple[str, ...]
    lease_seconds: int | None
    size: int
    leased: int
    static: int


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan, its pools by name."""

    name: str
    kind: str
    download_bits_per_second: int | None
    upload_bits_per_second: int | None
    pool: str | None
    ipv6_pool: str | None
    delegated_pool: str | None
    session_timeout_seconds: int | None
    idle_timeout_seconds: int | None
    interim_seconds: int
    simultaneous: int | None
    services: int


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer; `state` is the account's, `payer` who pays for it."""

    login: str
    name: str
    email: str | None
    phone: str | None
    services: int
    state: str
    category: str | None
    partner: str
    payer: str | None
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service, its plan, customer and routers by name."""

    id: int
    login: str
    plan: str
    customer: str | None
    address: str | None
    macs: tuple[str, ...]
    routers: tuple[str, ...]
    simultaneous: int | None
    enabled: bool
    expires_at: datetime | None
    attributes: tuple[tuple[str, str], ...]
    open_sessions: int
    state: str | None
    """Of its sale today: pending, active, paused or stopped; None: it is not sold."""


@dataclass(frozen=True, slots=True)
class ServiceFilter:
    """Which services a listing wants; None is no restriction."""

    plan: str | None = None
    customer: str | None = None
    login_prefix: str | None = None


_ROUTER = """
SELECT r.name, CAST(r.address AS inet) AS address, r.identifier, r.profile, r.coa_port,
       r.require_message_authenticator, r.flip_counters, r.api_user, r.api_port, r.api_tls,
       (SELECT count(*) FROM session WHERE router_id = r.id AND state = 0) AS open_sessions
FROM router r"""

_POOL = """
SELECT p.name, p.kind, host(p.first_address) AS first_address, host(p.last_address) AS last_address, p.prefix_length,
       ARRAY(SELECT name FROM router WHERE id = ANY(p.router_ids) ORDER BY name) AS routers, p.lease_seconds,
       (SELECT count(*) FROM lease WHERE pool_id = p.id AND expires_at > now()) AS leased,
       (SELECT count(*) FROM service WHERE address BETWEEN p.first_address AND p.last_address) AS static
FROM pool p"""

_PLAN = """
SELECT p.name, p.kind, p.download_bits_per_second, p.upload_bits_per_second,
       v4.name AS pool, v6.name AS ipv6_pool, delegated.name AS delegated_pool,
       p.session_timeout_seconds, p.idle_timeout_seconds, p.interim_seconds, p.simultaneous,
       (SELECT count(*) FROM service WHERE plan_id = p.id) AS services
FROM plan p
LEFT JOIN pool v4 ON v4.id = p.pool_id
LEFT JOIN pool v6 ON v6.id = p.ipv6_pool_id
LEFT JOIN pool delegated ON delegated.id = p.delegated_pool_id"""

_CUSTOMER = """
SELECT c.login, c.name, c.email, c.phone,
       (SELECT count(*) FROM service WHERE customer_id = c.id) AS services,
       coalesce(a.state, 'new') AS state, c.details ->> 'category' AS category, r.name AS partner, p.login AS payer,
       c.details
FROM customer c
JOIN partner r ON r.id = c.partner_id
LEFT JOIN customer p ON p.id = c.payer_id
LEFT JOIN account a ON a.customer_id = c.id"""

_TODAY = """(SELECT CAST((now() + coalesce((SELECT ahead FROM test_clock), interval '0')) AT TIME ZONE timezone AS date)
    FROM isp)"""

_SERVICE = f"""
SELECT s.id, s.login, p.name AS plan, c.login AS customer, host(s.address) AS address, s.macs,
       ARRAY(SELECT name FROM router WHERE id = ANY(s.router_ids) ORDER BY name) AS routers,
       s.simultaneous, s.enabled, s.expires_at, s.attributes,
       (SELECT count(*) FROM session WHERE service_id = s.id AND state = 0) AS open_sessions,
       CASE WHEN coalesce(sale.state, 'active') <> 'active' THEN sale.state WHEN EXISTS (SELECT FROM rest r
                WHERE r.customer_id IN (c.id, c.payer_id) AND r.cause = 'vacation' AND r.starts <= {_TODAY}
                    AND coalesce(r.ends > {_TODAY}, true))
            THEN 'paused' ELSE sale.state END AS state
FROM service s
JOIN plan p ON p.id = s.plan_id
LEFT JOIN customer c ON c.id = s.customer_id
LEFT JOIN LATERAL (
    SELECT CASE (SELECT e.kind FROM subscription_event e WHERE e.subscription_id = x.id AND e.cancelled_at IS NULL
                AND e.kind <> 'change' AND e.on_day <= {_TODAY} ORDER BY e.on_day DESC, e.id DESC LIMIT 1)
            WHEN 'stop' THEN 'stopped' WHEN 'pause' THEN 'paused' WHEN 'start' THEN 'active' WHEN 'resume' THEN 'active'
            ELSE 'pending' END AS state
    FROM subscription x WHERE x.service_id = s.id AND x.code IS NULL ORDER BY x.id DESC LIMIT 1
) AS sale ON true"""


def is_there(engine: Engine, kind: str, name: str) -> bool:
    """Tell whether a router, pool, plan or customer has a name."""
    table, column = _NAMED[kind]
    found = select(engine, f"SELECT EXISTS (SELECT FROM {table} WHERE {column} = :name) AS found", {"name": name})
    return bool(found[0]["found"])


_NAMED = {kind: (kind, "login" if kind == "customer" else "name") for kind in ("router", "pool", "plan", "customer")}


def isp(engine: Engine) -> Isp:
    """Return the operator's name, currency and time zone."""
    (row,) = select(engine, "SELECT name, currency, timezone FROM isp", {})
    return Isp(**row)


def routers(engine: Engine, after: str | None, limit: int) -> Page[RouterRow]:
    """Return the page of routers after that name."""
    return cut([RouterRow(**row) for row in _page(engine, _ROUTER, "r.name", after, limit)], limit)


def router(engine: Engine, name: str) -> RouterRow | None:
    """Return the router of that name."""
    return next((RouterRow(**row) for row in _one(engine, _ROUTER, "r.name", name)), None)


def pools(engine: Engine, after: str | None, limit: int) -> Page[PoolRow]:
    """Return the page of pools after that name."""
    return cut([_pool(row) for row in _page(engine, _POOL, "p.name", after, limit)], limit)


def pool(engine: Engine, name: str) -> PoolRow | None:
    """Return the pool of that name."""
    return next((_pool(row) for row in _one(engine, _POOL, "p.name", name)), None)


def plans(engine: Engine, after: str | None, limit: int) -> Page[PlanRow]:
    """Return the page of plans after that name."""
    return cut([PlanRow(**row) for row in _page(engine, _PLAN, "p.name", after, limit)], limit)


def plan(engine: Engine, name: str) -> PlanRow | None:
    """Return the plan of that name."""
    return next((PlanRow(**row) for row in _one(engine, _PLAN, "p.name", name)), None)


def customers(engine: Engine, after: str | None, limit: int) -> Page[CustomerRow]:
    """Return the page of customers after that login."""
    return cut([CustomerRow(**row) for row in _page(engine, _CUSTOMER, "c.login", after, limit)], limit)


def customer(engine: Engine, login: str) -> CustomerRow | None:
    """Return the customer of that login."""
    return next((CustomerRow(**row) for row in _one(engine, _CUSTOMER, "c.login", login)), None)


def services(engine: Engine, wanted: ServiceFilter, after: str | None, limit: int) -> Page[ServiceRow]:
    """Return the page of wanted services after that login."""
    conditions = []
    if wanted.plan is not None:
        conditions.append("p.name = :plan")
    if wanted.customer is not None:
        conditions.append("c.login = :customer")
    if wanted.login_prefix is not None:
        conditions.append("s.login ^@ :login_prefix")
    parameters = {"plan": wanted.plan, "customer": wanted.customer, "login_prefix": wanted.login_prefix}
    found = _page(engine, _SERVICE, "s.login", after, limit, conditions=conditions, parameters=parameters)
    return cut([_service(row) for row in found], limit)


def service(engine: Engine, login: str) -> ServiceRow | None:
    """Return the service of that login."""
    return next((_service(row) for row in _one(engine, _SERVICE, "s.login", login)), None)


def select(engine: Engine, query: str, parameters: Parameters) -> Sequence[RowMapping]:
    """Run one query in a transaction of its own."""
    with engine.connect() as connection:
        return connection.execute(text(query), parameters).mappings().all()


def cut(rows: Sequence[Row], limit: int) -> Page[Row]:
    """Return `limit` of the rows; their query asked for one more to learn whether others follow."""
    return Page(tuple(rows[:limit]), len(rows) > limit)


def where(conditions: Sequence[str]) -> str:
    """Join the conditions of a query; none is none."""
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def in_utc(row: RowMapping) -> dict[str, Any]:
    """Return the row's values, its instants in UTC whatever zone the connection speaks."""
    return {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in row.items()}


def _page(
    engine: Engine,
    query: str,
    key: str,
    after: str | None,
    limit: int,
    *,
    conditions: Sequence[str] = (),
    parameters: Parameters | None = None,
) -> Sequence[RowMapping]:
    wanted = [*conditions] if after is None else [*conditions, f"{key} > :after"]
    statement = f"{query}{where(wanted)} ORDER BY {key} LIMIT :limit"
    return select(engine, statement, {**(parameters or {}), "after": after, "limit": limit + 1})


def _one(engine: Engine, query: str, key: str, value: str) -> Sequence[RowMapping]:
    return select(engine, f"{query} WHERE {key} = :value", {"value": value})


def _pool(row: RowMapping) -> PoolRow:
    first, last = ip_address(row["first_address"]), ip_address(row["last_address"])
    size = (int(last) - int(first) + 1) >> (first.max_prefixlen - row["prefix_length"])
    return PoolRow(**{**row, "routers": tuple(row["routers"]), "size": size})


def _service(row: RowMapping) -> ServiceRow:
    return ServiceRow(
        **{
            **in_utc(row),
            "macs": tuple(row["macs"]),
            "routers": tuple(row["routers"]),
            "attributes": tuple((name, value) for name, value in row["attributes"]),
        }
    )
