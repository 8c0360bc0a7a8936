"""`make bench`: measure Caudal against FreeRADIUS on this machine and write the table of docs/performance.md.

Rule: both servers, PostgreSQL and the generator share the same two cores; the exit status is 1 when a bar is missed,
2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import psycopg2

from bench import bars, cluster, freeradius, measurements, table
from bench.errors import BenchError
from bench.load import Generator, compile_radload
from bench.measurements import FULL, QUICK, Bench, Measurement
from domain.errors import CaudalError, one_line

CORES: Final = 2
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
# Above this the machine is not ours alone, and only ratios of long runs mean something.
BUSY_LOAD: Final = 0.5
EXIT_MISSED: Final = 1
EXIT_FAILED: Final = 2


def main() -> int:
    """Run the chosen measurements; return the exit status."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    began = time.monotonic()

    def say(message: str) -> None:
        elapsed = int(time.monotonic() - began)
        print(f"[{elapsed // 60:3d}:{elapsed % 60:02d}] {message}", file=sys.stderr, flush=True)

    try:
        return _measure(options, say)
    except (CaudalError, OSError, psycopg2.Error) as error:
        print(f"bench: {one_line(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return EXIT_FAILED


def _measure(options: argparse.Namespace, say: measurements.Say) -> int:
    circumstances = _circumstances(say)
    directory: Path = options.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    radload = compile_radload(directory)
    work = directory / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        with cluster.running(directory / "postgresql") as database:
            circumstances["Database"] = database.facts()
            scale = QUICK if options.quick else FULL
            bench = Bench(work, Generator(radload), database, scale, options.workers, say)
            _run(bench, options.only)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _report(bench, circumstances, options)


def _run(bench: Bench, chosen: frozenset[Measurement]) -> None:
    if Measurement.ENFORCEMENT in chosen:
        measurements.enforce(bench)
    if Measurement.INVOICES in chosen:
        measurements.invoice(bench)
    if chosen - {Measurement.POOL, Measurement.GROWTH, Measurement.ENFORCEMENT, Measurement.INVOICES}:
        measurements.against_freeradius(bench, chosen)
    if Measurement.POOL in chosen:
        measurements.pool(bench)
    if Measurement.GROWTH in chosen:
        measurements.growth(bench)


def _report(bench: Bench, circumstances: dict[str, str], options: argparse.Namespace) -> int:
    scale = bench.scale
    circumstances["Run"] = f"{scale.rounds} rounds of {scale.requests:,} requests, {bench.workers} RADIUS worker(s)"
    if bench.results.freeradius_threads is not None:
        circumstances["FreeRADIUS"] += f", {bench.results.freeradius_threads} threads and connections"
    text = table.markdown(bench.results, circumstances)
    if options.json:
        print(json.dumps(table.as_json(bench.results, circumstances), indent=2))
    else:
        print(text)
    complete = not options.quick and options.only == frozenset(Measurement)
    if complete:
        table.write(PAGE, text)
        bench.say(f"written to {PAGE}")
    missed = bars.missed(bench.results.quantities())
    for bar in missed:
        print(f"bench: missed: {bar.quantity} {bar}", file=sys.stderr)
    return EXIT_MISSED if missed else 0


def _circumstances(say: measurements.Say) -> dict[str, str]:
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES:
        raise BenchError(f"the bars are for {CORES} cores and this process may use only {len(cores)}")
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        say(f"this machine is busy (load {load:.1f}): believe the ratios, and only with care")
    os.sched_setaffinity(0, cores)
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Processor": f"{_processor()}; everything pinned to cores {', '.join(map(str, cores))}",
        "System": f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, kernel {platform.release()}, "
        f"load {load:.1f} at the start",
        "Caudal": f"{importlib.metadata.version('caudal')}, Python {platform.python_version()}",
        "FreeRADIUS": f"{freeradius.version()}, rlm_sql_postgresql",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of each; does not write the page")
    names = ", ".join(each.value for each in Measurement)
    parser.add_argument(
        "--only", type=_chosen, default=frozenset(Measurement), metavar="NAME,…", help=f"measure only these: {names}"
    )
    parser.add_argument("--json", action="store_true", help="print every round as JSON instead of the tables")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="Caudal's RADIUS workers (default 2, one for each core)"
    )
    parser.add_argument(
        "--directory", type=Path, default=Path(".bench"), help="where the databases live while it runs (default .bench)"
    )
    return parser.parse_args()


def _chosen(text: str) -> frozenset[Measurement]:
    try:
        return frozenset(Measurement(name) for name in _words(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _words(text: str) -> Iterable[str]:
    return (word.strip() for word in text.split(",") if word.strip())


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
