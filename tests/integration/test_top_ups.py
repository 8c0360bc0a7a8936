"""Top-ups are bought once, never more often than the plan allows, and a period is settled once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
import sqlalchemy
from sqlalchemy import text

from domain.plan_rules import AutomaticTopUp, Change, ChangeKind, TopUpKind, TopUpOffer
from enforcement.standing import Counter, Usage
from storage import outbox, standings, top_ups
from storage.outbox import Topic
from storage.standings import Meter
from storage.top_ups import Bought, KeyReused, Order, Origin, Settled

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
MONTH = datetime(2026, 1, 1, tzinfo=UTC)
NEXT_MONTH = datetime(2026, 2, 1, tzinfo=UTC)
GIGA = TopUpOffer("giga", TopUpKind.OCTETS, octets=1_000, price="4.90", before_plan=True)
AUTOMATIC = TopUpOffer("auto", TopUpKind.OCTETS, octets=1_000, automatic=AutomaticTopUp(90, 3))
BOOST = TopUpOffer("boost", TopUpKind.BOOST, hours=2, boost=Change(ChangeKind.PERCENT, percent=200))


def order(offer: TopUpOffer = GIGA, service_id: int = 1, extra_octets: int = 0) -> Order:
    return Order(service_id, offer, NOW, NEXT_MONTH, extra_octets)


def buy(engine: sqlalchemy.Engine, key: str, wanted: Order | None = None) -> Bought:
    with engine.begin() as connection:
        return top_ups.buy(connection, wanted or order(), Origin.SUBSCRIBER, key, NOW)


def buy_automatically(engine: sqlalchemy.Engine, count: int, month: datetime = MONTH, extra_octets: int = 0) -> int:
    with engine.begin() as connection:
        wanted = order(AUTOMATIC, extra_octets=extra_octets)
        return top_ups.buy_automatically(connection, wanted, count, month, month + timedelta(days=9))


def bought_octets(engine: sqlalchemy.Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT octets FROM top_up ORDER BY id")))


def changed(engine: sqlalchemy.Engine) -> list[int | None]:
    with engine.begin() as connection:
        events = outbox.take(connection, 100)
    assert all(event.topic is Topic.GRANTED for event in events)
    return [event.service_id for event in events]


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run calls in threads of their own, and return what they gave or raised."""
    results: list[object] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(place: int) -> None:
        barrier.wait()
        try:
            results[place] = calls[place]()
        except KeyReused as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_purchase_is_kept_as_it_was_ordered_and_told(engine: sqlalchemy.Engine) -> None:
    made = buy(engine, "one", order(extra_octets=50))
    boosted = buy(engine, "two", order(BOOST))
    with engine.connect() as connection:
        newest, first = top_ups.of_service(connection, 1)
        assert connection.scalar(text("SELECT boost FROM top_up WHERE id = :id"), {"id": boosted.id}) == {
            "kind": "percent",
            "percent": 200,
        }
    assert (first.id, first.name, first.kind, first.octets, first.spent_octets) == (
        made.id, "giga", TopUpKind.OCTETS, 1_050, 0,
    )  # fmt: skip
    assert (first.price, first.origin, first.bought_at, first.begins_at, first.ends_at) == (
        Decimal("4.90"), Origin.SUBSCRIBER, NOW, NOW, NEXT_MONTH,
    )  # fmt: skip
    assert (newest.kind, newest.price) == (TopUpKind.BOOST, Decimal(0))
    assert changed(engine) == [1, 1]


def test_one_key_is_one_purchase(engine: sqlalchemy.Engine) -> None:
    first, again, other = buy(engine, "one"), buy(engine, "one"), buy(engine, "two")
    assert first.is_new
    assert again == Bought(first.id, is_new=False)
    assert other.is_new
    assert bought_octets(engine) == [1_000, 1_000]
    assert changed(engine) == [1, 1], "a purchase that was made before changes nothing"


@pytest.mark.parametrize("wanted", [order(service_id=2), order(BOOST)])
def test_the_key_of_another_purchase_is_refused(engine: sqlalchemy.Engine, wanted: Order) -> None:
    buy(engine, "one")
    with pytest.raises(KeyReused, match="'one'"):
        buy(engine, "one", wanted)


def test_two_that_buy_with_one_key_at_once_make_one_purchase(engine: sqlalchemy.Engine) -> None:
    for number in range(5):
        results = at_once(*[partial(buy, engine, f"key {number}")] * 2)
        assert sorted(each.is_new for each in results if isinstance(each, Bought)) == [False, True]
    assert len(bought_octets(engine)) == 5


def test_automatic_top_ups_never_exceed_their_monthly_maximum(engine: sqlalchemy.Engine) -> None:
    assert buy_automatically(engine, 2, extra_octets=77) == 2
    assert bought_octets(engine) == [1_077, 1_000], "what ran over is forgiven once"
    assert buy_automatically(engine, 5) == 1
    assert buy_automatically(engine, 1) == 0
    assert buy_automatically(engine, 1, NEXT_MONTH) == 1
    buy(engine, "by hand", order(AUTOMATIC))
    with engine.connect() as connection:
        assert top_ups.automatic_in_month(connection, [1, 2], MONTH, NEXT_MONTH) == {(1, "auto"): 3}


def test_two_cores_that_buy_at_once_stay_below_the_maximum(engine: sqlalchemy.Engine) -> None:
    results = at_once(*[lambda: buy_automatically(engine, 2)] * 3)
    assert sum(each for each in results if isinstance(each, int)) == len(bought_octets(engine)) <= 3


def test_what_an_ended_top_up_paid_is_kept_as_it_was_said_first(engine: sqlalchemy.Engine) -> None:
    bought = buy(engine, "one").id
    with engine.begin() as connection:
        top_ups.cover(connection, [(bought, 400)])
        top_ups.cover(connection, [(bought, 300)])
        assert connection.scalar(text("SELECT covered_octets FROM top_up")) == 400


def test_a_period_is_settled_once(engine: sqlalchemy.Engine) -> None:
    bought = buy(engine, "one").id
    first = Settled(1, None, MONTH)
    second = Settled(1, MONTH, NEXT_MONTH, lots=(5, 70), spent=((bought, 400),))
    with engine.begin() as connection:
        top_ups.cover(connection, [(bought, 400)])
        assert top_ups.settle(connection, [second]) == set(), "the period before is not settled"
        assert top_ups.settle(connection, [first]) == {1}
        assert top_ups.settle(connection, [first]) == set()
        assert top_ups.settle(connection, [second, Settled(2, None, MONTH, lots=(1,))]) == {1, 2}
        assert top_ups.settle(connection, [second]) == set()
        meters = connection.execute(text("SELECT service_id, carried_for, carried_lots FROM meter ORDER BY 1")).all()
        assert meters == [(1, NEXT_MONTH, [5, 70]), (2, MONTH, [1])]
        assert connection.execute(text("SELECT spent_octets, covered_octets FROM top_up")).one() == (400, None)


def test_two_that_settle_at_once_settle_once(engine: sqlalchemy.Engine) -> None:
    bought = buy(engine, "one").id

    def settle(settlement: Settled) -> Callable[[], set[int]]:
        def run() -> set[int]:
            with engine.begin() as connection:
                return top_ups.settle(connection, [settlement])

        return run

    first, second = Settled(1, None, MONTH), Settled(1, MONTH, NEXT_MONTH, spent=((bought, 400),))
    for settlement in (first, second):
        results = at_once(*[settle(settlement)] * 3)
        assert results.count({1}) == 1
        assert results.count(set()) == 2
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT spent_octets FROM top_up")) == 400


def test_settling_leaves_the_usage_of_the_meter_alone(engine: sqlalchemy.Engine) -> None:
    usage = Usage(NOW, Counter(NOW, 1, 2), Counter(NOW, 3, 4), Counter(MONTH, 5, 6))
    with engine.begin() as connection:
        standings.write_meters(connection, [Meter(1, usage, None, (80,))])
        assert top_ups.settle(connection, [Settled(1, None, MONTH, lots=(9,))]) == {1}
        standings.write_meters(connection, [Meter(1, usage, None, (80, 100))])
        row = connection.execute(text("SELECT as_of, warned, carried_for, carried_lots FROM meter")).one()
    assert row == (NOW, [80, 100], MONTH, [9])
