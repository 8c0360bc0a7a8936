"""Ghosts are closed at the second look; sessions that were missed are told of as their router would have."""

from __future__ import annotations

from accounting.record import read
from accounting.session import implied_start
from daemon.router_accounting import adoption
from daemon.router_truth import Suspects
from domain.instants import SECOND_US, Microseconds
from enforcement.session_truth import Kind, OpenSession, SeenSession
from radius.codes import AcctStatus

READ_US = Microseconds(1_760_000_000 * SECOND_US)
HOUR = 3600


def missing(*ids: int) -> list[OpenSession]:
    return [OpenSession(number, f"8130{number:04x}", "ana", None, Microseconds(0)) for number in ids]


def confirmed(suspects: Suspects, *ids: int) -> list[int]:
    return [session.id for session in suspects.confirm(missing(*ids))]


def test_only_what_two_looks_in_a_row_miss_is_confirmed() -> None:
    suspects = Suspects()
    assert confirmed(suspects, 1, 2) == []
    assert confirmed(suspects, 2, 3) == [2]
    assert confirmed(suspects, 1) == []
    assert confirmed(suspects) == []
    assert not suspects
    assert confirmed(suspects, 1) == []


def seen(seconds: int) -> SeenSession:
    return SeenSession(Kind.PPP, "*1", 0x81300007, "ana", "10.8.0.7", "02:00:00:00:00:07", seconds, radius=True)


def test_a_lost_start_is_said_again_as_of_the_beginning_and_tells_no_octets() -> None:
    record = read(adoption(seen(2 * HOUR), READ_US, is_known=False), 1, "", READ_US)
    assert record.status == AcctStatus.START
    assert record.key.acct_session_id == "81300007"
    assert record.event_us == READ_US - 2 * HOUR * SECOND_US
    assert (record.octets_up, record.octets_down, record.address) == (None, None, bytes((10, 8, 0, 7)))


def test_a_beginning_too_long_ago_for_a_timestamp_is_told_by_the_sessions_age() -> None:
    record = read(adoption(seen(50 * HOUR), READ_US, is_known=False), 1, "", READ_US)
    assert record.status == AcctStatus.INTERIM
    assert implied_start(record) == READ_US - 50 * HOUR * SECOND_US


def test_a_session_that_silence_closed_is_told_of_by_an_interim_update() -> None:
    record = read(adoption(seen(HOUR), READ_US, is_known=True), 1, "", READ_US)
    assert (record.status, record.session_seconds, record.octets_down) == (AcctStatus.INTERIM, HOUR, None)
