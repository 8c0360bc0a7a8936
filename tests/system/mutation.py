"""Datagrams no honest router sends: packets of every kind, broken in every way, with and without a right signature.

Rule: everything comes from one seed. Most of what is broken gets its authenticators computed afresh, so that it passes
the checks at the door and meets the code behind them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from ipaddress import IPv4Address
from random import Random

from radius.codes import AcctStatus, Code, Microsoft, Type, Vendor
from radius.packet import attribute, integer_attribute, vendor_attribute
from tests.system.radius_client import RadiusClient

RFC_2865_7_1 = bytes.fromhex(
    "010000380f403f9473978057bd83d5cb98f4227a01066e656d6f02120dbe708d93d413ce3196e43f782a0aee0406c0a80110050600000003"
)
RFC_2865_7_2 = bytes.fromhex(
    "010100472aee86f08d0d55969ca5978e0d3367a20108666c6f707379031316e97557c316185895f293ff634407727504"
    "06c0a80110050600000014060600000002070600000001"
)
"""The packets of the RFC, under a secret of its own."""

_EDGES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1_700_000_000)
_TEXTS = (
    b"",
    b"\0",
    b"\xff\xfe",
    "Ñandú".encode(),
    b"'; DROP TABLE session; --",
    b"{1,2}\\",
    b"%s%n",
    b"\n\r\t",
    b"x" * 253,
)


def corpus(client: RadiusClient, login: str, password: str) -> tuple[bytes, ...]:
    """Return one packet of each kind that `client` could send."""
    counters = {"seconds": 60, "up": 5_000_000_000, "down": 7}
    line = attribute(Type.CALLING_STATION_ID, b"02:00:5E:00:00:07") + integer_attribute(Type.NAS_PORT, 7)
    address = attribute(Type.FRAMED_IP_ADDRESS, IPv4Address("100.64.0.7").packed)
    prefix = attribute(Type.FRAMED_IPV6_PREFIX, bytes.fromhex("004020010db800000000"))
    stamp = integer_attribute(Type.EVENT_TIMESTAMP, 1_700_000_000)
    foreign = vendor_attribute(14988, 8, b"20M/10M") + attribute(Type.CLASS, b"theirs") + attribute(241, b"\1long")
    return (
        RFC_2865_7_1,
        RFC_2865_7_2,
        client.pap_request(login, password, line),
        client.chap_request(login, password, foreign),
        client.mschapv1_request(login, password),
        client.mschapv2_request(login, password, line),
        client.access_request(attribute(Type.USER_NAME, login.encode()), attribute(Type.EAP_MESSAGE, b"\2\1\0\5\1")),
        client.access_request(attribute(Type.USER_NAME, b"02005E000007"), attribute(Type.PROXY_STATE, b"p" * 200)),
        client.access_request(vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP_CHALLENGE, bytes(16))),
        client.record(AcctStatus.START, "s1", line, address, stamp, login=login),
        client.record(AcctStatus.INTERIM, "s1", line, address, prefix, foreign, login=login, **counters),
        client.record(AcctStatus.STOP, "s1", line, integer_attribute(49, 1), login=login, **counters),
        client.record(AcctStatus.ACCOUNTING_ON, "boot"),
        client.record(AcctStatus.ACCOUNTING_OFF, "boot"),
        client.status_server(),
        client.accounting_request(attribute(Type.USER_NAME, b"no status")),
    )


class Mutator:
    """Breaks packets of `corpus`, most of them of one code; `secret` signs three of four again."""

    def __init__(self, corpus: tuple[bytes, ...], secret: bytes, seed: int, *, code: Code) -> None:
        self._corpus = corpus
        self._usual = [packet for packet in corpus if packet[0] == code]
        self._secret = secret
        self._random = Random(seed)

    def datagrams(self, count: int) -> Iterator[bytes]:
        """Yield so many datagrams."""
        random = self._random
        sound = (self._replace_value, self._replace_value, self._splice, self._cut_between)
        broken = (self._flip, self._cut, self._extend, self._lie_about_length, self._break_attribute, *sound)
        for _ in range(count):
            chance = random.random()
            if chance < 0.05:
                yield random.randbytes(random.choice((0, 1, 19, 20, 21, random.randint(0, 4200))))
                continue
            datagram = random.choice(self._usual if random.random() < 0.9 else self._corpus)
            datagram = datagram[:1] + random.randbytes(1) + datagram[2:]
            for _ in range(random.randint(1, 3)):
                datagram = random.choice(sound if chance < 0.65 else broken)(datagram)
            yield self._sign(datagram) if chance < 0.75 else datagram

    def _flip(self, datagram: bytes) -> bytes:
        if not datagram:
            return datagram
        octets = bytearray(datagram)
        for _ in range(self._random.randint(1, 4)):
            octets[self._random.randrange(len(octets))] ^= 1 << self._random.randrange(8)
        return bytes(octets)

    def _cut(self, datagram: bytes) -> bytes:
        return datagram[: self._random.randint(0, len(datagram))]

    def _cut_between(self, datagram: bytes) -> bytes:
        places = _attributes(datagram)
        return datagram[: self._random.choice(places)] if places else datagram

    def _extend(self, datagram: bytes) -> bytes:
        return datagram + self._random.randbytes(self._random.choice((1, 2, 18, 300, 4000)))

    def _lie_about_length(self, datagram: bytes) -> bytes:
        told = self._random.choice((0, 19, 20, len(datagram) + 1, 4096, 4097, 65535, self._random.randrange(65536)))
        return datagram[:2] + told.to_bytes(2) + datagram[4:]

    def _break_attribute(self, datagram: bytes) -> bytes:
        places = _attributes(datagram)
        if not places:
            return datagram
        at = self._random.choice(places)
        octets = bytearray(datagram)
        octets[at + self._random.randrange(2)] = self._random.choice((0, 1, 2, 3, 26, 79, 80, 255))
        return bytes(octets)

    def _replace_value(self, datagram: bytes) -> bytes:
        """Give one attribute another value or type, with a right frame around it."""
        places = _attributes(datagram)
        if not places:
            return datagram
        at = self._random.choice(places)
        kind = datagram[at] if self._random.random() < 0.7 else self._random.randrange(1, 256)
        edge = self._random.choice(_EDGES).to_bytes(4)
        value = self._random.choice(
            (edge, self._random.choice(_TEXTS), self._random.randbytes(self._random.randrange(254)))
        )
        packet = datagram[:at] + bytes((kind, len(value) + 2)) + value + datagram[at + datagram[at + 1] :]
        return packet[:2] + min(len(packet), 65535).to_bytes(2) + packet[4:]

    def _splice(self, datagram: bytes) -> bytes:
        """Put attributes of another packet behind those of this one."""
        packet = datagram + self._random.choice(self._corpus)[20:] * self._random.randint(1, 12)
        return packet[:2] + min(len(packet), 65535).to_bytes(2) + packet[4:]

    def _sign(self, datagram: bytes) -> bytes:
        """Compute length and authenticators of whatever this is."""
        if len(datagram) < 20:
            return datagram
        packet = datagram[:2] + min(len(datagram), 65535).to_bytes(2) + datagram[4:]
        is_accounting = packet[0] == Code.ACCOUNTING_REQUEST
        for at in _attributes(packet):
            if packet[at] == Type.MESSAGE_AUTHENTICATOR and packet[at + 1] == 18:
                authenticator = bytes(16) if is_accounting else packet[4:20]
                blank = packet[:4] + authenticator + packet[20 : at + 2] + bytes(16) + packet[at + 18 :]
                digest = hmac.digest(self._secret, blank, "md5")
                packet = packet[: at + 2] + digest + packet[at + 18 :]
                break
        if is_accounting:
            digest = hashlib.md5(packet[:4] + bytes(16) + packet[20:] + self._secret).digest()
            packet = packet[:4] + digest + packet[20:]
        return packet


def _attributes(datagram: bytes) -> list[int]:
    """Return where the attributes begin, as far as they can be followed."""
    places = []
    at = 20
    while at + 2 <= len(datagram) and datagram[at + 1] >= 2 and at + datagram[at + 1] <= len(datagram):
        places.append(at)
        at += datagram[at + 1]
    return places
