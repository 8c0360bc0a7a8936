"""Where Prometheus and probes read: `/metrics` and `/healthz` over HTTP.

Rule: whoever can connect may read, so nothing secret is here and the default is this machine alone. `/healthz` answers
200 while requests can be served and 503, with the reasons, while they cannot.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.web.http import SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from daemon.datagrams import CannotListen
from daemon.metrics import Metrics

IDLE_SECONDS = 120
"""Prometheus keeps its connection between two scrapes, which are a minute apart by default."""
_TEXT = "text/plain; charset=utf-8"


class _Page(Resource):
    """A page that is only read."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        self._metrics = metrics


class _MetricsPage(_Page):
    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        return _answer(request, self._metrics.render(), CONTENT_TYPE_PLAIN_0_0_4)


class _HealthPage(_Page):
    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        faults = self._metrics.faults()
        if faults:
            request.setResponseCode(SERVICE_UNAVAILABLE)
        return _answer(request, "".join(f"{line}\n" for line in faults or ("ok",)).encode(), _TEXT)


class _QuietSite(Site):
    """A site without an access log: every scrape would be a line."""

    noisy = False

    def log(self, request: Any) -> None:
        """Write nothing."""


def listen(reactor: IReactorTCP, metrics: Metrics, host: str, port: int) -> IListeningPort:
    """Serve `metrics` on `host` and `port` until the returned port stops listening; raise `CannotListen`."""
    root = Resource()  # type: ignore[no-untyped-call]  # Twisted's is untyped
    root.putChild(b"metrics", _MetricsPage(metrics))
    root.putChild(b"healthz", _HealthPage(metrics))
    site: Any = _QuietSite(root, timeout=IDLE_SECONDS, reactor=reactor)  # type: ignore[no-untyped-call]  # as above
    site.displayTracebacks = False
    try:
        return reactor.listenTCP(port, site, interface=host)
    except CannotListenError as error:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        raise CannotListen(
            f"cannot listen on TCP {address}: {reason}; see who has it with `ss -ltnp`, or change [metrics]"
        ) from error


def _answer(request: Request, body: bytes, content_type: str) -> bytes:
    for name, value in (("content-type", content_type), ("cache-control", "no-store"), ("server", "caudal")):
        request.responseHeaders.setRawHeaders(name, [value])
    return body
