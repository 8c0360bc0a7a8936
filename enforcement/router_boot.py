"""Tells by the uptime that a router shows whether it has started again since it was looked at.

Rule: uptime is whole seconds, cut off, of some moment while the answer was on its way. So the start lies within an
interval of our own clock, and a router has started again only when the two intervals lie apart.
"""

from __future__ import annotations

from typing import NamedTuple

from enforcement.session_truth import uptime_seconds

SLACK_SECONDS = 2.0
"""How far two clocks run apart between two looks: more than 1 % of the 150 s that lie between them."""


class Boot(NamedTuple):
    """When a router started, in seconds of our monotonic clock."""

    earliest: float
    latest: float

    def is_after(self, before: Boot) -> bool:
        """Tell whether it surely is another, later start than `before`."""
        return self.earliest > before.latest + SLACK_SECONDS


def boot(uptime: str, asked_at: float, told_at: float) -> Boot | None:
    """Return when a router started that showed `uptime` between two instants; None for no uptime."""
    seconds = uptime_seconds(uptime)
    return Boot(asked_at - seconds - 1, told_at - seconds) if seconds else None
