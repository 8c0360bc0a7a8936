"""What a box is made to hold, broken off at every single command, for every kind of change.

Rule: whoever goes on knows nothing but what he reads, and comes to the state that an undisturbed visit leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from domain.instants import Microseconds
from domain.secret import Secret
from enforcement.drivers.routeros import LONGEST_REST_SECONDS, Rest, RouterConnection
from enforcement.drivers.routeros_channel import Endpoint, Patience
from enforcement.drivers.routeros_errors import RouterOsAway
from enforcement.routeros_entries import Entry, LeaseRate, ListedAddress, Menu, PcqType, SimpleQueue, UpDown
from simulator.rate_limit import Pair, RateLimit
from simulator.routeros_faults import SOUND, ApiFaults, Mishap
from simulator.routeros_sessions import ActiveSession
from tests.unit.simulator.routeros_box import ADDRESS, PASSWORD, USER, RunningBox, running_box

M = 1_000_000
QUEUES, LISTS, LEASES = Menu.SIMPLE_QUEUE.value, Menu.ADDRESS_LIST.value, Menu.LEASE.value
SHOWN = ("name", "target", "parent", "max-limit", "limit-at", "queue", "kind", "pcq-rate")
SHOWN_TOO = ("list", "address", "rate-limit", "comment", "disabled")

FAULTS = [
    ApiFaults(Mishap.CUT, times=1),
    ApiFaults(Mishap.CUT, times=1, takes_effect=True),
    ApiFaults(Mishap.REBOOT, times=1, takes_effect=True),
]
"""Before the router heard of it, before its answer was heard, and a router that starts again in the middle."""


def line(number: int, down: int = 10, parent: str | None = None, name: str | None = None) -> SimpleQueue:
    rates = UpDown(down * M // 2, down * M)
    return SimpleQueue(f"service-{number}", name or f"line {number}", (f"10.0.0.{number}",), rates, parent=parent)


SHARED = SimpleQueue("plan-1-shared", "Home 1:5", ("10.0.0.0/29",), UpDown(10 * M, 20 * M))
TREE: list[Entry] = [SHARED, *(line(number, parent=SHARED.name) for number in (1, 2, 3)), line(9)]
BLOCKED: list[Entry] = [
    replace(SHARED, max_limit=UpDown(5 * M, 10 * M)),
    replace(line(1), max_limit=UpDown(1_000, 1_000)),
    *(line(number, parent=SHARED.name) for number in (2, 3)),
    line(9),
    ListedAddress("service-1/10.0.0.1", "caudal-blocked", "10.0.0.1"),
]
TYPES = [PcqType("plan-1-up", M, "src-address"), PcqType("plan-1-down", M, "dst-address")]
PCQ: list[Entry] = [
    *TYPES,
    SimpleQueue(
        "plan-1-pcq", "Home PCQ", ("10.0.0.0/29",), UpDown(), queue=f"{TYPES[0].name}/{TYPES[1].name}", parent=None
    ),
]
GARDEN: list[Entry] = [line(1), ListedAddress("service-1/10.0.0.1", "garden", "10.0.0.1")]
LEASED: list[Entry] = [line(1), LeaseRate("service-2", "02:00:00:00:00:02", "5M/10M")]
SWAPPED: list[Entry] = [line(1, name="line 2"), line(2, name="line 1")]
MANY: list[Entry] = [line(number) for number in range(1, 9)]


def nothing(_box: RunningBox) -> None:
    """Nobody does anything."""


def by_hand(box: RunningBox) -> None:
    """Let an operator change one queue, remove another, make one of his own and copy one of ours."""
    table = box.box.state.tables[QUEUES]

    def change() -> None:
        table.set(table.find("line 1"), {"max-limit": "99M/99M"}, Microseconds(0))
        table.remove(table.find("line 9"))

    box.do(change)
    box.enter(QUEUES, {"name": "office", "target": "10.9.0.0/24", "comment": "the boss"})
    box.enter(QUEUES, {"name": "copy", "target": "10.0.0.2/32", "comment": "caudal:service-2"})


def lease(box: RunningBox) -> None:
    """Let an operator hand the rate of a lease over."""
    row = {"address": "10.0.0.2", "mac-address": "02:00:00:00:00:02", "comment": "caudal:service-2 Ana"}
    box.enter(LEASES, row)


def login(box: RunningBox) -> None:
    """Let RADIUS let a line in that had a queue of ours, and give it one of the router's own."""
    limit = RateLimit(Pair(M, M))
    box.open(ActiveSession(acct_session_id="81300001", login="ana", address="10.0.0.9", rate_limit=limit))


@dataclass(frozen=True)
class Scenario:
    """What the box held, what happened to it, and what it is to hold."""

    before: list[Entry]
    after: list[Entry]
    happens: Callable[[RunningBox], None] = nothing
    repair: bool = True
    lasts: bool = True
    """Whether what happened outlives a reboot."""


SCENARIOS: dict[str, Scenario] = {
    "a tree from nothing": Scenario([], TREE),
    "everything taken away": Scenario(TREE, []),
    "a line that is blocked": Scenario(TREE, BLOCKED),
    "a line that has paid": Scenario(BLOCKED, TREE),
    "queues that become one by PCQ": Scenario(TREE, PCQ),
    "PCQ that becomes queues": Scenario(PCQ, TREE),
    "a line that enters the walled garden": Scenario([line(1)], GARDEN),
    "a lease that is handed over": Scenario([line(1), line(2)], LEASED, lease),
    "a lease of a line that is kept no more": Scenario(LEASED, [line(1)], lease),
    "names that change places": Scenario([line(1), line(2)], SWAPPED),
    "more lines than are written at once": Scenario([], MANY),
    "drift that is repaired": Scenario(TREE, TREE, by_hand),
    "drift that is left": Scenario(TREE, TREE, by_hand, repair=False),
    "a line that logs in": Scenario(TREE, TREE, login, lasts=False),
}


class Clock:
    """A clock that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def visited(box: RunningBox) -> Iterator[Callable[[Scenario], None]]:
    """Lend what visits a box until a visit comes to its end."""
    clock = Clock()
    endpoint = Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), box.port, tls=False)
    router = RouterConnection(endpoint, Patience(), clock=clock, rest=Rest(chance=lambda: 0.0))

    def visit(scenario: Scenario) -> None:
        while True:
            # What was proven is known to a core that lives on, and to no other.
            proven = None if scenario.repair else scenario.before
            try:
                result = router.converge(scenario.after, proven, repair_drift=scenario.repair)
            except RouterOsAway:
                clock.now += LONGEST_REST_SECONDS
                continue
            assert result.in_force
            return

    try:
        yield visit
    finally:
        router.close()


def held(box: RunningBox) -> list[list[dict[str, str]]]:
    """Return what the box holds, without numbers and counters, and whatever the order."""

    def shown(menu: Menu) -> list[dict[str, str]]:
        rows = [row for row in box.rows(menu.value) if row.get("default") != "true"]
        picked = ({name: row[name] for name in (*SHOWN, *SHOWN_TOO) if name in row} for row in rows)
        return sorted(picked, key=lambda row: sorted(row.items()))

    return [shown(menu) for menu in Menu if menu is not Menu.ADDRESS_LIST_6]


def played(scenario: Scenario, faults: ApiFaults = SOUND) -> tuple[list[list[dict[str, str]]], int]:
    """Return what a box holds in the end, and how many commands the change took."""
    with running_box() as box, visited(box) as visit:
        visit(replace(scenario, after=scenario.before, repair=True))
        scenario.happens(box)
        commands = box.box.commands
        box.fail(faults)
        visit(scenario)
        return held(box), box.box.commands - commands


@pytest.mark.parametrize("faults", FAULTS, ids=["unheard", "unanswered", "reboot"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_broken_off_at_any_command_a_visit_leads_to_the_same_end(name: str, faults: ApiFaults) -> None:
    scenario = SCENARIOS[name]
    is_undone = faults.mishap is Mishap.REBOOT and not scenario.lasts
    end, commands = played(replace(scenario, happens=nothing) if is_undone else scenario)
    for done in range(commands):
        assert played(scenario, replace(faults, after=done))[0] == end, f"cut at command {done}"
