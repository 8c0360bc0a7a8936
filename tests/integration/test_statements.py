"""Statements of account: they are the books, on any day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.statement import Statement
from billing.statement_printing import statement_contents, statement_pdf
from storage.billing import clock, credit_notes, payments, statements
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, bill, customer, provide, rows, sold
from tests.integration.billing_command import Command, commands

BEGUN, ENDED = date(2026, 1, 1), date(2026, 3, 20)
days = st.dates(BEGUN - timedelta(days=3), ENDED + timedelta(days=3))


@pytest.fixture
def booked(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Provide a quarter of invoices, payments, refunds, credits, proformas and a wallet."""
    provide(
        engine,
        HEAD.replace("due_days = 15", "due_days = 15, seller = { name = 'Valdelagua SL' }"),
        customer("ana"),
        customer("eva", 'billing = { proforma = true, language = "en" }'),
        customer("luis", 'billing = { type = "prepaid-daily" }'),
        *(sold(name, "television", "2026-01-01") for name in ("ana", "eva", "luis")),
    )
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    for number, day in enumerate((BEGUN, date(2026, 1, 20), date(2026, 2, 1), date(2026, 2, 2), date(2026, 3, 1))):
        bill(engine, day.isoformat())
        with engine.begin() as connection:
            for login, id_ in ids.items():
                amount = 1000 + 300 * number
                order = Order(id_, amount, "cash", f"{login} {number}", f"month {number}")
                payments.add(connection, order, day + timedelta(days=1))
    with engine.begin() as connection:
        payments.give_back(connection, 1, 500, "back", date(2026, 3, 3))
        payments.give_back(connection, 4, None, "bounced", date(2026, 3, 4), is_reversal=True)
        (line,) = rows(
            engine,
            "SELECT min(l.id) FROM document_line AS l JOIN document AS d ON d.id = l.document_id"
            " WHERE d.kind = 'invoice' AND l.subscription_id IS NOT NULL AND l.amount > 0",
        )[0]
        credit_notes.credit(connection, line, 250, "credit", date(2026, 3, 5))
    bill(engine, "2026-03-20")
    return engine


def read(engine: sqlalchemy.Engine, login: str, first: date, last: date) -> Statement:
    with engine.connect() as connection:
        (customer_id,) = rows(engine, "SELECT id FROM customer WHERE login = :login", login=login)[0]
        return statements.read(connection, customer_id, first, last)


def in_the_books(engine: sqlalchemy.Engine, login: str, day: date) -> int:
    ((amount,),) = rows(
        engine,
        """SELECT coalesce(sum(p.amount), 0)::bigint FROM posting AS p JOIN transfer AS t ON t.id = p.transfer_id
        JOIN ledger_account AS a ON a.id = p.ledger_account_id JOIN customer AS c ON c.id = p.customer_id
        WHERE c.login = :login AND t.posted_on <= :day""",
        login=login,
        day=day,
    )
    return int(amount)


def test_what_stands_is_what_the_books_have_on_any_day(booked: sqlalchemy.Engine) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(["ana", "eva", "luis"]), st.tuples(days, days).map(sorted))
    def holds(login: str, between: list[date]) -> None:
        first, last = between
        found = read(booked, login, first, last)
        assert found.opening == in_the_books(booked, login, first - timedelta(days=1))
        assert found.closing == in_the_books(booked, login, last)
        assert found.closing - found.opening == sum(entry.movement.amount for entry in found.entries)
        assert all(first <= entry.movement.on <= last for entry in found.entries)

    holds()


def test_every_document_and_payment_is_in_it(booked: sqlalchemy.Engine) -> None:
    for login in ("ana", "eva", "luis"):
        found = read(booked, login, BEGUN, ENDED)
        expected = rows(
            booked,
            """SELECT d.number FROM document AS d JOIN customer AS c ON c.id = d.customer_id
            WHERE c.login = :login AND d.kind <> 'proforma' ORDER BY 1""",
            login=login,
        )
        numbers = sorted(entry.movement.number for entry in found.entries if entry.movement.number)
        assert numbers == [number for (number,) in expected]
        kept = rows(
            booked,
            """SELECT sum(b.amount)::bigint FROM balance AS b JOIN customer AS c ON c.id = b.customer_id
            WHERE c.login = :login""",
            login=login,
        )
        assert [(found.closing,)] == kept
    kinds = {
        entry.movement.kind for login in ("ana", "eva", "luis") for entry in read(booked, login, BEGUN, ENDED).entries
    }
    assert kinds == {"invoice", "credit-note", "payment", "refund", "reversal", "daily"}


def test_it_is_printed_in_both_languages(booked: sqlalchemy.Engine) -> None:
    texts = []
    for login in ("ana", "eva"):
        (customer_id,) = rows(booked, "SELECT id FROM customer WHERE login = :login", login=login)[0]
        with booked.connect() as connection:
            printed = statements.printed(connection, customer_id, BEGUN, ENDED, ENDED)
        assert statement_pdf(printed).startswith(b"%PDF")
        texts.append(str(statement_contents(printed)))
    assert all(
        word in texts[0] for word in ("Estado de cuenta", "Saldo anterior", "Pago (efectivo): month 0", "Valdelagua SL")
    )
    assert all(
        word in texts[1] for word in ("Statement of account", "Balance brought forward", "Payment (cash): month 0")
    )


@pytest.fixture
def caudal(
    booked: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Lend the command over the booked ISP."""
    with commands(booked, monkeypatch, capsys) as command:
        yield command


def test_the_command_shows_writes_and_prints_it(booked: sqlalchemy.Engine, caudal: Command, tmp_path: Path) -> None:
    span = ("--from", "2026-02-01", "--to", "2026-02-28")
    answer = caudal("statement", "ana", *span, "--json").json
    found = read(booked, "ana", date(2026, 2, 1), date(2026, 2, 28))
    assert [answer[key] for key in ("opening", "closing")] == [
        f"{found.opening / 100:.2f}", f"{found.closing / 100:.2f}",
    ]  # fmt: skip
    lines = caudal("statement", "ana", *span).out.splitlines()
    assert len(lines) == len(found.entries) + 3
    assert lines[-1].split()[:2] == ["2026-02-28", "closing"]
    with booked.connect() as connection:
        a_year_ago = clock.today(connection) - timedelta(days=365)
    assert caudal("statement", "ana").out.splitlines()[1].split()[0] == a_year_ago.isoformat()
    file = tmp_path / "statement.pdf"
    assert caudal("statement", "ana", *span, "--pdf", str(file)).status == 0
    assert file.read_bytes().startswith(b"%PDF")
    wrong = caudal("statement", "ana", "--from", "2026-03-01", "--to", "2026-02-01")
    assert (wrong.status, "before it begins" in wrong.err) == (1, True)
