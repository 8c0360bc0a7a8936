"""Enforcement on the real process while routers lie, the network repeats itself, and processes die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from domain.instants import Microseconds
from domain.secret import Secret
from radius.codes import Type
from radius.packet import decode
from simulator.behaviour import DynamicFaults, Faults
from simulator.description import synthetic
from simulator.dynamic_authorization import SessionBook, Verdict
from simulator.fleet import Fleet, Server
from tests.free_ports import free_port
from tests.system.daemon_process import DaemonProcess, running
from tests.system.test_enforcement import ADDRESS, BUSY, CAP, SECRET, TOP_UP, isp, until, with_fleet

SUBSCRIBERS = 20
STORM = 200
BACK_SECONDS = 30.0
"""Within this a router that is back has all its lines again."""
UNPROVEN = "SELECT count(*) FROM line WHERE proven IS DISTINCT FROM desired"
GOOD = DynamicFaults()
SLOWER = 'download = "20M"', 'download = "30M"'


def fleet_of(
    daemon: DaemonProcess, coa_port: int, *, subscribers: int = SUBSCRIBERS, faults: Faults | None = None
) -> Fleet:
    """Return the fleet that belongs to `isp`."""
    description = synthetic(
        routers=1,
        subscribers=subscribers,
        secret=Secret.from_text(SECRET),
        first_address=ADDRESS,
        coa_port=coa_port,
    )
    behaviour = BUSY if faults is None else replace(BUSY, faults=faults)
    return Fleet(description, behaviour, Server("127.0.0.1", daemon.auth_port, daemon.acct_port), seed=3)


def many(text: str, count: int) -> str:
    """Return an ISP with services up to `count`."""
    return text + "".join(
        f'\n[[service]]\nlogin = "user{number}"\npassword = "pass{number}"\nplan = "capped"\n'
        for number in range(SUBSCRIBERS + 1, count + 1)
    )


def become(fleet: Fleet, faults: DynamicFaults) -> None:
    """Let the router have other faults from now on."""
    fleet.router(fleet.description.routers[0].name).dynamic.faults = faults


class Witness:
    """Sees each request that comes to a router, and whether two about one session were under way at once."""

    def __init__(self, fleet: Fleet) -> None:
        self.requests: Counter[str] = Counter()
        self.at_once: list[str] = []
        self._under_way: dict[str, tuple[bytes, float]] = {}
        self._seen: defaultdict[str, set[bytes]] = defaultdict(set)
        self._dynamic = fleet.router(fleet.description.routers[0].name).dynamic
        self._judge = self._dynamic.judge
        self._dynamic.judge = self.judge  # type: ignore[method-assign]  # the router's own still decides

    def judge(self, datagram: bytes, source: Hashable, book: SessionBook, now: Microseconds) -> Verdict | None:
        """Note a request, and let the router decide."""
        request = decode(datagram)
        session = request.text(Type.ACCT_SESSION_ID) or ""
        before = self._under_way.get(session)
        if before is not None and before[0] != request.authenticator and monotonic() < before[1]:
            self.at_once.append(session)
        if request.authenticator not in self._seen[session]:
            self._seen[session].add(request.authenticator)
            self.requests[session] += 1
            self._under_way[session] = request.authenticator, monotonic() + self._dynamic.faults.delay_seconds
        return self._judge(datagram, source, book, now)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Lend a daemon of one's own."""
    with running(DaemonProcess(tmp_path)) as lent:
        yield lent


def test_a_session_that_goes_on_after_its_disconnect_is_listed_and_ended_again(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, ""))
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        await until(lambda: daemon.query("SELECT count(*) FROM session WHERE state = 0")[0][0] == SUBSCRIBERS, "known")
        become(fleet, DynamicFaults(pretended=1.0))
        daemon.apply(isp(coa_port, "", of_first='account_state = "blocked"'))
        await until(lambda: fleet.tally.disconnects_acknowledged == 1, "ended, it says")
        stayed = "SELECT proven, desired_since > now() - interval '1 minute' FROM line WHERE problem = 'still_on_line'"
        await until(lambda: daemon.query(stayed) == [(None, True)], "listed")
        assert [line["problem"] for line in daemon.listing("line", "list", "--unproven")] == ["still_on_line"]
        daemon.await_metric('caudal_unproven_lines{problem="still_on_line"}')
        await until(lambda: fleet.tally.disconnects_acknowledged >= 3, "ended again, and again")
        become(fleet, GOOD)
        await until(lambda: fleet.status().sessions == SUBSCRIBERS - 1, "ended in truth")
        await until(lambda: daemon.query("SELECT count(*) FROM line") == [(0,)], "nothing is left to be done")

    with_fleet(fleet, story)


def test_an_override_ends_at_its_moment(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, ""))
    fleet = fleet_of(daemon, coa_port)
    late = """SELECT extract(epoch FROM proven_at - (SELECT until_at FROM override)) FROM line
        WHERE proven = desired AND proven_at > (SELECT until_at FROM override)"""

    async def story() -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS, "all on line")
        await until(lambda: daemon.query("SELECT count(*) FROM session WHERE state = 0")[0][0] == SUBSCRIBERS, "known")
        how = ("--download", "2M", "--upload", "1M", "--hours", "0.001", "--reason", "test")
        await asyncio.to_thread(daemon.caudal, "line", "override", "user1", *how)
        await until(lambda: fleet.tally.coa_acknowledged == 1, "overridden")
        await until(lambda: fleet.tally.coa_acknowledged == 2, "back at its own")
        await until(lambda: len(daemon.query(late)) == 1, "proven")
        assert daemon.query(late)[0][0] < 0.5

    with_fleet(fleet, story)


def test_a_router_that_was_silent_has_all_its_lines_within_30_s(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    daemon.provision(isp(coa_port, CAP))
    fleet = fleet_of(daemon, coa_port, faults=Faults(dynamic=DynamicFaults(ignored=1.0)))

    async def story() -> None:
        witness = Witness(fleet)
        await until(lambda: daemon.query(UNPROVEN) == [(SUBSCRIBERS,)], "none is proven")
        await until(lambda: sum(witness.requests.values()) >= 8, "asked")
        become(fleet, GOOD)
        asked, back = Counter(witness.requests), monotonic()
        await until(lambda: daemon.query(UNPROVEN) == [(0,)], "all proven")
        assert monotonic() - back < BACK_SECONDS
        assert len(witness.requests) >= SUBSCRIBERS
        assert max((witness.requests - asked).values()) == 1, "a router that was silent is told once more, no oftener"

    with_fleet(fleet, story)


def test_a_core_that_dies_between_its_requests_and_their_commit_forgets_no_line(tmp_path: Path) -> None:
    coa_port = free_port()
    daemon = DaemonProcess(tmp_path)
    try:
        daemon.start()
        text = many(isp(coa_port, ""), STORM)
        daemon.provision(text)
        fleet = fleet_of(daemon, coa_port, subscribers=STORM, faults=Faults(dynamic=DynamicFaults(delay_seconds=0.02)))

        async def story() -> None:
            await until(lambda: daemon.query("SELECT count(*) FROM session WHERE state = 0") == [(STORM,)], "all known")
            witness = Witness(fleet)
            await asyncio.to_thread(daemon.apply, text.replace(*SLOWER))
            for share in (1, 2):
                await until(lambda: fleet.tally.coa_acknowledged >= STORM * share // 4, "some told")  # noqa: B023 - at once
                daemon.kill()
                await asyncio.to_thread(daemon.start)
            await until(lambda: daemon.query(PROVEN) == [(STORM,)], "all proven")
            assert witness.at_once == []
            assert set(witness.requests) == {row[0] for row in daemon.query("SELECT acct_session_id FROM session")}
            assert max(witness.requests.values()) <= 3, "once for each life of the core"

        with_fleet(fleet, story)
        daemon.stop()
        assert "Traceback" not in daemon.log.read_text()
    finally:
        daemon.discard()


PROVEN = "SELECT count(*) FROM line JOIN session AS s ON s.id = session_id WHERE proven = desired AND s.state = 0"


def test_postgresql_that_dies_in_a_storm_costs_no_line(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    text = many(isp(coa_port, "", of_router="coa_per_second = 40"), STORM)
    daemon.provision(text)
    fleet = fleet_of(daemon, coa_port, subscribers=STORM, faults=Faults(dynamic=DynamicFaults(delay_seconds=0.02)))

    def is_proven() -> bool:
        try:
            return daemon.query(PROVEN) == [(STORM,)] and daemon.query(UNPROVEN) == [(0,)]
        except Exception:  # noqa: BLE001 - it is coming up
            return False

    async def story() -> None:
        await until(lambda: daemon.query("SELECT count(*) FROM session WHERE state = 0") == [(STORM,)], "all known")
        witness = Witness(fleet)
        await asyncio.to_thread(daemon.apply, text.replace(*SLOWER))
        await until(lambda: fleet.tally.coa_acknowledged >= STORM // 4, "some told")
        postmaster = daemon.database.pid()
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        await until(is_proven, "all proven")
        assert witness.at_once == []
        assert max(witness.requests.values()) <= 2

    with_fleet(fleet, story)


def test_two_cores_tell_each_session_once(tmp_path: Path, database_dsn: str) -> None:
    coa_port = free_port()
    cores = [DaemonProcess(tmp_path / name, database_url=database_dsn) for name in ("first", "second")]
    try:
        cores[0].start()
        (tmp_path / "second" / "caudal.key").write_bytes((tmp_path / "first" / "caudal.key").read_bytes())
        (tmp_path / "second" / "caudal.key").chmod(0o600)
        cores[1].start()
        text = many(isp(coa_port, ""), STORM)
        cores[1].provision(text)
        faults = Faults(dynamic=DynamicFaults(delay_seconds=0.02))
        fleet = fleet_of(cores[1], coa_port, subscribers=STORM, faults=faults)

        async def story() -> None:
            await until(lambda: cores[1].query("SELECT count(*) FROM session WHERE state = 0") == [(STORM,)], "known")
            witness = Witness(fleet)
            await asyncio.to_thread(cores[1].apply, text.replace(*SLOWER))
            await until(lambda: cores[1].query(PROVEN) == [(STORM,)], "all proven")
            assert witness.at_once == []
            assert max(witness.requests.values()) == 1

        with_fleet(fleet, story)
        for core in cores:
            core.stop()
            assert "Traceback" not in core.log.read_text()
    finally:
        for core in cores:
            core.discard()


def test_what_the_network_repeats_and_reorders_is_bought_warned_of_and_told_once(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    offer = TOP_UP.replace('"100G"', '"100k"').replace("most_per_month = 1", "most_per_month = 3")
    daemon.provision(isp(coa_port, CAP.replace('octets = "1M"', 'octets = "100k"') + offer))
    fleet = fleet_of(daemon, coa_port, faults=Faults(duplicates=0.4, reorder=0.4))

    async def story() -> None:
        witness = Witness(fleet)
        await until(lambda: daemon.query(PROVEN) == [(SUBSCRIBERS,)] and len(witness.requests) >= SUBSCRIBERS, "slowed")
        bought = daemon.query("SELECT service_id, count(*) FROM top_up WHERE origin = 'automatic' GROUP BY 1")
        assert [count for _, count in bought] == [3] * SUBSCRIBERS
        # A line may be fast again while the next top-up is bought, but it is never told twice the same.
        assert witness.at_once == []

    with_fleet(fleet, story)
    log = daemon.log.read_text()
    daemon.await_sample(3 * SUBSCRIBERS, "caudal_top_ups_bought_total")
    marks = Counter(line for line in _told(log, "cap reached a warning mark"))
    assert max(marks.values()) <= 4, "once for each size that the cap had"
    proven = _told(log, "line proven")
    assert all('"wire_ms": ' in line and '"latency_ms": ' in line for line in proven)
    assert any('"limit_octets": ' in line for line in _told(log, "threshold crossed"))


def _told(log: str, event: str) -> list[str]:
    """Return the lines of a log about an event, without their time."""
    return [line.partition('"timestamp"')[0] for line in log.splitlines() if f'"{event}"' in line]


def test_a_service_that_moves_to_another_plan_while_it_is_on_line_gets_it(daemon: DaemonProcess) -> None:
    coa_port = free_port()
    other = '\n[[plan]]\nname = "other"\ndownload = "50M"\nupload = "5M"\n'
    text = isp(coa_port, "") + other
    daemon.provision(text)
    fleet = fleet_of(daemon, coa_port)

    async def story() -> None:
        await until(lambda: daemon.query("SELECT count(*) FROM session WHERE state = 0") == [(SUBSCRIBERS,)], "known")
        moved = text.replace('password = "pass1"\nplan = "capped"', 'password = "pass1"\nplan = "other"')
        assert moved != text
        await asyncio.to_thread(daemon.apply, moved)
        await until(lambda: fleet.tally.coa_acknowledged == 1, "told")
        await until(lambda: daemon.query(PROVEN) == [(1,)], "proven")

    with_fleet(fleet, story)
    assert fleet.tally.disconnects_acknowledged == 0
