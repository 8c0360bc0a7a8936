"""How each kind of NAS is told of a line's rates.

Rule: rates are the subscriber's, in bit/s; a NAS that counts from its own side gets them turned round. An unlimited
direction is written where the NAS has a word for it and left out where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from enforcement.attributes import (
    CISCO_AVPAIR,
    ERX_SERVICE_ACTIVATE,
    HUAWEI_INPUT_AVERAGE_RATE,
    HUAWEI_INPUT_PEAK_RATE,
    HUAWEI_OUTPUT_AVERAGE_RATE,
    HUAWEI_OUTPUT_PEAK_RATE,
    MIKROTIK_RATE_LIMIT,
    WISPR_BANDWIDTH_MAX_DOWN,
    WISPR_BANDWIDTH_MAX_UP,
    Part,
    standard,
    vendor_part,
)
from enforcement.entitlement import Entitlement
from radius.codes import Type, Vendor
from radius.packet import attribute

LARGEST_INTEGER = 0xFFFFFFFF
"""A rate above 4.29 Gbit/s does not fit into a 32-bit attribute; the NAS is told the most it can be told."""
LOWEST_PRIORITY = 8
"""RouterOS's own when nobody says another."""
JUNIPER_SERVICE = b"\x01svc-internet"
"""The dynamic service, tagged (RFC 2868 §3)."""
_NO_PAIR = "0/0"


def exact_rate(bits_per_second: int) -> str:
    """Write a rate for RouterOS: whole M or k (powers of ten), never G, which its manual does not know."""
    if bits_per_second % 1_000_000 == 0 and bits_per_second:
        return f"{bits_per_second // 1_000_000}M"
    if bits_per_second % 1_000 == 0 and bits_per_second:
        return f"{bits_per_second // 1_000}k"
    return str(bits_per_second)


def none(_: Entitlement) -> list[Part]:
    """Tell nothing: nobody knows what the NAS understands."""
    return []


def mikrotik(entitlement: Entitlement) -> list[Part]:
    """Write Mikrotik-Rate-Limit."""
    return [vendor_part(Vendor.MIKROTIK, MIKROTIK_RATE_LIMIT, rate_limit(entitlement).encode())]


def rate_limit(entitlement: Entitlement) -> str:
    """Return `rx/tx rxB/txB rxT/txT rxt/txt prio rxMin/txMin`, up to the last field that is needed.

    It is seen from the router: the subscriber's upload comes first. Both sides are always written, because a missing
    one would equal the other. 0 is no limit, no burst and no guarantee, as in the router's own queues.
    """
    words = [_pair(entitlement.upload, entitlement.download), *_burst(entitlement)]
    if entitlement.priority is not None or _is_guaranteed(entitlement):
        words += [_NO_PAIR] * (4 - len(words))
        words.append(str(entitlement.priority or LOWEST_PRIORITY))
    if _is_guaranteed(entitlement):
        words.append(
            _pair(
                _at_most(entitlement.guaranteed_upload, entitlement.upload),
                _at_most(entitlement.guaranteed_download, entitlement.download),
            )
        )
    return " ".join(words)


def _burst(entitlement: Entitlement) -> list[str]:
    """Return limit, threshold and time of the burst; nothing when no direction may go above its rate."""
    up = _above(entitlement.burst_upload, entitlement.upload)
    down = _above(entitlement.burst_download, entitlement.download)
    if up is None and down is None:
        return []
    seconds = entitlement.burst_seconds or 1
    return [
        _pair(up, down),
        _pair(
            None if up is None else entitlement.burst_threshold_upload or entitlement.upload,
            None if down is None else entitlement.burst_threshold_download or entitlement.download,
        ),
        f"{seconds}/{seconds}",
    ]


def _above(burst: int | None, rate: int | None) -> int | None:
    """Return the burst limit of a direction that has a rate to be above of."""
    return burst if burst is not None and rate is not None and burst > rate else None


def _at_most(guaranteed: int | None, rate: int | None) -> int | None:
    """Return the guarantee, which RouterOS refuses above the rate."""
    return guaranteed if guaranteed is None or rate is None else min(guaranteed, rate)


def _is_guaranteed(entitlement: Entitlement) -> bool:
    return entitlement.guaranteed_download is not None or entitlement.guaranteed_upload is not None


def _pair(upload: int | None, download: int | None) -> str:
    return f"{exact_rate(upload or 0)}/{exact_rate(download or 0)}"


def wispr(entitlement: Entitlement) -> list[Part]:
    """Write WISPr-Bandwidth-Max-Up and -Down."""
    rates = {WISPR_BANDWIDTH_MAX_UP: entitlement.upload, WISPR_BANDWIDTH_MAX_DOWN: entitlement.download}
    return _integers(Vendor.WISPR, rates)


def huawei(entitlement: Entitlement) -> list[Part]:
    """Write average and peak rates; input is what comes from the subscriber, the peak is the burst's."""
    rates = {
        HUAWEI_INPUT_AVERAGE_RATE: entitlement.upload,
        HUAWEI_INPUT_PEAK_RATE: _peak(entitlement.burst_upload, entitlement.upload),
        HUAWEI_OUTPUT_AVERAGE_RATE: entitlement.download,
        HUAWEI_OUTPUT_PEAK_RATE: _peak(entitlement.burst_download, entitlement.download),
    }
    return _integers(Vendor.HUAWEI, rates)


def _peak(burst: int | None, rate: int | None) -> int | None:
    return rate if burst is None or rate is None else max(burst, rate)


def _integers(vendor: int, rates: Mapping[int, int | None]) -> list[Part]:
    return [
        vendor_part(vendor, kind, min(rate, LARGEST_INTEGER).to_bytes(4))
        for kind, rate in rates.items()
        if rate is not None
    ]


def cisco(entitlement: Entitlement) -> list[Part]:
    """Police by `lcp:interface-config`, which IOS and accel-ppp know; output goes to the subscriber."""
    return [
        vendor_part(Vendor.CISCO, CISCO_AVPAIR, _police(direction, rate).encode())
        for direction, rate in (("output", entitlement.download), ("input", entitlement.upload))
        if rate is not None
    ]


def _police(direction: str, rate: int) -> str:
    """Normal burst is 1.5 seconds of the rate and extended burst twice that, as Cisco's guide to CAR advises."""
    burst = rate * 3 // 16
    limit = f"{rate} {burst} {2 * burst} conform-action transmit exceed-action drop"
    return f"lcp:interface-config#1=rate-limit {direction} {limit}"


def juniper(entitlement: Entitlement) -> list[Part]:
    """Activate the dynamic service `svc-internet(down,up)`, which the router defines; 0 stands for no limit."""
    parameters = f"({entitlement.download or 0},{entitlement.upload or 0})"
    return [vendor_part(Vendor.JUNIPER_ERX, ERX_SERVICE_ACTIVATE, JUNIPER_SERVICE + parameters.encode())]


def accel_ppp(entitlement: Entitlement) -> list[Part]:
    """Filter-Id is down/up in kbit without suffix (accel-ppp reads G as ten times its value); 0 is no limit."""
    both = f"{_kilobits(entitlement.download)}/{_kilobits(entitlement.upload)}"
    return [(standard(Type.FILTER_ID), attribute(Type.FILTER_ID, both.encode()))]


def _kilobits(rate: int | None) -> int:
    return 0 if rate is None else -(-rate // 1000)
