"""What is measured: each measurement offers the same load to both servers in turn and keeps every round.

Rule: rounds alternate between the two sides, so that what disturbs the machine disturbs both; a ratio is the median of
the ratios of the rounds. A refused login means that the set-up is wrong, and is an error.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from bench import caudal, enforcement, entitlement, freeradius, invoices, router_queues
from bench.answers import require_full_answer
from bench.cluster import Cluster
from bench.errors import BenchError
from bench.load import WIDEST_WINDOW, Generator, Measured, Mode, Offer

WARM_UP_REQUESTS: Final = 5000
TRIAL_REQUESTS: Final = 15_000
LOGIN_WINDOW: Final = 256
ACCT_WINDOWS: Final = (64, 256, 1024)
LATENCY_RATE_PER_SECOND: Final = 5000
PAST_SESSIONS_SECONDS_LIMIT: Final = 1800
OCTETS_IN_A_MEGABYTE: Final = 1_000_000


Say = Callable[[str], None]


class Measurement(Enum):
    """What can be chosen with --only; import times are always reported, memory belongs to growth."""

    ACCT = "acct"
    PAP = "pap"
    CHAP = "chap"
    MSCHAP2 = "mschap2"
    LATENCY = "latency"
    POOL = "pool"
    GROWTH = "growth"
    ENFORCEMENT = "enforcement"
    INVOICES = "invoices"


ACCOUNTS: Final = 100_000
QUICK_ACCOUNTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything a run uses."""

    requests: int
    rounds: int
    services: int
    few_services: int
    many_services: int
    past_sessions: int
    seconds_limit: int


FULL: Final = Scale(
    requests=100_000,
    rounds=3,
    services=100_000,
    few_services=10_000,
    many_services=1_000_000,
    past_sessions=1_000_000,
    seconds_limit=120,
)
QUICK: Final = Scale(
    requests=20_000,
    rounds=1,
    services=100_000,
    few_services=10_000,
    many_services=100_000,
    past_sessions=100_000,
    seconds_limit=60,
)


class Server(Protocol):
    """What is offered load: FreeRADIUS or Caudal."""

    @property
    def auth_port(self) -> int: ...

    @property
    def acct_port(self) -> int: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Side:
    """A server under its name in the table, with what it saw in each round."""

    name: str
    rounds: tuple[Measured, ...]

    @property
    def per_second(self) -> float:
        """Return the median throughput."""
        return statistics.median(each.per_second for each in self.rounds)

    @property
    def p99_milliseconds(self) -> float:
        """Return the median of the rounds' 99th percentiles."""
        return statistics.median(each.p99_milliseconds for each in self.rounds)

    @property
    def lost(self) -> int:
        """Return how many requests were never answered, in all rounds."""
        return sum(each.lost for each in self.rounds)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides under the same load; the ratio of their throughput is the quantity of that name."""

    quantity: str
    title: str
    base: Side
    other: Side

    @property
    def ratio(self) -> float:
        """Return the median over the rounds of other / base."""
        pairs = zip(self.base.rounds, self.other.rounds, strict=True)
        return statistics.median(other.per_second / base.per_second for base, other in pairs)


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity that is no ratio of throughputs, and how it reads."""

    quantity: str
    title: str
    value: float
    text: str


@dataclass(slots=True)
class Results:
    """Everything a run found."""

    against_freeradius: list[Comparison] = field(default_factory=list)
    growth: list[Comparison] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    freeradius_threads: int | None = None

    def quantities(self) -> dict[str, float]:
        """Return what the bars judge, by name."""
        ratios = {each.quantity: each.ratio for each in (*self.against_freeradius, *self.growth)}
        return ratios | {figure.quantity: figure.value for figure in self.figures}


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement needs."""

    directory: Path
    generator: Generator
    cluster: Cluster
    scale: Scale
    workers: int
    say: Say
    results: Results = field(default_factory=Results)

    def provision(self, name: str, services: int, plan: str = "static") -> caudal.Installation:
        """Create a database of that name, and a Caudal with so many services in it."""
        url = self.cluster.create(name)
        installation = caudal.Installation(self.directory / name, url, services, plan, self.workers)
        self.say(f"Caudal: importing {services:,} services")
        seconds = caudal.provision(installation, self.generator.program)
        self.say(f"Caudal: {services:,} services imported in {seconds:.1f} s")
        title = f"importing {services:,} services ({plan} addresses)"
        self.results.figures.append(Figure(f"import {services} {plan}", title, seconds, f"{seconds:.1f} s"))
        self.cluster.tidy(name)
        return installation

    @contextlib.contextmanager
    def freeradius(self) -> Iterator[Server]:
        """Run FreeRADIUS on its own database, filled and tuned at its first use."""
        if self.results.freeradius_threads is None:
            self.say(f"FreeRADIUS: loading {self.scale.services:,} users")
            freeradius.load_users(self.cluster.create("freeradius"), self.scale.services)
            self.results.freeradius_threads = self._best_threads()
        with self._freeradius(self.results.freeradius_threads) as server:
            yield server

    def _best_threads(self) -> int:
        """Try the pool sizes as an expert would; return the one that is best at accounting and logins together."""
        scores = {}
        for threads in freeradius.POOL_SIZES:
            with self._freeradius(threads) as server:
                loads = [self.offer(mode, LOGIN_WINDOW, self.scale.services) for mode in (Mode.ACCT, Mode.PAP)]
                self._offer(server, replace(loads[1], requests=WARM_UP_REQUESTS))
                seen = []
                for load in loads:
                    self.cluster.settle()
                    seen.append(self._offer(server, replace(load, requests=TRIAL_REQUESTS)).per_second)
            scores[threads] = statistics.geometric_mean(seen)
            self.say(f"FreeRADIUS with {threads} threads: acct {seen[0]:,.0f}/s, pap {seen[1]:,.0f}/s")
        return max(scores, key=lambda threads: scores[threads])

    @contextlib.contextmanager
    def _freeradius(self, threads: int) -> Iterator[Server]:
        dsn = self.cluster.server.dsn("freeradius")
        server = freeradius.start(dsn, self.directory / "freeradius", self.generator.program, threads)
        try:
            yield server
        finally:
            server.stop()

    @contextlib.contextmanager
    def caudal(self, installation: caudal.Installation) -> Iterator[caudal.Caudal]:
        """Run one Caudal."""
        daemon = caudal.start(installation, self.generator.program)
        try:
            yield daemon
        finally:
            daemon.stop()

    def compare(self, quantity: str, title: str, sides: Mapping[str, tuple[Server, Offer]]) -> Comparison:
        """Offer each side its load, in turn, round after round."""
        for name, (server, offer) in sides.items():
            require_full_answer(name, server.auth_port)
            self._offer(server, replace(offer, requests=WARM_UP_REQUESTS))
        rounds: dict[str, list[Measured]] = {name: [] for name in sides}
        for number in range(1, self.scale.rounds + 1):
            for name, (server, offer) in sides.items():
                self.cluster.settle()
                measured = self._offer(server, offer)
                rounds[name].append(measured)
                self.say(f"{title}, round {number} of {self.scale.rounds}, {name}: {_brief(measured)}")
        base, other = (Side(name, tuple(seen)) for name, seen in rounds.items())
        return Comparison(quantity, title, base, other)

    def _offer(self, server: Server, offer: Offer) -> Measured:
        port = server.acct_port if offer.mode is Mode.ACCT else server.auth_port
        measured = self.generator.run(offer, port)
        if measured.rejected:
            raise BenchError(f"{measured.rejected} logins of {offer.mode.value} were refused; the set-up is wrong")
        return measured

    def offer(self, mode: Mode, window: int, users: int) -> Offer:
        """Return the usual amount of load."""
        return Offer(mode, self.scale.requests, window, users, seconds_limit=self.scale.seconds_limit)


def against_freeradius(bench: Bench, chosen: Collection[Measurement]) -> None:
    """Measure accounting, logins and latency on both servers, each with the same services."""
    installation = bench.provision("caudal_main", bench.scale.services)
    with bench.freeradius() as yardstick, bench.caudal(installation) as daemon:
        for mode, window in _loads(chosen):
            offer = bench.offer(mode, window, bench.scale.services)
            sides = {"FreeRADIUS": (yardstick, offer), "Caudal": (daemon, offer)}
            name = f"{mode.value} w {window}"
            bench.results.against_freeradius.append(bench.compare(name, name, sides))
        if Measurement.LATENCY in chosen:
            _latency(bench, yardstick, daemon)


def pool(bench: Bench) -> None:
    """Measure logins whose address comes from a pool, against FreeRADIUS with its static ones."""
    installation = bench.provision("caudal_pool", bench.scale.services, "dynamic")
    offer = bench.offer(Mode.PAP, LOGIN_WINDOW, bench.scale.services)
    with bench.freeradius() as yardstick, bench.caudal(installation) as daemon:
        title = f"pap w {LOGIN_WINDOW}, address from a pool"
        sides = {"FreeRADIUS": (yardstick, offer), "Caudal": (daemon, offer)}
        bench.results.against_freeradius.append(bench.compare("pool", title, sides))


def growth(bench: Bench) -> None:
    """Measure a small installation against a large one with a past."""
    scale = bench.scale
    small = bench.provision("caudal_small", scale.few_services)
    large = bench.provision("caudal_large", scale.many_services)
    _give_past(bench, large)
    names = (f"{scale.few_services:,} services", f"{scale.many_services:,} services")
    with bench.caudal(small) as few, bench.caudal(large) as many:
        for mode in (Mode.ACCT, Mode.PAP):
            offers = [bench.offer(mode, LOGIN_WINDOW, each.services) for each in (small, large)]
            sides = dict(zip(names, zip((few, many), offers, strict=True), strict=True))
            title = f"{mode.value} w {LOGIN_WINDOW}"
            bench.results.growth.append(bench.compare(f"growth {mode.value}", title, sides))
        memories = [daemon.worker_resident_octets() / OCTETS_IN_A_MEGABYTE for daemon in (few, many)]
    text = f"{memories[1] / memories[0]:.2f} ({memories[0]:.0f} MB, {memories[1]:.0f} MB)"
    title = f"memory of a worker, {names[1]} / {names[0]}"
    bench.results.figures.append(Figure("memory", title, memories[1] / memories[0], text))


def enforce(bench: Bench) -> None:
    """Measure the bars of enforcement; each compares with a limit, not with another server."""
    figures = bench.results.figures
    microseconds = entitlement.measure()
    figures.append(Figure("entitle", "what a line may do, computed once", microseconds, f"{microseconds:.1f} µs"))
    name = "caudal_crossing"
    seen = enforcement.crossing(bench.directory / name, bench.cluster.create(name), bench.generator, bench.say)
    title = (
        f"p99 from the interim that crosses a cap to the CoA, {enforcement.BACKGROUND_PER_SECOND:,} records/s beside"
    )
    text = f"{seen.p99_milliseconds:.1f} ms (median {seen.p50_milliseconds:.1f} ms, {seen.lines} lines)"
    figures.append(Figure("crossing p99", title, seen.p99_milliseconds, text))
    name = "caudal_storm"
    storm = enforcement.storm(bench.directory / name, bench.cluster.create(name), bench.generator, bench.say)
    title = f"{storm.lines:,} lines on {enforcement.STORM_ROUTERS} routers change at one minute: all proven"
    most, login = storm.most_per_router_second, storm.login_p99_milliseconds
    figures += [
        Figure("storm", title, storm.proven_seconds, f"{storm.proven_seconds:.1f} s"),
        Figure("storm rate", "most requests to one router in any of these seconds", most, f"{most}"),
        Figure("storm logins", "p99 of logins meanwhile", login, f"{login:.1f} ms"),
    ]
    nothing, changed = router_queues.measure()
    queues = f"{router_queues.QUEUES:,} queues on one router over TLS"
    figures += [
        Figure("queues", f"{queues}, from nothing", nothing, f"{nothing:.1f} s"),
        Figure("queue", f"{queues}, one of them changed", changed, f"{changed:.2f} s"),
    ]


def invoice(bench: Bench) -> None:
    """Measure the invoice run, alone: no other biller publishes invoices a second with their hardware."""
    many = QUICK_ACCOUNTS if bench.scale is QUICK else ACCOUNTS
    bench.say(f"invoice run: {many // 2:,} and {many:,} accounts")
    (half,), (whole,) = invoices.once(many // 2), invoices.once(many)
    octets, ratio = whole.largest_runner_octets / OCTETS_IN_A_MEGABYTE, whole.seconds / half.seconds
    speed = whole.accounts / whole.seconds
    again = whole.again_seconds
    title = f"invoice run, {many:,} accounts"
    bench.results.figures += [
        Figure("invoices", f"{title}: drafted, posted, numbered", whole.seconds,
               f"{whole.seconds:.1f} s ({speed:,.0f} invoices/s)"),
        Figure("invoices again", f"{title}: again, finding nothing", again, f"{again:.1f} s"),
        Figure("invoices memory", f"{title}: largest runner", octets, f"{octets:.0f} MB"),
        Figure("invoices growth", f"invoice run, {many:,} / {many // 2:,} accounts", ratio, f"{ratio:.2f}"),
    ]  # fmt: skip


def _loads(chosen: Collection[Measurement]) -> Iterator[tuple[Mode, int]]:
    if Measurement.ACCT in chosen:
        yield from ((Mode.ACCT, window) for window in ACCT_WINDOWS)
    for mode in (Mode.PAP, Mode.CHAP, Mode.MSCHAP2):
        if Measurement(mode.value) in chosen:
            yield mode, LOGIN_WINDOW


def _latency(bench: Bench, yardstick: Server, daemon: Server) -> None:
    offer = replace(
        bench.offer(Mode.ACCT, WIDEST_WINDOW, bench.scale.services),
        requests=bench.scale.requests // 2,
        rate_per_second=LATENCY_RATE_PER_SECOND,
    )
    title = f"{LATENCY_RATE_PER_SECOND:,} accounting requests/s offered"
    seen = bench.compare("latency", title, {"FreeRADIUS": (yardstick, offer), "Caudal": (daemon, offer)})
    p99, theirs = seen.other.p99_milliseconds, seen.base.p99_milliseconds
    bench.results.figures += [
        Figure("latency p99", f"p99 at {title}", p99, f"{p99:.1f} ms (FreeRADIUS: {theirs:,.1f} ms)"),
        Figure(
            "latency lost", f"lost at {title}", seen.other.lost, f"{seen.other.lost} (FreeRADIUS: {seen.base.lost})"
        ),
    ]


def _give_past(bench: Bench, installation: caudal.Installation) -> None:
    """Let every session of the past have really happened: a Start and a Stop over UDP."""
    sessions = bench.scale.past_sessions
    bench.say(f"Caudal: {sessions:,} past sessions, each a Start and a Stop")
    past = Offer(
        Mode.ACCT,
        requests=2 * sessions,
        window=max(ACCT_WINDOWS),
        users=installation.services,
        interims=0,
        seconds_limit=PAST_SESSIONS_SECONDS_LIMIT,
    )
    with bench.caudal(installation) as daemon:
        seen = bench.generator.run(past, daemon.acct_port)
        bench.cluster.settle()
    if seen.answered < past.requests:
        raise BenchError(f"only {seen.answered:,} of {past.requests:,} records of past sessions were answered")
    bench.cluster.tidy(installation.directory.name)


def _brief(measured: Measured) -> str:
    lost = f", {measured.lost} lost" if measured.lost else ""
    return f"{measured.per_second:,.0f}/s, p99 {measured.p99_milliseconds:,.1f} ms{lost}"
