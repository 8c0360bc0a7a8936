"""What a statement in CAMT.053 says, version by version, and what is refused of it."""

from __future__ import annotations

import pytest

from billing import bank_camt
from billing.bank_file import LARGEST_FILE_OCTETS, BankFileError, keys
from tests.unit.billing.camt_file import IBAN, NAMESPACE, detail, entry, statement


@pytest.mark.parametrize("version", ["02", "03", "04", "06", "08", "10"])
def test_a_credit_is_read_from_every_version(version: str) -> None:
    status = "BOOK" if version < "07" else "<Cd>BOOK</Cd>"
    name = "<Nm>Ana</Nm>" if version < "07" else "<Pty><Nm>Ana</Nm></Pty>"
    details = detail(f"<RltdPties><Dbtr>{name}</Dbtr></RltdPties>", text="F2026-000001", end_to_end="E1")
    (read,) = bank_camt.parse(statement(entry("12.10", details, status=status, reference="B1"), version=version))
    assert (read.amount, read.currency, read.booked_on.isoformat(), read.payer) == (1210, "EUR", "2026-01-20", "Ana")
    assert (read.text, read.end_to_end, read.bank_reference) == ("F2026-000001", "E1", "B1")
    assert (read.account, read.statement, read.is_reversal) == (IBAN, "S1", False)


def test_what_is_only_announced_is_left_out() -> None:
    assert bank_camt.parse(statement(entry("1", status="PDNG"), entry("1", status="<Cd>INFO</Cd>"))) == []


@pytest.mark.parametrize(
    "amount", ['<Amt Ccy="EUR">{}</Amt>', '<AmtDtls><TxAmt><Amt Ccy="EUR">{}</Amt></TxAmt></AmtDtls>']
)
def test_a_batch_is_divided_into_its_transactions(amount: str) -> None:
    first, second = (detail(amount.format(part), text=text) for part, text in (("10.00", "a"), ("2.10", "b")))
    read = bank_camt.parse(statement(entry("12.10", first, second, reference="B1")))
    assert [(each.amount, each.text) for each in read] == [(1000, "a"), (210, "b")]
    assert len({*keys(read)}) == 2


def test_a_part_of_a_batch_may_go_the_other_way_and_has_a_reference_of_its_own() -> None:
    parts = [("15.00", "CRDT", "P1"), ("2.90", "DBIT", "P2")]
    details = [
        detail(f'<Refs><AcctSvcrRef>{of}</AcctSvcrRef></Refs><Amt Ccy="EUR">{part}</Amt><CdtDbtInd>{way}</CdtDbtInd>')
        for part, way, of in parts
    ]
    for reference, expected in (("", ["P1", "P2"]), ("B1", ["B1", "B1"])):
        read = bank_camt.parse(statement(entry("12.10", *details, reference=reference)))
        assert [(each.amount, each.bank_reference) for each in read] == [*zip((1500, -290), expected, strict=True)]
        assert len({*keys(read)}) == 2


def test_a_batch_whose_parts_do_not_sum_to_it_stays_whole() -> None:
    parts = [detail(f'<Amt Ccy="{currency}">10</Amt>', text="a") for currency in ("EUR", "USD")]
    dollars = [detail(f'<Amt Ccy="{currency}">{part}</Amt>') for currency, part in (("USD", "10"), ("EUR", "2.10"))]
    for details in (parts, [parts[0], parts[0]], [detail(text="a"), detail(text="b")], dollars):
        assert [each.amount for each in bank_camt.parse(statement(entry("12.10", *details)))] == [1210]


def test_a_returned_debit_is_a_reversal_whether_flagged_or_told_by_its_reason() -> None:
    flagged = entry("5", detail(end_to_end="D1"), direction="DBIT", more="<RvslInd>true</RvslInd>")
    told = entry("5", detail("<RtrInf><Rsn><Cd>AM04</Cd></Rsn></RtrInf>", end_to_end="D1"), direction="DBIT")
    plain = entry("5", detail(), direction="DBIT")
    assert [(each.amount, each.is_reversal) for each in bank_camt.parse(statement(flagged, told, plain))] == [
        (-500, True), (-500, True), (-500, False),
    ]  # fmt: skip


def test_structured_references_and_missing_ones_are_told_apart() -> None:
    structured = "<RmtInf><Strd><CdtrRefInf><Ref>RF18539007547034</Ref></CdtrRefInf></Strd></RmtInf>"
    (read,) = bank_camt.parse(statement(entry("5", detail(structured, end_to_end="NOTPROVIDED"), reference="NONREF")))
    assert (read.references, read.end_to_end, read.bank_reference) == (("RF18539007547034",), "", "")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (statement(entry("1"), before=BOMB), "line 1: has a document type"),
        (statement(before='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "document type"),
        (statement().replace(b"camt.053", b"camt.052"), "is no camt.053 statement but 'urn:"),
        (bytes(LARGEST_FILE_OCTETS + 1), "line 1: has more than 64 MiB; divide it"),
        (b"<html/>", "is no camt.053 statement but 'html'"),
        (statement(entry("1"))[:-20], "is no XML"),
        (b"", "is no XML"),
        (f'<Document xmlns="{NAMESPACE}02">{"<a>" * 100}'.encode(), "nested deeper than 64"),
        (statement(entry("1"), entry("1,50"), entry("1.234")), "2 mistakes: line 4: '1,50' 'EUR' is no amount"),
        (statement(entry("1")).replace(b'<Amt Ccy="EUR">1</Amt>', b""), "line 3: has no amount"),
        (statement(entry("1", day="yesterday")), "is no day of booking"),
        (statement(entry("1", direction="BOTH")), "says neither CRDT nor DBIT"),
    ],
)
def test_what_is_no_statement_is_refused_with_its_line(document: bytes, message: str) -> None:
    with pytest.raises(BankFileError, match=message):
        bank_camt.parse(document)


def test_two_equal_entries_are_two_and_come_again_as_the_same_two() -> None:
    same = entry("5", detail(text="coffee"))
    first = keys(bank_camt.parse(statement(same, same)))
    assert len({*first}) == 2
    assert keys(bank_camt.parse(statement(same, entry("6"), same, name="S2")))[::2] == first, "an overlapping statement"
    referenced = entry("5", detail(text="coffee"), reference="B1")
    assert len({*keys(bank_camt.parse(statement(referenced, referenced)))}) == 1, "the bank says it is one"


def test_a_statement_that_stands_twice_in_a_file_brings_nothing_twice() -> None:
    one = statement(entry("5", detail(text="coffee")))
    body = one[one.index(b"<Stmt>") : one.index(b"</BkToCstmrStmt>")]
    both = one.replace(body, body + body.replace(b"<Id>S1<", b"<Id>S2<"))
    read = bank_camt.parse(both)
    assert len(read) == 2
    assert len({*keys(read)}) == 1
