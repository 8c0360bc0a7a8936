"""What refusals leave behind."""

from __future__ import annotations

import pytest

from domain.instants import SECOND_US, Microseconds
from domain.plan_rules import Blocking, BlockPolicy, WalledGarden
from enforcement.admission import RefusalReason
from enforcement.credentials import Method
from enforcement.profiles import PROFILES
from enforcement.refusals import (
    MINUTE_US,
    STRANGERS_A_MINUTE,
    DeviceThrottle,
    GardenGate,
    RefusalKey,
    RefusalLog,
    RejectDelay,
)

NOW = Microseconds(1_700_000_000 * SECOND_US)
MAC = "00:E1:0C:38:C8:F8"
MIKROTIK, GENERIC = PROFILES["mikrotik"], PROFILES["generic"]
WRONG = RefusalReason.WRONG_PASSWORD


def key(login: str = "alice", minute: int = 1) -> RefusalKey:
    return RefusalKey(minute, login, WRONG, Method.PAP, 1, MAC, 5)


def test_equal_refusals_are_one_row() -> None:
    log = RefusalLog()
    for _ in range(3):
        log.note(key(), NOW)
    log.note(key("bob"), NOW)
    assert sorted((row.key.login, row.attempts, row.row_id) for row in log.take()) == [
        ("alice", 3, None),
        ("bob", 1, None),
    ]
    assert not len(log)


def test_more_of_a_stored_refusal_go_to_its_row_until_the_minute_ends() -> None:
    log = RefusalLog()
    log.note(key(), NOW)
    log.take()
    log.stored(key(), 77)
    log.note(key(), NOW)
    assert [row.row_id for row in log.take()] == [77]
    log.note(key(minute=2), NOW)
    assert [row.row_id for row in log.take()] == [None]


def test_a_flood_of_names_is_stored_without_names() -> None:
    log = RefusalLog(most_rows=10)
    for number in range(1000):
        log.note(key(f"user{number}"), NOW)
    rows = log.take()
    assert len(rows) == 11
    assert sum(row.attempts for row in rows) == 1000
    assert {row.key.login for row in rows if row.attempts > 1} == {""}


def test_rows_that_could_not_be_stored_wait_and_are_counted_on() -> None:
    log = RefusalLog()
    log.note(key(), NOW)
    rows = log.take()
    log.note(key(), Microseconds(NOW + 1))
    log.give_back(rows)
    (row,) = log.take()
    assert (row.attempts, row.first_us) == (2, NOW)


def delays(delay: RejectDelay, times: int) -> list[float]:
    return [delay.seconds(MIKROTIK, WRONG, 1, "alice", NOW) for _ in range(times)]


def test_a_refusal_waits_as_long_as_the_profile_says_and_a_bit_by_chance() -> None:
    assert RejectDelay(None, lambda: 0.0).seconds(MIKROTIK, WRONG, 1, "alice", NOW) == 0.5
    assert RejectDelay(None, lambda: 0.5).seconds(GENERIC, WRONG, 1, "alice", NOW) == 1.1


def test_a_configured_delay_stands_for_the_profiles() -> None:
    assert RejectDelay(200, lambda: 0.0).seconds(GENERIC, WRONG, 1, "alice", NOW) == 0.2
    assert RejectDelay(0, lambda: 1.0).seconds(GENERIC, WRONG, 1, "alice", NOW) == 0.0


def test_guessing_slows_down_but_the_router_still_hears_the_answer() -> None:
    found = delays(RejectDelay(None, lambda: 1.0), 100)
    assert found[0] < found[14] <= found[99] <= 0.85 + 1e-9
    assert max(found) < 1.1


def test_another_login_does_not_suffer_from_guessing() -> None:
    delay = RejectDelay(None, lambda: 0.0)
    delays(delay, 100)
    assert delay.seconds(MIKROTIK, WRONG, 1, "bob", NOW) == 0.5
    assert delay.seconds(MIKROTIK, WRONG, 2, "alice", NOW) == 0.5


def test_guessing_is_forgotten_after_a_minute() -> None:
    delay = RejectDelay(None, lambda: 0.0)
    delays(delay, 100)
    assert delay.seconds(MIKROTIK, WRONG, 1, "alice", Microseconds(NOW + 60 * SECOND_US)) == 0.5


def test_a_reason_that_is_no_guess_does_not_slow_down() -> None:
    delay = RejectDelay(None, lambda: 0.0)
    assert {delay.seconds(MIKROTIK, RefusalReason.EXPIRED, 1, "alice", NOW) for _ in range(100)} == {0.5}


def test_a_device_that_keeps_asking_is_looked_up_once_a_second() -> None:
    throttle = DeviceThrottle()
    for _ in range(5):
        assert throttle.refusal_in_force(1, MAC, NOW) is None
        throttle.refused(1, MAC, RefusalReason.UNKNOWN_USER, NOW)
    assert throttle.refusal_in_force(1, MAC, NOW) is None
    throttle.refused(1, MAC, RefusalReason.UNKNOWN_USER, NOW)
    assert throttle.refusal_in_force(1, MAC, NOW) is RefusalReason.UNKNOWN_USER
    assert throttle.refusal_in_force(2, MAC, NOW) is None
    assert throttle.refusal_in_force(1, MAC, Microseconds(NOW + SECOND_US)) is None


WALLED = BlockPolicy.WALLED_GARDEN
GARDEN = WalledGarden(address_list="unpaid")


@pytest.mark.parametrize(
    ("blocking", "reason", "method", "wanted"),
    [
        (Blocking(WALLED, garden=GARDEN), RefusalReason.UNKNOWN_USER, Method.PAP, True),
        (Blocking(WALLED, garden=GARDEN), RefusalReason.WRONG_PASSWORD, Method.CHAP, True),
        (Blocking(by_reason=(("unknown", WALLED),), garden=GARDEN), RefusalReason.UNKNOWN_USER, Method.NONE, True),
        (Blocking(by_reason=(("unknown", WALLED),), garden=GARDEN), RefusalReason.WRONG_PASSWORD, Method.PAP, False),
        (Blocking(WALLED, garden=GARDEN), RefusalReason.UNKNOWN_USER, Method.MSCHAPV2, False),
        (Blocking(WALLED, garden=GARDEN), RefusalReason.WRONG_MAC, Method.PAP, False),
        (Blocking(garden=GARDEN), RefusalReason.UNKNOWN_USER, Method.PAP, False),
    ],
)
def test_the_garden_is_open_to_whom_the_isp_says(
    blocking: Blocking, reason: RefusalReason, method: Method, wanted: bool
) -> None:
    assert GardenGate.wants(blocking, reason, method) is wanted


def test_the_garden_has_room_for_so_many_from_one_router_in_a_minute() -> None:
    gate = GardenGate()
    let_in = [gate.has_room(1, f"guest-{place}", NOW) for place in range(STRANGERS_A_MINUTE + 10)]
    assert let_in.count(True) == STRANGERS_A_MINUTE
    assert gate.has_room(2, "guest", NOW), "another router has its own room"
    assert gate.has_room(1, "guest", Microseconds(NOW + MINUTE_US))
