"""Ports for what a test starts itself.

Rule: test processes that run beside each other choose among different ports, so that nobody takes one which another has
chosen and not bound yet: the daemon shares its ports, and packets would go to either.
"""

from __future__ import annotations

import os
import socket

_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PLACE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM, address: str = "127.0.0.1") -> int:
    """Return a port of an address of the loopback that nobody has now."""
    while True:
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind((address, 0))
            port = int(probe.getsockname()[1])
        # Linux offers odd ports or even ones, so a pair is one choice.
        if port // 2 % _PROCESSES == _PLACE:
            return port
