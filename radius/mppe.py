"""The encryption keys that follow from an MS-CHAP login, and their transport to the NAS.

Rule: derived by RFC 3079 §3 (version 2) or laid out by RFC 2548 §2.4.1 (version 1); sent salted by RFC 2548 §2.4.2.
"""

from __future__ import annotations

from hashlib import md5, sha1

from domain.errors import CaudalError

BLOCK = 16
SALT_OCTETS = 2
KEY_OCTETS = 16
"""128 bits, the only strength a router of today negotiates."""

_MASTER = b"This is the MPPE Master Key"
_CLIENT_SENDS = b"On the client side, this is the send key; on the server side, it is the receive key."
_SERVER_SENDS = b"On the client side, this is the receive key; on the server side, it is the send key."
# The pads and magic texts of RFC 3079 §3.4, joined as GetAsymmetricStartKey hashes them.
_SEND_SUFFIX = bytes(40) + _SERVER_SENDS + b"\xf2" * 40
_RECEIVE_SUFFIX = bytes(40) + _CLIENT_SENDS + b"\xf2" * 40


class MalformedKey(CaudalError):
    """The peer's MS-MPPE key cannot be decrypted with this secret."""

    def __init__(self) -> None:
        super().__init__("MS-MPPE key is malformed; check that both sides have the same secret")


def keys_v1(nt_hash_hash: bytes) -> bytes:
    """Return the 32 octets of MS-CHAP-MPPE-Keys, to be hidden like a password; the LM key is void, as LM is refused.

    RFC 2548 §2.4.1 names the NT hash, but it is the hash of it that peers take (RFC 3079 §2.3).
    """
    return bytes(8) + nt_hash_hash + bytes(8)


def keys_v2(nt_hash_hash: bytes, nt_response: bytes) -> tuple[bytes, bytes]:
    """Return (MS-MPPE-Send-Key, MS-MPPE-Recv-Key), 16 octets each, as seen from the NAS (RFC 3079 §3.3)."""
    master = sha1(nt_hash_hash + nt_response + _MASTER).digest()[:KEY_OCTETS]
    return sha1(master + _SEND_SUFFIX).digest()[:KEY_OCTETS], sha1(master + _RECEIVE_SUFFIX).digest()[:KEY_OCTETS]


def encrypt_key(key: bytes, secret: bytes, request_authenticator: bytes, salt: bytes) -> bytes:
    """Return the value of MS-MPPE-Send-Key or -Recv-Key.

    `salt` is 2 octets with the highest bit set, another one for each key of a packet; else raise ValueError.
    """
    if len(salt) != SALT_OCTETS or salt[0] < 0x80:
        raise ValueError("a salt is 2 octets with the highest bit set")
    plain = bytes((len(key),)) + key
    plain += bytes(-len(plain) % BLOCK)
    value = salt
    before = request_authenticator + salt
    for start in range(0, len(plain), BLOCK):
        mask = int.from_bytes(md5(secret + before).digest())
        before = (int.from_bytes(plain[start : start + BLOCK]) ^ mask).to_bytes(BLOCK)
        value += before
    return value


def decrypt_key(value: bytes, secret: bytes, request_authenticator: bytes) -> bytes:
    """Return the key inside MS-MPPE-Send-Key or -Recv-Key. Raise MalformedKey."""
    hidden = value[SALT_OCTETS:]
    if not hidden or len(hidden) % BLOCK:
        raise MalformedKey
    plain = b""
    before = request_authenticator + value[:SALT_OCTETS]
    for start in range(0, len(hidden), BLOCK):
        block = hidden[start : start + BLOCK]
        mask = int.from_bytes(md5(secret + before).digest())
        plain += (int.from_bytes(block) ^ mask).to_bytes(BLOCK)
        before = block
    if plain[0] >= len(plain):
        raise MalformedKey
    return plain[1 : plain[0] + 1]
