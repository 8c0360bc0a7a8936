"""Keeps the entries of one menu by RouterOS's rules.

Rule: entries are called by `.id`, a hexadecimal number that is never given twice (`*1A`); a command that is refused
changes nothing; dynamic entries are not editable; who names an entry that was renamed follows it, and shows its bare
number once it is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from domain.instants import SECOND_US, Microseconds, to_datetime
from simulator.routeros_menus import Menu, Reference
from simulator.routeros_values import seconds, show_duration

Row = dict[str, str]


class Trap(Exception):
    """The box refuses a command: its text, and its category in the API."""

    def __init__(self, message: str, category: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.category = category


MISSING_ITEM = 0
BAD_ARGUMENT = 1
INTERRUPTED = 2


def no_such_item() -> Trap:
    """Return the refusal of an unknown entry."""
    return Trap("no such item", MISSING_ITEM)


def show_number(number: int) -> str:
    """Return the `.id` of an entry."""
    return f"*{number:X}"


def read_number(text: str) -> int | None:
    """Return the number that an `.id` stands for, None when it is none."""
    try:
        return int(text[1:], 16) if text.startswith("*") else None
    except ValueError:
        return None


class Table:
    """The entries of one menu."""

    def __init__(
        self,
        menu: Menu,
        *,
        refers: Callable[[Reference, str], bool],
        changed: Callable[[Row | None, Row | None], None],
    ) -> None:
        """Ask `refers` whether a reference names something, and tell `changed` each entry before and after."""
        self.menu = menu
        self.entries: dict[int, Row] = {}
        self._refers = refers
        self._changed = changed
        self._order: list[int] = []
        self._keys: dict[tuple[str, ...], int] = {}
        self._expiries: dict[int, Microseconds] = {}
        self._named = Counter[str]()
        self._last_number = 0

    def next_number(self) -> int:
        """Return a number that no entry had."""
        self._last_number += 1
        return self._last_number

    def has(self, name: str) -> bool:
        """Tell whether an entry has this name."""
        return (name,) in self._keys if self.menu.unique == ("name",) else any(self._by_name(name))

    def names(self, name: str) -> bool:
        """Tell whether an entry of this menu names `name` in one of its references."""
        return self._named[name] > 0

    def rows(self, now: Microseconds) -> Iterator[Row]:
        """Yield every entry in order."""
        self.expire(now)
        entries = self.entries
        for number in list(self._order):
            row = entries.get(number)
            if row is not None:
                yield row if number not in self._expiries else self._with_timeout(number, row, now)

    def find(self, text: str) -> list[int]:
        """Return the numbers that `*1,*2` or a name stand for; refuse what is unknown."""
        found = []
        for part in text.split(",") if text else ():
            number = read_number(part)
            numbers = self._by_name(part) if number is None else [number]
            if not numbers or any(known not in self.entries for known in numbers):
                raise no_such_item()
            found += numbers
        return found

    def add(
        self, attributes: Mapping[str, str], now: Microseconds, *, by_box: bool = False, dynamic: bool = False
    ) -> int:
        """Enter an entry; the box itself may also give what clients cannot write."""
        menu = self.menu
        before = self._place_before(attributes)
        written = {name: value for name, value in attributes.items() if name != "place-before"}
        number = self._last_number + 1
        row = {".id": show_number(number), **menu.shows}
        row |= {name: kind.default for name, kind in menu.properties.items() if kind.default is not None}
        if menu.names_itself and "name" not in written:
            written = {"name": self._free_name(menu.names_itself), **written}
        missing = [name for name in menu.required if name not in written]
        if missing:
            raise Trap(f"missing value(s) of argument(s) {' '.join(missing)}", BAD_ARGUMENT)
        self._write(row, written, by_box=by_box)
        if dynamic and "dynamic" in menu.shows:
            row["dynamic"] = "true"
        key = self._checked_key(row, None)
        self._last_number = number
        self.entries[number] = row
        self._order.insert(len(self._order) if before is None else before, number)
        if key is not None:
            self._keys[key] = number
        self._start_timeout(number, row, written, now)
        self._count(row, 1)
        self._changed(None, row)
        return number

    def set(self, numbers: Iterable[int], attributes: Mapping[str, str], now: Microseconds) -> None:
        """Change entries, all of them or none."""
        changes = []
        for number in numbers:
            row = self.entries[number]
            self._refuse_dynamic(row)
            changed = dict(row)
            self._write(changed, attributes)
            changes.append((number, row, changed, self._checked_key(changed, number)))
        for number, row, changed, key in changes:
            if key is not None:
                self._keys.pop(self._key(row) or (), None)
                self._keys[key] = number
            self.entries[number] = changed
            self._start_timeout(number, changed, attributes, now)
            self._count(row, -1)
            self._count(changed, 1)
            self._changed(row, changed)

    def remove(self, numbers: Iterable[int]) -> None:
        """Strike out entries, all of them or none."""
        doomed = list(numbers)
        for number in doomed:
            row = self.entries[number]
            if "true" in (row.get("default"), row.get("builtin")):
                raise Trap(f"failure: can not remove default {self.menu.noun}")
        for number in doomed:
            self.drop(number)

    def drop(self, number: int) -> None:
        """Strike out one entry, whatever it is."""
        row = self.entries.pop(number)
        self._order.remove(number)
        self._expiries.pop(number, None)
        key = self._key(row)
        if key is not None and self._keys.get(key) == number:
            del self._keys[key]
        self._count(row, -1)
        self._changed(row, None)

    def move(self, numbers: Iterable[int], destination: int | None) -> None:
        """Bring entries before `destination`, or to the end."""
        moved = [number for number in numbers if number != destination]
        for number in moved:
            self._refuse_dynamic(self.entries[number])
        chosen = set(moved)
        rest = [number for number in self._order if number not in chosen]
        at = len(rest) if destination is None else rest.index(destination)
        self._order = rest[:at] + moved + rest[at:]
        for number in moved:
            self._changed(self.entries[number], self.entries[number])

    def forget_dynamic(self) -> None:
        """Lose what does not survive a reboot."""
        for number in [number for number, row in self.entries.items() if row.get("dynamic") == "true"]:
            self.drop(number)

    def expire(self, now: Microseconds) -> None:
        """Lose the entries whose time is over."""
        for number in [number for number, at in self._expiries.items() if at <= now]:
            self.drop(number)

    def follow(self, name: str, old: str, new: str) -> None:
        """Let every entry that names `old` in property `name` name `new`."""
        for row in self.entries.values():
            parts = row.get(name, "").split("/")
            if old in parts:
                self._count(row, -1)
                row[name] = "/".join(new if part == old else part for part in parts)
                self._count(row, 1)

    def position(self, number: int) -> int:
        """Return how many entries stand before this one."""
        return self._order.index(number)

    def normalise(self, name: str, text: str) -> str:
        """Return a value as the box prints it, and what it cannot read as it is."""
        known = self.menu.properties.get(name)
        try:
            if known is not None:
                return known.kind(text)
        except ValueError:
            return text
        return _SHOWN_FLAGS.get(text, text) if self.menu.shows.get(name) in _SHOWN_FLAGS.values() else text

    def _by_name(self, name: str) -> list[int]:
        if self.menu.unique == ("name",):
            number = self._keys.get((name,))
            return [] if number is None else [number]
        return [number for number, row in self.entries.items() if row.get("name") == name]

    def _place_before(self, attributes: Mapping[str, str]) -> int | None:
        if "place-before" not in attributes:
            return None
        if not self.menu.ordered:
            raise unknown_parameter("place-before")
        numbers = self.find(attributes["place-before"])
        return self._order.index(numbers[0]) if numbers else None

    def _write(self, row: Row, attributes: Mapping[str, str], *, by_box: bool = False) -> None:
        menu = self.menu
        for name, text in attributes.items():
            known = menu.properties.get(name)
            if known is None:
                if not (by_box and name in menu.shows):
                    raise unknown_parameter(name)
                row[name] = text
                continue
            if not text and known.default is None:
                if name in menu.required:
                    raise bad_value(name)
                row.pop(name, None)
                continue
            try:
                row[name] = known.kind(text)
            except ValueError:
                raise bad_value(name) from None
            self._check_reference(name, row[name])
        complaint = None if menu.check is None else menu.check(row)
        if complaint is not None:
            raise Trap(complaint)

    def _check_reference(self, name: str, value: str) -> None:
        references = self.menu.references.get(name)
        if references is None:
            return
        for part in value.split("/"):
            if not any(self._refers(reference, part) for reference in references):
                raise Trap(f"input does not match any value of {name}", BAD_ARGUMENT)

    def _checked_key(self, row: Row, number: int | None) -> tuple[str, ...] | None:
        key = self._key(row)
        if key is not None and self._keys.get(key, number) != number:
            raise Trap(self.menu.duplicate)
        return key

    def _key(self, row: Row) -> tuple[str, ...] | None:
        return tuple(row.get(name, "") for name in self.menu.unique) or None

    def _refuse_dynamic(self, row: Row) -> None:
        if row.get("dynamic") == "true":
            raise Trap(f"failure: can not change dynamic {self.menu.noun}")

    def _free_name(self, beginning: str) -> str:
        number = len(self.entries) + 1
        while (f"{beginning}{number}",) in self._keys:
            number += 1
        return f"{beginning}{number}"

    def _start_timeout(self, number: int, row: Row, written: Mapping[str, str], now: Microseconds) -> None:
        """An entry with a timeout is dynamic: it goes when its time is over, and with a reboot."""
        if "creation-time" in row and not row["creation-time"]:
            row["creation-time"] = f"{to_datetime(now):%Y-%m-%d %H:%M:%S}"
        if written.get("timeout"):
            self._expiries[number] = Microseconds(now + seconds(row["timeout"]) * SECOND_US)
            row["dynamic"] = "true"

    def _with_timeout(self, number: int, row: Row, now: Microseconds) -> Row:
        left_us = self._expiries[number] - now
        return {**row, "timeout": show_duration(-(-left_us // SECOND_US))}

    def _count(self, row: Row, change: int) -> None:
        for name in self.menu.references:
            for part in row.get(name, "").split("/"):
                self._named[part] += change


_SHOWN_FLAGS = {"yes": "true", "no": "false"}


def unknown_parameter(name: str) -> Trap:
    """Return the refusal of a property that the menu does not have."""
    return Trap(f"unknown parameter {name}")


def bad_value(name: str) -> Trap:
    """Return the refusal of a value that the property cannot have."""
    return Trap(f"invalid value for argument {name}", BAD_ARGUMENT)
