"""Group C: which session a record is about, also after restarts, reuse of ids and silence."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import pytest

from radius.codes import AcctStatus, Code, Type
from storage import housekeeping
from storage.database import create_engine
from tests.system.accounted import (
    ANA,
    BUNDLED,
    HASTY,
    INTERIM,
    ISP,
    OPEN,
    OTHER,
    PROVISIONAL,
    SECRET,
    SOURCE,
    START,
    STOP,
    STOPPED,
    TOWER,
    at,
    only_row,
    rows,
    service_id,
    session_id,
    usage,
)
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import RadiusClient, number, text

__all__ = ["ISP"]  # what the fixture `daemon` applies


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def restart(client: RadiusClient, status: AcctStatus, *more: bytes) -> None:
    """Send Accounting-On or -Off; `account` sees that there is one answer."""
    client.account(client.accounting_request(number(Type.ACCT_STATUS_TYPE, status), *more))


@pytest.mark.parametrize("status", [AcctStatus.ACCOUNTING_ON, AcctStatus.ACCOUNTING_OFF])
def test_c10_the_restart_of_a_nas_closes_its_earlier_sessions_and_no_others(
    nas: NasFactory, daemon: DaemonProcess, status: AcctStatus
) -> None:
    mine, other = nas(SOURCE, SECRET), nas(OTHER, SECRET)
    now = time.time()
    earlier, later, elsewhere = session_id(), session_id(), session_id()
    mine.account(mine.record(INTERIM, earlier, at(now - 600), seconds=60, up=5, down=6))
    mine.account(mine.record(START, later, at(now - 100)))
    other.account(other.record(START, elsewhere, at(now - 600)))

    restart(mine, status, at(now - 300))
    mine.proves_alive_in_accounting()

    assert not mine.has_answer(mine.acct)
    row = only_row(daemon, earlier)
    assert (row.state, row.octets_up, row.terminate_cause) == (PROVISIONAL, 5, "NAS-Reboot")
    assert [only_row(daemon, session).state for session in (later, elsewhere)] == [OPEN, OPEN]


def test_c10_a_clock_that_is_behind_after_the_restart_keeps_no_session_open(
    nas: NasFactory, daemon: DaemonProcess
) -> None:
    mine = nas(SOURCE, SECRET)
    now = time.time()
    before = session_id()
    mine.account(mine.record(START, before, at(now - 600)))
    heard = "UPDATE session SET heard_at = heard_at - interval '2 minutes' WHERE acct_session_id = %s RETURNING id"
    daemon.query(heard, before)

    restart(mine, AcctStatus.ACCOUNTING_ON, at(now - 3600))

    assert only_row(daemon, before).terminate_cause == "NAS-Reboot"


def test_c10_boxes_behind_one_router_entry_restart_each_for_itself(nas: NasFactory, daemon: DaemonProcess) -> None:
    tower = nas(TOWER, SECRET)
    north, south = text(Type.NAS_IDENTIFIER, "north"), text(Type.NAS_IDENTIFIER, "south")
    session = session_id()
    before = at(time.time() - 600)
    for box in (north, south):
        tower.account(tower.record(START, session, box, before))

    restart(tower, AcctStatus.ACCOUNTING_ON, north)

    states = daemon.query("SELECT nas, state FROM session WHERE acct_session_id = %s ORDER BY nas", session)
    assert states == [("north", PROVISIONAL), ("south", OPEN)]


def test_c11_an_id_used_again_after_a_reboot_is_a_new_session(router: RadiusClient, daemon: DaemonProcess) -> None:
    session = session_id()
    now = int(time.time())
    router.account(router.record(START, session, at(now - 3600), login=ANA[0]))
    router.account(router.record(INTERIM, session, at(now - 1800), login=ANA[0], seconds=1800, up=1000, down=2000))
    router.account(router.record(START, session, at(now - 600), login=ANA[0]))
    router.account(router.record(STOP, session, at(now - 300), login=ANA[0], seconds=300, up=10, down=20))

    first, second = rows(daemon, session)
    assert first[:4] == (PROVISIONAL, 0, 1000, 2000)
    assert second[:4] == (STOPPED, 1, 10, 20)
    assert usage(daemon, session) == (1010, 2020)


@pytest.mark.parametrize("is_told", [True, False], ids=["Start told", "Start lost"])
def test_c11_an_id_used_again_by_a_clock_that_is_behind_is_booked_to_nobody_else(
    router: RadiusClient, daemon: DaemonProcess, is_told: bool
) -> None:
    session = session_id()
    now = int(time.time())
    router.account(router.record(START, session, at(now - 600), login=ANA[0]))
    router.account(router.record(INTERIM, session, at(now - 300), login=ANA[0], seconds=300, up=1_000, down=2_000))
    if is_told:
        router.account(router.record(START, session, at(now - 1800), login=HASTY[0]))
    router.account(router.record(INTERIM, session, at(now - 1740), login=HASTY[0], seconds=60, up=5, down=6))
    router.account(router.record(STOP, session, at(now - 1620), login=HASTY[0], seconds=180, up=90_000, down=900_000))
    router.account(router.record(STOP, session, at(now - 290), login=ANA[0], seconds=310, up=1_100, down=2_200))

    first, second = rows(daemon, session)
    assert (first.login, *first[:4]) == (ANA[0], STOPPED, 0, 1_100, 2_200)
    assert (second.login, *second[:4]) == (HASTY[0], STOPPED, 1, 90_000, 900_000)
    assert usage(daemon, session) == (91_100, 902_200)


def test_c12_two_classes_of_ours_are_two_sessions_whatever_the_clock_says(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    ana, hasty = class_of(router, ANA), class_of(router, HASTY)
    session = session_id()
    now = int(time.time())
    router.account(router.record(START, session, at(now - 600), ana, login="c-shared"))
    router.account(router.record(INTERIM, session, at(now - 300), ana, login="c-shared", seconds=300, up=50, down=60))
    router.account(router.record(START, session, at(now - 1800), hasty, login="c-shared"))
    router.account(router.record(STOP, session, at(now - 1500), hasty, login="c-shared", seconds=300, up=7, down=8))

    first, second = rows(daemon, session)
    assert (first.service_id, *first[2:4]) == (service_id(daemon, ANA[0]), 50, 60)
    assert (second.service_id, *second[2:4]) == (service_id(daemon, HASTY[0]), 7, 8)


def class_of(client: RadiusClient, login: tuple[str, str]) -> bytes:
    """Log in and return our Class as an attribute."""
    value = client.login(*login).packet.get(Type.CLASS)
    assert value is not None
    return text(Type.CLASS, value)


def test_c12_our_own_class_names_the_service_whatever_user_name_says(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    ours = class_of(router, ANA)
    foreign = text(Type.CLASS, "of somebody else"), text(Type.CLASS, os.urandom(28))
    session = session_id()
    router.account(router.record(START, session, foreign[0], ours, foreign[1], login="c-renamed"))

    row = only_row(daemon, session)
    assert (row.login, row.service_id) == ("c-renamed", service_id(daemon, ANA[0]))


def test_c12_a_foreign_or_forged_class_says_nothing(router: RadiusClient, daemon: DaemonProcess) -> None:
    ours = class_of(router, ANA)
    forged = ours[:10] + bytes((ours[10] ^ 1,)) + ours[11:]
    unknown, known = session_id(), session_id()
    router.account(router.record(START, unknown, forged, login="c-nobody"))
    router.account(router.record(START, known, text(Type.CLASS, "x"), forged, login=HASTY[0]))

    assert only_row(daemon, unknown).service_id is None
    assert only_row(daemon, known).service_id == service_id(daemon, HASTY[0])


def link(client: RadiusClient, session: str, mac: str, bundle: str | None, status: AcctStatus = START) -> None:
    more = [text(Type.CALLING_STATION_ID, mac), text(Type.NAS_PORT_ID, "ether1"), number(Type.ACCT_LINK_COUNT, 2)]
    if bundle is not None:
        more.append(text(Type.ACCT_MULTI_SESSION_ID, bundle))
    client.account(client.record(status, session, *more, login=BUNDLED[0], seconds=60, up=10, down=20))


def test_c13_the_links_of_one_bundle_are_one_login(router: RadiusClient, daemon: DaemonProcess) -> None:
    bundle, links = session_id(), [session_id(), session_id()]
    macs = ["02:00:00:05:13:01", "02:00:00:05:13:02"]
    for session, mac in zip(links, macs, strict=True):
        more = text(Type.CALLING_STATION_ID, mac), text(Type.ACCT_MULTI_SESSION_ID, bundle)
        assert router.login(*BUNDLED, *more).code == Code.ACCESS_ACCEPT
        link(router, session, mac, bundle)

    assert [only_row(daemon, session).state for session in links] == [OPEN, OPEN]
    stranger = text(Type.CALLING_STATION_ID, "02:00:00:05:13:99")
    assert router.login(*BUNDLED, stranger).code == Code.ACCESS_REJECT
    for session, mac in zip(links, macs, strict=True):
        link(router, session, mac, bundle, STOP)
        assert only_row(daemon, session)[:4] == (STOPPED, 0, 10, 20)


def test_a_nas_whose_own_address_changes_goes_on_with_its_session(router: RadiusClient, daemon: DaemonProcess) -> None:
    """PacketFence 2113 opened a second row."""
    session = session_id()
    for status, octets in ((START, 0), (INTERIM, 10), (STOP, 20)):
        address = text(Type.NAS_IP_ADDRESS, bytes((10, 0, 0, octets + 1)))
        router.account(router.record(status, session, address, login=ANA[0], seconds=octets, up=octets, down=octets))

    assert only_row(daemon, session)[:4] == (STOPPED, 0, 20, 20)
    assert usage(daemon, session) == (20, 20)


def test_an_address_that_changes_is_followed_and_the_earlier_one_stays_known(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    session = session_id()
    for status, octets, address in ((START, 0, 7), (INTERIM, 10, 7), (INTERIM, 20, 8), (INTERIM, 30, None)):
        framed = () if address is None else (text(Type.FRAMED_IP_ADDRESS, bytes((100, 64, 5, address))),)
        router.account(router.record(status, session, *framed, login=ANA[0], seconds=octets, up=octets, down=octets))

    ((number,),) = daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session)
    item = json.loads(daemon.caudal("session", "show", str(number), "--json"))
    assert (item["address"], [each["address"] for each in item["earlier_addresses"]]) == ("100.64.5.8", ["100.64.5.7"])
    assert only_row(daemon, session)[:4] == (OPEN, 0, 30, 30)


def test_c17_a_silent_session_is_closed_with_its_last_counters_and_a_later_interim_revives_it(
    router: RadiusClient, daemon: DaemonProcess
) -> None:
    """The job is called as the daemon's schedule calls it; only this session is old enough for it."""
    session = session_id()
    now = int(time.time())
    router.account(router.record(INTERIM, session, at(now - 3600), login=ANA[0], seconds=600, up=10, down=20))
    silent = "UPDATE session SET heard_at = now() - interval '1 hour' WHERE acct_session_id = %s RETURNING id"
    ((before,),) = daemon.query(silent, session)
    close_stale(daemon)

    closed = only_row(daemon, session)
    assert closed[:4] == (PROVISIONAL, 0, 10, 20)
    assert closed.stopped == closed.updated == now - 3600

    router.account(router.record(INTERIM, session, at(now), login=ANA[0], seconds=4200, up=30, down=60))

    revived = only_row(daemon, session)
    assert (*revived[:4], revived.stopped, revived.terminate_cause) == (OPEN, 0, 30, 60, None, None)
    assert daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session) == [(before,)]


def close_stale(daemon: DaemonProcess) -> None:
    engine = create_engine(daemon.database.dsn())
    try:
        housekeeping.close_stale(engine, datetime.now(UTC), 3, 900, datetime.fromtimestamp(0, UTC))
    finally:
        engine.dispose()
