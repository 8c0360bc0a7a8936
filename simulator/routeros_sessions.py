"""What a box's API shows of its PPP sessions: the rows of /ppp/active, of their queues, interfaces and address lists.

Rule: nothing is kept here twice: rows are made from the sessions at the moment somebody asks. /ppp/active prints the
Acct-Session-Id as a number (`0x81300077`) and its `.id` shares the low bits (`*80000077`); pairs are upload/download.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from domain.instants import SECOND_US, Microseconds
from simulator.rate_limit import NOTHING, Pair, RateLimit
from simulator.rates import Rates
from simulator.routeros_menus import ADDRESS_LISTS, INTERFACES, QUEUES
from simulator.routeros_values import show_duration

PACKET_OCTETS = 900
"""Mean size of an Internet packet, for packet counters."""
_ACTIVE_NUMBER = 0x8000_0000
_SESSION_BITS = 0xF_FFFF
"""Acct-Session-Id ends in five hexadecimal digits that count; the three before say service and boot."""

Row = dict[str, str]
_LONG_AGO = Microseconds(0)


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A PPP session at one moment."""

    acct_session_id: str
    login: str
    address: str
    caller_id: str = "02:00:00:00:00:01"
    started_us: Microseconds = _LONG_AGO
    octets: Pair = NOTHING
    bits_per_second: Pair = NOTHING
    """What flows at the moment."""
    rate_limit: RateLimit | None = None
    """None: RADIUS asked for no queue."""
    address_list: str | None = None
    limit_octets: Pair = NOTHING
    """Upload and download after which the box ends it; 0 is never."""
    radius: bool = True
    """False: the box let it in by a secret of its own, and RADIUS is told nothing."""


class Lines(Protocol):
    """The sessions behind a box, and what its API does to them."""

    def sessions(self, now: Microseconds) -> Iterable[ActiveSession]:
        """Return what is open, with counters as they are now."""

    def kick(self, acct_session_id: str, now: Microseconds) -> None:
        """End a session, as `/ppp/active/remove` does."""

    def shape(self, address: str, rates: Rates | None, now: Microseconds) -> None:
        """Let a queue that a client wrote limit a session that has none of its own; None takes the limit away."""

    def reboot(self, now: Microseconds) -> None:
        """Lose every session and start again."""


@dataclass(slots=True)
class Incoming:
    """`/radius/incoming`: whether CoA is heard, and what came. RouterOS does not accept it by default."""

    accept: bool = False
    port: int = 3799
    requests: int = 0
    bad_requests: int = 0
    acks: int = 0
    naks: int = 0

    def reset(self) -> None:
        """Forget what came, as a reboot does."""
        self.requests = self.bad_requests = self.acks = self.naks = 0


class SessionTable:
    """The sessions of a box that stands alone, as its owner enters them."""

    def __init__(self) -> None:
        self.by_id: dict[str, ActiveSession] = {}
        self.shapes: dict[str, Rates] = {}
        """What the queues that clients wrote make of each address."""
        self.reboots = 0

    def open(self, session: ActiveSession) -> None:
        """Enter a session that begins."""
        self.by_id[session.acct_session_id] = session

    def sessions(self, now: Microseconds) -> Iterable[ActiveSession]:  # noqa: ARG002 -- these do not move by themselves
        return list(self.by_id.values())

    def kick(self, acct_session_id: str, now: Microseconds) -> None:  # noqa: ARG002 -- as above
        self.by_id.pop(acct_session_id, None)

    def shape(self, address: str, rates: Rates | None, now: Microseconds) -> None:  # noqa: ARG002 -- as above
        if rates is None:
            self.shapes.pop(address, None)
        else:
            self.shapes[address] = rates

    def reboot(self, now: Microseconds) -> None:  # noqa: ARG002 -- as above
        self.reboots += 1
        self.by_id.clear()


View = Callable[[ActiveSession, Microseconds], Row | None]
"""The row of a session in a menu; None for a session that the menu does not show."""


def active_number(session: ActiveSession) -> int:
    """Return the number of a session in /ppp/active."""
    return _ACTIVE_NUMBER | int(session.acct_session_id, 16) & _SESSION_BITS


def active_row(session: ActiveSession, now: Microseconds) -> Row:
    """Return a session as /ppp/active prints it."""
    return {
        "name": session.login,
        "service": "pppoe",
        "caller-id": session.caller_id,
        "address": session.address,
        "uptime": show_duration(max(now - session.started_us, 0) // SECOND_US),
        "encoding": "",
        "session-id": f"0x{session.acct_session_id}",
        "limit-bytes-in": str(session.limit_octets.upload),
        "limit-bytes-out": str(session.limit_octets.download),
        "bytes": _pair(session.octets),
        "packets": _packets(session.octets),
        "radius": "true" if session.radius else "false",
    }


def _queue_row(session: ActiveSession, _now: Microseconds) -> Row | None:
    queue = session.rate_limit
    if queue is None:
        return None
    return {
        "name": interface_name(session),
        "target": f"{session.address}/{128 if ':' in session.address else 32}",
        "parent": "none",
        "packet-marks": "",
        "priority": f"{queue.priority}/{queue.priority}",
        "queue": "default-small/default-small",
        "limit-at": _pair(queue.limit_at),
        "max-limit": _pair(queue.max_limit),
        "burst-limit": _pair(queue.burst_limit),
        "burst-threshold": _pair(queue.burst_threshold),
        "burst-time": "/".join(show_duration(part) for part in queue.burst_seconds),
        "bucket-size": "0.1/0.1",
        "bytes": _pair(session.octets),
        "packets": _packets(session.octets),
        "rate": _pair(session.bits_per_second),
        "dropped": "0/0",
        "invalid": "false",
        "dynamic": "true",
        "disabled": "false",
    }


def _interface_row(session: ActiveSession, _now: Microseconds) -> Row:
    """The router receives what the subscriber uploads."""
    return {
        "name": interface_name(session),
        "type": "pppoe-in",
        "mtu": "1480",
        "running": "true",
        "dynamic": "true",
        "disabled": "false",
        "rx-byte": str(session.octets.upload),
        "tx-byte": str(session.octets.download),
        "rx-packet": str(session.octets.upload // PACKET_OCTETS),
        "tx-packet": str(session.octets.download // PACKET_OCTETS),
    }


def _address_list_row(session: ActiveSession, _now: Microseconds) -> Row | None:
    if not session.address_list:
        return None
    return {"list": session.address_list, "address": session.address, "dynamic": "true", "disabled": "false"}


VIEWS: Mapping[str, View] = {
    QUEUES: _queue_row,
    INTERFACES: _interface_row,
    ADDRESS_LISTS: _address_list_row,
}
"""Menus that show sessions beside their own entries."""


def interface_name(session: ActiveSession) -> str:
    """Return how the box calls the interface and the queue of a session."""
    return f"<pppoe-{session.login}>"


def _pair(value: Pair) -> str:
    return f"{value.upload}/{value.download}"


def _packets(octets: Pair) -> str:
    return f"{octets.upload // PACKET_OCTETS}/{octets.download // PACKET_OCTETS}"
