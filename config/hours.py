"""Decides how weekdays and hours of the day are written.

Rule: `mon-fri 08:00-20:00`; days are names, ranges that may go round the week, or several with commas. Hours that end
at or before their beginning go on into the next day, and 24:00 is the end of a day.
"""

from __future__ import annotations

import re

from config.checks import show
from config.problems import Mistake
from config.table import Table
from domain.plan_rules import EVERY_DAY, MINUTES_IN_A_DAY, Window

NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WHOLE_DAY = (0, MINUTES_IN_A_DAY)

_DAYS = re.compile(rf"({'|'.join(NAMES)})(?:-({'|'.join(NAMES)}))?")
_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2}) ?- ?([0-9]{1,2}):([0-9]{2})")


def days(value: object) -> frozenset[int]:
    """Accept weekdays such as `mon-fri` or `sat,sun`; Monday is 0."""
    found: set[int] = set()
    for part in value.lower().split(",") if isinstance(value, str) else [""]:
        match = _DAYS.fullmatch(part.strip())
        if match is None:
            raise Mistake(f'must be days such as "mon-fri" or "sat,sun", not {show(value)}')
        first = NAMES.index(match[1])
        last = NAMES.index(match[2] or match[1])
        found.update((first + step) % len(NAMES) for step in range((last - first) % len(NAMES) + 1))
    return frozenset(found)


def hours(value: object) -> tuple[int, int]:
    """Accept hours such as `08:00-20:00` and return the minutes at which they begin and end."""
    match = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Mistake(f'must be hours such as "08:00-20:00", not {show(value)}')
    begins, ends = (_minute(match[at], match[at + 1]) for at in (1, 3))
    if begins is None or ends is None or begins == MINUTES_IN_A_DAY:
        raise Mistake(f"must be hours from 00:00 to 24:00, not {show(value)}")
    return begins, ends or MINUTES_IN_A_DAY


def window(value: object) -> Window:
    """Accept days, hours, or both with a blank between: `mon-fri 08:00-20:00`."""
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise Mistake(f'must be days and hours such as "mon-fri 08:00-20:00", not {show(value)}')
    first, blank, rest = text.partition(" ")
    if first[0].isdigit():
        return Window(EVERY_DAY, *hours(text))
    return Window(days(first), *(hours(rest.strip()) if blank else WHOLE_DAY))


def windows(value: object) -> tuple[Window, ...]:
    """Accept a list of windows, none twice."""
    if not isinstance(value, list):
        raise Mistake(f'must be a list such as ["mon-fri 08:00-20:00"], not {show(value)}')
    found = tuple(window(element) for element in value)
    if len(set(found)) < len(found):
        raise Mistake("must not have the same hours twice")
    return found


def read_window(table: Table) -> Window:
    """Return the window of a table: its `days`, else all, and its `hours`, else the whole day."""
    return Window(table.take("days", days, EVERY_DAY), *table.take("hours", hours, WHOLE_DAY))


def write_window(window: Window) -> str:
    """Return a window as `window` reads it."""
    return f"{write_days(window.weekdays)} {write_hours(window)}"


def window_document(window: Window) -> dict[str, object]:
    """Return the keys of a window."""
    return {"days": write_days(window.weekdays), "hours": write_hours(window)}


def write_days(weekdays: frozenset[int]) -> str:
    """Return weekdays as `days` reads them, those that follow each other as a range."""
    runs: list[list[int]] = []
    for day in sorted(weekdays):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(NAMES[run[0]] if len(run) == 1 else f"{NAMES[run[0]]}-{NAMES[run[-1]]}" for run in runs)


def write_hours(window: Window) -> str:
    """Return the hours of a window as `hours` reads them."""
    return f"{_write_minute(window.begins)}-{_write_minute(window.ends)}"


def _minute(hour: str, minute: str) -> int | None:
    found = int(hour) * 60 + int(minute)
    return found if int(minute) < 60 and found <= MINUTES_IN_A_DAY else None


def _write_minute(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
