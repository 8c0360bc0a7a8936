"""The embedded PostgreSQL as the daemon meets it: fresh, running already, killed, misconfigured."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from storage.embedded import EmbeddedPostgres
from storage.errors import EmbeddedPostgresError
from storage.server_settings import INCLUDE
from tests.postgres import directory_for_clusters

ROOT = Path(__file__).parents[2]
CLUSTER = "postgresql"
LOCK_FILES = ("postmaster.pid", ".s.PGSQL.5432.lock")
# Far above what any of these takes on a busy machine, far below the suite's own limit.
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def stopped_cluster() -> Iterator[Path]:
    """Lend a cluster that was created, started and stopped, to be copied."""
    with directory_for_clusters() as directory:
        server = EmbeddedPostgres(directory / CLUSTER)
        server.start()
        server.stop()
        yield directory / CLUSTER


@pytest.fixture
def place() -> Iterator[Path]:
    """Lend a directory whose path fits a socket."""
    with directory_for_clusters() as directory:
        yield directory


@pytest.fixture
def server(place: Path, stopped_cluster: Path) -> EmbeddedPostgres:
    """Lend a server that is not running yet."""
    shutil.copytree(stopped_cluster, place / CLUSTER)
    return EmbeddedPostgres(place / CLUSTER)


@pytest.fixture(scope="module")
def running(stopped_cluster: Path) -> EmbeddedPostgres:
    """Lend a running server to tests that leave it as it is."""
    directory = stopped_cluster.with_name("running")
    shutil.copytree(stopped_cluster, directory)
    server = EmbeddedPostgres(directory)
    server.start()
    return server


def query(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def running_pid(server: EmbeddedPostgres) -> int:
    process_id = server.pid()
    assert process_id is not None
    return process_id


def kill_and_wait(process_id: int) -> None:
    descriptor = os.pidfd_open(process_id)
    os.kill(process_id, signal.SIGKILL)
    assert select.select([descriptor], [], [], PATIENCE_SECONDS)[0]
    os.close(descriptor)


def test_first_start_creates_a_cluster_and_a_database_to_connect_to(place: Path) -> None:
    server = EmbeddedPostgres(place / "data" / CLUSTER)
    assert not server.running()
    server.start()
    assert server.running()
    assert query(server.dsn(), "SELECT current_database(), current_user") == [("caudal", "caudal")]
    assert (place / "data" / CLUSTER).stat().st_mode & 0o777 == 0o700
    server.stop()
    assert not server.running()
    assert server.pid() is None


def test_the_server_is_durable_sorts_by_code_point_and_checks_its_pages(running: EmbeddedPostgres) -> None:
    names = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding", "jit"]
    values = [query(running.dsn(), f"SHOW {name}")[0][0] for name in names]
    assert values == ["on", "on", "on", "on", "UTF8", "off"]
    assert query(running.dsn(), "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'caudal'") == [
        ("b", "C.UTF-8")
    ]


def test_the_server_listens_on_its_socket_alone(running: EmbeddedPostgres) -> None:
    assert query(running.dsn(), "SHOW listen_addresses") == [("",)]
    descriptors = Path("/proc", str(running.pid()), "fd").iterdir()
    inodes = {
        link.removeprefix("socket:[")[:-1] for link in map(os.readlink, descriptors) if link.startswith("socket:")
    }
    tcp = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    assert not inodes & {line.split()[9] for line in tcp.splitlines() if not line.lstrip().startswith("sl")}


def test_the_product_connects_without_the_power_to_touch_files_or_programs(running: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(running.dsn(), "COPY (SELECT 1) TO PROGRAM 'cat'")


def test_starting_twice_keeps_the_server(running: EmbeddedPostgres) -> None:
    first = running.pid()
    running.start()
    assert running.pid() == first


def test_a_restarted_daemon_adopts_the_running_server_with_its_connections(server: EmbeddedPostgres) -> None:
    code = "import sys, pathlib, os, signal; from storage.embedded import EmbeddedPostgres as E\n"
    code += "E(pathlib.Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    directory = server.dsn().partition("host=")[2].partition("&")[0].replace("%2F", "/")
    killed = subprocess.run([sys.executable, "-c", code, directory], cwd=ROOT, timeout=PATIENCE_SECONDS, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert server.running()
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection, connection.cursor() as cursor:
        first = server.pid()
        server.start()
        cursor.execute("SELECT 1")
        assert server.pid() == first
    server.stop()
    assert not server.running()


def test_daemons_that_start_at_once_share_one_server(place: Path) -> None:
    servers = [EmbeddedPostgres(place / CLUSTER) for _ in range(3)]
    with ThreadPoolExecutor() as threads:
        list(threads.map(EmbeddedPostgres.start, servers))
    assert len({server.pid() for server in servers}) == 1
    assert servers[0].running()


@pytest.mark.parametrize("wait_for_death", [True, False])
def test_committed_rows_survive_a_killed_server(server: EmbeddedPostgres, wait_for_death: bool) -> None:
    server.start()
    query(server.dsn(), "CREATE TABLE kept (number integer)")
    for number in range(3):
        query(server.dsn(), f"INSERT INTO kept VALUES ({number})")
        killed = running_pid(server)
        if wait_for_death:
            kill_and_wait(killed)
            assert not server.running()
        else:
            os.kill(killed, signal.SIGKILL)
        server.start()
        assert server.pid() != killed
        assert query(server.dsn(), "SELECT count(*) FROM kept") == [(number + 1,)]


def test_backends_that_outlive_a_killed_server_do_not_stop_the_next(server: EmbeddedPostgres) -> None:
    server.start()
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection:
        orphan = connection.get_backend_pid()
        descriptor = os.pidfd_open(orphan)
        # A stopped process cannot notice that its postmaster died, as one in a long computation does not.
        os.kill(orphan, signal.SIGSTOP)
        kill_and_wait(running_pid(server))
        assert not select.select([descriptor], [], [], 0)[0]
        server.start()
        assert select.select([descriptor], [], [], 0)[0]
        os.close(descriptor)
    assert query(server.dsn(), "SELECT 1") == [(1,)]


def test_a_process_id_that_another_program_has_by_now_is_not_taken_for_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    directory = Path("/proc", str(server.pid()), "cwd").readlink()
    kill_and_wait(running_pid(server))
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        for name in LOCK_FILES:
            lines = (directory / name).read_text().splitlines(keepends=True)
            (directory / name).write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
        assert not server.running()
        server.stop()
        server.start()
        assert server.pid() != stranger.pid
        assert query(server.dsn(), "SELECT 1") == [(1,)]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_lock_files_that_a_power_cut_left_empty_do_not_stop_the_server(server: EmbeddedPostgres, place: Path) -> None:
    for name in LOCK_FILES:
        (place / CLUSTER / name).write_text("")
    assert not server.running()
    server.start()
    assert query(server.dsn(), "SELECT 1") == [(1,)]


def test_a_path_too_long_for_a_socket_is_reached_through_a_short_one(place: Path, stopped_cluster: Path) -> None:
    deep = place / ("deep" * 20) / ("deeper" * 15) / CLUSTER
    shutil.copytree(stopped_cluster, deep)
    server = EmbeddedPostgres(deep)
    server.start()
    assert query(server.dsn(), "SELECT 1") == [(1,)]
    assert EmbeddedPostgres(deep).dsn() == server.dsn()
    link = Path(server.dsn().partition("host=")[2].partition("&")[0].replace("%2F", "/"))
    assert link.is_symlink()
    server.stop()
    assert not link.is_symlink()


def test_a_short_path_that_leads_elsewhere_is_refused(place: Path, stopped_cluster: Path) -> None:
    deep = place / ("deep" * 20) / ("deeper" * 15) / CLUSTER
    server = EmbeddedPostgres(deep)
    link = Path(server.dsn().partition("host=")[2].partition("&")[0].replace("%2F", "/"))
    link.unlink()
    link.symlink_to(place)
    try:
        with pytest.raises(EmbeddedPostgresError, match="does not lead to"):
            server.dsn()
    finally:
        link.unlink()


def test_a_server_that_cannot_start_says_what_its_log_says(server: EmbeddedPostgres, place: Path) -> None:
    with (place / CLUSTER / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_bufers = 1GB\n")
    with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "shared_bufers"') as raised:
        server.start()
    assert str(place / CLUSTER / "postgresql.log") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_operators_own_settings_win(server: EmbeddedPostgres, place: Path) -> None:
    configuration = (place / CLUSTER / "postgresql.conf").read_text()
    assert configuration.endswith(INCLUDE)
    (place / CLUSTER / "postgresql.conf").write_text(configuration + "max_connections = 42\n")
    server.start()
    assert query(server.dsn(), "SHOW max_connections") == [("42",)]


def test_an_interrupted_creation_is_begun_again(place: Path) -> None:
    (place / f"{CLUSTER}.unfinished").mkdir()
    (place / f"{CLUSTER}.unfinished" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(place / CLUSTER)
    server.start()
    assert server.running()
    assert not (place / f"{CLUSTER}.unfinished").exists()


def test_a_directory_of_other_files_is_refused_and_left_alone(place: Path) -> None:
    (place / CLUSTER).mkdir()
    (place / CLUSTER / "photo.jpeg").write_text("holiday")
    with pytest.raises(EmbeddedPostgresError, match="no PostgreSQL cluster"):
        EmbeddedPostgres(place / CLUSTER).start()
    assert [path.name for path in (place / CLUSTER).iterdir()] == ["photo.jpeg"]


def test_a_cluster_of_another_version_is_refused(server: EmbeddedPostgres, place: Path) -> None:
    (place / CLUSTER / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match="written by PostgreSQL 16"):
        server.start()


def test_a_place_that_cannot_be_written_is_one_clear_error(place: Path) -> None:
    (place / "data").write_text("a file where the directory should be")
    with pytest.raises(EmbeddedPostgresError, match="choose another --data"):
        EmbeddedPostgres(place / "data" / CLUSTER).start()


def test_stopping_does_not_wait_for_clients(server: EmbeddedPostgres) -> None:
    server.start()
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE unfinished (number integer)")
        began = time.monotonic()
        server.stop(PATIENCE_SECONDS)
        assert time.monotonic() - began < PATIENCE_SECONDS
        assert not server.running()
    server.start()
    assert query(server.dsn(), "SELECT to_regclass('unfinished')") == [(None,)]


def test_a_server_that_ignores_the_stop_is_made_to(server: EmbeddedPostgres) -> None:
    server.start()
    query(server.dsn(), "CREATE TABLE kept (number integer)")
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection:
        # A stopped backend keeps the orderly shutdown waiting for ever.
        os.kill(connection.get_backend_pid(), signal.SIGSTOP)
        server.stop(0.2)
    assert server.pid() is None
    server.start()
    assert query(server.dsn(), "SELECT count(*) FROM kept") == [(0,)]


def test_settings_of_the_callers_environment_do_not_reach_the_server(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "6000")
    monkeypatch.setenv("PGHOST", "192.0.2.1")
    monkeypatch.setenv("PGUSER", "nobody")
    server.start()
    assert query(server.dsn(), "SELECT current_user") == [("caudal",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server as somebody else")
def test_root_runs_the_cluster_of_an_ordinary_user_as_that_user(server: EmbeddedPostgres, place: Path) -> None:
    user = pwd.getpwnam("nobody")
    place.chmod(0o755)
    for path in [place / CLUSTER, *(place / CLUSTER).rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
    server.start()
    assert Path("/proc", str(server.pid())).stat().st_uid == user.pw_uid
    assert query(server.dsn(), "SELECT 1") == [(1,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can own a place that others cannot enter")
def test_a_place_the_servers_user_cannot_enter_is_refused_and_stays_closed(
    server: EmbeddedPostgres, place: Path
) -> None:
    user = pwd.getpwnam("nobody")
    for path in [place / CLUSTER, *(place / CLUSTER).rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
    with pytest.raises(EmbeddedPostgresError, match="cannot enter"):
        server.start()
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server is that user's")
def test_a_server_of_root_holds_no_capability(running: EmbeddedPostgres) -> None:
    status = Path("/proc", str(running.pid()), "status").read_text()
    assert "CapEff:\t0000000000000000" in status
