"""The invoice run when it is killed at any statement, when two run at once, and when accounts are broken."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from datetime import date, timedelta
from decimal import Decimal

import pytest
import sqlalchemy
from sqlalchemy import text

from config.isp import SubscriptionEntry
from daemon import invoice_runner
from storage.billing import numbers, provisioning, run, verification
from storage.database import create_engine
from tests.integration.billed_isp import HEAD, assert_books_are_right, customer, provide, rows, sold
from tests.integration.killed import Killed, killed_before

DAY = date(2026, 1, 1)
CUSTOMERS = 30


@pytest.fixture
def accounts(engine: sqlalchemy.Engine) -> int:
    """Provide some accounts with two lines each."""
    names = [f"c{number:02}" for number in range(CUSTOMERS)]
    provide(
        engine,
        HEAD,
        *(customer(name) for name in names),
        *(sold(name, product, "2026-01-01") for name in names for product in ("television", "rent")),
    )
    return CUSTOMERS


def assert_each_was_billed_once(engine: sqlalchemy.Engine, accounts: int) -> None:
    assert rows(engine, "SELECT count(*), count(DISTINCT customer_id) FROM document") == [(accounts, accounts)]
    given = [number for (number,) in rows(engine, "SELECT number FROM document ORDER BY position")]
    assert given == [f"F2026-{place:06}" for place in range(1, accounts + 1)]
    assert verification.check_chains(engine) == []
    assert_books_are_right(engine)
    assert run.bill_due(engine, DAY).documents == 0


def is_killed(dsn: str, number: int) -> bool:
    """Run and number as a process that dies before the statement of that number; tell whether there was one."""
    engine = create_engine(dsn)
    try:
        with killed_before(engine, number):
            run.bill_due(engine, DAY)
            numbers.number_waiting(engine, DAY)
    except Killed:
        return True
    finally:
        engine.dispose()
    return False


def test_i8_a_run_that_is_killed_at_any_statement_bills_nobody_twice(
    engine: sqlalchemy.Engine, database_dsn: str, accounts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ACCOUNTS_PER_TRANSACTION", 7)
    monkeypatch.setattr(numbers, "PER_TRANSACTION", 11)
    number = 1
    while is_killed(database_dsn, number):
        number += 3
        assert rows(engine, "SELECT count(*) - count(DISTINCT customer_id) FROM document") == [(0,)]
    assert number > 41, "every part of the run was killed"
    assert_each_was_billed_once(engine, accounts)


def test_n5_many_runs_at_once_bill_each_account_once_and_leave_no_gap(
    engine: sqlalchemy.Engine, accounts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ACCOUNTS_PER_TRANSACTION", 2)
    monkeypatch.setattr(numbers, "PER_TRANSACTION", 3)

    def work() -> None:
        run.bill_due(engine, DAY)
        numbers.number_waiting(engine, DAY)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers.number_waiting(engine, DAY)
    assert_each_was_billed_once(engine, accounts)
    days = [day for (day,) in rows(engine, "SELECT issued_on FROM document ORDER BY position")]
    assert days == sorted(days)


@pytest.mark.parametrize("passed", [2, 9, 23])
def test_n5_a_thousand_drafts_are_numbered_by_eight_workers_of_whom_one_is_killed(
    engine: sqlalchemy.Engine, database_dsn: str, monkeypatch: pytest.MonkeyPatch, passed: int
) -> None:
    monkeypatch.setattr(numbers, "PER_TRANSACTION", 13)
    provide(engine, HEAD)
    with engine.begin() as connection:
        for statement in _THOUSAND:
            connection.execute(text(statement), {"day": DAY})
    assert run.bill_due(engine, DAY).documents == 1000

    def work(place: int) -> None:
        own = create_engine(database_dsn)
        with contextlib.suppress(Killed), killed_before(own, passed + 1 if place == 0 else sys.maxsize):
            numbers.number_waiting(own, DAY + timedelta(days=place % 3))
        own.dispose()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = rows(engine, "SELECT number, issued_on FROM document ORDER BY position")
    assert [number for number, _ in given] == [f"F2026-{place:06}" for place in range(1, 1001)]
    days = [day for _, day in given]
    assert days == sorted(days)
    assert verification.check_chains(engine) == []
    assert_books_are_right(engine)


_THOUSAND = (
    "INSERT INTO customer (login, name) SELECT 'd' || n, 'Customer ' || n FROM generate_series(1, 1000) AS n",
    "INSERT INTO account (customer_id, currency, next_bill_on, state) SELECT id, 'EUR', :day, 'active' FROM customer",
    """INSERT INTO one_off (customer_id, product_id, on_day, unit_price)
        SELECT c.id, p.id, :day, 1 FROM customer AS c, product AS p WHERE p.code = 'rent'""",
)


def test_runners_are_processes_and_tell_what_they_did(
    engine: sqlalchemy.Engine, database_dsn: str, accounts: int
) -> None:
    *_, told = invoice_runner.bill(engine, database_dsn, DAY, runners=2)
    assert (told.accounts, told.documents, told.lines, told.parked) == (accounts, accounts, 2 * accounts, 0)
    assert told.totals == {"EUR": accounts * (1490 + 313)}
    assert_each_was_billed_once(engine, accounts)


def test_a_runner_whose_starter_is_gone_ends(database_dsn: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon.invoice_runner"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin is not None
    errand = f'{{"dsn": "{database_dsn}", "on": "2026-01-01", "slot": 0, "only_prepaid": false}}\n'
    process.stdin.write(errand.encode())
    process.stdin.close()
    assert process.wait(30) in (0, 1)


def test_an_account_that_cannot_be_billed_is_parked_and_the_others_go_on(
    engine: sqlalchemy.Engine, accounts: int
) -> None:
    broken = "UPDATE product SET document = '{\"taxes\": [\"iva\"]}' WHERE code = 'rent'"
    with engine.begin() as connection:
        connection.execute(text(broken))
        connection.execute(
            text("""UPDATE subscription_event SET unit_price = NULL, product_id = NULL
                WHERE subscription_id = (SELECT min(id) FROM subscription)""")
        )
        connection.execute(
            text("""INSERT INTO one_off (customer_id, product_id, on_day, unit_price)
                SELECT min(c.id), min(p.id), '2026-01-01', 1e30 FROM customer AS c, product AS p""")
        )
    progress = run.bill_due(engine, DAY)
    numbers.number_waiting(engine, DAY)
    assert (progress.accounts, progress.parked, progress.documents) == (accounts, 1, accounts - 1)
    (reason,) = rows(engine, "SELECT parked FROM account WHERE parked IS NOT NULL")[0]
    assert reason
    with engine.begin() as connection:
        connection.execute(text("UPDATE one_off SET unit_price = 1"))
        assert run.retry(connection, None, DAY) == 1
    assert run.bill_due(engine, DAY).documents == 1
    assert_books_are_right(engine)


def test_a_run_beside_a_file_that_is_applied_waits_for_nobody_and_parks_nobody(
    engine: sqlalchemy.Engine, accounts: int
) -> None:
    run.bill_due(engine, DAY)
    dearer = SubscriptionEntry("rent of c00", "c00", "rent", DAY, None, Decimal(1), Decimal(9), None)
    with engine.begin() as applying:
        provisioning.write_subscriptions(applying, [dearer], DAY)
        assert run.bill_due(engine, DAY).accounts == 0, "somebody else works on the account"
    progress = run.bill_due(engine, DAY)
    assert (progress.accounts, progress.parked, progress.documents) == (1, 0, 1)
    (net,) = rows(engine, "SELECT net FROM document ORDER BY id DESC LIMIT 1")[0]
    assert net == 900 - 490
    assert_books_are_right(engine)
    assert accounts


@pytest.mark.parametrize("pgcode", ["40P01", "40001"])
def test_what_the_database_ends_for_another_ones_sake_is_done_again(
    engine: sqlalchemy.Engine, accounts: int, pgcode: str
) -> None:
    function = f"""CREATE SEQUENCE ended;
        CREATE FUNCTION ends_twice() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF nextval('ended') <= 2 THEN RAISE EXCEPTION 'the other one' USING ERRCODE = '{pgcode}'; END IF;
        RETURN NEW; END $$;
        CREATE TRIGGER ends_twice BEFORE UPDATE ON subscription FOR EACH ROW EXECUTE FUNCTION ends_twice()"""
    with engine.begin() as connection:
        connection.exec_driver_sql(function)
    progress = run.bill_due(engine, DAY)
    assert (progress.accounts, progress.documents, progress.parked) == (accounts, accounts, 0)
    numbers.number_waiting(engine, DAY)
    assert_each_was_billed_once(engine, accounts)


def test_what_is_issued_and_posted_cannot_be_changed_by_anybody(engine: sqlalchemy.Engine, accounts: int) -> None:
    run.bill_due(engine, DAY)
    numbers.number_waiting(engine, DAY)
    columns = ", ".join(name for (name,) in rows(engine, _COLUMNS) if name not in ("id", "document_id", "revision"))
    gathered = "UPDATE document_line SET document_id = (SELECT min(id) FROM document)"
    added = f"INSERT INTO document_line (id, document_id, revision, {columns}) SELECT -id, {{}}, 9, {columns}"
    for statement in (
        f"{added.format('document_id')} FROM document_line",
        f"{added.format('NULL')} FROM document_line; {gathered} WHERE document_id IS NULL",
        "UPDATE document SET posted_daily = true",
        "UPDATE document SET paid_at_once = gross",
        "TRUNCATE document CASCADE",
        "TRUNCATE document_line CASCADE",
        "UPDATE document SET gross = gross + 1, net = net + 1",
        "UPDATE document SET number = 'X'",
        "DELETE FROM document",
        "UPDATE document_line SET net = 0",
        "DELETE FROM document_line",
        "UPDATE posting SET amount = 1",
        "DELETE FROM transfer",
        "TRUNCATE posting CASCADE",
    ):
        with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
            connection.execute(text(statement))
    assert_each_was_billed_once(engine, accounts)


def test_i5_the_same_line_a_second_time_is_refused_by_the_database(engine: sqlalchemy.Engine, accounts: int) -> None:
    run.bill_due(engine, DAY)
    columns = ", ".join(name for (name,) in rows(engine, _COLUMNS) if name not in ("id", "document_id"))
    copy = f"""INSERT INTO document_line (id, document_id, {columns})
        SELECT id + 1000000, document_id, {columns} FROM document_line ORDER BY id LIMIT 1"""
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="document_line_once"), engine.begin() as connection:
        connection.execute(text(copy))
    assert accounts


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = 'document_line'"


def test_n4_numbers_of_a_transaction_that_is_undone_are_given_again(engine: sqlalchemy.Engine, accounts: int) -> None:
    run.bill_due(engine, DAY)
    (series,) = rows(engine, "SELECT DISTINCT series_id FROM document")[0]
    with engine.connect() as connection, connection.begin() as transaction:
        assert numbers.number_some(connection, series, DAY) == accounts
        transaction.rollback()
    numbers.number_waiting(engine, DAY)
    assert_each_was_billed_once(engine, accounts)


def test_l2_an_unbalanced_transfer_is_refused_by_the_database_at_the_commit(
    engine: sqlalchemy.Engine, accounts: int
) -> None:
    run.bill_due(engine, DAY)
    with engine.connect() as connection:
        connection.execute(
            text("""WITH made AS (INSERT INTO transfer (id, posted_on, kind, partner_id, key)
                    SELECT max(id) + 1000, '2027-02-01', 'by-hand', 1, 'by-hand' FROM transfer RETURNING id)
                INSERT INTO posting (transfer_id, number, ledger_account_id, amount)
                SELECT made.id, number, (SELECT min(id) FROM ledger_account), 5 - number
                FROM made, generate_series(1, 4) AS number""")
        )
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="is not balanced"):
            connection.commit()
    assert accounts


@pytest.mark.parametrize("number", [0, 2, 9])
def test_l2_a_posting_is_never_added_to_a_transfer(engine: sqlalchemy.Engine, accounts: int, number: int) -> None:
    run.bill_due(engine, DAY)
    with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO posting (transfer_id, number, ledger_account_id, amount)
                SELECT min(t.id), :number, min(a.id), 1 FROM transfer AS t, ledger_account AS a"""),
            {"number": number},
        )
    assert accounts
