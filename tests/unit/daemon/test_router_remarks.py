"""What a check says of entries, queues and sessions."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.router_duty import Duty
from daemon.router_remarks import Remark, about_double_queues, about_entries, about_sessions, double_queues
from daemon.router_report import RouterKnowledge
from domain.network import MessageAuthenticatorPolicy, Router, RouterId
from domain.secret import Secret
from enforcement.contention import Queueing, SharedPlan, StaticLine
from enforcement.routeros_entries import Menu, Row, told
from enforcement.routeros_state import Observed
from enforcement.session_truth import Kind, SeenSession
from tests.unit.enforcement.entitled import entitled

M = 1_000_000
ROUTER = Router(
    RouterId(1),
    "norte",
    "192.0.2.1/32",
    None,
    Secret(b"secret"),
    "mikrotik",
    None,
    MessageAuthenticatorPolicy.AUTO,
    flip_counters=False,
    api=None,
)
LINE = StaticLine("service-1", "ana", "plan-1", ("10.0.0.1",), entitled(10 * M, 5 * M))
DUTY = Duty(Queueing.SIMPLE, {"plan-1": SharedPlan("plan-1", "home", None, None, None)}, (LINE,), {}, {}, {}, None)
DESIRED = tuple(DUTY.entries(()))


def observed(*queues: Row) -> Observed:
    rows = tuple({".id": f"*{number}", **row} for number, row in enumerate(queues, 1))
    return Observed({Menu.SIMPLE_QUEUE: rows})


def levels(remarks: Iterable[Remark]) -> list[str]:
    return [remark.level for remark in remarks]


def test_entries_that_are_right_are_said_to_be() -> None:
    remarks = about_entries(ROUTER, DUTY, observed(told(DESIRED[0])), (), RouterKnowledge())
    assert levels(remarks) == ["ok"]


def test_what_was_changed_by_hand_is_told_apart_from_what_is_not_there_yet() -> None:
    changed = observed({**told(DESIRED[0]), "max-limit": "99M/99M"})
    (by_hand,) = about_entries(ROUTER, DUTY, changed, (), RouterKnowledge(proven=DESIRED))
    assert (by_hand.level, "changed by hand: max-limit is 99M/99M" in by_hand.text) == ("warning", True)
    (missing,) = about_entries(ROUTER, DUTY, observed(), (), RouterKnowledge())
    assert missing.text == "one entry is not yet as it should be"


def test_a_name_that_is_taken_is_told_with_what_to_do() -> None:
    taken = observed({"name": "ana", "target": "10.9.9.9/32"})
    (remark,) = about_entries(ROUTER, DUTY, taken, (), RouterKnowledge())
    assert "service-1 cannot be kept: an entry that is not ours has this name" in remark.text


def test_a_queue_on_a_line_that_radius_limits_is_double_and_its_parent_is_not() -> None:
    rows = observed(
        {"name": "tree", "target": "10.0.0.0/24", "parent": "none"},
        {"name": "ours", "target": "10.0.0.7/32", "parent": "tree", "comment": "caudal:service-7"},
        {"name": "theirs", "target": "10.0.0.7/32", "parent": "none"},
        {"name": "off", "target": "10.0.0.7/32", "disabled": "true"},
        {"name": "other", "target": "10.0.0.8/32"},
        {"name": "<pppoe-ana>", "target": "10.0.0.7/32", "dynamic": "true"},
    )
    assert [row["name"] for row in double_queues(rows)] == ["ours", "theirs"]
    assert [remark.correct for remark in about_double_queues(rows)] == [
        "the next visit removes ours",
        '/queue/simple remove [find name="theirs"]',
    ]


def test_sessions_that_the_books_have_not_are_told() -> None:
    strange = SeenSession(Kind.PPP, "*1", 1, "stranger", "10.0.0.9", "", 60, radius=True)
    assert levels(about_sessions(RouterKnowledge(unknown=(strange,)))) == ["warning"]
    assert levels(about_sessions(RouterKnowledge())) == []
