"""A document as it is printed and told as data: what it holds, and its lines as one reads them.

Rule: pure. Of a document that was charged day by day the days of a line are one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from billing.errors import BillingError

USUAL_COLOUR = "#1f5c7a"


class CannotPrint(BillingError):
    """A document cannot be printed as it is."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A document with what it prints: its row, its lines, the usage of its days, and the partner's logo as SVG."""

    head: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    usage: Sequence[tuple[date, int]] = ()
    """Octets of each local day."""
    logo: str = ""
    colour: str = USUAL_COLOUR
    e_invoice: bool = False
    template: str = ""
    """The partner's own, in Typst; empty: ours."""
    corrects: Sequence[str] = ()
    """Of a credit note: the numbers of the invoices that it corrects."""
    heir: str | None = None
    """Of a proforma: the number of the document in its place."""
    frozen: Mapping[str, Any] = field(default_factory=dict)


def whole_lines(document: Printed) -> Sequence[Mapping[str, Any]]:
    """Return the lines of a document; of one that was charged day by day, the days of a line as one."""
    if not document.head.get("posted_daily"):
        return document.lines
    found: list[dict[str, Any]] = []
    for line in document.lines:
        last = found[-1] if found else None
        if last is not None and last["ends"] == line["starts"] and _what(last) == _what(line):
            found[-1] = {**last, "ends": line["ends"], "net": last["net"] + line["net"]}
        else:
            found.append(dict(line))
    return found


def _what(line: Mapping[str, Any]) -> list[object]:
    """Return what a line is for, which days of one line have in common."""
    rates = [tuple(tax[:-1]) for tax in line["taxes"]]
    kept = ("subscription_id", "component", "rate", "text", "unit_price", "quantity", "credits_line")
    return [*(line.get(key) for key in kept), rates]


def sign(head: Mapping[str, Any]) -> int:
    """Return what turns amounts of lines into those of the document, which are positive."""
    return -1 if head["kind"] == "credit-note" else 1
