"""Words and sentences of RouterOS's API, by one table in both directions and against the `routeros_api` package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routeros_api.base_api import Connection, decode_length
from routeros_api.base_api import encode_length as peer_encode_length

from simulator.routeros_words import (
    LONGEST_WORD,
    MOST_WORDS,
    Command,
    MalformedWords,
    Reader,
    encode_length,
    encode_sentence,
    fatal,
    octets_of,
    read_command,
    reply,
    text,
)

LENGTHS = [
    (0x00, "00"),
    (0x01, "01"),
    (0x7F, "7f"),
    (0x80, "8080"),
    (0x87, "8087"),
    (0x3FFF, "bfff"),
    (0x4000, "c04000"),
    (0x1FFFFF, "dfffff"),
    (0x200000, "e0200000"),
    (0xFFFFFFF, "efffffff"),
    (0x10000000, "f010000000"),
    (0xFFFFFFFF, "f0ffffffff"),
]
SENTENCES = [
    ([b"/login"], "062f6c6f67696e00"),
    ([b"!done", b".tag=7"], "0521646f6e65062e7461673d3700"),
    ([b"/x", b"=comment=" + b"c" * 150], "022f78809f3d636f6d6d656e743d" + "63" * 150 + "00"),
    ([b"\xff\xf8\x00", b"a"], "03fff800016100"),
    ([b"b" * 0x4000], "c04000" + "62" * 0x4000 + "00"),
]


def whole(reader: Reader) -> list[list[bytes]]:
    return list(reader.sentences())


@pytest.mark.parametrize(("octets", "encoded"), LENGTHS)
def test_a_length_is_written_as_the_manual_says(octets: int, encoded: str) -> None:
    assert encode_length(octets).hex() == encoded


@pytest.mark.parametrize(("octets", "encoded"), LENGTHS)
def test_a_length_is_read_as_it_was_written_even_octet_by_octet(octets: int, encoded: str) -> None:
    reader = Reader(longest_word=octets)
    for octet in bytes.fromhex(encoded):
        reader.feed(bytes((octet,)))
        assert whole(reader) == []


@pytest.mark.parametrize(("octets", "encoded"), LENGTHS[1:])
def test_a_word_is_refused_by_its_length_alone(octets: int, encoded: str) -> None:
    reader = Reader(longest_word=octets - 1)
    reader.feed(bytes.fromhex(encoded))
    with pytest.raises(MalformedWords, match=f"a word of {octets} octets"):
        whole(reader)


def test_a_length_beyond_32_bits_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="4294967296"):
        encode_length(1 << 32)


@pytest.mark.parametrize(("words", "encoded"), SENTENCES)
def test_a_sentence_is_written_and_read_by_one_table(words: list[bytes], encoded: str) -> None:
    octets = bytes.fromhex(encoded)
    assert encode_sentence(words) == octets
    reader = Reader(LONGEST_WORD)
    reader.feed(octets)
    assert whole(reader) == [words]


@pytest.mark.parametrize(("words", "encoded"), SENTENCES[:4])
def test_a_sentence_may_be_cut_at_every_octet(words: list[bytes], encoded: str) -> None:
    octets = bytes.fromhex(encoded)
    for cut in range(1, len(octets)):
        reader = Reader()
        reader.feed(octets[:cut])
        assert whole(reader) == []
        reader.feed(octets[cut:] + octets)
        assert whole(reader) == [words, words]


@pytest.mark.parametrize("first", [0xF8, 0xFE, 0xFF])
def test_reserved_first_octets_are_refused(first: int) -> None:
    reader = Reader()
    reader.feed(bytes((first,)))
    with pytest.raises(MalformedWords, match="reserved"):
        whole(reader)


def test_empty_sentences_mean_nothing() -> None:
    reader = Reader()
    reader.feed(b"\0\0" + encode_sentence([b"/quit"]) + b"\0")
    assert whole(reader) == [[b"/quit"]]


def test_a_sentence_without_end_is_refused() -> None:
    reader = Reader()
    reader.feed(b"\x01a" * (MOST_WORDS + 1))
    with pytest.raises(MalformedWords, match="words"):
        whole(reader)


def test_a_command_is_read_with_attributes_queries_in_order_and_tag() -> None:
    sentence = [b"/queue/simple/print", b"=.proplist=name,comment", b"?name=a=b", b"?comment=x", b"?#|", b".tag=t1"]
    command = read_command(sentence)
    assert command == Command(
        "/queue/simple/print", {".proplist": "name,comment"}, ("name=a=b", "comment=x", "#|"), b"t1"
    )
    assert (command.menu, command.verb) == ("/queue/simple", "print")


@pytest.mark.parametrize(("word", "value"), [(b"=comment=", ""), (b"=comment", ""), (b"=comment=a=b", "a=b")])
def test_an_empty_value_may_come_without_its_sign(word: bytes, value: str) -> None:
    assert read_command([b"/x/set", word]).attributes == {"comment": value}


def test_a_word_that_is_nothing_is_refused() -> None:
    with pytest.raises(MalformedWords, match="neither"):
        read_command([b"/x/set", b"comment"])


@given(st.binary(max_size=40))
def test_octets_that_are_no_utf8_survive_as_text(octets: bytes) -> None:
    assert octets_of(text(octets)) == octets


def test_replies_carry_tag_and_attributes_and_a_fatal_one_a_bare_word() -> None:
    assert reply(b"!done", [("ret", "*1")], b"9") == encode_sentence([b"!done", b".tag=9", b"=ret=*1"])
    assert fatal("not logged in") == encode_sentence([b"!fatal", b"not logged in"])


class Pipe:
    """A socket of `routeros_api` that reads what was written."""

    def __init__(self, octets: bytes = b"") -> None:
        self.octets = octets

    def send(self, octets: bytes) -> None:
        self.octets += octets

    def receive(self, length: int) -> bytes:
        taken, self.octets = self.octets[:length], self.octets[length:]
        return taken


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_the_peer_writes_what_we_read_and_reads_what_we_write(words: list[bytes]) -> None:
    pipe = Pipe()
    Connection(pipe).send_sentence(words)
    reader = Reader()
    reader.feed(pipe.octets)
    assert whole(reader) == [words]
    assert Connection(Pipe(encode_sentence(words))).receive_sentence() == words


@pytest.mark.parametrize("octets", [octets for octets, _ in LENGTHS])
def test_the_peer_agrees_on_lengths(octets: int) -> None:
    if octets < 1 << 28:
        assert peer_encode_length(octets) == encode_length(octets)
    assert decode_length(Pipe(encode_length(octets)).receive) == octets
