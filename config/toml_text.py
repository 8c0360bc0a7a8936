"""Decides how a value is written in TOML.

Rule: what is written here, `tomllib` reads back as the same value, whatever characters it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, time

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = re.compile(r'[\x00-\x1f"\\\x7f]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def write_table(header: str, values: Mapping[str, object]) -> str:
    """Return a table with its header; keys whose value is None are left out."""
    return "".join([f"{header}\n", *(f"{pair}\n" for pair in _pairs(values))])


def write_value(value: object) -> str:
    """Return text, a number, a boolean, a date, a list or an inline table as TOML has it."""
    match value:
        case str():
            return f'"{_ESCAPED.sub(_escape, value)}"'
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case date() | time():
            return value.isoformat()
        case Mapping():
            return f"{{ {', '.join(_pairs(value))} }}"
        case Iterable():
            return f"[{', '.join(write_value(element) for element in value)}]"
    raise TypeError(f"TOML has no form for {type(value).__name__}")


def _pairs(values: Mapping[str, object]) -> Iterable[str]:
    return (f"{_key(key)} = {write_value(value)}" for key, value in values.items() if value is not None)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else write_value(key)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"
