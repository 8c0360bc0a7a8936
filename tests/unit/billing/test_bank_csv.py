"""What the rows of a bank's CSV file say, as their columns are described."""

from __future__ import annotations

import pytest

from billing import bank_csv
from billing.bank_file import LARGEST_FILE_OCTETS, BankFileError, keys
from domain.bank import BankCsv

SPANISH = BankCsv(
    date="Fecha", date_format="%d/%m/%Y", amount="Importe", decimal=",", reference=("Concepto", "Referencia"),
    payer="Ordenante", encoding="iso-8859-15", skip_lines=2,
)  # fmt: skip


def read(text: str, form: BankCsv = BankCsv(), encoding: str = "utf-8") -> list[tuple[object, ...]]:  # noqa: B008
    entries = bank_csv.parse(text.encode(encoding), form, "EUR")
    return [(each.line, each.booked_on.isoformat(), each.amount, each.text) for each in entries]


def test_the_defaults_read_a_plain_file_with_any_usual_delimiter() -> None:
    for delimiter in ",;\t":
        text = f"date{delimiter}amount{delimiter}reference\n2026-01-20{delimiter}12.10{delimiter}F2026-000001\n"
        assert read(text) == [(2, "2026-01-20", 1210, "F2026-000001")]


def test_a_file_of_a_spanish_bank_is_read_as_described() -> None:
    text = (
        "Cuenta;ES91\n\nFecha;Concepto;Referencia;Ordenante;Importe\n"
        "20/01/2026;Fibra  Peña;17;Ana;1.212,10\n\n21/01/2026;Luz;;;-50,00\n"
    )
    assert read(text, SPANISH, "iso-8859-15") == [
        (4, "2026-01-20", 121210, "Fibra Peña 17"), (6, "2026-01-21", -5000, "Luz"),
    ]  # fmt: skip


def test_dollars_are_not_taken_for_euro_where_nobody_named_the_column() -> None:
    for name in ("Currency", "divisa", "Moneda"):
        text = f"date,amount,reference,{name}\n2026-01-20,5,one,USD\n2026-01-20,5,two,\n"
        found = [each.currency for each in bank_csv.parse(text.encode(), BankCsv(), "EUR")]
        assert found == ["USD", "EUR"]


def test_columns_may_be_numbers_and_debits_a_column_of_their_own() -> None:
    form = BankCsv(date=1, amount=3, debit=2, reference=(4,))
    assert read("2026-01-20,,5,came\n2026-01-21,7,,went\n", form) == [
        (1, "2026-01-20", 500, "came"), (2, "2026-01-21", -700, "went"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "decimal", "minor"),
    [
        ("1,234.50", ".", 123450), ("1'234.56-", ".", -123456), ("1.234", ",", 123400), ("1 234,5", ",", 123450),
        ("+7", ".", 700), ("1,5", ".", None), ("1.234.5", ",", None), ("1e3", ".", None), ("", ".", None),
    ],
)  # fmt: skip
def test_amounts_are_read_by_their_decimal_sign(written: str, decimal: str, minor: int | None) -> None:
    document = f"date;amount;reference\n2026-01-20;{written};x\n".encode()
    form = BankCsv(decimal=decimal, delimiter=";")
    if minor is None:
        with pytest.raises(BankFileError, match="is no amount with decimal"):
            bank_csv.parse(document, form, "EUR")
    else:
        assert bank_csv.parse(document, form, "EUR")[0].amount == minor


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-01-20", "there is no column 'date' among 2026-01-20"),
        ("date,amount,reference\n20/01/2026,1,\n2026-01-20,1x,\n", "2 mistakes: line 2: '20/01/2026' is no date"),
        ("date,amount,reference\n2026-01-20,1.234,\n", "line 2: '1.234' has more decimals than EUR"),
        ("date,amount,reference\n2026-01-20,1\n", "line 2: has 2 columns"),
        ('date,amount,reference\n2026-01-20,1,"open\n', "is no CSV"),
        ("", "line 1: there is no header"),
    ],
)
def test_mistakes_are_told_with_their_lines(text: str, message: str) -> None:
    with pytest.raises(BankFileError, match=message):
        read(text)


def test_lines_that_are_skipped_are_counted_too() -> None:
    named = "Fecha;Concepto;Referencia;Ordenante;Importe"
    for rows, message in (("\n", "line 3: there is no header"), (f'{named}\n"open\n', "line 4: is no CSV")):
        with pytest.raises(BankFileError, match=message):
            read(f"Cuenta;ES91\n\n{rows}", SPANISH, "iso-8859-15")


def test_a_delimiter_that_was_told_is_the_one() -> None:
    text = "date;amount;reference;a,b,c,d\n2026-01-20;5;x;\n"
    assert read(text, BankCsv(delimiter=";")) == [(2, "2026-01-20", 500, "x")]


def test_a_row_without_any_amount_and_one_that_is_too_short_are_told() -> None:
    form = BankCsv(date=1, amount=3, debit=2, reference=(4,))
    for row, message in (
        ("2026-01-20,,,x", "has no amount"),
        ("2026-01-20,,5", "has 3 columns, and 4 would be the 4."),
    ):
        with pytest.raises(BankFileError, match=message):
            read(f"{row}\n", form)


def test_the_column_of_the_currency_is_the_one_that_was_told() -> None:
    text = b"date,amount,reference,Currency,Coin\n2026-01-20,5,one,USD,GBP\n"
    assert [each.currency for each in bank_csv.parse(text, BankCsv(currency="Coin"), "EUR")] == ["GBP"]


def test_of_two_columns_of_one_name_the_first_is_read() -> None:
    assert read("date,amount,reference,Amount\n2026-01-20,5,x,9\n") == [(2, "2026-01-20", 500, "x")]


@pytest.mark.parametrize("said", ["a\x00b", "x" * (bank_csv.LONGEST_FIELD + 1)])
def test_what_no_bank_writes_is_refused(said: str) -> None:
    with pytest.raises(BankFileError, match="line 2: 'reference' is no text of a bank"):
        read(f"date,amount,reference\n2026-01-20,5,{said}\n")


def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(BankFileError, match="line 1: has more than 64 MiB; divide it"):
        bank_csv.parse(bytes(LARGEST_FILE_OCTETS + 1), BankCsv(), "EUR")


def test_a_file_in_another_encoding_is_refused_and_not_guessed() -> None:
    with pytest.raises(BankFileError, match="line 2: is not utf-8"):
        bank_csv.parse("date,amount,reference\n2026-01-20,1,Peña\n".encode("latin-1"), BankCsv(), "EUR")


def test_equal_rows_of_a_day_are_two_and_a_longer_file_brings_only_what_is_new() -> None:
    row = "2026-01-20,5,coffee\n"
    first, longer = (
        keys(bank_csv.parse(f"date,amount,reference\n{row * count}".encode(), BankCsv(), "EUR")) for count in (2, 3)
    )
    assert len({*first}) == 2
    assert len({*longer} - {*first}) == 1
