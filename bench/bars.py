"""The bars that a release must clear, as data.

Rule: a bar names one quantity of a run; a quantity that was not measured is neither cleared nor missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Side(Enum):
    """On which side of the limit the quantity must lie."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Bar:
    """One requirement: the quantity, the side and the limit, in the quantity's own unit."""

    quantity: str
    side: Side
    limit: float

    def cleared(self, value: float) -> bool:
        """Tell whether a measured value meets the requirement."""
        return value >= self.limit if self.side is Side.AT_LEAST else value <= self.limit

    def __str__(self) -> str:
        return f"{self.side.value} {self.limit:g}"


# Throughput is a ratio to FreeRADIUS in the same run, growth and memory are ratios of a large installation to a small
# one, latency is in milliseconds, an import in seconds.
BARS: Final = (
    Bar("acct w 64", Side.AT_LEAST, 2.0),
    Bar("acct w 256", Side.AT_LEAST, 4.0),
    Bar("acct w 1024", Side.AT_LEAST, 5.0),
    Bar("pap w 256", Side.AT_LEAST, 2.5),
    Bar("chap w 256", Side.AT_LEAST, 2.5),
    Bar("mschap2 w 256", Side.AT_LEAST, 2.5),
    Bar("latency p99", Side.AT_MOST, 25.0),
    Bar("latency lost", Side.AT_MOST, 0.0),
    Bar("growth acct", Side.AT_LEAST, 0.85),
    Bar("growth pap", Side.AT_LEAST, 0.85),
    Bar("memory", Side.AT_MOST, 1.1),
    Bar("import 100000 static", Side.AT_MOST, 60.0),
    Bar("entitle", Side.AT_MOST, 20.0),
    Bar("crossing p99", Side.AT_MOST, 100.0),
    Bar("storm", Side.AT_MOST, 60.0),
    Bar("storm rate", Side.AT_MOST, 50.0),
    Bar("storm logins", Side.AT_MOST, 100.0),
    Bar("queues", Side.AT_MOST, 20.0),
    Bar("queue", Side.AT_MOST, 2.0),
    Bar("invoices", Side.AT_MOST, 60.0),
    Bar("invoices again", Side.AT_MOST, 10.0),
    Bar("invoices memory", Side.AT_MOST, 500.0),
    Bar("invoices growth", Side.AT_MOST, 2.2),
)


def bar_of(quantity: str) -> Bar | None:
    """Return the bar of a quantity, if it has one."""
    return next((bar for bar in BARS if bar.quantity == quantity), None)


def missed(quantities: Mapping[str, float]) -> list[Bar]:
    """Return the bars that the measured quantities do not clear."""
    return [bar for bar in BARS if bar.quantity in quantities and not bar.cleared(quantities[bar.quantity])]
