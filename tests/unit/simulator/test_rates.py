"""Which speed a router reads out of an answer."""

from __future__ import annotations

import pytest

from enforcement.attributes import join
from enforcement.entitlement import Entitlement
from enforcement.profiles import PROFILES
from enforcement.rates import rate_limit
from radius.codes import Code, Type, Vendor
from radius.packet import attribute, decode, encode_request, vendor_attribute
from simulator.rate_limit import Pair, RateLimit, parse
from simulator.rates import Rates, parse_rate_limit, read
from tests.unit.enforcement.entitled import entitled


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("128k", Rates(128_000, 128_000)),
        ("64k/128M", Rates(64_000, 128_000_000)),
        ("64k 256k", Rates(64_000, 64_000)),
        ("5M/40M 10M/41M 10M/41M 60/60", Rates(5_000_000, 40_000_000)),
        ("384k/1536k 0/0 0/0 0/0 96k/384k", Rates(384_000, 1_536_000)),
        ("0/20M", Rates(None, 20_000_000)),
        ("10M/", Rates(10_000_000, 10_000_000)),
        ("", Rates(None, None)),
    ],
)
def test_the_first_word_of_a_rate_limit_is_upload_and_download(text: str, rates: Rates) -> None:
    assert parse_rate_limit(text) == rates


@pytest.mark.parametrize("text", ["fast", "10M/fast", "-1/2", "1.5M", "/2M"])
def test_a_rate_that_no_router_understands_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        parse_rate_limit(text)


@pytest.mark.parametrize(
    ("attributes", "rates"),
    [
        (b"", None),
        (vendor_attribute(Vendor.WISPR, 7, (1_000).to_bytes(4)), Rates(1_000, None)),
        (
            vendor_attribute(Vendor.HUAWEI, 2, (1_000).to_bytes(4)) + vendor_attribute(Vendor.HUAWEI, 5, bytes(4)),
            Rates(1_000, None),
        ),
        (attribute(Type.FILTER_ID, b"2000/3000"), Rates(3_000_000, 2_000_000)),
        (attribute(Type.FILTER_ID, b"ppp-in"), None),
        (
            vendor_attribute(Vendor.WISPR, 7, (1_000).to_bytes(4)) + vendor_attribute(Vendor.MIKROTIK, 8, b"1M/2M"),
            Rates(1_000_000, 2_000_000),
        ),
    ],
)
def test_each_vendor_names_its_rates_in_its_own_way(attributes: bytes, rates: Rates | None) -> None:
    assert read(decode(encode_request(Code.COA_REQUEST, 1, attributes, b"secret"))) == rates


@pytest.mark.parametrize("profile", sorted(set(PROFILES) - {"generic"}))
@pytest.mark.parametrize(("upload", "download"), [(10_000_000, 20_000_000), (512_000, None), (None, 1_000_000)])
def test_what_a_profile_writes_is_read_as_it_was_meant(profile: str, upload: int | None, download: int | None) -> None:
    attributes = join(PROFILES[profile].rates(entitled(download, upload)))
    assert read(decode(encode_request(Code.COA_REQUEST, 1, attributes, b"secret"))) == Rates(upload, download)


@pytest.mark.parametrize(
    ("line", "queue"),
    [
        (
            entitled(20_000_000, 10_000_000),
            RateLimit(Pair(10_000_000, 20_000_000), limit_at=Pair(10_000_000, 20_000_000)),
        ),
        (
            entitled(20_000_000, 10_000_000, priority=3, guaranteed_download=30_000_000, guaranteed_upload=1_000_000),
            RateLimit(Pair(10_000_000, 20_000_000), priority=3, limit_at=Pair(1_000_000, 20_000_000)),
        ),
        (
            entitled(20_000_000, 10_000_000, burst_download=30_000_000, burst_threshold_download=16_000_000,
                     burst_seconds=16, guaranteed_download=0),
            RateLimit(Pair(10_000_000, 20_000_000), Pair(0, 30_000_000), Pair(0, 16_000_000), Pair(16, 16)),
        ),
    ],
)  # fmt: skip
def test_a_router_makes_the_queue_that_was_meant(line: Entitlement, queue: RateLimit) -> None:
    assert parse(rate_limit(line)) == queue
