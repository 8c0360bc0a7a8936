"""The unit is confined, says nothing that systemd does not understand, and starts what is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
UNIT = SYSTEMD / "caudal.service"
INSTALLED_COMMAND = "/opt/caudal/.venv/bin/caudal"
MOST_EXPOSURE = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt install systemd"
)


def directives() -> list[tuple[str, str]]:
    """Read the unit's settings in order; a key may come several times."""
    rows = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (row.partition("=") for row in rows)]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8"}
    )


@pytest.mark.peer
@needs_systemd
def test_the_service_is_confined_as_systemd_counts_it() -> None:
    report = analyze("security", "--offline=true", "--no-pager", str(UNIT))

    level = re.search(r"Overall exposure level for caudal\.service: ([0-9.]+)", report.stdout)

    assert level, report.stdout + report.stderr
    assert float(level[1]) <= MOST_EXPOSURE


@pytest.mark.peer
@needs_systemd
def test_systemd_understands_each_line_of_the_unit(tmp_path: Path) -> None:
    """The command is exchanged, for it is installed where this machine has nothing."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(INSTALLED_COMMAND, "/bin/true"), encoding="utf-8")

    report = analyze("verify", "--man=no", str(copy))

    assert [line for line in report.stderr.splitlines() if UNIT.name in line] == []
    assert "Failed" not in report.stderr


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
