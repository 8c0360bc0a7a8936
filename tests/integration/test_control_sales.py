"""`caudal subscription`, `discount`, `charge` and `product`, over a real socket and a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.integration.billed_isp import HEAD, customer, provide, rows
from tests.integration.billing_command import commands
from tests.integration.control_daemon import Outcome
from tests.integration.test_bundles import PLANS, line, today

Caudal = Callable[..., Outcome]


@pytest.fixture
def caudal(engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Caudal]:
    """Lend the command over an empty database."""
    with commands(engine, monkeypatch, capsys) as lent:
        yield lent


@pytest.fixture
def isp(engine: Engine) -> None:
    """Have a customer with a line, and things to sell."""
    more = '[[product]]\nname = "installation"\nkind = "one-time"\nprice = "49"\n'
    provide(engine, HEAD, PLANS, more, customer("ana", 'category = "person"'), line("ana"))


@pytest.mark.usefixtures("isp")
def test_a_clerk_sells_a_bundle_and_is_told_what_its_end_costs_before_it_does(
    engine: Engine,
    caudal: Caudal,
) -> None:
    day = today(engine)
    sold = caudal("subscription", "start", "ana", "pack", "--service", "ana", "--key", "one")
    assert sold.out == f"pack of ana: pack for ana from {day}, 36 EUR a period\n"
    assert caudal("subscription", "start", "ana", "pack", "--service", "ana", "--key", "one").status == 0
    listed = caudal("subscription", "list", "--customer", "ana", "--json").json
    assert [(each["product"], each["bundle"], each["unit_price"], each["state"]) for each in listed] == [
        ("fibre", "pack of ana", "0", "active"),
        ("pack", None, "36", "active"),
        ("cinema", "pack of ana", "0", "active"),
    ]
    ends = str(day + timedelta(days=1))
    told = caudal("subscription", "stop", "pack of ana", "--on", ends, "--dry-run", "--json").json
    assert (told["fee"], told["months_left"], told["dry_run"]) == ("180.00", 12, True)
    assert caudal("subscription", "show", "pack of ana", "--json").json["ends"] is None
    stopped = caudal("subscription", "stop", "pack of ana", "--on", ends, "--yes")
    assert "costs 180.00 EUR" in stopped.out
    shown = caudal("subscription", "show", "pack of ana", "--json").json
    assert (shown["ends"], shown["contract_until"]) == (ends, told["binds_until"])
    assert [event["kind"] for event in shown["events"]] == ["start", "stop"]
    assert "holds" in caudal("subscription", "show", "pack of ana").out
    assert caudal("subscription", "resume", "pack of ana").out.endswith(f"goes on from {day}\n")
    assert caudal("subscription", "show", "pack of ana", "--json").json["ends"] is None


@pytest.mark.usefixtures("isp")
def test_what_is_ordered_about_what_a_bundle_holds_is_refused(caudal: Caudal) -> None:
    caudal("subscription", "start", "ana", "pack")
    refused = caudal("subscription", "pause", "ana")
    assert refused.status == 1
    assert "is in the bundle 'pack of ana'; order that" in refused.err


@pytest.mark.usefixtures("isp")
def test_states_are_in_the_listings(engine: Engine, caudal: Caudal) -> None:
    later = str(today(engine) + timedelta(days=9))
    caudal("subscription", "start", "ana", "cinema", "--from", later, "--quantity", "2", "--price", "0")
    caudal("subscription", "pause", "ana")
    found = caudal("subscription", "list", "--json").json
    assert [(each["name"], each["state"], each["quantity"]) for each in found] == [
        ("ana", "paused", "1"),
        ("cinema of ana", "pending", "2"),
    ]
    assert [each["name"] for each in caudal("subscription", "list", "--state", "pending", "--json").json] == [
        "cinema of ana"
    ]
    (service,) = caudal("service", "list", "--json").json
    assert service["state"] == "paused"
    (ana,) = caudal("customer", "list", "--json").json
    assert (ana["state"], ana["category"], ana["partner"]) == ("active", "person", "main")


@pytest.mark.usefixtures("isp")
def test_discounts_and_charges_are_given_listed_and_ended(engine: Engine, caudal: Caudal) -> None:
    assert caudal("discount", "give", "ana", "10", "--percent", "--for", "ana", "--name", "ten").status == 0
    assert "given before" in caudal("discount", "give", "ana", "10", "--percent", "--for", "ana", "--name", "ten").out
    assert caudal("discount", "give", "ana", "101", "--percent").status == 1
    caudal("discount", "end", "ten", "--on", "2099-01-01")
    (ten,) = caudal("discount", "list", "--customer", "ana", "--json").json
    assert (ten["kind"], ten["value"], ten["ends"], ten["subscription"]) == ("percent", "10", "2099-01-01", "ana")
    caudal("charge", "add", "ana", "installation", "--quantity", "2")
    assert "subscription start" in caudal("charge", "add", "ana", "cinema").err
    charges = caudal("charge", "list", "--open", "--json").json
    (installation,) = [each for each in charges if each["product"] == "installation"]
    assert (installation["quantity"], installation["unit_price"], installation["state"]) == ("2", "49", "open")
    assert caudal("charge", "withdraw", str(installation["id"])).status == 0
    rest = [each for each in charges if each is not installation]
    assert caudal("charge", "list", "--customer", "ana", "--open", "--json").json == rest
    states = [each["state"] for each in caudal("charge", "list", "--customer", "ana", "--json").json]
    assert sorted(states) == [*(each["state"] for each in rest), "withdrawn"]
    assert rows(engine, "SELECT count(*) FROM one_off WHERE withdrawn_at IS NOT NULL") == [(1,)]


@pytest.mark.usefixtures("isp")
def test_products_are_listed_with_what_new_customers_pay(caudal: Caudal) -> None:
    found = {each["name"]: each for each in caudal("product", "list", "--json").json}
    pack = found["pack"]
    assert (pack["kind"], pack["price"], pack["includes"], pack["contract_months"]) == (
        "bundle", "36", ["fibre", "cinema"], 12,
    )  # fmt: skip
    assert found["fibre"]["kind"] == "internet"
