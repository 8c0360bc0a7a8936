"""What Prometheus is told: names, sums over workers and their deaths, the pages, and the documents about them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import error, testing

from accounting.record import Unusable
from accounting.session import Outcome
from config.settings import keys
from daemon.coa_relay import STALE, STANDBY, RelayTraffic
from daemon.datagrams import CannotListen
from daemon.drops import Drop
from daemon.enforcement_report import EnforcementCounts, EnforcementNow
from daemon.listener import Traffic
from daemon.logins import LoginLane
from daemon.metering import MeteringLane, SessionMemory
from daemon.metrics import (
    DYNAMIC_ANSWERS,
    DYNAMIC_REQUESTS,
    FAMILIES,
    FRESH_SECONDS,
    NO_CAUSE,
    OTHER_CAUSE,
    REFUSED_BY_DATABASE,
    RESULTS,
    CoreGauges,
    Kind,
    Metrics,
)
from daemon.metrics_http import listen
from daemon.worker_report import BatchHistogram, WorkerReport
from domain.instants import Microseconds
from enforcement.admission import RefusalReason
from enforcement.drivers.coa import UNEXPECTED
from enforcement.drivers.coa import Kind as CoaKind
from enforcement.reconcile import OutcomeKind, Problem, Proof, StepKind
from radius.codes import Code, ErrorCause
from radius.dynamic_authorization import Disbelief
from radius.packet import Flaw
from storage.pipeline import PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "metrics.md"
RULES = ROOT / "examples" / "prometheus-rules.yml"

TWISTED_ERROR: Any = error
TWISTED_TESTING: Any = testing
"""Twisted's own classes are untyped."""

UNITS = ("bytes", "facts", "lines", "routers", "requests", "revision", "seconds", "sessions", "workers")
ENDINGS = (*(f"_{unit}" for unit in UNITS), "_total", "_up", "_info")

CORE = CoreGauges(
    open_sessions={"north": 3, "south": 0},
    unrolled_facts=7,
    database_octets=8_000_000,
    database_up=True,
    database_restarts=0,
    stale_sessions_closed=2,
    workers_alive=1,
    worker_restarts=0,
    uptime_seconds=60.0,
)


class Worker:
    """A worker's counts, reported as a worker does."""

    def __init__(self) -> None:
        connection = PipelineConnection("", {}, application_name="test")
        self.traffic = Traffic()
        self.metering = MeteringLane(connection, SessionMemory(), bytes(32))
        self.logins = LoginLane(connection, Vault(bytes(32)), Snapshot.empty, lambda: Microseconds(0), None)
        self.batches = {"auth": BatchHistogram(), "acct": BatchHistogram()}
        self.waiting = {"auth": 0, "acct": 0}
        self.database = True
        self._report = WorkerReport()

    def report(self) -> dict[str, Any]:
        line = self._report.line(
            self.traffic,
            self.batches,
            waiting=self.waiting,
            database=self.database,
            metering=self.metering,
            logins=self.logins,
            revision=4,
        )
        report = json.loads(line)
        assert isinstance(report, dict)
        return report

    def serve(self, logins: int = 1, records: int = 1) -> None:
        """Count some of everything."""
        self.traffic.requests["north", "auth"] += logins
        self.traffic.requests["north", "acct"] += records
        self.traffic.requests["north", "status"] += 1
        for code in RESULTS:
            self.traffic.answers["north", code] += logins
        self.traffic.drops["unknown", Drop.UNKNOWN_SOURCE.value] += 1
        self.traffic.duplicates_answered["north"] += 1
        self.traffic.latencies["auth"].observe([700] * logins)
        self.traffic.latencies["acct"].observe([3_000_000] * records)
        self.batches["acct"].observe(records, 0.003)
        self.metering.outcomes[Outcome.COUNTED] += records
        self.metering.quarantined[Unusable.NO_SESSION_ID.value] += 1
        self.metering.quarantined["refused_22003"] += 1
        self.metering.quarantined["refused_22P05"] += 1
        self.metering.conflicts += 1
        self.logins.refused[RefusalReason.WRONG_PASSWORD] += logins


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def full(clock: Clock | None = None) -> Metrics:
    """Return metrics in which every family has a value."""
    metrics = Metrics("0.1.0", clock or Clock())
    worker = Worker()
    worker.serve()
    metrics.take(0, worker.report())
    metrics.take_core(CORE)
    metrics.take_enforcement(enforced(), EnforcementNow(True, {"no_answer": 2}, 3, 1, 0.5))
    metrics.take_relay(relayed())
    return metrics


def enforced() -> EnforcementCounts:
    """Return counts of enforcement, some of each."""
    counts = EnforcementCounts()
    counts.requests["coa", "ack"] += 4
    counts.proven["coa"] += 4
    counts.evaluated += 5
    counts.wire_us.observe(3_000)
    counts.proof_us.observe(9_000)
    counts.overshoot_octets.observe(20_000_000)
    counts.coa.requests[Code.COA_REQUEST] += 4
    counts.coa.outcomes[CoaKind.ACK, None] += 2
    counts.coa.outcomes[CoaKind.NAK, 503] += 1
    counts.coa.outcomes[CoaKind.NAK, 77_001] += 1
    counts.coa.outcomes[CoaKind.NAK, 77_002] += 1
    counts.coa.ignored[UNEXPECTED] += 3
    return counts


def relayed() -> RelayTraffic:
    """Return counts of the relay, some of each."""
    traffic = RelayTraffic()
    traffic.requests[Code.DISCONNECT_REQUEST] += 2
    traffic.answers[Code.DISCONNECT_ACK, None] += 1
    traffic.answers[Code.COA_NAK, ErrorCause.SESSION_CONTEXT_NOT_FOUND] += 1
    traffic.drops[STANDBY] += 5
    traffic.duplicates_answered += 1
    return traffic


def parsed(metrics: Metrics) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """Return the one sample of that name and these labels."""
    found = [
        each.value
        for family in parsed(metrics).values()
        for each in family.samples
        if each.name == sample and each.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def own_names(metrics: Metrics) -> set[str]:
    """Return the family names as the exposition writes them."""
    return set(re.findall(r"^# TYPE (caudal\S+)", metrics.render().decode(), re.MULTILINE))


def test_each_name_ends_in_its_unit_or_in_total() -> None:
    assert [each.name for each in FAMILIES if not each.name.startswith("caudal_")] == []
    assert [each.name for each in FAMILIES if not each.name.endswith(ENDINGS)] == []
    assert [each.name for each in FAMILIES if each.name.endswith("_total") != (each.kind is Kind.COUNTER)] == []


def test_no_name_is_taken_twice() -> None:
    assert len({each.name for each in FAMILIES}) == len(FAMILIES)


def test_the_exposition_parses_and_holds_every_family() -> None:
    metrics = full()

    assert own_names(metrics) == {each.name for each in FAMILIES}
    assert {name for name in parsed(metrics) if not name.startswith("caudal_")} >= {"process_cpu_seconds"}


def test_the_kinds_and_labels_of_the_exposition_are_those_of_the_families() -> None:
    exposed = parsed(full())

    for family in FAMILIES:
        shown = exposed[family.name.removesuffix("_total")]
        assert shown.type == family.kind.value
        assert shown.documentation == family.meaning
        assert {tuple(sorted(set(each.labels) - {"le"})) for each in shown.samples} == {tuple(sorted(family.labels))}


def test_an_answer_is_counted_by_router_kind_and_result() -> None:
    metrics = full()

    results = [("auth", "accept"), ("auth", "reject"), ("auth", "challenge"), ("acct", "accounting_response")]
    for kind, result in [*results, ("status", "status")]:
        assert value(metrics, "caudal_answers_total", router="north", kind=kind, result=result) == 1


def test_each_code_that_answers_a_router_has_a_result() -> None:
    answers = {Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE, Code.ACCOUNTING_RESPONSE}

    assert set(RESULTS) == answers


def test_histograms_rise_and_are_in_seconds() -> None:
    metrics = Metrics("0.1.0", Clock())
    worker = Worker()
    worker.traffic.latencies["acct"].observe([500, 501, 2_000_000, 9_000_000])
    metrics.take(0, worker.report())

    def bucket(bound: str) -> float | None:
        return value(metrics, "caudal_answer_latency_seconds_bucket", kind="acct", le=bound)

    assert [bucket("0.0005"), bucket("0.001"), bucket("1.0"), bucket("2.5"), bucket("+Inf")] == [1, 2, 2, 3, 4]
    assert value(metrics, "caudal_answer_latency_seconds_count", kind="acct") == 4
    assert value(metrics, "caudal_answer_latency_seconds_sum", kind="acct") == pytest.approx(11.001001)


def test_sizes_of_batches_are_counted_in_requests() -> None:
    metrics = Metrics("0.1.0", Clock())
    worker = Worker()
    worker.batches["auth"].observe(3, 0.02)
    worker.batches["auth"].observe(512, 0.02)
    metrics.take(0, worker.report())

    assert value(metrics, "caudal_batch_requests_bucket", lane="auth", le="4.0") == 1
    assert value(metrics, "caudal_batch_requests_bucket", lane="auth", le="512.0") == 2
    assert value(metrics, "caudal_batch_requests_sum", lane="auth") == 515
    assert value(metrics, "caudal_batch_commit_seconds_bucket", lane="auth", le="0.01") == 0
    assert value(metrics, "caudal_batch_commit_seconds_bucket", lane="auth", le="0.02") == 2


def test_workers_are_summed() -> None:
    metrics = Metrics("0.1.0", Clock())
    for index in range(3):
        worker = Worker()
        worker.serve(records=10)
        worker.waiting["acct"] = 5
        metrics.take(index, worker.report())

    assert value(metrics, "caudal_requests_total", router="north", kind="acct") == 30
    assert value(metrics, "caudal_answer_latency_seconds_count", kind="acct") == 30
    assert value(metrics, "caudal_queue_requests", lane="acct") == 15
    assert value(metrics, "caudal_write_conflicts_total") == 3


def counters(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample that may never fall."""
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for name, family in parsed(metrics).items()
        if family.type in ("counter", "histogram") and name.startswith("caudal_")
        for each in family.samples
    }


def test_no_counter_falls_when_workers_die_and_begin_again_at_zero() -> None:
    metrics = Metrics("0.1.0", Clock())
    metrics.take_core(CORE)
    seen = counters(metrics)
    for life in (5, 1, 3):
        worker = Worker()
        for _ in range(3):
            metrics.take(0, worker.report())
            now = counters(metrics)
            assert {name: (before, now.get(name)) for name, before in seen.items() if now.get(name, -1) < before} == {}
            seen = now
            worker.serve(logins=life, records=life)
        metrics.take(0, worker.report())

    assert value(metrics, "caudal_requests_total", router="north", kind="auth") == 3 * (5 + 1 + 3)
    assert value(metrics, "caudal_answer_latency_seconds_count", kind="acct") == 3 * (5 + 1 + 3)
    assert value(metrics, "caudal_accounting_records_total", outcome="counted") == 3 * (5 + 1 + 3)


def test_a_successor_that_has_counted_more_than_the_dead_worker_is_not_taken_for_it() -> None:
    metrics = Metrics("0.1.0", Clock())
    for records in (2, 9):
        worker = Worker()
        worker.serve(records=records)
        metrics.take(0, worker.report())

    assert value(metrics, "caudal_requests_total", router="north", kind="acct") == 11


def test_a_report_that_says_the_same_again_counts_once() -> None:
    metrics = Metrics("0.1.0", Clock())
    worker = Worker()
    worker.serve(records=4)
    for _ in range(3):
        metrics.take(0, worker.report())

    assert value(metrics, "caudal_requests_total", router="north", kind="acct") == 4


def test_every_refusal_of_the_database_has_one_label() -> None:
    exposed = parsed(full())["caudal_quarantined_records"]

    counts = {each.labels["reason"]: each.value for each in exposed.samples}

    assert counts["refused_by_database"] == 2
    assert set(counts) == {reason.value for reason in Unusable} | {"refused_by_database"}


def test_closed_sets_are_there_before_they_are_counted() -> None:
    metrics = Metrics("0.1.0", Clock())
    metrics.take_core(CORE)

    for reason in RefusalReason:
        assert value(metrics, "caudal_refused_logins_total", reason=reason.value) == 0
    for outcome in Outcome:
        assert value(metrics, "caudal_accounting_records_total", outcome=outcome.value) == 0
    assert value(metrics, "caudal_requests_total", router="south", kind="acct") == 0


def test_enforcement_is_counted_and_shown() -> None:
    metrics = full()

    assert value(metrics, "caudal_enforcement_up") == 1
    assert value(metrics, "caudal_unproven_lines", problem="no_answer") == 2
    assert value(metrics, "caudal_unproven_lines", problem="router_away") == 0
    assert value(metrics, "caudal_enforcement_steps_total", step="coa", result="ack") == 4
    assert value(metrics, "caudal_enforcement_wire_seconds_bucket", le="0.005") == 1
    assert value(metrics, "caudal_enforcement_wire_seconds_bucket", le="0.002") == 0
    assert value(metrics, "caudal_cap_overshoot_bytes_sum") == 20_000_000


def test_a_core_that_stands_by_shows_no_queue() -> None:
    metrics = full()
    metrics.take_enforcement(enforced(), EnforcementNow(is_active=False))

    assert value(metrics, "caudal_enforcement_up") == 0
    assert own_names(metrics).isdisjoint({"caudal_unproven_lines", "caudal_enforcement_queue_lines"})


def test_what_is_unknown_while_the_database_is_away_is_left_out() -> None:
    metrics = full()
    metrics.take_core(replace(CORE, database_up=False, open_sessions=None, unrolled_facts=None, database_octets=None))

    names = own_names(metrics)

    assert value(metrics, "caudal_database_up") == 0
    assert names.isdisjoint({"caudal_open_sessions", "caudal_usage_backlog_facts", "caudal_database_size_bytes"})


def test_a_silent_worker_shows_its_age_and_its_counts_but_no_queue() -> None:
    clock = Clock()
    metrics = full(clock)
    clock.seconds += FRESH_SECONDS + 1

    assert value(metrics, "caudal_worker_report_age_seconds", worker="0") == FRESH_SECONDS + 1
    assert value(metrics, "caudal_requests_total", router="north", kind="acct") == 1
    assert own_names(metrics).isdisjoint({"caudal_queue_requests", "caudal_worker_resident_memory_bytes"})


def test_a_core_without_workers_misses_none_and_counts_no_requests() -> None:
    metrics = Metrics("0.1.0", Clock(), has_workers=False)
    metrics.take_core(CORE)

    assert metrics.faults() == ()
    exposed = parsed(metrics)
    assert "caudal_requests" not in exposed
    assert "caudal_open_sessions" in exposed


def test_faults_name_what_keeps_requests_from_being_served() -> None:
    clock = Clock()
    metrics = Metrics("0.1.0", clock)
    assert metrics.faults() == ("the daemon is still starting",)

    metrics.take_core(CORE)
    assert metrics.faults() == ("no RADIUS worker reports",)

    metrics.take(0, Worker().report())
    assert metrics.faults() == ()

    metrics.take_core(replace(CORE, database_up=False))
    assert metrics.faults() == ("the core does not reach the database",)

    metrics.take_core(CORE)
    clock.seconds += FRESH_SECONDS + 1
    cut_off = Worker()
    cut_off.database = False
    metrics.take(1, cut_off.report())
    assert metrics.faults() == (
        "RADIUS worker 0 has fallen silent",
        "RADIUS worker 1 does not reach the database",
    )


def ask(metrics: Metrics, request: bytes) -> tuple[str, str]:
    """Return head and body of the answer to one HTTP request."""
    reactor = TWISTED_TESTING.MemoryReactorClock()
    listen(reactor, metrics, "127.0.0.1", 9812)
    port, site, _backlog, interface = reactor.tcpServers[0]
    assert (port, interface) == (9812, "127.0.0.1")
    transport = TWISTED_TESTING.StringTransport()
    protocol = site.buildProtocol(transport.getPeer())
    protocol.makeConnection(transport)
    protocol.dataReceived(request + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = transport.value().decode().partition("\r\n\r\n")
    return head, body


def test_prometheus_reads_the_exposition_over_http() -> None:
    head, body = ask(full(), b"GET /metrics")

    assert head.startswith("HTTP/1.1 200 ")
    assert re.search("^content-type: text/plain; version=0.0.4; charset=utf-8\r?$", head, re.MULTILINE | re.IGNORECASE)
    assert "Twisted" not in head
    assert 'caudal_requests_total{kind="auth",router="north"} 1.0' in body


def test_healthz_is_ok_while_requests_can_be_served_and_says_why_not_otherwise() -> None:
    metrics = full()
    head, body = ask(metrics, b"GET /healthz")
    assert (head.split()[1], body) == ("200", "ok\n")

    metrics.take_core(replace(CORE, database_up=False))
    head, body = ask(metrics, b"GET /healthz")
    assert (head.split()[1], body) == ("503", "the core does not reach the database\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET /", "404"), (b"GET /metrics/x", "404"), (b"POST /metrics", "405"), (b"HEAD /metrics", "200")],
)
def test_nothing_else_is_served(request_line: bytes, status: str) -> None:
    head, _body = ask(full(), request_line)

    assert head.split()[1] == status


class BusyReactor:
    """A reactor on a machine where the port is taken."""

    def listenTCP(self, port: int, _factory: object, interface: str) -> None:  # noqa: N802
        raise TWISTED_ERROR.CannotListenError(interface, port, OSError(98, "Address already in use"))


def test_a_taken_port_is_one_sentence_that_says_what_to_do() -> None:
    reactor: Any = BusyReactor()

    with pytest.raises(CannotListen) as caught:
        listen(reactor, full(), "::1", 9812)

    assert str(caught.value) == (
        "cannot listen on TCP [::1]:9812: Address already in use; see who has it with `ss -ltnp`, or change [metrics]"
    )


def documented() -> dict[str, tuple[str, str]]:
    """Return (kind, labels) of each metric in the tables of the document."""
    rows = re.findall(r"^\| `(caudal_\w+)` \| (\w+) \| ([^|]*) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len({name for name, _kind, _labels in rows})
    return {name: (kind, labels.strip()) for name, kind, labels in rows}


def test_the_document_and_the_code_name_the_same_metrics() -> None:
    assert documented() == {
        each.name: (each.kind.value, ", ".join(f"`{label}`" for label in each.labels)) for each in FAMILIES
    }


def documented_reasons() -> set[str]:
    """Return the drop reasons that the document explains."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("| reason | what it means |")[2].partition("\n\n")[0]
    return {reason for row in table.splitlines()[2:] for reason in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_document_explains_exactly_the_reasons_for_which_something_is_dropped() -> None:
    assert documented_reasons() == {each.value for each in (*Drop, *Flaw)}


def test_requests_to_routers_and_of_other_systems_are_counted_by_what_came_of_them() -> None:
    metrics = full()
    outcomes = "caudal_coa_outcomes_total"
    assert value(metrics, outcomes, result="ack", error_cause="none") == 2
    assert value(metrics, outcomes, result="nak", error_cause="503") == 1
    assert value(metrics, outcomes, result="nak", error_cause="other") == 2, "whatever routers send, labels are few"
    assert value(metrics, "caudal_relay_answers_total", result="ack", error_cause="none") == 1
    assert value(metrics, "caudal_relay_answers_total", result="nak", error_cause="503") == 1
    assert value(metrics, "caudal_relay_drops_total", reason="standby") == 5
    assert value(metrics, "caudal_relay_requests_total", request="coa") == 0
    assert value(metrics, "caudal_relay_requests_total", request="disconnect") == 2


def test_the_document_names_every_other_value_of_a_label() -> None:
    told = set(re.findall(r"`([a-z_]+)`", DOCUMENT.read_text(encoding="utf-8")))
    values = {each.value for each in (*Outcome, *RefusalReason, *Unusable, *Proof, *StepKind, *OutcomeKind)}
    values -= {StepKind.WAIT.value, StepKind.PROVEN.value}
    values |= {each.value for each in Problem if not each.value.startswith("refused_")}
    values |= {each.value for each in Disbelief} | {UNEXPECTED, STALE, STANDBY, NO_CAUSE, OTHER_CAUSE}
    values |= {*DYNAMIC_REQUESTS.values(), *DYNAMIC_ANSWERS.values()}

    assert values | {word for pair in RESULTS.values() for word in pair} | {REFUSED_BY_DATABASE} <= told


def test_the_example_rules_ask_for_metrics_that_exist() -> None:
    samples = {
        each.name for name, family in parsed(full()).items() if name.startswith("caudal_") for each in family.samples
    }

    asked = set(re.findall(r"caudal_\w+", RULES.read_text(encoding="utf-8")))

    assert asked
    assert asked - samples == set()


def test_the_document_says_where_the_metrics_are() -> None:
    where = {key.name: key.default for key in keys() if key.section == "metrics"}

    assert f"http://{where['listen']}:{where['port']}/metrics" in DOCUMENT.read_text(encoding="utf-8")
