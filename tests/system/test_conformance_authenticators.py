"""Group A: whose datagrams are believed, and how answers prove that they are ours."""

from __future__ import annotations

import os
import time

import pytest

from radius.codes import AcctStatus, Code, Microsoft, Type
from radius.mschap import nt_hash, response_v2
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import (
    RadiusClient,
    Reply,
    microsoft,
    raw,
    text,
    with_accounting_authenticator,
    with_signature,
)

SECRET = "hush-authenticators"
NEVER, AUTO, SIGNER, ALWAYS = "127.0.2.1", "127.0.2.2", "127.0.2.3", "127.0.2.4"
ANA = ("a-ana", "hush-ana")
RICH = ("a-rich", "hush-rich")

ISP = f"""
[[router]]
name = "a-never"
address = "{NEVER}"
secret = "{SECRET}"
require_message_authenticator = "never"
[[router]]
name = "a-auto"
address = "{AUTO}"
secret = "{SECRET}"
[[router]]
name = "a-signer"
address = "{SIGNER}"
secret = "{SECRET}"
require_message_authenticator = "auto"
[[router]]
name = "a-always"
address = "{ALWAYS}"
secret = "{SECRET}"
require_message_authenticator = "always"
[[plan]]
name = "a"
download = "20M"
upload = "10M"
session_timeout = 3600
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "a"
[[service]]
login = "{RICH[0]}"
password = "{RICH[1]}"
plan = "a"
address = "192.0.2.77"
enabled = false
attributes = {{ "Reply-Message" = "welcome", "Filter-Id" = "gold" }}
"""

ROUTEROS, OTHER = "127.0.2.5", "127.0.2.6"
STRICT_ISP = f"""
[[router]]
name = "a-routeros"
address = "{ROUTEROS}"
secret = "{SECRET}"
profile = "mikrotik"
[[router]]
name = "a-other"
address = "{OTHER}"
secret = "{SECRET}"
[[plan]]
name = "a"
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "a"
"""
ROUTEROS_GIVES_UP_SECONDS = 1.1


@pytest.fixture
def never(nas: NasFactory) -> RadiusClient:
    return nas(NEVER, SECRET)


def begins_with_message_authenticator(reply: Reply) -> bool:
    """Tell it of an answer; that the authenticator is right was checked when it arrived."""
    return reply.octets[20:22] == b"\x50\x12"


@pytest.mark.parametrize("password", [ANA[1], "wrong"])
@pytest.mark.parametrize("signed", [True, False])
def test_a1_the_response_authenticator_is_right(never: RadiusClient, password: str, signed: bool) -> None:
    """`ask` raises for a wrong one."""
    reply = never.login(ANA[0], password, signed=signed)

    assert reply.code == (Code.ACCESS_ACCEPT if password == ANA[1] else Code.ACCESS_REJECT)


def test_a2_an_accounting_request_with_a_wrong_authenticator_is_dropped(
    never: RadiusClient, daemon: DaemonProcess
) -> None:
    session = os.urandom(8).hex()
    record = never.record(AcctStatus.START, session)

    assert never.is_left_unanswered_in_accounting(
        record[:4] + bytes(16) + record[20:],
        record[:4] + os.urandom(16) + record[20:],
        record[:-1] + bytes((record[-1] ^ 1,)),
    )
    assert daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session) == []


def spoilt(datagram: bytes) -> bytes:
    """Return a signed request with one bit of its Message-Authenticator turned."""
    at = datagram.index(b"\x50\x12", 20) + 2
    return datagram[:at] + bytes((datagram[at] ^ 0x80,)) + datagram[at + 1 :]


def test_a3_a_wrong_message_authenticator_drops_the_request(never: RadiusClient) -> None:
    assert never.is_left_unanswered(spoilt(never.pap_request(*ANA)))
    assert never.is_left_unanswered_in_accounting(
        with_wrong_signature(never.accounting_request(text(Type.ACCT_SESSION_ID, "x"), signed=True), never)
    )


def with_wrong_signature(record: bytes, client: RadiusClient) -> bytes:
    """Spoil the signature of an Accounting-Request and compute its authenticator again."""
    return with_accounting_authenticator(spoilt(record), client.secret)


def test_a3_a_wrong_message_authenticator_leaves_the_duplicate_cache_untouched(never: RadiusClient) -> None:
    login = never.pap_request(*ANA)
    first = never.ask(login)

    assert never.is_left_unanswered(spoilt(login))
    assert never.ask(login).octets == first.octets


def test_a3_a_forged_request_with_the_identifier_of_a_genuine_one_does_not_replace_it(never: RadiusClient) -> None:
    login = never.pap_request(*ANA)
    first = never.ask(login)
    forged = spoilt(never.pap_request(*ANA, identifier=login[1]))

    assert never.is_left_unanswered(forged)
    assert never.ask(login).octets == first.octets


@pytest.mark.parametrize("octets", [0, 15, 17])
def test_a4_a_message_authenticator_of_another_length_drops_the_request(never: RadiusClient, octets: int) -> None:
    odd = text(Type.MESSAGE_AUTHENTICATOR, bytes(octets))

    assert never.is_left_unanswered(never.pap_request(*ANA, odd, signed=False))


def test_a4_two_message_authenticators_drop_the_request(never: RadiusClient) -> None:
    again = text(Type.MESSAGE_AUTHENTICATOR, bytes(16))
    unsigned = never.pap_request(*ANA, again, again, signed=False)

    assert never.is_left_unanswered(unsigned, with_signature(unsigned, never.secret))


def test_a5_eap_without_a_message_authenticator_is_dropped(never: RadiusClient) -> None:
    identity = b"\x02\x01\x00\x0a" + b"\x01a-ana"
    name = text(Type.USER_NAME, ANA[0])

    assert never.is_left_unanswered(
        never.access_request(name, text(Type.EAP_MESSAGE, identity), signed=False),
        never.access_request(name, text(Type.EAP_MESSAGE, b""), signed=False),
        never.pap_request(*ANA, text(Type.EAP_MESSAGE, identity), signed=False),
    )


def test_a6_a_request_without_credentials_and_without_a_message_authenticator_is_dropped(never: RadiusClient) -> None:
    name = text(Type.USER_NAME, ANA[0])

    assert never.is_left_unanswered(never.access_request(name, signed=False))
    assert never.ask(never.access_request(name)).code == Code.ACCESS_REJECT


def test_a6_ms_chap_counts_as_a_credential(never: RadiusClient) -> None:
    challenge = os.urandom(16)
    response = response_v2(3, nt_hash(ANA[1].encode()), challenge, os.urandom(16), ANA[0].encode())
    login = never.access_request(
        text(Type.USER_NAME, ANA[0]),
        microsoft(Microsoft.CHAP_CHALLENGE, challenge),
        microsoft(Microsoft.CHAP2_RESPONSE, response),
        signed=False,
    )

    assert never.ask(login).code == Code.ACCESS_ACCEPT


def test_a7_a_router_that_must_sign_is_not_answered_without(nas: NasFactory, daemon: DaemonProcess) -> None:
    always = nas(ALWAYS, SECRET)

    assert always.is_left_unanswered(*(always.pap_request(*ANA, signed=False) for _ in range(5)))

    told = [
        line
        for line in daemon.log.read_text().splitlines()
        if '"missing_message_authenticator"' in line and f'"{ALWAYS}"' in line
    ]
    assert len(told) == 1, "the log tells it once, not for each datagram"
    assert "require_message_authenticator" in told[0]


def test_a7_a_router_that_signed_once_must_go_on_signing_under_auto(nas: NasFactory) -> None:
    signer = nas(SIGNER, SECRET)

    assert signer.login(*ANA, signed=False).code == Code.ACCESS_ACCEPT
    assert signer.login(*ANA).code == Code.ACCESS_ACCEPT
    assert signer.is_left_unanswered(signer.pap_request(*ANA, signed=False))


def test_a8_proxy_state_without_a_message_authenticator_is_dropped_under_auto(
    nas: NasFactory, never: RadiusClient
) -> None:
    auto = nas(AUTO, SECRET)
    proxied = text(Type.PROXY_STATE, "home")

    assert auto.login(*ANA, signed=False).code == Code.ACCESS_ACCEPT
    auto.auth.send(auto.pap_request(*ANA, proxied, signed=False))
    assert auto.login(*ANA, signed=False).code == Code.ACCESS_ACCEPT
    assert not auto.has_answer(auto.auth)
    assert auto.login(*ANA, proxied).code == Code.ACCESS_ACCEPT
    assert never.login(*ANA, proxied, signed=False).code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("password", [ANA[1], "wrong"])
def test_a9_every_answer_to_a_login_begins_with_a_message_authenticator(
    never: RadiusClient, signed: bool, password: str
) -> None:
    assert begins_with_message_authenticator(never.login(ANA[0], password, signed=signed))


def test_a9_the_answers_to_status_server_begin_with_a_message_authenticator(never: RadiusClient) -> None:
    assert begins_with_message_authenticator(never.ask(never.status_server()))
    assert begins_with_message_authenticator(never.ask(never.status_server(), at=never.acct))


def test_a10_the_place_of_the_message_authenticator_in_a_request_does_not_matter(nas: NasFactory) -> None:
    always = nas(ALWAYS, SECRET)
    blank = b"\x50\x12" + bytes(16)
    plain = always.pap_request(*ANA, signed=False)
    name_end = 20 + plain[21]

    for attributes in (
        blank + plain[20:],
        plain[20:name_end] + blank + plain[name_end:],
        plain[20:] + blank,
    ):
        request = raw(1, always.next_identifier(), attributes, authenticator=plain[4:20])
        assert always.ask(with_signature(request, always.secret)).code == Code.ACCESS_ACCEPT


PROXY_STATES = [b"nearest", b"\x00\xff", b"", b"x" * 253, b"nearest"]


def test_a11_proxy_state_comes_back_unchanged_and_in_order_in_every_answer(never: RadiusClient) -> None:
    states = [text(Type.PROXY_STATE, state) for state in PROXY_STATES]
    between = text(Type.CALLED_STATION_ID, "x")
    answers = (
        never.login(*ANA, states[0], between, *states[1:]),
        never.login(ANA[0], "wrong", *states),
        never.account(never.record(AcctStatus.START, os.urandom(8).hex(), states[0], between, *states[1:])),
        never.ask(never.status_server(*states)),
        never.ask(never.status_server(*states), at=never.acct),
    )

    assert [answer.packet.all(Type.PROXY_STATE) for answer in answers] == [PROXY_STATES] * 5


def test_a12_a_reject_waits_and_its_duplicates_are_dropped_meanwhile(
    strict_nas: NasFactory, strict_daemon: DaemonProcess
) -> None:
    """RouterOS gives up after 1.1 s, so its profile waits half a second. Only a proxy must not wait."""
    router, other = strict_nas(ROUTEROS, SECRET), strict_nas(OTHER, SECRET)
    wrong = router.pap_request(ANA[0], "wrong")
    begun = time.monotonic()
    for _ in range(3):
        router.auth.send(wrong)
    other.proves_alive()
    assert not router.has_answer(router.auth), "others do not wait with it"
    reply = router.receive(wrong)
    waited = time.monotonic() - begun

    assert reply.code == Code.ACCESS_REJECT
    assert 0.5 <= waited < ROUTEROS_GIVES_UP_SECONDS
    router.proves_alive()
    assert not router.has_answer(router.auth)
    assert router.ask(wrong).octets == reply.octets
    attempts = "SELECT attempts FROM refusal WHERE login = %s AND reason = 'wrong_password'"
    assert strict_daemon.await_rows(attempts, ANA[0]) == [(1,)]


def test_a12_the_delay_of_rejects_is_not_always_the_same(strict_nas: NasFactory) -> None:
    router = strict_nas(ROUTEROS, SECRET)
    wrong = [router.pap_request(f"a-nobody-{place}", "wrong") for place in range(8)]
    for request in wrong:
        router.auth.send(request)
    arrived = []
    for _ in wrong:
        router.auth.recv(4096)
        arrived.append(time.monotonic())

    assert max(arrived) - min(arrived) > 0.01


def test_a13_a_reject_carries_nothing_of_the_service(never: RadiusClient) -> None:
    reply = never.login(*RICH)

    assert reply.code == Code.ACCESS_REJECT
    assert set(reply.kinds) <= {Type.MESSAGE_AUTHENTICATOR, Type.REPLY_MESSAGE}
    assert reply.packet.all(Type.REPLY_MESSAGE) != [b"welcome"]
