"""The invoice run in processes of its own: the core goes on while accounts are billed on every processor.

Rule: a runner is told its errand on standard input and tells its progress on standard output, a line of JSON each; it
dies with whoever started it. Numbers are given at the end, by whoever started the runners. A run in which a runner or
the database was killed says so; the next one goes on where it ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import CaudalError
from storage.billing import invoice_runs, numbers, run
from storage.database import create_engine

MOST_RUNNERS = 8
FEW = 100
"""Accounts for which no process is worth its start."""
GARBAGE_THRESHOLDS = (100_000, 20, 100)
"""A batch makes many objects and no cycles; looking for them after each 700 cost a tenth of a runner's time."""


class RunFailed(CaudalError):
    """A runner ended before its work was done."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What one runner does."""

    dsn: str
    on: str
    slot: int
    only_prepaid: bool
    is_preview: bool = False


@dataclass(frozen=True, slots=True)
class RunTold:
    """What runners have done together so far."""

    accounts: int
    documents: int
    lines: int
    parked: int
    totals: dict[str, int]


def bill(engine: Engine, dsn: str, on: date, *, runners: int, only_prepaid: bool = False) -> Iterator[RunTold]:
    """Bill all that is due with so many runners, yield their progress, and give the numbers. Raise RunFailed."""
    told: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    processes = [_start(Errand(dsn, on.isoformat(), slot, only_prepaid), told) for slot in range(runners)]
    latest: dict[int, dict[str, Any]] = {}
    running, numbered = set(range(runners)), 0
    try:
        while running:
            slot, report = told.get()
            if report is None:
                running.discard(slot)
                continue
            latest[slot] = report
            told_now = _together(latest)
            if told_now.documents - numbered >= numbers.PER_TRANSACTION:
                # While runners go on, so that the last of them leaves little; what cannot be done now is done then.
                with contextlib.suppress(SQLAlchemyError):
                    numbers.number_waiting(engine, on)
                numbered = told_now.documents
            yield told_now
    finally:
        for process in processes:
            # Standard input was its life line.
            assert process.stdin is not None
            process.stdin.close()
    failed = [process for process in processes if process.wait() != 0]
    if failed:
        with contextlib.suppress(SQLAlchemyError):
            # What is posted gets its number; where the database is away, from the next run.
            numbers.number_waiting(engine, on)
        reasons = {report["error"] for report in latest.values() if "error" in report}
        raise RunFailed(
            "; ".join(sorted(reasons)) or "a runner of the invoice run was ended from outside; run it again to go on"
        )
    numbers.number_waiting(engine, on)
    if not only_prepaid:
        invoice_runs.mark_issued(engine, on)
    yield _together(latest)


def bill_all(engine: Engine, dsn: str, on: date, *, only_prepaid: bool) -> RunTold | run.Progress:
    """Bill all that is due, with one runner unless it is little, and return what was done. Raise RunFailed."""
    if run.count_due(engine, on, only_prepaid=only_prepaid) <= FEW:
        return bill_here(engine, on, only_prepaid=only_prepaid)
    *_, told = bill(engine, dsn, on, runners=1, only_prepaid=only_prepaid)
    return told


def bill_here(engine: Engine, on: date, *, only_prepaid: bool = False) -> run.Progress:
    """Bill all that is due in this process."""
    told = run.bill_due(engine, on, only_prepaid=only_prepaid)
    numbers.number_waiting(engine, on)
    if not only_prepaid:
        invoice_runs.mark_issued(engine, on)
    return told


def see(dsn: str, on: date) -> None:
    """Compute and keep what the run of a day would be, with one runner. Raise RunFailed."""
    told: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    process = _start(Errand(dsn, on.isoformat(), 0, only_prepaid=False, is_preview=True), told)
    reasons = [report["error"] for _, report in iter(told.get, (0, None)) if report and "error" in report]
    assert process.stdin is not None
    process.stdin.close()
    if process.wait() != 0:
        raise RunFailed("; ".join(reasons) or f"the preview of {on} was ended from outside; it is made again")


def usual_runners() -> int:
    """Return how many runners this machine has processors for."""
    return max(1, min(MOST_RUNNERS, len(os.sched_getaffinity(0))))


def _together(latest: dict[int, dict[str, Any]]) -> RunTold:
    totals: dict[str, int] = {}
    for report in latest.values():
        for currency, amount in report.get("totals", {}).items():
            totals[currency] = totals.get(currency, 0) + amount

    def sum_of(key: str) -> int:
        return sum(report.get(key, 0) for report in latest.values())

    return RunTold(sum_of("accounts"), sum_of("documents"), sum_of("lines"), sum_of("parked"), totals)


def _start(errand: Errand, told: queue.Queue[tuple[int, dict[str, Any] | None]]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon.invoice_runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        # It is gone already, and its exit status says so.
        process.stdin.write(json.dumps(asdict(errand)).encode() + b"\n")

    def listen() -> None:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told.put((errand.slot, json.loads(line)))
        except json.JSONDecodeError:
            # It was killed within a line.
            process.kill()
        finally:
            told.put((errand.slot, None))

    threading.Thread(target=listen, daemon=True).start()
    return process


def main() -> None:
    """Do one errand."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    errand = Errand(**json.loads(sys.stdin.buffer.readline()))
    done = threading.Event()
    threading.Thread(target=_die_with_parent, args=(done,), daemon=True).start()
    engine = create_engine(errand.dsn, application_name=f"caudal invoice runner {errand.slot}")

    def tell(progress: run.Progress) -> None:
        _write(asdict(progress))

    try:
        if errand.is_preview:
            for _ in invoice_runs.make(engine, date.fromisoformat(errand.on)):
                pass
            return
        tell(
            run.bill_due(
                engine, date.fromisoformat(errand.on), slot=errand.slot, only_prepaid=errand.only_prepaid, told=tell
            )
        )
    except CaudalError as error:
        _write({"error": str(error)})
        raise SystemExit(1) from None
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        _write({"error": f"the database ended the invoice run: {reason}; run it again to go on"})
        raise SystemExit(1) from None
    finally:
        done.set()


def _write(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def _die_with_parent(done: threading.Event) -> None:
    # Not through sys.stdin: the interpreter could not end while this thread holds its lock.
    while os.read(0, 1):
        pass
    if not done.is_set():
        os._exit(1)


if __name__ == "__main__":
    main()
