"""The root of every error the product raises on purpose.

Rule: one base class per room, one sentence per message: what happened, where, and what to do.
"""


class CaudalError(Exception):
    """An error a person can act on; its text is shown on one line."""
