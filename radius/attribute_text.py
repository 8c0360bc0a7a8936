"""How a person's text becomes the octets of a value and back, for each data type of the dictionary format.

Rule: either direction raises ValueError or OverflowError for what is no value of the type; nothing is cut or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,16}|-?[0-9]{1,20}")


class Kind(StrEnum):
    """Data types of the dictionary format."""

    STRING = "string"
    OCTETS = "octets"
    INTEGER = "integer"
    IPADDR = "ipaddr"
    IPV6ADDR = "ipv6addr"
    IPV6PREFIX = "ipv6prefix"
    IPV4PREFIX = "ipv4prefix"
    COMBO_IP = "combo-ip"
    IFID = "ifid"
    ETHER = "ether"
    DATE = "date"
    BYTE = "byte"
    SHORT = "short"
    SIGNED = "signed"
    INTEGER64 = "integer64"
    ABINARY = "abinary"
    TLV = "tlv"
    EXTENDED = "extended"
    LONG_EXTENDED = "long-extended"
    EVS = "evs"
    VSA = "vsa"


def hexadecimal(value: bytes) -> str:
    """Return octets as text, whatever they are."""
    return "0x" + value.hex()


def _encode_string(text: str) -> bytes:
    if "\0" in text:
        raise ValueError("NUL")
    return text.encode()


def _decode_string(value: bytes) -> str:
    if 0 in value:
        raise ValueError("NUL")
    return value.decode()


def _encode_octets(text: str) -> bytes:
    if not re.fullmatch(r"0[xX](?:[0-9a-fA-F]{2})*", text):
        raise ValueError("no hexadecimal octets")
    return bytes.fromhex(text[2:])


def _parse_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    return int(text, 16) if text.startswith("0x") else int(text)


def _encode_date(text: str) -> bytes:
    if _NUMBER.fullmatch(text):
        return _parse_number(text).to_bytes(4)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset from UTC")
    return int(moment.timestamp()).to_bytes(4)


def _decode_date(value: bytes) -> str:
    return datetime.fromtimestamp(int.from_bytes(_sized(value, 4)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unscoped(text: str) -> str:
    if "%" in text:
        raise ValueError("a zone has no meaning elsewhere")
    return text


def _encode_ipv6prefix(text: str) -> bytes:
    network = IPv6Network(_unscoped(text))
    return bytes((0, network.prefixlen)) + network.network_address.packed


def _decode_ipv6prefix(value: bytes) -> str:
    """Accept the short forms too: octets that are left out are zero (RFC 3162 §2.3, RFC 4818 §3)."""
    if not 2 <= len(value) <= 18 or value[1] > 128:
        raise ValueError("no IPv6 prefix")
    return str(IPv6Network((value[2:].ljust(16, b"\0"), value[1]), strict=False))


def _encode_ipv4prefix(text: str) -> bytes:
    network = IPv4Network(text)
    return bytes((0, network.prefixlen)) + network.network_address.packed


def _decode_ipv4prefix(value: bytes) -> str:
    return str(IPv4Network((_sized(value, 6)[2:], value[1] & 0x3F), strict=False))


def _decode_combo(value: bytes) -> str:
    return str(IPv4Address(value) if len(value) == 4 else IPv6Address(value))


def _encode_ifid(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){3}", text):
        raise ValueError("no interface identifier")
    return b"".join(int(group, 16).to_bytes(2) for group in text.split(":"))


def _encode_ether(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}", text):
        raise ValueError("no MAC address")
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def _sized(value: bytes, octets: int) -> bytes:
    if len(value) != octets:
        raise ValueError(f"not {octets} octets")
    return value


@dataclass(frozen=True, slots=True)
class Codec:
    """Text to octets and back; either raises ValueError or OverflowError. `form` tells a person what is taken.

    Numbers may have names (VALUE).
    """

    encode: Callable[[str], bytes]
    decode: Callable[[bytes], str]
    form: str
    is_number: bool = False


def _whole(octets: int, *, signed: bool = False) -> Codec:
    lowest, highest = (-(1 << 8 * octets - 1), (1 << 8 * octets - 1) - 1) if signed else (0, (1 << 8 * octets) - 1)
    return Codec(
        lambda text: _parse_number(text).to_bytes(octets, signed=signed),
        lambda value: str(int.from_bytes(_sized(value, octets), signed=signed)),
        f"a number from {lowest} to {highest}",
        is_number=True,
    )


_HEXADECIMAL = Codec(_encode_octets, hexadecimal, "hexadecimal octets like 0x01ff")
CODECS: Mapping[Kind, Codec] = {
    Kind.STRING: Codec(_encode_string, _decode_string, "text without NUL"),
    Kind.OCTETS: _HEXADECIMAL,
    Kind.ABINARY: _HEXADECIMAL,
    Kind.INTEGER: _whole(4),
    Kind.BYTE: _whole(1),
    Kind.SHORT: _whole(2),
    Kind.SIGNED: _whole(4, signed=True),
    Kind.INTEGER64: _whole(8),
    Kind.DATE: Codec(_encode_date, _decode_date, "a moment like 2030-01-31T12:00:00Z, or its Unix seconds"),
    Kind.IPADDR: Codec(
        lambda text: IPv4Address(text).packed, lambda value: str(IPv4Address(_sized(value, 4))), "an IPv4 address"
    ),
    Kind.IPV6ADDR: Codec(
        lambda text: IPv6Address(_unscoped(text)).packed,
        lambda value: str(IPv6Address(_sized(value, 16))),
        "an IPv6 address",
    ),
    Kind.COMBO_IP: Codec(lambda text: ip_address(_unscoped(text)).packed, _decode_combo, "an IPv4 or IPv6 address"),
    Kind.IPV6PREFIX: Codec(_encode_ipv6prefix, _decode_ipv6prefix, "an IPv6 prefix like 2001:db8::/56"),
    Kind.IPV4PREFIX: Codec(_encode_ipv4prefix, _decode_ipv4prefix, "an IPv4 prefix like 192.0.2.0/24"),
    Kind.IFID: Codec(
        _encode_ifid, lambda value: _sized(value, 8).hex(":", 2), "an interface identifier like 0200:5eff:fe00:5301"
    ),
    Kind.ETHER: Codec(_encode_ether, lambda value: _sized(value, 6).hex(":"), "a MAC address like 00:00:5e:00:53:01"),
}
"""One row drives both directions. A type without a row has no text form of its own."""
