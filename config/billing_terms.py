"""Decides how is written how an account is billed: `[isp.billing]`, `billing` of a partner and of a customer.

Rule: what is written is kept as it is written; what an account leaves out its partner says, else the ISP. `merged` lays
one over the other, key by key, and within the tables for numbers and seller, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import lru_cache

from config import checks
from config.bank_csv import read_bank_csv
from config.checks import Check
from config.hours import NAMES
from config.hours import days as read_days
from config.problems import Mistake, Problems
from config.table import Table
from domain.billing_terms import (
    BillingTerms,
    BillingType,
    CollectionAct,
    CollectionRules,
    DayCount,
    DocumentKind,
    Seller,
    SeriesTerms,
    TaxRounding,
    TrustUnlock,
)
from domain.catalogue import Proration
from domain.errors import CaudalError

LANGUAGES = ("en", "es")
LONGEST_TEXT = 500
LONGEST_LOGO = 100_000
LONGEST_TEMPLATE = 100_000
LATEST_DAY = 999
"""Later than that no debt is collected in steps."""
MOST_REMINDERS = 9
MERGED = 4096
AMOUNTS = ("minimum_balance", "credit_limit", "late_fee", "reactivation_fee", "minimum_debt")
"""Keys that are in the currency of who says them."""

_AMOUNT = checks.amount()
_DAYS = checks.integer(0, LATEST_DAY, "days")
_POSITIVE_DAYS = checks.integer(1, LATEST_DAY, "days")
_BILLING_DAY = checks.integer(1, 31)
_PERIOD_DAYS = checks.integer(1, 366, "days")
_PER_MONTH = checks.integer(1, 31)
_COUNTRY = re.compile(r"[A-Z]{2}")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_HOLIDAY = re.compile(r"(?:\d{4}-)?\d{2}-\d{2}")
_RESETS = ("never", "year", "month", "customer")


class StoredTermsError(CaudalError):
    """Terms in the database are not what this release understands."""

    def __init__(self, message: str) -> None:
        super().__init__(f"billing terms in the database are wrong ({message}); apply the file that holds them again")


def read_terms(table: Table) -> dict[str, object]:
    """Return what a table says of billing, in its own words; mistakes go to the table."""
    written = dict(table.values)
    _take(table, BillingTerms())
    table.finish()
    return _plain(written)


def resolve(*layers: Mapping[str, object], currency: str) -> BillingTerms:
    """Return the terms of an account in `currency`: the later layers say more. Raise StoredTermsError."""
    return resolve_written(tuple(json.dumps(layer, sort_keys=True) for layer in layers if layer), currency)


@lru_cache(maxsize=MERGED)
def resolve_written(layers: tuple[str, ...], currency: str) -> BillingTerms:
    """Return the same of layers as JSON; the same texts are read once. Raise StoredTermsError."""
    problems = Problems(lambda paths: dict.fromkeys(paths, 1))
    table = Table(merged(json.loads(layer) for layer in layers), (), problems)
    terms = _take(table, BillingTerms(currency=currency))
    table.finish()
    if problems:
        raise StoredTermsError(problems.by_line()[0].message)
    # What a partner says is the currency of its list; an account keeps the one in which it began.
    return replace(terms, currency=currency)


def amounts_said(layer: Mapping[str, object]) -> dict[str, Decimal]:
    """Return the amounts that a layer says itself, by their keys; the price of days on trust as `trust_unlock`."""
    found = {key: layer[key] for key in AMOUNTS if key in layer}
    trust = layer.get("trust_unlock")
    if isinstance(trust, Mapping) and "price" in trust:
        found["trust_unlock"] = trust["price"]
    return {key: Decimal(str(value)) for key, value in found.items()}


def merged(layers: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Lay documents over each other."""
    result: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            before = result.get(key)
            if isinstance(before, dict) and isinstance(value, dict):
                result[key] = merged((before, value))
            else:
                result[key] = value
    return result


def _take(table: Table, default: BillingTerms) -> BillingTerms:
    take = table.take
    return BillingTerms(
        currency=take("currency", _currency, default.currency),
        billing=take("type", checks.one_of(BillingType), default.billing),
        billing_day=take("billing_day", _BILLING_DAY, default.billing_day),
        in_arrears=take("in_arrears", checks.boolean, default.in_arrears),
        at_once=take("at_once", checks.boolean, default.at_once),
        proration=take("proration", checks.one_of(Proration), default.proration),
        begins=take("begins", checks.one_of(DayCount), default.begins),
        due_days=take("due_days", _DAYS, default.due_days),
        proforma=take("proforma", checks.boolean, default.proforma),
        language=take("language", _language, default.language),
        tax_rounding=take("tax_rounding", checks.one_of(TaxRounding), default.tax_rounding),
        tax_exempt=take("tax_exempt", checks.text(LONGEST_TEXT), default.tax_exempt),
        reverse_charge=take("reverse_charge", checks.boolean, default.reverse_charge),
        period_days=take("period_days", _PERIOD_DAYS, default.period_days),
        minimum_balance=take("minimum_balance", checks.amount("-1000000000"), default.minimum_balance),
        credit_limit=take("credit_limit", _AMOUNT, default.credit_limit),
        trust_unlock=_trust_unlock(table),
        collection=_collection(table),
        series=_series(table),
        seller=_seller(table),
        e_invoice=take("e_invoice", checks.boolean, default.e_invoice),
        template=take("template", _template, default.template),
        preview_days=take("preview_days", checks.integer(0, 30, "days"), default.preview_days),
        automatic=take("automatic", checks.boolean, default.automatic),
        confirmation_days=take("confirmation_days", checks.integer(0, 30, "days"), default.confirmation_days),
        bank=read_bank_csv(table.table("bank")),
    )


def _collection(table: Table) -> CollectionRules:
    take = table.take
    return CollectionRules(
        reminders=take("reminders", _reminders, ()),
        slow_after=take("slow_after", _DAYS, None),
        redirect_after=take("redirect_after", _DAYS, None),
        block_after=take("block_after", _DAYS, None),
        deactivate_after=take("deactivate_after", _POSITIVE_DAYS, None),
        late_fee_after=take("late_fee_after", _DAYS, None),
        late_fee=take("late_fee", _AMOUNT, Decimal(0)),
        reactivation_fee=take("reactivation_fee", _AMOUNT, Decimal(0)),
        minimum_debt=take("minimum_debt", _AMOUNT, Decimal(0)),
        one_time_cuts=take("one_time_cuts", checks.boolean, True),
        no_cut_days=take("no_cut_days", _no_cut_days, frozenset()),
        holidays=take("holidays", _holidays, ()),
        dates=_dates(table),
    )


def _no_cut_days(value: object) -> frozenset[int]:
    found = read_days(value)
    if len(found) == len(NAMES):
        raise Mistake("must leave a day of the week on which lines are cut; without `block_after` none ever is")
    return found


def _trust_unlock(table: Table) -> TrustUnlock | None:
    inner = table.table("trust_unlock")
    if inner is None:
        return None
    unlock = TrustUnlock(
        days=inner.require("days", _POSITIVE_DAYS, 1),
        most_per_month=inner.take("most_per_month", _PER_MONTH, 1),
        price=inner.take("price", _AMOUNT, Decimal(0)),
    )
    inner.finish()
    return unlock


def _series(table: Table) -> dict[str, SeriesTerms]:
    inner = table.table("series")
    if inner is None:
        return {}
    found: dict[str, SeriesTerms] = {}
    for kind in DocumentKind:
        one = inner.table(kind.value)
        if one is not None:
            found[kind.value] = SeriesTerms(
                pattern=one.require("pattern", _pattern, "{next}"),
                reset=one.take("reset", _reset, SeriesTerms("").reset),
            )
            one.finish()
    inner.finish()
    return found


def _seller(table: Table) -> Seller:
    inner = table.table("seller")
    if inner is None:
        return Seller()
    text = checks.text(LONGEST_TEXT)
    seller = Seller(
        **{key: inner.take(key, text, "") for key in ("name", "street", "postcode", "city", "tax_id", "company_id")},
        country=inner.take("country", _country, "ES"),
        email=inner.take("email", text, ""),
        phone=inner.take("phone", text, ""),
        iban=inner.take("iban", _iban, ""),
        bic=inner.take("bic", text, ""),
        footer=inner.take("footer", text, ""),
        colour=inner.take("colour", _colour, ""),
        logo=inner.take("logo", _logo, ""),
    )
    inner.finish()
    return seller


def _dates(table: Table) -> dict[str, date]:
    inner = table.table("dates")
    if inner is None:
        return {}
    names = [act.value for act in CollectionAct]
    found = {name: inner.take(name, checks.day, None) for name in names}
    inner.finish()
    return {name: day for name, day in found.items() if day is not None}


def _one_of_texts(choices: tuple[str, ...]) -> Check[str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise Mistake(f"must be one of {checks.listed(choices)}, not {checks.show(value)}")

    return check


_language = _one_of_texts(LANGUAGES)
_reset = _one_of_texts(_RESETS)


def _matching(pattern: re.Pattern[str], example: str) -> Check[str]:
    def check(value: object) -> str:
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        raise Mistake(f'must be written as "{example}", not {checks.show(value)}')

    return check


_country = _matching(_COUNTRY, "ES")
_colour = _matching(_COLOUR, "#205080")
_currency = _matching(_CURRENCY, "EUR")


def _pattern(value: object) -> str:
    text = checks.text()(value)
    if text.count("{next") != 1:
        raise Mistake(f'must hold the number once, as in "F{{year}}-{{next:6}}", not {checks.show(value)}')
    return text


def _iban(value: object) -> str:
    """Accept an IBAN whose check digits are right (ISO 13616, mod 97)."""
    text = checks.text()(value).replace(" ", "").upper()
    shaped = re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", text)
    if not shaped or int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 != 1:
        raise Mistake("must be an IBAN; its check digits are wrong")
    return text


def _logo(value: object) -> str:
    if not isinstance(value, str) or "<svg" not in value or len(value) > LONGEST_LOGO:
        raise Mistake(f"must be the text of an SVG picture of at most {LONGEST_LOGO:,} characters")
    return value


def _template(value: object) -> str:
    if not isinstance(value, str) or "sys.inputs.document" not in value or len(value) > LONGEST_TEMPLATE:
        raise Mistake(
            f"must be the text of a Typst template of at most {LONGEST_TEMPLATE:,} characters that reads "
            "sys.inputs.document; `caudal invoice template` writes one to begin with"
        )
    return value


def _reminders(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MOST_REMINDERS:
        raise Mistake(f"must be a list of at most {MOST_REMINDERS} numbers of days, such as [3, 4, 7]")
    return tuple(_DAYS(each) for each in value)


def _holidays(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Mistake(f'must be a list such as ["2027-01-06", "12-25"], not {checks.show(value)}')
    return tuple(_holiday(each) for each in value)


def _holiday(value: object) -> str:
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and _HOLIDAY.fullmatch(text):
        try:
            # A leap year, so that 29 February may be one.
            date.fromisoformat(text if len(text) > len("12-25") else f"2028-{text}")
        except ValueError:
            pass
        else:
            return text
    raise Mistake(f'must be a day such as "2027-01-06" or, of every year, "12-25", not {checks.show(value)}')


def _plain(written: Mapping[str, object]) -> dict[str, object]:
    """Return a document without what JSON does not know."""
    return {key: _plain_value(value) for key, value in written.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value
