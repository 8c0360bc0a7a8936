"""Quantities as people read them.

Rule: decimal units as networks are sold (1 GB = 10**9 octets), one decimal; exact numbers are for --json.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_STEP = 1000
_ROUND_UP = 999.95
"""From here a number with one decimal would read 1000.0."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_AGES = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY}


def octets(number: int) -> str:
    """Return `number` octets, such as `1.4 GB`."""
    return _scaled(number, "B")


def bits_per_second(number: float) -> str:
    """Return a rate, such as `20.0 Mbit/s`."""
    return _scaled(number, "bit/s")


def limit_bits_per_second(number: int | None) -> str:
    """Return a provisioned rate exactly, such as `20 Mbit/s`."""
    if number is None:
        return "unlimited"
    size = 0
    while number % _STEP == 0 and number and size < len(_PREFIXES) - 1:
        number, size = number // _STEP, size + 1
    return f"{number:,} {_PREFIXES[size]}bit/s"


def duration(seconds: float) -> str:
    """Return a duration by its two largest units, such as `2 d 3 h`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def ago(instant: str | None, now: datetime) -> str:
    """Return how long before `now` an instant of the API was."""
    if instant is None:
        return ""
    seconds = (now - moment(instant)).total_seconds()
    return f"in {duration(-seconds)}" if seconds <= -1 else f"{duration(seconds)} ago"


def local(instant: str | None) -> str:
    """Return an instant of the API in the terminal's zone, to the second."""
    return "" if instant is None else moment(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment(instant: str) -> datetime:
    """Return an instant of the API."""
    return datetime.fromisoformat(instant)


def since(text: str, now: datetime) -> str | None:
    """Return `90s`, `30m`, `2h`, `7d`, a date or an instant as the API reads it; None for anything else."""
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _AGES and number.isdecimal():
            return (now - timedelta(seconds=int(number) * _AGES[unit])).isoformat()
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        return None


def _scaled(number: float, unit: str) -> str:
    size = 0
    while number >= (_STEP if size == 0 else _ROUND_UP) and size < len(_PREFIXES) - 1:
        number, size = number / _STEP, size + 1
    return f"{number:.0f} {unit}" if size == 0 else f"{number:.1f} {_PREFIXES[size]}{unit}"
