"""Serves a box's API over TCP and TLS, with the faults it was given.

Rule: no decision of the box is made here: commands go to `RouterState`, its rows and traps go out, tagged like the
command. Who has not logged in is told `!fatal` and shut out; each service takes as many connections as `/ip/service
max-sessions` says. Commands of one connection are answered in order, except those that wait: a slow box, a monitor.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

from domain.instants import Microseconds
from simulator.errors import SimulatorError
from simulator.routeros_commands import Console, Result
from simulator.routeros_faults import Aim, ApiFaults, Mishap
from simulator.routeros_state import Grade, RouterState
from simulator.routeros_tables import INTERRUPTED, Trap
from simulator.routeros_words import (
    LONGEST_WORD,
    Command,
    MalformedWords,
    Reader,
    fatal,
    octets_of,
    read_command,
    reply,
)

CHUNK_OCTETS = 65_536
BACKLOG = 64
MONITOR_SECONDS = 1.0
_GARBLED = "\udcf1"
"""The octet 0xF1 alone, which is ñ in Latin 1 and nothing in UTF-8."""


class _Gone(Exception):
    """The connection is over."""


class Box:
    """A box that clients can connect to."""

    def __init__(
        self,
        state: RouterState,
        clock: Callable[[], Microseconds],
        *,
        is_up: Callable[[], bool] = lambda: True,
    ) -> None:
        self.state = state
        self.console = Console(state)
        self.clock = clock
        self.commands = 0
        """How many were taken in since the box was made, logins included."""
        self.turn = asyncio.Lock()
        """A slow box serves one command at a time."""
        self._aim = Aim()
        self._is_up = is_up
        self._servers: list[tuple[asyncio.Task[asyncio.Server], socket.socket]] = []
        self._clients: dict[_Client, str] = {}

    @property
    def faults(self) -> ApiFaults:
        """Return what goes wrong at the moment."""
        return self._aim.faults

    @faults.setter
    def faults(self, faults: ApiFaults) -> None:
        """Let things go wrong from the next command on; what was counted for earlier faults is forgotten."""
        self._aim = Aim(faults)

    @property
    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._clients)

    def serve(self, listener: socket.socket, service: str, context: ssl.SSLContext | None = None) -> None:
        """Serve a bound socket as one of `/ip/service`; the running loop does the work."""
        listener.listen(BACKLOG)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(service, reader, writer)

        starting = asyncio.start_server(accept, sock=listener, ssl=context)
        self._servers.append((asyncio.get_running_loop().create_task(starting), listener))

    def drop_connections(self) -> None:
        """Lose every connection at once, as a box without power."""
        for client in list(self._clients):
            client.abort()

    def reboot(self) -> None:
        """Start the box again: its sessions and dynamic entries are lost, its clients too."""
        now = self.clock()
        self.state.restart(now)
        self.state.lines.reboot(now)
        self.drop_connections()

    def close(self) -> None:
        """Close every socket; harmless when repeated."""
        for starting, listener in self._servers:
            if starting.done():
                starting.result().close()
            else:
                starting.cancel()
                listener.close()
        self._servers.clear()
        self.drop_connections()

    def hit(self, words: str) -> Mishap | None:
        """Count a command and return what happens to it."""
        self.commands += 1
        return self._aim.hit(words)

    async def _accept(self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        row = self.state.service(service)
        taken = sum(known == service for known in self._clients.values())
        if not self._is_up() or row["disabled"] == "true" or taken >= int(row["max-sessions"]):
            writer.transport.abort()
            return
        client = _Client(self, reader, writer)
        self._clients[client] = service
        try:
            await client.run()
        finally:
            del self._clients[client]
            client.abort()


def bind_api(address: str, port: int, name: str) -> socket.socket:
    """Return a bound TCP socket for the API of router `name`; raise SimulatorError when the host refuses it."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setblocking(False)
        opened.bind((address, port))
    except OSError as error:
        opened.close()
        raise SimulatorError(
            f"API port {port} of router {name} ({address}) cannot be bound: {error.strerror}; "
            "give the router another one, or run the fleet with --no-api"
        ) from None
    return opened


class _Client:
    """One connection."""

    def __init__(self, box: Box, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._box = box
        self._reader = reader
        self._writer = writer
        self._words = Reader()
        self._grade: Grade | None = None
        self._stalled = False
        self._waiting: dict[asyncio.Task[None], bytes | None] = {}
        """Commands that take their time, with their tags."""

    def abort(self) -> None:
        """End the connection without another octet."""
        for task in self._waiting:
            task.cancel()
        with suppress(AttributeError):
            # A TLS transport that is closed already has nothing left to abort.
            self._writer.transport.abort()

    async def run(self) -> None:
        """Answer until either side has enough."""
        with suppress(_Gone, MalformedWords, ConnectionError, ssl.SSLError):
            while octets := await self._reader.read(CHUNK_OCTETS):
                self._words.feed(octets)
                for sentence in self._words.sentences():
                    await self._take(read_command(sentence))
        with suppress(ConnectionError, ssl.SSLError):
            self._writer.close()
            await self._writer.wait_closed()

    async def _take(self, command: Command) -> None:
        mishap = self._box.hit(command.words)
        if self._stalled:
            return
        if command.words == "/login":
            await self._log_in(command, mishap)
        elif self._grade is None:
            await self._end("not logged in")
        elif command.words == "/quit":
            await self._end("session terminated on request")
        elif command.words == "/cancel":
            await self._cancel(command)
        elif self._box.faults.calls_per_second is not None:
            self._start(command, partial(self._wait_for_turn, command, mishap))
        else:
            await self._serve(command, mishap)

    async def _log_in(self, command: Command, mishap: Mishap | None) -> None:
        name = command.attributes.get("name", "")
        password = octets_of(command.attributes.get("password", ""))
        if mishap is not None:
            await self._go_wrong(command, mishap, b"")
            return
        self._grade = None if self._box.faults.refuses_logins else self._box.state.log_in(name, password)
        if self._grade is None:
            await self._send(_trap(Trap("invalid user name or password (6)"), command.tag))
            return
        self._words.longest_word = LONGEST_WORD
        await self._send(reply(b"!done", tag=command.tag))

    async def _end(self, reason: str) -> None:
        await self._send(fatal(reason))
        raise _Gone

    async def _cancel(self, command: Command) -> None:
        """Interrupt the command with the given tag, or all of them."""
        wanted = command.attributes.get("tag")
        tag = None if wanted is None else octets_of(wanted)
        for task, known in list(self._waiting.items()):
            if wanted is None or known == tag:
                task.cancel()
                await asyncio.wait([task])
                await self._send(_trap(Trap("interrupted", INTERRUPTED), known))
        await self._send(reply(b"!done", tag=command.tag))

    def _start(self, command: Command, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._waiting[task] = command.tag
        task.add_done_callback(self._waiting.pop)

    async def _wait_for_turn(self, command: Command, mishap: Mishap | None) -> None:
        box = self._box
        async with box.turn:
            pace = box.faults.calls_per_second
            if pace is not None:
                await asyncio.sleep(1 / pace)
            try:
                await self._serve(command, mishap)
            except _Gone:
                self._writer.close()

    async def _serve(self, command: Command, mishap: Mishap | None) -> None:
        box = self._box
        reboots = box.state.reboots
        if mishap is not None and not box.faults.takes_effect:
            await self._go_wrong(command, mishap, reply(b"!done", tag=command.tag))
            return
        try:
            result = box.console.execute(command, box.clock(), self._grade or Grade.READ)
        except Trap as trap:
            refused = _trap(trap, command.tag)
            await (self._send(refused) if mishap is None else self._go_wrong(command, mishap, refused))
            return
        if result.repeats:
            self._start(command, partial(self._repeat, command))
            return
        if mishap is not None:
            await self._go_wrong(command, mishap, b"".join(self._sentences(result, command.tag)))
            return
        await self._send_result(result, command.tag)
        if box.state.reboots != reboots:
            box.drop_connections()
            raise _Gone

    async def _repeat(self, command: Command) -> None:
        """Give a reading each second until the client cancels."""
        while True:
            result = self._box.console.execute(command, self._box.clock(), self._grade or Grade.READ)
            await self._send(b"".join(reply(b"!re", row.items(), command.tag) for row in result.rows))
            await asyncio.sleep(MONITOR_SECONDS)

    async def _go_wrong(self, command: Command, mishap: Mishap, sound: bytes) -> None:
        """Fail in place of the reply `sound`."""
        tag = command.tag
        if mishap is Mishap.STALL:
            self._stalled = True
        elif mishap is Mishap.FATAL:
            await self._end("out of memory")
        elif mishap is Mishap.CUT:
            await self._send(sound[: len(sound) // 2])
            raise _Gone
        elif mishap is Mishap.REBOOT:
            self._box.reboot()
            raise _Gone
        elif mishap is Mishap.DUPLICATE:
            await self._send(sound + sound)
        else:
            await self._send(_FAULTY_TRAPS[mishap](tag) + reply(b"!done", tag=tag))

    async def _send_result(self, result: Result, tag: bytes | None) -> None:
        """Send rows as they come, a chunk at a time."""
        waiting: list[bytes] = []
        octets = 0
        for sentence in self._sentences(result, tag):
            waiting.append(sentence)
            octets += len(sentence)
            if octets >= CHUNK_OCTETS:
                await self._send(b"".join(waiting))
                waiting, octets = [], 0
        await self._send(b"".join(waiting))

    def _sentences(self, result: Result, tag: bytes | None) -> Iterable[bytes]:
        garbled = self._box.faults.garbled_comments
        empty = result.lists and self._box.state.says_empty
        for row in result.rows:
            empty = False
            yield reply(b"!re", (_garble(row) if garbled and "comment" in row else row).items(), tag)
        if empty and not result.done:
            yield reply(b"!empty", tag=tag)
        yield reply(b"!done", result.done, tag)

    async def _send(self, octets: bytes) -> None:
        size = self._box.faults.write_octets
        if size is None:
            self._writer.write(octets)
        else:
            for at in range(0, len(octets), size):
                self._writer.write(octets[at : at + size])
                await asyncio.sleep(0)
        await self._writer.drain()


def _trap(trap: Trap, tag: bytes | None) -> bytes:
    category = [] if trap.category is None else [("category", str(trap.category))]
    return reply(b"!trap", [*category, ("message", trap.message)], tag) + reply(b"!done", tag=tag)


_FAULTY_TRAPS: Mapping[Mishap, Callable[[bytes | None], bytes]] = {
    Mishap.TRAP: lambda tag: reply(b"!trap", [("message", "failure: internal error")], tag),
    Mishap.BARE_TRAP: lambda tag: reply(b"!trap", [("category", "4")], tag),
    Mishap.GARBLED_TRAP: lambda tag: reply(b"!trap", [("message", f"failure: se{_GARBLED}al perdida")], tag),
}


def _garble(row: Mapping[str, str]) -> Mapping[str, str]:
    return {**row, "comment": row["comment"] + _GARBLED}


async def _quietly(work: Callable[[], Awaitable[None]]) -> None:
    """Do what takes its time; a connection that ends meanwhile is no fault of ours."""
    with suppress(ConnectionError, ssl.SSLError, Trap):
        await work()
