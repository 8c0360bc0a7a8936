"""The parameters that questions share: names, instants, and the place in a listing where a page begins.

Rule: what cannot be asked of the database (a NUL in a name, an id beyond a bigint) is refused here, before it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import AwareDatetime
from sqlalchemy import RowMapping

from control.errors import bad_request, not_found
from control.ports import ControlPorts
from domain.instants import Microseconds, to_datetime, to_microseconds
from storage import listing
from storage.sessions import Position

LARGEST_PAGE = 1000
"""Rows of a page: 0.5 MB of JSON and some 50 ms of work; a client that wants more asks again."""
LONGEST_NAME = 253
"""RFC 2865 §5: the longest value of an attribute, so of a User-Name."""
LARGEST_ID = 2**63 - 1
"""PostgreSQL's bigint."""
_NO_NUL = r"^[^\x00]*$"

Name = Annotated[str, Path(max_length=LONGEST_NAME, pattern=_NO_NUL)]
Number = Annotated[int, Path(ge=1, le=LARGEST_ID)]
NameFilter = Annotated[str | None, Query(max_length=LONGEST_NAME, pattern=_NO_NUL)]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="The most rows in the answer.")]
AfterName = Annotated[
    str | None, Query(max_length=LONGEST_NAME, pattern=_NO_NUL, description="`next` of the page before.")
]
AfterNumber = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")]
AfterPosition = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]
Since = Annotated[AwareDatetime | None, Query(description="RFC 3339, with its zone.")]

DEFAULT_LIMIT = 50


def ports_of(request: Request) -> ControlPorts:
    """Return what the application was created with."""
    ports = request.app.state.ports
    assert isinstance(ports, ControlPorts)
    return ports


Ports = Annotated[ControlPorts, Depends(ports_of)]


def require(ports: ControlPorts, **names: str | None) -> None:
    """Refuse a filter by a router, plan or customer that does not exist: nothing would be found, for another reason."""
    for kind, name in names.items():
        if name is not None and not listing.is_there(ports.engine, kind, name):
            raise not_found(kind, name, f"see `caudal {kind} list`")


def before(after: str | None) -> int | None:
    """Return the id below which a page begins whose newest rows come first."""
    return None if after is None else int(after)


def following(rows: Sequence[RowMapping], limit: int) -> str | None:
    """Return `next` of a page for which one row more than `limit` was asked."""
    return str(rows[limit - 1]["id"]) if len(rows) > limit else None


def cursor(position: Position) -> str:
    """Return the text of a position: microseconds since the epoch, and id."""
    return f"{to_microseconds(position.instant)}-{position.id}"


def position(text: str | None) -> Position | None:
    """Return the position that `cursor` wrote; refuse any other text."""
    if text is None:
        return None
    instant, dash, number = text.rpartition("-")
    try:
        place = Position(to_datetime(Microseconds(int(instant))), int(number))
    except (ValueError, OverflowError):
        place = None
    if not dash or place is None or not 0 < place.id <= LARGEST_ID:
        raise bad_request(f"{text!r} is no cursor", "give `next` of the page before, or leave `after` away")
    return place
