"""Prints vouchers: sheets of cards to cut, each with its code as text and for a camera.

Rule: pure. A code is printed by whoever has it; nothing of it is kept here. Amounts and days are written as the
language of the cards has them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import segno
import typst
from babel.dates import format_date
from babel.numbers import format_currency

from billing.printed import CannotPrint
from domain.money import decimal

TEMPLATE = Path(__file__).parent / "templates" / "vouchers.typ"
_WORDS = {
    "en": {"title": "Voucher", "until": "Valid through {}", "how": "Give this code to your provider to redeem it."},
    "es": {"title": "Vale", "until": "Válido hasta el {}", "how": "Dé este código a su proveedor para canjearlo."},
}


class PrintedCard(NamedTuple):
    """What one card says: of an amount in minor units, or of a top-up."""

    code: str
    number: str
    currency: str
    amount: int | None
    offer: str | None
    valid_until: date | None


def pdf(issuer: str, cards: Sequence[PrintedCard], language: str) -> bytes:
    """Return sheets of ten cards. Raise CannotPrint."""
    words = _WORDS[language]
    contents = {
        "issuer": issuer,
        "language": language,
        "title": words["title"],
        "how": words["how"],
        "cards": [
            {
                "code": card.code,
                "number": card.number,
                "value": _value(card, language),
                "until": ""
                if card.valid_until is None
                else words["until"].format(format_date(card.valid_until, "medium", locale=language)),
                "qr": _qr(card.code),
            }
            for card in cards
        ],
    }
    try:
        made = _compiler().compile(format="pdf", sys_inputs={"vouchers": json.dumps(contents, ensure_ascii=False)})
    except typst.TypstError as error:
        raise CannotPrint(f"the cards cannot be printed: {error}") from error
    assert isinstance(made, bytes)
    return made


@lru_cache(maxsize=1)
def _compiler() -> typst.Compiler:
    """Return the compiler of the template; it finds the fonts once."""
    return typst.Compiler(str(TEMPLATE))


def _value(card: PrintedCard, language: str) -> str:
    if card.amount is None:
        return card.offer or ""
    return str(format_currency(decimal(card.amount, card.currency), card.currency, locale=language))


def _qr(code: str) -> str:
    drawn = io.BytesIO()
    segno.make(code, error="m", micro=False).save(drawn, kind="svg", xmldecl=False, border=0)
    return drawn.getvalue().decode()
