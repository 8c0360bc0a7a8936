"""A bulk import over one request: the document flows in, progress flows out, and a thread works between them.

Rule: the document is never whole in memory nor on disk; when the client goes away or the daemon stops, the work is told
at its next step, and its transaction ends without a trace.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import BinaryIO

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from control import models
from control.errors import ControlError, RequestRefused, bad_request, refusal_of

BUFFER_OCTETS = 256 * 1024
LONGEST_LINE_OCTETS = 1024 * 1024
"""An honest row has some hundred octets; without a limit a file without line ends would be read into memory whole."""
GONE_CHECK_SECONDS = 0.5

Progress = Callable[[int], None]
Work = Callable[[BinaryIO, Progress], models.ImportReport]


class ImportAbandoned(ControlError):
    """Nobody waits for this import any more."""

    def __init__(self) -> None:
        super().__init__("the import was abandoned: its client went away; nothing was changed")


class Upload(io.RawIOBase):
    """The body of a request, read by a thread while the loop receives it."""

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = aiter(request.stream())
        self._loop = loop
        self._left = b""
        self._pull: Future[bytes | None] | None = None
        self.received = False
        self.abandoned = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader gives a memoryview
        while not self._left:
            chunk = self._next()
            if chunk is None:
                return 0
            self._left = chunk
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def abandon(self) -> None:
        """End the work at its next step."""
        self.abandoned = True
        if self._pull is not None:
            self._pull.cancel()

    def check(self) -> None:
        """Raise ImportAbandoned when nobody waits any more."""
        if self.abandoned:
            raise ImportAbandoned

    def _next(self) -> bytes | None:
        if self.received:
            return None
        self._pull = asyncio.run_coroutine_threadsafe(self._receive(), self._loop)
        self.check()
        try:
            chunk = self._pull.result()
        except (ClientDisconnect, CancelledError):
            raise ImportAbandoned from None
        self.received = chunk is None
        return chunk

    async def _receive(self) -> bytes | None:
        return await anext(self._chunks, None)


class ImportResponse(StreamingResponse):
    """A stream that starts before the request has been read: only the import itself may receive."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's own
        await self.stream_response(send)


def respond(request: Request, work: Work) -> ImportResponse:
    """Return the response that does `work` on the request's body and tells its progress."""
    return ImportResponse(_lines(request, work), media_type="application/x-ndjson")


def lines(document: BinaryIO) -> Iterator[str]:
    """Yield the lines of a document; refuse one that is not UTF-8, or is no text at all."""
    number = 0
    while line := document.readline(LONGEST_LINE_OCTETS):
        number += 1
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise _refused(number, "is not UTF-8", "save the file as UTF-8") from None
        if len(line) == LONGEST_LINE_OCTETS:
            raise _refused(number, f"has more than {LONGEST_LINE_OCTETS:,} octets", "correct the end of the line")
        yield text


def _refused(line: int, message: str, hint: str) -> RequestRefused:
    return bad_request(
        f"the file has 1 mistake: line {line}: {message}", hint, [models.Problem(line=line, message=message)]
    )


async def _lines(request: Request, work: Work) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    upload = Upload(request, loop)
    progress: asyncio.Queue[int] = asyncio.Queue()

    def tell(rows: int) -> None:
        upload.check()
        loop.call_soon_threadsafe(progress.put_nowait, rows)

    document = io.BufferedReader(upload, BUFFER_OCTETS)
    working = asyncio.create_task(asyncio.to_thread(work, document, tell))
    try:
        while not working.done():
            async for rows in _arrivals(progress, working):
                yield _line(models.ImportProgress(rows=rows))
            if upload.received and await request.is_disconnected():
                upload.abandon()
        yield _line(await working)
    except Exception as error:  # noqa: BLE001 - the answer has begun, so the error is its last line
        yield _line(refusal_of(error).answer)
    finally:
        upload.abandon()


async def _arrivals(progress: asyncio.Queue[int], working: asyncio.Task[models.ImportReport]) -> AsyncIterator[int]:
    """Yield what has arrived, waiting a while for it or for the end of the work."""
    arrival = asyncio.create_task(progress.get())
    await asyncio.wait({arrival, working}, timeout=GONE_CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not arrival.done():
        arrival.cancel()
        return
    yield arrival.result()
    while not progress.empty():
        yield progress.get_nowait()


def _line(answer: models.Answer) -> bytes:
    return answer.model_dump_json().encode() + b"\n"
