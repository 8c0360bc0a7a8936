"""The fleet over real UDP, against a server built from the codec, and as the command that people type."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.simulate import simulate
from domain.secret import Secret
from radius.codes import AcctStatus, Code, Type, Vendor
from radius.packet import Packet, attribute, decode, vendor_attribute
from simulator.behaviour import Behaviour, DynamicFaults, Faults
from simulator.certificate import self_signed
from simulator.description import ApiDescription, FleetDescription, RouterDescription, synthetic
from simulator.errors import SimulatorError
from simulator.fleet import Fleet, Server
from simulator.routeros_faults import ApiFaults, Mishap
from simulator.routeros_words import LONGEST_WORD, Reader, encode_sentence
from simulator.truth import SessionTruth, read
from tests.free_ports import free_port
from tests.unit.simulator.server import SECRET, ScriptedServer, change, disconnect

SUBSCRIBERS = 60
HASTY = Behaviour(ramp_seconds=0.2, session_seconds=1e9, interim_seconds=0.3)


class Responder(asyncio.DatagramProtocol):
    """Answers on one UDP port what a scripted server says."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # a datagram one
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@dataclass
class Site:
    """A server that listens, and where."""

    scripted: ScriptedServer
    server: Server


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    scripted = ScriptedServer({f"user{number}": f"pass{number}" for number in range(1, SUBSCRIBERS + 1)})
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_datagram_endpoint(lambda: Responder(scripted), local_addr=("127.0.0.1", 0)))[0]
        for _ in range(2)
    ]
    ports = [transport.get_extra_info("sockname")[1] for transport in opened]
    try:
        yield Site(scripted, Server("127.0.0.1", *ports))
    finally:
        for transport in opened:
            transport.close()


def description(routers: int = 3, first_address: str = "127.9.1.1") -> FleetDescription:
    return synthetic(
        routers=routers,
        subscribers=SUBSCRIBERS,
        secret=Secret(SECRET),
        first_address=first_address,
        coa_port=free_port(address=first_address),
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- the fleet is watched from outside, as the command does
            await asyncio.sleep(0.01)


def run_fleet(
    behaviour: Behaviour,
    body: Callable[[Fleet, Site], Awaitable[None]],
    *,
    live_truth: Path | None = None,
    described: FleetDescription | None = None,
) -> tuple[Fleet, ScriptedServer]:
    """Run a fleet while `body` lasts, then end its sessions; return it and what its server heard."""

    async def session() -> tuple[Fleet, ScriptedServer]:
        async with site() as running:
            fleet = Fleet(described or description(), behaviour, running.server, seed=1, live_truth=live_truth)
            fleet.open()
            try:
                await body(fleet, running)
                await fleet.hang_up()
            finally:
                fleet.close()
            return fleet, running.scripted

    return asyncio.run(session())


def heard(server: ScriptedServer) -> dict[tuple[str | None, str | None], tuple[int, int]]:
    return server.last_counters()


def by_session(truths: list[SessionTruth]) -> dict[tuple[str | None, str | None], SessionTruth]:
    return {(truth.router, truth.acct_session_id): truth for truth in truths}


def test_everyone_logs_in_reports_and_stops_and_the_server_knows_the_truth_to_the_octet() -> None:
    async def body(fleet: Fleet, running: Site) -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS and fleet.tally.accounting_responses > 200)

    fleet, server = run_fleet(HASTY, body)
    assert fleet.status().sessions == 0
    assert all(truth.stopped_acknowledged for truth in fleet.truth())
    truths = {key: (known.octets_up, known.octets_down) for key, known in by_session(fleet.truth()).items()}
    assert heard(server) == truths
    assert fleet.tally.forged == fleet.tally.malformed == fleet.tally.timeouts == 0


def test_a_bad_network_loses_nothing_that_was_acknowledged() -> None:
    faults = Faults(loss=0.05, duplicates=0.05, reorder=0.05)
    behaviour = Behaviour(ramp_seconds=0.2, session_seconds=2, think_seconds=0.1, interim_seconds=0.2, faults=faults)

    async def body(fleet: Fleet, running: Site) -> None:
        await until(lambda: fleet.tally.accounting_responses > 800)

    fleet, server = run_fleet(behaviour, body)
    known = heard(server)
    assert fleet.tally.retransmissions
    assert fleet.tally.late
    assert fleet.tally.forged == 0
    for key, truth in by_session(fleet.truth()).items():
        up, down = known.get(key, (0, 0))
        assert truth.acknowledged_up <= up <= truth.octets_up
        assert truth.acknowledged_down <= down <= truth.octets_down


def test_every_request_comes_from_its_routers_own_address() -> None:
    async def body(fleet: Fleet, running: Site) -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS)

    _, server = run_fleet(HASTY, body)
    pairs = {(login.text(Type.NAS_IDENTIFIER), login.get(Type.NAS_IP_ADDRESS)) for login in server.logins}
    assert pairs == {(f"sim-router-{number}", bytes((127, 9, 1, number))) for number in (1, 2, 3)}


def test_a_disconnect_over_the_network_is_answered_and_stops_the_session() -> None:
    replies: list[bytes] = []

    async def body(fleet: Fleet, running: Site) -> None:
        await until(lambda: fleet.status().sessions == SUBSCRIBERS)
        target = fleet.description.routers[0]
        victim = next(truth for truth in fleet.truth() if truth.router == target.name)
        request = disconnect(9, attribute(Type.ACCT_SESSION_ID, victim.acct_session_id.encode()))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as operator:
            operator.setblocking(False)
            operator.connect((target.address, target.coa_port))
            for _ in range(2):
                operator.send(request)
                replies.append(await asyncio.get_running_loop().sock_recv(operator, 4096))
        assert decode(replies[0]).response_authenticator_is_valid(SECRET, request[4:20])
        await until(lambda: by_session(fleet.truth())[victim.router, victim.acct_session_id].stopped_acknowledged)

    fleet, _ = run_fleet(HASTY, body)
    assert decode(replies[0]).code == Code.DISCONNECT_ACK
    assert replies[0] == replies[1]
    assert (fleet.tally.disconnects_acknowledged, fleet.tally.dynamic_duplicates) == (1, 1)


class Operator:
    """Somebody at the API of a router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._words = Reader(LONGEST_WORD)

    async def ask(self, *words: str) -> list[dict[str, str]]:
        """Run a command and return its rows."""
        self._writer.write(encode_sentence(word.encode() for word in words))
        heard: list[list[bytes]] = []
        while not heard or heard[-1][0] != b"!done":
            octets = await self._reader.read(65_536)
            if not octets:
                raise ConnectionResetError
            self._words.feed(octets)
            heard += self._words.sentences()
        assert not any(sentence[0] == b"!trap" for sentence in heard)
        return [
            dict(word.decode()[1:].split("=", 1) for word in sentence[1:])
            for sentence in heard
            if sentence[0] == b"!re"
        ]


@asynccontextmanager
async def operate(router: RouterDescription, context: ssl.SSLContext | None = None) -> AsyncIterator[Operator]:
    assert router.api is not None
    reader, writer = await asyncio.open_connection(router.address, router.api.port, ssl=context)
    try:
        operator = Operator(reader, writer)
        await operator.ask("/login", f"=name={router.api.user}", f"=password={router.api.password.reveal().decode()}")
        yield operator
    finally:
        writer.transport.abort()


def with_api(*, tls: bool = False) -> FleetDescription:
    described = description(routers=1, first_address="127.9.4.1")
    with socket.socket() as probe:
        probe.bind(("127.9.4.1", 0))
        api = ApiDescription("caudal", Secret(b"api password"), probe.getsockname()[1], tls)
    return FleetDescription([replace(router, api=api) for router in described.routers], described.subscribers)


async def order(router: RouterDescription, request: bytes) -> Packet:
    """Send a CoA- or Disconnect-Request and return the answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect((router.address, router.coa_port))
        sender.send(request)
        return decode(await asyncio.get_running_loop().sock_recv(sender, 4096))


def test_the_api_shows_the_sessions_and_the_rates_that_a_coa_put_in_force() -> None:
    async def body(fleet: Fleet, running: Site) -> None:
        router = fleet.description.routers[0]
        await until(lambda: fleet.status().sessions == SUBSCRIBERS)
        truth = next(truth for truth in fleet.truth() if truth.login == "user7")
        number = int(truth.acct_session_id, 16)
        async with operate(router) as operator:
            active = {row["name"]: row for row in await operator.ask("/ppp/active/print")}
            assert len(active) == SUBSCRIBERS
            assert int(active["user7"]["session-id"], 16) == number
            assert int(active["user7"][".id"][1:], 16) & 0xFFFFF == number & 0xFFFFF

            identification = attribute(Type.ACCT_SESSION_ID, truth.acct_session_id.encode())
            slower = vendor_attribute(Vendor.MIKROTIK, 8, b"256k/1M")
            assert (await order(router, change(7, identification + slower))).code == Code.COA_ACK
            (queue,) = await operator.ask("/queue/simple/print", f"?target={active['user7']['address']}")
            assert (queue["name"], queue["max-limit"], queue["dynamic"]) == ("<pppoe-user7>", "256000/1000000", "true")
            (reading,) = await operator.ask("/radius/incoming/monitor", "=once=")
            assert (reading["requests"], reading["acks"]) == ("1", "1")

            await operator.ask("/ppp/active/remove", f"=.id={active['user7']['.id']}")
            await until(lambda: by_session(fleet.truth())[router.name, truth.acct_session_id].stopped_acknowledged)

    fleet, _ = run_fleet(HASTY, body, described=with_api())
    assert fleet.tally.coa_acknowledged == 1


def test_the_api_is_served_over_tls_with_the_same_certificate_each_time() -> None:
    async def body(fleet: Fleet, running: Site) -> None:
        router = fleet.description.routers[0]
        made = self_signed(router.name, router.address, seed=1)
        async with operate(router, ssl.create_default_context(cadata=made.certificate.decode())) as operator:
            (row,) = await operator.ask("/radius/print")
        assert (row["address"], row["accounting-port"]) == ("127.0.0.1", str(running.server.accounting_port))

    run_fleet(HASTY, body, described=with_api(tls=True))


def test_a_rebooting_router_drops_its_operators_and_accepts_none_until_it_is_up() -> None:
    async def body(fleet: Fleet, running: Site) -> None:
        router = fleet.description.routers[0]
        async with operate(router) as operator:
            fleet.box(router.name).reboot()
            with pytest.raises(ConnectionError):
                await operator.ask("/ppp/active/print")
        with pytest.raises(ConnectionError):
            await operate(router).__aenter__()

    fleet, _ = run_fleet(HASTY, body, described=with_api())
    assert fleet.tally.reboots == 1


def test_the_api_of_a_fleet_fails_as_it_was_asked_to() -> None:
    async def body(fleet: Fleet, running: Site) -> None:
        async with operate(fleet.description.routers[0]) as operator:
            await operator.ask("/ppp/active/print")
            with pytest.raises(ConnectionError):
                await operator.ask("/ppp/active/print")

    run_fleet(replace(HASTY, faults=Faults(api=ApiFaults(Mishap.CUT, every=2))), body, described=with_api())


def test_late_answers_to_orders_come_late() -> None:
    faults = Faults(dynamic=DynamicFaults(delay_seconds=0.2))

    async def body(fleet: Fleet, running: Site) -> None:
        began = asyncio.get_running_loop().time()
        await order(fleet.description.routers[0], disconnect(9, attribute(Type.USER_NAME, b"nobody")))
        assert asyncio.get_running_loop().time() - began >= 0.2

    run_fleet(replace(HASTY, faults=faults), body)


def test_an_api_port_that_is_taken_is_named_before_anything_is_sent() -> None:
    described = with_api()
    api = described.routers[0].api
    assert api is not None

    async def attempt() -> None:
        Fleet(described, HASTY, Server()).open()

    complaint = rf"API port {api.port} of router sim-router-1 .* cannot be bound"
    with socket.create_server(("127.9.4.1", api.port)), pytest.raises(SimulatorError, match=complaint):
        asyncio.run(attempt())


def test_a_live_file_of_truth_ends_as_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    midway: list[SessionTruth] = []

    async def body(fleet: Fleet, running: Site) -> None:
        await until(lambda: fleet.tally.accounting_responses > 100)
        midway.extend(read(path))

    fleet, _ = run_fleet(HASTY, body, live_truth=path)
    assert sum(truth.acknowledged_records for truth in midway) > 100
    assert by_session(read(path)) == by_session(fleet.truth())


def test_an_address_that_is_not_ours_is_refused_before_anything_is_sent() -> None:
    async def attempt() -> None:
        fleet = Fleet(description_of("192.0.2.77"), HASTY, Server())
        fleet.open()

    with pytest.raises(SimulatorError, match=r"router sim-router-1 \(192\.0\.2\.77\) cannot be bound"):
        asyncio.run(attempt())


def description_of(address: str) -> FleetDescription:
    return synthetic(routers=1, subscribers=1, secret=Secret(SECRET), first_address=address)


def command_arguments(server: Server, *more: str) -> list[str]:
    return [
        "--routers=2",
        f"--subscribers={SUBSCRIBERS}",
        "--first-address=127.9.2.1",
        f"--secret={SECRET.decode()}",
        f"--coa-port={free_port(address='127.9.2.1')}",
        f"--auth-port={server.authentication_port}",
        f"--acct-port={server.accounting_port}",
        "--ramp=0.2",
        "--interim-seconds=0.3",
        "--json",
        *more,
    ]


def run_command(
    *more: str, interrupt_after_records: int | None = None, twice: bool = False
) -> tuple[int, str, ScriptedServer]:
    """Run the command as a process of its own; return its code, its output and what the server heard."""

    async def session() -> tuple[int, str, ScriptedServer]:
        async with site() as running:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from cli.simulate import simulate; simulate()",
                *command_arguments(running.server, *more),
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
            if interrupt_after_records is not None:
                await until(lambda: len(running.scripted.records) > interrupt_after_records)
                process.send_signal(signal.SIGINT)
            if twice:
                running.scripted.mute = True
                await until(lambda: AcctStatus.STOP in running.scripted.statuses())
                process.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
            assert process.returncode is not None
            return process.returncode, output.decode(), running.scripted

    return asyncio.run(session())


def test_the_command_prints_its_summary_and_writes_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    code, output, server = run_command("--duration=1.5", "--stop-on-exit", f"--truth={path}")
    summary = json.loads(output)
    assert code == 0
    assert summary["accepts"] == summary["sessions_started"] == SUBSCRIBERS
    assert summary["sessions"] == 0
    truths = {key: (known.octets_up, known.octets_down) for key, known in by_session(read(path)).items()}
    assert truths == heard(server)


def test_an_interrupt_ends_the_command_cleanly_with_every_stop(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    options = ("--stop-on-exit", f"--truth={path}", "--truth-live")
    code, _, _ = run_command(*options, interrupt_after_records=2 * SUBSCRIBERS)
    assert code == 0
    assert all(truth.stopped_acknowledged for truth in read(path))


def test_a_second_interrupt_waits_for_no_answers() -> None:
    code, output, _ = run_command("--stop-on-exit", interrupt_after_records=2 * SUBSCRIBERS, twice=True)
    assert code == 0
    assert json.loads(output)["timeouts"] == 0


def test_the_command_runs_the_fleet_of_a_provisioning_file(tmp_path: Path) -> None:
    path = tmp_path / "isp.toml"
    path.write_text(
        f"""
        [[router]]
        name = "norte"
        address = "127.9.3.1"
        secret = "{SECRET.decode()}"
        profile = "mikrotik"
        coa_port = {free_port(address="127.9.3.1")}
        [[plan]]
        name = "20M"
        kind = "internet"
        [[service]]
        login = "user1"
        password = "pass1"
        plan = "20M"
        [[service]]
        login = "user2"
        password = "wrong"
        plan = "20M"
        """,
        encoding="utf-8",
    )
    code, output, server = run_command("--duration=1.5", f"--isp={path}")
    summary = json.loads(output)
    assert (code, summary["accepts"], summary["rejects"]) == (0, 1, 1)
    assert {login.text(Type.NAS_IDENTIFIER) for login in server.logins} == {"norte"}


def test_the_command_gives_made_up_routers_an_api_and_a_subscriber_a_demand(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    options = (
        "--api-password=x",
        f"--api-port={free_port(address='127.9.2.1')}",
        "--heavy=user1=80M",
        "--heavy=user2=8k",
    )
    code, _, _ = run_command("--duration=1.5", "--stop-on-exit", f"--truth={path}", *options)
    assert code == 0
    downloads = {truth.login: truth.octets_down for truth in read(path)}
    assert downloads["user1"] > 1_000_000
    assert 0 < downloads["user2"] <= 8_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--truth-live"], "--truth-live needs --truth FILE"),
        (["--loss=101"], "101"),
        (["--heavy=user1=fast"], "no LOGIN or LOGIN=RATE"),
        (["--heavy=nobody"], "no service of the fleet is called nobody"),
        (["--login-pattern=user"], "patterns hold one %d"),
        (["--first-address=192.0.2.77", "--routers=1"], "cannot be bound"),
        (["--truth=/nowhere/at/all.jsonl"], "No such file"),
    ],
)
def test_bad_options_get_one_clear_error(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code != 0
    assert complaint in result.output
    assert "Traceback" not in result.output
