"""Stopping, starting again, reloading, and what the service manager is told of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.client import ControlClient
from cli.errors import CommandError
from radius.codes import AcctStatus, Code
from tests.system.books import assert_exact
from tests.system.daemon_process import SECRET, DaemonProcess
from tests.system.load import AccountingLoad, lines, running
from tests.system.radius_client import RadiusClient

STOP_SECONDS = 3.0
START_SECONDS = 10.0
ORPHAN_SECONDS = 1.0
"""What the issue asks for, in seconds; a second is added where two processes of a busy machine are measured."""
BUSY_SECONDS = 1.0
ROUTER, BUSY_ROUTER = "127.0.0.16", "127.0.0.17"
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
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon that is provisioned."""
    process = DaemonProcess(tmp_path_factory.mktemp("daemon"))
    try:
        process.start(WATCHDOG_USEC="3000000")
        process.apply(ISP)
        yield process
    finally:
        process.discard()


@pytest.fixture
def daemon(installation: DaemonProcess) -> DaemonProcess:
    """Lend the daemon, running, with its first configuration."""
    installation.configure()
    if installation.is_alive():
        installation.reload()
    else:
        installation.start(WATCHDOG_USEC="3000000")
    return installation


@contextlib.contextmanager
def nas(daemon: DaemonProcess) -> Iterator[RadiusClient]:
    """Lend the sockets of the router."""
    with RadiusClient(
        source=ROUTER,
        secret=SECRET,
        auth_port=daemon.auth_port,
        acct_port=daemon.acct_port,
        probe=("ana", "rio-2741"),
    ) as client:
        yield client


def test_ctrl_c_under_load_stops_in_time_with_nothing_lost(daemon: DaemonProcess) -> None:
    load = AccountingLoad(daemon.acct_port, SECRET, lines([BUSY_ROUTER], 30), seed=77)
    with running(load):
        for _ in range(2):
            load.await_acknowledgements(300)
            # A terminal sends Ctrl-C to every process of its foreground group.
            begun = time.monotonic()
            os.killpg(daemon.pid, signal.SIGINT)
            assert daemon.await_end() == 0
            assert time.monotonic() - begun < STOP_SECONDS
            begun = time.monotonic()
            daemon.start()
            assert time.monotonic() - begun < START_SECONDS
        load.await_acknowledgements(300)
        load.finish()
    assert_exact(daemon, load.truth())
    assert "Traceback" not in daemon.log.read_text()
    assert "KeyboardInterrupt" not in daemon.log.read_text()


def test_ctrl_c_during_the_start_ends_it_and_the_next_start_succeeds(tmp_path: Path) -> None:
    daemon = DaemonProcess(tmp_path)
    try:
        daemon.launch()
        assert daemon.notifications is not None
        assert daemon.notifications.wait_for("STATUS=starting the database", seconds=30)
        begun = time.monotonic()
        os.killpg(daemon.pid, signal.SIGINT)
        assert daemon.await_end() == 0
        assert time.monotonic() - begun < STOP_SECONDS
        daemon.start()
        assert "ready" in daemon.caudal("status")
        assert "Traceback" not in daemon.log.read_text()
    finally:
        daemon.discard()


def test_stop_answers_what_waits_and_takes_nothing_new(daemon: DaemonProcess) -> None:
    with nas(daemon) as client:
        client.proves_alive()
        client.proves_alive_in_accounting()
        assert daemon.stop() == 0
    assert daemon.database.pid() is None, "the embedded PostgreSQL outlived an orderly stop"
    assert not daemon.control_socket.exists()


def test_killed_daemon_leaves_no_worker_and_its_postgresql_is_adopted(daemon: DaemonProcess) -> None:
    workers, postmaster = daemon.worker_pids(), daemon.database.pid()
    with nas(daemon) as client:
        client.account(client.record(AcctStatus.START, "before", login="ana"))
    with contextlib.ExitStack() as handles:
        ends = [handles.enter_context(opened(os.pidfd_open(pid))) for pid in workers]
        begun = time.monotonic()
        daemon.kill()
        for end in ends:
            assert select.select([end], [], [], 30)[0]
        assert time.monotonic() - begun < ORPHAN_SECONDS + BUSY_SECONDS
    assert daemon.database.pid() == postmaster
    daemon.start()
    assert daemon.database.pid() == postmaster, "the running PostgreSQL was not adopted"
    with nas(daemon) as client:
        client.proves_alive()
    assert "before" in [session["acct_session_id"] for session in daemon.listing("session", "list")]


def test_an_import_that_a_kill_interrupts_leaves_nothing(daemon: DaemonProcess) -> None:
    services = "SELECT count(*) FROM service"
    before = daemon.query(services)
    gone = threading.Event()

    def rows() -> Iterator[bytes]:
        yield b"login,password,plan\n"
        yield b"".join(b"line-%d,hush,plan\n" % number for number in range(20_000))
        gone.wait(30)

    events = ControlClient(daemon.data).upload("/v1/import/services", rows(), "text/csv")
    assert next(iter(events))["event"] == "progress"
    daemon.kill()
    with pytest.raises(CommandError, match="broke off"):
        list(events)
    gone.set()
    daemon.start()
    assert daemon.query(services) == before


def test_killed_worker_is_started_again(daemon: DaemonProcess) -> None:
    workers = daemon.worker_pids()
    with nas(daemon) as client:
        kill_worker(daemon, client)
    daemon.await_metric("caudal_worker_restarts_total")
    assert daemon.worker_pids() != workers


def test_second_daemon_on_the_same_data_is_refused_in_one_line(daemon: DaemonProcess) -> None:
    assert daemon.refusal() == f"caudal: another daemon runs in {daemon.data}; stop it, or choose another --data\n"
    with nas(daemon) as client:
        client.proves_alive()


@pytest.mark.parametrize("port", ["auth_port", "acct_port", "metrics_port"])
def test_second_daemon_on_a_port_of_the_first_is_refused_in_one_line(
    daemon: DaemonProcess, tmp_path: Path, port: str, database_dsn: str
) -> None:
    """Workers share their ports among themselves; without a check two daemons would share them, too."""
    second = DaemonProcess(tmp_path / "second", database_url=database_dsn)
    setattr(second, port, getattr(daemon, port))
    second.configure()
    told = second.refusal(lines=None)
    last = told.splitlines()[-1]
    assert last.startswith("caudal: cannot listen on")
    assert f":{getattr(daemon, port)}: Address already in use" in last
    with nas(daemon) as client:
        client.proves_alive()
        client.proves_alive_in_accounting()


def test_second_daemon_on_the_control_socket_of_the_first_is_refused_in_one_line(
    daemon: DaemonProcess, tmp_path: Path, database_dsn: str
) -> None:
    second = DaemonProcess(
        tmp_path / "second", database_url=database_dsn, more=f'[control]\nsocket = "{daemon.control_socket}"'
    )
    assert "another daemon answers at" in second.refusal(lines=None).splitlines()[-1]
    assert "ready" in daemon.caudal("status")


def test_check_beside_a_running_daemon_finds_the_ports_in_its_hands(daemon: DaemonProcess) -> None:
    told = daemon.caudal("check", "--config", str(daemon.config))
    assert told.count("held by the daemon that runs here") == 3
    assert "a daemon runs here" in told


def test_reload_brings_log_level_and_reject_delay_into_force(daemon: DaemonProcess) -> None:
    with nas(daemon) as client:
        assert seconds_to_refuse(client) < 1.0
        daemon.configure(radius="reject_delay_milliseconds = 1000", more='level = "error"')
        daemon.reload()
        await_refusal_after(1.0, client)
        length = len(daemon.log.read_text())
        client.auth.send(bytes(20))
        client.proves_alive()
        daemon.await_metric('caudal_drops_total{reason="')
        assert len(daemon.log.read_text()) == length, "the level was not raised"
        daemon.configure(more='level = "debug"')
        assert "configuration reloaded" in daemon.reload()
        while seconds_to_refuse(client) >= 1.0:
            # The worker reads its settings a moment after the daemon.
            pass
        client.acct.send(bytes(20))
        daemon.await_log("datagram dropped", after=length)


def test_reload_changes_the_form_of_the_log(daemon: DaemonProcess) -> None:
    daemon.config.write_text(daemon.config.read_text().replace('format = "json"', 'format = "console"'))
    told = daemon.reload()
    assert "configuration reloaded" in told
    assert '"event": "configuration reloaded"' not in told


def test_reload_limits_a_router(daemon: DaemonProcess) -> None:
    daemon.configure(radius="reject_delay_milliseconds = 400\nlimit_requests_per_second_per_router = 5")
    daemon.reload()
    with nas(daemon) as client:
        await_refusal_after(0.4, client)
        for _ in range(100):
            client.acct.send(client.record(AcctStatus.START, os.urandom(8).hex()))
        daemon.await_metric('caudal_drops_total{reason="rate_limit",router="tower"}')


def test_broken_configuration_is_refused_and_the_old_one_stays_also_for_a_new_worker(daemon: DaemonProcess) -> None:
    daemon.configure(radius="reject_delay_milliseconds = 900")
    daemon.reload()
    whole = daemon.config.read_text()
    daemon.config.write_text(whole.replace("reject_delay_milliseconds = 900", 'reject_delay_milliseconds = "fast"'))
    told = daemon.reload()
    assert "configuration not reloaded" in told
    assert "reject_delay_milliseconds" in told
    with nas(daemon) as client:
        await_refusal_after(0.9, client)
        kill_worker(daemon, client)
        assert seconds_to_refuse(client) >= 0.9
    daemon.config.write_text("[radius\n")
    assert "is not TOML" in daemon.reload()
    daemon.config.unlink()
    assert "cannot be read" in daemon.reload()
    with nas(daemon) as client:
        client.proves_alive()


def test_reload_says_what_needs_a_restart_and_leaves_it_as_it_was(daemon: DaemonProcess) -> None:
    old_port = daemon.auth_port
    daemon.auth_port = 1
    daemon.configure()
    daemon.auth_port = old_port
    assert '"needs_restart": ["radius.auth_port"]' in daemon.reload()
    with nas(daemon) as client:
        kill_worker(daemon, client)
        client.proves_alive()
    assert str(old_port) in daemon.caudal("status")


def test_service_manager_is_told_of_every_change(daemon: DaemonProcess) -> None:
    told = daemon.notifications
    assert told is not None
    assert told.wait_for("WATCHDOG=1", after=len(told.received()), seconds=10)
    before = len(told.received())
    daemon.signal(signal.SIGHUP)
    assert told.wait_for("READY=1", after=before, seconds=10)
    messages = [message for message in told.received()[before:] if "WATCHDOG" not in message]
    assert messages[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert messages[1] == "READY=1\nSTATUS=serving; configuration reloaded"
    before = len(told.received())
    assert daemon.stop() == 0
    assert told.wait_for("STOPPING=1", after=before, seconds=10)


def test_watchdog_is_not_fed_by_a_daemon_that_hangs(daemon: DaemonProcess) -> None:
    told = daemon.notifications
    assert told is not None
    daemon.signal(signal.SIGSTOP)
    before = len(told.received())
    assert not told.wait_for("WATCHDOG=1", after=before + 1, seconds=3)
    daemon.signal(signal.SIGCONT)
    assert told.wait_for("WATCHDOG=1", after=before, seconds=10)


def kill_worker(daemon: DaemonProcess, client: RadiusClient) -> None:
    """Kill the worker and wait until another one serves."""
    [worker] = daemon.worker_pids()
    length = len(daemon.log.read_text())
    os.kill(worker, signal.SIGKILL)
    daemon.await_log("worker died", after=length)
    client.auth.settimeout(0.2)
    give_up = time.monotonic() + 30
    while True:
        try:
            client.ask(client.status_server())
        except TimeoutError:
            assert time.monotonic() < give_up, "no worker serves"
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            break
    client.auth.settimeout(30)
    while client.has_answer(client.auth):
        client.auth.recv(4096)


def await_refusal_after(seconds: float, client: RadiusClient) -> None:
    """Wait until refusals are delayed by so much: a worker reads its settings a moment after the daemon."""
    for _ in range(50):
        if seconds_to_refuse(client) >= seconds:
            return
    raise AssertionError(f"refusals are not delayed by {seconds} s")


def seconds_to_refuse(client: RadiusClient) -> float:
    """Return how long a refusal takes."""
    begun = time.monotonic()
    assert client.login("ana", "guessed").code == Code.ACCESS_REJECT
    return time.monotonic() - begun


@contextlib.contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Lend a descriptor and close it."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)
