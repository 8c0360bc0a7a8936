"""Where the gateway of cards tells by itself what became of a charge, also long after: one POST, signed.

Rule: what is not signed by the gateway, or is too old, changes nothing; an event is booked once, and is answered only
when it is. TLS is the reverse proxy's in front.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from time import time
from typing import Any

import structlog
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from billing.card_gateway import MoneyBack, WebhookRefused
from billing.stripe_dialect import read_event
from daemon.datagrams import CannotListen
from domain.errors import CaudalError, one_line
from domain.secret import Secret
from storage.billing import card_returns, cards

LARGEST_EVENT_OCTETS = 512 * 1024
IDLE_SECONDS = 30
PATH = b"cards"


class CardWebhook(Resource):
    """Takes the gateway's messages at `/cards`."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, engine: Engine, secret: Secret, clock: Callable[[], float] = time) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        self._engine = engine
        self._secret = secret
        self._clock = clock

    def render_POST(self, request: Request) -> int:  # noqa: N802
        body = request.content.read(LARGEST_EVENT_OCTETS + 1) if request.content is not None else b""
        signature = (request.getHeader(b"stripe-signature") or b"").decode("latin-1")
        gone: list[object] = []
        request.notifyFinish().addBoth(gone.append)

        def answer(status: Any) -> None:
            if not gone:
                request.setResponseCode(status)
                request.finish()  # type: ignore[no-untyped-call]  # Twisted's is untyped

        deferToThread(take, self._engine, self._secret, body, signature, int(self._clock())).addCallback(answer)
        return NOT_DONE_YET


def take(engine: Engine, secret: Secret, body: bytes, signature: str, now: int) -> int:
    """Book what a message tells; return the HTTP status that answers it."""
    log = structlog.get_logger()
    if len(body) > LARGEST_EVENT_OCTETS:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    try:
        event = read_event(body, signature, secret.reveal(), now)
        if isinstance(event, MoneyBack):
            if card_returns.take(engine, event):
                log.info("card event", id=event.id, movement=event.what.value, name=event.name)
        elif event is not None and cards.take_event(engine, event):
            log.info("card event", id=event.id, movement=event.outcome.movement.value)
    except WebhookRefused as refused:
        log.warning("card event refused", reason=str(refused))
        return HTTPStatus.BAD_REQUEST
    except (CaudalError, SQLAlchemyError) as error:
        # Not booked, so not acknowledged: the gateway sends it again.
        log.warning("card event not booked", error=one_line(error))
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.OK


def listen(reactor: Any, engine: Engine, secret: Secret, host: str, port: int) -> IListeningPort:
    """Serve `/cards`. Raise CannotListen."""
    root = Resource()  # type: ignore[no-untyped-call]  # Twisted's is untyped
    root.putChild(PATH, CardWebhook(engine, secret))
    try:
        site = Site(root, timeout=IDLE_SECONDS)  # type: ignore[no-untyped-call]  # as above
        found: IListeningPort = reactor.listenTCP(port, site, interface=host)
    except CannotListenError as error:
        raise CannotListen(f"cannot listen on TCP {host}:{port}: {error.socketError}; change [cards]") from error
    return found
