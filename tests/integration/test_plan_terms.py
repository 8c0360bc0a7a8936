"""The network half of plans against a real database: how it is kept, read and exported, and who hears of a change."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator

import psycopg2
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text

from config import plan_rules
from config.provisioning import read
from domain.network import QueueKind
from domain.plan_rules import NO_RULES, Blocking, PlanRules
from storage import outbox, terms
from storage.exporting import export
from storage.importing import import_services
from storage.provisioning import Action, ApplyReport, Change, apply
from storage.vault import Vault
from tests.integration.snapshots import read_snapshot
from tests.unit.config import rules
from tests.unit.config.test_plan_rules import RULES, WHOLE

VAULT = Vault(bytes(range(32)))
PIN = ":".join(["AB"] * 32)
ISP = (
    WHOLE
    + f"""
[isp]
name = "Valdelagua"
timezone = "America/Bogota"
blocking = {{ policy = "walled-garden", pool = "garden" }}

[[router]]
name = "north"
address = "192.0.2.1"
secret = "first-secret-of-north"
api = {{ user = "u", password = "p", tls = true, fingerprint = "{PIN}" }}
coa_per_second = 100
repair_drift = false
api_accounting = true
queues = "simple"

[[plan]]
name = "bare"

[[service]]
login = "ana"
password = ""
plan = "p"
period_day = 31
account_state = "no_balance"

[[service]]
login = "luis"
password = ""
plan = "bare"
"""
)


def applied(engine: sqlalchemy.Engine, document: str, *, dry_run: bool = False) -> ApplyReport:
    return apply(engine, VAULT, read(document, "isp.toml"), dry_run=dry_run)


def execute(engine: sqlalchemy.Engine, statement: str, **values: object) -> list[tuple[object, ...]]:
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def go_online(engine: sqlalchemy.Engine, login: str) -> None:
    execute(
        engine,
        "INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, state,"
        " started_at, updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down, gigawords)"
        " SELECT id, 1, '', login, 0, 1, id, login, 0, now(), now(), now(), 0, 0, 0, 0, 0, true"
        " FROM service WHERE login = :login",
        login=login,
    )


def take_outbox(engine: sqlalchemy.Engine) -> list[tuple[object, ...]]:
    """Return topic and login of what is in the outbox, in order, and empty it."""
    query = "SELECT topic, login FROM outbox LEFT JOIN service ON service.id = service_id ORDER BY outbox.id"
    found = execute(engine, query)
    execute(engine, "DELETE FROM outbox")
    return found


@pytest.fixture
def online(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Lend an engine over an ISP of which only ana is on line, and an outbox that is empty."""
    applied(engine, ISP)
    go_online(engine, "ana")
    take_outbox(engine)
    return engine


@pytest.fixture
def listener(database_dsn: str) -> Iterator[psycopg2.extensions.connection]:
    """Lend a connection that hears of the outbox."""
    connection = psycopg2.connect(database_dsn)
    connection.autocommit = True
    connection.cursor().execute(f"LISTEN {outbox.CHANNEL}")
    yield connection
    connection.close()


def test_workers_read_the_rules_the_blocking_and_the_zone(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    empty = read_snapshot(database_dsn, VAULT)
    assert empty.blocking == Blocking()
    applied(engine, ISP)
    found = read_snapshot(database_dsn, VAULT)
    assert {plan.name: plan.rules for plan in found.plans.values()} == {"p": RULES, "bare": NO_RULES}
    assert found.timezone == "America/Bogota"
    assert found.blocking.garden.pool == "garden"
    (router,) = found.routers.values()
    assert (router.coa_per_second, router.repair_drift, router.api_accounting) == (100, False, True)
    assert router.queues is QueueKind.SIMPLE
    assert router.api is not None
    assert router.api.fingerprint == bytes([0xAB] * 32)


def test_operators_read_the_terms_in_the_words_of_the_file(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    assert list(terms.of_plan(engine, "p").items()) == list(plan_rules.document(RULES).items())
    ((number,),) = execute(engine, "SELECT id FROM service WHERE login = 'ana'")
    ana = terms.of_service(engine, int(str(number)))
    assert (ana.period_day, ana.account_state, ana.rules) == (31, "no_balance", plan_rules.document(RULES))
    router = terms.of_router(engine, "north")
    assert (router.queues, router.api_fingerprint, router.coa_per_second) == ("simple", PIN, 100)


def test_what_was_exported_applies_without_a_change(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    assert applied(engine, ISP).changes == ()
    for secrets in (False, True):
        assert applied(engine, export(engine, VAULT, secrets=secrets)).changes == ()


@given(rules.plan_rules())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rules_come_back_from_the_database(engine: sqlalchemy.Engine, wanted: PlanRules) -> None:
    # Only the way through the column is asked here, so the rules need not fit a plan.
    stored = json.dumps(plan_rules.document(wanted), ensure_ascii=False)
    execute(
        engine,
        "INSERT INTO plan (name, kind, interim_seconds, rules) VALUES ('x', 'internet', 600, CAST(:rules AS jsonb))"
        " ON CONFLICT (name) DO UPDATE SET rules = excluded.rules",
        rules=stored,
    )
    assert plan_rules.load(terms.of_plan(engine, "x")) == wanted


def test_a_changed_rule_is_named_by_its_own_key(online: sqlalchemy.Engine) -> None:
    changed = ISP.replace("priority = 3\n", "").replace('bonus = "10G"', 'bonus = "20G"')
    assert applied(online, changed).changes == (Change("plan", "p", Action.UPDATED, ("priority", "cap")),)


def test_rules_that_are_left_out_are_taken_away(online: sqlalchemy.Engine, database_dsn: str) -> None:
    applied(online, '[[plan]]\nname = "p"\ndownload = "100M"\nupload = "50M"\n')
    assert {plan.rules for plan in read_snapshot(database_dsn, VAULT).plans.values()} == {NO_RULES}


def test_the_state_of_an_account_changes_only_where_the_file_says_so(online: sqlalchemy.Engine) -> None:
    without = ISP.replace('account_state = "no_balance"\n', "")
    assert applied(online, without).changes == ()
    execute(online, "UPDATE service SET account_state = 'blocked' WHERE login = 'luis'")
    exported = export(online, VAULT)
    assert exported.count("account_state") == 2
    assert applied(online, exported).changes == ()
    active = ISP.replace('"no_balance"', '"active"')
    assert applied(online, active).changes == (Change("service", "ana", Action.UPDATED, ("account_state",)),)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('plan = "p"', 'plan = "bare"'),
        ("period_day = 31", "period_day = 1"),
        ('"no_balance"', '"active"'),
        ("period_day = 31", "period_day = 31\nenabled = false"),
        ("period_day = 31", "period_day = 31\nexpires = 2030-01-01"),
        ("period_day = 31", 'period_day = 31\nattributes = { "Filter-Id" = "x" }'),
    ],
)
def test_a_change_of_a_service_on_line_goes_into_the_outbox(
    online: sqlalchemy.Engine, listener: psycopg2.extensions.connection, before: str, after: str
) -> None:
    assert before in ISP
    applied(online, ISP.replace(before, after))
    assert take_outbox(online) == [("changed", "ana")]
    assert select.select([listener], [], [], 5) != ([], [], [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('download = "100M"', 'download = "120M"'),
        ("priority = 3", "priority = 4"),
        ('octets = "500G"', 'octets = "400G"'),
        ('timezone = "America/Bogota"', 'timezone = "Europe/Madrid"'),
        ('policy = "walled-garden", pool', 'policy = "reject", pool'),
    ],
)
def test_a_change_of_a_plan_or_of_the_isp_asks_to_look_at_every_line(
    online: sqlalchemy.Engine, listener: psycopg2.extensions.connection, before: str, after: str
) -> None:
    assert before in ISP
    applied(online, ISP.replace(before, after))
    assert take_outbox(online) == [("changed", None)]
    assert select.select([listener], [], [], 5) != ([], [], [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("period_day = 31", "period_day = 31\nsimultaneous = 2"),
        ('partners = ["main", "south"]', 'partners = ["main"]'),
        ('name = "bare"', 'name = "bare"\nsession_timeout = 60'),
        ('name = "Valdelagua"', 'name = "Valdefuentes"'),
        ("coa_per_second = 100", "coa_per_second = 99"),
        ('login = "luis"', 'login = "juan"'),
    ],
)
def test_what_no_line_depends_on_leaves_the_outbox_empty(online: sqlalchemy.Engine, before: str, after: str) -> None:
    assert before in ISP
    assert applied(online, ISP.replace(before, after)).changes
    assert take_outbox(online) == []


def test_a_dry_run_tells_nobody(online: sqlalchemy.Engine, listener: psycopg2.extensions.connection) -> None:
    applied(online, ISP.replace("priority = 3", "priority = 4"), dry_run=True)
    assert take_outbox(online) == []
    applied(online, ISP.replace("priority = 3", "priority = 5"))
    assert select.select([listener], [], [], 5) != ([], [], [])
    listener.poll()
    assert len(listener.notifies) == 1


def test_an_import_has_the_day_and_the_account_and_tells_of_services_that_changed(online: sqlalchemy.Engine) -> None:
    lines = ["login,plan,period_day,account_state\n", "ana,p,28,blocked\n", "luis,bare,5,\n", "eva,bare,,no_balance\n"]
    lines[-1:] = ["AABBCCDDEEFF,bare,,no_balance\n"]
    import_services(online, VAULT, lines, lambda _done, _total: None)
    assert execute(online, "SELECT login, period_day, account_state FROM service ORDER BY login") == [
        ("AA:BB:CC:DD:EE:FF", 1, "no_balance"),
        ("ana", 28, "blocked"),
        ("luis", 5, "active"),
    ]
    # Of luis too, who is not on line: a login may be under way.
    assert sorted(take_outbox(online)) == [("changed", "ana"), ("changed", "luis")]
    import_services(online, VAULT, ["login,plan\n", "ana,p\n"], lambda _done, _total: None)
    assert execute(online, "SELECT period_day, account_state FROM service WHERE login = 'ana'") == [(28, "blocked")]
    assert take_outbox(online) == []
