"""`caudal router check` and `script`, through the control API, against a box and a router that answers CoA."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy

from control.ports import ControlPorts, RuntimeStatus
from daemon.enforcement_snapshot import SnapshotKeeper
from daemon.router_checkup import RadiusPorts, RouterCheckup
from daemon.router_report import RouterKnowledge
from domain.instants import Microseconds
from simulator.dynamic_authorization import DynamicAuthorization, SessionBook
from simulator.routeros_faults import ApiFaults
from storage.pipeline import PipelineConnection
from storage.usage import usage
from tests.integration.control_daemon import Outcome, at_once, command, running
from tests.integration.kept_router import QUEUES, VAULT, now, provision, town
from tests.unit.simulator.routeros_box import ADDRESS, RunningBox, running_box

SECRET = "a-long-radius-secret"


@pytest.fixture
def box() -> Iterator[RunningBox]:
    """Lend a box that is set up for us."""
    with running_box() as running:
        running.do(lambda: running.box.state.set_up("/ppp/aaa", {"use-radius": "yes", "accounting": "yes"}))
        running.do(lambda: running.box.state.set_up("/ppp/aaa", {"interim-update": "5m"}))
        running.enter("/radius", {"service": "ppp", "address": ADDRESS})
        yield running


class CoaServer:
    """The half of a router that takes CoA, in a thread of its own."""

    def __init__(self, secret: bytes) -> None:
        self._server = DynamicAuthorization(secret, "norte", socket.inet_aton(ADDRESS))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ADDRESS, 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            datagram, source = self._socket.recvfrom(4096)
            if not datagram:
                return
            verdict = self._server.judge(datagram, source, SessionBook(), Microseconds(time.time_ns() // 1000))
            if verdict is not None:
                self._socket.sendto(verdict.reply, source)

    def close(self) -> None:
        """End the thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.sendto(b"", (ADDRESS, self.port))
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def coa() -> Iterator[CoaServer]:
    """Lend a router that answers CoA."""
    server = CoaServer(SECRET.encode())
    yield server
    server.close()


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a data directory that the command finds."""
    with tempfile.TemporaryDirectory(prefix="caudal-routers-") as name:
        monkeypatch.setenv("CAUDAL_DATA", name)
        yield Path(name)


def levels(told: Outcome, check: str) -> list[str]:
    """Return the marks of the lines about `check`."""
    return [line.split()[0] for line in told.out.splitlines() if line[9:].startswith(f"{check} ")]


@contextmanager
def office(engine: sqlalchemy.Engine, dsn: str, data: Path, *, offered: bool = True) -> Iterator[None]:
    """Serve the control API of a daemon that speaks to routers."""
    snapshots = SnapshotKeeper(PipelineConnection(dsn, {}, application_name="test setup"), VAULT)
    checkup = RouterCheckup(
        engine,
        snapshot=lambda: snapshots.snapshot,
        knowledge=lambda _router_id: RouterKnowledge(),
        ports=RadiusPorts(1812, 1813),
        clock=now,
    )
    ports = ControlPorts(
        engine,
        VAULT,
        lambda: RuntimeStatus("1", now(), 0, "ready", (), ()),
        at_once,
        usage,
        now,
        lambda: snapshots.snapshot,
        routers=checkup if offered else None,
    )
    with running(ports, data, first=snapshots.first()):
        yield


@pytest.fixture
def caudal(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Lend the command."""
    return command(capsys)


def test_a_router_that_is_right_has_nothing_to_be_corrected(
    box: RunningBox,
    coa: CoaServer,
    engine: sqlalchemy.Engine,
    database_dsn: str,
    data: Path,
    caudal: Callable[..., Outcome],
) -> None:
    provision(engine, town(box, services=0, coa_port=coa.port))
    box.do(lambda: box.box.state.set_up("/radius/incoming", {"accept": "yes", "port": str(coa.port)}))
    with office(engine, database_dsn, data):
        told = caudal("router", "check", "norte")
    assert (told.status, told.err) == (0, "")
    for check in ("api", "radius", "secret", "incoming", "clock", "ppp", "entries", "double queues"):
        assert levels(told, check) == ["ok"], check


def test_every_fault_is_told_with_what_corrects_it(
    box: RunningBox,
    engine: sqlalchemy.Engine,
    database_dsn: str,
    data: Path,
    caudal: Callable[..., Outcome],
) -> None:
    stranger = CoaServer(b"another-secret-altogether")
    provision(engine, town(box, coa_port=stranger.port))
    box.do(lambda: box.box.state.set_up("/ppp/aaa", {"interim-update": "0s"}))
    box.enter(QUEUES, {"name": "<pppoe-line1>", "target": "10.7.0.1/32"}, dynamic=True)
    box.enter(QUEUES, {"name": "second", "target": "10.7.0.1/32"})
    began = time.monotonic()
    with office(engine, database_dsn, data):
        told = caudal("router", "check", "norte")
    stranger.close()
    assert time.monotonic() - began < 20
    assert told.status == 1
    assert "to be corrected on norte" in told.err
    assert levels(told, "secret") == ["?"], "nothing was asked with it: the port is shut"
    assert levels(told, "incoming") == ["wrong"]
    assert levels(told, "ppp") == ["warning"]
    assert levels(told, "entries") == ["warning"]
    assert levels(told, "double queues") == ["warning"]
    assert f"/radius incoming set accept=yes port={stranger.port}" in told.out
    assert '/queue/simple remove [find name="second"]' in told.out


def test_an_api_that_refuses_is_told_and_nothing_is_said_of_what_was_not_read(
    box: RunningBox,
    coa: CoaServer,
    engine: sqlalchemy.Engine,
    database_dsn: str,
    data: Path,
    caudal: Callable[..., Outcome],
) -> None:
    provision(engine, town(box, coa_port=coa.port, password="wrong-and-secret-horse"))
    box.fail(ApiFaults(refuses_logins=True))
    with office(engine, database_dsn, data):
        told = caudal("router", "check", "norte")
    assert told.status == 1
    assert levels(told, "api") == ["wrong"]
    assert levels(told, "secret") == ["ok"]
    assert levels(told, "incoming") == ["?"]
    assert "wrong-and-secret-horse" not in told.out + told.err


def test_a_script_holds_secrets_only_where_asked_to(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, data: Path, caudal: Callable[..., Outcome]
) -> None:
    provision(engine, town(box))
    with office(engine, database_dsn, data):
        plain = caudal("router", "script", "norte")
        revealed = caudal("router", "script", "norte", "--secrets", "--server", "192.0.2.9")
    assert (plain.status, revealed.status) == (0, 0)
    assert SECRET not in plain.out
    assert "correct horse" not in plain.out
    assert f"address={ADDRESS}" in plain.out
    assert SECRET in revealed.out
    assert "correct horse" in revealed.out
    assert "address=192.0.2.9 " in revealed.out


def test_a_router_that_does_not_exist_is_not_found(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, data: Path, caudal: Callable[..., Outcome]
) -> None:
    provision(engine, town(box))
    with office(engine, database_dsn, data):
        for verb in ("check", "script"):
            told = caudal("router", verb, "sur")
            assert (told.status, told.out) == (1, "")
            assert "there is no router 'sur'" in told.err


def test_a_daemon_that_speaks_to_no_routers_says_so(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, data: Path, caudal: Callable[..., Outcome]
) -> None:
    provision(engine, town(box))
    with office(engine, database_dsn, data, offered=False):
        told = caudal("router", "check", "norte")
    assert told.status == 1
    assert "speaks to no routers" in told.err
