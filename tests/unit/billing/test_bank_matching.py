"""Whose an entry of the bank is: what counts as a name, and what does not."""

from __future__ import annotations

from datetime import date

import pytest

from billing.bank_file import BankEntry
from billing.bank_matching import Claim, Match, Payer, compact, is_creditor_reference, logins, match, numbers

CLAIMS = [
    Claim(1, 10, "ana", "F2026-000001", 1210),
    Claim(2, 10, "ana", "F2026-000002", 1210),
    Claim(3, 20, "luis.diaz", "F2026-000003", 500),
    Claim(4, 30, "eva", "000001", 700),
    Claim(5, 40, "north.one", "N-7700", 900),
    Claim(6, 50, "south.one", "N-7700", 900),
    Claim(7, 20, "luis.diaz", "2026", 100),
    Claim(8, 10, "ana", "F" + "7" * 39, 100),
    Claim(9, 20, "luis.diaz", "000001-2", 100),
]
PAYERS = {payer.login: [payer] for payer in (Payer(10, "ana"), Payer(20, "luis.diaz"), Payer(50, "south.one"))}


def matched(amount: int = 1210, **said: object) -> Match:
    """Match an entry as the database does: only what may be named is looked up."""
    entry = BankEntry(1, date(2026, 1, 20), amount, "EUR", **said)  # type: ignore[arg-type]  # texts and tuples
    claims: dict[str, list[Claim]] = {}
    for claim in CLAIMS:
        if compact(claim.number) in numbers(entry):
            claims.setdefault(compact(claim.number), []).append(claim)
    return match(entry, claims, {login: payer for login, payer in PAYERS.items() if login in logins(entry)})


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("F2026-000001", (1,)),
        ("pago factura f2026/000001, gracias", (1,)),
        ("F2026-0000 01", (1,)),
        ("F2026-000001 y F2026-000002", (1, 2)),
        ("F2026-0000011", ()),
        ("XF2026-000001", ()),
        ("F" + "7" * 39, (8,)),
        ("enero 2026", ()),
        ("Calle Mayor 2026", ()),
    ],
)
def test_a_number_counts_whole_whatever_signs_are_in_it(text: str, documents: tuple[int, ...]) -> None:
    found = matched(text=text)
    assert found.document_ids == documents
    assert found.customer_id == (10 if documents else None)


def test_a_creditor_reference_names_its_invoice_in_every_place() -> None:
    reference = "RF82F2026000001"
    assert is_creditor_reference(reference)
    assert not is_creditor_reference("RF83F2026000001")
    for said in ({"references": (reference,)}, {"text": "RF82 F202 6000 001"}, {"end_to_end": reference}):
        assert matched(**said).document_ids == (1,)


def test_how_the_amount_stands_to_what_is_open_is_told() -> None:
    for amount, told in ((1210, "pays it whole"), (1000, "pays a part"), (1300, "pays it whole, and more")):
        assert matched(amount, text="F2026-000001").why == f"names F2026-000001: {told}"


def test_a_longer_number_hides_the_shorter_one_within_it() -> None:
    assert matched(text="F2026 000001").document_ids == (1,)
    assert matched(text="factura 000001").document_ids == (4,)
    assert matched(text="factura 000001 2 hoy").document_ids == (9,)


@pytest.mark.parametrize(
    ("text", "customer"),
    [("ana", 10), ("luis.diaz fibra", 20), ("LUIS.DIAZ", 20), ("de ana maria", None), ("ana.", 10)],
)
def test_a_login_of_letters_counts_only_alone(text: str, customer: int | None) -> None:
    found = matched(text=text)
    assert (found.customer_id, found.document_ids) == (customer, ())
    if customer == 10:
        assert found.why == "names the customer ana"


def test_an_entry_that_names_two_customers_is_nobodys() -> None:
    assert matched(text="F2026-000001 F2026-000003").why == "names several customers: ana, luis.diaz"
    assert matched(text="F2026-000001 luis.diaz").customer_id is None


def test_equal_numbers_of_two_partners_are_told_apart_by_the_login() -> None:
    assert matched(text="N-7700").customer_id is None
    assert matched(text="N-7700 south.one").document_ids == (6,)


def test_a_short_number_in_the_payers_own_reference_counts_only_whole() -> None:
    assert matched(end_to_end="4f2a-N7700-0001").customer_id is None
    assert matched(end_to_end="F2026-000003").document_ids == (3,)
