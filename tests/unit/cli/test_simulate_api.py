"""The faults of the simulated API, as options."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner

from cli.simulate_api import MISHAPS, api_fault_options, api_faults
from simulator.routeros_faults import Aim, ApiFaults, Mishap


def asked(*arguments: str) -> ApiFaults:
    """Return the faults that a command line asks for."""
    found: list[ApiFaults] = []

    @click.command()
    @api_fault_options
    def command(**options: Any) -> None:
        found.append(api_faults(options))

    assert CliRunner().invoke(command, arguments).exit_code == 0
    return found[0]


def test_every_mishap_can_be_asked_for() -> None:
    assert sorted(MISHAPS) == sorted(mishap.value for mishap in Mishap)


def test_nothing_asked_for_is_a_sound_api() -> None:
    aim = Aim(asked())
    assert {aim.hit("/queue/simple/print") for _ in range(100)} == {None}
    assert aim.faults.calls_per_second is None
    assert not aim.faults.refuses_logins


def test_a_fault_hits_one_of_so_many_commands_that_begin_so() -> None:
    aim = Aim(asked("--api-fault", "cut", "--api-fault-every", "3", "--api-fault-at", "/queue"))
    hits = [aim.hit(words) for words in ["/queue/simple/add", "/ppp/active/print"] * 6]
    assert hits == [None, None, None, None, Mishap.CUT, None, None, None, None, None, Mishap.CUT, None]


def test_a_small_box_is_slow() -> None:
    assert asked("--api-calls-per-second", "8", "--api-pieces", "1", "--api-garbled").calls_per_second == 8
