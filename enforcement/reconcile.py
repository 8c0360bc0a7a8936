"""The next step that brings one line from what its router is proven to do to what it should do.

Rule: nothing is taken for true but what was proven. The ladder is CoA, read back where the router has API access, else
the RouterOS API, else Disconnect (RFC 5176; DESIGN §4); how far down the ladder a line has come is told by its
`problem` and `attempts` alone, which storage keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

FIRST_BACKOFF_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 20.0
"""A router that comes back converges within 30 s: this, the tenth that is spread, and the change itself."""
LISTED_SECONDS = 300.0
"""A line whose every way was refused is listed, and tried again so late: an operator may have repaired the router."""
SPREAD = 0.1
"""Share of a pause by which lines are spread, as RFC 5080 §2.2.1 does with retransmissions."""
SILENT_ATTEMPTS = 2
"""A router whose API answers but which left two requests with all their retransmissions unanswered takes no CoA."""
DIFFERENT_ATTEMPTS = 2
"""Read back once too early is forgiven; the second difference is the router's will."""
UNKNOWN_ATTEMPTS = 2
"""A Start may overtake the session it tells of; a router that knows no session twice has none."""
API_ATTEMPTS = 3


class Problem(Enum):
    """Why a line is not proven; the values are stored and shown."""

    NO_ANSWER = "no_answer"
    ROUTER_AWAY = "router_away"
    RATE_LIMITED = "rate_limited"
    SESSION_UNKNOWN = "session_unknown"
    READ_BACK_DIFFERS = "read_back_differs"
    API_FAILED = "api_failed"
    CANNOT_CHANGE = "cannot_change"
    STILL_ON_LINE = "still_on_line"
    """Its router said that it ended the session, and the session goes on."""
    CHANGED_ELSEWHERE = "changed_elsewhere"
    """It was proven, and then another system changed something of it by CoA."""
    REFUSED_401 = "refused_401"
    REFUSED_402 = "refused_402"
    REFUSED_403 = "refused_403"
    REFUSED_404 = "refused_404"
    REFUSED_405 = "refused_405"
    REFUSED_406 = "refused_406"
    REFUSED_407 = "refused_407"
    REFUSED_501 = "refused_501"
    REFUSED_502 = "refused_502"
    REFUSED_504 = "refused_504"
    REFUSED_505 = "refused_505"
    REFUSED_506 = "refused_506"
    REFUSED_507 = "refused_507"
    REFUSED_508 = "refused_508"
    REFUSED_OTHER = "refused_other"
    """Without an Error-Cause, or with one that RFC 5176 does not know."""


_SESSION_NOT_FOUND = 503
_PASSING = frozenset({Problem.REFUSED_506})
"""Refusals that say "later": resources are short."""
_REFUSALS = frozenset(problem for problem in Problem if problem.value.startswith("refused_"))
_FINAL = _REFUSALS - _PASSING - {Problem.REFUSED_508}
"""Refusals that the same request would meet again; 508 asks for a narrower identification first."""


class Proof(Enum):
    """How a line was proven; the values are stored and shown."""

    LOGIN = "login"
    COA = "coa"
    READ_BACK = "read_back"
    API = "api"
    DISCONNECT = "disconnect"


class Stage(Enum):
    """What was done since the state was read; storage does not keep it, so that a restart begins the change anew."""

    NOTHING = "nothing"
    TOLD = "told"
    """A CoA was acknowledged."""
    SET = "set"
    """The API took the change."""
    ENDED = "ended"
    """A Disconnect was acknowledged."""


class Capabilities(NamedTuple):
    """What can carry the change that one line needs now, on its router."""

    coa: bool = True
    """Something of it can go by CoA."""
    api: bool = False
    """Something of it that CoA does not carry can go by the API."""
    complete: bool = True
    """CoA and API together carry all of it; without, only a new login does."""
    api_alone: bool = False
    """The API can carry all of it."""
    read_back: bool = False
    """The API tells what is in force."""
    kick: bool = False
    """The API can end the session."""
    disconnect: bool = True
    """A Disconnect-Request can; a line that an API counts has no session that RADIUS could name."""


class StepKind(Enum):
    """What is to be done."""

    COA = "coa"
    READ_BACK = "read_back"
    API = "api"
    DISCONNECT = "disconnect"
    KICK = "kick"
    """End the session by the API."""
    WAIT = "wait"
    PROVEN = "proven"
    GONE = "gone"
    """Its router has no such session: ours is to be closed."""


class Step(NamedTuple):
    """One step; `until` is for WAIT, `narrow` asks for every identification there is (Error-Cause 508)."""

    kind: StepKind
    until: datetime | None = None
    narrow: bool = False


class OutcomeKind(Enum):
    """What became of a step."""

    ACK = "ack"
    NAK = "nak"
    SILENT = "silent"
    """Every retransmission was left unanswered."""
    AWAY = "away"
    """Nothing was sent: the router is taken for away."""
    LIMITED = "limited"
    """Nothing was sent: the router's queue is full."""
    API_OK = "api_ok"
    API_FAILED = "api_failed"
    READ_BACK_MATCHES = "read_back_matches"
    READ_BACK_DIFFERS = "read_back_differs"
    GONE = "gone"
    """The router's API knows no such session."""
    IMPOSSIBLE = "impossible"
    """Nothing can be sent: nobody knows where the router listens."""


class Outcome(NamedTuple):
    """What became of a step; `error_cause` is for NAK (RFC 5176 §3.5)."""

    kind: OutcomeKind
    error_cause: int | None = None


@dataclass(frozen=True, slots=True)
class LineState:
    """Desired and proven state of one session.

    Invariant: `proven` is set to a fingerprint only by an outcome that shows the router to do what it says, and a step
    that may change the router is taken only while `desired` is not proven; so whenever both are equal, the router does
    what is desired. A step that was taken and whose outcome was lost may be taken again, any number of times, to the
    same end. `stage` may be lost at any moment; all else is what storage keeps.
    """

    session_id: int
    desired: bytes
    desired_since: datetime
    admitted: bool = True
    proven: bytes | None = None
    proven_by: Proof | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    problem: Problem | None = None
    disconnect_unproven_seconds: int | None = None
    stage: Stage = Stage.NOTHING
    gone: bool = False

    @property
    def is_proven(self) -> bool:
        """Tell whether the router is known to do what is desired."""
        return self.proven == self.desired

    @property
    def is_doubted(self) -> bool:
        """Tell whether its router ended it in words only: such a word proves nothing any more."""
        return self.problem is Problem.STILL_ON_LINE

    @property
    def overdue_at(self) -> datetime | None:
        """Return when the plan wants a line that is still unproven to be disconnected."""
        if self.disconnect_unproven_seconds is None:
            return None
        return self.desired_since + timedelta(seconds=self.disconnect_unproven_seconds)

    def desire(self, desired: bytes, *, admitted: bool, now: datetime) -> LineState:
        """Return the state with another wish.

        What was proven counts on only while the router can have nothing but that: over an unproven line a change may be
        on its way, so even a return to what was proven before has to be proven again.
        """
        if desired == self.desired and admitted == self.admitted:
            return self
        return replace(
            self,
            desired=desired,
            admitted=admitted,
            desired_since=now,
            proven=self.proven if self.is_proven else None,
            attempts=0,
            next_attempt_at=None,
            problem=None,
            stage=Stage.NOTHING,
        )


def next_step(line: LineState, capabilities: Capabilities, now: datetime) -> Step:
    """Return what is to be done about `line` now."""
    if line.gone:
        return Step(StepKind.GONE)
    if line.is_proven:
        return Step(StepKind.PROVEN)
    if line.next_attempt_at is not None and now < line.next_attempt_at:
        return Step(StepKind.WAIT, until=line.next_attempt_at)
    narrow = line.problem is Problem.REFUSED_508
    if line.stage is Stage.ENDED or _asks_whether_it_is_there(line, capabilities):
        return Step(StepKind.READ_BACK)
    if _must_end(line, capabilities, now):
        return Step(StepKind.KICK if _kicks(line, capabilities) else StepKind.DISCONNECT, narrow=narrow)
    return _change(line, capabilities, narrow)


def after(line: LineState, step: Step, outcome: Outcome, capabilities: Capabilities, now: datetime) -> LineState:
    """Return the state after `step` had `outcome`."""
    match outcome.kind:
        case OutcomeKind.ACK:
            return _acknowledged(line, step, capabilities, now)
        case OutcomeKind.API_OK:
            return _done_by_api(line, step, capabilities, now)
        case OutcomeKind.READ_BACK_MATCHES:
            return _proven(line, Proof.READ_BACK)
        case OutcomeKind.GONE:
            return _ended(line, now) if line.stage is Stage.ENDED and not line.is_doubted else replace(line, gone=True)
        case OutcomeKind.NAK:
            return _refused(line, step, outcome.error_cause, now)
        case OutcomeKind.READ_BACK_DIFFERS:
            # What was acknowledged is not in force.
            return _later(line, Problem.READ_BACK_DIFFERS, now)
        case OutcomeKind.API_FAILED:
            return _api_failed(line, step, now)
        case OutcomeKind.SILENT:
            return _later(line, Problem.NO_ANSWER, now)
        case OutcomeKind.AWAY:
            return _not_tried(line, Problem.ROUTER_AWAY, LONGEST_BACKOFF_SECONDS, now)
        case OutcomeKind.LIMITED:
            return _not_tried(line, Problem.RATE_LIMITED, FIRST_BACKOFF_SECONDS, now)
        case OutcomeKind.IMPOSSIBLE:
            return _not_tried(line, Problem.CANNOT_CHANGE, LISTED_SECONDS, now)


def without_a_word(line: LineState) -> LineState:
    """Return the state of a line of whose change its router is told nothing: what it gives is still right."""
    return _proven(line, Proof.LOGIN)


def refusal(error_cause: int | None) -> Problem:
    """Return the problem that a NAK with this Error-Cause is."""
    try:
        return Problem(f"refused_{error_cause}")
    except ValueError:
        return Problem.REFUSED_OTHER


def _backoff_seconds(line: LineState) -> float:
    return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * (1 << min(line.attempts, 16)))


def _pause(line: LineState, seconds: float, now: datetime) -> datetime:
    """Return when the next attempt is due; the moment from which the plan wants a Disconnect is not slept through."""
    due = now + timedelta(seconds=seconds * _spread(line))
    overdue = line.overdue_at
    return due if overdue is None or overdue <= now else min(due, overdue)


def _spread(line: LineState) -> float:
    """Return a factor around 1 that differs from session to session and attempt to attempt, yet not by chance."""
    place = (line.session_id * 2_654_435_761 + line.attempts * 40_503) % 1024
    return 1 - SPREAD + 2 * SPREAD * place / 1023


def _asks_whether_it_is_there(line: LineState, capabilities: Capabilities) -> bool:
    return line.problem is Problem.SESSION_UNKNOWN and capabilities.read_back


def _must_end(line: LineState, capabilities: Capabilities, now: datetime) -> bool:
    """Tell whether only a Disconnect is left."""
    overdue = line.overdue_at
    if not line.admitted or not capabilities.complete or (overdue is not None and now >= overdue):
        return True
    if line.problem is Problem.NO_ANSWER:
        return capabilities.kick and line.attempts >= SILENT_ATTEMPTS
    if line.problem is Problem.API_FAILED and line.attempts >= API_ATTEMPTS:
        # A failed read back alone is no reason: the line then is listed as unproven.
        return capabilities.api or not capabilities.coa
    return _is_past_coa(line) and not capabilities.api_alone


def _is_past_coa(line: LineState) -> bool:
    """Tell whether CoA has failed for good."""
    if line.problem is Problem.REFUSED_508:
        return line.attempts > 1
    if line.problem is Problem.READ_BACK_DIFFERS:
        return line.attempts >= DIFFERENT_ATTEMPTS
    return line.problem in _FINAL


def _kicks(line: LineState, capabilities: Capabilities) -> bool:
    """Tell whether the API ends the session: where a request was refused or left unanswered."""
    if not capabilities.disconnect:
        return True
    if not capabilities.kick or line.problem is Problem.API_FAILED:
        return False
    return line.problem in _FINAL or line.problem in (
        Problem.NO_ANSWER,
        Problem.READ_BACK_DIFFERS,
        Problem.SESSION_UNKNOWN,
        Problem.STILL_ON_LINE,
    )


def _change(line: LineState, capabilities: Capabilities, narrow: bool) -> Step:
    if line.stage is Stage.TOLD and capabilities.api:
        return Step(StepKind.API)
    if line.stage in (Stage.TOLD, Stage.SET):
        return Step(StepKind.READ_BACK)
    if capabilities.coa and not _is_past_coa(line):
        return Step(StepKind.COA, narrow=narrow)
    return Step(StepKind.API)


def _acknowledged(line: LineState, step: Step, capabilities: Capabilities, now: datetime) -> LineState:
    if step.kind is StepKind.DISCONNECT:
        return replace(line, stage=Stage.ENDED) if capabilities.read_back else _ended(line, now)
    if capabilities.api or capabilities.read_back:
        return replace(line, stage=Stage.TOLD)
    return _proven(line, Proof.COA)


def _done_by_api(line: LineState, step: Step, capabilities: Capabilities, now: datetime) -> LineState:
    if step.kind is StepKind.KICK:
        return _ended(line, now)
    return replace(line, stage=Stage.SET) if capabilities.read_back else _proven(line, Proof.API)


def _ended(line: LineState, now: datetime) -> LineState:
    """Return the state of a line whose router says that it ended the session; of a doubted one the end is awaited.

    That comes as its Stop, or as the router's word that it has no such session.
    """
    return _later(line, Problem.STILL_ON_LINE, now) if line.is_doubted else _proven(line, Proof.DISCONNECT)


def _proven(line: LineState, proof: Proof) -> LineState:
    return replace(
        line,
        proven=line.desired,
        proven_by=proof,
        attempts=0,
        next_attempt_at=None,
        problem=None,
        stage=Stage.NOTHING,
    )


def _refused(line: LineState, step: Step, error_cause: int | None, now: datetime) -> LineState:
    """Nothing was applied (RFC 5176 §2.3); what the cause means decides the next way."""
    if error_cause == _SESSION_NOT_FOUND:
        if step.kind is StepKind.DISCONNECT or (
            line.problem is Problem.SESSION_UNKNOWN and line.attempts + 1 >= UNKNOWN_ATTEMPTS
        ):
            return replace(line, gone=True)
        return _later(line, Problem.SESSION_UNKNOWN, now)
    problem = refusal(error_cause)
    if problem in _PASSING:
        return _later(line, problem, now)
    ladder_has_more = step.kind is StepKind.COA or (problem is Problem.REFUSED_508 and not step.narrow)
    refused = replace(line, problem=problem, attempts=line.attempts + 1, stage=Stage.NOTHING)
    return replace(refused, next_attempt_at=None if ladder_has_more else _pause(line, LISTED_SECONDS, now))


def _api_failed(line: LineState, step: Step, now: datetime) -> LineState:
    if line.problem is Problem.SESSION_UNKNOWN and step.kind is StepKind.READ_BACK:
        # The NAK is the only witness, and it was clear.
        return replace(line, gone=True)
    return _later(line, Problem.API_FAILED, now)


def _later(line: LineState, problem: Problem, now: datetime) -> LineState:
    return replace(
        line,
        problem=problem,
        attempts=line.attempts + 1,
        next_attempt_at=_pause(line, _backoff_seconds(line), now),
        stage=Stage.NOTHING,
    )


def _not_tried(line: LineState, problem: Problem, seconds: float, now: datetime) -> LineState:
    """Nothing left us, so nothing counts as an attempt."""
    return replace(line, problem=problem, next_attempt_at=_pause(line, seconds, now), stage=Stage.NOTHING)
