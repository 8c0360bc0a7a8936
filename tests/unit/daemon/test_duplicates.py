"""How long an answer is kept for retransmissions, and what takes its place (RFC 5080 section 2.2.2)."""

from __future__ import annotations

import pytest

from daemon.duplicates import DuplicateCache
from domain.instants import SECOND_US, Microseconds

KEY = (("192.0.2.1", 1645), 7)
OLD, NEW = b"o" * 16, b"n" * 16
BEGIN = 1_700_000_000 * SECOND_US


def instant(seconds: float) -> Microseconds:
    return Microseconds(BEGIN + int(seconds * SECOND_US))


def cache_asked_at(seconds: float) -> DuplicateCache:
    """Return a cache that was in use for a while and saw one request then."""
    cache = DuplicateCache()
    for second in range(int(seconds) + 1):
        cache.rotate(instant(second))
    cache.rotate(instant(seconds))
    cache.add(KEY, OLD)
    return cache


@pytest.mark.parametrize("asked", [10.0, 11.5, 13.0, 14.9])
def test_d4_an_entry_lives_for_five_to_thirty_seconds(asked: float) -> None:
    cache = cache_asked_at(asked)
    cache.answered(KEY, OLD, b"answer")

    cache.rotate(instant(asked + 4.9))
    kept = cache.find(KEY, OLD)
    assert kept is not None
    assert kept.reply == b"answer"

    for second in range(6, 31):
        cache.rotate(instant(asked + second))
    assert cache.find(KEY, OLD) is None
    assert len(cache) == 0


def test_d3_a_new_authenticator_takes_the_place_of_the_old_one() -> None:
    cache = cache_asked_at(10.0)
    cache.add(KEY, NEW)
    cache.answered(KEY, OLD, b"late")

    assert cache.find(KEY, OLD) is None
    entry = cache.find(KEY, NEW)
    assert entry is not None
    assert entry.reply is None


def test_a_request_that_was_given_up_is_new_when_it_comes_again() -> None:
    cache = cache_asked_at(10.0)

    assert cache.forget(KEY, OLD)
    assert cache.find(KEY, OLD) is None
    assert not cache.forget(KEY, OLD)


def test_an_answered_request_cannot_be_given_up() -> None:
    cache = cache_asked_at(10.0)
    cache.answered(KEY, OLD, b"answer")

    assert not cache.forget(KEY, OLD)
    assert cache.find(KEY, OLD) is not None


def test_a_flood_does_not_make_the_cache_grow_without_end() -> None:
    cache = DuplicateCache(most=100)
    for place in range(1000):
        cache.add((("192.0.2.1", place), 0), OLD)

    assert len(cache) <= 200
    assert cache.find((("192.0.2.1", 999), 0), OLD) is not None
