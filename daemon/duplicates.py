"""The duplicate cache: one entry per (source address and port, Identifier).

Rule: a request with the same authenticator is a retransmission; while it is pending it is dropped, once answered it
gets the same octets again (RFC 5080 §2.2.2). A new authenticator replaces the entry. Entries live 5 to 10 seconds, and
only requests that were verified ever get one.
"""

from __future__ import annotations

from domain.instants import SECOND_US, Microseconds

ROTATE_US = 5 * SECOND_US
"""RFC 5080 §2.2.2 asks for 5 to 30 seconds; two halves of five hold each entry for 5 to 10."""
MOST_ENTRIES = 200_000
"""Per half; 780 source ports with all their Identifiers in use. About 60 MB."""

Key = tuple[tuple[str, int], int]


class Entry:
    """A request that was seen: `reply` is None while it is pending."""

    __slots__ = ("authenticator", "reply")

    def __init__(self, authenticator: bytes) -> None:
        self.authenticator = authenticator
        self.reply: bytes | None = None


class DuplicateCache:
    """Remembers what was asked and answered lately."""

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self._most = most
        self._young: dict[Key, Entry] = {}
        self._old: dict[Key, Entry] = {}
        self._rotate_us = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, key: Key, authenticator: bytes) -> Entry | None:
        """Return the entry of this very request, None when it is new."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
        return entry if entry.authenticator == authenticator else None

    def add(self, key: Key, authenticator: bytes) -> None:
        """Remember a new request as pending."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = Entry(authenticator)

    def answered(self, key: Key, authenticator: bytes, reply: bytes) -> None:
        """Keep the answer, unless a newer request has taken the place."""
        entry = self.find(key, authenticator)
        if entry is not None:
            entry.reply = reply

    def forget(self, key: Key, authenticator: bytes) -> bool:
        """Drop a request that was given up, so that its retransmission is new; return False when it was answered."""
        entry = self.find(key, authenticator)
        if entry is None or entry.reply is not None:
            return False
        self._young.pop(key, None)
        self._old.pop(key, None)
        return True

    def rotate(self, now_us: Microseconds) -> None:
        """Let entries age; cheap enough for every wake."""
        if now_us >= self._rotate_us:
            self._old, self._young = self._young, {}
            self._rotate_us = now_us + ROTATE_US
