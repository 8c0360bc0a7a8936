"""The bars of enforcement: from a crossing to the CoA, a storm over all routers, a router's queues, the pure function.

Rule: the real daemon, real UDP and real routers of `bench.routers`; what changes a line is what changes it in service:
an interim that crosses a cap, a schedule whose minute has come.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import psycopg2

from bench import caudal
from bench.child import free_udp_ports
from bench.errors import BenchError
from bench.load import SECRET, Generator, Mode, Offer
from bench.routers import Line, Order, Routers
from radius.codes import AcctStatus

ZONE: Final = "Europe/Madrid"
BACKGROUND_PER_SECOND: Final = 2000
CROSSINGS: Final = 400
CAP_OCTETS: Final = 1_000_000_000
STORM_ROUTERS: Final = 500
STORM_LINES: Final = 50_000
STORM_LOGINS_PER_SECOND: Final = 200
STORM_SECONDS: Final = 120
PLAIN_SERVICES: Final = 10_000
"""Services of a plan without rules, for the load beside."""

ROUTER: Final = """
[[router]]
name = "storm-{number}"
address = "{address}"
secret = "{secret}"
profile = "mikrotik"
coa_port = {coa_port}
"""
PLANS: Final = """
[[plan]]
name = "capped"
kind = "internet"
download = "20M"
upload = "10M"
interim_seconds = 300

[plan.cap]
octets = "1G"
action = "fixed"
download = "1M"
upload = "1M"
warn_percents = [100]

[[plan]]
name = "nightly"
kind = "internet"
download = "20M"
upload = "10M"
interim_seconds = 300

[[plan.schedule]]
hours = "{begins}-{ends}"
download = "40M"
upload = "20M"
"""


@dataclass(frozen=True, slots=True)
class Crossing:
    """How long it took from an interim on the wire to the CoA on the wire, in milliseconds."""

    p50_milliseconds: float
    p99_milliseconds: float
    lines: int


@dataclass(frozen=True, slots=True)
class Storm:
    """How a change of all lines at one minute went."""

    lines: int
    proven_seconds: float
    most_per_router_second: int
    login_p99_milliseconds: float


def crossing(directory: Path, url: str, generator: Generator, say: Callable[[str], None]) -> Crossing:
    """Let lines cross their cap one after the other while 2,000 accounting requests/s run."""
    with _network(directory, url, generator, routers=8, lines=CROSSINGS, plan="capped") as (daemon, routers, lines):
        server = ("127.0.0.1", daemon.acct_port)
        routers.log_in(lines, "127.0.0.1", daemon.auth_port)
        routers.report(lines, AcctStatus.START, *server)
        say(f"{len(lines)} lines are on line; {BACKGROUND_PER_SECOND:,} accounting requests/s begin")
        background = Offer(
            Mode.ACCT,
            requests=BACKGROUND_PER_SECOND * 40,
            window=1024,
            users=PLAIN_SERVICES,
            rate_per_second=BACKGROUND_PER_SECOND,
            seconds_limit=60,
        )
        before = len(routers.orders)
        sent: dict[str, float] = {}
        with generator.beside(background, daemon.acct_port):
            time.sleep(2)
            for line in lines:
                line.seconds, line.octets_down = 300, CAP_OCTETS + 1
                sent[line.acct_session_id] = time.time()
                routers.report([line], AcctStatus.INTERIM, *server)
                time.sleep(0.05)
            _await(lambda: len(_first(routers.orders[before:])) >= len(lines), 20)
        arrived = _first(routers.orders[before:])
    lost = sent.keys() - arrived.keys()
    if lost:
        raise BenchError(f"{len(lost)} of {len(sent)} crossings led to no CoA")
    took = sorted((arrived[session].at - at) * 1000 for session, at in sent.items())
    return Crossing(statistics.median(took), took[int(len(took) * 0.99)], len(took))


def storm(directory: Path, url: str, generator: Generator, say: Callable[[str], None]) -> Storm:
    """Let the schedule of every line turn at one minute, and count until all are proven."""
    with _network(directory, url, generator, routers=STORM_ROUTERS, lines=STORM_LINES, plan="nightly") as network:
        daemon, routers, lines = network
        say(f"{len(lines):,} lines log in on {routers.count} routers")
        routers.log_in(lines, "127.0.0.1", daemon.auth_port)
        routers.report(lines, AcctStatus.START, "127.0.0.1", daemon.acct_port)
        minute = datetime.now(ZoneInfo(ZONE)).replace(second=0, microsecond=0) + timedelta(minutes=2)
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            _await(lambda: _unproven(cursor) == 0 and _known(cursor) == len(lines), STORM_SECONDS)
        before = len(routers.orders)
        _apply(daemon, directory, routers, minute)
        wait = (minute - datetime.now(ZoneInfo(ZONE))).total_seconds()
        say(f"the schedule turns at {minute:%H:%M}, in {wait:.0f} s")
        time.sleep(max(0.0, wait - 5))
        logins = Offer(
            Mode.PAP,
            requests=STORM_LOGINS_PER_SECOND * 60,
            window=256,
            users=PLAIN_SERVICES,
            rate_per_second=STORM_LOGINS_PER_SECOND,
            seconds_limit=STORM_SECONDS,
        )
        with psycopg2.connect(url) as connection, generator.beside(logins, daemon.auth_port) as seen:
            connection.autocommit = True
            with connection.cursor() as cursor:
                time.sleep(max(0.0, (minute - datetime.now(ZoneInfo(ZONE))).total_seconds()))
                began = time.monotonic()
                _await(lambda: len(_first(routers.orders[before:])) == len(lines), STORM_SECONDS)
                _await(lambda: _unproven(cursor) == 0, STORM_SECONDS)
                proven = time.monotonic() - began
        orders = [order for order in routers.orders[before:] if not order.is_duplicate]
        return Storm(len(lines), proven, _most_per_second(orders), seen[0].p99_milliseconds)


@contextmanager
def _network(
    directory: Path, url: str, generator: Generator, *, routers: int, lines: int, plan: str
) -> Iterator[tuple[caudal.Caudal, Routers, Sequence[Line]]]:
    """Provision a daemon with routers and subscribers of `plan`, beside those of the background load."""
    installation = caudal.Installation(directory, url, PLAIN_SERVICES)
    caudal.provision(installation, generator.program)
    (coa_port,) = free_udp_ports(1)
    network = Routers(routers, coa_port)
    subscribers = [_line(number, routers) for number in range(lines)]
    network.start()
    daemon = caudal.start(installation, generator.program)
    try:
        caudal.wait_for_commands(daemon.child, directory / "control.sock")
        (directory / "network.toml").write_text(_isp(network, None))
        caudal.command(installation, "apply", str(directory / "network.toml"), timeout=120)
        rows = directory / "subscribers.csv"
        rows.write_text(
            "login,password,plan,address\n"
            + "".join(f"{s.login},{s.password},{plan},{'.'.join(map(str, s.address))}\n" for s in subscribers)
        )
        caudal.command(installation, "import", "services", str(rows), timeout=300)
        yield daemon, network, subscribers
    finally:
        daemon.stop()
        network.stop()


def _apply(daemon: caudal.Caudal, directory: Path, routers: Routers, minute: datetime) -> None:
    """Let the plan of the storm change at `minute`."""
    (directory / "network.toml").write_text(_isp(routers, minute))
    installation = caudal.Installation(directory, "", 0)
    daemon.child.check()
    caudal.command(installation, "apply", str(directory / "network.toml"), timeout=120)


def _isp(routers: Routers, minute: datetime | None) -> str:
    """Return the provisioning; without a minute the schedule lies as far from now as it can."""
    begins = minute or datetime.now(ZoneInfo(ZONE)) + timedelta(hours=6)
    plans = PLANS.format(begins=f"{begins:%H:%M}", ends=f"{begins + timedelta(hours=1):%H:%M}")
    listed = (
        ROUTER.format(number=n, address=routers.address(n), secret=SECRET, coa_port=routers.coa_port)
        for n in range(1, routers.count + 1)
    )
    return plans + "".join(listed)


def _line(number: int, routers: int) -> Line:
    address = (10, 64 + (number >> 16), number >> 8 & 255, number & 255)
    return Line(1 + number % routers, f"line{number}", f"word{number}", bytes(address), f"81{number:06x}")


def _first(orders: Sequence[Order]) -> dict[str, Order]:
    """Return the first request for each session."""
    found: dict[str, Order] = {}
    for order in orders:
        found.setdefault(order.acct_session_id, order)
    return found


def _most_per_second(orders: Sequence[Order]) -> int:
    """Return the most requests that one router got within any second that begins with one of them."""
    most: Counter[int] = Counter()
    times: dict[int, list[float]] = {}
    for order in sorted(orders, key=lambda order: order.at):
        recent = times.setdefault(order.router, [])
        recent.append(order.at)
        while recent[0] <= order.at - 1:
            recent.pop(0)
        most[order.router] = max(most[order.router], len(recent))
    return max(most.values(), default=0)


def _unproven(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute("SELECT count(*) FROM line WHERE proven IS DISTINCT FROM desired")
    return int(cursor.fetchall()[0][0])


def _known(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute("SELECT count(*) FROM line")
    return int(cursor.fetchall()[0][0])


def _await(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until `condition` holds; raise BenchError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError("enforcement did not come to its end in time; the daemon's log says why")
        time.sleep(0.1)
