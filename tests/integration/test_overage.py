"""Usage into money against a real database: octets beyond a cap, rated, and rated again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy
from sqlalchemy import text

from daemon import enforcement_upkeep
from storage import rollup, standings, top_ups
from storage.billing import rating, subscriptions, top_up_sales
from storage.exporting import export
from storage.top_ups import Origin
from tests.integration.billed_isp import (
    HEAD,
    VAULT,
    assert_books_are_right,
    bill,
    customer,
    documents,
    provide,
    rows,
    sold,
)
from tests.integration.snapshots import read_snapshot
from tests.integration.usage_facts import Fact, lane

GIGA = 10**9
OVERAGE = (
    '[plan.overage]\nprice = "0.50"\nblock = "1G"\nceiling = "20"\nat_ceiling = { download = "1M", upload = "1M" }\n'
)


def plan(overage: str = OVERAGE, *more: str) -> str:
    return "\n".join(
        (
            '[[plan]]\nname = "metered"\ndownload = "100M"\nprice = "10"\ntaxes = ["iva"]',
            *more,
            '[plan.cap]\noctets = "100G"\naction = "overage"\nbonus = "5G"',
            overage,
        )
    )


MADRID = ZoneInfo("Europe/Madrid")
LINE = '[[service]]\nlogin = "ana-line"\npassword = "a-password"\nplan = "metered"\ncustomer = "ana"\n'


def world(engine: sqlalchemy.Engine, overage: str = OVERAGE) -> None:
    """Provide a line that was sold on the first of the year."""
    provide(engine, HEAD, plan(overage), customer("ana"), LINE)
    sell(engine)


def sell(engine: sqlalchemy.Engine) -> None:
    """Let everything be sold since the first of the year."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscription_event SET on_day = '2026-01-01'"))
        connection.execute(text("UPDATE account SET next_bill_on = '2026-01-01'"))


def carry(engine: sqlalchemy.Engine, day: str, octets: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO usage_day (service_id, day, traffic_class, octets_up, octets_down)
                SELECT id, CAST(:day AS date), 0, 0, :octets FROM service
                ON CONFLICT (service_id, day, traffic_class)
                DO UPDATE SET octets_down = usage_day.octets_down + excluded.octets_down"""),
            {"day": day, "octets": octets},
        )


def lines(engine: sqlalchemy.Engine) -> list[tuple[Any, ...]]:
    return rows(
        engine,
        """SELECT starts, ends, quantity, unit_price, net, usage ->> 'octets' FROM document_line
        WHERE component = 'overage' ORDER BY id""",
    )


def test_octets_beyond_the_cap_are_charged_by_the_block_begun(engine: sqlalchemy.Engine) -> None:
    world(engine)
    carry(engine, "2026-01-10", 100 * GIGA)
    carry(engine, "2026-01-31", 7 * GIGA + 1)
    carry(engine, "2026-02-01", 40 * GIGA)
    bill(engine, "2026-01-01")
    assert lines(engine) == []
    bill(engine, "2026-02-01")
    jan, feb = date(2026, 1, 1), date(2026, 2, 1)
    assert lines(engine) == [(jan, feb, 3, Decimal("0.50"), 150, str(2 * GIGA + 1))]
    assert documents(engine, "ana")[-1][2:5] == (1150, 242, 1392)
    assert bill(engine, "2026-02-01").documents == 0
    bill(engine, "2026-03-01")
    assert len(lines(engine)) == 1, "February stayed below the cap"
    assert_books_are_right(engine)


def test_weeks_of_a_cap_begin_on_the_day_that_its_plan_says(engine: sqlalchemy.Engine) -> None:
    weekly = plan(OVERAGE, 'week_starts = "sunday"').replace("[plan.cap]", '[plan.cap]\nperiod = "week"')
    provide(engine, HEAD, weekly, customer("ana"), LINE)
    sell(engine)
    carry(engine, "2026-01-04", 60 * GIGA)
    carry(engine, "2026-01-10", 50 * GIGA)
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    sunday = date(2026, 1, 4)
    assert lines(engine) == [(sunday, date(2026, 1, 11), 5, Decimal("0.50"), 250, str(5 * GIGA))]
    assert_books_are_right(engine)


@pytest.mark.parametrize("settled", [False, True])
def test_days_of_a_period_that_was_billed_are_in_no_other_one(engine: sqlalchemy.Engine, settled: bool) -> None:
    world(engine)
    carry(engine, "2026-01-10", 50 * GIGA)
    carry(engine, "2026-01-20", 57 * GIGA)
    bill(engine, "2026-02-01")
    with engine.begin() as connection:
        connection.execute(text("UPDATE service SET period_day = 15"))
        if settled:
            for begins, ends, used in (("01-01", "02-01", 107), ("02-01", "02-15", 109)):
                connection.execute(
                    text("""INSERT INTO usage_period (service_id, begins, ends, limit_octets, used_octets)
                        SELECT id, CAST(:begins AS timestamptz), CAST(:ends AS timestamptz), 105000000000, :used
                        FROM service"""),
                    {"begins": f"2026-{begins} 00:00+01", "ends": f"2026-{ends} 00:00+01", "used": used * GIGA},
                )
    carry(engine, "2026-02-14", 109 * GIGA)
    carry(engine, "2026-02-15", 106 * GIGA)
    for on in ("2026-03-01", "2026-03-15", "2026-04-01"):
        bill(engine, on, "ana")
    charged = [(line[0].isoformat(), line[1].isoformat(), line[4]) for line in lines(engine)]
    assert charged == [
        ("2026-01-01", "2026-02-01", 100), ("2026-02-01", "2026-02-15", 200), ("2026-02-15", "2026-03-15", 50),
    ]  # fmt: skip
    # A late fact of the first of them is of no other one, either.
    carry(engine, "2026-01-31", GIGA)
    with engine.begin() as connection:
        rollup.revise(connection, [(1, date(2026, 1, 31))])
    bill(engine, "2026-04-02", "ana")
    assert [(line[0].isoformat(), line[4]) for line in lines(engine)][3:] == [("2026-01-01", 50)]
    assert_books_are_right(engine)


def test_periods_of_a_cap_share_the_ceiling_of_their_month(engine: sqlalchemy.Engine) -> None:
    daily = plan('[plan.overage]\nprice = "0.50"\nblock = "1G"\nceiling = "3"\n')
    provide(engine, HEAD, daily.replace("[plan.cap]", '[plan.cap]\nperiod = "day"'), customer("ana"), LINE)
    sell(engine)
    for day, over in ((3, 2), (10, 3), (11, 4), (20, 5), (31, 1)):
        carry(engine, f"2026-01-{day:02}", (105 + over) * GIGA)
    carry(engine, "2026-02-01", 107 * GIGA)
    bill(engine, "2026-01-01")
    for on in ("2026-01-12", "2026-02-03", "2026-03-01"):
        bill(engine, on, "ana")
    charged = [(line[0].isoformat(), line[4]) for line in lines(engine)]
    assert charged == [("2026-01-03", 100), ("2026-01-10", 150), ("2026-01-11", 50), ("2026-02-01", 100)]
    # What is less on one day leaves room on the days after it.
    carry(engine, "2026-01-10", -2 * GIGA)
    with engine.begin() as connection:
        rollup.revise(connection, [(1, date(2026, 1, 10))])
    bill(engine, "2026-03-02", "ana")
    charged = [(line[0].isoformat(), line[4]) for line in lines(engine)][4:]
    assert charged == [("2026-01-10", -100), ("2026-01-11", 100)]
    assert_books_are_right(engine)


def test_overage_of_a_line_in_a_bundle_is_charged_beside_the_bundle(engine: sqlalchemy.Engine) -> None:
    pack = """[[product]]
name = "pack"
kind = "bundle"
price = "36"
includes = [{ product = "metered" }, { product = "television" }]
"""
    provide(engine, HEAD, plan(), pack, customer("ana"), LINE)
    provide(engine, sold("ana", "pack", "2026-01-01", 'service = "ana-line"'))
    sell(engine)
    carry(engine, "2026-01-10", 107 * GIGA + 1)
    bill(engine, "2026-01-01")
    assert documents(engine, "ana")[-1][4] == 3600 + 756
    bill(engine, "2026-02-01")
    jan, feb = date(2026, 1, 1), date(2026, 2, 1)
    assert lines(engine) == [(jan, feb, 3, Decimal("0.50"), 150, str(2 * GIGA + 1))]
    assert documents(engine, "ana")[-1][2:5] == (3750, 788, 4538)
    assert bill(engine, "2026-02-01").documents == 0
    assert_books_are_right(engine)


FLAT = '[[plan]]\nname = "flat"\ndownload = "100M"\nprice = "20"\n'


def move(engine: sqlalchemy.Engine, plan_name: str, on: str) -> None:
    """Sell the line another plan from a day on."""
    day = date.fromisoformat(on)
    with engine.begin() as connection:
        line = subscriptions.find(connection, "ana-line")
        subscriptions.change(connection, line, subscriptions.Change(plan_name), day, day)


def test_the_last_period_of_a_line_that_has_ended_is_charged_when_it_is_over(engine: sqlalchemy.Engine) -> None:
    world(engine)
    bill(engine, "2026-01-01")
    carry(engine, "2026-01-10", 107 * GIGA)
    day = date(2026, 1, 16)
    with engine.begin() as connection:
        subscriptions.stop(connection, subscriptions.find(connection, "ana-line"), day, day)
    assert bill(engine, "2026-01-16").documents == 1
    assert lines(engine) == []
    assert bill(engine, "2026-02-01").documents == 1
    jan, feb = date(2026, 1, 1), date(2026, 2, 1)
    assert lines(engine) == [(jan, feb, 2, Decimal("0.50"), 100, str(2 * GIGA))]
    assert rows(engine, "SELECT next_bill_on FROM account") == [(None,)]
    assert_books_are_right(engine)


def test_a_plan_that_is_paid_by_the_year_has_its_overage_charged_by_the_month(engine: sqlalchemy.Engine) -> None:
    yearly = plan(OVERAGE, 'every = "year"')
    provide(engine, HEAD, yearly, customer("ana"), LINE)
    sell(engine)
    bill(engine, "2026-01-01")
    carry(engine, "2026-01-10", 107 * GIGA)
    assert bill(engine, "2026-02-01").documents == 1
    assert [line[4] for line in lines(engine)] == [100]
    assert bill(engine, "2026-03-01").documents == 0


def test_overage_is_of_the_days_on_which_it_was_sold(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, plan(), FLAT, customer("ana"), LINE)
    sell(engine)
    bill(engine, "2026-01-01")
    carry(engine, "2026-01-05", 107 * GIGA)
    move(engine, "flat", "2026-01-10")
    carry(engine, "2026-01-10", 300 * GIGA)
    bill(engine, "2026-02-01")
    assert [(line[4], line[5]) for line in lines(engine)] == [(100, str(2 * GIGA))]
    told = "SELECT text, tax FROM document_line WHERE component = 'overage'"
    assert rows(engine, told) == [("metered: consumo fuera del plan", 21)]
    carry(engine, "2026-02-09", 300 * GIGA)
    move(engine, "metered", "2026-02-10")
    carry(engine, "2026-02-10", 106 * GIGA)
    bill(engine, "2026-03-01")
    assert [(line[4], line[5]) for line in lines(engine)][1:] == [(50, str(GIGA))]
    assert_books_are_right(engine)


def test_usage_that_arrives_late_is_rated_again_and_only_the_difference_is_charged(engine: sqlalchemy.Engine) -> None:
    world(engine)
    carry(engine, "2026-01-10", 107 * GIGA)
    bill(engine, "2026-02-01")
    carry(engine, "2026-01-31", 5 * GIGA)
    with engine.begin() as connection:
        rollup.revise(connection, [(1, date(2026, 1, 31))])
    bill(engine, "2026-02-02", "ana")
    assert [line[4] for line in lines(engine)] == [100, 250]
    carry(engine, "2026-01-31", -5 * GIGA)
    with engine.begin() as connection:
        rollup.revise(connection, [(1, date(2026, 1, 31))])
    bill(engine, "2026-02-03", "ana")
    assert [line[4] for line in lines(engine)] == [100, 250, -250]
    assert documents(engine, "ana")[-1][0] == "credit-note"
    assert_books_are_right(engine)


def test_a_fact_of_a_day_that_was_billed_lets_billing_look_again(engine: sqlalchemy.Engine) -> None:
    world(engine)
    carry(engine, "2026-01-10", 105 * GIGA)
    bill(engine, "2026-02-01")
    with lane(engine) as one:
        one.write(Fact(1, "2026-02-01T10:00Z", "2026-02-01T10:05Z", 0, GIGA))
        rollup.roll_up(engine, MADRID)
        assert rows(engine, "SELECT revised_from FROM subscription") == [(None,)]
        one.write(Fact(1, "2026-01-31T10:00Z", "2026-01-31T10:05Z", 0, GIGA))
        rollup.roll_up(engine, MADRID)
    assert rows(engine, "SELECT revised_from FROM subscription") == [(date(2026, 1, 31),)]
    assert bill(engine, "2026-02-02").documents == 1
    assert [line[4] for line in lines(engine)] == [50]


@pytest.mark.parametrize(
    ("overage", "octets", "expected"),
    [
        ('price = "0.50"\nceiling = "20"', 300, 2000),
        ('price = "0.50"\nminimum = "3"', 0, 300),
        ('price = "0.50"\nfree = "10G"', 117, 100),
        ('tier = [{ up_to = "10G", price = "1" }, { price = "0.10" }]', 125, 1100),
        ('model = "volume"\ntier = [{ up_to = "10G", price = "1" }, { price = "0.10" }]', 125, 200),
        ('rounding = "down"\nblock = "10G"\nprice = "4"', 124, 400),
    ],
)
def test_tariffs(engine: sqlalchemy.Engine, overage: str, octets: int, expected: int) -> None:
    world(engine, f"[plan.overage]\n{overage}\n")
    if octets:
        carry(engine, "2026-01-10", octets * GIGA)
    bill(engine, "2026-02-01")
    assert [line[4] for line in lines(engine)] == [expected]
    assert_books_are_right(engine)


def test_hours_that_do_not_count_are_not_charged(engine: sqlalchemy.Engine) -> None:
    counting = 'counting = [{ hours = "00:00-08:00", percent = 0 }, { hours = "20:00-00:00", percent = 50 }]'
    provide(engine, HEAD, plan(OVERAGE, counting), customer("ana"), LINE)
    sell(engine)
    with lane(engine) as one:
        for hour, octets in (("02", 200), ("12", 100), ("21", 14)):
            one.write(Fact(1, f"2026-01-10T{hour}:10Z", f"2026-01-10T{hour}:20Z", 0, octets * GIGA))
        rollup.roll_up(engine, MADRID)
    bill(engine, "2026-02-01")
    assert [(line[2], line[4]) for line in lines(engine)] == [(2, 100)], "100 + 14 / 2 less 105 were to be paid"


def test_g14_what_comes_to_so_much_is_billed_before_the_month_is_over(engine: sqlalchemy.Engine) -> None:
    world(engine, '[plan.overage]\nprice = "0.50"\nbill_at = "10"\n')
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO top_up (service_id, name, kind, bought_at, begins_at, ends_at, octets, origin)
                SELECT s.id, v.name, 'octets', v.begins, v.begins, v.ends, 10000000000, 'operator'
                FROM service AS s CROSS JOIN (VALUES
                    ('more', CAST('2026-01-05' AS timestamptz), CAST('2026-03-01' AS timestamptz)),
                    ('of before', '2025-12-05', '2026-01-01T00:00+01:00')) AS v(name, begins, ends)""")
        )
        connection.execute(
            text("""INSERT INTO meter (service_id, carried_for, carried_lots)
                SELECT id, '2026-01-01T00:00+01:00', '{2000000000,3000000000}' FROM service""")
        )
    bill(engine, "2026-01-01")
    carry(engine, "2026-01-10", (100 + 5 + 10 + 5 + 19) * GIGA)
    bill(engine, "2026-01-11")
    assert lines(engine) == [], "19 blocks come to less, and what rolled over or was bought is not charged"
    carry(engine, "2026-01-11", GIGA)
    bill(engine, "2026-01-11")
    assert lines(engine) == [], "the day is not over"
    bill(engine, "2026-01-12")
    assert [line[4] for line in lines(engine)] == [1000]
    carry(engine, "2026-01-20", 5 * GIGA)
    for on in ("2026-01-21", "2026-02-01", "2026-02-02"):
        bill(engine, on)
    assert [line[4] for line in lines(engine)] == [1000, 250], "what might be used is the same after the end"
    assert_books_are_right(engine)


def test_a_line_of_usage_tells_what_it_sums_and_what_it_would_cost_now(engine: sqlalchemy.Engine) -> None:
    world(engine)
    carry(engine, "2026-01-10", 100 * GIGA)
    carry(engine, "2026-01-31", 7 * GIGA)
    bill(engine, "2026-02-01")
    used = {"octets": 2 * GIGA, "units": 2, "used_octets": 107 * GIGA, "limit_octets": 105 * GIGA}
    assert rows(engine, "SELECT usage FROM document_line WHERE component = 'overage'") == [(used,)]
    (document,) = rows(engine, "SELECT max(id) FROM document")[0]

    def again() -> tuple[int, int, list[tuple[date, int]]]:
        with engine.connect() as connection:
            (rated,) = rating.rate_again(connection, document, date(2026, 2, 1))
        return rated.billed, rated.amount, [(fact["on"], fact["octets_down"]) for fact in rated.facts]

    first, last = date(2026, 1, 10), date(2026, 1, 31)
    assert again() == (100, 100, [(first, 100 * GIGA), (last, 7 * GIGA)])
    carry(engine, "2026-01-31", 3 * GIGA)
    assert again() == (100, 250, [(first, 100 * GIGA), (last, 10 * GIGA)])


def test_what_a_period_said_goes_before_the_cap(engine: sqlalchemy.Engine) -> None:
    """Top-ups and what rolled over are in the limit that the end of the period wrote."""
    world(engine)
    carry(engine, "2026-01-10", 150 * GIGA)
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO usage_period (service_id, begins, ends, limit_octets, used_octets)
                SELECT id, '2026-01-01T00:00+01:00', '2026-02-01T00:00+01:00', 148000000000, 0 FROM service""")
        )
    bill(engine, "2026-02-01")
    assert [line[4] for line in lines(engine)] == [100]


ROLLOVER = 'octets = "100G"\naction = "overage"\nbonus = "5G"\nrollover = { periods = 2, percent = 50 }'


def test_rollover_bonus_and_top_ups_have_one_definition_for_enforcement_and_for_the_bill(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    """The bill comes before enforcement has settled the periods, and again after it: it is the same."""
    file = plan().replace('octets = "100G"\naction = "overage"\nbonus = "5G"', ROLLOVER)
    offer = '[[plan.top_up]]\nname = "extra"\noctets = "10G"\nvalid_days = 40\n'
    provide(engine, HEAD, file, offer, customer("ana"), LINE)
    with engine.begin() as connection:
        for statement in (
            "UPDATE subscription_event SET on_day = '2026-01-01'",
            "UPDATE account SET next_bill_on = '2026-01-01'",
            "INSERT INTO meter (service_id, carried_for) SELECT id, '2026-01-01T00:00+01:00' FROM service",
        ):
            connection.execute(text(statement))
        order = top_up_sales.order_of(connection, 1, "extra", datetime(2026, 2, 10, tzinfo=UTC))
        top_ups.buy(connection, order, Origin.OPERATOR, "one", order.begins)
    carry(engine, "2026-01-10", 60 * GIGA)
    carry(engine, "2026-02-11", 138 * GIGA)
    carry(engine, "2026-03-05", 104 * GIGA)
    bill(engine, "2026-02-01")
    assert lines(engine) == []
    bill(engine, "2026-03-01")
    # 20 rolled over, 100 of the plan, 5 of bonus and 10 that were bought: 135.
    assert [(line[0], line[4], line[5]) for line in lines(engine)] == [(date(2026, 2, 1), 150, str(3 * GIGA))]
    now = datetime(2026, 4, 1, 1, tzinfo=UTC)
    plans = read_snapshot(database_dsn, VAULT).plans
    with engine.begin() as connection:
        loaded = standings.load(connection, [1], plans, MADRID, now)
        enforcement_upkeep.keep_up(connection, loaded, plans, MADRID, now)
    said = rows(engine, "SELECT limit_octets FROM usage_period ORDER BY begins")
    assert [limit // GIGA for (limit,) in said] == [105, 135, 105]
    assert bill(engine, "2026-03-01", "ana").documents == 0
    bill(engine, "2026-04-01")
    assert len(lines(engine)) == 1
    assert_books_are_right(engine)


def test_m15_what_ran_over_is_gone_from_the_next_day_for_the_line_and_for_the_bill(
    engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    """The line runs over on a plan that carries it, and is charged by another plan on the day after."""
    cap = 'octets = "100G"\nperiod = "day"\n'
    head = '[[plan]]\nname = "carrying"\ndownload = "100M"\nprice = "10"\n'
    carrying = f"{head}[plan.cap]\n{cap}percent = 100\ncarry_overage = true\n"
    provide(engine, HEAD, carrying, customer("ana"), LINE.replace("metered", "carrying"))
    sell(engine)
    with engine.begin() as connection:
        statement = "INSERT INTO meter (service_id, carried_for) SELECT id, '2026-01-01T00:00+01:00' FROM service"
        connection.execute(text(statement))
    carry(engine, "2026-01-01", 120 * GIGA)
    plans = read_snapshot(database_dsn, VAULT).plans
    with engine.begin() as connection:
        now = datetime(2026, 1, 1, 23, tzinfo=UTC)
        loaded = standings.load(connection, [1], plans, MADRID, now)
        enforcement_upkeep.keep_up(connection, loaded, plans, MADRID, now)
    assert loaded[1].standing.carried_octets == -20 * GIGA
    charging = plan().replace('octets = "100G"\naction = "overage"\nbonus = "5G"', f'{cap}action = "overage"')
    provide(engine, HEAD, carrying, charging, customer("ana"), LINE)
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscription_event SET on_day = '2026-01-02' WHERE kind = 'change'"))
    carry(engine, "2026-01-02", 83 * GIGA)
    bill(engine, "2026-02-01")
    assert [(line[0], line[4]) for line in lines(engine)] == [(date(2026, 1, 2), 150)]
    plans = read_snapshot(database_dsn, VAULT).plans
    with engine.begin() as connection:
        now = datetime(2026, 1, 3, 12, tzinfo=UTC)
        loaded = standings.load(connection, [1], plans, MADRID, now)
        enforcement_upkeep.keep_up(connection, loaded, plans, MADRID, now)
    said = rows(engine, "SELECT limit_octets FROM usage_period ORDER BY begins")
    assert [limit // GIGA for (limit,) in said] == [100, 80]


def test_an_overage_comes_back_from_an_export(engine: sqlalchemy.Engine) -> None:
    tiers = '[{ up_to = "10G", price = "1", flat = "2" }, { price = "0.10" }]'
    tiers = f'[plan.overage]\nfree = "1G"\nmodel = "volume"\ntier = {tiers}\n'
    for overage in (OVERAGE, tiers, '[plan.overage]\nprice = "1"\nbill_at = "20"\n'):
        world(engine, overage)
        written = export(engine, VAULT)
        assert "[plan.overage]" in written
        assert provide(engine, written).changes == ()
