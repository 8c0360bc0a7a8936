"""MS-CHAP against RFC 2433 and RFC 2759."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given
from hypothesis import strategies as st

from radius import mschap

# RFC 2759 §9.2
NAME = b"User"
PASSWORD = b"clientPass"
AUTHENTICATOR_CHALLENGE = bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255e262a28295f2b3a337c7e")
NT_HASH = bytes.fromhex("44ebba8d5312b8d611474411f56989ae")
NT_HASH_HASH = bytes.fromhex("41c00c584bd2d91c4017a2a12fa59f3f")
NT_RESPONSE = bytes.fromhex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
SUCCESS = b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
RESPONSE_V2 = bytes((7, 0)) + PEER_CHALLENGE + bytes(8) + NT_RESPONSE

# RFC 2433 B.2
V1_CHALLENGE = bytes.fromhex("102db5df085d3041")
V1_PASSWORD = b"MyPw"
V1_NT_HASH = bytes.fromhex("fc156af7edcd6c0edde3337d427f4eac")
V1_NT_RESPONSE = bytes.fromhex("4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d61")
RESPONSE_V1 = bytes((7, 1)) + bytes(24) + V1_NT_RESPONSE

hashes = st.binary(min_size=16, max_size=16)


def matches_v2(response: bytes = RESPONSE_V2, name: bytes = NAME, hashed: bytes = NT_HASH) -> bool:
    return mschap.matches_v2(hashed, AUTHENTICATOR_CHALLENGE, response, name)


def test_hashes_are_those_of_rfc_2759_and_rfc_2433() -> None:
    assert mschap.nt_hash(PASSWORD) == NT_HASH
    assert mschap.hash_nt_hash(NT_HASH) == NT_HASH_HASH
    assert mschap.nt_hash(V1_PASSWORD) == V1_NT_HASH


def test_a_password_beyond_ascii_is_hashed_in_utf_16() -> None:
    expected = mschap.hash_nt_hash("contraseña€😀".encode("utf-16-le"))
    assert mschap.nt_hash("contraseña€😀".encode()) == expected


def test_a_password_that_is_not_utf_8_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="not UTF-8") as caught:
        mschap.nt_hash(b"hush\xff")
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_version_1_response_of_rfc_2433_proves_the_password() -> None:
    assert mschap.matches_v1(V1_NT_HASH, V1_CHALLENGE, RESPONSE_V1)
    assert not mschap.matches_v1(NT_HASH, V1_CHALLENGE, RESPONSE_V1)


def test_version_1_client_makes_the_response_of_rfc_2433() -> None:
    assert mschap.response_v1(7, V1_NT_HASH, V1_CHALLENGE) == RESPONSE_V1


def test_a_lan_manager_response_is_refused_even_beside_a_right_nt_response() -> None:
    with pytest.raises(mschap.LanManagerRefused):
        mschap.matches_v1(V1_NT_HASH, V1_CHALLENGE, b"\x07\x00" + RESPONSE_V1[2:])


def test_version_1_flags_beyond_one_are_malformed() -> None:
    with pytest.raises(mschap.MalformedMsChap, match="0x02"):
        mschap.matches_v1(V1_NT_HASH, V1_CHALLENGE, b"\x07\x02" + RESPONSE_V1[2:])


def test_version_1_values_cut_at_any_octet_are_malformed() -> None:
    for end in range(50):
        with pytest.raises(mschap.MalformedMsChap):
            mschap.matches_v1(V1_NT_HASH, V1_CHALLENGE, RESPONSE_V1[:end])
    for end in range(8):
        with pytest.raises(mschap.MalformedMsChap):
            mschap.matches_v1(V1_NT_HASH, V1_CHALLENGE[:end], RESPONSE_V1)


def test_version_2_response_of_rfc_2759_proves_the_password() -> None:
    assert matches_v2()
    assert not matches_v2(hashed=V1_NT_HASH)


def test_version_2_client_makes_the_response_of_rfc_2759() -> None:
    assert mschap.response_v2(7, NT_HASH, AUTHENTICATOR_CHALLENGE, PEER_CHALLENGE, NAME) == RESPONSE_V2


def test_the_name_is_hashed_without_its_domain_and_in_its_own_case() -> None:
    assert matches_v2(name=b"BIGCO\\User")
    assert not matches_v2(name=b"BIGCO/User")
    assert not matches_v2(name=b"user")


@pytest.mark.parametrize("place", [1, *range(18, 26)])
def test_version_2_flags_and_reserved_octets_must_be_zero(place: int) -> None:
    response = bytearray(RESPONSE_V2)
    response[place] = 1
    with pytest.raises(mschap.MalformedMsChap, match="zero"):
        matches_v2(bytes(response))


def test_version_2_values_cut_at_any_octet_are_malformed() -> None:
    for end in range(50):
        with pytest.raises(mschap.MalformedMsChap):
            matches_v2(RESPONSE_V2[:end])
    for end in range(16):
        with pytest.raises(mschap.MalformedMsChap):
            mschap.matches_v2(NT_HASH, AUTHENTICATOR_CHALLENGE[:end], RESPONSE_V2, NAME)


@given(st.integers(26 * 8, 50 * 8 - 1))
def test_one_wrong_bit_of_the_response_proves_nothing(bit: int) -> None:
    response = bytearray(RESPONSE_V2)
    response[bit // 8] ^= 1 << bit % 8
    assert not matches_v2(bytes(response))


def test_success_is_that_of_rfc_2759() -> None:
    for name in (NAME, b"BIGCO\\User"):
        success = mschap.success_v2(NT_HASH_HASH, NT_RESPONSE, PEER_CHALLENGE, AUTHENTICATOR_CHALLENGE, name)
        assert success == SUCCESS


def test_error_names_the_failure_the_new_challenge_and_the_version() -> None:
    assert mschap.error_message(AUTHENTICATOR_CHALLENGE) == b"E=691 R=0 C=5B5D7C7D7B3F2F3E3C2C602132262628 V=3"
    assert mschap.error_message(V1_CHALLENGE) == b"E=691 R=0 C=102DB5DF085D3041 V=2"


def test_the_fast_des_is_in_use() -> None:
    assert mschap._encryptor() is not mschap._encrypt_portably, "pycryptodome's C functions moved: logins got slower"


def test_without_its_c_functions_the_library_is_used_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(mschap, "_direct_encryptor", missing)
    assert mschap._encryptor.__wrapped__() is mschap._encrypt_portably


@given(hashes, st.binary(min_size=8, max_size=8))
def test_both_ways_of_des_agree_with_another_library(hashed: bytes, block: bytes) -> None:
    keys = mschap._des_keys(hashed)
    expected = b"".join(
        Cipher(TripleDES(keys[start : start + 8] * 3), modes.ECB()).encryptor().update(block) for start in (0, 8, 16)
    )
    assert mschap._encryptor()(keys, block) == expected
    assert mschap._encrypt_portably(keys, block) == expected


@given(hashes)
def test_each_seven_bits_of_a_hash_stand_above_a_parity_bit(hashed: bytes) -> None:
    bits = f"{int.from_bytes(hashed):0128b}".ljust(168, "0")
    assert list(mschap._des_keys(hashed)) == [int(bits[start : start + 7] + "0", 2) for start in range(0, 168, 7)]


def test_logins_in_several_threads_do_not_mix() -> None:
    clients = [(bytes((number,)) * 16, bytes((number,)) * 8) for number in range(64)]
    expected = [mschap.response_v1(1, *client) for client in clients]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert list(pool.map(lambda client: mschap.response_v1(1, *client), clients)) == expected
