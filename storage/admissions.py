"""The rows behind a batch of logins: services, places of limited services, refusals.

Rule: services are read fresh for each batch, in one statement. Places are given under the row lock of their service,
so two workers never give the same one; a place given is committed before its Access-Accept leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import psycopg2

from domain.instants import SECOND_US, Microseconds
from domain.network import Pool
from enforcement.admission import CONFIRM_SECONDS, RefusalReason, Seats
from enforcement.refusals import RefusalKey, RefusalLog, RefusalRow
from storage import leases, standings
from storage.leases import LeaseDesk, Want
from storage.literals import integers, optional_integers, texts
from storage.pipeline import DatabaseAway, PipelineConnection

MOST_TRIES = 5
"""A transaction that loses a deadlock or a race is tried again; five losses in a row mean something is broken."""

_LOST_RACE = ("40001", "40P01")
"""SQLSTATE of serialization_failure and deadlock_detected."""

_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"

_PLACE = "coalesce({0}.router_id || '/' || {0}.multi_session_id, {0}.id::text)"
_CLIENT = "coalesce({0}.mac, {0}.router_id || '/' || {0}.nas_port_id)"

PREPARED: Mapping[str, str] = MappingProxyType(
    {
        "login_read": """
PREPARE login_read(text[]) AS
SELECT login, id, secret, plan_id, host(address), nullif(macs, '{}'), nullif(router_ids, '{}'), simultaneous, enabled,
    (extract(epoch FROM expires_at) * 1000000)::bigint, nullif(reply_octets, ''),
    account_state <> 'active' OR billing_state <> 'active' OR o.service_id IS NOT NULL
FROM service LEFT JOIN override AS o ON o.service_id = id WHERE login = ANY ($1)""",
        "login_lock": """
PREPARE login_lock(bigint[]) AS SELECT id FROM service WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE""",
        "login_occupancy": f"""
PREPARE login_occupancy(bigint[], bigint) AS
SELECT service_id, CASE WHEN traffic_class = 0 THEN {_PLACE.format("s")} ELSE coalesce((
        -- A login that is counted by classes of its traffic has a session in each, and takes one place.
        SELECT {_PLACE.format("l")} FROM session AS l WHERE l.state = 0 AND l.service_id = s.service_id
            AND l.traffic_class < s.traffic_class AND {_CLIENT.format("l")} = {_CLIENT.format("s")}
        ORDER BY l.traffic_class, l.id LIMIT 1
    ), {_PLACE.format("s")}) END, {_CLIENT.format("s")}
FROM session AS s WHERE state = 0 AND service_id = ANY ($1)
UNION ALL
SELECT service_id, NULL, client FROM admission WHERE service_id = ANY ($1) AND granted_at > {_AT.format("$2")}""",
        "login_admit": f"""
PREPARE login_admit(bigint[], text[], bigint) AS
INSERT INTO admission (service_id, client, granted_at)
SELECT service_id, client, {_AT.format("$3")} FROM unnest($1, $2) AS u(service_id, client)
ON CONFLICT (service_id, client) DO UPDATE SET granted_at = excluded.granted_at""",
        "login_forget": f"""
PREPARE login_forget(bigint[], bigint) AS
DELETE FROM admission WHERE service_id = ANY ($1) AND granted_at <= {_AT.format("$2")}""",
        "refusal_add": f"""
PREPARE refusal_add(bigint[], text[], bigint[], integer[], text[], text[], text[], integer[]) AS
INSERT INTO refusal (refused_at, login, service_id, router_id, mac, reason, method, attempts)
SELECT {_AT.format("refused")}, login, service_id, router_id, mac, reason, method, attempts
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
    AS u(refused, login, service_id, router_id, mac, reason, method, attempts)
RETURNING id, login, service_id, router_id, mac, reason, method""",
        "refusal_raise": """
PREPARE refusal_raise(bigint[], integer[]) AS
UPDATE refusal SET attempts = refusal.attempts + u.attempts FROM unnest($1, $2) AS u(id, attempts)
WHERE refusal.id = u.id""",
        **leases.PREPARED,
        **standings.PREPARED,
    }
)


def read_services(logins: Iterable[str]) -> str:
    """Return the query for the services under `logins`.

    Its rows: login, id, sealed secret, plan id, address, MACs, router ids, limit, enabled, expiry in microseconds, own
    attributes, whether something else than the plan says what the line may do; what restricts nothing is NULL.
    """
    return f"EXECUTE login_read({texts(logins)})"


class Application:
    """One login that needs a place or a lease; `refused` or `leases` say what came of it."""

    __slots__ = ("bundle", "client", "leases", "limit", "refused", "service_id", "unnamed", "wants")

    def __init__(self, service_id: int, client: str | None, nonce: str, limit: int | None, bundle: str | None) -> None:
        self.service_id = service_id
        # A login that names no line is taken for another one each time, except that its address stays its service's.
        self.client = client if client is not None else f"?{nonce}"
        self.unnamed = client is None
        self.limit = limit
        self.bundle = bundle
        self.wants: list[Want] = []
        self.refused: RefusalReason | None = None
        self.leases: dict[int, leases.Lease] = {}

    def ask_for(self, pool_id: int) -> None:
        """Ask for an address or prefix of that pool."""
        self.wants.append(Want(pool_id, self.service_id, "" if self.unnamed else self.client))

    def take(self, granted: Mapping[Want, leases.Lease]) -> None:
        """Take the leases it wants, or be refused when one is missing."""
        self.leases = {want.pool_id: granted[want] for want in self.wants if want in granted}
        if len(self.leases) < len(self.wants):
            self.refused = RefusalReason.POOL_EXHAUSTED


class AdmissionDesk:
    """Gives places and leases to the applications of a batch, in one transaction where something is written."""

    def __init__(self, connection: PipelineConnection) -> None:
        self._connection = connection
        self._leases = LeaseDesk(connection)

    async def settle(
        self, applications: Sequence[Application], pools: Mapping[int, Pool], now_us: Microseconds
    ) -> None:
        """Decide every application; what was given is committed on return."""
        tries = 1
        while not await self._try(applications, pools, now_us, last=tries == MOST_TRIES):
            tries += 1

    async def _try(
        self, applications: Sequence[Application], pools: Mapping[int, Pool], now_us: Microseconds, *, last: bool
    ) -> bool:
        """Run the transaction once; False when it lost a race and may run again."""
        try:
            await self._settle(applications, pools, now_us)
        except psycopg2.Error as error:
            await self._connection.query("ROLLBACK")
            if last or error.pgcode not in _LOST_RACE:
                raise
            return False
        return True

    async def _settle(
        self, applications: Sequence[Application], pools: Mapping[int, Pool], now_us: Microseconds
    ) -> None:
        for application in applications:
            application.refused = None
        limited = [application for application in applications if application.limit is not None]
        if limited:
            await self._seat(limited, now_us)
        wanted = {want for application in applications if application.refused is None for want in application.wants}
        leased = await self._leases.lease(wanted, pools, now_us, transaction_open=bool(limited))
        for application in applications:
            if application.refused is None:
                application.take(leased.granted)
        seated = {
            (application.service_id, application.client): None for application in limited if application.refused is None
        }
        statements = leased.closing
        if seated:
            services = [service_id for service_id, _ in seated]
            statements.append(f"EXECUTE login_forget({integers(services)},{now_us - CONFIRM_SECONDS * SECOND_US})")
            clients = texts([client for _, client in seated])
            statements.append(f"EXECUTE login_admit({integers(services)},{clients},{now_us})")
        if limited or leased.transaction_open:
            await self._connection.query(";".join([*statements, "COMMIT"]))

    async def _seat(self, limited: Sequence[Application], now_us: Microseconds) -> None:
        """Lock the services and refuse who finds no place."""
        ids = integers(sorted({application.service_id for application in limited}))
        since_us = now_us - CONFIRM_SECONDS * SECOND_US
        rows = await self._connection.query(
            f"BEGIN;{leases.PLAN_AFRESH};EXECUTE login_lock({ids});EXECUTE login_occupancy({ids},{since_us})"
        )
        seats = {application.service_id: Seats(application.limit or 0) for application in limited}
        for service_id, bundle, client in rows:
            if bundle is None:
                seats[service_id].expect(client)
            else:
                seats[service_id].occupy(bundle, client)
        for application in limited:
            if not seats[application.service_id].take(application.client, application.bundle):
                application.refused = RefusalReason.TOO_MANY_SESSIONS


async def store_refusals(connection: PipelineConnection, log: RefusalLog) -> None:
    """Store what `log` gathered; when the database goes away meanwhile, `log` keeps it."""
    rows = log.take()
    raised = [row for row in rows if row.row_id is not None]
    added = [row for row in rows if row.row_id is None]
    unstored = rows
    try:
        if raised:
            ids = optional_integers([row.row_id for row in raised])
            await connection.query(f"EXECUTE refusal_raise({ids},{integers([row.attempts for row in raised])})")
            unstored = added
        if added:
            _remember(await connection.query(_add(added)), added, log)
    except DatabaseAway:
        log.give_back(unstored)
        raise


def _add(rows: Sequence[RefusalRow]) -> str:
    keys = [row.key for row in rows]
    return "EXECUTE refusal_add({})".format(
        ",".join(
            (
                integers([row.first_us for row in rows]),
                texts([key.login for key in keys]),
                optional_integers([key.service_id for key in keys]),
                integers([key.router_id for key in keys]),
                texts([key.mac for key in keys]),
                texts([key.reason.value for key in keys]),
                texts([key.method.value for key in keys]),
                integers([row.attempts for row in rows]),
            )
        )
    )


def _remember(stored: Iterable[tuple[Any, ...]], rows: Sequence[RefusalRow], log: RefusalLog) -> None:
    ids = {tuple(columns): row_id for row_id, *columns in stored}
    for row in rows:
        key: RefusalKey = row.key
        columns = (key.login, key.service_id, key.router_id, key.mac, key.reason.value, key.method.value)
        row_id = ids.get(columns)
        if row_id is not None:
            log.stored(key, row_id)
