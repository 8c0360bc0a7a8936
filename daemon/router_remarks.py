"""Words what is right and wrong with the entries, queues and sessions of a router.

Rule: every subject is spoken of, also when all is well; what is wrong comes with what to do. The settings of a router
are judged by `enforcement.router_checks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from daemon.router_duty import Duty
from daemon.router_report import RouterKnowledge
from domain.network import Router
from enforcement import routeros_values as values
from enforcement.router_checks import Level
from enforcement.routeros_cover import dynamic_cover
from enforcement.routeros_entries import Menu, Row, key_of
from enforcement.routeros_state import Conflict, Drift, Observed, Obstacle, difference, drift

MOST_SHOWN = 10
"""Entries of one kind that are told one by one."""
ENTRIES, DOUBLE_QUEUES, SESSIONS = "entries", "double queues", "sessions"
"""What is looked at besides the checks of `enforcement.router_checks`."""


class Remark(NamedTuple):
    """One line of a check; `level` is the value of a `Level`, `correct` a command of RouterOS or what to do here."""

    check: str
    level: str
    text: str
    correct: str | None = None


def about_entries(
    router: Router, duty: Duty, observed: Observed, leased: Collection[str], known: RouterKnowledge
) -> Iterator[Remark]:
    """Tell which entries of ours are not as they should be."""
    desired = duty.entries(leased)
    drifts = () if known.proven is None else drift(known.proven, observed)
    step = difference(desired, observed)
    yield from _some(Level.WARNING, [_drifted(each) for each in drifts], _about_drift(router))
    others = len({(each.menu, each.key) for each in step.commands} - {(each.menu, each.key) for each in drifts})
    if others:
        which = "one entry is not yet as it" if others == 1 else f"{others} entries are not yet as they"
        correct = "wait for the next visit; if it stays so, see the daemon's log"
        yield Remark(ENTRIES, Level.WARNING.value, f"{which} should be", correct)
    conflicts = [each for each in step.conflicts if each.obstacle is not Obstacle.DYNAMIC_QUEUE]
    for conflict in conflicts[:MOST_SHOWN]:
        yield Remark(ENTRIES, Level.WARNING.value, _unkept(conflict))
    for refusal in known.refusals[:MOST_SHOWN]:
        text = f"the router refuses {refusal.command.menu.value} {refusal.command.key}: {refusal.message}"
        yield Remark(ENTRIES, Level.ERROR.value, text)
    if not (drifts or others or conflicts or known.refusals):
        yield Remark(ENTRIES, Level.OK.value, f"every entry of ours is as it should be: {len(desired)}")


def _about_drift(router: Router) -> str:
    if router.repair_drift:
        return "the next visit sets them right; with repair_drift = false they are left"
    return "they are left as they are: set them right by hand, or apply repair_drift = true"


def _some(level: Level, texts: Sequence[str], correct: str) -> Iterator[Remark]:
    for text in texts[:MOST_SHOWN]:
        yield Remark(ENTRIES, level.value, text, correct)
    if len(texts) > MOST_SHOWN:
        yield Remark(ENTRIES, level.value, f"and {len(texts) - MOST_SHOWN} more entries", correct)


def _drifted(each: Drift) -> str:
    where = f"{each.menu.value} {each.key} was {each.kind.value} by hand"
    return f"{where}: {each.property} is {each.found}, not {each.wanted}" if each.property else where


def _unkept(conflict: Conflict) -> str:
    return f"{conflict.menu.value} {conflict.key} cannot be kept: {conflict.obstacle.value}"


def about_double_queues(observed: Observed) -> Iterator[Remark]:
    """Tell which lines are limited twice."""
    doubles = double_queues(observed)
    for row in doubles[:MOST_SHOWN]:
        is_ours = key_of(Menu.SIMPLE_QUEUE, row) is not None
        correct = "the next visit removes ours" if is_ours else f'/queue/simple remove [find name="{row.get("name")}"]'
        text = f"the queue {row.get('name')} limits a line that RADIUS or DHCP limits already"
        yield Remark(DOUBLE_QUEUES, Level.WARNING.value, text, correct)
    if not doubles:
        yield Remark(DOUBLE_QUEUES, Level.OK.value, "no line has two queues")


def double_queues(observed: Observed) -> list[Row]:
    """Return the queues that somebody made for lines which have one of the router's own; parents of others are none."""
    rows = observed.of(Menu.SIMPLE_QUEUE)
    cover = dynamic_cover(rows, observed.ppp)
    parents = {row.get("parent", "") for row in rows}
    return [
        row
        for row in rows
        if not values.flag(row.get("dynamic", ""))
        and not values.flag(row.get("disabled", ""))
        and row.get("name", "") not in parents
        and any(map(cover.touches, row.get("target", "").split(",")))
    ]


def about_sessions(known: RouterKnowledge) -> Iterator[Remark]:
    """Tell which sessions of the router the books do not have."""
    for session in known.unknown[:MOST_SHOWN]:
        text = f"the router has a session of {session.login or session.mac} that RADIUS never told of"
        correct = "see that accounting is on, and that the login is one of our services"
        yield Remark(SESSIONS, Level.WARNING.value, text, correct)
    if known.looked_at is not None and not known.unknown:
        yield Remark(SESSIONS, Level.OK.value, "the router has no session that the books have not")
