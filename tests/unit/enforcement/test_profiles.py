"""What each NAS is told of a rate."""

from __future__ import annotations

import pytest

from enforcement.profiles import PROFILES, exact_rate
from radius.codes import Vendor
from radius.packet import vendor_values


def told(profile: str, download: int | None, upload: int | None) -> list[tuple[int, int, bytes]]:
    """Return (vendor, type, value) of what a profile sends; vendor 0 for a standard attribute."""
    octets = PROFILES[profile].rates(download, upload)
    found: list[tuple[int, int, bytes]] = []
    while octets:
        value, size = octets[2 : octets[1]], octets[1]
        found += vendor_values(value) if octets[0] == 26 else [(0, octets[0], value)]
        octets = octets[size:]
    return found


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (20_000_000, "20M"),
        (1_500_000, "1500k"),
        (1_000_000_000, "1000M"),
        (2_500_000_000, "2500M"),
        (64_000, "64k"),
        (1_234_567, "1234567"),
    ],
)
def test_a_rate_for_routeros_is_exact_and_never_in_g(rate: int, text: str) -> None:
    assert exact_rate(rate) == text


def test_mikrotik_is_told_the_upload_first() -> None:
    assert told("mikrotik", 20_000_000, 10_000_000) == [(Vendor.MIKROTIK, 8, b"10M/20M")]
    assert told("mikrotik", 20_000_000, None) == [(Vendor.MIKROTIK, 8, b"0/20M")]


def test_wispr_is_told_bits_per_second_each_way() -> None:
    assert told("wispr", 20_000_000, 10_000_000) == [
        (Vendor.WISPR, 7, (10_000_000).to_bytes(4)),
        (Vendor.WISPR, 8, (20_000_000).to_bytes(4)),
    ]


def test_an_unlimited_direction_is_left_out() -> None:
    assert told("wispr", None, 10_000_000) == [(Vendor.WISPR, 7, (10_000_000).to_bytes(4))]
    assert [kind for _, kind, _ in told("huawei", 5_000_000, None)] == [5, 6]
    assert len(told("cisco", 5_000_000, None)) == 1


def test_a_rate_that_does_not_fit_is_the_most_that_fits() -> None:
    assert told("wispr", 10_000_000_000, None) == [(Vendor.WISPR, 8, b"\xff\xff\xff\xff")]


def test_huawei_input_is_the_upload() -> None:
    up, down = (10_000_000).to_bytes(4), (20_000_000).to_bytes(4)
    vendor = Vendor.HUAWEI
    assert told("huawei", 20_000_000, 10_000_000) == [
        (vendor, 2, up),
        (vendor, 3, up),
        (vendor, 5, down),
        (vendor, 6, down),
    ]


def test_cisco_output_is_the_download() -> None:
    down, up = (value.decode() for _, _, value in told("cisco", 8_000_000, 1_000_000))
    action = "conform-action transmit exceed-action drop"
    assert down == f"lcp:interface-config#1=rate-limit output 8000000 1500000 3000000 {action}"
    assert up.startswith("lcp:interface-config#1=rate-limit input 1000000 ")


def test_juniper_activates_a_tagged_service() -> None:
    assert told("juniper", 20_000_000, 10_000_000) == [(Vendor.JUNIPER_ERX, 65, b"\x01svc-internet(20000000,10000000)")]


def test_accel_ppp_is_told_kilobits_with_the_download_first() -> None:
    assert told("accel-ppp", 1_000_000_000, 512_000) == [(0, 11, b"1000000/512")]


def test_a_generic_nas_is_told_nothing() -> None:
    assert told("generic", 20_000_000, 10_000_000) == []


def test_a_refusal_reaches_routeros_before_it_gives_up() -> None:
    assert PROFILES["mikrotik"].longest_reject_delay_milliseconds < 1100


def test_the_names_of_the_configuration_are_all_there() -> None:
    assert set(PROFILES) == {"mikrotik", "generic", "cisco", "juniper", "huawei", "wispr", "accel-ppp"}
    assert all(name == profile.name for name, profile in PROFILES.items())
