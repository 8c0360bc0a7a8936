"""Addresses and prefixes of the server's own pools: each line keeps its own, and nobody gets that of another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from daemon.logins import LoginLane
from enforcement.admission import RefusalReason
from radius.codes import Code
from tests.integration.login_isp import Isp, access, mac, provided


@pytest.fixture
def isp(database_dsn: str) -> Iterator[Isp]:
    with provided(database_dsn) as lent:
        yield lent


def test_a_hundred_parallel_logins_get_a_hundred_addresses(isp: Isp) -> None:
    plan = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.99"))
    for number in range(100):
        isp.service(f"user{number}", plan)
    found: list[str | None] = []

    async def several_workers() -> None:
        async with contextlib.AsyncExitStack() as stack:
            lanes = [await stack.enter_async_context(isp.lane()) for _ in range(4)]
            batches = [[access(f"user{n}", client=mac(n)) for n in range(start, 100, 4)] for start in range(4)]
            parts = [(lane, batch[half::2]) for lane, batch in zip(lanes, batches, strict=True) for half in (0, 1)]
            for answers in await asyncio.gather(*(isp.settle(lane, *part) for lane, part in parts)):
                found.extend(answer.address for answer in answers)

    asyncio.run(several_workers())
    assert None not in found
    assert len(set(found)) == 100
    assert isp.value("SELECT next_offset FROM pool") == 100


def test_workers_that_serve_the_same_lines_at_once_agree_on_their_addresses(isp: Isp) -> None:
    plan = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.29"), simultaneous=1)
    for number in range(30):
        isp.service(f"user{number}", plan)
    found: list[dict[str, str | None]] = []

    async def several_workers() -> None:
        async with contextlib.AsyncExitStack() as stack:
            lanes = [await stack.enter_async_context(isp.lane()) for _ in range(3)]
            orders = [list(range(30)), list(range(29, -1, -1)), [*range(15, 30), *range(15)]]
            batches = [[access(f"user{n}", client=mac(n)) for n in order] for order in orders]
            settled = await asyncio.gather(
                *(isp.settle(lane, *batch) for lane, batch in zip(lanes, batches, strict=True))
            )
            for order, answers in zip(orders, settled, strict=True):
                found.append({f"user{n}": answer.address for n, answer in zip(order, answers, strict=True)})

    asyncio.run(several_workers())
    assert found[0] == found[1] == found[2]
    assert len(set(found[0].values())) == 30
    assert isp.value("SELECT next_offset FROM pool") == 30


def test_a_line_keeps_its_address(isp: Isp) -> None:
    plan = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.255.255"))
    isp.service("alice", plan)

    async def scenario(lane: LoginLane) -> None:
        first, again = await isp.settle(lane, access("alice", client=mac(1)), access("alice", client=mac(1)))
        assert first.address == again.address == "100.64.0.0"
        (other,) = await isp.settle(lane, access("alice", client=mac(2)))
        assert other.address == "100.64.0.1"
        for seconds in (30, 90, 86_400):
            isp.later(seconds)
            (again,) = await isp.settle(lane, access("alice", client=mac(1)))
            assert again.address == "100.64.0.0"

    isp.run(scenario)


def test_a_fresh_lease_is_not_written_again(isp: Isp) -> None:
    isp.service("alice", isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.9", lease_seconds=3600)))
    versions = []

    async def scenario(lane: LoginLane) -> None:
        for seconds in (0, 30, 60):
            isp.later(seconds)
            await isp.settle(lane, access("alice", client=mac(1)))
            versions.append(isp.value("SELECT xmin::text FROM lease"))

    isp.run(scenario)
    assert versions[0] == versions[1] != versions[2]


def test_addresses_that_services_own_are_skipped(isp: Isp) -> None:
    plan = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.15"))
    for number in range(10):
        isp.service(f"static{number}", plan, address=f"100.64.0.{number}")
    isp.service("alice", plan)
    isp.service("bob", plan)

    async def scenario(lane: LoginLane) -> None:
        (alice,) = await isp.settle(lane, access("alice"))
        assert alice.address == "100.64.0.10"
        (bob,) = await isp.settle(lane, access("bob"))
        assert bob.address == "100.64.0.11"

    isp.run(scenario)
    assert isp.value("SELECT next_offset FROM pool") == 12


def exhausted(isp: Isp, lease_seconds: int | None = None) -> None:
    """Fill a pool of two by alice and bob; carol waits for an address."""
    plan = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.1", lease_seconds=lease_seconds))
    for name in ("alice", "bob", "carol"):
        isp.service(name, plan)


def test_an_exhausted_pool_refuses(isp: Isp) -> None:
    exhausted(isp)

    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, access("alice", client=mac(1)))
        isp.later(1)
        await isp.settle(lane, access("bob", client=mac(2)))
        isp.later(119)
        (carol,) = await isp.settle(lane, access("carol", client=mac(3)))
        assert carol.code == Code.ACCESS_REJECT
        assert lane.refused == {RefusalReason.POOL_EXHAUSTED: 1}
        isp.later(1.5)
        (carol,) = await isp.settle(lane, access("carol", client=mac(3)))
        assert carol.address == "100.64.0.0"
        (alice,) = await isp.settle(lane, access("alice", client=mac(1)))
        assert alice.address == "100.64.0.1"

    isp.run(scenario)


@pytest.mark.parametrize("lease_seconds", [None, 86_400])
def test_an_address_with_an_open_session_is_given_to_nobody_else(isp: Isp, lease_seconds: int | None) -> None:
    exhausted(isp, lease_seconds)

    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, access("alice", client=mac(1)), access("bob", client=mac(2)))
        isp.session(1, mac(1), "100.64.0.0")
        isp.session(2, mac(2), None)
        isp.later(7200)
        (carol,) = await isp.settle(lane, access("carol", client=mac(3)))
        assert carol.code == Code.ACCESS_REJECT
        isp.execute("UPDATE session SET state = 1 WHERE service_id = 1")
        isp.later(2)
        (carol,) = await isp.settle(lane, access("carol", client=mac(3)))
        assert carol.address == "100.64.0.0"

    isp.run(scenario)


def test_a_late_stop_of_the_old_session_does_not_free_a_reassigned_address(isp: Isp) -> None:
    exhausted(isp)

    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, access("alice", client=mac(1)), access("bob", client=mac(2)))
        isp.later(200)
        (carol,) = await isp.settle(lane, access("carol", client=mac(3)))
        assert carol.address is not None
        isp.session(3, mac(3), carol.address)
        isp.session(1, mac(1), carol.address, state=1)
        isp.later(600)
        answers = await isp.settle(lane, access("alice", client=mac(1)), access("bob", client=mac(2)))
        assert carol.address not in [answer.address for answer in answers]

    isp.run(scenario)


def test_the_least_recently_used_lease_is_given_away_first(isp: Isp) -> None:
    exhausted(isp, 86_400)

    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, access("alice", client=mac(1)))
        isp.later(300)
        await isp.settle(lane, access("bob", client=mac(2)))
        isp.later(300)
        (carol,) = await isp.settle(lane, access("carol", client=mac(3)))
        assert carol.address == "100.64.0.0"

    isp.run(scenario)


def test_a_free_lease_is_found_behind_a_thousand_that_are_in_use(isp: Isp) -> None:
    plan = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.3.255"))
    isp.service("shared", plan)
    isp.service("carol", plan)

    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, *[access("shared", client=mac(number)) for number in range(1024)])
        last = isp.value("SELECT host(max(address)) FROM lease")
        for number, (address,) in enumerate(isp.execute("SELECT host(address) FROM lease ORDER BY address")):
            if address != last:
                isp.session(1, mac(number), address)
        isp.execute("UPDATE lease SET expires_at = expires_at + interval '1 s' WHERE address = %s", last)
        isp.later(500)
        (carol,) = await isp.settle(lane, access("carol", client=mac(5000)))
        assert carol.address == last

    isp.run(scenario)


def test_prefixes_are_leased_beside_the_address(isp: Isp) -> None:
    plan = isp.plan(
        pool_id=isp.pool("v4", "100.64.0.0", "100.64.0.255"),
        ipv6_pool_id=isp.pool("v6", "2001:db8::", "2001:db8:0:ff:ffff:ffff:ffff:ffff", "ipv6-prefix", 64),
        delegated_pool_id=isp.pool(
            "pd", "2001:db8:100::", "2001:db8:1ff:ffff:ffff:ffff:ffff:ffff", "delegated-prefix", 56
        ),
    )
    isp.service("alice", plan)
    isp.service("bob", plan)

    async def scenario(lane: LoginLane) -> None:
        alice, bob = await isp.settle(lane, access("alice", client=mac(1)), access("bob", client=mac(2)))
        assert (alice.address, bob.address) == ("100.64.0.0", "100.64.0.1")
        assert alice.get(97) == bytes.fromhex("0040 20010db800000000")
        assert bob.get(97) == bytes.fromhex("0040 20010db800000001")
        assert alice.get(123) == bytes.fromhex("0038 20010db8010000")
        assert bob.get(123) == bytes.fromhex("0038 20010db8010001")
        isp.later(3600)
        (again,) = await isp.settle(lane, access("bob", client=mac(2)))
        assert (again.get(97), again.get(123)) == (bob.get(97), bob.get(123))

    isp.run(scenario)


def test_a_pool_of_other_routers_leaves_the_address_to_the_nas(isp: Isp) -> None:
    isp.service("alice", isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.9", routers=[99])))
    (answer,) = isp.login(access("alice"))
    assert answer.code == Code.ACCESS_ACCEPT
    assert answer.address is None
