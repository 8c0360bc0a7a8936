"""How a subscriber dials."""

from __future__ import annotations

from random import Random

import pytest

from domain.instants import SECOND_US, Microseconds
from domain.secret import Secret
from radius.codes import Code, Microsoft, Type, Vendor
from radius.packet import attribute, decode, encode_reply, vendor_attribute
from simulator.behaviour import Behaviour, Faults
from simulator.description import Method, SubscriberDescription
from simulator.exchange import access_request
from simulator.session import Line
from simulator.subscriber import LONGEST_RETRY_SECONDS, Proof, Subscriber
from tests.unit.simulator.server import SECRET, ScriptedServer

NOW = Microseconds(1_700_000_000_000_000)
AUTHENTICATOR = bytes(range(16))
LINE = Line(login="ana", mac="02:00:00:00:00:01", port=1, port_name="vlan100", server_name="pppoe-main")


def subscriber(
    method: Method = Method.PAP, password: str = "pässword", behaviour: Behaviour | None = None
) -> Subscriber:
    described = SubscriberDescription("ana", Secret.from_text(password), method, LINE.mac, "norte")
    return Subscriber(described, LINE, behaviour or Behaviour(), Random(1))


def log_in(known: Subscriber, password: str) -> tuple[Proof, Code]:
    """Return the proof, and the code with which a server that expects `password` answers."""
    proof = known.prove(SECRET, AUTHENTICATOR)
    request = access_request(1, LINE.encode() + proof.attributes, SECRET, AUTHENTICATOR, sign=True)
    answer = ScriptedServer({"ana": password}).answer(request)
    assert answer is not None
    return proof, Code(decode(answer).code)


@pytest.mark.parametrize("method", Method)
def test_each_method_proves_the_right_password_and_no_other(method: Method) -> None:
    assert log_in(subscriber(method), "pässword")[1] is Code.ACCESS_ACCEPT
    assert log_in(subscriber(method), "password")[1] is Code.ACCESS_REJECT


def test_a_box_without_password_logs_in_by_its_name() -> None:
    assert log_in(subscriber(Method.PAP, ""), "")[1] is Code.ACCESS_ACCEPT


@pytest.mark.parametrize("method", Method)
def test_a_mistyped_password_is_refused(method: Method) -> None:
    mistaken = Behaviour(faults=Faults(wrong_passwords=1.0))
    assert log_in(subscriber(method, behaviour=mistaken), "pässword")[1] is Code.ACCESS_REJECT


def test_credentials_are_never_sent_twice() -> None:
    known = subscriber(Method.CHAP)
    assert known.prove(SECRET, AUTHENTICATOR) != known.prove(SECRET, AUTHENTICATOR)


@pytest.mark.parametrize("spoil", [None, b"\0S=" + b"0" * 40])
def test_a_server_that_does_not_know_the_password_is_not_believed(spoil: bytes | None) -> None:
    known = subscriber(Method.MSCHAPV2)
    proof = known.prove(SECRET, AUTHENTICATOR)
    assert proof.success is not None
    request = decode(access_request(1, LINE.encode() + proof.attributes, SECRET, AUTHENTICATOR, sign=True))

    def believed(success: bytes | None) -> bool:
        proven = b"" if success is None else vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP2_SUCCESS, success)
        return known.believes(decode(encode_reply(Code.ACCESS_ACCEPT, request, proven, SECRET)), proof)

    assert believed(proof.success)
    assert not believed(spoil)


def test_a_method_without_proof_of_the_server_believes_it() -> None:
    known = subscriber(Method.CHAP)
    proof = known.prove(SECRET, AUTHENTICATOR)
    request = decode(access_request(1, attribute(Type.USER_NAME, b"ana"), SECRET, AUTHENTICATOR, sign=True))
    assert known.believes(decode(encode_reply(Code.ACCESS_ACCEPT, request, b"", SECRET)), proof)


def waits(refused: bool) -> list[float]:
    known = subscriber()
    return [(known.come_back(NOW, refused=refused) - NOW) / SECOND_US for _ in range(8)]


@pytest.mark.parametrize(("refused", "first"), [(True, 10), (False, 5)])
def test_each_failure_doubles_the_wait_up_to_a_limit(refused: bool, first: float) -> None:
    expected = [min(first * 2**number, LONGEST_RETRY_SECONDS) for number in range(8)]
    assert waits(refused) == [pytest.approx(seconds, rel=0.21) for seconds in expected]


def test_compressed_time_comes_back_sooner() -> None:
    hasty = subscriber(behaviour=Behaviour(speed=100))
    assert hasty.come_back(NOW, refused=True) - NOW <= 0.12 * SECOND_US


def test_who_downloads_without_a_rest_types_no_wrong_password_and_stays() -> None:
    described = SubscriberDescription("ana", Secret(b"p"), Method.PAP, LINE.mac, "norte", 1_000_000)
    heavy = Subscriber(described, LINE, Behaviour(faults=Faults(wrong_passwords=1.0)), Random(1))
    assert log_in(heavy, "p")[1] is Code.ACCESS_ACCEPT
    assert heavy.session_seconds() > 365 * 86_400
