"""A session is of the first class of its plan whose mark its first record bears."""

from __future__ import annotations

import json

import pytest

from accounting.traffic_class import NOT_TOLD_APART, Marks, class_of, classes_of
from config.plan_rules import StoredRulesError, document
from domain.plan_rules import PlanRules, TrafficClass

GOLD = TrafficClass("gold", counts=True, class_value="gold")
CACHE = TrafficClass("cache", counts=False, class_value="caché")
PEERING = TrafficClass("peering", counts=False, interface_list="IX")
VOICE = TrafficClass("voice", counts=True, queue="voip")
OWN_QUEUE = TrafficClass("local", counts=False, queue="{login} local")
CLASSES = (GOLD, CACHE, PEERING, VOICE, OWN_QUEUE)


@pytest.mark.parametrize(
    ("marks", "number"),
    [
        (Marks(class_values=[b"gold"]), 1),
        (Marks(class_values=["caché".encode()]), 2),
        (Marks(interface_lists=[b"LAN", b"IX"]), 3),
        (Marks(queue="voip"), 4),
        (Marks(queue="ana local"), 5),
    ],
)
def test_each_mark_tells_its_class(marks: Marks, number: int) -> None:
    assert class_of(CLASSES, marks, "ana") == number


@pytest.mark.parametrize(
    "marks",
    [
        Marks(),
        Marks(class_values=[b"GOLD", b"gold ", b"golden", b"IX", b"voip", b""]),
        Marks(interface_lists=[b"gold", b"voip", b"ix"]),
        Marks(queue="gold"),
        Marks(queue="eva local"),
        Marks(queue="{login} local"),
    ],
)
def test_what_bears_no_mark_exactly_is_not_told_apart(marks: Marks) -> None:
    assert class_of(CLASSES, marks, "ana") == NOT_TOLD_APART


def test_of_several_marks_the_first_class_of_the_plan_holds() -> None:
    marks = Marks(class_values=["caché".encode(), b"gold"])
    assert class_of(CLASSES, marks, "ana") == 1
    assert class_of((CACHE, GOLD), marks, "ana") == 1
    assert class_of((PEERING, CACHE, GOLD), marks, "ana") == 2


def test_plan_without_classes_tells_nothing_apart() -> None:
    assert class_of((), Marks([b"gold"], [b"IX"], "voip"), "ana") == NOT_TOLD_APART


def test_classes_are_read_as_the_plan_stores_them() -> None:
    assert classes_of(json.dumps(document(PlanRules(classes=CLASSES))["class"])) == CLASSES


def test_stored_classes_that_are_none_are_refused() -> None:
    with pytest.raises(StoredRulesError):
        classes_of('[{"name": "gold"}]')
