"""One line that is not proven yet, from the order that made it work until its router was shown to obey.

Rule: of a session the newest wish counts, and what may be in force is never forgotten before something was proven.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from daemon.enforcement_orders import Order
from enforcement.entitlement import Entitlement
from enforcement.line_change import DISCONNECTION, LineChange
from enforcement.reconcile import LineState, Stage


class Work:
    """One line that is not proven yet."""

    __slots__ = (
        "before",
        "busy",
        "candidates",
        "change",
        "is_disproved",
        "is_due",
        "line",
        "newer",
        "order",
        "parked",
        "timer",
        "wire_us",
    )

    def __init__(self, order: Order) -> None:
        self.order = order
        self.line = order.state
        self.before = order.before
        self.candidates = order.candidates
        self.change: LineChange = DISCONNECTION
        self.newer: Order | None = None
        self.busy = False
        self.is_due = False
        """It need not rest before its next attempt."""
        self.is_disproved = False
        """Another system changed the session during the step that is under way."""
        self.wire_us: int | None = None
        """How long after its cause the first request about this order left; None: nothing was sent about it yet."""
        self.parked = False
        """It waits in the queue of its router."""
        self.timer: asyncio.TimerHandle | None = None

    def wish(self, order: Order) -> None:
        """Take a newer order in the place of the one before."""
        told = self.order.wish.entitlement
        self.line = self.line.desire(order.state.desired, admitted=order.state.admitted, now=order.state.desired_since)
        if self.line.proven is None:
            self.candidates = _some((*order.candidates, told, self.before))
            self.before = None
        self.order = order
        self.wire_us = None

    def forget(self) -> None:
        """Take nothing that was shown for true any more: another system has changed the session."""
        self.is_disproved = False
        self.candidates = _some((*self.candidates, self.before, self.order.wish.entitlement))
        self.before = None
        self.line = replace(self.line, proven=None, stage=Stage.NOTHING)

    def learn(self, line: LineState) -> None:
        """Take the state after a step."""
        self.line = line
        if line.is_proven:
            self.before = self.order.wish.entitlement


def _some(entitlements: Iterable[Entitlement | None]) -> tuple[Entitlement, ...]:
    return tuple(dict.fromkeys(each for each in entitlements if each is not None))
