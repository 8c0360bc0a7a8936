"""A card from the shop on the real process: redeemed, and the router obeys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.secret import Secret
from simulator.description import ApiDescription
from tests.free_ports import free_port
from tests.system.daemon_process import DaemonProcess, running
from tests.system.test_enforcement import GARDEN, SECRET, SUBSCRIBERS, fleet_of, isp, until, with_api, with_fleet

ANA = '[[customer]]\nlogin = "ana"\nname = "Ana"\nbilling = { type = "prepaid-daily" }\n'
OF_ANA = "SELECT billing_state, proven = desired FROM service AS s JOIN line ON service_id = s.id WHERE login = 'user1'"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Lend a daemon of one's own."""
    with running(DaemonProcess(tmp_path, more='level = "debug"')) as lent:
        yield lent


def test_a_voucher_lets_an_exhausted_line_out_of_the_walled_garden(daemon: DaemonProcess) -> None:
    coa_port, api_port = free_port(), free_port()
    daemon.provision(
        GARDEN + ANA + isp(coa_port, 'price = "30"', of_router=with_api(api_port), of_first='customer = "ana"')
    )
    fleet = fleet_of(daemon, coa_port, ApiDescription("caudal", Secret.from_text(SECRET), api_port, tls=False))
    made = daemon.caudal("voucher", "make", "shop", "--count", "1", "--amount", "10")
    code = made.splitlines()[1].partition(",")[2]

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        await asyncio.to_thread(daemon.caudal, "invoice", "run")
        await until(lambda: daemon.query(OF_ANA) == [("no_balance", True)], "in the walled garden")
        coas = fleet.tally.coa_acknowledged
        await asyncio.to_thread(daemon.caudal, "voucher", "redeem", "ana", code)
        await until(lambda: fleet.tally.coa_acknowledged > coas, "told to let it out")
        await until(lambda: daemon.query(OF_ANA) == [("active", True)], "out of the walled garden")

    with_fleet(fleet, story)
    daemon.caudal("ledger", "check")
