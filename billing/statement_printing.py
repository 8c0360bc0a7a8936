"""How a statement of account is printed, by the same templates as documents.

Rule: charges and payments stand in columns of their own, and the balance beside each; what is to be paid is said in
words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from billing.printing import Locale, column, letter, method_name, render
from billing.statement import Entry, Statement

_WORDS = MappingProxyType(
    {
        "en": {
            "title": "Statement of account", "days": "Period", "made": "Date", "customer": "Customer", "on": "Date",
            "number": "Document", "text": "Description", "charge": "Charges", "payment": "Payments",
            "balance": "Balance", "opening": "Balance brought forward", "closing": "Balance",
            "owed": "To pay: {amount}", "own": "In your favour: {amount}", "even": "There is nothing to pay.",
            "invoice": "Invoice", "credit-note": "Credit note", "payment-kind": "Payment", "refund": "Refund",
            "reversal": "Payment reversed", "daily": "Charge of the day", "exchange": "Exchange",
        },
        "es": {
            "title": "Estado de cuenta", "days": "Periodo", "made": "Fecha", "customer": "Cliente", "on": "Fecha",
            "number": "Documento", "text": "Concepto", "charge": "Cargos", "payment": "Abonos",
            "balance": "Saldo", "opening": "Saldo anterior", "closing": "Saldo",
            "owed": "A pagar: {amount}", "own": "A su favor: {amount}", "even": "No hay nada que pagar.",
            "invoice": "Factura", "credit-note": "Factura rectificativa", "payment-kind": "Pago",
            "refund": "Devolución", "reversal": "Pago anulado", "daily": "Cargo del día",
            "exchange": "Cambio de moneda",
        },
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrintedStatement:
    """A statement with what it prints beside its amounts."""

    statement: Statement
    made_on: date
    language: str
    seller: Mapping[str, Any]
    buyer: Mapping[str, Any]
    logo: str = ""
    colour: str = ""
    template: str = ""


def statement_pdf(printed: PrintedStatement) -> bytes:
    """Return the PDF of a statement. Raise CannotPrint."""
    name = f"the statement of {printed.statement.customer}"
    return render(statement_contents(printed), printed.template, name=name)


def statement_contents(printed: PrintedStatement) -> dict[str, object]:
    """Return what a template prints of a statement."""
    statement, language = printed.statement, "en" if printed.language == "en" else "es"
    words, locale = _WORDS[language], Locale(language, statement.currency)
    columns = [
        column(words[key], is_number=key in ("charge", "payment", "balance"), is_wide=key == "text")
        for key in ("on", "number", "text", "charge", "payment", "balance")
    ]
    opening = [locale.day(statement.first), "", words["opening"], "", "", locale.money(statement.opening)]
    standing = "owed" if statement.closing > 0 else "own" if statement.closing < 0 else "even"
    return {
        **letter(printed.seller, printed.buyer, colour=printed.colour, logo=printed.logo),
        "title": words["title"],
        "language": language,
        "head": [
            (words["days"], f"{locale.day(statement.first)} - {locale.day(statement.last)}"),
            (words["made"], locale.day(printed.made_on)),
            (words["customer"], statement.customer),
        ],
        "columns": columns,
        "rows": [opening, *(_row(entry, words, locale) for entry in statement.entries)],
        "sums": [],
        "total": [words["closing"], locale.money(statement.closing)],
        "notes": [words[standing].format(amount=locale.money(abs(statement.closing)))],
        "qr": "",
        "usage": [],
        "usage_title": "",
        "usage_total": "",
    }


def _row(entry: Entry, words: Mapping[str, str], locale: Locale) -> list[str]:
    movement = entry.movement
    known = words.get("payment-kind" if movement.kind == "payment" else movement.kind, movement.kind)
    if movement.method:
        known = f"{known} ({method_name(movement.method, locale.language)})"
    return [
        locale.day(movement.on),
        movement.number or "",
        f"{known}: {movement.text}" if movement.text else known,
        locale.money(movement.amount) if movement.amount > 0 else "",
        locale.money(-movement.amount) if movement.amount < 0 else "",
        locale.money(entry.balance),
    ]
