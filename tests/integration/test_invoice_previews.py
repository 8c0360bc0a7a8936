"""Runs that are seen, confirmed and issued: by hand, by themselves, after a kill, and by two daemons."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, timedelta

import pytest
import sqlalchemy

from daemon import invoice_runner
from daemon.billing_day import BillingDay
from storage.billing import clock, invoice_runs, numbers, payments, run, trial
from storage.billing.invoice_runs import RunRefused
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold
from tests.integration.billing_command import commands, set_clock

WALLET = 'billing = { type = "prepaid-daily", credit_limit = "100" }'
Runs = list[tuple[str, str]]


class Killed(BaseException):
    """The process is gone."""


class Day:
    """A daemon's job of billing, over a database whose clock is moved."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine
        self.previews: list[date] = []
        self.after_billing: Callable[[], None] = lambda: None
        self._day = BillingDay(engine, self._bill, self._see)

    def _bill(self, on: date, only_prepaid: bool) -> None:
        run.bill_due(self.engine, on, only_prepaid=only_prepaid)
        self.after_billing()
        numbers.number_waiting(self.engine, on)
        if not only_prepaid:
            invoice_runs.mark_issued(self.engine, on)

    def _see(self, on: date) -> None:
        self.previews.append(on)
        *_, _seen = invoice_runs.make(self.engine, on)

    def comes(self, day: str) -> Runs:
        """Let it be a day, do the job twice, and return the runs with their states."""
        with self.engine.begin() as connection:
            clock.advance(connection, date.fromisoformat(day) - clock.today(connection))
        self.work()
        self.work()
        return self.runs()

    def work(self) -> None:
        """Do the job once."""
        self._day.bill()

    def runs(self) -> Runs:
        """Return the runs with their states."""
        found = rows(self.engine, "SELECT on_day, state FROM invoice_run ORDER BY on_day")
        return [(f"{day:%m-%d}", state) for day, state in found]

    def billed(self) -> list[tuple[str, date, int]]:
        """Return whom the invoices are for, their days and amounts."""
        return [
            (login, day, gross)
            for login, day, gross in rows(
                self.engine,
                """SELECT c.login, d.dated, d.gross FROM document AS d JOIN customer AS c ON c.id = d.customer_id
                WHERE d.kind = 'invoice' ORDER BY d.id""",
            )
        ]


def begin(engine: sqlalchemy.Engine, terms: str) -> Day:
    """Provide two customers with billing days of their own, and a wallet, on 28 January 2030."""
    provide(
        engine,
        HEAD.replace("due_days = 15", terms),
        customer("ana"),
        customer("eva", "billing = { billing_day = 3 }"),
        customer("luis", WALLET),
        *(sold(name, "television", "2030-02-01") for name in ("ana", "eva", "luis")),
    )
    set_clock(engine, "2030-01-20")
    bill = Day(engine)
    bill.comes("2030-01-20")
    return bill


ANA = ("ana", date(2030, 2, 1), 1210)


def test_a_run_is_seen_before_its_day_and_issued_when_it_was_confirmed(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "preview_days = 3")
    assert day.comes("2030-01-28") == []
    assert day.comes("2030-01-29") == [("02-01", "preview")]
    assert day.previews.count(date(2030, 2, 1)) == 1
    ((totals, automatic_on),) = rows(engine, "SELECT totals, automatic_on FROM invoice_run")
    assert totals == {"accounts": 1, "documents": 1, "parked": 0, "gross": {"EUR": 1210}}, "the wallet is not in it"
    assert automatic_on is None
    assert day.comes("2030-02-20")[0] == ("02-01", "preview")
    assert day.billed() == [], "nobody confirmed it"
    with engine.begin() as connection:
        assert invoice_runs.confirm(connection, date(2030, 2, 1), "eva").state == "confirmed"
    assert day.comes("2030-02-20")[0] == ("02-01", "issued")
    assert day.billed() == [ANA]
    assert_books_are_right(engine)


def test_what_was_confirmed_before_its_day_waits_for_it(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "preview_days = 5")
    day.comes("2030-01-29")
    with engine.begin() as connection:
        invoice_runs.confirm(connection, date(2030, 2, 3), "eva")
        invoice_runs.confirm(connection, date(2030, 2, 3), "eva")
    assert day.comes("2030-01-31") == [("02-01", "preview"), ("02-03", "confirmed")]
    assert day.billed() == []
    assert day.comes("2030-02-03")[:2] == [("02-01", "issued"), ("02-03", "issued")], "a day bills those before it"
    assert [login for login, _, _ in day.billed()] == ["ana", "eva"]
    with engine.begin() as connection:
        assert invoice_runs.confirm(connection, date(2030, 2, 3), "luis").state == "issued"


def test_a_run_that_nobody_confirmed_is_issued_when_its_time_is_over(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "automatic = true, confirmation_days = 4")
    assert day.comes("2030-02-01") == [("02-01", "preview")]
    assert day.comes("2030-02-04") == [("02-01", "preview"), ("02-03", "preview")]
    assert day.billed() == []
    assert day.comes("2030-02-05") == [("02-01", "issued"), ("02-03", "preview")]
    assert day.billed() == [ANA]
    assert day.comes("2030-02-07") == [("02-01", "issued"), ("02-03", "preview")]
    assert day.comes("2030-02-08") == [("02-01", "issued"), ("02-03", "issued")]
    assert [login for login, _, _ in day.billed()] == ["ana", "eva"]
    assert_books_are_right(engine)


def test_without_a_window_everybody_is_billed_on_the_day_and_wallets_never_wait(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "automatic = true, preview_days = 2")
    assert day.comes("2030-01-30") == [("02-01", "preview")]
    assert day.comes("2030-02-01")[0] == ("02-01", "issued")
    assert day.billed() == [ANA]
    assert rows(engine, "SELECT count(*) FROM transfer WHERE kind = 'daily'") == [(1,)]


def test_a_daemon_that_is_killed_while_it_issues_goes_on_where_it_was(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "automatic = true, confirmation_days = 1")

    def kill() -> None:
        raise Killed

    day.comes("2030-02-01")
    day.after_billing = kill
    with pytest.raises(Killed):
        day.comes("2030-02-02")
    assert day.runs() == [("02-01", "preview")], "it is not marked before its numbers are given"
    day.after_billing = lambda: None
    day.work()
    assert day.runs() == [("02-01", "issued")]
    assert documents(engine, "ana") == [("invoice", "F2030-000001", 1000, 210, 1210, 1210)]
    assert_books_are_right(engine)


def test_what_falls_due_on_a_day_that_is_issued_belongs_to_the_next_run(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "automatic = true, confirmation_days = 1")
    day.comes("2030-02-01")
    assert day.comes("2030-02-02") == [("02-01", "issued")]
    provide(engine, sold("ana", "rent", "2030-01-25"))
    assert day.comes("2030-02-02") == [("02-01", "issued"), ("02-02", "preview")]
    assert day.comes("2030-02-03")[:2] == [("02-01", "issued"), ("02-02", "issued")]


def test_a_run_whose_day_is_closed_is_billed_on_the_first_open_one(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "preview_days = 1")
    day.comes("2030-02-01")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE closed_books SET through = '2030-02-01'")
        invoice_runs.confirm(connection, date(2030, 2, 1), "eva")
    assert day.comes("2030-02-02")[0] == ("02-01", "issued")
    assert [on for _, on, _ in day.billed()] == [date(2030, 2, 2)]


def test_a_run_that_nobody_has_seen_is_not_confirmed(engine: sqlalchemy.Engine) -> None:
    with pytest.raises(RunRefused, match="caudal invoice preview --date 2030-02-01"), engine.begin() as connection:
        invoice_runs.confirm(connection, date(2030, 2, 1), "eva")


def test_one_daemon_at_a_time_issues_runs(engine: sqlalchemy.Engine) -> None:
    day = begin(engine, "automatic = true, confirmation_days = 0")
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert leave.wait(30)

    day.after_billing = wait
    with engine.begin() as connection:
        clock.advance(connection, timedelta(days=12))
    first = threading.Thread(target=day.work)
    first.start()
    assert inside.wait(30)
    other = Day(engine)
    other.after_billing = lambda: pytest.fail("two issue at once")
    other.work()
    leave.set()
    first.join(30)
    assert [login for login, _, _ in day.billed()] == ["ana"]


def test_the_runners_make_previews_and_mark_what_they_billed(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    day = begin(engine, "preview_days = 3")
    invoice_runner.see(database_dsn, date(2030, 2, 1))
    assert day.runs() == [("02-01", "preview")]
    *_, told = invoice_runner.bill(engine, database_dsn, date(2030, 2, 1), runners=2)
    assert told.documents == 1
    assert day.runs() == [("02-01", "issued")]


def test_a_preview_tells_what_was_billed_or_is_asked_for_since_a_month(engine: sqlalchemy.Engine) -> None:
    asked, rent = "billing = { proforma = true }", sold("eva", "rent", "2026-01-01")
    provide(engine, HEAD, customer("ana"), customer("eva", asked), sold("ana", "television", "2026-01-01"), rent)
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    provide(engine, sold("ana", "television", "2026-01-01", "ends = 2026-02-15"))
    bill(engine, "2026-02-20", "ana")
    ids = dict(rows(engine, "SELECT login, id FROM customer"))

    def before(login: str) -> int:
        (((seen,), _),) = trial.preview(engine, date(2026, 3, 1), ids[login])
        return seen.before

    # Half of February was credited, and February's proforma waits: one of two is asked for since a month.
    assert (before("ana"), before("eva")) == (1210 - 605, 593)
    with engine.begin() as connection:
        payments.add(connection, Order(ids["eva"], 2 * 593, "cash", "one"), date(2026, 2, 21))
    assert before("eva") == 2 * 593


@pytest.mark.parametrize(("credit", "gross"), [("0.31", 0), ("0.32", 32)])
def test_a_preview_makes_nothing_of_a_wallet_that_does_not_pay(
    engine: sqlalchemy.Engine, credit: str, gross: int
) -> None:
    wallet = f'billing = {{ type = "prepaid-daily", credit_limit = "{credit}" }}'
    untaxed = HEAD.replace('percent = "21"', 'percent = "0"')
    provide(engine, untaxed, customer("luis", wallet), sold("luis", "television", "2030-01-02"))
    (((seen,), told),) = trial.preview(engine, date(2030, 1, 2), rows(engine, "SELECT id FROM customer")[0][0])
    assert (seen.gross, seen.is_idle, told.documents) == (gross, not gross, 1 if gross else 0)


def test_an_operator_sees_confirms_and_lists_runs(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    day = begin(engine, "due_days = 15")
    with commands(engine, monkeypatch, capsys) as caudal:
        seen = caudal("invoice", "preview")
        assert seen.out.splitlines()[:2] == [
            "run of 2030-02-01: it is issued when it is confirmed, never without it",
            "1 account: would make 1 document, 12.10 EUR",
        ]
        assert seen.out.splitlines()[-1].split()[0] == "ana"
        assert "there is nothing to bill" in caudal("invoice", "preview", "--date", "2030-01-21").out
        provide(engine, sold("ana", "rent", "2030-02-01"))
        again = caudal("invoice", "preview", "--date", "2030-02-01", "--json").json
        assert (again["on"], again["state"], again["totals"]) == ("2030-02-01", "preview", {"EUR": "18.03"})
        assert caudal("invoice", "confirm", "2030-02-09").status == 1
        assert "issued on that day" in caudal("invoice", "confirm", "2030-02-01").out
        (listed,) = caudal("invoice", "runs", "--json").json
        assert (listed["state"], listed["totals"]) == ("confirmed", {"EUR": "18.03"})
        assert listed["confirmed_by"]
        assert "18.03 EUR" in caudal("invoice", "runs").out
        assert day.comes("2030-02-01") == [("02-01", "issued")]
        assert "it is issued" in caudal("invoice", "confirm", "2030-02-01").out
    assert [gross for _, _, gross in day.billed()] == [1803]
