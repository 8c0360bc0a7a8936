"""What the tests of group C share: their ISP, and what they look at of a session."""

from __future__ import annotations

import os
from typing import NamedTuple

from radius.codes import AcctStatus, Type
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import number

SECRET = "hush-accounting"
SOURCE, OTHER, TOWER = "127.0.5.1", "127.0.5.2", "127.0.5.128"
ANA = ("c-ana", "hush-ana")
BUNDLED = ("c-bundled", "hush-bundled")
HASTY = ("c-hasty", "hush-hasty")

ISP = f"""
[[router]]
name = "c"
address = "{SOURCE}"
secret = "{SECRET}"
[[router]]
name = "c-other"
address = "{OTHER}"
secret = "{SECRET}"
[[router]]
name = "c-tower"
address = "127.0.5.128/28"
secret = "{SECRET}"
[[plan]]
name = "c"
interim_seconds = 600
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "c"
[[service]]
login = "{BUNDLED[0]}"
password = "{BUNDLED[1]}"
plan = "c"
simultaneous = 1
[[service]]
login = "{HASTY[0]}"
password = "{HASTY[1]}"
plan = "c"
attributes = {{ "Acct-Interim-Interval" = 30 }}
"""
START, STOP, INTERIM = AcctStatus.START, AcctStatus.STOP, AcctStatus.INTERIM
OPEN, STOPPED, PROVISIONAL = 0, 1, 2


class Row(NamedTuple):
    """What the tests look at of a session's row."""

    state: int
    generation: int
    octets_up: int
    octets_down: int
    session_seconds: int
    started: float
    updated: float
    stopped: float | None
    terminate_cause: str | None
    login: str
    service_id: int | None


ROWS = """
SELECT state, generation, octets_up, octets_down, session_seconds, extract(epoch FROM started_at)::float,
    extract(epoch FROM updated_at)::float, extract(epoch FROM stopped_at)::float, terminate_cause, login, service_id
FROM session WHERE acct_session_id = %s ORDER BY generation"""


def session_id() -> str:
    return os.urandom(8).hex()


def rows(daemon: DaemonProcess, session: str) -> list[Row]:
    return [Row(*row) for row in daemon.query(ROWS, session)]


def only_row(daemon: DaemonProcess, session: str) -> Row:
    (row,) = rows(daemon, session)
    return row


def service_id(daemon: DaemonProcess, login: str) -> int:
    ((number,),) = daemon.query("SELECT id FROM service WHERE login = %s", login)
    return int(number)


def usage(daemon: DaemonProcess, session: str) -> tuple[int, int]:
    """Return the sums of the facts of a session."""
    facts = """SELECT coalesce(sum(f.octets_up), 0), coalesce(sum(f.octets_down), 0)
        FROM usage_fact AS f JOIN session AS s ON s.id = f.session_id WHERE s.acct_session_id = %s"""
    ((up, down),) = daemon.query(facts, session)
    return int(up), int(down)


def at(instant: float) -> bytes:
    """Return an Event-Timestamp."""
    return number(Type.EVENT_TIMESTAMP, int(instant))


def terminate_cause(cause: int) -> bytes:
    return number(Type.ACCT_TERMINATE_CAUSE, cause)
