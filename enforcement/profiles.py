"""What each kind of NAS understands, as data.

Rule: everything that is particular to a vendor stands here and only here, so that a wrong fact is a line to change.
Rates are the subscriber's, in bit/s; a NAS that counts from its own side gets them turned round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from radius.codes import Type, Vendor
from radius.packet import attribute, vendor_attribute

LARGEST_INTEGER = 0xFFFFFFFF
"""A rate above 4.29 Gbit/s does not fit into a 32-bit attribute; the NAS is told the most it can be told."""
DYNAMIC_AUTHORIZATION_PORT = 3799
"""RFC 5176 §3."""

MIKROTIK_RATE_LIMIT = 8
WISPR_BANDWIDTH_MAX_UP = 7
WISPR_BANDWIDTH_MAX_DOWN = 8
CISCO_AVPAIR = 1
ACCEL_PPP = 55999
"""Its vendor number, from accel-ppp's own dictionary."""
ERX_SERVICE_ACTIVATE = 65
HUAWEI_INPUT_AVERAGE_RATE = 2
HUAWEI_INPUT_PEAK_RATE = 3
HUAWEI_OUTPUT_AVERAGE_RATE = 5
HUAWEI_OUTPUT_PEAK_RATE = 6

Rates = Callable[[int | None, int | None], bytes]
"""(download, upload) in bit/s, None for unlimited and never both, to encoded attributes."""


@dataclass(frozen=True, slots=True)
class NasProfile:
    """The facts about one kind of NAS."""

    name: str
    rates: Rates
    vendors: frozenset[int] | None
    """Whose attributes it understands (RFC 5080 §2.5); None when nobody knows: what the operator gives is sent."""
    coa_port: int
    reject_delay_milliseconds: int
    longest_reject_delay_milliseconds: int
    """How far repeated wrong passwords may stretch the delay: the NAS must not take the server for dead."""
    flip_counters: bool
    """Whether Acct-Input-Octets are the subscriber's download."""
    port_attributes: tuple[int, ...]
    """Which attributes tell the port of a client that has no MAC, the most telling first."""


def exact_rate(bits_per_second: int) -> str:
    """Write a rate for RouterOS: whole M or k (powers of ten), never G, which its manual does not know."""
    if bits_per_second % 1_000_000 == 0:
        return f"{bits_per_second // 1_000_000}M"
    if bits_per_second % 1_000 == 0:
        return f"{bits_per_second // 1_000}k"
    return str(bits_per_second)


def _no_rates(_download: int | None, _upload: int | None) -> bytes:
    return b""


def _mikrotik_rates(download: int | None, upload: int | None) -> bytes:
    """Mikrotik-Rate-Limit is rx/tx of the router: the subscriber's upload first. 0 is a queue without limit."""
    both = f"{_or_zero(upload)}/{_or_zero(download)}"
    return vendor_attribute(Vendor.MIKROTIK, MIKROTIK_RATE_LIMIT, both.encode())


def _or_zero(rate: int | None) -> str:
    return "0" if rate is None else exact_rate(rate)


def _wispr_rates(download: int | None, upload: int | None) -> bytes:
    return _integers(Vendor.WISPR, {WISPR_BANDWIDTH_MAX_UP: upload, WISPR_BANDWIDTH_MAX_DOWN: download})


def _huawei_rates(download: int | None, upload: int | None) -> bytes:
    """Input is what comes from the subscriber."""
    rates = {
        HUAWEI_INPUT_AVERAGE_RATE: upload,
        HUAWEI_INPUT_PEAK_RATE: upload,
        HUAWEI_OUTPUT_AVERAGE_RATE: download,
        HUAWEI_OUTPUT_PEAK_RATE: download,
    }
    return _integers(Vendor.HUAWEI, rates)


def _integers(vendor: int, rates: Mapping[int, int | None]) -> bytes:
    return b"".join(
        vendor_attribute(vendor, kind, min(rate, LARGEST_INTEGER).to_bytes(4))
        for kind, rate in rates.items()
        if rate is not None
    )


def _cisco_rates(download: int | None, upload: int | None) -> bytes:
    """Per-user policing by `lcp:interface-config`, which IOS and accel-ppp know; output goes to the subscriber."""
    return b"".join(
        vendor_attribute(Vendor.CISCO, CISCO_AVPAIR, _police(direction, rate).encode())
        for direction, rate in (("output", download), ("input", upload))
        if rate is not None
    )


def _police(direction: str, rate: int) -> str:
    """Normal burst is 1.5 seconds of the rate and extended burst twice that, as Cisco's guide to CAR advises."""
    burst = rate * 3 // 16
    limit = f"{rate} {burst} {2 * burst} conform-action transmit exceed-action drop"
    return f"lcp:interface-config#1=rate-limit {direction} {limit}"


def _juniper_rates(download: int | None, upload: int | None) -> bytes:
    """Activate the dynamic service `svc-internet(down,up)`, which the router defines with these two parameters.

    The attribute is tagged (RFC 2868 §3); 0 stands for no limit.
    """
    service = f"svc-internet({download or 0},{upload or 0})"
    return vendor_attribute(Vendor.JUNIPER_ERX, ERX_SERVICE_ACTIVATE, b"\x01" + service.encode())


def _accel_ppp_rates(download: int | None, upload: int | None) -> bytes:
    """Filter-Id is down/up in kbit without suffix (accel-ppp reads G as ten times its value); 0 is no limit."""
    both = f"{_kilobits(download)}/{_kilobits(upload)}"
    return attribute(Type.FILTER_ID, both.encode())


def _kilobits(rate: int | None) -> int:
    return 0 if rate is None else -(-rate // 1000)


def _profile(
    name: str,
    rates: Rates,
    vendors: frozenset[int] | None,
    *,
    coa_port: int = DYNAMIC_AUTHORIZATION_PORT,
    reject_delay_milliseconds: int = 1000,
    longest_reject_delay_milliseconds: int = 2500,
) -> NasProfile:
    return NasProfile(
        name=name,
        rates=rates,
        vendors=vendors,
        coa_port=coa_port,
        reject_delay_milliseconds=reject_delay_milliseconds,
        longest_reject_delay_milliseconds=longest_reject_delay_milliseconds,
        flip_counters=False,
        port_attributes=(Type.NAS_PORT_ID, Type.NAS_PORT),
    )


PROFILES: Mapping[str, NasProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _profile("generic", _no_rates, None),
            _profile(
                "mikrotik",
                _mikrotik_rates,
                frozenset({Vendor.MIKROTIK, Vendor.WISPR, Vendor.ASCEND, Vendor.MICROSOFT}),
                # RouterOS gives up after 1100 ms (`/radius timeout`).
                reject_delay_milliseconds=500,
                longest_reject_delay_milliseconds=850,
            ),
            _profile("wispr", _wispr_rates, frozenset({Vendor.WISPR, Vendor.MICROSOFT})),
            # IOS listens on 1700 unless `aaa server radius dynamic-author` says otherwise.
            _profile("cisco", _cisco_rates, frozenset({Vendor.CISCO, Vendor.MICROSOFT}), coa_port=1700),
            _profile("juniper", _juniper_rates, frozenset({Vendor.JUNIPER_ERX, Vendor.MICROSOFT})),
            _profile("huawei", _huawei_rates, frozenset({Vendor.HUAWEI, Vendor.MICROSOFT})),
            _profile(
                "accel-ppp",
                _accel_ppp_rates,
                frozenset({ACCEL_PPP, Vendor.CISCO, Vendor.MICROSOFT, Vendor.MIKROTIK}),
            ),
        )
    }
)
"""By the name that `[[router]] profile` gives."""
