"""While the database cannot be asked, nothing is answered, nothing piles up, everybody is told, and it ends by itself.

Rule: silence is proved by what the daemon counts, not by waiting: each datagram shows up in /metrics as dropped or
waiting, and the sockets that sent it hold no answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from radius.codes import AcctStatus, Code
from storage.embedded import EmbeddedPostgres
from tests.postgres import PostgresForTests
from tests.system.books import assert_exact
from tests.system.daemon_process import SECRET, DaemonProcess
from tests.system.load import AccountingLoad, lines, pour, running
from tests.system.radius_client import RadiusClient

SOAK = bool(os.environ.get("CAUDAL_SOAK"))
ROUTER, BUSY_ROUTER = "127.0.0.14", "127.0.0.15"
FLOOD = 20_000
MOST_GROWTH_OCTETS = 60 * 1024 * 1024
"""20,000 small requests that wait took 12 MB; requests of 400 octets would take three times as much."""
NOTICED_SECONDS = 15.0
RECOVERY_SECONDS = 15.0
"""Less than one second was measured; an attempt to connect that is lost takes five, and the machine may stand still."""
BACKLOG_SECONDS = 20.0
"""The same with 20,000 records before it in the queue."""
STOP_SECONDS = 3.0
FROZEN_SECONDS = 14.0
"""Longer than a query may take, so that the connections themselves are given up."""

ISP = f"""
[[router]]
name = "tower"
address = "{ROUTER}"
secret = "{SECRET.decode()}"
[[router]]
name = "mast"
address = "{BUSY_ROUTER}"
secret = "{SECRET.decode()}"
[[plan]]
name = "plan"
[[service]]
login = "ana"
password = "rio-2741"
plan = "plan"
"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon with its embedded PostgreSQL."""
    yield from _run(DaemonProcess(tmp_path_factory.mktemp("embedded")))


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresForTests) -> Iterator[DaemonProcess]:
    """Lend a daemon whose PostgreSQL is somebody else's."""
    with postgres.database() as dsn:
        yield from _run(DaemonProcess(tmp_path_factory.mktemp("outside"), database_url=dsn))


def _run(daemon: DaemonProcess) -> Iterator[DaemonProcess]:
    try:
        daemon.start()
        daemon.apply(ISP)
        yield daemon
    finally:
        daemon.discard()


@pytest.fixture
def nas() -> Iterator[Callable[[DaemonProcess], RadiusClient]]:
    """Return a function that opens the sockets of the router."""
    with contextlib.ExitStack() as opened:

        def open_nas(daemon: DaemonProcess) -> RadiusClient:
            return opened.enter_context(
                RadiusClient(
                    source=ROUTER, secret=SECRET, auth_port=daemon.auth_port, acct_port=daemon.acct_port,
                    probe=("ana", "rio-2741"),
                )
            )  # fmt: skip

        yield open_nas


@contextlib.contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[Callable[[], None]]:
    """Stop every process of a PostgreSQL; the function it lends lets them go on."""
    postmaster = server.pid()
    assert postmaster is not None
    os.kill(postmaster, signal.SIGSTOP)
    # Stopped, it starts no more children.
    stopped = [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]
    _signal_all(stopped[1:], signal.SIGSTOP)
    try:
        yield lambda: _signal_all(stopped[::-1], signal.SIGCONT)
    finally:
        _signal_all(stopped[::-1], signal.SIGCONT)


@contextlib.contextmanager
def refused(daemon: DaemonProcess, postgres: PostgresForTests) -> Iterator[Callable[[], None]]:
    """Let the outside PostgreSQL refuse the daemon's database; the function it lends lets it in again."""
    name = urlsplit(daemon.dsn).path.removeprefix("/")
    connection = psycopg2.connect(postgres.server.dsn("postgres"))
    connection.autocommit = True

    def allow(allowed: bool) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
            if not allowed:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    allow(False)
    try:
        yield lambda: allow(True)
    finally:
        allow(True)
        connection.close()


@pytest.mark.soak
def test_frozen_database_is_told_to_everybody_and_nothing_piles_up(
    embedded: DaemonProcess, nas: Callable[[DaemonProcess], RadiusClient]
) -> None:
    client = nas(embedded)
    client.proves_alive()
    client.proves_alive_in_accounting()
    with frozen(embedded.database) as thaw:
        begun = time.monotonic()
        assert_silent_and_bounded(embedded, client)
        if SOAK:
            while time.monotonic() - begun < FROZEN_SECONDS:
                pour(ROUTER, embedded.acct_port, records(client, 1))
                time.sleep(0.1)
        assert_back_within(BACKLOG_SECONDS, thaw, client, embedded)
    client.proves_alive()
    assert_told_in_log(embedded)


def test_database_that_refuses_is_told_to_everybody_and_nothing_piles_up(
    outside: DaemonProcess, postgres: PostgresForTests, nas: Callable[[DaemonProcess], RadiusClient]
) -> None:
    client = nas(outside)
    client.proves_alive()
    client.proves_alive_in_accounting()
    with refused(outside, postgres) as admit:
        assert_silent_and_bounded(outside, client)
        refusal = outside.caudal("session", "list", expect=1)
        assert refusal.count("\n") == 1
        assert "cannot reach its database" in refusal
        assert "away" in outside.caudal("status")
        assert_back_within(RECOVERY_SECONDS, admit, client, outside)
    client.proves_alive()
    assert_told_in_log(outside)


@pytest.mark.soak
def test_freeze_under_load_loses_and_doubles_nothing(embedded: DaemonProcess) -> None:
    load = AccountingLoad(embedded.acct_port, SECRET, lines([BUSY_ROUTER], 20), seed=6021)
    with running(load):
        for _ in range(10 if SOAK else 2):
            load.await_acknowledgements(100)
            with frozen(embedded.database):
                load.await_resent(40)
        load.await_acknowledgements(100)
        load.finish()
    assert_exact(embedded, load.truth())


def test_stop_takes_no_longer_while_the_database_is_frozen(outside: DaemonProcess, postgres: PostgresForTests) -> None:
    with frozen(postgres.server):
        await_sample(outside, "caudal_worker_database_up", 0)
        begun = time.monotonic()
        assert outside.stop() == 0
        assert time.monotonic() - begun < STOP_SECONDS


def test_start_without_the_database_says_why_in_one_line(tmp_path: Path) -> None:
    told = DaemonProcess(tmp_path, database_url="postgresql://caudal:hush-4471@127.0.0.1:1/caudal").refusal()
    assert told.startswith("caudal: the database caudal at 127.0.0.1 cannot be reached")
    assert "hush" not in told


def assert_silent_and_bounded(daemon: DaemonProcess, client: RadiusClient) -> None:
    """Check that requests of every kind are left unanswered, told in /metrics, and held in bounded memory."""
    client.acct.send(client.record(AcctStatus.START, "while it is away"))
    client.auth.send(client.pap_request("ana", "rio-2741"))
    await_sample(daemon, "caudal_worker_database_up", 0)
    before = total(daemon, "caudal_worker_resident_memory_bytes")
    client.acct.send(client.status_server())
    client.auth.send(client.status_server())
    poured = pour(ROUTER, daemon.acct_port, records(client, FLOOD))
    await_counted(daemon, poured + 4)
    for port in (client.acct, client.auth):
        assert not client.has_answer(port), "something was answered that cannot have been committed"
    grown = total(daemon, "caudal_worker_resident_memory_bytes") - before
    assert grown < MOST_GROWTH_OCTETS, f"the worker has grown by {grown:,.0f} octets"
    await_sample(daemon, "caudal_database_up", 0)
    assert daemon.worker_pids()


def assert_back_within(
    seconds: float, bring_back: Callable[[], None], client: RadiusClient, daemon: DaemonProcess
) -> None:
    """Bring the database back and measure until a new record is acknowledged and a login is answered."""
    bring_back()
    begun = time.monotonic()
    patiently(client.acct, lambda: client.record(AcctStatus.START, "after it came back"))
    patiently(client.auth, lambda: client.pap_request("ana", "rio-2741"))
    assert time.monotonic() - begun < seconds, daemon.log.read_text()
    drain(client)


def patiently(port: socket.socket, make: Callable[[], bytes]) -> None:
    """Ask until an answer comes."""
    port.settimeout(0.05)
    while True:
        request = make()
        port.send(request)
        with contextlib.suppress(TimeoutError):
            while port.recv(4096)[1] != request[1]:
                pass
            break
    port.settimeout(30)


def assert_told_in_log(daemon: DaemonProcess) -> None:
    """Check that the log says when the database went and when it came."""
    log = daemon.await_log("the database answers again")
    assert "the database does not answer" in log
    assert "Traceback" not in log


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def records(client: RadiusClient, count: int) -> Iterator[bytes]:
    """Yield Starts of so many sessions."""
    return (client.record(AcctStatus.START, os.urandom(8).hex()) for _ in range(count))


def drain(client: RadiusClient) -> None:
    """Read the answers that came late."""
    for port in (client.acct, client.auth):
        while client.has_answer(port):
            assert port.recv(4096)[0] in (Code.ACCOUNTING_RESPONSE, Code.ACCESS_ACCEPT)


def total(daemon: DaemonProcess, *samples: str) -> float:
    """Return the sum of all samples of /metrics that begin so."""
    return sum(float(line.rpartition(" ")[2]) for line in daemon.metrics().splitlines() if line.startswith(samples))


def await_sample(daemon: DaemonProcess, sample: str, value: float) -> None:
    """Wait until /metrics says so: workers report once a second."""
    give_up = time.monotonic() + NOTICED_SECONDS
    while total(daemon, sample) != value:
        assert time.monotonic() < give_up, f"{sample} never became {value}:\n{daemon.metrics()}"
        time.sleep(0.05)


def await_counted(daemon: DaemonProcess, count: int) -> None:
    """Wait until as many datagrams were given up or wait for the database."""
    give_up = time.monotonic() + NOTICED_SECONDS
    while total(daemon, "caudal_drops_total", "caudal_queue_requests") < count - MOST_IN_FLIGHT:
        assert time.monotonic() < give_up, f"fewer than {count} datagrams are accounted for:\n{daemon.metrics()}"
        time.sleep(0.05)


MOST_IN_FLIGHT = 2 * 512
"""Requests of the batches that wait for their commit are neither dropped nor waiting."""
