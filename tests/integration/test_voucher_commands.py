"""`caudal voucher` and what a top-up costs, through the command and the control API, on a real database."""

from __future__ import annotations

import csv
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from structlog.testing import capture_logs

from storage.billing.vouchers import MOST_FAILURES
from tests.integration.billed_isp import assert_books_are_right, rows
from tests.integration.capped_isp import Isp, serving
from tests.integration.control_daemon import Outcome, command

CUSTOMERS = """
INSERT INTO customer (login, name) VALUES ('ana', 'Ana'), ('bob', 'Bob');
INSERT INTO account (customer_id, currency, billing) SELECT id, 'EUR', 'prepaid-daily' FROM customer;
UPDATE service AS s SET customer_id = c.id FROM customer AS c WHERE c.login = s.login;
"""
Command = Callable[..., Outcome]


@pytest.fixture
def caudal(
    engine: sqlalchemy.Engine, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:  # fmt: skip
    """Lend the command over an ISP with two prepaid customers."""
    isp = Isp(engine, database_dsn)
    isp.do(CUSTOMERS)
    monkeypatch.setenv("CAUDAL_DATA", str(tmp_path))

    with serving(isp.ports(tmp_path), tmp_path):
        yield command(capsys)


def codes_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["code"] for row in csv.DictReader(file)]


def test_a_batch_is_made_printed_and_redeemed(engine: sqlalchemy.Engine, caudal: Command, tmp_path: Path) -> None:
    codes, cards = tmp_path / "codes.csv", tmp_path / "cards.pdf"
    made = caudal("voucher", "make", "autumn", "--count", "12", "--amount", "10", "--codes", str(codes),
                  "--pdf", str(cards), "--language", "en")  # fmt: skip
    assert (made.status, made.out, made.err) == (0, "", "")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (codes, cards)] == [0o600, 0o600]
    assert cards.read_bytes().startswith(b"%PDF-")
    found = codes_of(codes)
    assert len({*found}) == 12
    assert all(re.fullmatch(r"([2-9C-Y]{4}-){3}[2-9C-Y]{4}", code) for code in found)
    told = caudal("voucher", "redeem", "ana", found[0].lower())
    assert re.fullmatch(r"receipt R[0-9]{4}-000001: 10\.00 EUR of ana\n", told.out)
    assert caudal("voucher", "redeem", "ana", found[0]).out.startswith("was redeemed before: receipt R")
    assert caudal("voucher", "redeem", "bob", found[0]).err == "caudal: this voucher was redeemed by somebody else\n"
    assert caudal("account", "show", "ana", "--json").json["wallet"] == "10.00"
    (batch,) = caudal("voucher", "list", "--json").json
    assert {key: batch[key] for key in ("name", "amount", "count", "redeemed", "void")} == {
        "name": "autumn", "amount": "10.00", "count": 12, "redeemed": 1, "void": 0,
    }  # fmt: skip
    assert caudal("voucher", "void", "autumn", "--number", "12").out == "autumn: 1 is void now\n"
    shown = caudal("voucher", "show", "autumn", "--all", "--json").json
    assert [each["state"] for each in shown] == ["redeemed", *["open"] * 10, "void"]
    assert caudal("voucher", "redeem", "bob", found[11]).err == "caudal: this voucher was declared void\n"
    again = tmp_path / "again.pdf"
    assert caudal("voucher", "print", str(codes), "--pdf", str(again)).status == 0
    assert again.read_bytes().startswith(b"%PDF-")
    sale = ("--amount", "9", "--commission", "1", "--method", "transfer", "--key", "shop 1")
    sold = ("voucher", "sold", "autumn", *sale)
    assert caudal(*sold).out == "autumn: 9.00 EUR came in by transfer, 1.00 EUR were kept\n"
    assert caudal(*sold).out == "was booked before: autumn: 9.00 EUR came in by transfer, 1.00 EUR were kept\n"
    balances = {f"{row['account']} {row['name']}": row["amount"] for row in caudal("ledger", "balances", "--json").json}
    assert balances["cash voucher"] == "0.00", "what was redeemed was received"
    assert (balances["cash transfer"], balances["write-off voucher"]) == ("9.00", "1.00")
    assert_books_are_right(engine)
    for code in found:
        kept = rows(engine, "SELECT count(*) FROM voucher WHERE encode(digest, 'escape') LIKE :code", code=f"%{code}%")
        assert kept == [(0,)]


def test_who_guesses_is_locked_out_although_each_time_it_is_an_error(
    engine: sqlalchemy.Engine, caudal: Command
) -> None:
    code = caudal("voucher", "make", "autumn", "--count", "1", "--amount", "10").out.splitlines()[1].split(",")[1]
    caudal("voucher", "redeem", "bob", code)
    for _ in range(MOST_FAILURES):
        assert "redeemed by somebody else" in caudal("voucher", "redeem", "ana", code).err
    assert "too many codes were wrong; try again in 15 min" in caudal("voucher", "redeem", "ana", code).err
    assert rows(engine, "SELECT failures FROM voucher_attempt ORDER BY failures") == [(0,), (MOST_FAILURES,)]


def test_a_slip_of_the_hand_is_told_and_counts_for_nothing(engine: sqlalchemy.Engine, caudal: Command) -> None:
    for written in ("", "2222-2222-2222-2223", "OOOO-OOOO-OOOO-OOOO"):
        refused = caudal("voucher", "redeem", "ana", written)
        assert refused.status == 1
    assert rows(engine, "SELECT count(*) FROM voucher_attempt") == [(0,)]


def test_codes_are_never_written_over_others(caudal: Command, tmp_path: Path) -> None:
    codes = tmp_path / "codes.csv"
    make = ("voucher", "make", "autumn", "--count", "2", "--amount", "10", "--codes", str(codes))
    caudal(*make)
    before = codes.read_text()
    assert "is there already" in caudal(*make).err
    other = tmp_path / "other.csv"
    assert "give these a name of their own" in caudal(*make[:-1], str(other)).err
    assert (codes.read_text(), other.exists()) == (before, False)
    codes.write_text("number\n1\n")
    assert "is no file of codes" in caudal("voucher", "print", str(codes), "--pdf", str(other)).err


def test_a_voucher_is_of_money_or_of_a_top_up(caudal: Command) -> None:
    both = caudal("voucher", "make", "autumn", "--count", "2", "--amount", "10", "--offer", "more")
    assert (both.status, both.err[:60]) == (2, "caudal: a voucher is of an --amount or of an --offer; see ca")
    assert "no plan offers a top-up 'none'" in caudal("voucher", "make", "b", "--count", "1", "--offer", "none").err
    code = caudal("voucher", "make", "gigas", "--count", "1", "--offer", "more").out.splitlines()[1].split(",")[1]
    with capture_logs() as logs:
        assert caudal("voucher", "redeem", "ana", code).out == "ana: more\n"
        assert caudal("voucher", "redeem", "ana", code).status == 0
    assert [(log["event"], log["login"], log["top_up"], log["origin"]) for log in logs] == [
        ("top-up bought", "ana", "more", "voucher")
    ]
    assert code not in str(logs)
    (bought,) = caudal("topup", "list", "ana", "--json").json
    assert (bought["charge"], bought["price"], bought["origin"]) == ("voucher", "3.00", "voucher")


def test_a_top_up_is_refused_where_the_wallet_cannot_pay_it(engine: sqlalchemy.Engine, caudal: Command) -> None:
    refused = caudal("topup", "add", "ana", "more")
    assert refused.status == 1
    assert "more costs 3.00 EUR and the account can pay 0.00; book a payment first" in refused.err
    assert caudal("topup", "list", "ana", "--json").json == []
    caudal("payment", "add", "ana", "3")
    told = "ana: bought more, 5.0 MB for 7 d 00 h; 3.00 were paid from the balance\n"
    assert caudal("topup", "add", "ana", "more").out == told
    assert caudal("account", "show", "ana", "--json").json["wallet"] == "0.00"
    assert "sell it with --charge balance" in caudal("topup", "add", "ana", "more", "--charge", "invoice").err
    assert caudal("topup", "add", "ana", "more", "--charge", "none").out == told.partition(";")[0] + "\n"
    assert_books_are_right(engine)
