"""One event loop for Twisted, asyncio and ASGI: Twisted's reactor on asyncio on uvloop."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

SWITCH_INTERVAL_SECONDS = 0.001
"""A thread that holds the interpreter gives it up after this; the default of 5 ms would be seen in p99."""

GARBAGE_THRESHOLDS = (20_000, 20, 50)
"""The packet path makes no cycles; looking for them after each 700 objects cost a tenth of its time."""


def install() -> AsyncioSelectorReactor:
    """Make this process's reactor; call once, before anything imports `twisted.internet.reactor`."""
    from twisted.internet import asyncioreactor

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]  # Twisted's function is untyped
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    from twisted.internet import reactor

    return reactor  # type: ignore[return-value]  # the module is replaced by the reactor just installed
