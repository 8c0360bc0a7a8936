"""Decides what a bad network does to a datagram: nothing, lose it, double it, or delay it so that others overtake it.

Rule: chance comes from a seeded generator, so that a run can be repeated.
"""

from __future__ import annotations

from random import Random

from simulator.behaviour import Faults
from simulator.tally import Tally

LEAST_DELAY_SECONDS = 0.01
MOST_DELAY_SECONDS = 0.2
"""Long enough to be overtaken, short enough to come before the first retransmission after 1.1 s."""

_AT_ONCE = (0.0,)


class Network:
    """The way between the routers and the server, both directions alike."""

    def __init__(self, faults: Faults, random: Random, tally: Tally) -> None:
        self._faults = faults
        self._random = random
        self._tally = tally

    def delays_seconds(self) -> tuple[float, ...]:
        """Return after how many seconds each copy of the next datagram arrives; nothing when it is lost."""
        faults, draw = self._faults, self._random.random
        if draw() < faults.loss:
            self._tally.datagrams_lost += 1
            return ()
        delays: tuple[float, ...] = _AT_ONCE
        if draw() < faults.reorder:
            self._tally.datagrams_delayed += 1
            delays = (self._delay(),)
        if draw() < faults.duplicates:
            self._tally.datagrams_duplicated += 1
            delays += (self._delay(),)
        return delays

    def _delay(self) -> float:
        return self._random.uniform(LEAST_DELAY_SECONDS, MOST_DELAY_SECONDS)
