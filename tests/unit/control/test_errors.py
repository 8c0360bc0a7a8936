"""What a use case raises becomes one refusal, and nothing of our own faults leaves the daemon."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import pytest
import structlog
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.types import Message, Receive, Scope, Send

from config.problems import ConfigurationError, Problem
from control.errors import Guard, not_found, refusal_of
from domain.errors import CaudalError


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (not_found("plan", "x", "see the list"), HTTPStatus.NOT_FOUND, "not_found"),
        (ConfigurationError("the file", (Problem(3, "is wrong"),)), HTTPStatus.BAD_REQUEST, "mistakes"),
        (OperationalError("SELECT", {}, Exception("gone")), HTTPStatus.SERVICE_UNAVAILABLE, "database_away"),
        (PoolTimeoutError("no connection"), HTTPStatus.SERVICE_UNAVAILABLE, "database_away"),
        (CaudalError("the key is lost; restore it"), HTTPStatus.INTERNAL_SERVER_ERROR, "failed"),
    ],
)
def test_each_kind_of_error_has_its_status(error: Exception, status: HTTPStatus, code: str) -> None:
    refused = refusal_of(error)
    assert (refused.status, refused.answer.error.code) == (status, code)


def test_every_mistake_keeps_its_line() -> None:
    (problem,) = refusal_of(ConfigurationError("the file", (Problem(3, "is wrong"),))).answer.error.problems
    assert (problem.line, problem.message) == (3, "is wrong")


def test_our_own_fault_is_logged_and_not_told() -> None:
    with structlog.testing.capture_logs() as logs:
        refused = refusal_of(ProgrammingError("SELECT secret", {}, Exception("no such column")))
    assert refused.status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert "secret" not in refused.answer.model_dump_json()
    assert logs[0]["event"] == "control_request_failed"


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("a detail")


def test_whatever_escapes_is_an_answer_of_the_one_shape() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with structlog.testing.capture_logs():
        asyncio.run(Guard(_broken)({"type": "http"}, receive, send))
    assert sent[0]["status"] == HTTPStatus.INTERNAL_SERVER_ERROR
    assert json.loads(sent[1]["body"])["error"]["code"] == "internal"
