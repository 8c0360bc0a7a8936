"""An ISP in a real PostgreSQL, and logins at any instant through a lane of their own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, cast

import psycopg2

from daemon.drops import Drop
from daemon.listener import Listener
from daemon.logins import LoginLane
from daemon.requests import AccessRequest, Peer, Request
from domain.instants import SECOND_US, Microseconds
from radius import mschap, pap
from radius.codes import Code
from radius.packet import Packet, attribute, decode, encode_request
from storage import admissions, snapshot
from storage.pipeline import PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault

SECRET = b"testing123"
AUTHENTICATOR = bytes(16)
VAULT = Vault(bytes(32))
PEER = Peer(("127.0.0.1", 5000), None)


def mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02X}:{number & 255:02X}"


@dataclass
class Answer:
    """What became of a request."""

    code: int = 0
    reply: Packet | None = None
    delay_seconds: float = 0.0
    given_up: Drop | None = None

    @property
    def address(self) -> str | None:
        value = None if self.reply is None else self.reply.get(8)
        return None if value is None else ".".join(map(str, value))

    def get(self, kind: int) -> bytes | None:
        return None if self.reply is None else self.reply.get(kind)

    def integer(self, kind: int) -> int | None:
        return None if self.reply is None else self.reply.integer(kind)


class RecordingListener:
    """Keeps the answers instead of sending them."""

    def __init__(self) -> None:
        self.answers: dict[Request, Answer] = {}

    def send_answer(self, request: Request, code: int, reply: bytes) -> None:
        self.answers[request] = Answer(code, decode(reply))

    def send_later(self, request: Request, reply: bytes, delay_seconds: float) -> None:
        self.answers[request] = Answer(Code.ACCESS_REJECT, decode(reply), delay_seconds)

    def forget(self, request: Request, reason: Drop) -> None:
        self.answers.setdefault(request, Answer(given_up=reason))


@dataclass
class Isp:
    """A database with a router, and the means to log in at any instant."""

    dsn: str
    cursor: Any
    now_us: int
    snapshot: Snapshot = field(default_factory=Snapshot.empty)

    def execute(self, statement: str, *values: object) -> Any:
        self.cursor.execute(statement, values)
        return self.cursor.fetchall() if self.cursor.description is not None else None

    def value(self, statement: str, *values: object) -> Any:
        return self.execute(statement, *values)[0][0]

    def later(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND_US)

    def router(self, name: str, address: str, identifier: str | None = None, profile: str = "mikrotik") -> int:
        return cast(
            "int",
            self.value(
                "INSERT INTO router (name, address, identifier, secret, profile, require_message_authenticator,"
                " flip_counters) VALUES (%s, %s, %s, %s, %s, 'auto', false) RETURNING id",
                name,
                address,
                identifier,
                VAULT.seal(SECRET, b"router:" + name.encode()),
                profile,
            ),
        )

    def pool(self, name: str, first: str, last: str, kind: str = "ipv4", length: int = 32, **more: object) -> int:
        return cast(
            "int",
            self.value(
                "INSERT INTO pool (name, kind, first_address, last_address, prefix_length, router_ids, lease_seconds)"
                " VALUES (%s, %s, %s, %s, %s, %s::integer[], %s) RETURNING id",
                name,
                kind,
                first,
                last,
                length,
                more.get("routers", []),
                more.get("lease_seconds"),
            ),
        )

    def plan(self, name: str = "home", **columns: object) -> int:
        columns = {"name": name, "kind": "internet", "interim_seconds": 300, **columns}
        names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
        statement = f"INSERT INTO plan ({names}) VALUES ({places}) RETURNING id"
        return cast("int", self.value(statement, *columns.values()))

    def service(self, login: str, plan: int, password: str = "secret", **columns: object) -> int:
        hashed = mschap.nt_hash(password.encode())
        plain = hashed + mschap.hash_nt_hash(hashed) + password.encode()
        columns = {
            "login": login,
            "secret": VAULT.seal(plain, b"service:" + login.encode()),
            "plan_id": plan,
            "macs": [],
            "router_ids": [],
            "enabled": True,
            "attributes": "[]",
            "reply_octets": b"",
            **columns,
        }
        casts = {"router_ids": "%s::integer[]", "macs": "%s::text[]"}
        places = ", ".join(casts.get(name, "%s") for name in columns)
        statement = f"INSERT INTO service ({', '.join(columns)}) VALUES ({places}) RETURNING id"
        return cast("int", self.value(statement, *columns.values()))

    def session(self, service_id: int, client: str | None, address: str | None = None, **columns: object) -> None:
        number = self.value("SELECT coalesce(max(id), 0) + 1 FROM session")
        # Whatever else the table wants is nothing yet.
        wanted = self.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'session'"
            " AND is_nullable = 'NO' AND column_default IS NULL"
        )
        nothing = {"text": "", "boolean": False, "timestamp with time zone": "2025-01-01T00:00:00Z"}
        row = {name: nothing.get(kind, 0) for name, kind in wanted}
        row |= {"id": number, "acct_session_id": f"{number:08x}", "router_id": 1, "service_id": service_id}
        row |= {"mac": client, "address": address, **columns}
        places = ", ".join(["%s"] * len(row))
        self.execute(f"INSERT INTO session ({', '.join(row)}) VALUES ({places})", *row.values())

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[LoginLane]:
        setup = PipelineConnection(self.dsn, {}, application_name="setup")
        await setup.open()
        self.snapshot = await snapshot.read(setup, VAULT)
        setup.close()
        connection = PipelineConnection(self.dsn, admissions.PREPARED, application_name="logins")
        lane = LoginLane(connection, VAULT, lambda: self.snapshot, lambda: Microseconds(self.now_us), None)
        await lane.open()
        try:
            yield lane
        finally:
            await lane.close()

    def run(self, scenario: Callable[[LoginLane], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.lane() as lane:
                await scenario(lane)

        asyncio.run(main())

    async def settle(self, lane: LoginLane, *packets: Packet) -> list[Answer]:
        """Send a batch through the lane."""
        listener = RecordingListener()
        router = self.snapshot.routers_at("127.0.0.1")[0]
        requests = [
            AccessRequest(packet, router, Microseconds(self.now_us), PEER, cast("Listener", listener))
            for packet in packets
        ]
        await lane.settle(requests)
        return [listener.answers[request] for request in requests]

    def login(self, *packets: Packet) -> list[Answer]:
        """Send one batch through a lane of its own."""
        found: list[Answer] = []

        async def scenario(lane: LoginLane) -> None:
            found.extend(await self.settle(lane, *packets))

        self.run(scenario)
        return found


_identifiers = itertools.cycle(range(256))


def access(login: str, *more: bytes, password: str = "secret", client: str | None = None) -> Packet:
    """Return a PAP request."""
    attributes = [attribute(1, login.encode()), attribute(2, pap.hide(password.encode(), SECRET, AUTHENTICATOR)), *more]
    if client is not None:
        attributes.append(attribute(31, client.encode()))
    octets = encode_request(1, next(_identifiers), b"".join(attributes), SECRET, authenticator=AUTHENTICATOR)
    return decode(octets)


@contextlib.contextmanager
def provided(database_dsn: str, now_us: int | None = None) -> Iterator[Isp]:
    """Lend an ISP with one router, which is this machine; logins come at `now_us`, by default at the present."""
    connection = psycopg2.connect(database_dsn)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        lent = Isp(database_dsn, cursor, time_ns() // 1000 if now_us is None else now_us)
        lent.router("bras", "127.0.0.1")
        yield lent
