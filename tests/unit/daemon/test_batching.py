"""Group commit with a lane of our own: what waits, what is given up, and how a lane comes back."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from daemon.batching import MOST_WAITING, Batcher, FairQueue
from daemon.configuration import Signers
from daemon.drops import Drop
from daemon.listener import KEPT_FOR_STATE, AuthenticationListener, Traffic
from daemon.requests import AccessRequest, Peer, Request
from domain.instants import Microseconds
from domain.network import MessageAuthenticatorPolicy, Router, RouterId
from domain.secret import Secret
from radius.codes import AcctStatus, Code, Type
from radius.packet import attribute, decode, encode_request, integer_attribute
from storage.pipeline import DatabaseAway
from storage.snapshot import Snapshot

if TYPE_CHECKING:
    from daemon.datagrams import DatagramSocket
    from daemon.listener import Later, Listener

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


class Told:
    """Notes what becomes of requests."""

    def __init__(self) -> None:
        self.answered: list[Request] = []
        self.given_up: list[tuple[Request, Drop]] = []

    def send_answer(self, request: Request, _code: int, _reply: bytes) -> None:
        """Note an answer."""
        self.answered.append(request)

    def forget(self, request: Request, reason: Drop) -> None:
        """Note a request that stays unanswered."""
        self.given_up.append((request, reason))


class ScriptedLane:
    """Settles by a function; opens unless it is told that the database is away."""

    def __init__(self, settle: Callable[[Sequence[Request]], None]) -> None:
        self.do = settle
        self.batches: list[int] = []
        self.away = False
        self.opened = 0
        self.probed = asyncio.Event()

    async def open(self) -> None:
        """Connect, or not."""
        if self.away:
            raise DatabaseAway("away")
        self.opened += 1

    async def settle(self, requests: Sequence[Request]) -> None:
        """Do what the script says."""
        self.batches.append(len(requests))
        self.do(requests)

    async def probe(self) -> None:
        """Note that it was asked."""
        self.probed.set()
        if self.away:
            raise DatabaseAway("away")


def request(told: Told, identifier: int = 0) -> Request:
    """Return a request that notes its fate in `told`."""
    attributes = integer_attribute(Type.ACCT_STATUS_TYPE, AcctStatus.START)
    packet = decode(encode_request(Code.ACCOUNTING_REQUEST, identifier, attributes, b"secret", sign=False))
    return Request(packet, ROUTER, Microseconds(0), PEER, cast("Listener", told))


def acknowledge(requests: Sequence[Request]) -> None:
    """Answer each request."""
    for each in requests:
        each.answer(Code.ACCOUNTING_RESPONSE, b"")


def settle(lane: ScriptedLane, requests: Sequence[Request]) -> Batcher[Request]:
    """Let a batcher settle `requests` in one batch and stop; return it."""

    async def main() -> Batcher[Request]:
        batcher: Batcher[Request] = Batcher("test", lane, lambda: None, lambda _size, _seconds: None)
        running = asyncio.create_task(batcher.run())
        await batcher.connected.wait()
        for each in requests:
            batcher.submit(each)
        batcher.wake()
        batcher.stop()
        await running
        return batcher

    return asyncio.run(main())


def test_defect_in_one_request_costs_only_that_request() -> None:
    told = Told()
    requests = [request(told, number) for number in range(5)]

    def fail_on_the_third(batch: Sequence[Request]) -> None:
        for each in batch:
            if each is requests[2]:
                raise ZeroDivisionError
            each.answer(Code.ACCOUNTING_RESPONSE, b"")

    lane = ScriptedLane(fail_on_the_third)
    settle(lane, requests)
    assert told.answered == [requests[0], requests[1], requests[3], requests[4]]
    assert told.given_up == [(requests[2], Drop.DEFECT)]
    assert lane.batches == [5, 1, 1, 1], "an answered request was settled again"


def test_what_waits_is_given_up_when_the_database_goes() -> None:
    told = Told()
    requests = [request(told, number) for number in range(3)]

    def lose(batch: Sequence[Request]) -> None:
        acknowledge(batch[:1])
        lane.away = False
        raise DatabaseAway("gone")

    lane = ScriptedLane(lose)
    settle(lane, requests)
    assert told.answered == requests[:1]
    assert told.given_up == [(each, Drop.DATABASE_AWAY) for each in requests[1:]]


def test_nothing_waits_before_the_database_is_there() -> None:
    told = Told()
    batcher: Batcher[Request] = Batcher("test", ScriptedLane(acknowledge), lambda: None, lambda _size, _seconds: None)
    only = request(told)
    batcher.submit(only)
    assert told.given_up == [(only, Drop.DATABASE_AWAY)]
    assert not batcher.waiting
    assert not batcher.is_serving


def test_what_waits_is_bounded() -> None:
    told = Told()
    batcher: Batcher[Request] = Batcher("test", ScriptedLane(acknowledge), lambda: None, lambda _size, _seconds: None)
    batcher.database_is_there = True
    same = request(told)
    for _ in range(MOST_WAITING + 1):
        batcher.submit(same)
    assert batcher.waiting == MOST_WAITING
    assert told.given_up == [(same, Drop.OVERLOAD)]


def of_router(told: Told, router_id: int) -> Request:
    router = dataclasses.replace(ROUTER, id=RouterId(router_id))
    return Request(request(told).packet, router, Microseconds(0), PEER, cast("Listener", told))


def waiting_batcher() -> Batcher[Request]:
    batcher: Batcher[Request] = Batcher("test", ScriptedLane(acknowledge), lambda: None, lambda _size, _seconds: None)
    batcher.database_is_there = True
    return batcher


def test_a_router_that_floods_us_takes_no_place_from_the_others() -> None:
    told = Told()
    batcher = waiting_batcher()
    flood = [of_router(told, 1) for _ in range(MOST_WAITING + 5)]
    for each in flood:
        batcher.submit(each)
    assert [each for each, _ in told.given_up] == flood[MOST_WAITING:]
    others = [of_router(told, 2 + number % 3) for number in range(300)]
    for each in others:
        batcher.submit(each)
    assert batcher.waiting == MOST_WAITING
    assert [each for each, _ in told.given_up[5:]] == flood[MOST_WAITING - 300 : MOST_WAITING][::-1]


def test_a_batch_takes_from_each_router_in_turn_and_in_its_order() -> None:
    told = Told()
    queue: FairQueue[Request] = FairQueue()
    flood, few, one = ([of_router(told, router) for _ in range(size)] for router, size in ((1, 900), (2, 40), (3, 1)))
    for each in (*flood, *few, *one):
        queue.add(each)
    batch = queue.draw(100)
    assert len(batch) == 100
    assert {*one} < {*batch}
    assert [each for each in batch if each.router.id == 2] == few[:33]
    assert [each for each in batch if each.router.id == 1] == flood[:66]
    rest = queue.draw(1000)
    assert [each for each in rest if each.router.id == 1] == flood[66:]
    assert [each for each in rest if each.router.id == 2] == few[33:]
    assert not queue


def test_d5_logins_that_go_on_have_places_of_their_own_at_overload() -> None:
    batcher: Batcher[AccessRequest] = Batcher(
        "test", ScriptedLane(acknowledge), lambda: None, lambda _size, _seconds: None
    )
    batcher.database_is_there = True
    traffic = Traffic()
    listener = AuthenticationListener(
        cast("DatagramSocket", None), Snapshot.empty, lambda: Microseconds(0), cast("Later", None), traffic, 0
    )
    listener.feed(batcher, Signers())
    name = attribute(Type.USER_NAME, b"ana")
    begins = decode(encode_request(Code.ACCESS_REQUEST, 1, name, b"secret", sign=False))
    goes_on = decode(encode_request(Code.ACCESS_REQUEST, 1, name + attribute(Type.STATE, b"1"), b"secret", sign=False))
    for _ in range(MOST_WAITING):
        listener._submit(begins, ROUTER, PEER)
    assert batcher.waiting == MOST_WAITING - KEPT_FOR_STATE
    listener._submit(goes_on, ROUTER, PEER)
    assert batcher.waiting == MOST_WAITING - KEPT_FOR_STATE + 1


def test_database_that_vanished_is_noticed_while_nobody_asks() -> None:
    async def main() -> None:
        lane = ScriptedLane(acknowledge)
        batcher: Batcher[Request] = Batcher(
            "test", lane, lambda: None, lambda _size, _seconds: None, probe_seconds=0.001
        )
        running = asyncio.create_task(batcher.run())
        await batcher.connected.wait()
        assert batcher.is_serving
        lane.away = True
        lane.probed.clear()
        await lane.probed.wait()
        assert not batcher.is_serving
        batcher.stop()
        await running

    asyncio.run(main())
