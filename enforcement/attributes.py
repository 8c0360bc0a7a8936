"""What an encoded attribute is, for deciding what it replaces.

Rule: an attribute is known by vendor and number, and by the name of its setting where one number carries many of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from radius.codes import Type, Vendor
from radius.packet import attribute, vendor_attribute, vendor_values

CISCO_AVPAIR = 1
CISCO_POLICY_UP = 37
CISCO_POLICY_DOWN = 38
ERX_SERVICE_ACTIVATE = 65
ERX_SERVICE_DEACTIVATE = 66
HUAWEI_INPUT_AVERAGE_RATE = 2
HUAWEI_INPUT_PEAK_RATE = 3
HUAWEI_OUTPUT_AVERAGE_RATE = 5
HUAWEI_OUTPUT_PEAK_RATE = 6
MIKROTIK_RECV_LIMIT = 1
MIKROTIK_XMIT_LIMIT = 2
MIKROTIK_GROUP = 3
MIKROTIK_RATE_LIMIT = 8
MIKROTIK_MARK_ID = 11
MIKROTIK_ADVERTISE_URL = 12
MIKROTIK_ADVERTISE_INTERVAL = 13
MIKROTIK_RECV_LIMIT_GIGAWORDS = 14
MIKROTIK_XMIT_LIMIT_GIGAWORDS = 15
MIKROTIK_TOTAL_LIMIT = 17
MIKROTIK_TOTAL_LIMIT_GIGAWORDS = 18
MIKROTIK_ADDRESS_LIST = 19
MIKROTIK_DELEGATED_IPV6_POOL = 22
WISPR_REDIRECTION_URL = 4
WISPR_BANDWIDTH_MAX_UP = 7
WISPR_BANDWIDTH_MAX_DOWN = 8

Kind = tuple[int, int, bytes]
"""Vendor (0 for none), type, and for attributes that hold many settings the name of the setting."""

Part = tuple[Kind, bytes]
"""An encoded attribute, and what it is."""

_SETTING_ENDS: Mapping[tuple[int, int], bytes] = MappingProxyType(
    {
        (Vendor.CISCO, CISCO_AVPAIR): b"=",
        (Vendor.JUNIPER_ERX, ERX_SERVICE_ACTIVATE): b"(",
    }
)
"""Attributes that carry many settings under one number: the setting's name ends before this."""


def standard(number: int) -> Kind:
    """Return what a standard attribute is."""
    return (0, int(number), b"")


def of_vendor(vendor: int, number: int) -> Kind:
    """Return what an attribute of a vendor is that carries one setting."""
    return (int(vendor), number, b"")


def vendor_part(vendor: int, number: int, value: bytes) -> Part:
    """Encode one sub-attribute of `vendor`."""
    return _kind(vendor, number, value), vendor_attribute(vendor, number, value)


def split(octets: bytes) -> list[tuple[int, bytes]]:
    """Split encoded attributes, which were checked when they were made, into (type, value)."""
    found = []
    offset = 0
    while offset < len(octets):
        size = octets[offset + 1]
        found.append((octets[offset], octets[offset + 2 : offset + size]))
        offset += size
    return found


def kinds(number: int, value: bytes) -> list[Kind]:
    """Return what an attribute is; a Vendor-Specific may hold several."""
    if number != Type.VENDOR_SPECIFIC:
        return [standard(number)]
    inner = vendor_values(value)
    if not inner:
        return [(int.from_bytes(value[:4]), -1, value)]
    return [_kind(vendor, kind, content) for vendor, kind, content in inner]


def parts(octets: bytes) -> list[Part]:
    """Return each of the encoded attributes with the first of what it is."""
    return [(kinds(number, value)[0], attribute(number, value)) for number, value in split(octets)]


def join(pieces: list[Part]) -> bytes:
    """Return the attributes one after the other."""
    return b"".join([octets for _, octets in pieces])


def vendor_of(number: int, value: bytes) -> int | None:
    """Return whose attribute it is, None for a standard one."""
    return int.from_bytes(value[:4]) if number == Type.VENDOR_SPECIFIC else None


def _kind(vendor: int, number: int, content: bytes) -> Kind:
    end = _SETTING_ENDS.get((vendor, number))
    return (int(vendor), number, b"" if end is None else _setting(content, end))


def _setting(content: bytes, end: bytes) -> bytes:
    """Return the name of the setting, with the direction where one name holds both (`rate-limit output`)."""
    name, _, rest = content.partition(end)
    return name + b" ".join(rest.split()[:2]) if rest.startswith(b"rate-limit ") else name
