"""An event loop whose time passes only when nothing is left to be done, so that hours take milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

BEGINS = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it was to wait has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is not None:
            self.seconds += max(0.0, timeout)
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop with a time of its own."""

    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.seconds

    def clock(self) -> datetime:
        """Return the simulated instant."""
        return BEGINS + timedelta(seconds=self.time())


def run(story: Coroutine[Any, Any, None], loop: SimulatedLoop) -> None:
    """Run a story to its end."""
    try:
        loop.run_until_complete(story)
    finally:
        loop.close()
