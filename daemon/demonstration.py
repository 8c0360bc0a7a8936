"""`serve --demo`: the demonstration ISP, its simulated routers, and what a newcomer is told.

Rule: the demonstration uses the same doors as everybody: provisioning, and UDP. It is provisioned once; what a newcomer
changes afterwards stays, and an installation that holds another ISP is left alone.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import structlog
from sqlalchemy.engine import Engine
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from config.provisioning import read
from config.settings import Settings
from domain.errors import CaudalError
from storage import provisioning
from storage.billing import clock
from storage.vault import Vault

ISP_FILE = Path(__file__).resolve().parent.parent / "examples" / "isp.toml"
INTERIM_SECONDS = 10
"""Real plans say minutes; a demonstration should move while one looks at it."""
RAMP_SECONDS = 5
HEAVY = "luis.ortega"
"""Downloads without a rest on a plan with a small cap, so that one can look on while it is crossed."""
TOP_UP = "extra-1G"
PREPAID = "marta.nunez"
"""Pays before, and has paid nothing yet."""


class DemonstrationError(CaudalError):
    """The demonstration cannot be shown."""


def provision(engine: Engine, vault: Vault) -> None:
    """Apply the demonstration ISP where nothing is provisioned yet."""
    try:
        text = ISP_FILE.read_text(encoding="utf-8")
    except OSError as error:
        raise DemonstrationError(
            f"{ISP_FILE} cannot be read: {error.strerror}; run --demo from a checkout of Caudal"
        ) from error
    with engine.connect() as connection:
        present = provisioning.known(connection).routers
    if not present:
        with engine.begin() as connection:
            clock.permit(connection)
        report = provisioning.apply(engine, vault, read(text, str(ISP_FILE)))
        structlog.get_logger().info("demonstration ISP provisioned", changes=len(report.changes))
    elif any(router["name"] not in present for router in tomllib.loads(text)["router"]):
        raise DemonstrationError(
            "another ISP than the demonstration's is provisioned here; leave out --demo, or choose another --data"
        )


class SimulatedFleet(ProcessProtocol):
    """The simulator as a child process."""

    def __init__(self, reactor: IReactorProcess, settings: Settings) -> None:
        self._reactor = reactor
        self._radius = settings.radius
        self._stopping = False
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the fleet."""
        radius = self._radius
        wildcard = radius.listen in ("0.0.0.0", "::")
        command = [
            sys.executable, "-P", "-m", "cli", "simulate", "--quiet", "--isp", str(ISP_FILE),
            "--server", "127.0.0.1" if wildcard else radius.listen,
            "--auth-port", str(radius.auth_port), "--acct-port", str(radius.acct_port),
            "--interim-seconds", str(INTERIM_SECONDS), "--ramp", str(RAMP_SECONDS), "--wrong-passwords", "1",
            "--heavy", HEAVY,
        ]  # fmt: skip
        self._reactor.spawnProcess(self, sys.executable, command, env=dict(os.environ), childFDs={0: "w", 1: 2, 2: 2})

    def stop(self) -> None:
        """End the fleet; its sessions stay open, as those of routers would."""
        self._stopping = True
        if self.transport is not None and self.transport.pid:
            self.transport.signalProcess("TERM")

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        if not self._stopping:
            self._log.warning("the simulated fleet has ended", reason=reason.getErrorMessage())


def welcome(settings: Settings, data: Path) -> Sequence[str]:
    """Return the lines that tell a newcomer what runs and what to try."""
    caudal = _command()
    isp = tomllib.loads(ISP_FILE.read_text(encoding="utf-8"))
    secret, service = isp["router"][0]["secret"], isp["service"][0]
    login, password = service["login"], service["password"]
    radius, metrics = settings.radius, settings.metrics
    here = "" if data.resolve() == (Path.cwd() / "data").resolve() else f" --data {data}"
    host = "127.0.0.1" if radius.listen in ("0.0.0.0", "::") else radius.listen
    return (
        "",
        "  Caudal serves the demonstration ISP (Ctrl-C stops it, nothing is lost)",
        "",
        f"  RADIUS        {radius.listen} UDP {radius.auth_port} (authentication), {radius.acct_port} (accounting)",
        f"  metrics       http://{metrics.listen}:{metrics.port}/metrics",
        f"  data          {data.resolve()}",
        "",
        "  In a second terminal:",
        f"    watch       {caudal}{here} session watch",
        f"    usage       {caudal}{here} usage {login} --by hour",
        f"    refusals    {caudal}{here} login list",
        f'    a packet    echo \'User-Name = "{login}", User-Password = "{password}"\' |',
        f"                  radclient -x {host}:{radius.auth_port} auth {secret}",
        "                (radclient is in Debian's package freeradius-utils)",
        "",
        f"  {HEAVY} downloads without a rest and crosses the cap of its plan within a minute; its line becomes slow:",
        f"    why         {caudal}{here} explain {HEAVY}",
        f"    a top-up    {caudal}{here} topup add {HEAVY} {TOP_UP}",
        f"    a block     {caudal}{here} line block {HEAVY}",
        f"    unproven    {caudal}{here} line list --unproven",
        "",
        f"  {PREPAID} is prepaid and has paid nothing yet; everybody else is billed on the first of the month:",
        f"    a payment   {caudal}{here} payment add {PREPAID} 10",
        f"    a month     {caudal}{here} clock advance 31",
        f"    invoices    {caudal}{here} invoice run",
        "",
    )


def farewell(data: Path) -> str:
    """Return the last line of a demonstration that was asked to stop."""
    return f"\n  Stopped. Everything that was answered is in {data.resolve()}; start again and it goes on from there.\n"


def _command() -> str:
    """Return how this installation's `caudal` is called from here."""
    command = Path(sys.executable).parent / "caudal"
    try:
        return str(command.relative_to(Path.cwd()))
    except ValueError:
        return str(command)
