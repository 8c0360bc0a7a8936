"""Logins of plans with rules, from the file that provisions them to the packet that answers."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enforcement.refusals import STRANGER_SECONDS
from radius.codes import AcctStatus, Code, Type, Vendor
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import RadiusClient, Reply, text

SECRET = "hush-entitled"
PASSWORD = "hush-line"
MIKROTIK, CISCO = "127.0.13.1", "127.0.13.2"
HOUR = datetime.now(ZoneInfo("Europe/Madrid")).hour
CLOSED = f"{(HOUR + 10) % 24:02}:00-{(HOUR + 14) % 24:02}:00"
"""Hours that are neither now nor within the run."""

ISP = f"""
[[router]]
name = "n-mikrotik"
address = "{MIKROTIK}"
secret = "{SECRET}"
profile = "mikrotik"
[[router]]
name = "n-cisco"
address = "{CISCO}"
secret = "{SECRET}"
profile = "cisco"

[[plan]]
name = "n-burst"
download = "20M"
upload = "10M"
priority = 5
guaranteed_percent = 10
address_list = "fibre"
burst = {{ limit_percent = 150, threshold_percent = 80, seconds = 16 }}
attributes = {{ "Filter-Id" = "{{login}}/{{download_kbit}}" }}

[[plan]]
name = "n-capped"
download = "100M"
upload = "100M"
interim_seconds = 600
cap = {{ octets = "100G", direction = "down" }}

[[plan]]
name = "n-closed"
allowed_hours = ["{CLOSED}"]

[[plan]]
name = "n-garden"
download = "20M"
upload = "10M"
[plan.blocking]
policy = "walled-garden"
address_list = "unpaid"
redirect_url = "https://pay.example.net/"
download = "64k"
upload = "64k"
""" + "".join(
    f'[[service]]\nlogin = "{login}"\npassword = "{PASSWORD}"\nplan = "{plan}"\naccount_state = "{state}"\n'
    for login, plan, state in (
        ("n-burst", "n-burst", "active"),
        ("n-fresh", "n-capped", "active"),
        ("n-used-up", "n-capped", "active"),
        ("n-closed", "n-closed", "active"),
        ("n-debtor", "n-garden", "no_balance"),
        ("n-payer", "n-garden", "active"),
    )
)


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(MIKROTIK, SECRET)


def told(reply: Reply, kind: int) -> str | None:
    value = reply.packet.vendor(Vendor.MIKROTIK, kind)
    return None if value is None else value.decode()


def use_up(daemon: DaemonProcess, login: str) -> None:
    """Let the meter of a service say that it used 100 GB this month, whatever is measured meanwhile."""
    daemon.query(
        """INSERT INTO meter (service_id, as_of, usage)
        SELECT id, %s, jsonb_build_object('day', c, 'week', c, 'month', c, 'sessions', 0)
        FROM service, jsonb_build_array((extract(epoch FROM now()) * 1000000)::bigint, 0, 100000000000, 0) AS c
        WHERE login = %s
        ON CONFLICT (service_id) DO UPDATE SET as_of = excluded.as_of, usage = excluded.usage RETURNING 1""",
        datetime.now(UTC) + timedelta(hours=1),
        login,
    )


def test_a_plan_tells_burst_priority_guarantee_list_and_its_own_attributes(router: RadiusClient) -> None:
    reply = router.login("n-burst", PASSWORD)
    assert told(reply, 8) == "10M/20M 15M/30M 8M/16M 16/16 5 1M/2M"
    assert told(reply, 19) == "fibre"
    assert reply.packet.get(Type.FILTER_ID) == b"n-burst/20000"


def test_a_nas_of_another_make_is_told_what_it_understands(nas: NasFactory) -> None:
    reply = nas(CISCO, SECRET).login("n-burst", PASSWORD)
    pairs = reply.packet.vendor_all(Vendor.CISCO, 1)
    assert [pair.split()[:3] for pair in pairs] == [
        [b"lcp:interface-config#1=rate-limit", b"output", b"20000000"],
        [b"lcp:interface-config#1=rate-limit", b"input", b"10000000"],
    ]
    assert told(reply, 19) is None


def test_a_capped_line_is_watched_closely_and_has_a_backstop(router: RadiusClient) -> None:
    reply = router.login("n-fresh", PASSWORD)
    assert reply.packet.integer(Type.ACCT_INTERIM_INTERVAL) == 60
    low, high = (reply.packet.vendor(Vendor.MIKROTIK, kind) for kind in (2, 15))
    assert low is not None
    assert high is not None
    limit = int.from_bytes(high) << 32 | int.from_bytes(low)
    assert 0 < limit - 100 * 10**9 < 60 * 100_000_000 // 8


def test_a_used_up_cap_and_a_closed_hour_refuse(router: RadiusClient, daemon: DaemonProcess) -> None:
    use_up(daemon, "n-used-up")
    for login, message in (("n-used-up", b"Data allowance used up"), ("n-closed", b"Not available at this hour")):
        reply = router.login(login, PASSWORD)
        assert (reply.code, reply.packet.get(Type.REPLY_MESSAGE)) == (Code.ACCESS_REJECT, message)


def test_who_owes_is_walled_in_where_the_router_can_and_refused_where_it_cannot(
    router: RadiusClient, nas: NasFactory
) -> None:
    walled = router.login("n-debtor", PASSWORD)
    assert (walled.code, told(walled, 8), told(walled, 19)) == (Code.ACCESS_ACCEPT, "64k/64k", "unpaid")
    assert walled.packet.vendor(Vendor.WISPR, 4) == b"https://pay.example.net/"
    refused = nas(CISCO, SECRET).login("n-debtor", PASSWORD)
    assert (refused.code, refused.packet.get(Type.REPLY_MESSAGE)) == (Code.ACCESS_REJECT, b"No balance left")


def test_the_account_counts_from_the_next_login_on(router: RadiusClient, daemon: DaemonProcess) -> None:
    def state(name: str) -> None:
        daemon.apply(
            f'[[service]]\nlogin = "n-payer"\nplan = "n-garden"\naccount_state = "{name}"\n',
        )

    assert told(router.login("n-payer", PASSWORD), 8) == "10M/20M"
    state("blocked")
    assert told(router.login("n-payer", PASSWORD), 19) == "unpaid"
    state("active")
    paid = router.login("n-payer", PASSWORD)
    assert (told(paid, 8), told(paid, 19)) == ("10M/20M", None)


def sessions(router: RadiusClient, daemon: DaemonProcess, reply: Reply, login: str) -> list[str | None]:
    """Start a session with the Class of `reply`, and return the login of the service that it was booked on."""
    session = os.urandom(4).hex()
    given = reply.packet.get(Type.CLASS)
    assert given is not None
    router.account(router.record(AcctStatus.START, session, text(Type.CLASS, given), login=login))
    rows = daemon.query(
        "SELECT service.login FROM session LEFT JOIN service ON service.id = service_id WHERE acct_session_id = %s",
        session,
    )
    return [name for (name,) in rows]


def test_a_stranger_in_the_garden_uses_nobodys_allowance(router: RadiusClient, daemon: DaemonProcess) -> None:
    wrong = router.login("n-payer", "hush-guessed")
    assert (wrong.code, told(wrong, 19)) == (Code.ACCESS_ACCEPT, "unpaid")
    assert wrong.packet.integer(Type.SESSION_TIMEOUT) == STRANGER_SECONDS
    assert sessions(router, daemon, wrong, "n-payer") == [None]
    assert sessions(router, daemon, router.login("n-payer", PASSWORD), "n-payer") == ["n-payer"]
    rows = daemon.await_rows("SELECT reason FROM refusal WHERE login = 'n-payer'")
    assert rows == [("wrong_password",)]
