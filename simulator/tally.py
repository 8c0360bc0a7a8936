"""Counts what a fleet sent, heard and missed.

Rule: a request is counted once, however often it is sent; the time of an answer runs from its first sending.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, fields

BUCKET_US = 100
"""Resolution of answer times."""
LONGEST_US = 4_000_000
"""Above three sends of 1.1 s each; longer ones fall into the last bucket."""


class AnswerTimes:
    """A histogram of answer times with constant memory."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything counted."""
        self._buckets = array("Q", bytes(8 * (LONGEST_US // BUCKET_US)))
        self.count = 0

    def add(self, duration_us: int) -> None:
        """Count one answer."""
        self._buckets[min(max(duration_us, 0) // BUCKET_US, len(self._buckets) - 1)] += 1
        self.count += 1

    def percentile_milliseconds(self, share: float) -> float | None:
        """Return the time within which `share` of the answers came; None without answers."""
        wanted = self.count * share
        seen = 0
        for index, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return (index + 1) * BUCKET_US / 1_000
        return None


@dataclass(slots=True)
class Tally:
    """Numbers of one fleet since it started."""

    access_requests: int = 0
    accepts: int = 0
    rejects: int = 0
    distrusted: int = 0
    """Accepts without the proof that MS-CHAPv2 asks for, or with rates that no router understands."""
    accounting_requests: int = 0
    accounting_responses: int = 0
    sessions_started: int = 0
    sessions_stopped: int = 0
    retransmissions: int = 0
    timeouts: int = 0
    congested: int = 0
    """Requests not sent because every identifier of every socket was waiting."""
    forged: int = 0
    """Answers with a wrong or missing authenticator."""
    late: int = 0
    """Genuine answers to a request that was already answered or given up."""
    malformed: int = 0
    unreachable: int = 0
    """Datagrams the host refused: nothing listens at the server's port, or the send buffer is full."""
    datagrams_lost: int = 0
    datagrams_duplicated: int = 0
    datagrams_delayed: int = 0
    reboots: int = 0
    coa_acknowledged: int = 0
    coa_refused: int = 0
    disconnects_acknowledged: int = 0
    disconnects_refused: int = 0
    dynamic_duplicates: int = 0
    dynamic_dropped: int = 0
    octets_up: int = 0
    octets_down: int = 0
    answer_times: AnswerTimes = field(default_factory=AnswerTimes)
    recent_answer_times: AnswerTimes = field(default_factory=AnswerTimes)

    @property
    def requests(self) -> int:
        """Return the number of distinct requests."""
        return self.access_requests + self.accounting_requests

    @property
    def answers(self) -> int:
        """Return the number of answered requests."""
        return self.answer_times.count

    def answered(self, duration_us: int) -> None:
        """Count an answer that came `duration_us` after the first sending."""
        self.answer_times.add(duration_us)
        self.recent_answer_times.add(duration_us)

    def numbers(self) -> dict[str, int]:
        """Return every plain counter by name."""
        values = ((known.name, getattr(self, known.name)) for known in fields(self))
        return {name: value for name, value in values if isinstance(value, int)}
