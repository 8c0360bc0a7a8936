"""Hears that the far end of a connection is gone, though nobody speaks on it.

Rule: the kernel knows first: the router closed the connection, denied it when a keepalive came because it has started
again, or left all of them unanswered. What is told too often costs a look; nothing here decides anything.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable

_GONE = select.EPOLLRDHUP | select.EPOLLONESHOT
"""Errors and hang-ups are told without being asked for; what a router sends is for who reads it."""


class ConnectionWatch:
    """Connections of any threads, in one descriptor for an event loop: when it is readable, call `read`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._ended: dict[int, Callable[[], None]] = {}

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._epoll.fileno()

    def follow(self, descriptor: int, ended: Callable[[], None]) -> None:
        """Let `read` call `ended` when the far end of an open socket is gone; may be called in any thread.

        A socket that is closed here is followed no more.
        """
        with self._lock:
            if self._epoll.closed:
                return
            self._ended[descriptor] = ended
            self._epoll.register(descriptor, _GONE)

    def read(self) -> None:
        """Tell of each connection that has ended."""
        for descriptor, _ in self._epoll.poll(0):
            with self._lock:
                ended = self._ended.get(descriptor)
            if ended is not None:
                ended()

    def close(self) -> None:
        """Follow nothing any more."""
        with self._lock:
            self._epoll.close()
            self._ended.clear()
