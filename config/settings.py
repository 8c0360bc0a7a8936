"""Decides how one installation runs: addresses, ports, database, retention, logs.

Rule: one TOML file, every key optional; the fields below are the only definition of a key, its default, its check, its
unit and its sentence of documentation. A file with any mistake is refused whole, each mistake with its line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from config.checks import Check, integer, listen_address, one_of, port, show, text, texts
from config.problems import ConfigurationError, Mistake, Problem, Problems
from config.table import Table
from config.toml_lines import find_lines, syntax_error_line

# A request in flight costs memory per worker; beyond this many processes one machine has no more cores to give.
MOST_WORKERS = 64
# draft-ietf-radext-deprecating-radius section 8.3 advises 1 to 10 seconds.
LONGEST_REJECT_DELAY_MILLISECONDS = 10_000
# Holds some 20,000 accounting requests of 200 octets while a commit is slow.
RECEIVE_BUFFER_OCTETS = 4 * 1024 * 1024
LARGEST_RECEIVE_BUFFER_OCTETS = 1024 * 1024 * 1024
# RouterOS sets a queue in some milliseconds; a router that is asked more often than this answers nobody in time.
MOST_COA_PER_SECOND = 10_000
LONGEST_SECRET_OCTETS = 253
# sockaddr_un.sun_path holds 108 octets, one of them the final NUL (unix(7)).
LONGEST_SOCKET_PATH_OCTETS = 107


class SettingsError(ConfigurationError):
    """The configuration file cannot be used."""


class LogLevel(Enum):
    """The least important message that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(Enum):
    """How a message is written; AUTO is CONSOLE on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Key:
    """What a file may say about one key, and what the documentation says about it."""

    section: str
    name: str
    default: object
    unit: str
    meaning: str
    check: Check[object]
    reloadable: bool


def _database_url(value: object) -> str:
    if value == "":
        return ""
    # No part of the value is shown: it may hold a password.
    if not isinstance(value, str) or not value.startswith(("postgresql://", "postgres://")):
        raise Mistake(f"must be empty or like {_URL_EXAMPLE}")
    if not _DATABASE_URL.fullmatch(value):
        raise Mistake(
            f"must be like {_URL_EXAMPLE}, and an @, / or % in user or password is written as %40, %2F or %25"
        )
    return value


_URL_EXAMPLE = '"postgresql://user:password@host:5432/database"'
_DATABASE_URL = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?:[^@/%\s:]|%[0-9A-Fa-f]{2})*(?::(?:[^@/%\s]|%[0-9A-Fa-f]{2})*)?@)?"
    r"(?:HOST(?:,HOST)*)?(?:/(?:[^@/?%\s]|%[0-9A-Fa-f]{2})*)?(?:\?[^\s?]*)?".replace(
        "HOST", r"(?:\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9]+)?\]|(?:[^@/?%\s:,\[\]]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
    )
)
"""Stricter than libpq, which takes what follows an @ in a password for the host and shows it."""


def _socket_path(value: object) -> str:
    if not isinstance(value, str):
        raise Mistake(f"must be a path in quotes, not {show(value)}")
    if "\0" in value or len(value.encode()) > LONGEST_SOCKET_PATH_OCTETS:
        raise Mistake(f"must be a path of at most {LONGEST_SOCKET_PATH_OCTETS} octets, the limit of Unix sockets")
    return value


def _shared_secret(value: object) -> str:
    if not isinstance(value, str) or len(value.encode()) > LONGEST_SECRET_OCTETS:
        raise Mistake(f"must be text in quotes of at most {LONGEST_SECRET_OCTETS} octets")
    return value


def _gateway(value: object) -> str:
    if value not in ("", "stripe"):
        raise Mistake(f'must be empty or "stripe", not {show(value)}')
    return str(value)


def _addresses(value: object) -> tuple[str, ...]:
    return texts(value, listen_address)


def _key(
    default: object, check: Check[Any], meaning: str, *, unit: str = "", reloadable: bool = False, shown: bool = True
) -> Any:
    metadata = {"check": check, "meaning": meaning, "unit": unit, "reloadable": reloadable}
    return field(default=default, metadata=metadata, repr=shown)


_live = partial(_key, reloadable=True)
_PORT = port
"""For sections that have a key of that name."""


@dataclass(frozen=True, slots=True)
class RadiusSettings:
    """Where and how RADIUS is served."""

    listen: str = _key("0.0.0.0", listen_address, "Address that the RADIUS ports listen on; `::` is every address.")
    auth_port: int = _key(1812, port, "Port of Access-Request and Status-Server.", unit="UDP port")
    acct_port: int = _key(1813, port, "Port of Accounting-Request and Status-Server.", unit="UDP port")
    workers: int = _key(
        1, integer(1, MOST_WORKERS), "Processes that share both ports; one more helps only where a core is free.",
        unit="processes",
    )  # fmt: skip
    reject_delay_milliseconds: int | None = _live(
        None,
        integer(0, LONGEST_REJECT_DELAY_MILLISECONDS, "milliseconds"),
        "How long an Access-Reject waits, to slow down guessing; left out, each router's profile decides.",
        unit="milliseconds",
    )
    limit_requests_per_second_per_router: int = _live(
        0, integer(0, 1_000_000), "Requests of one router above this are dropped and counted; 0 is no limit.",
        unit="requests per second",
    )  # fmt: skip
    receive_buffer_octets: int = _key(
        RECEIVE_BUFFER_OCTETS,
        integer(0, LARGEST_RECEIVE_BUFFER_OCTETS, "octets"),
        "Kernel buffer asked for each RADIUS socket, within the kernel's net.core.rmem_max; 0 keeps the kernel's own.",
        unit="octets",
    )
    coa_port: int = _key(
        3799, port, "Port on which CoA- and Disconnect-Requests of `coa_clients` are taken and relayed.",
        unit="UDP port",
    )  # fmt: skip
    coa_clients: tuple[str, ...] = _key(
        (), _addresses, "Addresses that may send CoA- and Disconnect-Requests; none: the port is not opened."
    )
    coa_client_secret: str = _key(
        "", _shared_secret, "The RADIUS secret of `coa_clients`; without it the port is not opened.", shown=False
    )


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Which PostgreSQL holds everything."""

    url: str = _key(
        "",
        _database_url,
        "`postgresql://user:password@host:port/database`; empty: embedded PostgreSQL in the data directory.",
        shown=False,
    )


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where Prometheus reads."""

    listen: str = _key("127.0.0.1", listen_address, "Address that /metrics listens on.")
    port: int = _key(9812, port, "Port of /metrics.", unit="TCP port")
    radius_port: int = _key(
        9813, _PORT, "Port of /metrics of the workers alone (`caudal serve --only radius`).", unit="TCP port"
    )


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Where the `caudal` command reaches its daemon."""

    socket: str = _key(
        "", _socket_path, "Path of the control API's Unix socket; empty: `control.sock` in the data directory."
    )


@dataclass(frozen=True, slots=True)
class AccountingSettings:
    """When a silent session is taken for ended."""

    stale_intervals: int = _live(
        3,
        integer(2, 100),
        "A session silent for this many interim intervals is closed provisionally.",
        unit="intervals",
    )
    stale_default_seconds: int = _live(
        900,
        integer(60, 604_800, "seconds"),
        "The same for sessions whose interim interval is not known.",
        unit="seconds",
    )


@dataclass(frozen=True, slots=True)
class EnforcementSettings:
    """How fast routers are told what their lines may do."""

    coa_per_second: int = _live(
        50,
        integer(1, MOST_COA_PER_SECOND),
        "CoA- and Disconnect-Requests that one router gets at most; a router's own `coa_per_second` goes before this.",
        unit="requests per second",
    )


@dataclass(frozen=True, slots=True)
class CardSettings:
    """Through whom stored cards are charged."""

    gateway: str = _key("", _gateway, 'The dialect of the gateway: `"stripe"`; empty: no cards are charged.')
    url: str = _key("https://api.stripe.com", text(), "Where the gateway answers.")
    key_file: str = _key(
        "", text(empty=True), "File with the gateway's secret key, mode 0600; empty: the credential `caudal.cards.key`."
    )
    webhook_listen: str = _key("127.0.0.1", listen_address, "Address that the gateway's messages arrive at.")
    webhook_port: int = _key(
        0, integer(0, 65_535), "Port of `/cards`, behind a proxy with TLS; 0: no messages are taken.", unit="TCP port"
    )
    webhook_key_file: str = _key(
        "",
        text(empty=True),
        "File with the secret that signs messages, mode 0600; empty: the credential `caudal.cards.webhook`.",
    )


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long the past is kept; daily and hourly roll-ups stay for ever."""

    usage_fact_months: int = _live(13, integer(1, 1200), "Age at which exact usage facts are dropped.", unit="months")
    refusal_days: int = _live(30, integer(1, 36_500), "Age at which refused logins are dropped.", unit="days")
    quarantine_days: int = _live(90, integer(1, 36_500), "Age at which quarantined records are dropped.", unit="days")
    session_months: int = _live(24, integer(1, 1200), "Age at which ended sessions are dropped.", unit="months")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and in which form."""

    level: LogLevel = _live(  # noqa: RUF009 - a field
        LogLevel.INFO, one_of(LogLevel), "Least important message: `debug`, `info`, `warning`, `error`."
    )
    format: LogFormat = _live(  # noqa: RUF009 - a field
        LogFormat.AUTO, one_of(LogFormat), "`json`, `console`, or `auto`: console on a terminal, else JSON."
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one installation decides."""

    radius: RadiusSettings = RadiusSettings()
    database: DatabaseSettings = DatabaseSettings()
    metrics: MetricsSettings = MetricsSettings()
    control: ControlSettings = ControlSettings()
    accounting: AccountingSettings = AccountingSettings()
    enforcement: EnforcementSettings = EnforcementSettings()
    cards: CardSettings = CardSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()


def keys() -> Iterator[Key]:
    """Yield every key there is, in the order of the documentation."""
    for section in fields(Settings):
        for entry in fields(_section_type(section)):
            yield _describe(section.name, entry)


def load(path: Path | None) -> Settings:
    """Read the settings of a file; all defaults without one. Raise SettingsError with every mistake."""
    if path is None:
        return Settings()
    try:
        return parse(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise SettingsError(str(path), (Problem(1, f"cannot be read: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(str(path), (Problem(line, "is not UTF-8 text; save it as UTF-8"),)) from error


def parse(text: str, source: str) -> Settings:
    """Read the settings of a document. Raise SettingsError with every mistake."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(source, (Problem(syntax_error_line(text, error), f"is not TOML: {error}"),)) from error
    problems = Problems(partial(find_lines, text))
    settings = _read(Table(document, (), problems))
    if problems:
        raise SettingsError(source, problems.by_line())
    return settings


def restart_keys(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return the changed keys that only a restart brings into force, as `radius.workers`."""
    return tuple(
        f"{key.section}.{key.name}"
        for key in keys()
        if not key.reloadable and _value(before, key) != _value(after, key)
    )


def in_force(before: Settings, after: Settings) -> Settings:
    """Return what a reload from `before` to `after` brings: the keys that need a restart stay as they were."""
    return Settings(**{section.name: _merge(section.name, before, after) for section in fields(Settings)})


def document(settings: Settings) -> dict[str, dict[str, object]]:
    """Return the settings as a file would have them, for another process; `from_document` reads it."""
    sections: dict[str, dict[str, object]] = {section.name: {} for section in fields(Settings)}
    for key in keys():
        value = _value(settings, key)
        if value is not None:
            sections[key.section][key.name] = _plain(value)
    return sections


def _plain(value: object) -> object:
    """Return a value as a file would have it."""
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def from_document(document: dict[str, Any]) -> Settings:
    """Read what `document` wrote."""
    problems = Problems(lambda paths: dict.fromkeys(paths, 1))
    settings = _read(Table(document, (), problems))
    if problems:
        raise SettingsError("the daemon's settings", problems.by_line())
    return settings


def _merge(section: str, before: Settings, after: Settings) -> Any:
    fresh, old = getattr(after, section), getattr(before, section)
    kept = {entry.name: getattr(old, entry.name) for entry in fields(fresh) if not entry.metadata["reloadable"]}
    return replace(fresh, **kept)


def _value(settings: Settings, key: Key) -> object:
    return getattr(getattr(settings, key.section), key.name)


def _section_type(section: Field[Any]) -> type[Any]:
    return type(section.default)


def _describe(section: str, entry: Field[Any]) -> Key:
    return Key(section, entry.name, entry.default, **entry.metadata)


def _read(document: Table) -> Settings:
    sections = {}
    for section in fields(Settings):
        table = document.table(section.name)
        if table is not None:
            sections[section.name] = _read_section(table, _section_type(section))
    document.finish()
    settings = Settings(**sections)
    if settings.radius.auth_port == settings.radius.acct_port:
        changed = "acct_port" if "acct_port" in _written(document) else "auth_port"
        document.problems.report(("radius", changed), "must differ: auth_port and acct_port cannot be one port")
    return settings


def _written(document: Table) -> Mapping[str, object]:
    radius = document.values.get("radius")
    return radius if isinstance(radius, dict) else {}


def _read_section(table: Table, section: type[Any]) -> Any:
    values = {entry.name: table.take(entry.name, entry.metadata["check"], entry.default) for entry in fields(section)}
    table.finish()
    return section(**values)
