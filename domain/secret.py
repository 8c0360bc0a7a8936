"""Secrets that cannot be printed by accident.

Rule: a password or shared secret travels as `Secret`; only the code that needs the octets calls `reveal`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Octets that `repr`, `str` and log formatting show as `***`."""

    _octets: bytes

    @classmethod
    def from_text(cls, text: str) -> Secret:
        """Wrap `text` as UTF-8."""
        return cls(text.encode())

    def reveal(self) -> bytes:
        """Return the octets."""
        return self._octets

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"
