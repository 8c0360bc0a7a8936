"""What a bad network does to datagrams."""

from __future__ import annotations

from random import Random

import pytest

from simulator.behaviour import Behaviour, Faults
from simulator.errors import SimulatorError
from simulator.network import MOST_DELAY_SECONDS, Network
from simulator.tally import Tally


def test_loss_duplicates_and_delays_come_as_often_as_asked() -> None:
    tally = Tally()
    network = Network(Faults(loss=0.1, duplicates=0.05, reorder=0.2), Random(1), tally)
    copies = [network.delays_seconds() for _ in range(10_000)]
    assert sum(not delays for delays in copies) == tally.datagrams_lost == pytest.approx(1_000, rel=0.15)
    assert sum(len(delays) == 2 for delays in copies) == tally.datagrams_duplicated == pytest.approx(450, rel=0.15)
    assert sum(bool(delays) and delays[0] > 0 for delays in copies) == tally.datagrams_delayed
    assert tally.datagrams_delayed == pytest.approx(1_800, rel=0.15)
    assert max(max(delays, default=0) for delays in copies) <= MOST_DELAY_SECONDS


def test_a_perfect_network_delivers_each_datagram_once_at_once() -> None:
    network = Network(Faults(), Random(1), Tally())
    assert {network.delays_seconds() for _ in range(100)} == {(0.0,)}


def test_a_share_above_one_hundred_percent_is_refused() -> None:
    with pytest.raises(SimulatorError, match="loss must be a share"):
        Faults(loss=1.5)


def test_time_that_stands_still_is_refused() -> None:
    with pytest.raises(SimulatorError, match="speed must be above 0"):
        Behaviour(speed=0)
