"""The unit is confined, says nothing that systemd does not understand, and starts what is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
UNIT = SYSTEMD / "caudal.service"
PARTS = {"core": SYSTEMD / "caudal-core.service", "radius": SYSTEMD / "caudal-radius.service"}
UNITS = [UNIT, *PARTS.values()]
TARGET = SYSTEMD / "caudal.target"
INSTALLED_COMMAND = "/opt/caudal/.venv/bin/caudal"
MOST_EXPOSURE = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt install systemd"
)


def directives(unit: Path = UNIT, section: str = "") -> list[tuple[str, str]]:
    """Read a unit's settings in order, all or those of one section; a key may come several times."""
    text = unit.read_text(encoding="utf-8")
    if section:
        text = text.partition(f"[{section}]\n")[2].partition("\n[")[0]
    rows = [line for line in text.splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (row.partition("=") for row in rows)]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8"}
    )


@pytest.mark.peer
@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_service_is_confined_as_systemd_counts_it(unit: Path) -> None:
    report = analyze("security", "--offline=true", "--no-pager", str(unit))

    level = re.search(rf"Overall exposure level for {re.escape(unit.name)}: ([0-9.]+)", report.stdout)

    assert level, report.stdout + report.stderr
    assert float(level[1]) <= MOST_EXPOSURE


@pytest.mark.peer
@needs_systemd
def test_systemd_understands_each_line_of_the_units(tmp_path: Path) -> None:
    """The command is exchanged, for it is installed where this machine has nothing."""
    copies = [tmp_path / unit.name for unit in (*UNITS, TARGET)]
    for unit, copy in zip((*UNITS, TARGET), copies, strict=True):
        copy.write_text(unit.read_text(encoding="utf-8").replace(INSTALLED_COMMAND, "/bin/true"), encoding="utf-8")

    report = analyze("verify", "--man=no", *map(str, copies))

    assert [line for line in report.stderr.splitlines() if "caudal" in line] == []
    assert "Failed" not in report.stderr


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_run_and_confined_as_the_whole_is(part: str) -> None:
    whole = [(key, value) for key, value in directives(section="Service") if key != "ExecStart"]
    own = directives(PARTS[part], "Service")

    assert [(key, value) for key, value in own if key != "ExecStart"] == whole
    assert dict(own)["ExecStart"] == dict(directives())["ExecStart"].replace("serve", f"serve --only {part}")


def test_the_target_is_both_parts_and_not_beside_the_whole() -> None:
    target = dict(directives(TARGET))

    assert target["Wants"].split() == [unit.name for unit in PARTS.values()]
    for settings in (target, *(dict(directives(unit)) for unit in PARTS.values())):
        assert settings["Conflicts"] == UNIT.name
    assert all(dict(directives(unit))["PartOf"] == TARGET.name for unit in PARTS.values())
    assert PARTS["core"].name in dict(directives(PARTS["radius"]))["After"].split()


def test_no_core_dump_is_left_that_would_hold_secrets() -> None:
    assert dict(directives())["LimitCORE"] == "0"


def test_the_service_tells_systemd_when_it_is_ready_and_alive() -> None:
    unit = dict(directives())

    assert (unit["Type"], unit["NotifyAccess"], unit["Restart"], unit["WatchdogSec"]) == (
        "notify",
        "main",
        "always",
        "30",
    )
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_service_starts_the_installed_command_on_the_system_s_paths() -> None:
    assert dict(directives())["ExecStart"].split() == [
        INSTALLED_COMMAND,
        *("serve", "--config", "/etc/caudal/caudal.toml", "--data", "/var/lib/caudal"),
    ]


def test_the_account_of_the_service_is_the_one_that_is_created() -> None:
    unit = dict(directives())
    account = [line.split() for line in (SYSTEMD / "caudal.sysusers").read_text(encoding="utf-8").splitlines()][-1]

    assert account[:2] == ["u", unit["User"]]
    assert unit["User"] == unit["Group"]


def test_the_service_runs_without_any_capability() -> None:
    assert [value for key, value in directives() if key in {"CapabilityBoundingSet", "AmbientCapabilities"}] == ["", ""]
