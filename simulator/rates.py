"""Decides which speed a line got from an Access-Accept or a CoA-Request.

Rule: the counterpart of `enforcement.profiles`: what a profile writes is read here, seen from the subscriber, in bit/s;
None is unlimited. Mikrotik-Rate-Limit names the upload first, Filter-Id and Juniper's service the download.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from enforcement.attributes import (
    CISCO_AVPAIR,
    ERX_SERVICE_ACTIVATE,
    HUAWEI_INPUT_AVERAGE_RATE,
    HUAWEI_OUTPUT_AVERAGE_RATE,
    MIKROTIK_RATE_LIMIT,
    WISPR_BANDWIDTH_MAX_DOWN,
    WISPR_BANDWIDTH_MAX_UP,
)
from radius.codes import Type, Vendor
from radius.packet import Packet, readable

_MULTIPLIERS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_RATE = re.compile(r"(\d+)([kMG]?)")
_FILTER = re.compile(r"(\d+)/(\d+)")
_POLICE = re.compile(r"lcp:interface-config#1=rate-limit (input|output) (\d+) .*")
_SERVICE = re.compile(rb"[\x01-\x1f]?svc-internet\((\d+),(\d+)\)")


class Rates(NamedTuple):
    """Speed of a line; None is unlimited."""

    upload_bits_per_second: int | None
    download_bits_per_second: int | None


UNLIMITED = Rates(None, None)


def read(packet: Packet) -> Rates | None:
    """Return the rates that `packet` sets, None when it sets none; raise ValueError for what no router understands."""
    limit = packet.vendor(Vendor.MIKROTIK, MIKROTIK_RATE_LIMIT)
    if limit is not None:
        return parse_rate_limit(readable(limit))
    return _integers(packet) or _policed(packet) or _service(packet) or _filter(packet)


def parse_rate_limit(text: str) -> Rates:
    """Return the sustained rates of a Mikrotik-Rate-Limit: `rx[/tx]` is its first word, a missing tx equals rx."""
    words = text.split()
    if not words:
        return UNLIMITED
    upload, _, download = words[0].partition("/")
    return Rates(_rate(upload), _rate(download or upload))


def _rate(text: str) -> int | None:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no rate")
    return int(match[1]) * _MULTIPLIERS[match[2]] or None


def _integers(packet: Packet) -> Rates | None:
    for vendor, upload, download in (
        (Vendor.WISPR, WISPR_BANDWIDTH_MAX_UP, WISPR_BANDWIDTH_MAX_DOWN),
        (Vendor.HUAWEI, HUAWEI_INPUT_AVERAGE_RATE, HUAWEI_OUTPUT_AVERAGE_RATE),
    ):
        up, down = packet.vendor(vendor, upload), packet.vendor(vendor, download)
        if up is not None or down is not None:
            return Rates(_integer(up), _integer(down))
    return None


def _integer(value: bytes | None) -> int | None:
    if value is None:
        return None
    if len(value) != 4:
        raise ValueError("a rate of another size than four octets")
    return int.from_bytes(value) or None


def _policed(packet: Packet) -> Rates | None:
    """Read Cisco's policing of an interface: output goes to the subscriber."""
    pairs = (_POLICE.fullmatch(readable(pair)) for pair in packet.vendor_all(Vendor.CISCO, CISCO_AVPAIR))
    found = {pair[1]: int(pair[2]) for pair in pairs if pair}
    return Rates(found.get("input"), found.get("output")) if found else None


def _service(packet: Packet) -> Rates | None:
    """Read Juniper's dynamic service with its two parameters, down and up; 0 is no limit."""
    service = _SERVICE.fullmatch(packet.vendor(Vendor.JUNIPER_ERX, ERX_SERVICE_ACTIVATE) or b"")
    return Rates(int(service[2]) or None, int(service[1]) or None) if service else None


def _filter(packet: Packet) -> Rates | None:
    """Read accel-ppp's down/up in kbit/s; 0 is no limit."""
    shaper = _FILTER.fullmatch(packet.text(Type.FILTER_ID) or "")
    return Rates(int(shaper[2]) * 1_000 or None, int(shaper[1]) * 1_000 or None) if shaper else None
