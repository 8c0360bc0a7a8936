"""Kill -9 of the daemon, of its workers and of PostgreSQL at any moment, under load.

Rule: nothing acknowledged is lost, nothing is counted twice, and everything comes back by itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.system.books import assert_between, assert_exact, assert_rolled_up
from tests.system.daemon_process import SECRET, DaemonProcess
from tests.system.load import AccountingLoad, Manner, SessionTruth, lines, running

SOAK = bool(os.environ.get("CAUDAL_SOAK"))
KILLS = 10 if SOAK else 3
"""Of each kind."""
SEED = 5461
ROUTERS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
LINES_PER_ROUTER = 40 if SOAK else 15
MOST_RECORDS_BETWEEN_KILLS = 3_000 if SOAK else 400
"""The moment of the next kill is so many acknowledged records away, at random."""

ISP = (
    "".join(
        f"""
[[router]]
name = "router-{number}"
address = "{address}"
secret = "{SECRET.decode()}"
"""
        for number, address in enumerate(ROUTERS)
    )
    + """
[[plan]]
name = "plan"
"""
)
"""The lines of the last router belong to nobody: accounting of unknown users is kept, too."""


def provision(daemon: DaemonProcess) -> None:
    """Give every line but those of the last router a service."""
    known = lines(ROUTERS[:-1], LINES_PER_ROUTER)
    daemon.apply(
        ISP + "".join(f'[[service]]\nlogin = "{line.login}"\npassword = ""\nplan = "plan"\n' for line in known)
    )


def kill_daemon(daemon: DaemonProcess, _random: Random) -> None:
    """Kill the daemon; whoever supervises it starts it again."""
    daemon.kill()
    daemon.start()


def kill_worker(daemon: DaemonProcess, random: Random) -> None:
    """Kill a RADIUS worker; the daemon starts it again."""
    os.kill(random.choice(daemon.worker_pids()), signal.SIGKILL)


def kill_postmaster(daemon: DaemonProcess, _random: Random) -> None:
    """Kill PostgreSQL's first process; the daemon starts the server again."""
    pid = daemon.database.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def kill_backend(daemon: DaemonProcess, _random: Random) -> None:
    """Kill the process that serves a lane: PostgreSQL then ends all others and recovers by itself."""
    [(pid,)] = daemon.await_rows(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'caudal worker %% acct' LIMIT 1"
    )
    os.kill(pid, signal.SIGKILL)


def kill_everything(daemon: DaemonProcess, random: Random) -> None:
    """Kill all of it at once, as a power cut does; it is started again."""
    postmaster = daemon.database.pid()
    assert postmaster is not None
    for pid in (postmaster, *daemon.worker_pids()):
        os.kill(pid, signal.SIGKILL)
    kill_daemon(daemon, random)


Kill = Callable[[DaemonProcess, Random], None]
EVERY_KIND: tuple[Kill, ...] = (kill_daemon, kill_worker, kill_postmaster, kill_backend, kill_everything)
STORMS: tuple[tuple[int, tuple[Kill, ...]], ...] = ((2, EVERY_KIND),)
if SOAK:
    STORMS += tuple((workers, (kind,)) for workers in (1, 2) for kind in EVERY_KIND)


def name_of(storm: tuple[int, tuple[Kill, ...]]) -> str:
    """Return how a storm is called in the report."""
    workers, kinds = storm
    return f"{' '.join(kind.__name__.removeprefix('kill_') for kind in kinds)}, {workers} workers"


@pytest.mark.soak
@pytest.mark.parametrize("storm", STORMS, ids=map(name_of, STORMS))
def test_kills_at_any_moment_lose_and_double_nothing(tmp_path: Path, storm: tuple[int, tuple[Kill, ...]]) -> None:
    workers, kinds = storm
    daemon = DaemonProcess(tmp_path, workers=workers)
    try:
        daemon.start()
        provision(daemon)
        kills = [kind for kind in kinds for _ in range(KILLS)]
        Random(SEED).shuffle(kills)
        truths = weather(daemon, kills)
        assert_exact(daemon, truths)
        assert_rolled_up(daemon)
    finally:
        daemon.discard()


def weather(daemon: DaemonProcess, kills: Sequence[Kill]) -> dict[tuple[str, str], SessionTruth]:
    """Kill again and again under load and compare after every kill; end every session and return the truth."""
    random = Random(SEED)
    manner = Manner(pause_seconds=0.08, interims=10, duplicates=0.05, overtaken=0.05)
    load = AccountingLoad(daemon.acct_port, SECRET, lines(ROUTERS, LINES_PER_ROUTER), seed=SEED, manner=manner)
    with running(load):
        load.await_acknowledgements(100)
        for kill in kills:
            load.await_acknowledgements(random.randint(1, MOST_RECORDS_BETWEEN_KILLS))
            kill(daemon, random)
            before = load.truth()
            load.await_acknowledgements(100)
            assert_between(daemon, before, load)
        load.finish()
    assert load.resent, "no kill was noticed"
    assert not load.forged
    return load.truth()
