"""What was taken from wallets day by day and is on no document yet, as the tax of the next days is computed with it.

Rule: the days of a month are parts of the lines of its document, and are rounded as these lines would be. A credit has
its share of what it credits, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.claims import Key
from billing.documents import Draft, part_of
from billing.tax import Begun, SettledLine, TaxableLine
from domain.tax import AppliedTax
from storage.billing.lines import charged_line


class Daily(NamedTuple):
    """A line that was charged, and the first of its days."""

    starts: date
    begun: Begun


def read(connection: Connection, customer_ids: Sequence[int]) -> Iterator[tuple[int, Daily]]:
    """Yield what waits for the documents of customers, with their ids."""
    for row in connection.execute(text(_WAITING), {"ids": [*customer_ids]}) if customer_ids else ():
        known = charged_line(row.amount, row.net, row.taxes, 0)
        common = part_of(row.subscription_id, Key(row.component, row.rate))
        line = TaxableLine(row.amount, known.applied, _has_tax(row.includes_tax, known.applied), part_of=common)
        yield row.customer_id, Daily(row.starts, Begun(line, SettledLine(row.net, known.charged.taxes)))


def added(drafts: Sequence[Draft]) -> Iterator[Daily]:
    """Yield what the charges of a day add to it."""
    for draft in drafts:
        for net, line, taxes in ((each.net, each.line, each.taxes) for each in draft.lines):
            if line.credits_line is None:
                applied, amounts = (tuple(column) for column in zip(*taxes, strict=True)) if taxes else ((), ())
                common = part_of(line.subscription_id, line.key)
                has_tax = _has_tax(line.price_includes_tax, applied)
                taxable = TaxableLine(line.amount, applied, has_tax, part_of=common)
                yield Daily(line.days.starts, Begun(taxable, SettledLine(net, amounts)))


def _has_tax(includes_tax: bool, applied: Sequence[AppliedTax]) -> bool:
    """Tell whether an amount has tax in it: that of an exempt customer has none, whatever its price had."""
    return includes_tax and any(each.percent for each in applied)


_WAITING = """SELECT customer_id, subscription_id, component, rate, starts, amount, net, taxes, includes_tax
    FROM document_line WHERE document_id IS NULL AND credits_line IS NULL
        AND customer_id = ANY(CAST(:ids AS bigint[])) ORDER BY id"""
