"""Knows what the fleet reported and what the server acknowledged: the truth that a database is compared with.

Rule: counters are the simulated routers' own, exact and 64 bits wide, whatever the wire carried. A file of truth holds
one session per JSON line; where a session occurs again, its last line counts, so that a live file may be cut anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from domain.instants import Microseconds, to_datetime
from radius.codes import AcctStatus


@dataclass(frozen=True, slots=True)
class SessionTruth:
    """What is known of one session: a database must lie between acknowledged and reported octets, ends included."""

    login: str
    router: str
    acct_session_id: str
    started: datetime
    octets_up: int
    """Reported last, acknowledged or not."""
    octets_down: int
    acknowledged_up: int
    acknowledged_down: int
    acknowledged_records: int
    stopped: bool
    """A Stop was sent."""
    stopped_acknowledged: bool

    def to_json(self) -> str:
        """Return the line of a file of truth."""
        return json.dumps(asdict(self) | {"started": self.started.isoformat()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> SessionTruth:
        """Read a line that `to_json` wrote."""
        fields = json.loads(line)
        return cls(**fields | {"started": datetime.fromisoformat(fields["started"])})


class SessionAccount:
    """The growing account of one session; `Ledger` makes it, its session reports to it."""

    __slots__ = (
        "_changed",
        "acct_session_id",
        "acknowledged_down",
        "acknowledged_records",
        "acknowledged_up",
        "login",
        "reported_down",
        "reported_up",
        "router",
        "started_us",
        "stopped",
        "stopped_acknowledged",
    )

    def __init__(
        self,
        login: str,
        router: str,
        acct_session_id: str,
        started_us: Microseconds,
        changed: Callable[[SessionAccount], None] | None,
    ) -> None:
        self.login = login
        self.router = router
        self.acct_session_id = acct_session_id
        self.started_us = started_us
        self.reported_up = 0
        self.reported_down = 0
        self.acknowledged_up = 0
        self.acknowledged_down = 0
        self.acknowledged_records = 0
        self.stopped = False
        self.stopped_acknowledged = False
        self._changed = changed

    def report(self, status: AcctStatus, octets_up: int, octets_down: int) -> None:
        """Note a record that leaves for the server."""
        self.reported_up = octets_up
        self.reported_down = octets_down
        self.stopped |= status is AcctStatus.STOP

    def acknowledge(self, status: AcctStatus, octets_up: int, octets_down: int) -> None:
        """Note a record whose Accounting-Response came; an older record after a newer one lowers nothing."""
        self.acknowledged_up = max(self.acknowledged_up, octets_up)
        self.acknowledged_down = max(self.acknowledged_down, octets_down)
        self.acknowledged_records += 1
        self.stopped_acknowledged |= status is AcctStatus.STOP
        if self._changed is not None:
            self._changed(self)

    def truth(self) -> SessionTruth:
        """Return the account as it stands."""
        return SessionTruth(
            login=self.login,
            router=self.router,
            acct_session_id=self.acct_session_id,
            started=to_datetime(self.started_us),
            octets_up=self.reported_up,
            octets_down=self.reported_down,
            acknowledged_up=self.acknowledged_up,
            acknowledged_down=self.acknowledged_down,
            acknowledged_records=self.acknowledged_records,
            stopped=self.stopped,
            stopped_acknowledged=self.stopped_acknowledged,
        )


class Ledger:
    """The accounts of every session a fleet ever opened, in order of opening."""

    def __init__(self, acknowledged: Callable[[SessionTruth], None] | None = None) -> None:
        """Call `acknowledged` with the session's account at each acknowledged record."""
        self._accounts: list[SessionAccount] = []
        self._changed = None if acknowledged is None else lambda account: acknowledged(account.truth())

    def open(self, login: str, router: str, acct_session_id: str, started_us: Microseconds) -> SessionAccount:
        """Open the account of a new session."""
        account = SessionAccount(login, router, acct_session_id, started_us, self._changed)
        self._accounts.append(account)
        return account

    def truth(self) -> list[SessionTruth]:
        """Return every account as it stands."""
        return [account.truth() for account in self._accounts]


class TruthFile:
    """A file of truth that survives the death of its writer: each line reaches the kernel at once, `sync` the disk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.unsynced = False

    def append(self, truth: SessionTruth) -> None:
        """Write one session's line."""
        self._write(truth.to_json() + "\n")

    def extend(self, truths: Iterable[SessionTruth]) -> None:
        """Write the lines of many sessions."""
        self._write("".join(truth.to_json() + "\n" for truth in truths))

    def sync(self) -> None:
        """Bring what was written to the disk."""
        if self.unsynced:
            os.fdatasync(self._descriptor)
            self.unsynced = False

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._descriptor)

    def _write(self, text: str) -> None:
        octets = text.encode()
        while octets:
            octets = octets[os.write(self._descriptor, octets) :]
        self.unsynced = True


def read(path: Path) -> list[SessionTruth]:
    """Return the last account of each session in a file of truth; a torn last line is left out."""
    lines = path.read_bytes().decode().split("\n")[:-1]
    truths = (SessionTruth.from_json(line) for line in lines)
    return list({(truth.router, truth.acct_session_id, truth.started): truth for truth in truths}.values())
