"""The configuration file: its defaults, its mistakes, and its documentation."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest

from config.settings import Key, LogFormat, LogLevel, Settings, SettingsError, keys, load, parse, restart_keys
from config.toml_text import write_value

PROJECT = Path(__file__).parents[3]


def problems_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text, "caudal.toml")
    return [str(problem) for problem in caught.value.problems]


def default_text(key: Key) -> str | None:
    value = key.default.value if isinstance(key.default, Enum) else key.default
    return None if value is None else write_value(value)


def test_no_file_and_an_empty_file_give_the_defaults() -> None:
    assert load(None) == parse("", "caudal.toml") == Settings()


def test_every_key_can_be_set() -> None:
    settings = parse(
        """
        [radius]
        listen = "::1"
        auth_port = 11812
        acct_port = 11813
        workers = 4
        reject_delay_milliseconds = 0
        limit_requests_per_second_per_router = 500
        receive_buffer_octets = 65536
        coa_port = 13799
        coa_clients = ["192.0.2.1"]
        coa_client_secret = "hush"
        [database]
        url = "postgresql://caudal:hush@[2001:db8::1]:5432/caudal"
        [metrics]
        listen = "0.0.0.0"
        port = 19812
        radius_port = 19813
        [control]
        socket = "/run/caudal/control.sock"
        [accounting]
        stale_intervals = 5
        stale_default_seconds = 1800
        [enforcement]
        coa_per_second = 7
        [cards]
        gateway = "stripe"
        url = "https://cards.example.net"
        key_file = "/run/caudal/cards.key"
        webhook_listen = "::1"
        webhook_port = 18443
        webhook_key_file = "/run/caudal/cards.webhook"
        [retention]
        usage_fact_months = 1
        refusal_days = 2
        quarantine_days = 3
        session_months = 4
        [log]
        level = "debug"
        format = "json"
        """,
        "caudal.toml",
    )
    assert settings.radius.listen == "::1"
    assert settings.radius.reject_delay_milliseconds == 0
    assert settings.log.level is LogLevel.DEBUG
    assert settings.log.format is LogFormat.JSON
    unchanged = [key.name for key in keys() if getattr(getattr(settings, key.section), key.name) == key.default]
    assert unchanged == []


def test_every_mistake_is_listed_with_its_line_and_a_hint() -> None:
    assert problems_of(
        "\n".join(
            [
                "[radius]",
                'listen = "224.0.0.1"',
                "auth_prot = 1812",
                "acct_port = 70000",
                "workers = true",
                "reject_delay_milliseconds = -1",
                "[metrics]",
                'listen = "localhost"',
                'port = "9812"',
                "[loging]",
                "[log]",
                'level = "inf"',
                "[database]",
                'url = "mysql://root:hush@host/x"',
                "[control]",
                f'socket = "/{"x" * 107}"',
            ]
        )
    ) == [
        'line 2: radius.listen: must be an address of this machine, which "224.0.0.1" can never be',
        'line 3: radius.auth_prot: is not a known key; did you mean "auth_port"?',
        "line 4: radius.acct_port: must be a whole number from 1 to 65535, not 70000",
        "line 5: radius.workers: must be a whole number from 1 to 64, not true",
        "line 6: radius.reject_delay_milliseconds: must be a whole number of milliseconds from 0 to 10000, not -1",
        'line 8: metrics.listen: must be an address such as "0.0.0.0", not "localhost"',
        'line 9: metrics.port: must be a whole number from 1 to 65535, not "9812"',
        'line 10: loging: is not a known table; did you mean "log"?',
        'line 12: log.level: must be one of "debug", "info", "warning", "error", not "inf"; did you mean "info"?',
        'line 14: database.url: must be empty or like "postgresql://user:password@host:5432/database"',
        "line 16: control.socket: must be a path of at most 107 octets, the limit of Unix sockets",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql://caudal@/isp?host=/run/postgresql",
        "postgresql:///isp",
        "postgresql://caudal:hu%40sh:#1?@db.example:5432/isp?sslmode=require",
        "postgresql://caudal:hush@[2001:db8::1]:5432,other:6432/isp",
        "postgres://caudal:hush@%2Frun%2Fpostgresql/isp",
    ],
)
def test_the_address_of_a_database_may_have_any_right_form(url: str) -> None:
    assert parse(f'[database]\nurl = "{url}"', "caudal.toml").database.url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://caudal:hush@pw@host/isp",
        "postgresql://caudal:hu/shpw@host/isp",
        "postgresql://caudal:hush%zz@host/isp",
        "postgresql://caudal:hu sh@host/isp",
        "postgresql://caudal:hush@[::1/isp",
        "postgresql://caudal:hush@host:port/isp",
        "hush",
    ],
)
def test_a_malformed_address_of_a_database_is_refused_without_showing_it(url: str) -> None:
    (problem,) = problems_of(f'[database]\nurl = "{url}"\n')
    assert problem.startswith("line 2: database.url: must be ")
    assert "hu" not in problem.replace("must", "")


def test_both_radius_ports_cannot_be_one() -> None:
    assert problems_of("[radius]\n\nauth_port = 1813\n") == [
        "line 3: radius.auth_port: must differ: auth_port and acct_port cannot be one port"
    ]


def test_a_section_must_be_a_table() -> None:
    assert problems_of("radius = 1\n") == ["line 1: radius: must be a table, not 1"]


def test_broken_toml_has_its_line() -> None:
    (problem,) = problems_of("[radius]\nlisten = \n")
    assert problem.startswith("line 2: is not TOML: ")


def test_a_file_that_cannot_be_read_or_decoded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "missing.toml")
    broken = tmp_path / "latin.toml"
    broken.write_bytes(b"# fine\n# \xf1\n")
    with pytest.raises(SettingsError, match="line 2: is not UTF-8"):
        load(broken)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "caudal.toml"
    file.write_bytes(b"\xef\xbb\xbf[radius]\nworkers = 2\n")
    assert load(file).radius.workers == 2


def test_the_password_of_the_database_is_not_shown() -> None:
    settings = parse('[database]\nurl = "postgresql://caudal:hush@host/caudal"', "caudal.toml")
    assert "hush" not in repr(settings)
    assert "hush" not in " ".join(problems_of('[database]\nurl = "postgresqll://caudal:hush@host/caudal"'))


def test_keys_that_need_a_restart_are_told_apart() -> None:
    after = parse('[radius]\nworkers = 2\nreject_delay_milliseconds = 5\n[log]\nlevel = "debug"', "caudal.toml")
    assert restart_keys(Settings(), after) == ("radius.workers",)


def test_the_example_holds_every_key_with_its_default() -> None:
    text = (PROJECT / "examples/caudal.toml").read_text()
    assert parse(text, "caudal.toml") == Settings()
    section = ""
    written: dict[tuple[str, str], str | None] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif match := re.fullmatch(r"(# )?(\w+) = (.+)", line):
            written[section, match[2]] = None if match[1] else match[3]
    assert written == {(key.section, key.name): default_text(key) for key in keys()}


def test_the_documentation_holds_every_key_with_default_and_unit() -> None:
    text = (PROJECT / "docs/configuration.md").read_text()
    rows = []
    section = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"## \[(\w+)\]", line):
            section = match[1]
        elif match := re.fullmatch(r"\| `(\w+)` \| (.+?) \| (.+?) \| (yes|no) \| (.+) \|", line):
            rows.append((section, *match.groups()))
    assert rows == [
        (
            key.section,
            key.name,
            "unset" if default_text(key) is None else f"`{default_text(key)}`",
            key.unit or "-",
            "yes" if key.reloadable else "no",
            key.meaning,
        )
        for key in keys()
    ]
