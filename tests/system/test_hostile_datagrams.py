"""Whatever comes in by UDP, the server lives, keeps its memory, and serves those who do no harm."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from radius.codes import AcctStatus, Code
from tests.system.daemon_process import SECRET, DaemonProcess
from tests.system.load import await_drained, pour
from tests.system.mutation import Mutator, corpus
from tests.system.radius_client import RadiusClient, verify

SOAK = bool(os.environ.get("CAUDAL_SOAK"))
SEED = 20_860
HOSTILE = 1_000_000 if SOAK else 40_000
PORTION = 4_000
WARM_PORTIONS = 100 if SOAK else 2
"""Portions until memory is measured: what is remembered for ten seconds, and of the sessions touched last, is there."""
MOST_GROWTH_OCTETS = (192 if SOAK else 48) * 1024 * 1024
"""Sessions that were touched last and entries against duplicates are remembered up to a bound of about 150 MB."""
LIMIT_PER_SECOND = 200
ANSWER_SECONDS = 0.5
EXCHANGES = 20 if SOAK else 4
MOST_SENDS = 20
"""A flood fills the kernel's buffer before any program can choose, so others may have to send again."""

HONEST, HOSTILE_ROUTER, STRANGER = "127.0.0.21", "127.0.0.22", "127.0.0.23"
ISP = f"""
[[router]]
name = "honest"
address = "{HONEST}"
secret = "{SECRET.decode()}"
[[router]]
name = "hostile"
address = "{HOSTILE_ROUTER}"
secret = "{SECRET.decode()}"
require_message_authenticator = "never"
[[plan]]
name = "plan"
[[service]]
login = "ana"
password = "rio-2741"
plan = "plan"
"""
WHOLE_LOG_OCTETS = 1_000_000 if SOAK else 200_000
"""Some lines a second, for as long as it takes."""
DEFECTS = ("Traceback", "batch failed", "job failed", "records not folded", "worker fails", "worker died")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon with an honest and a hostile router."""
    process = DaemonProcess(tmp_path_factory.mktemp("daemon"))
    try:
        process.start()
        process.apply(ISP)
        yield process
    finally:
        process.discard()


@pytest.mark.soak
def test_mutated_and_random_datagrams_neither_stop_nor_swell_the_server(daemon: DaemonProcess) -> None:
    [worker] = daemon.worker_pids()
    with nas(daemon, HONEST) as honest, nas(daemon, HOSTILE_ROUTER) as hostile:
        packets = corpus(hostile, "ana", "rio-2741")
        to_auth = Mutator(packets, SECRET, SEED, code=Code.ACCESS_REQUEST)
        to_acct = Mutator(packets, SECRET, SEED + 1, code=Code.ACCOUNTING_REQUEST)
        before = 0
        for portion in range(HOSTILE // PORTION):
            pour(HOSTILE_ROUTER, daemon.auth_port, to_auth.datagrams(PORTION // 2))
            pour(HOSTILE_ROUTER, daemon.acct_port, to_acct.datagrams(PORTION // 2))
            assert_served(honest)
            if portion == WARM_PORTIONS:
                before = resident_octets(worker)
        grown = resident_octets(worker) - before
    assert daemon.worker_pids() == [worker], "the worker was replaced"
    for kind in ("acct", "auth"):
        passed = daemon.sample(f'caudal_requests_total{{kind="{kind}",router="hostile"}}')
        assert passed > HOSTILE / 10, f"only {passed} broken requests passed the checks at the door of {kind}"
    assert grown < MOST_GROWTH_OCTETS, f"the worker has grown by {grown:,} octets"
    log = daemon.log.read_text()
    assert not [word for word in DEFECTS if word in log], log[-10_000:]
    assert len(log) < WHOLE_LOG_OCTETS


@pytest.mark.soak
def test_flood_of_one_router_leaves_others_served(daemon: DaemonProcess) -> None:
    def datagrams(client: RadiusClient) -> Iterator[bytes]:
        return (client.record(AcctStatus.START, os.urandom(8).hex()) for _ in range(2_000))

    limit = f"reject_delay_milliseconds = 0\nlimit_requests_per_second_per_router = {LIMIT_PER_SECOND}"
    daemon.configure(radius=limit)
    daemon.reload()
    with nas(daemon, HOSTILE_ROUTER) as hostile:
        assert_others_served(daemon, HOSTILE_ROUTER, list(datagrams(hostile)))
    daemon.await_metric('caudal_drops_total{reason="rate_limit",router="hostile"}')


@pytest.mark.soak
def test_flood_from_an_unknown_source_leaves_others_served(daemon: DaemonProcess) -> None:
    with nas(daemon, STRANGER) as stranger:
        floods = [stranger.record(AcctStatus.START, os.urandom(8).hex()) for _ in range(2_000)]
        assert_others_served(daemon, STRANGER, floods)
    daemon.await_metric('caudal_drops_total{reason="unknown_source",router="unknown"}')


@pytest.mark.soak
def test_flood_under_a_wrong_secret_leaves_others_served(daemon: DaemonProcess) -> None:
    with nas(daemon, HOSTILE_ROUTER, secret=b"guessed") as guesser:
        floods = [guesser.record(AcctStatus.START, os.urandom(8).hex()) for _ in range(2_000)]
        assert_others_served(daemon, HOSTILE_ROUTER, floods)
        assert not guesser.has_answer(guesser.acct)
    daemon.await_metric('caudal_drops_total{reason="wrong_authenticator",router="hostile"}')


def test_many_unknown_sources_fill_neither_the_log_nor_the_metrics(daemon: DaemonProcess) -> None:
    datagram = os.urandom(60)
    for number in range(2_000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.bind((f"127.9.{number // 250}.{number % 250 + 1}", 0))
            source.sendto(datagram, ("127.0.0.1", daemon.auth_port))
    await_drained(daemon.auth_port)
    told = daemon.await_metric('caudal_drops_total{reason="unknown_source",router="unknown"}')
    assert "127.9." not in told
    assert "127.9." in daemon.log.read_text()
    assert len(daemon.log.read_text()) < WHOLE_LOG_OCTETS


def assert_served(client: RadiusClient) -> None:
    """Check that a router which does no harm gets its answers."""
    assert client.login("ana", "rio-2741").code == Code.ACCESS_ACCEPT
    assert client.login("ana", "guessed").code == Code.ACCESS_REJECT
    client.account(client.record(AcctStatus.START, os.urandom(8).hex(), login="ana"))
    assert client.ask(client.status_server()).code == Code.ACCESS_ACCEPT
    assert client.ask(client.status_server(), at=client.acct).code == Code.ACCOUNTING_RESPONSE


def assert_others_served(daemon: DaemonProcess, source: str, floods: list[bytes]) -> None:
    """Check that logins and records of the honest router are answered while another source sends without end."""
    with flood(source, (daemon.auth_port, daemon.acct_port), floods), nas(daemon, HONEST) as honest:
        for _ in range(EXCHANGES):
            login = honest.pap_request("ana", "rio-2741")
            assert patiently(honest, login, honest.auth) == Code.ACCESS_ACCEPT
            record = honest.record(AcctStatus.START, os.urandom(8).hex(), login="ana")
            assert patiently(honest, record, honest.acct) == Code.ACCOUNTING_RESPONSE


def patiently(client: RadiusClient, request: bytes, port: socket.socket) -> int:
    """Send again as a router does until an answer comes; return its code."""
    port.settimeout(ANSWER_SECONDS)
    for _ in range(MOST_SENDS):
        port.send(request)
        try:
            while (answer := port.recv(4096))[1] != request[1]:
                # The second answer to a request that was sent twice.
                pass
        except TimeoutError:
            continue
        return verify(answer, request, client.secret).code
    raise AssertionError(f"no answer to a request that was sent {MOST_SENDS} times")


@contextmanager
def flood(source: str, ports: tuple[int, ...], datagrams: list[bytes]) -> Iterator[None]:
    """Send from `source` as fast as this machine can, until the context ends."""
    ended = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            for datagram in cycle(datagrams):
                for port in ports:
                    sender.sendto(datagram, ("127.0.0.1", port))
                if ended.is_set():
                    return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


@contextmanager
def nas(daemon: DaemonProcess, source: str, *, secret: bytes = SECRET) -> Iterator[RadiusClient]:
    """Lend the sockets of a router."""
    with RadiusClient(source=source, secret=secret, auth_port=daemon.auth_port, acct_port=daemon.acct_port) as client:
        yield client


def resident_octets(pid: int) -> int:
    """Return the memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
