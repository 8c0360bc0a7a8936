"""Which queues have to change their place in the list, which RouterOS scans from the top.

Rule: of two queues below one parent that share an address the one for the smaller network comes first, else it would
never be reached; all others stand where they stand. As few as possible move.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from enforcement import routeros_values as values
from enforcement.routeros_cover import Cover


class Placed(NamedTuple):
    """A queue where it stands; `rank` is less for what must come first."""

    id: str
    rank: int


class Move(NamedTuple):
    """Put `id` directly before `before`; None is the end of the list."""

    id: str
    before: str | None


def rank(targets: Sequence[str]) -> int:
    """Return how many bits of its largest network's addresses are free: the smallest network comes first."""
    networks = [network for network in map(values.network_of, targets) if network is not None]
    return max((network.max_prefixlen - network.prefixlen for network in networks), default=0)


def in_each_others_way(siblings: Sequence[Sequence[str]]) -> list[bool]:
    """Tell of each queue, given by its targets, whether it shares an address with one of another rank."""
    ranks = [rank(targets) for targets in siblings]
    if len(set(ranks)) < 2:
        return [False] * len(ranks)
    covers = {
        each: Cover(
            network
            for targets, of in zip(siblings, ranks, strict=True)
            if of == each
            for network in map(values.network_of, targets)
            if network is not None
        )
        for each in set(ranks)
    }
    return [
        any(cover.touches(target) for other, cover in covers.items() if other != of for target in targets)
        for targets, of in zip(siblings, ranks, strict=True)
    ]


def moves(siblings: Sequence[Placed]) -> list[Move]:
    """Return the moves that bring `siblings`, in the order in which they stand, into order by rank."""
    staying = {siblings[place].id for place in _longest_ordered([each.rank for each in siblings])}
    found: list[Move] = []
    before: str | None = None
    in_order = sorted(siblings, key=lambda placed: placed.rank)
    for each in reversed(in_order):
        if each.id not in staying:
            found.append(Move(each.id, before))
        before = each.id
    return found


def _longest_ordered(ranks: Sequence[int]) -> list[int]:
    """Return the places of a longest run of ranks that never falls."""
    ends: list[int] = []
    places: list[int] = []
    previous: list[int | None] = []
    for place, each in enumerate(ranks):
        length = bisect_right(ends, each)
        previous.append(places[length - 1] if length else None)
        ends[length : length + 1] = [each]
        places[length : length + 1] = [place]
    run: list[int] = []
    place_of: int | None = places[-1] if places else None
    while place_of is not None:
        run.append(place_of)
        place_of = previous[place_of]
    return run
