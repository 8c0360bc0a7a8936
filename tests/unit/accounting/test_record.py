"""What an Accounting-Request says, in the product's own terms."""

from __future__ import annotations

import pytest

from accounting.record import (
    CLOCK_AHEAD_US,
    CLOCK_BEHIND_US,
    LARGEST_COUNTER_OCTETS,
    LONGEST_DELAY_SECONDS,
    LONGEST_SESSION_SECONDS,
    SessionKey,
    Unusable,
    UnusableRecord,
    event_instant,
    read,
)
from domain.instants import SECOND_US
from radius.codes import AcctStatus, Type
from radius.packet import attribute, integer_attribute
from tests.unit.accounting.records import WRAP, after_noon, packet, record

HOUR = 3600


def test_total_is_gigawords_times_two_to_the_32_and_octets() -> None:
    """C7: RFC 2869 §5.1; others multiply by 2^30."""
    told = record(up=5 * WRAP + 7, down=WRAP - 1, gigawords=True)
    assert (told.octets_up, told.octets_down, told.gigawords) == (5 * WRAP + 7, WRAP - 1, True)


def test_octets_without_gigawords_are_the_low_word() -> None:
    told = record(up=7, down=WRAP - 1)
    assert (told.octets_up, told.octets_down, told.gigawords) == (7, WRAP - 1, False)


def test_missing_counters_are_unknown_not_zero() -> None:
    told = record(AcctStatus.STOP, seconds=300)
    assert (told.octets_up, told.octets_down) == (None, None)
    assert record(AcctStatus.STOP, up=0, down=0).octets_up == 0


def test_gigawords_without_octets_tell_nothing() -> None:
    told = record(AcctStatus.STOP, integer_attribute(Type.ACCT_INPUT_GIGAWORDS, 3))
    assert told.octets_up is None


def test_a_router_that_counts_the_other_way_round_is_read_the_other_way_round() -> None:
    told = record(up=1, down=2, flip=True)
    assert (told.octets_up, told.octets_down) == (2, 1)


def test_a_counter_that_no_line_reaches_is_for_quarantine() -> None:
    assert record(up=LARGEST_COUNTER_OCTETS, down=0, gigawords=True).octets_up == LARGEST_COUNTER_OCTETS
    for octets in (LARGEST_COUNTER_OCTETS + 1, 2**64 - 1):
        with pytest.raises(UnusableRecord) as caught:
            record(up=0, down=octets, gigawords=True)
        assert caught.value.reason is Unusable.IMPOSSIBLE_COUNTERS


@pytest.mark.parametrize(
    ("stamp", "delay", "expected"),
    [
        (None, None, HOUR),
        # C8: Event-Timestamp wins over the delay where it is sane.
        (100, None, 100),
        (100, 900, 100),
        (None, 30, HOUR - 30),
        (None, 0, HOUR),
        # Ahead: a little is arrival, too much is no clock.
        (HOUR + CLOCK_AHEAD_US // SECOND_US, None, HOUR),
        (HOUR + CLOCK_AHEAD_US // SECOND_US + 1, 30, HOUR - 30),
        # Behind: buffered for a day at most.
        (HOUR - CLOCK_BEHIND_US // SECOND_US, 30, HOUR - CLOCK_BEHIND_US // SECOND_US),
        (HOUR - CLOCK_BEHIND_US // SECOND_US - 1, None, HOUR),
        (HOUR - CLOCK_BEHIND_US // SECOND_US - 1, 30, HOUR - 30),
        (None, LONGEST_DELAY_SECONDS, HOUR - LONGEST_DELAY_SECONDS),
        (None, LONGEST_DELAY_SECONDS + 1, HOUR),
    ],
)
def test_time_is_a_sane_event_timestamp_else_arrival_less_delay(
    stamp: int | None, delay: int | None, expected: int
) -> None:
    assert record(at=HOUR, stamp=stamp, delay=delay).event_us == after_noon(expected)


@pytest.mark.parametrize("kind", [Type.EVENT_TIMESTAMP, Type.ACCT_DELAY_TIME])
def test_a_time_of_another_size_is_none(kind: int) -> None:
    assert event_instant(packet(AcctStatus.INTERIM, attribute(kind, b"\1\2")), after_noon(5)) == after_noon(5)


def test_a_session_of_more_than_ten_years_is_a_wrong_value() -> None:
    assert record(seconds=LONGEST_SESSION_SECONDS).session_seconds == LONGEST_SESSION_SECONDS
    assert record(seconds=LONGEST_SESSION_SECONDS + 1).session_seconds is None


def test_a_stop_of_no_seconds_does_not_tell_them() -> None:
    assert record(AcctStatus.STOP, seconds=0).session_seconds is None
    assert record(AcctStatus.INTERIM, seconds=0).session_seconds == 0


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (packet(None), Unusable.NO_STATUS_TYPE),
        (packet(None, attribute(Type.ACCT_STATUS_TYPE, b"\1")), Unusable.NO_STATUS_TYPE),
        (packet(15), Unusable.UNKNOWN_STATUS_TYPE),
        (packet(0x0100_0001), Unusable.UNKNOWN_STATUS_TYPE),
        (packet(session_id=None), Unusable.NO_SESSION_ID),
        (packet(session_id=""), Unusable.NO_SESSION_ID),
    ],
)
def test_a_record_that_names_no_session_is_for_quarantine(sent: object, reason: Unusable) -> None:
    """C14."""
    with pytest.raises(UnusableRecord) as caught:
        read(sent, 7, "", after_noon(0))  # type: ignore[arg-type]  # the table holds packets
    assert caught.value.reason is reason


def test_a_session_is_named_by_router_nas_and_acct_session_id() -> None:
    told = read(packet(session_id="81700001"), 7, "tower", after_noon(0))
    assert told.key == SessionKey(7, "tower", "81700001")


def test_the_line_is_mac_and_port() -> None:
    mac, port = attribute(Type.CALLING_STATION_ID, b"AA:BB"), integer_attribute(Type.NAS_PORT, 5)
    line = record(AcctStatus.START, mac, port).line
    assert line is not None
    assert line == record(AcctStatus.INTERIM, mac, port).line
    assert line != record(AcctStatus.START, mac, integer_attribute(Type.NAS_PORT, 6)).line
    assert record(AcctStatus.START, mac).line is None
    assert record(AcctStatus.START, port).line is None


def test_a_cause_is_told_by_name_and_an_unknown_one_by_number() -> None:
    def cause(number: int) -> str | None:
        return record(AcctStatus.STOP, integer_attribute(Type.ACCT_TERMINATE_CAUSE, number)).terminate_cause

    assert (cause(1), cause(900)) == ("User-Request", "900")
    assert record(AcctStatus.STOP).terminate_cause is None


def test_addresses_of_zeros_or_of_another_size_are_none() -> None:
    def address(value: bytes) -> bytes | None:
        return record(AcctStatus.START, attribute(Type.FRAMED_IP_ADDRESS, value)).address

    assert address(b"\x64\x40\0\1") == b"\x64\x40\0\1"
    assert address(bytes(4)) is None
    assert address(b"\1\2") is None


def test_attributes_the_product_does_not_know_are_kept_as_received() -> None:
    unknown = attribute(222, b"whatever") + attribute(223, b"")
    assert record(AcctStatus.START, unknown).unknown_attributes == unknown
    assert record(AcctStatus.START).unknown_attributes is None


def test_ipv6_attributes_are_kept_in_order() -> None:
    prefix, other = bytes((0, 64)) + bytes(8), bytes((0, 56)) + bytes(7)
    sent = attribute(Type.FRAMED_IPV6_PREFIX, prefix), attribute(Type.DELEGATED_IPV6_PREFIX, other)
    assert record(AcctStatus.START, *sent).ipv6 == (
        (Type.FRAMED_IPV6_PREFIX, prefix),
        (Type.DELEGATED_IPV6_PREFIX, other),
    )
    assert record(AcctStatus.START).ipv6 == ()


def test_an_absent_user_name_is_empty() -> None:
    assert record(login=None).login == ""
