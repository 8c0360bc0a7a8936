"""Routes that change what is provisioned: an ISP file, its export, and bulk imports.

Rule: a document is taken whole or refused whole, with every mistake by line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from config.provisioning import read
from control import imports, models, uploads
from control.errors import bad_request
from control.ports import ControlPorts
from control.questions import Ports
from storage import exporting, importing, provisioning

LARGEST_DOCUMENT_OCTETS = 64 * 1024 * 1024
"""An ISP file of 100,000 services has 20 MB; beyond that services are imported as CSV."""
PIECE_CHARACTERS = 65_536
SOURCE = "the file"

routes = APIRouter(tags=["provisioning"])

_TOML = "application/toml"
_TOML_BODY = {"requestBody": {"required": True, "content": {_TOML: {"schema": {"type": "string"}}}}}
_TOML_ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {_TOML: {"schema": {"type": "string"}}}}}
_CSV_BODY = {"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}}
_PROGRESS: dict[int | str, dict[str, Any]] = {
    200: {"model": models.ImportReport, "description": "Lines of progress, and at last this."}
}


@routes.post("/apply", openapi_extra=_TOML_BODY)
async def apply(
    request: Request,
    ports: Ports,
    dry_run: Annotated[bool, Query(description="Tell what would change, and change nothing.")] = False,
) -> models.ApplyReport:
    """Create and update what the ISP file in the body describes; nothing is ever deleted."""
    text = await _text(request)
    report = await run_in_threadpool(_apply, ports, text, dry_run=dry_run)
    if not dry_run:
        await ports.in_force()
    return report


def _apply(ports: ControlPorts, text: str, *, dry_run: bool) -> models.ApplyReport:
    report = provisioning.apply(ports.engine, ports.vault, read(text, SOURCE), dry_run=dry_run)
    return models.ApplyReport(
        dry_run=report.dry_run,
        changes=[
            models.Change(kind=change.kind, name=change.name, action=change.action.value, keys=list(change.keys))
            for change in report.changes
        ],
        unchanged=dict(report.unchanged),
        warnings=[models.Problem(line=warning.line, message=warning.message) for warning in report.warnings],
    )


@routes.get("/export", response_class=StreamingResponse, responses=_TOML_ANSWER)
def export(
    ports: Ports, secrets: Annotated[bool, Query(description="Write secrets and passwords too, in clear.")] = False
) -> StreamingResponse:
    """Write everything that is provisioned as an ISP file."""
    parts = _pieces(exporting.export_parts(ports.engine, ports.vault, secrets=secrets))
    # What is wrong with the database or the vault is known at the first part, while it can still be refused.
    first = next(parts, b"")
    return StreamingResponse(chain([first], parts), media_type=_TOML)


@routes.post("/import/services", response_class=imports.ImportResponse, openapi_extra=_CSV_BODY, responses=_PROGRESS)
async def import_services(request: Request, ports: Ports) -> imports.ImportResponse:
    """Create and update services from CSV; the answer is lines of JSON: progress, then one report or one error."""

    def work(document: BinaryIO, progress: imports.Progress) -> models.ImportReport:
        report = importing.import_services(
            ports.engine, ports.vault, imports.lines(document), lambda rows, _total: progress(rows), source=SOURCE
        )
        return models.ImportReport(created=report.created, updated=report.updated, unchanged=report.unchanged)

    return imports.respond(request, work)


def _pieces(parts: Iterator[str]) -> Iterator[bytes]:
    """Join small parts: each one that is sent costs a change of threads."""
    gathered = io.StringIO()
    for part in parts:
        gathered.write(part)
        if gathered.tell() >= PIECE_CHARACTERS:
            yield gathered.getvalue().encode()
            gathered = io.StringIO()
    yield gathered.getvalue().encode()


async def _text(request: Request) -> str:
    body = await uploads.document(
        request, LARGEST_DOCUMENT_OCTETS, "import services with `caudal import services FILE.csv`"
    )
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        problem = models.Problem(line=line, message="is not UTF-8")
        raise bad_request(f"line {line} of the document is not UTF-8", "save it as UTF-8", [problem]) from error
