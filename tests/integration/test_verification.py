"""Documents that somebody changed behind the database's back are found, whatever was changed."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy

from storage.billing import payments, verification
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, bill, customer, provide, rows, sold

NUMBER = "F2026-000002"
OF_IT = f"(SELECT id FROM document WHERE number = '{NUMBER}')"
WALLET = 'billing = { type = "prepaid-daily" }'


@pytest.fixture
def billed(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Provide invoices, a receipt, a proforma, a credit note and the document of a wallet's month."""
    provide(
        engine,
        HEAD,
        customer("ana", 'street = "Calle Ñ 1"'),
        customer("eva", 'billing = { proforma = true, language = "en" }'),
        customer("luis", WALLET),
        *(sold(name, "rent", "2026-01-01") for name in ("ana", "eva", "luis")),
    )
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    with engine.begin() as connection:
        payments.add(connection, Order(ids["luis"], 5000, "cash", "one"), date(2026, 1, 1))
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    provide(engine, HEAD, sold("ana", "rent", "2026-01-01", "ends = 2026-01-16"))
    bill(engine, "2026-02-01", "ana")
    with engine.begin() as connection:
        payments.add(connection, Order(ids["eva"], 593, "card", "two"), date(2026, 2, 3))
    kinds = {kind for (kind,) in rows(engine, "SELECT kind FROM document WHERE number IS NOT NULL")}
    assert kinds == {"invoice", "receipt", "proforma", "credit-note"}
    assert rows(engine, "SELECT count(*) FROM document WHERE posted_daily") == [(1,)]
    return engine


def found_after(engine: sqlalchemy.Engine, *statements: str) -> list[str]:
    """Change rows as the owner of the database can, return what is found, and take the changes back."""
    with engine.connect() as connection, connection.begin() as transaction:
        for table in ("document", "document_line"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey CASCADE")
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount > 0
        found = [each.what for each in verification.differences(connection)]
        transaction.rollback()
    return found


def test_what_nobody_changed_is_right(billed: sqlalchemy.Engine) -> None:
    assert verification.check_chains(billed) == []
    assert rows(billed, "SELECT DISTINCT digest_form FROM document") == [(2,)]


def test_a_changed_document_is_found_by_its_number(billed: sqlalchemy.Engine) -> None:
    of_document = (
        "net = net - 1, gross = gross - 1",
        "due_on = due_on + 1",
        "customer_id = customer_id + 1",
        "frozen = jsonb_set(frozen, '{buyer,name}', '\"Luis\"')",
        "language = 'fr'",
    )
    of_lines = (
        "text = 'something else'",
        "net = net - 1, tax = tax + 1",
        "quantity = 2",
        "ends = ends + 1",
        "taxes = '[]'",
    )
    changes = [f"UPDATE document SET {each} WHERE number = '{NUMBER}'" for each in of_document]
    changes += [f"UPDATE document_line SET {each} WHERE document_id = {OF_IT}" for each in of_lines]
    changes += [f"DELETE FROM document_line WHERE document_id = {OF_IT}"]
    for change in changes:
        assert [NUMBER in what for what in found_after(billed, change)] == [True], change


def test_a_forged_digest_or_day_breaks_the_chain(billed: sqlalchemy.Engine) -> None:
    for change in ("digest = sha256('forged')", "issued_on = issued_on - 1", "number = 'F2026-000009'"):
        found = found_after(billed, f"UPDATE document SET {change} WHERE number = '{NUMBER}'")
        assert any(what.startswith("link of") for what in found), change


def test_a_document_that_is_taken_out_is_missed(billed: sqlalchemy.Engine) -> None:
    (last,) = rows(billed, "SELECT max(number) FROM document WHERE kind = 'invoice'")[0]
    for number in ("F2026-000001", NUMBER, last):
        assert found_after(billed, f"DELETE FROM document WHERE number = '{number}'") != []


def test_the_database_refuses_to_change_any_word_of_a_line(billed: sqlalchemy.Engine) -> None:
    columns = [
        name
        for (name,) in rows(
            billed,
            """SELECT column_name FROM information_schema.columns
            WHERE table_name = 'document_line' AND data_type = 'text'""",
        )
    ]
    assert "text" in columns
    for name in columns:
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="never changes"), billed.begin() as connection:
            connection.exec_driver_sql(f"UPDATE document_line SET {name} = 'x' WHERE document_id = {OF_IT}")


def test_documents_of_before_are_followed_by_their_links(billed: sqlalchemy.Engine) -> None:
    """Their digests were made in another form, which cannot be made again."""
    older = f"UPDATE document SET digest_form = 1, frozen = '{{}}' WHERE number = '{NUMBER}'"
    assert found_after(billed, older) == []
    assert found_after(billed, older, "UPDATE document SET digest = sha256('forged')") != []
