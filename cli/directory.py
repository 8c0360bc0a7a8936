"""`caudal router|pool|plan|customer|service`: what is provisioned.

Rule: `list` shows what tells one from another, `show` everything but secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

import click

from cli import plan_rules
from cli import router as router_commands
from cli.client import ControlClient, Item, segment
from cli.command import Group
from cli.completion import named
from cli.names import customer_option
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, count, names, show_listing, text, write_details, write_json
from cli.units import duration, limit_bits_per_second, local
from config.pool_range import write_range

Details = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing: where the API lists it, and how it is shown."""

    path: str
    key: str
    columns: tuple[Column, ...]
    details: Callable[[Item], Details]

    def list(self, parameters: dict[str, object], paging: Paging) -> None:
        """Write the listing."""
        show_listing(self.path, parameters, self.columns, paging, datetime.now(UTC))

    def show(self, name: str, *, as_json: bool) -> None:
        """Write the one of that name."""
        item = ControlClient(data_directory()).get(f"{self.path}/{segment(name)}")
        if as_json:
            write_json(item)
        else:
            write_details(self.details(item))


def _optional(value: object) -> str:
    return "" if value is None else str(value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _seconds(value: int | None, without: str) -> str:
    return without if value is None else duration(value)


def _router_details(item: Item) -> Details:
    api = item["api"]
    access = api and f"{api['user']}, port {api['port'] or 'default'}, {'with' if api['tls'] else 'without'} TLS"
    pace = item["coa_per_second"]
    return (
        ("name", item["name"]),
        ("address", item["address"]),
        ("identifier", _optional(item["identifier"])),
        ("profile", item["profile"]),
        ("CoA port", _optional(item["coa_port"]) or "the profile's"),
        ("require message authenticator", item["require_message_authenticator"]),
        ("flip counters", _yes(item["flip_counters"])),
        ("API access", access or "none"),
        ("API certificate", _optional(item["api_fingerprint"])),
        ("accounting by API", _yes(item["api_accounting"])),
        ("queues of static services", item["queues"]),
        ("entries changed by hand", "set right" if item["repair_drift"] else "shown"),
        ("CoA pace", f"{pace:,} a second" if pace else "the product's"),
        ("open sessions", f"{item['open_sessions']:,}"),
    )


def _pool_details(item: Item) -> Details:
    return (
        ("name", item["name"]),
        ("kind", item["kind"]),
        ("range", _range(item)),
        ("prefix length", str(item["prefix_length"])),
        ("routers", ", ".join(item["routers"]) or "all"),
        ("lease", _seconds(item["lease_seconds"], "as long as the session")),
        ("size", f"{item['size']:,}"),
        ("leased", f"{item['leased']:,} ({item['leased'] / item['size']:.1%})"),
        ("static", f"{item['static']:,} ({item['static'] / item['size']:.1%})"),
    )


def _plan_details(item: Item) -> Details:
    return (
        ("name", item["name"]),
        ("kind", item["kind"]),
        ("download", limit_bits_per_second(item["download_bits_per_second"])),
        ("upload", limit_bits_per_second(item["upload_bits_per_second"])),
        ("pool", _optional(item["pool"])),
        ("IPv6 pool", _optional(item["ipv6_pool"])),
        ("delegated prefixes", _optional(item["delegated_pool"])),
        ("session timeout", _seconds(item["session_timeout_seconds"], "none")),
        ("idle timeout", _seconds(item["idle_timeout_seconds"], "none")),
        ("interim updates every", duration(item["interim_seconds"])),
        ("simultaneous sessions", _optional(item["simultaneous"]) or "unlimited"),
        *plan_rules.details(item["rules"]),
        ("services", f"{item['services']:,}"),
    )


def _customer_details(item: Item) -> Details:
    return (
        ("login", item["login"]),
        ("name", item["name"]),
        ("email", _optional(item["email"])),
        ("phone", _optional(item["phone"])),
        ("state", item["state"]),
        ("partner", item["partner"]),
        ("paid by", _optional(item["payer"])),
        *((key.replace("_", " "), value) for key, value in sorted(item["details"].items())),
        ("services", f"{item['services']:,}"),
    )


def _service_details(item: Item) -> Details:
    return (
        ("login", item["login"]),
        ("plan", item["plan"]),
        ("customer", _optional(item["customer"])),
        ("address", _optional(item["address"]) or "from the pool"),
        ("MAC", ", ".join(item["macs"]) or "any"),
        ("routers", ", ".join(item["routers"]) or "any"),
        ("simultaneous sessions", _optional(item["simultaneous"]) or "the plan's"),
        ("enabled", _yes(item["enabled"])),
        ("sale", _optional(item["state"]) or "none"),
        ("expires", local(item["expires_at"]) or "never"),
        ("account", item["account_state"].replace("_", " ")),
        ("usage begins again", f"day {item['period_day']} of the month"),
        ("attributes", ", ".join(f"{name} = {value}" for name, value in item["attributes"])),
        ("open sessions", f"{item['open_sessions']:,}"),
        *plan_rules.details(item["rules"]),
    )


def _range(item: Item) -> str:
    return write_range(ip_address(item["first_address"]), ip_address(item["last_address"]))


def _rate(title: str, key: str) -> Column:
    return Column(title, lambda item, _now: limit_bits_per_second(item[key]), number=True)


ROUTERS = Kind(
    "/v1/routers",
    "name",
    (
        text("NAME", "name"),
        text("ADDRESS", "address"),
        text("IDENTIFIER", "identifier"),
        text("PROFILE", "profile"),
        count("OPEN SESSIONS", "open_sessions"),
    ),
    _router_details,
)
POOLS = Kind(
    "/v1/pools",
    "name",
    (
        text("NAME", "name"),
        text("KIND", "kind"),
        Column("RANGE", lambda item, _now: _range(item)),
        names("ROUTERS", "routers", "all", spare=1),
        count("SIZE", "size"),
        count("LEASED", "leased"),
        count("STATIC", "static"),
    ),
    _pool_details,
)
PLANS = Kind(
    "/v1/plans",
    "name",
    (
        text("NAME", "name"),
        _rate("DOWNLOAD", "download_bits_per_second"),
        _rate("UPLOAD", "upload_bits_per_second"),
        text("POOL", "pool"),
        count("SIMULTANEOUS", "simultaneous"),
        count("SERVICES", "services"),
    ),
    _plan_details,
)
CUSTOMERS = Kind(
    "/v1/customers",
    "login",
    (
        text("LOGIN", "login"),
        text("NAME", "name"),
        text("EMAIL", "email", spare=1),
        text("PHONE", "phone", spare=2),
        text("STATE", "state"),
        count("SERVICES", "services"),
    ),
    _customer_details,
)
SERVICES = Kind(
    "/v1/services",
    "login",
    (
        text("LOGIN", "login"),
        text("PLAN", "plan"),
        text("CUSTOMER", "customer", spare=2),
        text("ADDRESS", "address", spare=3),
        text("STATE", "state"),
        Column("ENABLED", lambda item, _now: _yes(item["enabled"])),
        Column("EXPIRES", lambda item, _now: local(item["expires_at"])[: len("2026-01-31")], spare=1),
        count("OPEN SESSIONS", "open_sessions"),
    ),
    _service_details,
)


@click.group("router", cls=Group, example="caudal router list")
def router() -> None:
    """Show routers and other NAS devices."""


@router.command("list", example="caudal router list --json")
@paging_options
def list_routers(paging: Paging) -> None:
    """List routers by name."""
    ROUTERS.list({}, paging)


@router.command("show", example="caudal router show tower-north")
@click.argument("name", shell_complete=named(ROUTERS.path, ROUTERS.key))
@json_option
def show_router(name: str, as_json: bool) -> None:
    """Show one router."""
    ROUTERS.show(name, as_json=as_json)


router.add_command(router_commands.check)
router.add_command(router_commands.script)


@click.group("pool", cls=Group, example="caudal pool list")
def pool() -> None:
    """Show address pools."""


@pool.command("list", example="caudal pool list --json")
@paging_options
def list_pools(paging: Paging) -> None:
    """List pools by name."""
    POOLS.list({}, paging)


@pool.command("show", example="caudal pool show subscribers")
@click.argument("name", shell_complete=named(POOLS.path, POOLS.key))
@json_option
def show_pool(name: str, as_json: bool) -> None:
    """Show one pool, and how full it is."""
    POOLS.show(name, as_json=as_json)


@click.group("plan", cls=Group, example="caudal plan list")
def plan() -> None:
    """Show plans."""


@plan.command("list", example="caudal plan list --json")
@paging_options
def list_plans(paging: Paging) -> None:
    """List plans by name."""
    PLANS.list({}, paging)


@plan.command("show", example="caudal plan show 'Fibre 300'")
@click.argument("name", shell_complete=named(PLANS.path, PLANS.key))
@json_option
def show_plan(name: str, as_json: bool) -> None:
    """Show one plan."""
    PLANS.show(name, as_json=as_json)


@click.group("customer", cls=Group, example="caudal customer list")
def customer() -> None:
    """Show customers."""


@customer.command("list", example="caudal customer list --limit 10")
@paging_options
def list_customers(paging: Paging) -> None:
    """List customers by login."""
    CUSTOMERS.list({}, paging)


@customer.command("show", example="caudal customer show ana.garcia")
@click.argument("login", shell_complete=named(CUSTOMERS.path, CUSTOMERS.key))
@json_option
def show_customer(login: str, as_json: bool) -> None:
    """Show one customer; `caudal service list --customer LOGIN` shows what the customer has."""
    CUSTOMERS.show(login, as_json=as_json)


@click.group("service", cls=Group, example="caudal service list")
def service() -> None:
    """Show services."""


@service.command("list", example="caudal service list --customer ana.garcia --json")
@click.option("--plan", metavar="NAME", shell_complete=named(PLANS.path, PLANS.key), help="Only of this plan.")
@customer_option
@click.option("--login", "login_prefix", metavar="PREFIX", help="Only logins that begin so.")
@paging_options
def list_services(plan: str | None, customer: str | None, login_prefix: str | None, paging: Paging) -> None:
    """List services by login."""
    SERVICES.list({"plan": plan, "customer": customer, "login_prefix": login_prefix}, paging)


@service.command("show", example="caudal service show ana.garcia")
@click.argument("login", shell_complete=named(SERVICES.path, SERVICES.key))
@json_option
def show_service(login: str, as_json: bool) -> None:
    """Show one service; a MAC may be written in any notation."""
    SERVICES.show(login, as_json=as_json)
