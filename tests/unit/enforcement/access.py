"""Access-Requests for tests, as a NAS would send them."""

from __future__ import annotations

from radius import mschap
from radius.packet import Packet, attribute, decode, encode_request

SECRET = b"testing123"
AUTHENTICATOR = bytes(range(16))


def access_request(*attributes: bytes, secret: bytes = SECRET, authenticator: bytes = AUTHENTICATOR) -> Packet:
    """Return the decoded request with these encoded attributes."""
    return decode(encode_request(1, 7, b"".join(attributes), secret, authenticator=authenticator))


def named(login: str, *attributes: bytes) -> Packet:
    """Return a request with a User-Name in front."""
    return access_request(attribute(1, login.encode()), *attributes)


def service_secret(password: str) -> bytes:
    """Return what the vault holds for a password."""
    hashed = mschap.nt_hash(password.encode())
    return hashed + mschap.hash_nt_hash(hashed) + password.encode()
