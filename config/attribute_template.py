"""Decides what a plan's own reply attributes may say of the line: names in braces, and nothing else.

Rule: `{download}` is replaced by a value of the line, `{{` and `}}` are braces; no expression, index or format is ever
evaluated. An attribute that names something the line does not have is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from types import MappingProxyType

from config.checks import listed, show, suggestion
from config.problems import Mistake

KILOBITS = "_kbit"
RATES = (
    "download",
    "upload",
    "burst_download",
    "burst_upload",
    "threshold_download",
    "threshold_upload",
    "guaranteed_download",
    "guaranteed_upload",
)
"""In bit/s; with `_kbit` behind, in kbit/s, rounded up."""
SAMPLE: Mapping[str, int | str] = MappingProxyType(
    {
        **dict.fromkeys(RATES, 1_000_000),
        "burst_seconds": 16,
        "priority": 8,
        "address_list": "a",
        "login": "a",
        "plan": "a",
    }
)
"""A value for every name, such as a line could have."""
NAMES = (*SAMPLE, *(rate + KILOBITS for rate in RATES))


def check(text: str) -> str:
    """Accept a template; raise Mistake where its braces do not match or a name is not known."""
    for name in _names(text):
        if name not in NAMES:
            known = listed([f"{{{name}}}" for name in SAMPLE])
            raise Mistake(f"knows no {show(f'{{{name}}}')}{suggestion(name, NAMES)}; there are {known}")
    return text


def render(text: str, values: Mapping[str, int | str | None]) -> str | None:
    """Return the text with `values` (rates in bit/s) in the place of their names; None where one is missing."""
    rendered = []
    for literal, name, _form, _conversion in Formatter().parse(text):
        rendered.append(literal)
        if name is None:
            continue
        value = _value(name, values)
        if value is None:
            return None
        rendered.append(str(value))
    return "".join(rendered)


def _value(name: str, values: Mapping[str, int | str | None]) -> int | str | None:
    value = values.get(name.removesuffix(KILOBITS))
    return -(-value // 1000) if name.endswith(KILOBITS) and isinstance(value, int) else value


def _names(text: str) -> list[str]:
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise Mistake(f"has a brace that does not match; one that is meant is doubled: {show(text)}") from None
    for _literal, name, form, conversion in parts:
        if form or conversion:
            raise Mistake(f"must have names alone in its braces, such as {{download}}: {show(text)}")
        if name == "":
            raise Mistake(f"must have a name in its braces, such as {{download}}: {show(text)}")
    return [name for _literal, name, _form, _conversion in parts if name is not None]
