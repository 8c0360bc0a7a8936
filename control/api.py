"""The control API: the one door through which the command, the terminal and integrators see and change the system.

Rule: every route is under /v1; every error has one shape; the daemon gives the ports, nothing is reached around them.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, FastAPI
from sqlalchemy.exc import SQLAlchemyError

from control import (
    accounts,
    bank,
    billing,
    cards,
    deposits,
    directory,
    documents,
    enforcement,
    errors,
    ledger,
    metering,
    models,
    previews,
    provisioning,
    reminders,
    routers,
    sales,
    sessions,
    usage,
    vouchers,
    wallets,
)
from control.ports import ControlPorts
from control.questions import Ports
from storage.sessions import open_sessions

PREFIX = "/v1"
READY = "ready"
AWAY = "away"

routes = APIRouter(tags=["daemon"])


def create(ports: ControlPorts) -> FastAPI:
    """Return the application over `ports`; its `state.closing` ends the streams."""
    application = FastAPI(
        title="Caudal control API",
        version=ports.runtime().version,
        description="What each line carries, may do, and owes. Octets are exact; up and down are the subscriber's.",
        docs_url=None,
        redoc_url=None,
        responses={status: {"model": models.ErrorAnswer} for status in (400, 404, 500, 503)},
    )
    application.state.ports = ports
    application.state.closing = asyncio.Event()
    errors.install(application)
    for part in (
        routes,
        # Before the routes that take the rest of a path for a name.
        routers.routes,
        directory.routes,
        sessions.routes,
        usage.routes,
        enforcement.routes,
        provisioning.routes,
        documents.routes,
        previews.routes,
        billing.routes,
        accounts.routes,
        ledger.routes,
        reminders.routes,
        bank.routes,
        metering.routes,
        wallets.routes,
        deposits.routes,
        vouchers.routes,
        sales.routes,
        cards.routes,
    ):
        application.include_router(part, prefix=PREFIX)
    return application


@routes.get("/status")
def status(ports: Ports) -> models.Status:
    """Tell how the daemon is; answers without the database too."""
    runtime = ports.runtime()
    counted = _open_sessions(ports) if runtime.database == READY else None
    return models.Status(
        version=runtime.version,
        started_at=runtime.started_at,
        uptime_seconds=runtime.uptime_seconds,
        database=AWAY if runtime.database == READY and counted is None else runtime.database,
        listeners=[models.Listener.model_validate(listener) for listener in runtime.listeners],
        workers=[models.Worker.model_validate(worker) for worker in runtime.workers],
        open_sessions=counted,
    )


def _open_sessions(ports: ControlPorts) -> int | None:
    """Count the open sessions; None when the database has just gone away."""
    try:
        return open_sessions(ports.engine)
    except SQLAlchemyError as error:
        if errors.is_absence(error):
            return None
        raise
