"""How the database is written as an ISP file.

Rule: applying what was exported changes nothing. Secrets are written only where they were asked for; without them the
file still applies wherever its objects exist. Everything comes from one snapshot of the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from ipaddress import ip_network
from zoneinfo import ZoneInfo

import sqlalchemy
from sqlalchemy import Connection, Engine, RowMapping

from config import plan_rules
from config.blocking import blocking_document
from config.checks import end_of_day, write_fingerprint, write_rate
from config.pool_range import write_range
from config.reply_attributes import attribute_table
from config.toml_text import write_table
from domain.network import AccountState
from domain.plan_rules import Blocking
from enforcement.credentials import PASSWORD_AT
from storage import schema
from storage.billing import discounts
from storage.billing import exporting as commerce
from storage.provisioned_rows import CHUNK_ROWS, PLAN, POOL, ROUTER, SERVICE
from storage.provisioning import ids_by_name, pools
from storage.vault import Vault

HEADING = "# Written by caudal export; caudal apply reads it.\n"
WITHOUT_SECRETS = "# Secrets and passwords are left out and stay as they are; caudal export --secrets writes them.\n"
WITH_SECRETS = "# Holds secrets and passwords in clear: keep it where nobody else can read it.\n"

_OWN_TABLES = frozenset(
    {
        "cap", "fup", "step", "blocking", "top_up", "counting", "schedule", "class",
        "overage", "billing", "series", "seller", "part", "includes", "contract", "rate", "voice", "prices", "names",
    }
)  # fmt: skip
"""Keys that are too long for one line."""


def export(engine: Engine, vault: Vault, *, secrets: bool = False) -> str:
    """Return everything that is provisioned, as an ISP file. Raise VaultError."""
    return "".join(export_parts(engine, vault, secrets=secrets))


def export_parts(engine: Engine, vault: Vault, *, secrets: bool = False) -> Iterator[str]:
    """Yield the same file table by table, in memory that does not grow with it."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        yield HEADING + (WITH_SECRETS if secrets else WITHOUT_SECRETS)
        isp = connection.execute(sqlalchemy.select(schema.isp)).mappings().one()
        yield _isp(isp)
        yield from (_tables("tax", values) for values in commerce.taxes(connection))
        yield from (_tables("partner", values) for values in commerce.partners(connection))
        routers = {id_: name for name, id_ in ids_by_name(connection, ROUTER).items()}
        writer = _Writer(vault, secrets, ZoneInfo(isp["timezone"]), routers)
        yield from map(writer.router, _rows(connection, schema.router, schema.router.c.name))
        yield from (
            _table(
                "pool",
                {
                    "name": pool.name,
                    "range": write_range(pool.first, pool.last),
                    "kind": pool.kind.value,
                    "prefix_length": pool.prefix_length,
                    "routers": pool.routers or None,
                    "lease_seconds": pool.lease_seconds,
                },
            )
            for pool in pools(connection, routers)
        )
        pool_names = {id_: name for name, id_ in ids_by_name(connection, POOL).items()}
        sold = commerce.sold_plans(connection)
        for plan in _rows(connection, schema.plan, schema.plan.c.name):
            yield _plan(plan, pool_names, sold.get(plan["id"], {}))
        yield from (_tables("product", values) for values in commerce.products(connection))
        yield from (_tables("customer", values) for values in commerce.customers(connection))
        plans = {id_: name for name, id_ in ids_by_name(connection, PLAN).items()}
        yield from (writer.service(service, plans) for service in _services(connection))
        yield from (_table("subscription", values) for values in commerce.subscriptions(connection))
        yield from (_table("discount", values) for values in discounts.exported(connection))


class _Writer:
    """Writes the tables that hold secrets."""

    def __init__(self, vault: Vault, secrets: bool, zone: tzinfo, routers: Mapping[int, str]) -> None:
        self._vault = vault
        self._secrets = secrets
        self._zone = zone
        self._routers = routers

    def router(self, row: RowMapping) -> str:
        network = ip_network(row["address"])
        name = row["name"]
        values = {
            "name": name,
            "address": str(network.network_address if network.num_addresses == 1 else network),
            "identifier": row["identifier"],
            "secret": self._secret(ROUTER.contexts["secret"](name), row["secret"]),
            "profile": row["profile"],
            "coa_port": row["coa_port"],
            "require_message_authenticator": row["require_message_authenticator"],
            "flip_counters": row["flip_counters"],
            "coa_per_second": row["coa_per_second"],
            "repair_drift": row["repair_drift"],
            "api_accounting": row["api_accounting"],
            "queues": row["queues"],
            "api": self._api(row),
        }
        return _table("router", values, left_out="" if self._secrets else "secret")

    def service(self, row: RowMapping, plans: Mapping[int, str]) -> str:
        login = row["login"]
        values = {
            "login": login,
            "password": self._secret(SERVICE.contexts["secret"](login), row["secret"], PASSWORD_AT),
            "plan": plans[row["plan_id"]],
            "customer": row["customer"],
            "address": row["address"],
            "mac": row["macs"][0] if len(row["macs"]) == 1 else row["macs"] or None,
            "routers": [self._routers[router_id] for router_id in row["router_ids"]] or None,
            "simultaneous": row["simultaneous"],
            "enabled": row["enabled"],
            "expires": self._expires(row["expires_at"]),
            "period_day": row["period_day"],
            "account_state": None if row["account_state"] == AccountState.ACTIVE.value else row["account_state"],
            "attributes": attribute_table(row["attributes"]) or None,
        }
        return _table("service", values, left_out="" if self._secrets else "password")

    def _api(self, row: RowMapping) -> Mapping[str, object] | None:
        if row["api_user"] is None:
            return None
        return {
            "user": row["api_user"],
            "password": self._secret(ROUTER.contexts["api_password"](row["name"]), row["api_password"]),
            "port": row["api_port"],
            "tls": row["api_tls"],
            "fingerprint": row["api_fingerprint"] and write_fingerprint(bytes(row["api_fingerprint"])),
        }

    def _secret(self, context: bytes, sealed: bytes, start: int = 0) -> str | None:
        return self._vault.open(sealed, context)[start:].decode() if self._secrets else None

    def _expires(self, instant: datetime | None) -> object:
        """Return the day whose end an instant is, or else the instant."""
        if instant is None:
            return None
        day = (instant.astimezone(self._zone) - timedelta(days=1)).date()
        return day if end_of_day(day, self._zone) == instant else instant.astimezone(UTC)


def _isp(row: RowMapping) -> str:
    values: dict[str, object] = {key: row[key] for key in ("name", "currency", "timezone")}
    blocking = plan_rules.load_blocking(row["blocking"])
    if blocking != Blocking():
        values["blocking"] = blocking_document(blocking)
    if row["billing"]:
        values["billing"] = row["billing"]
    return _tables("isp", values, array=False)


def _plan(row: RowMapping, pools_by_id: Mapping[int, str], sold: Mapping[str, object]) -> str:
    values = {
        "name": row["name"],
        "kind": row["kind"],
        "download": _rate(row["download_bits_per_second"]),
        "upload": _rate(row["upload_bits_per_second"]),
        "pool": pools_by_id.get(row["pool_id"]),
        "ipv6_pool": pools_by_id.get(row["ipv6_pool_id"]),
        "delegated_pool": pools_by_id.get(row["delegated_pool_id"]),
        "session_timeout": row["session_timeout_seconds"],
        "idle_timeout": row["idle_timeout_seconds"],
        "interim_seconds": row["interim_seconds"],
        "simultaneous": row["simultaneous"],
        **plan_rules.document(plan_rules.load(row["rules"])),
        **sold,
    }
    return _tables("plan", values)


def _rate(bits_per_second: int | None) -> str | None:
    return None if bits_per_second is None else write_rate(bits_per_second)


def _tables(name: str, values: Mapping[str, object], *, array: bool = True) -> str:
    """Write a table, and behind it those of its keys that are tables of their own."""
    own = {key: value for key, value in values.items() if key in _OWN_TABLES and isinstance(value, dict | list)}
    written = [_table(name, {key: value for key, value in values.items() if key not in own}, array=array)]
    for key, value in own.items():
        elements = value if isinstance(value, list) else [value]
        written += [_tables(f"{name}.{key}", each, array=isinstance(value, list)) for each in elements]
    return "".join(written)


def _table(name: str, values: Mapping[str, object], *, array: bool = True, left_out: str = "") -> str:
    comment = f"# {left_out} left out\n" if left_out else ""
    return "\n" + write_table(f"[[{name}]]" if array else f"[{name}]", values) + comment


def _rows(
    connection: Connection, table: sqlalchemy.Table, order: sqlalchemy.ColumnElement[str]
) -> Iterable[RowMapping]:
    query = sqlalchemy.select(table).order_by(order)
    return connection.execution_options(yield_per=CHUNK_ROWS).execute(query).mappings()


def _services(connection: Connection) -> Iterable[RowMapping]:
    service, customer = schema.service, schema.customer
    query = (
        sqlalchemy.select(service, customer.c.login.label("customer"))
        .outerjoin(customer, customer.c.id == service.c.customer_id)
        .order_by(service.c.login)
    )
    return connection.execution_options(yield_per=CHUNK_ROWS).execute(query).mappings()
