"""Decides what a subscription was on each day: events in, phases out.

Rule: an event says what holds from its day on; they are folded in the order of their days (of one day in the order in
which they were written), so it does not matter when they were written. Days on which a subscription is not running,
paused or not yet begun belong to no phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from billing.cycle import Period
from billing.intervals import FOREVER, difference

_ONE = Decimal(1)


class EventKind(Enum):
    """What happened to a subscription; the values are stored."""

    START = "start"
    CHANGE = "change"
    """Another product, price or quantity."""
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    """From this day on it is not sold any more; a later START begins it again."""


class SubscriptionState(Enum):
    """How a subscription is on one day."""

    PENDING = "pending"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of a subscription's history; what is None stays as it was."""

    on: date
    id: int
    kind: EventKind
    product_id: int | None = None
    unit_price: Decimal | None = None
    """Of one unit and one period, in the major unit of the account's currency."""
    quantity: Decimal | None = None
    anchor: date | None = None
    """From where its periods are counted; None: as its product and account say."""


class Phase(NamedTuple):
    """Days on which nothing of a subscription changes."""

    days: Period
    product_id: int
    unit_price: Decimal
    quantity: Decimal
    anchor: date | None


@dataclass(frozen=True, slots=True)
class _Present:
    """What holds while history is folded."""

    state: SubscriptionState = SubscriptionState.PENDING
    product_id: int | None = None
    unit_price: Decimal = Decimal(0)
    quantity: Decimal = _ONE
    anchor: date | None = None

    def after(self, event: Event) -> _Present:
        return replace(
            self,
            state=_STATES.get(event.kind, self.state) if self._obeys(event.kind) else self.state,
            product_id=self.product_id if event.product_id is None else event.product_id,
            unit_price=self.unit_price if event.unit_price is None else event.unit_price,
            quantity=self.quantity if event.quantity is None else event.quantity,
            anchor=self.anchor if event.anchor is None else event.anchor,
        )

    def _obeys(self, kind: EventKind) -> bool:
        """Tell whether an event changes the state: only what runs can be paused, only what is paused resumes."""
        if kind is EventKind.PAUSE:
            return self.state is SubscriptionState.ACTIVE
        return kind is not EventKind.RESUME or self.state is SubscriptionState.PAUSED


_STATES = {
    EventKind.START: SubscriptionState.ACTIVE,
    EventKind.PAUSE: SubscriptionState.PAUSED,
    EventKind.RESUME: SubscriptionState.ACTIVE,
    EventKind.STOP: SubscriptionState.STOPPED,
}


def phases(events: Iterable[Event]) -> list[Phase]:
    """Return the phases of a subscription, oldest first; the last one may end at FOREVER."""
    result: list[Phase] = []
    ordered = sorted(events, key=lambda event: (event.on, event.id))
    present = _Present()
    for place, event in enumerate(ordered):
        present = present.after(event)
        ends = ordered[place + 1].on if place + 1 < len(ordered) else FOREVER
        if present.state is not SubscriptionState.ACTIVE or present.product_id is None or ends <= event.on:
            continue
        phase = Phase(Period(event.on, ends), present.product_id, present.unit_price, present.quantity, present.anchor)
        if result and result[-1].days.ends == event.on and result[-1][1:] == phase[1:]:
            phase = phase._replace(days=Period(result.pop().days.starts, ends))
        result.append(phase)
    return result


def state_on(events: Iterable[Event], day: date) -> SubscriptionState:
    """Return how a subscription is on `day`."""
    present = _Present()
    for event in sorted(events, key=lambda event: (event.on, event.id)):
        if event.on > day:
            break
        present = present.after(event)
    return present.state


def without_days(phase_list: Sequence[Phase], days: list[Period]) -> list[Phase]:
    """Return the phases without some days, such as those on which the whole account rested."""
    return [phase._replace(days=rest) for phase in phase_list for rest in difference([phase.days], days)]
