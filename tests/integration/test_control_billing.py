"""Money by the commands of a billing clerk, over a real socket, a real database and real runners."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy

from control.ports import ControlPorts, RuntimeStatus
from daemon import invoice_runner
from daemon.billing_day import BillingDay
from storage.snapshot import Snapshot
from storage.usage import usage
from storage.vault import Vault
from tests.integration.billed_isp import HEAD, customer, rows, sold
from tests.integration.control_daemon import Outcome, at_once, command, running

Command = Callable[..., Outcome]
TERMS = "billing = { block_after = 10, reminders = [2], trust_unlock = { days = 2, most_per_month = 1 } }"
PREPAID = 'billing = { type = "prepaid-daily" }'
SELLER = 'seller = { name = "Valdelagua S.L.", tax_id = "ESB00000000", street = "Calle 1", city = "Madrid" }'
ISP = HEAD.replace("due_days = 15", f"due_days = 15, {SELLER}")
LINE = """
[[plan]]
name = "home"
download = "20M"
[[service]]
login = "ana-line"
password = "a-password"
plan = "home"
customer = "ana"
"""


def today() -> date:
    return datetime.now(ZoneInfo("Europe/Madrid")).date()


FIRST = today().replace(day=1)
NEXT = (FIRST + timedelta(days=32)).replace(day=1)


def bill_day(engine: sqlalchemy.Engine, dsn: str, on: date, only_prepaid: bool) -> None:
    invoice_runner.bill_all(engine, dsn, on, only_prepaid=only_prepaid)


@pytest.fixture
def caudal(
    engine: sqlalchemy.Engine, database_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Lend the command beside a daemon whose ISP has sold something to Ana, Luis and Eva, who pays in advance."""
    runtime = RuntimeStatus("1.2.3", datetime.now(UTC), 60, "ready", (), ())
    with tempfile.TemporaryDirectory(prefix="caudal-billing-") as name:
        data = Path(name)
        monkeypatch.setenv("CAUDAL_DATA", name)
        vault = Vault.open_directory(data)
        ports = ControlPorts(
            engine, vault, lambda: runtime, at_once, usage, lambda: datetime.now(UTC), Snapshot.empty,
            bill=lambda on: invoice_runner.bill(engine, database_dsn, on, runners=1),
            live_day=BillingDay(engine, partial(bill_day, engine, database_dsn), lambda _on: None).live,
        )  # fmt: skip
        with running(ports, data):
            caudal = command(capsys)
            file = data / "isp.toml"
            parts = (
                ISP, customer("ana", TERMS), customer("luis"), customer("eva", PREPAID), LINE,
                sold("ana", "television", str(FIRST)), sold("luis", "rent", str(FIRST)),
                sold("eva", "television", str(FIRST)),
            )  # fmt: skip
            file.write_text("\n".join(parts))
            assert caudal("apply", str(file)).err == ""
            yield caudal


def ok(outcome: Outcome) -> Outcome:
    assert (outcome.status, outcome.err) == (0, ""), outcome
    return outcome


def test_a_month_from_the_run_to_the_books(caudal: Command, engine: sqlalchemy.Engine, tmp_path: Path) -> None:
    dry = ok(caudal("invoice", "run", "--dry-run", "--json")).json
    assert (dry["dry_run"], dry["documents"], dry["totals"]) == (True, 2, {"EUR": "18.03"})
    assert [(each["customer"], each["difference"]) for each in dry["differences"]] == [
        ("ana", "12.10"),
        ("luis", "5.93"),
    ]
    assert rows(engine, "SELECT count(*) FROM document") == [(0,)]

    assert ok(caudal("invoice", "run", "--json")).json["totals"] == {"EUR": "18.03"}
    assert ok(caudal("invoice", "run", "--json")).json["documents"] == 0

    listed = ok(caudal("invoice", "list", "--open", "--json")).json
    assert sorted((each["customer"], each["gross"], each["open"]) for each in listed) == [
        ("ana", "12.10", "12.10"), ("luis", "5.93", "5.93"),
    ]  # fmt: skip
    number = next(each["number"] for each in listed if each["customer"] == "ana")
    shown = ok(caudal("invoice", "show", number)).out
    assert all(word in shown for word in (number, "television", "iva 21 % of 10.00", "12.10"))

    assert "the books are right" in ok(caudal("ledger", "check")).out
    assert ok(caudal("ledger", "check", "--json")).json == []
    balances = {each["account"]: each["amount"] for each in ok(caudal("ledger", "balances", "--json")).json}
    assert (balances["receivable"], balances["revenue"], balances["tax"]) == ("18.03", "-14.90", "-3.13")


def test_documents_are_printed_and_written_as_data(caudal: Command, tmp_path: Path) -> None:
    ok(caudal("invoice", "run", "--json"))
    number = ok(caudal("invoice", "list", "--customer", "ana", "--json")).json[0]["number"]
    printed, data = tmp_path / "invoice.pdf", tmp_path / "invoice.xml"
    ok(caudal("invoice", "pdf", number, str(printed)))
    ok(caudal("invoice", "pdf", number, str(data), "--xml"))
    assert printed.read_bytes().startswith(b"%PDF-")
    assert number in data.read_text()

    missing = caudal("invoice", "pdf", "F1999-1", str(tmp_path / "none.pdf"))
    assert missing.status == 1
    assert missing.err == "caudal: there is no invoice 'F1999-1'; see `caudal invoice list`\n"
    assert not (tmp_path / "none.pdf").exists()


def test_a_payment_is_booked_once_refunded_and_reversed(caudal: Command) -> None:
    ok(caudal("invoice", "run", "--json"))
    paid = ok(caudal("payment", "add", "ana", "20", "--key", "till-1", "--json")).json
    assert (paid["amount"], paid["unused"], paid["again"], len(paid["paid"])) == ("20.00", "7.90", False, 1)
    again = ok(caudal("payment", "add", "ana", "20", "--key", "till-1")).out
    assert again.startswith("was booked before: receipt R")
    assert ok(caudal("payment", "refund", str(paid["id"]), "--amount", "7.90")).out.endswith("gave back 7.90 EUR\n")
    too_much = caudal("payment", "refund", str(paid["id"]), "--amount", "100")
    assert (too_much.status, too_much.out) == (1, "")
    assert ok(caudal("payment", "reverse", str(paid["id"]))).out.endswith("reversed 12.10 EUR\n")
    (listed,) = ok(caudal("payment", "list", "--customer", "ana", "--json")).json
    assert (listed["reversed"], listed["unused"]) == (True, "0.00")
    assert ok(caudal("account", "show", "ana", "--json")).json["owed"] == "12.10"
    assert ok(caudal("ledger", "check", "--json")).json == []


def test_each_day_that_the_clock_passes_is_lived(caudal: Command, engine: sqlalchemy.Engine) -> None:
    ok(caudal("clock", "permit"))
    ok(caudal("payment", "add", "eva", "20.00"))
    ok(caudal("invoice", "run"))
    begins = today()
    told = ok(caudal("clock", "advance", "30")).out.splitlines()[-1]
    assert told == f"{begins + timedelta(days=30)} (the clock of a test database)"
    (without_money,) = rows(engine, "SELECT starts, ends FROM rest WHERE cause = 'no_balance'")
    assert begins < without_money[0] < begins + timedelta(days=30), "the day on which it happened"
    paid = """SELECT max(l.ends) FROM document_line AS l JOIN customer AS c ON c.id = l.customer_id
        WHERE c.login = 'eva'"""
    assert (without_money[1], rows(engine, paid)) == (None, [(without_money[0],)])
    steps = rows(engine, "SELECT kind, due_on FROM collection_step ORDER BY due_on")
    assert steps == [("reminder", begins + timedelta(days=17)), ("block", begins + timedelta(days=25))]
    assert ok(caudal("ledger", "check", "--json")).json == []


def test_what_was_charged_wrongly_is_credited_once(caudal: Command) -> None:
    ok(caudal("invoice", "run", "--json"))
    number = ok(caudal("invoice", "list", "--customer", "ana", "--json")).json[0]["number"]
    order = ("invoice", "credit", number, "--amount", "5.00", "--reason", "two days off", "--key", "one")
    assert ok(caudal(*order)).out == ok(caudal(*order)).out
    (note,) = ok(caudal("invoice", "list", "--kind", "credit-note", "--json")).json
    assert (note["net"], note["tax"], note["gross"]) == ("5.00", "1.05", "6.05")
    assert ok(caudal("account", "show", "ana", "--json")).json["owed"] == "6.05"
    assert caudal("invoice", "credit", number, "--amount", "5.01", "--key", "two").status == 1


def test_a_debt_is_reminded_of_blocks_and_is_let_in_by_a_promise_by_trust_and_by_money(
    caudal: Command, engine: sqlalchemy.Engine
) -> None:
    def state() -> str:
        return str(rows(engine, "SELECT billing_state FROM service WHERE login = 'ana-line'")[0][0])

    ok(caudal("clock", "permit"))
    ok(caudal("invoice", "run", "--json"))
    steps = {each["act"]: date.fromisoformat(each["on"]) for each in ok(caudal("calendar", "ana", "--json")).json}
    due = today() + timedelta(days=15)
    assert steps == {"reminder": due + timedelta(days=2), "block": due + timedelta(days=10)}
    assert ok(caudal("reminder", "list", "--json")).json == []

    ok(caudal("clock", "advance", "26"))
    ok(caudal("account", "promise", "ana", str(today() + timedelta(days=28))))
    assert state() == "active"
    (reminder,) = ok(caudal("reminder", "list", "--open", "--json")).json
    assert (reminder["customer"], reminder["number"], reminder["open"]) == ("ana", 1, "12.10")
    assert reminder["on_day"] == str(due + timedelta(days=2))
    assert "ana" in ok(caudal("reminder", "list", "--customer", "ana")).out

    ok(caudal("clock", "advance", "3"))
    ok(caudal("account", "promise", "ana", str(today() + timedelta(days=28))))
    assert state() == "blocked"
    assert ok(caudal("account", "trust", "ana")).out.endswith(f"on trust through {today() + timedelta(days=30)}\n")
    assert state() == "active"
    assert caudal("account", "trust", "ana").status == 1
    ok(caudal("payment", "add", "ana", "12.10", "--json"))
    assert ok(caudal("calendar", "ana", "--json")).json == []
    assert ok(caudal("reminder", "list", "--open", "--json")).json == []
    assert ok(caudal("reminder", "list", "--json")).json[0]["open"] == "0.00"


def test_a_wallet_pays_day_by_day(caudal: Command) -> None:
    shown = ok(caudal("account", "show", "eva", "--json")).json
    assert (shown["wallet"], shown["days_left"]) == ("0.00", 0)
    assert f"to be paid   {shown['missing']} EUR" in ok(caudal("account", "show", "eva")).out
    ok(caudal("payment", "add", "eva", shown["missing"]))
    shown = ok(caudal("account", "show", "eva", "--json")).json
    assert (shown["wallet"], shown["missing"], shown["next_bill_on"]) == (
        "0.00",
        "0.00",
        str(today() + timedelta(days=1)),
    )
    ok(caudal("payment", "add", "eva", "100", "--json"))
    ok(caudal("invoice", "run", "--json"))
    after = ok(caudal("account", "show", "eva", "--json")).json
    assert (after["wallet"], after["missing"]) == ("100.00", "0.00"), "the day is paid already"
    assert after["days_left"] > 200
    assert "days left" in ok(caudal("account", "show", "eva")).out


def test_a_pause_is_not_charged(caudal: Command) -> None:
    ok(caudal("invoice", "run", "--json"))
    ok(caudal("account", "pause", "ana", "--from", str(FIRST), "--to", str(NEXT)))
    assert ok(caudal("invoice", "run", "--json")).json["totals"] == {"EUR": "-12.10"}
    assert ok(caudal("service", "show", "ana-line", "--json")).json["state"] == "paused"
    wrong = caudal("account", "pause", "ana", "--from", str(NEXT), "--to", str(FIRST))
    assert (wrong.status, wrong.err.count("\n")) == (1, 1)
    assert f"ana: goes on from {today()}" in ok(caudal("account", "resume", "ana")).out
    assert "no pause that goes on" in caudal("account", "resume", "ana").err


def test_a_price_moves_those_whom_the_dry_run_showed(caudal: Command) -> None:
    order = ("price", "change", "television", "12", "--from", str(NEXT), "--for", "all")
    dry = ok(caudal(*order, "--dry-run", "--json")).json
    assert sorted(each["customer"] for each in dry["moved"]) == ["ana", "eva"]
    assert "2 customers moved" in ok(caudal(*order)).out
    ok(caudal("clock", "permit"))
    ok(caudal("clock", "advance", str((NEXT - today()).days)))
    ok(caudal("invoice", "run", "--customer", "ana", "--json"))
    newest = ok(caudal("invoice", "list", "--customer", "ana", "--json")).json[0]
    assert newest["net"] in ("12.00", "22.00"), "the new month at the new price"


def test_an_account_that_cannot_be_billed_is_parked_and_tried_again(caudal: Command, engine: sqlalchemy.Engine) -> None:
    def spoil(terms: str) -> None:
        with engine.begin() as connection:
            connection.execute(
                sqlalchemy.text("""UPDATE account SET terms = CAST(:terms AS jsonb)
                    WHERE customer_id = (SELECT id FROM customer WHERE login = 'ana')"""),
                {"terms": terms},
            )

    spoil('{"due_days": "many"}')
    report = ok(caudal("invoice", "run", "--json")).json
    assert (report["totals"], report["parked"]) == ({"EUR": "5.93"}, 1)
    (parked,) = ok(caudal("invoice", "parked", "--json")).json
    assert (parked["customer"], "due_days" in parked["reason"]) == ("ana", True)

    spoil("{}")
    ok(caudal("invoice", "retry"))
    assert ok(caudal("invoice", "run", "--json")).json["totals"] == {"EUR": "12.10"}
    assert ok(caudal("invoice", "parked", "--json")).json == []


def test_the_journal_sums_to_nothing_and_closed_days_stay(caudal: Command) -> None:
    ok(caudal("invoice", "run", "--json"))
    ok(caudal("payment", "add", "ana", "12.10", "--json"))
    days = ("--from", str(today()), "--to", str(today()))
    postings = [*csv.DictReader(io.StringIO(ok(caudal("ledger", "journal", *days)).out))]
    assert len(postings) == 8
    assert "open" in ok(caudal("ledger", "journal", *days, "--form", "beancount")).out
    early = caudal("ledger", "close", str(today() + timedelta(days=1)))
    assert (early.status, "is to come" in early.err) == (1, True)
    ok(caudal("ledger", "close", str(today())))
    refused = caudal("payment", "add", "luis", "5.93")
    assert refused.status == 1
    assert "closed" in refused.err


MISTAKES = """
payment add nobody 5
payment add ana 1.001
payment refund 77
invoice show F1
invoice list --customer nobody
invoice credit F1 --amount 1
account show nobody
account trust luis
calendar nobody
reminder list --customer nobody
price change nothing 5
clock advance 5
"""


def test_a_mistake_is_one_line_and_changes_nothing(caudal: Command, engine: sqlalchemy.Engine) -> None:
    for line in MISTAKES.strip().splitlines():
        outcome = caudal(*line.split())
        assert (outcome.status, outcome.out) == (1, ""), line
        assert outcome.err.startswith("caudal: "), line
        assert outcome.err.count("\n") == 1, line
        assert "fault of caudal" not in outcome.err, line
    assert rows(engine, "SELECT (SELECT count(*) FROM transfer) + (SELECT count(*) FROM document)") == [(0,)]
