"""What the evaluation hands to the lines at work: one session, what it should get, and what may be in force.

Rule: these are values; they cross from the thread that evaluates into the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from enforcement.entitlement import Entitlement
from enforcement.line_change import Wish
from enforcement.reconcile import LineState
from radius.dynamic_authorization import SessionNames


@dataclass(frozen=True, slots=True)
class Crossing:
    """How far a line was beyond its threshold when that was seen."""

    at: datetime
    beyond_octets: int
    session_octets: int
    """Of the session at that moment, up and down together."""
    limit_octets: int
    """What may be used of the period in which it was crossed."""


@dataclass(frozen=True, slots=True)
class Order:
    """A line that is not proven."""

    state: LineState
    service_id: int
    router_id: int
    router: str
    """Its name."""
    nas: str
    """Which box of a router entry that stands for several."""
    names: SessionNames
    wish: Wish
    before: Entitlement | None
    """What is in force; None: that is not known."""
    candidates: tuple[Entitlement, ...]
    """What may be in force then."""
    caused_at: datetime
    """When that happened which changed what the line should get."""
    urgent: bool
    """Somebody waits for it: it goes before a storm."""
    crossing: Crossing | None = None
