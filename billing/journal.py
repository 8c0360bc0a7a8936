"""Writes the journal: CSV for spreadsheets, and the text of beancount, which another program can verify.

Rule: pure; amounts are decimal text of the currency's digits, debits positive; nothing that a customer wrote can begin
a formula or a directive.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import groupby
from typing import Any

from domain.money import decimal_text

COLUMNS = ("transfer", "date", "kind", "customer", "document", "account", "name", "whose", "amount", "currency", "text")
_ROOTS = {
    "receivable": "Assets:Receivable",
    "cash": "Assets:Cash",
    "wallet": "Liabilities:Wallet",
    "deposit": "Liabilities:Deposit",
    "tax": "Liabilities:Tax",
    "revenue": "Income:Revenue",
    "rounding": "Income:Rounding",
    "write-off": "Expenses:WriteOff",
    "exchange": "Equity:Exchange",
}
_STRANGE = re.compile(r"[^A-Za-z0-9-]+")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
FIRST_DAY = date(1970, 1, 1)


def csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a CSV file, its header first."""
    yield _csv_line(COLUMNS)
    for row in rows:
        amount = decimal_text(row["amount"], row["currency"])
        told = (row["customer"], row["document"], row["account"], row["name"], row["whose"])
        yield _csv_line(
            (row["id"], row["posted_on"], row["kind"], *map(_harmless, told), amount, row["currency"],
             _harmless(row["text"]))
        )  # fmt: skip


def _csv_line(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _harmless(value: object) -> str:
    """Return text that a spreadsheet does not compute."""
    told = "" if value is None else str(value)
    return f"'{told}" if told.startswith(_FORMULA) else told


def beancount_lines(rows: Iterable[Mapping[str, Any]], opened: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a beancount file: `opened` are all accounts (kind, name, currency), `rows` the postings."""
    names = sorted({(account_name(row["kind"], row["name"])) for row in opened})
    for name in names:
        yield f"{FIRST_DAY} open {name}\n"
    for _, postings in groupby(rows, key=lambda row: row["id"]):
        yield from _transaction(list(postings))


def account_name(kind: str, name: str) -> str:
    """Return what beancount calls an account."""
    part = _STRANGE.sub("-", name).strip("-")
    return f"{_ROOTS[kind]}:{part[:1].upper()}{part[1:]}" if part else f"{_ROOTS[kind]}:All"


def _transaction(postings: list[Mapping[str, Any]]) -> Iterator[str]:
    first = postings[0]
    told = " ".join(str(each) for each in (first["kind"], first["document"] or "", first["customer"] or "") if each)
    yield f'\n{first["posted_on"]} * "{_quoted(told)}" "{_quoted(first["text"])}"\n'
    yield f'  key: "{_quoted(first["key"])}"\n'
    for row in postings:
        amount = decimal_text(row["amount"], row["currency"])
        yield f"  {account_name(row['account'], row['name'])}  {amount} {row['currency']}\n"


def _quoted(value: str) -> str:
    return " ".join(value.replace("\\", "\\\\").replace('"', '\\"').split())
