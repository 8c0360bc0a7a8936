"""What can go wrong between us and a router's API.

Rule: a text names the router, what happened and what to do; it never holds a command, because a command may hold a
password, nor a traceback that leads through one.
"""

from __future__ import annotations

from enum import Enum

from domain.errors import CaudalError


class Trouble(Enum):
    """What happened; the label of a counter."""

    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    LOGIN_REFUSED = "login_refused"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    """The connection ended, or what came is no RouterOS API."""
    FATAL = "fatal"
    """The router said goodbye: a session too many, a reboot, an operator who ended the session."""
    RESTING = "resting"
    """It failed a moment ago and is left in peace."""
    CLOSED = "closed"
    """We have stopped using this router."""


class RouterOsError(CaudalError):
    """A router's API did not do what was asked."""


class RouterOsAway(RouterOsError):
    """The connection is gone; whether a command that was under way was carried out is not known: read again."""

    def __init__(self, router: str, trouble: Trouble, text: str) -> None:
        super().__init__(f"router {router}: {text}")
        self.router = router
        self.trouble = trouble


class RouterOsRefused(RouterOsError):
    """The router answered a command with a trap; the connection goes on."""

    def __init__(self, router: str, path: str, message: str) -> None:
        super().__init__(f"router {router} refuses {path}: {message}")
        self.router = router
        self.message = message
