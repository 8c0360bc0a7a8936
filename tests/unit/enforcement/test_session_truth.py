"""What the books and the router say of sessions, and which of them is right."""

from __future__ import annotations

import pytest

from accounting.record import read
from domain.instants import SECOND_US, Microseconds
from enforcement.polled_accounting import (
    KnownSession,
    Poll,
    PolledRecord,
    accounting_request,
    poll,
    restored,
)
from enforcement.polled_readings import Reading, Shown, Source, Subject, readings
from enforcement.session_truth import Kind, OpenSession, compare, kind_of, seen_sessions
from radius.codes import AcctStatus
from tests.unit.accounting.records import fold

NOW_US = Microseconds(1_767_268_800 * SECOND_US)
LONG_AGO_US = Microseconds(NOW_US - 600 * SECOND_US)
ROW = {"name": "ana", "service": "pppoe", "caller-id": "00:11:22:33:44:55", "address": "10.0.0.7", "radius": "true"}


def active(session_id: str, **more: str) -> dict[str, str]:
    return {".id": "*80000077", **ROW, "uptime": "1h2m3s", "session-id": f"0x{session_id}", **more}


def ours(session_id: str, *, heard_us: Microseconds = LONG_AGO_US, login: str = "ana") -> OpenSession:
    return OpenSession(1, session_id, login, "10.0.0.7", heard_us)


def test_one_session_in_two_notations_is_one() -> None:
    truth = compare([ours("81300077")], seen_sessions([active("81300077")], []), NOW_US)
    assert truth == ((), (), (), False)


def test_a_session_that_the_router_does_not_have_is_a_ghost() -> None:
    truth = compare([ours("81300076"), ours("81300077")], seen_sessions([active("81300077")], []), NOW_US)
    assert truth.ghosts == (ours("81300076"),)


@pytest.mark.parametrize("ago", [-5, 0, 29])
def test_a_session_that_was_heard_while_the_router_was_read_is_no_ghost(ago: int) -> None:
    heard = ours("81300076", heard_us=Microseconds(NOW_US - ago * SECOND_US))
    assert compare([heard], seen_sessions([active("81300077")], []), NOW_US).ghosts == ()


def test_sessions_of_an_earlier_boot_are_ghosts_at_once() -> None:
    heard = ours("81200076", heard_us=Microseconds(NOW_US - SECOND_US))
    truth = compare([heard], seen_sessions([active("81300077")], []), NOW_US)
    assert (truth.ghosts, truth.rebooted) == ((heard,), True)


@pytest.mark.parametrize("session_id", ["83300076", "82300076", "86300076", "api-ppp-*1-0", "81300076-1"])
def test_sessions_of_menus_that_were_not_read_are_never_ghosts(session_id: str) -> None:
    assert compare([ours(session_id)], [], NOW_US).ghosts == ()


def test_a_hotspot_that_was_not_read_has_no_ghosts() -> None:
    assert compare([ours("80300076")], [], NOW_US, kinds={Kind.PPP}).ghosts == ()
    assert compare([ours("80300076")], [], NOW_US).ghosts == (ours("80300076"),)


def test_a_hotspot_host_is_found_by_login_and_address() -> None:
    host = {".id": "*A000007", "user": "ana", "address": "10.0.0.7", "uptime": "5m", "radius": "true"}
    seen = seen_sessions([], [host])
    assert compare([ours("80300076")], seen, NOW_US) == ((), (), (), False)
    assert compare([], seen, NOW_US).unnamed == tuple(seen)


def test_a_session_that_we_do_not_have_is_adopted_under_the_id_that_radius_will_use() -> None:
    (unknown,) = compare([], seen_sessions([active("8130000a")], []), NOW_US).unknown
    assert (unknown.acct_session_id, unknown.login, unknown.uptime_seconds) == ("8130000a", "ana", 3723)


def test_a_session_whose_start_is_under_way_is_not_adopted() -> None:
    assert compare([], seen_sessions([active("81300077", uptime="29s")], []), NOW_US).unknown == ()


def test_a_session_of_which_radius_says_nothing_is_not_adopted() -> None:
    assert compare([], seen_sessions([active("81300077", radius="false")], []), NOW_US).unknown == ()


def reading(
    uptime: int, up: int, down: int, *, entry: str = "*1", login: str = "ana", source: Source = Source.PPP
) -> Reading:
    return Reading(Subject(source, entry), login, "10.0.0.7", "00:11:22:33:44:55", "<pppoe-ana>", uptime, up, down)


def polls(*steps: tuple[int, list[Reading]], stood: bool = False) -> tuple[list[PolledRecord], Poll]:
    """Poll at each number of seconds after now; what was there at the first poll has perhaps `stood` there long."""
    records: list[PolledRecord] = []
    last = Poll((), {})
    for number, (seconds, found) in enumerate(steps):
        at = Microseconds(NOW_US + seconds * SECOND_US)
        standing = {each.subject.entry: None for each in found} if stood and number == 0 else {}
        last = poll(last.tracked, found, at, standing=standing)
        records += last.records
    return records, last


def booked(records: list[PolledRecord]) -> tuple[int, int]:
    """Return what the books make of `records`: octets up and down of every session."""
    by_id: dict[str, list[PolledRecord]] = {}
    for each in records:
        by_id.setdefault(each.acct_session_id, []).append(each)
    folded = [fold(read(accounting_request(each), 7, "", each.event_us) for each in run) for run in by_id.values()]
    return sum(each.octets[0] for each in folded), sum(each.octets[1] for each in folded)


def test_a_session_that_goes_on_is_one_session_counted_from_its_beginning() -> None:
    records, _ = polls((0, [reading(100, 5, 50)]), (300, [reading(400, 7, 80)]), (600, [reading(699, 7, 90)]))
    assert [each.status for each in records] == [AcctStatus.INTERIM] * 3
    assert len({each.acct_session_id for each in records}) == 1
    assert [each.session_seconds for each in records] == [100, 400, 700]
    assert booked(records) == (7, 90)


@pytest.mark.parametrize(
    "second",
    [
        reading(10, 1, 1),
        reading(290, 60, 600),
        reading(400, 4, 60),
        reading(400, 60, 40),
        reading(400, 60, 600, login="eva"),
    ],
    ids=["younger", "connected again", "up went back", "down went back", "another login"],
)
def test_another_session_in_the_same_place_is_counted_from_nothing(second: Reading) -> None:
    records, _ = polls((0, [reading(100, 5, 50)]), (300, [second]))
    assert [each.status for each in records] == [AcctStatus.INTERIM, AcctStatus.STOP, AcctStatus.INTERIM]
    assert len({each.acct_session_id for each in records}) == 2
    assert booked(records) == (5 + second.octets_up, 50 + second.octets_down)


def test_a_session_that_has_gone_is_stopped_with_what_was_last_read() -> None:
    records, last = polls((0, [reading(100, 5, 50)]), (300, []))
    assert [each.status for each in records] == [AcctStatus.INTERIM, AcctStatus.STOP]
    assert booked(records) == (5, 50)
    assert last.tracked == {}


def test_what_a_queue_carried_before_the_first_poll_is_nobodys() -> None:
    old = reading(9_000, 10**12, 10**12, source=Source.QUEUE)
    later = reading(9_300, 10**12 + 3, 10**12 + 4, source=Source.QUEUE)
    records, _ = polls((0, [old]), (300, [later]), stood=True)
    assert booked(records) == (3, 4)


def test_a_queue_that_was_made_since_the_last_poll_is_counted_whole() -> None:
    made = reading(9_300, 3, 4, entry="*2", source=Source.QUEUE)
    records, _ = polls((0, []), (300, [made]), stood=True)
    assert booked(records) == (3, 4)


def test_a_queue_that_was_reset_loses_nothing() -> None:
    records, _ = polls(
        (0, [reading(9_000, 0, 0, source=Source.QUEUE)]),
        (300, [reading(9_300, 100, 1000, source=Source.QUEUE)]),
        (600, [reading(9_600, 7, 8, source=Source.QUEUE)]),
        (900, [reading(20, 9, 1500, source=Source.QUEUE)]),
    )
    assert booked(records) == (116, 2508)


def test_a_restart_between_two_polls_changes_nothing() -> None:
    for source in Source:
        first = reading(9_000, 10**12, 10**12, source=source)
        second = reading(9_300, 10**12 + 3, 10**12 + 4, source=source)
        whole, _ = polls((0, [first]), (300, [second]), stood=True)
        known = [
            KnownSession(
                each.acct_session_id, each.login, each.session_seconds, each.octets_up, each.octets_down, each.event_us
            )
            for each in whole[:1]
        ]
        after = poll(restored(known), [second], Microseconds(NOW_US + 300 * SECOND_US))
        assert [(each.acct_session_id, each.octets_up) for each in after.records] == [
            (each.acct_session_id, each.octets_up) for each in whole[1:]
        ]


def test_the_same_poll_twice_is_booked_once() -> None:
    records, _ = polls((0, [reading(100, 5, 50)]), (300, [reading(400, 7, 80)]))
    assert booked([*records, *records]) == (7, 80)


@pytest.mark.parametrize("flip", [False, True])
def test_a_record_reads_as_what_was_polled_on_any_router(flip: bool) -> None:
    records, _ = polls((0, [reading(100, 2**33 + 5, 2**40 + 6)]))
    found = read(accounting_request(records[0], flip=flip), 7, "", NOW_US, flip=flip)
    assert (found.octets_up, found.octets_down, found.session_seconds) == (2**33 + 5, 2**40 + 6, 100)
    assert (found.login, found.address, found.port) == ("ana", bytes((10, 0, 0, 7)), "<pppoe-ana>")
    assert found.event_us == NOW_US


def test_counters_are_found_in_interfaces_hosts_and_queues() -> None:
    shown = Shown(
        [
            active("81300077", radius="false"),
            active("81300078", name="eva", radius="true"),
            active("81300079", name="no"),
        ],
        [{".id": "*7", "user": "bob", "address": "10.0.0.9", "uptime": "5m", "bytes-in": "5", "bytes-out": "6"}],
        [
            {".id": "*A", "name": "line 1", "target": "10.0.0.1/32", "bytes": "7/8", "comment": "caudal:service-1"},
            {".id": "*B", "name": "office", "target": "10.0.0.2/32", "bytes": "9/9"},
        ],
        [{"name": "<pppoe-ana>", "rx-byte": "3", "tx-byte": "4"}],
    )
    found = readings(shown, router_uptime="1d", logins={"service-1": "static-1"})
    assert [(each.login, each.octets_up, each.octets_down, each.uptime_seconds) for each in found] == [
        ("ana", 3, 4, 3723),
        ("bob", 5, 6, 300),
        ("static-1", 7, 8, 86_400),
    ]


@pytest.mark.parametrize(
    ("acct_session_id", "kind"),
    [
        ("80000001", Kind.HOTSPOT),
        ("81300077", Kind.PPP),
        ("82100000", Kind.WIRELESS),
        ("83f00002", Kind.DHCP),
        ("86000009", Kind.DOT1X),
        ("84000001", None),
        ("8130007", None),
        ("081300077", None),
        ("hotspot1", None),
        (None, None),
    ],
)
def test_the_first_two_digits_of_a_session_say_what_it_is(acct_session_id: str | None, kind: Kind | None) -> None:
    assert kind_of(acct_session_id) is kind
