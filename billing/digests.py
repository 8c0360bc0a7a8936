"""Decides what a document says, in 32 octets: the same when it is made and when it is read again.

Rule: everything that is printed counts, and nothing of how it is stored: neither the order of keys and lines, nor the
places of a number. Whoever changes a word of a document changes its digest, and with it the chain of its series.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple


class Said(NamedTuple):
    """What a document says, without its lines; `frozen` is what it prints of parties, taxes and payment."""

    kind: str
    partner_id: int
    customer_id: int
    currency: str
    dated: date
    due_on: date | None
    net: int
    tax: int
    gross: int
    language: str
    frozen: Mapping[str, Any]
    credits_document: int | None = None
    payment_id: int | None = None


class SaidLine(NamedTuple):
    """What a line of a document says; `taxes` as they are stored."""

    text: str
    starts: date
    ends: date
    quantity: Decimal
    unit_price: Decimal
    amount: int
    net: int
    tax: int
    taxes: Iterable[Iterable[object]]
    credits_line: int | None = None


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def digest(said: Said, lines: Iterable[SaidLine] = ()) -> bytes:
    """Return what stands for a document in the chain of its series."""
    told = sorted(_text([*line[:-2], [[*tax] for tax in line.taxes], line.credits_line]) for line in lines)
    return sha256(_text([*said, told]).encode()).digest()


def _text(values: list[object]) -> str:
    return _encode([_plain(value) for value in values])


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value.isoformat() if isinstance(value, date) else value
