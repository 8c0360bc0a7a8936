"""What stands for a document in its chain: the same however it is stored, another one when a word changes."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from billing.digests import Said, SaidLine, digest

FROZEN = {"seller": {"name": "Valdelagua", "city": "Ávila"}, "taxes": [["iva", "S", "21", 990, 208, None]]}
SAID = Said("invoice", 1, 7, "EUR", date(2026, 1, 1), date(2026, 1, 16), 990, 208, 1198, "es", FROZEN)
LINE = SaidLine(
    "rent", date(2026, 1, 1), date(2026, 2, 1), Decimal("1.0"), Decimal("9.90"), 990, 990, 208,
    (("iva", "S", "21", False, None, 208),),
)  # fmt: skip


def test_how_it_is_stored_does_not_count() -> None:
    read = SAID._replace(frozen=json.loads(json.dumps(FROZEN, sort_keys=True)))
    again = LINE._replace(
        quantity=Decimal(1), unit_price=Decimal("9.9000"), taxes=[["iva", "S", "21", False, None, 208]]
    )
    assert digest(read, [again]) == digest(SAID, [LINE])
    other = LINE._replace(text="sale")
    assert digest(SAID, [LINE, other]) == digest(SAID, [other, LINE])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "proforma"}, {"partner_id": 2}, {"customer_id": 8}, {"currency": "USD"}, {"dated": date(2026, 1, 2)},
        {"due_on": None}, {"net": 991}, {"tax": 207}, {"gross": 1199}, {"language": "en"}, {"frozen": {}},
        {"credits_document": 1}, {"payment_id": 1},
    ],
)  # fmt: skip
def test_every_word_of_the_head_counts(change: dict[str, Any]) -> None:
    assert digest(SAID._replace(**change), [LINE]) != digest(SAID, [LINE])


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Rent"}, {"starts": date(2026, 1, 2)}, {"ends": date(2026, 2, 2)}, {"quantity": Decimal(2)},
        {"unit_price": Decimal("9.91")}, {"amount": 1}, {"net": 1}, {"tax": 1}, {"taxes": ()}, {"credits_line": 1},
    ],
)  # fmt: skip
def test_every_word_of_a_line_counts(change: dict[str, Any]) -> None:
    assert digest(SAID, [LINE._replace(**change)]) != digest(SAID, [LINE])
    assert digest(SAID, [LINE, LINE]) != digest(SAID, [LINE])
