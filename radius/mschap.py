"""Whether an MS-CHAP response proves a password, and what the server answers.

Rule: RFC 2433 (version 1, NT response only), RFC 2759 (version 2), carried as RFC 2548 §2.1 and §2.3 say. LAN Manager
responses are refused. The NT hash and the hash of it are kept beside the password, so that a login computes no MD4.

DES is a third of a login's cost. Measured for one block under a new key: the C functions beneath pycryptodome's classes
2.4 µs, cryptography's TripleDES 5 µs, a table-driven DES in Python over 7.6 µs, pycryptodome's `DES.new` 9 µs. The C
functions are called where they are as expected, else `DES.new`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha1
from hmac import compare_digest

from Crypto.Cipher import DES
from Crypto.Hash import MD4

from domain.errors import CaudalError

V1_CHALLENGE_OCTETS = 8
"""RFC 2433 §4."""
V2_CHALLENGE_OCTETS = 16
"""RFC 2759 §3."""
RESPONSE_OCTETS = 50
"""MS-CHAP-Response and MS-CHAP2-Response (RFC 2548 §2.1.3, 2.3.2)."""
NT_RESPONSE_AT = 26
"""Where the NT response begins in either of them."""
FLAG_NT_RESPONSE = 1
"""Flags of MS-CHAP-Response: use the NT response (RFC 2548 §2.1.3)."""
AUTHENTICATION_FAILURE = 691
"""RFC 2433 §5, RFC 2759 §6."""

_SIGNING = b"Magic server to client signing constant"
_ITERATION = b"Pad to make it do more than one iteration"
_NO_RESERVED = bytes(8)
_KNOWN_KEYS = bytes.fromhex("0123456789abcdef") * 3
_KNOWN_BLOCKS = bytes.fromhex("d5d44ff720683d0d") * 3

# Masks of the three steps that part 56 bits into eight times 7, in three lanes of 64 bits at once.
_LANES = 1 | 1 << 64 | 1 << 128
_HIGH_28, _LOW_28 = 0x00FFFFFFF0000000 * _LANES, 0x000000000FFFFFFF * _LANES
_HIGH_14, _LOW_14 = 0x0FFFC0000FFFC000 * _LANES, 0x00003FFF00003FFF * _LANES
_HIGH_7, _LOW_7 = 0x3F803F803F803F80 * _LANES, 0x007F007F007F007F * _LANES
_56_BITS = (1 << 56) - 1


class MsChapError(CaudalError):
    """The peer's MS-CHAP attributes prove nothing, whatever the password; the login is refused."""


class MalformedMsChap(MsChapError):
    """A challenge or response breaks its format."""


class LanManagerRefused(MsChapError):
    """The peer offers only the LAN Manager response, which anyone can break."""

    def __init__(self) -> None:
        super().__init__("MS-CHAP-Response holds only a LAN Manager response; set the client to NT or MS-CHAPv2")


def nt_hash(password: bytes) -> bytes:
    """Return the MD4 of a UTF-8 password in UTF-16LE (RFC 2759 §8.3). Raise ValueError if it is not UTF-8."""
    try:
        text = password.decode()
    except UnicodeDecodeError:
        # The original error would carry the password into logs.
        raise ValueError("a password that is not UTF-8 has no NT hash") from None
    return MD4.new(text.encode("utf-16-le")).digest()


def hash_nt_hash(hashed: bytes) -> bytes:
    """Return the MD4 of an NT hash (RFC 2759 §8.4)."""
    return MD4.new(hashed).digest()


def matches_v1(hashed: bytes, challenge: bytes, response: bytes) -> bool:
    """Return whether the value of MS-CHAP-Response proves the NT hash. Raise MalformedMsChap, LanManagerRefused."""
    _require_octets("MS-CHAP-Challenge", challenge, V1_CHALLENGE_OCTETS)
    _require_octets("MS-CHAP-Response", response, RESPONSE_OCTETS)
    if response[1] == 0:
        raise LanManagerRefused
    if response[1] != FLAG_NT_RESPONSE:
        raise MalformedMsChap(f"MS-CHAP-Response has unknown flags {response[1]:#04x}; only 0 and 1 are defined")
    return compare_digest(_challenge_response(hashed, challenge), response[NT_RESPONSE_AT:])


def matches_v2(hashed: bytes, authenticator_challenge: bytes, response: bytes, user_name: bytes) -> bool:
    """Return whether the value of MS-CHAP2-Response proves the NT hash. Raise MalformedMsChap."""
    _require_octets("MS-CHAP-Challenge", authenticator_challenge, V2_CHALLENGE_OCTETS)
    _require_octets("MS-CHAP2-Response", response, RESPONSE_OCTETS)
    if response[1] or response[18:26] != _NO_RESERVED:
        raise MalformedMsChap("MS-CHAP2-Response has flags or reserved octets that are not zero; they must be")
    challenge = _challenge_hash(response[2:18], authenticator_challenge, user_name)
    return compare_digest(_challenge_response(hashed, challenge), response[NT_RESPONSE_AT:])


def success_v2(
    nt_hash_hash: bytes, nt_response: bytes, peer_challenge: bytes, authenticator_challenge: bytes, user_name: bytes
) -> bytes:
    """Return `S=` and 40 hexadecimal digits, by which the server proves that it knows the password (RFC 2759 §8.7)."""
    digest = sha1(nt_hash_hash + nt_response + _SIGNING).digest()
    challenge = _challenge_hash(peer_challenge, authenticator_challenge, user_name)
    return b"S=" + sha1(digest + challenge + _ITERATION).hexdigest().upper().encode()


def error_message(challenge: bytes) -> bytes:
    """Return the text of MS-CHAP-Error for a failed login that may not be retried.

    `challenge` is a new one, of 8 octets in version 1 (RFC 2433 §5) or 16 in version 2 (RFC 2759 §6).
    """
    version = 3 if len(challenge) == V2_CHALLENGE_OCTETS else 2
    return f"E={AUTHENTICATION_FAILURE} R=0 C={challenge.hex().upper()} V={version}".encode()


def response_v1(identifier: int, hashed: bytes, challenge: bytes) -> bytes:
    """Return the value of MS-CHAP-Response that a client sends; its LAN Manager part is void."""
    return bytes((identifier, FLAG_NT_RESPONSE)) + bytes(24) + _challenge_response(hashed, challenge)


def response_v2(
    identifier: int, hashed: bytes, authenticator_challenge: bytes, peer_challenge: bytes, user_name: bytes
) -> bytes:
    """Return the value of MS-CHAP2-Response that a client sends."""
    challenge = _challenge_hash(peer_challenge, authenticator_challenge, user_name)
    return bytes((identifier, 0)) + peer_challenge + _NO_RESERVED + _challenge_response(hashed, challenge)


def _require_octets(name: str, value: bytes, octets: int) -> None:
    if len(value) != octets:
        raise MalformedMsChap(f"{name} has {len(value)} octets; it must have {octets}")


def _challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, user_name: bytes) -> bytes:
    """RFC 2759 §8.2; the name is hashed without the domain before its backslash (§4)."""
    bare_name = user_name.partition(b"\\")[2] if b"\\" in user_name else user_name
    return sha1(peer_challenge + authenticator_challenge + bare_name).digest()[:8]


def _challenge_response(hashed: bytes, challenge: bytes) -> bytes:
    """Encrypt the challenge under the NT hash cut into three DES keys (RFC 2759 §8.5)."""
    return _encryptor()(_des_keys(hashed), challenge)


def _des_keys(hashed: bytes) -> bytes:
    """Spread 16 octets and 5 zero ones over three DES keys, 7 bits an octet; DES ignores the parity bit."""
    bits = int.from_bytes(hashed) << 40
    lanes = bits >> 112 << 128 | (bits >> 56 & _56_BITS) << 64 | bits & _56_BITS
    lanes = (lanes & _HIGH_28) << 4 | lanes & _LOW_28
    lanes = (lanes & _HIGH_14) << 2 | lanes & _LOW_14
    lanes = (lanes & _HIGH_7) << 1 | lanes & _LOW_7
    return (lanes << 1).to_bytes(24)


def _encrypt_portably(keys: bytes, block: bytes) -> bytes:
    ciphers = (DES.new(keys[start : start + 8], DES.MODE_ECB) for start in (0, 8, 16))
    return b"".join(cipher.encrypt(block) for cipher in ciphers)


@lru_cache(maxsize=1)
def _encryptor() -> Callable[[bytes, bytes], bytes]:
    """Return the function that encrypts one block under each of three keys, the fastest that works here."""
    try:
        encrypt = _direct_encryptor()
        return encrypt if encrypt(_KNOWN_KEYS, bytes(8)) == _KNOWN_BLOCKS else _encrypt_portably
    except (ImportError, AttributeError, TypeError):
        return _encrypt_portably


def _direct_encryptor() -> Callable[[bytes, bytes], bytes]:
    """Return an encryptor on pycryptodome's C functions. Raise ImportError, AttributeError where they differ."""
    from Crypto.Cipher._mode_ecb import raw_ecb_lib
    from Crypto.Cipher.DES import _raw_des_lib
    from Crypto.Util._raw_api import ffi

    start_des, start_ecb = _raw_des_lib.DES_start_operation, raw_ecb_lib.ECB_start_operation
    encrypt_ecb, stop_ecb = raw_ecb_lib.ECB_encrypt, raw_ecb_lib.ECB_stop_operation
    new, octets = ffi.new, ffi.buffer
    pointer, blocks = ffi.typeof("void *[1]"), ffi.typeof("uint8_t[24]")

    def encrypt(keys: bytes, block: bytes) -> bytes:
        # The buffers are each call's own: the C functions release the interpreter lock.
        cipher, mode, out = new(pointer), new(pointer), new(blocks)
        for key, place in ((keys[:8], out), (keys[8:16], out + 8), (keys[16:], out + 16)):
            if start_des(key, 8, cipher) or start_ecb(cipher[0], mode):
                raise MemoryError
            # The mode owns the cipher and frees both.
            state = mode[0]
            encrypt_ecb(state, block, place, 8)
            stop_ecb(state)
        return bytes(octets(out))

    return encrypt
