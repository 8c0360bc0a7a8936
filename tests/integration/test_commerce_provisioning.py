"""What an ISP file says of money, against a real database: what it writes, what it leaves alone, and the way back."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from config.provisioning import ProvisioningError, read
from storage.database import create_engine
from storage.exporting import export
from storage.provisioning import Action, ApplyReport, Change, apply
from storage.vault import Vault
from tests.postgres import PostgresForTests

VAULT = Vault(bytes(range(32)))
ISP = """
[isp]
name = "Valdelagua"
timezone = "Europe/Madrid"
billing = { billing_day = 5, due_days = 10, reminders = [3, 4], block_after = 20 }

[[tax]]
code = "iva"
rate = [{ from = 2000-01-01, percent = "18" }, { from = 2012-09-01, percent = "21" }]

[[tax]]
code = "recargo"
percent = "5.2"

[[partner]]
name = "norte"
billing = { seller = { name = "Norte SL", tax_id = "B12345678" } }

[[plan]]
name = "fibra"
download = "100M"
price = "29.90"
prices = { norte = "27.50" }
taxes = ["iva"]
names = { es = "Fibra 100" }

[[plan]]
name = "radio"
download = "20M"
price = "19.95"
taxes = ["iva"]

[[product]]
name = "television"
price = "9"
taxes = ["iva"]
every = "3 months"
introduction = { months = 3, percent = "50" }

[[product]]
name = "pack"
kind = "bundle"
price = "45"
part = [{ name = "line", weight = "2", taxes = ["iva"] }, { name = "box", weight = "1", taxes = ["recargo"] }]

[[customer]]
login = "ana"
name = "Ana"
street = "Calle Mayor 1"
service_street = "Camino del Río 3"
service_country = "PT"
country = "ES"
billing = { billing_day = 12, type = "prepaid-daily" }

[[customer]]
login = "hijo"
name = "Hijo"
partner = "norte"
payer = "ana"

[[service]]
login = "ana"
password = "a-password"
plan = "fibra"
customer = "ana"

[[service]]
login = "hijo"
password = "a-password"
plan = "fibra"
customer = "hijo"

[[subscription]]
name = "television of ana"
customer = "ana"
product = "television"
quantity = "2"
price = "8.50"
starts = 2026-01-15
ends = 2030-01-15
"""


def applied(engine: sqlalchemy.Engine, document: str) -> ApplyReport:
    return apply(engine, VAULT, read(document, "isp.toml"))


def rows(engine: sqlalchemy.Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def events(engine: sqlalchemy.Engine, customer: str) -> list[tuple[Any, ...]]:
    return [
        tuple(row.values())
        for row in rows(
            engine,
            f"""SELECT s.code, e.kind, p.code AS product, e.unit_price, e.quantity FROM subscription_event AS e
            JOIN subscription AS s ON s.id = e.subscription_id JOIN customer AS c ON c.id = s.customer_id
            LEFT JOIN product AS p ON p.id = e.product_id
            WHERE c.login = '{customer}' AND e.cancelled_at IS NULL ORDER BY s.id, e.id""",
        )
    ]


def test_services_are_sold_at_the_price_of_the_partner(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    assert events(engine, "hijo") == [(None, "start", "fibra", Decimal("27.50"), Decimal(1))]
    assert events(engine, "ana") == [
        ("television of ana", "start", "television", Decimal("8.50"), Decimal(2)),
        ("television of ana", "stop", None, None, None),
        (None, "start", "fibra", Decimal("29.90"), Decimal(1)),
    ]
    accounts = rows(engine, "SELECT c.login, a.billing FROM account AS a JOIN customer AS c ON c.id = customer_id")
    assert {"login": "ana", "billing": "prepaid-daily"} in accounts


def test_a_service_that_moves_to_another_plan_is_sold_that(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    applied(engine, ISP.replace('plan = "fibra"\ncustomer = "hijo"', 'plan = "radio"\ncustomer = "hijo"'))
    assert events(engine, "hijo") == [
        (None, "start", "fibra", Decimal("27.50"), Decimal(1)),
        (None, "change", "radio", Decimal("19.95"), None),
    ]


def test_a_price_that_changes_is_a_version_of_its_own_and_leaves_subscriptions_alone(
    engine: sqlalchemy.Engine,
) -> None:
    applied(engine, ISP)
    report = applied(engine, ISP.replace('price = "29.90"', 'price = "31.90"'))
    assert report.changes == (Change("product", "fibra", Action.UPDATED, ("price",)),)
    prices = rows(
        engine,
        """SELECT amount, starts = '1970-01-01' AS first FROM price AS v JOIN product AS p ON p.id = product_id
        WHERE p.code = 'fibra' AND partner_id IS NULL ORDER BY starts""",
    )
    assert [(row["amount"], row["first"]) for row in prices] == [(Decimal("29.90"), True), (Decimal("31.90"), False)]
    assert events(engine, "ana")[-1][3] == Decimal("29.90")


def test_an_end_that_is_taken_back_is_taken_back(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    report = applied(engine, ISP.replace("ends = 2030-01-15\n", ""))
    assert report.changes == (Change("subscription", "television of ana", Action.UPDATED, ("ends",)),)
    assert [event[1] for event in events(engine, "ana")] == ["start", "start"]


def test_what_was_exported_applies_without_a_change(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    written = export(engine, VAULT, secrets=True)
    report = applied(engine, written)
    assert report.changes == ()
    assert report.unchanged["subscription"] == 1
    assert export(engine, VAULT, secrets=True) == written


def test_an_export_builds_the_same_again(engine: sqlalchemy.Engine, postgres: PostgresForTests) -> None:
    applied(engine, ISP)
    written = export(engine, VAULT, secrets=True)
    with postgres.database() as dsn:
        copy = create_engine(dsn)
        applied(copy, written)
        assert export(copy, VAULT, secrets=True) == written
        assert sorted(map(str, events(copy, "ana"))) == sorted(map(str, events(engine, "ana")))
        starts = "SELECT on_day FROM subscription_event WHERE kind = 'start' ORDER BY on_day LIMIT 1"
        assert rows(copy, starts) == [{"on_day": date(2026, 1, 15)}]
        copy.dispose()


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('taxes = ["iva"]\nnames', 'taxes = ["iba"]\nnames', "there is no tax"),
        ('payer = "ana"', 'payer = "nobody"', "there is no customer"),
        ('product = "television"', 'product = "televisión"', "televisión"),
        ('percent = "5.2"', "percent = 5.2", "in quotes"),
        ('price = "9"\n', "", "is missing"),
        ("ends = 2030-01-15", "ends = 2025-01-15", "before it starts"),
    ],
)
def test_mistakes_are_refused_and_nothing_is_written(
    engine: sqlalchemy.Engine, before: str, after: str, problem: str
) -> None:
    assert before in ISP
    with pytest.raises(ProvisioningError) as caught:
        applied(engine, ISP.replace(before, after))
    assert any(problem in str(each) for each in caught.value.problems), caught.value.problems
    assert rows(engine, "SELECT FROM product") == []


RESTRICTED = """
[[partner]]
name = "sur"
[[plan]]
name = "solo norte"
partners = ["norte"]
[[customer]]
login = "nora"
name = "Nora"
partner = "norte"
[[customer]]
login = "sara"
name = "Sara"
partner = "sur"
[[service]]
login = "nora"
password = "x"
plan = "solo norte"
customer = "nora"
"""
SOLD_BY_SUR = """
[[service]]
login = "sara"
password = "x"
plan = "solo norte"
customer = "sara"
"""
OWN = """
[[service]]
login = "own"
password = "x"
plan = "solo norte"
"""


def test_a_plan_is_sold_by_its_partners_alone(engine: sqlalchemy.Engine) -> None:
    apply(engine, VAULT, read(ISP + RESTRICTED, "isp.toml"))
    for document, seller in ((SOLD_BY_SUR, "sur"), (OWN, "main")):
        with pytest.raises(ProvisioningError) as caught:
            apply(engine, VAULT, read(document, "isp.toml"))
        assert [str(problem) for problem in caught.value.problems] == [
            f'line 5: service.plan: "solo norte" is sold by "norte", not by "{seller}"'
        ]
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT login FROM service WHERE login IN ('nora', 'sara', 'own')")).all() == [
            "nora"
        ]


def test_what_a_partner_sold_before_it_no_longer_may_goes_on(engine: sqlalchemy.Engine) -> None:
    apply(engine, VAULT, read(ISP + RESTRICTED, "isp.toml"))
    apply(engine, VAULT, read('[[plan]]\nname = "solo norte"\npartners = ["sur"]\n', "isp.toml"))
    report = apply(
        engine, VAULT, read(RESTRICTED[RESTRICTED.index("[[service]]") :] + "simultaneous = 2\n", "isp.toml")
    )
    assert [(change.name, change.keys) for change in report.changes] == [("nora", ("simultaneous",))]


def test_the_partners_of_a_plan_exist(engine: sqlalchemy.Engine) -> None:
    with pytest.raises(ProvisioningError, match=r'plan\.partners: there is no partner "nrte"; did'):
        apply(engine, VAULT, read(ISP.replace('names = { es = "Fibra 100" }', 'partners = ["nrte"]'), "isp.toml"))
