"""The fold: whatever order, loss and repetition do to a session's records, its octets count once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.record import LARGEST_COUNTER_OCTETS, Record, read
from accounting.session import NAS_RESTART_CAUSE, SLIP, Outcome, State, advance
from domain.instants import SECOND_US, Microseconds
from radius.codes import AcctStatus, Type
from radius.packet import attribute, integer_attribute
from tests.unit.accounting.records import GIB, WRAP, Folded, after_noon, fold, interim, record, start, stop

FRAMED = Type.FRAMED_IP_ADDRESS


def close(folded: Folded, cause: str) -> None:
    """Close the session as silence or a restart of its NAS does in the database."""
    session = folded.session
    session.state, session.stopped_us, session.terminate_cause = State.PROVISIONAL, session.updated_us, cause


def check(folded: Folded) -> None:
    """Check what holds whatever comes: facts sum to the sessions, and no interval runs backwards."""
    assert folded.octets == (
        sum(fact.octets_up for fact in folded.facts),
        sum(fact.octets_down for fact in folded.facts),
    )
    assert all(fact.from_us <= fact.to_us and fact.octets_up >= 0 <= fact.octets_down for fact in folded.facts)


ONE_SESSION: dict[str, tuple[list[Record], tuple[int, int]]] = {
    "counters are cumulative, not added up": ([start(), interim(300, 10, 20), interim(600, 30, 50)], (30, 50)),
    "C3 a Start told twice": ([start(), start(5), interim(300, 1, 2)], (1, 2)),
    "C3 a Stop told twice": ([start(), stop(300, 1, 2), stop(300, 1, 2, at=305)], (1, 2)),
    "C3 an Interim told twice": ([start(), interim(300, 1, 2), interim(300, 1, 2, at=303)], (1, 2)),
    "C3 a retransmission with a new delay": (
        [start(), interim(300, 1, 2), record(at=310, seconds=300, up=1, down=2, delay=10)],
        (1, 2),
    ),
    "C4 an Interim without a Start": ([interim(300, 1, 2), interim(600, 3, 4)], (3, 4)),
    "C4 a Stop without a Start": ([stop(300, 1, 2)], (1, 2)),
    "a Stop before its Start": ([stop(300, 1, 2, at=300), start(301)], (1, 2)),
    "an Interim before its Start, then more": ([interim(300, 1, 2), start(300.1), interim(600, 3, 4)], (3, 4)),
    "an Interim before its stamped Start": ([interim(300, 1, 2), start(400, stamp=0), interim(600, 3, 4)], (3, 4)),
    "C5 a Start after the Stop": ([start(), stop(300, 1, 2), start(301, stamp=0)], (1, 2)),
    "C5 an older Interim after the Stop": ([start(), stop(600, 3, 4), interim(300, 1, 2, at=601)], (3, 4)),
    "a newer Interim after the Stop counts": ([start(), stop(300, 1, 2), interim(310, 5, 6)], (5, 6)),
    "C6 a late older Interim": ([start(), interim(600, 3, 4), interim(300, 1, 2, at=601), stop(900, 5, 6)], (5, 6)),
    "C7 beyond 4 GiB": ([start(), interim(300, 5 * GIB, 9 * GIB, gigawords=True)], (5 * GIB, 9 * GIB)),
    "a lost Interim": ([start(), interim(900, 7, 8)], (7, 8)),
    "a Stop without counters": ([start(), interim(300, 7, 8), record(AcctStatus.STOP, at=310, seconds=310)], (7, 8)),
    "a Stop with zero counters": ([start(), interim(300, 7, 8), stop(310, 0, 0)], (7, 8)),
    "a Stop of nothing but zeros": (
        [start(), interim(300, 7, 8), record(AcctStatus.STOP, at=400, seconds=0, up=0, down=0)],
        (7, 8),
    ),
    "a Stop without seconds": ([start(), interim(300, 7, 8), record(AcctStatus.STOP, at=400, up=9, down=9)], (9, 9)),
    "a Stop of no seconds, with counters": (
        [start(), interim(300, 7, 8), record(AcctStatus.STOP, at=400, seconds=0, up=9, down=9)],
        (9, 9),
    ),
    "a Stop with one counter only": (
        [start(), interim(300, 7000, 8000), record(AcctStatus.STOP, at=310, seconds=310, down=9000)],
        (7000, 9000),
    ),
    "a Stop with a zero beside a counter that went on": (
        [start(), interim(300, 7000, 8000), stop(310, 0, 9000)],
        (7000, 9000),
    ),
    "a Stop with a zero beside a counter that stands": (
        [start(), interim(300, 7000, 8000), stop(310, 0, 8000)],
        (7000, 8000),
    ),
    "an Interim after a Stop without counters": (
        [start(), record(AcctStatus.STOP, at=310, seconds=310), interim(300, 7, 8, at=311)],
        (7, 8),
    ),
    "an Interim overtaken by the Stop of the same second": (
        [start(), stop(300, 7000, 8000), interim(300, 6000, 5000, at=300.5)],
        (7000, 8000),
    ),
    "the same, counted in 64 bits": (
        [start(), stop(300, 9 * GIB, 8 * GIB, gigawords=True), interim(300, 5 * GIB, GIB, at=301, gigawords=True)],
        (9 * GIB, 8 * GIB),
    ),
    "an Interim overtaken where no seconds are told": (
        [start(), record(at=301, up=7000, down=8000), record(at=301.5, up=5000, down=4000)],
        (7000, 8000),
    ),
    "one counter wraps": ([start(), interim(300, WRAP - 10, 5), interim(600, 20, 9)], (WRAP + 20, 9)),
    "one wraps while the other stands": ([start(), interim(300, 4 * GIB - 1, 9), interim(600, 5, 9)], (WRAP + 5, 9)),
    "both wrap": ([start(), interim(300, WRAP - 10, WRAP - 5), interim(600, 20, 30)], (WRAP + 20, WRAP + 30)),
    "a counter wraps twice": (
        [start(), interim(300, 3 * GIB, 1), interim(600, GIB, 2), interim(900, 3 * GIB, 3), interim(1200, GIB, 4)],
        (9 * GIB, 4),
    ),
    "a wrap within the second in which an Interim and the Stop were sent": (
        [start(), interim(300, WRAP - 10, 5), stop(300, 10, 9, at=300.5)],
        (WRAP + 10, 9),
    ),
    "a duplicate from before the wrap": (
        [start(), interim(300, 4 * GIB - 1, 5), interim(600, 20, 9), interim(300, 4 * GIB - 1, 5, at=603)],
        (WRAP + 20, 9),
    ),
    "a late Interim from before the wrap": (
        [start(), interim(300, GIB, 1), interim(900, 20, 9), interim(600, 3 * GIB, 5, at=901), interim(1200, 30, 10)],
        (WRAP + 30, 10),
    ),
    "no wrap where Gigawords are sent": (
        [start(), interim(300, 3 * GIB, 5, gigawords=True), interim(600, GIB, 9, gigawords=True)],
        (3 * GIB, 9),
    ),
    "counters reset": ([start(), interim(300, 5000, 9000), interim(600, 10, 20), interim(900, 30, 40)], (5030, 9040)),
    "counters reset to less than a zero beside": (
        [start(), interim(300, 0, 9000), interim(600, 0, 20), interim(900, 5, 40)],
        (5, 9040),
    ),
    "64-bit counters reset": (
        [start(), interim(300, 9 * GIB, 5 * GIB, gigawords=True), interim(600, 10, 20, gigawords=True)],
        (9 * GIB + 10, 5 * GIB + 20),
    ),
    "a duplicate from before the reset": (
        [start(), interim(300, 5000, 9000), interim(600, 10, 20), interim(300, 5000, 9000, at=603)],
        (5010, 9020),
    ),
    "counters read a moment too early": (
        [start(), interim(300, GIB, 2 * GIB), stop(301, GIB - SLIP, 2 * GIB - 5)],
        (GIB, 2 * GIB),
    ),
    "one counter read a moment too early": (
        [start(), interim(300, GIB, 2 * GIB), stop(301, GIB - 1000, 2 * GIB + 5)],
        (GIB, 2 * GIB + 5),
    ),
    "a router whose clock is an hour slow": (
        [
            start(0, stamp=-3600),
            record(at=300, seconds=300, up=1, down=2, stamp=-3300),
            record(AcctStatus.STOP, at=600, seconds=600, up=3, down=4, stamp=-3000),
        ],
        (3, 4),
    ),
    "a router whose clock jumps forward by an hour": (
        [
            start(0, stamp=-3600),
            record(at=300, seconds=300, up=1, down=2, stamp=-3300),
            record(at=600, seconds=600, up=3, down=4, stamp=600),
        ],
        (3, 4),
    ),
    "a router whose clock jumps back by an hour": (
        [
            start(0, stamp=0),
            record(at=300, seconds=300, up=1, down=2, stamp=300),
            record(at=600, seconds=600, up=3, down=4, stamp=-3000),
        ],
        (3, 4),
    ),
    "a router that thinks it is 1970": ([start(0), record(at=300, seconds=300, up=1, down=2, stamp=-(10**9))], (1, 2)),
}


@pytest.mark.parametrize("name", ONE_SESSION)
def test_one_session_counts_once(name: str) -> None:
    records, octets = ONE_SESSION[name]
    folded = fold(records)
    assert len(folded.sessions) == 1
    assert folded.octets == octets
    check(folded)


EVA = "eva@example"
REUSED: dict[str, tuple[list[Record], list[tuple[int, int]]]] = {
    "C11 a Start long after the Stop": (
        [start(), stop(300, 50, 60), start(900), stop(300, 1, 2, at=1200)],
        [(50, 60), (1, 2)],
    ),
    "a Start right after the Stop, with a time of its own": (
        [start(0, stamp=0), stop(300, 50, 60), start(301.2, stamp=301), interim(60, 1, 2, at=361)],
        [(50, 60), (1, 2)],
    ),
    "a Start after a reboot without Accounting-On": (
        [start(), interim(300, 50, 60), start(500), interim(300, 7, 8, at=800)],
        [(50, 60), (7, 8)],
    ),
    "an Interim after a reboot whose Start was lost": (
        [start(), interim(300, 50, 60), interim(100, 7, 8, at=800)],
        [(50, 60), (7, 8)],
    ),
    "more than before, while the database was away": (
        [start(), interim(300, 50, 60), interim(600, 70, 80, at=9000)],
        [(50, 60), (70, 80)],
    ),
    "a Stop after a reboot whose Start was lost": (
        [start(), stop(300, 50, 60), stop(100, 7, 8, at=800)],
        [(50, 60), (7, 8)],
    ),
    "another subscriber at once": (
        [start(), interim(10, 50, 60), start(20, login=EVA), record(at=30, login=EVA, seconds=10, up=7, down=8)],
        [(50, 60), (7, 8)],
    ),
    "another subscriber by a clock that is behind": (
        [
            start(0, stamp=0),
            record(at=300, seconds=300, up=1_000, down=2_000, stamp=300),
            start(600, login=EVA, stamp=-1200),
            record(at=660, login=EVA, seconds=60, up=7, down=8, stamp=-1140),
            record(AcctStatus.STOP, at=780, login=EVA, seconds=180, up=900_000, down=9_000_000, stamp=-1020),
            record(AcctStatus.STOP, at=800, seconds=310, up=1_100, down=2_200, stamp=310),
        ],
        [(1_100, 2_200), (900_000, 9_000_000)],
    ),
    "another subscriber by a clock that is behind, its Start lost": (
        [
            start(0, stamp=0),
            record(at=300, seconds=300, up=1_000, down=2_000, stamp=300),
            record(AcctStatus.STOP, at=780, login=EVA, seconds=180, up=900_000, down=9_000_000, stamp=-1020),
        ],
        [(1_000, 2_000), (900_000, 9_000_000)],
    ),
    "the same subscriber again by a clock that is behind": (
        [
            start(0, stamp=0),
            record(at=300, seconds=300, up=1_000, down=2_000, stamp=300),
            start(600, stamp=-1200),
            record(AcctStatus.STOP, at=780, seconds=180, up=7, down=8, stamp=-1020),
        ],
        [(1_000, 2_000), (7, 8)],
    ),
    "a clock that steps back in the second of two sessions": (
        [
            start(0, stamp=0),
            record(AcctStatus.STOP, at=300, seconds=300, up=50, down=60, stamp=300),
            start(900, login=EVA, stamp=900),
            record(at=1200, login=EVA, seconds=300, up=1, down=2, stamp=1200),
            record(at=1500, login=EVA, seconds=600, up=3, down=4, stamp=-2100),
        ],
        [(50, 60), (3, 4)],
    ),
    "two boxes that one router entry does not tell apart": (
        [
            start(0, stamp=0),
            start(10, login=EVA, stamp=10),
            record(at=300, seconds=300, up=50, down=60, stamp=300),
            record(at=310, login=EVA, seconds=300, up=1, down=2, stamp=310),
            record(at=600, seconds=600, up=70, down=80, stamp=600),
            record(at=610, login=EVA, seconds=600, up=3, down=4, stamp=610),
        ],
        [(70, 80), (3, 4)],
    ),
}


@pytest.mark.parametrize("name", REUSED)
def test_an_id_used_again_is_another_session(name: str) -> None:
    records, octets = REUSED[name]
    folded = fold(records)
    assert [(each.octets_up, each.octets_down) for each in folded.sessions] == octets
    check(folded)


def test_a_start_soon_after_the_restart_of_its_nas_is_another_session() -> None:
    folded = fold([start(), interim(10, 50, 60)])
    close(folded, NAS_RESTART_CAUSE)
    folded.add(start(30))
    folded.add(interim(10, 7, 8, at=40))
    assert [each.octets_down for each in folded.sessions] == [60, 8]


def test_a_session_begins_at_event_less_session_time_without_its_start() -> None:
    """C4."""
    for first in (interim(300, 1, 2, at=1000), stop(300, 1, 2, at=1000)):
        folded = fold([first])
        assert folded.session.started_us == after_noon(700)
        assert folded.facts == [(after_noon(700), after_noon(1000), 1, 2)]


def test_usage_lies_between_the_records_that_told_it() -> None:
    folded = fold([start(0), interim(300, 10, 20), interim(600, 30, 50, at=605)])
    assert folded.facts == [
        (after_noon(0), after_noon(300), 10, 20),
        (after_noon(300), after_noon(605), 20, 30),
    ]


def test_what_a_late_record_adds_lies_at_the_instant_already_reached() -> None:
    silent = record(at=600, seconds=600)
    folded = fold([start(), silent, interim(300, 7, 8, at=601)])
    assert folded.facts == [(after_noon(600), after_noon(600), 7, 8)]


OUTCOMES = [
    (Outcome.OPENED, [start()]),
    (Outcome.OPENED, [interim(300, 1, 2)]),
    (Outcome.COUNTED, [start(), interim(300, 1, 2)]),
    (Outcome.COUNTED, [start(), interim(300, 0, 0)]),
    (Outcome.DUPLICATE, [start(), interim(300, 1, 2), interim(300, 1, 2, at=303)]),
    (Outcome.LATE, [start(), interim(600, 1, 2), interim(300, 0, 1, at=601)]),
    (Outcome.STOPPED, [start(), stop(300, 1, 2)]),
    (Outcome.STOPPED, [stop(300, 1, 2)]),
    (Outcome.DUPLICATE, [start(), stop(300, 1, 2), stop(300, 1, 2, at=303)]),
    (Outcome.LATE, [start(), stop(300, 1, 2), interim(310, 5, 6)]),
    (Outcome.LATE, [stop(300, 1, 2), start(301)]),
]


@pytest.mark.parametrize(("outcome", "records"), OUTCOMES)
def test_what_a_record_was_is_told(outcome: Outcome, records: list[Record]) -> None:
    assert fold(records).outcomes[-1] is outcome


@pytest.mark.parametrize("late", [start(301, stamp=0), interim(200, 0, 1, at=301), interim(310, 9, 9)])
def test_nothing_opens_a_stopped_session_again(late: Record) -> None:
    """C5."""
    cause = integer_attribute(Type.ACCT_TERMINATE_CAUSE, 1)
    folded = fold([start(), record(AcctStatus.STOP, cause, at=300, seconds=300, up=1, down=2)])
    folded.add(late)
    session = folded.session
    assert (len(folded.sessions), session.state) == (1, State.STOPPED)
    assert (session.stopped_us, session.terminate_cause) == (after_noon(300), "User-Request")


def test_a_later_interim_revives_a_session_closed_by_silence() -> None:
    """C17."""
    folded = fold([start(), interim(300, 1, 2)])
    close(folded, "Stale")
    assert folded.add(interim(4000, 5, 6)) is Outcome.REVIVED
    session = folded.session
    assert (len(folded.sessions), session.state) == (1, State.OPEN)
    assert (session.stopped_us, session.terminate_cause, folded.octets) == (None, None, (5, 6))


def test_a_later_stop_ends_a_session_closed_by_silence_for_good() -> None:
    folded = fold([start(), interim(300, 1, 2)])
    close(folded, "Stale")
    folded.add(stop(4000, 5, 6))
    assert (len(folded.sessions), folded.session.state) == (1, State.STOPPED)
    assert (folded.session.stopped_us, folded.octets) == (after_noon(4000), (5, 6))


OLD = [
    record(at=4000, seconds=300, up=1, down=2, delay=3700),
    record(at=4000, seconds=200, up=1, down=1, stamp=200),
    start(4000, stamp=0),
]


@pytest.mark.parametrize("old", OLD)
def test_an_old_record_revives_nothing(old: Record) -> None:
    folded = fold([start(0, stamp=0), interim(300, 1, 2)])
    close(folded, "Stale")
    folded.add(old)
    assert (len(folded.sessions), folded.session.state) == (1, State.PROVISIONAL)


def test_an_address_that_changes_is_followed_and_one_left_out_stays() -> None:
    first, second = attribute(FRAMED, b"\x64\x40\0\1"), attribute(FRAMED, b"\x64\x40\0\2")
    folded = fold([start(0, first), record(AcctStatus.INTERIM, second, at=300, seconds=300)])
    assert folded.session.address == b"\x64\x40\0\2"
    folded.add(record(at=600, seconds=600))
    assert folded.session.address == b"\x64\x40\0\2"
    folded.add(record(AcctStatus.INTERIM, first, at=601, seconds=300))
    assert folded.session.address == b"\x64\x40\0\2"


def test_ipv6_that_arrives_later_is_taken_over() -> None:
    prefix = bytes((0, 64)) + bytes(8)
    folded = fold([start(), record(AcctStatus.INTERIM, attribute(Type.FRAMED_IPV6_PREFIX, prefix), at=9, seconds=9)])
    assert folded.session.ipv6 == ((Type.FRAMED_IPV6_PREFIX, prefix),)
    folded.add(interim(300, 1, 2))
    assert folded.session.ipv6 == ((Type.FRAMED_IPV6_PREFIX, prefix),)


def test_only_what_changes_more_than_time_and_octets_is_restated() -> None:
    session = fold([start()]).session
    moved = record(AcctStatus.INTERIM, attribute(FRAMED, b"\x64\x40\0\2"), at=1200, seconds=1200)
    restated = []
    for each in (interim(300, WRAP - 1, 2), interim(600, 5, 6), interim(900, 7, 8), moved, stop(1500, 9, 9)):
        session.restated = False
        advance(session, each)
        restated.append(session.restated)
    assert restated == [False, True, False, True, True]


GROWTH = st.tuples(st.integers(1, 600), st.integers(0, 3 * GIB), st.integers(0, 3 * GIB))


@st.composite
def sessions(draw: st.DrawFn) -> list[Record]:
    """A session of a router that tells seconds, time and 64-bit counters, as it sent it."""
    records = [start(0, stamp=0)]
    seconds, up, down = 0, 0, 0
    for lasted, more_up, more_down in draw(st.lists(GROWTH, min_size=1, max_size=8)):
        seconds, up, down = seconds + lasted, up + more_up, down + more_down
        records.append(_stamped(AcctStatus.INTERIM, seconds, up, down))
    if draw(st.booleans()):
        records.append(_stamped(AcctStatus.STOP, seconds, up, down))
    return records


def _stamped(status: AcctStatus, seconds: int, up: int, down: int) -> Record:
    return record(status, at=seconds, seconds=seconds, up=up, down=down, gigawords=True, stamp=seconds)


def delivered(data: st.DataObject, sent: list[Record]) -> list[Record]:
    """Return `sent` repeated and shuffled, each as it arrives a second after the one before."""
    twice = sent + data.draw(st.lists(st.sampled_from(sent), max_size=6))
    end = max(each.arrived_us for each in sent)
    arrived = []
    for number, each in enumerate(data.draw(st.permutations(twice))):
        arrived.append(read(each.packet, each.key.router_id, each.key.nas, Microseconds(end + number * SECOND_US)))
    return arrived


@given(sessions(), st.data())
def test_any_order_and_repetition_gives_the_same_totals(sent: list[Record], data: st.DataObject) -> None:
    folded = fold(delivered(data, sent))
    last = sent[-1]
    assert len(folded.sessions) == 1
    assert folded.octets == (last.octets_up, last.octets_down)
    assert folded.session.started_us == after_noon(0)
    assert folded.session.session_seconds == last.session_seconds
    assert (folded.session.state == State.STOPPED) == (last.status == AcctStatus.STOP)
    check(folded)


# What would land within SLIP of the last counter cannot be told from no growth.
WRAPPING = st.lists(st.tuples(st.integers(60, 600), st.integers(0, WRAP - SLIP - 1)), min_size=1, max_size=12)


@given(WRAPPING, st.data())
def test_wraps_of_one_counter_count_whatever_is_repeated(growth: list[tuple[int, int]], data: st.DataObject) -> None:
    """A router without Gigawords; up never stops growing, so that down alone falls."""
    sent, seconds, up, down = [start(0)], 0, 0, 0
    for lasted, more in growth:
        seconds, up, down = seconds + lasted, up + 1, down + more
        # A zero says nothing.
        down += not down % WRAP
        sent.append(interim(seconds, up, down % WRAP))
        sent += data.draw(st.lists(st.sampled_from(sent[1:]), max_size=2))
    folded = fold(sent)
    assert folded.octets == (up, down)
    check(folded)


ANY = st.builds(
    record,
    st.sampled_from([AcctStatus.START, AcctStatus.INTERIM, AcctStatus.STOP]),
    at=st.integers(0, 10_000),
    seconds=st.none() | st.integers(0, 2**32 - 1),
    up=st.none() | st.integers(0, LARGEST_COUNTER_OCTETS),
    down=st.none() | st.integers(0, LARGEST_COUNTER_OCTETS),
    gigawords=st.booleans(),
    stamp=st.none() | st.integers(-100_000, 20_000),
    delay=st.none() | st.integers(0, 2**32 - 1),
)


@given(st.lists(ANY, max_size=12))
def test_whatever_routers_say_facts_sum_to_the_sessions(records: list[Record]) -> None:
    folded = fold(sorted(records, key=lambda each: each.arrived_us))
    check(folded)
    for session in folded.sessions:
        assert session.started_us <= session.updated_us
        assert session.octets_up >= session.base_up >= 0
        assert session.octets_down >= session.base_down >= 0
        assert session.stopped_us is None or session.stopped_us >= session.started_us
