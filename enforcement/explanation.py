"""Why a line may do what it does, one rule at a time, and what would change it, in English and Spanish.

Rule: a rule that holds carries its numbers, not its sentence; sentences are made when somebody asks. Numbers say their
unit at the end of their name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from domain.instants import Microseconds, to_datetime

UNLIMITED = "unlimited"
"""What stands where a rate has no number."""


class Rule(Enum):
    """What may decide about a line; the values are shown and stored."""

    PLAN = "plan"
    BOOST = "boost"
    SCHEDULE = "schedule"
    FUP = "fup"
    OVERRIDE = "override"
    CAP = "cap"
    OVERAGE = "overage"
    """Of prospects alone: what is charged beyond a cap comes near its ceiling."""
    TOP_UP = "top_up"
    BURST_BUDGET = "burst_budget"
    DEBT = "debt"
    PREPAID = "prepaid"
    BLOCKED = "blocked"
    HOURS = "hours"
    EXPIRY = "expiry"


class Effect(Enum):
    """What a rule does to a line."""

    SETS = "sets"
    """The rates become those of its numbers."""
    BLOCKS = "blocks"
    CHARGES = "charges"
    LIFTS = "lifts"
    """The cap does nothing meanwhile."""
    EXTENDS = "extends"
    REDUCES = "reduces"
    """What ran over in a period before is taken from the present one."""
    STOPS_BURST = "stops_burst"
    DISABLES = "disables"
    CHANGES = "changes"
    """Something will happen: after octets, or at an instant."""


class Language(Enum):
    """The languages sentences exist in; the values are ISO 639-1 codes."""

    ENGLISH = "en"
    SPANISH = "es"


Numbers = tuple[tuple[str, int | str], ...]


class Applied(NamedTuple):
    """A rule that holds, with the numbers that fill its sentence."""

    rule: Rule
    name: str
    numbers: Numbers
    effect: Effect

    def text(self, language: Language = Language.ENGLISH, zone: tzinfo = UTC) -> str:
        """Return the sentence; instants are shown in `zone`."""
        return _sentence(_SENTENCES[language][self.rule, self.effect], self.name, self.numbers, language, zone)


class Prospect(NamedTuple):
    """Something that would change what a line may do: after octets in a direction, or at an instant."""

    rule: Rule
    name: str
    numbers: Numbers

    def text(self, language: Language = Language.ENGLISH, zone: tzinfo = UTC) -> str:
        """Return the sentence; instants are shown in `zone`."""
        kind = _AFTER if self.numbers[0][0] == _AFTER else _AT
        if self.rule is Rule.TOP_UP and not self.name:
            kind = _AGAIN
        return _sentence(_PROSPECTS[language][self.rule, kind], self.name, self.numbers, language, zone)


def _sentence(template: str, name: str, numbers: Numbers, language: Language, zone: tzinfo) -> str:
    # Steps of fair use need no name.
    words = {"name": name, "until": _OPEN_END[language]}
    template = template if name else template.replace(" {name}", "")
    for key, number in numbers:
        word, unit = _unit(key)
        words[word] = str(number) if unit is None else _SHOWN[unit](number, language, zone)
    return template.format_map(words)


def _unit(key: str) -> tuple[str, str | None]:
    for unit in _SHOWN:
        if key == unit:
            return key, unit
        if key.endswith("_" + unit):
            return key.removesuffix("_" + unit), unit
    return key, None


def _scaled(number: int, units: tuple[str, ...]) -> str:
    """Return three digits that matter and their unit, rounded down: who has used 999.9 MB has not used 1 GB."""
    step = 0
    while number >= 1000 ** (step + 1) and step < len(units) - 1:
        step += 1
    divisor = 1000**step
    whole, rest = divmod(number, divisor)
    digits = max(0, 3 - len(str(whole))) if step else 0
    part = str(rest * 10**digits // divisor).rjust(digits, "0").rstrip("0") if digits else ""
    return f"{whole}.{part} {units[step]}" if part else f"{whole} {units[step]}"


def _octets(number: int | str, language: Language, _zone: tzinfo) -> str:
    return _decimals(_scaled(int(number), ("B", "kB", "MB", "GB", "TB", "PB")), language)


def _rate(number: int | str, language: Language, _zone: tzinfo) -> str:
    if number == UNLIMITED:
        return _UNLIMITED[language]
    return _decimals(_scaled(int(number), ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")), language)


def _decimals(text: str, language: Language) -> str:
    return text.replace(".", ",") if language is Language.SPANISH else text


def _duration(number: int | str, _language: Language, _zone: tzinfo) -> str:
    minutes, seconds = divmod(int(number), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if count]
    return " ".join(parts) or "0 s"


def _moment(number: int | str, _language: Language, zone: tzinfo) -> str:
    local = to_datetime(Microseconds(int(number))).astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"


def _percent(number: int | str, language: Language, _zone: tzinfo) -> str:
    return f"{number} %" if language is Language.SPANISH else f"{number}%"


def _period(number: int | str, language: Language, _zone: tzinfo) -> str:
    return _PERIODS[language][str(number)]


def _direction(number: int | str, language: Language, _zone: tzinfo) -> str:
    return _DIRECTIONS[language][str(number)]


class _Show(Protocol):
    def __call__(self, number: int | str, language: Language, zone: tzinfo, /) -> str: ...


_SHOWN: Mapping[str, _Show] = MappingProxyType(
    {
        "octets": _octets,
        "bits_per_second": _rate,
        "seconds": _duration,
        "us": _moment,
        "percent": _percent,
        "period": _period,
        "direction": _direction,
    }
)
_PERIODS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ENGLISH: {"day": "the day", "week": "the week", "month": "the month", "ever": "all"},
        Language.SPANISH: {"day": "el día", "week": "la semana", "month": "el mes", "ever": "total"},
    }
)
_DIRECTIONS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ENGLISH: {"both": "up and down", "down": "down", "up": "up"},
        Language.SPANISH: {"both": "de subida y bajada", "down": "de bajada", "up": "de subida"},
    }
)
_UNLIMITED: Mapping[Language, str] = MappingProxyType(
    {Language.ENGLISH: "unlimited", Language.SPANISH: "sin límite"},
)
_OPEN_END: Mapping[Language, str] = MappingProxyType(
    {Language.ENGLISH: "further notice", Language.SPANISH: "nuevo aviso"},
)

_Sentences = Mapping[tuple[Rule, Effect], str]
_ENGLISH: _Sentences = MappingProxyType(
    {
        (Rule.PLAN, Effect.SETS): "Plan {name}: {download} down, {upload} up.",
        (Rule.BOOST, Effect.SETS): "Boost {name} until {until}: {download} down, {upload} up.",
        (Rule.SCHEDULE, Effect.SETS): "Schedule {name}: {download} down, {upload} up.",
        (Rule.SCHEDULE, Effect.BLOCKS): "Schedule {name}: not served.",
        (Rule.FUP, Effect.SETS): "Fair use {name}: {used} of {limit} in {period}; {download} down, {upload} up.",
        (Rule.FUP, Effect.BLOCKS): "Fair use {name}: {used} of {limit} in {period}; not served.",
        (Rule.OVERRIDE, Effect.SETS): "{name} ordered until {until}: {download} down, {upload} up ({reason}).",
        (Rule.OVERRIDE, Effect.BLOCKS): "{name} ordered until {until}: not served ({reason}).",
        (Rule.CAP, Effect.SETS): "Cap: {used} of {limit} in {period}; {download} down, {upload} up until {until}.",
        (Rule.CAP, Effect.BLOCKS): "Cap: {used} of {limit} in {period}; not served until {until}.",
        (Rule.CAP, Effect.CHARGES): "Cap: {used} of {limit} in {period}; {over} are charged.",
        (Rule.CAP, Effect.REDUCES): "Cap: {carried} ran over before, and are taken from it until {until}.",
        (Rule.TOP_UP, Effect.LIFTS): "Top-up {name}: the cap does nothing until {until}.",
        (Rule.TOP_UP, Effect.EXTENDS): "Top-up {name}: {left} of {limit} left until {until}.",
        (Rule.BURST_BUDGET, Effect.STOPS_BURST): "Burst budget spent: no burst until {until}.",
        (Rule.DEBT, Effect.SETS): "Invoices are overdue: {download} down, {upload} up.",
        (Rule.DEBT, Effect.BLOCKS): "Invoices are overdue: to the payment page only.",
        (Rule.PREPAID, Effect.BLOCKS): "The balance is used up.",
        (Rule.BLOCKED, Effect.BLOCKS): "The account is blocked.",
        (Rule.BLOCKED, Effect.DISABLES): "The service is disabled.",
        (Rule.HOURS, Effect.BLOCKS): "Outside the allowed hours until {until}.",
        (Rule.EXPIRY, Effect.BLOCKS): "The service expired at {at}.",
    }
)
_SPANISH: _Sentences = MappingProxyType(
    {
        (Rule.PLAN, Effect.SETS): "Plan {name}: {download} de bajada, {upload} de subida.",
        (Rule.BOOST, Effect.SETS): "Aceleración {name} hasta {until}: {download} de bajada, {upload} de subida.",
        (Rule.SCHEDULE, Effect.SETS): "Horario {name}: {download} de bajada, {upload} de subida.",
        (Rule.SCHEDULE, Effect.BLOCKS): "Horario {name}: sin servicio.",
        (Rule.FUP, Effect.SETS): (
            "Uso razonable {name}: {used} de {limit} en {period}; {download} de bajada, {upload} de subida."
        ),
        (Rule.FUP, Effect.BLOCKS): "Uso razonable {name}: {used} de {limit} en {period}; sin servicio.",
        (Rule.OVERRIDE, Effect.SETS): (
            "Orden de {name} hasta {until}: {download} de bajada, {upload} de subida ({reason})."
        ),
        (Rule.OVERRIDE, Effect.BLOCKS): "Orden de {name} hasta {until}: sin servicio ({reason}).",
        (Rule.CAP, Effect.SETS): (
            "Tope: {used} de {limit} en {period}; {download} de bajada, {upload} de subida hasta {until}."
        ),
        (Rule.CAP, Effect.BLOCKS): "Tope: {used} de {limit} en {period}; sin servicio hasta {until}.",
        (Rule.CAP, Effect.CHARGES): "Tope: {used} de {limit} en {period}; se cobran {over}.",
        (Rule.CAP, Effect.REDUCES): "Tope: se excedieron antes {carried}, que se descuentan de él hasta {until}.",
        (Rule.TOP_UP, Effect.LIFTS): "Recarga {name}: el tope no actúa hasta {until}.",
        (Rule.TOP_UP, Effect.EXTENDS): "Recarga {name}: quedan {left} de {limit} hasta {until}.",
        (Rule.BURST_BUDGET, Effect.STOPS_BURST): "Reserva de ráfaga agotada: sin ráfaga hasta {until}.",
        (Rule.DEBT, Effect.SETS): "Hay facturas vencidas: {download} de bajada, {upload} de subida.",
        (Rule.DEBT, Effect.BLOCKS): "Hay facturas vencidas: solo la página de pago.",
        (Rule.PREPAID, Effect.BLOCKS): "El saldo está agotado.",
        (Rule.BLOCKED, Effect.BLOCKS): "La cuenta está bloqueada.",
        (Rule.BLOCKED, Effect.DISABLES): "El servicio está desactivado.",
        (Rule.HOURS, Effect.BLOCKS): "Fuera del horario permitido hasta {until}.",
        (Rule.EXPIRY, Effect.BLOCKS): "El servicio venció el {at}.",
    }
)
_SENTENCES: Mapping[Language, _Sentences] = MappingProxyType(
    {Language.ENGLISH: _ENGLISH, Language.SPANISH: _SPANISH},
)

_AFTER = "left_octets"
_AT = "at_us"
_AGAIN = "again"
"""The calendar month turns, in which automatic top-ups are counted."""
_PROSPECTS: Mapping[Language, Mapping[tuple[Rule, str], str]] = MappingProxyType(
    {
        Language.ENGLISH: {
            (Rule.CAP, _AFTER): "After {left} more {direction}: {name} of the cap.",
            (Rule.OVERAGE, _AFTER): "After {left} more {direction}: {name} of the most that overage costs.",
            (Rule.FUP, _AFTER): "After {left} more {direction}: fair use {name}.",
            (Rule.BURST_BUDGET, _AFTER): "After {left} more at most: the burst budget is spent.",
            (Rule.BOOST, _AT): "At {at}: boost {name} begins or ends.",
            (Rule.SCHEDULE, _AT): "At {at}: other scheduled rates.",
            (Rule.FUP, _AT): "At {at}: fair use {name}.",
            (Rule.OVERRIDE, _AT): "At {at}: the order of {name} ends.",
            (Rule.CAP, _AT): "At {at}: the period of the cap begins again.",
            (Rule.TOP_UP, _AT): "At {at}: top-up {name}.",
            (Rule.TOP_UP, _AGAIN): "At {at}: automatic top-ups may be bought again.",
            (Rule.BURST_BUDGET, _AT): "At {at}: it may burst again.",
            (Rule.HOURS, _AT): "At {at}: the allowed hours begin or end.",
            (Rule.EXPIRY, _AT): "At {at}: the service expires.",
        },
        Language.SPANISH: {
            (Rule.CAP, _AFTER): "Tras {left} más {direction}: {name} del tope.",
            (Rule.OVERAGE, _AFTER): "Tras {left} más {direction}: {name} de lo máximo que cuesta el exceso.",
            (Rule.FUP, _AFTER): "Tras {left} más {direction}: uso razonable {name}.",
            (Rule.BURST_BUDGET, _AFTER): "Tras {left} más como mucho: se agota la reserva de ráfaga.",
            (Rule.BOOST, _AT): "El {at}: empieza o termina la aceleración {name}.",
            (Rule.SCHEDULE, _AT): "El {at}: otras velocidades del horario.",
            (Rule.FUP, _AT): "El {at}: uso razonable {name}.",
            (Rule.OVERRIDE, _AT): "El {at}: termina la orden de {name}.",
            (Rule.CAP, _AT): "El {at}: empieza de nuevo el período del tope.",
            (Rule.TOP_UP, _AT): "El {at}: recarga {name}.",
            (Rule.TOP_UP, _AGAIN): "El {at}: puede haber de nuevo recargas automáticas.",
            (Rule.BURST_BUDGET, _AT): "El {at}: vuelve a haber ráfaga.",
            (Rule.HOURS, _AT): "El {at}: empieza o termina el horario permitido.",
            (Rule.EXPIRY, _AT): "El {at}: vence el servicio.",
        },
    }
)
