"""What a rule makes of a rate.

Rule: rates are whole bit/s, None is unlimited; what is unlimited cannot be scaled; a slowed line never gets 0, for that
is no limit to RouterOS.
"""

from __future__ import annotations

from domain.plan_rules import Burst, Change, ChangeKind
from enforcement.explanation import UNLIMITED, Numbers

LEAST_RATE = 1


def rate_numbers(download: int | None, upload: int | None) -> Numbers:
    return (
        ("download_bits_per_second", UNLIMITED if download is None else download),
        ("upload_bits_per_second", UNLIMITED if upload is None else upload),
    )


def scaled(rate: int | None, percent: int) -> int | None:
    return None if rate is None else max(LEAST_RATE, rate * percent // 100)


def changed(rate: int | None, change: Change, fixed: int | None) -> int | None:
    """Return the rate of one direction after a change, whose fixed rate for it is `fixed`."""
    if change.kind is ChangeKind.PERCENT:
        return scaled(rate, change.percent)
    return rate if fixed is None else max(LEAST_RATE, fixed)


def lower(rate: int | None, other: int | None) -> int | None:
    if rate is None or other is None:
        return other if rate is None else rate
    return min(rate, other)


def higher(rate: int | None, other: int | None) -> int | None:
    return None if rate is None or other is None else max(rate, other)


def burst_limit(burst: Burst, fixed: int | None, rate: int | None, own: int | None) -> int | None:
    """Return the burst limit over `rate`; a fixed one shrinks with a rate that fell below the plan's `own`."""
    if rate is None:
        return None
    if burst.limit_percent is not None:
        limit = rate * burst.limit_percent // 100
    elif fixed is None or own is None:
        return None
    else:
        limit = fixed if rate >= own else fixed * rate // own
    return limit if limit > rate else None
