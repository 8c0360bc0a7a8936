"""The PostgreSQL that Caudal runs by itself when no database is configured.

Rule: an ordinary PostgreSQL with every durability setting on, reachable only through a socket inside its own 0700
directory. It outlives the daemon that started it, so a restarted daemon adopts it instead of starting a second one.
The product connects as the role `caudal`, which is no superuser: not even injected SQL reaches files or programs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2

from storage.errors import EmbeddedPostgresError
from storage.server_identity import POSTGRESQL_VERSION, Identity, choose_identity, program
from storage.server_settings import INCLUDE, PORT, SETTINGS_FILE, settings

ROLE = "caudal"
DATABASE = "caudal"
SUPERUSER = "postgres"
LOG_FILE = "postgresql.log"
POSTMASTER_FILE = "postmaster.pid"

# sockaddr_un.sun_path holds 108 octets, one of them the final NUL (unix(7)).
SOCKET_PATH_LIMIT = 107
# Replaying max_wal_size of WAL after a crash took up to a minute on a slow disk; this leaves a margin.
START_TIMEOUT_SECONDS = 300.0
# Backends of a killed postmaster see its death within milliseconds; one in a long computation may not.
ORPHAN_TIMEOUT_SECONDS = 10.0
# The immediate shutdown (SIGQUIT) writes nothing and takes milliseconds; what does not obey is killed.
IMMEDIATE_STOP_SECONDS = 0.5
# A killed server answers nothing more, but its process exists until its memory is freed.
DYING_SECONDS = 1.0
READY_POLL_SECONDS = 0.005
LOG_LIMIT_OCTETS = 8 * 1024 * 1024
LOG_LINES_IN_ERROR = 6


@dataclass(frozen=True, slots=True)
class PostmasterFile:
    """What `postmaster.pid` says (miscadmin.h, LOCK_FILE_LINE_*)."""

    process_id: int
    ready: bool


class EmbeddedPostgres:
    """A PostgreSQL cluster in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the server run and accept connections; create the cluster, or adopt a running server, as needed.

        Safe to repeat, and the way back after the server was killed. Raises EmbeddedPostgresError.
        """
        try:
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            with self._start_lock():
                self._start()
        except OSError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {self._directory} cannot start: {error}; correct that or choose another --data"
            ) from error

    def dsn(self, database: str = DATABASE) -> str:
        """Return the libpq URL of `database`, for the role that the product uses."""
        return self._dsn(ROLE, database)

    def pid(self) -> int | None:
        """Return the process id of the running server."""
        self._reap()
        postmaster = self._read_postmaster_file()
        return postmaster.process_id if postmaster and self._is_ours(postmaster.process_id) else None

    def running(self) -> bool:
        """Tell whether the server is there and accepts connections."""
        postmaster = self._read_postmaster_file()
        return postmaster is not None and postmaster.ready and self.pid() == postmaster.process_id

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Stop the server: at once but in order, and after `timeout_seconds` in a way that the next start repairs."""
        process_id = self.pid()
        if process_id is not None:
            _signal(process_id, signal.SIGINT)
            if not _wait_until_gone(process_id, timeout_seconds):
                self._end_processes(time.monotonic() + ORPHAN_TIMEOUT_SECONDS)
        self._reap()
        self._remove_short_path()

    def _start(self) -> None:
        self._reap()
        adopted = self.pid()
        if adopted is None or not self._wait_until_ready(adopted) or not self._adopt(adopted):
            self._prepare_and_launch()
            self._provide_role_and_database()

    def _adopt(self, process_id: int) -> bool:
        """Go on with a running server; return False when it is just being killed."""
        if self._write_settings():
            _signal(process_id, signal.SIGHUP)
        try:
            self._provide_role_and_database()
        except EmbeddedPostgresError:
            if _wait_until_gone(process_id, DYING_SECONDS):
                return False
            raise
        return True

    def _prepare_and_launch(self) -> None:
        identity = choose_identity(self._directory)
        self._refuse_foreign_version()
        if not self._version_file().exists():
            self._create_cluster(identity)
        self._write_settings()
        self._rotate_log()
        deadline = time.monotonic() + ORPHAN_TIMEOUT_SECONDS
        while True:
            self._end_processes(deadline)
            self._remove_stale_lock_files()
            log_start = self._log_size()
            if self._wait_until_ready(self._launch(identity)):
                return
            log_lines = self._log_lines(log_start)
            # An orphan that /proc does not show to us still holds the memory of the killed server.
            if "pre-existing shared memory block" not in log_lines or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._directory} did not start: {log_lines or 'it said nothing'}; "
                    f"see {self._log_file()}, correct the cause and start again"
                )

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Let one process at a time create or start the cluster."""
        path = self._directory.with_name(f".{self._directory.name}.lock")
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _refuse_foreign_version(self) -> None:
        if not self._version_file().exists():
            if self._directory.exists() and any(self._directory.iterdir()):
                raise EmbeddedPostgresError(
                    f"{self._directory} holds files but no PostgreSQL cluster; move them away or choose another --data"
                )
            return
        version = self._version_file().read_text().strip()
        if version != POSTGRESQL_VERSION:
            raise EmbeddedPostgresError(
                f"{self._directory} was written by PostgreSQL {version}, this Caudal brings {POSTGRESQL_VERSION}; "
                "move the data with pg_dump or pg_upgrade"
            )

    def _create_cluster(self, identity: Identity) -> None:
        """Run initdb beside the final place and move the result there whole: an interrupted initdb leaves nothing."""
        unfinished = self._directory.with_name(f"{self._directory.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        identity.take(unfinished)
        arguments = [
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            # The builtin provider sorts by code point, the same on every machine and after every upgrade of libc.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            # The directory of the socket is closed to everybody else, so whoever reaches it is trusted.
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-instructions",
        ]
        finished = identity.run([program("initdb"), *arguments])
        if finished.returncode:
            said = _one_line(finished.stdout.decode(errors="replace").splitlines())
            shutil.rmtree(unfinished, ignore_errors=True)
            raise EmbeddedPostgresError(
                f"PostgreSQL's initdb failed in {unfinished}: {said}; correct that or choose another place with --data"
            )
        _write_durably(unfinished / "postgresql.conf", INCLUDE, "a")
        unfinished.rename(self._directory)
        _sync_directory(self._directory.parent)

    def _write_settings(self) -> bool:
        """Write the settings where they differ from what is there; tell whether they did."""
        path = self._directory / SETTINGS_FILE
        text = settings()
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == text:
                return False
        fresh = path.with_suffix(".fresh")
        _write_durably(fresh, text, "w")
        owner = self._directory.stat()
        if owner.st_uid != os.geteuid():
            os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.rename(path)
        return True

    def _launch(self, identity: Identity) -> int:
        with self._log_file().open("ab") as log:
            self._process = identity.launch([program("postgres"), "-D", self._directory], log)
        return self._process.pid

    def _wait_until_ready(self, process_id: int) -> bool:
        """Wait while the server recovers; return False when it ended instead."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            postmaster = self._read_postmaster_file()
            if postmaster is not None and postmaster.process_id == process_id and postmaster.ready:
                return True
            if _wait_until_gone(process_id, READY_POLL_SECONDS):
                self._reap()
                return False
        raise EmbeddedPostgresError(
            f"PostgreSQL in {self._directory} still recovers after {START_TIMEOUT_SECONDS:.0f} s; "
            f"follow {self._log_file()} and start again, it goes on meanwhile"
        )

    def _provide_role_and_database(self) -> None:
        try:
            connection = psycopg2.connect(self._dsn(SUPERUSER, "postgres"), connect_timeout=10)
        except psycopg2.OperationalError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {self._directory} runs but refuses its owner: {_one_line(str(error).splitlines())}; "
                "undo what was changed in pg_hba.conf or postgresql.conf"
            ) from error
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (ROLE,))
            if not cursor.rowcount:
                cursor.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB IN ROLE pg_monitor, pg_checkpoint")
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if not cursor.rowcount:
                cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    def _end_processes(self, deadline: float) -> None:
        """End every process of this cluster, also those that a killed server left behind.

        Two servers over one directory would destroy it.
        """
        strength = signal.SIGQUIT
        while remaining := [process_id for process_id in _processes() if self._is_ours(process_id)]:
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"processes {remaining} of a killed PostgreSQL still use {self._directory} and cannot be ended; "
                    "wait for their disk or restart the machine"
                )
            for process_id in remaining:
                _signal(process_id, strength)
            if not all(_wait_until_gone(process_id, IMMEDIATE_STOP_SECONDS) for process_id in remaining):
                strength = signal.SIGKILL

    def _remove_stale_lock_files(self) -> None:
        """Remove the lock files over which PostgreSQL would refuse to start though no server runs.

        They are empty after a power cut, or name a zombie, or a program that was given the same number since. A number
        that nobody has is left to PostgreSQL, which then looks for orphans by itself.
        """
        for path in (self._directory / POSTMASTER_FILE, self._directory / f".s.PGSQL.{PORT}.lock"):
            process_id = _first_number(path)
            if process_id is None or (Path("/proc", str(process_id)).exists() and not self._is_ours(process_id)):
                path.unlink(missing_ok=True)

    def _read_postmaster_file(self) -> PostmasterFile | None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (self._directory / POSTMASTER_FILE).read_text().splitlines()
            return PostmasterFile(int(lines[0]), len(lines) > 7 and lines[7].strip() == "ready")
        return None

    def _is_ours(self, process_id: int) -> bool:
        """Tell whether the process is a PostgreSQL of this directory: each of them works in its data directory."""
        process = Path("/proc", str(process_id))
        try:
            if (process / "comm").read_text() != "postgres\n":
                return False
            return (process / "cwd").samefile(self._directory)
        except PermissionError:
            # A container's root without CAP_SYS_PTRACE: the postmaster's command line is public.
            return os.fsencode(self._directory) in (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def _dsn(self, role: str, database: str) -> str:
        host = quote(str(self._socket_directory()), safe="")
        return f"postgresql://{role}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def _socket_directory(self) -> Path:
        """Return a path to the socket's directory that fits an address: a link to it where its own name is too long."""
        if _fits_socket_address(self._directory):
            return self._directory
        link = self._short_path()
        with contextlib.suppress(FileExistsError):
            link.symlink_to(self._directory)
        # Anybody may write beside it in /tmp: only a link of our own leads to our own server.
        if link.lstat().st_uid != os.geteuid() or link.readlink() != self._directory:
            raise EmbeddedPostgresError(
                f"{link} does not lead to {self._directory}, whose own name is too long for a socket; remove it"
            )
        return link

    def _short_path(self) -> Path:
        places = [os.environ.get("XDG_RUNTIME_DIR", ""), "/run", tempfile.gettempdir()]
        digest = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:16]
        for place in places:
            path = Path(place, f"caudal-{digest}")
            if place and os.access(place, os.W_OK | os.X_OK) and _fits_socket_address(path):
                return path
        raise EmbeddedPostgresError(f"the path {self._directory} is too long for a socket; choose a shorter --data")

    def _remove_short_path(self) -> None:
        if not _fits_socket_address(self._directory):
            with contextlib.suppress(OSError):
                link = self._short_path()
                if link.readlink() == self._directory:
                    link.unlink()

    def _version_file(self) -> Path:
        return self._directory / "PG_VERSION"

    def _log_file(self) -> Path:
        return self._directory / LOG_FILE

    def _log_size(self) -> int:
        return self._log_file().stat().st_size if self._log_file().exists() else 0

    def _rotate_log(self) -> None:
        if self._log_size() > LOG_LIMIT_OCTETS:
            self._log_file().replace(self._log_file().with_suffix(".log.1"))

    def _log_lines(self, start: int) -> str:
        with self._log_file().open("rb") as log:
            log.seek(start)
            return _one_line(log.read().decode(errors="replace").splitlines())


def _first_number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(path.read_text().splitlines()[0])
    return None


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _signal(process_id: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, number)


def _wait_until_gone(process_id: int, timeout_seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_seconds * 1000))
    finally:
        os.close(descriptor)


def _fits_socket_address(directory: Path) -> bool:
    return len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT


def _write_durably(path: Path, text: str, mode: str) -> None:
    with path.open(mode) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _one_line(lines: list[str]) -> str:
    return " | ".join(line.strip() for line in lines[-LOG_LINES_IN_ERROR:] if line.strip())
