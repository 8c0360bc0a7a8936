"""What goes wrong with a box's API, on demand.

Rule: a fault hits chosen commands: of those whose words begin with `at`, after `after` of them have passed, each
`every`th, `times` times.
What is wrong with the box as a whole (slow, splitting, refusing) holds all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mishap(Enum):
    """What happens to a command that is hit."""

    STALL = "stall"
    """It is never answered, and nothing after it on this connection."""
    FATAL = "fatal"
    """`!fatal` with a reason, and the end of the connection."""
    CUT = "cut"
    """The connection ends in the middle of the reply."""
    TRAP = "trap"
    BARE_TRAP = "bare-trap"
    """`!trap` without a message."""
    GARBLED_TRAP = "garbled-trap"
    """`!trap` with a message that is no UTF-8."""
    REBOOT = "reboot"
    """The box starts again: connections, sessions and dynamic entries are lost, what clients wrote is not."""
    DUPLICATE = "duplicate"
    """The reply comes twice."""


@dataclass(frozen=True, slots=True)
class ApiFaults:
    """How a box's API fails; a fresh one does not."""

    mishap: Mishap | None = None
    at: str = "/"
    """`/queue/simple/add`; logins are hit only by name (`/login`)."""
    after: int = 0
    every: int = 1
    times: int | None = None
    """None: every one from then on."""
    takes_effect: bool = False
    """Whether the box does what it was asked before it fails to say so."""
    calls_per_second: float | None = None
    """A slow box serves all its clients one after the other."""
    write_octets: int | None = None
    """Replies leave in pieces of this size."""
    garbled_comments: bool = False
    """Comments hold an octet that is no UTF-8."""
    refuses_logins: bool = False


SOUND = ApiFaults()


class Aim:
    """Counts the commands that a fault looks at."""

    def __init__(self, faults: ApiFaults = SOUND) -> None:
        self.faults = faults
        self._seen = 0

    def hit(self, words: str) -> Mishap | None:
        """Return what happens to this command."""
        faults = self.faults
        if faults.mishap is None or not words.startswith(faults.at) or (words == "/login" and faults.at != words):
            return None
        self._seen += 1
        number, rest = divmod(self._seen - faults.after, faults.every)
        is_hit = number > 0 and rest == 0 and (faults.times is None or number <= faults.times)
        return faults.mishap if is_hit else None
