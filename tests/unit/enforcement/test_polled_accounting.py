"""Counters that contain others: every octet is booked once, whatever is reset and whoever starts again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.instants import SECOND_US, Microseconds
from enforcement.polled_accounting import (
    MOST_NAMED,
    KnownSession,
    PolledRecord,
    Tracked,
    accounting_request,
    poll,
    restored,
)
from enforcement.polled_readings import NO_OCTETS, Octets, Reading, Source, Subject
from radius.codes import AcctStatus, Type

BEGIN_US = Microseconds(1_767_268_800 * SECOND_US)
MAIN, LOCAL, VOIP = Subject(Source.PPP, "*80000001"), Subject(Source.CLASS, "*9"), Subject(Source.CLASS, "*A")
STATIC, WITHIN = Subject(Source.QUEUE, "*1"), Subject(Source.QUEUE, "*9")


def reading(
    subject: Subject, up: int, *inside: Subject, seconds: int = 0, age: int = 9_000, lists: tuple[str, ...] = ()
) -> Reading:
    """Return a reading with twice as many octets down; `age` is that at the beginning."""
    port = f"port {subject.entry}"
    return Reading(subject, "ana", "10.8.0.1", "", port, age + seconds, up, 2 * up, tuple(inside), lists)


class Books:
    """What the books make of polls: the newest record of each session counts."""

    def __init__(self) -> None:
        self.tracked: Mapping[Subject, Tracked] = {}
        self.seconds = 0
        self.sessions: dict[str, PolledRecord] = {}
        self.standing: dict[str, Octets | None] = {}

    def poll(self, *found: Reading, after: int = 60) -> list[PolledRecord]:
        """Poll so many seconds after the last one."""
        self.seconds += after
        aged = [each._replace(uptime_seconds=each.uptime_seconds + self.seconds) for each in found]
        polled = poll(self.tracked, aged, Microseconds(BEGIN_US + self.seconds * SECOND_US), standing=self.standing)
        for record in polled.records:
            before = self.sessions.get(record.acct_session_id)
            assert before is None or before.status is AcctStatus.INTERIM
            assert before is None or (record.octets_up >= before.octets_up and record.octets_down >= before.octets_down)
            assert record.octets_up >= 0
            assert accounting_request(record).integer(Type.EVENT_TIMESTAMP) == record.event_us // SECOND_US
            self.sessions[record.acct_session_id] = record
        self.tracked = polled.tracked
        self.standing = {each.subject.entry: each.octets for each in found}
        return list(polled.records)

    def restart(self) -> None:
        """Know no more than the rows of the sessions tell."""
        newest = {record.acct_session_id.split("-")[2]: record for record in self.sessions.values()}
        self.tracked = restored(known(newest.values()))

    def booked(self) -> dict[str, int]:
        """Return the octets that were sent up, by the entry that counted; those down are twice as many."""
        found: dict[str, int] = {}
        for name, record in self.sessions.items():
            assert record.octets_down == 2 * record.octets_up
            entry = name.split("-")[2]
            found[entry] = found.get(entry, 0) + record.octets_up
        return found


def known(records: Iterable[PolledRecord]) -> list[KnownSession]:
    """Return records as the rows of their sessions."""
    return [
        KnownSession(
            each.acct_session_id,
            each.login,
            each.session_seconds,
            each.octets_up,
            each.octets_down,
            each.event_us,
            each.status is AcctStatus.STOP,
        )
        for each in records
    ]


class Step(NamedTuple):
    """Counters at one poll, and what was booked by then of the outer and of the inner one."""

    outer: int
    inner: int
    booked: tuple[int, int]
    outer_age: int = 9_000
    inner_age: int = 9_000
    restarts: bool = False


GOES_ON = Step(1_000, 300, (1_000, 0)), Step(1_500, 500, (1_300, 200))
"""The inner counter stood at 300 before it was first read: these octets are the outer one's."""

CASES = {
    "goes on": [*GOES_ON, Step(1_501, 500, (1_301, 200))],
    "only the class flows": [*GOES_ON, Step(1_600, 600, (1_300, 300))],
    "inner is ahead and the outer catches up": [
        *GOES_ON,
        Step(1_550, 600, (1_300, 300)),
        Step(1_650, 620, (1_330, 320)),
    ],
    "inner is reset": [*GOES_ON, Step(1_540, 10, (1_330, 210)), Step(1_550, 12, (1_338, 212))],
    "inner is reset while it is ahead": [*GOES_ON, Step(1_550, 600, (1_300, 300)), Step(1_650, 20, (1_330, 320))],
    "outer is reset": [*GOES_ON, Step(90, 530, (1_360, 230), -125), Step(95, 530, (1_365, 230), -125)],
    "outer is reset and has less than passed inside": [*GOES_ON, Step(20, 530, (1_300, 230), -125)],
    "both are reset": [*GOES_ON, Step(90, 30, (1_360, 230), -125, -125), Step(91, 31, (1_360, 231), -125, -125)],
    "restart": [*GOES_ON, Step(1_540, 510, (1_330, 210), restarts=True)],
    "restart while it is ahead": [
        *GOES_ON,
        Step(1_550, 600, (1_300, 300)),
        Step(1_550, 600, (1_300, 300), restarts=True),
        Step(1_650, 620, (1_330, 320)),
    ],
    "restart and reset of the inner": [*GOES_ON, Step(1_540, 10, (1_330, 210), restarts=True)],
    "restart and reset of the outer": [*GOES_ON, Step(90, 530, (1_360, 230), -125, restarts=True)],
    "restart and reset of both": [*GOES_ON, Step(90, 30, (1_360, 230), -125, -125, restarts=True)],
}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES)
def test_what_lies_inside_is_counted_there_alone(steps: list[Step]) -> None:
    books = Books()
    books.standing = {"*9": None}
    for step in steps:
        if step.restarts:
            books.restart()
        books.poll(
            reading(MAIN, step.outer, LOCAL, age=step.outer_age),
            reading(LOCAL, step.inner, age=step.inner_age),
        )
        booked = books.booked()
        assert (booked["*80000001"], booked["*9"]) == step.booked


def test_queue_inside_a_queue_is_counted_from_the_first_poll_on() -> None:
    books = Books()
    books.standing = {"*1": None, "*9": None}
    books.poll(reading(STATIC, 5_000, WITHIN), reading(WITHIN, 900))
    assert books.booked() == {"*1": 0, "*9": 0}
    books.poll(reading(STATIC, 5_100, WITHIN), reading(WITHIN, 930))
    assert books.booked() == {"*1": 70, "*9": 30}


def test_inner_session_that_appears_or_goes_leaves_the_rest_to_the_outer_one() -> None:
    books = Books()
    books.poll(reading(MAIN, 1_000))
    books.standing["*9"] = None
    books.poll(reading(MAIN, 1_100, LOCAL), reading(LOCAL, 800))
    books.poll(reading(MAIN, 1_300, LOCAL), reading(LOCAL, 850))
    assert books.booked() == {"*80000001": 1_250, "*9": 50}
    books.poll(reading(MAIN, 1_400))
    assert books.booked() == {"*80000001": 1_350, "*9": 50}
    assert len({name for name in books.sessions if "-ppp-" in name}) == 3


def test_inner_queue_that_was_made_since_the_last_poll_is_counted_whole() -> None:
    books = Books()
    books.poll(reading(MAIN, 1_000))
    books.poll(reading(MAIN, 1_100, LOCAL), reading(LOCAL, 40))
    assert books.booked() == {"*80000001": 1_060, "*9": 40}


def test_queue_that_is_read_again_goes_on_where_it_stood_at_the_last_poll() -> None:
    books = Books()
    books.poll(reading(MAIN, 1_000, LOCAL), reading(LOCAL, 40))
    books.poll()
    books.standing = {"*9": Octets(50, 100)}
    books.poll(reading(MAIN, 100, LOCAL, age=-150), reading(LOCAL, 70))
    assert books.booked() == {"*80000001": 1_040, "*9": 60}


def test_session_whose_inner_ones_the_books_have_lost_counts_from_now_on() -> None:
    books = Books()
    books.poll(reading(MAIN, 1_000, LOCAL), reading(LOCAL, 0))
    outer = next(record for name, record in books.sessions.items() if "-ppp-" in name)
    books.tracked = restored(known([outer]))
    books.poll(reading(MAIN, 1_500, LOCAL), reading(LOCAL, 20))
    books.poll(reading(MAIN, 1_600, LOCAL), reading(LOCAL, 30))
    assert books.booked() == {"*80000001": 1_090, "*9": 30}


def test_session_around_one_that_has_lost_its_inner_ones_counts_from_now_on() -> None:
    books = Books()
    books.standing = {"*9": None, "*A": None}
    books.poll(reading(MAIN, 1_000, LOCAL), reading(LOCAL, 500, VOIP), reading(VOIP, 400))
    kept = [record for name, record in books.sessions.items() if "*A-" not in name]
    books.tracked = restored(known(kept))
    books.poll(reading(MAIN, 2_000, LOCAL), reading(LOCAL, 600, VOIP), reading(VOIP, 450))
    books.poll(reading(MAIN, 2_100, LOCAL), reading(LOCAL, 640, VOIP), reading(VOIP, 460))
    assert (books.booked()["*80000001"], books.booked()["*9"]) == (1_060, 30)


def test_inner_session_of_which_only_the_next_one_was_booked_is_lost() -> None:
    """The core ended between two batches: the new inner session is booked and what happened around it is not."""
    books = Books()
    books.poll(reading(MAIN, 1_000, LOCAL), reading(LOCAL, 400))
    (outer,) = (record for name, record in books.sessions.items() if "-ppp-" in name)
    books.poll(reading(MAIN, 1_050, LOCAL), reading(LOCAL, 10))
    inner = next(reversed(books.sessions.values()))
    books.sessions = {outer.acct_session_id: outer, inner.acct_session_id: inner}
    books.tracked = restored(known([outer, inner]))
    books.poll(reading(MAIN, 1_100, LOCAL), reading(LOCAL, 20))
    books.poll(reading(MAIN, 1_200, LOCAL), reading(LOCAL, 30))
    assert books.booked() == {"*80000001": 690, "*9": 30}


def test_session_that_was_stopped_does_not_go_on_after_a_restart() -> None:
    books = Books()
    books.poll(reading(STATIC, 1_000))
    (gone,) = books.poll()
    assert gone.status is AcctStatus.STOP
    books.restart()
    assert STATIC not in books.tracked
    (again,) = books.poll(reading(STATIC, 1_500))
    assert again.acct_session_id != gone.acct_session_id


@pytest.mark.parametrize("restarts", [False, True])
def test_more_inner_sessions_than_an_id_can_name_are_counted_exactly_but_over_a_restart(restarts: bool) -> None:
    books = Books()
    inner = [Subject(Source.CLASS, f"*{number:08X}") for number in range(20)]
    assert len(inner) > MOST_NAMED
    books.poll(reading(MAIN, 1_000, *inner), *(reading(each, 10) for each in inner))
    if restarts:
        books.restart()
    books.poll(reading(MAIN, 2_000, *inner), *(reading(each, 20) for each in inner))
    books.poll(reading(MAIN, 3_000, *inner), *(reading(each, 20) for each in inner))
    assert books.booked()["*80000001"] == (1_800 if restarts else 2_600)


def test_longest_id_fits_into_one_attribute() -> None:
    books = Books()
    host = Subject(Source.HOTSPOT, "*FFFFFFFF")
    inner = [Subject(Source.CLASS, f"*{0xFFFFFFF0 + number:08X}") for number in range(MOST_NAMED)]
    books.standing = dict.fromkeys((each.entry for each in inner), None)
    (record, *_) = books.poll(reading(host, 0, *inner), *(reading(each, 2**62) for each in inner))
    assert len(record.acct_session_id) <= 253
    assert restored(known(books.sessions.values()))[host].is_sure


def test_lists_of_the_interface_are_told_as_classes() -> None:
    (record,) = Books().poll(reading(MAIN, 1, lists=("IX", "caché")))
    assert list(accounting_request(record).all(Type.CLASS)) == [b"IX", "caché".encode()]


AMOUNT = st.integers(0, 1 << 34)
EVENTS = st.sampled_from(("", "", "", "restart", "local reset", "voip reset", "line reset", "reboot", "away", "twice"))


@given(st.lists(st.tuples(EVENTS, AMOUNT, AMOUNT, AMOUNT), min_size=1, max_size=12))
def test_nothing_is_counted_twice_or_lost_by_chance(
    steps: list[tuple[str, int, int, int]],
) -> None:
    """Resets happen just after a poll, so that there is nothing that nobody could know."""
    books = Books()
    octets = {MAIN: 0, LOCAL: 0, VOIP: 0}
    born = {MAIN: 0, LOCAL: 0, VOIP: 0}
    true = {MAIN: 0, LOCAL: 0, VOIP: 0}
    for event, main, local, voip in steps:
        reset = {"local reset": [LOCAL], "voip reset": [VOIP], "line reset": [MAIN], "reboot": [*octets]}.get(event, [])
        for subject in reset:
            octets[subject], born[subject] = 0, books.seconds
        if event == "restart":
            books.restart()
        flows = {VOIP: voip, LOCAL: local, MAIN: main}
        for subject, amount in flows.items():
            true[subject] += amount
        octets[VOIP] += voip
        octets[LOCAL] += voip + local
        octets[MAIN] += voip + local + main
        found = [
            reading(MAIN, octets[MAIN], LOCAL, age=-born[MAIN]),
            reading(LOCAL, octets[LOCAL], VOIP, age=-born[LOCAL]),
            reading(VOIP, octets[VOIP], age=-born[VOIP]),
        ]
        books.poll(*found, after=6_000 if event == "away" else 60)
        if event == "twice":
            books.poll(*found, after=1)
        booked = books.booked()
        assert {subject: booked[subject.entry] for subject in true} == true


def test_octets_are_compared_by_direction() -> None:
    assert Octets(1, 5).at_least(Octets(3, 2)) == Octets(3, 5)
    assert Octets(1, 5) - Octets(3, 2) + Octets(2, -3) == NO_OCTETS
