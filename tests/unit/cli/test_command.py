"""Every command explains itself, and every mistake is one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.command import Command, Group
from cli.main import SECTIONS, caudal, run


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


ALL = dict(commands(caudal))


OURS = {path: command for path, command in ALL.items() if isinstance(command, Command | Group)}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    written = capsys.readouterr().out
    assert written.startswith(f"Usage: {' '.join(('caudal', *path))}")
    assert ALL[path].help
    assert not re.search(r"[a-z:,]\.\.\.\n", written), "a sentence is cut off"


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_help_ends_with_the_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run([*path, "--help"])
    assert capsys.readouterr().out.endswith(f"Example:\n  {OURS[path].example}\n")


LISTINGS = [
    *(path for path in ALL if path[-1:] == ("list",)),
    *(("invoice", "parked"), ("invoice", "runs"), ("ledger", "balances"), ("voucher", "show")),
]


@pytest.mark.parametrize("path", LISTINGS, ids=" ".join)
def test_every_listing_is_paged_whole_on_demand_and_there_for_programs(path: tuple[str, ...]) -> None:
    assert {"--json", "--limit", "--all"} <= {option for each in ALL[path].params for option in each.opts}


NAMED = {"customer", "service", "subscription", "product", "login", "router", "pool"}


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_what_is_named_is_completed(path: tuple[str, ...]) -> None:
    plain = [
        each.name
        for each in ALL[path].params
        # click tells in no other way whether a parameter has a completion of its own.
        if each.name in NAMED and isinstance(each.type, click.types.StringParamType) and not each._custom_shell_complete
    ]
    assert plain == []


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_every_example_is_a_command_line_that_parses(path: tuple[str, ...]) -> None:
    words = OURS[path].example.removeprefix('eval "$(').removesuffix(')"').split()
    assert words[: len(path) + 1] == ["caudal", *path]
    leaf: click.Command = caudal
    rest = words[1:]
    while isinstance(leaf, click.Group) and not (leaf.invoke_without_command and rest[0].startswith("-")):
        found = leaf.get_command(click.Context(leaf), rest.pop(0))
        assert found is not None
        leaf = found
    known = {option for parameter in leaf.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= known


@pytest.mark.parametrize("name", [name for section in SECTIONS.values() for name in section])
def test_the_short_help_of_the_table_is_the_commands_own(name: str) -> None:
    entry = next(section[name] for section in SECTIONS.values() if name in section)
    assert ALL[(name,)].get_short_help_str(200) == entry.short_help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sesion"], "; did you mean 'session', 'version'?; see"),
        (["session", "lst"], "; did you mean 'list'?; see"),
        (["login", "list", "--reason", "wrong"], "'wrong_password'"),
        (["session", "list", "--limit", "0"], "0 is not in the range"),
        (["session", "list", "--since", "yesterday"], "neither an age"),
        (["session", "show"], "ID"),
        (["session", "show", "x"], "not a valid integer"),
        (["session", "list", "--jsn"], "--json"),
        (["usage", "ana", "--by", "week"], "week"),
        (["apply", "/nowhere.toml"], "does not exist"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_a_misuse_is_one_line_that_says_where_help_is(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("caudal: ")
    assert message in line
    assert line.endswith("--help")


def test_help_imports_nothing_that_is_slow() -> None:
    program = (
        "import sys; from cli.main import run; run(['--help']); "
        "print(*sorted(sys.modules.keys() & {'rich', 'http.client', 'pydantic', 'sqlalchemy', 'twisted', 'asyncio'}))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_writes_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_CAUDAL_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "asked", "offered"),
    [
        (("caudal", "service", "show", "aa", ":", "bb", ":", "c"), "3 caudal service show aa:bb:c", "cc:01 cc:02"),
        (("caudal", "service", "show", "aa", ":"), "3 caudal service show aa:", "bb:cc:01 bb:cc:02"),
        (("caudal", "service", "show", ""), "3 caudal service show ", "aa:bb:cc:01 aa:bb:cc:02"),
    ],
)
def test_bash_completes_a_mac_address_although_it_parts_words_at_colons(
    words: tuple[str, ...], asked: str, offered: str, tmp_path: Path
) -> None:
    stand_in = tmp_path / "caudal"
    stand_in.write_text(
        f"#!/bin/sh\necho $COMP_CWORD $COMP_WORDS > {tmp_path}/asked\necho plain,aa:bb:cc:01\necho plain,aa:bb:cc:02\n"
    )
    stand_in.chmod(0o755)
    script = subprocess.run(
        [sys.executable, "-m", "cli", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    press = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _caudal_completion caudal; echo "${COMPREPLY[@]}"'
    shown = subprocess.run(
        ["bash", "-c", f"{script}\n{press}", "bash", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert (shown.stdout.strip(), shown.stderr) == (offered, "")
    assert (tmp_path / "asked").read_text().split() == asked.split()
