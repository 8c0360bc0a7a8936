"""Invoices as data: what EN 16931 says of sums and categories, for the odd ones, and what it cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from facturx import xml_check_xsd
from lxml import etree

from billing.invoice_data import xml
from billing.printed import CannotPrint, Printed
from billing.printing import pdf
from tests.unit.billing.test_printing import BUYER, HEAD, SELLER, line

REVERSED = "Inversión del sujeto pasivo"
EXEMPT = "Exento, art. 20 LIVA"


def taxed(net: int, *taxes: tuple[str, str, str, str | None, int]) -> dict[str, Any]:
    """Return a line: its net, and of each tax code, category, percent, reason and amount."""
    kept = [[code, category, percent, False, reason, tax] for code, category, percent, reason, tax in taxes]
    return line("Algo", net, "2027-01-01", "2027-02-01") | {"taxes": kept}


def iva(net: int, percent: int = 21, code: str = "iva") -> dict[str, Any]:
    return taxed(net, (code, "S", str(percent), None, round(net * percent / 100)))


def none(net: int, category: str, reason: str, code: str = "iva") -> dict[str, Any]:
    return taxed(net, (code, category, "0", reason, 0))


def document(
    lines: Sequence[dict[str, Any]], kind: str = "invoice", buyer: dict[str, str] = BUYER, **more: Any
) -> Printed:
    """Return a document of these lines, with its sums as billing freezes them."""
    sign = 1 if kind == "invoice" else -1
    sums: dict[tuple[str, str, str, str | None], list[int]] = {}
    for each in lines:
        for code, category, percent, _, reason, tax in each["taxes"]:
            row = sums.setdefault((code, category, percent, reason), [0, 0])
            row[0] += sign * each["net"]
            row[1] += sign * tax
    net, tax = sign * sum(each["net"] for each in lines), sum(tax for _, tax in sums.values())
    head = HEAD | {"kind": kind, "net": net, "tax": tax, "gross": net + tax, "open_amount": net + tax}
    taxes = [[code, category, percent, *row, reason] for (code, category, percent, reason), row in sums.items()]
    seller = more.pop("seller", SELLER)
    return Printed(
        head | more.pop("head", {}), lines, frozen={"seller": seller, "buyer": buyer, "taxes": taxes}, **more
    )


COMPANY = BUYER | {"tax_id": "B-8765 4321", "company_id": "1234"}
ODD = {
    "zero-tax": document([none(1000, "S", "")]),
    "no-tax": document([taxed(1000)]),
    "no-tax-beside-tax": document([iva(1000), taxed(500)]),
    "several-rates": document([iva(1000), iva(300, 10), iva(-50, 10), iva(7, 4)]),
    "two-codes-of-one-rate": document([iva(1000), iva(500, code="igic")]),
    "discounts": document([iva(1000), iva(-999)]),
    "nothing-to-pay": document([iva(1000), iva(-1000)], head={"due_on": None}),
    "credit-note": document([iva(-1000), iva(200)], "credit-note", head={"due_on": None}, corrects=["F1", "F2"]),
    "exempt": document([none(1000, "E", EXEMPT)]),
    "exempt-for-two-reasons": document([none(1000, "E", EXEMPT), none(5, "E", "Otro"), iva(100)]),
    "reverse-charge": document([none(1000, "AE", REVERSED)], buyer=COMPANY),
    "intra-community": document([none(1000, "K", "Entrega intracomunitaria")], buyer=COMPANY | {"country": "PT"}),
    "export": document([none(1000, "G", "Exportación")]),
    "outside": document([none(1000, "O", "No sujeta")]),
    "paid": document([iva(1000)], head={"open_amount": 0}),
}


def sums(found: etree._Element, name: str, inside: str) -> list[Decimal]:
    return [Decimal(str(each.text)) for each in found.iterfind(f".//{{*}}{inside}//{{*}}{name}")]


@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
def test_the_data_of_odd_invoices_sums_up_as_en_16931_wants(odd: Printed) -> None:
    data = xml(odd)
    assert xml_check_xsd(data, flavor="factur-x", level="en16931")
    found = etree.fromstring(data)
    lines: Counter[tuple[str, str | None]] = Counter()
    for each in found.iterfind(".//{*}IncludedSupplyChainTradeLineItem"):
        price = Decimal(each.findtext(".//{*}NetPriceProductTradePrice/{*}ChargeAmount", ""))
        quantity = Decimal(each.findtext(".//{*}BilledQuantity", ""))
        total = Decimal(each.findtext(".//{*}LineTotalAmount", ""))
        assert (price >= 0, price * quantity) == (True, total)
        lines[each.findtext(".//{*}CategoryCode", ""), each.findtext(".//{*}RateApplicablePercent")] += total  # type: ignore[assignment]  # sums
    taxes = found.findall(".//{*}ApplicableHeaderTradeSettlement/{*}ApplicableTradeTax")
    bases = {
        (each.findtext("{*}CategoryCode", ""), each.findtext("{*}RateApplicablePercent")): Decimal(
            each.findtext("{*}BasisAmount", "")
        )
        for each in taxes
    }
    # BR-S-08 and its like: each category and rate once, with the sum of its lines.
    assert len(bases) == len(taxes)
    assert bases == lines
    assert all(
        (category in "SZ") == (each.find("{*}ExemptionReason") is None)
        for each, (category, _) in zip(taxes, bases, strict=True)
    )
    (net,), (gross,), (due,) = (
        sums(found, name, "SpecifiedTradeSettlementHeaderMonetarySummation")
        for name in ("TaxBasisTotalAmount", "GrandTotalAmount", "DuePayableAmount")
    )
    tax = sum((Decimal(each.findtext("{*}CalculatedAmount", "")) for each in taxes), Decimal(0))
    assert (sum(bases.values()), net + tax) == (net, gross)
    assert due == Decimal(odd.head["open_amount"]) / 100
    assert b"ESB12345678" in data


def test_a_credit_note_names_the_invoices_that_it_corrects() -> None:
    found = etree.fromstring(xml(ODD["credit-note"]))
    named = found.findall(".//{*}InvoiceReferencedDocument/{*}IssuerAssignedID")
    assert [each.text for each in named] == ["F1", "F2"]


def test_tax_ids_begin_with_their_country_where_they_are_vat_ids() -> None:
    data = xml(document([iva(1000)], buyer=COMPANY)).decode()
    assert '<ram:ID schemeID="VA">ESB87654321</ram:ID>' in data
    assert "<ram:ID>1234</ram:ID>" in data
    german = xml(document([iva(1000)], seller=SELLER | {"tax_id": "12/345/67890", "country": "DE"})).decode()
    assert '<ram:ID schemeID="FC">12/345/67890</ram:ID>' in german


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (document([taxed(1000, ("gst", "S", "5", None, 50), ("pst", "S", "9.5", None, 100))]), "several taxes"),
        (document([iva(1000), none(5, "O", "No sujeta")]), "outside the scope"),
        (document([none(5, "AE", REVERSED)]), "the customer owes the tax and has no tax_id"),
        (document([iva(1000)], seller={"name": "Valdelagua"}), "its seller has no tax_id"),
    ],
)
def test_what_en_16931_cannot_say_is_refused_as_data_and_printed_without(odd: Printed, why: str) -> None:
    with pytest.raises(CannotPrint, match=why):
        xml(odd)
    plain = pdf(Printed(odd.head, odd.lines, e_invoice=True, frozen=odd.frozen))
    assert plain.startswith(b"%PDF")
    assert b"factur-x.xml" not in plain
