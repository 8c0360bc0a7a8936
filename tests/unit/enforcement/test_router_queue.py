"""What one router is told when: rate, newest wish, absence and return."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.router_queue import (
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    PROBE_SECONDS,
    Ended,
    RouterQueue,
)

START = 1_000.0
HOUR = 3_600.0
SILENCE_SECONDS = 30.0
"""How long the CoA client tries before it calls a router silent."""

Queue = RouterQueue[str]


def filled(*sessions: str, per_second: float = 50.0, most_in_flight: int = 8, silent_in_a_row: int = 5) -> Queue:
    queue = Queue(START, per_second=per_second, most_in_flight=most_in_flight, silent_in_a_row=silent_in_a_row)
    for session in sessions:
        assert queue.push(session, session)
    return queue


def away(*waiting: str) -> Queue:
    """Return the queue of a router that has just been taken for away."""
    queue = filled(*(f"lost{number}" for number in range(5)))
    for session in queue.ready(START):
        queue.withdraw(session)
        queue.done(session, Ended.SILENT, START)
    assert queue.away_since == START
    for session in waiting:
        assert queue.push(session, session)
    return queue


def test_what_waits_goes_in_the_order_it_came() -> None:
    assert filled("ana", "eva", "leo").ready(START) == ["ana", "eva", "leo"]


def test_only_the_newest_wish_of_a_session_goes_in_its_first_place() -> None:
    queue = filled("ana", "eva")
    queue.push("ana", "ana, slower")
    assert queue.ready(START) == ["ana, slower", "eva"]


def test_a_session_is_told_one_thing_at_a_time() -> None:
    queue = filled("ana")
    assert queue.ready(START) == ["ana"]
    queue.push("ana", "slower")
    queue.push("ana", "faster")
    assert queue.ready(START + 1) == []
    assert queue.next_at(START + 1) is None
    queue.done("ana", Ended.ANSWERED, START + 1)
    assert queue.ready(START + 1) == ["faster"]


def test_no_more_than_the_allowed_number_is_under_way() -> None:
    queue = filled("ana", "eva", "leo", most_in_flight=2)
    assert queue.ready(START) == ["ana", "eva"]
    assert queue.next_at(START + 9) is None
    queue.done("eva", Ended.ANSWERED, START + 9)
    assert queue.ready(START + 9) == ["leo"]


def test_a_storm_is_spread_evenly() -> None:
    sessions = [f"s{number}" for number in range(100)]
    queue = filled(*sessions, per_second=50)
    times = []
    now: float | None = START
    while now is not None:
        for session in queue.ready(now):
            times.append(now)
            queue.done(session, Ended.ANSWERED, now)
        now = queue.next_at(now)
    assert times[4] == START
    assert times[5] > START
    assert times[-1] == pytest.approx(START + 95 / 40, abs=0.01)
    gaps = [later - earlier for earlier, later in pairwise(times[4:])]
    assert gaps == pytest.approx([1 / 40] * 95, abs=1e-4)


def test_what_is_urgent_goes_before_a_storm() -> None:
    queue = filled(*(f"s{number}" for number in range(20)))
    queue.push("paid", "paid", urgent=True)
    queue.push("s19", "s19 paid", urgent=True)
    assert queue.ready(START)[:3] == ["paid", "s19 paid", "s0"]


def test_a_full_queue_takes_new_wishes_of_those_who_wait_but_nobody_new() -> None:
    queue = RouterQueue[str](START, most_waiting=2)
    assert queue.push("ana", "1")
    assert queue.push("eva", "2")
    assert not queue.push("leo", "3")
    assert queue.push("ana", "4")
    assert queue.waiting == 2


def test_an_unanswered_wish_is_tried_again_after_pauses_that_double() -> None:
    queue = filled("ana", silent_in_a_row=1_000)
    now, pauses = START, []
    for _ in range(9):
        assert queue.ready(now) == ["ana"]
        queue.done("ana", Ended.SILENT, now)
        due = queue.next_at(now)
        assert due is not None
        assert queue.ready((now + due) / 2) == []
        pauses.append(due - now)
        now = due
    assert pauses[:3] == [FIRST_BACKOFF_SECONDS, 2 * FIRST_BACKOFF_SECONDS, 4 * FIRST_BACKOFF_SECONDS]
    assert pauses[-1] == LONGEST_BACKOFF_SECONDS


def test_a_newer_wish_waits_out_the_pause_of_the_one_that_was_not_answered() -> None:
    queue = filled("ana")
    queue.ready(START)
    queue.push("ana", "newer")
    queue.done("ana", Ended.SILENT, START)
    assert queue.ready(START + FIRST_BACKOFF_SECONDS - 1) == []
    assert queue.ready(START + FIRST_BACKOFF_SECONDS) == ["newer"]


def test_the_pauses_of_a_session_grow_though_its_wishes_change() -> None:
    queue = filled("ana")
    queue.ready(START)
    queue.done("ana", Ended.SILENT, START)
    now = START + FIRST_BACKOFF_SECONDS
    queue.ready(now)
    queue.push("ana", "newer")
    queue.done("ana", Ended.SILENT, now)
    assert queue.next_at(now) == now + 2 * FIRST_BACKOFF_SECONDS


def test_a_pause_that_was_ended_early_does_not_end_the_next_one() -> None:
    queue = filled("ana")
    queue.ready(START)
    queue.done("ana", Ended.SILENT, START)
    queue.push("ana", "paid", urgent=True)
    assert queue.ready(START + 1) == ["paid"]
    queue.done("ana", Ended.SILENT, START + 1)
    assert queue.ready(START + FIRST_BACKOFF_SECONDS) == []
    assert queue.next_at(START + FIRST_BACKOFF_SECONDS) == START + 1 + 2 * FIRST_BACKOFF_SECONDS


def test_an_urgent_wish_does_not_wait_out_a_pause() -> None:
    queue = filled("ana")
    queue.ready(START)
    queue.done("ana", Ended.SILENT, START)
    queue.push("ana", "paid", urgent=True)
    assert queue.next_at(START) == START
    assert queue.ready(START) == ["paid"]
    queue.done("ana", Ended.ANSWERED, START)
    assert queue.ready(START + HOUR) == []


def test_a_router_short_of_something_is_asked_later_but_is_not_away() -> None:
    queue = filled("ana", silent_in_a_row=1)
    queue.ready(START)
    queue.done("ana", Ended.LATER, START)
    assert queue.away_since is None
    assert queue.next_at(START) == START + FIRST_BACKOFF_SECONDS


def test_work_that_is_done_another_way_is_not_tried_again() -> None:
    queue = filled("ana", silent_in_a_row=1)
    queue.ready(START)
    queue.done("ana", Ended.GIVEN_UP, START)
    assert queue.waiting == 0
    assert queue.away_since == START


@pytest.mark.parametrize("under_way", [False, True])
def test_a_withdrawn_session_is_not_told_again(under_way: bool) -> None:
    queue = filled("ana")
    if under_way:
        queue.ready(START)
    queue.withdraw("ana")
    if under_way:
        queue.done("ana", Ended.SILENT, START)
    assert queue.ready(START + HOUR) == []
    assert (queue.waiting, queue.in_flight) == (0, 0)


def test_a_session_withdrawn_in_its_pause_wakes_nobody() -> None:
    queue = filled("ana", "eva")
    queue.ready(START)
    queue.done("ana", Ended.SILENT, START)
    queue.done("eva", Ended.SILENT, START + 1)
    queue.withdraw("ana")
    assert queue.next_at(START + 1) == START + 1 + FIRST_BACKOFF_SECONDS


def test_a_session_that_is_wanted_again_after_it_was_withdrawn_is_told() -> None:
    queue = filled("ana")
    queue.ready(START)
    queue.withdraw("ana")
    queue.push("ana", "again")
    queue.done("ana", Ended.SILENT, START)
    assert queue.ready(START + FIRST_BACKOFF_SECONDS) == ["again"]


def test_silence_about_one_session_does_not_make_a_router_away() -> None:
    queue = filled("deaf", *(f"s{number}" for number in range(20)), most_in_flight=2, silent_in_a_row=2)
    now = START
    for _ in range(20):
        for session in queue.ready(now):
            queue.done(session, Ended.SILENT if session == "deaf" else Ended.ANSWERED, now)
        now += 1
    assert queue.away_since is None


def test_silence_to_what_was_asked_before_the_last_answer_does_not_count() -> None:
    queue = filled("ana", "eva", silent_in_a_row=1)
    queue.ready(START)
    queue.done("ana", Ended.ANSWERED, START + 5)
    queue.done("eva", Ended.SILENT, START + 30)
    assert queue.away_since is None


def test_a_router_that_is_away_is_probed_by_one_request_now_and_then() -> None:
    queue = away("a", "b", "c")
    assert queue.next_at(START) == START + PROBE_SECONDS
    assert queue.ready(START + PROBE_SECONDS - 0.001) == []
    assert queue.ready(START + PROBE_SECONDS) == ["a"]
    assert queue.ready(START + PROBE_SECONDS) == []
    assert queue.next_at(START + PROBE_SECONDS) == START + 2 * PROBE_SECONDS
    assert queue.ready(START + 2 * PROBE_SECONDS) == ["b"]


def test_who_rests_when_the_router_goes_away_takes_part_in_the_probes_and_begins_anew_after() -> None:
    queue = filled("ana", silent_in_a_row=4)
    now = START
    for _ in range(3):
        queue.ready(now)
        queue.done("ana", Ended.SILENT, now)
        now += LONGEST_BACKOFF_SECONDS
    assert queue.ready(now) == ["ana"]
    queue.push("ana", "newer")
    queue.push("eva", "eva")
    queue.done("ana", Ended.SILENT, now)
    assert queue.away_since == now
    assert queue.ready(now + PROBE_SECONDS) == ["eva"]
    queue.done("eva", Ended.ANSWERED, now + PROBE_SECONDS)
    assert queue.ready(now + PROBE_SECONDS) == ["newer"]
    queue.done("ana", Ended.SILENT, now + PROBE_SECONDS)
    assert queue.next_at(now + PROBE_SECONDS) == now + PROBE_SECONDS + FIRST_BACKOFF_SECONDS


def test_a_long_pause_does_not_outlast_the_return_of_the_router() -> None:
    queue = filled("ana", "eva", silent_in_a_row=2)
    queue.ready(START)
    queue.done("ana", Ended.SILENT, START)
    queue.done("eva", Ended.SILENT, START)
    assert queue.ready(START + PROBE_SECONDS) == ["ana"]
    queue.done("ana", Ended.ANSWERED, START + PROBE_SECONDS)
    assert queue.ready(START + PROBE_SECONDS) == ["eva"]


def test_probes_go_round_so_that_a_deaf_urgent_session_hides_nothing() -> None:
    queue = away("a", "b")
    queue.push("deaf", "deaf", urgent=True)
    probed = []
    now = START
    for _ in range(6):
        now += PROBE_SECONDS
        for session in queue.ready(now):
            probed.append(session)
            queue.done(session, Ended.SILENT, now)
    assert probed == ["deaf", "a", "b", "deaf", "a", "b"]
    queue.push("new", "new", urgent=True)
    queue.ready(now + PROBE_SECONDS)
    queue.done("new", Ended.ANSWERED, now + PROBE_SECONDS)
    assert queue.ready(now + PROBE_SECONDS + 1)[0] == "deaf"


@pytest.mark.parametrize("sessions", [1, 3, 500])
@pytest.mark.parametrize("back_after", [HOUR, HOUR + 7.7, HOUR + 14.1, HOUR + 29.9])
def test_a_router_that_was_away_an_hour_is_told_everything_within_30_seconds(sessions: int, back_after: float) -> None:
    queue = filled(*(f"s{number}" for number in range(sessions)))
    back_at = START + back_after
    under_way: list[tuple[float, str, Ended]] = []
    told: set[str] = set()
    now: float | None = START
    while now is not None and now < back_at + 2 * HOUR:
        for event in sorted(event for event in under_way if event[0] <= now):
            under_way.remove(event)
            queue.done(event[1], event[2], now)
            if event[2] is Ended.ANSWERED:
                told.add(event[1])
        under_way += [ending(session, now, back_at) for session in queue.ready(now)]
        due = queue.next_at(now)
        now = min([*([] if due is None else [due]), *(at for at, _, _ in under_way)], default=None)
        if len(told) == sessions:
            break
    assert len(told) == sessions
    assert now is None or now <= back_at + 30


def ending(session: str, sent_at: float, back_at: float) -> tuple[float, str, Ended]:
    """Return when a request ends and how, by the client's retransmissions."""
    for later in (0, 2, 6, 14):
        if sent_at + later >= back_at:
            return sent_at + later + 0.05, session, Ended.ANSWERED
    return sent_at + SILENCE_SECONDS, session, Ended.SILENT


def test_another_rate_counts_from_now_on() -> None:
    queue = filled(*(f"s{number}" for number in range(100)), per_second=100, most_in_flight=100)
    assert len(queue.ready(START)) == 10
    queue.limit(10, START)
    assert len(queue.ready(START + 1)) == 1
    assert queue.next_at(START + 1) == pytest.approx(START + 1 + 1 / 8, abs=1e-5)


def with_guests(queue: Queue, *names: str) -> Queue:
    """Let guests wait, each about a session of its own name."""
    for name in names:
        assert queue.push_guest(("guest", name), name, f"guest {name}", START)
    return queue


def test_guests_have_every_second_turn_and_no_more() -> None:
    queue = with_guests(filled("ana", "eva", "leo"), "g1", "g2", "g3", "g4")
    queue.push("paid", "paid", urgent=True)
    assert queue.ready(START) == ["guest g1", "paid", "guest g2", "ana", "guest g3"]
    assert queue.ready(START + 1) == ["eva", "guest g4", "leo"]


def test_a_guest_waits_while_its_session_is_told_something_of_ours() -> None:
    queue = filled("ana")
    assert queue.ready(START) == ["ana"]
    with_guests(queue, "ana", "eva")
    assert queue.ready(START) == ["guest eva"]
    assert queue.next_at(START) is None
    queue.done("ana", Ended.ANSWERED, START + 1)
    assert queue.ready(START + 1) == ["guest ana"]


def test_what_is_ours_waits_while_its_session_is_told_something_by_a_guest() -> None:
    queue = with_guests(filled(), "ana")
    assert queue.ready(START) == ["guest ana"]
    queue.push("ana", "slower")
    queue.push("ana", "faster", urgent=True)
    assert queue.ready(START) == []
    assert queue.waiting == 1
    queue.done(("guest", "ana"), Ended.ANSWERED, START + 1)
    assert queue.ready(START + 1) == ["faster"]


def test_two_guests_about_one_session_go_one_after_the_other_and_replace_nothing() -> None:
    queue = with_guests(filled("ana"), "ana")
    assert queue.push_guest(("guest", "again"), "ana", "guest ana again", START)
    told = []
    for key in (("guest", "ana"), "ana", ("guest", "again")):
        told += queue.ready(START)
        queue.done(key, Ended.ANSWERED, START)
    assert told == ["guest ana", "ana", "guest ana again"] or told == ["guest ana", "guest ana again", "ana"]


def test_a_guest_that_is_withdrawn_behind_its_session_does_not_go() -> None:
    queue = filled("ana")
    queue.ready(START)
    with_guests(queue, "ana")
    assert queue.ready(START) == []
    queue.withdraw(("guest", "ana"))
    queue.done("ana", Ended.ANSWERED, START)
    assert queue.ready(START) == []
    assert queue.waiting == 0


def test_so_many_guests_may_wait_and_take_no_room_of_ours() -> None:
    queue = RouterQueue[str](START, most_waiting=1, most_guests=2)
    with_guests(queue, "g1", "g2")
    assert not queue.push_guest(("guest", "g3"), "g3", "g3", START)
    assert queue.push("ana", "ana")
    assert queue.ready(START) == ["guest g1", "ana", "guest g2"]
    with_guests(queue, "g3")


def test_a_router_that_is_away_is_probed_by_a_guest_only_when_nothing_of_ours_could() -> None:
    queue = away("ana")
    assert not queue.push_guest(("guest", "eva"), "eva", "guest eva", START + PROBE_SECONDS)
    assert queue.ready(START + PROBE_SECONDS) == ["ana"]
    assert not queue.push_guest(("guest", "eva"), "eva", "guest eva", START + PROBE_SECONDS)
    assert queue.push_guest(("guest", "eva"), "eva", "guest eva", START + 2 * PROBE_SECONDS)
    assert queue.ready(START + 2 * PROBE_SECONDS) == ["guest eva"]
    queue.done(("guest", "eva"), Ended.ANSWERED, START + 2 * PROBE_SECONDS)
    assert queue.away_since is None


def test_guests_that_wait_when_a_router_goes_away_leave_the_probes_to_ours() -> None:
    queue = with_guests(filled("ana", silent_in_a_row=1, most_in_flight=1), "g1", "g2")
    assert queue.ready(START) == ["guest g1"]
    queue.done(("guest", "g1"), Ended.GIVEN_UP, START)
    assert queue.away_since == START
    assert queue.ready(START + PROBE_SECONDS) == ["ana"]


def test_a_guest_that_is_not_answered_counts_against_the_router_and_is_not_tried_again() -> None:
    queue = with_guests(filled(silent_in_a_row=2), "g1", "g2")
    queue.ready(START)
    queue.done(("guest", "g1"), Ended.SILENT, START)
    assert queue.away_since is None
    queue.done(("guest", "g2"), Ended.SILENT, START)
    assert queue.away_since == START
    assert queue.waiting == 0


def test_what_was_not_sent_tells_nothing_of_the_router() -> None:
    queue = away("ana")
    assert queue.ready(START + PROBE_SECONDS) == ["ana"]
    queue.done("ana", Ended.UNSENT, START + PROBE_SECONDS)
    assert queue.away_since == START
    assert queue.waiting == 0
    there = filled("ana", silent_in_a_row=1)
    there.ready(START)
    there.done("ana", Ended.UNSENT, START)
    assert there.away_since is None


@pytest.mark.parametrize(("per_second", "most_in_flight"), [(0.0, 8), (-1.0, 8), (50.0, 0)])
def test_a_router_that_could_never_be_asked_is_our_mistake(per_second: float, most_in_flight: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        Queue(START, per_second=per_second, most_in_flight=most_in_flight)


sessions = st.integers(0, 12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), sessions, st.booleans()),
        st.tuples(st.just("guest"), sessions, st.just(False)),
        st.tuples(st.just("withdraw"), sessions, st.just(False)),
        st.tuples(st.just("pass"), st.floats(0, 40), st.just(False)),
        st.tuples(st.just("next"), st.just(0), st.just(False)),
        st.tuples(st.sampled_from(Ended), sessions, st.just(False)),
    ),
    max_size=150,
)


@given(steps, st.floats(0.2, 300), st.integers(1, 9), st.floats(0, 1e9))
def test_whatever_happens_the_router_is_never_asked_too_often_nor_told_what_is_stale(
    happened: list[tuple[object, float, bool]], per_second: float, most_in_flight: int, start: float
) -> None:
    queue = RouterQueue[tuple[int, int]](start, per_second=per_second, most_in_flight=most_in_flight)
    burst, now = queue.burst, start
    sent: list[float] = []
    newest: dict[int, int] = {}
    under_way: dict[int, int] = {}
    owed: set[int] = set()
    guests: set[int] = set()
    for number, (kind, value, urgent) in enumerate(happened):
        session = int(value)
        is_due = False
        if kind == "push":
            assert queue.push(session, (session, number), urgent=urgent)
            newest[session] = number
            owed.add(session)
        elif kind == "guest":
            if queue.push_guest(("guest", number), session, (session, number), now):
                guests.add(number)
        elif kind == "withdraw":
            queue.withdraw(session)
            owed.discard(session)
        elif isinstance(kind, Ended):
            if session in under_way:
                told = under_way.pop(session)
                queue.done(("guest", told) if told in guests else session, kind, now)
                if told in guests:
                    guests.remove(told)
                elif kind not in (Ended.LATER, Ended.SILENT) and newest[session] == told:
                    owed.discard(session)
            continue
        else:
            due = queue.next_at(now)
            now = now + value if kind == "pass" else now if due is None else due
            is_due = kind == "next" and due is not None
        was_away = queue.away_since is not None
        work = queue.ready(now)
        assert len(work) <= (1 if was_away else burst)
        assert work or not is_due
        for told_session, told in work:
            assert told_session not in under_way
            assert told in guests or (told_session in owed and newest[told_session] == told)
            under_way[told_session] = told
        sent.extend([now] * len(work))
        assert len(under_way) == queue.in_flight <= most_in_flight
    waiting = [session for session in owed if newest[session] != under_way.get(session)]
    assert queue.waiting == len(waiting) + len(guests.difference(under_way.values()))
    assert_rate(sent, per_second, burst)


def assert_rate(sent: list[float], per_second: float, burst: float) -> None:
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            count, seconds = last - first + 1, sent[last] - sent[first]
            assert count <= per_second * seconds * (1 + 1e-9) + burst + 1e-3
            assert seconds >= 1 - 1e-3 or count <= max(1, per_second)


@given(st.integers(1, 300), st.floats(1, 200))
def test_asking_when_told_to_is_never_in_vain(sessions: int, per_second: float) -> None:
    queue = RouterQueue[int](START, per_second=per_second)
    for session in range(sessions):
        queue.push(session, session)
    now: float | None = queue.next_at(START)
    wakes = 0
    while now is not None:
        work = queue.ready(now)
        assert work
        wakes += 1
        for session in work:
            queue.done(session, Ended.ANSWERED, now)
        now = queue.next_at(now)
    assert queue.waiting == 0
    assert wakes <= sessions


def test_all_guests_that_may_wait_have_their_turn_within_ten_seconds_beside_a_storm_of_ours() -> None:
    queue: RouterQueue[int] = RouterQueue(0.0)
    for session in range(1000):
        queue.push(session, 0)
    waiting = 0
    while queue.push_guest(("guest", waiting), ("other", waiting), 1, 0.0):
        waiting += 1
    now, let_go = 0.0, 0
    while let_go < waiting:
        let_go += sum(queue.ready(now))
        for key in list(queue._in_flight):
            queue.done(key, Ended.ANSWERED, now)
        now += 0.005
    assert 9.5 <= now <= 10.0, "the limit is what can be promised, and not less"


@pytest.mark.parametrize("per_second", [0.5, 1.0, 2.0, 4.0, 50.0])
def test_at_least_half_of_a_routers_rate_is_used_however_low_it_is(per_second: float) -> None:
    queue: RouterQueue[int] = RouterQueue(0.0, per_second=per_second)
    for session in range(10_000):
        queue.push(session, 1)
    now, gone = 0.0, 0
    while now < 60:
        gone += len(queue.ready(now))
        for key in list(queue._in_flight):
            queue.done(key, Ended.ANSWERED, now)
        now = max(now + 0.001, queue.next_at(now) or 0.0)
    assert 60 * per_second / 2 <= gone <= 60 * per_second + max(1.0, per_second)
