"""One router's life with its subscribers, by a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.instants import SECOND_US, Microseconds
from domain.secret import Secret
from radius.codes import AcctStatus, Code, Type, Vendor
from radius.packet import Packet, attribute, decode, integer_attribute, vendor_attribute
from simulator.behaviour import AccountingOn, Behaviour, DynamicFaults, Faults, Unlisted
from simulator.description import Method, RouterDescription, SubscriberDescription
from simulator.exchange import Outgoing
from simulator.rates import Rates
from simulator.router import Router
from simulator.tally import Tally
from simulator.truth import Ledger, SessionTruth
from tests.unit.simulator.server import SECRET, ScriptedServer, change, counters, disconnect

START = Microseconds(1_700_000_000_000_000)
ROUTER = RouterDescription(name="norte", address="127.0.0.2", identifier="norte-nas", secret=Secret(SECRET))
STEADY = Behaviour(ramp_seconds=1, session_seconds=1e9)
ORDERS_FROM = ("127.0.0.1", 40_000)


class Run:
    """A router and a server joined without a network; answers take no time."""

    def __init__(
        self,
        behaviour: Behaviour = STEADY,
        server: ScriptedServer | None = None,
        *,
        logins: tuple[str, ...] = ("ana",),
        description: RouterDescription = ROUTER,
        demand: int | None = None,
    ) -> None:
        self.server = server or ScriptedServer(dict.fromkeys(logins, "password"))
        self.tally = Tally()
        self.sent: list[Outgoing] = []
        self._ledger = Ledger()
        subscribers = [
            SubscriberDescription(login, Secret.from_text("password"), method, "02:00:00:00:00:01", "norte", demand)
            for login, method in zip(logins, list(Method) * len(logins), strict=False)
        ]
        self.now = START
        self.router = Router(
            description, subscribers, behaviour, ledger=self._ledger, tally=self.tally, seed=1, now=START
        )

    def until(self, seconds: float) -> Run:
        """Let time pass until `seconds` after the start."""
        end = START + int(seconds * SECOND_US)
        while self.router.next_due_us is not None and self.router.next_due_us <= end:
            self.now = Microseconds(max(self.now, self.router.next_due_us))
            self._carry(self.router.tick(self.now))
        self.now = Microseconds(end)
        return self

    def order(self, datagram: bytes) -> Packet:
        """Send a CoA- or Disconnect-Request and return the answer."""
        reply = self.router.receive_dynamic(datagram, ORDERS_FROM, self.now)
        assert reply is not None
        return decode(reply)

    def truth(self) -> list[SessionTruth]:
        return self._ledger.truth()

    def records(self, status: AcctStatus) -> list[Packet]:
        return [record for record in self.server.records if record.integer(Type.ACCT_STATUS_TYPE) == status]

    def _carry(self, outgoing: list[Outgoing]) -> None:
        waiting = list(outgoing)
        while waiting:
            sent = waiting.pop(0)
            self.sent.append(sent)
            answer = self.server.answer(sent.datagram)
            if answer is not None:
                waiting += self.router.receive(sent.channel, answer, self.now)


def test_a_subscriber_logs_in_starts_and_reports_at_the_interval_of_the_accept() -> None:
    run = Run().until(190)
    assert run.server.statuses() == [AcctStatus.START] + [AcctStatus.INTERIM] * 3
    times = [record.integer(Type.ACCT_SESSION_TIME) for record in run.records(AcctStatus.INTERIM)]
    assert times == [60, 120, 180]
    assert run.router.sessions == 1


def test_every_method_gets_in() -> None:
    run = Run(logins=("ana", "eva", "leo")).until(2)
    assert (run.router.sessions, run.tally.accepts, run.tally.rejects, run.tally.distrusted) == (3, 3, 0, 0)


def test_the_session_has_the_address_and_class_of_the_accept() -> None:
    (start,) = Run().until(2).server.records
    assert start.get(Type.FRAMED_IP_ADDRESS) == bytes((100, 64, 0, 1))
    assert start.all(Type.CLASS) == [b"class 1"]


def test_a_router_gives_an_address_of_its_own_where_the_server_gives_none() -> None:
    run = Run(server=ScriptedServer({"ana": "password"}, framed_address=b"\xff\xff\xff\xfe")).until(2)
    assert run.server.records[0].get(Type.FRAMED_IP_ADDRESS) == bytes((10, 200, 0, 1))


def test_an_acct_session_id_looks_like_one_of_routeros() -> None:
    (start,) = Run().until(2).server.records
    acct_session_id = start.text(Type.ACCT_SESSION_ID) or ""
    assert len(acct_session_id) == 8
    assert acct_session_id.startswith("81")
    assert int(acct_session_id[2], 16) == START // SECOND_US % 16


def test_only_logins_are_signed() -> None:
    run = Run().until(70)
    assert all(login.has_message_authenticator for login in run.server.logins)
    assert not any(record.has_message_authenticator for record in run.server.records)


def test_counters_only_grow_and_match_the_truth() -> None:
    run = Run().until(600)
    seen = [counters(record) for record in run.server.records]
    assert seen == sorted(seen)
    (truth,) = run.truth()
    assert seen[-1] == (truth.octets_up, truth.octets_down) == (truth.acknowledged_up, truth.acknowledged_down)
    assert truth.acknowledged_records == len(seen)
    assert (run.tally.octets_up, run.tally.octets_down) == seen[-1]


def test_a_refused_subscriber_waits_longer_each_time() -> None:
    run = Run(server=ScriptedServer({})).until(200)
    assert run.tally.rejects == len(run.server.logins) == 5
    assert run.server.records == []


def test_a_silent_server_gets_three_equal_requests_and_then_a_new_login() -> None:
    run = Run(server=ScriptedServer({"ana": "password"}, mute=True)).until(12)
    first, second, third, fresh = (login.octets for login in run.server.logins[:4])
    assert first == second == third != fresh
    assert run.tally.timeouts >= 1


def test_a_record_that_nobody_acknowledged_is_reported_but_not_acknowledged() -> None:
    run = Run().until(61)
    (before,) = run.truth()
    run.server.mute = True
    run.until(170)
    (after,) = run.truth()
    assert (after.acknowledged_up, after.acknowledged_records) == (before.acknowledged_up, before.acknowledged_records)
    assert after.octets_down > before.octets_down


def test_a_session_timeout_ends_the_session_to_the_second_and_the_line_dials_again() -> None:
    server = ScriptedServer({"ana": "password"}, session_timeout_seconds=90)
    run = Run(replace(STEADY, think_seconds=1), server).until(120)
    (stop,) = run.records(AcctStatus.STOP)
    assert stop.integer(Type.ACCT_SESSION_TIME) == 90
    assert stop.integer(Type.ACCT_TERMINATE_CAUSE) == 5
    assert len(run.records(AcctStatus.START)) == 2
    assert [truth.stopped_acknowledged for truth in run.truth()] == [True, False]


def test_sessions_come_and_go() -> None:
    run = Run(replace(STEADY, session_seconds=30, think_seconds=10)).until(600)
    starts, stops = run.records(AcctStatus.START), run.records(AcctStatus.STOP)
    assert len(starts) - len(stops) in (0, 1)
    assert len(stops) > 5
    assert len({start.text(Type.ACCT_SESSION_ID) for start in starts}) == len(starts)


def test_a_lost_stop_ends_the_session_without_a_word() -> None:
    faults = Faults(lost_stops=1.0)
    run = Run(replace(STEADY, session_seconds=30, think_seconds=10, faults=faults)).until(600)
    assert run.tally.sessions_stopped > 5
    assert run.records(AcctStatus.STOP) == []
    assert not any(truth.stopped for truth in run.truth())


def test_a_coa_changes_the_speed_from_now_on() -> None:
    run = Run(server=ScriptedServer({"ana": "password"}, rate_limit="8k/80k")).until(61)
    speed = vendor_attribute(Vendor.MIKROTIK, 8, b"800/800")
    assert run.order(change(7, attribute(Type.USER_NAME, b"ana") + speed)).code == Code.COA_ACK
    run.until(122)
    earlier, later = (counters(record) for record in run.records(AcctStatus.INTERIM))
    assert later[1] - earlier[1] <= 800 * 60 / 8 + 1_000 * 10 / 8
    assert run.tally.coa_acknowledged == 1


def test_a_coa_can_end_the_session_earlier_or_later() -> None:
    server = ScriptedServer({"ana": "password"}, session_timeout_seconds=90)
    run = Run(replace(STEADY, think_seconds=10_000), server).until(30)
    later = integer_attribute(Type.SESSION_TIMEOUT, 150)
    run.order(change(1, attribute(Type.USER_NAME, b"ana") + later))
    assert run.until(140).router.sessions == 1
    assert run.until(155).records(AcctStatus.STOP)[0].integer(Type.ACCT_SESSION_TIME) == 150


def test_a_disconnect_is_acknowledged_stops_the_session_and_the_line_dials_again() -> None:
    run = Run().until(61)
    assert run.order(disconnect(7, attribute(Type.USER_NAME, b"ana"))).code == Code.DISCONNECT_ACK
    run.until(100)
    (stop,) = run.records(AcctStatus.STOP)
    assert stop.integer(Type.ACCT_TERMINATE_CAUSE) == 6
    assert len(run.records(AcctStatus.START)) == 2


def test_a_second_disconnect_of_the_same_session_finds_none() -> None:
    run = Run().until(61)
    acct_session_id = attribute(Type.ACCT_SESSION_ID, run.truth()[0].acct_session_id.encode())
    run.order(disconnect(7, acct_session_id))
    run.until(61.1)
    refused = run.order(disconnect(8, acct_session_id))
    assert (refused.code, refused.integer(Type.ERROR_CAUSE)) == (Code.DISCONNECT_NAK, 503)
    assert (run.tally.disconnects_acknowledged, run.tally.disconnects_refused) == (1, 1)


def test_a_stranger_gets_no_answer() -> None:
    run = Run().until(61)
    datagram = disconnect(7, attribute(Type.USER_NAME, b"ana"), secret=b"guessed")
    assert run.router.receive_dynamic(datagram, ORDERS_FROM, run.now) is None


def test_a_reboot_loses_sessions_without_stop_and_moves_the_boot_digit() -> None:
    run = Run(replace(STEADY, faults=Faults(reboot_every_seconds=300))).until(600)
    assert run.tally.reboots >= 1
    assert run.records(AcctStatus.STOP) == []
    first, second = [truth.acct_session_id for truth in run.truth()][:2]
    assert int(second[2], 16) == (int(first[2], 16) + 1) % 16
    assert second[3:] == "00001"
    assert run.router.sessions == 1


def test_a_rebooting_router_answers_no_orders() -> None:
    run = Run(replace(STEADY, faults=Faults(reboot_every_seconds=300)))
    while run.tally.reboots == 0:
        run.until((run.now - START) / SECOND_US + 1)
    assert run.router.receive_dynamic(disconnect(7, b""), ORDERS_FROM, run.now) is None


@pytest.mark.parametrize(
    ("profile", "policy", "announced"),
    [
        ("mikrotik", AccountingOn.PROFILE, False),
        ("generic", AccountingOn.PROFILE, True),
        ("mikrotik", AccountingOn.ALWAYS, True),
        ("generic", AccountingOn.NEVER, False),
    ],
)
def test_a_boot_is_announced_as_the_maker_or_the_option_has_it(
    profile: str, policy: AccountingOn, announced: bool
) -> None:
    behaviour = replace(STEADY, faults=Faults(accounting_on=policy))
    run = Run(behaviour, description=replace(ROUTER, profile=profile)).until(5)
    assert (run.server.statuses()[0] == AcctStatus.ACCOUNTING_ON) is announced


def test_the_interval_of_the_option_beats_that_of_the_accept() -> None:
    run = Run(replace(STEADY, interim_seconds=10)).until(62)
    assert len(run.records(AcctStatus.INTERIM)) == 6


def test_compressed_time_lives_a_day_in_a_minute() -> None:
    run = Run(Behaviour(speed=1_440, ramp_seconds=1, session_seconds=1e9, interim_seconds=3_600)).until(61)
    assert len(run.records(AcctStatus.INTERIM)) == pytest.approx(24, abs=1)


def test_shutting_down_stops_every_session_once_and_lets_nobody_in() -> None:
    run = Run(logins=("ana", "eva", "leo")).until(30)
    run.router.shut_down(run.now, 2 * SECOND_US)
    run.until(1_000)
    assert len(run.records(AcctStatus.STOP)) == 3
    assert len(run.server.logins) == 3
    assert run.router.is_quiet


def test_an_accept_with_a_rate_that_no_router_understands_is_not_used() -> None:
    run = Run(server=ScriptedServer({"ana": "password"}, rate_limit="fast")).until(2)
    assert (run.router.sessions, run.tally.distrusted) == (0, 1)


def test_the_same_seed_sends_the_same_octets() -> None:
    behaviour = replace(STEADY, session_seconds=60, think_seconds=5)
    assert Run(behaviour).until(300).sent == Run(behaviour).until(300).sent


def test_a_demand_shows_at_once_that_the_line_is_slower() -> None:
    run = Run(server=ScriptedServer({"ana": "password"}, rate_limit="1M/8M"), demand=10**9).until(60.5)
    run.order(change(7, attribute(Type.USER_NAME, b"ana") + vendor_attribute(Vendor.MIKROTIK, 8, b"1M/800k")))
    run.until(121)
    first, second = (counters(record)[1] for record in run.records(AcctStatus.INTERIM))
    assert first == 60_000_000
    assert second - first == 6_000_000 + (60_500_000 - 60_000_000) * 9 // 10


def test_an_operator_of_the_router_can_end_a_session() -> None:
    run = Run().until(61)
    run.router.kick(run.truth()[0].acct_session_id, run.now)
    run.until(61.1)
    assert run.records(AcctStatus.STOP)[0].integer(Type.ACCT_TERMINATE_CAUSE) == 6


def test_a_queue_that_somebody_wrote_limits_only_lines_without_one_of_radius() -> None:
    shape = Rates(1_000, 8_000)
    free = Run(server=ScriptedServer({"ana": "password"}, rate_limit=None), demand=10**6)
    free.until(1).router.shape(bytes((100, 64, 0, 1)), shape, free.now)
    held = Run(server=ScriptedServer({"ana": "password"}, rate_limit="1M/1M"), demand=10**6)
    held.until(1).router.shape(bytes((100, 64, 0, 1)), shape, held.now)
    downloads = [counters(run.until(61).records(AcctStatus.INTERIM)[0])[1] for run in (free, held)]
    assert downloads[0] == 125_000 + 59_000
    assert downloads[1] == 7_500_000


def test_a_line_that_dials_finds_the_queue_that_waits_for_it() -> None:
    run = Run(server=ScriptedServer({"ana": "password"}, rate_limit=None), demand=10**6)
    run.router.shape(bytes((100, 64, 0, 1)), Rates(1_000, 8_000), run.now)
    assert counters(run.until(61).records(AcctStatus.INTERIM)[0])[1] == 60_000


def test_a_session_ends_when_its_octets_are_used_up() -> None:
    limit = vendor_attribute(Vendor.MIKROTIK, 2, (10_000_000).to_bytes(4))
    server = ScriptedServer({"ana": "password"}, rate_limit="8M/8M", more=limit)
    (stop, *_) = Run(replace(STEADY, think_seconds=10_000), server, demand=10**9).until(60).records(AcctStatus.STOP)
    assert 10_000_000 <= counters(stop)[1] <= 11_000_000


def test_a_coa_can_lower_the_limit_of_octets() -> None:
    server = ScriptedServer({"ana": "password"}, rate_limit="8M/8M")
    run = Run(replace(STEADY, think_seconds=10_000), server, demand=10**9).until(10)
    assert run.records(AcctStatus.STOP) == []
    limit = vendor_attribute(Vendor.MIKROTIK, 2, (5_000_000).to_bytes(4))
    run.order(change(7, attribute(Type.USER_NAME, b"ana") + limit))
    run.until(10.1)
    assert len(run.records(AcctStatus.STOP)) == 1


def test_a_router_that_takes_unlisted_attributes_reports_at_the_new_interval() -> None:
    run = Run(replace(STEADY, faults=Faults(unlisted=Unlisted.APPLIED))).until(61)
    interval = integer_attribute(Type.ACCT_INTERIM_INTERVAL, 10)
    run.order(change(7, attribute(Type.USER_NAME, b"ana") + interval))
    run.until(122)
    assert len(run.records(AcctStatus.INTERIM)) == 1 + 6


def test_a_router_without_accept_is_silent() -> None:
    run = Run(description=replace(ROUTER, accepts_orders=False)).until(61)
    assert run.router.receive_dynamic(disconnect(7, b""), ORDERS_FROM, run.now) is None
    run.router.incoming.accept = True
    assert run.order(disconnect(7, attribute(Type.USER_NAME, b"ana"))).code == Code.DISCONNECT_ACK


def test_a_pretending_router_acknowledges_and_the_user_stays_on_line() -> None:
    run = Run(replace(STEADY, faults=Faults(dynamic=DynamicFaults(pretended=1.0)))).until(61)
    assert run.order(disconnect(7, attribute(Type.USER_NAME, b"ana"))).code == Code.DISCONNECT_ACK
    assert run.until(100).records(AcctStatus.STOP) == []


def test_a_router_can_obey_without_a_word() -> None:
    run = Run(replace(STEADY, faults=Faults(dynamic=DynamicFaults(unanswered=1.0)))).until(61)
    datagram = disconnect(7, attribute(Type.USER_NAME, b"ana"))
    assert run.router.receive_dynamic(datagram, ORDERS_FROM, run.now) is None
    assert len(run.until(61.1).records(AcctStatus.STOP)) == 1
