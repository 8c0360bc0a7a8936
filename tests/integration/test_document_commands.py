"""Proformas and the verification as an operator orders them, through the command and the control API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy

from billing.printing import TEMPLATE
from storage.billing import printing
from storage.exporting import export
from tests.integration.billed_isp import HEAD, VAULT, bill, customer, documents, provide, rows, sold
from tests.integration.billing_command import Command, commands, set_clock

WALLET = 'billing = { type = "prepaid-daily" }'


@pytest.fixture
def caudal(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Lend the command over an ISP on 20 January 2030."""
    provide(
        engine, HEAD, customer("ana"), customer("luis", WALLET), sold("ana", "television", "2030-01-01"),
        sold("luis", "rent", "2030-01-01"),
    )  # fmt: skip
    set_clock(engine, "2030-01-20")
    with commands(engine, monkeypatch, capsys) as command:
        yield command


def test_one_customer_is_asked_and_the_payment_issues_the_invoice(engine: sqlalchemy.Engine, caudal: Command) -> None:
    assert caudal("invoice", "proforma", "ana").out == "ana: asked for 12.10 EUR\n"
    assert "nothing is due" in caudal("invoice", "proforma", "ana").out
    assert caudal("invoice", "list", "--open", "--json").json[0]["number"] == "P2030-000001"
    paid = caudal("payment", "add", "ana", "12.10", "--invoice", "P2030-000001", "--json").json
    assert paid["paid"] == ["F2030-000001: 12.10"]
    assert caudal("invoice", "show", "P2030-000001", "--json").json["superseded_by"] == "F2030-000001"
    assert "F2030-000001" in caudal("invoice", "show", "P2030-000001").out
    assert bill(engine, "2030-01-20", "ana").documents == 0


def test_who_is_asked_by_hand_is_billed_on_the_next_billing_day(engine: sqlalchemy.Engine, caudal: Command) -> None:
    caudal("invoice", "proforma", "ana", "--date", "2030-02-01")
    assert rows(engine, "SELECT dated, issued_on FROM document") == [(date(2030, 2, 1), date(2030, 1, 20))]
    bill(engine, "2030-01-20")
    assert bill(engine, "2030-02-01").documents == 0
    bill(engine, "2030-03-01")
    assert [(each[0], each[4], each[5]) for each in documents(engine, "ana")] == [
        ("proforma", 2420, 0), ("invoice", 3630, 3630),
    ]  # fmt: skip


def test_a_wallet_is_not_asked(caudal: Command) -> None:
    refused = caudal("invoice", "proforma", "luis")
    assert refused.status == 1
    assert "pays from a wallet" in refused.err


def test_a_proforma_is_withdrawn_once(caudal: Command) -> None:
    caudal("invoice", "proforma", "ana")
    assert "asks for nothing any more" in caudal("invoice", "withdraw", "P2030-000001").out
    again = caudal("invoice", "withdraw", "P2030-000001")
    assert (again.status, "no proforma that waits" in again.err) == (1, True)


def test_a_run_far_ahead_of_the_day_of_billing_is_refused_unless_it_is_meant(
    engine: sqlalchemy.Engine, caudal: Command
) -> None:
    for order in (("invoice", "run", "--customer", "ana"), ("invoice", "run"), ("invoice", "proforma", "ana")):
        refused = caudal(*order, "--date", "2030-02-21")
        assert refused.status == 1
        assert "2030-02-21 is 32 days ahead of 2030-01-20" in refused.err
        assert "--yes-far-future" in refused.err
    assert rows(engine, "SELECT count(*) FROM document") == [(0,)]
    assert caudal("invoice", "run", "--date", "2040-01-01", "--dry-run").status == 0
    assert caudal("invoice", "run", "--customer", "ana", "--date", "2030-02-20").status == 0
    assert caudal("invoice", "run", "--customer", "ana", "--date", "2030-05-01", "--yes-far-future").status == 0
    assert [each[4] for each in documents(engine, "ana")] == [2420, 3630]


def test_verification_ends_with_status_1_when_a_document_was_changed(
    engine: sqlalchemy.Engine, caudal: Command
) -> None:
    caudal("invoice", "run", "--customer", "ana")
    right = caudal("invoice", "verify")
    assert (right.status, right.out) == (0, "every document is what was issued, and every chain holds\n")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE document_line DISABLE TRIGGER USER")
        connection.exec_driver_sql("UPDATE document_line SET text = 'a word'")
        connection.exec_driver_sql("ALTER TABLE document_line ENABLE TRIGGER USER")
    wrong = caudal("invoice", "verify")
    assert (wrong.status, "F2030-000001" in wrong.out) == (1, True)
    assert "F2030-000001" in caudal("invoice", "verify", "--json").json[0]["what"]
    assert caudal("ledger", "check").status == 1


def test_a_document_shows_what_the_lines_of_its_customer_carried(engine: sqlalchemy.Engine, caudal: Command) -> None:
    own = [f'[[service]]\nlogin = "{login}"\npassword = "a-password"\nplan = "home"\n' for login in ("a", "b", "c")]
    whose = [f'{text}customer = "{login}"\n' for text, login in zip(own, ("ana", "ana", "luis"), strict=True)]
    provide(engine, '[[plan]]\nname = "home"\ndownload = "20M"\n', *whose)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            """INSERT INTO usage_day (service_id, day, traffic_class, octets_up, octets_down)
            SELECT id, day, 0, 1, 20 FROM service, unnest(ARRAY['2029-12-31', '2030-01-01']::date[]) AS d(day)"""
        )
    caudal("invoice", "run", "--customer", "ana")
    with engine.connect() as connection:
        printed = printing.printed(connection, rows(engine, "SELECT id FROM document")[0][0])
    assert printed.usage == ((date(2029, 12, 31), 42), (date(2030, 1, 1), 42))


def test_a_receipt_is_printed_too(caudal: Command, tmp_path: Path) -> None:
    receipt = caudal("payment", "add", "ana", "12.10", "--json").json["receipt"]
    printed = tmp_path / "receipt.pdf"
    assert caudal("invoice", "pdf", receipt, str(printed)).status == 0
    assert printed.read_bytes().startswith(b"%PDF-")


def test_a_partners_documents_have_its_template_seller_and_logo(engine: sqlalchemy.Engine, caudal: Command) -> None:
    logo = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="4"/></svg>'
    template = "#let it = json(bytes(sys.inputs.document))\n#it.seller.name, #it.footer"
    provide(
        engine,
        "[isp]\nname = 'Valdelagua'\nbilling = { seller = { name = 'Valdelagua SL' } }",
        "[[partner]]\nname = 'north'",
        f"[partner.billing]\ntemplate = '''{template}'''",
        f"[partner.billing.seller]\nname = 'Norte SL'\nfooter = 'tomo 12'\nlogo = '''{logo}'''",
        customer("eva", 'partner = "north"'),
        sold("eva", "rent", "2030-01-01"),
    )
    caudal("invoice", "run", "--customer", "eva")
    caudal("invoice", "run", "--customer", "ana")
    with engine.connect() as connection:
        eva, ana = (
            printing.printed(connection, id_)
            for (id_,) in rows(engine, "SELECT id FROM document ORDER BY partner_id DESC")
        )
    assert (eva.frozen["seller"]["name"], eva.logo, eva.template.strip()) == ("Norte SL", logo, template)
    assert (ana.frozen["seller"]["name"], ana.logo, ana.template) == ("Valdelagua SL", "", "")
    assert caudal("invoice", "template", "--partner", "north").out.strip() == template
    assert caudal("invoice", "template").out == TEMPLATE.read_text()
    assert export(engine, VAULT).count("sys.inputs.document") == 1
    assert provide(engine, export(engine, VAULT)).changes == ()
