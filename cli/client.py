"""The command's side of the control API: HTTP over the daemon's Unix socket.

Rule: an answer is JSON as the API documents it; every failure, of the socket or of the daemon, ends as one sentence
that says what to do.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cli.errors import CommandError, DaemonError, Problem
from control.socket_path import NAME, within_limit

LARGEST_PAGE = 1000
"""What the API gives at once."""
ANSWER_SECONDS = 60.0
"""The slowest question, a listing over a hundred million sessions, takes a third of it."""
PIECE_OCTETS = 65_536

Item = dict[str, Any]
Parameters = Mapping[str, object]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with within_limit(self._path) as name:
            self.sock.connect(name)


class ControlClient:
    """Asks the daemon of one data directory."""

    def __init__(self, data: Path, timeout: float | None = ANSWER_SECONDS) -> None:
        self._data = data
        self._path = data / NAME
        self._timeout = timeout

    def get(self, path: str, parameters: Parameters | None = None) -> Item:
        """Return the object at `path`."""
        with self._answer("GET", path, parameters) as response:
            answer = json.load(response)
        assert isinstance(answer, dict)
        return answer

    def pieces(self, path: str, parameters: Parameters | None = None) -> Iterator[bytes]:
        """Yield the document at `path` as it comes."""
        with self._answer("GET", path, parameters) as response:
            while piece := response.read1():
                yield piece

    def post(self, path: str, body: bytes, kind: str, parameters: Parameters | None = None) -> Item:
        """Send a document and return the answer."""
        with self._answer("POST", path, parameters, body=body, kind=kind) as response:
            answer = json.load(response)
        assert isinstance(answer, dict)
        return answer

    def post_json(self, path: str, order: Item) -> Item:
        """Send an object and return the answer."""
        return self.post(path, json.dumps(order).encode(), "application/json")

    def post_for_document(self, path: str, order: Item) -> bytes:
        """Send an object and return the document that is the answer."""
        with self._answer("POST", path, None, body=json.dumps(order).encode(), kind="application/json") as response:
            return bytes(response.read())

    def order_lines(self, path: str, order: Item) -> Iterator[Item]:
        """Send an object and yield the objects of the answer, one a line, as they come."""
        with self._answer("POST", path, None, body=json.dumps(order).encode(), kind="application/json") as response:
            yield from _objects(response)

    def pages(self, path: str, parameters: Parameters, limit: int | None) -> Iterator[tuple[list[Item], bool]]:
        """Yield the pages of a listing up to `limit` items, each with whether others follow it."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            size = LARGEST_PAGE if left is None else min(left, LARGEST_PAGE)
            answer = self.get(path, {**parameters, "limit": size, "after": after})
            # Short listings come whole, whatever was asked for.
            items, after = answer["items"][:left], answer["next"]
            more = after is not None or len(answer["items"]) > len(items)
            left = None if left is None else left - len(items)
            yield items, more
            if after is None:
                return

    def lines(self, path: str, parameters: Parameters | None = None) -> Iterator[Item]:
        """Yield the objects of a stream, one a line, as they come."""
        with self._answer("GET", path, parameters) as response:
            yield from _objects(response)

    def upload(self, path: str, chunks: Iterable[bytes], kind: str) -> Iterator[Item]:
        """Send `chunks` while the objects of the answer are yielded as they come."""
        with self._failures():
            connection = UnixConnection(self._path, self._timeout)
            connection.putrequest("POST", path)
            connection.putheader("Content-Type", kind)
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            sender = threading.Thread(target=_send, args=(connection.sock, chunks), daemon=True)
            sender.start()
            try:
                response = connection.getresponse()
                _refuse(response)
                yield from _objects(response)
            finally:
                connection.close()

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        parameters: Parameters | None,
        *,
        body: bytes | None = None,
        kind: str | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        with self._failures():
            connection = UnixConnection(self._path, self._timeout)
            try:
                headers = {} if kind is None else {"Content-Type": kind}
                connection.request(method, _target(path, parameters), body, headers)
                response = connection.getresponse()
                _refuse(response)
                yield response
            finally:
                connection.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise CommandError(
                f"no daemon answers at {self._path}; start it with `caudal serve --data {self._data}`, "
                "or name its directory with --data DIR"
            ) from error
        except PermissionError as error:
            raise CommandError(
                f"this user may not speak to the daemon at {self._path}; run the command as the daemon's user"
            ) from error
        except TimeoutError as error:
            raise CommandError(
                f"the daemon at {self._path} did not answer within {self._timeout:g} s; see its log, and try again"
            ) from error
        except (http.client.HTTPException, ConnectionError, json.JSONDecodeError) as error:
            raise CommandError(
                f"the daemon at {self._path} broke off its answer; see its log, and try again"
            ) from error


def segment(name: str) -> str:
    """Return `name` as one part of a path."""
    return quote(name, safe="")


def _target(path: str, parameters: Parameters | None) -> str:
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _objects(response: http.client.HTTPResponse) -> Iterator[Item]:
    for line in _lines(response):
        item = json.loads(line)
        if "error" in item:
            raise _error(item["error"])
        yield item


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield lines as they come. Raise IncompleteRead where the answer breaks off: `readline` takes that for its end."""
    rest = b""
    while piece := response.read1(PIECE_OCTETS):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _refuse(response: http.client.HTTPResponse) -> None:
    if response.status < 400:
        return
    raise _error(json.load(response)["error"])


def _error(error: Item) -> DaemonError:
    problems = tuple(
        Problem(problem["line"], problem["message"]) for problem in error["problems"] if problem["line"] is not None
    )
    message = error["message"] + (f"; {error['hint']}" if error["hint"] else "")
    return DaemonError(error["code"], message, problems)


def _send(connection: socket.socket, chunks: Iterable[bytes]) -> None:
    try:
        for chunk in chunks:
            connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        connection.sendall(b"0\r\n\r\n")
    except OSError:
        # The daemon refused before it had everything; its answer says why.
        return
