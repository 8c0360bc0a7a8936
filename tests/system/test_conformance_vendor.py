"""Group E: what routers of each make are told, and how vendors' attributes are laid out."""

from __future__ import annotations

import struct

import pytest

from radius.codes import Code, Type, Vendor
from radius.packet import attribute, vendor_attribute
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import RadiusClient, text

SECRET = "hush-vendors"
PROFILES = ("generic", "mikrotik", "wispr", "cisco", "juniper", "huawei", "accel-ppp")
ANA, FORMS, TAGS, MANY = ("e-ana", "hush-ana"), ("e-forms", "hush-forms"), ("e-tags", "hush-tags"), ("e-many", "hush-m")
LONG = "x" * 250
WIMAX_SECRET_LESS = "0x" + "ab" * 250

ISP = (
    "".join(
        f'[[router]]\nname = "e-{profile}"\naddress = "127.0.9.{place}"\nsecret = "{SECRET}"\nprofile = "{profile}"\n'
        for place, profile in enumerate(PROFILES, 1)
    )
    + f"""
[[plan]]
name = "e"
download = "20M"
upload = "1500k"
[[plan]]
name = "e-unlimited"
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "e"
[[service]]
login = "{FORMS[0]}"
password = "{FORMS[1]}"
plan = "e-unlimited"
[service.attributes]
"SN-VPN-Name" = "two and two"
"Lucent-Max-Shared-Users" = 5
"USR-Last-Number-Dialed-Out" = "four and none"
"WiMAX-AAA-Session-Id" = "{WIMAX_SECRET_LESS}"
"Mikrotik-Group" = "one and one"
[[service]]
login = "{TAGS[0]}"
password = "{TAGS[1]}"
plan = "e-unlimited"
[service.attributes]
"Tunnel-Type" = "VLAN"
"Tunnel-Private-Group-Id" = "100"
[[service]]
login = "{MANY[0]}"
password = "{MANY[1]}"
plan = "e"
[service.attributes]
"Mikrotik-Group" = "gold"
"Cisco-AVPair" = ["ip:addr-pool=gold", "ip:inacl#1=permit ip any any"]
"Filter-Id" = "gold"
"Framed-Pool" = "gold"
"""
)


@pytest.fixture
def generic(nas: NasFactory) -> RadiusClient:
    return nas("127.0.9.1", SECRET)


def of_profile(nas: NasFactory, profile: str) -> RadiusClient:
    return nas(f"127.0.9.{PROFILES.index(profile) + 1}", SECRET)


def vendor_specifics(client: RadiusClient, login: tuple[str, str]) -> list[bytes]:
    """Return the whole Vendor-Specific attributes of an Access-Accept."""
    reply = client.login(*login)
    assert reply.code == Code.ACCESS_ACCEPT
    return [attribute(Type.VENDOR_SPECIFIC, value) for value in reply.packet.all(Type.VENDOR_SPECIFIC)]


def test_e1_each_vendor_s_own_layout_of_sub_attributes_is_sent(generic: RadiusClient) -> None:
    sent = vendor_specifics(generic, FORMS)
    starent = struct.pack("!IHH", 8164, 2, 15) + b"two and two"
    lucent = struct.pack("!IHBI", 4846, 2, 7, 5)
    usr = struct.pack("!II", 429, 0x66) + b"four and none"
    first = struct.pack("!IBBB", 24757, 4, 249, 0x80) + b"\xab" * 246
    second = struct.pack("!IBBB", 24757, 4, 7, 0) + b"\xab" * 4

    assert sent == [
        *(attribute(Type.VENDOR_SPECIFIC, value) for value in (starent, lucent, usr, first, second)),
        vendor_attribute(Vendor.MIKROTIK, 3, b"one and one"),
    ]


def test_e2_a_tagged_attribute_has_its_tag_in_front(generic: RadiusClient) -> None:
    """RFC 2868 §3: without a tag of its own an integer has 0 there; text may leave it out, for "1" is above 0x1F."""
    packet = generic.login(*TAGS).packet

    assert packet.get(64) == b"\x00\x00\x00\x0d"
    assert packet.get(81) == b"100"


@pytest.mark.parametrize(
    "line",
    [
        f'"Mikrotik-Group" = "{LONG}"',
        f'"Reply-Message" = "{LONG}{LONG}"',
        f'"Cisco-AVPair" = ["fine", "{LONG}"]',
    ],
    ids=["vendor's", "standard", "one of several"],
)
def test_e3_a_value_too_long_for_its_attribute_is_refused_never_cut(daemon: DaemonProcess, line: str) -> None:
    path = daemon.data / "oversized.toml"
    path.write_text(
        f'[[service]]\nlogin = "e-long"\npassword = "hush-long"\nplan = "e"\n[service.attributes]\n{line}\n'
    )

    assert "oversized.toml:6" in daemon.caudal("apply", str(path), expect=1)
    assert daemon.query("SELECT id FROM service WHERE login = 'e-long'") == []


def vendors_in(sent: list[bytes]) -> set[int]:
    return {int.from_bytes(each[2:6]) for each in sent}


def test_e4_only_attributes_of_the_router_s_own_vendor_are_sent(nas: NasFactory) -> None:
    sent = {profile: vendors_in(vendor_specifics(of_profile(nas, profile), MANY)) for profile in PROFILES}

    assert sent == {
        "generic": {Vendor.MIKROTIK, Vendor.CISCO},
        "mikrotik": {Vendor.MIKROTIK},
        "wispr": {Vendor.WISPR},
        "cisco": {Vendor.CISCO},
        "juniper": {Vendor.JUNIPER_ERX},
        "huawei": {Vendor.HUAWEI},
        "accel-ppp": {Vendor.MIKROTIK, Vendor.CISCO},
    }


def test_e4_standard_attributes_go_to_every_router_once(nas: NasFactory) -> None:
    """Also where the plan would say the same by itself, as accel-ppp's Filter-Id does."""
    for profile in PROFILES:
        packet = of_profile(nas, profile).login(*MANY).packet
        assert (packet.all(Type.FILTER_ID), packet.all(Type.FRAMED_POOL)) == ([b"gold"], [b"gold"])


def word(vendor: int, kind: int, value: int) -> bytes:
    return vendor_attribute(vendor, kind, value.to_bytes(4))


def police(direction: str, rate: int) -> bytes:
    burst = rate * 3 // 16
    limit = f"{rate} {burst} {2 * burst} conform-action transmit exceed-action drop"
    return vendor_attribute(Vendor.CISCO, 1, f"lcp:interface-config#1=rate-limit {direction} {limit}".encode())


RATES = {
    "generic": [],
    "mikrotik": [vendor_attribute(Vendor.MIKROTIK, 8, b"1500k/20M")],
    "wispr": [word(Vendor.WISPR, 7, 1_500_000), word(Vendor.WISPR, 8, 20_000_000)],
    "cisco": [police("output", 20_000_000), police("input", 1_500_000)],
    "juniper": [vendor_attribute(Vendor.JUNIPER_ERX, 65, b"\x01svc-internet(20000000,1500000)")],
    "huawei": [
        word(Vendor.HUAWEI, 2, 1_500_000),
        word(Vendor.HUAWEI, 3, 1_500_000),
        word(Vendor.HUAWEI, 5, 20_000_000),
        word(Vendor.HUAWEI, 6, 20_000_000),
    ],
    "accel-ppp": [],
}


@pytest.mark.parametrize("profile", PROFILES)
def test_e5_each_profile_is_told_the_rates_in_its_own_attributes(nas: NasFactory, profile: str) -> None:
    """Mikrotik-Rate-Limit is the router's rx/tx: the subscriber's upload comes first."""
    client = of_profile(nas, profile)

    assert vendor_specifics(client, ANA) == RATES[profile]
    expected = [b"20000/1500"] if profile == "accel-ppp" else []
    assert client.login(*ANA).packet.all(Type.FILTER_ID) == expected


def test_framed_service_is_told_to_a_ppp_request_alone(generic: RadiusClient) -> None:
    ppp = text(Type.FRAMED_PROTOCOL, b"\0\0\0\1")

    assert generic.login(*ANA, ppp).packet.integer(Type.FRAMED_PROTOCOL) == 1
    assert generic.login(*ANA).packet.get(Type.FRAMED_PROTOCOL) is None
