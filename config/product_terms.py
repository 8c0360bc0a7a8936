"""Decides how is written what a sale brings beside its price: what a bundle holds, contracts, fees, voice.

Rule: each part has a reader and, beside it, the document that the reader turns back into the same part.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypedDict, TypeVar

from config import checks
from config.checks import Check, show, write_amount
from config.hours import windows, write_window
from config.metered import metering_document, read_metering
from config.problems import Mistake
from config.table import Table
from domain.catalogue import (
    Activation,
    Contract,
    Included,
    IncludedUnits,
    IntroductoryDiscount,
    Part,
    Product,
    ProductKind,
    VoiceTerms,
)
from domain.tariff import Metering

Read = TypeVar("Read")

TERMS_KEYS = (
    "activation_fee", "activation", "change_fee", "last_day_charged", "introduction", "contract", "includes", "part",
    "voice", "metered",
)  # fmt: skip
CONTRACT_AMOUNTS = ("cancellation_fee", "prior_cancellation_fee", "fee_per_month")
MOST_MONTHS = 120
MOST_INCLUDED = 100
"""Of one thing in a bundle."""

_AMOUNT = checks.amount()
_WEIGHT = checks.amount("0.000001")
_MONTHS = checks.integer(1, MOST_MONTHS, "months")
_QUANTITY = checks.integer(1, MOST_INCLUDED)
_INCLUDED_UNITS = ("seconds", "messages", "octets")
_VOICE_LINES = ("voip", "fixed", "mobile")


class Terms(TypedDict):
    """The fields of a product that are read here."""

    parts: tuple[Part, ...]
    includes: tuple[Included, ...]
    contract: Contract | None
    activation_fee: Decimal
    activation: Activation
    change_fee: Decimal
    last_day_charged: bool
    introduction: IntroductoryDiscount | None
    voice: VoiceTerms | None
    metered: Metering | None


def read_terms(table: Table, kind: ProductKind) -> Terms:
    """Return what a table says of these; only a bundle holds others, only a voice plan has voice."""
    is_bundle = kind is ProductKind.BUNDLE
    found = Terms(
        parts=tuple(map(_part, table.tables("part"))) if is_bundle else (),
        includes=tuple(map(_included, table.tables("includes"))) if is_bundle else (),
        contract=_inner(table, "contract", read_contract),
        activation_fee=table.take("activation_fee", _AMOUNT, Decimal(0)),
        activation=table.take("activation", checks.one_of(Activation), Activation.FIRST_BILLING),
        change_fee=table.take("change_fee", _AMOUNT, Decimal(0)),
        last_day_charged=table.take("last_day_charged", checks.boolean, False),
        introduction=_inner(table, "introduction", _introduction),
        voice=_inner(table, "voice", _voice) if kind is ProductKind.VOICE else None,
        metered=_inner(table, "metered", read_metering) if kind is ProductKind.RECURRING else None,
    )
    includes = found["includes"]
    if len({each.weight is None for each in includes}) > 1:
        table.report("needs a weight for each of them, or for none: then they are what each costs alone", "includes")
    if len({each.product for each in includes}) < len(includes):
        table.report("must not name anything twice; give it a quantity", "includes")
    if found["parts"] and any(each.weight is not None for each in includes):
        table.report("has weights already, and includes has others", "part")
    return found


def terms_document(product: Product) -> dict[str, object]:
    """Return the keys that `read_terms` reads."""
    contract, introduction, voice = product.contract, product.introduction, product.voice
    return {
        "activation_fee": _fee(product.activation_fee),
        "activation": None if product.activation is Activation.FIRST_BILLING else product.activation.value,
        "change_fee": _fee(product.change_fee),
        "last_day_charged": product.last_day_charged or None,
        "introduction": introduction and _introduction_document(introduction),
        "contract": contract and contract_document(contract),
        "includes": [_included_document(each) for each in product.includes] or None,
        "part": [_part_document(part) for part in product.parts] or None,
        "voice": voice and _voice_document(voice),
        "metered": product.metered and metering_document(product.metered),
    }


def contract_document(contract: Contract) -> dict[str, object]:
    """Return the keys of a contract, as sales keep them, too."""
    prior = contract.prior_cancellation_fee
    return _written(
        months=contract.months,
        renews=contract.renews or None,
        cancellation_fee=_fee(contract.cancellation_fee),
        prior_cancellation_fee=None if prior is None else write_amount(prior),
        fee_per_month=_fee(contract.fee_per_month),
    )


def _part(table: Table) -> Part:
    part = Part(
        name=table.require("name", checks.name, ""),
        weight=table.require("weight", _WEIGHT, Decimal(1)),
        taxes=table.take("taxes", checks.texts, ()),
    )
    table.finish()
    return part


def _part_document(part: Part) -> dict[str, object]:
    return _written(name=part.name, weight=write_amount(part.weight), taxes=list(part.taxes) or None)


def _included(table: Table) -> Included:
    included = Included(
        product=table.require("product", checks.name, ""),
        quantity=table.take("quantity", _QUANTITY, 1),
        weight=table.take("weight", _WEIGHT, None),
    )
    table.finish()
    return included


def _included_document(included: Included) -> dict[str, object]:
    return _written(
        product=included.product,
        quantity=included.quantity if included.quantity > 1 else None,
        weight=None if included.weight is None else write_amount(included.weight),
    )


def read_contract(table: Table) -> Contract:
    """Return the contract of a table."""
    months = table.require("months", _MONTHS, 1)
    contract = Contract(
        months=months,
        renews=table.take("renews", _renewal(months), 0),
        cancellation_fee=table.take("cancellation_fee", _AMOUNT, Decimal(0)),
        prior_cancellation_fee=table.take("prior_cancellation_fee", _AMOUNT, None),
        fee_per_month=table.take("fee_per_month", _AMOUNT, Decimal(0)),
    )
    table.finish()
    return contract


def _renewal(months: int) -> Check[int]:
    """Accept months, and `true` for as many as the first time."""

    def check(value: object) -> int:
        if isinstance(value, bool):
            return months if value else 0
        return _MONTHS(value)

    return check


def _introduction(table: Table) -> IntroductoryDiscount:
    which = table.exactly_one("percent", "amount")
    discount = IntroductoryDiscount(
        months=table.require("months", _MONTHS, 1),
        percent=table.take("percent", share, None) if which == "percent" else None,
        amount=table.take("amount", _AMOUNT, None) if which == "amount" else None,
    )
    table.finish()
    return discount


def _introduction_document(introduction: IntroductoryDiscount) -> dict[str, object]:
    return _written(
        months=introduction.months,
        percent=introduction.percent and write_amount(introduction.percent),
        amount=introduction.amount and write_amount(introduction.amount),
    )


def _voice(table: Table) -> VoiceTerms:
    voice = VoiceTerms(
        line=table.require("line", _among(_VOICE_LINES), "voip"),
        rate_table=table.take("rate_table", checks.name, None),
        included=tuple(map(_units, table.tables("included"))),
    )
    table.finish()
    return voice


def _units(table: Table) -> IncludedUnits:
    units = IncludedUnits(
        category=table.require("category", checks.name, ""),
        unit=table.require("unit", _among(_INCLUDED_UNITS), "seconds"),
        number=table.require("number", checks.integer(1, checks.GREATEST_OCTETS), 1),
        windows=table.take("windows", windows, ()),
    )
    table.finish()
    return units


def _voice_document(voice: VoiceTerms) -> dict[str, object]:
    included = [
        _written(
            category=each.category,
            unit=each.unit,
            number=each.number,
            windows=[write_window(window) for window in each.windows] or None,
        )
        for each in voice.included
    ]
    return _written(line=voice.line, rate_table=voice.rate_table, included=included or None)


def share(value: object) -> Decimal:
    """Accept a percentage of at most 100."""
    percent = checks.amount("0.0001", places=4)(value)
    if percent > 100:
        raise Mistake(f"must be at most 100 percent, not {show(value)}")
    return percent


def _among(choices: tuple[str, ...]) -> Check[str]:
    def check(value: object) -> str:
        if value not in choices:
            raise Mistake(f"must be one of {checks.listed(choices)}, not {show(value)}")
        return str(value)

    return check


def _inner(table: Table, key: str, read: Callable[[Table], Read]) -> Read | None:
    inner = table.table(key)
    return None if inner is None else read(inner)


def _fee(amount: Decimal) -> str | None:
    return write_amount(amount) if amount else None


def _written(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
