"""Offers RADIUS load with the project's own generator, radload.c, and reads what it measured.

Rule: every run is bounded in time, uses session numbers of its own, and counts a forged answer as a failure of the run.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.errors import BenchError

SOURCE = Path(__file__).with_name("radload.c")
SECRET = "testing123"
# A request is sent four times, a second apart, before radload calls it lost; the rest is for the run itself.
LOSS_SECONDS = 5
COMPILE_TIMEOUT_SECONDS = 60
# 16 sockets of 256 identifiers: the most that radload keeps outstanding.
WIDEST_WINDOW = 4096


class Mode(Enum):
    """What radload sends; the values are its own words."""

    ACCT = "acct"
    PAP = "pap"
    CHAP = "chap"
    MSCHAP2 = "mschap2"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Offer:
    """One run of the generator: what is offered, and how much of it at once."""

    mode: Mode
    requests: int
    window: int
    users: int
    user_pattern: str = "user%d"
    rate_per_second: int = 0
    interims: int = 3
    seconds_limit: int = 60


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of the generator saw."""

    answered: int
    per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    rejected: int
    lost: int
    resent: int


def compile_radload(directory: Path) -> Path:
    """Build radload into `directory` unless the one there is newer than its source."""
    program = directory / "radload"
    if program.exists() and program.stat().st_mtime >= SOURCE.stat().st_mtime:
        return program
    if shutil.which("cc") is None:
        raise BenchError("no C compiler: radload needs one, install gcc and libssl-dev")
    compiled = subprocess.run(
        ["cc", "-O2", "-o", str(program), str(SOURCE), "-lcrypto"],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_SECONDS,
        check=False,
    )
    if compiled.returncode:
        first = next((line for line in compiled.stderr.splitlines() if "error" in line), compiled.stderr[:200])
        raise BenchError(f"radload.c does not compile, install libssl-dev: {first}")
    return program


@dataclass(slots=True)
class Generator:
    """Runs radload; hands every run session numbers that no earlier run used."""

    program: Path
    next_session: int = 1

    def run(self, offer: Offer, port: int) -> Measured:
        """Offer the load to `port` and return what was measured; a run without one answer is an error."""
        command = self._command(offer, port)
        timeout = _longest_seconds(offer)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"radload -m {offer.mode.value} did not end within {timeout} s") from error
        return _read(done.stdout, done.stderr, offer)

    @contextlib.contextmanager
    def beside(self, offer: Offer, port: int) -> Iterator[list[Measured]]:
        """Offer the load while the body runs; the list holds what was measured once the body and the load are over."""
        seen: list[Measured] = []
        running = subprocess.Popen(
            self._command(offer, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield seen
            output, complaint = running.communicate(timeout=_longest_seconds(offer))
            seen.append(_read(output, complaint, offer))
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"radload -m {offer.mode.value} did not end in time") from error
        finally:
            running.kill()
            running.wait()

    def _command(self, offer: Offer, port: int) -> list[str]:
        first = self.next_session
        self.next_session += offer.requests // (offer.interims + 2) + 1
        return [
            str(self.program),
            *("-m", offer.mode.value, "-p", str(port), "-k", SECRET),
            *("-n", str(offer.requests), "-w", str(offer.window), "-u", str(offer.users)),
            *("-U", offer.user_pattern, "-i", str(offer.interims), "-q", str(offer.rate_per_second)),
            *("-o", str(first), "-T", str(offer.seconds_limit)),
        ]


def _longest_seconds(offer: Offer) -> int:
    return offer.seconds_limit + LOSS_SECONDS + 10


def _read(output: str, complaint: str, offer: Offer) -> Measured:
    try:
        seen = json.loads(output)
    except ValueError as error:
        raise BenchError(f"radload -m {offer.mode.value} failed: {complaint.strip() or output.strip()}") from error
    # A server that answers a request and its retransmission, both late, meets the next request's authenticator.
    if seen["forged"] > seen["resent"]:
        raise BenchError(f"{seen['forged']} answers carry a wrong authenticator in {offer.mode.value}")
    if not seen["answered"]:
        raise BenchError(f"nothing answers radload -m {offer.mode.value}")
    return Measured(
        answered=seen["answered"],
        per_second=seen["per_second"],
        p50_milliseconds=seen["p50_ms"],
        p99_milliseconds=seen["p99_ms"],
        rejected=seen["rejected"],
        lost=seen["lost"],
        resent=seen["resent"],
    )
