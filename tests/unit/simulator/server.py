"""A RADIUS server in memory that a fleet can be tried against: it verifies what it gets and remembers it.

Rule: built from the codec alone, and it proves passwords by the same functions as the product's server.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from radius import chap, mschap, pap
from radius.codes import AcctStatus, Code, Microsoft, Type, Vendor
from radius.packet import (
    Packet,
    attribute,
    decode,
    encode_reply,
    encode_request,
    integer_attribute,
    vendor_attribute,
)

SECRET = b"made-up secret"


@dataclass
class ScriptedServer:
    """Answers logins from a table of passwords, and accounting always; `mute` makes it silent."""

    passwords: dict[str, str]
    rate_limit: str | None = "10M/20M"
    interim_seconds: int = 60
    session_timeout_seconds: int | None = None
    mute: bool = False
    framed_address: bytes | None = None
    more: bytes = b""
    """Further attributes of each Access-Accept."""
    logins: list[Packet] = field(default_factory=list)
    records: list[Packet] = field(default_factory=list)
    accepted: int = 0

    def answer(self, datagram: bytes) -> bytes | None:
        """Return the answer to a request, which must be genuine."""
        packet = decode(datagram)
        if packet.code == Code.ACCOUNTING_REQUEST:
            assert packet.request_authenticator_is_valid(SECRET)
            assert not packet.has_message_authenticator
            self.records.append(packet)
            return None if self.mute else encode_reply(Code.ACCOUNTING_RESPONSE, packet, b"", SECRET)
        assert packet.code == Code.ACCESS_REQUEST
        assert not packet.has_message_authenticator or packet.message_authenticator_is_valid(SECRET)
        self.logins.append(packet)
        if self.mute:
            return None
        proof = self._proof(packet)
        if proof is None:
            return encode_reply(Code.ACCESS_REJECT, packet, b"", SECRET)
        self.accepted += 1
        return encode_reply(Code.ACCESS_ACCEPT, packet, self._grant() + proof, SECRET)

    def statuses(self) -> list[int | None]:
        """Return the Acct-Status-Type of every record, retransmissions included."""
        return [record.integer(Type.ACCT_STATUS_TYPE) for record in self.records]

    def last_counters(self) -> dict[tuple[str | None, str | None], tuple[int, int]]:
        """Return the highest (up, down) of each (NAS-Identifier, Acct-Session-Id)."""
        found: dict[tuple[str | None, str | None], tuple[int, int]] = {}
        for record in self.records:
            if record.integer(Type.ACCT_STATUS_TYPE) == AcctStatus.ACCOUNTING_ON:
                continue
            key = (record.text(Type.NAS_IDENTIFIER), record.text(Type.ACCT_SESSION_ID))
            up, down = counters(record)
            known = found.get(key, (0, 0))
            found[key] = (max(known[0], up), max(known[1], down))
        return found

    def _grant(self) -> bytes:
        address = self.framed_address or (0x6440_0000 + self.accepted).to_bytes(4)
        grant = (
            attribute(Type.FRAMED_IP_ADDRESS, address)
            + integer_attribute(Type.ACCT_INTERIM_INTERVAL, self.interim_seconds)
            + attribute(Type.CLASS, b"class %d" % self.accepted)
        )
        if self.rate_limit is not None:
            grant += vendor_attribute(Vendor.MIKROTIK, 8, self.rate_limit.encode())
        grant += self.more
        if self.session_timeout_seconds is not None:
            grant += integer_attribute(Type.SESSION_TIMEOUT, self.session_timeout_seconds)
        return grant

    def _proof(self, packet: Packet) -> bytes | None:
        login = packet.text(Type.USER_NAME) or ""
        password = self.passwords.get(login)
        if password is None:
            return None
        hidden, chap_password = packet.get(Type.USER_PASSWORD), packet.get(Type.CHAP_PASSWORD)
        if hidden is not None:
            return b"" if pap.reveal(hidden, SECRET, packet.authenticator) == password.encode() else None
        if chap_password is not None:
            challenge = packet.get(Type.CHAP_CHALLENGE)
            assert challenge is not None
            return b"" if chap.matches(chap_password, challenge, password.encode()) else None
        return _mschap_proof(packet, login.encode(), password.encode())


def _mschap_proof(packet: Packet, login: bytes, password: bytes) -> bytes | None:
    challenge = packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP_CHALLENGE)
    response = packet.vendor(Vendor.MICROSOFT, Microsoft.CHAP2_RESPONSE)
    assert challenge is not None
    assert response is not None
    hashed = mschap.nt_hash(password)
    if not mschap.matches_v2(hashed, challenge, response, login):
        return None
    success = mschap.success_v2(
        mschap.hash_nt_hash(hashed), response[mschap.NT_RESPONSE_AT :], response[2:18], challenge, login
    )
    return vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP2_SUCCESS, response[:1] + success)


def counters(record: Packet) -> tuple[int, int]:
    """Return the octets (up, down) of a record of a router that does not flip them."""
    return (
        ((record.integer(Type.ACCT_INPUT_GIGAWORDS) or 0) << 32) + (record.integer(Type.ACCT_INPUT_OCTETS) or 0),
        ((record.integer(Type.ACCT_OUTPUT_GIGAWORDS) or 0) << 32) + (record.integer(Type.ACCT_OUTPUT_OCTETS) or 0),
    )


def disconnect(identifier: int, attributes: bytes, *, secret: bytes = SECRET) -> bytes:
    """Return a Disconnect-Request."""
    return encode_request(Code.DISCONNECT_REQUEST, identifier, attributes, secret)


def change(identifier: int, attributes: bytes, *, secret: bytes = SECRET) -> bytes:
    """Return a CoA-Request."""
    return encode_request(Code.COA_REQUEST, identifier, attributes, secret)
