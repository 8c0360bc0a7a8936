"""The options of `caudal simulate` that say how the routers' APIs fail.

Rule: every fault that the simulated API knows can be asked for here, so that an installation can be tried against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from simulator.routeros_faults import ApiFaults

MISHAPS = ("stall", "fatal", "cut", "trap", "bare-trap", "garbled-trap", "reboot", "duplicate")
"""The values of `simulator.routeros_faults.Mishap`, which is not imported to print a help text."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--api-fault", type=click.Choice(MISHAPS), help="What goes wrong with commands of the routers' APIs."),
    click.option(
        "--api-fault-every",
        type=click.IntRange(1),
        default=20,
        show_default=True,
        help="Of so many commands it hits one.",
    ),
    click.option(
        "--api-fault-at", metavar="WORDS", default="/", help="Of those that begin so, as /queue/simple/add; /login too."
    ),
    click.option(
        "--api-calls-per-second",
        type=click.FloatRange(0, min_open=True),
        help="A slow box: its API serves so many commands a second, one after the other.",
    ),
    click.option("--api-pieces", type=click.IntRange(1), help="Replies of the API leave in pieces of so many octets."),
    click.option("--api-garbled", is_flag=True, help="Comments hold an octet that is no UTF-8."),
    click.option("--api-refuses-logins", is_flag=True, help="The API takes no password."),
)


def api_fault_options(command: _Decorated) -> _Decorated:
    """Give `command` the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def api_faults(options: Mapping[str, Any]) -> ApiFaults:
    """Return the faults that the options ask for."""
    from simulator.routeros_faults import ApiFaults, Mishap

    fault = options["api_fault"]
    return ApiFaults(
        None if fault is None else Mishap(fault),
        at=options["api_fault_at"],
        every=options["api_fault_every"],
        takes_effect=True,
        calls_per_second=options["api_calls_per_second"],
        write_octets=options["api_pieces"],
        garbled_comments=options["api_garbled"],
        refuses_logins=options["api_refuses_logins"],
    )
