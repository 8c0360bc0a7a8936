"""Which part of an installation one process tree runs: all of it, its RADIUS workers, or the rest.

Rule: each part is there once in a data directory. An embedded database and the control socket belong to the core;
workers that run apart need nothing but the database and the key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from domain.errors import CaudalError

CORE_LOCK = "caudal.lock"
RADIUS_LOCK = "radius.lock"


class DirectoryTaken(CaudalError):
    """The data directory cannot be used, or somebody else uses it."""


class Part(Enum):
    """What a process tree runs."""

    ALL = "all"
    RADIUS = "radius"
    """The workers, and the metrics of what they do."""
    CORE = "core"
    """Enforcement, timed jobs, billing, the control API and the relay."""

    @property
    def has_workers(self) -> bool:
        """Tell whether it answers RADIUS."""
        return self is not Part.CORE

    @property
    def has_core(self) -> bool:
        """Tell whether it does everything else."""
        return self is not Part.RADIUS


@contextlib.contextmanager
def exclusively(data: Path, part: Part) -> Iterator[None]:
    """Hold a part of the data directory, made where it is not there; raise `DirectoryTaken`."""
    with contextlib.ExitStack() as held:
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in _locks(part):
                held.enter_context(_locked(data / name))
        except BlockingIOError:
            raise DirectoryTaken(f"another daemon runs in {data}; stop it, or choose another --data") from None
        except OSError as error:
            raise DirectoryTaken(
                f"the data directory {data} cannot be used: {error.strerror}; choose another --data"
            ) from error
        yield


def is_running(data: Path, part: Part) -> bool:
    """Tell whether a daemon runs any of `part` in the data directory."""
    return any(_is_held(data / name) for name in _locks(part))


def _locks(part: Part) -> list[str]:
    return [*([CORE_LOCK] if part.has_core else []), *([RADIUS_LOCK] if part.has_workers else [])]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def _is_held(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)
