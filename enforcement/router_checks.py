"""Judges what was read from a router: what is wrong between it and us, and which command corrects it.

Rule: every check says something, also that all is well or that it could not look; a fact that was not read is None.
An error keeps the router from obeying or from telling usage; a warning makes either worse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from typing import NamedTuple

from enforcement import routeros_values as values
from enforcement.routeros_entries import Row
from radius.dynamic_authorization import REPLAY_WINDOW_SECONDS

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII).fullmatch
_OLD_DATE = re.compile(r"([a-z]{3})/(\d\d)/(\d{4})", re.ASCII).fullmatch
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)", re.ASCII).fullmatch
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII).fullmatch
LARGEST_CLOCK_OFFSET_SECONDS = 5
"""Beyond it usage falls into the wrong hour visibly; beyond 120 s the router's time is not believed at all."""


class Check(Enum):
    """What is looked at; the values are shown."""

    SECRET = "secret"  # noqa: S105 - the name of a check
    CLOCK = "clock"
    API = "api"
    RADIUS = "radius"
    INCOMING = "incoming"
    PPP = "ppp"
    HOTSPOT = "hotspot"
    DHCP = "dhcp"
    FAST_TRACK = "fasttrack"


class Level(Enum):
    """How bad it is; the values are shown."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    ERROR = "error"


class Probe(Enum):
    """What became of a Disconnect-Request for a session that does not exist."""

    ANSWERED = "answered"
    """A NAK whose authenticator is right: both sides have one secret."""
    WRONG_AUTHENTICATOR = "wrong_authenticator"
    REFUSED = "refused"
    """The router's network says that nothing listens at that port (ICMP port unreachable)."""
    SILENT = "silent"
    """Neither an answer nor a word that the port is shut."""


class Finding(NamedTuple):
    """One thing about a router; `correct` is a command of RouterOS, or what to do here."""

    check: Check
    level: Level
    text: str
    correct: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the router should be like."""

    server: str
    coa_port: int
    authentication_port: int = 1812
    accounting_port: int = 1813
    interim_seconds: int = 300
    is_routeros: bool = True
    """Whether commands of RouterOS correct it."""


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """What was read; None where it was not."""

    probe: Probe | None = None
    clock_offset_seconds: float | None = None
    """The router's clock less ours."""
    api: str | None = None
    """Why the API could not be used; empty when it could."""
    radius: tuple[Row, ...] | None = None
    incoming: Row | None = None
    ppp_aaa: Row | None = None
    hotspot_profiles: tuple[Row, ...] | None = None
    dhcp_config: Row | None = None
    fast_track_rules: int | None = None


def router_time(row: Row) -> datetime | None:
    """Return what `/system/clock` shows; None where it shows it in a way that we do not know."""
    day, hour = _date(row.get("date", "")), _TIME(row.get("time", ""))
    offset = _offset(row.get("gmt-offset", ""))
    if day is None or hour is None or offset is None:
        return None
    try:
        return datetime.combine(date(*day), time(int(hour[1]), int(hour[2]), int(hour[3])), timezone(offset))
    except ValueError:
        return None


def _date(text: str) -> tuple[int, int, int] | None:
    """Read 2026-11-23 of RouterOS 7.10 and later, and nov/23/2026 of those before."""
    new, old = _ISO_DATE(text), _OLD_DATE(text.lower())
    if new is not None:
        return int(new[1]), int(new[2]), int(new[3])
    if old is None or old[1] not in _MONTHS:
        return None
    return int(old[3]), _MONTHS.index(old[1]) + 1, int(old[2])


def _offset(text: str) -> timedelta | None:
    """Read +01:00, and the seconds that the API of old versions shows, which wrap below zero at 2^32."""
    match = _OFFSET(text)
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return -offset if match[1] == "-" else offset
    if not (text.isascii() and text.isdigit()):
        return None
    seconds = int(text)
    return timedelta(seconds=seconds - (1 << 32) if seconds >= 1 << 31 else seconds)


def checks(expected: Expected, facts: RouterFacts) -> list[Finding]:
    """Return a finding or several for every check, in the order in which they are best corrected."""
    judges: tuple[Callable[[Expected, RouterFacts], list[Finding]], ...] = (
        _api,
        _radius,
        _secret,
        _incoming,
        _clock,
        _ppp,
        _hotspot,
        _dhcp,
        _fast_track,
    )
    return [finding for judge in judges for finding in judge(expected, facts)]


def _unread(check: Check) -> list[Finding]:
    return [Finding(check, Level.UNKNOWN, "not read: the router's API was not reached")]


def _on(row: Row, name: str) -> bool:
    return values.flag(row.get(name, ""))


def _seconds(text: str) -> int:
    try:
        return values.seconds(text)
    except ValueError:
        return 0


def _api(_expected: Expected, facts: RouterFacts) -> list[Finding]:
    if facts.api is None:
        return [Finding(Check.API, Level.UNKNOWN, "no API access is configured; nothing of the router can be read")]
    if facts.api:
        correct = '/ip service print; /user print; /log print where topics~"account"'
        return [Finding(Check.API, Level.ERROR, f"the API cannot be used: {facts.api}", correct)]
    return [Finding(Check.API, Level.OK, "the API answers")]


def _radius(expected: Expected, facts: RouterFacts) -> list[Finding]:
    if facts.radius is None:
        return _unread(Check.RADIUS)
    ours = [row for row in facts.radius if row.get("address") == expected.server and not _on(row, "disabled")]
    if not ours:
        correct = f"/radius add service=ppp,hotspot,dhcp address={expected.server} secret=..."
        return [Finding(Check.RADIUS, Level.ERROR, f"{expected.server} is none of the router's servers", correct)]
    found = []
    for row in ours:
        for name, port in (
            ("authentication-port", expected.authentication_port),
            ("accounting-port", expected.accounting_port),
        ):
            told = row.get(name, str(port))
            if told != str(port):
                correct = f"/radius set [find address={expected.server}] {name}={port}"
                found.append(Finding(Check.RADIUS, Level.ERROR, f"{name} is {told}, we listen on {port}", correct))
    return found or [Finding(Check.RADIUS, Level.OK, f"the router asks {expected.server}")]


def _secret(expected: Expected, facts: RouterFacts) -> list[Finding]:
    correct = "/radius set [find comment=caudal] secret=..."
    if not expected.is_routeros:
        correct = "compare `secret` of [[router]] with the one that the router has for CoA"
    match facts.probe:
        case Probe.ANSWERED:
            return [Finding(Check.SECRET, Level.OK, "the router knows our secret")]
        case Probe.WRONG_AUTHENTICATOR:
            return [Finding(Check.SECRET, Level.ERROR, "secrets differ: its answers do not verify", correct)]
        case None:
            return [Finding(Check.SECRET, Level.UNKNOWN, "the secret was not tried")]
    if facts.incoming is not None and _refuses_incoming(expected, facts.incoming) is not None:
        return [Finding(Check.SECRET, Level.UNKNOWN, "the secret can be tried once the router takes Disconnects")]
    if facts.probe is Probe.REFUSED:
        return [_shut(expected)]
    return [_silent(expected, facts, correct)]


def _shut(expected: Expected) -> Finding:
    port = expected.coa_port
    text = f"port {port} is shut: the router's network says that nothing listens there; of the secret nothing is known"
    command = "/radius incoming set accept=yes port=" if expected.is_routeros else "let it take CoA on port "
    correct = f"{command}{port}; or give [[router]] the coa_port on which it listens"
    return Finding(Check.SECRET, Level.ERROR, text, correct)


def _silent(expected: Expected, facts: RouterFacts, by_secret: str) -> Finding:
    """Say what silence can mean: of a shut port without a firewall the network would have told."""
    if expected.is_routeros:
        look, differs, off = "`/radius incoming monitor`", "bad-requests that grow", "`/radius incoming` is off"
    else:
        look, differs, off = "its log", "a wrong authenticator", "it takes no CoA"
    others = "" if facts.incoming is not None else f"{off}, "
    taken = "" if facts.incoming is None else ", which the router takes"
    text = (
        f"no answer to a Disconnect-Request{taken}, and no word that port {expected.coa_port} is shut: "
        f"the secret differs, {others}or a firewall is between"
    )
    correct = f"{look} while this check runs: {differs}: {by_secret}; nothing at all: look at the firewall"
    return Finding(Check.SECRET, Level.ERROR, text, correct)


def _incoming(expected: Expected, facts: RouterFacts) -> list[Finding]:
    if facts.incoming is None:
        return _unread(Check.INCOMING)
    text = _refuses_incoming(expected, facts.incoming)
    if text is not None:
        correct = f"/radius incoming set accept=yes port={expected.coa_port}"
        return [Finding(Check.INCOMING, Level.ERROR, text, correct)]
    return [Finding(Check.INCOMING, Level.OK, f"CoA and Disconnect are taken on port {expected.coa_port}")]


def _refuses_incoming(expected: Expected, row: Row) -> str | None:
    """Return why no request of ours can be heard; None when it can."""
    if not _on(row, "accept"):
        return "the router takes no CoA and no Disconnect"
    if row.get("port") != str(expected.coa_port):
        return f"the router listens for CoA on {row.get('port')}, we send to {expected.coa_port}"
    return None


def _clock(expected: Expected, facts: RouterFacts) -> list[Finding]:
    offset = facts.clock_offset_seconds
    if offset is None:
        return [Finding(Check.CLOCK, Level.UNKNOWN, "the router's time was not read")]
    if abs(offset) > LARGEST_CLOCK_OFFSET_SECONDS:
        text = f"the clock is {abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}"
        correct = "/system ntp client set enabled=yes" if expected.is_routeros else "let it set its clock by NTP"
        if abs(offset) <= REPLAY_WINDOW_SECONDS:
            return [Finding(Check.CLOCK, Level.WARNING, text, correct)]
        text += "; a router that keeps to RFC 5176 §6.3 takes our CoA for replays and ignores it"
        return [Finding(Check.CLOCK, Level.ERROR, text, correct)]
    return [Finding(Check.CLOCK, Level.OK, "the clock is right")]


def _ppp(expected: Expected, facts: RouterFacts) -> list[Finding]:
    row = facts.ppp_aaa
    if row is None:
        return _unread(Check.PPP)
    correct = f"/ppp aaa set use-radius=yes accounting=yes interim-update={expected.interim_seconds}s"
    if not _on(row, "use-radius"):
        return [Finding(Check.PPP, Level.WARNING, "PPP does not ask RADIUS", correct)]
    if not _on(row, "accounting"):
        return [Finding(Check.PPP, Level.ERROR, "PPP tells no usage", correct)]
    if not _seconds(row.get("interim-update", "0s")):
        text = "no interim updates but those that we ask for: usage of a lost session is lost"
        return [Finding(Check.PPP, Level.WARNING, text, correct)]
    return [Finding(Check.PPP, Level.OK, "PPP asks RADIUS and tells usage")]


def _hotspot(_expected: Expected, facts: RouterFacts) -> list[Finding]:
    if facts.hotspot_profiles is None:
        return _unread(Check.HOTSPOT)
    found = []
    for row in facts.hotspot_profiles:
        name = row.get("name", "")
        correct = f"/ip hotspot profile set [find name={name}] radius-accounting=yes radius-interim-update=received"
        if not _on(row, "use-radius"):
            continue
        if not _on(row, "radius-accounting"):
            found.append(Finding(Check.HOTSPOT, Level.ERROR, f"hotspot profile {name} tells no usage", correct))
        elif row.get("radius-interim-update") != "received":
            text = f"hotspot profile {name} does not heed the interim interval that we wish"
            found.append(Finding(Check.HOTSPOT, Level.WARNING, text, correct))
    return found or [Finding(Check.HOTSPOT, Level.OK, "every hotspot that asks RADIUS tells usage")]


def _dhcp(expected: Expected, facts: RouterFacts) -> list[Finding]:
    row = facts.dhcp_config
    if row is None:
        return _unread(Check.DHCP)
    if not _on(row, "accounting"):
        correct = f"/ip dhcp-server config set accounting=yes interim-update={expected.interim_seconds}s"
        return [Finding(Check.DHCP, Level.WARNING, "DHCP tells no usage", correct)]
    return [Finding(Check.DHCP, Level.OK, "DHCP tells usage")]


def _fast_track(_expected: Expected, facts: RouterFacts) -> list[Finding]:
    if facts.fast_track_rules is None:
        return _unread(Check.FAST_TRACK)
    if facts.fast_track_rules:
        text = "FastTrack is on: traffic that it takes passes no queue"
        correct = "/ip firewall filter disable [find action=fasttrack-connection]"
        return [Finding(Check.FAST_TRACK, Level.WARNING, text, correct)]
    return [Finding(Check.FAST_TRACK, Level.OK, "no traffic passes by the queues")]
