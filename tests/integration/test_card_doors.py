"""Cards through their doors: the commands of a clerk over a real socket, and the messages of the gateway."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy

from billing import stripe_dialect as stripe
from control.ports import ControlPorts, RuntimeStatus
from daemon import card_webhook
from daemon.card_gateway import CardSettingsError, StripeGateway, read_secret
from domain.secret import Secret
from simulator.card_gateway import CardFault, SimulatedCardGateway
from storage.snapshot import Snapshot
from storage.usage import usage
from storage.vault import Vault
from tests.integration.billed_isp import HEAD, bill, customer, provide, rows, sold
from tests.integration.control_daemon import at_once, command, running
from tests.integration.test_control_billing import Command

KEY, SIGNING = "sk_test_1", Secret.from_text("whsec_1")


@pytest.fixture
def gateway() -> Iterator[SimulatedCardGateway]:
    with SimulatedCardGateway(KEY) as simulated:
        yield simulated


@pytest.fixture
def caudal(
    engine: sqlalchemy.Engine,
    gateway: SimulatedCardGateway,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """Lend the command beside a daemon whose ISP has an open invoice of 12.10."""
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    runtime = RuntimeStatus("1.2.3", datetime.now(UTC), 60, "ready", (), ())
    with tempfile.TemporaryDirectory(prefix="caudal-cards-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)
        ports = ControlPorts(
            engine, Vault.open_directory(Path(name)), lambda: runtime, at_once, usage, lambda: datetime.now(UTC),
            Snapshot.empty, cards=StripeGateway(gateway.url, Secret.from_text(KEY)),
        )  # fmt: skip
        with running(ports, Path(name)):
            yield command(capsys)


def told(engine: sqlalchemy.Engine, body: bytes, signature: str, now: int = 100) -> int:
    return card_webhook.take(engine, SIGNING, body, signature, now)


def test_a_clerk_stores_charges_lists_and_gives_back(
    caudal: Command, engine: sqlalchemy.Engine, gateway: SimulatedCardGateway
) -> None:
    assert "no card of this customer is stored" in caudal("card", "charge", "ana").err
    assert caudal("card", "add", "ana", "--payer", "cus_1", "--token", "pm_1").status == 0
    gateway.book.faults.append(CardFault.DECLINE)
    assert "was refused: Your card was declined." in caudal("card", "charge", "ana").err
    assert "12.10 EUR of ana" in caudal("card", "charge", "ana", "--key", "one").out
    assert "12.10 EUR of ana" in caudal("card", "charge", "ana", "--key", "one").out
    assert "nothing is open" in caudal("card", "charge", "ana").err
    assert [each["state"] for each in caudal("card", "list", "--json").json] == ["succeeded", "failed"]
    (payment,) = rows(engine, "SELECT id FROM payment")[0]
    assert "gave back 2.10 EUR" in caudal("payment", "refund", str(payment), "--amount", "2.10").out
    assert "reversed 10.00 EUR" in caudal("payment", "reverse", str(payment)).out
    assert [each["amount"] for each in gateway.book.moved("refund")] == [210], "a dispute asks the gateway nothing"


def test_a_signed_message_books_a_charge_and_any_other_changes_nothing(
    caudal: Command, engine: sqlalchemy.Engine, gateway: SimulatedCardGateway
) -> None:
    caudal("card", "add", "ana", "--payer", "cus_1", "--token", "pm_1")
    gateway.book.faults.append(CardFault.LOST_ANSWER)
    assert "charge 1 is pending" in caudal("card", "charge", "ana").err
    body = gateway.event(gateway.book.moved("payment_intent")[0], 1)
    signature = stripe.sign(body, SIGNING.reveal(), 100)
    assert told(engine, body, stripe.sign(body, b"another", 100)) == 400
    assert told(engine, body, signature, now=500) == 400
    assert told(engine, b" " * (card_webhook.LARGEST_EVENT_OCTETS + 1), signature) == 413
    assert rows(engine, "SELECT count(*) FROM payment") == [(0,)]
    assert [told(engine, body, signature), told(engine, body, signature)] == [200, 200]
    assert rows(engine, "SELECT count(*) FROM payment") == [(1,)]


def test_the_key_is_read_from_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk_live_1\n")
    file.chmod(0o644)
    with pytest.raises(CardSettingsError, match="chmod 600"):
        read_secret(str(file), "none")
    file.chmod(0o600)
    secret = read_secret(str(file), "none")
    assert secret is not None
    assert (secret.reveal(), repr(secret)) == (b"sk_live_1", "Secret(***)")
    assert read_secret("", "none") is None
