"""Counters from poll to poll: what is to be booked, until it is."""

from __future__ import annotations

from daemon.router_accounting import Counted, CounterBook
from domain.instants import SECOND_US, Microseconds
from enforcement.drivers.routeros import Activity
from enforcement.polled_accounting import KnownSession
from enforcement.polled_readings import Source
from radius.codes import AcctStatus

BEGIN_US = Microseconds(1_760_000_000 * SECOND_US)
LOGINS = {"service-1": "ana"}


def counted(seconds: int, up: int, down: int, *, dialled: str = "", uptime: int | None = None) -> Counted:
    """Return the queue of ana after so many seconds."""
    queue = {
        ".id": "*5",
        "name": "ana",
        "target": "10.0.0.1/32",
        "bytes": f"{up}/{down}",
        "comment": "caudal:service-1",
    }
    ppp = ({".id": "*80000001", "name": dialled, "service": "pppoe", "radius": "true"},) if dialled else ()
    age = seconds + 1000 if uptime is None else uptime
    return Counted(Activity(ppp, None, (queue,), (), f"{age}s"), Microseconds(BEGIN_US + seconds * SECOND_US))


def test_what_was_not_booked_is_said_again_with_what_is_newer() -> None:
    book = CounterBook([], was_counted=True)
    (first,) = book.poll(counted(0, 1, 2), LOGINS)
    (again,) = book.poll(counted(60, 10, 20), LOGINS)
    assert (first.acct_session_id, first.octets_up) == (again.acct_session_id, 1)
    assert (again.octets_up, again.octets_down) == (10, 20)
    book.booked()
    (later,) = book.poll(counted(120, 11, 21), LOGINS)
    assert later.octets_up == 11


def test_a_stop_outlives_a_database_that_is_away() -> None:
    book = CounterBook([], was_counted=True)
    book.poll(counted(0, 0, 0), LOGINS)
    book.poll(counted(60, 500, 600), LOGINS)
    book.poll(counted(120, 7, 8, uptime=30), LOGINS)
    records = book.poll(counted(180, 9, 9, uptime=90), LOGINS)
    assert [(record.status, record.octets_up) for record in records] == [
        (AcctStatus.STOP, 500),
        (AcctStatus.INTERIM, 9),
    ]


def test_a_line_that_is_on_line_by_ppp_is_not_counted_by_its_queue_too() -> None:
    book = CounterBook([], was_counted=True)
    assert book.poll(counted(0, 1, 2, dialled="ana"), LOGINS) == []


def test_after_a_restart_counting_goes_on_where_the_books_stand() -> None:
    known = KnownSession("api-queue-*5-68e77800-64-c8", "ana", 600, 50, 70, BEGIN_US)
    book = CounterBook([known], was_counted=True)
    (record,) = book.poll(counted(60, 0x64 + 55, 0xC8 + 75), LOGINS)
    assert (record.acct_session_id, record.octets_up, record.octets_down) == (known.acct_session_id, 55, 75)


def test_a_book_knows_which_kinds_of_sessions_are_under_way() -> None:
    known = KnownSession("api-ppp-*80000001-68e77800", "ana", 600, 50, 70, BEGIN_US)
    book = CounterBook([known], was_counted=True)
    assert (book.counts(Source.PPP), book.counts(Source.HOTSPOT)) == (True, False)


def test_what_a_queue_carried_before_the_first_poll_ever_is_not_counted() -> None:
    book = CounterBook([], was_counted=False)
    (first,) = book.poll(counted(0, 1_000, 2_000), LOGINS)
    (second,) = book.poll(counted(60, 1_001, 2_002), LOGINS)
    assert (first.octets_up, first.octets_down) == (0, 0)
    assert (second.octets_up, second.octets_down) == (1, 2)
