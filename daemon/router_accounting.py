"""Books what routers' APIs tell as if RADIUS had told it.

Rule: records go through the metering lane itself, on a lane of the core's own: the same reading, folding and statements
as a worker's, in which the row's version decides who comes first. (A datagram to our own port would need a way around
the rule that a router is known by its source address; a second fold would be a second truth.) A record that was not
committed is booked with the next poll, before anything later about its session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from daemon.batching import MOST_IN_BATCH
from daemon.drops import Drop
from daemon.metering import MeteringLane, SessionMemory
from daemon.requests import AccountingRequest, Peer
from domain.instants import SECOND_US, Microseconds
from domain.network import Router
from enforcement import polled_accounting
from enforcement import routeros_values as values
from enforcement.drivers.routeros import Activity
from enforcement.polled_accounting import KnownSession, PolledRecord, Tracked, subject_of
from enforcement.polled_readings import (
    NO_CLASSES,
    NO_OCTETS,
    Classes,
    Octets,
    Shown,
    Source,
    Subject,
    readings,
    standing,
)
from enforcement.routeros_entries import Menu, key_of
from enforcement.session_truth import SESSION_ID_DIGITS, SeenSession, uptime_seconds
from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute
from storage import session_rows
from storage.pipeline import DatabaseAway, PipelineConnection

LONGEST_BACKDATING_SECONDS = 23 * 3600
"""An Event-Timestamp of a day ago is taken for a wrong clock (accounting.record)."""


class SelfMadeRequest(AccountingRequest):
    """An Accounting-Request that came from nowhere; its answer is only noted."""

    __slots__ = ("is_booked",)

    def __init__(self, packet: Packet, router: Router, arrived_us: Microseconds) -> None:
        self.packet = packet
        self.router = router
        self.arrived_us = arrived_us
        self.peer = Peer((router.network.partition("/")[0], 0), None)
        self.is_settled = False
        self.is_booked = False

    def answer(self, code: int, attributes: bytes) -> None:  # noqa: ARG002 - nobody waits for the octets
        """Note that it is committed."""
        self.is_settled = self.is_booked = True

    def give_up(self, reason: Drop) -> None:  # noqa: ARG002 - the next poll says the same again
        """Note that it is not."""
        self.is_settled = True


class Bookings:
    """One metering lane for all keepers; `book` may be called by many at once."""

    def __init__(self, dsn: str, class_key: bytes) -> None:
        self._connection = PipelineConnection(dsn, session_rows.PREPARED, application_name="caudal core api acct")
        self._lane = MeteringLane(self._connection, SessionMemory(), class_key)
        self._turn = asyncio.Lock()

    async def book(self, router: Router, packets: Sequence[Packet], now_us: Microseconds) -> bool:
        """Commit what `packets` of `router` say; tell whether all of it is."""
        requests = [SelfMadeRequest(packet, router, now_us) for packet in packets]
        async with self._turn:
            try:
                if not self._connection.is_open:
                    await self._lane.open()
                for at in range(0, len(requests), MOST_IN_BATCH):
                    await self._lane.settle(requests[at : at + MOST_IN_BATCH])
            except DatabaseAway:
                self._connection.close()
                return False
        return all(request.is_booked for request in requests)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Counted(NamedTuple):
    """What was read of a router's counters, and when."""

    activity: Activity
    read_us: Microseconds


class CounterBook:
    """The counters of one router from poll to poll."""

    def __init__(self, known: Sequence[KnownSession], *, was_counted: bool) -> None:
        self._tracked: Mapping[Subject, Tracked] = polled_accounting.restored(known)
        self._was_counted = was_counted
        self._stopped = {subject.entry for each in known if each.is_stopped and (subject := subject_of(each))}
        self._standing: Mapping[str, Octets | None] | None = None
        self._uptime_seconds = 0
        self._unbooked: dict[str, PolledRecord] = {}

    def poll(self, counted: Counted, logins: Mapping[str, str], classes: Classes = NO_CLASSES) -> list[PolledRecord]:
        """Return what is to be booked; `logins` are those of the lines that a queue of ours counts, by key."""
        activity = counted.activity
        shown = Shown(activity.ppp, activity.hotspot or (), activity.queues, activity.interfaces, activity.members)
        found = readings(shown, router_uptime=activity.uptime, logins=logins, classes=classes)
        stood = self._stood(shown, activity.uptime)
        polled = polled_accounting.poll(self._tracked, found, counted.read_us, standing=stood)
        self._tracked, self._standing = polled.tracked, standing(shown, logins, classes)
        self._unbooked |= {record.acct_session_id: record for record in polled.records}
        return list(self._unbooked.values())

    def counts(self, source: Source) -> bool:
        """Tell whether sessions of that kind are under way, so that a poll that cannot see them would end them."""
        return any(subject.source is source for subject in self._tracked)

    def booked(self) -> None:
        """Learn that what `poll` returned is committed."""
        self._unbooked.clear()

    def _stood(self, shown: Shown, uptime: str) -> Mapping[str, Octets | None]:
        """Return where queues stood that are read for the first time.

        At the first poll nobody knows: they are counted from now on, except those that were made for lines of ours
        since the router was counted first. A reboot sets all to nothing.
        """
        before, age = self._uptime_seconds, uptime_seconds(uptime)
        self._uptime_seconds = age or before
        if self._standing is None:
            return {
                row.get(".id", ""): None
                for row in shown.queues
                if not self._was_counted or row.get(".id") in self._stopped or key_of(Menu.SIMPLE_QUEUE, row) is None
            }
        if 0 < age < before:
            return {entry: None if stood is None else NO_OCTETS for entry, stood in self._standing.items()}
        return self._standing


def adoption(seen: SeenSession, read_us: Microseconds, *, is_known: bool) -> Packet:
    """Return the record that makes a session of the router one of the books.

    A session that the books never had begins with the Start that was lost. One that they closed for its silence
    (`is_known`) is revived by an Interim-Update. Neither tells octets: the router's next record does.
    """
    begun_us = read_us - seen.uptime_seconds * SECOND_US
    as_start = not is_known and seen.uptime_seconds < LONGEST_BACKDATING_SECONDS
    texts = {
        Type.ACCT_SESSION_ID: f"{seen.number or 0:0{SESSION_ID_DIGITS}x}",
        Type.USER_NAME: seen.login,
        Type.CALLING_STATION_ID: seen.mac,
    }
    octets = [integer_attribute(Type.ACCT_STATUS_TYPE, AcctStatus.START if as_start else AcctStatus.INTERIM)]
    octets += [attribute(kind, text.encode()) for kind, text in texts.items() if text]
    octets.append(integer_attribute(Type.EVENT_TIMESTAMP, (begun_us if as_start else read_us) // SECOND_US))
    if not as_start:
        octets.append(integer_attribute(Type.ACCT_SESSION_TIME, seen.uptime_seconds))
    network = values.network_of(seen.address)
    if network is not None and network.version == 4:
        octets.append(attribute(Type.FRAMED_IP_ADDRESS, network.network_address.packed))
    return decode(encode_request(Code.ACCOUNTING_REQUEST, 0, b"".join(octets), b"", sign=False))
