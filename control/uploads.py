"""Documents that a request carries whole."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request

from control.errors import RequestRefused


async def document(request: Request, largest_octets: int, hint: str) -> bytes:
    """Return the body; raise RequestRefused as soon as it is too large, with `hint` what to do then."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest_octets:
            raise RequestRefused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_large",
                f"the document has more than {largest_octets // 1024**2} MiB",
                hint=hint,
            )
    return bytes(body)
