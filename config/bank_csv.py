"""Decides how is written how a bank writes its CSV files: `bank` of `[isp.billing]`.

Rule: columns are named, or all of them are numbered; a date is told by the signs of strftime.
"""

from __future__ import annotations

import codecs
from datetime import datetime

from config import checks
from config.problems import Mistake
from config.table import Table
from domain.bank import BankCsv, Column

MOST_COLUMNS = 200
MOST_SKIPPED = 1000
MOST_REFERENCES = 9
DECIMALS = (".", ",")
DELIMITERS = (",", ";", "\t", "|")
_NUMBER = checks.integer(1, MOST_COLUMNS)
_NAME = checks.text()
# Two digits of each, so that what was written can be read again.
_PROBE = datetime(2027, 11, 28)  # noqa: DTZ001 - a day without an hour has no zone


def read_bank_csv(table: Table | None) -> BankCsv:
    """Read the table; without one the defaults hold."""
    default = BankCsv()
    if table is None:
        return default
    take = table.take
    read = BankCsv(
        date=take("date", _column, default.date),
        date_format=take("date_format", _date_format, default.date_format),
        amount=take("amount", _column, default.amount),
        debit=take("debit", _column, None),
        decimal=take("decimal", _among(DECIMALS), default.decimal),
        reference=take("reference", _columns, default.reference),
        payer=take("payer", _column, None),
        currency=take("currency", _column, None),
        bank_reference=take("bank_reference", _column, None),
        delimiter=take("delimiter", _among(DELIMITERS), None),
        encoding=take("encoding", _encoding, default.encoding),
        skip_lines=take("skip_lines", checks.integer(0, MOST_SKIPPED, "lines"), 0),
        account=take("account", checks.text(), ""),
    )
    table.finish()
    if len({type(column) for column in read.columns}) > 1:
        table.report("must name all columns, or number all of them: date, amount and reference, too")
    return read


def _column(value: object) -> Column:
    return _NUMBER(value) if isinstance(value, int) and not isinstance(value, bool) else _NAME(value)


def _columns(value: object) -> tuple[Column, ...]:
    if not isinstance(value, list):
        return (_column(value),)
    if not 0 < len(value) <= MOST_REFERENCES:
        raise Mistake(f"must be a column, or a list of at most {MOST_REFERENCES}")
    return tuple(_column(each) for each in value)


def _among(choices: tuple[str, ...]) -> checks.Check[str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise Mistake(f"must be one of {checks.listed(choices)}, not {checks.show(value)}")

    return check


def _date_format(value: object) -> str:
    form = checks.text()(value)
    try:
        is_whole = datetime.strptime(_PROBE.strftime(form), form) == _PROBE  # noqa: DTZ007
    except ValueError:
        is_whole = False
    if not is_whole:
        raise Mistake(f'must hold day, month and year, such as "%d/%m/%Y", not {checks.show(value)}')
    return form


def _encoding(value: object) -> str:
    name = checks.text()(value)
    try:
        b"1".decode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        raise Mistake(f'must be an encoding such as "utf-8" or "iso-8859-15", not {checks.show(value)}') from None
