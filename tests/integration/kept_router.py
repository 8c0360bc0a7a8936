"""An ISP with one router, a box that speaks RouterOS's protocol over TLS, and the keepers that look after it.

Rule: database, box and connection are real; only the pace is a test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from sqlalchemy import text

from config.provisioning import read
from daemon.enforcement_snapshot import SnapshotKeeper
from daemon.router_keeper import Pace, RouterKeeper
from daemon.router_keepers import RouterKeepers
from storage.pipeline import PipelineConnection
from storage.provisioning import apply
from storage.vault import Vault
from tests.unit.simulator.routeros_box import ADDRESS, CERTIFICATE, PASSWORD, USER, RunningBox

VAULT = Vault(bytes(range(32)))
CLASS_KEY = VAULT.derive(b"class")
QUEUES = "/queue/simple"
LISTS = "/ip/firewall/address-list"
PROMPT = Pace(look=0.1, confirm=0.05, poll=0.1, retry=0.05, refused=0.1)
LAZY = Pace(look=600, confirm=600, poll=600, retry=0.05, refused=600)
"""Nothing comes by itself."""
SECONDS = 20.0


def fingerprint() -> str:
    """Return the SHA-256 of the box's certificate as a configuration has it."""
    return ":".join(CERTIFICATE.fingerprint[at : at + 2] for at in range(0, 64, 2))


@dataclass(frozen=True)
class Town:
    """What is provisioned."""

    port: int
    queues: str = "simple"
    repair_drift: bool = True
    api_accounting: bool = False
    fingerprint: str | None = None
    password: str = PASSWORD
    aggregation: int | None = None
    address_list: str | None = None
    rate: str = "10M"
    services: int = 3
    coa_port: int = 3799
    secret: str = "a-long-radius-secret"
    classes: str = ""
    """Tables of the plan."""

    def document(self) -> str:
        """Return the ISP file."""
        pin = "" if self.fingerprint is None else f', fingerprint = "{self.fingerprint}"'
        rules = "" if self.aggregation is None else f"aggregation = {self.aggregation}\n"
        rules += "" if self.address_list is None else f'address_list = "{self.address_list}"\n'
        services = "".join(
            f'[[service]]\nlogin = "line{number}"\npassword = "p"\nplan = "home"\n'
            f'address = "10.7.{number >> 8}.{number & 255}"\nrouters = ["norte"]\n\n'
            for number in range(1, self.services + 1)
        )
        return f"""
[isp]
name = "Valle"
timezone = "UTC"

[[router]]
name = "norte"
address = "{ADDRESS}"
secret = "{self.secret}"
coa_port = {self.coa_port}
profile = "mikrotik"
queues = "{self.queues}"
repair_drift = {str(self.repair_drift).lower()}
api_accounting = {str(self.api_accounting).lower()}
api = {{ user = "{USER}", password = "{self.password}", port = {self.port}, tls = true{pin} }}

[[plan]]
name = "home"
download = "{self.rate}"
upload = "5M"
{rules}
{self.classes}

[[service]]
login = "dialler"
password = "p"
plan = "home"

{services}"""


def town(box: RunningBox, **differences: Any) -> Town:
    """Return a town whose router is `box`, pinned to its certificate."""
    return replace(Town(box.tls_port, fingerprint=fingerprint()), **differences)


def provision(engine: sqlalchemy.Engine, place: Town) -> None:
    """Apply the ISP file."""
    apply(engine, VAULT, read(place.document(), "town"))


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


class Kept:
    """Running keepers of a town."""

    def __init__(self, keepers: RouterKeepers, snapshots: SnapshotKeeper) -> None:
        self.keepers = keepers
        self.snapshots = snapshots

    @property
    def keeper(self) -> RouterKeeper:
        """The keeper of the town's router."""
        return next(iter(self.keepers._keepers.values()))

    async def visited(self) -> dict[int, bytes] | None:
        """Wait for a visit that begins now; return what is in force by service."""
        await until(lambda: bool(self.keepers._keepers))
        told = await self.keeper.in_force()
        return None if told is None else dict(told)

    async def take_over(self) -> None:
        """Go on with what is provisioned now."""
        await self.snapshots.refresh()
        self.keepers.configuration_changed()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    while not holds():  # noqa: ASYNC110 - it happens in a database or another thread, which tell nobody
        await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(engine: sqlalchemy.Engine, dsn: str, pace: Pace = LAZY) -> AsyncIterator[Kept]:
    """Keep the town's router while the block lasts."""
    snapshots = SnapshotKeeper(PipelineConnection(dsn, {}, application_name="test setup"), VAULT)
    await snapshots.first()
    keepers = RouterKeepers(engine, dsn, CLASS_KEY, snapshot=lambda: snapshots.snapshot, clock=now, pace=pace)
    task = asyncio.create_task(keepers.run())
    try:
        async with asyncio.timeout(SECONDS):
            yield Kept(keepers, snapshots)
    finally:
        task.cancel()
        await asyncio.wait({task})
        keepers.close()
        keepers.end()
        snapshots._connection.close()


def rows(engine: sqlalchemy.Engine, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


def order(engine: sqlalchemy.Engine, statements: Iterable[str]) -> None:
    """Run statements in one transaction."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
