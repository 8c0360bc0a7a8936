"""Groups M1 to M9: PAP, CHAP, MS-CHAP and MAC authentication, right and wrong."""

from __future__ import annotations

import os
import re

import pytest

from radius import mppe, mschap, pap
from radius.codes import Code, Microsoft, Type, Vendor
from tests.system.conftest import NasFactory
from tests.system.radius_client import RadiusClient, Reply, microsoft, text

SOURCE, SECRET = "127.0.6.1", "hush-methods"
ANA = ("m-ana", "hush-ana")
LONG = ("m-long", "hush-" + "0123456789" * 12)
LONGEST = ("m-longest", "hush-" + "x" * 123)
UMLAUT = ("m-contraseña", "hush-contraseña")
WINDOWS = ("WORKGROUP\\m-ana", ANA[1])
NAMED_BY_MAC, MAC_WITH_PASSWORD = "02:00:5E:06:00:01", "02:00:5E:06:00:02"

ISP = f"""
[[router]]
name = "m"
address = "{SOURCE}"
secret = "{SECRET}"
[[plan]]
name = "m"
[[service]]
login = "{NAMED_BY_MAC}"
plan = "m"
[[service]]
login = "{MAC_WITH_PASSWORD}"
password = "hush-mac"
plan = "m"
""" + "".join(
    f"""
[[service]]
login = "{login}"
password = "{password}"
plan = "m"
"""
    for login, password in (ANA, LONG, LONGEST, UMLAUT)
)


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def accepted(reply: Reply) -> bool:
    return reply.code == Code.ACCESS_ACCEPT


def refused(reply: Reply) -> bool:
    return reply.code == Code.ACCESS_REJECT


@pytest.mark.parametrize("service", [ANA, LONG, LONGEST], ids=["1 block", "8 blocks", "128 octets"])
def test_m1_pap_passwords_of_one_block_and_of_several_are_understood(
    router: RadiusClient, service: tuple[str, str]
) -> None:
    assert accepted(router.login(*service))
    assert refused(router.login(service[0], service[1][:-1]))
    assert refused(router.login(service[0], service[1][:-1] + "?"))


@pytest.mark.parametrize("octets", [0, 1, 15, 17, 100, 144, 253])
def test_m1_a_user_password_of_an_impossible_length_is_refused(router: RadiusClient, octets: int) -> None:
    odd = router.access_request(text(Type.USER_NAME, ANA[0]), text(Type.USER_PASSWORD, os.urandom(octets)))

    assert refused(router.ask(odd))


def test_m1_an_empty_password_opens_no_service_that_has_one(router: RadiusClient) -> None:
    assert refused(router.login(ANA[0], ""))


def test_m2_a_password_is_compared_by_its_octets(router: RadiusClient) -> None:
    assert accepted(router.login(*UMLAUT))
    assert refused(router.login(UMLAUT[0], UMLAUT[1].encode("latin-1")))
    assert refused(router.login(UMLAUT[0], UMLAUT[1].replace("ñ", "n\u0303")))
    assert refused(router.login(ANA[0], b"\xff\xfe\x80"))


@pytest.mark.parametrize("challenge", [None, b"", b"12345678", bytes(range(240, 256)), bytes(range(64))])
def test_m3_chap_answers_the_challenge_attribute_or_else_the_authenticator(
    router: RadiusClient, challenge: bytes | None
) -> None:
    if challenge == b"":
        # An empty attribute challenges nobody: the authenticator does.
        assert accepted(router.ask(router.chap_request(*ANA, text(Type.CHAP_CHALLENGE, b""))))
    else:
        assert accepted(router.ask(router.chap_request(*ANA, challenge=challenge)))
        assert refused(router.ask(router.chap_request(ANA[0], "wrong", challenge=challenge)))


@pytest.mark.parametrize("octets", [0, 1, 16, 18])
def test_m3_a_chap_password_that_is_not_17_octets_is_refused(router: RadiusClient, octets: int) -> None:
    odd = router.access_request(text(Type.USER_NAME, ANA[0]), text(Type.CHAP_PASSWORD, bytes(octets)))

    assert refused(router.ask(odd))


def test_m4_a_request_with_two_kinds_of_password_is_refused(router: RadiusClient) -> None:
    authenticator = os.urandom(16)
    hidden = pap.hide(ANA[1].encode(), router.secret, authenticator)
    chap = router.chap_request(*ANA)
    both = router.access_request(
        text(Type.USER_NAME, ANA[0]),
        text(Type.USER_PASSWORD, hidden),
        text(Type.CHAP_PASSWORD, bytes(17)),
        authenticator=authenticator,
    )

    assert accepted(router.ask(chap))
    assert refused(router.ask(both))


def test_m5_mschapv1_is_accepted_with_its_mppe_keys(router: RadiusClient) -> None:
    request = router.mschapv1_request(*ANA)
    reply = router.ask(request)

    assert accepted(reply)
    hidden = reply.packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP_MPPE_KEYS)
    assert hidden is not None
    assert len(hidden) == 32
    keys = pap.reveal(hidden, router.secret, request[4:20]).ljust(32, b"\0")
    assert keys == bytes(8) + mschap.hash_nt_hash(mschap.nt_hash(ANA[1].encode())) + bytes(8)


def test_m5_a_wrong_mschapv1_response_is_refused_with_an_error(router: RadiusClient) -> None:
    reply = router.ask(router.mschapv1_request(ANA[0], "wrong"))

    assert refused(reply)
    error = reply.packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP_ERROR)
    assert error is not None
    assert error[:1] == b"\x09"
    assert error[1:].startswith(b"E=691 R=0")


@pytest.mark.parametrize("flags", [0, 2, 255])
def test_m5_a_lan_manager_response_is_refused(router: RadiusClient, flags: int) -> None:
    response = mschap.response_v1(9, mschap.nt_hash(ANA[1].encode()), b"12345678")
    request = router.access_request(
        text(Type.USER_NAME, ANA[0]),
        microsoft(Microsoft.CHAP_CHALLENGE, b"12345678"),
        microsoft(Microsoft.CHAP_RESPONSE, response[:1] + bytes((flags,)) + response[2:]),
    )

    assert refused(router.ask(request))


@pytest.mark.parametrize("name", [ANA[0], WINDOWS[0]], ids=["bare name", "name with a domain"])
def test_m6_mschapv2_is_accepted_with_a_proof_of_our_own(router: RadiusClient, name: str) -> None:
    """The name is hashed without its domain, and the service is found under the bare name too."""
    challenge, peer = os.urandom(16), os.urandom(16)
    hashed = mschap.nt_hash(ANA[1].encode())
    response = mschap.response_v2(0x5A, hashed, challenge, peer, ANA[0].encode())
    reply = router.ask(
        router.access_request(
            text(Type.USER_NAME, name),
            microsoft(Microsoft.CHAP_CHALLENGE, challenge),
            microsoft(Microsoft.CHAP2_RESPONSE, response),
        )
    )

    assert accepted(reply)
    proof = mschap.success_v2(mschap.hash_nt_hash(hashed), response[26:], peer, challenge, ANA[0].encode())
    assert reply.packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP2_SUCCESS) == b"\x5a" + proof
    assert re.fullmatch(rb"S=[0-9A-F]{40}", proof)


def test_m7_a_wrong_mschapv2_response_is_refused_with_an_error(router: RadiusClient) -> None:
    replies = [router.ask(router.mschapv2_request(ANA[0], "wrong")) for _ in range(2)]
    errors = [reply.packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP_ERROR) for reply in replies]

    for reply, error in zip(replies, errors, strict=True):
        assert refused(reply)
        assert reply.packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP2_SUCCESS) is None
        assert re.fullmatch(rb"\x0bE=691 R=[01] C=[0-9A-F]{32} V=3", error or b"")
    assert errors[0] != errors[1], "each failure has a challenge of its own"


def mppe_values(reply: Reply) -> tuple[bytes, bytes]:
    """Return the values of MS-MPPE-Send-Key and MS-MPPE-Recv-Key."""
    send, receive = (
        reply.packet.vendor(Vendor.MICROSOFT, kind) for kind in (Microsoft.MPPE_SEND_KEY, Microsoft.MPPE_RECV_KEY)
    )
    assert send is not None
    assert receive is not None
    return send, receive


def test_m8_the_mppe_keys_are_those_of_the_login_seen_from_the_nas(router: RadiusClient) -> None:
    request = router.mschapv2_request(*ANA)
    values = mppe_values(router.ask(request))
    nt_response = request[request.index(b"\x19\x34") + 28 :][:24]
    keys = mppe.keys_v2(mschap.hash_nt_hash(mschap.nt_hash(ANA[1].encode())), nt_response)

    assert tuple(mppe.decrypt_key(value, router.secret, request[4:20]) for value in values) == keys


def test_m8_salts_have_their_highest_bit_set_and_are_never_the_same_in_one_packet(router: RadiusClient) -> None:
    """Equal salts in one packet reveal the difference of both keys (layeh/radius 153)."""
    pairs = [mppe_values(router.ask(router.mschapv2_request(*ANA))) for _ in range(30)]

    assert all(value[0] & 0x80 for pair in pairs for value in pair)
    assert all(send[:2] != receive[:2] for send, receive in pairs)
    assert len({send[:2] for send, _ in pairs}) > 20


@pytest.mark.parametrize("octets", [0, 8, 15, 17])
def test_m9_an_mschapv2_challenge_that_is_not_16_octets_is_refused(router: RadiusClient, octets: int) -> None:
    assert refused(router.ask(router.mschapv2_request(*ANA, challenge=bytes(octets))))


@pytest.mark.parametrize("place", [1, 18, 25], ids=["flags", "first reserved", "last reserved"])
def test_m9_mschapv2_flags_and_reserved_octets_that_are_not_zero_are_refused(router: RadiusClient, place: int) -> None:
    challenge = os.urandom(16)
    response = bytearray(
        mschap.response_v2(1, mschap.nt_hash(ANA[1].encode()), challenge, os.urandom(16), ANA[0].encode())
    )
    response[place] = 1
    request = router.access_request(
        text(Type.USER_NAME, ANA[0]),
        microsoft(Microsoft.CHAP_CHALLENGE, challenge),
        microsoft(Microsoft.CHAP2_RESPONSE, bytes(response)),
    )

    assert refused(router.ask(request))


@pytest.mark.parametrize("octets", [0, 1, 2, 49, 51])
def test_m9_an_ms_chap_response_that_is_not_50_octets_is_refused(router: RadiusClient, octets: int) -> None:
    for kind, challenge in ((Microsoft.CHAP_RESPONSE, bytes(8)), (Microsoft.CHAP2_RESPONSE, bytes(16))):
        request = router.access_request(
            text(Type.USER_NAME, ANA[0]),
            microsoft(Microsoft.CHAP_CHALLENGE, challenge),
            microsoft(kind, b"\x01" * octets),
        )
        assert refused(router.ask(request))


def test_m9_an_ms_chap_response_without_a_challenge_is_refused(router: RadiusClient) -> None:
    request = router.access_request(text(Type.USER_NAME, ANA[0]), microsoft(Microsoft.CHAP2_RESPONSE, bytes(50)))

    assert refused(router.ask(request))


NOTATIONS = ["02:00:5e:06:00:01", "02-00-5E-06-00-01", "0200.5e06.0001", "02005e060001", "1:2:0:5e:6:0:1"]


@pytest.mark.parametrize("name", NOTATIONS)
@pytest.mark.parametrize("password", ["", "the name"])
def test_a_mac_in_any_notation_opens_the_service_that_it_names(router: RadiusClient, name: str, password: str) -> None:
    """RouterOS sends an empty password or the name again, for hotspot MAC logins and for DHCP."""
    given = name if password else ""
    station = text(Type.CALLING_STATION_ID, NOTATIONS[0])

    assert accepted(router.login(name, given, station))
    assert accepted(router.ask(router.chap_request(name, given, station)))


def test_a_request_without_any_password_opens_only_a_service_named_by_its_mac(router: RadiusClient) -> None:
    def bare(name: str) -> Reply:
        return router.ask(router.access_request(text(Type.USER_NAME, name)))

    assert accepted(bare(NAMED_BY_MAC))
    assert refused(bare(MAC_WITH_PASSWORD))
    assert refused(bare(ANA[0]))


def test_a_mac_typed_by_another_station_opens_nothing(router: RadiusClient) -> None:
    assert refused(router.login(NAMED_BY_MAC, "", text(Type.CALLING_STATION_ID, MAC_WITH_PASSWORD)))


def test_eap_is_refused_with_eap_failure_and_no_reply_message_and_crashes_nothing(router: RadiusClient) -> None:
    """EAP comes later; until then it is refused as RFC 3579 §2.6.3 and §2.6.5 ask (FreeRADIUS 5061 crashed)."""
    for message in (b"\x02\x2a\x00\x0a\x01m-ana", b"\x02", b"", b"\x01\x2a\x00\x04", b"\xff" * 253):
        name = text(Type.USER_NAME, ANA[0])
        reply = router.ask(router.access_request(name, text(Type.EAP_MESSAGE, message)))

        assert refused(reply)
        identifier = message[1] if len(message) > 1 else 0
        assert reply.packet.all(Type.EAP_MESSAGE) == [bytes((4, identifier, 0, 4))]
        assert reply.packet.get(Type.REPLY_MESSAGE) is None


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"\x00", b"x" * 253, b"'; --", b'{,}\\"', "\u202e".encode()])
def test_a_user_name_of_any_octets_is_refused_and_crashes_nothing(router: RadiusClient, name: bytes) -> None:
    authenticator = os.urandom(16)
    hidden = text(Type.USER_PASSWORD, pap.hide(b"x", router.secret, authenticator))

    assert refused(router.ask(router.access_request(text(Type.USER_NAME, name), hidden, authenticator=authenticator)))
    assert refused(router.ask(router.access_request(hidden, authenticator=authenticator)))
