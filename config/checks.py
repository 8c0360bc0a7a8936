"""Decides which values a key accepts.

Rule: a check takes a value as TOML gives it and returns the value the product uses, or raises `Mistake` with what is
wrong and what would be right. Checks of secrets never repeat the value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.problems import Mistake
from config.toml_text import write_value
from domain.secret import Secret

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=Enum)
Check = Callable[[object], Value]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Names of routers, pools and plans become metric labels and columns on a terminal.
LONGEST_NAME = 64
# RFC 2865 section 5: a value of an attribute has at most 253 octets.
LONGEST_ATTRIBUTE_OCTETS = 253
# RFC 2865 section 5.2: a hidden password has at most 128 octets.
LONGEST_PASSWORD_OCTETS = 128
# RFC 2869 section 5.16: never below a minute, and ten are advised.
SHORTEST_INTERIM_SECONDS = 60
# PostgreSQL's integer; 68 years as seconds.
GREATEST_INTEGER = 2**31 - 1
# A terabit: beyond any access line, below PostgreSQL's bigint.
GREATEST_RATE_BITS_PER_SECOND = 10**12
# An exabyte: beyond what a line moves in a year, below PostgreSQL's bigint.
GREATEST_OCTETS = 10**18
# A certificate is pinned by its SHA-256.
FINGERPRINT_OCTETS = 32

# Sixths of a cent and the like are written as fractions of a larger block instead.
LONGEST_FRACTION = 6

LONGEST_SHOWN = 60

USUAL_WARN_PERCENTS = (80, 100)

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMG]?)")
_MULTIPLIERS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_OCTETS = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kKMGT])(i?))?")
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_DURATION = re.compile(r"([0-9]{1,10}) ?([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2})*")
_AMOUNT = re.compile(r"-?[0-9]{1,12}(?:\.([0-9]{1,9}))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def show(value: object) -> str:
    """Return a value as its mistake repeats it: short, on one line, and not what may lie inside of it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    shown = str(value) if isinstance(value, float) else write_value(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 3]}..."


def suggestion(word: str, choices: Collection[str]) -> str:
    """Return `; did you mean "…"?`, or nothing where no choice is close."""
    close = get_close_matches(word, choices, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def listed(choices: Collection[str]) -> str:
    """Return choices as a sentence has them."""
    return ", ".join(f'"{choice}"' for choice in choices)


def boolean(value: object) -> bool:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise Mistake(f"must be true or false, not {show(value)}")
    return value


def integer(low: int, high: int, unit: str = "") -> Check[int]:
    """Accept whole numbers from `low` to `high`."""

    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            what = f"a whole number{unit and f' of {unit}'} from {low} to {high}"
            raise Mistake(f"must be {what}, not {show(value)}")
        return value

    return check


port = integer(1, 65535)


def warn_percents(greatest: int) -> Check[tuple[int, ...]]:
    """Return the check of the percentages at which to warn, from 1 to `greatest`."""
    percent = integer(1, greatest, "percent")

    def check(value: object) -> tuple[int, ...]:
        if not isinstance(value, list):
            raise Mistake(f"must be a list such as [80, 100], not {show(value)}")
        percents = sorted(percent(element) for element in value)
        if len(set(percents)) < len(percents):
            raise Mistake("must not have a percentage twice")
        return tuple(percents)

    return check


def text(longest: int = LONGEST_ATTRIBUTE_OCTETS, *, empty: bool = False) -> Check[str]:
    """Accept one line of text of at most `longest` characters without surrounding blanks, in Unicode's form C."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise Mistake(f"must be text in quotes, not {show(value)}")
        if not value and not empty:
            raise Mistake("must not be empty")
        if value != value.strip():
            raise Mistake(f"must not begin or end with a blank: {show(value)}")
        if _CONTROL.search(value) or not _is_unicode(value):
            raise Mistake("must not hold control characters or broken Unicode")
        if len(value) > longest:
            raise Mistake(f"must have at most {longest} characters, not {len(value)}")
        return unicodedata.normalize("NFC", value)

    return check


name = text(LONGEST_NAME)


def timezone(value: object) -> str:
    """Accept the name of a time zone."""
    zone = name(value)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Mistake(f'must be a time zone such as "Europe/Madrid", not {show(value)}') from None
    return zone


def one_of(choices: type[Choice]) -> Check[Choice]:
    """Accept the values of an enumeration."""
    words = [str(choice.value) for choice in choices]

    def check(value: object) -> Choice:
        if isinstance(value, str) and value in words:
            return choices(value)
        close = suggestion(value, words) if isinstance(value, str) else ""
        raise Mistake(f"must be one of {listed(words)}, not {show(value)}{close}")

    return check


def texts(value: object, item: Check[str] = name) -> tuple[str, ...]:
    """Accept a list of different texts."""
    if not isinstance(value, list):
        raise Mistake(f'must be a list such as ["one", "two"], not {show(value)}')
    items = tuple(item(element) for element in value)
    if len(set(items)) < len(items):
        raise Mistake(f"must not name anything twice: {', '.join(items)}")
    return items


def secret(longest: int, *, empty: bool) -> Check[Secret]:
    """Accept text of at most `longest` octets without ever repeating it."""

    def check(value: object) -> Secret:
        if not isinstance(value, str):
            raise Mistake("must be text in quotes")
        octets = len(value.encode(errors="replace"))
        if not _is_unicode(value):
            raise Mistake("must not hold broken Unicode; save the file as UTF-8")
        if octets == 0 and not empty:
            raise Mistake("must not be empty")
        if octets > longest:
            raise Mistake(f"must have at most {longest} octets, not {octets}")
        return Secret.from_text(value)

    return check


def _is_unicode(value: str) -> bool:
    """Tell text from text with halves of surrogate pairs, which no UTF-8 can carry."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def rate(value: object) -> int:
    """Accept bits per second, as a number or as text with k, M or G (powers of 1,000), exactly."""
    if type(value) is int:
        amount = Fraction(value)
    else:
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise Mistake(f'must be a rate in bit/s such as "20M" (k, M or G), not {show(value)}')
        amount = Fraction(match[1]) * _MULTIPLIERS[match[2]]
    if amount.denominator != 1 or not 0 < amount <= GREATEST_RATE_BITS_PER_SECOND:
        raise Mistake(f"must be whole bits per second from 1 to 1000G, not {show(value)}; leave it out for no limit")
    return int(amount)


def write_rate(bits_per_second: int) -> str:
    """Return a rate as `rate` reads it, in the largest unit that needs at most three decimals."""
    for unit in ("G", "M", "k"):
        thousandth = _MULTIPLIERS[unit] // 1000
        if bits_per_second >= _MULTIPLIERS[unit] and bits_per_second % thousandth == 0:
            whole, decimals = divmod(bits_per_second // thousandth, 1000)
            return f"{whole}.{decimals:03}".rstrip("0").rstrip(".") + unit
    return str(bits_per_second)


def amount(low: str = "0", *, places: int = LONGEST_FRACTION) -> Check[Decimal]:
    """Accept an amount of money or a percentage: decimal text, or a whole number; never a float, which is not exact."""
    least = Decimal(low)

    def check(value: object) -> Decimal:
        match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if type(value) is int or match is not None:
            found = Decimal(str(value))
            if found >= least and len(match[1] or "" if match else "") <= places:
                return found
        raise Mistake(
            f'must be a number of at least {low} in quotes, such as "29.90", with at most {places} places, '
            f"not {show(value)}"
        )

    return check


def write_amount(number: Decimal) -> str:
    """Return an amount as `amount` reads it."""
    return f"{number:f}"


def day(value: object) -> date:
    """Accept a date."""
    found = _parse_date(value) if isinstance(value, str) else value
    if not isinstance(found, date) or isinstance(found, datetime) or not 1970 <= found.year < 9000:
        raise Mistake(f"must be a date such as 2027-01-31, not {show(value)}")
    return found


def octets(unit: int = 1000, *, low: int = 1) -> Check[int]:
    """Accept octets, as a number or as text with k, M, G or T (powers of `unit`), or Ki, Mi, Gi, Ti (of 1,024)."""

    def check(value: object) -> int:
        match = _OCTETS.fullmatch(value) if isinstance(value, str) else None
        if type(value) is int:
            amount = Fraction(value)
        elif match is not None:
            amount = Fraction(match[1]) * (1024 if match[3] else unit) ** _POWERS.get(match[2], 0)
        else:
            raise Mistake(f'must be octets such as "500G" (k, M, G, T; or Gi for powers of 1,024), not {show(value)}')
        if amount.denominator != 1 or not low <= amount <= GREATEST_OCTETS:
            raise Mistake(f"must be whole octets from {low} to 1000000T, not {show(value)}")
        return int(amount)

    return check


def write_octets(number: int) -> str:
    """Return octets as `octets` reads them, in powers of 1,000 or of 1,024, whichever is the shorter."""
    written = [str(number)]
    for unit, power in (("k", 1), ("M", 2), ("G", 3), ("T", 4)):
        thousandth = 1000 ** (power - 1)
        if number >= 1000**power and number % thousandth == 0:
            whole, decimals = divmod(number // thousandth, 1000)
            written.append(f"{whole}.{decimals:03}".rstrip("0").rstrip(".") + unit)
        if number and number % 1024**power == 0:
            written.append(f"{number >> 10 * power}{unit.upper()}i")
    return min(written, key=len)


def duration(low: int, high: int) -> Check[int]:
    """Accept seconds from `low` to `high`, as a number or as text such as "90s", "10m", "20h" or "2d"."""

    def check(value: object) -> int:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = value if type(value) is int else int(match[1]) * _SECONDS[match[2]] if match else -1
        if not low <= seconds <= high:
            limits = f'from "{write_duration(low)}" to "{write_duration(high)}"'
            raise Mistake(f'must be a time such as "10m" (s, m, h, d) {limits}, not {show(value)}')
        return seconds

    return check


def write_duration(seconds: int) -> str:
    """Return seconds as `duration` reads them, in the largest unit that is exact."""
    unit = max((unit for unit in _SECONDS if seconds % _SECONDS[unit] == 0), key=lambda unit: _SECONDS[unit])
    return f"{seconds // _SECONDS[unit]}{unit}"


def fingerprint(value: object) -> bytes:
    """Accept the SHA-256 of a certificate in hexadecimal, with colons or without."""
    found = bytes.fromhex(value.replace(":", "")) if isinstance(value, str) and _FINGERPRINT.fullmatch(value) else b""
    if len(found) != FINGERPRINT_OCTETS:
        raise Mistake(
            f"must be the SHA-256 of a certificate, {FINGERPRINT_OCTETS} octets as AA:BB:..., not {show(value)}"
        )
    return found


def write_fingerprint(octets_: bytes) -> str:
    """Return a fingerprint as `openssl x509 -fingerprint` shows it."""
    return octets_.hex(":").upper()


def listen_address(value: object) -> str:
    """Accept an address of this machine, or one of the two that mean all of them."""
    address = _ip_address(value, "0.0.0.0")
    if address.is_multicast or str(address) == "255.255.255.255":
        raise Mistake(f"must be an address of this machine, which {show(value)} can never be")
    return str(address)


def subscriber_address(value: object) -> str:
    """Accept an IPv4 address that a line can have; 255.255.255.254 lets the router choose (RFC 2865 section 5.8)."""
    address = _ip_address(value, "100.64.0.7")
    if isinstance(address, IPv6Address):
        raise Mistake(f"must be IPv4, not {show(value)}; IPv6 goes into attributes, as Framed-IPv6-Prefix")
    usable = not (address.is_loopback or address.is_multicast or address.is_reserved or address.is_unspecified)
    if not usable and str(address) != "255.255.255.254":
        raise Mistake(f"must be an address that a line can have, not {show(value)}")
    return str(address)


def network(value: object) -> str:
    """Accept an address or a CIDR block and return it as a block."""
    if not isinstance(value, str):
        raise Mistake(f'must be an address such as "192.0.2.1" or "192.0.2.0/24", not {show(value)}')
    return str(parse_network(value))


def parse_network(value: str) -> Network:
    """Return the block that `value` names; host bits must be zero."""
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        whole = ip_network(value, strict=False)
    except ValueError:
        raise Mistake(f'must be an address such as "192.0.2.1" or "192.0.2.0/24", not {show(value)}') from None
    single = value.split("/", maxsplit=1)[0]
    raise Mistake(f'names an address inside a block: write "{whole}" for the block or "{single}" for the address')


def _ip_address(value: object, example: str) -> Address:
    try:
        return parse_address(value)
    except ValueError:
        raise Mistake(f'must be an address such as "{example}", not {show(value)}') from None


def parse_address(value: object) -> Address:
    """Return the address that a text names, or raise ValueError; zone names and bare numbers are refused."""
    if not isinstance(value, str) or "%" in value:
        raise ValueError(value)
    return ip_address(value)


def instant(zone: tzinfo) -> Check[datetime]:
    """Accept a date (until that day ends) or a date and time, local to `zone` where no offset is written."""

    def check(value: object) -> datetime:
        moment = _parse_date(value) if isinstance(value, str) else value
        if not isinstance(moment, date) or not 1970 <= moment.year < 9000:
            raise Mistake(f"must be a date such as 2027-01-31 or 2027-01-31T12:00:00, not {show(value)}")
        if not isinstance(moment, datetime):
            return end_of_day(moment, zone)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)

    return check


def _parse_date(value: str) -> date | None:
    try:
        return date.fromisoformat(value) if len(value) <= len("2027-01-31") else datetime.fromisoformat(value)
    except ValueError:
        return None


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the instant at which a local day is over, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
