"""Money that moves lines on the real process: a payment reaches the router at once, trust ends whatever happens."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from cli.client import ControlClient
from domain.secret import Secret
from simulator.behaviour import Behaviour
from simulator.description import ApiDescription, synthetic
from simulator.fleet import Fleet, Server
from tests.free_ports import free_port
from tests.system.daemon_process import DaemonProcess, running
from tests.system.test_enforcement import until, with_fleet

SECRET = "hush-paid"
ADDRESS = "127.0.62.1"
LINES = 5
WITHIN_SECONDS = 1.0
"""From the order to the datagram; the median of all lines: the machine may be busy for a moment."""
QUIET = Behaviour(speed=1.0, ramp_seconds=0.2, session_seconds=1e9, interim_seconds=600.0)

ISP = """
[isp]
name = "Garden"
timezone = "Europe/Madrid"
[isp.blocking]
policy = "walled-garden"
address_list = "unpaid"
download = "512k"
upload = "512k"
[[router]]
name = "box"
address = "{address}"
secret = "{secret}"
profile = "mikrotik"
coa_port = {port}
{api}
[[plan]]
name = "home"
download = "20M"
upload = "5M"
price = "30"
"""
CUSTOMER = """
[[customer]]
login = "c{number}"
name = "Customer {number}"
billing = {{ {billing} }}
[[service]]
login = "user{number}"
password = "pass{number}"
plan = "home"
customer = "c{number}"
"""


def isp(port: int, billing: str, *, customers: int = LINES, api: str = "") -> str:
    """Return an ISP whose customers are billed in one way."""
    head = ISP.format(address=ADDRESS, secret=SECRET, port=port, api=api)
    return head + "".join(CUSTOMER.format(number=number, billing=billing) for number in range(1, customers + 1))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Lend a daemon of one's own."""
    with running(DaemonProcess(tmp_path)) as lent:
        yield lent


def test_a_payment_is_a_coa_on_the_wire_within_a_second(daemon: DaemonProcess) -> None:
    port, api_port, secret = free_port(), free_port(socket.SOCK_STREAM), Secret.from_text(SECRET)
    api = f'api = {{ user = "caudal", password = "{SECRET}", port = {api_port}, tls = false }}'
    daemon.provision(isp(port, 'type = "prepaid-daily"', api=api))
    description = synthetic(
        routers=1,
        subscribers=LINES,
        secret=secret,
        first_address=ADDRESS,
        coa_port=port,
        api=ApiDescription("caudal", secret, api_port, tls=False),
    )
    fleet = Fleet(description, QUIET, Server("127.0.0.1", daemon.auth_port, daemon.acct_port), seed=3)
    control = ControlClient(daemon.data)
    starved = "SELECT count(*) FROM service WHERE billing_state = 'no_balance'"
    unproven = "SELECT count(*) FROM line WHERE proven IS DISTINCT FROM desired"
    took = []

    async def story() -> None:
        await until(lambda: daemon.query(starved) == [(LINES,)], "no wallet pays")
        await until(lambda: fleet.status().sessions == LINES, "all on line")
        await until(lambda: daemon.query("SELECT count(*) FROM line") == [(LINES,)], "all known")
        await until(lambda: daemon.query(unproven) == [(0,)], "all in the walled garden")
        for number in range(1, LINES + 1):
            before = fleet.tally.coa_acknowledged
            order = {"customer": f"c{number}", "amount": "40.00", "method": "cash", "key": f"payment {number}"}
            began = time.monotonic()
            paying = asyncio.create_task(asyncio.to_thread(control.post_json, "/v1/payments", order))
            while fleet.tally.coa_acknowledged == before:
                assert time.monotonic() < began + 30, "no CoA"
                await asyncio.sleep(0.002)
            took.append(time.monotonic() - began)
            await paying

    with_fleet(fleet, story)
    assert daemon.query(starved) == [(0,)]
    assert median(took) <= WITHIN_SECONDS, took


def test_days_on_trust_end_whatever_happens_to_the_daemon(daemon: DaemonProcess) -> None:
    terms = "due_days = 1, block_after = 1, trust_unlock = { days = 3, most_per_month = 1 }"
    daemon.provision(isp(free_port(), terms, customers=1))
    state = "SELECT 1 FROM service WHERE billing_state = %s"
    daemon.caudal("clock", "permit")
    daemon.caudal("clock", "advance", "35")
    daemon.caudal("invoice", "run")
    daemon.caudal("clock", "advance", "2")
    assert daemon.await_rows(state, "blocked", seconds=30)
    daemon.caudal("account", "trust", "c1")
    assert daemon.await_rows(state, "active")
    daemon.caudal("payment", "add", "c1", "1.00")
    daemon.caudal("clock", "advance", "2")
    assert json.loads(daemon.caudal("account", "show", "c1", "--json"))["state"] == "active"
    assert daemon.query(state, "active"), "the third day is on trust as well"
    daemon.caudal("clock", "advance", "1")
    daemon.kill()
    daemon.start()
    assert daemon.await_rows(state, "blocked", seconds=30)
