"""The command of the NOC, over a real socket and a real database."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from cli import completion
from cli.client import ControlClient
from cli.errors import CommandError
from cli.main import run
from storage.vault import Vault
from tests.integration.control_daemon import Daemon, Outcome, command
from tests.integration.small_isp import AskedUsage, data_directory, fill, serving


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a data directory that the command finds."""
    with data_directory(monkeypatch) as directory:
        yield directory


@pytest.fixture
def daemon(engine: Engine, data: Path) -> Iterator[Daemon]:
    """Lend a running control server over a database with a small ISP."""
    fill(engine)
    with serving(engine, data, AskedUsage()) as served:
        yield served


@pytest.fixture
def caudal(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Lend the command."""
    return command(capsys)


APPLIED = """
[[router]]
name = "new"
address = "10.9.0.1"
secret = "a-long-shared-secret"
"""


def test_apply_tells_what_it_changed_and_changes_nothing_when_repeated(
    caudal: Callable[..., Outcome], data: Path, engine: Engine
) -> None:
    file = data / "isp.toml"
    file.write_text(APPLIED)
    dry = caudal("apply", str(file), "--dry-run", "--json").json
    assert (dry["dry_run"], dry["changes"][0]["name"]) == (True, "new")
    assert count(engine, "router") == 2
    assert "created" in caudal("apply", str(file)).out
    assert count(engine, "router") == 3
    assert caudal("apply", str(file), "--json").json["changes"] == []


def test_apply_lists_every_mistake_by_line(caudal: Callable[..., Outcome], data: Path, engine: Engine) -> None:
    file = data / "isp.toml"
    file.write_text(APPLIED + 'colour = "red"\ncoa_port = 99999\n')
    outcome = caudal("apply", str(file))
    assert outcome.status == 1
    assert f"{file}:6:" in outcome.err
    assert f"{file}:7:" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("caudal: ")
    assert count(engine, "router") == 2


def test_apply_tells_its_mistakes_to_a_program_too(caudal: Callable[..., Outcome], data: Path) -> None:
    file = data / "isp.toml"
    file.write_text(APPLIED + 'colour = "red"\ncoa_port = 99999\n')
    outcome = caudal("apply", str(file), "--json")
    assert outcome.status == 1
    error = outcome.json["error"]
    assert error["code"] == "mistakes"
    assert [(problem["file"], problem["line"]) for problem in error["problems"]] == [(str(file), 6), (str(file), 7)]
    assert all(problem["message"] for problem in error["problems"])
    assert outcome.err == f"caudal: {error['message']}\n"


def count(engine: Engine, table: str) -> int:
    """Count the rows of a table."""
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_session_list_as_json_has_what_integrators_were_promised(caudal: Callable[..., Outcome]) -> None:
    items = caudal("session", "list", "--past", "--json").json
    assert len(items) == 7
    promised = {
        "id", "login", "router", "acct_session_id", "address", "mac", "started_at", "updated_at", "stopped_at",
        "terminate_cause", "octets_up", "octets_down",
    }  # fmt: skip
    assert promised <= set(items[0])


def test_tables_are_aligned(caudal: Callable[..., Outcome]) -> None:
    lines = caudal("session", "list").out.splitlines()
    assert lines[0].startswith("LOGIN        ADDRESS     ROUTER")
    assert {line.index("100.64.0.1") for line in lines[1:]} == {lines[0].index("ADDRESS")}


def test_a_listing_that_goes_on_says_so(caudal: Callable[..., Outcome]) -> None:
    outcome = caudal("service", "list", "--limit", "2")
    assert len(outcome.out.splitlines()) == 3
    assert "--all" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("router", "list"),
        ("router", "show", "tower-north"),
        ("pool", "list"),
        ("pool", "show", "homes"),
        ("plan", "list"),
        ("plan", "show", "home-20"),
        ("customer", "list"),
        ("customer", "show", "ana"),
        ("service", "list"),
        ("service", "show", "ana@example"),
        ("service", "show", "cpe/7 ñ"),
        ("session", "list"),
        ("session", "show", "2"),
        ("session", "watch", "--once"),
        ("usage", "ana@example"),
        ("login", "list"),
        ("quarantine", "list"),
    ],
)
def test_every_question_is_answered_for_people_and_for_programs(
    caudal: Callable[..., Outcome], arguments: tuple[str, ...]
) -> None:
    people = caudal(*arguments)
    assert (people.status, people.out != "") == (0, True), people.err
    programs = caudal(*arguments, "--json")
    assert programs.status == 0
    assert programs.json
    assert "sealed" not in people.out + programs.out


def test_data_may_stand_before_and_after_the_command(
    caudal: Callable[..., Outcome], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAUDAL_DATA")
    for arguments in (
        ("--data", str(data), "session", "list"),
        ("session", "--data", str(data), "list"),
        ("session", "list", "--data", str(data)),
        ("--data", "/nowhere", "session", "list", "--data", str(data)),
    ):
        assert caudal(*arguments).status == 0, arguments


def test_without_a_daemon_the_socket_that_was_tried_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["session", "list"]) == 1
    error = capsys.readouterr().err
    assert str(data / "control.sock") in error
    assert "caudal serve" in error
    assert len(error.splitlines()) == 1


def test_a_daemon_that_breaks_off_is_one_sentence(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "control.sock"))
        listener.listen()

        def hang_up() -> None:
            accepted, _ = listener.accept()
            accepted.recv(1000)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            accepted.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(CommandError, match="broke off"):
            ControlClient(data).get("/v1/status")
        thread.join()


def test_names_are_completed_from_the_daemon(
    caudal: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_CAUDAL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "caudal service show a")
    monkeypatch.setenv("COMP_CWORD", "3")
    # Longer than a person at a prompt: the machine may be busy.
    monkeypatch.setattr(completion, "PATIENCE_SECONDS", 20.0)
    assert caudal().out.split() == ["plain,ana@example"]


def test_completion_without_a_daemon_is_silent(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_CAUDAL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "caudal service show a")
    monkeypatch.setenv("COMP_CWORD", "3")
    run([])
    captured = capsys.readouterr()
    assert (captured.out.strip(), captured.err) == ("", "")


@pytest.mark.parametrize("arguments", [["list", "--json"], ["list"], ["watch", "--json"]])
def test_a_reader_that_goes_away_ends_the_command_without_a_word(daemon: Daemon, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "from cli.main import main; main()", "session", *arguments]
    outcome = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writing)
    assert (outcome.returncode, outcome.stderr) == (1, b"")


HEADER = "login,password,plan,address\n"


def test_import_takes_all_rows_and_is_idempotent(caudal: Callable[..., Outcome], data: Path, engine: Engine) -> None:
    seal(engine, data)
    rows = "".join(f"line-{number},secret,free,\n" for number in range(3000))
    file = write(data / "services.csv", HEADER + rows)
    assert caudal("import", "services", str(file), "--json").json == {"created": 3000, "updated": 0, "unchanged": 0}
    assert count(engine, "service") == 3004
    assert caudal("import", "services", str(file)).out == "0 created, 0 updated, 3,000 unchanged\n"


def test_import_takes_nothing_and_lists_bad_rows_by_line(
    caudal: Callable[..., Outcome], data: Path, engine: Engine
) -> None:
    rows = "good,secret,free,\nbad,secret,gold,\nworse,secret,free,10.0.0.999\n"
    file = write(data / "services.csv", HEADER + rows)
    outcome = caudal("import", "services", str(file))
    assert outcome.status == 1
    assert [line.split(": ")[0] for line in outcome.err.splitlines()] == [f"{file}:3", f"{file}:4", "caudal"]
    assert count(engine, "service") == 4


def test_import_refuses_what_is_not_utf_8_by_its_line(caudal: Callable[..., Outcome], data: Path) -> None:
    file = data / "services.csv"
    file.write_bytes(HEADER.encode() + b"good,secret,free,\nb\xf1,secret,free,\n")
    assert f"{file}:3: is not UTF-8" in caudal("import", "services", str(file)).err


def test_an_import_whose_client_goes_away_leaves_nothing(daemon: Daemon, engine: Engine) -> None:
    gone = threading.Event()

    def rows() -> Iterator[bytes]:
        yield HEADER.encode()
        yield b"".join(f"line-{number},secret,free,\n".encode() for number in range(20_000))
        gone.wait(30)

    events = ControlClient(daemon.data).upload("/v1/import/services", rows(), "text/csv")
    assert isinstance(events, Generator)
    assert next(events)["event"] == "progress"
    events.close()
    gone.set()
    # The import holds the lock of every writer until it has ended, one way or the other.
    with engine.begin() as connection:
        connection.execute(text("SELECT revision FROM configuration_revision FOR UPDATE"))
    assert count(engine, "service") == 4


def test_export_goes_to_a_file_of_its_owner_alone_and_applies_without_a_change(
    caudal: Callable[..., Outcome], data: Path, engine: Engine
) -> None:
    seal(engine, data)
    file = data / "exported.toml"
    assert caudal("export", "--secrets", "-o", str(file)).status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "open-secret" in file.read_text()
    assert "open-secret" not in caudal("export").out
    assert caudal("apply", str(file)).status == 0
    assert "0 created, 0 updated" in caudal("apply", str(file)).out


def test_an_export_whose_secrets_cannot_be_opened_leaves_no_file(caudal: Callable[..., Outcome], data: Path) -> None:
    outcome = caudal("export", "--secrets", "-o", str(data / "exported.toml"))
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert list(data.glob("*exported*")) == []


def seal(engine: Engine, data: Path) -> None:
    """Give every secret of the small ISP a value that the daemon's vault opens."""
    vault = Vault.open_directory(data)
    with engine.begin() as connection:
        for name in ("tower-north", "tower-south"):
            sealed = vault.seal(b"open-secret-of-a-router", f"router:{name}".encode())
            password = vault.seal(b"open-secret-of-an-api", f"api:{name}".encode())
            connection.execute(
                text(
                    "UPDATE router SET secret = :sealed, api_password = CASE WHEN api_user IS NOT NULL THEN "
                    "CAST(:password AS bytea) END WHERE name = :name"
                ),
                {"name": name, "sealed": sealed, "password": password},
            )
        for (login,) in connection.execute(text("SELECT login FROM service")).all():
            sealed = vault.seal(bytes(32) + b"open-secret", f"service:{login}".encode())
            connection.execute(
                text("UPDATE service SET secret = :sealed WHERE login = :login"), {"login": login, "sealed": sealed}
            )


def write(file: Path, content: str) -> Path:
    """Write a file and return it."""
    file.write_text(content)
    return file
