"""ISP files against a real database: what they change, what they leave alone, and the way back."""

from __future__ import annotations

import select
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import text

from config.provisioning import ProvisioningError, read
from domain.errors import CaudalError
from enforcement.credentials import PASSWORD_AT
from radius.mschap import hash_nt_hash, nt_hash
from storage.database import create_engine
from storage.exporting import export
from storage.provisioning import Action, ApplyReport, Change, apply
from storage.snapshot import CHANNEL
from storage.vault import Vault, VaultError
from tests.postgres import PostgresForTests

EXAMPLE = (Path(__file__).parents[2] / "examples/isp.toml").read_text()
VAULT = Vault(bytes(range(32)))
ISP = """
[isp]
name = "Valdelagua"
timezone = "America/Bogota"

[[router]]
name = "north"
address = "192.0.2.1"
secret = "first-secret-of-north"
profile = "mikrotik"
api = { user = "caudal", password = "api-password", tls = true }

[[router]]
name = "south"
address = "192.0.2.2"
identifier = "s"
secret = "first-secret-of-south"

[[pool]]
name = "homes"
range = "100.64.0.0/24"
routers = ["south", "north"]

[[pool]]
name = "prefixes"
range = "2001:db8::/40"
kind = "delegated-prefix"

[[plan]]
name = "20"
download = "20M"
upload = "1.5M"
pool = "homes"
delegated_pool = "prefixes"

[[customer]]
login = "ana"
name = "Ana \\"la Roja\\" Núñez \\\\ 🌊"

[[service]]
login = "ana"
password = "pass\\tword \\\\N 'x' ñ"
plan = "20"
customer = "ana"
address = "203.0.113.7"
mac = ["aabbccddeeff", "001122334455"]
routers = ["south", "north"]
expires = 2027-01-31
attributes = { "Reply-Message" = ["{a,\\"b\\"}", "\\\\.\\n"], "Framed-MTU" = 1492 }

[[service]]
login = "aa:bb:cc:00:00:01"
plan = "20"
expires = 2027-01-31T12:00:00.25
"""


def applied(engine: sqlalchemy.Engine, document: str, *, dry_run: bool = False) -> ApplyReport:
    return apply(engine, VAULT, read(document, "isp.toml"), dry_run=dry_run)


def rows(engine: sqlalchemy.Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def revision(engine: sqlalchemy.Engine) -> int:
    return int(rows(engine, "SELECT revision FROM configuration_revision")[0]["revision"])


def problems_of(engine: sqlalchemy.Engine, document: str) -> list[str]:
    with pytest.raises(ProvisioningError) as caught:
        applied(engine, document)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_creates_what_it_describes(engine: sqlalchemy.Engine) -> None:
    report = applied(engine, ISP)
    assert [(change.kind, change.name, change.action) for change in report.changes] == [
        ("isp", "Valdelagua", Action.UPDATED),
        ("router", "north", Action.CREATED),
        ("router", "south", Action.CREATED),
        ("pool", "homes", Action.CREATED),
        ("pool", "prefixes", Action.CREATED),
        ("plan", "20", Action.CREATED),
        ("customer", "ana", Action.CREATED),
        ("service", "ana", Action.CREATED),
        ("service", "AA:BB:CC:00:00:01", Action.CREATED),
    ]
    north, south = rows(engine, "SELECT * FROM router ORDER BY name")
    assert VAULT.open(bytes(north["secret"]), b"router:north") == b"first-secret-of-north"
    assert VAULT.open(bytes(north["api_password"]), b"api:north") == b"api-password"
    assert (north["address"], north["api_user"], north["api_port"], north["api_tls"]) == (
        "192.0.2.1/32",
        "caudal",
        None,
        True,
    )
    (homes, prefixes) = rows(engine, "SELECT * FROM pool ORDER BY name")
    assert (homes["first_address"], homes["last_address"], homes["prefix_length"]) == ("100.64.0.0", "100.64.0.255", 32)
    assert homes["router_ids"] == sorted([north["id"], south["id"]])
    assert (prefixes["first_address"], prefixes["prefix_length"]) == ("2001:db8::", 56)
    bare, ana = rows(engine, "SELECT * FROM service ORDER BY login")
    password = "pass\tword \\N 'x' ñ".encode()
    assert VAULT.open(bytes(ana["secret"]), b"service:ana") == (
        nt_hash(password) + hash_nt_hash(nt_hash(password)) + password
    )
    assert ana["macs"] == ["AA:BB:CC:DD:EE:FF", "00:11:22:33:44:55"]
    assert ana["attributes"] == [["Reply-Message", '{a,"b"}'], ["Reply-Message", "\\.\n"], ["Framed-MTU", "1492"]]
    assert bytes(ana["reply_octets"]) == b'\x12\x09{a,"b"}' + b"\x12\x05\\.\n" + bytes.fromhex("0c06000005d4")
    assert ana["expires_at"] == datetime(2027, 2, 1, 5, tzinfo=UTC)
    assert VAULT.open(bytes(bare["secret"]), b"service:AA:BB:CC:00:00:01")[PASSWORD_AT:] == b""


def test_applying_a_file_again_changes_nothing(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    before = rows(engine, "SELECT s.*, s.xmin FROM service s ORDER BY id"), revision(engine)
    report = applied(engine, ISP)
    assert report.changes == ()
    assert report.unchanged == {"isp": 1, "router": 2, "pool": 2, "plan": 1, "customer": 1, "service": 2}
    assert (rows(engine, "SELECT s.*, s.xmin FROM service s ORDER BY id"), revision(engine)) == before


def test_only_what_differs_is_written_and_named(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    ids = rows(engine, "SELECT id, login FROM service ORDER BY id")
    changed = (
        ISP.replace("first-secret-of-north", "other-secret-of-north")
        .replace("api-password", "other-api-password")
        .replace('"20M"', '"40M"')
        .replace("pass\\tword", "other")
        .replace('address = "203.0.113.7"\n', "")
        .replace("1492", "1400")
    )
    assert applied(engine, changed).changes == (
        Change("router", "north", Action.UPDATED, ("secret", "api")),
        Change("plan", "20", Action.UPDATED, ("download",)),
        Change("service", "ana", Action.UPDATED, ("password", "address", "attributes")),
    )
    assert rows(engine, "SELECT id, login FROM service ORDER BY id") == ids
    assert rows(engine, "SELECT address FROM service WHERE login = 'ana'") == [{"address": None}]


def test_a_dry_run_reports_the_same_and_writes_nothing(engine: sqlalchemy.Engine) -> None:
    planned = applied(engine, ISP, dry_run=True)
    assert planned.dry_run
    assert rows(engine, "SELECT FROM router UNION ALL SELECT FROM service") == []
    assert revision(engine) == 1
    assert applied(engine, ISP).changes == planned.changes


def test_secrets_that_are_left_out_stay(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    without = "\n".join(line for line in ISP.splitlines() if not line.startswith(("secret", "password")))
    without = without.replace('password = "api-password", ', "")
    assert applied(engine, without).changes == ()


def test_removing_the_api_forgets_its_password(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    without = "\n".join(line for line in ISP.splitlines() if not line.startswith("api"))
    assert applied(engine, without).changes == (Change("router", "north", Action.UPDATED, ("api",)),)
    assert rows(engine, "SELECT api_password FROM router WHERE name = 'north'") == [{"api_password": None}]


def test_nothing_is_deleted(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    assert applied(engine, "").changes == ()
    assert len(rows(engine, "SELECT FROM service")) == 2


def test_a_refused_file_changes_nothing(engine: sqlalchemy.Engine) -> None:
    first = len(ISP.splitlines()) + 1
    assert problems_of(engine, ISP + '[[service]]\nlogin = "luis"\nplan = "21"\n') == [
        f'line {first}: service.password: is missing for a new service; a line without one has password = ""',
        f'line {first + 2}: service.plan: there is no plan "21"',
    ]
    assert rows(engine, "SELECT FROM router") == []


def test_routers_may_exchange_their_addresses(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    swapped = ISP.replace("192.0.2.1", "x").replace("192.0.2.2", "192.0.2.1").replace('"x"', '"192.0.2.2"')
    swapped = swapped.replace('identifier = "s"\n', "")
    assert [change.keys for change in applied(engine, swapped).changes] == [("address",), ("address", "identifier")]
    assert rows(engine, "SELECT address, identifier FROM router ORDER BY name") == [
        {"address": "192.0.2.2/32", "identifier": None},
        {"address": "192.0.2.1/32", "identifier": None},
    ]


def test_workers_hear_of_routers_pools_and_plans_but_not_of_services(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    listener = psycopg2.connect(database_dsn)
    listener.autocommit = True
    listener.cursor().execute(f"LISTEN {CHANNEL}")
    applied(engine, ISP)
    assert select.select([listener], [], [], 5) != ([], [], [])
    listener.poll()
    assert [notice.channel for notice in listener.notifies] == [CHANNEL]
    assert revision(engine) == 2
    applied(engine, ISP.replace("pass\\tword", "other").replace("Ana ", "Eva "))
    assert revision(engine) == 2
    listener.close()


def test_a_dictionary_error_and_an_encrypted_attribute_are_refused_by_line(engine: sqlalchemy.Engine) -> None:
    service = '[[service]]\nlogin = "luis"\npassword = ""\nplan = "20"\n'
    applied(engine, ISP)
    (problem,) = problems_of(engine, service + 'attributes = { "Tunnel-Password" = "x" }\n')
    assert problem.startswith("line 5: service.attributes.Tunnel-Password: ")
    (problem,) = problems_of(engine, service + 'attributes = { "Mikrotik-Rate-Limitt" = "x" }\n')
    assert "Mikrotik-Rate-Limit" in problem


def lease(engine: sqlalchemy.Engine, address: str, expires: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO lease SELECT id, CAST(:address AS inet), 1, :address, now(),"
                " now() + CAST(:expires AS interval) FROM pool WHERE name = 'homes'"
            ),
            {"address": address, "expires": expires},
        )
        connection.execute(text("UPDATE pool SET next_offset = 200 WHERE name = 'homes'"))


def offset_and_leases(engine: sqlalchemy.Engine) -> tuple[int, int]:
    (row,) = rows(engine, "SELECT next_offset, (SELECT count(*) FROM lease) AS leases FROM pool WHERE name = 'homes'")
    return row["next_offset"], row["leases"]


def test_an_attribute_with_a_tag_is_written_with_it_and_comes_back(engine: sqlalchemy.Engine) -> None:
    """RFC 2868 section 3: two tunnels of one answer are told apart by their tags."""
    tunnels = '{ "Tunnel-Type:1" = "L2TP", "Tunnel-Server-Endpoint:1" = "192.0.2.9", "Tunnel-Type:2" = "GRE" }'
    plain = '{ "Reply-Message" = ["{a,\\"b\\"}", "\\\\.\\n"], "Framed-MTU" = 1492 }'
    assert plain in ISP
    document = ISP.replace(plain, tunnels)
    applied(engine, document)
    octets = bytes(rows(engine, "SELECT reply_octets FROM service WHERE login = 'ana'")[0]["reply_octets"])
    assert octets == b"\x40\x06\x01\0\0\x03" + b"\x43\x0c\x01192.0.2.9" + b"\x40\x06\x02\0\0\x0a"
    assert applied(engine, export(engine, VAULT)).changes == ()
    (problem,) = problems_of(engine, document.replace('"Tunnel-Type:2" = "GRE"', '"Framed-MTU:2" = 1492'))
    assert "carries no tag" in problem


def test_a_pool_grows_at_its_end_while_leases_run(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    lease(engine, "100.64.0.9", "1 hour")
    assert applied(engine, ISP.replace("100.64.0.0/24", "100.64.0.0/16")).changes[0].keys == ("range",)
    assert offset_and_leases(engine) == (200, 1)


def test_a_pool_does_not_move_while_leases_of_it_run(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    lease(engine, "100.64.0.150", "1 hour")
    (problem,) = problems_of(engine, ISP.replace("100.64.0.0/24", "100.65.0.0/24"))
    assert problem.startswith("line 21: pool.range: cannot change so while 1 of its leases run, the last until ")
    (problem,) = problems_of(engine, ISP.replace("100.64.0.0/24", "100.64.0.0/25"))
    assert problem.startswith("line 21: pool.range: cannot change so while 1 of its leases run")


def test_a_pool_moves_and_forgets_its_ended_leases(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    lease(engine, "100.64.0.9", "-1 second")
    assert applied(engine, ISP.replace("100.64.0.0/24", "100.65.0.0/24")).changes[0].keys == ("range",)
    assert offset_and_leases(engine) == (0, 0)


def test_a_pool_shrinks_behind_its_running_leases(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    lease(engine, "100.64.0.9", "1 hour")
    lease(engine, "100.64.0.150", "-1 second")
    applied(engine, ISP.replace("100.64.0.0/24", "100.64.0.0/25"))
    assert offset_and_leases(engine) == (128, 1)


@pytest.mark.parametrize("document", [ISP, EXAMPLE])
def test_what_was_exported_applies_without_a_change(engine: sqlalchemy.Engine, document: str) -> None:
    applied(engine, document)
    for secrets in (False, True):
        assert applied(engine, export(engine, VAULT, secrets=secrets)).changes == ()


@pytest.mark.parametrize("document", [ISP, EXAMPLE])
def test_an_export_with_secrets_builds_the_same_again(
    engine: sqlalchemy.Engine, postgres: PostgresForTests, document: str
) -> None:
    applied(engine, document)
    exported = export(engine, VAULT, secrets=True)
    with postgres.database() as dsn:
        copy = create_engine(dsn)
        applied(copy, exported)
        assert export(copy, VAULT, secrets=True) == exported
        copy.dispose()


def test_an_export_without_secrets_holds_none(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    exported = export(engine, VAULT)
    for secret in ("first-secret", "api-password", "pass\\tword"):
        assert secret in ISP
        assert secret not in exported
    assert "expires = 2027-01-31\n" in exported
    assert 'download = "20M"' in exported
    assert 'range = "100.64.0.0/24"' in exported


def test_the_wrong_key_is_one_clear_error_and_changes_nothing(engine: sqlalchemy.Engine) -> None:
    applied(engine, ISP)
    stranger = Vault(bytes(32))
    with pytest.raises(VaultError, match=r"router:north cannot be opened"):
        apply(engine, stranger, read(ISP.replace('"20M"', '"40M"'), "isp.toml"))
    with pytest.raises(CaudalError):
        export(engine, stranger, secrets=True)
    assert applied(engine, ISP).changes == ()


def test_more_objects_than_one_chunk_are_applied_and_exported(engine: sqlalchemy.Engine) -> None:
    services = "".join(
        f'[[customer]]\nlogin = "c{n}"\nname = "C"\n[[service]]\nlogin = "s{n}"\npassword = "p{n}"\nplan = "20"\n'
        f'customer = "c{n}"\n'
        for n in range(5001)
    )
    assert len(applied(engine, ISP + services).changes) == 9 + 2 * 5001
    report = applied(engine, export(engine, VAULT, secrets=True))
    assert (report.changes, report.unchanged["service"]) == ((), 5003)
