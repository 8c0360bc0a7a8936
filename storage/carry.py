"""What the ends of periods have left of services so far: until when they are settled, what rolled over, what is bought.

Rule: it is read here for billing, which settles what is over by the same function as enforcement does, and writes
nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from domain.plan_rules import TopUpKind
from enforcement.standing import TopUp


class Carried(NamedTuple):
    """What is left of one service; `settled_until` None: no period of it was settled yet."""

    settled_until: datetime | None = None
    lots: tuple[int, ...] = ()
    top_ups: tuple[TopUp, ...] = ()
    """Those of octets that hold or held after that."""


def read(connection: Connection, service_ids: Collection[int]) -> dict[int, Carried]:
    """Return it of services; one of which nothing is known is left out."""
    given = {"ids": sorted(service_ids)}
    bought: dict[int, list[TopUp]] = defaultdict(list)
    for row in connection.execute(text(_TOP_UPS), given):
        bought[row.service_id].append(
            TopUp(
                id=row.id,
                name=row.name,
                kind=TopUpKind.OCTETS,
                begins=row.begins_at,
                ends=row.ends_at,
                octets=row.octets,
                spent_octets=row.spent_octets,
                before_plan=row.before_plan,
                covered_octets=row.covered_octets,
            )
        )
    meters = {row.service_id: row for row in connection.execute(text(_METERS), given)}
    return {
        service_id: Carried(
            None if service_id not in meters else meters[service_id].carried_for,
            () if service_id not in meters else tuple(meters[service_id].carried_lots or ()),
            tuple(bought.get(service_id, ())),
        )
        for service_id in meters.keys() | bought.keys()
    }


_AMONG = "service_id = ANY(CAST(:ids AS bigint[]))"
_METERS = f"SELECT service_id, carried_for, carried_lots FROM meter WHERE {_AMONG}"
_TOP_UPS = f"""SELECT t.id, t.service_id, t.name, t.begins_at, t.ends_at, t.octets, t.spent_octets, t.before_plan,
        t.covered_octets FROM top_up AS t LEFT JOIN meter AS m USING (service_id)
    WHERE t.{_AMONG} AND t.kind = 'octets' AND t.ends_at > coalesce(m.carried_for, '-infinity') ORDER BY t.id"""
