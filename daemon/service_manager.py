"""What systemd is told (sd_notify(3)): ready, reloading, stopping, status, and that we are alive.

Rule: without NOTIFY_SOCKET every call does nothing, so the daemon is the same under systemd and in a terminal.
"""

from __future__ import annotations

import os
import socket
import time


class ServiceManager:
    """Sends state changes to the service manager that started us, if any."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1_000_000 if microseconds.isdigit() else None

    def ready(self, status: str) -> None:
        """Tell that the daemon serves."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Tell that a reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the daemon ends."""
        self._send("STOPPING=1\nSTATUS=settling what waits")

    def status(self, text: str) -> None:
        """Show `text` in `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.connect(address)
                sender.sendall(state.encode())
            except OSError:
                # The service manager is being restarted; what it must know it asks for again by its watchdog.
                pass
