"""Decides which commands turn what a router holds into what it should hold.

Rule: only entries that bear our tag are touched; every other one, and every dynamic one, is left exactly as it is.
Parents are made before their children and removed after them. The commands may be cut off after any one of them: what
is left over is found by reading the router again, a router that holds what it should yields no command, and one or two
rounds always lead there.

A line for which the router made a queue itself (RADIUS, DHCP) gets none of ours: two queues would count it twice.
DHCP leases belong to the router: their rate is set where the operator has tagged them, and none is made or removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from enforcement import routeros_values as values
from enforcement.routeros_cover import Cover, dynamic_cover
from enforcement.routeros_entries import (
    NO_PARENT,
    TAG,
    Entry,
    LeaseRate,
    ListedAddress,
    Menu,
    PcqType,
    Row,
    SimpleQueue,
    differences,
    key_of,
    told,
)
from enforcement.routeros_order import Placed, in_each_others_way, moves, rank

ASIDE = "caudal-aside"
"""Begins the name that an entry of ours bears while another of ours takes its name."""


class Verb(Enum):
    """What a command does; the values are the API's words."""

    ADD = "add"
    SET = "set"
    REMOVE = "remove"
    MOVE = "move"


class Command(NamedTuple):
    """One write; `key` is the entry's."""

    menu: Menu
    verb: Verb
    key: str
    arguments: tuple[tuple[str, str], ...]


class Obstacle(Enum):
    """Why an entry cannot be what it should be; the text of a problem."""

    NAME_TAKEN = "an entry that is not ours has this name; rename it, or tag it to hand it over"
    DYNAMIC_QUEUE = "the router made a queue for this line itself; change it by CoA"
    DYNAMIC_LEASE = "the lease is dynamic; make it static and tag it"
    UNTAGGED_LEASE = "the lease is not tagged; give it the comment caudal:KEY to hand its rate over"
    NO_LEASE = "the router has no lease of this client"
    DISABLED_ELSEWHERE = "the same entry exists, is disabled and is not ours; enable or remove it"


class Conflict(NamedTuple):
    """An entry that stays as it is until an operator does something; `DYNAMIC_QUEUE` alone is as it should be."""

    menu: Menu
    key: str
    obstacle: Obstacle


class DriftKind(Enum):
    """What a human did to an entry of ours."""

    REMOVED = "removed"
    CHANGED = "changed"
    ADDED = "added"


class Drift(NamedTuple):
    """An entry that is no longer as it was proven to be; one property each where it was changed."""

    menu: Menu
    key: str
    kind: DriftKind
    property: str = ""
    wanted: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read from a router in one go; `ppp` are the rows of `/ppp/active`, which tell addresses of queues."""

    rows: Mapping[Menu, Sequence[Row]]
    ppp: Sequence[Row] = ()

    def of(self, menu: Menu) -> Sequence[Row]:
        """Return the rows of a menu."""
        return self.rows.get(menu, ())


@dataclass(frozen=True, slots=True)
class Difference:
    """Commands in stages: those of one stage may run in any order, a stage begins when the one before has ended."""

    stages: tuple[tuple[Command, ...], ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every command in order."""
        return tuple(command for stage in self.stages for command in stage)


@dataclass(slots=True)
class _Plan:
    """What is found on the way, by when it has to happen."""

    aside: list[Command] = field(default_factory=list)
    types: list[Command] = field(default_factory=list)
    queues: dict[int, list[Command]] = field(default_factory=lambda: defaultdict(list))
    """By depth below the root."""
    rest: list[Command] = field(default_factory=list)
    removals: dict[int, list[Command]] = field(default_factory=lambda: defaultdict(list))
    unused_types: list[Command] = field(default_factory=list)
    moves: list[Command] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def difference(self) -> Difference:
        """Return the stages in their order."""
        stages = [self.aside, self.types]
        stages += [self.queues[depth] for depth in sorted(self.queues)]
        stages.append(self.rest)
        stages += [self.removals[depth] for depth in sorted(self.removals, reverse=True)]
        stages.append(self.unused_types)
        # Each move changes the places that the next one counts on.
        stages += [[move] for move in self.moves]
        return Difference(tuple(tuple(stage) for stage in stages if stage), tuple(self.conflicts))


def difference(
    desired: Iterable[Entry], observed: Observed, *, left: AbstractSet[tuple[Menu, str]] = frozenset()
) -> Difference:
    """Return what makes `observed` into `desired`; entries in `left`, by menu and key, stay as somebody made them."""
    plan = _Plan()
    wanted = list(desired)
    stays = {menu: {key for where, key in left if where is menu} for menu in Menu}
    _plan_types(plan, [e for e in wanted if isinstance(e, PcqType)], observed, stays[Menu.QUEUE_TYPE])
    queues = _QueuePlan(plan, observed, stays[Menu.SIMPLE_QUEUE])
    queues.make([entry for entry in wanted if isinstance(entry, SimpleQueue)])
    listed = [entry for entry in wanted if isinstance(entry, ListedAddress)]
    for menu in (Menu.ADDRESS_LIST, Menu.ADDRESS_LIST_6):
        _plan_list(plan, menu, [entry for entry in listed if entry.menu is menu], observed.of(menu), stays[menu])
    leases = [entry for entry in wanted if isinstance(entry, LeaseRate)]
    _plan_leases(plan, leases, observed.of(Menu.LEASE), stays[Menu.LEASE])
    return plan.difference()


def drift(proven: Iterable[Entry], observed: Observed) -> tuple[Drift, ...]:
    """Return what somebody changed since `proven` was in force."""
    found: list[Drift] = []
    expected: dict[Menu, dict[str, Entry]] = defaultdict(dict)
    for entry in proven:
        expected[entry.menu][entry.key] = entry
    cover = dynamic_cover(observed.of(Menu.SIMPLE_QUEUE), observed.ppp)
    for menu in Menu:
        owned = _owned(menu, observed.of(menu))
        for key, entry in expected[menu].items():
            if key in owned:
                found += _changes(entry, _own_row(entry, owned[key]))
            elif not _is_done_elsewhere(entry, cover, observed.of(menu)):
                found.append(Drift(menu, key, DriftKind.REMOVED))
        if menu is not Menu.LEASE:
            found += [Drift(menu, key, DriftKind.ADDED) for key in owned if key not in expected[menu]]
    return tuple(found)


def left_alone(drifts: Iterable[Drift], proven: Iterable[Entry], desired: Iterable[Entry]) -> set[tuple[Menu, str]]:
    """Return the entries that stay as a human made them, on a router whose drift is not repaired.

    An entry of which something else is wanted by now is set all the same: a blocked line must be blocked.
    """
    was = {(entry.menu, entry.key): entry for entry in proven}
    wanted = {(entry.menu, entry.key): entry for entry in desired}
    return {
        (each.menu, each.key) for each in drifts if was.get((each.menu, each.key)) == wanted.get((each.menu, each.key))
    }


def _changes(entry: Entry, row: Row) -> list[Drift]:
    return [
        Drift(entry.menu, entry.key, DriftKind.CHANGED, name, wanted, row.get(name, ""))
        for name, wanted in differences(entry, row).items()
    ]


def _is_done_elsewhere(entry: Entry, cover: Cover, rows: Sequence[Row]) -> bool:
    """Tell whether there is a reason other than a human why an entry of ours is not there."""
    if isinstance(entry, SimpleQueue):
        return any(map(cover.touches, entry.targets))
    return isinstance(entry, ListedAddress) and any(not differences(entry, row) for row in rows)


def _owned(menu: Menu, rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return our rows by key; somebody who copies an entry copies its comment too."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        key = key_of(menu, row)
        if key is not None:
            found[key].append(row)
    return found


def _own_row(entry: Entry, rows: Sequence[Row]) -> Row:
    """Return the row that is `entry`: of copies the one that bears its name."""
    name = entry.properties().get("name")
    return next((row for row in rows if row.get("name") == name), rows[0])


def _add(entry: Entry) -> Command:
    return Command(entry.menu, Verb.ADD, entry.key, tuple(told(entry).items()))


def _set(entry: Entry, row: Row, changed: Mapping[str, str]) -> Command:
    return Command(entry.menu, Verb.SET, entry.key, ((".id", row[".id"]), *changed.items()))


def _remove(menu: Menu, key: str, row: Row) -> Command:
    return Command(menu, Verb.REMOVE, key, ((".id", row[".id"]),))


def _plan_types(plan: _Plan, wanted: Sequence[PcqType], observed: Observed, stays: set[str]) -> None:
    owned = _owned(Menu.QUEUE_TYPE, observed.of(Menu.QUEUE_TYPE))
    for entry in wanted:
        rows = owned.pop(entry.key, None)
        if entry.key in stays:
            continue
        if rows is None:
            plan.types.append(_add(entry))
        elif changed := differences(entry, rows[0]):
            plan.types.append(_set(entry, rows[0], changed))
    plan.unused_types += [
        _remove(Menu.QUEUE_TYPE, key, row) for key, rows in owned.items() if key not in stays for row in rows
    ]


def _plan_list(plan: _Plan, menu: Menu, wanted: Sequence[ListedAddress], rows: Sequence[Row], stays: set[str]) -> None:
    """An entry is its list and address, whoever made it: a router holds each pair once."""
    held: dict[tuple[str, str], Row] = {}
    for row in rows:
        place = row.get("list", ""), values.address(row.get("address", ""))
        if place not in held or key_of(menu, held[place]) is None:
            held[place] = row
    kept: set[str] = set()
    for entry in wanted:
        same = held.get((entry.list, values.address(entry.address)))
        if same is not None:
            kept.add(same[".id"])
        if entry.key not in stays:
            _plan_listed(plan, entry, same)
    for key, owned in _owned(menu, rows).items():
        if key not in stays:
            plan.rest += [_remove(menu, key, row) for row in owned if row[".id"] not in kept]


def _plan_listed(plan: _Plan, entry: ListedAddress, row: Row | None) -> None:
    if row is None:
        plan.rest.append(_add(entry))
        return
    changed = differences(entry, row)
    key = key_of(entry.menu, row)
    if key is None:
        if changed:
            plan.conflicts.append(Conflict(entry.menu, entry.key, Obstacle.DISABLED_ELSEWHERE))
        return
    if key != entry.key:
        changed["comment"] = TAG + entry.key
    if changed:
        plan.rest.append(_set(entry, row, changed))


def _plan_leases(plan: _Plan, wanted: Sequence[LeaseRate], rows: Sequence[Row], stays: set[str]) -> None:
    owned = _owned(Menu.LEASE, rows)
    by_mac = {row.get("mac-address", "").upper(): row for row in rows}
    for entry in wanted:
        mine = owned.pop(entry.key, None)
        if mine is None:
            plan.conflicts.append(Conflict(Menu.LEASE, entry.key, _why_no_lease(by_mac.get(entry.mac.upper()))))
        elif entry.key not in stays:
            plan.rest += [_set(entry, row, changed) for row in mine if (changed := differences(entry, row))]
    for key, forgotten in owned.items():
        entry = LeaseRate(key, "", "")
        if key not in stays:
            plan.rest += [_set(entry, row, changed) for row in forgotten if (changed := differences(entry, row))]


def _why_no_lease(row: Row | None) -> Obstacle:
    if row is None:
        return Obstacle.NO_LEASE
    return Obstacle.DYNAMIC_LEASE if values.flag(row.get("dynamic", "")) else Obstacle.UNTAGGED_LEASE


class _QueuePlan:
    """Simple queues: names are unique, and a queue refers to its parent by name."""

    def __init__(self, plan: _Plan, observed: Observed, stays: set[str]) -> None:
        self._plan = plan
        self._rows = observed.of(Menu.SIMPLE_QUEUE)
        self._stays = stays
        self._cover = dynamic_cover(self._rows, observed.ppp)
        self._owned = _owned(Menu.SIMPLE_QUEUE, self._rows)
        self._foreign = {row.get("name", "") for row in self._rows if key_of(Menu.SIMPLE_QUEUE, row) is None}
        self._holders = {row.get("name", ""): row for rows in self._owned.values() for row in rows}
        self._renamed: dict[str, str] = {}

    def make(self, entries: Sequence[SimpleQueue]) -> None:
        """Plan every queue of ours."""
        parents = {entry.parent for entry in entries}
        wanted = [self._placed(entry) for entry in entries if not self._is_withheld(entry, parents)]
        mine = {entry.key: _own_row(entry, self._owned[entry.key]) for entry in wanted if entry.key in self._owned}
        depths = _depths(wanted)
        wanted.sort(key=lambda entry: rank(entry.targets))
        for entry in wanted:
            self._make_room(entry, mine.get(entry.key))
        for entry in wanted:
            if entry.key not in self._stays:
                self._plan_one(entry, mine.get(entry.key), depths[entry.key])
        self._remove_others({row[".id"] for row in mine.values()})
        self._put_in_order([entry for entry in wanted if entry.key not in self._stays], mine)

    def _is_withheld(self, entry: SimpleQueue, parents: set[str | None]) -> bool:
        if entry.name in parents or not any(map(self._cover.touches, entry.targets)):
            return False
        self._plan.conflicts.append(Conflict(entry.menu, entry.key, Obstacle.DYNAMIC_QUEUE))
        return True

    def _placed(self, entry: SimpleQueue) -> SimpleQueue:
        """Return `entry` without a parent that is somebody else's: it is limited all the same."""
        return replace(entry, parent=None) if entry.parent in self._foreign else entry

    def _make_room(self, entry: SimpleQueue, mine: Row | None) -> None:
        """Take the name of `entry` from another queue of ours that has it."""
        holder = self._holders.get(entry.name)
        if holder is None or (mine is not None and holder[".id"] == mine[".id"]) or entry.name in self._foreign:
            return
        aside = f"{ASIDE}{holder['.id']}"
        self._renamed[entry.name] = aside
        key = key_of(Menu.SIMPLE_QUEUE, holder) or ""
        self._plan.aside.append(Command(Menu.SIMPLE_QUEUE, Verb.SET, key, ((".id", holder[".id"]), ("name", aside))))

    def _plan_one(self, entry: SimpleQueue, row: Row | None, depth: int) -> None:
        is_taken = entry.name in self._foreign
        if is_taken:
            self._plan.conflicts.append(Conflict(entry.menu, entry.key, Obstacle.NAME_TAKEN))
        if row is None:
            if not is_taken:
                self._plan.queues[depth].append(_add(entry))
            return
        changed = differences(entry, self._as_renamed(row))
        if is_taken:
            changed.pop("name", None)
        if changed:
            self._plan.queues[depth].append(_set(entry, row, changed))

    def _as_renamed(self, row: Row) -> Row:
        """Return `row` as it reads once names were taken: a child follows its parent into the new name."""
        names = {name: self._renamed.get(row.get(name, ""), row.get(name, "")) for name in ("name", "parent")}
        return {**row, **{name: text for name, text in names.items() if text}}

    def _remove_others(self, kept: set[str]) -> None:
        parents = {row.get("name", ""): row.get("parent", NO_PARENT) for row in self._rows}
        for key, rows in self._owned.items():
            if key not in self._stays:
                for row in rows:
                    if row[".id"] not in kept:
                        depth = _observed_depth(row.get("parent", NO_PARENT), parents)
                        self._plan.removals[depth].append(_remove(Menu.SIMPLE_QUEUE, key, row))

    def _put_in_order(self, entries: Sequence[SimpleQueue], mine: Mapping[str, Row]) -> None:
        siblings: dict[str | None, list[SimpleQueue]] = defaultdict(list)
        for entry in entries:
            if entry.key in mine:
                siblings[entry.parent].append(entry)
        places = {row[".id"]: place for place, row in enumerate(self._rows)}
        for group in siblings.values():
            ids = {mine[entry.key][".id"]: entry for entry, counts in _with_order(group) if counts}
            in_place = sorted(ids, key=places.__getitem__)
            for move in moves([Placed(each, rank(ids[each].targets)) for each in in_place]):
                where = () if move.before is None else (("destination", move.before),)
                arguments = (("numbers", move.id), *where)
                self._plan.moves.append(Command(Menu.SIMPLE_QUEUE, Verb.MOVE, ids[move.id].key, arguments))


def _with_order(siblings: Sequence[SimpleQueue]) -> Iterable[tuple[SimpleQueue, bool]]:
    """Return each queue, and whether its place among its siblings matters."""
    return zip(siblings, in_each_others_way([entry.targets for entry in siblings]), strict=True)


def _depths(entries: Sequence[SimpleQueue]) -> dict[str, int]:
    """Return how deep below the root each key stands."""
    parents = {entry.name: entry.parent for entry in entries}
    return {entry.key: _depth(entry.parent, parents) for entry in entries}


def _depth(parent: str | None, parents: Mapping[str, str | None]) -> int:
    depth = 0
    while parent is not None:
        if parent not in parents:
            raise ValueError(f"the parent {parent!r} of a queue is none of ours")
        parent = parents[parent]
        depth += 1
        if depth > len(parents):
            raise ValueError("a queue is its own parent")
    return depth


def _observed_depth(parent: str, parents: Mapping[str, str]) -> int:
    depth = 0
    while parent != NO_PARENT and depth < len(parents):
        parent = parents.get(parent, NO_PARENT)
        depth += 1
    return depth
