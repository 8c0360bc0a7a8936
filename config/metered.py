"""Decides how is written what a product costs that is charged by events: `[product.metered]`.

Rule: the measure says what of the events counts, and which keys the table has; the reader has beside it the document
that it turns back into the same.
"""

from __future__ import annotations

from decimal import Decimal

from config import checks
from config.checks import write_amount
from config.table import Table
from config.tariff import AMOUNT, Quantity, bounds_document, read_bounds, read_tariff, tariff_document, written
from domain.tariff import Commission, Measure, Metering, Tariff, TierModel

MOST_UNITS = 10**12

_NONE_OR_SOME = checks.integer(0, MOST_UNITS, "units")
UNITS = Quantity(checks.integer(1, MOST_UNITS, "units"), _NONE_OR_SOME, 1, lambda units: units)


def read_metering(table: Table) -> Metering:
    """Return how the events of a product are charged."""
    measure = table.take("measure", checks.one_of(Measure), Measure.SUM)
    tariff = _commission(table) if measure is Measure.AMOUNT else read_tariff(table, UNITS)
    if measure is Measure.HELD and isinstance(tariff, Tariff):
        if tariff.model is not TierModel.GRADUATED:
            table.report('is charged by the days, which needs the model "graduated"', "model")
        if tariff.bill_at is not None:
            table.report("is not for what is held: it is known when the period is over", "bill_at")
    table.finish()
    return Metering(measure, tariff)


def metering_document(metering: Metering) -> dict[str, object]:
    """Return the keys of how events are charged."""
    tariff = metering.tariff
    document = written(measure=None if metering.measure is Measure.SUM else metering.measure.value)
    if isinstance(tariff, Tariff):
        return document | tariff_document(tariff, UNITS)
    return document | written(
        percent=write_amount(tariff.percent),
        fixed=write_amount(tariff.fixed) if tariff.fixed else None,
        free=tariff.free or None,
        free_amount=write_amount(tariff.free_amount) if tariff.free_amount else None,
        **bounds_document(tariff.minimum, tariff.ceiling, tariff.bill_at),
    )


def _commission(table: Table) -> Commission:
    free, free_amount = table.take("free", _NONE_OR_SOME, 0), table.take("free_amount", AMOUNT, Decimal(0))
    if free and free_amount:
        table.report("is not for what has free events", "free_amount")
    return Commission(
        table.require("percent", AMOUNT, Decimal(0)),
        table.take("fixed", AMOUNT, Decimal(0)),
        free,
        free_amount,
        *read_bounds(table),
    )
