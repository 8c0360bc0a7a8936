"""Decides which queues and list entries a router holds for lines that have no session: the contention tree, or PCQ.

Rule: a plan of aggregation 1:N has one parent queue a router, each direction of which may carry

    max(the plan's rate, the sum of its lines' present rates / N), rounded up to a whole bit/s.

So one line alone gets what it bought, and N lines share what one of them may use: seven lines of 5 Mbit/s at 1:5 share
7 Mbit/s, a hundred share 100. A line faster than its plan (boost, override) bought speed of its own and stands beside
the tree; one without limit in a plan that has one does too. A line that fair use has slowed counts with what it has.

The parent's target is the addresses of its children: a child sees only traffic that its parent has captured. Where
these are too many for one word, networks are widened over addresses that no line has.

With PCQ (per connection queue) lines of one plan and equal rates share one queue that a PCQ type divides by address;
a line with burst or guarantee, which PCQ has not, keeps a queue of its own. The tree above is the same.

A line that is not let in is put on the list `caudal-blocked`, and held to next to nothing where no firewall looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import NamedTuple, TypeAlias

from enforcement import routeros_values as values
from enforcement.entitlement import Entitlement
from enforcement.routeros_cover import Cover
from enforcement.routeros_entries import (
    LOWEST_PRIORITY,
    Entry,
    ListedAddress,
    PcqType,
    SimpleQueue,
    UpDown,
)

BLOCKED_LIST = "caudal-blocked"
"""The list that the firewall of `router script` refuses with an ICMP message."""
BLOCKED_RATE = UpDown(1_000, 1_000)
"""One packet in ten seconds: RouterOS knows no rate of nothing, its 0 is without limit."""

MOST_TARGETS = 2_000
"""Networks in one target: as a word of the API they have some 32,000 octets."""
WIDEST_PREFIX = 16

Network: TypeAlias = IPv4Network | IPv6Network


class Queueing(Enum):
    """What a router holds for lines without session; the values are stored."""

    NONE = "none"
    SIMPLE = "simple"
    PCQ = "pcq"


class SharedPlan(NamedTuple):
    """A plan as its contention tree sees it; `key` is without space."""

    key: str
    name: str
    download: int | None
    upload: int | None
    aggregation: int | None


class StaticLine(NamedTuple):
    """A line with fixed addresses; `key` is without space, `name` becomes its queue's."""

    key: str
    name: str
    plan_key: str
    targets: tuple[str, ...]
    entitlement: Entitlement


def shared_rate(plan_rate: int | None, line_rates: Iterable[int], aggregation: int) -> int | None:
    """Return the bit/s that lines of a 1:`aggregation` plan share; None without limit."""
    if plan_rate is None:
        return None
    return max(plan_rate, -(-sum(line_rates) // aggregation))


def entries(lines: Iterable[StaticLine], plans: Mapping[str, SharedPlan], queueing: Queueing) -> list[Entry]:
    """Return everything that a router holds for `lines`, in the order in which it is made."""
    every = sorted(lines)
    found: list[Entry] = []
    if queueing is not Queueing.NONE:
        names = _Names()
        by_plan: dict[str, list[StaticLine]] = defaultdict(list)
        for line in every:
            by_plan[line.plan_key].append(line)
        for key, of_plan in by_plan.items():
            found += _plan_queues(plans[key], of_plan, every, queueing, names)
    for line in every:
        found += _listed(line)
    return found


def _listed(line: StaticLine) -> list[Entry]:
    told = line.entitlement
    name = told.address_list if told.admitted else BLOCKED_LIST
    if name is None:
        return []
    return [ListedAddress(f"{line.key}/{values.address(target)}", name, target) for target in line.targets]


class _Names:
    """Gives each queue a name that no other has: the one it should have, else that with its key."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str, key: str) -> str:
        name = wanted if wanted not in self._taken else f"{wanted} ({key})"
        self._taken.add(name)
        return name


def _plan_queues(
    plan: SharedPlan, lines: Sequence[StaticLine], every: Sequence[StaticLine], queueing: Queueing, names: _Names
) -> list[Entry]:
    sharing: list[StaticLine] = []
    alone: list[StaticLine] = []
    for line in lines:
        (sharing if _shares(plan, line) else alone).append(line)
    found: list[Entry] = []
    parent = None
    if sharing:
        root = _parent(plan, sharing, every, names)
        parent = root.name
        found.append(root)
    found += _leaves(plan, sharing, parent, queueing, names)
    found += _leaves(plan, alone, None, queueing, names)
    return found


def _shares(plan: SharedPlan, line: StaticLine) -> bool:
    told = line.entitlement
    if plan.aggregation is None or not told.admitted:
        return False
    return _within(told.download, plan.download) and _within(told.upload, plan.upload)


def _within(rate: int | None, plan_rate: int | None) -> bool:
    return plan_rate is None or (rate is not None and rate <= plan_rate)


def _parent(plan: SharedPlan, lines: Sequence[StaticLine], every: Sequence[StaticLine], names: _Names) -> SimpleQueue:
    ratio = plan.aggregation or 1
    key = f"{plan.key}-shared"
    up = shared_rate(plan.upload, (line.entitlement.upload or 0 for line in lines), ratio)
    down = shared_rate(plan.download, (line.entitlement.download or 0 for line in lines), ratio)
    targets = _collapsed(_networks(lines))
    if len(targets) > MOST_TARGETS:
        ours = {line.key for line in lines}
        targets = _widened(targets, Cover(_networks(line for line in every if line.key not in ours)))
    return SimpleQueue(key, names.take(f"{plan.name} 1:{ratio}", key), tuple(map(str, targets)), UpDown(up, down))


def _networks(lines: Iterable[StaticLine]) -> list[Network]:
    found = (values.network_of(target) for line in lines for target in line.targets)
    return [network for network in found if network is not None]


def _collapsed(networks: Iterable[Network]) -> list[Network]:
    """Return the fewest networks that are exactly the same addresses."""
    every = list(networks)
    four = collapse_addresses(network for network in every if isinstance(network, IPv4Network))
    six = collapse_addresses(network for network in every if isinstance(network, IPv6Network))
    return [*four, *six]


def _widened(networks: list[Network], strangers: Cover) -> list[Network]:
    """Return fewer networks that hold the same lines and nobody else's; as few as one word can bear, if that goes."""
    for _ in range(WIDEST_PREFIX):
        if len(networks) <= MOST_TARGETS:
            break
        networks = _collapsed(
            network
            if network.prefixlen <= WIDEST_PREFIX or strangers.touches(str(network.supernet()))
            else network.supernet()
            for network in networks
        )
    return networks


def _leaves(
    plan: SharedPlan, lines: Sequence[StaticLine], parent: str | None, queueing: Queueing, names: _Names
) -> list[Entry]:
    groups: dict[tuple[UpDown, int], list[StaticLine]] = defaultdict(list)
    found: list[Entry] = []
    for line in lines:
        if queueing is Queueing.PCQ and _is_divisible(line.entitlement):
            groups[_rates(line.entitlement), line.entitlement.priority or LOWEST_PRIORITY].append(line)
        else:
            found.append(_queue(line, parent, names))
    for (rates, priority), group in sorted(groups.items(), key=str):
        found += _divided(plan, group, rates, priority, parent, names)
    return found


def _is_divisible(told: Entitlement) -> bool:
    """Tell whether PCQ can give a line all that it may have."""
    burst = _above(told.burst_download, told.download), _above(told.burst_upload, told.upload)
    guaranteed = told.guaranteed_download, told.guaranteed_upload
    return told.admitted and not any((*burst, *guaranteed))


def _rates(told: Entitlement) -> UpDown:
    return UpDown(told.upload, told.download)


def _divided(
    plan: SharedPlan, lines: Sequence[StaticLine], rates: UpDown, priority: int, parent: str | None, names: _Names
) -> list[Entry]:
    key = f"{plan.key}-pcq-{rates.up or 0}-{rates.down or 0}-{priority}{'' if parent else '-alone'}"
    up = PcqType(f"{key}-up", rates.up, "src-address")
    down = PcqType(f"{key}-down", rates.down, "dst-address")
    queue = SimpleQueue(
        key,
        names.take(f"{plan.name} {rates.text} PCQ", key),
        tuple(map(str, _collapsed(_networks(lines)))),
        UpDown(),
        priority=priority,
        parent=parent,
        queue=f"{up.name}/{down.name}",
    )
    return [up, down, queue]


def _queue(line: StaticLine, parent: str | None, names: _Names) -> SimpleQueue:
    told = line.entitlement
    name = names.take(line.name, line.key)
    if not told.admitted:
        return SimpleQueue(line.key, name, line.targets, BLOCKED_RATE)
    burst = UpDown(_above(told.burst_upload, told.upload), _above(told.burst_download, told.download))
    return SimpleQueue(
        line.key,
        name,
        line.targets,
        _rates(told),
        limit_at=UpDown(
            _at_most(told.guaranteed_upload, told.upload), _at_most(told.guaranteed_download, told.download)
        ),
        burst_limit=burst,
        burst_threshold=UpDown(
            _threshold(burst.up, told.burst_threshold_upload, told.upload),
            _threshold(burst.down, told.burst_threshold_download, told.download),
        ),
        burst_seconds=(told.burst_seconds or 1) if any(burst) else 0,
        priority=told.priority or LOWEST_PRIORITY,
        parent=parent,
    )


def _above(burst: int | None, rate: int | None) -> int | None:
    """Return the burst limit of a direction that has a rate to be above of."""
    return burst if burst is not None and rate is not None and burst > rate else None


def _threshold(burst: int | None, threshold: int | None, rate: int | None) -> int | None:
    """Return the average below which a direction may burst: that of the plan, else the rate, as in RADIUS."""
    return None if burst is None else threshold or rate


def _at_most(guaranteed: int | None, rate: int | None) -> int | None:
    """RouterOS refuses a limit-at above the max-limit."""
    return guaranteed if guaranteed is None or rate is None else min(guaranteed, rate)
