"""Decides how many octets a subscriber moves: a habit, the hour of the day, a little chance, and the speed of the line.

Rule: no line carries more than its rates allow, to the octet.
"""

from __future__ import annotations

from enum import Enum
from math import cos, pi
from random import Random
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds
from simulator.rates import Rates

BUSIEST_HOUR = 21
"""Evening peak of residential access networks."""
QUIETEST_SHARE = 0.3
"""Traffic before dawn against that of the peak."""
LEAST_BURST = 0.25
MOST_BURST = 1.75

_DAY_SECONDS = 86_400
_OCTET_BITS = 8


class Habit(Enum):
    """What a household does with its line: mean (upload, download) in bit/s at the busiest hour."""

    IDLE = (4_000, 16_000)
    BROWSE = (120_000, 1_400_000)
    STREAM = (250_000, 6_500_000)
    HEAVY = (6_000_000, 38_000_000)

    def __init__(self, upload_bits_per_second: int, download_bits_per_second: int) -> None:
        self.upload_bits_per_second = upload_bits_per_second
        self.download_bits_per_second = download_bits_per_second


HABITS = (Habit.IDLE, Habit.BROWSE, Habit.STREAM, Habit.HEAVY)
HABIT_WEIGHTS = (25, 40, 25, 10)


def choose_habit(random: Random) -> Habit:
    """Return a habit as a neighbourhood has them."""
    return random.choices(HABITS, HABIT_WEIGHTS)[0]


def daily_share(instant_us: Microseconds) -> float:
    """Return the share of peak traffic at this time of day, from `QUIETEST_SHARE` to 1."""
    hour = instant_us / SECOND_US % _DAY_SECONDS / 3_600
    return QUIETEST_SHARE + (1 - QUIETEST_SHARE) * (1 + cos((hour - BUSIEST_HOUR) * pi / 12)) / 2


def octets(habit: Habit, rates: Rates, duration_us: int, share: float, random: Random) -> tuple[int, int]:
    """Return the octets (up, down) that a line moves in `duration_us` at `share` of its peak habit."""
    factor = share * random.uniform(LEAST_BURST, MOST_BURST)
    return (
        _limited(int(habit.upload_bits_per_second * factor), rates.upload_bits_per_second, duration_us),
        _limited(int(habit.download_bits_per_second * factor), rates.download_bits_per_second, duration_us),
    )


class Demand(NamedTuple):
    """What a line wants to carry at every moment, in bit/s: a download that never ends, a camera."""

    upload_bits_per_second: int
    download_bits_per_second: int


INSATIABLE_BITS_PER_SECOND = 10_000_000_000
"""More than any line carries."""
ACKNOWLEDGEMENT_SHARE = 40
"""TCP returns about one octet for so many."""


def download_demand(bits_per_second: int) -> Demand:
    """Return the demand of somebody who downloads; a line that gives less carries fewer acknowledgements too."""
    return Demand(bits_per_second // ACKNOWLEDGEMENT_SHARE, bits_per_second)


def demanded_octets(demand: Demand, rates: Rates, duration_us: int) -> tuple[int, int]:
    """Return the octets (up, down) that a line moves in `duration_us` when `demand` never rests."""
    down = _limited(demand.download_bits_per_second, rates.download_bits_per_second, duration_us)
    up = _limited(demand.upload_bits_per_second, rates.upload_bits_per_second, duration_us)
    return min(up, down // ACKNOWLEDGEMENT_SHARE), down


def _limited(wanted_bits_per_second: int, allowed_bits_per_second: int | None, duration_us: int) -> int:
    if allowed_bits_per_second is not None and allowed_bits_per_second < wanted_bits_per_second:
        wanted_bits_per_second = allowed_bits_per_second
    return wanted_bits_per_second * duration_us // (SECOND_US * _OCTET_BITS)
