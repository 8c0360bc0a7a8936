"""What RouterOS makes of a Mikrotik-Rate-Limit."""

from __future__ import annotations

import pytest

from simulator.rate_limit import NOTHING, Pair, RateLimit, of_rates, parse
from simulator.rates import UNLIMITED, Rates

M = 1_000_000
K = 1_000


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("128k", RateLimit(Pair(128 * K, 128 * K), limit_at=Pair(128 * K, 128 * K))),
        ("64k/128M", RateLimit(Pair(64 * K, 128 * M), limit_at=Pair(64 * K, 128 * M))),
        (
            "64k 256k",
            RateLimit(
                Pair(64 * K, 64 * K),
                burst_limit=Pair(256 * K, 256 * K),
                burst_threshold=Pair(64 * K, 64 * K),
                burst_seconds=Pair(1, 1),
                limit_at=Pair(64 * K, 64 * K),
            ),
        ),
        (
            "5M/40M 10M/41M 8M/30M 60/30 3 1M/2M",
            RateLimit(Pair(5 * M, 40 * M), Pair(10 * M, 41 * M), Pair(8 * M, 30 * M), Pair(60, 30), 3, Pair(M, 2 * M)),
        ),
        (
            "384k/1536k 0/0 0/0 0/0 96k/384k",
            RateLimit(Pair(384 * K, 1536 * K), limit_at=Pair(96 * K, 384 * K)),
        ),
        ("0/0", RateLimit(NOTHING)),
    ],
)
def test_the_strings_seen_in_the_wild_are_understood(text: str, queue: RateLimit) -> None:
    assert parse(text) == queue


def test_an_empty_string_asks_for_no_queue() -> None:
    assert parse("  ") is None


@pytest.mark.parametrize(
    "text", ["fast", "1G", "10M/", "10M 20M 5M 8s", "10M 0 0 0 9", "10M 0 0 0 8 20M", "1 1 1 1 1 1 1"]
)
def test_what_no_box_understands_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_other_words_for_a_rate_make_a_queue_that_guarantees_nothing() -> None:
    assert of_rates(Rates(None, M)) == RateLimit(Pair(0, M))
    assert of_rates(UNLIMITED) is of_rates(None) is None
