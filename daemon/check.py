"""`caudal check`: what would keep the daemon from serving, found without starting it.

Rule: it looks and changes nothing; each finding says what, where, and what to do.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import packages_distributions
from pathlib import Path

import psycopg2
import sqlalchemy

from config import settings as configuration
from config.problems import ConfigurationError
from config.settings import Settings
from control.socket_path import NAME as CONTROL_SOCKET
from daemon.database_keeper import DIRECTORY
from daemon.part import Part, is_running
from daemon.vault_location import open_vault
from domain.errors import CaudalError, one_line
from storage import migrate
from storage.database import create_engine
from storage.embedded import EmbeddedPostgres
from storage.vault import KEY_FILE

OUR_NAMES = ("accounting", "billing", "cli", "config", "control", "daemon", "domain", "enforcement", "radius",
             "simulator", "storage", "tui")  # fmt: skip
LEAST_FREE_OCTETS = 2 * 1024**3
LARGEST_CLOCK_DIFFERENCE_SECONDS = 2.0
"""Between this machine and its database; more spoils the order of events."""
EARLIEST_TIME = 1_767_225_600
"""1 January 2026: a clock before the release of this program is wrong."""
CONNECT_SECONDS = 5


class Level(Enum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    message: str
    hint: str = ""


def findings(config: Path | None, data: Path, held: Collection[tuple[str, int]] = ()) -> list[Finding]:
    """Look at everything and return what was found, in a fixed order.

    `held` are the addresses and ports that a daemon which runs here already has.
    """
    try:
        settings = configuration.load(config)
    except ConfigurationError as error:
        return [
            Finding(Level.ERROR, f"configuration {error.source}", str(problem), "see docs/configuration.md")
            for problem in error.problems
        ]
    found = [Finding(Level.OK, "configuration", str(config) if config else "every key has its default")]
    running = is_running(data, Part.ALL)
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _data_directory(data, running=running),
        lambda: _database(settings, data),
        lambda: _ports(settings, _all_held(settings, data, held)),
        lambda: _control_socket(settings, data),
        _clock,
        _names,
    )
    for look in looks:
        found.extend(look())
    return found


def _data_directory(data: Path, *, running: bool) -> Iterator[Finding]:
    subject = f"data directory {data}"
    there = next(place for place in (data, *data.absolute().parents) if place.exists())
    if not there.is_dir():
        yield Finding(Level.ERROR, subject, f"{there} is no directory", "remove it, or choose another --data")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        message = f"{there} cannot be written by this user" if there != data else "cannot be written by this user"
        yield Finding(Level.ERROR, subject, message, "run as its owner, or choose --data")
        return
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_OCTETS:
        yield Finding(Level.WARNING, subject, f"only {free / 1e9:.1f} GB are free", "make room before it fills up")
    else:
        yield Finding(Level.OK, subject, "a daemon runs here" if running else "usable")
    if (data / KEY_FILE).exists() or "CREDENTIALS_DIRECTORY" in os.environ:
        try:
            open_vault(data)
        except CaudalError as error:
            yield Finding(Level.ERROR, "key of the vault", str(error))


def _database(settings: Settings, data: Path) -> Iterator[Finding]:
    if settings.database.url:
        yield from _look_into("database", settings.database.url)
        return
    server = EmbeddedPostgres(data / DIRECTORY)
    if server.running():
        yield from _look_into("embedded database", server.dsn())
    else:
        state = "stopped; the daemon starts it" if (data / DIRECTORY).exists() else "the daemon creates it"
        yield Finding(Level.OK, "embedded database", state)


def _look_into(subject: str, dsn: str) -> Iterator[Finding]:
    try:
        connection = psycopg2.connect(dsn, connect_timeout=CONNECT_SECONDS)
    except psycopg2.Error as error:
        yield Finding(Level.ERROR, subject, one_line(error), "start it, or correct [database] url")
        return
    with connection, connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('fsync')")
        clock, fsync = cursor.fetchone()
        difference = abs(clock - (before + time.time()) / 2)
    connection.close()
    if difference > LARGEST_CLOCK_DIFFERENCE_SECONDS:
        yield Finding(
            Level.ERROR, f"{subject} clock", f"differs from ours by {difference:.1f} s", "let NTP set both clocks"
        )
    if fsync != "on":
        yield Finding(
            Level.ERROR, subject, "fsync is off: acknowledged records would not survive a crash", "set fsync = on"
        )
    engine = create_engine(dsn)
    try:
        missing = migrate.missing_rights(engine)
        if missing:
            yield Finding(
                Level.ERROR,
                f"{subject} rights",
                f"the user may not {' and not '.join(missing)}",
                "let the user of [database] url own the database, and everything in it",
            )
            return
        waiting = migrate.pending(engine)
    except CaudalError as error:
        yield Finding(Level.ERROR, f"{subject} schema", str(error))
        return
    except sqlalchemy.exc.SQLAlchemyError as error:
        yield Finding(Level.ERROR, f"{subject} schema", " ".join(str(getattr(error, "orig", error)).split()))
        return
    finally:
        engine.dispose()
    state = f"{len(waiting)} migrations wait; `caudal migrate` or the next start applies them" if waiting else "current"
    yield Finding(Level.OK, f"{subject} schema", state)


def _all_held(settings: Settings, data: Path, held: Collection[tuple[str, int]]) -> Collection[tuple[str, int]]:
    """Add the ports of workers that run apart from the core, which nobody can ask."""
    radius = settings.radius
    if not is_running(data, Part.RADIUS):
        return held
    return {*held, (radius.listen, radius.auth_port), (radius.listen, radius.acct_port)}


def _ports(settings: Settings, held: Collection[tuple[str, int]]) -> Iterator[Finding]:
    radius, metrics, cards = settings.radius, settings.metrics, settings.cards
    wanted = [
        (socket.SOCK_DGRAM, "UDP", radius.listen, radius.auth_port, "[radius] auth_port"),
        (socket.SOCK_DGRAM, "UDP", radius.listen, radius.acct_port, "[radius] acct_port"),
        (socket.SOCK_STREAM, "TCP", metrics.listen, metrics.port, "[metrics] port"),
    ]
    if radius.coa_clients and radius.coa_client_secret:
        wanted.append((socket.SOCK_DGRAM, "UDP", radius.listen, radius.coa_port, "[radius] coa_port"))
    if cards.gateway and cards.webhook_port:
        wanted.append((socket.SOCK_STREAM, "TCP", cards.webhook_listen, cards.webhook_port, "[cards] webhook_port"))
    for kind, protocol, host, port, key in wanted:
        if (host, port) in held:
            yield Finding(Level.OK, f"{protocol} {host}:{port}", "held by the daemon that runs here")
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                yield Finding(
                    Level.ERROR,
                    f"{protocol} {host}:{port}",
                    f"cannot be bound: {error.strerror}",
                    f"see who has it with `ss -lnp`, or change {key}",
                )
            else:
                yield Finding(Level.OK, f"{protocol} {host}:{port}", "free")


def _control_socket(settings: Settings, data: Path) -> Iterator[Finding]:
    path = Path(settings.control.socket or data / CONTROL_SOCKET)
    subject, hint = f"control socket {path}", "set [control] socket to a path where this user may write"
    directory = path.parent
    if path.exists() and not path.is_socket():
        yield Finding(Level.ERROR, subject, "is there and is no socket", "remove it, or change [control] socket")
    elif directory != data and not directory.is_dir():
        yield Finding(Level.ERROR, subject, f"{directory} is no directory", hint)
    elif directory != data and not os.access(directory, os.W_OK | os.X_OK):
        yield Finding(Level.ERROR, subject, f"{directory} cannot be written by this user", hint)
    else:
        yield Finding(Level.OK, subject, "usable")


def _clock() -> Iterator[Finding]:
    if time.time() < EARLIEST_TIME:
        yield Finding(Level.ERROR, "clock", "is before this program was written", "set the clock; run NTP")
    else:
        yield Finding(Level.OK, "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _names() -> Iterator[Finding]:
    """Prove that our top-level packages are ours: another distribution could own one of these names."""
    owners = packages_distributions()
    here = Path(__file__).resolve().parent.parent
    clean = True
    for name in OUR_NAMES:
        others = [owner for owner in owners.get(name, ()) if owner != "caudal"]
        if others:
            clean = False
            yield Finding(
                Level.ERROR,
                f"package {name}",
                f"is also installed by {', '.join(others)}",
                "install Caudal into a virtual environment of its own",
            )
        module = sys.modules.get(name)
        if module is not None and module.__file__ and here not in Path(module.__file__).resolve().parents:
            clean = False
            yield Finding(Level.ERROR, f"package {name}", f"was found in {module.__file__}", "unset PYTHONPATH")
    if clean:
        yield Finding(Level.OK, "package names", "all ours")
