"""Accounting-Requests that go straight into a metering lane, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import psycopg2

from daemon.drops import Drop
from daemon.metering import MeteringLane, SessionMemory
from daemon.requests import AccountingRequest, Peer
from domain.instants import SECOND_US, Microseconds
from domain.network import MessageAuthenticatorPolicy, Router, RouterId
from domain.secret import Secret
from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute
from storage import session_rows
from storage.pipeline import PipelineConnection

if TYPE_CHECKING:
    from daemon.listener import Listener

ROUTER = Router(
    id=RouterId(1),
    name="tower",
    network="127.0.0.1/32",
    identifier=None,
    secret=Secret(b"secret"),
    profile="generic",
    coa_port=3799,
    require_message_authenticator=MessageAuthenticatorPolicy.AUTO,
    flip_counters=False,
    api=None,
)
PEER = Peer(("127.0.0.1", 50_000), None)
CLASS_KEY = bytes(32)
BEGIN_US = Microseconds(1_760_000_000 * SECOND_US)


class Told:
    """Notes what becomes of requests."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.given_up: list[Drop] = []

    def send_answer(self, _request: AccountingRequest, _code: int, _reply: bytes) -> None:
        """Count an answer."""
        self.acknowledged += 1

    def forget(self, _request: AccountingRequest, reason: Drop) -> None:
        """Note why a request stays unanswered."""
        self.given_up.append(reason)


def record(
    told: Told,
    status: AcctStatus,
    session: str,
    seconds: int,
    octets: int = 0,
    port: int = 1,
    class_values: Sequence[bytes] = (),
) -> AccountingRequest:
    """Return a record of a session of ana's that began `seconds` ago; each names its line."""
    attributes = [
        integer_attribute(Type.ACCT_STATUS_TYPE, status),
        attribute(Type.ACCT_SESSION_ID, session.encode()),
        attribute(Type.USER_NAME, b"ana"),
        attribute(Type.CALLING_STATION_ID, b"02:00:00:00:00:01"),
        integer_attribute(Type.NAS_PORT, port),
    ]
    attributes += [attribute(Type.CLASS, value) for value in class_values]
    if status is not AcctStatus.START:
        attributes.append(integer_attribute(Type.ACCT_SESSION_TIME, seconds))
        attributes.append(integer_attribute(Type.ACCT_INPUT_OCTETS, octets))
        attributes.append(integer_attribute(Type.ACCT_OUTPUT_OCTETS, octets))
    packet = decode(encode_request(Code.ACCOUNTING_REQUEST, 1, b"".join(attributes), b"secret", sign=False))
    return request(told, packet, seconds)


def request(told: Told, packet: Packet, seconds: int) -> AccountingRequest:
    """Return `packet` as it arrives `seconds` after the beginning."""
    return AccountingRequest(packet, ROUTER, Microseconds(BEGIN_US + seconds * SECOND_US), PEER, cast("Listener", told))


@contextlib.asynccontextmanager
async def lane(dsn: str) -> AsyncIterator[MeteringLane]:
    """Lend a lane that is connected."""
    connection = PipelineConnection(dsn, session_rows.PREPARED, application_name="lane")
    metering = MeteringLane(connection, SessionMemory(), CLASS_KEY)
    await metering.open()
    try:
        yield metering
    finally:
        connection.close()


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of one query."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def add_service(dsn: str, rules: str = "{}", login: str = "ana") -> int:
    """Provision a service of a plan with these rules."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            """WITH p AS (INSERT INTO plan (name, kind, interim_seconds, rules) VALUES (%(login)s, 'internet', 300,
                %(rules)s) RETURNING id)
            INSERT INTO service (login, secret, plan_id, macs, router_ids, enabled, attributes, reply_octets)
            SELECT %(login)s, '', id, '{}', '{}', true, '[]', '' FROM p RETURNING id""",
            {"login": login, "rules": rules},
        )
        return int(cursor.fetchone()[0])


def settle(dsn: str, *batches: list[AccountingRequest]) -> None:
    """Commit batches, one after the other."""

    async def main() -> None:
        async with lane(dsn) as metering:
            for batch in batches:
                await metering.settle(batch)

    asyncio.run(main())
