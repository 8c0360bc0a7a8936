"""`caudal simulate`: a fleet of routers with subscribers, against a RADIUS server.

Rule: the fleet is a client on the network and nothing else; it needs addresses of its own (127.0.0.0/8 will do) and
never touches the database.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.command import Group
from cli.simulate_api import api_fault_options, api_faults
from cli.simulate_plan import plan
from domain.errors import CaudalError
from domain.secret import Secret

if TYPE_CHECKING:
    from simulator.behaviour import Behaviour
    from simulator.description import ApiDescription, FleetDescription
    from simulator.fleet import Fleet, Status

STATUS_SECONDS = 1.0
PLAIN_STATUS_SECONDS = 10.0
"""Without a terminal, a line this often is enough."""
RAMP_SUBSCRIBERS_PER_SECOND = 500
LEAST_RAMP_SECONDS = 6.0
MADE_UP_SUBSCRIBERS = 500
_PERCENT = click.FloatRange(0, 100)


@dataclass(frozen=True, slots=True)
class _Run:
    """How one run is watched, ended and recorded."""

    duration: float | None
    stop_on_exit: bool
    as_json: bool
    quiet: bool
    truth: Path | None
    truth_live: bool


@click.group(
    cls=Group, invoke_without_command=True, example="caudal simulate --isp examples/isp.toml --interim-seconds 10"
)
@click.option(
    "--isp",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Provisioning file to take routers and services from.",
)
@click.option(
    "--routers", type=click.IntRange(1, 60_000), default=4, show_default=True, help="Made-up routers, without --isp."
)
@click.option(
    "--subscribers", type=click.IntRange(0), help="Subscribers: made up (default 500), or at most so many of --isp."
)
@click.option("--login-pattern", default="user%d", show_default=True, help="Names of made-up subscribers.")
@click.option("--password-pattern", default="pass%d", show_default=True, help="Passwords of made-up subscribers.")
@click.option(
    "--first-address", default="127.0.1.1", show_default=True, help="Source address of the first made-up router."
)
@click.option(
    "--secret",
    default="testing123",
    show_default=True,
    help="Shared secret of made-up routers.",
    envvar="CAUDAL_SIMULATE_SECRET",
)
@click.option(
    "--coa-port", type=click.IntRange(1, 65_535), default=3799, show_default=True, help="CoA port of made-up routers."
)
@click.option(
    "--api-password",
    envvar="CAUDAL_SIMULATE_API_PASSWORD",
    help="Give made-up routers RouterOS's API, with this password.  [default: none]",
)
@click.option("--api-user", default="caudal", show_default=True, help="User of the API of made-up routers.")
@click.option(
    "--api-port",
    type=click.IntRange(1, 65_535),
    help="Port of the API of made-up routers.  [default: 8728, or 8729 with --api-tls]",
)
@click.option("--api-tls", is_flag=True, help="Made-up routers serve the API over TLS.")
@click.option("--no-api", is_flag=True, help="Leave the API of every router away.")
@click.option(
    "--heavy",
    multiple=True,
    metavar="LOGIN[=RATE]",
    help="A subscriber who downloads without a rest, at RATE (50M) or as fast as the line allows; repeatable.",
)
@click.option("--server", default="127.0.0.1", show_default=True, help="Address of the RADIUS server.")
@click.option("--auth-port", type=click.IntRange(1, 65_535), default=1812, show_default=True)
@click.option("--acct-port", type=click.IntRange(1, 65_535), default=1813, show_default=True)
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Stop after this many real seconds.  [default: never]"
)
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Simulated seconds in one real second.",
)
@click.option(
    "--ramp",
    type=click.FloatRange(0),
    help="Real seconds over which the first logins are spread.  [default: 6, or 1 for each 500 subscribers]",
)
@click.option(
    "--interim-seconds",
    type=click.FloatRange(0),
    help="Between interim updates; 0 for none.  [default: as the Access-Accept says]",
)
@click.option(
    "--session-seconds",
    type=click.FloatRange(0, min_open=True),
    help="Mean length of a session.  [default: hours for most lines]",
)
@click.option(
    "--think-seconds",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Mean pause before the next login.",
)
@click.option("--loss", type=_PERCENT, default=0.0, help="Datagrams lost, in percent, each way.")
@click.option("--duplicates", type=_PERCENT, default=0.0, help="Datagrams delivered twice, in percent.")
@click.option(
    "--reorder", type=_PERCENT, default=0.0, help="Datagrams delayed so that others overtake them, in percent."
)
@click.option("--lost-stops", type=_PERCENT, default=0.0, help="Sessions that end without a Stop, in percent.")
@click.option("--wrong-passwords", type=_PERCENT, default=0.0, help="Subscribers with a mistyped password, in percent.")
@click.option(
    "--reboot-every", type=click.FloatRange(0, min_open=True), help="Each router reboots about this often, in seconds."
)
@click.option(
    "--accounting-on",
    type=click.Choice(["profile", "always", "never"]),
    default="profile",
    show_default=True,
    help="Whether a router that boots says so.",
)
@click.option(
    "--clock-skew", type=click.FloatRange(0), default=0.0, help="Router clocks are wrong by up to this many seconds."
)
@click.option("--coa-ignored", type=_PERCENT, default=0.0, help="CoA neither obeyed nor answered, in percent.")
@click.option("--coa-unanswered", type=_PERCENT, default=0.0, help="CoA obeyed and not answered, in percent.")
@click.option("--coa-pretended", type=_PERCENT, default=0.0, help="CoA acknowledged and not obeyed, in percent.")
@click.option("--coa-refused", type=_PERCENT, default=0.0, help="CoA refused for no reason, in percent.")
@click.option(
    "--coa-refused-with",
    type=click.IntRange(1, 65_535),
    default=506,
    show_default=True,
    help="Error-Cause of these refusals.",
)
@click.option("--coa-delay", type=click.FloatRange(0), default=0.0, help="Answers to CoA come so many seconds late.")
@click.option(
    "--coa-unlisted",
    type=click.Choice(["ignored", "refused", "applied"]),
    default="ignored",
    show_default=True,
    help="What becomes of attributes that RouterOS's manual does not list as changeable, such as address lists.",
)
@api_fault_options
@click.option("--gigawords/--no-gigawords", default=True, help="Whether counters show what lies above 32 bits.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same fleet.")
@click.option("--stop-on-exit", is_flag=True, help="End every session with a Stop before leaving.")
@click.option(
    "--truth",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write what each session reported and got acknowledged, as JSON lines.",
)
@click.option("--truth-live", is_flag=True, help="Write --truth at each acknowledged record, safe against kill -9.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing while it runs.")
def simulate(**options: Any) -> None:
    """Run a fleet of routers whose subscribers log in, move traffic and come and go.

    The routers send from addresses of their own, answer CoA and Disconnect, and remember exactly what the server
    acknowledged. Seconds of behaviour are simulated seconds: --speed makes them pass faster.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    run = _Run(
        **{name: options[name] for name in ("stop_on_exit", "as_json", "quiet", "truth", "truth_live", "duration")}
    )
    if run.truth_live and run.truth is None:
        raise click.UsageError("--truth-live needs --truth FILE")
    try:
        if run.truth is not None:
            run.truth.touch()
        description = _describe(options)
        fleet = _build(description, _behave(options, len(description.subscribers)), options)
        summary = _drive(fleet, run)
    except (CaudalError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if run.as_json:
        click.echo(json.dumps(summary))
    elif not run.quiet:
        for name, value in summary.items():
            click.echo(f"{name.replace('_', ' '):>28}  {value:,}" if value is not None else f"{name:>28}  -")


simulate.add_command(plan)


def _describe(options: Mapping[str, Any]) -> FleetDescription:
    """Return the fleet that the options ask for."""
    description = _take_from_file(options) if options["isp"] is not None else _make_up(options)
    if options["no_api"]:
        description = description.without_api()
    return description.with_demands(dict(_demand(text) for text in options["heavy"]))


def _take_from_file(options: Mapping[str, Any]) -> FleetDescription:
    from simulator.description import read_isp

    return read_isp(options["isp"], subscribers=options["subscribers"], seed=options["seed"])


def _make_up(options: Mapping[str, Any]) -> FleetDescription:
    from simulator.description import synthetic

    return synthetic(
        routers=options["routers"],
        subscribers=MADE_UP_SUBSCRIBERS if options["subscribers"] is None else options["subscribers"],
        secret=Secret.from_text(options["secret"]),
        first_address=options["first_address"],
        login_pattern=options["login_pattern"],
        password_pattern=options["password_pattern"],
        coa_port=options["coa_port"],
        api=_api(options),
        seed=options["seed"],
    )


def _api(options: Mapping[str, Any]) -> ApiDescription | None:
    from simulator.description import API_PORT, API_TLS_PORT, ApiDescription

    if options["api_password"] is None:
        return None
    tls = options["api_tls"]
    port = options["api_port"] or (API_TLS_PORT if tls else API_PORT)
    return ApiDescription(options["api_user"], Secret.from_text(options["api_password"]), port, tls)


def _demand(text: str) -> tuple[str, int]:
    """Read `LOGIN` or `LOGIN=RATE`."""
    from simulator.rates import parse_rate_limit
    from simulator.traffic import INSATIABLE_BITS_PER_SECOND

    login, stated, rate = text.partition("=")
    try:
        wanted = parse_rate_limit(rate).download_bits_per_second if stated else INSATIABLE_BITS_PER_SECOND
    except ValueError:
        wanted = None
    if not login or wanted is None:
        raise click.BadParameter(f"{text!r} is no LOGIN or LOGIN=RATE, such as ana=50M", param_hint="--heavy")
    return login, wanted


def _behave(options: Mapping[str, Any], subscribers: int) -> Behaviour:
    """Return the behaviour that the options ask for; shares come in percent."""
    from simulator.behaviour import AccountingOn, Behaviour, DynamicFaults, Faults, Unlisted

    shares = {name: options[name] / 100 for name in ("loss", "duplicates", "reorder", "lost_stops", "wrong_passwords")}
    faults = Faults(
        **shares,
        reboot_every_seconds=options["reboot_every"],
        accounting_on=AccountingOn(options["accounting_on"]),
        clock_skew_seconds=options["clock_skew"],
        gigawords=options["gigawords"],
        dynamic=DynamicFaults(
            ignored=options["coa_ignored"] / 100,
            unanswered=options["coa_unanswered"] / 100,
            refused=options["coa_refused"] / 100,
            refused_with=options["coa_refused_with"],
            pretended=options["coa_pretended"] / 100,
            delay_seconds=options["coa_delay"],
        ),
        unlisted=Unlisted(options["coa_unlisted"]),
        api=api_faults(options),
    )
    ramp = options["ramp"]
    return Behaviour(
        speed=options["speed"],
        ramp_seconds=max(LEAST_RAMP_SECONDS, subscribers / RAMP_SUBSCRIBERS_PER_SECOND) if ramp is None else ramp,
        session_seconds=options["session_seconds"],
        think_seconds=options["think_seconds"],
        interim_seconds=options["interim_seconds"],
        faults=faults,
    )


def _build(description: FleetDescription, behaviour: Behaviour, options: Mapping[str, Any]) -> Fleet:
    from simulator.fleet import Fleet, Server

    return Fleet(
        description,
        behaviour,
        Server(options["server"], options["auth_port"], options["acct_port"]),
        seed=options["seed"],
        live_truth=options["truth"] if options["truth_live"] else None,
    )


def _drive(fleet: Fleet, run: _Run) -> dict[str, int | float | None]:
    """Run the fleet to its end, write the truth, and return the summary."""
    started = time.monotonic()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner, suppress(asyncio.CancelledError):
        runner.run(_watch(fleet, run))
    if run.truth is not None and not run.truth_live:
        _write_truth(fleet, run.truth)
    return _summarise(fleet.status(), time.monotonic() - started)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _watch(fleet: Fleet, run: _Run) -> None:
    """Run the fleet until its time is over or a signal comes, and show how it does."""
    stop, watching = asyncio.Event(), asyncio.current_task()

    def end() -> None:
        """End in good order at the first signal, at once at the second."""
        if stop.is_set() and watching is not None:
            watching.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    showing = None if run.quiet or run.as_json else asyncio.create_task(_show(fleet))
    try:
        await fleet.run(stop, duration_seconds=run.duration, stop_on_exit=run.stop_on_exit)
    finally:
        if showing is not None:
            showing.cancel()
            # A terminal that went away is no reason to spoil the fleet's own end.
            await asyncio.gather(showing, return_exceptions=True)


async def _show(fleet: Fleet) -> None:
    """Keep one line about the fleet on the terminal; into a file or pipe, write one now and then."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    pace = _Pace(fleet.status())
    if not console.is_terminal:
        while True:
            await asyncio.sleep(PLAIN_STATUS_SECONDS)
            console.print(pace.line(fleet.status()), markup=False, highlight=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            live.update(pace.line(fleet.status()), refresh=True)


class _Pace:
    """Turns two looks at a fleet into numbers per second."""

    def __init__(self, status: Status) -> None:
        self._at = time.monotonic()
        self._requests = status.tally.requests
        self._answers = status.tally.answers

    def line(self, status: Status) -> str:
        """Return the status line and remember this look for the next one."""
        now, tally = time.monotonic(), status.tally
        elapsed = max(now - self._at, 1e-6)
        requests, answers = tally.requests - self._requests, tally.answers - self._answers
        self._at, self._requests, self._answers = now, tally.requests, tally.answers
        slowest = tally.recent_answer_times.percentile_milliseconds(0.99)
        tally.recent_answer_times.clear()
        return (
            f"{status.sessions:,} of {status.subscribers:,} on line over {status.routers} routers"
            f" · {requests / elapsed:,.0f} requests/s · {answers / elapsed:,.0f} answers/s"
            f" · p99 {'-' if slowest is None else f'{slowest:.1f} ms'}"
            f" · rejects {tally.rejects:,} · timeouts {tally.timeouts:,}"
            f" · CoA {tally.coa_acknowledged:,} · disconnects {tally.disconnects_acknowledged:,}"
        )


def _summarise(status: Status, elapsed_seconds: float) -> dict[str, int | float | None]:
    tally = status.tally
    return {
        "seconds": round(elapsed_seconds, 3),
        "routers": status.routers,
        "subscribers": status.subscribers,
        "sessions": status.sessions,
        "requests": tally.requests,
        "answers": tally.answers,
        "requests_per_second": round(tally.requests / elapsed_seconds, 1),
        "answer_p50_milliseconds": tally.answer_times.percentile_milliseconds(0.5),
        "answer_p99_milliseconds": tally.answer_times.percentile_milliseconds(0.99),
        **tally.numbers(),
    }


def _write_truth(fleet: Fleet, path: Path) -> None:
    from simulator.truth import TruthFile

    file = TruthFile(path)
    file.extend(fleet.truth())
    file.close()
