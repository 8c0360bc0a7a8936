"""Cards of vouchers: in two languages, ten on a sheet."""

from __future__ import annotations

import random
from datetime import date
from io import BytesIO

import pytest
from pypdf import PdfReader

from billing.voucher_cards import PrintedCard, pdf
from billing.voucher_codes import grouped, new_code

DRAW = random.Random(7).choice


def card(number: int, amount: int | None = 1000, offer: str | None = None) -> PrintedCard:
    return PrintedCard(grouped(new_code(DRAW)), f"autumn {number}", "EUR", amount, offer, date(2027, 12, 31))


def pages(found: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(BytesIO(found)).pages]


@pytest.mark.parametrize(
    ("language", "said"),
    [("es", ("Vale", "10,00 €", "Válido hasta el 31 dic 2027")), ("en", ("Voucher", "€10.00", "Valid through"))],
)
def test_a_card_says_who_issued_it_what_it_is_worth_and_until_when(language: str, said: tuple[str, ...]) -> None:
    printed = card(7)
    (page,) = pages(pdf("Valdelagua", [printed], language))
    text = page.replace("\xa0", " ")
    for part in ("Valdelagua", printed.code, "autumn 7", *said):
        assert part in text


def test_a_top_up_is_called_by_its_name() -> None:
    (page,) = pages(pdf("Valdelagua", [card(1, None, "One more gigabyte")], "en"))
    assert "One more gigabyte" in " ".join(page.split())


def test_ten_cards_are_a_sheet() -> None:
    cards = [card(number) for number in range(1, 22)]
    sheets = pages(pdf("Valdelagua", cards, "es"))
    assert [sum(each.code in sheet for each in cards) for sheet in sheets] == [10, 10, 1]
