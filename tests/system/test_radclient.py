"""Peers: Debian's radclient and pyrad's client log in, account and ask for the status, and believe our answers.

Rule: a peer that distrusts an answer says so by its exit status; what it prints of our attributes is read by its own
dictionaries, not by ours.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pyrad import packet as pyrad_packet
from pyrad.client import Client
from pyrad.dictionary import Dictionary

from radius import mschap
from tests.system.conftest import NasFactory
from tests.system.daemon_process import DaemonProcess

SOURCE, SECRET = "127.0.11.1", "hush-peers"
ANA = ("peer-ana", "hush-peer")
ISP = f"""
[[router]]
name = "peer"
address = "{SOURCE}"
secret = "{SECRET}"
require_message_authenticator = "never"
profile = "mikrotik"
[[plan]]
name = "peer"
download = "20M"
upload = "10M"
session_timeout = 3600
[[service]]
login = "{ANA[0]}"
password = "{ANA[1]}"
plan = "peer"
address = "192.0.2.111"
"""

pytestmark = pytest.mark.peer
needs_radclient = pytest.mark.skipif(
    shutil.which("radclient") is None, reason="radclient is missing: apt install freeradius-utils"
)


def radclient(daemon: DaemonProcess, kind: str, attributes: str, *options: str, secret: str = SECRET) -> str:
    """Run radclient from the router's address with `attributes` as its file; return all it says."""
    port = daemon.acct_port if kind == "acct" or "-acct" in options else daemon.auth_port
    chosen = [option for option in options if option != "-acct"]
    done = subprocess.run(
        ["radclient", "-x", "-r", "1", "-t", "4", *chosen, f"127.0.0.1:{port}", kind, secret],
        input=f"Packet-Src-IP-Address = {SOURCE}\n{attributes}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout}{done.stderr}exit status {done.returncode}"


def is_believed(told: str, answer: str) -> bool:
    """Tell whether radclient took the answer of that name for genuine."""
    return f"Received {answer}" in told and "exit status 0" in told and not re.search("invalid|shared secret", told)


@needs_radclient
@pytest.mark.parametrize("signed", ["Message-Authenticator = 0x00", ""], ids=["signed", "unsigned"])
@pytest.mark.parametrize("method", ["User-Password", "CHAP-Password", "MS-CHAP-Password"])
def test_radclient_is_let_in_by_every_method(daemon: DaemonProcess, method: str, signed: str) -> None:
    told = radclient(daemon, "auth", f'User-Name = "{ANA[0]}"\n{method} = "{ANA[1]}"\n{signed}')

    assert is_believed(told, "Access-Accept")
    assert "Framed-IP-Address = 192.0.2.111" in told
    assert 'Mikrotik-Rate-Limit = "10M/20M"' in told
    assert "Session-Timeout = 3600" in told
    if method == "MS-CHAP-Password":
        assert "MS-CHAP-MPPE-Keys" in told


@needs_radclient
def test_radclient_demands_and_finds_the_message_authenticator_of_blastradius(daemon: DaemonProcess) -> None:
    """`-b` refuses answers whose first attribute is no Message-Authenticator; old versions do not know the option."""
    told = radclient(daemon, "auth", f'User-Name = "{ANA[0]}"\nUser-Password = "{ANA[1]}"', "-b")
    if "invalid option" in told:
        told = radclient(daemon, "auth", f'User-Name = "{ANA[0]}"\nUser-Password = "{ANA[1]}"')

    received = told[told.index("Received Access-Accept") :].splitlines()
    assert "Message-Authenticator = 0x" in received[1]
    assert is_believed(told, "Access-Accept")


@needs_radclient
def test_radclient_is_let_in_by_mschapv2_with_the_right_proof(daemon: DaemonProcess) -> None:
    challenge, peer = os.urandom(16), os.urandom(16)
    hashed = mschap.nt_hash(ANA[1].encode())
    response = mschap.response_v2(1, hashed, challenge, peer, ANA[0].encode())
    proof = mschap.success_v2(mschap.hash_nt_hash(hashed), response[26:], peer, challenge, ANA[0].encode())

    told = radclient(
        daemon,
        "auth",
        f'User-Name = "{ANA[0]}"\nMS-CHAP-Challenge = 0x{challenge.hex()}\nMS-CHAP2-Response = 0x{response.hex()}',
    )

    assert is_believed(told, "Access-Accept")
    assert f"MS-CHAP2-Success = 0x01{proof.hex()}" in told
    assert "MS-MPPE-Send-Key = 0x" in told
    assert "MS-MPPE-Recv-Key = 0x" in told


@needs_radclient
def test_radclient_is_refused_and_believes_it(daemon: DaemonProcess) -> None:
    told = radclient(daemon, "auth", f'User-Name = "{ANA[0]}"\nUser-Password = "hush-wrong"')

    assert "Received Access-Reject" in told
    assert 'Reply-Message = "Login incorrect"' in told
    assert not re.search("invalid|shared secret is incorrect", told)


@needs_radclient
@pytest.mark.parametrize("signed", ["Message-Authenticator = 0x00", ""], ids=["signed", "unsigned"])
def test_radclient_accounts_and_believes_the_answer(daemon: DaemonProcess, signed: str) -> None:
    session = os.urandom(8).hex()
    told = radclient(
        daemon,
        "acct",
        f"""Acct-Status-Type = Interim-Update
Acct-Session-Id = "{session}"
User-Name = "{ANA[0]}"
Acct-Session-Time = 60
Acct-Input-Octets = 1000
Acct-Input-Gigawords = 1
Acct-Output-Octets = 2000
{signed}""",
    )

    assert is_believed(told, "Accounting-Response")
    counters = "SELECT octets_up, octets_down FROM session WHERE acct_session_id = %s"
    assert daemon.query(counters, session) == [((1 << 32) + 1000, 2000)]


@needs_radclient
@pytest.mark.parametrize(("options", "answer"), [((), "Access-Accept"), (("-acct",), "Accounting-Response")])
def test_radclient_asks_for_the_status_of_either_port(
    daemon: DaemonProcess, options: tuple[str, ...], answer: str
) -> None:
    assert is_believed(radclient(daemon, "status", "Message-Authenticator = 0x00", *options), answer)


@needs_radclient
def test_radclient_gets_its_proxy_states_back_in_order(daemon: DaemonProcess) -> None:
    told = radclient(
        daemon,
        "auth",
        f'User-Name = "{ANA[0]}"\nUser-Password = "{ANA[1]}"\nProxy-State = 0x01\nProxy-State = 0x0203\n'
        "Message-Authenticator = 0x00",
    )

    received = told[told.index("Received Access-Accept") :]
    assert re.findall(r"Proxy-State = (0x\w+)", received) == ["0x01", "0x0203"]


@needs_radclient
def test_radclient_with_another_secret_is_not_answered_to_signed_requests(daemon: DaemonProcess) -> None:
    told = radclient(
        daemon,
        "auth",
        f'User-Name = "{ANA[0]}"\nUser-Password = "{ANA[1]}"\nMessage-Authenticator = 0x00',
        *("-r", "1", "-t", "0.3"),
        secret="hush-another",
    )

    assert "Received" not in told


@pytest.fixture
def pyrad_client(daemon: DaemonProcess, tmp_path: Path) -> Client:
    """Return pyrad's client; its dictionary is written here, so that nothing of ours reads the answers."""
    dictionary = tmp_path / "dictionary"
    dictionary.write_text(
        """
ATTRIBUTE User-Name 1 string
ATTRIBUTE User-Password 2 string
ATTRIBUTE CHAP-Password 3 octets
ATTRIBUTE Framed-IP-Address 8 ipaddr
ATTRIBUTE Class 25 octets
ATTRIBUTE Session-Timeout 27 integer
ATTRIBUTE Acct-Status-Type 40 integer
ATTRIBUTE Acct-Input-Octets 42 integer
ATTRIBUTE Acct-Session-Id 44 string
ATTRIBUTE Message-Authenticator 80 octets
VENDOR Mikrotik 14988
BEGIN-VENDOR Mikrotik
ATTRIBUTE Mikrotik-Rate-Limit 8 string
END-VENDOR Mikrotik
"""
    )
    client = Client(
        server="127.0.0.1",
        authport=daemon.auth_port,
        acctport=daemon.acct_port,
        secret=SECRET.encode(),
        dict=Dictionary(str(dictionary)),
    )
    client.retries, client.timeout = 1, 4
    client.bind((SOURCE, 0))
    return client


def test_pyrad_is_let_in_and_verifies_the_message_authenticator(pyrad_client: Client) -> None:
    request = pyrad_client.CreateAuthPacket(code=pyrad_packet.AccessRequest, User_Name=ANA[0])
    request["User-Password"] = request.PwCrypt(ANA[1])
    request.add_message_authenticator()

    reply = pyrad_client.SendPacket(request)

    assert reply.code == pyrad_packet.AccessAccept
    assert reply["Framed-IP-Address"] == ["192.0.2.111"]
    assert reply["Mikrotik-Rate-Limit"] == ["10M/20M"]
    assert reply["Session-Timeout"] == [3600]
    assert reply.verify_message_authenticator(original_authenticator=request.authenticator)


def test_pyrad_is_refused_with_a_wrong_password(pyrad_client: Client) -> None:
    request = pyrad_client.CreateAuthPacket(code=pyrad_packet.AccessRequest, User_Name=ANA[0])
    request["User-Password"] = request.PwCrypt("hush-wrong")
    request.add_message_authenticator()

    assert pyrad_client.SendPacket(request).code == pyrad_packet.AccessReject


def test_pyrad_accounts(pyrad_client: Client, daemon: DaemonProcess) -> None:
    session = os.urandom(8).hex()
    request = pyrad_client.CreateAcctPacket(User_Name=ANA[0])
    request["Acct-Status-Type"] = 3
    request["Acct-Session-Id"] = session
    request["Acct-Input-Octets"] = 4321

    assert pyrad_client.SendPacket(request).code == pyrad_packet.AccountingResponse
    assert daemon.query("SELECT octets_up FROM session WHERE acct_session_id = %s", session) == [(4321,)]


def test_a_client_and_a_peer_share_the_router_without_mixing_answers(nas: NasFactory, pyrad_client: Client) -> None:
    ours = nas(SOURCE, SECRET)
    request = pyrad_client.CreateAuthPacket(code=pyrad_packet.AccessRequest, User_Name=ANA[0])
    request["User-Password"] = request.PwCrypt(ANA[1])
    ours.auth.send(ours.pap_request(*ANA, identifier=request.id))

    assert pyrad_client.SendPacket(request).code == pyrad_packet.AccessAccept
    assert ours.auth.recv(4096)[1] == request.id
