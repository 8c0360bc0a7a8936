"""Services from CSV against a real database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from config.provisioning import read
from enforcement.credentials import PASSWORD_AT
from storage.importing import PROBLEMS_LISTED, ImportRefused, ImportReport, import_services
from storage.provisioning import apply
from storage.vault import Vault

EXAMPLES = Path(__file__).parents[2] / "examples"
VAULT = Vault(bytes(range(32)))
ISP = """
[[router]]
name = "north"
address = "192.0.2.1"
secret = "secret-of-the-north"
[[router]]
name = "south"
address = "192.0.2.2"
secret = "secret-of-the-south"
[[plan]]
name = "20"
[[plan]]
name = "40"
[[customer]]
login = "ana"
name = "Ana"
"""


@pytest.fixture
def isp(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Lend an engine over a database with routers, plans and a customer."""
    apply(engine, VAULT, read(ISP, "isp.toml"))
    return engine


def imported(engine: sqlalchemy.Engine, lines: Iterable[str]) -> ImportReport:
    return import_services(engine, VAULT, lines, lambda _done, _total: None)


def refused(engine: sqlalchemy.Engine, document: str) -> list[str]:
    with pytest.raises(ImportRefused) as caught:
        imported(engine, document.splitlines(keepends=True))
    return [str(problem) for problem in caught.value.problems]


def services(engine: sqlalchemy.Engine) -> list[dict[str, Any]]:
    query = """
        SELECT s.*, p.name AS plan, c.login AS customer FROM service s JOIN plan p ON p.id = plan_id
        LEFT JOIN customer c ON c.id = customer_id ORDER BY s.login"""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def password(service: dict[str, Any]) -> str:
    return VAULT.open(bytes(service["secret"]), b"service:" + service["login"].encode())[PASSWORD_AT:].decode()


def test_a_row_has_everything_a_service_of_a_file_has(isp: sqlalchemy.Engine) -> None:
    document = (
        "login,password,plan,customer,address,mac,routers,simultaneous,enabled,expires,attributes\n"
        'ana," pass,""word"" ",20,ana,203.0.113.7,aabbccddeeff;00-11-22-33-44-55,south;north,2,No,2027-01-31,'
        "Reply-Message=a;Framed-MTU=1492;Reply-Message=b\\;c\n"
        "aabb.ccdd.0001,,40,,,,,,,,\n"
    )
    assert imported(isp, document.splitlines(keepends=True)) == ImportReport(created=2, updated=0, unchanged=0)
    bare, ana = services(isp)
    assert (bare["login"], password(bare), bare["plan"], bare["enabled"]) == ("AA:BB:CC:DD:00:01", "", "40", True)
    assert password(ana) == ' pass,"word" '
    assert (ana["plan"], ana["customer"], ana["address"], ana["simultaneous"], ana["enabled"]) == (
        "20",
        "ana",
        "203.0.113.7",
        2,
        False,
    )
    assert ana["macs"] == ["AA:BB:CC:DD:EE:FF", "00:11:22:33:44:55"]
    assert len(ana["router_ids"]) == 2
    assert ana["expires_at"].isoformat() == "2027-01-31T23:00:00+00:00"
    assert ana["attributes"] == [["Reply-Message", "a"], ["Reply-Message", "b;c"], ["Framed-MTU", "1492"]]
    assert bytes(ana["reply_octets"]) == b"\x12\x03a\x12\x05b;c" + bytes.fromhex("0c06000005d4")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_spreadsheets_of_every_country_are_read(
    isp: sqlalchemy.Engine, delimiter: str, newline: str, mark: str
) -> None:
    document = mark + newline.join(
        delimiter.join(cells)
        for cells in (
            ["login", "password", "plan"],
            ["ñandú", '"two\nlines"', "20"],
            [],
            ["luis", "x", "40"],
            ["", "", ""],
        )
    )
    assert imported(isp, document.splitlines(keepends=True)).created == 2
    assert [(service["login"], password(service)) for service in services(isp)] == [
        ("luis", "x"),
        ("ñandú", "two\nlines"),
    ]


def test_importing_again_changes_nothing_and_a_difference_updates_one(isp: sqlalchemy.Engine) -> None:
    document = ["login,password,plan\n", "ana,x,20\n", "luis,y,20\n"]
    imported(isp, document)
    before = services(isp)
    assert imported(isp, document) == ImportReport(0, 0, 2)
    assert services(isp) == before
    assert imported(isp, ["login,password,plan\n", "ana,x,40\n", "luis,,20\n"]) == ImportReport(0, 1, 1)
    assert [(service["id"], service["plan"], password(service)) for service in services(isp)] == [
        (before[0]["id"], "40", "x"),
        (before[1]["id"], "20", "y"),
    ]


def test_a_column_the_file_does_not_have_stays_and_an_empty_cell_is_the_default(isp: sqlalchemy.Engine) -> None:
    imported(isp, ["login,password,plan,customer,address,mac\n", "ana,x,20,ana,203.0.113.7,aabbccddeeff\n"])
    assert imported(isp, ["login,plan,mac\n", "ana,40,\n"]) == ImportReport(0, 1, 0)
    (ana,) = services(isp)
    assert (ana["plan"], ana["customer"], ana["address"], ana["macs"]) == ("40", "ana", "203.0.113.7", [])


def test_every_bad_row_is_listed_and_nothing_is_imported(isp: sqlalchemy.Engine) -> None:
    problems = refused(
        isp,
        "login,password,plan,customer,address,simultaneous,enabled,expires,attributes\n"
        "good,x,20,ana,203.0.113.1,1,true,2027-01-31,\n"
        'twice,"x\n'
        'y",20,,,,,,\n'
        "twice,x,20,,,,,,\n"
        ",x,20,,,,,,\n"
        "noplan,x,,,,,,,\n"
        "badplan,x,21,,,,,,\n"
        "nopassword,,20,,,,,,\n"
        "badcustomer,x,20,luis,,,,,\n"
        "badaddress,x,20,,203.0.113,,,,\n"
        "sameaddress,x,20,,203.0.113.1,,,,\n"
        "badnumber,x,20,,,two,,,\n"
        "badenabled,x,20,,,,maybe,,\n"
        "badexpires,x,20,,,,,31/01/2027,\n"
        "badattribute,x,20,,,,,,Framed-MTU\n"
        "badvalue,x,20,,,,,,Framed-MTU=big\n"
        "short,x,20\n"
        'quote,"x"y,20,,,,,,\n'
        'open,"x,20,,,,,,\n',
    )
    starts = [
        'line 5: login: "twice" is there twice (the first is on line 3)',
        "line 6: login: is missing",
        "line 7: plan: is missing",
        'line 8: plan: there is no plan "21"',
        "line 9: password: is missing for a new service",
        'line 10: customer: there is no customer "luis"',
        'line 11: address: must be an address such as "100.64.0.7", not "203.0.113"',
        'line 12: address: 203.0.113.1 belongs to the service "good" too (the first is on line 2)',
        'line 13: simultaneous: must be a whole number from 1 to 2147483647, not "two"',
        'line 14: enabled: must be true or false, not "maybe"',
        'line 15: expires: must be a date such as 2027-01-31 or 2027-01-31T12:00:00, not "31/01/2027"',
        'line 16: attributes: must be a table, not "Framed-MTU"',
        "line 17: attributes.Framed-MTU: ",
        "line 18: has 3 cells where the header has 9",
        "line 19: is not CSV: ",
        "line 20: is not CSV: unexpected end of data",
    ]
    assert len(problems) == len(starts)
    for problem, start in zip(problems, starts, strict=True):
        assert problem.startswith(start)
    assert services(isp) == []


def test_quotes_that_never_end_are_one_mistake(isp: sqlalchemy.Engine) -> None:
    document = "login,password,plan\n" + 'open,"x,20\n' + "next,x,20\n" * 20_000
    assert refused(isp, document) == ["line 2: is not CSV: field larger than field limit (131072)"]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", 'line 1: must be a header with at least "login", "plan"; "login", "plan" missing'),
        ("login,plan,pasword\n", 'line 1: the column "pasword" is not known; did you mean "password"?'),
        ("login,plan,plan\n", 'line 1: the column "plan" is there twice'),
        ("login\n", 'line 1: must be a header with at least "login", "plan"; "plan" missing'),
    ],
)
def test_a_header_that_does_not_fit_is_refused(isp: sqlalchemy.Engine, header: str, problem: str) -> None:
    assert refused(isp, header) == [problem]


def test_of_very_many_bad_rows_a_thousand_are_listed_and_all_are_counted(isp: sqlalchemy.Engine) -> None:
    lines = ["login,password,plan\n", "good,x,20\n", *(f"bad{n},x,21\n" for n in range(6000))]
    with pytest.raises(ImportRefused, match="6,000 mistakes") as caught:
        imported(isp, lines)
    assert (len(caught.value.problems), caught.value.total) == (PROBLEMS_LISTED, 6000)
    assert services(isp) == []


def test_an_address_of_another_service_is_refused_but_may_move_within_the_file(isp: sqlalchemy.Engine) -> None:
    imported(isp, ["login,password,plan,address\n", "ana,x,20,203.0.113.7\n"])
    assert refused(isp, "login,password,plan,address\nluis,x,20,203.0.113.7\n") == [
        'line 2: address: 203.0.113.7 belongs to the service "ana" already'
    ]
    assert imported(isp, ["login,password,plan,address\n", "luis,x,20,203.0.113.7\n", "ana,x,20,\n"]).created == 1


def test_progress_is_told_up_to_the_last_row(isp: sqlalchemy.Engine) -> None:
    heard: list[tuple[int, int | None]] = []
    lines = ["login,password,plan\n", *(f"user{n},x,20\n" for n in range(5001))]
    import_services(isp, VAULT, lines, lambda done, total: heard.append((done, total)), total_rows=5001)
    assert heard == [(5000, 5001), (5001, 5001)]
    assert len(services(isp)) == 5001


def test_a_file_without_rows_imports_nothing(isp: sqlalchemy.Engine) -> None:
    assert imported(isp, ["login,plan\n"]) == ImportReport(0, 0, 0)


def test_the_example_fits_the_demonstration_isp(engine: sqlalchemy.Engine) -> None:
    apply(engine, VAULT, read((EXAMPLES / "isp.toml").read_text(), "isp.toml"))
    with (EXAMPLES / "services.csv").open() as lines:
        assert imported(engine, lines) == ImportReport(created=4, updated=0, unchanged=0)


def test_a_row_with_a_plan_that_the_customers_partner_may_not_sell_is_refused(isp: sqlalchemy.Engine) -> None:
    apply(isp, VAULT, read('[[partner]]\nname = "norte"\n[[plan]]\nname = "60"\npartners = ["norte"]\n', "isp.toml"))
    document = "login,password,plan,customer\nana,x,40,ana\neva,x,60,ana\nown,x,60,\n"
    assert refused(isp, document) == [
        'line 3: plan: "60" is sold by "norte", not by "main"',
        'line 4: plan: "60" is sold by "norte", not by "main"',
    ]
    assert services(isp) == []
