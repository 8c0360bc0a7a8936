"""What one router has to hold at one moment for the services that RADIUS does not serve there.

Rule: everything is computed from what is stored now, for the configuration that is stored now; a snapshot that is older
decides nothing. A line whose DHCP lease the operator tagged is limited by that lease, every other one by a queue, and
none by both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection, Engine

from accounting.traffic_class import LOGIN
from domain.errors import CaudalError
from domain.network import Plan, Router
from domain.plan_rules import TrafficClass
from enforcement.contention import BLOCKED_RATE, Queueing, SharedPlan, StaticLine, entries
from enforcement.entitlement import Entitlement, entitle, fingerprint
from enforcement.polled_readings import NO_CLASSES, Classes
from enforcement.rates import rate_limit
from enforcement.routeros_entries import Entry, LeaseRate
from radius.packet import LARGEST_VALUE
from storage import router_duties, standings
from storage.snapshot import Snapshot

RADIUS_DAYS = 30
"""A service is RADIUS's for so long after it was last heard of: a subscriber on holiday gets no second queue."""
_KEY = "service-"


class SnapshotBehind(CaudalError):
    """The configuration was changed and is not known here yet; ask again in a moment."""


@dataclass(frozen=True, slots=True)
class Duty:
    """The static lines of a router; `macs` and `fingerprints` by the key and by the service of a line."""

    queueing: Queueing
    plans: Mapping[str, SharedPlan]
    lines: tuple[StaticLine, ...]
    macs: Mapping[str, str]
    logins: Mapping[str, str]
    fingerprints: Mapping[int, bytes]
    next_change_at: datetime | None
    """When time changes what one of the lines may do."""
    classes: Classes = NO_CLASSES
    """What tells classes of traffic apart where the router's API is the accounting."""

    def entries(self, leased: Collection[str]) -> list[Entry]:
        """Return what the router holds; `leased` are the keys of the leases that the operator tagged."""
        by_lease = [line for line in self.lines if line.key in leased]
        by_queue = [line for line in self.lines if line.key not in leased]
        rates = [LeaseRate(line.key, self.macs.get(line.key, ""), _lease_rate(line.entitlement)) for line in by_lease]
        return [
            *entries(by_queue, self.plans, self.queueing),
            *entries(by_lease, self.plans, Queueing.NONE),
            *rates,
        ]


def key_of_service(service_id: int) -> str:
    """Return the key of a service's line."""
    return f"{_KEY}{service_id}"


def service_of_key(key: str) -> int | None:
    """Return the service whose line an entry with `key` is of; None for what lines share."""
    name = key.partition("/")[0]
    number = name.removeprefix(_KEY)
    return int(number) if name.startswith(_KEY) and number.isdecimal() else None


def compute(engine: Engine, router: Router, snapshot: Snapshot, now: datetime) -> Duty:
    """Return what `router` has to hold at `now`; raise `SnapshotBehind`."""
    zone = ZoneInfo(snapshot.timezone)
    with engine.connect() as connection:
        if router_duties.revision(connection) != snapshot.revision:
            raise SnapshotBehind("the configuration was changed; it is known here in a moment")
        services = router_duties.static_services(connection, router.id, now - timedelta(days=RADIUS_DAYS))
        loaded = standings.load(connection, [service.id for service in services], snapshot.plans, zone, now)
        classes = _classes(connection, router.id, snapshot.plans) if router.api_accounting else NO_CLASSES
    lines, entitlements = [], {}
    for service in services:
        known = loaded.get(service.id)
        if known is not None:
            plan = snapshot.plans[known.contract.plan_id]
            told = entitle(plan, plan.rules, snapshot.blocking, known.standing, zone, now)
            entitlements[service.id] = told
            key = key_of_service(service.id)
            lines.append(StaticLine(key, service.login, _plan_key(plan), (service.address,), told))
    changes = [told.valid_until for told in entitlements.values() if told.valid_until is not None]
    return Duty(
        queueing=Queueing(router.queues.value),
        plans={_plan_key(plan): _shared(plan) for plan in snapshot.plans.values()},
        lines=tuple(lines),
        macs={key_of_service(service.id): service.macs[0] for service in services if service.macs},
        logins={key_of_service(service.id): service.login for service in services},
        fingerprints={service_id: fingerprint(told) for service_id, told in entitlements.items()},
        next_change_at=min(changes, default=None),
        classes=classes,
    )


def _classes(connection: Connection, router_id: int, plans: Mapping[int, Plan]) -> Classes:
    """Return what tells traffic apart among the lines that may be at a router."""
    by_queue = {
        plan_id: found
        for plan_id, plan in plans.items()
        if (found := [each for each in plan.rules.classes if each.queue is not None])
    }
    lines = router_duties.plan_logins(connection, router_id, by_queue) if by_queue else ()
    lists = {each.interface_list for plan in plans.values() for each in plan.rules.classes}
    return Classes(
        class_queues((login, by_queue[plan_id]) for login, plan_id in lines),
        frozenset(name for name in lists if name is not None and _fits(name)),
    )


def class_queues(lines: Iterable[tuple[str, Iterable[TrafficClass]]]) -> dict[str, str]:
    """Return whose traffic each queue counts, by its name; a queue that would count that of several is nobody's."""
    logins: dict[str, set[str]] = defaultdict(set)
    for login, classes in lines:
        for each in classes:
            if each.queue is not None:
                logins[each.queue.replace(LOGIN, login)].add(login)
    return {name: found.pop() for name, found in logins.items() if len(found) == 1 and _fits(name)}


def _fits(name: str) -> bool:
    """Tell whether a record can name it."""
    return len(name.encode()) <= LARGEST_VALUE


def _plan_key(plan: Plan) -> str:
    return f"plan-{plan.id}"


def _shared(plan: Plan) -> SharedPlan:
    return SharedPlan(
        _plan_key(plan),
        plan.name,
        plan.download_bits_per_second,
        plan.upload_bits_per_second,
        plan.rules.aggregation,
    )


def _lease_rate(told: Entitlement) -> str:
    return rate_limit(told) if told.admitted else BLOCKED_RATE.text
