"""Tells the log what was bought for a line, beside what enforcement tells of it: crossed, bought, proven.

Rule: a purchase is told once, after its commit; what was sent again under its key is none.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from control.ports import ControlPorts
from storage.top_ups import Origin

_LOG = structlog.get_logger()


def note_top_up(ports: ControlPorts, login: str, offer: str, origin: Origin, *, asked_at: datetime) -> None:
    """Log a top-up that was bought; its latency is from the question to the commit."""
    latency = ports.now() - asked_at
    _LOG.info(
        "top-up bought",
        login=login,
        top_up=offer,
        origin=origin.value,
        latency_ms=round(latency.total_seconds() * 1000, 1),
    )
