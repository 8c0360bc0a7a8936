"""Decides what the rows of a bank's CSV file say, as the ISP described its columns.

Rule: pure; every mistake is told with its line, and a file with one mistake gives nothing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

from billing.bank_file import LARGEST_FILE_OCTETS, BankEntry, BankFileError, Mistake
from domain.bank import BankCsv, Column
from domain.money import minor_units

USUAL_DELIMITERS = (";", ",", "\t")
USUAL_CURRENCIES = frozenset({"currency", "divisa", "moneda"})
"""What banks call the column of the currency: none but the ISP's may be taken for it."""
LONGEST_FIELD = 10_000
_NUMBERS = {
    ".": re.compile(r"[+-]?([0-9]{1,15}|[0-9]{1,3}([,'][0-9]{3}){1,4})(\.[0-9]+)?"),
    ",": re.compile(r"[+-]?([0-9]{1,15}|[0-9]{1,3}([.'][0-9]{3}){1,4})(,[0-9]+)?"),
}
"""An amount, by what stands before its decimals."""
_CURRENCY = re.compile(r"[A-Z]{3}")
_SPACES = re.compile(r"\s+")


class _Wrong(ValueError):
    """A row that cannot be read."""


def parse(document: bytes, form: BankCsv, currency: str) -> list[BankEntry]:
    """Return the entries of a file; amounts without a currency of their own are in `currency`. Raise BankFileError."""
    if len(document) > LARGEST_FILE_OCTETS:
        raise BankFileError([Mistake(1, f"has more than {LARGEST_FILE_OCTETS // 1024**2} MiB; divide it")])
    text = _decode(document, form.encoding)
    kept = text.splitlines(keepends=True)[form.skip_lines :]
    first = next((line for line in kept if line.strip()), "")
    delimiter = form.delimiter or max(USUAL_DELIMITERS, key=first.count)
    rows = csv.reader(io.StringIO("".join(kept), newline=""), delimiter=delimiter, strict=True)
    entries: list[BankEntry] = []
    mistakes: list[Mistake] = []
    places: dict[Column, int] | None = None if form.has_header else _numbered(form)
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            line = form.skip_lines + rows.line_num
            if places is None:
                form = _with_currency(form, row)
                places = _named(form, row, line)
                continue
            try:
                entries.append(_entry(row, places, form, currency, line))
            except _Wrong as wrong:
                mistakes.append(Mistake(line, str(wrong)))
    except csv.Error as error:
        mistakes.append(Mistake(form.skip_lines + rows.line_num, f"is no CSV: {error}"))
    if places is None:
        mistakes.append(Mistake(form.skip_lines + 1, "there is no header"))
    if mistakes:
        raise BankFileError(mistakes)
    return entries


def _decode(document: bytes, encoding: str) -> str:
    try:
        return document.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = document.count(b"\n", 0, error.start) + 1
        raise BankFileError(
            [Mistake(line, f"is not {encoding}; name the file's `encoding` in `bank` of [isp.billing]")]
        ) from None


def _numbered(form: BankCsv) -> dict[Column, int]:
    return {column: int(column) - 1 for column in form.columns}


def _named(form: BankCsv, header: Sequence[str], line: int) -> dict[Column, int]:
    places = {_plain(name): place for place, name in reversed(list(enumerate(header)))}
    missing = [str(column) for column in form.columns if _plain(str(column)) not in places]
    if missing:
        there = ", ".join(name.strip() for name in header if name.strip()) or "nothing"
        raise BankFileError(
            [
                Mistake(line, f"there is no column {name!r} among {there}; name it in `bank` of [isp.billing]")
                for name in missing
            ]
        )
    return {column: places[_plain(str(column))] for column in form.columns}


def _with_currency(form: BankCsv, header: Sequence[str]) -> BankCsv:
    """Return how a file is written; a column that is called so says the currency, also where nobody named it."""
    found = next((name for name in header if _plain(name) in USUAL_CURRENCIES), None)
    return form if found is None or form.currency is not None else replace(form, currency=_plain(found))


def _plain(name: str) -> str:
    return name.strip().casefold()


def _entry(row: Sequence[str], places: dict[Column, int], form: BankCsv, currency: str, line: int) -> BankEntry:
    def cell(column: Column | None) -> str:
        if column is None:
            return ""
        place = places[column]
        if place >= len(row):
            raise _Wrong(f"has {len(row)} columns, and {column!r} would be the {place + 1}.")
        value = row[place]
        if "\x00" in value or len(value) > LONGEST_FIELD:
            raise _Wrong(f"{column!r} is no text of a bank")
        return _SPACES.sub(" ", value).strip()

    money = cell(form.currency).upper() or currency
    if not _CURRENCY.fullmatch(money):
        raise _Wrong(f"{money!r} is no currency")
    return BankEntry(
        line=line,
        booked_on=_day(cell(form.date), form.date_format),
        amount=_signed(cell, form, money),
        currency=money,
        text=" ".join(filter(None, map(cell, form.reference))),
        payer=cell(form.payer),
        account=form.account.replace(" ", ""),
        bank_reference=cell(form.bank_reference),
    )


def _signed(cell: Callable[[Column | None], str], form: BankCsv, currency: str) -> int:
    """Return what came in less what went out."""
    if form.debit is None:
        return _amount(cell(form.amount), form.decimal, currency)
    came, went = cell(form.amount), cell(form.debit)
    if not came and not went:
        raise _Wrong("has no amount")
    received, paid = (_amount(each, form.decimal, currency) if each else 0 for each in (came, went))
    return received - abs(paid)


def _day(text: str, form: str) -> date:
    try:
        return datetime.strptime(text, form).date()  # noqa: DTZ007 - a day of the bank has no zone
    except ValueError:
        raise _Wrong(f"{text!r} is no date as {form}; see `date_format`") from None


def _amount(text: str, decimal: str, currency: str) -> int:
    """Return minor units; thousands may be separated, in threes, and the sign may follow."""
    plain = text.replace(" ", "").replace("\N{MINUS SIGN}", "-").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if plain.endswith(("-", "+")):
        plain = plain[-1] + plain[:-1]
    if not _NUMBERS[decimal].fullmatch(plain):
        raise _Wrong(f"{text!r} is no amount with decimal {decimal!r}")
    thousands = "." if decimal == "," else ","
    exact = minor_units(Decimal(plain.replace(thousands, "").replace("'", "").replace(decimal, ".")), currency)
    if exact.denominator != 1:
        raise _Wrong(f"{text!r} has more decimals than {currency}; see `decimal`")
    return exact.numerator
