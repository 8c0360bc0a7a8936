"""Group S: Status-Server (RFC 5997), by which a NAS asks whether the server lives."""

from __future__ import annotations

import os

import pytest

from daemon.listener import STATUS_PER_SECOND
from radius.codes import AcctStatus, Code, Type
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import LARGEST_DATAGRAM, RadiusClient, number, raw, text, with_signature

SECRET = "hush-status"
ISP = "".join(
    f"""
[[router]]
name = "s-{place}"
address = "127.0.4.{place}"
secret = "{SECRET}"
require_message_authenticator = "never"
"""
    for place in range(1, 7)
)


@pytest.fixture
def asker(nas: NasFactory) -> RadiusClient:
    return nas("127.0.4.1", SECRET)


def test_s1_a_signed_status_server_is_answered_with_the_code_of_the_port(asker: RadiusClient) -> None:
    assert asker.ask(asker.status_server()).code == Code.ACCESS_ACCEPT
    assert asker.ask(asker.status_server(), at=asker.acct).code == Code.ACCOUNTING_RESPONSE


def test_s1_the_example_of_rfc_5997_is_answered(daemon: DaemonProcess) -> None:
    """RFC 5997 §6.1, whose secret is xyzzy5461; the answer holds nothing but our Message-Authenticator."""
    daemon.provision('[[router]]\nname = "s-rfc"\naddress = "127.0.4.61"\nsecret = "xyzzy5461"\n')
    datagram = bytes.fromhex("0cda00268a54f4686fb394c52866e302185d062350125a665e2e1e8411f3e243822097c84fa3")
    with RadiusClient(
        source="127.0.4.61", secret=b"xyzzy5461", auth_port=daemon.auth_port, acct_port=daemon.acct_port
    ) as client:
        reply = client.ask(datagram)

    assert (reply.code, reply.kinds) == (Code.ACCESS_ACCEPT, [Type.MESSAGE_AUTHENTICATOR])


def test_s2_a_status_server_without_or_with_a_wrong_message_authenticator_is_dropped(nas: NasFactory) -> None:
    asker = nas("127.0.4.2", SECRET)
    unsigned = asker.status_server(signed=False)
    signed = asker.status_server()
    forged = signed[:22] + bytes((signed[22] ^ 1,)) + signed[23:]

    assert asker.is_left_unanswered(unsigned, forged)
    assert asker.is_left_unanswered_in_accounting(unsigned, forged)


def test_s2_a_status_server_signed_with_another_secret_is_dropped(nas: NasFactory) -> None:
    asker, stranger = nas("127.0.4.2", SECRET), nas("127.0.4.2", "hush-another")
    stranger.auth.send(stranger.status_server())
    stranger.acct.send(stranger.status_server())
    asker.proves_alive()
    asker.proves_alive_in_accounting()

    assert not stranger.has_answer(stranger.auth)
    assert not stranger.has_answer(stranger.acct)


def test_s3_further_attributes_are_ignored_and_have_no_effect(nas: NasFactory, daemon: DaemonProcess) -> None:
    asker = nas("127.0.4.3", SECRET)
    session = os.urandom(8).hex()
    attributes = (
        text(Type.USER_NAME, "probe"),
        text(Type.USER_PASSWORD, bytes(16)),
        number(Type.ACCT_STATUS_TYPE, AcctStatus.START),
        text(Type.ACCT_SESSION_ID, session),
        text(Type.NAS_IDENTIFIER, "x"),
    )
    before = daemon.query("SELECT count(*) FROM refusal")

    for port in (asker.auth, asker.acct):
        reply = asker.ask(asker.status_server(*attributes), at=port)
        assert reply.kinds == [Type.MESSAGE_AUTHENTICATOR]
    asker.proves_alive_in_accounting()

    assert daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session) == []
    assert daemon.query("SELECT count(*) FROM refusal") == before


def test_s3_a_status_server_repeated_is_answered_afresh(nas: NasFactory) -> None:
    asker = nas("127.0.4.4", SECRET)
    request = asker.status_server()

    assert asker.ask(request).code == Code.ACCESS_ACCEPT
    assert asker.ask(request).code == Code.ACCESS_ACCEPT


def test_s4_more_than_a_few_in_a_second_are_not_answered(nas: NasFactory) -> None:
    asker = nas("127.0.4.5", SECRET)
    for _ in range(10 * STATUS_PER_SECOND):
        asker.auth.send(asker.status_server())
    last = asker.pap_request("probe", "hush-probe")
    asker.auth.send(last)

    answers = 0
    while asker.auth.recv(LARGEST_DATAGRAM)[1] != last[1]:
        answers += 1
    assert STATUS_PER_SECOND <= answers <= 2 * STATUS_PER_SECOND, "a second may have ended meanwhile"


def test_s4_a_flood_of_status_server_does_not_hold_up_logins(nas: NasFactory) -> None:
    asker, other = nas("127.0.4.6", SECRET), nas("127.0.4.1", SECRET)
    flood = with_signature(raw(Code.STATUS_SERVER, 1, b"\x50\x12" + bytes(16), authenticator=bytes(16)), asker.secret)
    for _ in range(2000):
        asker.auth.send(flood)

    assert other.login("probe", "hush-probe").code == Code.ACCESS_ACCEPT
