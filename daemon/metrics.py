"""Every metric of the product, and nothing else owns one.

Rule: a name ends in its unit or in `_total`, or as Prometheus names a state (`_up`) and an identity (`_info`). Labels
come from closed sets and from the configuration: what strangers send is counted under `unknown`. Counters never fall
while the daemon lives: what a worker counted before it died is added to what its successor counts.
"""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from accounting.record import Unusable
from accounting.session import Outcome
from daemon.coa_relay import RelayTraffic
from daemon.enforcement_report import (
    LATENCY_BOUNDS_US,
    OVERSHOOT_BOUNDS_OCTETS,
    Distribution,
    EnforcementCounts,
    EnforcementNow,
)
from daemon.listener import LatencyHistogram
from daemon.metering import DEFECT
from daemon.worker_report import BatchHistogram
from enforcement.admission import RefusalReason
from enforcement.drivers.coa import UNEXPECTED, CoaTraffic
from enforcement.reconcile import Problem, Proof
from radius.codes import Code, ErrorCause
from radius.dynamic_authorization import Disbelief

FRESH_SECONDS = 5.0
"""A worker reports once a second; one that was silent for longer has no queue to show and is no worker to count on."""

STATUS = "status"
KINDS = ("auth", "acct")
RESULTS: Mapping[int, tuple[str, str]] = {
    Code.ACCESS_ACCEPT: ("auth", "accept"),
    Code.ACCESS_REJECT: ("auth", "reject"),
    Code.ACCESS_CHALLENGE: ("auth", "challenge"),
    Code.ACCOUNTING_RESPONSE: ("acct", "accounting_response"),
}
REFUSED_BY_DATABASE = "refused_by_database"
"""One label for every SQLSTATE with which the database refuses a record; the row in quarantine names it."""

DYNAMIC_REQUESTS: Mapping[int, str] = {Code.COA_REQUEST: "coa", Code.DISCONNECT_REQUEST: "disconnect"}
DYNAMIC_ANSWERS: Mapping[int, str] = {
    Code.COA_ACK: "ack",
    Code.DISCONNECT_ACK: "ack",
    Code.COA_NAK: "nak",
    Code.DISCONNECT_NAK: "nak",
}
NO_CAUSE, OTHER_CAUSE = "none", "other"
"""Beside the numbers of RFC 5176 §3.5: routers send what they like."""

PENDING = "pending"
"""An unproven line whose change is simply under way."""

Labels = tuple[str, ...]


class Kind(Enum):
    """What a family is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric; a histogram's bounds and sum are integers of which `per_unit` make one unit of its name."""

    name: str
    kind: Kind
    labels: Labels
    meaning: str
    bounds: tuple[int, ...] = ()
    per_unit: int = 1


_US = 1_000_000

REQUESTS = Family(
    "caudal_requests_total", Kind.COUNTER, ("router", "kind"), "Verified requests, without retransmissions."
)
ANSWERS = Family("caudal_answers_total", Kind.COUNTER, ("router", "kind", "result"), "First answers to requests.")
DUPLICATES = Family(
    "caudal_duplicates_answered_total", Kind.COUNTER, ("router",), "Retransmissions answered with the kept answer."
)
DROPS = Family("caudal_drops_total", Kind.COUNTER, ("router", "reason"), "Datagrams and requests left unanswered.")
LATENCY = Family(
    "caudal_answer_latency_seconds",
    Kind.HISTOGRAM,
    ("kind",),
    "Time from the arrival of a request to its answer; delayed rejects are not counted.",
    LatencyHistogram.BOUNDS_US,
    _US,
)
BATCH_SIZE = Family(
    "caudal_batch_requests", Kind.HISTOGRAM, ("lane",), "Requests settled by one batch.", BatchHistogram.SIZES
)
BATCH_TIME = Family(
    "caudal_batch_commit_seconds",
    Kind.HISTOGRAM,
    ("lane",),
    "Time from the start of a batch until it was committed and answered.",
    BatchHistogram.BOUNDS_US,
    _US,
)
QUEUE = Family("caudal_queue_requests", Kind.GAUGE, ("lane",), "Requests that wait for the next batch.")
RECORDS = Family(
    "caudal_accounting_records_total", Kind.COUNTER, ("outcome",), "Committed accounting records by what they were."
)
QUARANTINED = Family(
    "caudal_quarantined_records_total", Kind.COUNTER, ("reason",), "Accounting records kept in quarantine."
)
REFUSALS = Family("caudal_refused_logins_total", Kind.COUNTER, ("reason",), "Logins refused.")
CONFLICTS = Family(
    "caudal_write_conflicts_total", Kind.COUNTER, (), "Batches folded again because another worker had moved a session."
)
STALE = Family(
    "caudal_stale_sessions_closed_total", Kind.COUNTER, (), "Sessions closed provisionally because they fell silent."
)
OPEN_SESSIONS = Family("caudal_open_sessions", Kind.GAUGE, ("router",), "Sessions that are open.")
BACKLOG = Family(
    "caudal_usage_backlog_facts", Kind.GAUGE, (), "Usage facts that the hourly and daily roll-ups do not hold yet."
)
DATABASE_UP = Family("caudal_database_up", Kind.GAUGE, (), "Whether the core reaches the database.")
DATABASE_SIZE = Family("caudal_database_size_bytes", Kind.GAUGE, (), "Size of the database on disk, without its log.")
DATABASE_RESTARTS = Family(
    "caudal_database_restarts_total", Kind.COUNTER, (), "Times the embedded PostgreSQL died and was started again."
)
ENFORCEMENT_UP = Family("caudal_enforcement_up", Kind.GAUGE, (), "Whether this core is the one that enforces.")
UNPROVEN = Family(
    "caudal_unproven_lines", Kind.GAUGE, ("problem",), "Lines whose router is not proven to do what they should get."
)
STEPS = Family(
    "caudal_enforcement_steps_total", Kind.COUNTER, ("step", "result"), "What routers were asked to do, and its result."
)
PROVEN = Family("caudal_lines_proven_total", Kind.COUNTER, ("proof",), "Lines proven, by how they were.")
EVALUATED = Family("caudal_services_evaluated_total", Kind.COUNTER, (), "Services whose entitlement was computed anew.")
TO_WIRE = Family(
    "caudal_enforcement_wire_seconds",
    Kind.HISTOGRAM,
    (),
    "Time from what changed a line's entitlement to the first datagram about it.",
    LATENCY_BOUNDS_US,
    _US,
)
TO_PROOF = Family(
    "caudal_enforcement_proof_seconds",
    Kind.HISTOGRAM,
    (),
    "Time from what changed a line's entitlement to the proof that its router obeys.",
    LATENCY_BOUNDS_US,
    _US,
)
OVERSHOOT = Family(
    "caudal_cap_overshoot_bytes",
    Kind.HISTOGRAM,
    (),
    "Octets counted beyond a cap until the line was proven to obey it.",
    OVERSHOOT_BOUNDS_OCTETS,
)
STEP_QUEUE = Family("caudal_enforcement_queue_lines", Kind.GAUGE, (), "Lines that wait for their turn at their router.")
ROUTERS_AWAY = Family(
    "caudal_away_routers", Kind.GAUGE, (), "Routers that leave CoA unanswered, so that they are only probed."
)
OUTBOX_AGE = Family("caudal_outbox_age_seconds", Kind.GAUGE, (), "Age of the oldest event nobody has acted upon.")
TOP_UPS = Family("caudal_top_ups_bought_total", Kind.COUNTER, (), "Top-ups bought automatically.")
WARNINGS = Family(
    "caudal_cap_warnings_total",
    Kind.COUNTER,
    (),
    "Warning marks of caps, and of ceilings of overage, reached.",
)
COA_REQUESTS = Family(
    "caudal_coa_requests_total", Kind.COUNTER, ("request",), "CoA- and Disconnect-Requests to routers, each once."
)
COA_RETRANSMISSIONS = Family(
    "caudal_coa_retransmissions_total", Kind.COUNTER, (), "Requests sent to a router again because it did not answer."
)
COA_OUTCOMES = Family(
    "caudal_coa_outcomes_total", Kind.COUNTER, ("result", "error_cause"), "What routers made of CoA and Disconnect."
)
COA_IGNORED = Family(
    "caudal_coa_ignored_answers_total", Kind.COUNTER, ("reason",), "Datagrams to our CoA ports that count for nothing."
)
COA_UNREACHABLE = Family(
    "caudal_coa_unreachable_total", Kind.COUNTER, (), "Requests of which the network said that nobody listens there."
)
COA_UNSENT = Family(
    "caudal_coa_unsent_datagrams_total", Kind.COUNTER, (), "Datagrams that our own machine did not take."
)
RELAY_REQUESTS = Family(
    "caudal_relay_requests_total",
    Kind.COUNTER,
    ("request",),
    "Requests of other systems taken to be relayed.",
)
RELAY_ANSWERS = Family(
    "caudal_relay_answers_total", Kind.COUNTER, ("result", "error_cause"), "What other systems were told."
)
RELAY_DROPS = Family(
    "caudal_relay_drops_total", Kind.COUNTER, ("reason",), "Requests of other systems that were left unanswered."
)
RELAY_DUPLICATES = Family(
    "caudal_relay_duplicates_answered_total",
    Kind.COUNTER,
    (),
    "Retransmissions of other systems answered with the kept answer.",
)
UNKNOWN_SESSIONS = Family(
    "caudal_unknown_sessions_closed_total",
    Kind.COUNTER,
    (),
    "Sessions closed provisionally because their router said that it has no such session.",
)
WORKERS = Family("caudal_workers", Kind.GAUGE, (), "RADIUS workers that are alive.")
WORKER_RESTARTS = Family(
    "caudal_worker_restarts_total", Kind.COUNTER, (), "Times a RADIUS worker died and was started again."
)
WORKER_DATABASE_UP = Family(
    "caudal_worker_database_up", Kind.GAUGE, ("worker",), "Whether both lanes of the worker reach the database."
)
WORKER_REVISION = Family(
    "caudal_worker_configuration_revision",
    Kind.GAUGE,
    ("worker",),
    "Revision of routers, pools and plans by which the worker answers.",
)
WORKER_AGE = Family("caudal_worker_report_age_seconds", Kind.GAUGE, ("worker",), "Time since the worker's last report.")
WORKER_MEMORY = Family(
    "caudal_worker_resident_memory_bytes", Kind.GAUGE, ("worker",), "Memory of the worker that is in RAM."
)
WORKER_CPU = Family("caudal_worker_cpu_seconds_total", Kind.COUNTER, ("worker",), "Processor time of the worker.")
UPTIME = Family("caudal_uptime_seconds", Kind.GAUGE, (), "Time since the daemon began.")
BUILD = Family("caudal_build_info", Kind.GAUGE, ("version", "python"), "Always 1; the labels say what runs.")

FAMILIES = (
    REQUESTS,
    ANSWERS,
    DUPLICATES,
    DROPS,
    LATENCY,
    BATCH_SIZE,
    BATCH_TIME,
    QUEUE,
    RECORDS,
    QUARANTINED,
    REFUSALS,
    CONFLICTS,
    STALE,
    OPEN_SESSIONS,
    BACKLOG,
    DATABASE_UP,
    DATABASE_SIZE,
    DATABASE_RESTARTS,
    ENFORCEMENT_UP,
    UNPROVEN,
    STEPS,
    PROVEN,
    EVALUATED,
    TO_WIRE,
    TO_PROOF,
    OVERSHOOT,
    STEP_QUEUE,
    ROUTERS_AWAY,
    OUTBOX_AGE,
    TOP_UPS,
    WARNINGS,
    UNKNOWN_SESSIONS,
    COA_REQUESTS,
    COA_RETRANSMISSIONS,
    COA_OUTCOMES,
    COA_IGNORED,
    COA_UNREACHABLE,
    COA_UNSENT,
    RELAY_REQUESTS,
    RELAY_ANSWERS,
    RELAY_DROPS,
    RELAY_DUPLICATES,
    WORKERS,
    WORKER_RESTARTS,
    WORKER_DATABASE_UP,
    WORKER_REVISION,
    WORKER_AGE,
    WORKER_MEMORY,
    WORKER_CPU,
    UPTIME,
    BUILD,
)
"""Every family, in the order of the exposition."""

_VALUE, _SUM = 0, -1
"""Where a plain value and a histogram's sum stand among the parts of a series; a bucket stands at its number."""

_Part = tuple[Family, Labels, int]


@dataclass(frozen=True, slots=True)
class CoreGauges:
    """What the core knows; None is unknown, as while the database is away.

    Restarts and closings are counted since the core began.
    """

    open_sessions: Mapping[str, int] | None
    unrolled_facts: int | None
    database_octets: int | None
    database_up: bool
    database_restarts: int
    stale_sessions_closed: int
    workers_alive: int
    worker_restarts: int
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class _Heard:
    """The newest report of a worker and when it came."""

    report: Mapping[str, Any]
    at: float


class Metrics:
    """Gathers what the workers and the core tell, and shows it to Prometheus."""

    def __init__(self, version: str, clock: Callable[[], float] = monotonic, *, has_workers: bool = True) -> None:
        self._has_workers = has_workers
        self._build = (version, platform.python_version())
        self._clock = clock
        self._heard: dict[int, _Heard] = {}
        self._ended: dict[_Part, float] = {}
        self._core: CoreGauges | None = None
        self._enforcement: tuple[EnforcementCounts, EnforcementNow] | None = None
        self._relay: RelayTraffic | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def take(self, worker_index: int, report: Mapping[str, Any]) -> None:
        """Take the totals of a worker; those of the worker that had its place before are kept."""
        before = self._heard.get(worker_index)
        if before is not None and before.report["incarnation"] != report["incarnation"]:
            _add(self._ended, _totals(worker_index, before.report))
        self._heard[worker_index] = _Heard(report, self._clock())

    def take_core(self, gauges: CoreGauges) -> None:
        """Take what the core knows now."""
        self._core = gauges

    def take_enforcement(self, counts: EnforcementCounts, now: EnforcementNow) -> None:
        """Take what enforcement has counted and how it stands."""
        self._enforcement = counts, now

    def take_relay(self, traffic: RelayTraffic) -> None:
        """Take what the CoA relay has counted."""
        self._relay = traffic

    def faults(self) -> tuple[str, ...]:
        """Return why requests cannot be served now, a sentence each; empty when they can."""
        if self._core is None:
            return ("the daemon is still starting",)
        fresh = {index: heard.report for index, heard in self._heard.items() if self._is_fresh(heard)}
        faults = [] if self._core.database_up else ["the core does not reach the database"]
        for index in sorted(self._heard):
            if index not in fresh:
                faults.append(f"RADIUS worker {index} has fallen silent")
            elif not fresh[index]["database"]:
                faults.append(f"RADIUS worker {index} does not reach the database")
        return tuple(faults) if self._heard or not self._has_workers else (*faults, "no RADIUS worker reports")

    def render(self) -> bytes:
        """Return the exposition in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family that has a value."""
        series: defaultdict[Family, defaultdict[Labels, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for (family, labels, place), value in self._parts().items():
            series[family][labels][place] = value
        for family in FAMILIES:
            if family in series:
                yield _exposed(family, series[family])

    def _parts(self) -> dict[_Part, float]:
        parts = dict.fromkeys(self._known_beforehand(), 0.0)
        _add(parts, self._ended.items())
        for index, heard in self._heard.items():
            _add(parts, _totals(index, heard.report))
        if self._enforcement is not None:
            _add(parts, _enforcement_totals(self._enforcement[0]))
        if self._relay is not None:
            _add(parts, _relay_totals(self._relay))
        _add(parts, (((family, labels, _VALUE), value) for family, labels, value in self._gauges()))
        return parts

    def _known_beforehand(self) -> Iterator[_Part]:
        """Yield the series that exist before anything is counted, so that their first increase is seen as one."""
        for outcome in Outcome:
            yield RECORDS, (outcome.value,), _VALUE
        for reason in RefusalReason:
            yield REFUSALS, (reason.value,), _VALUE
        for flaw in (*(each.value for each in Unusable), REFUSED_BY_DATABASE):
            yield QUARANTINED, (flaw,), _VALUE
        for proof in Proof:
            yield PROVEN, (proof.value,), _VALUE
        if self._core is not None and self._has_workers:
            for router in self._core.open_sessions or ():
                for kind in KINDS:
                    yield REQUESTS, (router, kind), _VALUE

    def _gauges(self) -> Iterator[tuple[Family, Labels, float]]:
        yield BUILD, self._build, 1
        if self._core is not None:
            yield from _core_values(self._core)
        if self._enforcement is not None:
            yield from _enforcement_values(self._enforcement[1])
        now = self._clock()
        for index, heard in self._heard.items():
            worker = (str(index),)
            yield WORKER_AGE, worker, now - heard.at
            if self._is_fresh(heard):
                yield from _worker_gauges(worker, heard.report)

    def _is_fresh(self, heard: _Heard) -> bool:
        return self._clock() - heard.at <= FRESH_SECONDS


def _add(parts: dict[_Part, float], more: Iterable[tuple[_Part, float]]) -> None:
    for part, value in more:
        parts[part] = parts.get(part, 0) + value


def _totals(index: int, report: Mapping[str, Any]) -> Iterator[tuple[_Part, float]]:
    """Yield what a worker has counted since it began."""
    for family, labels, value in _counts(report):
        yield (family, labels, _VALUE), value
    yield (WORKER_CPU, (str(index),), _VALUE), report["cpu_seconds"]
    for kind, histogram in report["latencies"].items():
        yield from _histogram(LATENCY, kind, histogram["counts"], histogram["sum_us"])
    for lane, histogram in report["batches"].items():
        yield from _histogram(BATCH_SIZE, lane, histogram["sizes"], histogram["size_sum"])
        yield from _histogram(BATCH_TIME, lane, histogram["durations"], histogram["duration_sum_us"])


def _counts(report: Mapping[str, Any]) -> Iterator[tuple[Family, Labels, int]]:
    for router, kind, count in report["requests"]:
        yield REQUESTS, (router, kind), count
        if kind == STATUS:
            # Status-Server is answered on the spot or dropped, so its requests are its answers.
            yield ANSWERS, (router, STATUS, STATUS), count
    for router, code, count in report["answers"]:
        yield ANSWERS, (router, *RESULTS[code]), count
    for router, reason, count in report["drops"]:
        yield DROPS, (router, reason), count
    for router, count in report["duplicates"]:
        yield DUPLICATES, (router,), count
    for outcome, count in report["records"].items():
        yield RECORDS, (outcome,), count
    for reason, count in report["refusals"].items():
        yield REFUSALS, (reason,), count
    for reason, count in _quarantined(report["quarantined"]).items():
        yield QUARANTINED, (reason,), count
    yield CONFLICTS, (), report["conflicts"]


def _quarantined(counts: Mapping[str, int]) -> Counter[str]:
    known = {DEFECT, *(reason.value for reason in Unusable)}
    summed: Counter[str] = Counter()
    for reason, count in counts.items():
        summed[reason if reason in known else REFUSED_BY_DATABASE] += count
    return summed


def _histogram(family: Family, label: str, counts: Iterable[int], total: int) -> Iterator[tuple[_Part, int]]:
    yield (family, (label,), _SUM), total
    for place, count in enumerate(counts):
        yield (family, (label,), place), count


def _core_values(core: CoreGauges) -> Iterator[tuple[Family, Labels, float]]:
    values: tuple[tuple[Family, float | None], ...] = (
        (BACKLOG, core.unrolled_facts),
        (DATABASE_UP, core.database_up),
        (DATABASE_SIZE, core.database_octets),
        (DATABASE_RESTARTS, core.database_restarts),
        (STALE, core.stale_sessions_closed),
        (WORKERS, core.workers_alive),
        (WORKER_RESTARTS, core.worker_restarts),
        (UPTIME, core.uptime_seconds),
    )
    for family, value in values:
        if value is not None:
            yield family, (), value
    for router, count in (core.open_sessions or {}).items():
        yield OPEN_SESSIONS, (router,), count


def _enforcement_totals(counts: EnforcementCounts) -> Iterator[tuple[_Part, float]]:
    for labels, count in counts.requests.items():
        yield (STEPS, labels, _VALUE), count
    for proof, count in counts.proven.items():
        yield (PROVEN, (proof,), _VALUE), count
    for family, count in (
        (EVALUATED, counts.evaluated),
        (TOP_UPS, counts.top_ups_bought),
        (WARNINGS, counts.warnings),
        (UNKNOWN_SESSIONS, counts.sessions_unknown),
    ):
        yield (family, (), _VALUE), count
    yield from _distribution(TO_WIRE, counts.wire_us)
    yield from _distribution(TO_PROOF, counts.proof_us)
    yield from _distribution(OVERSHOOT, counts.overshoot_octets)
    yield from _coa_totals(counts.coa)


def _distribution(family: Family, observed: Distribution) -> Iterator[tuple[_Part, float]]:
    yield (family, (), _SUM), observed.total
    for place, count in enumerate(observed.counts):
        yield (family, (), place), count


def _coa_totals(traffic: CoaTraffic) -> Iterator[tuple[_Part, float]]:
    for code, request in DYNAMIC_REQUESTS.items():
        yield (COA_REQUESTS, (request,), _VALUE), traffic.requests[code]
    yield (COA_RETRANSMISSIONS, (), _VALUE), traffic.retransmissions
    for (kind, cause), count in traffic.outcomes.items():
        yield (COA_OUTCOMES, (kind.value, _cause(cause)), _VALUE), count
    for reason in (*(each.value for each in Disbelief), UNEXPECTED):
        yield (COA_IGNORED, (reason,), _VALUE), traffic.ignored[reason]
    yield (COA_UNREACHABLE, (), _VALUE), traffic.unreachable
    yield (COA_UNSENT, (), _VALUE), traffic.unsent


def _relay_totals(traffic: RelayTraffic) -> Iterator[tuple[_Part, float]]:
    for code, request in DYNAMIC_REQUESTS.items():
        yield (RELAY_REQUESTS, (request,), _VALUE), traffic.requests[code]
    for (code, cause), count in traffic.answers.items():
        yield (RELAY_ANSWERS, (DYNAMIC_ANSWERS[code], _cause(cause)), _VALUE), count
    for reason, count in traffic.drops.items():
        yield (RELAY_DROPS, (reason,), _VALUE), count
    yield (RELAY_DUPLICATES, (), _VALUE), traffic.duplicates_answered


def _cause(number: int | None) -> str:
    """Return the label of an Error-Cause."""
    if number is None:
        return NO_CAUSE
    return str(int(number)) if number in set(ErrorCause) else OTHER_CAUSE


def _enforcement_values(now: EnforcementNow) -> Iterator[tuple[Family, Labels, float]]:
    yield ENFORCEMENT_UP, (), now.is_active
    if now.unproven is not None:
        for problem in (PENDING, *(each.value for each in Problem)):
            yield UNPROVEN, (problem,), now.unproven.get(problem, 0)
    for family, value in (
        (STEP_QUEUE, now.queued),
        (ROUTERS_AWAY, now.routers_away),
        (OUTBOX_AGE, now.outbox_age_seconds),
    ):
        if value is not None:
            yield family, (), value


def _worker_gauges(worker: Labels, report: Mapping[str, Any]) -> Iterator[tuple[Family, Labels, float]]:
    yield WORKER_DATABASE_UP, worker, report["database"]
    yield WORKER_REVISION, worker, report["revision"]
    yield WORKER_MEMORY, worker, report["memory_octets"]
    for lane, waiting in report["waiting"].items():
        yield QUEUE, (lane,), waiting


def _exposed(family: Family, series: Mapping[Labels, Mapping[int, float]]) -> Metric:
    """Return the family as the client library wants it."""
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
        for labels, parts in sorted(series.items()):
            histogram.add_metric(labels, _buckets(family, parts), parts[_SUM] / family.per_unit)
        return histogram
    exposed_by = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    exposed = exposed_by(family.name, family.meaning, labels=family.labels)
    for labels, parts in sorted(series.items()):
        exposed.add_metric(labels, parts[_VALUE])
    return exposed


def _buckets(family: Family, parts: Mapping[int, float]) -> list[tuple[str, float]]:
    """Return (upper bound, how many were at most that), which Prometheus wants to rise."""
    buckets = []
    count = 0.0
    for place, bound in enumerate((*family.bounds, None)):
        count += parts[place]
        buckets.append(("+Inf" if bound is None else str(bound / family.per_unit), count))
    return buckets
