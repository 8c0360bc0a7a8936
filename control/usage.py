"""The route over usage: what a service moved, by hour or by local day.

Rule: an instant without a zone, and a bare date, are the operator's local time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query

from control import models
from control.directory import service_of
from control.errors import bad_request
from control.questions import Name, Ports
from storage import listing

MOST_ROWS = 10_000
"""A year of hours is 8,784; more rows than that nobody reads."""
DEFAULT_SPAN = {models.UsageStep.HOUR: timedelta(days=1), models.UsageStep.DAY: timedelta(days=30)}

routes = APIRouter(tags=["usage"])

InstantText = Annotated[
    str | None, Query(max_length=64, description="A date or an RFC 3339 instant; without a zone, the operator's.")
]


class Bound(Enum):
    """Which end of a span an instant is."""

    START = "from"
    END = "to"


@routes.get("/usage/{service:path}")
def usage(
    ports: Ports,
    service: Name,
    by: models.UsageStep = models.UsageStep.DAY,
    start: Annotated[InstantText, Query(alias="from")] = None,
    end: Annotated[InstantText, Query(alias="to")] = None,
) -> models.Usage:
    """Tell what a service used from `from` until `to` (a bare date as `to` is included), and in each hour or day."""
    login = service_of(ports, service).login
    zone_name = listing.isp(ports.engine).timezone
    zone = ZoneInfo(zone_name)
    until = ports.now() if end is None else instant(end, zone, Bound.END)
    since = _first(until - DEFAULT_SPAN[by], by, zone) if start is None else instant(start, zone, Bound.START)
    if since >= until:
        raise bad_request("`from` is not before `to`", "give an earlier `from`")
    if (until - since) / timedelta(**{f"{by.value}s": 1}) > MOST_ROWS:
        raise bad_request(f"the span has more than {MOST_ROWS} rows", "ask by day, or for a shorter span")
    report = ports.usage(ports.engine, login, by.value, since, until, zone_name)
    return models.Usage(
        service=login,
        by=by,
        timezone=zone_name,
        start=since,
        end=until,
        octets_up=report.octets_up,
        octets_down=report.octets_down,
        rows=[models.UsageRow.model_validate(row) for row in report.rows],
    )


def instant(text: str, zone: ZoneInfo, bound: Bound) -> datetime:
    """Return the instant of `text` in UTC; refuse what is neither a date nor an instant."""
    try:
        if len(text) == len("2026-01-31"):
            day = date.fromisoformat(text) + timedelta(days=1 if bound is Bound.END else 0)
            return datetime.combine(day, time(), zone).astimezone(UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "write 2026-01-31, 2026-01-31T18:00, or with a zone 2026-01-31T18:00:00Z"
        raise bad_request(f"`{bound.value}`: {text!r} is neither a date nor an instant", hint) from None


def _first(moment: datetime, by: models.UsageStep, zone: ZoneInfo) -> datetime:
    """Return the beginning of the hour or local day of `moment`, so that a default span has whole rows."""
    local = moment.astimezone(zone)
    begin = local.replace(minute=0, second=0, microsecond=0)
    return (begin.replace(hour=0) if by is models.UsageStep.DAY else begin).astimezone(UTC)
