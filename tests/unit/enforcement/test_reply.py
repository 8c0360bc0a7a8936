"""What an Access-Accept says."""

from __future__ import annotations

from dataclasses import replace

from domain.network import Plan, PlanId, PoolId, PoolKind
from domain.plan_rules import Direction
from enforcement.profiles import PROFILES
from enforcement.reply import (
    NOTHING_OWN,
    PlanReply,
    ReplyBook,
    entitled_reply,
    framed_address,
    framed_prefix,
    framing,
    of_plan,
    own_attributes,
)
from enforcement.thresholds import Crossing
from radius.packet import attribute, integer_attribute, vendor_attribute
from tests.unit.enforcement.access import named
from tests.unit.enforcement.entitled import read

MIKROTIK, CISCO = PROFILES["mikrotik"], PROFILES["cisco"]
INTERIM = integer_attribute(85, 300)
RATE = vendor_attribute(14988, 8, b"10M/20M")
PLAN = Plan(
    id=PlanId(1),
    name="home",
    download_bits_per_second=20_000_000,
    upload_bits_per_second=10_000_000,
    pool_id=None,
    ipv6_pool_id=None,
    delegated_pool_id=None,
    session_timeout_seconds=3600,
    idle_timeout_seconds=600,
    interim_seconds=300,
    simultaneous=None,
)


def test_a_plan_gives_rates_interim_and_timeouts() -> None:
    reply = PlanReply(PLAN, MIKROTIK)
    assert reply.untimed == RATE + INTERIM + integer_attribute(28, 600)
    assert reply.timed == reply.untimed + integer_attribute(27, 3600)


def test_a_plan_without_rates_gives_none() -> None:
    plan = replace(PLAN, download_bits_per_second=None, upload_bits_per_second=None, idle_timeout_seconds=None)
    assert PlanReply(plan, MIKROTIK).untimed == INTERIM


def test_only_a_plan_that_gives_nothing_out_is_free() -> None:
    assert PlanReply(PLAN, MIKROTIK).is_free
    assert not PlanReply(replace(PLAN, simultaneous=1), MIKROTIK).is_free
    assert not PlanReply(replace(PLAN, pool_id=PoolId(1)), MIKROTIK).is_free
    assert not PlanReply(replace(PLAN, delegated_pool_id=PoolId(1)), MIKROTIK).is_free


def test_a_book_encodes_a_plan_once() -> None:
    book = ReplyBook({1: PLAN})
    assert book.find(1, MIKROTIK) is book.find(1, MIKROTIK)
    assert book.find(1, CISCO) is not book.find(1, MIKROTIK)
    assert book.find(2, MIKROTIK) is None


def test_a_services_own_attribute_replaces_the_plans() -> None:
    own_rate = vendor_attribute(14988, 8, b"1M/2M")
    own = own_attributes(own_rate + integer_attribute(28, 60) + attribute(11, b"chain"), MIKROTIK.vendors)
    assert own.octets == own_rate + integer_attribute(28, 60) + attribute(11, b"chain")
    assert PlanReply(PLAN, MIKROTIK).without(own.kinds) == INTERIM


def test_one_setting_of_cisco_does_not_replace_another() -> None:
    download = vendor_attribute(9, 1, b"lcp:interface-config#1=rate-limit output 1 2 3")
    own = own_attributes(vendor_attribute(9, 1, b"ip:addr-pool=main"), CISCO.vendors)
    assert PlanReply(PLAN, CISCO).without(own.kinds) == PlanReply(PLAN, CISCO).untimed
    own = own_attributes(download, CISCO.vendors)
    kept = PlanReply(PLAN, CISCO).without(own.kinds)
    assert b"rate-limit output" not in kept
    assert b"rate-limit input" in kept


def test_a_vendors_attribute_goes_only_to_its_own_nas() -> None:
    octets = (
        vendor_attribute(14988, 19, b"list") + vendor_attribute(14122, 7, bytes(4)) + vendor_attribute(9, 1, b"a=b")
    )
    assert own_attributes(octets, CISCO.vendors).octets == vendor_attribute(9, 1, b"a=b")
    assert own_attributes(octets, MIKROTIK.vendors).octets == octets[: -len(vendor_attribute(9, 1, b"a=b"))]
    assert own_attributes(octets, PROFILES["generic"].vendors).octets == octets


def test_what_is_ours_cannot_be_replaced() -> None:
    ours = b"".join(attribute(kind, bytes(16)) for kind in (2, 3, 24, 25, 33, 79, 80))
    assert own_attributes(ours + attribute(11, b"x"), None).octets == attribute(11, b"x")


def test_an_interim_interval_below_a_minute_is_never_sent() -> None:
    own = own_attributes(integer_attribute(85, 59), None)
    assert own.octets == b""
    assert PlanReply(PLAN, MIKROTIK).without(own.kinds) == PlanReply(PLAN, MIKROTIK).untimed
    assert own_attributes(integer_attribute(85, 60), None).octets == integer_attribute(85, 60)


def test_a_service_without_attributes_of_its_own_has_nothing_of_its_own() -> None:
    assert own_attributes(b"", None) == NOTHING_OWN


def test_a_session_timeout_of_the_services_own_is_a_bound_among_others() -> None:
    own = own_attributes(integer_attribute(27, 120), None)
    assert own.session_timeout_seconds == 120
    assert own.octets == b""


def test_an_address_of_the_services_own_stands_for_a_lease() -> None:
    assert own_attributes(attribute(8, b"\xff\xff\xff\xfe"), None).supplied == {PoolKind.IPV4}
    assert own_attributes(attribute(88, b"nas-pool"), None).supplied == {PoolKind.IPV4}
    assert own_attributes(attribute(100, b"nas-pool"), None).supplied == {PoolKind.IPV6_PREFIX}
    assert own_attributes(attribute(171, b"nas-pool"), None).supplied == {PoolKind.DELEGATED_PREFIX}


def test_termination_action_asks_the_nas_to_come_back() -> None:
    assert own_attributes(integer_attribute(29, 1), None).asks_back
    assert not own_attributes(integer_attribute(29, 0), None).asks_back


def test_addresses_of_both_families_are_framed() -> None:
    assert framed_address("100.64.0.9") == attribute(8, bytes((100, 64, 0, 9)))
    assert framed_address("2001:db8::1") == attribute(168, bytes.fromhex("20010db8000000000000000000000001"))


def test_a_prefix_has_as_many_octets_as_it_needs() -> None:
    assert framed_prefix(PoolKind.IPV6_PREFIX, "2001:db8:0:5::/64") == attribute(
        97, bytes.fromhex("0040 20010db800000005")
    )
    assert framed_prefix(PoolKind.DELEGATED_PREFIX, "2001:db8:0:fffc::/62") == attribute(
        123, b"\x00\x3e" + bytes.fromhex("20010db80000fffc")
    )
    assert framed_prefix(PoolKind.DELEGATED_PREFIX, "2001:db8:500::/40") == attribute(
        123, bytes.fromhex("0028 20010db805")
    )


def test_only_a_ppp_request_is_framed_as_ppp() -> None:
    assert framing(named("alice", integer_attribute(7, 1))) == integer_attribute(6, 2) + integer_attribute(7, 1)
    assert framing(named("alice")) == b""


LINE = of_plan(PLAN)
SLOWED = LINE._replace(download=2_000_000, upload=1_000_000)
WALLED = SLOWED._replace(walled=True, address_list="unpaid", pool="garden")
OWN = own_attributes(
    vendor_attribute(14988, 8, b"50M/50M") + vendor_attribute(14988, 3, b"gold") + attribute(8, bytes((10, 0, 0, 8))),
    MIKROTIK.vendors,
)


def test_an_entitlement_gives_what_its_plan_gives_where_no_rule_changed_it() -> None:
    reply = entitled_reply(LINE, PLAN, NOTHING_OWN, MIKROTIK)
    assert reply.octets == PlanReply(PLAN, MIKROTIK).untimed
    assert reply.session_timeout_seconds == 3600


def test_a_services_own_goes_before_the_plan_but_not_before_a_rule() -> None:
    assert entitled_reply(LINE, PLAN, OWN, MIKROTIK).octets == PlanReply(PLAN, MIKROTIK).without(OWN.kinds) + OWN.octets
    slowed = read(entitled_reply(SLOWED, PLAN, OWN, MIKROTIK).octets)
    assert [value for vendor, kind, value in slowed if (vendor, kind) == (14988, 8)] == [b"1M/2M"]
    assert (14988, 3, b"gold") in slowed
    assert (0, 8, bytes((10, 0, 0, 8))) in slowed


def test_the_gardens_pool_replaces_an_address_of_the_services_own() -> None:
    walled = read(entitled_reply(WALLED, PLAN, OWN, MIKROTIK).octets)
    assert (0, 88, b"garden") in walled
    assert (0, 8, bytes((10, 0, 0, 8))) not in walled
    assert (14988, 3, b"gold") in walled


def test_timers_of_the_plans_own_attributes_go_before_its_keys() -> None:
    own = (("Acct-Interim-Interval", "120"), ("Idle-Timeout", "60"), ("Session-Timeout", "900"))
    reply = entitled_reply(LINE._replace(attributes=own), PLAN, NOTHING_OWN, MIKROTIK)
    assert reply.octets == RATE + integer_attribute(85, 120) + integer_attribute(28, 60)
    assert reply.session_timeout_seconds == 900
    short = (("Acct-Interim-Interval", "30"),)
    assert INTERIM in entitled_reply(LINE._replace(attributes=short), PLAN, NOTHING_OWN, MIKROTIK).octets


def test_a_session_may_last_longer_than_three_octets_tell() -> None:
    endless = replace(PLAN, session_timeout_seconds=None)
    line = LINE._replace(attributes=(("Session-Timeout", "20000000"),))
    assert entitled_reply(line, endless, NOTHING_OWN, MIKROTIK).session_timeout_seconds == 20_000_000


def test_a_crossing_puts_both_words_of_its_limit_into_the_answer() -> None:
    line = LINE._replace(octets_left=2**32, left_direction=Direction.DOWN)
    told = read(entitled_reply(line, PLAN, NOTHING_OWN, MIKROTIK, crossing=Crossing(2**32, stops=True)).octets)
    beyond = 45 * 20_000_000 // 8
    assert (14988, 2, beyond.to_bytes(4)) in told
    assert (14988, 15, (1).to_bytes(4)) in told
