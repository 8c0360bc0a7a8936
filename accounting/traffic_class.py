"""Decides of which class of its plan the traffic of a session is.

Rule: a session is of one class from its first record to its last: the first of the plan's classes whose mark that first
record bears, exactly. A Class is compared with what was sent in it; interface lists and queues are named by routers
whose counters we read ourselves alone, for what RADIUS says of a port may be what the subscriber's side put into it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from config import plan_rules
from domain.plan_rules import TrafficClass

NOT_TOLD_APART = 0
"""Traffic that bears no mark; the n-th class of the plan is n. It counts."""
LOGIN = "{login}"
"""Stands for the login in the name of a queue."""
MOST_REMEMBERED = 1024
"""Plans whose classes are remembered as they were read."""


class Marks(NamedTuple):
    """What a record says of the traffic that it counts."""

    class_values: Sequence[bytes] = ()
    """Values of Class."""
    interface_lists: Sequence[bytes] = ()
    """Interface lists of the router among whose members the line is."""
    queue: str | None = None
    """The queue of the router that counted."""


def class_of(classes: Sequence[TrafficClass], marks: Marks, login: str) -> int:
    """Return the number of the first class that bears one of `marks`, from 1; NOT_TOLD_APART when none does."""
    for number, each in enumerate(classes, 1):
        if _bears(each, marks, login):
            return number
    return NOT_TOLD_APART


def _bears(found: TrafficClass, marks: Marks, login: str) -> bool:
    if found.class_value is not None:
        return found.class_value.encode() in marks.class_values
    if found.interface_list is not None:
        return found.interface_list.encode() in marks.interface_lists
    return found.queue is not None and found.queue.replace(LOGIN, login) == marks.queue


@lru_cache(maxsize=MOST_REMEMBERED)
def classes_of(document: str) -> tuple[TrafficClass, ...]:
    """Return the classes of a plan; `document` is the JSON text of `class` among its stored rules.

    Raises StoredRulesError where it is none.
    """
    return plan_rules.load({"class": json.loads(document)}).classes
