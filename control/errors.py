"""How the control API refuses.

Rule: every refusal has one shape; a mistake of the caller is 4xx, an absent database 503, and our own fault a plain 500
whose details stay in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import sqlalchemy.exc
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing.errors import BillingError
from config.problems import ConfigurationError
from control.models import ErrorAnswer, Problem, Refusal
from domain.errors import CaudalError
from storage.errors import DatabaseUnavailableError, OrderRefused

_LOG = structlog.get_logger("caudal.control")


class ControlError(CaudalError):
    """The control API cannot be offered, or refuses a request."""


class ServerError(ControlError):
    """The control socket cannot be opened."""


class RequestRefused(ControlError):
    """A request is refused: with this status, code and hint, and every mistake that was found."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.answer = ErrorAnswer(error=Refusal(code=code, message=message, hint=hint, problems=list(problems)))


def not_found(kind: str, name: str, hint: str) -> RequestRefused:
    """Return the refusal for a name that nothing of this kind has."""
    return RequestRefused(HTTPStatus.NOT_FOUND, "not_found", f"there is no {kind} {name!r}", hint=hint)


def bad_request(message: str, hint: str | None = None, problems: Sequence[Problem] = ()) -> RequestRefused:
    """Return the refusal for a mistake of the caller."""
    return RequestRefused(HTTPStatus.BAD_REQUEST, "bad_request", message, hint=hint, problems=problems)


def internal_error() -> RequestRefused:
    """Return the refusal for a fault of our own; what it was goes to the log, not to the caller."""
    return RequestRefused(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "the daemon failed to answer",
        hint="look into its log, and report what it says there",
    )


def database_away() -> RequestRefused:
    """Return the refusal while the database cannot be reached."""
    return RequestRefused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_away",
        "the daemon cannot reach its database",
        hint="try again in a moment; `caudal status` tells when it is back",
    )


def refusal_of(error: Exception) -> RequestRefused:
    """Return how `error`, which a use case raised, is worded; an unknown one is logged."""
    if isinstance(error, RequestRefused):
        return error
    if is_absence(error):
        return database_away()
    if isinstance(error, ClientDisconnect):
        # Nobody reads this any more; whatever was received of the request is forgotten.
        return bad_request("the request ended before its end", "send the whole of it")
    if isinstance(error, ConfigurationError):
        problems = [Problem(line=problem.line, message=problem.message) for problem in error.problems]
        return RequestRefused(HTTPStatus.BAD_REQUEST, "mistakes", str(error), problems=problems)
    if isinstance(error, OrderRefused | BillingError):
        return RequestRefused(HTTPStatus.BAD_REQUEST, "refused", str(error))
    if isinstance(error, CaudalError):
        return RequestRefused(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", str(error))
    _LOG.error("control_request_failed", exc_info=error)
    return internal_error()


def install(application: FastAPI) -> None:
    """Make `application` answer every error in the one shape."""
    for kind in (CaudalError, sqlalchemy.exc.SQLAlchemyError):
        application.add_exception_handler(kind, _refuse)
    application.add_exception_handler(RequestValidationError, _refuse_parameters)
    application.add_exception_handler(HTTPException, _refuse_route)
    application.add_middleware(Guard)


class Guard:
    """The outermost layer: a fault of our own ends as a logged 500, or a cut connection when the answer had begun."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._application(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - whatever it was, the caller gets no traceback
            answer = refusal_of(error)
            if not begun:
                await _worded(answer)(scope, receive, send)


async def _refuse(_request: Request, error: Exception) -> Response:
    return _worded(refusal_of(error))


async def _refuse_parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        Problem(line=None, message=f"{'.'.join(str(part) for part in mistake['loc'][1:])}: {mistake['msg']}")
        for mistake in error.errors()
    ]
    summary = "; ".join(problem.message for problem in problems)
    return _worded(bad_request(summary, "see /openapi.json for what is expected", problems))


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).name.lower()
    message = f"{request.method} {request.url.path}: {error.detail}"
    hint = "see /openapi.json for what is offered"
    response = _worded(RequestRefused(HTTPStatus(error.status_code), code, message, hint=hint))
    response.headers.update(error.headers or {})
    return response


def _worded(refused: RequestRefused) -> JSONResponse:
    return JSONResponse(refused.answer.model_dump(), refused.status)


def is_absence(error: Exception) -> bool:
    """Tell whether `error` means that the database cannot be reached."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(
        error,
        (
            DatabaseUnavailableError,
            sqlalchemy.exc.OperationalError,
            sqlalchemy.exc.InterfaceError,
            sqlalchemy.exc.TimeoutError,
        ),
    )
