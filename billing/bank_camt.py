"""Decides what a bank's statement in CAMT.053 says (ISO 20022, camt.053.001.02 and later).

Rule: pure; a document type is refused, so no entity is ever expanded and nothing is fetched. Only what is booked counts
(BOOK); a batch is divided into its transactions where their amounts sum to it. Names are read without their namespace:
what is read has kept its place in all versions, or has two that both are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from billing.bank_file import LARGEST_FILE_OCTETS, BankEntry, BankFileError, Mistake
from domain.money import minor_units

DEEPEST = 64
"""The standard nests some 20 elements."""
LONGEST_TEXT = 2000
_NAMESPACE = re.compile(r"urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.[0-9]{2}")
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]+)?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_NO_REFERENCE = frozenset({"NOTPROVIDED", "NONREF", "NOTAVAILABLE"})
_SPACES = re.compile(r"\s+")
_SEPARATOR = " "


class _Wrong(ValueError):
    """An entry that cannot be read."""


def parse(document: bytes) -> list[BankEntry]:
    """Return the booked entries of a file. Raise BankFileError."""
    if len(document) > LARGEST_FILE_OCTETS:
        raise BankFileError([Mistake(1, f"has more than {LARGEST_FILE_OCTETS // 1024**2} MiB; divide it")])
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except expat.ExpatError as error:
        raise BankFileError([Mistake(error.lineno, f"is no XML: {expat.ErrorString(error.code)}")]) from None
    if reader.mistakes:
        raise BankFileError(reader.mistakes)
    return reader.entries


class _Reader:
    """Gathers the children of each statement, one at a time."""

    def __init__(self) -> None:
        self.entries: list[BankEntry] = []
        self.mistakes: list[Mistake] = []
        self.parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_type
        self.parser.EntityDeclHandler = self._refuse_type
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self._path: list[str] = []
        self._builder: TreeBuilder | None = None
        self._line = 0
        self._account = self._statement = ""

    def _refuse_type(self, *_: object) -> None:
        raise BankFileError(
            [Mistake(self.parser.CurrentLineNumber, "has a document type, which no statement of a bank has")]
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(_SEPARATOR)
        if not self._path and not (local == "Document" and _NAMESPACE.fullmatch(namespace)):
            raise BankFileError(
                [Mistake(self.parser.CurrentLineNumber, f"is no camt.053 statement but {namespace or local!r}")]
            )
        if len(self._path) >= DEEPEST:
            raise BankFileError([Mistake(self.parser.CurrentLineNumber, f"is nested deeper than {DEEPEST}")])
        if self._path[-1:] == ["Stmt"]:
            self._builder, self._line = TreeBuilder(), self.parser.CurrentLineNumber
        elif local == "Stmt":
            self._account = self._statement = ""
        self._path.append(local)
        if self._builder is not None:
            self._builder.start(local, attributes)

    def _data(self, data: str) -> None:
        if self._builder is not None:
            self._builder.data(data)

    def _end(self, _name: str) -> None:
        local = self._path.pop()
        if self._builder is None:
            return
        self._builder.end(local)
        if self._path[-1] == "Stmt":
            self._take(self._builder.close())
            self._builder = None

    def _take(self, element: Element) -> None:
        if element.tag == "Id":
            self._statement = (element.text or "").strip()
        elif element.tag == "Acct":
            self._account = _first(element, "Id/IBAN", "Id/Othr/Id").replace(" ", "")
        elif element.tag == "Ntry":
            try:
                self.entries += _entries(element, self._line, self._account, self._statement)
            except _Wrong as wrong:
                self.mistakes.append(Mistake(self._line, str(wrong)))


def _entries(entry: Element, line: int, account: str, statement: str) -> Iterator[BankEntry]:
    """Yield what an entry says, divided into its transactions; nothing of one that is not booked."""
    if _first(entry, "Sts/Cd", "Sts") != "BOOK":
        return
    amount = _amount(entry.find("Amt"), "the entry")
    if amount is None:
        raise _Wrong("has no amount")
    signed, currency = _sign(entry, entry) * amount[0], amount[1]
    details = entry.findall("NtryDtls/TxDtls")
    booked_on = _day(entry)
    parts = _parts(entry, details, signed, currency)
    reference = _reference(_first(entry, "AcctSvcrRef"))
    for number, (part, part_amount) in enumerate(parts):
        own = "" if part is None else _reference(_first(part, "Refs/AcctSvcrRef"))
        is_part = len(parts) > 1
        yield BankEntry(
            line=line,
            booked_on=booked_on,
            amount=part_amount,
            currency=currency,
            account=account,
            statement=statement,
            bank_reference=reference or own,
            # Several may stand under the reference of their entry; their order within it does not change.
            part=f"{number}" if is_part and reference else "",
            is_reversal=_is_reversal(entry, part),
            **_said(entry, part, is_part=is_part),
        )


def _parts(entry: Element, details: list[Element], signed: int, currency: str) -> list[tuple[Element | None, int]]:
    """Return the transactions of an entry with their signed amounts, or the entry as a whole."""
    if len(details) == 1:
        return [(details[0], signed)]
    found: list[tuple[Element | None, int]] = []
    for each in details:
        amount = next(
            (
                read
                for path in ("Amt", "AmtDtls/TxAmt/Amt", "AmtDtls/InstdAmt/Amt")
                if (read := _amount(each.find(path), "a transaction")) is not None and read[1] == currency
            ),
            None,
        )
        if amount is None:
            return [(None, signed)]
        found.append((each, _sign(each, entry) * amount[0]))
    return found if found and sum(part for _, part in found) == signed else [(None, signed)]


def _said(entry: Element, part: Element | None, *, is_part: bool) -> dict[str, Any]:
    """Return what the payer and the banks wrote about a transaction."""
    if part is None:
        return {"text": _joined(entry.findall("AddtlNtryInf"))}
    structured = part.findall("RmtInf/Strd/CdtrRefInf/Ref") + part.findall("RmtInf/Strd/RfrdDocInf/Nb")
    notes = part.findall("AddtlTxInf") + ([] if is_part else entry.findall("AddtlNtryInf"))
    return {
        "text": _joined(part.findall("RmtInf/Ustrd") + part.findall("RmtInf/Strd/AddtlRmtInf") + notes),
        "references": tuple(text for each in structured if (text := _text(each))),
        "end_to_end": _reference(_first(part, "Refs/EndToEndId")),
        "payer": _first(part, "RltdPties/Dbtr/Pty/Nm", "RltdPties/Dbtr/Nm"),
        "payer_account": _first(part, "RltdPties/DbtrAcct/Id/IBAN"),
    }


def _is_reversal(entry: Element, part: Element | None) -> bool:
    returned = part is not None and part.find("RtrInf") is not None
    return returned or _first(entry, "RvslInd").lower() in ("true", "1")


def _sign(element: Element, entry: Element) -> int:
    indicator = _first(element, "CdtDbtInd") or _first(entry, "CdtDbtInd")
    if indicator not in ("CRDT", "DBIT"):
        raise _Wrong("says neither CRDT nor DBIT")
    return 1 if indicator == "CRDT" else -1


def _amount(element: Element | None, whose: str) -> tuple[int, str] | None:
    if element is None:
        return None
    text, currency = _text(element), element.get("Ccy", "")
    if not _AMOUNT.fullmatch(text) or not _CURRENCY.fullmatch(currency):
        raise _Wrong(f"{text!r} {currency!r} is no amount of {whose}")
    exact = minor_units(Decimal(text), currency)
    if exact.denominator != 1:
        raise _Wrong(f"{text} has more decimals than {currency}")
    return exact.numerator, currency


def _day(entry: Element) -> date:
    text = _first(entry, "BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm")
    try:
        return date.fromisoformat(text[: len("2027-01-31")])
    except ValueError:
        raise _Wrong(f"{text!r} is no day of booking") from None


def _reference(text: str) -> str:
    return "" if text.upper() in _NO_REFERENCE else text


def _first(element: Element, *paths: str) -> str:
    """Return the text at the first of the paths where there is one."""
    return next((text for path in paths if (found := element.find(path)) is not None and (text := _text(found))), "")


def _joined(elements: list[Element]) -> str:
    return " ".join(filter(None, map(_text, elements)))[:LONGEST_TEXT]


def _text(element: Element) -> str:
    return _SPACES.sub(" ", element.text or "").strip()[:LONGEST_TEXT]
