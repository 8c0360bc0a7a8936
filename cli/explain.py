"""`caudal explain`: why a line has its speed, and what would change it.

Rule: the sentences are the daemon's; here they only get their places. Spanish terminals are answered in Spanish.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Command
from cli.names import service_argument
from cli.options import data_directory, json_option, language
from cli.tables import printable, write_details, write_json
from cli.units import duration, limit_bits_per_second, moment, octets

_SPANISH = {
    "service": "servicio",
    "plan": "plan",
    "now": "ahora",
    "rates": "velocidad",
    "burst": "ráfaga",
    "address list": "lista de direcciones",
    "overage": "exceso",
    "session": "sesión",
    "sessions": "sesiones",
    "none is open": "ninguna abierta",
    "a router that is gone": "un router que ya no existe",
    "let in": "admitida",
    "not let in": "no admitida",
    "walled garden": "jardín vallado",
    "what would change it": "qué lo cambiaría",
    "unlimited": "sin límite",
    "{down} down, {up} up": "{down} de bajada, {up} de subida",
    "on {router}: {standing}": "en {router}: {standing}",
    "proven by {proof} {age} ago": "probada por {proof} hace {age}",
    "not proven for {age}: {problem}": "sin probar desde hace {age}: {problem}",
    "under way": "en curso",
    "overshot the last threshold by {octets}": "rebasó el último umbral en {octets}",
    "An order lets it in again: {command}": "Una orden la admite de nuevo: {command}",
    "Where billing has stopped it, a payment does: {command}": "Si la cortó la facturación, basta un pago: {command}",
    "sale": "venta",
    "pending": "pendiente",
    "paused": "en pausa",
    "stopped": "terminada",
    "It is sold from a later day on: caudal subscription list": "Se vende desde otro día: caudal subscription list",
    "Its sale goes on: caudal subscription resume {service}, or caudal account resume CUSTOMER": (
        "Se reanuda la venta: caudal subscription resume {service}, o caudal account resume CUSTOMER"
    ),
    "It is sold again: caudal subscription start CUSTOMER PLAN --service {service}": (
        "Se vende de nuevo: caudal subscription start CUSTOMER PLAN --service {service}"
    ),
    "blocked": "bloqueada",
    "no balance": "sin saldo",
    "cap": "tope",
    "fair use": "uso razonable",
    "outside the allowed hours": "fuera del horario permitido",
    "disabled": "desactivada",
    "expired": "vencida",
    "login": "el inicio de sesión",
    "CoA": "CoA",
    "read-back": "la lectura",
    "API": "la API",
    "Disconnect": "la desconexión",
}
"""What stands beside the daemon's sentences, for a terminal that speaks Spanish."""
_REFUSALS = {"no_balance": "no balance", "fup": "fair use", "hours": "outside the allowed hours"}
_PROOFS = {"coa": "CoA", "read_back": "read-back", "api": "API", "disconnect": "Disconnect"}
"""Names of the API that people would not say."""
_ENDED_BY_AN_ORDER = frozenset({"blocked", "no_balance"})
_NOT_SOLD = {
    "pending": "It is sold from a later day on: caudal subscription list",
    "paused": "Its sale goes on: caudal subscription resume {service}, or caudal account resume CUSTOMER",
    "stopped": "It is sold again: caudal subscription start CUSTOMER PLAN --service {service}",
}
"""What lets a line in again on whose sale it depends; a payment does not."""


def _word(english: str, spoken: str) -> str:
    return _SPANISH[english] if spoken == "es" else english


@click.command("explain", cls=Command, example="caudal explain ana.garcia")
@service_argument
@json_option
def explain(service: str, as_json: bool) -> None:
    """Show what a line may do now, which rules led there, and what would change it."""
    spoken = language()
    found = ControlClient(data_directory()).get(f"/v1/explain/{segment(service)}", {"language": spoken})
    if as_json:
        write_json(found)
        return
    write_details(_verdict(found, spoken))
    click.echo()
    _write_rules(found["rules"])
    _write_prospects([*_way_out(found, spoken), *found["prospects"]], spoken)
    click.echo()
    write_details(_sessions(found["sessions"], datetime.now(UTC), spoken))


def rates(down: int | None, up: int | None, spoken: str = "en") -> str:
    """Return a pair of rates as people read them."""
    return _word("{down} down, {up} up", spoken).format(down=_rate(down, spoken), up=_rate(up, spoken))


def refusal(code: str, spoken: str = "en") -> str:
    """Return why a line is not let in, as people say it."""
    return _word(_REFUSALS.get(code, code), spoken)


def standing(line: Item, now: datetime, spoken: str = "en") -> str:
    """Return whether a line is proven to obey, since when, and why not."""
    if line["is_proven"]:
        proof, age = str(line["proven_by"]), _age(line["proven_at"], now)
        return _word("proven by {proof} {age} ago", spoken).format(
            proof=_word(_PROOFS.get(proof, proof), spoken), age=age
        )
    problem = line["problem"] or _word("under way", spoken)
    age = _age(line["desired_since"], now)
    return _word("not proven for {age}: {problem}", spoken).format(age=age, problem=problem)


def overshot(line: Item, spoken: str = "en") -> str:
    """Return how far a session went beyond the threshold that it crossed last; empty where it crossed none."""
    return "" if line["overshoot_octets"] is None else _octets(line["overshoot_octets"], spoken)


def _age(instant: str, now: datetime) -> str:
    return duration((now - moment(instant)).total_seconds())


def _rate(rate: int | None, spoken: str) -> str:
    if rate is None:
        return _word("unlimited", spoken)
    shown = limit_bits_per_second(rate)
    # Spanish parts thousands with what English writes before decimals.
    return shown.replace(",", ".") if spoken == "es" else shown


def _verdict(found: Item, spoken: str) -> list[tuple[str, str]]:
    admitted, burst = found["admitted"], found["burst"]
    verdict = "let in"
    if not admitted:
        verdict = "not let in"
    elif found["walled"]:
        verdict = "walled garden"
    shown = _word(verdict, spoken)
    if found["refusal"] is not None:
        shown = f"{shown}: {refusal(found['refusal'], spoken)}"
    bursts = "" if burst is None or not admitted else f"{_rates_of(burst, spoken)}, {burst['seconds']} s"
    overage = _octets(found["overage_octets"], spoken) if found["overage_octets"] else ""
    return [
        (_word("service", spoken), found["service"]),
        (_word("plan", spoken), found["plan"]),
        (_word("sale", spoken), _word(found["sale"], spoken) if found["sale"] in _NOT_SOLD else ""),
        (_word("now", spoken), shown),
        (_word("rates", spoken), _rates_of(found, spoken) if admitted else ""),
        (_word("burst", spoken), bursts),
        (_word("address list", spoken), found["address_list"] or ""),
        (_word("overage", spoken), overage),
    ]


def _octets(number: int, spoken: str) -> str:
    return octets(number).replace(".", ",") if spoken == "es" else octets(number)


def _rates_of(item: Item, spoken: str) -> str:
    return rates(item["download_bits_per_second"], item["upload_bits_per_second"], spoken)


def _write_rules(rules: list[Item]) -> None:
    width = max((len(rule["rule"]) for rule in rules), default=0)
    for number, rule in enumerate(rules, 1):
        click.echo(f"{number:3}  {click.style(rule['rule'].ljust(width), bold=True)}  {printable(rule['text'])}")


def _way_out(found: Item, spoken: str) -> list[str]:
    """Return what an operator can do for a line that only an order lets in again."""
    if found["refusal"] not in _ENDED_BY_AN_ORDER:
        return []
    ordered = any(rule["rule"] == "override" for rule in found["rules"]) and found["refusal"] == "blocked"
    if found["refusal"] == "blocked" and not ordered and found["sale"] in _NOT_SOLD:
        return [_word(_NOT_SOLD[found["sale"]], spoken).format(service=shlex.quote(found["service"]))]
    blocked = any(rule["rule"] in ("blocked", "prepaid") for rule in found["rules"])
    command = "release" if ordered and not blocked else "unblock"
    order = f"caudal line {command} {shlex.quote(found['service'])}"
    ways = [_word("An order lets it in again: {command}", spoken).format(command=order)]
    if any(rule["rule"] in ("blocked", "prepaid", "debt") for rule in found["rules"]):
        command = "caudal payment add CUSTOMER AMOUNT"
        ways.append(_word("Where billing has stopped it, a payment does: {command}", spoken).format(command=command))
    return ways


def _write_prospects(prospects: list[str], spoken: str) -> None:
    if not prospects:
        return
    click.echo()
    click.echo(click.style(_word("what would change it", spoken), dim=True))
    for prospect in prospects:
        click.echo(f"     {printable(prospect)}")


def _sessions(sessions: list[Item], now: datetime, spoken: str) -> list[tuple[str, str]]:
    if not sessions:
        return [(_word("sessions", spoken), _word("none is open", spoken))]
    return [(f"{_word('session', spoken)} {each['session_id']}", _session(each, now, spoken)) for each in sessions]


def _session(session: Item, now: datetime, spoken: str) -> str:
    said = _word("on {router}: {standing}", spoken).format(
        router=session["router"] or _word("a router that is gone", spoken),
        standing=standing(session, now, spoken),
    )
    beyond = overshot(session, spoken)
    return (
        f"{said}; {_word('overshot the last threshold by {octets}', spoken).format(octets=beyond)}" if beyond else said
    )
