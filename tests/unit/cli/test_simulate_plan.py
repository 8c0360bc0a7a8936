"""A plan is tried out on a terminal: what changes is told once, and what it costs is added up."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli import client
from cli.main import run

CAPPED = """
[isp]
name = "Valley"
timezone = "Europe/Madrid"
currency = "EUR"

[[plan]]
name = "capped"
download = "30M"
upload = "10M"

[plan.cap]
octets = "1G"
period = "day"
action = "fixed"
download = "1M"
upload = "512k"

[[plan.schedule]]
days = "tue"
hours = "02:00-06:00"
download = "60M"
"""
PLAIN = """
[[plan]]
name = "plain"
download = "300M"
"""
OVERAGE = """
[isp]
name = "Valley"
currency = "EUR"

[[plan]]
name = "paid"
download = "30M"
upload = "10M"

[plan.cap]
octets = "10G"
action = "overage"

[[plan.top_up]]
name = "more"
octets = "2G"
price = "2.50"
automatic = { trigger_percent = 100, most_per_month = 2 }
"""
BURSTING = CAPPED.replace(
    "[plan.cap]",
    """[plan.burst]
limit_percent = 150
seconds = 8

[plan.cap]""",
)
SOLD = (
    CAPPED.replace('upload = "10M"\n', 'upload = "10M"\nprice = "20"\ntaxes = ["iva"]\npool = "home"\n')
    + """
[[product]]
name = "router"
price = "5"
taxes = ["iva", "igic"]
prices = { north = "4" }

[[service]]
login = "ana"
plan = "capped"
customer = "ana"
"""
)
WEEK = ("--from", "2026-02-02", "--days", "7")


@pytest.fixture
def capped(tmp_path: Path) -> Path:
    """Lend a file with one plan that has a cap a day."""
    return written(tmp_path, CAPPED)


def written(directory: Path, text: str) -> Path:
    file = directory / "plans.toml"
    file.write_text(text, encoding="utf-8")
    return file


def simulate(capsys: pytest.CaptureFixture[str], file: Path, *options: str) -> str:
    assert run(["simulate", "plan", str(file), *options]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
    assert run(["simulate", "plan", *arguments]) == status
    return capsys.readouterr().err


def hours(shown: str) -> list[str]:
    """Return the rows of the table."""
    lines = shown.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("HOUR"))
    return lines[first + 1 : lines.index("", first)]


def test_each_change_of_the_rates_is_a_row_and_nothing_else_is(
    capsys: pytest.CaptureFixture[str], capped: Path
) -> None:
    shown = simulate(capsys, capped, "--usage", "14G", *WEEK)
    assert shown.startswith("capped, 30 Mbit/s down, 10 Mbit/s up: 168 hours from 2026-02-02 (Europe/Madrid)\n")
    rows = hours(shown)
    assert "Plan capped" not in shown, "the plan itself stands above the table"
    monday = [row for row in rows if row.startswith("Mon")]
    assert [row[16:].split()[:4] for row in monday] == [
        ["30", "Mbit/s", "10", "Mbit/s"],
        ["1", "Mbit/s", "512", "kbit/s"],
    ]
    assert monday[0].endswith("  80 % of the cap")
    assert "  Cap: 1 GB of 1 GB in the day; 1 Mbit/s down, 512 kbit/s up until 2026-02-03 00:00" in monday[1]
    assert "100 %" not in shown, "the cap's own sentence says that it is reached"
    tuesday = [row for row in rows if row.startswith("Tue")]
    assert tuesday[0].startswith("Tue 03 Feb 00:00  30 Mbit/s")
    assert tuesday[0].endswith("  the cap no longer holds")
    assert "Schedule 02:00-06:00: 60 Mbit/s down, 10 Mbit/s up" in tuesday[1]
    assert tuesday[2].startswith("Tue 03 Feb 06:00  30 Mbit/s")
    assert tuesday[2].endswith("  schedule 02:00-06:00 ends")


def test_the_days_are_drawn_with_what_was_held_back(capsys: pytest.CaptureFixture[str], capped: Path) -> None:
    shown = simulate(capsys, capped, "--usage", "700G", *WEEK)
    bars = [line for line in shown.splitlines() if "█" in line and not line.startswith("█")]
    assert [bar[:10] for bar in bars] == [
        "Mon 02 Feb", "Tue 03 Feb", "Wed 04 Feb", "Thu 05 Feb", "Fri 06 Feb", "Sat 07 Feb", "Sun 08 Feb",
    ]  # fmt: skip
    assert all("░" in bar and len(bar) <= 100 for bar in bars)
    assert "\nheld back    " in shown


def test_bursts_are_shown_where_the_plan_has_some(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = written(tmp_path, BURSTING)
    shown = simulate(capsys, file, "--usage", "14G", *WEEK)
    title = next(line for line in shown.splitlines() if line.startswith("HOUR"))
    assert title.split()[1:7] == ["DOWN", "UP", "BURST", "DOWN", "BURST", "UP"]
    tuesday = next(row for row in hours(shown) if row.startswith("Tue 03 Feb"))
    assert tuesday[16:].split()[4:8] == ["45", "Mbit/s", "15", "Mbit/s"]
    hour = json.loads(simulate(capsys, file, "--usage", "14G", "--json", *WEEK))["hours"][0]
    assert (hour["burst_download_bits_per_second"], hour["burst_upload_bits_per_second"]) == (45_000_000, 15_000_000)


def test_what_is_sold_need_not_be_in_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file, same = written(tmp_path, SOLD), tmp_path / "same.toml"
    assert run(["simulate", "plan", str(file), "--usage", "14G", *WEEK]) == 0
    told = capsys.readouterr()
    assert told.err == (
        f"note: {file} does not hold tax igic, tax iva, partner north, pool home; "
        "rates need none of it, so it is simulated all the same\n"
    )
    same.write_text(CAPPED, encoding="utf-8")
    assert told.out == simulate(capsys, same, "--usage", "14G", *WEEK)


def test_what_the_file_holds_is_not_noted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    held = """
[[tax]]
code = "iva"
percent = 21

[[tax]]
code = "igic"
percent = 7

[[partner]]
name = "north"

[[pool]]
name = "home"
range = "10.0.0.0/24"
"""
    assert run(["simulate", "plan", str(written(tmp_path, held + SOLD)), "--days", "1"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('taxes = ["iva"]', 'taxes = "iva"', "plan.taxes: "),
        ('pool = "home"', "pool = 7", "plan.pool: "),
        ('price = "5"', 'price = "much"', "product.price: "),
        ("[[product]]", "[[produce]]", "produce: is not a known table"),
    ],
)
def test_a_mistake_in_the_money_half_stays_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert message in refused(capsys, 1, str(written(tmp_path, SOLD.replace(right, wrong))))


def test_every_hour_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str], capped: Path) -> None:
    assert len(hours(simulate(capsys, capped, "--usage", "14G", "--hours", *WEEK))) == 168


def test_a_plan_without_rules_changes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shown = simulate(capsys, written(tmp_path, PLAIN), "--days", "1", "--from", "2026-02-02")
    assert shown.startswith("plain, 300 Mbit/s down, unlimited up: 24 hours from 2026-02-02 (Europe/Madrid)\n")
    assert "\nnothing changes in this time\n" in shown


def test_overage_and_purchases_are_added_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = written(tmp_path, OVERAGE)
    shown = simulate(capsys, file, "--usage", "20G", *WEEK)
    assert "\noverage      6.0 GB (6,000,000,000 octets)\nbought       2 x more\ntop-ups cost 5.00 EUR\n" in shown
    assert sum("overage" in row for row in hours(shown)) < 3, "hours in which nothing but the overage grew are left out"
    document = json.loads(simulate(capsys, file, "--usage", "20G", "--json", *WEEK))
    assert document["overage_octets"] == sum(hour["overage_octets"] for hour in document["hours"]) == 6 * 10**9
    assert (document["top_ups"], Decimal(document["top_up_cost"])) == ({"more": 2}, Decimal(5))


def test_json_has_every_hour_with_exact_numbers(capsys: pytest.CaptureFixture[str], capped: Path) -> None:
    document = json.loads(simulate(capsys, capped, "--usage", "14G", "--json", *WEEK))
    assert (document["plan"], document["timezone"], len(document["hours"])) == ("capped", "Europe/Madrid", 168)
    assert document["octets_up"] + document["octets_down"] + document["held_back_octets"] == 14 * 10**9
    first = document["hours"][0]
    assert (first["start"], first["download_bits_per_second"]) == ("2026-02-01T23:00:00+00:00", 30_000_000)
    assert first["events"] == []
    assert [hour["warnings"] for hour in document["hours"] if hour["warnings"]][:2] == [[80], [100]]


def test_the_language_of_the_terminal_does_not_mix_into_the_table(
    capsys: pytest.CaptureFixture[str], capped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    english = simulate(capsys, capped, "--usage", "14G", *WEEK)
    monkeypatch.setenv("LC_ALL", "es_ES.UTF-8")
    assert simulate(capsys, capped, "--usage", "14G", *WEEK) == english


def test_the_usage_of_a_real_service_is_taken_hour_by_hour(
    capsys: pytest.CaptureFixture[str], capped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = datetime.fromisoformat("2026-02-01T23:00:00+00:00")
    asked: list[tuple[str, object]] = []

    def get(_self: object, path: str, parameters: object = None) -> dict[str, Any]:
        asked.append((path, parameters))
        row = {"start": (begins + timedelta(hours=5)).isoformat(), "octets_up": 10**8, "octets_down": 9 * 10**8}
        return {"rows": [row], "start": begins.isoformat(), "end": (begins + timedelta(days=1)).isoformat()}

    monkeypatch.setattr(client.ControlClient, "get", get)
    options = ("--service", "cpe/7", "--from", "2026-02-02", "--days", "1")
    document = json.loads(simulate(capsys, capped, "--json", *options))
    assert asked == [("/v1/usage/cpe%2F7", {"by": "hour", "from": "2026-02-02", "to": "2026-02-02"})]
    used = [hour["octets_up"] + hour["octets_down"] for hour in document["hours"]]
    assert used == [0] * 5 + [10**9] + [0] * 18
    assert document["hours"][6]["download_bits_per_second"] == 1_000_000


def test_a_service_that_used_nothing_is_said_so(
    capsys: pytest.CaptureFixture[str], capped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.ControlClient, "get", lambda *_: {"rows": []})
    options = (str(capped), "--service", "ana", "--from", "2026-02-02", "--days", "3")
    assert refused(capsys, 1, *options) == (
        "caudal: ana used nothing from 2026-02-02 to 2026-02-04; ask for another time with --from\n"
    )


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--plan", "other"], 1, "has no plan 'other'; it has: capped"),
        (["--usage", "1G", "--service", "ana"], 2, "give one of them"),
        (["--from", "yesterday"], 2, "'yesterday' is no date such as 2026-01-31"),
        (["--usage", "lots"], 2, "lots"),
        (["--days", "0"], 2, "--days"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], capped: Path, options: list[str], status: int, message: str
) -> None:
    said = refused(capsys, status, str(capped), *options)
    assert message in said
    assert said.count("\n") == 1


def test_of_several_plans_one_is_to_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = written(tmp_path, CAPPED + PLAIN)
    assert "has several plans; name one with --plan: capped, plain" in refused(capsys, 1, str(file))
    assert simulate(capsys, file, "--plan", "plain", "--days", "1").startswith("plain, ")


def test_a_file_is_refused_with_every_mistake_on_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wrong = CAPPED.replace('download = "30M"', 'download = "30Q"').replace('period = "day"', 'period = "year"')
    file = written(tmp_path, wrong)
    said = refused(capsys, 1, str(file)).splitlines()
    assert said[0].startswith(f'{file}:9: plan.download: must be a rate in bit/s such as "20M"')
    assert said[1].startswith(f"{file}:14: plan.cap.period: ")
    assert said[2:] == ["caudal: the file has 2 mistakes; correct it and try again"]
