"""Enforcement on the real process, with the simulated fleet as routers."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from domain.secret import Secret
from radius.codes import Code, Type, Vendor
from radius.packet import attribute, encode_request, integer_attribute, vendor_attribute
from simulator.behaviour import Behaviour
from simulator.description import ApiDescription, synthetic
from simulator.fleet import Fleet, Server
from simulator.rates import Rates
from tests.free_ports import free_port
from tests.system.daemon_process import DaemonProcess, running

SECRET = "hush-enforcement"
ASKING = "hush-relay"
ON_LINE = "SELECT count(*) FROM session WHERE state = 0"
ADDRESS = "127.0.61.1"
SUBSCRIBERS = 20
SLOW = 1_000_000
SECONDS = 30.0
BUSY = Behaviour(speed=60.0, ramp_seconds=0.2, session_seconds=1e9, interim_seconds=30.0)
"""A simulated minute a second; interims every half second."""


def isp(coa_port: int, rules: str, *, of_router: str = "", of_first: str = "") -> str:
    """Return an ISP whose plan has `rules`, and the fleet's subscribers, the first with more keys of its own."""
    services = "".join(
        f"""
[[service]]
login = "user{number}"
password = "pass{number}"
plan = "capped"
{of_first if number == 1 else ""}
"""
        for number in range(1, SUBSCRIBERS + 1)
    )
    return f"""
[[router]]
name = "box"
address = "{ADDRESS}"
secret = "{SECRET}"
profile = "mikrotik"
coa_port = {coa_port}
{of_router}
[[plan]]
name = "capped"
download = "20M"
upload = "5M"
{rules}
{services}"""


CAP = """
[plan.cap]
octets = "1M"
action = "fixed"
download = "1M"
upload = "1M"
"""


def fleet_of(daemon: DaemonProcess, coa_port: int, api: ApiDescription | None = None) -> Fleet:
    """Return the fleet that belongs to `isp`."""
    description = synthetic(
        routers=1,
        subscribers=SUBSCRIBERS,
        secret=Secret.from_text(SECRET),
        first_address=ADDRESS,
        coa_port=coa_port,
        api=api,
    )
    return Fleet(description, BUSY, Server("127.0.0.1", daemon.auth_port, daemon.acct_port), seed=3)


PROVEN_BY = "SELECT proven_by, count(*) FROM line WHERE proven = desired GROUP BY proven_by"


async def until(said: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + SECONDS
    while not said():
        assert time.monotonic() < give_up, f"not in {SECONDS} s: {what}"
        await asyncio.sleep(0.02)


async def until_all_are(daemon: DaemonProcess, how: str) -> None:
    """Wait until every line is proven in one way."""
    await until(lambda: daemon.query(PROVEN_BY) == [(how, SUBSCRIBERS)], f"all proven by {how}")


def with_fleet(fleet: Fleet, story: Callable[[], Awaitable[None]]) -> None:
    """Run a story while a fleet is on line."""

    async def run() -> None:
        fleet.open()
        try:
            await story()
        finally:
            fleet.close()

    asyncio.run(run())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Lend a daemon of one's own."""
    with running(DaemonProcess(tmp_path, more='level = "debug"')) as lent:
        yield lent


def test_lines_that_cross_their_cap_are_slowed_and_proven(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, CAP))
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        await until(lambda: fleet.tally.coa_acknowledged >= SUBSCRIBERS, "all slowed")
        await until_all_are(daemon, "coa")

    with_fleet(fleet, story)
    assert daemon.query("SELECT count(*) FROM line WHERE overshoot_octets IS NULL") == [(0,)]
    daemon.await_sample(SUBSCRIBERS, 'caudal_lines_proven_total{proof="coa"}')


def test_a_core_that_is_killed_in_the_middle_leaves_nothing_half_done(tmp_path: Path) -> None:
    coa_port = free_port()
    daemon = DaemonProcess(tmp_path)
    try:
        daemon.start()
        daemon.provision(isp(coa_port, CAP, of_router="coa_per_second = 4"))
        fleet = fleet_of(daemon, coa_port)

        async def story() -> None:
            await until(lambda: fleet.tally.coa_acknowledged >= SUBSCRIBERS // 4, "some slowed")
            daemon.kill()
            await asyncio.to_thread(daemon.start)
            await until_all_are(daemon, "coa")

        with_fleet(fleet, story)
        daemon.stop()
    finally:
        daemon.discard()


def test_another_core_takes_over(tmp_path: Path, database_dsn: str) -> None:
    coa_port = free_port()
    first = DaemonProcess(tmp_path / "first", database_url=database_dsn)
    second = DaemonProcess(tmp_path / "second", database_url=database_dsn)
    try:
        first.start()
        (tmp_path / "second" / "caudal.key").write_bytes((tmp_path / "first" / "caudal.key").read_bytes())
        (tmp_path / "second" / "caudal.key").chmod(0o600)
        second.start()
        second.provision(isp(coa_port, CAP))
        assert second.sample("caudal_enforcement_up") == 0
        fleet = fleet_of(second, coa_port)

        async def story() -> None:
            await until(lambda: fleet.tally.coa_acknowledged > 0, "the first core enforces")
            first.kill()
            await until_all_are(second, "coa")

        with_fleet(fleet, story)
        second.await_metric("caudal_enforcement_up")
        second.stop()
    finally:
        first.discard()
        second.discard()


def test_a_router_that_nobody_answers_for_is_listed_and_converges_when_it_is_back(daemon: DaemonProcess) -> None:
    coa_port, wrong_port = free_port(), free_port()
    daemon.provision(isp(wrong_port, CAP))
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        away = "SELECT count(*) FROM line WHERE problem = 'router_away'"
        await until(lambda: daemon.query(away)[0][0] >= SUBSCRIBERS - 5, "the router is away")
        daemon.await_metric("caudal_away_routers")
        daemon.await_metric('caudal_unproven_lines{problem="router_away"}')
        daemon.provision(isp(coa_port, CAP))
        await until_all_are(daemon, "coa")

    with_fleet(fleet, story)


def test_a_blocked_line_is_disconnected_at_once_and_comes_back_when_it_is_paid(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, ""))
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        daemon.apply(isp(coa_port, "", of_first='account_state = "blocked"'))
        await until(lambda: fleet.tally.disconnects_acknowledged == 1, "disconnected")
        await until(lambda: fleet.status().sessions == SUBSCRIBERS - 1, "one off line")
        daemon.apply(isp(coa_port, "", of_first='account_state = "active"'))
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line again")

    with_fleet(fleet, story)
    assert daemon.query("SELECT count(*) FROM line WHERE proven IS DISTINCT FROM desired") == [(0,)]


def test_a_price_list_changes_every_open_session(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, ""))
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        daemon.apply(isp(coa_port, "").replace('download = "20M"', 'download = "30M"'))
        await until_all_are(daemon, "coa")
        assert fleet.tally.coa_acknowledged == SUBSCRIBERS

    with_fleet(fleet, story)


RELOADED_SECONDS = 10.0
"""At one a second the storm would take twice as long."""


def test_a_storm_that_is_under_way_goes_on_at_the_rate_of_a_reload(tmp_path: Path) -> None:
    coa_port = free_port()
    with running(DaemonProcess(tmp_path, more="[enforcement]\ncoa_per_second = 1")) as daemon:
        daemon.provision(isp(coa_port, ""))
        fleet = fleet_of(daemon, coa_port)

        async def story() -> None:
            await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
            daemon.apply(isp(coa_port, "").replace('download = "20M"', 'download = "30M"'))
            await until(lambda: fleet.tally.coa_acknowledged > 0, "begun")
            assert fleet.tally.coa_acknowledged < SUBSCRIBERS // 2
            daemon.configure(more="[enforcement]\ncoa_per_second = 100")
            await asyncio.to_thread(daemon.reload)
            began = time.monotonic()
            await until_all_are(daemon, "coa")
            assert time.monotonic() - began < RELOADED_SECONDS

        with_fleet(fleet, story)


TOP_UP = """
[[plan.top_up]]
name = "more"
octets = "100G"
price = "1.00"
automatic = { trigger_percent = 100, most_per_month = 1 }
"""


def test_a_top_up_that_is_bought_automatically_keeps_a_line_fast(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, CAP + TOP_UP))
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        bought = "SELECT count(*) FROM top_up WHERE origin = 'automatic'"
        await until(lambda: daemon.query(bought)[0][0] == SUBSCRIBERS, "all have bought one")
        assert fleet.tally.coa_acknowledged == 0

    with_fleet(fleet, story)
    daemon.await_sample(SUBSCRIBERS, "caudal_top_ups_bought_total")


def test_a_line_is_slowed_buys_and_is_fast_again_and_the_log_tells_each_step(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, CAP + TOP_UP.replace("automatic", "# automatic")))
    fleet = fleet_of(daemon, coa_port)

    def told() -> list[dict[str, object]]:
        steps = ("threshold crossed", "top-up bought", "line proven")
        lines = [json.loads(line) for line in daemon.log.read_text().rpartition("\n")[0].splitlines()]
        return [line for line in lines if line["event"] in steps and line["login"] == "user1"]

    async def story() -> None:
        await until(lambda: [line["event"] for line in told()] == ["threshold crossed", "line proven"], "slowed")
        await asyncio.to_thread(daemon.caudal, "topup", "add", "user1", "more")
        await until(lambda: len(told()) == 4, "fast again")

    with_fleet(fleet, story)
    _, slowed, bought, fast = told()
    assert (slowed["download"], fast["download"]) == (SLOW, 20_000_000)
    assert (bought["event"], bought["top_up"], bought["origin"]) == ("top-up bought", "more", "operator")
    assert all(isinstance(line["latency_ms"], float) for line in (slowed, bought, fast))


GARDEN = """
[isp]
name = "Garden"
currency = "EUR"
timezone = "Europe/Madrid"
[isp.blocking]
policy = "walled-garden"
address_list = "blocked"
download = "512k"
upload = "512k"
"""


def with_api(port: int) -> str:
    """Return the keys of a router whose API is open to us."""
    return f'api = {{ user = "caudal", password = "{SECRET}", port = {port}, tls = false }}'


def test_a_line_is_read_back_where_the_router_has_an_api(daemon: DaemonProcess) -> None:
    coa_port, api_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon.provision(isp(coa_port, CAP, of_router=with_api(api_port)))
    fleet = fleet_of(daemon, coa_port, ApiDescription("caudal", Secret.from_text(SECRET), api_port, tls=False))

    async def story() -> None:
        await until_all_are(daemon, "read_back")

    with_fleet(fleet, story)
    assert daemon.sample('caudal_enforcement_steps_total{result="read_back_matches",step="read_back"}') >= SUBSCRIBERS


def test_a_blocked_line_goes_into_the_walled_garden_and_back_without_a_reconnection(daemon: DaemonProcess) -> None:
    coa_port, api_port = free_port(), free_port(socket.SOCK_STREAM)
    router = with_api(api_port)
    daemon.provision(GARDEN + isp(coa_port, "", of_router=router))
    fleet = fleet_of(daemon, coa_port, ApiDescription("caudal", Secret.from_text(SECRET), api_port, tls=False))
    of_user = "SELECT proven_by FROM line JOIN session ON id = session_id WHERE login = 'user1' AND proven = desired"

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        for state in ("blocked", "active"):
            coas = fleet.tally.coa_acknowledged
            daemon.apply(isp(coa_port, "", of_router=router, of_first=f'account_state = "{state}"'))
            await until(lambda: fleet.tally.coa_acknowledged > coas, f"told {state}")  # noqa: B023 - at once
            await until(lambda: daemon.query(of_user) == [("read_back",)], f"proven {state}")

    with_fleet(fleet, story)
    assert fleet.tally.disconnects_acknowledged == 0
    assert fleet.tally.sessions_started == SUBSCRIBERS


def relaying(tmp_path: Path, relay_port: int) -> DaemonProcess:
    """Return a daemon that takes requests of other systems."""
    relay = f'coa_port = {relay_port}\ncoa_clients = ["127.0.0.1"]\ncoa_client_secret = "{ASKING}"'
    return DaemonProcess(tmp_path, radius=f"reject_delay_milliseconds = 0\n{relay}")


def test_another_system_may_ask_for_a_disconnect_through_us(tmp_path: Path) -> None:
    coa_port, relay_port = free_port(), free_port()
    daemon = relaying(tmp_path, relay_port)
    try:
        daemon.start()
        daemon.provision(isp(coa_port, ""))
        fleet = fleet_of(daemon, coa_port)

        async def story() -> None:
            await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
            await until(lambda: daemon.query(ON_LINE)[0][0] == SUBSCRIBERS, "all known")
            assert await asyncio.to_thread(ask_to_disconnect, relay_port, "user7") == Code.DISCONNECT_ACK
            assert await asyncio.to_thread(ask_to_disconnect, relay_port, "nobody") == Code.DISCONNECT_NAK
            assert fleet.tally.disconnects_acknowledged == 1

        with_fleet(fleet, story)
        daemon.stop()
        assert ASKING not in daemon.log.read_text()
    finally:
        daemon.discard()


FASTER = vendor_attribute(Vendor.MIKROTIK, 8, b"90M/90M")


def test_what_another_system_sets_through_us_does_not_stay(tmp_path: Path) -> None:
    coa_port, relay_port = free_port(), free_port()
    daemon = relaying(tmp_path, relay_port)
    of_user = "SELECT proven_by FROM line JOIN session ON id = session_id WHERE login = 'user7' AND proven = desired"
    try:
        daemon.start()
        daemon.provision(isp(coa_port, ""))
        fleet = fleet_of(daemon, coa_port)

        def rates() -> Rates:
            (session,) = fleet.router("sim-router-1").book.find(None, "user7", None)
            return session.rates

        async def story() -> None:
            await until(lambda: daemon.query(ON_LINE)[0][0] == SUBSCRIBERS, "all known")
            usual = rates()
            assert await asyncio.to_thread(ask_to_change, relay_port, "user7") == Code.COA_ACK
            await until(lambda: daemon.query(of_user) == [("coa",)], "its own rates are proven")
            assert fleet.tally.coa_acknowledged == 2
            assert rates() == usual

        with_fleet(fleet, story)
        daemon.stop()
    finally:
        daemon.discard()


def ask_to_change(port: int, login: str) -> int:
    """Send a CoA-Request for 90 Mbit/s as another system; return the code of the answer."""
    attributes = attribute(Type.USER_NAME, login.encode()) + FASTER
    attributes += integer_attribute(Type.EVENT_TIMESTAMP, int(time.time()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(SECONDS)
        asking.sendto(encode_request(Code.COA_REQUEST, 1, attributes, ASKING.encode()), ("127.0.0.1", port))
        return asking.recv(4096)[0]


def test_another_system_is_held_to_the_rate_of_a_router(tmp_path: Path) -> None:
    coa_port, relay_port, per_second, count = free_port(), free_port(), 4, 9
    daemon = relaying(tmp_path, relay_port)
    try:
        daemon.start()
        daemon.provision(isp(coa_port, "", of_router=f"coa_per_second = {per_second}"))
        fleet = fleet_of(daemon, coa_port)

        async def story() -> None:
            await until(lambda: daemon.query(ON_LINE)[0][0] == SUBSCRIBERS, "all known")
            begun = time.monotonic()
            logins = [f"user{number}" for number in range(1, count + 1)]
            codes = await asyncio.to_thread(ask_all_to_disconnect, relay_port, logins)
            assert codes == [Code.DISCONNECT_ACK] * count
            assert time.monotonic() - begun >= (count - 1) / per_second
            assert fleet.tally.disconnects_acknowledged == count

        with_fleet(fleet, story)
        daemon.stop()
    finally:
        daemon.discard()


def ask_to_disconnect(port: int, login: str) -> int:
    """Send a Disconnect-Request as another system; return the code of the answer."""
    return ask_all_to_disconnect(port, [login])[0]


def ask_all_to_disconnect(port: int, logins: Sequence[str]) -> list[int]:
    """Send Disconnect-Requests as another system, all at once; return the codes of the answers."""
    event = integer_attribute(Type.EVENT_TIMESTAMP, int(time.time()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(SECONDS)
        for number, login in enumerate(logins):
            names = attribute(Type.USER_NAME, login.encode()) + event
            asking.sendto(encode_request(Code.DISCONNECT_REQUEST, number, names, ASKING.encode()), ("127.0.0.1", port))
        return [asking.recv(4096)[0] for _ in logins]
