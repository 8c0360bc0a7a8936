"""The hand on RouterOS against a box that speaks its protocol, over TCP and TLS, and misbehaves on demand."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from types import FrameType, TracebackType

import pytest

from daemon.router_readings import look
from domain.instants import Microseconds, to_datetime
from domain.secret import Secret
from enforcement.drivers.routeros import (
    IN_FLIGHT,
    LONGEST_REST_SECONDS,
    Rest,
    RouterConnection,
    RouterThread,
)
from enforcement.drivers.routeros_channel import Endpoint, Patience, open_channel
from enforcement.drivers.routeros_errors import RouterOsAway, RouterOsRefused, Trouble
from enforcement.routeros_entries import Entry, ListedAddress, Menu, PcqType, SimpleQueue, UpDown
from enforcement.routeros_state import DriftKind, Observed, difference
from simulator.rate_limit import Pair, RateLimit
from simulator.routeros_faults import SOUND, ApiFaults, Mishap
from simulator.routeros_menus import MOST_SESSIONS
from simulator.routeros_sessions import ActiveSession
from tests.unit.simulator.routeros_box import ADDRESS, CERTIFICATE, PASSWORD, USER, RunningBox, running_box

M = 1_000_000
QUEUES = Menu.SIMPLE_QUEUE.value
LISTS = Menu.ADDRESS_LIST.value
IMPATIENT = Patience(connect=2, silence=0.3, call=5)
MOST_SECONDS_FROM_NOTHING = 20
MOST_SECONDS_FOR_ONE = 2


@pytest.fixture
def box() -> Iterator[RunningBox]:
    """Lend a box of its own to a test."""
    with running_box() as running:
        yield running


def endpoint(
    box: RunningBox, *, tls: bool = False, fingerprint: bytes | None = None, ca: Path | None = None
) -> Endpoint:
    port = box.tls_port if tls else box.port
    return Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), port, tls, fingerprint, ca)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def connected(
    box: RunningBox, patience: Patience | None = None, clock: Clock | None = None
) -> Iterator[RouterConnection]:
    rest = Rest(chance=lambda: 0.0)
    lent = RouterConnection(endpoint(box), patience or Patience(), clock=clock or time.monotonic, rest=rest)
    try:
        yield lent
    finally:
        lent.close()


def queue(number: int, down: int = 10 * M, parent: str | None = None) -> SimpleQueue:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return SimpleQueue(f"service-{number}", f"line {number}", (address,), UpDown(down // 2, down), parent=parent)


PARENT = SimpleQueue("plan-1-shared", "Home 1:5", ("10.0.0.0/29",), UpDown(10 * M, 20 * M))
DESIRED: list[Entry] = [
    PARENT,
    PcqType("plan-2-up", M, "src-address"),
    *(queue(number, parent=PARENT.name) for number in range(1, 4)),
    queue(9),
    ListedAddress("service-1/10.0.0.1", "garden", "10.0.0.1"),
]


def session(number: int, login: str = "ana") -> ActiveSession:
    return ActiveSession(
        acct_session_id=f"81300{number:03x}",
        login=login,
        address="10.0.0.9",
        caller_id="00:11:22:33:44:55",
        started_us=Microseconds(0),
        octets=Pair(5, 6),
        bits_per_second=Pair(0, 0),
        rate_limit=RateLimit(Pair(M, 2 * M)),
        address_list="",
        limit_octets=Pair(0, 0),
    )


# What routers are made to hold


def test_a_router_comes_to_hold_what_it_should_and_that_is_read_back(box: RunningBox) -> None:
    with connected(box) as router:
        first = router.converge(DESIRED)
        again = router.converge(DESIRED)
    assert (first.written, first.in_force, first.refusals, first.conflicts) == (len(DESIRED), True, (), ())
    assert (again.written, again.in_force) == (0, True)
    held = {row["name"]: row for row in box.rows(QUEUES)}
    assert held["line 1"]["parent"] == "Home 1:5"
    assert held["line 1"]["max-limit"] == "5000000/10000000"


def test_everything_of_ours_can_be_taken_away_again(box: RunningBox) -> None:
    theirs = box.enter(QUEUES, {"name": "office", "target": "10.9.0.0/24", "comment": "the boss"})
    with connected(box) as router:
        router.converge(DESIRED)
        assert router.converge([]).in_force
    assert [row[".id"] for row in box.rows(QUEUES)] == [theirs]
    assert box.rows(LISTS) == []


@pytest.mark.parametrize("takes_effect", [False, True])
@pytest.mark.parametrize("mishap", [Mishap.CUT, Mishap.FATAL, Mishap.STALL])
@pytest.mark.parametrize("after", range(0, 7, 2))
def test_broken_off_at_any_write_it_converges_when_it_is_asked_again(
    box: RunningBox, mishap: Mishap, after: int, takes_effect: bool
) -> None:
    with connected(box, IMPATIENT, clock := Clock()) as router:
        for at in (f"{QUEUES}/add", f"{QUEUES}/set", f"{LISTS}/"):
            box.fail(ApiFaults(mishap, at=at, after=after, times=1, takes_effect=takes_effect))
            try:
                router.converge(DESIRED)
            except RouterOsAway:
                clock.now += LONGEST_REST_SECONDS
            box.fail(SOUND)
            assert router.converge(DESIRED).in_force
    assert len(box.rows(QUEUES)) == 5


def test_a_reboot_in_between_costs_what_it_cost_and_no_more(box: RunningBox) -> None:
    with connected(box) as router:
        router.converge(DESIRED)
        box.reboot()
        result = router.converge(DESIRED, DESIRED)
    assert (result.written, result.drifts, result.in_force) == (0, (), True)


def test_what_a_human_changed_is_shown_and_repaired_or_left(box: RunningBox) -> None:
    with connected(box) as router:
        router.converge(DESIRED)
        hand = {row["name"]: row[".id"] for row in box.rows(QUEUES)}
        router.run(f"{QUEUES}/set", ((".id", hand["line 1"]), ("max-limit", "99M/99M")))
        router.run(f"{QUEUES}/remove", ((".id", hand["line 9"]),))
        left = router.converge(DESIRED, DESIRED, repair_drift=False)
        repaired = router.converge(DESIRED, DESIRED)
    found = {(drift.key, drift.kind, drift.found) for drift in left.drifts}
    assert found == {("service-1", DriftKind.CHANGED, "99000000/99000000"), ("service-9", DriftKind.REMOVED, "")}
    assert left.written == 0
    assert repaired.drifts == left.drifts
    assert (repaired.written, repaired.in_force) == (2, True)


def test_a_refused_command_keeps_nothing_else_back(box: RunningBox) -> None:
    bad = replace(queue(5), queue="no-such-type/no-such-type")
    with connected(box) as router:
        result = router.converge([bad, *DESIRED])
    assert [refusal.command.key for refusal in result.refusals] == ["service-5"]
    assert not result.in_force
    assert "line 9" in {row["name"] for row in box.rows(QUEUES)}


def test_a_line_on_line_through_radius_gets_no_second_queue(box: RunningBox) -> None:
    box.open(session(1))
    with connected(box) as router:
        result = router.converge([queue(9)])
    assert [conflict.key for conflict in result.conflicts] == ["service-9"]
    assert (result.written, result.in_force) == (0, True)


def test_five_thousand_queues_from_nothing_and_one_that_changes(box: RunningBox) -> None:
    parent = replace(PARENT, targets=("10.0.0.0/16",))
    queues = [queue(number, parent=parent.name) for number in range(5_000)]
    with connected(box) as router:
        began = time.monotonic()
        whole = router.converge([parent, *queues])
        from_nothing = time.monotonic() - began
        queues[2_500] = queue(2_500, down=M, parent=parent.name)
        began = time.monotonic()
        one = router.converge([parent, *queues])
        for_one = time.monotonic() - began
    assert (whole.written, whole.in_force) == (5_001, True)
    assert (one.written, one.in_force) == (1, True)
    assert from_nothing <= MOST_SECONDS_FROM_NOTHING
    assert for_one <= MOST_SECONDS_FOR_ONE


def test_queues_of_interfaces_whose_addresses_are_not_shown_keep_every_queue_of_ours_back(box: RunningBox) -> None:
    box.enter(QUEUES, {"name": "<pppoe-ana>", "target": "<pppoe-ana>"}, dynamic=True)
    box.fail(ApiFaults(Mishap.BARE_TRAP, at="/ppp/active/print"))
    with connected(box) as router, pytest.raises(RouterOsRefused):
        router.converge([queue(9)])
    assert [row["name"] for row in box.rows(QUEUES)] == ["<pppoe-ana>"]


def test_a_slow_box_is_asked_little_and_waited_for(box: RunningBox) -> None:
    """At eight calls a second; entry by entry the same would take some fifty."""
    box.fail(ApiFaults(calls_per_second=8))
    with connected(box) as router:
        result = router.converge(DESIRED)
        calls = box.box.commands
        again = router.converge(DESIRED)
    assert (result.written, result.in_force, again.written) == (len(DESIRED), True, 0)
    assert calls <= len(DESIRED) + 12
    assert box.box.commands - calls <= 6


def test_no_more_than_four_commands_are_under_way(box: RunningBox) -> None:
    adds = [queue(number) for number in range(20)]
    with connected(box, IMPATIENT, Clock()) as router:
        router.read(QUEUES, ("name",))
        before = box.box.commands
        box.fail(ApiFaults(Mishap.STALL, at=f"{QUEUES}/add"))
        with pytest.raises(RouterOsAway):
            router.write(difference(adds, Observed({})).stages)
        assert box.box.commands - before == IN_FLIGHT == 4


# Sessions


def test_sessions_and_their_counters_are_read_and_sessions_ended(box: RunningBox) -> None:
    box.open(session(1))
    box.open(session(2, "eva"))
    with connected(box) as router:
        activity = router.activity()
        (ana,) = [row for row in activity.ppp if row["name"] == "ana"]
        ended = router.remove("/ppp/active", [ana[".id"]])
        again = router.remove("/ppp/active", [ana[".id"]])
    assert ana["session-id"] == "0x81300001"
    assert [row["bytes"] for row in activity.queues] == ["5/6", "5/6"]
    assert {row["name"] for row in activity.interfaces} == {"<pppoe-ana>", "<pppoe-eva>"}
    assert (ended, again) == (1, 0)
    assert box.sessions() == ["81300002"]


def test_a_router_can_be_checked_and_no_secret_is_asked_for(box: RunningBox) -> None:
    box.enter("/radius", {"service": "ppp", "address": "192.0.2.1", "secret": "radius secret"})
    with connected(box) as router:
        readings = look(router, lambda: to_datetime(box.box.clock()))
    assert readings.trouble == ""
    assert readings.clock_offset_seconds is not None
    assert abs(readings.clock_offset_seconds) < 5
    assert readings.radius is not None
    assert [row["address"] for row in readings.radius] == ["192.0.2.1"]
    assert "radius secret" not in repr(readings)


# Faults of the router


@pytest.mark.parametrize(
    ("mishap", "trouble"),
    [(Mishap.STALL, Trouble.TIMEOUT), (Mishap.FATAL, Trouble.FATAL), (Mishap.CUT, Trouble.BROKEN)],
)
def test_after_a_fault_the_next_call_is_on_a_new_connection(box: RunningBox, mishap: Mishap, trouble: Trouble) -> None:
    with connected(box, IMPATIENT, clock := Clock()) as router:
        box.fail(ApiFaults(mishap))
        with pytest.raises(RouterOsAway) as caught:
            router.read(QUEUES, ("name",))
        assert caught.value.trouble is trouble
        box.fail(SOUND)
        clock.now += LONGEST_REST_SECONDS
        assert router.read("/system/identity", ("name",)) == [{"name": "norte"}]


def test_a_lasting_connection_that_was_lost_meanwhile_is_no_fault_of_a_read(box: RunningBox) -> None:
    with connected(box, clock=Clock()) as router:
        router.read(QUEUES, ("name",))
        box.do(box.box.drop_connections)
        assert router.read("/system/identity", ("name",)) == [{"name": "norte"}]


def test_a_write_is_never_sent_twice(box: RunningBox) -> None:
    with connected(box, clock=Clock()) as router:
        router.read(QUEUES, ("name",))
        box.fail(ApiFaults(Mishap.CUT, at=f"{QUEUES}/add", times=1, takes_effect=True))
        with pytest.raises(RouterOsAway):
            router.run(f"{QUEUES}/add", (("name", "x"), ("target", "10.0.0.1")))
    assert len(box.rows(QUEUES)) == 1


@pytest.mark.parametrize(
    ("mishap", "words"),
    [(Mishap.TRAP, "internal error"), (Mishap.BARE_TRAP, "no reason"), (Mishap.GARBLED_TRAP, r"se\xf1al")],
)
def test_a_trap_of_any_form_is_a_refusal_and_the_connection_goes_on(
    box: RunningBox, mishap: Mishap, words: str
) -> None:
    with connected(box) as router:
        box.fail(ApiFaults(mishap, at=f"{QUEUES}/print"))
        with pytest.raises(RouterOsRefused) as caught:
            router.read(QUEUES, ("name",))
        before = box.box.commands
        assert words in str(caught.value)
        assert router.read("/system/identity", ("name",)) == [{"name": "norte"}]
        assert box.box.commands == before + 1


def test_a_reply_that_comes_twice_is_not_taken_for_the_next_one(box: RunningBox) -> None:
    box.fail(ApiFaults(Mishap.DUPLICATE, takes_effect=True))
    with connected(box) as router:
        assert router.read("/system/identity", ("name",)) == [{"name": "norte"}]
        assert router.read(QUEUES, ("name",)) == []
        assert router.converge(DESIRED).in_force


@pytest.mark.parametrize("octets", [1, 2, 7])
def test_words_may_arrive_in_any_pieces(box: RunningBox, octets: int) -> None:
    box.fail(ApiFaults(write_octets=octets))
    with connected(box) as router:
        assert router.converge(DESIRED).in_force


def test_comments_that_are_no_utf8_do_not_hide_what_is_ours(box: RunningBox) -> None:
    with connected(box) as router:
        router.converge(DESIRED)
        box.fail(ApiFaults(garbled_comments=True))
        result = router.converge(DESIRED)
    assert (result.written, result.in_force) == (0, True)


def test_an_empty_value_empties(box: RunningBox) -> None:
    number = box.enter(QUEUES, {"name": "x", "target": "10.0.0.1", "comment": "old"})
    with connected(box) as router:
        router.run(f"{QUEUES}/set", ((".id", number), ("comment", "")))
        assert router.read(QUEUES, ("comment",))[0].get("comment", "") == ""


def test_queries_are_a_stack_and_keep_their_order(box: RunningBox) -> None:
    for name in ("a", "b", "c"):
        box.enter(QUEUES, {"name": name, "target": "10.0.0.1"})
    with connected(box) as router:
        found = router.read(QUEUES, ("name",), ("?name=a", "?name=b", "?#|", "?#!"))
    assert found == [{"name": "c"}]


def test_unicode_goes_both_ways(box: RunningBox) -> None:
    with connected(box) as router:
        router.converge([replace(queue(1), name="Peña, José 🛜")])
    assert [row["name"] for row in box.rows(QUEUES)] == ["Peña, José 🛜"]


def test_the_connection_lasts(box: RunningBox) -> None:
    with connected(box) as router:
        for _ in range(5):
            router.read(QUEUES, ("name",))
        assert box.do(lambda: box.box.connections) == 1
        assert box.box.commands == 6


def test_a_full_router_is_left_in_peace_and_asked_again(box: RunningBox) -> None:
    others = [open_channel(endpoint(box), IMPATIENT) for _ in range(MOST_SESSIONS)]
    with connected(box, IMPATIENT, clock := Clock()) as router:
        for rest in (0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_REST_SECONDS, LONGEST_REST_SECONDS):
            with pytest.raises(RouterOsAway) as refused:
                router.read(QUEUES, ("name",))
            assert refused.value.trouble is Trouble.BROKEN
            clock.now += rest - 0.01
            with pytest.raises(RouterOsAway) as resting:
                router.read(QUEUES, ("name",))
            assert resting.value.trouble is Trouble.RESTING
            clock.now += 0.02
        others.pop().close()
        gone = threading.Event()
        while box.do(lambda: box.box.connections) == MOST_SESSIONS:
            gone.wait(0.01)
        assert router.read(QUEUES, ("name",)) == []
    for other in others:
        other.close()


def test_a_router_that_comes_back_is_asked_within_thirty_seconds() -> None:
    rest, now = Rest(chance=lambda: 1.0), 0.0
    for _ in range(1_000):
        rest.failed(now)
        assert rest.remaining(now) <= 30
        now += rest.remaining(now)
    rest.succeeded()
    assert rest.remaining(now) == 0


def test_nobody_at_the_address_is_said_so() -> None:
    with socket.socket() as closed:
        closed.bind((ADDRESS, 0))
        port = closed.getsockname()[1]
    away = Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), port, tls=False)
    with pytest.raises(RouterOsAway, match="nobody answers") as caught:
        open_channel(away, IMPATIENT)
    assert caught.value.trouble is Trouble.UNREACHABLE


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff" * 64,
        b"\xf7" * 64,
        b"\x05!nope\x00",
        b"\x05!done\x07.tag=99\x00",
        b"",
    ],
)
def test_a_peer_that_speaks_something_else_is_left(garbage: bytes) -> None:
    with socket.create_server((ADDRESS, 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(garbage)

        thread = threading.Thread(target=answer)
        thread.start()
        other = Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), server.getsockname()[1], tls=False)
        with pytest.raises(RouterOsAway) as caught:
            open_channel(other, IMPATIENT)
        thread.join()
    assert caught.value.trouble is Trouble.BROKEN


def test_a_sentence_leaves_in_one_write() -> None:
    pieces: list[bytes] = []
    with socket.create_server((ADDRESS, 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                for tag in (b"1", b"2"):
                    pieces.append(peer.recv(65_536))
                    peer.sendall(b"\x05!done\x06.tag=" + tag + b"\x00")

        thread = threading.Thread(target=answer)
        thread.start()
        peer = Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), server.getsockname()[1], tls=False)
        channel = open_channel(peer, IMPATIENT)
        nodelay = channel._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        channel.call("/queue/simple/set", ((".id", "*1"), ("comment", "")))
        channel.close()
        thread.join()
    assert nodelay
    assert pieces[1] == b"\x11/queue/simple/set\x07=.id=*1\x09=comment=\x06.tag=2\x00"


# Login and TLS


def _reachable(error: BaseException) -> list[object]:
    """Return everything a crash report could show: texts, arguments, and the variables of every frame."""
    found: list[object] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None:
            continue
        found += [str(each), repr(each), each.args, vars(each)]
        trace: TracebackType | None = each.__traceback__
        while trace is not None:
            frame: FrameType = trace.tb_frame
            if "enforcement" in frame.f_code.co_filename:
                found += frame.f_locals.items()
            trace = trace.tb_next
        waiting += [each.__cause__, each.__context__]
    return found


@pytest.mark.parametrize(
    "faults",
    [
        ApiFaults(refuses_logins=True),
        *(ApiFaults(mishap, at="/login") for mishap in Mishap if mishap is not Mishap.DUPLICATE),
    ],
)
def test_a_login_that_fails_shows_the_password_to_nobody_and_leaves_nothing_open(
    box: RunningBox, faults: ApiFaults, caplog: pytest.LogCaptureFixture
) -> None:
    box.fail(faults)
    with caplog.at_level(logging.DEBUG), pytest.raises(RouterOsAway) as caught:
        open_channel(endpoint(box), IMPATIENT)
    shown = _reachable(caught.value)
    assert [each for each in shown if PASSWORD in repr(each)] == []
    assert PASSWORD not in caplog.text
    alone = threading.Event()
    while box.do(lambda: box.box.connections):
        alone.wait(0.01)


def test_a_router_that_repeats_the_password_is_not_quoted() -> None:
    message = b"=message=wrong password correct horse"
    with socket.create_server((ADDRESS, 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                tag = b"\x06.tag=1\x00"
                peer.sendall(b"\x05!trap" + bytes((len(message),)) + message + tag + b"\x05!done" + tag)

        thread = threading.Thread(target=answer)
        thread.start()
        peer = Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), server.getsockname()[1], tls=False)
        with pytest.raises(RouterOsAway, match=r"wrong password \*\*\*"):
            open_channel(peer, IMPATIENT)
        thread.join()


def test_an_old_router_is_answered_its_challenge_and_never_told_the_password_again() -> None:
    """Before RouterOS 6.43 a login was an MD5 of the password and what the router drew by lot."""
    challenge = bytes(range(16))
    heard: list[bytes] = []
    with socket.create_server((ADDRESS, 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                for tag, told in ((b"1", b"\x25=ret=" + challenge.hex().encode()), (b"2", b"")):
                    heard.append(peer.recv(4096))
                    peer.sendall(b"\x05!done" + told + b"\x06.tag=" + tag + b"\x00")

        thread = threading.Thread(target=answer)
        thread.start()
        peer = Endpoint("norte", ADDRESS, USER, Secret.from_text(PASSWORD), server.getsockname()[1], tls=False)
        open_channel(peer, IMPATIENT).close()
        thread.join()
    response = md5(b"\0" + PASSWORD.encode() + challenge, usedforsecurity=False).hexdigest()
    assert f"=response=00{response}".encode() in heard[1]
    assert PASSWORD.encode() not in heard[1]


def test_a_wrong_password_is_said_to_be_one(box: RunningBox) -> None:
    wrong = replace(endpoint(box), password=Secret(b"wrong"))
    with pytest.raises(RouterOsAway, match="refuses the login of caudal: invalid user name") as caught:
        open_channel(wrong, IMPATIENT)
    assert caught.value.trouble is Trouble.LOGIN_REFUSED


def test_the_right_fingerprint_is_enough(box: RunningBox) -> None:
    pinned = endpoint(box, tls=True, fingerprint=bytes.fromhex(CERTIFICATE.fingerprint))
    channel = open_channel(pinned, IMPATIENT)
    assert channel.call("/system/identity/print").rows[0]["name"] == "norte"
    channel.close()


def test_another_fingerprint_is_refused_before_the_login(box: RunningBox) -> None:
    with pytest.raises(RouterOsAway, match=CERTIFICATE.fingerprint) as caught:
        open_channel(endpoint(box, tls=True, fingerprint=bytes(32)), IMPATIENT)
    assert caught.value.trouble is Trouble.CERTIFICATE
    assert box.box.commands == 0


def test_a_certificate_that_nobody_we_know_has_signed_is_refused(box: RunningBox) -> None:
    with pytest.raises(RouterOsAway) as caught:
        open_channel(endpoint(box, tls=True), IMPATIENT)
    assert caught.value.trouble is Trouble.CERTIFICATE
    assert box.box.commands == 0


def test_a_certificate_of_an_authority_we_know_is_taken(box: RunningBox, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(CERTIFICATE.certificate)
    open_channel(endpoint(box, tls=True, ca=authority), IMPATIENT).close()


def test_a_certificate_for_another_name_is_refused(box: RunningBox, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(CERTIFICATE.certificate)
    with pytest.raises(RouterOsAway) as caught:
        open_channel(replace(endpoint(box, tls=True, ca=authority), host="localhost"), IMPATIENT)
    assert caught.value.trouble is Trouble.CERTIFICATE


def test_tls_with_a_port_without_tls_ends_in_time(box: RunningBox) -> None:
    with pytest.raises(RouterOsAway):
        open_channel(replace(endpoint(box, tls=True), port=box.port), Patience(connect=0.3, silence=0.3, call=1))


# The thread


def test_a_router_has_one_thread_which_takes_one_thing_after_the_other(box: RunningBox) -> None:
    thread = RouterThread(RouterConnection(endpoint(box)), "norte")
    names = [thread.submit(lambda _: threading.current_thread().name) for _ in range(8)]
    rows = [thread.submit(lambda router: router.read("/system/identity", ("name",))) for _ in range(8)]
    assert len({each.result(10) for each in names}) == 1
    assert [each.result(10) for each in rows] == [[{"name": "norte"}]] * 8
    assert box.do(lambda: box.box.connections) == 1
    thread.close()


@pytest.mark.parametrize("tls", [False, True])
def test_closing_breaks_off_what_waits_for_a_router_that_says_nothing(box: RunningBox, tls: bool) -> None:
    pin = bytes.fromhex(CERTIFICATE.fingerprint) if tls else None
    thread = RouterThread(RouterConnection(endpoint(box, tls=tls, fingerprint=pin)), "norte")
    thread.submit(lambda router: router.read(QUEUES, ("name",))).result(10)
    box.fail(ApiFaults(Mishap.STALL))
    stalled = thread.submit(lambda router: router.read(QUEUES, ("name",)))
    waiting = thread.submit(lambda router: router.read(QUEUES, ("name",)))
    hung = threading.Event()
    while box.box.commands < 3:
        hung.wait(0.01)
    began = time.monotonic()
    thread.close()
    assert time.monotonic() - began < 5
    with pytest.raises(RouterOsAway):
        stalled.result(1)
    assert waiting.cancelled()


def test_a_closed_connection_is_not_opened_again(box: RunningBox) -> None:
    router = RouterConnection(endpoint(box))
    router.close()
    with pytest.raises(RouterOsAway) as caught:
        router.read(QUEUES, ("name",))
    assert caught.value.trouble is Trouble.CLOSED
