"""What operators order for one service: temporary rates, and whether its account may be served.

Rule: an order is stored together with its event in the outbox, so that no line misses it; one that changes nothing
tells nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from domain.plan_rules import Change, ChangeKind
from enforcement.standing import AccountState, Override
from storage import outbox
from storage.literals import integers, texts
from storage.outbox import Topic


def change_document(change: Change) -> str:
    """Return the JSON in which a change of rates is stored."""
    document: dict[str, object] = {"kind": change.kind.value}
    if change.kind is ChangeKind.FIXED:
        document |= {"download": change.download_bits_per_second, "upload": change.upload_bits_per_second}
    elif change.kind is ChangeKind.PERCENT:
        document["percent"] = change.percent
    return json.dumps(document)


def change_of(document: Mapping[str, Any]) -> Change:
    """Return the change of rates of a stored document."""
    return Change(
        ChangeKind(document["kind"]), document.get("download"), document.get("upload"), document.get("percent", 100)
    )


def set_override(connection: Connection, service_id: int, override: Override, now: datetime) -> None:
    """Order `override` for a service, in the place of the one before."""
    connection.execute(
        text("""INSERT INTO override (service_id, change, until_at, operator, reason, made_at)
            VALUES (:service, CAST(:change AS jsonb), :until, :operator, :reason, :now)
            ON CONFLICT (service_id) DO UPDATE SET change = excluded.change, until_at = excluded.until_at,
                operator = excluded.operator, reason = excluded.reason, made_at = excluded.made_at"""),
        {
            "service": service_id,
            "change": change_document(override.change),
            "until": override.until,
            "operator": override.operator,
            "reason": override.reason,
            "now": now,
        },
    )
    outbox.add(connection, Topic.TERMS, [service_id])


def clear_override(connection: Connection, service_id: int) -> bool:
    """Take the override of a service back; tell whether there was one."""
    found = connection.execute(text("DELETE FROM override WHERE service_id = :service"), {"service": service_id})
    if found.rowcount:
        outbox.add(connection, Topic.TERMS, [service_id])
    return bool(found.rowcount)


def forget_ended(connection: Connection, now: datetime) -> int:
    """Delete overrides that ended by themselves, which have no effect any more; return how many."""
    return connection.execute(text("DELETE FROM override WHERE until_at <= :now"), {"now": now}).rowcount


def set_account_state(connection: Connection, service_ids: Iterable[int], state: AccountState) -> list[int]:
    """Say whether the account behind services may be served; return those for which that is new."""
    changed = sorted(
        connection.scalars(
            text("""UPDATE service SET account_state = :state
                WHERE id = ANY(:ids) AND account_state <> :state RETURNING id"""),
            {"state": state.value, "ids": list(service_ids)},
        )
    )
    outbox.add(connection, Topic.TERMS, changed)
    return changed


def set_billing_state(connection: Connection, states: Mapping[int, AccountState]) -> list[int]:
    """Say what billing lets services do, by their id; return those for which that is new."""
    if not states:
        return []
    columns = f"{integers(list(states))}::bigint[], {texts([state.value for state in states.values()])}::text[]"
    changed = sorted(
        service_id
        for (service_id,) in connection.exec_driver_sql(f"""UPDATE service AS s SET billing_state = u.state
            FROM unnest({columns}) AS u(id, state) WHERE s.id = u.id AND s.billing_state <> u.state RETURNING s.id""")
    )
    outbox.add(connection, Topic.TERMS, changed)
    return changed
