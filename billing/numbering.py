"""Decides what number a document gets, and how the documents of a series hold together.

Rule: numbers of a series leave no gap and go up with the dates; when a counter begins anew the series says, and nothing
else. Each document carries the hash of the one before it, so that none can be taken out or put in afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple

from domain.billing_terms import DocumentKind, SeriesTerms

DEFAULT_SERIES = MappingProxyType(
    {
        DocumentKind.INVOICE: SeriesTerms("F{year}-{next:6}"),
        DocumentKind.PROFORMA: SeriesTerms("P{year}-{next:6}"),
        DocumentKind.CREDIT_NOTE: SeriesTerms("A{year}-{next:6}"),
        DocumentKind.RECEIPT: SeriesTerms("R{year}-{next:6}"),
    }
)
"""What holds where neither partner nor ISP says anything."""
FIRST_HASH = bytes(32)
"""What the first document of a series carries."""

_PLACE = re.compile(r"\{(year|yy|month|customer|next)(?::([0-9]{1,2}))?\}")


class Unnumbered(NamedTuple):
    """A document that waits for its number."""

    id: int
    customer_id: int
    digest: bytes


class Numbered(NamedTuple):
    """The number of a document, its place in the series, and its link in the chain."""

    id: int
    number: str
    position: int
    hash: bytes


@dataclass(slots=True)
class SeriesState:
    """Where a series stands: its counters by period, and the end of its chain."""

    terms: SeriesTerms
    counters: dict[str, int]
    last_hash: bytes = FIRST_HASH
    documents: int = 0


def counter_period(terms: SeriesTerms, on: date, customer_id: int) -> str:
    """Return which counter a document of a day takes its number from."""
    match terms.reset:
        case "year":
            return f"{on.year}"
        case "month":
            return f"{on.year}-{on.month:02}"
        case "customer":
            return f"customer {customer_id}"
    return ""


def number(pattern: str, on: date, following: int, customer_id: int) -> str:
    """Return a number as a pattern writes it: `{year}`, `{yy}`, `{month}`, `{customer}` and `{next}`, with digits."""
    values = {"year": on.year, "yy": on.year % 100, "month": on.month, "customer": customer_id, "next": following}
    usual = {"yy": 2, "month": 2}

    def write(match: re.Match[str]) -> str:
        return f"{values[match[1]]:0{match[2] or usual.get(match[1], 1)}}"

    return _PLACE.sub(write, pattern)


def assign(series: SeriesState, waiting: Iterable[Unnumbered], on: date) -> Iterator[Numbered]:
    """Yield the numbers of documents that are issued on a day, in their order; the state of the series moves along."""
    for document in waiting:
        period = counter_period(series.terms, on, document.customer_id)
        following = series.counters[period] = series.counters.get(period, 0) + 1
        text = number(series.terms.pattern, on, following, document.customer_id)
        series.documents += 1
        series.last_hash = link(series.last_hash, text, on, document.digest)
        yield Numbered(document.id, text, series.documents, series.last_hash)


def link(before: bytes, number: str, on: date, digest: bytes) -> bytes:
    """Return what binds a document to the one before it."""
    return sha256(before + f"{number}\n{on.isoformat()}\n".encode() + digest).digest()
