"""What a bank's file says: the entries of an account, and what makes each of them known again.

Rule: an entry is known by its account and the bank's own reference; one without a reference by all that it says, and by
how many alike came before it in its statement. So two equal payments of a day are two, and a file that comes again, or
that overlaps another, brings nothing twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import NamedTuple

from billing.errors import BillingError

LARGEST_FILE_OCTETS = 64 * 1024 * 1024
"""Some 50,000 entries of CAMT.053; a bank that has more divides them over several files."""
MOST_PROBLEMS = 1000


class Mistake(NamedTuple):
    """What is wrong at a line of a file."""

    line: int
    message: str


class BankFileError(BillingError):
    """A file of a bank cannot be read; `mistakes` are all that were found, by line."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "1 mistake"
        first = mistakes[0]
        super().__init__(f"the file has {count}: line {first.line}: {first.message}")
        self.mistakes = tuple(mistakes[:MOST_PROBLEMS])


@dataclass(frozen=True, slots=True)
class BankEntry:
    """Money that came in (`amount` above nothing) or went out, in minor units."""

    line: int
    booked_on: date
    amount: int
    currency: str
    text: str = ""
    """What the payer wrote."""
    references: tuple[str, ...] = ()
    """What the payer's bank passed on as data: the creditor's reference, numbers of documents."""
    end_to_end: str = ""
    payer: str = ""
    payer_account: str = ""
    account: str = ""
    statement: str = ""
    bank_reference: str = ""
    part: str = ""
    """Which of the transactions of a batch."""
    is_reversal: bool = False
    """Whether it takes back one that was booked before: a direct debit that was returned."""


def keys(entries: Iterable[BankEntry]) -> list[bytes]:
    """Return what each entry is known by, in order; entries that are one and the same have one key."""
    seen: Counter[tuple[object, ...]] = Counter()
    found = []
    for entry in entries:
        said: tuple[object, ...] = (entry.account, entry.booked_on.isoformat(), entry.amount, entry.currency)
        if entry.bank_reference:
            known_by: tuple[object, ...] = (*said, "reference", entry.bank_reference, entry.part)
        else:
            said = (*said, entry.text, entry.references, entry.end_to_end, entry.payer, entry.payer_account)
            counted = (entry.statement, *said)
            seen[counted] += 1
            known_by = (*said, "number", seen[counted])
        found.append(sha256(json.dumps(known_by).encode()).digest())
    return found
