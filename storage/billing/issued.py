"""What was issued to subscriptions and may still change: until where they are billed, and the lines after it.

Rule: what was billed and has not changed since is not read, so a history of years costs no more than one of a month.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.claims import Key
from billing.cycle import Period
from billing.difference import IssuedLine
from billing.documents import ChargedLine
from billing.generation import BEGINNING
from billing.intervals import FOREVER
from storage.billing.lines import charged_line


class Issued(NamedTuple):
    """Lines that were issued, and those of them that may be credited: (customer, line, what was charged)."""

    by_subscription: Mapping[int, list[IssuedLine]]
    charged: Sequence[tuple[int, int, ChargedLine]]


def floors(rows: Sequence[Any], payer_of: Mapping[int, int], sharing: Collection[int]) -> dict[int, date]:
    """Return before which day everything was billed and has not changed since, by subscription.

    What an account in `sharing` is given off depends on all that it has: there a change of one is a change of all.
    """
    together: dict[int, date] = {}
    for row in rows:
        payer = payer_of[row.customer_id]
        if payer in sharing:
            days = [day for day in (row.billed_to, row.revised_from) if day is not None]
            together[payer] = min([together.get(payer, FOREVER), *days])
    return {row.id: min(_floor(row), together.get(payer_of[row.customer_id], FOREVER)) for row in rows}


def _floor(row: Any) -> date:
    if row.billed_to is None:
        return BEGINNING
    floor: date = min(row.billed_to, row.revised_from or row.billed_to)
    return floor


def read(connection: Connection, needed: Mapping[int, date]) -> Issued:
    """Return the lines of subscriptions whose periods end after the day that each needs."""
    issued: dict[int, list[IssuedLine]] = defaultdict(list)
    charged = []
    for row in connection.execute(text(_ISSUED), {"ids": [*needed], "days": [*needed.values()]}):
        line = IssuedLine(
            row.id,
            Key(row.component, row.rate),
            Period(row.period_starts, row.period_ends),
            Period(row.starts, row.ends),
            row.amount,
            row.credits_line,
            row.adjusted,
        )
        issued[row.subscription_id].append(line)
        if row.credits_line is None:
            charged.append((row.customer_id, row.id, charged_line(row.amount, row.net, row.taxes, row.credited)))
    return Issued(issued, charged)


_ISSUED = """SELECT l.id, l.subscription_id, l.customer_id, l.component, l.rate, l.period_starts, l.period_ends,
        l.starts, l.ends, l.amount, l.net, l.taxes, l.credits_line, l.adjusted,
        (-l.adjusted - coalesce((SELECT sum(k.amount) FROM document_line AS k
            WHERE k.credits_line = l.id AND k.subscription_id IS NOT NULL), 0))::bigint AS credited
    FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS s(id, day)
    CROSS JOIN LATERAL (
        SELECT * FROM document_line AS d WHERE d.subscription_id = s.id AND d.period_ends > s.day OFFSET 0
    ) AS l
    ORDER BY l.id"""
