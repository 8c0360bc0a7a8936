"""The root of every error the product raises on purpose.

Rule: one base class per room, one sentence per message: what happened, where, and what to do.
"""

LONGEST_LINE = 1_000
"""Characters; a database repeats the statement that failed, with all it was given."""


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line that a person still reads."""
    line = " ".join(str(error).split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …"


class CaudalError(Exception):
    """An error a person can act on; its text is shown on one line."""
