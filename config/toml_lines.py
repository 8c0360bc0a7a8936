"""Decides on which line of a TOML document a table, an array element or a key stands.

Rule: the document has already been accepted by `tomllib`; this module only finds places (TOML 1.0 syntax), so that
every mistake can be shown with its line. A place is a path such as `("service", 41, "plan")`.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Collection, Mapping

Path = tuple[str | int, ...]

# No possessive groups: those of Python 3.11.2, which Debian 12 ships, match wrongly (python/cpython#101955).
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL_STRING = re.compile(r"'[^'\n]*'")
_LONG_BASIC_STRING = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL_STRING = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")
_POSITION = re.compile(r"\(at line (\d+), column \d+\)")


def find_lines(text: str, paths: Collection[Path]) -> dict[Path, int]:
    """Return the line (from 1) of each path; of the nearest enclosing thing where the path itself is not written."""
    wanted = {path[:length] for path in paths for length in range(len(path) + 1)}
    offsets = _Scanner(text, wanted).scan()
    line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return {path: bisect_right(line_starts, _nearest(offsets, path)) for path in paths}


def syntax_error_line(text: str, error: tomllib.TOMLDecodeError) -> int:
    """Return the line which `tomllib` complains about; the last one where it says only `at end of document`."""
    position = _POSITION.search(str(error))
    return int(position[1]) if position else max(1, len(text.splitlines()))


def _nearest(offsets: Mapping[Path, int], path: Path) -> int:
    while path not in offsets:
        path = path[:-1]
    return offsets[path]


class _Scanner:
    """Walks a valid document once and remembers the offset of each wanted path."""

    def __init__(self, text: str, wanted: Collection[Path]) -> None:
        self._text = text
        self._wanted = wanted
        self._position = 0
        self._offsets: dict[Path, int] = {(): 0}
        self._last_element: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._position] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._offsets

    def _header(self) -> Path:
        start = self._position
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._position += brackets
        *parents, name = self._key()
        self._position += brackets
        path: Path = ()
        for part in parents:
            path = self._element(self._found((*path, part), start))
        path = self._found((*path, name), start)
        if brackets == 1:
            return path
        self._last_element[path] = self._last_element.get(path, -1) + 1
        return self._found(self._element(path), start)

    def _pair(self, table: Path) -> None:
        start = self._position
        path = table
        for part in self._key():
            path = self._found((*path, part), start)
        self._position += 1  # the equals sign
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            parts.append(self._key_part())
            self._skip(_SPACE)
            if not self._text.startswith(".", self._position):
                return parts
            self._position += 1

    def _key_part(self) -> str:
        start = self._position
        quote = self._text[start]
        if quote == '"':
            self._skip(_BASIC_STRING)
            return str(tomllib.loads(f"key = {self._text[start : self._position]}")["key"])
        self._skip(_LITERAL_STRING if quote == "'" else _BARE_KEY)
        return self._text[start : self._position].strip("'")

    def _value(self, path: Path) -> None:
        start = self._skip(_SPACE)
        opening = self._text[start]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening == '"':
            self._skip(_LONG_BASIC_STRING if self._text.startswith('"""', start) else _BASIC_STRING)
        elif opening == "'":
            self._skip(_LONG_LITERAL_STRING if self._text.startswith("'''", start) else _LITERAL_STRING)
        else:
            self._skip(_BARE_VALUE)

    def _array(self, path: Path) -> None:
        self._position += 1
        index = 0
        while self._text[self._skip(_BLANK)] != "]":
            self._value(self._found((*path, index), self._position))
            index += 1
            self._skip_comma()
        self._position += 1

    def _inline_table(self, path: Path) -> None:
        self._position += 1
        while self._text[self._skip(_BLANK)] != "}":
            self._pair(path)
            self._skip_comma()
        self._position += 1

    def _skip_comma(self) -> None:
        if self._text.startswith(",", self._skip(_BLANK)):
            self._position += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._position)
        if match:
            self._position = match.end()
        return self._position

    def _found(self, path: Path, offset: int) -> Path:
        if path in self._wanted:
            self._offsets.setdefault(path, offset)
        return path

    def _element(self, path: Path) -> Path:
        return (*path, self._last_element[path]) if path in self._last_element else path
