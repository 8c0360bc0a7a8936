"""Bad input at every door: one clear error, an exit status that tells, and nothing half done."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.system.daemon_process import SECRET, DaemonProcess

ISP = f"""
[isp]
name = "Valdelagua"
[[router]]
name = "tower"
address = "127.0.0.18"
secret = "{SECRET.decode()}"
[[pool]]
name = "pool"
range = "100.64.0.0/24"
kind = "ipv4"
[[plan]]
name = "plan"
pool = "pool"
[[customer]]
login = "ana"
name = "Ana"
[[service]]
login = "ana"
password = "rio-2741"
plan = "plan"
customer = "ana"
"""
TABLES = ("isp", "router", "pool", "plan", "customer", "service", "session", "lease", "refusal", "quarantine")
SECRETS = ("rio-2741", SECRET.decode(), "hush")

HOSTILE_TEXTS = (
    "'; DROP TABLE service; --",
    '" OR ""="',
    "ana' UNION SELECT secret FROM service --",
    "%00",
    "../../../etc/passwd",
    "{{7*7}}${7*7}",
    "\x1b[31mred",
    "a\nb",
    "%s%n%x",
    "\u202eevil",
    "😀" * 60,
    "x" * 10_000,
    "NULL",
    "-1",
    "",
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Lend a daemon that is provisioned."""
    process = DaemonProcess(tmp_path_factory.mktemp("daemon"))
    try:
        process.start()
        process.apply(ISP)
        yield process
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert "control_request_failed" not in log, log
    finally:
        process.discard()


@pytest.fixture
def untouched(daemon: DaemonProcess) -> Iterator[DaemonProcess]:
    """Lend the daemon and check that nothing in it was changed."""
    before = contents(daemon)
    yield daemon
    assert contents(daemon) == before


def contents(daemon: DaemonProcess) -> dict[str, object]:
    """Return everything that is provisioned, and how many rows there are of what is not."""
    counts: dict[str, object] = {table: daemon.query(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    counts["revision"] = daemon.query("SELECT revision FROM configuration_revision")[0][0]
    counts["export"] = daemon.caudal("export", "--secrets")
    return counts


# The configuration file.

BAD_CONFIGURATIONS = {
    "no TOML": ("[radius\nauth_port = 1812\n", "line 1"),
    "an unknown key": ("[radius]\nauth_prot = 1812\n", "line 2"),
    "an unknown section": ("[radiuz]\n", "line 1"),
    "a port out of range": ("[radius]\nauth_port = 70000\n", "line 2"),
    "one port twice": ("[radius]\nauth_port = 1813\n", "line 2"),
    "a text for a number": ('[radius]\nworkers = "two"\n', "line 2"),
    "a number for a text": ("[radius]\nlisten = 5\n", "line 2"),
    "no address": ('[radius]\nlisten = "localhost:1"\n', "line 2"),
    "a bad address of the database": ('[database]\nurl = "mysql://hush@host/db"\n', "line 2"),
    "a bad log level": ('[log]\nlevel = "loud"\n', "line 2"),
    "a list for a section": ("radius = [1, 2]\n", "line 1"),
    "octets that are no text": ('[log]\nlevel = "\udcff"\n', "line 2"),
}


@pytest.mark.parametrize(
    ("command", "what"),
    [*(("serve", what) for what in BAD_CONFIGURATIONS), ("check", "an unknown key"), ("migrate", "an unknown key")],
)
def test_configuration_with_a_mistake_is_refused_by_line(tmp_path: Path, command: str, what: str) -> None:
    text, line = BAD_CONFIGURATIONS[what]
    config, data = tmp_path / "caudal.toml", tmp_path / "data"
    config.write_bytes(text.encode("utf-8", "surrogateescape"))
    status, out, err = run("--data", str(data), command, "--config", str(config))
    told = err + out
    assert status == 1
    assert line in told
    assert_clean(told)
    assert not (data / "postgresql").exists(), "something was begun in spite of the mistake"


def test_every_mistake_of_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "caudal.toml"
    config.write_text('[radius]\nauth_port = 0\nworkers = -1\n[log]\nlevel = "loud"\ncolour = true\n')
    status, out, err = run("--data", str(tmp_path / "data"), "check", "--config", str(config))
    assert status == 1
    for line in (2, 3, 5, 6):
        assert f"line {line}" in out + err
    assert_clean(out + err)


# The command line.

BAD_COMMANDS = (
    (["serv"], 2),
    (["serve", "--no-such-option"], 2),
    (["serve", "--config", "/no/such/file"], 2),
    (["session", "list", "--limit", "many"], 2),
    (["usage"], 2),
    (["usage", "ana", "--by", "fortnight"], 2),
    (["apply"], 2),
    (["apply", "/no/such/file.toml"], 2),
    (["import", "services", "/no/such/file.csv"], 2),
    (["simulate", "--loss", "101"], 2),
    (["simulate", "--routers", "0"], 2),
    (["session", "show", "first"], 2),
    (["session", "show", "999999999999"], 1),
    (["service", "show", "nobody"], 1),
    (["usage", "nobody"], 1),
    (["service", "list", "--plan", "x" * 10_000], 1),
)


@pytest.mark.parametrize(("arguments", "status"), BAD_COMMANDS, ids=[" ".join(each)[:30] for each, _ in BAD_COMMANDS])
def test_misused_command_says_what_in_one_line(untouched: DaemonProcess, arguments: list[str], status: int) -> None:
    ended, out, err = run("--data", str(untouched.data), *arguments)
    assert ended == status, err
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("caudal: ")
    assert_clean(err)


def test_command_without_a_daemon_says_how_to_start_one(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing", Path("/dev/null")):
        status, _, err = run("--data", str(place), "session", "list")
        assert status in (1, 2)
        assert err.count("\n") == 1, err
        assert_clean(err)


# Files.

BAD_ISPS = {
    "no TOML": ("[[router\n", 1),
    "an unknown kind": ('[[ruter]]\nname = "x"\n', 1),
    "an unknown key": ('[[plan]]\nname = "good"\n[[plan]]\nname = "x"\nspeed = "20M"\n', 5),
    "a missing key": ('[[router]]\nname = "x"\n', 1),
    "a bad rate": ('[[plan]]\nname = "x"\ndownload = "fast"\n', 3),
    "a negative rate": ('[[plan]]\nname = "x"\ndownload = "-5M"\n', 3),
    "a bad address": ('[[router]]\nname = "x"\naddress = "10.0.0.300"\nsecret = "hush"\n', 3),
    "a plan that is not there": ('[[service]]\nlogin = "x"\npassword = "hush"\nplan = "golden"\n', 4),
    "a pool that is not there": ('[[plan]]\nname = "x"\npool = "none"\n', 3),
    "a name twice": ('[[plan]]\nname = "x"\n[[plan]]\nname = "x"\n', 3),
    "a NUL": ('[[plan]]\nname = "x\\u0000y"\n', 2),
    "a time zone nobody has": ('[isp]\nname = "x"\ntimezone = "Europe/Valdelagua"\n', 3),
    "a reply attribute nobody knows": (
        '[[service]]\nlogin = "x"\npassword = "hush"\nplan = "plan"\nattributes = { "No-Such" = "1" }\n', 5,
    ),
    "a reply attribute that does not fit": (
        '[[service]]\nlogin = "x"\npassword = "hush"\nplan = "plan"\nattributes = { "Framed-IP-Address" = "far" }\n', 5,
    ),
    "a good part and a bad one": ('[[plan]]\nname = "new"\n[[plan]]\nname = ""\n', 4),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_ISPS)
def test_isp_file_with_a_mistake_changes_nothing(untouched: DaemonProcess, tmp_path: Path, what: str) -> None:
    text, line = BAD_ISPS[what]
    path = tmp_path / "isp.toml"
    path.write_text(text)
    err = untouched.caudal("apply", str(path), expect=1)
    assert f"{path}:{line}: " in err
    assert_clean(err)


def test_file_that_is_no_text_changes_nothing(untouched: DaemonProcess, tmp_path: Path) -> None:
    path = tmp_path / "isp.toml"
    for octets in (os.urandom(4096), b"\xff\xfe[\0i\0s\0p\0", b"\0" * 100):
        path.write_bytes(octets)
        for command in (("apply",), ("import", "services")):
            assert_clean(untouched.caudal(*command, str(path), expect=1))


GOOD_ROW = "new-{},hush-{},plan,ana\n"
BAD_ROWS = {
    "no plan of that name": "x,hush,golden,ana\n",
    "no login": ",hush,plan,ana\n",
    "too many columns": "x,hush,plan,ana,more\n",
    "too few columns": "x,hush\n",
    "a quote that never ends": 'x,"hush,plan,ana\n',
    "the same login twice": "new-1,hush,plan,ana\n",
    "a NUL": "x\0y,hush,plan,ana\n",
    "a customer that is not there": "x,hush,plan,nobody\n",
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_csv_with_one_bad_row_changes_nothing(untouched: DaemonProcess, tmp_path: Path, what: str) -> None:
    path = tmp_path / "services.csv"
    rows = [GOOD_ROW.format(number, number) for number in range(50)]
    path.write_text("login,password,plan,customer\n" + "".join(rows) + BAD_ROWS[what] + "z,hush,plan,ana\n")
    err = untouched.caudal("import", "services", str(path), expect=1)
    assert f"{path}:52: " in err
    assert_clean(err)


def test_csv_with_a_bad_header_changes_nothing(untouched: DaemonProcess, tmp_path: Path) -> None:
    path = tmp_path / "services.csv"
    for header in ("", "\n", "login,login,plan\n", "user,password,plan\n", "login;password;plan\n"):
        path.write_text(header + "x,hush,plan\n")
        assert_clean(untouched.caudal("import", "services", str(path), expect=1))


# The control API.

UNFINISHED_IMPORT = (
    b"POST /v1/import/services HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"20\r\nlogin,password,plan\nq,hush,plan\n\r\n"
)


def test_api_refuses_broken_requests_in_its_one_shape(untouched: DaemonProcess) -> None:
    for method, path, body, status in (
        ("GET", "/v1/nothing", b"", 404),
        ("GET", "/", b"", 404),
        ("DELETE", "/v1/services", b"", 405),
        ("GET", "/v1/apply", b"", 405),
        ("POST", "/v1/sessions", b"{}", 405),
        ("POST", "/v1/apply", b"{broken", 400),
        ("POST", "/v1/apply", b"[[plan]]\nname = 5\n", 400),
        ("POST", "/v1/apply", b"\xff\xfe", 400),
        ("POST", "/v1/apply?dry_run=perhaps", b"", 400),
        ("GET", "/v1/sessions?limit=0", b"", 400),
        ("GET", "/v1/sessions?limit=1e9", b"", 400),
        ("GET", "/v1/sessions?limit=99999999999999999999", b"", 400),
        ("GET", "/v1/sessions?after=yesterday", b"", 400),
        ("GET", "/v1/sessions?after=9-9-9", b"", 400),
        ("GET", "/v1/sessions?since=2026-13-45", b"", 400),
        ("GET", "/v1/sessions?since=2026-01-01T00:00:00", b"", 400),
        ("GET", "/v1/sessions?show=some", b"", 400),
        ("GET", "/v1/sessions/abc", b"", 400),
        ("GET", "/v1/sessions/99999999999999999999999", b"", 400),
        ("GET", "/v1/sessions/77", b"", 404),
        ("GET", "/v1/services/nobody", b"", 404),
        ("GET", "/v1/logins?reason=%00", b"", 400),
    ):
        answered, error = ask(untouched, method, path, body)
        assert answered == status, f"{method} {path}: {answered} {error}"
        assert error["error"]["message"]
        assert_clean(json.dumps(error))


def test_hostile_texts_in_every_parameter_find_nothing_and_break_nothing(untouched: DaemonProcess) -> None:
    status, document = ask(untouched, "GET", "/openapi.json")
    assert status == 200
    questions = 0
    for path, methods in document["paths"].items():
        if "get" not in methods or "watch" in path:
            continue
        parameters = methods["get"].get("parameters", [])
        for text in HOSTILE_TEXTS:
            for parameter in parameters:
                filled = path
                for each in parameters:
                    if each["in"] == "path":
                        filled = filled.replace("{" + each["name"] + "}", quote(text or "-", safe=""))
                query = f"?{parameter['name']}={quote(text, safe='')}" if parameter["in"] == "query" else ""
                answered, answer = ask(untouched, "GET", filled + query)
                assert answered in (200, 400, 404, 414), f"{filled + query}: {answered} {answer}"
                assert_clean(json.dumps(answer))
                questions += 1
    assert questions > 300


def test_hostile_texts_in_every_field_are_kept_as_they_are_or_refused(untouched: DaemonProcess) -> None:
    for text in HOSTILE_TEXTS:
        for kind, key in (
            ("customer", "login"),
            ("customer", "name"),
            ("customer", "email"),
            ("customer", "phone"),
            ("plan", "name"),
            ("service", "login"),
            ("service", "password"),
            ("router", "name"),
            ("router", "identifier"),
            ("pool", "name"),
            ("isp", "name"),
        ):
            whole = {
                "customer": {"login": "x", "name": "X"},
                "plan": {"name": "x"},
                "service": {"login": "x", "password": "hush", "plan": "plan"},
                "router": {"name": "x", "address": "127.0.0.99", "secret": "hush-secret-of-x"},
                "pool": {"name": "x", "range": "100.65.0.0/24", "kind": "ipv4"},
                "isp": {"name": "x"},
            }[kind] | {key: text}
            heading = "[isp]" if kind == "isp" else f"[[{kind}]]"
            document = "\n".join((heading, *(f"{name} = {toml(value)}" for name, value in whole.items())))
            answered, answer = ask(untouched, "POST", "/v1/apply?dry_run=true", document.encode())
            assert answered in (200, 400), f"{kind} {key} {text!r}: {answered} {answer}"
            assert_clean(json.dumps(answer), *(() if key != "password" else (text,)))


def test_api_survives_what_is_no_http(untouched: DaemonProcess) -> None:
    for octets in (
        b"\0" * 1000,
        os.urandom(2000),
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n" + b"x: y\r\n" * 100_000 + b"\r\n",
        b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[[plan]]\nname = 'half'",
        UNFINISHED_IMPORT,
    ):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(10)
            raw.connect(str(untouched.control_socket))
            try:
                raw.sendall(octets)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                # Refused before everything was read.
                pass
        assert ask(untouched, "GET", "/v1/status")[0] == 200


def test_api_refuses_a_document_that_is_too_large(untouched: DaemonProcess) -> None:
    connection = open_connection(untouched)
    connection.putrequest("POST", "/v1/apply")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    portion = b"# " + b"x" * (1 << 20) + b"\n"
    try:
        for _ in range(70):
            connection.send(b"%x\r\n%b\r\n" % (len(portion), portion))
        connection.send(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        # The answer comes before the end of the document.
        pass
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.load(answer)["error"]["code"] == "too_large"
    connection.close()


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the `caudal` command; return its exit status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def assert_clean(told: str, *more_secrets: str) -> None:
    """Check that a complaint is for people: no traceback, and no secret in it."""
    assert "Traceback" not in told
    assert "fault of caudal" not in told
    for secret in (*SECRETS, *(known for known in more_secrets if len(known) > 4)):
        assert secret not in told, told


def toml(text: str) -> str:
    """Return `text` as a TOML string."""
    return '"' + "".join(f"\\U{ord(character):08X}" for character in text) + '"'


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def open_connection(daemon: DaemonProcess) -> _UnixConnection:
    """Return a connection to the control API."""
    return _UnixConnection(daemon.control_socket)


def ask(daemon: DaemonProcess, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Send one request; return the status and the JSON of the answer."""
    connection = open_connection(daemon)
    try:
        connection.request(method, path, body or None)
        answer = connection.getresponse()
        octets = answer.read()
        return answer.status, json.loads(octets) if "json" in answer.headers.get(
            "content-type", ""
        ) else octets.decode()
    finally:
        connection.close()
