"""When the next request may go to one router: at its rate, the newest about each session only, gently when it is away.

Rule: pure; time comes in as monotonic seconds. A request that was not answered stays and is tried again after a growing
pause, unless a newer one took its place; a router that answers nothing is taken for away and only probed until it
answers once, and then everything that waits goes at its rate. What another system asks is a guest: it replaces nothing
and is replaced by nothing, and has every second turn at most, so that neither side can starve the other.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from enum import Enum
from math import inf
from typing import Generic, TypeVar

DEFAULT_PER_SECOND = 50.0
BURST_SECONDS = 0.1
"""A bucket holds what comes in this time: a storm is spread evenly, not sent in bursts of a second's worth."""
LATE_SECONDS = 0.1
"""A request may leave so much later than it was let go, and meet those of the next second; 60 ms were seen."""
MOST_IN_FLIGHT = 8
"""At 50 a second a router may take 160 ms to answer each and still be served at its rate."""
MOST_WAITING = 20_000
"""Sessions with something to be told; more than a router carries."""
MOST_GUESTS = 200
"""Guests that wait: as many as every second turn carries in ten seconds, where 50 a second refill with 40."""
SILENT_IN_A_ROW = 5
PROBE_SECONDS = 5.0
"""Pause between probes of a router that is away: six requests of 30 s each are then under way."""
FIRST_BACKOFF_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 300.0

_A_WHOLE_TOKEN = 1 - 1e-9
"""Sums of fractions miss a whole by less than this."""
_A_SHADE_SECONDS = 1e-6
"""Waking this much late is nothing lost; a rounding too early would be a wake for nothing."""

Work = TypeVar("Work")
SessionKey = Hashable


class Ended(Enum):
    """How work ended for the queue."""

    ANSWERED = "answered"
    """The router answered, whatever it said."""
    LATER = "later"
    """It answered that it is short of something (Error-Cause 506): the work stays, for later."""
    SILENT = "silent"
    """It did not answer: the work stays, for later."""
    GIVEN_UP = "given_up"
    """It did not answer, and the work is to be done another way."""
    UNSENT = "unsent"
    """Nothing was sent, which tells nothing of the router; the work is over."""


class _Item(Generic[Work]):
    """What a session waits for."""

    __slots__ = ("due", "failures", "is_guest", "session", "urgent", "work")

    def __init__(self, session: SessionKey, work: Work, *, urgent: bool = False, is_guest: bool = False) -> None:
        self.session = session
        self.work = work
        self.urgent = urgent
        self.is_guest = is_guest
        self.failures = 0
        self.due: float | None = None
        """Until then it rests; None while it may go."""


class RouterQueue(Generic[Work]):
    """What one router is to be told.

    Invariants: in any second at most `per_second` requests go out (or one, where that is less), and in no time more
    than the rate allows but for one burst; at most `most_in_flight` are under way, at most one about each session,
    guests included; what waits about a session is the newest that was pushed; nothing that waits is forgotten unless it
    was replaced or withdrawn; of two turns in a row one is ours when something of ours may go; while the router is away
    at most one request goes out every `PROBE_SECONDS`, about another session each time, and a guest only when nothing
    else waits.
    """

    def __init__(
        self,
        now: float,
        *,
        per_second: float = DEFAULT_PER_SECOND,
        most_in_flight: int = MOST_IN_FLIGHT,
        most_waiting: int = MOST_WAITING,
        most_guests: int = MOST_GUESTS,
        silent_in_a_row: int = SILENT_IN_A_ROW,
    ) -> None:
        if per_second <= 0 or most_in_flight < 1:
            raise ValueError("a router is asked at some rate, one request at a time at least")
        self._most_in_flight = most_in_flight
        self._most_waiting = most_waiting
        self._most_guests = most_guests
        self._silent_in_a_row = silent_in_a_row
        self._per_second = per_second
        self._tokens = self.burst
        self._filled_at = now
        self._waiting: dict[SessionKey, _Item[Work]] = {}
        self._urgent: dict[SessionKey, None] = {}
        self._ordinary: dict[SessionKey, None] = {}
        self._guests: dict[SessionKey, None] = {}
        self._guests_waiting = 0
        self._guest_is_next = True
        self._spoken_to: set[SessionKey] = set()
        """Sessions with a request under way."""
        self._behind: dict[SessionKey, dict[SessionKey, None]] = {}
        """By session: what may go when the request about it has ended."""
        self._resting: list[tuple[float, int, SessionKey]] = []
        self._rests = 0
        self._in_flight: dict[SessionKey, tuple[float, _Item[Work]]] = {}
        self._withdrawn: set[SessionKey] = set()
        self._silent = 0
        self._answered_at = now
        self._probed_at = now
        self.away_since: float | None = None
        """Since when the router is taken for away; None while it answers."""

    @property
    def burst(self) -> float:
        """How many requests may go at once after a pause."""
        return max(1.0, self._per_second * BURST_SECONDS)

    @property
    def _refill_per_second(self) -> float:
        """How fast the bucket fills: with what it holds, and what left late, no second sees more than the rate."""
        return max(self._per_second * (1 - LATE_SECONDS) - self.burst, self._per_second / 2)

    @property
    def waiting(self) -> int:
        """Sessions with something that has not gone yet, or is to go again."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._in_flight)

    def limit(self, per_second: float, now: float) -> None:
        """Go on at another rate."""
        if per_second <= 0:
            raise ValueError("a router is asked at some rate")
        self._fill(now)
        self._per_second = per_second
        self._tokens = min(self._tokens, self.burst)

    def push(self, session_id: SessionKey, work: Work, *, urgent: bool = False) -> bool:
        """Let `work` wait in the place of what waited about its session; False when the queue is full.

        What is urgent goes before a storm, and ends the rest of a session that did not answer.
        """
        item = self._waiting.get(session_id)
        if item is None:
            if len(self._waiting) - self._guests_waiting >= self._most_waiting:
                return False
            item = self._waiting[session_id] = _Item(session_id, work, urgent=urgent)
            self._withdrawn.discard(session_id)
            if session_id not in self._in_flight:
                self._admit(session_id, item)
            return True
        item.work = work
        if urgent and not item.urgent:
            item.urgent = True
            if session_id not in self._in_flight:
                self._ordinary.pop(session_id, None)
                item.due = None
                self._admit(session_id, item)
        return True

    def push_guest(self, key: SessionKey, session_id: SessionKey, work: Work, now: float) -> bool:
        """Let a request of another system wait under a key of its own; False when there is no room.

        It is not tried again, however it ends: who asked does that. There is no room while the router is away either,
        unless its next probe is due and nothing else could be it.
        """
        if self._guests_waiting >= self._most_guests:
            return False
        if self.away_since is not None and (self._waiting or now < self._next_probe_at()):
            return False
        item = self._waiting[key] = _Item(session_id, work, is_guest=True)
        self._guests_waiting += 1
        self._admit(key, item)
        return True

    def withdraw(self, session_id: SessionKey) -> None:
        """Forget what waits under a key; what is under way ends, and is not tried again."""
        item = self._waiting.pop(session_id, None)
        if item is not None:
            self._guests_waiting -= item.is_guest
            for lane in (self._urgent, self._ordinary, self._guests, self._behind.get(item.session, {})):
                lane.pop(session_id, None)
        if session_id in self._in_flight:
            self._withdrawn.add(session_id)

    def ready(self, now: float) -> list[Work]:
        """Return what is to be sent now; each is under way until `done`."""
        self._fill(now)
        self._wake(now)
        sent = []
        while self._tokens >= _A_WHOLE_TOKEN and self._has_room() and self._next_probe_at() <= now:
            session_id = self._next()
            if session_id is None:
                break
            item = self._waiting.pop(session_id)
            self._guests_waiting -= item.is_guest
            self._in_flight[session_id] = (now, item)
            self._spoken_to.add(item.session)
            self._tokens -= 1
            self._probed_at = now
            sent.append(item.work)
        return sent

    def done(self, session_id: SessionKey, ended: Ended, now: float) -> None:
        """Learn how the work about a session ended that `ready` gave."""
        sent_at, item = self._in_flight.pop(session_id)
        withdrawn = session_id in self._withdrawn
        self._withdrawn.discard(session_id)
        self._spoken_to.discard(item.session)
        if ended in (Ended.ANSWERED, Ended.LATER):
            self._hear(now)
        elif ended is not Ended.UNSENT:
            self._miss(sent_at, now)
        stays = ended in (Ended.LATER, Ended.SILENT) and not withdrawn and not item.is_guest
        newer = self._waiting.get(session_id)
        if newer is None:
            if stays:
                self._waiting[session_id] = item
                self._rest(session_id, item, now)
        elif stays:
            newer.failures = item.failures
            self._rest(session_id, newer, now)
        else:
            self._admit(session_id, newer)
        for key in self._behind.pop(item.session, ()):
            self._admit(key, self._waiting[key])

    def next_at(self, now: float) -> float | None:
        """Return when `ready` gives something if nothing happens meanwhile; None: not before a `push` or `done`."""
        if not self._has_room():
            return None
        self._step_behind()
        if self._urgent or self._ordinary or self._guests:
            due = now
        else:
            self._drop_stale()
            if not self._resting:
                return None
            due = self._resting[0][0]
        self._fill(now)
        missing = max(0.0, _A_WHOLE_TOKEN - self._tokens)
        refilled = now + missing / self._refill_per_second + _A_SHADE_SECONDS if missing else now
        return max(due, refilled, self._next_probe_at())

    def _has_room(self) -> bool:
        return len(self._in_flight) < self._most_in_flight

    def _next_probe_at(self) -> float:
        """Return from when on requests may go as far as the router's absence is concerned."""
        return -inf if self.away_since is None else self._probed_at + PROBE_SECONDS

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self._refill_per_second)
            self._filled_at = now

    def _admit(self, key: SessionKey, item: _Item[Work]) -> None:
        own = self._urgent if item.urgent else self._ordinary
        (self._guests if item.is_guest else own)[key] = None

    def _next(self) -> SessionKey | None:
        """Return whose turn it is."""
        self._step_behind()
        lanes = [self._urgent, self._ordinary]
        lanes.insert(0 if self._guest_is_next and self.away_since is None else len(lanes), self._guests)
        for lane in lanes:
            for key in lane:
                del lane[key]
                self._guest_is_next = lane is not self._guests
                return key
        return None

    def _step_behind(self) -> None:
        """Let what is next, but about a session that is spoken to, wait until that has ended."""
        for lane in (self._urgent, self._ordinary, self._guests):
            while lane:
                key = next(iter(lane))
                session = self._waiting[key].session
                if session not in self._spoken_to:
                    break
                del lane[key]
                self._behind.setdefault(session, {})[key] = None

    def _rest(self, session_id: SessionKey, item: _Item[Work], now: float) -> None:
        """Let an item wait longer after each failure; while the router is away its probes set the pace instead.

        They go round over all sessions, the urgent ones too: that a few are deaf must not hide that the router is back.
        """
        if self.away_since is not None:
            self._ordinary[session_id] = None
            return
        item.due = now + min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(item.failures, 16))
        item.failures += 1
        self._rests += 1
        heapq.heappush(self._resting, (item.due, self._rests, session_id))

    def _wake(self, now: float) -> None:
        """Let those go whose rest has ended."""
        while self._resting and self._resting[0][0] <= now:
            self._wake_first()

    def _wake_first(self) -> None:
        due, _, session_id = heapq.heappop(self._resting)
        item = self._waiting.get(session_id)
        if item is not None and item.due == due:
            item.due = None
            self._admit(session_id, item)

    def _drop_stale(self) -> None:
        """Drop rests at the front that were ended early."""
        while self._resting:
            due, _, session_id = self._resting[0]
            item = self._waiting.get(session_id)
            if item is not None and item.due == due:
                return
            heapq.heappop(self._resting)

    def _wake_all(self) -> None:
        while self._resting:
            self._wake_first()

    def _hear(self, now: float) -> None:
        """The router is there: what rested because it was away need not rest on."""
        self._answered_at = now
        self._silent = 0
        if self.away_since is not None:
            self.away_since = None
            for session_id, item in self._waiting.items():
                item.failures = 0
                if item.urgent and session_id in self._ordinary:
                    del self._ordinary[session_id]
                    self._urgent[session_id] = None

    def _miss(self, sent_at: float, now: float) -> None:
        """Count a silence, unless the router has answered something that was asked later or meanwhile."""
        if sent_at < self._answered_at:
            return
        self._silent += 1
        if self._silent >= self._silent_in_a_row and self.away_since is None:
            self.away_since = now
            self._probed_at = now
            self._wake_all()
