"""A whole year of every kind of customer, played by the commands with the clock of a test database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy
from beancount import loader
from sqlalchemy import text

from control.ports import ControlPorts, RuntimeStatus
from daemon import invoice_runner
from daemon.billing_day import BillingDay
from storage.billing import clock
from storage.snapshot import Snapshot
from storage.usage import usage
from storage.vault import Vault
from tests.integration.billed_isp import assert_books_are_right, customer, rows, sold
from tests.integration.control_daemon import Outcome, at_once, command, running
from tests.integration.test_control_billing import ok

Command = Callable[..., Outcome]
YEAR = 2035
FIRST, LAST = date(YEAR, 1, 1), date(YEAR, 12, 31)
GIGA = 10**9
NEW_YEAR = f"{YEAR}-01-01"

ISP = """
[isp]
name = "Valdelagua"
timezone = "Europe/Madrid"
billing = { due_days = 10, automatic = true }
[[tax]]
code = "iva"
rate = [{ from = 2012-09-01, percent = "21" }, { from = 2035-07-01, percent = "22" }]
[[tax]]
code = "super"
percent = "4"
[[tax]]
code = "recargo"
percent = "5.2"
[[tax]]
code = "eco"
percent = "3"
compound = true
[[partner]]
name = "gulf"
billing = { currency = "KWD", series = { invoice = { pattern = "G{yy}{month}-{next:4}", reset = "month" } } }
[[product]]
name = "television"
price = "10"
prices = { gulf = "4.125" }
taxes = ["iva"]
[[product]]
name = "rent"
price = "4.90"
taxes = ["iva"]
[[product]]
name = "hosting"
price = "5"
[[product]]
name = "mail"
price = "6"
[[product]]
name = "archive"
price = "77.77"
every = "year"
[[product]]
name = "boxes"
price = "9.99"
taxes = ["iva", "recargo", "eco"]
[[product]]
name = "cinema"
price = "10"
taxes = ["super"]
[[product]]
name = "setup"
kind = "one-time"
price = "49"
taxes = ["iva"]
[[product]]
name = "films"
price = "0"
metered = { price = "3.33", minimum = "1", bill_at = "20" }
[[product]]
name = "pack"
kind = "bundle"
price = "36"
includes = [{ product = "fibre" }, { product = "cinema", quantity = 2 }]
contract = { months = 12, renews = true, prior_cancellation_fee = "60", fee_per_month = "10" }
activation_fee = "20"
introduction = { months = 3, percent = "50" }
[[plan]]
name = "fibre"
download = "300M"
price = "30"
taxes = ["iva"]
[[plan]]
name = "metered"
download = "100M"
price = "10"
taxes = ["iva"]
cap = { octets = "100G", action = "overage" }
overage = { price = "0.50", block = "1G", ceiling = "20" }
"""
STRICT = (
    "block_after = 10, slow_after = 5, redirect_after = 7, reminders = [2, 3], deactivate_after = 40, "
    'late_fee = "2", late_fee_after = 3'
)
DISCOUNTS = f"""
[[discount]]
name = "loyal"
customer = "advance"
percent = "10"
starts = {NEW_YEAR}
[[discount]]
name = "family"
customer = "several"
amount = "5"
starts = {YEAR}-04-01
[[discount]]
name = "welcome"
customer = "several"
coupon = "25"
starts = {NEW_YEAR}
"""


def billed(login: str, terms: str, *more: str) -> str:
    return customer(login, f"billing = {{ {terms} }}", *more)


def line(login: str, plan: str) -> str:
    return f'[[service]]\nlogin = "{login}-line"\npassword = "a-password"\nplan = "{plan}"\ncustomer = "{login}"\n'


WORLD = "\n".join(
    (
        ISP,
        customer("advance"), sold("advance", "television", NEW_YEAR),
        billed("arrears", "in_arrears = true, billing_day = 31"), sold("arrears", "rent", f"{YEAR}-01-31"),
        billed("daily", 'type = "prepaid-daily"'), sold("daily", "hosting", NEW_YEAR, 'price = "12"'),
        billed("starved", 'type = "prepaid-daily"'), sold("starved", "hosting", NEW_YEAR, 'price = "31"'),
        billed("period", 'type = "prepaid-period", period_days = 10'), sold("period", "hosting", NEW_YEAR),
        billed("used", 'type = "postpaid"'), line("used", "metered"),
        billed("bundled", "at_once = true"), line("bundled", "fibre"),
        sold("bundled", "pack", NEW_YEAR, 'service = "bundled-line"'),
        billed("exempt", 'tax_exempt = "Article 196", reverse_charge = true'),
        sold("exempt", "rent", NEW_YEAR, 'quantity = "2"'),
        billed("several", 'at_once = true, billing_day = 15, tax_rounding = "line"'),
        sold("several", "boxes", NEW_YEAR), sold("several", "archive", f"{YEAR}-02-10"),
        customer("head"), customer("branch", 'payer = "head"'), sold("head", "rent", NEW_YEAR),
        sold("branch", "television", NEW_YEAR),
        customer("kuwait", 'partner = "gulf"'), sold("kuwait", "television", NEW_YEAR),
        billed("tokyo", 'currency = "JPY"'), sold("tokyo", "television", NEW_YEAR, 'price = "1500"'),
        billed("debtor", STRICT), sold("debtor", "rent", NEW_YEAR), line("debtor", "fibre"),
        billed("asked", "proforma = true"), sold("asked", "television", NEW_YEAR),
        billed("films", "at_once = true"), sold("films", "films", NEW_YEAR),
        customer("dearer"), sold("dearer", "mail", NEW_YEAR),
        DISCOUNTS,
    )
)  # fmt: skip
PAYS_ON_THE_FIFTH = (
    "advance", "arrears", "used", "bundled", "exempt", "several", "head", "kuwait", "tokyo", "films", "dearer",
)  # fmt: skip


@dataclass
class Year:
    """The ISP, a clerk at its command line, and the jobs of its daemon."""

    engine: sqlalchemy.Engine
    caudal: Command
    today: date = FIRST

    def __post_init__(self) -> None:
        self._day = BillingDay(self.engine, self._bill, lambda _on: None)

    def _bill(self, on: date, only_prepaid: bool) -> None:
        invoice_runner.bill_here(self.engine, on, only_prepaid=only_prepaid)

    def comes(self, day: date) -> None:
        """Let it be a day, and the daemon do what is due."""
        ok(self.caudal("clock", "advance", str((day - self.today).days)))
        self.today = day
        self.work()

    def work(self) -> None:
        """Do what the daemon does every some seconds."""
        self._day.bill()
        self._day.collect()

    def order(self, *arguments: str) -> Outcome:
        """Give an order that has to be obeyed."""
        return ok(self.caudal(*arguments))

    def owed(self, login: str) -> str:
        return str(self.order("account", "show", login, "--json").json["owed"])

    def pay(self, login: str, amount: str, *more: str) -> int:
        return int(self.order("payment", "add", login, amount, "--json", *more).json["id"])

    def pays_all(self, login: str) -> None:
        """Pay what is open, if anything is."""
        amount = self.owed(login)
        if Decimal(amount) > 0:
            self.pay(login, amount)

    def pays_what_is_asked(self, login: str) -> None:
        """Pay the proformas that wait."""
        for each in self.order("invoice", "list", "--kind", "proforma", "--customer", login, "--open", "--json").json:
            self.pay(login, each["open"])

    def line_state(self, login: str) -> str:
        return str(rows(self.engine, "SELECT billing_state FROM service WHERE login = :l", l=f"{login}-line")[0][0])

    def invoices(self, login: str) -> list[int]:
        """Return the gross amounts of a customer's documents; credit notes are less than nothing."""
        found = rows(
            self.engine,
            """SELECT CASE d.kind WHEN 'credit-note' THEN -d.gross ELSE d.gross END FROM document AS d
            JOIN customer AS c ON c.id = d.customer_id
            WHERE c.login = :login AND d.kind IN ('invoice', 'credit-note') ORDER BY d.id""",
            login=login,
        )
        return [gross for (gross,) in found]


@pytest.fixture
def year(
    engine: sqlalchemy.Engine, database_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Year]:
    """Lend the ISP as it begins on the first of January."""
    runtime = RuntimeStatus("1.2.3", datetime.now(UTC), 60, "ready", (), ())
    with tempfile.TemporaryDirectory(prefix="caudal-year-") as name:
        data = Path(name)
        monkeypatch.setenv("CAUDAL_DATA", name)
        ports = ControlPorts(
            engine, Vault.open_directory(data), lambda: runtime, at_once, usage, lambda: datetime.now(UTC),
            Snapshot.empty, bill=lambda on: invoice_runner.bill(engine, database_dsn, on, runners=2),
        )  # fmt: skip
        with running(ports, data):
            caudal = command(capsys)
            file = data / "isp.toml"
            file.write_text('[isp]\nname = "Valdelagua"\ntimezone = "Europe/Madrid"\n')
            ok(caudal("apply", str(file)))
            ok(caudal("clock", "permit"))
            with engine.connect() as connection:
                real = clock.today(connection)
            ok(caudal("clock", "advance", str((FIRST - real).days)))
            file.write_text(WORLD)
            ok(caudal("apply", str(file)))
            yield Year(engine, caudal)


def uses(year: Year, day: date, octets: int) -> None:
    with year.engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO usage_day (service_id, day, traffic_class, octets_up, octets_down)
                SELECT id, :day, 0, 0, :octets FROM service WHERE login = 'used-line'"""),
            {"day": day, "octets": octets},
        )


def happenings(year: Year) -> dict[date, list[Callable[[], object]]]:
    """Return what happens on which day, beside what comes by itself."""
    found: dict[date, list[Callable[[], object]]] = {}

    def on(month: int, day: int, *what: Callable[[], object]) -> None:
        found.setdefault(date(YEAR, month, day), []).extend(what)

    order = year.order
    on(1, 1, lambda: year.pay("daily", "100"), lambda: year.pay("starved", "10"), lambda: year.pay("period", "20"))
    for month in range(1, 13):
        on(month, 5, *(lambda login=login: year.pays_all(login) for login in PAYS_ON_THE_FIFTH))
        on(month, 6, lambda: year.pays_what_is_asked("asked"))
    on(1, 20, lambda: order("charge", "add", "several", "setup"))
    for day in (10, 12, 14):
        on(2, day, lambda: order("meter", "add", "films of films", "--units", "3"))
    on(2, 1, lambda: year.pay("starved", "5"))
    on(3, 10, lambda: uses(year, date(YEAR, 3, 10), 102 * GIGA + 1))
    on(3, 11, lambda: refunded(year))
    on(4, 10, lambda: order("payment", "add", "several", "10", "--currency", "USD", "--rate", "0.926"))
    on(5, 6, lambda: bounced(year))
    on(5, 20, lambda: credited(year))
    on(6, 15, lambda: order("subscription", "change", "boxes of several", "--quantity", "2"))
    on(6, 20, lambda: order("price", "change", "mail", "7", "--from", f"{YEAR}-07-01", "--for", "all"))
    on(7, 20, lambda: order(
        "subscription", "pause", "pack of bundled", "--from", f"{YEAR}-08-01", "--to", f"{YEAR}-09-01"
    ))  # fmt: skip
    on(8, 1, lambda: order("account", "pause", "head", "--from", f"{YEAR}-08-01", "--to", f"{YEAR}-08-16"))
    on(8, 15, lambda: year.pay("daily", "44"))
    on(10, 1, lambda: order("subscription", "stop", "pack of bundled", "--yes"))
    on(11, 1, lambda: came_back(year))
    on(11, 5, lambda: year.pays_all("debtor"))
    on(12, 5, lambda: year.pays_all("debtor"))
    return found


def refunded(year: Year) -> None:
    """Pay too much, and get it back."""
    number = year.pay("advance", "20")
    year.order("payment", "refund", str(number), "--amount", "20")


def bounced(year: Year) -> None:
    """Find that the last payment never came; it comes again with the next."""
    newest = year.order("payment", "list", "--customer", "used", "--json").json[0]["id"]
    year.order("payment", "reverse", str(newest))


def credited(year: Year) -> None:
    """Credit a part of the last invoice by hand."""
    number = year.order("invoice", "list", "--customer", "dearer", "--json").json
    newest = next(each["number"] for each in number if each["kind"] == "invoice")
    year.order("invoice", "credit", newest, "--amount", "1.50", "--reason", "a day off")


def came_back(year: Year) -> None:
    """Pay all debts, and so be a customer again."""
    assert year.line_state("debtor") == "blocked"
    year.pays_all("debtor")


def play(year: Year) -> dict[str, date]:
    """Live the year, and return the first day on which the line of the debtor was in each state."""
    happens, states = happenings(year), dict[str, date]()
    every_day = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    # Every day while there is something to watch, then those of billing.
    days = {day for day in every_day if day.month < 4 or day.day in (1, 15) or (day + timedelta(days=1)).day == 1}
    for day in sorted(days | set(happens)):
        if day > FIRST:
            year.comes(day)
        else:
            year.work()
        for happening in happens.get(day, ()):
            happening()
        if day in happens:
            year.work()
        states.setdefault(year.line_state("debtor"), day)
    return states


@pytest.mark.timeout(400)
def test_a_year_of_every_kind_of_customer_is_billed_to_the_cent(year: Year) -> None:
    states = play(year)
    engine = year.engine

    # In advance, 10 % off: 9.00 and its tax of the day.
    assert year.invoices("advance") == [1089] * 6 + [1098] * 6
    # In arrears, on the last day of each month.
    assert year.invoices("arrears") == [593] * 5 + [598] * 6
    # 12.00 a month for a year, the whole of it paid by the wallet.
    assert (sum(year.invoices("daily")), wallet(year, "daily")) == (12_00 * 11, 0)
    # Ten days of January and four of February were paid: 31.00 by 31 and by 28 days.
    assert (sum(year.invoices("starved")), wallet(year, "starved")) == (1000 + 443, 57)
    # 5.00 for each ten days from the first of January on, four times out of 20.00.
    assert (year.invoices("period"), wallet(year, "period")) == ([500, 500, 500, 500], 0)
    # 10.00 after each month, and three blocks begun beyond the cap in March.
    assert year.invoices("used") == [1210, 1210, 1150 + 242, 1210, 1210] + [1220] * 6
    # Half the price for three months, nothing in August, and the end of a contract with three months to go.
    assert net(year, "bundled") == 2000 + 3 * 1800 + 4 * 3600 + 3600 + 9000
    assert year.invoices("exempt") == [980] * 12
    # Two customers on one document; half of August was a rest, credited when it was told.
    assert year.invoices("branch") == []
    assert net(year, "head") == 1490 * 12 - 237 - 484
    assert year.invoices("kuwait") == [4125 + 866] * 6 + [4125 + 908] * 6
    assert year.invoices("tokyo") == [1500 + 315] * 6 + [1500 + 330] * 6
    assert year.invoices("asked") == [1210] * 6 + [1220] * 6
    # Nine films, billed as they came to 20, and the least of the other months.
    assert sum(year.invoices("films")) == 9 * 333 + 10 * 100
    # 7.00 from July on, and 1.50 less in May.
    assert sum(year.invoices("dearer")) == 6 * 600 + 6 * 700 - 150

    # Due on 11 January: slowed, redirected and blocked after 5, 7 and 10 days, given up 40 days later, and back.
    assert states == {
        "active": FIRST, "slowed": date(YEAR, 1, 16), "redirected": date(YEAR, 1, 18), "blocked": date(YEAR, 1, 21),
    }  # fmt: skip
    assert year.line_state("debtor") == "active"

    assert year.order("invoice", "run", "--json").json["documents"] == 0, "a second run finds nothing"
    assert "the books are right" in year.order("ledger", "check").out
    assert year.order("ledger", "check", "--json").json == []
    year.order("invoice", "verify")
    assert year.order("invoice", "parked", "--json").json == []
    assert_books_are_right(engine)
    assert_documents_are_what_the_ledger_has(engine)
    assert_statements_end_with_what_is_owed(year)
    assert_beancount_verifies(year)


def net(year: Year, login: str) -> int:
    """Return the net of all lines of a customer's documents."""
    found = rows(
        year.engine,
        """SELECT sum(l.net)::bigint FROM document_line AS l JOIN document AS d ON d.id = l.document_id
        JOIN customer AS c ON c.id = d.customer_id
        WHERE c.login = :login AND d.kind IN ('invoice', 'credit-note')""",
        login=login,
    )
    return int(found[0][0])


def wallet(year: Year, login: str) -> int:
    found = rows(
        year.engine,
        """SELECT coalesce(sum(-b.amount), 0)::bigint FROM balance AS b
        JOIN ledger_account AS a ON a.id = b.ledger_account_id AND a.kind = 'wallet'
        JOIN customer AS c ON c.id = b.customer_id WHERE c.login = :login""",
        login=login,
    )
    return int(found[0][0])


def assert_documents_are_what_the_ledger_has(engine: sqlalchemy.Engine) -> None:
    """Compare net and tax of all documents, and what waits for one, with revenue and tax, in each currency."""
    billed_ = rows(
        engine,
        """SELECT coalesce(d.currency, 'EUR'), sum(l.net)::bigint, sum(l.tax)::bigint FROM document_line AS l
        LEFT JOIN document AS d ON d.id = l.document_id
        WHERE d.kind IS NULL OR d.kind IN ('invoice', 'credit-note') GROUP BY 1 ORDER BY 1""",
    )
    kept = rows(
        engine,
        """SELECT currency, -sum(amount) FILTER (WHERE kind = 'revenue')::bigint,
            -sum(amount) FILTER (WHERE kind = 'tax')::bigint
        FROM balance JOIN ledger_account AS a ON a.id = ledger_account_id
        WHERE kind IN ('revenue', 'tax') GROUP BY 1 ORDER BY 1""",
    )
    assert billed_ == kept
    assert {currency for currency, _, _ in kept} == {"EUR", "JPY", "KWD"}


def assert_statements_end_with_what_is_owed(year: Year) -> None:
    for (login,) in rows(year.engine, "SELECT login FROM customer WHERE payer_id IS NULL ORDER BY login"):
        told = year.order("statement", login, "--from", NEW_YEAR, "--json").json
        kept = rows(
            year.engine,
            """SELECT coalesce(sum(b.amount), 0)::bigint FROM balance AS b JOIN customer AS c ON c.id = b.customer_id
            WHERE c.login = :login""",
            login=login,
        )[0][0]
        digits = {"KWD": 3, "JPY": 0}.get(told["currency"], 2)
        assert Decimal(told["closing"]).scaleb(digits) == kept, login


def assert_beancount_verifies(year: Year) -> None:
    asked = ("ledger", "journal", "--from", NEW_YEAR, "--to", str(LAST), "--form", "beancount")
    _, errors, _ = loader.load_string(year.order(*asked).out)
    assert errors == []
