"""The leases of a pool: who has which address, and who gets the next one.

Rule: a line keeps its address as long as nobody needs it more. New lines get addresses that nobody ever had, then
those whose lease ran out longest ago, then those that are not run out but unused; never one with an open session, one
given in the last two minutes (its Start may still come), or one that is a service's own. A Stop frees nothing by
itself.

Allocation in a pool happens under the row lock of the pool, so it needs no second look at what it found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds
from domain.network import Pool
from storage.literals import integers, texts
from storage.pipeline import PipelineConnection

CONFIRM_SECONDS = 120
"""How long an address waits for the Start of its session; twice what a place of a limited service waits."""
FRESH_SECONDS = CONFIRM_SECONDS // 2
"""A lease given this recently needs no new write for its line's next login."""
HELD_SECONDS = 3600
"""A lease found in use when its time was over is looked at again after this."""
MOST_DRAWN = 4096
"""Addresses considered at once where services' own addresses lie in the way."""
SCANNED = 512
"""Leases considered at once when old ones are given away."""
EXHAUSTED_US = SECOND_US
"""A pool in which nothing was found is not searched again for this long."""

_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"
_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_NOW = _AT.format("$5")
_STALE = f"""(l.granted_at < {_NOW} - interval '{FRESH_SECONDS} s'
        OR l.expires_at < {_NOW} + w.seconds * interval '0.5 s')"""

PLAN_AFRESH = "SET LOCAL plan_cache_mode = force_custom_plan"
"""In front of statements whose tables grow from nothing: a plan kept from then scans all of them (500 ms a batch)."""

# An IPv6 prefix, and an IPv4 address that the router has not told yet, are recognised by the line alone.
_HELD = """EXISTS (
        SELECT FROM session AS s WHERE s.service_id = l.service_id AND s.state = 0 AND (s.address = l.address
            OR (s.address IS NULL OR family(l.address) = 6)
                AND coalesce(s.mac, s.router_id || '/' || s.nas_port_id, l.client) = l.client)
    ) OR EXISTS (SELECT FROM service AS o WHERE o.address = l.address)"""

_NEWCOMERS = """newcomer AS MATERIALIZED (
    SELECT service_id, client, row_number() OVER (ORDER BY place) AS place
    FROM unnest($2, $3) WITH ORDINALITY AS u(service_id, client, place)
    WHERE (SELECT true FROM lease AS l WHERE (l.service_id, l.client, l.pool_id) = (u.service_id, u.client, $1)) IS NULL
)"""

PREPARED: Mapping[str, str] = MappingProxyType(
    {
        "lease_renew": f"""
PREPARE lease_renew(integer[], bigint[], text[], integer[], bigint) AS
WITH mine AS MATERIALIZED (
    SELECT l.pool_id, l.service_id, l.client, l.address, l.expires_at, w.seconds, {_STALE} AS stale
    FROM unnest($1, $2, $3, $4) AS w(pool_id, service_id, client, seconds)
    CROSS JOIN LATERAL (
        SELECT * FROM lease WHERE (service_id, client, pool_id) = (w.service_id, w.client, w.pool_id) LIMIT 1
    ) AS l
), renewed AS (
    UPDATE lease AS l SET granted_at = {_NOW}, expires_at = {_NOW} + m.seconds * interval '1 s'
    FROM mine AS m WHERE m.stale AND (l.service_id, l.client, l.pool_id) = (m.service_id, m.client, m.pool_id)
    RETURNING l.pool_id, l.service_id, l.client, l.address, l.expires_at
)
SELECT pool_id, service_id, client, address, {_US.format("expires_at")} FROM renewed
UNION ALL
SELECT pool_id, service_id, client, address, {_US.format("expires_at")} FROM mine WHERE NOT stale""",
        "lease_pool": """
PREPARE lease_pool(integer) AS SELECT next_offset FROM pool WHERE id = $1 FOR NO KEY UPDATE""",
        "lease_advance": """
PREPARE lease_advance(integer, bigint) AS UPDATE pool SET next_offset = $2 WHERE id = $1""",
        "lease_draw": f"""
PREPARE lease_draw(integer, bigint[], text[], integer, bigint, inet[]) AS
WITH {_NEWCOMERS}, candidate AS MATERIALIZED (
    SELECT address, drawn, row_number() OVER (ORDER BY drawn) AS place
    FROM unnest($6) WITH ORDINALITY AS c(address, drawn)
    WHERE (SELECT true FROM service AS o WHERE o.address = c.address LIMIT 1) IS NULL
        AND (SELECT true FROM lease AS l WHERE l.pool_id = $1 AND l.address = c.address) IS NULL
), given AS (
    INSERT INTO lease (pool_id, address, service_id, client, granted_at, expires_at)
    SELECT $1, address, service_id, client, {_NOW}, {_NOW} + $4 * interval '1 s'
    FROM newcomer JOIN candidate USING (place)
)
SELECT n.service_id, n.client, c.address, c.drawn FROM newcomer AS n LEFT JOIN candidate AS c USING (place)""",
        "lease_claim": f"""
PREPARE lease_claim(integer, bigint[], text[], integer, bigint) AS
WITH {_NEWCOMERS}, seen AS MATERIALIZED (
    SELECT l.address, l.expires_at, {_HELD} AS held
    FROM lease AS l
    WHERE l.pool_id = $1 AND l.expires_at < {_NOW} AND l.granted_at < {_NOW} - interval '{CONFIRM_SECONDS} s'
    ORDER BY l.expires_at LIMIT {SCANNED} FOR NO KEY UPDATE SKIP LOCKED
), free AS MATERIALIZED (
    SELECT address, row_number() OVER (ORDER BY expires_at) AS place FROM seen WHERE NOT held
), kept AS (
    UPDATE lease AS l SET expires_at = {_NOW} + interval '{HELD_SECONDS} s'
    FROM seen WHERE held AND l.pool_id = $1 AND l.address = seen.address
), moved AS (
    UPDATE lease AS l SET service_id = n.service_id, client = n.client, granted_at = {_NOW},
        expires_at = {_NOW} + $4 * interval '1 s'
    FROM free JOIN newcomer AS n USING (place) WHERE l.pool_id = $1 AND l.address = free.address
)
SELECT n.service_id, n.client, f.address, (SELECT count(*) FROM seen)
FROM newcomer AS n LEFT JOIN free AS f USING (place)""",
        "lease_press": f"""
PREPARE lease_press(integer, integer, bigint) AS
WITH unused AS MATERIALIZED (
    SELECT l.address FROM lease AS l
    WHERE l.pool_id = $1 AND l.expires_at >= {_AT.format("$3")}
        AND l.granted_at < {_AT.format("$3")} - interval '{CONFIRM_SECONDS} s' AND NOT ({_HELD})
    ORDER BY l.expires_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), ended AS (
    UPDATE lease AS l SET expires_at = {_AT.format("($3 - 1)")}
    FROM unused WHERE l.pool_id = $1 AND l.address = unused.address
)
SELECT count(*) FROM unused""",
    }
)


class Want(NamedTuple):
    """A line that wants a lease of a pool; in the order in which rows are locked."""

    pool_id: int
    service_id: int
    client: str


class Lease(NamedTuple):
    """An address, or a prefix with its length, until an instant."""

    address: str
    expires_us: Microseconds


@dataclass(slots=True)
class Leased:
    """What was given, and what the caller still has to run before its COMMIT."""

    granted: dict[Want, Lease]
    transaction_open: bool
    closing: list[str] = field(default_factory=list)


class LeaseDesk:
    """Gives leases; remembers for a moment which pools had none left."""

    def __init__(self, connection: PipelineConnection) -> None:
        self._connection = connection
        self._exhausted_until: dict[int, int] = {}

    async def lease(
        self, wanted: Collection[Want], pools: Mapping[int, Pool], now_us: Microseconds, *, transaction_open: bool
    ) -> Leased:
        """Give a lease to each of `wanted` that can get one; whoever has one keeps it."""
        leased = Leased({}, transaction_open)
        missing = await self._renew(sorted(wanted), pools, now_us, leased)
        by_pool: defaultdict[int, list[Want]] = defaultdict(list)
        for want in missing:
            if self._exhausted_until.get(want.pool_id, 0) <= now_us:
                by_pool[want.pool_id].append(want)
        for pool_id, wants in by_pool.items():
            await self._allocate(pools[pool_id], wants, now_us, leased)
        # Another worker may have served the same line between our two looks.
        late = [want for want in missing if want not in leased.granted and want.pool_id in by_pool]
        if late:
            for want in await self._renew(late, pools, now_us, leased):
                self._exhausted_until[want.pool_id] = now_us + EXHAUSTED_US
        return leased

    async def _renew(
        self, wants: list[Want], pools: Mapping[int, Pool], now_us: Microseconds, leased: Leased
    ) -> list[Want]:
        """Renew what is there; return who has nothing yet."""
        if not wants:
            return []
        seconds = [_seconds(pools[want.pool_id]) for want in wants]
        pool_ids = integers([want.pool_id for want in wants])
        rows = await self._connection.query(
            f"{PLAN_AFRESH};EXECUTE lease_renew({pool_ids},{_lines(wants)},{integers(seconds)},{now_us})"
        )
        for pool_id, service_id, client, address, expires_us in rows:
            leased.granted[Want(pool_id, service_id, client)] = Lease(address, Microseconds(expires_us))
        return [want for want in wants if want not in leased.granted]

    async def _allocate(self, pool: Pool, wants: list[Want], now_us: Microseconds, leased: Leased) -> None:
        """Give new leases under the lock of the pool."""
        begin = "" if leased.transaction_open else "BEGIN;"
        rows = await self._connection.query(f"{begin}{PLAN_AFRESH};EXECUTE lease_pool({pool.id})")
        leased.transaction_open = True
        if not rows:
            return
        offset = rows[0][0]
        drawn = await self._draw(pool, wants, offset, now_us, leased)
        if drawn != offset:
            leased.closing.append(f"EXECUTE lease_advance({pool.id},{drawn})")
        missing = [want for want in wants if want not in leased.granted]
        if missing and not await self._claim(pool, missing, now_us, leased):
            await self._press(pool, missing, now_us, leased)

    async def _draw(self, pool: Pool, wants: list[Want], offset: int, now_us: Microseconds, leased: Leased) -> int:
        """Give addresses that nobody ever had; return the offset of the next one."""
        end = pool.size
        count = len(wants)
        while offset < end:
            addresses = [pool.address(number) for number in range(offset, min(offset + count, end))]
            rows = await self._connection.query(
                f"EXECUTE lease_draw({_newcomers(pool, wants, now_us)},{texts(addresses)})"
            )
            last = 0
            short = False
            for service_id, client, address, place in rows:
                if address is None:
                    short = True
                else:
                    self._grant(pool, service_id, client, address, now_us, leased)
                    last = max(last, place)
            if not short:
                return offset + last
            offset += len(addresses)
            wants = [want for want in wants if want not in leased.granted]
            count = min(2 * count, MOST_DRAWN)
        return offset

    async def _claim(self, pool: Pool, wants: list[Want], now_us: Microseconds, leased: Leased) -> bool:
        """Give leases that ran out, oldest first; tell whether everybody got one."""
        while True:
            rows = await self._connection.query(f"EXECUTE lease_claim({_newcomers(pool, wants, now_us)})")
            seen = 0
            for service_id, client, address, scanned in rows:
                seen = scanned
                if address is not None:
                    self._grant(pool, service_id, client, address, now_us, leased)
            wants = [want for want in wants if want not in leased.granted]
            if not any(row[2] is None for row in rows):
                return True
            if seen < SCANNED:
                return False

    async def _press(self, pool: Pool, wants: list[Want], now_us: Microseconds, leased: Leased) -> None:
        """End leases that still run but are unused, as many as are needed and a few more, and give those."""
        wants = [want for want in wants if want not in leased.granted]
        rows = await self._connection.query(f"EXECUTE lease_press({pool.id},{len(wants) + SCANNED // 8},{now_us})")
        if rows[0][0]:
            await self._claim(pool, wants, now_us, leased)

    def _grant(
        self, pool: Pool, service_id: int, client: str, address: str, now_us: Microseconds, leased: Leased
    ) -> None:
        expires_us = Microseconds(now_us + _seconds(pool) * SECOND_US)
        leased.granted[Want(pool.id, service_id, client)] = Lease(address, expires_us)


def _seconds(pool: Pool) -> int:
    """Return how long a lease runs without being renewed; its open session holds it in any case."""
    return max(pool.lease_seconds or 0, CONFIRM_SECONDS)


def _lines(wants: list[Want]) -> str:
    return f"{integers([want.service_id for want in wants])},{texts([want.client for want in wants])}"


def _newcomers(pool: Pool, wants: list[Want], now_us: Microseconds) -> str:
    return f"{pool.id},{_lines(wants)},{_seconds(pool)},{now_us}"
