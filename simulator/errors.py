"""What can be wrong with a fleet before it sends its first datagram."""

from __future__ import annotations

from domain.errors import CaudalError


class SimulatorError(CaudalError):
    """The fleet cannot be built or cannot reach the network; the text says what to change."""
