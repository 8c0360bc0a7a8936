"""What refused logins leave behind: a delay, a row a minute, and nothing that a flood could make grow.

Rule: a right password is never held back, however many wrong ones came before it; only the answers to wrong ones slow
down. Equal refusals of a minute are one row. A device that keeps asking although it is refused (DHCP clients come back
at once, with a new NAS-Port each time) is looked up once a second. Who is let into the walled garden without a proof is
refused all the same: written down, and no more often than a garden can bear.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from domain.instants import SECOND_US, Microseconds
from domain.plan_rules import Blocking, BlockPolicy
from enforcement.admission import RefusalReason
from enforcement.credentials import Method
from enforcement.profiles import NasProfile

MINUTE_US = 60 * SECOND_US
MOST_ROWS_A_MINUTE = 10_000
"""Distinct refusals that one worker stores in a minute; what comes above is stored together, without names."""
MOST_WATCHED = 20_000
"""Logins or devices whose refusals are counted at once."""
PATIENCE = 10
"""Wrong passwords of a login from one router within a minute before its delay grows."""
JITTER = 0.2
"""Part of the delay that is random (draft-ietf-radext-deprecating-radius §8.3)."""
DEVICE_PATIENCE = 5
DEVICE_WINDOW_US = 10 * SECOND_US
DEVICE_PAUSE_US = SECOND_US
"""A device refused more than 5 times within 10 s is looked up once a second."""

STRANGERS_A_MINUTE = 300
"""Logins without proof that one worker lets into the walled garden from one router."""
STRANGER_PATIENCE = 5
"""Such logins under one name from one router within a minute; more is guessing."""
STRANGER_SECONDS = 600
"""How long such a session lasts: the router asks again, and finds the password right that was set right meanwhile."""

_GARDEN_REASONS = {RefusalReason.UNKNOWN_USER: "unknown", RefusalReason.WRONG_PASSWORD: "wrong_password"}
_GARDEN_METHODS = (Method.PAP, Method.CHAP, Method.NONE)
"""MS-CHAP's client wants to see that the server knows the password; without one there is nothing to show."""


class RefusalKey(NamedTuple):
    """What makes two refusals equal."""

    minute: int
    login: str
    reason: RefusalReason
    method: Method
    router_id: int
    mac: str | None
    service_id: int | None


class RefusalRow(NamedTuple):
    """A row to store: a new one, or more attempts of the stored one `row_id`."""

    key: RefusalKey
    first_us: Microseconds
    attempts: int
    row_id: int | None


class RefusalLog:
    """Gathers refusals until they are stored."""

    def __init__(self, most_rows: int = MOST_ROWS_A_MINUTE) -> None:
        self._most_rows = most_rows
        self._minute = 0
        self._stored: dict[RefusalKey, int] = {}
        self._waiting: dict[RefusalKey, tuple[Microseconds, int]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, key: RefusalKey, now_us: Microseconds) -> None:
        """Count one refusal."""
        if key.minute != self._minute:
            self._minute = key.minute
            self._stored.clear()
        waiting = self._waiting
        if key not in waiting and key not in self._stored and len(waiting) + len(self._stored) >= self._most_rows:
            key = key._replace(login="", mac=None, service_id=None)
        first_us, attempts = waiting.get(key, (now_us, 0))
        waiting[key] = (first_us, attempts + 1)

    def take(self) -> list[RefusalRow]:
        """Return what waits, for storing; `give_back` it when that failed."""
        rows = [
            RefusalRow(key, first_us, attempts, self._stored.get(key))
            for key, (first_us, attempts) in self._waiting.items()
        ]
        self._waiting.clear()
        return rows

    def give_back(self, rows: list[RefusalRow]) -> None:
        """Let rows that could not be stored wait again."""
        for row in rows:
            first_us, attempts = self._waiting.get(row.key, (row.first_us, 0))
            if attempts or len(self._waiting) < self._most_rows:
                self._waiting[row.key] = (min(first_us, row.first_us), attempts + row.attempts)

    def stored(self, key: RefusalKey, row_id: int) -> None:
        """Remember where the rest of this minute's equal refusals go."""
        if key.minute == self._minute:
            self._stored[key] = row_id


class _Window:
    """How often each subject was seen since its window began; bounded."""

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._counts: dict[tuple[int, str], tuple[int, int]] = {}

    def count(self, subject: tuple[int, str], now_us: Microseconds) -> int:
        """Count once more and return how often by now."""
        begun_us, count = self._counts.get(subject, (now_us, 0))
        if now_us - begun_us >= self._window_us:
            begun_us, count = now_us, 0
        elif subject not in self._counts and len(self._counts) >= MOST_WATCHED:
            self._counts.clear()
        self._counts[subject] = (begun_us, count + 1)
        return count + 1


class RejectDelay:
    """How long an Access-Reject waits."""

    def __init__(self, milliseconds: int | None, chance: Callable[[], float] = random.random) -> None:
        self._milliseconds = milliseconds
        self._chance = chance
        self._wrong = _Window(MINUTE_US)

    def set(self, milliseconds: int | None) -> None:
        """Change the configured delay; None leaves it to the profiles."""
        self._milliseconds = milliseconds

    def seconds(
        self, profile: NasProfile, reason: RefusalReason, router_id: int, login: str, now_us: Microseconds
    ) -> float:
        """Return the delay: the configured or the profile's own, longer for who keeps guessing.

        It is never so long that the NAS takes the server for dead.
        """
        configured = self._milliseconds
        least = profile.reject_delay_milliseconds if configured is None else configured
        longest = max(least, profile.longest_reject_delay_milliseconds / (1 + JITTER))
        delay = float(least)
        if reason in (RefusalReason.WRONG_PASSWORD, RefusalReason.UNKNOWN_USER):
            times = self._wrong.count((router_id, login), now_us)
            delay *= max(1.0, times / PATIENCE)
        return min(delay, longest) * (1 + JITTER * self._chance()) / 1000


class _Nuisance(NamedTuple):
    reason: RefusalReason
    asked_us: Microseconds


class DeviceThrottle:
    """Which devices keep asking although they are refused."""

    def __init__(self) -> None:
        self._refusals = _Window(DEVICE_WINDOW_US)
        self._nuisances: dict[tuple[int, str], _Nuisance] = {}

    def refusal_in_force(self, router_id: int, login: str, now_us: Microseconds) -> RefusalReason | None:
        """Return the refusal that still answers this device without looking it up again."""
        nuisance = self._nuisances.get((router_id, login))
        if nuisance is None or now_us - nuisance.asked_us >= DEVICE_PAUSE_US:
            return None
        return nuisance.reason

    def refused(self, router_id: int, login: str, reason: RefusalReason, now_us: Microseconds) -> None:
        """Learn of a refusal after a look-up."""
        subject = (router_id, login)
        if self._refusals.count(subject, now_us) > DEVICE_PATIENCE:
            if len(self._nuisances) >= MOST_WATCHED:
                self._nuisances.clear()
            self._nuisances[subject] = _Nuisance(reason, now_us)


class GardenGate:
    """Which refused logins are let into the walled garden all the same."""

    def __init__(self) -> None:
        self._by_router = _Window(MINUTE_US)
        self._by_login = _Window(MINUTE_US)

    @staticmethod
    def wants(blocking: Blocking, reason: RefusalReason, method: Method) -> bool:
        """Tell whether the ISP lets such logins in, and the method allows it."""
        name = _GARDEN_REASONS.get(reason)
        return name is not None and method in _GARDEN_METHODS and blocking.of(name) is BlockPolicy.WALLED_GARDEN

    def has_room(self, router_id: int, login: str, now_us: Microseconds) -> bool:
        """Count a login and tell whether there is room for it."""
        if self._by_login.count((router_id, login), now_us) > STRANGER_PATIENCE:
            return False
        return self._by_router.count((router_id, ""), now_us) <= STRANGERS_A_MINUTE
