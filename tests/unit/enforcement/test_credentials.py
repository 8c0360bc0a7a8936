"""What proves a password."""

from __future__ import annotations

import pytest

from enforcement.credentials import Method, Proof, method_of, refusal_attributes, verify
from radius import chap, mppe, mschap, pap
from radius.packet import Packet, attribute, vendor_attribute, vendor_values
from tests.unit.enforcement.access import AUTHENTICATOR, SECRET, named, service_secret

MAC = "00:E1:0C:38:C8:F8"
CHALLENGE = bytes(range(100, 116))


def proof(packet: Packet, password: str, login: str = "alice") -> Proof:
    """Return what comes of `packet` against a service with `password`."""
    return verify(method_of(packet), packet, SECRET, service_secret(password), login).proof


def with_pap(login: str, password: bytes, *more: bytes) -> Packet:
    return named(login, attribute(2, pap.hide(password, SECRET, AUTHENTICATOR)), *more)


def with_chap(login: str, password: bytes, *more: bytes) -> Packet:
    return named(login, attribute(3, b"\x05" + chap.response(5, AUTHENTICATOR, password)), *more)


def with_mschapv2(login: str, password: str, hashed_name: bytes | None = None) -> Packet:
    name = login.encode() if hashed_name is None else hashed_name
    hashed = mschap.nt_hash(password.encode())
    response = mschap.response_v2(9, hashed, CHALLENGE, bytes(16), name)
    return named(login, vendor_attribute(311, 11, CHALLENGE), vendor_attribute(311, 25, response))


@pytest.mark.parametrize("password", ["secret", "x" * 16, "x" * 17, "x" * 128, "contraseña"])
def test_pap_proves_passwords_of_every_length(password: str) -> None:
    assert proof(with_pap("alice", password.encode()), password) is Proof.RIGHT
    assert proof(with_pap("alice", b"other"), password) is Proof.WRONG


@pytest.mark.parametrize("octets", [0, 15, 17, 144])
def test_a_user_password_of_impossible_length_is_malformed(octets: int) -> None:
    assert proof(named("alice", attribute(2, bytes(octets))), "secret") is Proof.MALFORMED


def test_a_password_is_compared_octet_by_octet() -> None:
    stored = service_secret("")[:32] + b"\xff\xfe"
    assert verify(Method.PAP, with_pap("alice", b"\xff\xfe"), SECRET, stored, "alice").proof is Proof.RIGHT


def test_chap_falls_back_to_the_request_authenticator() -> None:
    assert proof(with_chap("alice", b"secret"), "secret") is Proof.RIGHT
    assert proof(with_chap("alice", b"other"), "secret") is Proof.WRONG
    challenged = named(
        "alice", attribute(3, b"\x05" + chap.response(5, CHALLENGE, b"secret")), attribute(60, CHALLENGE)
    )
    assert proof(challenged, "secret") is Proof.RIGHT


def test_a_chap_password_that_is_not_17_octets_is_malformed() -> None:
    assert proof(named("alice", attribute(3, bytes(16))), "secret") is Proof.MALFORMED


def test_two_methods_at_once_are_refused() -> None:
    both = with_pap("alice", b"secret", attribute(3, b"\x05" + chap.response(5, AUTHENTICATOR, b"secret")))
    assert method_of(both) is Method.MIXED
    assert proof(both, "secret") is Proof.MALFORMED
    assert method_of(with_pap("alice", b"secret", attribute(79, b"\x02\x01\x00\x04"))) is Method.MIXED


@pytest.mark.parametrize("packet", [with_pap("alice", b""), with_chap("alice", b""), named("alice")])
def test_an_empty_password_never_opens_a_service_that_has_one(packet: Packet) -> None:
    assert proof(packet, "secret") is not Proof.RIGHT


@pytest.mark.parametrize("packet", [with_pap(MAC, b""), with_chap(MAC, b""), named(MAC), with_mschapv2(MAC, "")])
def test_nothing_opens_a_mac_service_that_has_a_password(packet: Packet) -> None:
    assert proof(packet, "secret", MAC) is not Proof.RIGHT


@pytest.mark.parametrize(
    "packet",
    [
        with_pap(MAC, b""),
        with_pap("00e10c38c8f8", b"00e10c38c8f8"),
        with_pap("00-e1-0c-38-c8-f8", b"00:E1:0C:38:C8:F8"),
        with_pap(MAC, b"", attribute(31, b"1:0:e1:c:38:c8:f8")),
        with_chap("00e10c38c8f8", b"00e10c38c8f8"),
        with_chap(MAC, b""),
        with_mschapv2(MAC, ""),
        named(MAC),
    ],
)
def test_a_mac_opens_a_service_without_password(packet: Packet) -> None:
    assert proof(packet, "", MAC) is Proof.RIGHT


@pytest.mark.parametrize(
    "packet",
    [
        with_pap(MAC, b"guess"),
        with_pap(MAC, b"", attribute(31, b"02:00:00:00:00:01")),
        with_chap(MAC, b"", attribute(31, b"02:00:00:00:00:01")),
        named(MAC, attribute(31, b"02:00:00:00:00:01")),
    ],
)
def test_a_mac_typed_by_somebody_else_opens_nothing(packet: Packet) -> None:
    assert proof(packet, "", MAC) is Proof.WRONG


def test_a_name_that_is_no_mac_is_never_opened_without_password() -> None:
    assert proof(with_pap("alice", b""), "") is Proof.WRONG
    assert proof(with_pap("alice", b"alice"), "") is Proof.WRONG
    assert proof(with_chap("alice", b""), "") is Proof.WRONG
    assert proof(with_mschapv2("alice", ""), "") is Proof.WRONG
    assert proof(named("alice"), "") is Proof.MALFORMED


def test_mschapv2_is_answered_with_the_servers_proof_and_two_keys_under_two_salts() -> None:
    packet = with_mschapv2("EXAMPLE\\alice", "secret", b"alice")
    verdict = verify(method_of(packet), packet, SECRET, service_secret("secret"), "alice")
    assert verdict.proof is Proof.RIGHT
    sent = microsoft(verdict.attributes)
    assert sent[26][:1] == b"\x09"
    assert len(sent[26]) == 1 + 42
    assert sent[26][1:3] == b"S="
    assert sent[16][:2] != sent[17][:2]
    assert sent[16][0] & sent[17][0] & 0x80
    response = packet.vendor(311, 25)
    assert response is not None
    keys = mppe.keys_v2(mschap.hash_nt_hash(mschap.nt_hash(b"secret")), response[26:])
    assert tuple(mppe.decrypt_key(sent[kind], SECRET, AUTHENTICATOR) for kind in (16, 17)) == keys


def test_challenge_and_response_may_share_one_vendor_specific() -> None:
    hashed = mschap.nt_hash(b"secret")
    response = mschap.response_v2(9, hashed, CHALLENGE, bytes(16), b"alice")
    inner = bytes((11, len(CHALLENGE) + 2)) + CHALLENGE + bytes((25, len(response) + 2)) + response
    packet = named("alice", attribute(26, (311).to_bytes(4) + inner))
    assert proof(packet, "secret") is Proof.RIGHT
    assert proof(packet, "other") is Proof.WRONG


def test_a_malformed_mschapv2_response_is_refused() -> None:
    hashed = mschap.nt_hash(b"secret")
    good = mschap.response_v2(9, hashed, CHALLENGE, bytes(16), b"alice")
    for challenge, response in (
        (CHALLENGE[:15], good),
        (CHALLENGE, good[:1] + b"\x01" + good[2:]),
        (CHALLENGE, good[:18] + b"\x01" + good[19:]),
        (CHALLENGE, good[:49]),
    ):
        packet = named("alice", vendor_attribute(311, 11, challenge), vendor_attribute(311, 25, response))
        assert proof(packet, "secret") is Proof.MALFORMED
    assert proof(named("alice", vendor_attribute(311, 25, good)), "secret") is Proof.MALFORMED


def test_mschapv1_gives_keys_and_refuses_lan_manager() -> None:
    hashed = mschap.nt_hash(b"secret")
    response = mschap.response_v1(3, hashed, CHALLENGE[:8])
    packet = named("alice", vendor_attribute(311, 11, CHALLENGE[:8]), vendor_attribute(311, 1, response))
    verdict = verify(method_of(packet), packet, SECRET, service_secret("secret"), "alice")
    assert verdict.proof is Proof.RIGHT
    keys = pap.reveal(microsoft(verdict.attributes)[12], SECRET, AUTHENTICATOR)
    assert keys == mppe.keys_v1(mschap.hash_nt_hash(hashed)).rstrip(b"\0")
    lan_manager = response[:1] + b"\0" + response[2:]
    packet = named("alice", vendor_attribute(311, 11, CHALLENGE[:8]), vendor_attribute(311, 1, lan_manager))
    assert proof(packet, "secret") is Proof.UNSUPPORTED


def test_a_refused_mschap_login_is_told_in_its_own_terms() -> None:
    packet = with_mschapv2("alice", "other")
    error = microsoft(refusal_attributes(method_of(packet), packet))[2]
    assert error[:1] == b"\x09"
    assert error[1:].startswith(b"E=691 R=0 C=")
    assert error.endswith(b" V=3")
    packet = named("alice", vendor_attribute(311, 25, b""))
    assert refusal_attributes(method_of(packet), packet)


def test_a_refused_eap_login_is_told_failure() -> None:
    packet = named("alice", attribute(79, b"\x02\x2a\x00\x05\x01"))
    assert method_of(packet) is Method.EAP
    assert refusal_attributes(Method.EAP, packet) == attribute(79, b"\x04\x2a\x00\x04")


def microsoft(octets: bytes) -> dict[int, bytes]:
    """Return Microsoft's attributes by type."""
    found: dict[int, bytes] = {}
    while octets:
        size = octets[1]
        found.update({kind: content for _, kind, content in vendor_values(octets[2:size])})
        octets = octets[size:]
    return found
