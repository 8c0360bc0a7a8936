"""What the daemon tells its service manager (sd_notify(3)), received and remembered.

Rule: nobody looks at the clock; who wants a message waits for it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 0.5
"""How soon the end of the daemon is noticed while a message is waited for."""


class Notifications:
    """The socket at `path`, read by a thread until `close`."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._arrived = threading.Condition()
        self._messages: list[str] = []
        self._thread = threading.Thread(target=self._read, name="notifications", daemon=True)
        self._thread.start()

    def received(self) -> list[str]:
        """Return every message up to now."""
        with self._arrived:
            return list(self._messages)

    def wait_for(self, text: str, *, after: int = 0, seconds: float, alive: Callable[[], bool] = lambda: True) -> bool:
        """Wait for a message with `text`, from the `after`-th on; return False when none came or `alive` says no."""
        looks = max(1, round(seconds / LOOK_SECONDS))
        with self._arrived:
            for _ in range(looks):
                if self._arrived.wait_for(lambda: self._has(text, after), LOOK_SECONDS):
                    return True
                if not alive():
                    break
            return self._has(text, after)

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join(10)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _has(self, text: str, after: int) -> bool:
        return any(text in message for message in self._messages[after:])

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            with self._arrived:
                self._messages.append(message.decode())
                self._arrived.notify_all()
