"""Decides whose payment an entry of the bank is: by the number of an invoice, by a reference, by a login.

Rule: pure and exact. What an entry names must be written whole; only signs between letters and digits, and whether
letters are large, make no difference. An entry that names two customers is nobody's, and it is told why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from billing.bank_file import BankEntry

SHORTEST_NUMBER = 4
SHORTEST_DIGITS = 6
"""Within a text, shorter ones of digits alone are years, days and house numbers."""
LONGEST_NUMBER = 40
MOST_JOINED = 8
"""A reference of 25 signs in groups of four (ISO 11649) is seven words."""
SHORTEST_LOGIN = 4
_WORD = re.compile(r"[A-Za-z0-9]+")
_BOUND = ("-", "_")
"""Between them is no end of a number, so that what follows one is none of its own."""
_CREDITOR_REFERENCE = re.compile(r"RF[0-9]{2}[A-Z0-9]{1,21}")
_EDGES = ".,;:()[]<>\"'#*"


class Claim(NamedTuple):
    """An invoice that an entry may name."""

    document_id: int
    customer_id: int
    login: str
    number: str
    open_amount: int


class Span(NamedTuple):
    """Words of a text, from one up to another, as one compact number."""

    start: int
    end: int
    number: str


class Payer(NamedTuple):
    """Who pays for a login."""

    customer_id: int
    login: str


@dataclass(frozen=True, slots=True)
class Match:
    """Whose an entry is and what it pays first; nobody's, and why."""

    customer_id: int | None
    document_ids: tuple[int, ...]
    why: str


def compact(number: str) -> str:
    """Return a number as it is compared: letters and digits alone, large."""
    return "".join(_WORD.findall(number)).upper()


def is_creditor_reference(text: str) -> bool:
    """Tell whether a text is a creditor reference whose check digits are right (ISO 11649, mod 97)."""
    if not _CREDITOR_REFERENCE.fullmatch(text):
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def numbers(entry: BankEntry) -> set[str]:
    """Return what might be the number of an invoice, compact."""
    return {number for spans in _spans(entry) for _, _, number in spans}


def words(entry: BankEntry) -> set[str]:
    """Return the words of an entry as they are written: numbers of invoices that are paid already."""
    return {word for text in (entry.text, entry.end_to_end, *entry.references) for word in _plain_words(text)}


def logins(entry: BankEntry) -> set[str]:
    """Return what might be a login, small.

    A name of letters alone counts only where it is all that was written: payers write their own names, too.
    """
    found = set()
    for text in (entry.text, entry.end_to_end, *entry.references):
        parts = _plain_words(text)
        alone = len(parts) == 1
        found |= {word.lower() for word in parts if alone or (len(word) >= SHORTEST_LOGIN and not word.isalpha())}
    return found


def match(entry: BankEntry, claims: Mapping[str, Sequence[Claim]], payers: Mapping[str, Sequence[Payer]]) -> Match:
    """Return whose an entry is; `claims` by compact number, `payers` by small login."""
    named = list(dict.fromkeys(claim for spans in _spans(entry) for claim in _named(spans, claims)))
    by_login = {payer for login in logins(entry) for payer in payers.get(login, ())}
    if len(by_login) == 1 and len({claim.customer_id for claim in named}) > 1:
        # Partners may number alike; the login says which of them is meant.
        (payer,) = by_login
        named = [claim for claim in named if claim.customer_id == payer.customer_id] or named
    customers = {Payer(claim.customer_id, claim.login) for claim in named} | by_login
    if not customers:
        return Match(None, (), "names no invoice and no customer")
    if len(customers) > 1:
        return Match(None, (), f"names several customers: {', '.join(sorted(login for _, login in customers))}")
    ((customer_id, login),) = customers
    if not named:
        return Match(customer_id, (), f"names the customer {login}")
    return Match(customer_id, tuple(claim.document_id for claim in named), _explained(entry, named))


def _explained(entry: BankEntry, named: Sequence[Claim]) -> str:
    """Say which invoices an entry names, and how its amount stands to what is open of them."""
    listed = ", ".join(claim.number for claim in named)
    opened = sum(claim.open_amount for claim in named)
    if not opened:
        return f"names {listed}, paid already: waits for the next invoice"
    if entry.amount == opened:
        return f"names {listed}: pays it whole"
    return f"names {listed}: pays {'a part' if entry.amount < opened else 'it whole, and more'}"


def _named(spans: Sequence[Span], claims: Mapping[str, Sequence[Claim]]) -> Iterator[Claim]:
    """Yield the invoices whose numbers are written in a text; what is part of a longer number is no number."""
    taken: set[int] = set()
    hits = [span for span in spans if span.number in claims]
    for span in sorted(hits, key=lambda span: (span.start - span.end, span.start)):
        places = range(span.start, span.end)
        if taken.isdisjoint(places):
            taken |= {*places}
            yield from claims[span.number]


def _spans(entry: BankEntry) -> Iterator[list[Span]]:
    """Yield what might be numbers, text by text: of references the whole, of what the payer wrote each run of words."""
    for reference in (*entry.references, entry.end_to_end):
        yield [*_read(0, 1, compact(reference))]
    found_words = [*_WORD.finditer(entry.text)]
    parts = [word[0].upper() for word in found_words]
    bound = {place for place, word in enumerate(found_words) if place and entry.text[word.start() - 1] in _BOUND}
    found = [*_read(0, len(parts), "".join(parts))]
    for start in range(len(parts)):
        if start in bound:
            continue
        number = ""
        for end in range(start, min(len(parts), start + MOST_JOINED)):
            number += parts[end]
            if end + 1 not in bound and len(number) >= (SHORTEST_DIGITS if number.isdigit() else SHORTEST_NUMBER):
                found += _read(start, end + 1, number)
    yield found


def _read(start: int, end: int, number: str) -> Iterator[Span]:
    """Yield a number, and what it refers to if it is a creditor reference."""
    if 0 < len(number) <= LONGEST_NUMBER:
        yield Span(start, end, number)
        if is_creditor_reference(number):
            yield Span(start, end, number[4:])


def _plain_words(text: str) -> list[str]:
    return [word for each in text.split() if (word := each.strip(_EDGES))]
