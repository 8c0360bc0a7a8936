"""Attributes by name and number: exact octets, round trips, and agreement with pyrad about the files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pyrad.dictionary
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radius.attribute_text import Kind
from radius.dictionary import (
    Attribute,
    DictionaryError,
    InvalidValue,
    UnknownAttribute,
    _Reader,
    load,
)

DICTIONARY = load()
ALL = sorted(DICTIONARY, key=lambda attribute: attribute.name)
LONGEST_NUMBER = {Kind.BYTE: 1, Kind.SHORT: 2, Kind.INTEGER: 4, Kind.INTEGER64: 8}

EXACT = [
    ("User-Name", "bob", None, "0105 626f62"),
    ("User-Name", "ñandú", None, "0109 c3b1616e64c3ba"),
    ("Service-Type", "Framed-User", None, "0606 00000002"),
    ("Service-Type", "framed-user", None, "0606 00000002"),
    ("Service-Type", "2", None, "0606 00000002"),
    ("Framed-IP-Address", "192.0.2.1", None, "0806 c0000201"),
    ("Class", "0x00ff", None, "1904 00ff"),
    ("session-timeout", "0xe10", None, "1b06 00000e10"),
    ("Event-Timestamp", "2030-01-31T12:00:00Z", None, "3706 71040e40"),
    ("Event-Timestamp", "1893456000", None, "3706 70dbd880"),
    ("Tunnel-Type", "VLAN", 1, "4006 01 00000d"),
    ("Tunnel-Type", "VLAN", None, "4006 00 00000d"),
    ("Tunnel-Private-Group-Id", "10", 31, "5105 1f 3130"),
    ("Tunnel-Private-Group-Id", "10", None, "5104 3130"),
    ("Tunnel-Private-Group-Id", "\x05a", None, "5105 00 0561"),
    ("Framed-Interface-Id", "200:5eff:fe00:5301", None, "600a 02005efffe005301"),
    ("Framed-IPv6-Prefix", "2001:db8:1::/48", None, "6114 0030 20010db8000100000000000000000000"),
    ("Delegated-IPv6-Prefix", "2001:db8::/56", None, "7b14 0038 20010db8000000000000000000000000"),
    ("Framed-IPv6-Address", "2001:db8::1", None, "a812 20010db8000000000000000000000001"),
    ("PMIP6-Home-IPv4-HoA", "192.0.2.0/24", None, "9b08 0018 c0000200"),
    ("IP-Port-Limit", "16", None, "f109 05 0206 00000010"),
    ("Mikrotik-Rate-Limit", "10M/20M", None, "1a0f 00003a8c 0809 31304d2f32304d"),
    ("WISPr-Bandwidth-Max-Down", "20000000", None, "1a0c 000037 2a 0806 01312d00"),
    ("Cisco-AVPair", "a=b", None, "1a0b 00000009 0105 613d62"),
    ("ERX-Service-Activate", "net", 2, "1a0c 0000130a 4106 02 6e6574"),
    ("Accel-VRF-Name", "red", None, "1a0b 0000dabf 0105 726564"),
    ("UBNT-Data-Rate-DL", "5000000000", None, "1a10 0000a098 010a 000000012a05f200"),
    ("SN-VPN-ID", "7", None, "1a0e 00001fe4 0001 0008 00000007"),
    ("Lucent-Max-Shared-Users", "7", None, "1a0d 000012ee 0002 07 00000007"),
    ("USR-Channel", "7", None, "1a0e 000001ad 0000bf38 00000007"),
    ("WiMAX-Hotline-Indicator", "hot", None, "1a0c 000060b5 1806 00 686f74"),
    ("WiMAX-Release", "1.2", None, "1a0e 000060b5 0108 00 0105 312e32"),
    ("WiMAX-GMT-Timezone-offset", "-3600", None, "1a0d 000060b5 0307 00 fffff1f0"),
    ("WiMAX-DHCPv4-Server", "192.0.2.1", None, "1a0d 000060b5 0807 00 c0000201"),
    ("Fortinet-WirelessController-Device-MAC", "00:00:5E:00:53:01", None, "1a0e 00003044 1708 00005e005301"),
]


def values(attribute: Attribute, encoded: bytes) -> Iterator[bytes]:
    """Take the attribute's value out of each TLV of `encoded`, independently of the encoder."""
    while encoded:
        size = encoded[1]
        value, encoded = encoded[2:size], encoded[size:]
        if attribute.vendor:
            type_octets, length_octets = DICTIONARY.vendor_format(attribute.vendor)
            assert int.from_bytes(value[4 : 4 + type_octets]) == attribute.code
            value = value[4 + type_octets + length_octets :]
            if DICTIONARY.is_continued(attribute.vendor):
                assert value[0] == (0x80 if encoded else 0)
                value = value[1:]
        yield value


def decoded(attribute: Attribute, encoded: bytes) -> str:
    return DICTIONARY.decode(attribute.vendor, attribute.code, b"".join(values(attribute, encoded)))


def texts(attribute: Attribute) -> st.SearchStrategy[str]:
    """Make texts in the form in which `attribute` is decoded."""
    octets = LONGEST_NUMBER.get(attribute.kind)
    if octets:
        highest = 2 ** (8 * octets - 8 * attribute.tagged) - 1
        numbers = st.integers(0, highest).map(lambda number: attribute.names.get(number, str(number)))
        named = sorted({name for number, name in attribute.names.items() if 0 <= number <= highest})
        return numbers | st.sampled_from(named) if named else numbers
    return {
        Kind.STRING: st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=58),
        Kind.OCTETS: st.binary(min_size=1, max_size=200).map(lambda value: "0x" + value.hex()),
        Kind.ABINARY: st.binary(min_size=1, max_size=200).map(lambda value: "0x" + value.hex()),
        Kind.SIGNED: st.integers(-(2**31), 2**31 - 1).map(str),
        Kind.IPADDR: st.ip_addresses(v=4).map(str),
        Kind.IPV6ADDR: st.ip_addresses(v=6).map(str),
        Kind.COMBO_IP: st.ip_addresses().map(str),
        Kind.IPV6PREFIX: st.builds(
            lambda address, length: str(IPv6Network((address, length), strict=False)),
            st.integers(0, 2**128 - 1),
            st.integers(0, 128),
        ),
        Kind.IPV4PREFIX: st.builds(
            lambda address, length: str(IPv4Network((address, length), strict=False)),
            st.integers(0, 2**32 - 1),
            st.integers(0, 32),
        ),
        Kind.IFID: st.binary(min_size=8, max_size=8).map(lambda value: value.hex(":", 2)),
        Kind.ETHER: st.binary(min_size=6, max_size=6).map(lambda value: value.hex(":")),
        Kind.DATE: st.integers(0, 2**32 - 1).map(
            lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
        ),
    }[attribute.kind]


SETTABLE = [a for a in ALL if not a.encrypt and a.kind not in {"tlv", "extended", "long-extended", "evs", "vsa"}]
BY_KIND = {kind: [a for a in SETTABLE if a.kind is kind] for kind in Kind}
kinds = st.sampled_from([kind for kind, attributes in BY_KIND.items() if attributes])
settable = kinds.flatmap(lambda kind: st.sampled_from(BY_KIND[kind]))
settable_with_text = settable.flatmap(lambda attribute: st.tuples(st.just(attribute), texts(attribute)))


@pytest.mark.parametrize(("name", "text", "tag", "octets"), EXACT)
def test_a_value_becomes_exactly_these_octets(name: str, text: str, tag: int | None, octets: str) -> None:
    assert DICTIONARY.encode(name, text, tag=tag) == bytes.fromhex(octets)


@given(settable_with_text, st.none() | st.integers(1, 31))
def test_what_is_encoded_is_decoded_to_the_same_text(case: tuple[Attribute, str], tag: int | None) -> None:
    attribute, text = case
    encoded = DICTIONARY.encode(attribute.name, text, tag=tag if attribute.tagged else None)
    number = (attribute.vendor, attribute.code)
    shown = decoded(attribute, encoded)
    if attribute.path:
        assert shown.endswith(f"{attribute.name}={text}")
    elif DICTIONARY.by_code(*number) is attribute:
        assert shown == text


@given(st.sampled_from(ALL), st.binary(max_size=300))
def test_any_octets_are_decoded_to_some_text(attribute: Attribute, value: bytes) -> None:
    assert isinstance(DICTIONARY.decode(attribute.vendor, attribute.code, value), str)


@given(settable_with_text)
def test_a_value_cut_at_any_octet_is_decoded_to_some_text(case: tuple[Attribute, str]) -> None:
    attribute, text = case
    value = b"".join(values(attribute, DICTIONARY.encode(attribute.name, text)))
    for end in range(len(value)):
        shown = DICTIONARY.decode(attribute.vendor, attribute.code, value[:end])
        assert "\0" not in shown


@given(settable, st.text(max_size=20))
def test_any_text_is_encoded_or_refused_with_a_reason(attribute: Attribute, text: str) -> None:
    try:
        encoded = DICTIONARY.encode(attribute.name, text)
    except InvalidValue as error:
        outcome = error.why if error.name == attribute.name else ""
    else:
        outcome = b"".join(values(attribute, encoded)).hex()
    assert outcome


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Reply-Message", 253),
        ("Mikrotik-Rate-Limit", 247),
        ("Lucent-UU-Info", 246),
        ("SN-VPN-Name", 245),
        ("USR-Last-Number-Dialed-Out", 245),
        ("WiMAX-Hotline-Indicator", 253),
        ("Tunnel-Private-Group-Id", 253),
        ("WiMAX-Release", 251),
    ],
)
def test_the_longest_value_fits_and_one_octet_more_is_refused_not_cut(name: str, limit: int) -> None:
    attribute = DICTIONARY.by_name(name)
    assert decoded(attribute, DICTIONARY.encode(name, "x" * limit)).endswith("x" * limit)
    with pytest.raises(InvalidValue, match="room for"):
        DICTIONARY.encode(name, "x" * (limit + 1))


def test_a_tag_takes_its_octet_from_the_value() -> None:
    with pytest.raises(InvalidValue, match="room for 253 octets"):
        DICTIONARY.encode("Tunnel-Private-Group-Id", "x" * 253, tag=1)


def test_a_long_wimax_value_continues_in_a_second_attribute() -> None:
    encoded = DICTIONARY.encode("WiMAX-Hotline-Indicator", "x" * 250)
    assert encoded == (
        bytes.fromhex("1aff 000060b5 18f9 80") + b"x" * 246 + bytes.fromhex("1a0d 000060b5 1807 00") + b"x" * 4
    )


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("Session-Timeout", "4294967296", "from 0 to 4294967295"),
        ("Session-Timeout", "-1", "from 0"),
        ("Session-Timeout", "1_000", "number"),
        ("Session-Timeout", " 1", "number"),
        ("Session-Timeout", "\N{ARABIC-INDIC DIGIT ONE}", "number"),
        ("Service-Type", "Framed-Usr", "Framed-User"),
        ("Tunnel-Preference", "16777216", "16777215"),
        ("Framed-IP-Address", "192.0.2", "IPv4"),
        ("Framed-IP-Address", "2001:db8::1", "IPv4"),
        ("Framed-IPv6-Address", "fe80::1%eth0", "IPv6"),
        ("Framed-IPv6-Prefix", "2001:db8::1/48", "prefix"),
        ("Framed-IPv6-Prefix", "2001:db8::/129", "prefix"),
        ("Framed-Interface-Id", "1:2:3", "interface identifier"),
        ("Event-Timestamp", "2030-01-31T12:00:00", "moment"),
        ("Event-Timestamp", "1969-01-01T00:00:00Z", "moment"),
        ("Fortinet-WirelessController-Device-MAC", "00:00-5e:00:53:01", "MAC"),
        ("Class", "abc", "hexadecimal"),
        ("Class", "0xabc", "hexadecimal"),
        ("Class", "0x", "empty"),
        ("Reply-Message", "", "empty"),
        ("Reply-Message", "a\0b", "NUL"),
        ("Reply-Message", "\ud800", "text"),
        ("Vendor-Specific", "0x00", "members"),
        ("WiMAX-Capability", "0x00", "members"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(name: str, text: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        DICTIONARY.encode(name, text)


@pytest.mark.parametrize("name", ["User-Password", "Tunnel-Password", "MS-MPPE-Send-Key", "Ascend-Send-Secret"])
def test_an_encrypted_attribute_is_refused_and_shown_as_it_is(name: str) -> None:
    with pytest.raises(InvalidValue, match="encrypted"):
        DICTIONARY.encode(name, "hush")
    attribute = DICTIONARY.by_name(name)
    assert DICTIONARY.decode(attribute.vendor, attribute.code, b"hush") == "0x68757368"


def test_a_refused_value_is_not_repeated() -> None:
    with pytest.raises(InvalidValue) as caught:
        DICTIONARY.encode("Mikrotik-Wireless-PSK", "hush" * 100)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("tag", [0, 32, -1])
def test_a_tag_out_of_range_is_refused(tag: int) -> None:
    with pytest.raises(InvalidValue, match="1 to 31"):
        DICTIONARY.encode("Tunnel-Type", "VLAN", tag=tag)


def test_a_tag_on_an_attribute_without_one_is_refused() -> None:
    with pytest.raises(InvalidValue, match="no tag"):
        DICTIONARY.encode("Session-Timeout", "1", tag=1)


def test_names_are_found_in_any_case() -> None:
    assert DICTIONARY.by_name("mikrotik-RATE-limit") is DICTIONARY.by_code(14988, 8)


def test_an_unknown_name_is_answered_with_those_close_to_it() -> None:
    with pytest.raises(UnknownAttribute, match="Mikrotik-Rate-Limit") as caught:
        DICTIONARY.by_name("Mikrotik-RateLimit")
    assert "Mikrotik-Rate-Limit" in caught.value.close
    with pytest.raises(UnknownAttribute, match="radius/dictionaries"):
        DICTIONARY.encode("€", "1")


def test_an_unknown_number_is_nothing_and_shown_as_octets() -> None:
    assert DICTIONARY.by_code(0, 254) is None
    assert DICTIONARY.decode(0, 254, b"\x01") == "0x01"
    assert DICTIONARY.decode(99999, 1, b"abc") == "0x616263"


@pytest.mark.parametrize(
    ("name", "octets", "text"),
    [
        ("Service-Type", "00000002", "Framed-User"),
        ("Service-Type", "0000ffff", "65535"),
        ("Service-Type", "000002", "0x000002"),
        ("NAS-IP-Address", "c000", "0xc000"),
        ("User-Name", "ff62", "0xff62"),
        ("User-Name", "6100", "0x6100"),
        ("User-Name", "", ""),
        ("Acct-Status-Type", "00000003", "Interim-Update"),
        ("Tunnel-Type", "0500000d", "VLAN"),
        ("Tunnel-Private-Group-Id", "013130", "10"),
        ("Tunnel-Private-Group-Id", "3130", "10"),
        ("Tunnel-Private-Group-Id", "", "0x"),
        ("Framed-IPv6-Prefix", "0000", "::/0"),
        ("Framed-IPv6-Prefix", "003020010db80001", "2001:db8:1::/48"),
        ("Framed-IPv6-Prefix", "008120010db80001", "0x008120010db80001"),
        ("Framed-IPv6-Prefix", "00", "0x00"),
        ("WiMAX-Capability", "0105312e32 ff03aa", "WiMAX-Release=1.2 1.255=0xaa"),
        ("WiMAX-Capability", "010531", "0x010531"),
        ("WiMAX-Capability", "0100", "0x0100"),
    ],
)
def test_octets_are_shown_as_text_or_as_they_are(name: str, octets: str, text: str) -> None:
    attribute = DICTIONARY.by_name(name)
    assert DICTIONARY.decode(attribute.vendor, attribute.code, bytes.fromhex(octets)) == text


def test_an_extended_attribute_is_shown_by_its_members() -> None:
    assert DICTIONARY.decode(0, 241, bytes.fromhex("05 0206 00000010")) == ("IP-Port-Limit-Info=IP-Port-Limit=16")


@pytest.mark.parametrize(
    ("vendor", "form"),
    [(9, (1, 1)), (429, (4, 0)), (4846, (2, 1)), (8164, (2, 2)), (24757, (1, 1)), (99999, (1, 1))],
)
def test_each_vendor_has_its_format(vendor: int, form: tuple[int, int]) -> None:
    assert DICTIONARY.vendor_format(vendor) == form
    assert DICTIONARY.is_continued(vendor) is (vendor == 24757)


def test_every_code_fits_the_format_of_its_vendor() -> None:
    for attribute in ALL:
        type_octets = DICTIONARY.vendor_format(attribute.vendor)[0]
        assert 0 <= attribute.code < 256**type_octets, attribute.name
        assert all(0 < code < 256 for code in attribute.path), attribute.name


def test_pyrad_reads_the_same_definitions() -> None:
    theirs = pyrad.dictionary.Dictionary(str(files("radius") / "dictionaries" / "dictionary"))
    assert len(theirs.attributes) > 2900
    for name, their in theirs.attributes.items():
        ours = DICTIONARY.by_name(name)
        number = (ours.vendor, ours.code, *ours.path)
        their_path = (their.parent.code, their.code) if their.parent else (their.code,)
        assert number == (theirs.vendors.GetForward(their.vendor), *their_path), name
        assert (ours.kind, ours.tagged, ours.encrypt) == (their.type, their.has_tag, their.encrypt), name
        assert dict(ours.values) == {
            key: int.from_bytes(octets, signed=ours.kind is Kind.SIGNED) for key, octets in their.values.forward.items()
        }, name


def test_attributes_that_pyrad_skips_are_read_too() -> None:
    theirs = pyrad.dictionary.Dictionary(str(files("radius") / "dictionaries" / "dictionary"))
    assert len(theirs.skipped_attributes) > 1000
    for name in theirs.skipped_attributes:
        assert DICTIONARY.by_name(name).name


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("ATTRIBUTE A 1 String\n", 1),
        ("# comment\nATTRIBUTE A x string\n", 2),
        ("BEGIN-VENDOR Nobody\n", 1),
        ("VENDOR V 1 format=1\n", 1),
        ("NONSENSE\n", 1),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: str, line: int) -> None:
    (tmp_path / "dictionary").write_text(content)
    with pytest.raises(DictionaryError, match=f"dictionary, line {line}"):
        _Reader(tmp_path).read("dictionary")


def test_every_file_is_included_and_names_its_licence() -> None:
    folder = files("radius") / "dictionaries"
    listed = (folder / "dictionary").read_text()
    for file in folder.iterdir():
        if file.name.startswith("dictionary."):
            assert f"$INCLUDE {file.name}\n" in listed
            assert "CC-BY" in file.read_text() or file.name == "dictionary.accel-ppp"
