"""Decides which reply attributes a service or a plan may have of its own.

Rule: an attribute is one the dictionary knows and the server does not write itself; a list is one attribute several
times; together they leave room in an answer. Those of a plan are templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.attribute_template import SAMPLE, check, render
from config.checks import show
from config.isp import AttributeEncoder
from config.problems import Mistake
from config.table import Table
from domain.errors import CaudalError

# Beyond this many reply octets a packet of 4,096 (RFC 2865 section 3) could lack room for what the product adds.
MOST_REPLY_OCTETS = 3000
# What the server itself writes into every answer; a second one would break the answer.
OWN_ATTRIBUTES = frozenset(
    {"message-authenticator", "proxy-state", "state", "class", "eap-message", "user-password", "chap-password"}
)

Pairs = tuple[tuple[str, str], ...]


def read_attributes(table: Table, encode: AttributeEncoder) -> tuple[Pairs, bytes]:
    """Return the attributes of a service and the octets that a packet carries for them."""
    pairs = []
    octets = b""
    for name, text in _texts(table):
        try:
            octets += _encoded(name, text, encode)
            pairs.append((name, text))
        except CaudalError as error:
            table.report(str(error), name)
    _check_room(table, len(octets))
    return tuple(pairs), octets


def read_pairs(table: Table) -> Pairs:
    """Return the attributes of a plan by name; only their templates are examined."""
    pairs = []
    for name, text in _texts(table):
        try:
            pairs.append((name, check(text)))
        except Mistake as mistake:
            table.report(str(mistake), name)
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def check_pairs(table: Table, pairs: Pairs, encode: AttributeEncoder) -> None:
    """Report the attributes of a plan that no packet could carry, filled in as for some line."""
    octets = 0
    for name, text in pairs:
        try:
            octets += len(_encoded(name, render(text, SAMPLE) or "", encode))
        except CaudalError as error:
            table.report(str(error), name)
    _check_room(table, octets)


def attribute_table(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Return attributes as a file has them: those that come several times as a list."""
    values: dict[str, list[str]] = {}
    for name, text in pairs:
        values.setdefault(name, []).append(text)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


def _texts(table: Table) -> Iterator[tuple[str, str]]:
    for name, value in table.values.items():
        for element in value if isinstance(value, list) else [value]:
            if type(element) is int:
                yield name, str(element)
            elif isinstance(element, str) and "\0" not in element:
                yield name, element
            else:
                table.report(f"must be text or a whole number, not {show(element)}", name)


def _encoded(name: str, text: str, encode: AttributeEncoder) -> bytes:
    if name.lower() in OWN_ATTRIBUTES:
        raise Mistake("is written by the server itself; leave it out")
    return encode(name, text)


def _check_room(table: Table, octets: int) -> None:
    if octets > MOST_REPLY_OCTETS:
        table.report(f"take {octets} octets together; an answer has room for {MOST_REPLY_OCTETS}")
