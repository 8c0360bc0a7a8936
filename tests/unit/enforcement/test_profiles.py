"""What each NAS is told of a rate, and what is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from enforcement.attributes import kinds, split
from enforcement.profiles import PROFILES, Aspect
from enforcement.rates import exact_rate, rate_limit
from radius.codes import Type, Vendor
from tests.unit.enforcement.entitled import entitled, read_parts

BURST = {
    "burst_upload": 15_000_000,
    "burst_download": 30_000_000,
    "burst_threshold_upload": 8_000_000,
    "burst_threshold_download": 16_000_000,
    "burst_seconds": 16,
}


def told(profile: str, download: int | None, upload: int | None, **more: Any) -> list[tuple[int, int, bytes]]:
    """Return (vendor, type, value) of what a profile says of rates."""
    return read_parts(PROFILES[profile].rates(entitled(download, upload, **more)))


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (20_000_000, "20M"),
        (1_500_000, "1500k"),
        (1_000_000_000, "1000M"),
        (2_500_000_000, "2500M"),
        (64_000, "64k"),
        (1_234_567, "1234567"),
        (0, "0"),
    ],
)
def test_a_rate_for_routeros_is_exact_and_never_in_g(rate: int, text: str) -> None:
    assert exact_rate(rate) == text


@pytest.mark.parametrize(
    ("download", "upload", "more", "text"),
    [
        (20_000_000, 10_000_000, {}, "10M/20M"),
        (20_000_000, None, {}, "0/20M"),
        (None, None, {}, "0/0"),
        (20_000_000, 10_000_000, BURST, "10M/20M 15M/30M 8M/16M 16/16"),
        (20_000_000, 10_000_000, {"burst_download": 30_000_000}, "10M/20M 0/30M 0/20M 1/1"),
        (20_000_000, 10_000_000, {"burst_download": 20_000_000, "burst_upload": 5_000_000}, "10M/20M"),
        (None, 10_000_000, BURST, "10M/0 15M/0 8M/0 16/16"),
        (20_000_000, 10_000_000, {"priority": 3}, "10M/20M 0/0 0/0 0/0 3"),
        (20_000_000, 10_000_000, {**BURST, "priority": 1}, "10M/20M 15M/30M 8M/16M 16/16 1"),
        (
            20_000_000,
            10_000_000,
            {"guaranteed_download": 4_000_000, "guaranteed_upload": 2_000_000},
            "10M/20M 0/0 0/0 0/0 8 2M/4M",
        ),
        (20_000_000, 10_000_000, {"guaranteed_download": 0}, "10M/20M 0/0 0/0 0/0 8 0/0"),
        (1_000_000, 512_000, {"guaranteed_download": 4_000_000, "guaranteed_upload": 256_000, "priority": 5},
         "512k/1M 0/0 0/0 0/0 5 256k/1M"),
        (
            20_000_000,
            10_000_000,
            {**BURST, "priority": 2, "guaranteed_download": 5_000_000, "guaranteed_upload": 2_500_000},
            "10M/20M 15M/30M 8M/16M 16/16 2 2500k/5M",
        ),
    ],
)  # fmt: skip
def test_a_rate_limit_has_every_field_up_to_the_last_one_needed(
    download: int | None, upload: int | None, more: dict[str, Any], text: str
) -> None:
    assert rate_limit(entitled(download, upload, **more)) == text
    assert told("mikrotik", download, upload, **more) == [(Vendor.MIKROTIK, 8, text.encode())]


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


@pytest.mark.parametrize(("more", "peaks"), [({}, (10_000_000, 20_000_000)), (BURST, (15_000_000, 30_000_000))])
def test_huawei_input_is_the_upload_and_its_peak_the_burst(more: dict[str, Any], peaks: tuple[int, int]) -> None:
    vendor = Vendor.HUAWEI
    assert told("huawei", 20_000_000, 10_000_000, **more) == [
        (vendor, 2, (10_000_000).to_bytes(4)),
        (vendor, 3, peaks[0].to_bytes(4)),
        (vendor, 5, (20_000_000).to_bytes(4)),
        (vendor, 6, peaks[1].to_bytes(4)),
    ]


def test_cisco_output_is_the_download() -> None:
    down, up = (value.decode() for _, _, value in told("cisco", 8_000_000, 1_000_000))
    action = "conform-action transmit exceed-action drop"
    assert down == f"lcp:interface-config#1=rate-limit output 8000000 1500000 3000000 {action}"
    assert up.startswith("lcp:interface-config#1=rate-limit input 1000000 ")


def test_juniper_activates_a_tagged_service() -> None:
    assert told("juniper", 20_000_000, 10_000_000) == [(Vendor.JUNIPER_ERX, 65, b"\x01svc-internet(20000000,10000000)")]
    assert told("juniper", None, 10_000_000) == [(Vendor.JUNIPER_ERX, 65, b"\x01svc-internet(0,10000000)")]


def test_accel_ppp_is_told_kilobits_with_the_download_first() -> None:
    assert told("accel-ppp", 1_000_000_000, 512_000) == [(0, 11, b"1000000/512")]


def test_a_generic_nas_is_told_nothing() -> None:
    assert told("generic", 20_000_000, 10_000_000) == []


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_knows_which_attributes_its_rates_are(name: str) -> None:
    profile = PROFILES[name]
    octets = b"".join(octets for _, octets in profile.rates(entitled(20_000_000, 10_000_000)))
    found = {kind for number, value in split(octets) for kind in kinds(number, value)}
    assert found == profile.rate_kinds
    assert {profile.aspect_of(kind) for kind in found} <= {Aspect.RATES}


def test_routeros_changes_by_coa_what_its_manual_lists() -> None:
    mikrotik = PROFILES["mikrotik"]
    assert mikrotik.changeable == {Aspect.RATES, Aspect.SESSION_TIMEOUT, Aspect.IDLE_TIMEOUT}
    assert mikrotik.can_change((14988, 3, b""))
    assert not mikrotik.can_change((14988, 19, b""))
    assert not mikrotik.can_change((0, 88, b""))
    assert mikrotik.api
    assert mikrotik.coa_identification == (Type.USER_NAME, Type.ACCT_SESSION_ID, Type.FRAMED_IP_ADDRESS)


def test_who_can_be_told_that_a_line_has_no_limit_and_who_ends_sessions_by_octets() -> None:
    says = {name for name, profile in PROFILES.items() if profile.says_unlimited}
    assert says == {"mikrotik", "juniper", "accel-ppp"}
    limits = {name: profile.largest_limit_by_coa for name, profile in PROFILES.items() if profile.limits_octets}
    assert limits == {"mikrotik": 2**32 - 1}, "its manual lists no Gigawords as changeable"


def test_only_routeros_is_told_address_lists_and_has_an_api() -> None:
    assert [name for name, profile in PROFILES.items() if profile.address_lists] == ["mikrotik"]
    assert [name for name, profile in PROFILES.items() if profile.api] == ["mikrotik"]
    assert {name for name, profile in PROFILES.items() if Aspect.REDIRECT in profile.told()} == {
        "generic",
        "mikrotik",
        "wispr",
    }


def test_a_refusal_reaches_routeros_before_it_gives_up() -> None:
    assert PROFILES["mikrotik"].longest_reject_delay_milliseconds < 1100


def test_the_names_of_the_configuration_are_all_there() -> None:
    assert set(PROFILES) == {"mikrotik", "generic", "cisco", "juniper", "huawei", "wispr", "accel-ppp"}
    assert all(name == profile.name for name, profile in PROFILES.items())
