"""Decides how is written what usage beyond a cap costs: `[plan.overage]`.

Rule: the reader has beside it the document that it turns back into the same overage.
"""

from __future__ import annotations

from config import checks
from config.checks import write_octets
from config.rate_change import rates_document, require_rates
from config.table import Table
from config.tariff import Quantity, read_tariff, tariff_document, written
from domain.plan_rules import Overage
from domain.tariff import TierModel

_WARN_PERCENTS = checks.warn_percents(100)
OCTETS = Quantity(checks.octets(), checks.octets(low=0), 1_000_000_000, write_octets)


def read_overage(table: Table) -> Overage:
    """Return the overage that a table describes."""
    tariff = read_tariff(table, OCTETS)
    inner = table.table("at_ceiling")
    change = None
    if inner is not None:
        change = require_rates(inner)
        inner.finish()
    warn_percents = table.take("warn_percents", _WARN_PERCENTS, checks.USUAL_WARN_PERCENTS)
    if tariff.ceiling is None or tariff.model is TierModel.VOLUME:
        for key in table.given("at_ceiling", "warn_percents"):
            table.report('needs a ceiling, and the model "graduated"', key)
    table.finish()
    return Overage(tariff, change, warn_percents)


def overage_document(overage: Overage) -> dict[str, object]:
    """Return the keys of an overage."""
    rates = overage.at_ceiling and rates_document(overage.at_ceiling)
    warned = None if overage.warn_percents == checks.USUAL_WARN_PERCENTS else [*overage.warn_percents]
    return tariff_document(overage.tariff, OCTETS) | written(at_ceiling=rates, warn_percents=warned)
