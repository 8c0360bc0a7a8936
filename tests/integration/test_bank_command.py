"""`caudal bank`, over a real socket and a real database."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy

from tests.integration.billed_isp import rows
from tests.integration.control_daemon import command
from tests.integration.test_control_billing import FIRST, Command, caudal
from tests.unit.billing.camt_file import detail, entry, statement

__all__ = ["caudal", "command"]


def test_a_clerk_imports_a_statement_and_settles_what_is_left(
    caudal: Command, engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    caudal("invoice", "run", "--date", str(FIRST))
    number = rows(engine, "SELECT number FROM document JOIN customer AS c ON c.id = customer_id WHERE login = 'ana'")
    file = tmp_path / "statement.xml"
    file.write_bytes(statement(entry("12.10", detail(text=str(number[0][0]))), entry("3", detail(text="regalo"))))
    assert "2 entries: would book 1, 12.10 EUR" in caudal("bank", "import", str(file), "--dry-run").out
    assert rows(engine, "SELECT count(*) FROM bank_entry") == [(0,)]
    done = caudal("bank", "import", str(file))
    assert "2 entries: booked 1, 12.10 EUR" in done.out
    assert "1 left open" in done.err
    assert "2 known already: booked 0" in caudal("bank", "import", str(file)).out
    (left,) = caudal("bank", "list", "--open", "--json").json
    assert (left["amount"], left["why"]) == ("3.00", "names no invoice and no customer")
    assert "3.00 EUR of luis" in caudal("bank", "assign", str(left["id"]), "luis").out
    assert "was booked as payment" in caudal("bank", "ignore", str(left["id"]), "--reason", "none").err


def test_an_entry_in_another_currency_is_assigned_for_what_it_is_worth(
    caudal: Command, engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    caudal("invoice", "run", "--date", str(FIRST))
    file = tmp_path / "statement.xml"
    file.write_bytes(statement(entry("10", detail(text="luis")).replace("EUR", "USD")))
    assert "1 left open" in caudal("bank", "import", str(file)).err
    (left,) = caudal("bank", "list", "--open", "--json").json
    assert "assign it with --rate or --worth" in left["why"]
    refused = caudal("bank", "assign", str(left["id"]), "luis")
    assert "the account is in EUR: say what 10.00 USD are worth" in refused.err
    told = "9.26 EUR of luis, came as 10.00 USD"
    assert told in caudal("bank", "assign", str(left["id"]), "luis", "--rate", "0.926").out
    assert rows(engine, "SELECT amount, currency FROM payment") == [(926, "EUR")]


def test_a_bad_file_is_told_by_line_and_changes_nothing(
    caudal: Command, engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    file = tmp_path / "bank.csv"
    file.write_text("date;amount;reference\n2026-01-20;5;ana\ntomorrow;5;ana\n")
    refused = caudal("bank", "import", str(file))
    assert f"{file}:3: 'tomorrow' is no date" in refused.err
    assert "the file has 1 mistake; nothing was changed" in refused.err
    assert rows(engine, "SELECT count(*) FROM bank_entry") == [(0,)]
