"""What day it is for billing: that of the operator's zone, or a later one in a database that tests.

Rule: only a test database may be ahead of time; what RADIUS measures keeps the real time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.cycle import local_day
from domain.billing_terms import DayCount
from storage.errors import OrderRefused

MOST_AHEAD = timedelta(days=31)
"""A day that is further ahead is a slip of the hand: what is billed on it would be billed for good."""

NOW = "(clock_timestamp() + coalesce((SELECT ahead FROM test_clock), interval '0'))"
"""The present instant of billing, in SQL."""


class ClockError(OrderRefused):
    """The clock of billing cannot be moved so."""


def now(connection: Connection) -> datetime:
    """Return the present instant of billing, aware UTC."""
    instant: datetime = connection.execute(text(f"SELECT {NOW}")).scalar_one()
    return instant.astimezone(UTC)


def zone(connection: Connection) -> ZoneInfo:
    """Return the operator's zone."""
    return ZoneInfo(connection.execute(text("SELECT timezone FROM isp")).scalar_one())


def today(connection: Connection, count: DayCount = DayCount.THAT_DAY) -> date:
    """Return the operator's local date, or the day that is nearest."""
    return local_day(now(connection), zone(connection), count)


def is_test(connection: Connection) -> bool:
    """Tell whether this database is one that tests."""
    return bool(connection.scalar(text("SELECT EXISTS (SELECT FROM test_clock)")))


def permit(connection: Connection) -> None:
    """Make this a database that tests; raise ClockError where somebody has been billed for real already."""
    if is_test(connection):
        return
    if connection.scalar(text("SELECT EXISTS (SELECT FROM transfer)")):
        raise ClockError("this database holds real postings, so its clock stays; try a test database instead")
    connection.execute(text("INSERT INTO test_clock (ahead) VALUES (interval '0')"))


def advance(connection: Connection, by: timedelta) -> datetime:
    """Move the clock of a test database ahead and return its time. Raise ClockError."""
    if not is_test(connection):
        raise ClockError(
            "the clock of this database is the real one; only a database that was begun with --demo or "
            "`caudal clock permit` has one to move"
        )
    if by < timedelta(0):
        raise ClockError("a clock goes forward only: what was billed stays billed")
    connection.execute(text("UPDATE test_clock SET ahead = ahead + :by"), {"by": by})
    return now(connection)


class TooFarAhead(OrderRefused):
    """Something was to be billed on a day that is probably a mistake."""

    def __init__(self, day: date, today: date) -> None:
        super().__init__(
            f"{day} is {(day - today).days} days ahead of {today}; what is billed stays billed, so say "
            "--yes-far-future (`far_future` in the API) if that day is meant"
        )


def require_near(connection: Connection, day: date, *, far_future: bool = False) -> None:
    """Raise TooFarAhead where a day to bill is more than a month ahead and that is not said to be meant."""
    present = today(connection)
    if not far_future and day > present + MOST_AHEAD:
        raise TooFarAhead(day, present)
