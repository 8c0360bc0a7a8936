"""What the conformance tests share: one daemon for all of them, another that is slow to refuse, and NAS sockets.

Rule: a module provisions its own ISP with names and loopback addresses of its own, so that all can share a daemon.
Every secret and password contains `hush`, and no daemon may write that anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.daemon_process import DaemonProcess, running
from tests.system.radius_client import RadiusClient

PROBE = ("probe", "hush-probe")
"""The service which shows, by logging in, that the server answers."""
PROBE_ISP = """
[[plan]]
name = "probe"
[[service]]
login = "probe"
password = "hush-probe"
plan = "probe"
"""
MARK_OF_SECRETS = "hush"
REQUESTS_PER_SECOND = 40
"""Of each router of the strict daemon."""

NasFactory = Callable[..., RadiusClient]


def _lend(data: Path, radius: str, *, listen: str = "0.0.0.0") -> Iterator[DaemonProcess]:
    """Run a daemon, and look through its log when it has ended."""
    with running(DaemonProcess(data, listen=listen, radius=radius, more='level = "debug"')) as daemon:
        daemon.provision(PROBE_ISP)
        yield daemon
    for log in (daemon.log, data / "postgresql" / "postgresql.log"):
        assert MARK_OF_SECRETS not in log.read_text(), f"a secret or a password is in {log}"


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend the daemon of all conformance tests; it refuses without delay and listens on every address."""
    yield from _lend(tmp_path_factory.mktemp("shared"), "reject_delay_milliseconds = 0")


@pytest.fixture(scope="session")
def strict_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon that delays refusals as each router's profile says and limits every router's rate."""
    limit = f"limit_requests_per_second_per_router = {REQUESTS_PER_SECOND}"
    yield from _lend(tmp_path_factory.mktemp("strict"), limit)


@pytest.fixture(scope="session")
def dual_stack_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon on `::`, which hears IPv4 and IPv6."""
    yield from _lend(tmp_path_factory.mktemp("dual"), "reject_delay_milliseconds = 0", listen="::")


@pytest.fixture(scope="module")
def daemon(shared_daemon: DaemonProcess, request: pytest.FixtureRequest) -> DaemonProcess:
    """Lend the shared daemon with the module's `ISP` applied."""
    shared_daemon.provision(request.module.ISP)
    return shared_daemon


@pytest.fixture
def nas(daemon: DaemonProcess) -> Iterator[NasFactory]:
    """Return a function that opens the sockets of a NAS at an address; they are closed after the test."""
    yield from _open_sockets(daemon)


@pytest.fixture
def strict_nas(strict_daemon: DaemonProcess, request: pytest.FixtureRequest) -> Iterator[NasFactory]:
    """Return the same for the strict daemon, with the module's `STRICT_ISP` applied."""
    strict_daemon.provision(request.module.STRICT_ISP)
    yield from _open_sockets(strict_daemon)


def _open_sockets(daemon: DaemonProcess) -> Iterator[NasFactory]:
    opened: list[RadiusClient] = []

    def open_nas(source: str, secret: str, *, server: str = "127.0.0.1") -> RadiusClient:
        client = RadiusClient(
            source=source,
            secret=secret.encode(),
            auth_port=daemon.auth_port,
            acct_port=daemon.acct_port,
            server=server,
            probe=PROBE,
        )
        opened.append(client)
        return client

    yield open_nas
    for client in opened:
        client.close()
