"""The root of what billing raises on purpose."""

from __future__ import annotations

from domain.errors import CaudalError


class BillingError(CaudalError):
    """What is owed cannot be computed as asked."""
