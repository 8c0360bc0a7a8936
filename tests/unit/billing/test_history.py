"""What a subscription is on each day."""

from __future__ import annotations

import pytest

from billing.history import EventKind, SubscriptionState, phases, state_on
from tests.unit.billing.billed_account import Account, day, span

PENDING, ACTIVE, PAUSED, STOPPED = SubscriptionState


@pytest.mark.parametrize(
    ("on", "state"),
    [
        ("2026-01-09", PENDING), ("2026-01-10", ACTIVE), ("2026-01-19", ACTIVE), ("2026-01-20", PAUSED),
        ("2026-01-24", PAUSED), ("2026-01-25", ACTIVE), ("2026-01-31", STOPPED),
    ],
)  # fmt: skip
def test_the_state_is_that_of_what_happened_until_the_day(on: str, state: SubscriptionState) -> None:
    account = Account()
    account.stops("2026-01-31")
    account.resumes("2026-01-25")
    account.pauses("2026-01-20")
    account.starts("2026-01-10", "10.00")
    assert state_on(account.events[1], day(on)) is state


def test_of_several_events_of_one_day_the_last_one_makes_a_phase() -> None:
    account = Account()
    account.starts("2026-01-10", "10.00")
    account.changes("2026-01-10", "20.00")
    account.changes("2026-01-10", "30.00", product=3)
    assert [(phase.days, phase.product_id) for phase in phases(account.events[1])] == [(span("2026-01-10"), 3)]


def test_only_what_runs_is_paused_and_only_what_is_paused_resumes() -> None:
    account = Account()
    account.pauses("2026-01-01")
    account.resumes("2026-01-02")
    assert state_on(account.events[1], day("2026-01-03")) is PENDING
    account.starts("2026-01-04", "10.00")
    account.does(EventKind.STOP, "2026-01-05")
    account.pauses("2026-01-06")
    account.resumes("2026-01-07")
    assert state_on(account.events[1], day("2026-01-08")) is STOPPED
