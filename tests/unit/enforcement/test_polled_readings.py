"""Which counters of a router are read for whom, and which of them contain one another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from enforcement.polled_readings import Classes, Octets, Reading, Shown, Source, Subject, readings, standing
from enforcement.routeros_entries import Row

ANA = {".id": "*80000001", "name": "ana", "service": "pppoe", "address": "10.8.0.1", "caller-id": "02:00:00:00:00:01"}
AGAIN = {**ANA, ".id": "*80000002", "address": "10.8.0.2"}
BY_RADIUS = {**ANA, "radius": "true"}
HOST = {".id": "*7", "user": "ana", "address": "10.9.0.1", "mac-address": "02:00:00:00:00:02", "bytes-in": "9"}
INTERFACE = {"name": "<pppoe-ana>", "rx-byte": "1000", "tx-byte": "2000"}
CLASSES = Classes({"ana local": "ana", "ana voip": "ana", "line local": "line"}, frozenset(("IX", "LAN")))
LINES = {"service-1": "line"}


def queue(name: str, entry: str, *, parent: str = "none", target: str = "10.8.0.0/16", comment: str = "") -> Row:
    return {".id": entry, "name": name, "target": target, "parent": parent, "bytes": "10/20", "comment": comment}


def read(
    ppp: Sequence[Row] = (),
    hotspot: Sequence[Row] = (),
    queues: Sequence[Row] = (),
    interfaces: Sequence[Row] = (INTERFACE,),
    members: Sequence[Row] = (),
) -> list[Reading]:
    shown = Shown(ppp, hotspot, queues, interfaces, members)
    return readings(shown, router_uptime="1h", logins=LINES, classes=CLASSES)


def inside(found: list[Reading]) -> dict[str, list[str]]:
    """Return the ports inside of each port, where there are any."""
    ports = {reading.subject: reading.port for reading in found}
    return {reading.port: [ports[each] for each in reading.inside] for reading in found if reading.inside}


OURS = queue("line", "*1", target="10.7.0.1/32", comment="caudal:service-1")


def test_queue_of_a_class_of_a_session_is_read_as_a_session_of_the_same_line() -> None:
    found = read([ANA], queues=[queue("ana local", "*9"), queue("office", "*A")])
    assert [(each.subject, each.login, each.address, each.mac, each.port) for each in found] == [
        (Subject(Source.PPP, "*80000001"), "ana", "10.8.0.1", "02:00:00:00:00:01", "<pppoe-ana>"),
        (Subject(Source.CLASS, "*9"), "ana", "10.8.0.1", "02:00:00:00:00:01", "ana local"),
    ]
    assert inside(found) == {"<pppoe-ana>": ["ana local"]}


def test_queue_of_a_class_of_a_static_line_is_read_as_a_queue() -> None:
    found = read(queues=[OURS, queue("line local", "*9", parent="line", target="10.7.0.1/32")])
    assert [(each.subject.source, each.login, each.address) for each in found] == [
        (Source.QUEUE, "line", "10.7.0.1")
    ] * 2
    assert inside(found) == {"line": ["line local"]}


def test_queue_beside_ours_contains_nothing_of_it() -> None:
    assert inside(read(queues=[OURS, queue("line local", "*9")])) == {}


def test_queue_lies_inside_the_nearest_one_above_it_that_is_read() -> None:
    queues = [
        OURS,
        queue("between", "*8", parent="line"),
        queue("line local", "*9", parent="between"),
        queue("ana local", "*A"),
        queue("ana voip", "*B", parent="ana local"),
    ]
    assert inside(read([ANA], queues=queues)) == {
        "line": ["line local"],
        "<pppoe-ana>": ["ana local"],
        "ana local": ["ana voip"],
    }


@pytest.mark.parametrize("parents", [("line local", "line"), ("line", "line local"), ("none", "line local")])
def test_queues_whose_parents_go_round_lie_inside_of_none(parents: tuple[str, str]) -> None:
    first, second = parents
    found = read(queues=[{**OURS, "parent": first}, queue("line local", "*9", parent=second)])
    assert len(found) == 2
    assert all(reading.subject not in reading.inside for reading in found)
    assert len(inside(found)) == 0


@pytest.mark.parametrize(
    ("ppp", "hotspot"),
    [([BY_RADIUS], []), ([], [{**HOST, "radius": "true"}]), ([], []), ([BY_RADIUS, AGAIN], [])],
    ids=["PPP of RADIUS", "hotspot of RADIUS", "nobody on line", "one of two is RADIUS's"],
)
def test_queue_of_a_line_that_is_not_counted_here_is_not_read(ppp: list[Row], hotspot: list[Row]) -> None:
    found = read(ppp, hotspot, [queue("ana local", "*9")])
    assert Source.CLASS not in {reading.subject.source for reading in found}


def test_session_whose_counters_are_not_found_has_no_class() -> None:
    assert read([ANA], queues=[queue("ana local", "*9")], interfaces=[]) == []


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("10.8.0.1/32", "*80000001"),
        ("10.5.0.0/16,10.8.0.2/32", "*80000002"),
        ("10.9.0.1/32", "*7"),
        ("10.8.0.0/16", None),
        ("0.0.0.0/0", None),
        ("10.5.0.1/32", None),
    ],
)
def test_of_several_sessions_the_one_that_the_queue_aims_at_contains_it(target: str, place: str | None) -> None:
    found = read([ANA, AGAIN], [HOST], [queue("ana local", "*9", target=target)])
    assert [each.subject.entry for each in found if each.inside] == ([] if place is None else [place])
    assert len(found) == (3 if place is None else 4)


@pytest.mark.parametrize(("parent", "contains"), [("<pppoe-ana>", True), ("none", False)])
def test_session_that_is_counted_by_its_queue_contains_what_is_below_that_queue(parent: str, contains: bool) -> None:
    queues = [queue("<pppoe-ana>", "*8"), queue("ana local", "*9", parent=parent)]
    found = read([ANA], queues=queues, interfaces=[])
    assert inside(found) == ({"<pppoe-ana>": ["ana local"]} if contains else {})


def test_hotspot_session_contains_the_queues_of_its_classes() -> None:
    assert inside(read(hotspot=[HOST], queues=[queue("ana local", "*9")])) == {"hotspot": ["ana local"]}


def test_session_names_the_lists_of_its_interface_that_tell_classes_apart() -> None:
    members = [
        {"list": "IX", "interface": "<pppoe-ana>"},
        {"list": "LAN", "interface": "<pppoe-ana>", "disabled": "false"},
        {"list": "WAN", "interface": "<pppoe-ana>"},
        {"list": "IX", "interface": "<pppoe-eva>"},
    ]
    assert [each.lists for each in read([ANA], queues=[queue("ana local", "*9")], members=members)] == [
        ("IX", "LAN"),
        (),
    ]
    disabled = [{**row, "disabled": "true"} for row in members]
    assert [each.lists for each in read([ANA], members=disabled)] == [()]


def test_counters_of_queues_stand_where_they_are_and_of_those_of_radius_nowhere() -> None:
    queues = [OURS, queue("ana local", "*9"), queue("office", "*A")]
    assert standing(Shown([BY_RADIUS], (), queues, ()), LINES, CLASSES) == {
        "*1": Octets(10, 20),
        "*9": None,
        "*A": Octets(10, 20),
    }
    assert standing(Shown([ANA], (), queues, ()), LINES, CLASSES)["*9"] == Octets(10, 20)
