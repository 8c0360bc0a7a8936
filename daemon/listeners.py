"""Where a daemon listens, as its status tells it."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from control.ports import Listener
from control.socket_path import NAME as CONTROL_SOCKET
from daemon.part import Part


def listeners(settings: Settings, data: Path, part: Part, *, has_relay: bool) -> tuple[Listener, ...]:
    """Return the addresses of a process tree that has a core, for nobody can ask another one."""
    radius, metrics, cards = settings.radius, settings.metrics, settings.cards
    found = []
    if part.has_workers:
        found += [
            Listener("RADIUS authentication", radius.listen, radius.auth_port),
            Listener("RADIUS accounting", radius.listen, radius.acct_port),
        ]
    found += [
        Listener("metrics", metrics.listen, metrics.port),
        Listener("control API", str(settings.control.socket or data / CONTROL_SOCKET), None),
    ]
    if has_relay:
        found.append(Listener("CoA relay", radius.listen, radius.coa_port))
    if cards.gateway and cards.webhook_port:
        found.append(Listener("card gateway", cards.webhook_listen, cards.webhook_port))
    return tuple(found)
