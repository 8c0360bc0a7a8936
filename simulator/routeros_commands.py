"""Decides what a box answers to a command of its API, and what the command leaves behind.

Rule: sans I/O: commands and instants go in, rows come out or a Trap is raised. Sessions are shown as they are at that
moment; what RADIUS made of them (queues, interfaces, address lists) is dynamic: shown, and not editable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from domain.instants import SECOND_US, Microseconds, to_datetime
from simulator.routeros_menus import CLOCK, LEASES, LISTS, PPP_ACTIVE, RADIUS, RADIUS_INCOMING, RESOURCE
from simulator.routeros_queries import BadQuery, select
from simulator.routeros_sessions import VIEWS, View, active_number, active_row
from simulator.routeros_state import Grade, RouterState, reset_counters
from simulator.routeros_tables import (
    MISSING_ITEM,
    Row,
    Table,
    Trap,
    no_such_item,
    read_number,
    show_number,
    unknown_parameter,
)
from simulator.routeros_values import flag, show_duration
from simulator.routeros_words import Command

_PRINT_SWITCHES = frozenset((".proplist", "detail", "stats", "count-only", "without-paging", "terse", "brief"))
_WRITING = frozenset(("add", "set", "remove", "move", "enable", "disable", "reset-counters", "make-static", "reboot"))


@dataclass(frozen=True, slots=True)
class Result:
    """What a command gives back: rows, and attributes of `!done`."""

    rows: Iterable[Mapping[str, str]] = ()
    done: tuple[tuple[str, str], ...] = ()
    repeats: bool = False
    """True: the client wants another reading each second until it cancels."""
    lists: bool = False
    """True: a `print`, which says `!empty` when it has nothing."""


class Console:
    """The commands of one box."""

    def __init__(self, state: RouterState) -> None:
        self._state = state

    def execute(self, command: Command, now: Microseconds, grade: Grade = Grade.FULL) -> Result:
        """Do what a command asks; raise Trap when the box refuses."""
        self._state.now = now
        if command.verb in _WRITING and grade is Grade.READ:
            raise Trap("not enough permissions (9)")
        run = self._handler(command)
        if run is None:
            raise Trap("no such command", MISSING_ITEM)
        return run(command)

    def _handler(self, command: Command) -> Callable[[Command], Result] | None:
        menu, verb = command.menu, "print" if command.verb == "getall" else command.verb
        if menu == "/system" and verb == "reboot":
            return self._reboot_by_command
        if menu in (RESOURCE, CLOCK):
            return self._print_reading if verb == "print" else None
        if menu == PPP_ACTIVE:
            return {"print": self._print_active, "remove": self._kick}.get(verb)
        if menu in self._state.singles:
            special = {"monitor": self._monitor_incoming} if menu == RADIUS_INCOMING else {}
            return {"print": self._print_settings, "set": self._change_settings, **special}.get(verb)
        return self._list_handler(menu, verb) if menu in self._state.tables else None

    def _list_handler(self, menu: str, verb: str) -> Callable[[Command], Result] | None:
        described = LISTS[menu]
        handlers: dict[str, Callable[[Command], Result]] = {"print": self._print}
        if not described.fixed:
            handlers["remove"] = self._remove
        if described.properties:
            handlers["set"] = self._set
            if not described.fixed:
                handlers["add"] = self._add
        if "disabled" in described.properties:
            handlers |= {"enable": self._enable, "disable": self._enable}
        if described.ordered:
            handlers |= {"move": self._move}
        if "bytes" in described.shows:
            handlers |= {"reset-counters": self._reset_counters}
        if menu == LEASES:
            handlers |= {"make-static": self._make_static}
        if menu == RADIUS:
            handlers |= {"monitor": self._monitor_radius}
        return handlers.get(verb)

    # Rows

    def _print(self, command: Command) -> Result:
        table = self._state.tables[command.menu]
        view = VIEWS.get(command.menu)
        rows = table.rows(self._state.now) if view is None else self._with_sessions(command.menu, view, table)
        hidden = table.menu.secret
        if hidden:
            rows = ({name: value for name, value in row.items() if name not in hidden} for row in rows)
        return self._shown(command, rows, table.normalise)

    def _with_sessions(self, menu: str, view: View, table: Table) -> Iterator[Row]:
        """Yield the rows of sessions, which stand first, and the entries."""
        now = self._state.now
        sessions, known = list(self._state.lines.sessions(now)), self._state.numbers[menu]
        numbers = {
            session.acct_session_id: known.get(session.acct_session_id) or table.next_number() for session in sessions
        }
        self._state.numbers[menu] = numbers
        for session in sessions:
            row = view(session, now)
            if row is not None:
                yield {".id": show_number(numbers[session.acct_session_id]), **row}
        yield from table.rows(now)

    def _print_active(self, command: Command) -> Result:
        now = self._state.now
        rows = (
            {".id": show_number(active_number(session)), **active_row(session, now)}
            for session in self._state.lines.sessions(now)
        )
        return self._shown(command, rows, _as_written)

    def _print_settings(self, command: Command) -> Result:
        return self._shown(command, [self._settings_row(command.menu)], _as_written)

    def _settings_row(self, menu: str) -> Row:
        if menu != RADIUS_INCOMING:
            return self._state.singles[menu]
        incoming = self._state.incoming
        return self._state.singles[menu] | {
            "accept": flag("yes" if incoming.accept else "no"),
            "port": str(incoming.port),
        }

    def _print_reading(self, command: Command) -> Result:
        row = self._resource() if command.menu == RESOURCE else self._clock()
        return self._shown(command, [row], _as_written)

    def _resource(self) -> Row:
        return {
            "uptime": show_duration(max(self._state.now - self._state.booted_us, 0) // SECOND_US),
            "version": self._state.settings.version,
            "build-time": "2025-11-06 10:12:54",
            "free-memory": "805306368",
            "total-memory": "1073741824",
            "cpu": "ARM64",
            "cpu-count": "4",
            "cpu-load": "7",
            "architecture-name": "arm64",
            "board-name": "RB5009UG+S+",
            "platform": "MikroTik",
        }

    def _clock(self) -> Row:
        shown = to_datetime(Microseconds(self._state.now + self._state.settings.clock_offset_us))
        return {
            "time": f"{shown:%H:%M:%S}",
            "date": f"{shown:%Y-%m-%d}",
            "time-zone-autodetect": "false",
            "time-zone-name": "UTC",
            "gmt-offset": "+00:00",
            "dst-active": "false",
        }

    def _shown(self, command: Command, rows: Iterable[Row], normalise: Callable[[str, str], str]) -> Result:
        """Apply what a `print` asks for: queries, properties, or the number of rows alone."""
        for name in command.attributes:
            if name not in _PRINT_SWITCHES:
                raise unknown_parameter(name)
        if command.queries:
            try:
                rows = filter(select(command.queries, normalise), rows)
            except BadQuery:
                raise Trap("invalid query") from None
        if "count-only" in command.attributes:
            return Result(done=(("ret", str(sum(1 for _ in rows))),))
        wanted = command.attributes.get(".proplist")
        if wanted:
            rows = _picked(rows, wanted.split(","))
        return Result(rows, lists=True)

    # Changes

    def _add(self, command: Command) -> Result:
        number = self._state.tables[command.menu].add(command.attributes, self._state.now)
        return Result(done=(("ret", show_number(number)),))

    def _set(self, command: Command) -> Result:
        table, numbers = self._aimed(command)
        changes = {name: value for name, value in command.attributes.items() if name not in (".id", "numbers")}
        table.set(numbers, changes, self._state.now)
        return Result()

    def _enable(self, command: Command) -> Result:
        table, numbers = self._aimed(command)
        table.set(numbers, {"disabled": "no" if command.verb == "enable" else "yes"}, self._state.now)
        return Result()

    def _remove(self, command: Command) -> Result:
        table, numbers = self._aimed(command)
        table.remove(numbers)
        return Result()

    def _move(self, command: Command) -> Result:
        table, numbers = self._aimed(command)
        destination = table.find(command.attributes.get("destination", ""))
        table.move(numbers, destination[0] if destination else None)
        return Result()

    def _reset_counters(self, command: Command) -> Result:
        table, numbers = self._aimed(command)
        for number in numbers:
            reset_counters(table.entries[number])
        return Result()

    def _make_static(self, command: Command) -> Result:
        table, numbers = self._aimed(command)
        for number in numbers:
            table.entries[number]["dynamic"] = "false"
        return Result()

    def _aimed(self, command: Command) -> tuple[Table, list[int]]:
        """Return the entries that a command is about; refuse none, unknown ones, and those of sessions."""
        table = self._state.tables[command.menu]
        aim = command.attributes.get(".id", command.attributes.get("numbers", ""))
        if not aim:
            raise no_such_item()
        of_sessions = self._state.numbers.get(command.menu, {}).values()
        aims = (read_number(part) for part in aim.split(","))
        if of_sessions and any(number not in table.entries and number in of_sessions for number in aims):
            verb = "remove" if command.verb == "remove" else "change"
            raise Trap(f"failure: can not {verb} dynamic {table.menu.noun}")
        return table, table.find(aim)

    def _kick(self, command: Command) -> Result:
        aims = command.attributes.get(".id", command.attributes.get("numbers", "")).split(",")
        open_now = {active_number(session): session for session in self._state.lines.sessions(self._state.now)}
        aimed = [session for aim in aims if (session := open_now.get(read_number(aim) or 0)) is not None]
        if len(aimed) < len(aims):
            raise no_such_item()
        for session in aimed:
            self._state.lines.kick(session.acct_session_id, self._state.now)
        return Result()

    def _change_settings(self, command: Command) -> Result:
        self._state.set_up(command.menu, command.attributes)
        return Result()

    # Readings

    def _monitor_incoming(self, command: Command) -> Result:
        _only(command, "once", ".proplist")
        incoming = self._state.incoming
        row = {
            "requests": str(incoming.requests),
            "bad-requests": str(incoming.bad_requests),
            "acks": str(incoming.acks),
            "naks": str(incoming.naks),
        }
        return Result([row], repeats="once" not in command.attributes)

    def _monitor_radius(self, command: Command) -> Result:
        _only(command, "once", ".proplist", ".id", "numbers")
        self._aimed(command)
        names = ("pending", "requests", "accepts", "rejects", "resends", "timeouts", "bad-replies")
        row = {**dict.fromkeys(names, "0"), "last-request-rtt": "0ms"}
        return Result([row], repeats="once" not in command.attributes)

    def _reboot_by_command(self, _command: Command) -> Result:
        self._state.restart(self._state.now)
        self._state.lines.reboot(self._state.now)
        return Result()


def _only(command: Command, *names: str) -> None:
    for name in command.attributes:
        if name not in names:
            raise unknown_parameter(name)


def _as_written(_name: str, text: str) -> str:
    return text


def _picked(rows: Iterable[Row], names: list[str]) -> Iterator[Row]:
    for row in rows:
        yield {name: row[name] for name in names if name in row}
