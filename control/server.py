"""The control API on a Unix socket, inside the loop that already runs.

Rule: only the daemon's own user may open the socket (0600), from its first moment; a socket that a dead daemon left is
replaced, one that answers is never taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from control.errors import ServerError
from control.socket_path import within_limit

CLOSING_SECONDS = 1
"""What a request in flight has left when the daemon stops; the whole stop has three."""
_MODE = 0o600


class ControlServer:
    """Serves `application` on `socket_path`; `known_as` is a second name for it, where clients look by default."""

    def __init__(self, application: FastAPI, socket_path: Path, known_as: Path | None = None) -> None:
        self._application = application
        self._path = socket_path
        self._link = known_as if known_as not in (None, socket_path) else None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; return when clients can connect. Raises ServerError."""
        listener = _listen(self._path)
        if self._link is not None:
            _point(self._link, self._path)
        self._server = _Server(
            uvicorn.Config(
                self._application,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=CLOSING_SECONDS,
            )
        )
        self._serving = asyncio.create_task(self._server.serve([listener]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._serving

    async def stop(self) -> None:
        """Answer what is in flight, close, and remove the socket."""
        if self._server is None or self._serving is None:
            return
        self._application.state.closing.set()
        self._server.should_exit = True
        await self._serving
        for path in (self._path, self._link):
            if path is not None:
                path.unlink(missing_ok=True)
        self._server = self._serving = None


class _Server(uvicorn.Server):
    """Uvicorn as a guest: signals stay with the host, and its start is an event."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with within_limit(path) as name:
            _remove_stale(path, name)
            listener.bind(name)
        # Nobody can connect before `listen`, which the server calls later.
        path.chmod(_MODE)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"the control socket {path} cannot be opened: {error.strerror or error}; "
            "set [control] socket to a path where this user may write"
        ) from error
    except ServerError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path, name: str) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise ServerError(f"another daemon answers at {path}; stop it, or choose another --data")


def _point(link: Path, target: Path) -> None:
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve())
    except OSError as error:
        raise ServerError(
            f"{link} cannot be made to point at the control socket: {error.strerror}; correct the data directory"
        ) from error
