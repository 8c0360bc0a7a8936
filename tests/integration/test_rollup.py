"""Facts reach the roll-ups once, whatever is written, killed or repeated meanwhile."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import text

from accounting.record import LARGEST_COUNTER_OCTETS
from accounting.split import day_of, hour_of, local_midnights, midnight, split
from accounting.split import hours as hours_in
from domain.instants import Microseconds, to_datetime, to_microseconds
from storage import rollup
from storage.rollup import ROLL_UP_LOCK, RolledUp, roll_up
from tests.integration.usage_facts import Fact, days, hours, lane

MADRID = ZoneInfo("Europe/Madrid")
KATHMANDU = ZoneInfo("Asia/Kathmandu")


def test_facts_of_one_hour_are_summed_by_service_hour_and_day(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one, lane(engine) as other:
        one.write(
            Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 1, 10),
            Fact(2, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 7, 8),
        )
        one.write(Fact(1, "2026-01-01T10:05Z", "2026-01-01T10:10Z", 2, 20))
        other.write(Fact(1, "2026-01-01T10:55Z", "2026-01-01T11:00Z", 4, 40))
        assert roll_up(engine, MADRID) == RolledUp(facts=4, without_service=0, lanes=2, retired=0)
        one.write(Fact(1, "2026-01-01T10:10Z", "2026-01-01T10:15Z", 8, 80))
        one.write(Fact(1, "2026-01-01T11:00Z", "2026-01-01T11:05Z", 16, 160))
        assert roll_up(engine, MADRID).facts == 2
    assert hours(engine) == {(1, "01-01T10"): (15, 150), (1, "01-01T11"): (16, 160), (2, "01-01T10"): (7, 8)}
    assert days(engine) == {(1, date(2026, 1, 1)): (31, 310), (2, date(2026, 1, 1)): (7, 8)}


def test_garbage_of_one_line_does_not_keep_the_others_from_being_rolled_up(engine: sqlalchemy.Engine) -> None:
    """Sums beyond a bigint stay at its end, whether they arise in one call, in the next or from parts."""
    most = 2**63 - 1
    with lane(engine) as one:
        one.write(*[Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", LARGEST_COUNTER_OCTETS, 1)] * 10)
        one.write(*[Fact(2, "2026-01-01T10:30Z", "2026-01-01T11:30Z", 2 * LARGEST_COUNTER_OCTETS, 1)] * 10)
        roll_up(engine, MADRID)
        one.write(Fact(1, "2026-01-01T10:10Z", "2026-01-01T10:15Z", LARGEST_COUNTER_OCTETS, 1))
        one.write(Fact(3, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 7, 8))
        assert roll_up(engine, MADRID).facts == 2
    assert hours(engine) == {
        (1, "01-01T10"): (most, 11),
        (2, "01-01T10"): (most, 0),
        (2, "01-01T11"): (most, 10),
        (3, "01-01T10"): (7, 8),
    }
    assert days(engine)[1, date(2026, 1, 1)] == (most, 11)


def test_a_second_call_adds_nothing(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T10:50Z", "2026-01-01T11:10Z", 5, 5))
        roll_up(engine, MADRID)
        before = hours(engine), days(engine)
        assert roll_up(engine, MADRID) == RolledUp(0, 0, 0, 0)
    assert (hours(engine), days(engine)) == before


def test_a_fact_is_split_at_the_hour_and_at_local_midnight(engine: sqlalchemy.Engine) -> None:
    """Madrid's 29 March 2026 begins at 23:00 UTC and has 23 hours."""
    with lane(engine) as one:
        one.write(Fact(1, "2026-03-28T22:50Z", "2026-03-28T23:20Z", 100, 31))
        one.write(Fact(1, "2026-03-29T21:30Z", "2026-03-29T22:30Z", 9, 0))
        roll_up(engine, MADRID)
    assert hours(engine) == {
        (1, "03-28T22"): (33, 10),
        (1, "03-28T23"): (67, 21),
        (1, "03-29T21"): (4, 0),
        (1, "03-29T22"): (5, 0),
    }
    assert days(engine) == {
        (1, date(2026, 3, 28)): (33, 10),
        (1, date(2026, 3, 29)): (71, 21),
        (1, date(2026, 3, 30)): (5, 0),
    }


def test_hours_are_those_of_local_clocks(engine: sqlalchemy.Engine) -> None:
    """In Nepal the day begins at 18:15 UTC, and so does an hour."""
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T18:10Z", "2026-01-01T18:20Z", 10, 20))
        one.write(Fact(1, "2026-01-01T18:50Z", "2026-01-01T19:10Z", 0, 0))
        one.write(Fact(1, "2026-01-01T18:50Z", "2026-01-01T19:05Z", 0, 0))
        roll_up(engine, KATHMANDU)
    begun = "SELECT DISTINCT to_char(hour AT TIME ZONE 'UTC', 'HH24:MI') FROM usage_hour ORDER BY 1"
    with engine.connect() as connection:
        assert [*connection.scalars(text(begun))] == ["17:15", "18:15"]
    assert hours(engine) == {(1, "01-01T17"): (5, 10), (1, "01-01T18"): (5, 10)}
    assert days(engine) == {(1, date(2026, 1, 1)): (5, 10), (1, date(2026, 1, 2)): (5, 10)}


def test_a_fact_without_length_lies_in_the_hour_that_begins_there(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T23:00Z", "2026-01-01T23:00Z", 10, 20))
        roll_up(engine, MADRID)
    assert hours(engine) == {(1, "01-01T23"): (10, 20)}
    assert days(engine) == {(1, date(2026, 1, 2)): (10, 20)}


def test_facts_of_nobody_are_counted_and_stay_facts_only(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        one.write(Fact(None, "2026-01-01T10:50Z", "2026-01-01T11:10Z", 5, 5))
        assert roll_up(engine, MADRID) == RolledUp(facts=1, without_service=1, lanes=1, retired=0)
        assert roll_up(engine, MADRID).facts == 0
    assert hours(engine) == {}


def test_the_largest_counters_are_split_to_the_octet(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T10:50Z", "2026-01-31T11:10Z", 2**62, 2**61 + 1))
        roll_up(engine, MADRID)
    assert sum(up for up, _ in hours(engine).values()) == sum(up for up, _ in days(engine).values()) == 2**62
    assert sum(down for _, down in days(engine).values()) == 2**61 + 1


def test_bounded_transactions_reach_the_same_sums_as_the_splitting_code(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "FACTS_PER_PORTION", 7)
    monkeypatch.setattr(rollup, "MOST_PARTS", 5)
    chance = random.Random(4)
    by_hour: Counter[tuple[int, str, int]] = Counter()
    by_day: Counter[tuple[int, date, int]] = Counter()
    with lane(engine) as one, lane(engine) as other:
        for _ in range(60):
            batch = [_fact(chance) for _ in range(chance.randrange(1, 6))]
            chance.choice((one, other)).write(*batch)
            for fact in batch:
                _expect(fact, by_hour, by_day)
        roll_up(engine, KATHMANDU, facts_per_transaction=16)
    assert hours(engine) == {key[:2]: (by_hour[*key[:2], 0], by_hour[*key[:2], 1]) for key in by_hour}
    assert days(engine) == {key[:2]: (by_day[*key[:2], 0], by_day[*key[:2], 1]) for key in by_day}


def _fact(chance: random.Random) -> Fact:
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(5 * 86_400))
    end = begin + timedelta(microseconds=chance.choice([0, 300_000_000, chance.randrange(2 * 86_400_000_000)]))
    return Fact(
        chance.randrange(1, 4), begin.isoformat(), end.isoformat(), chance.randrange(1000), chance.randrange(2**40)
    )


def _expect(fact: Fact, by_hour: Counter[tuple[int, str, int]], by_day: Counter[tuple[int, date, int]]) -> None:
    assert fact.service_id is not None
    begin, end = (to_microseconds(datetime.fromisoformat(each)) for each in (fact.begin, fact.end))
    for part in split(begin, end, fact.up, fact.down, hours_in(begin, end, KATHMANDU)):
        begins = midnight(day_of(part.from_us, KATHMANDU), KATHMANDU)
        hour = f"{to_datetime(hour_of(part.from_us, begins)):%m-%dT%H}"
        by_hour[fact.service_id, hour, 0] += part.octets_up
        by_hour[fact.service_id, hour, 1] += part.octets_down
    for part in split(begin, end, fact.up, fact.down, local_midnights(begin, end, KATHMANDU)):
        by_day[fact.service_id, day_of(Microseconds(part.from_us), KATHMANDU), 0] += part.octets_up
        by_day[fact.service_id, day_of(Microseconds(part.from_us), KATHMANDU), 1] += part.octets_down


def test_a_batch_that_commits_meanwhile_waits_for_the_next_call(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one, lane(engine) as other:
        one.write(Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 1, 1))
        with engine.connect() as connection:
            one.add(connection, [Fact(1, "2026-01-01T10:05Z", "2026-01-01T10:10Z", 2, 2)])
            other.write(Fact(1, "2026-01-01T10:05Z", "2026-01-01T10:10Z", 4, 4))
            assert roll_up(engine, MADRID).facts == 2
            connection.commit()
        assert hours(engine) == {(1, "01-01T10"): (5, 5)}
        assert roll_up(engine, MADRID).facts == 1
    assert hours(engine) == {(1, "01-01T10"): (7, 7)}


def test_facts_written_while_rolling_up_count_once(engine: sqlalchemy.Engine) -> None:
    def write(number: int) -> None:
        with lane(engine) as own:
            for batch in range(60):
                own.write(*[Fact(1 + batch % 3, "2026-01-01T10:50Z", "2026-01-01T11:10Z", number, 1)] * 5)

    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    rolled = 0
    while any(writer.is_alive() for writer in writers):
        rolled += roll_up(engine, MADRID, facts_per_transaction=20).facts
    for writer in writers:
        writer.join()
    rolled += roll_up(engine, MADRID).facts
    assert rolled == 3 * 60 * 5
    assert sum(up for up, _ in hours(engine).values()) == 60 * 5 * (1 + 2 + 3)
    assert sum(down for _, down in days(engine).values()) == rolled
    assert roll_up(engine, MADRID).facts == 0
    assert _active_lanes(engine) == 0


def test_a_roll_up_that_fails_leaves_no_trace_and_can_be_repeated(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 1, 1))
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE usage_day ADD CONSTRAINT no_day CHECK (octets_up > 1)"))
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            roll_up(engine, MADRID)
        assert hours(engine) == {}
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE usage_day DROP CONSTRAINT no_day"))
        assert roll_up(engine, MADRID).facts == 1
    assert hours(engine) == {(1, "01-01T10"): (1, 1)}


def test_only_one_process_rolls_up_at_a_time(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 1, 1))
        other = psycopg2.connect(database_dsn)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({ROLL_UP_LOCK})")
        assert roll_up(engine, MADRID) == RolledUp(0, 0, 0, 0)
        other.close()
        # The lock goes with its backend, which ends a moment after its connection.
        while roll_up(engine, MADRID).facts == 0:
            pass
    assert hours(engine) == {(1, "01-01T10"): (1, 1)}


def test_a_lane_is_retired_when_its_worker_is_gone_and_all_is_rolled_up(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one, lane(engine) as idle:
        one.write(Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 1, 1))
        assert roll_up(engine, MADRID).retired == 0
        one.write(Fact(1, "2026-01-01T10:05Z", "2026-01-01T10:10Z", 1, 1))
        assert idle.number != one.number
    assert _active_lanes(engine) == 2
    assert roll_up(engine, MADRID) == RolledUp(facts=1, without_service=0, lanes=1, retired=2)
    assert _active_lanes(engine) == 0
    assert hours(engine) == {(1, "01-01T10"): (2, 2)}


def test_a_lane_with_facts_left_is_not_retired(engine: sqlalchemy.Engine) -> None:
    """The worker commits its last batch after the roll-up has read, and goes before lanes are retired."""
    with lane(engine) as one:
        one.write(Fact(1, "2026-01-01T10:00Z", "2026-01-01T10:05Z", 1, 1))
    with engine.connect() as connection:
        assert rollup._retire(connection) == 0
    assert roll_up(engine, MADRID).retired == 1


def _active_lanes(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM lane WHERE NOT retired")))
