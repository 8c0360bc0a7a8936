"""Decides how is written what is sold: `[[tax]]`, `[[product]]`, and what a `[[plan]]` costs.

Rule: each part has a reader and, beside it, the document that the reader turns back into the same part. A plan is sold
when it has a `price`; its other commercial keys are those of a product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TypeVar

from config import checks
from config.billing_terms import LANGUAGES, LONGEST_TEXT, StoredTermsError
from config.checks import show, write_amount
from config.problems import Mistake, Problems
from config.product_terms import CONTRACT_AMOUNTS, TERMS_KEYS, read_contract, read_terms, terms_document
from config.table import Table
from domain.catalogue import (
    NOT_KEPT,
    Align,
    Contract,
    CycleUnit,
    Mode,
    Product,
    ProductId,
    ProductKind,
    Proration,
)
from domain.tax import Tax, TaxCategory

Read = TypeVar("Read")

COMMERCIAL_KEYS = (
    "price", "prices", "taxes", "price_includes_tax", "names", "unit", "every", "align", "charged", "proration",
    *TERMS_KEYS,
)  # fmt: skip
"""What a product says of itself, and a plan beside its network half."""
BEGINNING = date(1970, 1, 1)

_AMOUNT = checks.amount()
_PERCENT = checks.amount("0", places=4)
_EVERY = re.compile(r"(?:([0-9]{1,3}) )?(day|week|month|quarter|year)s?")
_MONTHS_OF = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a table sells, and what new customers pay from the day on which it is applied."""

    product: Product
    price: Decimal
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    """By partner, where its customers pay another one."""


def read_tax(table: Table) -> Tax:
    """Return the tax of a table."""
    category = table.take("category", _category, TaxCategory.STANDARD)
    tax = Tax(
        code=table.require("code", checks.name, ""),
        rates=_rates(table),
        category=category,
        compound=table.take("compound", checks.boolean, False),
        exemption_reason=table.take("reason", checks.text(LONGEST_TEXT), None),
    )
    if category not in (TaxCategory.STANDARD, TaxCategory.ZERO) and tax.exemption_reason is None:
        table.report("needs a reason: an invoice has to say why no tax is charged (EN 16931)", "category")
    if category is not TaxCategory.STANDARD and any(percent for _, percent in tax.rates):
        table.report("only the standard category has a percentage", "category")
    table.finish()
    return tax


def tax_document(tax: Tax) -> dict[str, object]:
    """Return the keys of a tax."""
    rates = [{"from": starts.isoformat(), "percent": write_amount(percent)} for starts, percent in tax.rates]
    document: dict[str, object] = {"code": tax.code, "category": tax.category.value}
    if len(rates) == 1 and tax.rates[0][0] == BEGINNING:
        document["percent"] = rates[0]["percent"]
    else:
        document["rate"] = rates
    return _written(**document, compound=tax.compound or None, reason=tax.exemption_reason)


def load_tax(document: Mapping[str, object]) -> Tax:
    """Return the tax of a stored document. Raise StoredTermsError."""
    return _load(document, read_tax)


def read_product(table: Table) -> Offer:
    """Return what a `[[product]]` sells."""
    code = table.require("name", checks.name, "")
    kind = table.take("kind", _product_kind, ProductKind.RECURRING)
    offer = read_offer(table, code, kind)
    if offer is None:
        table.report("is missing", "price")
        offer = Offer(Product(NOT_KEPT, code, kind), Decimal(0))
    table.finish()
    return offer


def read_offer(table: Table, code: str, kind: ProductKind) -> Offer | None:
    """Return what a table sells, None where it has no price; keys that are not commercial are left alone."""
    product = _product(table, code, kind)
    price = table.take("price", _AMOUNT, None)
    prices = _prices(table)
    if price is None:
        for key in table.given(*COMMERCIAL_KEYS):
            if key != "price":
                table.report("needs a price beside it: without one nothing is sold", key)
        return None
    return Offer(product, price, prices)


def product_document(product: Product) -> dict[str, object]:
    """Return the commercial keys of a product, without its price."""
    return _written(
        taxes=list(product.taxes) or None,
        price_includes_tax=product.price_includes_tax or None,
        names=dict(product.names) or None,
        unit=product.unit or None,
        every=_write_every(product),
        align=None if product.align is _usual_align(product.every, product.cycle_unit) else product.align.value,
        charged=product.mode and product.mode.value,
        proration=product.proration and product.proration.value,
        **terms_document(product),
    )


def load_product(id_: int, code: str, kind: str, document: Mapping[str, object]) -> Product:
    """Return the product of a stored document. Raise StoredTermsError."""

    def read(table: Table) -> Product:
        product = _product(table, code, ProductKind(kind))
        table.finish()
        return product

    product = _load(document, read)
    return Product(**{**_fields(product), "id": ProductId(id_)})  # type: ignore[arg-type]  # its own fields


def amounts_named(document: Mapping[str, object], rules: Mapping[str, object]) -> tuple[str, ...]:
    """Return the keys of what a product and its plan may cost beside its price; documents as they are stored."""
    contract, introduction = (document.get(key) or {} for key in ("contract", "introduction"))
    assert isinstance(contract, Mapping)
    assert isinstance(introduction, Mapping)
    found = {
        "activation_fee": "activation_fee" in document,
        "change_fee": "change_fee" in document,
        "introduction": "amount" in introduction,
        "contract": any(key in contract for key in CONTRACT_AMOUNTS),
        "metered": "metered" in document,
        "overage": "overage" in rules,
    }
    return tuple(key for key, is_there in found.items() if is_there)


def load_contract(document: Mapping[str, object]) -> Contract:
    """Return the contract that a sale keeps. Raise StoredTermsError."""
    return _load(document, read_contract)


def _fields(product: Product) -> dict[str, object]:
    return {name: getattr(product, name) for name in Product.__slots__}


def _product(table: Table, code: str, kind: ProductKind) -> Product:
    every, unit, align = table.take("every", _every, (1, CycleUnit.MONTH, Align.ACCOUNT))
    return Product(
        NOT_KEPT,
        code,
        kind,
        names=_names(table),
        unit=table.take("unit", checks.name, ""),
        every=every,
        cycle_unit=unit,
        align=table.take("align", checks.one_of(Align), align),
        mode=table.take("charged", _mode, None),
        proration=table.take("proration", checks.one_of(Proration), None),
        taxes=table.take("taxes", checks.texts, ()),
        price_includes_tax=table.take("price_includes_tax", checks.boolean, False),
        **read_terms(table, kind),
    )


def _prices(table: Table) -> dict[str, Decimal]:
    inner = table.table("prices")
    if inner is None:
        return {}
    return {partner: inner.take(partner, _AMOUNT, Decimal(0)) for partner in inner.values}


def _names(table: Table) -> dict[str, str]:
    inner = table.table("names")
    if inner is None:
        return {}
    found = {language: inner.take(language, checks.text(LONGEST_TEXT), "") for language in LANGUAGES}
    inner.finish()
    return {language: name for language, name in found.items() if name}


def _rates(table: Table) -> tuple[tuple[date, Decimal], ...]:
    if table.exactly_one("percent", "rate") == "percent":
        return ((BEGINNING, table.take("percent", _PERCENT, Decimal(0))),)
    rates = []
    for inner in table.tables("rate"):
        rates.append((inner.require("from", checks.day, BEGINNING), inner.require("percent", _PERCENT, Decimal(0))))
        inner.finish()
    if len({starts for starts, _ in rates}) < len(rates):
        table.report("must not have two rates from one day", "rate")
    return tuple(sorted(rates))


def _category(value: object) -> TaxCategory:
    return checks.one_of(TaxCategory)(value)


def _product_kind(value: object) -> ProductKind:
    kind = checks.one_of(ProductKind)(value)
    if kind is ProductKind.INTERNET:
        raise Mistake('cannot be "internet": an Internet plan is a [[plan]] with a price')
    return kind


def _mode(value: object) -> Mode:
    mode = checks.one_of(Mode)(value)
    if mode is Mode.DAILY:
        raise Mistake('must be "advance" or "arrears"; daily is how a prepaid account is billed')
    return mode


def _every(value: object) -> tuple[int, CycleUnit, Align]:
    """Accept `month`, `3 months`, `quarter`, `year`, `week`, `10 days`; what is no month counts from its start."""
    match = _EVERY.fullmatch(value) if isinstance(value, str) else None
    number = int(match[1] or 1) if match else 0
    if match is None or number < 1:
        raise Mistake(f'must be a period such as "month", "3 months", "year", "week" or "10 days", not {show(value)}')
    months = number * _MONTHS_OF.get(match[2], 0)
    unit = CycleUnit.MONTH if months else CycleUnit(match[2])
    return months or number, unit, _usual_align(months or number, unit)


def _usual_align(every: int, unit: CycleUnit) -> Align:
    return Align.ACCOUNT if unit is CycleUnit.MONTH and every == 1 else Align.START


def _write_every(product: Product) -> str | None:
    if product.every == 1 and product.cycle_unit is CycleUnit.MONTH:
        return None
    word = product.cycle_unit.value
    return word if product.every == 1 else f"{product.every} {word}s"


def _load(document: Mapping[str, object], read: Callable[[Table], Read]) -> Read:
    problems = Problems(lambda paths: dict.fromkeys(paths, 1))
    found = read(Table(document, (), problems))
    if problems:
        raise StoredTermsError(problems.by_line()[0].message)
    return found


def _written(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
