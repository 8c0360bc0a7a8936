"""Routes that speak to a router itself: what is wrong with it, and the commands that set it up.

Rule: nothing on the router is changed; secrets are in a script only where the question said `secrets=true`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from control.errors import RequestRefused, not_found
from control.models import Answer
from control.ports import RouterOffice
from control.questions import LONGEST_NAME, Name, Ports

routes = APIRouter(tags=["routers"])


class RouterRemark(Answer):
    """One thing that is right or wrong with a router."""

    check: str = Field(description="What was looked at, such as `secret`, `clock`, `api`, `incoming`, `entries`.")
    level: str = Field(description="`ok`, `unknown`, `warning` or `error`; the last two want something corrected.")
    text: str
    correct: str | None = Field(description="The command of RouterOS that corrects it, or what to do here.")


class RouterCheck(Answer):
    """What was found on a router, in the order in which it is best corrected."""

    router: str
    remarks: list[RouterRemark]


class RouterScript(Answer):
    """The commands that set a router up, a line each; they may be given twice."""

    router: str
    lines: list[str]


@routes.get("/routers/{name:path}/check")
async def check_router(ports: Ports, name: Name) -> RouterCheck:
    """Try a router out: secret, clock, CoA port, API, its settings, and the entries that are kept there."""
    found = await _office(ports.routers).check(name)
    if found is None:
        raise not_found("router", name, "see `caudal router list`")
    return RouterCheck(router=name, remarks=[RouterRemark.model_validate(remark) for remark in found])


@routes.get("/routers/{name:path}/script")
def write_script(
    ports: Ports,
    name: Name,
    server: Annotated[
        str | None, Query(max_length=LONGEST_NAME, pattern=r"^[0-9A-Fa-f:.]+$", description="Our address.")
    ] = None,
    secrets: Annotated[bool, Query(description="Write the secrets, not placeholders.")] = False,
) -> RouterScript:
    """Write the RouterOS commands that set a router up."""
    lines = _office(ports.routers).script(name, server=server, reveal=secrets)
    if lines is None:
        raise not_found("router", name, "see `caudal router list`")
    return RouterScript(router=name, lines=list(lines))


def _office(office: RouterOffice | None) -> RouterOffice:
    if office is None:
        raise RequestRefused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no_routers",
            "this daemon speaks to no routers",
            hint="ask the daemon that runs the core",
        )
    return office
