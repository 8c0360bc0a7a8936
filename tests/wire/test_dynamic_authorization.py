"""CoA- and Disconnect-Requests and their answers: exact octets, and pyrad as the other side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import CoAPacket

from radius.codes import Code, ErrorCause, Microsoft, Type, Vendor
from radius.dynamic_authorization import (
    EVERY_NAME,
    Answer,
    CannotAsk,
    Disbelief,
    DynamicRequest,
    Meaning,
    PeerClock,
    SessionNames,
    change,
    disconnect,
    encode,
    encode_names,
    fits_ack,
    is_stale,
    meaning,
    read_names,
    verify,
)
from radius.packet import Decoder, attribute, decode, encode_reply, encode_request, integer_attribute, vendor_attribute

SECRET = b"xyzzy5461"
NOW = 1_700_000_000
ROUTEROS = (Type.USER_NAME, Type.ACCT_SESSION_ID, Type.FRAMED_IP_ADDRESS)
ANA = SessionNames(user_name="ana@isp", acct_session_id="81300077", framed_ip_address="100.64.0.7")
SLOWER = vendor_attribute(Vendor.MIKROTIK, 8, b"5M/20M")

# Computed with hashlib and hmac alone, by RFC 5176 §2.3 and §3.4.
CHANGE = bytes.fromhex(
    "2b07005352323f35de3014df93518a7c104063d95012e014e898e5359ffa09204594c84b14a337066553f1000109616e61406973702c0a3831"
    "333030303737080664400007"
    "1a0e00003a8c0808354d2f32304d"
)
DISCONNECT = bytes.fromhex(
    "2808004952a527a06d6affd24821c536bc74bb6d5012f4b0fac65ba5620c875c6aac5357cd3337066553f1000109616e61406973702c0a3831"
    "333030303737080664400007"
    "21040102"
)
ACK = bytes.fromhex("2c070026e01eedbe504eb2c6838614bfab29f4e5501264138e762fe67d0c470cf80d52859bf5")
NAK_503_UNSIGNED = bytes.fromhex("2d07001a1ff586a7f2d36204ce0f72e7ebca07086506000001f7")


def told(datagram: bytes, *, request: bytes = CHANGE, secret: bytes = SECRET, signed: bool = False) -> object:
    return verify(datagram, request, secret, require_message_authenticator=signed, decoder=Decoder())


def encoded(request: DynamicRequest, identifier: int = 7) -> bytes:
    return encode(request, ROUTEROS, identifier=identifier, secret=SECRET, event_timestamp=NOW)


def test_a_change_has_the_octets_of_the_rfc() -> None:
    assert encoded(change(ANA, SLOWER)) == CHANGE


def test_a_disconnect_carries_identification_alone_and_the_proxy_states_of_who_asked() -> None:
    assert encoded(disconnect(ANA, proxy_states=(b"\x01\x02",)), 8) == DISCONNECT


def test_the_signature_stands_first_and_the_time_second() -> None:
    kinds = [kind for kind, _ in decode(CHANGE).attributes()]
    assert kinds[:2] == [Type.MESSAGE_AUTHENTICATOR, Type.EVENT_TIMESTAMP]


def test_a_change_in_a_disconnect_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="identification alone"):
        DynamicRequest(Code.DISCONNECT_REQUEST, ANA, SLOWER)


@pytest.mark.parametrize("request_", [change(ANA, SLOWER), disconnect(ANA)], ids=["change", "disconnect"])
def test_pyrad_believes_a_request_and_we_believe_its_signed_answer(request_: DynamicRequest) -> None:
    ours = encoded(request_)
    theirs = CoAPacket(packet=ours, secret=SECRET)
    assert theirs.VerifyCoARequest()
    assert theirs.verify_message_authenticator()
    assert theirs[int(Type.USER_NAME)] == [b"ana@isp"]
    reply = theirs.CreateReply(message_authenticator=True)
    assert told(reply.ReplyPacket(), request=ours, signed=True) == Answer(acknowledged=True, cause=None)
    reply.code += 1
    reply[int(Type.ERROR_CAUSE)] = [(508).to_bytes(4)]
    assert told(reply.ReplyPacket(), request=ours, signed=True) == Answer(acknowledged=False, cause=508)


@given(st.text(min_size=1, max_size=60), st.binary(min_size=1, max_size=64), st.integers(0, 255))
def test_pyrad_believes_us_whatever_the_name_and_the_secret(name: str, secret: bytes, identifier: int) -> None:
    names = SessionNames(user_name=name)
    ours = encode(disconnect(names), ROUTEROS, identifier=identifier, secret=secret, event_timestamp=NOW)
    theirs = CoAPacket(packet=ours, secret=secret)
    assert theirs.VerifyCoARequest()
    assert theirs.verify_message_authenticator()
    assert (theirs.id, theirs[int(Type.USER_NAME)]) == (identifier, [name.encode()])


def test_only_the_names_that_the_nas_understands_are_sent() -> None:
    names = SessionNames(user_name="ana", calling_station_id="02:00:00:00:00:01", nas_identifier="norte")
    assert encode_names(names, (Type.USER_NAME,)) == attribute(Type.USER_NAME, b"ana")


def test_a_narrowed_request_names_the_session_by_everything_known() -> None:
    everything = SessionNames(
        user_name="ana",
        acct_session_id="81300077",
        framed_ip_address="100.64.0.7",
        calling_station_id="02:00:00:00:00:01",
        called_station_id="pppoe",
        nas_port=2**31 + 1,
        nas_port_id="vlan100",
        acct_multi_session_id="m1",
        chargeable_user_identity="cui",
        nas_identifier="norte",
        nas_ip_address="192.0.2.1",
        nas_ipv6_address="2001:db8::1",
    )
    packet = decode(encoded(change(everything, SLOWER).narrowed()))
    assert packet.kinds() >= EVERY_NAME
    assert read_names(packet) == everything


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Type.FRAMED_IP_ADDRESS, bytes(3)), (Type.NAS_PORT, bytes(2)), (Type.NAS_IPV6_ADDRESS, bytes(4))],
)
def test_a_name_of_another_size_is_refused(kind: int, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_names(decode(encode_request(Code.COA_REQUEST, 1, attribute(kind, value), SECRET)))


@pytest.mark.parametrize(
    "names",
    [
        SessionNames(),
        SessionNames(nas_identifier="norte", nas_ip_address="192.0.2.1", called_station_id="pppoe"),
        SessionNames(calling_station_id="02:00:00:00:00:01"),
    ],
)
def test_a_request_that_could_be_about_every_session_of_a_nas_is_never_sent(names: SessionNames) -> None:
    kinds = (*ROUTEROS, Type.NAS_IDENTIFIER, Type.NAS_IP_ADDRESS, Type.CALLED_STATION_ID)
    with pytest.raises(CannotAsk):
        encode(disconnect(names), kinds, identifier=1, secret=SECRET, event_timestamp=NOW)


@pytest.mark.parametrize(
    "names",
    [
        SessionNames(user_name="a" * 254),
        SessionNames(user_name="\ud800"),
        SessionNames(user_name="ana", framed_ip_address="100.64.0.0/24"),
        SessionNames(user_name="ana", nas_port=2**32),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_not_cut(names: SessionNames) -> None:
    with pytest.raises(CannotAsk):
        encoded(disconnect(names).narrowed())


@pytest.mark.parametrize(
    "attributes",
    [
        attribute(Type.TUNNEL_PASSWORD, bytes(19)),
        attribute(Type.USER_PASSWORD, bytes(16)),
        vendor_attribute(Vendor.MICROSOFT, Microsoft.MPPE_SEND_KEY, bytes(34)),
        SLOWER + vendor_attribute(Vendor.MICROSOFT, Microsoft.MPPE_RECV_KEY, bytes(34)),
        attribute(Type.MESSAGE_AUTHENTICATOR, bytes(16)),
        attribute(Type.PROXY_STATE, b"x"),
        b"\x0b",
        b"\x0b\x01",
        b"\x0b\x09abc",
        b"\x00\x03a",
    ],
)
def test_what_no_change_may_carry_is_refused(attributes: bytes) -> None:
    with pytest.raises(CannotAsk):
        change(ANA, attributes)


def test_a_request_longer_than_a_packet_is_refused_not_cut() -> None:
    with pytest.raises(CannotAsk, match="4096"):
        encoded(change(ANA, attribute(Type.FILTER_ID, bytes(253)) * 16))


def test_a_signed_ack_and_an_unsigned_nak_are_believed() -> None:
    assert told(ACK) == Answer(acknowledged=True, cause=None)
    assert told(NAK_503_UNSIGNED) == Answer(acknowledged=False, cause=503)


def test_an_unsigned_answer_is_not_believed_where_signatures_are_required() -> None:
    assert told(NAK_503_UNSIGNED, signed=True) is Disbelief.UNSIGNED


@pytest.mark.parametrize(
    ("datagram", "why"),
    [
        (b"", Disbelief.MALFORMED),
        (ACK[:-1], Disbelief.MALFORMED),
        (ACK[:1] + b"\x08" + ACK[2:], Disbelief.IDENTIFIER),
        (b"\x29" + ACK[1:], Disbelief.CODE),
        (b"\x2d" + ACK[1:], Disbelief.AUTHENTICATOR),
        (ACK[:19] + b"\x00" + ACK[20:], Disbelief.AUTHENTICATOR),
    ],
)
def test_what_is_no_answer_to_the_request_is_not_believed(datagram: bytes, why: Disbelief) -> None:
    assert told(datagram) is why


def test_an_answer_made_with_another_secret_is_not_believed() -> None:
    assert told(ACK, secret=b"other") is Disbelief.AUTHENTICATOR


def test_an_answer_whose_signature_alone_is_wrong_is_not_believed() -> None:
    """The authenticator is right: whoever knows the secret put a wrong signature in."""
    theirs = CoAPacket(packet=CHANGE, secret=SECRET)
    reply = theirs.CreateReply()
    reply[int(Type.MESSAGE_AUTHENTICATOR)] = [bytes(16)]
    assert told(reply.ReplyPacket()) is Disbelief.MESSAGE_AUTHENTICATOR


def test_an_answer_to_an_earlier_request_under_the_same_identifier_is_not_believed() -> None:
    later = encode(change(ANA, SLOWER), ROUTEROS, identifier=7, secret=SECRET, event_timestamp=NOW + 1)
    assert told(ACK, request=later) is Disbelief.AUTHENTICATOR


@given(st.binary(max_size=60))
def test_noise_is_never_believed(noise: bytes) -> None:
    assert isinstance(told(noise), Disbelief)


@pytest.mark.parametrize(
    ("code", "cause", "kept"),
    [
        (Code.COA_ACK, ErrorCause.RESIDUAL_SESSION_CONTEXT_REMOVED, True),
        (Code.COA_ACK, ErrorCause.SESSION_CONTEXT_NOT_FOUND, False),
        (Code.COA_NAK, ErrorCause.RESIDUAL_SESSION_CONTEXT_REMOVED, False),
        (Code.COA_NAK, ErrorCause.RESOURCES_UNAVAILABLE, True),
    ],
)
def test_a_cause_that_the_answer_may_not_carry_is_left_out(code: Code, cause: int, kept: bool) -> None:
    reply = encode_reply(code, decode(CHANGE), integer_attribute(Type.ERROR_CAUSE, cause), SECRET)
    assert told(reply) == Answer(code is Code.COA_ACK, cause if kept else None)


@pytest.mark.parametrize("cause", ErrorCause)
def test_each_cause_fits_an_ack_or_a_nak(cause: ErrorCause) -> None:
    assert fits_ack(cause) is (cause < 300)


@pytest.mark.parametrize(
    ("cause", "asks"),
    [
        (503, Meaning.SESSION_GONE),
        (506, Meaning.LATER),
        (508, Meaning.NARROW),
        *((cause, Meaning.FINAL) for cause in (401, 402, 403, 404, 405, 406, 407, 501, 502, 504, 505, 507, 999, None)),
    ],
)
def test_each_cause_asks_something_of_us(cause: int | None, asks: Meaning) -> None:
    assert meaning(cause) is asks


@pytest.mark.parametrize(("shift", "stale"), [(0, False), (300, False), (-300, False), (301, True), (-301, True)])
def test_a_request_is_stale_five_minutes_before_and_after(shift: int, stale: bool) -> None:
    assert is_stale(decode(CHANGE), NOW + shift) is stale


def test_a_request_without_a_time_is_not_stale() -> None:
    assert not is_stale(decode(encode_request(Code.COA_REQUEST, 1, b"", SECRET)), NOW)


def test_the_time_of_an_answer_is_read() -> None:
    told_at = integer_attribute(Type.EVENT_TIMESTAMP, NOW - 400)
    answer = told(encode_reply(Code.COA_ACK, decode(CHANGE), told_at, SECRET))
    assert answer == Answer(acknowledged=True, cause=None, told_at=NOW - 400)


@pytest.mark.parametrize(("shift", "is_current"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_an_answer_is_current_five_minutes_before_and_after(shift: int, is_current: bool) -> None:
    assert PeerClock().is_current(NOW + shift, NOW) is is_current


def test_an_answer_without_a_time_counts_and_tells_nothing_of_the_clock() -> None:
    clock = PeerClock()
    assert clock.is_current(None, NOW)
    assert clock.offset_seconds is None


@given(st.integers(301, 10**9) | st.integers(-(10**9), -301), st.integers(0, 30))
def test_a_nas_whose_clock_is_wrong_is_judged_by_its_own_from_the_second_answer_on(offset: int, later: int) -> None:
    clock = PeerClock()
    assert not clock.is_current(NOW + offset, NOW)
    assert clock.is_current(NOW + offset, NOW + later), "the same octets, or another answer"
    assert clock.offset_seconds == offset - later
    assert clock.is_current(NOW + 1000 + offset, NOW + 1000)
    assert clock.is_current(NOW + 2000, NOW + 2000), "its clock was set"


def test_two_answers_that_are_off_by_different_times_do_not_count() -> None:
    clock = PeerClock()
    assert not clock.is_current(NOW - 1000, NOW)
    assert not clock.is_current(NOW - 5000, NOW)
    assert not clock.is_current(NOW + 1000, NOW)
    assert clock.offset_seconds is None
