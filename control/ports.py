"""What the control API needs of the rest, declared here and joined by the daemon.

Rule: the API decides nothing; it asks, and words the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from sqlalchemy.engine import Engine

from billing.card_gateway import CardGateway
from storage.snapshot import Snapshot
from storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Listener:
    """An address on which the daemon listens; `port` is None where the address is a path."""

    purpose: str
    address: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Worker:
    """A RADIUS worker process; `pid` is None while it is away."""

    number: int
    pid: int | None
    state: str


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """How the daemon is at one moment; `database` is `ready` or says in a few words why not."""

    version: str
    started_at: datetime
    uptime_seconds: int
    database: str
    listeners: tuple[Listener, ...]
    workers: tuple[Worker, ...]


class UsageRow(Protocol):
    """Usage of one hour or day."""

    @property
    def start(self) -> datetime: ...
    @property
    def octets_up(self) -> int: ...
    @property
    def octets_down(self) -> int: ...


class UsageReport(Protocol):
    """Usage of a service; the rows sum to the totals."""

    @property
    def octets_up(self) -> int: ...
    @property
    def octets_down(self) -> int: ...
    @property
    def rows(self) -> Sequence[UsageRow]: ...


class UsageQuestion(Protocol):
    """Answer what a service used in [start, end), in hours or in days of `timezone`."""

    def __call__(
        self, engine: Engine, service_login: str, by: str, start: datetime, end: datetime, timezone: str
    ) -> UsageReport: ...


class RouterRemark(Protocol):
    """One thing that is right or wrong with a router; `level` is `ok`, `unknown`, `warning` or `error`."""

    @property
    def check(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def correct(self) -> str | None: ...


class RouterOffice(Protocol):
    """Who speaks to routers; both answers are None when there is no router of that name."""

    async def check(self, name: str) -> Sequence[RouterRemark] | None:
        """Try a router out; takes some seconds, however it behaves."""

    def script(self, name: str, *, server: str | None, reveal: bool) -> Sequence[str] | None:
        """Return the commands that set a router up; `server` is our address as it sees it, None what we believe."""


class RunTold(Protocol):
    """What an invoice run has done so far."""

    @property
    def accounts(self) -> int: ...
    @property
    def documents(self) -> int: ...
    @property
    def lines(self) -> int: ...
    @property
    def parked(self) -> int: ...
    @property
    def totals(self) -> Mapping[str, int]: ...


InvoiceRun = Callable[[date], Iterator[RunTold]]


def _nobody_bills(_on: date) -> Iterator[RunTold]:
    return iter(())


def _nothing_happens() -> None:
    """Let a day pass."""


@dataclass(frozen=True, slots=True)
class ControlPorts:
    """Everything the control API speaks to; `now` returns an aware UTC instant."""

    engine: Engine
    vault: Vault
    runtime: Callable[[], RuntimeStatus]
    in_force: Callable[[], Awaitable[None]]
    """Waits until every worker answers by what is provisioned, or for a moment if one cannot."""
    usage: UsageQuestion
    now: Callable[[], datetime]
    snapshot: Callable[[], Snapshot]
    """Routers, pools and plans as enforcement knows them."""
    routers: RouterOffice | None = None
    """None on a daemon that speaks to no routers."""
    bill: InvoiceRun = _nobody_bills
    """Bills what is due on a day."""
    cards: CardGateway | None = None
    """None where no cards are charged."""
    live_day: Callable[[], None] = _nothing_happens
    """Does what the present day of billing asks for."""
