"""Kill -9 of runners, of the daemon and of PostgreSQL at any moment of an invoice run, and two runs at once.

Rule: the run that was hit says so or was done; the next one goes on: one invoice each, no gap, the books right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest

from bench.invoices import DAY, fill
from billing.cycle import months_later
from storage.database import create_engine
from tests.system.daemon_process import DaemonProcess

SOAK = bool(os.environ.get("CAUDAL_SOAK"))
ROUNDS = 12 if SOAK else 1
"""Of each kind of kill; a round is a month that is billed."""
ACCOUNTS = 6_000 if SOAK else 1_100
SEED = 5461
FOUND_SECONDS = 30.0
RUNS_SECONDS = 2.0 if SOAK else 0.6
"""Within this time after a runner has begun to bill it is hit."""


def runners(daemon: DaemonProcess) -> list[int]:
    """Return the process ids of the runners that live now."""
    found = []
    for child in Path(f"/proc/{daemon.pid}/task").glob("*/children"):
        try:
            found += [int(pid) for pid in child.read_text().split()]
        except FileNotFoundError:
            continue
    return [pid for pid in found if _is_runner(pid)]


def _is_runner(pid: int) -> bool:
    try:
        return b"daemon.invoice_runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill_runner(daemon: DaemonProcess, random: Random) -> None:
    """Kill one runner, if there is still one; the other one goes on."""
    pids = runners(daemon)
    _kill(random.sample(pids, min(1, len(pids))))


def kill_runners(daemon: DaemonProcess, _random: Random) -> None:
    """Kill all runners; nobody is left to bill."""
    _kill(runners(daemon))


def kill_daemon(daemon: DaemonProcess, _random: Random) -> None:
    """Kill the daemon, with which its runners end; whoever supervises it starts it again."""
    daemon.kill()
    daemon.start()


def kill_backend(daemon: DaemonProcess, random: Random) -> None:
    """Kill the process that serves a runner: PostgreSQL then ends all others and recovers by itself."""
    found = daemon.query("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'caudal invoice runner %%'")
    pids = [pid for (pid,) in found]
    _kill(random.sample(pids, min(1, len(pids))))


def kill_postmaster(daemon: DaemonProcess, _random: Random) -> None:
    """Kill PostgreSQL's first process; the daemon starts the server again."""
    pid = daemon.database.pid()
    assert pid is not None
    _kill([pid])


def stop_database(daemon: DaemonProcess, _random: Random) -> None:
    """Stop PostgreSQL at once, without a checkpoint; the daemon starts it again."""
    pid = daemon.database.pid()
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            # Its work was done a moment before.
            continue


Kill = Callable[[DaemonProcess, Random], None]
KILLS: tuple[Kill, ...] = (kill_runner, kill_runners, kill_daemon, kill_backend, kill_postmaster, stop_database)


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon with accounts that are billed at the end of each month, as the bench measures them."""
    daemon = DaemonProcess(tmp_path_factory.mktemp("billed"))
    try:
        daemon.start()
        engine = create_engine(daemon.dsn)
        fill(engine, ACCOUNTS)
        engine.dispose()
        yield daemon
    finally:
        daemon.discard()


def month_to_bill(daemon: DaemonProcess) -> date:
    """Return the first of the month that nobody has billed."""
    (last,) = daemon.query("SELECT max(dated) FROM document")[0]
    return DAY if last is None else months_later(last, 1)


def run_order(on: date) -> tuple[str, ...]:
    """Return the words that bill what is due by a day, however far ahead."""
    return "invoice", "run", "--yes-far-future", "--date", on.isoformat()


def start_run(daemon: DaemonProcess, on: date) -> subprocess.Popen[str]:
    """Begin a run as an operator does."""
    command = [sys.executable, "-m", "cli", "--data", str(daemon.data), *run_order(on)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told_last(complaint: str) -> str:
    """Return the one sentence of a command that failed; a progress bar may have been before it."""
    *before, last = complaint.strip().splitlines()
    assert not before, complaint
    return last


def await_runners(daemon: DaemonProcess, process: subprocess.Popen[str]) -> None:
    """Wait until a run has its runners."""
    give_up = time.monotonic() + FOUND_SECONDS
    while process.poll() is None and not runners(daemon):
        assert time.monotonic() < give_up, "no runner"
        time.sleep(0.005)


def bill_to_the_end(daemon: DaemonProcess, on: date) -> None:
    """Run as soon as the daemon and its database are there again."""
    give_up = time.monotonic() + FOUND_SECONDS
    while True:
        process = start_run(daemon, on)
        _, complaint = process.communicate(timeout=120)
        if process.returncode == 0:
            return
        assert time.monotonic() < give_up, complaint
        assert "database" in complaint or "again" in complaint, complaint


def assert_each_was_billed_once(daemon: DaemonProcess, on: date) -> None:
    """Check the documents of a month, the numbers of all, and the books."""
    months = (on.year - DAY.year) * 12 + on.month - DAY.month + 1
    counted = "SELECT count(*), count(DISTINCT customer_id) FROM document WHERE dated = %s"
    assert daemon.query(counted, on) == [(ACCOUNTS, ACCOUNTS)]
    numbered = "SELECT count(*), count(number), count(DISTINCT number), min(position), max(position) FROM document"
    whole = months * ACCOUNTS
    assert daemon.query(numbered) == [(whole, whole, whole, 1, whole)]
    assert json.loads(daemon.caudal("ledger", "check", "--json")) == []
    assert "made 0 documents" in daemon.caudal(*run_order(on))


@pytest.mark.soak
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: str(kill.__name__))
def test_i8_a_run_that_is_killed_goes_on_where_it_ended(billed: DaemonProcess, kill: Kill) -> None:
    random = Random(f"{SEED} {kill.__name__}")
    for _ in range(ROUNDS):
        on = month_to_bill(billed)
        process = start_run(billed, on)
        await_runners(billed, process)
        # The moment is at random: nothing in the run tells it.
        time.sleep(random.uniform(0, RUNS_SECONDS))
        kill(billed, random)
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0 or "again" in told_last(complaint), complaint
        bill_to_the_end(billed, on)
        assert_each_was_billed_once(billed, on)


def test_n5_two_runs_at_once_bill_each_account_once(billed: DaemonProcess) -> None:
    month = month_to_bill(billed)
    processes = [start_run(billed, month) for _ in range(2)]
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert_each_was_billed_once(billed, month)


def test_what_a_killed_run_has_posted_gets_its_numbers_by_itself(billed: DaemonProcess) -> None:
    """The daemon is killed between the last account and the first number."""
    month = month_to_bill(billed)
    with billed.rows() as cursor:
        cursor.execute("BEGIN; LOCK TABLE series_head IN EXCLUSIVE MODE")
        process = start_run(billed, month)
        posted = "SELECT 1 FROM document WHERE dated = %s HAVING count(*) = %s"
        assert billed.await_rows(posted, month, ACCOUNTS, seconds=FOUND_SECONDS)
        billed.kill()
        process.communicate(timeout=120)
        cursor.execute("ROLLBACK")
    assert billed.query("SELECT count(number) FROM document WHERE dated = %s", month) == [(0,)]
    billed.start()
    assert billed.await_rows("SELECT 1 FROM document HAVING count(*) = count(number)")
    assert_each_was_billed_once(billed, month)
