"""The rooms, the tools that check them and the locked files agree with each other."""

import configparser
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
NOT_INSTALLED = {"bench", "tests"}
INSTALLED_ROOMS = sorted(set(ROOMS) - NOT_INSTALLED)
# Left in site-packages by accident; pytest puts our tree first, and nothing but the tests imports `tests`.
KNOWN_STRANGERS = {"tests": {"RouterOS-api"}}
LOCKS = ("requirements.lock", "requirements-dev.lock")
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>\S+)(?: ; .+)?")


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines(section: str, key: str) -> list[str]:
    return [line.strip() for line in settings()[section][key].splitlines() if line.strip()]


def locked(name: str) -> dict[str, list[str]]:
    """Read a lock file: each pin, as it is written, with its hashes."""
    hashes: dict[str, list[str]] = {}
    pin = ""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        text = line.strip().removesuffix("\\").strip()
        if text.startswith("--hash="):
            hashes[pin].append(text.removeprefix("--hash="))
        elif text and not text.startswith("#"):
            pin = text
            hashes[pin] = []
    return hashes


def versions(name: str) -> dict[str, str]:
    matches = [PIN.fullmatch(pin) for pin in locked(name)]
    return {match["name"].replace(".", "-"): match["version"] for match in matches if match}


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_imported_from_our_tree(room: str) -> None:
    module = importlib.import_module(room)

    assert module.__file__ == str(ROOT / room / "__init__.py")


def test_each_installed_room_is_ours_from_any_directory_too(tmp_path: Path) -> None:
    program = f"import importlib\nfor room in {INSTALLED_ROOMS}: print(importlib.import_module(room).__file__)"

    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert found.stdout.splitlines() == [str(ROOT / room / "__init__.py") for room in INSTALLED_ROOMS]


def test_no_other_distribution_owns_the_name_of_a_room() -> None:
    owners = importlib.metadata.packages_distributions()

    strangers = {room: set(owners.get(room, [])) - {"caudal"} for room in ROOMS}

    assert {room: names for room, names in strangers.items() if names - KNOWN_STRANGERS.get(room, set())} == {}


def test_the_folder_of_systemd_units_is_no_package() -> None:
    assert not (ROOT / "systemd" / "__init__.py").exists()


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_says_what_it_decides(room: str) -> None:
    assert importlib.import_module(room).__doc__


def test_exactly_the_rooms_of_the_product_are_installed() -> None:
    assert lines("options.packages.find", "include") == [f"{room}*" for room in INSTALLED_ROOMS]


def test_no_name_of_a_room_begins_with_the_name_of_another() -> None:
    """Packages are found by `room*`, which would catch the longer name too."""
    prefixed = [(a, b) for a in INSTALLED_ROOMS for b in ROOMS if a != b and b.startswith(a)]

    assert prefixed == []


def test_the_layers_are_checked_for_each_installed_room() -> None:
    layered = set(re.findall(r"\w+", settings()["importlinter:contract:layers"]["layers"]))

    assert lines("importlinter", "root_packages") == INSTALLED_ROOMS
    assert set(INSTALLED_ROOMS) <= layered


def test_mypy_and_ruff_know_each_room() -> None:
    ruff = tomllib.loads((ROOT / "ruff.toml").read_text(encoding="utf-8"))

    assert sorted(re.findall(r"\w+", settings()["mypy"]["packages"])) == ROOMS
    assert ruff["lint"]["isort"]["known-first-party"] == ROOMS


@pytest.mark.parametrize("lock", LOCKS)
def test_each_line_of_a_lock_is_pinned_and_hashed(lock: str) -> None:
    pins = locked(lock)

    assert pins
    assert [pin for pin in pins if not PIN.fullmatch(pin)] == []
    assert [pin for pin, hashes in pins.items() if not hashes] == []
    assert [
        found for hashes in pins.values() for found in hashes if not re.fullmatch("sha256:[0-9a-f]{64}", found)
    ] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_download_from(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")

    assert re.findall(r"\S*(?:://|--index|--extra-index|--find-links|--trusted-host|file:)\S*", text) == []


@pytest.mark.parametrize(
    ("lock", "section", "key"),
    [
        ("requirements.lock", "options", "install_requires"),
        ("requirements.lock", "options.extras_require", "build"),
        ("requirements-dev.lock", "options.extras_require", "dev"),
    ],
)
def test_a_lock_satisfies_what_setup_cfg_asks_for(lock: str, section: str, key: str) -> None:
    pins = versions(lock)
    wanted = [Requirement(line) for line in lines(section, key) if not line.startswith("#")]

    assert wanted
    assert [str(w) for w in wanted if pins.get(canonicalize_name(w.name), "") not in w.specifier] == []


def test_developers_run_the_versions_that_are_shipped() -> None:
    developers, shipped = versions("requirements-dev.lock"), versions("requirements.lock")

    assert {name: developers.get(name) for name in shipped} == shipped
