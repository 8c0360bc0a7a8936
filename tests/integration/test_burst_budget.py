"""A burst budget is drained by what accounting measured above the rates, and by nothing else."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import sqlalchemy

from storage.outbox import Topic
from tests.integration.test_enforcer import MEGABYTE, NOW, Core, partitions  # noqa: F401 - a fixture

BUDGET = {
    "burst": {"limit_percent": 150},
    "burst_budget": {"octets": 50 * MEGABYTE, "refill": 8, "resume_percent": 50},
}
AT_FULL_RATE = 150 * MEGABYTE
"""What 20 Mbit/s carry in a minute."""


@pytest.fixture
def budgeted(engine: sqlalchemy.Engine, database_dsn: str, partitions: None) -> Core:  # noqa: F811
    return Core(engine, database_dsn, json.dumps(BUDGET))


def report(core: Core, octets: int, *, after: timedelta = timedelta(minutes=1)) -> bool:
    """Let so much in all have been downloaded some time later; tell whether the line may burst then."""
    core.clock.now += after
    core.use(octets)
    core.happen(Topic.CROSSED, 1)
    (spent,) = core.ask("SELECT (burst ->> 'spent')::boolean FROM meter")[0]
    return not spent


@pytest.mark.parametrize(
    "weighing",
    [
        {"counting": [{"percent": 200}], "cap": {"octets": 10**12}},
        {"counting": [{"percent": 0}], "cap": {"octets": 10**12}},
    ],
)
def test_what_counts_double_or_nothing_for_the_cap_is_measured_as_it_was_sent(
    engine: sqlalchemy.Engine,
    database_dsn: str,
    partitions: None,  # noqa: F811
    weighing: dict[str, object],
) -> None:
    core = Core(engine, database_dsn, json.dumps({**BUDGET, **weighing}))
    core.open_session()
    core.happen(Topic.OPENED, 1)
    assert report(core, AT_FULL_RATE), "nothing was above the rate"
    assert not report(core, 2 * AT_FULL_RATE + 50 * MEGABYTE), "all of the budget was"


def test_every_report_of_a_line_that_may_burst_is_measured(budgeted: Core) -> None:
    budgeted.open_session()
    budgeted.happen(Topic.OPENED, 1)
    assert report(budgeted, 1000, after=timedelta(minutes=59))
    assert budgeted.ask("SELECT wake_octets, wake_direction FROM session") == [(1001, 0)]
    assert report(budgeted, 2000, after=timedelta(minutes=59))
    assert not report(budgeted, 2000 + AT_FULL_RATE + 50 * MEGABYTE), "hours of quiet do not pay for a burst"
    assert budgeted.clock.now > NOW + timedelta(hours=1)
