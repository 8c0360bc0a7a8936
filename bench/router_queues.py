"""The bar of one router's queues: how long its keeper takes to bring them there, and to change one of them.

Rule: nothing is left out between the database and the router: every entitlement is computed, the box speaks RouterOS's
protocol over TLS from a process of its own, and what counts is the moment at which everything was read back.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import sqlalchemy

from bench.errors import BenchError
from config.provisioning import read
from daemon.enforcement_snapshot import SnapshotKeeper
from daemon.router_keepers import RouterKeepers
from domain.secret import Secret
from simulator.certificate import Certificate, self_signed, server_context
from simulator.fleet import steady_clock
from simulator.routeros_server import Box, bind_api
from simulator.routeros_state import API_TLS, BoxSettings, RouterState
from storage.database import create_engine
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate
from storage.pipeline import PipelineConnection
from storage.provisioning import apply
from storage.vault import Vault

QUEUES: Final = 5_000
ADDRESS: Final = "127.0.0.1"
USER: Final = "caudal"
PASSWORD: Final = "bench-api-password"
CERTIFICATE: Final[Certificate] = self_signed("bench", ADDRESS, 1)
MOST_SECONDS: Final = 120.0
START_SECONDS: Final = 20.0

ISP: Final = """
[isp]
name = "Bench"
timezone = "Europe/Madrid"

[[router]]
name = "bench"
address = "{address}"
secret = "bench-router-secret"
profile = "mikrotik"
queues = "simple"
api = {{ user = "{user}", password = "{password}", port = {port}, tls = true, fingerprint = "{fingerprint}" }}

[[plan]]
name = "home"
download = "20M"
upload = "10M"
aggregation = 10

[plan.burst]
limit_percent = 150
"""
SERVICE: Final = """
[[service]]
login = "line{number}"
password = "p"
plan = "home"
address = "10.9.{high}.{low}"
routers = ["bench"]
"""


def measure(queues: int = QUEUES) -> tuple[float, float]:
    """Return (seconds from nothing, seconds for one changed entry) of `queues` queues on one router."""
    with _database() as engine_and_dsn, _box() as port:
        engine, dsn = engine_and_dsn
        vault = Vault(bytes(32))
        apply(engine, vault, read(_document(port, queues), "the bench's ISP"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sqlalchemy.text("ANALYZE"))
        return asyncio.run(_measure(engine, dsn, vault, queues))


async def _measure(engine: sqlalchemy.Engine, dsn: str, vault: Vault, queues: int) -> tuple[float, float]:
    snapshots = SnapshotKeeper(PipelineConnection(dsn, {}, application_name="bench setup"), vault)
    await snapshots.first()
    following = asyncio.create_task(snapshots.run())
    keepers = RouterKeepers(
        engine,
        dsn,
        vault.derive(b"class"),
        snapshot=lambda: snapshots.snapshot,
        clock=lambda: datetime.now(UTC),
    )
    began = time.monotonic()
    keeping = asyncio.create_task(keepers.run())
    # It learns in its first step whom it keeps.
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(MOST_SECONDS):
            from_nothing = await _in_force(keepers, queues) - began
            blocked = await asyncio.to_thread(_block_one, engine)
            began = time.monotonic()
            keepers.services_changed([blocked])
            one_changed = await _in_force(keepers, queues) - began
    finally:
        for task in (keeping, following):
            task.cancel()
        await asyncio.wait({keeping, following})
        keepers.close()
        keepers.end()
    return from_nothing, one_changed


async def _in_force(keepers: RouterKeepers, queues: int) -> float:
    """Wait for a visit after which every line was read back; return when that was."""
    told = await keepers.in_force("bench")
    if told is None or len(told) != queues:
        raise BenchError("the router does not come to hold its queues; look at what the keeper logged")
    return time.monotonic()


def _block_one(engine: sqlalchemy.Engine) -> int:
    with engine.begin() as connection:
        return int(
            connection.execute(
                sqlalchemy.text("UPDATE service SET account_state = 'blocked' WHERE login = 'line77' RETURNING id")
            ).scalar_one()
        )


def _document(port: int, queues: int) -> str:
    pin = ":".join(CERTIFICATE.fingerprint[at : at + 2] for at in range(0, 64, 2))
    network = ISP.format(address=ADDRESS, user=USER, password=PASSWORD, port=port, fingerprint=pin)
    services = (SERVICE.format(number=n, high=n >> 8, low=n & 255) for n in range(1, queues + 1))
    return network + "".join(services)


@contextlib.contextmanager
def _database() -> Iterator[tuple[sqlalchemy.Engine, str]]:
    """Run a PostgreSQL of its own."""
    directory = Path(tempfile.mkdtemp(prefix="caudal-queues-"))
    server = EmbeddedPostgres(directory / "postgresql")
    try:
        server.start()
        engine = create_engine(server.dsn())
        migrate(engine)
        yield engine, server.dsn()
        engine.dispose()
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _box() -> Iterator[int]:
    """Run a box in a process of its own; yield the port of its API over TLS."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS):
            raise BenchError("the simulated router does not start; try it with `caudal simulate`")
        yield int(ours.recv())
    finally:
        ours.send(None)
        process.join(START_SECONDS)
        if process.is_alive():
            process.kill()


def _serve(pipe: Connection) -> None:
    asyncio.run(_serve_box(pipe))


async def _serve_box(pipe: Connection) -> None:
    """Serve until told to end."""
    clock = steady_clock()
    settings = BoxSettings(identity="bench", user=USER, password=Secret.from_text(PASSWORD))
    box = Box(RouterState(settings, clock()), clock)
    listener = bind_api(ADDRESS, 0, "bench")
    box.serve(listener, API_TLS, server_context(CERTIFICATE))
    pipe.send(listener.getsockname()[1])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
    await ended.wait()
    box.close()


if __name__ == "__main__":
    whole, one = measure()
    print(f"{QUEUES} queues from nothing: {whole:.2f} s; one changed: {one:.2f} s")
