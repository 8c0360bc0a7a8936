"""Tells routers of the limits of octets of sessions that were granted more.

Rule: a limit is a backstop, and telling it is a courtesy: without, the router ends the session where its login said,
and the subscriber comes again. So it waits for its turn as what other systems ask does, changes nothing that is proven
or not of the line, and is not tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from daemon.enforcement_evaluation import Raised
from daemon.enforcement_routers import Box, Site
from daemon.relayed_requests import Found
from domain.errors import CaudalError
from enforcement.drivers.coa import Kind, Outcome
from radius.dynamic_authorization import DynamicRequest, change


class RaisedLimits:
    """What is being told; `send` lets a request wait for its turn at its router."""

    def __init__(
        self,
        send: Callable[[Found, DynamicRequest], Awaitable[Outcome]],
        find_site: Callable[[Box], Site | None],
    ) -> None:
        self._send = send
        self._find_site = find_site
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def tell(self, raised: Iterable[Raised]) -> None:
        """Begin to tell."""
        for each in raised:
            task = asyncio.get_running_loop().create_task(self._tell(each))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Tell nothing more."""
        for task in self._tasks:
            task.cancel()

    async def _tell(self, raised: Raised) -> None:
        site = self._find_site(raised.box)
        if site is None or site.target is None:
            return
        said = "told"
        try:
            found = Found(raised.names, site.target, raised.session_id, raised.box)
            outcome = await self._send(found, change(raised.names, raised.attributes))
            if outcome.kind is not Kind.ACK:
                said = outcome.kind.value
        except CaudalError as error:
            said = str(error)
        self._log.info(
            "octet limit raised", router=site.router.name, acct_session_id=raised.names.acct_session_id, said=said
        )
