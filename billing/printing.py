"""Prints documents: PDF, with the invoice as data inside of it where that is wanted.

Rule: pure; what is printed is what the document holds, nothing is looked up again. Amounts and days are written as the
document's language has them. The data is that of EN 16931 in the form of Factur-X.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import segno
import typst
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from billing.addresses import in_a_line, service_address, town
from billing.invoice_data import why_no_data, xml
from billing.printed import USUAL_COLOUR, CannotPrint, Printed, sign, whole_lines
from domain.money import decimal, decimal_text

TEMPLATE = Path(__file__).parent / "templates" / "document.typ"
MOST_TEMPLATES = 16
"""Of partners that are kept ready; the one that was not used longest is read again."""
MOST_DAYS = 62
"""A chart of more days could not be read."""
_QR_KINDS = frozenset({"invoice", "proforma"})
_WORDS = MappingProxyType(
    {
        "en": {
            "invoice": "Invoice", "credit-note": "Credit note", "proforma": "Proforma invoice", "receipt": "Receipt",
            "number": "Number", "date": "Date", "due": "Due", "customer": "Customer", "text": "Description",
            "days": "Period", "quantity": "Quantity", "price": "Price", "net": "Net", "total": "Total",
            "open": "To pay", "paid": "Paid", "method": "Paid by", "reference": "Reference", "usage": "Usage by day",
            "transfer": "Please pay to {iban} and give {number} as reference.", "vat": "{code} {percent} % of {base}",
            "credits": "Corrects invoice", "asked": "Proforma", "pays": "Document", "amount": "Amount",
            "received": "Received", "credit": "On account for what comes", "replaced": "Replaced by {number}.",
            "withdrawn": "Withdrawn: there is nothing to pay.",
            "no-invoice": "This is no invoice. The invoice is issued when it is paid.",
            "cash": "cash", "card": "card", "transfer-method": "bank transfer", "came": "Paid in another currency",
            "deposit": "deposit",
            "where": "Service address",
        },
        "es": {
            "invoice": "Factura", "credit-note": "Factura rectificativa", "proforma": "Factura proforma",
            "receipt": "Recibo", "number": "Número", "date": "Fecha", "due": "Vencimiento", "customer": "Cliente",
            "text": "Concepto", "days": "Periodo", "quantity": "Cantidad", "price": "Precio", "net": "Importe",
            "total": "Total", "open": "A pagar", "paid": "Pagado", "method": "Forma de pago",
            "reference": "Referencia", "usage": "Consumo por día",
            "transfer": "Pague a {iban} e indique {number} como referencia.", "vat": "{code} {percent} % sobre {base}",
            "credits": "Rectifica la factura", "asked": "Proforma", "pays": "Documento", "amount": "Importe",
            "received": "Recibido", "credit": "A cuenta de próximas facturas", "replaced": "Sustituida por {number}.",
            "withdrawn": "Anulada: no hay nada que pagar.",
            "no-invoice": "Este documento no es una factura. La factura se emite al recibir el pago.",
            "cash": "efectivo", "card": "tarjeta", "transfer-method": "transferencia", "came": "Pagado en otra divisa",
            "deposit": "fianza",
            "where": "Dirección del servicio",
        },
    }
)  # fmt: skip
_METHODS = MappingProxyType({"cash": "cash", "card": "card", "transfer": "transfer-method", "deposit": "deposit"})
"""Of these methods of payment the names are known; any other one is printed as it is."""


def pdf(document: Printed) -> bytes:
    """Return the PDF of a document; an invoice with data inside is PDF/A-3. Raise CannotPrint.

    What EN 16931 cannot say is printed without data.
    """
    name = f"document {document.head['number'] or document.head['id']}"
    has_data = document.e_invoice and why_no_data(document) is None
    plain = render(_contents(document), document.template, name=name, is_archived=has_data)
    return _with_data(plain, xml(document), document) if has_data else plain


def render(contents: Mapping[str, object], template: str = "", *, name: str, is_archived: bool = False) -> bytes:
    """Return the PDF of what a template prints; an archived one is PDF/A-3. Raise CannotPrint with that name."""
    data = json.dumps(contents, ensure_ascii=False)
    source = template.encode() if template else TEMPLATE.read_bytes()
    compiler, lock = _compiler(source)
    try:
        with lock:
            plain = compiler.compile(
                source, format="pdf", sys_inputs={"document": data}, pdf_standards="a-3b" if is_archived else []
            )
    except typst.TypstError as error:
        whose = "the partner's template" if template else "the template"
        raise CannotPrint(f"{name} cannot be printed by {whose}: {error}") from error
    assert isinstance(plain, bytes)
    return plain


@lru_cache(maxsize=MOST_TEMPLATES)
def _compiler(source: bytes) -> tuple[typst.Compiler, Lock]:
    """Return the compiler of a template, which finds the fonts once, and who may use it: one at a time.

    It reads no file but those beside our own template: whoever writes one sees nothing of this machine.
    """
    return typst.Compiler(source, root=str(TEMPLATE.parent)), Lock()


def _with_data(plain: bytes, data: bytes, document: Printed) -> bytes:
    from facturx import generate_from_binary

    words = _WORDS[_language(document)]
    title = f"{words[document.head['kind']]} {document.head['number']}"
    metadata = {
        "author": str(document.frozen.get("seller", {}).get("name", "")),
        "title": title, "subject": title, "keywords": "Factur-X, Invoice",
    }  # fmt: skip
    found = generate_from_binary(
        plain, data, flavor="factur-x", level="en16931", check_xsd=False, pdf_metadata=metadata,
        lang=_language(document),
    )  # fmt: skip
    assert isinstance(found, bytes)
    return found


def _language(document: Printed) -> str:
    return "en" if document.head["language"] == "en" else "es"


@dataclass(frozen=True, slots=True)
class Locale:
    """How a language writes amounts and days."""

    language: str
    currency: str

    def money(self, minor: int) -> str:
        """Return an amount as people read it."""
        return format_currency(decimal(minor, self.currency), self.currency, locale=self.language)

    def day(self, value: date) -> str:
        """Return a day as people read it."""
        return format_date(value, "dd/MM/yyyy" if self.language == "es" else "d MMM yyyy", locale=self.language)

    def number(self, value: Decimal, form: str | None = None) -> str:
        """Return a number as people read it."""
        return format_decimal(value, locale=self.language, format=form)


def method_name(method: str, language: str) -> str:
    """Return what people call a method of payment."""
    return _WORDS[language][_METHODS[method]] if method in _METHODS else method


def column(title: str, *, is_number: bool = False, is_wide: bool = False) -> dict[str, object]:
    """Return a column of a template: numbers stand right, a wide one takes the room that is left."""
    return {"title": title, "align": "right" if is_number else "left", "wide": is_wide}


def letter(seller: Mapping[str, Any], buyer: Mapping[str, Any], *, colour: str, logo: str) -> dict[str, object]:
    """Return what everything that is printed has in common."""
    usual = " · ".join(seller[key] for key in ("name", "tax_id", "phone", "email") if seller.get(key))
    return {
        "colour": colour or USUAL_COLOUR,
        "logo": logo,
        "seller": _party(seller, "Caudal"),
        "buyer": _party(buyer, buyer.get("login", "")),
        "footer": seller.get("footer", "") or usual,
    }


def _contents(document: Printed) -> dict[str, object]:
    head, language = document.head, _language(document)
    words, locale = _WORDS[language], Locale(language, head["currency"])
    seller, buyer = document.frozen.get("seller", {}), document.frozen.get("buyer", {})
    number = head["number"] or f"({head['id']})"
    columns, rows = (
        _receipt_rows(document, words, locale) if head["kind"] == "receipt" else _rows(document, words, locale)
    )
    return {
        **letter(seller, buyer, colour=document.colour, logo=document.logo),
        "title": words[head["kind"]],
        "language": language,
        "head": _facts(document, words, locale, number),
        "columns": columns,
        "rows": rows,
        "sums": _sums(document, words, locale),
        "total": [words["received" if head["kind"] == "receipt" else "total"], locale.money(head["gross"])],
        "notes": _notes(document, words, number, locale),
        "qr": _qr(document, number),
        "usage": [{"day": locale.day(on), "octets": octets} for on, octets in document.usage[-MOST_DAYS:]],
        "usage_title": words["usage"],
        "usage_total": f"{locale.number(Decimal(sum(o for _, o in document.usage)).scaleb(-9), '#,##0.0')} GB",
    }


def _facts(document: Printed, words: Mapping[str, str], locale: Locale, number: str) -> list[tuple[str, str]]:
    head = document.head
    facts = [(words["number"], number), (words["date"], locale.day(head["issued_on"] or head["dated"]))]
    if head["due_on"] is not None:
        facts.append((words["due"], locale.day(head["due_on"])))
    if document.corrects:
        facts.append((words["credits"], ", ".join(document.corrects)))
    if document.frozen.get("proforma"):
        facts.append((words["asked"], document.frozen["proforma"]))
    buyer = document.frozen.get("buyer", {})
    facts.append((words["customer"], buyer.get("login", "")))
    where = service_address(buyer)
    return [*facts, (words["where"], in_a_line(where))] if where else facts


def _rows(
    document: Printed, words: Mapping[str, str], locale: Locale
) -> tuple[list[dict[str, object]], list[list[str]]]:
    columns = [
        column(words[key], is_number=key not in ("text", "days"), is_wide=key == "text")
        for key in ("text", "days", "quantity", "price", "net")
    ]
    rows = [
        [
            line["text"],
            _days(line["starts"], line["ends"], locale),
            locale.number(line["quantity"].normalize()),
            locale.number(line["unit_price"], "#,##0.00####"),
            locale.money(sign(document.head) * line["net"]),
        ]
        for line in whole_lines(document)
    ]
    return columns, rows


def _receipt_rows(
    document: Printed, words: Mapping[str, str], locale: Locale
) -> tuple[list[dict[str, object]], list[list[str]]]:
    """Return what a payment pays, and what is left of it."""
    paid = document.frozen.get("payment", {}).get("pays", ())
    rows = [[number, locale.money(amount)] for number, amount in paid]
    left = document.head["gross"] - sum(amount for _, amount in paid)
    if rows and left:
        rows.append([words["credit"], locale.money(left)])
    return [column(words["pays"], is_wide=True), column(words["amount"], is_number=True)], rows


def _sums(document: Printed, words: Mapping[str, str], locale: Locale) -> list[tuple[str, str]]:
    sums = [(words["net"], locale.money(document.head["net"]))] if document.lines else []
    for code, _, percent, base, tax, reason in document.frozen.get("taxes", ()):
        label = words["vat"].format(code=code.upper(), percent=locale.number(Decimal(percent)), base=locale.money(base))
        sums.append((label if reason is None else f"{code.upper()}: {reason}", locale.money(tax)))
    return sums


def _party(who: Mapping[str, Any], name: str) -> dict[str, str]:
    return {
        "name": str(who.get("name") or name),
        "street": str(who.get("street") or ""),
        "place": town(who),
        "tax_id": str(who.get("tax_id") or ""),
    }


def _days(starts: date, ends: date, locale: Locale) -> str:
    last = ends - timedelta(days=1)
    return locale.day(starts) if last <= starts else f"{locale.day(starts)} - {locale.day(last)}"


def _notes(document: Printed, words: Mapping[str, str], number: str, locale: Locale) -> list[str]:
    head, seller = document.head, document.frozen.get("seller", {})
    notes = []
    payment = document.frozen.get("payment")
    if payment:
        notes.append(f"{words['method']}: {method_name(payment['method'], locale.language)}")
        if "foreign" in payment:
            amount, currency = payment["foreign"]
            notes.append(f"{words['came']}: {Locale(locale.language, currency).money(amount)}")
        if payment["reference"]:
            notes.append(f"{words['reference']}: {payment['reference']}")
    elif head["kind"] == "invoice" and head["open_amount"] < head["gross"]:
        notes.append(f"{words['paid']}: {locale.money(head['gross'] - head['open_amount'])}")
    elif head["kind"] == "proforma":
        heir = document.heir
        ended = words["replaced"].format(number=heir) if heir else words["withdrawn"]
        notes.append(words["no-invoice"] if head["open_amount"] else ended)
    if head["kind"] in _QR_KINDS and head["open_amount"]:
        notes.append(f"{words['open']}: {locale.money(head['open_amount'])}")
        if seller.get("iban"):
            notes.append(words["transfer"].format(iban=_spaced(seller["iban"]), number=number))
    return notes


def _spaced(iban: str) -> str:
    return " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))


def _qr(document: Printed, number: str) -> str:
    """Return the code that banking applications read (EPC069-12), as SVG; empty where nothing is to be paid so."""
    head, seller = document.head, document.frozen.get("seller", {})
    if head["kind"] not in _QR_KINDS or not head["open_amount"] or not seller.get("iban") or head["currency"] != "EUR":
        return ""
    lines = (
        "BCD", "002", "1", "SCT", seller.get("bic", ""), seller.get("name", "")[:70], seller["iban"],
        f"EUR{decimal_text(head['open_amount'], 'EUR')}", "", "", str(number)[:140],
    )  # fmt: skip
    drawn = io.BytesIO()
    segno.make("\n".join(lines), error="m", micro=False).save(drawn, kind="svg", xmldecl=False, border=1)
    return drawn.getvalue().decode()
