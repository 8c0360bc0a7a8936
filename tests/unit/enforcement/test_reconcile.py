"""Desired against proven: the ladder of steps, and that it leads to the same end wherever it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from enforcement.reconcile import (
    LONGEST_BACKOFF_SECONDS,
    Capabilities,
    LineState,
    Outcome,
    OutcomeKind,
    Problem,
    Proof,
    Stage,
    StepKind,
    after,
    next_step,
    refusal,
)
from tests.unit.enforcement.reconciled_router import START, RouterModel, Run

OLD, NEW = b"old-old-", b"new-new-"
PLAIN = Capabilities()
WITH_API = Capabilities(read_back=True, kick=True)
LIST_BY_API = Capabilities(api=True, read_back=True, kick=True)
ONLY_API = Capabilities(coa=False, api=True, api_alone=True, read_back=True, kick=True)
BOTH_WAYS = Capabilities(api_alone=True, read_back=True, kick=True)
NEW_LOGIN = Capabilities(coa=False, complete=False)

LINE = LineState(session_id=7, desired=NEW, desired_since=START, proven=OLD)
REFUSED = replace(LINE, admitted=False)
AN_HOUR = START + timedelta(hours=1)

Scenario = tuple[Callable[[], RouterModel], Capabilities, LineState]

SCENARIOS: dict[str, Scenario] = {
    "a router that obeys": (lambda: RouterModel(OLD), PLAIN, LINE),
    "a router that obeys and is read back": (lambda: RouterModel(OLD), WITH_API, LINE),
    "an address list that only the API sets": (lambda: RouterModel(OLD), LIST_BY_API, LINE),
    "a change that only the API makes": (lambda: RouterModel(OLD), ONLY_API, LINE),
    "a change that needs a new login": (lambda: RouterModel(OLD), NEW_LOGIN, LINE),
    "a line that is not admitted": (lambda: RouterModel(OLD), PLAIN, REFUSED),
    "a line that is not admitted, read back": (lambda: RouterModel(OLD), WITH_API, REFUSED),
    "a router that refuses the attribute": (lambda: RouterModel(OLD, coa_cause=401), PLAIN, LINE),
    "a router that refuses, but has the API": (lambda: RouterModel(OLD, coa_cause=407), BOTH_WAYS, LINE),
    "a router that refuses without a cause it may give": (lambda: RouterModel(OLD, coa_cause=999), PLAIN, LINE),
    "a router that wants one session named": (
        lambda: RouterModel(OLD, coa_cause=508, narrow_helps=True),
        PLAIN,
        LINE,
    ),
    "a router that never knows which session": (lambda: RouterModel(OLD, coa_cause=508), PLAIN, LINE),
    "a session the router does not have": (lambda: RouterModel(OLD, is_open=False), PLAIN, LINE),
    "a session the API does not have either": (lambda: RouterModel(OLD, is_open=False), WITH_API, LINE),
    "a session only CoA does not know": (lambda: RouterModel(OLD, coa_cause=503), WITH_API, LINE),
    "a refused session the router does not have": (lambda: RouterModel(OLD, is_open=False), PLAIN, REFUSED),
    "an ACK that is a lie": (lambda: RouterModel(OLD, lies=True), WITH_API, LINE),
    "an ACK that is a lie, and an API": (lambda: RouterModel(OLD, lies=True), BOTH_WAYS, LINE),
    "a router silent for a minute": (
        lambda: RouterModel(OLD, silent_until=START + timedelta(minutes=1)),
        PLAIN,
        LINE,
    ),
    "a router that takes no CoA but has the API": (lambda: RouterModel(OLD, takes_coa=False), WITH_API, LINE),
    "a router away for an hour": (lambda: RouterModel(OLD, away_until=AN_HOUR), PLAIN, LINE),
    "a router away for an hour, read back": (lambda: RouterModel(OLD, away_until=AN_HOUR), WITH_API, LINE),
    "an API that fails for a minute": (
        lambda: RouterModel(OLD, api_fails_until=START + timedelta(minutes=1)),
        WITH_API,
        LINE,
    ),
    "an API that fails and is needed": (
        lambda: RouterModel(OLD, api_fails_until=START + timedelta(minutes=9)),
        LIST_BY_API,
        LINE,
    ),
    "a plan that disconnects what stays unproven": (
        lambda: RouterModel(OLD, silent_until=START + timedelta(minutes=5)),
        PLAIN,
        replace(LINE, disconnect_unproven_seconds=60),
    ),
}


STAYED = replace(REFUSED, problem=Problem.STILL_ON_LINE)
SCENARIOS |= {
    "a session that stayed, until it goes": (
        lambda: RouterModel(OLD, stays_until=START + timedelta(minutes=1)),
        PLAIN,
        STAYED,
    ),
    "a session that stayed and is gone": (lambda: RouterModel(OLD, is_open=False), PLAIN, STAYED),
    "a session that stayed, and an API": (
        lambda: RouterModel(OLD, stays_until=START + timedelta(hours=9)),
        WITH_API,
        STAYED,
    ),
}


def observed(run: Run, line: LineState) -> tuple[bool, bool, bytes | None]:
    """Return the end of a run: whether the session lives and, while it does, what is in force."""
    lives = run.router.is_open
    return line.is_proven or line.gone, lives, run.router.in_force if lives else None


def settled(name: str, crash_after: int | None = None) -> tuple[Run, LineState]:
    make, capabilities, line = SCENARIOS[name]
    run = Run(make(), capabilities, line)
    return run, run.settle(crash_after)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_ends_with_the_router_obeying_or_the_session_ended(name: str) -> None:
    run, line = settled(name)
    done, lives, in_force = observed(run, line)
    assert done
    if lives and not line.gone:
        assert line.admitted
        assert in_force == NEW


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_death_at_any_point_changes_nothing_about_the_end(name: str) -> None:
    run, line = settled(name)
    end = observed(run, line)
    # More points than an undisturbed run has: a death costs a step or two.
    for point in range(3 * len(run.router.log) + 6):
        cut, cut_line = settled(name, crash_after=point)
        assert observed(cut, cut_line) == end, f"cut at point {point}: {cut.router.log}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_proven_is_left_alone(name: str) -> None:
    run, line = settled(name)
    steps = len(run.router.log)
    run.kept = line
    run.settle()
    assert len(run.router.log) == steps


WAYS: dict[str, list[StepKind]] = {
    "a router that obeys": [StepKind.COA],
    "a router that obeys and is read back": [StepKind.COA, StepKind.READ_BACK],
    "an address list that only the API sets": [StepKind.COA, StepKind.API, StepKind.READ_BACK],
    "a change that only the API makes": [StepKind.API, StepKind.READ_BACK],
    "a change that needs a new login": [StepKind.DISCONNECT],
    "a line that is not admitted": [StepKind.DISCONNECT],
    "a line that is not admitted, read back": [StepKind.DISCONNECT, StepKind.READ_BACK],
    "a router that refuses the attribute": [StepKind.COA, StepKind.DISCONNECT],
    "a router that refuses, but has the API": [StepKind.COA, StepKind.API, StepKind.READ_BACK],
    "a router that wants one session named": [StepKind.COA, StepKind.COA],
    "a router that never knows which session": [StepKind.COA, StepKind.COA, StepKind.DISCONNECT],
    "a session the router does not have": [StepKind.COA, StepKind.COA],
    "a session the API does not have either": [StepKind.COA, StepKind.READ_BACK],
    "an ACK that is a lie": [StepKind.COA, StepKind.READ_BACK] * 2 + [StepKind.KICK],
    "an ACK that is a lie, and an API": [StepKind.COA, StepKind.READ_BACK] * 2 + [StepKind.API, StepKind.READ_BACK],
    "a router that takes no CoA but has the API": [StepKind.COA, StepKind.COA, StepKind.KICK],
}


@pytest.mark.parametrize("name", WAYS)
def test_the_ladder_is_gone_down_in_its_order(name: str) -> None:
    run, _ = settled(name)
    assert run.router.log == WAYS[name]


def test_a_session_that_is_gone_is_told_so_that_ours_is_closed() -> None:
    _, line = settled("a session the router does not have")
    assert line.gone
    assert next_step(line, PLAIN, START).kind is StepKind.GONE


@pytest.mark.parametrize(
    ("name", "proof"),
    [
        ("a router that obeys", Proof.COA),
        ("a router that obeys and is read back", Proof.READ_BACK),
        ("a change that needs a new login", Proof.DISCONNECT),
        ("a line that is not admitted, read back", Proof.DISCONNECT),
        ("an ACK that is a lie", Proof.DISCONNECT),
    ],
)
def test_a_proven_line_says_how_it_was_proven(name: str, proof: Proof) -> None:
    _, line = settled(name)
    assert line.proven_by is proof
    assert line.problem is None
    assert line.attempts == 0


def test_a_router_that_was_away_is_tried_within_the_longest_pause_after_it_is_back() -> None:
    run, _ = settled("a router away for an hour")
    assert run.now - AN_HOUR <= timedelta(seconds=LONGEST_BACKOFF_SECONDS * 1.1 + 1)


def test_a_router_that_is_away_costs_no_attempts() -> None:
    line = LINE
    for _ in range(50):
        step = next_step(line, PLAIN, START)
        line = after(replace(line, next_attempt_at=None), step, Outcome(OutcomeKind.AWAY), PLAIN, START)
    assert line.attempts == 0
    assert line.problem is Problem.ROUTER_AWAY


def test_pauses_grow_and_differ_between_sessions() -> None:
    pauses = []
    line = LINE
    for _ in range(6):
        line = after(line, next_step(line, PLAIN, AN_HOUR), Outcome(OutcomeKind.SILENT), PLAIN, START)
        assert line.next_attempt_at is not None
        pauses.append((line.next_attempt_at - START).total_seconds())
    assert pauses == sorted(pauses)[: len(pauses)] or max(pauses) <= LONGEST_BACKOFF_SECONDS * 1.1
    assert pauses[0] < 3
    assert 18 <= pauses[-1] <= 22
    other = replace(LINE, session_id=8)
    told = after(other, next_step(other, PLAIN, START), Outcome(OutcomeKind.SILENT), PLAIN, START)
    assert told.next_attempt_at is not None
    assert (told.next_attempt_at - START).total_seconds() != pauses[0]


def test_a_word_that_was_once_untrue_proves_nothing_any_more() -> None:
    run = Run(RouterModel(OLD, stays_until=START + timedelta(hours=9)), PLAIN, STAYED)
    line = run.settle(until=lambda line: line.attempts >= 20)
    assert set(run.router.log) == {StepKind.DISCONNECT}
    assert (line.is_proven, line.problem) == (False, Problem.STILL_ON_LINE)


def test_a_session_that_stayed_is_closed_when_its_router_knows_it_no_more() -> None:
    _, line = settled("a session that stayed, until it goes")
    assert line.gone


def test_a_plan_that_only_lists_never_disconnects_a_silent_router() -> None:
    run = Run(RouterModel(OLD, takes_coa=False), PLAIN, LINE)
    line = run.settle(until=lambda line: line.attempts >= 20)
    assert set(run.router.log) == {StepKind.COA}
    assert line.problem is Problem.NO_ANSWER


def test_a_plan_that_disconnects_does_so_when_the_time_is_over_and_not_before() -> None:
    line = replace(LINE, disconnect_unproven_seconds=60)
    run = Run(RouterModel(OLD, silent_until=START + timedelta(minutes=5)), PLAIN, line)
    run.settle(until=lambda _: StepKind.DISCONNECT in run.router.log)
    assert timedelta(seconds=60) <= run.now - START < timedelta(seconds=61)


def test_a_disconnect_that_is_refused_for_good_is_listed_and_not_repeated_at_once() -> None:
    router = RouterModel(OLD, disconnect_cause=404)
    run = Run(router, PLAIN, REFUSED)
    line = run.settle(until=lambda line: line.problem is not None)
    step = next_step(line, PLAIN, run.now)
    assert line.problem is Problem.REFUSED_404
    assert step.kind is StepKind.WAIT
    assert step.until is not None
    assert step.until - run.now > timedelta(minutes=4)


def test_resources_that_are_short_are_asked_for_again_later() -> None:
    outcome = Outcome(OutcomeKind.NAK, 506)
    line = after(LINE, next_step(LINE, PLAIN, START), outcome, PLAIN, START)
    assert next_step(line, PLAIN, START).kind is StepKind.WAIT
    assert next_step(line, PLAIN, AN_HOUR).kind is StepKind.COA


def test_a_line_nobody_can_reach_is_listed_as_such() -> None:
    line = after(LINE, next_step(LINE, PLAIN, START), Outcome(OutcomeKind.IMPOSSIBLE), PLAIN, START)
    assert line.problem is Problem.CANNOT_CHANGE
    assert next_step(line, PLAIN, START).kind is StepKind.WAIT


@pytest.mark.parametrize("cause", [401, 402, 403, 404, 405, 406, 407, 501, 502, 504, 505, 506, 507, 508])
def test_each_cause_of_rfc_5176_is_a_problem_of_its_own(cause: int) -> None:
    assert refusal(cause).value == f"refused_{cause}"


@pytest.mark.parametrize("cause", [None, 0, 503, 65_535])
def test_other_causes_are_one_problem(cause: int | None) -> None:
    assert refusal(cause) is Problem.REFUSED_OTHER


def test_a_wish_that_returns_while_a_change_is_under_way_is_proven_anew() -> None:
    told = after(LINE, next_step(LINE, WITH_API, START), Outcome(OutcomeKind.ACK), WITH_API, START)
    back = told.desire(OLD, admitted=True, now=START)
    assert told.stage is Stage.TOLD
    assert not back.is_proven
    assert next_step(back, WITH_API, START).kind is StepKind.COA


def test_a_wish_over_a_proven_line_remembers_what_is_in_force() -> None:
    proven = replace(LINE, proven=NEW)
    other = proven.desire(b"other...", admitted=True, now=AN_HOUR)
    assert other.proven == NEW
    assert other.desired_since == AN_HOUR


def test_the_same_wish_changes_nothing() -> None:
    waiting = replace(LINE, attempts=3, problem=Problem.NO_ANSWER, next_attempt_at=AN_HOUR)
    assert waiting.desire(NEW, admitted=True, now=AN_HOUR) is waiting


def test_a_new_wish_begins_at_the_top_of_the_ladder() -> None:
    refused = replace(LINE, attempts=1, problem=Problem.REFUSED_401)
    fresh = refused.desire(b"other...", admitted=True, now=AN_HOUR)
    assert next_step(fresh, PLAIN, AN_HOUR).kind is StepKind.COA
