"""What turns a router's queues, lists and leases into what they should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import routeros_values as values
from enforcement.routeros_entries import (
    Entry,
    LeaseRate,
    ListedAddress,
    Menu,
    PcqType,
    SimpleQueue,
    UpDown,
    told,
)
from enforcement.routeros_order import Placed, moves, rank
from enforcement.routeros_state import (
    Command,
    Conflict,
    DriftKind,
    Observed,
    Obstacle,
    Verb,
    difference,
    drift,
    left_alone,
)

M = 1_000_000


class Refused(Exception):
    """What a router answers with a trap."""


@dataclass
class PaperRouter:
    """Entries under RouterOS's own rules: unique names, parents that exist, dynamic entries that nobody changes."""

    rows: dict[Menu, list[dict[str, str]]] = field(default_factory=lambda: {menu: [] for menu in Menu})
    ppp: list[dict[str, str]] = field(default_factory=list)
    last_number: int = 0

    def observe(self) -> Observed:
        return Observed({menu: [dict(row) for row in rows] for menu, rows in self.rows.items()}, list(self.ppp))

    def have(self, menu: Menu, **properties: str) -> dict[str, str]:
        """Enter what an operator, or the router itself, has made."""
        self.last_number += 1
        row = {".id": f"*{self.last_number:X}", **{name.replace("_", "-"): text for name, text in properties.items()}}
        self.rows[menu].append(row)
        return row

    def do(self, command: Command) -> None:
        arguments = dict(command.arguments)
        rows = self.rows[command.menu]
        if command.verb is Verb.ADD:
            self._check(command.menu, arguments, None)
            self.last_number += 1
            rows.append({".id": f"*{self.last_number:X}", **arguments})
        elif command.verb is Verb.MOVE:
            row = self._find(rows, arguments["numbers"])
            rows.remove(row)
            before = arguments.get("destination")
            rows.insert(len(rows) if before is None else rows.index(self._find(rows, before)), row)
        else:
            row = self._find(rows, arguments.pop(".id"))
            if row.get("dynamic") == "true":
                raise Refused("failure: can not change dynamic entry")
            if command.verb is Verb.REMOVE:
                if any(each.get("parent") == row.get("name") for each in rows) and command.menu is Menu.SIMPLE_QUEUE:
                    raise Refused("failure: it has children")
                rows.remove(row)
            else:
                self._check(command.menu, {**row, **arguments}, row)
                if "name" in arguments:
                    for each in rows:
                        if each.get("parent") == row["name"]:
                            each["parent"] = arguments["name"]
                row.update(arguments)

    def run(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.do(command)

    def _find(self, rows: list[dict[str, str]], number: str) -> dict[str, str]:
        for row in rows:
            if row[".id"] == number:
                return row
        raise Refused("no such item")

    def _check(self, menu: Menu, wanted: dict[str, str], itself: dict[str, str] | None) -> None:
        others = [row for row in self.rows[menu] if row is not itself]
        if menu in (Menu.ADDRESS_LIST, Menu.ADDRESS_LIST_6):
            if any((row["list"], row["address"]) == (wanted["list"], wanted["address"]) for row in others):
                raise Refused("failure: already have such entry")
        elif any(row.get("name") == wanted.get("name") for row in others if "name" in wanted):
            raise Refused("failure: already have such name")
        parent = wanted.get("parent", "none")
        if parent != "none" and all(row["name"] != parent for row in others):
            raise Refused("input does not match any value of parent")

    def shown(self) -> list[tuple[str, ...]]:
        """Return all that a subscriber can notice, without ids."""
        return sorted(
            (menu.value, *(f"{name}={text}" for name, text in sorted(row.items()) if name != ".id"))
            for menu, rows in self.rows.items()
            for row in rows
        )


def queue(key: str, address: str, down: int = 10 * M, **more: object) -> SimpleQueue:
    made = SimpleQueue(key, f"line {key}", (address,), UpDown(down // 2, down))
    return replace(made, **more)  # type: ignore[arg-type]  # the fields of a queue, by name


TREE: list[Entry] = [
    PcqType("p1-up", 5 * M, "src-address"),
    SimpleQueue("p1", "Home 1:5", ("10.0.0.0/30",), UpDown(5 * M, 10 * M)),
    queue("s1", "10.0.0.0/32", parent="Home 1:5"),
    queue("s2", "10.0.0.1", parent="Home 1:5", priority=3, burst_limit=UpDown(M, 2 * M), burst_seconds=16),
    queue("s3", "10.0.1.1"),
    ListedAddress("s1/10.0.0.0", "walled", "10.0.0.0"),
    ListedAddress("s3/2001:db8::1", "walled", "2001:db8::1"),
]
OTHER_TREE: list[Entry] = [
    SimpleQueue("p2", "Office 1:2", ("10.0.0.0/30",), UpDown(7 * M, 7 * M)),
    queue("s1", "10.0.0.0/32", parent="Office 1:2", down=3 * M),
    queue("s2", "10.0.0.1", name="line s3"),
    queue("s3", "10.0.1.1", name="line s2", parent="Office 1:2"),
    ListedAddress("s1/10.0.0.0", "blocked", "10.0.0.0"),
    ListedAddress("s3/10.0.1.1", "walled", "10.0.1.1"),
]


def held(*entries: Entry) -> PaperRouter:
    router = PaperRouter()
    converge(router, entries)
    return router


def converge(router: PaperRouter, desired: Sequence[Entry], most_rounds: int = 3) -> None:
    for _ in range(most_rounds):
        step = difference(desired, router.observe())
        router.run(step.commands)
    assert difference(desired, router.observe()).commands == ()


def test_an_empty_router_gets_parents_before_children() -> None:
    router = PaperRouter()
    router.run(difference(TREE, router.observe()).commands)
    assert difference(TREE, router.observe()).commands == ()
    assert [row["name"] for row in router.rows[Menu.SIMPLE_QUEUE]] == ["line s3", "Home 1:5", "line s1", "line s2"]
    assert {row["comment"] for row in router.rows[Menu.SIMPLE_QUEUE]} == {
        f"caudal:{key}" for key in ("p1", "s1", "s2", "s3")
    }


def test_a_router_that_holds_everything_needs_no_command() -> None:
    assert difference(TREE, held(*TREE).observe()).stages == ()


def test_one_changed_rate_is_one_command_of_one_property() -> None:
    router = held(*TREE)
    changed = [
        replace(each, max_limit=UpDown(M, 2 * M)) if each.key == "s3" else each
        for each in TREE
        if isinstance(each, SimpleQueue)
    ]
    changed_tree: list[Entry] = [*changed, *(each for each in TREE if not isinstance(each, SimpleQueue))]
    (command,) = difference(changed_tree, router.observe()).commands
    assert command.verb is Verb.SET
    assert dict(command.arguments).keys() == {".id", "max-limit"}
    assert dict(command.arguments)["max-limit"] == "1000000/2000000"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("max-limit", "5M/10M"),
        ("max-limit", "5000k/10000000"),
        ("target", "10.0.1.1"),
        ("limit-at", "0/0"),
        ("burst-time", "00:00:00/0s"),
        ("priority", "8"),
        ("queue", "default-small"),
        ("disabled", "false"),
    ],
)
def test_another_notation_of_the_same_value_is_no_difference(name: str, printed: str) -> None:
    router = held(queue("s3", "10.0.1.1/32"))
    router.rows[Menu.SIMPLE_QUEUE][0][name] = printed
    assert difference([queue("s3", "10.0.1.1/32")], router.observe()).commands == ()


def test_a_property_that_old_versions_do_not_print_has_its_default() -> None:
    router = held(queue("s3", "10.0.1.1"))
    del router.rows[Menu.SIMPLE_QUEUE][0]["burst-time"]
    assert difference([queue("s3", "10.0.1.1")], router.observe()).commands == ()


@pytest.mark.parametrize("before", [[], TREE, OTHER_TREE], ids=["nothing", "tree", "other"])
@pytest.mark.parametrize("after", [[], TREE, OTHER_TREE], ids=["nothing", "tree", "other"])
def test_interrupted_after_any_command_and_restarted_it_converges(before: list[Entry], after: list[Entry]) -> None:
    whole = held(*before)
    converge(whole, after)
    length = len(difference(after, held(*before).observe()).commands)
    for done in range(length + 1):
        router = held(*before)
        router.run(difference(after, router.observe()).commands[:done])
        converge(router, after)
        assert router.shown() == whole.shown()


@given(st.data())
def test_any_state_leads_to_any_other(data: st.DataObject) -> None:
    names = st.sampled_from(["a", "b", "c", "d"])
    wanted = {
        key: (data.draw(names), data.draw(st.sampled_from(["10.0.0.0/24", "10.0.0.1", "10.0.0.2/31"])))
        for key in data.draw(st.sets(st.sampled_from(["1", "2", "3", "4"])))
    }
    first = _named({key: each for key, each in wanted.items() if data.draw(st.booleans())})
    router = held(*first)
    second = _named({key: (data.draw(names), target) for key, (_, target) in wanted.items()})
    commands = difference(second, router.observe()).commands
    router.run(commands[: data.draw(st.integers(0, len(commands)))])
    converge(router, second, most_rounds=4)


def _named(wanted: dict[str, tuple[str, str]]) -> list[SimpleQueue]:
    """Return queues, of those that want one name the first."""
    taken: dict[str, SimpleQueue] = {}
    for key, (name, target) in wanted.items():
        taken.setdefault(name, SimpleQueue(key, name, (target,), UpDown(M, M)))
    return list(taken.values())


def test_what_is_not_ours_is_never_touched() -> None:
    router = PaperRouter()
    theirs = router.have(Menu.SIMPLE_QUEUE, name="office", target="10.9.0.0/24", comment="the boss: caudal:p1 too")
    listed = router.have(Menu.ADDRESS_LIST, list="walled", address="10.9.0.1")
    copies = dict(theirs), dict(listed)
    converge(router, TREE)
    converge(router, [])
    assert (router.rows[Menu.SIMPLE_QUEUE], router.rows[Menu.ADDRESS_LIST]) == ([copies[0]], [copies[1]])


def test_a_name_that_an_operator_took_is_reported_and_left() -> None:
    router = PaperRouter()
    router.have(Menu.SIMPLE_QUEUE, name="line s3", target="10.0.1.1/32")
    step = difference([queue("s3", "10.0.1.1")], router.observe())
    assert step.commands == ()
    assert step.conflicts == (Conflict(Menu.SIMPLE_QUEUE, "s3", Obstacle.NAME_TAKEN),)


def test_an_entry_that_an_operator_tagged_is_taken_over() -> None:
    router = PaperRouter()
    router.have(Menu.SIMPLE_QUEUE, name="line s3", target="10.0.1.1/32", comment="caudal:s3 was the boss's")
    (command,) = difference([queue("s3", "10.0.1.1")], router.observe()).commands
    assert command == Command(Menu.SIMPLE_QUEUE, Verb.SET, "s3", ((".id", "*1"), ("max-limit", "5000000/10000000")))


def test_children_of_a_parent_whose_name_is_taken_are_limited_all_the_same() -> None:
    router = PaperRouter()
    router.have(Menu.SIMPLE_QUEUE, name="Home 1:5", target="10.0.0.0/30")
    router.run(difference(TREE, router.observe()).commands)
    ours = [row for row in router.rows[Menu.SIMPLE_QUEUE] if "comment" in row]
    assert {row["name"]: row["parent"] for row in ours} == {"line s1": "none", "line s2": "none", "line s3": "none"}


def test_a_copied_entry_is_removed_and_the_one_with_the_name_stays() -> None:
    router = PaperRouter()
    properties = told(queue("s3", "10.0.1.1"))
    for name in ("copy of line s3", "line s3"):
        router.rows[Menu.SIMPLE_QUEUE].append({".id": f"*{len(name):X}", **properties, "name": name})
    converge(router, [queue("s3", "10.0.1.1")])
    assert [row["name"] for row in router.rows[Menu.SIMPLE_QUEUE]] == ["line s3"]


@pytest.mark.parametrize(
    "dynamic",
    [
        {"name": "<hotspot-x>", "target": "10.0.1.1/32"},
        {"name": "dhcp-ds<00:11>", "target": "10.0.1.0/30"},
        {"name": "<pppoe-ana>", "target": "<pppoe-ana>"},
    ],
)
def test_a_line_with_a_queue_of_the_routers_own_gets_none_and_loses_its_static_one(dynamic: dict[str, str]) -> None:
    router = held(queue("s3", "10.0.1.1"))
    router.ppp.append({"name": "ana", "service": "pppoe", "address": "10.0.1.1"})
    made = router.have(Menu.SIMPLE_QUEUE, dynamic="true", **dynamic)
    step = difference([queue("s3", "10.0.1.1")], router.observe())
    assert step.conflicts == (Conflict(Menu.SIMPLE_QUEUE, "s3", Obstacle.DYNAMIC_QUEUE),)
    router.run(step.commands)
    assert router.rows[Menu.SIMPLE_QUEUE] == [made]


def test_a_dynamic_entry_with_our_tag_is_not_ours() -> None:
    router = PaperRouter()
    router.have(Menu.ADDRESS_LIST, list="walled", address="10.0.0.0", comment="caudal:x", dynamic="true")
    assert difference([], router.observe()).commands == ()


def test_a_pair_that_is_listed_already_is_not_listed_twice() -> None:
    router = PaperRouter()
    router.have(Menu.ADDRESS_LIST, list="walled", address="10.0.0.0", dynamic="true")
    assert difference([ListedAddress("s1/10.0.0.0", "walled", "10.0.0.0/32")], router.observe()).commands == ()


def test_a_disabled_entry_of_somebody_else_is_reported() -> None:
    router = PaperRouter()
    router.have(Menu.ADDRESS_LIST, list="walled", address="10.0.0.0", disabled="true")
    step = difference([ListedAddress("s1/10.0.0.0", "walled", "10.0.0.0")], router.observe())
    assert (step.commands, [each.obstacle for each in step.conflicts]) == ((), [Obstacle.DISABLED_ELSEWHERE])


def test_a_tagged_lease_gets_its_rate_and_loses_it_again_but_is_never_removed() -> None:
    router = PaperRouter()
    lease = router.have(Menu.LEASE, mac_address="00:11:22:33:44:55", comment="caudal:s4", rate_limit="1M/2M")
    assert difference([LeaseRate("s4", "00:11:22:33:44:55", "1000k/2000k")], router.observe()).commands == ()
    converge(router, [LeaseRate("s4", "00:11:22:33:44:55", "3M/4M")])
    assert lease["rate-limit"] == "3M/4M"
    converge(router, [])
    assert router.rows[Menu.LEASE] == [lease]
    assert lease["rate-limit"] == ""


@pytest.mark.parametrize(
    ("lease", "obstacle"),
    [
        ({}, Obstacle.NO_LEASE),
        ({"mac_address": "00:11:22:33:44:55"}, Obstacle.UNTAGGED_LEASE),
        ({"mac_address": "00:11:22:33:44:55", "dynamic": "true"}, Obstacle.DYNAMIC_LEASE),
    ],
)
def test_a_lease_that_is_not_handed_over_is_reported(lease: dict[str, str], obstacle: Obstacle) -> None:
    router = PaperRouter()
    if lease:
        router.have(Menu.LEASE, **lease)
    step = difference([LeaseRate("s4", "00:11:22:33:44:55", "3M/4M")], router.observe())
    assert (step.commands, [each.obstacle for each in step.conflicts]) == ((), [obstacle])


def test_what_a_human_did_is_told_apart_from_what_is_still_to_do() -> None:
    router = held(*TREE)
    rows = {row["comment"]: row for row in router.rows[Menu.SIMPLE_QUEUE]}
    rows["caudal:s1"]["max-limit"] = "99M/99M"
    router.rows[Menu.SIMPLE_QUEUE].remove(rows["caudal:s2"])
    router.have(Menu.SIMPLE_QUEUE, name="mine", target="10.9.9.9/32", comment="caudal:mine")
    desired = [queue("s3", "10.0.1.1", down=M) if each.key == "s3" else each for each in TREE]
    found = {(each.key, each.kind, each.property, each.found) for each in drift(TREE, router.observe())}
    assert found == {
        ("s1", DriftKind.CHANGED, "max-limit", "99M/99M"),
        ("s2", DriftKind.REMOVED, "", ""),
        ("mine", DriftKind.ADDED, "", ""),
    }
    left = left_alone(drift(TREE, router.observe()), TREE, desired)
    (command,) = difference(desired, router.observe(), left=left).commands
    assert command.key == "s3"


def test_drift_is_not_left_where_something_else_is_wanted_by_now() -> None:
    router = held(*TREE)
    next(row for row in router.rows[Menu.SIMPLE_QUEUE] if row["name"] == "line s1")["max-limit"] = "99M/99M"
    desired = [queue("s1", "10.0.0.0", down=M, parent="Home 1:5") if each.key == "s1" else each for each in TREE]
    left = left_alone(drift(TREE, router.observe()), TREE, desired)
    converge(router, desired)
    assert left == set()


def test_the_queue_of_a_smaller_network_comes_first() -> None:
    router = held(queue("s1", "10.0.0.0/24"), queue("s2", "10.0.1.0/24"))
    converge(router, [queue("s1", "10.0.0.0/24"), queue("s2", "10.0.1.0/24"), queue("s3", "10.0.0.7")])
    order = [row["name"] for row in router.rows[Menu.SIMPLE_QUEUE]]
    assert order.index("line s3") < order.index("line s1")


def test_queues_of_one_size_stay_where_they_are() -> None:
    rows = [queue("s1", "10.0.0.2"), queue("s2", "10.0.0.1")]
    router = held(*rows)
    assert difference(list(reversed(rows)), router.observe()).commands == ()


@given(st.lists(st.integers(0, 4), max_size=12))
def test_the_moves_are_few_and_end_in_order(ranks: list[int]) -> None:
    siblings = [Placed(str(number), each) for number, each in enumerate(ranks)]
    order = [each.id for each in siblings]
    found = moves(siblings)
    for move in found:
        order.remove(move.id)
        order.insert(len(order) if move.before is None else order.index(move.before), move.id)
    sorted_ranks = [ranks[int(each)] for each in order]
    assert sorted_ranks == sorted(ranks)
    assert len(found) == len(ranks) - _longest(ranks)


def _longest(ranks: list[int]) -> int:
    lengths: list[int] = []
    for place, each in enumerate(ranks):
        lengths.append(1 + max((lengths[at] for at in range(place) if ranks[at] <= each), default=0))
    return max(lengths, default=0)


def test_a_rank_is_that_of_the_largest_network() -> None:
    assert [rank(["10.0.0.1"]), rank(["10.0.0.0/24", "10.9.9.9"]), rank(["<pppoe-ana>"])] == [0, 8, 0]


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([queue("s1", "10.0.0.1", parent="nobody")], "none of ours"),
        ([queue("s1", "10.0.0.1", parent="line s2"), queue("s2", "10.0.0.1", parent="line s1")], "its own parent"),
    ],
)
def test_a_tree_that_cannot_be_is_our_own_mistake(entries: list[SimpleQueue], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        difference(entries, PaperRouter().observe())


@pytest.mark.parametrize(
    ("read", "text", "meaning"),
    [
        (values.rate, "10M", 10_000_000),
        (values.rate, "unlimited", 0),
        (values.seconds, "3w4d12h23m12s", 2_204_592),
        (values.seconds, "1d02:03:04", 93_784),
        (values.seconds, "00:01:00", 60),
        (values.seconds, "90", 90),
        (values.session_number, "0x81300077", 0x81300077),
        (values.session_number, "81300077", 0x81300077),
        (values.session_number, "api-queue", None),
        (values.address, "10.0.0.1/32", "10.0.0.1"),
        (values.target, "2001:db8::1", "2001:db8::1/128"),
    ],
)
def test_values_are_read_in_every_notation(read: Callable[[str], object], text: str, meaning: object) -> None:
    assert read(text) == meaning


@pytest.mark.parametrize("text", ["10m", "-1", "1.5M", "\u0661\u0660"])
def test_what_is_no_rate_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="no rate"):
        values.rate(text)


def test_rate_limits_are_compared_by_meaning_word_by_word() -> None:
    assert values.rate_limit("1M/2M 2M 0/0 8/8 8") == values.rate_limit("1000k/2000k 2M/2M 0 8s 8")
    assert values.rate_limit("1M/2M") != values.rate_limit("2M/1M")
    assert values.rate_limit("strange") == values.rate_limit("strange")
