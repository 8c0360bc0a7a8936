"""Decides how RouterOS's API puts words and sentences into octets, and what a command says.

Rule: MikroTik's manual, "API": each word is led by its length in one to five octets, an empty word ends the sentence,
empty sentences mean nothing, first octets from 0xF8 on are reserved. A box limits what it reads before it knows whom
it reads from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simulator.errors import SimulatorError

LONGEST_WORD = 65_536
"""Octets; what a box takes from a client that has logged in."""
LONGEST_WORD_BEFORE_LOGIN = 512
"""The manual speaks of limits before login without numbers."""
MOST_WORDS = 1_024
"""Words in one sentence."""

_LENGTHS = ((0x80, 0x00), (0x4000, 0x80), (0x20_0000, 0xC0), (0x1000_0000, 0xE0), (0x1_0000_0000, 0xF0))
"""For one octet more each: the first length that no longer fits, and the mark in the first octet."""
_FIRST_RESERVED = 0xF8
_SHORT = tuple(bytes((length,)) for length in range(0x80))
_END = b"\0"


class MalformedWords(SimulatorError):
    """The client does not speak the API: nothing can be read after this."""


def encode_length(octets: int) -> bytes:
    """Return how the length of a word is written."""
    for more, (end, mark) in enumerate(_LENGTHS):
        if octets < end:
            return (mark << 8 * more | octets).to_bytes(more + 1)
    raise ValueError(f"a word of {octets} octets cannot be written")


def encode_sentence(words: Iterable[bytes]) -> bytes:
    """Return a sentence as it goes over the wire."""
    parts: list[bytes] = []
    for word in words:
        length = len(word)
        parts += (_SHORT[length] if length < 0x80 else encode_length(length), word)
    parts.append(_END)
    return b"".join(parts)


class Reader:
    """Takes in octets as they come and hands out whole sentences."""

    def __init__(self, longest_word: int = LONGEST_WORD_BEFORE_LOGIN) -> None:
        self.longest_word = longest_word
        self._octets = bytearray()
        self._words: list[bytes] = []

    def feed(self, octets: bytes) -> None:
        """Take in what arrived."""
        self._octets += octets

    def sentences(self) -> Iterable[list[bytes]]:
        """Yield the sentences that are whole; raise MalformedWords for what no box would read on."""
        at = 0
        try:
            while (word := self._word(at)) is not None:
                at, octets = word
                if octets:
                    self._words.append(octets)
                    if len(self._words) > MOST_WORDS:
                        raise MalformedWords(f"a sentence of more than {MOST_WORDS} words")
                elif self._words:
                    sentence, self._words = self._words, []
                    yield sentence
        finally:
            del self._octets[:at]

    def _word(self, at: int) -> tuple[int, bytes] | None:
        """Return where the word at `at` ends, and the word; None while it is not whole."""
        octets = self._octets
        if at >= len(octets):
            return None
        first = octets[at]
        more = _octets_more(first)
        begin = at + 1 + more
        if begin > len(octets):
            return None
        length = first if not more else int.from_bytes(octets[at:begin]) ^ (_LENGTHS[more][1] << 8 * more)
        if length > self.longest_word:
            raise MalformedWords(f"a word of {length} octets, where at most {self.longest_word} are read")
        end = begin + length
        return None if end > len(octets) else (end, bytes(octets[begin:end]))


def _octets_more(first: int) -> int:
    """Return how many octets of length follow the first one."""
    if first < 0x80:
        return 0
    if first >= _FIRST_RESERVED:
        raise MalformedWords(f"a word that begins with the reserved octet {first:#x}")
    return next(more for more in (4, 3, 2, 1) if first >= _LENGTHS[more][1])


@dataclass(frozen=True, slots=True)
class Command:
    """A sentence of a client: what it asks, about what, and the tag its replies carry."""

    words: str
    """As sent: `/queue/simple/print`."""
    attributes: Mapping[str, str]
    queries: tuple[str, ...]
    """In order, without their question marks."""
    tag: bytes | None

    @property
    def menu(self) -> str:
        """Return the part before the verb."""
        return self.words.rpartition("/")[0]

    @property
    def verb(self) -> str:
        """Return the last part."""
        return self.words.rpartition("/")[2]


def read_command(sentence: list[bytes]) -> Command:
    """Read a client's sentence; octets that are no UTF-8 survive in the text."""
    attributes: dict[str, str] = {}
    queries: list[str] = []
    tag = None
    for octets in sentence[1:]:
        if octets.startswith(b".tag="):
            tag = octets[5:]
            continue
        word = text(octets)
        if word.startswith("?"):
            queries.append(word[1:])
        elif word.startswith("="):
            name, _, value = word[1:].partition("=")
            attributes[name] = value
        else:
            raise MalformedWords("a word that is neither attribute, query nor tag")
    return Command(text(sentence[0]), attributes, tuple(queries), tag)


def reply(kind: bytes, attributes: Iterable[tuple[str, str]] = (), tag: bytes | None = None) -> bytes:
    """Return a sentence of the box: `!re`, `!done`, `!trap` or `!empty`."""
    words = [kind]
    if tag is not None:
        words.append(b".tag=" + tag)
    words += (octets_of(f"={name}={value}") for name, value in attributes)
    return encode_sentence(words)


def fatal(reason: str) -> bytes:
    """Return the last sentence of a connection: the reason is a bare word."""
    return encode_sentence((b"!fatal", reason.encode()))


def text(octets: bytes) -> str:
    """Return a word as text; what is no UTF-8 comes back by `octets_of`."""
    return octets.decode("utf-8", "surrogateescape")


def octets_of(word: str) -> bytes:
    """Return the octets of a text."""
    return word.encode("utf-8", "surrogateescape")
