"""The terms on which a line is served at one moment.

Rule: these are values; `enforcement.entitlement` makes them, login, CoA, the simulation and `explain` read them.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from domain.plan_rules import Direction
from enforcement.explanation import Applied


class Refusal(Enum):
    """Why a line is not let in, or into the walled garden only; the values are stored and shown."""

    BLOCKED = "blocked"
    NO_BALANCE = "no_balance"
    CAP = "cap"
    FUP = "fup"
    HOURS = "hours"
    DISABLED = "disabled"
    EXPIRED = "expired"


class Entitlement(NamedTuple):
    """What a line may do at one moment; rates are bit/s, None is unlimited."""

    admitted: bool
    refusal: Refusal | None
    """Why it is not admitted, or why it is in the walled garden."""
    walled: bool
    download: int | None
    upload: int | None
    burst_download: int | None
    burst_upload: int | None
    burst_threshold_download: int | None
    burst_threshold_upload: int | None
    burst_seconds: int | None
    guaranteed_download: int | None
    guaranteed_upload: int | None
    priority: int | None
    address_list: str | None
    pool: str | None
    """A walled garden's; None: the plan's."""
    redirect_url: str | None
    attributes: tuple[tuple[str, str], ...]
    """The plan's own; their templates are not yet rendered."""
    octets_left: int | None
    """Until usage changes something, at the dearest weight of the plan; None: it never does."""
    left_direction: Direction
    valid_until: datetime | None
    """When time changes something; None: it never does."""
    ends_at: datetime | None
    """When the session must end."""
    overage_octets: int
    warnings: tuple[int, ...]
    """Percentages of the cap that were reached and are warned of."""
    ceiling_warnings: tuple[int, ...]
    """Percentages of what the overage of a period costs at most that were reached and are warned of."""
    rules: tuple[Applied, ...]
    """Those that hold, weakest first."""
