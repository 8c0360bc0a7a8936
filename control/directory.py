"""Routes over the provisioned network: routers, pools, plans, customers and services.

Rule: each kind is listed a page at a time in the order of its names, and shown by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from fastapi import APIRouter

from control import models
from control.errors import not_found
from control.questions import DEFAULT_LIMIT, AfterName, Limit, Name, NameFilter, Ports, require
from domain.names import login_key, mac
from storage import listing, terms

routes = APIRouter(tags=["directory"])

Row = TypeVar("Row")
Item = TypeVar("Item", bound=models.Answer)


@routes.get("/routers")
def list_routers(ports: Ports, limit: Limit = DEFAULT_LIMIT, after: AfterName = None) -> models.Listing[models.Router]:
    """List routers by name."""
    return _listing(listing.routers(ports.engine, after, limit), _router, lambda row: row.name)


@routes.get("/routers/{name:path}")
def show_router(ports: Ports, name: Name) -> models.RouterDetail:
    """Show one router and what it is asked to do."""
    row = listing.router(ports.engine, name)
    if row is None:
        raise not_found("router", name, "see `caudal router list`")
    return models.RouterDetail(**dict(_router(row)), **asdict(terms.of_router(ports.engine, name)))


@routes.get("/pools")
def list_pools(ports: Ports, limit: Limit = DEFAULT_LIMIT, after: AfterName = None) -> models.Listing[models.Pool]:
    """List address pools by name."""
    return _listing(listing.pools(ports.engine, after, limit), models.Pool.model_validate, lambda row: row.name)


@routes.get("/pools/{name:path}")
def show_pool(ports: Ports, name: Name) -> models.Pool:
    """Show one address pool."""
    row = listing.pool(ports.engine, name)
    if row is None:
        raise not_found("pool", name, "see `caudal pool list`")
    return models.Pool.model_validate(row)


@routes.get("/plans")
def list_plans(ports: Ports, limit: Limit = DEFAULT_LIMIT, after: AfterName = None) -> models.Listing[models.Plan]:
    """List plans by name."""
    return _listing(listing.plans(ports.engine, after, limit), models.Plan.model_validate, lambda row: row.name)


@routes.get("/plans/{name:path}")
def show_plan(ports: Ports, name: Name) -> models.PlanDetail:
    """Show one plan and its rules."""
    row = listing.plan(ports.engine, name)
    if row is None:
        raise not_found("plan", name, "see `caudal plan list`")
    return models.PlanDetail(**asdict(row), rules=dict(terms.of_plan(ports.engine, name)))


@routes.get("/customers")
def list_customers(
    ports: Ports, limit: Limit = DEFAULT_LIMIT, after: AfterName = None
) -> models.Listing[models.Customer]:
    """List customers by login."""
    page = listing.customers(ports.engine, after, limit)
    return _listing(page, models.Customer.model_validate, lambda row: row.login)


@routes.get("/customers/{login:path}")
def show_customer(ports: Ports, login: Name) -> models.Customer:
    """Show one customer."""
    row = listing.customer(ports.engine, login)
    if row is None:
        raise not_found("customer", login, "see `caudal customer list`")
    return models.Customer.model_validate(row)


@routes.get("/services")
def list_services(
    ports: Ports,
    plan: NameFilter = None,
    customer: NameFilter = None,
    login_prefix: NameFilter = None,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterName = None,
) -> models.Listing[models.Service]:
    """List services by login; of one plan, of one customer, or whose login begins so."""
    require(ports, plan=plan, customer=customer)
    wanted = listing.ServiceFilter(plan, customer, login_prefix and (mac(login_prefix) or login_prefix))
    page = listing.services(ports.engine, wanted, after, limit)
    return _listing(page, models.Service.model_validate, lambda row: row.login)


@routes.get("/services/{login:path}")
def show_service(ports: Ports, login: Name) -> models.ServiceDetail:
    """Show one service and the rules of its plan; a MAC may be written in any notation."""
    row = service_of(ports, login)
    return models.ServiceDetail(**asdict(row), **asdict(terms.of_service(ports.engine, row.id)))


def service_of(ports: Ports, login: str) -> listing.ServiceRow:
    """Return the service of that login, however a MAC in it is written; refuse one that does not exist."""
    row = listing.service(ports.engine, login_key(login))
    if row is None:
        raise not_found("service", login, "see `caudal service list`")
    return row


def _listing(page: listing.Page[Row], worded: Callable[[Row], Item], key: Callable[[Row], str]) -> models.Listing[Item]:
    following = key(page.rows[-1]) if page.more else None
    return models.Listing(items=[worded(row) for row in page.rows], next=following)


def _router(row: listing.RouterRow) -> models.Router:
    api = None
    if row.api_user is not None:
        api = models.RouterApi(user=row.api_user, port=row.api_port, tls=row.api_tls)
    return models.Router(
        name=row.name,
        address=row.address,
        identifier=row.identifier,
        profile=row.profile,
        coa_port=row.coa_port,
        require_message_authenticator=row.require_message_authenticator,
        flip_counters=row.flip_counters,
        api=api,
        open_sessions=row.open_sessions,
    )
