"""`caudal serve --only core` and `--only radius`: two process trees of one installation."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from radius.codes import AcctStatus, Code
from tests.system.daemon_process import READY_SECONDS, SECRET, DaemonProcess
from tests.system.radius_client import RadiusClient

ROUTER = "127.0.70.1"
ISP = f"""
[[router]]
name = "tower"
address = "{ROUTER}"
secret = "{SECRET.decode()}"
[[plan]]
name = "plan"
[[service]]
login = "ana"
password = "rio-2741"
plan = "plan"
"""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    """Lend a core, and workers that were started before it: both serve."""
    whole = DaemonProcess(tmp_path)
    core, radius = whole.apart("core"), whole.apart("radius")
    try:
        begun = radius.launch()
        assert begun.wait_for("STATUS=starting the database", seconds=READY_SECONDS, alive=radius.is_alive)
        core.start()
        assert begun.wait_for("READY=1", seconds=READY_SECONDS, alive=radius.is_alive), radius.log.read_text()
        core.apply(ISP)
        yield core, radius
        for part in (radius, core):
            assert part.stop() == 0
            assert "Traceback" not in part.log.read_text()
    finally:
        radius.discard()
        core.discard()


@contextlib.contextmanager
def nas(daemon: DaemonProcess) -> Iterator[RadiusClient]:
    """Lend the sockets of the router."""
    with RadiusClient(
        source=ROUTER, secret=SECRET, auth_port=daemon.auth_port, acct_port=daemon.acct_port, probe=("ana", "rio-2741")
    ) as client:
        yield client


def await_login(client: RadiusClient) -> None:
    """Ask until somebody answers: what the core was told reaches the workers in a moment."""
    client.auth.settimeout(0.2)
    give_up = time.monotonic() + READY_SECONDS
    while True:
        try:
            assert client.login("ana", "rio-2741").code == Code.ACCESS_ACCEPT
        except TimeoutError:
            assert time.monotonic() < give_up, "nobody answers"
        else:
            return


def test_workers_apart_from_their_core_serve_and_each_part_is_there_once(
    parts: tuple[DaemonProcess, DaemonProcess],
) -> None:
    core, radius = parts
    session = os.urandom(8).hex()
    with nas(radius) as client:
        await_login(client)
        client.account(client.record(AcctStatus.START, session, login="ana"))

    (row,) = core.listing("session", "list")
    assert (row["acct_session_id"], row["router"]) == (session, "tower")
    status = core.caudal("status")
    assert "RADIUS" not in status
    assert "ready" in status
    assert (core.health(), radius.health()) == ("ok\n", "ok\n")
    radius.await_metric('caudal_requests_total{kind="acct",router="tower"}')
    assert "caudal_requests_total" not in core.metrics()
    assert core.worker_pids() == []
    assert core.caudal("check", "--config", str(core.config)).count("held by the daemon that runs here") == 3
    for again in (core, radius, DaemonProcess(core.data)):
        assert "another daemon runs in" in again.refusal()


def test_workers_outlive_their_core_and_wait_for_its_database(parts: tuple[DaemonProcess, DaemonProcess]) -> None:
    core, radius = parts
    with nas(radius) as client:
        await_login(client)
        core.kill()
        assert client.login("ana", "rio-2741").code == Code.ACCESS_ACCEPT, "PostgreSQL lives on, and so do they"
        core.start()
        assert core.stop() == 0
        radius.await_log("database away")
        core.start()
        await_login(client)


def test_the_demonstration_is_no_part(tmp_path: Path) -> None:
    whole = DaemonProcess(tmp_path)
    told = whole.caudal("serve", "--only", "core", "--demo", expect=2)
    assert "leave out --only" in told
