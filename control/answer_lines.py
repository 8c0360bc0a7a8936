"""Answers that are lines of JSON, told while the work is done: progress, and at last one report.

Rule: where the answer has begun its status is said, so an error is its last line.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi.responses import StreamingResponse

from control.errors import refusal_of
from control.models import Answer


def streamed(lines: Iterator[Answer]) -> StreamingResponse:
    """Return the response that tells these lines."""
    return StreamingResponse(_written(lines), media_type="application/x-ndjson")


def _written(lines: Iterator[Answer]) -> Iterator[bytes]:
    try:
        for line in lines:
            yield line.model_dump_json().encode() + b"\n"
    except Exception as error:  # noqa: BLE001 - whatever it was, the caller is told
        yield refusal_of(error).answer.model_dump_json().encode() + b"\n"
