"""The root of what can stop a measurement.

Rule: a measurement that cannot be made is an error with its reason, never a number.
"""

from domain.errors import CaudalError


class BenchError(CaudalError):
    """A measurement could not be made."""
