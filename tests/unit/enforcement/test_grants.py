"""What a NAS is told of an entitlement, and what of it can be changed while a session is open."""

from __future__ import annotations

import pytest

from enforcement.entitlement import Entitlement
from enforcement.grants import change, differences, grant, is_fenced, session_timeout
from enforcement.profiles import PROFILES, Aspect
from radius.codes import Vendor
from radius.packet import attribute, integer_attribute, vendor_attribute
from tests.unit.enforcement.entitled import UNLIMITED, entitled, read, read_parts

FAST = entitled(20_000_000, 10_000_000)
SLOW = entitled(2_000_000, 1_000_000)
GARDEN = entitled(64_000, 64_000, walled=True, address_list="unpaid", pool="garden", redirect_url="https://pay.example")
LISTED = FAST._replace(address_list="home")
MIKROTIK = PROFILES["mikrotik"]


def rate_limit(text: str) -> bytes:
    return vendor_attribute(Vendor.MIKROTIK, 8, text.encode())


def told(entitlement: Entitlement, profile: str) -> list[tuple[int, int, bytes]]:
    return read_parts(grant(entitlement, PROFILES[profile], login="alice", plan="home"))


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_an_unlimited_line_is_told_nothing_at_login(profile: str) -> None:
    assert told(UNLIMITED, profile) == []


def test_a_walled_garden_is_fenced_as_each_nas_can() -> None:
    pool = (0, 88, b"garden")
    redirect = (Vendor.WISPR, 4, b"https://pay.example")
    assert told(GARDEN, "mikrotik") == [(14988, 8, b"64k/64k"), (14988, 19, b"unpaid"), pool, redirect]
    assert told(GARDEN, "wispr")[2:] == [pool, redirect]
    assert told(GARDEN, "generic") == [pool, redirect]
    assert told(GARDEN, "accel-ppp") == [(0, 11, b"64/64"), pool]
    for profile in ("cisco", "juniper", "huawei"):
        assert told(GARDEN, profile)[-1] == pool


def test_a_priority_alone_is_worth_a_rate_limit() -> None:
    assert told(UNLIMITED._replace(priority=2), "mikrotik") == [(14988, 8, b"0/0 0/0 0/0 0/0 2")]


def test_a_plans_own_attributes_are_filled_in_and_encoded_by_the_dictionary() -> None:
    own = (
        ("Filter-Id", "{plan}-{download_kbit}"),
        ("Mikrotik-Mark-Id", "{login}"),
        ("Port-Limit", "2"),
        ("Cisco-AVPair", "a=b"),
    )
    line = FAST._replace(attributes=own)
    assert told(line, "mikrotik") == [
        (14988, 8, b"10M/20M"),
        (0, 11, b"home-20000"),
        (14988, 11, b"alice"),
        (0, 62, (2).to_bytes(4)),
    ]
    assert (9, 1, b"a=b") in told(line, "generic")


def test_a_plans_own_rate_goes_before_ours() -> None:
    line = FAST._replace(attributes=(("Mikrotik-Rate-Limit", "{upload}/{download} 0/0 0/0 0/0 1"),))
    assert told(line, "mikrotik") == [(14988, 8, b"10000000/20000000 0/0 0/0 0/0 1")]


@pytest.mark.parametrize(
    ("profile", "own", "kept"),
    [
        ("mikrotik", ("Mikrotik-Address-List", "vip"), False),
        ("mikrotik", ("Mikrotik-Rate-Limit", "100M/100M"), False),
        ("mikrotik", ("Framed-Pool", "public"), False),
        ("wispr", ("WISPr-Redirection-URL", "https://news.example"), False),
        ("accel-ppp", ("Filter-Id", "100000/100000"), False),
        ("mikrotik", ("Port-Limit", "2"), True),
    ],
)
def test_a_plans_own_attributes_do_not_lead_out_of_the_walled_garden(
    profile: str, own: tuple[str, str], kept: bool
) -> None:
    garden = told(GARDEN, profile)
    walled = told(GARDEN._replace(attributes=(own,)), profile)
    assert walled[: len(garden)] == garden
    assert (len(walled) > len(garden)) is kept
    line = FAST._replace(attributes=(own,))
    back = change(line, GARDEN._replace(attributes=(own,)), PROFILES[profile])
    assert back is None or back != b""


def test_an_attribute_about_what_the_line_has_not_is_left_out() -> None:
    assert told(UNLIMITED._replace(attributes=(("Filter-Id", "{download}"),)), "generic") == []


def test_what_belongs_to_the_protocol_is_nobodys_to_give() -> None:
    assert told(UNLIMITED._replace(attributes=(("Class", "0x00"), ("State", "0x00"))), "generic") == []


def test_a_session_policy_of_the_plans_own_stands_for_policing_the_interface() -> None:
    both = (
        ("Cisco-AVPair", "ip:sub-qos-policy-out=down-{download_kbit}"),
        ("Cisco-AVPair", "ip:sub-qos-policy-in=up-{upload_kbit}"),
        ("Cisco-AVPair", "ip:inacl=101"),
    )
    assert [value for _, _, value in told(FAST._replace(attributes=both), "cisco")] == [
        b"ip:sub-qos-policy-out=down-20000",
        b"ip:sub-qos-policy-in=up-10000",
        b"ip:inacl=101",
    ]
    (police, *_) = told(FAST._replace(attributes=both[:1]), "cisco")
    assert police[2].startswith(b"lcp:interface-config#1=rate-limit input")


@pytest.mark.parametrize(
    ("profile", "octets"),
    [
        ("mikrotik", rate_limit("1M/2M")),
        ("accel-ppp", attribute(11, b"2000/1000")),
        (
            "juniper",
            vendor_attribute(Vendor.JUNIPER_ERX, 66, b"svc-internet(20000000,10000000)")
            + vendor_attribute(Vendor.JUNIPER_ERX, 65, b"\x01svc-internet(2000000,1000000)"),
        ),
        (
            "huawei",
            b"".join(
                vendor_attribute(Vendor.HUAWEI, kind, rate.to_bytes(4))
                for kind, rate in ((2, 1_000_000), (3, 1_000_000), (5, 2_000_000), (6, 2_000_000))
            ),
        ),
        ("cisco", None),
        ("wispr", None),
        ("generic", b""),
    ],
)
def test_another_rate_is_told_where_the_nas_takes_one(profile: str, octets: bytes | None) -> None:
    assert change(SLOW, FAST, PROFILES[profile]) == octets


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("line", [FAST, SLOW, GARDEN, UNLIMITED])
def test_what_does_not_change_is_not_told(profile: str, line: Entitlement) -> None:
    assert change(line, line, PROFILES[profile]) == b""
    assert differences(line, line, PROFILES[profile]) == frozenset()


@pytest.mark.parametrize(
    ("profile", "octets"),
    [
        ("mikrotik", rate_limit("0/0")),
        ("accel-ppp", attribute(11, b"0/0")),
        ("huawei", None),
        ("wispr", None),
    ],
)
def test_a_limit_is_lifted_where_the_nas_has_a_word_for_it(profile: str, octets: bytes | None) -> None:
    assert change(UNLIMITED, FAST, PROFILES[profile]) == octets


def test_routeros_takes_no_address_list_and_no_pool_by_coa() -> None:
    assert change(GARDEN, FAST, MIKROTIK) is None
    assert change(FAST, GARDEN, MIKROTIK) is None
    assert change(LISTED, FAST, MIKROTIK) is None
    assert differences(GARDEN, FAST, MIKROTIK) == {Aspect.RATES, Aspect.ADDRESS_LIST, Aspect.POOL, Aspect.REDIRECT}


def test_what_the_api_carries_needs_no_disconnect() -> None:
    walled = SLOW._replace(address_list="unpaid")
    assert change(walled, FAST, MIKROTIK, elsewhere=frozenset({Aspect.ADDRESS_LIST})) == rate_limit("1M/2M")
    assert change(FAST, walled, MIKROTIK, elsewhere=frozenset({Aspect.ADDRESS_LIST})) == rate_limit("10M/20M")


def test_an_address_list_means_nothing_to_other_routers() -> None:
    assert change(LISTED, FAST, PROFILES["accel-ppp"]) == b""


def test_a_state_nobody_knows_is_replaced_only_where_all_of_it_can_be() -> None:
    assert change(SLOW, None, MIKROTIK) is None
    everything = MIKROTIK.told() - {Aspect.RATES}
    assert change(SLOW, None, MIKROTIK, elsewhere=everything) == rate_limit("1M/2M")
    assert differences(SLOW, None, MIKROTIK) == MIKROTIK.told()


def test_only_listed_attributes_of_a_plans_own_change_in_an_open_session() -> None:
    marked = FAST._replace(attributes=(("Mikrotik-Mark-Id", "{download}"),))
    moved = FAST._replace(attributes=(("Mikrotik-Wireless-Comment", "{download}"),))
    assert change(marked._replace(download=30_000_000), marked, MIKROTIK) == rate_limit("10M/30M") + vendor_attribute(
        Vendor.MIKROTIK, 11, b"30000000"
    )
    assert change(moved._replace(download=30_000_000), moved, MIKROTIK) is None
    assert change(FAST, marked, MIKROTIK) is None, "no CoA takes an attribute back"


def test_a_session_policy_can_be_exchanged() -> None:
    policy = (
        ("Cisco-AVPair", "ip:sub-qos-policy-out=down-{download_kbit}"),
        ("Cisco-AVPair", "ip:sub-qos-policy-in=up-{upload_kbit}"),
    )
    octets = change(SLOW._replace(attributes=policy), FAST._replace(attributes=policy), PROFILES["cisco"])
    assert octets is not None
    assert [value for _, _, value in read(octets)] == [
        b"ip:sub-qos-policy-out=down-2000",
        b"ip:sub-qos-policy-in=up-1000",
    ]


def test_a_garden_that_the_nas_does_not_know_needs_a_disconnect() -> None:
    walled = SLOW._replace(walled=True, address_list="unpaid")
    assert change(walled, SLOW, PROFILES["accel-ppp"]) is None
    assert change(walled, SLOW, PROFILES["generic"]) is None
    acl = (("Cisco-AVPair", "ip:inacl={address_list}"),)
    assert is_fenced(walled._replace(attributes=acl), None, PROFILES["cisco"])
    assert not is_fenced(walled, None, PROFILES["cisco"])
    assert not is_fenced(walled._replace(address_list="home"), "home", MIKROTIK)
    assert is_fenced(walled, "home", MIKROTIK)


def test_a_session_timeout_is_never_zero() -> None:
    assert session_timeout(0) == session_timeout(-5) == integer_attribute(27, 1)
    assert session_timeout(None) == b""
    assert session_timeout(2**40) == integer_attribute(27, 2**32 - 1)
