"""What products cost that are charged by events, for the accounts that have them.

Rule: nothing is kept; a period that is asked for again is rated again from the same events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.claims import Key
from billing.cycle import monthly
from billing.difference import IssuedLine
from billing.generation import OVERAGE, UsagePeriod
from billing.history import Event, Phase, phases
from billing.metered import Reported, Sold, charged, over_on
from domain.billing_terms import BillingTerms
from domain.catalogue import Product


def reports(
    connection: Connection, events: Mapping[int, Sequence[Event]], products: Mapping[int, Product]
) -> dict[int, list[Reported]]:
    """Return what was reported of those subscriptions that are charged by events, in the order of their days."""
    ids = [
        id_
        for id_, history in events.items()
        if any(event.product_id is not None and products[event.product_id].metered for event in history)
    ]
    found: dict[int, list[Reported]] = {id_: [] for id_ in ids}
    if ids:
        rows = connection.execute(
            text("""SELECT subscription_id, on_day, units FROM metered_event
                WHERE subscription_id = ANY(CAST(:ids AS bigint[])) ORDER BY on_day, id"""),
            {"ids": ids},
        )
        for subscription_id, on_day, units in rows:
            found[subscription_id].append(Reported(on_day, units))
    return found


def usage(
    history: Sequence[Event],
    reported: Sequence[Reported],
    products: Mapping[int, Product],
    terms: BillingTerms,
    issued: Sequence[IssuedLine],
    floor: date,
    on: date,
) -> tuple[list[UsagePeriod], date | None]:
    """Return what the events of a subscription cost, in the months from the account's billing day on.

    With it, when the present month is over, if something may be reported in it.
    """
    cycle = monthly(terms.billing_day)
    by_product: dict[int, list[Phase]] = defaultdict(list)
    for phase in phases(history):
        by_product[phase.product_id].append(phase)
    found: list[UsagePeriod] = []
    coming: set[date | None] = set()
    for product_id, held in by_product.items():
        product = products[product_id]
        if product.metered is not None:
            proration = product.proration or terms.proration
            billed = [line.period for line in issued if line.key == Key(OVERAGE, str(product_id))]
            sold = Sold(product_id, product.metered, held, cycle, proration, terms.currency, billed)
            found += charged(sold, reported, floor, on)
            coming.add(over_on(sold, on))
    return found, min((day for day in coming if day is not None), default=None)
