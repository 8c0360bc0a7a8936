"""Decides which rows a `print` with query words shows.

Rule: MikroTik's manual, "API", "Queries": each word pushes a value onto a stack or works on it, in the order given;
what remains on the stack must all be true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Row = Mapping[str, str]
Normalise = Callable[[str, str], str]
"""(property, value as a client writes it) to the value as the box prints it."""

_OPERATION = re.compile(r"(\d+)(\.?)|([!&|.])")


class BadQuery(Exception):
    """The words of a query make no sense."""


def select(queries: Sequence[str], normalise: Normalise) -> Callable[[Row], bool]:
    """Return the test that `queries` ask for; raise BadQuery for one that cannot be applied."""
    steps = [_operations(query[1:]) if query.startswith("#") else _comparison(query, normalise) for query in queries]

    def matches(row: Row) -> bool:
        stack: list[bool] = []
        for step in steps:
            step(row, stack)
        return all(stack)

    matches({})
    return matches


_Step = Callable[[Row, list[bool]], None]


def _comparison(query: str, normalise: Normalise) -> _Step:
    operator = query[:1] if query[:1] in ("-", "<", ">", "=") else ""
    name, found, wanted = query[len(operator) :].partition("=")
    if not found:
        return lambda row, stack: stack.append((name in row) != (operator == "-"))
    value = normalise(name, wanted)
    compare = _COMPARISONS.get(operator, _equal)
    return lambda row, stack: stack.append(name in row and compare(row[name], value))


def _equal(left: str, right: str) -> bool:
    return left == right


def _less(left: str, right: str) -> bool:
    if left.isdecimal() and right.isdecimal():
        return int(left) < int(right)
    return left < right


_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {"<": _less, ">": lambda left, right: _less(right, left)}


def _operations(word: str) -> _Step:
    """Return the step of a `?#` word."""
    found = list(_OPERATION.finditer(word))
    if "".join(match[0] for match in found) != word:
        raise BadQuery(word)

    def work(_row: Row, stack: list[bool]) -> None:
        try:
            for match in found:
                _operate(match, stack, is_last=match.end() == len(word))
        except IndexError:
            raise BadQuery(word) from None

    return work


def _operate(match: re.Match[str], stack: list[bool], *, is_last: bool) -> None:
    if match[1] is not None:
        value = stack[-1 - int(match[1])]
        if is_last and not match[2]:
            stack[:] = [value]
        else:
            stack.append(value)
    elif match[3] == "!":
        stack[-1] = not stack[-1]
    elif match[3] == ".":
        stack.append(stack[-1])
    else:
        right, left = stack.pop(), stack.pop()
        stack.append(left and right if match[3] == "&" else left or right)
