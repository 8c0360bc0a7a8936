"""Where the columns of a bank's CSV file are.

Rule: a column is the name that the header gives it, or its number from 1 on in a file without a header.
"""

from __future__ import annotations

from dataclasses import dataclass

Column = str | int


@dataclass(frozen=True, slots=True)
class BankCsv:
    """How a bank writes its CSV files; a column that is None is not there."""

    date: Column = "date"
    date_format: str = "%Y-%m-%d"
    amount: Column = "amount"
    """Credits are positive, or stand in it alone where there is `debit`."""
    debit: Column | None = None
    decimal: str = "."
    reference: tuple[Column, ...] = ("reference",)
    """Everything that the payer wrote."""
    payer: Column | None = None
    currency: Column | None = None
    """None: the ISP's."""
    bank_reference: Column | None = None
    """What the bank itself calls an entry, no two alike."""
    delimiter: str | None = None
    """None: a comma, semicolon or tab, whichever the first line has most of."""
    encoding: str = "utf-8"
    skip_lines: int = 0
    account: str = ""
    """IBAN of the account, where several have files of this kind."""

    @property
    def has_header(self) -> bool:
        """Tell whether the first line names the columns."""
        return isinstance(self.date, str)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column that must be there."""
        single = (self.date, self.amount, self.debit, self.payer, self.currency, self.bank_reference)
        return (*(column for column in single if column is not None), *self.reference)
