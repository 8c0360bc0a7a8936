"""Group I: IPv6 on the wire, and the IPv6 of subscribers. The daemon listens on `::`."""

from __future__ import annotations

import json
import os
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest

from radius.codes import AcctStatus, Code, Type
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import RadiusClient, text

SECRET = "hush-ipv6"
SOURCE, TOWER = "127.0.7.1", "127.0.7.130"
ANA, FIXED, LEASED = ("i-ana", "hush-ana"), ("i-fixed", "hush-fixed"), ("i-leased", "hush-leased")
ISP = f"""
[[router]]
name = "i-four"
address = "{SOURCE}"
secret = "{SECRET}"
[[router]]
name = "i-six"
address = "::1"
secret = "{SECRET}-6"
[[router]]
name = "i-tower"
address = "127.0.7.128/28"
secret = "{SECRET}"
[[pool]]
name = "i-links"
kind = "ipv6-prefix"
range = "2001:db8:1::/48"
[[pool]]
name = "i-homes"
kind = "delegated-prefix"
range = "2001:db8:8000::/36"
prefix_length = 52
[[plan]]
name = "i"
[[plan]]
name = "i-leased"
ipv6_pool = "i-links"
delegated_pool = "i-homes"
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "i"
[[service]]
login = "{LEASED[0]}"
password = "{LEASED[1]}"
plan = "i-leased"
[[service]]
login = "{FIXED[0]}"
password = "{FIXED[1]}"
plan = "i"
[service.attributes]
"Framed-IPv6-Address" = ["2001:db8::5", "2001:db8::6"]
"DNS-Server-IPv6-Address" = ["2001:db8::53", "2001:db8::54"]
"Delegated-IPv6-Prefix-Pool" = ["homes", "spare"]
"Stateful-IPv6-Address-Pool" = ["hosts", "others"]
"Framed-IPv6-Prefix" = "2001:db8:7::/64"
"Delegated-IPv6-Prefix" = "2001:db8:8::/56"
"""


@pytest.fixture(scope="module")
def daemon(dual_stack_daemon: DaemonProcess) -> DaemonProcess:
    dual_stack_daemon.provision(ISP)
    return dual_stack_daemon


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def session_id() -> str:
    return os.urandom(8).hex()


def shown(daemon: DaemonProcess, session: str) -> list[tuple[str, str]]:
    """Return the IPv6 attributes of a session as `caudal session show` tells them."""
    ((number,),) = daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session)
    item: dict[str, Any] = json.loads(daemon.caudal("session", "show", str(number), "--json"))
    return [(entry["attribute"], entry["value"]) for entry in item["ipv6"]]


def stored(daemon: DaemonProcess, session: str) -> list[tuple[int, bytes]]:
    ((document,),) = daemon.query("SELECT ipv6 FROM session WHERE acct_session_id = %s", session)
    return [(kind, bytes.fromhex(value)) for kind, value in document or ()]


def test_v13_over_ipv6_the_answer_leaves_from_the_address_that_was_asked(nas: NasFactory) -> None:
    router = nas("::1", f"{SECRET}-6", server="::1")

    assert router.login(*ANA).code == Code.ACCESS_ACCEPT
    router.account(router.record(AcctStatus.START, session_id()))


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.7.200"])
def test_v13_a_dual_stack_socket_answers_ipv4_from_the_address_that_was_asked(nas: NasFactory, server: str) -> None:
    router = nas(SOURCE, SECRET, server=server)

    assert router.login(*ANA).code == Code.ACCESS_ACCEPT
    router.account(router.record(AcctStatus.START, session_id()))


def test_i1_nas_ipv6_address_alone_identifies_a_nas(router: RadiusClient, nas: NasFactory) -> None:
    address = text(Type.NAS_IPV6_ADDRESS, IPv6Address("2001:db8::1").packed)

    assert router.login(*ANA, address).code == Code.ACCESS_ACCEPT


def test_i1_boxes_behind_one_router_entry_are_told_apart_by_nas_ipv6_address_unless_it_is_link_local(
    nas: NasFactory, daemon: DaemonProcess
) -> None:
    tower = nas(TOWER, SECRET)
    session = session_id()
    for address in ("2001:db8::a", "2001:db8::b", "fe80::1", "febf::2"):
        told = text(Type.NAS_IPV6_ADDRESS, IPv6Address(address).packed)
        tower.account(tower.record(AcctStatus.START, session, told))
    tower.account(tower.record(AcctStatus.START, session, text(Type.NAS_IPV6_ADDRESS, b"short")))

    boxes = daemon.query("SELECT nas FROM session WHERE acct_session_id = %s ORDER BY nas", session)
    assert boxes == [(TOWER,), ("2001:db8::a",), ("2001:db8::b",)]


PREFIXES = [Type.FRAMED_IPV6_PREFIX, Type.DELEGATED_IPV6_PREFIX]


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (b"\x00\x00", "::/0"),
        (b"\x00\x20\x20\x01\x0d\xb8", "2001:db8::/32"),
        (b"\x00\x40\x20\x01\x0d\xb8", "2001:db8::/64"),
        (b"\x00\x38" + IPv6Address("2001:db8:0:ff00::").packed[:7], "2001:db8:0:ff00::/56"),
        (b"\x00\x80" + IPv6Address("2001:db8::1").packed, "2001:db8::1/128"),
    ],
    ids=["no octets", "4 octets", "shorter than its length", "7 octets", "16 octets"],
)
def test_i2_prefixes_of_every_valid_length_are_stored(
    router: RadiusClient, daemon: DaemonProcess, kind: Type, value: bytes, meaning: str
) -> None:
    session = session_id()
    assert router.login(*ANA, text(kind, value)).code == Code.ACCESS_ACCEPT
    router.account(router.record(AcctStatus.START, session, text(kind, value)))

    assert stored(daemon, session) == [(kind, value)]
    assert [prefix for _, prefix in shown(daemon, session)] == [meaning]


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize(
    "value",
    [b"", b"\x00", b"\x00\x81" + bytes(16), b"\x00\xff", b"\x00\x40" + bytes(17)],
    ids=["empty", "1 octet", "length 129", "length 255", "19 octets"],
)
def test_i2_prefixes_of_a_wrong_size_are_ignored_and_the_packet_is_kept(
    router: RadiusClient, daemon: DaemonProcess, kind: Type, value: bytes
) -> None:
    session = session_id()
    assert router.login(*ANA, text(kind, value)).code == Code.ACCESS_ACCEPT
    router.account(router.record(AcctStatus.START, session, text(kind, value)))

    assert stored(daemon, session) == []


REPEATED = [
    (Type.FRAMED_IPV6_ADDRESS, IPv6Address("2001:db8::5").packed),
    (Type.FRAMED_IPV6_ADDRESS, IPv6Address("2001:db8::6").packed),
    (Type.DNS_SERVER_IPV6_ADDRESS, IPv6Address("2001:db8::53").packed),
    (Type.DNS_SERVER_IPV6_ADDRESS, IPv6Address("2001:db8::54").packed),
    (Type.DELEGATED_IPV6_PREFIX_POOL, b"homes"),
    (Type.DELEGATED_IPV6_PREFIX_POOL, b"spare"),
    (Type.STATEFUL_IPV6_ADDRESS_POOL, b"hosts"),
    (Type.STATEFUL_IPV6_ADDRESS_POOL, b"others"),
]


def test_i3_the_attributes_of_rfc_6911_are_sent_as_often_as_they_are_given(router: RadiusClient) -> None:
    reply = router.login(*FIXED)

    assert [pair for pair in reply.packet.attributes() if pair in REPEATED] == REPEATED
    assert reply.packet.get(Type.FRAMED_IPV6_PREFIX) == b"\x00\x40" + IPv6Address("2001:db8:7::").packed
    assert reply.packet.get(Type.DELEGATED_IPV6_PREFIX) == b"\x00\x38" + IPv6Address("2001:db8:8::").packed


def test_i3_the_attributes_of_rfc_6911_are_stored_as_often_as_they_come(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    router.account(router.record(AcctStatus.START, session, *(text(kind, value) for kind, value in REPEATED)))

    assert stored(daemon, session) == REPEATED
    assert shown(daemon, session)[0] == ("Framed-IPv6-Address", "2001:db8::5")
    assert shown(daemon, session)[4:6] == [
        ("Delegated-IPv6-Prefix-Pool", "homes"),
        ("Delegated-IPv6-Prefix-Pool", "spare"),
    ]


def test_i4_ipv6_that_arrives_with_an_interim_updates_the_session(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    prefix = text(Type.DELEGATED_IPV6_PREFIX, b"\x00\x38" + IPv6Address("2001:db8:44::").packed[:7])
    router.account(router.record(AcctStatus.START, session, login=ANA[0]))
    router.account(router.record(AcctStatus.INTERIM, session, login=ANA[0], seconds=60, up=1, down=1))
    assert stored(daemon, session) == []

    router.account(router.record(AcctStatus.INTERIM, session, prefix, login=ANA[0], seconds=120, up=2, down=2))
    assert shown(daemon, session) == [("Delegated-IPv6-Prefix", "2001:db8:44::/56")]

    router.account(router.record(AcctStatus.INTERIM, session, login=ANA[0], seconds=180, up=3, down=3))
    assert shown(daemon, session) == [("Delegated-IPv6-Prefix", "2001:db8:44::/56")]


def test_a_session_with_ipv6_alone_is_counted_and_shown_by_its_prefix(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    prefix = text(Type.FRAMED_IPV6_PREFIX, b"\x00\x40" + IPv6Address("2001:db8:66::").packed)
    router.account(router.record(AcctStatus.START, session, prefix, login=FIXED[0]))
    router.account(router.record(AcctStatus.INTERIM, session, login=FIXED[0], seconds=60, up=5, down=6))

    (item,) = daemon.listing("session", "list", "--login", FIXED[0])
    assert (item["address"], item["octets_up"], item["octets_down"]) == (None, 5, 6)
    assert "2001:db8:66::/64" in daemon.caudal("session", "list", "--login", FIXED[0])
    told = daemon.caudal("usage", FIXED[0], "--json")
    assert (json.loads(told)["octets_up"], json.loads(told)["octets_down"]) == (5, 6)


def test_a_prefix_and_a_delegated_prefix_are_leased_and_kept(router: RadiusClient) -> None:
    def prefixes(mac: str) -> list[IPv6Network]:
        packet = router.login(*LEASED, text(Type.CALLING_STATION_ID, mac)).packet
        values = [packet.get(kind) for kind in PREFIXES]
        return [IPv6Network(((value or b"")[2:].ljust(16, b"\0"), (value or b"00")[1])) for value in values]

    first, second = prefixes("02:00:00:07:00:01"), prefixes("02:00:00:07:00:02")

    assert prefixes("02:00:00:07:00:01") == first
    assert not any(one.overlaps(other) for one, other in zip(first, second, strict=True))
    assert [prefix.prefixlen for prefix in first] == [64, 52]
    assert first[0].subnet_of(IPv6Network("2001:db8:1::/48"))
    assert first[1].subnet_of(IPv6Network("2001:db8:8000::/36"))
