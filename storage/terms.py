"""What operators may read of the terms on which lines are served: rules, states of accounts, duties of routers.

Rule: rules are told in the words of the ISP file, in the order in which an export writes them; secrets are never
selected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.engine import Engine

from config import plan_rules
from config.checks import write_fingerprint

_PLAN = text("SELECT rules FROM plan WHERE name = :name")
_SERVICE = text(
    "SELECT s.period_day, s.account_state, p.rules FROM service s JOIN plan p ON p.id = s.plan_id WHERE s.id = :id"
)
_ROUTER = text(
    "SELECT coa_per_second, repair_drift, api_accounting, queues, api_fingerprint FROM router WHERE name = :name"
)


@dataclass(frozen=True, slots=True)
class ServiceTerms:
    """The terms of a service; `rules` are its plan's."""

    period_day: int
    account_state: str
    rules: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RouterTerms:
    """What a router is asked to do, and the SHA-256 of the certificate of its API."""

    coa_per_second: int | None
    repair_drift: bool
    api_accounting: bool
    queues: str
    api_fingerprint: str | None


def of_plan(engine: Engine, name: str) -> Mapping[str, object]:
    """Return the rules of a plan that exists."""
    with engine.connect() as connection:
        return _canonical(connection.execute(_PLAN, {"name": name}).scalar_one())


def of_service(engine: Engine, service_id: int) -> ServiceTerms:
    """Return the terms of a service that exists."""
    with engine.connect() as connection:
        row = connection.execute(_SERVICE, {"id": service_id}).one()
    return ServiceTerms(row.period_day, row.account_state, _canonical(row.rules))


def of_router(engine: Engine, name: str) -> RouterTerms:
    """Return the terms of a router that exists."""
    with engine.connect() as connection:
        row = connection.execute(_ROUTER, {"name": name}).one()
    fingerprint = row.api_fingerprint and write_fingerprint(bytes(row.api_fingerprint))
    return RouterTerms(row.coa_per_second, row.repair_drift, row.api_accounting, row.queues, fingerprint)


def _canonical(rules: Mapping[str, object]) -> Mapping[str, object]:
    """PostgreSQL keeps no order of keys."""
    return plan_rules.document(plan_rules.load(rules))
