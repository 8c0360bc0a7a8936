"""Every refusal has a reason of the closed set, and what is changed counts from the next packet on."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from enforcement.admission import RefusalReason
from radius.codes import AcctStatus, Code, Microsoft, Type
from tests.system.conftest import MARK_OF_SECRETS, NasFactory
from tests.system.daemon_process import WRITTEN_SECONDS, DaemonProcess
from tests.system.radius_client import RadiusClient, microsoft, text

SECRET = "hush-refusals"
SOURCE = "127.0.10.1"
PASSWORD = "hush-refused"
SHOWN_SECRETS = (PASSWORD, SECRET, MARK_OF_SECRETS)
LONG_REPLIES = ", ".join(f'"{"x" * 250}"' for _ in range(11))
HOUR = datetime.now(ZoneInfo("Europe/Madrid")).hour
CLOSED = f"{(HOUR + 10) % 24:02}:00-{(HOUR + 14) % 24:02}:00"
"""Hours that are neither now nor within the run."""

ISP = f"""
[[router]]
name = "r"
address = "{SOURCE}"
secret = "{SECRET}"
[[router]]
name = "r-elsewhere"
address = "127.0.10.2"
secret = "{SECRET}"
[[pool]]
name = "r"
range = "100.64.20.1-100.64.20.1"
[[plan]]
name = "r"
[[plan]]
name = "r-pooled"
pool = "r"
[[plan]]
name = "r-capped"
cap = {{ octets = 1 }}
[[plan]]
name = "r-closed"
allowed_hours = ["{CLOSED}"]
""" + "".join(
    f'[[service]]\nlogin = "r-{login}"\npassword = "{PASSWORD}"\nplan = "{plan}"\n{more}\n'
    for login, plan, more in (
        ("wrong_password", "r", ""),
        ("disabled", "r", "enabled = false"),
        ("expired", "r", "expires = 2020-01-01"),
        ("wrong_router", "r", 'routers = ["r-elsewhere"]'),
        ("wrong_mac", "r", 'mac = "02:00:00:10:00:01"'),
        ("too_many_sessions", "r", "simultaneous = 1"),
        ("pool_exhausted", "r-pooled", ""),
        ("bad_request", "r", ""),
        ("unsupported_method", "r", ""),
        ("reply_too_long", "r", f'attributes = {{ "Reply-Message" = [{LONG_REPLIES}] }}'),
        ("blocked", "r", 'account_state = "blocked"'),
        ("no_balance", "r", 'account_state = "no_balance"'),
        ("cap_reached", "r-capped", ""),
        ("outside_hours", "r-closed", ""),
        ("changing", "r", ""),
    )
)


@pytest.fixture
def router(nas: NasFactory) -> RadiusClient:
    return nas(SOURCE, SECRET)


def station(place: int) -> bytes:
    return text(Type.CALLING_STATION_ID, f"02-00-00-10-00-{place:02x}")


def provoke(client: RadiusClient, reason: RefusalReason) -> int:
    """Send what is refused for that reason, and return the code of the answer."""
    login = f"r-{reason.value}"
    match reason:
        case RefusalReason.WRONG_PASSWORD:
            return client.login(login, "hush-guessed").code
        case RefusalReason.TOO_MANY_SESSIONS | RefusalReason.POOL_EXHAUSTED:
            assert client.login(login, PASSWORD, station(9)).code == Code.ACCESS_ACCEPT
            return client.login(login, PASSWORD, station(10)).code
        case RefusalReason.BAD_REQUEST:
            odd = text(Type.USER_PASSWORD, bytes(17))
            return client.ask(client.access_request(text(Type.USER_NAME, login), odd)).code
        case RefusalReason.UNSUPPORTED_METHOD:
            lan_manager = microsoft(Microsoft.CHAP_RESPONSE, bytes(50)), microsoft(Microsoft.CHAP_CHALLENGE, bytes(8))
            return client.ask(client.access_request(text(Type.USER_NAME, login), *lan_manager)).code
        case RefusalReason.REPLY_TOO_LONG:
            states = [text(Type.PROXY_STATE, bytes(253))] * 6
            return client.login(login, PASSWORD, *states).code
        case _:
            return client.login(login, PASSWORD).code


def use_one_octet(daemon: DaemonProcess) -> None:
    """Let the meter say that the capped service used its octet, whatever is measured meanwhile."""
    daemon.query(
        """INSERT INTO meter (service_id, as_of, usage)
        SELECT id, %s, jsonb_build_object('day', c, 'week', c, 'month', c, 'sessions', 0)
        FROM service, jsonb_build_array((extract(epoch FROM now()) * 1000000)::bigint, 0, 1, 0) AS c
        WHERE login = 'r-cap_reached' RETURNING 1""",
        datetime.now(UTC) + timedelta(hours=1),
    )


def listed(daemon: DaemonProcess, login: str) -> list[dict[str, Any]]:
    """Return `caudal login list --login` as soon as it has something: refusals are stored behind their answers."""
    give_up = time.monotonic() + WRITTEN_SECONDS
    while True:
        told = daemon.caudal("login", "list", "--login", login, "--json")
        items: list[dict[str, Any]] = json.loads(told)
        if items or time.monotonic() > give_up:
            assert not any(secret in told for secret in SHOWN_SECRETS)
            return items


@pytest.mark.parametrize("reason", list(RefusalReason), ids=lambda reason: reason.value)
def test_every_reason_for_a_refusal_is_listed(
    router: RadiusClient, daemon: DaemonProcess, reason: RefusalReason
) -> None:
    if reason is RefusalReason.CAP_REACHED:
        use_one_octet(daemon)
    assert provoke(router, reason) == Code.ACCESS_REJECT

    (item,) = listed(daemon, f"r-{reason.value}")
    assert (item["reason"], item["router"], item["attempts"]) == (reason.value, "r", 1)


def test_refusals_alike_within_a_minute_are_one_row(router: RadiusClient, daemon: DaemonProcess) -> None:
    for _ in range(5):
        assert router.login("r-nobody-again", "hush-x").code == Code.ACCESS_REJECT

    rows = "SELECT sum(attempts), count(*) FROM refusal WHERE login = 'r-nobody-again' HAVING sum(attempts) = 5"
    ((attempts, count),) = daemon.await_rows(rows)
    assert attempts == 5
    assert count <= 2, "a minute may have ended meanwhile"


def test_the_subscriber_does_not_learn_whether_name_or_password_was_wrong(router: RadiusClient) -> None:
    told = [
        router.login(login, "hush-guessed").packet.all(Type.REPLY_MESSAGE)
        for login in ("r-nobody-at-all", "r-wrong_password", "r-disabled", "r-expired")
    ]

    assert told == [told[0]] * 4


def change(daemon: DaemonProcess, *lines: str) -> None:
    rows = "\n".join(lines)
    daemon.apply(f'[[service]]\nlogin = "r-changing"\nplan = "r"\n{rows}\n')


def test_a_changed_service_counts_from_the_next_packet_on(router: RadiusClient, daemon: DaemonProcess) -> None:
    assert router.login("r-changing", PASSWORD).code == Code.ACCESS_ACCEPT

    change(daemon, 'password = "hush-changed"')
    assert router.login("r-changing", PASSWORD).code == Code.ACCESS_REJECT
    assert router.login("r-changing", "hush-changed").code == Code.ACCESS_ACCEPT

    change(daemon, "enabled = false")
    assert router.login("r-changing", "hush-changed").code == Code.ACCESS_REJECT

    change(daemon, 'address = "192.0.2.10"')
    assert router.login("r-changing", "hush-changed").address == "192.0.2.10"


def test_changed_routers_and_plans_count_without_a_restart(daemon: DaemonProcess, nas: NasFactory) -> None:
    def isp(secret: str, download: str) -> str:
        return f"""
[[router]]
name = "r-new"
address = "127.0.10.77"
secret = "{secret}"
profile = "mikrotik"
[[plan]]
name = "r-new"
download = "{download}"
upload = "1M"
[[service]]
login = "r-new"
password = "{PASSWORD}"
plan = "r-new"
"""

    for secret, download in (("hush-new-router-1", "5M"), ("hush-new-router-2", "5M"), ("hush-new-router-2", "7M")):
        daemon.provision(isp(secret, download))
        packet = nas("127.0.10.77", secret).login("r-new", PASSWORD).packet
        assert packet.vendor(14988, 8) == f"1M/{download}".encode()


def test_no_secret_is_shown_by_any_listing(daemon: DaemonProcess, router: RadiusClient) -> None:
    router.account(router.record(AcctStatus.START, os.urandom(8).hex(), login="r-changing"))
    shown = [
        daemon.caudal(*command)
        for command in (
            ("router", "list", "--json"),
            ("router", "show", "r", "--json"),
            ("service", "list", "--json"),
            ("service", "show", "r-changing", "--json"),
            ("login", "list", "--json"),
            ("session", "list", "--json"),
            ("export",),
        )
    ]

    assert not any(MARK_OF_SECRETS in text for text in [*shown, daemon.metrics()])


def test_no_secret_is_in_a_list_of_processes(daemon: DaemonProcess, router: RadiusClient) -> None:
    assert router.login("r-bad_request", PASSWORD).code == Code.ACCESS_ACCEPT
    here = [Path("/proc", str(pid)) for pid in (daemon.pid, *daemon.worker_pids(), daemon.database.pid())]
    shown = b"".join((process / name).read_bytes() for process in here for name in ("cmdline", "environ"))

    assert b"daemon.worker" in shown
    assert MARK_OF_SECRETS.encode() not in shown
