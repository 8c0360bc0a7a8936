"""Logins against a real PostgreSQL: who is let in, and what is kept of those who are not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import cast

import pytest

from daemon.drops import Drop
from daemon.listener import Listener
from daemon.logins import LoginLane
from daemon.requests import AccessRequest
from domain.instants import SECOND_US, Microseconds
from domain.network import MessageAuthenticatorPolicy
from enforcement.admission import RefusalReason
from radius import class_token
from radius.codes import Code
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute, vendor_attribute
from storage.pipeline import DatabaseAway
from storage.snapshot import Snapshot
from tests.integration.login_isp import (
    AUTHENTICATOR,
    PEER,
    SECRET,
    VAULT,
    Isp,
    RecordingListener,
    access,
    mac,
    provided,
)


@pytest.fixture
def isp(database_dsn: str) -> Iterator[Isp]:
    with provided(database_dsn) as lent:
        yield lent


def test_a_static_login_is_told_everything(isp: Isp) -> None:
    plan = isp.plan(download_bits_per_second=20_000_000, upload_bits_per_second=10_000_000, idle_timeout_seconds=600)
    service = isp.service("alice", plan, address="10.0.0.7")
    (answer,) = isp.login(access("alice", integer_attribute(7, 1), attribute(89, b"\0")))
    assert answer.code == Code.ACCESS_ACCEPT
    assert answer.reply is not None
    assert answer.address == "10.0.0.7"
    assert answer.reply.attributes()[0][0] == 80
    assert (answer.integer(6), answer.integer(7), answer.integer(28), answer.integer(85)) == (2, 1, 600, 300)
    assert answer.reply.vendor(14988, 8) == b"10M/20M"
    token = class_token.parse(VAULT.derive(b"class"), answer.get(25) or b"")
    assert token is not None
    assert token.service_id == service
    assert len(answer.get(89) or b"") == 32
    assert answer.integer(27) is None


def test_two_logins_of_a_service_have_different_classes_and_one_chargeable_identity(isp: Isp) -> None:
    isp.service("alice", isp.plan())
    first, second = isp.login(access("alice", attribute(89, b"\0")), access("alice", attribute(89, b"\0")))
    assert first.get(25) != second.get(25)
    assert first.get(89) == second.get(89)
    (unasked,) = isp.login(access("alice"))
    assert unasked.get(89) is None


def test_each_reason_of_refusal(isp: Isp) -> None:
    plan = isp.plan()
    isp.service("alice", plan)
    isp.service("off", plan, enabled=False)
    isp.service("past", plan, expires_at="2020-01-01T00:00:00Z")
    isp.service("elsewhere", plan, router_ids=[99])
    isp.service("bound", plan, macs=[mac(1)])
    lane_reasons: list[RefusalReason] = []

    async def scenario(lane: LoginLane) -> None:
        answers = await isp.settle(
            lane,
            access("nobody"),
            access("alice", password="wrong"),
            access("off"),
            access("off", password="wrong"),
            access("past"),
            access("elsewhere"),
            access("bound", client=mac(2)),
            access("alice", attribute(3, bytes(17))),
            access("alice", attribute(79, b"\x02\x01\x00\x04")),
        )
        assert {answer.code for answer in answers} == {Code.ACCESS_REJECT}
        for answer in answers:
            assert answer.reply is not None
            assert set(answer.reply.kinds()) <= {18, 80}
            assert 0.5 <= answer.delay_seconds < 1.0
        assert answers[0].get(18) == answers[1].get(18)
        (let_in,) = await isp.settle(lane, access("bound", client=mac(1).lower().replace(":", "-")))
        assert let_in.code == Code.ACCESS_ACCEPT
        lane_reasons.extend(lane.refused)
        await lane.store_refusals()

    isp.run(scenario)
    stored = isp.execute("SELECT login, reason, method, mac, attempts FROM refusal ORDER BY id")
    assert ("nobody", "unknown_user", "pap", None, 1) in stored
    assert ("off", "wrong_password", "pap", None, 1) in stored
    assert ("bound", "wrong_mac", "pap", mac(2), 1) in stored
    assert ("alice", "bad_request", "mixed", None, 2) in stored
    assert {row[1] for row in stored} == {reason.value for reason in lane_reasons}


def test_equal_refusals_of_a_minute_are_one_row_however_often_they_are_stored(isp: Isp) -> None:
    isp.service("alice", isp.plan())
    isp.now_us -= isp.now_us % (60 * SECOND_US)

    async def scenario(lane: LoginLane) -> None:
        for _ in range(3):
            await isp.settle(lane, *[access("alice", password="wrong") for _ in range(4)])
            await lane.store_refusals()
        isp.later(60)
        await isp.settle(lane, access("alice", password="wrong"))
        await lane.store_refusals()

    isp.run(scenario)
    assert isp.execute("SELECT attempts FROM refusal ORDER BY id") == [(12,), (1,)]


def test_a_domain_before_the_name_is_ignored_when_the_name_has_none(isp: Isp) -> None:
    isp.service("alice", isp.plan())
    (answer,) = isp.login(access("EXAMPLE\\alice"))
    assert answer.code == Code.ACCESS_ACCEPT


def test_names_that_look_like_sql_are_names(isp: Isp) -> None:
    names = ["o'hara", 'qu"ote', "back\\", "{a,b}", "%s", "NULL", "x'); DROP TABLE service; --", "señor"]
    plan = isp.plan()
    for name in names:
        isp.service(name, plan)
    assert {answer.code for answer in isp.login(*[access(name) for name in names])} == {Code.ACCESS_ACCEPT}


def test_a_dhcp_client_is_let_in_by_its_mac_alone(isp: Isp) -> None:
    isp.service("00:E1:0C:38:C8:F8", isp.plan(), password="", address="10.0.0.9")
    right, spoofed = isp.login(
        access("00:e1:0c:38:c8:f8", password="", client="1:0:e1:c:38:c8:f8"),
        access("00:e1:0c:38:c8:f8", password="", client=mac(1)),
    )
    assert right.address == "10.0.0.9"
    assert spoofed.code == Code.ACCESS_REJECT


def test_an_unknown_device_that_keeps_asking_costs_one_look_up_a_second(isp: Isp) -> None:
    plan = isp.plan()

    async def scenario(lane: LoginLane) -> None:
        for port in range(10):
            await isp.settle(lane, access(mac(1), integer_attribute(5, 2**31 + port), password="", client=mac(1)))
        isp.service(mac(1), plan, password="")
        (answer,) = await isp.settle(lane, access(mac(1), password="", client=mac(1)))
        assert answer.code == Code.ACCESS_REJECT
        isp.later(1)
        (answer,) = await isp.settle(lane, access(mac(1), password="", client=mac(1)))
        assert answer.code == Code.ACCESS_ACCEPT

    isp.run(scenario)


def test_a_session_is_bounded_by_the_shortest_of_plan_expiry_and_lease(isp: Isp) -> None:
    pool = isp.pool("leased", "100.64.0.0", "100.64.0.255", lease_seconds=1800)
    plain = isp.plan(session_timeout_seconds=3600)
    leased = isp.plan("leased", session_timeout_seconds=3600, pool_id=pool)
    soon = isp.value("SELECT to_timestamp(%s / 1000000.0)", isp.now_us + 90_500_000)
    isp.service("plain", plain)
    isp.service("ending", plain, expires_at=soon)
    isp.service("leased", leased)
    isp.service("own", plain, reply_octets=integer_attribute(27, 7200))
    answers = isp.login(*[access(name) for name in ("plain", "ending", "leased", "own")])
    assert [answer.integer(27) for answer in answers] == [3600, 90, 1800, 7200]


def test_own_attributes_replace_the_plans_and_stay_with_their_vendor(isp: Isp) -> None:
    own = vendor_attribute(14988, 8, b"1M/1M") + vendor_attribute(9, 1, b"ip:x=y") + attribute(8, b"\xff\xff\xff\xfe")
    pool = isp.pool("p", "100.64.0.0", "100.64.0.255")
    isp.service("alice", isp.plan(download_bits_per_second=8_000_000, pool_id=pool), reply_octets=own)
    (answer,) = isp.login(access("alice"))
    assert answer.reply is not None
    assert answer.reply.vendor_all(14988, 8) == [b"1M/1M"]
    assert answer.reply.vendor(9, 1) is None
    assert answer.address == "255.255.255.254"
    assert isp.value("SELECT count(*) FROM lease") == 0


def test_a_nas_that_was_asked_back_is_let_in_by_its_state(isp: Isp) -> None:
    plan = isp.plan()
    isp.service("alice", plan, reply_octets=integer_attribute(29, 1))
    isp.service("bob", plan)
    (first,) = isp.login(access("alice"))
    state = attribute(24, first.get(24) or b"")

    def back(login: str, state: bytes) -> Packet:
        octets = encode_request(1, 9, attribute(1, login.encode()) + state, SECRET, authenticator=AUTHENTICATOR)
        return decode(octets)

    answers = isp.login(back("alice", state), back("bob", state), back("alice", attribute(24, bytes(28))))
    assert [answer.code for answer in answers] == [Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_REJECT]


def test_a_reply_that_does_not_fit_is_refused_with_its_reason(isp: Isp) -> None:
    isp.service("alice", isp.plan(), reply_octets=attribute(11, b"x" * 253) * 17)
    isp.service("bob", isp.plan("other"))
    alice, bob = isp.login(access("alice"), access("bob"))
    assert alice.code == Code.ACCESS_REJECT
    assert bob.code == Code.ACCESS_ACCEPT


def test_a_request_whose_proxy_states_fill_the_packet_does_not_hurt_its_batch(isp: Isp) -> None:
    isp.service("alice", isp.plan())
    states = attribute(33, b"x" * 253) * 15 + attribute(33, b"x" * 206)
    full, other = isp.login(access("alice", states), access("alice"))
    assert full.code == Code.ACCESS_REJECT
    assert other.code == Code.ACCESS_ACCEPT


def test_the_last_place_is_given_to_one_of_many_workers(isp: Isp) -> None:
    isp.service("alice", isp.plan(simultaneous=2))
    codes: list[int] = []

    async def several_workers() -> None:
        async with contextlib.AsyncExitStack() as stack:
            lanes = [await stack.enter_async_context(isp.lane()) for _ in range(4)]
            batches = [[access("alice", client=mac(10 * n + m)) for m in range(3)] for n in range(4)]
            for answers in await asyncio.gather(
                *(isp.settle(lane, *batch) for lane, batch in zip(lanes, batches, strict=True))
            ):
                codes.extend(answer.code for answer in answers)

    asyncio.run(several_workers())
    assert codes.count(Code.ACCESS_ACCEPT) == 2
    assert codes.count(Code.ACCESS_REJECT) == 10


def test_a_line_that_comes_back_is_not_blocked_by_its_own_stale_session(isp: Isp) -> None:
    service = isp.service("alice", isp.plan(simultaneous=1))
    isp.session(service, mac(1))
    own, other = isp.login(access("alice", client=mac(1)), access("alice", client=mac(2)))
    assert own.code == Code.ACCESS_ACCEPT
    assert other.code == Code.ACCESS_REJECT


def test_a_line_without_mac_comes_back_by_its_port(isp: Isp) -> None:
    service = isp.service("alice", isp.plan(simultaneous=1))
    isp.session(service, None, nas_port_id="0/1")
    own, other = isp.login(access("alice", attribute(87, b"0/1")), access("alice", attribute(87, b"0/2")))
    assert own.code == Code.ACCESS_ACCEPT
    assert other.code == Code.ACCESS_REJECT


def test_an_accept_holds_its_place_for_a_minute(isp: Isp) -> None:
    isp.service("alice", isp.plan(simultaneous=1))

    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, access("alice", client=mac(1)))
        isp.later(59)
        (early,) = await isp.settle(lane, access("alice", client=mac(2)))
        isp.later(1)
        (late,) = await isp.settle(lane, access("alice", client=mac(2)))
        assert (early.code, late.code) == (Code.ACCESS_REJECT, Code.ACCESS_ACCEPT)

    isp.run(scenario)
    assert isp.execute("SELECT client FROM admission") == [(mac(2),)]


def test_a_services_own_limit_goes_before_its_plans(isp: Isp) -> None:
    isp.service("alice", isp.plan(simultaneous=1), simultaneous=2)
    codes = [answer.code for answer in isp.login(*[access("alice", client=mac(n)) for n in range(3)])]
    assert codes == [Code.ACCESS_ACCEPT, Code.ACCESS_ACCEPT, Code.ACCESS_REJECT]


def test_the_links_of_a_bundle_are_one_session(isp: Isp) -> None:
    service = isp.service("alice", isp.plan(simultaneous=2))
    isp.session(service, mac(1), multi_session_id="bundle")
    isp.session(service, mac(2), multi_session_id="bundle")
    (answer,) = isp.login(access("alice", client=mac(3)))
    assert answer.code == Code.ACCESS_ACCEPT


def test_logins_that_name_no_line_do_not_share_a_place(isp: Isp) -> None:
    isp.service("alice", isp.plan(simultaneous=1))
    codes = [answer.code for answer in isp.login(access("alice"), access("alice"))]
    assert codes == [Code.ACCESS_ACCEPT, Code.ACCESS_REJECT]


def test_who_finds_no_address_holds_no_place(isp: Isp) -> None:
    plan = isp.plan(simultaneous=1, pool_id=isp.pool("p", "100.64.0.0", "100.64.0.0"))
    isp.service("alice", plan)
    isp.service("bob", plan)
    codes = [answer.code for answer in isp.login(access("alice", client=mac(1)), access("bob", client=mac(2)))]
    assert sorted(codes) == [Code.ACCESS_ACCEPT, Code.ACCESS_REJECT]
    assert isp.value("SELECT count(*) FROM admission") == 1


def test_nobody_is_answered_when_the_database_goes_away(isp: Isp) -> None:
    isp.service("alice", isp.plan(simultaneous=1))

    async def scenario(lane: LoginLane) -> None:
        isp.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'logins'")
        listener = RecordingListener()
        router = isp.snapshot.routers_at("127.0.0.1")[0]
        request = AccessRequest(access("alice"), router, Microseconds(isp.now_us), PEER, cast("Listener", listener))
        with pytest.raises(DatabaseAway):
            await lane.settle([request])
        assert listener.answers == {}
        await lane.open()
        (answer,) = await isp.settle(lane, access("alice"))
        assert answer.code == Code.ACCESS_ACCEPT

    isp.run(scenario)


def test_refusals_wait_while_the_database_is_away(isp: Isp) -> None:
    async def scenario(lane: LoginLane) -> None:
        await isp.settle(lane, access("nobody"))
        isp.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'logins'")
        await lane.store_refusals()
        await lane.open()
        await lane.store_refusals()

    isp.run(scenario)
    assert isp.execute("SELECT login, attempts FROM refusal") == [("nobody", 1)]


def test_a_plan_newer_than_the_snapshot_is_left_to_the_retransmission(isp: Isp) -> None:
    async def scenario(lane: LoginLane) -> None:
        isp.service("alice", isp.plan())
        (answer,) = await isp.settle(lane, access("alice"))
        assert answer.given_up is Drop.PLAN_UNKNOWN

    isp.run(scenario)


def test_a_router_is_found_by_its_longest_prefix_and_told_apart_by_its_identifier(isp: Isp) -> None:
    isp.router("all", "10.0.0.0/8")
    isp.router("site", "10.1.0.0/16")
    isp.router("behind a", "10.1.2.3/32", "nas-a")
    isp.router("behind b", "10.1.2.3/32", "nas-b")
    isp.router("six", "2001:db8::/32", profile="cisco")
    found: list[Snapshot] = []

    async def scenario(lane: LoginLane) -> None:
        found.append(isp.snapshot)

    isp.run(scenario)
    (configuration,) = found

    def names(host: str) -> list[str]:
        return [router.name for router in configuration.routers_at(host)]

    assert names("10.2.0.1") == ["all"]
    assert names("10.1.9.9") == ["site"]
    assert names("::ffff:10.1.9.9") == ["site"]
    assert names("10.1.2.3") == ["behind a", "behind b"]
    assert names("2001:db8::7") == ["six"]
    assert names("192.0.2.1") == []
    candidates = configuration.routers_at("10.1.2.3")
    chosen = configuration.choose(candidates, access("x", attribute(32, b"nas-b")))
    assert chosen is not None
    assert chosen.name == "behind b"
    assert configuration.choose(candidates, access("x", attribute(32, b"nas-c"))) is None
    router = configuration.routers_at("127.0.0.1")[0]
    assert router.secret.reveal() == SECRET
    assert router.require_message_authenticator is MessageAuthenticatorPolicy.AUTO
    assert configuration.revision == isp.value("SELECT revision FROM configuration_revision")
