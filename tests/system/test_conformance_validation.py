"""Group V: which datagrams are read at all, and how the router that sent them is known."""

from __future__ import annotations

import json
import os

import pytest

from radius.codes import AcctStatus, Code, Microsoft, Type, Vendor
from radius.mschap import nt_hash, response_v2
from radius.packet import attribute, vendor_attribute
from tests.system.conftest import MARK_OF_SECRETS, NasFactory
from tests.system.daemon_process import DaemonProcess
from tests.system.radius_client import (
    RadiusClient,
    raw,
    text,
    with_accounting_authenticator,
    with_signature,
)

PLAIN, PLAIN_SECRET = "127.0.1.1", "hush-validation-one"
OTHER, OTHER_SECRET = "127.0.1.2", "hush-validation-two"
UNKNOWN = "127.0.1.99"
ANA = ("v-ana", "hush-ana")

ISP = f"""
[[router]]
name = "v-plain"
address = "{PLAIN}"
secret = "{PLAIN_SECRET}"
require_message_authenticator = "never"
[[router]]
name = "v-other"
address = "{OTHER}"
secret = "{OTHER_SECRET}"
require_message_authenticator = "never"
[[plan]]
name = "v"
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "v"
"""

UNUSED = 0xFA
"""An attribute type that nobody has assigned."""


@pytest.fixture
def plain(nas: NasFactory) -> RadiusClient:
    return nas(PLAIN, PLAIN_SECRET)


def new_session() -> str:
    return os.urandom(8).hex()


def padded_to(client: RadiusClient, size: int) -> bytes:
    """Return a login of exactly `size` octets, filled up with attributes that mean nothing."""
    room = size - len(client.pap_request(*ANA, signed=False))
    whole, rest = divmod(room, 255)
    sizes = [255] * whole + [rest]
    if rest == 1:
        sizes[-2:] = [254, 2]
    filling = b"".join(attribute(UNUSED, bytes(octets - 2)) for octets in sizes if octets)
    return client.pap_request(*ANA, filling, signed=False)


@pytest.mark.parametrize("octets", [0, 1, 19])
def test_v1_a_datagram_shorter_than_its_header_is_dropped(plain: RadiusClient, octets: int) -> None:
    datagram = plain.pap_request(*ANA)[:octets]

    assert plain.is_left_unanswered(datagram)
    assert plain.is_left_unanswered_in_accounting(datagram)


@pytest.mark.parametrize("length", [0, 19, "one more than arrived", 65_535])
def test_v1_a_length_below_20_or_beyond_the_datagram_is_dropped(plain: RadiusClient, length: int | str) -> None:
    login, record = plain.pap_request(*ANA), plain.record(AcctStatus.START, new_session())

    for datagram, is_left_unanswered in (
        (login, plain.is_left_unanswered),
        (record, plain.is_left_unanswered_in_accounting),
    ):
        told = length if isinstance(length, int) else len(datagram) + 1
        changed = with_accounting_authenticator(datagram[:2] + told.to_bytes(2) + datagram[4:], plain.secret)
        assert is_left_unanswered(changed if datagram is record else changed[:4] + datagram[4:])


def test_v2_octets_past_length_are_ignored(plain: RadiusClient, daemon: DaemonProcess) -> None:
    session = new_session()

    assert plain.ask(plain.pap_request(*ANA) + b"\x00\xff\x01").code == Code.ACCESS_ACCEPT
    plain.account(plain.record(AcctStatus.START, session, login=ANA[0]) + b"\x01\x00\xff")

    assert daemon.query("SELECT login FROM session WHERE acct_session_id = %s", session) == [(ANA[0],)]


def test_v3_a_packet_of_4096_octets_is_processed(plain: RadiusClient) -> None:
    login = padded_to(plain, 4096)

    assert len(login) == 4096
    assert plain.ask(login).code == Code.ACCESS_ACCEPT
    assert plain.ask(padded_to(plain, 4096) + bytes(1000)).code == Code.ACCESS_ACCEPT


def test_v3_a_packet_of_4097_octets_is_dropped(plain: RadiusClient) -> None:
    login = padded_to(plain, 4097)

    assert len(login) == 4097
    assert plain.is_left_unanswered(login, login + bytes(1000))


@pytest.mark.parametrize(
    "ending",
    [b"\x01\x00", b"\x01\x01", b"\x01\x03", b"\x01\xff" + bytes(252), b"\x01"],
    ids=["length 0", "length 1", "one octet too long", "far too long", "a trailing octet"],
)
def test_v4_a_wrongly_framed_attribute_drops_the_packet(plain: RadiusClient, ending: bytes) -> None:
    login, record = plain.pap_request(*ANA, signed=False), plain.record(AcctStatus.START, new_session())

    def ended(datagram: bytes) -> bytes:
        return raw(datagram[0], datagram[1], datagram[20:] + ending, authenticator=datagram[4:20])

    assert plain.is_left_unanswered(ended(login))
    assert plain.is_left_unanswered_in_accounting(with_accounting_authenticator(ended(record), plain.secret))


def test_v4_a_wrongly_framed_attribute_in_front_of_good_ones_drops_the_packet(plain: RadiusClient) -> None:
    login = plain.pap_request(*ANA, signed=False)

    assert plain.is_left_unanswered(raw(1, 5, b"\x01\x00" + login[20:], authenticator=login[4:20]))


def test_v5_a_value_of_the_wrong_size_is_ignored_and_the_login_passes(plain: RadiusClient) -> None:
    odd = [text(kind, b"\x7f\x00") for kind in (Type.NAS_IP_ADDRESS, Type.NAS_PORT, Type.FRAMED_PROTOCOL, Type.STATE)]

    assert plain.login(*ANA, *odd).code == Code.ACCESS_ACCEPT


def test_v5_counters_and_addresses_of_the_wrong_size_are_ignored_in_accounting(
    plain: RadiusClient, daemon: DaemonProcess
) -> None:
    session = new_session()
    kinds = (
        *(Type.FRAMED_IP_ADDRESS, Type.ACCT_INPUT_OCTETS, Type.ACCT_OUTPUT_OCTETS, Type.ACCT_INPUT_GIGAWORDS),
        *(Type.ACCT_SESSION_TIME, Type.EVENT_TIMESTAMP, Type.ACCT_DELAY_TIME, Type.NAS_IP_ADDRESS, Type.NAS_PORT),
    )

    plain.account(plain.record(AcctStatus.INTERIM, session, *(text(kind, b"\x01\x02") for kind in kinds)))

    row = "SELECT address, octets_up, octets_down, session_seconds FROM session WHERE acct_session_id = %s"
    assert daemon.query(row, session) == [(None, 0, 0, 0)]


def test_v6_an_attribute_of_type_0_drops_the_packet(plain: RadiusClient) -> None:
    record = plain.record(AcctStatus.START, new_session(), b"\x00\x03x")

    assert plain.is_left_unanswered(plain.pap_request(*ANA, b"\x00\x03x", signed=False))
    assert plain.is_left_unanswered_in_accounting(record)


def test_v6_more_than_200_attributes_drop_the_packet(plain: RadiusClient) -> None:
    one = attribute(UNUSED, b"")

    assert plain.ask(plain.pap_request(*ANA, *[one] * 198, signed=False)).code == Code.ACCESS_ACCEPT
    assert plain.is_left_unanswered(plain.pap_request(*ANA, *[one] * 199, signed=False))


def test_v7_an_unknown_attribute_changes_nothing_in_a_login(plain: RadiusClient) -> None:
    unknown = attribute(UNUSED, b"\x00\xff"), vendor_attribute(4_000_000, 77, b"x")

    assert plain.login(*ANA, *unknown).code == Code.ACCESS_ACCEPT


def test_v7_unknown_attributes_are_stored_raw_in_accounting(plain: RadiusClient, daemon: DaemonProcess) -> None:
    session = new_session()
    unknown = attribute(UNUSED, b"\x00\xff"), vendor_attribute(4_000_000, 77, b"x"), attribute(UNUSED, b"again")

    plain.account(plain.record(AcctStatus.START, session, *unknown))

    ((stored,),) = daemon.query("SELECT unknown_attributes FROM session WHERE acct_session_id = %s", session)
    assert bytes(stored) == b"".join(unknown)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00\x01",
        b"\x00\x00\x01\x37",
        b"\x00\x00\x01\x37\x01",
        b"\x00\x00\x01\x37\x01\x00",
        b"\x00\x00\x01\x37\x01\x01",
        b"\x00\x00\x01\x37\x01\xff\x00",
        b"\x00\x00\x01\x37" + b"\x01\x00" * 120,
        b"\xff\xff\xff\xff\x01\x03x",
    ],
    ids=["empty", "3 octets", "only a vendor", "half", "inner 0", "inner 1", "overrun", "many of 0", "odd vendor"],
)
def test_v8_a_vendor_attribute_that_cannot_be_split_stays_opaque(
    plain: RadiusClient, daemon: DaemonProcess, content: bytes
) -> None:
    session = new_session()
    odd = attribute(Type.VENDOR_SPECIFIC, content)

    assert plain.login(*ANA, odd).code == Code.ACCESS_ACCEPT
    plain.account(plain.record(AcctStatus.START, session, odd))

    ((stored,),) = daemon.query("SELECT unknown_attributes FROM session WHERE acct_session_id = %s", session)
    assert bytes(stored) == odd


def ms_chap_v2(client: RadiusClient) -> tuple[bytes, bytes]:
    """Return the sub-attributes of a right MS-CHAPv2 login: challenge and response."""
    challenge = os.urandom(16)
    response = response_v2(1, nt_hash(ANA[1].encode()), challenge, os.urandom(16), ANA[0].encode())
    return (
        bytes((Microsoft.CHAP_CHALLENGE, 18)) + challenge,
        bytes((Microsoft.CHAP2_RESPONSE, 52)) + response,
    )


def test_v9_all_sub_attributes_of_one_vendor_attribute_are_decoded(plain: RadiusClient) -> None:
    both = int(Vendor.MICROSOFT).to_bytes(4) + b"".join(ms_chap_v2(plain))
    login = plain.access_request(text(Type.USER_NAME, ANA[0]), attribute(Type.VENDOR_SPECIFIC, both))

    assert plain.ask(login).code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("code", [0, 2, 3, 5, 6, 11, 13, 40, 41, 43, 45, 255])
def test_v10_unknown_codes_and_those_of_answers_are_dropped(plain: RadiusClient, code: int) -> None:
    login = plain.pap_request(*ANA, signed=False)
    record = plain.record(AcctStatus.START, new_session())
    signed = with_signature(raw(code, 9, b"\x50\x12" + bytes(16) + login[20:], authenticator=login[4:20]), plain.secret)

    assert plain.is_left_unanswered(bytes((code,)) + login[1:], signed)
    other = with_accounting_authenticator(bytes((code,)) + record[1:], plain.secret)
    assert plain.is_left_unanswered_in_accounting(other)


def test_v10_an_access_request_on_the_accounting_port_is_dropped(plain: RadiusClient) -> None:
    assert plain.is_left_unanswered_in_accounting(plain.pap_request(*ANA), plain.pap_request(*ANA, signed=False))


def test_v10_an_accounting_request_on_the_authentication_port_is_dropped(
    plain: RadiusClient, daemon: DaemonProcess
) -> None:
    session = new_session()

    assert plain.is_left_unanswered(plain.record(AcctStatus.START, session))
    assert daemon.query("SELECT id FROM session WHERE acct_session_id = %s", session) == []


def test_v11_an_unknown_source_is_dropped_whatever_it_sends(nas: NasFactory, plain: RadiusClient) -> None:
    unknown = nas(UNKNOWN, PLAIN_SECRET)
    told = text(Type.NAS_IP_ADDRESS, bytes((127, 0, 1, 1)))
    for datagram in (unknown.pap_request(*ANA, told), unknown.status_server(), b"", b"\xff" * 4096):
        unknown.auth.send(datagram)
    for datagram in (unknown.record(AcctStatus.START, new_session(), told), unknown.status_server(), b"x"):
        unknown.acct.send(datagram)

    plain.proves_alive()
    plain.proves_alive_in_accounting()

    assert not unknown.has_answer(unknown.auth)
    assert not unknown.has_answer(unknown.acct)


def test_v11_the_secret_is_that_of_the_source_never_of_nas_ip_address(plain: RadiusClient, nas: NasFactory) -> None:
    lies = text(Type.NAS_IP_ADDRESS, bytes((127, 0, 1, 2))), text(Type.NAS_IDENTIFIER, "v-other")
    forger = nas(PLAIN, OTHER_SECRET)

    assert plain.login(*ANA, *lies).code == Code.ACCESS_ACCEPT
    forger.auth.send(forger.pap_request(*ANA, *lies))
    forger.acct.send(forger.record(AcctStatus.START, new_session(), *lies))
    plain.proves_alive()
    plain.proves_alive_in_accounting()
    assert not forger.has_answer(forger.auth)
    assert not forger.has_answer(forger.acct)


def test_v12_attributes_of_one_type_are_accepted_apart_from_each_other_and_keep_their_order(
    plain: RadiusClient, daemon: DaemonProcess
) -> None:
    challenge, response = (
        attribute(Type.VENDOR_SPECIFIC, int(Vendor.MICROSOFT).to_bytes(4) + part) for part in ms_chap_v2(plain)
    )
    session = new_session()
    unknown = [attribute(UNUSED, bytes((octet,))) for octet in (3, 1, 2)]

    login = plain.access_request(response, text(Type.USER_NAME, ANA[0]), challenge)
    assert plain.ask(login).code == Code.ACCESS_ACCEPT
    plain.account(plain.record(AcctStatus.START, session, unknown[0], text(Type.CALLED_STATION_ID, "x"), *unknown[1:]))

    ((stored,),) = daemon.query("SELECT unknown_attributes FROM session WHERE acct_session_id = %s", session)
    assert bytes(stored) == b"".join(unknown)


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.1.200"])
def test_v13_the_answer_leaves_from_the_address_and_port_that_were_asked(nas: NasFactory, server: str) -> None:
    """The client's sockets are connected to what they ask: from elsewhere nothing would reach them."""
    client = nas(PLAIN, PLAIN_SECRET, server=server)

    assert client.login(*ANA).code == Code.ACCESS_ACCEPT
    assert client.login(ANA[0], "wrong").code == Code.ACCESS_REJECT
    client.account(client.record(AcctStatus.START, new_session()))
    assert client.ask(client.status_server()).code == Code.ACCESS_ACCEPT


def router(secret: str) -> str:
    return f'[[router]]\nname = "v-secret"\naddress = "127.0.1.9"\nsecret = "{secret}"\n'


def apply_and_warn(daemon: DaemonProcess, isp: str) -> list[str]:
    """Apply and return the warnings."""
    path = daemon.data / "warned.toml"
    path.write_text(isp)
    told = json.loads(daemon.caudal("apply", str(path), "--dry-run", "--json"))
    daemon.provision(isp)
    return [warning["message"] for warning in told["warnings"]]


def test_v14_an_empty_secret_is_refused(daemon: DaemonProcess) -> None:
    path = daemon.data / "refused.toml"
    path.write_text(router(""))

    complaint = daemon.caudal("apply", str(path), expect=1)

    assert "refused.toml:4" in complaint
    assert daemon.query("SELECT id FROM router WHERE name = 'v-secret'") == []


def test_v14_a_secret_of_at_most_12_octets_warns_and_works(daemon: DaemonProcess, nas: NasFactory) -> None:
    short = "hush-twelve-"

    assert len(short) == 12
    assert any("can be guessed" in warning for warning in apply_and_warn(daemon, router(short)))
    assert nas("127.0.1.9", short).login(*ANA).code == Code.ACCESS_ACCEPT


def test_v14_a_secret_of_64_octets_works_without_a_warning(daemon: DaemonProcess, nas: NasFactory) -> None:
    long = "hush-" + "0123456789abcdef" * 4

    assert apply_and_warn(daemon, router(long[:64])) == []
    assert nas("127.0.1.9", long[:64]).login(*ANA).code == Code.ACCESS_ACCEPT


def test_drops_are_counted_by_reason_and_no_secret_is_among_the_metrics(
    plain: RadiusClient, daemon: DaemonProcess
) -> None:
    assert plain.is_left_unanswered(b"\x01")

    metrics = daemon.await_metric('caudal_drops_total{reason="short",router="v-plain"}')

    assert MARK_OF_SECRETS not in metrics
