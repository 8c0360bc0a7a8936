"""Routes over the lines: sessions, their live watch, refused logins and quarantined records, newest first.

Rule: a page is cut by (instant, id); rows that arrive while a client pages come before its first page and disturb none.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Protocol, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from control import models, watch
from control.errors import not_found
from control.questions import (
    DEFAULT_LIMIT,
    AfterPosition,
    Limit,
    NameFilter,
    Number,
    Ports,
    Since,
    cursor,
    position,
    require,
)
from domain.names import login_key
from storage import sessions
from storage.listing import Page
from storage.sessions import Position

routes = APIRouter(tags=["sessions"])


class Placed(Protocol):
    """A row that knows its place in a listing."""

    @property
    def position(self) -> Position: ...


Row = TypeVar("Row", bound=Placed)
Item = TypeVar("Item", bound=models.Answer)


class SessionChoice(Enum):
    """Which sessions a listing shows."""

    OPEN = "open"
    ALL = "all"


@routes.get("/sessions")
def list_sessions(
    ports: Ports,
    show: Annotated[SessionChoice, Query(description="Open ones, or the past ones too.")] = SessionChoice.OPEN,
    login: NameFilter = None,
    router: NameFilter = None,
    since: Since = None,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterPosition = None,
) -> models.Listing[models.Session]:
    """List sessions, the newest first; of one login, of one router, or started since an instant."""
    require(ports, router=router)
    wanted = sessions.SessionFilter(
        state=sessions.SessionState.OPEN if show is SessionChoice.OPEN else None,
        login=None if login is None else login_key(login),
        router=router,
        since=since,
    )
    return _listing(sessions.sessions(ports.engine, wanted, position(after), limit), watch.session)


@routes.get(
    "/sessions/watch",
    response_class=StreamingResponse,
    responses={200: {"model": models.WatchEvent, "description": "One such object a line, without end."}},
)
async def watch_sessions(
    request: Request,
    ports: Ports,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most sessions in one line of the answer.")] = 200,
) -> StreamingResponse:
    """Stream the open sessions heard last, then what changes, each second, as lines of JSON."""
    lines = watch.lines(ports.engine, ports.now, request.app.state.closing, limit)
    return StreamingResponse(lines, media_type="application/x-ndjson")


@routes.get("/sessions/{number}")
def show_session(ports: Ports, number: Number) -> models.SessionDetail:
    """Show one session with every address it had."""
    row = sessions.session(ports.engine, number)
    if row is None:
        raise not_found("session", str(number), "see `caudal session list --past`")
    earlier = [
        models.EarlierAddress.model_validate(entry) for entry in sessions.earlier_addresses(ports.engine, number)
    ]
    return models.SessionDetail(**dict(watch.session(row)), earlier_addresses=earlier)


@routes.get("/logins")
def list_refused_logins(
    ports: Ports,
    login: NameFilter = None,
    reason: NameFilter = None,
    since: Since = None,
    limit: Limit = DEFAULT_LIMIT,
    after: AfterPosition = None,
) -> models.Listing[models.RefusedLogin]:
    """List refused logins, the newest first; of one login, for one reason, or since an instant."""
    wanted = sessions.RefusalFilter(None if login is None else login_key(login), reason, since)
    page = sessions.refusals(ports.engine, wanted, position(after), limit)
    return _listing(page, models.RefusedLogin.model_validate)


@routes.get("/quarantine")
def list_quarantine(
    ports: Ports, limit: Limit = DEFAULT_LIMIT, after: AfterPosition = None
) -> models.Listing[models.QuarantinedRecord]:
    """List the accounting records that could not be booked, the newest first."""
    return _listing(sessions.quarantined(ports.engine, position(after), limit), _record)


def _listing(page: Page[Row], worded: Callable[[Row], Item]) -> models.Listing[Item]:
    following = cursor(page.rows[-1].position) if page.more else None
    return models.Listing(items=[worded(row) for row in page.rows], next=following)


def _record(row: sessions.QuarantineRow) -> models.QuarantinedRecord:
    return models.QuarantinedRecord(
        id=row.id,
        received_at=row.received_at,
        router=row.router,
        reason=row.reason,
        octets=len(row.datagram),
        datagram=row.datagram.hex(),
    )
