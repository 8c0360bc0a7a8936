"""Keeps what a box knows: the entries of its menus, its settings, its users, and the sessions behind it.

Rule: what clients wrote persists over a reboot, what is dynamic does not; entries that name each other stay together;
the first queue that aims at an address limits it, as long as RADIUS made none for its session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from hmac import compare_digest

from domain.instants import Microseconds
from domain.secret import Secret
from simulator.rates import Rates
from simulator.routeros_menus import (
    HOTSPOT_ACTIVE,
    IDENTITY,
    INTERFACE_LISTS,
    INTERFACES,
    LISTS,
    PPP_PROFILES,
    QUEUE_TYPES,
    QUEUES,
    RADIUS_INCOMING,
    SERVICES,
    SETTINGS,
    USERS,
    Menu,
    Reference,
)
from simulator.routeros_sessions import (
    VIEWS,
    Incoming,
    Lines,
    SessionTable,
)
from simulator.routeros_tables import (
    Row,
    Table,
    bad_value,
    read_number,
    show_number,
    unknown_parameter,
)
from simulator.routeros_values import is_network
from simulator.routeros_words import octets_of, text

VERSION = "7.20.4 (stable)"
EMPTY_SINCE = (7, 18)
"""From this version on a `print` without rows says `!empty` before `!done`."""
API, API_TLS = "api", "api-ssl"
INTERFACE_COUNT = 5

_COUNTERS = frozenset(("bytes", "packets", "dropped"))


class Grade(Enum):
    """What a user may do (`/user group`); the values are RouterOS's."""

    FULL = "full"
    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """How a box is set up before the first client comes."""

    identity: str = "MikroTik"
    user: str = "caudal"
    password: Secret = field(default_factory=lambda: Secret(b""))
    version: str = VERSION
    api_port: int = 8728
    api_tls_port: int = 8729
    clock_offset_us: int = 0


class RouterState:
    """A box as its API shows it."""

    def __init__(
        self,
        settings: BoxSettings,
        now: Microseconds,
        *,
        lines: Lines | None = None,
        incoming: Incoming | None = None,
    ) -> None:
        self.lines: Lines = SessionTable() if lines is None else lines
        self.incoming = Incoming() if incoming is None else incoming
        self.booted_us = now
        self.reboots = 0
        self.settings = settings
        self.now = now
        self.tables = {
            path: Table(menu, refers=self._refers, changed=partial(self._entry_changed, menu))
            for path, menu in LISTS.items()
        }
        self.singles = {
            path: {name: known.default or "" for name, known in menu.properties.items()}
            for path, menu in SETTINGS.items()
        }
        self.numbers: dict[str, dict[str, int]] = {path: {} for path in VIEWS}
        """Of the rows of sessions, by menu and Acct-Session-Id."""
        self._shapers: dict[str, set[int]] = {}
        """Queues that clients wrote, by the address they aim at."""
        self.singles[IDENTITY]["name"] = settings.identity
        self._furnish(settings)

    @property
    def says_empty(self) -> bool:
        """Tell whether this version marks a print without rows."""
        return tuple(int(part) for part in self.settings.version.split()[0].split(".")[:2]) >= EMPTY_SINCE

    def service(self, name: str) -> Mapping[str, str]:
        """Return a row of /ip/service."""
        return self._by_name(SERVICES, name)

    def log_in(self, name: str, password: bytes) -> Grade | None:
        """Return what a user may do, None when name or password is wrong."""
        table = self.tables[USERS]
        for row in table.entries.values():
            if row["name"] == name and row["disabled"] == "false":
                right = compare_digest(octets_of(row["password"]), password)
                return Grade(row["group"]) if right else None
        return None

    def enter(self, path: str, values: Mapping[str, str], *, dynamic: bool = False) -> str:
        """Enter an entry as the box itself does, with what clients cannot write too; return its `.id`."""
        return show_number(self.tables[path].add(values, self.now, by_box=True, dynamic=dynamic))

    def set_up(self, path: str, values: Mapping[str, str]) -> None:
        """Change settings; raise Trap for what the menu does not have."""
        menu = SETTINGS[path]
        changed = {}
        for name, value in values.items():
            known = menu.properties.get(name)
            if known is None:
                raise unknown_parameter(name)
            try:
                changed[name] = known.kind(value)
            except ValueError:
                raise bad_value(name) from None
        self.singles[path] |= changed
        if path == RADIUS_INCOMING:
            self.incoming.accept = changed.get("accept", str(self.incoming.accept).lower()) == "true"
            self.incoming.port = int(changed.get("port", self.incoming.port))

    def rows(self, path: str) -> list[Row]:
        """Return the entries of a menu in order, without those of sessions."""
        return list(self.tables[path].rows(self.now))

    def count_traffic(self, path: str, number: str, upload: int, download: int) -> None:
        """Let octets pass through a queue and those above it, or a hotspot session."""
        table = self.tables[path]
        row = table.entries[table.find(number)[0]]
        if "bytes-in" in row:
            row["bytes-in"] = str(int(row["bytes-in"]) + upload)
            row["bytes-out"] = str(int(row["bytes-out"]) + download)
        else:
            up, down = (int(part) for part in row["bytes"].split("/"))
            row["bytes"] = f"{up + upload}/{down + download}"
            if table.has(row.get("parent", "")):
                self.count_traffic(path, row["parent"], upload, download)

    def restart(self, now: Microseconds) -> None:
        """Start again, without sessions, dynamic entries and counters."""
        self.booted_us, self.now = now, now
        self.reboots += 1
        self.numbers = {path: {} for path in VIEWS}
        for path, table in self.tables.items():
            if path == HOTSPOT_ACTIVE:
                for number in list(table.entries):
                    table.drop(number)
            table.forget_dynamic()
            for row in table.entries.values():
                reset_counters(row)
        self.incoming.reset()

    def _refers(self, reference: Reference, name: str) -> bool:
        if name in reference.words or self.tables[reference.menu].has(name):
            return True
        return reference.menu == INTERFACES and name in self._session_interfaces()

    def _session_interfaces(self) -> set[str]:
        rows = (VIEWS[INTERFACES](session, self.now) for session in self.lines.sessions(self.now))
        return {row["name"] for row in rows if row is not None}

    def _entry_changed(self, menu: Menu, before: Row | None, after: Row | None) -> None:
        """Let those that name an entry follow it, and queues limit the sessions they aim at."""
        old = None if before is None else before.get("name")
        if before is not None and old is not None and (after is None or after["name"] != old):
            new = before[".id"] if after is None else after["name"]
            for table in self.tables.values():
                for name, references in table.menu.references.items():
                    if table.names(old) and any(reference.menu == menu.path for reference in references):
                        table.follow(name, old, new)
        if menu.path == QUEUES:
            self._reshape(before, after)

    def _reshape(self, before: Row | None, after: Row | None) -> None:
        aimed = set()
        for row, keep in ((before, False), (after, True)):
            for address in () if row is None else _hosts(row):
                aimed.add(address)
                shapers = self._shapers.setdefault(address, set())
                number = read_number((row or {})[".id"]) or 0
                shapers.discard(number)
                if keep:
                    shapers.add(number)
        for address in aimed:
            self.lines.shape(address, self._shape(address), self.now)
            if not self._shapers[address]:
                del self._shapers[address]

    def _shape(self, address: str) -> Rates | None:
        """Return what the first queue that aims at an address allows; queues are searched in order."""
        table = self.tables[QUEUES]
        numbers = list(self._shapers[address])
        if len(numbers) > 1:
            numbers.sort(key=table.position)
        for number in numbers:
            row = table.entries[number]
            if row["disabled"] == "false":
                upload, download = (int(part) or None for part in row["max-limit"].split("/"))
                return Rates(upload, download)
        return None

    def _by_name(self, path: str, name: str) -> Row:
        table = self.tables[path]
        return table.entries[table.find(name)[0]]

    def _furnish(self, settings: BoxSettings) -> None:
        """Enter what a box has from the beginning."""
        for number in range(1, INTERFACE_COUNT + 1):
            self.enter(INTERFACES, {"name": f"ether{number}", "default-name": f"ether{number}"})
        for name in ("default", "default-small", "ethernet-default"):
            self.enter(QUEUE_TYPES, {"name": name, "kind": "pfifo", "pfifo-limit": "50", "default": "true"})
        for way, classifier in (("upload", "src-address"), ("download", "dst-address")):
            sizes = {"pcq-rate": "0", "pcq-limit": "50KiB", "pcq-total-limit": "2000KiB", "pcq-classifier": classifier}
            self.enter(QUEUE_TYPES, {"name": f"pcq-{way}-default", "kind": "pcq", **sizes, "default": "true"})
        for name in ("default", "default-encryption"):
            self.enter(PPP_PROFILES, {"name": name, "default": "true"})
        for name in ("all", "none", "dynamic", "static"):
            self.enter(INTERFACE_LISTS, {"name": name, "builtin": "true"})
        self.enter(SERVICES, {"name": API, "port": str(settings.api_port)})
        self.enter(SERVICES, {"name": API_TLS, "port": str(settings.api_tls_port), "certificate": "caudal"})
        user = {"name": settings.user, "password": text(settings.password.reveal()), "group": Grade.FULL.value}
        self.enter(USERS, user)


def reset_counters(row: Row) -> None:
    """Let an entry count from zero."""
    for name in _COUNTERS & row.keys():
        row[name] = "0/0" if "/" in row[name] else "0"


def _hosts(row: Row) -> Iterator[str]:
    """Yield the single addresses among a queue's targets."""
    for target in row["target"].split(","):
        address, _, length = target.partition("/")
        if is_network(target) and length == ("128" if ":" in address else "32"):
            yield address
