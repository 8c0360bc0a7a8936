"""The tables of a run, as docs/performance.md shows them.

Rule: the text between the two markers belongs to this module; the rest of the page is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.bars import bar_of
from bench.errors import BenchError
from bench.measurements import Comparison, Figure, Results, Side

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def markdown(results: Results, circumstances: Mapping[str, str]) -> str:
    """Return everything measured, and where, as Markdown."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in circumstances.items())]
    if results.against_freeradius:
        parts.append(_comparisons("answers/s (p99)", "ratio", results.against_freeradius))
    if results.growth:
        parts.append(_comparisons("growth, answers/s (p99)", "large / small", results.growth))
    if results.figures:
        parts.append(_table(("quantity", "measured", "bar", ""), map(_figure, results.figures)))
    return "\n\n".join(parts)


def write(page: Path, text: str) -> None:
    """Put `text` between the markers of the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{page} lacks the markers {BEGIN} and {END}; put them where the tables belong")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def as_json(results: Results, circumstances: Mapping[str, str]) -> dict[str, Any]:
    """Return every round of every measurement, in plain values."""
    comparisons = [*results.against_freeradius, *results.growth]
    return {
        "circumstances": dict(circumstances),
        "comparisons": [_comparison_values(each) for each in comparisons],
        "figures": {each.quantity: each.value for each in results.figures},
        "bars": {name: bar.cleared(value) for name, value in results.quantities().items() if (bar := bar_of(name))},
    }


def _comparisons(title: str, ratio: str, comparisons: Sequence[Comparison]) -> str:
    first = comparisons[0]
    head = (title, first.base.name, first.other.name, ratio, "bar", "")
    return _table(head, (_comparison(each) for each in comparisons))


def _comparison(each: Comparison) -> tuple[str, ...]:
    return (each.title, _side(each.base), _side(each.other), f"{each.ratio:.2f}", *_verdict(each.quantity, each.ratio))


def _figure(figure: Figure) -> tuple[str, ...]:
    return (figure.title, figure.text, *_verdict(figure.quantity, figure.value))


def _side(side: Side) -> str:
    lost = f", {side.lost} lost" if side.lost else ""
    return f"{side.per_second:,.0f} ({side.p99_milliseconds:,.1f} ms{lost})"


def _verdict(quantity: str, value: float) -> tuple[str, str]:
    bar = bar_of(quantity)
    if bar is None:
        return ("", "")
    return (str(bar), "cleared" if bar.cleared(value) else "**missed**")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _comparison_values(each: Comparison) -> dict[str, Any]:
    sides = {side.name: [asdict(seen) for seen in side.rounds] for side in (each.base, each.other)}
    return {"quantity": each.quantity, "title": each.title, "ratio": each.ratio, "rounds": sides}
